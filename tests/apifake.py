"""An API server on loopback that knows AgentRuns: list, watch, create, merge patch, Events and the log of a pod.

It speaks HTTP as the real one does, so that what talks to it goes through the whole client; it can be stopped and
started again with all it knows. It checks nothing: whether an object is valid is for tests on a real API server.
"""

import asyncio
import copy
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from agentrun_operator import names

_RUNS = f"/apis/{names.GROUP}/{names.VERSION}"
_IN = _RUNS + "/namespaces/{namespace}/agentruns"


class Server:
    """See the module. ``change`` is what an operator would write."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str], dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.logs: dict[str, list[bytes]] = {}
        self.requests: list[str] = []
        self.port = 0
        self._version = 100
        self._history: list[tuple[int, str, dict[str, Any]]] = []
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; again on the same port, if it did before."""
        app = web.Application(middlewares=[self._note])
        app.router.add_get(_RUNS + "/agentruns", self._list)
        app.router.add_get(_IN, self._list)
        app.router.add_post(_IN, self._create)
        app.router.add_get(_IN + "/{name}", self._get)
        app.router.add_patch(_IN + "/{name}", self._patch)
        app.router.add_get("/api/v1/namespaces/{namespace}/events", self._list_events)
        app.router.add_get("/api/v1/namespaces/{namespace}/pods/{name}/log", self._log)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Break off all connections and listen no longer."""
        if self._runner is not None:
            await self._runner.cleanup()

    def write_kubeconfig(self, path: pathlib.Path, *, namespace: str = "team-a") -> pathlib.Path:
        """A kubeconfig for it at ``path``."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": namespace}}],
            "clusters": [{"name": "fake", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "fake", "user": {"token": "t"}}],
        }
        path.write_text(json.dumps(config))
        return path

    async def change(self, name: str, status: Mapping[str, Any], *, namespace: str = "team-a") -> None:
        """The run has this status by now."""
        self.runs[namespace, name]["status"] = dict(status)
        await self._store("MODIFIED", self.runs[namespace, name])

    async def add(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A new run."""
        made = copy.deepcopy(dict(body))
        made["metadata"].setdefault("uid", f"uid-{self._version}")
        made["metadata"].setdefault("creationTimestamp", "2026-01-02T03:04:05Z")
        self.runs[made["metadata"]["namespace"], made["metadata"]["name"]] = made
        await self._store("ADDED", made)
        return made

    async def _store(self, kind: str, body: dict[str, Any]) -> None:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._history.append((self._version, kind, copy.deepcopy(body)))
        async with self._changed:
            self._changed.notify_all()

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401 - aiohttp's own
        self.requests.append(f"{request.method} {request.path_qs}")
        return await handler(request)  # type: ignore[no-any-return]

    async def _list(self, request: web.Request) -> web.StreamResponse:
        namespace = request.match_info.get("namespace", "")
        if "watch" in request.query:
            return await self._watch(request, namespace)
        items = [body for (place, _), body in self.runs.items() if namespace in {"", place}]
        return web.json_response({"metadata": {"resourceVersion": str(self._version)}, "items": items})

    async def _watch(self, request: web.Request, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        seen = int(request.query["resourceVersion"])
        while True:
            for version, kind, body in [entry for entry in self._history if entry[0] > seen]:
                seen = version
                if namespace in {"", body["metadata"]["namespace"]}:
                    await response.write(json.dumps({"type": kind, "object": body}).encode() + b"\n")
            async with self._changed:
                if self._version <= seen:
                    await self._changed.wait()

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        if (request.match_info["namespace"], body["metadata"]["name"]) in self.runs:
            return _refusal(409, "AlreadyExists", f"agentruns.paperclip.io {body['metadata']['name']!r} already exists")
        return web.json_response(await self.add(body), status=201)

    async def _get(self, request: web.Request) -> web.Response:
        body = self.runs.get((request.match_info["namespace"], request.match_info["name"]))
        if body is None:
            return _refusal(404, "NotFound", f"agentruns.paperclip.io {request.match_info['name']!r} not found")
        return web.json_response(body)

    async def _patch(self, request: web.Request) -> web.Response:
        body = self.runs[request.match_info["namespace"], request.match_info["name"]]
        patch = json.loads(await request.read())
        if (
            patch["metadata"].get("resourceVersion", body["metadata"]["resourceVersion"])
            != (body["metadata"]["resourceVersion"])
        ):
            return _refusal(409, "Conflict", "the object has been modified")
        body["spec"] = {**body["spec"], **patch.get("spec", {})}
        await self._store("MODIFIED", body)
        return web.json_response(body)

    async def _list_events(self, _: web.Request) -> web.Response:
        return web.json_response({"items": self.events})

    async def _log(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["name"] not in self.logs:
            return _refusal(404, "NotFound", f"pods {request.match_info['name']!r} not found")
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in self.logs[request.match_info["name"]]:
            await response.write(chunk)
        return response


def _refusal(status: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": status}
    return web.json_response(body, status=status)
