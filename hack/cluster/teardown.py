"""Remove every trace of a cluster: processes, mounts, network namespaces, interfaces, cgroups, sockets, files.

Nothing here trusts a pid file alone or that an earlier step worked: a cluster whose `up` died half way, or whose folder
was damaged, is removed all the same.
"""

import collections.abc
import contextlib
import ctypes
import os
import pathlib
import shutil
import subprocess
import time

from hack.cluster import cgroups, errors, packages, paths, processes, sysctls

SYSCTL_SNAPSHOT = paths.RUN_ROOT / "sysctls.json"
# Paths that kubelet, shims and the CNI library take from nowhere but their own source code.
_DEVICE_PLUGINS = pathlib.Path("/var/lib/kubelet/device-plugins")
_CONTAINER_LOGS = pathlib.Path("/var/log/containers")
_CNI_RESULTS = pathlib.Path("/var/lib/cni/results")
_SHIM_SOCKETS = pathlib.Path("/run/containerd/s")
_MNT_DETACH = 2
_KILL_SECONDS = 60.0


def remove(layout: paths.Layout, *, keep_data: bool) -> None:
    """End and remove everything; with `keep_data` the state folder (etcd, images, logs, credentials) stays."""
    sockets = _shim_sockets(layout)
    _kill(layout, gently=keep_data)
    _unmount_below(layout.state, layout.run)
    if os.geteuid() == 0:
        _remove_node_traces(layout, sockets)
    shutil.rmtree(layout.pids, ignore_errors=True)
    if not keep_data:
        _remove_tree(layout.state)


def _kill(layout: paths.Layout, *, gently: bool) -> None:
    """End our processes, then (nobody left to restart them) the pods' processes.

    With the data to be thrown away nobody needs time to save it, so everything is killed at once.
    """
    own = processes.marked(layout.state)
    recorded = [processes.load(path) for path in layout.pids.glob("*.json")]
    known = {started.identity for started in recorded if started and processes.alive(started.identity)}
    processes.terminate(known.union(own), grace=10.0 if gently else 0.0)
    processes.terminate(cgroups.members(layout.cgroup), grace=0.0)
    deadline = time.monotonic() + _KILL_SECONDS
    # Whoever was listed may have started others before it was killed, and the kernel takes its time over some.
    while left := processes.marked(layout.state) + cgroups.members(layout.cgroup):
        if time.monotonic() > deadline:
            pids = [identity.pid for identity in left]
            message = f"processes {pids} of cluster {layout.name} do not end, not even by SIGKILL; nothing was removed."
            raise errors.ClusterError(message)
        processes.terminate(left, grace=0.0)


def mounts_below(mountinfo: str, roots: collections.abc.Sequence[pathlib.Path]) -> list[str]:
    """Parse /proc/self/mountinfo into the mount points below `roots`, the ones to unmount first first."""
    found = []
    for line in mountinfo.splitlines():
        # Blanks in a mount point are written as octal escapes.
        point = line.split()[4].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        if any(pathlib.Path(point).is_relative_to(root) for root in roots):
            found.append(point)
    return found[::-1]


def _unmount_below(*roots: pathlib.Path) -> None:
    """Unmount everything below the folders: container root file systems, volumes, network namespaces."""
    points = mounts_below(pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8"), roots)
    libc = ctypes.CDLL(None, use_errno=True)
    for point in points:
        if libc.umount2(os.fsencode(point), _MNT_DETACH) != 0:
            number = ctypes.get_errno()
            # A parent that went first takes its children along.
            if os.path.ismount(point):
                message = f"cannot unmount {point}: {os.strerror(number)}"
                raise errors.ClusterError(message)


def _shim_sockets(layout: paths.Layout) -> list[pathlib.Path]:
    """Return the sockets of containerd's shims, which lie outside our folders under names that are hashes."""
    found = []
    for file in (layout.run / "containerd").glob("io.containerd.runtime.v2.task/*/*/address"):
        with contextlib.suppress(OSError):
            found.append(pathlib.Path(file.read_text(encoding="utf-8").strip().removeprefix("unix://")))
    return found


def _remove_node_traces(layout: paths.Layout, sockets: list[pathlib.Path]) -> None:
    """Remove what a node leaves outside the state folder."""
    for path in sockets:
        path.unlink(missing_ok=True)
    _remove_interface(layout.bridge)
    left = cgroups.remove(layout.cgroup)
    if left:
        message = f"the kernel does not let go of the cgroups {', '.join(map(str, left))}."
        raise errors.ClusterError(message)
    # The results of the loopback plugin carry no name of ours, but the path of the pod's network namespace.
    for result in _CNI_RESULTS.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another cluster's pod has just ended
            if str(layout.run).encode() in result.read_bytes():
                result.unlink()
    for link in _CONTAINER_LOGS.glob("*.log"):
        if link.is_symlink() and pathlib.Path(os.readlink(link)).is_relative_to(layout.state):
            link.unlink(missing_ok=True)
    shutil.rmtree(layout.run, ignore_errors=True)
    others = [entry for entry in paths.RUN_ROOT.glob("*") if entry.is_dir()]
    if not others:
        _remove_shared_traces()


def _remove_shared_traces() -> None:
    """Remove what all node-level clusters of the machine share, when the last of them is gone."""
    sysctls.restore(SYSCTL_SNAPSHOT)
    if not processes.running_named("kubelet"):
        for name in ("kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"):
            (_DEVICE_PLUGINS / name).unlink(missing_ok=True)
    for folder in (
        paths.RUN_ROOT,
        _DEVICE_PLUGINS,
        _DEVICE_PLUGINS.parent,
        _CONTAINER_LOGS,
        _CNI_RESULTS,
        _CNI_RESULTS.parent,
        _SHIM_SOCKETS,
        _SHIM_SOCKETS.parent,
    ):
        with contextlib.suppress(OSError):  # absent, or somebody else's files are in it
            folder.rmdir()


def _remove_interface(name: str) -> None:
    """Delete the bridge; the pods' veth pairs went with their network namespaces."""
    if not pathlib.Path(f"/sys/class/net/{name}").exists():
        return
    program = packages.which("ip")
    if program is None:
        message = f"cannot remove the interface {name}: `ip` is missing (apt-get install iproute2)."
        raise errors.ClusterError(message)
    subprocess.run([program, "link", "delete", name], check=False, timeout=30, capture_output=True)


def _remove_tree(folder: pathlib.Path) -> None:
    """Delete a folder; what is in it may have been made by containers, with odd permissions."""
    if not folder.exists():
        return
    try:
        shutil.rmtree(folder)
    except OSError as error:
        message = f"cannot remove {folder}: {error}"
        raise errors.ClusterError(message) from error
