"""``agentrun logs``: what it keeps to itself, what is too old to be shown, and what it says if there is no log."""

import asyncio
import base64
import datetime
import io
import json
import os
import pathlib
import sys
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import cli, errors, kube, redaction, stream
from agentrun_operator.cli import logs, moments, terminal, transcript
from agentrun_operator.client import runlog
from tests import builders, fakes

LOG_PATH = "/paperclip/instances/default/run-logs/acme/coder/run-1.pod.ndjson"
NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
INIT = b'{"type":"system","subtype":"init","session_id":"s-1","model":"opus"}\n'
RESULT = b'{"type":"result","subtype":"success","is_error":false,"result":"Done."}\n'
TOKEN = "sk-ant-api03-" + "Ab1_" * 6
PASSWORD = 'p"ss\\wörd\tof 7'  # JSON writes it in another way
POD = {"spec": {"containers": [{"name": "claude"}]}}


def say(words: str, at: str = "", **fields: Any) -> bytes:
    """A line of the model."""
    message = {"id": "m", "content": [{"type": "text", "text": words}]}
    event = {"type": "assistant", "message": message, **({"timestamp": at} if at else {}), **fields}
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Run ``agentrun logs``: exit code, stdout, stderr."""
    try:
        code = cli.main(["logs", *argv])
    except SystemExit as e:
        code = int(e.code or 0)
    return (code, *capsys.readouterr())


def give(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put ``content`` on standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> fakes.FakeKube:
    """A cluster; the shared volume is ``tmp_path``."""
    for name in [name for name in os.environ if name.startswith("AGENTRUN_")]:
        monkeypatch.delenv(name)
    made = fakes.FakeKube()

    async def connect(**_: object) -> kube.KubeClient:
        await asyncio.sleep(0)
        return made

    monkeypatch.setattr(kube, "connect", connect)
    monkeypatch.setattr(runlog, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(runlog, "_STATUS_SECONDS", 0.002)
    monkeypatch.setenv("AGENTRUN_DATA_PATH", str(tmp_path))
    made.pods["team-a", "pod"] = POD
    return made


def add_run(api: fakes.FakeKube, status: dict[str, Any], **spec: Any) -> None:
    """An AgentRun with this status."""
    api.add_run(builders.agent_run(status=status, **spec))


def add_secret(api: fakes.FakeKube, name: str, **values: str) -> None:
    """A Secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    api.secrets["team-a", name] = {"metadata": {"name": name, "namespace": "team-a"}, "data": data}


def log_file(folder: pathlib.Path) -> pathlib.Path:
    """Where this machine finds the log."""
    path = folder / pathlib.PurePosixPath(LOG_PATH).relative_to("/paperclip")
    path.parent.mkdir(parents=True)
    return path


RUNNING = {"phase": "Running", "runningTime": builders.CREATED, "podName": "pod"}
DONE = {**RUNNING, "phase": "Succeeded", "message": "The agent finished its work."}

# ------------------------------------------------------------------------------------------------------- redaction


@pytest.mark.parametrize("raw", [True, False])
def test_a_token_is_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, raw: bool
) -> None:
    """Whatever it stands in: text, a tool's input and output, standard error; and it is no matter whose it is."""
    call = {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": f"curl -H 'x: {TOKEN}'"}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": f"got {TOKEN}"}]}
    lines = [
        say(f"The key is {TOKEN}."),
        json.dumps({"type": "assistant", "message": {"content": [call]}}).encode() + b"\n",
        json.dumps({"type": "user", "message": {"content": [result]}}).encode() + b"\n",
        f"warning: {TOKEN} is old\n".encode(),
        json.dumps({"type": "result", "subtype": "success", "is_error": True, "result": f"bad {TOKEN}"}).encode(),
    ]
    give(monkeypatch, b"".join(lines))
    code, out, err = run(capsys, "--file", "-", *(["--raw"] if raw else []))
    assert (code, err) == (0, "")
    assert out.count(redaction.REDACTED) == 5
    assert "sk-ant" not in out
    if raw:
        assert [stream.parse(line.encode()) is not None for line in out.splitlines()] == [True] * 5


