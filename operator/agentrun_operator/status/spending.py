"""What a run has used and cost: this attempt, and all of them together.

The status has the sum, the entries of the attempts before have their own parts; what is left is the present attempt's.
"""

import decimal
from collections.abc import Mapping
from typing import Any

from agentrun_operator import progress, shapes

_COUNTS = ("inputTokens", "outputTokens", "cacheReadTokens", "cacheCreationTokens")


def usage(said: progress.Transcript) -> dict[str, Any] | None:
    """Tokens of one attempt; None if it said nothing."""
    if not said.events:
        return None
    seen = said.usage
    return shapes.present(
        inputTokens=seen.input_tokens,
        outputTokens=seen.output_tokens,
        cacheReadTokens=seen.cache_read_tokens,
        cacheCreationTokens=seen.cache_creation_tokens,
        estimated=True if said.usage_is_estimate else None,
    )


def total_usage(status: Mapping[str, Any], said: progress.Transcript) -> dict[str, Any]:
    """Tokens of the attempts before, which are in ``status``, and of this one."""
    parts = [part for part in (*(entry.get("usage") for entry in _before(status)), usage(said)) if part]
    total: dict[str, Any] = {name: sum(part.get(name, 0) for part in parts) for name in _COUNTS}
    return {**total, "estimated": True} if any(part.get("estimated") for part in parts) else total


def total_cost(status: Mapping[str, Any], said: progress.Transcript) -> str | None:
    """Dollars of the attempts before, which are in ``status``, and of this one; None if it named none (yet)."""
    return None if said.cost_usd is None else _plain(_cost_before(status) + said.cost_usd)


def last_usage(status: Mapping[str, Any]) -> dict[str, Any] | None:
    """Tokens of the attempt that ended with this status; None if none are known."""
    total = status.get("usage") or {}
    before = [entry.get("usage") or {} for entry in _before(status)]
    mine = {name: total.get(name, 0) - sum(part.get(name, 0) for part in before) for name in _COUNTS}
    if not any(mine.values()):
        return None
    return {**mine, "estimated": True} if total.get("estimated") else mine


def last_cost(status: Mapping[str, Any]) -> str | None:
    """Dollars of the attempt that ended with this status; None if none are known."""
    mine = decimal.Decimal(status.get("costUSD") or 0) - _cost_before(status)
    return _plain(mine) if mine else None


def _before(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(status.get("previousAttempts") or ())


def _cost_before(status: Mapping[str, Any]) -> decimal.Decimal:
    return sum((decimal.Decimal(entry.get("costUSD") or 0) for entry in _before(status)), decimal.Decimal(0))


def _plain(amount: decimal.Decimal) -> str:
    return format(amount.normalize(), "f")
