"""Supervise one run: look, let ``status.plan`` decide, carry it out, sleep until something changed.

The loop keeps no state that matters: what it knows comes from the AgentRun, from Job and pod, and from the log file.
Kill it at any await and a new one, in this process or the next, goes on from there. The order of writes makes that
safe:

* Secret, then Job, both owned by the AgentRun and with names derived from it: creating one twice is refused by the API.
* The reason for a stop is written before the Job is deleted; the end is written last, after everything was cleaned up.

An API request without an answer is never a reason to conclude anything: the step is tried again, later and later.
"""

import asyncio
import contextlib
import dataclasses
import datetime
import functools
import random
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from agentrun_operator import errors, facts, forensics, kube, models, names, redaction, status, tail
from agentrun_operator.runner import objects, sources
from agentrun_operator.runner.announcer import Announcer
from agentrun_operator.runner.deps import Deps, keep_in_sync
from agentrun_operator.runner.retention import Caretaker
from agentrun_operator.runner.sources import OwnPod, SecretValues
from agentrun_operator.runner.steps import Step
from agentrun_operator.runner.world import World
from agentrun_operator.status import fields

__all__ = ["Announcer", "Caretaker", "Deps", "OwnPod", "SecretValues", "Step", "Supervisor", "World", "keep_in_sync"]

_log = structlog.get_logger(__name__)

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0


