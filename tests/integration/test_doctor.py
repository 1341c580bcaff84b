"""``agentrun doctor`` on a real API server: each check of the API is made to fail and to pass."""

import base64
import dataclasses
import datetime as dt
import json
import os
import pathlib
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from hack import playground
from tests import harness
from tests.integration import kubelet

CRD = "crd/agentruns.paperclip.io"
SYSTEM = "agentrun-system"
ACCOUNT = "agentrun-operator"
IMAGE = "example.test/agent:1"
FAIL, WARN, PASS, SKIP = "fail", "warn", "pass", "skip"


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What the command said."""

    code: int
    findings: tuple[Mapping[str, str], ...]

    def levels(self, check: str) -> list[str]:
        """Of a check, in their order."""
        return [finding["level"] for finding in self.findings if finding["check"] == check]

    def said(self, check: str) -> str:
        """All sentences of a check."""
        lines = (f"{f.get('subject', '')}: {f['message']}" for f in self.findings if f["check"] == check)
        return "\n".join(lines)


@dataclasses.dataclass(frozen=True, slots=True)
class Doctor:
    """The command, as the administrator unless told otherwise; ``settings`` are those of the operator."""

    site: harness.Site

    def __call__(self, *arguments: str, kubeconfig: pathlib.Path | None = None, **settings: str) -> Report:
        """Run it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTRUN_", "KUBERNETES_"))}
        values = {"NAMESPACES": self.site.namespace, "IMAGE": IMAGE, "POD_NAMESPACE": SYSTEM, **settings}
        done = subprocess.run(
            [
                str(playground.ROOT / ".venv" / "bin" / "python"),
                "-m",
                "agentrun_operator",
                "doctor",
                "-o",
                "json",
                *arguments,
            ],
            env={
                **kept,
                "KUBECONFIG": str(kubeconfig or self.site.kubectl.kubeconfig),
                **{f"AGENTRUN_{name}": value for name, value in values.items()},
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout, done.stderr
        return Report(done.returncode, tuple(json.loads(done.stdout)["findings"]))

    def apply(self, kind: str, name: str, version: str = "v1", **content: Any) -> None:
        """An object in the namespace."""
        meta = {"name": name, "namespace": self.site.namespace}
        self.site.kubectl.apply({"apiVersion": version, "kind": kind, "metadata": meta, **content})


@pytest.fixture
def doctor(site: harness.Site) -> Doctor:
    """In a namespace with a bound claim, where no operator runs."""
    site.kubectl.run(
        "wait", "--for=jsonpath={.status.phase}=Bound", "pvc", "--all", "-n", site.namespace, "--timeout=30s"
    )
    find = ("get", "serviceaccount", "default", "-n", site.namespace, "--ignore-not-found", "-o", "name")
    playground.wait_until(lambda: site.kubectl.run(*find), seconds=20, what="the namespace's service account")
    return Doctor(site)


@pytest.fixture
def operator(doctor: Doctor) -> pathlib.Path:
    """The credentials of the operator."""
    return playground.operator_kubeconfig(doctor.site.kubectl, doctor.site.folder / "kubeconfig")


def test_where_all_is_well_nothing_fails(doctor: Doctor) -> None:
    """As the administrator: what can be seen, passes."""
    report = doctor()

    assert report.code == 0, report.findings
    for check in ("settings", "api", "clock", "crd", "rights", "namespace", "claim", "access-mode", "quota"):
        assert set(report.levels(check)) == {PASS}, report.said(check)
    assert report.levels("admission") == [PASS, PASS]
    assert set(report.levels("volume")) == {SKIP}
    assert {f["check"] for f in report.findings if f["level"] in {WARN, FAIL}} == {"operator"}, report.findings


def test_with_the_operators_rights_nothing_fails(doctor: Doctor, operator: pathlib.Path) -> None:
    """What the operator may not see is skipped, and the schema of the CRD is the one that is published."""
    report = doctor(kubeconfig=operator, DATA_PATH=str(doctor.site.volume), LEADER_ELECTION_LEASE="")

    assert report.code == 0, report.findings
    assert report.levels("crd") == [PASS], report.said("crd")
    assert set(report.levels("rights")) == {PASS}, report.said("rights")
    assert report.levels("admission") == [PASS, SKIP]
    assert "from a workstation" in report.said("admission")
    for check in ("namespace", "claim", "quota", "operator"):
        assert set(report.levels(check)) == {SKIP}, report.said(check)
    assert report.levels("probe") == [PASS]
    assert list(doctor.site.volume.iterdir()) == []


def test_nothing_is_left_behind(doctor: Doctor) -> None:
    """Objects that were tried are not stored."""
    doctor()
    for kind in ("jobs", "pods", "secrets", harness.RUNS):
        assert doctor.site.list(kind) == []


def test_an_api_server_that_is_not_there(doctor: Doctor, tmp_path: pathlib.Path) -> None:
    """One failure, and an exit code."""
    config = json.loads(doctor.site.kubectl.run("config", "view", "--raw", "--minify", "-o", "json"))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    file = tmp_path / "elsewhere"
    file.write_text(json.dumps(config))

    report = doctor(kubeconfig=file)

    assert report.code == 1
    assert report.levels("api") == [FAIL]
    assert set(report.levels("crd")) == {SKIP}


@pytest.fixture
def older_crd(doctor: Doctor) -> Iterator[None]:
    """The CRD of a release that had another limit."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/companyId/maxLength"
    patch = json.dumps([{"op": "replace", "path": path, "value": 62}])
    doctor.site.kubectl.run("patch", CRD, "--type=json", "-p", patch)
    try:
        yield
    finally:
        doctor.site.kubectl.run("patch", CRD, "--type=json", "-p", patch.replace("62", "63"))


@pytest.mark.usefixtures("older_crd")
def test_a_crd_of_another_version(doctor: Doctor, operator: pathlib.Path) -> None:
    """The difference is named, to whoever looks."""
    report = doctor()
    assert (report.code, report.levels("crd")) == (1, [FAIL])
    assert "spec.companyId.maxLength" in report.said("crd")

    def seen() -> bool:
        return "spec.companyId.maxLength" in doctor(kubeconfig=operator).said("crd")

    playground.wait_until(seen, seconds=20, what="the schema to be published")


def deployment(name: str, account: str, **spec: Any) -> dict[str, Any]:
    """What stands for the operator's."""
    labels = {"app": name}
    container = {
        "name": "operator",
        "image": "example.test/operator:1",
        "env": [
            {"name": "AGENTRUN_NAMESPACES", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "AGENTRUN_IMAGE", "value": IMAGE},
        ],
    }
    pod = {"serviceAccountName": account, "containers": [container]}
    return {
        "replicas": 0,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
        **spec,
    }


def test_the_rights_are_those_of_the_operators_account(doctor: Doctor) -> None:
    """Not the administrator's, who asks."""
    doctor.apply("ServiceAccount", "nobody")
    doctor.apply("Deployment", "poor", "apps/v1", spec=deployment("poor", "nobody"))
    where = ("--system-namespace", doctor.site.namespace, "--deployment", "poor")

    report = doctor(*where)

    assert report.code == 1
    assert set(report.levels("rights")) == {FAIL}
    assert "may not get, list, watch, create, patch, delete in namespace" in report.said("rights")
    assert f"Deployment {doctor.site.namespace}/poor" in report.said("settings")

    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "nobody", "namespace": doctor.site.namespace}],
    }
    doctor.apply("RoleBinding", "rich", "rbac.authorization.k8s.io/v1", **binding)
    playground.wait_until(
        lambda: set(doctor(*where).levels("rights")) == {PASS}, seconds=20, what="the rights to be known"
    )


