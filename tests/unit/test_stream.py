"""Bytes to lines to events: nasty cuts, nasty lines, and fields of the wrong type."""

import json
import pathlib
import tracemalloc
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from agentrun_operator import stream

TRANSCRIPTS = pathlib.Path(__file__).parents[1] / "data" / "transcripts"


def decode(decoder: stream.LineDecoder, *chunks: bytes) -> list[bytes]:
    """All lines of ``chunks``, the unfinished last one included."""
    lines = [line for chunk in chunks for line in decoder.decode(chunk)]
    return lines + decoder.flush()


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], []),
        ([b""], []),
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"\n", b"b", b"\nc"], [b"a", b"b", b"c"]),
        ([b"a\r\nb\r", b"\nc\r"], [b"a", b"b", b"c"]),
        ([b"a\r\r\n"], [b"a\r"]),
        ([b"a\rb\n"], [b"a\rb"]),
        ([b"\n\na\n"], [b"a"]),
        ([b"\xe2\x82", b"\xac\n"], ["€".encode()]),
        ([b"a\x0bb\x0cc\x1cd\xc2\x85e\xe2\x80\xa8f\n"], [b"a\x0bb\x0cc\x1cd\xc2\x85e\xe2\x80\xa8f"]),
    ],
)
def test_lines_end_at_a_line_feed_and_nowhere_else(chunks: list[bytes], expected: list[bytes]) -> None:
    """Carriage returns before it go; other line separators of Unicode are text."""
    assert decode(stream.LineDecoder(), *chunks) == expected


def test_a_line_waits_for_its_end() -> None:
    """Nothing is given out before the line is complete, and flush forgets it."""
    decoder = stream.LineDecoder()
    assert decoder.decode(b"half") == []
    assert decoder.flush() == [b"half"]
    assert decoder.flush() == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_line_over_the_limit_is_dropped_and_counted_however_it_arrives(size: int) -> None:
    """The stream goes on with the next line."""
    text = b"1234567890\n12345678901\nshort\n" + b"x" * 50 + b"\nlast"
    decoder = stream.LineDecoder(max_line_bytes=10)
    lines = decode(decoder, *(text[i : i + size] for i in range(0, len(text), size)))
    assert lines == [b"1234567890", b"short", b"last"]
    assert decoder.oversized_lines == 2


def test_a_line_over_the_limit_is_not_kept_in_memory() -> None:
    """Bounded memory: what was collected is released at once, and what follows is not collected."""
    decoder = stream.LineDecoder(max_line_bytes=10)
    for _ in range(1000):
        assert decoder.decode(b"x" * 9) == []
    assert sum(map(len, decoder._parts)) == 0  # noqa: SLF001 - the promise is about this field
    assert decoder.flush() == []
    assert decoder.oversized_lines == 1


@hypothesis.given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8), st.integers(1, 20))
def test_chunking_never_changes_the_lines(text: bytes, cuts: list[int], limit: int) -> None:
    """The same bytes give the same lines and counts wherever they are cut."""
    whole, parts = stream.LineDecoder(limit), stream.LineDecoder(limit)
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    assert decode(parts, *pieces) == decode(whole, text)
    assert parts.oversized_lines == whole.oversized_lines


@pytest.mark.parametrize("line", [b"", b"  ", b"\t\r", b"\0", b"\0\0", b"\0 \t\0"])
def test_a_blank_line_is_no_event(line: bytes) -> None:
    """Blank lines vanish, and so do lines of NUL bytes: they are holes of a file."""
    assert stream.parse(line) is None


def test_nul_bytes_around_an_event_do_not_hide_it() -> None:
    """A file that was truncated under its writer begins with a hole, which ends in the middle of a line."""
    assert stream.parse(b"\0" * 4096 + b'{"type":"a"}\0') == stream.Unknown(type="a")
    assert stream.parse(b"\0shell: not found") == stream.PlainText(text="shell: not found")
    assert stream.parse(b'{"type":\0"a"}') == stream.PlainText(text='{"type":\0"a"}')


