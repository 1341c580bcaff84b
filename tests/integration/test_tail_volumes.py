"""A file server that really does not answer: the reading of logs on a FUSE mount whose requests are left lying.

Nothing in a process can end its thread's wait for a request that the server has taken, as on a dead NFS server. This
file is also the server: started as a program it serves a folder, in a mount namespace of its own, so that the mount
ends with the process and nobody else ever sees it. The test reaches it through /proc/<pid>/root. The process ends with
its parent, or after two minutes; the kernel then fails whatever was left lying.
"""

import asyncio
import contextlib
import ctypes
import dataclasses
import os
import pathlib
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from agentrun_operator import settings, tail

FUSE = pathlib.Path("/dev/fuse")
INIT = b'{"type":"system","subtype":"init","session_id":"s-1","model":"opus"}\n'
TURN = b'{"type":"assistant","message":{"id":"m","content":[]}}\n'
RESULT = b'{"type":"result","subtype":"success","is_error":false,"result":"Done."}\n'


# ---------------------------------------------------------------------------------------------------- the file system

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MS_NOSUID, _MS_NODEV = 0x20000, 0x4000, 0x40000, 2, 4
_PR_SET_PDEATHSIG = 1
_LIFETIME_SECONDS = 120
_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _RELEASE, _INIT, _INTERRUPT, _BATCH_FORGET = 1, 2, 3, 14, 15, 18, 26, 36, 42
_ENOENT, _ENOSYS = 2, 38
_ROOT = 1


class FileServer:
    """The files of one folder, read-only, without any caching. ``silent``: names that get no answer to a read.

    While ``dead``, no request of any kind is answered; it is kept until there are answers again.
    """

    def __init__(self, folder: pathlib.Path, device: int) -> None:
        self.silent: set[str] = set()
        self.dead = False
        self._folder = folder
        self._device = device
        self._names: dict[int, str] = {_ROOT: ""}
        self._left: list[bytes] = []

    def serve(self) -> None:
        """Take one request and answer it, or leave it lying."""
        request = os.read(self._device, 1 << 20)
        _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
        if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            return
        if self.dead or (opcode == _READ and self._names.get(node) in self.silent):
            self._left.append(request)
            return
        try:
            answer = self._answer(opcode, node, request[40:])
            error = 0
        except OSError as e:
            answer, error = b"", -(e.errno or _ENOENT)
        with contextlib.suppress(FileNotFoundError):  # whoever asked is gone
            os.write(self._device, struct.pack("<IiQ", 16 + len(answer), error, unique) + answer)

    def answer_all(self) -> None:
        """All is well again."""
        self.silent, self.dead = set(), False
        left, self._left = self._left, []
        for request in left:
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            answer = self._answer(opcode, node, request[40:])
            os.write(self._device, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)

    def _answer(self, opcode: int, node: int, body: bytes) -> bytes:
        if opcode == _INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 1 << 17, 0, 64, 48, 1 << 17, 1, 32, 0, 0)
        if opcode == _LOOKUP:
            name = body.rstrip(b"\0").decode()
            attributes = self._attributes(name)
            found = next((number for number, known in self._names.items() if known == name), len(self._names) + 1)
            self._names[found] = name
            return struct.pack("<QQQQII", found, 0, 0, 0, 0, 0) + attributes
        if opcode == _GETATTR:
            return struct.pack("<QII", 0, 0, 0) + self._attributes(self._names[node])
        if opcode == _OPEN:
            return struct.pack("<QII", node, 1, 0)  # FOPEN_DIRECT_IO: every read comes here
        if opcode == _READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            with (self._folder / self._names[node]).open("rb") as file:
                return os.pread(file.fileno(), size, offset)
        if opcode == _RELEASE:
            return b""
        raise OSError(_ENOSYS, "not needed here")

    def _attributes(self, name: str) -> bytes:
        seen = (self._folder / name).stat()
        times = int(seen.st_mtime)
        return struct.pack(
            "<QQQQQQIIIIIIIIII", seen.st_ino, seen.st_size, 0, times, times, times, 0, 0, 0, seen.st_mode, 1, 0, 0, 0,
            4096, 0,
        )  # fmt: skip


