"""``status``: what the operator writes and everybody reads."""

import enum
from typing import Annotated, Any

import pydantic

from agentrun_operator.models import base


class Phase(enum.StrEnum):
    """Where a run is in its life. Succeeded, Failed and Cancelled are final."""

    PENDING = "Pending"
    QUEUED = "Queued"
    SUSPENDED = "Suspended"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def final(self) -> bool:
        """Whether the phase never changes again."""
        return self in {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}


class ConditionType(enum.StrEnum):
    """Types of ``status.conditions``."""

    PROMPT_READY = "PromptReady"
    JOB_CREATED = "JobCreated"
    BUNDLE_READY = "BundleReady"
    POD_READY = "PodReady"
    LOG_STREAMING = "LogStreaming"
    STALLED = "Stalled"
    COMPLETED = "Completed"


class Reason(enum.StrEnum):
    """The operator's own words for ``status.reason``.

    Others are Kubernetes' (why a pod has not started) and, of a run that failed, its error code in CamelCase.
    """

    # without a Job
    AGENT_BUSY = "AgentBusy"
    REPLACING = "Replacing"
    SUSPENDED = "Suspended"
    PROMPT_MISSING = "PromptMissing"
    USAGE_LIMITED = "UsageLimited"
    RETRY_BACKOFF = "RetryBackoff"
    # with one
    JOB_SUSPENDED = "JobSuspended"
    STARTING = "Starting"
    RUNNING = "Running"
    FINISHING = "Finishing"
    TERMINATING = "Terminating"
    # while the operator stops it
    CANCELLING = "Cancelling"
    DELETING = "Deleting"
    PREEMPTED = "Preempted"
    START_FAILED = "StartFailed"
    STALLED = "Stalled"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    RESULT_GRACE_EXCEEDED = "ResultGraceExceeded"
    # at the end
    COMPLETED = "Completed"
    COMPLETED_THEN_STOPPED = "CompletedThenStopped"
    COMPLETED_UNSEEN = "CompletedUnseen"
    CANCELLED = "Cancelled"
    DELETED = "Deleted"
    REPLACED = "Replaced"
    UNREADABLE = "Unreadable"


class EventReason(enum.StrEnum):
    """What Kubernetes Events on an AgentRun are about."""

    QUEUED = "Queued"
    JOB_CREATED = "JobCreated"
    REATTACHED = "Reattached"
    POD_RUNNING = "PodRunning"
    STALLED = "Stalled"
    ATTEMPT_FAILED = "AttemptFailed"
    RUN_SUCCEEDED = "RunSucceeded"
    RUN_FAILED = "RunFailed"
    CONCURRENCY_BLOCKED = "ConcurrencyBlocked"
    LOG_MISSING = "LogMissing"
    RUN_CANCELLED = "RunCancelled"

    @property
    def is_warning(self) -> bool:
        """Whether its Events are of the type Warning, and not Normal."""
        return self in _WARNINGS


_WARNINGS = {
    EventReason.STALLED,
    EventReason.ATTEMPT_FAILED,
    EventReason.RUN_FAILED,
    EventReason.CONCURRENCY_BLOCKED,
    EventReason.LOG_MISSING,
}


