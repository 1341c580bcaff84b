"""What to do next for one run, and what to write: facts in, a frozen plan out. Nothing here waits, asks or writes.

``plan`` is a ladder of early returns, each with its reason, from "there is no Job" to "it is over". The runner carries
a plan out and comes back with new facts; so every step is decided from what *is*, never from what was done before, and
a restarted operator decides the same.

Rules that the ladder keeps:

* Nothing but an intent stops a run: cancel, deletion, a start that cannot succeed, a deadline that Kubernetes let pass,
  silence beyond a limit that the run sets, a queue that takes its place back, a CLI that does not exit after its
  result. The intent is written to the status before the Job is deleted (``Completed`` condition, ``error``), so a Job
  that is gone always has its reason on record.
* No Job is started before the status names it, so one that is gone is never made again.
* An unknown state and a failed API request mean "keep going".
* The verdict comes from ``forensics`` alone, after the log was read to its end.
"""

import dataclasses
import datetime
import enum
import zlib
from collections.abc import Mapping
from typing import Any

from agentrun_operator import errors, facts, forensics, models, settings
from agentrun_operator.status import attempts, conditions, fields, pods, stalls, waiting
from agentrun_operator.status.observed import LogSeen, Observed

__all__ = ["Action", "LogSeen", "Observed", "Plan", "is_delayed", "plan"]

# A pod whose Job is gone ends within its grace period, if it is deleted, too; a node that does not answer must not hold
# the verdict up for ever.
_ORPHAN_POD_SECONDS = 60
_SLOW_LOOK_SECONDS = 30
_PROMPT_LOOK_SECONDS = 5  # Secrets and ConfigMaps are not watched: that would take the right to read them all
_QUICK_LOOK_SECONDS = 0.05  # the least, so that a progress interval of 0 is no busy loop
_EARLY_SECONDS = 1.0  # a run that wrote so shortly before its turn has had it


