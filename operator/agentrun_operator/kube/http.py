"""``KubeClient`` over HTTP: every verb as a request and what its answer says."""

import base64
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import aiohttp
import msgspec

from agentrun_operator import errors, facts, names
from agentrun_operator.kube import refusal, wire
from agentrun_operator.kube.client import Event, Ref

T = TypeVar("T")

_RUNS = f"/apis/{names.GROUP}/{names.VERSION}"
_LEASES = "/apis/coordination.k8s.io/v1"
_SELECTOR = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
_JSON_PATCH = "application/json-patch+json"
_MERGE_PATCH = "application/merge-patch+json"
_METADATA_ONLY = f"{wire.JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_HELD = f"/metadata/annotations/{names.ANNOTATION_HELD.replace('/', '~1')}"  # as JSON pointers
_QUEUE = f"/metadata/labels/{names.LABEL_QUEUE.replace('/', '~1')}"


class _Metadata(msgspec.Struct):
    version: str = msgspec.field(name="resourceVersion")


class _Written(msgspec.Struct):
    """An object of which only the new version matters."""

    metadata: _Metadata


class HttpKubeClient(wire.Wire):
    """``KubeClient`` over HTTP. Make one with ``connect``; close it with ``close``."""

    def all_jobs(self, namespace: str = "") -> "Objects[facts.JobFacts]":
        return Objects(self, "/apis/batch/v1", "jobs", namespace, facts.parse_job)

    def all_pods(self, namespace: str = "") -> "Objects[facts.PodFacts]":
        return Objects(self, "/api/v1", "pods", namespace, facts.parse_pod)

    def all_runs(self, namespace: str = "") -> "Objects[Mapping[str, Any]]":
        """AgentRuns as JSON in ``namespace`` ("" = everywhere), to be listed or mirrored."""
        return Objects(self, _RUNS, names.PLURAL, namespace, _without_bookkeeping, selector="")

    async def list_jobs(self, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[facts.JobFacts]:
        return (await self.all_jobs(namespace).list(labels))[0]

    async def list_pods(self, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[facts.PodFacts]:
        return (await self.all_pods(namespace).list(labels))[0]

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

    async def let_job_go(self, job: facts.JobFacts) -> facts.JobFacts:
        index = job.finalizers.index(names.ADOPTION_FINALIZER)
        body = await self._remove_finalizer(_job_path(job), job.uid, names.ADOPTION_FINALIZER, index=index)
        return facts.parse_job(body)

    async def _patch_held(self, job: facts.JobFacts, *changes: Mapping[str, Any]) -> facts.JobFacts:
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": job.uid},
            {"op": "test", "path": _HELD, "value": job.gate},
            *changes,
        ]
        try:
            return facts.parse_job(await self._request("PATCH", _job_path(job), body=patch, content_type=_JSON_PATCH))
        except errors.RejectedError as e:
            raise refusal.failed_test(e, f"Job {job.name} is not held as it was") or e from e

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
            answer = await self._request_as(
                _Written, "PATCH", f"{_run_path(run)}/status", body=patch, content_type=_JSON_PATCH
            )
        except errors.RejectedError as e:
            raise refusal.failed_test(e, f"AgentRun {run.name} has changed") or e from e
        return answer.metadata.version

    async def list_run_uids(self, namespace: str = "") -> set[str]:
        return {metadata["uid"] for metadata in await self.list_run_metadata(namespace)}

    async def list_run_metadata(self, namespace: str = "") -> list[Mapping[str, Any]]:
        """The metadata of all AgentRuns in ``namespace`` ("" = everywhere)."""
        pages = self.list_pages(_in_namespace(_RUNS, names.PLURAL, namespace), "", accept=_METADATA_ONLY)
        return [item["metadata"] async for page in pages for item in page["items"] or ()]

    async def remove_finalizer(self, run: Ref, finalizer: str, *, index: int) -> None:
        """Remove the finalizer at that place from exactly this AgentRun. Raises ConflictError if it is not there."""
        await self._remove_finalizer(_run_path(run), run.uid, finalizer, index=index)

    async def _remove_finalizer(self, path: str, uid: str, finalizer: str, *, index: int) -> dict[str, Any]:
        place = f"/metadata/finalizers/{index}"
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": place, "value": finalizer},
            {"op": "remove", "path": place},
        ]
        try:
            return await self._request("PATCH", path, body=patch, content_type=_JSON_PATCH)
        except errors.RejectedError as e:
            raise refusal.failed_test(e, f"{path} has changed") or e from e

    async def write_run_finalizers(self, run: Ref, finalizers: Sequence[str], *, version: str) -> None:
        # A resourceVersion belongs to one state of one object, so the uid need not be named.
        patch = {"metadata": {"finalizers": list(finalizers), "resourceVersion": version}}
        await self._request("PATCH", _run_path(run), body=patch, content_type=_MERGE_PATCH)

    async def create_run(self, run: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create an AgentRun; unknown fields are refused. Raises AlreadyExistsError, RejectedError."""
        path = f"{_RUNS}/namespaces/{run['metadata']['namespace']}/{names.PLURAL}"
        return await self._request("POST", path, query={"fieldValidation": "Strict"}, body=run)

    async def list_run_events(self, run: Ref) -> list[Mapping[str, Any]]:
        """The Kubernetes Events on exactly this AgentRun."""
        query = {"fieldSelector": f"involvedObject.uid={run.uid}"}
        answer = await self._request("GET", f"/api/v1/namespaces/{run.namespace}/events", query=query)
        return list(answer.get("items") or ())

    async def delete_run(self, run: Ref) -> None:
        with contextlib.suppress(errors.NotFoundError, errors.ConflictError):
            await self._request("DELETE", _run_path(run), body={"preconditions": {"uid": run.uid}})

    async def cancel_run(self, run: Ref, *, replaced_by: str = "") -> None:
        with contextlib.suppress(errors.NotFoundError):
            body = await self.get_run(run.namespace, run.name)
            if body["metadata"]["uid"] != run.uid or body["spec"].get("cancel"):
                return
            metadata: dict[str, Any] = {"resourceVersion": body["metadata"]["resourceVersion"]}
            if replaced_by:
                metadata["annotations"] = {names.ANNOTATION_REPLACED_BY: replaced_by}
            patch = {"metadata": metadata, "spec": {"cancel": True}}
            await self._request("PATCH", _run_path(run), body=patch, content_type=_MERGE_PATCH)

    async def create_event(self, run: Ref, event: Event) -> None:
        body = {
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
            "type": event.kind,
            "reason": event.reason,
            "message": event.message,
            "source": {"component": names.MANAGED_BY},
            "firstTimestamp": event.at,
            "lastTimestamp": event.at,
            "count": 1,
        }
        await self._request("POST", f"/api/v1/namespaces/{run.namespace}/events", body=body)

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
            raise errors.UnavailableError(f"the log of pod {pod} broke off: {wire.describe(e)}") from e
        finally:
            response.release()


@dataclasses.dataclass(frozen=True, slots=True)
class Objects(Generic[T]):
    """This operator's Jobs or pods in one namespace, or everywhere: what ``reflector.Reflector`` mirrors."""

    client: HttpKubeClient
    api: str
    plural: str
    namespace: str
    parse: Callable[[Mapping[str, Any]], T]
    selector: str = _SELECTOR

    async def list(self, labels: Mapping[str, str] | None = None) -> tuple[list[T], str]:
        """All that carry ``labels``, and the version of the list. Raises ApiError."""
        wanted = [f"{key}={value}" for key, value in (labels or {}).items()]
        selector = ",".join(filter(None, [self.selector, *wanted]))
        found, version = [], ""
        async for page in self.client.list_pages(self._path, selector):
            found += [self.parse(item) for item in page["items"] or ()]  # Go writes an empty list as null, too
            version = str(page.get("metadata", {}).get("resourceVersion", ""))
        return found, version

    def watch(self, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The lines of a watch. Raises ApiError when it breaks."""
        return self.client.watch_lines(self._path, {"labelSelector": self.selector, **query})

    @property
    def _path(self) -> str:
        return _in_namespace(self.api, self.plural, self.namespace)


def _in_namespace(api: str, plural: str, namespace: str) -> str:
    return f"{api}/namespaces/{namespace}/{plural}" if namespace else f"{api}/{plural}"


def _without_bookkeeping(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object without ``managedFields``, which are longer than all the rest and tell a reader nothing."""
    kept = {key: value for key, value in body.get("metadata", {}).items() if key != "managedFields"}
    return {**body, "metadata": kept}


def _run_path(run: Ref) -> str:
    return f"{_RUNS}/namespaces/{run.namespace}/{names.PLURAL}/{run.name}"


def _job_path(job: facts.JobFacts) -> str:
    return f"/apis/batch/v1/namespaces/{job.namespace}/jobs/{job.name}"
