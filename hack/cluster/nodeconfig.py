"""Render the configuration of containerd, CNI and the kubelet: pure text, nothing is read or written here."""

import datetime
import json
import pathlib
import typing

from hack.cluster import paths

PAUSE_REF = "docker.io/agentrun/pause:1"


def render_containerd(layout: paths.Layout, *, cni_bin: pathlib.Path, snapshotter: str) -> str:
    """Render containerd's configuration: version 2, which 1.6, 1.7 and 2.x all read.

    `restrict_oom_score_adj`: without CAP_SYS_RESOURCE runc may not lower a score, and every sandbox would fail with
    "can't get final child's PID from pipe: EOF". Everything containerd, its shims and runc write is below our own
    folders, so that nothing is shared with a containerd of the machine's and teardown is complete.
    """
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = "{layout.state / "containerd"}"
state = "{layout.run / "containerd"}"
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = "{layout.containerd_socket}"

[{cri}]
  sandbox_image = "{PAUSE_REF}"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  netns_mounts_under_state_dir = true

[{cri}.containerd]
  snapshotter = "{snapshotter}"
  default_runtime_name = "runc"

[{cri}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
  Root = "{layout.run / "runc"}"
  SystemdCgroup = false

[{cri}.cni]
  bin_dir = "{cni_bin}"
  conf_dir = "{layout.config / "cni"}"
  max_conf_num = 1
"""


def render_cni(layout: paths.Layout, *, subnet: str) -> str:
    """Render the one network: a bridge with an address (for the kubelet's probes), no masquerading, so no iptables."""
    conflist = {
        "cniVersion": "0.4.0",
        "name": f"agentrun-{layout.ident}",
        "plugins": [
            {
                "type": "bridge",
                "bridge": layout.bridge,
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(layout.run / "cni"),
                },
            }
        ],
    }
    return json.dumps(conflist, indent=1) + "\n"


def render_kubelet(layout: paths.Layout, *, port: int, healthz_port: int, resolv_conf: pathlib.Path) -> str:
    """Render the kubelet's configuration (JSON, which its YAML reader accepts).

    Eviction and image collection are off: the machine is a developer's, whose disk may be fuller than a node's.
    The API has no client certificate to show, so the kubelet's own API is open, but on loopback only.
    """
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": port,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": healthz_port,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "imageServiceEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        # With these off the kubelet asks no file system for its size, which fails on unusual disks.
        "localStorageCapacityIsolation": False,
        "evictionHard": dict.fromkeys(("imagefs.available", "nodefs.available", "nodefs.inodesFree"), "0%"),
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMinimumGCAge": "87600h",
        # The kernel's packet filter stays as it is: no service is proxied here.
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(layout.state / "pod-logs"),
        "volumePluginDir": str(layout.state / "volume-plugins"),
        "resolvConf": str(resolv_conf),
        "clusterDNS": [],
        "maxPods": 250,
        "serializeImagePulls": False,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "eventRecordQPS": 0,
    }
    return json.dumps(config, indent=1) + "\n"


def external_addresses(node_name: str) -> dict[str, object]:
    """Return the status patch that a cloud provider would make: the API server reaches the kubelet on loopback."""
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": node_name}]
    return {"status": {"addresses": addresses}}


def without_cloud_taint(taints: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the taints less the one that waits for a cloud provider."""
    return [taint for taint in taints if taint.get("key") != "node.cloudprovider.kubernetes.io/uninitialized"]


def _ready_condition(node: dict[str, typing.Any]) -> dict[str, str] | None:
    for condition in node.get("status", {}).get("conditions", []):
        if condition.get("type") == "Ready":
            found: dict[str, str] = condition
            return found
    return None


def ready_reason(node: dict[str, typing.Any]) -> str | None:
    """Return None if a node object says Ready, else its own words why not."""
    condition = _ready_condition(node)
    if condition is None:
        return "node has no Ready condition yet"
    return None if condition.get("status") == "True" else f"node is not Ready: {condition.get('message')}"


def ready_heartbeat(node: dict[str, typing.Any]) -> float:
    """Return when the Ready condition was last confirmed (Unix time, whole seconds), 0 if never."""
    condition = _ready_condition(node) or {}
    text = condition.get("lastHeartbeatTime")
    return datetime.datetime.fromisoformat(text).timestamp() if text else 0.0
