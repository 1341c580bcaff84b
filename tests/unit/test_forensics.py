"""The verdict, as a table: every cause, every combination that was once judged wrongly, and every real transcript."""

# ruff: noqa: E501 - one row of a table, one line

import dataclasses
import datetime as dt
import itertools
import json
import pathlib
import re
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import facts, forensics, progress, redaction
from agentrun_operator.errors import ErrorCode as Code
from agentrun_operator.forensics import messages
from agentrun_operator.forensics import Intent

TRANSCRIPTS = pathlib.Path(__file__).parents[1] / "data" / "transcripts"
INDEX = json.loads((TRANSCRIPTS / "index.json").read_text())
NOW = dt.datetime(2026, 11, 21, 10, 30, tzinfo=dt.UTC)

Event = dict[str, Any]

# ------------------------------------------------------------------------------------------------ how to say things

INIT: Event = {"type": "system", "subtype": "init", "session_id": "s", "model": "claude-opus-5-5"}
TEXT: Event = {"type": "assistant", "message": {"id": "m1", "content": [{"type": "text", "text": "Working."}]}}
TOOL: Event = {
    "type": "assistant",
    "message": {"id": "m2", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}]},
}
DEGRADED: Event = {
    "type": "assistant",
    "message": {"id": "m3", "content": [], "stop_reason": None, "usage": {"output_tokens": 0}},
}
GOOD: Event = {"type": "result", "subtype": "success", "is_error": False, "result": "Done."}
RETRY: Event = {"type": "system", "subtype": "api_retry", "attempt": 5, "max_retries": 10, "error_status": 500}
REJECTED: Event = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1795259773}}
STDERR = "error: unknown option '--frobnicate'\n"


def failed(text: str = "API Error", **fields: Any) -> Event:
    """A result as the CLI prints it for a failed API call: subtype success, is_error true."""
    return {"type": "result", "subtype": "success", "is_error": True, "result": text, **fields}


def ended(subtype: str, *errors: str, **fields: Any) -> Event:
    """A result of another subtype."""
    return {"type": "result", "subtype": subtype, "is_error": True, "errors": list(errors), **fields}


def synthetic(error: str | None, text: str = "API Error", **fields: Any) -> Event:
    """The CLI's own message for a failed call."""
    message = {"model": "<synthetic>", "content": [{"type": "text", "text": text}]}
    return {"type": "assistant", "message": message, "error": error, **fields}


def fold(*events: Event) -> progress.Transcript:
    """The transcript of these events."""
    seen = progress.Progress()
    for event in events:
        seen.feed(json.dumps(event).encode() + b"\n")
    return seen.snapshot()


def exited(code: int, reason: str = "", message: str = "") -> facts.ContainerFacts:
    """The agent's container, ended."""
    return facts.ContainerFacts(name="claude", terminated=True, exit_code=code, reason=reason, message=message)


def waiting(reason: str, message: str = "", name: str = "claude") -> facts.ContainerFacts:
    """A container that has not started."""
    return facts.ContainerFacts(name=name, waiting_reason=reason, waiting_message=message)


RUNNING = facts.ContainerFacts(name="claude", running=True)
INIT_OK = facts.ContainerFacts(name="prepare", terminated=True, exit_code=0)
INIT_BAD = facts.ContainerFacts(name="prepare", terminated=True, exit_code=1, reason="Error", message="no PVC")
INIT_UNKNOWN = facts.ContainerFacts(name="prepare", terminated=True)


def pod(*conditions: tuple[str, str, str, str], **fields: Any) -> facts.PodFacts:
    """The run's pod; conditions are (type, status, reason, message)."""
    found = tuple(facts.Condition(type=t, status=s, reason=r, message=m) for t, s, r, m in conditions)
    return facts.PodFacts(**{"name": "p", "uid": "u", "phase": "Failed", "node": "n1", "conditions": found, **fields})


def job(*conditions: tuple[str, str], **fields: Any) -> facts.JobFacts:
    """The run's Job; conditions are (type, reason), all true."""
    found = tuple(facts.Condition(type=t, status="True", reason=r) for t, r in conditions)
    return facts.JobFacts(name="j", namespace="ns", uid="u", conditions=found, **fields)


def disrupted(disruption: str, **fields: Any) -> facts.PodFacts:
    """A pod that Kubernetes took away."""
    return pod(("DisruptionTarget", "True", disruption, "taken away"), **fields)


def known(*events: Event, code: int | None = None, **fields: Any) -> forensics.Facts:
    """The facts of a run that printed ``events`` and ended with ``code``."""
    if code is not None:
        fields["exit"] = exited(code)
    return forensics.Facts(**{"transcript": fold(*events), "now": NOW, **fields})


def orphan(code: Code) -> forensics.Failure:
    """What a run is refused for when a Job without an AgentRun has its agent."""
    return forensics.Failure(code=code, message="Job j of the agent a is still running and its AgentRun is gone.")


UNSCHEDULABLE = pod(("PodScheduled", "False", "Unschedulable", "0/3 nodes: Insufficient memory"), phase="Pending")
PULL = forensics.Failure(code=Code.IMAGE_PULL_FAILED, message="The image could not be pulled.")
COMPLETE, FAILED = job(("Complete", "")), job(("Failed", "BackoffLimitExceeded"))
LATE = job(("Failed", "DeadlineExceeded"))


def cut(finished: str, **fields: Any) -> forensics.Facts:
    """The facts of a run with a limit of one minute whose agent was killed when its pod was deleted."""
    agent = dataclasses.replace(exited(143), finished_at=finished)
    began = job(("Failed", "BackoffLimitExceeded"), started_at="2026-11-21T10:00:00Z")
    gone = pod(deletion_time="2026-11-21T10:01:12Z")
    return known(INIT, TOOL, **{"exit": agent, "job": began, "pod": gone, "limit_seconds": 60, **fields})


def unseen(failed_at: str, **fields: Any) -> forensics.Facts:
    """The facts of a run with a limit of one minute whose Job failed at that time, with a pod that nobody saw."""
    failure = facts.Condition(type="Failed", status="True", reason="BackoffLimitExceeded", since=failed_at)
    began = facts.JobFacts(name="j", namespace="ns", uid="u", conditions=(failure,), started_at="2026-11-21T10:00:00Z")
    return known(**{"job": began, "limit_seconds": 60, **fields})


OLD_400 = 'API Error: 400 {"type":"error","error":{"type":"invalid_request_error","message":"%s"},"request_id":"r"}'

# ------------------------------------------------------------------------------------------------ the table

Row = tuple[str, forensics.Facts, Code | None]

