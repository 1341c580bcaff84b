"""Events as lines for people: what is shown, and that a terminal obeys none of it."""

# ruff: noqa: E501 - one row of a table, one line

import json
import pathlib
import re
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from agentrun_operator import stream
from agentrun_operator.cli import transcript

TRANSCRIPTS = pathlib.Path(__file__).parents[1] / "data" / "transcripts"


def plain(event: stream.Event, width: int | None = None) -> list[str]:
    """The lines without colours."""
    return transcript.render(event, color=False, width=width)


def say(*blocks: stream.Block, **fields: Any) -> stream.Assistant:
    """An assistant event of these blocks."""
    return stream.Assistant(message=stream.Message(content=list(blocks)), **fields)


def text(words: str) -> stream.Block:
    """A text block."""
    return stream.Block(type="text", text=words)


def call(name: str | None, given: object) -> stream.Assistant:
    """A tool call with this input."""
    return say(stream.Block(type="tool_use", name=name, input=msgspec.Raw(json.dumps(given).encode())))


def answer(content: str | list[stream.Block] | None, **fields: Any) -> stream.User:
    """A tool's result."""
    block = stream.Block(type="tool_result", content=content, **fields)
    return stream.User(message=stream.Message(content=[block]))


def limit(status: str | None, **fields: Any) -> stream.RateLimit:
    """A rate limit event."""
    return stream.RateLimit(info=stream.RateLimitInfo(status=status, **fields))


def compacted(before: int | None, after: int | None) -> stream.CompactBoundary:
    """A compaction from so many tokens to so many."""
    return stream.CompactBoundary(metadata=stream.CompactMetadata(pre_tokens=before, post_tokens=after))


