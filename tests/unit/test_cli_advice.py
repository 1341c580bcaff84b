"""Errors at a terminal: what is wrong, and what to do about it; and a command line that is read as people write it."""

import argparse
import io
import pathlib
import sys
from collections.abc import AsyncIterator

import pytest

from agentrun_operator import cli, errors, kube
from agentrun_operator.cli import advice, documents, usage
from tests import apifake


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.UnavailableError("HTTP 404: “404 page not found”", status=404),
         "this API server knows no agentruns.paperclip.io: the CRD is not installed. Install it (kubectl apply "),
        (errors.UnavailableError("Unauthorized", status=401), "Unauthorized: the API server does not take these cred"),
        (errors.UnavailableError("GET /apis: cannot connect to a:1: Connection refused"),
         "cannot connect to a:1: Connection refused. Does kubectl cluster-info reach it?"),
        (errors.UnavailableError("GET /x: no answer within 30 s"), "no answer within 30 s. Does kubectl cluster-info"),
        (errors.UnavailableError("slow down", status=429), "slow down. The API server has too much to do; try again"),
        (errors.UnavailableError("oops", status=500), "oops. The API server is in trouble (HTTP 500); try again in a"),
        (errors.ForbiddenError("you cannot list", status=403), "you cannot list. Ask an administrator for that right"),
        (errors.NotFoundError('namespaces "x" not found', status=404), "found; kubectl get namespaces lists them"),
        (errors.NotFoundError('"one" not found', status=404), '"one" not found; agentrun get -A lists what is there'),
    ],
)  # fmt: skip
def test_an_error_says_what_to_do(error: errors.AgentRunError, told: str) -> None:
    """Behind the server's own sentence."""
    assert told in advice.explain(error)
    assert "GET /apis" not in advice.explain(error)


def test_what_says_it_all_is_left_as_it_is() -> None:
    """Among others what the API server says of a run that it refuses."""
    assert advice.explain(errors.SettingsError("A is wrong. Set B.")) == "A is wrong. Set B."
    assert advice.explain(errors.UnavailableError("the log broke off")) == "the log broke off"
    refused = errors.RejectedError("spec.runId: is immutable.", status=422)
    assert advice.explain(refused) == "spec.runId: is immutable."


def test_a_missing_run_is_said_with_the_place() -> None:
    """A missing namespace is the place itself."""
    missing = errors.NotFoundError('"one" not found', status=404, reason="NotFound")
    assert str(advice.place(missing, "team-a")) == '"one" not found in the namespace team-a'
    assert advice.place(missing, "") is missing
    nowhere = errors.NotFoundError('namespaces "x" not found', status=404)
    assert advice.place(nowhere, "x") is nowhere


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (["get", "-A"], ["get", "-A"]),
        (["-n", "team-a", "get", "one"], ["get", "-n", "team-a", "one"]),
        (["--context=kind", "-A", "top"], ["top", "--context=kind", "-A"]),
        (["--kubeconfig", "f", "--context", "c", "cost"], ["cost", "--kubeconfig", "f", "--context", "c"]),
        (["--version"], ["--version"]),
        (["-n", "team-a"], ["-n", "team-a"]),
        ([], []),
    ],
)
def test_where_may_be_said_before_the_command(given: list[str], read: list[str]) -> None:
    """As kubectl has it."""
    assert usage.arrange(given) == read


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("gte",), "agentrun: error: there is no command 'gte'; did you mean get? There are run, get, describe,"),
        (("frob",), "agentrun: error: there is no command 'frob'. There are run,"),
        (("get", "--compny", "x"), "agentrun get: error: unrecognized arguments: --compny; did you mean --company?"),
        (("cost", "--zzz=1"), "agentrun cost: error: unrecognized arguments: --zzz=1\n"),
        (("describe", "a", "b"), "agentrun describe: error: unrecognized arguments: b\n"),
    ],
)
def test_what_is_not_known_is_answered_with_what_is_like_it(
    capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], told: str
) -> None:
    """And with the usage of that command, not of all."""
    with pytest.raises(SystemExit, match="2"):
        cli.main(argv)
    assert told in capsys.readouterr().err


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_a_long_sentence_is_folded_on_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """In whole words: names and paths stay in one piece, to be copied."""
    monkeypatch.setenv("COLUMNS", "40")
    text = "agentrun get: no AgentRun in team-a; name-that-is-longer-than-the-forty-columns-of-it"
    monkeypatch.setattr(sys, "stderr", screen := Screen())
    documents.tell(text)
    assert screen.getvalue().splitlines() == [
        "agentrun get: no AgentRun in team-a;", "  name-that-is-longer-than-the-forty-columns-of-it"
    ]  # fmt: skip
    monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())
    documents.tell(text)
    assert pipe.getvalue() == f"{text}\n"


