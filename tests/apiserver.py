"""One connection to the API server with the administrator's rights: a request takes a millisecond or two."""

import http.client
import json
import ssl
from typing import Any

from hack import playground


class Connection:
    """Made from what kubectl is configured for, of a cluster of ``hack.cluster``; close it at the end."""

    def __init__(self, kubectl: playground.Kubectl) -> None:
        config = json.loads(kubectl.run("config", "view", "--raw", "--minify", "-o", "json"))
        cluster = config["clusters"][0]["cluster"]
        self._token = config["users"][0]["user"]["token"]
        trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
        host = cluster["server"].removeprefix("https://")
        self._connection = http.client.HTTPSConnection(host, context=trust, timeout=30)

    def get(self, path: str) -> dict[str, Any]:
        """One object. Raises PlaygroundError with the server's own words."""
        status, answer, _ = self.request("GET", path)
        if status != http.HTTPStatus.OK:
            raise playground.PlaygroundError(f"GET {path}: {answer.get('message')}")
        return dict(answer)

    def request(
        self, method: str, path: str, body: object = None, kind: str = "application/json"
    ) -> tuple[int, Any, tuple[str, ...]]:
        """Status, answer and warnings of one request."""
        self._connection.request(
            method,
            path,
            body=None if body is None else json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass"),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": kind},
        )
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        return response.status, answer, tuple(response.headers.get_all("Warning", ()))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
