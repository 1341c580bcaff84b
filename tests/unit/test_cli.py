"""The ``agentrun`` command: exit codes, and sentences that say what to change."""

import asyncio
import io
import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest
import yaml

import agentrun_operator
from agentrun_operator import cli, errors, kube, settings
from agentrun_operator.cli import logs, operator
from agentrun_operator.client import runlog
from tests import builders, fakes

ROOT = pathlib.Path(__file__).parents[2]
TRANSCRIPTS = ROOT / "tests" / "data" / "transcripts"
SAVED = TRANSCRIPTS / "2.1.329" / "writefile_noskip" / "stdout.ndjson"
LOG_PATH = "/paperclip/instances/default/run-logs/acme/coder/run-1.pod.ndjson"
INIT = b'{"type":"system","subtype":"init","session_id":"s-1","model":"opus"}\n'
POD = {"spec": {"containers": [{"name": "claude"}]}}
RESULT = b'{"type":"result","subtype":"success","is_error":false,"result":"Done."}\n'


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Run the command: exit code, stdout, stderr."""
    try:
        code = cli.main(argv)
    except SystemExit as e:
        code = int(e.code or 0)
    return (code, *capsys.readouterr())


# ------------------------------------------------------------------------------------------------------- in general


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stdout."""
    assert run(capsys, "--version") == (0, f"agentrun {agentrun_operator.__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "without"),
    [
        (("--version",), {"kubernetes", "kopf", "aiohttp"}),
        (("validate", "-f", "examples/one-off/run.yaml"), {"kubernetes", "kopf", "aiohttp"}),
        (("get", "--help"), {"kopf", "prometheus_client"}),
    ],
)
def test_a_command_loads_what_it_needs(argv: tuple[str, ...], without: set[str]) -> None:
    """Half a second of everybody's time is at stake, and more with each Tab."""
    told = f"import sys; from agentrun_operator import cli; sys.argv[1:] = {list(argv)}"
    script = f"{told}\ntry: cli.main()\nexcept SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert without & set(ended.stderr.split()) == set()


@pytest.mark.parametrize(
    "argv", [(), ("frobnicate",), ("logs",), ("logs", "a", "--file", "b"), ("logs", "--frob", "a"), ("inspect",)]
)
def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    """And the usage is shown on stderr."""
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert "usage: agentrun" in err


@pytest.mark.parametrize("argv", [("--help",), ("logs", "--help"), ("operator", "--help"), ("inspect", "--help")])
def test_help_is_0(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    """On stdout."""
    code, out, err = run(capsys, *argv)
    assert (code, err) == (0, "")
    assert out.startswith("usage: agentrun")


def test_the_operators_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """Variable, default and meaning: the help is the reference."""
    _, out, _ = run(capsys, "operator", "--help")
    words = " ".join(out.split())
    for name, field in settings.Settings.model_fields.items():
        assert f"AGENTRUN_{name.upper()} (default {field.default!r}): {field.description}" in words


@pytest.mark.parametrize("argv", [("operator",), ("logs", "fix-login")])
@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("AGENTRUN_POLL_SECONDS", "often", "AGENTRUN_POLL_SECONDS='often'"),
        ("AGENTRUN_LOG_FORMAT", "xml", "console: for people"),
    ],
)
def test_a_malformed_setting_names_variable_value_and_fix(  # noqa: PLR0917 - rows of two tables
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argv: tuple[str, ...],
    variable: str,
    value: str,
    told: str,
) -> None:
    """Exit code 1 and one line, no traceback."""
    monkeypatch.setenv(variable, value)
    code, out, err = run(capsys, *argv)
    assert (code, out) == (1, "")
    assert err.startswith(f"agentrun {argv[0]}: {variable}")
    assert told in err
    assert err.count("\n") == 1


def test_an_interrupt_is_no_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends the command with 1."""

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(logs, "_read_file", interrupt)
    assert run(capsys, "logs", "--file", "x") == (1, "", "")


def test_without_a_way_to_reach_kubernetes_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """The sentence names what to set."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    code, _, err = run(capsys, "logs", "fix-login")
    assert code == 1
    assert "Set KUBECONFIG" in err


# --------------------------------------------------------------------------------------------------- logs --file


def test_a_saved_log_is_rendered(capsys: pytest.CaptureFixture[str]) -> None:
    """A real transcript: its beginning, its tools and its result, and no protocol."""
    code, out, err = run(capsys, "logs", "--file", str(SAVED))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("● model ")
    assert lines[1] == "→ Write /workspace/out.txt"
    assert lines[-1].startswith("✔ success · 2 turns")
    assert '"type"' not in out
    assert "\x1b" not in out


