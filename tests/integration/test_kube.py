"""The Kubernetes client against a real API server with the operator's rights, and against servers that misbehave."""

import asyncio
import base64
import contextlib
import dataclasses
import json
import pathlib
import re
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any
from urllib import parse

import pytest

import agentrun_operator
from agentrun_operator import errors, facts, kube, names
from hack import playground
from tests import harness
from tests.integration import kubelet

OURS = {names.LABEL_MANAGED_BY: names.MANAGED_BY}
RUN = {"companyId": "acme", "agent": {"id": "ada"}, "prompt": {"text": "Do it."}}


@contextlib.asynccontextmanager
async def connected(kubeconfig: pathlib.Path, *, timeout: float = 10) -> AsyncIterator[kube.HttpKubeClient]:  # noqa: ASYNC109 - only passed on
    """A client for the cluster of a kubeconfig."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        patch.setenv("KUBECONFIG", str(kubeconfig))
        client = await kube.connect(timeout=timeout)
    try:
        yield client
    finally:
        await client.close()


# --- a real API server -----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A namespace without an operator, as the administrator sees it."""

    kubectl: playground.Kubectl
    namespace: str

    def run(self, *arguments: str, stdin: object = None) -> str:
        """Output of kubectl in the namespace."""
        text = None if stdin is None else json.dumps(stdin)
        return self.kubectl.run(*arguments, "-n", self.namespace, stdin=text)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object."""
        return dict(self.kubectl.get(kind, name, "-n", self.namespace))

    def names(self, kind: str) -> list[str]:
        """The names of all objects of a kind."""
        return self.run("get", kind, "-o", "jsonpath={.items[*].metadata.name}").split()

    def create_run(self, name: str, **spec: Any) -> kube.Ref:
        """A new AgentRun; ``spec`` is merged over a small valid one."""
        body = {
            "apiVersion": "paperclip.io/v1alpha1",
            "kind": "AgentRun",
            "metadata": {"name": name},
            "spec": {**RUN, **spec},
        }
        created = json.loads(self.run("create", "-f", "-", "-o", "json", stdin=body))
        return kube.Ref(namespace=self.namespace, name=name, uid=created["metadata"]["uid"])

    def job(self, name: str, *, labels: Mapping[str, str] = OURS, **spec: Any) -> dict[str, Any]:
        """A Job that gets no pod, unless it is not suspended."""
        pod = {"restartPolicy": "Never", "nodeName": kubelet.NODE, "containers": [{"name": "claude", "image": "a"}]}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "namespace": self.namespace, "labels": dict(labels)},
            "spec": {"suspend": True, "template": {"metadata": {"labels": dict(labels)}, "spec": pod}, **spec},
        }

    def held_job(self, name: str) -> dict[str, Any]:
        """A Job that waits at the gate."""
        job = self.job(name)
        job["metadata"]["annotations"] = {"paperclip.io/held": "true"}
        return job

    def secret(self, name: str, owners: tuple[Mapping[str, Any], ...] = ()) -> dict[str, Any]:
        """A Secret."""
        meta = {"name": name, "namespace": self.namespace, "ownerReferences": list(owners)}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"prompt": "Do it."}}

    def keep(self, kind: str, name: str, **content: Any) -> None:
        """A Secret or ConfigMap with this content."""
        self.run("create", "-f", "-", stdin={"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **content})


@pytest.fixture(scope="module")
def kubeconfig(kubectl: playground.Kubectl, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The operator's own credentials."""
    return playground.operator_kubeconfig(kubectl, tmp_path_factory.mktemp("kube") / "kubeconfig")


@pytest.fixture
async def client(kubeconfig: pathlib.Path) -> AsyncIterator[kube.HttpKubeClient]:
    """A client with the operator's rights."""
    async with connected(kubeconfig) as client:
        yield client


@pytest.fixture
def place(kubectl: playground.Kubectl) -> Iterator[Place]:
    """A namespace of its own."""
    name = f"kube-{uuid.uuid4().hex[:8]}"
    kubectl.run("create", "namespace", name)
    yield Place(kubectl, name)
    kubectl.run("delete", "namespace", name, "--wait=false")


async def test_a_created_job_is_found_again(place: Place, client: kube.HttpKubeClient) -> None:
    """Create, get and list give the same facts."""
    created = await client.create_job(place.job("one"))

    assert (created.name, created.namespace, created.finished) == ("one", place.namespace, False)
    assert created.uid == place.get("job", "one")["metadata"]["uid"]
    assert [job.uid for job in await client.list_jobs(place.namespace)] == [created.uid]
    assert (await client.get_job(place.namespace, "one")).uid == created.uid


async def test_jobs_of_others_are_not_listed(place: Place, client: kube.HttpKubeClient) -> None:
    """Only what carries the operator's label, and all of the labels that were asked for; one namespace or all."""
    mark = uuid.uuid4().hex
    for name, labels in {
        "ours": {**OURS, "mark": mark},
        "ours-too": {**OURS, "mark": mark, "agent": "ada"},
        "not-marked": OURS,
        "foreign": {"mark": mark},
        "helm": {names.LABEL_MANAGED_BY: "Helm", "mark": mark},
    }.items():
        await client.create_job(place.job(name, labels=labels))

    async def found(*arguments: Any) -> list[str]:
        return [job.name for job in await client.list_jobs(*arguments)]

    assert await found(place.namespace) == ["not-marked", "ours", "ours-too"]
    assert await found(place.namespace, {"mark": mark}) == ["ours", "ours-too"]
    assert await found(place.namespace, {"mark": mark, "agent": "ada"}) == ["ours-too"]
    assert await found("", {"mark": mark}) == ["ours", "ours-too"]
    assert await found("default", {"mark": mark}) == []


