"""A Kubernetes API in memory, for tests of whatever talks to it through ``kube.KubeClient``.

It keeps what the real one keeps (one object per name, owners, uids, deletion that takes its time) and can be told to
misbehave, verb by verb:

* ``fail["create_job"] = [None, error, error]``: the next request is carried out, the two after it are refused;
* ``fail_late``: the request is carried out, but its answer is lost, as when a connection breaks;
* ``hold``: a request to one of these verbs is accepted and never answered.

A watch shows what a test puts on ``lines``, best with ``show``, or by itself each change of a Job that is made through
requests (``live``). One watch of each kind is fed, that of one operator.

``calls`` lists every request in its order, also failed ones, as verb and name.
"""

import asyncio
import base64
import collections
import dataclasses
import datetime
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from agentrun_operator import errors, facts, kube, names
from tests import builders

T = TypeVar("T")


@dataclasses.dataclass
class FakeKube:
    """See the module. Objects are kept as JSON bodies by (namespace, name)."""

    runs: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    jobs: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    pods: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    secrets: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    config_maps: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    pod_logs: dict[str, list[bytes]] = dataclasses.field(default_factory=dict)
    fail: collections.defaultdict[str, list[errors.ApiError | None]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    fail_late: collections.defaultdict[str, list[errors.ApiError]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    hold: set[str] = dataclasses.field(default_factory=set)
    calls: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    events: list[tuple[str, str, str, str]] = dataclasses.field(default_factory=list)
    event_times: list[str] = dataclasses.field(default_factory=list)
    written: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    started: list[str] = dataclasses.field(default_factory=list)  # Jobs that were let go, by name
    closed: bool = False
    live: bool = False
    lines: collections.defaultdict[str, asyncio.Queue[bytes | Exception | None]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(asyncio.Queue)
    )
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC)
    _uids: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(1))
    _newest: str = "100"
    _versions: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(101))

    def verbs(self, *, but: str = "") -> list[str]:
        """The verbs of all requests so far, without those to ``but``."""
        return [verb for verb, _ in self.calls if verb != but]

    def add_run(self, body: dict[str, Any]) -> dict[str, Any]:
        """Store an AgentRun, with the finalizer that kopf adds; the body returned is stored and shows every write."""
        body["metadata"].setdefault("finalizers", [names.FINALIZER])
        self.runs[body["metadata"]["namespace"], body["metadata"]["name"]] = body
        return body

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def all_jobs(self, namespace: str = "") -> "FakeSource[facts.JobFacts]":
        """Its Jobs, as a list and a watch that shows nothing but what ``lines`` says."""
        return FakeSource(self, "jobs", namespace, facts.parse_job)

    def all_pods(self, namespace: str = "") -> "FakeSource[facts.PodFacts]":
        """Its pods, in the same way."""
        return FakeSource(self, "pods", namespace, facts.parse_pod)

    async def list_jobs(self, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[facts.JobFacts]:
        """Jobs with these labels."""
        await self.enter("list_jobs", namespace)
        wanted = dict(labels or {}).items()
        found = [job for job in self._in(self.jobs, namespace) if wanted <= job["metadata"]["labels"].items()]
        return [facts.parse_job(job) for job in found]

    async def list_pods(self, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[facts.PodFacts]:
        """Pods with these labels."""
        await self.enter("list_pods", namespace)
        wanted = dict(labels or {}).items()
        found = [pod for pod in self._in(self.pods, namespace) if wanted <= pod["metadata"].get("labels", {}).items()]
        return [facts.parse_pod(pod) for pod in found]

    async def get_job(self, namespace: str, name: str) -> facts.JobFacts:
        """One Job."""
        await self.enter("get_job", name)
        return facts.parse_job(_get(self.jobs, namespace, name))

    async def create_job(self, job: Mapping[str, Any]) -> facts.JobFacts:
        """Create a Job; the API server gives it uid and time."""
        await self.enter("create_job", job["metadata"]["name"])
        body = dict(job)
        body["metadata"] = {
            **job["metadata"],
            "uid": f"job-{next(self._uids)}",
            "resourceVersion": self.next_version(),
            "creationTimestamp": self.now().isoformat(timespec="seconds"),
        }
        _add(self.jobs, body)
        self._show_change("ADDED", body)
        self._leave("create_job")
        return facts.parse_job(body)

    async def start_job(self, job: facts.JobFacts, *, queue: str | None) -> facts.JobFacts:
        """Take the mark off, and let it go or name its queue."""
        await self.enter("start_job", job.name)
        body = self._held(job)
        annotations = {k: v for k, v in body["metadata"]["annotations"].items() if k != names.ANNOTATION_HELD}
        body["metadata"] = {**body["metadata"], "annotations": annotations, "resourceVersion": self.next_version()}
        if queue:
            body["metadata"]["labels"] = {**body["metadata"]["labels"], names.LABEL_QUEUE: queue}
        else:
            body["spec"] = {**body["spec"], "suspend": False}
        self.started.append(job.name)
        self._show_change("MODIFIED", body)
        self._leave("start_job")
        return facts.parse_job(body)

    async def mark_job(self, job: facts.JobFacts, mark: str) -> facts.JobFacts:
        """Change the mark."""
        await self.enter("mark_job", job.name)
        body = self._held(job)
        annotations = {**body["metadata"]["annotations"], names.ANNOTATION_HELD: mark}
        body["metadata"] = {**body["metadata"], "annotations": annotations, "resourceVersion": self.next_version()}
        self._show_change("MODIFIED", body)
        self._leave("mark_job")
        return facts.parse_job(body)

    async def adopt_job(self, job: facts.JobFacts, metadata: Mapping[str, Any]) -> facts.JobFacts:
        """Merge into its metadata."""
        await self.enter("adopt_job", job.name)
        body = _get(self.jobs, job.namespace, job.name)
        if body["metadata"].get("resourceVersion", "") != job.version:
            raise errors.ConflictError("the object has been modified", status=409, reason="Conflict")
        old = body["metadata"]
        merged = {key: {**old[key], **metadata[key]} for key in ("labels", "annotations")}
        body["metadata"] = {**old, **metadata, **merged, "resourceVersion": self.next_version()}
        self._show_change("MODIFIED", body)
        self._leave("adopt_job")
        return facts.parse_job(body)

    async def let_job_go(self, job: facts.JobFacts) -> facts.JobFacts:
        """Take the finalizer off; a Job that waited for nothing else vanishes."""
        await self.enter("let_job_go", job.name)
        body = _get(self.jobs, job.namespace, job.name)
        meta = body["metadata"]
        if meta["uid"] != job.uid or tuple(meta.get("finalizers") or ()) != job.finalizers:
            raise errors.ConflictError(f"Job {job.name} has changed", status=422)
        left = [name for name in job.finalizers if name != names.ADOPTION_FINALIZER]
        body["metadata"] = {**meta, "finalizers": left, "resourceVersion": self.next_version()}
        if meta.get("deletionTimestamp") and not left:
            del self.jobs[job.namespace, job.name]
        self._show_change("DELETED" if (job.namespace, job.name) not in self.jobs else "MODIFIED", body)
        self._leave("let_job_go")
        return facts.parse_job(body)

    async def delete_job(self, job: facts.JobFacts) -> None:
        """Mark the Job as being deleted, as a foreground deletion does; the test lets it vanish."""
        await self.enter("delete_job", job.name)
        body = self.jobs.get((job.namespace, job.name))
        if body is not None and body["metadata"]["uid"] == job.uid:
            deleted = {"deletionTimestamp": builders.CREATED, "resourceVersion": self.next_version()}
            body["metadata"] = {**body["metadata"], **deleted}
            self._show_change("MODIFIED", body)
        self._leave("delete_job")

    async def delete_pod(self, namespace: str, pod: facts.PodFacts) -> None:
        """Mark the pod as being deleted; the test lets it vanish."""
        await self.enter("delete_pod", pod.name)
        body = self.pods.get((namespace, pod.name))
        if body is not None and body["metadata"]["uid"] == pod.uid:
            body["metadata"] = {**body["metadata"], "deletionTimestamp": builders.CREATED}
        self._leave("delete_pod")

    async def create_secret(self, secret: Mapping[str, Any]) -> None:
        """Create a Secret."""
        await self.enter("create_secret", secret["metadata"]["name"])
        _add(self.secrets, dict(secret))
        self._leave("create_secret")

    async def adopt_secret(self, namespace: str, name: str, owner: Mapping[str, Any]) -> None:
        """Give a Secret this owner."""
        await self.enter("adopt_secret", name)
        body = self.secrets.get((namespace, name))
        if body is not None:
            body["metadata"] = {**body["metadata"], "ownerReferences": [owner]}
        self._leave("adopt_secret")

    async def get_secret_owner(self, namespace: str, name: str) -> str:
        """The uid of its controller."""
        await self.enter("get_secret_owner", name)
        owners = _get(self.secrets, namespace, name)["metadata"].get("ownerReferences", ())
        return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")

    async def get_secret_data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """The values of a Secret."""
        await self.enter("get_secret_data", name)
        data = _get(self.secrets, namespace, name)["data"]
        return {key: base64.b64decode(value) for key, value in data.items()}

    async def get_config_map_data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        """The values of a ConfigMap."""
        await self.enter("get_config_map_data", name)
        return {key: value.encode() for key, value in _get(self.config_maps, namespace, name)["data"].items()}

    async def get_pod(self, namespace: str, name: str) -> Mapping[str, Any]:
        """One pod."""
        await self.enter("get_pod", name)
        return _get(self.pods, namespace, name)

    async def delete_secret(self, namespace: str, name: str) -> None:
        """Delete a Secret."""
        await self.enter("delete_secret", name)
        self.secrets.pop((namespace, name), None)
        self._leave("delete_secret")

    async def write_run_status(self, run: kube.Ref, status: Mapping[str, Any], *, version: str) -> str:
        """Replace the status of the AgentRun with that name, uid and version."""
        await self.enter("write_run_status", str(status.get("phase")))
        body = _get(self.runs, run.namespace, run.name)
        if body["metadata"]["uid"] != run.uid or body["metadata"].get("resourceVersion", "") != version:
            raise errors.ConflictError(f"AgentRun {run.name} has changed", status=422)
        body["status"] = dict(status)
        body["metadata"]["resourceVersion"] = self.next_version()
        self.written.append(dict(status))
        self._leave("write_run_status")
        return str(body["metadata"]["resourceVersion"])

    async def write_run_finalizers(self, run: kube.Ref, finalizers: Sequence[str], *, version: str) -> None:
        """Replace the finalizers of the AgentRun with that name and version."""
        await self.enter("write_run_finalizers", run.name)
        body = _get(self.runs, run.namespace, run.name)
        if body["metadata"].get("resourceVersion", "") != version:
            raise errors.ConflictError(f"AgentRun {run.name} has changed", status=409)
        body["metadata"].update(finalizers=list(finalizers), resourceVersion=self.next_version())
        if not finalizers and body["metadata"].get("deletionTimestamp"):
            del self.runs[run.namespace, run.name]
        self._leave("write_run_finalizers")

    async def list_run_uids(self, namespace: str = "") -> set[str]:
        """The uids of the AgentRuns."""
        await self.enter("list_run_uids", namespace)
        return {body["metadata"]["uid"] for body in self._in(self.runs, namespace)}

    async def delete_run(self, run: kube.Ref) -> None:
        """Delete the AgentRun with that name and uid, if it is there."""
        await self.enter("delete_run", run.name)
        body = self.runs.get((run.namespace, run.name))
        if body is not None and body["metadata"]["uid"] == run.uid:
            del self.runs[run.namespace, run.name]
        self._leave("delete_run")

    async def cancel_run(self, run: kube.Ref, *, replaced_by: str = "") -> None:
        """Set spec.cancel of the AgentRun with that name and uid, if it is there."""
        await self.enter("cancel_run", run.name)
        body = self.runs.get((run.namespace, run.name))
        if body is not None and body["metadata"]["uid"] == run.uid:
            body["spec"] = {**body["spec"], "cancel": True}
            body["metadata"]["generation"] = body["metadata"].get("generation", 1) + 1
            if replaced_by:
                body["metadata"]["annotations"] = {names.ANNOTATION_REPLACED_BY: replaced_by}
            body["metadata"]["resourceVersion"] = self.next_version()
        self._leave("cancel_run")

    async def create_event(self, run: kube.Ref, event: kube.Event) -> None:
        """Keep the Event."""
        await self.enter("create_event", event.reason)
        self.events.append((run.name, event.kind, event.reason, event.message))
        self.event_times.append(event.at)

    async def get_run(self, namespace: str, name: str) -> Mapping[str, Any]:
        """One AgentRun."""
        await self.enter("get_run", name)
        return _get(self.runs, namespace, name)

    async def read_pod_log(
        self, namespace: str, pod: str, container: str, *, follow: bool = False
    ) -> AsyncIterator[bytes]:
        """The chunks in ``pod_logs``, which a broken connection may follow (``fail_late``)."""
        await self.enter("read_pod_log", f"{pod}/{container}{'?follow' if follow else ''}")
        if pod not in self.pod_logs:
            raise errors.NotFoundError(f'pods "{pod}" not found', status=404)
        for chunk in self.pod_logs[pod]:
            yield chunk
        self._leave("read_pod_log")

    def newest(self) -> str:
        """The version of the newest write."""
        return self._newest

    def next_version(self) -> str:
        """The version of a write that the test makes by itself."""
        self._newest = str(next(self._versions))
        return self._newest

    def show(self, kind: str, plural: str, body: Mapping[str, Any]) -> None:
        """A watch shows this: an event of that kind."""
        self.lines[plural].put_nowait(msgspec.json.encode({"type": kind, "object": body}))

    def bookmark(self, plural: str, version: str) -> None:
        """A watch shows that it has come to this version."""
        self.show("BOOKMARK", plural, {"metadata": {"resourceVersion": version}})

    def _show_change(self, kind: str, job: Mapping[str, Any]) -> None:
        if self.live:
            self.show(kind, "jobs", job)

    def _held(self, job: facts.JobFacts) -> dict[str, Any]:
        body = _get(self.jobs, job.namespace, job.name)
        gate = body["metadata"]["annotations"].get(names.ANNOTATION_HELD)
        if body["metadata"]["uid"] != job.uid or gate != job.gate:
            raise errors.ConflictError(f"Job {job.name} is not held as it was", status=422)
        return body

    async def enter(self, verb: str, what: str) -> None:
        """A request begins: it is noted, and may be refused or never answered."""
        self.calls.append((verb, what))
        await asyncio.sleep(0)  # a real request always gives others a turn
        if verb in self.hold:
            await asyncio.Event().wait()
        error = self.fail[verb].pop(0) if self.fail[verb] else None
        if error is not None:
            raise error

    def _leave(self, verb: str) -> None:
        if self.fail_late[verb]:
            raise self.fail_late[verb].pop(0)

    @staticmethod
    def _in(kept: Mapping[tuple[str, str], dict[str, Any]], namespace: str) -> list[dict[str, Any]]:
        return [body for (place, _), body in kept.items() if namespace in {"", place}]


@dataclasses.dataclass
class FakeSource(Generic[T]):
    """Objects of one kind. A watch shows what is put on ``FakeKube.lines``: a line, an error, None for its end."""

    api: FakeKube
    plural: str
    namespace: str
    parse: Callable[[Mapping[str, Any]], T]

    async def list(self) -> tuple[list[T], str]:
        """All of them; the version is that of the newest write."""
        kept = self.api.jobs if self.plural == "jobs" else self.api.pods
        await self.api.enter(f"list_{self.plural}", self.namespace)
        found = [self.parse(body) for (place, _), body in kept.items() if self.namespace in {"", place}]
        return found, self.api.newest()

    async def watch(self, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """What comes, from now on."""
        await self.api.enter(f"watch_{self.plural}", query["resourceVersion"])
        while True:
            line = await self.api.lines[self.plural].get()
            if isinstance(line, Exception):
                raise line
            if line is None:
                return
            yield line


def _add(kept: dict[tuple[str, str], dict[str, Any]], body: dict[str, Any]) -> None:
    place = (body["metadata"]["namespace"], body["metadata"]["name"])
    if place in kept:
        raise errors.AlreadyExistsError(f'"{place[1]}" already exists', status=409, reason="AlreadyExists")
    kept[place] = body


def _get(kept: Mapping[tuple[str, str], dict[str, Any]], namespace: str, name: str) -> dict[str, Any]:
    try:
        return kept[namespace, name]
    except KeyError:
        raise errors.NotFoundError(f'"{name}" not found', status=404, reason="NotFound") from None
