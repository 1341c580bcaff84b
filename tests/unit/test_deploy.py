"""What is installed: every kustomization and every set of values, rendered with the tools that people use.

``UPDATE_GOLDENS=1 python -m pytest tests/unit/test_deploy.py`` writes tests/data/deploy anew; read the diff before you
commit. Where kubectl or helm is missing, ``make setup`` builds it; without them these tests cannot run and say so.
"""

import copy
import functools
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

import agentrun_operator
from agentrun_operator import manifest, models, settings
from hack.deployment import overlay, rendering, rights
from hack.generate import chart
from hack.images import operator as image
from tests import apitypes, builders

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
GOLDENS = ROOT / "tests" / "data" / "deploy"
OVERLAYS = sorted(folder.name for folder in (DEPLOY / "overlays").iterdir())
FOLDERS = {"base": DEPLOY / "base", **{name: DEPLOY / "overlays" / name for name in OVERLAYS}}
VALUES = {file.stem: file for file in sorted((rendering.CHART / "values").glob("*.yaml"))}
INSTALLS = [f"kustomize/{name}" for name in FOLDERS] + [f"helm/{name}" for name in ("base", *VALUES)]

CRD = "CustomResourceDefinition"
_OF_HELM = ("app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart")
_HASH = re.compile(r"(agentrun-operator-settings)-[a-z0-9]{10}")

Objects = list[dict[str, Any]]


@functools.cache
def _render(install: str) -> Objects:
    tool, _, name = install.partition("/")
    try:
        if tool == "kustomize":
            return rendering.kustomize(FOLDERS[name])
        return rendering.template(values=[VALUES[name]] if name in VALUES else [])
    except rendering.RenderError as e:
        if "there is no" in str(e):
            pytest.skip(str(e))
        raise


def render(install: str) -> Objects:
    """The objects of an install, for the caller to keep."""
    return copy.deepcopy(_render(install))


