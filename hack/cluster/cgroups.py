"""The cgroup below which all pods of one cluster live, on cgroup v1, v2 and both at once.

It is created before the kubelet starts (which refuses a root that does not exist), it is how teardown finds every pod
process, and it is removed at the end.
"""

import contextlib
import os
import pathlib
import time

from hack.cluster import errors, processes

_V2_ROOT = pathlib.Path("/sys/fs/cgroup")
_NEEDED = ("cpu", "cpuset", "memory", "pids")


def parse_mounts(mountinfo: str) -> dict[pathlib.Path, tuple[str, str]]:
    """Parse /proc/self/mountinfo into {mount point: (file system type, options)} of all cgroup hierarchies."""
    found = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            found[pathlib.Path(left.split()[4])] = (kind, options)
    return found


def _mounts() -> dict[pathlib.Path, tuple[str, str]]:
    return parse_mounts(pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8"))


def unified() -> bool:
    """Tell whether cgroup v2 holds the controllers (and not a v1 or hybrid setup)."""
    return _mounts().get(_V2_ROOT, ("", ""))[0] == "cgroup2"


def check() -> None:
    """Raise MissingPrerequisite unless the controllers that the kubelet insists on are there and writable."""
    mounts = _mounts()
    if unified():
        have = set((_V2_ROOT / "cgroup.controllers").read_text(encoding="ascii").split())
    else:
        have = {option for kind, options in mounts.values() if kind == "cgroup" for option in options.split(",")}
    missing = [name for name in _NEEDED if name not in have]
    if missing:
        raise errors.MissingPrerequisite(
            f"the cgroup controllers {', '.join(missing)} are not available",
            why="the kubelet puts every pod into cgroups with limits",
            fix="mount them (cgroup v2: `mount -t cgroup2 none /sys/fs/cgroup`), or use --level kwok",
        )
    if any(not os.access(path, os.W_OK) or os.statvfs(path).f_flag & os.ST_RDONLY for path in mounts):
        raise errors.MissingPrerequisite(
            "the cgroup file systems are mounted read-only",
            why="the kubelet creates a cgroup for every pod",
            fix="inside a container: start that with --privileged",
        )


def create(name: str) -> None:
    """Create the cgroup in every hierarchy, with the controllers that pods need enabled below it."""
    if unified():
        _enable(_V2_ROOT)
        (_V2_ROOT / name).mkdir(exist_ok=True)
        _enable(_V2_ROOT / name)
        return
    for root, (_, options) in _mounts().items():
        folder = root / name
        folder.mkdir(exist_ok=True)
        if "cpuset" in options.split(","):
            # A v1 cpuset starts empty, and no process can join an empty one.
            for file in ("cpuset.cpus", "cpuset.mems"):
                if not (folder / file).read_text(encoding="ascii").strip():
                    (folder / file).write_text((root / file).read_text(encoding="ascii"), encoding="ascii")


def _enable(folder: pathlib.Path) -> None:
    """Hand all controllers of a v2 cgroup down to its children."""
    available = (folder / "cgroup.controllers").read_text(encoding="ascii").split()
    enabled = (folder / "cgroup.subtree_control").read_text(encoding="ascii").split()
    wanted = [f"+{name}" for name in available if name not in enabled]
    if not wanted:
        return
    try:
        (folder / "cgroup.subtree_control").write_text(" ".join(wanted), encoding="ascii")
    except OSError as error:
        raise errors.MissingPrerequisite(
            f"the controllers of {folder} cannot be handed down ({error.strerror})",
            why="with cgroup v2 only a cgroup without processes of its own may do that",
            fix="inside a container: move its processes to a child cgroup first, or use a cgroup namespace",
        ) from error


def _folders(name: str) -> list[pathlib.Path]:
    """Return the cluster's cgroups of all hierarchies, children before parents."""
    found = []
    for root in _mounts():
        for folder, _, _ in os.walk(root / name, topdown=False):
            found.append(pathlib.Path(folder))
    return found


def members(name: str) -> list[processes.Identity]:
    """Return every process inside the cluster's cgroup: the pods' processes."""
    pids: set[int] = set()
    for folder in _folders(name):
        with contextlib.suppress(OSError):  # removed meanwhile, or a threaded cgroup
            pids.update(int(pid) for pid in (folder / "cgroup.procs").read_text(encoding="ascii").split())
    return [identity for identity in map(processes.identify, sorted(pids)) if identity is not None]


def remove(name: str, *, limit: float = 5.0) -> list[pathlib.Path]:
    """Remove the cluster's cgroups and return those that would not go within `limit` seconds.

    A cgroup is busy until the kernel has fully released its last process, which may be a moment after the kill.
    """
    deadline = time.monotonic() + limit
    while True:
        for folder in _folders(name):
            with contextlib.suppress(OSError):
                folder.rmdir()
        left = _folders(name)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)
