"""What becomes of log files on the shared volume: removed with their run, redacted, or left alone.

The volume is the agents' own, and they may put anything anywhere on it; the operator may see more than they do. So
every path is walked from the log root down, one folder at a time, and never through a symbolic link; and nothing is
removed but a run's own files: ``<company>/<agent>/<run>.pod.*``.

A run that nobody saw being deleted leaves its log behind. The init container writes beside it whose it is (the *owner
file*: namespace, uid, policy). A log without one may be another program's, and nobody touches it.

Everything here blocks. ``Keeper`` does it on a thread of its own, so a volume that hangs holds up nothing but itself.
"""

import concurrent.futures
import contextlib
import contextvars
import dataclasses
import functools
import os
import posixpath
import queue
import re
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import structlog

from agentrun_operator import names, redaction

_log = structlog.get_logger(__name__)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PART = re.compile(r"[A-Za-z0-9-]{1,63}")
_RUN = re.compile(r"[A-Za-z0-9-]{1,63}(\.[0-9]{1,9})?")  # and the number of a further attempt
_CHUNK_BYTES = 256 * 1024
_T = TypeVar("_T")
_OWNER_BYTES = 1024  # an owner file is a few short lines
_MOST_OWNERS = 4  # that are remembered; a Job is hardly ever adopted once


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """Whose a log is: what the owner file says."""

    namespace: str
    uid: str
    policy: str


def remove(root: str, log: str, uid: str) -> bool:
    """Remove the files of the run with that uid, and its folders if nothing is left in them.

    False if there are none: a later run with the same ids writes to the same path, and its files are not touched.
    Raises ValueError for a path that is no run's log below ``root``, OSError.
    """
    company, agent, run = _parts(root, log)
    with contextlib.ExitStack() as stack:
        try:
            top = _opened(stack, root)
            company_fd = _opened(stack, company, top)
            agent_fd = _opened(stack, agent, company_fd)
        except FileNotFoundError:
            return False
        owner = _owner(run + names.OWNER_SUFFIX, agent_fd)
        if owner is None or owner.uid != uid:
            return False
        _unlink_all(agent_fd, run)
        # Only an empty folder can be removed, so nobody's files are lost if one is being made at this very moment.
        for name, fd in ((agent, company_fd), (company, top)):
            try:
                os.rmdir(name, dir_fd=fd)
            except OSError:
                break
        return True


def redact(root: str, log: str, redactor: redaction.Redactor) -> None:
    """Rewrite a log without credentials, in one step: a reader sees the old file or the new one.

    Raises ValueError, OSError.
    """
    company, agent, run = _parts(root, log)
    with contextlib.ExitStack() as stack:
        folder = _opened(stack, agent, _opened(stack, company, _opened(stack, root)))
        for suffix in names.LOG_SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                _rewrite(folder, run + suffix, redaction.Stream(redactor))


def reown(root: str, log: str, owner: Owner) -> None:
    """Write down that a log is another run's now, and whose it was; without an owner file, nothing is.

    A second pod of the same Job names the first owner, and has to see that the agent was started.

    Raises ValueError for a path that is no run's log below ``root``, OSError.
    """
    company, agent, run = _parts(root, log)
    name = run + names.OWNER_SUFFIX
    with contextlib.ExitStack() as stack:
        folder = _opened(stack, agent, _opened(stack, company, _opened(stack, root)))
        lines = _owner_lines(name, folder)
        before = _parse_owner(lines)
        if before is None or before == owner:
            return
        was = [*(line for line in lines[1:] if line.startswith("was ")), f"was {lines[0]}"]
        temporary = f".{name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o640, dir_fd=folder), "w", encoding="ascii") as target:
            target.write(
                "\n".join([f"{owner.namespace} {owner.uid} {owner.policy}", "started", *was[-_MOST_OWNERS:], ""])
            )
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def find_owned(root: str) -> list[tuple[str, Owner]]:
    """Every log below ``root`` that has an owner file, by its path.

    A folder that cannot be read is passed over: one agent that locks its own must not hold up the others' clean-up.
    """
    return list(_owned(root))