@pytest.mark.parametrize("page", [1, 2, 5, 6])
async def test_a_long_list_comes_whole(
    place: Place, client: kube.HttpKubeClient, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """However many pages it takes, each Job is there once."""
    monkeypatch.setattr("agentrun_operator.kube.wire._PAGE", page)
    for number in range(5):
        await client.create_job(place.job(f"job-{number}"))

    assert [job.name for job in await client.list_jobs(place.namespace)] == [f"job-{n}" for n in range(5)]


async def test_a_name_that_is_taken(place: Place, client: kube.HttpKubeClient) -> None:
    """AlreadyExists is told apart from other conflicts, for Jobs and for Secrets."""
    await client.create_job(place.job("taken"))
    await client.create_secret(place.secret("taken"))

    with pytest.raises(errors.AlreadyExistsError, match='jobs.batch "taken" already exists'):
        await client.create_job(place.job("taken"))
    with pytest.raises(errors.AlreadyExistsError, match='secrets "taken" already exists') as caught:
        await client.create_secret(place.secret("taken"))

    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")


async def test_only_exactly_this_job_is_deleted(place: Place, client: kube.HttpKubeClient) -> None:
    """A Job of the same name with another uid is somebody else's: a conflict, and it stays."""
    job = await client.create_job(place.job("one"))

    with pytest.raises(errors.ConflictError, match="the UID in the precondition") as caught:
        await client.delete_job(dataclasses.replace(job, uid=str(uuid.uuid4())))

    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert not (await client.get_job(place.namespace, "one")).deleting
    await client.delete_job(job)
    await eventually(lambda: gone(client.get_job(place.namespace, "one")))


async def test_a_deleted_job_stays_until_its_pod_is_gone(place: Place, client: kube.HttpKubeClient) -> None:
    """Else its agent would be taken for free while it still works."""
    job = await client.create_job(place.job("busy", suspend=False))
    pods = await eventually(lambda: client.list_pods(place.namespace))
    assert [(pod.job_uid, pod.node) for pod in pods] == [(job.uid, kubelet.NODE)]

    await client.delete_job(job)

    async def ending() -> bool:
        return all(pod.deleting for pod in await client.list_pods(place.namespace))

    await eventually(ending)
    assert (await client.get_job(place.namespace, "busy")).deleting
    await client.delete_job(job)  # asked again: no error, nothing changes
    assert (await client.get_job(place.namespace, "busy")).deleting
    place.run("delete", "pod", pods[0].name, "--grace-period=0", "--force")
    await eventually(lambda: gone(client.get_job(place.namespace, "busy")))
    assert await client.list_pods(place.namespace) == []


async def test_pods_of_others_are_not_listed(place: Place, client: kube.HttpKubeClient) -> None:
    """Only the pods of this operator's Jobs."""
    for name, labels in {"ours": OURS, "foreign": {"app": "web"}}.items():
        await client.create_job(place.job(name, labels=labels, suspend=False))
    await eventually(lambda: asyncio.to_thread(lambda: len(place.names("pods")) == 2))

    assert [pod.job_uid for pod in await client.list_pods(place.namespace)] == [
        (await client.get_job(place.namespace, "ours")).uid
    ]


@pytest.mark.parametrize(
    ("controllers", "expected"),
    [((), ""), ((False,), ""), ((True,), "second"), ((False, True), "second")],
    ids=["none", "owner", "controller", "both"],
)
async def test_the_owner_of_a_secret_is_its_controller(
    place: Place, client: kube.HttpKubeClient, controllers: tuple[bool, ...], expected: str
) -> None:
    """Other owners do not count."""
    runs = {False: place.create_run("first"), True: place.create_run("second")}
    owners = tuple(
        {
            "apiVersion": "paperclip.io/v1alpha1",
            "kind": "AgentRun",
            "name": runs[controller].name,
            "uid": runs[controller].uid,
            "controller": controller,
        }
        for controller in controllers
    )
    await client.create_secret(place.secret("prompt", owners))

    owner = await client.get_secret_owner(place.namespace, "prompt")

    assert owner == (runs[True].uid if expected else "")


NO_TEXT = bytes(range(256))
LONG = "é" * 400_000  # most of what a Secret or a ConfigMap may hold


def encoded(value: bytes) -> str:
    """As the API writes bytes."""
    return base64.b64encode(value).decode()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"stringData": {"a": "Do “it”.\r\n", ".-_Az09": "x"}}, {"a": "Do “it”.\r\n".encode(), ".-_Az09": b"x"}),
        ({"data": {"a": encoded(NO_TEXT)}}, {"a": NO_TEXT}),
        ({"stringData": {"a": LONG}}, {"a": LONG.encode()}),
        ({"data": {"a": ""}}, {"a": b""}),
        ({}, {}),
    ],
    ids=["text", "bytes", "long", "empty value", "no data"],
)
async def test_what_a_secret_holds(
    place: Place, client: kube.HttpKubeClient, content: Mapping[str, Any], expected: Mapping[str, bytes]
) -> None:
    """Byte for byte; a key with nothing in it is there."""
    place.keep("Secret", "prompts", **content)
    assert await client.get_secret_data(place.namespace, "prompts") == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"data": {"a": "Do “it”.\r\n", ".-_Az09": "x"}}, {"a": "Do “it”.\r\n".encode(), ".-_Az09": b"x"}),
        ({"binaryData": {"a": encoded(NO_TEXT)}}, {"a": NO_TEXT}),
        ({"data": {"a": "x"}, "binaryData": {"b": encoded(b"y")}}, {"a": b"x", "b": b"y"}),
        ({"data": {"a": LONG}}, {"a": LONG.encode()}),
        ({"data": {"a": ""}, "binaryData": {"b": ""}}, {"a": b"", "b": b""}),
        ({}, {}),
    ],
    ids=["text", "bytes", "both", "long", "empty values", "no data"],
)
async def test_what_a_config_map_holds(
    place: Place, client: kube.HttpKubeClient, content: Mapping[str, Any], expected: Mapping[str, bytes]
) -> None:
    """Whether it is kept as text or as bytes."""
    place.keep("ConfigMap", "prompts", **content)
    assert await client.get_config_map_data(place.namespace, "prompts") == expected


async def test_a_pod_is_read_as_it_is(place: Place, client: kube.HttpKubeClient) -> None:
    """Whole: what is inherited from the operator's own pod stands in many of its fields."""
    container = {"name": "operator", "image": "a", "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]}
    spec = {"containers": [container], "nodeName": kubelet.NODE, "automountServiceAccountToken": False}
    await eventually(lambda: asyncio.to_thread(lambda: "default" in place.names("serviceaccounts")))
    place.run("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own"}, "spec": spec})

    pod = await client.get_pod(place.namespace, "own")

    seen = place.get("pod", "own")
    assert (pod["kind"], pod["metadata"]["uid"], pod["spec"]) == ("Pod", seen["metadata"]["uid"], seen["spec"])
    assert pod["spec"]["containers"][0]["env"] == container["env"]
    place.run("delete", "pod", "own", "--grace-period=0", "--force")


