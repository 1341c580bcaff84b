"""The objects of one run in the cluster: made once, found again, removed. Each function is one step of the runner."""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import structlog

from agentrun_operator import errors, facts, kube, manifest, models, names, progress, status
from agentrun_operator.runner import sources
from agentrun_operator.runner.deps import Deps

_log = structlog.get_logger(__name__)


async def create(deps: Deps, run: models.AgentRun) -> str:
    """Create Secret and Job, unless another run has the agent: then its name is returned, else "".

    The caller holds the agent's lock. Raises PromptMissingError, InvalidRunError, ApiError.
    """
    template = await sources.read_template(run, deps.client)
    inherited = await deps.own_pod.inherited_by(run)
    made = manifest.build(run, deps.config, template=template, scripts=deps.scripts, inherited=inherited)
    job = made.job
    labels = {key: value for key, value in job["metadata"]["labels"].items() if key in names.AGENT_LABELS}
    known = deps.world.known()
    for found in await deps.client.list_jobs(run.metadata.namespace, labels):
        deps.world.saw_listed_job(found, known=known)
    busy_with = deps.world.busy_with(run)
    if busy_with or deps.world.job_of(run.metadata.uid) is not None:
        return busy_with
    await _create_secret(deps, run, made.secret)
    try:
        deps.world.saw_job(await deps.client.create_job(job))
    except errors.RejectedError as e:
        raise errors.InvalidRunError(_refusal_code(e, errors.ErrorCode.JOB_CREATE_FAILED), str(e)) from e
    except errors.AlreadyExistsError as e:
        raise errors.UnavailableError(f"A Job of another owner has the name {job['metadata']['name']}") from e
    _log.info("job_created", job=job["metadata"]["name"])
    return ""


async def delete_secret(deps: Deps, run: models.AgentRun, *, has_job: bool) -> None:
    """Delete the run's own Secret: another run with the same ids has one of the same name.

    Who has the Job has the Secret, too; only a run without one has to ask.
    """
    name = names.prompt_secret_name(manifest.job_name(run))
    if has_job:
        await deps.client.delete_secret(run.metadata.namespace, name)
        return
    try:
        owner = await deps.client.get_secret_owner(run.metadata.namespace, name)
    except errors.NotFoundError:
        return
    if owner == run.metadata.uid:
        await deps.client.delete_secret(run.metadata.namespace, name)


async def find_own_job(deps: Deps, run: models.AgentRun) -> bool:
    """Whether the run has a Job after all, because a request to create it was carried out and not answered."""
    try:
        job = await deps.client.get_job(run.metadata.namespace, manifest.job_name(run))
    except errors.NotFoundError:
        return False
    if job.owner_uid != run.metadata.uid:
        return False
    deps.world.saw_job(job)
    return True


async def cancel_occupant(deps: Deps, run: models.AgentRun) -> None:
    """Ask for the end of the run that has the agent; its own supervisor stops it."""
    job = deps.world.occupant(run)
    if job is not None and job.owner_uid and not job.deleting:
        await deps.client.cancel_run(kube.Ref(namespace=job.namespace, name=job.owner_name, uid=job.owner_uid))
        _log.info("run_replaced", replaced=job.owner_name)


async def stop_job(deps: Deps, job: facts.JobFacts | None) -> None:
    """Delete the Job; the status says why by now."""
    if job is not None and not job.gone:
        await deps.client.delete_job(job)
        deps.world.saw_job(dataclasses.replace(deps.world.job_of(job.owner_uid) or job, deleting=True))
        _log.info("job_stopped", job=job.name)


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


async def _create_secret(deps: Deps, run: models.AgentRun, secret: Mapping[str, Any]) -> None:
    name = secret["metadata"]["name"]
    try:
        await deps.client.create_secret(secret)
    except errors.AlreadyExistsError as e:
        owner = await deps.client.get_secret_owner(run.metadata.namespace, name)
        if owner != run.metadata.uid:
            raise errors.UnavailableError(f"A Secret of another owner has the name {name}") from e
    except (errors.RejectedError, errors.NotFoundError) as e:
        raise errors.InvalidRunError(_refusal_code(e, errors.ErrorCode.PROMPT_SECRET_CREATE_FAILED), str(e)) from e


def _refusal_code(error: errors.ApiError, otherwise: errors.ErrorCode) -> errors.ErrorCode:
    return errors.ErrorCode.QUOTA_EXCEEDED if "exceeded quota" in str(error) else otherwise
