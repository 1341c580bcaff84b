"""The agent's container: its command, its environment, its mounts."""

import itertools
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

from agentrun_operator import facts, models, names, settings

SCRIPT_MOUNT = "/run/agentrun"
SCRIPT_KEY = "run-agent.sh"
PROMPT_KEY = "prompt.txt"

# Kubernetes kills what is left this long after it asked the pod to end. The entry script asks the CLI for 3 s with INT,
# 3 s with TERM, then kills it and drains for 3 s, so a cancelled run is gone within 15 s (design: behaviour).
TERMINATION_GRACE_SECONDS = 12

_UNPRIVILEGED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_DEFAULT_RESOURCES = {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "4", "memory": "8Gi"}}
_INIT_RESOURCES = {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}

# A log left by an earlier object with the same run id must not be taken for this run's: it is moved aside before the
# agent starts, so whatever stands at the path once the agent runs is this run's own.
_PREPARE = """\
set -eu
log=$1; shift
umask 027
mkdir -p "$(dirname "$log")"
if [ -e "$log" ]; then mv -f "$log" "$log.previous"; fi
: >"$log"
for folder do mkdir -p "$folder"; done
"""


def build_agent(run: models.AgentRun, config: settings.Settings, *, log_path: str) -> dict[str, Any]:
    """The container that runs the CLI."""
    job = run.spec.job
    return {
        "name": facts.MAIN_CONTAINER,
        "image": job.image or config.image,
        "imagePullPolicy": job.image_pull_policy.value,
        "workingDir": working_directory(run.spec, config),
        "command": ["/bin/sh", f"{SCRIPT_MOUNT}/{SCRIPT_KEY}"],
        "args": [log_path, names.stderr_path(log_path), f"{SCRIPT_MOUNT}/{PROMPT_KEY}", *claude_command(run.spec)],
        "env": _environment(run, config),
        **({"envFrom": list(job.env_from)} if job.env_from else {}),
        "resources": job.resources or _DEFAULT_RESOURCES,
        "securityContext": _UNPRIVILEGED,
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "prompt", "mountPath": SCRIPT_MOUNT, "readOnly": True},
            {"name": "data", "mountPath": config.data_mount},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path in the pod, on its own volume
        ],
    }


def build_prepare(run: models.AgentRun, config: settings.Settings, *, log_path: str) -> dict[str, Any]:
    """The init container that makes the folders on the shared volume, as the user that the agent runs as."""
    folders = [config_directory(run.spec, config)]
    cwd = working_directory(run.spec, config)
    mount = posixpath.normpath(config.data_mount)
    if posixpath.commonpath([mount, posixpath.normpath(cwd)]) == mount:
        folders.append(cwd)  # otherwise the runtime would make it, owned by root
    return {
        "name": "prepare",
        "image": run.spec.job.image or config.image,
        "imagePullPolicy": run.spec.job.image_pull_policy.value,
        "command": ["/bin/sh", "-c", _PREPARE, "prepare", log_path, *folders],
        "resources": _INIT_RESOURCES,
        "securityContext": _UNPRIVILEGED,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "data", "mountPath": config.data_mount}],
    }


def claude_command(spec: models.AgentRunSpec) -> list[str]:
    """The CLI with its arguments. The prompt comes on stdin; a ``-`` here would be sent to the model as text."""
    claude = spec.claude
    command = ["claude", "--print", "--output-format", "stream-json", "--verbose"]
    if spec.session:
        command += ["--resume", spec.session.id]
    if claude.skip_permissions:
        command += ["--dangerously-skip-permissions"]
    if claude.model:
        command += ["--model", claude.model]
    if claude.effort:
        command += ["--effort", claude.effort.value]
    command += ["--max-turns", str(claude.max_turns)]
    if claude.max_budget_usd:
        command += ["--max-budget-usd", claude.max_budget_usd]
    return command


def working_directory(spec: models.AgentRunSpec, config: settings.Settings) -> str:
    """Where the agent starts: the job's own choice, the session's folder (resume is bound to it), the shared volume."""
    session_cwd = spec.session.cwd if spec.session else None
    return spec.job.working_dir or session_cwd or config.data_mount


def config_directory(spec: models.AgentRunSpec, config: settings.Settings) -> str:
    """The CLI's state of one agent. Agents that shared one would corrupt each other's ``.claude.json``."""
    return f"{config.instance_root}/claude-config/{spec.company_id}/{spec.agent.id}"


def _environment(run: models.AgentRun, config: settings.Settings) -> list[dict[str, Any]]:
    """Operator's defaults, then the user's, then what keeps runs apart; the last of a name wins, each name once."""
    spec = run.spec
    defaults = {
        "TMPDIR": "/tmp",  # noqa: S108 - a path in the pod, on its own volume
        "SHELL": "/bin/bash",
        "DISABLE_AUTOUPDATER": "1",
        "PAPERCLIP_RUN_ID": run.run_id,
        "PAPERCLIP_AGENT_ID": spec.agent.id,
        "PAPERCLIP_COMPANY_ID": spec.company_id,
    }
    optional = {
        "PAPERCLIP_TASK_ID": spec.task_id,
        "CLAUDE_CODE_MAX_RETRIES": _text(spec.claude.max_retries),
        "API_TIMEOUT_MS": _text(spec.claude.api_timeout_seconds, scale=1000),
    }
    defaults.update({name: value for name, value in optional.items() if value is not None})
    forced = {"HOME": config.data_mount, "CLAUDE_CONFIG_DIR": config_directory(spec, config)}
    return _layered(_literals(defaults), spec.job.env, _literals(forced))


def _layered(*layers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {}
    for entry in itertools.chain(*layers):
        merged.pop(entry["name"], None)  # it stands where its last mention does: $(NAME) reaches only earlier variables
        merged[entry["name"]] = dict(entry)
    return list(merged.values())


def _literals(values: Mapping[str, str]) -> list[dict[str, Any]]:
    # $(NAME) in a value would be expanded by Kubernetes; none of these values can hold a dollar sign.
    return [{"name": name, "value": value} for name, value in values.items()]


def _text(value: int | None, *, scale: int = 1) -> str | None:
    return None if value is None else str(value * scale)
