"""The head start: a run has Secret and held Job before kopf lets its supervisor begin, and none that it should not."""

import asyncio
import datetime
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentrun_operator import errors, facts, models, names, runner
from agentrun_operator.runner import sources
from tests import builders, scenes
from tests.scenes import Scene, play

Body = dict[str, Any]
MADE = ["create_secret", "create_job"]


@pytest.fixture
async def scene(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A cluster in memory with an operator."""
    async with scenes.opened(tmp_path, monkeypatch) as made:
        yield made


def see(scene: Scene, body: Body) -> None:
    """The watch shows an AgentRun for the first time."""
    runner.expect(scene.deps, body, deleted=False)
    runner.begin(scene.deps, body)


async def prepared(scene: Scene) -> None:
    """Whatever was begun has come to its end."""
    async with asyncio.timeout(5):
        while scene.deps.preparing:
            await asyncio.gather(*scene.deps.preparing)


async def test_the_job_is_there_and_held_before_the_supervisor_begins(scene: Scene) -> None:
    """Which takes it over as its own; nothing is made twice, and the status names it before it is started."""
    see(scene, scene.add())
    await prepared(scene)
    assert scene.kube.verbs() == MADE
    body = scene.job_body()
    assert body is not None
    assert facts.parse_job(body).held
    end = await play(scene, scene.start())
    assert (end["phase"], end["job"]["uid"]) == ("Succeeded", body["metadata"]["uid"])
    assert [verb for verb in scene.kube.verbs() if verb in {*MADE, "get_job"}] == MADE
    assert scene.kube.started == [scene.job_name()]


async def test_a_supervisor_that_begins_meanwhile_waits_for_it(scene: Scene) -> None:
    """Both want to make the Job; one does."""
    scene.kube.hold = {"create_job"}
    body = scene.add()
    see(scene, body)
    await scene.until(lambda: "create_job" in scene.kube.verbs())
    _ = scene.start()
    await asyncio.sleep(0.02)
    assert scene.kube.verbs() == MADE


@pytest.mark.parametrize(
    "why",
    ["suspended", "cancelled", "being deleted", "has a status", "is followed", "the agent has a Job", "not its turn"],
)
async def test_there_is_none_for_a_run_that_does_not_start_now(scene: Scene, why: str) -> None:
    """Nor is anything asked for it."""
    body = scene.add(suspend=why == "suspended", cancel=why == "cancelled")
    match why:
        case "being deleted":
            body["metadata"]["deletionTimestamp"] = builders.CREATED
        case "has a status":
            body["status"] = {"phase": "Pending"}
        case "is followed":
            scene.world.join(models.AgentRun.parse(body))
        case "the agent has a Job":
            rival = builders.agent_run(name="b", uid="uid-b")
            scene.world.saw_job(facts.parse_job(builders.job(rival)))
        case "not its turn":
            runner.expect(scene.deps, scene.add("0"), deleted=False)
    see(scene, body)
    await prepared(scene)
    assert scene.kube.calls == []


async def test_there_is_none_while_its_credential_has_reached_a_limit(scene: Scene) -> None:
    """It would only be held for hours."""
    run = models.AgentRun.parse(scene.add())
    credential = await sources.find_credential(run, scene.config, scene.deps.own_pod)
    scene.world.limit(credential, scene.now() + datetime.timedelta(hours=1))
    see(scene, scene.run())
    await prepared(scene)
    assert scene.kube.calls == []


async def test_a_finished_orphan_is_left_to_the_supervisor(scene: Scene) -> None:
    """It removes that first."""
    orphan = builders.job(builders.agent_run(name="old", uid="uid-old"))
    orphan["metadata"]["ownerReferences"] = []
    orphan["status"] = {"conditions": [{"type": "Complete", "status": "True", "reason": "X"}]}
    scene.world.saw_job(facts.parse_job(orphan))
    see(scene, scene.add())
    await prepared(scene)
    assert scene.kube.calls == []


@pytest.mark.parametrize("verb", MADE)
@pytest.mark.parametrize("late", [False, True])
async def test_what_goes_wrong_is_tried_again_by_the_supervisor(scene: Scene, verb: str, *, late: bool) -> None:
    """Whether the request was carried out or not; nothing is made twice."""
    if late:
        scene.kube.fail_late[verb] = [scenes.unavailable()]
    else:
        scene.kube.fail[verb] = [scenes.unavailable()]
    see(scene, scene.add())
    await prepared(scene)
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert (len(scene.kube.jobs), scene.kube.started) == (1, [scene.job_name()])


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RejectedError("exceeded quota: compute", status=403), "k8s_quota_exceeded"),
        (errors.RejectedError("no such field", status=422), "k8s_job_create_failed"),
    ],
)
async def test_a_refusal_is_told_by_the_supervisor(scene: Scene, error: errors.ApiError, code: str) -> None:
    """As if there had been no head start."""
    scene.kube.fail["create_job"] = [error, error]
    see(scene, scene.add())
    await prepared(scene)
    assert scene.status() == {}
    end = await scene.finish(scene.start())
    assert (end["phase"], end["error"]["code"]) == ("Failed", code)
    assert scene.kube.secrets == {}


async def test_an_agentrun_that_cannot_be_read_is_left_to_the_supervisor(scene: Scene) -> None:
    """Which says what is wrong with it."""
    body = scene.add()
    body["spec"]["prompt"] = 7
    see(scene, body)
    await prepared(scene)
    assert scene.kube.calls == []
    assert (await scene.finish(scene.start()))["reason"] == "Unreadable"


async def test_a_run_that_is_cancelled_while_its_job_is_being_made_leaves_nothing(scene: Scene) -> None:
    """The supervisor waits until it is made, and removes it."""
    go_on = asyncio.Event()
    real = scene.kube.create_job

    async def slow(job: Body) -> facts.JobFacts:
        await go_on.wait()
        return await real(job)

    scene.kube.create_job = slow  # type: ignore[method-assign, assignment]  # of this one instance
    body = scene.add()
    see(scene, body)
    await scene.until(lambda: "create_secret" in scene.kube.verbs())
    body["spec"]["cancel"] = True
    body["metadata"]["resourceVersion"] = scene.kube.next_version()
    task = scene.start()
    await asyncio.sleep(0.02)
    assert not task.done()
    go_on.set()
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    scene.remove_job()
    end = await scene.finish(task)
    assert (end["phase"], scene.kube.secrets, scene.kube.jobs) == ("Cancelled", {}, {})


async def test_a_run_that_was_cancelled_before_its_turn_gets_no_job(scene: Scene) -> None:
    """It waited for a place among those that are being started, and was over by then."""
    for _ in range(16):
        await scene.deps.starts.acquire()
    body = scene.add(cancel=False)
    see(scene, body)
    await asyncio.sleep(0)
    body["spec"]["cancel"] = True
    end = scene.start()
    await asyncio.sleep(0.02)
    for _ in range(16):
        scene.deps.starts.release()
    await prepared(scene)
    assert (await scene.finish(end))["phase"] == "Cancelled"
    assert "create_job" not in scene.kube.verbs()


async def test_what_was_prepared_survives_a_crash(scene: Scene) -> None:
    """The next operator sees a held Job of a run that it is to start."""
    see(scene, scene.add())
    await prepared(scene)
    await scene.crash()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert [verb for verb in scene.kube.verbs() if verb in MADE] == MADE


async def test_the_agent_keeps_its_order(scene: Scene) -> None:
    """Only who comes first is prepared; names decide between runs of the same second."""
    bodies = [scene.add(name) for name in "abc"]
    for body in reversed(bodies):
        runner.expect(scene.deps, body, deleted=False)
    for body in reversed(bodies):
        runner.begin(scene.deps, body)
    await prepared(scene)
    assert list(scene.kube.jobs) == [("team-a", scene.job_name("a"))]
    assert names.ANNOTATION_HELD in scene.kube.jobs["team-a", scene.job_name("a")]["metadata"]["annotations"]
