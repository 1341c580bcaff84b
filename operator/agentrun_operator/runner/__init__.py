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

from agentrun_operator import errors, facts, forensics, kube, manifest, models, names, progress, settings, status, tail
from agentrun_operator.runner.world import World
from agentrun_operator.status import fields

__all__ = ["Deps", "Supervisor", "World", "keep_in_sync"]

_log = structlog.get_logger(__name__)

_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_RESYNC_SECONDS = 300  # kopf's watch does not tell what vanished while it was reconnecting; a list does


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """What all runs share."""

    config: settings.Settings
    client: kube.KubeClient
    world: World
    tailer: tail.Tailer
    script: str
    tasks: list[asyncio.Task[None]] = dataclasses.field(default_factory=list)

    def __copy__(self) -> "Deps":
        """As a memo of kopf, which copies it for every object: this one is meant to be shared."""
        return self


async def keep_in_sync(deps: Deps, *, once: bool = False) -> None:
    """List all Jobs and pods now (and, unless ``once``, every five minutes), so that nothing vanishes unseen."""
    while True:
        try:
            known = deps.world.known()
            jobs, pods = [], []
            for namespace in deps.config.watched_namespaces or ("",):
                jobs += await deps.client.list_jobs(namespace)
                pods += await deps.client.list_pods(namespace)
            deps.world.replace_all(jobs, pods, known=known)
        except errors.ApiError as e:
            if once:
                raise
            _log.warning("resync_failed", error=str(e))
        if once:
            return
        await asyncio.sleep(_RESYNC_SECONDS)


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
        self._trouble = ""
        self._trouble_since: datetime.datetime | None = None
        self._refusal: forensics.Failure | None = None
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
        plan = status.plan(run, self._observe(run), self._deps.config)
        try:
            look_again = await self._carry_out(run, plan)
        except errors.NotFoundError as e:
            _log.info("run_is_gone", error=str(e))
            return None
        except errors.ApiError as e:
            _log.warning("api_trouble", action=plan.action.value, error=str(e), status=e.status)
            return self._next_backoff()
        if not self._trouble:
            self._backoff = 0.0
        return look_again

    async def _carry_out(self, run: models.AgentRun, plan: status.Plan) -> float | None:
        match plan.action:
            case status.Action.ADMIT:
                return await self._admit(run)
            case status.Action.DRAIN:
                return await self._drain(run, plan.look_again)
            case status.Action.STOP:
                await self._write(run, plan.write)
                await self._stop_job(run)
            case status.Action.FINISH:
                if self._job(run) is None and await self._find_own_job(run):
                    return 0  # a request that was cut off had created it after all
                await self._delete_secret(run)
                await self._write(run, plan.write)
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
            log=self._log_seen(),
            busy_with=self._busy_with and self._deps.world.busy_with(run),
            trouble=self._trouble,
            trouble_since=self._trouble_since,
            refusal=self._refusal,
            written=self._written,
            written_at=self._written_at,
        )

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

    def _log_seen(self) -> status.LogSeen:
        if self._pod_log is not None:
            return self._pod_log
        seen = self._tail.view() if self._tail else status.LogSeen(followed=bool(self._deps.config.data_path))
        # A file that never appeared is not the end of the search: the pod's own log comes next.
        return seen if seen.found else dataclasses.replace(seen, drained=False)

    # --- acting --------------------------------------------------------------------------------------------------

    async def _admit(self, run: models.AgentRun) -> float:
        """Check that the agent is free and create Secret and Job, as one critical section per agent."""
        async with self._deps.world.lock(run):
            self._busy_with = self._deps.world.busy_with(run)
            try:
                if not self._busy_with:
                    await self._create(run)
            except errors.ApiError as e:
                self._trouble, self._trouble_since = str(e), self._trouble_since or _now()
                _log.warning("start_delayed", error=str(e), status=e.status)
                return self._next_backoff()
            except errors.InvalidRunError as e:
                self._refusal = forensics.Failure(code=e.code, message=str(e))
        self._trouble, self._trouble_since = "", None
        return 0

    async def _create(self, run: models.AgentRun) -> None:
        secret = manifest.build_secret(run, script=self._deps.script)
        job = manifest.build_job(run, self._deps.config)
        labels = {key: value for key, value in job["metadata"]["labels"].items() if key in names.AGENT_LABELS}
        known = self._deps.world.known()
        for found in await self._deps.client.list_jobs(run.metadata.namespace, labels):
            self._deps.world.saw_listed_job(found, known=known)
        self._busy_with = self._deps.world.busy_with(run)
        if self._busy_with or self._deps.world.job_of(run.metadata.uid) is not None:
            return
        await self._create_secret(run, secret)
        try:
            self._deps.world.saw_job(await self._deps.client.create_job(job))
        except errors.RejectedError as e:
            raise errors.InvalidRunError(_refusal_code(e, errors.ErrorCode.JOB_CREATE_FAILED), str(e)) from e
        except errors.AlreadyExistsError as e:
            raise errors.UnavailableError(f"A Job of another owner has the name {job['metadata']['name']}") from e
        _log.info("job_created", job=job["metadata"]["name"])

    async def _create_secret(self, run: models.AgentRun, secret: Mapping[str, Any]) -> None:
        name = secret["metadata"]["name"]
        try:
            await self._deps.client.create_secret(secret)
        except errors.AlreadyExistsError as e:
            owner = await self._deps.client.get_secret_owner(run.metadata.namespace, name)
            if owner != run.metadata.uid:
                raise errors.UnavailableError(f"A Secret of another owner has the name {name}") from e
        except (errors.RejectedError, errors.NotFoundError) as e:
            raise errors.InvalidRunError(_refusal_code(e, errors.ErrorCode.PROMPT_SECRET_CREATE_FAILED), str(e)) from e

    async def _delete_secret(self, run: models.AgentRun) -> None:
        """Delete the run's own Secret: another run with the same ids has one of the same name.

        Who has the Job has the Secret, too; only a run without one has to ask.
        """
        name = names.prompt_secret_name(manifest.job_name(run))
        if self._job(run) is not None:
            await self._deps.client.delete_secret(run.metadata.namespace, name)
            return
        try:
            owner = await self._deps.client.get_secret_owner(run.metadata.namespace, name)
        except errors.NotFoundError:
            return
        if owner == run.metadata.uid:
            await self._deps.client.delete_secret(run.metadata.namespace, name)

    async def _find_own_job(self, run: models.AgentRun) -> bool:
        try:
            job = await self._deps.client.get_job(run.metadata.namespace, manifest.job_name(run))
        except errors.NotFoundError:
            return False
        if job.owner_uid != run.metadata.uid:
            return False
        self._deps.world.saw_job(job)
        return True

    async def _stop_job(self, run: models.AgentRun) -> None:
        job = self._job(run)
        if job is not None and not job.gone:
            await self._deps.client.delete_job(job)
            self._deps.world.saw_job(dataclasses.replace(self._job(run) or job, deleting=True))
            _log.info("job_stopped", job=job.name, reason=self._written.get("reason"))

    async def _drain(self, run: models.AgentRun, look_again: float) -> float:
        """Read the log to its end: the file, or else the pod's own log, once."""
        job = self._job(run)
        pod = self._deps.world.pod_of(job.uid) if job else None
        never_started = pod is not None and (pod.main is None or not pod.main.has_started)
        if never_started:
            self._pod_log = status.LogSeen(drained=True)
            return 0
        if self._tail is not None:
            self._tail.drain(fields.expected_log_bytes(pod))
            seen = self._tail.view()
            if not seen.drained:
                return look_again
            if seen.found:  # it came to its end since the plan was made
                return 0
        self._pod_log = await self._read_pod_log(run, pod)
        return 0

    async def _read_pod_log(self, run: models.AgentRun, pod: facts.PodFacts | None) -> status.LogSeen:
        read = progress.Progress()
        try:
            if pod is not None:
                async for chunk in self._deps.client.read_pod_log(
                    run.metadata.namespace, pod.name, facts.MAIN_CONTAINER
                ):
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
            last_growth=_now() if transcript.bytes else None,
            stderr_tail=transcript.first_plain_text,
        )

    async def _write(self, run: models.AgentRun, after: Mapping[str, Any] | None) -> None:
        if after is None:
            return
        await self._deps.client.write_run_status(_ref(run.metadata), after)
        _log.debug("status_written", fields=sorted(fields.changed(self._written, after)))
        self._written = dict(after)
        self._written_at = _now()

    async def _give_up(self, error: errors.InvalidRunError) -> None:
        meta = models.ObjectMeta.model_validate(self._read()["metadata"])
        after = fields.unreadable(self._written, error, generation=meta.generation, now=_now())
        await self._deps.client.write_run_status(_ref(meta), after)

    def _next_backoff(self) -> float:
        self._backoff = min(max(self._backoff * 2, _FIRST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS)
        return self._backoff * random.uniform(0.5, 1)  # noqa: S311 - spreads retries, guards nothing


def _refusal_code(error: errors.ApiError, otherwise: errors.ErrorCode) -> errors.ErrorCode:
    return errors.ErrorCode.QUOTA_EXCEEDED if "exceeded quota" in str(error) else otherwise


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