async def test_a_secret_is_deleted_with_its_contents(place: Place, client: kube.HttpKubeClient) -> None:
    """At once."""
    await client.create_secret(place.secret("prompt"))
    await client.delete_secret(place.namespace, "prompt")
    assert place.names("secrets") == []


async def test_deleting_what_is_not_there_is_no_error(place: Place, client: kube.HttpKubeClient) -> None:
    """A clean-up may be repeated: a Job and a Secret that exist are deleted, missing ones are passed over."""
    await client.delete_job(facts.JobFacts(name="missing", namespace=place.namespace, uid=str(uuid.uuid4())))
    await client.delete_secret(place.namespace, "missing")
    assert place.names("jobs,secrets") == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, where: client.get_job(where, "missing"),
        lambda client, where: client.get_secret_owner(where, "missing"),
        lambda client, where: client.get_secret_data(where, "missing"),
        lambda client, where: client.get_config_map_data(where, "missing"),
        lambda client, where: client.get_pod(where, "missing"),
        lambda client, where: client.write_run_status(kube.Ref(where, "missing", str(uuid.uuid4())), {}, version="1"),
        lambda client, where: whole_log(client, where),
    ],
    ids=[
        "get_job",
        "get_secret_owner",
        "get_secret_data",
        "get_config_map_data",
        "get_pod",
        "write_run_status",
        "read_pod_log",
    ],
)
async def test_what_is_missing_is_told_as_such(
    place: Place, client: kube.HttpKubeClient, ask: Callable[[kube.HttpKubeClient, str], Awaitable[object]]
) -> None:
    """NotFoundError with the API's sentence."""
    with pytest.raises(errors.NotFoundError, match='"missing" not found') as caught:
        await ask(client, place.namespace)
    assert caught.value.status == 404


async def test_a_status_is_replaced_as_a_whole(place: Place, client: kube.HttpKubeClient) -> None:
    """What the new status does not have is gone, the spec is left alone; the answer is the version to go on from."""
    run = place.create_run("one")
    before = place.get(harness.RUNS, "one")
    full = {"phase": "Running", "podName": "p", "session": {"id": "s", "cwd": "/work"}}

    version = await client.write_run_status(run, full, version=before["metadata"]["resourceVersion"])
    version = await client.write_run_status(run, {"phase": "Failed", "session": {"id": "s"}}, version=version)

    after = place.get(harness.RUNS, "one")
    assert after["status"] == {"phase": "Failed", "session": {"id": "s"}}
    assert after["metadata"]["resourceVersion"] == version
    assert after["spec"] == before["spec"]


@pytest.mark.parametrize("change", ["somebody wrote the status", "somebody changed the spec", "it is another run"])
async def test_a_status_made_from_an_older_version_is_refused(
    place: Place, client: kube.HttpKubeClient, change: str
) -> None:
    """Nothing is overwritten unseen; the caller has to look again."""
    run = place.create_run("one")
    version = place.get(harness.RUNS, "one")["metadata"]["resourceVersion"]
    if change == "somebody wrote the status":
        await client.write_run_status(run, {"phase": "Failed"}, version=version)
    elif change == "somebody changed the spec":
        place.run("patch", harness.RUNS, "one", "--type=merge", "-p", '{"spec": {"cancel": true}}')
    else:
        run = dataclasses.replace(run, uid=str(uuid.uuid4()))
    before = place.get(harness.RUNS, "one")

    with pytest.raises(errors.ConflictError, match="has changed"):
        await client.write_run_status(run, {"phase": "Running"}, version=version)

    assert place.get(harness.RUNS, "one") == before


async def test_a_held_job_is_started_once(place: Place, client: kube.HttpKubeClient) -> None:
    """The mark goes and the Job may have its pod; a second start is refused."""
    held = await client.create_job(place.held_job("one"))
    assert (held.held, held.live) == (True, False)

    started = await client.start_job(held, queue=None)

    assert (started.held, started.live, started.suspended) == (False, True, False)
    with pytest.raises(errors.ConflictError, match="not held as it was"):
        await client.start_job(held, queue=None)


async def test_a_job_that_was_marked_meanwhile_is_not_started(place: Place, client: kube.HttpKubeClient) -> None:
    """Who stands in front marks who is behind; the list from before the mark is good for nothing then."""
    held = await client.create_job(place.held_job("one"))
    marked = await client.mark_job(held, "another-uid")
    assert (marked.gate, marked.held) == ("another-uid", True)

    for late in (client.start_job(held, queue=None), client.mark_job(held, "a-third")):
        with pytest.raises(errors.ConflictError, match="not held as it was"):
            await late
    assert (await client.start_job(marked, queue=None)).live


async def test_a_job_of_that_name_that_is_another_is_not_started(place: Place, client: kube.HttpKubeClient) -> None:
    """The uid decides."""
    held = await client.create_job(place.held_job("one"))
    with pytest.raises(errors.ConflictError, match="not held as it was"):
        await client.start_job(dataclasses.replace(held, uid=str(uuid.uuid4())), queue=None)


