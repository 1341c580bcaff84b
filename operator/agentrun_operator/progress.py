"""Events folded into what is known of a run so far, in memory of constant size.

``Progress`` is the only mutable value of the pure core: the tail feeds it bytes, the status takes a ``Transcript``. It
refuses to conclude: a retry, an error or a refusal is recorded here and judged in ``forensics``.

Whatever is kept was bounded first, because a run may last for days and print gigabytes: texts are cut, and of all
message ids only the last one of each thread is kept. That is enough, since a thread streams one message at a time:
its events may be interleaved with those of *other* threads (subagents), never with another message of its own.

Where the numbers come from (claude-cli.md §2):

- A result's ``model_usage_since_last_result`` is exactly what this run spent since the result before, subagents,
  compaction and helper models included: its sum over all results is the run's usage and cost.
- Old versions lack it. Their ``total_cost_usd`` and ``modelUsage`` are totals of the process, which is the run: the
  last ones count. Only where ``modelUsage`` is missing too is ``usage`` taken: it knows nothing of subagents.
- Before the first result, and for what comes after the last one, each message's own usage is counted once. That
  understates output (the number is a snapshot of the message's start) and is flagged as an estimate.
"""

import collections
import dataclasses
import decimal
from collections.abc import Iterable
from typing import Any

import msgspec

from agentrun_operator import stream

MAX_RESULT_BYTES = 4096
CUT_MARK = "…"

_MAX_NUMBER = 1e12
_MAX_WORD = 300
_MAX_TEXT = 2000
_MAX_ERRORS = 8
_MAX_THREADS = 32
_MAX_OPEN_TOOLS = 64
_COST_STEP = decimal.Decimal("1e-9")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens; ``input_tokens`` are those that no cache served."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return self._zip(other, sign=1)

    def __sub__(self, other: "Usage") -> "Usage":
        return self._zip(other, sign=-1)

    def at_least(self, other: "Usage") -> "Usage":
        """The greater of both, number by number."""
        return Usage(**{name: max(getattr(self, name), getattr(other, name)) for name in _USAGE_FIELDS})

    def _zip(self, other: "Usage", *, sign: int) -> "Usage":
        return Usage(**{name: getattr(self, name) + sign * getattr(other, name) for name in _USAGE_FIELDS})


_USAGE_FIELDS = tuple(field.name for field in dataclasses.fields(Usage))
_NO_USAGE = Usage()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ApiFailure:
    """Why the CLI says that its last API call failed (a synthetic assistant message). ``status`` None: no answer."""

    error: str = ""
    status: int | None = None
    type: str = ""
    code: str = ""
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What the agent printed, as far as it matters. Times in seconds since the epoch, costs in US dollars.

    ``session_id``, ``model``, ``cwd``, ``claude_version`` are ``""`` while unknown. ``usage`` is of this run only, as
    is ``cost_usd`` (None while unknown). ``active_since_result``: the agent went on after its last result (background).
    ``degraded``: the model's last message has neither a stop reason nor output tokens. ``rejected`` is the subscription
    window that refused the last request, if one did. ``oversized_lines`` are lines too long to be read at all.
    """

    session_id: str = ""
    model: str = ""
    claude_version: str = ""
    cwd: str = ""
    init_seen: bool = False
    turns: int = 0
    last_tool: str = ""
    open_tool: bool = False
    usage: Usage = _NO_USAGE
    usage_is_estimate: bool = False
    cost_usd: decimal.Decimal | None = None
    events: int = 0
    bytes: int = 0
    non_json_lines: int = 0
    oversized_lines: int = 0
    first_plain_text: str = ""
    output_seen: bool = False
    degraded: bool = False
    result: stream.Result | None = None
    results: int = 0
    active_since_result: bool = False
    api_failure: ApiFailure | None = None
    rejected: stream.RateLimitInfo | None = None
    api_retry: stream.ApiRetry | None = None

    @property
    def result_seen(self) -> bool:
        """Whether at least one result was printed."""
        return self.results > 0

    @property
    def cost_text(self) -> str | None:
        """``cost_usd`` in plain digits, never as ``1E-7``."""
        return None if self.cost_usd is None else format(self.cost_usd, "f")


class _Ledger:
    """What the run used, by the rules of the module's docstring."""

    def __init__(self) -> None:
        self._since: Usage | None = None  # sum of what the results call their own
        self._since_cost = decimal.Decimal(0)
        self._total: Usage | None = None  # the last result's totals
        self._total_cost: decimal.Decimal | None = None
        self._plain = _NO_USAGE
        self._estimate = _NO_USAGE
        # thread (its parent_tool_use_id) → its last message's id and what of its usage is in _estimate
        self._threads: collections.OrderedDict[str, tuple[str, Usage]] = collections.OrderedDict()

    def add_message(self, event: stream.Assistant) -> None:
        """Count a message's usage once, however many events the message comes in; later events may know more."""
        thread, message = (event.parent_tool_use_id or "")[:_MAX_WORD], event.message
        identity, counted = self._threads.pop(thread, ("", _NO_USAGE))
        if _cut(message.id, _MAX_WORD) != identity:
            counted = _NO_USAGE
        known = counted.at_least(_api_usage(message.usage))
        self._estimate += known - counted
        self._threads[thread] = ((message.id or "")[:_MAX_WORD], known)
        while len(self._threads) > _MAX_THREADS:
            self._threads.popitem(last=False)

    def add_result(self, event: stream.Result) -> None:
        """Replace the estimate by the CLI's own numbers."""
        since = event.model_usage_since_last_result
        if since is not None:
            self._since = _sum(since.values(), start=self._since or _NO_USAGE)
            self._since_cost += sum(filter(None, (_dollars(m.cost_usd) for m in since.values())), decimal.Decimal(0))
        self._total = _sum(event.model_usage.values(), start=_NO_USAGE) if event.model_usage else None
        self._total_cost = _dollars(event.total_cost_usd)
        self._plain += _api_usage(event.usage)
        self._estimate = _NO_USAGE  # the threads stay: a straggler of a message that is in the result adds nothing

    @property
    def usage(self) -> Usage:
        if self._since is not None:
            return self._since + self._estimate
        return (self._total or self._plain) + self._estimate

    @property
    def is_estimate(self) -> bool:
        return self._estimate != _NO_USAGE

    @property
    def cost(self) -> decimal.Decimal | None:
        cost = self._total_cost if self._since is None else self._since_cost
        return None if cost is None else cost.quantize(_COST_STEP).normalize()