class Condition(base.Model):
    """A standard Kubernetes condition."""

    type: str = pydantic.Field(max_length=316, description="What the condition is about.")
    status: Annotated[str, pydantic.Field(pattern="^(True|False|Unknown)$")] = pydantic.Field(
        description="True, False or Unknown."
    )
    reason: str = pydantic.Field(max_length=1024, description="One CamelCase word: why.")
    message: str = pydantic.Field("", max_length=32_768, description="One sentence for people.")
    last_transition_time: str = pydantic.Field(
        description="When status or reason last changed.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int | None = pydantic.Field(None, description="Generation of the object that was looked at.")


class JobStatus(base.Model):
    """The Job of the run."""

    name: str = pydantic.Field(description="Name of the Job.")
    uid: str = pydantic.Field(description="UID of the Job.")


class SessionStatus(base.Model):
    """The Claude session of the run: what the next run of the agent resumes."""

    id: str | None = pydantic.Field(None, description="Id of the session.")
    cwd: str | None = pydantic.Field(None, description="Working directory the session is bound to.")
    clear: bool | None = pydantic.Field(None, description="True: this session must not be resumed again.")


class Usage(base.Model):
    """Tokens of this run; kept on every outcome. An estimate until the CLI reports its result."""

    input_tokens: int = pydantic.Field(0, ge=0, description="Input tokens that were not cached.")
    output_tokens: int = pydantic.Field(0, ge=0, description="Output tokens.")
    cache_read_tokens: int = pydantic.Field(0, ge=0, description="Input tokens read from the cache.")
    cache_creation_tokens: int = pydantic.Field(0, ge=0, description="Input tokens written to the cache.")
    estimated: bool | None = pydantic.Field(
        None, description="True while the numbers are counted from single messages, before the CLI's own sum."
    )


class PromptMetrics(base.Model):
    """How long the prompt and its parts are, in characters. The names are those that orchestrators know."""

    prompt_chars: int = pydantic.Field(0, ge=0, description="The whole prompt.")
    bootstrap_prompt_chars: int = pydantic.Field(0, ge=0, description="spec.prompt.bootstrap, filled in.")
    wake_prompt_chars: int = pydantic.Field(0, ge=0, description="Why the agent was woken.")
    session_handoff_chars: int = pydantic.Field(0, ge=0, description="spec.prompt.handoff.")
    heartbeat_prompt_chars: int = pydantic.Field(0, ge=0, description="The main template, filled in; 0: left out.")


class ResultStatus(base.Model):
    """The last result that the CLI printed."""

    subtype: str = pydantic.Field("", description="The CLI's word for the outcome: success, error_max_turns, …")
    is_error: bool = pydantic.Field(default=False, description="Whether the CLI calls it an error.")
    text: str = pydantic.Field("", description="The final answer, at most 4 KiB; … at the end where it was cut.")


class ErrorStatus(base.Model):
    """Why the run did not succeed."""

    code: str = pydantic.Field(description="One code per cause; docs/errors.md explains each.")
    message: str = pydantic.Field(description="Cause, evidence and next step.")
    retry_after: str | None = pydantic.Field(
        None, description="When another try makes sense.", json_schema_extra={"format": "date-time"}
    )


class ExitStatus(base.Model):
    """How the agent's process ended."""

    code: int | None = pydantic.Field(None, description="Exit code of the agent, 0 to 255.")
    signal: int | None = pydantic.Field(None, description="Signal that ended the agent.")
    reason: str | None = pydantic.Field(None, description="The container runtime's word for it.")
    message: str | None = pydantic.Field(None, description="The container runtime's message.")
    oom_killed: bool | None = pydantic.Field(None, description="Whether the kernel killed it for memory.")
    finished_at: str | None = pydantic.Field(
        None, description="When it ended.", json_schema_extra={"format": "date-time"}
    )
    stderr_tail: str | None = pydantic.Field(None, description="The end of its standard error, at most 8 KiB.")
    detection: str | None = pydantic.Field(None, description="How the end was noticed.")


_TIME: dict[str, Any] = {"format": "date-time"}


class AttemptStatus(base.Model):
    """An attempt that failed and was followed by another one."""

    attempt: int = pydantic.Field(ge=0, description="Its number, from 0.")
    code: str = pydantic.Field(description="Why it failed: one code per cause; docs/errors.md explains each.")
    message: str = pydantic.Field(description="Cause and evidence in a sentence, cut at 512 characters.")
    job_name: str | None = pydantic.Field(None, description="Name of its Job.")
    pod_name: str | None = pydantic.Field(None, description="Name of its pod.")
    node_name: str | None = pydantic.Field(None, description="Node that the pod ran on.")
    log_path: str | None = pydantic.Field(None, description="Path of its log on the shared volume.")
    exit_code: int | None = pydantic.Field(None, description="Exit code of the agent.")
    start_time: str | None = pydantic.Field(None, description="When its Job was created.", json_schema_extra=_TIME)
    completion_time: str | None = pydantic.Field(None, description="When it ended.", json_schema_extra=_TIME)
    usage: Usage | None = pydantic.Field(None, description="Tokens of this attempt.")
    cost_usd: str | None = pydantic.Field(
        None, alias="costUSD", description="Cost of this attempt in US dollars as a decimal string."
    )


class AgentRunStatus(base.Model):
    """What became of it; written by the operator alone."""

    phase: Phase | None = pydantic.Field(None, description="Where the run is in its life.")
    reason: str | None = pydantic.Field(None, description="One CamelCase word: why it is in this phase.")
    message: str | None = pydantic.Field(None, description="One sentence for people.")
    conditions: tuple[Condition, ...] = pydantic.Field(
        (),
        description="Conditions of the run: PromptReady and BundleReady if there is something to say, JobCreated, "
        "PodReady, LogStreaming, Stalled once it was, Completed.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    observed_generation: int | None = pydantic.Field(None, description="Generation of spec that the status speaks of.")
    attempt: int | None = pydantic.Field(
        None,
        ge=0,
        description="Number of the attempt, from 0. Job, pod, log, turns and exit are those of this attempt; usage and "
        "cost are of all attempts together.",
    )
    previous_attempts: tuple[AttemptStatus, ...] = pydantic.Field(
        (),
        max_length=100,
        description="The attempts that failed before this one.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["attempt"]},
    )
    next_attempt_time: str | None = pydantic.Field(
        None,
        description="The run waits until then: for the pause before another attempt, or for the end of a usage limit.",
        json_schema_extra=_TIME,
    )
    reattached_from: str | None = pydantic.Field(
        None, description="The AgentRun that the adopted Job was made for; it is gone."
    )
    job: JobStatus | None = pydantic.Field(None, description="The Job of the run.")
    pod_name: str | None = pydantic.Field(None, description="Name of the one pod of the run.")
    node_name: str | None = pydantic.Field(None, description="Node that the pod runs on.")
    prompt_secret_name: str | None = pydantic.Field(None, description="Secret with the prompt; deleted at the end.")
    log_path: str | None = pydantic.Field(None, description="Path of the log on the shared volume, as agents see it.")
    start_time: str | None = pydantic.Field(None, description="When the Job was created.", json_schema_extra=_TIME)
    running_time: str | None = pydantic.Field(None, description="When the agent started.", json_schema_extra=_TIME)
    completion_time: str | None = pydantic.Field(None, description="When the run ended.", json_schema_extra=_TIME)
    last_output_time: str | None = pydantic.Field(
        None, description="When the log last grew, as seen by the operator.", json_schema_extra=_TIME
    )
    heartbeat_time: str | None = pydantic.Field(
        None, description="When the operator last confirmed that the Job is live.", json_schema_extra=_TIME
    )
    session: SessionStatus | None = pydantic.Field(None, description="The Claude session of the run.")
    model: str | None = pydantic.Field(None, description="Model that the CLI said it uses.")
    claude_version: str | None = pydantic.Field(None, description="Version of the CLI.")
    turns: int | None = pydantic.Field(None, ge=0, description="Agentic turns so far.")
    last_tool: str | None = pydantic.Field(None, description="Tool that was last called.")
    log_bytes: int | None = pydantic.Field(None, ge=0, description="Bytes of log read so far.")
    log_events: int | None = pydantic.Field(None, ge=0, description="Events read so far.")
    usage: Usage | None = pydantic.Field(None, description="Tokens of this run.")
    cost_usd: str | None = pydantic.Field(
        None, alias="costUSD", description="Cost of this run in US dollars as a decimal string, as the CLI prices it."
    )
    result: ResultStatus | None = pydantic.Field(None, description="The last result that the CLI printed.")
    error: ErrorStatus | None = pydantic.Field(None, description="Why the run did not succeed.")
    exit: ExitStatus | None = pydantic.Field(None, description="How the agent's process ended.")
    prompt_metrics: PromptMetrics | None = pydantic.Field(None, description="Characters of the prompt, by part.")
