"""What ``agentrun doctor`` prints: a table for a terminal, one line a finding for a pipe, a document for programs."""

import collections
import textwrap
from collections.abc import Sequence
from typing import Any

import agentrun_operator
from agentrun_operator import doctor
from agentrun_operator.cli import terminal, transcript

_COLORS = {doctor.Level.PASS: "32", doctor.Level.WARN: "33", doctor.Level.FAIL: "31", doctor.Level.SKIP: "2"}
_MARKS = {doctor.Level.PASS: "✔", doctor.Level.WARN: "!", doctor.Level.FAIL: "✘", doctor.Level.SKIP: "-"}
_INDENT = 20  # mark, level and name of the check
_LEAST_WIDTH = 60


def build_json(found: Sequence[doctor.Finding]) -> dict[str, Any]:
    """All findings, and the worst level of them."""
    return {
        "level": doctor.worst(found).value,
        "version": agentrun_operator.__version__,
        "counts": {level.value: count for level, count in _count(found).items()},
        "findings": [
            {
                "check": finding.check,
                "level": finding.level.value,
                **({"subject": finding.subject} if finding.subject else {}),
                "message": finding.message,
                **({"hint": finding.hint} if finding.hint else {}),
            }
            for finding in found
        ],
    }


def render_text(found: Sequence[doctor.Finding], screen: terminal.Terminal) -> str:
    """A table where there is a terminal, else a line for each finding; and how many there are of each kind."""
    lines = [_plain(finding) for finding in found] if screen.width is None else _table(found, screen)
    counts = ", ".join(f"{count} {level.value}" for level, count in _count(found).items())
    return "\n".join([*lines, "", f"{len(found)} findings: {counts}", ""])


def _count(found: Sequence[doctor.Finding]) -> dict[doctor.Level, int]:
    counts = collections.Counter(finding.level for finding in found)
    return {level: counts[level] for level in reversed(doctor.Level)}


def _plain(finding: doctor.Finding) -> str:
    sentence = _sentence(finding)
    end = "" if sentence.endswith((".", "?", "!")) else "."
    hint = f"{end} What to do: {finding.hint}" if finding.hint else ""
    return _clean(f"{finding.level.value} {finding.check}: {sentence}{hint}")


def _table(found: Sequence[doctor.Finding], screen: terminal.Terminal) -> list[str]:
    width = max(screen.width or 0, _LEAST_WIDTH)
    lines = []
    previous = ""
    for finding in found:
        name = finding.check if finding.check != previous else ""
        previous = finding.check
        head = f"{_MARKS[finding.level]} {finding.level.value:4}  {name:12}"
        text = textwrap.wrap(_clean(_sentence(finding)), width=width - _INDENT, break_on_hyphens=False)
        rows = [f"{head:{_INDENT}}{text[0]}", *(" " * _INDENT + line for line in text[1:])]
        if screen.color:
            rows[0] = f"\x1b[{_COLORS[finding.level]}m{rows[0][:6]}\x1b[0m{rows[0][6:]}"
        lines += [row.rstrip() for row in rows]
        lines += textwrap.wrap(
            _clean(finding.hint),
            width=width,
            initial_indent=" " * _INDENT + "→ ",
            subsequent_indent=" " * _INDENT + "  ",
            break_on_hyphens=False,
        )
    return lines


def _sentence(finding: doctor.Finding) -> str:
    return f"{finding.subject}: {finding.message}" if finding.subject else finding.message


def _clean(text: str) -> str:
    """One line without control characters: the API server and files have a say in what is printed."""
    return " ".join(transcript.clean(text).split())
