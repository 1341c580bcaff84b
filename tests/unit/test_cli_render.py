"""``agentrun render``: what the operator would create, printed; and the status that it would give for a pod.

``UPDATE_GOLDENS=1 python -m pytest tests/unit/test_cli_render.py`` writes the goldens anew; read the diff before you
commit.
"""

import base64
import datetime
import io
import json
import os
import pathlib
import sys
from typing import Any

import pytest
import yaml

from agentrun_operator import cli, entry, manifest, models, names, settings
from agentrun_operator.cli import documents, render
from agentrun_operator.manifest import inheritance
from tests import builders

GOLDENS = pathlib.Path(__file__).parents[1] / "data" / "cli"
NOW = datetime.datetime(2026, 1, 2, 3, 4, 35, tzinfo=datetime.UTC)
SCRIPTS = manifest.Scripts(run_agent="#!/bin/sh\nexec true\n", bundle="#!/bin/sh\nexec false\n")
IMAGE = {"image": "registry.example/agent:1"}
KEY = {"name": "p", "key": "k"}
NO_UID = "00000000-0000-4000-8000-000000000000"
MASKED = "agentrun render: note: the Secrets' values are masked; --show-secrets prints them\n"

# Words that may stand in a Secret only.
PROMPT, BOOTSTRAP, HANDOFF, INSTRUCTIONS = "xyzzy-prompt", "xyzzy-bootstrap", "xyzzy-handoff", "xyzzy-instructions"
REALISTIC: dict[str, Any] = {
    "runId": "12e4",  # which YAML would take for a number
    "agent": {"id": "coder-7", "name": "Cody the Coder"},
    "taskId": "ISSUE-12",
    "prompt": {"text": f"Fix the login page; {PROMPT}.\n", "bootstrap": BOOTSTRAP, "handoff": HANDOFF},
    "bundle": {"instructions": INSTRUCTIONS, "skills": [{"name": "web", "path": "/paperclip/skills/web"}]},
    "claude": {"model": "opus[1m]", "maxTurns": 50, "maxBudgetUSD": "2.50"},
    "job": {
        **IMAGE,
        "env": [
            {"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "claude", "key": "key"}}},
            {"name": "GREETING", "value": "Grüße, y"},
            {"name": "ANSWER", "value": "y"},
        ],
    },
    "timeouts": {"timeoutSeconds": 3600},
}


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    """No settings, short scripts, a clock that stands still; the working directory is the test's own."""
    for name in [name for name in os.environ if name.startswith("AGENTRUN_")]:
        monkeypatch.delenv(name)
    texts = {"run-agent.sh": SCRIPTS.run_agent, "bundle.sh": SCRIPTS.bundle}
    monkeypatch.setattr(entry, "read", texts.__getitem__)
    monkeypatch.setattr(render, "now", lambda: NOW)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Run ``agentrun render``: exit code, stdout, stderr."""
    try:
        code = cli.main(["render", *argv])
    except SystemExit as e:
        code = int(e.code or 0)
    return (code, *capsys.readouterr())


def agent_run(*, name: str = "fix-login", **spec: Any) -> dict[str, Any]:
    """A run as a file has it: without what only the API server gives."""
    body = builders.agent_run(**{"job": IMAGE, **spec})
    body["metadata"] = {"name": name, "namespace": "team-a"}
    return body


def put(file: str, *bodies: Any) -> str:
    """Write documents to a file in the working directory."""
    pathlib.Path(file).write_text("---\n".join(map(documents.to_yaml, bodies)))
    return file


def built(
    body: dict[str, Any],
    config: settings.Settings | None = None,
    inherited: inheritance.Inherited = inheritance.NOTHING,
) -> list[Any]:
    """Secret and Job as the operator builds them."""
    parsed = models.AgentRun.parse({**body, "metadata": {"uid": NO_UID, **body["metadata"]}})
    template = manifest.Template(text=parsed.spec.prompt.text or "", source="spec.prompt.text")
    config = config or settings.Settings()
    made = manifest.build(parsed, config, template=template, scripts=SCRIPTS, inherited=inherited)
    return json.loads(json.dumps([made.secret, made.job]))  # type: ignore[no-any-return]


def check_golden(name: str, text: str) -> None:
    """Compare with, or write, a golden."""
    path = GOLDENS / name
    if os.environ.get("UPDATE_GOLDENS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


# ---------------------------------------------------------------------------------------------------------- manifests


def test_secret_and_job_are_printed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Fields in the order they were built in, scripts as blocks, the Secret's values masked."""
    code, out, err = run(capsys, "-f", put("run.yaml", agent_run(**REALISTIC)))
    assert (code, err) == (0, MASKED)
    check_golden("render.yaml", out)


@pytest.mark.parametrize("output", ["yaml", "json"])
@pytest.mark.parametrize("spec", [{}, REALISTIC], ids=["minimal", "realistic"])
def test_what_is_printed_is_what_the_operator_creates(
    capsys: pytest.CaptureFixture[str], output: str, spec: dict[str, Any]
) -> None:
    """Byte for byte, when the secrets are shown; JSON is one List."""
    body = agent_run(**spec)
    code, out, err = run(capsys, "-f", put("run.yaml", body), "-o", output, "--show-secrets")
    assert (code, err) == (0, "")
    if output == "json":
        assert json.loads(out) == {"apiVersion": "v1", "kind": "List", "items": built(body)}
    else:
        assert list(yaml.safe_load_all(out)) == built(body)


@pytest.mark.parametrize("output", ["yaml", "json"])
def test_the_prompt_is_masked(capsys: pytest.CaptureFixture[str], output: str) -> None:
    """Neither as text nor as base64, also where the AgentRun itself is printed; only its length is told."""
    pod = put("pod.yaml", builders.pod(main=builders.running()))
    argv = ("-f", put("run.yaml", agent_run(**REALISTIC)), "--set-status-of", pod, "-o", output)
    _, masked, _ = run(capsys, *argv)
    _, shown, _ = run(capsys, *argv, "--show-secrets")
    for word in (PROMPT, BOOTSTRAP, HANDOFF, INSTRUCTIONS):
        assert word not in masked
    for value in built(agent_run(**REALISTIC))[0]["data"].values():
        assert value not in masked
        assert value in shown
        assert f"*** {len(base64.b64decode(value))} bytes ***" in masked


def test_texts_stay_texts_for_kubectl(capsys: pytest.CaptureFixture[str]) -> None:
    """What go-yaml would take for a number or a switch is quoted, though PyYAML would not."""
    _, out, _ = run(capsys, "-f", put("run.yaml", agent_run(**REALISTIC)))
    assert "paperclip.io/run-id: '12e4'\n" in out
    assert "- name: ANSWER\n          value: 'y'\n" in out
    assert "value: Grüße, y\n" in out
    assert "!!" not in out


def test_many_runs_are_rendered_as_far_as_possible(capsys: pytest.CaptureFixture[str]) -> None:
    """Problems go to stderr, worded as validate words them; exit code 1."""
    bodies = (agent_run(name="a"), agent_run(name="b", claude={"modle": "x"}), agent_run(name="c", runId="run-3"))
    code, out, err = run(capsys, "-f", put("run.yaml", *bodies), "--show-secrets")
    assert (code, err) == (1, "run.yaml: b: spec.claude.modle: there is no such field\n")
    assert list(yaml.safe_load_all(out)) == built(bodies[0]) + built(bodies[2])
    assert [line for line in out.splitlines() if line.startswith("#")] == [
        "# run.yaml: a: AgentRun of namespace team-a",
        "# run.yaml: c: AgentRun of namespace team-a",
    ]


@pytest.mark.parametrize(("output", "out"), [("yaml", ""), ("json", [])])
def test_nothing_to_print_is_printed_as_nothing(capsys: pytest.CaptureFixture[str], output: str, out: object) -> None:
    """An empty List is a List, too; and nothing was masked."""
    code, printed, err = run(capsys, "-f", put("run.yaml", agent_run(job={})), "-o", output)
    assert code == 1
    assert (json.loads(printed)["items"] if output == "json" else printed) == out
    assert err == (
        "run.yaml: fix-login: There is no image to run: set spec.job.image, or AGENTRUN_IMAGE on the operator. "
        "[k8s_pod_config_error]\n"
    )


@pytest.mark.parametrize("given", [{}, {"uid": "1a2b"}, {"generateName": "fix-", "name": None}])
def test_without_a_run_id_the_uid_decides_the_names(capsys: pytest.CaptureFixture[str], given: dict[str, Any]) -> None:
    """The note is for the placeholder: a UID of the document's own is the real one."""
    body = agent_run(runId=None)
    body["metadata"].update(given)
    code, out, err = run(capsys, "-f", put("run.yaml", body), "--show-secrets")
    secret, job = yaml.safe_load_all(out)
    uid = given.get("uid", NO_UID)
    name = "fix-xxxxx" if "generateName" in given else "fix-login"
    note = f"agentrun render: note: run.yaml: {name}: spec.runId is not set, so the UID decides the names; {NO_UID} "
    assert (code, err) == (0, "" if "uid" in given else f"{note}stands for it\n")
    assert job["metadata"]["name"].startswith(f"ac-coder-{uid.replace('-', '')[:4]}")
    assert secret["metadata"]["ownerReferences"][0]["uid"] == uid
    assert secret["metadata"]["ownerReferences"][0]["name"] == name


# ----------------------------------------------------------------------------------------------------- surroundings


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_prompt_comes_from_the_input(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    """From any of its files, in the run's namespace."""
    field = {"Secret": "secretKeyRef", "ConfigMap": "configMapKeyRef"}[kind]
    data = {"k": "RG8gaXQu"} if kind == "Secret" else {"k": "Do it."}
    beside = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "p"}, "data": data}
    argv = ("-f", put("run.yaml", agent_run(prompt={field: KEY})), put("beside.yaml", beside), "--show-secrets")
    code, out, _ = run(capsys, *argv, "-n", "team-a")
    assert code == 0
    assert base64.b64decode(next(yaml.safe_load_all(out))["data"]["prompt.txt"]) == b"Do it."
    code, out, err = run(capsys, *argv)
    assert (code, out) == (1, "")
    assert err == (
        f"run.yaml: fix-login: spec.prompt.{field}: {kind} p of namespace team-a is not in the input; add it with "
        f"another -f, for example from kubectl get {kind.lower()} p -n team-a -o yaml. [prompt_invalid]\n"
    )