class Action(enum.StrEnum):
    """What the runner does before it looks again."""

    WAIT = "wait"
    REPLACE = "replace"  # write the status, then cancel the run that has the agent
    ADMIT = "admit"  # create Secret and Job, and start the Job if the agent is free
    STOP = "stop"  # write the status, then delete the Job, or the pod that has outlived it
    DRAIN = "drain"  # read the log to its end
    RETRY = "retry"  # clean up after this attempt, write the status of the next one
    FINISH = "finish"  # clean up, write the status, be done


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``write`` is the whole new status (None: nothing to write); ``look_again`` is in seconds.

    ``limited_until`` (RFC 3339, "" = not at all) is the end of a usage limit that the run has met.
    """

    action: Action
    write: Mapping[str, Any] | None = None
    limited_until: str = ""
    look_again: float = _SLOW_LOOK_SECONDS


def plan(run: models.AgentRun, seen: Observed, config: settings.Settings) -> Plan:
    """Decide the next step of one run."""
    if seen.job is None:
        return _before_job(run, seen, config)
    if _ended(seen.job, seen):
        return _after_end(run, seen)
    if seen.job.held:
        return _at_the_gate(run, seen.job, seen, config)
    return _live(run, seen.job, seen, config)


def is_delayed(run: models.AgentRun, seen: Observed) -> bool:
    """Whether the run waits for a time and not for its turn; only ``written`` and ``limited_until`` are looked at."""
    return attempts.delay(run, seen) is not None


def _before_job(run: models.AgentRun, seen: Observed, config: settings.Settings) -> Plan:
    if run.stop_wanted or seen.refusal is not None:
        return _finish(run, seen)
    unreachable = _unreachable(run, seen)
    if unreachable is not None:
        return _finish(run, dataclasses.replace(seen, refusal=unreachable))
    if run.spec.suspend:
        return _write(waiting.suspended(run, seen), seen, config, look_again=_SLOW_LOOK_SECONDS)
    until = attempts.delay(run, seen)
    if until is not None:
        look_again = min((until - seen.now).total_seconds(), _SLOW_LOOK_SECONDS)
        return _write(waiting.later(run, seen, until), seen, config, look_again=look_again)
    if seen.busy_with:
        return _busy(run, seen, config)
    if seen.prompt_missing:
        return _without_prompt(run, seen)
    return Plan(action=Action.ADMIT)


def _at_the_gate(run: models.AgentRun, job: facts.JobFacts, seen: Observed, config: settings.Settings) -> Plan:
    """The Job is there and held: it never had a pod. It is started, or has to go."""
    stop = _asked_to_stop(run, seen)
    if stop is None:
        failure = seen.refusal or _unreachable(run, seen)
        if failure is None and seen.busy_with and _may_not_wait(run, seen):
            failure = _blocked(run, seen)
        if failure is not None:
            stop = _Stop(reason=models.Reason.START_FAILED, message=failure.message, failure=failure)
    if stop is not None:
        return _stop(run, job, seen, stop)
    return _busy(run, seen, config) if seen.busy_with else Plan(action=Action.ADMIT)


def _unreachable(run: models.AgentRun, seen: Observed) -> forensics.Failure | None:
    """Whether it could not be started for too long: counted from the first failed try, not from the creation.

    A run may have waited for its turn for long.
    """
    limit = run.spec.timeouts.pending_seconds
    if seen.trouble_since is None or (seen.now - seen.trouble_since).total_seconds() < limit:
        return None
    return forensics.Failure(
        code=seen.trouble_code or errors.ErrorCode.CONCURRENCY_GUARD_UNREACHABLE,
        message=f"The run could not be started within {limit} s: {seen.trouble}",
    )


def _blocked(run: models.AgentRun, seen: Observed) -> forensics.Failure:
    return forensics.Failure(
        code=errors.ErrorCode.CONCURRENT_RUN_BLOCKED,
        message=f"The agent {run.spec.agent.id} is taken by {seen.busy_with}, and spec.concurrencyPolicy is Forbid. "
        "Create the run again later, or let it wait with the policy Queue.",
    )


def _may_not_wait(run: models.AgentRun, seen: Observed) -> bool:
    """Whether it fails rather than wait; the Job of its own last attempt, which is about to end, blocks no run."""
    return run.spec.concurrency_policy is models.ConcurrencyPolicy.FORBID and not seen.own_leftover


def _busy(run: models.AgentRun, seen: Observed, config: settings.Settings) -> Plan:
    """The agent is taken, or another run comes first."""
    if _may_not_wait(run, seen):
        return _finish(run, dataclasses.replace(seen, refusal=_blocked(run, seen)))
    if run.spec.concurrency_policy is models.ConcurrencyPolicy.REPLACE and seen.occupied:
        after = waiting.replacing(run, seen)
        write = after if fields.changed(seen.written, after) else None
        return Plan(action=Action.REPLACE, write=write, look_again=_SLOW_LOOK_SECONDS)
    return _write(waiting.queued(run, seen), seen, config, look_again=_SLOW_LOOK_SECONDS)


def _without_prompt(run: models.AgentRun, seen: Observed) -> Plan:
    """A Secret or ConfigMap may come a moment after the run that names it, so it is waited for."""
    limit = run.spec.timeouts.pending_seconds
    if conditions.condition_age(seen.written, models.ConditionType.PROMPT_READY, "NotFound", seen.now) >= limit:
        absent = forensics.Failure(
            code=errors.ErrorCode.PROMPT_INVALID,
            message=f"The prompt was not there within {limit} s: {seen.prompt_missing}",
        )
        return _finish(run, dataclasses.replace(seen, refusal=absent))
    after = waiting.without_prompt(run, seen)
    if fields.changed(seen.written, after):
        return Plan(action=Action.WAIT, write=after, look_again=_PROMPT_LOOK_SECONDS)
    return Plan(action=Action.ADMIT, look_again=_PROMPT_LOOK_SECONDS)


def _live(run: models.AgentRun, job: facts.JobFacts, seen: Observed, config: settings.Settings) -> Plan:
    stop = _stop_reason(run, seen, config)
    if stop is None:
        # The log and the limits have no events of their own, so a live run looks at them itself.
        return _write(
            fields.live(run, job, seen, stalled=stalls.exceeds(seen, config.stall_report_seconds)),
            seen,
            config,
            look_again=min(_progress_interval(seen, config), _SLOW_LOOK_SECONDS),
        )
    return _stop(run, job, seen, stop)


def _stop(run: models.AgentRun, job: facts.JobFacts, seen: Observed, stop: "_Stop") -> Plan:
    after = fields.stopping(run, job, seen, reason=stop.reason, message=stop.message, failure=stop.failure)
    # Written before the Job is deleted; while the pod ends, only what changed its course is worth another write.
    write = after if fields.urgent(seen.written, after) else None
    ending = seen.pod is not None and seen.pod.deleting if job.gone else job.deleting
    return Plan(action=Action.WAIT if ending else Action.STOP, write=write, look_again=5)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Stop:
    reason: str
    message: str
    failure: forensics.Failure | None = None


def _asked_to_stop(run: models.AgentRun, seen: Observed) -> _Stop | None:
    if run.spec.cancel:
        by = f" AgentRun {run.replaced_by} takes its place." if run.replaced_by else ""
        return _Stop(reason=models.Reason.CANCELLING, message=f"spec.cancel is set: the agent is being stopped.{by}")
    if run.metadata.deletion_timestamp is not None:
        return _Stop(
            reason=models.Reason.DELETING, message="The AgentRun is being deleted: the agent is being stopped."
        )
    recorded = fields.recorded_stop(seen.written)
    if recorded is not None:  # an earlier operator had decided so; what it saw may be gone by now
        return _Stop(reason=recorded.reason, message=recorded.message, failure=recorded.failure)
    return None


def _stop_reason(run: models.AgentRun, seen: Observed, config: settings.Settings) -> _Stop | None:
    asked = _asked_to_stop(run, seen)
    if asked is not None:
        return asked
    if _is_overdue(run, seen):
        text = f"The run has reached its limit of {run.spec.timeouts.timeout_seconds} s: it is being stopped."
        return _Stop(reason=models.Reason.DEADLINE_EXCEEDED, message=text)
    limit = run.spec.timeouts.stall_seconds
    if limit and stalls.exceeds(seen, limit):
        text = f"The agent has printed nothing for {limit} s (spec.timeouts.stallSeconds): it is being stopped."
        return _Stop(reason=models.Reason.STALLED, message=text)
    if _is_preempted(seen):
        text = (
            "The Job was suspended while the agent was at work. A second pod would begin anew, so the run is stopped."
        )
        failure = forensics.Failure(code=errors.ErrorCode.POD_EVICTED, message=text)
        return _Stop(reason=models.Reason.PREEMPTED, message=text, failure=failure)
    start_failure = _start_failure(run, seen, config)
    if start_failure is not None:
        return _Stop(reason=models.Reason.START_FAILED, message=start_failure.message, failure=start_failure)
    if _hangs_after_result(run, seen):
        seconds = run.spec.timeouts.result_grace_seconds
        text = f"The CLI printed its result but was still running {seconds} s later: it is being stopped."
        return _Stop(reason=models.Reason.RESULT_GRACE_EXCEEDED, message=text)
    return None


def _is_overdue(run: models.AgentRun, seen: Observed) -> bool:
    """Whether Kubernetes, whose task it is, has let the deadline and its grace pass.

    It watches over Jobs. Of one that was taken away from its pod, perhaps nobody knows any more when it was started.
    """
    limits = run.spec.timeouts
    if not limits.timeout_seconds or seen.job is None or seen.job.suspended:
        return False
    since = seen.job.started_at or (seen.job.gone and seen.written.get("runningTime"))
    return bool(since) and _age(str(since), seen.now) >= limits.timeout_seconds + limits.grace_seconds


def _is_preempted(seen: Observed) -> bool:
    main = seen.pod.main if seen.pod else None
    return seen.job is not None and seen.job.suspended and main is not None and main.has_started


def _start_failure(run: models.AgentRun, seen: Observed, config: settings.Settings) -> forensics.Failure | None:
    state = pods.describe(seen.pod)
    if seen.job is None or seen.job.suspended or _has_started(seen.pod):
        return None
    confirmed = conditions.condition_age(seen.written, models.ConditionType.POD_READY, state.reason, seen.now)
    # A Job may have been held for long, and has no time of its start before its controller has seen that.
    waited = _age(seen.job.started_at, seen.now) if seen.job.started_at else confirmed
    late = waited >= run.spec.timeouts.pending_seconds
    if not late and not (state.hopeless and confirmed >= config.start_confirm_seconds):
        return None
    verdict = forensics.diagnose(fields.facts_for_verdict(run, seen))
    return forensics.Failure(code=verdict.code or errors.ErrorCode.POD_SCHEDULE_FAILED, message=verdict.message)


def _has_started(pod: facts.PodFacts | None) -> bool:
    """Whether it is, or was, the agent's turn: what happens from there on is no failure to start."""
    return pod is not None and (pod.finished or pod.deleting or (pod.main is not None and pod.main.has_started))


