"""When finished runs are counted anew: in virtual time, which jumps from one event to the next."""

import asyncio
import itertools
from typing import Any, cast

import kopf
import pytest

from agentrun_operator import errors, settings
from agentrun_operator.handlers import runs
from agentrun_operator.runner import deps as shared
from agentrun_operator.runner import resync
from tests import builders, deps, fakes
from tests.clock import now, virtual

PERIOD = 300.0
STARTED = 31.0  # a time after the start is over


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


@virtual
async def test_what_is_shown_at_the_start_asks_for_no_list() -> None:
    """However many they are: everything was listed just before."""
    shown = [(index / 100, None, f"uid-{index}") for index in range(1500)]
    assert await Lists().see(*shown, until=299) == []


@virtual
async def test_there_is_a_list_every_so_often_anyway() -> None:
    """Counted from the last one."""
    assert await Lists(takes=5).see(until=1000) == [300, 605, 910]


@pytest.mark.parametrize("first", [None, "ADDED", "MODIFIED"])
@virtual
async def test_an_object_that_is_listed_again_marks_a_gap_even_at_the_start(first: str | None) -> None:
    """Once it was shown, in whatever way."""
    [moment] = await Lists().see((1, first, "a"), (2, None, "b"), (3, None, "a"), until=299)
    assert 4 <= moment <= 5


@virtual
async def test_later_every_listed_object_marks_a_gap() -> None:
    """Also one that was never seen: it came while the watch was down."""
    [moment] = await Lists().see((STARTED, None, "new"), until=299)
    assert STARTED + 1 <= moment <= STARTED + 2


@virtual
async def test_what_a_watch_shows_as_it_happens_marks_nothing() -> None:
    """Or there would be a list per change."""
    seen = [(1.0, None, "a"), (2.0, "MODIFIED", "a"), (3.0, "MODIFIED", "a"), (4.0, "DELETED", "a")]
    later = [(moment + 50, kind or "ADDED", uid) for moment, kind, uid in seen]
    assert await Lists().see(*seen, *later, until=299) == []


@virtual
async def test_a_burst_of_marks_is_one_list_after_its_end() -> None:
    """A watch shows everything again, one after the other."""
    burst = [(STARTED + index * 0.01, None, f"uid-{index}") for index in range(500)]
    [moment] = await Lists().see(*burst, until=299)
    assert burst[-1][0] + 1 <= moment <= burst[-1][0] + 2


@virtual
async def test_marks_without_end_put_no_list_off_for_ever() -> None:
    """And do not make it a list per mark."""
    endless = [(STARTED + index * 0.5, None, "a") for index in range(120)]
    at = await Lists().see(*endless, until=STARTED + 60)
    assert [later - earlier for earlier, later in itertools.pairwise([STARTED, *at])] == pytest.approx([10] * 5, abs=1)


@virtual
async def test_a_gap_while_a_list_is_under_way_needs_another_list() -> None:
    """That one may have been read before the gap."""
    first, second = await Lists(takes=5).see((STARTED, None, "a"), (STARTED + 4, None, "a"), until=299)
    assert second >= first + 5
    assert second <= STARTED + 4 + 5


@virtual
async def test_a_list_that_fails_is_tried_again_later_and_later() -> None:
    """Whatever is marked in the meantime: a server in trouble is not asked more often."""
    marks = [(STARTED + index, None, "a") for index in range(100)]
    at = await Lists(*[False] * 8).see(*marks, until=STARTED + 240)
    waits = [later - earlier for earlier, later in itertools.pairwise(at)]
    for wait, longest in zip(waits[:8], [1, 2, 4, 8, 16, 32, 60, 60], strict=True):
        assert longest / 2 <= wait <= longest


@virtual
async def test_after_a_list_that_was_made_the_waits_are_short_again() -> None:
    """The trouble is over."""
    marks = [(STARTED + minute * 60, None, "a") for minute in range(3)]
    at = await Lists(*[False, False, False, True] * 3).see(*marks, until=STARTED + 200)
    assert len(at) == 12
    for first, second in zip(at[::4], at[1::4], strict=True):
        assert second - first <= 1


# ------------------------------------------------------------------------------------------------ what is counted


async def count(memo: shared.Deps, *seconds: int) -> None:
    """Runs of one agent have ended at these times, as the watch shows; the last ones are what is there."""
    for second in seconds:
        body = builders.agent_run(name=f"run-{second}", uid=f"uid-{second}")
        body["status"] = {"phase": "Succeeded", "completionTime": f"2026-01-02T03:04:0{second}Z"}
        assert isinstance(memo.client, fakes.FakeKube)
        memo.client.add_run(body)
        await show(memo, body, "MODIFIED")


async def show(memo: shared.Deps, body: dict[str, Any], kind: str | None) -> None:
    """The watch of AgentRuns shows this; None: because it lists anew."""
    event = cast("kopf.RawEvent", {"type": kind, "object": body})
    await runs.saw(event=event, uid=body["metadata"]["uid"], memo=memo)


def left(client: fakes.FakeKube) -> list[str]:
    """The names of the AgentRuns that are there."""
    return sorted(name for _, name in client.runs)


@virtual
async def test_a_run_that_vanished_in_a_gap_is_left_out_of_the_count_soon() -> None:
    """So no run is deleted in its place: two are kept, and two are left."""
    client = fakes.FakeKube()
    memo = deps.make(settings.Settings(data_path="", history_limit=2), client)
    work = [asyncio.create_task(shared.recount(memo)), asyncio.create_task(memo.caretaker.expire())]
    await count(memo, 1, 2)
    await asyncio.sleep(STARTED)
    del client.runs["team-a", "run-2"]
    assert "list_run_uids" not in client.verbs(), "nothing was missed yet"
    await show(memo, client.runs["team-a", "run-1"], None)
    await asyncio.sleep(3)
    assert client.verbs().count("list_run_uids") == 1
    await count(memo, 3)
    await asyncio.sleep(1)
    assert left(client) == ["run-1", "run-3"]
    await count(memo, 4)
    await asyncio.sleep(1)
    assert left(client) == ["run-3", "run-4"]
    for task in work:
        task.cancel()
    await memo.close()


@virtual
async def test_a_count_that_fails_is_no_reason_to_wait_for_the_next_period() -> None:
    """And nothing is taken for gone by it."""
    client = fakes.FakeKube()
    memo = deps.make(settings.Settings(data_path="", history_limit=2), client)
    client.fail["list_run_uids"] = [errors.UnavailableError("timed out")] * 3
    task = asyncio.create_task(shared.recount(memo))
    await count(memo, 1, 2)
    await asyncio.sleep(PERIOD + 0.1)
    assert client.verbs() == ["list_run_uids"]
    await asyncio.sleep(8)
    assert client.verbs() == ["list_run_uids"] * 4
    await asyncio.sleep(PERIOD - 10)
    assert client.verbs() == ["list_run_uids"] * 4
    task.cancel()
    await memo.close()


@virtual
async def test_without_a_count_nothing_is_asked_for() -> None:
    """Jobs and pods are mirrored in order; no gap of any watch asks for a list of them."""
    client = fakes.FakeKube()
    memo = deps.make(settings.Settings(data_path=""), client)
    task = asyncio.create_task(shared.recount(memo))
    await count(memo, 1, 2)
    await asyncio.sleep(STARTED)
    await show(memo, client.runs["team-a", "run-1"], None)
    await asyncio.sleep(2 * PERIOD)
    assert client.verbs() == []
    task.cancel()
    await memo.close()
