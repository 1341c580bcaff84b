"""The orchestrator of examples/ with the real operator, real pods and the real CLI; small, for a node is small."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.e2e.conftest import Agents

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.timeout(400)
def test_the_orchestrator_brings_its_agents_through(site: Agents, tmp_path: pathlib.Path) -> None:
    """Two agents with two runs each: the second resumes the session that the first one began."""
    job = tmp_path / "job.yaml"
    environment = {
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{site.api_port}",
        "ANTHROPIC_API_KEY": "sk-ant-test-only-planted-secret",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    job.write_text(
        json.dumps(
            {
                "env": [{"name": name, "value": value} for name, value in environment.items()],
                "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
                "podTemplate": {"spec": {"hostNetwork": True}},  # the scripted API is on this machine's loopback
            }
        )
    )
    command = ["examples/orchestrator.py", "-n", site.namespace, "--companies", "1", "--agents", "2", "--rounds", "2"]
    done = subprocess.run(
        [sys.executable, *command, "--job", str(job)],
        cwd=ROOT,
        env={**os.environ, "KUBECONFIG": str(site.kubectl.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr + site.operator_log[-3000:]
    assert "2/2" in done.stdout
    runs = {(run["spec"]["agent"]["id"], run["spec"]["runId"]): run for run in site.list("agentruns.paperclip.io")}
    assert len(runs) == 4
    for agent in ("agent-01", "agent-02"):
        first, second = runs[agent, "demo-0-0"], runs[agent, "demo-1-0"]
        assert second["spec"]["session"]["id"] == first["status"]["session"]["id"]
        assert second["status"]["phase"] == "Succeeded"
