"""One run from beginning to end, against an API in memory and real log files: order, failures, restarts."""

# ruff: noqa: E501 - one row of a table, one line

import asyncio
import base64
import dataclasses
import datetime as dt
import gc
import json
import pathlib
import time
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentrun_operator import errors, facts, models, names, runner, status
from tests import builders, deps, scenes
from tests.scenes import INIT, PROMPT, RESULT, TURN, Scene, play, unavailable

Body = dict[str, Any]


@pytest.fixture
async def scene(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """See the class; waits between retries are a few milliseconds."""
    async with scenes.opened(tmp_path, monkeypatch) as made:
        yield made


# ------------------------------------------------------------------------------------------------- the happy path


async def test_a_run_from_beginning_to_end(scene: Scene) -> None:
    """Secret before Job, Secret deleted before the end is written, and nothing after that."""
    scene.add()
    end = await play(scene, scene.start())
    verbs = scene.kube.verbs()
    assert verbs[:2] == ["create_secret", "create_job"]
    assert verbs[2:6] == ["list_jobs", "list_pods", "write_run_status", "start_job"]
    assert verbs[-2:] == ["delete_secret", "write_run_status"]
    assert set(verbs[6:-2]) == {"write_run_status"}
    phases = [written["phase"] for written in scene.kube.written]
    assert list(dict.fromkeys(phases)) == ["Pending", "Running", "Succeeded"]
    assert (end["phase"], end["reason"], end["costUSD"]) == ("Succeeded", "Completed", "0.5")
    assert end["session"] == {"id": "s-1"}
    assert end["result"]["text"] == "Done."
    assert end["exit"]["code"] == 0
    assert scene.secret() is None
    models.AgentRunStatus.model_validate(end)


async def test_what_is_created_belongs_to_the_run_and_shows_no_prompt(scene: Scene) -> None:
    """Owner references from the start; the prompt is in the Secret and nowhere else."""
    scene.add()
    task = scene.start()
    job = await scene.job()
    secret = scene.secret()
    assert secret is not None
    assert base64.b64decode(secret["data"]["prompt.txt"]).endswith(PROMPT.encode())
    for body in (job, secret):
        assert [(owner["uid"], owner["controller"]) for owner in body["metadata"]["ownerReferences"]] == [("uid-a", True)]  # fmt: skip
    await play(scene, task)
    encoded = base64.b64encode(PROMPT.encode()).decode()
    for text in (json.dumps(job), json.dumps(scene.kube.written)):
        assert PROMPT not in text
        assert encoded not in text


async def test_nothing_is_left_when_the_job_is_gone(scene: Scene) -> None:
    """Run over, Job deleted by its TTL: the world has forgotten both."""
    scene.add()
    await play(scene, scene.start())
    scene.remove_job()
    scene.world.leave(models.AgentRun.parse(scene.run()))
    assert {key for key, value in vars(scene.world).items() if value} == {"_tickets"}, "but what numbers those who wait"


async def test_what_was_known_of_an_ended_run_does_not_wait_for_a_collection_of_garbage(scene: Scene) -> None:
    """It is the larger part of what a run takes, and a collection is for what kopf leaves."""
    body = scene.add()
    supervisor = runner.Supervisor(scene.deps, lambda: body)
    left = weakref.ref(supervisor)
    gc.disable()
    try:
        ended = play(scene, asyncio.create_task(supervisor.run()))
        del supervisor
        assert (await ended)["phase"] == "Succeeded"
        assert left() is None
    finally:
        gc.enable()


async def test_a_run_that_has_ended_is_left_alone(scene: Scene) -> None:
    """No request at all."""
    scene.add(status={"phase": "Succeeded", "reason": "Completed", "message": "Done."})
    await scene.finish(scene.start())
    assert scene.kube.calls == []


async def test_progress_is_written_while_it_runs(scene: Scene) -> None:
    """Session, turns and usage appear before the end."""
    scene.add()
    task = scene.start()
    await scene.runs(log=INIT)
    await scene.until(lambda: scene.status().get("session") == {"id": "s-1"})
    scene.log(TURN)
    await scene.until(lambda: scene.status().get("turns") == 1)
    assert scene.status()["phase"] == "Running"
    scene.log(RESULT)
    await scene.exit(0)
    await scene.finish(task)


async def test_a_failure_of_the_agent_is_the_verdict(scene: Scene) -> None:
    """Exit code and stderr of the agent decide; its session stays."""
    scene.add()
    task = scene.start()
    await scene.runs(log=INIT + TURN)
    scene.log(b"").with_suffix(".stderr").write_text("boom\n")
    await scene.exit(3)
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Failed", "claude_truncated")
    assert (end["exit"]["code"], end["exit"]["stderrTail"]) == (3, "boom\n")
    assert end["session"] == {"id": "s-1"}


# -------------------------------------------------------------------------------------------------- every request


EARLY = ["list_jobs", "list_pods", "create_secret", "create_job", "write_run_status", "start_job", "delete_secret"]
LATE = ["create_secret", "create_job", "write_run_status", "start_job", "delete_secret"]


@pytest.mark.parametrize("verb", EARLY)
@pytest.mark.parametrize("times", [1, 3])
async def test_a_request_without_an_answer_is_tried_again(scene: Scene, verb: str, times: int) -> None:
    """One API error never ends a run, and nothing is created twice."""
    scene.kube.fail[verb] = [unavailable() for _ in range(times)]
    scene.add()
    end = await play(scene, scene.start())
    assert end["phase"] == "Succeeded"
    assert scene.kube.fail[verb] == []
    assert len(scene.kube.jobs) == 1
    assert scene.secret() is None


async def test_a_run_without_a_job_asks_whose_the_secret_is_until_it_gets_an_answer(scene: Scene) -> None:
    """Cancelled before its start: the Secret of that name may be another run's, and no answer is no permission."""
    scene.kube.fail["get_secret_owner"] = [unavailable()]
    scene.add(cancel=True)
    end = await scene.finish(scene.start())
    assert end["phase"] == "Cancelled"
    assert scene.kube.verbs().count("get_secret_owner") == 2
    assert "delete_secret" not in scene.kube.verbs()


@pytest.mark.parametrize("verb", LATE)
@pytest.mark.parametrize("watched", [True, False])
async def test_an_answer_that_is_lost_changes_nothing(scene: Scene, verb: str, *, watched: bool) -> None:
    """What was carried out is found, not done twice: by the watch, or because the API refuses to do it again."""
    scene.kube.fail_late[verb] = [unavailable()]
    if watched:
        scene.watch()
    scene.add()
    end = await play(scene, scene.start())
    assert end["phase"] == "Succeeded"
    assert (len(scene.kube.jobs), scene.kube.started) == (1, [scene.job_name()])
    assert scene.kube.verbs().count("create_job") == (2 if verb == "create_job" and not watched else 1)
    assert scene.secret() is None


@pytest.mark.parametrize("verb", EARLY)
@pytest.mark.parametrize(
    "error", [errors.ConflictError("the object has been modified", status=409), errors.UnavailableError("no route")]
)
async def test_any_trouble_is_waited_out(scene: Scene, verb: str, error: errors.ApiError) -> None:
    """A conflict and a broken connection are trouble like any other."""
    scene.kube.fail[verb] = [error]
    scene.add()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("verb", "error", "code"),
    [
        ("create_job", errors.RejectedError("Job is invalid: spec.template: no", status=422), "k8s_job_create_failed"),
        ("create_job", errors.RejectedError("jobs.batch is forbidden: exceeded quota: small", status=403), "k8s_quota_exceeded"),
        ("create_secret", errors.RejectedError("secrets is forbidden", status=403), "k8s_prompt_secret_create_failed"),
        ("create_secret", errors.RejectedError("forbidden: exceeded quota: small", status=403), "k8s_quota_exceeded"),
        ("create_secret", errors.NotFoundError('namespaces "team-a" not found', status=404), "k8s_prompt_secret_create_failed"),
    ],
)  # fmt: skip
async def test_a_refusal_ends_the_run_with_the_apis_own_sentence(
    scene: Scene, verb: str, error: errors.ApiError, code: str
) -> None:
    """Nothing is tried again, and the Secret is deleted, behind the end: another operator may be about to start it."""
    scene.kube.fail[verb] = [error]
    scene.add()
    end = await scene.finish(scene.start())
    assert (end["phase"], end["error"]["code"]) == ("Failed", code)
    assert str(error) in end["message"]
    assert (scene.kube.jobs, scene.kube.secrets) == ({}, {})
    assert scene.kube.verbs().count(verb) == 1
    after = scene.kube.verbs()[scene.kube.verbs().index("write_run_status") + 1 :]
    assert after == ["get_secret_owner", *["delete_secret"] * (verb == "create_job")]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"prompt": " \n "}, "prompt_invalid"),
        ({"agent": "---"}, "k8s_agent_id_invalid"),
        ({"job": {"podTemplate": {"spec": {"volumes": [{"nfs": {}}]}}}}, "k8s_pod_config_error"),
    ],
)
async def test_a_run_that_cannot_be_built_creates_nothing(scene: Scene, spec: Body, code: str) -> None:
    """The request itself is at fault."""
    scene.add(**spec)
    end = await scene.finish(scene.start())
    assert (end["phase"], end["error"]["code"]) == ("Failed", code)
    assert "create_secret" not in scene.kube.verbs()


