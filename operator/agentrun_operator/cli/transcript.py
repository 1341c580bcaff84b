"""Events of a run as lines for people.

Pure: events in, lines out; who prints them, and whether to a terminal, is the caller's affair. What the agent or the
model printed is never trusted with the terminal: escape sequences and control characters are removed from all of it.
Credentials are the business of ``wash``, to be called before ``render``.
"""

import datetime as dt
import enum
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from agentrun_operator import redaction, stream

_MAX_TOOL_LINES = 5
_MAX_INPUT = 200
_MAX_NAME = 80
MIN_WIDTH = 20
BROKEN = "an event is cut off here"

# All controls but the line end, and what can reorder or hide text: separators, direction marks, zero width.
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_RESET = "\x1b[0m"


class Style(enum.StrEnum):
    """Select Graphic Rendition sequences that every terminal knows."""

    PLAIN = ""
    BOLD = "\x1b[1m"
    DIM = "\x1b[2m"
    RED = "\x1b[31m"
    GREEN = "\x1b[32m"
    YELLOW = "\x1b[33m"
    CYAN = "\x1b[36m"


_Lines = list[tuple[Style, str]]

# The words of an input that tell best what a tool does, in this order.
_TELLING = ("command", "file_path", "path", "pattern", "query", "url", "description", "prompt")


def render(event: stream.Event, *, color: bool, width: int | None) -> list[str]:
    """The lines that show ``event``; none for an event that tells a reader nothing.

    ``color`` adds terminal colours. ``width`` cuts each line to so many columns (at least 20; None = never cut).
    """
    return [line for style, text in describe(event) for line in paint(style, text, color=color, width=width)]


def wash(event: stream.Event, redact: Callable[[str], str]) -> stream.Event:
    """``event`` without what a terminal would obey, and without what ``redact`` takes out of a text.

    All of it, whole texts and before anything is cut: of a secret that is cut nobody can tell that it is one. In that
    order, because colours may stand in the middle of a secret; so ``redact`` has to know what ``clean`` makes of it.
    """
    return _mapped(event, lambda text: redact(clean(text)))  # type: ignore[no-any-return]  # the same kind of struct


