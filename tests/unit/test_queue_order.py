"""The order of an agent's queue, also of runs that kopf has shown and does not follow yet."""

import asyncio
import pathlib
from collections.abc import AsyncIterator
from typing import Any, cast

import kopf
import pytest

from agentrun_operator import facts, models, names, runner, settings
from agentrun_operator.handlers import runs
from tests import builders, deps, fakes, scenes


@pytest.fixture
async def scene(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[scenes.Scene]:
    """A cluster in memory with an operator."""
    async with scenes.opened(tmp_path, monkeypatch) as made:
        yield made


def a_run(name: str, **given: Any) -> models.AgentRun:
    """A run of the one agent."""
    return models.AgentRun.parse(builders.agent_run(name=name, uid=f"uid-{name}", **given))


def expect(world: runner.World, run: models.AgentRun) -> None:
    """The run was seen."""
    place = -run.spec.priority, run.metadata.creation_timestamp, run.metadata.name
    world.expect(run.agent_key, run.metadata.uid, place)


async def test_a_run_that_was_seen_comes_before_a_later_one_that_is_followed_already() -> None:
    """And gives its place to its own supervisor when that comes."""
    world, first, second = runner.World(), a_run("a"), a_run("b")
    expect(world, first)
    woken = world.join(second)
    assert world.busy_with(second) == "AgentRun a"
    woken.clear()
    world.join(first)
    assert (world.busy_with(second), world.busy_with(first)) == ("AgentRun a", "")
    world.leave(first)
    assert woken.is_set()
    assert world.busy_with(second) == ""


async def test_one_that_comes_behind_holds_nobody_up() -> None:
    """Neither the later one, nor one of lower priority, nor one of another agent."""
    world, first = runner.World(), a_run("b", priority=5)
    for other in (a_run("c", priority=5), a_run("a", priority=4), a_run("0", priority=9, agent={"id": "other"})):
        expect(world, other)
    world.join(first)
    assert world.busy_with(first) == ""


async def test_who_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait are woken, and nothing is left of it."""
    monkeypatch.setattr("agentrun_operator.runner.world._EXPECTED_SECONDS", 0.02)
    world, first, second = runner.World(), a_run("a"), a_run("b")
    expect(world, first)
    woken = world.join(second)
    woken.clear()
    async with asyncio.timeout(5):
        await woken.wait()
    assert world.busy_with(second) == ""
    world.leave(second)
    assert getattr(world, "_agents") == {}  # noqa: B009 - there is no other way to see that nothing is kept


async def test_who_looks_into_a_job_without_a_run_does_not_overtake(scene: scenes.Scene) -> None:
    """The run before has ended, and the watch still shows its Job as live: whoever looks into that finds none."""
    done = scene.add("a", status={"phase": "Succeeded", "completionTime": builders.CREATED})
    job = builders.job(done, uid="of-a", conditions={"Complete": ""}, resourceVersion=scene.kube.next_version())
    scene.kube.jobs["team-a", job["metadata"]["name"]] = job
    scene.world.saw_job(facts.parse_job(builders.job(done, uid="of-a", resourceVersion="1")))
    scene.add("b")
    scene.add("c")
    expect(scene.world, models.AgentRun.parse(scene.run("b")))
    last = scene.start("c")
    await scene.until(lambda: "AgentRun b" in scene.status("c").get("message", ""))
    assert "list_jobs" in scene.kube.verbs()
    assert "create_job" not in scene.kube.verbs()
    first = scene.start("b")
    await scene.job("b")
    assert (first.done(), last.done()) == (False, False)


async def test_one_that_is_suspended_by_now_holds_nobody_up() -> None:
    """Its supervisor says so as soon as it is there."""
    world, first, second = runner.World(), a_run("a", suspend=True), a_run("b")
    expect(world, first)
    woken = world.join(second)
    woken.clear()
    world.join(first)
    assert woken.is_set()
    assert world.busy_with(second) == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"status": {"phase": "Queued"}}, True),
        ({"status": {"phase": "Pending", "job": {"name": "j", "uid": "u"}}}, False),
        ({"status": {"phase": "Failed", "completionTime": builders.CREATED}}, False),
        ({"spec": {"suspend": True}}, False),
        ({"spec": {"cancel": True}}, False),
        ({"metadata": {"deletionTimestamp": builders.CREATED}}, False),
        ({"type": "DELETED"}, False),
    ],
)
async def test_which_runs_have_a_place(tmp_path: pathlib.Path, change: dict[str, Any], expected: bool) -> None:  # noqa: FBT001 - a row
    """Those that wait for their start, and nobody else; what changes takes the place away again."""
    memo = deps.make(settings.Settings(image="agent:1", data_path=str(tmp_path)), fakes.FakeKube())
    later = a_run("b")
    memo.world.join(later)
    kind = change.get("type", "MODIFIED")
    body = builders.agent_run(name="a", uid="uid-a")
    for show in ("ADDED", kind):
        await runs.saw(event=cast("kopf.RawEvent", {"type": show, "object": body}), uid="uid-a", memo=memo)
        assert memo.world.busy_with(later) == ("AgentRun a" if show == "ADDED" or expected else "")
        body = builders.agent_run(name="a", uid="uid-a")
        for part in ("metadata", "spec", "status"):
            body[part] = {**(body.get(part) or {}), **change.get(part, {})}
    assert names.agent_key("team-a", "acme", "coder") == later.agent_key


async def test_the_older_run_starts_first_though_the_younger_one_is_followed_first(scene: scenes.Scene) -> None:
    """kopf follows runs in no order."""
    for name in ("a", "b"):
        scene.add(name)
    event = cast("kopf.RawEvent", {"type": "ADDED", "object": scene.run("a")})
    await runs.saw(event=event, uid="uid-a", memo=scene.deps)
    _ = scene.start("b")
    await scene.until(lambda: scene.status("b").get("phase") == "Queued")
    assert scene.status("b")["message"].startswith("Waiting for AgentRun a")
    _ = scene.start("a")
    await scene.job("a")
    assert scene.job_body("b") is None
