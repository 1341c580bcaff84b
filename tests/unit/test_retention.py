"""What is kept after the end: logs by policy, AgentRuns by their time."""

import asyncio
import datetime as dt
import itertools
import pathlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from agentrun_operator import errors, models, redaction, runner, settings
from agentrun_operator.runner import history, retention
from tests import builders, fakes

NOW = dt.datetime.now(dt.UTC)
LOG_PATH = "/paperclip/instances/default/run-logs/acme/coder/run-1.pod.ndjson"


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
    gone = await scene.caretaker.finish(run(**kept), LOG_PATH, redaction.Redactor(["secret value"]))
    assert (log.read_text() if log.exists() else None) == text
    assert gone is (text is None)


async def test_the_log_is_where_the_job_says(scene: Scene) -> None:
    """A setting may have moved the folder since the Job was made."""
    log = scene.volume / "elsewhere/acme/coder/run-1.pod.ndjson"
    ended = run(log="AfterFinished")
    log.parent.mkdir(parents=True)
    log.touch()
    moved = "/paperclip/elsewhere/acme/coder/run-1.pod.ndjson"
    assert await scene.caretaker.finish(ended, moved, redaction.Redactor()) is False
    assert log.exists(), "what is not below the log root is not touched"
    for elsewhere in ("/etc/passwd", ""):
        assert await scene.caretaker.finish(ended, elsewhere, redaction.Redactor()) is False


async def test_without_the_volume_there_is_nothing_to_do(scene: Scene) -> None:
    """And nothing fails."""
    blind = runner.Caretaker(settings.Settings(data_path=""), scene.kube)
    assert await blind.finish(run(log="AfterFinished"), LOG_PATH, redaction.Redactor()) is False
    blind.reown(run(), LOG_PATH)
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


@pytest.mark.parametrize(("phase", "stays"), [("Succeeded", False), ("Cancelled", False), ("Running", True)])
async def test_a_log_that_an_agent_is_left_to_write_stays(scene: Scene, phase: str, *, stays: bool) -> None:
    """Its Job was not deleted with the run. That of a run which has ended only looks live for a moment."""
    log = scene.log()
    path = f"/paperclip/{log.relative_to(scene.volume)}"
    caretaker = runner.Caretaker(scene.config, scene.kube, lambda: {path})
    caretaker.saw(body(phase), deleted=True)
    caretaker.close()
    assert log.exists() is stays


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
    assert await scene.caretaker.finish(run(log="AfterFinished"), LOG_PATH, redaction.Redactor()) is False
    monkeypatch.undo()


# --- attempts, and Jobs that go on ------------------------------------------------------------------------------------

FOLDER = "/paperclip/instances/default/run-logs/acme/coder"


def tried(*numbers: int, now: str = "run-1.2", **kept: Any) -> dict[str, Any]:
    """An AgentRun with the logs of these attempts before, in the order of ``numbers``."""
    given = body(**kept)
    why = {"code": "k8s_pod_evicted", "message": "Evicted."}
    before = [{"attempt": n, **why, "logPath": f"{FOLDER}/{log_name(n)}.pod.ndjson"} for n in numbers]
    given["status"] |= {"previousAttempts": before, "attempt": 2}
    if now:
        given["status"]["logPath"] = f"{FOLDER}/{now}.pod.ndjson"
    return given


def log_name(number: int) -> str:
    """The part of a log's name that tells run and attempt."""
    return f"run-1.{number}" if number else "run-1"


@pytest.mark.parametrize("now", ["run-1.2", ""])
async def test_the_logs_of_all_attempts_go_with_the_run(scene: Scene, now: str) -> None:
    """Also that of an attempt of which the status does not tell yet; those of other runs stay."""
    logs = [scene.log(log_name(number)) for number in range(3)]
    other = scene.log("run-2.1", "team-a uid-2 WithRun")
    scene.caretaker.saw(tried(0, 1, now=now), deleted=True)
    scene.caretaker.close()
    assert [log.exists() for log in (*logs, other)] == [False, False, False, True]


async def test_what_an_attempt_no_more_has_is_not_looked_for(scene: Scene) -> None:
    """Its log was removed when it ended."""
    given = tried(0, 1)
    del given["status"]["previousAttempts"][0]["logPath"]
    kept = scene.log(log_name(0), "team-a somebody-else WithRun")
    last = scene.log(log_name(2))
    scene.caretaker.saw(given, deleted=True)
    scene.caretaker.close()
    assert (kept.exists(), last.exists()) == (True, False)


