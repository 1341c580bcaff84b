"""A fast stand-in for kubelet, node and agents: pod states through the API, the log on the shared volume.

It goes past the proxy and the operator: what happens to its pods is decided by the scripts of their runs, by whoever
deletes them, and by the seed. Like the real thing it prepares the log and its owner file before the agent starts, does
not start the agent of one attempt twice, ends it when its pod is being deleted, and then lets go of the pod.
"""

import asyncio
import contextlib
import datetime
import io
import pathlib
import random
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from tests.chaos import api, scripts

NODE = "chaos-node"
FAILED = "kubelet-failed"  # the note of an error of its own
_NODE = f"/api/v1/nodes/{NODE}"
_HEARTBEAT_SECONDS = 10
_RETRY_SECONDS = 0.1
_STRATEGIC = "application/strategic-merge-patch+json"
_KILLED = 143
_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError, api.UnreachableError)
_UNANSWERED = 0


async def be_a_node(client: api.Api) -> None:
    """A node that is there, is ready, and that no scheduler chooses."""
    taint = {"key": "chaos.test/stand-in", "effect": "NoSchedule"}
    await client.ask("POST", "/api/v1/nodes", {"metadata": {"name": NODE}, "spec": {"taints": [taint]}})
    while True:
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "",
            "lastHeartbeatTime": _now(),
        }
        with contextlib.suppress(api.UnreachableError):
            patch = {"status": {"conditions": [ready], "capacity": {"pods": "1000"}}}
            await client.ask("PATCH", f"{_NODE}/status", patch, content=_STRATEGIC)
        await asyncio.sleep(_HEARTBEAT_SECONDS)


