"""The busybox image (a shell and the usual tools in 2 MB) and the pause image (holds a pod's namespaces)."""

import pathlib
import subprocess

from hack.cluster import errors, packages
from hack.images import archive, hostfiles

BUSYBOX_REF = "docker.io/library/busybox:1.36"
PAUSE_REF = "docker.io/agentrun/pause:1"
_BINARY = pathlib.Path("/bin/busybox")
# The pause process must stay: a sandbox whose process exits fails with "lstat /proc/PID/ns/ipc". 68 years are enough.
_PAUSE_COMMAND = ("/bin/sleep", "2147483647")


def _applets() -> list[str]:
    """Return the paths that busybox wants to be linked to, such as `bin/sh`."""
    packages.ensure(
        [] if packages.installed("busybox-static") else ["busybox-static"],
        why="the busybox and pause images are made from it",
    )
    answer = subprocess.run([str(_BINARY), "--list-full"], capture_output=True, text=True, timeout=30, check=True)
    applets = [line for line in answer.stdout.split() if line]
    if "bin/sh" not in applets:
        message = f"{_BINARY} offers no shell: is another busybox than busybox-static installed?"
        raise errors.ClusterError(message)
    return applets


def write_busybox(output: pathlib.Path) -> None:
    """Write the busybox image."""
    root = archive.RootFs()
    root.copy(_BINARY, "bin/busybox")
    for applet in _applets():
        if applet != "bin/busybox":
            root.symlink(applet, "/bin/busybox")
    hostfiles.add_accounts(root, home="/home/user", shell="/bin/sh", user="user")
    archive.write_image(root, archive.Config(command=("sh",)), reference=BUSYBOX_REF, output=output)


def write_pause(output: pathlib.Path) -> None:
    """Write the pause image."""
    _applets()
    root = archive.RootFs()
    root.copy(_BINARY, "bin/busybox")
    root.symlink("bin/sleep", "/bin/busybox")
    config = archive.Config(command=_PAUSE_COMMAND, user="65535:65535")
    archive.write_image(root, config, reference=PAUSE_REF, output=output)
