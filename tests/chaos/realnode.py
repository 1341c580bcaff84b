"""A real node with a real kubelet: pods are real, and of the agent only the CLI is a stand-in (fake-claude.sh).

The stand-ins write into one ledger on the shared volume when they begin and end. One that is killed cannot; so whenever
another one of its agent begins, the machine's processes are looked at: the kernel is the witness of who is at work.
"""

import asyncio
import contextlib
import os
import pathlib
import random
import shutil
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from hack import playground
from tests.chaos import api, kubelet, objects, observer, scripts

_IMAGE = "docker.io/library/busybox:1.36"
_STAND_IN = pathlib.Path(__file__).with_name("fake-claude.sh")
_LOOK_SECONDS = 0.05
_EVICT_SECONDS = 5  # after the node was given up, instead of five minutes


class RealNode:
    """Use it with ``async with``; takes the place of ``kubelet.Kubelet``."""

    def __init__(self, client: api.Api, *, volume: pathlib.Path, eye: observer.Observer, seed: str) -> None:
        self._api = client
        self._folder = volume / "stand-in"
        self._eye = eye
        self._rng = random.Random(seed)  # noqa: S311 - replayable, guards nothing
        self._at_work: dict[str, dict[str, Mapping[str, str]]] = {}  # by agent and pod name
        self._read = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "RealNode":
        """Lay out on the volume what the stand-ins need."""
        self._folder.mkdir()
        for scenario in {script.scenario for script in scripts.SCRIPTS.values()}:
            shutil.copy(scripts.TRANSCRIPTS / scenario / "stdout.ndjson", self._folder / scenario)
        shutil.copy(_STAND_IN, self._folder / "claude")
        (self._folder / "claude").chmod(0o755)
        (self._folder / "ledger").touch()
        for path in (self._folder.parent, self._folder, *self._folder.iterdir()):
            os.chown(path, playground.AGENT_UID, playground.AGENT_UID)
        # Of a cluster whose nodes are all lost Kubernetes gives up none: it takes itself for what is cut off.
        second = kubelet.be_a_node(self._api)
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(second)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Look no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self, run_id: str, agent: str, attempts: tuple[scripts.Script, ...]) -> Mapping[str, Any]:
        """What the AgentRun must say for its agent to do this."""
        del run_id
        [script] = attempts
        env = {
            "PATH": "/paperclip/stand-in:/bin:/usr/bin",
            "AGENT": self._mark(agent),
            "SCENARIO": script.scenario,
            "PAUSE": f"{self._rng.uniform(*script.seconds) / len(script.lines):.2f}",
            "MUTE": "1" if script.mute else "",
            "HANGS": "1" if script.hangs else "",
            "CODE": str(script.exit_code),
        }
        toleration = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _EVICT_SECONDS}
        return {
            "job": {
                "image": _IMAGE,
                "env": [{"name": name, "value": value} for name, value in env.items()],
                "resources": {"requests": {"cpu": "1m", "memory": "8Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
                "tolerations": [
                    {**toleration, "key": f"node.kubernetes.io/{trouble}"} for trouble in ("unreachable", "not-ready")
                ],
            }
        }

    def _mark(self, agent: str) -> str:
        """What no agent of another suite on this machine has."""
        return f"{self._folder}:{agent}"

    async def _follow(self) -> None:
        while True:
            lines = (self._folder / "ledger").read_text().splitlines()
            for line in lines[self._read :]:
                word, pod, *printed = line.split()
                await self._tell(word, pod, *map(int, printed))
            self._read = len(lines)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _tell(self, word: str, name: str, printed: int = 0) -> None:
        pod = await self._pod(name)
        job = self._eye.ever("jobs")[objects.job_of(pod)]
        said = {
            "run": objects.owner(job),
            "job": str(job["metadata"]["name"]),
            "agent": objects.agent_of(job),
            "pod": str(pod["metadata"]["uid"]),
        }
        at_work = self._at_work.setdefault(said["agent"], {})
        if word == "end":
            if at_work.pop(name, None):
                self._eye.note("agent-ended", **said, lines=printed)
            return
        there = await asyncio.to_thread(pods_at_work, self._mark(said["agent"].partition("/")[2]))
        for gone in at_work.keys() - there:
            self._eye.note("agent-ended", **at_work.pop(gone))
        at_work[name] = said
        self._eye.note("agent-started", **said)

    async def _pod(self, name: str) -> Mapping[str, Any]:
        """The pod that a stand-in says it is in; the ledger may be faster than the watch."""
        while True:
            for pod in self._eye.ever("pods").values():
                if pod["metadata"]["name"] == name:
                    return pod
            await asyncio.sleep(_LOOK_SECONDS)


def _stand_ins() -> Iterator[tuple[int, Mapping[str, str]]]:
    """The stand-ins that live on this machine, with their environment."""
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if len(words) < 2 or words[1] != b"/paperclip/stand-in/claude":
                continue
            pairs = (pair.partition("=") for pair in (entry / "environ").read_text(errors="replace").split("\0"))
            yield int(entry.name), {name: value for name, _, value in pairs}
        except OSError:
            continue  # it has just ended


def pods_at_work(mark: str) -> set[str]:
    """The pods in which a stand-in with this mark lives."""
    return {env.get("HOSTNAME", "") for _pid, env in _stand_ins() if env.get("AGENT") == mark}


def kill_agent(pod: str) -> bool:
    """SIGKILL to the agent in a pod, as the kernel does it when memory is short. False if there is none."""
    victims = [pid for pid, env in _stand_ins() if env.get("HOSTNAME") == pod]
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(victims)
