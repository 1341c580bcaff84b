"""The few HTTP requests that we need ourselves, so that nothing has to be installed before a cluster is up."""

import collections.abc
import http.client
import json
import pathlib
import socket
import ssl
import typing

Json = dict[str, typing.Any]
_TIMEOUT_SECONDS = 5.0
# What a server that is starting, stopping or gone makes of a request.
UNREACHABLE = (OSError, http.client.HTTPException, ValueError)


class ApiError(Exception):
    """The API server answered with an error status."""

    def __init__(self, status: int, body: str) -> None:
        """Keep the HTTP `status` and say the `body`."""
        super().__init__(f"HTTP {status}: {body.strip()[:300]}")
        self.status = status


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: collections.abc.Mapping[str, str] | None = None,
) -> tuple[int, str]:
    """Send one request on a new connection and return (status, text of the answer)."""
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


class Client:
    """Requests to one API server with one user's token, its certificate verified."""

    def __init__(self, *, port: int, ca: pathlib.Path, token: str) -> None:
        """Talk to 127.0.0.1:`port`, whose certificate must be `ca` (read at every request: it appears late)."""
        self._port = port
        self._ca = ca
        self._token = token

    def request(
        self, method: str, path: str, *, body: object = None, content_type: str = "application/json"
    ) -> tuple[int, str]:
        """Send one request and return (status, text); raises OSError while the server cannot be reached."""
        context = ssl.create_default_context(cafile=str(self._ca))
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS, context=context)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type}
        payload = None if body is None else json.dumps(body).encode()
        return _exchange(connection, method, path, body=payload, headers=headers)

    def call(self, method: str, path: str, *, body: object = None, content_type: str = "application/json") -> Json:
        """Send one request and return the object that it answers with; raises ApiError for an error status."""
        status, text = self.request(method, path, body=body, content_type=content_type)
        if status >= 400:
            raise ApiError(status, text)
        answer: Json = json.loads(text)
        return answer

    def merge_patch(self, path: str, patch: Json) -> Json:
        """Apply a JSON merge patch."""
        return self.call("PATCH", path, body=patch, content_type="application/merge-patch+json")


def http_health(port: int, path: str, *, tls: bool = False) -> str | None:
    """Ask a health endpoint on loopback; return None if it says 200, else what is wrong.

    With `tls` the certificate is not verified: controller-manager and scheduler make a new self-signed one in memory at
    every start, no secret is sent, and the answer only decides whether we go on waiting.
    """
    connection: http.client.HTTPConnection
    if tls:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        status, text = _exchange(connection, "GET", path)
    except UNREACHABLE as error:
        return f"127.0.0.1:{port}{path} does not answer ({error})"
    return None if status == 200 else f"127.0.0.1:{port}{path} says {status}: {text.strip()[-200:]}"


def socket_health(path: pathlib.Path) -> str | None:
    """Return None if somebody listens on this unix socket, else what is wrong."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TIMEOUT_SECONDS)
        try:
            probe.connect(str(path))
        except OSError as error:
            return f"{path} does not answer ({error})"
    return None
