"""What one run becomes in Kubernetes: a Secret with its prompt, and one Job. Pure: same input, same objects.

Invariants: at most one pod, ever (``backoffLimit: 0``, ``restartPolicy: Never``, ``podReplacementPolicy: Failed``);
both objects belong to the AgentRun from the start, so whatever happens to the operator, deleting the AgentRun removes
them; the pod passes the *restricted* Pod Security level and holds no service account token; no secret and no word of
the prompt is in the Job.
"""

import base64
from collections.abc import Mapping
from typing import Any

from agentrun_operator import errors, facts, models, names, prompts, settings
from agentrun_operator.manifest import container, strategic

RUN_AS_USER = 1000  # the uid of agents on the shared volume (seeds: manifest builder)


def build_secret(run: models.AgentRun, *, script: str) -> dict[str, Any]:
    """The Secret that carries prompt and entry script to the pod. Raises InvalidRunError for an impossible prompt."""
    prompt = prompts.assemble(run.spec, reserved_bytes=len(script.encode()))
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.prompt_secret_name(job_name(run)),
            "namespace": run.metadata.namespace,
            "labels": _labels(run),
            "ownerReferences": [_owner(run)],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {container.PROMPT_KEY: _base64(prompt), container.SCRIPT_KEY: _base64(script.encode())},
    }


def build_job(run: models.AgentRun, config: settings.Settings) -> dict[str, Any]:
    """The Job that runs the CLI. Raises InvalidRunError naming the field that makes it impossible."""
    _check(run, config)
    spec = run.spec
    log_path = run_log_path(run, config)
    template = {
        "metadata": {"labels": _labels(run), "annotations": _annotations(run, log_path)},
        "spec": _pod(run, config, log_path=log_path),
    }
    if spec.job.pod_template:
        template = _patched(template, spec.job.pod_template)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(run),
            "namespace": run.metadata.namespace,
            "labels": _labels(run),
            "annotations": _annotations(run, log_path),
            "ownerReferences": [_owner(run)],
        },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            **({"activeDeadlineSeconds": spec.timeouts.timeout_seconds} if spec.timeouts.timeout_seconds else {}),
            **(
                {}
                if spec.retention.retain_job
                else {"ttlSecondsAfterFinished": spec.retention.job_ttl_seconds_after_finished}
            ),
            "template": template,
        },
    }


def job_name(run: models.AgentRun) -> str:
    """Name of the run's Job."""
    return names.job_name(agent_id=run.spec.agent.id, run_id=run.run_id)


def run_log_path(run: models.AgentRun, config: settings.Settings) -> str:
    """Path of the run's log as agents see it."""
    return names.log_path(
        root=config.log_root, company_id=run.spec.company_id, agent_id=run.spec.agent.id, run_id=run.run_id
    )


def _check(run: models.AgentRun, config: settings.Settings) -> None:
    for field, value in (("spec.agent.id", run.spec.agent.id), ("spec.companyId", run.spec.company_id)):
        if not names.label_value(value):
            raise errors.InvalidRunError(
                errors.ErrorCode.AGENT_ID_INVALID,
                f"{field} {value!r} has no letter or digit, so no label can be made of it; use another id.",
            )
    for index, entry in enumerate(run.spec.job.env):
        if not isinstance(entry.get("name"), str):
            raise errors.InvalidRunError(
                errors.ErrorCode.POD_CONFIG_ERROR, f"spec.job.env[{index}] has no name; every variable needs one."
            )
    if not (run.spec.job.image or config.image):
        raise errors.InvalidRunError(
            errors.ErrorCode.POD_CONFIG_ERROR,
            "There is no image to run: set spec.job.image, or AGENTRUN_IMAGE on the operator.",
        )


def _pod(run: models.AgentRun, config: settings.Settings, *, log_path: str) -> dict[str, Any]:
    job = run.spec.job
    optional = {
        "serviceAccountName": job.service_account_name,
        "imagePullSecrets": list(job.image_pull_secrets),
        "nodeSelector": job.node_selector,
        "tolerations": list(job.tolerations),
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": container.TERMINATION_GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": RUN_AS_USER,
            "runAsGroup": RUN_AS_USER,
            "fsGroup": RUN_AS_USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **{key: value for key, value in optional.items() if value},
        "initContainers": [container.build_prepare(run, config, log_path=log_path)],
        "containers": [container.build_agent(run, config, log_path=log_path)],
        "volumes": [
            {
                "name": "prompt",
                "secret": {"secretName": names.prompt_secret_name(job_name(run)), "defaultMode": 0o440},
            },
            {"name": "data", "persistentVolumeClaim": {"claimName": config.pvc_name}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _patched(template: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    try:
        merged = strategic.merge(template, patch)
    except ValueError as e:
        raise errors.InvalidRunError(errors.ErrorCode.POD_CONFIG_ERROR, f"spec.job.podTemplate: {e}.") from e
    before, after = _protected(template), _protected(merged)
    changed = [field for field in before if before[field] != after[field]]
    if changed:
        raise errors.InvalidRunError(
            errors.ErrorCode.POD_CONFIG_ERROR,
            f"spec.job.podTemplate changes {', '.join(changed)}, on which the operator depends; leave that out.",
        )
    return merged


def _protected(template: Mapping[str, Any]) -> dict[str, Any]:
    """What a patch may not touch, by the path users would name. Total: a patch may leave anything in its wake."""
    spec = _mapping(template.get("spec"))
    agent = next((c for c in _objects(spec.get("containers")) if c.get("name") == facts.MAIN_CONTAINER), {})
    mounts = _objects(agent.get("volumeMounts"))
    labels = _mapping(_mapping(template.get("metadata")).get("labels"))
    prefix = f"spec.containers[{facts.MAIN_CONTAINER}]"
    return {
        f"{prefix}.command": agent.get("command"),
        f"{prefix}.args": agent.get("args"),
        f"{prefix}.volumeMounts[{container.SCRIPT_MOUNT}]": [
            m for m in mounts if m.get("mountPath") == container.SCRIPT_MOUNT
        ],
        "spec.volumes[prompt]": [v for v in _objects(spec.get("volumes")) if v.get("name") == "prompt"],
        "spec.restartPolicy": spec.get("restartPolicy"),
        "spec.automountServiceAccountToken": spec.get("automountServiceAccountToken"),
        "metadata.labels": {k: v for k, v in labels.items() if k in (names.LABEL_MANAGED_BY, *names.RUN_LABELS)},
    }


def _labels(run: models.AgentRun) -> dict[str, str]:
    values = {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_COMPONENT: "agent-job",
        names.LABEL_COMPANY_ID: names.label_value(run.spec.company_id),
        names.LABEL_AGENT_ID: names.label_value(run.spec.agent.id),
        names.LABEL_RUN_ID: names.label_value(run.run_id),
        names.LABEL_TASK_ID: names.label_value(run.spec.task_id or ""),
    }
    return {key: value for key, value in values.items() if value}


def _annotations(run: models.AgentRun, log_path: str) -> dict[str, str]:
    name = run.spec.agent.name
    return {names.ANNOTATION_LOG_PATH: log_path, **({names.ANNOTATION_AGENT_NAME: name} if name else {})}


def _owner(run: models.AgentRun) -> dict[str, Any]:
    return {
        "apiVersion": models.AgentRun.API_VERSION,
        "kind": names.KIND,
        "name": run.metadata.name,
        "uid": run.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,  # true would need the right to update finalizers of AgentRuns
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