SUCCESS: list[Row] = [
    ("all four hold", known(INIT, TEXT, GOOD, code=0), None),
    ("an empty answer is an answer", known(INIT, {**GOOD, "result": ""}, code=0), None),
    ("a slash command has no init and no turns", known(GOOD, code=0), None),
    ("the last result counts: error, then success", known(INIT, failed(), INIT, GOOD, code=0), None),
    ("events after the result do not matter when the process ended well", known(GOOD, INIT, TEXT, code=0), None),
    ("cancel came too late", known(INIT, GOOD, code=0, intent=Intent.CANCEL), None),
    ("deadline came too late", known(INIT, GOOD, code=0, intent=Intent.DEADLINE), None),
    ("warnings on stderr", known(INIT, GOOD, code=0, stderr_tail="[claude-code:unrecognized_model] {}"), None),
    ("a child was killed for memory", known(GOOD, exit=exited(0, "OOMKilled")), None),
    ("Job failed for another container", known(GOOD, code=0, job=FAILED), None),
    ("we stopped a process that hung after its result", known(GOOD, code=143, intent=Intent.RESULT_GRACE), None),
    ("the same, killed", known(GOOD, code=137, intent=Intent.RESULT_GRACE), None),
    ("the same, exit unseen", known(GOOD, intent=Intent.RESULT_GRACE), None),
    ("a cause was recorded, but the agent finished", known(GOOD, code=143, recorded=PULL), None),
    ("Job deleted after the result, exit unseen", known(GOOD, job=job(gone=True)), None),
    ("node lost after the result", known(GOOD, pod=disrupted("DeletionByPodGC", gone=True)), None),
    ("the kubelet made the exit code up", known(GOOD, exit=exited(137, "ContainerStatusUnknown")), None),
    ("exit known from the pod", known(GOOD, pod=pod(main=exited(0), phase="Succeeded")), None),
]

INTENT: list[Row] = [
    ("cancelled in the middle", known(INIT, TOOL, code=143, intent=Intent.CANCEL), Code.CANCELLED),
    ("cancelled before the start", known(intent=Intent.CANCEL), Code.CANCELLED),
    ("cancelled after the result, before the exit", known(GOOD, code=143, intent=Intent.CANCEL), Code.CANCELLED),
    ("cancelled, result there, exit unseen", known(GOOD, intent=Intent.CANCEL), Code.CANCELLED),
    ("cancelled while the API failed", known(INIT, failed(api_error_status=401), code=1, intent=Intent.CANCEL), Code.CANCELLED),
    ("cancelled by INT, aborted result", known(INIT, ended("error_during_execution", terminal_reason="aborted_tools"), code=143, intent=Intent.CANCEL), Code.CANCELLED),
    ("cancelled wins over the memory it ran out of", known(INIT, exit=exited(137, "OOMKilled"), intent=Intent.CANCEL), Code.CANCELLED),
    ("AgentRun deleted", known(INIT, code=143, intent=Intent.DELETE), Code.CANCELLED),
    ("replaced by a newer run", known(INIT, code=143, intent=Intent.REPLACED), Code.CANCELLED),
    ("deadline with output", known(INIT, TOOL, code=143, intent=Intent.DEADLINE, limit_seconds=60), Code.TIMEOUT),
    ("deadline without output", known(code=137, intent=Intent.DEADLINE), Code.TIMEOUT),
    ("deadline, exit unseen, result there", known(GOOD, intent=Intent.DEADLINE), Code.TIMEOUT),
    ("deadline before the start", known(intent=Intent.DEADLINE), Code.TIMEOUT),
    ("stalled", known(INIT, TEXT, code=143, intent=Intent.STALL, limit_seconds=300), Code.RUN_STALLED),
    ("recorded cause", known(recorded=PULL, job=job(gone=True)), Code.IMAGE_PULL_FAILED),
    ("recorded cause wins over what the stop did", known(INIT, code=143, recorded=PULL), Code.IMAGE_PULL_FAILED),
    ("an orphan Job nobody can tell the task of", known(recorded=orphan(Code.ORPHAN_TASK_UNKNOWN)), Code.ORPHAN_TASK_UNKNOWN),
    ("an orphan Job of another task", known(recorded=orphan(Code.ORPHAN_TASK_MISMATCH)), Code.ORPHAN_TASK_MISMATCH),
    ("an orphan Job of another session", known(recorded=orphan(Code.ORPHAN_SESSION_MISMATCH)), Code.ORPHAN_SESSION_MISMATCH),
    ("an orphan Job in the way, then cancelled", known(recorded=orphan(Code.ORPHAN_TASK_MISMATCH), intent=Intent.CANCEL), Code.ORPHAN_TASK_MISMATCH),
    ("result grace, but the result is an error", known(INIT, failed(api_error_status=401), code=143, intent=Intent.RESULT_GRACE), Code.AUTH_REQUIRED),
    ("result grace, max turns", known(INIT, ended("error_max_turns"), code=137, intent=Intent.RESULT_GRACE), Code.MAX_TURNS),
]  # fmt: skip