async def test_a_held_job_is_handed_to_its_queue(place: Place, client: kube.HttpKubeClient) -> None:
    """It stays suspended: the queue starts it."""
    held = await client.create_job(place.held_job("one"))
    handed = await client.start_job(held, queue="gold")
    assert (handed.held, handed.suspended) == (False, True)
    assert place.get("job", "one")["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gold"


async def test_a_job_is_adopted_as_it_was_seen(place: Place, client: kube.HttpKubeClient) -> None:
    """New owner, labels and annotations; whoever saw an older state of it is refused."""
    await client.create_job(place.held_job("one"))
    # The Job controller notes that it is suspended; after that nobody changes it.
    await eventually(lambda: asyncio.to_thread(lambda: place.get("job", "one")["status"].get("conditions")))
    seen = await client.get_job(place.namespace, "one")
    run = place.create_run("new")
    owner = {"apiVersion": "paperclip.io/v1alpha1", "kind": "AgentRun", "name": run.name, "uid": run.uid}
    metadata = {
        "ownerReferences": [{**owner, "controller": True}],
        "annotations": {"paperclip.io/reattached-from": "old"},
    }
    adopted = await client.adopt_job(seen, metadata)

    assert (adopted.owner_uid, adopted.reattached_from, adopted.gate) == (run.uid, "old", "true")
    with pytest.raises(errors.ConflictError):
        await client.adopt_job(seen, metadata)


async def test_an_adopted_job_cannot_vanish_before_it_is_let_go(place: Place, client: kube.HttpKubeClient) -> None:
    """Whoever deletes it; finalizers of others stay where they are."""
    await client.create_job(place.held_job("one"))
    await eventually(lambda: asyncio.to_thread(lambda: place.get("job", "one")["status"].get("conditions")))
    held_by = ["other.example/x", names.ADOPTION_FINALIZER]
    adopted = await client.adopt_job(await client.get_job(place.namespace, "one"), {"finalizers": held_by})
    assert adopted.adopting
    place.run("delete", "job", "one", "--wait=false")
    now = await client.get_job(place.namespace, "one")
    assert (now.deleting, now.adopting) == (True, True)

    with pytest.raises(errors.ConflictError):
        await client.let_job_go(dataclasses.replace(now, finalizers=(names.ADOPTION_FINALIZER,)))
    assert not (await client.let_job_go(now)).adopting
    assert place.get("job", "one")["metadata"]["finalizers"] == ["other.example/x"]

    place.run("patch", "job", "one", "--type=merge", "-p", '{"metadata":{"finalizers":[]}}')
    with pytest.raises(errors.NotFoundError):
        await client.let_job_go(now)


async def test_only_exactly_this_pod_is_deleted(place: Place, client: kube.HttpKubeClient) -> None:
    """A later one of its name stays; one that is not there is no error."""
    pod = {"containers": [{"name": "claude", "image": "a"}], "nodeName": kubelet.NODE}
    place.run("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": pod})
    seen = facts.parse_pod(place.get("pod", "one"))

    await client.delete_pod(place.namespace, dataclasses.replace(seen, uid=str(uuid.uuid4())))
    assert "deletionTimestamp" not in place.get("pod", "one")["metadata"]
    await client.delete_pod(place.namespace, dataclasses.replace(seen, name="missing"))
    await client.delete_pod(place.namespace, seen)

    assert "deletionTimestamp" in place.get("pod", "one")["metadata"]


async def test_a_secret_is_adopted(place: Place, client: kube.HttpKubeClient) -> None:
    """It has one owner then; one that is not there is no error."""
    await client.create_secret(place.secret("kept"))
    run = place.create_run("new")
    owner = {"apiVersion": "paperclip.io/v1alpha1", "kind": "AgentRun", "name": run.name, "uid": run.uid}
    await client.adopt_secret(place.namespace, "kept", {**owner, "controller": True})
    await client.adopt_secret(place.namespace, "missing", {**owner, "controller": True})

    assert await client.get_secret_owner(place.namespace, "kept") == run.uid


async def test_a_run_is_cancelled_and_nothing_else_of_it_changed(place: Place, client: kube.HttpKubeClient) -> None:
    """Its own supervisor does the rest; what is on record of it stays."""
    run = place.create_run("one", priority=5, cancel=False)
    version = place.get(harness.RUNS, "one")["metadata"]["resourceVersion"]
    await client.write_run_status(run, {"phase": "Running"}, version=version)
    before = place.get(harness.RUNS, "one")

    await client.cancel_run(run, replaced_by="two")

    after = place.get(harness.RUNS, "one")
    assert after["metadata"]["annotations"] == {"paperclip.io/replaced-by": "two"}
    assert after["spec"] == {**before["spec"], "cancel": True}
    assert after["status"] == {"phase": "Running"}
    assert "deletionTimestamp" not in after["metadata"]


async def test_a_run_that_is_cancelled_already_stays_as_it_is(place: Place, client: kube.HttpKubeClient) -> None:
    """Asked again by the next look at it: no error, and no event for anybody who watches."""
    run = place.create_run("one", cancel=True)
    before = place.get(harness.RUNS, "one")

    await client.cancel_run(run, replaced_by="two")

    assert place.get(harness.RUNS, "one") == before


@pytest.mark.parametrize("name", ["one", "missing"])
async def test_a_run_that_is_gone_is_not_cancelled_any_more(
    place: Place, client: kube.HttpKubeClient, name: str
) -> None:
    """No error: it has the agent no longer. A later run of its name is another one, which nobody asked to stop."""
    place.create_run("one")
    before = place.get(harness.RUNS, "one")

    await client.cancel_run(kube.Ref(place.namespace, name, str(uuid.uuid4())), replaced_by="two")

    assert place.get(harness.RUNS, "one") == before
    assert place.names(harness.RUNS) == ["one"]


async def test_a_run_is_deleted(place: Place, client: kube.HttpKubeClient) -> None:
    """At once, if nothing holds it."""
    run = place.create_run("one")
    place.create_run("two")

    await client.delete_run(run)

    assert place.names(harness.RUNS) == ["two"]


@pytest.mark.parametrize("name", ["one", "missing"])
async def test_a_run_that_is_gone_is_not_deleted_again(place: Place, client: kube.HttpKubeClient, name: str) -> None:
    """No error; and a later run of its name is left alone."""
    place.create_run("one")
    before = place.get(harness.RUNS, "one")

    await client.delete_run(kube.Ref(place.namespace, name, str(uuid.uuid4())))

    assert place.get(harness.RUNS, "one") == before


