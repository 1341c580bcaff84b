"""The fields of the status: where each comes from, what it keeps, what it never shows."""

# ruff: noqa: E501 - one row of a table, one line

import dataclasses
import datetime as dt
import json
from typing import Any

import pytest

from agentrun_operator import errors, facts, forensics, models, names, progress, status
from agentrun_operator.errors import ErrorCode as Code
from agentrun_operator.status import conditions, ending, fields, waiting
from tests import builders

BEGAN = dt.datetime.fromisoformat(builders.CREATED)
Body = dict[str, Any]
Seen = status.Observed

RUN = models.AgentRun.parse(builders.agent_run())
JOB = facts.parse_job(builders.job())
RUNNING = facts.parse_pod(builders.pod(main=builders.running(started_at="2026-01-02T03:04:09Z")))
INIT: Body = {
    "type": "system",
    "subtype": "init",
    "session_id": "s-1",
    "model": "opus",
    "cwd": "/paperclip/w",
    "claude_code_version": "2.1.329",
}
RESULT: Body = {"type": "result", "subtype": "success", "is_error": False, "result": "Done."}
SUCCESS = forensics.Verdict(phase=forensics.Phase.SUCCEEDED, reason="Completed", message="The agent finished its work.")
FAILURE = forensics.Verdict(phase=forensics.Phase.FAILED, reason="MaxTurns", message="Too many turns.", code=Code.MAX_TURNS)  # fmt: skip


def at(seconds: float) -> dt.datetime:
    """The moment so long after everything was created."""
    return BEGAN + dt.timedelta(seconds=seconds)


def turn(number: int, tool: str = "") -> Body:
    """One answer of the model."""
    content = [{"type": "tool_use", "id": f"t{number}", "name": tool, "input": {}}] if tool else []
    usage = {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7}
    return {"type": "assistant", "message": {"id": f"m{number}", "content": content, "usage": usage}}


def said(*events: Body, stderr: str = "", grown: float | None = None) -> status.LogSeen:
    """A log with these events."""
    read = progress.Progress()
    for event in events:
        read.feed(json.dumps(event).encode() + b"\n")
    growth = None if grown is None else at(grown)
    return status.LogSeen(transcript=read.snapshot(), found=True, stderr_tail=stderr, last_growth=growth)


def live(seconds: float = 20, **seen: Any) -> Body:
    """The status of the live run."""
    return fields.live(RUN, seen.get("job", JOB), Seen(now=at(seconds), **{"job": JOB, **seen}))


def final(verdict: forensics.Verdict = SUCCESS, seconds: float = 60, **seen: Any) -> Body:
    """The status of the run at its end."""
    return fields.final(RUN, Seen(now=at(seconds), **{"job": JOB, **seen}), verdict)


def exited(code: int, **state: Any) -> facts.PodFacts:
    """The pod, its agent having ended."""
    return facts.parse_pod(builders.pod(phase="Failed", main=builders.terminated(exit_code=code, **state)))


def condition(written: Body, kind: str) -> Body:
    """One condition, {} if it is not there."""
    return next((dict(c) for c in written.get("conditions", ()) if c["type"] == kind), {})


# ---------------------------------------------------------------------------------------------------- a live run


def test_a_live_run_says_where_everything_is() -> None:
    """Job, pod, node, log, Secret and times come from the objects themselves."""
    written = live(pod=RUNNING)
    assert {key: written[key] for key in written.keys() - {"conditions", "message"}} == {
        "phase": "Running",
        "reason": "Running",
        "observedGeneration": 1,
        "attempt": 0,
        "job": {"name": JOB.name, "uid": JOB.uid},
        "logPath": "/paperclip/instances/default/run-logs/acme/coder/run-1.pod.ndjson",
        "promptSecretName": names.prompt_secret_name(JOB.name),
        "podName": f"{JOB.name}-x7k2p",
        "nodeName": "node-1",
        "startTime": builders.CREATED,
        "runningTime": "2026-01-02T03:04:09Z",
        "heartbeatTime": "2026-01-02T03:04:25Z",
    }