def _hangs_after_result(run: models.AgentRun, seen: Observed) -> bool:
    running = seen.pod is not None and seen.pod.main is not None and seen.pod.main.running
    said = seen.log.transcript
    if not running or not said.result_seen or said.active_since_result or seen.log.stuck:
        return False
    if seen.log.last_growth is None:
        return False
    return (seen.now - seen.log.last_growth).total_seconds() >= run.spec.timeouts.result_grace_seconds


def _ended(job: facts.JobFacts, seen: Observed) -> bool:
    pod = seen.pod
    if job.finished and (pod is None or pod.finished):
        return True
    if pod is not None and pod.main is not None and pod.main.exit_code == 0:
        return True  # that can no longer change; pod phase and Job condition follow one and two seconds later
    # Nobody deletes a pod that was let go with --cascade=orphan: its agent works on, and the run with it.
    return job.gone and pod is not None and pod.deleting and _age(pod.deletion_time, seen.now) >= _ORPHAN_POD_SECONDS


def _after_end(run: models.AgentRun, seen: Observed) -> Plan:
    if not seen.log.drained:
        return Plan(action=Action.DRAIN, look_again=1)
    return _finish(run, seen)


def _finish(run: models.AgentRun, seen: Observed) -> Plan:
    verdict = forensics.diagnose(fields.facts_for_verdict(run, seen))
    limited = (verdict.retry_after or "") if verdict.code is errors.ErrorCode.USAGE_LIMITED else ""
    if attempts.follows(run, verdict):
        return Plan(action=Action.RETRY, write=attempts.begin_next(run, seen, verdict), limited_until=limited)
    return Plan(action=Action.FINISH, write=fields.final(run, seen, verdict), limited_until=limited)


