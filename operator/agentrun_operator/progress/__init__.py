"""Events folded into what is known of a run so far, in memory of constant size.

``Progress`` is the only mutable value of the pure core: the tail feeds it bytes, the status takes a ``Transcript``. It
refuses to conclude: a retry, an error or a refusal is recorded here and judged in ``forensics``.

Whatever is kept was bounded first, because a run may last for days and print gigabytes: texts are cut, and of ids only
the latest are kept. ``ledger`` says where the numbers come from.
"""

import dataclasses
import decimal
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from agentrun_operator import stream
from agentrun_operator.progress.bounds import CUT_MARK, MAX_RESULT_BYTES, MAX_TEXT, MAX_WORD, cut, cut_text
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
    result: stream.Outcome | None = None
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

    # An operator holds one for every live run, so each must be small.
    __slots__ = (
        "_active_since_result", "_api_failure", "_api_retry", "_bytes", "_cwd", "_decoder", "_degraded", "_events",
        "_first_plain_text", "_fresh_result", "_init_seen", "_last_tool", "_ledger", "_main_message", "_model",
        "_non_json_lines", "_open_tools", "_output_seen", "_rejected", "_result", "_results", "_session_id", "_tasks",
        "_turns", "_version",
    )  # fmt: skip

    def __init__(self, max_line_bytes: int = stream.DEFAULT_MAX_LINE_BYTES) -> None:
        self._decoder = stream.LineDecoder(max_line_bytes)
        self._ledger = Ledger()
        self._tasks = BackgroundTasks()
        self._open_tools: dict[str, None] = {}  # used as an ordered set
        self._events = self._bytes = self._turns = self._results = self._non_json_lines = 0
        self._session_id = self._model = self._cwd = self._version = ""
        self._main_message = self._last_tool = ""
        self._first_plain_text: str | None = None
        self._init_seen = self._output_seen = self._degraded = self._active_since_result = False
        self._result: stream.Outcome | None = None
        self._fresh_result: stream.Outcome | None = None  # not bounded yet
        self._api_failure: ApiFailure | None = None
        self._api_retry: stream.ApiRetry | None = None
        self._rejected: stream.RateLimitInfo | None = None

    def feed(self, chunk: bytes) -> None:
        """Fold the lines that ``chunk`` completes."""
        self._bytes += len(chunk)
        self._fold_lines(self._decoder.cut(chunk))

    def finish(self) -> None:
        """Fold the last line, which may lack its line end; call it when no more bytes will come."""
        last = self._decoder.flush()
        if last:
            self._fold_lines(last)

    def fold(self, event: stream.Event) -> None:
        """Take note of one event."""
        self._take(event)
        self._settle()

    def snapshot(self) -> Transcript:
        """What is known so far; the value stays as it is when the fold goes on."""
        return Transcript(
            session_id=self._session_id,
            model=self._model,
            claude_version=self._version,
            cwd=self._cwd,
            init_seen=self._init_seen,
            turns=self._turns,
            last_tool=self._last_tool,
            open_tool=bool(self._open_tools),
            usage=self._ledger.usage,
            usage_is_estimate=self._ledger.is_estimate,
            cost_usd=self._ledger.cost,
            events=self._events,
            bytes=self._bytes,
            non_json_lines=self._non_json_lines,
            oversized_lines=self._decoder.oversized_lines,
            first_plain_text=self._first_plain_text or "",
            output_seen=self._output_seen,
            degraded=self._degraded,
            result=self._result,
            results=self._results,
            active_since_result=self._active_since_result or (self._results > 0 and bool(self._tasks)),
            api_failure=self._api_failure,
            rejected=self._rejected,
            api_retry=self._api_retry,
        )

    def _fold_lines(self, lines: list[bytes]) -> None:
        try:
            events = list(map(stream.skim, lines))  # all of them first: in turn with the fold, both take longer
        except (ValueError, RecursionError):
            self._fold_carefully(lines)
        else:
            self._fold_skimmed(events)
        self._settle()

    def _fold_carefully(self, lines: list[bytes]) -> None:
        for line in lines:
            try:
                event = stream.skim(line)
            except (ValueError, RecursionError):
                careful = stream.parse(stream.without_end(line))
                if careful is not None:
                    self._take(careful)
            else:
                self._fold_skimmed([event])

    def _fold_skimmed(self, events: list[stream.Skimmed]) -> None:
        """The same as ``_take`` for each, written out: a call for every line takes a tenth of the time."""
        folds, system_folds = self._FOLDS, self._SYSTEM_FOLDS
        self._events += len(events)
        for event in events:
            if self._session_id:
                break
            self._session_id = (event.session_id or "")[:MAX_WORD]
        for event in events:
            take = system_folds.get(event.subtype) if type(event) is stream.System else folds.get(type(event))
            if take is not None:
                take(self, event)

    def _take(self, event: stream.Event) -> None:
        if isinstance(event, stream.PlainText):
            self._fold_text(event)
            return
        self._events += 1
        if not self._session_id and event.session_id:
            self._session_id = event.session_id[:MAX_WORD]
        take = self._FOLDS.get(type(event))
        if take is not None:
            take(self, event)

    def _settle(self) -> None:
        """Bound the last result: several may come at once, and only the last one is kept."""
        if self._fresh_result is not None:
            self._result, self._fresh_result = _bounded(self._fresh_result), None

    def _fold_text(self, event: stream.PlainText) -> None:
        self._non_json_lines += 1
        text = event.text.strip()
        if self._first_plain_text is None and not text.startswith(("{", "[")):  # those are events, cut or broken
            self._first_plain_text = text[:MAX_WORD]

    def _fold_init(self, event: stream.Init | stream.System) -> None:
        self._init_seen = True
        self._active_since_result = self._results > 0
        if event.session_id:
            self._session_id = event.session_id[:MAX_WORD]
        if event.model:
            self._model = event.model[:MAX_WORD]
        if event.cwd:
            self._cwd = event.cwd[:MAX_WORD]
        if event.version:
            self._version = event.version[:MAX_WORD]

    def _fold_assistant(self, event: stream.Assistant | stream.Said) -> None:
        self._active_since_result = self._results > 0
        message, thread = event.message, event.parent_tool_use_id
        if message.model == stream.SYNTHETIC_MODEL or event.is_api_error_message:
            if not thread:
                self._api_failure = _api_failure(event)
            return
        usage = message.usage
        self._ledger.add_message(thread, message.id, usage)
        output_tokens = None if usage is None else usage.output_tokens
        called, said = False, bool(output_tokens)
        for block in message.blocks:
            if block.type == "tool_use":
                called = True
                self._fold_tool(block)
            elif block.text or block.thinking:
                said = True
        if called or said:
            self._output_seen = True
        if not thread:
            identity = message.id
            if identity and identity != self._main_message:
                identity = identity[:MAX_WORD]
                self._turns += identity != self._main_message
                self._main_message = identity
            self._degraded = output_tokens == 0 and not called and message.stop_reason is None
            self._api_failure = None  # the model answered after it

    def _fold_tool(self, tool: stream.Block | stream.SaidBlock) -> None:
        self._last_tool = (tool.name or "")[:MAX_WORD]
        if tool.id:
            self._open_tools[tool.id[:MAX_WORD]] = None
            if len(self._open_tools) > _MAX_OPEN_TOOLS:
                del self._open_tools[next(iter(self._open_tools))]

    def _fold_user(self, event: stream.User | stream.Answer) -> None:
        self._active_since_result = self._results > 0
        content = event.message.content
        if isinstance(content, list):
            for block in content:
                if block.type == "tool_result" and block.tool_use_id:
                    self._open_tools.pop(block.tool_use_id[:MAX_WORD], None)

    def _fold_result(self, event: stream.Result | stream.Ended) -> None:
        self._ledger.add_result(event)
        self._open_tools.clear()
        self._results += 1
        self._fresh_result = event
        self._active_since_result = False

    def _fold_stream(self, event: stream.StreamEvent) -> None:
        inner = event.event
        if inner is None:
            return
        if inner.type == "message_start" and inner.message is not None:
            self._active_since_result = self._results > 0
            self._ledger.add_message(event.parent_tool_use_id, inner.message.id, inner.message.usage)
        elif inner.type == "message_delta":
            self._ledger.add_end(event, inner.usage)
            said = inner.usage is not None and inner.usage.output_tokens
            if not event.parent_tool_use_id and (said or (inner.delta is not None and inner.delta.stop_reason)):
                self._degraded = False  # its assistant events were printed before it ended

    def _fold_retry(self, event: stream.ApiRetry | stream.System) -> None:
        self._api_retry = stream.ApiRetry(
            attempt=event.attempt,
            max_retries=event.max_retries,
            retry_delay_ms=event.retry_delay_ms,
            error_status=event.error_status,
            error=cut(event.error),
        )

    def _fold_limit(self, event: stream.RateLimit) -> None:
        self._rejected = _rejected(event.info)

    # By type, because most events of a run with partial messages are folded into nothing: one look has to be enough.
    _FOLDS: ClassVar[Mapping[type[msgspec.Struct], Callable[["Progress", Any], None]]] = {
        stream.Assistant: _fold_assistant,
        stream.Said: _fold_assistant,
        stream.Answer: _fold_user,
        stream.User: _fold_user,
        stream.Ended: _fold_result,
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
    _SYSTEM_FOLDS: ClassVar[Mapping[str | None, Callable[["Progress", Any], None]]] = {
        "init": _fold_init,
        "api_retry": _fold_retry,
        "task_started": _FOLDS[stream.TaskStarted],
        "task_updated": _FOLDS[stream.TaskUpdated],
        "task_notification": _FOLDS[stream.TaskNotification],
        "background_tasks_changed": _FOLDS[stream.BackgroundTasksChanged],
    }


def _bounded(event: stream.Outcome) -> stream.Outcome:
    """How it went without what may be large: the rest of long texts, of errors all but the first ones."""
    return stream.Outcome(
        subtype=cut(event.subtype),
        is_error=event.is_error,
        text=None if event.text is None else cut_text(event.text),
        errors=[text[:MAX_TEXT] for text in event.error_texts[:_MAX_ERRORS]] if event.errors else None,
        stop_reason=cut(event.stop_reason),
        terminal_reason=cut(event.terminal_reason),
        api_error_status=event.api_error_status,
        api_error_type=cut(event.api_error_type),
        api_error=cut(event.api_error),
        duration_ms=event.duration_ms,
    )


def _api_failure(event: stream.Assistant | stream.Said) -> ApiFailure:
    text = next((block.text for block in event.message.blocks if block.text), "")
    return ApiFailure(
        error=(event.error or "")[:MAX_WORD],
        status=event.api_error_status,
        type=(event.api_error_type or "")[:MAX_WORD],
        code=(event.api_error or "")[:MAX_WORD],
        text=text[:MAX_TEXT],
    )


def _rejected(info: stream.RateLimitInfo | None) -> stream.RateLimitInfo | None:
    """The window if it refuses requests, without what may be large."""
    if info is None or info.status != "rejected":
        return None
    return msgspec.structs.replace(info, kind=cut(info.kind))
