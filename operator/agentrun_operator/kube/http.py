"""``KubeClient`` over HTTP: the transport of ``kubernetes.aio`` under plain JSON."""

import base64
import contextlib
import datetime
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib import parse

import aiohttp
import msgspec
from kubernetes.aio import client

from agentrun_operator import errors, facts, names
from agentrun_operator.forensics import messages
from agentrun_operator.kube.client import Ref

_RUNS = f"/apis/{names.GROUP}/{names.VERSION}"
_SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
_JSON = "application/json"
_METADATA_ONLY = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# What the API server says when the test operation of a JSON patch fails; a status that breaks the schema is described.
_UNPROCESSABLE = 422
_PATCH_TEST_FAILED = "the server rejected our request due to an error in our request"
_PAGE = 500  # objects per list request: the API server answers in bounded memory, we parse in bounded memory


class HttpKubeClient:
    """``KubeClient`` over HTTP. Make one with ``connect``; close it with ``close``."""

    def __init__(self, api: client.ApiClient, *, timeout: float) -> None:
        self._api = api
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._stream_timeout = aiohttp.ClientTimeout(total=None, connect=timeout, sock_read=timeout)

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()  # type: ignore[no-untyped-call]  # the generated client is half typed

    async def list_jobs(self, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[facts.JobFacts]:
        return [facts.parse_job(item) async for item in self._list("/apis/batch/v1", "jobs", namespace, labels)]

    async def list_pods(self, namespace: str = "") -> list[facts.PodFacts]:
        return [facts.parse_pod(item) async for item in self._list("/api/v1", "pods", namespace, None)]

    async def get_job(self, namespace: str, name: str) -> facts.JobFacts:
        return facts.parse_job(await self._request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"))

    async def create_job(self, job: Mapping[str, Any]) -> facts.JobFacts:
        path = f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs"
        return facts.parse_job(await self._request("POST", path, body=job))

    async def delete_job(self, job: facts.JobFacts) -> None:
        # Foreground: the Job stays visible until its pod is gone, so nobody takes the agent for free too early.
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": job.uid}}
        with contextlib.suppress(errors.NotFoundError):
            await self._request("DELETE", f"/apis/batch/v1/namespaces/{job.namespace}/jobs/{job.name}", body=options)

    async def create_secret(self, secret: Mapping[str, Any]) -> None:
        await self._request("POST", f"/api/v1/namespaces/{secret['metadata']['namespace']}/secrets", body=secret)

    async def get_secret_owner(self, namespace: str, name: str) -> str:
        body = await self._request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        refs = body.get("metadata", {}).get("ownerReferences", ())
        return next((ref["uid"] for ref in refs if ref.get("controller")), "")

    async def get_secret_data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        body = await self._request("GET", f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return {key: base64.b64decode(value) for key, value in (body.get("data") or {}).items()}

    async def get_config_map_data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        body = await self._request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        binary = {key: base64.b64decode(value) for key, value in (body.get("binaryData") or {}).items()}
        return binary | {key: value.encode() for key, value in (body.get("data") or {}).items()}

    async def get_pod(self, namespace: str, name: str) -> Mapping[str, Any]:
        return await self._request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")

    async def delete_secret(self, namespace: str, name: str) -> None:
        with contextlib.suppress(errors.NotFoundError):
            await self._request("DELETE", f"/api/v1/namespaces/{namespace}/secrets/{name}")

    async def write_run_status(self, run: Ref, status: Mapping[str, Any]) -> None:
        await self._patch_run(run, "/status", {"op": "add", "path": "/status", "value": status})

    async def list_run_uids(self, namespace: str = "") -> set[str]:
        pages = self._list(_RUNS, names.PLURAL, namespace, None, selector="", accept=_METADATA_ONLY)
        return {item["metadata"]["uid"] async for item in pages}

    async def delete_run(self, run: Ref) -> None:
        path = f"{_RUNS}/namespaces/{run.namespace}/{names.PLURAL}/{run.name}"
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):
            await self._request("DELETE", path, body={"preconditions": {"uid": run.uid}})

    async def cancel_run(self, run: Ref) -> None:
        with contextlib.suppress(errors.NotFoundError):
            await self._patch_run(run, "", {"op": "add", "path": "/spec/cancel", "value": True})

    async def _patch_run(self, run: Ref, subresource: str, change: Mapping[str, Any]) -> None:
        path = f"{_RUNS}/namespaces/{run.namespace}/{names.PLURAL}/{run.name}{subresource}"
        # A merge patch to a later object of the same name would go through: the API server ignores a uid in it.
        patch = [{"op": "test", "path": "/metadata/uid", "value": run.uid}, change]
        try:
            await self._request("PATCH", path, body=patch, content_type="application/json-patch+json")
        except errors.RejectedError as e:
            if e.status == _UNPROCESSABLE and _PATCH_TEST_FAILED in str(e):
                raise errors.NotFoundError(f"AgentRun {run.name} is another one by now", status=e.status) from e
            raise

    async def create_event(self, run: Ref, kind: str, reason: str, message: str) -> None:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{run.name[:200]}.", "namespace": run.namespace},
            "involvedObject": {
                "apiVersion": f"{names.GROUP}/{names.VERSION}",
                "kind": names.KIND,
                "namespace": run.namespace,
                "name": run.name,
                "uid": run.uid,
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": names.MANAGED_BY},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        await self._request("POST", f"/api/v1/namespaces/{run.namespace}/events", body=event)

    async def get_run(self, namespace: str, name: str) -> Mapping[str, Any]:
        return await self._request("GET", f"{_RUNS}/namespaces/{namespace}/{names.PLURAL}/{name}")

    async def read_pod_log(
        self, namespace: str, pod: str, container: str, *, follow: bool = False
    ) -> AsyncIterator[bytes]:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        query = {"container": container, **({"follow": "true"} if follow else {})}
        timeout = aiohttp.ClientTimeout(total=None, connect=self._timeout.total) if follow else self._stream_timeout
        response = await self._send("GET", path, query=query, timeout=timeout)
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as e:
            raise errors.UnavailableError(f"the log of pod {pod} broke off: {_words(e)}") from e
        finally:
            response.release()

    async def _list(
        self,
        api: str,
        plural: str,
        namespace: str,
        labels: Mapping[str, str] | None,
        *,
        selector: str = _SELECTOR,
        accept: str = _JSON,
    ) -> AsyncIterator[Mapping[str, Any]]:
        scope = f"/namespaces/{namespace}" if namespace else ""
        parts = [selector, *(f"{key}={value}" for key, value in (labels or {}).items())]
        query = {"labelSelector": ",".join(filter(None, parts)), "limit": str(_PAGE)}
        while True:
            page = await self._request("GET", f"{api}{scope}/{plural}", query=query, accept=accept)
            if "items" not in page:
                raise errors.UnavailableError(f"GET {api}{scope}/{plural}: the answer could not be read: it is no list")
            for item in page["items"] or ():  # Go writes an empty list as null, too
                yield item
            token = page.get("metadata", {}).get("continue")
            if not token:
                return
            query["continue"] = token

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
    ) -> dict[str, Any]:
        response = await self._send(method, path, query=query, body=body, content_type=content_type, accept=accept)
        try:
            return msgspec.json.decode(await response.read(), type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as e:
            raise errors.UnavailableError(f"{method} {path}: the answer could not be read: {_words(e)}") from e

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        timeout: aiohttp.ClientTimeout | None = None,  # noqa: ASYNC109 - aiohttp's own kind of limit, per phase
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": accept, "Content-Type": content_type}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._api.configuration.host + path + (f"?{parse.urlencode(query)}" if query else "")
        try:
            reply = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=timeout or self._timeout
            )
            response: aiohttp.ClientResponse = reply.response
            if response.status < 400:  # noqa: PLR2004 - where HTTP's refusals begin
                return response
            text = await response.read()
        except TimeoutError as e:
            raise errors.UnavailableError(f"{method} {path}: no answer within {self._timeout.total:g} s") from e
        except (aiohttp.ClientError, OSError) as e:
            raise errors.UnavailableError(f"{method} {path}: {type(e).__name__}: {_words(e)}") from e
        raise api_error(response.status, text)


def api_error(status: int, body: bytes) -> errors.ApiError:
    """The exception for a refused request, with the API's own sentence, or what can be made of a proxy's page."""
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = messages.quote(body[:2000].decode(errors="replace"))
        answer = {"message": f"HTTP {status}: {said}"} if said else {}
    message, reason = str(answer.get("message") or f"HTTP {status}"), str(answer.get("reason") or "")
    return _error_class(status, reason)(message, status=status, reason=reason)


def _error_class(status: int, reason: str) -> type[errors.ApiError]:
    by_status = {
        400: errors.RejectedError,
        403: errors.RejectedError,
        # Without the API server's own word for it, it may be a proxy in front of it that knows no such page.
        404: errors.NotFoundError if reason == "NotFound" else errors.UnavailableError,
        405: errors.RejectedError,
        409: errors.AlreadyExistsError if reason == "AlreadyExists" else errors.ConflictError,
        413: errors.RejectedError,
        422: errors.RejectedError,
    }
    return by_status.get(status, errors.UnavailableError)


def _words(error: Exception) -> str:
    """What an exception says; time-outs say nothing."""
    return str(error) or type(error).__name__
