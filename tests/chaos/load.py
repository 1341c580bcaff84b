"""The load: AgentRuns over a handful of agents, so that there are always queues, and what their owners do to them.

Each run comes with a script of what its agent does, and so of how it has to end; the observer is told of it. A few
agents are for runs that replace others, whose runs may always be cancelled.
"""

import asyncio
import contextlib
import dataclasses
import itertools
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from tests.chaos import api, objects, observer, scripts

_TTL_SECONDS = 90  # longer than operators can be kept from reading a log by being killed every second
_USUAL = ("fine",) * 8 + ("slow",) * 3 + ("limited", "crashed", "lingering", "silent", "overdue", "unpullable")
_BLOCKED = "Failed k8s_concurrent_run_blocked"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One run to be created: its agent, the scripts of its attempts, further fields, the ends it may also have."""

    agent: str
    attempts: tuple[str, ...]
    spec: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    may_end: tuple[str, ...] = ()


class Node(Protocol):
    """Who plays the agents."""

    def take(self, run_id: str, agent: str, attempts: tuple[scripts.Script, ...]) -> Mapping[str, Any]:
        """Have the agent of a run do this; what the AgentRun must say for it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How much load: runs at a time, over how many agents, doing what; and how long a pod may be pending.

    ``retries``: whether attempts can differ.
    """

    at_once: int = 30
    agents: int = 10
    scripts: tuple[str, ...] = _USUAL
    pending_seconds: int = 60
    retries: bool = True


REAL = Manner(
    at_once=10,
    agents=5,
    scripts=("fine", "slow", "long", "long", "long", "crashed", "lingering", "silent"),
    pending_seconds=300,
    retries=False,
)


class Load:
    """Use it with ``async with``; runs are kept alive from ``begin`` to ``drain``."""

    def __init__(
        self, client: api.Api, namespace: str, *, eye: observer.Observer, node: Node, manner: Manner, seed: str
    ) -> None:
        self.created = 0
        self.may_end: set[str] = set()  # how runs that are created now may end, too
        self._api = client
        self._namespace = namespace
        self._eye = eye
        self._node = node
        self._manner = manner
        self._rng = random.Random(seed)  # noqa: S311 - replayable, guards nothing
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._going_on = asyncio.Event()

    async def __aenter__(self) -> "Load":
        """Get ready to keep up the load."""
        self._spawn(self._keep_up())
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def begin(self) -> None:
        """Keep runs alive."""
        self._going_on.set()

    def drain(self) -> None:
        """Create no more."""
        self._going_on.clear()

    def alive(self) -> list[Mapping[str, Any]]:
        """The runs that have not ended, as last told."""
        return [run for run in self._eye.now("agentruns").values() if objects.phase(run) not in objects.FINAL]

    async def _keep_up(self) -> None:
        while True:
            await self._going_on.wait()
            if len(self.alive()) < self._manner.at_once:
                with contextlib.suppress(api.UnreachableError):
                    await self.create(self.draw())
            await asyncio.sleep(0.05)

    def draw(self) -> Wish:
        """The next run, by the seed."""
        rng = self._rng
        if rng.random() < 0.1:
            return self.replacing()
        agent = f"a{rng.randrange(self._manner.agents)}"
        spec: dict[str, Any] = {"priority": rng.choice((0, 0, 0, 5, -5))}
        may_end: tuple[str, ...] = ()
        if self._manner.retries and rng.random() < 0.1:
            return self.retrying(agent)
        if rng.random() < 0.06:
            spec["concurrencyPolicy"], may_end = "Forbid", (_BLOCKED,)
        if rng.random() < 0.06:
            spec["suspend"] = True
        return Wish(agent=agent, attempts=(rng.choice(self._manner.scripts),), spec=spec, may_end=may_end)

    def replacing(self) -> Wish:
        """A run that has the one before it cancelled."""
        spec = {"concurrencyPolicy": "Replace"}
        name = self._rng.choice(("fine", "slow"))
        return Wish(agent=f"x{self._rng.randrange(2)}", attempts=(name,), spec=spec, may_end=(scripts.CANCELLED,))

    def retrying(self, agent: str) -> Wish:
        """A run that fails once or twice and then succeeds, or runs out of attempts."""
        limit = self._rng.choice((1, 2))
        attempts = ("overloaded",) * self._rng.choice((1, limit)) + (self._rng.choice(("fine", "overloaded")),)
        retry = {"limit": limit, "backoffSeconds": self._rng.choice((0, 1)), "on": ["claude_overloaded"]}
        return Wish(agent=agent, attempts=attempts[: limit + 1], spec={"retry": retry})

    async def create(self, wish: Wish) -> str:
        """Create a run and let its owner do with it what the seed says; returns its uid."""
        number = next(self._numbers)
        name, run_id = f"r{number}", f"run-{number}"
        attempts = tuple(scripts.SCRIPTS[attempt] for attempt in wish.attempts)
        last = attempts[-1]
        spec = {
            "companyId": "acme",
            "agent": {"id": wish.agent},
            "runId": run_id,
            "prompt": {"text": "Do the task."},
            "retention": {"jobTTLSecondsAfterFinished": _TTL_SECONDS},
            **wish.spec,
            **self._node.take(run_id, wish.agent, attempts),
            "timeouts": {"pendingSeconds": self._manner.pending_seconds, **last.spec.get("timeouts", {})},
        }
        body = {"apiVersion": "paperclip.io/v1alpha1", "kind": "AgentRun", "metadata": {"name": name}, "spec": spec}
        status, made = await self._api.ask("POST", api.path("agentruns", self._namespace), body)
        if status == 409:  # the first answer was lost
            status, made = await self._api.ask("GET", api.path("agentruns", self._namespace, name))
        assert status < 300, made
        self.created += 1
        uid = str(made["metadata"]["uid"])
        ends = [
            *last.ends,
            *wish.may_end,
            *self.may_end,
            *self._fate(name, last, suspended=bool(wish.spec.get("suspend"))),
        ]
        counted = last.ends if len(attempts) == 1 else ()  # at these, all that the agent printed has to have been read
        self._eye.note("scripted", run=uid, name=name, ends=ends, counted=counted)
        return uid

    def _fate(self, name: str, script: scripts.Script, *, suspended: bool) -> tuple[str, ...]:
        """What its owner does to it after a while; the ends that this makes possible."""
        if suspended:
            self._spawn(self._later((0.5, 3), self.change, name, {"suspend": False}))
        if script.ends == (scripts.CANCELLED,):
            self._spawn(self._later((3, 8), self.change, name, {"cancel": True}))
        elif self._rng.random() < 0.1:
            self._spawn(self._later((0.1, 6), self.change, name, {"cancel": True}))
            return (scripts.CANCELLED,)
        elif self._rng.random() < 0.06:
            self._spawn(self._later((0.1, 6), self.delete, name, {}))
            return (scripts.CANCELLED,)
        return ()

    async def change(self, name: str, spec: Mapping[str, Any]) -> None:
        """Merge into the spec of a run."""
        await self._api.ask("PATCH", api.path("agentruns", self._namespace, name), {"spec": spec}, content=api.MERGE)

    async def delete(self, name: str, options: Mapping[str, Any]) -> None:
        """Delete a run."""
        await self._api.ask("DELETE", api.path("agentruns", self._namespace, name), options)

    async def _later(
        self,
        between: tuple[float, float],
        do: Callable[[str, Mapping[str, Any]], Coroutine[Any, Any, None]],
        name: str,
        what: Mapping[str, Any],
    ) -> None:
        await asyncio.sleep(self._rng.uniform(*between))
        await do(name, what)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
