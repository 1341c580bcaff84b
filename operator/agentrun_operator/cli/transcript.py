"""Events of a run as lines for people.

Pure: events in, lines out; who prints them, and whether to a terminal, is the caller's affair. What the agent or the
model printed is never trusted with the terminal: escape sequences and control characters are removed from all of it.
"""

import datetime as dt
import enum
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from agentrun_operator import stream

_MAX_TOOL_LINES = 5
_MAX_INPUT = 200
_MIN_WIDTH = 20

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
# All controls but the line end, and what can reorder or hide text: separators, direction marks, zero width.
_CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_RESET = "\x1b[0m"


class _Style(enum.StrEnum):
    """Select Graphic Rendition sequences that every terminal knows."""

    PLAIN = ""
    BOLD = "\x1b[1m"
    DIM = "\x1b[2m"
    RED = "\x1b[31m"
    GREEN = "\x1b[32m"
    YELLOW = "\x1b[33m"
    CYAN = "\x1b[36m"


_Lines = list[tuple[_Style, str]]

# The words of an input that tell best what a tool does, in this order.
_TELLING = ("command", "file_path", "path", "pattern", "query", "url", "description", "prompt")
_NOTES = {
    "compact_boundary": "the conversation was compacted",
    "permission_denied": "a tool was denied",
    "model_fallback": "the model was changed to its fallback",
    "model_refusal_fallback": "the model refused; going on with its fallback",
    "model_refusal_no_fallback": "the model refused",
}


def render(event: stream.Event, *, color: bool, width: int | None) -> list[str]:
    """The lines that show ``event``; none for an event that tells a reader nothing.

    ``color`` adds terminal colours. ``width`` cuts each line to so many characters (at least 20; None = never cut);
    characters are counted, not columns.
    """
    return [line for style, text in _lines(event) for line in _paint(style, text, color=color, width=width)]


def clean(text: str) -> str:
    """``text`` without anything that a terminal would obey; line ends stay, a tab becomes a space."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\t", " ")))


def _paint(style: _Style, text: str, *, color: bool, width: int | None) -> list[str]:
    lines = clean(text).split("\n")
    if width is not None:
        lines = [_shorten(line, max(width, _MIN_WIDTH)) for line in lines]
    if not color or style is _Style.PLAIN:
        return lines
    return [f"{style}{line}{_RESET}" if line else line for line in lines]


def _lines(event: stream.Event) -> _Lines:
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
            return [(_Style.DIM, event.text)]
        case _:
            note = _NOTES.get(event.subtype) if event.type == "system" else None
            return [(_Style.DIM, f"· {note}")] if note else []


def _init(event: stream.Init) -> _Lines:
    words = {"model": event.model, "session": event.session_id, "claude": event.version}
    return [(_Style.BOLD, "● " + " · ".join(f"{name} {word}" for name, word in words.items() if word))]


def _assistant(event: stream.Assistant) -> _Lines:
    indent = "  " if event.parent_tool_use_id else ""  # a subagent's words
    lines: _Lines = []
    for block in event.message.blocks:
        if block.type == "tool_use":
            lines.append((_Style.CYAN, f"{indent}→ {_one_line(block.name or '?')} {_input(block)}".rstrip()))
        elif block.thinking:
            lines += [(_Style.DIM, f"{indent}{line}") for line in block.thinking.strip().split("\n")]
        elif block.text:
            style = _Style.RED if event.synthetic else _Style.PLAIN
            lines += [(style, f"{indent}{line}") for line in block.text.strip("\n").split("\n")]
    return lines


def _input(block: stream.Block) -> str:
    """The telling part of a tool's input on one short line."""
    try:
        values: Any = msgspec.json.decode(block.input)
    except (msgspec.MsgspecError, UnicodeError):
        return ""
    if not isinstance(values, dict):
        return ""
    told = next((values[name] for name in _TELLING if isinstance(values.get(name), str)), None)
    return _shorten(_one_line(told or ", ".join(values)), _MAX_INPUT)


def _tool_result(block: stream.Block) -> _Lines:
    if block.type != "tool_result":
        return []
    parts = block.content if isinstance(block.content, str) else "\n".join(b.text or "" for b in block.content or ())
    lines = parts.strip("\n").split("\n")
    shown = lines[:_MAX_TOOL_LINES]
    if len(lines) > len(shown):
        shown.append(f"… {len(lines) - len(shown)} more lines")
    style, mark = (_Style.RED, "✗") if block.is_error else (_Style.DIM, "←")
    return [(style, f"  {mark if index == 0 else ' '} {line}".rstrip()) for index, line in enumerate(shown)]


def _rate_limit(event: stream.RateLimit) -> _Lines:
    info = event.info
    if info is None or info.status in {None, "allowed"}:
        return []
    rejected = info.status == "rejected"
    text = f"! usage limit {_one_line(info.kind or '')} {'reached' if rejected else 'nearly reached'}"
    if info.utilization is not None:
        text += f" ({info.utilization:.0%})"
    reset = _time(info.resets_at)
    return [(_Style.RED if rejected else _Style.YELLOW, text + (f", resets {reset}" if reset else ""))]


def _api_retry(event: stream.ApiRetry) -> _Lines:
    why = f"HTTP {event.error_status}" if event.error_status is not None else "no answer"
    wait = f" in {_number(event.retry_delay_ms) / 1000:.1f} s"
    return [(_Style.YELLOW, f"! the API failed ({why}): attempt {event.attempt} of {event.max_retries}{wait}")]


def _result(event: stream.Result) -> _Lines:
    good = event.subtype == "success" and event.is_error is False
    words = [
        _one_line(event.subtype or "unknown") + ("" if good or event.subtype != "success" else " (error)"),
        f"{event.num_turns} turn{'' if event.num_turns == 1 else 's'}" if event.num_turns is not None else "",
        f"{_number(event.duration_ms) / 1000:.1f} s" if event.duration_ms is not None else "",
        _tokens(event),
        f"${_number(event.total_cost_usd):.4f}" if event.total_cost_usd is not None else "",
    ]
    style, mark = (_Style.GREEN, "✔") if good else (_Style.RED, "✘")
    lines: _Lines = [(style, f"{mark} " + " · ".join(filter(None, words)))]
    told = event.error_texts if good or event.error_texts else (event.text or "",)
    return lines + [(_Style.RED, f"  {_one_line(text)}") for text in told if text]


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


def _one_line(text: str) -> str:
    return " ".join(clean(text).split())


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
