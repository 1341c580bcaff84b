"""Everything a plan is made from."""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from agentrun_operator import facts, forensics, progress


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogSeen:
    """What is known of the run's log. ``last_growth`` is when bytes were last seen arriving (UTC); None = never.

    ``followed`` False: the operator does not see the shared volume, so nothing is known before the run ends.
    """

    transcript: progress.Transcript = dataclasses.field(default_factory=lambda: progress.Progress().snapshot())
    followed: bool = True
    found: bool = False
    drained: bool = False
    last_growth: datetime.datetime | None = None
    stderr_tail: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at the world around a run.

    ``now`` is aware, in UTC. ``job`` is the run's own Job (None: there is none and never was). ``busy_with`` names the
    AgentRun that occupies the agent; "" if the agent is free. ``trouble`` says why the last try to start got no answer
    and ``trouble_since`` since when no try did; ``refusal`` says why there can be no start. ``written`` is the status
    as the operator last wrote it, at ``written_at``.
    """

    now: datetime.datetime
    job: facts.JobFacts | None = None
    job_gone_at: datetime.datetime | None = None
    pod: facts.PodFacts | None = None
    log: LogSeen = LogSeen()
    busy_with: str = ""
    trouble: str = ""
    trouble_since: datetime.datetime | None = None
    refusal: forensics.Failure | None = None
    written: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    written_at: datetime.datetime | None = None
