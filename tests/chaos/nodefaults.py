"""What happens to a real node: each of these is done to the kubelet, to containerd or to containers of this machine."""

import asyncio
import functools
import random
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from agentrun_operator import runner
from hack import cluster
from tests.chaos import catalogue, faults, kubelet, objects, realnode
from tests.chaos.catalogue import Kind
from tests.chaos.scene import Scene, until

_PATIENCE_SECONDS = 30
_GIVEN_UP = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
_NODES = "/api/v1/nodes"
_GIVEN_UP_SECONDS = 150  # a silent node is NotReady after 50 s; pods of one that was deleted are removed after 60 s


Fault = Callable[[Scene, random.Random], Awaitable[str]]


async def paused(scene: Scene, rng: random.Random) -> str:
    """SIGSTOP to the kubelet for a while."""
    seconds = rng.uniform(3, 12)
    async with scene.cluster.lock:
        await faults.finish(cluster.send, scene.cluster.name, "kubelet", signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            cluster.send(scene.cluster.name, "kubelet", signal.SIGCONT)
    return f"kubelet, {seconds:.0f} s"


async def away(scene: Scene, rng: random.Random, *, component: str, end: Callable[[str, str], None]) -> str:
    """A component of the node ends and is started again after a while; agents that are at work go on meanwhile."""
    seconds = rng.uniform(2, 12) if component == "kubelet" else rng.uniform(0, 3)
    async with scene.cluster.lock:
        _disturb_starting(scene)
        await faults.finish(end, scene.cluster.name, component)
        _disturb_starting(scene)
        await asyncio.sleep(seconds)
        await faults.finish(cluster.start, scene.cluster.name, component)
    return f"{component}, {seconds:.0f} s"


async def when_one_runs(scene: Scene, rng: random.Random, *, do: Fault) -> str:
    """A fault that needs a pod at work, which takes a while on a real node."""
    await until(lambda: scene.candidates("pods", _is_running), _PATIENCE_SECONDS)
    return await do(scene, rng)


def _is_running(pod: Mapping[str, Any]) -> bool:
    return bool(pod["status"].get("phase") == "Running")


async def agent_killed(scene: Scene, rng: random.Random) -> str:
    """kill -9 of the agent's process in its container."""
    pod = scene.victim("pods", rng, _is_running)
    if pod is None:
        return ""
    scene.disturb(scene.run_of("pods", pod))
    name = str(pod["metadata"]["name"])
    return name if await asyncio.to_thread(realnode.kill_agent, name) else ""


async def given_up(scene: Scene, rng: random.Random, *, deleted: bool) -> str:
    """The kubelet is away for so long that Kubernetes removes the node's pods, or the node is deleted meanwhile."""
    pod = scene.victim("pods", rng, _is_running)
    if pod is None:
        return ""
    doomed = set(scene.eye.now("pods"))
    _disturb_all(scene)
    async with scene.cluster.lock:
        await faults.finish(cluster.kill, scene.cluster.name, "kubelet")
        if deleted:
            await _delete_node(scene)
        went = await until(lambda: _are_given_up(scene, doomed), _GIVEN_UP_SECONDS)
        _disturb_all(scene)
        for uid in doomed:
            scene.eye.note("removes", uid=uid, what="a pod of a lost node")
        await faults.finish(_revive, scene.cluster.name, "node")
    return f"{pod['metadata']['name']}" if went else ""


def _are_given_up(scene: Scene, uids: Iterable[str]) -> bool:
    """Whether Kubernetes says of one of these pods that it was given up with its node."""
    conditions = (c for uid in uids for c in scene.eye.ever("pods")[uid]["status"].get("conditions") or ())
    return any(c["type"] == "DisruptionTarget" and c.get("reason") in _GIVEN_UP for c in conditions)


async def node_deleted(scene: Scene, rng: random.Random) -> str:
    """Somebody deletes the Node; the kubelet is started again and makes it anew, before anybody has missed it."""
    _disturb_all(scene)
    async with scene.cluster.lock:
        name = await _delete_node(scene)
        await asyncio.sleep(rng.uniform(0, 5))
        await faults.finish(cluster.kill, scene.cluster.name, "kubelet")
        await faults.finish(_revive, scene.cluster.name, "node")
    return name


async def _delete_node(scene: Scene) -> str:
    _, nodes = await scene.api.ask("GET", _NODES)
    [node] = [node for node in nodes["items"] if node["metadata"]["name"] != kubelet.NODE]
    await scene.api.ask("DELETE", f"{_NODES}/{node['metadata']['name']}")
    return str(node["metadata"]["name"])


def _revive(name: str, level: str) -> None:
    """Start what does not run, and do again what a cloud provider does for a new node."""
    cluster.up(name, level, agent_image=False)


def _disturb_starting(scene: Scene) -> None:
    """A container that is just being made fails when who makes it ends ("context canceled"), and so does its pod."""
    at_work = {scene.run_of("pods", pod) for pod in scene.eye.now("pods").values() if _is_running(pod)}
    for run in _started(scene) - at_work:
        scene.disturb(run)


def _disturb_all(scene: Scene) -> None:
    for run in _started(scene):
        scene.disturb(run)


def _started(scene: Scene) -> set[str]:
    """The runs whose Job may have a pod."""
    return {objects.owner(job) for job in scene.eye.now("jobs").values() if objects.is_live(job)}


_KILLED_AT = (
    runner.Step.SECRET_CREATED,
    runner.Step.JOB_HELD,
    runner.Step.JOB_RECORDED,
    runner.Step.JOB_STARTED,
    runner.Step.STATUS_WRITTEN,
    runner.Step.LOG_DRAINED,
    runner.Step.STOP_RECORDED,
    runner.Step.RUN_ENDED,
)


def everything() -> tuple[Kind, ...]:
    """All kinds of faults of the round with a real node."""
    on_node = functools.partial(Kind, lane=catalogue.CLUSTER)

    def needing(do: Callable[..., Awaitable[str]], **options: bool) -> Fault:
        return functools.partial(when_one_runs, do=functools.partial(do, **options))

    kinds = [
        on_node(name="kubelet paused", do=paused, weight=3),
        on_node(name="kubelet stopped", do=functools.partial(away, component="kubelet", end=cluster.stop), weight=3),
        on_node(name="kubelet killed", do=functools.partial(away, component="kubelet", end=cluster.kill), weight=3),
        on_node(name="containerd killed", do=functools.partial(away, component="containerd", end=cluster.kill)),
        on_node(name="agent's process killed", do=needing(agent_killed), weight=4),
        on_node(name="real pod deleted", do=needing(faults.pod_deleted, force=False), weight=3),
        on_node(name="real pod removed by force", do=needing(faults.pod_deleted, force=True), weight=3),
        on_node(name="node deleted", do=node_deleted),
        on_node(name="node given up", do=needing(given_up, deleted=False), weight=0),
        on_node(name="node deleted for good", do=needing(given_up, deleted=True), weight=0),
    ]
    kinds += [
        Kind(
            name=f"SIGKILL at {step.value}, real pods",
            lane=catalogue.OPERATOR,
            do=functools.partial(faults.at_step, step=step, number=signal.SIGKILL),
        )
        for step in _KILLED_AT
    ]
    return tuple(kinds)
