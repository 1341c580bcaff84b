"""The world as the API server shows it: two mirrors for each namespace, of Jobs and of their pods.

First all Jobs are seen, then all pods, and only then is a run judged: what is not there then, does not exist. A pod
whose Job vanished unseen, in a gap of the watch, must be known before anybody takes its agent for free; so after such a
gap the pods are listed first.
"""

import asyncio
import dataclasses
from collections.abc import Callable

from agentrun_operator import facts, kube
from agentrun_operator.runner.world import World

Owns = Callable[[str], bool]
Heard = Callable[[], None]


class _Jobs:
    """All Jobs of a namespace ("" = everywhere), into the world."""

    def __init__(self, world: World, pods: kube.Source[facts.PodFacts], namespace: str, owns: Owns) -> None:
        self._world = world
        self._pods = pods
        self._owns = owns
        self._namespace = namespace
        self.seen = asyncio.Event()

    async def listed(self, items: list[facts.JobFacts], version: str) -> None:
        if self.seen.is_set():
            pods, at = await self._pods.list()
            self._world.listed_pods(self._namespace, [pod for pod in pods if self._owns(pod.agent_key)], at)
        self._world.listed_jobs(self._namespace, [job for job in items if self._owns(job.agent_key)], version)
        self.seen.set()

    def changed(self, item: facts.JobFacts, *, gone: bool) -> None:
        if self._owns(item.agent_key):
            self._world.watch_shows_job(dataclasses.replace(item, gone=True) if gone else item)

    def reached(self, version: str) -> None:
        self._world.jobs_shown(self._namespace, version)


class _Pods:
    """All pods of their Jobs."""

    def __init__(self, world: World, namespace: str, owns: Owns) -> None:
        self._world = world
        self._owns = owns
        self._namespace = namespace
        self.seen = asyncio.Event()

    async def listed(self, items: list[facts.PodFacts], version: str) -> None:  # noqa: RUF029 - as the protocol has it
        self._world.pods_shown(self._namespace, "")  # after a gap, whatever the list shows is taken
        self._world.listed_pods(self._namespace, [pod for pod in items if self._owns(pod.agent_key)], version)
        self.seen.set()

    def changed(self, item: facts.PodFacts, *, gone: bool) -> None:
        if self._owns(item.agent_key):
            self._world.watch_shows_pod(dataclasses.replace(item, gone=True) if gone else item)

    def reached(self, version: str) -> None:
        self._world.pods_shown(self._namespace, version)


def _unheard(_resource: str, _namespace: str) -> Heard:
    return lambda: None


async def begin(
    client: kube.KubeClient,
    world: World,
    namespaces: tuple[str, ...],
    owns: Owns = lambda _key: True,
    *,
    watch: Callable[[str, str], Heard] = _unheard,
) -> list[asyncio.Task[None]]:
    """Mirror Jobs and pods in ``namespaces`` ("" = everywhere). Returns what keeps them up, when all were seen once.

    ``owns`` says by its key whether an agent is this operator's; what other shards look after is passed over.
    ``watch`` says, by resource and namespace, whom to tell that something was heard.
    """
    tasks: list[asyncio.Task[None]] = []
    try:
        for namespace in namespaces:
            jobs, pods = _Jobs(world, client.all_pods(namespace), namespace, owns), _Pods(world, namespace, owns)
            of_jobs = kube.Reflector(client.all_jobs(namespace), jobs, what="Jobs", heard=watch("jobs", namespace))
            tasks.append(asyncio.create_task(of_jobs.run()))
            await jobs.seen.wait()
            of_pods = kube.Reflector(client.all_pods(namespace), pods, what="pods", heard=watch("pods", namespace))
            tasks.append(asyncio.create_task(of_pods.run()))
            await pods.seen.wait()
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        raise
    return tasks
