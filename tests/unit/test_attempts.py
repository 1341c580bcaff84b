"""Further attempts: whether, when, with which session, and what is on record between two of them."""

# ruff: noqa: E501 - one row of a table, one line

import dataclasses
import datetime as dt
import decimal
import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import errors, facts, forensics, manifest, models, progress, settings, status
from agentrun_operator.errors import ErrorCode as Code
from agentrun_operator.forensics import Phase
from agentrun_operator.status import attempts, conditions, fields, waiting
from tests import builders, deps

Body = dict[str, Any]
Seen = status.Observed

BEGAN = dt.datetime.fromisoformat(builders.CREATED)
FAILED = forensics.Verdict(phase=Phase.FAILED, reason="PodEvicted", message="The pod was evicted.", code=Code.POD_EVICTED, retryable=True)  # fmt: skip
LIMITED = dataclasses.replace(FAILED, reason="UsageLimited", message="Used up.", code=Code.USAGE_LIMITED)
LOST = dataclasses.replace(FAILED, code=Code.SESSION_UNAVAILABLE, retryable=False, session_clear=True)
SUCCEEDED = forensics.Verdict(phase=Phase.SUCCEEDED, reason="Completed", message="Done.")
CANCELLED = forensics.Verdict(phase=Phase.CANCELLED, reason="Cancelled", message="Asked.", code=Code.CANCELLED)
TIMEOUT = dataclasses.replace(FAILED, code=Code.TIMEOUT, retryable=False)
EVICTED = facts.parse_pod(builders.pod(phase="Failed", main=builders.terminated(exit_code=143)))


def at(seconds: float) -> dt.datetime:
    """The moment so long after everything was created."""
    return BEGAN + dt.timedelta(seconds=seconds)


def run(retry: Body | None = None, written: Body | None = None, **given: Any) -> models.AgentRun:
    """An AgentRun as its present attempt is."""
    body = builders.agent_run(**{"retry": {"limit": 3, **(retry or {})}, **given}, status=written)
    return attempts.current(models.AgentRun.parse(body), written or {})


def said(
    *, cost: float | None = 0.25, session: str = "s-1", cwd: str = "/paperclip/w", tokens: int = 20
) -> status.LogSeen:
    """The log of an attempt that got to a result."""
    read = progress.Progress()
    usage = {"input_tokens": tokens, "output_tokens": 6}
    for event in (
        {"type": "system", "subtype": "init", "session_id": session, "model": "opus", "cwd": cwd},
        {"type": "result", "subtype": "success", "is_error": True, "result": "No.", "usage": usage, **({} if cost is None else {"total_cost_usd": cost})},
    ):  # fmt: skip
        read.feed(json.dumps(event).encode() + b"\n")
    return status.LogSeen(transcript=read.snapshot(), found=True, drained=True, last_growth=at(90))


def job(number: int = 0) -> facts.JobFacts:
    """The Job of an attempt."""
    log = f"/paperclip/instances/default/run-logs/acme/coder/run-1{f'.{number}' if number else ''}.pod.ndjson"
    return dataclasses.replace(facts.parse_job(builders.job()), name=f"ac-{number}", uid=f"job-{number}", attempt=number, log_path=log)  # fmt: skip


def look(seconds: float = 100, number: int = 0, written: Body | None = None, **seen: Any) -> status.Observed:
    """What is seen at the end of an attempt."""
    given = {"job": job(number), "pod": EVICTED, "log": said(), "written": written or {}, **seen}
    return Seen(now=at(seconds), **given)


def next_one(mine: models.AgentRun, verdict: forensics.Verdict = FAILED, seen: status.Observed | None = None) -> Body:
    """The status between this attempt and the next."""
    return attempts.begin_next(mine, seen or look(), verdict)


# ------------------------------------------------------------------------------------------------------ whether