@pytest.mark.parametrize(
    ("job", "missing"), [({"annotations": {}}, "logPath"), ({"creationTimestamp": None}, "startTime")]
)
def test_what_is_not_known_is_left_out(job: Body, missing: str) -> None:
    """No empty strings: a field that is not known is not there."""
    assert missing not in live(job=facts.parse_job(builders.job(**job)))


def test_a_pod_without_a_node_has_none_in_the_status() -> None:
    """nodeName appears when the pod has one."""
    assert "nodeName" not in live(pod=facts.parse_pod(builders.pod(phase="Pending", node="")))


def test_running_time_is_set_once() -> None:
    """runningTime is the start of the agent, or the moment it was first seen running, and never moves."""
    unknown = facts.parse_pod(builders.pod(main={"running": {}}))
    first = live(20, pod=unknown)
    assert first["runningTime"] == conditions.rfc3339(at(20))
    assert live(30, pod=RUNNING, written=first)["runningTime"] == first["runningTime"]


def test_a_run_that_was_running_never_goes_back_to_pending() -> None:
    """The phase stays Running while its pod is being stopped; it was pending before it ran."""
    ending = facts.parse_pod(builders.pod(deleting=True, main=builders.running()))
    assert live(pod=ending)["phase"] == "Pending"
    assert live(pod=ending, written=live(pod=RUNNING))["phase"] == "Running"


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "The agent is running; the model has not answered yet."),
        ([INIT], "The agent is running; the model has not answered yet."),
        ([INIT, turn(1)], "The agent is running: 1 turn."),
        ([INIT, turn(1), turn(2, "Bash")], "The agent is running: 2 turns, last tool Bash."),
        ([INIT, turn(1), RESULT], "The agent has given its result and is about to exit."),
        ([INIT, turn(1), RESULT, turn(2)], "The agent is running: 2 turns."),
    ],
)
def test_the_message_says_what_the_agent_does(events: list[Body], message: str) -> None:
    """The progress of a live run in one sentence."""
    assert live(pod=RUNNING, log=said(*events))["message"] == message


def test_without_the_volume_the_message_promises_nothing() -> None:
    """An operator that cannot see the log does not guess what the agent does."""
    written = live(pod=RUNNING, log=status.LogSeen(followed=False))
    assert written["message"] == "The agent is running; what it does is read when it has ended."


def test_while_pending_the_message_says_why() -> None:
    """The reason that the pod does not start is the reason of the run."""
    stuck = facts.parse_pod(builders.pod(phase="Pending", main=builders.waiting("ErrImagePull", "denied")))
    written = live(pod=stuck)
    assert (written["reason"], written["message"]) == ("ErrImagePull", "Container claude: denied")


@pytest.mark.parametrize(
    ("seen", "kind", "value", "reason"),
    [
        ({}, "JobCreated", "True", "Created"),
        ({}, "PodReady", "False", "Starting"),
        ({"pod": RUNNING}, "PodReady", "True", "Running"),
        ({}, "LogStreaming", "False", "WaitingForLog"),
        ({"log": status.LogSeen(followed=False)}, "LogStreaming", "False", "NoVolume"),
        ({"log": said()}, "LogStreaming", "True", "Following"),
        ({}, "Completed", "False", "InProgress"),
    ],
)
def test_conditions_of_a_live_run(seen: Body, kind: str, value: str, reason: str) -> None:
    """Each condition says what holds and why."""
    entry = condition(live(20, **seen), kind)
    assert (entry["status"], entry["reason"]) == (value, reason)
    assert (entry["lastTransitionTime"], entry["observedGeneration"]) == (conditions.rfc3339(at(20)), 1)


def test_a_conditions_time_moves_only_with_its_status_or_reason() -> None:
    """lastTransitionTime is that of the change, also when the message changes."""
    before = live(20, pod=RUNNING)
    after = live(30, pod=RUNNING, written=before)
    assert [c["lastTransitionTime"] for c in after["conditions"]] == [conditions.rfc3339(at(20))] * 4
    stuck = live(40, written=after)
    assert condition(stuck, "PodReady")["lastTransitionTime"] == conditions.rfc3339(at(40))
    assert condition(stuck, "JobCreated")["lastTransitionTime"] == conditions.rfc3339(at(20))
    assert len(stuck["conditions"]) == 4


