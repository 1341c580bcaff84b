"""Plain requests and watches with a time stamp on everything: what kubectl and client libraries would blur.

A watch that breaks is never opened again in silence: whoever waits for an event learns that it broke.
"""

import contextlib
import dataclasses
import http.client
import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from hack import playground

Json = dict[str, Any]

_REQUEST_SECONDS = 30
_WATCH_SECONDS = 3500  # longer than any measurement
_NO_JSON = http.client.HTTPException, OSError, ValueError


class BenchError(Exception):
    """A measurement is not possible or not valid; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """An API server and one user's token, as the current context of a kubeconfig names them."""

    host: str
    port: int
    tls: ssl.SSLContext
    token: str = dataclasses.field(repr=False)

    @classmethod
    def of(cls, kubectl: playground.Kubectl) -> "Api":
        """The API that ``kubectl`` talks to; its user must have a token."""
        config = json.loads(kubectl.run("config", "view", "--raw", "--minify", "-o", "json"))
        server = config["clusters"][0]["cluster"]
        address = urllib.parse.urlsplit(server["server"])
        return cls(
            host=str(address.hostname),
            port=address.port or 443,
            tls=ssl.create_default_context(cafile=server["certificate-authority"]),
            token=config["users"][0]["user"]["token"],
        )

    def connect(self, *, seconds: float | None = _REQUEST_SECONDS) -> http.client.HTTPSConnection:
        """An open connection, so that the handshake is no part of what is measured."""
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=seconds, context=self.tls)
        connection.connect()
        return connection

    def call(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: Json | None = None
    ) -> http.client.HTTPResponse:
        """The answer, unread. Raises BenchError for an error status."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        answer = connection.getresponse()
        if answer.status >= 400:
            raise BenchError(f"{method} {path}: HTTP {answer.status}: {answer.read(500).decode(errors='replace')}")
        return answer

    def get(self, path: str) -> Json:
        """One object or list."""
        with contextlib.closing(self.connect()) as connection:
            return dict(json.load(self.call(connection, "GET", path)))

    def merge(self, path: str, patch: Json) -> None:
        """Apply a JSON merge patch."""
        with contextlib.closing(self.connect()) as connection:
            self.call(connection, "PATCH", path, patch).read()

    def create(self, *objects: tuple[str, Json]) -> float:
        """Create objects, one after the other on one connection; returns when the first request was about to leave."""
        with contextlib.closing(self.connect()) as connection:
            sent = time.monotonic()
            for path, body in objects:
                self.call(connection, "POST", path, body).read()
        return sent


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch and the monotonic time at which it was here."""

    at: float
    resource: str
    body: Json

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])


class Journal:
    """Everything that some watches showed, in order of arrival."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._events: list[Event] = []
        self._broken = ""
        self._changed = threading.Condition()

    def follow(self, resource: str, path: str) -> None:
        """Watch the resource whose list is at ``path`` from now on, under the name ``resource``."""
        version = self._api.get(f"{path}?limit=1")["metadata"]["resourceVersion"]
        connection = self._api.connect(seconds=None)
        query = f"watch=1&resourceVersion={version}&timeoutSeconds={_WATCH_SECONDS}"
        stream = self._api.call(connection, "GET", f"{path}?{query}")
        threading.Thread(target=self._read, args=(resource, stream), daemon=True).start()

    def first(self, resource: str, test: Callable[[Json], bool], *, seconds: float, what: str) -> Event:
        """The earliest event of the resource whose object passes ``test``; waits for it at most ``seconds``.

        Raises BenchError naming ``what`` was waited for.
        """
        deadline = time.monotonic() + seconds
        looked_at = 0
        with self._changed:
            while True:
                for event in self._events[looked_at:]:
                    if event.resource == resource and test(event.body):
                        return event
                looked_at = len(self._events)
                if self._broken:
                    raise BenchError(self._broken)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise BenchError(f"waited {seconds:.0f} s for {what}")
                self._changed.wait(left)

    def _read(self, resource: str, stream: http.client.HTTPResponse) -> None:
        reason = "the server ended it"
        try:
            for line in stream:
                at = time.monotonic()
                change = json.loads(line)
                if change["type"] == "ERROR":
                    reason = str(change["object"].get("message"))
                    break
                with self._changed:
                    self._events.append(Event(at, resource, change["object"]))
                    self._changed.notify_all()
        except _NO_JSON as e:
            reason = repr(e)
        with self._changed:
            self._broken = f"the watch of {resource} broke: {reason}"
            self._changed.notify_all()
