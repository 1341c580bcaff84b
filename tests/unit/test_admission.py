"""How a run gets its agent, among others that want it: the gate, orphans, several operators, a crash at each step."""

# ruff: noqa: E501 - one row of a table, one line

import asyncio
import copy
import dataclasses
import datetime as dt
import json
import pathlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from agentrun_operator import errors, facts, kube, models, names, runner
from agentrun_operator.runner import mirrors, world
from tests import builders, scenes
from tests.scenes import INIT, RESULT, TURN, Scene, play, unavailable

Body = dict[str, Any]
EARLIER, LATER = "2026-01-02T03:04:05Z", "2099-01-02T03:04:05Z"


@pytest.fixture
async def scene(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """See the class; waits between retries are a few milliseconds."""
    async with scenes.opened(tmp_path, monkeypatch) as made:
        yield made


def conflict() -> errors.ConflictError:
    """Somebody else was quicker."""
    return errors.ConflictError("is not held as it was", status=422)


def rival(scene: Scene, name: str = "rival", *, run: bool = True, held: bool = True, **given: Any) -> Body:
    """A Job of another run of the agent, which has its AgentRun, if at all, with another operator; not stored."""
    body = builders.agent_run(name=name, uid=f"uid-{name}", runId=name, **given.pop("spec", {}))
    if run:
        scene.kube.add_run(body)
    made = builders.job(body, uid=f"job-of-{name}", suspend=held, **given)
    made["metadata"]["resourceVersion"] = "50"
    if held:
        made["metadata"]["annotations"][names.ANNOTATION_HELD] = names.HELD
    return made


def store(scene: Scene, job: Body, *, shown: bool = False) -> None:
    """It is there; no watch has shown it, unless said otherwise."""
    scene.kube.jobs["team-a", job["metadata"]["name"]] = job
    if shown:
        scene.world.saw_job(facts.parse_job(job))


def remove(scene: Scene, job: Body) -> None:
    """It is gone, and the watch shows that."""
    del scene.kube.jobs["team-a", job["metadata"]["name"]]
    scene.remove_pods(job["metadata"]["uid"])
    scene.world.saw_job(dataclasses.replace(facts.parse_job(job), gone=True))


def appears_with_the_own_one(scene: Scene, other: Body) -> None:
    """The other Job is published at the same moment as the run's: neither saw the other before."""
    real = scene.kube.create_job

    async def both(job: Mapping[str, Any]) -> facts.JobFacts:
        scene.kube.create_job = real  # type: ignore[method-assign]  # of this one instance
        created = await real(job)
        store(scene, other)
        return created

    scene.kube.create_job = both  # type: ignore[method-assign]  # of this one instance


def gate_of(job: Body) -> str | None:
    """Its mark."""
    mark = job["metadata"]["annotations"].get(names.ANNOTATION_HELD)
    return None if mark is None else str(mark)


def touched(scene: Scene) -> set[str]:
    """What was done to Jobs but for looking at them."""
    return set(scene.kube.verbs()) & {"create_job", "start_job", "mark_job", "adopt_job", "delete_job"}


# ------------------------------------------------------------------------------------------------------- the gate


async def test_a_job_has_no_pod_before_the_status_names_it(scene: Scene) -> None:
    """It is created held, recorded, and only then started."""
    scene.kube.hold = {"start_job"}
    scene.add()
    task = scene.start()
    await scene.until(lambda: "start_job" in scene.kube.verbs())
    job = scene.job_body()
    assert job is not None
    assert (job["spec"]["suspend"], gate_of(job)) == (True, "true")
    assert scene.status()["job"]["uid"] == job["metadata"]["uid"]
    assert scene.status()["phase"] == "Pending"
    await scene.crash()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert (job["spec"]["suspend"], gate_of(job), len(scene.kube.started)) == (False, None, 1)
    assert task.cancelled()


async def test_a_job_for_kueue_is_handed_to_its_queue_when_the_agent_is_free(scene: Scene) -> None:
    """It stays suspended; from then on it counts as live, for Kueue may let it go at any moment."""
    scene.add(job={"queueName": "agents"})
    _ = scene.start()
    await scene.until(lambda: scene.kube.started)
    job = scene.job_body()
    assert job is not None
    assert (job["spec"]["suspend"], gate_of(job)) == (True, None)
    assert job["metadata"]["labels"][names.LABEL_QUEUE] == "agents"
    await scene.until(lambda: scene.status().get("reason") == "JobSuspended")
    scene.add("b")
    _ = scene.start("b")
    await scene.until(lambda: scene.status("b").get("phase") == "Queued")
    assert scene.job_body("b") is None


@pytest.mark.parametrize("times", [1, 2, 3, 7])
async def test_who_finds_another_mark_at_the_start_lists_again(scene: Scene, times: int) -> None:
    """The list was older than the mark. After some rounds others get a turn, and then it is tried again."""
    scene.kube.fail["start_job"] = [conflict() for _ in range(times)]
    scene.add()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert scene.kube.verbs().count("start_job") == times + 1
    assert scene.kube.verbs().count("list_jobs") == times + 1
    assert [scene.kube.verbs().count(verb) for verb in ("create_secret", "create_job")] == [1, 1]
    assert len(scene.kube.started) == 1


async def test_who_is_ahead_goes_first(scene: Scene) -> None:
    """Its Job is older: the own one stays held until it is over, and the status says for whom."""
    other = rival(scene, creationTimestamp=EARLIER)
    appears_with_the_own_one(scene, other)
    scene.add()
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert "AgentRun rival" in scene.status()["message"]
    assert touched(scene) == {"create_job"}
    remove(scene, other)
    assert (await play(scene, task))["phase"] == "Succeeded"


async def test_who_is_live_goes_first_whatever_its_age(scene: Scene) -> None:
    """It was started between the first list and the second."""
    other = rival(scene, held=False, creationTimestamp=LATER)
    appears_with_the_own_one(scene, other)
    scene.add()
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert touched(scene) == {"create_job"}
    remove(scene, other)
    assert (await play(scene, task))["phase"] == "Succeeded"


@pytest.mark.parametrize("quicker", [False, True])
async def test_who_is_behind_is_marked_before_the_start(scene: Scene, *, quicker: bool) -> None:
    """So it has to list again, and will see this one; if it was marked by somebody else, this one lists again."""
    if quicker:
        scene.kube.fail["mark_job"] = [conflict()]
    other = rival(scene, creationTimestamp=LATER)
    appears_with_the_own_one(scene, other)
    scene.add()
    task = scene.start()
    await scene.until(lambda: scene.kube.started)
    mine = scene.job_body()
    assert mine is not None
    assert gate_of(other) == mine["metadata"]["uid"]
    verbs = [verb for verb in scene.kube.verbs() if verb in {"mark_job", "start_job", "write_run_status"}]
    assert verbs[: 3 + quicker] == [*["mark_job"] * (1 + quicker), "write_run_status", "start_job"]
    assert (await play(scene, task))["phase"] == "Succeeded"


async def test_a_mark_is_put_once(scene: Scene) -> None:
    """Also by an operator that died in between: who has the mark already has to list again anyway."""
    other = rival(scene, creationTimestamp=LATER)
    appears_with_the_own_one(scene, other)
    scene.kube.hold = {"write_run_status"}
    scene.add()
    _ = scene.start()
    await scene.until(lambda: "write_run_status" in scene.kube.verbs())
    await scene.crash()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert scene.kube.verbs().count("mark_job") == 1


async def test_a_run_that_may_not_wait_takes_its_job_back(scene: Scene) -> None:
    """The reason is written first; the Job never had a pod."""
    other = rival(scene, held=False, creationTimestamp=EARLIER)
    appears_with_the_own_one(scene, other)
    scene.add(concurrencyPolicy="Forbid")
    task = scene.start()
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    assert scene.status()["error"]["code"] == "k8s_concurrent_run_blocked"
    scene.remove_job()
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Failed", "k8s_concurrent_run_blocked")
    assert "AgentRun rival" in end["message"]
    assert (scene.kube.started, scene.secret()) == ([], None)


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_run_that_is_stopped_at_the_gate_never_starts(scene: Scene, how: str) -> None:
    """Its Job is taken back, and the end is that of any other stop."""
    other = rival(scene, creationTimestamp=EARLIER)
    appears_with_the_own_one(scene, other)
    scene.add()
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    scene.change(cancel=how == "cancel", deleted=how == "delete")
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    scene.remove_job()
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Cancelled", "cancelled")
    assert (scene.kube.started, scene.secret()) == ([], None)
    assert gate_of(other) == "true"


async def test_a_held_job_that_somebody_deletes_is_made_anew(scene: Scene) -> None:
    """Nobody was told of it yet, and it never had a pod."""
    other = rival(scene, creationTimestamp=EARLIER)
    appears_with_the_own_one(scene, other)
    scene.add()
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    scene.remove_job()
    remove(scene, other)
    assert (await play(scene, task))["phase"] == "Succeeded"
    assert scene.kube.verbs().count("create_job") == 2
    assert len(scene.kube.started) == 1


async def test_a_held_job_on_record_that_somebody_deletes_is_the_end(scene: Scene) -> None:
    """The status names it: one that is gone is never made again."""
    scene.kube.hold = {"start_job"}
    scene.add()
    _ = scene.start()
    await scene.until(lambda: "start_job" in scene.kube.verbs())
    await scene.end_tasks()
    scene.remove_job()
    await scene.crash()
    end = await scene.finish(scene.start())
    assert (end["phase"], end["error"]["code"]) == ("Failed", "k8s_job_deleted_externally")
    assert scene.kube.verbs().count("create_job") == 1


async def test_a_job_that_somebody_let_go_by_hand_is_followed(scene: Scene) -> None:
    """It may have its pod: it is not started twice, and not held back."""
    scene.kube.hold = {"start_job"}
    scene.add()
    _ = scene.start()
    await scene.until(lambda: "start_job" in scene.kube.verbs())
    job = scene.job_body()
    assert job is not None
    job["spec"]["suspend"] = False
    await scene.crash()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert scene.kube.started == []


async def test_two_that_wait_for_each_other_are_both_served(scene: Scene) -> None:
    """One stands at the gate when a more important one comes, which cannot pass it: it goes after that."""
    scene.kube.fail["start_job"] = [unavailable() for _ in range(20)]
    scene.add()
    first = scene.start()
    await scene.until(lambda: "start_job" in scene.kube.verbs())
    scene.add("b", priority=9)
    second = scene.start("b")
    await scene.until(lambda: scene.status("b").get("phase") == "Queued")
    assert (await play(scene, first))["phase"] == "Succeeded"
    await scene.runs("b", log=INIT + RESULT)
    await scene.exit(0, "b")
    assert (await scene.finish(second, "b"))["phase"] == "Succeeded"


# ------------------------------------------------------------------------------------------- without a list


START = ["create_secret", "create_job", "write_run_status", "start_job"]


async def mirror(scene: Scene, *, live: bool = True) -> None:
    """The watches are open from now on, and show each change of a Job: by themselves, or when the test says so."""
    scene.kube.live = live
    scene.tasks += await mirrors.begin(scene.kube, scene.world, ("",), scene.config.owns)
    await asyncio.sleep(0.001)
    scene.kube.calls.clear()


def lists(scene: Scene) -> list[str]:
    """The lists that were asked for."""
    return [verb for verb in scene.kube.verbs() if verb.startswith("list")]


def appears_before_the_own_one(scene: Scene, other: Body) -> None:
    """The other Job is published just before the run's; no watch has shown it when that is answered."""
    real = scene.kube.create_job

    async def both(job: Mapping[str, Any]) -> facts.JobFacts:
        scene.kube.create_job = real  # type: ignore[method-assign]  # of this one instance
        other["metadata"]["resourceVersion"] = scene.kube.next_version()
        store(scene, other)
        return await real(job)

    scene.kube.create_job = both  # type: ignore[method-assign]  # of this one instance


async def at_the_gate(scene: Scene) -> Body:
    """The run's Job is there, and its operator had time to go on. Returns the Job."""
    await scene.until(scene.job_body)
    await asyncio.sleep(0.02)
    job = scene.job_body()
    assert job is not None
    return job


async def test_a_free_agent_costs_no_list(scene: Scene) -> None:
    """Secret, Job, status, start; nothing else is asked for to the end, nor for the next run of the agent."""
    await mirror(scene)
    for name in "ab":
        scene.kube.calls.clear()
        scene.add(name)
        task = scene.start(name)
        await scene.runs(name, log=INIT + RESULT)
        assert scene.kube.verbs()[:4] == START
        await scene.exit(0, name)
        assert (await scene.finish(task, name))["phase"] == "Succeeded"
        assert set(scene.kube.verbs()) == {*START, "delete_secret"}


async def test_who_waits_for_a_run_asks_for_no_list_either(scene: Scene) -> None:
    """The watch shows the end of the other's Job."""
    await mirror(scene)
    tasks = {}
    for name in "ab":
        scene.add(name)
        tasks[name] = scene.start(name)
        await scene.until(lambda: scene.status(name).get("phase"))  # noqa: B023 - awaited at once
    for name in "ab":
        await scene.runs(name, log=INIT + RESULT)
        await scene.exit(0, name)
        assert (await scene.finish(tasks[name], name))["phase"] == "Succeeded"
    assert lists(scene) == []


async def test_the_gate_waits_for_the_watch(scene: Scene) -> None:
    """Until that has come to the run's own Job, the Job is neither on record nor started; a list is not needed."""
    await mirror(scene, live=False)
    scene.add()
    task = scene.start()
    job = await at_the_gate(scene)
    assert scene.kube.verbs() == ["create_secret", "create_job"]
    scene.kube.bookmark("jobs", str(int(job["metadata"]["resourceVersion"]) - 1))
    await asyncio.sleep(0.02)
    assert scene.kube.verbs() == ["create_secret", "create_job"]
    scene.kube.show("ADDED", "jobs", job)
    await scene.until(lambda: scene.kube.started)
    assert scene.kube.verbs() == START
    assert (await play(scene, task))["phase"] == "Succeeded"


@pytest.mark.parametrize("state", ["held", "live"])
async def test_a_rival_that_the_watch_shows_only_after_the_own_answer_is_waited_for(scene: Scene, state: str) -> None:
    """It was published before: the watch shows it before the own Job, whenever that may be."""
    await mirror(scene, live=False)
    other = rival(scene, held=state == "held", creationTimestamp=EARLIER)
    appears_before_the_own_one(scene, other)
    scene.add()
    task = scene.start()
    job = await at_the_gate(scene)
    scene.kube.show("ADDED", "jobs", other)
    await asyncio.sleep(0.02)
    assert "write_run_status" not in scene.kube.verbs()
    scene.kube.show("ADDED", "jobs", job)
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert "AgentRun rival" in scene.status()["message"]
    assert (lists(scene), touched(scene)) == ([], {"create_job"})
    other["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "X"}]}
    del scene.kube.jobs["team-a", other["metadata"]["name"]]
    scene.kube.live = True
    other["metadata"]["resourceVersion"] = scene.kube.next_version()
    scene.kube.show("DELETED", "jobs", other)
    assert (await play(scene, task))["phase"] == "Succeeded"
    assert lists(scene) == []


async def test_a_rival_behind_that_the_watch_shows_late_is_marked(scene: Scene) -> None:
    """Before the start, as if a list had shown it."""
    await mirror(scene, live=False)
    other = rival(scene, creationTimestamp=LATER)
    appears_before_the_own_one(scene, other)
    scene.add()
    task = scene.start()
    job = await at_the_gate(scene)
    for body in (other, job):
        scene.kube.show("ADDED", "jobs", body)
    await scene.until(lambda: scene.kube.started)
    assert gate_of(other) == job["metadata"]["uid"]
    assert scene.kube.verbs() == ["create_secret", "create_job", "mark_job", "write_run_status", "start_job"]
    task.cancel()


async def test_when_the_watch_does_not_come_the_gate_lists(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be broken; what the list shows counts, and the run starts without it."""
    monkeypatch.setattr(world, "_CATCH_UP_SECONDS", 0.01)
    await mirror(scene, live=False)
    other = rival(scene, creationTimestamp=EARLIER)
    appears_before_the_own_one(scene, other)
    scene.add()
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert set(lists(scene)) == {"list_jobs", "list_pods"}
    assert touched(scene) == {"create_job"}
    remove(scene, other)
    assert (await play(scene, task))["phase"] == "Succeeded"


@pytest.mark.parametrize("times", [1, 2, 3, 4])
async def test_who_finds_another_mark_at_the_start_trusts_no_view(scene: Scene, times: int) -> None:
    """What it went by is not how things are: it lists, and goes by the watch again only in its next turn."""
    await mirror(scene)
    scene.kube.fail["start_job"] = [conflict() for _ in range(times)]
    scene.add()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert scene.kube.verbs().count("list_jobs") == {1: 1, 2: 2, 3: 2, 4: 3}[times]
    assert len(scene.kube.started) == 1


@pytest.mark.parametrize("at_work", [True, False])
async def test_after_a_job_that_vanished_before_its_end_pods_are_listed_once(scene: Scene, *, at_work: bool) -> None:
    """The watch of pods need not have shown the pod that it has left; when it has not, the list does."""
    await mirror(scene)
    other = rival(scene, held=False)
    pod = stray(scene, "rival")
    if not at_work:
        scene.kube.pods.clear()
    other["metadata"]["resourceVersion"] = scene.kube.next_version()
    scene.kube.show("ADDED", "jobs", other)
    scene.kube.show("DELETED", "jobs", other)
    await asyncio.sleep(0.01)
    scene.add()
    task = scene.start()
    if at_work:
        await scene.until(lambda: scene.status().get("phase") == "Queued")
        assert f"pod {pod.name}" in scene.status()["message"]
        assert touched(scene) == set()
        scene.remove_pods(pod.job_uid)
    await scene.runs(log=INIT + RESULT)
    assert lists(scene) == ["list_jobs", "list_pods"]
    await scene.exit(0)
    assert (await scene.finish(task))["phase"] == "Succeeded"
    scene.add("b")
    _ = scene.start("b")
    await scene.until(lambda: len(scene.kube.started) == 2)
    assert lists(scene) == ["list_jobs", "list_pods"]


async def test_a_job_that_came_and_vanished_just_before_the_own_one_is_asked_for(scene: Scene) -> None:
    """The watch shows that while the gate waits for it: its pod may be at work."""
    await mirror(scene, live=False)
    other = rival(scene, held=False)
    appears_before_the_own_one(scene, other)
    pod = stray(scene, "rival")
    scene.add()
    task = scene.start()
    job = await at_the_gate(scene)
    del scene.kube.jobs["team-a", other["metadata"]["name"]]
    for kind, body in (("ADDED", other), ("DELETED", other), ("ADDED", job)):
        scene.kube.show(kind, "jobs", body)
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert f"pod {pod.name}" in scene.status()["message"]
    assert (lists(scene), scene.kube.started) == (["list_jobs", "list_pods"], [])
    scene.remove_pods(pod.job_uid)
    assert (await play(scene, task))["phase"] == "Succeeded"


async def test_an_own_job_that_only_a_list_shows_is_gone_on_with(scene: Scene) -> None:
    """An operator before this one has just created it, and the agent's pods have to be listed for another reason."""
    await mirror(scene)
    scene.kube.show("DELETED", "jobs", rival(scene, held=False))
    scene.add()
    given: Body = {"creationTimestamp": scene.now().isoformat(), "resourceVersion": scene.kube.next_version()}
    mine = builders.job(scene.run(), uid="earlier", suspend=True, **given)
    mine["metadata"]["annotations"][names.ANNOTATION_HELD] = names.HELD
    store(scene, mine)
    await asyncio.sleep(0.01)
    task = scene.start()
    await scene.until(lambda: lists(scene))
    scene.kube.show("ADDED", "jobs", mine)
    await scene.until(lambda: scene.kube.started)
    assert scene.status()["job"]["uid"] == "earlier"
    assert scene.kube.verbs()[:4] == ["list_jobs", "list_pods", "write_run_status", "start_job"]
    task.cancel()


async def test_the_view_of_a_restarted_operator_is_its_first_look(scene: Scene) -> None:
    """It goes on with the held Job that it found; no other list is needed."""
    scene.kube.hold = {"write_run_status"}
    await mirror(scene)
    scene.add()
    _ = scene.start()
    await scene.until(lambda: "write_run_status" in scene.kube.verbs())
    await scene.crash()
    await mirror(scene)
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert scene.kube.verbs()[:2] == ["write_run_status", "start_job"]
    assert lists(scene) == []


async def test_a_held_job_that_the_watch_shows_to_be_gone_is_made_anew(scene: Scene) -> None:
    """Somebody deleted it before the gate had looked."""
    await mirror(scene, live=False)
    scene.add()
    task = scene.start()
    job = await at_the_gate(scene)
    del scene.kube.jobs["team-a", job["metadata"]["name"]]
    scene.kube.live = True
    gone = copy.deepcopy(job)
    gone["metadata"]["resourceVersion"] = scene.kube.next_version()
    for kind, body in (("ADDED", job), ("DELETED", gone)):
        scene.kube.show(kind, "jobs", body)
    assert (await play(scene, task))["phase"] == "Succeeded"
    assert scene.kube.verbs().count("create_job") == 2
    assert len(scene.kube.started) == 1


# -------------------------------------------------------------------------------------------------- kopf's finalizer


async def test_the_job_is_recorded_when_kopf_has_written_its_finalizer(scene: Scene) -> None:
    """A status that was made before would meet a conflict."""
    meta = scene.add()["metadata"]
    meta["finalizers"] = []
    task = scene.start()
    await scene.until(lambda: scene.kube.jobs)
    scene.world.wake(meta["uid"])  # by something else
    await asyncio.sleep(0.05)
    assert "write_run_status" not in scene.kube.verbs()
    meta["finalizers"] = [names.FINALIZER]
    scene.world.wake(meta["uid"])
    assert (await play(scene, task))["phase"] == "Succeeded"


async def test_a_finalizer_that_does_not_come_holds_nobody_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for long: kopf may be refused, or be far behind."""
    monkeypatch.setattr("agentrun_operator.runner.supervisor._SETTLE_SECONDS", 0.01)
    scene.add()["metadata"]["finalizers"] = []
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"


@pytest.mark.parametrize("how", ["deleted", "cancelled"])
async def test_what_changes_while_the_finalizer_is_awaited_is_looked_at(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A run that is not wanted any more is not started, and nothing is waited for to say so."""
    monkeypatch.setattr("agentrun_operator.runner.supervisor._SETTLE_SECONDS", 600)
    scene.add()["metadata"]["finalizers"] = []
    task = scene.start()
    await scene.until(lambda: scene.kube.jobs)
    scene.change(cancel=how == "cancelled", deleted=how == "deleted")
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    scene.remove_job()
    assert (await scene.finish(task))["phase"] == "Cancelled"
    assert scene.kube.started == []


# -------------------------------------------------------------------------------------------------------- stray pods


def stray(scene: Scene, name: str = "lost", **given: Any) -> facts.PodFacts:
    """A pod of the agent whose Job is gone; no watch has shown it."""
    body = builders.pod(
        rival(scene, name, run=False, held=False), uid=f"pod-{name}", **{"main": builders.running(), **given}
    )
    scene.kube.pods["team-a", body["metadata"]["name"]] = body
    return facts.parse_pod(body)


@pytest.mark.parametrize("shown", [True, False])
async def test_a_pod_that_outlived_its_job_is_waited_for(scene: Scene, *, shown: bool) -> None:
    """Its agent may be at work on a node that does not answer; the status names it."""
    pod = stray(scene)
    if shown:
        scene.world.saw_pod(pod)
    scene.add()
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert f"pod {pod.name}" in scene.status()["message"]
    assert touched(scene) == (set() if shown else {"create_job"}), "the gate lists, for no watch is up to date here"
    assert scene.kube.started == []
    scene.remove_pods(pod.job_uid)
    assert (await play(scene, task))["phase"] == "Succeeded"


async def test_a_pod_that_has_ended_is_in_nobodys_way(scene: Scene) -> None:
    """Whether its Job is there or not."""
    stray(scene, phase="Failed", main=builders.terminated(exit_code=1))
    scene.add()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"


async def let_go(scene: Scene) -> facts.PodFacts:
    """Somebody deletes the Job of a live run with --cascade=orphan: its pod stays, and nobody deletes that."""
    job = scene.job_body()
    assert job is not None
    scene.world.saw_job(facts.parse_job(job))
    del scene.kube.jobs["team-a", job["metadata"]["name"]]
    [body] = scene.kube.pods.values()
    body["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = job["metadata"]["uid"]
    body["metadata"]["ownerReferences"] = []
    pod = scene.show_pod(body)
    scene.world.saw_job(dataclasses.replace(facts.parse_job(job), gone=True))
    return pod


async def test_a_pod_that_is_shown_later_than_the_end_of_its_job_is_asked_for(scene: Scene) -> None:
    """Two watches tell of them. A run that ended for want of a pod would leave it at work, and nobody would stop it."""
    scene.add()
    task = scene.start()
    job = await scene.job()
    body = builders.pod(job, main=builders.running())
    body["metadata"] |= {"ownerReferences": [], "resourceVersion": scene.kube.next_version()}
    body["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = job["metadata"]["uid"]
    scene.kube.pods["team-a", body["metadata"]["name"]] = body
    del scene.kube.jobs["team-a", job["metadata"]["name"]]
    scene.log(INIT)
    scene.world.saw_job(dataclasses.replace(facts.parse_job(job), gone=True))
    await scene.until(lambda: scene.status().get("phase") == "Running")
    scene.change(cancel=True)
    await scene.until(lambda: "delete_pod" in scene.kube.verbs())
    scene.remove_pods(job["metadata"]["uid"])
    assert (await scene.finish(task))["phase"] == "Cancelled"
    assert scene.kube.verbs().count("list_pods") == 2, "at its start, and then once"


@pytest.mark.parametrize("restart", [False, True])
async def test_a_run_whose_job_was_taken_away_from_its_pod_goes_on(scene: Scene, *, restart: bool) -> None:
    """The agent works on, however long; its end is read off the pod."""
    scene.add()
    task = scene.start()
    await scene.runs(log=INIT)
    await let_go(scene)
    if restart:
        await scene.crash()
        task = scene.start()
    scene.later = dt.timedelta(days=1)
    scene.world.wake("uid-a")
    scene.log(TURN)
    await scene.until(lambda: scene.status().get("turns") == 1)
    assert (scene.status()["phase"], task.done()) == ("Running", False)
    scene.later = dt.timedelta()
    scene.log(RESULT)
    [body] = scene.kube.pods.values()
    body["status"] |= {"phase": "Succeeded", "containerStatuses": [{"name": "claude", "state": builders.terminated()}]}
    scene.show_pod(body)
    assert (await scene.finish(task))["phase"] == "Succeeded"
    assert touched(scene) == {"create_job", "start_job"}
    assert "delete_pod" not in scene.kube.verbs()


@pytest.mark.parametrize("restart", [False, True])
async def test_a_run_whose_job_was_taken_away_keeps_its_deadline(scene: Scene, *, restart: bool) -> None:
    """Kubernetes watches over it no more, and nobody may know when the Job was started."""
    scene.add(timeouts={"timeoutSeconds": 60})
    task = scene.start()
    await scene.runs(log=INIT)
    pod = await let_go(scene)
    if restart:
        await scene.crash()
        task = scene.start()
    scene.run()["status"]["runningTime"] = "2026-01-02T03:04:05Z"
    await scene.until(lambda: scene.status().get("phase") == "Running")
    await scene.until(lambda: "delete_pod" in scene.kube.verbs())
    scene.remove_pods(pod.job_uid)
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Failed", "timeout")


async def test_a_run_whose_job_was_taken_away_can_be_cancelled(scene: Scene) -> None:
    """Then it is the pod that is deleted, once."""
    scene.add()
    task = scene.start()
    await scene.runs(log=INIT)
    pod = await let_go(scene)
    scene.change(cancel=True)
    [body] = scene.kube.pods.values()
    await scene.until(lambda: "deletionTimestamp" in body["metadata"])
    assert scene.status()["reason"] == "Cancelling"
    scene.show_pod(body)
    for _ in range(3):
        scene.world.wake("uid-a")
        await asyncio.sleep(0.005)
    scene.remove_pods(pod.job_uid)
    assert (await scene.finish(task))["phase"] == "Cancelled"
    assert scene.kube.verbs().count("delete_pod") == 1


# ------------------------------------------------------------------------------------------------------------- rights


def forbidden(what: str) -> errors.ForbiddenError:
    """The role does not allow it."""
    text = f'{what} is forbidden: User "operator" cannot create resource "{what}" in API group "" in the namespace "team-a"'
    return errors.ForbiddenError(text, status=403, reason="Forbidden")


@pytest.mark.parametrize("verb", ["create_secret", "create_job", "list_jobs", "list_pods", "start_job"])
async def test_a_missing_right_is_not_believed_at_once(scene: Scene, verb: str) -> None:
    """An API server that has just started does not know the roles yet."""
    scene.kube.fail[verb] = [forbidden("jobs") for _ in range(3)]
    scene.add()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert len(scene.kube.started) == 1


@pytest.mark.parametrize(
    ("verb", "code"),
    [
        ("create_secret", "k8s_prompt_secret_create_failed"),
        ("create_job", "k8s_job_create_failed"),
        ("list_jobs", "k8s_concurrency_guard_unreachable"),
    ],
)
async def test_a_right_that_is_missing_for_long_is_the_cause(scene: Scene, verb: str, code: str) -> None:
    """After pendingSeconds, in the API's own words."""
    scene.kube.fail[verb] = [forbidden("jobs") for _ in range(100_000)]
    scene.add(timeouts={"pendingSeconds": 60})
    task = scene.start()
    await scene.until(lambda: scene.kube.verbs().count(verb) > 2)
    scene.later = dt.timedelta(seconds=61)
    if verb == "list_jobs":
        await scene.until(lambda: "delete_job" in scene.kube.verbs())
        scene.remove_job()
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Failed", code)
    assert 'cannot create resource "jobs"' in end["message"]
    assert (scene.secret(), scene.kube.started) == (None, [])


async def test_a_job_that_another_operator_of_the_run_has_just_created_is_the_runs(scene: Scene) -> None:
    """Nothing had shown it before that."""
    scene.add()
    real = scene.kube.create_job

    async def beaten(job: Mapping[str, Any]) -> facts.JobFacts:
        scene.kube.create_job = real  # type: ignore[method-assign]  # of this one instance
        await real(job)
        return await real(job)

    scene.kube.create_job = beaten  # type: ignore[method-assign]  # of this one instance
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert (len(scene.kube.jobs), len(scene.kube.started)) == (1, 1)
    assert scene.kube.verbs().count("get_job") == 1


# ----------------------------------------------------------------------------------------------------------- orphans


def orphan(scene: Scene, task: str | None = "T-1", *, shown: bool = True, **given: Any) -> Body:
    """A live Job whose AgentRun is gone, with its Secret and its pod at work; the watches have shown it, or not yet."""
    job = rival(scene, "lost", run=False, held=False, spec={"taskId": task}, **given)
    store(scene, job)
    secret = {"metadata": {"namespace": "team-a", "name": scene.secret_name("lost"), "ownerReferences": []}}
    scene.kube.secrets["team-a", scene.secret_name("lost")] = secret
    pod = builders.pod(job, uid="pod-lost", main=builders.running())
    if shown:
        scene.world.saw_job(facts.parse_job(job))
        scene.show_pod(pod)
    else:
        scene.kube.pods["team-a", pod["metadata"]["name"]] = pod
    return job


async def end_of(scene: Scene, job: Body, code: int = 0) -> None:
    """Its agent ends."""
    main = builders.terminated(exit_code=code)
    known = scene.world.pod_of(job["metadata"]["uid"])
    assert known is not None
    scene.show_pod(builders.pod(job, uid=known.uid, phase="Failed" if code else "Succeeded", main=main))
    job["status"] = {"conditions": [{"type": "Failed" if code else "Complete", "status": "True", "reason": "X"}]}
    job["metadata"]["resourceVersion"] = scene.kube.next_version()
    scene.world.saw_job(facts.parse_job(job))


@pytest.mark.parametrize("owner", ["the AgentRun is gone", "kubectl took the owner away", "another of its name"])
async def test_an_orphan_of_the_same_task_is_adopted(scene: Scene, owner: str) -> None:
    """Same Job, same pod, same log, with its Secret; nothing is created and nothing is lost."""
    orphaned = owner == "kubectl took the owner away"
    annotations: Body = {names.ANNOTATION_LOG_PATH: "/paperclip/instances/default/run-logs/acme/coder/lost.pod.ndjson"}
    left: Body = {"annotations": annotations}
    if orphaned:
        left = {"annotations": {**annotations, names.ANNOTATION_RUN: "lost"}, "ownerReferences": []}
    job = orphan(scene, **left)
    if owner == "another of its name":
        scene.kube.add_run(builders.agent_run(name="lost", uid="uid-new"))
    log = scene.log(INIT + TURN, "lost")
    log.with_name("lost.pod.owner").write_text("team-a uid-lost WithRun\n")
    scene.add(taskId="T-1")
    task = scene.start()
    await scene.until(lambda: scene.status().get("turns") == 1)
    status = scene.status()
    assert (status["reattachedFrom"], status["job"]["uid"], status["phase"]) == ("lost", "job-of-lost", "Running")
    assert status["logPath"].endswith("/lost.pod.ndjson")
    assert [o["uid"] for o in job["metadata"]["ownerReferences"]] == ["uid-a"]
    secret = scene.kube.secrets["team-a", scene.secret_name("lost")]  # the status tells of the Job first
    await scene.until(lambda: [o["uid"] for o in secret["metadata"]["ownerReferences"]] == ["uid-a"])
    await scene.until(lambda: "uid-a WithRun" in log.with_name("lost.pod.owner").read_text())
    scene.log(RESULT, "lost")
    await end_of(scene, job)
    end = await scene.finish(task)
    assert (end["phase"], end["turns"], end["reattachedFrom"]) == ("Succeeded", 1, "lost")
    assert touched(scene) == {"adopt_job"}
    assert ("team-a", scene.secret_name("lost")) not in scene.kube.secrets
    assert list(scene.kube.pods) == [("team-a", f"{job['metadata']['name']}-x7k2p")]


async def test_an_orphan_that_shows_only_at_the_gate_is_waited_for(scene: Scene) -> None:
    """The run has its own Job by then, and is not to do the other's work as well; both watches were late."""
    job = orphan(scene, shown=False)
    scene.add(taskId="T-1")
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert "AgentRun lost" in scene.status()["message"]
    assert touched(scene) == {"create_job"}
    remove(scene, job)
    assert (await play(scene, task))["phase"] == "Succeeded"
    assert "reattachedFrom" not in scene.status()


async def test_an_adopted_job_is_never_tried_again(scene: Scene) -> None:
    """Its prompt was another run's: this one would not do the same again."""
    job = orphan(scene)
    scene.add(taskId="T-1", retry={"limit": 3, "backoffSeconds": 0})
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Running")
    scene.log(INIT, "lost")
    scene.show_pod(builders.pod(job, uid="pod-lost", phase="Failed", reason="Evicted"))
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "X"}]}
    job["metadata"]["resourceVersion"] = scene.kube.next_version()
    scene.world.saw_job(facts.parse_job(job))
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Failed", "k8s_pod_evicted")
    assert "previousAttempts" not in end
    assert touched(scene) == {"adopt_job"}


async def test_a_restart_after_an_adoption_goes_on(scene: Scene) -> None:
    """The Job is the run's own by then, whatever else was done."""
    job = orphan(scene)
    scene.kube.hold = {"adopt_secret"}
    scene.add(taskId="T-1")
    _ = scene.start()
    await scene.until(lambda: "adopt_secret" in scene.kube.verbs())
    scene.log(INIT + RESULT, "lost")
    await scene.crash()
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Running")
    assert scene.status()["reattachedFrom"] == "lost"
    await end_of(scene, job)
    assert (await scene.finish(task))["phase"] == "Succeeded"
    assert touched(scene) == {"adopt_job"}
    assert "finalizers" not in job["metadata"] or job["metadata"]["finalizers"] == []
    assert scene.kube.verbs().count("let_job_go") == 1


@pytest.mark.parametrize("unanswered", ["write_run_status", "adopt_secret", "let_job_go"])
async def test_an_adopted_job_that_is_deleted_while_no_operator_is_there_is_told_of(
    scene: Scene, unanswered: str
) -> None:
    """It cannot vanish before the status names it, whichever request was the last one."""
    job = orphan(scene)
    scene.kube.hold = {unanswered}
    scene.add(taskId="T-1")
    _ = scene.start()
    await scene.until(lambda: unanswered in scene.kube.verbs())
    assert job["metadata"]["finalizers"] == [names.ADOPTION_FINALIZER]
    await scene.crash()
    scene.kube.hold = set()
    await scene.kube.delete_job(facts.parse_job(job))
    scene.world.saw_job(facts.parse_job(job))
    task = scene.start()
    await scene.until(lambda: scene.kube.jobs == {})
    scene.remove_pods(job["metadata"]["uid"])
    scene.world.saw_job(dataclasses.replace(facts.parse_job(job), gone=True))
    end = await scene.finish(task)
    assert end["job"] == {"name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    assert (end["reattachedFrom"], end["logPath"].rsplit("/", 1)[1]) == ("lost", "lost.pod.ndjson")


@pytest.mark.parametrize("error", [conflict(), unavailable()])
async def test_an_adoption_without_success_is_tried_again(scene: Scene, error: errors.ApiError) -> None:
    """After another look: somebody else may have adopted it."""
    orphan(scene)
    scene.kube.fail["adopt_job"] = [error]
    scene.add(taskId="T-1")
    _ = scene.start()
    await scene.until(lambda: scene.status().get("reattachedFrom") == "lost")
    assert scene.kube.verbs().count("adopt_job") == 2


async def test_of_two_runs_one_adopts(scene: Scene) -> None:
    """The other waits for it like for any other run."""
    orphan(scene)
    for name in "ab":
        scene.add(name, taskId="T-1")
        _ = scene.start(name)
    await scene.until(lambda: {scene.status(name).get("phase") for name in "ab"} == {"Running", "Queued"})
    adopters = [name for name in "ab" if "reattachedFrom" in scene.status(name)]
    assert len(adopters) == 1
    assert touched(scene) == {"adopt_job"}


@pytest.mark.parametrize(
    ("spec", "task", "code"),
    [
        ({"taskId": "T-2"}, "T-1", "k8s_orphan_task_mismatch"),
        ({}, "T-1", "k8s_orphan_task_unknown"),
        ({"taskId": "T-1"}, None, "k8s_orphan_task_unknown"),
        ({"taskId": "T-1", "session": {"id": "s-1"}}, "T-1", "k8s_orphan_session_mismatch"),
    ],
)
async def test_an_orphan_that_may_be_other_work_is_refused_and_left_alone(
    scene: Scene, spec: Body, task: str | None, code: str
) -> None:
    """The run ends with the reason; the agent goes on."""
    job = orphan(scene, task, ownerReferences=[])
    if "session" in spec:
        job["metadata"]["labels"][names.LABEL_SESSION_ID] = "s-2"
    before = copy.deepcopy(job)
    scene.add(**spec)
    end = await scene.finish(scene.start())
    assert (end["phase"], end["error"]["code"]) == ("Failed", code)
    assert job["metadata"]["name"] in end["message"]
    assert (touched(scene), job) == (set(), before)


async def test_a_job_that_nobody_let_go_ends_no_other_run(scene: Scene) -> None:
    """Its AgentRun was deleted, and the garbage collector is late: the Job is waited for."""
    job = orphan(scene)
    scene.add(taskId="T-2")
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert touched(scene) == set()
    remove(scene, job)
    assert (await play(scene, task))["phase"] == "Succeeded"


@pytest.mark.parametrize("why", ["reattach is false", "its AgentRun is there", "it is being deleted"])
async def test_a_job_that_is_not_to_be_adopted_is_waited_for(scene: Scene, why: str) -> None:
    """Each is looked into once; then it is the watch that tells of its end."""
    job = orphan(scene, deleting=why == "it is being deleted")
    if why == "its AgentRun is there":
        scene.kube.add_run(builders.agent_run(name="lost", uid="uid-lost", runId="lost"))
    scene.add(taskId="T-1", reattach=why != "reattach is false")
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    looked = len(scene.kube.calls)
    for _ in range(5):
        scene.world.wake("uid-a")
        await asyncio.sleep(0.005)
    assert set(scene.kube.verbs()[looked:]) <= {"write_run_status"}
    assert touched(scene) == set()
    remove(scene, job)
    assert (await play(scene, task))["phase"] == "Succeeded"


@pytest.mark.parametrize(
    "owner",
    ["gone", "has ended"],
)
@pytest.mark.parametrize("when", ["before", "at the gate"])
@pytest.mark.parametrize("secrets", ["its own", "another's", "gone"])
async def test_a_held_job_that_nobody_will_start_is_removed(scene: Scene, owner: str, when: str, secrets: str) -> None:
    """It never had a pod, and would hold everybody up for ever; its Secret goes with it."""
    dead = rival(scene, run=owner == "has ended", creationTimestamp=EARLIER)
    if owner == "has ended":
        scene.kube.runs["team-a", "rival"]["status"] = {"phase": "Failed"}
    if when == "before":
        store(scene, dead, shown=True)
    else:
        appears_with_the_own_one(scene, dead)
    secret = names.prompt_secret_name(dead["metadata"]["name"])
    owners = dead["metadata"]["ownerReferences"] if secrets == "its own" else []
    if secrets != "gone":
        scene.kube.secrets["team-a", secret] = {"metadata": {"namespace": "team-a", "ownerReferences": owners}}
    scene.add(taskId="T-1")
    task = scene.start()
    await scene.until(lambda: dead["metadata"].get("deletionTimestamp"))
    remove(scene, dead)
    assert (await play(scene, task))["phase"] == "Succeeded"
    assert [what for verb, what in scene.kube.calls if verb == "delete_job"] == [dead["metadata"]["name"]]
    assert (("team-a", secret) in scene.kube.secrets) == (secrets == "another's")


@pytest.mark.parametrize("shown", [True, False])
async def test_a_held_job_whose_run_waits_elsewhere_is_left_alone(scene: Scene, *, shown: bool) -> None:
    """Its operator will start it, or that operator's successor."""
    other = rival(scene, creationTimestamp=EARLIER)
    store(scene, other, shown=shown)
    scene.add()
    _ = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert touched(scene) == (set() if shown else {"create_job"})
    assert (gate_of(other), scene.kube.started) == ("true", [])


async def test_what_orphans_leave_behind_is_removed(scene: Scene) -> None:
    """A finished Job without an owner, with its Secret; one with an owner is its owner's, or the garbage collector's."""
    nobodys = rival(scene, "nobodys", run=False, held=False, conditions={"Complete": ""}, ownerReferences=[])
    owned = rival(scene, "owned", run=False, held=False, conditions={"Complete": ""})
    for job in (nobodys, owned):
        store(scene, job, shown=True)
        place = ("team-a", names.prompt_secret_name(job["metadata"]["name"]))
        scene.kube.secrets[place] = {"metadata": {"namespace": "team-a", "name": place[1]}}
    scene.add()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert [what for verb, what in scene.kube.calls if verb == "delete_job"] == [nobodys["metadata"]["name"]]
    assert [name for _, name in scene.kube.secrets] == [names.prompt_secret_name(owned["metadata"]["name"])]


# --------------------------------------------------------------------------------------------- a crash at each step


class CrashError(Exception):
    """The process is gone."""


def die_at(scene: Scene, step: runner.Step) -> None:
    """The operator dies right after that step."""

    def reached(now: runner.Step) -> None:
        if now is step:
            raise CrashError(step)

    scene.deps = dataclasses.replace(scene.deps, reached=reached)


ADMISSION = [
    runner.Step.SECRET_CREATED,
    runner.Step.JOB_HELD,
    runner.Step.GUARD_PASSED,
    runner.Step.JOB_RECORDED,
    runner.Step.JOB_STARTED,
]


@pytest.mark.parametrize("step", ADMISSION)
async def test_a_crash_between_two_steps_of_an_admission_is_made_good(scene: Scene, step: runner.Step) -> None:
    """One Secret, one Job, one start, whoever began."""
    die_at(scene, step)
    scene.add()
    with pytest.raises(CrashError):
        await scene.start()
    await scene.crash()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert (len(scene.kube.jobs), scene.kube.started) == (1, [scene.job_name()])
    assert scene.kube.verbs().count("create_job") == 1
    assert scene.secret() is None


REQUESTS = ["list_jobs", "list_pods", "create_secret", "create_job", "write_run_status", "start_job"]


@pytest.mark.parametrize("verb", REQUESTS)
@pytest.mark.parametrize("answered", [True, False])
async def test_a_crash_during_a_request_of_an_admission_is_made_good(
    scene: Scene, verb: str, *, answered: bool
) -> None:
    """Whether it was carried out or not."""
    if answered:
        scene.kube.fail_late[verb] = [unavailable()]
    else:
        scene.kube.hold = {verb}
    scene.add()
    _ = scene.start()
    await scene.until(lambda: verb in scene.kube.verbs())
    await scene.crash()
    scene.kube.fail_late.clear()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert (len(scene.kube.jobs), scene.kube.started) == (1, [scene.job_name()])


@pytest.mark.parametrize("step", ADMISSION)
async def test_who_waits_behind_a_crashed_one_gets_his_turn(scene: Scene, step: runner.Step) -> None:
    """Both are followed again: the one that was ahead goes first."""
    die_at(scene, step)
    scene.add()
    with pytest.raises(CrashError):
        await scene.start()
    await scene.crash()
    scene.add("b", priority=5)
    tasks = {name: scene.start(name) for name in "ba"}
    done: list[str] = []
    while len(done) < 2:
        await scene.until(lambda: len(scene.live_jobs()) == 1 and len(scene.kube.started) > len(done))
        name = next(name for name in "ab" if scene.job_name(name) == scene.live_jobs()[0])
        await scene.runs(name, log=INIT + RESULT)
        await scene.exit(0, name)
        assert (await scene.finish(tasks[name], name))["phase"] == "Succeeded"
        done.append(name)
    assert len(scene.kube.started) == 2
    assert done == (["b", "a"] if step is runner.Step.SECRET_CREATED else ["a", "b"])


# -------------------------------------------------------------------------------------------------- several operators

TURNS = [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 21, 30]


async def turns(number: int) -> None:
    """Let others go on for so many turns of the event loop."""
    for _ in range(number):
        await asyncio.sleep(0)


def count_live(scene: Scene) -> list[int]:
    """How many Jobs of the agent were live after each start; a list that grows."""
    seen: list[int] = []
    real = scene.kube.start_job

    async def start(job: facts.JobFacts, *, queue: str | None) -> facts.JobFacts:
        try:
            return await real(job, queue=queue)
        finally:
            seen.append(len(scene.live_jobs()))

    scene.kube.start_job = start  # type: ignore[method-assign]  # of this one instance
    return seen


@pytest.mark.parametrize("lead", TURNS)
@pytest.mark.parametrize("in_order", [True, False])
async def test_two_operators_of_one_run_make_one_job_and_one_end(scene: Scene, lead: int, *, in_order: bool) -> None:
    """Each takes the other for dead, at whatever moment the second one comes; by watches or by lists."""
    other = await scene.another()
    scene.watch(in_order=in_order)
    scene.add()
    first = scene.start()
    await turns(lead)
    second = other.start()
    await scene.runs(log=INIT + TURN)
    await scene.until(lambda: scene.status().get("turns") == 1)
    scene.log(RESULT)
    await scene.exit(0)
    end = await scene.finish(first)
    await other.finish(second)
    assert (end["phase"], end["costUSD"]) == ("Succeeded", "0.5")
    assert (len(scene.kube.jobs), scene.kube.started) == (1, [scene.job_name()])
    finals = [status for status in scene.kube.written if status["phase"] in {"Succeeded", "Failed", "Cancelled"}]
    assert finals == [end]
    assert scene.secret() is None


@pytest.mark.parametrize("lead", TURNS)
@pytest.mark.parametrize("in_order", [True, False])
async def test_two_operators_of_two_runs_run_one_agent_at_a_time(scene: Scene, lead: int, *, in_order: bool) -> None:
    """Both come to their end, one after the other; by watches or by lists."""
    other = await scene.another()
    live = count_live(scene)
    scene.watch(in_order=in_order)
    for name in "ab":
        scene.add(name)
    operators = {"a": scene, "b": other}
    tasks = {"a": scene.start("a")}
    await turns(lead)
    tasks["b"] = other.start("b")
    for number in (1, 2):
        await scene.until(lambda: len(scene.kube.started) == number and len(scene.live_jobs()) == 1)  # noqa: B023 - awaited at once
        name = next(name for name in "ab" if scene.job_name(name) == scene.live_jobs()[0])
        await scene.runs(name, log=INIT + RESULT)
        await scene.exit(0, name)
        assert (await operators[name].finish(tasks[name], name))["phase"] == "Succeeded"
    assert set(live) == {1}
    assert len(scene.kube.started) == 2


@pytest.mark.parametrize("lead", TURNS)
@pytest.mark.parametrize("in_order", [True, False])
async def test_an_orphan_is_adopted_by_one_of_two_operators(scene: Scene, lead: int, *, in_order: bool) -> None:
    """Each has a run that could."""
    orphan(scene)
    other = await scene.another()
    scene.watch(in_order=in_order)
    for name in "ab":
        scene.add(name, taskId="T-1")
    _ = scene.start("a")
    await turns(lead)
    _ = other.start("b")
    await scene.until(lambda: {scene.status(name).get("phase") for name in "ab"} == {"Running", "Queued"})
    assert touched(scene) == {"adopt_job"}
    assert sum("reattachedFrom" in scene.status(name) for name in "ab") == 1


async def test_what_another_operator_wrote_is_not_overwritten(scene: Scene) -> None:
    """This one's watch lags behind: it goes on from what is there, and writes no second end."""
    scene.add()
    shown = copy.deepcopy(scene.run())
    task = asyncio.create_task(runner.Supervisor(scene.deps, lambda: shown).run())
    scene.tasks.append(task)
    await scene.runs(log=INIT)
    await scene.until(lambda: "session" in scene.status())
    theirs = {**scene.status(), "phase": "Cancelled", "reason": "Cancelled", "message": "Theirs."}
    meta = scene.run()["metadata"]
    ref = kube.Ref("team-a", "a", "uid-a")
    await scene.kube.write_run_status(ref, theirs, version=meta["resourceVersion"])
    scene.log(TURN + RESULT)
    await scene.exit(0)
    assert (await scene.finish(task))["message"] == "Theirs."
    assert scene.kube.written[-1] == theirs


async def test_a_run_that_another_operator_has_ended_is_not_started(scene: Scene) -> None:
    """Its end stays, and what was made for the start in vain is removed, also when the API is slow to hear."""
    scene.add()
    shown = copy.deepcopy(scene.run())
    theirs = {"phase": "Failed", "reason": "QuotaExceeded", "message": "Theirs."}
    passed = scene.deps.reached

    def end_it(step: runner.Step) -> None:
        passed(step)
        if step is runner.Step.GUARD_PASSED:
            scene.run()["status"] = theirs
            scene.run()["metadata"]["resourceVersion"] = "50"

    deps_with = dataclasses.replace(scene.deps, reached=end_it)
    scene.kube.fail["delete_job"] = [unavailable()]
    task = asyncio.create_task(runner.Supervisor(deps_with, lambda: shown).run())
    scene.tasks.append(task)
    assert await scene.finish(task) == theirs
    assert (scene.kube.started, scene.kube.written, scene.secret()) == ([], [], None)
    job = scene.job_body()
    assert job is not None
    assert job["metadata"].get("deletionTimestamp")


async def test_a_refusal_takes_nothing_from_the_start_by_another_operator(scene: Scene) -> None:
    """A quota was full when this one asked, and is not any more when the other does: who writes first is right."""
    other = await scene.another()
    scene.watch()
    real, others = scene.kube.get_job, list[asyncio.Task[None]]()

    async def answer_late(namespace: str, name: str) -> facts.JobFacts:
        try:
            return await real(namespace, name)
        finally:
            if not others:
                others.append(other.start())
                await scene.until(lambda: scene.kube.started)

    scene.kube.get_job = answer_late  # type: ignore[method-assign]  # of this one instance
    scene.kube.fail["create_job"] = [errors.RejectedError("jobs.batch is forbidden: exceeded quota", status=403)]
    scene.add()
    first = scene.start()
    await scene.until(lambda: scene.kube.started)
    await scene.runs(log=INIT)
    assert scene.secret() is not None
    scene.log(RESULT)
    await scene.exit(0)
    assert (await scene.finish(first))["phase"] == "Succeeded"
    await other.finish(others[0])
    assert scene.secret() is None


async def test_a_pod_tells_that_its_job_was_started(scene: Scene) -> None:
    """The watch of Jobs is late: another operator has started the Job, its agent has ended, and its log is to be read."""
    other = await scene.another()
    scene.kube.hold = {"start_job"}
    scene.add()
    task = scene.start()
    await scene.until(lambda: "start_job" in scene.kube.verbs())
    body = await scene.job()
    other.world.saw_job(facts.parse_job(body))
    second = other.start()
    scene.log(INIT + RESULT)
    pod = builders.pod(body, uid="pod-a", phase="Succeeded", main=builders.terminated(exit_code=0))
    other.world.saw_pod(facts.parse_pod(pod))
    end = await other.finish(second)
    assert (end["phase"], end["logEvents"]) == ("Succeeded", 2)
    task.cancel()


# -------------------------------------------------------------------------------------------------- replace and let go


async def test_a_run_that_was_replaced_says_by_whom(scene: Scene) -> None:
    """In its status while it is being stopped, and at its end."""
    scene.add("a")
    first = scene.start("a")
    await scene.runs("a")
    scene.add("b", concurrencyPolicy="Replace")
    _ = scene.start("b")
    await scene.until(lambda: scene.run("a")["spec"].get("cancel"))
    scene.world.wake("uid-a")
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    assert scene.status("a")["message"].endswith("AgentRun b takes its place.")
    scene.remove_job("a")
    end = await scene.finish(first, "a")
    assert (end["phase"], end["reason"], end["error"]["code"]) == ("Cancelled", "Replaced", "cancelled")
    await scene.job("b")


@pytest.mark.parametrize("state", ["pending", "running"])
async def test_a_run_that_is_deleted_without_its_job_lets_it_go_on(scene: Scene, state: str) -> None:
    """``kubectl delete --cascade=orphan``: Job and Secret stay as they are, for whoever adopts them."""
    scene.add()
    task = scene.start()
    if state == "running":
        await scene.runs(log=INIT)
    else:
        await scene.pod(phase="Pending")
    before = copy.deepcopy(scene.job_body())
    scene.run()["metadata"]["finalizers"] = ["orphan", names.FINALIZER]
    scene.change(deleted=True)
    status = await scene.finish(task)
    assert status["phase"] in {"Pending", "Running"}
    assert (scene.job_body(), touched(scene)) == (before, {"create_job", "start_job"})
    assert scene.secret() is not None


async def test_a_job_that_was_let_go_is_adopted_by_the_next_run_of_its_task(scene: Scene) -> None:
    """With all that its agent has said before, and what it says then."""
    scene.add(taskId="T-1")
    first = scene.start()
    await scene.runs(log=INIT + TURN)
    scene.run()["metadata"]["finalizers"] = ["orphan"]
    scene.change(deleted=True)
    await scene.finish(first)
    del scene.kube.runs["team-a", "a"]
    job = scene.job_body()
    assert job is not None
    job["metadata"]["ownerReferences"] = []
    scene.world.saw_job(facts.parse_job(job))
    scene.add("b", taskId="T-1", session={"id": "s-1"})
    second = scene.start("b")
    await scene.until(lambda: scene.status("b").get("turns") == 1)
    assert scene.status("b")["reattachedFrom"] == "a"
    scene.log(RESULT)
    await end_of(scene, job)
    end = await scene.finish(second, "b")
    assert (end["phase"], end["turns"], end["session"]) == ("Succeeded", 1, {"id": "s-1"})
    assert scene.kube.verbs().count("create_job") == 1
    models.AgentRunStatus.model_validate(end)
    assert "Sing of" not in json.dumps(scene.kube.written)