@pytest.mark.parametrize("error", [unavailable(), errors.RejectedError("jobs is forbidden", status=403)])
async def test_without_the_list_of_jobs_nothing_is_started(scene: Scene, error: errors.ApiError) -> None:
    """Without a watch that is up to date, the guard fails closed; it says so after pendingSeconds without an answer.

    The Job that was published stays held, and is taken back.
    """
    scene.kube.fail["list_jobs"] = [*[error] * 100_000]
    scene.add(timeouts={"pendingSeconds": 60})
    task = scene.start()
    await scene.until(lambda: scene.kube.verbs().count("list_jobs") > 5)
    assert not task.done()
    assert "job" not in scene.status()
    scene.later = dt.timedelta(seconds=61)
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    scene.remove_job()
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Failed", "k8s_concurrency_guard_unreachable")
    assert str(error) in end["message"]
    assert (scene.kube.started, scene.secret(), scene.kube.verbs().count("create_job")) == ([], None, 1)


async def test_the_limit_of_trouble_begins_anew_after_an_answer(scene: Scene) -> None:
    """Only failures in a row count: a run that waited for days is not ended by one of them."""
    other = builders.job(scene.kube.add_run(builders.agent_run(name="other", uid="uid-other", runId="other")))
    scene.kube.jobs["team-a", other["metadata"]["name"]] = other
    scene.kube.fail["list_jobs"] = [unavailable()]
    scene.add(timeouts={"pendingSeconds": 60})
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert scene.kube.fail["list_jobs"] == []
    scene.later = dt.timedelta(days=2)
    scene.kube.fail["list_jobs"] = [unavailable()]
    del scene.kube.jobs["team-a", other["metadata"]["name"]]
    scene.world.saw_job(dataclasses.replace(facts.parse_job(other), gone=True))
    await scene.until(lambda: scene.kube.started)
    assert scene.kube.fail["list_jobs"] == []
    assert not task.done()


