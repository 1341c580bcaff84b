"""Sight: watches that note when something was first seen, and a probe that notes how long the API server takes.

All moments are of the monotonic clock: when the bytes of an event were here, when a request was due. The API server
ends a watch whose client does not keep up for a moment, which on a machine full of work happens to anybody. It is
opened again behind the last event that was seen, so none is lost, and events of that moment are seen later, never
earlier. How often that happened stands beside the figures. If the server does not know that event any more, whoever
waits learns it.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Any, Generic, TypeVar

import aiohttp
import msgspec

from agentrun_operator import names
from hack.bench.watch import BenchError

JSON = "application/json"

_WATCH_SECONDS = 3500  # longer than any measurement
_PROBES_AT_ONCE = 200

T = TypeVar("T")


async def send(
    session: aiohttp.ClientSession, method: str, path: str, body: bytes | None = None, *, kind: str = JSON
) -> bytes:
    """The answer to one request. Raises BenchError for an error status, aiohttp.ClientError."""
    async with session.request(method, path, data=body, headers={"Content-Type": kind}) as answer:
        content = await answer.read()
        if answer.status >= 400:  # noqa: PLR2004 - where HTTP's refusals begin
            raise BenchError(f"{method} {path}: HTTP {answer.status}: {content[:500].decode(errors='replace')}")
        return content


# --- watches --------------------------------------------------------------------------------------------------------


class Metadata(msgspec.Struct):
    """What is looked at of any object's metadata."""

    name: str
    annotations: dict[str, str] = {}


class JobSpec(msgspec.Struct):
    """What is looked at of a Job's spec."""

    suspend: bool = False


class Job(msgspec.Struct):
    """What is looked at of a Job."""

    metadata: Metadata
    spec: JobSpec


class RunSession(msgspec.Struct):
    """What is looked at of an AgentRun's session."""

    id: str = ""


class RunStatus(msgspec.Struct, rename="camel"):
    """What is looked at of an AgentRun's status."""

    phase: str = ""
    heartbeat_time: str = ""
    session: RunSession = msgspec.field(default_factory=RunSession)


class Run(msgspec.Struct):
    """What is looked at of an AgentRun."""

    metadata: Metadata
    status: RunStatus = msgspec.field(default_factory=RunStatus)


@dataclasses.dataclass(frozen=True, slots=True)
class Event(Generic[T]):
    """One event of a watch, and when its bytes were here."""

    at: float
    type: str
    object: T


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Version(msgspec.Struct):
    version: str = msgspec.field(name="resourceVersion")


class _Versioned(msgspec.Struct):
    metadata: _Version