@pytest.mark.parametrize("raw", [True, False])
def test_the_values_of_the_runs_secrets_are_not_shown(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, tmp_path: pathlib.Path, *, raw: bool
) -> None:
    """Of its own environment, of what it takes whole, of its API token, and of what only its pod tells."""
    env = [
        {"name": "DB", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
        {"name": "MY_TOKEN", "value": "literal-hush"},
    ]
    inherited = [
        {"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "operator", "key": "key"}}},
        {"name": "OTHER_KEY", "value": "inherited-hush"},
    ]
    api.pods["team-a", "pod"] = {"spec": {"containers": [{"name": "claude", "env": inherited}]}}
    add_secret(api, "db", password=PASSWORD, other="not-a-secret-of-this-run")
    add_secret(api, "whole", a="whole-hush-a", b="whole-hush-b")
    add_secret(api, "token", key="token-hush")
    add_secret(api, "operator", key="operator-hush")
    job = {"env": env, "envFrom": [{"secretRef": {"name": "whole"}}]}
    add_run(api, {**DONE, "logPath": LOG_PATH}, job=job, apiTokenSecretRef={"name": "token", "key": "key"})
    hidden = [
        PASSWORD, "literal-hush", "inherited-hush", "whole-hush-a", "whole-hush-b", "token-hush", "operator-hush",
    ]  # fmt: skip
    log_file(tmp_path).write_bytes(b"".join(say(f"<{value}>") for value in [*hidden, "not-a-secret-of-this-run"]))

    code, out, err = run(capsys, "fix-login", "-n", "team-a", *(["--raw"] if raw else []))

    assert (code, err) == (0, "")
    assert out.count(f"<{redaction.REDACTED}>") == len(hidden)
    assert "hush" not in out
    assert "ss\\wörd" not in out
    assert "<not-a-secret-of-this-run>" in out


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("size", [1, 2, 7, 4096])
def test_a_secret_that_arrives_in_pieces_is_not_shown(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, size: int, *, raw: bool
) -> None:
    """However the log is cut into reads."""
    log = say("x" * 50) + say(f"a planted-value and {TOKEN}.") + b"stderr: planted-value, no line end"
    api.pod_logs["pod"] = [log[at : at + size] for at in range(0, len(log), size)]
    add_run(api, DONE, job={"env": [{"name": "A_KEY", "value": "planted-value"}]})
    code, out, err = run(capsys, "fix-login", "-n", "team-a", *(["--raw"] if raw else []))
    assert (code, err) == (0, "")
    assert out.count(redaction.REDACTED) == 3
    assert "planted" not in out
    assert "sk-ant" not in out


@hypothesis.given(st.data())
def test_no_cut_and_no_escape_sequence_leaves_half_a_secret(data: st.DataObject) -> None:
    """Neither the width of the terminal, nor the length of a tool's input, nor colours in the middle of it."""
    secret = "Correct-Horse-Battery-9"
    at = data.draw(st.integers(0, len(secret)))
    coloured = data.draw(st.sampled_from([secret, f"{secret[:at]}\x1b[01;31m{secret[at:]}\x1b[m"]))
    text = f"{'é' * data.draw(st.integers(0, 250))} {coloured} after"
    shape = data.draw(st.sampled_from(["text", "command", "result", "plain"]))
    blocks: dict[str, Any] = {
        "text": {"type": "text", "text": text},
        "command": {"type": "tool_use", "name": "Bash", "input": {"command": text}},
        "result": {"type": "tool_result", "content": text},
    }
    line = text.encode()
    if shape != "plain":
        kind = "user" if shape == "result" else "assistant"
        line = json.dumps({"type": kind, "message": {"content": [blocks[shape]]}}).encode()
    event = stream.parse(line)
    assert event is not None
    clean = transcript.wash(event, redaction.Redactor([secret]).clean)
    for width in (None, 20, 80):
        shown = "\n".join(transcript.render(clean, color=False, width=width))
        assert not any(secret[n : n + 6] in shown for n in range(len(secret) - 5))


def test_one_line_with_half_a_key_leaves_the_next_one_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is looked for in the same line."""
    give(monkeypatch, b"-----BEGIN RSA PRIVATE KEY-----\n" + RESULT)
    _, out, _ = run(capsys, "--file", "-", "--raw")
    assert out.encode().endswith(RESULT)


@pytest.mark.parametrize(
    "error", [errors.RejectedError("you may not", status=403), errors.NotFoundError('secrets "db" not found')]
)
def test_a_secret_that_cannot_be_read_is_named(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, error: errors.ApiError
) -> None:
    """The log is shown all the same, and stderr says what is not redacted."""
    api.fail["get_secret_data"] = [error]
    api.pod_logs["pod"] = [RESULT]
    add_run(api, DONE, apiTokenSecretRef={"name": "db", "key": "key"})
    code, out, err = run(capsys, "fix-login", "-n", "team-a")
    assert (code, out) == (0, "✔ success\n")
    assert err == f"agentrun logs: note: values of Secret db could not be read and are not redacted: {error}\n"


def test_without_an_answer_about_secrets_nothing_is_shown(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube
) -> None:
    """The next try may know them."""
    api.fail["get_secret_data"] = [errors.UnavailableError("no answer")]
    api.pod_logs["pod"] = [RESULT]
    add_run(api, DONE, apiTokenSecretRef={"name": "db", "key": "key"})
    assert run(capsys, "fix-login", "-n", "team-a") == (1, "", "agentrun logs: no answer\n")


def test_what_a_pod_that_is_gone_had_inherited_is_not_known(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, tmp_path: pathlib.Path
) -> None:
    """And that is said, unless the run inherits nothing."""
    log_file(tmp_path).write_bytes(RESULT)
    api.pods.clear()
    add_run(api, {**DONE, "logPath": LOG_PATH})
    _, out, err = run(capsys, "fix-login", "-n", "team-a")
    assert out == "✔ success\n"
    assert err.startswith("agentrun logs: note: the pod is gone: secrets that the run inherited")
    add_run(api, {**DONE, "logPath": LOG_PATH}, job={"inheritFromOperator": False})
    assert run(capsys, "fix-login", "-n", "team-a") == (0, "✔ success\n", "")


def test_in_the_operators_pod_the_operators_own_secrets_are_known(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """There the settings name that pod."""
    monkeypatch.setenv("AGENTRUN_POD_NAME", "operator")
    monkeypatch.setenv("AGENTRUN_POD_NAMESPACE", "system")
    env = [{"name": "ANTHROPIC_API_KEY", "value": "inherited-hush"}]
    api.pods["system", "operator"] = {"spec": {"containers": [{"name": "operator", "env": env}]}}
    del api.pods["team-a", "pod"]
    log_file(tmp_path).write_bytes(say("<inherited-hush>"))
    add_run(api, {**DONE, "logPath": LOG_PATH})
    assert run(capsys, "fix-login", "-n", "team-a") == (0, f"<{redaction.REDACTED}>\n", "")
    api.pods.clear()
    _, _, err = run(capsys, "fix-login", "-n", "team-a")
    assert "what the run inherited from the operator's pod is not known and not redacted" in err


def test_the_log_of_a_run_that_cannot_be_read_is_shown(capsys: pytest.CaptureFixture[str], api: fakes.FakeKube) -> None:
    """With a note, since nobody knows its secrets."""
    api.pod_logs["pod"] = [say(TOKEN)]
    add_run(api, DONE, prompt={})
    code, out, err = run(capsys, "fix-login", "-n", "team-a")
    assert (code, out) == (0, f"{redaction.REDACTED}\n")
    assert err.startswith("agentrun logs: note: the secrets of the run are not known")


# ---------------------------------------------------------------------------------------------------------- --since


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90s", NOW - datetime.timedelta(seconds=90)),
        ("10m", NOW - datetime.timedelta(minutes=10)),
        ("1h30m", NOW - datetime.timedelta(minutes=90)),
        ("2d", NOW - datetime.timedelta(days=2)),
        ("0.5h", NOW - datetime.timedelta(minutes=30)),
        ("2026-11-21T10:00:00Z", NOW.replace(hour=10)),
        ("2026-11-21T11:00:00+01:00", NOW.replace(hour=10)),
        ("2026-11-21T10:00", NOW.replace(hour=10)),
        ("2026-11-21", NOW.replace(hour=0)),
    ],
)
def test_since_is_a_duration_or_a_time(text: str, moment: datetime.datetime) -> None:
    """As kubectl's --since and --since-time, and a little more."""
    assert moments.parse_since(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "ten", "10", "-5m", "5 m", "99999999999d", "2026-13-01", "5m ago"])
def test_another_since_is_wrong_usage(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """The sentence shows both forms."""
    code, out, err = run(capsys, "--file", "x", f"--since={text}")
    assert (code, out) == (2, "")
    assert err.startswith(f"agentrun logs: --since: {text!r} is neither a duration such as 10m nor a time such as 2026")


LOG = (
    INIT
    + say("early", "2026-11-21T10:00:00.000Z")
    + b'{"type":"system","subtype":"api_retry","attempt":1,"max_retries":2,"retry_delay_ms":1}\n'
    + say("late", "2026-11-21T11:00:00.000Z")
    + RESULT
)


@pytest.mark.parametrize(
    ("since", "shown"),
    [
        ("2026-11-21T09:00:00Z", ["● model opus · session s-1", "early", "! the API", "late", "✔ success"]),
        ("2026-11-21T10:00:00Z", ["● model opus · session s-1", "early", "! the API", "late", "✔ success"]),
        ("2026-11-21T10:00:01Z", ["late", "✔ success"]),
        ("2026-11-21T11:00:01Z", []),
    ],
)
def test_since_shows_what_is_newer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, since: str, shown: list[str]
) -> None:
    """What carries no time counts with what stands before it, the beginning with the first time."""
    give(monkeypatch, LOG)
    code, out, err = run(capsys, "--file", "-", "--since", since)
    assert code == 0
    assert [line[: len(start)] for line, start in zip(out.splitlines(), shown, strict=True)] == shown
    last = "" if shown else "nothing since 2026-11-21 11:00:01 UTC; the last time in the log is 2026-11-21 11:00:00 UTC"
    assert err == (f"agentrun logs: note: {last}\n" if last else "")


def test_since_gives_raw_events_as_they_were(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole lines, and without secrets."""
    late = say(f"late {TOKEN}", "2026-11-21T11:00:00.000Z")
    give(monkeypatch, LOG + late)
    _, out, _ = run(capsys, "--file", "-", "--raw", "--since", "2026-11-21T10:30:00Z")
    hidden = late.decode().replace(TOKEN, redaction.REDACTED)
    assert out == "".join(LOG.decode().splitlines(keepends=True)[-2:]) + hidden


@pytest.mark.parametrize("log", [INIT + say("a") + RESULT, INIT, b"words\n" * 1500])
def test_a_log_without_times_is_shown_as_a_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, log: bytes
) -> None:
    """With a note; to show nothing would be a guess."""
    give(monkeypatch, log)
    _, everything, _ = run(capsys, "--file", "-")
    give(monkeypatch, log)
    code, out, err = run(capsys, "--file", "-", "--since", "10m")
    assert (code, out) == (0, everything)
    assert err.startswith("agentrun logs: note: the events of this log carry no times")


@pytest.mark.parametrize("stamp", ["5", '"soon"', '"0001-01-01T00:00:00+23:00"', "[[[]]]", '"\\ud800"'])
def test_a_time_that_is_none_does_not_count(stamp: str) -> None:
    """Another program wrote it."""
    assert moments.read(b'{"timestamp":' + stamp.encode() + b"}") is None
    assert moments.read(b"[" * 100_000) is None


def test_what_comes_while_a_log_is_followed_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    """The beginning of a log is not held back until something with a time comes."""
    writer = logs.Writer(since=NOW)
    writer.feed(INIT)
    assert capsys.readouterr().out == ""
    writer.go_live()
    assert capsys.readouterr().out == "● model opus · session s-1\n"
    writer.feed(RESULT)
    assert capsys.readouterr().out == "✔ success\n"


# ------------------------------------------------------------------------------------------------------ no log


@pytest.mark.parametrize(
    ("status", "spec", "said"),
    [
        ({}, {}, "fix-login has no pod yet (Pending); wait for it with --follow"),
        (
            {"phase": "Queued", "message": "AgentRun other has the agent."},
            {},
            "fix-login has no pod yet (Queued: AgentRun other has the agent); wait for it with --follow",
        ),
        (
            {"phase": "Failed", "message": "No node could take the pod."},
            {},
            "fix-login has no log, because its agent never started (Failed: No node could take the pod)",
        ),
        (
            {"phase": "Failed", "message": "The image is not there.", "podName": "gone"},
            {},
            "fix-login has no log, because its agent never started (Failed: The image is not there)",
        ),
        (
            {**DONE, "podName": "gone"},
            {"retention": {"log": "AfterFinished"}},
            "the log of fix-login was removed when the run ended (spec.retention.log: AfterFinished), and its pod is "
            "gone; kubectl get agentruns.paperclip.io fix-login -n team-a -o yaml shows what is known of it",
        ),
        (
            {**DONE, "podName": "gone"},
            {},
            "fix-login wrote no log file, and its pod is gone; kubectl get agentruns.paperclip.io fix-login -n team-a "
            "-o yaml shows what is known of it",
        ),
        (
            {**DONE, "podName": "gone", "logPath": LOG_PATH},
            {},
            f"the pod of fix-login is gone, and its log is not on this machine; it is {LOG_PATH} on the run's shared "
            "volume: call agentrun where that is mounted, for example in the operator's pod, or say with "
            "AGENTRUN_DATA_PATH where it is mounted here",
        ),
        (
            {**RUNNING, "podName": "gone"},
            {},
            "the pod of fix-login is gone, and the operator has not said yet what became of the run; try again",
        ),
    ],
)
def test_a_run_without_a_log_says_why(
    capsys: pytest.CaptureFixture[str],
    api: fakes.FakeKube,
    status: dict[str, Any],
    spec: dict[str, Any],
    said: str,
) -> None:
    """One sentence with the reason and the next step, and exit code 1."""
    add_run(api, status, job={"inheritFromOperator": False}, **spec)
    assert run(capsys, "fix-login", "-n", "team-a") == (1, "", f"agentrun logs: {said}\n")


def test_a_pod_that_has_not_begun_says_so(capsys: pytest.CaptureFixture[str], api: fakes.FakeKube) -> None:
    """With the API's own sentence; a refusal for want of rights is another thing."""
    api.fail["read_pod_log"] = [errors.RejectedError("container is waiting to start: PodInitializing", status=400)]
    add_run(api, {"phase": "Pending", "podName": "pod"})
    assert run(capsys, "fix-login", "-n", "team-a") == (
        1,
        "",
        "agentrun logs: fix-login has printed nothing yet: container is waiting to start: PodInitializing; wait for it "
        "with --follow\n",
    )
    api.fail["read_pod_log"] = [errors.RejectedError("you may not", status=403)]
    assert run(capsys, "fix-login", "-n", "team-a") == (1, "", "agentrun logs: you may not\n")


# --------------------------------------------------------------------------------------------------------- following


def test_a_file_is_read_often_and_the_api_asked_seldom(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """Once the result is there, the end is looked for sooner."""
    monkeypatch.setattr(runlog, "_STATUS_SECONDS", 60)
    monkeypatch.setattr(runlog, "_SOON_SECONDS", 0.01)
    path = log_file(tmp_path)
    path.write_bytes(INIT)
    add_run(api, {**RUNNING, "logPath": LOG_PATH}, job={"inheritFromOperator": False})

    async def play() -> None:
        # From the second look at the AgentRun on, the file is read; then the result comes, and a little later the end.
        while api.verbs().count("get_run") < 2:  # noqa: ASYNC110 - requests are counted, and nobody is told of them
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.05)
        assert api.verbs().count("get_run") == 2
        with path.open("ab") as file:
            file.write(RESULT)
        await asyncio.sleep(0.03)
        api.runs["team-a", "fix-login"]["status"]["phase"] = "Succeeded"

    started = runlog.RunLog._started  # noqa: SLF001 - where the play begins

    async def start(self: runlog.RunLog) -> Any:  # noqa: ANN401 - JSON
        playing.append(asyncio.create_task(play()))
        return await started(self)

    playing: list[asyncio.Task[None]] = []
    monkeypatch.setattr(runlog.RunLog, "_started", start)
    code, out, err = run(capsys, "fix-login", "-n", "team-a", "-f")
    assert (code, out, err) == (0, "● model opus · session s-1\n✔ success\n", "")
    assert playing[0].done()
    assert playing[0].exception() is None


def test_an_api_that_does_not_answer_ends_no_following(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, tmp_path: pathlib.Path
) -> None:
    """Neither while it waits for the start, nor later; that the AgentRun is deleted does."""
    log_file(tmp_path).write_bytes(INIT + RESULT)
    add_run(api, {**RUNNING, "logPath": LOG_PATH}, job={"inheritFromOperator": False})
    away = errors.UnavailableError("no route to host")
    api.fail["get_run"] = [None, away, away, errors.NotFoundError("not found")]
    code, out, err = run(capsys, "fix-login", "-n", "team-a", "-f")
    assert (code, out) == (0, "● model opus · session s-1\n✔ success\n")
    assert err == "agentrun logs: note: the AgentRun fix-login was deleted\n"


BEFORE = {
    "attempt": 0,
    "code": "claude_overloaded",
    "message": "Busy.",
    "podName": "first",
    "startTime": "2026-01-02T03:04:05Z",
}


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ((), "● model opus · session s-1\n✔ success\n"),
        (("--attempt", "1"), "● model opus · session s-1\n✔ success\n"),
        (("--attempt", "0"), "first\n"),
    ],
)
def test_an_earlier_attempt_has_its_own_log(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, wanted: tuple[str, ...], shown: str
) -> None:
    """Without a number it is the present one."""
    api.pod_logs |= {"pod": [INIT, RESULT], "first": [b"first\n"]}
    add_run(api, {**DONE, "attempt": 1, "previousAttempts": [BEFORE]})
    assert run(capsys, "fix-login", "-n", "team-a", *wanted)[:2] == (0, shown)