@pytest.mark.parametrize("verb", ["list_jobs", "create_secret", "create_job"])
async def test_the_operators_trouble_does_not_hold_a_cancellation_up(scene: Scene, verb: str) -> None:
    """A run that never started can be cancelled while the guard fails, or while nothing can be created at all."""
    scene.kube.fail[verb] = [*[unavailable()] * 100_000]
    scene.add()
    task = scene.start()
    await scene.until(lambda: scene.kube.verbs().count(verb) > 3)
    scene.change(cancel=True)
    if verb == "list_jobs":
        await scene.until(lambda: "delete_job" in scene.kube.verbs())
        scene.remove_job()
    assert (await scene.finish(task))["phase"] == "Cancelled"
    assert scene.kube.started == []


async def test_a_run_that_is_gone_ends_quietly(scene: Scene) -> None:
    """Deleted without its finalizer, or replaced by another of its name: there is nothing to write to."""
    scene.add()
    task = scene.start()
    await scene.runs()
    scene.kube.add_run({**scene.run(), "metadata": {**scene.run()["metadata"], "uid": "another"}})
    await scene.exit(0)
    async with asyncio.timeout(10):
        await task
    assert scene.status()["phase"] == "Running"


async def test_a_run_that_cannot_be_read_is_ended(scene: Scene) -> None:
    """It names the field, keeps what is on record, and touches nothing else."""
    scene.add(status={"session": {"id": "s-1"}})["spec"].pop("companyId")
    task = scene.start()
    async with asyncio.timeout(10):
        await task
    end = scene.status()
    assert (end["phase"], end["reason"], end["error"]["code"]) == ("Failed", "Unreadable", "adapter_failed")
    assert "companyId" in end["message"]
    assert end["session"] == {"id": "s-1"}
    assert scene.kube.verbs() == ["write_run_status"]
    assert scene.deps.written == {}


# ---------------------------------------------------------------------------------------------- names that are taken


def other_secret(scene: Scene, owner: str) -> tuple[str, str]:
    """A Secret of that owner with the name of the run's; its place."""
    place = ("team-a", scene.secret_name())
    scene.kube.secrets[place] = {
        "metadata": {
            "namespace": "team-a",
            "name": place[1],
            "ownerReferences": [{"uid": owner, "controller": True}] if owner else [],
        }
    }
    return place


async def test_a_secret_of_this_run_is_taken_as_it_is(scene: Scene) -> None:
    """An earlier operator had created it."""
    scene.add()
    other_secret(scene, "uid-a")
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"
    assert scene.secret() is None


@pytest.mark.parametrize("owner", ["somebody", ""])
async def test_a_secret_of_another_owner_is_waited_for(scene: Scene, owner: str) -> None:
    """Another run with the same ids has one of the same name until its end."""
    scene.add()
    place = other_secret(scene, owner)
    task = scene.start()
    await scene.until(lambda: scene.kube.verbs().count("get_secret_owner") > 2)
    assert "create_job" not in scene.kube.verbs()
    del scene.kube.secrets[place]
    assert (await play(scene, task))["phase"] == "Succeeded"


async def test_a_secret_that_vanishes_at_the_wrong_moment_is_created(scene: Scene) -> None:
    """Between "there is one" and "whose is it?" its owner may have deleted it."""
    scene.kube.fail["create_secret"] = [errors.AlreadyExistsError("already exists", status=409)]
    scene.add()
    assert (await play(scene, scene.start()))["phase"] == "Succeeded"


@pytest.mark.parametrize("how", ["cancelled", "given up"])
async def test_a_secret_of_another_owner_is_never_deleted(scene: Scene, how: str) -> None:
    """The other run's pod may not have mounted it yet."""
    scene.add(timeouts={"pendingSeconds": 60})
    place = other_secret(scene, "somebody")
    task = scene.start()
    await scene.until(lambda: scene.kube.verbs().count("get_secret_owner") > 1)
    if how == "cancelled":
        scene.change(cancel=True)
    else:
        scene.later = dt.timedelta(seconds=61)
    end = await scene.finish(task)
    assert end["phase"] == ("Cancelled" if how == "cancelled" else "Failed")
    assert place in scene.kube.secrets


async def test_a_job_of_another_owner_is_waited_for(scene: Scene) -> None:
    """Until it is gone; it is neither taken nor deleted."""
    scene.add()
    other = builders.agent_run(name="x", uid="uid-x", runId="a")
    body = builders.job(other, conditions={"Complete": "CompletionsReached"})
    scene.kube.jobs["team-a", body["metadata"]["name"]] = body
    task = scene.start()
    await scene.until(lambda: scene.kube.verbs().count("create_job") > 2)
    assert not {"delete_job"} & set(scene.kube.verbs())
    del scene.kube.jobs["team-a", body["metadata"]["name"]]
    assert (await play(scene, task))["phase"] == "Succeeded"


async def test_a_job_of_another_owner_is_not_stopped_with_this_run(scene: Scene) -> None:
    """It has the name of the run's Job and is not its Job."""
    scene.add()
    body = builders.job(builders.agent_run(name="x", uid="uid-x", runId="a"), conditions={"Complete": ""})
    scene.kube.jobs["team-a", body["metadata"]["name"]] = body
    task = scene.start()
    await scene.until(lambda: "create_job" in scene.kube.verbs())
    scene.change(cancel=True)
    end = await scene.finish(task)
    assert (end["phase"], end.get("job")) == ("Cancelled", None)
    assert "delete_job" not in scene.kube.verbs()
    assert scene.secret() is None


# ------------------------------------------------------------------------------------------------------- queue