@pytest.mark.parametrize("page", [1, 500])
async def test_all_runs_are_found_by_uid(
    place: Place, client: kube.HttpKubeClient, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """However many pages it takes: who is missing in the answer is taken for deleted. One namespace or all."""
    monkeypatch.setattr("agentrun_operator.kube.wire._PAGE", page)
    assert await client.list_run_uids(place.namespace) == set()
    uids = {place.create_run(f"run-{number}").uid for number in range(3)}

    assert await client.list_run_uids(place.namespace) == uids
    assert await client.list_run_uids() >= uids
    assert await client.list_run_uids("default") == set()


async def test_a_status_that_breaks_the_schema_is_rejected(place: Place, client: kube.HttpKubeClient) -> None:
    """Not taken for a run that is gone, although the API server answers 422 to both; its sentence is kept."""
    run = place.create_run("one")

    version = place.get(harness.RUNS, "one")["metadata"]["resourceVersion"]
    with pytest.raises(errors.RejectedError, match='status.phase: Unsupported value: "Nonsense"') as caught:
        await client.write_run_status(run, {"phase": "Nonsense"}, version=version)

    assert caught.value.status == 422
    assert "status" not in place.get(harness.RUNS, "one")


async def test_an_invalid_job_is_rejected(place: Place, client: kube.HttpKubeClient) -> None:
    """With the API's own sentence, which names the field."""
    with pytest.raises(errors.RejectedError, match="spec.backoffLimit") as caught:
        await client.create_job(place.job("bad", backoffLimit=-1))
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")


async def test_what_is_forbidden_is_rejected(place: Place, client: kube.HttpKubeClient) -> None:
    """The sentence names user, verb and resource: what an administrator needs to fix it."""
    body = {"metadata": {"name": "one", "namespace": place.namespace}}

    with pytest.raises(errors.RejectedError, match='agentrun-operator" cannot create resource "pods"') as caught:
        await client._request("POST", f"/api/v1/namespaces/{place.namespace}/pods", body=body)  # noqa: SLF001 - no method asks for what is not granted

    assert (caught.value.status, caught.value.reason) == (403, "Forbidden")


async def test_a_quota_rejects_with_its_sentence(place: Place, client: kube.HttpKubeClient) -> None:
    """403 Forbidden as well, told apart by the words."""
    place.run("create", "quota", "none", "--hard=count/jobs.batch=0")
    await eventually(lambda: asyncio.to_thread(lambda: "hard" in place.get("quota", "none")["status"]))

    with pytest.raises(errors.RejectedError, match="exceeded quota: none"):
        await client.create_job(place.job("one"))


async def test_a_user_reads_the_whole_run(place: Place) -> None:
    """``get_run``, with the rights of somebody who may."""
    run = place.create_run("one")
    assert place.kubectl.kubeconfig is not None
    async with connected(place.kubectl.kubeconfig) as client:
        body = await client.get_run(place.namespace, "one")
        assert body["metadata"]["uid"] == run.uid
        assert body["spec"]["prompt"] == {"text": "Do it."}
        with pytest.raises(errors.NotFoundError, match='"missing" not found'):
            await client.get_run(place.namespace, "missing")


# --- mirrors of a real API server --------------------------------------------------------------------------------


@dataclasses.dataclass
class Mirror:
    """What is shown of a kind of objects, in order: the versions, and names before them."""

    told: list[str] = dataclasses.field(default_factory=list)
    lists: int = 0

    async def listed(self, items: list[facts.JobFacts], version: str) -> None:  # noqa: ARG002, RUF029 - as the protocol has it
        self.told += [item.name for item in items]
        self.lists += 1

    def changed(self, item: facts.JobFacts, *, gone: bool) -> None:
        self.told.append(f"-{item.name}" if gone else item.name)

    def reached(self, version: str) -> None:
        self.told.append(version)

    def before(self, version: str) -> set[str]:
        """The names that were shown before that version was."""
        return set(self.told[: self.told.index(version)])


@contextlib.asynccontextmanager
async def mirrored(client: kube.HttpKubeClient, namespace: str) -> AsyncIterator[Mirror]:
    """The Jobs of a namespace, mirrored from a moment after their first list."""
    mirror = Mirror()
    task = asyncio.create_task(kube.Reflector(client.all_jobs(namespace), mirror, what="Jobs").run())
    try:
        await eventually(lambda: asyncio.sleep(0, mirror.lists))
        yield mirror
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.25)  # the watch's connection with TLS is closed by then, as aiohttp's documentation says


async def test_a_mirror_shows_everything_in_its_order(place: Place, client: kube.HttpKubeClient) -> None:
    """Once it has come to a Job, it has shown all that were made before: what a run's start rests on."""
    await client.create_job(place.job("first"))
    async with mirrored(client, place.namespace) as mirror:
        assert mirror.told[0] == "first"
        await client.create_job(place.job("foreign", labels={"app": "web"}))
        made = await asyncio.gather(*(client.create_job(place.job(f"job-{number}")) for number in range(20)))
        await eventually(lambda: asyncio.sleep(0, all(job.version in mirror.told for job in made)))
        in_order = sorted(made, key=lambda job: int(job.version))
        for number, job in enumerate(in_order):
            assert {"first", *(other.name for other in in_order[: number + 1])} <= mirror.before(job.version)
        await client.delete_job(made[0])
        await eventually(lambda: asyncio.sleep(0, "-job-0" in mirror.told))
        versions = [int(told) for told in mirror.told if told.isdecimal()]
        assert versions == sorted(versions)
        assert not {"foreign", "-foreign"} & set(mirror.told)
        assert mirror.lists == 1


