"""Lines → what is folded of them, in one pass over each line: logs of gigabytes are read this way.

It sees what ``parse`` sees or nothing at all: a line that is not quite as expected makes it raise ValueError or
RecursionError, and is a matter for ``parse``.
"""

import msgspec

from agentrun_operator.stream import events, notices
from agentrun_operator.stream.parts import ModelUsage, Struct, Usage


class System(Struct, tag_field="type", tag="system", frozen=True, kw_only=True):
    """A ``system`` event of any subtype, with the fields of those subtypes that are folded."""

    subtype: str | None = None
    session_id: str | None = None
    # init
    model: str | None = None
    cwd: str | None = None
    version: str | None = msgspec.field(default=None, name="claude_code_version")
    # api_retry
    attempt: int | None = None
    max_retries: int | None = None
    retry_delay_ms: float | None = None
    error_status: int | None = None
    error: str | None = None
    # task_started, task_updated, task_notification, background_tasks_changed
    task_id: str | None = None
    is_backgrounded: bool | None = None
    ambient: bool | None = None
    patch: notices.TaskPatch = notices.NO_PATCH
    tasks: list[notices.BackgroundTask] | None = None


class SaidBlock(Struct, frozen=True, kw_only=True):
    """What the model says or calls; the call's input may be long and is left alone."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None


class SaidMessage(Struct, frozen=True, kw_only=True):
    """The message inside an ``assistant`` event."""

    id: str | None = None
    model: str | None = None
    blocks: list[SaidBlock] = msgspec.field(default=[], name="content")
    stop_reason: str | None = None
    usage: Usage | None = None


_NOTHING_SAID = SaidMessage()


class Said(Struct, tag_field="type", tag="assistant", frozen=True, kw_only=True):
    """An ``assistant`` event."""

    session_id: str | None = None
    parent_tool_use_id: str | None = None
    message: SaidMessage = _NOTHING_SAID
    error: str | None = None
    is_api_error_message: bool | None = None
    api_error_status: int | None = None
    api_error_type: str | None = None
    api_error: str | None = None


class AnswerBlock(Struct, frozen=True, kw_only=True):
    """Which tool call a block answers, if it does; what the tool has printed may be long and is left alone."""

    type: str | None = None
    tool_use_id: str | None = None


class AnswerMessage(Struct, frozen=True, kw_only=True):
    """The message inside a ``user`` event."""

    content: str | list[AnswerBlock] | None = None


_NO_MESSAGE = AnswerMessage()


class Answer(Struct, tag_field="type", tag="user", frozen=True, kw_only=True):
    """A ``user`` event: tool results and injected text."""

    session_id: str | None = None
    message: AnswerMessage = _NO_MESSAGE


class Ended(events.Outcome, tag_field="type", tag="result", frozen=True, kw_only=True):
    """A ``result`` event: how it went, and what was used."""

    session_id: str | None = None
    total_cost_usd: float | None = None
    usage: Usage | None = None
    model_usage: dict[str, ModelUsage] | None = msgspec.field(default=None, name="modelUsage")
    model_usage_since_last_result: dict[str, ModelUsage] | None = None


# msgspec finds the tag wherever it stands; one that is not the first key costs a second look at the line.
Skimmed = Said | Answer | Ended | events.RateLimit | notices.StreamEvent | notices.ToolProgress | System

_DECODER: msgspec.json.Decoder[Skimmed] = msgspec.json.Decoder(Skimmed)
skim = _DECODER.decode
