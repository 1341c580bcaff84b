"""A run that is tried again: one live Job at a time, nothing of an attempt lost, and who waits for a usage limit."""

# ruff: noqa: E501 - one row of a table, one line

import asyncio
import dataclasses
import datetime as dt
import json
import pathlib
import types
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentrun_operator import errors, facts, models, names, runner
from agentrun_operator.runner import world as worlds
from tests import builders, scenes
from tests.scenes import INIT, RESULT, Scene, unavailable

Body = dict[str, Any]


@pytest.fixture
async def scene(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """See the class; the world has the scene's clock, too."""
    async with scenes.opened(tmp_path, monkeypatch) as made:
        clock = types.SimpleNamespace(UTC=dt.UTC, datetime=types.SimpleNamespace(now=lambda _zone: made.now()))
        monkeypatch.setattr(worlds, "datetime", clock)
        yield made


def overloaded(cost: float = 0.25, session: str = "s-1") -> bytes:
    """What an agent prints that failed for a reason that passes."""
    events: list[Body] = [
        {"type": "system", "subtype": "init", "session_id": session, "model": "opus"},
        {
            "type": "result", "subtype": "success", "is_error": True, "result": "API Error: 529 Overloaded",
            "api_error_status": 529, "total_cost_usd": cost, "usage": {"input_tokens": 10},
        },
    ]  # fmt: skip
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def limited(scene: Scene, seconds: float) -> bytes:
    """What an agent prints whose subscription is used up for so long."""
    opens = int((scene.now() + dt.timedelta(seconds=seconds)).timestamp())
    events: list[Body] = [
        {"type": "system", "subtype": "init", "session_id": "s-1", "model": "opus"},
        {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": opens}},
        {
            "type": "result", "subtype": "success", "is_error": True, "api_error_status": 429,
            "result": "You've hit your session limit",
        },
    ]  # fmt: skip
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


async def fail(scene: Scene, number: int, *, name: str = "a", log: bytes | None = None) -> None:
    """An attempt runs, and fails for a reason that passes."""
    await scene.runs(name, log=overloaded() if log is None else log, number=number)
    await scene.exit(1, name, number)


async def succeed(scene: Scene, number: int, name: str = "a") -> None:
    """An attempt runs and succeeds."""
    await scene.runs(name, log=INIT + RESULT, number=number)
    await scene.exit(0, name, number)


async def waits(scene: Scene, number: int, name: str = "a") -> None:
    """The attempt before has ended, and this one has not begun."""
    await scene.until(lambda: scene.status(name).get("attempt") == number and "job" not in scene.status(name))


def at_once(limit: int, **retry: Any) -> Body:
    """Further attempts without a pause."""
    return {"limit": limit, "backoffSeconds": 0, **retry}


# -------------------------------------------------------------------------------------------------------- attempts


async def test_a_run_is_tried_again_until_it_succeeds(scene: Scene) -> None:
    """Each attempt has a Job, a Secret, a label and a log of its own; the end tells of all of them."""
    scene.add(retry=at_once(3))
    task = scene.start()
    for number in range(2):
        await fail(scene, number)
    await succeed(scene, 2)
    end = await scene.finish(task)
    assert (end["phase"], end["attempt"], end["costUSD"]) == ("Succeeded", 2, "1")
    assert end["usage"]["inputTokens"] == 20
    assert end["job"]["name"] == scene.job_name("a", 2)
    assert end["logPath"].endswith("/a.2.pod.ndjson")
    before = end["previousAttempts"]
    assert [(entry["attempt"], entry["code"], entry["exitCode"], entry["costUSD"]) for entry in before] == [
        (0, "claude_overloaded", 1, "0.25"),
        (1, "claude_overloaded", 1, "0.25"),
    ]
    assert [entry["jobName"] for entry in before] == [scene.job_name("a", number) for number in range(2)]
    assert [pathlib.PurePosixPath(entry["logPath"]).name for entry in before] == ["a.pod.ndjson", "a.1.pod.ndjson"]
    jobs = [job["metadata"]["labels"] for job in scene.kube.jobs.values()]
    assert [(labels[names.LABEL_ATTEMPT], labels[names.LABEL_RUN_ID]) for labels in jobs] == [
        (str(n), "a") for n in range(3)
    ]
    assert scene.kube.started == [scene.job_name("a", number) for number in range(3)]
    assert scene.kube.secrets == {}
    models.AgentRunStatus.model_validate(end)


async def test_a_run_that_has_no_attempts_left_ends_with_the_last_failure(scene: Scene) -> None:
    """And with what all of them cost."""
    scene.add(retry=at_once(1))
    task = scene.start()
    for number in range(2):
        await fail(scene, number)
    end = await scene.finish(task)
    assert (end["phase"], end["error"]["code"], end["attempt"]) == ("Failed", "claude_overloaded", 1)
    assert (end["costUSD"], len(end["previousAttempts"])) == ("0.5", 1)
    assert "nextAttemptTime" not in end
    assert len(scene.kube.started) == 2


async def test_what_will_not_pass_is_not_tried_again(scene: Scene) -> None:
    """One attempt, whatever the limit."""
    scene.add(retry=at_once(3))
    task = scene.start()
    await fail(scene, 0, log=INIT + b'{"type":"result","subtype":"error_max_turns","is_error":true}\n')
    end = await scene.finish(task)
    assert (end["error"]["code"], end["attempt"], len(scene.kube.started)) == ("claude_max_turns", 0, 1)


async def test_the_next_attempt_continues_the_session(scene: Scene) -> None:
    """Of the attempt before it; its label tells which."""
    scene.add(retry=at_once(2))
    _ = scene.start()
    await fail(scene, 0)
    await fail(scene, 1, log=overloaded(session="s-2"))
    await scene.job("a", 2)
    jobs = [scene.kube.jobs["team-a", scene.job_name("a", number)] for number in range(3)]
    assert [job["metadata"]["labels"].get(names.LABEL_SESSION_ID) for job in jobs] == [None, "s-1", "s-2"]


@pytest.mark.parametrize("policy", ["Queue", "Forbid", "Replace"])
async def test_there_is_never_a_second_live_job(scene: Scene, policy: str) -> None:
    """The agent had ended with exit code 0 before its Job was said to have: the next attempt waits for that.

    Whatever it does about other runs.
    """
    scene.add(retry=at_once(1), concurrencyPolicy=policy)
    task = scene.start()
    await scene.runs(log=INIT)
    await scene.pod(phase="Succeeded", main=builders.terminated(exit_code=0))
    await waits(scene, 1)
    await scene.until(lambda: scene.status()["phase"] == "Queued")
    assert scene.status()["message"].startswith(f"Waiting for Job {scene.job_name()} of an earlier attempt")
    assert scene.job_body("a", 1) is None
    scene.finish_job()
    await succeed(scene, 1)
    assert (await scene.finish(task))["phase"] == "Succeeded"


async def test_the_next_attempt_waits_for_a_pod_that_outlived_its_job(scene: Scene) -> None:
    """Its node does not answer, so its agent may still be at work on the shared volume."""
    scene.add(retry=at_once(1))
    task = scene.start()
    await scene.runs(log=INIT)
    job = scene.job_body()
    assert job is not None
    del scene.kube.jobs["team-a", scene.job_name()]
    gone = facts.parse_job(job)
    scene.world.saw_job(dataclasses.replace(gone, gone=True))
    scene.show_pod(builders.pod(job, uid=f"pod-{gone.uid}", main=builders.running(), deleting=scene.now().isoformat()))
    scene.later = dt.timedelta(seconds=61)
    scene.world.wake("uid-a")
    await waits(scene, 1)
    await scene.until(lambda: scene.status()["phase"] == "Queued")
    assert "which is still there on node node-1 although its Job is over" in scene.status()["message"]
    assert scene.job_body("a", 1) is None
    scene.remove_pods(gone.uid)
    await succeed(scene, 1)
    end = await scene.finish(task)
    assert (end["phase"], end["previousAttempts"][0]["code"]) == ("Succeeded", "k8s_job_deleted_externally")


# ---------------------------------------------------------------------------------------------------- between attempts


async def test_between_two_attempts_the_run_holds_nobody_up(scene: Scene) -> None:
    """Another run of the agent takes its turn; the pause is not over."""
    scene.add(retry={"limit": 1, "backoffSeconds": 600})
    _ = scene.start()
    await fail(scene, 0)
    await waits(scene, 1)
    assert (scene.status()["phase"], scene.status()["reason"]) == ("Pending", "RetryBackoff")
    assert scene.secret() is None
    scene.add("b")
    other = scene.start("b")
    await succeed(scene, 0, "b")
    assert (await scene.finish(other, "b"))["phase"] == "Succeeded"
    scene.later = dt.timedelta(seconds=700)
    scene.world.wake("uid-a")
    await scene.job("a", 1)
    assert "nextAttemptTime" not in scene.status()


async def test_a_restart_during_the_pause_goes_on_waiting(scene: Scene) -> None:
    """The time is on record, and so is what went before."""
    scene.add(retry={"limit": 1, "backoffSeconds": 600})
    _ = scene.start()
    await fail(scene, 0)
    await waits(scene, 1)
    between = scene.status()
    await scene.crash()
    task = scene.start()
    for _ in range(5):
        scene.world.wake("uid-a")
        await asyncio.sleep(0.005)
    assert scene.status() == between
    assert len(scene.kube.jobs) == 1
    scene.later = dt.timedelta(seconds=700)
    scene.world.wake("uid-a")
    await succeed(scene, 1)
    end = await scene.finish(task)
    assert (end["phase"], end["costUSD"], end["attempt"]) == ("Succeeded", "0.75", 1)
    assert len(scene.kube.started) == 2


@pytest.mark.parametrize(
    "step",
    [
        runner.Step.LOG_DRAINED, runner.Step.SECRET_DELETED, runner.Step.ATTEMPT_ENDED, runner.Step.SECRET_CREATED,
        runner.Step.JOB_HELD, runner.Step.JOB_RECORDED, runner.Step.JOB_STARTED,
    ],
)  # fmt: skip
async def test_a_crash_between_two_attempts_is_made_good(scene: Scene, step: runner.Step) -> None:
    """The attempt is counted once, and followed by one."""
    scene.add(retry=at_once(1))
    first = scene.start()
    await scene.runs(log=overloaded())
    object.__setattr__(scene.deps, "reached", lambda now: first.cancel() if now is step else None)
    await scene.exit(1)
    await asyncio.gather(first, return_exceptions=True)
    await scene.crash()
    task = scene.start()
    await succeed(scene, 1)
    end = await scene.finish(task)
    assert (end["phase"], end["attempt"], end["costUSD"]) == ("Succeeded", 1, "0.75")
    assert [entry["attempt"] for entry in end["previousAttempts"]] == [0]
    assert scene.kube.started == [scene.job_name("a", number) for number in range(2)]
    assert scene.kube.secrets == {}


@pytest.mark.parametrize("verb", ["delete_secret", "write_run_status"])
@pytest.mark.parametrize("late", [True, False])
async def test_an_attempt_whose_end_gets_no_answer_is_ended_again(scene: Scene, verb: str, *, late: bool) -> None:
    """Once is once, whatever was carried out."""
    scene.add(retry=at_once(1))
    task = scene.start()
    await scene.runs(log=overloaded())
    await scene.until(lambda: scene.status().get("session"))
    (scene.kube.fail_late if late else scene.kube.fail)[verb].append(unavailable())
    await scene.exit(1)
    await succeed(scene, 1)
    end = await scene.finish(task)
    assert (end["phase"], end["costUSD"], len(end["previousAttempts"])) == ("Succeeded", "0.75", 1)


@pytest.mark.parametrize("how", ["cancel", "delete"])
async def test_a_run_that_is_stopped_during_the_pause_has_ended(scene: Scene, how: str) -> None:
    """With what it had used."""
    scene.add(retry={"limit": 1, "backoffSeconds": 600})
    task = scene.start()
    await fail(scene, 0)
    await waits(scene, 1)
    scene.change(cancel=how == "cancel", deleted=how == "delete")
    end = await scene.finish(task)
    assert (end["phase"], end["costUSD"], len(end["previousAttempts"])) == ("Cancelled", "0.25", 1)
    assert "nextAttemptTime" not in end


async def test_two_operators_count_an_attempt_once(scene: Scene) -> None:
    """Both see its end; one of them writes it, and both go on with the next."""
    other = await scene.another()
    scene.watch()
    scene.add(retry=at_once(2))
    tasks = [scene.start(), other.start()]
    for number in range(2):
        await fail(scene, number)
    await succeed(scene, 2)
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
    end = scene.status()
    assert (end["phase"], end["attempt"], end["costUSD"]) == ("Succeeded", 2, "1")
    assert [entry["attempt"] for entry in end["previousAttempts"]] == [0, 1]
    assert scene.kube.started == [scene.job_name("a", number) for number in range(3)]


async def test_a_refusal_that_may_pass_is_tried_again(scene: Scene) -> None:
    """An attempt that never had a Job counts like any other."""
    quota = 'jobs.batch "x" is forbidden: exceeded quota: small'
    scene.kube.fail["create_job"] = [errors.RejectedError(quota, status=403)]
    scene.add(retry=at_once(1))
    task = scene.start()
    await succeed(scene, 1)
    end = await scene.finish(task)
    assert (end["phase"], end["previousAttempts"][0]["code"]) == ("Succeeded", "k8s_quota_exceeded")
    assert scene.kube.secrets == {}


async def test_trouble_of_one_attempt_is_not_that_of_the_next(scene: Scene) -> None:
    """Each has its own pendingSeconds."""
    scene.kube.fail["list_jobs"] = [unavailable() for _ in range(100_000)]
    scene.add(timeouts={"pendingSeconds": 60}, retry=at_once(2, on=["k8s_concurrency_guard_unreachable"]))
    task = scene.start()
    await scene.until(lambda: scene.kube.verbs().count("list_jobs") > 2)
    scene.later = dt.timedelta(seconds=61)
    await scene.until(lambda: "delete_job" in scene.kube.verbs())
    scene.remove_job()
    await waits(scene, 1)
    tried = scene.kube.verbs().count("list_jobs")
    await scene.until(lambda: scene.kube.verbs().count("list_jobs") > tried + 3)
    assert scene.status()["attempt"] == 1
    assert scene.kube.started == []
    scene.kube.fail["list_jobs"].clear()
    await succeed(scene, 1)
    assert (await scene.finish(task))["phase"] == "Succeeded"


@pytest.mark.parametrize(("policy", "left"), [("AfterFinished", []), ("WithRun", ["a.1.pod.ndjson", "a.pod.ndjson"])])
async def test_the_log_of_each_attempt_is_treated_as_the_run_wants(scene: Scene, policy: str, left: list[str]) -> None:
    """And the status names none that is gone."""
    scene.add(retry=at_once(1), retention={"log": policy})
    task = scene.start()
    folder = scene.log(b"").parent
    for owner in ("a.pod.owner", "a.1.pod.owner"):
        (folder / owner).write_text("team-a uid-a " + policy)
    await fail(scene, 0)
    await succeed(scene, 1)
    end = await scene.finish(task)
    assert sorted(path.name for path in folder.glob("*.ndjson")) == left
    assert ["logPath" in part for part in (end, end["previousAttempts"][0])] == [bool(left)] * 2


# -------------------------------------------------------------------------------------------------------- usage limits

KEY: Body = {"env": [{"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "one"}}}]}
OTHER_KEY: Body = {
    "env": [{"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "two"}}}]
}


async def exhaust(scene: Scene, **retry: Any) -> None:
    """Run a finds that the first key is used up for an hour."""
    scene.add("a", job=KEY, retry={"limit": 1, "backoffSeconds": 0, **retry})
    _ = scene.start("a")
    await fail(scene, 0, log=limited(scene, 3600))
    await scene.until(lambda: scene.status("a").get("phase") in {"Queued", "Failed"})


async def test_a_usage_limit_is_waited_for(scene: Scene) -> None:
    """Until the provider's own time; then the run goes on."""
    await exhaust(scene)
    status = scene.status("a")
    assert (status["phase"], status["reason"], status["attempt"]) == ("Queued", "UsageLimited", 1)
    until = dt.datetime.fromisoformat(status["nextAttemptTime"])
    assert dt.timedelta(seconds=3500) < until - scene.now() < dt.timedelta(seconds=3700)
    scene.later = dt.timedelta(seconds=3700)
    scene.world.wake("uid-a")
    await scene.job("a", 1)


@pytest.mark.parametrize("limit", [0, 1])
async def test_who_has_the_same_credential_need_not_find_out_for_himself(scene: Scene, limit: int) -> None:
    """If he would wait; another credential is not concerned. The first one may have had no further attempt at all."""
    await exhaust(scene, limit=limit)
    scene.add("b", agent="second", job=KEY, retry={"limit": 1})
    scene.add("c", agent="third", job=OTHER_KEY, retry={"limit": 1})
    scene.add("d", agent="fourth", job=KEY)
    for name in "bcd":
        _ = scene.start(name)
    await scene.until(lambda: len(scene.kube.started) == 3 and scene.status("b").get("phase"))
    assert set(scene.kube.started[1:]) == {
        names.job_name(agent_id=agent, run_id=run) for agent, run in (("third", "c"), ("fourth", "d"))
    }
    waiting = scene.status("b")
    assert (waiting["phase"], waiting["reason"]) == ("Queued", "UsageLimited")
    assert waiting["nextAttemptTime"]
    assert "attempt" not in waiting
    scene.later = dt.timedelta(seconds=3700)
    scene.world.wake("uid-b")
    await scene.until(lambda: len(scene.kube.started) == 4)


async def test_a_limit_is_known_after_a_restart(scene: Scene) -> None:
    """From the status of a run that waits for it."""
    await exhaust(scene)
    await scene.crash()
    _ = scene.start("a")
    await scene.until(lambda: any(verb == "list_jobs" for verb in scene.kube.verbs()))
    scene.world.wake("uid-a")
    await asyncio.sleep(0.01)
    scene.add("b", agent="second", job=KEY, retry={"limit": 1})
    _ = scene.start("b")
    await scene.until(lambda: scene.status("b").get("reason") == "UsageLimited")
    assert len(scene.kube.started) == 1


async def test_a_pause_for_another_reason_is_not_the_others(scene: Scene) -> None:
    """Its own long pause is nobody else's limit."""
    await exhaust(scene, limit=0)
    scene.add("b", agent="coder", job=KEY, retry={"limit": 1, "backoffSeconds": 86_400, "on": ["claude_overloaded"]})
    _ = scene.start("b")
    await fail(scene, 0, name="b")
    await waits(scene, 1, "b")
    assert (scene.status("b")["phase"], scene.status("b")["reason"]) == ("Pending", "RetryBackoff")
    scene.later = dt.timedelta(seconds=3700)
    scene.add("c", agent="third", job=KEY, retry={"limit": 1})
    _ = scene.start("c")
    await scene.until(lambda: len(scene.kube.started) == 3)
