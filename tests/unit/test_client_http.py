"""The client for orchestrators over HTTP: what it sends, and an API server that goes away and comes back."""

import asyncio
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentrun_operator import client, errors, kube, models
from tests import apifake, builders, fakeruns

SPEC: dict[str, Any] = {
    "companyId": "acme",
    "agent": {"id": "ada"},
    "runId": "run-1",
    "prompt": {"text": "Fix the login page."},
}


@pytest.fixture
async def server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[apifake.Server]:
    """An API server, and the kubeconfig that names it."""
    made = apifake.Server()
    await made.start()
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    path = made.write_kubeconfig(tmp_path / "config")
    monkeypatch.setenv("KUBECONFIG", str(path))
    yield made
    await made.stop()


@pytest.fixture
async def runs(server: apifake.Server) -> AsyncIterator[client.AsyncClient]:
    """A client of the namespace that the kubeconfig names."""
    async with await client.AsyncClient.connect() as made:
        assert made.namespace == "team-a"
        yield made
    del server


async def test_a_run_from_beginning_to_end(runs: client.AsyncClient, server: apifake.Server) -> None:
    """What is sent is what the API server takes, and what it answers is read."""
    run = await runs.submit(SPEC, labels={"team": "shop"})
    assert await runs.submit(SPEC) == run
    assert server.requests[0].startswith(
        "POST /apis/paperclip.io/v1alpha1/namespaces/team-a/agentruns?fieldValidation=S"
    )
    assert server.runs["team-a", run.metadata.name]["metadata"]["labels"] == {"team": "shop"}
    waiting = asyncio.create_task(runs.wait(run))
    server.logs["pod"] = fakeruns.LOG
    await server.change(run.metadata.name, fakeruns.RUNNING)
    await runs.cancel(run)
    assert server.runs["team-a", run.metadata.name]["spec"]["cancel"] is True
    await server.change(run.metadata.name, fakeruns.SUCCEEDED)
    assert (await waiting).status.phase is models.Phase.SUCCEEDED
    assert len([event async for event in runs.transcript(run)]) == 3
    assert [str(cost.usd) for cost in await runs.cost()] == ["0.012"]


async def test_an_api_server_that_restarts_is_waited_for(runs: client.AsyncClient, server: apifake.Server) -> None:
    """Whoever submits, asks or waits meanwhile gets an answer when it is back."""
    run = await runs.submit(SPEC)
    waiting = asyncio.create_task(runs.wait(run))
    while not any("watch=1" in request for request in server.requests):  # noqa: ASYNC110 - requests are no event
        await asyncio.sleep(0.01)
    await server.stop()
    submitting = asyncio.create_task(runs.submit({**SPEC, "runId": "run-2"}))
    await asyncio.sleep(0.3)
    assert not waiting.done() and not submitting.done()
    await server.start()
    await server.change(run.metadata.name, fakeruns.SUCCEEDED)
    assert (await waiting).is_final
    assert (await submitting).spec.run_id == "run-2"


async def test_a_run_that_is_not_there_is_said_at_once(runs: client.AsyncClient) -> None:
    """In the API server's own words."""
    with pytest.raises(errors.NotFoundError, match="'nobody' not found"):
        await runs.wait("nobody")


async def test_events_of_a_run(server: apifake.Server) -> None:
    """Of exactly this one."""
    server.events = [{"reason": "JobCreated"}]
    api = await kube.connect(timeout=5)
    try:
        ref = kube.Ref(namespace="team-a", name="fix-login", uid=builders.RUN_UID)
        assert await api.list_run_events(ref) == server.events
    finally:
        await api.close()
    assert server.requests == [
        f"GET /api/v1/namespaces/team-a/events?fieldSelector=involvedObject.uid%3D{builders.RUN_UID}"
    ]


@pytest.mark.parametrize(("context", "namespace"), [(None, "team-a"), ("fake", "team-a"), ("other", None)])
async def test_the_namespace_is_the_one_that_kubectl_would_take(
    server: apifake.Server, context: str | None, namespace: str | None
) -> None:
    """That of the context; and a context that is not there is named."""
    del server
    if namespace is not None:
        assert kube.default_namespace(context) == namespace
        return
    with pytest.raises(errors.SettingsError, match="--context other: the kubeconfig has no such context, only fake"):
        kube.default_namespace(context)
