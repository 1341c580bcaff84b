"""The spans of an attempt: a table of statuses, and what a trace says of time, of whom, and of the end."""

import datetime
import json
from typing import Any

import pytest

from agentrun_operator import names
from agentrun_operator.status import spans
from tests import builders

Body = dict[str, Any]
UID = builders.RUN_UID
MIDNIGHT = datetime.datetime(2026, 7, 1, tzinfo=datetime.UTC)
JOB: Body = {"name": "ac-x", "uid": "u"}
Q, S, P, R, F = "Queued", "Starting", "Pending", "Running", "Finishing"


def at(seconds: int) -> str:
    """So long after midnight, as the API writes it."""
    return (MIDNIGHT + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def noted(seconds: int, value: str = "True") -> list[Body]:
    """The condition that says that the Job is on record."""
    return [{"type": "JobCreated", "status": value, "reason": "Created", "lastTransitionTime": at(seconds)}]


def body(created: int = 0, **spec: Any) -> Body:
    """The AgentRun, without its status."""
    run = builders.agent_run(**spec)
    run["metadata"]["creationTimestamp"] = at(created)
    return run


DONE: Body = {
    "phase": "Succeeded",
    "attempt": 0,
    "job": JOB,
    "podName": "ac-x-1",
    "nodeName": "node-1",
    "startTime": at(10),
    "conditions": noted(11),
    "runningTime": at(15),
    "exit": {"code": 0, "finishedAt": at(75)},
    "completionTime": at(78),
    "model": "opus",
    "claudeVersion": "2.1.329",
    "turns": 3,
    "session": {"id": "s-1", "cwd": "/w"},
    "usage": {"inputTokens": 10, "outputTokens": 2, "cacheReadTokens": 0, "cacheCreationTokens": 7},
    "costUSD": "0.25",
    "result": {"subtype": "success", "isError": False, "text": "xyzzy"},
}


def failed(code: str, **given: Any) -> Body:
    """The end of a run that failed."""
    return {"phase": "Failed", "error": {"code": code, "message": "xyzzy"}, **given}


def without(*fields: str) -> Body:
    """A good end of which something is not known."""
    return {key: value for key, value in DONE.items() if key not in fields}


def stages(found: list[spans.Span]) -> list[tuple[str, int, int]]:
    """Name, start and end of each, in seconds after midnight."""
    return [
        (span.name, int((span.start - MIDNIGHT).total_seconds()), int((span.end - MIDNIGHT).total_seconds()))
        for span in found
    ]


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (DONE, [(Q, 0, 10), (S, 10, 11), (P, 11, 15), (R, 15, 75), (F, 75, 78)]),
        (failed("prompt_invalid", completionTime=at(2)), [(Q, 0, 2)]),
        (failed("prompt_invalid", completionTime=at(2), conditions=noted(1, "False")), [(Q, 0, 2)]),
        (
            failed("k8s_image_pull_failed", startTime=at(1), conditions=noted(1), completionTime=at(60)),
            [(Q, 0, 1), (S, 1, 1), (P, 1, 60)],
        ),
        (without("conditions"), [(Q, 0, 10), (S, 10, 15), (R, 15, 75), (F, 75, 78)]),
        (without("exit"), [(Q, 0, 10), (S, 10, 11), (P, 11, 15), (R, 15, 78)]),
        # The Job was adopted: it is older than the run, which has its share of it only.
        (
            {**DONE, "startTime": at(-50), "runningTime": at(-40)},
            [(Q, 0, 0), (S, 0, 11), (P, 11, 11), (R, 11, 75), (F, 75, 78)],
        ),
        # The node's clock is ahead of ours.
        (
            {**DONE, "runningTime": at(90), "exit": {"finishedAt": at(150)}},
            [(Q, 0, 10), (S, 10, 11), (P, 11, 78), (R, 78, 78), (F, 78, 78)],
        ),
        (failed("timeout", completionTime=at(-5)), [(Q, 0, 0)]),
        # Times that nobody can read, or with no zone.
        ({**failed("timeout", startTime="soon", runningTime=7), "completionTime": "2026-07-01T00:00:09"}, [(Q, 0, 9)]),
    ],
)
def test_a_stage_lasts_until_the_next_that_is_known(ended: Body, expected: list[tuple[str, int, int]]) -> None:
    """And the whole is around them."""
    root, *parts = spans.between(body(), {}, ended)
    assert stages(parts) == expected
    assert stages([root]) == [("agentrun", expected[0][1], expected[-1][2])]
    assert (root.parent_id, {part.parent_id for part in parts}) == ("", {root.span_id})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({}, {"phase": "Running", "startTime": at(1)}),
        ({"phase": "Failed"}, DONE),
        (DONE, {**DONE, "logPath": "/l"}),
        ({}, {"phase": "Failed"}),
        ({}, {"phase": "Failed", "completionTime": "late"}),
    ],
)
def test_there_is_no_trace_before_the_end_and_none_twice(before: Body, after: Body) -> None:
    """Nor of an end of which no time is known."""
    assert spans.between(body(), before, after) == []


def test_whoever_tells_of_an_attempt_tells_the_same() -> None:
    """An operator that was started again goes on in the trace that the agent's own telemetry names."""
    told = [spans.between(body(), before, DONE) for before in ({}, {"phase": "Running", "runningTime": at(15)})]
    assert told[0] == told[1]
    version, trace, parent, flags = names.traceparent(UID, 0).split("-")
    assert {span.trace_id for span in told[0]} == {trace}
    assert [span.span_id for span in told[0] if span.name == R] == [parent]
    assert (version, flags) == ("00", "01")
    ids = [span.span_id for span in told[0]]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 16 for one in ids) and len(trace) == 32