def commands() -> dict[str, argparse.ArgumentParser]:
    """All of them."""
    (found,) = (a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction))  # noqa: SLF001
    return dict(found.choices)


@pytest.mark.parametrize("name", sorted(set(cli.COMMANDS) - {"operator", "completion"}))
def test_every_command_speaks_to_programs_and_says_where(name: str) -> None:
    """``-o json|yaml`` everywhere, and the options of kubectl where a cluster is asked."""
    actions = commands()[name]._actions  # noqa: SLF001 - argparse has no other way to them
    (output,) = (action for action in actions if "-o" in action.option_strings)
    assert {"json", "yaml"} <= set(output.choices or ())
    options = {option for action in actions for option in action.option_strings}
    if name not in {"validate", "render", "inspect"}:
        assert {"-n", "--namespace", "--context", "--kubeconfig"} <= options


@pytest.fixture
async def server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[apifake.Server]:
    """An API server, and a kubeconfig that nothing but --kubeconfig names."""
    made = apifake.Server()
    await made.start()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    made.write_kubeconfig(tmp_path / "config")
    yield made
    await made.stop()


async def test_a_server_that_is_not_there_is_named(
    server: apifake.Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was asked, and the reason in words; no class of a library."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    await server.stop()
    api = await kube.connect(timeout=5)
    try:
        with pytest.raises(errors.UnavailableError) as found:
            await api.get_run("team-a", "one")
    finally:
        await api.close()
    path = "/apis/paperclip.io/v1alpha1/namespaces/team-a/agentruns/one"
    assert str(found.value) == f"GET {path}: cannot connect to 127.0.0.1:{server.port}: Connection refused"


async def test_a_host_that_nobody_knows_is_named(
    server: apifake.Server, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the resolver puts it."""
    path = tmp_path / "config"
    path.write_text(path.read_text().replace(f"http://127.0.0.1:{server.port}", "http://nowhere.invalid:1"))
    monkeypatch.setenv("KUBECONFIG", str(path))
    api = await kube.connect(timeout=5)
    try:
        with pytest.raises(errors.UnavailableError, match=r"cannot connect to nowhere\.invalid:1: \w[^\[(]+$"):
            await api.get_run("team-a", "one")
    finally:
        await api.close()


def test_the_kubeconfig_may_be_named(
    server: apifake.Server, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For that command alone; and one that is not there is named, without what a library logs of it."""
    del server
    assert kube_namespace(["--kubeconfig", str(tmp_path / "config")], capsys) == "fake"
    code = cli.main(["get"])
    err = capsys.readouterr().err
    assert (code, err) == (
        1, f"agentrun get: No way to reach Kubernetes: there is no kubeconfig at {tmp_path / 'none'}. Set KUBECONFIG, "
        "or run inside a pod.\n"
    )  # fmt: skip


def kube_namespace(options: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The only context of the kubeconfig that a command reads, as it says when another one is asked for."""
    assert cli.main([*options, "get", "--context", "other"]) == 1
    return capsys.readouterr().err.strip().rpartition("only ")[2]