def test_settings_come_from_a_file_or_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file alone, if there is one."""
    body = agent_run(job={})
    argv = ("-f", put("run.yaml", body), "--show-secrets")
    monkeypatch.setenv("AGENTRUN_IMAGE", "registry.example/a")
    monkeypatch.setenv("AGENTRUN_API_URL", "http://paperclip")
    _, out, _ = run(capsys, *argv)
    config = settings.Settings(image="registry.example/a", api_url="http://paperclip")
    assert list(yaml.safe_load_all(out)) == built(body, config)
    chosen = put("settings.yaml", {"image": "registry.example/b", "node_selector": {"disk": "ssd"}})
    _, out, _ = run(capsys, *argv, "--settings", chosen)
    config = settings.from_mapping({"image": "registry.example/b", "node_selector": {"disk": "ssd"}})
    assert list(yaml.safe_load_all(out)) == built(body, config)


@pytest.mark.parametrize("namespace", ["team-a", "else"])
def test_agents_inherit_from_the_own_pod(capsys: pytest.CaptureFixture[str], namespace: str) -> None:
    """Everything that the settings allow in the operator's own namespace, and what is left of it elsewhere."""
    variable = {"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "claude", "key": "key"}}}
    container = {"name": "operator", "image": "i", "env": [variable, {"name": "HTTPS_PROXY", "value": "http://proxy"}]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "operator", "namespace": namespace},
        "spec": {"containers": [container], "imagePullSecrets": [{"name": "pull"}]},
    }
    body = agent_run()
    argv = ("-f", put("run.yaml", body), "--own-pod", put("pod.yaml", {"kind": "List", "items": [pod]}))
    _, out, _ = run(capsys, *argv, "--show-secrets")
    config = settings.Settings(pod_namespace=namespace)
    assert list(yaml.safe_load_all(out)) == built(body, config, inheritance.parse_own_pod(pod, config))
    assert ("name: pull" in out) is (namespace == "team-a")
    assert "http://proxy" in out