SHARE = {"a": stream.ModelUsage(input_tokens=10, output_tokens=2), "b": stream.ModelUsage(input_tokens=5)}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            stream.Init(model="opus", session_id="s1", version="2.1"),
            ["● model opus · session s1 · claude 2.1"],
        ),
        (stream.Init(model="opus"), ["● model opus"]),
        (say(text("Hello\nworld\n")), ["Hello", "world"]),
        (say(text("inner"), parent_tool_use_id="t"), ["  inner"]),
        (say(stream.Block(type="thinking", thinking=" hm\nwell ")), ["hm", "well"]),
        (say(stream.Block(type="redacted_thinking")), []),
        (say(text("")), []),
        (call("Bash", {"description": "Say hi", "command": "echo hi\necho ho"}), ["→ Bash echo hi echo ho"]),
        (call("Read", {"limit": 5, "file_path": "/a"}), ["→ Read /a"]),
        (call("TodoWrite", {"todos": [], "command": 5}), ["→ TodoWrite todos, command"]),
        (call("Odd", [1]), ["→ Odd"]),
        (call(None, {}), ["→ ?"]),
        (call("Long", {"command": "x" * 500}), ["→ Long " + "x" * 199 + "…"]),
        (say(stream.Block(type="tool_use", name="NoInput")), ["→ NoInput"]),
        (say(stream.Block(type="tool_use", name="Bad", input=msgspec.Raw(b'{"command":"\xff"}'))), ["→ Bad"]),
        (answer("one\ntwo\n"), ["  ← one", "    two"]),
        (answer("no", is_error=True), ["  ✗ no"]),
        (answer([text("a"), stream.Block(type="image")]), ["  ← a"]),
        (answer(None), ["  ←"]),
        (answer("1\n2\n3\n4\n5\n6\n7"), ["  ← 1", "    2", "    3", "    4", "    5", "    … 2 more lines"]),
        (answer("1\n2\n3\n4\n5"), ["  ← 1", "    2", "    3", "    4", "    5"]),
        (stream.User(message=stream.Message(content="injected text")), []),
        (limit("allowed"), []),
        (limit(None), []),
        (stream.RateLimit(), []),
        (
            limit("rejected", kind="five_hour", resets_at=1795259773),
            ["! usage limit five_hour reached, resets 2026-11-21 11:16 UTC"],
        ),
        (limit("allowed_warning", kind="five_hour", utilization=0.93), ["! usage limit five_hour nearly reached (93%)"]),
        (limit("rejected", resets_at=1e300), ["! usage limit  reached"]),
        (
            stream.ApiRetry(attempt=2, max_retries=10, retry_delay_ms=1057, error_status=529),
            ["! the API failed (HTTP 529): attempt 2 of 10 in 1.1 s"],
        ),
        (
            stream.ApiRetry(attempt=1, max_retries=3, retry_delay_ms=-5),
            ["! the API failed (no answer): attempt 1 of 3 in 0.0 s"],
        ),
        (
            stream.Result(
                subtype="success", is_error=False, text="Done.", num_turns=2, duration_ms=1500, total_cost_usd=0.01088,
                model_usage_since_last_result=SHARE, usage=stream.Usage(input_tokens=99),
            ),
            ["✔ success · 2 turns · 1.5 s · 15 tokens in, 2 out · $0.0109"],
        ),
        (
            stream.Result(subtype="success", is_error=True, text="API Error: 500\nx", usage=stream.Usage(output_tokens=3)),
            ["✘ success (error) · 0 tokens in, 3 out", "  API Error: 500 x"],
        ),
        (stream.Result(subtype="error_max_turns", errors=["too many"], text="t"), ["✘ error_max_turns", "  too many"]),
        (stream.Result(model_usage=SHARE), ["✘ unknown · 15 tokens in, 2 out"]),
        (stream.Result(subtype="x", duration_ms=-1, total_cost_usd=1e300), ["✘ x · 0.0 s · $0.0000"]),
        (stream.PlainText(text="sh: not found"), ["sh: not found"]),
        (stream.PlainText(text="[claude-code:unrecognized_model] {}"), ["[claude-code:unrecognized_model] {}"]),
        (stream.PlainText(text='{"type":"assis'), ["· an event is cut off here"]),
        (compacted(1507, 2614), ["· the conversation was compacted: 1507 → 2614 tokens"]),
        (compacted(-5, 10**30), ["· the conversation was compacted: 0 → 0 tokens"]),
        (compacted(5, None), ["· the conversation was compacted"]),
        (stream.CompactBoundary(), ["· the conversation was compacted"]),
        (stream.PermissionDenied(tool_name="Bash", message="no\nway"), ["! Bash was denied: no way"]),
        (stream.PermissionDenied(), ["! a tool was denied"]),
        (stream.PermissionDenied(tool_name="x" * 99, message="y" * 300), [f"! {'x' * 79}… was denied: {'y' * 199}…"]),
        (stream.HookStarted(hook_name="Stop"), []),
        (stream.HookResponse(hook_name="Stop", exit_code=0, outcome="success"), []),
        (stream.HookResponse(hook_name="Stop", exit_code=2, outcome="error"), ["! the hook Stop failed: exit code 2"]),
        (stream.HookResponse(outcome="error"), ["! the hook ? failed: error"]),
        (stream.TaskStarted(description="bg", is_backgrounded=True), ["· background task started: bg"]),
        (stream.TaskStarted(), ["· background task started"]),
        (stream.TaskStarted(description="ls", is_backgrounded=False), []),
        (stream.TaskStarted(description="tidy", is_backgrounded=True, ambient=True), []),
        (stream.TaskProgress(description="Running"), []),
        (stream.TaskUpdated(patch=stream.TaskPatch(status="completed")), []),
        (stream.TaskNotification(status="completed", summary="all\ngood"), ["· task completed: all good"]),
        (stream.TaskNotification(status="failed", output_file="/x"), ["! task failed"]),
        (stream.TaskNotification(), ["· task ended"]),
        (stream.TaskNotification(status="completed", summary="ls", output_file=""), []),  # its tool result follows
        (stream.TaskNotification(status="completed", ambient=True), []),
        (stream.BackgroundTasksChanged(tasks=[stream.BackgroundTask(task_id="b")]), []),
        (stream.ModelFallback(fallback_model="b", content="a is overloaded"), ["! going on with b: a is overloaded"]),
        (stream.ModelFallback(), ["! going on with the fallback model"]),
        (stream.ModelRefusalFallback(original_model="a", fallback_model="b"), ["! a refused; going on with b"]),
        (stream.ModelRefusalFallback(), ["! the model refused; going on with its fallback"]),
        (stream.ModelRefusalNoFallback(original_model="a", content="x"), ["! a refused"]),
        (stream.ModelRefusalNoFallback(), ["! the model refused"]),
        (stream.Status(status="compacting"), []),
        (stream.Informational(content="words"), []),
        (stream.ThinkingTokens(estimated_tokens=5), []),
        (stream.ToolProgress(tool_name="Bash"), []),
        (stream.StreamEvent(event=stream.ApiEvent(type="content_block_delta")), []),
        (stream.Unknown(type="system", subtype="brand_new"), []),
        (stream.Unknown(type="stream_event", subtype="compact_boundary"), []),
    ],
)  # fmt: skip
def test_an_event_is_shown_as(event: stream.Event, expected: list[str]) -> None:
    """One event, its lines; nothing for what tells a reader nothing."""
    assert plain(event) == expected


