"""Where the measurement happens: a namespace on a real node, the operator, the scripted API, and runs of two kinds.

A run is either an AgentRun, or the very Job and Secret that the operator would make of it, created by hand: same image,
same script, same volume, only without owner and without the label by which the operator knows its own.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator
from typing import Any

from agentrun_operator import entry, manifest, models, names, settings
from hack import cluster, playground
from hack.bench import watch
from hack.demo import targets

CLUSTER_NAME = "bench"
KEEP_CLUSTER = "KEEP_TEST_CLUSTER"
STATE = playground.ROOT / ".local" / "bench"
RUNS = f"{names.PLURAL}.{names.GROUP}"

_NAMESPACE = "bench"
_COMPANY = "acme"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A namespace with its shared volume; everything that happens in it is in the journal."""

    kubectl: playground.Kubectl
    api: watch.Api
    journal: watch.Journal
    folder: pathlib.Path
    namespace: str
    mock_port: int

    @property
    def environment(self) -> dict[str, str]:
        """The operator's settings, without their prefix."""
        return {
            "NAMESPACES": self.namespace,
            "DATA_PATH": str(self.folder / "volume"),
            "IMAGE": targets.AGENT_IMAGE,
        }

    @property
    def config(self) -> settings.Settings:
        """The operator's settings as it reads them."""
        return settings.from_environ({f"{settings.PREFIX}{key}": value for key, value in self.environment.items()})

    def path(self, resource: str) -> str:
        """The API path of a namespaced resource."""
        group = {"agentruns": f"apis/{names.GROUP}/{names.VERSION}", "jobs": "apis/batch/v1"}.get(resource, "api/v1")
        return f"/{group}/namespaces/{self.namespace}/{resource}"

    def agent_run(self, name: str, *, agent: str, scenario: str) -> watch.Json:
        """An AgentRun that plays ``scenario``; its run id is its name, so its log's path is known beforehand."""
        job = {
            "env": [
                {"name": "ANTHROPIC_BASE_URL", "value": f"http://127.0.0.1:{self.mock_port}"},
                {"name": "ANTHROPIC_API_KEY", "value": "a-key-that-only-the-scripted-api-accepts"},
                {"name": "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "value": "1"},
            ],
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
            "podTemplate": {"spec": {"hostNetwork": True}},  # the scripted API is on this machine's loopback
        }
        return {
            "apiVersion": f"{names.GROUP}/{names.VERSION}",
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "companyId": _COMPANY,
                "agent": {"id": agent},
                "runId": name,
                "prompt": {"text": f"SCENARIO={scenario} please do the task"},
                "claude": {"maxRetries": 0},
                "job": job,
            },
        }

    def parse(self, body: watch.Json) -> models.AgentRun:
        """The AgentRun as the operator would see it."""
        return models.AgentRun.parse({**body, "metadata": {**body["metadata"], "uid": str(uuid.uuid4())}})

    def log_file(self, run: models.AgentRun) -> pathlib.Path:
        """The run's log on the shared volume, as this machine sees it."""
        return pathlib.Path(str(self.config.local_path(manifest.run_log_path(run, self.config))))

    def by_hand(self, run: models.AgentRun) -> tuple[watch.Json, watch.Json]:
        """The Secret and the Job that the operator would make, as nobody's own."""
        scripts = manifest.Scripts(run_agent=entry.read("run-agent.sh"), bundle=entry.read("bundle.sh"))
        template = manifest.Template(text=run.spec.prompt.text or "", source="spec.prompt.text")
        made = manifest.build(run, self.config, template=template, scripts=scripts)
        secret, job = dict(made.secret), dict(made.job)
        for metadata in (secret["metadata"], job["metadata"], job["spec"]["template"]["metadata"]):
            metadata.pop("ownerReferences", None)
            metadata["labels"].pop(names.LABEL_MANAGED_BY)
        return secret, job

    @contextlib.contextmanager
    def operator(self) -> Iterator[playground.Process]:
        """The operator at work; at the end all its runs are gone, then it."""
        kubeconfig = playground.operator_kubeconfig(self.kubectl, self.folder / "operator.kubeconfig")
        log = self.folder / "operator.log"
        process = playground.start_operator(kubeconfig, log=log, settings=self.environment)
        try:
            yield process
        finally:
            try:
                if process.alive:
                    self.kubectl.run("delete", RUNS, "--all", "-n", self.namespace, "--timeout=100s")
            finally:
                process.stop()


@contextlib.contextmanager
def ready() -> Iterator[Site]:
    """A cluster, a fresh namespace and the scripted API. The cluster is stopped unless KEEP_TEST_CLUSTER is set."""
    up = cluster.up(CLUSTER_NAME, "node")
    try:
        kubectl = playground.Kubectl(kubeconfig=up.kubeconfig, binary=str(up.bin_dir / "kubectl"))
        playground.install(kubectl)
        with _namespace(kubectl) as site:
            yield site
    finally:
        if KEEP_CLUSTER not in os.environ:
            cluster.down(CLUSTER_NAME)


@contextlib.contextmanager
def _namespace(kubectl: playground.Kubectl) -> Iterator[Site]:
    folder = STATE / "work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    namespace = f"{_NAMESPACE}-{uuid.uuid4().hex[:8]}"
    playground.make_namespace(kubectl, namespace, playground.host_volume(folder / "volume"))
    mock, port = playground.start_mock(folder, scenario="ok")
    try:
        api = watch.Api.of(kubectl)
        journal = watch.Journal(api)
        place = Site(kubectl=kubectl, api=api, journal=journal, folder=folder, namespace=namespace, mock_port=port)
        for resource in ("agentruns", "secrets", "jobs", "pods"):
            journal.follow(resource, place.path(resource))
        yield place
    finally:
        mock.stop()
        _remove(kubectl, namespace)


def _remove(kubectl: playground.Kubectl, namespace: str) -> None:
    """Take everything out of a cluster that lives on, also what a dead operator left behind."""
    for run in kubectl.get(RUNS, "-n", namespace)["items"]:
        patch = json.dumps({"metadata": {"finalizers": None}})
        kubectl.run("patch", RUNS, run["metadata"]["name"], "-n", namespace, "--type=merge", "-p", patch)
    kubectl.run("delete", "namespace", namespace, "--wait=false")
    kubectl.run("delete", "persistentvolume", f"{namespace}-{playground.CLAIM}", "--wait=false")


def node_versions(place: Site) -> dict[str, Any]:
    """What the node runs, in its own words."""
    info = place.api.get("/api/v1/nodes")["items"][0]["status"]["nodeInfo"]
    return {key: info[key] for key in ("kubeletVersion", "containerRuntimeVersion", "osImage")}
