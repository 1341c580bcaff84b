"""The events in which the CLI tells what it does beside the conversation: hooks, tasks, compaction, changes of model.

Fields and words as 2.1.329 prints them; the recorded runs of older versions have none of these events.
"""

import msgspec

from agentrun_operator.stream.parts import Message, Struct, Usage


class Status(Struct, frozen=True, kw_only=True):
    """``system/status``: what the CLI does now (``requesting``, ``compacting``); ``status`` None: that is over."""

    session_id: str | None = None
    status: str | None = None
    compact_result: str | None = None
    compact_error: str | None = None


class CompactMetadata(Struct, frozen=True, kw_only=True):
    """``trigger`` is ``manual`` or ``auto``; the tokens are those of the conversation before and after."""

    trigger: str | None = None
    pre_tokens: int | None = None
    post_tokens: int | None = None


_NO_METADATA = CompactMetadata()


class CompactBoundary(Struct, frozen=True, kw_only=True):
    """``system/compact_boundary``: from here on the model knows a summary of what was before."""

    session_id: str | None = None
    metadata: CompactMetadata = msgspec.field(default=_NO_METADATA, name="compact_metadata")


class PermissionDenied(Struct, frozen=True, kw_only=True):
    """``system/permission_denied``: a tool was not run; the run goes on."""

    session_id: str | None = None
    tool_name: str | None = None
    tool_use_id: str | None = None
    message: str | None = None


class HookStarted(Struct, frozen=True, kw_only=True):
    """``system/hook_started``: one of the user's own programs; may come before init."""

    session_id: str | None = None
    hook_name: str | None = None
    hook_event: str | None = None


class HookResponse(Struct, frozen=True, kw_only=True):
    """``system/hook_response``: how that program ended."""

    session_id: str | None = None
    hook_name: str | None = None
    hook_event: str | None = None
    exit_code: int | None = None
    outcome: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the CLI says so, or the program's exit code does."""
        return self.exit_code not in {None, 0} or self.outcome == "error"


class TaskStarted(Struct, frozen=True, kw_only=True):
    """``system/task_started``: a command (``local_bash``) or a subagent (``local_agent``) is at work.

    Not only in the background: ``is_backgrounded`` False means that its tool call waits for it. ``ambient``: the CLI's
    own housekeeping, for which it does not wait.
    """

    session_id: str | None = None
    task_id: str | None = None
    tool_use_id: str | None = None
    description: str | None = None
    task_type: str | None = None
    is_backgrounded: bool | None = None
    ambient: bool | None = None


class TaskProgress(Struct, frozen=True, kw_only=True):
    """``system/task_progress``: what a subagent does. Its ``usage`` is left out: its messages bring their own."""

    session_id: str | None = None
    task_id: str | None = None
    tool_use_id: str | None = None
    description: str | None = None
    last_tool_name: str | None = None


class TaskPatch(Struct, frozen=True, kw_only=True):
    """What has changed of a task."""

    status: str | None = None
    description: str | None = None
    error: str | None = None
    is_backgrounded: bool | None = None

    @property
    def ended(self) -> bool:
        """Whether the task has come to its end, good or bad."""
        return self.status in {"completed", "failed", "killed", "stopped"}


NO_PATCH = TaskPatch()


class TaskUpdated(Struct, frozen=True, kw_only=True):
    """``system/task_updated``: may be the only word of a task's end."""

    session_id: str | None = None
    task_id: str | None = None
    patch: TaskPatch = NO_PATCH


class TaskNotification(Struct, frozen=True, kw_only=True):
    """``system/task_notification``: a task has ended (``completed``, ``failed``, ``stopped``).

    ``output_file`` is ``""`` for a command whose tool call has waited for it.
    """

    session_id: str | None = None
    task_id: str | None = None
    tool_use_id: str | None = None
    status: str | None = None
    summary: str | None = None
    output_file: str | None = None
    ambient: bool | None = None


class BackgroundTask(Struct, frozen=True, kw_only=True):
    """One task of the list."""

    task_id: str | None = None
    task_type: str | None = None
    description: str | None = None
    ambient: bool | None = None


class BackgroundTasksChanged(Struct, frozen=True, kw_only=True):
    """``system/background_tasks_changed``: all tasks that are at work in the background now."""

    session_id: str | None = None
    tasks: list[BackgroundTask] | None = None


class ModelFallback(Struct, frozen=True, kw_only=True):
    """``system/model_fallback``: the model of ``--fallback-model`` goes on; ``trigger`` says why."""

    session_id: str | None = None
    trigger: str | None = None
    original_model: str | None = None
    fallback_model: str | None = None
    content: str | None = None


class ModelRefusalFallback(Struct, frozen=True, kw_only=True):
    """``system/model_refusal_fallback``: the model refused, another one goes on."""

    session_id: str | None = None
    original_model: str | None = None
    fallback_model: str | None = None
    content: str | None = None


class ModelRefusalNoFallback(Struct, frozen=True, kw_only=True):
    """``system/model_refusal_no_fallback``: the model refused, and that was it."""

    session_id: str | None = None
    original_model: str | None = None
    content: str | None = None


class Informational(Struct, frozen=True, kw_only=True):
    """``system/informational``: words of the CLI to a person."""

    session_id: str | None = None
    level: str | None = None
    content: str | None = None


class ThinkingTokens(Struct, frozen=True, kw_only=True):
    """``system/thinking_tokens``: the CLI's guess of what a message has thought so far; its usage contains them."""

    session_id: str | None = None
    estimated_tokens: int | None = None
    estimated_tokens_delta: int | None = None


class ToolProgress(Struct, tag_field="type", tag="tool_progress", frozen=True, kw_only=True):
    """``tool_progress``: a tool is still at work; a sign of life every half minute."""

    session_id: str | None = None
    tool_use_id: str | None = None
    tool_name: str | None = None
    elapsed_time_seconds: float | None = None


class ApiDelta(Struct, frozen=True, kw_only=True):
    """How a message ends."""

    stop_reason: str | None = None


class ApiEvent(Struct, frozen=True, kw_only=True):
    """An event of the API's own stream. Only of message_start and message_delta more than the ``type`` is read.

    ``usage`` of a message_delta is the message's whole output so far, not what came since the delta before.
    """

    type: str | None = None
    message: Message | None = None
    delta: ApiDelta | None = None
    usage: Usage | None = None


class StreamEvent(Struct, tag_field="type", tag="stream_event", frozen=True, kw_only=True):
    """``stream_event``: with --include-partial-messages, every piece of a message while it comes."""

    session_id: str | None = None
    parent_tool_use_id: str | None = None
    message_id: str | None = msgspec.field(default=None, name="api_message_id")
    event: ApiEvent | None = None
