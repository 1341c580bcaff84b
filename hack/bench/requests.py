"""How many API requests a run costs, by verb and resource, counted by the API server itself: its audit log.

Some runs are created together, say the lines of a recorded run while they are live, and end with exit code 0: first so
soon that no progress is worth a write, then later. In the middle of the longer lives nothing begins and nothing ends:
what the operator reads in that window, it polls. All requests of the operator's service account between the first
AgentRun and the removal of the last finalizer count, whatever they were for; what it asked for at its own start does
not.
"""

import asyncio
import collections
import dataclasses
import datetime
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from agentrun_operator import models
from hack.bench import burst, lab, load, rows, sight, stages, transcripts

PART = "writes"
RUNS = 20
SHORT_SECONDS, LIVE_SECONDS = 2, 30

USER = "system:serviceaccount:agentrun-system:agentrun-operator"
READS = frozenset({"get", "list", "watch"})

_TARGET_WRITES = 9
_ALL_SECONDS = 120
_BEGUN_SECONDS = 8.0  # the first write of progress is over by then
_BEFORE_END_SECONDS = 3.0
_AFTER_SECONDS = 5.0


class _User(msgspec.Struct):
    username: str = ""


class _Object(msgspec.Struct):
    resource: str = ""
    subresource: str = ""
    namespace: str = ""


class _Line(msgspec.Struct, rename="camel"):
    stage: str
    verb: str
    user: _User
    request_received_timestamp: datetime.datetime
    object_ref: _Object | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as the audit log tells it. ``what`` is its resource, with its subresource after a slash."""

    at: datetime.datetime
    verb: str
    what: str

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing."""
        return self.verb in READS


def parse_line(line: bytes, *, user: str = USER) -> Request | None:
    """One line of an audit log; None if it is another user's, or the second word about one request.

    A watch is told when it begins, everything else when it is over. Raises ValueError for what is no such line.
    """
    try:
        entry = msgspec.json.decode(line, type=_Line)
    except msgspec.MsgspecError as e:
        raise ValueError(f"no line of an audit log: {e}") from e
    counts = "ResponseStarted" if entry.verb == "watch" else "ResponseComplete"
    if entry.user.username != user or entry.stage != counts:
        return None
    there = entry.object_ref
    what = "/".join(filter(None, (there.resource, there.subresource))) if there else "(no resource)"
    return Request(at=entry.request_received_timestamp, verb=entry.verb, what=what)


def read(file: pathlib.Path, *, since: datetime.datetime, until: datetime.datetime) -> list[Request]:
    """The operator's requests that the API server received in that time."""
    with file.open("rb") as lines:
        found = (parse_line(line) for line in lines if USER.encode() in line)
        return [request for request in found if request is not None and since <= request.at < until]


def tally(requests: Iterable[Request], runs: int) -> dict[str, float]:
    """How many requests of each kind there were for each run, the most frequent first."""
    counted = collections.Counter(f"{request.verb} {request.what}" for request in requests)
    return {kind: number / runs for kind, number in counted.most_common()}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Times of the clock: before the first AgentRun, all live and settled, before the first ends, all done."""

    begun: datetime.datetime
    live: datetime.datetime
    ending: datetime.datetime
    done: datetime.datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What some runs have cost that lived so many ``seconds``; ``quiet``: within ``window`` seconds of their middle."""

    runs: int
    seconds: float
    requests: list[Request]
    quiet: list[Request]
    window: float


def measure(cluster: lab.Lab, options: Mapping[str, Any]) -> rows.Json:
    """The part of the report; ``runs`` and ``seconds`` (how long the longer ones live) are its options."""
    runs, seconds = rows.option(options, "runs", RUNS), rows.option(options, "seconds", LIVE_SECONDS)
    with cluster.namespace("writes") as place:
        place.start_operator()
        moments = asyncio.run(_play_all(place, runs, (SHORT_SECONDS, seconds)))
    groups = [_count(cluster.audit_log, one, runs, lived) for one, lived in moments]
    return {
        "part": PART,
        "rows": build_rows(*groups),
        "raw": {
            "runs": runs,
            "groups": [
                {
                    "liveSeconds": group.seconds,
                    "perRun": tally(group.requests, runs),
                    "quietSeconds": group.window,
                    "perRunWhileQuiet": tally(group.quiet, runs),
                }
                for group in groups
            ],
        },
    }


def _count(log: pathlib.Path, moments: Moments, runs: int, seconds: float) -> Group:
    found = read(log, since=moments.begun, until=moments.done)
    return Group(
        runs=runs,
        seconds=seconds,
        requests=found,
        quiet=[request for request in found if moments.live <= request.at < moments.ending],
        window=max(0.0, (moments.ending - moments.live).total_seconds()),
    )