def mount(point: pathlib.Path) -> int:
    """Mount at ``point`` in a namespace of this process alone; the descriptor to serve."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    device = os.open(FUSE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}".encode()
    done = (
        libc.unshare(_CLONE_NEWNS) == 0
        and libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None) == 0
        and libc.mount(b"slow", bytes(point), b"fuse", ctypes.c_ulong(_MS_NOSUID | _MS_NODEV), options) == 0
    )
    if not done:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return device


def main(folder: pathlib.Path, point: pathlib.Path) -> None:
    """Serve ``folder`` at ``point``; a line on stdin is a command, the end of stdin the end."""
    signal.alarm(_LIFETIME_SECONDS)
    try:
        device = mount(point)
    except OSError as e:
        sys.stdout.write(f"{e}\n")
        return
    server = FileServer(folder, device)
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    while True:
        ready, _, _ = select.select([device, 0], [], [])
        if device in ready:
            server.serve()
        if 0 in ready:
            command, _, name = os.read(0, 4096).decode().strip().partition(" ")
            if not command:
                return
            if command == "silence":
                server.silent.add(name)
            elif command == "die":
                server.dead = True
            else:
                server.answer_all()
            sys.stdout.write("done\n")
            sys.stdout.flush()


# ----------------------------------------------------------------------------------------------------------- the tests


@dataclasses.dataclass
class Volume:
    """The mount as the test sees it (``path``), and the folder behind it, in which agents write (``folder``)."""

    folder: pathlib.Path
    path: str
    process: subprocess.Popen[str]

    def tell(self, command: str) -> None:
        """Tell the server what to do, and wait until it does."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        """Let the server vanish: the kernel fails what it had not answered."""
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def volume(tmp_path: pathlib.Path) -> Iterator[Volume]:
    """A mounted volume, gone with its process."""
    if not FUSE.exists() or os.geteuid() != 0:
        pytest.skip("a mount that hangs needs root and /dev/fuse")
    folder, point = tmp_path / "served", tmp_path / "mount"
    folder.mkdir()
    point.mkdir()
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder), str(point)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = process.stdout.readline().strip()
        if said != "mounted":
            pytest.skip(f"this machine lets nobody mount: {said}")
        yield Volume(folder, f"/proc/{process.pid}/root{point}", process)
    finally:
        process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def tailer(volume: Volume) -> Iterator[tail.Tailer]:
    """The real thing with its real limits, but for the waiting at the end."""
    made = tail.Tailer(settings.Settings(drain_seconds=3, quiet_seconds=0.5))
    yield made
    volume.kill()  # before anything waits for a thread that hangs in it
    made.close()
    end = time.monotonic() + 10
    while any(thread.name.startswith("tail") for thread in threading.enumerate()):
        assert time.monotonic() < end, "a thread hangs although its server is gone"
        time.sleep(0.01)


class Followed:
    """A log that is followed at one path and written at another."""

    def __init__(self, tailer: tail.Tailer, path: str, behind: pathlib.Path) -> None:
        self.behind = behind
        self.drained = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.write(INIT)

        def tell() -> None:
            loop.call_soon_threadsafe(self.drained.set)

        self.tail = tailer.follow(path, stderr_path=f"{path}.stderr", on_drained=tell)

    def write(self, data: bytes) -> None:
        """Append."""
        with self.behind.open("ab") as file:
            file.write(data)

    def is_read(self) -> bool:
        """Whether all that was written has been seen, once."""
        return self.tail.view().transcript.bytes == self.behind.stat().st_size


async def until(condition: Callable[[], bool], *, seconds: float = 20) -> float:
    """Wait, in the event loop, until the condition holds; how long that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "it never came true"
        await asyncio.sleep(0.02)
    return time.monotonic() - started


@pytest.fixture
async def heartbeat() -> AsyncIterator[list[float]]:
    """How long the event loop was away, each time that it was."""
    gaps: list[float] = []

    async def beat() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            gaps.append(now - last)
            last = now

    task = asyncio.create_task(beat())
    yield gaps
    task.cancel()