async def test_two_runs_of_one_agent_run_one_after_the_other(scene: Scene) -> None:
    """The second is Queued, says for whom, and starts when the first one's Job has ended."""
    scene.add("first")
    scene.add("second")
    first, second = scene.start("first"), scene.start("second")
    await scene.until(lambda: scene.status("second").get("phase") == "Queued")
    assert "first" in scene.status("second")["message"]
    await scene.runs("first", log=INIT + RESULT)
    assert list(scene.kube.jobs) == [("team-a", names.job_name(agent_id="coder", run_id="first"))]
    await scene.exit(0, "first")
    assert (await scene.finish(first, "first"))["phase"] == "Succeeded"
    await scene.runs("second", log=INIT + RESULT)
    await scene.exit(0, "second")
    assert (await scene.finish(second, "second"))["phase"] == "Succeeded"


async def test_a_job_that_no_watch_has_shown_yet_is_found_by_the_list(scene: Scene) -> None:
    """The guard asks the API, not only its memory, if that is not as new as the run's own Job; which stays held."""
    other = builders.job(scene.kube.add_run(builders.agent_run(name="other", uid="uid-other", runId="other")))
    scene.kube.jobs["team-a", other["metadata"]["name"]] = other
    scene.add()
    task = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Queued")
    assert "other" in scene.status()["message"]
    assert scene.kube.started == []
    del scene.kube.jobs["team-a", other["metadata"]["name"]]
    scene.world.saw_job(dataclasses.replace(facts.parse_job(other), gone=True))
    assert (await play(scene, task))["phase"] == "Succeeded"


async def test_a_queued_run_that_is_cancelled_makes_room(scene: Scene) -> None:
    """The third in the queue is the second then."""
    for name in ("a", "b", "c"):
        scene.add(name)
    tasks = {name: scene.start(name) for name in ("a", "b", "c")}
    await scene.runs()
    await scene.until(lambda: scene.status("c").get("phase") == "Queued")
    scene.change("b", cancel=True)
    assert (await scene.finish(tasks["b"], "b"))["phase"] == "Cancelled"
    await scene.exit(1)
    await scene.finish(tasks["a"])
    await scene.job("c")
    tasks["c"].cancel()


async def test_two_agents_do_not_wait_for_each_other(scene: Scene) -> None:
    """Only runs of one agent exclude each other."""
    scene.add("a")
    scene.add("b", agent="reviewer")
    tasks = [scene.start("a"), scene.start("b")]
    await scene.until(lambda: len(scene.kube.jobs) == 2)
    assert not any(task.done() for task in tasks)


# --------------------------------------------------------------------------------------------------- stop and restart


@pytest.mark.parametrize("how", ["cancel", "delete"])
@pytest.mark.parametrize("state", ["pending", "running"])
async def test_a_stop_is_written_before_the_job_is_deleted(scene: Scene, how: str, state: str) -> None:
    """Then the log is read to its end, and the end is written last."""
    scene.add()
    task = scene.start()
    if state == "running":
        await scene.runs(log=INIT + TURN)
        await scene.until(lambda: "session" in scene.status())
    else:
        await scene.pod(phase="Pending")
    scene.change(cancel=how == "cancel", deleted=how == "delete")
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    reason = {"cancel": "Cancelling", "delete": "Deleting"}[how]
    assert scene.status()["reason"] == reason
    stopping = scene.kube.verbs().index("delete_job")
    assert scene.kube.verbs()[stopping - 1] == "write_run_status"
    if state == "running":
        await scene.pod(phase="Failed", main=builders.terminated(exit_code=143))
    scene.remove_job()
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Cancelled", "cancelled")
    assert end.get("session") == ({"id": "s-1"} if state == "running" else None)
    assert scene.kube.verbs().count("delete_job") == 1
    assert scene.kube.verbs()[-2:] == ["delete_secret", "write_run_status"]


async def test_a_deletion_of_the_job_without_an_answer_is_tried_again(scene: Scene) -> None:
    """The stop is on record and goes on."""
    scene.kube.fail["delete_job"] = [unavailable()]
    scene.add()
    task = scene.start()
    await scene.runs()
    scene.change(cancel=True)
    await scene.until(lambda: scene.kube.verbs().count("delete_job") == 2)
    scene.remove_job()
    assert (await scene.finish(task))["phase"] == "Cancelled"


async def test_a_job_that_was_created_after_all_is_stopped(scene: Scene) -> None:
    """The answer was lost, then the run was cancelled: the end looks for the Job before it believes in none."""
    scene.kube.fail_late["create_job"] = [unavailable()]
    scene.kube.fail["list_jobs"] = [None, *[unavailable()] * 100_000]
    scene.add()
    task = scene.start()
    await scene.until(lambda: scene.kube.jobs)
    scene.change(cancel=True)
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    assert "get_job" in scene.kube.verbs()
    scene.remove_job()
    assert (await scene.finish(task))["phase"] == "Cancelled"


async def test_a_process_that_does_not_exit_after_its_result_is_stopped(scene: Scene) -> None:
    """After resultGraceSeconds; the result decides."""
    scene.add()
    task = scene.start()
    await scene.runs(log=INIT + RESULT)
    await scene.until(lambda: "result" in scene.status())
    assert "delete_job" not in scene.kube.verbs()
    scene.later = dt.timedelta(seconds=31)
    scene.world.wake("uid-a")
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    await scene.pod(phase="Failed", main=builders.terminated(exit_code=137))
    scene.remove_job()
    end = await scene.finish(task)
    assert (end["phase"], end["reason"]) == ("Succeeded", "CompletedThenStopped")


async def test_a_start_that_cannot_succeed_is_stopped(scene: Scene) -> None:
    """Its cause is on record before the Job is deleted, and is the verdict."""
    scene.add()
    task = scene.start()
    await scene.pod(phase="Pending", main=builders.waiting("InvalidImageName", "no such name"))
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    assert scene.status()["error"]["code"] == "k8s_image_pull_failed"
    scene.remove_job()
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Failed", "k8s_image_pull_failed")