def test_a_result_of_four_megabytes_is_read_and_a_line_of_fifty_is_not_kept() -> None:
    """The limit is above every line that is wanted, and memory stays below twice the limit."""
    result = b'{"type":"result","result":"' + b"x" * (4 * 1024 * 1024) + b'"}'
    flood = b"y" * 65536
    decoder = stream.LineDecoder()
    tracemalloc.start()
    lines = decoder.decode(result + b"\n")
    del result
    for _ in range(800):
        lines += decoder.decode(flood)
    lines += decoder.decode(b'\n{"type":"a"}\n')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    first = stream.parse(lines[0])
    assert isinstance(first, stream.Result)
    assert len(first.text or "") == 4 * 1024 * 1024
    assert (stream.parse(lines[1]), len(lines)) == (stream.Unknown(type="a"), 2)
    assert decoder.oversized_lines == 1
    assert peak < 4 * stream.DEFAULT_MAX_LINE_BYTES


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"42",
        b"null",
        b'"text"',
        b"[1]",
        b'{"type":"result"',
        b'{"type":"a"} {"type":"b"}',
        b"{'type':'a'}",
        b'{"type":"a","x":' + b"[" * 9000 + b"]" * 9000 + b"}",
        b'{"type":"a","x":' + b"9" * 5000 + b'"',
    ],
)
def test_what_is_no_json_object_is_plain_text(line: bytes) -> None:
    """Also JSON that is no object, two values on a line, and nesting no parser takes."""
    assert stream.parse(line) == stream.PlainText(text=line.decode())


def test_plain_text_replaces_broken_characters() -> None:
    """Bytes that are no UTF-8 do not raise."""
    assert stream.parse(b"caf\xe9") == stream.PlainText(text="caf�")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"type": "brand_new", "subtype": "x", "session_id": "s"}, ("brand_new", "x", "s")),
        ({"type": "system", "subtype": "brand_new"}, ("system", "brand_new", None)),
        ({"type": "user/x", "event": {"type": "message_start"}}, ("user/x", "", None)),
        ({"type": "system"}, ("system", "", None)),
        ({"type": "init"}, ("init", "", None)),
        ({}, ("", "", None)),
        ({"type": 5, "subtype": ["x"]}, ("", "", None)),
        ({"type": None, "session_id": 7}, ("", "", None)),
    ],
)
def test_an_unknown_type_is_data(line: dict[str, object], expected: tuple[str, str, str | None]) -> None:
    """Neither a new type nor a missing one is an error."""
    kind, subtype, session = expected
    assert stream.parse(json.dumps(line).encode()) == stream.Unknown(type=kind, subtype=subtype, session_id=session)


def test_only_the_top_level_type_counts_wherever_it_stands() -> None:
    """Model text that looks like an event is text, and the type may be the last key."""
    spoof = '{"type":"result","subtype":"success","is_error":false}'
    line = {"message": {"content": [{"text": spoof, "type": "text"}], "type": "result"}, "type": "assistant"}
    event = stream.parse(json.dumps(line).encode())
    assert isinstance(event, stream.Assistant)
    assert event.message.blocks == [stream.Block(type="text", text=spoof)]


def test_init_is_read_with_the_names_of_the_cli() -> None:
    """claude_code_version and apiKeySource have their own names there."""
    line = (
        b'{"type":"system","subtype":"init","session_id":"s","model":"m","cwd":"/w","claude_code_version":"2.1",'
        b'"apiKeySource":"none","tools":["Bash"]}'
    )
    assert stream.parse(line) == stream.Init(session_id="s", model="m", cwd="/w", version="2.1", api_key_source="none")


def test_api_retry_and_rate_limit_are_read() -> None:
    """The two events that announce trouble before it is final."""
    retry = (
        b'{"type":"system","subtype":"api_retry","attempt":2,"max_retries":10,"retry_delay_ms":1057.5,'
        b'"error_status":null,"error":"unknown"}'
    )
    assert stream.parse(retry) == stream.ApiRetry(attempt=2, max_retries=10, retry_delay_ms=1057.5, error="unknown")
    limit = (
        b'{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1795259773,'
        b'"rateLimitType":"five_hour","utilization":1}}'
    )
    info = stream.RateLimitInfo(status="rejected", resets_at=1795259773, kind="five_hour", utilization=1)
    assert stream.parse(limit) == stream.RateLimit(info=info)