def test_the_time_of_a_stop_stays_when_more_is_written() -> None:
    """The Completed condition keeps the moment of the decision until the end."""
    first = fields.stopping(RUN, JOB, Seen(now=at(60), job=JOB, pod=RUNNING, written=live(pod=RUNNING)), reason=models.Reason.CANCELLING, message="Stop.", failure=None)  # fmt: skip
    later = fields.stopping(RUN, JOB, Seen(now=at(70), job=JOB, pod=RUNNING, written=first), reason=models.Reason.CANCELLING, message="Stop.", failure=None)  # fmt: skip
    assert condition(first, "Completed")["lastTransitionTime"] == conditions.rfc3339(at(60))
    assert condition(later, "Completed")["lastTransitionTime"] == conditions.rfc3339(at(60))


# ------------------------------------------------------------------------------------------------ what the log says


def test_the_log_gives_session_model_usage_and_cost() -> None:
    """Everything that the agent said of itself is in the status."""
    result = {**RESULT, "total_cost_usd": 0.5, "usage": {"input_tokens": 40, "output_tokens": 9}}
    written = live(pod=RUNNING, log=said(INIT, turn(1, "Bash"), result, grown=15))
    assert written["session"] == {"id": "s-1", "cwd": "/paperclip/w"}
    assert (written["model"], written["claudeVersion"], written["lastTool"]) == ("opus", "2.1.329", "Bash")
    assert (written["turns"], written["logEvents"]) == (1, 3)
    assert written["usage"] == {"inputTokens": 40, "outputTokens": 9, "cacheReadTokens": 0, "cacheCreationTokens": 0}
    assert written["costUSD"] == "0.5"
    assert written["result"] == {"subtype": "success", "isError": False, "text": "Done."}
    assert written["lastOutputTime"] == conditions.rfc3339(at(15))


def test_usage_before_the_result_is_called_an_estimate() -> None:
    """Until the CLI gives its own sum, the numbers are marked."""
    written = live(pod=RUNNING, log=said(INIT, turn(1)))
    assert written["usage"] == {"inputTokens": 10, "outputTokens": 3, "cacheReadTokens": 5, "cacheCreationTokens": 7, "estimated": True}  # fmt: skip


@pytest.mark.parametrize(("cost", "text"), [(0, "0"), (10, "10"), (0.25, "0.25"), (1e-7, "0.0000001"), (1.50, "1.5")])
def test_cost_is_a_plain_decimal(cost: float, text: str) -> None:
    """No exponent and no trailing zeros, whatever the size."""
    assert live(pod=RUNNING, log=said({**RESULT, "total_cost_usd": cost}))["costUSD"] == text


def test_nothing_known_is_taken_back() -> None:
    """An operator that cannot read the log any more keeps what an earlier one read."""
    known = live(pod=RUNNING, log=said(INIT, turn(1), {**RESULT, "total_cost_usd": 0.5}, grown=15))
    kept = ("session", "model", "claudeVersion", "turns", "usage", "costUSD", "result", "logBytes", "lastOutputTime")
    for later in (live(pod=RUNNING, written=known), final(written=known), final(FAILURE, written=known)):
        assert {key: later[key] for key in kept} == {key: known[key] for key in kept}


def test_a_session_is_completed_piece_by_piece() -> None:
    """A session id without a folder keeps the folder that is known."""
    known = live(pod=RUNNING, log=said(INIT))
    resumed = {"type": "system", "subtype": "init", "session_id": "s-2"}
    assert live(pod=RUNNING, log=said(resumed), written=known)["session"] == {"id": "s-2", "cwd": "/paperclip/w"}


