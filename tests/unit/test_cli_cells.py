"""What tables, screens and stories are made of: pure functions, one table each."""

import datetime
import io
import os
import sys
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import models
from agentrun_operator.cli import cells, describe, story, table, terminal, top
from agentrun_operator.cli.transcript import Style
from agentrun_operator.client import hub
from tests import builders

NOW = datetime.datetime(2026, 1, 2, 4, 4, 5, tzinfo=datetime.UTC)  # an hour after ``builders.CREATED``
PLAIN = terminal.Terminal(color=False, width=None)


def a_run(status: dict[str, Any] | None = None, **given: Any) -> models.AgentRun:
    """An AgentRun."""
    return models.AgentRun.parse(builders.agent_run(status=status, **given))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-3, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (7800, "2h10m"),
        (86_400 * 4 + 10_800, "4d03h"),
    ],
)
def test_a_duration_has_two_units(seconds: float, shown: str) -> None:
    assert cells.span(seconds) == shown


@pytest.mark.parametrize(
    ("text", "shown"), [(builders.CREATED, "1h00m"), ("2026-01-02T04:04:00", "5s"), (None, ""), ("soon", "")]
)
def test_an_age_that_nobody_knows_is_blank(text: str | None, shown: str) -> None:
    assert cells.age(text, NOW) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [(None, ""), ("0", "$0.0000"), ("0.01234", "$0.0123"), ("1", "$1.00"), ("1234.567", "$1,234.57"), ("much", "")],
)
def test_small_sums_have_more_digits(text: str | None, shown: str) -> None:
    assert cells.dollars(text) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(None, ""), (0, "0"), (999, "999"), (1000, "1.0k"), (12_345, "12k"), (999_999, "1000k"), (3_400_000, "3.4M"),
     (7_000_000_000_000, "7000G")],
)  # fmt: skip
def test_large_numbers_are_short(number: int | None, shown: str) -> None:
    assert cells.count(number) == shown


@pytest.mark.parametrize(
    ("values", "shown"), [([], ""), ([0, 0], "▁▁"), ([0, 1, 4, 8], "▁▂▅█"), ([-1, 5], "▁█"), ([0.001, 1000], "▁█")]
)
def test_a_sparkline_is_as_high_as_its_highest_value(values: list[float], shown: str) -> None:
    assert cells.sparkline(values) == shown


@pytest.mark.parametrize(
    ("status", "phase", "reason", "sentence"),
    [
        (None, "Pending", "", "No operator has taken it up yet; is one running, and does it watch this namespace?"),
        ({"phase": "Queued", "reason": "AgentBusy", "message": "It\nwaits."}, "Queued", "AgentBusy", "It waits."),
        ({"phase": "Failed", "reason": "Oom", "error": {"code": "k8s_oom_killed", "message": "m"}}, "Failed",
         "k8s_oom_killed", "Oom"),
    ],
)  # fmt: skip
def test_a_run_in_words(status: dict[str, Any] | None, phase: str, reason: str, sentence: str) -> None:
    run = a_run(status)
    assert (cells.phase(run), cells.reason(run), cells.sentence(run)) == (phase, reason, sentence)


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({"phase": "Queued", "reason": "AgentBusy"}, "AgentBusy"),
        ({"phase": "Failed", "error": {"code": "timeout", "message": "m"}, "reason": "Timeout"}, "timeout"),
        ({"phase": "Running", "reason": "AgentRunning"}, ""),
        ({"phase": "Cancelled", "error": {"code": "cancelled", "message": "m"}}, ""),
    ],
)
def test_a_reason_is_named_where_the_phase_does_not_say_it(status: dict[str, Any], shown: str) -> None:
    """``Cancelled: cancelled`` says nothing."""
    assert cells.why(a_run(status)) == shown


def test_how_long_an_agent_worked() -> None:
    """From its start to its end, or until now."""
    begun = {"phase": "Running", "runningTime": builders.CREATED}
    assert cells.lasted(a_run(), NOW) == ""
    assert cells.lasted(a_run({"phase": "Pending", "startTime": builders.CREATED}), NOW) == ""
    assert cells.lasted(a_run(begun), NOW) == "1h00m"
    assert cells.lasted(a_run({**begun, "completionTime": "2026-01-02T03:05:05Z"}), NOW) == "1m00s"


# ----------------------------------------------------------------------------------------------------------- tables

COLUMNS = [table.Column("NAME", least=6), table.Column("N", right=True), table.Column("MODEL", least=3, optional=True)]
ROWS: list[table.Row] = [["a-long-name", table.Cell("1", Style.RED), "opus"], ["b", "22", "[bold]x\x1b[2J"]]


