"""The status of a run in each of its states, as the JSON that users read."""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from agentrun_operator import errors, facts, forensics, models, names, progress, redaction, shapes
from agentrun_operator.status import bundles, conditions, ending, pods, spending, stalls
from agentrun_operator.status.observed import Observed

_Reason = models.Reason

# Reasons of the Completed condition while it is False: why the operator is stopping the run.
_STOPPING = frozenset(
    {
        _Reason.CANCELLING, _Reason.DELETING, _Reason.START_FAILED, _Reason.RESULT_GRACE_EXCEEDED,
        _Reason.DEADLINE_EXCEEDED, _Reason.STALLED, _Reason.PREEMPTED,
    }
)  # fmt: skip
_INTENTS: dict[str, forensics.Intent] = {
    _Reason.RESULT_GRACE_EXCEEDED: forensics.Intent.RESULT_GRACE,
    _Reason.DEADLINE_EXCEEDED: forensics.Intent.DEADLINE,
    _Reason.STALLED: forensics.Intent.STALL,
}

# What people and programs act upon is written at once; everything else gathers for a while. A run that goes well has
# three urgent writes: it has its Job, the agent runs, it is over.
_URGENT = frozenset({"phase", "job", "error"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStop:
    """Why an operator, this one or an earlier one, decided to stop the run."""

    reason: str
    message: str
    failure: forensics.Failure | None


def live(run: models.AgentRun, job: facts.JobFacts, seen: Observed, *, stalled: bool = False) -> dict[str, Any]:
    """There is a Job, and it has not ended; ``stalled`` says that its agent has gone silent."""
    pod = pods.describe(seen.pod, suspended=job.suspended and not job.held)
    started = pod.ready or seen.written.get("phase") == models.Phase.RUNNING
    waiting = models.Phase.QUEUED if pod.reason == _Reason.JOB_SUSPENDED else models.Phase.PENDING
    phase = models.Phase.RUNNING if started else waiting
    message = _activity(seen) if pod.ready else pod.message
    status = base(run, seen, phase=phase, reason=pod.reason, message=message)
    _places(status, run, job, seen)
    _observations(status, run, seen)
    status["heartbeatTime"] = conditions.rfc3339(seen.now)
    status.pop("nextAttemptTime", None)
    if pod.ready:
        status.setdefault("runningTime", ending.main_container(seen).started_at or conditions.rfc3339(seen.now))
    conditions.set_condition(status, seen, models.ConditionType.POD_READY, str(pod.ready), pod.reason, pod.message)
    conditions.set_condition(
        status, seen, models.ConditionType.LOG_STREAMING, *conditions.describe_log(seen.log, seen.written)
    )
    if stalled or (conditions.find(status, models.ConditionType.STALLED) and not stalls.nobody_can_say(seen)):
        conditions.set_condition(
            status, seen, models.ConditionType.STALLED, *conditions.describe_stall(seen, stalled=stalled)
        )
    conditions.set_condition(status, seen, models.ConditionType.COMPLETED, "False", "InProgress", "")
    return status


def stopping(
    run: models.AgentRun,
    job: facts.JobFacts,
    seen: Observed,
    *,
    reason: str,
    message: str,
    failure: forensics.Failure | None,
) -> dict[str, Any]:
    """The operator is about to delete the Job, for the reason given."""
    status = live(run, job, seen)
    status.update(reason=str(reason), message=message)
    conditions.set_condition(status, seen, models.ConditionType.COMPLETED, "False", reason, message)
    if failure is not None:
        status["error"] = {"code": failure.code.value, "message": failure.message}
    return status


def final(run: models.AgentRun, seen: Observed, verdict: forensics.Verdict) -> dict[str, Any]:
    """The end, with everything that is known; never written twice with different content."""
    status = base(run, seen, phase=models.Phase(verdict.phase), reason=verdict.reason, message=verdict.message)
    status["completionTime"] = conditions.rfc3339(seen.now)
    for field in ("promptSecretName", "nextAttemptTime"):
        status.pop(field, None)
    if seen.job is not None:
        _places(status, run, seen.job, seen)
        _observations(status, run, seen)
        if ending.main_container(seen).started_at:  # a quick run may have ended before anybody saw it run
            status.setdefault("runningTime", ending.main_container(seen).started_at)
        status["exit"] = ending.describe_exit(seen)
        ended = ("Terminated", "The pod has ended.") if seen.pod else ("NoPod", "The run never had a pod.")
        conditions.set_condition(status, seen, models.ConditionType.POD_READY, "False", *ended)
        end = ("False", "Drained", "The log was read to its end.")
        conditions.set_condition(status, seen, models.ConditionType.LOG_STREAMING, *end)
    status.pop("error", None)
    if verdict.code is not None:
        status["error"] = shapes.present(
            code=verdict.code.value, message=verdict.message, retryAfter=verdict.retry_after or None
        )
    if verdict.session_clear:
        status["session"] = {**status.get("session", {}), "clear": True}
    conditions.set_condition(status, seen, models.ConditionType.COMPLETED, "True", verdict.reason, verdict.message)
    return status


def unreadable(
    written: Mapping[str, Any], error: errors.InvalidRunError, *, generation: int, now: datetime.datetime
) -> dict[str, Any]:
    """The end of a run whose object cannot be read; what is on record of it stays."""
    completed = {
        "type": models.ConditionType.COMPLETED.value,
        "status": "True",
        "reason": _Reason.UNREADABLE.value,
        "message": str(error),
        "lastTransitionTime": conditions.rfc3339(now),
        "observedGeneration": generation,
    }
    return {
        **written,
        "phase": models.Phase.FAILED.value,
        "reason": _Reason.UNREADABLE.value,
        "message": str(error),
        "observedGeneration": generation,
        "completionTime": conditions.rfc3339(now),
        "error": {"code": error.code.value, "message": str(error)},
        "conditions": [c for c in written.get("conditions", ()) if c.get("type") != completed["type"]] + [completed],
    }


def without_log(status: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """The same status, when the log of that attempt was removed."""
    before = [
        {key: value for key, value in entry.items() if key != "logPath" or entry["attempt"] != attempt}
        for entry in status.get("previousAttempts", ())
    ]
    left = {key: value for key, value in status.items() if key != "logPath"}
    return {**left, "previousAttempts": before} if before else left


def facts_for_verdict(run: models.AgentRun, seen: Observed) -> forensics.Facts:
    """What the verdict is made from."""
    stop = recorded_stop(seen.written)
    return forensics.Facts(
        transcript=seen.log.transcript,
        exit=seen.pod.main if seen.pod else None,
        pod=seen.pod,
        job=seen.job,
        stderr_tail=seen.log.stderr_tail,
        log_found=seen.log.found,
        intent=_intent(run, stop),
        recorded=seen.refusal or (stop.failure if stop else None),
        detection=ending.describe_detection(seen),
        limit_seconds=_limit(run, stop),
        now=seen.now,
    )


def recorded_stop(written: Mapping[str, Any]) -> RecordedStop | None:
    """The stop that is on record in a status, if one is."""
    entry = conditions.find(written, models.ConditionType.COMPLETED)
    if entry is None or entry.get("status") != "False" or entry.get("reason") not in _STOPPING:
        return None
    error = written.get("error")
    failure = forensics.Failure(code=errors.ErrorCode(error["code"]), message=error["message"]) if error else None
    return RecordedStop(reason=entry["reason"], message=entry.get("message", ""), failure=failure)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> frozenset[str]:
    """The fields in which two statuses differ."""
    return frozenset(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def urgent(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether the step from one status to the other has to be written at once."""
    stopping = (
        conditions.find(before, models.ConditionType.COMPLETED),
        conditions.find(after, models.ConditionType.COMPLETED),
    )
    reasons = {entry["reason"] if entry else "" for entry in stopping}
    return not _URGENT.isdisjoint(changed(before, after)) or len(reasons) > 1


def _limit(run: models.AgentRun, stop: RecordedStop | None) -> int:
    limits = run.spec.timeouts
    return limits.stall_seconds if stop is not None and stop.reason == _Reason.STALLED else limits.timeout_seconds


def _intent(run: models.AgentRun, stop: RecordedStop | None) -> forensics.Intent:
    if run.spec.cancel:
        return forensics.Intent.REPLACED if run.replaced_by else forensics.Intent.CANCEL
    if run.metadata.deletion_timestamp is not None:
        return forensics.Intent.DELETE
    return _INTENTS.get(stop.reason, forensics.Intent.NONE) if stop else forensics.Intent.NONE


def base(run: models.AgentRun, seen: Observed, *, phase: models.Phase, reason: str, message: str) -> dict[str, Any]:
    """What is on record, with another phase."""
    return {
        **seen.written,
        "phase": phase.value,
        "reason": str(reason),
        "message": message,
        "observedGeneration": run.metadata.generation,
        "conditions": list(seen.written.get("conditions", ())),
    }


def _places(status: dict[str, Any], run: models.AgentRun, job: facts.JobFacts, seen: Observed) -> None:
    status["job"] = {"name": job.name, "uid": job.uid}
    if job.log_path:
        status["logPath"] = job.log_path
    if job.created_at:
        status["startTime"] = job.created_at
    if models.Phase(status["phase"]).final:
        status.pop("promptSecretName", None)
    else:
        status["promptSecretName"] = names.prompt_secret_name(job.name)
    if seen.pod is not None:
        status.update(shapes.present(podName=seen.pod.name, nodeName=seen.pod.node or None))
    if job.prompt_metrics is not None:
        status["promptMetrics"] = dict(job.prompt_metrics)
    status["attempt"] = run.attempt
    if job.reattached_from:
        status["reattachedFrom"] = job.reattached_from
    if conditions.find(status, models.ConditionType.PROMPT_READY):
        conditions.set_condition(status, seen, models.ConditionType.PROMPT_READY, "True", "Found", "")
    conditions.set_condition(status, seen, models.ConditionType.JOB_CREATED, "True", "Created", "")
    prepared = bundles.describe(seen.pod)
    if prepared is not None:
        conditions.set_condition(status, seen, models.ConditionType.BUNDLE_READY, *prepared)


def _observations(status: dict[str, Any], run: models.AgentRun, seen: Observed) -> None:
    """What the log says so far. Nothing known is ever taken back."""
    said = seen.log.transcript
    # The CLI's own word for its folder wins over what was asked for: the session is bound to where it really ran.
    session = shapes.present(id=said.session_id or None, cwd=said.cwd or None)
    if session:
        known = dict(status.get("session", {}))
        if "id" in session and session["id"] != known.get("id"):
            # That a session must not be resumed is said of that one, not of the new one that was begun instead.
            known.pop("clear", None)
        status["session"] = {**known, **session}
    status.update(
        shapes.present(
            model=said.model or None,
            claudeVersion=said.claude_version or None,
            lastTool=said.last_tool or None,
            costUSD=spending.total_cost(status, said),
            lastOutputTime=conditions.rfc3339(seen.log.last_growth) if seen.log.last_growth else None,
            result=_result(said),
        )
    )
    if said.events:
        status.update(
            turns=said.turns, logBytes=said.bytes, logEvents=said.events, usage=spending.total_usage(status, said)
        )


def _result(said: progress.Transcript) -> dict[str, Any] | None:
    if said.result is None:
        return None
    failed, text = bool(said.result.is_error), said.result.text or ""
    # The text of an error is the CLI's own and may quote a credential; an answer is the agent's work, left as it is.
    return {"subtype": said.result.subtype or "", "isError": failed, "text": redaction.named(text) if failed else text}


def _activity(seen: Observed) -> str:
    said = seen.log.transcript
    if not seen.log.followed:
        return "The agent is running; what it does is read when it has ended."
    if not said.events and seen.written.get("turns"):  # an operator that was started again has not caught up yet
        return str(seen.written.get("message", ""))
    if said.result_seen and not said.active_since_result:
        return "The agent has given its result and is about to exit."
    if not said.turns:
        return "The agent is running; the model has not answered yet."
    tool = f", last tool {said.last_tool}" if said.last_tool else ""
    return f"The agent is running: {said.turns} turn{'' if said.turns == 1 else 's'}{tool}."
