"""The daemon of one AgentRun: when it lives, what wakes it, and what ends it."""

import asyncio
import contextlib
import copy
import dataclasses
import pathlib
import types
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import kopf
import pytest

from agentrun_operator import facts, kube, models, names, settings
from agentrun_operator.handlers import runs
from agentrun_operator.runner import stragglers
from tests import builders, deps, fakes

Why = kopf.DaemonStoppingReason


class Daemon:
    """The daemon as kopf runs it: with a body that shows the object as it is, and a flag that says why it must stop."""

    def __init__(self, folder: pathlib.Path) -> None:
        config = settings.Settings(
            image="agent:1", data_path=str(folder), poll_seconds=0.005, log_appear_seconds=0.02, quiet_seconds=0.02
        )
        self.kube = fakes.FakeKube()
        self.memo = deps.make(config, self.kube)
        self.raw = self.kube.add_run(builders.agent_run(status={}))
        self.stopped = types.SimpleNamespace(reason=None)
        self.task = asyncio.create_task(
            runs.supervise(
                body=kopf.Body(self.raw),  # type: ignore[arg-type]  # the object as JSON
                stopped=cast("kopf.DaemonStopped", self.stopped),
                memo=self.memo,
            )
        )

    @property
    def status(self) -> dict[str, Any]:
        """What was written."""
        return dict(self.raw["status"])

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition holds."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - any condition, not one event
                await asyncio.sleep(0.002)

    async def running(self) -> None:
        """The agent runs."""
        await self.until(lambda: "job" in self.status)
        (body,) = self.kube.jobs.values()
        self.memo.world.saw_pod(facts.parse_pod(builders.pod(body, main=builders.running())))
        await self.until(lambda: self.status["phase"] == "Running")

    def remove_job(self) -> None:
        """The Job and its pod go."""
        (body,) = self.kube.jobs.values()
        self.kube.jobs.clear()
        job = facts.parse_job(body)
        pod = self.memo.world.pod_of(job.uid)
        if pod is not None:
            self.memo.world.saw_pod(dataclasses.replace(pod, gone=True))
        self.memo.world.saw_job(dataclasses.replace(job, gone=True))

    def stop(self, reason: kopf.DaemonStoppingReason) -> None:
        """What kopf does to a daemon that has to end."""
        self.stopped.reason = reason | Why.DAEMON_CANCELLED
        self.task.cancel()

    def delete(self) -> None:
        """Somebody deletes the AgentRun, and kopf cancels the daemon."""
        self.raw["metadata"] |= {"deletionTimestamp": builders.CREATED, "resourceVersion": self.kube.next_version()}
        self.stop(Why.RESOURCE_DELETED)


@pytest.fixture
async def daemon(tmp_path: pathlib.Path) -> AsyncIterator[Daemon]:
    """See the class."""
    made = Daemon(tmp_path)
    yield made
    made.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await made.task
    made.memo.tailer.close()


@pytest.mark.parametrize(
    ("status", "live"),
    [
        ({}, True),
        ({"phase": None}, True),
        ({"reason": "x"}, True),
        ({"phase": "Pending"}, True),
        ({"phase": "Queued"}, True),
        ({"phase": "Running"}, True),
        ({"phase": "Succeeded"}, False),
        ({"phase": "Failed"}, False),
        ({"phase": "Cancelled"}, False),
    ],
)
def test_a_run_lives_until_its_phase_is_final(status: dict[str, Any], *, live: bool) -> None:
    """kopf keeps the daemon and the finalizer for exactly so long."""
    assert runs.is_live(status=status) is live


def test_every_phase_is_known_to_be_live_or_not() -> None:
    """A phase added later has to be thought of."""
    ended = {phase for phase in models.Phase if not runs.is_live(status={"phase": phase.value})}
    assert ended == {models.Phase.SUCCEEDED, models.Phase.FAILED, models.Phase.CANCELLED}


