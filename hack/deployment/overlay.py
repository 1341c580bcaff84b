"""An overlay for the local clusters: the shipped manifests, and only what a cluster without a network needs otherwise.

Pods there reach the API server on loopback and nowhere else, so the operator gets the host's network (which the Pod
Security level of ``deploy/rights`` would refuse), the API server's address, and a port that is free on this machine.
The claim is bound to the test's own volume. All else, image, rights, probes and security context, is what users get.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from hack.deployment import rendering

CLAIM = "paperclip-data"

_NAME = "agentrun-operator"


def build(
    base: str, *, namespace: str, api_port: int, health_port: int, settings: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The kustomization over ``base``, the relative path of another one. ``settings``: variables without prefix."""
    # With the host's network, a port for metrics would be another one to find.
    literals = {"LIVENESS_ENDPOINT": f"http://0.0.0.0:{health_port}/healthz", "METRICS_PORT": "0", **(settings or {})}
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        "resources": [base],
        "configMapGenerator": [
            {
                "name": f"{_NAME}-settings",
                "namespace": rendering.NAMESPACE,
                "behavior": "merge",
                "literals": [f"AGENTRUN_{name}={value}" for name, value in literals.items()],
            }
        ],
        "patches": [
            _patch("Namespace", rendering.NAMESPACE, [_label("enforce", "privileged")]),
            _patch("PersistentVolumeClaim", CLAIM, _volume(namespace)),
            {"target": {"kind": "Deployment", "name": _NAME}, "patch": json.dumps(_deployment(api_port, health_port))},
        ],
    }


def write(folder: pathlib.Path, base: pathlib.Path, **choices: Any) -> pathlib.Path:  # noqa: ANN401 - those of ``build``
    """Write the kustomization into ``folder`` and return that; ``choices`` are those of ``build``."""
    folder.mkdir(parents=True, exist_ok=True)
    # kustomize takes no absolute paths, and follows no links on its way.
    relative = os.path.relpath(base.resolve(), folder.resolve())
    (folder / "kustomization.yaml").write_text(json.dumps(build(relative, **choices), indent=1) + "\n")
    return folder


def _patch(kind: str, name: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
    return {"target": {"kind": kind, "name": name}, "patch": json.dumps(operations)}


def _label(mode: str, level: str) -> dict[str, Any]:
    return {"op": "replace", "path": f"/metadata/labels/pod-security.kubernetes.io~1{mode}", "value": level}


def _volume(namespace: str) -> list[dict[str, Any]]:
    """The claim of ``playground.build_volume``."""
    return [
        {"op": "add", "path": "/spec/storageClassName", "value": ""},
        {"op": "add", "path": "/spec/volumeName", "value": f"{namespace}-{CLAIM}"},
        {"op": "replace", "path": "/spec/accessModes", "value": ["ReadWriteMany"]},
        {"op": "replace", "path": "/spec/resources/requests/storage", "value": "1Gi"},
    ]


def _deployment(api_port: int, health_port: int) -> dict[str, Any]:
    address = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api_port)}
    container = {
        "name": "operator",
        "env": [{"name": name, "value": value} for name, value in address.items()],
        # The shipped ports go, for they are the key of this list.
        "ports": [{"$patch": "replace"}, {"name": "health", "containerPort": health_port}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _NAME},
        "spec": {"template": {"spec": {"hostNetwork": True, "containers": [container]}}},
    }
