"""kwok: nodes and pods that exist in the API only, thousands of them, without containers."""

import pathlib

from hack.cluster import component, credentials, kubeapi, paths, state

_ANNOTATION = "kwok.x-k8s.io/node"
NODE_PREFIX = "kwok-node-"


def describe(layout: paths.Layout, record: state.Record) -> component.Component:
    """Describe the kwok controller; without stages of the caller's, its own ones complete a Job's pod at once."""
    port = record.ports["kwok"]
    argv = [
        str(record.bin_dir / "kwok"),
        f"--kubeconfig={credentials.kubeconfig_file(layout, credentials.KWOK)}",
        f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake",
        f"--server-address=127.0.0.1:{port}",
        f"--cidr={record.pod_subnet}",
        "--node-ip=127.0.0.1",
        "--node-lease-duration-seconds=40",
    ]
    config: tuple[pathlib.Path, ...] = ()
    if record.kwok_config is not None:
        argv.append(f"--config={record.kwok_config}")
        config = (record.kwok_config,)
    return component.Component(
        name="kwok",
        argv=tuple(argv),
        ports=(port,),
        config=config,
        healthy=lambda: kubeapi.http_health(port, "/healthz"),
    )


def render_node(name: str) -> kubeapi.Json:
    """Render a fake node so large that scheduling is never what a test runs into."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_ANNOTATION: "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "status": {
            "capacity": {"cpu": "10k", "memory": "100Ti", "ephemeral-storage": "100Ti", "pods": "100k"},
            "allocatable": {"cpu": "10k", "memory": "100Ti", "ephemeral-storage": "100Ti", "pods": "100k"},
        },
    }


def ensure_nodes(admin: kubeapi.Client, count: int) -> list[str]:
    """Create the fake nodes that do not exist yet and return the names of all wanted ones."""
    names = [f"{NODE_PREFIX}{index}" for index in range(count)]
    have = {item["metadata"]["name"] for item in admin.call("GET", "/api/v1/nodes")["items"]}
    for name in names:
        if name not in have:
            admin.call("POST", "/api/v1/nodes", body=render_node(name))
    return names