class Supervisor:
    """The loop for one run. ``read`` returns the AgentRun as the watch last showed it."""

    def __init__(self, deps: Deps, read: Callable[[], Mapping[str, Any]]) -> None:
        self._deps = deps
        self._read = read
        self._written: dict[str, Any] = dict(read().get("status") or {})
        self._written_at: datetime.datetime | None = None
        self._tail: tail.LogTail | None = None
        self._pod_log: status.LogSeen | None = None
        self._busy_with = ""
        self._prompt_missing = ""
        self._trouble = ""
        self._trouble_since: datetime.datetime | None = None
        self._refusal: forensics.Failure | None = None
        self._redactor: redaction.Redactor | None = None
        self._backoff = 0.0
        self._began = _now()

    async def run(self) -> None:
        """Follow the run to its end. Returns then; may be cancelled at any time."""
        try:
            run = models.AgentRun.parse(self._read())
        except errors.InvalidRunError as e:
            await self._give_up(e)
            return
        structlog.contextvars.bind_contextvars(
            run=f"{run.metadata.namespace}/{run.metadata.name}", agent=run.spec.agent.id, company=run.spec.company_id
        )
        changed = self._deps.world.join(run)
        try:
            while not run.is_final:
                changed.clear()
                look_again = await self._step(run)
                if look_again is None:
                    return
                await _sleep(changed, look_again)
                run = models.AgentRun.parse(self._read())
        finally:
            self._deps.world.leave(run)
            if self._tail is not None:
                self._tail.close()

    async def _step(self, run: models.AgentRun) -> float | None:
        """One look and what follows from it. Returns the seconds until the next look, None at the end."""
        if self._job(run) is None:
            self._deps.world.stand(run, ready=not run.spec.suspend and not self._prompt_missing)
        plan = None
        try:
            seen = await self._clean(run, self._observe(run))
            plan = status.plan(run, seen, self._deps.config)
            look_again = await self._carry_out(run, plan)
        except errors.NotFoundError as e:
            _log.info("run_is_gone", error=str(e))
            return None
        except errors.ApiError as e:
            _log.warning("api_trouble", action=plan.action.value if plan else "look", error=str(e), status=e.status)
            return self._next_backoff()
        if not self._trouble:
            self._backoff = 0.0
        return look_again

    async def _carry_out(self, run: models.AgentRun, plan: status.Plan) -> float | None:
        match plan.action:
            case status.Action.ADMIT:
                return await self._admit(run, plan.look_again)
            case status.Action.REPLACE:
                await self._write(run, plan.write)
                await objects.cancel_occupant(self._deps, run)
            case status.Action.DRAIN:
                return await self._drain(run, plan.look_again)
            case status.Action.STOP:
                await self._write(run, plan.write)
                await objects.stop_job(self._deps, self._job(run))
            case status.Action.FINISH:
                if self._job(run) is None and await objects.find_own_job(self._deps, run):
                    return 0  # a request that was cut off had created it after all
                await objects.delete_secret(self._deps, run, has_job=self._job(run) is not None)
                await self._write(run, await self._tidied(run, plan.write))
                _log.info("run_finished", phase=self._written.get("phase"), reason=self._written.get("reason"))
                return None
            case status.Action.WAIT:
                await self._write(run, plan.write)
        return plan.look_again

    # --- looking -------------------------------------------------------------------------------------------------

    def _observe(self, run: models.AgentRun) -> status.Observed:
        job = self._job(run)
        pod = self._deps.world.pod_of(job.uid) if job else None
        if job is not None:
            self._deps.world.admitted(run)
            self._follow(job, pod)
        return status.Observed(
            now=_now(),
            job=job,
            # A Job that was gone before this operator began is gone since then at the latest.
            job_gone_at=(self._deps.world.gone_at(job.uid) or self._began) if job and job.gone else None,
            pod=pod,
            log=self._log_seen(pod),
            busy_with=self._busy_with and self._deps.world.busy_with(run),
            occupied=self._deps.world.occupant(run) is not None,
            prompt_missing=self._prompt_missing,
            trouble=self._trouble,
            trouble_since=self._trouble_since,
            refusal=self._refusal,
            written=self._written,
            written_at=self._written_at,
        )

    async def _clean(self, run: models.AgentRun, seen: status.Observed) -> status.Observed:
        """Take credentials out of the agent's words. The Secrets are read when there is something to quote."""
        if not seen.log.quotable:
            return seen
        if self._redactor is None:
            self._redactor = await self._deps.secrets.redactor(run)
        return dataclasses.replace(seen, log=seen.log.cleaned(self._redactor))

    def _job(self, run: models.AgentRun) -> facts.JobFacts | None:
        job = self._deps.world.job_of(run.metadata.uid)
        recorded = self._written.get("job")
        if job is not None or not recorded:
            return job
        # The status says that there was a Job; the watches, which have seen all Jobs, do not know it: it is gone.
        return facts.JobFacts(
            name=recorded["name"],
            namespace=run.metadata.namespace,
            uid=recorded["uid"],
            owner_uid=run.metadata.uid,
            owner_name=run.metadata.name,
            agent_key=run.agent_key,
            log_path=self._written.get("logPath", ""),
            created_at=self._written.get("startTime", ""),
            gone=True,
        )

    def _follow(self, job: facts.JobFacts, pod: facts.PodFacts | None) -> None:
        """Start the tail once the agent has started; before that, the file at the path may be another run's."""
        started = pod is not None and pod.main is not None and pod.main.has_started
        if self._tail is not None or not job.log_path or not (started or job.finished):
            return
        try:
            path = self._deps.config.local_path(job.log_path)
        except ValueError:  # the mount was moved by a setting since the Job was made: its pod's own log comes next
            path = None
        if path is None:
            return
        loop = asyncio.get_running_loop()
        self._tail = self._deps.tailer.follow(
            path,
            stderr_path=names.stderr_path(path),
            on_drained=functools.partial(_from_thread, loop, self._deps.world.wake, job.owner_uid),
        )

    def _log_seen(self, pod: facts.PodFacts | None) -> status.LogSeen:
        if self._pod_log is not None:
            return self._pod_log
        seen = self._tail.view() if self._tail else status.LogSeen(followed=bool(self._deps.config.data_path))
        # A file that never appeared, or lacks its end, is not the end of the search: the pod's own log comes next.
        return seen if seen.found and not fields.lacks_its_end(seen, pod) else dataclasses.replace(seen, drained=False)

    # --- acting --------------------------------------------------------------------------------------------------

    async def _admit(self, run: models.AgentRun, look_again: float) -> float:
        """Check that the agent is free and create Secret and Job, as one critical section per agent."""
        missed = self._prompt_missing
        self._prompt_missing = ""
        async with self._deps.world.lock(run):
            self._busy_with = self._deps.world.busy_with(run)
            try:
                if not self._busy_with:
                    self._busy_with = await objects.create(self._deps, run)
            except errors.ApiError as e:
                self._trouble, self._trouble_since = str(e), self._trouble_since or _now()
                _log.warning("start_delayed", error=str(e), status=e.status)
                return self._next_backoff()
            except errors.InvalidRunError as e:
                self._refusal = forensics.Failure(code=e.code, message=str(e))
            except sources.PromptMissingError as e:
                self._prompt_missing = str(e)
                if self._prompt_missing == missed:
                    return look_again
        self._trouble, self._trouble_since = "", None
        return 0

    async def _drain(self, run: models.AgentRun, look_again: float) -> float:
        """Read the log to its end: the file, or else the pod's own log, once."""
        job = self._job(run)
        pod = self._deps.world.pod_of(job.uid) if job else None
        never_started = pod is not None and (pod.main is None or not pod.main.has_started)
        if never_started:
            self._pod_log = status.LogSeen(drained=True)
            return 0
        seen = status.LogSeen(drained=True)
        if self._tail is not None:
            self._tail.drain(fields.expected_log_bytes(pod))
            seen = self._tail.view()
            if not seen.drained:
                return look_again
            if seen.found and not fields.lacks_its_end(seen, pod):  # it came to its end since the plan was made
                return 0
        from_pod = await objects.read_pod_log(self._deps, run, pod)
        self._pod_log = _fuller(from_pod, seen)
        return 0

    async def _tidied(self, run: models.AgentRun, after: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The last status, once the log is as it is to be kept."""
        redactor = self._redactor or redaction.Redactor()
        if after is None or not await self._deps.caretaker.finish(run, redactor):
            return after
        return {key: value for key, value in after.items() if key != "logPath"}

    async def _write(self, run: models.AgentRun, after: Mapping[str, Any] | None) -> None:
        if after is None:
            return
        await self._deps.client.write_run_status(_ref(run.metadata), after)
        _log.debug("status_written", fields=sorted(fields.changed(self._written, after)))
        before, self._written = self._written, dict(after)
        self._written_at = _now()
        self._deps.announcer.announce(_ref(run.metadata), before, self._written)

    async def _give_up(self, error: errors.InvalidRunError) -> None:
        meta = models.ObjectMeta.model_validate(self._read()["metadata"])
        after = fields.unreadable(self._written, error, generation=meta.generation, now=_now())
        await self._deps.client.write_run_status(_ref(meta), after)

    def _next_backoff(self) -> float:
        self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS)
        return self._backoff * random.uniform(0.5, 1)  # noqa: S311 - spreads retries, guards nothing


def _fuller(from_pod: status.LogSeen, from_file: status.LogSeen) -> status.LogSeen:
    """The log that has the end, or else more of it: both can be short, for a pod's log is rotated."""
    pod, file = from_pod.transcript, from_file.transcript
    if (pod.result_seen, pod.bytes) >= (file.result_seen, file.bytes):
        return dataclasses.replace(from_pod, stderr_tail=from_file.stderr_tail or from_pod.stderr_tail)
    return dataclasses.replace(from_file, found=True)


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[str], None], argument: str) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended: so has everybody who could be told
        loop.call_soon_threadsafe(call, argument)


def _ref(meta: models.ObjectMeta) -> kube.Ref:
    return kube.Ref(namespace=meta.namespace, name=meta.name, uid=meta.uid)


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