@pytest.mark.parametrize(
    ("mine", "verdict", "expected"),
    [
        (run(), FAILED, True),
        (run({"limit": 0}), FAILED, False),
        (run({"limit": 1}), FAILED, True),
        (run({"limit": 1}, {"attempt": 1}), FAILED, False),
        (run({"limit": 2}, {"attempt": 1}), FAILED, True),
        (run({"limit": 100}, {"attempt": 99}), FAILED, True),
        (run({"limit": 100}, {"attempt": 100}), FAILED, False),
        (run(), SUCCEEDED, False),
        (run(), CANCELLED, False),
        (run(cancel=True), FAILED, False),
        (run(deleting=True), FAILED, False),
        (run(suspend=True), FAILED, True),
        (run(written={"reattachedFrom": "lost"}), FAILED, False),
        (run(), TIMEOUT, False),
        (run({"on": ["timeout"]}), TIMEOUT, True),
        (run({"on": ["timeout"]}), FAILED, False),
        (run({"on": ["timeout", "k8s_pod_evicted"]}), FAILED, True),
        (run({"on": []}), FAILED, True),
        (run({"on": ["cancelled"]}), CANCELLED, False),
        (run({"on": ["prompt_invalid"]}), dataclasses.replace(FAILED, code=Code.PROMPT_INVALID, retryable=False), True),
    ],
)
def test_whether_there_is_another_attempt(mine: models.AgentRun, verdict: forensics.Verdict, *, expected: bool) -> None:
    """After a failure that may pass, or that the run names; as often as it allows; never once somebody wanted its end."""
    assert attempts.follows(mine, verdict) is expected


def test_a_job_that_was_adopted_a_moment_ago_is_not_tried_again() -> None:
    """What was written counts, also before the watch shows it."""
    body = builders.agent_run(retry={"limit": 3})
    mine = attempts.current(models.AgentRun.parse(body), {"reattachedFrom": "lost"})
    assert not attempts.follows(mine, FAILED)


def test_by_default_those_codes_are_tried_again_that_may_pass() -> None:
    """As docs/errors.md says."""
    again = getattr(forensics, "_RETRYABLE")  # noqa: B009 - private to everybody but this comparison
    for code in errors.ErrorCode:
        verdict = forensics.diagnose(
            forensics.Facts(
                transcript=progress.Progress().snapshot(), now=at(0), recorded=forensics.Failure(code=code, message="x")
            )
        )
        assert attempts.follows(run(), verdict) is (code in again), code


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        ({"limit": 0}, False),
        ({"limit": 1}, True),
        ({"on": ["claude_usage_limited"]}, True),
        ({"on": ["k8s_pod_evicted"]}, False),
    ],
)
def test_who_would_try_again_after_a_usage_limit_waits_for_its_end(retry: Body, *, expected: bool) -> None:
    """Everybody else tries, and fails with the provider's own words."""
    assert attempts.waits_for_limit(run(retry)) is expected


# --------------------------------------------------------------------------------------------------------- when


@pytest.mark.parametrize(
    ("retry", "number", "pause"),
    [
        ({}, 0, 30),
        ({}, 1, 60),
        ({}, 4, 480),
        ({"backoffSeconds": 0}, 0, 0),
        ({"backoffSeconds": 0}, 9, 0),
        ({"backoffSeconds": 7}, 2, 28),
        ({"backoffSeconds": 86_400}, 1, 86_400),
        ({"backoffSeconds": 1}, 99, 86_400),
    ],
)
def test_the_pause_doubles_up_to_a_day(retry: Body, number: int, pause: float) -> None:
    """And a tenth of it at most is added, the same for the same attempt of the same run."""
    mine = run({"limit": 100, **retry}, {"attempt": number})
    moment = attempts.next_time(mine, FAILED, at(0))
    assert 0 <= (moment - at(pause)).total_seconds() <= pause / 10
    assert attempts.next_time(mine, FAILED, at(0)) == moment


def test_runs_that_failed_together_do_not_come_back_together() -> None:
    """An overloaded API would be overloaded again."""
    moments = {attempts.next_time(run(uid=f"uid-{number}"), FAILED, at(0)) for number in range(20)}
    assert len(moments) > 10


@pytest.mark.parametrize(("retry_after", "earliest"), [(None, 30), (5, 30), (3600, 3600)])
def test_the_providers_time_counts_if_it_is_later(retry_after: int | None, earliest: float) -> None:
    """Nobody comes back before the window opens."""
    verdict = dataclasses.replace(LIMITED, retry_after=None if retry_after is None else at(retry_after).isoformat())
    moment = attempts.next_time(run(), verdict, at(0))
    assert at(earliest) <= moment <= at(earliest + 3)


