"""Events folded into what is known of a run so far, in memory of constant size.

``Progress`` is the only mutable value of the pure core: the tail feeds it bytes, the status takes a ``Transcript``. It
refuses to conclude: a retry, an error or a refusal is recorded here and judged in ``forensics``.

Whatever is kept was bounded first, because a run may last for days and print gigabytes: texts are cut, and of ids only
the latest are kept. ``ledger`` says where the numbers come from.
"""

import collections
import decimal
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from agentrun_operator import stream
from agentrun_operator.progress import bounds
from agentrun_operator.progress.bounds import CUT_MARK, MAX_RESULT_BYTES, cut_text
from agentrun_operator.progress.ledger import Ledger, Usage
from agentrun_operator.progress.tasks import BackgroundTasks

__all__ = ["CUT_MARK", "MAX_RESULT_BYTES", "ApiFailure", "Progress", "Transcript", "Usage", "cut_text"]

_MAX_ERRORS = 8
_MAX_OPEN_TOOLS = 64
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
    is ``cost_usd`` (None while unknown). ``active_since_result``: the agent went on after its last result, or a
    background task that it will go on after is still at work, which it awaits in silence.
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


class Progress:
    """The fold. ``feed`` and ``finish`` take bytes, ``fold`` takes events; ``snapshot`` may be called at any time."""

    def __init__(self, max_line_bytes: int = stream.DEFAULT_MAX_LINE_BYTES) -> None:
        self._decoder = stream.LineDecoder(max_line_bytes)
        self._ledger = Ledger()
        self._tasks = BackgroundTasks()
        self._active_since_result = False
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
            self._seen["session_id"] = event.session_id[: bounds.MAX_WORD]
        take = self._FOLDS.get(type(event))
        if take is not None:
            take(self, event)

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
            active_since_result=self._active_since_result or ("results" in self._seen and bool(self._tasks)),
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
            self._seen["first_plain_text"] = text[: bounds.MAX_WORD]

    def _fold_init(self, event: stream.Init) -> None:
        self._seen["init_seen"] = True
        self._went_on()
        news = {"session_id": event.session_id, "model": event.model, "cwd": event.cwd, "claude_version": event.version}
        self._seen.update({name: text[: bounds.MAX_WORD] for name, text in news.items() if text})

    def _fold_assistant(self, event: stream.Assistant) -> None:
        self._went_on()
        if event.synthetic:
            if not event.parent_tool_use_id:
                self._seen["api_failure"] = _api_failure(event)
            return
        self._ledger.add_message(event.parent_tool_use_id, event.message)
        tools = [block for block in event.message.blocks if block.type == "tool_use"]
        for tool in tools:
            self._fold_tool(tool)
        output_tokens = event.message.usage.output_tokens if event.message.usage else None
        if tools or output_tokens or any(block.text or block.thinking for block in event.message.blocks):
            self._seen["output_seen"] = True
        if not event.parent_tool_use_id:
            self._fold_main_message(event.message, degraded=not tools and output_tokens == 0)

    def _fold_main_message(self, message: stream.Message, *, degraded: bool) -> None:
        identity = bounds.cut(message.id)
        if identity and identity != self._main_message:
            self._main_message = identity
            self._turns += 1
        self._seen["degraded"] = degraded and message.stop_reason is None
        self._seen["api_failure"] = None  # the model answered after it

    def _fold_tool(self, tool: stream.Block) -> None:
        self._seen["last_tool"] = (tool.name or "")[: bounds.MAX_WORD]
        if tool.id:
            self._open_tools[tool.id[: bounds.MAX_WORD]] = None
            while len(self._open_tools) > _MAX_OPEN_TOOLS:
                self._open_tools.popitem(last=False)

    def _fold_user(self, event: stream.User) -> None:
        self._went_on()
        for block in event.message.blocks:
            if block.type == "tool_result" and block.tool_use_id:
                self._open_tools.pop(block.tool_use_id[: bounds.MAX_WORD], None)

    def _fold_result(self, event: stream.Result) -> None:
        self._ledger.add_result(event)
        self._open_tools.clear()
        self._seen["results"] = self._seen.get("results", 0) + 1
        self._seen["result"] = _bounded(event)
        self._active_since_result = False

    def _fold_stream(self, event: stream.StreamEvent) -> None:
        inner = event.event
        if inner is None:
            return
        if inner.type == "message_start" and inner.message is not None:
            self._went_on()
            self._ledger.add_message(event.parent_tool_use_id, inner.message)
        elif inner.type == "message_delta":
            self._ledger.add_end(event, inner.usage)
            said = inner.usage is not None and inner.usage.output_tokens
            if not event.parent_tool_use_id and (said or (inner.delta is not None and inner.delta.stop_reason)):
                self._seen["degraded"] = False  # its assistant events were printed before it ended

    def _fold_retry(self, event: stream.ApiRetry) -> None:
        self._seen["api_retry"] = msgspec.structs.replace(event, error=bounds.cut(event.error), session_id=None)

    def _fold_limit(self, event: stream.RateLimit) -> None:
        self._seen["rejected"] = _rejected(event.info)

    def _went_on(self) -> None:
        self._active_since_result = "results" in self._seen

    # By type, because most events of a run with partial messages are folded into nothing: one look has to be enough.
    _FOLDS: ClassVar[Mapping[type[stream.Event], Callable[["Progress", Any], None]]] = {
        stream.Assistant: _fold_assistant,
        stream.User: _fold_user,
        stream.Result: _fold_result,
        stream.Init: _fold_init,
        stream.ApiRetry: _fold_retry,
        stream.RateLimit: _fold_limit,
        stream.StreamEvent: _fold_stream,
        stream.TaskStarted: lambda self, event: self._tasks.start(event),
        stream.TaskUpdated: lambda self, event: self._tasks.update(event),
        stream.TaskNotification: lambda self, event: self._tasks.end(event),
        stream.BackgroundTasksChanged: lambda self, event: self._tasks.replace(event),
    }


def _bounded(event: stream.Result) -> stream.Result:
    """The same result without what may be large: the rest of a long text, and all maps and lists of unknown size."""
    return msgspec.structs.replace(
        event,
        text=None if event.text is None else cut_text(event.text),
        errors=[text[: bounds.MAX_TEXT] for text in event.error_texts[:_MAX_ERRORS]],
        **{name: bounds.cut(getattr(event, name)) for name in _RESULT_WORDS},
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
        error=(event.error or "")[: bounds.MAX_WORD],
        status=event.api_error_status,
        type=(event.api_error_type or "")[: bounds.MAX_WORD],
        code=(event.api_error or "")[: bounds.MAX_WORD],
        text=text[: bounds.MAX_TEXT],
    )


def _rejected(info: stream.RateLimitInfo | None) -> stream.RateLimitInfo | None:
    """The window if it refuses requests, without what may be large."""
    if info is None or info.status != "rejected":
        return None
    return msgspec.structs.replace(info, kind=bounds.cut(info.kind))
