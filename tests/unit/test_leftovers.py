"""What another operator has left of a run that ended without a Job: found once, some time later, and nothing else."""

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentrun_operator import errors, manifest, models, names, runner
from tests import builders, fakes
from tests.clock import virtual

Body = dict[str, Any]
SOON = 36.0  # seconds: after the patience and a look


def run_body(**status: Any) -> Body:
    """An AgentRun that has just failed without a Job."""
    ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return builders.agent_run(status={"phase": "Failed", "completionTime": ended, "attempt": 0, **status})


class Scene:
    """An API in memory with what was made for a run, and somebody who looks."""

    def __init__(self) -> None:
        self.kube = fakes.FakeKube()
        self.leftovers = runner.Leftovers(self.kube)

    def leave(self, body: Body, *, owner: str = "", held: bool = True) -> None:
        """Its Secret and its Job are there."""
        job = builders.job(body)
        job["metadata"]["ownerReferences"][0]["uid"] = owner or body["metadata"]["uid"]
        job["metadata"]["name"] = self.name(body)
        if held:
            job["metadata"]["annotations"] = {names.ANNOTATION_HELD: names.HELD}
            job["spec"] = {**job["spec"], "suspend": True}
        self.kube.jobs["team-a", self.name(body)] = job
        secret = names.prompt_secret_name(self.name(body))
        meta = {"namespace": "team-a", "name": secret, "ownerReferences": job["metadata"]["ownerReferences"]}
        self.kube.secrets["team-a", secret] = {"metadata": meta}

    @staticmethod
    def name(body: Body) -> str:
        """Of its Job."""
        return manifest.job_name(models.AgentRun.parse(body))

    @property
    def gone(self) -> tuple[bool, bool]:
        """Whether Secret and Job are."""
        deleted = all(job["metadata"].get("deletionTimestamp") for job in self.kube.jobs.values())
        return not self.kube.secrets, deleted


@contextlib.asynccontextmanager
async def looking() -> AsyncIterator[Scene]:
    """Somebody looks, to the end."""
    made = Scene()
    task = asyncio.create_task(made.leftovers.watch())
    try:
        yield made
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@virtual
async def test_what_is_left_is_removed_and_nobody_looks_again() -> None:
    """Secret and held Job; not before what is under way can have come to its end."""
    async with looking() as scene:
        body = run_body()
        scene.leave(body)
        for _ in range(2):
            scene.leftovers.saw(body, deleted=False)
        await asyncio.sleep(29)
        assert scene.kube.calls == []
        await asyncio.sleep(SOON - 29)
        assert scene.gone == (True, True)
        before = len(scene.kube.calls)
        await asyncio.sleep(3600)
        assert len(scene.kube.calls) == before


@virtual
async def test_most_often_there_is_nothing() -> None:
    """That costs two requests."""
    async with looking() as scene:
        scene.leftovers.saw(run_body(), deleted=False)
        await asyncio.sleep(3600)
        assert scene.kube.verbs() == ["get_secret_owner", "get_job"]


@pytest.mark.parametrize(
    "why", ["had a Job", "live", "long ago", "being deleted", "deleted", "deleted since", "cannot be read"]
)
@virtual
async def test_who_is_not_looked_at(why: str) -> None:
    """Whoever had a Job cleaned up by itself; what is deleted takes everything along."""
    async with looking() as scene:
        body = run_body()
        scene.leave(body)
        match why:
            case "had a Job":
                body["status"]["job"] = {"name": "j", "uid": "u"}
            case "live":
                body["status"] = {"phase": "Pending"}
            case "long ago":
                body["status"]["completionTime"] = builders.CREATED
            case "being deleted":
                body["metadata"]["deletionTimestamp"] = builders.CREATED
            case "cannot be read":
                body["spec"]["prompt"] = 7
        scene.leftovers.saw(body, deleted=why == "deleted")
        if why == "deleted since":
            scene.leftovers.saw(body, deleted=True)
        await asyncio.sleep(3600)
        assert scene.kube.calls == []


@pytest.mark.parametrize("change", ["another run's", "started"])
@virtual
async def test_what_is_not_a_leftover_stays(change: str) -> None:
    """Another run of the same ids has objects of the same names; a Job that was started has a supervisor."""
    async with looking() as scene:
        body = run_body()
        scene.leave(body, owner="uid-new" if change == "another run's" else "", held=change != "started")
        scene.leftovers.saw(body, deleted=False)
        await asyncio.sleep(SOON)
        assert scene.gone == (change == "started", False)


@pytest.mark.parametrize("verb", ["get_secret_owner", "delete_secret", "get_job", "delete_job"])
@virtual
async def test_trouble_is_no_end(verb: str) -> None:
    """It is tried again until it is known that there is nothing."""
    async with looking() as scene:
        body = run_body()
        scene.leave(body)
        scene.kube.fail[verb] = [errors.UnavailableError("try again", status=503)] * 2
        scene.leftovers.saw(body, deleted=False)
        await asyncio.sleep(SOON + 11)
        assert scene.gone == (True, True)
