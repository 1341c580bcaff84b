"""Lines → events, and of a line that is not as expected whatever can be read."""

import functools
import json
import math
import types
import typing

import msgspec

from agentrun_operator.stream import events, notices
from agentrun_operator.stream.parts import Struct

Event = (
    events.PlainText
    | events.Unknown
    | events.Init
    | events.ApiRetry
    | events.RateLimit
    | events.Assistant
    | events.User
    | events.Result
    | notices.Status
    | notices.CompactBoundary
    | notices.PermissionDenied
    | notices.HookStarted
    | notices.HookResponse
    | notices.TaskStarted
    | notices.TaskProgress
    | notices.TaskUpdated
    | notices.TaskNotification
    | notices.BackgroundTasksChanged
    | notices.ModelFallback
    | notices.ModelRefusalFallback
    | notices.ModelRefusalNoFallback
    | notices.Informational
    | notices.ThinkingTokens
    | notices.ToolProgress
    | notices.StreamEvent
)

_UNIONS = (typing.Union, types.UnionType)
_T = typing.TypeVar("_T", bound=msgspec.Struct)


class _InnerHead(Struct, frozen=True, kw_only=True):
    """The kind of a stream_event."""

    type: str | None = None


class _Head(Struct, frozen=True, kw_only=True):
    """What says how to read the rest, and all there is to an event without a type of its own."""

    type: str | None = None
    subtype: str | None = None
    session_id: str | None = None
    event: _InnerHead | None = None


_HEAD = msgspec.json.Decoder(_Head)
_Decoders = dict[str | None, msgspec.json.Decoder[typing.Any]]
_DECODERS: _Decoders = {
    str(kind.__struct_config__.tag): msgspec.json.Decoder(kind)
    for kind in (
        events.Assistant,
        events.User,
        events.Result,
        events.RateLimit,
        notices.StreamEvent,
        notices.ToolProgress,
    )
}
_SYSTEM: _Decoders = {
    subtype: msgspec.json.Decoder(kind)
    for subtype, kind in {
        "init": events.Init,
        "api_retry": events.ApiRetry,
        "status": notices.Status,
        "compact_boundary": notices.CompactBoundary,
        "permission_denied": notices.PermissionDenied,
        "hook_started": notices.HookStarted,
        "hook_response": notices.HookResponse,
        "task_started": notices.TaskStarted,
        "task_progress": notices.TaskProgress,
        "task_updated": notices.TaskUpdated,
        "task_notification": notices.TaskNotification,
        "background_tasks_changed": notices.BackgroundTasksChanged,
        "model_fallback": notices.ModelFallback,
        "model_refusal_fallback": notices.ModelRefusalFallback,
        "model_refusal_no_fallback": notices.ModelRefusalNoFallback,
        "informational": notices.Informational,
        "thinking_tokens": notices.ThinkingTokens,
    }.items()
}
# The pieces of a message come by the thousand, and its assistant event repeats them: of the others the kind is enough.
_FOLDED = frozenset({"message_start", "message_delta"})


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
        return events.PlainText(text=line.decode("utf-8", "replace"))


def _decode(line: bytes) -> Event:
    """The typed event; raises ValueError or RecursionError if ``line`` is no JSON object in strict UTF-8."""
    try:
        head = _HEAD.decode(line)
    except msgspec.ValidationError:
        head = _salvage(line, _Head)
    decoder = _SYSTEM.get(head.subtype) if head.type == "system" else _DECODERS.get(head.type)
    if decoder is None:
        return events.Unknown(type=head.type or "", subtype=head.subtype or "", session_id=head.session_id)
    if head.event is not None and head.type == "stream_event" and head.event.type not in _FOLDED:
        return notices.StreamEvent(session_id=head.session_id, event=notices.ApiEvent(type=head.event.type))
    try:
        return typing.cast("Event", decoder.decode(line))
    except msgspec.ValidationError:
        return typing.cast("Event", _salvage(line, decoder.type))


def _repair(line: bytes) -> bytes:
    """The same JSON in a form that every reader takes; raises ValueError or RecursionError if it is none.

    Broken UTF-8 and lone surrogates become U+FFFD; NaN, Infinity and numbers that are too large become null.
    """
    value = json.loads(
        line.decode("utf-8", "replace"), parse_constant=lambda _: None, parse_float=_finite, parse_int=_short
    )
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _short(digits: str) -> int | None:
    try:
        return int(digits)
    except ValueError:  # thousands of digits, see sys.set_int_max_str_digits
        return None


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
