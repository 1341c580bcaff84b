"""The agent's environment, in layers; the last one that names a variable wins.

From low to high: the tools' own needs, what settings say, what is inherited from the operator's pod, the run's context
(``PAPERCLIP_*``), ``spec.job.env``, and what keeps agents apart. Values that come from elsewhere (``valueFrom``) count
like literal ones.
"""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentrun_operator import errors, models, names, settings
from agentrun_operator.manifest import claude
from agentrun_operator.manifest.inheritance import Inherited
from agentrun_operator.models import base


def build(run: models.AgentRun, config: settings.Settings, inherited: Inherited) -> list[dict[str, Any]]:
    """The container's ``env``: each name once, at the place of its last mention."""
    spec = run.spec
    for variable in spec.job.env:
        _check_size(variable)
    return _layered(
        _literals({"TMPDIR": "/tmp", "SHELL": "/bin/bash", "DISABLE_AUTOUPDATER": "1"}),  # noqa: S108 - in the pod
        _literals({"PAPERCLIP_API_URL": config.api_url} if config.api_url else {}),
        _literals(_telemetry(run, config)),
        inherited.env,
        _literals(_context(run)),
        _api_token(spec),
        [variable.model_dump(by_alias=True, exclude_none=True) for variable in spec.job.env],
        _literals(_forced(spec, config)),
    )


def _context(run: models.AgentRun) -> dict[str, str]:
    """The run's context. Blank values are left out, others stripped, as orchestrators know it."""
    spec = run.spec
    wake, approval = spec.wake or models.Wake(), spec.approval or models.Approval()
    values = {
        "PAPERCLIP_AGENT_ID": spec.agent.id,
        "PAPERCLIP_COMPANY_ID": spec.company_id,
        "PAPERCLIP_RUN_ID": run.run_id,
        "PAPERCLIP_TASK_ID": spec.task_id,
        "PAPERCLIP_WAKE_REASON": wake.reason,
        "PAPERCLIP_WAKE_COMMENT_ID": wake.comment_id,
        "PAPERCLIP_APPROVAL_ID": approval.id,
        "PAPERCLIP_APPROVAL_STATUS": approval.status,
        "PAPERCLIP_WAKE_PAYLOAD_JSON": _json("spec.wake.payload", wake.payload),
        **_workspace(spec.workspace or models.Workspace()),
        "PAPERCLIP_LINKED_ISSUE_IDS": ",".join(i.strip() for i in spec.linked_issue_ids if i.strip()),
        "CLAUDE_CODE_MAX_RETRIES": _text(spec.claude.max_retries),
        "API_TIMEOUT_MS": _text(spec.claude.api_timeout_seconds, scale=1000),
    }
    return {name: value.strip() for name, value in values.items() if value and value.strip()}


def _workspace(workspace: models.Workspace) -> dict[str, str | None]:
    where = "spec.workspace"
    return {
        "PAPERCLIP_WORKSPACE_CWD": workspace.cwd,
        "PAPERCLIP_WORKSPACE_SOURCE": workspace.source,
        "PAPERCLIP_WORKSPACE_STRATEGY": workspace.strategy,
        "PAPERCLIP_WORKSPACE_ID": workspace.id,
        "PAPERCLIP_WORKSPACE_REPO_URL": workspace.repo_url,
        "PAPERCLIP_WORKSPACE_REPO_REF": workspace.repo_ref,
        "PAPERCLIP_WORKSPACE_BRANCH": workspace.branch,
        "PAPERCLIP_WORKSPACE_WORKTREE_PATH": workspace.worktree_path,
        "AGENT_HOME": workspace.agent_home,
        "PAPERCLIP_WORKSPACES_JSON": _json(f"{where}.workspaces", workspace.workspaces),
        "PAPERCLIP_RUNTIME_SERVICE_INTENTS_JSON": _json(
            f"{where}.runtimeServiceIntents", workspace.runtime_service_intents
        ),
        "PAPERCLIP_RUNTIME_SERVICES_JSON": _json(f"{where}.runtimeServices", workspace.runtime_services),
        "PAPERCLIP_RUNTIME_PRIMARY_URL": workspace.runtime_primary_url,
    }


def _json(field: str, value: Mapping[str, Any] | Sequence[Any] | None) -> str | None:
    """Compact JSON; None for nothing. Raises InvalidRunError when the kernel would refuse it as a variable."""
    if not value:
        return None
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    size = len(text.encode(errors="surrogatepass"))
    most = base.MAX_ARGUMENT_BYTES - 64  # the variable's name, "=" and the closing NUL count too
    if size > most:
        raise errors.InvalidRunError(
            errors.ErrorCode.POD_CONFIG_ERROR,
            f"{field} is {size:,} bytes as JSON and becomes an environment variable, which can hold {most:,}; put long "
            "material into a file on the shared volume and name the file.",
        )
    return text


def _check_size(variable: models.EnvVar) -> None:
    size, most = len((variable.value or "").encode(errors="surrogatepass")), base.MAX_ARGUMENT_BYTES - 1
    most -= len(variable.name) + 1  # NAME=value
    if size > most:
        raise errors.InvalidRunError(
            errors.ErrorCode.POD_CONFIG_ERROR,
            f"spec.job.env: the value of {variable.name} is {size:,} bytes; the kernel takes at most {most:,}. Put "
            "long material into a file on the shared volume and name the file.",
        )


def _telemetry(run: models.AgentRun, config: settings.Settings) -> dict[str, str]:
    """Have the CLI send its own metrics and events, which tell of prompts no more than their length."""
    if not config.telemetry_endpoint:
        return {}
    whose = {
        "run.id": run.run_id,
        "agent.id": run.spec.agent.id,
        "company.id": run.spec.company_id,
        "agentrun.name": run.metadata.name,
        "k8s.namespace.name": run.metadata.namespace,
    }
    return {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": config.telemetry_protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": config.telemetry_endpoint,
        # No value needs an escape: all are names of Kubernetes, or ids of letters, digits and "-".
        "OTEL_RESOURCE_ATTRIBUTES": ",".join(f"{key}={value}" for key, value in whose.items()),
        # The CLI puts its events, and its own spans where it makes them, into the trace that this names.
        **({"TRACEPARENT": names.traceparent(run.metadata.uid, run.attempt)} if config.traces else {}),
    }


def _api_token(spec: models.AgentRunSpec) -> list[dict[str, Any]]:
    ref = spec.api_token_secret_ref
    if ref is None:
        return []
    return [{"name": "PAPERCLIP_API_KEY", "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}}}]


def _forced(spec: models.AgentRunSpec, config: settings.Settings) -> dict[str, str]:
    """HOME is the shared volume, or no session could be resumed; the CLI's state is each agent's own."""
    directory = claude.config_directory(spec, config)
    return {"HOME": config.data_mount, **({"CLAUDE_CONFIG_DIR": directory} if directory else {})}


def _layered(*layers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for entry in itertools.chain(*layers):
        merged.pop(entry["name"], None)  # it stands where its last mention does: $(NAME) reaches only earlier variables
        merged[entry["name"]] = dict(entry)
    return list(merged.values())


def _literals(values: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "value": claude.literally(value)} for name, value in values.items()]


def _text(value: int | None, *, scale: int = 1) -> str | None:
    return None if value is None else str(value * scale)