class Kubelet:
    """Use it with ``async with``. ``note`` is told of agents that start and end; ``scripts`` by run id and attempt."""

    def __init__(
        self, client: api.Api, namespace: str, *, volume: pathlib.Path, note: Callable[..., None], seed: str
    ) -> None:
        self.scripts: dict[str, tuple[scripts.Script, ...]] = {}
        self._api = client
        self._namespace = namespace
        self._volume = volume
        self._note = note
        self._rng = random.Random(seed)  # noqa: S311 - replayable, guards nothing
        self._pods: dict[str, _Pod] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Kubelet":
        """Make the node and begin."""
        self._tasks = [asyncio.create_task(be_a_node(self._api)), asyncio.create_task(self._follow())]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End everything."""
        for task in (*self._tasks, *(pod.task for pod in self._pods.values() if pod.task)):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self, run_id: str, agent: str, attempts: tuple[scripts.Script, ...]) -> Mapping[str, Any]:
        """Have the agent of a run do this; what the AgentRun must say for it: nothing."""
        del agent
        self.scripts[run_id] = attempts
        return {}

    def lose(self, uid: str) -> bool:
        """The pod's node is gone, and its agent with it; nothing will be reported. False if there is no such pod."""
        pod = self._pods.get(uid)
        if pod is None:
            return False
        pod.lost = True
        pod.vanish()
        return True

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(*_ERRORS):
                version, items = await self._api.list("pods", self._namespace)
                listed = {item["metadata"]["uid"] for item in items}
                for item in items:
                    self._see(item)
                for uid in self._pods.keys() - listed:
                    self._gone(uid)
                async for event in self._api.watch("pods", self._namespace, version):
                    if event["type"] == "ERROR":
                        break
                    if event["type"] == "DELETED":
                        self._gone(event["object"]["metadata"]["uid"])
                    elif event["type"] in {"ADDED", "MODIFIED"}:
                        self._see(event["object"])
            await asyncio.sleep(_RETRY_SECONDS)

    def _see(self, body: Mapping[str, Any]) -> None:
        meta = body["metadata"]
        pod = self._pods.get(meta["uid"])
        if pod is None:
            labels = meta.get("labels") or {}
            attempts = self.scripts.get(labels.get("paperclip.io/run-id", ""), ())
            if not attempts or body["status"].get("phase") in {"Succeeded", "Failed"}:
                return
            attempt = min(int(labels.get("paperclip.io/attempt") or 0), len(attempts) - 1)
            pod = self._pods[meta["uid"]] = _Pod(self, body, attempts[attempt], random.Random(self._rng.random()))  # noqa: S311 - see above
            pod.task = asyncio.create_task(pod.play())
        if meta.get("deletionTimestamp"):
            pod.asked_to_end.set()

    def _gone(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        if pod is not None:
            pod.vanish()

    # --- for its pods --------------------------------------------------------------------------------------------

    async def insist(self, method: str, pod: "_Pod", body: object, sub: str = "", content: str = _STRATEGIC) -> bool:
        """Ask until it is done, as a kubelet does; False if there is no such pod any more.

        A binding that is refused as a conflict was made: its first answer was lost.
        """
        told = None
        while True:
            status, answer = await self._ask(method, api.path("pods", self._namespace, pod.name, sub), body, content)
            if status == 404 or 200 <= status < 300 or (sub == "binding" and status == 409):
                return status != 404
            if status != told:
                self.tell("kubelet-refused", pod, status=status, why=answer.get("message", ""))
                told = status
            await asyncio.sleep(_RETRY_SECONDS)

    async def has_secret(self, name: str) -> bool:
        """Whether a volume of this Secret could be mounted."""
        status, _ = await self._ask("GET", api.path("secrets", self._namespace, name), None, api.JSON)
        return status == 200

    async def _ask(self, method: str, where: str, body: object, content: str) -> tuple[int, dict[str, Any]]:
        try:
            return await self._api.ask(method, where, body, content=content)
        except api.UnreachableError as e:
            return _UNANSWERED, {"message": str(e)}

    def local(self, path: str) -> pathlib.Path:
        """Where this machine sees a path of the shared volume."""
        return self._volume / pathlib.PurePosixPath(path).relative_to("/paperclip")

    def tell(self, word: str, pod: "_Pod", **more: object) -> None:
        """Tell of an agent's start or end, or of what keeps the stand-in from its work."""
        self._note(word, run=pod.run, job=pod.job, agent=pod.agent, pod=pod.uid, **more)


class _Pod:
    """One pod on the node."""

    def __init__(self, node: Kubelet, body: Mapping[str, Any], script: scripts.Script, rng: random.Random) -> None:
        meta, spec = body["metadata"], body["spec"]
        labels = meta["labels"]
        [prepare] = [init for init in spec["initContainers"] if init["name"] == "prepare"]
        self.task: asyncio.Task[None] | None = None
        self.asked_to_end = asyncio.Event()
        self.lost = False
        self.name, self.uid = meta["name"], meta["uid"]
        self.job = labels["batch.kubernetes.io/job-name"]
        self.agent = f"{labels['paperclip.io/company-id']}/{labels['paperclip.io/agent-id']}"
        self._owner: str = prepare["command"][5]
        self.run = self._owner.split()[1]
        self._node = node
        self._script = script
        self._rng = rng
        self._log = node.local(prepare["command"][4])
        self._owner_file = pathlib.Path(str(self._log).removesuffix(".ndjson") + ".owner")
        self._secrets = [volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume]
        self._bound = bool(spec.get("nodeName"))
        self._at_work = False
        self._printed = self._bytes = 0  # lines, and what they are long

    def vanish(self) -> None:
        """The pod is not there any more: whatever ran in it is ended."""
        if self.task is not None:
            self.task.cancel()
        self._stop_work()

    def _stop_work(self) -> None:
        if self._at_work:
            self._at_work = False
            self._node.tell("agent-ended", self, lines=self._printed)

    async def play(self) -> None:
        """The pod's whole life on the node."""
        try:
            await self._play()
        except Exception as e:  # noqa: BLE001 - a pod that nobody plays would be taken for one that the operator left
            self._node.tell(FAILED, self, name=self.name, why=f"{type(e).__name__}: {e}")

    async def _play(self) -> None:
        if not self._bound:
            target = {"metadata": {"name": self.name}, "target": {"kind": "Node", "name": NODE}}
            if not await self._node.insist("POST", self, target, "binding", api.JSON):
                return
        exit_code = await self._live()
        self._stop_work()
        if exit_code is not None:
            await self._report(_ended(exit_code, self._message()), "Failed" if exit_code else "Succeeded")
        await self.asked_to_end.wait()
        if exit_code is None:
            await self._report({}, "Failed")
        await self._node.insist(
            "DELETE", self, {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}}, content=api.JSON
        )

    async def _live(self) -> int | None:
        """Exit code of the agent, None if it was never started."""
        if self._script.trouble:
            waiting = {"waiting": {"reason": self._script.trouble, "message": "told by the stand-in"}}
            await self._report(waiting, "Pending")
            await self.asked_to_end.wait()
            return None
        while not all([await self._node.has_secret(name) for name in self._secrets]):
            if await self._told_to_end(0.5):
                return None
        if await self._told_to_end(self._rng.uniform(0, 0.2)):
            return None
        try:
            if not self._prepare():
                await self._fail_init()
                return None
            with self._owner_file.open("a") as file:
                file.write("started\n")
            log = self._log.open("ab", buffering=0)  # as a process has it, whoever removes the file meanwhile
        except OSError as e:  # an operator that has let go of the run has removed the agent's last log, and its folder
            self._node.tell("container-failed", self, why=f"{type(e).__name__}: {e}")
            return 1
        with log:
            self._at_work = True
            self._node.tell("agent-started", self)
            await self._report({"running": {"startedAt": _now()}}, "Running", prepared=True)
            return await self._work(log)

    async def _work(self, log: io.RawIOBase) -> int:
        """Print in a few pieces, then exit."""
        lines = self._script.lines
        pause = self._rng.uniform(*self._script.seconds) / len(lines)
        for line in lines:
            if await self._told_to_end(pause):
                return _KILLED
            self._bytes += log.write(line) or 0
            self._printed += 1
        if self._script.hangs:
            await self.asked_to_end.wait()
            return _KILLED
        return self._script.exit_code

    def _prepare(self) -> bool:
        """What the init container does; False if the agent was started before."""
        for _ in range(3):  # an operator that removes the agent's last log removes its folder, too
            with contextlib.suppress(FileNotFoundError):
                self._log.parent.mkdir(parents=True, exist_ok=True)
                self._owner_file.touch()
                break
        lines = self._owner_file.read_text().splitlines()
        if lines:
            first, *more = lines
            if more[:1] == ["started"] and self._owner in {first, *(line.removeprefix("was ") for line in more[1:])}:
                return False
        if self._log.exists():
            self._log.replace(f"{self._log}.previous")
        self._log.touch()
        self._owner_file.write_text(self._owner + "\n")
        return True

    async def _fail_init(self) -> None:
        message = "The agent of this run was started before, in another pod; it is not started twice."
        status = {"initContainerStatuses": [_status("prepare", _ended(1, message))], "phase": "Failed"}
        await self._node.insist("PATCH", self, {"status": status}, "status")
        await self.asked_to_end.wait()

    async def _report(self, state: Mapping[str, Any], phase: str, *, prepared: bool = False) -> None:
        status: dict[str, Any] = {"phase": phase}
        if state:
            status["containerStatuses"] = [_status("claude", state)]
        if prepared:
            status["initContainerStatuses"] = [_status("prepare", _ended(0, ""))]
        await self._node.insist("PATCH", self, {"metadata": {"uid": self.uid}, "status": status}, "status")

    def _message(self) -> str:
        return f"stdoutBytes={self._bytes} stderrBytes=0\n"

    async def _told_to_end(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.asked_to_end.wait()
        return self.asked_to_end.is_set()


def _status(name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "image": "example.test/agent:1",
        "imageID": "",
        "ready": "running" in state,
        "restartCount": 0,
        "state": {kind: state.get(kind) for kind in ("waiting", "running", "terminated")},
    }


def _ended(exit_code: int, message: str) -> dict[str, Any]:
    reason = "Error" if exit_code else "Completed"
    now = _now()
    return {
        "terminated": {"exitCode": exit_code, "startedAt": now, "finishedAt": now, "message": message, "reason": reason}
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
