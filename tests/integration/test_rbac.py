"""The roles are exactly what the operator uses: compared with the API server's own record of its requests."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from agentrun_operator import names
from hack import cluster, playground
from hack.deployment import rendering, rights
from tests import harness
from tests.integration import kubelet

CLUSTER = harness.cluster_name("audit")
OPERATOR = re.compile("system:serviceaccount:agentrun-system:agentrun-operator")
SYSTEM = "agentrun-system"
LEASE = "agentrun-operator"
OWN_POD = "agentrun-operator-0"
PROXY = {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}
DISCOVERY = {"/api", "/apis", "/version"}  # open to every authenticated user by system:discovery


@dataclasses.dataclass(frozen=True, slots=True)
class Life:
    """What the operator did, and what became of the runs."""

    requests: tuple[rights.Request, ...]
    phases: dict[str, str]
    inherited: bool  # whether a run's Job had the variable of the operator's own pod
    namespace: str
    log: str

    def names(self, resource: str, verb: str) -> set[str]:
        """Names of the objects that were asked for, each behind its namespace."""
        paths = (request.path for request in self.requests if (request.resource, request.verb) == (resource, verb))
        return {path.partition("/namespaces/")[2].replace(f"/{resource}/", "/") for path in paths}


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """The operator through all that can happen to it and its runs, on a cluster that records every request."""
    up = cluster.up(CLUSTER, "control-plane", audit=True)
    try:
        kubectl = playground.Kubectl(kubeconfig=up.kubeconfig, binary=str(up.bin_dir / "kubectl"))
        playground.install(kubectl)
        kubelet.make_node(kubectl)
        folder = tmp_path_factory.mktemp("rbac")
        quick = {"START_CONFIRM_SECONDS": "1", "LOG_APPEAR_SECONDS": "1"}
        with harness.site(kubectl, folder, image="example.test/agent:1", **quick) as site:
            phases, inherited = live(site)
            site.stop_operator()
            yield Life(
                requests=read(up.state_dir / "audit.log"),
                phases=phases,
                inherited=inherited,
                namespace=site.namespace,
                log=site.operator_log,
            )
    finally:
        cluster.down(CLUSTER)


def live(site: harness.Site) -> tuple[dict[str, str], bool]:
    """Every path of the operator that asks the API server for something.

    Returns the phases that runs ended in, and whether they inherited what the operator's own pod has to give.
    """
    leave_secret_behind(site, site.create("crashed", runId="run-1"))
    site.start_operator()
    done = kubelet.Pod(site, "crashed")
    done.run()
    site.create("queued")
    site.wait_phase("queued", "Queued")
    site.patch("queued", {"spec": {"cancel": True}})  # has no Job: whether it really has none is asked for
    site.wait_phase("queued", "Cancelled")
    site.create("cancelled", agent={"id": "bob"})
    site.wait_status("cancelled", job=bool)
    site.patch("cancelled", {"spec": {"cancel": True}})
    site.wait_phase("cancelled", "Cancelled")
    site.create("deleted", agent={"id": "eve"})
    site.wait_status("deleted", job=bool)
    site.kubectl.run("delete", harness.RUNS, "deleted", "-n", site.namespace, "--timeout=30s")
    site.create("let-go", agent={"id": "zoe"}, taskId="t-1")
    site.wait_status("let-go", job=bool)
    site.kubectl.run("delete", harness.RUNS, "let-go", "-n", site.namespace, "--cascade=orphan", "--timeout=30s")
    site.create("adopting", agent={"id": "zoe"}, taskId="t-1")
    site.wait_status("adopting", reattachedFrom="let-go")
    site.patch("adopting", {"spec": {"cancel": True}})
    site.wait_phase("adopting", "Cancelled")
    site.create("bereft", agent={"id": "kim"})
    left = kubelet.Pod(site, "bereft")
    left.run()
    job_name = site.wait_status("bereft", phase="Running")["job"]["name"]
    site.kubectl.run("delete", "job", job_name, "-n", site.namespace, "--cascade=orphan")
    site.patch("bereft", {"spec": {"cancel": True}})  # its pod is deleted, there is no Job any more
    playground.wait_until(
        lambda: "deletionTimestamp" in site.get("pod", left.name)["metadata"], seconds=30, what="the pod to be stopped"
    )
    left.vanish()
    site.wait_phase("bereft", "Cancelled")
    site.stop_operator()
    done.write(kubelet.transcript("ok"))
    done.end(0)
    site.start_operator()
    site.wait_phase("crashed", "Succeeded")
    site.stop_operator()
    create_own_pod(site)
    site.start_operator(POD_NAME=OWN_POD, POD_NAMESPACE=site.namespace)
    create_prompts(site)
    site.create("replaced", agent={"id": "amy"}, prompt={"configMapKeyRef": {"name": "prompts", "key": "task"}})
    job = site.get("job", site.wait_status("replaced", job=bool)["job"]["name"])
    replacing = {"concurrencyPolicy": "Replace", "prompt": {"secretKeyRef": {"name": "prompts", "key": "task"}}}
    site.create("replacing", agent={"id": "amy"}, **replacing)
    site.wait_phase("replaced", "Cancelled")
    next_one = kubelet.Pod(site, "replacing")
    next_one.run()
    next_one.write(kubelet.transcript("ok"))
    next_one.end(0)
    site.wait_phase("replacing", "Succeeded")
    site.create("expired", agent={"id": "amy"}, cancel=True, retention={"runTTLSecondsAfterFailed": 0})
    playground.wait_until(
        lambda: "expired" not in [run["metadata"]["name"] for run in site.list(harness.RUNS)],
        seconds=30,
        what="the expired run to be gone",
    )
    site.stop_operator()
    # All namespaces, logs only through the API, and as one of several replicas.
    site.start_operator(NAMESPACES="", DATA_PATH="", POD_NAMESPACE=SYSTEM, LEADER_ELECTION_LEASE=LEASE)
    site.create("without-volume", agent={"id": "joe"})
    pod = kubelet.Pod(site, "without-volume")
    pod.run()
    pod.end(0)
    site.wait_phase("without-volume", "Failed")
    phases = {run["metadata"]["name"]: run["status"]["phase"] for run in site.list(harness.RUNS)}
    return phases, PROXY in job["spec"]["template"]["spec"]["containers"][0]["env"]


def create_own_pod(site: harness.Site) -> None:
    """What stands for the pod that the operator runs in; it never starts."""
    playground.wait_until(lambda: site.list("serviceaccounts"), seconds=20, what="the namespace's service account")
    container = {"name": "operator", "image": "example.test/operator:1", "env": [PROXY]}
    meta = {"name": OWN_POD, "namespace": site.namespace}
    site.kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [container]}})


def create_prompts(site: harness.Site) -> None:
    """A Secret and a ConfigMap with a prompt each."""
    meta = {"name": "prompts", "namespace": site.namespace}
    site.kubectl.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"task": "Do the task."}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"task": "Do the task."}},
    )


def leave_secret_behind(site: harness.Site, run: dict[str, dict[str, str]]) -> None:
    """What is there after a crash between the creation of the Secret and that of the Job."""
    name = names.prompt_secret_name(names.job_name(agent_id="ada", run_id="run-1"))
    owner = {
        "apiVersion": "paperclip.io/v1alpha1",
        "kind": "AgentRun",
        "name": run["metadata"]["name"],
        "uid": run["metadata"]["uid"],
        "controller": True,
    }
    meta = {"name": name, "namespace": site.namespace, "ownerReferences": [owner]}
    site.kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta})


def read(audit_log: pathlib.Path) -> tuple[rights.Request, ...]:
    """The operator's requests."""
    with audit_log.open() as lines:
        return tuple(rights.read(lines, user=OPERATOR))


