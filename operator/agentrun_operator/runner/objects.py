"""The objects of one run in the cluster: found again, read, removed. Each function is one step of the runner."""

import dataclasses
import datetime

import structlog

from agentrun_operator import errors, facts, manifest, models, names, progress, status
from agentrun_operator.runner.deps import Deps

_log = structlog.get_logger(__name__)


async def delete_secret(deps: Deps, run: models.AgentRun, job: facts.JobFacts | None) -> None:
    """Delete the run's own Secret: another run with the same ids has one of the same name.

    Who has the Job has the Secret, too; only a run without one has to ask.
    """
    namespace = run.metadata.namespace
    if job is not None:
        await deps.client.delete_secret(namespace, names.prompt_secret_name(job.name))
        return
    name = names.prompt_secret_name(manifest.job_name(run))
    try:
        owner = await deps.client.get_secret_owner(namespace, name)
    except errors.NotFoundError:
        return
    if owner == run.metadata.uid:
        await deps.client.delete_secret(namespace, name)


async def find_own_job(deps: Deps, run: models.AgentRun, name: str) -> bool:
    """Whether the run has this Job after all: it was made by a request without an answer, or by another operator."""
    try:
        job = await deps.client.get_job(run.metadata.namespace, name)
    except errors.NotFoundError:
        return False
    if job.owner_uid != run.metadata.uid:
        return False
    deps.world.saw_job(job)
    return True


async def find_pods(deps: Deps, run: models.AgentRun) -> None:
    """Ask which pods the agent has: the watch of Jobs can be ahead of that of pods, and tell of a Job's end first."""
    async with deps.lists:
        pods = await deps.client.list_pods(run.metadata.namespace, agent_labels(run))
    for pod in pods:
        deps.world.saw_pod(pod)


def agent_labels(run: models.AgentRun) -> dict[str, str]:
    """The labels that all Jobs and pods of the run's agent have."""
    ids = (run.spec.company_id, run.spec.agent.id)
    return dict(zip(names.AGENT_LABELS, map(names.label_value, ids), strict=True))


async def stop(deps: Deps, run: models.AgentRun, job: facts.JobFacts | None) -> None:
    """Delete the Job, or its pod if that has outlived it; the status says why by now."""
    if job is None:
        return
    if not job.gone:
        await deps.client.delete_job(job)
        deps.world.saw_job(dataclasses.replace(deps.world.job_of(run) or job, deleting=True))
        _log.info("job_stopped", job=job.name)
        return
    pod = deps.world.pod_of(job.uid)
    if pod is not None and not pod.finished:
        await deps.client.delete_pod(run.metadata.namespace, pod)
        _log.info("pod_stopped", pod=pod.name)


async def read_pod_log(deps: Deps, run: models.AgentRun, pod: facts.PodFacts | None) -> status.LogSeen:
    """The pod's own log, read once to its end; empty if it cannot be read."""
    read = progress.Progress()
    try:
        if pod is not None:
            async for chunk in deps.client.read_pod_log(run.metadata.namespace, pod.name, facts.MAIN_CONTAINER):
                read.feed(chunk)
    except errors.ApiError as e:
        _log.warning("pod_log_unreadable", pod=pod.name if pod else "", error=str(e))
    read.finish()
    transcript = read.snapshot()
    _log.info("log_read_from_pod", bytes=transcript.bytes)
    return status.LogSeen(
        transcript=transcript,
        found=transcript.bytes > 0,
        drained=True,
        last_growth=datetime.datetime.now(datetime.UTC) if transcript.bytes else None,
        # Both streams are one here. Before the first event it is the CLI's word; later it may be a broken event's rest.
        stderr_tail="" if transcript.events else transcript.first_plain_text,
    )
