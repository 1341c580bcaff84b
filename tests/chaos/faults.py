"""Everything that can go wrong, by name: each is a function that makes it happen, and says what it hit.

An empty answer means that it did not take effect (no victim was there, no request came by), and it is not counted.
What there is, and when it comes, is in ``catalogue``.
"""

import asyncio
import random
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from agentrun_operator import runner
from hack import cluster
from tests.chaos import api, kubelet, load, objects, rules, scripts
from tests.chaos.scene import Scene, until

_ARM_SECONDS = 12
_RULE_SECONDS = 4
_VICTIM_SECONDS = 6
_SHOWN_SECONDS = 0.5  # until the watch shows a run that was just being created


# --- the operator ----------------------------------------------------------------------------------------------------


async def at_step(scene: Scene, rng: random.Random, *, step: runner.Step, number: signal.Signals) -> str:
    """End the operator when it reaches a step."""
    if step in {runner.Step.JOB_ADOPTED, runner.Step.ADOPTION_RECORDED}:
        return await _at_adoption(scene, rng, step, number)
    operator = await scene.keeper.working()
    nth = rng.choice((1, 1, 2))
    scene.keeper.arm(operator, step, number, nth=nth)
    if step in _PROVOKED:
        scene.background(_provoke(scene, step, nth))
    done, _ = await asyncio.wait({operator.ended}, timeout=_ARM_SECONDS)
    if not done:
        scene.keeper.disarm(operator)
        done, _ = await asyncio.wait({operator.ended}, timeout=0.1)
        if not done:
            return ""
    return f"{step.value} #{nth}" if (await operator.ended).fired else ""


_PROVOKED = frozenset(
    {runner.Step.RIVAL_CANCELLED, runner.Step.ATTEMPT_ENDED, runner.Step.STOP_RECORDED, runner.Step.JOB_DELETED}
)


async def _provoke(scene: Scene, step: runner.Step, times: int) -> None:
    """Create runs that make the operator take a step that is rare."""
    for number in range(times):
        agent = f"p{scene.work.created}"
        match step:
            case runner.Step.RIVAL_CANCELLED:
                may = (scripts.CANCELLED,)
                await scene.work.create(load.Wish(agent=agent, attempts=("slow",), may_end=may))
                replace = {"concurrencyPolicy": "Replace"}
                await scene.work.create(load.Wish(agent=agent, attempts=("fine",), spec=replace, may_end=may))
            case runner.Step.ATTEMPT_ENDED:
                await scene.work.create(scene.work.retrying(agent))
            case _:
                await scene.work.create(load.Wish(agent=agent, attempts=(("silent", "lingering")[number % 2],)))


async def _at_adoption(scene: Scene, rng: random.Random, step: runner.Step, number: signal.Signals) -> str:
    """Orphan a live Job while no operator is there, and make a run that may adopt it; it may be deleted right then."""
    agent = f"o{scene.work.created}"
    spec = {"taskId": f"task-{agent}"}
    uid = await scene.work.create(load.Wish(agent=agent, attempts=("slow",), spec=spec, may_end=(scripts.CANCELLED,)))
    scene.disturb(uid)

    def job() -> Mapping[str, Any] | None:
        mine = (j for j in scene.eye.now("jobs").values() if objects.owner(j) == uid and objects.is_live(j))
        return next(mine, None)

    if not await until(job, _ARM_SECONDS):
        return ""
    async with scene.keeper.down(then=(step, number)):
        run, live = scene.eye.now("agentruns").get(uid), job()
        if run is None or live is None or objects.is_deleted(run):
            return ""
        name = run["metadata"]["name"]
        where = scene.path("agentruns", name)
        await scene.api.ask("PATCH", where, {"metadata": {"finalizers": None}}, content=api.MERGE)
        await scene.api.ask("DELETE", where, {"propagationPolicy": "Orphan"})
        if not await until(lambda: uid not in scene.eye.now("agentruns"), 10):
            return ""
        heir = await scene.work.create(load.Wish(agent=agent, attempts=("slow",), spec=spec))
        scene.disturb(heir)
    operator = await scene.keeper.working()
    done, _ = await asyncio.wait({operator.ended}, timeout=_ARM_SECONDS)
    if not done:
        scene.keeper.disarm(operator)
        return ""
    if not (await operator.ended).fired:
        return ""
    if rng.choice((True, False)):
        await _delete_job(scene, live, rng.choice(("Foreground", "Background")))
    return f"{step.value} #1"


