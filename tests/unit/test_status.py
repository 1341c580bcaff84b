"""The ladder as a table: what is seen of a run, and what follows from it."""

# ruff: noqa: E501 - one row of a table, one line

import dataclasses
import datetime as dt
import itertools
import json
from collections.abc import Mapping
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import facts, forensics, models, names, progress, settings, status
from agentrun_operator.errors import ErrorCode as Code
from agentrun_operator.status import Action, attempts, conditions, fields, waiting
from tests import builders

CONFIG = settings.Settings(image="agent:1")
BEGAN = dt.datetime.fromisoformat(builders.CREATED)
PROMPT = "Sing of the purple heron."

Body = dict[str, Any]
Seen = status.Observed


def at(seconds: float) -> dt.datetime:
    """The moment so long after everything was created."""
    return BEGAN + dt.timedelta(seconds=seconds)


def run(**spec: Any) -> models.AgentRun:
    """An AgentRun."""
    return models.AgentRun.parse(builders.agent_run(prompt=PROMPT, **spec))


def job(**given: Any) -> facts.JobFacts:
    """Its Job."""
    gone = given.pop("gone", False)
    return dataclasses.replace(facts.parse_job(builders.job(**given)), gone=gone)


def pod(phase: str = "Pending", **given: Any) -> facts.PodFacts:
    """The Job's pod."""
    gone = given.pop("gone", False)
    return dataclasses.replace(facts.parse_pod(builders.pod(phase=phase, **given)), gone=gone)


def ended(code: int, *, phase: str = "", **state: Any) -> facts.PodFacts:
    """The pod, its agent having ended with this exit code."""
    main = builders.terminated(exit_code=code, **state)
    return pod(phase or ("Failed" if code else "Succeeded"), main=main)


def said(*events: Body, grown: float | None = 90, drained: bool = False, stderr: str = "") -> status.LogSeen:
    """A log with these events, which last grew ``grown`` seconds after the beginning."""
    read = progress.Progress()
    for event in events:
        read.feed(json.dumps(event).encode() + b"\n")
    growth = None if grown is None else at(grown)
    return status.LogSeen(
        transcript=read.snapshot(), found=True, drained=drained, last_growth=growth, stderr_tail=stderr
    )


def live(seconds: float = 50, **seen: Any) -> Body:
    """The status written at that moment while the run was live."""
    now = at(seconds)
    return fields.live(RUN, seen.get("job", JOB), Seen(now=now, **{"job": JOB, **seen}))


def stopping(reason: str, failure: forensics.Failure | None = None, **seen: Any) -> Body:
    """The status written when an operator began to stop the run."""
    look = Seen(now=at(60), **{"job": JOB, **seen})
    return fields.stopping(RUN, JOB, look, reason=reason, message="Because.", failure=failure)


INIT: Body = {
    "type": "system",
    "subtype": "init",
    "session_id": "s-1",
    "model": "opus",
    "cwd": "/paperclip/w",
    "claude_code_version": "2.1.329",
}
TURN: Body = {
    "type": "assistant",
    "message": {
        "id": "m1",
        "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}],
        "usage": {
            "input_tokens": 10,
            "output_tokens": 3,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 7,
        },
    },
}
SPOKEN: Body = {"type": "assistant", "message": {"id": "m1", "content": [{"type": "text", "text": "Hm."}]}}
IN_BACKGROUND: Body = {"type": "system", "subtype": "task_started", "task_id": "b1", "is_backgrounded": True}
RESULT: Body = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "result": "Done.",
    "total_cost_usd": 0.25,
    "usage": {"input_tokens": 20, "output_tokens": 6},
}
WENT_WRONG: Body = {
    "type": "result",
    "subtype": "error_max_turns",
    "is_error": True,
    "errors": ["Reached maximum number of turns (3)"],
}

RUN = run()
CANCELLED = run(cancel=True)
DELETED = run(deleting=True)
FORBID = run(concurrencyPolicy="Forbid")
REPLACE = run(concurrencyPolicy="Replace")
HELD = run(suspend=True)
IMPATIENT = run(timeouts={"stallSeconds": 60})
LIMITED = run(timeouts={"timeoutSeconds": 100})
JOB = job()
SUSPENDED_JOB = job(suspend=True)
HELD_JOB = dataclasses.replace(SUSPENDED_JOB, gate=names.HELD)
STUBBORN = run(retry={"limit": 2})
SECOND = attempts.current(STUBBORN, {"attempt": 1})
LAST = attempts.current(STUBBORN, {"attempt": 2})
PICKY = run(retry={"limit": 2, "on": ["claude_max_turns"]})
DELETING_JOB = job(deleting=True)
COMPLETE = job(conditions={"Complete": "CompletionsReached"})
FAILED = job(conditions={"Failed": ("BackoffLimitExceeded", "Job has reached the specified backoff limit")})
GONE = job(gone=True)
STARTED = job(start_time=builders.CREATED)
STARTING = pod(main=builders.waiting("ContainerCreating"))
RUNNING = pod("Running", main=builders.running())
LEAVING = pod("Running", main=builders.running(), deleting=at(60).isoformat())
NO_NODE = pod(node="", false_conditions={"PodScheduled": ("Unschedulable", "0/3 nodes are available.")})
NO_IMAGE = pod(main=builders.waiting("ErrImagePull", "no such image"))
NO_IMAGE_BACKOFF = pod(main=builders.waiting("ImagePullBackOff", "Back-off pulling image"))
REFUSAL = forensics.Failure(code=Code.JOB_CREATE_FAILED, message="jobs is forbidden")
NO_IMAGE_FAILURE = forensics.Failure(code=Code.IMAGE_PULL_FAILED, message="The image could not be pulled.")
DONE = said(INIT, TURN, RESULT, drained=True)

EVICTED_ONCE: Body = {
    "attempt": 0,
    "code": "k8s_pod_evicted",
    "message": "Evicted.",
    "completionTime": builders.CREATED,
}
PAUSE = waiting.later(SECOND, Seen(now=at(50), written={"attempt": 1, "previousAttempts": [EVICTED_ONCE]}), at(120))

# ------------------------------------------------------------------------------------------------------ the ladder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One row: what is seen → what follows. ``phase`` and ``reason`` are of the status to write; "" = none is written."""

    seen: status.Observed
    run: models.AgentRun = RUN
    action: Action
    phase: str = ""
    reason: str = ""
    code: str = ""
    look: float | None = None


