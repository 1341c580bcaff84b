"""A fork server for operators: it imports the operator once and forks a child for each start, in a fifth of the time.

``python -m tests.chaos.nursery`` is the server; ``Nursery`` talks to it, in lines of JSON over its stdin and stdout. A
child can be armed, at its start or later: at the nth time it reaches a named step it sends itself a signal, so it dies
exactly there. Whoever holds the server's stdin holds its life: when that is closed, and also when somebody is killed
from above, every child goes with it.
"""

import asyncio
import contextlib
import ctypes
import dataclasses
import faulthandler
import gc
import json
import mmap
import os
import pathlib
import select
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from kopf._cogs.aiokits import aiotasks

from agentrun_operator import runner, settings
from agentrun_operator.cli import operator

STEPS = tuple(runner.Step)
END_SECONDS = 20  # what an operator may take to end, from when it listens no more
_PR_SET_PDEATHSIG = 1
_FIRED, _ARMED, _SIGNAL, _LEFT, _ENDS_SINCE, _COUNTS = range(
    6
)  # places in the memory that a child shares with the server
_WORDS = _COUNTS + len(STEPS)
_LAST_WORDS = 200  # bytes
_LOOK_SECONDS = 1.0


class Shared:
    """A few numbers, and some text at the end, that server and child both see."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4 * _WORDS + _LAST_WORDS)
        self[_ARMED] = -1

    def __getitem__(self, place: int) -> int:
        return int(struct.unpack_from("i", self._memory, 4 * place)[0])

    def __setitem__(self, place: int, value: int) -> None:
        struct.pack_into("i", self._memory, 4 * place, value)

    def close(self) -> None:
        self._memory.close()

    def say(self, words: str) -> None:
        """The child's last words."""
        said = words.encode()[:_LAST_WORDS]
        self._memory[4 * _WORDS : 4 * _WORDS + len(said)] = said

    def arm(self, step: str, number: int, nth: int) -> None:
        """Set the step last: it is what the child looks at."""
        self[_SIGNAL], self[_LEFT] = number, nth
        self[_ARMED] = STEPS.index(runner.Step(step)) if step else -1

    def ending(self) -> None:
        """What the child does when it begins to end, by a signal or because something in it has failed."""
        self[_ENDS_SINCE] = self[_ENDS_SINCE] or int(time.monotonic())

    @property
    def ends_for(self) -> int:
        """Seconds since it began to end; 0 if it did not."""
        return int(time.monotonic()) - self[_ENDS_SINCE] if self[_ENDS_SINCE] else 0

    def reached(self, step: runner.Step) -> None:
        """What the child does at each step."""
        place = STEPS.index(step)
        self[_COUNTS + place] += 1
        if self[_ARMED] != place:
            return
        self[_LEFT] -= 1
        if self[_LEFT] <= 0:
            self[_ARMED], self[_FIRED] = -1, place + 1
            os.kill(os.getpid(), self[_SIGNAL])

    def report(self) -> dict[str, Any]:
        """What is known of the child at its end."""
        fired = self[_FIRED]
        counts = {step.value: self[_COUNTS + place] for place, step in enumerate(STEPS) if self[_COUNTS + place]}
        words = self._memory[4 * _WORDS :].rstrip(b"\0").decode(errors="replace")
        return {"fired": STEPS[fired - 1].value if fired else "", "steps": counts, "last_words": words}


# --- the server ------------------------------------------------------------------------------------------------------


def _die_with_parent() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _live(order: Mapping[str, Any], shared: Shared) -> int:
    """What a child does with its life."""
    _die_with_parent()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    faulthandler.enable()
    os.environ.update(order["env"])
    for module, name, value in order["tuned"]:  # what is no setting, but would make a test wait for minutes
        if hasattr(sys.modules.get(module), name):
            setattr(sys.modules[module], name, value)
    _watch_the_end(shared)
    config = settings.from_environ(os.environ)
    return asyncio.run(operator.operate(config, reached=shared.reached))


def _watch_the_end(shared: Shared) -> None:
    """See when kopf begins to stop its own tasks: from then on it listens to nothing, so it has to be gone soon."""
    stop = aiotasks.stop

    async def stop_and_tell(*arguments: Any, title: str, **options: Any) -> Any:  # noqa: ANN401 - whatever kopf says
        if title == "Root":
            shared.ending()
        return await stop(*arguments, title=title, **options)

    aiotasks.stop = stop_and_tell