async def at_request(scene: Scene, rng: random.Random, *, verb: str, resource: str, when: str) -> str:
    """kill -9 just before a request reaches the API server, or when it was carried out and not answered yet."""
    operator = await scene.keeper.working()
    hit: list[rules.Request] = []

    def kill(request: rules.Request) -> None:
        hit.append(request)
        scene.keeper.send(operator, signal.SIGKILL)

    rule = rules.Rule(
        effect=rules.Effect.CALL,
        verbs=frozenset({verb}),
        resources=frozenset({resource}),
        skip=rng.choice((0, 0, 1)),
        before=kill if when == "before" else None,
        after=kill if when == "after" else None,
    )
    async with scene.rule(rule):
        await until(lambda: hit or not operator.alive, _ARM_SECONDS)
    if not hit:
        return ""
    await scene.keeper.ended(operator)
    return f"{hit[0]} {hit[0].name}"


async def stopped_for_a_while(scene: Scene, rng: random.Random) -> str:
    """SIGSTOP, and later SIGCONT: a machine that is paused."""
    operator = await scene.keeper.working()
    operator.send(signal.SIGSTOP)
    await asyncio.sleep(rng.uniform(0.5, 3))
    operator.send(signal.SIGCONT)
    return f"pid {operator.pid}"


async def two_operators(scene: Scene, rng: random.Random) -> str:
    """A second operator beside the first, without leader election, for a few faults long."""
    second = await scene.keeper.start()

    async def end() -> None:
        await asyncio.sleep(rng.uniform(3, 8))
        await scene.keeper.end(second, rng.choice((signal.SIGKILL, signal.SIGTERM)))

    scene.background(end())
    return f"pid {second.pid}"


# --- its requests ----------------------------------------------------------------------------------------------------


async def trouble(scene: Scene, rng: random.Random, *, make: Callable[[random.Random], rules.Rule]) -> str:
    """A rule of the proxy, until it is spent."""
    first: list[rules.Request] = []
    rule = make(rng)
    rule.hit = first.append
    async with scene.rule(rule):
        await until(lambda: rule.spent, _RULE_SECONDS)
    return f"{rule.hits} × e.g. {first[0]}" if first else ""


# --- the cluster -----------------------------------------------------------------------------------------------------


async def restarted(scene: Scene, rng: random.Random, *, component: str) -> str:
    """kill -9 of a component, and its start."""
    pause, both = rng.uniform(0, 0.5), rng.random() < 0.6
    async with scene.cluster.lock:
        await _restart(scene, component, pause)
        if component == "kube-apiserver" and both:
            # Else the garbage collector is blind for half a minute. That happens, too, but need not be all of the time.
            await _restart(scene, "kube-controller-manager", 0)
    return component


async def _restart(scene: Scene, component: str, pause: float) -> None:
    scene.cluster.note("outage", what=component, since=time.time())
    await finish(cluster.kill, scene.cluster.name, component)
    await asyncio.sleep(pause)
    await finish(cluster.start, scene.cluster.name, component)
    scene.cluster.note("back", what=component, at=time.time())


async def finish(do: Callable[..., None], *arguments: Any) -> None:
    """Do it in a thread, and to its end: what would start after the cluster was taken down would stay for ever."""
    work = asyncio.ensure_future(asyncio.to_thread(do, *arguments))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


def _is_running(pod: Mapping[str, Any]) -> bool:
    return bool(pod["status"].get("phase") == "Running")


async def _victim(
    scene: Scene, kind: str, rng: random.Random, fits: Callable[[Mapping[str, Any]], bool]
) -> Mapping[str, Any] | None:
    """An object to do something to; while operators die all the time, there may be none for a few seconds."""
    await until(lambda: scene.candidates(kind, fits), _VICTIM_SECONDS)
    return scene.victim(kind, rng, fits)


async def pod_deleted(scene: Scene, rng: random.Random, *, force: bool) -> str:
    """Somebody deletes an agent's pod."""
    pod = await _victim(scene, "pods", rng, _is_running)
    if pod is None:
        return ""
    meta = pod["metadata"]
    scene.disturb(scene.run_of("pods", pod))
    if force:
        scene.eye.note("removes", uid=meta["uid"], run=scene.run_of("pods", pod), what=f"pod {meta['name']}")
    options: dict[str, Any] = {"preconditions": {"uid": meta["uid"]}, **({"gracePeriodSeconds": 0} if force else {})}
    status, _ = await scene.api.ask("DELETE", scene.path("pods", meta["name"]), options)
    return str(meta["name"]) if status == 200 else ""