def find(objects: Objects, kind: str, name: str = "agentrun-operator") -> dict[str, Any]:
    """The one object of this kind and name."""
    [found] = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def pod_of(objects: Objects) -> dict[str, Any]:
    """The operator's pod."""
    spec: dict[str, Any] = find(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def container_of(objects: Objects) -> dict[str, Any]:
    """The operator's one container."""
    [container] = pod_of(objects)["containers"]
    found: dict[str, Any] = container
    return found


def environment(objects: Objects, *, namespace: str = "agentrun-system") -> dict[str, str]:
    """The operator's variables as its pod would have them; a Secret's value is unknown."""
    [config] = [one for one in objects if one["kind"] == "ConfigMap"]
    container = container_of(objects)
    assert {"configMapRef": {"name": config["metadata"]["name"]}} in container["envFrom"]
    fields = {"metadata.namespace": namespace, "metadata.name": "agentrun-operator-0"}
    found = dict(config["data"])
    for entry in container["env"]:
        source = entry.get("valueFrom", {})
        if "fieldRef" in source:
            found[entry["name"]] = fields[source["fieldRef"]["fieldPath"]]
        elif not source:
            found[entry["name"]] = entry["value"]
    return found


def agents_template() -> Mapping[str, Any]:
    """The pod of an agent whose run says nothing of it."""
    run = models.AgentRun.parse(builders.agent_run())
    made = manifest.build(
        run,
        settings.Settings(image="example.test/agent:1"),
        template=manifest.read_template(run),
        scripts=manifest.Scripts(run_agent="", bundle=""),
    )
    template: Mapping[str, Any] = made.job["spec"]["template"]
    return template


def strings(value: object) -> Iterator[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def comparable(objects: Objects) -> Objects:
    """Objects as both tools would make them: without Helm's marks, kustomize's hashes, the namespace and the order."""
    text = _HASH.sub(r"\1", json.dumps([one for one in objects if one["kind"] != "Namespace"]))
    kept: Objects = json.loads(text)
    for one in kept:
        pod = one["spec"]["template"] if one["kind"] == "Deployment" else {}
        for meta in (one["metadata"], pod.get("metadata", {})):
            for label in _OF_HELM:
                meta.get("labels", {}).pop(label, None)
            for annotation in ("helm.sh/resource-policy", "checksum/settings"):
                meta.get("annotations", {}).pop(annotation, None)
            for part in ("labels", "annotations"):
                if not meta.get(part):
                    meta.pop(part, None)
        if pod:
            pod["spec"]["containers"][0]["env"].sort(key=lambda entry: entry["name"])
    return sorted(kept, key=lambda one: (one["kind"], one["metadata"]["name"], one["metadata"].get("namespace", "")))


# --- what both make --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_chart_and_kustomization_make_the_same(name: str) -> None:
    """Whoever changes one changes the other: there is one operator, whatever installs it."""
    assert comparable(render(f"helm/{name}")) == comparable(render(f"kustomize/{name}"))


@pytest.mark.parametrize("install", INSTALLS)
def test_what_is_installed_is_as_it_was(install: str) -> None:
    """Letter by letter, but for the CRD, which has tests of its own."""
    shown = [one for one in _render(install) if one["kind"] != CRD]
    text = yaml.safe_dump_all(sorted(shown, key=lambda one: (one["kind"], json.dumps(one["metadata"]))), sort_keys=True)
    golden = GOLDENS / f"{install.replace('/', '-')}.yaml"
    if os.environ.get("UPDATE_GOLDENS"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("install", INSTALLS)
def test_the_crd_is_what_the_models_say(install: str) -> None:
    """Helm keeps it when the release goes, and every AgentRun with it."""
    found = find(render(install), CRD, "agentruns.paperclip.io")
    generated = yaml.safe_load((ROOT / "crds" / "paperclip.io_agentruns.yaml").read_text())

    kept = found["metadata"].pop("annotations", {})

    assert found == generated
    assert kept == ({"helm.sh/resource-policy": "keep"} if install.startswith("helm") else {})


@pytest.mark.parametrize("install", INSTALLS)
def test_kubernetes_knows_every_field(install: str) -> None:
    """No misspelt field, which an API server drops without a word, no wrong type, nothing missing."""
    assert [fault for one in render(install) if one["kind"] != CRD for fault in apitypes.faults(one)] == []


def test_a_misspelt_field_would_be_found() -> None:
    """The check above can fail."""
    deployment = find(render("kustomize/base"), "Deployment")
    deployment["spec"]["replica"] = 1
    deployment["spec"]["revisionHistoryLimit"] = "5"
    del deployment["spec"]["template"]["spec"]["containers"][0]["name"]

    found = apitypes.faults(deployment)

    assert sorted(found) == [
        "Deployment.spec.replica is unknown",
        "Deployment.spec.revisionHistoryLimit is '5' and no int",
        "Deployment.spec.template.spec.containers[0].name is missing",
    ]


@pytest.mark.parametrize("install", INSTALLS)
def test_the_operator_is_confined(install: str) -> None:
    """The level `restricted`, and more: a read-only root, no privilege to gain, a service account of its own."""
    objects = render(install)
    pod, container = pod_of(objects), container_of(objects)

    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": manifest.RUN_AS_USER,
        "runAsGroup": manifest.RUN_AS_USER,
        "fsGroup": manifest.RUN_AS_USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["serviceAccountName"] == "agentrun-operator"
    assert {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod) == set()
    assert {key for volume in pod.get("volumes", []) for key in volume} <= {"name", "persistentVolumeClaim"}
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("install", INSTALLS)
def test_no_secret_is_written_down(install: str) -> None:
    """Secrets are named, never shown; one that is missing keeps nothing from starting."""
    objects = render(install)
    container = container_of(objects)
    secretive = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL")

    assert [one for one in objects if one["kind"] == "Secret"] == []
    for entry in container["env"]:
        if secretive.search(entry["name"]):
            assert entry["valueFrom"]["secretKeyRef"]["optional"] is True
    assert [name for name in environment(objects) if secretive.search(name)] == []
    assert [text for one in objects for text in strings(one) if re.match(r"sk-|ghp_|eyJ", text)] == []


@pytest.mark.parametrize("install", INSTALLS)
def test_the_settings_are_accepted(install: str) -> None:
    """The operator would start with what its pod gives it, and know every variable."""
    given = environment(render(install))

    config = settings.from_environ(given)

    assert settings.unknown(given) == []
    assert (config.pod_name, config.pod_namespace) == ("agentrun-operator-0", "agentrun-system")


@pytest.mark.parametrize("install", INSTALLS)
def test_agents_inherit_the_claim_and_the_reference_to_the_key(install: str) -> None:
    """And nothing else: what the pod says of the operator itself stays with it."""
    objects = render(install)
    config = settings.from_environ(environment(objects))

    inherited = manifest.inheritance.parse_own_pod({"spec": pod_of(objects)}, config)

    assert inherited.claim == ("paperclip-data" if config.data_path else "")
    assert [entry["name"] for entry in inherited.env] == ["ANTHROPIC_API_KEY"]
    assert (inherited.env_from, inherited.volumes) == ((), ())


@pytest.mark.parametrize("install", INSTALLS)
def test_probes_ask_what_the_operator_answers(install: str) -> None:
    """Its endpoint is at the port and the path that the probes know; they leave it time to start and to be late."""
    objects = render(install)
    container = container_of(objects)
    port, metrics = container["ports"]

    assert (metrics["name"], str(metrics["containerPort"])) == (
        "metrics",
        environment(objects)["AGENTRUN_METRICS_PORT"],
    )
    assert environment(objects)["AGENTRUN_LIVENESS_ENDPOINT"] == f"http://0.0.0.0:{port['containerPort']}/healthz"
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["tcpSocket"] == {"port": port["name"]}
    patience = {
        name: container[name].get("failureThreshold", 3) * container[name]["periodSeconds"]
        for name in ("startupProbe", "livenessProbe")
    }
    assert patience == {"startupProbe": 300, "livenessProbe": 60}


@pytest.mark.parametrize("install", INSTALLS)
def test_the_image_is_the_one_that_is_built(install: str) -> None:
    """Same name and version, so that what `make image` makes is what is started."""
    assert container_of(render(install))["image"] == image.reference()


@pytest.mark.parametrize("install", INSTALLS)
def test_two_replicas_only_with_an_election(install: str) -> None:
    """One replica is recreated; two take turns, on a volume that two nodes can mount, and may be drained one by one."""
    objects = render(install)
    spec = find(objects, "Deployment")["spec"]
    elects = bool(settings.from_environ(environment(objects)).leader_election_lease)
    budgets = [one for one in objects if one["kind"] == "PodDisruptionBudget"]

    if not elects:
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
        assert budgets == []
        return
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert find(objects, "PersistentVolumeClaim", "paperclip-data")["spec"]["accessModes"] == ["ReadWriteMany"]
    [budget] = budgets
    assert budget["spec"]["selector"] == spec["selector"]
    lease = find(objects, "Role", "agentrun-operator-lease")
    of_lease = rights.Right("coordination.k8s.io", "leases", "update", "agentrun-operator")
    assert of_lease in rights.granted(lease["rules"])


@pytest.mark.parametrize("install", INSTALLS)
def test_the_rights_end_at_the_namespaces_that_are_watched(install: str) -> None:
    """A ClusterRole only where all namespaces were asked for; a Role wherever the operator looks, and nowhere else."""
    objects = render(install)
    watched = settings.from_environ(environment(objects)).watched_namespaces
    cluster_wide = [one for one in objects if one["kind"] in {"ClusterRole", "ClusterRoleBinding"}]
    roles = [one for one in objects if one["kind"] == "Role" and "agentruns" in str(one["rules"])]

    assert bool(cluster_wide) == (not watched)
    assert {one["metadata"]["namespace"] for one in roles} == set(watched)
    for binding in (one for one in objects if one["kind"] in {"RoleBinding", "ClusterRoleBinding"}):
        account = {"kind": "ServiceAccount", "name": "agentrun-operator", "namespace": "agentrun-system"}
        assert binding["subjects"] == [account]
        assert binding["roleRef"]["kind"] == binding["kind"].removesuffix("Binding")


@pytest.mark.parametrize("install", INSTALLS)
def test_the_rules_are_the_same_everywhere(install: str) -> None:
    """What the tests of rights judge is what everybody gets; no wildcard, nothing twice, no Secret is listed."""
    judged = rights.granted(rights.rules(render("kustomize/base")))
    objects = render(install)
    for one in objects:
        if one["kind"] in {"Role", "ClusterRole"} and "agentruns" in str(one["rules"]):
            assert rights.granted(one["rules"]) == judged
    assert len(judged) == len(set(judged))
    assert {right.verb for right in judged if right.resource == "secrets"} == {"get", "create", "patch", "delete"}


def test_the_tests_install_the_same_rights() -> None:
    """For all namespaces and with a Lease, as the overlays cluster-wide and high-availability have them."""
    try:
        installed = rendering.kustomize(ROOT / "hack" / "playground" / "rights")
    except rendering.RenderError as e:
        pytest.skip(str(e))
    for kind, name, from_where in (
        ("ClusterRole", "agentrun-operator", "cluster-wide"),
        ("ClusterRoleBinding", "agentrun-operator", "cluster-wide"),
        ("Role", "agentrun-operator-lease", "high-availability"),
        ("RoleBinding", "agentrun-operator-lease", "high-availability"),
    ):
        assert find(installed, kind, name) == find(render(f"kustomize/{from_where}"), kind, name)


# --- what differs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOLDERS)
def test_a_kustomization_moves_as_a_whole(name: str, tmp_path: pathlib.Path) -> None:
    """`namespace:` in a kustomization over ours is all it takes, also for the subjects of bindings."""
    relative = os.path.relpath(FOLDERS[name], tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(f"namespace: elsewhere\nresources: [{relative}]\n")
    _render("kustomize/base")  # skips where there is no kubectl

    moved = rendering.kustomize(tmp_path)

    assert [text for one in moved for text in strings(one) if text == "agentrun-system"] == []
    assert settings.from_environ(environment(moved, namespace="elsewhere")).pod_namespace == "elsewhere"


def test_one_node_has_operator_agents_and_volume() -> None:
    """A ReadWriteOnce volume is mounted on one node: both ask for the same one."""
    objects = render("kustomize/single-node")
    config = settings.from_environ(environment(objects))

    assert pod_of(objects)["nodeSelector"] == config.default_node_selector == {"paperclip.io/agents": "true"}


def test_a_restricted_namespace_admits_the_operator_and_ten_agents() -> None:
    """What its quota asks of every container is there, and the sum fits."""
    objects = render("kustomize/restricted")
    hard = find(objects, "ResourceQuota", "agentrun")["spec"]["hard"]
    agent = agents_template()["spec"]["containers"][0]["resources"]
    own = container_of(objects)["resources"]

    labels = find(objects, "Namespace", "agentrun-system")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for name in ("limits.cpu", "limits.memory", "requests.cpu", "requests.memory"):
        kind, _, what = name.partition(".")
        assert 10 * quantity(agent[kind][what]) + quantity(own[kind][what]) <= quantity(hard[name])


def quantity(text: str) -> float:
    """A quantity of Kubernetes as a number."""
    units = {"m": 1e-3, "Mi": 2**20, "Gi": 2**30}
    number, unit = re.fullmatch(r"([0-9.]+)(m|Mi|Gi|)", text).groups()  # type: ignore[union-attr]
    return float(number) * units.get(unit, 1)


def test_policies_select_the_pods_that_there_are() -> None:
    """The labels of the operator's pod and of agents' pods; nobody may talk to either, but for the metrics."""
    objects = render("kustomize/production")
    pods = {
        "agentrun-operator": find(objects, "Deployment")["spec"]["template"]["metadata"]["labels"],
        "agentrun-agents": agents_template()["metadata"]["labels"],
    }
    for name, labels in pods.items():
        policy = find(objects, "NetworkPolicy", name)["spec"]
        wanted = policy["podSelector"]["matchLabels"]
        assert [other for other, theirs in pods.items() if wanted.items() <= theirs.items()] == [name]
        metrics = [{"ports": [{"protocol": "TCP", "port": "metrics"}]}] if name == "agentrun-operator" else []
        assert (policy["ingress"], policy["policyTypes"]) == (metrics, ["Ingress", "Egress"])
        assert labels


def test_the_test_overlay_changes_the_way_to_the_api_only(tmp_path: pathlib.Path) -> None:
    """What the end-to-end tests prove of the pod, they prove of the shipped one."""
    shipped = render("kustomize/base")
    choices = {"namespace": "t-1", "api_port": 6443, "health_port": 9999}
    tested = rendering.kustomize(overlay.write(tmp_path / "o", FOLDERS["base"], **choices, settings={"IMAGE": "x"}))

    pod, ours = pod_of(tested), pod_of(shipped)
    container, other = container_of(tested), container_of(shipped)
    assert pod.pop("hostNetwork") is True
    assert [entry for entry in container["env"] if entry not in other["env"]] == [
        {"name": "KUBERNETES_SERVICE_HOST", "value": "127.0.0.1"},
        {"name": "KUBERNETES_SERVICE_PORT", "value": "6443"},
    ]
    assert container["ports"] == [{"name": "health", "containerPort": 9999}]
    for one in (container, other):
        for part in ("env", "envFrom", "ports"):
            del one[part]
    assert pod == ours
    assert rights.rules(tested) == rights.rules(shipped)
    assert environment(rendering.kustomize(tmp_path / "o"), namespace="t-1")["AGENTRUN_IMAGE"] == "x"


# --- the chart -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["base", *VALUES])
def test_helm_finds_nothing_to_complain_of(name: str) -> None:
    """`helm lint --strict`, with each set of values."""
    _render("helm/base")
    values = [f"--values={VALUES[name]}"] if name in VALUES else []

    assert "0 chart(s) failed" in rendering.run(rendering.helm(), "lint", "--strict", str(rendering.CHART), *values)


def test_every_setting_is_reachable() -> None:
    """As a value of its own name; but for those that the chart itself makes, which the pod has."""
    offered = set(chart.build_schema()["properties"]["settings"]["properties"])

    assert offered | set(chart.OWN) == set(settings.Settings.model_fields)
    assert offered & set(chart.OWN) == set()
    made = {name.removeprefix(settings.PREFIX).lower() for name in environment(render("kustomize/high-availability"))}
    assert set(chart.OWN) <= made


def test_a_setting_reaches_the_operator_as_it_was_meant(tmp_path: pathlib.Path) -> None:
    """Numbers, switches and lists of lines; large numbers are not written as 1e+06."""
    given: dict[str, Any] = {
        "history_limit": 1_000_000,
        "poll_seconds": 0.5,
        "events": False,
        "job_labels": "team=a\nstage=b",
        "image": "example.test/agent:1",
    }
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({"settings": given}))
    _render("helm/base")

    config = settings.from_environ(environment(rendering.template(values=[file])))

    assert {name: getattr(config, name) for name in given} == given
    assert config.default_labels == {"team": "a", "stage": "b"}


def test_a_changed_setting_is_a_changed_pod(tmp_path: pathlib.Path) -> None:
    """Else the operator would go on with what it read at its start."""
    before = _render("helm/base")
    after = rendering.template("--set=settings.log_level=debug")

    assert find(before, "Deployment")["spec"]["template"] != find(after, "Deployment")["spec"]["template"]
    (tmp_path / "kustomization.yaml").write_text(
        json.dumps(
            {
                "resources": [os.path.relpath(FOLDERS["base"], tmp_path.resolve())],
                "configMapGenerator": [
                    {
                        "name": "agentrun-operator-settings",
                        "namespace": "agentrun-system",
                        "behavior": "merge",
                        "literals": ["AGENTRUN_LOG_LEVEL=debug"],
                    }
                ],
            }
        )
    )
    changed = rendering.kustomize(tmp_path)
    assert environment(changed)["AGENTRUN_LOG_LEVEL"] == "debug"
    assert container_of(changed)["envFrom"] != container_of(_render("kustomize/base"))["envFrom"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["settings.histroy_limit=5"], "histroy_limit"),
        (["settings.history_limit=-1"], "history_limit"),
        (["settings.log_level=loud"], "log_level"),
        (["settings.namespaces=a"], "namespaces"),
        (["replicas=3"], "replicas"),
        (["leaderElection.enabled=true"], "use ReadWriteMany, an existingClaim, or persistence.enabled=false"),
        (["watch.allNamespaces=true", "watch.namespaces={a}"], "empty one of the two"),
        (["image.digest=latest"], "digest"),
        (["persistence.accessMode=ReadOnlyMany"], "accessMode"),
    ],
)
def test_a_wrong_value_is_refused(values: list[str], says: str) -> None:
    """Before anything is installed, with the name of the value."""
    _render("helm/base")
    with pytest.raises(rendering.RenderError) as refused:
        rendering.template(*(f"--set={value}" for value in values))

    assert says in str(refused.value)


def test_an_operator_of_other_namespaces_has_next_to_no_rights_in_its_own() -> None:
    """It reads its own pod, of which agents inherit; it mounts no volume, and says so to itself."""
    objects = render("helm/several-namespaces")
    [own] = [one for one in objects if one["kind"] == "Role" and one["metadata"]["namespace"] == "agentrun-system"]

    assert rights.granted(own["rules"]) == [rights.Right("", "pods", "get")]
    assert settings.from_environ(environment(objects)).data_path == ""
    assert [one for one in objects if one["kind"] == "PersistentVolumeClaim"] == []
    assert "volumes" not in pod_of(objects)


def test_traces_are_a_component_and_some_values(tmp_path: pathlib.Path) -> None:
    """Behind the network policy, which then lets the operator through to the collector; and without one, as well."""
    folders = {name: os.path.relpath(DEPLOY / name, tmp_path.resolve()) for name in ("base", "components")}
    component, policy = f"{folders['components']}/traces", f"{folders['components']}/network-policy"
    values = ["settings.traces=true", "networkPolicy.enabled=true", "networkPolicy.collectorPorts={4318}"]
    collector = {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector.monitoring:4318"}
    values += [f"extraEnv[0].{key}={value}" for key, value in collector.items()]
    _render("kustomize/base"), _render("helm/base")  # skips where a tool is missing

    def kustomize(*components: str) -> Objects:
        kustomization = {"resources": [folders["base"]], "components": components}
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(kustomization))))
        return rendering.kustomize(tmp_path)

    for objects in (kustomize(policy, component), rendering.template(*(f"--set={value}" for value in values))):
        given = environment(objects)
        assert settings.from_environ(given).traces
        assert given[collector["name"]] == collector["value"]
        out, _ = find(objects, "NetworkPolicy")["spec"]["egress"]
        assert {"protocol": "TCP", "port": 4318} in out["ports"]
    assert settings.from_environ(environment(kustomize(component))).traces
    assert not settings.from_environ(environment(_render("kustomize/base"))).traces


