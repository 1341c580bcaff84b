"""The demo keeps its hands off an operator that is installed."""

import pathlib

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
