"""On which mount a path lies, asked of the kernel's own table: no file server is touched, so this never hangs."""

import pathlib
import re

_TABLE = pathlib.Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")  # how the kernel writes a space, a tab, a line end, a backslash


class Mounts:
    """The mount points of this process as they were when ``table`` was read; a container's do not change."""

    def __init__(self, table: str) -> None:
        points = {_OCTAL.sub(lambda code: chr(int(code[1], 8)), line.split(" ")[4]) for line in table.splitlines()}
        self._points = sorted(points, key=len, reverse=True)

    def of(self, path: str) -> str:
        """The mount point that ``path``, absolute and without links, is below; "" if there is none."""
        return next((point for point in self._points if f"{path}/".startswith(f"{point.rstrip('/')}/")), "")


def read() -> Mounts:
    """Read the kernel's table; where there is none, all paths count as one mount."""
    try:
        return Mounts(_TABLE.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return Mounts("")
