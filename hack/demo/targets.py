"""Where the demo runs: a cluster, a volume, and something for the agent to talk to.

``local`` is the cluster of ``hack/cluster``; the operator and the scripted API are processes beside it, and the agent's
pod reaches the API on loopback through the host's network. ``kind`` and ``current`` (the current context of your
kubeconfig) are clusters whose pods cannot reach this machine's loopback, so there the scripted API runs inside the
agent's pod. Neither of the two was run in this project's CI: the one needs Docker, the other a cluster of yours.
"""

import dataclasses
import os
import pathlib
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from hack import cluster, playground

CLUSTER_NAME = os.environ.get("DEMO_NAME", "demo")  # another name: another demo beside it
STATE = playground.ROOT / ".local" / CLUSTER_NAME
KIND_STATE = playground.ROOT / ".local" / "kind"
NAMESPACE = "agentrun-demo"
AGENT_IMAGE = "docker.io/agentrun/claude-code:2.1.329"
LOCAL_STATE = playground.ROOT / ".local" / "clusters" / CLUSTER_NAME

_SIDECAR_PORT = 18080
_SIDECAR_IMAGE = os.environ.get("MOCK_IMAGE", "docker.io/library/python:3.12-alpine")
_SCRIPT_CONFIG_MAP = "mock-anthropic"
_LISTENS = f"import socket; socket.create_connection(('127.0.0.1', {_SIDECAR_PORT}), 1)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A cluster that is ready. ``data_path``: where this machine sees the shared volume, None if it does not."""

    kubectl: playground.Kubectl
    image: str
    volume: Mapping[str, Any] | None
    data_path: pathlib.Path | None
    in_pod_api: bool
    words: str


def prepare(kind: str) -> Target:
    """Start or find the cluster. Raises PlaygroundError with what is missing and how to get it."""
    makers = {"local": _local, "kind": _kind, "current": _current}
    if kind not in makers:
        raise playground.PlaygroundError(f"CLUSTER={kind} is none of {', '.join(makers)}")
    return makers[kind]()


def find(kind: str) -> playground.Kubectl | None:
    """Find kubectl for a cluster that an earlier ``prepare`` started; None if there is none."""
    if kind == "current":
        return playground.Kubectl(kubeconfig=None)
    kubeconfig = KIND_STATE / "kubeconfig" if kind == "kind" else LOCAL_STATE / "kubeconfig"
    return playground.Kubectl(kubeconfig=kubeconfig) if kubeconfig.exists() else None


def refuse_beside_an_install(kubectl: playground.Kubectl) -> None:
    """Raises PlaygroundError where an operator is installed already.

    It would fight the demo's for the same AgentRuns, and share its namespace, which goes with the demo.
    """
    found = kubectl.run(
        *("get", "deployments", "--all-namespaces", "-o", "name"), "-l", "app.kubernetes.io/name=agentrun-operator"
    )
    if found.strip():
        raise playground.PlaygroundError(
            "An operator is installed in this cluster, and a demo beside it would share its rights and its namespace; "
            "apply an AgentRun of your own (docs/install.md), or use CLUSTER=local"
        )