def test_a_pipe_gets_plain_columns() -> None:
    """Nothing is cut, nothing coloured, nothing taken for markup, and no line ends in spaces."""
    shown = table.render(table.build(COLUMNS, ROWS, None), PLAIN)
    assert shown == "NAME          N  MODEL\na-long-name   1  opus\nb            22  [bold]x\n"


def test_a_narrow_screen_shortens_and_then_leaves_out() -> None:
    narrow = terminal.Terminal(color=False, width=14)
    assert table.render(table.build(COLUMNS, ROWS, 14), narrow) == "NAME         N\na-long-na…   1\nb           22\n"
    shown = table.render(table.build(COLUMNS, ROWS, 10), terminal.Terminal(color=False, width=10))
    assert shown == "NAME     N\na-lon…   1\nb       22\n"


def test_a_terminal_gets_colours() -> None:
    shown = table.render(table.build(COLUMNS, ROWS, 80), terminal.Terminal(color=True, width=80))
    assert "\x1b[31m 1\x1b" in shown
    assert "\x1b[2J" not in shown


@hypothesis.given(st.lists(st.tuples(st.text(), st.text(), st.text()), max_size=5), st.integers(30, 90))
def test_no_line_is_wider_than_the_screen(texts: list[tuple[str, str, str]], width: int) -> None:
    """Whatever stands in the cells: a line that is too long would become two."""
    columns = [table.Column("A", least=4), table.Column("B", least=4), table.Column("C", least=4)]
    screen = terminal.Terminal(color=False, width=width)
    shown = table.render(table.build(columns, [list(row) for row in texts], width), screen)
    assert len(shown.splitlines()) == len(texts) + 1
    assert all(table.width_of(line) <= width for line in shown.splitlines())


def test_the_newest_of_a_sparkline_is_kept() -> None:
    made = table.build([table.Column("WHO", least=4)], [[table.Cell("acme/ada", end=True)]], 4)
    assert table.render(made, PLAIN).splitlines() == ["WHO", "…ada"]
    made = table.build([table.Column("OUT", least=3)], [[table.Cell("▁▂▃▄▅", newest_last=True)]], 3)
    assert table.render(made, terminal.Terminal(color=False, width=3)) == "OUT\n▃▄▅\n"


# ---------------------------------------------------------------------------------------------------------- stories

FAILED = {
    "phase": "Failed",
    "message": "Out of memory.",
    "error": {"code": "k8s_oom_killed", "message": "Out of memory.", "retryAfter": "2026-01-02T09:00:00Z"},
    "attempt": 1,
    "previousAttempts": [
        {"attempt": 0, "code": "claude_overloaded", "message": "529.", "jobName": "ac-0",
         "startTime": "2026-01-02T03:05:00Z", "completionTime": "2026-01-02T03:06:00Z"},
    ],
    "job": {"name": "ac-1", "uid": "u"},
    "podName": "pod-1",
    "nodeName": "node-1",
    "startTime": "2026-01-02T03:07:00Z",
    "runningTime": "2026-01-02T03:07:09Z",
    "completionTime": "2026-01-02T03:30:00Z",
    "conditions": [
        {"type": "PodReady", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes",
         "lastTransitionTime": "2026-01-02T03:07:05Z"},
        {"type": "Stalled", "status": "True", "reason": "Silent", "lastTransitionTime": "2026-01-02T03:20:00Z"},
    ],
}  # fmt: skip
EVENTS = [
    {"reason": "Queued", "firstTimestamp": "2026-01-02T03:04:10Z", "message": "It waits.", "type": "Normal"},
    {"reason": "JobCreated", "firstTimestamp": "2026-01-02T03:07:00Z", "message": "Job ac-1 was created."},
    {"reason": "RunFailed", "eventTime": "2026-01-02T03:30:00Z", "message": "k8s_oom_killed", "type": "Warning"},
    {"reason": "Odd", "message": "It has no time."},
]


def steps_of(run: models.AgentRun, *events: dict[str, Any]) -> list[str]:
    return [f"{step.at:%H:%M:%S} {step.text}" for step in story.tell(run, events, NOW)]


def test_what_happened_is_told_once_and_in_order() -> None:
    """Of what the status and the Events say alike, the status counts."""
    assert steps_of(a_run(FAILED), *EVENTS) == [
        "03:04:05 created",
        "03:04:10 Queued: It waits.",
        "03:05:00 attempt 0: Job ac-0 created",
        "03:06:00 attempt 0 failed: claude_overloaded: 529.",
        "03:07:00 attempt 1: Job ac-1 created",
        "03:07:09 attempt 1: the agent began in pod pod-1 on node-1",
        "03:20:00 Silent",
        "03:30:00 Failed: k8s_oom_killed: Out of memory.",
        "09:00:00 another try makes sense from then on",
    ]


