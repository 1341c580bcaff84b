"""How fast the agent's output is read and counted, in MB (of 1,000,000 bytes) for each second of one core.

The recorded runs are fed again and again from memory, in the chunks that the tail reads, so nothing of the gigabyte
ever exists as a whole. Twice: with a ``Progress`` of its own for each run, as the operator has it, and with one
``Progress`` for all of them, whose memory must not grow. Beside it, on the same bytes, three decoders that do only the
JSON: they cut lines with one ``split`` for a whole run, which no reader of a growing file can do.

Each way takes its turn in every round, so that whatever else the machine does hits all of them alike. A rate is that of
processor time; the time on the clock is in the raw figures. It is done in a process of its own:
``python -m hack.bench.parse --bytes N`` prints its figures as JSON and needs no cluster.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from agentrun_operator import progress
from hack import playground
from hack.bench import machine, rows, transcripts, watch

PART = "parse"
CHUNK_BYTES = 64 * 1024  # as the tail reads
DEFAULT_BYTES = 1_000_000_000
ROUNDS = 5

EACH = "a Progress for each run"
ONE = "one Progress for all runs"
JSON = "json.loads"
UNTYPED = "msgspec, untyped"
TYPED = "msgspec, type only"

_MEGABYTE = 1_000_000
_TARGET_RATE = 400
_TARGET_GROWTH_KB = 976  # of 1024 bytes
_WARM_UP_BYTES = 20 * _MEGABYTE

Json = dict[str, Any]


class _Event(msgspec.Struct):
    """As little as a typed decoder can take out of a line."""

    type: str | None = None


def measure(_lab: object, options: Mapping[str, Any]) -> Json:
    """The part of the report; ``bytes`` and ``repeat`` are its options. Raises BenchError when its process fails."""
    size, rounds = rows.option(options, "bytes", DEFAULT_BYTES), rows.option(options, "repeat", ROUNDS)
    command = [sys.executable, "-m", "hack.bench.parse", "--bytes", str(size), "--rounds", str(rounds)]
    done = subprocess.run(command, cwd=playground.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise watch.BenchError(f"parse: {done.stderr[-2000:]}")
    raw = json.loads(done.stdout)
    return {"part": PART, "rows": build_rows(raw), "raw": raw}


def build_rows(raw: Mapping[str, Any]) -> list[Json]:
    """The rows of the table from what was measured."""
    rates = {name: statistics.median(values) for name, values in raw["megabytesPerSecond"].items()}
    size = f"median of {raw['rounds']} rounds, {raw['bytes'] / 1e9:.2g} GB in all"
    found = []
    for name, other, note in (
        (EACH, JSON, size),
        (ONE, JSON, f"in chunks of {CHUNK_BYTES // 1024} KiB"),
        (EACH, UNTYPED, ""),
        (EACH, TYPED, "which keeps nothing else"),
    ):
        judged = other == JSON
        found.append(
            rows.row(
                f"{name}, over {other} for each line",
                ours=rates[name],
                baseline=rates[other],
                unit="MB/s",
                target=f">= {_TARGET_RATE} MB/s" if judged else "",
                met=rates[name] >= _TARGET_RATE if judged else None,
                note=note,
            )
        )
    for name in (EACH, ONE):
        samples = raw["rssKB"][name]
        grown = max(samples) - samples[0]
        found.append(
            rows.row(
                f"memory of the process with {name}, after over before",
                ours=samples[-1] * 1024 / _MEGABYTE,
                baseline=samples[0] * 1024 / _MEGABYTE,
                unit="MB",
                target="constant: at most 1 MB more",
                met=grown <= _TARGET_GROWTH_KB,
                note=f"at most {grown} KiB more in between",
            )
        )
    return found


# --- the ways --------------------------------------------------------------------------------------------------------


class _Concatenation:
    """The recorded runs one behind the other without an end, in chunks; it goes on where it was left."""

    def __init__(self, texts: tuple[bytes, ...]) -> None:
        whole = b"".join(texts)
        self._period = len(whole)
        self._text = whole + whole[:CHUNK_BYTES]  # so that no chunk has to be put together of two
        self._at = 0

    def next(self) -> bytes:
        chunk = self._text[self._at : self._at + CHUNK_BYTES]
        self._at = (self._at + CHUNK_BYTES) % self._period
        return chunk


def _feed_each(texts: tuple[bytes, ...], size: int) -> int:
    fed = 0
    for text in itertools.cycle(texts):
        fold = progress.Progress()
        for at in range(0, len(text), CHUNK_BYTES):
            fold.feed(text[at : at + CHUNK_BYTES])
        fold.finish()
        fed += len(text)
        if fed >= size:
            break
    return fed


def _feed_one(texts: tuple[bytes, ...]) -> Callable[[int], int]:
    fold, source = progress.Progress(), _Concatenation(texts)

    def feed(size: int) -> int:
        fed = 0
        while fed < size:
            chunk = source.next()
            fold.feed(chunk)
            fed += len(chunk)
        return fed

    return feed


def _decode(texts: tuple[bytes, ...], size: int, decode: Callable[[bytes], object]) -> int:
    done = 0
    for text in itertools.cycle(texts):
        for line in text.split(b"\n"):
            if line:
                decode(line)
        done += len(text)
        if done >= size:
            break
    return done


def build_ways(texts: tuple[bytes, ...]) -> dict[str, Callable[[int], int]]:
    """Each way by its name: it takes a number of bytes to read at least, and returns how many it has read."""
    untyped, typed = msgspec.json.Decoder(), msgspec.json.Decoder(_Event)
    return {
        EACH: lambda size: _feed_each(texts, size),
        ONE: _feed_one(texts),
        JSON: lambda size: _decode(texts, size, json.loads),
        UNTYPED: lambda size: _decode(texts, size, untyped.decode),
        TYPED: lambda size: _decode(texts, size, typed.decode),
    }


# --- the process -----------------------------------------------------------------------------------------------------


def run(size: int, rounds: int) -> Json:
    """Measure with ``size`` bytes for each way, in ``rounds`` turns."""
    texts = tuple(text for text in transcripts.load() if _is_json(text))
    ways = build_ways(texts)
    for way in ways.values():
        way(min(size, _WARM_UP_BYTES))
    rates: dict[str, list[float]] = {name: [] for name in ways}
    clock: dict[str, list[float]] = {name: [] for name in ways}
    memory = {name: [_rss()] for name in (EACH, ONE)}
    for number in range(rounds):
        names = list(ways)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            began, worked = time.perf_counter(), time.process_time()
            done = ways[name](size // rounds)
            worked, passed = time.process_time() - worked, time.perf_counter() - began
            rates[name].append(done / worked / _MEGABYTE)
            clock[name].append(done / passed / _MEGABYTE)
            if name in memory:
                memory[name].append(_rss())
    return {
        "bytes": size,
        "rounds": rounds,
        "transcripts": {"count": len(texts), "bytes": sum(map(len, texts))},
        "megabytesPerSecond": rates,
        "megabytesPerSecondOfClock": clock,
        "rssKB": memory,
    }


def _rss() -> int:
    return machine.rss(os.getpid())


def _is_json(text: bytes) -> bool:
    """Whether plain decoders can read every line of it."""
    try:
        for line in text.split(b"\n"):
            if line:
                json.loads(line)
    except ValueError:
        return False
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="hack.bench.parse", description=__doc__.splitlines()[0])
    parser.add_argument("--bytes", type=int, default=DEFAULT_BYTES, help="how much each way reads")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="in how many turns; their median counts")
    options = parser.parse_args()
    if options.bytes < 1 or options.rounds < 1:
        parser.error("--bytes and --rounds must be at least 1")
    print(json.dumps(run(options.bytes, options.rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