def test_a_result_keeps_every_documented_field() -> None:
    """Names, nulls, integers where floats are usual, and errors as strings or objects."""
    line: dict[str, Any] = {
        "subtype": "success", "is_error": True, "result": "text",
        "errors": ["a", {"message": "b"}, {"error": "c"}, {}, 5],
        "session_id": "s", "num_turns": 2, "stop_reason": None, "terminal_reason": "api_error", "api_error_status": 429,
        "api_error_type": "t", "api_error": "e", "duration_ms": 12, "duration_api_ms": 1.5, "ttft_ms": 3,
        "total_cost_usd": 1, "usage": {"input_tokens": 1, "cache_creation": {"x": 1}},
        "modelUsage": {"m": {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 3,
                             "cacheCreationInputTokens": 4, "costUSD": 0.5}},
        "model_usage_since_last_result": {}, "permission_denials": [{"tool_name": "Bash"}], "result_index": 1,
        "subagent_stats": {"spawned": 0}, "origin": {"kind": "bg"}, "local_command": "compact", "type": "result",
    }  # fmt: skip
    event = stream.parse(json.dumps(line).encode())
    assert event == stream.Result(
        subtype="success", is_error=True, text="text", errors=line["errors"], session_id="s", num_turns=2,
        terminal_reason="api_error", api_error_status=429, api_error_type="t", api_error="e", duration_ms=12,
        duration_api_ms=1.5, ttft_ms=3, total_cost_usd=1, usage=stream.Usage(input_tokens=1),
        model_usage={"m": stream.ModelUsage(input_tokens=1, output_tokens=2, cache_read_tokens=3,
                                            cache_creation_tokens=4, cost_usd=0.5)},
        model_usage_since_last_result={}, permission_denials=[{"tool_name": "Bash"}], result_index=1,
        subagent_stats={"spawned": 0}, origin={"kind": "bg"}, local_command="compact",
    )  # fmt: skip
    assert isinstance(event, stream.Result)
    assert event.error_texts == ("a", "b", "c")
    assert stream.Result().error_texts == ()


def test_a_field_of_the_wrong_type_is_absent_and_the_others_stay() -> None:
    """A wrong field costs that field, also deep inside lists and maps."""
    line = {
        "type": "result", "subtype": "success", "is_error": "false", "result": 5, "errors": "no list",
        "total_cost_usd": "0.5", "usage": [1], "session_id": "s",
        "modelUsage": {"good": {"inputTokens": 1.5, "costUSD": 2}, "bad": 3},
    }  # fmt: skip
    assert stream.parse(json.dumps(line).encode()) == stream.Result(
        subtype="success", session_id="s", model_usage={"good": stream.ModelUsage(cost_usd=2)}
    )
    message = {"id": 1, "content": [{"type": "text", "text": 5}, 7, {"type": "tool_use", "input": {"a": 1}}]}
    event = stream.parse(json.dumps({"type": "assistant", "message": message, "session_id": "s"}).encode())
    assert isinstance(event, stream.Assistant)
    assert (event.session_id, event.message.id) == ("s", None)
    text, tool = event.message.blocks
    assert text == stream.Block(type="text")
    assert (tool.type, msgspec.json.decode(tool.input)) == ("tool_use", {"a": 1})
    assert stream.parse(b'{"type":"assistant","message":null}') == stream.Assistant()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("words", [stream.Block(type="text", text="words")]),
        (None, []),
        ([{"type": "new_kind", "x": 1}], [stream.Block(type="new_kind")]),
        (
            [{"type": "tool_result", "tool_use_id": "t", "is_error": True, "content": [{"type": "text", "text": "a"}]}],
            [
                stream.Block(
                    type="tool_result", tool_use_id="t", is_error=True, content=[stream.Block(type="text", text="a")]
                )
            ],
        ),
    ],
)
def test_content_may_be_text_nothing_or_blocks_of_any_kind(content: object, expected: list[stream.Block]) -> None:
    """A new kind of block does not lose the message."""
    event = stream.parse(json.dumps({"type": "user", "message": {"content": content}}).encode())
    assert isinstance(event, stream.User)
    assert event.message.blocks == expected


def test_numbers_that_json_does_not_have_are_absent() -> None:
    """NaN, Infinity and numbers too large for a float do not lose the result."""
    line = (
        b'{"type":"result","result":"x","total_cost_usd":NaN,"duration_ms":-Infinity,"ttft_ms":1e999,'
        b'"duration_api_ms":1.5}'
    )
    assert stream.parse(line) == stream.Result(text="x", duration_api_ms=1.5)
    assert stream.parse(b'{"type":"result","result":"x","ttft_ms":1e999}') == stream.Result(text="x")