@pytest.mark.parametrize(
    ("retry", "own", "limit", "until"),
    [
        ({}, None, None, None),
        ({}, 50, None, None),
        ({}, 100, None, None),
        ({}, 101, None, 101),
        ({}, None, 101, 101),
        ({}, None, 99, None),
        ({}, 150, 120, 150),
        ({}, 120, 150, 150),
        ({"limit": 0}, None, 101, None),
        ({"on": ["timeout"]}, None, 101, None),
        ({"on": ["timeout"]}, 110, 150, 110),
    ],
)
def test_until_when_a_run_waits(retry: Body, own: float | None, limit: float | None, until: float | None) -> None:
    """For its own pause, and for a limit of its credential if it would be tried again after that; seconds, now is 100."""
    written = {} if own is None else {"nextAttemptTime": conditions.rfc3339(at(own))}
    seen = Seen(now=at(100), written=written, limited_until=None if limit is None else at(limit))
    assert attempts.delay(run(retry), seen) == (None if until is None else at(until))
    assert status.is_delayed(run(retry), seen) is (until is not None)


# ------------------------------------------------------------------------------------------------------- session

ASKED: Body = {"id": "s-0", "cwd": "/paperclip/v"}


@pytest.mark.parametrize(
    ("retry", "asked", "known", "expected"),
    [
        ({}, None, None, None),
        ({}, ASKED, None, ("s-0", "/paperclip/v")),
        ({}, None, {"id": "s-1", "cwd": "/paperclip/w"}, ("s-1", None)),
        ({}, ASKED, {"id": "s-1", "cwd": "/paperclip/w"}, ("s-1", "/paperclip/v")),
        ({}, ASKED, {"cwd": "/paperclip/w"}, ("s-0", "/paperclip/v")),
        ({}, ASKED, {"clear": True}, None),
        ({}, ASKED, {"id": "s-0", "clear": True}, None),
        ({"resumeSession": False}, None, {"id": "s-1"}, None),
        ({"resumeSession": False}, ASKED, {"id": "s-1"}, ("s-0", "/paperclip/v")),
        ({"resumeSession": False}, ASKED, {"id": "s-0", "clear": True}, None),
        ({}, None, {"id": "--dangerously-skip-permissions"}, None),
        ({}, ASKED, {"id": "s 1"}, ("s-0", "/paperclip/v")),
        ({}, None, {"id": "s" * 300}, None),
    ],
)
def test_the_session_of_a_further_attempt(
    retry: Body, asked: Body | None, known: Body | None, expected: tuple[str, str | None] | None
) -> None:
    """That of the attempt before, unless it must not be resumed; what cannot be a session's id is none."""
    written = {"attempt": 1, **({"session": known} if known else {})}
    session = run(retry, written, session=asked).spec.session
    assert (session and (session.id, session.cwd)) == expected


def test_the_first_attempt_is_as_it_was_written() -> None:
    """Whatever the agent has said of its session since; a restarted operator builds the same objects."""
    mine = run(written={"session": {"id": "s-1"}}, session=ASKED)
    assert mine.spec.session is not None
    assert (mine.attempt, mine.spec.session.id) == (0, "s-0")


def test_the_number_is_that_of_the_record() -> None:
    """Which the watch may not have shown yet."""
    mine = models.AgentRun.parse(builders.agent_run(status={"attempt": 1, "phase": "Pending"}))
    assert [attempts.current(mine, written).attempt for written in ({}, {"attempt": 1}, {"attempt": 2})] == [0, 1, 2]


def test_a_first_attempt_is_not_copied() -> None:
    """An operator asks at each look at each of its runs."""
    mine = models.AgentRun.parse(builders.agent_run())
    assert attempts.current(mine, {"phase": "Running"}) is mine
    assert attempts.current(mine, {"attempt": 1}) is not mine
    assert attempts.current(attempts.current(mine, {"attempt": 1}), {}).attempt == 0
    assert attempts.current(mine, {"reattachedFrom": "lost"}).status.reattached_from == "lost"


