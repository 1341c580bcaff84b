"""The AgentRuns of one namespace as a watch shows them, for any number of readers.

One watch serves all: an orchestrator waits for hundreds of runs at a time. Nothing is kept but what a reader has not
taken yet, and of each run only its newest state; so a slow reader misses steps, and never the last one.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agentrun_operator import kube

Body = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """The newest state of one AgentRun. ``gone``: it was deleted, or a list did not show it any more."""

    body: Body
    gone: bool


class Subscription:
    """What one reader is told of."""

    def __init__(self, wants: Callable[[Body], bool]) -> None:
        self._wants = wants
        self._known: dict[str, Body] = {}  # by uid; only metadata
        self._pending: dict[str, Change] = {}
        self._event = asyncio.Event()

    def know(self, body: Body) -> None:
        """The reader has seen it by itself."""
        self._known[body["metadata"]["uid"]] = {"metadata": body["metadata"]}

    def offer(self, body: Body, *, gone: bool) -> None:
        """It changed."""
        if not self._wants(body):
            return
        uid = body["metadata"]["uid"]
        if gone:
            self._known.pop(uid, None)
        else:
            self.know(body)
        self._pending[uid] = Change(body, gone)
        self._event.set()

    def offer_all(self, bodies: list[Body]) -> None:
        """These are all there are."""
        there = {body["metadata"]["uid"] for body in bodies}
        for uid in [uid for uid in self._known if uid not in there]:
            self._pending[uid] = Change(self._known.pop(uid), gone=True)
        for body in bodies:
            self.offer(body, gone=False)
        self._event.set()  # also if there is none

    async def take(self, seconds: float) -> list[Change]:
        """What changed since it was last asked; [] if nothing does within so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
        taken, self._pending = self._pending, {}
        return list(taken.values())


class Hub:
    """``kube.Mirror`` of AgentRuns. The watch begins with the first reader and goes on until ``close``."""

    def __init__(self, source: kube.Source[Body]) -> None:
        self._reflector = kube.Reflector(source, self, what="AgentRuns")
        self._subscriptions: set[Subscription] = set()
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def subscribe(self, wants: Callable[[Body], bool], *, all_anew: bool = False) -> Iterator[Subscription]:
        """Be told of what ``wants`` accepts. ``all_anew``: of all that is there, too."""
        made = Subscription(wants)
        self._subscriptions.add(made)
        if self._task is None or all_anew:
            self._start()
        try:
            yield made
        finally:
            self._subscriptions.discard(made)

    async def close(self) -> None:
        """End the watch."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def listed(self, items: list[Body], version: str) -> None:  # noqa: ARG002 - the mirror's signature
        """All AgentRuns."""
        for subscription in list(self._subscriptions):
            subscription.offer_all(items)

    def changed(self, item: Body, *, gone: bool) -> None:
        """One AgentRun."""
        for subscription in list(self._subscriptions):
            subscription.offer(item, gone=gone)

    def reached(self, version: str) -> None:
        """Of no interest."""

    def _start(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._reflector.run())
