"""The status of a run that has no Job yet, and why."""

import datetime
from typing import Any

from agentrun_operator import errors, models
from agentrun_operator.status import conditions, fields
from agentrun_operator.status.observed import Observed


def queued(run: models.AgentRun, seen: Observed) -> dict[str, Any]:
    """Waiting for the agent."""
    message = f"Waiting for {seen.busy_with}: agent {run.spec.agent.id} runs one at a time."
    return _waiting(run, seen, phase=models.Phase.QUEUED, reason=models.Reason.AGENT_BUSY, message=message)


def replacing(run: models.AgentRun, seen: Observed) -> dict[str, Any]:
    """Waiting for the end of the run that it replaces."""
    message = f"Cancelling {seen.busy_with} to make room for this one."
    return _waiting(run, seen, phase=models.Phase.QUEUED, reason=models.Reason.REPLACING, message=message)


def suspended(run: models.AgentRun, seen: Observed) -> dict[str, Any]:
    """Held by spec.suspend."""
    message = "spec.suspend is set; the run starts when it is set to false."
    return _waiting(run, seen, phase=models.Phase.SUSPENDED, reason=models.Reason.SUSPENDED, message=message)


def without_prompt(run: models.AgentRun, seen: Observed) -> dict[str, Any]:
    """Waiting for the Secret or ConfigMap with the prompt."""
    status = _waiting(
        run, seen, phase=models.Phase.PENDING, reason=models.Reason.PROMPT_MISSING, message=seen.prompt_missing
    )
    conditions.set_condition(status, seen, models.ConditionType.PROMPT_READY, "False", "NotFound", seen.prompt_missing)
    return status


def later(run: models.AgentRun, seen: Observed, until: datetime.datetime) -> dict[str, Any]:
    """Waiting for a time: after a failed attempt, or for the end of a usage limit."""
    before = next(iter(seen.written.get("previousAttempts", ())[-1:]), None)
    failed = before["code"] if before is not None and before["attempt"] == run.attempt - 1 else ""
    moment = conditions.rfc3339(until)
    if failed:
        why = f"Attempt {run.attempt - 1} failed with {failed}; attempt {run.attempt} starts at {moment}."
    else:
        why = f"Its credential has reached a usage limit, as another run found; this one starts at {moment}."
    limited = failed in {"", errors.ErrorCode.USAGE_LIMITED} or until == seen.limited_until
    phase = models.Phase.QUEUED if limited else models.Phase.PENDING
    reason = models.Reason.USAGE_LIMITED if limited else models.Reason.RETRY_BACKOFF
    status = _waiting(run, seen, phase=phase, reason=reason, message=why)
    return {**status, "nextAttemptTime": moment}


def _waiting(run: models.AgentRun, seen: Observed, *, phase: models.Phase, reason: str, message: str) -> dict[str, Any]:
    status = fields.base(run, seen, phase=phase, reason=reason, message=message)
    if seen.job is None:
        conditions.set_condition(status, seen, models.ConditionType.JOB_CREATED, "False", reason, message)
    return status
