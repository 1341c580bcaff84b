"""The notable events of a log, one line each: enough to see where a run of days went wrong.

Of a long log only the beginning and the end are kept, so that any log can be read.
"""

import collections
import dataclasses
import datetime
from collections.abc import Callable

from agentrun_operator import stream
from agentrun_operator.cli import moments, terminal, transcript
from agentrun_operator.cli.transcript import Style

_FIRST = 15
_LAST = 25
_MAX_CALLS = 6
_MAX_CALL = 80
_MAX_WORDS = 300
_MAX_THREADS = 32
_MAX_TOOLS = 256
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@dataclasses.dataclass(slots=True)
class _Entry:
    """``line`` is its number in the log, from 1; ``moment`` None: the event carries no time."""

    line: int
    moment: datetime.datetime | None
    style: Style
    text: str


@dataclasses.dataclass(slots=True)
class _Turn:
    """One message of the model, which comes in several events."""

    message: str
    entry: _Entry
    label: str
    words: str = ""
    calls: list[str] = dataclasses.field(default_factory=list)
    more: int = 0


class Timeline:
    """Takes the bytes of a log. ``everything``: keep all entries, however many there are."""

    def __init__(self, redact: Callable[[str], str], *, everything: bool = False) -> None:
        self._redact = redact
        self._lines = stream.LineDecoder()
        self._oversized = 0
        self._line = 1
        self._begin: datetime.datetime | None = None
        self._end: datetime.datetime | None = None
        self._moment: datetime.datetime | None = None  # of the event that is being folded
        self._first: list[_Entry] = []
        self._last: collections.deque[_Entry] = collections.deque(maxlen=None if everything else _LAST)
        self._left_out = 0
        self._turns = 0
        self._threads: collections.OrderedDict[str, _Turn] = collections.OrderedDict()
        self._tools: collections.OrderedDict[str, str] = collections.OrderedDict()  # id → name
        self._plain: tuple[_Entry, int] | None = None  # the entry of the last lines that were no events; how many

    @property
    def seconds(self) -> float | None:
        """Seconds from the first time in the log to the last; None if it has none."""
        return (self._end - self._begin).total_seconds() if self._end and self._begin else None

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the log."""
        start = 0
        while (end := chunk.find(b"\n", start) + 1) > 0:
            self._take(self._lines.decode(chunk[start:end]))
            self._line += 1
            start = end
        self._take(self._lines.decode(chunk[start:]))

    def finish(self) -> None:
        """There is no more."""
        self._take(self._lines.flush())

    def render(self, screen: terminal.Terminal) -> list[str]:
        """A heading and the entries, as lines for people."""
        entries = [*self._first, *self._last]
        places = [self._place(entry) for entry in entries]
        column = max(map(len, places), default=0)
        since = f" from {moments.show(self._begin)}" if self._begin else ""
        lines = transcript.paint(Style.BOLD, f"timeline{since}", color=screen.color, width=screen.width)
        width = screen.width and max(screen.width - column - 4, transcript.MIN_WIDTH)
        for index, (place, entry) in enumerate(zip(places, entries, strict=True)):
            if index == len(self._first) and self._left_out:
                text = f"{'':{column}}    … {self._left_out:,} more; --all shows them"
                lines += transcript.paint(Style.DIM, text, color=screen.color, width=screen.width)
            (at,) = transcript.paint(Style.DIM, f"  {place:>{column}}", color=screen.color, width=None)
            (text,) = transcript.paint(entry.style, entry.text, color=screen.color, width=width)
            lines.append(f"{at}  {text}")
        return lines if entries else []

    def _place(self, entry: _Entry) -> str:
        if self._begin is None:
            return f"line {entry.line}"
        return f"+{elapsed((entry.moment - self._begin).total_seconds())}" if entry.moment else ""

    def _take(self, lines: list[bytes]) -> None:
        if self._lines.oversized_lines > self._oversized:
            self._oversized = self._lines.oversized_lines
            self._add(Style.YELLOW, f"! a line of more than {stream.DEFAULT_MAX_LINE_BYTES >> 20} MiB is not shown")
        for line in lines:
            self._moment = moments.read(line)
            if self._moment is not None:
                self._begin, self._end = self._begin or self._moment, self._moment
            event = stream.parse(line)
            if event is not None:
                self._fold(transcript.wash(event, self._redact))

    def _add(self, style: Style, text: str) -> _Entry:
        entry = _Entry(line=self._line, moment=self._moment, style=style, text=text.replace("\n", " "))
        if len(self._first) < _FIRST:
            self._first.append(entry)
        else:
            self._left_out += len(self._last) == self._last.maxlen
            self._last.append(entry)
        return entry

    def _fold(self, event: stream.Event) -> None:
        if not isinstance(event, stream.PlainText):
            self._plain = None
        match event:
            case stream.PlainText():
                self._fold_text(event)
            case stream.Init():
                self._add(Style.BOLD, f"● the CLI begins · model {event.model or 'unknown'}")
            case stream.Assistant() if event.synthetic:
                self._add(Style.RED, f"✗ {_words(event.message)}")
            case stream.Assistant():
                self._fold_turn(event)
            case stream.User():
                self._fold_results(event)
            case _:
                for style, text in transcript.describe(event)[:1]:
                    self._add(style, text)

    def _fold_text(self, event: stream.PlainText) -> None:
        if transcript.is_broken(event):
            self._add(Style.YELLOW, f"! {transcript.BROKEN}")
            return
        entry, count = self._plain or (self._add(Style.DIM, event.text[:_MAX_WORDS]), 0)
        if count:
            entry.text = f"{entry.text.removesuffix(_more(count))}{_more(count + 1)}"
        self._plain = entry, count + 1

    def _fold_turn(self, event: stream.Assistant) -> None:
        thread, message = event.parent_tool_use_id or "", event.message.id or ""
        turn = self._threads.pop(thread, None)
        if turn is None or (message and message != turn.message):
            self._turns += not thread
            label = "  subagent" if thread else f"turn {self._turns}"
            turn = _Turn(message=message, entry=self._add(Style.PLAIN, label), label=label)
        self._threads[thread] = turn
        if len(self._threads) > _MAX_THREADS:
            self._threads.popitem(last=False)
        for block in event.message.blocks:
            if block.type == "tool_use":
                self._fold_call(turn, block)
            else:
                turn.words = turn.words or transcript.one_line(block.text or "")[:_MAX_WORDS]
        turn.entry.text = f"{turn.label} {_summary(turn)}"
        turn.entry.style = Style.CYAN if turn.calls else Style.PLAIN

    def _fold_call(self, turn: _Turn, block: stream.Block) -> None:
        name = transcript.one_line(block.name or "?")
        self._tools[block.id or ""] = name
        if len(self._tools) > _MAX_TOOLS:
            self._tools.popitem(last=False)
        if len(turn.calls) < _MAX_CALLS:
            turn.calls.append(transcript.shorten(f"{name} {transcript.tool_input(block)}".rstrip(), _MAX_CALL))
        else:
            turn.more += 1

    def _fold_results(self, event: stream.User) -> None:
        for block in event.message.blocks:
            if block.type == "tool_result" and block.is_error:
                name = self._tools.get(block.tool_use_id or "", "a tool")
                self._add(Style.RED, f"✗ {name}: {transcript.one_line(transcript.result_text(block))[:_MAX_WORDS]}")


def _words(message: stream.Message) -> str:
    return transcript.one_line(" ".join(block.text or "" for block in message.blocks))[:_MAX_WORDS]


def _summary(turn: _Turn) -> str:
    if not turn.calls:
        return f"· {turn.words or '(thinking)'}"
    more = f" · and {turn.more} more" if turn.more else ""
    return f"→ {' · '.join(turn.calls)}{more}"


def _more(count: int) -> str:
    return f" (and {count - 1} more such lines)" if count > 1 else ""


def elapsed(seconds: float) -> str:
    """``3.1s``, ``2m05s``, ``1h02m``, ``3d04h``."""
    whole = max(int(seconds), 0)
    if whole < _MINUTE:
        return f"{max(seconds, 0):.1f}s"
    for limit, large, small, units in ((_HOUR, _MINUTE, 1, "ms"), (_DAY, _HOUR, _MINUTE, "hm")):
        if whole < limit:
            return f"{whole // large}{units[0]}{whole % large // small:02}{units[1]}"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"
