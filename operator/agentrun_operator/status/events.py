"""Kubernetes Events on the AgentRun: what ``kubectl describe`` tells of a run, in its order.

An Event says what a step from one status to the next means; it is made from those two alone, so nothing is said twice
and nothing that the status does not say. It holds no prompt and no secret, because the status holds none.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from agentrun_operator import errors, models
from agentrun_operator.status import conditions

_MESSAGE = 1024  # what the API server accepts


_Reason = models.EventReason


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One Event; ``message`` is at most 1024 characters long."""

    reason: _Reason
    message: str

    @property
    def kind(self) -> str:
        """The type, in Kubernetes' words."""
        return "Warning" if self.reason.is_warning else "Normal"


_OUTCOMES = {
    models.Phase.SUCCEEDED: _Reason.RUN_SUCCEEDED,
    models.Phase.FAILED: _Reason.RUN_FAILED,
    models.Phase.CANCELLED: _Reason.RUN_CANCELLED,
}
# Failures that have a word of their own, because somebody else than the run's owner may have to act.
_CAUSES = {
    errors.ErrorCode.CONCURRENT_RUN_BLOCKED: _Reason.CONCURRENCY_BLOCKED,
    errors.ErrorCode.POD_LOG_FILE_MISSING: _Reason.LOG_MISSING,
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
        yield Event(_Reason.ATTEMPT_FAILED, f"{message} {attempt['message']}")
    if _is_stalled(after) and not _is_stalled(before):
        yield Event(_Reason.STALLED, _stall(after))
    phase = models.Phase(after["phase"])
    if after.get("phase") == before.get("phase"):
        return
    if phase is models.Phase.QUEUED:
        yield Event(_Reason.QUEUED, message)
    elif phase is models.Phase.RUNNING:
        yield Event(_Reason.POD_RUNNING, f"The agent runs in pod {after.get('podName', '')}.")
    elif phase in _OUTCOMES:
        yield _outcome(phase, after, message)


def _job_event(name: str, after: Mapping[str, Any]) -> Event:
    adopted_from = after.get("reattachedFrom")
    if adopted_from:
        return Event(_Reason.REATTACHED, f"Job {name} was adopted; its AgentRun {adopted_from} is gone.")
    return Event(_Reason.JOB_CREATED, f"Job {name} was created.")


def _outcome(phase: models.Phase, after: Mapping[str, Any], message: str) -> Event:
    code = (after.get("error") or {}).get("code", "")
    if phase is models.Phase.FAILED:
        return Event(_CAUSES.get(code, _OUTCOMES[phase]), f"{code}: {message}")
    return Event(_OUTCOMES[phase], message)


def _is_stalled(status: Mapping[str, Any]) -> bool:
    return (conditions.find(status, models.ConditionType.STALLED) or {}).get("status") == "True"


def _stall(status: Mapping[str, Any]) -> str:
    return str((conditions.find(status, models.ConditionType.STALLED) or {}).get("message", ""))
