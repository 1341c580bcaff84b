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

import collections
import dataclasses
import decimal
import operator
from collections.abc import Callable, Iterable

from agentrun_operator import stream
from agentrun_operator.progress import bounds

_MAX_NUMBER = 1e12
_MAX_THREADS = 32
_COST_STEP = decimal.Decimal("1e-9")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens; ``input_tokens`` are those that no cache served."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return _usage(map(operator.add, _numbers(self), _numbers(other)))


_USAGE_FIELDS = tuple(field.name for field in dataclasses.fields(Usage))
_NO_USAGE = Usage()
# Messages are counted in plain tuples, in the order of Usage's fields: this is done for every one of them.
_Numbers = tuple[int, ...]
_NOTHING: _Numbers = (0,) * len(_USAGE_FIELDS)
_numbers: Callable[[Usage], _Numbers] = operator.attrgetter(*_USAGE_FIELDS)
_NO_MESSAGE = ("", _NOTHING)


def _usage(numbers: Iterable[int]) -> Usage:
    return Usage(**dict(zip(_USAGE_FIELDS, numbers, strict=True)))


class Ledger:
    """What the run used, by the rules of the module's docstring."""

    def __init__(self) -> None:
        self._since: Usage | None = None  # sum of what the results call their own
        self._since_cost = decimal.Decimal(0)
        self._total: Usage | None = None  # the last result's totals
        self._total_cost: decimal.Decimal | None = None
        self._plain = _NO_USAGE
        self._estimate = _NOTHING
        # thread (its parent_tool_use_id) → its last message's id and what of its usage is in _estimate
        self._threads: collections.OrderedDict[str, tuple[str, _Numbers]] = collections.OrderedDict()

    def add_message(self, thread: str | None, message: stream.Message) -> None:
        """Count a message's usage once, however many events the message comes in; later events may know more."""
        thread = (thread or "")[: bounds.MAX_WORD]
        identity, counted = self._threads.get(thread, _NO_MESSAGE)
        if bounds.cut(message.id) != identity:
            identity, counted = (message.id or "")[: bounds.MAX_WORD], _NOTHING
        self._count(thread, identity, counted=counted, usage=message.usage)

    def add_end(self, event: stream.StreamEvent, usage: stream.Usage | None) -> None:
        """Count what a message has used at its end; nothing if its beginning was not seen."""
        thread = (event.parent_tool_use_id or "")[: bounds.MAX_WORD]
        identity, counted = self._threads.get(thread, _NO_MESSAGE)
        if identity and bounds.cut(event.message_id) in {None, identity}:
            self._count(thread, identity, counted=counted, usage=usage)

    def _count(self, thread: str, identity: str, *, counted: _Numbers, usage: stream.Usage | None) -> None:
        known = tuple(map(max, counted, _api_numbers(usage)))
        if known != counted:
            self._estimate = tuple(e + k - c for e, k, c in zip(self._estimate, known, counted, strict=True))
        self._threads[thread] = (identity, known)
        self._threads.move_to_end(thread)
        if len(self._threads) > _MAX_THREADS:
            self._threads.popitem(last=False)

    def add_result(self, event: stream.Result) -> None:
        """Replace the estimate by the CLI's own numbers."""
        since = event.model_usage_since_last_result
        if since is not None:
            self._since = _sum(since.values(), start=self._since or _NO_USAGE)
            self._since_cost += sum(filter(None, (_dollars(m.cost_usd) for m in since.values())), decimal.Decimal(0))
        self._total = _sum(event.model_usage.values(), start=_NO_USAGE) if event.model_usage else None
        self._total_cost = _dollars(event.total_cost_usd)
        self._plain += _usage(_api_numbers(event.usage))
        self._estimate = _NOTHING  # the threads stay: a straggler of a message that is in the result adds nothing

    @property
    def usage(self) -> Usage:
        """What the results say, and the estimate of what came after the last one."""
        told = self._since if self._since is not None else self._total or self._plain
        return told + _usage(self._estimate)

    @property
    def is_estimate(self) -> bool:
        """Whether a part of ``usage`` is no result's word."""
        return self._estimate != _NOTHING

    @property
    def cost(self) -> decimal.Decimal | None:
        """US dollars that the results tell of; None before the first one that does."""
        cost = self._total_cost if self._since is None else self._since_cost
        return None if cost is None else cost.quantize(_COST_STEP).normalize()


def _sum(models: Iterable[stream.ModelUsage], *, start: Usage) -> Usage:
    for model in models:
        start += Usage(
            input_tokens=_tokens(model.input_tokens),
            output_tokens=_tokens(model.output_tokens),
            cache_read_tokens=_tokens(model.cache_read_tokens),
            cache_creation_tokens=_tokens(model.cache_creation_tokens),
        )
    return start


def _api_numbers(usage: stream.Usage | None) -> _Numbers:
    if usage is None:
        return _NOTHING
    return (
        _tokens(usage.input_tokens),
        _tokens(usage.output_tokens),
        _tokens(usage.cache_read_input_tokens),
        _tokens(usage.cache_creation_input_tokens),
    )


def _tokens(number: int | None) -> int:
    """The number if a run could have used so many tokens, else 0: the stream is another program's and not trusted."""
    return number if number is not None and 0 <= number <= _MAX_NUMBER else 0


def _dollars(number: float | None) -> decimal.Decimal | None:
    """The number as it was printed, or None for one that is no cost."""
    if number is None or not 0 <= number <= _MAX_NUMBER:  # false for NaN, too
        return None
    return decimal.Decimal(repr(number))