class Keeper:
    """Does what it is told, one thing after the other, on its own thread."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="logfiles", daemon=True)
        self._thread.start()

    def do(self, what: str, work: Callable[[], _T]) -> concurrent.futures.Future[_T]:
        """Have ``work`` done some time. OSError and ValueError are logged, with ``what``, and kept in the future.

        The log lines name the run that they are about, as those of the caller do.
        """
        future: concurrent.futures.Future[_T] = concurrent.futures.Future()
        self._work.put(functools.partial(contextvars.copy_context().run, _carry_out, what, work, future))
        return future

    def close(self) -> None:
        """Stop after what is under way; it is waited for only a moment."""
        self._work.put(None)
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def _carry_out(what: str, work: Callable[[], _T], future: concurrent.futures.Future[_T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except (OSError, ValueError) as e:
        _log.warning("log_file_trouble", what=what, error=str(e))
        future.set_exception(e)


def _parts(root: str, log: str) -> tuple[str, str, str]:
    """Company, agent and run of a log's path."""
    parts = posixpath.relpath(log, root).split("/")
    if len(parts) != 3 or not parts[2].endswith(names.LOG_SUFFIX):  # noqa: PLR2004 - company, agent, run
        raise ValueError(f"{log} is not a run's log below {root}")
    company, agent, run = parts[0], parts[1], parts[2].removesuffix(names.LOG_SUFFIX)
    if not (_PART.fullmatch(company) and _PART.fullmatch(agent) and _RUN.fullmatch(run)):
        raise ValueError(f"{log} is not a run's log below {root}")
    return company, agent, run


def _opened(stack: contextlib.ExitStack, name: str, folder: int | None = None) -> int:
    fd = os.open(name, _FOLDER, dir_fd=folder)
    stack.callback(os.close, fd)
    return fd


def _unlink_all(folder: int, run: str) -> None:
    for suffix in (*names.LOG_SUFFIXES, f"{names.LOG_SUFFIX}.previous", names.OWNER_SUFFIX):  # the owner file goes last
        with contextlib.suppress(FileNotFoundError):
            os.unlink(run + suffix, dir_fd=folder)


def _rewrite(folder: int, name: str, stream: redaction.Stream) -> None:
    source = os.open(name, _FILE, dir_fd=folder)
    temporary = f".{name}.redacted"
    try:
        seen = os.fstat(source)
        if not stat.S_ISREG(seen.st_mode):
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(temporary, flags, stat.S_IMODE(seen.st_mode), dir_fd=folder), "wb") as target:
                while chunk := os.read(source, _CHUNK_BYTES):
                    target.write(stream.feed(chunk))
                target.write(stream.finish())
                with contextlib.suppress(PermissionError):  # only root may give files away
                    os.fchown(target.fileno(), seen.st_uid, seen.st_gid)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:  # the volume is full, say: what was written of it must not stay either
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
    finally:
        os.close(source)


def _owned(root: str) -> Iterator[tuple[str, Owner]]:
    """Every log below ``root`` that has an owner file, by its path."""
    for company in _folders(root):
        for agent in _folders(os.path.join(root, company)):
            folder = os.path.join(root, company, agent)
            for name in _names(folder):
                owner = _owner(os.path.join(folder, name)) if name.endswith(names.OWNER_SUFFIX) else None
                if owner is not None:
                    yield os.path.join(folder, name.removesuffix(names.OWNER_SUFFIX) + names.LOG_SUFFIX), owner


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return [e.name for e in entries if _PART.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def _owner(path: str, folder: int | None = None) -> Owner | None:
    return _parse_owner(_owner_lines(path, folder))


def _owner_lines(path: str, folder: int | None) -> list[str]:
    """The owner file's lines: namespace, uid and policy; then perhaps "started", and "was" with earlier owners."""
    try:
        fd = os.open(path, _FILE, dir_fd=folder)
    except OSError:
        return []
    try:
        return os.read(fd, _OWNER_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return []
    finally:
        os.close(fd)


def _parse_owner(lines: Sequence[str]) -> Owner | None:
    words = lines[0].split() if lines else []
    return Owner(*words) if len(words) == 3 else None  # noqa: PLR2004 - namespace, uid, policy