BEFORE_JOB = {
    "a new run asks for its turn": Step(seen=Seen(now=at(0)), action=Action.ADMIT),
    "cancelled before it began": Step(run=CANCELLED, seen=Seen(now=at(0)), action=Action.FINISH, phase="Cancelled", reason="Cancelled", code=Code.CANCELLED),
    "deleted before it began": Step(run=DELETED, seen=Seen(now=at(0)), action=Action.FINISH, phase="Cancelled", reason="Deleted", code=Code.CANCELLED),
    "it can never start": Step(seen=Seen(now=at(0), refusal=REFUSAL), action=Action.FINISH, phase="Failed", reason="JobCreateFailed", code=Code.JOB_CREATE_FAILED),
    "it could not start, and then it was cancelled": Step(run=CANCELLED, seen=Seen(now=at(0), refusal=REFUSAL), action=Action.FINISH, phase="Failed", reason="JobCreateFailed", code=Code.JOB_CREATE_FAILED),
    "the API did not answer just now": Step(seen=Seen(now=at(9), trouble="timed out", trouble_since=at(9)), action=Action.ADMIT),
    "no answer for almost pendingSeconds": Step(seen=Seen(now=at(1599.9), trouble="timed out", trouble_since=at(1000)), action=Action.ADMIT),
    "no answer for pendingSeconds": Step(seen=Seen(now=at(1600), trouble="timed out", trouble_since=at(1000)), action=Action.FINISH, phase="Failed", reason="ConcurrencyGuardUnreachable", code=Code.CONCURRENCY_GUARD_UNREACHABLE),
    "no right to start it for almost pendingSeconds": Step(seen=Seen(now=at(1599), trouble="forbidden", trouble_since=at(1000), trouble_code=Code.JOB_CREATE_FAILED), action=Action.ADMIT),
    "no right to start it for pendingSeconds": Step(seen=Seen(now=at(1600), trouble="forbidden", trouble_since=at(1000), trouble_code=Code.JOB_CREATE_FAILED), action=Action.FINISH, phase="Failed", reason="JobCreateFailed", code=Code.JOB_CREATE_FAILED),
    "one failed request after a day in the queue": Step(seen=Seen(now=at(86400), trouble="timed out", trouble_since=at(86400), written={"phase": "Queued"}), action=Action.ADMIT),
    "cancelled while the API is away": Step(run=CANCELLED, seen=Seen(now=at(9), trouble="timed out", trouble_since=at(9)), action=Action.FINISH, phase="Cancelled", reason="Cancelled", code=Code.CANCELLED),
    "another run has the agent": Step(seen=Seen(now=at(0), busy_with="other"), action=Action.WAIT, phase="Queued", reason="AgentBusy", look=30),
    "another run still has the agent": Step(seen=Seen(now=at(90), busy_with="other", written=waiting.queued(RUN, Seen(now=at(0), busy_with="other")), written_at=at(0)), action=Action.WAIT, look=30),
    "a third run has it now, written a moment ago": Step(seen=Seen(now=at(1), busy_with="third", written=waiting.queued(RUN, Seen(now=at(0), busy_with="other")), written_at=at(0)), action=Action.WAIT, look=4),
    "a third run has it now": Step(seen=Seen(now=at(5), busy_with="third", written=waiting.queued(RUN, Seen(now=at(0), busy_with="other")), written_at=at(0)), action=Action.WAIT, phase="Queued", reason="AgentBusy", look=30),
    "cancelled in the queue": Step(run=CANCELLED, seen=Seen(now=at(9), busy_with="other", written={"phase": "Queued"}), action=Action.FINISH, phase="Cancelled", reason="Cancelled", code=Code.CANCELLED),
    "deleted in the queue": Step(run=DELETED, seen=Seen(now=at(9), busy_with="other", written={"phase": "Queued"}), action=Action.FINISH, phase="Cancelled", reason="Deleted", code=Code.CANCELLED),
    "busy, and it may not wait": Step(run=FORBID, seen=Seen(now=at(0), busy_with="other", occupied=True), action=Action.FINISH, phase="Failed", reason="ConcurrentRunBlocked", code=Code.CONCURRENT_RUN_BLOCKED),
    "another comes first, and it may not wait": Step(run=FORBID, seen=Seen(now=at(0), busy_with="other"), action=Action.FINISH, phase="Failed", reason="ConcurrentRunBlocked", code=Code.CONCURRENT_RUN_BLOCKED),
    "free, and it may not wait": Step(run=FORBID, seen=Seen(now=at(0)), action=Action.ADMIT),
    "busy, and it takes the other's place": Step(run=REPLACE, seen=Seen(now=at(0), busy_with="other", occupied=True), action=Action.REPLACE, phase="Queued", reason="Replacing", look=30),
    "it has asked for that, and waits": Step(run=REPLACE, seen=Seen(now=at(9), busy_with="other", occupied=True, written=waiting.replacing(REPLACE, Seen(now=at(0), busy_with="other"))), action=Action.REPLACE, look=30),
    "another comes first that has no Job to be replaced": Step(run=REPLACE, seen=Seen(now=at(0), busy_with="other"), action=Action.WAIT, phase="Queued", reason="AgentBusy", look=30),
    "held": Step(run=HELD, seen=Seen(now=at(0)), action=Action.WAIT, phase="Suspended", reason="Suspended", look=30),
    "held while the agent is busy": Step(run=HELD, seen=Seen(now=at(0), busy_with="other"), action=Action.WAIT, phase="Suspended", reason="Suspended", look=30),
    "let go": Step(seen=Seen(now=at(0), written=waiting.suspended(HELD, Seen(now=at(0)))), action=Action.ADMIT),
    "held and cancelled": Step(run=run(suspend=True, cancel=True), seen=Seen(now=at(0)), action=Action.FINISH, phase="Cancelled", reason="Cancelled", code=Code.CANCELLED),
    "its prompt is not there": Step(seen=Seen(now=at(0), prompt_missing="no Secret x"), action=Action.WAIT, phase="Pending", reason="PromptMissing", look=5),
    "its prompt is still not there": Step(seen=Seen(now=at(5), prompt_missing="no Secret x", written=waiting.without_prompt(RUN, Seen(now=at(0), prompt_missing="no Secret x"))), action=Action.ADMIT, look=5),
    "now the key is missing": Step(seen=Seen(now=at(5), prompt_missing="no key y", written=waiting.without_prompt(RUN, Seen(now=at(0), prompt_missing="no Secret x"))), action=Action.WAIT, phase="Pending", reason="PromptMissing", look=5),
    "its prompt was missing for almost pendingSeconds": Step(seen=Seen(now=at(599), prompt_missing="no key y", written=waiting.without_prompt(RUN, Seen(now=at(0), prompt_missing="no key y"))), action=Action.ADMIT),
    "its prompt was missing for pendingSeconds": Step(seen=Seen(now=at(600), prompt_missing="no key y", written=waiting.without_prompt(RUN, Seen(now=at(0), prompt_missing="no Secret x"))), action=Action.FINISH, phase="Failed", reason="PromptInvalid", code=Code.PROMPT_INVALID),
    "its turn has come": Step(seen=Seen(now=at(9), written={"phase": "Queued"}), action=Action.ADMIT),
}  # fmt: skip

