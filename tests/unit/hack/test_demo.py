"""The demo keeps its hands off an operator that is installed."""

import os
import pathlib
import signal
import subprocess

import pytest

from hack import playground
from hack.demo import targets


def kubectl(folder: pathlib.Path, answer: str) -> playground.Kubectl:
    """A kubectl that answers everything with this."""
    program = folder / "kubectl"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{answer}'\n")
    program.chmod(0o755)
    return playground.Kubectl(kubeconfig=None, binary=str(program))


def test_no_demo_beside_an_installed_operator(tmp_path: pathlib.Path) -> None:
    with pytest.raises(playground.PlaygroundError, match="An operator is installed in this cluster"):
        targets.refuse_beside_an_install(kubectl(tmp_path, "deployment.apps/agentrun-operator\n"))


def test_an_empty_cluster_is_free_for_the_demo(tmp_path: pathlib.Path) -> None:
    targets.refuse_beside_an_install(kubectl(tmp_path, ""))


def test_a_process_that_is_gone_was_taken_leave_of(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that ends right after a look: else Python complains at its own end that a child still runs."""
    process = playground.Process.start(["sleep", "60"], log=tmp_path / "log")
    poll = subprocess.Popen.poll

    def ending(child: subprocess.Popen[bytes]) -> int | None:
        code = poll(child)
        if code is None:
            os.kill(child.pid, signal.SIGKILL)
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return code

    monkeypatch.setattr(subprocess.Popen, "poll", ending)
    playground.wait_until(lambda: not process.alive, seconds=20, what="the process to end")
    assert not pathlib.Path(f"/proc/{process.pid}").exists()


@pytest.mark.parametrize(("code", "said"), [(0, "4711"), (1, "")])
def test_the_network_of_kinds_node_is_entered_by_its_pid(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    """Docker knows it; where there is no node, the sentence says what makes one."""
    docker = tmp_path / "docker"
    asked = '[ "$1 $4 $5" = "inspect agentrun-control-plane " ] || exit 9'
    docker.write_text(f"#!/bin/sh\n{asked}\necho {said}\nexit {code}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    if code:
        with pytest.raises(playground.PlaygroundError, match="there is no container .*: hack/kind/up makes it"):
            targets.enter_kind_network()
    else:
        assert targets.enter_kind_network() == ["nsenter", "--target", "4711", "--net", "--"]