def _write(after: Mapping[str, Any], seen: Observed, config: settings.Settings, *, look_again: float) -> Plan:
    """Write at once what people and programs wait for; let progress gather; keep the heartbeat."""
    changed = fields.changed(seen.written, after)
    since = (seen.now - seen.written_at).total_seconds() if seen.written_at else float("inf")
    left = _until_progress(seen, config)
    progressed = bool(changed - {"heartbeatTime"}) and left <= 0
    heartbeat = "heartbeatTime" in changed and since >= config.heartbeat_seconds
    if fields.urgent(seen.written, after) or progressed or heartbeat:
        return Plan(action=Action.WAIT, write=after, look_again=max(look_again, _QUICK_LOOK_SECONDS))
    gathering = left if changed - {"heartbeatTime"} else look_again
    return Plan(action=Action.WAIT, look_again=max(min(look_again, gathering), _QUICK_LOOK_SECONDS))


def _progress_interval(seen: Observed, config: settings.Settings) -> float:
    """Seconds between two writes of a run's live progress, so that those of all runs together stay bounded."""
    return max(config.progress_interval_seconds, seen.live_runs / config.progress_writes_per_second)


def _until_progress(seen: Observed, config: settings.Settings) -> float:
    """Seconds until the next write of a run's live progress.

    When there are so many runs that they have to share the writes, each has its turn at times of its own: those that
    began together would write together ever after.
    """
    if seen.written_at is None:
        return 0
    since = (seen.now - seen.written_at).total_seconds()
    interval, every = config.progress_interval_seconds, _progress_interval(seen, config)
    if every <= interval or seen.job is None:
        return interval - since
    turn = zlib.crc32(seen.job.uid.encode()) / 2**32 * every
    passed = (seen.now.timestamp() - turn) % every  # seconds since its last turn
    took_it = since <= passed + _EARLY_SECONDS
    return max(interval - since, every - passed if took_it else 0)


def _age(timestamp: str, now: datetime.datetime) -> float:
    """Seconds since an RFC 3339 time."""
    return (now - datetime.datetime.fromisoformat(timestamp)).total_seconds()
