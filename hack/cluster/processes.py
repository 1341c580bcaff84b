"""Start processes that outlive us, recognise them later, and end exactly those.

A pid alone is no identity: it is reused. A process is recognised by pid, start time (field 22 of /proc/PID/stat) and
the boot it was started in. Signals go through a pidfd that is opened *before* the identity is checked, so that no
reuse can slip in between. Every process also carries the cluster's state folder in its environment, which its
children (containerd's shims) inherit: `marked` finds what no pid file knows of.
"""

import collections.abc
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import time

MARKER = "AGENTRUN_CLUSTER_STATE"
_POLL_SECONDS = 0.02


@dataclasses.dataclass(frozen=True)
class Identity:
    """What tells one process from all others that had or will have its pid."""

    pid: int
    start_ticks: int
    boot_id: str


@dataclasses.dataclass(frozen=True)
class Started:
    """A process of ours as its pid file records it; `started_at` is Unix time in seconds."""

    identity: Identity
    fingerprint: str
    started_at: float


def boot_id() -> str:
    """Return the kernel's random id of the current boot."""
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _stat(pid: int) -> tuple[str, int] | None:
    """Return (state letter, start time in ticks) of a process, or None if there is none."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in parentheses and may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


def _threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def identify(pid: int) -> Identity | None:
    """Return the identity of the live process `pid`, or None.

    A zombie with other threads is one that is still ending: its files, and so its ports, are open until the last
    thread is gone.
    """
    found = _stat(pid)
    if found is None or (found[0] in "ZX" and _threads(pid) <= 1):
        return None
    return Identity(pid=pid, start_ticks=found[1], boot_id=boot_id())


def alive(identity: Identity) -> bool:
    """Tell whether exactly this process still runs; a zombie does not (and is reaped if it is our child)."""
    if identify(identity.pid) == identity:
        return True
    with contextlib.suppress(ChildProcessError):  # not our child: init or its own parent reaps it
        found = _stat(identity.pid)
        if found is not None and found == ("Z", identity.start_ticks):
            os.waitpid(identity.pid, os.WNOHANG)
    return False


def spawn(argv: collections.abc.Sequence[str], *, log: pathlib.Path, environment: dict[str, str]) -> Identity:
    """Start `argv` in a session of its own, stdin from /dev/null and all output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
    # The process is meant to outlive this object: without a return code its destructor warns of a running child.
    child.returncode = 0
    identity = identify(child.pid)
    if identity is None:  # it ended already; the caller's health check will show its log
        identity = Identity(pid=child.pid, start_ticks=-1, boot_id=boot_id())
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child.pid, os.WNOHANG)
    return identity


def send(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; return False if it is gone."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except (ProcessLookupError, OSError):  # OSError: EINVAL for a pid that is no thread group leader any more
        return False
    try:
        if not alive(identity):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def terminate(identities: collections.abc.Iterable[Identity], *, grace: float) -> None:
    """End the processes: SIGTERM, after `grace` seconds SIGKILL (0: at once); return when all are gone.

    A process that even SIGKILL does not end within 10 s (stuck in the kernel) is left, and its caller sees it alive.
    """
    remaining = list(identities)
    for number, limit in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        if limit <= 0:
            continue
        remaining = [identity for identity in remaining if send(identity, number)]
        deadline = time.monotonic() + limit
        while remaining and time.monotonic() < deadline:
            remaining = [identity for identity in remaining if alive(identity)]
            if remaining:
                time.sleep(_POLL_SECONDS)


def marked(state: pathlib.Path) -> list[Identity]:
    """Return the processes whose environment names this cluster's state folder (ours and their children)."""
    needle = f"{MARKER}={state}".encode()
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # gone meanwhile, or another user's
            continue
        if needle in variables:
            identity = identify(int(entry.name))
            if identity is not None:
                found.append(identity)
    return found


def running_named(command: str) -> bool:
    """Tell whether any process on the machine has this command name (ours or not)."""
    for entry in pathlib.Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if entry.read_text(encoding="utf-8", errors="replace").strip() == command:
                return True
    return False


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes, 0 if it is gone."""
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def save(path: pathlib.Path, started: Started) -> None:
    """Write a pid file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(dataclasses.asdict(started), indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def load(path: pathlib.Path) -> Started | None:
    """Read a pid file; None if there is none or it is unreadable (a crash while an older version wrote it)."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Started(
            identity=Identity(**raw["identity"]),
            fingerprint=str(raw["fingerprint"]),
            started_at=float(raw["started_at"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
