"""The status of a run that has no Job yet, and why."""

from typing import Any

from agentrun_operator import models
from agentrun_operator.status import fields
from agentrun_operator.status.observed import Observed


def queued(run: models.AgentRun, seen: Observed) -> dict[str, Any]:
    """Waiting for the agent."""
    message = f"Waiting for AgentRun {seen.busy_with}: agent {run.spec.agent.id} runs one at a time."
    return _waiting(run, seen, phase=models.Phase.QUEUED, reason="AgentBusy", message=message)


def replacing(run: models.AgentRun, seen: Observed) -> dict[str, Any]:
    """Waiting for the end of the run that it replaces."""
    message = f"AgentRun {seen.busy_with} is being cancelled to make room for this one."
    return _waiting(run, seen, phase=models.Phase.QUEUED, reason="Replacing", message=message)


def suspended(run: models.AgentRun, seen: Observed) -> dict[str, Any]:
    """Held by spec.suspend."""
    message = "spec.suspend is set; the run starts when it is set to false."
    return _waiting(run, seen, phase=models.Phase.SUSPENDED, reason="Suspended", message=message)


def without_prompt(run: models.AgentRun, seen: Observed) -> dict[str, Any]:
    """Waiting for the Secret or ConfigMap with the prompt."""
    status = _waiting(run, seen, phase=models.Phase.PENDING, reason="PromptMissing", message=seen.prompt_missing)
    fields.set_condition(status, seen, models.ConditionType.PROMPT_READY, "False", "NotFound", seen.prompt_missing)
    return status


def _waiting(run: models.AgentRun, seen: Observed, *, phase: models.Phase, reason: str, message: str) -> dict[str, Any]:
    status = fields.base(run, seen, phase=phase, reason=reason, message=message)
    fields.set_condition(status, seen, models.ConditionType.JOB_CREATED, "False", reason, message)
    return status