def test_that_a_session_must_not_be_resumed_is_said_of_that_one_only() -> None:
    """The next attempt begins a new one; until its id is known, nothing is taken back."""
    cleared: Body = {**live(), "session": {"id": "s-0", "cwd": "/paperclip/v", "clear": True}}
    assert live(pod=RUNNING, written=cleared)["session"] == cleared["session"]
    only_folder = {key: value for key, value in INIT.items() if key != "session_id"}
    assert live(log=said(only_folder), written=cleared)["session"] == {**cleared["session"], "cwd": "/paperclip/w"}
    assert live(log=said({**INIT, "session_id": "s-0"}), written=cleared)["session"]["clear"] is True
    assert live(log=said(INIT), written=cleared)["session"] == {"id": "s-1", "cwd": "/paperclip/w"}


def test_a_result_of_few_words_is_complete_in_the_status() -> None:
    """A result without subtype, flag and text gives empty ones."""
    assert live(log=said({"type": "result"}))["result"] == {"subtype": "", "isError": False, "text": ""}


# -------------------------------------------------------------------------------------------------------- the end


def test_the_end_of_a_run_without_a_job() -> None:
    """A run that never had a Job has neither places nor an exit, but it has an end."""
    written = fields.final(RUN, Seen(now=at(60)), FAILURE)
    assert written.keys() == {"phase", "reason", "message", "observedGeneration", "conditions", "completionTime", "error"}  # fmt: skip
    assert [c["type"] for c in written["conditions"]] == ["Completed"]


def test_the_end_settles_every_condition() -> None:
    """Nothing of an ended run is ready or streaming."""
    ends = final(written=live(pod=RUNNING, log=said()), pod=exited(0), log=said())["conditions"]
    assert {c["type"]: (c["status"], c["reason"]) for c in ends} == {
        "JobCreated": ("True", "Created"),
        "PodReady": ("False", "Terminated"),
        "LogStreaming": ("False", "Drained"),
        "Completed": ("True", "Completed"),
    }


@pytest.mark.parametrize("job", [JOB, None])
def test_the_secret_is_not_named_at_the_end(job: facts.JobFacts | None) -> None:
    """It is deleted by then."""
    assert "promptSecretName" not in final(job=job, written=live())


def test_a_success_has_no_error_even_if_a_stop_had_recorded_one() -> None:
    """The verdict alone says whether there is an error."""
    assert "error" not in final(written={**live(), "error": {"code": "timeout", "message": "?"}})


def test_an_error_says_when_to_try_again() -> None:
    """retryAfter is there if it is known and only then."""
    later = dataclasses.replace(FAILURE, retry_after="2026-01-02T05:00:00Z")
    assert final(FAILURE)["error"] == {"code": "claude_max_turns", "message": "Too many turns."}
    assert final(later)["error"]["retryAfter"] == "2026-01-02T05:00:00Z"


@pytest.mark.parametrize("known", [True, False])
def test_a_session_that_must_not_be_resumed_says_so(*, known: bool) -> None:
    """session.clear is set also when the session's id was never seen."""
    clear = dataclasses.replace(FAILURE, session_clear=True)
    written = final(clear, log=said(INIT) if known else status.LogSeen())
    assert written["session"] == {**({"id": "s-1", "cwd": "/paperclip/w"} if known else {}), "clear": True}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (None, {}),
        (exited(0), {"code": 0, "reason": "Completed", "finishedAt": builders.CREATED}),
        (exited(1), {"code": 1, "reason": "Error", "finishedAt": builders.CREATED}),
        (exited(128), {"code": 128, "reason": "Error", "finishedAt": builders.CREATED}),
        (exited(137, reason="OOMKilled"), {"code": 137, "signal": 9, "oomKilled": True, "reason": "OOMKilled", "finishedAt": builders.CREATED}),
        (exited(143), {"code": 143, "signal": 15, "reason": "Error", "finishedAt": builders.CREATED}),
        (exited(192), {"code": 192, "signal": 64, "reason": "Error", "finishedAt": builders.CREATED}),
        (exited(193), {"code": 193, "reason": "Error", "finishedAt": builders.CREATED}),
        (exited(0, signal=2), {"code": 0, "signal": 2, "reason": "Completed", "finishedAt": builders.CREATED}),
        (exited(1, message="stdoutBytes=12 stderrBytes=0 no such file"), {"code": 1, "reason": "Error", "message": "no such file", "finishedAt": builders.CREATED}),
        (exited(1, message="stdoutBytes=12 stderrBytes=0"), {"code": 1, "reason": "Error", "finishedAt": builders.CREATED}),
        (RUNNING, {}),
    ],
)  # fmt: skip
def test_how_the_agent_ended(pod: facts.PodFacts | None, expected: Body) -> None:
    """Exit code, signal, reason and message as far as they are known; sizes are ours and not shown."""
    shown = final(pod=pod)["exit"]
    assert shown.pop("detection")
    assert shown == expected


