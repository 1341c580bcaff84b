"""The real thing: a real node, real containers, the real agent CLI; only the Messages API is scripted."""

import json
import pathlib
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from hack import cluster, playground
from hack.cluster import paths
from hack.demo import targets
from hack.deployment import overlay, rendering, rights
from tests import harness

CLUSTER = "e2e"
LAST = "test_rbac_use"  # it looks back at what others did
DEPLOYMENT = "deployment/agentrun-operator"
IMAGE = "docker.io/agentrun/claude-code:2.1.329"


@pytest.fixture(scope="session")
def kubectl() -> Iterator[playground.Kubectl]:
    """A cluster with a real node, one for each test process. At its end nothing was done there without a right."""
    with harness.running_cluster(CLUSTER, "node", audit=True) as kubectl:
        yield kubectl
        if not harness.on_kind():
            used, difference = look_back()
            assert difference.lacking == (), "used and not granted"
            assert [one for one in used if one.resource and not one.allowed] == []


def look_back() -> tuple[list[rights.Request], rights.Difference]:
    """What the operators have asked of this process's cluster since it was made, beside what the roles grant."""
    with paths.layout(harness.cluster_name(CLUSTER)).audit_log.open() as lines:
        used = rights.read(lines)
    granted = rights.granted(rights.rules(rendering.kustomize(rendering.DEPLOY / "rights")))
    return used, rights.compare(used, granted)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have the test come last that looks back."""
    items.sort(key=lambda item: item.path.stem == LAST)  # the order of the others stays


@pytest.fixture(scope="session")
def operator_image(kubectl: playground.Kubectl) -> None:
    """The operator's image, built from the code as it is, in the node's containerd."""
    assert kubectl.kubeconfig is not None
    cluster.load_image(harness.cluster_name(CLUSTER), "operator")


@pytest.fixture(scope="session")
def api_bodies(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where what the agents send to the Messages API is kept."""
    return tmp_path_factory.mktemp("bodies")


@pytest.fixture(scope="session")
def api_port(tmp_path_factory: pytest.TempPathFactory, api_bodies: pathlib.Path) -> Iterator[int]:
    """The scripted Messages API on loopback."""
    within = targets.enter_kind_network() if harness.on_kind() else []
    folder = tmp_path_factory.mktemp("mock")
    mock, port = playground.start_mock(folder, scenario="ok", bodies=api_bodies, within=within)
    yield port
    mock.stop()