def test_the_whole_says_whose_it_is_and_what_became_of_it() -> None:
    """Each part says whose it is, so that parts of many runs can be compared."""
    root, *parts = spans.between(body(runId="r-7"), {}, DONE)
    whose = {
        "run.id": "r-7",
        "agent.id": "coder",
        "company.id": "acme",
        "agentrun.name": "fix-login",
        "k8s.namespace.name": "team-a",
        "agentrun.attempt": 0,
    }
    assert root.attributes == {
        **whose,
        "agentrun.phase": "Succeeded",
        "agentrun.exit_code": 0,
        "agentrun.model": "opus",
        "agentrun.claude_version": "2.1.329",
        "agentrun.turns": 3,
        "agentrun.cost_usd": 0.25,
        "agentrun.tokens.input": 10,
        "agentrun.tokens.output": 2,
        "agentrun.tokens.cache_creation": 7,
        "session.id": "s-1",
        "k8s.job.name": "ac-x",
        "k8s.pod.name": "ac-x-1",
        "k8s.node.name": "node-1",
    }
    assert all(part.attributes == whose for part in parts)
    assert {span.error for span in (root, *parts)} == {""}


@pytest.mark.parametrize(
    ("ended", "guilty"),
    [
        (failed("prompt_invalid", completionTime=at(2)), Q),
        (failed("k8s_unschedulable", startTime=at(1), conditions=noted(1), completionTime=at(60)), P),
        ({**DONE, **failed("claude_max_turns")}, R),
    ],
)
def test_a_failure_is_shown_where_it_happened(ended: Body, guilty: str) -> None:
    """By its code alone; reading the end of the log is no failure."""
    root, *parts = spans.between(body(), {}, ended)
    code = ended["error"]["code"]
    assert (root.error, root.attributes["error.type"]) == (code, code)
    assert {part.name: part.error for part in parts if part.error} == {guilty: code}


def test_a_run_that_somebody_cancelled_did_not_fail() -> None:
    """Its code is told all the same."""
    found = spans.between(body(), {}, {**DONE, **failed("cancelled"), "phase": "Cancelled"})
    assert {span.error for span in found} == {""}
    assert found[0].attributes["error.type"] == "cancelled"


FIRST: Body = {
    "attempt": 0,
    "code": "claude_overloaded",
    "message": "xyzzy",
    "jobName": "ac-x",
    "podName": "ac-x-1",
    "exitCode": 1,
    "startTime": at(10),
    "completionTime": at(80),
    "usage": {"inputTokens": 10},
    "costUSD": "0.25",
}


def test_an_attempt_that_is_followed_by_another_has_a_trace_of_its_own() -> None:
    """From what is on record of it: its beginning, and the entry that was made at its end."""
    before = {**without("completionTime", "exit"), "phase": "Running", "usage": {"inputTokens": 4}}
    after = {
        "phase": "Pending",
        "attempt": 1,
        "previousAttempts": [FIRST],
        "usage": {"inputTokens": 10},
        "costUSD": "0.25",
    }
    root, *parts = spans.between(body(), before, after)
    assert stages(parts) == [(Q, 0, 10), (S, 10, 11), (P, 11, 15), (R, 15, 80)]
    assert (root.trace_id, root.link) == (names.trace_id(UID, 0), None)
    told = root.attributes
    assert (told["agentrun.phase"], told["error.type"], root.error) == ("Failed", *["claude_overloaded"] * 2)
    assert (told["agentrun.exit_code"], told["agentrun.model"]) == (1, "opus")
    assert (told["agentrun.tokens.input"], told["agentrun.cost_usd"]) == (10, 0.25)


def test_a_further_attempt_begins_with_the_end_of_the_one_before_and_names_it() -> None:
    """Its tokens and cost are its own, while the status has those of all."""
    ended = {**DONE, "attempt": 1, "previousAttempts": [FIRST], "completionTime": at(200), "costUSD": "1"}
    moved = {"startTime": at(100), "conditions": noted(100), "runningTime": at(105), "exit": {"finishedAt": at(199)}}
    root, *parts = spans.between(body(), {}, {**ended, **moved, "usage": {"inputTokens": 15, "outputTokens": 2}})
    assert stages(parts) == [(Q, 80, 100), (S, 100, 100), (P, 100, 105), (R, 105, 199), (F, 199, 200)]
    assert root.link == (names.trace_id(UID, 0), names.span_id(UID, 0, "agentrun"))
    assert root.trace_id == names.trace_id(UID, 1)
    told = root.attributes
    assert (told["agentrun.attempt"], told["agentrun.cost_usd"]) == (1, 0.75)
    assert (told["agentrun.tokens.input"], told["agentrun.tokens.output"]) == (5, 2)


@pytest.mark.parametrize("spec", [None, 7, {}, {"companyId": 7, "agent": "coder", "runId": []}])
def test_an_object_that_nobody_can_read_has_a_trace_as_well(spec: object) -> None:
    """It ended, too, if only by being refused."""
    run = {**body(), "spec": spec}
    root, _ = spans.between(run, {}, failed("adapter_failed", completionTime=at(1)))
    assert root.attributes["agentrun.name"] == "fix-login"
    assert not {"agent.id", "company.id"} & root.attributes.keys()


def test_there_are_no_words_of_anybody_in_a_trace() -> None:
    """Not of the prompt, the answer, an error; and no value is long."""
    found = spans.between(body(prompt="xyzzy"), {}, {**DONE, **failed("claude_refusal"), "model": "m" * 999})
    assert "xyzzy" not in repr(found)
    assert len(json.dumps(found[0].attributes["agentrun.model"])) < 300
