"""Install the Debian packages that the node level needs, when the machine has them not."""

import collections.abc
import contextlib
import os
import pathlib
import shutil
import subprocess

from hack.cluster import errors, report

_APT_TIMEOUT_SECONDS = 900
_POLICY = pathlib.Path("/usr/sbin/policy-rc.d")
CNI_DIR = pathlib.Path("/usr/lib/cni")

# What must exist, and the package that brings it. Looking for files (not asking dpkg) accepts other sources, such as a
# vendor's containerd.io package, which conflicts with Debian's.
_NODE_FILES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    str(CNI_DIR / "bridge"): "containernetworking-plugins",
    str(CNI_DIR / "host-local"): "containernetworking-plugins",
    str(CNI_DIR / "loopback"): "containernetworking-plugins",
}
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def which(program: str) -> str | None:
    """Find a program, also in the sbin folders that a plain user's PATH lacks."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_SEARCH_PATH}")


def installed(package: str) -> bool:
    """Tell whether dpkg has a package's file list (cheaper than asking dpkg, and exact enough)."""
    info = pathlib.Path("/var/lib/dpkg/info")
    return (info / f"{package}.list").exists() or any(info.glob(f"{package}:*.list"))


def missing_for_node() -> list[str]:
    """Return the packages to install before a real node can run, in order of name."""
    wanted = {package for file, package in _NODE_FILES.items() if which(file) is None}
    if not installed("busybox-static"):
        wanted.add("busybox-static")
    return sorted(wanted)


def ensure(names: collections.abc.Iterable[str], *, why: str) -> None:
    """Install packages with apt, or raise MissingPrerequisite that says what to do instead."""
    wanted = sorted(names)
    if not wanted:
        return
    command = f"apt-get install --no-install-recommends {' '.join(wanted)}"
    if shutil.which("apt-get") is None:
        raise errors.MissingPrerequisite(
            f"missing {', '.join(wanted)}, and this is no Debian or Ubuntu (no apt-get)",
            why=why,
            fix="install the equivalents with your system's package manager, or use --level kwok",
        )
    if os.geteuid() != 0:
        raise errors.MissingPrerequisite(
            f"missing the Debian packages {', '.join(wanted)}", why=why, fix=f"sudo {command}"
        )
    with report.step(f"installing {' '.join(wanted)}"), _no_service_starts():
        if not _install(wanted):
            # A fresh machine has no package lists, or stale ones.
            _apt(["update"])
            if not _install(wanted):
                raise errors.MissingPrerequisite(f"apt-get could not install {', '.join(wanted)}", why=why, fix=command)


def _install(wanted: list[str]) -> bool:
    return _apt(["install", "--yes", "--no-install-recommends", *wanted])


def _apt(arguments: list[str]) -> bool:
    """Run apt-get without questions; return whether it succeeded and show its errors if not."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *arguments]
    result = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_APT_TIMEOUT_SECONDS,
    )
    if result.returncode != 0:
        tail = " / ".join(result.stderr.splitlines()[-3:])
        report.report(f"apt-get {arguments[0]} failed: {tail}")
    return result.returncode == 0


@contextlib.contextmanager
def _no_service_starts() -> collections.abc.Iterator[None]:
    """Keep Debian from starting its own containerd service: ours has a root and socket of its own.

    policy-rc.d is the documented way to say so. An existing one is the machine owner's and stays as it is.
    """
    if _POLICY.exists() or not _POLICY.parent.is_dir():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
