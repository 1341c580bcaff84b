"""Sets the scene: namespace, observer, proxy, stand-in kubelet, load and operators, and takes it all down again."""

import asyncio
import contextlib
import pathlib
import random
import uuid
from collections.abc import AsyncIterator

from hack import playground
from hack.cluster import paths, state
from tests.chaos import api, kubelet, load, nursery, observer, proxy, realnode
from tests.chaos.scene import Cluster, Keeper, Scene

_SETTINGS = {
    "IMAGE": "example.test/agent:1",
    "PROGRESS_INTERVAL_SECONDS": "0.5",
    "REQUEST_TIMEOUT_SECONDS": "3",
    "QUIET_SECONDS": "1",
}
# The stand-in kubelet has no troubles that pass.
_QUICK = {"START_CONFIRM_SECONDS": "1", "LOG_APPEAR_SECONDS": "1"}


@contextlib.asynccontextmanager
async def setting(
    name: str, kubectl: playground.Kubectl, cluster: Cluster, folder: pathlib.Path, *, seed: int, began: float
) -> AsyncIterator[Scene]:
    """A scene in a new namespace; ``folder``, which is made, gets the history and the operators' log.

    On a cluster with a real node the pods are real.
    """
    own = f"{seed}-{name}"
    namespace, endpoint = f"chaos-{uuid.uuid4().hex[:6]}", api.Endpoint.of(kubectl)
    volume = folder / "volume"
    volume.mkdir(parents=True)
    playground.make_namespace(kubectl, namespace, {"hostPath": {"path": str(volume), "type": "Directory"}})
    direct = playground.operator_kubeconfig(kubectl, folder / "direct.kubeconfig")
    etcd = state.require(paths.layout(cluster.name)).ports["etcd"]
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        client = api.Api(endpoint)
        stack.push_async_callback(client.close)
        file = folder / "history.ndjson"
        eye = await enter(observer.Observer(client, namespace, etcd_port=etcd, began=began, file=file))
        cluster.eyes.append(eye)
        between = await enter(proxy.Proxy(endpoint, seed=own))
        node: kubelet.Kubelet | realnode.RealNode
        if cluster.real:
            manner, settings = load.REAL, {}
            node = await enter(realnode.RealNode(client, volume=volume, eye=eye, seed=f"{own}-kubelet"))
            await _wait_for_claim(client, namespace)
        else:
            manner, settings = load.Manner(), _QUICK
            node = await enter(kubelet.Kubelet(client, namespace, volume=volume, note=eye.note, seed=f"{own}-kubelet"))
        work = await enter(load.Load(client, namespace, eye=eye, node=node, manner=manner, seed=f"{own}-load"))
        kubeconfig = proxy.redirect(direct, between.url, folder / "operator.kubeconfig")
        given = {"NAMESPACES": namespace, "DATA_PATH": str(volume), **_SETTINGS, **settings}
        env = {"KUBECONFIG": str(kubeconfig), **{f"AGENTRUN_{key}": value for key, value in given.items()}}
        place = await enter(nursery.Nursery(env, log=folder / "operator.log", tuned=_TUNED))
        keeper = Keeper(place, eye, random.Random(f"{own}-keeper"))  # noqa: S311 - replayable, guards nothing
        keeping = asyncio.create_task(keeper.keep())
        try:
            yield Scene(
                name=name,
                client=client,
                namespace=namespace,
                cluster=cluster,
                eye=eye,
                node=node,
                work=work,
                between=between,
                keeper=keeper,
            )
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)


async def _wait_for_claim(client: api.Api, namespace: str) -> None:
    """A scheduler that meets a claim before it is bound may look at the pod again only minutes later."""
    where = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{playground.CLAIM}"
    async with asyncio.timeout(60):
        while (await client.ask("GET", where))[1]["status"].get("phase") != "Bound":  # noqa: ASYNC110 - as in observer
            await asyncio.sleep(0.1)


# Half a minute until a watch that froze is given up would be most of a test.
_TUNED = (("agentrun_operator.kube.wire", "_SILENT_SECONDS", 5),)
