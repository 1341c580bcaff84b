"""The examples at a real API server: every file is let in, and the orchestrator brings 144 agents through."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from hack import playground
from tests import apiserver

ROOT = pathlib.Path(__file__).parents[2]
FILES = sorted((ROOT / "examples").glob("*/*.yaml"))
RUNS = "/apis/paperclip.io/v1alpha1/namespaces/{}/agentruns"
CLUSTER_WIDE = {"Namespace", "PriorityClass"}
NOT_INSTALLED = "kueue.x-k8s.io/"
COMPANIES, AGENTS, ROUNDS = 12, 12, 2


@pytest.fixture
def namespace(kubectl: playground.Kubectl) -> Iterator[str]:
    """A namespace that no operator watches."""
    name = f"ex-{uuid.uuid4().hex[:8]}"
    kubectl.run("create", "namespace", name)
    yield name
    kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_file_can_be_applied(kubectl: playground.Kubectl, namespace: str, path: pathlib.Path) -> None:
    """Strictly: a field that is not there is an error. What Kueue brings along is not installed here."""
    bodies = [body for body in yaml.safe_load_all(path.read_text()) if NOT_INSTALLED not in body["apiVersion"]]
    for body in bodies:
        cluster_wide = body["kind"] in CLUSTER_WIDE
        if not cluster_wide:
            body["metadata"]["namespace"] = namespace
        applied = kubectl.run(
            "apply",
            "--validate=strict",
            *(["--dry-run=server"] if cluster_wide else []),
            "-f",
            "-",
            "-o",
            "json",
            stdin=json.dumps(body),
        )
        assert json.loads(applied)["metadata"]["name"] == body["metadata"]["name"]
    assert bodies or path.name == "queues.yaml"


class Operator:
    """Plays the operator: every run is Running with the next look, and has succeeded with the one after."""

    def __init__(self, kubectl: playground.Kubectl, namespace: str) -> None:
        self._kubectl = kubectl
        self._path = RUNS.format(namespace)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.live_at_a_time = 0
        self.error: BaseException | None = None

    def __enter__(self) -> "Operator":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        with contextlib.closing(apiserver.Connection(self._kubectl)) as api:
            try:
                while not self._stop.wait(0.2):
                    self._look(api)
            except Exception as e:  # noqa: BLE001 - the test tells of it
                self.error = e

    def _look(self, api: apiserver.Connection) -> None:
        _, runs, _ = api.request("GET", self._path)
        live = [run for run in runs["items"] if (run.get("status") or {}).get("phase") != "Succeeded"]
        self.live_at_a_time = max(self.live_at_a_time, len(live))
        for run in live:
            body = {"metadata": {"uid": run["metadata"]["uid"]}, "status": _next(run)}
            path = f"{self._path}/{run['metadata']['name']}/status"
            status, answer, _ = api.request("PATCH", path, body, "application/merge-patch+json")
            assert status == 200, answer


def _next(run: Mapping[str, Any]) -> dict[str, Any]:
    spec = run["spec"]
    own = spec.get("session", {}).get("id") or f"{spec['companyId']}-{spec['agent']['id']}"
    common = {"session": {"id": own, "cwd": "/paperclip"}, "turns": 2, "costUSD": "0.01", "reason": "Played"}
    phase = "Succeeded" if (run.get("status") or {}).get("phase") == "Running" else "Running"
    return {**common, "phase": phase}


@pytest.mark.timeout(300)
def test_the_orchestrator_brings_144_agents_through(
    kubectl: playground.Kubectl, namespace: str, tmp_path: pathlib.Path
) -> None:
    """It is killed in the middle and started again: every run is there once, and each resumes the one before it."""
    connection = apiserver.Connection(kubectl)
    with Operator(kubectl, namespace) as operator:
        first = _start(kubectl, namespace, tmp_path / "first")

        def some_are_there() -> bool:
            _, runs, _ = connection.request("GET", RUNS.format(namespace))
            return len(runs["items"]) >= 50

        playground.wait_until(some_are_there, seconds=60, what="the orchestrator to create runs")
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=10)
        second = _start(kubectl, namespace, tmp_path / "second")
        code = second.wait(timeout=200)
    shown = (tmp_path / "second").read_text()
    assert operator.error is None
    assert code == 0, shown
    _, runs, _ = connection.request("GET", RUNS.format(namespace))
    connection.close()
    by_id = {_key(run): run for run in runs["items"]}
    assert len(by_id) == len(runs["items"]) == COMPANIES * AGENTS * ROUNDS
    for (company, agent, run_id), run in by_id.items():
        resumed = run["spec"].get("session", {}).get("id")
        assert resumed == (None if run_id == "demo-0-0" else f"{company}-{agent}")
    assert operator.live_at_a_time > AGENTS
    assert shown.count("12/12") == COMPANIES


def _key(run: Mapping[str, Any]) -> tuple[str, str, str]:
    return run["spec"]["companyId"], run["spec"]["agent"]["id"], run["spec"]["runId"]


def _start(kubectl: playground.Kubectl, namespace: str, log: pathlib.Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "examples/orchestrator.py", "-n", namespace, "--rounds", str(ROUNDS)],
            cwd=ROOT,
            env={**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
