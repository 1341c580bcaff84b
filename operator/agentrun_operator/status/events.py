"""Kubernetes Events on the AgentRun: what ``kubectl describe`` tells of a run, in its order.

An Event says what a step from one status to the next means; it is made from those two alone, so nothing is said twice
and nothing that the status does not say. It holds no prompt and no secret, because the status holds none.
"""

import dataclasses
import enum
from collections.abc import Iterator, Mapping
from typing import Any

from agentrun_operator import errors, models
from agentrun_operator.status import conditions

_MESSAGE = 1024  # what the API server accepts


class Kind(enum.StrEnum):
    """Types of Events."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One Event; ``reason`` is a CamelCase word, ``message`` at most 1024 characters."""

    kind: Kind
    reason: str
    message: str


_OUTCOMES = {
    models.Phase.SUCCEEDED: (Kind.NORMAL, "RunSucceeded"),
    models.Phase.FAILED: (Kind.WARNING, "RunFailed"),
    models.Phase.CANCELLED: (Kind.NORMAL, "RunCancelled"),
}
# Failures that have a word of their own, because somebody else than the run's owner may have to act.
_CAUSES = {
    errors.ErrorCode.CONCURRENT_RUN_BLOCKED: "ConcurrencyBlocked",
    errors.ErrorCode.POD_LOG_FILE_MISSING: "LogMissing",
}


def between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Event]:
    """What happened between two statuses of a run."""
    return [dataclasses.replace(event, message=event.message[:_MESSAGE]) for event in _between(before, after)]


def _between(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Event]:
    job, message = after.get("job"), str(after.get("message", ""))
    if job and job != before.get("job"):
        yield _job_event(job["name"], after)
    tried = after.get("previousAttempts", ())[len(before.get("previousAttempts", ())) :]
    for attempt in tried:
        yield Event(Kind.WARNING, "AttemptFailed", f"{message} {attempt['message']}")
    if _is_stalled(after) and not _is_stalled(before):
        yield Event(Kind.WARNING, "Stalled", _stall(after))
    phase = models.Phase(after["phase"])
    if after.get("phase") == before.get("phase"):
        return
    if phase is models.Phase.QUEUED:
        yield Event(Kind.NORMAL, "Queued", message)
    elif phase is models.Phase.RUNNING:
        yield Event(Kind.NORMAL, "PodRunning", f"The agent runs in pod {after.get('podName', '')}.")
    elif phase in _OUTCOMES:
        yield _outcome(phase, after, message)


def _job_event(name: str, after: Mapping[str, Any]) -> Event:
    adopted_from = after.get("reattachedFrom")
    if adopted_from:
        return Event(Kind.NORMAL, "Reattached", f"Job {name} was adopted; its AgentRun {adopted_from} is gone.")
    return Event(Kind.NORMAL, "JobCreated", f"Job {name} was created.")


def _outcome(phase: models.Phase, after: Mapping[str, Any], message: str) -> Event:
    kind, reason = _OUTCOMES[phase]
    code = (after.get("error") or {}).get("code", "")
    if phase is models.Phase.FAILED:
        return Event(kind, _CAUSES.get(code, reason), f"{code}: {message}")
    return Event(kind, reason, message)


def _is_stalled(status: Mapping[str, Any]) -> bool:
    return (conditions.find(status, models.ConditionType.STALLED) or {}).get("status") == "True"


def _stall(status: Mapping[str, Any]) -> str:
    return str((conditions.find(status, models.ConditionType.STALLED) or {}).get("message", ""))
