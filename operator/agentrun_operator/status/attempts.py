"""Further attempts of a run: whether there is one, when it begins, and what it looks like."""

import dataclasses
import datetime
import hashlib
from collections.abc import Mapping
from typing import Any

from agentrun_operator import errors, forensics, models, shapes
from agentrun_operator.status import conditions, fields, spending, waiting
from agentrun_operator.status.observed import Observed

_LONGEST_SECONDS = 86_400  # the pause doubles up to a day
_MESSAGE = 512
# What goes on into the next attempt; everything else was of the one that ended.
_KEPT = ("attempt", "conditions", "costUSD", "lastOutputTime", "model", "previousAttempts", "session", "usage")
_KEPT_CONDITIONS = frozenset({models.ConditionType.PROMPT_READY, models.ConditionType.COMPLETED})
_SPREAD = 0.1  # of the pause, so that runs that failed together do not come back together


def current(run: models.AgentRun, written: Mapping[str, Any]) -> models.AgentRun:
    """The run as its present attempt is: with its number, and with the session that it continues.

    ``written`` is the status as the operator last wrote it, which the watch may not have shown yet.
    """
    number = int(written.get("attempt") or 0)
    adopted_from = written.get("reattachedFrom")
    if (number, adopted_from) == (0, run.status.reattached_from) and not run.attempt:
        return run  # as nearly all are: no copy for each look at each of them
    known = {"attempt": number, "reattached_from": adopted_from}
    update: dict[str, Any] = {"status": run.status.model_copy(update=known)}
    if number:
        update["spec"] = run.spec.model_copy(update={"session": _session(run, written)})
    return run.model_copy(update=update)


def follows(run: models.AgentRun, verdict: forensics.Verdict) -> bool:
    """Whether there is another attempt after this end. Never for a run that was cancelled or that adopted its Job."""
    if verdict.phase is not forensics.Phase.FAILED or run.stop_wanted or run.status.reattached_from:
        return False
    return run.attempt < run.spec.retry.limit and _fits(run, verdict.code, verdict.retryable)


def waits_for_limit(run: models.AgentRun) -> bool:
    """Whether the run waits for the end of a usage limit that others ran into, rather than try and fail."""
    return run.spec.retry.limit > 0 and _fits(run, errors.ErrorCode.USAGE_LIMITED, retryable=True)


def next_time(run: models.AgentRun, verdict: forensics.Verdict, now: datetime.datetime) -> datetime.datetime:
    """When the next attempt may begin: after the pause, and not before the provider's own time."""
    pause = min(run.spec.retry.backoff_seconds * 2**run.attempt, _LONGEST_SECONDS)
    seed = hashlib.sha256(f"{run.metadata.uid}:{run.attempt}".encode()).digest()
    spread = pause * _SPREAD * seed[0] / 255
    earliest = now + datetime.timedelta(seconds=pause)
    if verdict.retry_after:
        earliest = max(earliest, datetime.datetime.fromisoformat(verdict.retry_after))
    return earliest + datetime.timedelta(seconds=spread)


def delay(run: models.AgentRun, seen: Observed) -> datetime.datetime | None:
    """Until when the run must not start yet; None if it may."""
    own = seen.written.get("nextAttemptTime")
    times = [datetime.datetime.fromisoformat(own)] if own else []
    if seen.limited_until is not None and waits_for_limit(run):
        times.append(seen.limited_until)
    latest = max(times, default=None)
    return latest if latest is not None and latest > seen.now else None


def begin_next(run: models.AgentRun, seen: Observed, verdict: forensics.Verdict) -> dict[str, Any]:
    """The status after an attempt that failed and is followed by another one."""
    ended = fields.final(run, seen, verdict)
    entry = {
        "attempt": run.attempt,
        "code": ended["error"]["code"],
        "message": verdict.message[:_MESSAGE],
        **shapes.present(
            jobName=(ended.get("job") or {}).get("name"),
            podName=ended.get("podName"),
            nodeName=ended.get("nodeName"),
            logPath=ended.get("logPath"),
            exitCode=(ended.get("exit") or {}).get("code"),
            startTime=ended.get("startTime"),
            completionTime=ended["completionTime"],
            usage=spending.last_usage(ended),
            costUSD=spending.last_cost(ended),
        ),
    }
    kept = {field: ended[field] for field in _KEPT if field in ended}
    kept["conditions"] = [c for c in ended["conditions"] if c["type"] in _KEPT_CONDITIONS]
    kept["previousAttempts"] = [*kept.get("previousAttempts", ()), entry]
    kept["attempt"] = run.attempt + 1
    after = dataclasses.replace(seen, written=kept, job=None, pod=None)
    status = waiting.later(current(run, kept), after, next_time(run, verdict, seen.now))
    conditions.set_condition(
        status, after, models.ConditionType.COMPLETED, "False", status["reason"], status["message"]
    )
    return status


def _fits(run: models.AgentRun, code: errors.ErrorCode | None, retryable: bool) -> bool:  # noqa: FBT001 - said of the code
    return retryable if run.retry_codes is None else code in run.retry_codes


def _session(run: models.AgentRun, written: Mapping[str, Any]) -> models.Session | None:
    known = written.get("session") or {}
    if known.get("clear"):
        return None
    if run.spec.retry.resume_session and known.get("id"):
        # The folder is left as the spec has it: the session is bound to where the first attempt ran, and so is this.
        cwd = run.spec.session.cwd if run.spec.session else None
        return models.Session.resume(known["id"], cwd) or run.spec.session
    return run.spec.session