class Agents(harness.Site):
    """A site whose runs reach the scripted API."""

    api_port = 0

    def start_run(self, name: str, scenario: str, **spec: Any) -> dict[str, Any]:
        """Create an AgentRun that plays ``scenario``."""
        own = spec.pop("job", {})
        job = {
            "env": [
                {"name": "ANTHROPIC_BASE_URL", "value": f"http://127.0.0.1:{self.api_port}"},
                {"name": "ANTHROPIC_API_KEY", "value": "sk-ant-test-only-planted-secret"},
                {"name": "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "value": "1"},
                *own.pop("env", ()),
            ],
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
            "podTemplate": {"spec": {"hostNetwork": True}},  # the scripted API is on this machine's loopback
        }
        given = {"prompt": {"text": f"SCENARIO={scenario} please do the task"}, "claude": {"maxRetries": 0}, **spec}
        return self.create(name, job={**job, **own}, **given)


class Deployed(Agents):
    """A site whose operator is a pod, made by the manifests that users install."""

    @property
    def operator_log(self) -> str:
        """What the operator's present pod has logged so far."""
        try:
            return self.kubectl.run("logs", DEPLOYMENT, "-n", self.namespace)
        except playground.PlaygroundError as e:  # for a message about something else that failed
            return str(e)

    def apply_key(self) -> None:
        """Create the Secret with the key that the Deployment names."""
        secret = {"name": "agentrun-anthropic", "namespace": self.namespace}
        content = {"apiVersion": "v1", "kind": "Secret", "metadata": secret}
        self.kubectl.apply({**content, "stringData": {"api-key": "sk-ant-test-only"}})

    def operator_pod(self) -> dict[str, Any]:
        """The operator's one pod, once there is just one."""
        pods = self.list("pods", "-l", "app.kubernetes.io/name=agentrun-operator")
        assert len(pods) == 1
        return pods[0]

    def wait_until_ready(self) -> None:
        """Wait until the Deployment is as it is wanted."""
        try:
            self.kubectl.run("rollout", "status", DEPLOYMENT, "-n", self.namespace, "--timeout=60s")
        except playground.PlaygroundError as e:
            seen = self.kubectl.run("describe", "pods", "-n", self.namespace)
            raise AssertionError(f"{e}; {self.operator_log[-3000:]}\n{seen[-3000:]}") from e


@pytest.fixture
def deployed(
    kubectl: playground.Kubectl, operator_image: None, api_port: int, tmp_path: pathlib.Path
) -> Iterator[Deployed]:
    """A namespace with the operator in it as a pod."""
    del operator_image  # it is in the node's containerd
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    place = Deployed(kubectl, namespace, tmp_path, {})
    place.api_port = api_port
    kubectl.apply(playground.build_volume(namespace, playground.host_volume(place.volume)))
    kustomization = overlay.write(
        tmp_path / "overlay",
        rendering.DEPLOY / "base",
        namespace=namespace,
        api_port=_api_server_port(kubectl),
        health_port=_free_port(),
        settings={"IMAGE": IMAGE, "LOG_LEVEL": "debug"},
    )
    try:
        _install(place, kustomization)
        yield place
    finally:
        _remove(place)


def _install(place: Deployed, kustomization: pathlib.Path) -> None:
    """Apply the manifests, the Deployment last: for the scheduler, see ``site``."""
    apply = ("apply", "--server-side", "--force-conflicts")
    before = [one for one in rendering.kustomize(kustomization) if one["kind"] != "Deployment"]
    everything = {"apiVersion": "v1", "kind": "List", "items": before}
    place.kubectl.run(*apply, "-f", "-", stdin=json.dumps(everything))
    playground.wait_until(lambda: _is_bound(place), seconds=30, what="the shared volume's claim to be bound")
    place.kubectl.run(*apply, "-k", str(kustomization))
    place.wait_until_ready()


def _remove(place: Deployed) -> None:
    """Have the operator end the runs, then remove the namespace; the CRD is that of the other tests, too."""
    kubectl, namespace = place.kubectl, place.namespace
    kubectl.run("delete", harness.RUNS, "--all", "-n", namespace, "--ignore-not-found", "--timeout=60s")
    kubectl.run("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")
    kubectl.run("delete", "persistentvolume", f"{namespace}-{playground.CLAIM}", "--ignore-not-found", "--wait=false")


def _api_server_port(kubectl: playground.Kubectl) -> int:
    config = json.loads(kubectl.run("config", "view", "--minify", "-o", "json"))
    return int(config["clusters"][0]["cluster"]["server"].rpartition(":")[2])


def _free_port() -> int:
    """A port of this machine that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def site(kubectl: playground.Kubectl, api_port: int, tmp_path: pathlib.Path) -> Iterator[Agents]:
    """A namespace with the operator at work."""
    with harness.site(kubectl, tmp_path, image=IMAGE) as place:
        # A scheduler that meets a claim before it is bound may look at the pod again only minutes later.
        playground.wait_until(lambda: _is_bound(place), seconds=30, what="the shared volume's claim to be bound")
        agents = Agents(place.kubectl, place.namespace, place.folder, place.settings)
        agents.api_port = api_port
        agents.start_operator()
        yield agents
        place.operator = agents.operator


def _is_bound(place: harness.Site) -> bool:
    return bool(place.get("persistentvolumeclaims", playground.CLAIM)["status"].get("phase") == "Bound")
