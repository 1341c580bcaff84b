"""Kubernetes Events: made from two statuses, posted without anybody waiting."""

import asyncio
import datetime as dt
from typing import Any

import pytest

from agentrun_operator import errors, kube, runner, settings
from agentrun_operator.status import events
from tests import fakes

JOB = {"name": "ac-x", "uid": "u"}
PENDING = {"phase": "Pending", "job": JOB, "message": "The pod is starting."}
RUNNING = {"phase": "Running", "job": JOB, "podName": "ac-x-1", "message": "The agent is running."}
LOST = {"attempt": 0, "code": "k8s_node_lost", "message": "The node was lost."}
FULL = {"attempt": 1, "code": "claude_usage_limited", "message": "Used up."}
REF = kube.Ref(namespace="team-a", name="a", uid="uid-a")


def stalled(status: str, message: str = "") -> list[dict[str, Any]]:
    """Conditions with this one."""
    return [{"type": "Stalled", "status": status, "message": message}]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"phase": "Queued", "message": "Waiting for x."}, [("Normal", "Queued", "Waiting for x.")]),
        ({"phase": "Queued"}, {"phase": "Queued", "message": "Waiting for y."}, []),
        ({}, PENDING, [("Normal", "JobCreated", "Job ac-x was created.")]),
        (PENDING, RUNNING, [("Normal", "PodRunning", "The agent runs in pod ac-x-1.")]),
        (RUNNING, {**RUNNING, "turns": 7}, []),
        (
            {},
            {"phase": "Succeeded", "job": JOB, "message": "Done."},
            [("Normal", "JobCreated", "Job ac-x was created."), ("Normal", "RunSucceeded", "Done.")],
        ),
        (
            RUNNING,
            {**RUNNING, "phase": "Failed", "message": "Why.", "error": {"code": "timeout"}},
            [("Warning", "RunFailed", "timeout: Why.")],
        ),
        (RUNNING, {**RUNNING, "phase": "Cancelled", "message": "Asked."}, [("Normal", "RunCancelled", "Asked.")]),
        (
            {},
            {"phase": "Failed", "message": "Busy.", "error": {"code": "k8s_concurrent_run_blocked"}},
            [("Warning", "ConcurrencyBlocked", "k8s_concurrent_run_blocked: Busy.")],
        ),
        (
            RUNNING,
            {**RUNNING, "phase": "Failed", "message": "Gone.", "error": {"code": "k8s_pod_log_file_missing"}},
            [("Warning", "LogMissing", "k8s_pod_log_file_missing: Gone.")],
        ),
        (RUNNING, {**RUNNING, "conditions": stalled("True", "Silent.")}, [("Warning", "Stalled", "Silent.")]),
        ({**RUNNING, "conditions": stalled("True")}, {**RUNNING, "conditions": stalled("True")}, []),
        ({**RUNNING, "conditions": stalled("True")}, {**RUNNING, "conditions": stalled("False")}, []),
        ({}, {"phase": "Suspended", "message": "Held."}, []),
        (
            RUNNING,
            {"phase": "Pending", "message": "Attempt 1 starts at noon.", "previousAttempts": [LOST]},
            [("Warning", "AttemptFailed", "Attempt 1 starts at noon. The node was lost.")],
        ),
        (
            {**RUNNING, "previousAttempts": [LOST]},
            {"phase": "Queued", "message": "Limit.", "previousAttempts": [LOST, FULL]},
            [("Warning", "AttemptFailed", "Limit. Used up."), ("Normal", "Queued", "Limit.")],
        ),
        ({**RUNNING, "previousAttempts": [LOST]}, {**RUNNING, "previousAttempts": [LOST], "turns": 7}, []),
        (
            {"phase": "Pending", "previousAttempts": [LOST]},
            {**PENDING, "job": {"name": "ac-y", "uid": "v"}, "previousAttempts": [LOST]},
            [("Normal", "JobCreated", "Job ac-y was created.")],
        ),
        (
            {"phase": "Queued"},
            {**PENDING, "reattachedFrom": "lost"},
            [("Normal", "Reattached", "Job ac-x was adopted; its AgentRun lost is gone.")],
        ),
        ({**PENDING, "reattachedFrom": "lost"}, {**PENDING, "reattachedFrom": "lost"}, []),
        ({}, {"phase": "Queued", "message": "x" * 2000}, [("Normal", "Queued", "x" * 1024)]),
    ],
)
def test_a_step_between_two_statuses_is_told(
    before: dict[str, Any], after: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    """Each thing once, when it happens."""
    assert [(e.kind, e.reason, e.message) for e in events.between(before, after)] == expected


async def posted(client: fakes.FakeKube, config: settings.Settings, *steps: dict[str, Any]) -> list[str]:
    """The reasons of what is posted for these steps."""
    announcer = runner.Announcer(config, client)
    before: dict[str, Any] = {}
    for after in steps:
        announcer.announce(REF, before, after)
        before = after
    worker = asyncio.create_task(announcer.work())
    for _ in range(50):
        await asyncio.sleep(0)
    worker.cancel()
    return [reason for _, _, reason, _ in client.events]


async def test_events_are_posted_in_their_order() -> None:
    """One that the API refuses is dropped, and the others go on."""
    client = fakes.FakeKube()
    client.fail["create_event"] = [None, errors.RejectedError("forbidden", status=403)]
    done = {**RUNNING, "phase": "Succeeded"}
    assert await posted(client, settings.Settings(), PENDING, RUNNING, done) == ["JobCreated", "RunSucceeded"]


async def test_an_event_that_is_posted_late_has_the_time_at_which_it_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a rush it waits for others."""
    happened = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    clock = [happened]
    monkeypatch.setattr("agentrun_operator.runner.announcer._now", lambda: clock[-1])
    client = fakes.FakeKube()
    announcer = runner.Announcer(settings.Settings(), client)
    announcer.announce(REF, {}, PENDING)
    clock.append(happened + dt.timedelta(minutes=5))
    worker = asyncio.create_task(announcer.work())
    for _ in range(50):
        await asyncio.sleep(0)
    worker.cancel()
    assert client.event_times == ["2026-01-02T03:04:05Z"]


async def test_events_can_be_switched_off() -> None:
    """Then nothing is asked of the API."""
    client = fakes.FakeKube()
    assert await posted(client, settings.Settings(events=False), PENDING, RUNNING) == []
    assert client.calls == []


async def test_a_flood_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is not for Events."""
    monkeypatch.setattr("agentrun_operator.runner.announcer._MOST_WAITING", 1)
    client = fakes.FakeKube()
    assert await posted(client, settings.Settings(), PENDING, RUNNING) == ["JobCreated"]


@pytest.mark.parametrize(
    ("few", "expected"),
    [(0, ["b", "b"]), (100, ["a", "a", "b", "b"])],
)
async def test_of_a_run_that_is_gone_nothing_is_told_while_many_wait(
    few: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While few wait, it is: an Event outlives its object, and says what became of it. A run's own stay together."""
    monkeypatch.setattr("agentrun_operator.runner.announcer._FEW", few)
    client = fakes.FakeKube()
    announcer = runner.Announcer(settings.Settings(), client)
    other = kube.Ref(namespace="team-a", name="b", uid="uid-b")
    announcer.announce(REF, {}, PENDING)
    announcer.announce(other, {}, PENDING)
    announcer.announce(REF, PENDING, RUNNING)
    announcer.announce(other, PENDING, RUNNING)
    announcer.saw("uid-b", deleted=False)
    announcer.saw("uid-a", deleted=True)
    worker = asyncio.create_task(announcer.work())
    for _ in range(50):
        await asyncio.sleep(0)
    worker.cancel()
    assert [name for name, *_ in client.events] == expected


async def test_who_comes_while_many_wait_has_room_when_others_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was dropped does not count any more, and the worker that had nothing to do begins anew."""
    monkeypatch.setattr("agentrun_operator.runner.announcer._MOST_WAITING", 1)
    monkeypatch.setattr("agentrun_operator.runner.announcer._FEW", 0)
    client = fakes.FakeKube()
    announcer = runner.Announcer(settings.Settings(), client)
    announcer.announce(REF, {}, PENDING)
    announcer.announce(REF, PENDING, RUNNING)  # is one too many
    announcer.saw("uid-a", deleted=True)
    announcer.saw("uid-a", deleted=True)
    worker = asyncio.create_task(announcer.work())
    await asyncio.sleep(0)
    announcer.announce(REF, PENDING, RUNNING)
    for _ in range(50):
        await asyncio.sleep(0)
    worker.cancel()
    assert [reason for _, _, reason, _ in client.events] == ["PodRunning"]