KEY = "sk-ant-0123456789abcdef"


@pytest.mark.parametrize(
    ("seen", "path"),
    [
        ({"log": said(stderr=f"Invalid key {KEY}\n")}, ("exit", "stderrTail")),
        ({"pod": exited(1, message=f"Invalid key {KEY}")}, ("exit", "message")),
        ({"log": said({**RESULT, "is_error": True, "result": f"Invalid key {KEY}"})}, ("result", "text")),
    ],
)
def test_a_credential_never_gets_into_the_status(seen: Body, path: tuple[str, str]) -> None:
    """What other programs printed is shown without what has the shape of a credential."""
    written = final(FAILURE, **seen)
    assert KEY not in json.dumps(written)
    assert written[path[0]][path[1]].strip() == "Invalid key [redacted]"


def test_the_agents_answer_is_left_as_it_is() -> None:
    """The result of a success is the work that was asked for."""
    answer = "Set token=abcdefgh in the example."
    assert final(log=said({**RESULT, "result": answer}))["result"]["text"] == answer


@pytest.mark.parametrize(
    ("job", "pod", "text"),
    [
        (JOB, None, "no pod was seen; 0 bytes of log, 0 results"),
        (JOB, RUNNING, "pod Running; 0 bytes of log, 0 results"),
        (dataclasses.replace(JOB, gone=True), dataclasses.replace(RUNNING, gone=True), "the Job no longer exists; pod Running, since removed; 0 bytes of log, 0 results"),
        (facts.parse_job(builders.job(conditions={"Complete": ""})), exited(0), "Job condition Complete; pod Failed; the agent's container has ended; 0 bytes of log, 0 results"),
        (facts.parse_job(builders.job(conditions={"Failed": "DeadlineExceeded"})), None, "Job condition DeadlineExceeded; no pod was seen; 0 bytes of log, 0 results"),
    ],
)  # fmt: skip
def test_how_the_end_was_noticed(job: facts.JobFacts, pod: facts.PodFacts | None, text: str) -> None:
    """exit.detection names what the verdict was made from."""
    assert final(job=job, pod=pod)["exit"]["detection"] == text


def test_facts_for_a_verdict_without_a_job() -> None:
    """A run that never had a Job is judged by its refusal alone."""
    refusal = forensics.Failure(code=Code.PROMPT_INVALID, message="blank")
    known = fields.facts_for_verdict(RUN, Seen(now=at(0), refusal=refusal))
    assert (known.recorded, known.job, known.exit, known.detection) == (refusal, None, None, "no pod was seen; 0 bytes of log, 0 results")  # fmt: skip


# ------------------------------------------------------------------------------------------------- what is on record

STOPPED: Body = {"type": "Completed", "status": "False", "reason": "StartFailed", "message": "No image."}


