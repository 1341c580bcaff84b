"""The operator is killed while many runs are live: how long until the next one follows all of them again.

Followed means what can be seen from outside: a line that was appended to the run's log while no operator was there has
been read, and the run's status says what it said. Progress gathers before it is written, the longer the more runs
there are; here it may be written after its least interval (AGENTRUN_PROGRESS_WRITES_PER_SECOND), or the pause would be
measured and not the reading. When the new operator has first written to the run at all (``status.heartbeatTime``) is
given, too. The clock runs from the start of the new process, so it includes all that Python and the libraries take to
load.

The baseline is a plain client that lists AgentRuns, Jobs and pods and writes once to each AgentRun, 64 at a time: what
the API server and this machine need for the same reads and writes. It works while no operator does.

Meanwhile an ordinary client, which the API server may let wait in favour of others, asks for a small object every
20 ms.
"""

import asyncio
import contextlib
import dataclasses
import json
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from agentrun_operator import models
from hack import playground
from hack.bench import burst, lab, load, rows, sight, transcripts

PART = "restart"
RUNS = 1440

_TARGET_SECONDS, _TARGET_P99 = 15.0, 1.0
_ALL_SECONDS = 600
_QUIET_SECONDS = 8  # longer than progress gathers, so that the first operator has written all it had to
_PROBE_SECONDS = 5
_FIRST_LINES = 3
_PROBE_USER = "probe"
_WRITES_PER_SECOND = 1000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One restart; times in seconds. ``followed`` and ``beat`` are of each run, ``up`` of the operator's own word.

    ``quiet`` and ``meanwhile`` are what the probe's requests took before the kill and from the start until all runs
    were followed; ``failed`` of them had no answer. ``jobs`` and ``pods`` are how many were created; ``reopened`` how
    often the watch of AgentRuns was opened again.
    """

    followed: list[float]
    beat: list[float]
    up: float
    plain: float
    quiet: list[float]
    meanwhile: list[float]
    failed: int
    jobs: int
    pods: int
    reopened: int = 0


def measure(cluster: lab.Lab, options: Mapping[str, Any]) -> rows.Json:
    """The part of the report; ``runs`` and ``repeat`` (how often it is killed) are its options."""
    runs, repeat = rows.option(options, "runs", RUNS), rows.option(options, "repeat", 1)
    with cluster.namespace("restart") as place:
        samples = asyncio.run(_measure(place, runs, repeat))
    return {
        "part": PART,
        "rows": build_rows(runs, samples),
        "raw": {
            "runs": runs,
            "repeat": repeat,
            "samples": [
                {
                    "followed": rows.summary(one.followed),
                    "heartbeat": rows.summary(one.beat),
                    "upSeconds": one.up,
                    "plainClientSeconds": one.plain,
                    "probeBefore": rows.summary(one.quiet),
                    "probeMeanwhile": rows.summary(one.meanwhile),
                    "probeFailed": one.failed,
                    "jobsCreated": one.jobs,
                    "podsCreated": one.pods,
                    "watchReopened": one.reopened,
                }
                for one in samples
            ],
        },
    }


def build_rows(runs: int, samples: Sequence[Sample]) -> list[rows.Json]:
    """The rows of the table from what was measured."""
    followed = [max(one.followed) for one in samples]
    slow = rows.median([rows.percentile(one.meanwhile, 99) for one in samples])
    jobs = sum(one.jobs for one in samples)
    failed = sum(one.failed for one in samples)
    return [
        rows.row(
            f"kill -9 with {runs} live runs: new process → all followed again, over a plain client's reads and writes",
            ours=rows.median(followed),
            baseline=rows.median([one.plain for one in samples]),
            unit="s",
            target=f"<= {_TARGET_SECONDS:.0f} s",
            met=max(followed) <= _TARGET_SECONDS,
            note="; ".join(filter(None, [rows.spread(followed), f"up to {_WRITES_PER_SECOND} progress writes/s"])),
        ),
        rows.row(
            f"kill -9 with {runs} live runs: new process → heartbeat of all renewed",
            ours=rows.median([max(one.beat) for one in samples]),
            baseline=rows.median([one.plain for one in samples]),
            unit="s",
        ),
        rows.row(
            "Jobs created meanwhile",
            ours=jobs,
            unit="Jobs",
            target="0",
            met=jobs == 0,
            note=f"{sum(one.pods for one in samples)} pods",
        ),
        rows.row(
            "API server's p99 meanwhile, for a small GET every 20 ms, over the p99 before",
            ours=slow * 1000,
            baseline=rows.median([rows.percentile(one.quiet, 99) for one in samples]) * 1000,
            unit="ms",
            target=f"< {_TARGET_P99:.0f} s",
            met=slow < _TARGET_P99 and not failed,
            note=f"{failed} without an answer" if failed else "",
        ),
    ]


async def _measure(place: lab.Place, runs: int, repeat: int) -> list[Sample]:
    bodies = [place.agent_run(f"run-{number}") for number in range(runs)]
    logs = _Logs(place, bodies)
    samples = []
    operator = await asyncio.to_thread(_start, place, wait=True)
    async with place.session() as session:
        await _bring_to_life(session, place, bodies, logs)
        for number in range(repeat):
            await asyncio.sleep(_QUIET_SECONDS)
            async with _probing(place) as probe:
                await asyncio.sleep(_PROBE_SECONDS)
                quiet = [took for _, took in probe.took]
                operator.send(signal.SIGKILL)
                samples.append(await _come_back(session, place, logs, (probe, quiet)))
            operator = place.operators[-1]
            one = samples[-1]
            print(
                f"bench: {PART}: {number + 1} of {repeat}: up after {one.up:.1f} s, all followed after "
                f"{max(one.followed):.1f} s, plain client {one.plain:.1f} s",
                file=sys.stderr,
                flush=True,
            )
    return samples


def _start(place: lab.Place, *, wait: bool) -> playground.Process:
    return place.start_operator(wait=wait, progress_writes_per_second=_WRITES_PER_SECOND)


class _Logs:
    """The logs of all runs, the session that each of them spoke of last, and who has read that."""

    def __init__(self, place: lab.Place, bodies: Sequence[lab.Json]) -> None:
        self._files = {body["metadata"]["name"]: place.touch_log(body) for body in bodies}
        self._sessions: dict[str, str] = {}

    @property
    def names(self) -> list[str]:
        """Of the AgentRuns."""
        return list(self._files)

    def say(self, *lines: bytes) -> None:
        """Append lines of recorded runs to every log, as those of a session that it did not have before."""
        events = [json.loads(line) for line in lines]
        for name, file in self._files.items():
            session = self._sessions[name] = str(uuid.uuid4())
            said = (json.dumps({**event, "session_id": session}, ensure_ascii=False) for event in events)
            with file.open("a") as log:
                log.write("".join(f"{line}\n" for line in said))

    def keys(self) -> list[str]:
        """All of what ``read`` can return now."""
        return list(self._sessions.values())

    def read(self, event: sight.Event[sight.Run]) -> tuple[str, ...]:
        """A key if the status has the session that the log spoke of last."""
        session = event.object.status.session.id
        return (session,) if session and session == self._sessions.get(event.object.metadata.name) else ()


async def _bring_to_life(
    session: aiohttp.ClientSession, place: lab.Place, bodies: Sequence[lab.Json], logs: _Logs
) -> None:
    """Have all runs at work and their logs read."""
    async with (
        sight.sightings(session, place.path("agentruns"), sight.Run, burst.phase_keys) as phases,
        sight.sightings(session, place.path("agentruns"), sight.Run, logs.read) as read,
    ):
        await load.create_all(session, place, bodies)
        running = [f"{models.Phase.RUNNING} {body['metadata']['name']}" for body in bodies]
        await phases.wait(running, seconds=_ALL_SECONDS, what="all runs to be at work")
        await asyncio.to_thread(logs.say, transcripts.opening(), *transcripts.middle()[:_FIRST_LINES])
        await read.wait(logs.keys(), seconds=_ALL_SECONDS, what="all logs to be read")


@contextlib.asynccontextmanager
async def _probing(place: lab.Place) -> AsyncIterator[sight.Probe]:
    """A probe with the rights of an ordinary service account."""
    meta = {"name": _PROBE_USER, "namespace": place.namespace}
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    place.lab.kubectl.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": _PROBE_USER},
            "subjects": [{"kind": "ServiceAccount", **meta}],
        },
    )
    token = place.lab.kubectl.run("create", "token", _PROBE_USER, "-n", place.namespace).strip()
    async with (
        place.lab.session(token) as session,
        sight.probe(session, place.path("configmaps", "kube-root-ca.crt")) as probe,
    ):
        yield probe


async def _come_back(
    session: aiohttp.ClientSession, place: lab.Place, logs: _Logs, before: tuple[sight.Probe, list[float]]
) -> Sample:
    """No operator is there. Measure the plain client, let the logs grow, start an operator, wait until it has all."""
    probe, quiet = before
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def beats(event: sight.Event[sight.Run]) -> tuple[str, ...]:
        return (event.object.metadata.name,) if event.object.status.heartbeat_time >= since else ()

    async with (
        sight.sightings(session, place.path("agentruns"), sight.Run, logs.read) as read,
        sight.sightings(session, place.path("agentruns"), sight.Run, beats) as beating,
        sight.sightings(session, place.path("jobs"), sight.Job, _added) as jobs,
        sight.sightings(session, place.path("pods"), sight.Run, _added) as pods,
    ):
        plain = await _plain_client(session, place)
        await asyncio.to_thread(logs.say, transcripts.opening())
        began = time.monotonic()
        operator = _start(place, wait=False)
        up = asyncio.create_task(asyncio.to_thread(_wait_until_up, place, operator))
        found = await read.wait(logs.keys(), seconds=_ALL_SECONDS, what="all runs to be followed again")
        beat = await beating.wait(logs.names, seconds=_ALL_SECONDS, what="all heartbeats")
        meanwhile = [took for due, took in probe.took if due >= began]
        return Sample(
            followed=[at - began for at in found.values()],
            beat=[at - began for at in beat.values()],
            up=await up - began,
            plain=plain,
            quiet=quiet,
            meanwhile=meanwhile,
            failed=probe.failed,
            jobs=len(jobs.first),
            pods=len(pods.first),
            reopened=read.reopened,
        )


def _wait_until_up(place: lab.Place, operator: playground.Process) -> float:
    place.wait_until_up(operator)
    return time.monotonic()


def _added(event: sight.Event[Any]) -> tuple[str, ...]:
    return (event.object.metadata.name,) if event.type == "ADDED" else ()


async def _plain_client(session: aiohttp.ClientSession, place: lab.Place) -> float:
    """Seconds for lists of AgentRuns, Jobs and pods and one write to each AgentRun."""
    began = time.monotonic()
    lists = [await load.send(session, "GET", place.path(kind)) for kind in ("agentruns", "jobs", "pods")]
    runs = [item["metadata"]["name"] for item in msgspec.json.decode(lists[0])["items"]]
    patch = msgspec.json.encode({"metadata": {"annotations": {"bench.example/touched": str(began)}}})

    async def touch(name: str) -> None:
        await load.send(session, "PATCH", place.path("agentruns", name), patch, kind=load.MERGE_PATCH)

    await load.each(runs, touch)
    return time.monotonic() - began
