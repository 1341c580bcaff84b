"""``agentrun inspect``: the operator's verdict on any log, and a timeline that people can read."""

import io
import json
import os
import pathlib
import re
import sys
import time
from typing import Any

import pytest
import yaml

from agentrun_operator import cli, models, progress
from agentrun_operator.cli import documents, timeline
from tests import builders

TRANSCRIPTS = pathlib.Path(__file__).parents[1] / "data" / "transcripts"
INDEX = json.loads((TRANSCRIPTS / "index.json").read_text())
FIELDS = ["phase", "reason", "message", "error", "exit", "usage", "costUSD", "session", "model", "turns", "result"]
INIT = b'{"type":"system","subtype":"init","session_id":"s-1","model":"opus","claude_code_version":"2.1"}\n'
RESULT = b'{"type":"result","subtype":"success","is_error":false,"result":"Done.","duration_ms":1500}\n'
TOKEN = "sk-ant-api03-" + "Ab1_" * 6


@pytest.fixture(autouse=True)
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The working directory; the environment says nothing of an operator."""
    for name in [name for name in os.environ if name.startswith("AGENTRUN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Run ``agentrun inspect``: exit code, stdout, stderr."""
    try:
        code = cli.main(["inspect", *argv])
    except SystemExit as e:
        code = int(e.code or 0)
    return (code, *capsys.readouterr())


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put ``content`` on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def look(capsys: pytest.CaptureFixture[str], log: bytes, *argv: str) -> dict[str, Any]:
    """The JSON for a log."""
    pathlib.Path("log").write_bytes(log)
    code, out, _ = run(capsys, "log", "-o", "json", *argv)
    status: dict[str, Any] = json.loads(out)
    assert code == (0 if status["phase"] == "Succeeded" else 1)
    assert list(status) == [name for name in FIELDS if name in status]
    models.AgentRunStatus.model_validate(status)
    return status


def assistant(*blocks: dict[str, Any], id: str = "m1", at: str = "", **fields: Any) -> bytes:  # noqa: A002 - JSON's
    """A message of the model."""
    stamp = {"timestamp": at} if at else {}
    event = {"type": "assistant", "message": {"id": id, "content": list(blocks)}, **stamp, **fields}
    return json.dumps(event).encode() + b"\n"


def tool(name: str, command: str, id: str = "t1") -> dict[str, Any]:  # noqa: A002 - JSON's
    """A tool call."""
    return {"type": "tool_use", "id": id, "name": name, "input": {"command": command}}


def text(words: str) -> dict[str, Any]:
    """Words of the model."""
    return {"type": "text", "text": words}