def test_half_a_character_does_not_lose_the_line() -> None:
    """JavaScript prints a lone surrogate when it cuts a text inside an emoji; broken UTF-8 is alike."""
    assert stream.parse(b'{"type":"result","result":"cut \\ud83d"}') == stream.Result(text="cut �")
    assert stream.parse(b'{"type":"result","result":"ok \\ud83d\\ude00 \\udc00"}') == stream.Result(text="ok 😀 �")
    assert stream.parse(b'{"type":"result","result":"\xff"}') == stream.Result(text="�")


def test_a_message_of_the_cli_itself_is_synthetic() -> None:
    """By its model or by its mark; nothing else is."""
    by_model = stream.Assistant(message=stream.Message(model=stream.SYNTHETIC_MODEL))
    assert by_model.synthetic
    assert stream.Assistant(is_api_error_message=True).synthetic
    assert not stream.Assistant(message=stream.Message(model="claude")).synthetic


# Lines as 2.1.329 prints them, without their uuid and what is not read.
NOTICES: list[tuple[str, dict[str, Any], stream.Event]] = [
    ("status", {"status": "compacting"}, stream.Status(status="compacting")),
    ("status", {"status": None, "compact_result": "success"}, stream.Status(compact_result="success")),
    (
        "status",
        {"compact_result": "failed", "compact_error": "e"},
        stream.Status(compact_result="failed", compact_error="e"),
    ),
    (
        "compact_boundary",
        {"compact_metadata": {"trigger": "manual", "pre_tokens": 1507, "post_tokens": 2614, "duration_ms": 150}},
        stream.CompactBoundary(metadata=stream.CompactMetadata(trigger="manual", pre_tokens=1507, post_tokens=2614)),
    ),
    (
        "permission_denied",
        {"tool_name": "Write", "tool_use_id": "t1", "message": "not granted", "decision_reason_type": "x"},
        stream.PermissionDenied(tool_name="Write", tool_use_id="t1", message="not granted"),
    ),
    (
        "hook_started",
        {"hook_id": "h", "hook_name": "SessionStart:startup", "hook_event": "SessionStart"},
        stream.HookStarted(hook_name="SessionStart:startup", hook_event="SessionStart"),
    ),
    (
        "hook_response",
        {"hook_name": "n", "hook_event": "Stop", "output": "o", "stderr": "", "exit_code": 2, "outcome": "error"},
        stream.HookResponse(hook_name="n", hook_event="Stop", exit_code=2, outcome="error"),
    ),
    (
        "task_started",
        {"task_id": "b1", "run_id": "r", "tool_use_id": "t1", "description": "bg", "is_backgrounded": True,
         "task_type": "local_bash"},
        stream.TaskStarted(
            task_id="b1", tool_use_id="t1", description="bg", is_backgrounded=True, task_type="local_bash"
        ),
    ),
    (
        "task_progress",
        {"task_id": "a1", "tool_use_id": "t1", "description": "Running sub", "usage": {"total_tokens": 1506},
         "last_tool_name": "Bash"},
        stream.TaskProgress(task_id="a1", tool_use_id="t1", description="Running sub", last_tool_name="Bash"),
    ),
    (
        "task_updated",
        {"task_id": "b1", "patch": {"status": "completed", "end_time": 1795277035898}},
        stream.TaskUpdated(task_id="b1", patch=stream.TaskPatch(status="completed")),
    ),
    (
        "task_updated",
        {"task_id": "b1", "patch": {"description": "d", "error": "e", "is_backgrounded": True}},
        stream.TaskUpdated(task_id="b1", patch=stream.TaskPatch(description="d", error="e", is_backgrounded=True)),
    ),
    (
        "task_notification",
        {"task_id": "b1", "tool_use_id": "t1", "status": "completed", "output_file": "/tmp/x", "summary": "done"},
        stream.TaskNotification(
            task_id="b1", tool_use_id="t1", status="completed", output_file="/tmp/x", summary="done"
        ),
    ),
    ("background_tasks_changed", {"tasks": []}, stream.BackgroundTasksChanged(tasks=[])),
    (
        "background_tasks_changed",
        {"tasks": [{"task_id": "b1", "run_id": "r", "task_type": "local_bash", "description": "bg", "ambient": True}]},
        stream.BackgroundTasksChanged(
            tasks=[stream.BackgroundTask(task_id="b1", task_type="local_bash", description="bg", ambient=True)]
        ),
    ),
    (
        "model_fallback",
        {"trigger": "overloaded", "original_model": "a", "fallback_model": "b", "content": "c"},
        stream.ModelFallback(trigger="overloaded", original_model="a", fallback_model="b", content="c"),
    ),
    (
        "model_refusal_fallback",
        {"trigger": "refusal", "direction": "retry", "original_model": "a", "fallback_model": "b", "content": "c"},
        stream.ModelRefusalFallback(original_model="a", fallback_model="b", content="c"),
    ),
    (
        "model_refusal_no_fallback",
        {"original_model": "a", "content": ""},
        stream.ModelRefusalNoFallback(original_model="a", content=""),
    ),
    ("informational", {"content": "c", "level": "notice"}, stream.Informational(content="c", level="notice")),
    (
        "thinking_tokens",
        {"estimated_tokens": 50, "estimated_tokens_delta": 5},
        stream.ThinkingTokens(estimated_tokens=50, estimated_tokens_delta=5),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("subtype", "fields", "expected"), NOTICES)
def test_what_the_cli_tells_beside_the_conversation_is_typed(
    subtype: str, fields: dict[str, Any], expected: stream.Event
) -> None:
    """The fields that are worth keeping; others are left out."""
    line = {"type": "system", "subtype": subtype, **fields, "session_id": "s", "uuid": "u"}
    assert stream.parse(json.dumps(line).encode()) == msgspec.structs.replace(expected, session_id="s")


@pytest.mark.parametrize("subtype", sorted({subtype for subtype, _, _ in NOTICES}))
def test_a_notice_with_wrong_fields_keeps_its_type(subtype: str) -> None:
    """Every field may be of another type than today, or missing."""
    names = {name for notice, fields, _ in NOTICES if notice == subtype for name in fields}
    line = {"type": "system", "subtype": subtype, **dict.fromkeys(names, [[5]]), "session_id": "s"}
    event = stream.parse(json.dumps(line).encode())
    bare = stream.parse(json.dumps({"type": "system", "subtype": subtype, "session_id": "s"}).encode())
    assert type(event) is type(bare)
    assert not isinstance(event, stream.Unknown | stream.PlainText | None)
    assert event.session_id == "s"
    if not isinstance(event, stream.BackgroundTasksChanged):
        assert event == bare


def test_of_a_list_of_tasks_the_readable_ones_are_kept() -> None:
    """As everywhere."""
    line = b'{"type":"system","subtype":"background_tasks_changed","tasks":[5,{"task_id":7},{"task_id":"b"}]}'
    expected = [stream.BackgroundTask(), stream.BackgroundTask(task_id="b")]
    assert stream.parse(line) == stream.BackgroundTasksChanged(tasks=expected)


def test_a_sign_of_life_of_a_tool_is_typed() -> None:
    """Printed every half minute."""
    line = (
        b'{"type":"tool_progress","tool_use_id":"t-heartbeat-0","tool_name":"Bash","parent_tool_use_id":"t",'
        b'"elapsed_time_seconds":30,"heartbeat":true,"session_id":"s"}'
    )
    assert stream.parse(line) == stream.ToolProgress(
        session_id="s", tool_use_id="t-heartbeat-0", tool_name="Bash", elapsed_time_seconds=30
    )


@pytest.mark.parametrize(
    ("event", "failed"),
    [
        (stream.HookResponse(exit_code=0, outcome="success"), False),
        (stream.HookResponse(), False),
        (stream.HookResponse(exit_code=2), True),
        (stream.HookResponse(outcome="error"), True),
    ],
)
def test_a_hook_fails_by_its_exit_code_or_by_the_word_of_the_cli(event: stream.HookResponse, *, failed: bool) -> None:
    """Old versions tell one of them only."""
    assert event.failed == failed


def partial(inner: object, **fields: object) -> stream.Event | None:
    """A stream_event, parsed."""
    around = {"session_id": "s", "parent_tool_use_id": "p", "api_message_id": "m1", "uuid": "u"}
    return stream.parse(json.dumps({"type": "stream_event", "event": inner, **around, **fields}).encode())


def test_the_start_and_the_end_of_a_message_are_read() -> None:
    """With its id, its usage and its stop reason."""
    usage = {"input_tokens": 1000, "output_tokens": 1, "service_tier": "standard"}
    start = {"type": "message_start", "message": {"id": "m1", "content": [], "stop_reason": None, "usage": usage}}
    message = stream.Message(id="m1", content=[], usage=stream.Usage(input_tokens=1000, output_tokens=1))
    around: dict[str, Any] = {"session_id": "s", "parent_tool_use_id": "p", "message_id": "m1"}
    assert partial(start) == stream.StreamEvent(event=stream.ApiEvent(type="message_start", message=message), **around)
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 21}}
    assert partial(end) == stream.StreamEvent(
        event=stream.ApiEvent(
            type="message_delta", delta=stream.ApiDelta(stop_reason="end_turn"), usage=stream.Usage(output_tokens=21)
        ),
        **around,
    )


