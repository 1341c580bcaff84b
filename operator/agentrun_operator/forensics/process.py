"""Causes that are left when neither Kubernetes nor a result names one: how the process ended and what it printed."""

from agentrun_operator import errors
from agentrun_operator.forensics import case, cluster, messages, provider

_Code = errors.ErrorCode

_CANNOT_EXECUTE = {126: "it may not be executed", 127: "the image has no such command"}


def explain_exit(known: case.Facts, code: int) -> case.Failure:
    """The cause of a run that ended with exit code ``code`` and without a result."""
    seen = known.transcript
    if code != 0 and not seen.output_seen and provider.no_session(known.stderr_tail):
        return provider.session_failure()
    if not known.log_found and seen.events == 0 and not known.killed and not (code and known.stderr_tail.strip()):
        return _log_missing(f"The agent ended with {messages.exit_words(code)}")
    if code != 0 and seen.events == 0 and not known.killed:
        return _startup_failed(known, code)
    if not known.killed:
        failure = provider.explain_last_call(known) or _degraded(known)
        if failure is not None:
            return failure
    failure = _job_disagrees(known, code)
    if failure is not None:
        return failure
    if code != 0 and seen.init_seen and not seen.output_seen and not known.killed:
        return _init_failed(known, code)
    return _truncated(known, code)


def explain_success_result(known: case.Facts, code: int) -> case.Failure:
    """The cause of a run whose result is a success, but whose process ended with exit code ``code``."""
    text = messages.sentence(
        f"The agent reported success, but its process then ended with {messages.exit_words(code)}.",
        "Its answer is kept in status.result; check its work before relying on it.",
    )
    return _job_disagrees(known, code) or case.Failure(code=_Code.ADAPTER_FAILED, message=text)


def explain_no_exit(known: case.Facts) -> case.Failure:
    """The cause of a run without a result whose exit code nobody saw."""
    pod, job = known.pod, known.job
    if (job is not None and (job.gone or job.deleting)) or (pod is not None and (pod.gone or pod.deleting)):
        return _deleted(known)
    if job is not None and job.finished and pod is not None and known.started:
        text = f"Kubernetes calls the Job {job.name} ended, but the agent's container was never seen to end."
        advice = "It may still be running: check the pod before starting another run."
        return case.Failure(code=_Code.JOB_STATE_MISMATCH, message=messages.sentence(text, _noticed(known), advice))
    if not known.log_found and known.started:
        return _log_missing("The agent was started")
    if not known.started and (job is not None or pod is not None):
        waiting = next(cluster.find_waiting(known), None)
        why = f"it still waits ({waiting.waiting_reason})" if waiting else "Kubernetes gave no reason"
        text = f"The agent's pod did not start; {why}."
        advice = "See: kubectl describe job and the namespace's events."
        return case.Failure(code=_Code.POD_SCHEDULE_FAILED, message=messages.sentence(text, _noticed(known), advice))
    text = "How the agent ended is not known: neither its exit code nor a result was seen."
    return case.Failure(code=_Code.ADAPTER_FAILED, message=messages.sentence(text, _noticed(known)))


def _deleted(known: case.Facts) -> case.Failure:
    job, pod = known.job, known.pod
    job_gone = job is not None and (job.gone or job.deleting)
    what = f"Job {job.name}" if job is not None and job_gone else f"pod {pod.name if pod else ''}"
    text = messages.sentence(
        f"The {what} was deleted by somebody else before the agent could finish; no exit code was left.",
        f"The agent had printed {known.transcript.events} events.",
        _noticed(known),
        "Look in the API server's audit log for who deleted it.",
    )
    return case.Failure(code=_Code.JOB_DELETED_EXTERNALLY, message=text)


def _log_missing(how: str) -> case.Failure:
    text = messages.sentence(
        f"{how}, but its log file never appeared and its pod's log could not be read either.",
        "Check that operator and agent mount the same volume and that spec and settings name the same log path.",
    )
    return case.Failure(code=_Code.POD_LOG_FILE_MISSING, message=text)


def _startup_failed(known: case.Facts, code: int) -> case.Failure:
    said = messages.quote_stderr(known.stderr_tail or known.transcript.first_plain_text)
    text = messages.sentence(
        f"The agent ended with {messages.exit_words(code)} before it began its work"
        + (f" ({_CANNOT_EXECUTE[code]})." if code in _CANNOT_EXECUTE else "."),
        messages.full_stop(f"It wrote: “{said}”") if said else "It wrote nothing to its standard error.",
        "Check the arguments, the image and the environment of the run.",
    )
    return case.Failure(code=_Code.CLAUDE_STARTUP_FAILED, message=text)


def _degraded(known: case.Facts) -> case.Failure | None:
    if not known.transcript.degraded:
        return None
    text = messages.sentence(
        "The API ended the model's answer without output tokens and without a stop reason, and no result followed.",
        "Check the gateway or model provider behind ANTHROPIC_BASE_URL; the run can be started again.",
    )
    return case.Failure(code=_Code.LLM_API_ERROR, message=text)


def _job_disagrees(known: case.Facts, code: int) -> case.Failure | None:
    """Job and container contradict each other; which of them is right cannot be told from here."""
    job = known.job
    failed = job is not None and job.failure is not None
    if job is None or not ((job.complete and code != 0) or (failed and code == 0)):
        return None
    text = messages.sentence(
        f"The Job {job.name} is {'failed' if failed else 'complete'},",
        f"but the agent ended with {messages.exit_words(code)}.",
        "Another container of the pod may have failed: see kubectl describe pod.",
    )
    return case.Failure(code=_Code.JOB_STATE_MISMATCH, message=text)


def _init_failed(known: case.Facts, code: int) -> case.Failure:
    text = messages.sentence(
        f"The agent started (model {known.transcript.model or 'unknown'}) but ended with {messages.exit_words(code)}",
        "before the model answered.",
        _retrying(known) or "A model that the account may not use or a bad session is likely.",
        "See the log of the run and status.exit.stderrTail.",
    )
    return case.Failure(code=_Code.CLAUDE_INIT_FAILED, message=text)


def _truncated(known: case.Facts, code: int) -> case.Failure:
    seen = known.transcript
    if known.killed:
        cause = f"The agent was killed ({messages.exit_words(code)}) before it could finish"
    else:
        cause = f"The agent's output ends without a result, though it ended with {messages.exit_words(code)}"
    if seen.last_tool:
        cause += (
            f"; it was {'running' if seen.open_tool else 'last using'} the tool {messages.one_line(seen.last_tool)}"
        )
    text = messages.sentence(
        cause + ".",
        _retrying(known),
        "" if known.killed else "The end of its output was lost; its work may be done.",
        "The session can be resumed." if seen.session_id else "",
    )
    return case.Failure(code=_Code.TRUNCATED, message=text)


def _retrying(known: case.Facts) -> str:
    """The retries that the agent was in, if it said so: the likely cause of a run that got nowhere."""
    retry = known.transcript.api_retry
    if retry is None or known.transcript.output_seen:
        return ""
    status = f"HTTP {retry.error_status}" if retry.error_status is not None else "no answer"
    return f"It was trying to reach the API again (attempt {retry.attempt} of {retry.max_retries}, {status})."


def _noticed(known: case.Facts) -> str:
    return f"Noticed by: {messages.shorten(messages.one_line(known.detection), 300)}." if known.detection else ""
