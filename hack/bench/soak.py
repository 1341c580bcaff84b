"""Runs come and go for a long time: what grows meanwhile in the operator, and what does not.

AgentRuns are created at a steady rate, each of an agent of its own. The log of each is that of a recorded run that went
well, with the owner file that its init container would write; its pod ends after some seconds; the AgentRun deletes
itself a few seconds after its success, and Kubernetes deletes its Job and pod. Nothing is left of it but what the
operator did not let go of: memory, threads, file descriptors, connections. Should the control plane not keep up, no
more are created than may exist at once; how many really came and went is told. The baseline of that rate is what the
same control plane does without an operator: Secret and Job by hand, a hundred runs at a time, for a minute before.

The verdict is by the second half of the time, because a process grows until it has done everything once: a straight
line through the samples must rise by less than twice their noise, or by less than one in a hundred.
"""

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import pathlib
import random
import sys
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from agentrun_operator import models, names
from hack import playground
from hack.bench import gapless, home, lab, load, rows, sampling, sight, stages, transcripts

PART = "soak"
DEFAULT_SECONDS = 1800
DEFAULT_RATE = 20.0

_EVERY_SECONDS = 10.0
_LIFE_MS = (1000, 5000)
_KEPT_SECONDS = 5
_MOST_AT_ONCE_SECONDS = 20  # of creations; a run that nothing holds up is there for about ten
_DRAIN_SECONDS = 120
_BY_HAND_SECONDS, _BY_HAND_AT_ONCE = 60.0, 100
_RANDOM = random.Random(1)  # noqa: S311 - replayable, guards nothing
_KIB, _MEGABYTE = 1024, 1_000_000
_COUNTED = ("agentruns", "jobs", "pods", "secrets")

Json = dict[str, Any]


class _Meta(msgspec.Struct, rename="camel"):
    remaining_item_count: int = 0


class _Page(msgspec.Struct):
    """One page of a list, of which only the number of objects is wanted."""

    metadata: _Meta
    items: list[msgspec.Raw]


class _Uid(msgspec.Struct):
    uid: str


class _Created(msgspec.Struct):
    metadata: _Uid


def measure(there: lab.Lab, options: Mapping[str, Any]) -> Json:
    """The part of the report. Options: ``seconds``, ``rate`` (runs for each second)."""
    seconds = rows.option(options, "seconds", DEFAULT_SECONDS)
    rate = rows.option(options, "rate", DEFAULT_RATE)
    with there.namespace("hand") as place:
        by_hand = asyncio.run(_churn_by_hand(place, min(seconds, _BY_HAND_SECONDS)))
    with there.namespace(PART) as place:
        operator = place.start_operator()
        churn = _Churn(place, rate=rate)
        samples = asyncio.run(_soak(churn, operator, seconds))
        left = sum(1 for file in place.volume.rglob("*") if file.is_file())
    raw = {
        "seconds": seconds,
        "rate": rate,
        "byHand": by_hand,
        "created": churn.created,
        "phases": dict(churn.phases),
        "heldBackSeconds": churn.held_back,
        "filesLeft": left,
        "samples": samples,
    }
    return {"part": PART, "rows": build_rows(raw), "raw": raw}


async def _churn_by_hand(place: lab.Place, seconds: float) -> float:
    """Runs for each second that come and go without an operator; those of the first third are for getting going."""
    done: list[float] = []
    async with place.session() as session, home.seeing(session, place) as seen:
        began = time.monotonic()

        async def live(number: int) -> None:
            text = transcripts.successes()[0]
            body = place.agent_run(f"hand-{number:06}", job=_job(text), retention={"jobTTLSecondsAfterFinished": 5})
            writes = load.build_writes(place, body)
            await load.send(session, "POST", *writes.secret)
            await load.send(session, "POST", *writes.job)
            await seen.over.wait([writes.name], seconds=_DRAIN_SECONDS, what=f"the Job of {writes.name}")
            secret = msgspec.json.decode(writes.secret[1])["metadata"]["name"]
            await load.send(session, "DELETE", place.path("secrets", secret))
            done.append(time.monotonic())

        numbers = itertools.takewhile(lambda _: time.monotonic() - began < seconds, itertools.count())
        await load.each(numbers, live, in_flight=_BY_HAND_AT_ONCE)
    begin, end = began + seconds / 3, began + seconds
    return sum(1 for at in done if begin <= at < end) / (end - begin)


