r"""Bytes of the agent's log → typed events.

The Claude Code CLI prints one JSON object per line. This module cuts bytes into lines and lines into frozen values. It
refuses to judge: it never raises for what an agent printed, and it draws no conclusion from it (``progress`` folds,
``forensics`` concludes). Facts it relies on (claude-cli.md):

- lines end with ``\n`` and with nothing else; a line may be megabytes long and the last one may be cut off;
- the order of keys is not stable, and model text may look like an event: only the top-level ``type`` counts;
- unknown types, new fields and fields of another type than today's are normal. A field that cannot be read is absent.
"""

import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

# Twice the longest line that is known and wanted: results of 4 MB are real. What is longer (a file that a tool has
# read) tells nothing that is folded. Parsing lets nobody else in this process run, the event loop included: an honest
# line of 8 MiB takes 0.04 s and 30 MB, one made to hurt (millions of empty objects) a second or two and 320 MB; both
# grow with the limit.
DEFAULT_MAX_LINE_BYTES = 8 * 1024 * 1024
SYNTHETIC_MODEL = "<synthetic>"

_UNIONS = (typing.Union, types.UnionType)
_T = typing.TypeVar("_T", bound=msgspec.Struct)


class LineDecoder:
    """Cuts a stream of chunks into lines without their line end; keeps at most one unfinished line.

    A line longer than ``max_line_bytes`` is dropped as soon as that is known, and counted in ``oversized_lines``; the
    next line is read normally. Bytes are never decoded here, so no character can be cut in two.
    """

    def __init__(self, max_line_bytes: int = DEFAULT_MAX_LINE_BYTES) -> None:
        self.oversized_lines = 0
        self._max = max_line_bytes
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False

    def decode(self, chunk: bytes) -> list[bytes]:
        """The lines that ``chunk`` completes, in order."""
        *ended, rest = chunk.split(b"\n")
        lines: list[bytes] = []
        for part in ended:
            self._append(part)
            lines += self.flush()
        self._append(rest)
        return lines

    def flush(self) -> list[bytes]:
        """The unfinished line, if there is one; call it at the end of the stream, it may lack its line end."""
        lines = [b"".join(self._parts).removesuffix(b"\r")] if self._parts else []
        self._parts, self._size, self._skipping = [], 0, False
        return lines

    def _append(self, part: bytes) -> None:
        if not part or self._skipping:
            return
        self._size += len(part)
        if self._size > self._max:
            self._parts = []
            self._skipping = True
            self.oversized_lines += 1
        else:
            self._parts.append(part)


