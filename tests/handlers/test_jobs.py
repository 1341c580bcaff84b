"""What kopf's watches show of Jobs and pods, passed on."""

import pathlib
from collections.abc import Iterator
from typing import Any, cast

import kopf
import pytest

from agentrun_operator import models, runner, settings
from agentrun_operator.handlers import jobs
from tests import builders, deps, fakes


@pytest.fixture
def memo(tmp_path: pathlib.Path) -> Iterator[runner.Deps]:
    """What all runs share."""
    config = settings.Settings(data_path=str(tmp_path))
    made = deps.make(config, fakes.FakeKube())
    yield made
    made.tailer.close()


def event(kind: str | None, body: dict[str, Any]) -> kopf.RawEvent:
    """An event as kopf hands it over; None is an object of the first list."""
    return cast("kopf.RawEvent", {"type": kind, "object": body})


@pytest.mark.parametrize("kind", [None, "ADDED", "MODIFIED"])
async def test_what_is_there_is_known(memo: runner.Deps, kind: str | None) -> None:
    """Listed, added and changed objects alike."""
    run = models.AgentRun.parse(builders.agent_run())
    wake = memo.world.join(run)
    await jobs.saw_job(event=event(kind, builders.job()), memo=memo)
    assert wake.is_set()
    wake.clear()
    await jobs.saw_pod(event=event(kind, builders.pod(main=builders.running())), memo=memo)
    assert wake.is_set()
    job = memo.world.job_of(run)
    assert job is not None
    assert (job.uid, job.gone) == (builders.JOB_UID, False)
    pod = memo.world.pod_of(builders.JOB_UID)
    assert pod is not None
    assert (pod.uid, pod.gone) == (builders.POD_UID, False)


async def test_what_is_deleted_is_gone(memo: runner.Deps) -> None:
    """A run that follows them sees both go."""
    run = models.AgentRun.parse(builders.agent_run())
    memo.world.join(run)
    for kind in ("ADDED", "DELETED"):
        await jobs.saw_pod(event=event(kind, builders.pod()), memo=memo)
        await jobs.saw_job(event=event(kind, builders.job()), memo=memo)
    job, pod = memo.world.job_of(run), memo.world.pod_of(builders.JOB_UID)
    assert job is not None
    assert job.gone
    assert pod is None or pod.gone


async def test_what_nobody_follows_is_forgotten_with_its_deletion(memo: runner.Deps) -> None:
    """Jobs outlive their runs until their TTL; they leave nothing behind."""
    for kind in ("ADDED", "DELETED"):
        await jobs.saw_job(event=event(kind, builders.job()), memo=memo)
        await jobs.saw_pod(event=event(kind, builders.pod()), memo=memo)
    assert {key: value for key, value in vars(memo.world).items() if value} == {}
