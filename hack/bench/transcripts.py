"""The recorded runs of the agent CLI that measurements feed on: the repository's own copies, byte for byte.

They are small (a few KB), because they were recorded with a scripted model. So what costs per run weighs more here than
in a run of hours, and what costs per byte is measured on lines of the same kinds and nesting.
"""

import functools
import json
from typing import Any

from hack import playground

FOLDER = playground.ROOT / "tests" / "data" / "transcripts"
_NEWEST = "2.1.329"
_FILE = "stdout.ndjson"


@functools.cache
def load() -> tuple[bytes, ...]:
    """What each recorded run has printed, in order of their names; none is empty and all end with a line end."""
    texts = (file.read_bytes() for file in sorted(FOLDER.glob(f"*/*/{_FILE}")))
    return tuple(text if text.endswith(b"\n") else text + b"\n" for text in texts if text)


@functools.cache
def successes() -> tuple[bytes, ...]:
    """The runs of the newest version that went well: one turn or more, one result, and that is their last line."""
    texts = (file.read_bytes() for file in sorted((FOLDER / _NEWEST).glob(f"*/{_FILE}")))
    return tuple(text for text in texts if _went_well(text))


@functools.cache
def opening() -> bytes:
    """The first line of a run, which names its session."""
    return next(line for line in _lines(successes()[0]) if _kind(line) == ("system", "init"))


@functools.cache
def middle() -> tuple[bytes, ...]:
    """What a run prints between its first line and its result: no line of these ends it or begins it anew."""
    lines = (line for text in successes() for line in _lines(text))
    return tuple(line for line in lines if _kind(line)[0] in {"assistant", "user"})


def _went_well(text: bytes) -> bool:
    lines = _lines(text)
    kinds = [_kind(line) for line in lines]
    if not text.endswith(b"\n") or kinds[-1:] != [("result", "success")] or kinds.count(("system", "init")) != 1:
        return False
    return not json.loads(lines[-1]).get("is_error") and [kind for kind, _ in kinds].count("result") == 1


def _lines(text: bytes) -> list[bytes]:
    return [line + b"\n" for line in text.split(b"\n") if line]


def _kind(line: bytes) -> tuple[str, str]:
    """Type and subtype; "" where there is none, or no JSON object."""
    try:
        event: Any = json.loads(line)
    except ValueError:
        return "", ""
    return (str(event.get("type", "")), str(event.get("subtype", ""))) if isinstance(event, dict) else ("", "")
