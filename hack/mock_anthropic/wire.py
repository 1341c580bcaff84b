"""The Messages API's JSON: a message as one object, or as the events of a stream with their pauses and breaks."""

import collections.abc
import dataclasses
import enum
import json
import uuid
from typing import Any

from hack.mock_anthropic.answers import Block, Failure, Fault, Message, Text, Thinking, Tool

_SIGNATURE = "c2ln"


@dataclasses.dataclass(frozen=True)
class Event:
    """One server-sent event."""

    kind: str
    fields: dict[str, Any]

    def encode(self) -> bytes:
        return f"event: {self.kind}\ndata: {json.dumps({'type': self.kind, **self.fields})}\n\n".encode()


@dataclasses.dataclass(frozen=True)
class Pause:
    seconds: float


class Break(enum.Enum):
    """How a stream ends before its time."""

    RESET = enum.auto()
    END = enum.auto()
    HANG = enum.auto()


Step = Event | Pause | Break

OVERLOADED = {"type": "overloaded_error", "message": "Overloaded"}


def new_id(prefix: str) -> str:
    return f"{prefix}_mock{uuid.uuid4().hex[:18]}"


def failure_body(failure: Failure) -> bytes:
    """Return the body of an HTTP error."""
    if failure.kind is None:
        return failure.text.encode()
    error = {"type": failure.kind, "message": failure.text}
    return json.dumps({"type": "error", "error": error, "request_id": new_id("req")}).encode()


def _envelope(message: Message, model: str, *, output_tokens: int) -> dict[str, Any]:
    usage = {
        "input_tokens": 1000,
        "cache_creation_input_tokens": 200,
        "cache_read_input_tokens": 300,
        "output_tokens": output_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": 200, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    }
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage | message.usage,
    }


def _ending(message: Message) -> dict[str, Any]:
    ending: dict[str, Any] = {"stop_reason": message.stop, "stop_sequence": None}
    return ending | ({"stop_details": message.stop_details} if message.stop_details else {})


def _whole_block(block: Block) -> dict[str, Any]:
    match block:
        case Text(chunks):
            return {"type": "text", "text": "".join(chunks)}
        case Thinking(text):
            return {"type": "thinking", "thinking": text, "signature": _SIGNATURE}
        case Tool(name, arguments):
            return {"type": "tool_use", "id": new_id("toolu"), "name": name, "input": arguments}


def whole(message: Message, model: str) -> dict[str, Any]:
    """Return the answer to a request that did not ask for a stream."""
    content = [_whole_block(block) for block in message.blocks]
    return _envelope(message, model, output_tokens=50) | {"content": content} | _ending(message)


def _tokens(block: Block) -> int:
    match block:
        case Text(chunks):
            return sum(max(1, len(chunk) // 4) for chunk in chunks)
        case Thinking():
            return 0
        case Tool(_, arguments):
            return len(json.dumps(arguments)) // 4


def _opening(block: Block) -> dict[str, Any]:
    match block:
        case Text():
            return {"type": "text", "text": ""}
        case Thinking():
            return {"type": "thinking", "thinking": "", "signature": ""}
        case Tool(name, _):
            return {"type": "tool_use", "id": new_id("toolu"), "name": name, "input": {}}


def _deltas(block: Block, pause: list[Pause]) -> collections.abc.Iterator[Pause | dict[str, str]]:
    match block:
        case Text(chunks):
            for chunk in chunks:
                yield from pause
                yield {"type": "text_delta", "text": chunk}
        case Thinking(text):
            yield {"type": "thinking_delta", "thinking": text}
            yield {"type": "signature_delta", "signature": _SIGNATURE}
        case Tool(_, arguments):
            yield from pause
            encoded = json.dumps(arguments)
            half = len(encoded) // 2
            for part in (encoded[:half], encoded[half:]):
                yield {"type": "input_json_delta", "partial_json": part}


def _break_inside(fault: Fault | None) -> list[Step]:
    match fault:
        case Fault.DROP_MID:
            return [Break.RESET]
        case Fault.EOF_MID:
            return [Break.END]
        case Fault.HANG_MID:
            return [Break.HANG]
        case Fault.SSE_ERROR:
            return [Event("error", {"error": OVERLOADED}), Break.END]
        case Fault.DROP_AFTER_BLOCK | None:
            return []


def _block_steps(message: Message, index: int, block: Block) -> collections.abc.Iterator[Step]:
    yield Event("content_block_start", {"index": index, "content_block": _opening(block)})
    for delta in _deltas(block, [Pause(message.pause)] if message.pause else []):
        if isinstance(delta, Pause):
            yield delta
        else:
            yield Event("content_block_delta", {"index": index, "delta": delta})
    if isinstance(block, Text):
        yield from _break_inside(message.fault)
    yield Event("content_block_stop", {"index": index})
    if message.fault is Fault.DROP_AFTER_BLOCK:
        yield Break.RESET


def steps(message: Message, model: str) -> collections.abc.Iterator[Step]:
    """Yield a stream's events; whoever sends them stops at the first Break."""
    yield Event("message_start", {"message": _envelope(message, model, output_tokens=1)})
    yield Event("ping", {})
    for index, block in enumerate(message.blocks):
        yield from _block_steps(message, index, block)
    usage = {"output_tokens": 1 + sum(_tokens(block) for block in message.blocks)}
    yield Event("message_delta", {"delta": _ending(message), "usage": usage})
    yield Event("message_stop", {})
