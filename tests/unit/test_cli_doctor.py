"""``agentrun doctor``: where it looks, what it makes of refusals, what it prints, and how it ends."""

import dataclasses
import datetime as dt
import errno
import json
import os
import pathlib
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
import yaml

from agentrun_operator import cli, doctor, errors, facts, kube, settings
from agentrun_operator.cli import terminal
from agentrun_operator.cli.doctor import report, volume
from agentrun_operator.models import crd
from tests import builders

SYSTEM = "agentrun-system"
NOT_FOUND = errors.NotFoundError("not found", status=404)
FORBIDDEN = errors.ForbiddenError('User "x" cannot get resource', status=403)
AWAY = errors.UnavailableError("timed out")
AGENT_IMAGE = "agents.example/claude:1"


def deployment() -> dict[str, Any]:
    """The operator's, as deploy/ has it."""
    field = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    key = {"secretKeyRef": {"name": "anthropic", "key": "api-key", "optional": True}}
    container = {
        "name": "operator",
        "image": "agentrun/operator:1",
        "envFrom": [{"configMapRef": {"name": "agentrun-operator"}}],
        "env": [
            {"name": "AGENTRUN_NAMESPACES", "valueFrom": field},
            {"name": "AGENTRUN_POD_NAMESPACE", "valueFrom": field},
            {"name": "AGENTRUN_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "ANTHROPIC_API_KEY", "valueFrom": key},
        ],
        "volumeMounts": [{"name": "data", "mountPath": "/paperclip"}],
    }
    spec = {
        "serviceAccountName": "agentrun-operator",
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "shared"}}],
    }
    return {
        "metadata": {"name": "agentrun-operator"},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": "agentrun"}},
            "template": {"metadata": {"labels": {"app": "agentrun"}}, "spec": spec},
        },
        "status": {"readyReplicas": 1},
    }


def operator_pod() -> dict[str, Any]:
    """A pod of that Deployment."""
    status = {"containerStatuses": [{"name": "operator", "ready": True, "restartCount": 0}]}
    return {
        "metadata": {"name": "agentrun-operator-0", "namespace": SYSTEM},
        "spec": deployment()["spec"]["template"]["spec"],
        "status": status,
    }