def enter_kind_network() -> list[str]:
    """The start of a command that shall run in the network of kind's node, whose loopback host-network pods see.

    It needs root. Raises PlaygroundError if there is no such node.
    """
    node = "agentrun-control-plane"
    done = subprocess.run(
        ["docker", "inspect", "--format", "{{.State.Pid}}", node], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise playground.PlaygroundError(f"there is no container {node}: hack/kind/up makes it. {done.stderr.strip()}")
    return ["nsenter", "--target", done.stdout.strip(), "--net", "--"]


def tear_down(kind: str) -> None:
    """Stop what ``prepare`` started; a cluster of yours is left alone."""
    if kind == "local":
        cluster.down(CLUSTER_NAME)
    elif kind == "kind" and shutil.which("kind"):
        _run(str(playground.ROOT / "hack" / "kind" / "down"))


def api_access(target: Target, scenario_port: int | None) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The agent's environment and pod template for talking to the scripted API (or to none of ours: ``None``)."""
    quiet: list[dict[str, Any]] = [{"name": "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "value": "1"}]
    key = {"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "anthropic", "key": "api-key"}}}
    if "ANTHROPIC_API_KEY" in os.environ:
        return [*quiet, key], None
    port = _SIDECAR_PORT if target.in_pod_api else scenario_port
    env = [*quiet, {"name": "ANTHROPIC_BASE_URL", "value": f"http://127.0.0.1:{port}"}, key]
    return env, {"spec": _sidecar()} if target.in_pod_api else {"spec": {"hostNetwork": True}}


def script_config_map() -> dict[str, Any]:
    """The scripted API's source, for the pods that run it beside the agent."""
    folder = playground.ROOT / "hack" / "mock_anthropic"
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": _SCRIPT_CONFIG_MAP, "namespace": NAMESPACE},
        "data": {path.name: path.read_text() for path in sorted(folder.glob("*.py"))},
    }


def _sidecar() -> dict[str, Any]:
    mount = "/srv/hack/mock_anthropic"
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "initContainers": [
            {
                "name": "mock-anthropic",
                "image": _SIDECAR_IMAGE,
                "restartPolicy": "Always",
                "workingDir": "/srv",
                "command": [
                    "python3",
                    "-m",
                    "hack.mock_anthropic",
                    "--port",
                    str(_SIDECAR_PORT),
                    "--scenario",
                    "tools",
                ],
                "env": [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
                "startupProbe": {"exec": {"command": ["python3", "-c", _LISTENS]}, "periodSeconds": 1},
                "securityContext": restricted,
                "volumeMounts": [{"name": "mock-anthropic", "mountPath": mount, "readOnly": True}],
            }
        ],
        "volumes": [{"name": "mock-anthropic", "configMap": {"name": _SCRIPT_CONFIG_MAP}}],
    }


def _local() -> Target:
    try:
        running = cluster.up(CLUSTER_NAME, "node")
    except cluster.ClusterError as e:
        raise playground.PlaygroundError(str(e)) from e
    volume = STATE / "volume"
    return Target(
        kubectl=playground.Kubectl(kubeconfig=running.kubeconfig, binary=str(running.bin_dir / "kubectl")),
        image=AGENT_IMAGE,
        volume=playground.host_volume(volume),
        data_path=volume,
        in_pod_api=False,
        words="a Kubernetes of real components on this machine (hack/cluster)",
    )


def _kind() -> Target:
    _run(str(playground.ROOT / "hack" / "kind" / "up"), AGENT_IMAGE)
    return Target(
        kubectl=playground.Kubectl(kubeconfig=KIND_STATE / "kubeconfig"),
        image=AGENT_IMAGE,
        volume={"hostPath": {"path": "/agentrun-data", "type": "DirectoryOrCreate"}},
        data_path=KIND_STATE / "data",
        in_pod_api=True,
        words="a kind cluster (hack/kind)",
    )


def _current() -> Target:
    if shutil.which("kubectl") is None:
        raise playground.PlaygroundError("kubectl is not installed, and CLUSTER=current needs it to find your cluster")
    image = os.environ.get("AGENT_IMAGE")
    if not image:
        raise playground.PlaygroundError(
            "Your cluster has to pull the agent's image: set AGENT_IMAGE to one with the claude executable "
            "(hack/images/agent.Dockerfile builds it)"
        )
    kubectl = playground.Kubectl(kubeconfig=None)
    refuse_beside_an_install(kubectl)
    context = kubectl.run("config", "current-context").strip()
    return Target(
        kubectl=kubectl, image=image, volume=None, data_path=None, in_pod_api=True, words=f"your context {context}"
    )


def _run(*command: str) -> None:
    try:
        subprocess.run(command, cwd=playground.ROOT, check=True)
    except subprocess.CalledProcessError as e:
        raise playground.PlaygroundError(f"{command[0]} failed, see above") from e