# ------------------------------------------------------------------------------------------------------------ status


def status_of(capsys: pytest.CaptureFixture[str], *seen: dict[str, Any], **spec: Any) -> tuple[dict[str, Any], str]:
    """The status that is printed for what was seen, and stderr."""
    argv = ("-f", put("run.yaml", agent_run(**spec)), "--set-status-of", put("seen.yaml", *seen), "--show-secrets")
    code, out, err = run(capsys, *argv)
    assert code == 0
    *_, body = yaml.safe_load_all(out)
    models.AgentRunStatus.model_validate(body["status"])
    return body["status"], err


def test_the_agent_run_is_the_third_document(capsys: pytest.CaptureFixture[str]) -> None:
    """With its status and without its spec, which the input has."""
    pod = put("pod.yaml", builders.pod(phase="Failed", main=builders.terminated(exit_code=137, reason="OOMKilled")))
    code, out, err = run(capsys, "-f", put("run.yaml", agent_run()), "--set-status-of", pod)
    assert code == 0
    assert err == (
        "agentrun render: note: run.yaml: fix-login: with this pod the operator would write this status and be done; "
        f"it was given no output of the agent to read\n{MASKED}"
    )
    check_golden("status.yaml", out[out.rindex("---\n") :])


@pytest.mark.parametrize(
    ("pod", "phase", "reason", "step"),
    [
        ({"phase": "Pending"}, "Pending", "Starting", "keep watching"),
        (
            {"phase": "Pending", "node": "", "false_conditions": {"PodScheduled": ("Unschedulable", "0/3 nodes")}},
            "Pending",
            "Unschedulable",
            "keep watching",
        ),
        (
            {"phase": "Pending", "main": builders.waiting("ImagePullBackOff")},
            "Pending",
            "ErrImagePull",
            "keep watching",
        ),
        ({"main": builders.running()}, "Running", "Running", "keep watching"),
        ({"main": builders.terminated(exit_code=1)}, "Pending", "Finishing", "keep watching"),
        ({"phase": "Failed", "main": builders.terminated(exit_code=1)}, "Failed", None, "be done"),
        ({"phase": "Succeeded", "main": builders.terminated()}, "Failed", "PodLogFileMissing", "be done"),
        ({"phase": "Failed", "reason": "Evicted"}, "Failed", "PodEvicted", "be done"),
    ],
)
def test_the_status_is_that_of_the_operator(
    capsys: pytest.CaptureFixture[str], pod: dict[str, Any], phase: str, reason: str | None, step: str
) -> None:
    """Of a Job that Kubernetes made just now; without a line of output, since none is given."""
    status, err = status_of(capsys, builders.pod(**pod))
    assert (status["phase"], status["reason"] if reason else None) == (phase, reason)
    assert f"{step}" in err
    assert status["job"]["uid"] == "00000000-0000-4000-8000-000000000001"
    assert status["startTime"] == "2026-01-02T03:04:35Z"