CLUSTER: list[Row] = [
    ("out of memory", known(INIT, TOOL, exit=exited(137, "OOMKilled")), Code.OOM_KILLED),
    ("out of memory after a good result", known(GOOD, exit=exited(137, "OOMKilled")), Code.OOM_KILLED),
    ("out of memory at the start", known(exit=exited(137, "OOMKilled")), Code.OOM_KILLED),
    ("out of memory, another code, no result", known(INIT, exit=exited(1, "OOMKilled")), Code.OOM_KILLED),
    ("a child was out of memory, then max turns", known(INIT, ended("error_max_turns"), exit=exited(1, "OOMKilled")), Code.MAX_TURNS),
    ("a child was out of memory, output lost", known(INIT, TEXT, exit=exited(0, "OOMKilled")), Code.TRUNCATED),
    ("137 without the kernel's word", known(INIT, TOOL, code=137), Code.TRUNCATED),
    ("evicted, by reason", known(INIT, TOOL, code=143, pod=pod(reason="Evicted", message="The node was low on memory")), Code.POD_EVICTED),
    ("evicted, by condition", known(INIT, TOOL, code=143, pod=disrupted("EvictionByEvictionAPI")), Code.POD_EVICTED),
    ("preempted", known(pod=disrupted("PreemptionByScheduler")), Code.POD_EVICTED),
    ("node shut down", known(INIT, code=137, pod=disrupted("TerminationByKubelet", reason="Terminated")), Code.POD_EVICTED),
    ("drained by a taint, exit seen", known(INIT, code=143, pod=disrupted("DeletionByTaintManager")), Code.POD_EVICTED),
    ("evicted although the result is good", known(GOOD, code=143, pod=pod(reason="Evicted")), Code.POD_EVICTED),
    ("evicted: aborted result is the effect", known(INIT, ended("error_during_execution", terminal_reason="aborted_streaming"), code=143, pod=disrupted("EvictionByEvictionAPI")), Code.POD_EVICTED),
    ("the same, exit 0", known(INIT, ended("error_during_execution", terminal_reason="aborted_tools"), code=0, pod=disrupted("EvictionByEvictionAPI")), Code.POD_EVICTED),
    ("evicted and killed: what the API did before is not the cause", known(INIT, failed(api_error_status=529), code=143, pod=disrupted("EvictionByEvictionAPI")), Code.POD_EVICTED),
    ("failed by itself, evicted afterwards", known(INIT, failed(api_error_status=401), code=1, pod=disrupted("TerminationByKubelet")), Code.AUTH_REQUIRED),
    ("node lost, by reason", known(INIT, pod=pod(reason="NodeLost", message="Node n1 is unresponsive")), Code.NODE_LOST),
    ("node lost, pod collected", known(INIT, pod=disrupted("DeletionByPodGC", gone=True)), Code.NODE_LOST),
    ("node unreachable, exit unseen", known(INIT, TEXT, pod=disrupted("DeletionByTaintManager", node="")), Code.NODE_LOST),
    ("kubelet forgot the container", known(INIT, TEXT, pod=pod(main=exited(137, "ContainerStatusUnknown"))), Code.NODE_LOST),
    ("kubelet forgot the container of an evicted pod", known(pod=pod(("DisruptionTarget", "True", "TerminationByKubelet", ""), main=exited(137, "ContainerStatusUnknown"))), Code.POD_EVICTED),
    ("a condition that is not true", known(INIT, TEXT, code=0, pod=pod(("DisruptionTarget", "False", "x", ""))), Code.TRUNCATED),
    ("Job deadline", known(INIT, TOOL, code=143, job=LATE), Code.TIMEOUT),
    ("Job gone, exit unseen, the CLI was interrupted", known(INIT, TEXT, ended("error_during_execution", terminal_reason="aborted_tools"), job=job(gone=True)), Code.JOB_DELETED_EXTERNALLY),
    ("Job deadline, of which Kubernetes lost sight", cut("2026-11-21T10:01:00Z"), Code.TIMEOUT),
    ("killed with its pod before the Job's time was up", cut("2026-11-21T10:00:59Z"), Code.TRUNCATED),
    ("killed after the limit, and nobody deleted its pod", cut("2026-11-21T10:02:00Z", pod=pod()), Code.TRUNCATED),
    ("killed, and it is not known when the Job began", cut("2026-11-21T10:02:00Z", job=FAILED), Code.TRUNCATED),
    ("killed, and there is no limit", cut("2026-11-21T10:02:00Z", limit_seconds=0), Code.TRUNCATED),
    ("the same, and nobody saw the pod", unseen("2026-11-21T10:01:00Z"), Code.TIMEOUT),
    ("the same, and nobody saw what became of the pod", unseen("2026-11-21T10:01:00Z", pod=pod(gone=True, unseen=True, phase="Pending")), Code.TIMEOUT),
    ("a pod that nobody saw, before the Job's time was up", unseen("2026-11-21T10:00:59Z"), Code.POD_SCHEDULE_FAILED),
    ("the same, and it is not known when", unseen(""), Code.POD_SCHEDULE_FAILED),
    ("the same, without a limit", unseen("2026-11-21T10:02:00Z", limit_seconds=0), Code.POD_SCHEDULE_FAILED),
    ("Job deadline, pod never there", known(job=LATE), Code.TIMEOUT),
    ("init container failed", known(pod=pod(init=(INIT_OK, INIT_BAD), main=waiting("PodInitializing"))), Code.INIT_FAILED),
    ("init container failed without words", known(pod=pod(init=(facts.ContainerFacts(name="i", terminated=True, exit_code=2),))), Code.INIT_FAILED),
    ("init code unknown is no failure of init", known(pod=pod(init=(INIT_UNKNOWN,), reason="UnexpectedAdmissionError")), Code.POD_SCHEDULE_FAILED),
    ("image pull", known(pod=pod(phase="Pending", main=waiting("ErrImagePull", "not found"))), Code.IMAGE_PULL_FAILED),
    ("image pull, later", known(pod=pod(phase="Pending", main=waiting("ImagePullBackOff"))), Code.IMAGE_PULL_FAILED),
    ("image name", known(pod=pod(phase="Pending", main=waiting("InvalidImageName"))), Code.IMAGE_PULL_FAILED),
    ("image of an init container", known(pod=pod(phase="Pending", init=(waiting("ErrImagePull", name="prepare"),))), Code.IMAGE_PULL_FAILED),
    ("missing Secret", known(pod=pod(phase="Pending", main=waiting("CreateContainerConfigError", 'secret "x" not found'))), Code.POD_CONFIG_ERROR),
    ("container not created", known(pod=pod(phase="Pending", main=waiting("CreateContainerError"))), Code.POD_CONFIG_ERROR),
    ("container not run", known(pod=pod(phase="Pending", main=waiting("RunContainerError"))), Code.POD_CONFIG_ERROR),
    ("no such command", known(exit=exited(128, "StartError", "exec: no such file"), pod=pod()), Code.POD_CONFIG_ERROR),
    ("no node", known(pod=UNSCHEDULABLE, job=job()), Code.UNSCHEDULABLE),
    ("scheduled in the end", known(INIT, code=1, pod=UNSCHEDULABLE), Code.CLAUDE_INIT_FAILED),
    ("not scheduled for another reason", known(pod=pod(("PodScheduled", "False", "SchedulerError", ""), phase="Pending")), Code.POD_SCHEDULE_FAILED),
    ("quota, by reason", known(job=job(("Suspended", "QuotaExceeded"))), Code.QUOTA_EXCEEDED),
    ("quota, by words", known(pod=pod(("PodScheduled", "False", "x", "pods is forbidden: exceeded quota: q"), phase="Pending")), Code.QUOTA_EXCEEDED),
    ("quota, but it started", known(INIT, TEXT, code=0, job=job(("Suspended", "QuotaExceeded"))), Code.TRUNCATED),
    ("node refused the pod", known(pod=pod(reason="OutOfcpu", message="no cpu")), Code.POD_SCHEDULE_FAILED),
    ("Job without pod", known(job=job()), Code.POD_SCHEDULE_FAILED),
    ("volume pending", known(job=job(), pod=pod(phase="Pending", main=waiting("ContainerCreating"))), Code.POD_SCHEDULE_FAILED),
    ("pod waits for nothing known", known(pod=pod(phase="Pending", main=facts.ContainerFacts(name="claude"))), Code.POD_SCHEDULE_FAILED),
]  # fmt: skip