@pytest.mark.parametrize("kind", ["content_block_delta", "content_block_start", "message_stop", "ping", "brand_new"])
def test_of_the_pieces_of_a_message_only_the_kind_is_read(kind: str) -> None:
    """They come by the thousand, and the assistant event repeats what they say."""
    event = partial({"type": kind, "index": 0, "delta": {"type": "text_delta", "text": "x"}, "usage": {}})
    assert event == stream.StreamEvent(session_id="s", event=stream.ApiEvent(type=kind))


@pytest.mark.parametrize(
    ("inner", "event"),
    [
        (None, None),
        ("words", None),
        ({}, stream.ApiEvent()),
        ({"type": 5}, stream.ApiEvent()),
        ({"type": "message_start", "message": 5}, stream.ApiEvent(type="message_start")),
        ({"type": "message_delta", "usage": [1], "delta": "x"}, stream.ApiEvent(type="message_delta")),
    ],
)
def test_a_stream_event_without_a_readable_inside_is_one_all_the_same(
    inner: object, event: stream.ApiEvent | None
) -> None:
    """What cannot be read is absent."""
    seen = partial(inner)
    assert isinstance(seen, stream.StreamEvent)
    assert (seen.session_id, seen.event) == ("s", event)


@hypothesis.given(st.binary(max_size=200))
def test_parse_never_raises_for_bytes(line: bytes) -> None:
    """Whatever a process prints is an event, plain text or nothing."""
    assert (stream.parse(line) is None) == (not line.strip() or not line.strip(b"\0").strip())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
