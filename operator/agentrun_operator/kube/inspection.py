"""What only ``agentrun doctor`` asks the API server: nothing here changes anything, a dry run included.

It is apart from ``KubeClient``, so that the operator's own seam stays as small as what the operator does. Objects are
returned as they are, and read by ``doctor``'s caller.
"""

import dataclasses
import datetime
import email.utils
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from agentrun_operator import errors, names
from agentrun_operator.kube.http import HttpKubeClient

_REVIEWS = "/apis/authorization.k8s.io/v1"
_SCHEMA_KEY = (
    f"{'.'.join(reversed(names.GROUP.split('.')))}.{names.VERSION}.{names.KIND}"  # io.paperclip.v1alpha1.AgentRun
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """``version`` as the API server names it; ``seconds`` until it answered; ``time`` by its own clock."""

    version: str
    seconds: float
    time: datetime.datetime | None
    asked: datetime.datetime  # by the clock here, half-way between question and answer


class Inspector(HttpKubeClient):
    """A client for inspections; every method raises ``errors.ApiError`` subclasses only."""

    async def greet(self) -> Greeting:
        """Version and clock of the API server."""
        began, at = time.monotonic(), datetime.datetime.now(datetime.UTC)
        body, response = await self._ask("GET", "/version")
        seconds = time.monotonic() - began
        return Greeting(
            version=str(body.get("gitVersion", "")),
            seconds=seconds,
            time=_moment(response.headers.get("Date", "")),
            asked=at + datetime.timedelta(seconds=seconds / 2),
        )

    async def may(self, attributes: Mapping[str, str], *, account: tuple[str, str] | None = None) -> bool:
        """Whether we, or the service account (namespace, name), are allowed what the attributes of a resource say."""
        spec: dict[str, Any] = {"resourceAttributes": attributes}
        kind = "SelfSubjectAccessReview"
        if account is not None:
            kind, (namespace, name) = "SubjectAccessReview", account
            spec["user"] = f"system:serviceaccount:{namespace}:{name}"
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
            spec["groups"] = groups
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
        answer = await self._request("POST", f"{_REVIEWS}/{kind.lower()}s", body=review)
        return (answer.get("status") or {}).get("allowed") is True

    async def get_crd(self) -> Mapping[str, Any]:
        """The CRD of AgentRuns. Raises NotFoundError."""
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{names.PLURAL}.{names.GROUP}"
        return await self._request("GET", path)

    async def get_published_schema(self) -> Mapping[str, Any] | None:
        """The schema of AgentRuns that every user may read; None if our version is not served. Raises NotFoundError."""
        body = await self._request("GET", f"/openapi/v3/apis/{names.GROUP}/{names.VERSION}")
        schemas = (body.get("components") or {}).get("schemas") or {}
        found = schemas.get(_SCHEMA_KEY)
        return found if isinstance(found, Mapping) else None

    async def list_served_versions(self) -> tuple[str, ...]:
        """The versions of our API group. Raises NotFoundError when there is no such group."""
        body = await self._request("GET", f"/apis/{names.GROUP}")
        return tuple(str(version.get("version")) for version in body.get("versions") or ())

    async def get_namespace(self, name: str) -> Mapping[str, Any]:
        """One namespace. Raises NotFoundError."""
        return await self._request("GET", f"/api/v1/namespaces/{name}")

    async def get_claim(self, namespace: str, name: str) -> Mapping[str, Any]:
        """One PersistentVolumeClaim. Raises NotFoundError."""
        return await self._request("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")

    async def get_deployment(self, namespace: str, name: str) -> Mapping[str, Any]:
        """One Deployment. Raises NotFoundError."""
        return await self._request("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")

    async def list_quotas(self, namespace: str) -> list[Mapping[str, Any]]:
        """The ResourceQuotas of a namespace."""
        return await self._all(f"/api/v1/namespaces/{namespace}/resourcequotas")

    async def list_pods_by(self, namespace: str, selector: str) -> list[Mapping[str, Any]]:
        """The pods of a namespace that carry labels."""
        return await self._all(f"/api/v1/namespaces/{namespace}/pods", selector)

    async def list_nodes(self) -> list[Mapping[str, Any]]:
        """All nodes."""
        return await self._all("/api/v1/nodes")

    async def try_job(self, job: Mapping[str, Any]) -> tuple[str, ...]:
        """Have a Job created but not stored; returns the API server's warnings. Raises RejectedError, NotFoundError."""
        return await self._try(f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs", job)

    async def try_pod(self, pod: Mapping[str, Any]) -> tuple[str, ...]:
        """Have a pod created but not stored; returns the API server's warnings. Raises RejectedError, NotFoundError."""
        return await self._try(f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods", pod)

    async def _try(self, path: str, body: Mapping[str, Any]) -> tuple[str, ...]:
        _, response = await self._ask("POST", path, query={"dryRun": "All"}, body=body)
        return tuple(_sentence(value) for value in response.headers.getall("Warning", ()))

    async def _all(self, path: str, selector: str = "") -> list[Mapping[str, Any]]:
        return [item async for page in self.list_pages(path, selector) for item in page["items"] or ()]

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> tuple[Mapping[str, Any], aiohttp.ClientResponse]:
        response = await self._send(method, path, query=query, body=body)
        try:
            return msgspec.json.decode(await response.read(), type=dict[str, Any]), response
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as e:
            raise errors.UnavailableError(f"{method} {path}: the answer could not be read: {e}") from e


def _moment(header: str) -> datetime.datetime | None:
    """A Date header as a time; None if it is none."""
    try:
        return email.utils.parsedate_to_datetime(header)
    except ValueError:
        return None


def _sentence(header: str) -> str:
    """The text of a Warning header: ``299 - "text"``."""
    _, quote, rest = header.partition('"')
    return rest.removesuffix('"').replace('\\"', '"') if quote else header
