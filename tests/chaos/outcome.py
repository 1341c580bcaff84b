"""What a run of the suite has found: everything that the report tells."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence

from tests.chaos import history, invariants


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One fault that took effect: when (seconds since the beginning), which, and what it hit."""

    at: float
    kind: str
    what: str


@dataclasses.dataclass(slots=True, kw_only=True)
class Outcome:
    """The numbers of one scene, or of several together."""

    seed: int
    wanted: int
    hits: list[Hit] = dataclasses.field(default_factory=list)
    missed: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    steps: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    complaints: list[str] = dataclasses.field(default_factory=list)
    exits: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    violations: list[invariants.Violation] = dataclasses.field(default_factory=list)
    checks: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    ends: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    events: Sequence[history.Event] = ()
    scenes: int = 1
    runs: int = 0
    operators: int = 0
    gaps: int = 0
    twins: int = 0  # second pods that the Job controller made because the API server died before it answered
    seconds: float = 0.0
    left_out: list[str] = dataclasses.field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether nothing was broken, and everything that was to be tried was tried."""
        return not self.violations and not self.complaints

    @property
    def word(self) -> str:
        """How it ended, in a word or two."""
        return "every invariant held" if self.held else "BROKEN" if self.violations else "not complete"


def combine(parts: Sequence[Outcome], *, seed: int, wanted: int) -> Outcome:
    """One outcome of several scenes that were played at the same time."""
    return Outcome(
        seed=seed,
        wanted=wanted,
        hits=sorted((hit for part in parts for hit in part.hits), key=lambda hit: hit.at),
        missed=_sum(part.missed for part in parts),
        steps=_sum(part.steps for part in parts),
        complaints=list(dict.fromkeys(complaint for part in parts for complaint in part.complaints)),
        exits=_sum(part.exits for part in parts),
        violations=sorted((broken for part in parts for broken in part.violations), key=lambda broken: broken.at),
        checks=_sum(part.checks for part in parts),
        ends=_sum(part.ends for part in parts),
        events=sorted((event for part in parts for event in part.events), key=lambda event: event.at),
        scenes=len(parts),
        runs=sum(part.runs for part in parts),
        operators=sum(part.operators for part in parts),
        twins=sum(part.twins for part in parts),
        gaps=sum(part.gaps for part in parts),
        seconds=max((part.seconds for part in parts), default=0.0),
        left_out=[sentence for part in parts for sentence in part.left_out],
    )


def _sum(counters: Iterable[collections.Counter[str]]) -> collections.Counter[str]:
    """Together, with what was counted and never seen."""
    total: collections.Counter[str] = collections.Counter()
    for counter in counters:
        total.update(counter)
    return total