def test_an_attempt_that_never_was_is_named(capsys: pytest.CaptureFixture[str], api: fakes.FakeKube) -> None:
    """With those that there are."""
    add_run(api, {**DONE, "attempt": 1, "previousAttempts": [BEFORE]})
    code, _, err = run(capsys, "fix-login", "-n", "team-a", "--attempt", "7")
    assert (code, err) == (1, "agentrun logs: fix-login has no attempt 7; its attempts so far are 0 to 1\n")


def test_following_goes_on_with_the_next_attempt(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One log after the other, and a word in between."""
    monkeypatch.setattr(runlog, "_STATUS_SECONDS", 0.01)
    first = log_file(tmp_path)
    first.write_bytes(INIT)
    second = LOG_PATH.removesuffix(".pod.ndjson") + ".1.pod.ndjson"
    first.with_name(pathlib.PurePosixPath(second).name).write_bytes(RESULT)
    status = {**RUNNING, "logPath": LOG_PATH}
    body = api.add_run(builders.agent_run(status=status, job={"inheritFromOperator": False}))
    told = iter([None, "attempt", "attempt", "attempt", "end"])

    async def get_run(_namespace: str, _name: str) -> Any:  # noqa: ANN401 - JSON
        step = next(told, "end")
        if step is not None:
            body["status"] = {**body["status"], "attempt": 1, "previousAttempts": [BEFORE], "logPath": second}
        if step == "end":
            body["status"]["phase"] = "Succeeded"
        return body

    monkeypatch.setattr(api, "get_run", get_run)
    code, out, err = run(capsys, "fix-login", "-n", "team-a", "-f")
    assert (code, out) == (0, "● model opus · session s-1\n✔ success\n")
    assert "attempt 0 of fix-login failed; this is attempt 1" in err


def test_what_came_before_an_error_is_shown(capsys: pytest.CaptureFixture[str], api: fakes.FakeKube) -> None:
    """Also the line that it broke off in."""
    api.pod_logs["pod"] = [INIT, b"half a line"]
    api.fail_late["read_pod_log"] = [errors.UnavailableError("the log of pod pod broke off")]
    add_run(api, DONE)
    code, out, err = run(capsys, "fix-login", "-n", "team-a")
    assert (code, out) == (1, "● model opus · session s-1\nhalf a line\n")
    assert err == "agentrun logs: the log of pod pod broke off\n"


# ------------------------------------------------------------------------------------------------------------ output


def test_an_event_that_is_cut_off_is_not_shown_as_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """People read this; --raw has it."""
    give(monkeypatch, INIT + RESULT[:30])
    assert run(capsys, "--file", "-")[1].splitlines()[1:] == ["· an event is cut off here"]


def test_a_line_that_is_too_long_is_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next one is read."""
    give(monkeypatch, b"x" * (17 * 1024 * 1024) + b"\n" + RESULT)
    code, out, err = run(capsys, "--file", "-")
    assert (code, out) == (0, "✔ success\n")
    assert err == "agentrun logs: note: 1 lines of more than 8 MiB were left out\n"


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("variables", "color"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, color: bool
) -> None:
    """NO_COLOR and TERM=dumb are respected; a file or pipe gets neither colours nor a width."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "77")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert terminal.find(_Screen()) == terminal.Terminal(color=color, width=77)
    assert terminal.find(io.StringIO()) == terminal.Terminal(color=False, width=None)


def test_a_terminal_that_knows_no_such_letters_gets_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback for LANG=C."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    writer = logs.Writer()
    writer.feed(RESULT)
    assert raw.getvalue() == b"\\u2714 success\n"