STARTS = {
    "its queue has not admitted the Job": Step(seen=Seen(now=at(9), job=SUSPENDED_JOB), action=Action.WAIT, phase="Queued", reason="JobSuspended", look=5),
    "its queue does not admit the Job for a day": Step(seen=Seen(now=at(86400), job=SUSPENDED_JOB, written=live(10, job=SUSPENDED_JOB), written_at=at(86399)), action=Action.WAIT, look=5),
    "its queue has admitted the Job after a day": Step(seen=Seen(now=at(86400), job=job(start_time="2026-01-03T03:04:00Z")), action=Action.WAIT, phase="Pending", reason="Starting", look=5),
    "no pod for pendingSeconds since it was admitted": Step(seen=Seen(now=at(87000), job=job(start_time="2026-01-03T03:04:05Z")), action=Action.STOP, phase="Pending", reason="StartFailed", code=Code.POD_SCHEDULE_FAILED, look=5),
    "the Job was created": Step(seen=Seen(now=at(0), job=JOB), action=Action.WAIT, phase="Pending", reason="Starting", look=5),
    "its pod is being prepared": Step(seen=Seen(now=at(1), job=JOB, pod=STARTING), action=Action.WAIT, phase="Pending", reason="Starting", look=5),
    "the agent runs": Step(seen=Seen(now=at(2), job=JOB, pod=RUNNING), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "it runs for a week": Step(seen=Seen(now=at(604800), job=JOB, pod=RUNNING), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "held for long, and its controller has not seen that it was started": Step(seen=Seen(now=at(87000), job=JOB), action=Action.WAIT, phase="Pending", reason="Starting", look=5),
    "no pod for almost pendingSeconds": Step(seen=Seen(now=at(599.9), job=STARTED), action=Action.WAIT, phase="Pending", reason="Starting", look=5),
    "no pod for pendingSeconds": Step(seen=Seen(now=at(600), job=STARTED), action=Action.STOP, phase="Pending", reason="StartFailed", code=Code.POD_SCHEDULE_FAILED, look=5),
    "the Job's age is not known": Step(seen=Seen(now=at(9999), job=job(creationTimestamp=None)), action=Action.WAIT, phase="Pending", reason="Starting", look=5),
    "no node for almost pendingSeconds": Step(seen=Seen(now=at(599.9), job=STARTED, pod=NO_NODE), action=Action.WAIT, phase="Pending", reason="Unschedulable", look=5),
    "no node for pendingSeconds": Step(seen=Seen(now=at(600), job=STARTED, pod=NO_NODE), action=Action.STOP, phase="Pending", reason="StartFailed", code=Code.UNSCHEDULABLE, look=5),
    "no node, confirmed, but nodes may come": Step(seen=Seen(now=at(500), job=JOB, pod=NO_NODE, written=live(10, pod=NO_NODE), written_at=at(400)), action=Action.WAIT, look=5),
    "no image, seen for the first time": Step(seen=Seen(now=at(9), job=JOB, pod=NO_IMAGE), action=Action.WAIT, phase="Pending", reason="ErrImagePull", look=5),
    "no image, almost confirmed": Step(seen=Seen(now=at(64.9), job=JOB, pod=NO_IMAGE, written=live(50, pod=NO_IMAGE), written_at=at(50)), action=Action.WAIT, look=5) ,
    "no image, confirmed": Step(seen=Seen(now=at(65), job=JOB, pod=NO_IMAGE, written=live(50, pod=NO_IMAGE), written_at=at(50)), action=Action.STOP, phase="Pending", reason="StartFailed", code=Code.IMAGE_PULL_FAILED, look=5),
    "no image, confirmed by the kubelet's other word for it": Step(seen=Seen(now=at(65), job=JOB, pod=NO_IMAGE_BACKOFF, written=live(50, pod=NO_IMAGE), written_at=at(50)), action=Action.STOP, phase="Pending", reason="StartFailed", code=Code.IMAGE_PULL_FAILED, look=5),
    "no image, but something else was the matter before": Step(seen=Seen(now=at(65), job=JOB, pod=NO_IMAGE, written=live(50, pod=NO_NODE), written_at=at(50)), action=Action.WAIT, phase="Pending", reason="ErrImagePull", look=5),
    "late, but its pod is being deleted": Step(seen=Seen(now=at(700), job=JOB, pod=pod(deleting=True)), action=Action.WAIT, phase="Pending", reason="Terminating", look=5),
    "late, but its pod has ended": Step(seen=Seen(now=at(700), job=JOB, pod=pod("Failed")), action=Action.WAIT, phase="Pending", reason="Finishing", look=5),
    "late, but the agent was started and has ended": Step(seen=Seen(now=at(700), job=JOB, pod=ended(1, phase="Running")), action=Action.WAIT, phase="Pending", reason="Finishing", look=5),
}  # fmt: skip

STOPS = {
    "Kubernetes lets the deadline pass, almost for the grace": Step(run=LIMITED, seen=Seen(now=at(159.9), job=job(start_time=builders.CREATED), pod=RUNNING), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "Kubernetes lets deadline and grace pass": Step(run=LIMITED, seen=Seen(now=at(160), job=job(start_time=builders.CREATED), pod=RUNNING), action=Action.STOP, phase="Running", reason="DeadlineExceeded", look=5),
    "its queue has not let it start, so no deadline counts": Step(run=LIMITED, seen=Seen(now=at(999), job=job(start_time=builders.CREATED, suspend=True)), action=Action.WAIT, phase="Queued", reason="JobSuspended", look=5),
    "nobody knows when it started": Step(run=LIMITED, seen=Seen(now=at(999), job=JOB, pod=RUNNING), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "its queue takes the place away": Step(seen=Seen(now=at(60), job=SUSPENDED_JOB, pod=RUNNING), action=Action.STOP, phase="Running", reason="Preempted", code=Code.POD_EVICTED, look=5),
    "its queue takes the place away before the agent was started": Step(seen=Seen(now=at(60), job=SUSPENDED_JOB, pod=STARTING), action=Action.WAIT, phase="Pending", reason="Starting", look=5),
    "cancelled while its queue has it": Step(run=CANCELLED, seen=Seen(now=at(60), job=SUSPENDED_JOB), action=Action.STOP, phase="Queued", reason="Cancelling", look=5),
    "silent, almost for stallSeconds": Step(run=IMPATIENT, seen=Seen(now=at(149.9), job=JOB, pod=RUNNING, log=said(INIT, SPOKEN)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "silent for stallSeconds": Step(run=IMPATIENT, seen=Seen(now=at(150), job=JOB, pod=RUNNING, log=said(INIT, SPOKEN)), action=Action.STOP, phase="Running", reason="Stalled", look=5),
    "silent from the beginning": Step(run=IMPATIENT, seen=Seen(now=at(60), job=JOB, pod=RUNNING), action=Action.STOP, phase="Running", reason="Stalled", look=5),
    "silent for stallSeconds while a tool is at work": Step(run=IMPATIENT, seen=Seen(now=at(749), job=JOB, pod=RUNNING, log=said(INIT, TURN)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "silent for ten minutes more": Step(run=IMPATIENT, seen=Seen(now=at(750), job=JOB, pod=RUNNING, log=said(INIT, TURN)), action=Action.STOP, phase="Running", reason="Stalled", look=5),
    "silent, but nobody reads its log": Step(run=IMPATIENT, seen=Seen(now=at(9999), job=JOB, pod=RUNNING, log=status.LogSeen(followed=False)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "silent, but nobody has read its log yet": Step(run=IMPATIENT, seen=Seen(now=at(9999), job=JOB, pod=RUNNING, log=status.LogSeen(unread=True)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "silent, but its log is on record and not there": Step(run=IMPATIENT, seen=Seen(now=at(9999), job=JOB, pod=RUNNING, written=live(pod=RUNNING, log=said(INIT, SPOKEN))), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "silent, but its volume does not answer": Step(run=IMPATIENT, seen=Seen(now=at(9999), job=JOB, pod=RUNNING, log=dataclasses.replace(said(INIT, SPOKEN), stuck=True)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "its result was printed long ago, but its volume does not answer": Step(seen=Seen(now=at(9999), job=JOB, pod=RUNNING, log=dataclasses.replace(said(INIT, RESULT), stuck=True)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "silent, nobody knows since when": Step(run=IMPATIENT, seen=Seen(now=at(9999), job=JOB, pod=pod("Running", main={"running": {}})), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "not yet started, so not silent": Step(run=IMPATIENT, seen=Seen(now=at(500), job=JOB, pod=STARTING), action=Action.WAIT, phase="Pending", reason="Starting", look=5),
    "cancelled without a pod": Step(run=CANCELLED, seen=Seen(now=at(60), job=JOB), action=Action.STOP, phase="Pending", reason="Cancelling", look=5),
    "cancelled while pending": Step(run=CANCELLED, seen=Seen(now=at(60), job=JOB, pod=NO_NODE), action=Action.STOP, phase="Pending", reason="Cancelling", look=5),
    "cancelled while running": Step(run=CANCELLED, seen=Seen(now=at(60), job=JOB, pod=RUNNING, written=live(pod=RUNNING), written_at=at(59)), action=Action.STOP, phase="Running", reason="Cancelling", look=5),
    "deleted while pending": Step(run=DELETED, seen=Seen(now=at(60), job=JOB, pod=NO_NODE), action=Action.STOP, phase="Pending", reason="Deleting", look=5),
    "deleted while running": Step(run=DELETED, seen=Seen(now=at(60), job=JOB, pod=RUNNING), action=Action.STOP, phase="Running", reason="Deleting", look=5),
    "cancelled, and the Job goes away already": Step(run=CANCELLED, seen=Seen(now=at(60), job=DELETING_JOB, pod=RUNNING), action=Action.WAIT, phase="Running", reason="Cancelling", look=5),
    "cancelled, on record, and the Job goes away": Step(run=CANCELLED, seen=Seen(now=at(99), job=DELETING_JOB, pod=RUNNING, written=stopping("Cancelling", pod=RUNNING), written_at=at(60)), action=Action.WAIT, look=5),
    "cancelled, on record, and then the operator died": Step(run=CANCELLED, seen=Seen(now=at(99), job=JOB, pod=RUNNING, written=stopping("Cancelling", pod=RUNNING)), action=Action.STOP, look=5),
    "deleted, on record, and then the operator died": Step(run=DELETED, seen=Seen(now=at(99), job=JOB, pod=RUNNING, written=stopping("Deleting", pod=RUNNING)), action=Action.STOP, look=5),
    "a failed start on record, though the pod looks better now": Step(seen=Seen(now=at(99), job=JOB, pod=RUNNING, written=stopping("StartFailed", NO_IMAGE_FAILURE, pod=NO_IMAGE)), action=Action.STOP, phase="Running", reason="StartFailed", code=Code.IMAGE_PULL_FAILED, look=5),
    "a failed start on record, then cancelled": Step(run=CANCELLED, seen=Seen(now=at(99), job=JOB, pod=NO_IMAGE, written=stopping("StartFailed", NO_IMAGE_FAILURE, pod=NO_IMAGE)), action=Action.STOP, phase="Pending", reason="Cancelling", code=Code.IMAGE_PULL_FAILED, look=5),
    "cancelled, then also deleted": Step(run=run(cancel=True, deleting=True), seen=Seen(now=at(60), job=JOB, pod=RUNNING), action=Action.STOP, phase="Running", reason="Cancelling", look=5),
    "somebody else deletes the Job": Step(seen=Seen(now=at(60), job=DELETING_JOB, pod=RUNNING), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "its result was printed almost resultGraceSeconds ago": Step(seen=Seen(now=at(119.9), job=JOB, pod=RUNNING, log=said(INIT, RESULT)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "its result was printed resultGraceSeconds ago": Step(seen=Seen(now=at(120), job=JOB, pod=RUNNING, log=said(INIT, RESULT)), action=Action.STOP, phase="Running", reason="ResultGraceExceeded", look=5),
    "it went on after its result": Step(seen=Seen(now=at(9999), job=JOB, pod=RUNNING, log=said(INIT, RESULT, TURN)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "its result was printed long ago, but a task goes on in the background": Step(seen=Seen(now=at(9999), job=JOB, pod=RUNNING, log=said(INIT, IN_BACKGROUND, RESULT)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "it was silent for long, without a result": Step(seen=Seen(now=at(9999), job=JOB, pod=RUNNING, log=said(INIT, TURN)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "its result was read, nobody saw when": Step(seen=Seen(now=at(9999), job=JOB, pod=RUNNING, log=said(INIT, RESULT, grown=None)), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "its result was printed long ago and it has ended": Step(seen=Seen(now=at(9999), job=JOB, pod=ended(1, phase="Running"), log=said(INIT, RESULT)), action=Action.WAIT, phase="Pending", reason="Finishing", look=5),
    "the Job is gone, its pod not yet": Step(seen=Seen(now=at(119.9), job=GONE, pod=LEAVING), action=Action.WAIT, phase="Pending", reason="Terminating", look=5),
    "the Job is gone, its pod does not answer": Step(seen=Seen(now=at(120), job=GONE, pod=LEAVING), action=Action.DRAIN, look=1),
    "the Job is gone, and its pod was let go": Step(seen=Seen(now=at(99999), job=GONE, pod=RUNNING), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "its pod was let go, and has ended": Step(seen=Seen(now=at(99999), job=GONE, pod=ended(1)), action=Action.DRAIN, look=1),
    "its pod was let go, and it is cancelled": Step(run=CANCELLED, seen=Seen(now=at(60), job=GONE, pod=RUNNING), action=Action.STOP, phase="Running", reason="Cancelling", look=5),
    "its pod was let go, and is being stopped": Step(run=CANCELLED, seen=Seen(now=at(61), job=GONE, pod=LEAVING, written=stopping("Cancelling", pod=RUNNING)), action=Action.WAIT, look=5),
    "its pod goes, its Job is there": Step(seen=Seen(now=at(9999), job=JOB, pod=LEAVING), action=Action.WAIT, phase="Pending", reason="Terminating", look=5),
}  # fmt: skip

ENDS = {
    "exit code 0, long before the Job knows": Step(seen=Seen(now=at(100), job=JOB, pod=ended(0, phase="Running")), action=Action.DRAIN, look=1),
    "exit code 0, cancelled too late": Step(run=CANCELLED, seen=Seen(now=at(100), job=JOB, pod=ended(0, phase="Running"), log=DONE), action=Action.FINISH, phase="Succeeded", reason="Completed"),
    "another exit code, and the pod has not settled": Step(seen=Seen(now=at(100), job=FAILED, pod=ended(1, phase="Running")), action=Action.WAIT, phase="Pending", reason="Finishing", look=5),
    "another exit code": Step(seen=Seen(now=at(100), job=FAILED, pod=ended(1)), action=Action.DRAIN, look=1),
    "the pod has failed, the Job does not know": Step(seen=Seen(now=at(100), job=JOB, pod=ended(1)), action=Action.WAIT, phase="Pending", reason="Finishing", look=5),
    "the Job failed without a pod": Step(seen=Seen(now=at(100), job=FAILED), action=Action.DRAIN, look=1),
    "the Job failed, its pod still runs": Step(seen=Seen(now=at(100), job=FAILED, pod=RUNNING), action=Action.WAIT, phase="Running", reason="Running", look=5),
    "the Job failed, its pod is gone": Step(seen=Seen(now=at(100), job=FAILED, pod=pod("Running", gone=True)), action=Action.DRAIN, look=1),
    "the Job is gone with its pod": Step(seen=Seen(now=at(100), job=GONE, pod=pod("Running", main=builders.running(), gone=True)), action=Action.DRAIN, look=1),
    "success": Step(seen=Seen(now=at(100), job=COMPLETE, pod=ended(0), log=DONE), action=Action.FINISH, phase="Succeeded", reason="Completed"),
    "the agent's own failure": Step(seen=Seen(now=at(100), job=FAILED, pod=ended(1), log=said(INIT, WENT_WRONG, drained=True)), action=Action.FINISH, phase="Failed", reason="MaxTurns", code=Code.MAX_TURNS),
    "cancelled while it ran": Step(run=CANCELLED, seen=Seen(now=at(100), job=GONE, pod=ended(143), log=said(INIT, TURN, drained=True), written=stopping("Cancelling", pod=RUNNING)), action=Action.FINISH, phase="Cancelled", reason="Cancelled", code=Code.CANCELLED),
    "deleted while it ran": Step(run=DELETED, seen=Seen(now=at(100), job=GONE, pod=ended(143), log=said(INIT, TURN, drained=True), written=stopping("Deleting", pod=RUNNING)), action=Action.FINISH, phase="Cancelled", reason="Deleted", code=Code.CANCELLED),
    "cancelled before its pod was there": Step(run=CANCELLED, seen=Seen(now=at(100), job=GONE, log=said(drained=True)), action=Action.FINISH, phase="Cancelled", reason="Cancelled", code=Code.CANCELLED),
    "stopped for its failed start": Step(seen=Seen(now=at(100), job=GONE, pod=pod("Failed", gone=True), log=said(drained=True), written=stopping("StartFailed", NO_IMAGE_FAILURE, pod=NO_IMAGE)), action=Action.FINISH, phase="Failed", reason="ImagePullFailed", code=Code.IMAGE_PULL_FAILED),
    "stopped for its failed start, then cancelled": Step(run=CANCELLED, seen=Seen(now=at(100), job=GONE, log=said(drained=True), written=stopping("StartFailed", NO_IMAGE_FAILURE, pod=NO_IMAGE)), action=Action.FINISH, phase="Failed", reason="ImagePullFailed", code=Code.IMAGE_PULL_FAILED),
    "stopped after its result": Step(seen=Seen(now=at(100), job=GONE, pod=ended(137), log=DONE, written=stopping("ResultGraceExceeded", pod=RUNNING)), action=Action.FINISH, phase="Succeeded", reason="CompletedThenStopped"),
    "on record, but nobody knows its Job": Step(seen=Seen(now=at(100), job=GONE, log=said(drained=True), written=live(pod=RUNNING)), action=Action.FINISH, phase="Failed", reason="JobDeletedExternally", code=Code.JOB_DELETED_EXTERNALLY),
    "stopped after its deadline": Step(run=LIMITED, seen=Seen(now=at(200), job=GONE, pod=ended(143), log=said(INIT, TURN, drained=True), written=stopping("DeadlineExceeded", pod=RUNNING)), action=Action.FINISH, phase="Failed", reason="Timeout", code=Code.TIMEOUT),
    "stopped because its place was taken away": Step(seen=Seen(now=at(100), job=GONE, pod=ended(143), log=said(INIT, TURN, drained=True), written=stopping("Preempted", forensics.Failure(code=Code.POD_EVICTED, message="The Job was suspended."), pod=RUNNING)), action=Action.FINISH, phase="Failed", reason="PodEvicted", code=Code.POD_EVICTED),
    "stopped for its silence": Step(run=IMPATIENT, seen=Seen(now=at(200), job=GONE, pod=ended(143), log=said(INIT, TURN, drained=True), written=stopping("Stalled", pod=RUNNING)), action=Action.FINISH, phase="Failed", reason="RunStalled", code=Code.RUN_STALLED),
    "killed by the kernel": Step(seen=Seen(now=at(100), job=FAILED, pod=ended(137, reason="OOMKilled"), log=said(INIT, TURN, drained=True)), action=Action.FINISH, phase="Failed", reason="OomKilled", code=Code.OOM_KILLED),
}  # fmt: skip

AT_THE_GATE = {
    "its Job is held": Step(seen=Seen(now=at(0), job=HELD_JOB), action=Action.ADMIT),
    "another was marked ahead of it, and has gone": Step(seen=Seen(now=at(0), job=dataclasses.replace(HELD_JOB, gate="x")), action=Action.ADMIT),
    "it waits at the gate for a day": Step(seen=Seen(now=at(86400), job=HELD_JOB), action=Action.ADMIT),
    "its Job is held, another has the agent": Step(seen=Seen(now=at(0), job=HELD_JOB, busy_with="AgentRun other", occupied=True), action=Action.WAIT, phase="Queued", reason="AgentBusy", look=30),
    "that still has the agent": Step(seen=Seen(now=at(9), job=HELD_JOB, busy_with="other", occupied=True, written=waiting.queued(RUN, Seen(now=at(0), busy_with="other")), written_at=at(0)), action=Action.WAIT, look=30),
    "its Job is held, and it takes the other's place": Step(run=REPLACE, seen=Seen(now=at(0), job=HELD_JOB, busy_with="other", occupied=True), action=Action.REPLACE, phase="Queued", reason="Replacing", look=30),
    "its Job is held, a pod without a Job has the agent": Step(run=REPLACE, seen=Seen(now=at(0), job=HELD_JOB, busy_with="pod x"), action=Action.WAIT, phase="Queued", reason="AgentBusy", look=30),
    "its Job is held, and it may not wait": Step(run=FORBID, seen=Seen(now=at(0), job=HELD_JOB, busy_with="other"), action=Action.STOP, phase="Pending", reason="StartFailed", code=Code.CONCURRENT_RUN_BLOCKED, look=5),
    "its Job is held, it may not wait, and need not": Step(run=FORBID, seen=Seen(now=at(0), job=HELD_JOB), action=Action.ADMIT),
    "cancelled at the gate": Step(run=CANCELLED, seen=Seen(now=at(0), job=HELD_JOB), action=Action.STOP, phase="Pending", reason="Cancelling", look=5),
    "cancelled at the gate while another has the agent": Step(run=CANCELLED, seen=Seen(now=at(0), job=HELD_JOB, busy_with="other", occupied=True), action=Action.STOP, phase="Pending", reason="Cancelling", look=5),
    "deleted at the gate": Step(run=DELETED, seen=Seen(now=at(0), job=HELD_JOB), action=Action.STOP, phase="Pending", reason="Deleting", look=5),
    "deleted at the gate, and its Job is on its way": Step(run=DELETED, seen=Seen(now=at(1), job=dataclasses.replace(HELD_JOB, deleting=True), written=stopping("Deleting", job=HELD_JOB)), action=Action.WAIT, look=5),
    "suspended at the gate": Step(run=HELD, seen=Seen(now=at(0), job=HELD_JOB), action=Action.ADMIT),
    "refused at the gate": Step(seen=Seen(now=at(0), job=HELD_JOB, refusal=REFUSAL), action=Action.STOP, phase="Pending", reason="StartFailed", code=Code.JOB_CREATE_FAILED, look=5),
    "a stop on record at the gate": Step(seen=Seen(now=at(90), job=HELD_JOB, written=stopping("StartFailed", REFUSAL, job=HELD_JOB)), action=Action.STOP, look=5),
    "no answer at the gate for almost pendingSeconds": Step(seen=Seen(now=at(1599), job=HELD_JOB, trouble="timed out", trouble_since=at(1000)), action=Action.ADMIT),
    "no answer at the gate for pendingSeconds": Step(seen=Seen(now=at(1600), job=HELD_JOB, trouble="timed out", trouble_since=at(1000)), action=Action.STOP, phase="Pending", reason="StartFailed", code=Code.CONCURRENCY_GUARD_UNREACHABLE, look=5),
    "cancelled at the gate while the API is away": Step(run=CANCELLED, seen=Seen(now=at(9999), job=HELD_JOB, trouble="timed out", trouble_since=at(0)), action=Action.STOP, phase="Pending", reason="Cancelling", look=5),
    "its held Job is gone": Step(seen=Seen(now=at(9), job=dataclasses.replace(HELD_JOB, gone=True), log=said(drained=True)), action=Action.FINISH, phase="Failed", reason="JobDeletedExternally", code=Code.JOB_DELETED_EXTERNALLY),
    "its held Job is gone, as it was meant to": Step(run=CANCELLED, seen=Seen(now=at(9), job=dataclasses.replace(HELD_JOB, gone=True), log=said(drained=True), written=stopping("Cancelling", job=HELD_JOB)), action=Action.FINISH, phase="Cancelled", reason="Cancelled", code=Code.CANCELLED),
    "refused at the gate, its Job is gone": Step(run=FORBID, seen=Seen(now=at(9), job=dataclasses.replace(HELD_JOB, gone=True), log=said(drained=True), written=stopping("StartFailed", forensics.Failure(code=Code.CONCURRENT_RUN_BLOCKED, message="Taken."), job=HELD_JOB)), action=Action.FINISH, phase="Failed", reason="ConcurrentRunBlocked", code=Code.CONCURRENT_RUN_BLOCKED),
}  # fmt: skip

RETRIES = {
    "an attempt failed, and another may follow": Step(run=STUBBORN, seen=Seen(now=at(100), job=FAILED, pod=pod("Failed", reason="Evicted"), log=said(INIT, drained=True)), action=Action.RETRY, phase="Pending", reason="RetryBackoff"),
    "the second failed, and a third may follow": Step(run=SECOND, seen=Seen(now=at(100), job=FAILED, pod=pod("Failed", reason="Evicted"), log=said(INIT, drained=True), written={"attempt": 1}), action=Action.RETRY, phase="Pending", reason="RetryBackoff"),
    "the last one failed": Step(run=LAST, seen=Seen(now=at(100), job=FAILED, pod=pod("Failed", reason="Evicted"), log=said(INIT, drained=True), written={"attempt": 2}), action=Action.FINISH, phase="Failed", reason="PodEvicted", code=Code.POD_EVICTED),
    "its log is read before another attempt": Step(run=STUBBORN, seen=Seen(now=at(100), job=FAILED, pod=pod("Failed", reason="Evicted"), log=said(INIT)), action=Action.DRAIN, look=1),
    "it succeeded": Step(run=STUBBORN, seen=Seen(now=at(100), job=COMPLETE, pod=ended(0), log=DONE), action=Action.FINISH, phase="Succeeded", reason="Completed"),
    "what failed will fail again": Step(run=STUBBORN, seen=Seen(now=at(100), job=FAILED, pod=ended(1), log=said(INIT, WENT_WRONG, drained=True)), action=Action.FINISH, phase="Failed", reason="MaxTurns", code=Code.MAX_TURNS),
    "what failed is named": Step(run=PICKY, seen=Seen(now=at(100), job=FAILED, pod=ended(1), log=said(INIT, WENT_WRONG, drained=True)), action=Action.RETRY, phase="Pending", reason="RetryBackoff"),
    "what failed is not named": Step(run=PICKY, seen=Seen(now=at(100), job=FAILED, pod=pod("Failed", reason="Evicted"), log=said(INIT, drained=True)), action=Action.FINISH, phase="Failed", reason="PodEvicted", code=Code.POD_EVICTED),
    "cancelled in the second attempt": Step(run=attempts.current(run(retry={"limit": 2}, cancel=True), {"attempt": 1}), seen=Seen(now=at(100), job=GONE, pod=ended(143), log=said(INIT, drained=True), written={"attempt": 1}), action=Action.FINISH, phase="Cancelled", reason="Cancelled", code=Code.CANCELLED),
    "blocked, and it will try again": Step(run=run(concurrencyPolicy="Forbid", retry={"limit": 1}), seen=Seen(now=at(0), busy_with="other"), action=Action.RETRY, phase="Pending", reason="RetryBackoff"),
    "an adopted Job failed": Step(run=attempts.current(STUBBORN, {"reattachedFrom": "lost"}), seen=Seen(now=at(100), job=FAILED, pod=pod("Failed", reason="Evicted"), log=said(INIT, drained=True)), action=Action.FINISH, phase="Failed", reason="PodEvicted", code=Code.POD_EVICTED),
    "the pause has begun": Step(run=SECOND, seen=Seen(now=at(100), written=PAUSE, written_at=at(100)), action=Action.WAIT, look=20),
    "the pause goes on": Step(run=SECOND, seen=Seen(now=at(119.5), written=PAUSE, written_at=at(100)), action=Action.WAIT, look=0.5),
    "the pause goes on for long": Step(run=SECOND, seen=Seen(now=at(60), written=PAUSE, written_at=at(60)), action=Action.WAIT, look=30),
    "the pause is over": Step(run=SECOND, seen=Seen(now=at(120), written=PAUSE, written_at=at(100)), action=Action.ADMIT),
    "the pause is over, the agent is busy": Step(run=SECOND, seen=Seen(now=at(120), busy_with="other", written=PAUSE, written_at=at(100)), action=Action.WAIT, phase="Queued", reason="AgentBusy", look=30),
    "the agent is busy during the pause": Step(run=SECOND, seen=Seen(now=at(100), busy_with="other", written=PAUSE, written_at=at(100)), action=Action.WAIT, look=20),
    "it may not wait, but for its pause": Step(run=attempts.current(run(concurrencyPolicy="Forbid", retry={"limit": 2}), {"attempt": 1}), seen=Seen(now=at(100), busy_with="other", written=PAUSE, written_at=at(100)), action=Action.WAIT, look=20),
    "its last attempt's Job has not ended, and it may not wait for others": Step(run=attempts.current(run(concurrencyPolicy="Forbid", retry={"limit": 2}), {"attempt": 1}), seen=Seen(now=at(120), busy_with="Job x of an earlier attempt", own_leftover=True, written=PAUSE, written_at=at(100)), action=Action.WAIT, phase="Queued", reason="AgentBusy", look=30),
    "the same at the gate": Step(run=attempts.current(run(concurrencyPolicy="Forbid", retry={"limit": 2}), {"attempt": 1}), seen=Seen(now=at(120), job=HELD_JOB, busy_with="Job x of an earlier attempt", own_leftover=True), action=Action.WAIT, phase="Queued", reason="AgentBusy", look=30),
    "cancelled during the pause": Step(run=attempts.current(run(retry={"limit": 2}, cancel=True), {"attempt": 1}), seen=Seen(now=at(100), written=PAUSE), action=Action.FINISH, phase="Cancelled", reason="Cancelled", code=Code.CANCELLED),
    "suspended during the pause": Step(run=attempts.current(run(retry={"limit": 2}, suspend=True), {"attempt": 1}), seen=Seen(now=at(100), written=PAUSE), action=Action.WAIT, phase="Suspended", reason="Suspended"),
    "others found a limit, and it would wait for that": Step(run=STUBBORN, seen=Seen(now=at(0), limited_until=at(20)), action=Action.WAIT, phase="Queued", reason="UsageLimited", look=20),
    "others found a limit, and it would not": Step(seen=Seen(now=at(0), limited_until=at(20)), action=Action.ADMIT),
    "others found a limit, and its Job is there": Step(run=STUBBORN, seen=Seen(now=at(0), job=HELD_JOB, limited_until=at(20)), action=Action.ADMIT),
    "others found a limit, and it runs": Step(run=STUBBORN, seen=Seen(now=at(2), job=JOB, pod=RUNNING, limited_until=at(20)), action=Action.WAIT, phase="Running", reason="Running"),
    "others found a limit during its pause": Step(run=SECOND, seen=Seen(now=at(100), written=PAUSE, written_at=at(100), limited_until=at(500)), action=Action.WAIT, phase="Queued", reason="UsageLimited", look=30),
    "others found a limit that ends during its pause": Step(run=SECOND, seen=Seen(now=at(100), written=PAUSE, written_at=at(100), limited_until=at(110)), action=Action.WAIT, look=20),
    "the limit is over": Step(run=STUBBORN, seen=Seen(now=at(20), written=waiting.later(STUBBORN, Seen(now=at(0), limited_until=at(20)), at(20))), action=Action.ADMIT),
}  # fmt: skip

LADDER = BEFORE_JOB | STARTS | STOPS | ENDS | AT_THE_GATE | RETRIES


def test_no_row_of_the_ladder_is_lost() -> None:
    """The tables are merged by name: a name that stands twice would hide a row."""
    assert len(LADDER) == sum(map(len, (BEFORE_JOB, STARTS, STOPS, ENDS, AT_THE_GATE, RETRIES)))


@pytest.mark.parametrize("name", LADDER)
def test_each_rung_of_the_ladder(name: str) -> None:
    """What is seen gives this action, this status and this time of the next look."""
    step = LADDER[name]
    plan = status.plan(step.run, step.seen, CONFIG)
    write = plan.write or {}
    assert plan.action is step.action
    assert (write.get("phase", ""), write.get("reason", "")) == (step.phase, step.reason)
    assert write.get("error", {}).get("code", "") == step.code
    assert step.look in {None, plan.look_again}


def test_the_limits_are_those_of_the_run_and_of_the_settings() -> None:
    """Another pendingSeconds, resultGraceSeconds and start_confirm_seconds move the limits."""
    quick = run(timeouts={"pendingSeconds": 7, "resultGraceSeconds": 2})
    config = CONFIG.model_copy(update={"start_confirm_seconds": 1.0})
    seen = [
        Seen(now=at(7), trouble="no", trouble_since=at(0)),
        Seen(now=at(7), job=STARTED),
        Seen(now=at(92), job=JOB, pod=RUNNING, log=said(RESULT)),
        Seen(now=at(6), job=JOB, pod=NO_IMAGE, written=live(5, pod=NO_IMAGE)),
    ]
    assert [status.plan(quick, look, config).action for look in seen] == [Action.FINISH, *[Action.STOP] * 3]
    assert status.plan(RUN, seen[3], config).action is Action.STOP
    assert {status.plan(RUN, look, CONFIG).action for look in seen} == {Action.ADMIT, Action.WAIT}


@pytest.mark.parametrize(("interval", "look"), [(0, 0.05), (0.01, 0.05), (5, 5), (30, 30), (86400, 30)])
def test_a_live_run_is_looked_at_neither_all_the_time_nor_hardly_ever(interval: float, look: float) -> None:
    """progress_interval_seconds 0 is no busy loop, and a long one does not hold up limits and heartbeat."""
    config = CONFIG.model_copy(update={"progress_interval_seconds": interval})
    assert status.plan(RUN, Seen(now=at(9), job=JOB, pod=RUNNING), config).look_again == look


@pytest.mark.parametrize(("live_runs", "look"), [(0, 5), (50, 5), (100, 10), (250, 25), (10_000, 30)])
def test_many_live_runs_share_the_writes(live_runs: int, look: float) -> None:
    """progress_writes_per_second bounds those of all runs together; limits and heartbeat are looked at all the same."""
    seen = Seen(now=at(9), job=JOB, pod=RUNNING, live_runs=live_runs)
    assert status.plan(RUN, seen, CONFIG).look_again == look


@pytest.mark.parametrize("live_runs", [0, 50, 55, 100, 1000])
def test_runs_that_began_together_do_not_write_together(live_runs: int) -> None:
    """Each has its turn: not one writes before the interval is over, and each has its share."""
    every = max(5, live_runs / 10)
    times = []
    for number in range(50):
        quiet = dataclasses.replace(QUIET, job=dataclasses.replace(JOB, uid=f"job-{number}"), live_runs=live_runs)
        first = status.plan(RUN, quiet, CONFIG).write
        assert first is not None
        moments = [50.0]
        while moments[-1] < 50 + 20 * every:
            seen = dataclasses.replace(quiet, written={**first, "logBytes": 1}, written_at=at(moments[-1]))
            look, plan = moments[-1], status.Plan(action=status.Action.WAIT, look_again=0)
            while plan.write is None:
                assert plan.look_again <= 30
                look += plan.look_again
                plan = status.plan(RUN, dataclasses.replace(seen, now=at(look)), CONFIG)
            moments.append(look)
        pauses = [late - early for early, late in itertools.pairwise(moments)]
        assert min(pauses) >= 4.99
        assert max(pauses) <= every + 5.1
        assert sum(pauses) / len(pauses) == pytest.approx(every, rel=0.1)
        times.append(moments[2])
    assert max(times) - min(times) > 0.9 * every or live_runs < 100


@pytest.mark.parametrize(("since", "look"), [(0, 5), (1, 4), (4.9, 0.1), (4.99, 0.05)])
def test_progress_that_gathers_is_written_in_time(since: float, look: float) -> None:
    """The next look is when the interval since the last write is over, not a whole interval later."""
    seen = dataclasses.replace(
        QUIET, now=at(50 + since), written=live(50, pod=RUNNING), written_at=at(50), log=said(TURN, grown=40)
    )
    seen = dataclasses.replace(seen, written={**seen.written, "session": {"id": "s-1", "cwd": "/paperclip/w"}})
    plan = status.plan(RUN, seen, CONFIG)
    assert plan.write is None
    assert plan.look_again == pytest.approx(look)


# ------------------------------------------------------------------------------------------------- when it is written

QUIET = Seen(now=at(50), job=JOB, pod=RUNNING, log=said(INIT, TURN, grown=40))
SESSION_B = {**INIT, "session_id": "s-2"}


@pytest.mark.parametrize(
    ("what", "change", "since", "written"),
    [
        ("nothing", {}, 0, False),
        ("the heartbeat, too early", {}, 149.9, False),
        ("the heartbeat", {}, 150, True),
        ("progress, too early", {"log": said(INIT, TURN, TURN, grown=40)}, 4.9, False),
        ("progress", {"log": said(INIT, TURN, TURN, grown=40)}, 5, True),
        ("the node", {"pod": pod("Running", main=builders.running(), node="node-2")}, 4.9, False),
        ("phase", {"written": {**live(50, pod=RUNNING, log=QUIET.log), "phase": "Pending"}}, 0, True),
        ("job", {"job": job(uid="another")}, 0, True),
        ("session, too early", {"log": said(SESSION_B, TURN, grown=40)}, 4.9, False),
        ("session", {"log": said(SESSION_B, TURN, grown=40)}, 5, True),
        ("error", {"written": {**live(50, pod=RUNNING, log=QUIET.log), "error": {"code": "x"}}}, 0, False),
    ],
)
def test_what_is_written_at_once_and_what_gathers(what: str, change: Body, since: float, *, written: bool) -> None:
    """What people wait for is written at once, progress every 5 s, the heartbeat every 150 s."""
    now = at(50 + since)
    before = live(50, pod=RUNNING, log=QUIET.log)
    seen = dataclasses.replace(QUIET, **{"now": now, "written": before, "written_at": at(50), **change})
    assert (status.plan(RUN, seen, CONFIG).write is not None) is written, what


def test_after_a_restart_the_first_look_is_written() -> None:
    """A new operator does not know when the status was last written, and refreshes the heartbeat at once."""
    seen = dataclasses.replace(QUIET, now=at(51), written=live(50, pod=RUNNING, log=QUIET.log))
    write = status.plan(RUN, seen, CONFIG).write
    assert write is not None
    assert write["heartbeatTime"] == conditions.rfc3339(at(51))


@pytest.mark.parametrize("field", ["phase", "job", "error"])
def test_a_field_that_programs_wait_for_is_urgent(field: str) -> None:
    """Each of these may not wait for the next progress write, whether it comes, changes or goes."""
    before = {"phase": "Running", "job": {}, "error": {}}
    assert not fields.urgent(before, dict(before))
    assert fields.urgent(before, {**before, field: "other"})
    assert fields.urgent(before, {key: value for key, value in before.items() if key != field})


@pytest.mark.parametrize(
    "field", ["turns", "message", "reason", "usage", "lastTool", "heartbeatTime", "podName", "session"]
)
def test_progress_is_not_urgent(field: str) -> None:
    """What only tells how far it is can wait."""
    assert not fields.urgent({}, {field: 1})


@pytest.mark.parametrize(
    ("before", "after", "urgent"),
    [
        ({}, stopping("Cancelling"), True),
        (live(), stopping("Cancelling"), True),
        (stopping("Deleting"), stopping("Cancelling"), True),
        (stopping("Cancelling"), stopping("Cancelling"), False),
    ],
)
def test_the_reason_of_a_stop_is_urgent(before: Body, after: Body, *, urgent: bool) -> None:
    """The reason must be on record before the Job is deleted."""
    same: Body = {**after, **{key: before[key] for key in ("phase", "job") if key in before}}
    start: Body = {**{key: after[key] for key in ("phase", "job")}, **before}
    assert fields.urgent(start, same) is urgent


# ----------------------------------------------------------------------------------------------------- invariants

STDERR = "error: key sk-ant-0123456789abcdef is not valid\n"
runs = st.sampled_from([RUN, CANCELLED, DELETED, FORBID, STUBBORN])
jobs = st.sampled_from([None, JOB, HELD_JOB, DELETING_JOB, COMPLETE, FAILED, GONE])
pods = st.sampled_from(
    [
        None, STARTING, RUNNING, NO_NODE, NO_IMAGE, pod(deleting=True), LEAVING, pod("Running", main=builders.running(), gone=True), ended(0, phase="Running"), ended(0),
        ended(1, message="stdoutBytes=10 stderrBytes=3 token=abcdefgh"), ended(137, reason="OOMKilled"), ended(143), ended(1, signal=9),
        pod("Failed", reason="Evicted", message="The node was low on memory."),
    ]
)  # fmt: skip
logs = st.builds(
    dataclasses.replace,
    st.sampled_from(
        [
            status.LogSeen(),
            said(),
            said(INIT),
            said(INIT, TURN),
            said(INIT, TURN, RESULT),
            said(INIT, RESULT, TURN),
            said(INIT, WENT_WRONG),
        ]
    ),
    drained=st.booleans(),
    stderr_tail=st.sampled_from(["", STDERR]),
)
written = st.sampled_from(
    [
        {}, waiting.queued(RUN, Seen(now=at(0), busy_with="other")), live(), live(pod=RUNNING, log=said(INIT, TURN)), live(pod=NO_IMAGE), stopping("Cancelling", pod=RUNNING),
        stopping("StartFailed", NO_IMAGE_FAILURE, pod=NO_IMAGE), stopping("ResultGraceExceeded", pod=RUNNING, log=said(INIT, RESULT)),
    ]
)  # fmt: skip
observed = st.builds(
    Seen,
    now=st.sampled_from([at(0), at(55), at(100), at(700), at(99999)]),
    job=jobs,
    pod=pods,
    log=logs,
    busy_with=st.sampled_from(["", "other"]),
    trouble_since=st.sampled_from([None, at(1)]),
    refusal=st.sampled_from([None, REFUSAL]),
    written=written,
    written_at=st.sampled_from([None, at(52)]),
)
KEPT_BY_ATTEMPTS = ("session", "usage", "costUSD", "model")
KEPT = ("session", "usage", "costUSD", "turns", "model", "job", "logPath", "startTime", "runningTime", "podName")


def check_valid(write: Mapping[str, Any]) -> None:
    """The status is one that the API server accepts, and shows nothing that it must not."""
    parsed = models.AgentRunStatus.model_validate(write)
    known = parsed.model_dump(by_alias=True, exclude_none=True, mode="json")
    assert json.loads(json.dumps(write)).keys() <= known.keys() | {"conditions"}
    kinds = [condition.type for condition in parsed.conditions]
    assert len(kinds) == len(set(kinds))
    text = json.dumps(write)
    assert "purple heron" not in text
    assert "sk-ant-0123456789abcdef" not in text
    assert "abcdefgh" not in text


@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(run=runs, seen=observed)
def test_whatever_is_seen_the_status_is_valid_and_takes_nothing_back(
    run: models.AgentRun, seen: status.Observed
) -> None:
    """In every combination of states: a valid status, no secret in it, and nothing known is lost."""
    before = json.dumps(seen.written)
    plan = status.plan(run, seen, CONFIG)
    assert json.dumps(seen.written) == before, "what was written is not changed in place"
    assert plan.look_again > 0
    if plan.write is None:
        assert plan.action is not Action.FINISH
        return
    check_valid(plan.write)
    kept = KEPT_BY_ATTEMPTS if plan.action is Action.RETRY else KEPT
    assert {key for key in kept if key in seen.written} <= plan.write.keys()
    if seen.written.get("session"):
        assert plan.write["session"]["id"] == "s-1"
    if plan.action is not Action.FINISH:
        assert not models.Phase(plan.write["phase"]).final
        return
    end = models.AgentRunStatus.model_validate(plan.write)
    assert end.phase is not None
    assert end.phase.final
    assert end.reason
    assert end.message
    assert end.completion_time == conditions.rfc3339(seen.now)
    assert end.prompt_secret_name is None
    assert (end.error is None) == (end.phase is models.Phase.SUCCEEDED)
    completed = next(c for c in end.conditions if c.type == "Completed")
    assert (completed.status, completed.reason) == ("True", end.reason)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(run=runs, seen=st.builds(dataclasses.replace, observed, job=st.sampled_from([JOB, DELETING_JOB])))
def test_a_stop_is_on_record_before_the_job_is_deleted(run: models.AgentRun, seen: status.Observed) -> None:
    """Whoever finds the Job gone finds the reason in the status."""
    plan = status.plan(run, seen, CONFIG)
    if plan.action is Action.STOP:
        assert fields.recorded_stop(plan.write or seen.written) is not None


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(run=runs, seen=observed)
def test_a_plan_carried_out_is_not_planned_again(run: models.AgentRun, seen: status.Observed) -> None:
    """Once written, the same look at the world gives nothing more to write."""
    plan = status.plan(run, seen, CONFIG)
    if plan.write is None or plan.action is Action.FINISH:
        return
    after = dataclasses.replace(seen, written=plan.write, written_at=seen.now)
    if plan.action is Action.RETRY:  # all else was of the attempt that ended
        after = Seen(now=seen.now, written=plan.write, written_at=seen.now, busy_with=seen.busy_with)
    again = status.plan(attempts.current(run, plan.write), after, CONFIG)
    assert again.write is None
    assert again.action is (Action.WAIT if plan.action is Action.RETRY else plan.action)


def test_the_secret_is_named_while_it_is_there() -> None:
    """promptSecretName is part of the status until the end."""
    name = names.prompt_secret_name(JOB.name)
    assert live()["promptSecretName"] == name
    assert stopping("Cancelling")["promptSecretName"] == name