def test_an_intent_of_the_spec_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """As it does for the operator, which then stops the Job."""
    status, err = status_of(capsys, builders.pod(main=builders.running()), cancel=True)
    assert (status["phase"], status["reason"]) == ("Running", "Cancelling")
    assert err.endswith("with this pod the operator would write this status, then delete the Job\n")


def test_a_job_beside_the_pod_tells_when_and_how(capsys: pytest.CaptureFixture[str]) -> None:
    """Its times, its UID, its end; names and annotations are those of the rendered Job."""
    seen = builders.job(conditions={"Failed": ("DeadlineExceeded", "Job was active longer than specified deadline")})
    pod = builders.pod(seen, phase="Failed", main=builders.terminated(exit_code=143))
    status, _ = status_of(capsys, pod, seen, timeouts={"timeoutSeconds": 10})
    assert (status["reason"], status["startTime"]) == ("Timeout", builders.CREATED)
    assert status["job"]["uid"] == builders.JOB_UID
    assert status["promptMetrics"]["promptChars"] == len("Fix the login page.")


@pytest.mark.parametrize(
    ("suspended", "phase", "reason"), [(True, "Queued", "JobSuspended"), (False, "Pending", "Starting")]
)
def test_a_job_may_have_no_pod(capsys: pytest.CaptureFixture[str], *, suspended: bool, phase: str, reason: str) -> None:
    """Because a queue holds it, or not yet."""
    seen = builders.job()
    seen["spec"]["suspend"] = suspended
    status, _ = status_of(capsys, seen, job={**IMAGE, "queueName": "q"})
    assert (status["phase"], status["reason"]) == (phase, reason)


