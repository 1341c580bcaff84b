"""Words for people: quoting what other programs said without showing secrets, protocol or control characters."""

import datetime as dt
import re
import zoneinfo

from agentrun_operator import redaction

MAX_MESSAGE = 1000
MAX_QUOTE = 300
MAX_STDERR = 500

# C0 and C1 controls, line and paragraph separators, direction overrides, zero width.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_JSON_MESSAGE = re.compile(r'"message"\s*:\s*"((?:[^"\\]|\\.)*)"')
_JSON_KEY = re.compile(r'"\s*:')
_JSON_ESCAPE = re.compile(r"\\(.)")
_TAG = re.compile(r"</?[A-Za-z!][^<>]{0,200}>")
_EPOCH_IN_TEXT = re.compile(r"limit reached\|(\d{9,13})\b")
_CLOCK_IN_TEXT = re.compile(
    r"""(?ix) \bresets?\s+(?:at\s+)?
    (?: (?P<month>[a-z]{3})[a-z]*\.?\s+(?P<day>\d{1,2})(?:,|\s+at)?\s+ )?
    (?P<hour>\d{1,2})(?::(?P<minute>\d{2}))?\s*(?P<half>[ap]m)
    (?:\s*\((?P<zone>[\w/+-]+)\))?
    """
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MIN_EPOCH_SECONDS = 1e9
_MAX_EPOCH_SECONDS = 4e9
_NOON = 12
# Linux on amd64 and arm64. Written down, because the operator may run elsewhere than the agent.
_SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
    24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip


def count(number: int, thing: str) -> str:
    """``1 answer``, ``2 answers``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """``text`` on one line, without control characters, escape sequences and needless space."""
    return " ".join(_CONTROLS.sub(" ", redaction.without_escapes(text)).split())


def quote(text: str, limit: int = MAX_QUOTE) -> str:
    """What a person needs of ``text``, quoted: one line, at most ``limit`` characters, no JSON, HTML or secrets.

    Of a JSON body only its ``message`` is kept. ``""`` when nothing is left.
    """
    head, brace, body = text.partition("{")
    if brace:
        found = _JSON_MESSAGE.search(body)
        text = f"{head} {_JSON_ESCAPE.sub(_unescaped, found[1]) if found else ''}"
    clean = redaction.named(one_line(_TAG.sub(" ", text)))
    return f"“{shorten(clean, limit)}”" if clean else ""


def full_stop(text: str) -> str:
    """``text`` with a full stop, unless it ends (inside its quotes) with one or the like."""
    return text if text.rstrip("”").endswith((".", "!", "?", "…")) else f"{text}."


def quote_stderr(text: str) -> str:
    """The end of ``text``, which names the error, as one line of at most 500 characters without secrets and JSON."""
    clean = redaction.named(one_line("\n".join(map(_without_json, text.splitlines()))))
    return clean if len(clean) <= MAX_STDERR else "…" + clean[1 - MAX_STDERR :]


def _without_json(line: str) -> str:
    """The words of a line before an object begins, or nothing of one that is a piece of an object."""
    head, brace, _ = line.partition("{")
    return "" if _JSON_KEY.search(head) else head if brace else line


def shorten(text: str, limit: int = MAX_MESSAGE) -> str:
    """``text`` in at most ``limit`` characters, with a mark where it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def sentence(*parts: str) -> str:
    """The non-empty parts as one text of at most 1000 characters."""
    return shorten(" ".join(part for part in parts if part))


def exit_words(code: int | None) -> str:
    """An exit code for people: ``exit code 143 (SIGTERM)``."""
    if code is None:
        return "an unknown exit code"
    name = _SIGNALS.get(code - 128)
    return f"exit code {code} ({name})" if name else f"exit code {code}"


def from_epoch(seconds: float | None) -> str | None:
    """Seconds (or milliseconds) since the epoch as RFC 3339 UTC; None for what is no time of this century."""
    if seconds is None:
        return None
    if seconds > _MAX_EPOCH_SECONDS:
        seconds /= 1000
    if not _MIN_EPOCH_SECONDS <= seconds <= _MAX_EPOCH_SECONDS:  # false for NaN, too
        return None
    return _rfc3339(dt.datetime.fromtimestamp(seconds, tz=dt.UTC))


def reset_time(text: str, now: dt.datetime) -> str | None:
    """When a limit ends, as the CLI words it, in RFC 3339 UTC; None if ``text`` does not say.

    Knows ``…limit reached|1759320000``, ``resets 3pm (America/New_York)`` and ``resets Oct 9, 10:30am``. A clock time
    is the next such time after ``now``; without a zone it is taken as UTC, the zone of containers.
    """
    epoch = _EPOCH_IN_TEXT.search(text)
    if epoch:
        return from_epoch(float(epoch[1]))
    clock = _CLOCK_IN_TEXT.search(text)
    try:
        return _rfc3339(_next(clock, now)) if clock else None
    except (ValueError, OverflowError, zoneinfo.ZoneInfoNotFoundError, OSError):
        return None  # no such zone, hour or day


def _next(clock: re.Match[str], now: dt.datetime) -> dt.datetime:
    """The next time the clock shows that; raises ValueError for a time that does not exist."""
    local = now.astimezone(zoneinfo.ZoneInfo(clock["zone"] or "UTC"))
    hour = int(clock["hour"]) % _NOON + (_NOON if clock["half"].lower() == "pm" else 0)
    if int(clock["hour"]) > _NOON:
        raise ValueError(f"no such hour: {clock['hour']}")
    time = local.replace(hour=hour, minute=int(clock["minute"] or 0), second=0, microsecond=0)
    if clock["month"]:
        time = time.replace(month=_MONTHS.index(clock["month"].lower()) + 1, day=int(clock["day"]))
        # A date that is just over is today's limit seen late, not next year's.
        return time if time > local - dt.timedelta(days=180) else time.replace(year=time.year + 1)
    return time if time > local else time + dt.timedelta(days=1)


def _rfc3339(time: dt.datetime) -> str:
    return time.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _unescaped(escape: re.Match[str]) -> str:
    return " " if escape[1] in "bfnrt" else escape[1]