def test_values_and_their_schema_name_the_same() -> None:
    """Every default has a meaning, every meaning a default."""
    values = yaml.safe_load((rendering.CHART / "values.yaml").read_text())
    schema = chart.build_schema()["properties"]

    assert set(values) == set(schema) - {"global"}
    for name, child in schema.items():
        assert child["description"]
        if "properties" in child and name != "settings":
            assert set(values[name]) == set(child["properties"])


def test_versions_agree() -> None:
    """The chart, its application, the kustomization's image and the package."""
    of_chart = yaml.safe_load((rendering.CHART / "Chart.yaml").read_text())
    [of_image] = yaml.safe_load((DEPLOY / "base" / "kustomization.yaml").read_text())["images"]

    assert (of_chart["version"], of_chart["appVersion"]) == (agentrun_operator.__version__,) * 2
    assert of_image["newTag"] == agentrun_operator.__version__
    assert f"ARG VERSION={agentrun_operator.__version__}\n" in (DEPLOY / "Dockerfile").read_text()


# --- the examples ----------------------------------------------------------------------------------------------------


def test_the_example_for_kueue_is_a_run_that_the_operator_takes() -> None:
    """And asks for the queue and the class that the other files make."""
    body = yaml.safe_load((DEPLOY / "examples" / "kueue" / "agentrun.yaml").read_text())
    body["metadata"]["uid"] = "11111111-1111-4111-8111-111111111111"
    run = models.AgentRun.parse(body)
    queues = list(yaml.safe_load_all((DEPLOY / "examples" / "kueue" / "queues.yaml").read_text()))

    [queue] = [one for one in queues if one["kind"] == "LocalQueue"]
    assert (run.metadata.namespace, run.spec.job.queue_name) == (
        queue["metadata"]["namespace"],
        queue["metadata"]["name"],
    )
    assert queue["spec"]["clusterQueue"] in [o["metadata"]["name"] for o in queues if o["kind"] == "ClusterQueue"]
    assert find(render("kustomize/production"), "PriorityClass", run.spec.job.priority_class_name or "")