async def test_a_job_of_this_run_is_adopted_after_a_restart(scene: Scene) -> None:
    """Nothing is created; the log is read from its beginning, and nothing counts twice."""
    scene.add()
    first = scene.start()
    await scene.runs(log=INIT + TURN)
    await scene.until(lambda: scene.status().get("turns") == 1)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    before = len(scene.kube.calls)
    second = scene.start()
    await scene.until(lambda: len(scene.tailer.tails) == 2 and scene.tailer.tails[1].view().transcript.turns == 1)
    scene.log(RESULT)
    await scene.exit(0)
    end = await scene.finish(second)
    assert (end["phase"], end["turns"]) == ("Succeeded", 1)
    assert set(scene.kube.verbs()[before:]) == {"write_run_status", "delete_secret"}


async def test_what_was_printed_while_no_operator_was_there_is_told_at_once(scene: Scene) -> None:
    """As soon as the log is read, if the last write is old enough, and not at the next look."""
    scene.add()
    first = scene.start()
    await scene.runs(log=INIT + TURN)
    await scene.until(lambda: scene.status().get("turns") == 1)
    assert not first.done()
    scene.config = scene.config.model_copy(update={"progress_interval_seconds": 60})
    await scene.crash()
    scene.log(TURN.replace(b"m1", b"m2"))
    scene.run()["status"]["heartbeatTime"] = (scene.now() - dt.timedelta(seconds=61)).isoformat()
    second = scene.start()
    await scene.until(lambda: scene.status().get("turns") == 2)
    assert not second.done()


async def test_an_operator_that_has_just_begun_takes_no_agent_for_silent(scene: Scene) -> None:
    """What it has not read yet says nothing, however long ago the agent was started."""
    scene.add(timeouts={"stallSeconds": 60})
    first = scene.start()
    scene.log(INIT + TURN)
    await scene.pod(main=builders.running(started_at=scene.now().isoformat()))
    await scene.until(lambda: scene.status().get("turns") == 1)
    assert not first.done()
    await scene.pod(main=builders.running(started_at=(scene.now() - dt.timedelta(hours=1)).isoformat()))
    await scene.crash()
    second = scene.start()
    await scene.until(lambda: scene.tailer.tails and scene.tailer.tails[0].view().transcript.turns == 1)
    scene.log(RESULT)
    await scene.exit(0)
    end = await scene.finish(second)
    assert (end["phase"], end["turns"]) == ("Succeeded", 1)
    stalled = next((c["status"] for c in end["conditions"] if c["type"] == "Stalled"), "False")
    assert (stalled, "delete_job" in scene.kube.verbs()) == ("False", False)


@pytest.mark.parametrize("seen", [True, False])
async def test_a_job_that_is_there_before_its_operator_is_adopted(scene: Scene, *, seen: bool) -> None:
    """The operator died between creating the Job and writing of it; the next sees it at its start, or bumps into it."""
    scene.add()
    body = builders.job(scene.run(), uid="earlier", creationTimestamp=scene.now().isoformat())
    scene.kube.jobs["team-a", body["metadata"]["name"]] = body
    if seen:
        await deps.look_around(scene.deps)
    task = scene.start()
    assert (await scene.job())["metadata"]["uid"] == "earlier"
    assert scene.status()["job"]["uid"] == "earlier"
    assert len(scene.kube.jobs) == 1
    assert ({"create_secret", "create_job"} & set(scene.kube.verbs()) == set()) is seen
    assert (await play(scene, task))["phase"] == "Succeeded"


async def test_a_job_on_record_that_is_not_there_is_gone(scene: Scene) -> None:
    """It was deleted while no operator ran; nothing is created a second time."""
    scene.add()
    log = scene.log(INIT + TURN)
    record = {"name": "ac-gone", "uid": "gone"}
    logged = "/paperclip/" + str(log.relative_to(scene.volume))
    scene.run()["status"] = {"phase": "Running", "job": record, "logPath": logged, "session": {"id": "s-0"}}
    end = await scene.finish(scene.start())
    assert (end["phase"], end["error"]["code"]) == ("Failed", "k8s_job_deleted_externally")
    assert (end["session"]["id"], end["turns"], end["job"]) == ("s-1", 1, record)
    assert "create_job" not in scene.kube.verbs()


async def test_a_job_on_record_that_only_the_watch_does_not_know_is_there(scene: Scene) -> None:
    """Another operator has made it and written so, while the watch of Jobs was broken here."""
    scene.add()
    body = builders.job(scene.run(), uid="of-another", creationTimestamp=scene.now().isoformat())
    scene.kube.jobs["team-a", body["metadata"]["name"]] = body
    scene.run()["status"] = {"phase": "Pending", "job": {"name": body["metadata"]["name"], "uid": "of-another"}}
    scene.kube.fail["get_job"] = [unavailable()]
    end = await play(scene, scene.start())
    assert (end["phase"], end["job"]["uid"]) == ("Succeeded", "of-another")
    assert scene.kube.verbs().count("get_job") == 2


async def test_a_pod_that_outlives_its_job_is_not_waited_for_for_ever(scene: Scene) -> None:
    """Somebody deletes both, and the node does not answer. Also when the Job was gone before this operator began."""
    scene.add(status={"phase": "Running", "job": {"name": "ac-gone", "uid": "gone"}})
    owner = builders.job(scene.run(), uid="gone")
    left = facts.parse_pod(builders.pod(owner, main=builders.running()))
    scene.world.saw_pod(left)
    task = scene.start()
    await scene.until(lambda: "heartbeatTime" in scene.status())
    scene.later = dt.timedelta(days=1)
    scene.world.wake("uid-a")
    await asyncio.sleep(0.02)
    assert not task.done()  # nobody deletes the pod: its agent works on
    scene.world.saw_pod(dataclasses.replace(left, deletion_time=scene.now().isoformat()))
    await asyncio.sleep(0.02)
    assert not task.done()
    scene.later = dt.timedelta(days=1, seconds=61)
    scene.world.wake("uid-a")
    assert (await scene.finish(task))["error"]["code"] == "k8s_job_deleted_externally"


