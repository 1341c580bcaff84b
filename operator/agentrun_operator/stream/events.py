"""The events of a run that tell how it goes: its start, the messages, trouble with the API, the result.

``notices`` has the others.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from agentrun_operator.stream.parts import Message, ModelUsage, Struct, Usage

SYNTHETIC_MODEL = "<synthetic>"


class PlainText(Struct, frozen=True, kw_only=True):
    """A line that is no JSON object: a cut-off last line, or the words of another program."""

    text: str


class Unknown(Struct, frozen=True, kw_only=True):
    """An event that has no type of its own here; ``""`` where the event did not say."""

    type: str = ""
    subtype: str = ""
    session_id: str | None = None


class Init(Struct, frozen=True, kw_only=True):
    """``system/init``: may be late, missing or repeated. ``version`` is the CLI's own."""

    session_id: str | None = None
    model: str | None = None
    cwd: str | None = None
    version: str | None = msgspec.field(default=None, name="claude_code_version")
    api_key_source: str | None = msgspec.field(default=None, name="apiKeySource")


class ApiRetry(Struct, frozen=True, kw_only=True):
    """``system/api_retry``: the CLI tries again in ``retry_delay_ms``; ``error_status`` None means no answer."""

    session_id: str | None = None
    attempt: int | None = None
    max_retries: int | None = None
    retry_delay_ms: float | None = None
    error_status: int | None = None
    error: str | None = None


class RateLimitInfo(Struct, frozen=True, kw_only=True):
    """State of a subscription's window; ``resets_at`` in seconds since the epoch, ``utilization`` 0 to 1."""

    status: str | None = None
    resets_at: float | None = msgspec.field(default=None, name="resetsAt")
    kind: str | None = msgspec.field(default=None, name="rateLimitType")
    utilization: float | None = None


class RateLimit(Struct, tag_field="type", tag="rate_limit_event", frozen=True, kw_only=True):
    """``rate_limit_event``: also printed when all is well; only status ``rejected`` means that a limit was hit."""

    session_id: str | None = None
    info: RateLimitInfo | None = msgspec.field(default=None, name="rate_limit_info")


_NO_MESSAGE = Message()


class Assistant(Struct, tag_field="type", tag="assistant", frozen=True, kw_only=True):
    """``assistant``: one content block of a message, several events share a message id.

    Made up by the CLI itself (``synthetic``) when an API call failed; then ``error`` and its siblings say why.
    """

    session_id: str | None = None
    parent_tool_use_id: str | None = None
    message: Message = _NO_MESSAGE
    error: str | None = None
    is_api_error_message: bool | None = None
    api_error_status: int | None = None
    api_error_type: str | None = None
    api_error: str | None = None

    @property
    def synthetic(self) -> bool:
        """Whether the CLI wrote this message in the model's place."""
        return self.message.model == SYNTHETIC_MODEL or self.is_api_error_message is True


class User(Struct, tag_field="type", tag="user", frozen=True, kw_only=True):
    """``user``: tool results and injected text."""

    session_id: str | None = None
    parent_tool_use_id: str | None = None
    message: Message = _NO_MESSAGE
    is_synthetic: bool | None = msgspec.field(default=None, name="isSynthetic")
    is_replay: bool | None = msgspec.field(default=None, name="isReplay")


class Outcome(Struct, frozen=True, kw_only=True):
    """What a ``result``, the CLI's own verdict, says of how it went; the last one of a run counts."""

    subtype: str | None = None
    is_error: bool | None = None
    text: str | None = msgspec.field(default=None, name="result")
    errors: list[Any] | None = None
    stop_reason: str | None = None
    terminal_reason: str | None = None
    api_error_status: int | None = None
    api_error_type: str | None = None
    api_error: str | None = None
    duration_ms: float | None = None

    @property
    def error_texts(self) -> tuple[str, ...]:
        """``errors`` as texts, whether the CLI printed strings or objects with a ``message`` or ``error``."""
        found = [e.get("message", e.get("error")) if isinstance(e, Mapping) else e for e in self.errors or ()]
        return tuple(e for e in found if isinstance(e, str))


class Result(Outcome, tag_field="type", tag="result", frozen=True, kw_only=True):
    """``result`` with all that is worth keeping.

    Durations in ms, costs in US dollars. ``total_cost_usd`` and ``model_usage`` are totals of the *session*;
    ``model_usage_since_last_result`` is what belongs to this result (None in old versions). ``usage`` knows nothing of
    subagents.
    """

    session_id: str | None = None
    num_turns: int | None = None
    duration_api_ms: float | None = None
    ttft_ms: float | None = None
    total_cost_usd: float | None = None
    usage: Usage | None = None
    model_usage: dict[str, ModelUsage] | None = msgspec.field(default=None, name="modelUsage")
    model_usage_since_last_result: dict[str, ModelUsage] | None = None
    result_index: int | None = None
    local_command: str | None = None
    permission_denials: list[Any] | None = None
    subagent_stats: dict[str, Any] | None = None
    origin: Any = None