@pytest.mark.parametrize(
    ("written", "reason", "code"),
    [
        ({}, None, None),
        ({"conditions": []}, None, None),
        ({"conditions": [{"type": "PodReady", "status": "False", "reason": "StartFailed"}]}, None, None),
        ({"conditions": [{**STOPPED, "reason": "InProgress"}]}, None, None),
        ({"conditions": [{**STOPPED, "status": "True"}]}, None, None),
        ({"conditions": [STOPPED]}, "StartFailed", None),
        ({"conditions": [STOPPED], "error": {"code": "k8s_unschedulable", "message": "No node."}}, "StartFailed", Code.UNSCHEDULABLE),
        ({"conditions": [{"type": "Completed", "status": "False", "reason": "Cancelling"}]}, "Cancelling", None),
        ({"conditions": [{**STOPPED, "reason": "Deleting"}]}, "Deleting", None),
        ({"conditions": [{**STOPPED, "reason": "ResultGraceExceeded"}]}, "ResultGraceExceeded", None),
    ],
)  # fmt: skip
def test_a_stop_on_record(written: Body, reason: str | None, code: Code | None) -> None:
    """A Completed condition that is False for a reason of stopping, with its error if it had one."""
    stop = fields.recorded_stop(written)
    assert (stop and stop.reason) == reason
    assert (stop and stop.failure and stop.failure.code) == code


@pytest.mark.parametrize(
    ("reason", "seconds", "age"), [("ErrImagePull", 20, 0), ("ErrImagePull", 35.5, 15.5), ("Starting", 99, 0)]
)
def test_for_how_long_a_condition_has_had_its_reason(reason: str, seconds: float, age: float) -> None:
    """The age counts from the last transition, and only for the very same reason."""
    stuck = facts.parse_pod(builders.pod(phase="Pending", main=builders.waiting("ErrImagePull")))
    assert conditions.condition_age(live(20, pod=stuck), models.ConditionType.POD_READY, reason, at(seconds)) == age
    assert conditions.condition_age({}, models.ConditionType.POD_READY, reason, at(seconds)) == 0


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (None, None),
        (facts.parse_pod(builders.pod()), None),
        (RUNNING, None),
        (exited(1, message="boom"), None),
        (exited(0, message="stdoutBytes=0 stderrBytes=0"), 0),
        (exited(0, message="stdoutBytes=1234 stderrBytes=5"), 1234),
        (exited(1, message="stdoutBytes=12 stderrBytes=5 and more"), 12),
        (exited(0, message=f"stdoutBytes={'9' * 19} stderrBytes=5"), None),
    ],
)
def test_how_long_the_log_is(pod: facts.PodFacts | None, expected: int | None) -> None:
    """The entry script tells the length at the end; an absurd one is no length."""
    assert ending.expected_log_bytes(pod) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [({}, {}, set()), ({"a": 1}, {"a": 1}, set()), ({"a": 1}, {"a": 2, "b": 3}, {"a", "b"}), ({"a": 1}, {}, {"a"})],
)
def test_which_fields_changed(before: Body, after: Body, expected: set[str]) -> None:
    """Added, changed and removed fields alike."""
    assert fields.changed(before, after) == expected