async def test_a_change_of_the_object_wakes_its_supervisor(daemon: Daemon) -> None:
    """spec.cancel is seen at once, not at the next look."""
    await daemon.running()
    daemon.raw["spec"]["cancel"] = True
    daemon.raw["metadata"] |= {"generation": 2, "resourceVersion": daemon.kube.next_version()}
    event = {"type": "MODIFIED", "object": daemon.raw}
    await runs.saw(event=event, uid=builders.RUN_UID, memo=daemon.memo)  # type: ignore[arg-type]  # a raw event
    await daemon.until(lambda: "delete_job" in daemon.kube.verbs())
    daemon.remove_job()
    await daemon.task
    assert daemon.status["phase"] == "Cancelled"


@pytest.mark.parametrize(("kind", "mended"), [(None, True), ("ADDED", True), ("MODIFIED", True), ("DELETED", False)])
async def test_a_run_that_nobody_follows_is_told_to_those_who_mend(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, kind: str | None, *, mended: bool
) -> None:
    """kopf has shown it, and nothing has come of it; the one that has its daemon is left alone."""
    for constant in ("_LOOK_SECONDS", "_PATIENCE_SECONDS"):
        monkeypatch.setattr(stragglers, constant, 0.001)
    await daemon.running()
    other = daemon.kube.add_run(builders.agent_run(name="other", uid="uid-other"))
    for body in (daemon.raw, other):
        for shown in ("ADDED", kind):
            event = {"type": shown, "object": body}
            await runs.saw(event=event, uid=body["metadata"]["uid"], memo=daemon.memo)  # type: ignore[arg-type]  # a raw event

    def written() -> set[str]:
        return {what for verb, what in daemon.kube.calls if verb == "write_run_finalizers"}

    task = asyncio.create_task(daemon.memo.stragglers.watch())
    if mended:
        await daemon.until(written)
    await asyncio.sleep(0.02)
    task.cancel()
    assert written() == ({"other"} if mended else set())


async def test_a_run_of_another_shard_is_passed_over(daemon: Daemon) -> None:
    """It has no daemon here, nobody is woken, and nothing of it is counted or mended."""
    await daemon.running()
    theirs = dataclasses.replace(
        daemon.memo, config=daemon.memo.config.model_copy(update={"shard": other_shard(daemon.raw)})
    )
    assert runs.is_followed(status={}, body=daemon.raw, memo=daemon.memo)
    assert not runs.is_followed(status={}, body=daemon.raw, memo=theirs)
    assert not runs.is_followed(status={"phase": "Failed"}, body=daemon.raw, memo=daemon.memo)
    run = models.AgentRun.parse(daemon.raw)
    wake = daemon.memo.world.join(run)
    event = {"type": "MODIFIED", "object": daemon.raw}
    for memo, woken in ((theirs, False), (daemon.memo, True)):
        wake.clear()
        await runs.saw(event=event, uid=builders.RUN_UID, memo=memo)  # type: ignore[arg-type]  # a raw event
        assert wake.is_set() is woken


@pytest.mark.parametrize(("kind", "waiting"), [("MODIFIED", 1), ("DELETED", 0)])
async def test_nothing_is_told_of_a_run_that_is_gone(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, kind: str, waiting: int
) -> None:
    """While others wait to be told of."""
    monkeypatch.setattr("agentrun_operator.runner.announcer._FEW", 0)
    run = kube.Ref(namespace="team-a", name="ended", uid="uid-ended")
    daemon.memo.announcer.announce(run, {}, {"phase": "Queued", "message": "Wait."})
    event = cast("kopf.RawEvent", {"type": kind, "object": builders.agent_run(name="ended", uid="uid-ended")})
    await runs.saw(event=event, uid="uid-ended", memo=daemon.memo)
    worker = asyncio.create_task(daemon.memo.announcer.work())
    await asyncio.sleep(0.02)
    worker.cancel()
    assert [name for name, *_ in daemon.kube.events].count("ended") == waiting


def other_shard(body: Mapping[str, Any]) -> str:
    """The shard of two that the run's agent does not belong to."""
    run = models.AgentRun.parse(body)
    return f"{1 - names.shard_of(run.agent_key, 2)}/2"


async def test_the_daemon_ends_with_its_run(daemon: Daemon) -> None:
    """Nothing is raised, and it is not started again."""
    await daemon.running()
    daemon.remove_job()
    await daemon.task
    assert daemon.status["phase"] == "Failed"


