"""What ``agentrun doctor`` asks the API server, and how it reads the answers; the server notes the questions."""

import contextlib
import dataclasses
import datetime as dt
import json
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from agentrun_operator import errors, kube

ATTRIBUTES = {"group": "batch", "resource": "jobs", "verb": "create", "namespace": "team-a"}


@dataclasses.dataclass
class Server:
    """Answers with ``body``, ``status`` and ``headers``."""

    body: Any = dataclasses.field(default_factory=dict)
    status: int = 200
    headers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    asked: list[tuple[str, str, Any]] = dataclasses.field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """To any request."""
        text = await request.text()
        self.asked.append((request.method, request.path_qs, json.loads(text) if text else None))
        response = web.Response(
            text=self.body if isinstance(self.body, str) else json.dumps(self.body), status=self.status
        )
        for name, value in self.headers:
            response.headers.add(name, value)
        return response


@contextlib.asynccontextmanager
async def serving(server: Server, folder: pathlib.Path) -> AsyncIterator[kube.Inspector]:
    """A client of that server."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    config = folder / "config"
    named = {"cluster": "c", "user": "u"}
    config.write_text(
        json.dumps(
            {
                "current-context": "x",
                "contexts": [{"name": "x", "context": named}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        patch.setenv("KUBECONFIG", str(config))
        client = await kube.connect_inspector(timeout=5)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


async def test_the_server_says_its_version_and_time(tmp_path: pathlib.Path) -> None:
    """The time as HTTP has it, in whole seconds."""
    server = Server({"gitVersion": "v1.34.1"}, headers=[("Date", "Fri, 02 Jan 2026 03:04:05 GMT")])
    async with serving(server, tmp_path) as client:
        greeting = await client.greet()
    assert greeting.version == "v1.34.1"
    assert greeting.time == dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert 0 < greeting.seconds < 5


async def test_a_time_that_is_none_is_left_out(tmp_path: pathlib.Path) -> None:
    """A proxy may write anything."""
    async with serving(Server({}, headers=[("Date", "soon")]), tmp_path) as client:
        assert (await client.greet()).time is None


@pytest.mark.parametrize(("status", "allowed"), [({"allowed": True}, True), ({"allowed": False}, False), ({}, False)])
async def test_a_right_of_our_own_is_reviewed(
    tmp_path: pathlib.Path,
    status: dict[str, bool],
    allowed: bool,  # noqa: FBT001 - the expected answer
) -> None:
    """Only a clear yes is one."""
    server = Server({"status": status})
    async with serving(server, tmp_path) as client:
        assert await client.may(ATTRIBUTES) is allowed
    [(method, path, body)] = server.asked
    assert (method, path) == ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
    assert body["spec"] == {"resourceAttributes": ATTRIBUTES}


async def test_a_right_of_a_service_account_is_reviewed(tmp_path: pathlib.Path) -> None:
    """With the groups that it is in."""
    server = Server({"status": {"allowed": True}})
    async with serving(server, tmp_path) as client:
        assert await client.may(ATTRIBUTES, account=("agentrun-system", "agentrun-operator"))
    [(_, path, body)] = server.asked
    assert path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert body["spec"]["user"] == "system:serviceaccount:agentrun-system:agentrun-operator"
    assert "system:serviceaccounts:agentrun-system" in body["spec"]["groups"]


async def test_what_is_tried_is_not_stored_and_its_warnings_are_read(tmp_path: pathlib.Path) -> None:
    """As kubectl prints them."""
    warning = ("Warning", '299 - "would violate \\"restricted\\""')
    server = Server({}, headers=[warning, ("Warning", "odd")])
    body = {"metadata": {"name": "a", "namespace": "team-a"}}
    async with serving(server, tmp_path) as client:
        assert await client.try_job(body) == ('would violate "restricted"', "odd")
        await client.try_pod(body)
    assert [path for _, path, _ in server.asked] == [
        "/apis/batch/v1/namespaces/team-a/jobs?dryRun=All",
        "/api/v1/namespaces/team-a/pods?dryRun=All",
    ]


async def test_a_refusal_is_one_of_our_errors(tmp_path: pathlib.Path) -> None:
    """In the API server's words."""
    refusal = {"reason": "Forbidden", "message": 'pods "a" is forbidden: violates PodSecurity'}
    async with serving(Server(refusal, status=403), tmp_path) as client:
        with pytest.raises(errors.RejectedError, match="violates PodSecurity"):
            await client.try_pod({"metadata": {"namespace": "team-a"}})


async def test_an_answer_that_is_no_json_is_unavailable(tmp_path: pathlib.Path) -> None:
    """Such as a proxy's page."""
    async with serving(Server("<html>"), tmp_path) as client:
        with pytest.raises(errors.UnavailableError, match="could not be read"):
            await client.greet()


async def test_the_published_schema_is_that_of_agent_runs(tmp_path: pathlib.Path) -> None:
    """Among those of all kinds of our group."""
    schema: dict[str, Any] = {"properties": {"spec": {}}}
    schemas = {"io.paperclip.v1alpha1.AgentRun": schema, "io.paperclip.v1alpha1.AgentRunList": {}}
    async with serving(Server({"components": {"schemas": schemas}}), tmp_path) as client:
        assert await client.get_published_schema() == schema
    async with serving(Server({}), tmp_path) as client:
        assert await client.get_published_schema() is None


async def test_the_served_versions_are_listed(tmp_path: pathlib.Path) -> None:
    """All of our group."""
    async with serving(Server({"versions": [{"version": "v1"}, {"version": "v1alpha1"}]}), tmp_path) as client:
        assert await client.list_served_versions() == ("v1", "v1alpha1")


async def test_lists_come_in_pages(tmp_path: pathlib.Path) -> None:
    """With the labels that are asked for."""
    server = Server({"items": [{"metadata": {"name": "a"}}]})
    async with serving(server, tmp_path) as client:
        assert await client.list_pods_by("ns", "app=x") == [{"metadata": {"name": "a"}}]
    assert server.asked[0][1] == "/api/v1/namespaces/ns/pods?labelSelector=app%3Dx&limit=500"
