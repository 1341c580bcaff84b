"""docs/install.md: every block of commands says who runs it, and those that name this file are run here."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from agentrun_operator import models
from agentrun_operator.doctor import cluster
from hack.deployment import rendering

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
HERE = pathlib.Path(__file__).relative_to(ROOT)
MINE = [block for block in BLOCKS if block.startswith(f"# run by {HERE}")]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_says_who_runs_it(block: str) -> None:
    """A test that is there, or a reason; a reader knows what to trust."""
    mark = re.match(r"# (?:run by (?P<test>tests/\S+?\.py)|not run: (?P<why>\S.+))", block)

    assert mark is not None
    assert mark["why"] or (ROOT / mark["test"]).exists()


def test_no_command_stands_outside_of_a_block() -> None:
    """Every fence of the page is one of those above."""
    assert len(re.findall(r"^```", PAGE, flags=re.MULTILINE)) == 2 * len(BLOCKS)


@pytest.mark.parametrize("block", MINE, ids=range(len(MINE)))
def test_a_block_does_what_it_says(block: str, tmp_path: pathlib.Path) -> None:
    """In a copy of what it needs; what it renders is an install."""
    try:
        tools = {name: find() for name, find in (("kubectl", rendering.kubectl), ("helm", rendering.helm))}
    except rendering.RenderError as e:
        pytest.skip(str(e))
    for name in ("deploy", "crds"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    for name, tool in tools.items():
        (tmp_path / "bin" / name).symlink_to(tool)

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    [rendered] = tmp_path.rglob("rendered.yaml")
    objects = [one for one in yaml.safe_load_all(rendered.read_text()) if one]
    [pod] = [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"]
    [settings] = [one["data"] for one in objects if one["kind"] == "ConfigMap"]
    [claim] = [one["spec"] for one in objects if one["kind"] == "PersistentVolumeClaim"]
    assert pod["containers"][0]["image"].startswith("registry.example/agentrun/operator:")
    assert settings["AGENTRUN_IMAGE"] == "registry.example/agents/claude-code:2.1.329"
    assert settings["AGENTRUN_HISTORY_LIMIT"] == "50"
    assert (claim["storageClassName"], claim["accessModes"]) == ("nfs", ["ReadWriteMany"])
    assert {one["metadata"].get("namespace", "agents") for one in objects} == {"agents"}


def test_the_first_run_is_one_that_the_operator_takes() -> None:
    """A reader may copy it as it stands."""
    [text] = re.findall(r"kubectl apply -n agents -f - <<'END'\n(.*?)END\n", PAGE, flags=re.DOTALL)
    body = yaml.safe_load(text)
    body["metadata"].update(namespace="agents", uid="11111111-1111-4111-8111-111111111111")

    assert models.AgentRun.parse(body).spec.job.image
    assert set(body["spec"]) <= {field.alias for field in models.AgentRunSpec.model_fields.values()}


def test_the_oldest_kubernetes_is_the_same_everywhere() -> None:
    """What the pages promise, the chart allows, doctor accepts and the workflow tests."""
    least = f"1.{cluster.LEAST_MINOR}"
    chart = yaml.safe_load((rendering.CHART / "Chart.yaml").read_text())
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    tested = [one["kubernetes"] for one in workflow["jobs"]["kind"]["strategy"]["matrix"]["include"]]
    pages = [PAGE, *((ROOT / "docs" / name).read_text() for name in ("quickstart.md", "doctor.md"))]

    assert chart["kubeVersion"] == f">={least}.0-0"
    assert min(tested, key=lambda version: int(version.partition(".")[2])) == least
    assert [re.findall(r"Kubernetes (1\.\d+) or (?:later|newer)", page) for page in pages] == [[least]] * 3


def test_every_overlay_and_every_set_of_values_is_told_of() -> None:
    """In the table at the beginning."""
    for folder in (ROOT / "deploy" / "overlays").iterdir():
        assert f"`deploy/overlays/{folder.name}`" in PAGE
    for file in (rendering.CHART / "values").iterdir():
        assert f"`values/{file.name}`" in PAGE