_FIELDS = (
    "subtype", "session_id", "message", "usage", "modelUsage", "model_usage_since_last_result", "errors", "is_error",
    "rate_limit_info", "result", "attempt", "error", "event", "patch", "tasks", "compact_metadata", "exit_code",
)  # fmt: skip


@hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)  # nested data, busy machines
@hypothesis.given(
    st.sampled_from(["system", "assistant", "user", "result", "rate_limit_event", "stream_event", "tool_progress"]),
    st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=4),
    st.sampled_from(["init", "api_retry", "success", *sorted({subtype for subtype, _, _ in NOTICES})]),
)
def test_an_object_of_a_known_type_is_never_plain_text(kind: str, fields: dict[str, object], subtype: str) -> None:
    """Fields of any type may be lost, the event is not."""
    line = json.dumps({"subtype": subtype, **fields, "type": kind}).encode()
    assert not isinstance(stream.parse(line), stream.PlainText | None)


@pytest.mark.parametrize(
    "path", sorted(TRANSCRIPTS.glob("*/*/stdout.ndjson")), ids=lambda p: f"{p.parts[-3]}-{p.parts[-2]}"
)
def test_every_line_of_a_real_transcript_is_an_event(path: pathlib.Path) -> None:
    """The typed reading of a line agrees with a plain JSON reading of it."""
    for line in path.read_bytes().splitlines():
        event, plain = stream.parse(line), json.loads(line)
        assert event is not None
        assert not isinstance(event, stream.PlainText | stream.Unknown)  # all that is known to occur has its type
        assert event.session_id == plain["session_id"]
        if isinstance(event, stream.Result):
            assert (event.subtype, event.is_error, event.text) == (
                plain["subtype"], plain["is_error"], plain.get("result"),
            )  # fmt: skip
        assert isinstance(event, stream.Result) == (plain["type"] == "result")
