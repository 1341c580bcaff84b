"""What a machine must have for a level, each lack said in one clear sentence before anything is started."""

import os
import pathlib
import platform
import shutil

from hack.cluster import cgroups, errors, levels, paths

_SUN_PATH_MAX = 107
# etcd, the images (busybox, pause, 0.4 GB agent twice: packed and unpacked) and logs.
_STATE_BYTES = {
    levels.Level.CONTROL_PLANE: 500_000_000,
    levels.Level.KWOK: 1_000_000_000,
    levels.Level.NODE: 3_000_000_000,
}


def check(level: levels.Level, layout: paths.Layout | None = None) -> None:
    """Raise MissingPrerequisite for the first thing this machine lacks for `level` (and for this cluster's paths)."""
    if platform.system() != "Linux":
        raise errors.MissingPrerequisite(
            f"this is {platform.system()}, not Linux", why="processes are tracked by /proc", fix="use a Linux machine"
        )
    if layout is not None:
        check_disk(level, layout.state)
    if level is levels.Level.NODE:
        check_root(os.geteuid())
        check_kernel(pathlib.Path("/proc/filesystems").read_text(encoding="ascii"))
        cgroups.check()
        if layout is not None:
            check_socket_path(layout.kubelet / "pod-resources" / "kubelet.sock")


def check_root(uid: int) -> None:
    """Refuse the node level for a plain user."""
    if uid != 0:
        raise errors.MissingPrerequisite(
            "not root",
            why="a real node mounts volumes, creates cgroups and network namespaces",
            fix="run the same command with sudo, or use --level kwok, which needs no root",
        )


def check_kernel(filesystems: str, *, kmsg: pathlib.Path = pathlib.Path("/dev/kmsg")) -> None:
    """Refuse a kernel (or a container around us) without what containers need; `filesystems` is /proc/filesystems."""
    if "overlay" not in filesystems.split():
        raise errors.MissingPrerequisite(
            "the kernel has no overlay file system",
            why="containerd stacks image layers with it",
            fix="modprobe overlay",
        )
    if not kmsg.exists():
        raise errors.MissingPrerequisite(
            f"no {kmsg}",
            why="the kubelet watches it for out-of-memory kills and refuses to start without",
            fix="mknod /dev/kmsg c 1 11 (inside a container: start that with --privileged)",
        )


def check_socket_path(socket: pathlib.Path) -> None:
    """Refuse a checkout so deep that the kubelet's own sockets no longer fit."""
    length = len(str(socket).encode())
    if length > _SUN_PATH_MAX:
        raise errors.MissingPrerequisite(
            f"the path {socket} has {length} bytes",
            why=f"the kubelet puts a unix socket there, and those are limited to {_SUN_PATH_MAX}",
            fix="use a shorter cluster name or move the checkout to a shorter path",
        )


def check_disk(level: levels.Level, state: pathlib.Path) -> None:
    """Refuse a disk that the state of a cluster of this level would fill."""
    folder = state
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    needed = _STATE_BYTES[level]
    if free < needed:
        raise errors.MissingPrerequisite(
            f"only {free / 1e9:.1f} GB free at {folder}",
            why=f"a cluster of level {level} needs about {needed / 1e9:.1f} GB there",
            fix="free some disk space; `python3 -m hack.cluster down --all` removes old clusters",
        )
