"""The suite in one scene: rounds of load with faults in it, each until everything is at rest, and the verdict."""

import asyncio
import collections
import random
from collections.abc import Callable, Sequence

from tests.chaos import api, catalogue, history, invariants, kubelet
from tests.chaos.outcome import Hit, Outcome
from tests.chaos.scene import Scene, until

LANES = (catalogue.OPERATOR, catalogue.REQUESTS, catalogue.CLUSTER)
_FAULTS_PER_ROUND = 100
_REST_SECONDS = 150
_AHEAD = 0.05
_WAIT_SECONDS = 30
_SURE_SECONDS = 30  # so late can be what explains a change: watches do not tell in the order of things
_TRIES = 4  # a fault that did not take effect is tried again so often


class Suite:
    """One run of the suite in one scene; what is found is in ``outcome``, also when it is cut short.

    ``stop`` is shared by the scenes that are played side by side: when one finds something broken, all end.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        seed: int,
        todo: Sequence[catalogue.Kind],
        stop: asyncio.Event,
        say: Callable[[str], None],
    ) -> None:
        self.outcome = Outcome(seed=seed, wanted=len(todo))
        self._scene = scene
        self._todo = todo
        self._stop = stop
        self._say = say
        self._seed = f"{seed}-{scene.name}"
        self._progress: list[float] = []  # of each lane, so that none is over before another has half begun

    async def run(self) -> None:
        """Rounds until there were enough faults, or something is broken."""
        outcome, todo = self.outcome, list(self._todo)
        rng = random.Random(f"{self._seed}-faults")  # noqa: S311 - replayable, guards nothing
        try:
            while len(outcome.hits) < outcome.wanted and not self._spoilt():
                part, todo = todo[:_FAULTS_PER_ROUND], todo[_FAULTS_PER_ROUND:]
                before = len(outcome.hits)
                await self._round(part or rng.sample(self._todo, outcome.wanted - before))
                self._collect()
                if len(outcome.hits) == before:
                    self._scene.keeper.complaints.append("in a whole round no fault took effect")
                self._say(
                    f"{self._scene.name}: {len(outcome.hits)} faults, {outcome.runs} runs, {outcome.checks.total()} "
                    f"checks, {len(outcome.violations)} broken, {outcome.seconds:.0f} s"
                )
            if not self._spoilt():
                await self._scene.keeper.close()
                await self._catch_up()
        finally:
            self._collect()

    def _collect(self) -> None:
        scene, outcome = self._scene, self.outcome
        verdict = scene.eye.judge(everything=True)
        outcome.violations, outcome.checks, outcome.ends = verdict.violations, verdict.checks, verdict.ends()
        outcome.twins = len(verdict.picture.twins)
        outcome.events = scene.eye.events
        outcome.runs = scene.work.created
        outcome.gaps = scene.eye.gaps
        outcome.operators = scene.keeper.starts
        outcome.steps = scene.keeper.steps
        outcome.exits = scene.keeper.exits
        failed = [event.object for event in scene.eye.events if event.type == kubelet.FAILED]
        outcome.complaints = [
            *scene.keeper.complaints,
            *(f"the stand-in for kubelet failed, pod {said['name']}: {said['why']}" for said in failed),
        ]
        outcome.seconds = scene.eye.clock

    async def _round(self, part: Sequence[catalogue.Kind]) -> None:
        """Load and faults, lane beside lane; then rest, and the judgement."""
        scene = self._scene
        scene.work.begin()
        began = len(self.outcome.hits)
        self._progress.clear()
        async with asyncio.TaskGroup() as group:
            for lane in LANES:
                rng = random.Random(f"{self._seed}-{lane}-{began}")  # noqa: S311 - replayable, guards nothing
                group.create_task(self._lane([kind for kind in part if kind.lane == lane], rng))
        scene.work.drain()
        if self._spoilt():
            return
        await scene.rest()
        await until(lambda: self._spoilt() or not self._left_over(), _REST_SECONDS)
        if self._spoilt():
            return
        await self._catch_up()
        scene.eye.note("settled")
        if not self._left_over() and len(self.outcome.hits) < self.outcome.wanted:
            await self._clear()

    async def _catch_up(self) -> None:
        async with asyncio.timeout(60):
            await self._scene.eye.catch_up()

    async def _lane(self, kinds: Sequence[catalogue.Kind], rng: random.Random) -> None:
        """One fault after another; what did not take effect comes again later."""
        scene = self._scene
        queue = collections.deque((kind, 1) for kind in kinds)
        progress, place = self._progress, len(self._progress)
        progress.append(0.0)
        spare = len(kinds) // 4
        while queue and not self._spoilt():
            progress[place] = max(0.0, 1 - len(queue) / len(kinds))
            await until(lambda: progress[place] <= min(progress) + _AHEAD, _WAIT_SECONDS)
            kind, attempt = queue.popleft()
            what = await kind.do(scene, rng)
            if what:
                self.outcome.hits.append(Hit(at=scene.eye.clock, kind=kind.name, what=what))
                scene.eye.note("fault", kind=kind.name, what=what)
            elif attempt < _TRIES:
                queue.append((kind, attempt + 1))
                await asyncio.sleep(0.2)  # what it waits for has to come first
            else:
                self.outcome.missed[kind.name] += 1
                if spare > 0:  # another one in its place, or a whole round would be played for it
                    spare -= 1
                    queue.append((rng.choice(kinds), 1))
        progress[place] = 1.0

    def _spoilt(self) -> bool:
        """Whether something is broken, here or beside, so that there is nothing to wait for."""
        sure = self._scene.eye.clock - _SURE_SECONDS
        broken = any(violation.at < sure for violation in self._scene.eye.judge().violations)
        if broken or self._scene.keeper.complaints:
            self._stop.set()
        return self._stop.is_set()

    def _left_over(self) -> list[invariants.Left]:
        return invariants.left_over({kind: self._scene.eye.now(kind) for kind in history.KINDS})

    async def _clear(self) -> None:
        """Remove the runs of the round, or the operator would list them for ever."""
        scene = self._scene
        await scene.api.ask("DELETE", api.path("agentruns", scene.namespace), {"propagationPolicy": "Background"})
        await until(lambda: not scene.eye.now("agentruns") and not scene.eye.now("jobs"), 60)
