"""The one place that says why a run ended: facts in, verdict out.

``diagnose`` is a pure function and total: every combination of facts gives a verdict, and every failure one code and a
sentence for people. It asks its questions in a fixed order and takes the first answer:

1. Success: exit code 0, a result, subtype success and not is_error, all four. The exit code is waived only when it can
   say nothing: the operator stopped the process itself after the result, or nobody could see how it ended (its pod was
   lost or deleted) and the agent printed nothing after the result. The result is then the best witness there is, and
   calling the run failed would have finished work done twice.
2. A cause recorded before the operator stopped the Job for it.
3. The operator's own intent: cancelled, or timed out.
4. The kernel's out-of-memory killer.
5. The agent's own result, if the process ended by itself. A process that was killed is explained by Kubernetes first.
6. Kubernetes: node lost, evicted, deadline, init container, image, configuration, quota, scheduling.
7. The result again, then how the process ended, then how it was lost sight of.
"""

from agentrun_operator import errors, models
from agentrun_operator.forensics import cluster, messages, process, provider
from agentrun_operator.forensics.case import Facts, Failure, Intent, Phase, Verdict

__all__ = ["Facts", "Failure", "Intent", "Phase", "Verdict", "diagnose"]

_Code = errors.ErrorCode

# The same run, unchanged, may succeed when it is started again later.
_RETRYABLE = frozenset(
    {
        _Code.CONCURRENT_RUN_BLOCKED, _Code.QUOTA_EXCEEDED, _Code.IMAGE_PULL_FAILED, _Code.UNSCHEDULABLE,
        _Code.RUN_STALLED, _Code.POD_SCHEDULE_FAILED, _Code.POD_EVICTED, _Code.NODE_LOST, _Code.JOB_DELETED_EXTERNALLY,
        _Code.RATE_LIMITED, _Code.USAGE_LIMITED, _Code.OVERLOADED, _Code.LLM_API_ERROR, _Code.LLM_UNREACHABLE,
        _Code.TRUNCATED, _Code.EMPTY_RESULT,
    }
)  # fmt: skip
_CANCELLED = {
    Intent.CANCEL: (models.Reason.CANCELLED, "The run was cancelled as asked by spec.cancel."),
    Intent.DELETE: (models.Reason.DELETED, "The run was cancelled because its AgentRun was deleted."),
    Intent.REPLACED: (models.Reason.REPLACED, "The run was cancelled to make room for a newer run of the same agent."),
}


def diagnose(known: Facts) -> Verdict:
    """The verdict on a run that is over. Never raises."""
    success = _success(known)
    if success is not None:
        return success
    if known.recorded is not None:
        return _failed(known.recorded)
    if known.intent in _CANCELLED:
        return _cancelled(known)
    if known.intent in {Intent.DEADLINE, Intent.STALL}:
        return _stopped(known)
    return _failed(_cause(known))


def _success(known: Facts) -> Verdict | None:
    seen = known.transcript
    if not provider.succeeded(seen.result):
        return None
    answer = "" if seen.result and seen.result.text else " Its answer is empty."
    if known.exit_code == 0:
        return _succeeded(models.Reason.COMPLETED, f"The agent finished its work.{answer}")
    if known.intent is Intent.RESULT_GRACE or known.recorded is not None:
        return _succeeded(
            models.Reason.COMPLETED_THEN_STOPPED,
            f"The agent finished its work, but its process did not exit and was stopped by the operator.{answer}",
        )
    if known.exit_code is None and known.intent is Intent.NONE and not seen.active_since_result:
        return _succeeded(
            models.Reason.COMPLETED_UNSEEN,
            messages.sentence(
                f"The agent reported success; its exit code was never seen, because its pod was lost.{answer}",
                f"Noticed by: {messages.one_line(known.detection)}." if known.detection else "",
            ),
        )
    return None


def _cause(known: Facts) -> Failure:
    result = known.transcript.result
    failure = cluster.find_oom(known)
    if failure is None and result is not None and not known.killed and not provider.interrupted(result):
        failure = _result_cause(known)
    failure = failure or cluster.find_cause(known)
    if failure is None and not (known.exit_code is None and result is not None and provider.interrupted(result)):
        failure = _result_cause(known)  # else a signal ended it that nobody saw: what took the pod is the cause
    if failure is not None:
        return failure
    if known.exit_code is None:
        return process.explain_no_exit(known)
    if result is not None:
        return process.explain_success_result(known, known.exit_code)
    return process.explain_exit(known, known.exit_code)


def _result_cause(known: Facts) -> Failure | None:
    result = known.transcript.result
    return None if result is None or provider.succeeded(result) else provider.explain_result(known, result)


def _cancelled(known: Facts) -> Verdict:
    reason, why = _CANCELLED[known.intent]
    text = messages.sentence(why, _ended(known))
    return Verdict(phase=Phase.CANCELLED, reason=reason, message=text, code=_Code.CANCELLED)


def _stopped(known: Facts) -> Verdict:
    limit = f" of {known.limit_seconds} s" if known.limit_seconds else ""
    if known.intent is Intent.STALL:
        text = messages.sentence(
            f"The run was stopped because the agent printed nothing for its limit{limit} (spec.timeouts.stallSeconds).",
            _ended(known),
            "Raise the limit if the work has long silent steps; the session can be resumed.",
        )
        return _failed(Failure(code=_Code.RUN_STALLED, message=text))
    text = messages.sentence(
        f"The run was stopped because it reached its time limit{limit} (spec.timeouts.timeoutSeconds).",
        _ended(known),
        "Raise the limit if the work needs more time; the session can be resumed.",
    )
    return _failed(Failure(code=_Code.TIMEOUT, message=text))


def _ended(known: Facts) -> str:
    seen = known.transcript
    if provider.succeeded(seen.result):
        return "The agent had already reported success; its answer is kept in status.result."
    if not known.started:
        return "The agent had not started yet."
    answers = messages.count(seen.turns, "answer")
    words = f"The agent ended with {messages.exit_words(known.exit_code)} after {answers} of the model"
    return f"{words}, while it used the tool {messages.one_line(seen.last_tool)}." if seen.open_tool else f"{words}."


def _succeeded(reason: str, message: str) -> Verdict:
    return Verdict(phase=Phase.SUCCEEDED, reason=reason, message=message)


def _failed(failure: Failure) -> Verdict:
    return Verdict(
        phase=Phase.FAILED,
        reason=_reason(failure.code),
        message=messages.shorten(failure.message),
        code=failure.code,
        retry_after=failure.retry_after,
        session_clear=failure.code is _Code.SESSION_UNAVAILABLE,
        retryable=failure.code in _RETRYABLE if failure.retryable is None else failure.retryable,
    )


def _reason(code: errors.ErrorCode) -> str:
    """``k8s_oom_killed`` → ``OomKilled``: the family is told by the code itself."""
    words = code.removeprefix("k8s_").removeprefix("claude_").split("_")
    return "".join(word.capitalize() for word in words)
