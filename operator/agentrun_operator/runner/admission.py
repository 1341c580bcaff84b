"""How a run gets its agent: its Job is created held, and started when no other Job of the agent is in the way.

The order of the steps is what makes it safe for any number of operators (docs/adr/0009): publish the Job, list the
agent's Jobs, write the Job into the status, start it. Whatever dies in between, the next operator goes on from there:
a held Job has never had a pod, and a Job that was started is in the status.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import structlog

from agentrun_operator import errors, facts, kube, manifest, models, names
from agentrun_operator.runner import objects, sources, words
from agentrun_operator.runner.deps import Deps
from agentrun_operator.runner.steps import Step
from agentrun_operator.status import guard, orphans

_log = structlog.get_logger(__name__)

_ROUNDS = 3  # lists in one go, when others change what was listed; then the run's own pause comes first


class StartForbiddenError(errors.ApiError):
    """The operator has no right to create what the run needs; ``code`` says what, should it stay so."""

    def __init__(self, code: errors.ErrorCode, cause: errors.ForbiddenError) -> None:
        super().__init__(str(cause), status=cause.status, reason=cause.reason)
        self.code = code


@dataclasses.dataclass(frozen=True, slots=True)
class Ledger:
    """How what was done becomes part of the AgentRun.

    ``settle`` waits, though not for long, for what kopf writes there when a run begins, and says whether the run is
    still wanted; ``record`` writes a Job into the status.
    """

    settle: Callable[[], Awaitable[bool]]
    record: Callable[[facts.JobFacts], Awaitable[None]]


async def admit(deps: Deps, run: models.AgentRun, ledger: Ledger) -> str:
    """Start the run's Job, created if need be. Returns what is in the way, in words; "" if it is worth another look.

    It was started then, or the run has been cancelled meanwhile. The caller holds the agent's lock. Raises
    PromptMissingError, InvalidRunError, ApiError.
    """
    job = deps.world.job_of(run)
    if job is None or job.gone:
        async with deps.making:
            found = await _find_or_publish(deps, run)
        if isinstance(found, str):
            return found
        job = found
    if not job.held:
        deps.world.saw_job(job)
        return ""
    if not await ledger.settle():
        return ""
    async with deps.starting:
        return await _pass_gate(deps, run, job, ledger)


async def _find_or_publish(deps: Deps, run: models.AgentRun) -> facts.JobFacts | str:
    """The run's Job; or what is in the way of it, in words ("" if a Job was adopted)."""
    jobs, pods = await _look(deps, run, afresh=bool(deps.world.unowned(run)))
    job = next((j for j in jobs if j.owner_uid == run.metadata.uid and j.attempt == run.attempt), None)
    if job is not None:
        return job
    rival = next((j for j in jobs if j.live), None) or next((j for j in jobs if guard.is_in_row(j)), None)
    if rival is not None:
        return await _meet(deps, run, rival)
    stray = _find_stray(jobs, pods)
    if stray:
        return stray
    ahead = deps.world.ahead(run)  # who came to look into a Job without a run, and found none, has not come first
    if ahead:
        return ahead
    await _clear(deps, jobs)
    return await _publish(deps, run)


async def _adopt(deps: Deps, run: models.AgentRun, job: facts.JobFacts) -> None:
    """Make a Job without an AgentRun the run's own. Raises ConflictError when somebody else was faster."""
    adopted = await deps.client.adopt_job(job, manifest.build_adoption(run, job))
    deps.world.saw_job(adopted)
    deps.reached(Step.JOB_ADOPTED)
    _log.info("job_adopted", job=job.name, reattached_from=adopted.reattached_from)


async def finish_adoption(deps: Deps, run: models.AgentRun, job: facts.JobFacts, ledger: Ledger) -> None:
    """The Secret of a Job that the run has adopted becomes its own, too; once the status names the Job, it may vanish.

    Whatever dies between this and the adoption, the finalizer on the Job tells that it is still to be done.
    """
    await ledger.record(job)
    deps.reached(Step.ADOPTION_RECORDED)
    secret = names.prompt_secret_name(job.name)
    await deps.client.adopt_secret(run.metadata.namespace, secret, manifest.build_owner(run))
    with contextlib.suppress(errors.NotFoundError):  # the watch will tell
        deps.world.saw_job(await deps.client.let_job_go(job))


