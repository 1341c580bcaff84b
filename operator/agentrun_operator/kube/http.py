"""``KubeClient`` over HTTP: the transport of ``kubernetes.aio`` under plain JSON."""

import base64
import contextlib
import datetime
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib import parse

import aiohttp
import msgspec
from kubernetes.aio import client
from kubernetes.aio.config import config_exception

from agentrun_operator import errors, facts, names
from agentrun_operator.forensics import messages
from agentrun_operator.kube import retry_after
from agentrun_operator.kube.client import Ref

_RUNS = f"/apis/{names.GROUP}/{names.VERSION}"
_LEASES = "/apis/coordination.k8s.io/v1"
_SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
_JSON = "application/json"
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"
_METADATA_ONLY = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_BY_ROLE = re.compile(r'\bUser "[^"]*" cannot [a-z]+ resource ')  # admission, quotas and policies speak otherwise
# What the API server says when the test operation of a JSON patch fails; a status that breaks the schema is described.
_UNPROCESSABLE = 422
_PATCH_TEST_FAILED = "the server rejected our request due to an error in our request"
_HELD = f"/metadata/annotations/{names.ANNOTATION_HELD.replace('/', '~1')}"  # as JSON pointers
_QUEUE = f"/metadata/labels/{names.LABEL_QUEUE.replace('/', '~1')}"
_PAGE = 500  # objects per list request: the API server answers in bounded memory, we parse in bounded memory


