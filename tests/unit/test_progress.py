"""The fold: what a transcript comes to, in memory of constant size."""

import dataclasses
import decimal
import functools
import json
import pathlib
import sys
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import progress, stream

TRANSCRIPTS = pathlib.Path(__file__).parents[1] / "data" / "transcripts"
PATHS = sorted(TRANSCRIPTS.glob("*/*/stdout.ndjson"))


def fold(*events: dict[str, Any] | bytes) -> progress.Transcript:
    """The transcript of these events, given as objects or as raw lines."""
    seen = progress.Progress()
    for event in events:
        seen.feed((event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n")
    return seen.snapshot()


@functools.cache
def real(name: str) -> progress.Transcript:
    """The transcript of a real run, e.g. ``2.1.329/ok``."""
    seen = progress.Progress()
    seen.feed((TRANSCRIPTS / name / "stdout.ndjson").read_bytes())
    seen.finish()
    return seen.snapshot()


def assistant(identity: str | None = "m1", *blocks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An assistant event; ``usage``, ``stop_reason`` and ``model`` go into the message, the rest around it."""
    inner = {key: fields.pop(key) for key in ("usage", "stop_reason", "model") if key in fields}
    return {"type": "assistant", "message": {"id": identity, "content": list(blocks), **inner}, **fields}


def text(words: str = "hello") -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": words}


def tool(identity: str = "t1", name: str = "Bash") -> dict[str, Any]:
    """A tool call."""
    return {"type": "tool_use", "id": identity, "name": name, "input": {}}


def tool_result(identity: str = "t1") -> dict[str, Any]:
    """The user event that answers a tool call."""
    return {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": identity, "content": "x"}]}}


def result(**fields: Any) -> dict[str, Any]:
    """A successful result."""
    return {"type": "result", "subtype": "success", "is_error": False, "result": "done", **fields}


def model_usage(tokens: float, cost: object) -> dict[str, Any]:
    """One model's share, with the same number of tokens of each kind."""
    names = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    return {**dict.fromkeys(names, tokens), "costUSD": cost}


def usage_of(tokens: int) -> progress.Usage:
    """The same number of tokens of each kind."""
    return progress.Usage(
        input_tokens=tokens, output_tokens=tokens, cache_read_tokens=tokens, cache_creation_tokens=tokens
    )


def api_usage(tokens: int) -> dict[str, int]:
    """The same, as the API writes it."""
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return dict.fromkeys(names, tokens)


def test_nothing_printed_is_an_empty_transcript() -> None:
    """No value is made up before the first byte."""
    assert fold() == progress.Transcript()
    assert not fold().result_seen
    assert fold().cost_text is None


def test_a_real_run_comes_to_what_its_result_says() -> None:
    """Every field of a run with one tool call, as the CLI 2.1.329 printed it."""
    seen = real("2.1.329/resume_first")
    assert seen.claude_version == "2.1.329"
    assert (seen.model, seen.cwd, seen.init_seen) == ("claude-opus-5-5", "/workspace", True)
    assert (seen.turns, seen.last_tool, seen.open_tool, seen.events) == (2, "Bash", False, 6)
    assert seen.usage == progress.Usage(
        input_tokens=2000, output_tokens=38, cache_read_tokens=600, cache_creation_tokens=400
    )
    assert (seen.usage_is_estimate, seen.cost_usd, seen.cost_text) == (False, decimal.Decimal("0.01088"), "0.01088")
    assert (seen.results, seen.result_seen, seen.active_since_result) == (1, True, False)
    assert seen.result is not None
    assert seen.result.subtype == "success"
    assert seen.bytes == (TRANSCRIPTS / "2.1.329/resume_first/stdout.ndjson").stat().st_size


@pytest.mark.parametrize(
    ("name", "cost", "tokens"),
    [
        ("2.1.329/compact_slash", "0.0104", 2000),  # total_cost_usd is 0.03168: the resumed session's
        ("2.1.329/refusal", "0.016715", 3000),  # two models
        ("2.1.329/hugeusage", "1.5686", 391200),
        ("2.1.329/model_haiku", "0.0001315", 1000),
        ("2.1.329/sigint_hangmid", "0.00522", 1000),  # usage says 0 there
        ("2.1.329/error429", "0", 0),
        ("2.1.329/resume_otherhome", "0", 0),
        ("2.0.76/maxturns", "0.01638", 6000),  # modelUsage with the helper model, which total_cost_usd contains
        ("1.0.128/resume_first", "0.009374", 3000),
    ],
)
def test_cost_and_usage_are_of_this_run_alone(name: str, cost: str, tokens: int) -> None:
    """A resumed session's cost is not counted again; old versions count the process."""
    seen = real(name)
    assert seen.cost_usd == decimal.Decimal(cost)
    assert seen.usage.input_tokens == tokens
    assert not seen.usage_is_estimate


def test_shares_of_several_results_and_models_add_up() -> None:
    """Background work gives several results; each brings its own share."""
    seen = fold(
        result(total_cost_usd=9, model_usage_since_last_result={"a": model_usage(10, 0.1), "b": model_usage(1, 0.2)}),
        result(total_cost_usd=9.5, model_usage_since_last_result={"a": model_usage(5, 0.05)}),
    )
    assert seen.usage == usage_of(16)
    assert seen.cost_usd == decimal.Decimal("0.35")
    assert seen.results == 2


def test_without_shares_the_last_totals_count() -> None:
    """Old versions: modelUsage and total_cost_usd are of the process, so they are not summed."""
    seen = fold(
        result(total_cost_usd=1, modelUsage={"a": model_usage(10, 1)}),
        result(total_cost_usd=2, modelUsage={"a": model_usage(15, 2)}),
    )
    assert (seen.usage, seen.cost_usd) == (usage_of(15), decimal.Decimal(2))


def test_without_model_usage_the_results_own_usage_adds_up() -> None:
    """The last resort: usage is that result's main thread."""
    seen = fold(result(usage=api_usage(3)), result(usage=api_usage(4), modelUsage={}))
    assert (seen.usage, seen.cost_usd) == (usage_of(7), None)


@pytest.mark.parametrize(
    ("name", "cost", "total", "tokens"),
    [
        ("2.1.329/resume_first", "0.01088", 0.01088, 2000),
        ("2.1.329/resume_aftersigkill", "0.0052", 0.0052, 1000),  # what was killed is in no total
        ("2.1.329/resume_aftersigkillmidtool", "0.0052", 0.0052, 1000),
        ("2.1.329/snap_resume_off", "0.0026", 0.0104, 1000),  # another model than the session's first run
        ("2.1.329/compact_slash", "0.0104", 0.03168, 2000),
        ("2.1.329/resume_otherhome", "0", 0, 0),
    ],
)
def test_of_a_resumed_session_this_runs_share_counts(name: str, cost: str, total: float, tokens: int) -> None:
    """The session's total is in the result as the CLI printed it."""
    seen = real(name)
    assert seen.cost_usd == decimal.Decimal(cost)
    assert seen.usage.input_tokens == tokens
    last = [line for line in (TRANSCRIPTS / name / "stdout.ndjson").read_bytes().splitlines() if line][-1]
    assert json.loads(last)["total_cost_usd"] == pytest.approx(total)


@pytest.mark.parametrize("number", [-1, 1e13, "5", None, True, 1e999, float("nan")])
def test_numbers_that_cannot_be_true_are_dropped(number: object) -> None:
    """Negative, absurd, infinite or no number at all: the others still count."""
    since = {"bad": {"inputTokens": number, "costUSD": number}, "good": model_usage(2, 0.5)}
    seen = fold(result(model_usage_since_last_result=since, usage={"input_tokens": number}))
    assert (seen.usage, seen.cost_usd) == (usage_of(2), decimal.Decimal("0.5"))
    assert fold(result(total_cost_usd=number)).cost_usd is None


def test_cost_is_exact_to_the_billionth_and_printed_in_digits() -> None:
    """Floats as the CLI prints them add up without their noise, and never print as 1E-7."""
    seen = fold(result(model_usage_since_last_result={"a": model_usage(0, 0.1), "b": model_usage(0, 0.2)}))
    assert seen.cost_usd == decimal.Decimal("0.3")
    assert fold(result(total_cost_usd=1e-7)).cost_text == "0.0000001"
    assert fold(result(total_cost_usd=100)).cost_text == "100"
    assert fold(result(total_cost_usd=0)).cost_text == "0"


def test_before_a_result_each_message_counts_once() -> None:
    """Events of one message repeat its usage; a later event may know more."""
    first, more = assistant("m1", usage=api_usage(10)), assistant("m1", usage={**api_usage(10), "output_tokens": 17})
    seen = fold(first, first, more, assistant("m2", usage=api_usage(1)), assistant("m3"))
    assert seen.usage == dataclasses.replace(usage_of(11), output_tokens=18)
    assert seen.usage_is_estimate
    assert seen.cost_usd is None


def test_a_later_event_never_takes_tokens_back() -> None:
    """Some events of a message know less than the one before."""
    assert fold(assistant("m1", usage=api_usage(10)), assistant("m1", usage=api_usage(1))).usage == usage_of(10)


def test_an_id_longer_than_what_is_kept_of_it_counts_once() -> None:
    """Its events are those of one message: one turn, its tokens once."""
    event = assistant("m" * 5000, usage=api_usage(3))
    seen = fold(event, event, event)
    assert (seen.turns, seen.usage.input_tokens) == (1, fold(event).usage.input_tokens)


def test_the_threads_seen_last_are_remembered() -> None:
    """Of more subagents than are kept, the most recent ones still count once."""
    events = [assistant(f"s{i}", usage=api_usage(1), parent_tool_use_id=f"t{i}") for i in range(40)]
    assert fold(*events, *events[-20:]).usage == usage_of(40)


def test_messages_of_subagents_may_come_in_between() -> None:
    """Each thread has its own last message."""
    main, sub = assistant("m1", usage=api_usage(10)), assistant("s1", usage=api_usage(1), parent_tool_use_id="t1")
    seen = fold(main, sub, main, sub, main)
    assert (seen.usage, seen.turns) == (usage_of(11), 1)


def test_after_a_result_the_estimate_starts_anew() -> None:
    """The exact share replaces the estimate; what comes later is estimated on top."""
    events = [
        assistant("m1", usage=api_usage(10)),
        result(model_usage_since_last_result={"a": model_usage(12, 0.1)}),
    ]
    assert (fold(*events).usage, fold(*events).usage_is_estimate) == (usage_of(12), False)
    assert fold(*events, events[0]).usage == usage_of(12)  # a straggler of a message that the result contains
    seen = fold(*events, assistant("m2", usage=api_usage(3)))
    assert (seen.usage, seen.usage_is_estimate, seen.active_since_result) == (usage_of(15), True, True)


def partial(inner: dict[str, Any], message: str | None = "m1", thread: str | None = None) -> dict[str, Any]:
    """A stream_event."""
    return {"type": "stream_event", "event": inner, "api_message_id": message, "parent_tool_use_id": thread}


def starts(identity: str = "m1", thread: str | None = None, tokens: int = 10) -> dict[str, Any]:
    """The beginning of a message: one token of output, whatever it will be."""
    usage = {**api_usage(tokens), "output_tokens": 1}
    return partial({"type": "message_start", "message": {"id": identity, "usage": usage}}, identity, thread)


def ends(
    output: object, message: str | None = "m1", thread: str | None = None, *, stop_reason: str | None = None
) -> dict[str, Any]:
    """The end of a message: all its output."""
    inner = {"type": "message_delta", "usage": {"output_tokens": output}, "delta": {"stop_reason": stop_reason}}
    return partial(inner, message, thread)


def output_of(*events: dict[str, Any] | bytes) -> int:
    """Output tokens of these events; an estimate, as there is no result."""
    seen = fold(*events)
    assert seen.usage_is_estimate
    return seen.usage.output_tokens


def test_with_partial_messages_the_estimate_knows_the_output() -> None:
    """A real run of one message, with and without its result; its assistant event says 1."""
    lines = (TRANSCRIPTS / "2.1.329/slow_partial/stdout.ndjson").read_bytes().splitlines()
    before = fold(*lines[:-1])
    assert (before.usage, before.usage_is_estimate) == (real("2.1.329/slow_partial").usage, True)
    assert before.usage.output_tokens == 21
    assert (before.turns, real("2.1.329/slow_partial").usage_is_estimate) == (1, False)
    assert fold(*(line for line in lines[:-1] if b"stream_event" not in line)).usage.output_tokens == 1


def test_a_message_in_pieces_counts_once() -> None:
    """Its beginning, its blocks and its end are one message, and its end has the last word."""
    block = assistant("m1", text(), usage={**api_usage(10), "output_tokens": 1})
    assert output_of(starts(), block, block, ends(40)) == 40
    assert output_of(starts(), ends(20), ends(40), block) == 40
    assert output_of(starts(), block, ends(40), starts("m2"), ends(2, "m2")) == 42
    assert fold(starts(), block, ends(40), starts("m2")).usage.input_tokens == 20


def test_the_end_of_a_message_is_that_of_its_thread() -> None:
    """Also without an id; one whose beginning was not seen is not counted, as it may be counted already."""
    assert output_of(starts(), starts("s1", "t1"), ends(5, "s1", "t1"), ends(7)) == 12
    assert output_of(starts(), ends(7, None)) == 7
    assert output_of(starts(), ends(7, "m0")) == 1
    assert output_of(starts(), ends(7, "m1", "t1")) == 1
    assert fold(ends(7), ends(7, None)) == dataclasses.replace(
        fold(), events=2, bytes=fold(ends(7), ends(7, None)).bytes
    )


@pytest.mark.parametrize("output", [-1, 1e13, "5", None])
def test_an_end_with_numbers_that_cannot_be_true_changes_nothing(output: object) -> None:
    """As everywhere."""
    assert output_of(starts(), ends(output)) == 1


def test_pieces_that_say_nothing_of_usage_are_counted_as_events_only() -> None:
    """Text, unknown kinds, and what is no event inside."""
    pieces = [
        partial({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}}),
        partial({"type": "message_start", "message": 5}),
        partial({"type": "message_delta"}),
        {"type": "stream_event"},
    ]
    seen = fold(*pieces)
    assert seen == progress.Transcript(events=4, bytes=seen.bytes)


def test_a_message_that_begins_after_the_result_is_activity() -> None:
    """Its pieces come before any of its blocks is whole."""
    seen = fold(result(model_usage_since_last_result={"a": model_usage(5, 1)}), starts("m2", tokens=3))
    assert (seen.active_since_result, seen.usage_is_estimate) == (True, True)
    assert (seen.usage.input_tokens, seen.usage.output_tokens) == (8, 6)


@pytest.mark.parametrize(
    ("end", "degraded"),
    [
        (ends(0), True),
        (ends(5), False),
        (ends(0, stop_reason="end_turn"), False),
        (ends(5, "m1", "t1"), True),
        (partial({"type": "message_delta"}), True),
        (partial({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}), False),
    ],
)
def test_an_answer_is_not_degraded_if_its_end_tells_better(end: dict[str, Any], *, degraded: bool) -> None:
    """Its assistant events were printed before that."""
    assert fold(assistant("m1", stop_reason=None, usage={"output_tokens": 0}), end).degraded == degraded


# A subagent as 2.1.329 prints it: main 2 messages, subagent 2, of which the last one comes as the tool's result only.
SUBAGENT = [
    assistant("m1", tool("t1", "Agent"), usage={**api_usage(10), "output_tokens": 1}),
    {"type": "system", "subtype": "task_started", "task_id": "a1", "tool_use_id": "t1", "is_backgrounded": False},
    {"type": "system", "subtype": "task_progress", "task_id": "a1", "usage": {"total_tokens": 1506, "tool_uses": 1}},
    assistant("s1", tool("t2"), usage={**api_usage(10), "output_tokens": 1}, parent_tool_use_id="t1"),
    {"type": "system", "subtype": "task_updated", "task_id": "a1", "patch": {"status": "completed"}},
    {"type": "system", "subtype": "task_notification", "task_id": "a1", "usage": {"total_tokens": 1506}},
    tool_result("t1"),
    assistant("m2", text(), usage={**api_usage(10), "output_tokens": 1}),
]


def test_a_subagent_is_counted_once() -> None:
    """Before the result by its messages, not by its task's own count; afterwards by the models' shares."""
    before = fold(*SUBAGENT)
    assert (before.usage.input_tokens, before.usage.output_tokens, before.turns) == (30, 3, 2)
    after = fold(*SUBAGENT, result(usage=api_usage(20), model_usage_since_last_result={"a": model_usage(40, 0.02)}))
    assert (after.usage, after.usage_is_estimate, after.turns) == (usage_of(40), False, 2)
    assert not after.active_since_result


@pytest.mark.parametrize(
    ("event", "active"),
    [
        ({"type": "system", "subtype": "init"}, True),
        (assistant(), True),
        (tool_result(), True),
        ({"type": "system", "subtype": "task_notification"}, False),
        ({"type": "system", "subtype": "api_retry"}, False),
        (b"not json", False),
    ],
)
def test_the_agent_may_go_on_after_its_result(event: dict[str, Any] | bytes, *, active: bool) -> None:
    """A second turn (background work) shows as activity until its own result comes."""
    assert not fold(event).active_since_result
    assert fold(result(), event).active_since_result == active
    assert not fold(result(), event, result()).active_since_result


def system(subtype: str, **fields: Any) -> dict[str, Any]:
    """An event of the CLI itself."""
    return {"type": "system", "subtype": subtype, **fields}


def started(identity: object = "b1", *, behind: bool | None = True, **fields: Any) -> dict[str, Any]:
    """A task begins, in the background unless said otherwise."""
    where = {} if behind is None else {"is_backgrounded": behind}
    return system("task_started", task_id=identity, **where, **fields)


def updated(identity: str = "b1", **patch: Any) -> dict[str, Any]:
    """Something of a task has changed."""
    return system("task_updated", task_id=identity, patch=patch)


def notified(identity: str = "b1", status: str = "completed") -> dict[str, Any]:
    """A task has ended."""
    return system("task_notification", task_id=identity, status=status)


def all_tasks(*identities: str, **fields: Any) -> dict[str, Any]:
    """The complete list of background tasks."""
    return system("background_tasks_changed", tasks=[{"task_id": name, **fields} for name in identities])


def test_a_background_task_keeps_the_run_active_after_its_result() -> None:
    """Event by event, in the order of 2.1.329, which prints nothing while it waits for the task."""
    begin = [all_tasks("b1"), started(), tool_result(), assistant("m1", text())]
    assert not fold(*begin).active_since_result
    assert fold(*begin, result()).active_since_result
    end = [updated(status="completed", end_time=1), notified(), all_tasks()]
    assert [fold(*begin, result(), *end[:n]).active_since_result for n in (1, 2, 3)] == [False] * 3
    again = [{"type": "system", "subtype": "init"}, assistant("m2", text())]
    assert fold(*begin, result(), *end, *again[:1]).active_since_result
    assert not fold(*begin, result(), *end, *again, result()).active_since_result


@pytest.mark.parametrize(
    ("events", "active"),
    [
        ([started()], True),
        ([started(behind=None)], True),
        ([started(behind=False)], False),  # its tool call waits for it, so at the result it is over
        ([started(ambient=True)], False),
        ([started(None)], False),
        ([started(5)], False),
        ([started(""), started("")], False),
        ([started(), notified()], False),
        ([started(), notified(status="stopped")], False),
        ([started(), notified("b2")], True),
        ([started(), started("b2"), notified()], True),
        ([started("b" * 5000), notified("b" * 5000)], False),
        ([started(), updated(status="killed")], False),
        ([started(), updated(status="failed")], False),
        ([started(), updated(status="paused")], True),
        ([started(), updated(description="d")], True),
        ([started(), system("task_updated", task_id="b1", patch="x")], True),
        ([started(), updated(is_backgrounded=False)], False),
        ([started(behind=False), updated(is_backgrounded=True)], True),
        ([started(behind=False), updated(is_backgrounded=True), notified()], False),
        ([updated("b2")], False),
        ([all_tasks("b1")], True),
        ([all_tasks("b1", ambient=True)], False),
        ([started(), all_tasks()], False),
        ([all_tasks("b1", "b2"), all_tasks("b2"), notified("b1")], True),
        ([started(), system("background_tasks_changed")], True),  # an unreadable list says nothing
        ([started(), system("background_tasks_changed", tasks=5)], True),
        ([started(), system("task_progress", task_id="b1")], True),
        ([notified()], False),
    ],
)
def test_a_task_is_at_work_until_it_is_said_to_have_ended(events: list[dict[str, Any]], *, active: bool) -> None:
    """Whether it began before the result or after it."""
    assert fold(*events, result()).active_since_result == active
    assert fold(result(), *events).active_since_result == active
    assert not fold(*events).active_since_result


def test_of_many_tasks_the_last_ones_are_remembered() -> None:
    """The run counts as active until the last of those has ended."""
    events = [started(f"b{n}") for n in range(100)]
    ends = [notified(f"b{n}") for n in range(100)]
    assert fold(*events, result(), *ends[:99]).active_since_result
    assert not fold(*events, result(), *ends).active_since_result


def test_turns_are_messages_of_the_main_thread() -> None:
    """Blocks of one message, subagents, the CLI's own messages and messages without an id are no turns."""
    seen = fold(
        assistant("m1", text()),
        assistant("m1", tool()),
        assistant("s1", text(), parent_tool_use_id="t1"),
        assistant("m2", text()),
        assistant("e1", text(), model=stream.SYNTHETIC_MODEL),
        assistant(None, text()),
    )
    assert seen.turns == 2


def test_a_tool_is_open_until_its_result() -> None:
    """Also a subagent's tool; the last one called is named."""
    assert fold(assistant("m1", tool())).open_tool
    seen = fold(assistant("m1", tool("t1", "Task")), assistant("s1", tool("t2", "Read"), parent_tool_use_id="t1"))
    assert (seen.open_tool, seen.last_tool) == (True, "Read")
    assert fold(assistant("m1", tool("t1"), tool("t2")), tool_result("t1")).open_tool
    assert not fold(assistant("m1", tool("t1")), tool_result("t1"), tool_result("unknown")).open_tool
    assert not fold(assistant("m1", tool("t1")), result()).open_tool
    nameless = fold(assistant("m1", {"type": "tool_use"}))
    assert (nameless.open_tool, nameless.last_tool, nameless.output_seen) == (False, "", True)
    assert not fold(assistant("m1", tool("t1")), {"type": "user", "message": {"content": "words"}}, result()).open_tool
    answerless = {"type": "user", "message": {"content": [{"type": "tool_result"}, text()]}}
    assert fold(assistant("m1", tool("t1")), answerless).open_tool


@pytest.mark.parametrize(
    ("event", "seen"),
    [
        (assistant("m1", text()), True),
        (assistant("m1", {"type": "thinking", "thinking": "hm"}), True),
        (assistant("m1", tool()), True),
        (assistant("m1", usage={"output_tokens": 1}), True),
        (assistant("m1", text("")), False),
        (assistant("m1", usage={"output_tokens": 0}), False),
        (assistant("m1", text("API Error"), model=stream.SYNTHETIC_MODEL), False),
        (tool_result(), False),
    ],
)
def test_output_is_what_the_model_said(event: dict[str, Any], *, seen: bool) -> None:
    """Not what the CLI says in its place."""
    assert fold(event).output_seen == seen


@pytest.mark.parametrize(
    ("event", "degraded"),
    [
        (assistant("m1", stop_reason=None, usage={"output_tokens": 0}), True),
        (assistant("m1", text("words"), stop_reason=None, usage={"output_tokens": 0}), True),
        (assistant("m1", stop_reason="end_turn", usage={"output_tokens": 0}), False),
        (assistant("m1", stop_reason=None, usage={"output_tokens": 1}), False),
        (assistant("m1", stop_reason=None), False),
        (assistant("m1", tool(), stop_reason=None, usage={"output_tokens": 0}), False),
        (assistant("m1", stop_reason=None, usage={"output_tokens": 0}, parent_tool_use_id="t"), False),
    ],
)
def test_a_degraded_answer_has_no_stop_reason_and_no_tokens(event: dict[str, Any], *, degraded: bool) -> None:
    """Only the last message of the main thread counts, and a later good one heals it."""
    assert fold(event).degraded == degraded
    assert not fold(event, assistant("m9", text(), stop_reason="end_turn")).degraded


def test_an_api_failure_is_kept_until_the_model_answers() -> None:
    """The CLI's own message says why; a subagent's failure is not the run's."""
    fields = {"model": stream.SYNTHETIC_MODEL, "error": "rate_limit", "api_error_status": 429, "api_error_type": "t"}
    failed = assistant("e", text("API Error"), api_error="usage_limit_reached", **fields)
    seen = fold(failed).api_failure
    assert seen == progress.ApiFailure(
        error="rate_limit", status=429, type="t", code="usage_limit_reached", text="API Error"
    )
    assert fold(failed, result(is_error=True)).api_failure == seen
    assert fold(failed, assistant("m1", text())).api_failure is None
    assert fold({**failed, "parent_tool_use_id": "t1"}).api_failure is None
    assert fold(assistant("e", model=stream.SYNTHETIC_MODEL)).api_failure == progress.ApiFailure()


def test_a_rejected_window_is_kept_until_requests_are_allowed_again() -> None:
    """Status allowed is no trouble."""
    rejected = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": 1795259773}}
    allowed = {"type": "rate_limit_event", "rate_limit_info": {"status": "allowed_warning"}}
    assert fold(rejected).rejected == stream.RateLimitInfo(status="rejected", resets_at=1795259773)
    assert fold(rejected, allowed).rejected is None
    assert fold(rejected, {"type": "rate_limit_event"}).rejected is None
    assert real("2.1.329/oauth_rl_warn").rejected is None


def test_the_last_retry_is_kept() -> None:
    """The attempt restarts within a run; the last one is what a watcher wants to know."""
    retry = real("2.1.329/sigterm_retrywait").api_retry
    assert retry is not None
    assert (retry.attempt, retry.max_retries, retry.error_status) == (5, 10, 500)


def test_session_id_comes_from_any_event_and_init_has_the_last_word() -> None:
    """Init may be late or missing; hooks run before it."""
    hook = {"type": "system", "subtype": "hook_started", "session_id": "early"}
    init = {"type": "system", "subtype": "init", "session_id": "real"}
    assert fold(hook).session_id == "early"
    assert fold(hook, init, hook).session_id == "real"
    assert fold(init, {"type": "system", "subtype": "init"}).session_id == "real"
    assert real("2.1.329/resume_otherhome").session_id == "24564e73-267d-43df-8d79-c587819aed87"


def test_lines_that_are_no_events_are_counted_and_the_first_words_kept() -> None:
    """At most 300 characters; a broken event is counted but never shown."""
    seen = fold(b'{"type":"assist', b"[1]", b"", b"   ", b"  sh: claude: not found", b"second")
    assert (seen.non_json_lines, seen.first_plain_text, seen.events) == (4, "sh: claude: not found", 0)
    assert fold(b"x" * 1000).first_plain_text == "x" * 300


def test_bytes_and_oversized_lines_are_counted() -> None:
    """Every byte counts, also those of a line too long to read."""
    seen = progress.Progress(max_line_bytes=30)
    seen.feed(b'{"type":"a"}\n' + b"x" * 100 + b'\n{"type":"b"}')
    assert (seen.snapshot().bytes, seen.snapshot().oversized_lines, seen.snapshot().events) == (126, 1, 1)
    seen.finish()
    assert seen.snapshot().events == 2


def test_a_snapshot_does_not_change_when_the_fold_goes_on() -> None:
    """Frozen means frozen."""
    seen = progress.Progress()
    seen.fold(stream.Init(session_id="s"))
    before = seen.snapshot()
    seen.fold(stream.Result(text="x"))
    assert (before.events, before.result, seen.snapshot().events) == (1, None, 2)


@pytest.mark.parametrize(
    ("words", "limit", "expected"),
    [
        ("", 4, ""),
        ("abcd", 4, "abcd"),
        ("abcde", 4, "a…"),
        ("ééé", 6, "ééé"),
        ("éééé", 6, "é…"),  # 3 bytes are left, one and a half é
        ("😀😀", 7, "😀…"),
    ],
)
def test_a_text_is_cut_to_bytes_between_characters(words: str, limit: int, expected: str) -> None:
    """Never more than the limit, never half a character."""
    assert progress.cut_text(words, limit) == expected
    assert len(expected.encode()) <= limit


def test_a_long_result_is_cut_to_4_kib_and_marked() -> None:
    """What goes into the status is bounded where it is read."""
    seen = fold(result(result="é" * 5000, errors=["e" * 9000] * 99, subagent_stats={"x": 1}, permission_denials=[1]))
    assert seen.result is not None
    assert seen.result.text is not None
    assert seen.result.text.endswith(progress.CUT_MARK)
    assert len(seen.result.text.encode()) <= progress.MAX_RESULT_BYTES
    assert [len(error) for error in seen.result.error_texts] == [2000] * 8
    assert type(seen.result) is stream.Outcome  # and nothing else of the result is kept


def size(value: object) -> int:
    """Bytes that a value and everything it refers to hold."""
    if isinstance(value, dict):
        return sys.getsizeof(value) + sum(size(k) + size(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return sys.getsizeof(value) + sum(map(size, value))
    inner = getattr(value, "__dict__", None) or {
        name: getattr(value, name) for name in getattr(value, "__struct_fields__", getattr(value, "__slots__", ()))
    }
    return sys.getsizeof(value) + (size(inner) if inner else 0)


def flood(seen: progress.Progress, numbers: range) -> None:
    """Everything that could pile up: new ids, threads, tools, long words, plain lines, retries."""
    for i in numbers:
        long = f"{i}" + "x" * 2000
        seen.fold(stream.Init(session_id=long, model=long, cwd=long, version=long))
        for thread in (None, f"p{i}{long}"):
            message = stream.Message(
                id=f"m{i}{thread}{long}",
                content=[stream.Block(type="tool_use", id=f"t{i}{thread}{long}", name=long)],
                usage=stream.Usage(input_tokens=1),
                stop_reason=long,
            )
            seen.fold(stream.Assistant(message=message, parent_tool_use_id=thread))
        seen.fold(stream.Assistant(message=stream.Message(model=stream.SYNTHETIC_MODEL, content=long), error=long))
        seen.fold(stream.ApiRetry(attempt=i, error=long * 10, session_id=long * 100))
        seen.fold(stream.RateLimit(info=stream.RateLimitInfo(status="rejected", kind=long * 100)))
        seen.fold(stream.PlainText(text=long))
        seen.fold(stream.TaskStarted(task_id=f"b{long}", description=long))
        seen.fold(stream.BackgroundTasksChanged(tasks=[stream.BackgroundTask(task_id=f"{n}{long}") for n in range(99)]))
        seen.fold(stream.PermissionDenied(message=long))
        seen.feed(b"y" * 1000 + b"\n")


def test_memory_does_not_grow_with_the_run() -> None:
    """A thousand turns hold no more than a hundred."""
    seen = progress.Progress()
    flood(seen, range(100))
    before = size(seen)
    flood(seen, range(100, 1000))
    assert size(seen) < before * 1.1
    assert before < 200_000
    assert seen.snapshot().usage.input_tokens == 2000
    seen.fold(
        stream.Result(
            subtype="x" * 9999, text="y" * 99999, model_usage={f"{i}": stream.ModelUsage() for i in range(999)}
        )
    )
    assert size(seen) < before * 1.2


@hypothesis.settings(deadline=None)
@hypothesis.given(st.sampled_from(PATHS), st.lists(st.integers(0, 100_000), max_size=20), st.integers(1, 5000))
def test_any_chunking_of_any_transcript_gives_the_same(path: pathlib.Path, cuts: list[int], step: int) -> None:
    """Wherever the bytes are cut, regularly or not, also inside a character."""
    text_bytes = path.read_bytes()
    seen = progress.Progress()
    edges = sorted({0, len(text_bytes), *(min(c, len(text_bytes)) for c in cuts), *range(0, len(text_bytes), step)})
    for a, b in zip(edges, edges[1:], strict=False):
        seen.feed(text_bytes[a:b])
    seen.finish()
    assert seen.snapshot() == real(f"{path.parts[-3]}/{path.parts[-2]}")


_ODD = (b"", b"\r", b"\0\0", b"npm warn something", b'{"type": "user"', b"\xff\xfe", b"[]", b"[" * 5000, b"{}")


@hypothesis.given(st.sampled_from(PATHS), st.lists(st.tuples(st.integers(0, 40), st.sampled_from(_ODD)), min_size=1))
def test_an_odd_line_changes_nothing_of_how_its_neighbours_are_read(
    path: pathlib.Path, odd: list[tuple[int, bytes]]
) -> None:
    """All lines in one chunk come to the same as each by itself, and as what a careful reader makes of each."""
    lines = path.read_bytes().splitlines()
    for at, line in odd:
        lines.insert(min(at, len(lines)), line)
    together, carefully = progress.Progress(), progress.Progress()
    together.feed(b"".join(line + b"\n" for line in lines))
    for line in lines:
        event = stream.parse(line)
        if event is not None:
            carefully.fold(event)
    seen = together.snapshot()
    assert seen == fold(*lines)
    assert dataclasses.replace(seen, bytes=0) == carefully.snapshot()