LOST: list[Row] = [
    ("Job deleted, no result", known(INIT, TEXT, job=job(gone=True), detection="a watch event"), Code.JOB_DELETED_EXTERNALLY),
    ("Job being deleted", known(INIT, TEXT, job=job(deleting=True)), Code.JOB_DELETED_EXTERNALLY),
    ("pod deleted", known(INIT, TEXT, job=FAILED, pod=pod(gone=True)), Code.JOB_DELETED_EXTERNALLY),
    ("pod being deleted, Job not", known(INIT, job=job(), pod=pod(deletion_time="2026-11-21T10:00:00Z", phase="Running")), Code.JOB_DELETED_EXTERNALLY),
    ("pod deleted before it started", known(pod=pod(gone=True, phase="Pending")), Code.JOB_DELETED_EXTERNALLY),
    ("Job deleted, error result", known(INIT, failed(api_error_status=529), job=job(gone=True)), Code.OVERLOADED),
    ("Job deleted, exit seen", known(INIT, TOOL, code=143, job=job(gone=True)), Code.TRUNCATED),
    ("Job deleted, exit seen, result good", known(GOOD, code=143, job=job(gone=True)), Code.ADAPTER_FAILED),
    ("Job deleted while the agent went on after its result", known(GOOD, INIT, TEXT, job=job(gone=True)), Code.JOB_DELETED_EXTERNALLY),
    ("Job ended, container still runs", known(INIT, TEXT, job=FAILED, pod=pod(main=RUNNING, phase="Running")), Code.JOB_STATE_MISMATCH),
    ("Job complete, agent failed", known(INIT, TEXT, code=1, job=COMPLETE), Code.JOB_STATE_MISMATCH),
    ("Job complete, agent killed after a good result", known(GOOD, code=137, job=COMPLETE), Code.JOB_STATE_MISMATCH),
    ("Job failed, agent ended well without result", known(INIT, TEXT, code=0, job=FAILED), Code.JOB_STATE_MISMATCH),
    ("Job complete, but the result names the cause", known(INIT, failed(api_error_status=401), code=1, job=COMPLETE), Code.AUTH_REQUIRED),
    ("Job and agent agree", known(INIT, TEXT, code=1, job=FAILED), Code.TRUNCATED),
    ("log missing, exit 0", known(code=0, log_found=False), Code.POD_LOG_FILE_MISSING),
    ("log missing, exit 1, no words", known(code=1, log_found=False, stderr_tail=" \n"), Code.POD_LOG_FILE_MISSING),
    ("log missing, but stderr says why", known(code=1, log_found=False, stderr_tail=STDERR), Code.CLAUDE_STARTUP_FAILED),
    ("log missing, but a signal says why", known(code=137, log_found=False), Code.TRUNCATED),
    ("log missing, still running", known(exit=RUNNING, log_found=False), Code.POD_LOG_FILE_MISSING),
    ("nothing is known", known(), Code.ADAPTER_FAILED),
    ("running, says nothing", known(exit=RUNNING, detection="a restart"), Code.ADAPTER_FAILED),
    ("good result, exit 1", known(INIT, GOOD, code=1), Code.ADAPTER_FAILED),
    ("good result, killed by nobody we know", known(INIT, GOOD, code=143), Code.ADAPTER_FAILED),
]  # fmt: skip

PROCESS: list[Row] = [
    ("unknown flag", known(code=1, stderr_tail=STDERR), Code.CLAUDE_STARTUP_FAILED),
    ("missing system prompt file", known(code=1, stderr_tail="Error: Append system prompt file not found: /nope"), Code.CLAUDE_STARTUP_FAILED),
    ("root with skip permissions", known(code=1, stderr_tail="--dangerously-skip-permissions cannot be used with root/sudo privileges"), Code.CLAUDE_STARTUP_FAILED),
    ("bad session id", known(code=1, stderr_tail="Error: Invalid session ID. Must be a valid UUID."), Code.CLAUDE_STARTUP_FAILED),
    ("no words at all", known(code=1), Code.CLAUDE_STARTUP_FAILED),
    ("no such command", known(code=127, stderr_tail="claude: not found"), Code.CLAUDE_STARTUP_FAILED),
    ("not executable", known(code=126), Code.CLAUDE_STARTUP_FAILED),
    ("only init", known(INIT, code=1), Code.CLAUDE_INIT_FAILED),
    ("only init, while the API failed", known(INIT, RETRY, code=1), Code.CLAUDE_INIT_FAILED),
    ("hooks only, exit 1", known({"type": "system", "subtype": "hook_started"}, code=1), Code.TRUNCATED),
    ("unknown session, old CLI", known(code=1, stderr_tail="No conversation found with session ID: x"), Code.SESSION_UNAVAILABLE),
    ("the same words from a tool are not about the session", known(INIT, TEXT, code=1, stderr_tail="No conversation found"), Code.TRUNCATED),
    ("stdout lost: exit 0, only init", known(INIT, code=0), Code.TRUNCATED),
    ("stdout lost: exit 0, nothing", known(code=0), Code.TRUNCATED),
    ("sigterm while stdout is blocked: exit 0, last line cut", known(INIT, TEXT, code=0), Code.TRUNCATED),
    ("SIGTERM mid-tool", known(INIT, TOOL, code=143), Code.TRUNCATED),
    ("SIGTERM while retrying", known(INIT, RETRY, code=143), Code.TRUNCATED),
    ("SIGINT at startup", known(code=130), Code.TRUNCATED),
    ("SIGHUP", known(INIT, code=129), Code.TRUNCATED),
    ("degraded answer, exit 0", known(INIT, DEGRADED, code=0), Code.LLM_API_ERROR),
    ("degraded answer, exit 1", known(INIT, TEXT, DEGRADED, code=1), Code.LLM_API_ERROR),
    ("killed in the middle of an answer", known(INIT, DEGRADED, code=143), Code.TRUNCATED),
    ("degraded answer, then a result", known(INIT, DEGRADED, GOOD, code=0), None),
    ("API failure printed, result lost", known(INIT, synthetic("rate_limit", api_error_status=429), code=1), Code.RATE_LIMITED),
    ("API failure printed by an old CLI, result lost", known(INIT, synthetic(None, "API Error: Connection error."), code=1), Code.LLM_UNREACHABLE),
    ("the CLI's own words that are no failure", known(INIT, TEXT, synthetic(None, "No response requested."), code=1), Code.TRUNCATED),
    ("killed after an API failure", known(INIT, synthetic("rate_limit", api_error_status=429), code=143), Code.TRUNCATED),
]  # fmt: skip