def _mapped(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - whatever events are made of
    """``value`` with all its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, msgspec.Raw):
        try:
            return msgspec.Raw(msgspec.json.encode(_mapped(msgspec.json.decode(value), change)))
        except (msgspec.MsgspecError, UnicodeError):
            return msgspec.Raw()
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        # The type says how to read the rest and is never shown; a secret may be a word such as "tool_use", too.
        return type(value)(**{n: v if n == "type" else _mapped(v, change) for n, v in fields.items()})
    if isinstance(value, dict):
        return {_mapped(key, change): _mapped(item, change) for key, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list) else value


def is_broken(event: stream.PlainText) -> bool:
    """Whether the line is the beginning of an event: the end of it was lost."""
    return event.text.startswith("{")


def clean(text: str) -> str:
    """``text`` without anything that a terminal would obey; line ends stay, a tab becomes a space."""
    return _CONTROLS.sub("", redaction.without_escapes(text.replace("\r\n", "\n").replace("\t", " ")))


def paint(style: Style, text: str, *, color: bool, width: int | None) -> list[str]:
    """The lines of ``text`` as ``render`` makes them."""
    lines = clean(text).split("\n")
    if width is not None:
        lines = [shorten(line, max(width, MIN_WIDTH)) for line in lines]
    if not color or style is Style.PLAIN:
        return lines
    return [f"{style}{line}{_RESET}" if line else line for line in lines]


def describe(event: stream.Event) -> _Lines:
    """What ``render`` shows, not yet painted: style and text; a text may have several lines."""
    match event:
        case stream.Init():
            return _init(event)
        case stream.Assistant():
            return _assistant(event)
        case stream.User():
            return [line for block in event.message.blocks for line in _tool_result(block)]
        case stream.Result():
            return _result(event)
        case stream.RateLimit():
            return _rate_limit(event)
        case stream.ApiRetry():
            return _api_retry(event)
        case stream.PlainText():
            return [(Style.DIM, f"· {BROKEN}" if is_broken(event) else event.text)]
        case _:
            return _notice(event)


def _init(event: stream.Init) -> _Lines:
    words = {"model": event.model, "session": event.session_id, "claude": event.version}
    return [(Style.BOLD, "● " + " · ".join(f"{name} {word}" for name, word in words.items() if word))]


def _assistant(event: stream.Assistant) -> _Lines:
    indent = "  " if event.parent_tool_use_id else ""  # a subagent's words
    lines: _Lines = []
    for block in event.message.blocks:
        if block.type == "tool_use":
            lines.append((Style.CYAN, f"{indent}→ {one_line(block.name or '?')} {tool_input(block)}".rstrip()))
        elif block.thinking:
            lines += [(Style.DIM, f"{indent}{line}") for line in block.thinking.strip().split("\n")]
        elif block.text:
            style = Style.RED if event.synthetic else Style.PLAIN
            lines += [(style, f"{indent}{line}") for line in block.text.strip("\n").split("\n")]
    return lines


def tool_input(block: stream.Block) -> str:
    """The telling part of a tool's input on one line of at most 200 columns."""
    try:
        values: Any = msgspec.json.decode(block.input)
    except (msgspec.MsgspecError, UnicodeError):
        return ""
    if not isinstance(values, dict):
        return ""
    told = next((values[name] for name in _TELLING if isinstance(values.get(name), str)), None)
    return shorten(one_line(told or ", ".join(values)), _MAX_INPUT)


def _tool_result(block: stream.Block) -> _Lines:
    if block.type != "tool_result":
        return []
    lines = result_text(block).split("\n")
    shown = lines[:_MAX_TOOL_LINES]
    if len(lines) > len(shown):
        shown.append(f"… {len(lines) - len(shown)} more lines")
    style, mark = (Style.RED, "✗") if block.is_error else (Style.DIM, "←")
    return [(style, f"  {mark if index == 0 else ' '} {line}".rstrip()) for index, line in enumerate(shown)]


def result_text(block: stream.Block) -> str:
    """What a tool answered."""
    parts = block.content if isinstance(block.content, str) else "\n".join(b.text or "" for b in block.content or ())
    return parts.strip("\n")


def _rate_limit(event: stream.RateLimit) -> _Lines:
    info = event.info
    if info is None or info.status in {None, "allowed"}:
        return []
    rejected = info.status == "rejected"
    text = f"! usage limit {one_line(info.kind or '')} {'reached' if rejected else 'nearly reached'}"
    if info.utilization is not None:
        text += f" ({info.utilization:.0%})"
    reset = _time(info.resets_at)
    return [(Style.RED if rejected else Style.YELLOW, text + (f", resets {reset}" if reset else ""))]


def _api_retry(event: stream.ApiRetry) -> _Lines:
    why = f"HTTP {event.error_status}" if event.error_status is not None else "no answer"
    wait = f" in {_number(event.retry_delay_ms) / 1000:.1f} s"
    return [(Style.YELLOW, f"! the API failed ({why}): attempt {event.attempt} of {event.max_retries}{wait}")]


def _notice(event: stream.Event) -> _Lines:
    """One line for what a reader of the conversation would miss; most of what the CLI tells beside it is no news."""
    match event:
        case stream.CompactBoundary(metadata=told):
            return _note("the conversation was compacted", _change(told.pre_tokens, told.post_tokens))
        case stream.PermissionDenied():
            return _warning(f"{_named(event.tool_name, 'a tool')} was denied", event.message)
        case stream.HookResponse() if event.failed:
            how = f"exit code {event.exit_code}" if event.exit_code else event.outcome
            return _warning(f"the hook {_named(event.hook_name, '?')} failed", how)
        case stream.TaskStarted(is_backgrounded=behind, ambient=ambient) if behind is not False and not ambient:
            return _note("background task started", event.description)
        case stream.TaskNotification(output_file=file, ambient=ambient) if file != "" and not ambient:
            show = _warning if event.status == "failed" else _note
            return show(f"task {_named(event.status, 'ended')}", event.summary)
        case stream.ModelFallback():
            return _warning(f"going on with {_named(event.fallback_model, 'the fallback model')}", event.content)
        case stream.ModelRefusalFallback():
            other = _named(event.fallback_model, "its fallback")
            return _warning(f"{_named(event.original_model, 'the model')} refused; going on with {other}")
        case stream.ModelRefusalNoFallback():
            return _warning(f"{_named(event.original_model, 'the model')} refused")
        case _:
            return []


def _note(text: str, more: str | None = None) -> _Lines:
    return [(Style.DIM, f"· {_joined(text, more)}")]


def _warning(text: str, more: str | None = None) -> _Lines:
    return [(Style.YELLOW, f"! {_joined(text, more)}")]


def _joined(text: str, more: str | None) -> str:
    more = shorten(one_line(more or ""), _MAX_INPUT)
    return f"{text}: {more}" if more else text


def _named(name: str | None, otherwise: str) -> str:
    return shorten(one_line(name or ""), _MAX_NAME) or otherwise


def _change(before: int | None, after: int | None) -> str:
    return "" if before is None or after is None else f"{_number(before):.0f} → {_number(after):.0f} tokens"


def _result(event: stream.Result) -> _Lines:
    good = event.subtype == "success" and event.is_error is False
    words = [
        one_line(event.subtype or "unknown") + ("" if good or event.subtype != "success" else " (error)"),
        f"{event.num_turns} turn{'' if event.num_turns == 1 else 's'}" if event.num_turns is not None else "",
        f"{_number(event.duration_ms) / 1000:.1f} s" if event.duration_ms is not None else "",
        _tokens(event),
        f"${_number(event.total_cost_usd):.4f}" if event.total_cost_usd is not None else "",
    ]
    style, mark = (Style.GREEN, "✔") if good else (Style.RED, "✘")
    lines: _Lines = [(style, f"{mark} " + " · ".join(filter(None, words)))]
    told = event.error_texts if good or event.error_texts else (event.text or "",)
    return lines + [(Style.RED, f"  {one_line(text)}") for text in told if text]


def _tokens(event: stream.Result) -> str:
    models = event.model_usage_since_last_result or event.model_usage
    if models:
        pairs: Sequence[tuple[int | None, int | None]] = [(m.input_tokens, m.output_tokens) for m in models.values()]
    elif event.usage:
        pairs = [(event.usage.input_tokens, event.usage.output_tokens)]
    else:
        return ""
    return f"{sum(i or 0 for i, _ in pairs)} tokens in, {sum(o or 0 for _, o in pairs)} out"


def _number(value: float | None) -> float:
    """A number fit to print: these come from another program."""
    return value if value is not None and 0 <= value <= 1e12 else 0.0  # noqa: PLR2004 - absurd is absurd


def _time(seconds: float | None) -> str:
    try:
        return dt.datetime.fromtimestamp(seconds, tz=dt.UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else ""
    except (ValueError, OverflowError, OSError):
        return ""


def one_line(text: str) -> str:
    """``text`` on one line, without needless space."""
    return " ".join(clean(text).split())


def shorten(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` columns of a terminal, with a mark where it was cut."""
    if len(text) <= limit // 2 or (text.isascii() and len(text) <= limit):
        return text
    used = last = 0  # columns of the characters so far; how many characters leave room for the mark
    for index, character in enumerate(text):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > limit:
            return text[:last] + "…"
        if used < limit:
            last = index + 1
    return text