async def test_a_mirror_goes_on_after_the_end_of_a_watch(
    place: Place, client: kube.HttpKubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was: the API server says how far the watch has come before it ends it, and nothing is listed anew."""
    monkeypatch.setattr("agentrun_operator.kube.reflector._WATCH_SECONDS", 3)
    async with mirrored(client, place.namespace) as mirror:
        await client.create_job(place.job("one"))
        await eventually(lambda: asyncio.sleep(0, "one" in mirror.told))
        await client.create_job(place.job("foreign", labels={"app": "web"}))
        shown = len(mirror.told)
        await asyncio.sleep(6)
        await client.create_job(place.job("two"))
        await eventually(lambda: asyncio.sleep(0, "two" in mirror.told))
        bookmarks = mirror.told[shown : mirror.told.index("two")]
        assert bookmarks
        assert all(told.isdecimal() for told in bookmarks if told not in {"one", "-one"})
        assert mirror.lists == 1


async def test_a_list_comes_with_its_version(
    place: Place, client: kube.HttpKubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In however many pages; it is not older than what it shows. An empty one has a version, too."""
    monkeypatch.setattr("agentrun_operator.kube.wire._PAGE", 2)
    pods, version = await client.all_pods(place.namespace).list()
    assert (pods, int(version) > 0) == ([], True)
    made = [await client.create_job(place.job(f"job-{number}")) for number in range(5)]
    jobs, version = await client.all_jobs(place.namespace).list()
    assert {job.uid for job in jobs} == {job.uid for job in made}
    assert int(version) >= max(int(job.version) for job in made)


async def test_the_finalizers_of_a_run_are_written_as_it_was_seen(place: Place, client: kube.HttpKubeClient) -> None:
    """Nothing else of it changes; whoever saw an older state is refused, and so is who means one that is not there."""
    run = place.create_run("one")
    body = place.get(harness.RUNS, "one")
    version = body["metadata"]["resourceVersion"]
    await client.write_run_finalizers(run, ["example.com/other", names.FINALIZER], version=version)
    changed = place.get(harness.RUNS, "one")
    assert changed["metadata"]["finalizers"] == ["example.com/other", names.FINALIZER]
    assert changed["spec"] == body["spec"]
    with pytest.raises(errors.ConflictError):
        await client.write_run_finalizers(run, [], version=version)
    await client.write_run_finalizers(run, [], version=changed["metadata"]["resourceVersion"])
    assert "finalizers" not in place.get(harness.RUNS, "one")["metadata"]
    with pytest.raises(errors.NotFoundError):
        await client.write_run_finalizers(dataclasses.replace(run, name="missing"), [], version=version)


async def gone(question: Awaitable[object]) -> bool:
    """Whether what is asked for does not exist."""
    try:
        await question
    except errors.NotFoundError:
        return True
    return False


async def eventually(ask: Callable[[], Awaitable[Any]]) -> Any:  # noqa: ANN401 - whatever is asked for
    """The first true answer, within 15 seconds."""
    async with asyncio.timeout(15):
        while not (answer := await ask()):  # noqa: ASYNC110 - what is waited for happens on the server
            await asyncio.sleep(0.05)
    return answer


async def whole_watch(client: kube.HttpKubeClient) -> list[bytes]:
    """The lines of a watch of Jobs."""
    query = {"watch": "1", "resourceVersion": "5"}
    return [line async for line in client.all_jobs("team-a").watch(query)]


async def whole_log(client: kube.HttpKubeClient, namespace: str, *, follow: bool = False) -> bytes:
    """The log of a pod."""
    return b"".join([chunk async for chunk in client.read_pod_log(namespace, "missing", "claude", follow=follow)])


# --- servers that misbehave ------------------------------------------------------------------------------------------


class Server:
    """Gives every request the same answer, byte for byte, and then closes the connection or falls silent."""

    def __init__(self, *answers: bytes, close: bool = True) -> None:
        self._answers = answers
        self._close = close
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.requests: list[str] = []
        self.agents: list[str] = []  # who asked, as each says of itself
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._socket.close()
        for connection in self._connections:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed: the test is over
                return
            self._connections.append(connection)
            with contextlib.suppress(OSError):
                head = connection.recv(65_536).decode(errors="replace")
                self.requests.append(head.partition("\r\n")[0])
                self.agents += re.findall(r"(?im)^user-agent: *(.*?)\r?$", head)
                connection.sendall(self._answers[min(len(self.requests), len(self._answers)) - 1])
                if self._close:
                    connection.shutdown(socket.SHUT_RDWR)


def kubeconfig_for(port: int, folder: pathlib.Path) -> pathlib.Path:
    """A kubeconfig for a server on loopback."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {"token": "made-up-token"}}],
    }
    target = folder / "kubeconfig"
    target.write_text(json.dumps(config))
    return target


def http(status: int, body: bytes | dict[str, Any] = b"", *, length: int | None = None) -> bytes:
    """An HTTP answer; ``length`` is what it claims, if that is not its length."""
    text = json.dumps(body).encode() if isinstance(body, dict) else body
    head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(text) if length is None else length}\r\n\r\n"
    return head.encode() + text


def refusal(code: int, reason: str, message: str) -> dict[str, Any]:
    """What the API server sends with a refusal."""
    return {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}


HTML = b"<html>\r\n<head><title>Bad Gateway</title></head>\r\n<body><h1>nginx</h1></body></html>"
WHERE = "GET /apis/batch/v1/namespaces/team-a/jobs"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (http(500, refusal(500, "InternalError", "etcdserver: timed out")), "Unavailable", "^etcdserver: timed out$"),
        (http(503, refusal(503, "ServiceUnavailable", "no endpoints")), "Unavailable", "^no endpoints$"),
        (http(504, refusal(504, "Timeout", "try again")), "Unavailable", "^try again$"),
        (http(429, refusal(429, "TooManyRequests", "too many requests")), "Unavailable", "^too many requests$"),
        (http(429, b"Too many requests, please try again later.\n"), "Unavailable", "HTTP 429: .*try again later"),
        (http(401, refusal(401, "Unauthorized", "Unauthorized")), "Unavailable", "^Unauthorized$"),  # renewed tokens
        (http(410, refusal(410, "Expired", "continue parameter is too old")), "Unavailable", "too old"),
        (http(500), "Unavailable", "^HTTP 500$"),
        (http(500, {}), "Unavailable", "^HTTP 500$"),
        (http(500, b"[]"), "Unavailable", "^HTTP 500"),
        (http(500, b'{"kind":"Status","mess'), "Unavailable", "^HTTP 500$"),
        (http(502, HTML), "Unavailable", "^HTTP 502: “Bad Gateway nginx”$"),
        (http(502, b"\x00\xff\x1b[31m"), "Unavailable", "^HTTP 502"),
        (http(500, refusal(500, "x", "y"), length=999), "Unavailable", f"^{WHERE}.*: .+"),
        (http(200, HTML), "Unavailable", f"^{WHERE}: the answer could not be read: .+"),
        (http(200, b'{"items":[{"meta'), "Unavailable", f"^{WHERE}: the answer could not be read: .+"),
        (http(200, b'{"items":[', length=999), "Unavailable", f"^{WHERE}: the answer could not be read: .+"),
        (http(200), "Unavailable", f"^{WHERE}: the answer could not be read: .+"),
        (http(200, b'{"items":"\xff"}'), "Unavailable", f"^{WHERE}: the answer could not be read: .+"),
        (http(200, b"[]"), "Unavailable", f"^{WHERE}: the answer could not be read: .+"),
        (http(200, b"null"), "Unavailable", f"^{WHERE}: the answer could not be read: .+"),
        (http(200, {}), "Unavailable", f"^{WHERE}: the answer could not be read: .+"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "Unavailable", f"^{WHERE}.*: .+"),
        (b"", "Unavailable", f"^{WHERE}.*: .+"),
        (http(400, refusal(400, "BadRequest", "bad selector")), "Rejected", "^bad selector$"),
        (http(403, refusal(403, "Forbidden", "not you")), "Rejected", "^not you$"),
        (http(403, HTML), "Rejected", "^HTTP 403: “Bad Gateway nginx”$"),
        (http(413, b"request entity too large"), "Rejected", "HTTP 413: .*too large"),
        (http(404, refusal(404, "NotFound", "none")), "NotFound", "^none$"),
        (http(404, b"404 page not found\n"), "Unavailable", "HTTP 404: .*page not found"),  # not the API's own word
        (http(404, HTML), "Unavailable", "HTTP 404: .*"),
        (http(409, refusal(409, "Conflict", "changed")), "Conflict", "^changed$"),
        (http(409, refusal(409, "AlreadyExists", "there")), "AlreadyExists", "^there$"),
        (http(409, b"conflict"), "Conflict", "conflict"),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else str(value),
)
async def test_what_an_answer_means(tmp_path: pathlib.Path, answer: bytes, kind: str, words: str) -> None:
    """Each kind of answer is one exception with a readable sentence; what is no answer may be asked for again."""
    with Server(answer) as server:
        async with connected(kubeconfig_for(server.port, tmp_path), timeout=5) as client:
            with pytest.raises(errors.ApiError, match=words) as caught:
                await client.list_jobs("team-a")

    assert type(caught.value).__name__ == f"{kind}Error"
    assert str(caught.value).isprintable()
    assert "made-up-token" not in str(caught.value)


async def test_who_asks_is_told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the API server's audit log each program has its name and version."""
    with Server(http(200, {"items": []})) as server:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig_for(server.port, tmp_path)))
        for given in ({}, {"program": "agentrun-operator"}):
            client = await kube.connect(timeout=5, **given)  # type: ignore[arg-type]  # one keyword or none
            await client.list_jobs("team-a")
            await client.close()
    version = agentrun_operator.__version__
    assert server.agents == [f"agentrun/{version}", f"agentrun-operator/{version}"]