class _Server:
    def __init__(self) -> None:
        self._children: dict[int, Shared] = {}
        self._late: set[int] = set()

    def serve(self) -> None:
        """Until stdin is closed."""
        _die_with_parent()
        wake, woken = os.pipe()
        for end in (wake, woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.freeze()
        rest = b""
        self._say({"ready": os.getpid()})
        while True:
            ready, _, _ = select.select([0, wake], [], [], _LOOK_SECONDS)
            self._look()
            if wake in ready:
                os.read(wake, 4096)
                self._reap()
            if 0 in ready:
                got = os.read(0, 65536)
                if not got:
                    break
                *lines, rest = (rest + got).split(b"\n")
                for line in lines:
                    self._obey(json.loads(line))
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
        for pid in self._children:
            os.waitpid(pid, 0)

    def _look(self) -> None:
        """Tell of children that take too long to end, each once."""
        for pid, shared in self._children.items():
            if shared.ends_for > END_SECONDS and pid not in self._late:
                self._late.add(pid)
                self._say({"late": pid})

    def _obey(self, order: Mapping[str, Any]) -> None:
        if order["do"] == "arm":
            shared = self._children.get(order["pid"])
            if shared is not None:
                shared.arm(order["step"], order["signal"], order["nth"])
            return
        shared = Shared()
        shared.arm(order["step"], order["signal"], order["nth"])
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = _live(order, shared)
            except BaseException as e:  # noqa: BLE001 - whatever it is, this is the end of the child, and is told
                traceback.print_exc()
                shared.say(f"{type(e).__name__}: {e}")
            finally:
                sys.stderr.flush()
                os._exit(code)
        self._children[pid] = shared
        self._say({"started": order["id"], "pid": pid})

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            shared = self._children.pop(pid)
            self._late.discard(pid)
            self._say({"ended": pid, "code": os.waitstatus_to_exitcode(status), **shared.report()})
            shared.close()

    @staticmethod
    def _say(words: Mapping[str, Any]) -> None:
        os.write(1, json.dumps(words).encode() + b"\n")


# --- its client ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How an operator ended: exit code (negative: signal), the step it was armed for if that fired, steps reached.

    ``last_words`` is the exception that ended it.
    """

    code: int
    fired: str
    steps: Mapping[str, int]
    last_words: str = ""


class Operator:
    """One operator process."""

    def __init__(self, pid: int, say: Callable[[Mapping[str, Any]], None]) -> None:
        self.pid = pid
        self.began = time.monotonic()
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.late = asyncio.Event()  # it has begun to end, and is alive and deaf since
        self._say = say
        # The server reaps it, so by the time of a kill the number may be another's; None: it has ended already.
        self._handle: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._handle = os.pidfd_open(pid)

    @property
    def alive(self) -> bool:
        """Whether its end was not told yet."""
        return not self.ended.done()

    def send(self, number: int) -> None:
        """Send a signal to exactly this process."""
        if self.alive and self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def arm(self, step: runner.Step, number: int, *, nth: int = 1) -> None:
        """Have it send itself a signal when it reaches a step for the nth time from now."""
        self._say({"do": "arm", "pid": self.pid, "step": step.value, "signal": number, "nth": nth})

    def disarm(self) -> None:
        """Have it live on."""
        self._say({"do": "arm", "pid": self.pid, "step": "", "signal": 0, "nth": 0})

    def _end(self, how: Exit) -> None:
        self.ended.set_result(how)
        if self._handle is not None:
            os.close(self._handle)


class Nursery:
    """Use it with ``async with``. ``env`` is for every operator, ``tuned`` constants of modules to set in them."""

    def __init__(
        self, env: Mapping[str, str], *, log: pathlib.Path, tuned: tuple[tuple[str, str, Any], ...] = ()
    ) -> None:
        self._env = dict(env)
        self._log = log
        self._tuned = tuned
        self._server: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._starts: dict[int, asyncio.Future[Operator]] = {}
        self._operators: dict[int, Operator] = {}
        self._count = 0

    async def __aenter__(self) -> "Nursery":
        """Start the server and wait until it has imported everything."""
        self._server = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.chaos.nursery",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=pathlib.Path(__file__).parents[2],
            env={**os.environ, **self._env},  # libraries look at some variables while they are imported
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._listen())
        async with asyncio.timeout(60):
            await self._ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the server and, with it, every operator."""
        assert self._server is not None
        assert self._server.stdin is not None
        assert self._reader is not None
        self._server.stdin.close()
        try:
            async with asyncio.timeout(10):
                await self._server.wait()
        except TimeoutError:
            self._server.kill()
            await self._server.wait()
        await self._reader

    async def start(self, **env: str) -> Operator:
        """Start an operator; it needs about a quarter of a second until it works."""
        self._count += 1
        started: asyncio.Future[Operator] = asyncio.get_running_loop().create_future()
        self._starts[self._count] = started
        order = {"do": "start", "id": self._count, "env": {**self._env, **env}, "log": str(self._log)}
        self._say({**order, "tuned": self._tuned, "step": "", "signal": 0, "nth": 0})
        async with asyncio.timeout(30):
            await started
        return started.result()

    def _say(self, words: Mapping[str, Any]) -> None:
        assert self._server is not None
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(words).encode() + b"\n")

    async def _listen(self) -> None:
        assert self._server is not None
        assert self._server.stdout is not None
        async for line in self._server.stdout:
            said = json.loads(line)
            if "started" in said:
                operator_process = self._operators[said["pid"]] = Operator(said["pid"], self._say)
                self._starts.pop(said["started"]).set_result(operator_process)
            elif "ended" in said:
                pid = said.pop("ended")
                self._operators.pop(pid)._end(Exit(**said))  # noqa: SLF001 - of this module
            elif "late" in said:
                if said["late"] in self._operators:
                    self._operators[said["late"]].late.set()
            else:
                self._ready.set()


if __name__ == "__main__":
    _Server().serve()