def answer(content: str, *, id: str = "t1", is_error: bool = True, at: str = "") -> bytes:  # noqa: A002 - JSON's
    """A tool's result."""
    block = {"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error}
    event = {"type": "user", "message": {"content": [block]}, **({"timestamp": at} if at else {})}
    return json.dumps(event).encode() + b"\n"


def seen(capsys: pytest.CaptureFixture[str], log: bytes, *argv: str) -> list[str]:
    """The timeline of a log, without its heading."""
    pathlib.Path("log").write_bytes(log)
    _, out, _ = run(capsys, "log", *argv)
    _, _, lines = out.partition("\ntimeline")
    return lines.splitlines()[1:]


# --------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize("entry", INDEX, ids=lambda e: f"{e['cli']}/{e['scenario']}")
def test_every_real_run_gets_its_right_code(capsys: pytest.CaptureFixture[str], entry: dict[str, Any]) -> None:
    """Given its exit code and standard error; in valid JSON, with fields of the status and no others."""
    where = TRANSCRIPTS / entry["cli"] / entry["scenario"]
    status = look(
        capsys,
        (where / "stdout.ndjson").read_bytes(),
        "--exit-code",
        str(entry["exit"]),
        "--stderr",
        str(where / "stderr.txt"),
    )
    assert status.get("error", {}).get("code", "") in entry["codes"]
    assert status["exit"]["code"] == entry["exit"]
    assert ("error" in status) == (status["phase"] != "Succeeded")


@pytest.mark.parametrize("entry", INDEX, ids=lambda e: f"{e['cli']}/{e['scenario']}")
def test_every_real_run_can_be_read_by_people(capsys: pytest.CaptureFixture[str], entry: dict[str, Any]) -> None:
    """The verdict first, then what is known, then the timeline; no JSON in any of it."""
    path = TRANSCRIPTS / entry["cli"] / entry["scenario"] / "stdout.ndjson"
    code, out, err = run(capsys, str(path), "--exit-code", str(entry["exit"]))
    assert err == ""
    first = out.splitlines()[0]
    assert re.fullmatch(r"✔ Succeeded: Completed" if code == 0 else r"✘ Failed: [a-z0-9_]+", first)
    assert '{"' not in out
    assert '"type"' not in out
    assert "\x1b" not in out
    assert ("\ntimeline" in out) == (path.stat().st_size > 0)


def test_a_success_without_an_exit_code_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What was assumed is told, in both forms."""
    status = look(capsys, INIT + RESULT)
    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed")
    assert status["exit"]["code"] == 0
    assert status["exit"]["detection"].endswith("exit code 0 is assumed, because the last result is a success")
    assert "exit      0 · assumed, because the last result is a success\n" in run(capsys, "log")[1]


@pytest.mark.parametrize(
    ("log", "argv", "code"),
    [
        (INIT + RESULT, ("--exit-code", "1"), "adapter_failed"),
        (INIT + RESULT, ("--exit-code", "0"), ""),
        (INIT + RESULT + INIT, (), "adapter_failed"),  # it went on, and how that ended is not known
        (INIT + RESULT + INIT, ("--exit-code", "0"), ""),
        (INIT, (), "adapter_failed"),
        (INIT, ("--exit-code", "143"), "claude_truncated"),
        (INIT + RESULT.replace(b"success", b"error_max_turns"), (), "claude_max_turns"),
        (INIT + RESULT[:-20], ("--exit-code", "0"), "claude_truncated"),
        (b"", (), "adapter_failed"),
        (b"", ("--exit-code", "1"), "claude_startup_failed"),
        (b"No conversation found with session ID: x\n", ("--exit-code", "1"), "session_unavailable"),
        (b"[1, 2]\nnull\n\x00\xff\n", (), "adapter_failed"),
        ((INIT + RESULT).replace(b"\n", b"\r\n"), (), ""),
        (INIT + b"x" * 20_000_000 + b"\n" + RESULT, (), ""),
        (INIT + RESULT[:-1], (), ""),
    ],
)
def test_any_log_gets_a_verdict(
    capsys: pytest.CaptureFixture[str], log: bytes, argv: tuple[str, ...], code: str
) -> None:
    """Also one that is empty, no log at all, broken off, or has lines of any length and end."""
    status = look(capsys, log, *argv)
    assert status.get("error", {}).get("code", "") == code
    assert "Job" not in status["message"]
    human = run(capsys, "log", *argv)
    assert human[0] == (1 if code else 0)
    assert human[1].splitlines()[0] == (f"✘ Failed: {code}" if code else "✔ Succeeded: Completed")


def test_an_exit_code_that_is_not_known_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    """And how to tell it."""
    status = look(capsys, INIT)
    assert "code" not in status["exit"]
    assert status["message"].startswith("How the agent ended is not known")
    assert "exit     unknown; --exit-code or --pod tells it\n" in run(capsys, "log")[1]


def test_a_file_without_any_event_is_probably_another_one(capsys: pytest.CaptureFixture[str]) -> None:
    """A note on stderr, so that stdout stays what it is."""
    pathlib.Path("notes.txt").write_text("milk\neggs\n")
    code, out, err = run(capsys, "notes.txt", "-o", "yaml")
    assert (code, yaml.safe_load(out)["phase"]) == (1, "Failed")
    assert err == "agentrun inspect: note: there is no event of the CLI in notes.txt\n"


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_standard_input_and_both_forms(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    """YAML and JSON say the same."""
    give(monkeypatch, INIT + RESULT)
    code, out, err = run(capsys, "-", "-o", output)
    assert (code, err) == (0, "")
    assert yaml.safe_load(out) == look(capsys, INIT + RESULT)


def test_session_usage_and_cost_are_kept_on_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """As in the operator's status."""
    path = TRANSCRIPTS / "2.1.329" / "maxturns" / "stdout.ndjson"
    folded = progress.Progress()
    folded.feed(path.read_bytes())
    said = folded.snapshot()
    status = look(capsys, path.read_bytes(), "--exit-code", "1")
    assert status["session"] == {"id": said.session_id, "cwd": said.cwd}
    assert status["costUSD"] == said.cost_text
    assert status["usage"]["inputTokens"] == said.usage.input_tokens > 0
    assert status["turns"] == said.turns


# ----------------------------------------------------------------------------------------------------------- stderr


def test_standard_error_is_quoted_by_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """At most 8 KiB of it, without tokens."""
    pathlib.Path("err").write_text("x" * 20_000 + f"\nerror: bad key {TOKEN}\n")
    status = look(capsys, b"", "--exit-code", "1", "--stderr", "err")
    assert len(status["exit"]["stderrTail"]) <= 8192
    assert "error: bad key [redacted]" in status["message"]
    assert "sk-ant" not in json.dumps(status)
    assert "stderr  error: bad key [redacted]\n" in run(capsys, "log", "--exit-code", "1", "--stderr", "err")[1]


def test_standard_error_beside_the_log_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the operator's entry script writes it; what the user names wins."""
    pathlib.Path("run-1.pod.ndjson").write_bytes(b"")
    pathlib.Path("run-1.pod.stderr").write_text("the one beside it")
    pathlib.Path("other").write_text("the other one")
    assert "the one beside it" in run(capsys, "run-1.pod.ndjson", "--exit-code", "1")[1]
    assert "the other one" in run(capsys, "run-1.pod.ndjson", "--exit-code", "1", "--stderr", "other")[1]


def test_standard_error_may_be_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a shell's <(…)."""
    give(monkeypatch, b"from a pipe")
    assert look(capsys, b"", "--exit-code", "1", "--stderr", "-")["exit"]["stderrTail"] == "from a pipe"


# -------------------------------------------------------------------------------------------------------------- pod


def put_pod(*bodies: dict[str, Any]) -> None:
    """Save objects as kubectl prints them."""
    pathlib.Path("pod.yaml").write_text("---\n".join(map(documents.to_yaml, bodies)))


OOM = builders.pod(phase="Failed", main=builders.terminated(exit_code=137, reason="OOMKilled"))
EVICTED = builders.pod(
    phase="Failed", reason="Evicted", message="low on memory", main=builders.terminated(exit_code=143)
)
GOOD = builders.pod(phase="Succeeded", main=builders.terminated(exit_code=0))
DEADLINE = builders.job(conditions={"Failed": ("DeadlineExceeded", "too long")})


@pytest.mark.parametrize(
    ("bodies", "log", "code"),
    [
        ([OOM], INIT, "k8s_oom_killed"),
        ([EVICTED], INIT, "k8s_pod_evicted"),
        ([GOOD], INIT + RESULT, ""),
        ([GOOD], INIT, "claude_truncated"),
        ([DEADLINE], INIT, "timeout"),
        ([builders.pod(phase="Failed", main=builders.terminated(exit_code=143)), DEADLINE], INIT, "timeout"),
        ([builders.pod(deleting=True, main=builders.terminated(exit_code=1))], b"", "claude_startup_failed"),
        ([builders.pod(phase="Failed", init=builders.terminated(exit_code=1))], b"", "k8s_init_failed"),
        ([builders.pod(phase="Failed", reason="NodeLost", main=builders.running())], INIT, "k8s_node_lost"),
    ],
)
def test_what_kubernetes_saw_counts(
    capsys: pytest.CaptureFixture[str], bodies: list[dict[str, Any]], log: bytes, code: str
) -> None:
    """Exit code, memory, eviction, the Job's deadline."""
    put_pod(*bodies)
    status = look(capsys, log, "--pod", "pod.yaml")
    assert status.get("error", {}).get("code", "") == code


def test_the_exit_of_a_pod_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """Code, signal and reason."""
    put_pod(OOM)
    status = look(capsys, INIT, "--pod", "pod.yaml", "--exit-code", "137")
    assert status["exit"]["oomKilled"] is True
    assert status["exit"]["signal"] == 9
    assert "exit     137 (SIGKILL) · OOMKilled\n" in run(capsys, "log", "--pod", "pod.yaml")[1]


def test_a_pod_that_is_at_work_has_no_verdict_yet(capsys: pytest.CaptureFixture[str]) -> None:
    """The status that the operator would write now."""
    put_pod(builders.pod(main=builders.running()))
    status = look(capsys, INIT, "--pod", "pod.yaml")
    assert (status["phase"], status["reason"]) == ("Running", "Running")
    assert "exit" not in status
    code, out, _ = run(capsys, "log", "--pod", "pod.yaml")
    assert (code, out.splitlines()[0]) == (1, "… Running: Running")


# ------------------------------------------------------------------------------------------------------ wrong usage


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("missing",), "missing: No such file or directory"),
        ((".",), ".: Is a directory"),
        (("a\0b",), "embedded null byte"),
        (("log", "--stderr", "missing"), "missing: No such file or directory"),
        (("log", "--pod", "missing"), "missing: No such file or directory"),
        (("log", "--pod", "log"), "--pod log: it has to hold one Pod"),
        (("-", "--pod", "-"), "standard input (-) can be read only once"),
        (("-", "--stderr", "-"), "standard input (-) can be read only once"),
        (("log", "--exit-code", "256"), "'256' is no exit code; it is a number from 0 to 255"),
        (("log", "--exit-code", "-1"), "'-1' is no exit code"),
        (("log", "--exit-code", "one"), "'one' is no exit code"),
        (
            ("log", "--pod", "pod.yaml", "--exit-code", "1"),
            "--exit-code 1: the agent of --pod ended with exit code 137",
        ),
        (("log", "--pod", "live.yaml", "--exit-code", "1"), "--exit-code 1: the agent of --pod has not ended"),
        (("log", "--pod", "other.yaml"), "--pod other.yaml: the pod has no container claude"),
        (("log", "-o", "xml"), "invalid choice: 'xml'"),
    ],
)
def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], said: str) -> None:
    """One sentence on stderr, and nothing on stdout."""
    pathlib.Path("log").write_bytes(b"")
    put_pod(OOM)
    pathlib.Path("live.yaml").write_text(documents.to_yaml(builders.pod(main=builders.running())))
    other = builders.pod()
    other["status"]["containerStatuses"] = [{"name": "web"}]
    pathlib.Path("other.yaml").write_text(documents.to_yaml(other))
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert said in err


