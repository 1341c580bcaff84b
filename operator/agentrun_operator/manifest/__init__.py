"""What one run becomes in Kubernetes: a Secret with its prompt, and one Job. Pure: same input, same objects.

Invariants: at most one pod, ever (``backoffLimit: 0``, ``restartPolicy: Never``, ``podReplacementPolicy: Failed``);
both objects belong to the AgentRun from the start, so whatever happens to the operator, deleting the AgentRun removes
them; the pod passes the *restricted* Pod Security level and holds no service account token; no secret and no word of
the prompt is in the Job.
"""

import base64
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from agentrun_operator import errors, facts, models, names, prompts, settings, shapes
from agentrun_operator.manifest import bundle, container, inheritance, secrets, strategic

__all__ = [
    "BUNDLE_CONTAINER",
    "Manifests",
    "Scripts",
    "Template",
    "build",
    "build_adoption",
    "build_owner",
    "find_credential",
    "find_problems",
    "find_secrets",
    "inheritance",
    "job_name",
    "prompt_reference",
    "read_template",
    "run_log_path",
]

BUNDLE_CONTAINER = bundle.CONTAINER
RUN_AS_USER = 1000  # the uid of agents on the shared volume (seeds: manifest builder)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scripts:
    """The text of the shell scripts that travel with the prompt (docs/adr/0003)."""

    run_agent: str
    bundle: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The main template of the prompt, wherever it was kept; ``source`` names that place to people."""

    text: str
    source: str


def prompt_reference(run: models.AgentRun) -> tuple[str, str, models.KeyRef] | None:
    """Kind of the object, path of the field, and reference of a prompt that is not in the run itself."""
    prompt = run.spec.prompt
    if prompt.secret_key_ref is not None:
        return "Secret", "spec.prompt.secretKeyRef", prompt.secret_key_ref
    if prompt.config_map_key_ref is not None:
        return "ConfigMap", "spec.prompt.configMapKeyRef", prompt.config_map_key_ref
    return None


def read_template(run: models.AgentRun, value: bytes | None = None) -> Template:
    """The main template: the run's own text or ``value``, what its reference names. Raises InvalidRunError."""
    reference = prompt_reference(run)
    if reference is None:
        return Template(text=run.spec.prompt.text or "", source="spec.prompt.text")
    kind, path, ref = reference
    try:
        return Template(text=(value or b"").decode(), source=f"key {ref.key} of {kind} {ref.name}")
    except UnicodeDecodeError:
        raise errors.InvalidRunError(
            errors.ErrorCode.PROMPT_INVALID, f"{path}: key {ref.key} of {kind} {ref.name} is no text in UTF-8."
        ) from None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """What is created for one run."""

    secret: Mapping[str, Any]
    job: Mapping[str, Any]


def build(
    run: models.AgentRun,
    config: settings.Settings,
    *,
    template: Template,
    scripts: Scripts,
    inherited: inheritance.Inherited = inheritance.NOTHING,
) -> Manifests:
    """Secret and Job of a run. Raises InvalidRunError naming the field that makes it impossible.

    ``inherited`` is what the operator's own pod has to give; the run may decline it, and what belongs to the operator's
    namespace is of no use in another one.
    """
    inherited = _of_run(run, config, inherited)
    _check(run, config, inherited)
    secret, metrics = _build_secret(run, template, scripts)
    return Manifests(secret=secret, job=_build_job(run, config, inherited, metrics))


def find_problems(
    run: models.AgentRun,
    config: settings.Settings,
    *,
    template: Template,
    scripts: Scripts,
    inherited: inheritance.Inherited = inheritance.NOTHING,
) -> list[errors.InvalidRunError]:
    """Everything for which ``build`` would refuse the run, not only the first."""
    inherited = _of_run(run, config, inherited)
    nothing = models.PromptMetrics()
    checks: tuple[Callable[[], object], ...] = (
        lambda: _check(run, config, inherited),
        lambda: _build_secret(run, template, scripts),
        lambda: _build_job(run, config, inherited, nothing),
    )
    found: list[errors.InvalidRunError] = []
    for check in checks:
        try:
            check()
        except errors.InvalidRunError as e:
            found.append(e)
    return found


def find_secrets(
    run: models.AgentRun, config: settings.Settings, inherited: inheritance.Inherited
) -> secrets.SecretSources:
    """Where the secret values in the run's environment come from."""
    return secrets.find(run, config, _of_run(run, config, inherited))


def find_credential(run: models.AgentRun, config: settings.Settings, inherited: inheritance.Inherited) -> str:
    """What tells runs that share the provider's credential from others; never the credential itself."""
    return secrets.find_credential(run, config, _of_run(run, config, inherited))


