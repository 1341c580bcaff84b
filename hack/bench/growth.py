"""Whether a run costs the same when there are many: time and memory for each run at growing numbers of them.

For each number: a namespace and an operator of its own, which has had one run before; its memory then; all AgentRuns
at once; its memory when all are at work and it is quiet again. What a first rush leaves open for the next one, such as
connections, is in the memory of the fewest runs; so the memory of each further run is given, too. A raw loop of the
same three writes for as many runs is measured beside it, since what the API server takes for each write need not be
flat, either; its Jobs stay held.
"""

import asyncio
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from agentrun_operator import models
from hack import playground
from hack.bench import burst, lab, load, machine, rows, sight

PART = "growth"
SIZES = (144, 720, 1440)
ALL_SIZES = (*SIZES, 5000)

_TARGET = 0.20
_ALL_SECONDS = 1800
_QUIET_SECONDS = 3
_MEMORY_SAMPLES = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """So many runs at once. Seconds until all Jobs are started, until all runs say that they run, of the raw loop.

    ``before`` and ``after`` are the operator's memory in KB with one run and with all of them, ``cpu`` its processor
    seconds until all are at work.
    """

    runs: int
    started: float
    live: float
    raw: float
    before: int
    after: int
    cpu: float

    @property
    def milliseconds(self) -> float:
        """For each run."""
        return self.started / self.runs * 1000

    @property
    def kilobytes(self) -> float:
        """For each run."""
        return (self.after - self.before) / self.runs


def measure(cluster: lab.Lab, options: Mapping[str, Any]) -> rows.Json:
    """The part of the report; ``sizes`` and ``repeat`` are its options."""
    sizes, repeat = rows.option(options, "sizes", SIZES), rows.option(options, "repeat", 1)
    found: list[Size] = []
    for _ in range(repeat):
        for runs in sizes:
            raw = asyncio.run(burst.measure_raw(cluster, runs, held=True)).seconds
            found.append(_measure_size(cluster, runs, raw))
            one = found[-1]
            print(
                f"bench: {PART}: {runs} runs: {one.milliseconds:.1f} ms (raw {raw / runs * 1000:.1f}) and "
                f"{one.kilobytes:.0f} KB for each",
                file=sys.stderr,
                flush=True,
            )
    samples = [{**dataclasses.asdict(one), "ms": one.milliseconds, "kb": one.kilobytes} for one in found]
    return {"part": PART, "rows": build_rows(found), "raw": {"repeat": repeat, "samples": samples}}


def build_rows(found: Sequence[Size]) -> list[rows.Json]:
    """The rows of the table from what was measured: one for each number of runs, then how flat they are."""
    sizes = list(dict.fromkeys(one.runs for one in found))
    table = []
    times, memories, further = [], [], []
    for before, runs in zip((0, *sizes), sizes, strict=False):
        mine = [one for one in found if one.runs == runs]
        time_each = rows.median([one.milliseconds for one in mine])
        raw_each = rows.median([one.raw / runs * 1000 for one in mine])
        memory_each = rows.median([one.kilobytes for one in mine])
        rss = rows.median([one.after for one in mine])
        times.append(time_each)
        memories.append(memory_each)
        table.append(
            rows.row(f"{runs} runs: time for each, over the raw loop", ours=time_each, baseline=raw_each, unit="ms")
        )
        table.append(
            rows.row(
                f"{runs} runs: operator's memory for each", ours=memory_each, unit="KB", note=f"RSS {rss / 1024:.0f} MB"
            )
        )
        if before:
            less = rows.median([one.after for one in found if one.runs == before])
            further.append((rss - less) / (runs - before))
            what = f"{runs} runs: operator's memory for each further run, from {before}"
            table.append(rows.row(what, ours=further[-1], unit="KB"))
    for what, values in (
        ("time for each run", times),
        ("memory for each run", memories),
        ("memory for each further run", further),
    ):
        if not values:
            continue
        flat = rows.flatness(values) if min(values) > 0 else float("nan")
        table.append(
            rows.row(
                f"{what}, greatest over least of {', '.join(map(str, sizes))} runs",
                ours=1 + flat,
                unit="x",
                target=f"flat within {_TARGET:.0%}",
                met=flat <= _TARGET,
            )
        )
    return table


def _measure_size(cluster: lab.Lab, runs: int, raw: float) -> Size:
    with cluster.namespace("growth") as place:
        bodies = [place.agent_run(f"run-{number}") for number in range(runs)]
        for body in bodies:
            place.touch_log(body)
        operator = place.start_operator()
        return asyncio.run(_grow(place, operator, bodies, raw))


async def _grow(place: lab.Place, operator: playground.Process, bodies: list[rows.Json], raw: float) -> Size:
    names = [body["metadata"]["name"] for body in bodies]
    async with place.session() as session:
        await burst.warm_up(place, session)
        await asyncio.sleep(_QUIET_SECONDS)
        before = _memory(operator)
        cpu = lab.cpu_seconds(operator.pid)
        async with (
            sight.sightings(session, place.path("jobs"), sight.Job, sight.job_keys) as jobs,
            sight.sightings(session, place.path("agentruns"), sight.Run, burst.phase_keys) as runs,
        ):
            began = time.monotonic()
            await load.create_all(session, place, bodies)
            keys = [sight.started(name) for name in names]
            started = await jobs.wait(keys, seconds=_ALL_SECONDS, what="all Jobs to be started")
            keys = [f"{models.Phase.RUNNING} {name}" for name in names]
            live = await runs.wait(keys, seconds=_ALL_SECONDS, what="all runs to be at work")
        cpu = lab.cpu_seconds(operator.pid) - cpu
        await asyncio.sleep(_QUIET_SECONDS)
        after = _memory(operator)
    return Size(
        runs=len(bodies),
        started=max(started.values()) - began,
        live=max(live.values()) - began,
        raw=raw,
        before=before,
        after=after,
        cpu=cpu,
    )


def _memory(operator: playground.Process) -> int:
    return round(rows.median(machine.sample_rss(operator.pid, samples=_MEMORY_SAMPLES, seconds=0.3)))
