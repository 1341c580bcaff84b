"""What is kept after the end: logs by policy, AgentRuns by their time."""

import asyncio
import datetime as dt
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentrun_operator import errors, models, redaction, runner, settings
from agentrun_operator.runner import retention
from tests import builders, fakes

NOW = dt.datetime.now(dt.UTC)


class Scene:
    """A caretaker, the API in memory and a volume."""

    def __init__(self, volume: pathlib.Path) -> None:
        self.volume = volume
        self.kube = fakes.FakeKube()
        self.config = settings.Settings(data_path=str(volume))
        self.caretaker = runner.Caretaker(self.config, self.kube)
        self.tasks: list[asyncio.Task[None]] = []

    def log(self, name: str = "run-1", owner: str = f"team-a {builders.RUN_UID} WithRun") -> pathlib.Path:
        """A run's log on the volume."""
        path = self.volume / f"instances/default/run-logs/acme/coder/{name}.pod.ndjson"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("the secret value\n")
        if owner:
            path.with_name(f"{name}.pod.owner").write_text(owner)
        return path

    def start(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        """Have the caretaker do one of its tasks."""
        self.tasks.append(asyncio.create_task(work))

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition holds."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - files and an API in memory tell nobody
                await asyncio.sleep(0.002)


@pytest.fixture
async def scene(tmp_path: pathlib.Path) -> AsyncIterator[Scene]:
    """See Scene."""
    made = Scene(tmp_path)
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    made.caretaker.close()


def body(phase: str = "Succeeded", ago: float = 0, **kept: Any) -> dict[str, Any]:
    """An AgentRun that ended so many seconds ago."""
    ended = (NOW - dt.timedelta(seconds=ago)).isoformat(timespec="seconds")
    return builders.agent_run(retention=kept, status={"phase": phase, "completionTime": ended})


def run(**kept: Any) -> models.AgentRun:
    """The same as a model."""
    return models.AgentRun.parse(body(**kept))


# --- logs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        ({}, "the secret value\n"),
        ({"log": "Never"}, "the secret value\n"),
        ({"redactLog": True}, "the [redacted]\n"),
        ({"log": "AfterFinished"}, None),
        ({"log": "AfterFinished", "redactLog": True}, None),
    ],
)
async def test_at_the_end_of_a_run_its_log_is_treated_as_it_wants(
    scene: Scene, kept: dict[str, Any], text: str | None
) -> None:
    """And the caller is told when it is gone."""
    log = scene.log()
    gone = await scene.caretaker.finish(run(**kept), redaction.Redactor(["secret value"]))
    assert (log.read_text() if log.exists() else None) == text
    assert gone is (text is None)


async def test_the_log_is_where_the_status_says(scene: Scene) -> None:
    """A setting may have moved the folder since the Job was made."""
    log = scene.volume / "elsewhere/acme/coder/run-1.pod.ndjson"
    given = body(log="AfterFinished")
    given["status"]["logPath"] = "/paperclip/elsewhere/acme/coder/run-1.pod.ndjson"
    log.parent.mkdir(parents=True)
    log.touch()
    assert await scene.caretaker.finish(models.AgentRun.parse(given), redaction.Redactor()) is False
    assert log.exists(), "what is not below the log root is not touched"
    given["status"]["logPath"] = "/etc/passwd"
    assert await scene.caretaker.finish(models.AgentRun.parse(given), redaction.Redactor()) is False


async def test_without_the_volume_there_is_nothing_to_do(scene: Scene) -> None:
    """And nothing fails."""
    blind = runner.Caretaker(settings.Settings(data_path=""), scene.kube)
    assert await blind.finish(run(log="AfterFinished"), redaction.Redactor()) is False
    blind.saw(body(), deleted=True)
    blind.close()


@pytest.mark.parametrize(("policy", "stays"), [("WithRun", False), ("AfterFinished", False), ("Never", True)])
async def test_a_log_goes_with_its_run(scene: Scene, policy: str, *, stays: bool) -> None:
    """When the watch shows that the AgentRun was deleted."""
    log = scene.log()
    other = scene.log("run-2")
    scene.caretaker.saw(body(log=policy), deleted=False)
    scene.caretaker.saw(body("Running", log=policy), deleted=False)
    assert log.exists()
    scene.caretaker.saw(body(log=policy), deleted=True)
    scene.caretaker.close()
    assert (log.exists(), other.exists()) == (stays, True)


async def test_what_cannot_be_read_is_left_alone(scene: Scene) -> None:
    """An AgentRun of another version."""
    log = scene.log()
    scene.caretaker.saw({**body(), "spec": {}}, deleted=True)
    scene.caretaker.close()
    assert log.exists()


async def test_logs_of_runs_whose_deletion_nobody_saw_are_swept_up(scene: Scene) -> None:
    """Only those with an owner file, of a namespace that is watched, whose policy allows it."""
    scene.kube.add_run(builders.agent_run(uid="alive"))
    logs = {name: scene.log(name, owner) for name, owner in {
        "alive": "team-a alive WithRun", "gone": "team-a gone WithRun", "kept": "team-a kept Never", "nobodys": "",
    }.items()}  # fmt: skip
    scene.start(scene.caretaker.sweep())
    await scene.until(lambda: not logs["gone"].exists())
    assert [name for name, log in logs.items() if log.exists()] == ["alive", "kept", "nobodys"]
    assert [what for verb, what in scene.kube.calls if verb == "list_run_uids"] == [""]