@pytest.mark.parametrize(("how", "stays"), [("seen", True), ("seen, and it had ended", False), ("swept up", True)])
async def test_a_log_that_a_live_job_still_writes_is_left_alone(scene: Scene, how: str, *, stays: bool) -> None:
    """Its AgentRun was deleted with --cascade=orphan; whoever adopts the Job gets the log, too.

    A run that has ended has no agent any more, whatever the Job controller has seen of it.
    """
    live = f"{FOLDER}/{log_name(2)}.pod.ndjson"
    caretaker = runner.Caretaker(scene.config, scene.kube, lambda: {live, "/elsewhere/x", ""})
    logs = [scene.log(log_name(number)) for number in range(3)]
    if how == "swept up":
        scene.start(caretaker.sweep())
        await scene.until(lambda: not any(log.exists() for log in logs[:2]))
    else:
        caretaker.saw(tried(0, 1, phase="Running" if how == "seen" else "Failed"), deleted=True)
    caretaker.close()
    assert [log.exists() for log in logs] == [False, False, stays]


async def test_a_log_that_was_adopted_is_the_new_runs_own(scene: Scene) -> None:
    """Written down once; then it is kept or removed as that run wants, and swept up with it."""
    scene.kube.add_run(builders.agent_run(name="new", uid="uid-new"))
    log = scene.log("lost", "team-a uid-lost WithRun")
    path = f"{FOLDER}/lost.pod.ndjson"
    adopter = models.AgentRun.parse(builders.agent_run(name="new", uid="uid-new", retention={"log": "Never"}))
    scene.caretaker.reown(adopter, path)
    await scene.until(lambda: "uid-new Never" in log.with_name("lost.pod.owner").read_text())
    log.with_name("lost.pod.owner").write_text("team-a uid-new WithRun")
    scene.caretaker.reown(adopter, path)
    assert await scene.caretaker.finish(adopter, "", redaction.Redactor()) is False
    scene.caretaker.close()
    assert log.with_name("lost.pod.owner").read_text() == "team-a uid-new WithRun", "it is not written again and again"


@pytest.mark.parametrize("path", ["/etc/passwd", "/paperclip/elsewhere/acme/coder/lost.pod.ndjson", ""])
async def test_only_a_log_below_the_root_is_adopted(scene: Scene, path: str) -> None:
    """An annotation may name anything."""
    scene.caretaker.reown(run(), path)
    log = scene.log()
    assert await scene.caretaker.finish(run(log="AfterFinished"), LOG_PATH, redaction.Redactor()) is True
    assert not log.exists(), "the caretaker goes on"


async def test_an_attempts_own_log_is_removed_at_its_end(scene: Scene) -> None:
    """AfterFinished is said of each attempt; the others' logs are not touched."""
    logs = [scene.log(log_name(number)) for number in range(2)]
    ended = run(log="AfterFinished")
    assert await scene.caretaker.finish(ended, f"{FOLDER}/{log_name(1)}.pod.ndjson", redaction.Redactor()) is True
    assert [log.exists() for log in logs] == [True, False]


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


# --- history ----------------------------------------------------------------------------------------------------------


class Shelf(Scene):
    """A scene whose caretaker keeps so many finished runs per agent."""

    def limit(self, most: int) -> None:
        """Keep ``most``."""
        self.caretaker.close()
        self.config = settings.Settings(data_path=str(self.volume), history_limit=most)
        self.caretaker = runner.Caretaker(self.config, self.kube)

    def show(self, name: str, second: int, *, phase: str = "Succeeded", agent: str = "coder", **kept: Any) -> None:
        """A run of that agent ended at that second."""
        made = builders.agent_run(name=name, uid=f"uid-{name}", agent=agent, retention=kept)
        made["status"] = {"phase": phase}
        if phase != "Running":
            made["status"]["completionTime"] = f"2026-01-02T03:04:{second:02}Z"
        self.caretaker.saw(self.kube.add_run(made), deleted=False)

    @property
    def names(self) -> list[str]:
        """The runs that are there."""
        return sorted(name for _, name in self.kube.runs)


@pytest.fixture
async def shelf(tmp_path: pathlib.Path) -> AsyncIterator[Shelf]:
    """See Shelf."""
    made = Shelf(tmp_path)
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    made.caretaker.close()


@pytest.mark.parametrize("order", list(itertools.permutations("abcd")))
async def test_the_runs_that_ended_last_are_kept(shelf: Shelf, order: tuple[str, ...]) -> None:
    """In whatever order the watch shows them, as it does after a restart; and nothing is listed for it."""
    shelf.limit(2)
    for name in order:
        shelf.show(name, second="abcd".index(name))
        shelf.show(name, second="abcd".index(name))  # the watch shows it again and again
    shelf.start(shelf.caretaker.expire())
    await shelf.until(lambda: shelf.names == ["c", "d"])
    assert shelf.kube.verbs() == ["delete_run", "delete_run"]


