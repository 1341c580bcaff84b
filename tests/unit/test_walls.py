"""The walls in .importlinter stand, and they bite: each kind of forbidden import, planted in a copy, is caught."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "operator" / "agentrun_operator"
LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"

LAYERS = "Modules are layered; every module is assigned a layer"
KOPF = "Only handlers and the command that starts the operator know kopf"
KUBERNETES = "Only kube talks to the Kubernetes client library"
PROMETHEUS = "Only metrics knows Prometheus"
OTEL = "Only traces knows OpenTelemetry"
PURE = "The core is pure: no I/O, no threads, no clock, no chance"
CLIENT = "The client knows nothing of how an operator works"
HANDLERS = "Handler modules do not import each other"


def lint(source_root: Path) -> subprocess.CompletedProcess[str]:
    """Check the package below source_root, and no other that is installed, against the project's contracts."""
    return subprocess.run(
        [LINT_IMPORTS, "--no-logo", "--no-cache", "--config", ROOT / ".importlinter"],
        cwd=source_root,  # lint-imports looks here first
        env={**os.environ, "PYTHONPATH": str(source_root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def broken(output: str) -> set[str]:
    """Name the contracts that a run of lint-imports reports as broken."""
    return set(re.findall(r"^(.+) BROKEN(?: \(.*\))?$", output, flags=re.MULTILINE))


@pytest.fixture
def source_root(tmp_path: Path) -> Path:
    """Copy the package to a place where a test may spoil it."""
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def plant(source_root: Path, module: str, statement: str) -> None:
    """Append an import to a module of the copied package, whether it is a file or a package; make it when missing."""
    path = source_root / PACKAGE.name / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    with file.open("a", encoding="utf-8") as text:
        text.write(f"\n{statement}\n")


def test_every_wall_stands() -> None:
    result = lint(PACKAGE.parent)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_unspoilt_copy_passes(source_root: Path) -> None:
    # Otherwise a planted import below could be reported for a reason that has nothing to do with it.
    result = lint(source_root)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "statement", "contracts"),
    [
        ("status", "import kopf", {KOPF, PURE}),
        ("runner", "import kopf", {KOPF}),
        ("cli", "import kopf", {KOPF}),
        ("runner", "import kubernetes", {KUBERNETES}),
        ("handlers.runs", "from kubernetes.aio import client", {KUBERNETES}),
        ("kube.http", "import prometheus_client", {PROMETHEUS}),
        ("runner", "from prometheus_client import Counter", {PROMETHEUS}),
        ("status", "import prometheus_client", {PROMETHEUS, PURE}),
        ("runner", "from opentelemetry import trace", {OTEL}),
        ("traces", "from opentelemetry import trace", {OTEL}),
        ("status", "import opentelemetry", {OTEL, PURE}),
        ("traces", "from agentrun_operator import metrics", {LAYERS}),
        ("metrics", "from agentrun_operator import kube", {LAYERS}),
        ("metrics", "from agentrun_operator import logs", {LAYERS}),
        ("forensics", "import asyncio", {PURE}),
        ("facts", "import threading", {PURE}),
        ("prompts", "from urllib3 import util", {PURE}),
        ("names", "import random", {PURE}),
        ("settings", "import subprocess", {PURE}),
        ("manifest", "from time import time", {PURE}),
        ("models", "def late() -> None:\n    import socket", {PURE}),
        ("errors", "import agentrun_operator.status", {LAYERS}),
        ("kube.http", "from agentrun_operator import runner", {LAYERS}),
        ("stream", "from agentrun_operator import facts", {LAYERS}),
        ("client.hub", "from agentrun_operator import manifest", {CLIENT}),
        ("client", "from agentrun_operator import runner", {CLIENT}),
        ("client.aio", "from kubernetes.aio import client", {KUBERNETES}),
        ("client", "from agentrun_operator import cli", {LAYERS}),
        ("client", "from agentrun_operator import handlers", {LAYERS}),
        ("runner", "from agentrun_operator import client", {LAYERS}),
        ("handlers.runs", "from agentrun_operator import client", {LAYERS}),
        ("handlers.login", "from agentrun_operator.handlers import runs", {HANDLERS}),
        ("helpers", '"""A module that nobody gave a room."""', {LAYERS}),
    ],
)
def test_a_planted_import_breaks_its_wall(source_root: Path, module: str, statement: str, contracts: set[str]) -> None:
    plant(source_root, module, statement)
    result = lint(source_root)
    assert result.returncode != 0
    assert broken(result.stdout) == contracts, result.stdout + result.stderr