async def test_only_watched_namespaces_are_swept(scene: Scene) -> None:
    """Two operators may share a volume; neither sees the other's AgentRuns."""
    config = scene.config.model_copy(update={"namespaces": "team-a,team-b"})
    theirs, ours = scene.log("theirs", "team-c x WithRun"), scene.log("ours", "team-b y WithRun")
    mine = runner.Caretaker(config, scene.kube)
    scene.start(mine.sweep())
    await scene.until(lambda: not ours.exists())
    assert theirs.exists()
    assert [what for verb, what in scene.kube.calls if verb == "list_run_uids"] == ["team-a", "team-b"]
    mine.close()


async def test_a_list_that_fails_removes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next sweep tries again."""
    monkeypatch.setattr(retention, "_SWEEP_SECONDS", 0.01)
    log = scene.log("gone", "team-a gone WithRun")
    scene.kube.fail["list_run_uids"] = [errors.UnavailableError("timed out")]
    scene.start(scene.caretaker.sweep())
    await scene.until(lambda: scene.kube.verbs().count("list_run_uids") == 1)
    assert log.exists()
    await scene.until(lambda: not log.exists())


async def test_a_volume_that_hangs_does_not_hold_up_the_verdict(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log stays as it is, and the run ends."""
    monkeypatch.setattr(retention, "_PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(scene.caretaker._keeper, "_work", asyncio.Queue())  # noqa: SLF001 - nobody does the work
    monkeypatch.setattr(scene.caretaker._keeper._work, "put", lambda _: None)  # noqa: SLF001
    assert await scene.caretaker.finish(run(log="AfterFinished"), redaction.Redactor()) is False
    monkeypatch.undo()


# --- AgentRuns ------------------------------------------------------------------------------------------------------


def add(scene: Scene, **given: Any) -> dict[str, Any]:
    """Store an AgentRun and show it to the caretaker."""
    made = scene.kube.add_run(body(**given))
    scene.caretaker.saw(made, deleted=False)
    return made


@pytest.mark.parametrize(
    ("phase", "kept"),
    [
        ("Succeeded", {"runTTLSecondsAfterSucceeded": 10}),
        ("Failed", {"runTTLSecondsAfterFailed": 10}),
        ("Cancelled", {"runTTLSecondsAfterFailed": 10}),
    ],
)
async def test_a_run_whose_time_is_over_is_deleted(scene: Scene, phase: str, kept: dict[str, int]) -> None:
    """Also when it ended while no operator was there."""
    add(scene, phase=phase, ago=11, **kept)
    scene.start(scene.caretaker.expire())
    await scene.until(lambda: not scene.kube.runs)


@pytest.mark.parametrize(
    ("phase", "kept"),
    [
        ("Succeeded", {}),
        ("Succeeded", {"runTTLSecondsAfterFailed": 0}),
        ("Failed", {"runTTLSecondsAfterSucceeded": 0}),
        ("Running", {"runTTLSecondsAfterSucceeded": 0, "runTTLSecondsAfterFailed": 0}),
        ("Succeeded", {"runTTLSecondsAfterSucceeded": 3600}),
    ],
)
async def test_every_other_run_stays(scene: Scene, phase: str, kept: dict[str, int]) -> None:
    """Without a limit, with one for the other outcome, while it is live, before its time."""
    add(scene, phase=phase, ago=11, **kept)
    scene.start(scene.caretaker.expire())
    other = builders.agent_run(name="due", uid="uid-due", retention={"runTTLSecondsAfterSucceeded": 0})
    other["status"] = {"phase": "Succeeded", "completionTime": NOW.isoformat(timespec="seconds")}
    scene.caretaker.saw(scene.kube.add_run(other), deleted=False)
    await scene.until(lambda: ("team-a", "due") not in scene.kube.runs)
    assert ("team-a", "fix-login") in scene.kube.runs


async def test_runs_that_end_in_the_same_second_are_all_deleted(scene: Scene) -> None:
    """Times have whole seconds, so that is the ordinary case; the same time set twice is no trouble either."""
    for name in "abc":
        made = builders.agent_run(name=name, uid=f"uid-{name}", retention={"runTTLSecondsAfterSucceeded": 10})
        ended = (NOW - dt.timedelta(seconds=11)).isoformat(timespec="seconds")
        made["status"] = {"phase": "Succeeded", "completionTime": ended}
        scene.kube.add_run(made)
        for ttl in (10, 3600, 10):
            made["spec"]["retention"] = {"runTTLSecondsAfterSucceeded": ttl}
            scene.caretaker.saw(made, deleted=False)
    scene.start(scene.caretaker.expire())
    await scene.until(lambda: not scene.kube.runs)


async def test_a_changed_limit_counts(scene: Scene) -> None:
    """Retention may be changed at any time, also to nothing."""
    made = add(scene, ago=11, runTTLSecondsAfterSucceeded=3600)
    scene.start(scene.caretaker.expire())
    await asyncio.sleep(0)
    made["spec"]["retention"] = {"runTTLSecondsAfterSucceeded": 5}
    scene.caretaker.saw(made, deleted=False)
    await scene.until(lambda: not scene.kube.runs)

    again = add(scene, ago=11, runTTLSecondsAfterSucceeded=5)
    again["spec"]["retention"] = {}
    scene.caretaker.saw(again, deleted=False)
    await asyncio.sleep(0.01)
    assert scene.kube.runs


async def test_a_deletion_that_fails_is_tried_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later; one that succeeded is not."""
    monkeypatch.setattr(retention, "_PATIENCE_SECONDS", 0.01)
    scene.kube.fail["delete_run"] = [errors.UnavailableError("timed out")]
    add(scene, ago=11, runTTLSecondsAfterSucceeded=0)
    scene.start(scene.caretaker.expire())
    await scene.until(lambda: not scene.kube.runs)
    assert scene.kube.verbs() == ["delete_run", "delete_run"]
