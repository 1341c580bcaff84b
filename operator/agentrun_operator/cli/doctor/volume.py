"""The shared volume as this process sees it; a file server that does not answer costs the time-out and no more."""

import os
import pathlib
import queue
import secrets
import threading
import time

from agentrun_operator import doctor, settings

_MOUNTS = pathlib.Path("/proc/self/mountinfo")
_TEXT = b"agentrun doctor was here; this file may be removed\n"
_SEEN_SECONDS = 5.0


def look(config: settings.Settings, *, timeout: float) -> doctor.Volume:
    """Look at the volume and write a file there, for ``timeout`` seconds at most."""
    answer: queue.SimpleQueue[doctor.Volume] = queue.SimpleQueue()
    # A daemon: a read on a dead file server never returns, and must not keep the process.
    threading.Thread(target=lambda: answer.put(_look(config)), daemon=True).start()
    try:
        return answer.get(timeout=timeout)
    except queue.Empty:
        return doctor.Volume(path=config.data_path, fault=f"does not answer within {timeout:g} s")


def _look(config: settings.Settings) -> doctor.Volume:
    path = pathlib.Path(config.data_path)
    try:
        if not path.is_dir():
            return doctor.Volume(path=str(path), fault="there is no such folder")
        mounted, filesystem, options = doctor.parse_mount(_mountinfo(), os.path.realpath(path))
        root = pathlib.Path(config.local_path(config.log_root) or path)
        return doctor.Volume(
            path=str(path),
            mounted=mounted,
            filesystem=filesystem,
            options=options,
            log_root=_log_root(root),
            probe=_probe(_nearest(root)),
            space=_space(path),
        )
    except OSError as e:
        return doctor.Volume(path=str(path), fault=f"cannot be looked at: {e.strerror or e}")


def _mountinfo() -> str:
    try:
        return _MOUNTS.read_text(errors="replace")
    except OSError:
        return ""  # not on Linux


def _log_root(root: pathlib.Path) -> doctor.LogRoot:
    try:
        state = root.stat()
    except FileNotFoundError:
        return doctor.LogRoot(path=str(root), exists=False)
    readable = os.access(root, os.R_OK | os.X_OK)
    return doctor.LogRoot(
        path=str(root), exists=True, uid=state.st_uid, gid=state.st_gid, mode=state.st_mode & 0o7777, readable=readable
    )


def _nearest(root: pathlib.Path) -> pathlib.Path:
    """The log root, or the folder in which it would be made."""
    return next(folder for folder in (root, *root.parents) if folder.is_dir())


def _space(path: pathlib.Path) -> doctor.Space:
    state = os.statvfs(path)
    return doctor.Space(
        free_bytes=state.f_bavail * state.f_frsize,
        total_bytes=state.f_blocks * state.f_frsize,
        free_inodes=state.f_favail,
        total_inodes=state.f_files,
    )


def _probe(folder: pathlib.Path) -> doctor.Probe:
    written = folder / f".agentrun-doctor-{secrets.token_hex(6)}"
    renamed = written.with_name(f"{written.name}.renamed")
    try:
        try:
            _write(written)
            began = time.monotonic()
            written.rename(renamed)
            while not _is_seen(renamed):
                if time.monotonic() - began > _SEEN_SECONDS:
                    fault = f"a file that was renamed was not seen for {_SEEN_SECONDS:g} s"
                    return doctor.Probe(folder=str(folder), fault=fault)
                time.sleep(0.01)
            return doctor.Probe(folder=str(folder), seconds=time.monotonic() - began)
        finally:
            for path in (written, renamed):
                path.unlink(missing_ok=True)
    except OSError as e:
        return doctor.Probe(
            folder=str(folder), fault=f"a file could not be written, renamed and read: {e.strerror or e}"
        )


def _write(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, _TEXT)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_seen(path: pathlib.Path) -> bool:
    """Whether the folder lists it, and a new reader reads all of it."""
    return path.name in os.listdir(path.parent) and path.read_bytes() == _TEXT