RESULTS: list[Row] = [
    (f"{name}, exit {code}", known(INIT, *before, event, code=code), expected)
    for code in (1, 0)
    for name, before, event, expected in (
        ("max turns", (), ended("error_max_turns", "Reached maximum number of turns (2)"), Code.MAX_TURNS),
        ("max turns, old", (), {**ended("error_max_turns"), "is_error": False}, Code.MAX_TURNS),
        ("budget", (), ended("error_max_budget_usd", "Reached maximum budget ($0.01)"), Code.BUDGET_EXCEEDED),
        ("budget, old", (), {**ended("error_max_budget_usd"), "is_error": False}, Code.BUDGET_EXCEEDED),
        ("SIGINT", (), ended("error_during_execution", "[ede_diagnostic] x", terminal_reason="aborted_tools"), Code.TRUNCATED),
        ("execution error", (), ended("error_during_execution", "boom"), Code.RESULT_ERROR),
        ("execution error without words", (), ended("error_during_execution"), Code.RESULT_ERROR),
        ("empty answer, old", (), {**ended("error_during_execution"), "is_error": False}, Code.EMPTY_RESULT),
        ("new subtype", (), ended("error_max_structured_output_retries"), Code.RESULT_ERROR),
        ("no subtype", (), {"type": "result", "is_error": False}, Code.RESULT_ERROR),
        ("is_error missing", (), {"type": "result", "subtype": "success"}, Code.RESULT_ERROR),
        ("is_error of a wrong type", (), {**GOOD, "is_error": "false"}, Code.RESULT_ERROR),
        ("no cause", (), failed("I tried."), Code.RESULT_ERROR),
        ("numbers inside words are no status", (TEXT,), failed("API Error: it said 529x and then ECONNRESET"), Code.LLM_UNREACHABLE),
        ("401", (), failed("Invalid API key · Fix external API key", api_error_status=401), Code.AUTH_REQUIRED),
        ("403", (), failed("Failed to authenticate. API Error: 403 x", api_error_status=403), Code.AUTH_REQUIRED),
        ("not logged in", (synthetic("authentication_failed"),), failed("Not logged in · Please run /login"), Code.AUTH_REQUIRED),
        ("no key, old", (synthetic(None),), failed("Invalid API key · Please run /login"), Code.AUTH_REQUIRED),
        ("expired token, old", (), failed('API Error: 401 {"error":{"message":"OAuth token has expired."}} · Please run /login'), Code.AUTH_REQUIRED),
        ("disabled organisation", (synthetic("invalid_request"),), failed("x", api_error_status=400, api_error="org_disabled_credential"), Code.AUTH_REQUIRED),
        ("disabled organisation, by words", (), failed("Your ANTHROPIC_API_KEY belongs to a disabled organization", api_error_status=400), Code.AUTH_REQUIRED),
        ("disabled organisation, old", (), failed(OLD_400 % "This organization has been disabled."), Code.AUTH_REQUIRED),
        ("credit, 400", (synthetic("billing_error", api_error_status=400),), failed("Credit balance is too low", api_error_status=400), Code.BILLING_ERROR),
        ("credit, 402", (), failed("x", api_error_status=402), Code.BILLING_ERROR),
        ("credit, old", (), failed("Credit balance is too low"), Code.BILLING_ERROR),
        ("429", (synthetic("rate_limit"),), failed("API Error: Request rejected (429) · x", api_error_status=429), Code.RATE_LIMITED),
        ("429, old", (synthetic("unknown"),), failed('API Error: 429 {"error":{"type":"rate_limit_error"}}'), Code.RATE_LIMITED),
        ("429 without a number", (), failed('API Error: {"error":{"type":"rate_limit_error"}}'), Code.RATE_LIMITED),
        ("429 by word alone", (synthetic("rate_limit"),), failed("x"), Code.RATE_LIMITED),
        ("usage limit", (REJECTED,), failed("You've hit your 5-hour limit · resets 11am (UTC)", api_error_status=429, api_error="usage_limit_reached"), Code.USAGE_LIMITED),
        ("usage limit, by window", (REJECTED,), failed("API Error: 429 x", api_error_status=429), Code.USAGE_LIMITED),
        ("usage limit, by words", (), failed("5-hour limit reached ∙ resets 3pm"), Code.USAGE_LIMITED),
        ("usage limit, oldest", (), failed("Claude AI usage limit reached|1795259773"), Code.USAGE_LIMITED),
        ("529", (synthetic("server_error"),), failed("API Error: Repeated 529 Overloaded errors.", api_error_status=529), Code.OVERLOADED),
        ("529, old", (), failed('API Error: 529 {"error":{"type":"overloaded_error","message":"Overloaded"}}'), Code.OVERLOADED),
        ("529, words only", (), failed("API Error: Repeated 529 Overloaded errors."), Code.OVERLOADED),
        ("overloaded in the stream", (), failed("x", api_error_type="overloaded_error"), Code.OVERLOADED),
        ("overloaded in the stream, old", (), failed('API Error: {"error":{"type":"overloaded_error"}}'), Code.OVERLOADED),
        ("500", (synthetic("server_error"),), failed("API Error: 500 x", api_error_status=500, api_error_type="api_error"), Code.LLM_API_ERROR),
        ("502 with HTML", (synthetic("server_error"),), failed("API Error: 502 Bad Gateway.", api_error_status=502), Code.LLM_API_ERROR),
        ("502 with HTML, old", (synthetic("unknown"),), failed("API Error: 502 <html><body><h1>502 Bad Gateway</h1></body></html>"), Code.LLM_API_ERROR),
        ("503", (), failed("API Error: 503 x", api_error_status=503), Code.LLM_API_ERROR),
        ("400", (synthetic("unknown"),), failed("API Error: 400 x", api_error_status=400), Code.LLM_API_ERROR),
        ("400, old", (synthetic("unknown"),), failed(OLD_400 % "mock says this request is invalid"), Code.LLM_API_ERROR),
        ("413", (synthetic("invalid_request"),), failed("Request too large (max 32MB).", api_error_status=413, terminal_reason="image_error"), Code.LLM_API_ERROR),
        ("413, old", (), failed('API Error: 413 {"error":{"type":"request_too_large"}}'), Code.LLM_API_ERROR),
        ("no status, refused by word", (synthetic("invalid_request"),), failed("x"), Code.LLM_API_ERROR),
        ("unknown words of the CLI", (synthetic("unknown"),), failed("API Error: something new"), Code.LLM_API_ERROR),
        ("404", (synthetic("model_not_found"),), failed("There's an issue with the selected model (x).", api_error_status=404), Code.INVALID_MODEL),
        ("404 without a number", (), failed("There's an issue with the selected model (x)."), Code.INVALID_MODEL),
        ("404, old", (synthetic("unknown"),), failed('API Error: 404 {"error":{"type":"not_found_error","message":"model: x"}}'), Code.INVALID_MODEL),
        ("too long", (synthetic("invalid_request"),), failed("Prompt is too long · x", api_error_status=400, terminal_reason="prompt_too_long"), Code.PROMPT_TOO_LONG),
        ("too long, refused locally", (), failed("x", terminal_reason="blocking_limit"), Code.PROMPT_TOO_LONG),
        ("compaction loop", (), failed("x", terminal_reason="rapid_refill_breaker"), Code.PROMPT_TOO_LONG),
        ("compaction loop, by word", (), failed("x", api_error="autocompact_thrashing"), Code.PROMPT_TOO_LONG),
        ("too long, old", (), failed("Prompt is too long"), Code.PROMPT_TOO_LONG),
        ("too long with max_tokens, old", (), failed(OLD_400 % "input length and `max_tokens` exceed context limit: 1 + 2 > 2"), Code.PROMPT_TOO_LONG),
        ("max tokens", (synthetic("max_output_tokens"),), failed("API Error: x", api_error="max_output_tokens"), Code.OUTPUT_LIMIT),
        ("max tokens, old", (), failed("API Error: Claude's response exceeded the 32000 output token maximum. x"), Code.OUTPUT_LIMIT),
        ("context window", (), failed("API Error: The model has reached its context window limit."), Code.OUTPUT_LIMIT),
        ("refusal", (synthetic("invalid_request"),), failed("API Error: x", stop_reason="refusal"), Code.REFUSAL),
        ("refusal, old", (synthetic("invalid_request"),), failed("API Error: Claude Code is unable to respond to this request, which appears to violate our Usage Policy (https://x)."), Code.REFUSAL),
        ("refused connection", (synthetic("server_error"),), failed("API Error: Connection refused (ECONNREFUSED)", api_error="connection_failed"), Code.LLM_UNREACHABLE),
        ("DNS", (synthetic("server_error"),), failed("API Error: Can't reach the API server — check your internet or DNS (ENOTFOUND)"), Code.LLM_UNREACHABLE),
        ("TLS", (synthetic("server_error"),), failed("API Error: Unable to connect to API (EPROTO)"), Code.LLM_UNREACHABLE),
        ("dropped after a whole block", (TEXT, synthetic("server_error")), failed("API Error: Connection lost mid-response"), Code.LLM_UNREACHABLE),
        ("timed out", (synthetic("server_error"),), failed("Request timed out. Set API_TIMEOUT_MS above 4000."), Code.LLM_UNREACHABLE),
        ("timed out, old", (synthetic("unknown"),), failed("Request timed out"), Code.LLM_UNREACHABLE),
        ("connection error, old", (synthetic("unknown"),), failed("API Error: Connection error."), Code.LLM_UNREACHABLE),
        ("a number is no status", (), failed("API Error: got 127 bytes, then ECONNRESET"), Code.LLM_UNREACHABLE),
        ("a port is no status", (), failed("API Error: Unable to connect to gateway:443"), Code.LLM_UNREACHABLE),
    )
]  # fmt: skip

