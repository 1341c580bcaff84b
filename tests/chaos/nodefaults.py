"""What happens to a real node: each of these is done to the kubelet, to containerd or to containers of this machine."""

import asyncio
import functools
import random
import signal
from collections.abc import Callable

from agentrun_operator import runner
from hack import cluster
from tests.chaos import catalogue, faults, objects, realnode
from tests.chaos.catalogue import Kind
from tests.chaos.scene import Scene, until

_NODES = "/api/v1/nodes"
_GIVEN_UP_SECONDS = 150  # a silent node is NotReady after 50 s; pods of one that was deleted are removed after 60 s


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


async def agent_killed(scene: Scene, rng: random.Random) -> str:
    """kill -9 of the agent's process in its container."""
    pod = scene.victim("pods", rng, lambda pod: pod["status"].get("phase") == "Running")
    if pod is None:
        return ""
    scene.disturb(scene.run_of("pods", pod))
    name = str(pod["metadata"]["name"])
    return name if await asyncio.to_thread(realnode.kill_agent, name) else ""


async def given_up(scene: Scene, rng: random.Random, *, deleted: bool) -> str:
    """The kubelet is away for so long that Kubernetes removes the node's pods, or the node is deleted meanwhile."""
    del rng
    pod = scene.victim("pods", random.Random(0), lambda pod: pod["status"].get("phase") == "Running")  # noqa: S311 - any
    if pod is None:
        return ""
    doomed = set(scene.eye.now("pods"))
    _disturb_all(scene)
    async with scene.cluster.lock:
        await faults.finish(cluster.kill, scene.cluster.name, "kubelet")
        if deleted:
            await _delete_node(scene)
        went = await until(lambda: _is_doomed(scene, pod["metadata"]["uid"]), _GIVEN_UP_SECONDS)
        _disturb_all(scene)
        for uid in doomed:
            scene.eye.note("removes", uid=uid, what="a pod of a lost node")
        await faults.finish(_revive, scene.cluster.name, "node")
    return f"{pod['metadata']['name']}" if went else ""


def _is_doomed(scene: Scene, uid: str) -> bool:
    """Whether somebody has given the pod up."""
    pod = scene.eye.now("pods").get(uid)
    return pod is None or objects.is_deleted(pod)


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
    [node] = nodes["items"]
    await scene.api.ask("DELETE", f"{_NODES}/{node['metadata']['name']}")
    return str(node["metadata"]["name"])


def _revive(name: str, level: str) -> None:
    """Start what does not run, and do again what a cloud provider does for a new node."""
    cluster.up(name, level, agent_image=False)


def _disturb_starting(scene: Scene) -> None:
    """A container that is just being made fails when who makes it ends ("context canceled"), and so does its pod."""
    pods = scene.eye.now("pods").values()
    at_work = {scene.run_of("pods", pod) for pod in pods if pod["status"].get("phase") == "Running"}
    for run in scene.work.alive():
        if run["metadata"]["uid"] not in at_work:
            scene.disturb(str(run["metadata"]["uid"]))


def _disturb_all(scene: Scene) -> None:
    for run in scene.work.alive():
        scene.disturb(str(run["metadata"]["uid"]))


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
    kinds = [
        on_node(name="kubelet paused", do=paused, weight=3),
        on_node(name="kubelet stopped", do=functools.partial(away, component="kubelet", end=cluster.stop), weight=3),
        on_node(name="kubelet killed", do=functools.partial(away, component="kubelet", end=cluster.kill), weight=3),
        on_node(name="containerd killed", do=functools.partial(away, component="containerd", end=cluster.kill)),
        on_node(name="agent's process killed", do=agent_killed, weight=4),
        on_node(name="real pod deleted", do=functools.partial(faults.pod_deleted, force=False), weight=3),
        on_node(name="real pod removed by force", do=functools.partial(faults.pod_deleted, force=True), weight=3),
        on_node(name="node deleted", do=node_deleted),
        on_node(name="node given up", do=functools.partial(given_up, deleted=False), weight=0),
        on_node(name="node deleted for good", do=functools.partial(given_up, deleted=True), weight=0),
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