def test_an_operator_that_is_down_and_one_that_is_up(doctor: Doctor) -> None:
    """As its Deployment tells."""
    namespace, kubectl = doctor.site.namespace, doctor.site.kubectl
    where = ("--system-namespace", namespace, "--deployment", "op")
    doctor.apply("ServiceAccount", ACCOUNT)
    doctor.apply("Deployment", "op", "apps/v1", spec=deployment("op", ACCOUNT))
    report = doctor(*where)
    assert (report.code, report.levels("operator")) == (1, [FAIL])
    assert "scaled to 0" in report.said("operator")

    kubectl.run("scale", "deployment", "op", "-n", namespace, "--replicas=1")
    pods = playground.wait_until(lambda: doctor.site.list("pods"), seconds=20, what="the operator's pod")
    assert "0 of 1 ready" in doctor(*where).said("operator")

    name = pods[0]["metadata"]["name"]
    bind = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node"}}
    bind["target"] = {"apiVersion": "v1", "kind": "Node", "name": kubelet.NODE}
    kubectl.run(
        "create", "--raw", f"/api/v1/namespaces/{namespace}/pods/{name}/binding", "-f", "-", stdin=json.dumps(bind)
    )
    running = {"startedAt": dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    state = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {
                "name": "operator",
                "image": "x",
                "imageID": "",
                "ready": True,
                "restartCount": 4,
                "state": {"running": running},
                "lastState": {"terminated": {"exitCode": 3, "reason": "Error"}},
            }
        ],
    }
    patch = json.dumps({"status": state})
    kubectl.run("patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    playground.wait_until(
        lambda: "1 of 1 ready" in doctor(*where).said("operator"), seconds=20, what="the Deployment to be ready"
    )
    report = doctor(*where)
    assert report.levels("operator") == [PASS, WARN]
    assert "restarted 4 times, last with exit code 3 (it lost its Lease" in report.said("operator")