async def job_deleted(scene: Scene, rng: random.Random, *, policy: str) -> str:
    """Somebody deletes an agent's Job."""
    job = await _victim(scene, "jobs", rng, objects.is_live)
    if job is None:
        return ""
    scene.disturb(objects.owner(job))
    return await _delete_job(scene, job, policy)


async def _delete_job(scene: Scene, job: Mapping[str, Any], policy: str) -> str:
    meta = job["metadata"]
    scene.eye.note("removes", uid=meta["uid"], run=objects.owner(job), what=f"Job {meta['name']}")
    options = {"propagationPolicy": policy, "preconditions": {"uid": meta["uid"]}}
    status, _ = await scene.api.ask("DELETE", scene.path("jobs", meta["name"]), options)
    return str(meta["name"]) if status == 200 else ""


async def secret_deleted(scene: Scene, rng: random.Random) -> str:
    """Somebody deletes the Secret with a prompt."""
    secret = await _victim(scene, "secrets", rng, lambda _secret: True)
    if secret is None:
        return ""
    scene.disturb(objects.owner(secret))
    status, _ = await scene.api.ask("DELETE", scene.path("secrets", secret["metadata"]["name"]))
    return str(secret["metadata"]["name"]) if status == 200 else ""


async def node_lost(scene: Scene, rng: random.Random, *, told: bool) -> str:
    """The node of a pod is gone: the garbage collector says so and removes the pod, or it is just removed."""
    pod = await _victim(scene, "pods", rng, _is_running)
    assert isinstance(scene.node, kubelet.Kubelet)
    if pod is None or not scene.node.lose(pod["metadata"]["uid"]):
        return ""
    meta, run = pod["metadata"], scene.run_of("pods", pod)
    scene.disturb(run)
    scene.eye.note("removes", uid=meta["uid"], run=run, what=f"pod {meta['name']}")
    disruption = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByPodGC",
        "message": "node not found",
    }
    status = {"phase": "Failed", "conditions": [disruption]} if told else {"phase": "Unknown"}
    await _take_pod(scene, meta["name"], status, keeps_finalizers=told)
    return str(meta["name"])


async def _take_pod(scene: Scene, name: str, status: Mapping[str, Any], *, keeps_finalizers: bool) -> None:
    """Give the pod this status and remove it; again if a report of its kubelet that was under way came afterwards."""
    where, patch = scene.path("pods", name), "application/strategic-merge-patch+json"
    while True:
        await scene.api.ask("PATCH", f"{where}/status", {"status": status}, content=patch)
        if not keeps_finalizers:  # no kubelet will ever say that it has ended, which the Job controller waits for
            await scene.api.ask("PATCH", where, {"metadata": {"finalizers": None}}, content=api.MERGE)
        await scene.api.ask("DELETE", where, {"gracePeriodSeconds": 0})
        await asyncio.sleep(_SHOWN_SECONDS)
        code, pod = await scene.api.ask("GET", where)
        if code == 404 or (objects.is_deleted(pod) and pod["status"].get("phase") == status["phase"]):
            return


_QUOTA_ENDS = ("Failed k8s_quota_exceeded",)


async def quota_exhausted(scene: Scene, rng: random.Random, *, resource: str) -> str:
    """A quota that allows no further Job, or pod, for a while."""
    name = f"q{rng.randrange(10**6)}"
    refused: list[str] = []

    def see(request: rules.Request, status: int) -> None:
        if status == 403 and request.verb == "create":
            refused.append(str(request))

    before = set(scene.work.may_end)
    scene.work.may_end |= set(_QUOTA_ENDS)
    await asyncio.sleep(_SHOWN_SECONDS)
    for run in scene.work.alive():
        scene.eye.note("allows", run=run["metadata"]["uid"], ends=list(_QUOTA_ENDS))
    scene.between.listeners.append(see)
    try:
        body = {"metadata": {"name": name}, "spec": {"hard": {resource: "0"}}}
        await scene.api.ask("POST", scene.path("resourcequotas"), body)
        await asyncio.sleep(rng.uniform(1, 3))
        if resource == "pods":
            refused += await _failed_creates(scene, name)
    finally:
        await scene.api.ask("DELETE", scene.path("resourcequotas", name))
        scene.between.listeners.remove(see)
        scene.work.may_end = before
    return f"{resource}: {len(refused)} refused" if refused else ""


async def _failed_creates(scene: Scene, quota: str) -> list[str]:
    query = {"fieldSelector": "reason=FailedCreate"}
    _, answer = await scene.api.ask("GET", f"/api/v1/namespaces/{scene.namespace}/events", query=query)
    return [event["involvedObject"]["name"] for event in answer.get("items") or () if quota in event["message"]]
