"""Mirror all objects of one kind: list them, then watch from there, and list anew when the watch has a gap.

What kopf and client libraries offer for this shows each object by itself, in no order between objects. Here the order
of the API server is kept, and so one thing more is known: once a change has been shown, so has everything before it.
The gate of a run's start rests on that (docs/adr/0012).

The rules are those of every informer: a list without a gap before its watch, bookmarks so that a quiet watch can go on
where it was, a list anew after "too old", and an end to a connection that is silent for long.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import structlog

from agentrun_operator import errors

_log = structlog.get_logger(__name__)

T = TypeVar("T")

_WATCH_SECONDS = 300  # then the API server ends the watch in good order, and it is opened anew
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
_MOST_FAILURES = 3  # in a row; a list is always right, whatever the server thinks of the version it is asked for
_GONE = 410


class Mirror(Protocol[T]):
    """What is told of the objects; in order, and never two at a time."""

    async def listed(self, items: list[T], version: str) -> None:
        """All objects as of ``version``. Raises ApiError to be told once more, later."""

    def changed(self, item: T, *, gone: bool) -> None:
        """One object was added, changed, or deleted (``gone``)."""

    def reached(self, version: str) -> None:
        """Everything up to ``version`` was shown."""


class Source(Protocol[T]):
    """Where the objects come from."""

    async def list(self) -> tuple[list[T], str]:
        """All objects and the version of the list. Raises ApiError."""

    def watch(self, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The lines of a watch with this query, until it ends or breaks. Raises ApiError."""

    def parse(self, body: Mapping[str, Any]) -> T:
        """One object."""


class GapError(Exception):
    """The watch cannot go on where it was."""


class _Change(msgspec.Struct):
    type: str
    object: dict[str, Any]


_decoder = msgspec.json.Decoder(_Change)


class Reflector(Generic[T]):
    """One kind of objects in one namespace, or everywhere. ``run`` shows them to the mirror, forever.

    ``heard`` is told of each sign of life.
    """

    def __init__(
        self, source: Source[T], mirror: Mirror[T], *, what: str, heard: Callable[[], None] = lambda: None
    ) -> None:
        self._heard = heard
        self._source = source
        self._mirror = mirror
        self._what = what
        self._version = ""
        self._pause = 0.0
        self._failures = 0

    async def run(self) -> None:
        """List and watch, forever: whatever happens to the API server, the answer is to ask again, later and later."""
        while True:
            try:
                await self._list()
                while True:
                    await self._watch()
            except GapError as e:
                _log.info("watch_gap", what=self._what, error=str(e))
                await self._wait(0.0)
            except errors.ApiError as e:
                _log.warning("list_failed", what=self._what, error=str(e))
                await self._wait(getattr(e, "retry_after", 0.0))
            except Exception as e:  # noqa: BLE001 - whatever an answer holds: without its mirror, the operator is blind
                _log.exception("mirror_failed", what=self._what, error=type(e).__name__)
                await self._wait(0.0)

    async def _list(self) -> None:
        items, version = await self._source.list()
        self._heard()
        await self._mirror.listed(items, version)
        self._version, self._failures = version, 0  # the pauses stay long until the watch has something to show
        self._mirror.reached(version)

    async def _watch(self) -> None:
        """One watch to its end. Raises GapError."""
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        before, began = self._version, asyncio.get_running_loop().time()
        try:
            async with contextlib.aclosing(self._source.watch(query)) as lines:  # type: ignore[type-var]
                async for line in lines:
                    self._show(line)
        except errors.ApiError as e:
            self._failures += 1
            if e.status == _GONE or self._failures >= _MOST_FAILURES:
                raise GapError(str(e)) from e
            _log.info("watch_broke", what=self._what, error=str(e))
            await self._wait(getattr(e, "retry_after", 0.0))
            return
        if asyncio.get_running_loop().time() - began >= _LONGEST_PAUSE_SECONDS:
            self._pause, self._failures = 0.0, 0  # all was well, also if there was nothing to show
        elif self._version == before:
            await self._wait(0.0)  # it ended with nothing to show: not to be asked again and again without a pause

    def _show(self, line: bytes) -> None:
        try:
            change = _decoder.decode(line)
            if change.type == "ERROR":
                raise GapError(str(change.object.get("message") or "the API server gave no reason"))
            version = str(change.object["metadata"]["resourceVersion"])
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as e:
            raise errors.UnavailableError(f"a watch of {self._what} could not be read: {e}") from e
        if change.type != "BOOKMARK":
            self._mirror.changed(self._source.parse(change.object), gone=change.type == "DELETED")
        self._advance(version)

    def _advance(self, version: str) -> None:
        self._heard()
        self._version = version
        self._pause, self._failures = 0.0, 0
        self._mirror.reached(version)

    async def _wait(self, asked: float) -> None:
        """Pause, longer each time until something is shown again."""
        self._pause = min(max(self._pause * 2, _FIRST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)
        await asyncio.sleep(max(self._pause * random.uniform(0.5, 1), asked))  # noqa: S311 - spreads retries
