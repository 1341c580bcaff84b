"""The first home of the operator: twelve companies with twelve agents, and each agent has a queue of five runs.

All are created at once, wave by wave: the first run of every agent in random order, then the second of every agent, and
so on. A run lasts two seconds and an agent has one at a time, so what can go wrong is the order within an agent, two
runs of one agent at once, or an agent that waits while others are served. All three are judged by what plain watches of
Jobs and pods show, not by what the operator says.

The baseline is the same Jobs by hand, in a namespace without an operator: for each agent a loop that creates Secret and
Job, waits until a watch shows that the Job is complete, and goes on with the next.
"""

import asyncio
import collections
import contextlib
import dataclasses
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from agentrun_operator import models, names
from hack.bench import gapless, lab, load, rows, sampling, sight, stages, transcripts, watch

PART = "home"
COMPANIES, AGENTS, QUEUE = 12, 12, 5
LIFE_SECONDS = 2

HELD, LIVE, OVER = "held", "live", "over"

_ALL_SECONDS = 300
_LOOK_SECONDS = 2.0
_MOST_POINTS = 400
_MOST_UNFAIR = 1.5
_FINISHED = frozenset({"Complete", "Failed"})
_ENDED_PHASES = frozenset({"Succeeded", "Failed"})
_OPERATOR, _BY_HAND = "operator", "by hand"

Json = dict[str, Any]


# --- what is seen ----------------------------------------------------------------------------------------------------


class _Meta(msgspec.Struct):
    uid: str
    labels: dict[str, str] = {}


class _Condition(msgspec.Struct):
    type: str
    status: str


class _Spec(msgspec.Struct):
    suspend: bool = False


class _Status(msgspec.Struct):
    phase: str = ""
    conditions: list[_Condition] = []


class Thing(msgspec.Struct):
    """What is looked at of a Job or a pod."""

    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _RunList(msgspec.Struct):
    items: list[sight.Run]


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
    """One event, in few words; ``state`` is HELD, LIVE or OVER. ``at`` is in monotonic seconds."""

    at: float
    uid: str
    agent: str
    run: str
    state: str


def read(event: sight.Event[Thing]) -> Sight:
    """What an event says of a Job (it is live once it is no longer held, until it is finished) or of a pod."""
    labels, status = event.object.metadata.labels, event.object.status
    finished = any(c.type in _FINISHED and c.status == "True" for c in status.conditions)
    if event.type == "DELETED" or finished or status.phase in _ENDED_PHASES:
        state = OVER
    else:
        state = HELD if event.object.spec.suspend else LIVE
    agent = f"{labels.get(names.LABEL_COMPANY_ID, '')}/{labels.get(names.LABEL_AGENT_ID, '')}"
    return Sight(event.at, event.object.metadata.uid, agent, labels.get(names.LABEL_RUN_ID, ""), state)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the events of one kind of object tell.

    ``order``: of each agent its runs as they became live. ``begun`` and ``ended``: when each run became live, and when
    it was over. ``at_once``: the most that one agent ever had live. ``live``: (moment, how many were live then).
    """

    order: Mapping[str, Sequence[str]]
    begun: Mapping[str, float]
    ended: Mapping[str, float]
    at_once: int
    live: Sequence[tuple[float, int]]


def tell(events: Sequence[Sight]) -> Story:
    """Put the events of one watch together, in their order."""
    order: collections.defaultdict[str, list[str]] = collections.defaultdict(list)
    alive: collections.defaultdict[str, set[str]] = collections.defaultdict(set)
    begun: dict[str, float] = {}
    ended: dict[str, float] = {}
    live: list[tuple[float, int]] = []
    at_once = 0
    for event in events:
        if event.state == LIVE:
            alive[event.agent].add(event.uid)
            at_once = max(at_once, len(alive[event.agent]))
            if event.run not in begun:
                begun[event.run] = event.at
                order[event.agent].append(event.run)
        elif event.state == OVER:
            alive[event.agent].discard(event.uid)
            if event.run in begun:
                ended.setdefault(event.run, event.at)
        live.append((event.at, sum(map(len, alive.values()))))
    return Story(order=order, begun=begun, ended=ended, at_once=at_once, live=live)


def pauses(story: Story) -> list[float]:
    """Seconds between the end of a run and the beginning of its agent's next one."""
    return [
        story.begun[after] - story.ended[before]
        for runs in story.order.values()
        for before, after in zip(runs, runs[1:], strict=False)
        if before in story.ended
    ]


def spans(story: Story, began: float) -> list[float]:
    """Of each agent the seconds until its whole queue was over."""
    return [max(story.ended.get(run, float("inf")) for run in runs) - began for runs in story.order.values()]


