"""What happened to a run, in its order: made from its status and the Events on it. Pure.

What status and Events tell alike is told once, by the status: Events are gone after an hour.
"""

import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agentrun_operator import models
from agentrun_operator.cli import cells, transcript
from agentrun_operator.cli.transcript import Style

_Reason = models.EventReason
# Events that repeat what the status says with its time.
_IN_STATUS = frozenset(
    {_Reason.JOB_CREATED, _Reason.REATTACHED, _Reason.POD_RUNNING, _Reason.ATTEMPT_FAILED, _Reason.STALLED}
)
_OUTCOMES = frozenset(_Reason) - _IN_STATUS - {_Reason.QUEUED}


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """``at`` in UTC."""

    at: datetime.datetime
    text: str
    style: Style = Style.PLAIN


def tell(run: models.AgentRun, events: Iterable[Mapping[str, Any]], now: datetime.datetime) -> list[Step]:
    """Every step, the first one first."""
    steps = [Step(at, transcript.one_line(text), style) for at, text, style in _all(run, events, now)]
    return sorted(dict.fromkeys(steps), key=lambda step: step.at)  # in the order given where the second is the same


def _all(
    run: models.AgentRun, events: Iterable[Mapping[str, Any]], now: datetime.datetime
) -> Iterator[tuple[datetime.datetime, str, Style]]:
    told = (*_status(run), *_conditions(run), *_waits(run, now), *_events(run, events))
    for text, what, style in told:
        at = cells.moment(text)
        if at is not None:
            yield at, what, style


_Told = tuple[str | None, str, Style]


def _status(run: models.AgentRun) -> Iterator[_Told]:
    status = run.status
    yield run.metadata.creation_timestamp, "created", Style.PLAIN
    for before in status.previous_attempts:
        yield before.start_time, f"attempt {before.attempt}: Job {before.job_name} created", Style.PLAIN
        yield before.completion_time, f"attempt {before.attempt} failed: {before.code}: {before.message}", Style.RED
    attempt = f"attempt {run.attempt}: " if run.attempt else ""
    if status.job:
        adopted = f"Job {status.job.name} adopted; its AgentRun {status.reattached_from} is gone"
        yield (
            status.start_time,
            adopted if status.reattached_from else f"{attempt}Job {status.job.name} created",
            Style.PLAIN,
        )
    where = f" in pod {status.pod_name}" if status.pod_name else ""
    node = f" on {status.node_name}" if status.node_name else ""
    yield status.running_time, f"{attempt}the agent began{where}{node}", Style.CYAN
    if run.is_final:
        code = f" {cells.why(run)}:" if status.error and cells.why(run) else ""
        yield status.completion_time, f"{status.phase}:{code} {cells.sentence(run)}", cells.style(run)
    elif status.last_output_time:
        tool = f", the last tool was {status.last_tool}" if status.last_tool else ""
        yield status.last_output_time, f"last output: turn {status.turns or 0}{tool}", Style.PLAIN
    yield run.metadata.deletion_timestamp, "somebody deleted it; its end is being waited for", Style.YELLOW


def _conditions(run: models.AgentRun) -> Iterator[_Told]:
    """What was in the way. The others say what the times above say."""
    bad = {
        models.ConditionType.PROMPT_READY: "False",
        models.ConditionType.BUNDLE_READY: "False",
        models.ConditionType.POD_READY: "False",
        models.ConditionType.STALLED: "True",
    }
    for condition in run.status.conditions:
        if bad.get(condition.type) == condition.status and not (run.is_final and condition.type == "PodReady"):  # type: ignore[call-overload]
            text = f"{condition.reason}: {condition.message}" if condition.message else condition.reason
            yield condition.last_transition_time, text, Style.YELLOW


def _waits(run: models.AgentRun, now: datetime.datetime) -> Iterator[_Told]:
    later = cells.moment(run.status.next_attempt_time)
    if later is not None and later > now and not run.is_final:
        yield run.status.next_attempt_time, "it is tried again then", Style.DIM
    again = run.status.error.retry_after if run.status.error else None
    if again:
        yield again, "another try makes sense from then on", Style.DIM


def _events(run: models.AgentRun, events: Iterable[Mapping[str, Any]]) -> Iterator[_Told]:
    for event in events:
        reason = str(event.get("reason") or "")
        if reason in _IN_STATUS or (reason in _OUTCOMES and run.is_final):
            continue
        at = event.get("eventTime") or event.get("firstTimestamp") or event.get("lastTimestamp")
        style = Style.YELLOW if event.get("type") == "Warning" else Style.PLAIN
        yield at, f"{reason}: {event.get('message') or ''}", style
