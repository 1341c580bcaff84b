"""The commands that create, show and stop runs: what they ask the cluster for, what they say, and their exit codes."""

import argparse
import asyncio
import io
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from agentrun_operator import cli, errors, kube
from agentrun_operator.cli import top
from agentrun_operator.client import runlog
from tests import builders, fakeruns

FILE = """\
apiVersion: paperclip.io/v1alpha1
kind: AgentRun
metadata: {name: fix-login, labels: {team: shop}}
spec: {companyId: acme, agent: {id: coder}, prompt: {text: Fix it.}}
"""
FAILED = {
    **fakeruns.SUCCEEDED, "phase": "Failed", "message": "Out of memory.",
    "error": {"code": "k8s_oom_killed", "message": "Out of memory."},
}  # fmt: skip
MISSING = '"nobody" not found in the namespace team-a; agentrun get -A lists what is there, and where\n'
CANCELLED = {**fakeruns.SUCCEEDED, "phase": "Cancelled"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> fakeruns.FakeRuns:
    """A cluster; the context's namespace is team-a."""
    made = fakeruns.FakeRuns()

    async def connect(**_: object) -> fakeruns.FakeRuns:
        await asyncio.sleep(0)
        return made

    monkeypatch.setattr(kube, "connect", connect)
    monkeypatch.setattr(kube, "default_namespace", lambda _context: "team-a")
    monkeypatch.setattr(runlog, "_STATUS_SECONDS", 0.002)
    monkeypatch.setenv("AGENTRUN_DATA_PATH", "")
    return made


@pytest.fixture
def agentrun(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command: exit code, stdout, stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            code = cli.main(argv)
        except SystemExit as e:
            code = int(e.code or 0)
        return (code, *capsys.readouterr())

    return run


Agentrun = Callable[..., tuple[int, str, str]]


def add(api: fakeruns.FakeRuns, name: str, status: dict[str, Any] | None = None, **spec: Any) -> None:
    """An AgentRun in team-a."""
    api.add_run(builders.agent_run(name=name, uid=f"uid-{name}", status=status, **spec))


def completion_of_all() -> list[str]:
    """All commands, in the order of the help."""
    (commands,) = (a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    return list(commands.choices)


# --------------------------------------------------------------------------------------------------------------- run


def test_run_creates_what_is_in_a_file_once(api: fakeruns.FakeRuns, agentrun: Agentrun, tmp_path: pathlib.Path) -> None:
    """With its labels; and says what it left alone."""
    path = tmp_path / "run.yaml"
    path.write_text(f"{FILE}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\n")
    code, out, err = agentrun("run", "-f", str(path))
    assert (code, out) == (0, "fix-login: is submitted\n")
    assert "1 objects are no AgentRuns and are left alone" in err
    assert api.runs["team-a", "fix-login"]["metadata"]["labels"] == {"team": "shop"}
    api.set("fix-login", fakeruns.RUNNING)
    assert agentrun("run", "-f", str(path))[:2] == (0, "fix-login: is there already (Running)\n")
    path.write_text(FILE.replace("Fix it.", "Break it."))
    code, out, err = agentrun("run", "-f", str(path))
    assert (code, out) == (1, "")
    assert "there is an AgentRun fix-login already, with another spec.prompt" in err
    assert len(api.runs) == 1


def test_of_several_runs_each_is_told_and_one_that_is_refused_stops_no_other(
    api: fakeruns.FakeRuns, agentrun: Agentrun, tmp_path: pathlib.Path
) -> None:
    """What was created before trouble is said, too: the runs are there."""
    path = tmp_path / "runs.yaml"
    path.write_text("---\n".join(FILE.replace("fix-login", name) for name in ("one", "two", "three")))
    api.fail["create_run"] = [None, errors.RejectedError("the quota is used up", status=403)]
    code, out, err = agentrun("run", "-f", str(path))
    assert (code, out) == (1, "one: is submitted\nthree: is submitted\n")
    assert err == "agentrun run: two: the quota is used up\n"
    path.write_text("---\n".join(FILE.replace("fix-login", name) for name in ("four", "five")))
    api.fail["create_run"] = [None, errors.ConflictError("it was changed meanwhile", status=409)]
    assert agentrun("run", "-f", str(path)) == (
        1, "four: is submitted\n", "agentrun run: it was changed meanwhile\n"
    )  # fmt: skip


def test_run_takes_a_generated_name_and_the_files_namespace(
    api: fakeruns.FakeRuns, agentrun: Agentrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = FILE.replace("name: fix-login", "generateName: fix-, namespace: team-b")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code, out, _ = agentrun("run", "-f", "-", "-o", "json")
    ((namespace, name),) = api.runs
    assert (code, namespace) == (0, "team-b")
    assert name.startswith("fix-")
    assert json.loads(out)["metadata"]["name"] == name
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code, _, err = agentrun("run", "-f", "-", "-n", "team-c")
    assert (code, err) == (
        1, "agentrun run: --namespace team-c: the file says team-b; leave one of them out, or make them the same\n"
    )  # fmt: skip


def test_run_makes_a_run_of_a_prompt(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    """In the session of an earlier one, if that is wanted."""
    add(api, "before", fakeruns.SUCCEEDED)
    given = (
        "--company",
        "acme",
        "--agent",
        "ada",
        "--task",
        "T-1",
        "--model",
        "opus",
        "--budget",
        "2.5",
        "--image",
        "i",
    )
    code, out, _ = agentrun("run", "-p", "Fix it.", *given, "--resume", "before", "--name", "after")
    assert (code, out) == (0, "after: is submitted\n")
    assert api.runs["team-a", "after"]["spec"] == {
        "companyId": "acme",
        "agent": {"id": "ada"},
        "taskId": "T-1",
        "prompt": {"text": "Fix it."},
        "claude": {"model": "opus", "maxBudgetUSD": "2.5"},
        "job": {"image": "i"},
        "session": {"id": fakeruns.SESSION, "cwd": "/paperclip"},
    }
    api.set("before", {"phase": "Failed"})
    code, _, err = agentrun("run", "-p", "x", *given, "--resume", "before")
    assert (code, "--resume before: that run has no session that can be resumed" in err) == (1, True)


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_dry_run_asks_no_cluster(agentrun: Agentrun, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    """And what it prints can be created."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("A prompt: yes\n"))
    code, out, _ = agentrun("run", "-p", "-", "--company", "a", "--agent", "b", "--dry-run", "-o", output)
    body = yaml.safe_load(out)
    assert (code, body["spec"]["prompt"]) == (0, {"text": "A prompt: yes\n"})
    assert body["metadata"] == {"generateName": "run-"}


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        ((), 2, "one of the arguments -f/--filename -p/--prompt is required"),
        (("-p", "x"), 2, "agentrun run: --prompt needs --company and --agent: whose work is it?\n"),
        (("-f", "x", "--agent", "a"), 2, "agentrun run: --agent goes with --prompt; with --filename, write it into"),
        (("-f", "no-such-file"), 2, "agentrun run: no-such-file: No such file or directory\n"),
        (("-f", "tests/data/cli/pod.yaml"), 2, "agentrun run: there is no AgentRun in the input\n"),
        (("-f", "tests/data/cli/wrong.yaml"), 1, "fix-typo: spec.claude.maxTurn: there is no such field\n"),
        (("-p", "x", "--company", "a b", "--agent", "c"), 1, "agentrun run: spec.companyId: only letters, digits and"),
    ],
)
def test_run_says_what_is_wrong(
    api: fakeruns.FakeRuns, agentrun: Agentrun, argv: tuple[str, ...], code: int, told: str
) -> None:
    """Before anything is created."""
    got, out, err = agentrun("run", *argv)
    assert (got, out) == (code, "")
    assert told in err
    assert api.runs == {}


@pytest.mark.parametrize(("end", "code"), [(fakeruns.SUCCEEDED, 0), (FAILED, 3), (CANCELLED, 4)])
def test_watching_shows_the_transcript_and_ends_as_the_run_did(
    api: fakeruns.FakeRuns, agentrun: Agentrun, end: dict[str, Any], code: int
) -> None:
    api.story = [fakeruns.RUNNING, {**end, "message": "So it ended."}]
    api.pod_logs["pod"] = fakeruns.LOG
    play_with_each_look(api, "r")
    got, out, err = agentrun("run", "-p", "x", "--company", "a", "--agent", "b", "--name", "r", "--watch")
    assert got == code
    assert out == "r: is submitted\n● model opus · session s-1\nIt is done.\n✔ success\n"
    assert err.splitlines()[-1] == f"r: {end['phase']}: So it ended."


def play_with_each_look(api: fakeruns.FakeRuns, playing: str) -> None:
    """Let each look at the run show it one step further, as a watch would."""
    look = api.get_run
    steps = [*api.story]
    api.story = []

    async def get_run(namespace: str, name: str) -> Any:  # noqa: ANN401 - JSON
        if name == playing and steps:
            api.set(name, steps.pop(0))
        return await look(namespace, name)

    api.get_run = get_run  # type: ignore[method-assign]


def test_watching_several_runs_tells_their_phases(
    api: fakeruns.FakeRuns, agentrun: Agentrun, tmp_path: pathlib.Path
) -> None:
    """And the worst of them is the exit code."""
    api.story = [fakeruns.RUNNING, FAILED]
    (tmp_path / "a.yaml").write_text(FILE)
    (tmp_path / "b.yaml").write_text(FILE.replace("fix-login", "other"))
    code, out, err = agentrun("run", "-f", str(tmp_path), "--watch", "-o", "json")
    assert code == 3
    assert [item["status"]["phase"] for item in json.loads(out)["items"]] == ["Failed", "Failed"]
    assert "fix-login: Failed: Out of memory.\n" in err
    assert "other: Failed: Out of memory.\n" in err


# ------------------------------------------------------------------------------------------------------ get, describe


def test_get_shows_a_table(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    add(api, "one", FAILED)
    add(api, "two", agent="ada")
    code, out, err = agentrun("get")
    assert (code, err) == (0, "")
    title, *rows = [line.split() for line in out.splitlines()]
    assert title == ["NAME", "PHASE", "REASON", "AGENT", "MODEL", "TURNS", "COST", "AGE"]
    assert rows[0][:6] == ["one", "Failed", "k8s_oom_killed", "coder", "2", "$0.0120"]
    assert rows[1][:3] == ["two", "Pending", "ada"]
    assert agentrun("get", "--agent", "ada", "-A", "-o", "wide")[1].splitlines()[1].split()[:3] == [
        "team-a",
        "two",
        "Pending",
    ]
    assert "one" not in agentrun("get", "--phase", "Pending")[1]


def test_get_gives_objects_to_programs(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    """One where one is named, else a List."""
    add(api, "one", FAILED)
    assert json.loads(agentrun("get", "one", "-o", "json")[1]) == api.runs["team-a", "one"]
    assert yaml.safe_load(agentrun("get", "-o", "yaml")[1]) == {
        "apiVersion": "v1", "kind": "List", "items": [api.runs["team-a", "one"]]
    }  # fmt: skip


def test_get_says_that_there_is_nothing(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    assert agentrun("get") == (
        0, "", "agentrun get: there is no AgentRun in the namespace team-a; -A looks everywhere\n"
    )  # fmt: skip
    assert agentrun("get", "-o", "name") == agentrun("get")
    assert agentrun("get", "-A", "--agent", "ada")[2] == "agentrun get: there is no such AgentRun in any namespace\n"
    add(api, "one", FAILED)
    code, out, err = agentrun("get", "nobody", "one")
    assert (code, out.splitlines()[1].split()[0]) == (1, "one")
    assert err == f"agentrun get: {MISSING}"
    assert agentrun("get", "-o", "name") == (0, "one\n", "")
    code, out, err = agentrun("get", "nobody", "-o", "json")
    assert (code, out, err) == (1, "", f"agentrun get: {MISSING}")
    code, out, _ = agentrun("get", "nobody", "one", "-o", "json")
    assert (code, [item["metadata"]["name"] for item in json.loads(out)["items"]]) == (1, ["one"])


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("one", "-A"), "a name belongs to one namespace: give it with -n, or leave out the names"),
        (("one", "--agent", "a"), "--company, --agent and --task choose among all: leave out the names"),
    ],
)
def test_get_takes_names_or_a_choice(
    api: fakeruns.FakeRuns, agentrun: Agentrun, argv: tuple[str, ...], told: str
) -> None:
    assert agentrun("get", *argv) == (2, "", f"agentrun get: {told}\n")
    assert api.calls == []


def test_describe_tells_what_happened(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    """Also where the Events may not be read."""
    add(api, "one", FAILED)
    api.run_events = [{"reason": "Queued", "firstTimestamp": builders.CREATED, "message": "It waits."}]
    code, out, _ = agentrun("describe", "one")
    assert (code, out.splitlines()[0]) == (0, "✘ one Failed: k8s_oom_killed")
    assert "Queued: It waits." in out
    told = json.loads(agentrun("describe", "one", "-o", "json")[1])
    assert told["run"] == api.runs["team-a", "one"]
    assert told["happened"][0] == {"time": builders.CREATED, "what": "created"}
    api.fail["list_run_events"] = [errors.ForbiddenError("no", status=403)]
    code, out, err = agentrun("describe", "one")
    assert (code, err) == (0, "agentrun describe: note: the Events on it could not be read: no\n")


# ------------------------------------------------------------------------------------------------- cancel, retry, cost


def test_cancel_stops_and_says_so(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    add(api, "live", fakeruns.RUNNING)
    add(api, "ended", FAILED)
    code, out, err = agentrun("cancel", "live", "ended", "nobody")
    assert (code, out) == (1, "live: is told to stop\nended: has ended (Failed)\n")
    assert err == f"agentrun cancel: {MISSING}"
    assert api.runs["team-a", "live"]["spec"]["cancel"] is True


def test_cancel_of_an_agents_runs(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    """Only the live ones; with --wait until they are gone."""
    add(api, "live", fakeruns.RUNNING, agent="ada")
    add(api, "other", fakeruns.RUNNING)
    add(api, "ended", FAILED, agent="ada")
    end_what_is_cancelled(api)
    code, out, _ = agentrun("cancel", "--agent", "ada", "--wait", "-o", "json")
    assert (code, json.loads(out)) == (0, [{"name": "live", "phase": "Cancelled", "ended": True}])
    code, out, err = agentrun("cancel", "--agent", "nobody")
    assert (code, out, err) == (0, "", "agentrun cancel: there is no live AgentRun of that kind\n")


def end_what_is_cancelled(api: fakeruns.FakeRuns) -> None:
    """Once a run is cancelled, it ends."""
    cancel = api.cancel_run

    async def cancel_run(run: kube.Ref, *, replaced_by: str = "") -> None:
        await cancel(run, replaced_by=replaced_by)
        api.set(run.name, CANCELLED)

    api.cancel_run = cancel_run  # type: ignore[method-assign]


@pytest.mark.parametrize("argv", [(), ("live", "--agent", "ada")])
def test_cancel_needs_to_know_whose(api: fakeruns.FakeRuns, agentrun: Agentrun, argv: tuple[str, ...]) -> None:
    """Never everything by a slip."""
    code, out, err = agentrun("cancel", *argv)
    assert (code, out) == (2, "")
    assert err == "agentrun cancel: name the runs, or say with --company, --agent or --task whose are meant\n"
    assert api.calls == []


def test_retry_makes_a_new_run_of_the_same_work(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    add(api, "one", FAILED, runId=None)
    code, out, err = agentrun("retry", "one", "-o", "json")
    made = json.loads(out)
    assert (code, made["metadata"]["name"][:4], made["spec"]["session"]["id"]) == (0, "one-", fakeruns.SESSION)
    assert err == f"{made['metadata']['name']}: is submitted\n"
    assert "session" not in json.loads(agentrun("retry", "one", "--fresh", "--run-id", "r-2", "-o", "json")[1])["spec"]


def test_retry_says_what_may_surprise(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    add(api, "one", {"phase": "Running"})
    _, _, err = agentrun("retry", "one")
    assert "one has not ended; the new run waits for it" in err
    assert "one has no session that can be resumed; a new one is begun" in err


def test_cost_is_summed_up(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    add(api, "one", FAILED)
    add(api, "two", {**fakeruns.SUCCEEDED, "costUSD": None}, agent="ada")
    code, out, _ = agentrun("cost", "--by", "company", "agent")
    assert code == 0
    assert agentrun("cost", "--by", "company", "--by", "agent")[1] == out
    assert [line.split() for line in out.splitlines()] == [
        ["COMPANY", "AGENT", "RUNS", "FAILED", "IN", "OUT", "CACHED", "COST"],
        ["acme", "ada", "1", "0", "2.0k", "34", "0", "$0.0000?"],
        ["acme", "coder", "1", "1", "2.0k", "34", "0", "$0.0120"],
        ["total", "2", "1", "4.0k", "68", "0", "$0.0120?"],
    ]
    (day,) = json.loads(agentrun("cost", "--by", "day", "--since", "2026-01-02", "-o", "json")[1])
    assert (day["day"], day["runs"], day["costUSD"], day["unpriced"]) == ("2026-01-02", 2, "0.012", 1)
    assert json.loads(agentrun("cost", "--since", "1h", "-o", "json")[1]) == []
    code, _, err = agentrun("cost", "--since", "soon")
    assert (code, "--since: 'soon' is neither a duration" in err) == (2, True)


# --------------------------------------------------------------------------------------------------- top, completion


def test_top_in_a_pipe_is_one_table(api: fakeruns.FakeRuns, agentrun: Agentrun) -> None:
    """Of what is live."""
    add(api, "live", fakeruns.RUNNING)
    add(api, "ended", FAILED)
    code, out, _ = agentrun("top")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["NAME", "AGENT", "PHASE"],
        ["live", "acme/coder", "Running"],
    ]
    assert [item["metadata"]["name"] for item in json.loads(agentrun("top", "-o", "json")[1])["items"]] == ["live"]


def test_top_moves_and_ends_with_ctrl_c(
    api: fakeruns.FakeRuns, agentrun: Agentrun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal."""
    add(api, "live", fakeruns.RUNNING)
    frames: list[int] = []

    def picture(board: top.Board, *_: object) -> str:
        frames.append(len(board.shown()))
        if frames[-1]:
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(top, "picture", picture)
    monkeypatch.setattr(top, "_FRAME_SECONDS", 0.01)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, _, err = agentrun("top")
    assert (code, err) == (0, "")
    assert frames[-1] == 1


def test_top_says_why_it_cannot(api: fakeruns.FakeRuns, agentrun: Agentrun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    api.fail["list_runs"] = [errors.ForbiddenError("you may not", status=403)]
    code, _, err = agentrun("top")
    assert (code, err.startswith("agentrun top: you may not. Ask an administrator for that right")) == (1, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_know_every_command(agentrun: Agentrun, shell: str) -> None:
    code, out, _ = agentrun("completion", shell)
    assert code == 0
    assert [name for name in ("run", "describe", "--all-namespaces", "--fresh") if name.lstrip("-") not in out] == []


def test_bash_completes(agentrun: Agentrun, tmp_path: pathlib.Path) -> None:
    """A command, an option, one of an option's choices, and a run's name from where the words before it say."""
    script = tmp_path / "completion.bash"
    script.write_text(agentrun("completion", "bash")[1])

    def complete(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in words)
        asked = 'agentrun() { [[ "$*" == "get -o name"* ]] && echo "fix-login fix-${5:-none} other"; }; '
        command = f"{asked}source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _shtab_agentrun; "
        ended = subprocess.run(
            ["bash", "-c", command + 'echo "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True
        )
        return ended.stdout.split()

    assert complete("agentrun", "des") == ["describe"]
    assert complete("agentrun", "cost", "--si") == ["--since"]
    assert complete("agentrun", "get", "--phase", "Fa") == ["Failed"]
    assert complete("agentrun", "describe", "fix") == ["fix-login", "fix-none"]
    assert complete("agentrun", "describe", "-n", "team-b", "fix") == ["fix-login", "fix-team-b"]
    assert complete("agentrun", "run", "--resume", "o") == ["other"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["des"], ["describe", ":4"]),
        (["cost", "--si"], ["--since", ":4"]),
        (["get", "--phase", "Fa"], ["Failed", ":4"]),
        (["get", "-n", ""], [":4"]),
        (["run", "-f", ""], [":0"]),
        (["describe", "-n", "team-b", "t"], ["two", ":4"]),
        (["logs", ""], ["one", ":4"]),
        (["run", "--resume", "o"], ["one", ":4"]),
        (["frob", ""], [":4"]),
        (["get", "--namespace", "team-b", "--", "t"], ["two", ":4"]),
        ([], [*completion_of_all(), ":4"]),
    ],
)
def test_kubectl_completes(
    api: fakeruns.FakeRuns,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    found: list[str],
) -> None:
    """What it prints is what kubectl reads of a plugin: a word a line, and whether files may follow."""
    add(api, "one")
    other = builders.agent_run(name="two", uid="uid-two")
    api.add_run({**other, "metadata": {**other["metadata"], "namespace": "team-b"}})
    monkeypatch.setattr(sys, "argv", ["kubectl_complete-agentrun", *words])
    assert cli.complete_for_kubectl() == 0
    assert capsys.readouterr().out.splitlines() == found


def test_a_plugin_is_called_as_people_call_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its usage."""
    monkeypatch.setattr(sys, "argv", ["kubectl-agentrun", "get", "--help"])
    with pytest.raises(SystemExit, match="0"):
        cli.kubectl()
    assert capsys.readouterr().out.startswith("usage: kubectl agentrun get [-h] [-n NAMESPACE | -A]")
