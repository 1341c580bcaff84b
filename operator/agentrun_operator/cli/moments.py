"""When things happened: the times that events carry, and those that users write.

Only what the model or a tool said carries a time (in claude 2.1.329; 2.0.76 and older print none). Whatever stands
between such events, a retry say, is taken to have happened with the one before it, and the beginning of the log with
the first one.
"""

import datetime
import re

import msgspec

from agentrun_operator import stream

_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
_MOST_HELD = 1000  # events without a time that a log may begin with


class _Stamped(msgspec.Struct):
    timestamp: str | None = None


_DECODER = msgspec.json.Decoder(_Stamped)


def read(line: bytes) -> datetime.datetime | None:
    """The time that an event carries, in UTC; None if it has none."""
    try:
        text = _DECODER.decode(line).timestamp
        return _utc(text) if text else None
    except (ValueError, OverflowError, RecursionError):
        return None


def parse_since(text: str, now: datetime.datetime) -> datetime.datetime:
    """A duration before ``now`` (``90s``, ``1h30m``, ``2d``) or a time (RFC 3339; without a zone it is in UTC).

    Raises ValueError for anything else.
    """
    try:
        if _DURATION.fullmatch(text):
            seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
            return now - datetime.timedelta(seconds=seconds)
        return _utc(text)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is neither a duration such as 10m nor a time such as 2026-11-21T10:00:00Z"
        ) from None


def show(moment: datetime.datetime) -> str:
    """``moment`` for people."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


class Since:
    """Lets the lines pass that are of ``moment`` or later. ``latest`` is the latest time in what it has seen."""

    def __init__(self, moment: datetime.datetime) -> None:
        self.latest: datetime.datetime | None = None
        self.passed = 0
        self._moment = moment
        self._open: bool | None = None  # whether lines without a time pass; None: no line had one so far
        self._held: list[bytes] = []

    def take(self, line: bytes) -> list[bytes]:
        """The lines that may pass now."""
        moment = read(line)
        if moment is not None:
            self.latest = max(moment, self.latest or moment)
            self._open = moment >= self._moment
        self._held.append(line)
        # A line of the model, or of a tool, without a time is of a CLI that prints none.
        if self._open is None and (len(self._held) >= _MOST_HELD or _would_have_time(line)):
            self._open = True
        return self._release() if self._open is not None else []

    def go_live(self) -> list[bytes]:
        """From here on lines are new; returns those whose time was not known."""
        self._open = True if self._open is None else self._open
        return self._release()

    def _release(self) -> list[bytes]:
        lines, self._held = self._held if self._open else [], []
        self.passed += len(lines)
        return lines


def _would_have_time(line: bytes) -> bool:
    return isinstance(stream.parse(line), stream.Assistant | stream.User | stream.Result)


def _utc(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