async def test_a_stop_on_record_is_finished_after_a_restart(scene: Scene) -> None:
    """The operator died between the write and the deletion: the Job is deleted, for the reason on record."""
    scene.kube.hold = {"delete_job"}
    scene.add()
    first = scene.start()
    await scene.pod(phase="Pending", main=builders.waiting("InvalidImageName", "no such name"))
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    scene.kube.hold = set()
    await scene.pod(main=builders.running())
    second = scene.start()
    await scene.until(lambda: scene.kube.verbs().count("delete_job") == 2)
    scene.remove_job()
    end = await scene.finish(second)
    assert (end["phase"], end["error"]["code"]) == ("Failed", "k8s_image_pull_failed")


@pytest.mark.parametrize("verb", EARLY)
async def test_it_can_be_killed_at_any_request_and_goes_on(scene: Scene, verb: str) -> None:
    """Nothing stays locked or open, and the next supervisor brings the run to the same end."""
    scene.add()
    scene.kube.hold = {verb}
    first = scene.start()
    if verb == "delete_secret":
        await scene.runs(log=INIT + RESULT)
        await scene.exit(0)
    await scene.until(lambda: verb in scene.kube.verbs())
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scene.finish(first)
    await kill_is_clean(scene)
    scene.kube.hold = set()
    second = scene.start()
    end = await (scene.finish(second) if verb == "delete_secret" else play(scene, second))
    assert end["phase"] == "Succeeded"
    assert len(scene.kube.jobs) == 1
    assert scene.secret() is None


async def kill_is_clean(scene: Scene) -> None:
    """No lock is held, no tail is open, nobody is being waited for."""
    run = models.AgentRun.parse(scene.run())
    assert not scene.world.lock(run).locked()
    assert scene.world.busy_with(run) == ""
    assert scene.open_tails() == []
    async with asyncio.timeout(1), scene.world.lock(run):
        pass


@pytest.mark.parametrize("state", ["queued", "pending", "running", "draining", "at the lock"])
async def test_it_can_be_killed_while_it_waits(scene: Scene, state: str) -> None:
    """Asleep in any state, in the middle of a drain, or in the queue for the lock."""
    scene.add()
    if state == "queued":
        other = scene.kube.add_run(builders.agent_run(name="o", uid="uid-o", runId="o"))
        scene.world.saw_job(facts.parse_job(builders.job(other)))
        scene.kube.jobs["team-a", "o"] = builders.job(other)
    lock = scene.world.lock(models.AgentRun.parse(scene.run()))
    if state == "at the lock":
        await lock.acquire()
    task = scene.start()
    if state == "queued":
        await scene.until(lambda: scene.status().get("phase") == "Queued")
    elif state == "pending":
        await scene.pod(phase="Pending")
    elif state in {"running", "draining"}:
        await scene.runs(log=INIT)
        if state == "draining":
            await scene.exit(1, message="stdoutBytes=100000 stderrBytes=0")
            await asyncio.sleep(0.02)
    else:
        await asyncio.sleep(0.02)
        lock.release()
        lock = asyncio.Lock()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scene.finish(task)
    if state == "queued":
        del scene.kube.jobs["team-a", "o"]
        await deps.look_around(scene.deps)
    await kill_is_clean(scene)
    assert scene.status().get("phase") not in {"Succeeded", "Failed", "Cancelled"}
    assert scene.kube.verbs().count("delete_job") == 0


# ------------------------------------------------------------------------------------------------------- the log


@pytest.mark.parametrize("why", ["no file", "no volume", "the mount was moved"])
async def test_the_pods_own_log_is_read_when_there_is_no_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """Once, at the end."""
    given: Body = {"data_path": ""} if why == "no volume" else {}
    scene = Scene(tmp_path, **given)
    monkeypatch.setattr("agentrun_operator.runner.supervisor._now", scene.now)
    scene.add()
    if why == "the mount was moved":
        body = builders.job(scene.run(), annotations={names.ANNOTATION_LOG_PATH: "/elsewhere/a.pod.ndjson"}, creationTimestamp=scene.now().isoformat())  # fmt: skip
        scene.kube.jobs["team-a", body["metadata"]["name"]] = body
    task = scene.start()
    pod = await scene.pod(main=builders.running())
    scene.kube.pod_logs[pod.name] = [INIT, RESULT[:20], RESULT[20:-1]]
    await scene.pod(phase="Succeeded", main=builders.terminated())
    end = await scene.finish(task)
    assert (end["phase"], end["session"]["id"]) == ("Succeeded", "s-1")
    assert [what for verb, what in scene.kube.calls if verb == "read_pod_log"] == [f"{pod.name}/claude"]
    await scene.close()


@pytest.mark.parametrize(("chunks", "code"), [(None, "k8s_pod_log_file_missing"), ([INIT, TURN], "claude_truncated")])
async def test_a_pod_log_that_cannot_be_read_is_no_end_of_the_operator(
    scene: Scene, chunks: list[bytes] | None, code: str
) -> None:
    """It is missing, or it breaks off: what was read counts."""
    scene.add()
    task = scene.start()
    pod = await scene.pod(main=builders.running())
    if chunks is not None:
        scene.kube.pod_logs[pod.name] = chunks
        scene.kube.fail_late["read_pod_log"] = [unavailable()]
    await scene.pod(phase="Succeeded", main=builders.terminated())
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Failed", code)