def test_of_a_live_run_the_last_sign_and_what_is_in_its_way_are_told() -> None:
    status = {
        "phase": "Pending", "lastOutputTime": "2026-01-02T03:50:00Z", "turns": 3, "lastTool": "Bash",
        "nextAttemptTime": "2026-01-02T05:00:00Z", "job": {"name": "ac-0", "uid": "u"}, "reattachedFrom": "old",
        "startTime": "2026-01-02T03:05:00Z", "conditions": FAILED["conditions"],
    }  # fmt: skip
    assert steps_of(a_run(status, deleting=True), *EVENTS[2:3]) == [
        "03:04:05 created",
        "03:04:05 somebody deleted it; its end is being waited for",
        "03:05:00 Job ac-0 adopted; its AgentRun old is gone",
        "03:07:05 Unschedulable: 0/3 nodes",
        "03:20:00 Silent",
        "03:30:00 RunFailed: k8s_oom_killed",
        "03:50:00 last output: turn 3, the last tool was Bash",
        "05:00:00 it is tried again then",
    ]


def test_a_report_says_why_in_its_first_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    run = a_run({**FAILED, "exit": {"code": 137, "reason": "OOMKilled"}, "session": {"id": "s-1", "clear": True}})
    text = describe.report(run, story.tell(run, EVENTS, NOW), NOW)
    assert text.splitlines()[:2] == ["✘ fix-login Failed: k8s_oom_killed", "  Out of memory."]
    assert "  session  s-1 (not to be resumed)\n" in text
    assert "  exit     137 · OOMKilled\n" in text
    assert "\nwhat happened from 2026-01-02 03:04:05 UTC\n  03:04:05      +0s  created\n" in text


# -------------------------------------------------------------------------------------------------------------- top


def change(name: str, phase: str, *, gone: bool = False, **status: Any) -> hub.Change:
    return hub.Change(builders.agent_run(name=name, uid=name, status={"phase": phase, **status}), gone)


def picture(board: top.Board, *, columns: int = 120, lines: int = 40) -> list[str]:
    board.forget(NOW)
    made = top.picture(board, NOW, os.terminal_size((columns, lines)))
    return table.render(made, terminal.Terminal(color=False, width=columns)).splitlines()


def test_a_board_shows_who_works_first_and_forgets_who_ended_long_ago() -> None:
    board = top.Board()
    board.take([
        change("ended", "Failed", completionTime="2026-01-02T04:03:00Z", costUSD="0.5", reason="Oom"),
        change("waits", "Queued", reason="AgentBusy"),
        change("works", "Running", runningTime=builders.CREATED, turns=4, lastTool="Bash", costUSD="1.5",
               lastOutputTime="2026-01-02T04:04:00Z", logBytes=10),
        change("old", "Succeeded", completionTime="2026-01-02T03:30:00Z"),
        change("deleted", "Running"),
    ])  # fmt: skip
    board.take([change("deleted", "Running", gone=True)])
    head, blank, title, *rows = picture(board)
    assert head == "04:04:05 UTC · $2.00 · 1 running · 1 queued · 1 failed"
    assert (blank, title.split()[:3]) == ("", ["NAME", "AGENT", "PHASE"])
    assert [row.split() for row in rows] == [
        ["works", "acme/coder", "Running", "4", "$1.50", "5s", "▁" * 16, "Bash", "1h00m"],
        ["waits", "acme/coder", "Queued", "AgentBusy", "1h00m"],
        ["ended", "acme/coder", "Failed", "$0.5000", "Oom", "1h00m"],
    ]


def test_output_is_shown_as_it_came() -> None:
    board = top.Board()
    for log_bytes in (100, 300, 300, 1100):
        board.take([change("works", "Running", runningTime=builders.CREATED, logBytes=log_bytes)])
        board.turn()
    assert "▁▁▃▁█▁" in picture(board)[3]


def test_what_does_not_fit_is_counted() -> None:
    board = top.Board()
    board.take([change(f"run-{index}", "Running") for index in range(9)])
    shown = picture(board, lines=8)
    assert len(shown) <= 8
    assert shown[-1] == "… and 5 more"
    assert "NAMESPACE" not in "".join(picture(top.Board()))
    assert picture(top.Board(everywhere=True))[2].startswith("NAMESPACE  NAME")
    assert picture(top.Board())[0] == "04:04:05 UTC · $0.0000 · no live run"