def _job(text: bytes) -> Json:
    """A pod that prints ``text`` and lives for some seconds."""
    return {
        "annotations": {
            stages.EXIT_AFTER: f"{_RANDOM.randint(*_LIFE_MS)}ms",
            stages.EXIT_MESSAGE: f"stdoutBytes={len(text)} stderrBytes=0",
        }
    }


class _Churn:
    """Creates runs, and counts them by what became of them."""

    def __init__(self, place: lab.Place, *, rate: float) -> None:
        self.place = place
        self.created = 0
        self.phases: collections.Counter[str] = collections.Counter()
        self.gone = 0
        self.held_back = 0.0
        self._pause = 1 / rate
        self._most = round(rate * _MOST_AT_ONCE_SECONDS)
        self._ended: set[str] = set()
        self._texts = transcripts.successes()

    async def create(self, session: aiohttp.ClientSession) -> None:
        """Create runs at the rate. For ever."""
        under_way: set[asyncio.Task[None]] = set()
        due = time.monotonic()
        while True:
            if self.created - self.gone >= self._most:
                self.held_back += self._pause
                due = time.monotonic()
            else:
                task = asyncio.create_task(self._create_one(session, self.created))
                self.created += 1
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            due += self._pause
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def _create_one(self, session: aiohttp.ClientSession, number: int) -> None:
        text = self._texts[number % len(self._texts)]
        kept = {"runTTLSecondsAfterSucceeded": _KEPT_SECONDS, "runTTLSecondsAfterFailed": _KEPT_SECONDS}
        body = self.place.agent_run(f"soak-{number:06}", job=_job(text), retention=kept)
        answer = await load.send(session, "POST", self.place.path("agentruns"), msgspec.json.encode(body))
        uid = msgspec.json.decode(answer, type=_Created).metadata.uid
        self._write_log(body, uid, text)

    def _write_log(self, body: Json, uid: str, text: bytes) -> None:
        """What init container and agent write; the operator opens the log only when the pod has started."""
        log = self.place.touch_log(body)
        log.write_bytes(text)
        owner = str(log).removesuffix(names.LOG_SUFFIX) + names.OWNER_SUFFIX
        pathlib.Path(owner).write_text(f"{self.place.namespace} {uid} {models.LogRetention.WITH_RUN.value}\nstarted\n")

    async def count(self, session: aiohttp.ClientSession, since: str) -> None:
        """Watch how runs end and go. For ever."""
        async for event in gapless.follow(session, self.place.path("agentruns"), sight.Run, since):
            name, phase = event.object.metadata.name, event.object.status.phase
            if event.type == "DELETED":
                self.gone += 1
                self._ended.discard(name)
            elif phase and models.Phase(phase).final and name not in self._ended:
                self._ended.add(name)
                self.phases[phase] += 1


async def _soak(churn: _Churn, operator: playground.Process, seconds: float) -> list[Json]:
    """Samples of the operator and of what is there; at the end no run is left, or it is told."""
    async with churn.place.session() as session, contextlib.AsyncExitStack() as stack:
        since = await gapless.version(session, churn.place.path("agentruns"))
        counting = asyncio.create_task(churn.count(session, since))
        stack.callback(counting.cancel)
        creating = asyncio.create_task(churn.create(session))
        stack.callback(creating.cancel)
        began = time.monotonic()
        samples: list[Json] = []
        while time.monotonic() - began < seconds:
            await asyncio.sleep(_EVERY_SECONDS)
            samples.append(await _sample(churn, session, operator, began))
            _check(counting, creating)
            _say(samples[-1], len(samples))
        creating.cancel()
        for _ in range(int(_DRAIN_SECONDS / _EVERY_SECONDS)):
            await asyncio.sleep(_EVERY_SECONDS)
            samples.append({**await _sample(churn, session, operator, began), "after": True})
            if not samples[-1]["agentruns"]:
                break
    return samples


