"""A small asynchronous client of the API server with the administrator's rights. It outlives restarts of the server."""

import asyncio
import dataclasses
import json
import pathlib
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from hack import playground

GROUPS = {
    "agentruns": "/apis/paperclip.io/v1alpha1",
    "jobs": "/apis/batch/v1",
    "pods": "/api/v1",
    "secrets": "/api/v1",
    "resourcequotas": "/api/v1",
}
MERGE = "application/merge-patch+json"
JSON = "application/json"
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_STARTING = "not yet ready to handle request"  # an admission plugin of an API server that was just started, with a 403
_RETRY_SECONDS = 0.1


def path(kind: str, namespace: str, name: str = "", sub: str = "") -> str:
    """Path of a kind, of one object, or of its subresource."""
    return "/".join(filter(None, (f"{GROUPS[kind]}/namespaces/{namespace}/{kind}", name, sub)))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an API server is, whom to say that one is, and the file with the certificate to trust."""

    server: str
    token: str
    authority: pathlib.Path

    @classmethod
    def of(cls, kubectl: playground.Kubectl) -> "Endpoint":
        """What kubectl is configured for."""
        config = json.loads(kubectl.run("config", "view", "--raw", "--minify", "-o", "json"))
        cluster = config["clusters"][0]["cluster"]
        return cls(
            server=cluster["server"],
            token=config["users"][0]["user"]["token"],
            authority=pathlib.Path(cluster["certificate-authority"]),
        )

    def trust(self) -> ssl.SSLContext:
        """The context of connections to it."""
        return ssl.create_default_context(cafile=self.authority)


class UnreachableError(Exception):
    """The API server did not give an answer for longer than anybody would wait."""


class Api:
    """Make it inside the event loop; close it at the end."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=endpoint.trust(), limit=0),
            headers={"Authorization": f"Bearer {endpoint.token}"},
            timeout=aiohttp.ClientTimeout(total=20),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def ask(
        self,
        method: str,
        where: str,
        body: object = None,
        *,
        query: Mapping[str, str] | None = None,
        content: str = JSON,
        patience: float = 60,
    ) -> tuple[int, dict[str, Any]]:
        """Status and answer. What gets no answer, or one that passes, is asked again for ``patience`` seconds.

        A request may so be carried out twice: 404 to a deletion and 409 to a creation can be the second answer.
        """
        until = time.monotonic() + patience
        data = None if body is None else json.dumps(body).encode()
        while True:
            try:
                async with self._session.request(
                    method, self.endpoint.server + where, params=query, data=data, headers={"Content-Type": content}
                ) as response:
                    answer = json.loads(await response.read())
                    if response.status not in _TRANSIENT and _STARTING not in str(answer.get("message")):
                        return response.status, answer
                    why = f"{response.status}: {answer.get('message')}"
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as e:
                why = f"{type(e).__name__}: {e}"
            if time.monotonic() > until:
                raise UnreachableError(f"{method} {where}: {why}")
            await asyncio.sleep(_RETRY_SECONDS)

    async def list(self, kind: str, namespace: str, **query: str) -> tuple[int, list[dict[str, Any]]]:
        """The version of the list, and the objects as they were at that version."""
        status, answer = await self.ask("GET", path(kind, namespace), query=query)
        if status != 200:
            raise UnreachableError(f"list of {kind}: {answer.get('message')}")
        return int(answer["metadata"]["resourceVersion"]), answer["items"] or []

    async def watch(self, kind: str, namespace: str, version: int) -> AsyncIterator[dict[str, Any]]:
        """OPEN, then what changed after ``version``, until the stream ends. Raises aiohttp.ClientError and the like."""
        query = {"watch": "true", "resourceVersion": str(version), "allowWatchBookmarks": "true"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=None)
        async with self._session.get(
            self.endpoint.server + path(kind, namespace), params=query, timeout=timeout
        ) as response:
            if response.status != 200:
                yield {"type": "ERROR", "object": {"code": response.status}}
                return
            yield {"type": "OPEN"}
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield json.loads(line)
