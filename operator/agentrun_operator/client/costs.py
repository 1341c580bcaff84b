"""What runs have cost: sums over their statuses, by company, agent, task, model or day.

Pure. A status has usage and cost of all attempts of its run, whatever became of them. What was deleted is not counted,
and prices are those of the CLI's own table: a guide, and no invoice.
"""

import dataclasses
import decimal
import enum
from collections.abc import Iterable, Sequence

from agentrun_operator import models


class By(enum.StrEnum):
    """What runs are put together by. ``day``: that of their end, or of their creation while they last; in UTC."""

    COMPANY = "company"
    AGENT = "agent"
    TASK = "task"
    MODEL = "model"
    DAY = "day"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Sums over some runs: US dollars and tokens. ``unpriced``: runs with tokens whose cost nobody has told."""

    key: tuple[str, ...]
    runs: int = 0
    failed: int = 0
    usd: decimal.Decimal = decimal.Decimal(0)
    unpriced: int = 0
    usage: models.Usage = models.Usage()

    def plus(self, run: models.AgentRun) -> "Cost":
        """With one more run."""
        status = run.status
        usage = status.usage or models.Usage()
        one = Cost(
            key=(),
            runs=1,
            failed=int(status.phase is models.Phase.FAILED),
            usd=_usd(status.cost_usd),
            unpriced=int(status.cost_usd is None and usage.output_tokens > 0),
            usage=usage,
        )
        return self.plus_all(one)

    def plus_all(self, other: "Cost") -> "Cost":
        """With all that ``other`` sums up; the key stays."""
        mine, others = self.usage, other.usage
        return Cost(
            key=self.key,
            runs=self.runs + other.runs,
            failed=self.failed + other.failed,
            usd=self.usd + other.usd,
            unpriced=self.unpriced + other.unpriced,
            usage=models.Usage(
                input_tokens=mine.input_tokens + others.input_tokens,
                output_tokens=mine.output_tokens + others.output_tokens,
                cache_read_tokens=mine.cache_read_tokens + others.cache_read_tokens,
                cache_creation_tokens=mine.cache_creation_tokens + others.cache_creation_tokens,
                estimated=True if mine.estimated or others.estimated else None,
            ),
        )


def sum_up(runs: Iterable[models.AgentRun], by: Sequence[By] = ()) -> list[Cost]:
    """One sum for each group, in the order of their keys; without ``by`` one for all, also if there is no run."""
    found: dict[tuple[str, ...], Cost] = {} if by else {(): Cost(key=())}
    for run in runs:
        key = tuple(_part(run, part) for part in by)
        found[key] = found.get(key, Cost(key=key)).plus(run)
    return [found[key] for key in sorted(found)]


def day_of(run: models.AgentRun) -> str:
    """The day that the run counts for: ``2026-11-21``."""
    return (run.status.completion_time or run.metadata.creation_timestamp)[:10]


def _part(run: models.AgentRun, by: By) -> str:
    match by:
        case By.COMPANY:
            return run.spec.company_id
        case By.AGENT:
            return run.spec.agent.id
        case By.TASK:
            return run.spec.task_id or ""
        case By.MODEL:
            return run.status.model or run.spec.claude.model or ""
        case By.DAY:
            return day_of(run)


def _usd(text: str | None) -> decimal.Decimal:
    try:
        value = decimal.Decimal(text or "0")
    except decimal.InvalidOperation:
        return decimal.Decimal(0)
    return value if value.is_finite() else decimal.Decimal(0)
