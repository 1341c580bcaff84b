"""What is known of each run while it is followed, and what a change of its status says about time and money.

An entry is a few words and the status that the runner holds anyway; it is gone when the run is.
"""

import collections
import dataclasses
import datetime
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentrun_operator import models

_UNKNOWN = "unknown"
_LIVE = tuple(phase for phase in models.Phase if not phase.final)
_TOKENS = {
    "input": "inputTokens",
    "output": "outputTokens",
    "cache_read": "cacheReadTokens",
    "cache_creation": "cacheCreationTokens",
}

Status = Mapping[str, Any]


@dataclasses.dataclass(slots=True)
class Run:
    """One run. Times in seconds since the epoch; ``since``: from when it counts as waiting."""

    company: str = _UNKNOWN
    agent: str = _UNKNOWN
    created: float = 0.0
    since: float = 0.0
    suspended: bool = False  # was at some time, so how long its start took says nothing
    status: Status = dataclasses.field(default_factory=dict)


class Followed:
    """All runs that are followed, by uid."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}

    def add(self, run: models.AgentRun, status: Status) -> float:
        """Returns when it was created."""
        created = _seconds(run.metadata.creation_timestamp) or time.time()
        before: Sequence[Status] = status.get("previousAttempts") or ()
        since = _seconds(before[-1].get("completionTime")) if before else created
        entry = Run(run.spec.company_id, run.spec.agent.id, created, since)
        self._runs[run.metadata.uid] = entry
        _take(entry, status)
        return created

    def remove(self, uid: str) -> None:
        """It is not followed any more."""
        self._runs.pop(uid, None)

    def update(self, uid: str, status: Status) -> Run:
        """Its status is this one now. Returns what is known of it, be it nothing."""
        entry = self._runs.get(uid) or Run()
        _take(entry, status)
        return entry

    def figures(self, now: float) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """All gauges of runs: name, labels, value."""
        phases: collections.Counter[str] = collections.Counter()
        waited, stalled = [], 0
        for run in self._runs.values():
            phases[_phase(run.status)] += 1
            stalled += any(
                c["type"] == models.ConditionType.STALLED and c["status"] == "True"
                for c in run.status.get("conditions") or ()
            )
            since = max(run.since, _seconds(run.status.get("nextAttemptTime")))
            if _waits(run.status) and since <= now:
                waited.append(now - since)
        for phase in _LIVE:
            yield "agentrun_runs", (phase.value,), phases[phase.value]
        yield "agentrun_queue_runs", (), len(waited)
        yield "agentrun_queue_oldest_seconds", (), max(waited, default=0.0)
        yield "agentrun_stalled_runs", (), stalled


def started(run: Run, before: Status, after: Status) -> Iterator[tuple[str, float]]:
    """What of its start a run has just reached: the metric, and the seconds since its creation."""
    if not run.created or run.suspended or after.get("attempt") or after.get("reattachedFrom"):
        return
    steps = [("agentrun_time_to_job_seconds", "startTime"), ("agentrun_time_to_pod_seconds", "runningTime")]
    for name, field in steps:
        if field not in before and (at := _seconds(after.get(field))):
            yield name, at - run.created
    spoke = _seconds(after.get("lastOutputTime"))
    if spoke and after.get("logEvents") and not before.get("logEvents") and "completionTime" not in after:
        yield "agentrun_time_to_first_event_seconds", spoke - run.created


def tokens(status: Status) -> Iterator[tuple[str, int]]:
    """How many tokens of each kind a run has used."""
    usage = status.get("usage") or {}
    for kind, field in _TOKENS.items():
        if usage.get(field, 0) > 0:
            yield kind, usage[field]


def cost(status: Status) -> float:
    """What a run has cost in US dollars; 0 if that is not known, or no amount."""
    try:
        dollars = float(status.get("costUSD") or 0)
    except ValueError:
        return 0.0
    return dollars if math.isfinite(dollars) and dollars > 0 else 0.0


def whole_duration(status: Status) -> float | None:
    """From the agent's start to the end, in seconds; None if it never started."""
    begun, ended = _seconds(status.get("runningTime")), _seconds(status.get("completionTime"))
    return ended - begun if begun and ended else None


def _take(run: Run, status: Status) -> None:
    now_suspended, was_suspended = (_phase(one) == models.Phase.SUSPENDED for one in (status, run.status))
    another = len(status.get("previousAttempts") or ()) > len(run.status.get("previousAttempts") or ())
    if run.status and (another or (was_suspended and not now_suspended)):
        run.since = time.time()
    run.suspended = run.suspended or now_suspended
    run.status = status


def _waits(status: Status) -> bool:
    phase = _phase(status)
    return not status.get("job") and phase in {models.Phase.PENDING, models.Phase.QUEUED}


def _phase(status: Status) -> str:
    return str(status.get("phase") or models.Phase.PENDING.value)


def _seconds(moment: str | None) -> float:
    """A time as seconds since the epoch; 0 if there is none, or none that can be read: no run fails for its metrics."""
    try:
        return datetime.datetime.fromisoformat(moment or "").timestamp()
    except ValueError:
        return 0.0
