"""A watch that begins anew tells nothing of what vanished in between; the operator notices all the same, and soon."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from hack import playground
from tests import harness
from tests.chaos import api, proxy, rules
from tests.integration import kubelet

_WATCHED = ("agentruns", "jobs", "pods")


class Forgetful(proxy.Proxy):
    """Says to the next watch of each of these kinds, before anything else, that it cannot go on from where it was."""

    forgotten: frozenset[str] = frozenset()

    async def _forward(
        self, incoming: web.BaseRequest, body: bytes, request: rules.Request, rule: rules.Rule | None
    ) -> web.StreamResponse:
        if request.verb == "watch" and request.resource in self.forgotten:
            self.forgotten -= {request.resource}
            return web.Response(body=rules.gone_event(), content_type="application/json")
        return await super()._forward(incoming, body, request, rule)


@pytest.fixture
async def between(kubectl: playground.Kubectl) -> AsyncIterator[Forgetful]:
    """What stands between the operator and the API server."""
    made = Forgetful(api.Endpoint.of(kubectl))
    async with made:
        yield made
    await asyncio.sleep(0.25)  # connections with TLS are closed by then, as aiohttp's documentation says


@pytest.mark.parametrize("gaps", [frozenset(_WATCHED), frozenset({"jobs"})], ids=["all", "jobs"])
async def test_a_job_that_vanished_in_a_gap_of_the_watches_is_missed_soon(
    site: harness.Site, between: Forgetful, gaps: frozenset[str]
) -> None:
    """By the list with which the watch of Jobs begins anew, whether others have a gap or not."""
    pod = await asyncio.to_thread(begin, site, between.url)
    watches = frozenset({"watch"})
    down = rules.Rule(effect=rules.Effect.RESET, verbs=watches, times=None)
    cut = rules.Rule(effect=rules.Effect.CUT, verbs=watches, times=None)
    between.add(down)
    between.add(cut)
    between.remove(cut)
    assert cut.hits >= len(_WATCHED)
    await asyncio.to_thread(rob, site, pod)
    between.forgotten = gaps
    between.remove(down)

    status = await asyncio.to_thread(site.wait_phase, "robbed", "Succeeded", "Failed", "Cancelled")
    assert status["error"]["code"] == "k8s_job_deleted_externally"
    assert between.forgotten == frozenset()
    assert "watch_gap" in site.operator_log
    assert "Traceback" not in site.operator_log
    await asyncio.to_thread(site.stop_operator)


def begin(site: harness.Site, url: str) -> kubelet.Pod:
    """A run whose agent is at work, under an operator that reaches the API server only by ``url``."""
    account = playground.operator_kubeconfig(site.kubectl, site.folder / "operator.kubeconfig")
    through = proxy.redirect(account, url, site.folder / "through.kubeconfig")
    log = site.folder / "operator.log"
    site.operator = playground.start_operator(through, log=log, settings=site.settings)
    site.create("robbed")
    pod = kubelet.Pod(site, "robbed")
    pod.run()
    site.wait_status("robbed", phase="Running")
    return pod


def rob(site: harness.Site, pod: kubelet.Pod) -> None:
    """Somebody deletes the Job."""
    site.kubectl.run("delete", "job", site.status("robbed")["job"]["name"], "-n", site.namespace, "--wait=false")
    pod.vanish()
    playground.wait_until(
        lambda: not site.list("jobs") and not site.list("pods"), seconds=20, what="Job and pod to be gone"
    )