def test_a_job_that_is_held_is_about_to_be_started(capsys: pytest.CaptureFixture[str]) -> None:
    """By the operator: until then there is no status of it."""
    seen = builders.job(suspend=True)
    seen["metadata"]["annotations"][names.ANNOTATION_HELD] = names.HELD
    status, err = status_of(capsys, seen)
    assert status == {}
    assert "would start the Job if the agent is free" in err


def test_a_failed_attempt_is_followed_by_another_if_the_run_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """The status is then that of a run that waits for its next attempt."""
    pod = builders.pod(phase="Failed", reason="Evicted", message="The node was low on memory.")
    status, err = status_of(capsys, pod, retry={"limit": 1})
    assert (status["phase"], status["reason"], status["attempt"]) == ("Pending", "RetryBackoff", 1)
    assert [entry["code"] for entry in status["previousAttempts"]] == ["k8s_pod_evicted"]
    assert "would write this status and begin the next attempt" in err


def test_a_pod_means_that_its_queue_let_the_job_go(capsys: pytest.CaptureFixture[str]) -> None:
    """Though the rendered Job is suspended."""
    status, _ = status_of(capsys, builders.pod(main=builders.running()), job={**IMAGE, "queueName": "q"})
    assert (status["phase"], status["reason"]) == ("Running", "Running")


# ------------------------------------------------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("-f", "missing.yaml"), "missing.yaml: No such file or directory"),
        (("-f", "bad.yaml"), "bad.yaml:1:1: this is no YAML: "),
        (("-f", "pod.yaml"), "there is no AgentRun in the input"),
        (("-f", "run.yaml", "--settings", "pod.yaml"), "--settings pod.yaml: kind: there is no such setting"),
        (("-f", "run.yaml", "--own-pod", "two.yaml"), "--own-pod two.yaml: it has to hold one Pod and nothing else"),
        (
            ("-f", "run.yaml", "run.yaml", "--set-status-of", "pod.yaml"),
            "--set-status-of is for one AgentRun; the input",
        ),
        (("-f", "run.yaml", "--set-status-of", "two.yaml"), "--set-status-of two.yaml: it has to hold one Pod"),
        (("-f", "run.yaml", "--set-status-of", "run.yaml"), "--set-status-of run.yaml: it has to hold one Pod"),
        (("-f", "run.yaml", "--set-status-of", "none.yaml"), "--set-status-of none.yaml: it has to hold one Pod"),
        (("-f", "-", "--set-status-of", "-"), "standard input (-) can be read only once"),
        ((), "usage: "),
        (("-f", "run.yaml", "-o", "text"), "usage: "),
    ],
)
def test_wrong_usage_is_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], said: str
) -> None:
    """With a sentence on stderr and nothing on stdout."""
    put("run.yaml", agent_run())
    put("pod.yaml", {"kind": "Pod"})
    put("two.yaml", {"kind": "Pod"}, {"kind": "Pod"})
    pathlib.Path("none.yaml").write_text("")
    pathlib.Path("bad.yaml").write_text("@")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.removeprefix("agentrun render: ").startswith(said)


def test_the_run_may_come_through_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON, say."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(agent_run()).encode())))
    code, out, _ = run(capsys, "-f", "-", "--show-secrets")
    assert code == 0
    assert out.startswith("# <stdin>: fix-login: AgentRun of namespace team-a\napiVersion: v1\nkind: Secret\n")
    assert list(yaml.safe_load_all(out)) == built(agent_run())


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """Each on a line of its own."""
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "\n  agentrun render -f run.yaml --settings settings.yaml\n" in out


def test_the_clock_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """In UTC, outside of tests."""
    monkeypatch.undo()
    assert abs(render.now() - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)