def test_a_resumed_attempt_is_built_as_one() -> None:
    """``--resume``, and neither bootstrap nor instructions, which the session has already."""
    given: Body = {"prompt": {"text": "Main.", "bootstrap": "Begin."}, "job": {"image": "agent:1"}}
    for written, resumed in (({"attempt": 1, "session": {"id": "s-1"}}, True), ({"attempt": 1}, False)):
        mine = run(None, written, **given)
        made = manifest.build(mine, settings.Settings(), template=manifest.read_template(mine), scripts=deps.SCRIPTS)
        command = json.dumps(made.job)
        assert ('"--resume", "s-1"' in command) is resumed
        metrics = facts.parse_job(made.job).prompt_metrics
        assert metrics is not None
        assert metrics["bootstrapPromptChars"] == (0 if resumed else len("Begin."))


# ------------------------------------------------------------------------------------------------- between attempts


def test_what_is_on_record_between_two_attempts() -> None:
    """Nothing of the attempt that ended but what is of the run: its session, its cost, and how it ended."""
    written = fields.live(run(), job(), look(50, pod=EVICTED))
    status_ = next_one(run(), seen=look(written=written))
    moment = status_["nextAttemptTime"]
    assert {key: status_[key] for key in status_.keys() - {"conditions", "previousAttempts"}} == {
        "phase": "Pending",
        "reason": "RetryBackoff",
        "message": f"Attempt 0 failed with k8s_pod_evicted; attempt 1 starts at {moment}.",
        "observedGeneration": 1,
        "attempt": 1,
        "nextAttemptTime": moment,
        "session": {"id": "s-1", "cwd": "/paperclip/w"},
        "model": "opus",
        "usage": {"inputTokens": 20, "outputTokens": 6, "cacheReadTokens": 0, "cacheCreationTokens": 0},
        "costUSD": "0.25",
        "lastOutputTime": conditions.rfc3339(at(90)),
    }
    assert status_["previousAttempts"] == [
        {
            "attempt": 0,
            "code": "k8s_pod_evicted",
            "message": "The pod was evicted.",
            "jobName": "ac-0",
            "podName": EVICTED.name,
            "nodeName": "node-1",
            "logPath": job().log_path,
            "exitCode": 143,
            "startTime": builders.CREATED,
            "completionTime": conditions.rfc3339(at(100)),
            "usage": {"inputTokens": 20, "outputTokens": 6, "cacheReadTokens": 0, "cacheCreationTokens": 0},
            "costUSD": "0.25",
        }
    ]
    assert {c["type"]: (c["status"], c["reason"], c["lastTransitionTime"]) for c in status_["conditions"]} == {
        "Completed": ("False", "RetryBackoff", conditions.rfc3339(at(100))),
        "JobCreated": ("False", "RetryBackoff", conditions.rfc3339(at(100))),
    }


def test_an_attempt_that_never_had_a_job_is_told_in_few_words() -> None:
    """It was refused: what is not known is left out."""
    blocked = dataclasses.replace(FAILED, code=Code.CONCURRENT_RUN_BLOCKED, message="Taken. " * 200)
    [entry] = next_one(run(), blocked, Seen(now=at(5)))["previousAttempts"]
    assert entry.keys() == {"attempt", "code", "message", "completionTime"}
    assert (entry["code"], len(entry["message"])) == ("k8s_concurrent_run_blocked", 512)


def test_a_run_that_waits_for_a_limit_is_queued() -> None:
    """Its turn comes when the window opens; a pause after another failure is not that, whoever ran into a limit."""
    verdict = dataclasses.replace(LIMITED, retry_after=at(3600).isoformat())
    limited = next_one(run(), verdict)
    assert (limited["phase"], limited["reason"]) == ("Queued", "UsageLimited")
    assert dt.datetime.fromisoformat(limited["nextAttemptTime"]) >= at(3600)
    evicted = next_one(run(), seen=look(limited_until=at(3600)))
    assert (evicted["phase"], evicted["reason"]) == ("Pending", "RetryBackoff")
    others = waiting.later(run(), Seen(now=at(0), limited_until=at(60)), at(60))
    assert (others["phase"], others["reason"], others["nextAttemptTime"]) == ("Queued", "UsageLimited", conditions.rfc3339(at(60)))  # fmt: skip
    assert "as another run found" in others["message"]


def test_a_stop_on_record_does_not_stop_the_next_attempt() -> None:
    """Its reason was that of the attempt that ended."""
    failure = forensics.Failure(code=Code.IMAGE_PULL_FAILED, message="No image.")
    stopping = fields.stopping(
        run(), job(), look(60), reason=models.Reason.START_FAILED, message="No image.", failure=failure
    )
    assert fields.recorded_stop(stopping) is not None
    assert fields.recorded_stop(next_one(run(), seen=look(written=stopping))) is None


