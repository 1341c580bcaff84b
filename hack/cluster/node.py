"""A real node: this cluster's own containerd, and a kubelet whose node lives on loopback.

`--cloud-provider external` keeps the kubelet from refusing a loopback address. We then do what a cloud provider would:
set the node's addresses and remove the taint that waits for it.
"""

import datetime
import http
import pathlib

from hack.cluster import cgroups, component, credentials, errors, files, kubeapi, nodeconfig, packages, paths, state


def prepare(layout: paths.Layout, record: state.Record) -> None:
    """Create the folders, cgroups and configuration that containerd and the kubelet expect."""
    for folder in (layout.run, layout.kubelet, layout.state / "pod-logs", layout.state / "volume-plugins"):
        folder.mkdir(parents=True, exist_ok=True)
    cgroups.create(layout.cgroup)
    conflist = nodeconfig.render_cni(layout, subnet=record.pod_subnet)
    files.write(layout.config / "cni" / "10-agentrun.conflist", conflist)
    containerd_toml = nodeconfig.render_containerd(
        layout, cni_bin=packages.CNI_DIR, snapshotter=snapshotter(layout.state)
    )
    files.write(layout.config / "containerd.toml", containerd_toml)
    resolv_conf = pathlib.Path("/etc/resolv.conf")
    if not resolv_conf.exists():
        resolv_conf = layout.config / "resolv.conf"
        files.write(resolv_conf, "# the machine has no resolver\n")
    kubelet_config = nodeconfig.render_kubelet(
        layout,
        port=record.ports["kubelet"],
        healthz_port=record.ports["kubelet-healthz"],
        resolv_conf=resolv_conf,
    )
    files.write(layout.config / "kubelet.json", kubelet_config)


def file_system(path: pathlib.Path, mountinfo: str) -> str:
    """Return the type of the file system that holds an absolute `path`, by the text of /proc/self/mountinfo."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        if (path.is_relative_to(point)) and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind


def snapshotter(state_dir: pathlib.Path) -> str:
    """Choose overlayfs, or plain copies where an overlay cannot stand on the disk (inside another container)."""
    mountinfo = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    kind = file_system(state_dir, mountinfo)
    return "native" if kind in {"overlay", "fuse-overlayfs", "nfs", "nfs4", "9p", "virtiofs"} else "overlayfs"


def containerd(layout: paths.Layout) -> component.Component:
    """Describe this cluster's containerd."""
    program = packages.which("containerd")
    if program is None:
        message = "containerd is not installed: run `python3 -m hack.cluster setup --level node`."
        raise errors.ClusterError(message)
    config = layout.config / "containerd.toml"
    return component.Component(
        name="containerd",
        argv=(program, "--config", str(config)),
        config=(config,),
        healthy=lambda: kubeapi.socket_health(layout.containerd_socket),
    )


def kubelet(layout: paths.Layout, record: state.Record) -> component.Component:
    """Describe the kubelet; whether its *node* is ready is asked separately, by `node_ready`."""
    config = layout.config / "kubelet.json"
    kubeconfig = credentials.kubeconfig_file(layout, credentials.node_identity(layout).user)
    healthz = record.ports["kubelet-healthz"]
    argv = (
        str(record.bin_dir / "kubelet"),
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        f"--root-dir={layout.kubelet}",
        f"--cert-dir={layout.kubelet / 'pki'}",
        f"--hostname-override={layout.node_name}",
        "--cloud-provider=external",
        "--v=2",
    )
    return component.Component(
        name="kubelet",
        argv=argv,
        ports=(record.ports["kubelet"], healthz),
        config=(config, kubeconfig),
        healthy=lambda: kubeapi.http_health(healthz, "/healthz"),
    )


def node_ready(layout: paths.Layout, admin: kubeapi.Client, *, since: float = 0.0) -> str | None:
    """Return None once the node is usable, doing the cloud provider's part on the way.

    `since` (Unix time) is when the kubelet was started: a node that was Ready before is believed only after a sign of
    life from the present kubelet.
    """
    path = f"/api/v1/nodes/{layout.node_name}"
    try:
        node = admin.call("GET", path)
        node = _initialise(admin, path, node, node_name=layout.node_name)
        reason = nodeconfig.ready_reason(node)
        if reason is None and max(nodeconfig.ready_heartbeat(node), _lease_renewal(layout, admin)) < int(since):
            reason = "the kubelet has shown no sign of life since its start"
    except kubeapi.ApiError as error:
        return f"node {layout.node_name}: {error}"
    except kubeapi.UNREACHABLE as error:
        return f"the API server does not answer ({error})"
    return reason


def _lease_renewal(layout: paths.Layout, admin: kubeapi.Client) -> float:
    """Return when the kubelet last renewed its node's lease (Unix time), 0 if there is none yet."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{layout.node_name}"
    try:
        renewed = admin.call("GET", path)["spec"]["renewTime"]
    except kubeapi.ApiError as error:
        if error.status == http.HTTPStatus.NOT_FOUND:  # a new node's first lease comes up to 10 s after its Ready
            return 0.0
        raise
    return datetime.datetime.fromisoformat(renewed).timestamp()


def _initialise(admin: kubeapi.Client, path: str, node: kubeapi.Json, *, node_name: str) -> kubeapi.Json:
    """Set the node's addresses and drop the cloud provider's taint where that is still to be done."""
    wanted = nodeconfig.external_addresses(node_name)
    if not any(address.get("address") == "127.0.0.1" for address in node["status"].get("addresses", [])):
        node = admin.merge_patch(f"{path}/status", wanted)
    taints = node["spec"].get("taints", [])
    remaining = nodeconfig.without_cloud_taint(taints)
    if remaining != taints:
        # The version makes this fail (and be tried again) if the node controller changed the taints meanwhile.
        version = {"resourceVersion": node["metadata"]["resourceVersion"]}
        node = admin.merge_patch(path, {"metadata": version, "spec": {"taints": remaining}})
    return node
