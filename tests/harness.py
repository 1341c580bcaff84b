"""A namespace of its own for each test, with the operator at work in it: for integration and end-to-end tests."""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hack import cluster, playground
from hack.demo import targets
from tests import apiserver

RUNS = "agentruns.paperclip.io"
KEEP_CLUSTER = "KEEP_TEST_CLUSTER"
CLUSTER_SUFFIX = "TEST_CLUSTER_SUFFIX"  # of cluster names, so that two test runs on one machine do not meet
WORKER = "PYTEST_XDIST_WORKER"  # set by pytest-xdist: gw0, gw1, …


def cluster_name(name: str) -> str:
    """The name of this test process's cluster: tests that run side by side have nothing in common but the machine."""
    worker = os.environ.get(WORKER)
    return name + os.environ.get(CLUSTER_SUFFIX, "") + (f"-{worker}" if worker else "")


def on_kind() -> bool:
    """Whether the tests use the kind cluster of hack/kind/up: ``make test-e2e-kind``."""
    return os.environ.get("TEST_CLUSTER") == "kind"


@contextlib.contextmanager
def running_cluster(name: str, level: str, *, audit: bool = False) -> Iterator[playground.Kubectl]:
    """A cluster with the CRD and the operator's rights. It is stopped at the end, unless KEEP_TEST_CLUSTER is set.

    On kind it is the cluster that is there, and stays.
    """
    if on_kind():
        kubectl = playground.Kubectl(kubeconfig=targets.KIND_STATE / "kubeconfig")
        playground.install(kubectl)
        yield kubectl
        return
    name = cluster_name(name)
    up = cluster.up(name, level, audit=audit)
    try:
        kubectl = playground.Kubectl(kubeconfig=up.kubeconfig, binary=str(up.bin_dir / "kubectl"))
        playground.install(kubectl)
        yield kubectl
    finally:
        if KEEP_CLUSTER not in os.environ:
            cluster.down(name)


