"""What events are made of: usage, messages and their blocks, in the API's own words."""

from typing import Annotated

import msgspec


class Struct(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Base of all values: every field is optional, because no field of another program's output is certain.

    What is read from JSON has no cycles, so the garbage collector need not look at it.
    """


# What no run could have used is no number of tokens, and absent like every field that cannot be read.
Tokens = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens as the API counts them."""

    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    cache_read_input_tokens: Tokens | None = None
    cache_creation_input_tokens: Tokens | None = None


class ModelUsage(Struct, frozen=True, kw_only=True):
    """Tokens and US dollars of one model."""

    input_tokens: Tokens | None = msgspec.field(default=None, name="inputTokens")
    output_tokens: Tokens | None = msgspec.field(default=None, name="outputTokens")
    cache_read_tokens: Tokens | None = msgspec.field(default=None, name="cacheReadInputTokens")
    cache_creation_tokens: Tokens | None = msgspec.field(default=None, name="cacheCreationInputTokens")
    cost_usd: float | None = msgspec.field(default=None, name="costUSD")


_NO_INPUT = msgspec.Raw()  # "Raw | None" would refuse everything but null


class Block(Struct, frozen=True, kw_only=True):
    """One content block; ``type`` tells which fields mean something (text, thinking, tool_use, tool_result, others).

    One struct for all kinds: a tagged union would refuse the whole message for one new kind of block. ``input`` is JSON
    as it was printed (no bytes if absent): few readers want it, and building it is slow.
    """

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NO_INPUT
    tool_use_id: str | None = None
    content: "str | list[Block] | None" = None
    is_error: bool | None = None


class Message(Struct, frozen=True, kw_only=True):
    """The API message inside an assistant or user event."""

    id: str | None = None
    model: str | None = None
    content: str | list[Block] | None = None
    stop_reason: str | None = None
    usage: Usage | None = None

    @property
    def blocks(self) -> list[Block]:
        """The content as blocks; a plain string is one text block."""
        if isinstance(self.content, str):
            return [Block(type="text", text=self.content)]
        return self.content or []
