"""The secret values of a run, so that they can be kept out of what ``agentrun logs`` shows."""

from collections.abc import Mapping
from typing import Any

from agentrun_operator import errors, facts, kube, manifest, models, redaction, runner, settings
from agentrun_operator.cli import transcript
from agentrun_operator.client import runlog
from agentrun_operator.manifest import inheritance, secrets


async def read(client: kube.KubeClient, config: settings.Settings, body: Mapping[str, Any]) -> runlog.Known:
    """What can be learned about the secrets of the AgentRun ``body``. Raises UnavailableError."""
    gaps: list[str] = []
    try:
        run = models.AgentRun.parse(body)
        found = await _find(client, config, run, gaps)
    except errors.InvalidRunError as e:
        return runlog.Known(redaction.Redactor(), (f"the secrets of the run are not known, and are not redacted: {e}",))
    data: dict[str, Mapping[str, bytes]] = {}
    for name in sorted({name for sources in found for name in sources.names}):
        try:
            data[name] = await client.get_secret_data(run.metadata.namespace, name)
        except (errors.NotFoundError, errors.RejectedError) as e:
            gaps.append(f"values of Secret {name} could not be read and are not redacted: {e}")
    values = [value for sources in found for value in sources.pick(data)]
    # What is rendered has no control characters any more, not even a tab.
    return runlog.Known(redaction.Redactor([*values, *map(transcript.clean, values)]), tuple(gaps))


async def _find(
    client: kube.KubeClient, config: settings.Settings, run: models.AgentRun, gaps: list[str]
) -> list[secrets.SecretSources]:
    """Where the run's secrets are: as its spec says, and as its pod has it, which knows what was inherited."""
    container = await _container(client, run)
    try:
        inherited = await runner.OwnPod(config, client).inherited_by(run)
    except errors.UnavailableError as e:
        inherited = inheritance.NOTHING
        gaps.append(f"what the run inherited from the operator's pod is not known and not redacted: {e}")
    found = [manifest.find_secrets(run, config, inherited)]
    if container is not None:
        template = {"spec": {"containers": [container]}}
        job = run.spec.job.model_copy(update={"pod_template": template})
        as_it_runs = run.model_copy(update={"spec": run.spec.model_copy(update={"job": job})})
        found.append(manifest.find_secrets(as_it_runs, config, inherited))
    elif run.spec.job.inherit_from_operator and not config.pod_name:
        gaps.append(
            "the pod is gone: secrets that the run inherited from the operator's pod are redacted only where they "
            "look like a token"
        )
    return found


async def _container(client: kube.KubeClient, run: models.AgentRun) -> Mapping[str, Any] | None:
    """The agent's container in the run's pod; None if the pod is not there, or not for us to see."""
    if not run.status.pod_name:
        return None
    try:
        pod = await client.get_pod(run.metadata.namespace, run.status.pod_name)
    except (errors.NotFoundError, errors.RejectedError):
        return None
    containers = (pod.get("spec") or {}).get("containers") or ()
    return next((c for c in containers if c.get("name") == facts.MAIN_CONTAINER), None)