def test_times_are_written_in_utc_and_whole_seconds() -> None:
    """As the Kubernetes API writes them, whatever zone they are given in."""
    moment = dt.datetime(2026, 7, 1, 12, 0, 5, 999999, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert conditions.rfc3339(moment) == "2026-07-01T10:00:05Z"


def test_a_run_that_cannot_be_read_ends_with_what_is_on_record() -> None:
    """Its end is complete: code, sentence, time, condition; session and Job stay."""
    known = live(pod=RUNNING, log=said(INIT))
    error = errors.InvalidRunError(Code.ADAPTER_FAILED, "spec.prompt: Field required.")
    written = fields.unreadable(known, error, generation=2, now=at(60))
    parsed = models.AgentRunStatus.model_validate(written)
    assert (parsed.phase, parsed.reason, parsed.message) == ("Failed", "Unreadable", "spec.prompt: Field required.")
    assert (parsed.completion_time, parsed.observed_generation) == (conditions.rfc3339(at(60)), 2)
    assert written["error"] == {"code": "adapter_failed", "message": "spec.prompt: Field required."}
    assert written["session"] == known["session"]
    assert len(written["conditions"]) == 4
    assert (condition(written, "Completed")["status"], condition(known, "Completed")["status"]) == ("True", "False")
    assert fields.unreadable({}, error, generation=1, now=at(0))["phase"] == "Failed"


# --- prompt and bundle ----------------------------------------------------------------------------------------------

KEY = "0123456789ab" + "f" * 52


@pytest.mark.parametrize(
    ("bundle", "expected"),
    [
        (None, None),
        (builders.running(), None),
        (builders.terminated(message=f"bundle={KEY} skills=2 instructions=1\n"), ("True", "Prepared", "2 skills, bundle 0123456789ab.")),
        (builders.terminated(message=f"bundle={KEY} skills=0 instructions=0\nskill a: there is no SKILL.md\nskill b: x\n"), ("False", "SkillsLeftOut", "skill a: there is no SKILL.md; skill b: x")),
        (builders.terminated(message=""), ("True", "Prepared", "")),
        (builders.terminated(message="who knows"), ("True", "Prepared", "")),
        (builders.terminated(exit_code=1, message="The volume is full.\n"), ("False", "BundleFailed", "The volume is full.")),
    ],
)  # fmt: skip
def test_the_bundle_has_a_condition_once_it_was_made(
    bundle: Body | None, expected: tuple[str, str, str] | None
) -> None:
    """Each skill that was left out is named with its reason."""
    pod = facts.parse_pod(builders.pod(init=builders.terminated(), bundle=bundle))
    found = condition(live(pod=pod), "BundleReady")
    assert (tuple(found[k] for k in ("status", "reason", "message")) if found else None) == expected


def test_the_prompts_metrics_come_from_the_job() -> None:
    """An operator that was started again has them, too."""
    job = facts.parse_job(builders.job(annotations={names.ANNOTATION_PROMPT_METRICS: '{"promptChars":7}'}))
    assert live(job=job)["promptMetrics"] == {"promptChars": 7}
    assert "promptMetrics" not in live()


def test_a_prompt_that_was_waited_for_is_found_at_last() -> None:
    """Only then does the condition appear in a status at all."""
    missing = waiting.without_prompt(RUN, Seen(now=at(1), prompt_missing="There is no Secret x."))
    assert condition(missing, "PromptReady")["message"] == "There is no Secret x."
    assert condition(live(written=missing), "PromptReady")["status"] == "True"
    assert condition(live(), "PromptReady") == {}


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("", "The agent has printed nothing since 2026-01-02T03:04:10Z."),
        ("Bash", "The agent has printed nothing since 2026-01-02T03:04:10Z; its tool Bash is at work."),
    ],
)
def test_silence_is_a_condition(tool: str, message: str) -> None:
    """It appears when it is first true, and says when the agent has come back."""
    assert condition(live(pod=RUNNING), "Stalled") == {}
    look = Seen(now=at(900), job=JOB, pod=RUNNING, log=said(INIT, turn(1, tool), grown=5))
    silent = fields.live(RUN, JOB, look, stalled=True)
    found = condition(silent, "Stalled")
    assert (found["status"], found["reason"], found["message"]) == ("True", "NoOutput", message)
    back = fields.live(RUN, JOB, dataclasses.replace(look, written=silent))
    again = condition(back, "Stalled")
    assert (again["status"], again["reason"]) == ("False", "Active")


@pytest.mark.parametrize("log", [status.LogSeen(found=True, stuck=True), status.LogSeen(unread=True), status.LogSeen()])
def test_silence_stays_as_it_was_while_nobody_can_say(log: status.LogSeen) -> None:
    """A volume that does not answer does not mean that the agent has come back; nor a log that is not found."""
    look = Seen(now=at(900), job=JOB, pod=RUNNING, log=said(INIT, turn(1), grown=5))
    silent = fields.live(RUN, JOB, look, stalled=True)
    later = Seen(now=at(960), job=JOB, pod=RUNNING, log=log, written=silent)
    assert condition(fields.live(RUN, JOB, later), "Stalled") == condition(silent, "Stalled")


def test_silence_from_the_beginning_has_no_time() -> None:
    """The agent never said anything."""
    found = condition(fields.live(RUN, JOB, Seen(now=at(900), job=JOB, pod=RUNNING), stalled=True), "Stalled")
    assert found["message"] == "The agent has printed nothing."