@pytest.mark.parametrize("deleting", [False, True])
async def test_when_the_operator_exits_the_daemon_goes_at_once(daemon: Daemon, *, deleting: bool) -> None:
    """The Job and the Secret are left alone, even if the object is being deleted just then."""
    await daemon.running()
    before = len(daemon.kube.calls)
    if deleting:
        daemon.raw["metadata"]["deletionTimestamp"] = builders.CREATED
    daemon.stop(Why.OPERATOR_EXITING)
    with pytest.raises(asyncio.CancelledError):
        await daemon.task
    assert daemon.kube.calls[before:] == []
    assert daemon.status["phase"] == "Running"


async def test_a_daemon_that_is_no_longer_wanted_goes_at_once(daemon: Daemon) -> None:
    """Cancelled without a deletion: there is no reason to stop the agent."""
    await daemon.running()
    daemon.stop(Why.FILTERS_MISMATCH)
    with pytest.raises(asyncio.CancelledError):
        await daemon.task
    assert "delete_job" not in daemon.kube.verbs()


async def test_when_the_object_is_deleted_the_agent_is_stopped_first(daemon: Daemon) -> None:
    """kopf cancels the daemon, which finishes the stop nevertheless; the finalizer holds the object for so long."""
    await daemon.running()
    daemon.delete()
    await daemon.until(lambda: "delete_job" in daemon.kube.verbs())
    assert daemon.status["reason"] == "Deleting"
    daemon.remove_job()
    await daemon.task
    assert (daemon.status["phase"], daemon.status["reason"]) == ("Cancelled", "Deleted")
    assert daemon.kube.secrets == {}


async def test_a_run_that_is_deleted_before_its_job_is_there_ends_as_well(daemon: Daemon) -> None:
    """Cut off in the middle of a request: what it may have created is cleaned up."""
    daemon.kube.hold = {"create_job"}
    await daemon.until(lambda: "create_job" in daemon.kube.verbs())
    daemon.kube.hold = set()
    daemon.delete()
    await daemon.task
    assert (daemon.status["phase"], daemon.kube.jobs, daemon.kube.secrets) == ("Cancelled", {}, {})


async def test_a_start_that_another_operator_has_made_vain_leaves_nothing(daemon: Daemon) -> None:
    """It has ended the run, so kopf cancels the daemon: what that has just made is removed."""
    daemon.kube.hold = {"write_run_status"}
    await daemon.until(lambda: "write_run_status" in daemon.kube.verbs())
    assert len(daemon.kube.jobs) == 1
    daemon.raw["status"] = {"phase": "Failed", "reason": "QuotaExceeded", "message": "Theirs."}
    daemon.stop(Why.FILTERS_MISMATCH)
    await daemon.task
    assert daemon.status["message"] == "Theirs."
    assert (daemon.kube.secrets, "delete_job" in daemon.kube.verbs()) == ({}, True)


async def test_when_the_operator_exits_during_a_deletion_the_next_one_finishes_it(daemon: Daemon) -> None:
    """The second cancellation is final."""
    await daemon.running()
    daemon.delete()
    await daemon.until(lambda: "delete_job" in daemon.kube.verbs())
    daemon.stop(Why.RESOURCE_DELETED | Why.OPERATOR_EXITING)
    with pytest.raises(asyncio.CancelledError):
        await daemon.task
    assert daemon.status["reason"] == "Deleting"


async def test_a_status_is_held_once(daemon: Daemon) -> None:
    """What the watch shows of it is mostly what was written here; what others wrote is theirs."""
    await daemon.running()
    written = daemon.memo.written[builders.RUN_UID]
    theirs = {**written, "message": "Written by another operator."}
    for shown, same in ((written, True), (theirs, False)):
        seen = {**copy.deepcopy(daemon.raw), "status": copy.deepcopy(shown)}
        event = cast("kopf.RawEvent", {"type": "MODIFIED", "object": seen})
        await runs.saw(event=event, uid="another", memo=daemon.memo)
        assert seen["status"] == shown
        assert (seen["status"] is written) is same
    daemon.remove_job()
    await daemon.until(lambda: builders.RUN_UID not in daemon.memo.written)
