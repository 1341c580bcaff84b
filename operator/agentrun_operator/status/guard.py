"""At most one live run per agent, for any number of operators: who may start its Job, decided from one list of Jobs.

A Job is created *held*: suspended, so that it has no pod. Then the agent's Jobs are listed, and the Job is started only
if the list allows it. Two rules make that safe without any lock (docs/adr/0009):

* Who lists after he has published his own Job is seen by everybody who publishes later; so of two Jobs, at least one
  sees the other. A held Job that stands behind another one waits for it.
* Who stands in front marks the ones behind him before he starts. The start names the mark that was on the list, and the
  API server refuses it when another one is there by now: whoever had listed before he could be seen lists again.
"""

import dataclasses
from collections.abc import Iterable

from agentrun_operator import facts


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """``wait_for``: it is this Job's turn (None: mine). ``mark``: Jobs to be marked with mine before it is started."""

    wait_for: facts.JobFacts | None = None
    mark: tuple[facts.JobFacts, ...] = ()


def decide(mine: facts.JobFacts, listed: Iterable[facts.JobFacts]) -> Turn:
    """Whose turn it is by a list of the agent's Jobs that was asked for after ``mine``, which is held, was created."""
    others = [job for job in listed if job.uid != mine.uid]
    live = next((job for job in others if job.live), None)
    if live is not None:
        return Turn(wait_for=live)
    held = [job for job in others if is_in_row(job)]
    ahead = min((job for job in held if place(job) < place(mine)), key=place, default=None)
    if ahead is not None:
        return Turn(wait_for=ahead)
    return Turn(mark=tuple(job for job in held if job.gate != mine.uid))


def is_in_row(job: facts.JobFacts) -> bool:
    """Whether the Job waits to be started. No pod is ever made for one that is being deleted, whoever starts it."""
    return job.held and not job.finished and not job.deleting


def place(job: facts.JobFacts) -> tuple[str, str]:
    """A held Job's place in the row; it never changes. The uid decides between Jobs of the same second."""
    return job.created_at, job.uid