@pytest.mark.parametrize("path", sorted(TRANSCRIPTS.glob("*/*/stdout.ndjson")), ids=lambda path: path.parent.name)
def test_raw_is_the_file_byte_for_byte(path: pathlib.Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """What another program reads must not be changed."""
    assert cli.main(["logs", "--raw", "--file", str(path)]) == 0
    assert capsysbinary.readouterr().out == path.read_bytes()


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_events_for_programs(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, output: str) -> None:
    """Each as it was written but for its secrets; what is no event is counted and left out."""
    path = tmp_path / "log"
    said = '{"type":"assistant","text":"é sk-ant-0123456789abcdef \\n"}'
    path.write_bytes(f"Warning: no terminal\n{said}\n\n[1]\n".encode() + RESULT)
    code, out, err = run(capsys, "logs", "--file", str(path), "-o", output)
    parts = out.splitlines() if output == "json" else out.split("---\n")[1:]
    assert [yaml.safe_load(part) for part in parts] == [
        {"type": "assistant", "text": "é [redacted] \n"}, json.loads(RESULT)
    ]  # fmt: skip
    assert (code, err) == (
        0, "agentrun logs: note: 2 lines were no JSON objects and were left out; --raw has them\n"
    )  # fmt: skip


def test_the_log_is_wanted_in_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    """As it is, or parsed."""
    code, _, err = run(capsys, "logs", "--file", "x", "--raw", "-o", "json")
    assert (code, "not allowed with argument" in err) == (2, True)


@pytest.mark.parametrize("raw", [True, False])
def test_a_minus_is_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, raw: bool
) -> None:
    """So that the log can come through a pipe; the last line needs no line end."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(INIT + RESULT[:-1])))
    code, out, _ = run(capsys, "logs", "--file", "-", *(["--raw"] if raw else []))
    assert code == 0
    assert out == ((INIT + RESULT[:-1]).decode() if raw else "● model opus · session s-1\n✔ success\n")


@pytest.mark.parametrize(("name", "why"), [("missing", "No such file or directory"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, name: str, why: str
) -> None:
    """Exit code 1 and a sentence."""
    path = str(tmp_path / name) if name else str(tmp_path)
    assert run(capsys, "logs", "--file", path) == (1, "", f"agentrun logs: --file {path}: {why}\n")


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: pathlib.Path) -> None:
    """As with head: exit code 0 and nothing on stderr."""
    big = tmp_path / "big"
    big.write_bytes(b"a line of plain text\n" * 100_000)
    command = [sys.executable, "-m", "agentrun_operator", "logs", "--file", str(big)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a line of plain text\n"
        process.stdout.close()
        assert (process.wait(30), process.stderr.read()) == (0, b"")


# ----------------------------------------------------------------------------------------------------- logs NAME


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> fakes.FakeKube:
    """A cluster with one AgentRun; the shared volume is ``tmp_path``."""
    made = fakes.FakeKube()

    async def connect(*, timeout: float, context: str | None = None) -> kube.KubeClient:  # noqa: ASYNC109 - as the real one
        assert timeout > 0
        assert context in {None, "there"}
        return made

    monkeypatch.setattr(kube, "connect", connect)
    monkeypatch.setattr(runlog, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(runlog, "_STATUS_SECONDS", 0.002)
    monkeypatch.setenv("AGENTRUN_DATA_PATH", str(tmp_path))
    made.add_run(builders.agent_run(status={}))
    made.pods["team-a", "pod"] = POD
    return made


def set_status(api: fakes.FakeKube, **status: Any) -> None:
    """The operator writes."""
    api.runs["team-a", "fix-login"]["status"] = status


def log_file(folder: pathlib.Path) -> pathlib.Path:
    """Where this machine finds the log."""
    path = folder / pathlib.PurePosixPath(LOG_PATH).relative_to("/paperclip")
    path.parent.mkdir(parents=True)
    return path


def test_the_log_of_a_run_comes_from_the_shared_volume(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, tmp_path: pathlib.Path
) -> None:
    """Where it is mounted; the pod is not asked."""
    log_file(tmp_path).write_bytes(INIT + RESULT)
    set_status(api, phase="Running", logPath=LOG_PATH, podName="pod")
    code, out, err = run(capsys, "logs", "fix-login", "-n", "team-a", "--context", "there")
    assert (code, out, err) == (0, "● model opus · session s-1\n✔ success\n", "")
    assert api.verbs(but="get_run") == ["get_pod"]  # for its environment, not for its log
    assert api.closed


@pytest.mark.parametrize("path", [None, LOG_PATH, "/elsewhere/run-1.pod.ndjson"])
def test_the_log_of_a_run_comes_from_its_pod_otherwise(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, path: str | None
) -> None:
    """No file on this machine, or a volume that is mounted elsewhere."""
    set_status(api, phase="Running", podName="pod", **({"logPath": path} if path else {}))
    api.pod_logs["pod"] = [INIT, RESULT]
    code, out, err = run(capsys, "logs", "fix-login", "-n", "team-a")
    assert (code, out, err) == (0, "● model opus · session s-1\n✔ success\n", "")
    assert api.calls[-1] == ("read_pod_log", "pod/claude")


def test_a_run_without_a_pod_has_no_log_yet(capsys: pytest.CaptureFixture[str], api: fakes.FakeKube) -> None:
    """The sentence says what to do."""
    set_status(api, phase="Queued")
    code, out, err = run(capsys, "logs", "fix-login", "-n", "team-a")
    assert (code, out) == (1, "")
    assert err == "agentrun logs: fix-login has no pod yet (Queued); wait for it with --follow\n"
    assert api.closed


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.NotFoundError('"fix-login" not found', status=404), '"fix-login" not found in the namespace team-a; '),
        (errors.UnavailableError("cannot connect to a:1: no"), "cannot connect to a:1: no. Does kubectl cluster-info"),
        (errors.RejectedError("It is too long.", status=413), "It is too long.\n"),
    ],
)
def test_a_refusal_of_the_api_is_a_sentence(
    capsys: pytest.CaptureFixture[str], api: fakes.FakeKube, error: errors.ApiError, told: str
) -> None:
    """The API's own and what to do, without a traceback."""
    api.fail["get_run"] = [error]
    code, out, err = run(capsys, "logs", "fix-login", "-n", "team-a")
    assert (code, out) == (1, "")
    assert err.startswith(f"agentrun logs: {told}")


