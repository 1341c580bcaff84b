"""The status of one run, written from what it was: another operator's words are taken over, never overwritten."""

import copy
import datetime as dt
from typing import Any

import pytest

from agentrun_operator import errors, runner, settings
from agentrun_operator.runner import record
from tests import builders, deps, fakes

Body = dict[str, Any]
PENDING: Body = {"phase": "Pending", "message": "Here."}
RUNNING: Body = {"phase": "Running", "message": "There."}
DONE: Body = {"phase": "Succeeded", "message": "Done."}


class Scene:
    """One AgentRun in the API, and what the watch of each operator shows of it."""

    def __init__(self, status: Body | None = None) -> None:
        self.kube = fakes.FakeKube()
        self.body = self.kube.add_run(builders.agent_run(status=status))
        config = settings.Settings(data_path="")
        self.deps = deps.make(config, self.kube, world=runner.World())

    @property
    def status(self) -> Body:
        """The status as it is in the API."""
        return dict(self.body.get("status") or {})

    def seen(self) -> Body:
        """What a watch shows just now."""
        return copy.deepcopy(self.body)

    def record(self, shown: Body | None = None) -> record.Record:
        """The record of an operator whose watch shows this; nothing newer for now."""
        body = self.seen() if shown is None else shown
        return record.Record(self.deps, lambda: body)

    def change(self, **spec: Any) -> None:
        """Somebody changes the spec."""
        self.body["spec"] = {**self.body["spec"], **spec}
        self.body["metadata"]["generation"] += 1
        self.body["metadata"]["resourceVersion"] = str(int(self.body["metadata"]["resourceVersion"]) + 1)


@pytest.mark.parametrize(("beat", "age"), [("2026-01-02T03:04:05Z", None), ("2999-01-02T03:04:05Z", 0)])
async def test_an_operator_that_starts_goes_on_with_the_pace_of_the_one_before(beat: str, age: int | None) -> None:
    """Else all of its runs would write at once, and nothing new. A clock that is ahead holds nobody up for years."""
    scene = Scene(status={**RUNNING, "heartbeatTime": beat})
    mine = scene.record()
    other = scene.record()
    found = [mine.written_at]
    await other.write({**RUNNING, "message": "Elsewhere.", "heartbeatTime": beat})
    with pytest.raises(errors.ConflictError):
        await mine.write({**RUNNING, "message": "Here."})
    for moment in (*found, mine.written_at):
        assert moment is not None
        now = dt.datetime.now(dt.UTC)
        assert moment == dt.datetime.fromisoformat(beat) if age is None else (now - moment).total_seconds() >= age


@pytest.fixture
def scene() -> Scene:
    """See Scene."""
    return Scene()


async def test_what_is_written_is_on_record_and_told(scene: Scene) -> None:
    """With the time of it; nothing to write is no request."""
    mine = scene.record()
    await mine.write(None)
    assert (scene.kube.calls, mine.written_at, mine.status) == ([], None, {})
    for status in (PENDING, RUNNING, DONE):
        await mine.write(status)
        assert (mine.status, mine.is_final) == (status, status is DONE)
    assert mine.written_at is not None
    assert scene.kube.written == [PENDING, RUNNING, DONE]
    assert scene.kube.verbs() == ["write_run_status"] * 3


async def test_a_status_that_was_there_is_the_beginning(scene: Scene) -> None:
    """Of an operator that was started again."""
    scene.body["status"] = RUNNING
    mine = scene.record()
    assert (mine.status, mine.written_at, mine.is_final) == (RUNNING, None, False)
    await mine.write(DONE)
    assert scene.status == DONE


@pytest.mark.parametrize("shown", [True, False])
async def test_a_change_of_the_spec_is_no_conflict(scene: Scene, *, shown: bool) -> None:
    """Whether the watch has shown it yet or not: the status is as it was, so it is written."""
    body = scene.seen()
    mine = scene.record(body)
    await mine.write(PENDING)
    scene.change(cancel=True)
    if shown:
        body.update(scene.seen())
    await mine.write(RUNNING)
    assert scene.status == RUNNING
    assert scene.kube.verbs().count("get_run") == (0 if shown else 1)


@pytest.mark.parametrize("shown", [True, False])
async def test_what_another_operator_wrote_is_taken_over(scene: Scene, *, shown: bool) -> None:
    """Whether the watch has shown it yet or not: it is not overwritten, and the run is looked at again from there."""
    body = scene.seen()
    mine, other = scene.record(body), scene.record()
    await mine.write(PENDING)
    with pytest.raises(errors.ConflictError):
        await other.write(RUNNING)
    await other.write(RUNNING)
    if shown:
        body.update(scene.seen())
    with pytest.raises(errors.ConflictError, match="written by another operator"):
        await mine.write({"phase": "Failed"})
    assert (mine.status, scene.status) == (RUNNING, RUNNING)
    await mine.write(DONE)
    assert scene.kube.written == [PENDING, RUNNING, DONE]


async def test_an_end_is_not_written_twice(scene: Scene) -> None:
    """The second operator sees that the run is over."""
    mine, other = scene.record(), scene.record()
    await mine.write(DONE)
    with pytest.raises(errors.ConflictError):
        await other.write({"phase": "Failed"})
    assert other.is_final
    assert scene.kube.written == [DONE]


