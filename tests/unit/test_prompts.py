"""The prompt: unchanged to the byte, and refused exactly where Kubernetes would refuse its Secret."""

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import errors, models, prompts
from tests import builders

LIMIT = prompts.SECRET_LIMIT_BYTES


def assemble(text: str, *, reserved_bytes: int = 0) -> bytes:
    """The prompt of a run with this text."""
    return prompts.assemble(models.AgentRun.parse(builders.agent_run(prompt=text)).spec, reserved_bytes=reserved_bytes)


@pytest.mark.parametrize(
    "text", ["x", " x ", "\n\nx\n\n", " /compact", "-", "a\r\nb\0c", "Grüße 你好 🎉", "{{agent.id}} $(HOME) %s"]
)
def test_the_prompt_is_the_text_in_utf_8_and_nothing_else(text: str) -> None:
    """No trimming, no expansion, no line added."""
    assert assemble(text) == text.encode()


@hypothesis.given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_every_text_that_is_not_blank_arrives(text: str) -> None:
    """And a blank one is refused."""
    if text.strip():
        assert assemble(text).decode() == ("\n" if text[0] == "/" else "") + text
    else:
        with pytest.raises(errors.InvalidRunError):
            assemble(text)


@pytest.mark.parametrize("text", ["/compact", "/", "//", "/work on it\n", "/é"])
def test_a_prompt_that_begins_with_a_slash_is_kept_from_being_a_command(text: str) -> None:
    """The CLI would answer it itself, with success, without asking the model."""
    assert assemble(text) == b"\n" + text.encode()


def test_the_line_end_before_a_slash_counts_too() -> None:
    """Otherwise the API server would refuse a Secret that was found small enough."""
    text = "/" + "a" * (LIMIT - 2)
    assert len(assemble(text)) == LIMIT
    with pytest.raises(errors.InvalidRunError):
        assemble(text + "a")


@pytest.mark.parametrize("text", [" ", "\n", "\t \r\n", "\u00a0", "\u3000\u2028"])
def test_a_blank_prompt_is_refused(text: str) -> None:
    """The CLI would refuse it too, but only once a pod runs."""
    with pytest.raises(errors.InvalidRunError, match=r"spec\.prompt\.text is blank") as caught:
        assemble(text)
    assert caught.value.code == "prompt_invalid"


@pytest.mark.parametrize("letter", ["a", "é", "你", "🎉"])
@pytest.mark.parametrize("reserved", [0, 1, 4000])
def test_a_prompt_of_exactly_the_limit_is_accepted_and_one_byte_more_refused(letter: str, reserved: int) -> None:
    """Bytes count, not characters; the refusal names both numbers and not the prompt."""
    limit = LIMIT - reserved
    fits = "a" * (limit % len(letter.encode())) + letter * (limit // len(letter.encode()))
    assert len(fits.encode()) == limit
    assert assemble(fits, reserved_bytes=reserved) == fits.encode()
    with pytest.raises(errors.InvalidRunError) as caught:
        # One byte more, but not one character more: the model refuses more characters than the limit has bytes.
        assemble(fits, reserved_bytes=reserved + 1)
    assert caught.value.code == "prompt_invalid"
    assert f"{limit:,} bytes" in str(caught.value)
    assert f"at most {limit - 1:,}" in str(caught.value)
    assert letter * 10 not in str(caught.value)
