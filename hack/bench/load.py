"""Load: many requests at once, and the three writes that start a run, made without any operator.

All moments are of one monotonic clock, in one process: when a request was about to be sent, when its answer was here.
"""

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp
import msgspec

from agentrun_operator import entry, manifest, names
from hack.bench import lab
from hack.bench.sight import JSON, Event, Sightings, send, sightings, watch
from hack.bench.watch import BenchError

__all__ = [
    "IN_FLIGHT",
    "JSON",
    "JSON_PATCH",
    "MERGE_PATCH",
    "BenchError",
    "Event",
    "RawRun",
    "Sightings",
    "Writes",
    "build_writes",
    "count",
    "create_all",
    "each",
    "raw_loop",
    "send",
    "settle",
    "sightings",
    "watch",
]

IN_FLIGHT = 64
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"

_LOOK_SECONDS = 0.5

T = TypeVar("T")


async def each(items: Iterable[T], do: Callable[[T], Awaitable[None]], *, in_flight: int = IN_FLIGHT) -> None:
    """Do something with every item, with that many under way at any time. Raises what was raised first."""
    left = iter(items)

    async def work() -> None:
        for item in left:
            await do(item)

    tasks = [asyncio.create_task(work()) for _ in range(in_flight)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def create_all(
    session: aiohttp.ClientSession, place: lab.Place, bodies: Sequence[lab.Json], *, in_flight: int = IN_FLIGHT
) -> dict[str, float]:
    """Create AgentRuns. Returns when the request for each was about to be sent, by its name."""
    sent: dict[str, float] = {}
    path = place.path("agentruns")
    ready = [(body["metadata"]["name"], msgspec.json.encode(body)) for body in bodies]

    async def create(item: tuple[str, bytes]) -> None:
        sent[item[0]] = time.monotonic()
        await send(session, "POST", path, item[1])

    await each(ready, create, in_flight=in_flight)
    return sent


async def count(session: aiohttp.ClientSession, path: str, *, selector: str = "") -> int:
    """How many objects a list has; ``selector`` is one of fields."""
    accept = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    query = {"fieldSelector": selector} if selector else {}
    async with session.get(path, params=query, headers=accept) as answer:
        answer.raise_for_status()
        return len(msgspec.json.decode(await answer.read(), type=_List).items or ())  # Go writes an empty list as null


async def settle(session: aiohttp.ClientSession, place: lab.Place, wanted: int, *, seconds: float = 300) -> float:
    """Wait until so many pods run and return how long that took: then the control plane is at rest again."""
    began = time.monotonic()
    while (running := await count(session, place.path("pods"), selector="status.phase=Running")) < wanted:
        if time.monotonic() - began > seconds:
            raise BenchError(f"{running} of {wanted} pods run after {seconds:.0f} s")
        await asyncio.sleep(_LOOK_SECONDS)
    return time.monotonic() - began


class _List(msgspec.Struct):
    items: list[msgspec.Raw] | None = None


# --- the raw loop ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """The three writes that start a run, ready to be sent: paths and bodies of Secret, Job and status."""

    name: str
    secret: tuple[str, bytes]
    job: tuple[str, bytes]
    status: tuple[str, bytes]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RawRun:
    """A raw loop: seconds from the first request to the last answer, and when the Job of each run was answered."""

    seconds: float
    jobs: Mapping[str, float]
    in_flight: int
    running: float = 0.0  # seconds from the first request until all pods run


_SCRIPTS = manifest.Scripts(run_agent=entry.read("run-agent.sh"), bundle=entry.read("bundle.sh"))


def build_writes(place: lab.Place, body: Mapping[str, Any], *, held: bool = False) -> Writes:
    """What the operator would create for an AgentRun, and a status like its first one.

    The Job is the operator's, down to its labels; unless it is to be ``held``, it may start at once, as a controller
    would have it that knows no agents. An AgentRun without a uid is nobody's owner.
    """
    run = place.parse(body)
    template = manifest.Template(text=run.spec.prompt.text or "", source="spec.prompt.text")
    made = manifest.build(run, place.config, template=template, scripts=_SCRIPTS)
    secret, job = dict(made.secret), dict(made.job)
    if not body["metadata"].get("uid"):
        secret["metadata"].pop("ownerReferences")
        job["metadata"].pop("ownerReferences")
    if not held:
        job["metadata"]["annotations"].pop(names.ANNOTATION_HELD)
        job["spec"]["suspend"] = False
    patch = [{"op": "add", "path": "/status", "value": _status(run.metadata.name, job, secret)}]
    return Writes(
        name=run.metadata.name,
        secret=(place.path("secrets"), msgspec.json.encode(secret)),
        job=(place.path("jobs"), msgspec.json.encode(job)),
        status=(place.path("agentruns", run.metadata.name, "status"), msgspec.json.encode(patch)),
    )


def _status(run: str, job: lab.Json, secret: lab.Json) -> lab.Json:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    conditions = [
        {"type": kind, "status": state, "reason": reason, "message": "", "lastTransitionTime": now}
        for kind, state, reason in (
            ("JobCreated", "True", "Created"),
            ("PodReady", "False", "NoPod"),
            ("LogStreaming", "False", "NotStarted"),
            ("Completed", "False", "InProgress"),
        )
    ]
    return {
        "phase": "Pending",
        "reason": "NoPod",
        "message": f"The Job of {run} is there; its pod is not.",
        "conditions": conditions,
        "observedGeneration": 1,
        "attempt": 0,
        "job": {"name": job["metadata"]["name"], "uid": run},
        "logPath": job["metadata"]["annotations"][names.ANNOTATION_LOG_PATH],
        "promptSecretName": secret["metadata"]["name"],
        "startTime": now,
        "heartbeatTime": now,
    }


async def raw_loop(session: aiohttp.ClientSession, ready: Sequence[Writes], *, in_flight: int = IN_FLIGHT) -> RawRun:
    """Secret, Job and status of each run, one after the other, many runs at a time; the AgentRuns are there before."""
    jobs: dict[str, float] = {}
    began = time.monotonic()

    async def write(item: Writes) -> None:
        await send(session, "POST", *item.secret)
        await send(session, "POST", *item.job)
        jobs[item.name] = time.monotonic() - began
        await send(session, "PATCH", *item.status, kind=JSON_PATCH)

    await each(ready, write, in_flight=in_flight)
    return RawRun(seconds=time.monotonic() - began, jobs=jobs, in_flight=in_flight)