async def test_each_agent_has_a_history_of_its_own_and_live_runs_do_not_count(shelf: Shelf) -> None:
    """All ends count alike; names decide between runs of the same second."""
    shelf.limit(1)
    shelf.show("live", 0, phase="Running")
    for agent in ("ada", "bob"):
        for name, phase in (("x", "Cancelled"), ("y", "Failed"), ("z", "Succeeded")):
            shelf.show(f"{agent}-{name}", 7, agent=agent, phase=phase)
    shelf.show("only", 9)
    shelf.start(shelf.caretaker.expire())
    await shelf.until(lambda: shelf.names == ["ada-z", "bob-z", "live", "only"])


async def test_without_a_limit_nothing_is_deleted_or_remembered(shelf: Shelf) -> None:
    """The default."""
    for second, name in enumerate("abc"):
        shelf.show(name, second)
    shelf.start(shelf.caretaker.expire())
    shelf.show("due", 9, runTTLSecondsAfterSucceeded=0)
    await shelf.until(lambda: shelf.names == ["a", "b", "c"])
    await shelf.caretaker.recount()
    assert shelf.kube.verbs() == ["delete_run"]


async def test_its_own_limit_saves_no_run_that_is_too_many(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the watch shows it again before it is deleted, or when the deletion fails at first."""
    monkeypatch.setattr(retention, "_PATIENCE_SECONDS", 0.01)
    shelf.limit(1)
    shelf.kube.fail["delete_run"] = [errors.UnavailableError("timed out")]
    for second, name in enumerate("ab"):
        shelf.show(name, second, runTTLSecondsAfterSucceeded=31_536_000)
    shelf.show("a", 0, runTTLSecondsAfterSucceeded=31_536_000)
    shelf.start(shelf.caretaker.expire())
    await shelf.until(lambda: shelf.names == ["b"])


async def test_a_run_that_is_gone_or_on_its_way_does_not_count(shelf: Shelf) -> None:
    """Whether the watch shows its deletion, or its time is over, or somebody deletes it."""
    shelf.limit(2)
    shelf.start(shelf.caretaker.expire())
    shelf.show("old", 1)
    shelf.show("deleted", 2)
    shelf.caretaker.saw(shelf.kube.runs.pop(("team-a", "deleted")), deleted=True)
    shelf.show("expired", 3, runTTLSecondsAfterSucceeded=0)
    await shelf.until(lambda: shelf.names == ["old"])
    shelf.show("leaving", 4)
    leaving = shelf.kube.runs["team-a", "leaving"]
    leaving["metadata"]["deletionTimestamp"] = builders.CREATED
    shelf.caretaker.saw(leaving, deleted=False)
    shelf.show("new", 5)
    shelf.show("other", 6, agent="bob", runTTLSecondsAfterSucceeded=0)
    await shelf.until(lambda: "other" not in shelf.names)
    assert shelf.names == ["leaving", "new", "old"]


async def test_a_run_whose_deletion_nobody_saw_is_left_out_of_the_next_count(shelf: Shelf) -> None:
    """One list for all of them; what ended while it was under way stays."""
    shelf.limit(2)
    shelf.start(shelf.caretaker.expire())
    shelf.show("old", 1)
    shelf.show("vanished", 2)
    del shelf.kube.runs["team-a", "vanished"]
    await shelf.caretaker.recount()
    shelf.show("new", 3)
    shelf.show("other", 4, agent="bob", runTTLSecondsAfterSucceeded=0)
    await shelf.until(lambda: "other" not in shelf.names)
    assert shelf.names == ["new", "old"]


async def test_what_ends_while_runs_are_listed_is_counted(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list may be older than what the watch shows."""
    shelf.limit(1)
    shelf.show("old", 1)

    async def listed(_namespace: str) -> set[str]:
        shelf.show("new", 2)
        await asyncio.sleep(0)
        return {"uid-old"}

    monkeypatch.setattr(shelf.kube, "list_run_uids", listed)
    await shelf.caretaker.recount()
    shelf.show("newer", 3)
    shelf.start(shelf.caretaker.expire())
    await shelf.until(lambda: shelf.names == ["newer"])


def test_the_history_of_an_agent_without_runs_takes_no_room() -> None:
    """Agents come and go."""
    kept = history.History(1)
    ended = run()
    assert kept.add(ended) is None
    assert kept.uids == {builders.RUN_UID}
    kept.forget(builders.RUN_UID)
    kept.forget(builders.RUN_UID)
    assert {key: value for key, value in vars(kept).items() if value} == {"_limit": 1}


def test_a_run_that_is_too_many_is_named_once() -> None:
    """However often the watch shows it before it is gone, and whatever happens to the others."""
    kept = history.History(1)
    old, new = (models.AgentRun.parse({**body(ago=ago), "metadata": {**body()["metadata"], "uid": uid}})
                for ago, uid in ((2, "old"), (1, "new")))  # fmt: skip
    assert kept.add(old) is None
    surplus = kept.add(new)
    assert surplus is not None
    assert surplus.uid == "old"
    kept.forget("new")
    assert kept.add(old) is None
    assert kept.is_surplus("old")
    assert kept.uids == frozenset()
