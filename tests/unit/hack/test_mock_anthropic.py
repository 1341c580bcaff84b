"""The scripted Messages API answers as its scenarios say, over real sockets on loopback."""

import collections.abc
import contextlib
import http.client
import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from hack.mock_anthropic import conversation, failures, scenarios, server, wire
from hack.mock_anthropic.answers import Answer, Failure, Message, Silence, Text, Tool
from hack.mock_anthropic.conversation import Request
from hack.mock_anthropic.records import Records

ROOT = pathlib.Path(__file__).resolve().parents[3]
KEY = "sk-ant-api03-not-a-real-key-Wxyz"

NAMES = """
    ok unicode thinking empty emptytext tools toolfail writefile paralleltools unknowntool badtoolinput agent maxturns
    longtool bigtool slow slowmulti drop dropclean dropafterblock sseerror hangmid maxtokens ctxexceeded refusal
    refusalempty stopseq pauseturn bigoutput bgtask orphan todo bigtext_small hugeusage transcriptspoof
    error400 prompttoolong maxtokens400 billing400 error401 oauth401 error402 error403 orgdisabled badmodel error413
    error429 error429norr error429long error429noretry error500 error502 error503 error529
    retry429ok retry529ok retry500ok retry401ok rl_ok rl_warn rl_429 hang dropnow mid_error400 compact_ok
    longtools sleeptool
""".split()

STATUS = {
    "error400": 400,
    "prompttoolong": 400,
    "maxtokens400": 400,
    "billing400": 400,
    "error401": 401,
    "oauth401": 401,
    "error402": 402,
    "error403": 403,
    "orgdisabled": 400,
    "badmodel": 404,
    "error413": 413,
    "error429": 429,
    "error429norr": 429,
    "error429long": 429,
    "error429noretry": 429,
    "error500": 500,
    "error502": 502,
    "error503": 503,
    "error529": 529,
}


# ------------------------------------------------------------------------------------------------------------ helpers


def body(text: str, *, results: int = 0, session: str = "", **more: Any) -> dict[str, Any]:
    """A request of the CLI: the prompt, then as many tool turns as there are results."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": text}]
    for number in range(results):
        use = {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {}}
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": "SCENARIO=error500"}
        messages.append({"role": "assistant", "content": [use]})
        messages.append({"role": "user", "content": [result, {"type": "text", "text": "a reminder"}]})
    made = {"model": "claude-sonnet-4-5", "messages": messages, "tools": [{"name": "Bash"}, {"name": "Task"}]}
    return made | ({"metadata": {"user_id": session}} if session else {}) | more


def decide(text: str, *, results: int = 0, count: int = 1) -> Answer:
    asked = body(text, results=results)
    return scenarios.answer(conversation.chosen_scenario(asked, "ok"), Request(asked, count=count))


def blocks(answer: Answer) -> list[Any]:
    """The answer's blocks: texts as strings, tools as their input."""
    assert isinstance(answer, Message)
    return [
        "".join(block.chunks) if isinstance(block, Text) else block.arguments
        for block in answer.blocks
        if isinstance(block, (Text, Tool))
    ]


@contextlib.contextmanager
def serving(records: Records | None = None, scenario: str = "ok") -> collections.abc.Iterator[int]:
    running = server.Server(0, records or Records(), server.Options(scenario=scenario))
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield running.port
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


@pytest.fixture
def port() -> collections.abc.Iterator[int]:
    with serving() as found:
        yield found