@pytest.mark.parametrize(
    ("event", "start"),
    [
        (stream.Init(model="m"), "\x1b[1m"),
        (say(stream.Block(type="thinking", thinking="hm")), "\x1b[2m"),
        (call("Bash", {}), "\x1b[36m"),
        (answer("x"), "\x1b[2m"),
        (answer("x", is_error=True), "\x1b[31m"),
        (say(text("API Error"), is_api_error_message=True), "\x1b[31m"),
        (limit("rejected"), "\x1b[31m"),
        (limit("allowed_warning"), "\x1b[33m"),
        (stream.ApiRetry(), "\x1b[33m"),
        (stream.CompactBoundary(), "\x1b[2m"),
        (stream.PermissionDenied(), "\x1b[33m"),
        (stream.Result(subtype="success", is_error=False), "\x1b[32m"),
        (stream.Result(subtype="success"), "\x1b[31m"),
    ],
)
def test_colours_say_what_matters_and_end_with_the_line(event: stream.Event, start: str) -> None:
    """Only on request, and the text is the same without them."""
    (line,) = transcript.render(event, color=True, width=None)
    assert line == f"{start}{plain(event)[0]}\x1b[0m"


def test_text_has_no_colour_and_an_empty_line_needs_none() -> None:
    """What the model says looks like what it is."""
    assert transcript.render(say(text("a\n\nb")), color=True, width=None) == ["a", "", "b"]
    assert transcript.render(stream.PlainText(text="a\n\nb"), color=True, width=None)[1] == ""


@pytest.mark.parametrize(
    ("width", "expected"),
    [(None, "x" * 100), (100, "x" * 100), (30, "x" * 29 + "…"), (1, "x" * 19 + "…"), (-5, "x" * 19 + "…")],
)
def test_lines_are_cut_to_the_width(width: int | None, expected: str) -> None:
    """Never below 20 characters; None cuts nothing."""
    assert plain(say(text("x" * 100)), width) == [expected]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("字" * 10, "字" * 10),
        ("字" * 11, "字" * 9 + "…"),
        ("x" + "字" * 10, "x" + "字" * 9 + "…"),
        ("é" * 20, "é" * 20),
        ("é" * 21, "é" * 19 + "…"),
    ],
)
def test_wide_characters_take_two_columns(words: str, expected: str) -> None:
    """As terminals show them."""
    assert transcript.shorten(words, 20) == expected


def notices(words: str) -> list[stream.Event]:
    """What the CLI tells beside the conversation, as far as it is shown."""
    return [
        stream.PermissionDenied(tool_name=words, message=words),
        stream.HookResponse(hook_name=words, outcome=words, exit_code=1),
        stream.HookResponse(hook_name=words, outcome=words),
        stream.TaskStarted(description=words),
        stream.TaskNotification(status=words, summary=words),
        stream.ModelFallback(fallback_model=words, content=words),
        stream.ModelRefusalFallback(original_model=words, fallback_model=words),
        stream.ModelRefusalNoFallback(original_model=words),
    ]