async def _look(
    deps: Deps, run: models.AgentRun, since: facts.JobFacts | None = None, *, afresh: bool = False
) -> tuple[list[facts.JobFacts], list[facts.PodFacts]]:
    """The agent's Jobs and pods: all that were there when the Job ``since`` was made, if not later ones, too.

    From what the watches have shown, if that is as good as a list; ``afresh``: from etcd.
    """
    seen = None if afresh else await deps.world.view(run, since)
    if seen is not None:
        return seen
    labels, namespace = objects.agent_labels(run), run.metadata.namespace
    doubts = deps.world.doubts(run)
    async with deps.lists:
        jobs, pods = await asyncio.gather(
            deps.client.list_jobs(namespace, labels), deps.client.list_pods(namespace, labels)
        )
    for job in jobs:
        deps.world.saw_job(job)
    for pod in pods:  # a Job that is adopted may have had its pod for long
        deps.world.saw_pod(pod)
    deps.world.settle(run, doubts)
    return jobs, pods


def _find_stray(jobs: Iterable[facts.JobFacts], pods: Iterable[facts.PodFacts]) -> str:
    """A pod at work whose Job is over, in words; "" if there is none."""
    there = {job.uid for job in jobs if not job.finished}
    stray = next((pod for pod in pods if not pod.finished and pod.job_uid not in there), None)
    return words.describe_stray(stray) if stray else ""


async def _meet(deps: Deps, run: models.AgentRun, job: facts.JobFacts) -> str:
    """Another Job has the agent: it is waited for, or adopted if its AgentRun is gone and it is the run's own work."""
    rival = words.describe(job, of=run)
    if job.deleting or not await _is_orphan(deps, job):
        return rival
    if job.held:
        await _clear_gate(deps, job)
        return rival
    if not run.spec.reattach:
        return rival
    mismatch = orphans.find_mismatch(run, job)
    if mismatch is not None and job.owner_uid:
        return rival  # nobody let it go: the garbage collector will delete it, however long it takes
    if mismatch is not None:
        raise mismatch
    await _adopt(deps, run, job)
    return ""


async def _clear(deps: Deps, jobs: Iterable[facts.JobFacts]) -> None:
    """Remove finished Jobs that belong to nobody, with their Secrets; nothing else would, if they have no TTL."""
    for job in jobs:
        if job.finished and not job.owner_uid and not job.deleting:
            await deps.client.delete_job(job)
            await deps.client.delete_secret(job.namespace, names.prompt_secret_name(job.name))
            _log.info("orphan_removed", job=job.name)


async def _clear_gate(deps: Deps, job: facts.JobFacts) -> None:
    """Remove a held Job that never had a pod and that nobody is there to start, and the Secret made for it.

    The Job goes last: as long as it is there, whoever needs the agent comes by again.
    """
    secret = names.prompt_secret_name(job.name)
    try:
        owner = await deps.client.get_secret_owner(job.namespace, secret)
    except errors.NotFoundError:
        owner = None
    if owner == job.owner_uid:
        await deps.client.delete_secret(job.namespace, secret)
    await deps.client.delete_job(job)


async def _is_orphan(deps: Deps, job: facts.JobFacts) -> bool:
    """Whether the AgentRun that the Job belongs to does not exist; of a held Job also whether it will not start it."""
    if not job.owner_uid:
        return True
    if deps.world.is_followed(job.owner_uid):
        return False
    try:
        body = await deps.client.get_run(job.namespace, job.owner_name)
    except errors.NotFoundError:
        return True
    phase = (body.get("status") or {}).get("phase")
    ended = phase is not None and models.Phase(phase).final
    return bool(body["metadata"]["uid"] != job.owner_uid) or (job.held and ended)