async def test_a_file_that_is_drained_between_plan_and_look_is_the_log(scene: Scene) -> None:
    """The pod's log is the last resort: a file that was read to its end is never thrown away for it."""
    scene.add()
    task = scene.start()
    await scene.runs(log=INIT + RESULT)
    await scene.until(lambda: "result" in scene.status())
    followed = scene.tailer.tails[0]
    real = followed.drain

    def at_once(expected_bytes: int | None) -> None:
        real(expected_bytes)
        while not followed.view().drained:
            time.sleep(0.001)

    followed.drain = at_once  # type: ignore[method-assign]  # the thread is quicker than the event loop
    await scene.exit(0)
    assert (await scene.finish(task))["phase"] == "Succeeded"
    assert "read_pod_log" not in scene.kube.verbs()


async def test_a_deletion_that_is_told_before_it_is_answered(scene: Scene) -> None:
    """A Job without a pod can vanish before the request to delete it returns."""
    scene.add()
    task = scene.start()
    await scene.job()
    real = scene.kube.delete_job

    async def overtaken(job: facts.JobFacts) -> None:
        await real(job)
        scene.remove_job()

    scene.kube.delete_job = overtaken  # type: ignore[method-assign]  # as if the watch were quicker than the answer
    scene.change(cancel=True)
    assert (await scene.finish(task))["phase"] == "Cancelled"


async def test_the_log_of_a_pod_that_never_started_is_not_looked_for(scene: Scene) -> None:
    """There is none; whatever stands at the path is of another run."""
    scene.log(INIT + RESULT)
    scene.add()
    task = scene.start()
    await scene.pod(phase="Failed", reason="UnexpectedAdmissionError", message="no such device")
    scene.finish_job(condition="Failed")
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"]) == ("Failed", "k8s_pod_schedule_failed")
    assert "session" not in end
    assert "read_pod_log" not in scene.kube.verbs()


async def test_the_log_of_a_pod_whose_start_nobody_saw_is_read(scene: Scene) -> None:
    """The watch had a gap: the pod was there before and is not there after it, and its agent may have been at work."""
    scene.add()
    task = scene.start()
    pod = await scene.pod(phase="Pending", main=builders.waiting("PodInitializing"))
    scene.log(INIT + TURN)
    scene.kube.pods.clear()
    scene.world.listed_pods("", [], scene.kube.next_version())
    known = scene.world.pod_of(pod.job_uid)
    assert known is not None
    assert (known.gone, known.unseen) == (True, True)
    scene.finish_job(condition="Failed")
    end = await scene.finish(task)
    assert (end["phase"], end["logEvents"], end["session"]["id"]) == ("Failed", 2, "s-1")


async def test_the_log_is_not_followed_before_the_agent_has_started(scene: Scene) -> None:
    """Until then the file at the path may be another run's."""
    scene.log(RESULT)
    scene.add()
    task = scene.start()
    await scene.pod(phase="Pending", main=builders.waiting("PodInitializing"))
    assert scene.tailer.tails == []
    scene.log(b"").unlink()
    await scene.runs(log=INIT)
    await scene.until(lambda: len(scene.tailer.tails) == 1)
    task.cancel()


async def test_shared_things_are_not_copied_for_each_object(scene: Scene) -> None:
    """kopf copies its memo for every object; this one is meant to be shared."""
    assert scene.deps.__copy__() is scene.deps


# --- prompts, policies, inheritance ---------------------------------------------------------------------------------


