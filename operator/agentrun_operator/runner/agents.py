"""What is known of one agent: its Jobs and pods, who waits for it, and who has it."""

import asyncio
import dataclasses

from agentrun_operator import facts

Place = tuple[int, str, str]  # in an agent's queue: by priority, then by age, then by name


@dataclasses.dataclass(slots=True)
class Agent:
    """One agent: the lock around "is it free?" and "create", and the runs that wait, by the order of their turn."""

    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    waiting: dict[str, Place] = dataclasses.field(default_factory=dict)  # run uid → its place
    expected: dict[str, Place] = dataclasses.field(default_factory=dict)  # the same of runs that nobody follows yet
    jobs: dict[str, facts.JobFacts] = dataclasses.field(default_factory=dict)  # by Job uid
    pods: dict[str, facts.PodFacts] = dataclasses.field(default_factory=dict)  # by pod uid; those that have not ended
    fading: dict[str, facts.PodFacts] = dataclasses.field(default_factory=dict)  # vanished at work: docs/adr/0017
    # Jobs that vanished before they had ended: a pod may be at work, and the watch of pods need not have shown it yet.
    doubts: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """What has an agent: a Job of another run, or a pod that outlived its Job. ``words`` name it in a sentence."""

    words: str
    job: facts.JobFacts | None = None
