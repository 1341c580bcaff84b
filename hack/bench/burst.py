"""1,440 AgentRuns at once, against a raw loop of the same three writes for as many runs.

The raw loop creates Secret and Job and patches the status, with 64 runs under way; the AgentRuns are there before it
begins. The operator's time begins with the first request for an AgentRun and so includes creating them, and everything
else that it writes. Both kinds of Jobs get their pods, so the control plane has the same work beside it. They take
turns on one cluster, each in a namespace of its own, and each begins when all pods of the one before it run. The raw
loop is also measured with Jobs that stay held: three writes and nothing else, which nothing that starts pods can reach.

The operator creates its Jobs held and starts them a moment later (docs/adr/0009), so both moments are given. It has had
one run before, so that its first one is not what is measured (see ``cold``).
"""

import asyncio
import dataclasses
import sys
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from agentrun_operator import models
from hack import playground
from hack.bench import lab, load, machine, rows, sight

PART = "burst"
RUNS = 1440
REPEAT, REPEAT_SMALL = 3, 5  # fewer repetitions of many runs, or they would take longer than all other parts together
SMALL = 400

_TARGET_RATE, _TARGET_P99 = 0.75, 1.5
_ALL_SECONDS = 600
_WARM = "warm-up"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One burst; times in seconds. ``created`` and ``started`` are of all Jobs, the lists are from CR to Job per run.

    ``running`` is when all pods run. ``cpu`` is the operator's own processor time, ``rss`` its memory in KB when all
    runs are live; ``reopened`` how often the watch of Jobs was opened again.
    """

    created: float
    started: float
    running: float
    to_job: list[float]
    to_start: list[float]
    cpu: float = 0.0
    rss: int = 0
    reopened: int = 0


def measure(cluster: lab.Lab, options: Mapping[str, Any]) -> rows.Json:
    """The part of the report; ``runs`` and ``repeat`` are its options."""
    runs = rows.option(options, "runs", RUNS)
    repeat = rows.option(options, "repeat", REPEAT if runs > SMALL else REPEAT_SMALL)
    raw: list[load.RawRun] = []
    held: list[load.RawRun] = []
    ours: list[Sample] = []
    for number in range(repeat):
        held.append(asyncio.run(measure_raw(cluster, runs, held=True)))
        for kind in ("raw", "ours") if number % 2 == 0 else ("ours", "raw"):
            if kind == "raw":
                raw.append(asyncio.run(measure_raw(cluster, runs)))
                _say(f"{number + 1} of {repeat}: raw loop {raw[-1].seconds:.2f} s, held {held[-1].seconds:.2f} s")
            else:
                ours.append(measure_operator(cluster, runs))
                _say(f"{number + 1} of {repeat}: all Jobs {ours[-1].created:.2f} s, started {ours[-1].started:.2f} s")
    return {
        "part": PART,
        "rows": build_rows(runs, raw, ours, held),
        "raw": {
            "runs": runs,
            "repeat": repeat,
            "inFlight": load.IN_FLIGHT,
            "rawLoop": [
                {"seconds": one.seconds, "allRunning": one.running, "toJob": rows.summary(list(one.jobs.values()))}
                for one in raw
            ],
            "rawLoopHeld": [{"seconds": one.seconds} for one in held],
            "operator": [
                {
                    "allCreated": one.created,
                    "allStarted": one.started,
                    "allRunning": one.running,
                    "toJob": rows.summary(one.to_job),
                    "toStart": rows.summary(one.to_start),
                    "cpuSeconds": one.cpu,
                    "rssKB": one.rss,
                    "watchReopened": one.reopened,
                }
                for one in ours
            ],
        },
    }


def build_rows(runs: int, raw: list[load.RawRun], ours: list[Sample], held: list[load.RawRun]) -> list[rows.Json]:
    """The rows of the table from what was measured."""
    floor = rows.median([one.seconds for one in raw])
    spread = rows.spread([runs / one.created for one in ours])
    created, started = (rows.median([getattr(one, name) for one in ours]) for name in ("created", "started"))
    p99 = rows.median([rows.percentile(one.to_job, 99) for one in ours])
    p50 = rows.median([rows.percentile(one.to_job, 50) for one in ours])
    return [
        rows.row(
            f"{runs} at once: first AgentRun sent → all Jobs created, over the raw loop's rate",
            ours=runs / created,
            baseline=runs / floor,
            unit="runs/s",
            target=f">= {_TARGET_RATE:.0%} of the raw rate",
            met=floor / created >= _TARGET_RATE,
            note=f"{spread}; creating the AgentRuns is part of our time" if spread else "",
        ),
        rows.row(
            f"{runs} at once: first AgentRun sent → all Jobs created, over a raw loop whose Jobs stay held",
            ours=runs / created,
            baseline=runs / rows.median([one.seconds for one in held]),
            unit="runs/s",
            note="no pods: the control plane does nothing else",
        ),
        rows.row(
            f"{runs} at once: first AgentRun sent → all Jobs started, over the raw loop's rate",
            ours=runs / started,
            baseline=runs / floor,
            unit="runs/s",
            note="a Job is created held and started when its agent is free",
        ),
        rows.row(
            f"{runs} at once: first AgentRun sent → all pods run, over the raw loop's rate",
            ours=runs / rows.median([one.running for one in ours]),
            baseline=runs / rows.median([one.running for one in raw]),
            unit="runs/s",
            note="all that the control plane does for a run is in both",
        ),
        rows.row(
            f"{runs} at once: AgentRun sent → its Job created, p99, over the raw loop's duration",
            ours=p99,
            baseline=floor,
            unit="s",
            target=f"<= {_TARGET_P99} x the raw duration",
            met=p99 <= _TARGET_P99 * floor,
            note=f"p50 {p50:.2f} s",
        ),
        rows.row(
            f"{runs} at once: AgentRun sent → its Job started, p99, over the raw loop's duration",
            ours=rows.median([rows.percentile(one.to_start, 99) for one in ours]),
            baseline=floor,
            unit="s",
        ),
    ]


async def measure_raw(cluster: lab.Lab, runs: int, *, held: bool = False) -> load.RawRun:
    """The raw loop in a namespace without an operator; ``held``: its Jobs never get pods."""
    with cluster.namespace("raw") as place:
        bodies = [place.agent_run(f"run-{number}") for number in range(runs)]
        async with place.session() as session:
            await load.create_all(session, place, bodies)
            listed = msgspec.json.decode(await load.send(session, "GET", place.path("agentruns")))
            writes = [load.build_writes(place, item, held=held) for item in listed["items"]]
            done = await load.raw_loop(session, writes)
            if not held:
                settling = await load.settle(session, place, runs)
                done = dataclasses.replace(done, running=done.seconds + settling)
    return done


def measure_operator(cluster: lab.Lab, runs: int) -> Sample:
    """The operator in a namespace of its own."""
    with cluster.namespace("burst") as place:
        bodies = [place.agent_run(f"run-{number}") for number in range(runs)]
        for body in bodies:
            place.touch_log(body)
        operator = place.start_operator()
        return asyncio.run(run_burst(place, operator, bodies))


async def run_burst(place: lab.Place, operator: playground.Process, bodies: list[rows.Json]) -> Sample:
    """Create the AgentRuns and wait until all Jobs are started and their pods run; the operator is warm then."""
    runs = [body["metadata"]["name"] for body in bodies]
    async with place.session() as session:
        await warm_up(place, session)
        async with sight.sightings(session, place.path("jobs"), sight.Job, sight.job_keys) as jobs:
            cpu = lab.cpu_seconds(operator.pid)
            began = time.monotonic()
            sent = await load.create_all(session, place, bodies)
            found = await jobs.wait(
                [key for run in runs for key in (sight.created(run), sight.started(run))],
                seconds=_ALL_SECONDS,
                what="all Jobs to be started",
            )
            cpu = lab.cpu_seconds(operator.pid) - cpu
        await load.settle(session, place, len(runs) + 1)
        running = time.monotonic() - began
    return Sample(
        running=running,
        created=max(found[sight.created(run)] for run in runs) - began,
        started=max(found[sight.started(run)] for run in runs) - began,
        to_job=[found[sight.created(run)] - sent[run] for run in runs],
        to_start=[found[sight.started(run)] - sent[run] for run in runs],
        cpu=cpu,
        rss=machine.rss(operator.pid),
        reopened=jobs.reopened,
    )


async def warm_up(place: lab.Place, session: aiohttp.ClientSession, name: str = _WARM) -> None:
    """One run that the operator has at work, so that what comes next is not its first."""
    body = place.agent_run(name)
    place.touch_log(body)
    async with sight.sightings(session, place.path("agentruns"), sight.Run, phase_keys) as seen:
        await load.create_all(session, place, [body])
        await seen.wait([f"{models.Phase.RUNNING} {name}"], seconds=60, what="the first run to be at work")


def phase_keys(event: sight.Event[sight.Run]) -> tuple[str, ...]:
    """Phase and name of an AgentRun, as one key."""
    return (f"{event.object.status.phase} {event.object.metadata.name}",)


def _say(text: str) -> None:
    print(f"bench: {PART}: {text}", file=sys.stderr, flush=True)