def test_a_leader_that_fell_silent_and_one_that_leads(doctor: Doctor) -> None:
    """By the Lease in the operator's namespace."""
    namespace = doctor.site.namespace
    assert doctor(LEADER_ELECTION_LEASE="lead", POD_NAMESPACE=namespace).levels("leader") == [FAIL]

    def renewed(seconds: int) -> Report:
        at = (dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds)).isoformat(timespec="microseconds")
        lease = {"holderIdentity": "op-0_1", "leaseDurationSeconds": 60, "renewTime": at}
        doctor.apply("Lease", "lead", "coordination.k8s.io/v1", spec=lease)
        return doctor(LEADER_ELECTION_LEASE="lead", POD_NAMESPACE=namespace)

    report = renewed(3600)
    assert report.levels("leader") == [FAIL]
    assert "nobody leads" in report.said("leader")
    assert renewed(0).levels("leader") == [PASS]


def test_a_namespace_that_is_not_there_and_one_that_goes(doctor: Doctor) -> None:
    """In neither an agent could start."""
    gone = f"none-{uuid.uuid4().hex[:8]}"
    report = doctor("-n", gone)
    assert (report.code, report.levels("namespace")) == (1, [FAIL])

    kubectl = doctor.site.kubectl
    going = f"going-{uuid.uuid4().hex[:8]}"
    kubectl.run("create", "namespace", going)
    meta = {"name": "stays", "namespace": going, "finalizers": ["other.example/finalizer"]}
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
    try:
        kubectl.run("delete", "namespace", going, "--wait=false")
        report = doctor("-n", going)
        assert report.levels("namespace") == [FAIL]
        assert "Terminating" in report.said("namespace")
        assert FAIL in report.levels("admission")
    finally:
        patch = json.dumps({"metadata": {"finalizers": None}})
        kubectl.run("patch", "configmap", "stays", "-n", going, "--type=merge", "-p", patch)


def test_claims_of_all_kinds(doctor: Doctor) -> None:
    """One that is not there, one that nothing fits, one that only one pod can mount."""
    report = doctor(PVC_NAME="none")
    assert (report.code, report.levels("claim"), report.levels("access-mode")) == (1, [FAIL], [SKIP])

    for name, mode in (("single", "ReadWriteOncePod"), ("node", "ReadWriteOnce")):
        spec = {"accessModes": [mode], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}
        doctor.apply("PersistentVolumeClaim", name, spec=spec)
    report = doctor(PVC_NAME="single")
    assert (report.levels("claim"), report.levels("access-mode")) == ([WARN], [FAIL])
    assert doctor(PVC_NAME="node").levels("access-mode") == [PASS]


