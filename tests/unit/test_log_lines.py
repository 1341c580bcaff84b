"""Every line about a run names run, agent and company, also where one task or thread works for many runs."""

import asyncio
import contextlib
import logging
import pathlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog import contextvars, testing

from agentrun_operator import errors, facts, kube, logfiles, logs, models, names, runner, settings, tail
from agentrun_operator.handlers import runs
from agentrun_operator.runner import stragglers
from tests import builders, deps, fakes

Body = dict[str, Any]
WHOSE = {"run": "team-a/fix-login", "agent": "coder", "company": "acme"}
REF = kube.Ref("team-a", "fix-login", builders.RUN_UID)


@contextlib.contextmanager
def logged() -> Iterator[list[Any]]:
    """The events that are logged meanwhile, with what their context adds."""
    with testing.capture_logs(processors=[contextvars.merge_contextvars]) as found:
        yield found


async def until(found: list[Any], event: str) -> Body:
    """That event, when it was logged."""
    async with asyncio.timeout(10):
        while not (hits := [line for line in found if line["event"] == event]):  # noqa: ASYNC110 - other threads' doing, too
            await asyncio.sleep(0.005)
    return dict(hits[0])


def named(line: Body) -> Body:
    """Whose line it is."""
    return {key: value for key, value in line.items() if key in WHOSE}


@contextlib.asynccontextmanager
async def working(work: Any) -> Any:  # noqa: ANN401 - any coroutine
    """It goes on meanwhile, in a task that knows of no run."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_a_run_is_named_by_what_can_be_read() -> None:
    """Its object may be of any shape."""
    assert runner.named(builders.agent_run()) == WHOSE
    meta = {"namespace": "n", "name": "x"}
    for spec in (None, "", {"agent": "coder"}, {"agent": {"id": 7}, "companyId": ["acme"]}):
        assert runner.named({"metadata": meta, "spec": spec}) == {"run": "n/x", "agent": "", "company": ""}


async def test_what_kopf_says_of_an_object_after_its_event_is_named_too(tmp_path: pathlib.Path) -> None:
    """The handler runs in the task that is the object's own."""
    memo = deps.make(settings.Settings(data_path=str(tmp_path)), fakes.FakeKube())
    event = {"type": "ADDED", "object": builders.agent_run()}

    async def worker() -> Body:
        await runs.saw(event=event, uid=builders.RUN_UID, memo=memo)  # type: ignore[arg-type]  # a raw event
        return contextvars.get_contextvars()

    assert await asyncio.create_task(worker()) == WHOSE
    assert contextvars.get_contextvars() == {}


