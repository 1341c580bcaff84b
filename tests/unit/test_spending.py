"""What a run used and cost over all its attempts: sums that add up, and nothing known is taken back."""

import decimal
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import progress
from agentrun_operator.status import spending

Body = dict[str, Any]


def said(cost: str | None = None, *, events: int = 1, estimate: bool = False, **tokens: int) -> progress.Transcript:
    """What an attempt printed."""
    amount = None if cost is None else decimal.Decimal(cost)
    usage = progress.Usage(**tokens)
    return progress.Transcript(cost_usd=amount, events=events, usage=usage, usage_is_estimate=estimate)


def usage(inputs: int = 0, outputs: int = 0, read: int = 0, created: int = 0, **more: bool) -> Body:
    """Tokens as the status has them."""
    counts = {"inputTokens": inputs, "outputTokens": outputs, "cacheReadTokens": read, "cacheCreationTokens": created}
    return {**counts, **more}


def before(*entries: Body) -> Body:
    """A status with these attempts before."""
    return {"previousAttempts": list(entries)}


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (said(events=0, input_tokens=5), None),
        (said(), usage()),
        (said(input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_creation_tokens=4), usage(1, 2, 3, 4)),
        (said(estimate=True, input_tokens=1), usage(1, estimated=True)),
    ],
)
def test_tokens_of_one_attempt(seen: progress.Transcript, expected: Body | None) -> None:
    """None as long as nothing was said; an estimate is called one."""
    assert spending.usage(seen) == expected


@pytest.mark.parametrize(
    ("status", "seen", "expected"),
    [
        ({}, said(input_tokens=1), usage(1)),
        (before({}), said(input_tokens=1), usage(1)),
        (before({"usage": {"inputTokens": 2}}, {"usage": usage(3, 4)}), said(input_tokens=10), usage(15, 4)),
        (before({"usage": usage(2)}), said(events=0), usage(2)),
        (before({"usage": usage(2, estimated=True)}), said(input_tokens=1), usage(3, estimated=True)),
        (before({"usage": usage(2)}), said(input_tokens=1, estimate=True), usage(3, estimated=True)),
    ],
)
def test_tokens_of_all_attempts(status: Body, seen: progress.Transcript, expected: Body) -> None:
    """An estimate in one of them makes the sum one."""
    assert spending.total_usage(status, seen) == expected


@pytest.mark.parametrize(
    ("status", "seen", "expected"),
    [
        ({}, said(), None),
        ({}, said("0"), "0"),
        ({}, said("1.50"), "1.5"),
        ({}, said("1E-7"), "0.0000001"),
        ({}, said("1E+3"), "1000"),
        (before({}), said("1"), "1"),
        (before({"costUSD": "0.1"}, {"costUSD": "0.2"}), said("0.3"), "0.6"),
        (before({"costUSD": "0.1"}), said(), None),
    ],
)
def test_cost_of_all_attempts(status: Body, seen: progress.Transcript, expected: str | None) -> None:
    """In plain digits. An attempt that has named none says nothing, so what is on record stays."""
    assert spending.total_cost(status, seen) == expected


@pytest.mark.parametrize(
    ("status", "tokens", "cost"),
    [
        ({}, None, None),
        ({"usage": usage(), "costUSD": "0"}, None, None),
        ({"usage": usage(1, 2), "costUSD": "0.50"}, usage(1, 2), "0.5"),
        ({"usage": usage(1, estimated=True)}, usage(1, estimated=True), None),
        ({**before({"usage": usage(1), "costUSD": "0.1"}), "usage": usage(1), "costUSD": "0.1"}, None, None),
        ({**before({"usage": usage(1), "costUSD": "0.1"}), "usage": usage(4), "costUSD": "0.4"}, usage(3), "0.3"),
        ({**before({}, {"costUSD": "0.1"}), "usage": usage(4), "costUSD": "0.1"}, usage(4), None),
    ],
)
def test_the_part_of_the_attempt_that_ended(status: Body, tokens: Body | None, cost: str | None) -> None:
    """What the attempts before have not used; also when this operator could not read the log any more."""
    assert (spending.last_usage(status), spending.last_cost(status)) == (tokens, cost)


attempts = st.lists(
    st.builds(
        said,
        st.none() | st.decimals(min_value=0, max_value=10**9, places=9).map(str),
        events=st.integers(0, 2),
        estimate=st.booleans(),
        input_tokens=st.integers(0, 10**12),
        cache_read_tokens=st.integers(0, 10**12),
    ),
    max_size=8,
)


@hypothesis.given(attempts)
def test_whatever_the_attempts_cost_it_adds_up(spoken: list[progress.Transcript]) -> None:
    """The sum in the status is that of the parts in its entries, and of what was said."""
    status: Body = before()
    for seen in spoken:
        ended = {**status, "usage": spending.total_usage(status, seen) if seen.events else status.get("usage")}
        ended["costUSD"] = spending.total_cost(status, seen) or status.get("costUSD")
        entry = {"usage": spending.last_usage(ended), "costUSD": spending.last_cost(ended)}
        status = {**ended, "previousAttempts": [*ended["previousAttempts"], entry]}
    named = [seen.cost_usd for seen in spoken if seen.cost_usd is not None]
    assert decimal.Decimal(status.get("costUSD") or 0) == sum(named)
    parts = [decimal.Decimal(entry["costUSD"]) for entry in status["previousAttempts"] if entry["costUSD"]]
    assert sum(parts) == sum(named)
    tokens = sum(seen.usage.cache_read_tokens for seen in spoken if seen.events)
    assert (status.get("usage") or usage())["cacheReadTokens"] == tokens
    assert sum((entry["usage"] or usage())["cacheReadTokens"] for entry in status["previousAttempts"]) == tokens
