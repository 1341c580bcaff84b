"""How long one run takes to get its Job, when the operator is warm (``one``) and when it has just started (``cold``).

``one``: runs one after the other, each of an agent of its own, from the moment that the AgentRun is created (the answer
to its request is there; the time from the request is told beside it) until a plain watch shows its Job. In turn with
two baselines in a namespace without an operator: Secret and Job written by hand, and a floor: a watch of AgentRuns in
this process that writes just these two as soon as it sees one, from bodies made ready before.

``cold``: the operator is started anew, is up and idle for some seconds, and then gets its first run. A plain watch of
AgentRuns, opened before the operator and as idle as the operator's own, shows the AgentRun with the same delay that
the API server has for everybody; what the Job comes later than that is the operator's. The Jobs' watch is kept busy by
Jobs of another namespace, so that it has no such delay of its own.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import msgspec

from hack.bench import burst, lab, load, rows, sight

RUNS = 100
STARTS = 5

# Between two runs: what is written after a Job's start is no part of the next one's time.
_SETTLE_SECONDS, _SETTLE_BY_HAND_SECONDS = 0.25, 0.1
_IDLE_SECONDS = 6.0
_BUSY_SECONDS = 0.1
_ONE_SECONDS = 30
_TARGET_P50, _TARGET_P99, _TARGET_COLD = 0.015, 0.050, 0.200

BY_HAND = "Secret and Job by hand"
FLOOR = "watch, then Secret and Job"
OURS, STARTED = "operator: Job created", "operator: Job started"
SENT = ", from the request"

# --- warm ------------------------------------------------------------------------------------------------------------


def measure_one(cluster: lab.Lab, options: Mapping[str, Any]) -> rows.Json:
    """The part ``one`` of the report; ``runs`` is its option."""
    runs = rows.option(options, "runs", RUNS)
    with cluster.namespace("one") as place, cluster.namespace("floor") as other:
        place.start_operator()
        took = asyncio.run(_measure_warm(place, other, runs))
    return {
        "part": "one",
        "rows": build_one_rows(took),
        "raw": {
            "runs": runs,
            "seconds": {name: rows.summary(values) for name, values in took.items()},
            "shown": [OURS, STARTED, BY_HAND, FLOOR],
            "all": took,
        },
    }


def build_one_rows(took: Mapping[str, list[float]]) -> list[rows.Json]:
    """The rows of the table; samples in seconds, by their names: OURS, STARTED, BY_HAND, FLOOR, some with SENT."""
    found = []
    for percent, limit in ((50, _TARGET_P50), (99, _TARGET_P99)):
        for what, name, over in (
            ("created → Job created", OURS, FLOOR),
            ("created → Job created", OURS, BY_HAND),
            ("sent → Job created", OURS + SENT, FLOOR + SENT),
            ("created → Job started", STARTED, FLOOR),
        ):
            ours, judged = rows.percentile(took[name], percent) * 1000, (name, over) == (OURS, FLOOR)
            found.append(
                rows.row(
                    f"one warm run: AgentRun {what}, p{percent}, over: {over.removesuffix(SENT)}",
                    ours=ours,
                    baseline=rows.percentile(took[over], percent) * 1000,
                    unit="ms",
                    target=f"<= {limit * 1000:.0f} ms" if judged else "",
                    met=ours <= limit * 1000 if judged else None,
                    note=f"{len(took[name])} runs" if judged else "",
                )
            )
    return found


async def _measure_warm(place: lab.Place, other: lab.Place, runs: int) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in (OURS, STARTED, BY_HAND, FLOOR, OURS + SENT, FLOOR + SENT)}
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(place.session())
        await burst.warm_up(place, session)
        ours = await stack.enter_async_context(_jobs(session, place))
        theirs = await stack.enter_async_context(_jobs(session, other))
        runs_seen = await stack.enter_async_context(
            sight.sightings(session, other.path("agentruns"), sight.Run, lambda event: (event.object.metadata.name,))
        )
        for number in range(runs + 1):  # the first turn is for connections and caches, and does not count
            one = await _by_operator(session, place, ours, f"run-{number}")
            one[BY_HAND] = await _by_hand(session, other, theirs, f"hand-{number}")
            one |= await _by_floor(session, other, (runs_seen, theirs), f"floor-{number}")
            for name, seconds in one.items() if number else ():
                took[name].append(seconds)
    return took


def _jobs(session: aiohttp.ClientSession, place: lab.Place) -> contextlib.AbstractAsyncContextManager[sight.Sightings]:
    return sight.sightings(session, place.path("jobs"), sight.Job, sight.job_keys)


async def _by_operator(
    session: aiohttp.ClientSession, place: lab.Place, jobs: sight.Sightings, name: str
) -> dict[str, float]:
    body = place.agent_run(name)
    place.touch_log(body)
    await asyncio.sleep(_SETTLE_SECONDS)
    sent, created = await _create(session, place, body)
    keys = (sight.created(name), sight.started(name))
    found = await jobs.wait(keys, seconds=_ONE_SECONDS, what=f"the Job of {name}")
    job, started = (found[key] for key in keys)
    return {OURS: job - created, STARTED: started - created, OURS + SENT: job - sent}


async def _create(session: aiohttp.ClientSession, place: lab.Place, body: lab.Json) -> tuple[float, float]:
    """Create the AgentRun. Returns when the request was about to be sent, and when it was answered."""
    text, sent = msgspec.json.encode(body), time.monotonic()
    await load.send(session, "POST", place.path("agentruns"), text)
    return sent, time.monotonic()


async def _by_hand(session: aiohttp.ClientSession, place: lab.Place, jobs: sight.Sightings, name: str) -> float:
    writes = load.build_writes(place, place.agent_run(name))
    await asyncio.sleep(_SETTLE_BY_HAND_SECONDS)
    began = time.monotonic()
    return await _write(session, writes, jobs) - began


async def _by_floor(
    session: aiohttp.ClientSession, place: lab.Place, seen: tuple[sight.Sightings, sight.Sightings], name: str
) -> dict[str, float]:
    body = place.agent_run(name)
    writes = load.build_writes(place, body)
    await asyncio.sleep(_SETTLE_BY_HAND_SECONDS)

    async def control() -> float:
        await seen[0].wait([name], seconds=_ONE_SECONDS, what=f"AgentRun {name}")
        return await _write(session, writes, seen[1])

    controlled = asyncio.create_task(control())
    sent, created = await _create(session, place, body)
    job = await controlled
    return {FLOOR: job - created, FLOOR + SENT: job - sent}


async def _write(session: aiohttp.ClientSession, writes: load.Writes, jobs: sight.Sightings) -> float:
    await load.send(session, "POST", *writes.secret)
    await load.send(session, "POST", *writes.job)
    key = sight.created(writes.name)
    return (await jobs.wait([key], seconds=_ONE_SECONDS, what=f"the Job of {writes.name}"))[key]


# --- cold ------------------------------------------------------------------------------------------------------------


def measure_cold(cluster: lab.Lab, options: Mapping[str, Any]) -> rows.Json:
    """The part ``cold`` of the report; ``repeat`` is its option: how often the operator is started."""
    starts = rows.option(options, "repeat", STARTS)
    samples = []
    with cluster.namespace("cold") as place, cluster.namespace("busy") as other:
        for number in range(starts):
            samples.append(asyncio.run(_measure_start(place, other, number)))
            one = samples[-1]
            _say(f"{number + 1} of {starts}: AgentRun seen {one['plain']:.3f} s, its Job {one['job']:.3f} s")
    return {"part": "cold", "rows": build_cold_rows(samples), "raw": {"starts": starts, "seconds": samples}}


def build_cold_rows(samples: list[dict[str, float]]) -> list[rows.Json]:
    """The rows of the table; of each start: ``plain``, ``job`` and ``started``, in seconds from the request."""
    own = [(one["job"] - one["plain"]) * 1000 for one in samples]
    held = [(one["started"] - one["plain"]) * 1000 for one in samples]
    plain = rows.median([one["plain"] * 1000 for one in samples])
    return [
        rows.row(
            "the first run after a start: Job created, beyond a plain watch's own delay",
            ours=rows.median(own),
            unit="ms",
            baseline=plain,
            target=f"<= {_TARGET_COLD * 1000:.0f} ms",
            met=rows.median(own) <= _TARGET_COLD * 1000,
            note=f"median; {rows.spread(own)}; the baseline is the plain watch's delay",
        ),
        rows.row(
            "the first run after a start: Job started, beyond a plain watch's own delay",
            ours=rows.median(held),
            unit="ms",
            baseline=plain,
        ),
    ]


async def _measure_start(place: lab.Place, other: lab.Place, number: int) -> dict[str, float]:
    name = f"run-{number}"
    body = place.agent_run(name)
    place.touch_log(body)
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(place.session())
        runs = await stack.enter_async_context(
            sight.sightings(session, place.path("agentruns"), sight.Run, lambda event: (event.object.metadata.name,))
        )
        jobs = await stack.enter_async_context(_jobs(session, place))
        operator = place.start_operator(wait=False)
        await asyncio.to_thread(place.wait_until_up, operator)
        await stack.enter_async_context(_busy_jobs(session, other, f"busy-{number}"))
        await asyncio.sleep(_IDLE_SECONDS)
        sent, _ = await _create(session, place, body)
        keys = (sight.created(name), sight.started(name))
        found = await jobs.wait(keys, seconds=_ONE_SECONDS, what=f"the Job of {name}")
        plain = (await runs.wait([name], seconds=_ONE_SECONDS, what=f"AgentRun {name}"))[name]
    await asyncio.to_thread(operator.stop)
    return {"plain": plain - sent, "job": found[keys[0]] - sent, "started": found[keys[1]] - sent}


@contextlib.asynccontextmanager
async def _busy_jobs(session: aiohttp.ClientSession, place: lab.Place, prefix: str) -> AsyncIterator[None]:
    """A held Job every tenth of a second, for as long as the context lasts."""

    async def create() -> None:
        number = 0
        while True:
            number += 1
            writes = load.build_writes(place, place.agent_run(f"{prefix}-{number}"), held=True)
            await load.send(session, "POST", *writes.job)
            await asyncio.sleep(_BUSY_SECONDS)

    task = asyncio.create_task(create())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _say(text: str) -> None:
    print(f"bench: cold: {text}", file=sys.stderr, flush=True)