@functools.cache
def rules(kind: str) -> list[Mapping[str, Any]]:
    """The rules of the one role of this kind."""
    roles = [one for one in rendering.kustomize(playground.RIGHTS) if one["kind"] == kind]
    assert len(roles) == 1
    return rights.rules(roles)


def granted() -> list[rights.Right]:
    """Every right that the roles grant."""
    return rights.granted(rules("ClusterRole") + rules("Role"))


def test_the_runs_ended_as_they_should(life: Life) -> None:
    """Else the operator may have been kept from doing what it needs rights for."""
    assert life.phases == {
        "crashed": "Succeeded",
        "queued": "Cancelled",
        "cancelled": "Cancelled",
        "adopting": "Cancelled",
        "bereft": "Cancelled",
        "replaced": "Cancelled",
        "replacing": "Succeeded",
        "without-volume": "Failed",
    }
    assert life.inherited


def test_the_rare_paths_were_taken(life: Life) -> None:
    """The Secret that was there already, the Job that is asked for by name, the log that has to come from the pod."""
    answers = {(request.resource, request.verb, request.code // 100) for request in life.requests}
    assert {("secrets", "create", 4), ("secrets", "get", 2), ("jobs", "get", 4), ("pods/log", "get", 5)} <= answers


def test_nothing_was_denied(life: Life) -> None:
    """Every request was authorised, and the operator never met a 403."""
    assert [request for request in life.requests if not request.allowed or request.code in {401, 403}] == []
    assert "forbidden" not in life.log.lower()


def test_what_is_granted_is_used(life: Life) -> None:
    """No right is granted in reserve."""
    assert rights.compare(life.requests, granted()).unused == ()


def test_what_is_used_is_granted(life: Life) -> None:
    """By these very roles, and not by one that the cluster happens to give to everybody."""
    assert rights.compare(life.requests, granted()).lacking == ()


def test_nothing_is_granted_twice() -> None:
    """No repeated rule: the role can be read as the list that it is. A wildcard is refused by ``rights.granted``."""
    assert len(granted()) == len(set(granted()))


def test_secrets_are_never_listed(life: Life) -> None:
    """The operator reads the prompt Secrets of its own runs and those that runs name, and no other in the cluster."""
    asked = life.names("secrets", "get") | life.names("secrets", "delete")
    others = {name for name in asked if not name.startswith(f"{life.namespace}/ac-")}
    assert others == {f"{life.namespace}/prompts"}
    assert f"{life.namespace}/prompts" not in life.names("secrets", "delete")
    assert {r.verb for r in life.requests if r.path.endswith("/secrets")} == {"create"}
    assert not {right.verb for right in granted() if right.resource == "secrets"} & {"list", "watch"}


def test_config_maps_are_never_listed(life: Life) -> None:
    """The operator reads those that runs name, and changes none."""
    assert life.names("configmaps", "get") == {f"{life.namespace}/prompts"}
    assert {right.verb for right in granted() if right.resource == "configmaps"} == {"get"}


def test_of_pods_only_its_own_is_asked_for(life: Life) -> None:
    """Of all others the operator sees those of its own Jobs, by their label."""
    assert life.names("pods", "get") == {f"{life.namespace}/{OWN_POD}"}


def test_leases_are_its_own_alone(life: Life) -> None:
    """Of all Leases, which hold up the cluster's own components too, the operator can read and change one."""
    asked = {verb: life.names("leases", verb) for verb in ("get", "update")}
    assert asked == {verb: {f"{SYSTEM}/{LEASE}"} for verb in ("get", "update")}
    lease = ("coordination.k8s.io", "leases")
    assert {right for right in granted() if right.resource == "leases"} == {
        rights.Right(*lease, "create"),
        *(rights.Right(*lease, verb, LEASE) for verb in ("get", "update")),
    }
    assert [rule for rule in rules("ClusterRole") if "leases" in rule["resources"]] == []
    assert [rule["verbs"] for rule in rules("Role") if rule.get("resourceNames") != [LEASE]] == [["create"]]


def test_besides_resources_only_discovery_is_read(life: Life) -> None:
    """What every authenticated user may read."""
    paths = {request.path for request in life.requests if not request.resource}
    assert {path for path in paths if not path.startswith(tuple(DISCOVERY))} == set()