def test_a_session_that_must_not_be_resumed_is_not() -> None:
    """The next attempt begins a new one, and says no more that it is to be cleared when it has it."""
    mine = run({"on": ["session_unavailable"]}, session=ASKED)
    between = next_one(mine, LOST, look(log=said(session="s-0")))
    assert between["session"] == {"id": "s-0", "cwd": "/paperclip/w", "clear": True}
    fresh = run({"on": ["session_unavailable"]}, between, session=ASKED)
    assert fresh.spec.session is None
    after = fields.live(fresh, job(1), look(200, 1, between, log=said(session="s-2")))
    assert after["session"] == {"id": "s-2", "cwd": "/paperclip/w"}


def test_the_fields_of_the_next_attempt_are_its_own() -> None:
    """Job, log and pod are new ones; the pause is over when there is a Job."""
    between = next_one(run())
    after = fields.live(run(None, between), job(1), look(200, 1, between, pod=None, log=status.LogSeen()))
    assert (after["attempt"], after["job"], after["logPath"]) == (1, {"name": "ac-1", "uid": "job-1"}, job(1).log_path)
    assert after.keys().isdisjoint({"nextAttemptTime", "podName", "exit", "error", "result", "turns"})
    assert after["costUSD"] == "0.25"
    models.AgentRunStatus.model_validate(after)


def test_an_operator_that_cannot_read_the_log_any_more_knows_what_the_last_one_did() -> None:
    """The cost of an attempt is on record before its end: it is in the entry, too, and never taken back."""
    written = fields.live(run(), job(), look(50))
    between = next_one(run(), seen=look(written=written, log=status.LogSeen(drained=True)))
    assert between["previousAttempts"][0]["costUSD"] == between["costUSD"] == "0.25"
    known = fields.live(run(None, between), job(1), look(200, 1, between, log=said(cost=0.5)))
    again = fields.live(run(None, between), job(1), look(210, 1, known, log=status.LogSeen()))
    assert (known["costUSD"], again["costUSD"]) == ("0.75", "0.75")
    assert again["usage"] == known["usage"]


verdicts = st.sampled_from(
    [FAILED, LIMITED, LOST, TIMEOUT, dataclasses.replace(LIMITED, retry_after=at(5000).isoformat())]
)
ends = st.tuples(
    verdicts,
    st.none() | st.integers(0, 10**9).map(lambda n: n / 1000),
    st.booleans(),
    st.sampled_from([None, EVICTED]),
)


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(st.lists(ends, min_size=1, max_size=6))
def test_however_the_attempts_end_the_status_is_valid_and_costs_add_up(
    history: list[tuple[forensics.Verdict, float | None, bool, facts.PodFacts | None]],
) -> None:
    """After each of them: one that the API server accepts, with a time to go on at, and the sum of what they cost."""
    written: Body = {}
    spent = decimal.Decimal(0)
    for number, (verdict, cost, had_job, pod) in enumerate(history):
        mine = run({"limit": 100}, written)
        assert mine.attempt == number
        moment = 100 + 100_000 * number
        seen = (
            look(moment, number, written, pod=pod, log=said(cost=cost, tokens=number))
            if had_job
            else Seen(now=at(moment), written=written)
        )
        spent += decimal.Decimal(str(cost)) if had_job and cost is not None else 0
        written = attempts.begin_next(mine, seen, verdict)
        parsed = models.AgentRunStatus.model_validate(written)
        assert json.loads(json.dumps(written)).keys() <= parsed.model_dump(by_alias=True, exclude_none=True).keys()
        assert len({c.type for c in parsed.conditions}) == len(parsed.conditions)
        assert [entry.attempt for entry in parsed.previous_attempts] == list(range(number + 1))
        assert decimal.Decimal(parsed.cost_usd or 0) == spent
        assert sum(decimal.Decimal(entry.cost_usd or 0) for entry in parsed.previous_attempts) == spent
        assert attempts.delay(run({"limit": 100}, written), dataclasses.replace(seen, written=written)) is not None
        assert not (parsed.job or parsed.pod_name or parsed.log_path or parsed.completion_time)