def test_kopf_names_the_run_by_its_reference(capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is nothing else; and only of what is a run."""
    root = logging.getLogger()
    before, hooks = (root.level, root.handlers[:]), (threading.excepthook, sys.excepthook)
    try:
        logs.configure(settings.Settings())
        for kind, run in (("AgentRun", {}), ("Job", {}), ("AgentRun", {"run": "team-a/other"})):
            ref = {"kind": kind, "namespace": "team-a", "name": "fix-login"}
            with contextvars.bound_contextvars(**run):
                logging.getLogger("kopf.other").warning("said", extra={"k8s_ref": ref})
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        threading.excepthook, sys.excepthook = hooks
        root.setLevel(before[0])
        root.handlers[:] = before[1]
    first, second, third = capsys.readouterr().err.splitlines()
    assert '"run": "team-a/fix-login"' in first
    assert '"run"' not in second
    assert '"run": "team-a/other"' in third


async def test_a_run_that_cannot_be_read_is_named(tmp_path: pathlib.Path) -> None:
    """Its supervisor gives it up, and whatever goes wrong with that is about it."""
    api = fakes.FakeKube()
    memo = deps.make(settings.Settings(data_path=str(tmp_path)), api)
    body = api.add_run(builders.agent_run(prompt={}))
    with logged() as found:
        await asyncio.create_task(runner.Supervisor(memo, lambda: body).run())
    (line,) = [line for line in found if line["event"] == "status_written"]
    assert named(line) == WHOSE


async def test_an_event_that_is_not_posted_names_its_run() -> None:
    """One worker posts those of all."""
    api = fakes.FakeKube()
    api.fail["create_event"] = [errors.RejectedError("forbidden", status=403)]
    announcer = runner.Announcer(settings.Settings(), api)
    with logged() as found:
        async with working(announcer.work()):
            with contextvars.bound_contextvars(**WHOSE):
                announcer.announce(REF, {}, {"phase": "Queued", "message": "Wait."})
            line = await until(found, "event_not_posted")
    assert named(line) == WHOSE


async def test_a_run_that_is_mended_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One watcher mends all."""
    for constant in ("_LOOK_SECONDS", "_PATIENCE_SECONDS"):
        monkeypatch.setattr(stragglers, constant, 0.001)
    api = fakes.FakeKube()
    api.fail["write_run_finalizers"] = [errors.UnavailableError("away", status=503)]
    mender = runner.Stragglers(api, lambda _uid: False)
    with contextvars.bound_contextvars(**WHOSE):
        mender.saw(api.add_run(builders.agent_run()), deleted=False)
    with logged() as found:
        async with working(mender.watch()):
            lines = [await until(found, event) for event in ("straggler_not_mended", "straggler_mended")]
    assert [named(line) for line in lines] == [WHOSE, WHOSE]


async def test_a_run_whose_job_is_let_go_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By that Job: nobody follows the run any more."""
    for constant in ("_LOOK_SECONDS", "_PATIENCE_SECONDS"):
        monkeypatch.setattr(stragglers, constant, 0.001)
    api = fakes.FakeKube()
    api.fail["let_job_go"] = [errors.UnavailableError("away", status=503)]
    body = builders.job(deleting=True, finalizers=[names.ADOPTION_FINALIZER])
    api.jobs["team-a", body["metadata"]["name"]] = body
    mender = runner.Stragglers(api, lambda _uid: False, lambda: map(facts.parse_job, api.jobs.values()))
    with logged() as found:
        async with working(mender.watch()):
            lines = [await until(found, event) for event in ("job_not_let_go", "job_let_go")]
    assert [named(line) for line in lines] == [WHOSE, WHOSE]


async def test_a_run_whose_time_is_over_is_named(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it takes a second try, in a task that knows of no run."""
    monkeypatch.setattr("agentrun_operator.runner.retention._PATIENCE_SECONDS", 0.01)
    api = fakes.FakeKube()
    api.fail["delete_run"] = [errors.UnavailableError("away", status=503)]
    caretaker = runner.Caretaker(settings.Settings(data_path=str(tmp_path)), api)
    ended = {"phase": "Succeeded", "completionTime": builders.CREATED}
    body = api.add_run(builders.agent_run(retention={"runTTLSecondsAfterSucceeded": 1}, status=ended))
    with logged() as found:
        async with working(caretaker.expire()):
            with contextvars.bound_contextvars(**WHOSE):
                caretaker.saw(body, deleted=False)
            lines = [await until(found, event) for event in ("expiry_failed", "run_expired")]
    caretaker.close()
    assert [named(line) for line in lines] == [WHOSE, WHOSE]


async def test_a_run_that_is_one_too_many_is_named_with_the_agent_of_the_newer_one(tmp_path: pathlib.Path) -> None:
    """By its own name: it is another run than the one that was seen."""
    api = fakes.FakeKube()
    caretaker = runner.Caretaker(settings.Settings(data_path=str(tmp_path), history_limit=1), api)
    with logged() as found:
        async with working(caretaker.expire()):
            for name, second in (("old", 1), ("new", 2)):
                ended = {"phase": "Succeeded", "completionTime": f"2026-07-01T10:00:0{second}Z"}
                body = api.add_run(builders.agent_run(name=name, uid=f"uid-{name}", status=ended))
                with contextvars.bound_contextvars(**{**WHOSE, "run": f"team-a/{name}"}):
                    caretaker.saw(body, deleted=False)
            line = await until(found, "run_expired")
    caretaker.close()
    assert named(line) == {**WHOSE, "run": "team-a/old"}


async def test_trouble_with_a_log_file_names_the_run() -> None:
    """One thread works on those of all."""
    keeper = logfiles.Keeper()

    def fail() -> None:
        raise OSError("no space left")

    with logged() as found:
        with contextvars.bound_contextvars(**WHOSE):
            keeper.do("redact", fail)
        line = await until(found, "log_file_trouble")
    keeper.close()
    assert named(line) == WHOSE


async def test_trouble_with_reading_a_log_names_the_run(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is: a file that hangs, that answers again, that cannot be followed, that is given up."""
    hung = [True]

    def poll(one: tail.LogTail, _config: settings.Settings) -> float | None:
        while hung[0]:
            time.sleep(0.005)
        if one.path.endswith("broken"):
            raise ValueError("what is that?")
        return None

    monkeypatch.setattr(tail.LogTail, "poll", poll)
    for constant, value in (("_HANG_SECONDS", 0.05), ("_WATCH_SECONDS", 0.02)):
        monkeypatch.setattr(tail, constant, value)
    tailer = tail.Tailer(settings.Settings(drain_seconds=0.1))
    with logged() as found:
        with contextvars.bound_contextvars(**WHOSE):
            one = tailer.follow(str(tmp_path / "hangs"), stderr_path="", on_drained=lambda: None)
            one.drain(None)
        lines = [await until(found, event) for event in ("log_hangs", "log_given_up")]
        hung[0] = False
        lines.append(await until(found, "log_answers_again"))
        with contextvars.bound_contextvars(**WHOSE):
            tailer.follow(str(tmp_path / "broken"), stderr_path="", on_drained=lambda: None)
        lines.append(await until(found, "log_unreadable"))
    tailer.close()
    assert [named(line) for line in lines] == [WHOSE] * 4


def test_the_names_are_those_of_the_object() -> None:
    """As the models read them."""
    run = models.AgentRun.parse(builders.agent_run())
    assert runner.named(builders.agent_run()) == {
        "run": f"{run.metadata.namespace}/{run.metadata.name}",
        "agent": run.spec.agent.id,
        "company": run.spec.company_id,
    }