def _of_run(run: models.AgentRun, config: settings.Settings, inherited: inheritance.Inherited) -> inheritance.Inherited:
    if not run.spec.job.inherit_from_operator:
        return inheritance.NOTHING
    return inherited if run.metadata.namespace == config.pod_namespace else inherited.elsewhere()


def _build_secret(
    run: models.AgentRun, template: Template, scripts: Scripts
) -> tuple[dict[str, Any], models.PromptMetrics]:
    files = {
        container.SCRIPT_KEY: scripts.run_agent.encode(),
        **bundle.build_files(run.spec, scripts.bundle),
    }
    prompt = prompts.assemble(
        run, template=template.text, source=template.source, reserved_bytes=sum(map(len, files.values()))
    )
    files = {container.PROMPT_KEY: prompt.data, **files}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.prompt_secret_name(job_name(run)),
            "namespace": run.metadata.namespace,
            "labels": _labels(run),
            "ownerReferences": [build_owner(run)],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }
    return secret, prompt.metrics


def _build_job(
    run: models.AgentRun,
    config: settings.Settings,
    inherited: inheritance.Inherited,
    metrics: models.PromptMetrics,
) -> dict[str, Any]:
    spec = run.spec
    log_path = run_log_path(run, config)
    labels = {**config.default_labels, **spec.job.labels, **_labels(run)}
    annotations = {**spec.job.annotations, **_annotations(run, log_path)}
    template = {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": _pod(run, config, inherited, log_path=log_path),
    }
    if spec.job.pod_template:
        template = _patched(template, spec.job.pod_template)
    ttl = {"ttlSecondsAfterFinished": spec.retention.job_ttl_seconds_after_finished}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(run),
            "namespace": run.metadata.namespace,
            "labels": labels,
            "annotations": {
                **annotations,
                # Kept with the Job, so that they are not lost with the operator that counted them.
                names.ANNOTATION_PROMPT_METRICS: metrics.model_dump_json(by_alias=True),
                names.ANNOTATION_RUN: run.metadata.name,
                names.ANNOTATION_HELD: names.HELD,
            },
            "ownerReferences": [build_owner(run)],
        },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "suspend": True,  # until the agent is free (docs/adr/0009); a Job for Kueue gets its queue only then
            **({"activeDeadlineSeconds": spec.timeouts.timeout_seconds} if spec.timeouts.timeout_seconds else {}),
            **({} if spec.retention.retain_job else ttl),
            "template": template,
        },
    }


def job_name(run: models.AgentRun) -> str:
    """Name of the Job of the run's present attempt."""
    return names.job_name(agent_id=run.spec.agent.id, run_id=run.run_id, attempt=run.attempt)


def run_log_path(run: models.AgentRun, config: settings.Settings) -> str:
    """Path of the log of the run's present attempt as agents see it."""
    return names.log_path(
        root=config.log_root,
        company_id=run.spec.company_id,
        agent_id=run.spec.agent.id,
        run_id=run.run_id,
        attempt=run.attempt,
    )


def _check(run: models.AgentRun, config: settings.Settings, inherited: inheritance.Inherited) -> None:
    for field, value in (("spec.agent.id", run.spec.agent.id), ("spec.companyId", run.spec.company_id)):
        if not names.label_value(value):
            raise errors.InvalidRunError(
                errors.ErrorCode.AGENT_ID_INVALID,
                f"{field} {value!r} has no letter or digit, so no label can be made of it; use another id.",
            )
    if not container.image(run, config, inherited):
        raise errors.InvalidRunError(
            errors.ErrorCode.POD_CONFIG_ERROR,
            "There is no image to run: set spec.job.image, or AGENTRUN_IMAGE on the operator.",
        )
    bundle.check(run.spec, config)


def _pod(
    run: models.AgentRun, config: settings.Settings, inherited: inheritance.Inherited, *, log_path: str
) -> dict[str, Any]:
    job = run.spec.job
    secret_name = names.prompt_secret_name(job_name(run))
    claim = config.pvc_name or inherited.claim or settings.DEFAULT_CLAIM
    optional = {
        "serviceAccountName": job.service_account_name,
        "priorityClassName": job.priority_class_name,
        "imagePullSecrets": list(job.image_pull_secrets or inherited.image_pull_secrets),
        "dnsConfig": inherited.dns_config,
        "nodeSelector": {**config.default_node_selector, **job.node_selector},
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
        "initContainers": container.build_inits(run, config, inherited, log_path=log_path),
        "containers": [container.build_agent(run, config, inherited, log_path=log_path)],
        "volumes": [
            {"name": "prompt", "secret": {"secretName": secret_name, "defaultMode": 0o440, "items": _PROMPT_ITEMS}},
            {"name": "data", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "tmp", "emptyDir": {}},
            *bundle.build_volumes(run.spec, secret_name=secret_name),
            *inherited.volumes,
        ],
    }