def test_the_secrets_of_a_run(doctor: Doctor, tmp_path: pathlib.Path) -> None:
    """Missing, without the key, empty, and as it should be."""
    reference = {"secretKeyRef": {"name": "anthropic", "key": "api-key"}}
    body = {
        "apiVersion": "paperclip.io/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "fix-login", "namespace": doctor.site.namespace},
        "spec": {
            "companyId": "acme",
            "agent": {"id": "ada"},
            "prompt": {"text": "Do it."},
            "job": {"env": [{"name": "ANTHROPIC_API_KEY", "valueFrom": reference}]},
        },
    }
    file = tmp_path / "run.json"
    file.write_text(json.dumps(body))
    said = []
    contents: tuple[dict[str, str] | None, ...] = (None, {"key": "x"}, {"api-key": ""}, {"api-key": "hush"})
    for content in contents:
        if content is not None:
            data = {key: base64.b64encode(value.encode()).decode() for key, value in content.items()}
            doctor.site.kubectl.run("delete", "secret", "anthropic", "-n", doctor.site.namespace, "--ignore-not-found")
            doctor.apply("Secret", "anthropic", data=data)
        report = doctor("-f", str(file))
        said.append((report.levels("secrets"), report.said("secrets").partition(": ")[2]))
    assert said == [
        ([FAIL], "there is no such Secret"),
        ([FAIL], "has no key api-key, only key"),
        ([FAIL], "holds nothing in api-key"),
        ([PASS], "is there, with api-key"),
    ]


def test_a_quota_that_no_run_fits(doctor: Doctor) -> None:
    """And one that is used up, and one with room."""

    def under(**hard: str) -> Report:
        doctor.apply("ResourceQuota", "agents", spec={"hard": hard})
        playground.wait_until(
            lambda: doctor.site.get("resourcequota", "agents").get("status", {}).get("hard") == hard,
            seconds=20,
            what="the quota to be counted",
        )
        return doctor()

    report = under(**{"limits.memory": "1Gi"})
    assert (report.code, report.levels("quota")) == (1, [FAIL])
    assert "a run never fits: limits.memory" in report.said("quota")
    assert under(pods="10").levels("quota") == [PASS]
    pod = {"containers": [{"name": "a", "image": "a"}], "nodeName": kubelet.NODE}
    doctor.apply("Pod", "busy", spec=pod)
    report = under(pods="1")
    assert report.levels("quota") == [WARN]
    assert "exceeded quota" in report.said("admission")


def test_pod_security_is_asked(doctor: Doctor, tmp_path: pathlib.Path) -> None:
    """The usual pod passes the strictest level; one on the node's network is refused, and warned of beforehand."""
    kubectl, namespace = doctor.site.kubectl, doctor.site.namespace
    body = {
        "apiVersion": "paperclip.io/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": "bold", "namespace": namespace},
        "spec": {
            "companyId": "acme",
            "agent": {"id": "ada"},
            "prompt": {"text": "Do it."},
            "job": {"podTemplate": {"spec": {"hostNetwork": True}}},
        },
    }
    file = tmp_path / "bold.json"
    file.write_text(json.dumps(body))

    kubectl.run("label", "namespace", namespace, "pod-security.kubernetes.io/warn=restricted")
    assert doctor().levels("admission") == [PASS, PASS]
    assert doctor("-f", str(file)).levels("admission") == [WARN, WARN]
    kubectl.run("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    assert doctor().levels("admission") == [PASS, PASS]
    report = doctor("-f", str(file))
    assert (report.code, report.levels("admission")) == (1, [WARN, FAIL])
    assert "violates PodSecurity" in report.said("admission")


def test_an_image_that_a_kubelet_could_not_pull(doctor: Doctor) -> None:
    """An agent's pod tells; without one, it cannot be told."""
    assert doctor().levels("image") == [SKIP]
    assert doctor(IMAGE="Not An Image").levels("image") == [FAIL]
    assert doctor(IMAGE="example.test/agent").levels("image") == [WARN]

    pod = {"containers": [{"name": "claude", "image": IMAGE}], "nodeName": kubelet.NODE}
    meta = {"name": "stuck", "namespace": doctor.site.namespace}
    labels = {"app.kubernetes.io/managed-by": "agentrun-operator"}
    doctor.site.kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "labels": labels}, "spec": pod})
    waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{IMAGE}"'}
    status = {"name": "claude", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0}
    state = {"status": {"phase": "Pending", "containerStatuses": [{**status, "state": {"waiting": waiting}}]}}
    doctor.site.kubectl.run(
        *("patch", "pod", "stuck", "-n", doctor.site.namespace, "--subresource=status", "--type=merge"),
        *("-p", json.dumps(state)),
    )
    report = doctor()
    assert (report.code, report.levels("image")) == (1, [FAIL])
    assert "pod stuck cannot pull it" in report.said("image")