NO_INIT: list[Row] = [
    ("unknown session", known(ended("error_during_execution", "No conversation found with session ID: x"), code=1), Code.SESSION_UNAVAILABLE),
    ("session id of a wrong form", known(ended("error_during_execution", "Error: --resume requires a valid session ID"), code=1), Code.CLAUDE_STARTUP_FAILED),
    ("no reason", known(ended("error_during_execution"), code=1), Code.CLAUDE_STARTUP_FAILED),
]  # fmt: skip

TABLE = [*SUCCESS, *INTENT, *CLUSTER, *LOST, *PROCESS, *RESULTS, *NO_INIT]

# The guard, the request and the creation of objects fail before there is anything to diagnose.
NOT_DIAGNOSED = {
    Code.PROMPT_INVALID, Code.AGENT_ID_INVALID, Code.CONCURRENCY_GUARD_UNREACHABLE, Code.CONCURRENT_RUN_BLOCKED,
    Code.PROMPT_SECRET_CREATE_FAILED, Code.JOB_CREATE_FAILED,
}  # fmt: skip


@pytest.mark.parametrize(("case", "expected"), [pytest.param(f, code, id=name) for name, f, code in TABLE])
def test_verdict(case: forensics.Facts, expected: Code | None) -> None:
    """One row, one cause, one code."""
    verdict = forensics.diagnose(case)
    assert verdict.code == expected
    phases = {None: forensics.Phase.SUCCEEDED, Code.CANCELLED: forensics.Phase.CANCELLED}
    assert verdict.phase == phases.get(expected, forensics.Phase.FAILED)
    assert verdict.session_clear == (expected == Code.SESSION_UNAVAILABLE)
    assert_fit_for_people(verdict)


def assert_fit_for_people(verdict: forensics.Verdict) -> None:
    """One CamelCase word, sentences of at most 1000 characters on one line, no protocol."""
    assert re.fullmatch(r"(?:[A-Z][a-z0-9]+)+", verdict.reason)
    assert 20 <= len(verdict.message) <= messages.MAX_MESSAGE
    assert verdict.message[0].isupper()
    assert verdict.message.endswith((".", "”", "…"))
    assert not re.search(r'[\x00-\x1f{}]|\.\.(?!\.)|”\.”|"type"|  ', verdict.message)


def test_the_table_is_large_and_names_every_code() -> None:
    """A new ErrorCode needs a row here, or a reason not to."""
    assert len(TABLE) >= 80
    assert {code for _, _, code in TABLE} - {None} == set(Code) - NOT_DIAGNOSED
    assert len({name for name, _, _ in TABLE}) >= len(TABLE) - 2


@pytest.mark.parametrize("entry", INDEX, ids=lambda e: f"{e['cli']}-{e['scenario']}")
def test_every_real_transcript_gets_an_acceptable_code(entry: dict[str, Any]) -> None:
    """Classified by cause, with the exit code and stderr that belong to it."""
    folder = TRANSCRIPTS / entry["cli"] / entry["scenario"]
    seen = progress.Progress()
    seen.feed((folder / "stdout.ndjson").read_bytes())
    seen.finish()
    stderr = (folder / "stderr.txt").read_text()
    verdict = forensics.diagnose(
        forensics.Facts(transcript=seen.snapshot(), now=NOW, exit=exited(entry["exit"]), stderr_tail=stderr)
    )
    assert (verdict.code or "") in entry["codes"]
    assert_fit_for_people(verdict)


# ------------------------------------------------------------------------------------------------ what verdicts say


