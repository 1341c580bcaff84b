"""Take credentials out of texts: known values, whatever they look like, and what has the shape of a token.

The log on the shared volume is the agent's own and stays as it was written; this is for what leaves it: status, the
operator's own log, ``agentrun logs``. Values are those of the run's secret environment variables. A value that is cut
at the end of a text, or at its beginning, is found, too; so is one that arrives in two pieces of a stream.
"""

import json
import re
from collections.abc import Iterable, Iterator

REDACTED = "[redacted]"

# Shorter ones are words: a password "test" would make holes in every sentence.
_LEAST_LENGTH = 6
# A piece of a cut value that is shorter than this says too little to be worth a hole.
_LEAST_PIECE = 4
_LEAST_LINE = 16  # of a value with several lines, such as a private key, each long line counts by itself,
_MOST_SPLIT = 16 * 1024  # unless it is longer than any key: a list of certificates has thousands, and they are public
_HOLD_BYTES = 64 * 1024  # a line that is longer is passed on in pieces of this size

_SHAPES = re.compile(
    r"""
      \bsk-[A-Za-z0-9_-]{8,}                                   # Anthropic and look-alikes
    | \b(?:gh[pousr]_|github_pat_|glpat-|xox[abeprs]-)[\w-]{8,}  # GitHub, GitLab, Slack
    | \b(?:AKIA|ASIA)[A-Z0-9]{12,}                             # AWS
    | \beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?                      # JSON web tokens
    | (?<=://)[^\s/@:"\\]+:[^\s/@"\\]+(?=@)                    # user:password in a URL
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----(?:[^-"]|-(?!----))*(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----)?
    """,
    re.VERBOSE,
)
_NAMED = re.compile(
    r"""(?ix)
    ( \b(?:bearer|basic)\s+
    | [\w-]*(?:api[_-]?key|token|passw(?:or)?d|secret|authorization)["']?\s*[=:]\s*(?:(?:bearer|basic)\s+)?["']? )
    [^\s"',;&]{6,}
    """
)
_SECRET_NAME = re.compile(r"(?i)key|token|secret|passw|credential|auth|dsn|cookie|private")
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")


def without_escapes(text: str) -> str:
    """``text`` without terminal escape sequences: a colour in the middle of a token would hide its second half."""
    return _ESCAPES.sub("", text)


def is_secret_name(name: str) -> bool:
    """Whether an environment variable of this name probably holds a secret."""
    return _SECRET_NAME.search(name) is not None


def shapes(text: str) -> str:
    """``text`` without what has the shape of a well-known token."""
    return _SHAPES.sub(REDACTED, text)


def named(text: str) -> str:
    """As ``shapes``, and without values that are called a password, a token and the like."""
    return _NAMED.sub(rf"\1{REDACTED}", shapes(text))


class Redactor:
    """Knows the secret values of one run. Immutable; shows none of them in its ``repr``."""

    __slots__ = ("_known",)

    def __init__(self, values: Iterable[str] = ()) -> None:
        # The longest first, so that a value within a longer one does not leave the rest of that behind.
        self._known = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)

    def clean(self, text: str, *, cut_before: bool = False, cut_after: bool = False) -> str:
        """``text`` without known values and token shapes. ``cut_before``/``cut_after``: it is part of a longer one."""
        if cut_before and (most := max((_tail_in_front(known, text) for known in self._known), default=0)):
            text = REDACTED + text[most:]
        if cut_after and (most := max((_head_at_end(known, text) for known in self._known), default=0)):
            text = text[: len(text) - most] + REDACTED
        for known in self._known:
            text = text.replace(known, REDACTED)
        return shapes(text)

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where in ``text`` something is to be redacted: (begin, end), not sorted."""
        for known in self._known:
            at = text.find(known)
            while at >= 0:
                yield at, at + len(known)
                at = text.find(known, at + 1)
        yield from (match.span() for match in _SHAPES.finditer(text))

    @property
    def longest(self) -> int:
        """Characters of the longest known value."""
        return len(self._known[0]) if self._known else 0


class Stream:
    """Redact a stream of bytes, line by line: what is fed comes out as soon as its line has ended."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._keep = max(4096, 4 * redactor.longest)  # bytes; a character has at most four
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be passed on by now."""
        self._held += data
        end = self._held.rfind(b"\n") + 1
        if not end and len(self._held) >= _HOLD_BYTES + self._keep:
            end = self._cut()
        ready, self._held = self._held[:end], self._held[end:]
        return self._cleaned(ready)

    def finish(self) -> bytes:
        """The rest."""
        ready, self._held = self._held, b""
        return self._cleaned(ready)

    def _cut(self) -> int:
        """Where a line that is too long to be held can be cut: not inside of anything that is to be redacted."""
        limit = len(self._held) - self._keep
        text = self._held.decode(errors="surrogateescape")
        for start, end in self._redactor.spans(text):
            first, last = (len(text[:at].encode(errors="surrogateescape")) for at in (start, end))
            if first < limit < last:
                return first or limit
        while limit > 0 and self._held[limit] & 0xC0 == 0x80:  # noqa: PLR2004 - the middle of a UTF-8 character
            limit -= 1
        return limit

    def _cleaned(self, data: bytes) -> bytes:
        """Line by line: what begins in one line and is never ended must not swallow the next."""
        lines = data.decode(errors="surrogateescape").split("\n")
        return "\n".join(map(self._redactor.clean, lines)).encode(errors="surrogateescape")


def _tail_in_front(known: str, text: str) -> int:
    """Characters of the longest end of ``known`` (not all of it) that ``text`` begins with; 0 if it is no such.

    A value may be a megabyte long and a text has kilobytes, so only places that begin alike are compared.
    """
    begin = text[:_LEAST_PIECE]
    at = known.find(begin, max(1, len(known) - len(text))) if len(begin) == _LEAST_PIECE else -1
    while at >= 0:
        if text.startswith(known[at:]):
            return len(known) - at
        at = known.find(begin, at + 1)
    return 0


def _head_at_end(known: str, text: str) -> int:
    """As ``_tail_in_front``, for the longest beginning of ``known`` that ``text`` ends with."""
    end = text[-_LEAST_PIECE:]
    at = known.rfind(end, 0, min(len(known) - 1, len(text))) if len(end) == _LEAST_PIECE else -1
    while at >= 0:
        if text.endswith(known[: at + _LEAST_PIECE]):
            return at + _LEAST_PIECE
        at = known.rfind(end, 0, at + _LEAST_PIECE - 1)
    return 0


def _forms(value: str) -> Iterator[str]:
    """The ways in which a value can stand in a text: as it is, and as JSON writes it."""
    lines = value.splitlines() if len(value) <= _MOST_SPLIT else ()
    parts = [value.strip(), *(line.strip() for line in lines if len(line.strip()) >= _LEAST_LINE)]
    for part in parts:
        if len(part) >= _LEAST_LENGTH:
            yield part
            yield json.dumps(part)[1:-1]
            yield json.dumps(part, ensure_ascii=False)[1:-1]