# --------------------------------------------------------------------------------------------------------- timeline


def test_the_timeline_tells_turns_tools_and_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, with the time since the first one that the log knows."""
    retry = b'{"type":"system","subtype":"api_retry","attempt":1,"max_retries":9,"retry_delay_ms":500}\n'
    log = b"".join(
        [
            INIT,
            retry,
            assistant({"type": "thinking", "thinking": "hm"}, at="2026-11-21T10:00:00.000Z"),
            assistant(text("I look."), at="2026-11-21T10:00:00.100Z"),
            assistant(tool("Bash", "ls\n-l"), at="2026-11-21T10:00:00.200Z"),
            assistant(tool("Read", "/a", "t2"), at="2026-11-21T10:00:00.300Z"),
            answer("fine", id="t2", is_error=False, at="2026-11-21T10:00:01.000Z"),
            answer("Exit code 3\noops", at="2026-11-21T10:00:59.940Z"),
            assistant(tool("Grep", "x", "t3"), id="s1", parent_tool_use_id="t2", at="2026-11-21T10:01:05Z"),
            b'{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","rateLimitType":"five_hour"}}\n',
            b'{"type":"system","subtype":"permission_denied","tool_name":"Bash","message":"not\\nallowed"}\n',
            b'{"type":"system","subtype":"compact_boundary","compact_metadata":{"pre_tokens":9000,"post_tokens":70}}\n',
            b'{"type":"system","subtype":"hook_response","hook_name":"Stop","exit_code":2}\n',
            b'{"type":"system","subtype":"task_started","task_id":"b","is_backgrounded":true,"description":"serve"}\n',
            b'{"type":"system","subtype":"status","status":"requesting"}\n',
            b'{"type":"stream_event","event":{"type":"content_block_delta"}}\n',
            b'{"type":"system","subtype":"task_notification","task_id":"b","status":"stopped","summary":"serve"}\n',
            b'{"type":"system","subtype":"model_fallback","fallback_model":"haiku","content":"opus is busy"}\n',
            assistant(text("Well\n done."), id="m2", at="2026-11-21T11:05:00Z"),
            assistant(text("API Error: 500"), id="m3", isApiErrorMessage=True, is_api_error_message=True),
            assistant({"type": "thinking", "thinking": "hm"}, id="m4", at="2026-11-23T12:00:00Z"),
            b"sh: not found\nsh: not found\n",
            RESULT,
        ]
    )
    assert seen(capsys, log) == [
        "          ● the CLI begins · model opus",
        "          ! the API failed (no answer): attempt 1 of 9 in 0.5 s",
        "   +0.0s  turn 1 → Bash ls -l · Read /a",
        "  +59.9s  ✗ Bash: Exit code 3 oops",
        "  +1m05s    subagent → Grep x",
        "          ! usage limit five_hour reached",
        "          ! Bash was denied: not allowed",
        "          · the conversation was compacted: 9000 → 70 tokens",
        "          ! the hook Stop failed: exit code 2",
        "          · background task started: serve",
        "          · task stopped: serve",
        "          ! going on with haiku: opus is busy",
        "  +1h05m  turn 2 · Well done.",
        "          ✗ API Error: 500",
        "  +2d02h  turn 3 · (thinking)",
        "          sh: not found (and 1 more such lines)",
        "          ✔ success · 1.5 s",
    ]


def test_a_log_without_times_has_line_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """Empty and oversized lines count."""
    log = INIT + b"\n" + b"y" * 17_000_000 + b"\n" + assistant(text("a")) + b'{"type":"assi'
    assert seen(capsys, log) == [
        "  line 1  ● the CLI begins · model opus",
        "  line 3  ! a line of more than 8 MiB is not shown",
        "  line 4  turn 1 · a",
        "  line 5  ! an event is cut off here",
    ]


def test_a_long_timeline_shows_its_beginning_and_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """And all of it on request; no line of it is lost."""
    log = b"".join(assistant(text("word"), id=f"m{n}") for n in range(1, 101))
    short = seen(capsys, log)
    assert [line.split()[1] for line in short[:15]] == [str(n) for n in range(1, 16)]
    assert short[15].strip() == "… 60 more; --all shows them"
    assert [line.split()[1] for line in short[16:]] == [str(n) for n in range(76, 101)]
    assert len(seen(capsys, log, "--all")) == 100
    assert len(seen(capsys, b"".join(log.splitlines(keepends=True)[:40]))) == 40


def test_many_calls_and_many_plain_lines_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """A line stays a line."""
    log = assistant(*(tool("Bash", f"echo {n}", f"t{n}") for n in range(9))) + b"moo\n" * 3 + b"woof\n"
    assert seen(capsys, log) == [
        "  line 1  turn 1 → " + " · ".join(f"Bash echo {n}" for n in range(6)) + " · and 3 more",
        "  line 2  moo (and 3 more such lines)",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0s"), (-5, "0.0s"), (59.9, "59.9s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (90000, "1d01h")],
)
def test_durations_are_short(seconds: float, words: str) -> None:
    """Two units at most."""
    assert timeline.elapsed(seconds) == words


def test_a_token_is_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """In no form of the output; also one that a tool's colours or a long text hide."""
    hidden = f"{TOKEN[:20]}\x1b[31m{TOKEN[20:]}"
    log = (
        assistant(tool("Bash", f"export KEY={hidden}"), text(TOKEN))
        + answer("x" * 285 + f" {hidden}")
        + f"stderr {TOKEN}\n".encode()
        + RESULT.replace(b"Done.", TOKEN.encode()).replace(b"false", b"true")
    )
    pathlib.Path("log").write_bytes(log)
    for argv in ((), ("--all",), ("-o", "json"), ("-o", "yaml")):
        out = run(capsys, "log", *argv)[1]
        assert "sk-ant" not in out
        assert "Ab1_" not in out
        assert "[redacted]" in out


