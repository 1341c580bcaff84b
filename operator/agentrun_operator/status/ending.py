"""How the agent ended: its exit, how that was noticed, and whether all of its log was read."""

import re
from typing import Any

from agentrun_operator import facts, redaction, shapes
from agentrun_operator.status.observed import LogSeen, Observed

_SIZES = re.compile(r"stdoutBytes=(\d{1,18}) stderrBytes=\d+( incomplete)?\s*")


def expected_log_bytes(pod: facts.PodFacts | None) -> int | None:
    """How long the log is, as the entry script reported it when the agent had ended; None if it could not."""
    match = _SIZES.search(pod.main.message) if pod and pod.main else None
    return int(match[1]) if match else None


def lacks_its_end(log: LogSeen, pod: facts.PodFacts | None) -> bool:
    """Whether the file, read to its end, is not all that the agent printed; the pod's own log may have the rest.

    The volume was full, say, or the file does not show what the entry script had written to it.
    """
    match = _SIZES.search(pod.main.message) if pod and pod.main else None
    if match is None or not log.drained:
        return False
    short = log.transcript.bytes < int(match[1]) and not log.transcript.result_seen
    return short or match[2] is not None


def describe_exit(seen: Observed) -> dict[str, Any]:
    """``status.exit``."""
    main = main_container(seen)
    return shapes.present(
        code=main.exit_code,
        signal=_signal(main),
        reason=main.reason or None,
        message=redaction.named(_SIZES.sub("", main.message).strip()) or None,
        oomKilled=True if main.reason == "OOMKilled" else None,
        finishedAt=main.finished_at or None,
        stderrTail=redaction.named(seen.log.stderr_tail) or None,
        detection=describe_detection(seen),
    )


def _signal(main: facts.ContainerFacts) -> int | None:
    """The signal that ended the agent: as reported, or as the shell's convention 128 + n in the exit code tells it."""
    if main.signal:
        return main.signal
    highest = 128 + 64
    return main.exit_code - 128 if main.exit_code is not None and 128 < main.exit_code <= highest else None  # noqa: PLR2004


def describe_detection(seen: Observed) -> str:
    """How the end was noticed, in words."""
    job, pod = seen.job, seen.pod
    how = []
    if job is not None and job.gone:
        how.append("the Job no longer exists")
    elif job is not None and job.finished:
        end = job.failure.reason if job.failure else "Complete"
        how.append(f"Job condition {end}")
    if pod is None:
        how.append("no pod was seen")
    else:
        ended = "; the agent's container has ended" if pod.main is not None and pod.main.terminated else ""
        how.append(f"pod {pod.phase}" + (", since removed" if pod.gone else "") + ended)
    how.append(f"{seen.log.transcript.bytes} bytes of log, {seen.log.transcript.results} results")
    return "; ".join(how)


def main_container(seen: Observed) -> facts.ContainerFacts:
    """The agent's container as last seen; an empty one if there is none."""
    main = seen.pod.main if seen.pod else None
    return main or facts.ContainerFacts(name=facts.MAIN_CONTAINER)
