r"""Bytes of the agent's log → typed events.

The Claude Code CLI prints one JSON object per line. This package cuts bytes into lines and lines into frozen values. It
refuses to judge: it never raises for what an agent printed, and it draws no conclusion from it (``progress`` folds,
``forensics`` concludes). Facts it relies on (claude-cli.md):

- lines end with ``\n`` and with nothing else; a line may be megabytes long and the last one may be cut off;
- the order of keys is not stable, and model text may look like an event: only the top-level ``type`` counts;
- unknown types, new fields and fields of another type than today's are normal. A field that cannot be read is absent.

A line can be read in two ways: ``parse`` gives the event, whatever the line is; ``skim`` gives what is folded of it,
three times as fast, for the lines that are as expected (ADR 0013).
"""

from agentrun_operator.stream.events import (
    ApiRetry,
    Assistant,
    Init,
    Outcome,
    PlainText,
    RateLimit,
    RateLimitInfo,
    Result,
    SYNTHETIC_MODEL,
    Unknown,
    User,
)
from agentrun_operator.stream.lines import (
    DEFAULT_MAX_LINE_BYTES,
    LineDecoder,
    without_end,
)
from agentrun_operator.stream.notices import (
    ApiDelta,
    ApiEvent,
    BackgroundTask,
    BackgroundTasksChanged,
    CompactBoundary,
    CompactMetadata,
    HookResponse,
    HookStarted,
    Informational,
    ModelFallback,
    ModelRefusalFallback,
    ModelRefusalNoFallback,
    PermissionDenied,
    Status,
    StreamEvent,
    TaskNotification,
    TaskPatch,
    TaskProgress,
    TaskStarted,
    TaskUpdated,
    ThinkingTokens,
    ToolProgress,
)
from agentrun_operator.stream.parts import (
    Block,
    Message,
    ModelUsage,
    Usage,
)
from agentrun_operator.stream.reader import (
    Event,
    parse,
)
from agentrun_operator.stream.skim import (
    Answer,
    Ended,
    Said,
    SaidBlock,
    Skimmed,
    System,
    skim,
)

__all__ = [
    "Answer",
    "ApiDelta",
    "ApiEvent",
    "ApiRetry",
    "Assistant",
    "BackgroundTask",
    "BackgroundTasksChanged",
    "Block",
    "CompactBoundary",
    "CompactMetadata",
    "DEFAULT_MAX_LINE_BYTES",
    "Ended",
    "Event",
    "HookResponse",
    "HookStarted",
    "Informational",
    "Init",
    "LineDecoder",
    "Message",
    "ModelFallback",
    "ModelRefusalFallback",
    "ModelRefusalNoFallback",
    "ModelUsage",
    "Outcome",
    "PermissionDenied",
    "PlainText",
    "RateLimit",
    "RateLimitInfo",
    "Result",
    "SYNTHETIC_MODEL",
    "Said",
    "SaidBlock",
    "Skimmed",
    "Status",
    "StreamEvent",
    "System",
    "TaskNotification",
    "TaskPatch",
    "TaskProgress",
    "TaskStarted",
    "TaskUpdated",
    "ThinkingTokens",
    "ToolProgress",
    "Unknown",
    "Usage",
    "User",
    "parse",
    "skim",
    "without_end",
]
