"""``python -m hack.bench.tailing``: how late a line that an agent wrote is counted, seen from where it is counted.

The operator's status is no place to measure that: it gathers for seconds on purpose. So this process follows the logs
with the operator's own ``Tailer`` and looks every 5 ms at the views of a few of them; a line counts as counted when the
view says so. What is measured is up to 5 ms too long, never too short. In one of two ways:

* ``alone``: a ``Tailer`` and nothing else. What reading many files costs, without the operator's own work beside it.
* ``operator``: the whole operator, as the command starts it, in this process; its ``Tailer`` is the same class, only
  that each tail is noted when it begins. The looking costs it about one hundredth of a core, so CPU and memory of the
  operator are measured elsewhere.

It goes on until SIGTERM, then writes what it has seen: a line for each look at which a view had changed.
"""

import argparse
import asyncio
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from agentrun_operator import settings, tail
from agentrun_operator.cli import operator
from hack import playground
from hack.bench import writer

LOOK_SECONDS = 0.005


class Lookout(threading.Thread):
    """Looks at the tails of some logs until it is told to end; ``seen`` is in the form of the writer's journal."""

    def __init__(self, logs: Collection[str]) -> None:
        super().__init__(name="lookout", daemon=True)
        self._logs = frozenset(logs)
        self._tails: dict[str, tail.LogTail] = {}
        self._ended = threading.Event()
        self.seen: list[tuple[str, int, float]] = []

    def note(self, path: str, followed: tail.LogTail) -> None:
        """A log is being followed; from any thread."""
        if path in self._logs:
            self._tails[path] = followed

    def run(self) -> None:
        """Look, again and again."""
        known: dict[str, int] = {}
        while not self._ended.wait(LOOK_SECONDS):
            for log, followed in tuple(self._tails.items()):
                size = followed.view().transcript.bytes
                if known.get(log) != size:
                    known[log] = size
                    self.seen.append((log, size, time.monotonic()))

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()

    def write(self, file: pathlib.Path) -> None:
        """Keep what was seen."""
        file.write_text("".join(writer.entry(*seen) for seen in self.seen))


def start(
    way: str, logs: Sequence[pathlib.Path], seen: pathlib.Path, *, sample: int, env: Mapping[str, str] | None = None
) -> playground.Process:
    """Start ``alone`` or ``operator``. What it sees is in ``seen`` when it has ended, what it says in a file beside."""
    paths = seen.with_suffix(".paths")
    paths.write_text("".join(f"{log}\n" for log in logs))
    command = [sys.executable, "-m", "hack.bench.tailing", way, "--paths", str(paths), "--sample", str(sample)]
    return playground.Process.start([*command, "--seen", str(seen)], log=seen.with_suffix(".log"), env=env)


def _follow_alone(logs: Sequence[str], lookout: Lookout) -> int:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    tailer = tail.Tailer(settings.Settings())
    for log in logs:
        stderr = log.removesuffix(".ndjson") + ".stderr"
        lookout.note(log, tailer.follow(log, stderr_path=stderr, on_drained=lambda: None))
    print("looking", flush=True)  # from now on, a signal is not the end of what was seen
    ended.wait()
    tailer.close()
    return 0


def _operate(_logs: Sequence[str], lookout: Lookout) -> int:
    class NotingTailer(tail.Tailer):
        """The operator's own, and the lookout is told."""

        def follow(self, path: str, **wishes: Any) -> tail.LogTail:
            followed = super().follow(path, **wishes)
            lookout.note(path, followed)
            return followed

    tail.Tailer = NotingTailer  # type: ignore[misc]  # the operator has no place to hand in another one
    return asyncio.run(operator.operate(settings.from_environ(os.environ)))


_WAYS: dict[str, Callable[[Sequence[str], Lookout], int]] = {"alone": _follow_alone, "operator": _operate}


def main() -> int:
    parser = argparse.ArgumentParser(prog="hack.bench.tailing", description=__doc__.splitlines()[0])
    parser.add_argument("way", choices=sorted(_WAYS))
    parser.add_argument("--paths", type=pathlib.Path, required=True, help="a file that names one log in each line")
    parser.add_argument("--sample", type=int, default=100, help="how many of them are looked at")
    parser.add_argument("--seen", type=pathlib.Path, required=True, help="where to write what was seen")
    options = parser.parse_args()
    logs = options.paths.read_text().splitlines()
    lookout = Lookout({logs[number] for number in writer.pick(len(logs), options.sample)})
    lookout.start()
    try:
        return _WAYS[options.way](logs, lookout)
    finally:
        lookout.end()
        lookout.write(options.seen)


if __name__ == "__main__":
    sys.exit(main())