def send(
    port: int, content: dict[str, Any] | None, *, method: str = "POST", path: str = "/v1/messages?beta=true"
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        data = None if content is None else json.dumps(content)
        connection.request(method, path, data, {"x-api-key": KEY, "authorization": f"Bearer {KEY}"})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def events(stream: bytes) -> list[dict[str, Any]]:
    """Parse a stream strictly: each event is two lines and an empty one, and names its type twice."""
    parts = stream.decode().split("\n\n")
    assert parts.pop() == ""
    found = []
    for part in parts:
        name, data = part.split("\n")
        content = json.loads(data.removeprefix("data: "))
        assert name == f"event: {content['type']}"
        found.append(content)
    return found


def raw_request(content: dict[str, Any]) -> bytes:
    data = json.dumps(content).encode()
    return b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data


def wait_for(log: pathlib.Path, words: str) -> dict[str, Any]:
    """Return the log's first line with these words, as soon as it is there."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for line in log.read_text().splitlines() if log.exists() else []:
            if words in line:
                found: dict[str, Any] = json.loads(line)
                return found
        time.sleep(0.01)
    raise AssertionError(f"no {words} in the log")


# -------------------------------------------------------------------------------------------------- which scenario


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no marker", "fallback"),
        ("SCENARIO=tools go", "tools"),
        ("SCENARIO=ok and then SCENARIO=rl_429.", "rl_429"),
    ],
)
def test_the_last_marker_chooses_the_scenario_else_the_default(text: str, expected: str) -> None:
    assert conversation.chosen_scenario(body(text), "fallback") == expected


def test_only_what_the_user_wrote_chooses() -> None:
    asked = body("SCENARIO=tools", results=2, system="SCENARIO=error400")
    asked["messages"].append({"role": "assistant", "content": "SCENARIO=error401"})
    assert conversation.chosen_scenario(asked, "ok") == "tools"


@pytest.mark.parametrize(
    "odd",
    [b"", b"no json", b"[]", b'{"messages": 3}', b'{"messages": [7, {"role": "user", "content": [1, {"type": 2}]}]}'],
)
def test_a_body_of_any_shape_gets_the_default_scenario(odd: bytes) -> None:
    assert conversation.chosen_scenario(conversation.parse(odd), "ok") == "ok"


@pytest.mark.parametrize("name", NAMES)
def test_every_documented_name_is_known(name: str) -> None:
    found = decide(f"SCENARIO={name}")
    if isinstance(found, Message):
        assert "unknown scenario" not in str(found.blocks)


def test_an_unknown_name_says_so() -> None:
    assert blocks(decide("SCENARIO=typo")) == ["(unknown scenario typo)"]


# ------------------------------------------------------------------------------------------------------ what it does


def test_tools_asks_once_and_then_ends() -> None:
    assert blocks(decide("SCENARIO=tools"))[1]["command"] == "echo hello-from-bash; echo err >&2"
    assert blocks(decide("SCENARIO=tools", results=1)) == ["The command printed hello-from-bash. Task complete."]


def test_longtools_makes_as_many_distinct_turns_as_it_is_told() -> None:
    texts = []
    for done in range(3):
        text, tool = blocks(decide("SCENARIO=longtools TURNS=3", results=done))
        assert tool["command"] == f"sleep 0.5; echo line-{done + 1}"
        texts.append(text)
    assert len(set(texts)) == 3
    assert blocks(decide("SCENARIO=longtools TURNS=3", results=3)) == ["All 3 lines printed."]


def test_longtools_makes_twenty_turns_unless_told() -> None:
    assert len(blocks(decide("SCENARIO=longtools", results=19))) == 2
    assert len(blocks(decide("SCENARIO=longtools", results=20))) == 1


def test_longtools_starts_again_when_a_resumed_session_asks_for_it() -> None:
    asked = body("SCENARIO=longtools TURNS=2", results=2)
    asked["messages"].append({"role": "user", "content": "SCENARIO=longtools again"})
    assert blocks(scenarios.answer("longtools", Request(asked)))[0] == "Turn 1 of 20."


@pytest.mark.parametrize(("text", "seconds"), [("SCENARIO=sleeptool", 60), ("SCENARIO=sleeptool SECONDS=7", 7)])
def test_sleeptool_sleeps_once(text: str, seconds: int) -> None:
    (tool,) = blocks(decide(text))
    assert tool["command"] == f"echo start; sleep {seconds}; echo end"
    assert tool["timeout"] > seconds * 1000
    assert blocks(decide(text, results=1)) == [f"Slept {seconds} seconds."]


def test_writefile_writes_where_it_is_told() -> None:
    found = scenarios.answer("writefile", Request(body("x"), write_file="/workspace/made.txt"))
    assert blocks(found) == [{"file_path": "/workspace/made.txt", "content": "written by mock\n"}]


def test_a_subagent_recognises_itself() -> None:
    (job,) = blocks(decide("SCENARIO=agent"))
    assert blocks(decide(job["prompt"]))[0]["command"] == "echo in-subagent"
    assert blocks(decide(job["prompt"], results=1)) == ["Subagent report: fine."]
    assert blocks(decide("SCENARIO=agent", results=1)) == ["Main: subagent finished."]


def test_mid_fails_after_two_tool_turns() -> None:
    assert [isinstance(decide("SCENARIO=mid_error400", results=n), Failure) for n in range(3)] == [False, False, True]
    assert decide("SCENARIO=mid_hang", results=2) is Silence.HANG


def test_compact_is_too_long_once_summarises_and_is_well_again() -> None:
    kinds = [type(decide("SCENARIO=compact_x", count=count)) for count in range(1, 6)]
    assert kinds == [Message, Message, Message, Failure, Message]
    (summary,) = blocks(decide("SCENARIO=compact_x Your task is to create a detailed summary", count=5))
    assert "<summary>" in summary


@pytest.mark.parametrize("model", ["claude-nosuch", "bogus-1", "invalid"])
def test_a_made_up_model_does_not_exist(model: str) -> None:
    found = scenarios.answer("ok", Request(body("x", model=model)))
    assert found == Failure(404, "not_found_error", f"model: {model}")


# -------------------------------------------------------------------------------------------------------- over HTTP


def test_ok_is_streamed_event_by_event(port: int) -> None:
    status, headers, data = send(port, body("SCENARIO=ok", stream=True))
    found = events(data)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert [event["type"] for event in found] == [
        "message_start",
        "ping",
        "content_block_start",
        *["content_block_delta"] * 3,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    texts = [event["delta"]["text"] for event in found if event["type"] == "content_block_delta"]
    assert "".join(texts) == "Hello from the mock. All done."
    assert found[0]["message"]["model"] == "claude-sonnet-4-5"
    assert found[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


def test_a_tools_input_is_streamed_in_parts(port: int) -> None:
    found = events(send(port, body("SCENARIO=tools", stream=True))[2])
    opened = [event["content_block"] for event in found if event["type"] == "content_block_start"]
    assert [(block["type"], block.get("name")) for block in opened] == [("text", None), ("tool_use", "Bash")]
    parts = [event["delta"].get("partial_json") for event in found if event.get("index") == 1 and "delta" in event]
    assert len(parts) == 2
    assert json.loads("".join(parts))["description"] == "Echo hello"
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


@pytest.mark.parametrize("name", ["ok", "unicode", "thinking", "empty", "emptytext", "tools", "refusal", "hugeusage"])
def test_without_a_stream_the_same_content_comes_whole(port: int, name: str) -> None:
    status, _, whole = send(port, body(f"SCENARIO={name}"))
    found = json.loads(whole)
    answer = decide(f"SCENARIO={name}")
    assert isinstance(answer, Message)
    assert (status, found["stop_reason"], len(found["content"])) == (200, answer.stop, len(answer.blocks))
    assert blocks(answer) == [b.get("text", b.get("input")) for b in found["content"] if b["type"] != "thinking"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", STATUS)
def test_each_error_has_its_status_and_body(port: int, name: str, *, stream: bool) -> None:
    status, headers, data = send(port, body(f"SCENARIO={name}", stream=stream))
    expected = failures.ERRORS[name]
    assert status == STATUS[name]
    assert expected.headers.items() <= headers.items()
    if expected.kind is None:
        assert (headers["content-type"], data) == ("text/html", expected.text.encode())
        return
    text = "model: claude-sonnet-4-5" if name == "badmodel" else expected.text
    assert json.loads(data)["error"] == {"type": expected.kind, "message": text}


def test_the_table_of_errors_is_complete() -> None:
    assert STATUS.keys() == failures.ERRORS.keys()


@pytest.mark.parametrize("name", failures.TRANSIENT)
def test_a_transient_error_recovers_in_each_conversation_for_itself(port: int, name: str) -> None:
    failing, times = failures.TRANSIENT[name]
    for _ in range(times):
        for session in ("one", "two"):
            assert send(port, body(f"SCENARIO={name}", session=session))[0] == STATUS[failing]
    for session in ("one", "two"):
        assert send(port, body(f"SCENARIO={name}", session=session))[0] == 200


def test_rate_limit_headers_come_with_good_and_bad_answers(port: int) -> None:
    prefix = "anthropic-ratelimit-unified-"
    answers = {name: send(port, body(f"SCENARIO={name}", stream=True)) for name in ("rl_ok", "rl_warn", "rl_429", "ok")}
    assert [answer[0] for answer in answers.values()] == [200, 200, 429, 200]
    found = [answer[1].get(prefix + "status") for answer in answers.values()]
    assert found == ["allowed", "allowed_warning", "rejected", None]
    assert int(answers["rl_429"][1][prefix + "reset"]) > time.time()


def test_a_chunked_request_is_read(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    data = json.dumps(body("SCENARIO=error403")).encode()
    with contextlib.closing(connection):
        connection.request("POST", "/v1/messages", iter([data[:9], data[9:]]), encode_chunked=True)
        assert connection.getresponse().status == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/v1/models", 200),
        ("POST", "/v1/messages/count_tokens", 200),
        ("GET", "/nowhere", 404),
        ("POST", "/v1/nowhere", 404),
    ],
)
def test_other_paths(port: int, method: str, path: str, status: int) -> None:
    assert send(port, {} if method == "POST" else None, method=method, path=path)[0] == status


def test_counts_are_told_and_forgotten(port: int) -> None:
    for _ in range(2):
        send(port, body("SCENARIO=retry401ok"))
    assert json.loads(send(port, None, method="GET", path="/__stats")[2]) == {"retry401ok": 2}
    send(port, {}, path="/__reset")
    assert json.loads(send(port, None, method="GET", path="/__stats")[2]) == {}
    assert send(port, body("SCENARIO=retry401ok"))[0] == 401


# ----------------------------------------------------------------------------------------------------- broken answers


def read_until_broken(port: int, name: str, *, stream: bool = True) -> tuple[bytes, bool]:
    """Return what came, and whether the connection was reset rather than ended."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(raw_request(body(f"SCENARIO={name}", stream=stream)))
        received = b""
        try:
            while (part := client.recv(65536)) and not received.endswith(b"\r\n0\r\n\r\n"):
                received += part
                if received.endswith(b"\r\n0\r\n\r\n"):
                    break
        except ConnectionResetError:
            return received, True
        return received, False


@pytest.mark.parametrize(
    ("name", "came"), [("drop", b"partial text two"), ("dropafterblock", b"content_block_stop"), ("dropnow", b"")]
)
def test_a_drop_resets_the_connection(port: int, name: str, came: bytes) -> None:
    received, was_reset = read_until_broken(port, name)
    assert was_reset
    assert came in received
    assert b"message_stop" not in received


@pytest.mark.parametrize("name", ["drop", "dropclean", "dropafterblock"])
def test_without_a_stream_a_break_is_a_reset(port: int, name: str) -> None:
    assert read_until_broken(port, name, stream=False) == (b"", True)


@pytest.mark.parametrize(("name", "came"), [("dropclean", b"partial text two"), ("sseerror", b"overloaded_error")])
def test_a_stream_can_end_in_order_but_too_early(port: int, name: str, came: bytes) -> None:
    received, was_reset = read_until_broken(port, name)
    assert not was_reset
    assert came in received
    assert b"message_stop" not in received


@pytest.mark.parametrize(("name", "came"), [("hang", b""), ("hangmid", b"partial text before hang")])
def test_a_hang_ends_when_the_client_goes_away(tmp_path: pathlib.Path, name: str, came: bytes) -> None:
    log = tmp_path / "log"
    with serving(Records(log=log)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=0.3) as client:
            client.sendall(raw_request(body(f"SCENARIO={name}", stream=True)))
            received = b""
            with pytest.raises(TimeoutError):
                while part := client.recv(65536):
                    received += part
            assert came in received
            assert bool(received) == bool(came)
        assert wait_for(log, "client_closed_after")["client_closed_after"] < 5


def test_a_client_that_leaves_in_mid_stream_is_noted(tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    with serving(Records(log=log)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(raw_request(body("SCENARIO=bigoutput", stream=True)))
            client.recv(100)
        assert wait_for(log, "client_gone")["seq"] == 1
    assert capfd.readouterr().err == ""


def test_pauses_stand_before_each_chunk() -> None:
    answer = decide("SCENARIO=slow")
    assert isinstance(answer, Message)
    assert sum(step == wire.Pause(1.0) for step in wire.steps(answer, "m")) == 10


# ------------------------------------------------------------------------------------------------- what is written


def test_the_log_holds_no_key_and_no_prompt(tmp_path: pathlib.Path) -> None:
    log = tmp_path / "log"
    with serving(Records(log=log)) as port:
        send(port, body("SCENARIO=ok private words", system="private rules"))
    written = log.read_text()
    assert KEY not in written
    assert KEY[:-4] not in written
    assert "private" not in written
    (line,) = map(json.loads, written.splitlines())
    assert (line["scenario"], line["seq"], line["n"]) == ("ok", 1, 1)
    assert line["headers"]["x-api-key"] == "...Wxyz"
    assert line["headers"]["authorization"] == "Bearer ...Wxyz"
    assert list(tmp_path.iterdir()) == [log]


@pytest.mark.parametrize("short", ["test", "123456789012345"])
def test_of_a_short_key_nothing_is_logged(tmp_path: pathlib.Path, short: str) -> None:
    log = tmp_path / "log"
    with serving(Records(log=log)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/messages", "{}", {"x-api-key": short, "authorization": short})
            connection.getresponse().read()
    headers = json.loads(log.read_text())["headers"]
    assert (headers["x-api-key"], headers["authorization"]) == ("present", "present")


def test_bodies_are_kept_on_request_and_only_for_their_owner(tmp_path: pathlib.Path) -> None:
    log, folder = tmp_path / "log", tmp_path / "bodies"
    with serving(Records(log=log, bodies=folder)) as port:
        send(port, body("SCENARIO=ok private words"))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert json.loads((folder / "0001.json").read_text())["messages"][0]["content"] == "SCENARIO=ok private words"
    assert json.loads(log.read_text())["user"] == ["SCENARIO=ok private words"]


# ------------------------------------------------------------------------------------------------- the command line


def test_the_command_announces_its_port_serves_loopback_and_ends_on_sigterm(tmp_path: pathlib.Path) -> None:
    port_file = tmp_path / "port"
    port_file.write_text("1\n")
    command = [sys.executable, "-m", "hack.mock_anthropic", "--port-file", str(port_file), "--scenario", "error402"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            announced = re.fullmatch(r"mock on 127\.0\.0\.1:(\d+) pid (\d+)\n", process.stdout.readline())
            assert announced is not None
            port = int(announced[1])
            assert int(announced[2]) == process.pid
            assert port_file.read_text() == f"{port}\n"
            assert send(port, body("no marker"))[0] == 402
            with socket.create_connection(("127.0.0.1", port), timeout=10) as hanging:
                hanging.sendall(raw_request(body("SCENARIO=hang")))
                process.send_signal(signal.SIGTERM)
                output, errors = process.communicate(timeout=5)
        finally:
            process.kill()
    assert (process.returncode, output, errors) == (0, "", "")
    assert list(tmp_path.iterdir()) == [port_file]


def test_it_listens_on_loopback_only() -> None:
    with server.Server(0, Records()) as unused:
        assert unused.socket.getsockname()[0] == "127.0.0.1"


def test_a_port_in_use_is_one_line_on_stderr(port: int) -> None:
    command = [sys.executable, "-m", "hack.mock_anthropic", "--port", str(port)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"