def say(*events: Event, **fields: Any) -> str:
    """The message of the verdict."""
    return forensics.diagnose(known(*events, **fields)).message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (say(INIT, TOOL, code=143), ["exit code 143 (SIGTERM)", "running the tool Bash", "resumed"]),
        (say(INIT, RETRY, code=137), ["SIGKILL", "attempt 5 of 10, HTTP 500"]),
        (say(INIT, {**RETRY, "error_status": None}, code=1), ["claude-opus-5-5", "exit code 1", "no answer"]),
        (say(INIT, code=1), ["claude-opus-5-5", "exit code 1", "model that the account may not use"]),
        (say({**INIT, "model": None}, code=1), ["model unknown"]),
        (say(TEXT, TOOL, {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t1"}]}}, code=0), ["without a result", "last using the tool Bash"]),
        (say(code=127, stderr_tail="sh: claude: not found"), ["no such command", "“sh: claude: not found”"]),
        (say(code=1), ["wrote nothing"]),
        (say(GOOD, code=1), ["reported success", "exit code 1"]),
        (say(GOOD, exit=exited(77)), ["exit code 77."]),
        (say(GOOD, code=200), ["exit code 200."]),
        (say({**GOOD, "result": ""}, code=0), ["answer is empty"]),
        (say(GOOD, job=job(gone=True), detection="a 404 on get"), ["never seen", "Noticed by: a 404 on get."]),
        (say(INIT, TEXT, job=job(gone=True), detection="a 404\non get"), ["Job j was deleted", "2 events", "Noticed by: a 404 on get."]),
        (say(INIT, pod=pod(gone=True)), ["pod p was deleted"]),
        (say(pod=pod(init=(INIT_BAD,))), ["prepare", "exit code 1", "(Error)", "“no PVC”", "kubectl logs p -c prepare"]),
        (say(pod=pod(init=(facts.ContainerFacts(name="i", terminated=True, exit_code=2),))), ["exit code 2 and gave no reason"]),
        (say(pod=UNSCHEDULABLE), ["Unschedulable", "“0/3 nodes: Insufficient memory”"]),
        (say(job=job(), pod=pod(phase="Pending", main=waiting("ContainerCreating"))), ["ContainerCreating"]),
        (say(job=job()), ["gave no reason"]),
        (say(INIT, pod=pod(reason="NodeLost", node="")), ["(unknown)"]),
        (say(intent=Intent.DEADLINE, limit_seconds=60), ["60 s", "not started"]),
        (say(INIT, TOOL, code=143, intent=Intent.STALL), ["stallSeconds", "1 answer of", "used the tool Bash"]),
        (say(GOOD, code=143, intent=Intent.CANCEL), ["already reported success"]),
        (say(INIT, TEXT, intent=Intent.CANCEL), ["unknown exit code", "spec.cancel"]),
        (say(INIT, ended("error_max_budget_usd", total_cost_usd=0.5), code=1), ["$0.5"]),
        (say(INIT, ended("error_max_budget_usd"), code=1), ["$unknown"]),
        (say(INIT, ended("error_during_execution", "boom"), code=1), ["“boom”", "exit code 1"]),
        (say(INIT, failed(OLD_400 % "the \\\"field\\\"\\nis bad"), code=1), ["HTTP 400", 'the "field" is bad']),
        (say(INIT, failed("API Error: 502 <html><h1>Bad Gateway</h1></html>"), code=1), ["API Error: 502 Bad Gateway”"]),
    ],
)  # fmt: skip
def test_a_message_names_cause_and_evidence(message: str, words: list[str]) -> None:
    """What a person needs to go on."""
    assert [word for word in words if word not in message] == []


def test_words_of_the_model_are_not_quoted() -> None:
    """A result without a known cause may be the model's own text."""
    assert "I tried" not in say(INIT, failed("I tried."), code=1)


def test_stderr_is_quoted_only_for_a_start_that_failed() -> None:
    """At most 500 characters of its end, on one line, without secrets and controls; nowhere else."""
    stderr = "early " * 200 + "\x1b[31mkey sk-ant-api03-abcdefgh\x07\x1b[0m\nfatal: the end"
    text = say(code=1, stderr_tail=stderr)
    quoted = text[text.index("“") + 1 : text.index("”")]
    assert len(quoted) == messages.MAX_STDERR
    assert quoted.endswith("key [redacted] fatal: the end")
    for code in (0, 143):
        assert "fatal" not in say(INIT, TEXT, code=code, stderr_tail=stderr)


def test_a_message_is_never_longer_than_1000_characters() -> None:
    """However much Kubernetes or a recorded cause says."""
    recorded = forensics.Failure(code=Code.JOB_CREATE_FAILED, message="x" * 5000)
    assert len(forensics.diagnose(known(recorded=recorded)).message) == messages.MAX_MESSAGE
    assert len(say(pod=pod(reason="Evicted", message="y" * 5000, name="n" * 900))) == messages.MAX_MESSAGE


@pytest.mark.parametrize(
    ("case", "retryable"),
    [
        (known(INIT, failed(api_error_status=529), code=1), True),
        (known(INIT, failed(api_error_status=500), code=1), True),
        (known(INIT, failed(api_error_status=400), code=1), False),
        (known(INIT, failed("API Error: something new"), code=1), True),
        (known(INIT, failed(api_error_status=401), code=1), False),
        (known(pod=pod(phase="Pending", main=waiting("ErrImagePull"))), True),
        (known(pod=pod(phase="Pending", main=waiting("InvalidImageName"))), False),
        (known(recorded=dataclasses.replace(PULL, retryable=False)), False),
        (known(INIT, TOOL, exit=exited(137, "OOMKilled")), False),
        (known(GOOD, code=0), False),
        (known(code=143, intent=Intent.CANCEL), False),
    ],
)
def test_retryable_means_that_the_same_run_may_succeed(case: forensics.Facts, *, retryable: bool) -> None:
    """Trouble that passes, not mistakes."""
    assert forensics.diagnose(case).retryable == retryable


# ------------------------------------------------------------------------------------------------ when limits end


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([REJECTED, failed("x", api_error="usage_limit_reached")], "2026-11-21T11:16:13Z"),
        ([failed("You've hit your 5-hour limit · resets 11:16am (UTC)")], "2026-11-21T11:16:00Z"),
        ([failed("You've hit your limit", api_error="usage_limit_reached")], None),
        ([REJECTED, failed("x", api_error_status=429)], "2026-11-21T11:16:13Z"),
        ([failed("x", api_error_status=429)], None),
    ],
)
def test_a_usage_limit_says_when_to_try_again(events: list[Event], expected: str | None) -> None:
    """From the event, else from the words."""
    assert forensics.diagnose(known(INIT, *events, code=1)).retry_after == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Claude AI usage limit reached|1795259773", "2026-11-21T11:16:13Z"),
        ("limit reached|1795259773000", "2026-11-21T11:16:13Z"),
        ("resets 3pm (America/New_York)", "2026-11-21T20:00:00Z"),
        ("resets 5am (America/New_York)", "2026-11-22T10:00:00Z"),  # 5:30 there: tomorrow
        ("resets 12am (UTC)", "2026-11-22T00:00:00Z"),
        ("resets 12pm", "2026-11-21T12:00:00Z"),
        ("Resets at 10:31 AM", "2026-11-21T10:31:00Z"),
        ("resets 10:30am", "2026-11-22T10:30:00Z"),
        ("Weekly limit reached ∙ resets Nov 25, 10am (Europe/Berlin)", "2026-11-25T09:00:00Z"),
        ("resets December 1 at 9:05pm", "2026-12-01T21:05:00Z"),
        ("resets Jan 2, 1am (UTC)", "2027-01-02T01:00:00Z"),
        ("resets Nov 20, 1am (UTC)", "2026-11-20T01:00:00Z"),
        ("resets Feb 30, 1am", None),
        ("resets Foo 3, 1am", None),
        ("resets 13pm", None),
        ("resets 1:75pm", None),
        ("resets 3pm (Mars/Olympus)", None),
        ("resets 3pm (/etc/passwd)", None),
        ("resets soon", None),
        ("", None),
    ],
)
def test_reset_time_is_read_from_words(text: str, expected: str | None) -> None:
    """In the zone it names, as the next such time; what does not exist is no time."""
    assert messages.reset_time(text, NOW) == expected


