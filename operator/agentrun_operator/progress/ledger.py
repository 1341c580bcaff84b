"""What a run has used so far: tokens and US dollars.

Where the numbers come from (claude-cli.md §2):

- A result's ``model_usage_since_last_result`` is exactly what this run spent since the result before, subagents,
  compaction and helper models included: its sum over all results is the run's usage and cost, also in a resumed
  session. The raw ``total_cost_usd`` and ``modelUsage`` beside it are totals of the session.
- Old versions lack it. Their ``total_cost_usd`` and ``modelUsage`` are totals of the process, which is the run: the
  last ones count. Only where ``modelUsage`` is missing too is ``usage`` taken: it knows nothing of subagents.
- Before the first result, and for what comes after the last one, each message's own usage is counted once, whichever
  thread it is of and however many events it comes in. That is flagged as an estimate, because it understates output:
  the number is a snapshot of the message's start. Only with partial messages does each message tell its output at its
  end, too (``message_delta``).

Of all message ids only the last one of each thread is kept. That is enough, since a thread streams one message at a
time: its events may be interleaved with those of *other* threads (subagents), never with another message of its own.
"""

import dataclasses
import decimal
import functools
import operator

from agentrun_operator import stream
from agentrun_operator.progress.bounds import MAX_WORD, cut

_MAX_DOLLARS = 10**12
_MAX_THREADS = 32
_COST_STEP = decimal.Decimal("1e-9")
_NO_COST = decimal.Decimal(0)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens; ``input_tokens`` are those that no cache served."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0


# Tokens are counted in plain tuples, in the order of Usage's fields: this is done for every message.
_Numbers = tuple[int, ...]
_USAGE_FIELDS = tuple(field.name for field in dataclasses.fields(Usage))
_NOTHING: _Numbers = (0, 0, 0, 0)
_NO_MESSAGE = ("", _NOTHING)


class Ledger:
    """What the run used, by the rules of the module's docstring."""

    __slots__ = ("_estimate", "_plain", "_since", "_since_cost", "_threads", "_total", "_total_cost")

    def __init__(self) -> None:
        self._since: _Numbers | None = None  # sum of what the results call their own
        self._since_cost = _NO_COST
        self._total: _Numbers | None = None  # the last result's totals; like _plain, not kept up once there is a _since
        self._total_cost: float | None = None
        self._plain = _NOTHING
        self._estimate = _NOTHING
        # thread (its parent_tool_use_id) → its last message's id and what of its usage is in _estimate
        self._threads: dict[str, tuple[str, _Numbers]] = {}

    def add_message(self, thread: str | None, identity: str | None, usage: stream.Usage | None) -> None:
        """Count a message's usage once, however many events the message comes in; later events may know more."""
        thread = thread[:MAX_WORD] if thread else ""
        last, counted = self._threads.pop(thread, _NO_MESSAGE)  # it becomes the latest thread
        if identity is None or (identity := identity[:MAX_WORD]) != last:
            last, counted = identity or "", _NOTHING
        told = _NOTHING if usage is None else _api_numbers(usage)
        if told != counted:
            if counted is not _NOTHING:
                told = tuple(map(max, told, counted))
                self._estimate = tuple(map(operator.sub, self._estimate, counted))
            self._estimate = _add(self._estimate, told)
            counted = told
        self._threads[thread] = (last, counted)
        if len(self._threads) > _MAX_THREADS:
            del self._threads[next(iter(self._threads))]

    def add_end(self, event: stream.StreamEvent, usage: stream.Usage | None) -> None:
        """Count what a message has used at its end; nothing if its beginning was not seen."""
        thread = cut(event.parent_tool_use_id) or ""
        identity, _ = self._threads.get(thread, _NO_MESSAGE)
        if identity and cut(event.message_id) in {None, identity}:
            self.add_message(thread, identity, usage)

    def add_result(self, event: stream.Result | stream.Ended) -> None:
        """Replace the estimate by the CLI's own numbers."""
        since = event.model_usage_since_last_result
        if since is not None:
            self._since = self._since or _NOTHING
            for model in since.values():
                self._since = _add(self._since, _model_numbers(model))
                self._since_cost += _dollars(model.cost_usd) or _NO_COST
        if self._since is None:
            models = (event.model_usage or {}).values()
            self._total = functools.reduce(_add, map(_model_numbers, models)) if models else None
            self._total_cost = event.total_cost_usd
            self._plain = _add(self._plain, _api_numbers(event.usage)) if event.usage else self._plain
        self._estimate = _NOTHING  # the threads stay: a straggler of a message that is in the result adds nothing

    @property
    def usage(self) -> Usage:
        """What the results say, and the estimate of what came after the last one."""
        told = self._since if self._since is not None else self._total or self._plain
        return Usage(**dict(zip(_USAGE_FIELDS, _add(told, self._estimate), strict=True)))

    @property
    def is_estimate(self) -> bool:
        """Whether a part of ``usage`` is no result's word."""
        return self._estimate != _NOTHING

    @property
    def cost(self) -> decimal.Decimal | None:
        """US dollars that the results tell of; None before the first one that does."""
        cost = _dollars(self._total_cost) if self._since is None else self._since_cost
        return None if cost is None else cost.quantize(_COST_STEP).normalize()


def _add(some: _Numbers, more: _Numbers) -> _Numbers:
    fresh, made, read, written = some
    return (fresh + more[0], made + more[1], read + more[2], written + more[3])


def _model_numbers(usage: stream.ModelUsage) -> _Numbers:
    return (
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        usage.cache_read_tokens or 0,
        usage.cache_creation_tokens or 0,
    )


def _api_numbers(usage: stream.Usage) -> _Numbers:
    return (
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        usage.cache_read_input_tokens or 0,
        usage.cache_creation_input_tokens or 0,
    )


def _dollars(number: float | None) -> decimal.Decimal | None:
    """The number as it was printed, or None for one that is no cost."""
    if number is None or not 0 <= number <= _MAX_DOLLARS:  # false for NaN, too
        return None
    return decimal.Decimal(repr(number))
