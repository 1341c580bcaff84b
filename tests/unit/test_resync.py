"""When Jobs and pods are listed anew: in virtual time, which jumps from one event to the next.

Times are those since the start; the loop's own clock says anything then, as a machine's does.
"""

import asyncio
import itertools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, cast

import kopf
import pytest

from agentrun_operator import errors, facts, runner, settings
from agentrun_operator.handlers import jobs, runs
from agentrun_operator.runner import resync
from tests import builders, deps, fakes

PERIOD = 300.0
BEGINNING = 12345.0  # longer than a period, as on any machine that has not just been started
STARTED = 31.0  # a time after the start is over


class Jump(selectors.DefaultSelector):
    """Where a loop would wait, its time jumps."""

    now = BEGINNING

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; nothing is waited for."""
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


def in_virtual_time(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the coroutine on a loop of that kind."""

    def make() -> asyncio.AbstractEventLoop:
        jump = Jump()
        loop = asyncio.SelectorEventLoop(jump)
        loop.time = lambda: jump.now  # type: ignore[method-assign]
        return loop

    with asyncio.Runner(loop_factory=make) as loop:
        loop.run(work())


class Lists:
    """What waits for ``due`` and lists; the outcomes of the first lists may be given."""

    def __init__(self, *outcomes: bool, takes: float = 0) -> None:
        self.resync = resync.Resync()
        self.at: list[float] = []
        self._outcomes = iter(outcomes)
        self._takes = takes

    async def work(self) -> None:
        """Go on forever."""
        while True:
            await self.resync.due(PERIOD)
            self.at.append(now())
            await asyncio.sleep(self._takes)
            if next(self._outcomes, True):
                self.resync.done()
            else:
                self.resync.failed(PERIOD)

    async def see(self, *seen: tuple[float, str | None, str], until: float) -> list[float]:
        """Have the watch show these objects at these times, and stop. Returns the times of the lists."""
        task = asyncio.create_task(self.work())
        for moment, kind, uid in seen:
            await asyncio.sleep(moment - now())
            self.resync.saw(kind, uid)
        await asyncio.sleep(until - now())
        task.cancel()
        return self.at


def now() -> float:
    """The time since the start."""
    return asyncio.get_running_loop().time() - BEGINNING


def test_what_is_shown_at_the_start_asks_for_no_list() -> None:
    """However many they are: everything was listed just before."""

    async def work() -> None:
        shown = [(index / 100, None, f"uid-{index}") for index in range(1500)]
        assert await Lists().see(*shown, until=299) == []

    in_virtual_time(work)


def test_there_is_a_list_every_so_often_anyway() -> None:
    """Counted from the last one."""

    async def work() -> None:
        assert await Lists(takes=5).see(until=1000) == [300, 605, 910]

    in_virtual_time(work)


@pytest.mark.parametrize("first", [None, "ADDED", "MODIFIED"])
def test_an_object_that_is_listed_again_marks_a_gap_even_at_the_start(first: str | None) -> None:
    """Once it was shown, in whatever way."""

    async def work() -> None:
        [moment] = await Lists().see((1, first, "a"), (2, None, "b"), (3, None, "a"), until=299)
        assert 4 <= moment <= 5

    in_virtual_time(work)


def test_later_every_listed_object_marks_a_gap() -> None:
    """Also one that was never seen: it came while the watch was down."""

    async def work() -> None:
        [moment] = await Lists().see((STARTED, None, "new"), until=299)
        assert STARTED + 1 <= moment <= STARTED + 2

    in_virtual_time(work)


def test_what_a_watch_shows_as_it_happens_marks_nothing() -> None:
    """Or there would be a list per change."""

    async def work() -> None:
        seen = [(1.0, None, "a"), (2.0, "MODIFIED", "a"), (3.0, "MODIFIED", "a"), (4.0, "DELETED", "a")]
        later = [(moment + 50, kind or "ADDED", uid) for moment, kind, uid in seen]
        assert await Lists().see(*seen, *later, until=299) == []

    in_virtual_time(work)


