"""The client for orchestrators at a real API server, which is killed and comes back while it is being waited for."""

import asyncio
import contextlib
import io
import json
import pathlib
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import yaml

from agentrun_operator import cli, client, models
from hack import cluster, playground
from tests import harness

ENDED = {"phase": "Succeeded", "reason": "Played", "costUSD": "0.25", "usage": {"inputTokens": 7, "outputTokens": 3}}


def spec(run_id: str, *, agent: str = "ada", task: str = "t-1") -> dict[str, Any]:
    """What is submitted."""
    whose = {"companyId": "acme", "agent": {"id": agent}, "taskId": task, "runId": run_id}
    return {**whose, "prompt": {"text": "Fix the login page."}}


@pytest.fixture
def namespace(kubectl: playground.Kubectl, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A namespace that no operator watches."""
    name = f"cl-{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("KUBECONFIG", str(kubectl.kubeconfig))
    kubectl.run("create", "namespace", name)
    yield name
    kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def runs(namespace: str) -> AsyncIterator[client.AsyncClient]:
    """A client of it."""
    async with await client.AsyncClient.connect(namespace=namespace) as made:
        yield made
    await asyncio.sleep(0.25)  # connections with TLS are closed by then, as aiohttp's documentation says


async def play(kubectl: playground.Kubectl, run: models.AgentRun, status: dict[str, Any]) -> None:
    """What an operator would write."""
    patch = json.dumps({"status": status})
    where = (run.metadata.name, "-n", run.metadata.namespace, "--subresource=status", "--type=merge", "-p", patch)
    await asyncio.to_thread(kubectl.run, "patch", harness.RUNS, *where)


@pytest.mark.timeout(180)
async def test_an_api_server_that_is_killed_ends_nothing(kubectl: playground.Kubectl, runs: client.AsyncClient) -> None:
    """Who waits goes on waiting, who submits has submitted once, and what happened meanwhile is told."""
    waited, watched = await runs.submit(spec("r-1")), await runs.submit(spec("r-2"))
    phases: list[models.Phase | None] = []
    running = asyncio.Event()

    async def watch() -> None:
        async for state in runs.watch(watched):
            phases.append(state.status.phase)
            if state.status.phase is models.Phase.RUNNING:
                running.set()

    waiting, watching = asyncio.create_task(runs.wait(waited)), asyncio.create_task(watch())
    await play(kubectl, watched, {"phase": "Running", "reason": "Played"})
    await asyncio.wait_for(running.wait(), 20)

    name = harness.cluster_name("it")
    await asyncio.to_thread(cluster.kill, name, "kube-apiserver")
    submitting = asyncio.create_task(runs.submit(spec("r-3")))
    await asyncio.sleep(1)
    assert not waiting.done() and not watching.done() and not submitting.done()
    await asyncio.to_thread(cluster.start, name, "kube-apiserver")
    for run in (waited, watched):
        await play(kubectl, run, ENDED)

    async with asyncio.timeout(60):
        assert (await waiting).status.phase is models.Phase.SUCCEEDED
        await watching
        third = await submitting
    assert phases[-2:] == [models.Phase.RUNNING, models.Phase.SUCCEEDED]
    assert (await runs.submit(spec("r-3"))).metadata.uid == third.metadata.uid
    assert len(await runs.list()) == 3


async def test_a_run_id_belongs_to_one_run(runs: client.AsyncClient) -> None:
    """Submitted twice at a time, too. The defaults that the API server fills in make no other run; a prompt does."""
    first, second = await asyncio.gather(runs.submit(spec("r-1")), runs.submit(spec("r-1")))
    assert first.metadata.uid == second.metadata.uid
    assert len(await runs.list()) == 1
    with pytest.raises(client.OtherRunError, match=r"with another spec\.prompt"):
        await runs.submit({**spec("r-1"), "prompt": {"text": "Something else."}})


async def test_what_is_asked_of_it_is_what_the_server_has(
    kubectl: playground.Kubectl, runs: client.AsyncClient, namespace: str
) -> None:
    """By company, agent and task; costs; a cancellation; and the same without asyncio."""
    done = await runs.submit(spec("r-1"))
    other = await runs.submit(spec("r-2", agent="grace", task="t-2"))
    await play(kubectl, done, ENDED)
    assert [run.metadata.name for run in await runs.list(agent="grace")] == [other.metadata.name]
    assert [run.metadata.name for run in await runs.list(company="acme", task="t-1")] == [done.metadata.name]
    assert await runs.list(company="initech") == []
    assert [(cost.key, str(cost.usd)) for cost in await runs.cost(client.By.AGENT)] == [
        (("ada",), "0.25"), (("grace",), "0")
    ]  # fmt: skip
    await runs.cancel(other)
    assert (await runs.get(other)).spec.cancel is True

    def without_asyncio() -> list[str]:
        with client.Client.connect(namespace=namespace) as plain:
            return [run.metadata.name for run in plain.list(phases=[models.Phase.SUCCEEDED])]

    assert await asyncio.to_thread(without_asyncio) == [done.metadata.name]


def write_account(kubectl: playground.Kubectl, namespace: str, target: pathlib.Path) -> None:
    """The kubeconfig of somebody who may do what docs/client.md says."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "client.md").read_text()
    (role,) = re.findall(r"```yaml\n(rules:.*?)```", page, re.DOTALL)
    body = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "orchestrator"}}
    kubectl.run("create", "-n", namespace, "-f", "-", stdin=json.dumps({**body, **yaml.safe_load(role)}))
    kubectl.run("create", "serviceaccount", "orchestrator", "-n", namespace)
    subject = f"--serviceaccount={namespace}:orchestrator"
    kubectl.run("create", "rolebinding", "orchestrator", "-n", namespace, "--role=orchestrator", subject)
    token = kubectl.run("create", "token", "orchestrator", "-n", namespace).strip()
    config = yaml.safe_load(pathlib.Path(str(kubectl.kubeconfig)).read_text())
    config["users"][0]["user"] = {"token": token}
    target.write_text(json.dumps(config))


async def test_the_documented_rights_are_enough(
    kubectl: playground.Kubectl, namespace: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of docs/client.md, and no others; the command says what to do about one that is missing."""
    await asyncio.to_thread(write_account, kubectl, namespace, tmp_path / "config")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))

    async with await client.AsyncClient.connect(namespace=namespace) as runs:
        run = await runs.submit(spec("r-1"))
        waiting = asyncio.create_task(runs.wait(run, seconds=30))
        await runs.cancel(run)
        await play(kubectl, run, {**ENDED, "phase": "Cancelled"})
        assert (await waiting).status.phase is models.Phase.CANCELLED
        assert (await runs.retry(run, run_id="r-2")).spec.run_id == "r-2"
        assert (await runs.cost())[0].runs == 2
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = await asyncio.to_thread(cli.main, ["-n", "default", "get"])
    assert code == 1
    assert "cannot list resource" in said.getvalue()
    assert "Ask an administrator for that right" in said.getvalue()