async def test_a_prompt_that_comes_later_is_waited_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status says what is missing; then the run goes on by itself."""
    monkeypatch.setattr(status, "_PROMPT_LOOK_SECONDS", 0.01)
    scene.add(prompt={"configMapKeyRef": {"name": "prompts", "key": "p"}})
    _ = scene.start()
    await scene.until(lambda: scene.status().get("reason") == "PromptMissing")
    assert "there is no ConfigMap prompts in namespace team-a" in scene.status()["message"]
    assert scene.job_body() is None
    assert scene.secret() is None

    scene.kube.config_maps["team-a", "prompts"] = {"data": {}}
    await scene.until(lambda: "has no key p" in scene.status()["message"])
    scene.kube.config_maps["team-a", "prompts"] = {"data": {"p": PROMPT}}
    await scene.job()

    [ready] = [c for c in scene.status()["conditions"] if c["type"] == "PromptReady"]
    assert ready["status"] == "True"
    assert scene.status()["promptMetrics"]["promptChars"] == len(PROMPT)


async def test_a_prompt_that_never_comes_ends_the_run(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """After pendingSeconds, with what was missing; nothing was created."""
    monkeypatch.setattr(status, "_PROMPT_LOOK_SECONDS", 0.01)
    scene.add(prompt={"secretKeyRef": {"name": "prompts", "key": "p"}}, timeouts={"pendingSeconds": 1})
    ended = await scene.finish(scene.start())
    assert (ended["phase"], ended["error"]["code"]) == ("Failed", "prompt_invalid")
    assert "there is no Secret prompts" in ended["error"]["message"]
    assert "create_secret" not in scene.kube.verbs()


async def test_a_run_without_its_prompt_holds_nobody_up(scene: Scene) -> None:
    """The next one of the agent starts meanwhile."""
    scene.add("a", prompt={"secretKeyRef": {"name": "prompts", "key": "p"}})
    _ = scene.start("a")
    await scene.until(lambda: scene.status("a").get("reason") == "PromptMissing")
    scene.add("b")
    _ = scene.start("b")
    await scene.job("b")


async def test_a_run_that_is_held_starts_when_it_is_let_go(scene: Scene) -> None:
    """Until then it asks the API for nothing."""
    scene.add(suspend=True)
    _ = scene.start()
    await scene.until(lambda: scene.status().get("phase") == "Suspended")
    assert scene.kube.verbs() == ["write_run_status"]
    scene.add("b")
    _ = scene.start("b")
    await scene.job("b")
    await scene.exit(0, "b")
    scene.change(suspend=False)
    await scene.job()


async def test_a_run_may_take_the_place_of_another(scene: Scene) -> None:
    """The other one is cancelled by its own supervisor, and only then does this one start."""
    scene.add("a")
    first = scene.start("a")
    await scene.runs("a")
    scene.add("b", concurrencyPolicy="Replace")
    _ = scene.start("b")
    await scene.until(lambda: scene.run("a")["spec"].get("cancel"))
    assert (scene.status("b")["phase"], scene.status("b")["reason"]) == ("Queued", "Replacing")
    assert scene.job_body("b") is None

    scene.world.wake("uid-a")
    await scene.until(lambda: "deletionTimestamp" in (scene.job_body("a") or {"metadata": {}})["metadata"])
    scene.remove_job("a")
    assert (await scene.finish(first, "a"))["phase"] == "Cancelled"
    await scene.job("b")


async def test_a_run_may_refuse_to_wait(scene: Scene) -> None:
    """It fails with the name of the run that is in its way, which it leaves alone."""
    scene.add("a")
    _ = scene.start("a")
    await scene.runs("a")
    scene.add("b", concurrencyPolicy="Forbid")
    ended = await scene.finish(scene.start("b"), "b")
    assert (ended["phase"], ended["error"]["code"]) == ("Failed", "k8s_concurrent_run_blocked")
    assert "The agent coder is taken by AgentRun a" in ended["message"]
    assert "cancel" not in scene.run("a")["spec"]


async def test_a_higher_priority_goes_first(scene: Scene) -> None:
    """Whenever it was created."""
    scene.add("a")
    _ = scene.start("a")
    await scene.runs("a")
    scene.add("b")
    _ = scene.start("b")
    await scene.until(lambda: scene.status("b").get("phase") == "Queued")
    scene.add("c", priority=1)
    _ = scene.start("c")
    await scene.until(lambda: scene.status("c").get("phase") == "Queued")
    await scene.exit(0, "a")
    await scene.job("c")
    assert scene.job_body("b") is None


async def test_runs_inherit_from_the_operators_own_pod(scene: Scene) -> None:
    """Unless they decline."""
    config = scene.config.model_copy(update={"pod_name": "op", "pod_namespace": "team-a"})
    scene.deps = deps.make(config, scene.kube, world=scene.world, tailer=scene.tailer)
    env = [{"name": "ANTHROPIC_BASE_URL", "value": "http://inherited"}]
    scene.kube.pods["team-a", "op"] = {"metadata": {}, "spec": {"containers": [{"name": "operator", "env": env}]}}
    scene.add("a", agent="coder")
    _ = scene.start("a")
    job = await scene.job("a")
    assert env[0] in job["spec"]["template"]["spec"]["containers"][0]["env"]

    await scene.exit(0, "a")
    scene.add("b", job={"inheritFromOperator": False})
    _ = scene.start("b")
    job = await scene.job("b")
    assert env[0] not in job["spec"]["template"]["spec"]["containers"][0]["env"]


def event(**fields: Any) -> bytes:
    """One line of a log."""
    return json.dumps(fields).encode() + b"\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ({"subtype": "success", "is_error": False, "result": "The password is {}."}, 0),
        ({"subtype": "success", "is_error": True, "result": "API Error: 400 {}"}, 1),
        ({"subtype": "error_during_execution", "is_error": True, "errors": ["It was {}"]}, 1),
        ({"subtype": "success", "is_error": False, "result": "a" * 4080 + " {}"}, 0),
    ],
)
async def test_a_planted_secret_never_reaches_the_status(
    scene: Scene, capsys: pytest.CaptureFixture[str], words: Body, code: int
) -> None:
    """Neither in the answer, nor in an error, nor where a text is cut in its middle."""
    planted = "Tr0ub4dor&3 & co"
    data = {"data": {"k": base64.b64encode(planted.encode()).decode()}}
    scene.kube.secrets["team-a", "keys"] = data
    scene.add(job={"env": [{"name": "DB", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}}]})
    task = scene.start()
    filled = json.loads(json.dumps(words).replace("{}", planted))
    await scene.runs(log=event(type="system", subtype="init", session_id="s-1") + event(type="result", **filled))
    (scene.volume / "instances/default/run-logs/acme/coder/a.pod.stderr").write_text(f"warning: {planted}\n")
    await scene.exit(code)
    ended = await scene.finish(task)

    assert ended["phase"] in {"Succeeded", "Failed"}
    everything = json.dumps(scene.kube.written)
    assert planted[:8] not in everything
    assert "[redacted]" in everything
    assert planted not in "".join(capsys.readouterr())


@pytest.mark.parametrize("pod_log", [True, False])
async def test_a_log_that_lacks_its_end_is_read_from_the_pod(scene: Scene, *, pod_log: bool) -> None:
    """The volume was full: the pod's own log has the result. Without that, what is there has to do."""
    lines = (
        event(type="system", subtype="init", session_id="s-1"),
        event(type="result", subtype="success", is_error=False, result="Done."),
    )
    scene.add()
    task = scene.start()
    await scene.runs(log=lines[0])
    pod = await scene.pod(main=builders.running())
    if pod_log:
        scene.kube.pod_logs[pod.name] = [b"".join(lines)]
    await scene.exit(0, message=f"stdoutBytes={len(lines[0])} stderrBytes=0 incomplete")
    ended = await scene.finish(task)
    assert ended["session"]["id"] == "s-1"
    assert (ended["phase"], ended.get("error", {}).get("code")) == (
        ("Succeeded", None) if pod_log else ("Failed", "claude_truncated")
    )
    assert "message" not in ended["exit"]
