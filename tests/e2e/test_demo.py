"""The demo, as `make demo` and `make demo-down` run it, beside one that may be running already."""

import os
import subprocess
import sys

import pytest

from hack import playground

NAME = "demo-test"


@pytest.mark.timeout(300)
def test_the_demo_shows_a_run_and_leaves_nothing() -> None:
    """Exit code 0, the run in the table, its status and its transcript; afterwards no process and no state is left."""
    try:
        shown = _demo("up")
    finally:
        stopped = _demo("down")

    assert shown.returncode == 0, shown.stdout + shown.stderr
    for part in ("Succeeded   Completed", "phase: Succeeded", "echo hello-from-bash", "scripted Messages API"):
        assert part in shown.stdout
    assert stopped.returncode == 0, stopped.stderr
    assert not (playground.ROOT / ".local" / "clusters" / NAME).exists()
    assert not (playground.ROOT / ".local" / NAME).exists()
    assert str(playground.ROOT / ".local" / NAME) not in _command_lines()


def _demo(command: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in {"ANTHROPIC_API_KEY", "CLUSTER"}}
    return subprocess.run(
        [sys.executable, "-m", "hack.demo", command],
        cwd=playground.ROOT,
        env={**env, "DEMO_NAME": NAME},
        capture_output=True,
        text=True,
        timeout=140,
        check=False,
    )


def _command_lines() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, timeout=10, check=True).stdout