class Progress:
    """The fold. ``feed`` and ``finish`` take bytes, ``fold`` takes events; ``snapshot`` may be called at any time."""

    def __init__(self, max_line_bytes: int = stream.DEFAULT_MAX_LINE_BYTES) -> None:
        self._decoder = stream.LineDecoder(max_line_bytes)
        self._ledger = _Ledger()
        self._open_tools: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._main_message = ""
        self._seen: dict[str, Any] = {}  # fields of the Transcript that differ from its defaults
        self._events = self._bytes = self._turns = 0

    def feed(self, chunk: bytes) -> None:
        """Fold the lines that ``chunk`` completes."""
        self._bytes += len(chunk)
        self._fold_lines(self._decoder.decode(chunk))

    def finish(self) -> None:
        """Fold the last line, which may lack its line end; call it when no more bytes will come."""
        self._fold_lines(self._decoder.flush())

    def fold(self, event: stream.Event) -> None:
        """Take note of one event."""
        if isinstance(event, stream.PlainText):
            self._fold_text(event)
            return
        self._events += 1
        if event.session_id and "session_id" not in self._seen:
            self._seen["session_id"] = event.session_id[:_MAX_WORD]
        match event:
            case stream.Assistant():
                self._fold_assistant(event)
            case stream.User():
                self._fold_user(event)
            case stream.Result():
                self._fold_result(event)
            case stream.Init():
                self._fold_init(event)
            case stream.ApiRetry():
                self._seen["api_retry"] = msgspec.structs.replace(
                    event, error=_cut(event.error, _MAX_WORD), session_id=None
                )
            case stream.RateLimit(info=info):
                self._seen["rejected"] = _rejected(info)

    def snapshot(self) -> Transcript:
        """What is known so far; the value stays as it is when the fold goes on."""
        return Transcript(
            **self._seen,
            turns=self._turns,
            events=self._events,
            bytes=self._bytes,
            oversized_lines=self._decoder.oversized_lines,
            open_tool=bool(self._open_tools),
            usage=self._ledger.usage,
            usage_is_estimate=self._ledger.is_estimate,
            cost_usd=self._ledger.cost,
        )

    def _fold_lines(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            event = stream.parse(line)
            if event is not None:
                self.fold(event)

    def _fold_text(self, event: stream.PlainText) -> None:
        self._seen["non_json_lines"] = self._seen.get("non_json_lines", 0) + 1
        text = event.text.strip()
        if "first_plain_text" not in self._seen and not text.startswith(("{", "[")):  # those are events, cut or broken
            self._seen["first_plain_text"] = text[:_MAX_WORD]

    def _fold_init(self, event: stream.Init) -> None:
        self._seen["init_seen"] = True
        self._went_on()
        news = {"session_id": event.session_id, "model": event.model, "cwd": event.cwd, "claude_version": event.version}
        self._seen.update({name: text[:_MAX_WORD] for name, text in news.items() if text})

    def _fold_assistant(self, event: stream.Assistant) -> None:
        self._went_on()
        if event.synthetic:
            if not event.parent_tool_use_id:
                self._seen["api_failure"] = _api_failure(event)
            return
        self._ledger.add_message(event)
        tools = [block for block in event.message.blocks if block.type == "tool_use"]
        for tool in tools:
            self._fold_tool(tool)
        output_tokens = event.message.usage.output_tokens if event.message.usage else None
        if tools or output_tokens or any(block.text or block.thinking for block in event.message.blocks):
            self._seen["output_seen"] = True
        if not event.parent_tool_use_id:
            self._fold_main_message(event.message, degraded=not tools and output_tokens == 0)

    def _fold_main_message(self, message: stream.Message, *, degraded: bool) -> None:
        identity = _cut(message.id, _MAX_WORD)
        if identity and identity != self._main_message:
            self._main_message = identity
            self._turns += 1
        self._seen["degraded"] = degraded and message.stop_reason is None
        self._seen["api_failure"] = None  # the model answered after it

    def _fold_tool(self, tool: stream.Block) -> None:
        self._seen["last_tool"] = (tool.name or "")[:_MAX_WORD]
        if tool.id:
            self._open_tools[tool.id[:_MAX_WORD]] = None
            while len(self._open_tools) > _MAX_OPEN_TOOLS:
                self._open_tools.popitem(last=False)

    def _fold_user(self, event: stream.User) -> None:
        self._went_on()
        for block in event.message.blocks:
            if block.type == "tool_result" and block.tool_use_id:
                self._open_tools.pop(block.tool_use_id[:_MAX_WORD], None)

    def _fold_result(self, event: stream.Result) -> None:
        self._ledger.add_result(event)
        self._open_tools.clear()
        self._seen["results"] = self._seen.get("results", 0) + 1
        self._seen["result"] = _bounded(event)
        self._seen["active_since_result"] = False

    def _went_on(self) -> None:
        if "results" in self._seen:
            self._seen["active_since_result"] = True


def cut_text(text: str, limit: int = MAX_RESULT_BYTES) -> str:
    """``text`` in at most ``limit`` bytes of UTF-8, with a mark where it was cut; no character is cut in two."""
    if len(text) * 4 <= limit or len(text.encode()) <= limit:
        return text
    return text.encode()[: limit - len(CUT_MARK.encode())].decode(errors="ignore") + CUT_MARK


def _bounded(event: stream.Result) -> stream.Result:
    """The same result without what may be large: the rest of a long text, and all maps and lists of unknown size."""
    return msgspec.structs.replace(
        event,
        text=None if event.text is None else cut_text(event.text),
        errors=[text[:_MAX_TEXT] for text in event.error_texts[:_MAX_ERRORS]],
        **{name: _cut(getattr(event, name), _MAX_WORD) for name in _RESULT_WORDS},
        model_usage=None,
        model_usage_since_last_result=None,
        permission_denials=None,
        subagent_stats=None,
        origin=None,
    )


_RESULT_WORDS = (
    "subtype", "session_id", "stop_reason", "terminal_reason", "api_error_type", "api_error", "local_command",
)  # fmt: skip


def _api_failure(event: stream.Assistant) -> ApiFailure:
    text = next((block.text for block in event.message.blocks if block.text), "")
    return ApiFailure(
        error=(event.error or "")[:_MAX_WORD],
        status=event.api_error_status,
        type=(event.api_error_type or "")[:_MAX_WORD],
        code=(event.api_error or "")[:_MAX_WORD],
        text=text[:_MAX_TEXT],
    )


def _rejected(info: stream.RateLimitInfo | None) -> stream.RateLimitInfo | None:
    """The window if it refuses requests, without what may be large."""
    if info is None or info.status != "rejected":
        return None
    return msgspec.structs.replace(info, kind=_cut(info.kind, _MAX_WORD))


def _cut(text: str | None, limit: int) -> str | None:
    return None if text is None else text[:limit]


def _sum(models: Iterable[stream.ModelUsage], *, start: Usage) -> Usage:
    for model in models:
        start += Usage(
            input_tokens=_tokens(model.input_tokens),
            output_tokens=_tokens(model.output_tokens),
            cache_read_tokens=_tokens(model.cache_read_tokens),
            cache_creation_tokens=_tokens(model.cache_creation_tokens),
        )
    return start


def _api_usage(usage: stream.Usage | None) -> Usage:
    if usage is None:
        return _NO_USAGE
    return Usage(
        input_tokens=_tokens(usage.input_tokens),
        output_tokens=_tokens(usage.output_tokens),
        cache_read_tokens=_tokens(usage.cache_read_input_tokens),
        cache_creation_tokens=_tokens(usage.cache_creation_input_tokens),
    )


def _tokens(number: int | None) -> int:
    """The number if a run could have used so many tokens, else 0: the stream is another program's and not trusted."""
    return number if number is not None and 0 <= number <= _MAX_NUMBER else 0


def _dollars(number: float | None) -> decimal.Decimal | None:
    """The number as it was printed, or None for one that is no cost."""
    if number is None or not 0 <= number <= _MAX_NUMBER:  # false for NaN, too
        return None
    return decimal.Decimal(repr(number))