JOB = facts.JobFacts(name="one", namespace="team-a", uid="u")
ADOPTED = dataclasses.replace(JOB, finalizers=(names.ADOPTION_FINALIZER,))
CALLS: dict[str, Callable[[kube.HttpKubeClient], Awaitable[object]]] = {
    "all_jobs": whole_watch,
    "all_pods": lambda client: client.all_pods("team-a").list(),
    "list_jobs": lambda client: client.list_jobs(),
    "list_pods": lambda client: client.list_pods("team-a"),
    "get_job": lambda client: client.get_job("team-a", "one"),
    "create_job": lambda client: client.create_job({"metadata": {"namespace": "team-a"}}),
    "start_job": lambda client: client.start_job(JOB, queue=None),
    "mark_job": lambda client: client.mark_job(JOB, "mark"),
    "adopt_job": lambda client: client.adopt_job(JOB, {}),
    "let_job_go": lambda client: client.let_job_go(ADOPTED),
    "adopt_secret": lambda client: client.adopt_secret("team-a", "one", {}),
    "delete_job": lambda client: client.delete_job(JOB),
    "delete_pod": lambda client: client.delete_pod("team-a", facts.PodFacts(name="one", uid="u")),
    "create_secret": lambda client: client.create_secret({"metadata": {"namespace": "team-a"}}),
    "get_secret_owner": lambda client: client.get_secret_owner("team-a", "one"),
    "get_secret_data": lambda client: client.get_secret_data("team-a", "one"),
    "get_config_map_data": lambda client: client.get_config_map_data("team-a", "one"),
    "get_pod": lambda client: client.get_pod("team-a", "one"),
    "delete_secret": lambda client: client.delete_secret("team-a", "one"),
    "write_run_status": lambda client: client.write_run_status(kube.Ref("team-a", "one", "u"), {}, version="1"),
    "write_run_finalizers": lambda client: client.write_run_finalizers(kube.Ref("team-a", "one", "u"), [], version="1"),
    "list_run_uids": lambda client: client.list_run_uids("team-a"),
    "delete_run": lambda client: client.delete_run(kube.Ref("team-a", "one", "u")),
    "cancel_run": lambda client: client.cancel_run(kube.Ref("team-a", "one", "u"), replaced_by="b"),
    "create_event": lambda client: client.create_event(
        kube.Ref("team-a", "one", "u"), kube.Event("Normal", "Queued", "Waiting.", "2026-01-02T03:04:05Z")
    ),
    "get_run": lambda client: client.get_run("team-a", "one"),
    "read_pod_log": lambda client: whole_log(client, "team-a"),
}


def test_every_method_is_called() -> None:
    """A new method of the client is tried on bad servers, too."""
    methods = {name for name in vars(kube.KubeClient) if not name.startswith("_")}
    assert methods - {"close"} == set(CALLS)


@pytest.mark.parametrize("call", CALLS)
async def test_nobody_listens(tmp_path: pathlib.Path, call: str) -> None:
    """Connection refused: UnavailableError naming what was asked and where."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with connected(kubeconfig_for(port, tmp_path)) as client:
        said = rf"^(GET|POST|PATCH|DELETE) /api\S*: cannot connect to 127\.0\.0\.1:{port}: Connection refused$"
        with pytest.raises(errors.UnavailableError, match=said) as caught:
            await CALLS[call](client)
    assert caught.value.status == 0


@pytest.mark.parametrize("call", CALLS)
async def test_nobody_answers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A server that takes the connection and says nothing: UnavailableError after the time-out, which is named."""
    monkeypatch.setattr("agentrun_operator.kube.wire._SILENT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with connected(kubeconfig_for(silent.getsockname()[1], tmp_path), timeout=0.2) as client:
            with pytest.raises(errors.UnavailableError, match=r"^[A-Z]+ /api\S*: no answer within 0\.2 s$"):
                async with asyncio.timeout(3):
                    await CALLS[call](client)


@pytest.mark.parametrize("call", CALLS)
async def test_the_server_is_in_trouble(tmp_path: pathlib.Path, call: str) -> None:
    """A 500 is UnavailableError from every method, asked once: only the caller knows whether to try again."""
    with Server(http(500, refusal(500, "InternalError", "etcdserver: timed out"))) as server:
        async with connected(kubeconfig_for(server.port, tmp_path)) as client:
            with pytest.raises(errors.UnavailableError, match="^etcdserver: timed out$"):
                await CALLS[call](client)
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"read_pod_log", "all_jobs"}))
@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b"OK"])
async def test_an_answer_that_is_no_object(tmp_path: pathlib.Path, call: str, body: bytes) -> None:
    """Somebody else answers in the API server's place: nothing can be concluded."""
    with Server(http(200, body)) as server:
        async with connected(kubeconfig_for(server.port, tmp_path)) as client:
            with pytest.raises(errors.UnavailableError, match="the answer could not be read"):
                await CALLS[call](client)


