"""The operator's beginning and end, as kopf calls them; and what it is told to call."""

import asyncio
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest

from agentrun_operator import handlers, names, runner, settings
from agentrun_operator.handlers import login, runs, startup
from tests import builders, deps, fakes


TASKS = 8  # two mirrors, two of the caretaker, the count of runs, the stragglers, what is left over, the Events


@pytest.fixture
async def memo(tmp_path: pathlib.Path) -> AsyncIterator[runner.Deps]:
    """What all runs share, with an API in memory."""
    config = settings.Settings(image="agent:1", data_path=str(tmp_path), request_timeout_seconds=7)
    made = deps.make(config, fakes.FakeKube())
    yield made
    made.tailer.close()


def kube_of(memo: runner.Deps) -> fakes.FakeKube:
    """The API in memory."""
    assert isinstance(memo.client, fakes.FakeKube)
    return memo.client


def registered(kind: str) -> list[Any]:
    """What is registered, by kopf's kind of registry."""
    registry = kopf.OperatorRegistry()
    handlers.register(registry)
    return list(vars(registry)[f"_{kind}"].get_all_handlers())


async def test_kopf_is_told_what_differs_from_its_defaults(memo: runner.Deps) -> None:
    """No Events are posted, no CRDs are scanned, and after a refusal an object waits for seconds and not minutes."""
    told = kopf.OperatorSettings()
    await startup.configure(settings=told, memo=memo)
    assert dict(told.watching.label_selectors.items()) == {}
    assert tuple(told.queueing.error_delays) == (1, 1, 2, 3, 5)
    assert told.persistence.finalizer == names.FINALIZER
    assert getattr(told.persistence.progress_storage, "prefix") == names.GROUP  # noqa: B009 - not every storage has one
    assert not told.posting.enabled
    assert told.scanning.disabled
    assert told.networking.request_timeout == 7
    assert told.watching.server_timeout is not None
    assert told.watching.client_timeout is not None
    assert told.watching.server_timeout < told.watching.client_timeout


async def test_no_copy_of_an_object_is_kept_on_it(memo: runner.Deps) -> None:
    """No handler asks what has changed; and prompts are not copied."""
    told = kopf.OperatorSettings()
    await startup.configure(settings=told, memo=memo)
    storage, patch = told.persistence.diffbase_storage, kopf.Patch()
    body = kopf.Body(builders.agent_run())  # type: ignore[arg-type]  # the object as JSON
    essence = storage.build(body=body)
    storage.store(body=body, patch=patch, essence=essence)
    assert (dict(essence), dict(patch), storage.fetch(body=body)) == ({}, {}, None)


async def test_everything_is_seen_before_the_first_run_is_judged(memo: runner.Deps) -> None:
    """Jobs and pods are known when startup is over, and are watched from then on."""
    job = builders.job()
    kube_of(memo).jobs["team-a", "job"] = job
    kube_of(memo).pods["team-a", "pod"] = builders.pod(job)
    await startup.look_around(memo=memo)
    assert [seen.uid for seen in memo.world.jobs()] == [builders.JOB_UID]
    assert [seen.uid for seen in memo.world.pods()] == [builders.POD_UID]
    assert [task.done() for task in memo.tasks] == [False] * TASKS
    kube_of(memo).show(
        "DELETED", "pods", builders.pod(job) | {"metadata": {**builders.pod(job)["metadata"], "resourceVersion": "200"}}
    )
    kube_of(memo).show("DELETED", "jobs", builders.job(resourceVersion="201"))
    async with asyncio.timeout(5):
        while memo.world.jobs() or memo.world.pods():  # noqa: ASYNC110 - one test's condition, no event
            await asyncio.sleep(0.001)
    await startup.clean_up(memo=memo)
    await asyncio.gather(*memo.tasks, return_exceptions=True)


@pytest.mark.parametrize("unanswered", ["list_jobs", "list_pods"])
async def test_the_operator_does_not_start_without_having_looked(memo: runner.Deps, unanswered: str) -> None:
    """It asks until it is answered; until then no run is judged, and nothing is left of what began when it is ended."""
    kube_of(memo).hold = {unanswered}
    before = asyncio.all_tasks()
    looking = asyncio.create_task(startup.look_around(memo=memo))
    await asyncio.sleep(0.01)
    assert (looking.done(), memo.tasks) == (False, [])
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    kube_of(memo).hold = set()
    await startup.look_around(memo=memo)
    assert len(memo.tasks) == TASKS
    await startup.clean_up(memo=memo)
    await asyncio.gather(*memo.tasks, return_exceptions=True)


async def test_at_its_end_the_operator_lets_go_and_touches_nothing(memo: runner.Deps) -> None:
    """Its tasks end, and no Job and no Secret is asked for; kopf's daemons may still use the connections."""
    await startup.look_around(memo=memo)
    await asyncio.sleep(0.01)
    before = list(kube_of(memo).calls)
    await startup.clean_up(memo=memo)
    await asyncio.gather(*memo.tasks, return_exceptions=True)
    assert [task.cancelled() for task in memo.tasks] == [True] * TASKS
    assert not kube_of(memo).closed
    assert kube_of(memo).calls == before


# -------------------------------------------------------------------------------------------------- registration


def test_exactly_these_activities_are_registered() -> None:
    """Startup looks around after it is configured; nothing else runs outside of objects."""
    found = [(handler.activity.value, handler.fn) for handler in registered("activities")]
    assert found == [
        ("startup", startup.configure),
        ("startup", startup.look_around),
        ("cleanup", startup.clean_up),
        ("authentication", login.log_in),
    ]


def test_exactly_these_watches_are_registered() -> None:
    """AgentRuns; Jobs and pods are mirrored in order, which kopf does not offer."""
    found = [
        ((h.selector.group, h.selector.version, h.selector.any_name), h.labels, h.fn) for h in registered("watching")
    ]
    assert found == [(("paperclip.io", "v1alpha1", "agentruns"), None, runs.saw)]


def test_exactly_one_daemon_is_registered() -> None:
    """It follows live runs of this shard, and has a minute to stop its agent when its object is deleted."""
    (daemon,) = registered("spawning")
    assert (daemon.fn, daemon.when, daemon.id) == (runs.supervise, runs.is_followed, "run")
    assert (daemon.cancellation_backoff, daemon.cancellation_timeout) == (1, 60)
    assert daemon.selector.any_name == "agentruns"


@pytest.mark.parametrize("kind", ["changing", "indexing", "webhooks"])
def test_nothing_is_registered_that_keeps_state_on_objects(kind: str) -> None:
    """kopf writes annotations for handlers of changes; there are none."""
    assert registered(kind) == []
