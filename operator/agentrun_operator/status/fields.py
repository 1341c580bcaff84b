"""The status of a run in each of its states, as the JSON that users read."""

import dataclasses
import datetime
import re
from collections.abc import Mapping
from typing import Any

from agentrun_operator import errors, facts, forensics, manifest, models, names, progress, redaction
from agentrun_operator.status import bundles, pods
from agentrun_operator.status.observed import LogSeen, Observed

# Reasons of the Completed condition while it is False: why the operator is stopping the run.
CANCELLING = "Cancelling"
DELETING = "Deleting"
START_FAILED = "StartFailed"
RESULT_GRACE = "ResultGraceExceeded"
DEADLINE = "DeadlineExceeded"
STALLED = "Stalled"
PREEMPTED = "Preempted"
_STOPPING = frozenset({CANCELLING, DELETING, START_FAILED, RESULT_GRACE, DEADLINE, STALLED, PREEMPTED})

_INTENTS = {
    RESULT_GRACE: forensics.Intent.RESULT_GRACE,
    DEADLINE: forensics.Intent.DEADLINE,
    STALLED: forensics.Intent.STALL,
}

_SIZES = re.compile(r"stdoutBytes=(\d{1,18}) stderrBytes=\d+( incomplete)?\s*")

# What people and programs act upon is written at once; everything else gathers for a while. A run that goes well has
# four urgent writes: it has its Job, the agent runs, its session is known, it is over.
_URGENT = frozenset({"phase", "job", "session", "error"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStop:
    """Why an operator, this one or an earlier one, decided to stop the run."""

    reason: str
    message: str
    failure: forensics.Failure | None


def live(run: models.AgentRun, job: facts.JobFacts, seen: Observed, *, stalled: bool = False) -> dict[str, Any]:
    """There is a Job, and it has not ended; ``stalled`` says that its agent has gone silent."""
    pod = pods.describe(seen.pod, suspended=job.suspended)
    started = pod.ready or seen.written.get("phase") == models.Phase.RUNNING
    waiting = models.Phase.QUEUED if pod.reason == pods.JOB_SUSPENDED else models.Phase.PENDING
    phase = models.Phase.RUNNING if started else waiting
    message = _activity(seen) if pod.ready else pod.message
    status = base(run, seen, phase=phase, reason=pod.reason, message=message)
    _places(status, run, job, seen)
    _observations(status, run, seen)
    status["heartbeatTime"] = rfc3339(seen.now)
    if pod.ready:
        status.setdefault("runningTime", _main(seen).started_at or rfc3339(seen.now))
    set_condition(status, seen, models.ConditionType.POD_READY, str(pod.ready), pod.reason, pod.message)
    set_condition(status, seen, models.ConditionType.LOG_STREAMING, *_streaming(seen.log))
    if stalled or find(status, models.ConditionType.STALLED):
        set_condition(status, seen, models.ConditionType.STALLED, *_stall(seen, stalled=stalled))
    set_condition(status, seen, models.ConditionType.COMPLETED, "False", "InProgress", "")
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
    status.update(reason=reason, message=message)
    set_condition(status, seen, models.ConditionType.COMPLETED, "False", reason, message)
    if failure is not None:
        status["error"] = {"code": failure.code.value, "message": failure.message}
    return status


def final(run: models.AgentRun, seen: Observed, verdict: forensics.Verdict) -> dict[str, Any]:
    """The end, with everything that is known; never written twice with different content."""
    status = base(run, seen, phase=models.Phase(verdict.phase), reason=verdict.reason, message=verdict.message)
    status["completionTime"] = rfc3339(seen.now)
    status.pop("promptSecretName", None)
    if seen.job is not None:
        _places(status, run, seen.job, seen)
        _observations(status, run, seen)
        if _main(seen).started_at:  # a quick run may have ended before anybody saw it run
            status.setdefault("runningTime", _main(seen).started_at)
        status["exit"] = _exit(seen)
        ended = ("Terminated", "The pod has ended.") if seen.pod else ("NoPod", "The run never had a pod.")
        set_condition(status, seen, models.ConditionType.POD_READY, "False", *ended)
        end = ("False", "Drained", "The log was read to its end.")
        set_condition(status, seen, models.ConditionType.LOG_STREAMING, *end)
    status.pop("error", None)
    if verdict.code is not None:
        status["error"] = _present(
            code=verdict.code.value, message=verdict.message, retryAfter=verdict.retry_after or None
        )
    if verdict.session_clear:
        status["session"] = {**status.get("session", {}), "clear": True}
    set_condition(status, seen, models.ConditionType.COMPLETED, "True", verdict.reason, verdict.message)
    return status


def unreadable(
    written: Mapping[str, Any], error: errors.InvalidRunError, *, generation: int, now: datetime.datetime
) -> dict[str, Any]:
    """The end of a run whose object cannot be read; what is on record of it stays."""
    completed = {
        "type": models.ConditionType.COMPLETED.value,
        "status": "True",
        "reason": "Unreadable",
        "message": str(error),
        "lastTransitionTime": rfc3339(now),
        "observedGeneration": generation,
    }
    return {
        **written,
        "phase": models.Phase.FAILED.value,
        "reason": "Unreadable",
        "message": str(error),
        "observedGeneration": generation,
        "completionTime": rfc3339(now),
        "error": {"code": error.code.value, "message": str(error)},
        "conditions": [c for c in written.get("conditions", ()) if c.get("type") != completed["type"]] + [completed],
    }


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
        detection=_detection(seen),
        limit_seconds=_limit(run, stop),
        now=seen.now,
    )


def recorded_stop(written: Mapping[str, Any]) -> RecordedStop | None:
    """The stop that is on record in a status, if one is."""
    entry = find(written, models.ConditionType.COMPLETED)
    if entry is None or entry.get("status") != "False" or entry.get("reason") not in _STOPPING:
        return None
    error = written.get("error")
    failure = forensics.Failure(code=errors.ErrorCode(error["code"]), message=error["message"]) if error else None
    return RecordedStop(reason=entry["reason"], message=entry.get("message", ""), failure=failure)


def condition_age(written: Mapping[str, Any], kind: models.ConditionType, reason: str, now: datetime.datetime) -> float:
    """For how many seconds the condition has had this reason; 0 if it has another."""
    entry = find(written, kind)
    if entry is None or entry.get("reason") != reason:
        return 0
    return (now - datetime.datetime.fromisoformat(entry["lastTransitionTime"])).total_seconds()


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> frozenset[str]:
    """The fields in which two statuses differ."""
    return frozenset(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def urgent(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether the step from one status to the other has to be written at once."""
    stopping = find(before, models.ConditionType.COMPLETED), find(after, models.ConditionType.COMPLETED)
    reasons = {entry["reason"] if entry else "" for entry in stopping}
    return not _URGENT.isdisjoint(changed(before, after)) or len(reasons) > 1


def expected_log_bytes(pod: facts.PodFacts | None) -> int | None:
    """How long the log is, as the entry script reported it when the agent had ended; None if it could not."""
    match = _SIZES.search(pod.main.message) if pod and pod.main else None
    return int(match[1]) if match else None


def lacks_its_end(log: LogSeen, pod: facts.PodFacts | None) -> bool:
    """Whether the file, read to its end, is not all that the agent printed; the pod's own log may have the rest.

    The volume was full, say, or the file does not show what the entry script had written to it.
    """
    match = _SIZES.search(pod.main.message) if pod and pod.main else None
    if match is None or not log.drained:
        return False
    short = log.transcript.bytes < int(match[1]) and not log.transcript.result_seen
    return short or match[2] is not None


def rfc3339(moment: datetime.datetime) -> str:
    """A time as the Kubernetes API writes it: UTC, whole seconds."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _limit(run: models.AgentRun, stop: RecordedStop | None) -> int:
    limits = run.spec.timeouts
    return limits.stall_seconds if stop is not None and stop.reason == STALLED else limits.timeout_seconds


def _intent(run: models.AgentRun, stop: RecordedStop | None) -> forensics.Intent:
    if run.spec.cancel:
        return forensics.Intent.CANCEL
    if run.metadata.deletion_timestamp is not None:
        return forensics.Intent.DELETE
    return _INTENTS.get(stop.reason, forensics.Intent.NONE) if stop else forensics.Intent.NONE


def base(run: models.AgentRun, seen: Observed, *, phase: models.Phase, reason: str, message: str) -> dict[str, Any]:
    """What is on record, with another phase."""
    return {
        **seen.written,
        "phase": phase.value,
        "reason": reason,
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
        status["promptSecretName"] = names.prompt_secret_name(manifest.job_name(run))
    if seen.pod is not None:
        status.update(_present(podName=seen.pod.name, nodeName=seen.pod.node or None))
    if job.prompt_metrics is not None:
        status["promptMetrics"] = dict(job.prompt_metrics)
    status["attempt"] = 0
    if find(status, models.ConditionType.PROMPT_READY):
        set_condition(status, seen, models.ConditionType.PROMPT_READY, "True", "Found", "")
    set_condition(status, seen, models.ConditionType.JOB_CREATED, "True", "Created", "")
    prepared = bundles.describe(seen.pod)
    if prepared is not None:
        set_condition(status, seen, models.ConditionType.BUNDLE_READY, *prepared)


def _observations(status: dict[str, Any], run: models.AgentRun, seen: Observed) -> None:
    """What the log says so far. Nothing known is ever taken back."""
    said = seen.log.transcript
    # The CLI's own word for its folder wins over what was asked for: the session is bound to where it really ran.
    session = _present(id=said.session_id or None, cwd=said.cwd or None)
    if session:
        status["session"] = {**status.get("session", {}), **session}
    status.update(
        _present(
            model=said.model or None,
            claudeVersion=said.claude_version or None,
            lastTool=said.last_tool or None,
            costUSD=None if said.cost_usd is None else format(said.cost_usd.normalize(), "f"),
            lastOutputTime=rfc3339(seen.log.last_growth) if seen.log.last_growth else None,
            result=_result(said),
        )
    )
    if said.events:
        status.update(turns=said.turns, logBytes=said.bytes, logEvents=said.events, usage=_usage(said))


def _usage(said: progress.Transcript) -> dict[str, Any]:
    usage = said.usage
    return _present(
        inputTokens=usage.input_tokens,
        outputTokens=usage.output_tokens,
        cacheReadTokens=usage.cache_read_tokens,
        cacheCreationTokens=usage.cache_creation_tokens,
        estimated=True if said.usage_is_estimate else None,
    )


def _result(said: progress.Transcript) -> dict[str, Any] | None:
    if said.result is None:
        return None
    failed, text = bool(said.result.is_error), said.result.text or ""
    # The text of an error is the CLI's own and may quote a credential; an answer is the agent's work, left as it is.
    return {"subtype": said.result.subtype or "", "isError": failed, "text": redaction.named(text) if failed else text}


def _exit(seen: Observed) -> dict[str, Any]:
    main = _main(seen)
    return _present(
        code=main.exit_code,
        signal=_signal(main),
        reason=main.reason or None,
        message=redaction.named(_SIZES.sub("", main.message).strip()) or None,
        oomKilled=True if main.reason == "OOMKilled" else None,
        finishedAt=main.finished_at or None,
        stderrTail=redaction.named(seen.log.stderr_tail) or None,
        detection=_detection(seen),
    )


def _signal(main: facts.ContainerFacts) -> int | None:
    """The signal that ended the agent: as reported, or as the shell's convention 128 + n in the exit code tells it."""
    if main.signal:
        return main.signal
    highest = 128 + 64
    return main.exit_code - 128 if main.exit_code is not None and 128 < main.exit_code <= highest else None  # noqa: PLR2004


def _detection(seen: Observed) -> str:
    job, pod = seen.job, seen.pod
    how = []
    if job is not None and job.gone:
        how.append("the Job no longer exists")
    elif job is not None and job.finished:
        end = job.failure.reason if job.failure else "Complete"
        how.append(f"Job condition {end}")
    if pod is None:
        how.append("no pod was seen")
    else:
        ended = "; the agent's container has ended" if pod.main is not None and pod.main.terminated else ""
        how.append(f"pod {pod.phase}" + (", since removed" if pod.gone else "") + ended)
    how.append(f"{seen.log.transcript.bytes} bytes of log, {seen.log.transcript.results} results")
    return "; ".join(how)


def _streaming(log: LogSeen) -> tuple[str, str, str]:
    if not log.followed:
        return "False", "NoVolume", "The operator does not see the shared volume; it reads the pod's log at the end."
    if log.stuck:
        return "False", "Stuck", "The shared volume does not answer; reading goes on when it does."
    return ("True", "Following", "") if log.found else ("False", "WaitingForLog", "")


def _stall(seen: Observed, *, stalled: bool) -> tuple[str, str, str]:
    if not stalled:
        return "False", "Active", ""
    since = f" since {rfc3339(seen.log.last_growth)}" if seen.log.last_growth else ""
    tool = seen.log.transcript.last_tool
    at_work = f"; its tool {tool} is at work" if tool and seen.log.transcript.open_tool else ""
    return "True", "NoOutput", f"The agent has printed nothing{since}{at_work}."


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


def _main(seen: Observed) -> facts.ContainerFacts:
    main = seen.pod.main if seen.pod else None
    return main or facts.ContainerFacts(name=facts.MAIN_CONTAINER)


def set_condition(
    status: dict[str, Any], seen: Observed, kind: models.ConditionType, value: str, reason: str, message: str
) -> None:
    """Set one condition; its time moves only when status or reason differ from what is on record."""
    entry = {
        "type": kind.value,
        "status": value,
        "reason": reason,
        "message": message,
        "lastTransitionTime": rfc3339(seen.now),
        "observedGeneration": status["observedGeneration"],
    }
    before = find(seen.written, kind)
    if before is not None and (before["status"], before["reason"]) == (value, reason):
        entry["lastTransitionTime"] = before["lastTransitionTime"]
    old = find(status, kind)
    if old is None:
        status["conditions"].append(entry)
    else:
        status["conditions"][status["conditions"].index(old)] = entry


def find(status: Mapping[str, Any], kind: models.ConditionType) -> Mapping[str, Any] | None:
    """The condition of that type, None if there is none."""
    return next((c for c in status.get("conditions", ()) if c.get("type") == kind.value), None)


def _present(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
