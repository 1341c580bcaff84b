"""Where the faults happen: one namespace on a cluster, and handles on everything in it."""

import asyncio
import collections
import contextlib
import dataclasses
import random
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from agentrun_operator import runner
from tests.chaos import api, kubelet, load, nursery, objects, observer, proxy, realnode, rules

_MOST_EXITS = 50
_TERM_SECONDS = nursery.END_SECONDS  # what an operator may take to end when it is asked to


class Keeper:
    """Keeps one operator alive: whenever it ends, the next one is started after a moment.

    Who sends it a fatal signal, or arms it, does so here, so that an operator that ends by itself is noticed.
    """

    def __init__(self, place: nursery.Nursery, eye: observer.Observer, rng: random.Random) -> None:
        self.steps: collections.Counter[str] = collections.Counter()
        self.starts = 0
        self.complaints: list[str] = []
        self.exits: collections.Counter[str] = collections.Counter()  # operators that ended by themselves, by reason
        self._nursery = place
        self._eye = eye
        self._rng = rng
        self._doomed: set[int] = set()
        self._working = asyncio.Event()
        self._may_start = asyncio.Event()
        self._may_start.set()
        self._current: nursery.Operator | None = None
        self._armed_at_start: tuple[runner.Step, int] | None = None

    async def keep(self) -> None:
        """For ever."""
        while True:
            await self._may_start.wait()
            current = await self.start()
            if self._armed_at_start is not None:
                step, number = self._armed_at_start
                self._armed_at_start = None
                self.arm(current, step, number, nth=1)
            self._current = current
            self._working.set()
            await asyncio.wait({current.ended})
            self._working.clear()
            await asyncio.sleep(self._rng.uniform(0, 0.5))

    async def close(self) -> None:
        """The last one ends, as it would for an upgrade."""
        current = await self.working()
        self._may_start.clear()
        await self.end(current, signal.SIGTERM)

    async def start(self) -> nursery.Operator:
        """One more operator; its end is looked at, but nobody takes its place."""
        started = await self._nursery.start()
        self.starts += 1
        self._eye.note("operator-started", pid=started.pid)
        started.ended.add_done_callback(lambda ended: self._look_at(started, ended.result()))
        watch = asyncio.create_task(self._watch(started))
        started.ended.add_done_callback(lambda _ended: watch.cancel())
        return started

    async def _watch(self, operator: nursery.Operator) -> None:
        """An operator that began to end, for whatever reason, must not stay, alive and deaf."""
        await operator.late.wait()
        self.complaints.append(f"operator {operator.pid} was still there {nursery.END_SECONDS} s after it began to end")

    async def working(self) -> nursery.Operator:
        """The operator that is alive now, or the next one."""
        while True:
            await self._working.wait()
            if self._current is not None and self._current.alive:
                return self._current
            await asyncio.sleep(0.01)

    def _look_at(self, operator: nursery.Operator, how: nursery.Exit) -> None:
        self.steps.update(how.steps)
        self._eye.note("operator-ended", pid=operator.pid, code=how.code, fired=how.fired)
        doomed = operator.pid in self._doomed or how.fired  # a signal can fire just when it is taken back
        self._doomed.discard(operator.pid)
        if not doomed:
            self.exits[how.last_words or f"exit code {how.code}"] += 1
            if sum(self.exits.values()) > _MOST_EXITS:
                self.complaints.append("operators end by themselves again and again, see operator.log")

    def send(self, operator: nursery.Operator, number: int) -> None:
        """A fatal signal."""
        self._doomed.add(operator.pid)
        operator.send(number)

    def arm(self, operator: nursery.Operator, step: runner.Step, number: int, *, nth: int) -> None:
        """A fatal signal at a step."""
        self._doomed.add(operator.pid)
        operator.arm(step, number, nth=nth)

    def disarm(self, operator: nursery.Operator) -> None:
        """No signal after all."""
        operator.disarm()
        self._doomed.discard(operator.pid)

    async def end(self, operator: nursery.Operator, number: int) -> nursery.Exit:
        """Send a fatal signal and wait for the end; one that does not obey is complained of and killed."""
        self.send(operator, number)
        return await self.ended(operator)

    async def ended(self, operator: nursery.Operator) -> nursery.Exit:
        """Wait for the end of an operator that got its signal."""
        done, _ = await asyncio.wait({operator.ended}, timeout=_TERM_SECONDS)
        if not done:
            self.complaints.append(f"operator {operator.pid} did not end within {_TERM_SECONDS} s after its signal")
            operator.send(signal.SIGKILL)
        return await operator.ended

    @contextlib.asynccontextmanager
    async def down(self, then: tuple[runner.Step, int] | None = None) -> AsyncIterator[None]:
        """No operator inside; the next one may be armed from its start."""
        current = await self.working()
        self._may_start.clear()
        try:
            await self.end(current, signal.SIGKILL)
            self._armed_at_start = then
            yield
        finally:
            self._may_start.set()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The cluster that all scenes are on; who disturbs it as a whole holds the lock, and tells all observers."""

    name: str
    real: bool = False
    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    eyes: list[observer.Observer] = dataclasses.field(default_factory=list)

    def note(self, word: str, **said: Any) -> None:
        """Write down for all scenes what concerns all."""
        for eye in self.eyes:
            eye.note(word, **said)


class Scene:
    """Handles on everything that a fault needs."""

    def __init__(
        self,
        *,
        name: str,
        client: api.Api,
        namespace: str,
        cluster: Cluster,
        eye: observer.Observer,
        node: kubelet.Kubelet | realnode.RealNode,
        work: load.Load,
        between: proxy.Proxy,
        keeper: Keeper,
    ) -> None:
        self.name = name
        self.api = client
        self.namespace = namespace
        self.cluster = cluster
        self.eye = eye
        self.node = node
        self.work = work
        self.between = between
        self.keeper = keeper
        self._chosen: set[str] = set()
        self._background: set[asyncio.Task[None]] = set()

    def path(self, kind: str, name: str = "", sub: str = "") -> str:
        """Path of an object of the namespace."""
        return api.path(kind, self.namespace, name, sub)

    def disturb(self, run: str) -> None:
        """What happens to this run now, its script does not know."""
        self.eye.note("disturbs", run=run)

    def victim(
        self, kind: str, rng: random.Random, fits: Callable[[Mapping[str, Any]], bool]
    ) -> Mapping[str, Any] | None:
        """One object of a live run, chosen by the seed among those that fit; none is chosen twice."""
        found = self.candidates(kind, fits)
        if not found:
            return None
        chosen = rng.choice(sorted(found, key=lambda body: str(body["metadata"]["name"])))
        self._chosen.add(str(chosen["metadata"]["uid"]))
        return chosen

    def candidates(self, kind: str, fits: Callable[[Mapping[str, Any]], bool]) -> list[Mapping[str, Any]]:
        """The objects of live runs that fit."""
        alive = {run["metadata"]["uid"] for run in self.work.alive()}
        return [
            body
            for uid, body in self.eye.now(kind).items()
            if uid not in self._chosen
            and not objects.is_deleted(body)
            and self.run_of(kind, body) in alive
            and fits(body)
        ]

    def run_of(self, kind: str, body: Mapping[str, Any]) -> str:
        """The uid of the AgentRun behind an object."""
        if kind != "pods":
            return objects.owner(body)
        job = self.eye.now("jobs").get(objects.job_of(body))
        return objects.owner(job) if job else ""

    def background(self, work: Any) -> None:  # noqa: ANN401 - any coroutine
        """Have something done while other faults follow."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def rest(self) -> None:
        """Wait for what is done in the background."""
        await asyncio.gather(*self._background)

    @contextlib.asynccontextmanager
    async def rule(self, rule: rules.Rule) -> AsyncIterator[rules.Rule]:
        """A rule of the proxy for a while."""
        self.between.add(rule)
        try:
            yield rule
        finally:
            self.between.remove(rule)


async def until(condition: Callable[[], object], seconds: float) -> bool:
    """Wait for a condition; False if it did not come true in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - conditions are over what others see, who know of no event
                await asyncio.sleep(0.02)
            return True
    return False