async def _publish(deps: Deps, run: models.AgentRun) -> facts.JobFacts:
    """Create Secret and Job; the Job is held."""
    template = await sources.read_template(run, deps.client)
    inherited = await deps.own_pod.inherited_by(run)
    made = manifest.build(run, deps.config, template=template, scripts=deps.scripts, inherited=inherited)
    await _create_secret(deps, run, made.secret)
    deps.reached(Step.SECRET_CREATED)
    try:
        job = await deps.client.create_job(made.job)
    except errors.ForbiddenError as e:
        raise StartForbiddenError(errors.ErrorCode.JOB_CREATE_FAILED, e) from e
    except errors.RejectedError as e:
        raise errors.InvalidRunError(_refusal_code(e, errors.ErrorCode.JOB_CREATE_FAILED), str(e)) from e
    except errors.AlreadyExistsError as e:
        job = await deps.client.get_job(run.metadata.namespace, made.job["metadata"]["name"])
        if job.owner_uid != run.metadata.uid:
            raise errors.UnavailableError(f"A Job of another owner has the name {job.name}") from e
    deps.world.saw_job(job)
    deps.reached(Step.JOB_HELD)
    _log.info("job_created", job=job.name)
    return job


async def _pass_gate(deps: Deps, run: models.AgentRun, published: facts.JobFacts, ledger: Ledger) -> str:
    for number in range(_ROUNDS):
        jobs, pods = await _look(deps, run, published, afresh=number > 0)
        mine = next((job for job in jobs if job.uid == published.uid), None)
        if mine is None:
            raise errors.UnavailableError("The Job was deleted before it was started.")
        if not mine.held:
            return ""  # by another operator, or by hand
        stray = _find_stray(jobs, pods) or deps.world.fading(run)
        if stray:
            return stray
        turn = guard.decide(mine, jobs)
        if turn.wait_for is not None:
            if turn.wait_for.held and await _is_orphan(deps, turn.wait_for):
                await _clear_gate(deps, turn.wait_for)
            return words.describe(turn.wait_for, of=run)
        deps.reached(Step.GUARD_PASSED)
        try:
            await _mark(deps, mine, turn)
        except errors.ConflictError as e:
            _log.info("gate_changed", job=mine.name, error=str(e))
            continue
        await ledger.record(mine)  # a conflict is not the gate's: who else wrote the status may have ended the run
        deps.reached(Step.JOB_RECORDED)
        try:
            await _start(deps, run, mine)
        except errors.ConflictError as e:
            _log.info("gate_changed", job=mine.name, error=str(e))
            continue
        return ""
    raise errors.UnavailableError(f"The agent {run.spec.agent.id} changed hands while its run was being started.")


async def _mark(deps: Deps, mine: facts.JobFacts, turn: guard.Turn) -> None:
    for other in turn.mark:
        deps.world.saw_job(await deps.client.mark_job(other, mine.uid))


async def _start(deps: Deps, run: models.AgentRun, mine: facts.JobFacts) -> None:
    deps.world.saw_job(await deps.client.start_job(mine, queue=run.spec.job.queue_name))
    deps.reached(Step.JOB_STARTED)
    _log.info("job_started", job=mine.name)


async def cancel_occupant(deps: Deps, run: models.AgentRun) -> None:
    """Ask for the end of the run that has the agent; its own supervisor stops it."""
    occupant = deps.world.occupant(run)
    job = occupant.job if occupant else None
    if job is None or not job.owner_uid or job.owner_uid == run.metadata.uid or job.deleting:
        return
    victim = kube.Ref(namespace=job.namespace, name=job.owner_name, uid=job.owner_uid)
    await deps.client.cancel_run(victim, replaced_by=run.metadata.name)
    deps.reached(Step.RIVAL_CANCELLED)
    _log.info("run_replaced", replaced=job.owner_name)


async def _create_secret(deps: Deps, run: models.AgentRun, secret: Mapping[str, Any]) -> None:
    name = secret["metadata"]["name"]
    try:
        await deps.client.create_secret(secret)
    except errors.AlreadyExistsError as e:
        owner = await deps.client.get_secret_owner(run.metadata.namespace, name)
        if owner != run.metadata.uid:
            raise errors.UnavailableError(f"A Secret of another owner has the name {name}") from e
    except errors.ForbiddenError as e:
        raise StartForbiddenError(errors.ErrorCode.PROMPT_SECRET_CREATE_FAILED, e) from e
    except (errors.RejectedError, errors.NotFoundError) as e:
        raise errors.InvalidRunError(_refusal_code(e, errors.ErrorCode.PROMPT_SECRET_CREATE_FAILED), str(e)) from e


def _refusal_code(error: errors.ApiError, otherwise: errors.ErrorCode) -> errors.ErrorCode:
    return errors.ErrorCode.QUOTA_EXCEEDED if "exceeded quota" in str(error) else otherwise
