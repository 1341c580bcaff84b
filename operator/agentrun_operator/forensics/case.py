"""What is known at the end of a run, and what is decided from it: the two ends of ``diagnose``."""

import dataclasses
import datetime as dt
import enum

from agentrun_operator import errors, facts, progress


class Intent(enum.StrEnum):
    """Why the operator itself stopped the run, if it did."""

    NONE = "none"
    CANCEL = "cancel"
    DELETE = "delete"
    REPLACED = "replaced"
    DEADLINE = "deadline"
    STALL = "stall"
    RESULT_GRACE = "result_grace"  # the result was there, the process did not exit: the result decides


class Phase(enum.StrEnum):
    """The phases a run can end in."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One cause: its code and a sentence for people. ``retry_after`` is RFC 3339 UTC.

    ``retryable`` None means what the code usually means.
    """

    code: errors.ErrorCode
    message: str
    retry_after: str | None = None
    retryable: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is known about a run when it is over.

    ``exit`` is the agent's container (None: that of ``pod``). ``job`` and ``pod`` are as last seen, with ``gone`` set
    once deleted. ``log_found``: whether the log (or, as a fallback, the pod's own log) could be read at all.
    ``recorded`` is a cause found before the operator stopped the Job because of it. ``detection`` says how the end was
    noticed. ``limit_seconds`` is the limit that ``Intent.DEADLINE`` or ``Intent.STALL`` enforced (0 = unknown).
    ``now`` must be aware.
    """

    transcript: progress.Transcript
    now: dt.datetime
    exit: facts.ContainerFacts | None = None
    pod: facts.PodFacts | None = None
    job: facts.JobFacts | None = None
    stderr_tail: str = ""
    log_found: bool = True
    intent: Intent = Intent.NONE
    recorded: Failure | None = None
    detection: str = ""
    limit_seconds: int = 0

    @property
    def agent(self) -> facts.ContainerFacts | None:
        """The agent's container as last seen."""
        return self.exit if self.exit is not None or self.pod is None else self.pod.main

    @property
    def exit_code(self) -> int | None:
        """The agent's exit code, None when nobody saw it.

        ``ContainerStatusUnknown`` comes with a made-up 137: the kubelet had lost the container.
        """
        if self.agent is None or not self.agent.terminated or self.agent.reason == "ContainerStatusUnknown":
            return None
        return self.agent.exit_code

    @property
    def killed(self) -> bool:
        """Whether the agent was ended by a signal (shells report 128 + its number)."""
        return self.exit_code is not None and self.exit_code > 128  # noqa: PLR2004 - the shell's convention

    @property
    def started(self) -> bool:
        """Whether the agent's process was ever started."""
        return (self.agent is not None and self.agent.has_started) or self.transcript.bytes > 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a run. ``code`` is None only when it succeeded.

    ``session_clear``: the session must not be resumed. ``retryable``: the same run may succeed when tried again (after
    ``retry_after``, if set). Session, usage and cost are not here: they stay those of the transcript on every outcome.
    """

    phase: Phase
    reason: str
    message: str
    code: errors.ErrorCode | None = None
    retry_after: str | None = None
    session_clear: bool = False
    retryable: bool = False