_PROMPT_ITEMS = [{"key": key, "path": key} for key in (container.PROMPT_KEY, container.SCRIPT_KEY)]


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


_OWN_INITS = ("prepare", bundle.CONTAINER)
_OWN_VOLUMES = ("prompt", "bundle-input")
_OWN_VARIABLES = ("HOME", "CLAUDE_CONFIG_DIR")


def _protected(template: Mapping[str, Any]) -> dict[str, Any]:
    """What a patch may not touch, by the path users would name. Total: a patch may leave anything in its wake."""
    spec = shapes.mapping(template.get("spec"))
    agent = next((c for c in shapes.objects(spec.get("containers")) if c.get("name") == facts.MAIN_CONTAINER), {})
    mounts = shapes.objects(agent.get("volumeMounts"))
    labels = shapes.mapping(shapes.mapping(template.get("metadata")).get("labels"))
    prefix = f"spec.containers[{facts.MAIN_CONTAINER}]"
    variables, inits = _by_name(agent.get("env")), _by_name(spec.get("initContainers"))
    volumes = _by_name(spec.get("volumes"))
    return {
        f"{prefix}.command": agent.get("command"),
        f"{prefix}.args": agent.get("args"),
        f"{prefix}.volumeMounts[{container.SCRIPT_MOUNT}]": [
            m for m in mounts if m.get("mountPath") == container.SCRIPT_MOUNT
        ],
        **{f"{prefix}.env[{name}]": variables.get(name) for name in _OWN_VARIABLES},
        **{f"spec.initContainers[{name}].command": _words(inits.get(name)) for name in _OWN_INITS},
        **{f"spec.volumes[{name}]": volumes.get(name) for name in _OWN_VOLUMES},
        "spec.restartPolicy": spec.get("restartPolicy"),
        "spec.automountServiceAccountToken": spec.get("automountServiceAccountToken"),
        "metadata.labels": {k: v for k, v in labels.items() if k in names.OWN_LABELS},
    }


def _by_name(value: object) -> dict[Any, Mapping[str, Any]]:
    return {item.get("name"): item for item in shapes.objects(value)}


def _words(init: Mapping[str, Any] | None) -> tuple[Any, Any]:
    return (init.get("command"), init.get("args")) if init else (None, None)


def _labels(run: models.AgentRun) -> dict[str, str]:
    values = {
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_COMPONENT: "agent-job",
        names.LABEL_ADAPTER_TYPE: names.ADAPTER_TYPE,
        names.LABEL_COMPANY_ID: names.label_value(run.spec.company_id),
        names.LABEL_AGENT_ID: names.label_value(run.spec.agent.id),
        names.LABEL_RUN_ID: names.label_value(run.run_id),
        names.LABEL_TASK_ID: names.label_value(run.spec.task_id or ""),
        names.LABEL_SESSION_ID: names.label_value(run.spec.session.id if run.spec.session else ""),
        names.LABEL_ATTEMPT: str(run.attempt),
    }
    return {key: value for key, value in values.items() if value}


def _annotations(run: models.AgentRun, log_path: str) -> dict[str, str]:
    name = run.spec.agent.name
    return {
        names.ANNOTATION_ADAPTER_TYPE: names.ADAPTER_TYPE,
        names.ANNOTATION_LOG_PATH: log_path,
        **({names.ANNOTATION_AGENT_NAME: name} if name else {}),
    }


def build_adoption(run: models.AgentRun, job: facts.JobFacts) -> dict[str, Any]:
    """What changes in the metadata of a Job that the run adopts: whose it is. Its log stays where it says.

    The finalizer keeps it there until the status of the run names it, whoever dies or deletes it in between.
    """
    others = [finalizer for finalizer in job.finalizers if finalizer != names.ADOPTION_FINALIZER]
    return {
        "ownerReferences": [build_owner(run)],
        "finalizers": [*others, names.ADOPTION_FINALIZER],
        "labels": {names.LABEL_RUN_ID: names.label_value(run.run_id), names.LABEL_ATTEMPT: str(run.attempt)},
        "annotations": {names.ANNOTATION_REATTACHED_FROM: job.made_for or job.owner_name or job.name},
    }


def build_owner(run: models.AgentRun) -> dict[str, Any]:
    """The owner reference of what belongs to the run."""
    return {
        "apiVersion": models.AgentRun.API_VERSION,
        "kind": names.KIND,
        "name": run.metadata.name,
        "uid": run.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,  # true would need the right to update finalizers of AgentRuns
    }
