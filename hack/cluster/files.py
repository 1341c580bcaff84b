"""Small file helpers: writes that are atomic, private when asked, and skipped when nothing changes; and file locks."""

import collections.abc
import contextlib
import fcntl
import os
import pathlib

from hack.cluster import report


def write(path: pathlib.Path, text: str, *, private: bool = False) -> bool:
    """Write `text` to `path` atomically; return False if it held exactly that already.

    `private` makes the file readable by its owner only, from the moment it exists.
    """
    try:
        if path.read_text(encoding="utf-8") == text:
            return False
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    temporary.replace(path)
    return True


@contextlib.contextmanager
def locked(path: pathlib.Path, *, purpose: str) -> collections.abc.Iterator[None]:
    """Hold an exclusive lock on `path`, and say so if another process makes us wait.

    The lock is the kernel's, so it is gone with the process however that ends. The body may delete the file: whoever
    waited for it then notices that its lock is on a file that is no more, and starts again with the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                report.report(f"waiting for another process: {purpose}")
                fcntl.flock(stream, fcntl.LOCK_EX)
            if _same_file(stream.fileno(), path):
                yield
                return


def _same_file(descriptor: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def tail(path: pathlib.Path, *, lines: int = 15) -> str:
    """Return the last `lines` of a log, or an empty string if there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 64 * 1024))
            text = stream.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