def in_volume(tailer: tail.Tailer, volume: Volume, name: str) -> Followed:
    """A log on the volume."""
    return Followed(tailer, f"{volume.path}/{name}", volume.folder / name)


async def write_and_see(logs: list[Followed]) -> float:
    """Write one answer into each; how long until the last of them was seen."""
    for log in logs:
        log.write(TURN)
    return await until(lambda: all(log.is_read() for log in logs))


@pytest.mark.alone
async def test_one_file_that_hangs_stalls_neither_its_neighbours_nor_the_event_loop(
    volume: Volume, tailer: tail.Tailer, heartbeat: list[float], tmp_path: pathlib.Path
) -> None:
    """Its read is never answered: the others are read on; when it is answered, nothing is lost and nothing doubled."""
    hanging = in_volume(tailer, volume, "hanging")
    others = [in_volume(tailer, volume, f"near-{n}") for n in range(5)]
    others += [Followed(tailer, str(tmp_path / f"far-{n}"), tmp_path / f"far-{n}") for n in range(15)]
    await until(lambda: all(log.is_read() for log in [hanging, *others]))
    volume.tell("silence hanging")
    hanging.write(TURN)
    await until(lambda: hanging.tail.view().stuck)
    first, second = await write_and_see(others), await write_and_see(others)
    assert max(first, second) < 5
    assert not any(log.tail.view().stuck for log in others)
    assert hanging.tail.view().transcript.bytes == len(INIT)
    hanging.write(RESULT)
    volume.tell("answer")
    # That the volume answers again is noticed by whoever watches over the reader, a moment after it has read on.
    await until(lambda: hanging.is_read() and not hanging.tail.view().stuck)
    seen = hanging.tail.view()
    assert (seen.transcript.turns, seen.transcript.results) == (1, 1)
    assert max(heartbeat) < 1


@pytest.mark.alone
async def test_a_dead_volume_stalls_no_other_and_its_drains_end(
    volume: Volume, tailer: tail.Tailer, heartbeat: list[float], tmp_path: pathlib.Path
) -> None:
    """Forty runs on a volume of which nothing answers: four threads at most, and no run elsewhere notices."""
    dead = [in_volume(tailer, volume, f"near-{n}") for n in range(40)]
    others = [Followed(tailer, str(tmp_path / f"far-{n}"), tmp_path / f"far-{n}") for n in range(10)]
    await until(lambda: all(log.is_read() for log in [*dead, *others]))
    volume.tell("die")
    await until(lambda: all(log.tail.view().stuck for log in dead))
    dead[0].tail.drain(10_000)
    dead[1].tail.close()
    late = tailer.follow(f"{volume.path}/late", stderr_path="", on_drained=lambda: None)
    assert max([await write_and_see(others) for _ in range(3)]) < 5
    async with asyncio.timeout(20):
        await dead[0].drained.wait()
    seen = dead[0].tail.view()
    assert (seen.drained, seen.found, seen.stuck, late.view().stuck) == (True, False, True, True)
    assert len([thread for thread in threading.enumerate() if thread.name == "tail"]) <= 4
    volume.tell("answer")
    await write_and_see(dead[2:])
    assert dead[0].tail.view() == seen
    assert max(heartbeat) < 1


async def test_a_server_that_vanishes_is_no_end_of_the_world(
    volume: Volume, tailer: tail.Tailer, tmp_path: pathlib.Path
) -> None:
    """What hung fails then; what was read stays known, and others are read on."""
    log = in_volume(tailer, volume, "log")
    other = Followed(tailer, str(tmp_path / "far"), tmp_path / "far")
    await until(lambda: log.is_read() and other.is_read())
    volume.tell("die")
    await until(lambda: log.tail.view().stuck)
    volume.kill()
    await until(lambda: not log.tail.view().stuck)
    await write_and_see([other])
    assert (log.tail.view().found, log.tail.view().transcript.session_id) == (True, "s-1")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