def test_a_run_without_a_pod_says_so() -> None:
    """It was cancelled in a queue, or nothing could be created for it."""
    found = condition(final(), "PodReady")
    assert (found["reason"], found["message"]) == ("NoPod", "The run never had a pod.")


def test_a_volume_that_does_not_answer_is_named() -> None:
    """It is no silence of the agent."""
    found = condition(live(pod=RUNNING, log=dataclasses.replace(said(INIT), stuck=True)), "LogStreaming")
    assert (found["status"], found["reason"]) == ("False", "Stuck")


def test_an_operator_that_catches_up_takes_nothing_back() -> None:
    """Until it has read as far as the last one, the status stays as that one left it."""
    before = live(pod=RUNNING, log=said(INIT, turn(1, "Bash")))
    again = live(pod=RUNNING, written=before)
    assert again["message"] == before["message"] == "The agent is running: 1 turn, last tool Bash."
    assert again["turns"] == 1


@pytest.mark.parametrize(
    ("message", "events", "lacks"),
    [
        ("stdoutBytes=10 stderrBytes=0", (INIT,), False),
        ("stdoutBytes=99999 stderrBytes=0", (INIT,), True),
        ("stdoutBytes=99999 stderrBytes=0", (INIT, RESULT), False),
        ("stdoutBytes=10 stderrBytes=0 incomplete", (INIT, RESULT), True),
        ("", (INIT,), False),
    ],
)
def test_a_log_lacks_its_end_if_the_script_says_so_or_the_file_is_short(
    message: str,
    events: tuple[Body, ...],
    lacks: bool,  # noqa: FBT001 - a table
) -> None:
    """A result that was read is the end, whatever the length."""
    drained = dataclasses.replace(said(*events), drained=True)
    assert ending.lacks_its_end(drained, exited(0, message=message)) is lacks
    assert ending.lacks_its_end(said(*events), exited(0, message=message)) is False
    assert ending.lacks_its_end(drained, None) is False


# ------------------------------------------------------------------------------------------ after a restart


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({}, 90),
        ({"logBytes": 3}, 90),
        ({"lastOutputTime": "2026-01-02T03:04:15Z"}, 90),
        ({"lastOutputTime": "2026-01-02T03:04:15Z", "logBytes": 2}, 90),
        ({"lastOutputTime": "2026-01-02T03:04:15Z", "logBytes": 3}, 10),
    ],
)
def test_what_is_on_record_already_did_not_come_just_now(written: dict[str, Any], expected: int) -> None:
    """An operator that starts reads every log from its beginning; only what is more than before is new."""
    transcript = dataclasses.replace(progress.Progress().snapshot(), bytes=3)
    log = status.LogSeen(transcript=transcript, found=True, last_growth=at(90))
    assert log.as_known(written).last_growth == at(expected)


def test_a_log_that_nobody_has_read_stays_unread() -> None:
    """There is no time to take over."""
    assert status.LogSeen().as_known({"lastOutputTime": "2026-01-02T03:04:15Z", "logBytes": 0}) == status.LogSeen()


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (status.LogSeen(unread=True), "Following"),
        (status.LogSeen(), "WaitingForLog"),
        (status.LogSeen(found=True, last_growth=at(1)), "Following"),
        (status.LogSeen(last_growth=at(1)), "WaitingForLog"),
        (status.LogSeen(stuck=True), "Stuck"),
        (status.LogSeen(followed=False), "NoVolume"),
    ],
)
def test_a_log_that_was_followed_is_so_after_a_restart(log: status.LogSeen, reason: str) -> None:
    """Until the new operator has looked itself; each needless change would be a write for every run."""
    written = {"conditions": [{"type": "LogStreaming", "status": "True", "reason": "Following"}]}
    assert conditions.describe_log(log, written)[1] == reason
    assert conditions.describe_log(log, {})[1] == ("WaitingForLog" if log.unread else reason)
