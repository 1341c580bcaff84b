"""The quick way through a log gives what the thorough one gives, for every real log and for what may become of one."""

import json
import pathlib
import random
from collections.abc import Callable

import msgspec
import pytest

from agentrun_operator import progress, stream

PATHS = sorted((pathlib.Path(__file__).parents[1] / "data" / "transcripts").glob("*/*/stdout.ndjson"))


@pytest.fixture
def thorough(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], progress.Transcript]:
    """What comes out when no line is skimmed."""

    def refuse(_line: bytes) -> None:
        raise msgspec.DecodeError("not this way")

    def read(data: bytes) -> progress.Transcript:
        with monkeypatch.context() as patch:
            patch.setattr(stream, "skim", refuse)
            return fold(data)

    return read


def fold(data: bytes) -> progress.Transcript:
    """What is known after the end of a log."""
    read = progress.Progress()
    read.feed(data)
    read.finish()
    return read.snapshot()


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parts[-3]}/{path.parts[-2]}")
def test_every_real_log(path: pathlib.Path, thorough: Callable[[bytes], progress.Transcript]) -> None:
    """Whole, and cut off at some places."""
    data = path.read_bytes()
    rng = random.Random(path.parts[-2])  # noqa: S311 - replayable, guards nothing
    for end in (len(data), *(rng.randrange(len(data) + 1) for _ in range(5))):
        assert fold(data[:end]) == thorough(data[:end])


@pytest.mark.parametrize("seed", range(20))
def test_logs_that_somebody_spoiled(seed: int, thorough: Callable[[bytes], progress.Transcript]) -> None:
    """Bytes changed, cut out, put in; lines doubled and torn; fields of another type, missing or double."""
    rng = random.Random(seed)  # noqa: S311 - replayable, guards nothing
    lines = [line for path in rng.sample(PATHS, 4) for line in path.read_bytes().splitlines(keepends=True)]
    odd = rng.sample((spoil_bytes, spoil_value, drop_key, double_key), 2)
    for index in rng.sample(range(len(lines)), min(len(lines), 12)):
        lines[index] = rng.choice(odd)(lines[index], rng)
    for _ in range(3):
        lines.insert(rng.randrange(len(lines)), lines[rng.randrange(len(lines))])
    data = b"".join(lines)
    assert fold(data) == thorough(data)


def spoil_bytes(line: bytes, rng: random.Random) -> bytes:
    """One byte is another one, or many are gone."""
    place = rng.randrange(len(line))
    return (
        line[:place] + rng.choice((b"", b"\0", b"\xff", b'"', b"}", b"[" * 2000)) + line[place + rng.choice((1, 9)) :]
    )


def spoil_value(line: bytes, rng: random.Random) -> bytes:
    """Somewhere is a value of another type."""
    event = as_object(line)
    part = event
    while (inner := [value for value in part.values() if isinstance(value, dict)]) and rng.random() < 0.6:
        part = rng.choice(inner)
    if part:
        part[rng.choice(list(part))] = rng.choice((None, 1, -1.5, "x", True, [], {}, [1], {"a": 1}, 10**400))
    return json.dumps(event).encode() + b"\n"


def drop_key(line: bytes, rng: random.Random) -> bytes:
    """A field is missing."""
    event = as_object(line)
    event.pop(rng.choice([*event, "nothing"]), None)
    return json.dumps(event).encode() + b"\n"


def double_key(line: bytes, rng: random.Random) -> bytes:
    """A field stands twice, with another value."""
    event = as_object(line)
    key = rng.choice([*event, "type"])
    twice = json.dumps({key: rng.choice(("system", "result", 1, None))})[1:-1]
    return b"{" + twice.encode() + b", " + json.dumps(event).encode()[1:] + b"\n"


def as_object(line: bytes) -> dict[str, object]:
    """The line as an object, an empty one if it is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
