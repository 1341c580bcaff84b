"""Where everything lives: the repository, the cache outside git, and the folders of one cluster.

State is under `.local/clusters/NAME` of the repository. Only what must have a short path (unix sockets are limited to
107 bytes) lives in a run directory whose name is a hash of the repository's path and the cluster's name, so that two
checkouts never share one.
"""

import dataclasses
import hashlib
import os
import pathlib
import re

from hack.cluster import errors

REPO_ROOT = pathlib.Path(__file__).resolve().parents[2]
GO_MODULE = pathlib.Path(__file__).resolve().parent / "go"
KWOK_MODULE = GO_MODULE / "kwok"
HELM_MODULE = GO_MODULE / "helm"
RUN_ROOT = pathlib.Path("/run/agentrun")

# The name becomes part of a node name, a context name and file names; 20 keeps the kubelet's sockets short enough.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?")


def cache_dir() -> pathlib.Path:
    """Return the cache outside git: `AGENTRUN_CACHE`, else `XDG_CACHE_HOME/agentrun`, else `~/.cache/agentrun`."""
    explicit = os.environ.get("AGENTRUN_CACHE")
    if explicit:
        return pathlib.Path(explicit).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base).absolute() / "agentrun"


def clusters_dir() -> pathlib.Path:
    """Return the folder that holds one folder per cluster of this checkout."""
    return REPO_ROOT / ".local" / "clusters"


@dataclasses.dataclass(frozen=True)
class Layout:
    """The paths of one cluster; nothing is created by asking for them."""

    name: str
    state: pathlib.Path

    @property
    def ident(self) -> str:
        """Eight hex digits that stand for this cluster of this checkout, for names the whole machine shares."""
        return hashlib.sha256(str(self.state).encode()).hexdigest()[:8]

    @property
    def run(self) -> pathlib.Path:
        """Short-path folder for sockets and containerd's volatile state (node level only)."""
        return RUN_ROOT / self.ident

    @property
    def bridge(self) -> str:
        """Name of the CNI bridge; an interface name has at most 15 characters."""
        return f"ar-{self.ident}"

    @property
    def cgroup(self) -> str:
        """Cgroup, relative to every hierarchy's root, below which all pods of this cluster live."""
        return f"agentrun-{self.ident}"

    @property
    def node_name(self) -> str:
        """Name of the real node object."""
        return f"agentrun-{self.name}"

    @property
    def record(self) -> pathlib.Path:
        """What was asked for and what was allocated (JSON)."""
        return self.state / "cluster.json"

    @property
    def lock(self) -> pathlib.Path:
        """Lock file beside the state folder, so that it survives the folder's removal."""
        return self.state.parent / f".{self.name}.lock"

    @property
    def pids(self) -> pathlib.Path:
        """One JSON file per started process."""
        return self.state / "pids"

    @property
    def logs(self) -> pathlib.Path:
        """One log file per component."""
        return self.state / "logs"

    @property
    def config(self) -> pathlib.Path:
        """Rendered configuration files and credentials."""
        return self.state / "config"

    @property
    def certs(self) -> pathlib.Path:
        """Where the API server keeps its self-signed certificate and key."""
        return self.state / "certs"

    @property
    def ca(self) -> pathlib.Path:
        """The certificate every client verifies the API server with."""
        return self.certs / "apiserver.crt"

    @property
    def kubeconfig(self) -> pathlib.Path:
        """The cluster-admin's kubeconfig."""
        return self.state / "kubeconfig"

    @property
    def audit_log(self) -> pathlib.Path:
        """Where `up --audit` writes."""
        return self.state / "audit.log"

    @property
    def kubelet(self) -> pathlib.Path:
        """The kubelet's root directory."""
        return self.state / "kubelet"

    @property
    def containerd_socket(self) -> pathlib.Path:
        """The socket of this cluster's own containerd."""
        return self.run / "containerd.sock"

    def log(self, component: str) -> pathlib.Path:
        """Return the log file of a component."""
        return self.logs / f"{component}.log"


def layout(name: str, *, root: pathlib.Path | None = None) -> Layout:
    """Return the paths of cluster `name`, or raise ClusterError if the name cannot be used.

    `root` replaces the folder of all clusters (for tests).
    """
    if not _NAME.fullmatch(name):
        message = f"{name!r} is not a cluster name: use 1 to 20 of a-z, 0-9 and '-', no '-' at either end."
        raise errors.ClusterError(message)
    return Layout(name=name, state=(root or clusters_dir()) / name)


def existing(*, root: pathlib.Path | None = None) -> list[Layout]:
    """Return the clusters that have a state folder, by name."""
    folder = root or clusters_dir()
    if not folder.is_dir():
        return []
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and _NAME.fullmatch(entry.name))
    return [layout(name, root=root) for name in names]
