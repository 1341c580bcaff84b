"""What becomes of a run is accepted by a real API server: Secret, Job and the Job's pod, without anything being stored.

A Job with a wrong pod template is accepted and then never gets its pod, so the pod is asked for, too; and that in a
namespace that enforces Pod Security *restricted*, which Jobs are not subject to.
"""

import copy
import dataclasses
import http.client
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import manifest, models, names
from agentrun_operator.manifest import inheritance
from hack import playground
from tests import apiserver, builders, deps, strategies
from tests.unit import test_manifest

RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
EXAMPLES = 150


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said; ``warnings`` are those that kubectl prints."""

    status: int
    body: Mapping[str, Any]
    warnings: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether the object would have been created."""
        return self.status == http.client.CREATED

    @property
    def sentence(self) -> str:
        """Why not."""
        return str(self.body.get("message", ""))


class Api(apiserver.Connection):
    """Objects tried out at the API server."""

    def try_out(self, group: str, plural: str, body: Mapping[str, Any], namespace: str) -> Answer:
        """Have an object created in a namespace, but not stored; unknown and doubled fields are faults."""
        prefix = f"/apis/{group}" if "/" in group else f"/api/{group}"
        placed = {**body, "metadata": {**body["metadata"], "namespace": namespace}}
        path = f"{prefix}/namespaces/{namespace}/{plural}?dryRun=All&fieldValidation=Strict"
        return Answer(*self.request("POST", path, placed))

    def try_run(self, body: Mapping[str, Any], namespace: str) -> Answer:
        """An AgentRun."""
        return self.try_out(models.AgentRun.API_VERSION, names.PLURAL, body, namespace)

    def try_secret(self, made: manifest.Manifests, namespace: str) -> Answer:
        """The Secret of a run."""
        return self.try_out("v1", "secrets", made.secret, namespace)

    def try_job(self, made: manifest.Manifests, namespace: str) -> Answer:
        """The Job of a run."""
        return self.try_out("batch/v1", "jobs", made.job, namespace)

    def try_pod(self, made: manifest.Manifests, namespace: str) -> Answer:
        """The pod as the Job controller would create it."""
        template = made.job["spec"]["template"]
        meta = {**template["metadata"], "generateName": f"{made.job['metadata']['name']}-"}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
        return self.try_out("v1", "pods", body, namespace)


@pytest.fixture(scope="module")
def api(kubectl: playground.Kubectl) -> Iterator[Api]:
    """The API server."""
    connection = Api(kubectl)
    yield connection
    connection.close()


def make_namespace(kubectl: playground.Kubectl, labels: Mapping[str, str]) -> str:
    """A namespace with what the goldens name: admission looks service accounts and priority classes up."""
    name = f"manifests-{uuid.uuid4().hex[:8]}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "coder", "namespace": name}}
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "agents"}}
    kubectl.apply(namespace, account, {**priority, "value": 1})
    find = ("get", "serviceaccount", "default", "-n", name, "--ignore-not-found", "-o", "name")
    playground.wait_until(lambda: kubectl.run(*find), seconds=20, what="the namespace's service account")
    return name


@pytest.fixture(scope="module")
def restricted(kubectl: playground.Kubectl) -> Iterator[str]:
    """A namespace that enforces Pod Security *restricted*."""
    name = make_namespace(kubectl, RESTRICTED)
    yield name
    kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def ordinary(kubectl: playground.Kubectl) -> Iterator[str]:
    """A namespace that enforces nothing."""
    name = make_namespace(kubectl, {})
    yield name
    kubectl.run("delete", "namespace", name, "--wait=false")


# --- the goldens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", test_manifest.RUNS)
def test_what_is_agreed_is_accepted(api: Api, ordinary: str, name: str) -> None:
    """Every golden's Secret, Job and pod: no unknown field, no warning."""
    made = test_manifest.build_named(name)
    for answer in (api.try_secret(made, ordinary), api.try_job(made, ordinary), api.try_pod(made, ordinary)):
        assert answer.accepted, answer.sentence
        assert answer.warnings == ()


@pytest.mark.parametrize("name", sorted(test_manifest.RUNS.keys() - {"hostnetwork"}))
def test_the_agreed_pods_pass_the_restricted_level(api: Api, restricted: str, name: str) -> None:
    """Whatever of our own is in them."""
    answer = api.try_pod(test_manifest.build_named(name), restricted)
    assert answer.accepted, answer.sentence


def test_what_a_user_adds_is_judged_like_anybodys(api: Api, restricted: str) -> None:
    """A pod template with the host's network is refused there: the pod, and not the Job, which is no pod yet."""
    made = test_manifest.build_named("hostnetwork")
    refused = api.try_pod(made, restricted)

    assert api.try_job(made, restricted).accepted
    assert refused.status == http.client.FORBIDDEN
    assert 'violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)' in refused.sentence
    assert 'container "proxy" must set' in refused.sentence
    assert '"claude"' not in refused.sentence
    assert '"prepare"' not in refused.sentence


# --- any valid run --------------------------------------------------------------------------------------------------


def read(spec: Mapping[str, Any], namespace: str, name: str) -> tuple[dict[str, Any], models.AgentRun]:
    """The AgentRun as a user writes it, and as the models read it."""
    body = builders.agent_run(namespace=namespace, name=name)
    body["spec"] = copy.deepcopy(dict(spec))
    assert models.problems(body) == []
    return body, models.AgentRun.parse(body)


def build(run: models.AgentRun, *, inside: bool) -> manifest.Manifests:
    """Its Secret and Job; ``inside``: by an operator that has a pod of its own in the run's namespace."""
    config, inherited = test_manifest.CONFIG, inheritance.NOTHING
    if inside:
        config = test_manifest.INSIDE.model_copy(update={"pod_namespace": run.metadata.namespace})
        inherited = test_manifest.INHERITED
    template = manifest.Template(text=run.spec.prompt.text or "Do it.", source="the test")
    return manifest.build(run, config, template=template, scripts=deps.SCRIPTS, inherited=inherited)


@hypothesis.settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,  # how to see a failure again
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
)
@hypothesis.given(
    spec=strategies.specs(), name=st.sampled_from(["fix-login", "a", "0.b", "a" * 253]), inside=st.booleans()
)
def test_any_valid_run_is_accepted_with_all_that_is_made_of_it(
    api: Api, restricted: str, spec: Mapping[str, Any], name: str, *, inside: bool
) -> None:
    """By the models and the CRD, which read the same from it; its Secret, its Job and, where only so much may, its pod.

    Otherwise a run would fail for a reason that its author could not see before it started.
    """
    body, run = read(spec, restricted, name)

    answer = api.try_run(body, restricted)
    assert answer.accepted, answer.sentence
    assert models.AgentRun.parse(answer.body).spec == run.spec

    made = build(run, inside=inside)
    for made_of_it in (api.try_secret(made, restricted), api.try_job(made, restricted), api.try_pod(made, restricted)):
        assert made_of_it.accepted, made_of_it.sentence