def build_rows(short: Group, long: Group) -> list[rows.Json]:
    """The rows of the table from runs so short that no progress is written, and from longer ones."""
    writes = [[request for request in group.requests if not request.is_read] for group in (short, long)]
    each = [len(made) / group.runs for made, group in zip(writes, (short, long), strict=True)]
    events = sum(request.what == "events" for request in writes[0]) / short.runs
    polled = [request for request in long.quiet if request.is_read]
    reads = [request for request in short.requests if request.is_read]
    per_minute = 60 / long.window / long.runs if long.window else 0.0
    return [
        rows.row(
            f"writes of a run that succeeds after {short.seconds:.0f} s, over the raw loop's three",
            ours=each[0],
            baseline=3,
            unit="requests",
            target=f"<= {_TARGET_WRITES}",
            met=each[0] <= _TARGET_WRITES,
            note=_in_words(tally(writes[0], short.runs)),
        ),
        rows.row(
            "of these: Events, which only tell people",
            ours=events,
            unit="requests",
            note="none with AGENTRUN_EVENTS=false",
        ),
        rows.row(
            f"writes of a run that succeeds after {long.seconds:.0f} s, over the raw loop's three",
            ours=each[1],
            baseline=3,
            unit="requests",
            note=_in_words(tally(writes[1], long.runs)),
        ),
        rows.row(
            "progress of a live run whose log grows all the time, for each minute",
            ours=(len(long.quiet) - len(polled)) * per_minute,
            unit="requests",
            note="at most one in AGENTRUN_PROGRESS_INTERVAL_SECONDS",
        ),
        rows.row(
            "reads while runs are live and none begins or ends: polling",
            ours=len(polled) / long.runs,
            unit="requests",
            target="0",
            met=not polled,
            note=f"in {long.window:.0f} s; {_in_words(tally(polled, long.runs))}".rstrip("; "),
        ),
        rows.row(
            "reads of a run, all in all",
            ours=len(reads) / short.runs,
            unit="requests",
            note=_in_words(tally(reads, short.runs)),
        ),
    ]


async def _play_all(place: lab.Place, runs: int, lives: Sequence[float]) -> list[tuple[Moments, float]]:
    async with place.session() as session:
        await burst.warm_up(place, session)
        await asyncio.sleep(_BEGUN_SECONDS)  # nothing more is written for that one
        return [(await _play(session, place, runs, seconds), seconds) for seconds in lives]


async def _play(session: aiohttp.ClientSession, place: lab.Place, runs: int, seconds: float) -> Moments:
    """Runs that live so long, from their creation to their very end."""
    text = max(transcripts.successes(), key=len)
    lines = text.splitlines(keepends=True)
    job = {
        "annotations": {
            stages.EXIT_AFTER: f"{seconds:g}s",
            stages.EXIT_MESSAGE: f"stdoutBytes={len(text)} stderrBytes=0",
        }
    }
    bodies = [place.agent_run(f"run-{seconds:g}-{number}", job=job) for number in range(runs)]
    names = [body["metadata"]["name"] for body in bodies]
    files = [place.touch_log(body) for body in bodies]
    async with sight.sightings(session, place.path("agentruns"), sight.Run, burst.phase_keys) as seen:
        begun = _now()
        await load.create_all(session, place, bodies)
        at = time.monotonic()
        speech = asyncio.create_task(_speak(files, lines, seconds / 2 if seconds < _BEGUN_SECONDS else seconds - 3))
        await asyncio.sleep(min(seconds / 2, _BEGUN_SECONDS))
        live = _now()
        await asyncio.sleep(max(0.0, at + seconds - _BEFORE_END_SECONDS - time.monotonic()))
        ending = _now()
        await speech
        ended = [f"{models.Phase.SUCCEEDED} {name}" for name in names]
        await seen.wait(ended, seconds=seconds + _ALL_SECONDS, what="all runs to succeed")
    await _wait_until_let_go(session, place)
    return Moments(begun=begun, live=live, ending=ending, done=_now())


async def _speak(files: list[pathlib.Path], lines: list[bytes], seconds: float) -> None:
    """Append the lines to every log, evenly over the time."""
    for line in lines:
        for file in files:
            with file.open("ab") as log:  # noqa: ASYNC230 - a local file, and nothing else is measured by the clock here
                log.write(line)
        await asyncio.sleep(seconds / len(lines))


async def _wait_until_let_go(session: aiohttp.ClientSession, place: lab.Place) -> None:
    """Wait until the finalizers of all runs but the live one for warming up are gone, and a little longer."""
    for _ in range(_ALL_SECONDS):
        listed = msgspec.json.decode(await load.send(session, "GET", place.path("agentruns")))
        if sum(bool(item["metadata"].get("finalizers")) for item in listed["items"]) <= 1:
            break
        await asyncio.sleep(1)
    await asyncio.sleep(_AFTER_SECONDS)


def _in_words(counted: Mapping[str, float]) -> str:
    return ", ".join(f"{number:.2g} {kind}" for kind, number in counted.items())


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
