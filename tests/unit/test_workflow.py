"""The workflow for GitHub names only what there is, pins what it uses, and may write nothing."""

import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.unit import test_docs_commands

ROOT = pathlib.Path(__file__).parents[2]
FILE = ROOT / ".github" / "workflows" / "ci.yml"
WORKFLOW: dict[Any, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SCRIPT = re.compile(r"(?:^|\s)((?:\.ci|hack)/[\w./-]+)")


def steps() -> Iterator[dict[str, Any]]:
    for job in WORKFLOW["jobs"].values():
        yield from job["steps"]


def commands() -> list[str]:
    return [line.strip() for step in steps() for line in step.get("run", "").splitlines()]


def targets(command: str) -> list[str]:
    """What a command asks of make."""
    after = re.search(r"\bmake ((?:[a-z][a-z0-9-]*\s*)+)", command)
    return after[1].split() if after else []


def test_every_target_and_script_is_there() -> None:
    """And something is asked for at all."""
    asked = {target for command in commands() for target in targets(command)}
    scripts = {script for command in commands() for script in SCRIPT.findall(command)}

    assert {"lint", "test-unit", "test-e2e-kind", "docs"} <= asked <= test_docs_commands.make_targets()
    assert {".ci/run", "hack/kind/down"} <= scripts
    assert [script for script in scripts if not os.access(ROOT / script, os.X_OK)] == []


def test_all_checks_are_run() -> None:
    """.ci/run is `make test`, and a check that cannot run fails there."""
    assert "CI=true exec make test" in (ROOT / ".ci" / "run").read_text()
    assert [step["uses"].partition("@")[0] for step in WORKFLOW["jobs"]["test"]["steps"] if "uses" in step][:2] == [
        "actions/checkout",
        "actions/setup-python",
    ]


def test_nothing_may_be_written() -> None:
    """Neither by the workflow as a whole nor by one job; no secret is used, no credential kept."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert [name for name, job in WORKFLOW["jobs"].items() if "permissions" in job] == []
    assert "secrets." not in FILE.read_text()
    for step in steps():
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    assert "pull_request_target" not in WORKFLOW[True]  # YAML reads `on` as true


def test_actions_and_nodes_are_pinned() -> None:
    """By hash; the release stands beside it for people."""
    used = re.findall(r"uses: (\S+)(.*)", FILE.read_text())
    assert used
    assert [
        name for name, rest in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name) or "# v" not in rest
    ] == []
    for entry in WORKFLOW["jobs"]["kind"]["strategy"]["matrix"]["include"]:
        assert re.fullmatch(r"kindest/node:v[\d.]+@sha256:[0-9a-f]{64}", entry["node"])
        assert f":v{entry['kubernetes']}." in entry["node"]


def test_the_oldest_and_the_newest_kubernetes_are_those_of_the_documents() -> None:
    """What the chart refuses to be installed on is not tested, and the other way round."""
    tested = [entry["kubernetes"] for entry in WORKFLOW["jobs"]["kind"]["strategy"]["matrix"]["include"]]
    chart = yaml.safe_load((ROOT / "deploy" / "chart" / "agentrun-operator" / "Chart.yaml").read_text())
    page = (ROOT / "docs" / "install.md").read_text()

    assert chart["kubeVersion"] == f">={tested[0]}.0-0"
    assert f"Kubernetes {tested[0]} or later (tested with {tested[-1]})" in page
    assert f"Kubernetes {tested[0]} or newer" in (ROOT / "docs" / "quickstart.md").read_text()


def test_what_was_not_run_is_said() -> None:
    """In the comment at the head."""
    head = FILE.read_text().partition("\nname:")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "What was not" in head
    assert "job `kind`" in head


def test_the_tests_for_kind_are_there() -> None:
    """Each file that the Makefile names."""
    [names] = re.findall(r"^KIND_TESTS := \$\(addprefix (\S+),(.+)\)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    files = [ROOT / f"{names[0]}{name}" for name in names[1].split()]
    assert len(files) == 5
    assert [file for file in files if not file.is_file()] == []


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("make lint types", ["lint", "types"]),
        ('sudo env "PATH=$PATH" "A=$A" make test-e2e-kind', ["test-e2e-kind"]),
        ("make docs DRAFT=1", ["docs"]),
        ("cmake x", []),
    ],
)
def test_targets_are_read(command: str, found: list[str]) -> None:
    """Or the first test would prove nothing."""
    assert targets(command) == found