@pytest.mark.parametrize("seconds", [None, 0, -1, 1e8, float("nan"), float("inf"), 1e300])
def test_what_is_no_time_of_this_century_is_none(seconds: float | None) -> None:
    """The number comes from another program."""
    assert messages.from_epoch(seconds) is None


# ------------------------------------------------------------------------------------------------ quoting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("key sk-ant-api03-abcdefgh!", "key [redacted]!"),
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer [redacted]"),
        ("sent bearer abcdef123456 twice", "sent bearer [redacted] twice"),
        ("ghp_abcdefghijklmnop and github_pat_11AAAA_bbbb", "[redacted] and [redacted]"),
        ("AKIAABCDEFGHIJKLMNOP", "[redacted]"),
        ("eyJhbGciOiJI.eyJzdWIiOiIx.c2ln", "[redacted]"),
        ("https://user:hunter22@host/x", "https://[redacted]@host/x"),
        ("ANTHROPIC_API_KEY=abcdef123", "ANTHROPIC_API_KEY=[redacted]"),
        ('"password": "hunter22", "a": 1', '"password": "[redacted]", "a": 1'),
        ("OAuth token has expired", "OAuth token has expired"),
        ("Invalid API key · Fix external API key", "Invalid API key · Fix external API key"),
        (
            "No conversation found with session ID: 11111111-2222",
            "No conversation found with session ID: 11111111-2222",
        ),
    ],
)
def test_redact_removes_what_looks_like_a_credential(text: str, expected: str) -> None:
    """And nothing else."""
    assert redaction.named(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "“plain”"),
        ("a\n\tb\x00c\u2028d\u202ee", "“a b c d e”"),
        ("\x1b[31mred\x1b[0m \x1b]0;title\x07x", "“red x”"),
        ('E: 400 {"error":{"message":"say \\"hi\\"\\nnow"}}', '“E: 400 say "hi" now”'),
        ('E: 400 {"no":"words"}', "“E: 400”"),
        ("{}", ""),
        ("<html>\n<b>Bad</b></html>", "“Bad”"),
        ("x < 3 and y > 2", "“x < 3 and y > 2”"),
        ("x" * 400, "“" + "x" * 299 + "…”"),
    ],
)
def test_quote_shows_words_and_no_protocol(text: str, expected: str) -> None:
    """One line, 300 characters, no JSON, no HTML, no escape sequences."""
    assert messages.quote(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("error: bad key", "error: bad key"),
        ("one\ntwo\n", "one two"),
        ('[claude-code:unrecognized_model] {"model":"x"}', "[claude-code:unrecognized_model]"),
        ('esult":{}}\nkilled', "killed"),
        ('{"type":"result"}\n', ""),
        ("Error: cannot open [a]", "Error: cannot open [a]"),
    ],
)
def test_stderr_is_quoted_without_protocol(text: str, expected: str) -> None:
    """A pod's log mixes both streams, and a broken event may stand where the error should."""
    assert messages.quote_stderr(text) == expected


@hypothesis.given(st.text(max_size=400))
def test_a_quote_is_always_one_clean_line(text: str) -> None:
    """Whatever is quoted."""
    quoted = messages.quote(text)
    assert len(quoted) <= messages.MAX_QUOTE + 2
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]", quoted)


# ------------------------------------------------------------------------------------------------ totality

_EVENTS = st.lists(
    st.sampled_from(
        [INIT, TEXT, TOOL, DEGRADED, GOOD, RETRY, REJECTED, failed(), ended("error_max_turns"), synthetic("x")]
    ),
    max_size=4,
)
_PODS = [
    None, pod(), UNSCHEDULABLE, disrupted("DeletionByPodGC"), disrupted("x", gone=True), pod(init=(INIT_BAD,)),
    pod(main=waiting("ErrImagePull")), pod(deletion_time="2026-11-21T10:00:00Z"),
]  # fmt: skip
_JOBS = [None, job(), COMPLETE, FAILED, LATE, job(gone=True)]
_EXITS = [None, RUNNING, exited(0), exited(1), exited(137, "OOMKilled"), exited(143), exited(255)]


@hypothesis.settings(deadline=None)
@hypothesis.given(
    events=_EVENTS,
    pod_seen=st.sampled_from(_PODS),
    job_seen=st.sampled_from(_JOBS),
    end=st.sampled_from(_EXITS),
    intent=st.sampled_from(list(Intent)),
    recorded=st.sampled_from([None, PULL]),
    log_found=st.booleans(),
)
def test_every_combination_of_facts_has_a_verdict(
    *,
    events: list[Event],
    pod_seen: facts.PodFacts | None,
    job_seen: facts.JobFacts | None,
    end: facts.ContainerFacts | None,
    intent: Intent,
    recorded: forensics.Failure | None,
    log_found: bool,
) -> None:
    """Total, fit for people, and a code exactly when the run did not succeed; success needs a good result."""
    case = known(*events, pod=pod_seen, job=job_seen, exit=end, intent=intent, recorded=recorded, log_found=log_found)
    verdict = forensics.diagnose(case)
    assert_fit_for_people(verdict)
    assert (verdict.code is None) == (verdict.phase is forensics.Phase.SUCCEEDED)
    last = case.transcript.result
    good = last is not None and last.subtype == "success" and last.is_error is False
    if good and case.exit_code == 0:
        assert verdict.code is None
    if not good:
        assert verdict.code is not None
    if verdict.phase is forensics.Phase.CANCELLED:
        assert intent in {Intent.CANCEL, Intent.DELETE, Intent.REPLACED}


def test_cancelled_reasons_tell_who_asked() -> None:
    """Three ways to be cancelled, three words."""
    reasons = [forensics.diagnose(known(intent=i)).reason for i in (Intent.CANCEL, Intent.DELETE, Intent.REPLACED)]
    assert reasons == ["Cancelled", "Deleted", "Replaced"]


def test_one_code_has_one_reason() -> None:
    """The reason is the code without its family, so both can be searched for."""
    pairs = {
        (v.code, v.reason) for v in (forensics.diagnose(f) for _, f, _ in TABLE) if v.code not in {None, Code.CANCELLED}
    }
    assert all(len(list(group)) == 1 for _, group in itertools.groupby(sorted(pairs), key=lambda pair: pair[0]))
    assert (Code.OOM_KILLED, "OomKilled") in pairs
    assert (Code.MAX_TURNS, "MaxTurns") in pairs
