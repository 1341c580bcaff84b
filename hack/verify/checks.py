"""Every check of the project, as data: the one place that says what `make test`, and so CI, runs.

A check is one or more commands; it passes when all of them exit with 0. The order is cheap first, so that a
mistake shows early; nothing here depends on the order. Tests of one check run side by side, checks do not.
"""

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

_BIN = Path(sys.executable).parent


def _tool(name: str, *arguments: str) -> tuple[str, ...]:
    """Run a tool of the environment that runs this module, whatever stands on PATH."""
    return (str(_BIN / name), *arguments)


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)


def _on_clusters(folder: str) -> tuple[tuple[str, ...], ...]:
    """Run tests in two processes with a cluster each, for most of them wait; then, alone, those that time things."""
    return (
        _module("pytest", folder, "-m", "not alone", "--numprocesses=2", "--dist=loadfile"),
        _module("pytest", folder, "-m", "alone"),
    )


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: its commands, and what the machine must offer for it."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    needs_root: bool = False
    needs_module: str = ""

    def obstacle(self) -> str | None:
        """Say in a sentence why this machine cannot run the check; None when it can."""
        if self.needs_root and os.geteuid() != 0:
            return f"{self.name} starts a kubelet and containers, which needs root; you are uid {os.geteuid()}"
        if self.needs_module and importlib.util.find_spec(self.needs_module) is None:
            return f"{self.name} needs {self.needs_module}, which pyproject.toml does not ask for on this machine"
        return None


CHECKS = (
    Check(
        name="lint",
        commands=(_tool("ruff", "check"), _tool("ruff", "format", "--check")),
    ),
    Check(name="types", commands=(_tool("mypy"),)),
    Check(name="walls", commands=(_tool("lint-imports", "--no-logo"),)),
    Check(name="deps", commands=(_tool("deptry", "operator"),)),
    Check(name="lock", commands=(_module("hack.verify.lock"),)),
    Check(name="generated", commands=(_module("hack.generate", "--check"),)),
    Check(
        name="unit",
        # --cov-config names what must be at 100 %: [tool.coverage.report] in pyproject.toml.
        commands=(
            _module(
                "pytest",
                *("tests/unit", "tests/handlers", "--cov", "--cov-config=pyproject.toml"),
                *("--numprocesses=auto", "--dist=worksteal"),
            ),
        ),
    ),
    Check(
        name="fuzz",
        # What was found before is replayed, then the time is shared by the targets; `make fuzz` takes longer.
        commands=(_module("pytest", "tests/fuzz"), _module("tests.fuzz", "--seconds", "60")),
        needs_module="atheris",
    ),
    Check(name="integration", commands=_on_clusters("tests/integration")),
    # The long form is `make chaos`. The seed is printed first; the report is in build/chaos.
    Check(name="chaos", commands=(_module("tests.chaos", "--faults", "200"),)),
    Check(name="e2e", commands=_on_clusters("tests/e2e"), needs_root=True),
)