class Playing(fakes.FakeKube):
    """A run that goes on with each look at it."""

    def __init__(self, *steps: Any) -> None:
        super().__init__()
        self.add_run(builders.agent_run(status={}))
        self.pods["team-a", "pod"] = POD
        self._steps = list(steps)

    async def get_run(self, namespace: str, name: str) -> Any:  # noqa: ANN401 - JSON
        """The run, one step further."""
        if self._steps:
            self._steps.pop(0)(self)
        return await super().get_run(namespace, name)


@pytest.mark.parametrize("where", ["file", "pod"])
def test_following_waits_for_the_start_and_ends_with_the_run(
    capsys: pytest.CaptureFixture[str],
    api: fakes.FakeKube,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    where: str,
) -> None:
    """Also what is printed between the last look and the end is shown."""
    path = log_file(tmp_path)
    running = {"phase": "Running", "runningTime": builders.CREATED, "podName": "pod", "logPath": LOG_PATH}

    def start(playing: fakes.FakeKube) -> None:
        set_status(playing, **running)
        if where == "file":
            path.write_bytes(INIT)
        playing.pod_logs["pod"] = [INIT, RESULT]

    def end(playing: fakes.FakeKube) -> None:
        set_status(playing, **{**running, "phase": "Succeeded"})
        with path.open("ab") as file:
            file.write(RESULT)

    playing = Playing(lambda _: None, lambda p: set_status(p, phase="Queued"), start, lambda _: None, end)

    async def connect(**_: object) -> kube.KubeClient:
        await asyncio.sleep(0)
        return playing

    monkeypatch.setattr(kube, "connect", connect)
    code, out, err = run(capsys, "logs", "fix-login", "-n", "team-a", "--follow")
    assert (code, out) == (0, "● model opus · session s-1\n✔ success\n")
    assert err.splitlines() == [
        f"agentrun logs: note: waiting for fix-login to start ({phase})" for phase in ("Pending", "Queued")
    ]
    assert (("read_pod_log", "pod/claude?follow") in playing.calls) is (where == "pod")
    assert api.calls == []


def test_the_operator_gets_its_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read once, at the start, and handed down."""
    seen: list[settings.Settings] = []

    async def operate(config: settings.Settings) -> int:
        await asyncio.sleep(0)
        seen.append(config)
        return 0

    monkeypatch.setattr(operator, "operate", operate)
    monkeypatch.setenv("AGENTRUN_NAMESPACES", "team-a, team-b")
    assert cli.main(["operator"]) == 0
    assert [config.watched_namespaces for config in seen] == [("team-a", "team-b")]