@dataclasses.dataclass
class Fake:
    """An API server in which all is well; ``fail`` has exceptions by the name of the method."""

    fail: dict[str, Exception] = dataclasses.field(default_factory=dict)
    objects: dict[str, Any] = dataclasses.field(default_factory=dict)
    denied: set[str] = dataclasses.field(default_factory=set)
    asked: list[tuple[str, Any]] = dataclasses.field(default_factory=list)
    tried: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        """What there is, unless a test says otherwise."""
        moment = dt.datetime.now(dt.UTC)
        ready = {"status": {"conditions": [{"type": "Established", "status": "True"}]}}
        usual = {
            "greet": kube.Greeting(version="v1.34.1", seconds=0.01, time=moment, asked=moment),
            "get_crd": {**crd.build_crd(), **ready},
            "get_deployment": deployment(),
            "list_pods_by": [operator_pod()],
            "get_pod": operator_pod(),
            "get_config_map_data": {"AGENTRUN_IMAGE": AGENT_IMAGE.encode()},
            "list_nodes": [{"metadata": {"name": "one"}, "status": {"images": [{"names": [AGENT_IMAGE]}]}}],
            "get_namespace": {"status": {"phase": "Active"}},
            "get_claim": {"status": {"phase": "Bound", "accessModes": ["ReadWriteMany"]}},
            "list_quotas": [],
            "get_secret_data": {"api-key": b"hush-hush"},
            "list_pods": [],
            "get_lease": {},
        }
        self.objects = {**usual, **self.objects}

    async def close(self) -> None:
        """As the client does."""
        self.closed = True

    async def may(self, attributes: Mapping[str, str], *, account: tuple[str, str] | None = None) -> bool:
        """As the client does."""
        self.asked.append(("may", account))
        if "may" in self.fail:
            raise self.fail["may"]
        return f"{attributes['verb']}/{attributes['resource']}" not in self.denied

    async def try_job(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        """As the client does."""
        return self._try("try_job", body)

    async def try_pod(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        """As the client does."""
        return self._try("try_pod", body)

    def _try(self, name: str, body: Mapping[str, Any]) -> tuple[str, ...]:
        self.tried.append(body)
        if name in self.fail:
            raise self.fail[name]
        return ()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        """Every other method answers what ``objects`` has, or fails."""

        async def answer(*arguments: str) -> object:  # noqa: RUF029 - as the client's methods are
            self.asked.append((name, arguments))
            if name in self.fail:
                raise self.fail[name]
            return self.objects[name]

        return answer


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """What the command is connected to; no setting is in the environment."""
    client = Fake()

    async def connect(**_: object) -> Fake:  # noqa: RUF029 - as the real one is
        return client

    monkeypatch.setattr(kube, "connect_inspector", connect)
    for name in [name for name in os.environ if name.startswith(("AGENTRUN_", "KUBERNETES_"))]:
        monkeypatch.delenv(name)
    return client


Run = tuple[int, dict[str, list[tuple[str, str]]]]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Run:
    """Exit code, and of each check levels and sentences."""
    code = cli.main(["doctor", "-o", "json", *arguments])
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in json.loads(capsys.readouterr().out)["findings"]:
        subject = f"{finding['subject']}: " if "subject" in finding else ""
        found.setdefault(finding["check"], []).append((finding["level"], subject + finding["message"]))
    return code, found


# --- where it looks -------------------------------------------------------------------------------------------------


def test_from_a_workstation_the_deployment_tells_the_settings(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """And whose rights matter, what agents inherit, and which namespace they are in; the volume is out of sight."""
    code, found = run(capsys)

    assert code == 0
    assert found["settings"] == [("pass", f"read from Deployment {SYSTEM}/agentrun-operator")]
    assert {account for name, account in fake.asked if name == "may"} == {(SYSTEM, "agentrun-operator")}
    assert found["claim"] == [("pass", f"{SYSTEM}: the claim shared is bound")]
    assert found["secrets"] == [("pass", f"{SYSTEM}/anthropic: is there, with api-key")]
    assert found["image"] == [("pass", f"{SYSTEM}: {AGENT_IMAGE} is on every node that agents may go to")]
    assert [level for level, _ in found["volume"]] == ["skip"]
    assert "kubectl exec" in found["volume"][0][1]
    assert {level for findings in found.values() for level, _ in findings} == {"pass", "skip"}
    assert fake.closed


def test_the_job_and_the_pod_are_those_of_a_run(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run that does not exist: no name is ever taken, and the pod is what the Job controller would make."""
    run(capsys)
    run(capsys)

    job, pod, other, _ = fake.tried
    assert job["kind"] == "Job"
    assert pod["kind"] == "Pod"
    assert pod["spec"] == job["spec"]["template"]["spec"]
    assert pod["metadata"]["namespace"] == job["metadata"]["namespace"] == SYSTEM
    assert job["metadata"]["name"] != other["metadata"]["name"]


def test_in_the_operators_pod_the_environment_tells_the_settings(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """It asks for its own rights, is not troubled by what it may not see, and looks at the volume."""
    environment = {"POD_NAME": "agentrun-operator-0", "POD_NAMESPACE": SYSTEM, "NAMESPACES": "team-a,team-b"}
    for name, value in {**environment, "IMAGE": AGENT_IMAGE, "DATA_PATH": str(tmp_path)}.items():
        monkeypatch.setenv(f"AGENTRUN_{name}", value)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    denied = ("get_crd", "get_deployment", "list_nodes", "get_namespace", "get_claim", "list_quotas", "try_pod")
    fake.fail = dict.fromkeys(denied, FORBIDDEN)
    [version] = crd.build_crd()["spec"]["versions"]
    fake.objects |= {
        "list_served_versions": ("v1alpha1",),
        "get_published_schema": version["schema"]["openAPIV3Schema"],
    }

    code, found = run(capsys)

    assert code == 0
    assert found["settings"] == [("pass", "read from the environment")]
    assert {account for name, account in fake.asked if name == "may"} == {None}
    assert "the operator may get" in found["rights"][0][1]
    assert found["crd"][0][0] == "pass"
    assert [level for level, _ in found["operator"]] == ["skip", "pass"]
    assert [(level, words.partition(":")[0]) for level, words in found["namespace"]] == [
        ("skip", "team-a"),
        ("skip", "team-b"),
    ]
    assert [level for level, _ in found["admission"]] == ["pass", "skip", "pass", "skip"]
    assert "from a workstation" in found["admission"][1][1]
    assert found["probe"][0][0] == "pass"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("answer", "words"), [(NOT_FOUND, "there is no pod"), (AWAY, "could not be looked at")])
def test_a_pod_that_does_not_find_itself(
    fake: Fake,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: errors.ApiError,
    words: str,
) -> None:
    """It goes on, without what it would inherit."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("AGENTRUN_POD_NAME", "agentrun-operator-0")
    monkeypatch.setenv("AGENTRUN_POD_NAMESPACE", SYSTEM)
    monkeypatch.setenv("AGENTRUN_DATA_PATH", "")
    fake.fail = {"get_pod": answer}

    _, found = run(capsys)

    level, sentence = found["operator"][1]
    assert (level, words in sentence) == ("warn", True)
    assert found["volume"] == [("skip", "AGENTRUN_DATA_PATH is empty: the operator reads logs from the pods")]
    assert "paperclip-data" in found["claim"][0][1]


def test_a_pod_without_a_name_is_told_to_have_one(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not there is no volume."""
    del fake
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("AGENTRUN_DATA_PATH", "/there/is/none")

    code, found = run(capsys)

    assert code == 1
    assert ("warn", "pods: AGENTRUN_POD_NAME is not set, so this pod does not know itself") in found["operator"]
    assert found["volume"] == [("fail", "/there/is/none: there is no such folder")]


def test_without_an_operator_its_user_is_judged(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """As for an operator that is run by hand; the settings are those of the environment, and no image is known."""
    fake.fail = {"get_deployment": NOT_FOUND}

    _, found = run(capsys, "-n", "team-a", "-n", "team-b")

    assert found["operator"][0][0] == "warn"
    assert "the user of this kubeconfig may get" in found["rights"][0][1]
    assert [words.partition(":")[0] for _, words in found["namespace"]] == ["team-a", "team-b"]
    assert found["image"][0] == ("skip", "team-a: AGENTRUN_IMAGE is empty: every run has to name its image")
    assert found["admission"][0] == ("pass", "team-a, Job: would be created")


def test_settings_that_cannot_be_read_are_a_failure(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing else is left out for it."""
    fake.objects["get_config_map_data"] = {"AGENTRUN_POLL_SECONDS": b"often"}

    code, found = run(capsys)

    assert code == 1
    assert "AGENTRUN_POLL_SECONDS='often'" in found["settings"][0][1]
    assert set(found) == {check.name for check in doctor.CHECKS}


@pytest.mark.parametrize("error", [NOT_FOUND, FORBIDDEN])
def test_settings_that_are_out_of_sight_are_named(
    fake: Fake, capsys: pytest.CaptureFixture[str], error: errors.ApiError
) -> None:
    """A ConfigMap that may not be read."""
    fake.fail = {"get_config_map_data": error}

    _, found = run(capsys)

    assert found["settings"][0][0] == "warn"
    assert "ConfigMap agentrun-operator" in found["settings"][0][1]


# --- what it makes of refusals ----------------------------------------------------------------------------------------


def test_an_api_server_that_does_not_answer_is_the_failure(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """One, and not one of every check."""
    fake.fail = {"greet": AWAY}

    code, found = run(capsys)

    assert code == 1
    assert found["api"] == [("fail", "the API server cannot be asked: timed out")]
    assert {name for name, said in found.items() for level, _ in said if level == "fail"} == {"api"}
    assert set(found) == {check.name for check in doctor.CHECKS}


def test_without_credentials_too(
    fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no kubeconfig."""
    del fake

    async def refuse(**_: object) -> Fake:  # noqa: RUF029 - as the real one is
        raise errors.SettingsError("No way to reach Kubernetes")

    monkeypatch.setattr(kube, "connect_inspector", refuse)
    code, found = run(capsys)
    assert (code, found["api"]) == (1, [("fail", "No way to reach Kubernetes")])


def test_what_is_not_there_is_a_failure(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """Each by its own check."""
    fake.fail = dict.fromkeys(("get_crd", "get_claim", "get_secret_data", "get_lease"), NOT_FOUND)
    fake.objects["get_config_map_data"] = {
        "AGENTRUN_IMAGE": b"agent:1",
        "AGENTRUN_LEADER_ELECTION_LEASE": b"agentrun-operator",
    }
    fake.denied = {"create/jobs"}

    code, found = run(capsys)

    assert code == 1
    for check in ("crd", "claim", "leader", "rights"):
        assert "fail" in {level for level, _ in found[check]}, check
    assert found["secrets"][0][0] == "warn"  # optional


def test_a_namespace_that_is_not_there(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else of it is looked at."""
    fake.fail = {"get_namespace": NOT_FOUND}
    _, found = run(capsys, "-n", "tema-a")
    assert found["namespace"] == [("fail", "tema-a: there is no such namespace")]
    assert fake.tried == []


def test_trouble_is_a_warning(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """What should have been seen, and what has an unknown answer."""
    names = ("get_crd", "may", "list_nodes", "get_deployment", "list_quotas", "list_pods", "get_claim", "try_job")
    fake.fail = dict.fromkeys(names, AWAY)
    _, found = run(capsys)
    for check in ("crd", "rights", "operator", "quota", "claim", "admission"):
        assert found[check][0][0] == "warn", check


@pytest.mark.parametrize("error", [NOT_FOUND, FORBIDDEN, AWAY])
def test_a_crd_that_may_not_be_read_is_asked_for_elsewhere(
    fake: Fake, capsys: pytest.CaptureFixture[str], error: errors.ApiError
) -> None:
    """Every user may see which versions are served."""
    fake.fail = {"get_crd": FORBIDDEN, "list_served_versions": error}
    _, found = run(capsys)
    assert found["crd"][0][0] == {NOT_FOUND: "fail", FORBIDDEN: "skip", AWAY: "warn"}[error]


def test_a_schema_that_is_not_published(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """The version is not served."""
    fake.fail = {"get_crd": FORBIDDEN}
    fake.objects |= {"list_served_versions": ("v1beta1",), "get_published_schema": None}
    _, found = run(capsys)
    assert found["crd"] == [("fail", "the CRD agentruns.paperclip.io does not serve v1alpha1; served: v1beta1")]


def test_the_refusal_of_a_pod_is_quoted(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """In the API server's own words."""
    sentence = 'pods "ac" is forbidden: violates PodSecurity "restricted:latest"'
    fake.fail = {"try_pod": errors.RejectedError(sentence, status=403)}
    code, found = run(capsys)
    assert code == 1
    assert found["admission"][1] == ("fail", f"{SYSTEM}, pod: refused: {sentence}")


def test_an_agent_that_cannot_pull_its_image_tells_on_it(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """What a kubelet has said."""
    waiting = facts.ContainerFacts(
        name="claude", waiting_reason="ErrImagePull", waiting_message=f"pulling {AGENT_IMAGE}"
    )
    pod = facts.PodFacts(name="ac-1", uid="u", namespace=SYSTEM, main=waiting, init=())
    fake.objects["list_pods"] = [pod, dataclasses.replace(pod, main=None)]
    code, found = run(capsys)
    assert code == 1
    assert found["image"][0][0] == "fail"


def test_the_leader_is_found(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """By the clock of the API server."""
    now = dt.datetime.now(dt.UTC)
    fake.objects["greet"] = kube.Greeting(version="v1.34.1", seconds=0.01, time=now - dt.timedelta(hours=1), asked=now)
    fake.objects["get_config_map_data"] = {"AGENTRUN_LEADER_ELECTION_LEASE": b"agentrun-operator"}
    renewed = (now - dt.timedelta(hours=1, seconds=2)).isoformat()
    spec = {"holderIdentity": "agentrun-operator-0_1", "leaseDurationSeconds": 8, "renewTime": renewed}
    fake.objects["get_lease"] = {"spec": spec}
    _, found = run(capsys)
    assert found["leader"][0][0] == "pass"
    assert found["clock"][0][0] == "fail"


# --- one AgentRun -----------------------------------------------------------------------------------------------------


def write(path: pathlib.Path, *bodies: Mapping[str, Any]) -> str:
    """A file with objects."""
    path.write_text(yaml.safe_dump_all(bodies))
    return str(path)


def test_an_agent_run_is_checked_for_what_it_needs(
    fake: Fake, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    """In its namespace, with its Secrets; a prompt that is kept elsewhere is not asked for."""
    fake.objects["get_secret_data"] = {"other": b"x"}
    prompt = {"secretKeyRef": {"name": "prompts", "key": "task"}}
    job = {"image": "own.example/agent:2", "envFrom": [{"secretRef": {"name": "own"}}]}
    file = write(tmp_path / "run.yaml", builders.agent_run(prompt=prompt, job=job))

    _, found = run(capsys, "-f", file)

    assert found["namespace"] == [("pass", "team-a: is there")]
    assert found["secrets"] == [("pass", "team-a/own: is there")]
    assert "own.example/agent:2" in found["image"][0][1]


def test_an_agent_run_of_which_no_job_can_be_made(
    fake: Fake, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    """The reason is that of the operator."""
    file = write(tmp_path / "run.yaml", builders.agent_run(agent="---"))
    code, found = run(capsys, "-f", file)
    assert code == 1
    assert "so no label can be made of it" in found["admission"][0][1]
    assert fake.tried == []


@pytest.mark.parametrize(
    ("bodies", "words"),
    [
        ([], "it holds 0"),
        ([builders.agent_run(), builders.agent_run()], "it holds 2"),
        ([builders.agent_run(nonsense="x")], "agentrun validate -f"),
    ],
)
def test_a_file_that_holds_no_run_is_wrong_usage(
    fake: Fake,
    capsys: pytest.CaptureFixture[str],
    tmp_path: pathlib.Path,
    bodies: list[Mapping[str, Any]],
    words: str,
) -> None:
    """Exit code 2, and nothing is asked."""
    code = cli.main(["doctor", "-f", write(tmp_path / "run.yaml", *bodies)])
    assert code == 2
    assert words in capsys.readouterr().err
    assert fake.asked == []


@pytest.mark.parametrize("seconds", ["0", "601", "soon"])
def test_a_time_limit_has_bounds(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    """Or it would be none."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--timeout", seconds])
    assert ended.value.code == 2
    assert seconds in capsys.readouterr().err


# --- what it prints ---------------------------------------------------------------------------------------------------

FOUND = (
    doctor.Finding(check="api", level=doctor.Level.PASS, message="Kubernetes v1.34.1"),
    doctor.Finding(
        check="secrets", level=doctor.Level.FAIL, subject="a/b", message="is \x1b[31mgone", hint="Create it."
    ),
    doctor.Finding(check="secrets", level=doctor.Level.SKIP, subject="a/c", message="word " * 20),
)


def test_a_pipe_gets_a_line_for_each_finding() -> None:
    """With the level first, so that grep finds it, and without control characters."""
    lines = report.render_text(FOUND, terminal.Terminal(color=False, width=None)).splitlines()
    assert lines[:2] == ["pass api: Kubernetes v1.34.1", "fail secrets: a/b: is gone. What to do: Create it."]
    assert lines[3:] == ["", "3 findings: 1 fail, 0 warn, 1 pass, 1 skip"]


def test_a_terminal_gets_a_table() -> None:
    """No line is wider than it, and what is to do has a line of its own."""
    lines = report.render_text(FOUND, terminal.Terminal(color=False, width=60)).splitlines()
    assert lines[0] == "✔ pass  api         Kubernetes v1.34.1"
    assert lines[1] == "✘ fail  secrets     a/b: is gone"
    assert lines[2] == "                    → Create it."
    assert lines[3].startswith("- skip              a/c: word word")  # the name of the check stands above
    assert max(map(len, lines)) <= 60


def test_colours_are_for_the_mark_and_the_level() -> None:
    """The rest is to be read."""
    lines = report.render_text(FOUND, terminal.Terminal(color=True, width=80)).splitlines()
    assert lines[0] == "\x1b[32m✔ pass\x1b[0m  api         Kubernetes v1.34.1"


def test_programs_get_the_worst_level_and_all_findings(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """The same in YAML."""
    del fake
    assert cli.main(["doctor", "-o", "yaml"]) == 0
    body = yaml.safe_load(capsys.readouterr().out)
    assert body["level"] == "pass"
    assert sum(body["counts"].values()) == len(body["findings"])
    assert report.build_json(FOUND)["findings"][1] == {
        "check": "secrets", "level": "fail", "subject": "a/b", "message": "is \x1b[31mgone", "hint": "Create it."
    }  # fmt: skip


def test_no_value_of_a_secret_is_printed(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """In no form."""
    del fake
    for form in ("text", "json", "yaml"):
        cli.main(["doctor", "-o", form])
        assert "hush" not in capsys.readouterr().out


# --- the volume -------------------------------------------------------------------------------------------------------


def look(path: pathlib.Path, seconds: float = 10) -> doctor.Volume:
    """At a folder as the shared volume."""
    return volume.look(settings.Settings(data_path=str(path)), timeout=seconds)


def test_a_volume_is_written_to_and_left_as_it_was(tmp_path: pathlib.Path) -> None:
    """The probe is made beside the logs."""
    root = tmp_path / "instances" / "default" / "run-logs"
    root.mkdir(parents=True)
    seen = look(tmp_path)
    assert seen.fault == ""
    assert seen.probe is not None
    assert (seen.probe.folder, seen.probe.fault) == (str(root), "")
    assert seen.log_root is not None
    assert (seen.log_root.exists, seen.log_root.uid) == (True, os.getuid())
    assert seen.space is not None
    assert 0 < seen.space.free_bytes <= seen.space.total_bytes
    assert list(root.iterdir()) == []


def test_a_volume_without_logs_is_probed_where_they_would_be_made(tmp_path: pathlib.Path) -> None:
    """In the nearest folder that is there."""
    seen = look(tmp_path)
    assert seen.probe is not None
    assert seen.probe.folder == str(tmp_path)
    assert seen.log_root == doctor.LogRoot(path=str(tmp_path / "instances/default/run-logs"), exists=False)


def test_a_volume_that_cannot_be_written_to(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system's own words."""

    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    seen = look(tmp_path)
    assert seen.probe is not None
    assert "Read-only file system" in seen.probe.fault


def test_a_rename_that_nobody_sees(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, and the file is removed all the same."""
    monkeypatch.setattr(volume, "_SEEN_SECONDS", 0.05)
    monkeypatch.setattr(volume, "_is_seen", lambda _path: False)
    seen = look(tmp_path)
    assert seen.probe is not None
    assert "was not seen" in seen.probe.fault
    assert list(tmp_path.iterdir()) == []


def test_a_volume_that_hangs_costs_the_time_limit(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a dead file server does."""
    release = threading.Event()

    def hang(_config: settings.Settings) -> doctor.Volume:
        release.wait(10)
        return doctor.Volume(path="")

    monkeypatch.setattr(volume, "_look", hang)
    try:
        assert look(tmp_path, 0.05).fault == "does not answer within 0.05 s"
    finally:
        release.set()


def test_a_volume_that_breaks_is_a_fault(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stale handle."""

    def stale(_path: object) -> os.statvfs_result:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "statvfs", stale)
    assert "Stale file handle" in look(tmp_path).fault


def test_where_there_is_no_proc_the_file_system_is_unknown(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All the rest is known."""
    monkeypatch.setattr(volume, "_MOUNTS", tmp_path / "none")
    seen = look(tmp_path)
    assert (seen.filesystem, seen.mounted, seen.fault) == ("", False, "")