async def watched(port: int, folder: pathlib.Path) -> list[bytes | str]:
    """The lines of a watch, and what became of it if that was no end in good order."""
    lines: list[bytes | str] = []
    async with connected(kubeconfig_for(port, folder), timeout=5) as client:
        try:
            async for line in client.all_jobs("team-a").watch({"resourceVersion": "5"}):
                lines.append(line)  # noqa: PERF401 - those before an error count
        except errors.UnavailableError as e:
            lines.append(str(e))
    return lines


async def test_a_watch_asks_for_this_operators_objects(tmp_path: pathlib.Path) -> None:
    """From the version that it is given."""
    with Server(http(200, b"one\ntwo\n")) as server:
        assert await watched(server.port, tmp_path) == [b"one", b"two"]
    [request] = server.requests
    path, query = parse.urlsplit(request.split()[1])[2:4]
    assert path == "/apis/batch/v1/namespaces/team-a/jobs"
    assert parse.parse_qs(query) == {
        "labelSelector": [f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"],
        "resourceVersion": ["5"],
    }


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([b"one\ntw", b"o\nthr", b"e", b"e\n"], [b"one", b"two", b"three"]),
        ([b"o", b"n", b"e", b"\n"], [b"one"]),
        ([b"one\ntwo"], [b"one"]),
        ([b"one\n\ntwo\n"], [b"one", b"", b"two"]),
        ([b"x" * 3_000_000, b"\ny\n"], [b"x" * 3_000_000, b"y"]),
        ([], []),
    ],
    ids=["in pieces", "letter by letter", "half a line at the end", "an empty line", "a long line", "nothing"],
)
async def test_the_lines_of_a_watch_come_whole(tmp_path: pathlib.Path, pieces: list[bytes], lines: list[bytes]) -> None:
    """However they cross the wire; one that lacks its end is none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        assert await watched(server.sockets[0].getsockname()[1], tmp_path) == lines


async def test_a_watch_that_breaks_off(tmp_path: pathlib.Path) -> None:
    """What came is handed on; then UnavailableError."""
    with Server(http(200, b"one\ntw", length=999)) as server:
        first, end = await watched(server.port, tmp_path)
    assert first == b"one"
    assert str(end).startswith("the watch of /apis/batch/v1/namespaces/team-a/jobs broke off: ")


async def test_a_watch_that_is_silent_for_too_long_is_ended(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In good order: nobody can tell whether it has nothing to show or is dead."""
    monkeypatch.setattr("agentrun_operator.kube.wire._SILENT_SECONDS", 1)
    with Server(http(200, b"one\n", length=999), close=False) as server:
        async with asyncio.timeout(10):
            assert await watched(server.port, tmp_path) == [b"one"]


async def test_a_watch_is_silent_for_longer_than_a_request_may_take(tmp_path: pathlib.Path) -> None:
    """Nothing may happen for a while; the request's time-out is not for that."""
    with Server(http(200, b"one\n", length=999), close=False) as server:
        async with connected(kubeconfig_for(server.port, tmp_path), timeout=0.2) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await whole_watch(client)


@pytest.mark.parametrize("follow", [True, False])
async def test_a_log_that_breaks_off(tmp_path: pathlib.Path, *, follow: bool) -> None:
    """What came is handed on; then UnavailableError: it was not the end of the log."""
    chunks = []
    with Server(http(200, b"one\ntw", length=999)) as server:
        async with connected(kubeconfig_for(server.port, tmp_path)) as client:
            with pytest.raises(errors.UnavailableError, match="^the log of pod p broke off: .+"):  # noqa: PT012
                async for chunk in client.read_pod_log("team-a", "p", "claude", follow=follow):
                    chunks.append(chunk)
    assert b"".join(chunks) == b"one\ntw"
    [request] = server.requests
    assert ("follow=true" in request) == follow


async def test_a_log_that_stands_still(tmp_path: pathlib.Path) -> None:
    """Not followed, it must come without long pauses: a hanging kubelet would hold up the verdict for ever."""
    with Server(http(200, b"one\n", length=999), close=False) as server:
        async with connected(kubeconfig_for(server.port, tmp_path), timeout=0.2) as client:
            with pytest.raises(errors.UnavailableError, match="^the log of pod missing broke off: .+"):
                async with asyncio.timeout(3):
                    await whole_log(client, "team-a")


async def test_a_followed_log_may_pause(tmp_path: pathlib.Path) -> None:
    """An agent that thinks prints nothing for minutes; the request's time-out is not for that."""
    with Server(http(200, b"one\n", length=999), close=False) as server:
        async with connected(kubeconfig_for(server.port, tmp_path), timeout=0.2) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await whole_log(client, "team-a", follow=True)


async def test_lists_are_asked_for_in_pages(tmp_path: pathlib.Path) -> None:
    """With a limit and, for the next page, the token that the API server gave; it may contain anything."""
    first = {"metadata": {"continue": "a+b/c=&d"}, "items": [{"metadata": {"name": "one"}}]}
    last = {"metadata": {}, "items": [{"metadata": {"name": "two"}}]}
    with Server(http(200, first), http(200, last)) as server:
        async with connected(kubeconfig_for(server.port, tmp_path)) as client:
            jobs = await client.list_jobs("team-a")

    assert [job.name for job in jobs] == ["one", "two"]
    queries = [parse.parse_qs(parse.urlsplit(request.split()[1]).query) for request in server.requests]
    always = {"labelSelector": [f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"], "limit": ["500"]}
    assert queries == [always, {**always, "continue": ["a+b/c=&d"]}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "Set KUBECONFIG, or run inside a pod"),
        ("", "Set KUBECONFIG, or run inside a pod"),
        ("{}", "Set KUBECONFIG, or run inside a pod"),
        ("hello", "Set KUBECONFIG, or run inside a pod"),
        ("a: [", "Set KUBECONFIG, or run inside a pod"),
        (json.dumps({"current-context": "other", "contexts": [], "clusters": [], "users": []}), "other"),
    ],
    ids=["missing", "empty", "no keys", "text", "no yaml", "no such context"],
)
async def test_no_credentials(tmp_path: pathlib.Path, content: str | None, words: str) -> None:
    """Neither a pod's nor a usable kubeconfig: a SettingsError that says what to do."""
    target = tmp_path / "kubeconfig"
    if content is not None:
        target.write_text(content)

    with pytest.raises(errors.SettingsError, match=words) as caught:
        async with connected(target):
            pass

    assert str(caught.value).startswith("No way to reach Kubernetes: ")