def test_nothing_in_a_log_reaches_the_terminal_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever it stands."""
    evil = "\x1b]0;owned\x07\x1b[2J\u202eab\x9b31m\r\nnext"
    init = json.dumps(
        {"type": "system", "subtype": "init", "session_id": evil, "model": evil, "claude_code_version": evil}
    )
    result = json.dumps({"type": "result", "subtype": evil, "is_error": True, "errors": [evil]})
    log = f"{init}\n".encode() + assistant(tool(evil, evil), text(evil)) + answer(evil) + f"{evil}\n{result}\n".encode()
    pathlib.Path("log").write_bytes(log)
    out = run(capsys, "log")[1]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]", out)
    assert [line for line in out.splitlines() if line.startswith("next")] == []


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [20, 80, 160])
def test_a_terminal_gets_colours_and_no_line_that_is_too_wide(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    """The verdict in green or red, and the rest in its place."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    pathlib.Path("log").write_bytes(INIT + assistant(text("字" * 300)) + RESULT)
    for code, start in ((0, "\x1b[32m✔"), (3, "\x1b[31m✘")):
        screen = _Screen()
        monkeypatch.setattr(sys, "stdout", screen)
        assert cli.main(["inspect", "log", "--exit-code", str(code)]) == (1 if code else 0)
        out = screen.getvalue()
        assert out.startswith(start)
        if columns > 40:
            plain = re.sub(r"\x1b\[\d*m", "", out)
            assert max(len(line) + line.count("字") for line in plain.splitlines()) <= columns


def test_a_large_log_is_read_quickly_and_in_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    """Twenty thousand turns take seconds, not minutes."""
    turn = [assistant(tool("Bash", "echo"), id=f"m{n}") + answer("ok", is_error=False) for n in range(20_000)]
    began = time.monotonic()
    assert len(seen(capsys, b"".join(turn) + RESULT)) == 41
    assert time.monotonic() - began < 30