def thin(points: Sequence[tuple[float, int]], began: float) -> list[list[float]]:
    """At most some hundred points of a curve, with seconds from ``began``; the last one always."""
    step = max(1, len(points) // _MOST_POINTS)
    kept = [*points[::step], *points[-1:]]
    return [[round(at - began, 3), count] for at, count in kept]


# --- the two ways ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Took:
    """One of the two: when it began, what was seen of Jobs and of pods, and how the runs ended."""

    began: float
    jobs: Story
    pods: Story
    phases: Mapping[str, int]


def build_waves(place: lab.Place, *, life: float) -> list[list[Json]]:
    """The runs, wave by wave. Names are in order within an agent: times of creation have whole seconds only."""
    job = {
        "annotations": {
            stages.EXIT_AFTER: f"{round(life * 1000)}ms",
            stages.EXIT_MESSAGE: f"stdoutBytes={len(transcripts.successes()[0])} stderrBytes=0",
        }
    }
    shuffle = random.Random(1)  # noqa: S311 - replayable, guards nothing
    agents = [(f"company-{c:02}", f"agent-{c:02}-{a:02}") for c in range(COMPANIES) for a in range(AGENTS)]
    waves = []
    for number in range(1, QUEUE + 1):
        shuffle.shuffle(agents)
        waves.append(
            [
                place.agent_run(
                    f"{agent}-run-{number}", company=company, agent=agent, job=job, concurrencyPolicy="Queue"
                )
                for company, agent in agents
            ]
        )
    return waves


def measure(there: lab.Lab, options: Mapping[str, Any]) -> Json:
    """The part of the report. Option: ``life``, how many seconds a run lasts."""
    life = rows.option(options, "life", LIFE_SECONDS)
    with there.namespace("hand") as place:
        by_hand = asyncio.run(_by_hand(place, build_waves(place, life=life)))
    with there.namespace(PART) as place:
        operator = place.start_operator()
        before = sampling.look(operator.pid)
        ours = asyncio.run(_by_operator(place, build_waves(place, life=life)))
        after = sampling.look(operator.pid)
    raw = {
        "companies": COMPANIES,
        "agents": COMPANIES * AGENTS,
        "queue": QUEUE,
        "lifeSeconds": life,
        "operator": {"cpuSeconds": after.cpu - before.cpu, "seconds": after.at - before.at, "rssKB": after.rss},
        "ways": {_OPERATOR: _summarise(ours), _BY_HAND: _summarise(by_hand)},
    }
    return {"part": PART, "rows": build_rows(raw), "raw": raw}


async def _by_operator(place: lab.Place, waves: Sequence[Sequence[Json]]) -> _Took:
    text = transcripts.successes()[0]
    for body in (body for wave in waves for body in wave):
        place.touch_log(body).write_bytes(text)
    runs = [body["metadata"]["name"] for wave in waves for body in wave]
    async with place.session() as session, seeing(session, place) as seen:
        began = time.monotonic()
        for wave in waves:
            await load.create_all(session, place, wave)
        phases = await _wait_for_ends(session, place, len(runs))
        await seen.wait_until_over("jobs", len(runs))
    return _Took(began=began, jobs=tell(seen.events["jobs"]), pods=tell(seen.events["pods"]), phases=phases)


async def _by_hand(place: lab.Place, waves: Sequence[Sequence[Json]]) -> _Took:
    queues: collections.defaultdict[str, list[load.Writes]] = collections.defaultdict(list)
    for wave in waves:
        for body in wave:
            queues[body["spec"]["agent"]["id"]].append(load.build_writes(place, body))
    async with place.session() as session, seeing(session, place) as seen:

        async def serve(queue: list[load.Writes]) -> None:
            for writes in queue:
                await load.send(session, "POST", *writes.secret)
                await load.send(session, "POST", *writes.job)
                await seen.over.wait([writes.name], seconds=_ALL_SECONDS, what=f"the Job of {writes.name}")

        began = time.monotonic()
        await load.each(queues.values(), serve, in_flight=len(queues))
    jobs = tell(seen.events["jobs"])
    return _Took(began=began, jobs=jobs, pods=tell(seen.events["pods"]), phases={"Complete": len(jobs.ended)})


async def _wait_for_ends(session: aiohttp.ClientSession, place: lab.Place, count: int) -> Mapping[str, int]:
    """How many runs are in which phase when all have ended, by a list every few seconds."""
    deadline = time.monotonic() + _ALL_SECONDS
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        listed = msgspec.json.decode(await load.send(session, "GET", place.path("agentruns")), type=_RunList)
        phases = collections.Counter(run.status.phase for run in listed.items)
        if sum(found for phase, found in phases.items() if phase and models.Phase(phase).final) == count:
            return phases
        if time.monotonic() > deadline:
            raise watch.BenchError(f"not all of {count} runs have ended after {_ALL_SECONDS} s: {dict(phases)}")


class Seen:
    """What the watches of Jobs and pods have shown so far; ``over`` has the runs whose Job has finished."""

    def __init__(self) -> None:
        self.events: dict[str, list[Sight]] = {"jobs": [], "pods": []}
        self.over = sight.Sightings()

    async def follow(self, kind: str, events: AsyncIterator[sight.Event[Thing]]) -> None:
        """Take in what one of the watches shows. For ever."""
        try:
            async for event in events:
                seen = read(event)
                self.events[kind].append(seen)
                if kind == "jobs" and seen.state == OVER:
                    self.over.see(seen.run, seen.at)
        except (watch.BenchError, aiohttp.ClientError, OSError, ValueError) as e:
            self.over.fail(watch.BenchError(f"the watch of {kind} failed: {e!r}"))

    async def wait_until_over(self, kind: str, count: int) -> None:
        """The operator does not wait for the Job's own end, so some may be missing when all runs have ended."""
        runs = {seen.run for seen in self.events[kind]}
        if len(runs) != count:
            raise watch.BenchError(f"{len(runs)} of {count} runs had a Job")
        await self.over.wait(runs, seconds=_ALL_SECONDS, what="all Jobs to finish")


@contextlib.asynccontextmanager
async def seeing(session: aiohttp.ClientSession, place: lab.Place) -> AsyncIterator[Seen]:
    """Watch the Jobs and pods of a namespace from now on."""
    seen = Seen()
    async with contextlib.AsyncExitStack() as stack:
        for kind in seen.events:
            path = place.path(kind)
            since = await gapless.version(session, path)
            task = asyncio.create_task(seen.follow(kind, gapless.follow(session, path, Thing, since)))
            stack.callback(task.cancel)
        yield seen


# --- figures ---------------------------------------------------------------------------------------------------------


def _summarise(took: _Took) -> Json:
    finished = spans(took.jobs, took.began)
    wrong = {agent: list(runs) for agent, runs in took.jobs.order.items() if list(runs) != sorted(runs)}
    return {
        "agents": len(took.jobs.order),
        "runs": len(took.jobs.begun),
        "phases": dict(took.phases),
        "wrongOrder": len(wrong),
        "wrongOrders": wrong,
        "jobsAtOnce": took.jobs.at_once,
        "podsAtOnce": took.pods.at_once,
        "allSeconds": max(finished),
        "agentSeconds": rows.summary(finished),
        "pauseSeconds": rows.summary(pauses(took.jobs)),
        "waitSeconds": rows.summary([at - took.began for at in took.jobs.begun.values()]),
        "live": thin(took.jobs.live, took.began),
    }


def build_rows(raw: Mapping[str, Any]) -> list[Json]:
    """The rows of the table from what was measured."""
    ours, theirs, cost = raw["ways"][_OPERATOR], raw["ways"][_BY_HAND], raw["operator"]
    agents, runs = raw["agents"], raw["agents"] * raw["queue"]
    unfair = ours["agentSeconds"]["max"] / ours["agentSeconds"]["p50"]
    at_once = max(ours["jobsAtOnce"], ours["podsAtOnce"])
    succeeded = ours["phases"].get("Succeeded", 0)
    return [
        rows.row(
            f"agents whose runs were not started in the order of their creation, of {agents}",
            ours=ours["wrongOrder"],
            unit="agents",
            target="0",
            met=ours["wrongOrder"] == 0 and succeeded == runs,
            note=f"{succeeded} of {runs} runs Succeeded",
        ),
        rows.row(
            "most live Jobs or pods of one agent at any time",
            ours=at_once,
            unit="Jobs or pods",
            target="1",
            met=at_once == 1,
            note="by watches of Jobs and of pods",
        ),
        rows.row(
            "the slowest agent's queue over, over the median agent's",
            ours=ours["agentSeconds"]["max"],
            baseline=ours["agentSeconds"]["p50"],
            unit="s",
            target=f"no agent starved: <= {_MOST_UNFAIR} x",
            met=unfair <= _MOST_UNFAIR,
            note=f"by hand {theirs['agentSeconds']['max'] / theirs['agentSeconds']['p50']:.2f} x",
        ),
        rows.row(
            f"all {runs} runs over, over the same Jobs by hand",
            ours=ours["allSeconds"],
            baseline=theirs["allSeconds"],
            unit="s",
            note=f"{raw['queue'] * raw['lifeSeconds']:g} s are the runs themselves; the operator took "
            f"{100 * cost['cpuSeconds'] / cost['seconds']:.0f} % of one core",
        ),
        *(
            rows.row(
                f"pause between the end of a run's Job and the start of the agent's next one, {key}, over by hand",
                ours=ours["pauseSeconds"][key],
                baseline=theirs["pauseSeconds"][key],
                unit="s",
            )
            for key in ("p50", "p99")
        ),
    ]