def _check(*tasks: asyncio.Task[None]) -> None:
    """Both go on for ever, so one that is done has failed."""
    for task in tasks:
        if task.done():
            task.result()


async def _sample(churn: _Churn, session: aiohttp.ClientSession, operator: playground.Process, began: float) -> Json:
    port = int(churn.place.lab.server.rsplit(":", 1)[1])
    try:
        seen = sampling.look(operator.pid, port=port)
    except OSError as e:
        raise load.BenchError(f"the operator has ended; see {churn.place.operator_log}") from e
    metrics = (await load.send(session, "GET", "/metrics")).decode()
    there = {kind: await _count(session, churn.place.path(kind)) for kind in _COUNTED}
    return {
        **dataclasses.asdict(seen),
        "at": round(seen.at - began, 2),
        "watches": sampling.total(metrics, "apiserver_longrunning_requests", verb="WATCH"),
        "created": churn.created,
        "ended": sum(churn.phases.values()),
        "gone": churn.gone,
        **there,
    }


async def _count(session: aiohttp.ClientSession, path: str) -> int:
    page = msgspec.json.decode(await load.send(session, "GET", f"{path}?limit=1"), type=_Page)
    return len(page.items) + page.metadata.remaining_item_count


def build_rows(raw: Mapping[str, Any]) -> list[Json]:
    """The rows of the table from what was measured."""
    samples = [sample for sample in raw["samples"] if not sample.get("after")]
    times = [sample["at"] for sample in samples]
    half = samples[len(samples) // 2]
    runs = samples[-1]["ended"] - half["ended"]
    table = [_rate_row(raw, samples)]
    for key, words, unit, scale in (
        ("rss", "RSS", "MB", _KIB / _MEGABYTE),
        ("threads", "threads", "threads", 1.0),
        ("files", "file descriptors", "descriptors", 1.0),
        ("connections", "connections to the API server", "connections", 1.0),
        ("watches", "watches that the API server serves to everybody", "watches", 1.0),
        ("agentruns", "AgentRuns that are there", "runs", 1.0),
    ):
        values = [sample[key] * scale for sample in samples]
        trend = sampling.trend(times, values)
        grown = (
            f"; {trend.growth / runs * _MEGABYTE:.0f} bytes for each of {runs} runs" if key == "rss" and runs else ""
        )
        table.append(
            rows.row(
                f"{words} at the end over the middle, on a straight line",
                ours=trend.end,
                baseline=trend.begin,
                unit=unit,
                target="" if key == "agentruns" else "no growth: a rise below twice its noise, or below 1 %",
                met=None if key == "agentruns" else trend.steady,
                note=f"rise {trend.growth:+.3g}, noise {trend.noise:.2g}{grown}",
            )
        )
    return table


def _rate_row(raw: Mapping[str, Any], samples: list[Json]) -> Json:
    seconds = samples[-1]["at"]
    failed = sum(count for phase, count in raw["phases"].items() if phase != models.Phase.SUCCEEDED)
    phases = ", ".join(f"{count} {phase}" for phase, count in sorted(raw["phases"].items()))
    cpu = 100 * (samples[-1]["cpu"] - samples[0]["cpu"]) / (seconds - samples[0]["at"])
    return rows.row(
        f"runs that came and went in {seconds / 60:.0f} minutes, over the same Jobs by hand",
        ours=samples[-1]["ended"] / seconds,
        baseline=raw["byHand"],
        unit="runs/s",
        target=f"{raw['rate']:g} runs/s, all of them Succeeded",
        met=samples[-1]["ended"] >= 0.95 * raw["rate"] * seconds and not failed,  # noqa: PLR2004 - those still under way
        note=f"{phases}; creation held back for {raw['heldBackSeconds']:.0f} s; the operator took {cpu:.0f} % of one "
        f"core; {raw['filesLeft']} files left on the volume",
    )


def _say(sample: Json, number: int) -> None:
    if number % 6 == 0:
        text = ", ".join(
            f"{sample[key]} {key}" for key in ("created", "ended", "agentruns", "pods", "threads", "files")
        )
        print(f"bench: {PART}: {sample['at']:.0f} s: {text}, {sample['rss'] // _KIB} MiB", file=sys.stderr, flush=True)