async def test_a_watch_that_lags_behind_is_no_conflict(scene: Scene) -> None:
    """It shows an older version than the answer to the last write."""
    body = scene.seen()
    mine = scene.record(body)
    for number in range(3):
        lagging = scene.seen()
        await mine.write({"phase": "Running", "turns": number})
        body.update(lagging)
    assert scene.kube.verbs() == ["write_run_status"] * 3


async def test_a_watch_that_shows_the_own_words_is_no_conflict(scene: Scene) -> None:
    """The ordinary case."""
    body = scene.seen()
    mine = scene.record(body)
    for status in (PENDING, RUNNING, DONE):
        await mine.write(status)
        body.update(scene.seen())
    assert scene.kube.verbs() == ["write_run_status"] * 3


@pytest.mark.parametrize("shown", [True, False])
async def test_an_answer_that_was_lost_is_found(scene: Scene, *, shown: bool) -> None:
    """The status was written after all: it is taken over like another's."""
    body = scene.seen()
    mine = scene.record(body)
    scene.kube.fail_late["write_run_status"] = [errors.UnavailableError("broken pipe")]
    with pytest.raises(errors.UnavailableError):
        await mine.write(PENDING)
    assert mine.status == {}
    if shown:
        body.update(scene.seen())
    with pytest.raises(errors.ConflictError):
        await mine.write(PENDING)
    assert mine.status == PENDING
    assert scene.kube.written == [PENDING]


async def test_a_request_that_was_refused_changes_nothing(scene: Scene) -> None:
    """It is written the next time."""
    scene.kube.fail["write_run_status"] = [errors.UnavailableError("timed out")]
    mine = scene.record()
    with pytest.raises(errors.UnavailableError):
        await mine.write(PENDING)
    assert (mine.status, mine.written_at) == ({}, None)
    await mine.write(PENDING)
    assert scene.status == PENDING


@pytest.mark.parametrize("how", ["gone", "another of its name"])
async def test_a_run_that_is_not_there_any_more_is_not_written(scene: Scene, how: str) -> None:
    """Nor is one that was created again under its name."""
    mine = scene.record()
    if how == "gone":
        scene.kube.runs.clear()
    else:
        scene.kube.add_run(builders.agent_run(uid="another"))
    with pytest.raises(errors.NotFoundError):
        await mine.write(PENDING)
    assert scene.kube.written == []


async def test_a_conflict_in_a_row_is_told(scene: Scene) -> None:
    """Somebody else is quicker each time: the caller tries again later."""
    mine = scene.record()
    conflict = errors.ConflictError("has changed", status=422)
    scene.kube.fail["write_run_status"] = [conflict, conflict]
    with pytest.raises(errors.ConflictError):
        await mine.write(PENDING)
    await mine.write(PENDING)
    assert scene.status == PENDING


async def test_the_run_is_read_as_its_attempt_is() -> None:
    """With the number on record, which the watch may not show yet."""
    scene = Scene({"attempt": 1, "phase": "Pending", "session": {"id": "s-1"}})
    mine = scene.record()
    await mine.write({"attempt": 2, "phase": "Pending", "session": {"id": "s-2"}})
    read = mine.run()
    assert read.spec.session is not None
    assert (read.attempt, read.spec.session.id) == (2, "s-2")


@pytest.mark.parametrize(
    ("one", "other", "later"),
    [
        ("", "", ""),
        ("", "7", "7"),
        ("7", "", "7"),
        ("9", "10", "10"),
        ("10", "9", "10"),
        ("7", "7", "7"),
        ("x", "7", "7"),
        ("a", "b", "b"),
    ],
)
def test_the_later_of_two_versions(one: str, other: str, later: str) -> None:
    """Numbers as numbers; of what is none, either may be wrong, at the cost of one conflict."""
    assert record._later(one, other) == later  # noqa: SLF001 - a table says it best


async def test_what_was_found_after_a_conflict_counts_until_the_watch_has_come_to_it(scene: Scene) -> None:
    """Another operator has acted on a cancellation that this one's watch does not show yet: both are taken over."""
    body = scene.seen()
    mine = scene.record(body)
    await mine.write(RUNNING)
    scene.change(cancel=True)
    other = scene.record()
    await other.write({**RUNNING, "reason": "Cancelling"})
    with pytest.raises(errors.ConflictError):
        await mine.write({**RUNNING, "turns": 2})
    assert (mine.status["reason"], mine.run().spec.cancel, mine.body["spec"]["cancel"]) == ("Cancelling", True, True)
    body["metadata"]["resourceVersion"] = str(int(body["metadata"]["resourceVersion"]) + 1)  # still older
    assert mine.run().spec.cancel is True
    body.update(scene.seen())
    body["spec"] = {**body["spec"], "suspend": True}
    assert (mine.run().spec.cancel, mine.run().spec.suspend) == (True, False)  # the same spec: read once
    body["metadata"]["resourceVersion"] = str(int(body["metadata"]["resourceVersion"]) + 1)
    assert mine.run().spec.suspend is False  # another version, be it of the status
    body["metadata"]["generation"] += 1
    assert mine.run().spec.suspend is True
    await mine.write(DONE)