class HttpKubeClient:
    """``KubeClient`` over HTTP. Make one with ``connect``; close it with ``close``.

    ``refused`` is told of credentials that the API server did not accept, before that is raised as UnavailableError.
    """

    def __init__(
        self, api: client.ApiClient, *, timeout: float, refused: Callable[[str | None], Awaitable[None]] | None = None
    ) -> None:
        self._api = api
        self._refused = refused
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._stream_timeout = aiohttp.ClientTimeout(total=None, connect=timeout, sock_read=timeout)

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()  # type: ignore[no-untyped-call]  # the generated client is half typed

    async def list_jobs(self, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[facts.JobFacts]:
        return [facts.parse_job(item) async for item in self._list("/apis/batch/v1", "jobs", namespace, labels)]

    async def list_pods(self, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[facts.PodFacts]:
        return [facts.parse_pod(item) async for item in self._list("/api/v1", "pods", namespace, labels)]

    async def get_job(self, namespace: str, name: str) -> facts.JobFacts:
        return facts.parse_job(await self._request("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}"))

    async def create_job(self, job: Mapping[str, Any]) -> facts.JobFacts:
        path = f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs"
        return facts.parse_job(await self._request("POST", path, body=job))

    async def start_job(self, job: facts.JobFacts, *, queue: str | None) -> facts.JobFacts:
        let_go = (
            {"op": "add", "path": _QUEUE, "value": queue}
            if queue
            else {"op": "replace", "path": "/spec/suspend", "value": False}
        )
        return await self._patch_held(job, {"op": "remove", "path": _HELD}, let_go)

    async def mark_job(self, job: facts.JobFacts, mark: str) -> facts.JobFacts:
        return await self._patch_held(job, {"op": "replace", "path": _HELD, "value": mark})

    async def adopt_job(self, job: facts.JobFacts, metadata: Mapping[str, Any]) -> facts.JobFacts:
        # A resourceVersion belongs to one state of one object, so the uid need not be named.
        patch = {"metadata": {**metadata, "resourceVersion": job.version}}
        return facts.parse_job(await self._request("PATCH", _job_path(job), body=patch, content_type=_MERGE_PATCH))

    async def _patch_held(self, job: facts.JobFacts, *changes: Mapping[str, Any]) -> facts.JobFacts:
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": job.uid},
            {"op": "test", "path": _HELD, "value": job.gate},
            *changes,
        ]
        try:
            return facts.parse_job(await self._request("PATCH", _job_path(job), body=patch, content_type=_JSON_PATCH))
        except errors.RejectedError as e:
            raise _failed_test(e, f"Job {job.name} is not held as it was") or e from e

    async def delete_job(self, job: facts.JobFacts) -> None:
        # Foreground: the Job stays visible until its pod is gone, so nobody takes the agent for free too early.
        options = {"propagationPolicy": "Foreground", "preconditions": {"uid": job.uid}}
        with contextlib.suppress(errors.NotFoundError):
            await self._request("DELETE", _job_path(job), body=options)

    async def delete_pod(self, namespace: str, pod: facts.PodFacts) -> None:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod.name}"
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):  # another one has that name by now
            await self._request("DELETE", path, body={"preconditions": {"uid": pod.uid}})

    async def create_secret(self, secret: Mapping[str, Any]) -> None:
        await self._request("POST", f"/api/v1/namespaces/{secret['metadata']['namespace']}/secrets", body=secret)

    async def adopt_secret(self, namespace: str, name: str, owner: Mapping[str, Any]) -> None:
        patch, path = {"metadata": {"ownerReferences": [owner]}}, f"/api/v1/namespaces/{namespace}/secrets/{name}"
        with contextlib.suppress(errors.NotFoundError):
            await self._request("PATCH", path, body=patch, content_type=_MERGE_PATCH)

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

    async def write_run_status(self, run: Ref, status: Mapping[str, Any], *, version: str) -> str:
        # A merge patch would keep what the new status leaves out.
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": run.uid},
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/status", "value": status},
        ]
        try:
            answer = await self._request("PATCH", f"{_run_path(run)}/status", body=patch, content_type=_JSON_PATCH)
        except errors.RejectedError as e:
            raise _failed_test(e, f"AgentRun {run.name} has changed") or e from e
        return str(answer["metadata"]["resourceVersion"])

    async def list_run_uids(self, namespace: str = "") -> set[str]:
        pages = self._list(_RUNS, names.PLURAL, namespace, None, selector="", accept=_METADATA_ONLY)
        return {item["metadata"]["uid"] async for item in pages}

    async def list_run_metadata(self, namespace: str = "") -> list[Mapping[str, Any]]:
        """The metadata of all AgentRuns in ``namespace`` ("" = everywhere)."""
        pages = self._list(_RUNS, names.PLURAL, namespace, None, selector="", accept=_METADATA_ONLY)
        return [item["metadata"] async for item in pages]

    async def remove_finalizer(self, run: Ref, finalizer: str, *, index: int) -> None:
        """Remove the finalizer at that place from exactly this AgentRun. Raises ConflictError if it is not there."""
        place = f"/metadata/finalizers/{index}"
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": run.uid},
            {"op": "test", "path": place, "value": finalizer},
            {"op": "remove", "path": place},
        ]
        try:
            await self._request("PATCH", _run_path(run), body=patch, content_type=_JSON_PATCH)
        except errors.RejectedError as e:
            raise _failed_test(e, f"AgentRun {run.name} has changed") or e from e

    async def delete_run(self, run: Ref) -> None:
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):
            await self._request("DELETE", _run_path(run), body={"preconditions": {"uid": run.uid}})

    async def cancel_run(self, run: Ref, *, replaced_by: str) -> None:
        with contextlib.suppress(errors.NotFoundError):
            body = await self.get_run(run.namespace, run.name)
            if body["metadata"]["uid"] != run.uid or body["spec"].get("cancel"):
                return
            metadata = {
                "resourceVersion": body["metadata"]["resourceVersion"],
                "annotations": {names.ANNOTATION_REPLACED_BY: replaced_by},
            }
            patch = {"metadata": metadata, "spec": {"cancel": True}}
            await self._request("PATCH", _run_path(run), body=patch, content_type=_MERGE_PATCH)

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

    async def get_lease(self, namespace: str, name: str) -> Mapping[str, Any]:
        return await self._request("GET", f"{_LEASES}/namespaces/{namespace}/leases/{name}")

    async def create_lease(self, lease: Mapping[str, Any]) -> Mapping[str, Any]:
        path = f"{_LEASES}/namespaces/{lease['metadata']['namespace']}/leases"
        return await self._request("POST", path, body=lease)

    async def replace_lease(self, lease: Mapping[str, Any]) -> Mapping[str, Any]:
        path = f"{_LEASES}/namespaces/{lease['metadata']['namespace']}/leases/{lease['metadata']['name']}"
        return await self._request("PUT", path, body=lease)

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
        url = self._api.configuration.host + path + (f"?{parse.urlencode(query)}" if query else "")
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
            reply = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=timeout or self._timeout
            )
            response: aiohttp.ClientResponse = reply.response
            if response.status < 400:  # noqa: PLR2004 - where HTTP's refusals begin
                return response
            text = await response.read()
        except TimeoutError as e:
            raise errors.UnavailableError(f"{method} {path}: no answer within {self._timeout.total:g} s") from e
        except (aiohttp.ClientError, OSError, config_exception.ConfigException) as e:
            raise errors.UnavailableError(f"{method} {path}: {type(e).__name__}: {_words(e)}") from e
        if response.status == _UNAUTHORIZED and self._refused is not None:
            await self._refused(headers.get("authorization"))
        wait = retry_after.parse(
            response.status, response.headers.get("Retry-After", ""), datetime.datetime.now(datetime.UTC)
        )
        raise api_error(response.status, text, retry_after=wait)


def _run_path(run: Ref) -> str:
    return f"{_RUNS}/namespaces/{run.namespace}/{names.PLURAL}/{run.name}"


def _job_path(job: facts.JobFacts) -> str:
    return f"/apis/batch/v1/namespaces/{job.namespace}/jobs/{job.name}"


def _failed_test(error: errors.RejectedError, message: str) -> errors.ConflictError | None:
    """What the API server says when the test operation of a JSON patch fails; None for any other refusal."""
    if error.status == _UNPROCESSABLE and _PATCH_TEST_FAILED in str(error):
        return errors.ConflictError(message, status=error.status)
    return None


def api_error(status: int, body: bytes, *, retry_after: float = 0.0) -> errors.ApiError:
    """The exception for a refused request, with the API's own sentence, or what can be made of a proxy's page."""
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = messages.quote(body[:2000].decode(errors="replace"))
        answer = {"message": f"HTTP {status}: {said}"} if said else {}
    message, reason = str(answer.get("message") or f"HTTP {status}"), str(answer.get("reason") or "")
    kind = _error_class(status, reason)
    if status == _FORBIDDEN and _BY_ROLE.search(message):
        kind = errors.ForbiddenError
    if kind is errors.UnavailableError:
        return errors.UnavailableError(message, status=status, reason=reason, retry_after=retry_after)
    return kind(message, status=status, reason=reason)


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
