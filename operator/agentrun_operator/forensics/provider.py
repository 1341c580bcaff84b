"""Causes that the agent itself reports: its last result, or the API failure that it printed last.

The order is that of claude-cli.md §4: structure first (subtype, stop and terminal reason, status, error words), the
text only where old versions have nothing else, and only a text that the CLI itself wrote: never what the model said.
"""

import dataclasses
import re

from agentrun_operator import errors, stream
from agentrun_operator.forensics import case, messages

_Code = errors.ErrorCode

_NO_SESSION = "No conversation found"
_TOO_LONG = frozenset({"prompt_too_long", "blocking_limit", "rapid_refill_breaker"})
_ERROR_CODES = {
    "authentication_failed": _Code.AUTH_REQUIRED,
    "oauth_org_not_allowed": _Code.AUTH_REQUIRED,
    "billing_error": _Code.BILLING_ERROR,
    "rate_limit": _Code.RATE_LIMITED,
    "overloaded": _Code.OVERLOADED,
    "model_not_found": _Code.INVALID_MODEL,
    "max_output_tokens": _Code.OUTPUT_LIMIT,
    "invalid_request": _Code.LLM_API_ERROR,
    "server_error": _Code.LLM_UNREACHABLE,  # with a status it was decided before: without one, nobody answered
}
_STATUS_CODES = {
    401: _Code.AUTH_REQUIRED,
    402: _Code.BILLING_ERROR,
    403: _Code.AUTH_REQUIRED,
    404: _Code.INVALID_MODEL,
    429: _Code.RATE_LIMITED,
    529: _Code.OVERLOADED,
}
# What the CLI writes in front of (or instead of) the server's own words; checked in this order.
_TEXTS = (
    (_Code.PROMPT_TOO_LONG, re.compile(r"^Prompt is too long|^Autocompact is thrashing|exceed context limit")),
    (_Code.BILLING_ERROR, re.compile(r"^Credit balance is too low")),
    (_Code.AUTH_REQUIRED, re.compile(r"disabled organi[sz]ation|organi[sz]ation has been disabled", re.IGNORECASE)),
    (_Code.REFUSAL, re.compile(r"appears to violate our Usage Policy|safeguards (?:flagged|stopped)")),
    (_Code.OUTPUT_LIMIT, re.compile(r"output token maximum|reached its context window limit")),
    (
        _Code.USAGE_LIMITED,
        re.compile(r"limit reached\|\d|hit your .*limit|\blimit reached\b.*\bresets\b", re.IGNORECASE),
    ),
)
_STATUS_IN_TEXT = re.compile(
    r"^(?:Failed to authenticate\. |Please run /login · )?API Error:? (?:\D{0,40}?[\s(])?([45]\d{2})\b"
)
_LATE_TEXTS = (
    (
        _Code.AUTH_REQUIRED,
        re.compile(r"^Not logged in|^Invalid API key|Please run /login|^OAuth token|^Failed to auth"),
    ),
    (_Code.OVERLOADED, re.compile(r"overloaded_error")),
    (_Code.RATE_LIMITED, re.compile(r"rate_limit_error")),
    (_Code.INVALID_MODEL, re.compile(r"^There's an issue with the selected model")),
    (
        _Code.LLM_UNREACHABLE,
        re.compile(
            r"^Request timed out|\b(?:ECONN\w+|ENOTFOUND|EAI_\w+|EPROTO|EPIPE|ETIMEDOUT|E\w+UNREACH)\b"
            r"|\bUNABLE_TO_|\bCERT_"
            r"|connection (?:error|lost|dropped|refused|closed|reset)|unable to connect|certificate|\b(?:SSL|TLS)\b"
            r"|fetch failed|socket hang up|\bterminated\b|can't reach",
            re.IGNORECASE,
        ),
    ),
    (_Code.LLM_API_ERROR, re.compile(r"^API Error")),
)
_ADVICE = {
    _Code.AUTH_REQUIRED: (
        "The API did not accept the agent's credentials",
        "Check the API key or token that the run gets; log in again if a token has expired.",
    ),
    _Code.BILLING_ERROR: ("The account has no credit left", "Add credit or use another key."),
    _Code.RATE_LIMITED: (
        "The API's rate limit was hit and did not clear in time",
        "Try again later, run fewer agents at once, or raise spec.claude.maxRetries.",
    ),
    _Code.USAGE_LIMITED: ("The subscription's usage limit is reached", "Try again when it resets, or use an API key."),
    _Code.OVERLOADED: ("The API is overloaded", "Try again later."),
    _Code.INVALID_MODEL: (
        "The model does not exist or this account may not use it",
        "Check spec.claude.model, and the gateway if one is configured.",
    ),
    _Code.PROMPT_TOO_LONG: (
        "The prompt or the session is too long for the model",
        "Shorten the prompt or start a fresh session; large files and tool outputs count too.",
    ),
    _Code.OUTPUT_LIMIT: (
        "The answer was cut at the model's output limit",
        "Ask for smaller steps, or raise CLAUDE_CODE_MAX_OUTPUT_TOKENS.",
    ),
    _Code.REFUSAL: ("The model refused the task for safety reasons", "Rephrase the task."),
    _Code.LLM_API_ERROR: ("The API rejected or failed a request", "See the API's answer and the log of the run."),
    _Code.LLM_UNREACHABLE: (
        "The API could not be reached or did not answer",
        "Check network policy, DNS, proxy and ANTHROPIC_BASE_URL as the pod sees them.",
    ),
}
_RESPONSE_SERVER_ERROR = 500


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What the CLI says about a failed call, from a result and the synthetic message before it."""

    text: str
    status: int | None
    errors: tuple[str, ...]
    type: str
    stop_reason: str = ""
    terminal_reason: str = ""


def succeeded(result: stream.Outcome | None) -> bool:
    """Whether the CLI calls the run a success. The subtype alone does not: API failures are ``success`` too."""
    return result is not None and result.subtype == "success" and result.is_error is False


def interrupted(result: stream.Outcome) -> bool:
    """Whether the result was written because a signal ended the turn."""
    return result.subtype == "error_during_execution" and (result.terminal_reason or "").startswith("aborted")


def no_session(text: str) -> bool:
    """Whether the CLI says there that it does not know the session to resume."""
    return _NO_SESSION in text


def session_failure() -> case.Failure:
    """The session to resume is not there."""
    text = messages.sentence(
        "The session to resume does not exist for this agent: it was deleted, or made with another home or directory.",
        "Start the next run without session.id.",
    )
    return case.Failure(code=_Code.SESSION_UNAVAILABLE, message=text)


def explain_result(known: case.Facts, result: stream.Outcome) -> case.Failure:
    """The cause that a result names. Call it for a result that is no success."""
    match result.subtype:
        case "error_max_turns":
            text = f"The agent used up its turns ({messages.count(known.transcript.turns, 'answer')} of the model)."
            advice = "Raise spec.claude.maxTurns, or resume the session with a new run."
            return case.Failure(code=_Code.MAX_TURNS, message=messages.sentence(text, advice))
        case "error_max_budget_usd":
            text = f"The agent used up its budget (cost so far: ${known.transcript.cost_text or 'unknown'})."
            advice = "Raise spec.claude.maxBudgetUSD, or resume the session with a new run."
            return case.Failure(code=_Code.BUDGET_EXCEEDED, message=messages.sentence(text, advice))
        case "error_during_execution":
            return _explain_execution(known, result)
        case _:
            return _explain_call(known, _words(known, result))


def explain_last_call(known: case.Facts) -> case.Failure | None:
    """The cause of a run whose last word is a failed API call without the result that should follow."""
    failed = known.transcript.api_failure
    if failed is None or (not failed.error and failed.status is None and not failed.text.startswith("API Error")):
        return None
    words = _Words(
        text=failed.text,
        status=failed.status,
        errors=tuple(filter(None, (failed.code, failed.error))),
        type=failed.type,
    )
    return _explain_call(known, words)


def _explain_execution(known: case.Facts, result: stream.Outcome) -> case.Failure:
    if any(map(no_session, result.error_texts)):
        return session_failure()
    ended = messages.exit_words(known.exit_code)
    if interrupted(result):
        text = messages.sentence(
            f"The agent was interrupted in the middle of its work ({result.terminal_reason}) and ended with {ended}.",
            "The operator did not ask for it: look for what sent the signal. The session can be resumed.",
        )
        return case.Failure(code=_Code.TRUNCATED, message=text)
    said = messages.quote(" ".join(result.error_texts))
    if result.is_error is False:
        text = f"The agent ended with {ended} without any answer: the model sent none, or it was lost on the way."
        return case.Failure(code=_Code.EMPTY_RESULT, message=messages.sentence(text, "The run can be started again."))
    if not known.transcript.init_seen:
        text = messages.full_stop(f"The agent gave up before it began: {said or 'it gave no reason'}")
        advice = "Check the session id and the arguments of the run."
        return case.Failure(code=_Code.CLAUDE_STARTUP_FAILED, message=messages.sentence(text, advice))
    text = f"The agent failed while it worked: {said or 'it gave no reason'} ({ended})."
    return case.Failure(code=_Code.RESULT_ERROR, message=messages.sentence(text, "See the log of the run."))


def _words(known: case.Facts, result: stream.Outcome) -> _Words:
    failed = known.transcript.api_failure
    text = result.text or ""
    status = result.api_error_status
    found = (result.api_error, failed.code if failed else "", failed.error if failed else "")
    return _Words(
        text=text,
        status=status if status is not None else (failed.status if failed else None),
        errors=tuple(filter(None, found)),
        type=result.api_error_type or (failed.type if failed else ""),
        stop_reason=result.stop_reason or "",
        terminal_reason=result.terminal_reason or "",
    )


def _explain_call(known: case.Facts, words: _Words) -> case.Failure:
    code = _code(known, words)
    if code is None:
        text = messages.sentence(
            "The agent reported an error without a known cause.",
            "See status.result.text and the log of the run.",
        )
        return case.Failure(code=_Code.RESULT_ERROR, message=text)
    status = _status(words)
    cause, advice = _ADVICE[code]
    said = messages.quote(words.text)
    text = messages.sentence(
        messages.full_stop(cause + (f" (HTTP {status})" if status is not None else "") + (f": {said}" if said else "")),
        advice,
    )
    later = _retry_after(known, words) if code is _Code.USAGE_LIMITED else None
    final = code is _Code.LLM_API_ERROR and status is not None and status < _RESPONSE_SERVER_ERROR
    return case.Failure(code=code, message=text, retry_after=later, retryable=False if final else None)


def _code(known: case.Facts, words: _Words) -> errors.ErrorCode | None:
    """The first rule that fits, in the order of claude-cli.md §4."""
    if words.stop_reason == "refusal":
        return _Code.REFUSAL
    if words.terminal_reason in _TOO_LONG or "autocompact_thrashing" in words.errors:
        return _Code.PROMPT_TOO_LONG
    if "billing_error" in words.errors:
        return _Code.BILLING_ERROR
    if "usage_limit_reached" in words.errors:
        return _Code.USAGE_LIMITED
    if "org_disabled_credential" in words.errors:
        return _Code.AUTH_REQUIRED
    code = _match(_TEXTS, words.text) or _by_status(words) or _by_word(words) or _match(_LATE_TEXTS, words.text)
    if code is _Code.RATE_LIMITED and known.transcript.rejected is not None:
        return _Code.USAGE_LIMITED  # the subscription's window, not the API's rate limit
    return code


def _by_status(words: _Words) -> errors.ErrorCode | None:
    status = _status(words)
    if status is None:
        return _Code.OVERLOADED if words.type == "overloaded_error" else None
    return _STATUS_CODES.get(status, _Code.LLM_API_ERROR)


def _by_word(words: _Words) -> errors.ErrorCode | None:
    if "connection_failed" in words.errors:
        return _Code.LLM_UNREACHABLE
    return next((_ERROR_CODES[word] for word in words.errors if word in _ERROR_CODES), None)


def _status(words: _Words) -> int | None:
    found = _STATUS_IN_TEXT.match(words.text)
    return words.status if words.status is not None or found is None else int(found[1])


def _match(rules: tuple[tuple[errors.ErrorCode, re.Pattern[str]], ...], text: str) -> errors.ErrorCode | None:
    return next((code for code, pattern in rules if pattern.search(text)), None)


def _retry_after(known: case.Facts, words: _Words) -> str | None:
    rejected = known.transcript.rejected
    return (messages.from_epoch(rejected.resets_at) if rejected else None) or messages.reset_time(words.text, known.now)
