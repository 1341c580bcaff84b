"""``python -m hack.bench.writer``: append lines of recorded runs to many logs, as so many agents would.

A process of its own that keeps every file open and writes with one system call per line, so that it takes as little as
possible from the cores on which the operator is measured. In each turn every log gets one line, in a new random order,
evenly over the turn: so logs grow steadily as a whole, and no log keeps step with whoever reads it. It writes until it
is told to stop (SIGTERM), then prints what it has written as JSON.

Of some logs it keeps a journal: when each line was written (monotonic clock, taken just before the write) and how long
the file was after it. ``tailing`` needs that to know how late a line was counted.
"""

import argparse
import bisect
import dataclasses
import json
import os
import pathlib
import random
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from hack import playground
from hack.bench import transcripts

TICK_SECONDS = 0.01
_SPARE_FILES = 64

Journal = Mapping[str, Sequence[tuple[int, float]]]


def spread(count: int, slots: int) -> list[range]:
    """Which places in a row of ``count`` logs are written in which of ``slots`` ticks: evenly, each exactly once."""
    return [range(slot * count // slots, (slot + 1) * count // slots) for slot in range(slots)]


def pick(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` of ``count`` logs, evenly spread."""
    wanted = min(count, wanted)
    return [number * count // wanted for number in range(wanted)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """``every``: seconds for a turn, a line in each log. ``sample``: logs whose lines go into the journal."""

    logs: Sequence[pathlib.Path]
    every: float = 1.0
    journal: pathlib.Path | None = None
    sample: int = 0


def start(order: Order, folder: pathlib.Path) -> playground.Process:
    """Start a writer; what it says at its end is in ``writer.log`` in ``folder`` (see ``read_end``)."""
    paths = folder / "writer.paths"
    paths.write_text("".join(f"{log}\n" for log in order.logs))
    log = folder / "writer.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "hack.bench.writer", "--paths", str(paths), "--every", str(order.every)]
    if order.journal:
        command += ["--journal", str(order.journal), "--sample", str(order.sample)]
    return playground.Process.start(command, log=log)


def read_end(folder: pathlib.Path) -> dict[str, Any]:
    """What the writer that was started with ``folder`` said at its end: lines, bytes, seconds, CPU, how late it was.

    Raises PlaygroundError if it has failed.
    """
    said = (folder / "writer.log").read_text()
    try:
        return dict(json.loads(said.splitlines()[-1]))
    except (IndexError, ValueError):
        raise playground.PlaygroundError(f"the writer of logs has failed: {said[-2000:]}") from None


class _Writer:
    def __init__(self, order: Order, lines: Sequence[bytes], journal: IO[str] | None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        for log in order.logs:
            log.parent.mkdir(parents=True, exist_ok=True)
        self._files = [os.open(log, flags, 0o640) for log in order.logs]
        self._names = {number: str(order.logs[number]) for number in pick(len(order.logs), order.sample)}
        self._sizes = {number: os.fstat(self._files[number]).st_size for number in self._names}
        self._lines = lines
        self._journal = journal
        self._slots = spread(len(order.logs), max(1, round(order.every / TICK_SECONDS)))
        self._every = order.every
        self._row = list(range(len(order.logs)))
        self._random = random.Random(1)  # noqa: S311 - replayable, guards nothing
        self.lines = self.bytes = 0
        self.latest = 0.0
        self.stopped = False

    def write(self) -> None:
        """Until ``stopped``. What is late is made up for at once, so that the rate holds."""
        began = time.monotonic()
        pause = self._every / len(self._slots)
        tick = 0
        while not self.stopped:
            turn, slot = divmod(tick, len(self._slots))
            if slot == 0:
                self._random.shuffle(self._row)
            self._write_slot(self._slots[slot], turn)
            tick += 1
            ahead = began + tick * pause - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            else:
                self.latest = max(self.latest, -ahead)

    def _write_slot(self, slot: range, turn: int) -> None:
        for place in slot:
            number = self._row[place]
            line = self._lines[(number + turn) % len(self._lines)]
            at = time.monotonic()
            os.write(self._files[number], line)
            self.lines += 1
            self.bytes += len(line)
            if number in self._sizes:
                self._sizes[number] += len(line)
                if self._journal:
                    self._journal.write(entry(self._names[number], self._sizes[number], at))


def entry(log: str, size: int, at: float) -> str:
    """One line of a journal."""
    return f"{size} {at:.6f} {log}\n"


def read_journal(file: pathlib.Path) -> Journal:
    """By path of the log: how long it was, and at which moment, in order; a line that is just being written is not."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in file.read_text().rpartition("\n")[0].splitlines():
        size, at, log = line.split(" ", 2)
        found.setdefault(log, []).append((int(size), float(at)))
    return found


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """Of lines in order of their writing: when each was written and how many seconds later it was counted.

    ``missing``: how many were not counted at all while somebody looked.
    """

    written: Sequence[float]
    seconds: Sequence[float]
    missing: int


def delays(journal: Journal, seen: Journal, *, begin: float, end: float) -> Delays:
    """How late the lines were counted that were written between two moments.

    ``seen`` has, like the journal, lengths and moments: so much was counted by then. Whoever looked must have begun
    before ``begin`` and gone on for a while after ``end``.
    """
    found: list[tuple[float, float]] = []
    missing = 0
    for log, written in journal.items():
        looks = sorted(seen.get(log, ()))
        sizes = [size for size, _ in looks]
        for size, at in written:
            if not begin <= at < end:
                continue
            place = bisect.bisect_left(sizes, size)
            if place < len(looks):
                found.append((at, looks[place][1] - at))
            else:
                missing += 1
    found.sort()
    return Delays(written=[at for at, _ in found], seconds=[late for _, late in found], missing=missing)


def _raise_limit(files: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in {resource.RLIM_INFINITY, hard} and soft < files + _SPARE_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    parser = argparse.ArgumentParser(prog="hack.bench.writer", description=__doc__.splitlines()[0])
    parser.add_argument("--paths", type=pathlib.Path, required=True, help="a file that names one log in each line")
    parser.add_argument("--every", type=float, default=1.0, help="seconds for a line in each log")
    parser.add_argument("--journal", type=pathlib.Path, help="where to note when lines were written")
    parser.add_argument("--sample", type=int, default=0, help="of how many logs")
    options = parser.parse_args()
    logs = [pathlib.Path(line) for line in options.paths.read_text().splitlines()]
    if not logs or options.every < TICK_SECONDS:
        parser.error(f"--paths must name a log, and --every be at least {TICK_SECONDS}")
    _raise_limit(len(logs))
    journal = options.journal.open("w") if options.journal else None
    order = Order(logs=logs, every=options.every, journal=options.journal, sample=options.sample)
    writer = _Writer(order, transcripts.middle(), journal)

    def end(*_: object) -> None:
        writer.stopped = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    began = time.monotonic()
    writer.write()
    if journal:
        journal.close()
    said = {
        "lines": writer.lines,
        "bytes": writer.bytes,
        "seconds": time.monotonic() - began,
        "cpuSeconds": time.process_time(),
        "latestSeconds": writer.latest,
    }
    print(json.dumps(said))
    return 0


if __name__ == "__main__":
    sys.exit(main())
