"""What the mock can answer, as data; `wire.py` and `server.py` turn it into bytes."""

import dataclasses
import enum
from typing import Any


class Fault(enum.Enum):
    """How a response breaks off after it began."""

    DROP_MID = "connection reset inside the first text block"
    EOF_MID = "orderly end of the body inside the first text block"
    HANG_MID = "silence inside the first text block"
    SSE_ERROR = "an error event inside the first text block"
    DROP_AFTER_BLOCK = "connection reset after the first block"


class Silence(enum.Enum):
    """No response at all."""

    HANG = "never answer"
    DROP = "reset the connection"


@dataclasses.dataclass(frozen=True)
class Text:
    """A text block; each chunk is one event of a stream."""

    chunks: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Thinking:
    text: str


@dataclasses.dataclass(frozen=True)
class Tool:
    name: str
    arguments: dict[str, Any]


Block = Text | Thinking | Tool


@dataclasses.dataclass(frozen=True)
class Message:
    """An assistant message; `pause` is the number of seconds before each chunk of text and each tool's input."""

    blocks: tuple[Block, ...]
    stop: str = "end_turn"
    pause: float = 0.0
    fault: Fault | None = None
    stop_details: dict[str, str] | None = None
    usage: dict[str, int] = dataclasses.field(default_factory=dict)
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Failure:
    """An HTTP error. Without `kind` the body is `text` as HTML, as a proxy answers."""

    status: int
    kind: str | None
    text: str
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


Answer = Message | Failure | Silence


def say(*chunks: str) -> Message:
    """Return a message that ends the turn with one text."""
    return Message((Text(chunks),))


def call(*blocks: Block, pause: float = 0.0, usage: dict[str, int] | None = None) -> Message:
    """Return a message that asks for tools."""
    return Message(blocks, stop="tool_use", pause=pause, usage=usage or {})


def bash(command: str, description: str, **more: Any) -> Tool:  # noqa: ANN401  # a tool's arguments are any JSON
    """Return a call of the Bash tool."""
    return Tool("Bash", {"command": command, "description": description, **more})