class Watch(Generic[T]):
    """The events of one list; ``reopened`` says how often the server had ended the watch."""

    def __init__(self, session: aiohttp.ClientSession, path: str, shape: type[T], since: str) -> None:
        self.reopened = 0
        self._session = session
        self._path = path
        self._objects = msgspec.json.Decoder(shape)
        self._since = since
        self._answer: aiohttp.ClientResponse | None = None

    async def open(self) -> aiohttp.ClientResponse:
        """Ask for what comes behind the last event that was seen. Raises BenchError if the server refuses."""
        query = {"watch": "1", "resourceVersion": self._since, "timeoutSeconds": str(_WATCH_SECONDS)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
        self._answer = await self._session.get(self._path, params=query, timeout=timeout)
        if self._answer.status >= 400:  # noqa: PLR2004 - as above
            raise BenchError(f"watch of {self._path}: HTTP {self._answer.status}")
        return self._answer

    def close(self) -> None:
        """Let go of the connection."""
        if self._answer is not None:
            self._answer.close()

    async def __aiter__(self) -> AsyncIterator[Event[T]]:
        while True:
            answer = self._answer or await self.open()
            with contextlib.suppress(aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
                async for at, text in _lines(answer.content):
                    yield self._read(at, text)
            self._answer = None
            self.reopened += 1

    def _read(self, at: float, text: bytes) -> Event[T]:
        line = msgspec.json.decode(text, type=_Line)
        if line.type == "ERROR":
            raise BenchError(f"the watch of {self._path} broke: {bytes(line.object)[:300].decode(errors='replace')}")
        self._since = msgspec.json.decode(line.object, type=_Versioned).metadata.version
        return Event(at, line.type, self._objects.decode(line.object))


@contextlib.asynccontextmanager
async def watch(session: aiohttp.ClientSession, path: str, shape: type[T]) -> AsyncIterator[Watch[T]]:
    """Watch a list from now on; the watch is open when the context is entered. ``shape``: dict, or a Struct of above.

    It ends never, and raises BenchError when an event is lost.
    """
    listed = msgspec.json.decode(await send(session, "GET", f"{path}?limit=1"), type=_Versioned)
    events = Watch(session, path, shape, listed.metadata.version)
    await events.open()
    try:
        yield events
    finally:
        events.close()


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[tuple[float, bytes]]:
    rest = b""
    async for chunk in content.iter_any():
        at = time.monotonic()
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield at, line


class Sightings:
    """When each of some things was first seen, by a key of the caller's; ``first`` may be read at any time."""

    def __init__(self, events: Watch[Any] | None = None) -> None:
        self.first: dict[str, float] = {}
        self._events = events
        self._waiting: list[tuple[set[str], asyncio.Future[None]]] = []
        self._broken: BaseException | None = None

    @property
    def reopened(self) -> int:
        """How often the watch behind it had to be opened again."""
        return self._events.reopened if self._events else 0

    def see(self, key: str, at: float) -> None:
        """Something was there."""
        if key in self.first:
            return
        self.first[key] = at
        for missing, done in self._waiting:
            missing.discard(key)
            if not missing and not done.done():
                done.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Nothing more will be seen."""
        self._broken = error
        for _, done in self._waiting:
            if not done.done():
                done.set_exception(error)

    async def wait(self, keys: Collection[str], *, seconds: float, what: str) -> dict[str, float]:
        """When each of these was first seen; waits for all. Raises BenchError naming ``what`` it was."""
        missing = set(keys) - self.first.keys()
        if self._broken is not None:
            raise self._broken
        if missing:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiter = missing, done
            self._waiting.append(waiter)
            try:
                async with asyncio.timeout(seconds):
                    await done
            except TimeoutError:
                text = f"waited {seconds:.0f} s for {what}; {len(missing)} of {len(keys)} were not seen"
                raise BenchError(text) from None
            finally:
                self._waiting.remove(waiter)
        return {key: self.first[key] for key in keys}


@contextlib.asynccontextmanager
async def sightings(
    session: aiohttp.ClientSession, path: str, shape: type[T], keys: Callable[[Event[T]], Iterable[str]]
) -> AsyncIterator[Sightings]:
    """Watch a list from now on and note when what ``keys`` makes of an event was first seen."""
    async with watch(session, path, shape) as events:
        seen = Sightings(events)
        task = asyncio.create_task(_follow(events, seen, keys))
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _follow(events: Watch[T], seen: Sightings, keys: Callable[[Event[T]], Iterable[str]]) -> None:
    try:
        async for event in events:
            for key in keys(event):
                seen.see(key, event.at)
    except (BenchError, aiohttp.ClientError, OSError, ValueError) as e:
        seen.fail(e if isinstance(e, BenchError) else BenchError(f"a watch broke: {e!r}"))


def created(run: str) -> str:
    """The key under which ``job_keys`` notes the Job of an AgentRun."""
    return f"created {run}"


def started(run: str) -> str:
    """The key under which ``job_keys`` notes that this Job is not held any more (docs/adr/0009)."""
    return f"started {run}"


def job_keys(event: Event[Job]) -> tuple[str, ...]:
    """What an event says of a Job: that it is there, and whether it may have a pod."""
    run = event.object.metadata.annotations.get(names.ANNOTATION_RUN, "")
    return (created(run),) if event.object.spec.suspend else (created(run), started(run))


# --- a probe ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Probe:
    """How a small request fared: (when it was due, seconds until the answer) of each, and how many had no answer."""

    took: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    failed: int = 0


@contextlib.asynccontextmanager
async def probe(session: aiohttp.ClientSession, path: str, *, every: float = 0.02) -> AsyncIterator[Probe]:
    """Ask for one small object again and again.

    A request is sent when it is due, whether those before it were answered or not, so that a server that stands still
    is not asked less just then. Those under way at the end are waited for.
    """
    found = Probe()
    under_way: set[asyncio.Task[None]] = set()

    async def ask(due: float) -> None:
        try:
            await send(session, "GET", path)
            found.took.append((due, time.monotonic() - due))
        except (BenchError, aiohttp.ClientError, OSError):
            found.failed += 1

    async def ask_forever() -> None:
        due = time.monotonic()
        while True:
            if len(under_way) < _PROBES_AT_ONCE:
                task = asyncio.create_task(ask(due))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            else:
                found.failed += 1
            due += every
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    asking = asyncio.create_task(ask_forever())
    try:
        yield found
    finally:
        asking.cancel()
        await asyncio.gather(asking, *under_way, return_exceptions=True)
