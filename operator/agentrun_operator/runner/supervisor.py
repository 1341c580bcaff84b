"""Supervise one run: look, let ``status.plan`` decide, carry it out, sleep until something changed.

The loop keeps no state that matters: what it knows comes from the AgentRun, from Job and pod, and from the log file.
Kill it at any await and a new one, in this process or the next, goes on from there. The order of writes makes that
safe:

* Secret, then Job, both owned by the AgentRun and with names derived from it: creating one twice is refused by the API.
* The Job is written into the status before it is started, and the reason for a stop before the Job is deleted; the end
  is written last, after everything was cleaned up. Only that of a run without a Job comes first (``_end``).

An API request without an answer is never a reason to conclude anything: the step is tried again, later and later.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import random
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from agentrun_operator import errors, facts, forensics, manifest, models, redaction, status
from agentrun_operator.runner import admission, objects, sources
from agentrun_operator.runner.deps import Deps, named
from agentrun_operator.runner.record import Record
from agentrun_operator.runner.runlog import RunLog
from agentrun_operator.runner.steps import Step
from agentrun_operator.status import fields

_log = structlog.get_logger(__name__)

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_SETTLE_SECONDS = 5.0


class Supervisor:
    """The loop for one run. ``read`` returns the AgentRun as the watch last showed it."""

    def __init__(self, deps: Deps, read: Callable[[], Mapping[str, Any]]) -> None:
        self._deps = deps
        self._record = Record(deps, read)
        self._log = RunLog(deps)
        self._changed = asyncio.Event()  # set when there is something new to look at
        self._attempt = 0
        self._busy_with = ""
        self._met = ""  # the Job without a followed run that was looked into
        self._vanished = ""  # the uid of its own Job, once the API server knew nothing of it
        self._asked_for_pods = ""  # the uid of its own Job that was gone before a pod of it was shown
        self._prompt_missing = ""
        self._trouble = ""
        self._trouble_since: datetime.datetime | None = None
        self._trouble_code: errors.ErrorCode | None = None
        self._refusal: forensics.Failure | None = None
        self._redactor: redaction.Redactor | None = None
        self._credential = ""
        self._backoff = 0.0

    async def run(self, *, resumed: bool = False) -> None:
        """Follow the run to its end. Returns then; may be cancelled at any time.

        ``resumed``: another supervisor of the run was cancelled here, perhaps in the middle of a step.
        """
        structlog.contextvars.bind_contextvars(**named(self._record.body))
        try:
            run = self._record.run()
        except errors.InvalidRunError as e:
            await self._give_up(e)
            return
        self._attempt = run.attempt
        self._changed, looked = self._deps.world.join(run), resumed
        self._deps.meters.follow(run, self._record.status, resumed=resumed)
        try:
            while not (self._record.is_final or run.lets_go):
                looked = True
                self._changed.clear()
                look_again = await self._step(run)
                if look_again is None:
                    return
                await _sleep(self._changed, look_again)
                run = self._record.run()
                if run.attempt != self._attempt:
                    self._begin(run)
            if looked and not run.lets_go:
                await self._take_back(run)
        finally:
            self._deps.world.leave(run)
            self._deps.meters.leave(run.metadata.uid)
            self._deps.written.pop(run.metadata.uid, None)
            self._log.close()
            self._deps.garbage.leave()

    def _begin(self, run: models.AgentRun) -> None:
        """Another attempt: nothing of the last one is known any more."""
        self._attempt = run.attempt
        self._log.close()
        self._log = RunLog(self._deps)
        self._refusal = None
        self._busy_with = self._met = self._prompt_missing = self._trouble = ""
        self._trouble_since = None

    async def _step(self, run: models.AgentRun) -> float | None:
        """One look and what follows from it. Returns the seconds until the next look, None at the end."""
        plan = None
        try:
            await self._find_job(run)
            await self._find_pod(run)
            await self._take_place(run)
            await self._finish_adoption(run)
            seen = await self._clean(run, self._observe(run))
            plan = status.plan(run, seen, self._deps.config)
            look_again = await self._carry_out(run, plan)
        except errors.NotFoundError as e:
            _log.info("run_is_gone", error=str(e))
            return None
        except errors.ApiError as e:
            _log.warning("api_trouble", action=plan.action.value if plan else "look", error=str(e), status=e.status)
            if isinstance(e, errors.ConflictError):
                self._refusal = None  # another operator may have got what was refused here
            return self._next_backoff(e)
        if not self._trouble:
            self._backoff = 0.0
        return look_again

    async def _carry_out(self, run: models.AgentRun, plan: status.Plan) -> float | None:
        reached = self._deps.reached
        match plan.action:
            case status.Action.ADMIT:
                return await self._admit(run, plan.look_again)
            case status.Action.REPLACE:
                await self._record.write(plan.write)
                await admission.cancel_occupant(self._deps, run)
            case status.Action.DRAIN:
                job = self._job(run)
                pod = self._deps.world.pod_of(job.uid) if job else None
                look_again = await self._log.drain(run, pod, plan.look_again)
                reached(Step.LOG_DRAINED)
                return look_again
            case status.Action.STOP:
                await self._record.write(plan.write)
                reached(Step.STOP_RECORDED)
                await objects.stop(self._deps, run, self._job(run))
                reached(Step.JOB_DELETED)
            case status.Action.RETRY | status.Action.FINISH:
                return await self._end(run, plan)
            case status.Action.WAIT:
                await self._record.write(plan.write)
                reached(Step.STATUS_WRITTEN)
        return plan.look_again

    # --- looking -------------------------------------------------------------------------------------------------

    async def _find_job(self, run: models.AgentRun) -> None:
        """Ask for the Job that the status names and no watch has shown: another operator may just have made it."""
        recorded = self._record.status.get("job")
        if not recorded or recorded["uid"] == self._vanished or self._deps.world.job_of(run) is not None:
            return
        if not await objects.find_own_job(self._deps, run, recorded["name"]):
            self._vanished = recorded["uid"]

    async def _find_pod(self, run: models.AgentRun) -> None:
        """Ask for the pod of a Job that is gone, if none was shown: that does not mean that there is none."""
        job = self._job(run)
        if job is None or not job.gone or job.uid == self._asked_for_pods or self._deps.world.pod_of(job.uid):
            return
        await objects.find_pods(self._deps, run)
        self._asked_for_pods = job.uid

    async def _take_place(self, run: models.AgentRun) -> None:
        """Stand in the agent's queue, or do not: who waits for something else holds nobody up."""
        job = self._job(run)
        if job is not None and not job.held:
            self._deps.world.admitted(run)
            return
        if not self._credential:
            await self._find_credential(run)
        delayed = job is None and status.is_delayed(run, self._observe(run))
        ready = not (run.spec.suspend or self._prompt_missing or delayed) or job is not None
        self._deps.world.stand(run, ready=ready)

    async def _finish_adoption(self, run: models.AgentRun) -> None:
        job = self._job(run)
        if job is not None and job.adopting:
            await admission.finish_adoption(self._deps, run, job, self._ledger())

    async def _find_credential(self, run: models.AgentRun) -> None:
        try:
            self._credential = await sources.find_credential(run, self._deps.config, self._deps.own_pod)
        except (errors.InvalidRunError, errors.ApiError):
            return  # what is wrong will be told when its Job is to be made
        until = self._record.status.get("nextAttemptTime")
        # An operator before this one may have learned it.
        if until and self._record.status.get("reason") == models.Reason.USAGE_LIMITED:
            self._deps.world.limit(self._credential, datetime.datetime.fromisoformat(until))

    def _observe(self, run: models.AgentRun) -> status.Observed:
        world = self._deps.world
        job = self._job(run)
        pod = world.pod_of(job.uid) if job else None
        if job is not None and not job.held:
            self._log.follow(job, pod)
            if job.reattached_from and pod is not None and pod.main is not None and pod.main.has_started:
                self._deps.caretaker.reown(run, job.log_path)
        occupant = world.occupant(run)
        occupying = occupant.job if occupant else None
        own_leftover = occupying is not None and occupying.owner_uid == run.metadata.uid
        return status.Observed(
            now=_now(),
            job=job,
            pod=pod,
            log=self._log.seen(pod).as_known(self._record.status),
            busy_with=self._still_busy(run),
            occupied=occupying is not None and not own_leftover,
            own_leftover=own_leftover,
            limited_until=world.limited_until(self._credential),
            prompt_missing=self._prompt_missing,
            trouble=self._trouble,
            trouble_since=self._trouble_since,
            trouble_code=self._trouble_code,
            refusal=self._refusal,
            written=self._record.status,
            written_at=self._record.written_at,
            live_runs=world.live_runs,
        )

    def _still_busy(self, run: models.AgentRun) -> str:
        """What was in the way and still is; "" when it is time to try. Each Job without a run is looked into once."""
        if not self._busy_with or self._deps.world.unowned(run) != self._met:
            return ""
        return self._deps.world.busy_with(run)

    async def _clean(self, run: models.AgentRun, seen: status.Observed) -> status.Observed:
        """Take credentials out of the agent's words. The Secrets are read when there is something to quote."""
        if not seen.log.quotable:
            return seen
        if self._redactor is None:
            self._redactor = await self._deps.secrets.redactor(run)
        return dataclasses.replace(seen, log=seen.log.cleaned(self._redactor))

    def _job(self, run: models.AgentRun) -> facts.JobFacts | None:
        job = self._deps.world.job_of(run)
        recorded = self._record.status.get("job")
        if job is not None and job.held and self._deps.world.pod_of(job.uid) is not None:
            return dataclasses.replace(job, suspended=False, gate="")  # a pod says so, before the watch of Jobs does
        if job is not None and job.gone and job.held and not recorded:
            return None  # it never had a pod, and nobody was told of it
        if job is not None or not recorded:
            return job
        # The status says that there was a Job; neither the watches nor the API server know it: it is gone.
        return facts.JobFacts(
            name=recorded["name"],
            namespace=run.metadata.namespace,
            uid=recorded["uid"],
            owner_uid=run.metadata.uid,
            owner_name=run.metadata.name,
            agent_key=run.agent_key,
            attempt=run.attempt,
            log_path=self._record.status.get("logPath", ""),
            created_at=self._record.status.get("startTime", ""),
            gone=True,
        )

    # --- acting --------------------------------------------------------------------------------------------------

    async def _admit(self, run: models.AgentRun, look_again: float) -> float:
        """Check that the agent is free and start the Job, as one critical section per agent and process."""
        missed = self._prompt_missing
        self._prompt_missing = ""
        world = self._deps.world
        async with world.lock(run):
            self._busy_with = world.busy_with(run)
            try:
                if not self._busy_with or world.unowned(run):
                    self._busy_with = await admission.admit(self._deps, run, self._ledger())
            except errors.ApiError as e:
                self._trouble, self._trouble_since = str(e), self._trouble_since or _now()
                self._trouble_code = e.code if isinstance(e, admission.StartForbiddenError) else None
                _log.warning("start_delayed", error=str(e), status=e.status)
                return self._next_backoff(e)
            except errors.InvalidRunError as e:
                self._refusal = forensics.Failure(code=e.code, message=str(e))
            except sources.PromptMissingError as e:
                self._prompt_missing = str(e)
                if self._prompt_missing == missed:
                    return look_again
        self._trouble, self._trouble_since = "", None
        self._met = world.unowned(run)
        if self._busy_with and not self._still_busy(run):
            return self._next_backoff()  # the list shows more than the watches do yet
        return 0

    def _ledger(self) -> admission.Ledger:
        """Made anew each time: kept, it would refer back, and an ended run would wait for a collection of garbage."""
        return admission.Ledger(settle=self._settle, record=self._note)

    async def _settle(self) -> bool:
        """Wait until kopf's finalizer is on the AgentRun, or for five seconds. Whether the run may go on.

        kopf writes it while the run begins; a status that was made from before would meet a conflict.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                while not (self._record.is_settled or self._record.run().stop_wanted):
                    self._changed.clear()
                    await self._changed.wait()
        self._changed.set()  # whatever else it told of has not been looked at
        return not self._record.run().stop_wanted

    async def _note(self, job: facts.JobFacts) -> None:
        """Write the Job into the status, before it is started or may vanish."""
        run = self._record.run()
        recorded = self._record.status.get("job") or {}
        if recorded.get("uid") != job.uid:
            seen = dataclasses.replace(self._observe(run), job=job)
            await self._record.write(fields.live(run, job, seen))

    async def _end(self, run: models.AgentRun, plan: status.Plan) -> float | None:
        """The attempt has ended: clean up, and write last what became of it.

        The end of a run without a Job is written first: another operator may be about to start it, and of the two
        whoever writes first is right.
        """
        job = self._job(run)
        if job is None and await objects.find_own_job(self._deps, run, manifest.job_name(run)):
            return 0  # a request that was cut off had created it after all
        unmade = job is None and plan.action is status.Action.FINISH
        if not unmade:
            await objects.delete_secret(self._deps, run, job)
            self._deps.reached(Step.SECRET_DELETED)
        if plan.limited_until and self._credential:  # others that have it need not find out for themselves
            until = datetime.datetime.fromisoformat(plan.limited_until)
            self._deps.world.limit(self._credential, until)
        log_path = job.log_path if job else ""
        removed = await self._deps.caretaker.finish(run, log_path, self._redactor or redaction.Redactor())
        await self._record.write(fields.without_log(plan.write or {}, run.attempt) if removed else plan.write)
        if plan.action is status.Action.RETRY:
            self._deps.reached(Step.ATTEMPT_ENDED)
            _log.info("attempt_ended", attempt=run.attempt, message=self._record.status.get("message"))
            return 0
        if unmade:
            await self._take_back(run)
        self._deps.reached(Step.RUN_ENDED)
        _log.info("run_finished", phase=self._record.status.get("phase"), reason=self._record.status.get("reason"))
        return None

    async def _take_back(self, run: models.AgentRun) -> None:
        """The run has ended before its start: remove what was made for the start."""
        while not self._record.status.get("job"):
            job = self._deps.world.job_of(run)
            try:
                await objects.delete_secret(self._deps, run, None)
                if job is not None and job.held and not job.gone:  # last: while it is there, others clean up, too
                    await self._deps.client.delete_job(job)
                return
            except errors.ApiError as e:
                _log.warning("api_trouble", action="take back", error=str(e), status=e.status)
                await asyncio.sleep(self._next_backoff(e))

    async def _give_up(self, error: errors.InvalidRunError) -> None:
        meta = models.ObjectMeta.model_validate(self._record.body["metadata"])
        await self._record.write(fields.unreadable(self._record.status, error, generation=meta.generation, now=_now()))
        self._deps.written.pop(meta.uid, None)

    def _next_backoff(self, error: errors.ApiError | None = None) -> float:
        self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS)
        asked = getattr(error, "retry_after", 0.0)
        return max(self._backoff * random.uniform(0.5, 1), asked)  # noqa: S311 - spreads retries, guards nothing


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def _sleep(changed: asyncio.Event, seconds: float) -> None:
    if seconds <= 0:
        return
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        pass
