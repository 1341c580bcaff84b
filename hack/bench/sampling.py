"""What a process has used so far, and how a row of such samples goes: read from /proc, judged by pure functions."""

import dataclasses
import math
import os
import pathlib
import re
import statistics
import threading
import time
from collections.abc import Sequence
from typing import Any

from hack.bench import machine

_TICKS = os.sysconf("SC_CLK_TCK")
_ESTABLISHED = "01"
_MOST_NOISES = 2.0
_SMALL = 0.01


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """``at``: monotonic seconds. ``cpu``: seconds of processor time of all threads since the start. Memory in KiB."""

    at: float
    cpu: float
    rss: int
    threads: int = 0
    files: int = 0
    connections: int = 0


def look(pid: int, *, port: int = 0) -> Sample:
    """The process now; with the ``port`` of a server also how many connections to it are open. Raises OSError."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    at = time.monotonic()
    descriptors = _descriptors(pid)
    return Sample(
        at=at,
        cpu=(int(fields[11]) + int(fields[12])) / _TICKS,
        rss=machine.rss(pid),
        threads=int(fields[17]),
        files=len(descriptors),
        connections=_count_connections(pid, port, descriptors) if port else 0,
    )


def pss(pid: int) -> int:
    """Resident memory in KiB, with what is shared with other processes divided among them."""
    found = re.search(r"^Pss:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def count_open(pid: int, folder: pathlib.Path) -> int:
    """How many files below ``folder`` the process has open."""
    beginning = f"{folder}{os.sep}"
    return sum(1 for target in _descriptors(pid) if target.startswith(beginning))


def machine_ticks() -> tuple[int, int]:
    """Of all cores since the machine's start, in clock ticks: how long they were at work, and how long there were."""
    line = pathlib.Path("/proc/stat").read_text().splitlines()[0]
    ticks = [int(number) for number in line.split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # idle, and waiting for a disk


def _descriptors(pid: int) -> list[str]:
    found = []
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(entry.path))
        except OSError:  # closed meanwhile
            continue
    return found


def _count_connections(pid: int, port: int, descriptors: Sequence[str]) -> int:
    sockets = {target[8:-1] for target in descriptors if target.startswith("socket:[")}
    table = "".join(pathlib.Path(f"/proc/{pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
    return len(sockets & find_connections(table, port))


def find_connections(table: str, port: int) -> set[str]:
    """Inodes of the established connections to ``port`` in the text of /proc/net/tcp."""
    suffix = f":{port:04X}"
    rows = (line.split() for line in table.splitlines())
    return {row[9] for row in rows if len(row) > 9 and row[2].endswith(suffix) and row[3] == _ESTABLISHED}


class Recorder(threading.Thread):
    """Samples a process until it is told to end, or the process ends."""

    def __init__(self, pid: int, *, every: float = 1.0, port: int = 0) -> None:
        super().__init__(name="recorder", daemon=True)
        self.samples: list[Sample] = []
        self._pid, self._every, self._port = pid, every, port
        self._ended = threading.Event()

    def run(self) -> None:
        """Look, again and again."""
        try:
            while True:
                self.samples.append(look(self._pid, port=self._port))
                if self._ended.wait(self._every):
                    return
        except OSError:
            return

    def end(self) -> None:
        """Sample no more."""
        self._ended.set()
        self.join()


# --- judging ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Between two moments: processor in percent of one core for each of some equal parts, memory in KiB."""

    cpu: Sequence[float]
    rss: Sequence[int]

    @property
    def median_cpu(self) -> float:
        """Percent of one core."""
        return statistics.median(self.cpu)

    @property
    def median_rss(self) -> float:
        """KiB."""
        return statistics.median(self.rss)


def usage(samples: Sequence[Sample], *, begin: float, end: float, parts: int = 6) -> Usage:
    """What was used between two moments, in ``parts`` parts. Raises ValueError for fewer samples than that."""
    inside = [sample for sample in samples if begin <= sample.at <= end]
    if len(inside) <= parts:
        raise ValueError(f"{len(inside)} samples are too few for {parts} parts")
    edges = [inside[number * (len(inside) - 1) // parts] for number in range(parts + 1)]
    cpu = [100 * (b.cpu - a.cpu) / (b.at - a.at) for a, b in zip(edges, edges[1:], strict=False)]
    return Usage(cpu=cpu, rss=[sample.rss for sample in inside])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A straight line through the second half of a row.

    ``begin`` and ``end``: its height at the first and the last sample of that half. ``noise``: standard deviation of
    the samples from it.
    """

    begin: float
    end: float
    noise: float

    @property
    def growth(self) -> float:
        """How much it rises."""
        return self.end - self.begin

    @property
    def steady(self) -> bool:
        """Whether it rises by less than twice the noise, or by less than one in a hundred."""
        return self.growth <= max(_MOST_NOISES * self.noise, _SMALL * abs(self.begin))


def trend(times: Sequence[float], values: Sequence[float]) -> Trend:
    """Judge a row of samples by its second half. Raises ValueError for fewer than four samples in it."""
    half = len(times) // 2
    at, row = list(times[half:]), list(values[half:])
    if len(at) < 4:  # noqa: PLR2004 - a line through three points says nothing of their noise
        raise ValueError(f"{len(times)} samples are too few for a trend")
    slope, start = statistics.linear_regression(at, row)
    rest = [value - (start + slope * moment) for moment, value in zip(at, row, strict=True)]
    return Trend(
        begin=start + slope * at[0],
        end=start + slope * at[-1],
        noise=math.sqrt(sum(value * value for value in rest) / len(rest)),
    )


# --- the API server's own counters -----------------------------------------------------------------------------------

_LINE = re.compile(r"^(?P<name>[a-zA-Z_:]+)\{(?P<labels>[^}]*)\} (?P<value>[0-9.e+-]+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def total(text: str, name: str, **labels: str) -> float:
    """The sum of a metric over all its rows that have these labels, from the text of /metrics."""
    wanted = labels.items()
    found = 0.0
    for line in text.splitlines():
        match = _LINE.match(line) if line.startswith(name + "{") else None
        if match is not None and wanted <= dict(_LABEL.findall(match["labels"])).items():
            found += float(match["value"])
    return found


def as_json(samples: Sequence[Sample], *, since: float) -> list[dict[str, Any]]:
    """Samples for the report, their times as seconds after ``since``."""
    return [
        {**dataclasses.asdict(sample), "at": round(sample.at - since, 3), "cpu": round(sample.cpu, 2)}
        for sample in samples
    ]