@dataclasses.dataclass(slots=True)
class Site:
    """One namespace with its shared volume, and the operator that serves it."""

    kubectl: playground.Kubectl
    namespace: str
    folder: pathlib.Path
    settings: dict[str, str]
    operator: playground.Process | None = None

    @property
    def volume(self) -> pathlib.Path:
        """The shared volume, as this machine sees it."""
        return self.folder / "volume"

    @property
    def operator_log(self) -> str:
        """What the operator has logged so far."""
        return (self.folder / "operator.log").read_text()

    def start_operator(self, **settings: str) -> playground.Process:
        """Start the operator with the rights of its service account."""
        kubeconfig = playground.operator_kubeconfig(self.kubectl, self.folder / "operator.kubeconfig")
        self.operator = playground.start_operator(
            kubeconfig, log=self.folder / "operator.log", settings={**self.settings, **settings}
        )
        return self.operator

    def kill_operator(self) -> None:
        """kill -9, as the kernel or a power cut would."""
        assert self.operator is not None
        self.operator.send(signal.SIGKILL)
        operator = self.operator
        playground.wait_until(lambda: not operator.alive, seconds=5, what="the operator to be gone")

    def stop_operator(self) -> None:
        """SIGTERM, as an upgrade would."""
        if self.operator is not None:
            self.operator.stop()

    def create(self, name: str, **spec: Any) -> dict[str, Any]:
        """Create an AgentRun; ``spec`` is merged over a small valid one."""
        body = {
            "apiVersion": "paperclip.io/v1alpha1",
            "kind": "AgentRun",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"companyId": "acme", "agent": {"id": "ada"}, "prompt": {"text": "Do the task."}, **spec},
        }
        created = self.kubectl.run("create", "-f", "-", "-o", "json", stdin=json.dumps(body))
        return dict(json.loads(created))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object."""
        return dict(self.kubectl.get(kind, name, "-n", self.namespace))

    def list(self, kind: str, *arguments: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        return list(self.kubectl.get(kind, "-n", self.namespace, *arguments)["items"])

    def status(self, name: str) -> dict[str, Any]:
        """The status of an AgentRun, {} while it has none."""
        return dict(self.get(RUNS, name).get("status") or {})

    def patch(self, name: str, patch: Mapping[str, Any]) -> None:
        """Merge ``patch`` into an AgentRun."""
        self.kubectl.run("patch", RUNS, name, "-n", self.namespace, "--type=merge", "-p", json.dumps(patch))

    def wait_phase(self, name: str, *phases: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until the run is in one of the phases; returns its status."""
        what = f"{name} to be {' or '.join(phases)}"
        return self._wait(name, lambda status: status.get("phase") in phases, seconds=seconds, what=what)

    def wait_status(self, name: str, **fields: Any) -> dict[str, Any]:
        """Wait until the status has these values; a callable value is asked."""

        def fits(status: dict[str, Any]) -> bool:
            return all(want(status.get(k)) if callable(want) else status.get(k) == want for k, want in fields.items())

        return self._wait(name, fits, seconds=60, what=f"{name} to have {', '.join(fields)}")

    def _wait(self, name: str, fits: Callable[[dict[str, Any]], bool], *, seconds: float, what: str) -> dict[str, Any]:
        with self._looking(name) as look:

            def reached() -> dict[str, Any] | None:
                status = look()
                return status if fits(status) else None

            try:
                return playground.wait_until(reached, seconds=seconds, what=what, every=0.1)
            except playground.PlaygroundError as e:
                raise AssertionError(f"{e}; status: {self.status(name)}; operator:\n{self.operator_log[-3000:]}") from e

    @contextlib.contextmanager
    def _looking(self, name: str) -> Iterator[Callable[[], dict[str, Any]]]:
        """What shows the status of an AgentRun again and again: kubectl would take half of a core for that."""
        if on_kind():  # whose credentials are others
            yield lambda: self.status(name)
            return
        path = f"/apis/paperclip.io/v1alpha1/namespaces/{self.namespace}/agentruns/{name}"
        with contextlib.closing(apiserver.Connection(self.kubectl)) as connection:
            yield lambda: dict(connection.get(path).get("status") or {})

    def log_file(self, name: str) -> pathlib.Path:
        """The run's log on the shared volume, as this machine sees it."""
        return self.volume / pathlib.PurePosixPath(self.status(name)["logPath"]).relative_to("/paperclip")


@contextlib.contextmanager
def site(kubectl: playground.Kubectl, folder: pathlib.Path, *, image: str, **settings: str) -> Iterator[Site]:
    """A fresh namespace; at the end its operator and everything in it are gone."""
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    volume = folder / "volume"
    volume.mkdir()
    if os.geteuid() == 0:
        os.chown(volume, playground.AGENT_UID, playground.AGENT_UID)
    place = Site(
        kubectl=kubectl,
        namespace=namespace,
        folder=folder,
        settings={
            "NAMESPACES": namespace,
            "DATA_PATH": str(volume),
            "IMAGE": image,
            "LOG_LEVEL": "debug",
            **settings,
        },
    )
    playground.make_namespace(kubectl, namespace, {"hostPath": {"path": str(volume), "type": "Directory"}})
    try:
        yield place
    finally:
        _clean_up(place)


def _clean_up(place: Site) -> None:
    kubectl, namespace = place.kubectl, place.namespace
    if place.operator is not None and place.operator.alive:
        kubectl.run("delete", RUNS, "--all", "-n", namespace, "--timeout=60s")
        place.stop_operator()
    else:
        for run in place.list(RUNS):
            patch = json.dumps({"metadata": {"finalizers": None}})
            kubectl.run("patch", RUNS, run["metadata"]["name"], "-n", namespace, "--type=merge", "-p", patch)
    kubectl.run("delete", "pods", "--all", "-n", namespace, "--grace-period=0", "--force", "--wait=false")
    kubectl.run("delete", "namespace", namespace, "--wait=false")
    kubectl.run("delete", "persistentvolume", f"{namespace}-{playground.CLAIM}", "--wait=false")