def test_washing_reaches_every_text_of_an_event() -> None:
    """Also the names and values in a tool's input; what is no text, or only says what it is, stays."""
    events: list[stream.Event] = [
        stream.Init(model="hush", session_id="hush", version="hush"),
        say(text("hush"), stream.Block(type="thinking", thinking="hush"), error="hush"),
        call("hush", {"hush": ["hush", {"n": 1, "command": "hu\x1b[1msh"}]}),
        answer("hush", is_error=True),
        answer([text("hush")]),
        limit("rejected", kind="hush", resets_at=1795259773),
        stream.ApiRetry(attempt=1, error="hush"),
        stream.Result(subtype="hush", text="hush", errors=["hush", {"message": "hush"}], model_usage=SHARE),
        stream.PlainText(text="hush"),
        stream.Unknown(type="system", subtype="hush"),
        stream.BackgroundTasksChanged(tasks=[stream.BackgroundTask(description="hush")]),
        stream.StreamEvent(event=stream.ApiEvent(type="x", message=stream.Message(id="hush"))),
        *notices("hush"),
    ]
    for event in events:
        washed = transcript.wash(event, lambda words: words.replace("hush", "*"))
        assert type(washed) is type(event)
        assert b"hush" not in msgspec.json.encode(washed)
        assert msgspec.json.encode(washed).count(b"*") >= 1
    broken = say(stream.Block(type="tool_use", name="Bad", input=msgspec.Raw(b'{"command":"\xff"}')))
    assert plain(transcript.wash(broken, str.upper)) == ["→ BAD"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x\x1b]8;;http://y\x1b\\link", "xlink"),
        ("\x1bcreset", "creset"),
        ("\x9b31mred", "31mred"),
        ("a\tb\r\nc\rd", "a b\ncd"),
        ("over\x08\x08write\x00\x7f", "overwrite"),
        ("a\u2028b\u202ec\u200bd\ufeff", "abcd"),
        ("é 你 😀", "é 你 😀"),
    ],
)
def test_clean_leaves_nothing_that_a_terminal_obeys(words: str, expected: str) -> None:
    """Escape sequences, controls, direction marks; letters of all languages stay."""
    assert transcript.clean(words) == expected


_WORDS = st.text(st.characters() | st.sampled_from("\x1b[]\x07\r\n\x9b;m"), max_size=40)


@hypothesis.given(_WORDS, st.sampled_from([None, 20, 40]))
def test_no_event_smuggles_a_control_character(words: str, width: int | None) -> None:
    """Wherever another program's text is shown."""
    events: list[stream.Event] = [
        stream.Init(model=words, session_id=words, version=words),
        say(text(words), stream.Block(type="thinking", thinking=words)),
        call(words, {"command": words}),
        call("x", {words: 1}),
        answer(words),
        limit("rejected", kind=words),
        limit(words),
        stream.Result(subtype=words, errors=[words]),
        stream.Result(text=words),
        stream.PlainText(text=words),
        stream.Unknown(type=words, subtype=words),
        *notices(words),
    ]
    for event in events:
        for line in plain(event, width):
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", line)
            assert width is None or len(line) <= width


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("2.1.329/resume_first", "● model claude-opus-5-5", "✔ success · 2 turns"),
        ("2.1.329/error500", "● model claude-opus-5-5", "  API Error: 500 Internal server error."),
        ("1.0.128/maxturns", "● model claude-sonnet-4-20250514", "✘ error_max_turns · 2 turns"),
    ],
)
def test_a_real_run_reads_from_its_start_to_its_end(name: str, first: str, last: str) -> None:
    """All lines of a transcript, through the parser."""
    events = map(stream.parse, (TRANSCRIPTS / name / "stdout.ndjson").read_bytes().splitlines())
    lines = [line for event in events if event is not None for line in plain(event)]
    assert lines[0].startswith(first)
    assert lines[-1].startswith(last)