def test_a_burst_of_marks_is_one_list_after_its_end() -> None:
    """A watch shows everything again, one after the other."""

    async def work() -> None:
        burst = [(STARTED + index * 0.01, None, f"uid-{index}") for index in range(500)]
        [moment] = await Lists().see(*burst, until=299)
        assert burst[-1][0] + 1 <= moment <= burst[-1][0] + 2

    in_virtual_time(work)


def test_marks_without_end_put_no_list_off_for_ever() -> None:
    """And do not make it a list per mark."""

    async def work() -> None:
        endless = [(STARTED + index * 0.5, None, "a") for index in range(120)]
        at = await Lists().see(*endless, until=STARTED + 60)
        assert [later - earlier for earlier, later in itertools.pairwise([STARTED, *at])] == pytest.approx(
            [10] * 5, abs=1
        )

    in_virtual_time(work)


def test_a_gap_while_a_list_is_under_way_needs_another_list() -> None:
    """That one may have been read before the gap."""

    async def work() -> None:
        first, second = await Lists(takes=5).see((STARTED, None, "a"), (STARTED + 4, None, "a"), until=299)
        assert second >= first + 5
        assert second <= STARTED + 4 + 5

    in_virtual_time(work)


def test_a_list_that_fails_is_tried_again_later_and_later() -> None:
    """Whatever is marked in the meantime: a server in trouble is not asked more often."""

    async def work() -> None:
        marks = [(STARTED + index, None, "a") for index in range(100)]
        at = await Lists(*[False] * 8).see(*marks, until=STARTED + 240)
        waits = [later - earlier for earlier, later in itertools.pairwise(at)]
        for wait, longest in zip(waits[:8], [1, 2, 4, 8, 16, 32, 60, 60], strict=True):
            assert longest / 2 <= wait <= longest

    in_virtual_time(work)


def test_after_a_list_that_was_made_the_waits_are_short_again() -> None:
    """The trouble is over."""

    async def work() -> None:
        marks = [(STARTED + minute * 60, None, "a") for minute in range(3)]
        at = await Lists(*[False, False, False, True] * 3).see(*marks, until=STARTED + 200)
        assert len(at) == 12
        for first, second in zip(at[::4], at[1::4], strict=True):
            assert second - first <= 1

    in_virtual_time(work)


@pytest.mark.parametrize("watch", ["runs", "jobs", "pods"])
def test_a_vanished_job_is_noticed_soon_by_the_gap_of_any_watch(watch: str) -> None:
    """A list of Jobs that is empty by now shows nothing at all; the watch of AgentRuns does."""

    async def work() -> None:
        memo = deps.make(settings.Settings(data_path=""), fakes.FakeKube())
        job = facts.parse_job(builders.job())
        memo.world.saw_job(job)
        task = asyncio.create_task(runner.keep_in_sync(memo))
        await asyncio.sleep(STARTED)
        match watch:
            case "runs":
                event = listed(builders.agent_run())
                await runs.saw(event=event, uid=builders.RUN_UID, memo=memo)
            case "jobs":
                await jobs.saw_job(event=listed(builders.job(uid="other")), memo=memo)
            case _:
                await jobs.saw_pod(event=listed(builders.pod(uid="other")), memo=memo)
        assert job.uid in memo.world.known().jobs
        await asyncio.sleep(3)
        assert job.uid not in memo.world.known().jobs
        task.cancel()
        await memo.close()

    in_virtual_time(work)


def listed(body: dict[str, Any]) -> kopf.RawEvent:
    """What kopf makes of an object in a list."""
    return cast("kopf.RawEvent", {"type": None, "object": body})


def test_a_failed_list_is_no_reason_to_wait_for_the_next_period() -> None:
    """And nothing is taken for gone by it."""

    async def work() -> None:
        client = fakes.FakeKube()
        memo = deps.make(settings.Settings(data_path=""), client)
        job = facts.parse_job(builders.job())
        memo.world.saw_job(job)
        client.fail["list_jobs"] = [errors.UnavailableError("timed out")] * 3
        task = asyncio.create_task(runner.keep_in_sync(memo))
        await asyncio.sleep(PERIOD + 0.1)
        assert job.uid in memo.world.known().jobs
        await asyncio.sleep(8)
        assert client.verbs().count("list_jobs") == 4
        assert memo.world.known().jobs == {}
        task.cancel()
        await memo.close()

    in_virtual_time(work)