class _Struct(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all values: every field is optional, because no field of another program's output is certain."""


class PlainText(_Struct, frozen=True, kw_only=True):
    """A line that is no JSON object: a cut-off last line, or the words of another program."""

    text: str


class Unknown(_Struct, frozen=True, kw_only=True):
    """An event that has no type of its own here; ``""`` where the event did not say."""

    type: str = ""
    subtype: str = ""
    session_id: str | None = None


class Init(_Struct, frozen=True, kw_only=True):
    """``system/init``: may be late, missing or repeated. ``version`` is the CLI's own."""

    session_id: str | None = None
    model: str | None = None
    cwd: str | None = None
    version: str | None = msgspec.field(default=None, name="claude_code_version")
    api_key_source: str | None = msgspec.field(default=None, name="apiKeySource")


class ApiRetry(_Struct, frozen=True, kw_only=True):
    """``system/api_retry``: the CLI tries again in ``retry_delay_ms``; ``error_status`` None means no answer."""

    session_id: str | None = None
    attempt: int | None = None
    max_retries: int | None = None
    retry_delay_ms: float | None = None
    error_status: int | None = None
    error: str | None = None


class RateLimitInfo(_Struct, frozen=True, kw_only=True):
    """State of a subscription's window; ``resets_at`` in seconds since the epoch, ``utilization`` 0 to 1."""

    status: str | None = None
    resets_at: float | None = msgspec.field(default=None, name="resetsAt")
    kind: str | None = msgspec.field(default=None, name="rateLimitType")
    utilization: float | None = None


class RateLimit(_Struct, frozen=True, kw_only=True):
    """``rate_limit_event``: also printed when all is well; only status ``rejected`` means that a limit was hit."""

    session_id: str | None = None
    info: RateLimitInfo | None = msgspec.field(default=None, name="rate_limit_info")


class Usage(_Struct, frozen=True, kw_only=True):
    """Tokens as the API counts them."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class ModelUsage(_Struct, frozen=True, kw_only=True):
    """Tokens and US dollars of one model."""

    input_tokens: int | None = msgspec.field(default=None, name="inputTokens")
    output_tokens: int | None = msgspec.field(default=None, name="outputTokens")
    cache_read_tokens: int | None = msgspec.field(default=None, name="cacheReadInputTokens")
    cache_creation_tokens: int | None = msgspec.field(default=None, name="cacheCreationInputTokens")
    cost_usd: float | None = msgspec.field(default=None, name="costUSD")


_NO_INPUT = msgspec.Raw()  # "Raw | None" would refuse everything but null


class Block(_Struct, frozen=True, kw_only=True):
    """One content block; ``type`` tells which fields mean something (text, thinking, tool_use, tool_result, others).

    One struct for all kinds: a tagged union would refuse the whole message for one new kind of block. ``input`` is JSON
    as it was printed (no bytes if absent): few readers want it, and building it is slow.
    """

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NO_INPUT
    tool_use_id: str | None = None
    content: "str | list[Block] | None" = None
    is_error: bool | None = None


class Message(_Struct, frozen=True, kw_only=True):
    """The API message inside an assistant or user event."""

    id: str | None = None
    model: str | None = None
    content: str | list[Block] | None = None
    stop_reason: str | None = None
    usage: Usage | None = None

    @property
    def blocks(self) -> list[Block]:
        """The content as blocks; a plain string is one text block."""
        if isinstance(self.content, str):
            return [Block(type="text", text=self.content)]
        return self.content or []


_NO_MESSAGE = Message()


class Assistant(_Struct, frozen=True, kw_only=True):
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


class User(_Struct, frozen=True, kw_only=True):
    """``user``: tool results and injected text."""

    session_id: str | None = None
    parent_tool_use_id: str | None = None
    message: Message = _NO_MESSAGE
    is_synthetic: bool | None = msgspec.field(default=None, name="isSynthetic")
    is_replay: bool | None = msgspec.field(default=None, name="isReplay")


class Result(_Struct, frozen=True, kw_only=True):
    """``result``: the CLI's own verdict; the last one of a run counts. Durations in ms, costs in US dollars.

    ``total_cost_usd`` and ``model_usage`` are totals of the *session*; ``model_usage_since_last_result`` is what
    belongs to this result (None in old versions). ``usage`` knows nothing of subagents.
    """

    subtype: str | None = None
    is_error: bool | None = None
    text: str | None = msgspec.field(default=None, name="result")
    errors: list[Any] | None = None
    session_id: str | None = None
    num_turns: int | None = None
    stop_reason: str | None = None
    terminal_reason: str | None = None
    api_error_status: int | None = None
    api_error_type: str | None = None
    api_error: str | None = None
    duration_ms: float | None = None
    duration_api_ms: float | None = None
    ttft_ms: float | None = None
    total_cost_usd: float | None = None
    usage: Usage | None = None
    model_usage: dict[str, ModelUsage] | None = msgspec.field(default=None, name="modelUsage")
    model_usage_since_last_result: dict[str, ModelUsage] | None = None
    permission_denials: list[Any] | None = None
    result_index: int | None = None
    subagent_stats: dict[str, Any] | None = None
    origin: Any = None
    local_command: str | None = None

    @property
    def error_texts(self) -> tuple[str, ...]:
        """``errors`` as texts, whether the CLI printed strings or objects with a ``message`` or ``error``."""
        found = [e.get("message", e.get("error")) if isinstance(e, Mapping) else e for e in self.errors or ()]
        return tuple(e for e in found if isinstance(e, str))


Event = PlainText | Unknown | Init | ApiRetry | RateLimit | Assistant | User | Result


class _Head(_Struct, frozen=True, kw_only=True):
    """The two fields that say how to read the rest."""

    type: str | None = None
    subtype: str | None = None


_HEAD = msgspec.json.Decoder(_Head)
_UNKNOWN = msgspec.json.Decoder(Unknown)
_SYSTEM: dict[str | None, msgspec.json.Decoder[Any]] = {
    "init": msgspec.json.Decoder(Init),
    "api_retry": msgspec.json.Decoder(ApiRetry),
}
_DECODERS: dict[str | None, msgspec.json.Decoder[Any]] = {
    "rate_limit_event": msgspec.json.Decoder(RateLimit),
    "assistant": msgspec.json.Decoder(Assistant),
    "user": msgspec.json.Decoder(User),
    "result": msgspec.json.Decoder(Result),
}


def parse(line: bytes) -> Event | None:
    """The event on one line (without its line end), or None for a blank line. Never raises for any content.

    NUL bytes around the line count as blank: that is how the hole reads that a truncated file has at its beginning.
    """
    if not line.strip():
        return None
    try:
        return _decode(line)
    except (ValueError, RecursionError):
        pass  # strict JSON readers refuse lone surrogates, which JavaScript prints when it cuts a text
    line = line.strip(b"\0")
    if not line.strip():
        return None
    try:
        return _decode(_repair(line))
    except (ValueError, RecursionError):
        return PlainText(text=line.decode("utf-8", "replace"))


def _decode(line: bytes) -> Event:
    """The typed event; raises ValueError or RecursionError if ``line`` is no JSON object in strict UTF-8."""
    try:
        head = _HEAD.decode(line)
    except msgspec.ValidationError:
        head = _salvage(line, _Head)
    decoder = _SYSTEM.get(head.subtype, _UNKNOWN) if head.type == "system" else _DECODERS.get(head.type, _UNKNOWN)
    try:
        return typing.cast("Event", decoder.decode(line))
    except msgspec.ValidationError:
        return typing.cast("Event", _salvage(line, decoder.type))


def _repair(line: bytes) -> bytes:
    """The same JSON in a form that every reader takes; raises ValueError or RecursionError if it is none.

    Broken UTF-8 and lone surrogates become U+FFFD; NaN, Infinity and numbers too large for a float become null.
    """
    value = json.loads(line.decode("utf-8", "replace"), parse_constant=lambda _: None, parse_float=_finite)
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _salvage(raw: bytes | msgspec.Raw, kind: type[_T]) -> _T:
    """A ``kind`` of the fields that can be read, defaults for the others; raises ValidationError for no object."""
    values = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    fields = [field for field in msgspec.structs.fields(kind) if field.encode_name in values]
    found = {field.name: _readable(values[field.encode_name], field.type) for field in fields}
    return kind(**{name: value for name, value in found.items() if value is not None})


def _readable(raw: msgspec.Raw, kind: object) -> object:
    """``raw`` as ``kind``; else as much of its inside as can be read; None if nothing can."""
    alternatives = typing.get_args(kind) if typing.get_origin(kind) in _UNIONS else (kind,)
    insides = (functools.partial(_inside, kind=alternative) for alternative in alternatives)
    for read in (functools.partial(msgspec.json.decode, type=kind), *insides):
        try:
            return read(raw)
        except msgspec.ValidationError:
            continue
    return None


def _inside(raw: msgspec.Raw, kind: object) -> object:
    """The readable parts of a struct, list or dict; raises ValidationError for anything else."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is list:
        items = [_readable(item, arguments[0]) for item in msgspec.json.decode(raw, type=list[msgspec.Raw])]
        return [item for item in items if item is not None]
    if origin is dict:
        values = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        return {key: item for key, value in values.items() if (item := _readable(value, arguments[1])) is not None}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _salvage(raw, kind)
    raise msgspec.ValidationError
