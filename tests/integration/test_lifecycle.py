"""The operator on a real API server with real controllers, through the ends a run can have."""

import base64
import json
from typing import Any

import pytest

from hack import playground
from tests import harness
from tests.integration import kubelet

_ENDED = ("Succeeded", "Failed", "Cancelled")


def test_a_run_goes_from_job_to_verdict(site: harness.Site) -> None:
    """Pending with its Job, Running with live progress, Succeeded; the prompt Secret lives exactly as long."""
    site.start_operator()
    site.create("fine")
    pod = kubelet.Pod(site, "fine")
    assert [s["type"] for s in site.list("secrets")] == ["Opaque"]
    assert site.status("fine")["phase"] == "Pending"
    lines = kubelet.transcript("todo").splitlines(keepends=True)

    pod.run()
    pod.write(b"".join(lines[:3]))
    running = site.wait_status("fine", phase="Running", logEvents=3)
    assert running["usage"]["estimated"] is True
    pod.write(b"".join(lines[3:]))
    pod.end(0, message=f"stdoutBytes={sum(map(len, lines))} stderrBytes=0\n")
    status = site.wait_phase("fine", *_ENDED)

    assert status["phase"] == "Succeeded"
    assert status["logBytes"] == sum(map(len, lines))
    assert "message" not in status["exit"]
    assert site.list("secrets") == []
    [job] = site.list("jobs")
    assert job["spec"]["backoffLimit"] == 0


@pytest.mark.parametrize(
    ("scenario", "exit_code", "code"),
    [
        ("error429", 1, "claude_rate_limited"),
        ("oauth_rl_429", 1, "claude_usage_limited"),
        ("maxturns", 1, "claude_max_turns"),
        ("sigkill_midtool", 137, "claude_truncated"),
    ],
)
def test_a_failure_is_named(site: harness.Site, scenario: str, exit_code: int, code: str) -> None:
    """The verdict on real transcripts, through the whole operator; session and usage are kept."""
    site.start_operator()
    site.create("sad")
    pod = kubelet.Pod(site, "sad")
    pod.run()
    pod.write(kubelet.transcript(scenario))
    pod.end(exit_code)

    status = site.wait_phase("sad", *_ENDED)

    assert (status["phase"], status["error"]["code"]) == ("Failed", code)
    assert status["exit"]["code"] == exit_code
    assert status["session"]["id"]
    assert status["usage"]["inputTokens"] >= 0
    assert ("retryAfter" in status["error"]) == (code == "claude_usage_limited")


def test_runs_of_one_agent_take_turns_in_order(site: harness.Site) -> None:
    """Three runs of one agent and one of another: one Job per agent at any time, in the order of creation."""
    site.start_operator()
    for name in ("a1", "a2", "a3"):
        site.create(name)
    site.create("b1", agent={"id": "bob"})
    order = [""]
    for _ in range(3):
        playground.wait_until(lambda: _live(site, "ada") not in order, seconds=20, what="the next run of ada")
        name = _live(site, "ada")
        order.append(name)
        pod = kubelet.Pod(site, name)
        pod.run()
        pod.write(kubelet.transcript("ok"))
        pod.end(0)
        site.wait_phase(name, *_ENDED)

    assert order == ["", "a1", "a2", "a3"]
    assert _live(site, "bob") == "b1"


def test_an_operator_killed_at_any_step_goes_on(site: harness.Site) -> None:
    """kill -9 before, between and after the steps of a run: one Job, one pod, the right verdict."""
    site.create("tough")
    site.start_operator()
    pod = kubelet.Pod(site, "tough")
    jobs = [job["metadata"]["uid"] for job in site.list("jobs")]
    lines = kubelet.transcript("todo").splitlines(keepends=True)
    for start in range(0, len(lines), 2):
        site.kill_operator()
        pod.run()
        pod.write(b"".join(lines[start : start + 2]))
        site.start_operator()
        site.wait_status("tough", phase="Running")
    site.kill_operator()
    pod.end(0)
    site.start_operator()

    status = site.wait_phase("tough", *_ENDED)

    assert status["phase"] == "Succeeded"
    assert status["logEvents"] == len(lines)
    assert [job["metadata"]["uid"] for job in site.list("jobs")] == jobs
    assert [p["metadata"]["uid"] for p in site.list("pods")] == [pod.uid]


def test_sigterm_touches_nothing(site: harness.Site) -> None:
    """An operator that is told to stop leaves Job, pod and Secret as they are, and is gone at once."""
    operator = site.start_operator()
    site.create("calm")
    kubelet.Pod(site, "calm").run()
    site.wait_status("calm", phase="Running")
    before = {kind: [o["metadata"]["resourceVersion"] for o in site.list(kind)] for kind in ("jobs", "pods", "secrets")}

    operator.stop(seconds=5)

    after = {kind: [o["metadata"]["resourceVersion"] for o in site.list(kind)] for kind in ("jobs", "pods", "secrets")}
    assert after == before
    assert "Traceback" not in site.operator_log


def test_a_run_is_cancelled_before_it_has_a_pod(site: harness.Site) -> None:
    """Cancelling a run whose pod was never scheduled: Cancelled, nothing left."""
    site.start_operator()
    site.create("early")
    site.wait_status("early", job=bool)

    site.patch("early", {"spec": {"cancel": True}})
    status = site.wait_phase("early", *_ENDED)

    assert (status["phase"], status["error"]["code"]) == ("Cancelled", "cancelled")
    playground.wait_until(lambda: not site.list("jobs"), seconds=15, what="the Job to be gone")
    assert site.list("secrets") == []


def test_a_queued_run_is_cancelled_without_a_trace(site: harness.Site) -> None:
    """A run that waits for its agent can be cancelled; it never gets a Job, and the next in line moves up."""
    site.start_operator()
    site.create("busy")
    kubelet.Pod(site, "busy").run()
    site.create("waiting")
    site.wait_phase("waiting", "Queued")

    site.patch("waiting", {"spec": {"cancel": True}})
    status = site.wait_phase("waiting", *_ENDED)

    assert status["phase"] == "Cancelled"
    assert "job" not in status
    assert len(site.list("jobs")) == 1


def test_a_deleted_job_is_told_as_such(site: harness.Site) -> None:
    """Somebody deletes the Job of a live run: no second Job, a code of its own, and how it was noticed."""
    site.start_operator()
    site.create("robbed")
    pod = kubelet.Pod(site, "robbed")
    pod.run()
    pod.write(b"".join(kubelet.transcript("todo").splitlines(keepends=True)[:3]))
    status = site.wait_status("robbed", phase="Running", logEvents=3)

    site.kubectl.run("delete", "job", status["job"]["name"], "-n", site.namespace, "--wait=false")
    pod.vanish()
    status = site.wait_phase("robbed", *_ENDED)

    assert status["error"]["code"] == "k8s_job_deleted_externally"
    assert "the Job no longer exists" in status["exit"]["detection"]
    assert status["session"]["id"]
    assert site.list("jobs") == []


def test_a_job_deleted_while_the_operator_was_down_is_not_made_again(site: harness.Site) -> None:
    """The status remembers that there was a Job; a restarted operator does not run the agent a second time."""
    site.start_operator()
    site.create("absent")
    pod = kubelet.Pod(site, "absent")
    pod.run()
    status = site.wait_status("absent", phase="Running")
    site.kill_operator()
    site.kubectl.run("delete", "job", status["job"]["name"], "-n", site.namespace, "--wait=false")
    pod.vanish()
    playground.wait_until(lambda: not site.list("jobs"), seconds=15, what="the Job to be gone")

    site.start_operator()
    status = site.wait_phase("absent", *_ENDED)

    assert status["error"]["code"] == "k8s_job_deleted_externally"
    assert site.list("jobs") == []


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("ErrImagePull", "k8s_image_pull_failed"),
        ("InvalidImageName", "k8s_image_pull_failed"),
        ("CreateContainerConfigError", "k8s_pod_config_error"),
    ],
)
def test_a_container_that_cannot_start_ends_the_run(site: harness.Site, reason: str, code: str) -> None:
    """What does not heal is confirmed, then named, and the Job is gone."""
    site.start_operator()
    site.create("stuck")
    pod = kubelet.Pod(site, "stuck")
    pod.wait(reason, "example.test/agent:1: told by the kubelet")
    site.wait_status("stuck", error=bool)
    pod.vanish()

    status = site.wait_phase("stuck", *_ENDED)

    assert status["error"]["code"] == code
    playground.wait_until(lambda: not site.list("jobs"), seconds=15, what="the Job to be gone")


def test_unschedulable_waits_until_the_deadline(site: harness.Site) -> None:
    """No node is no error at first: the reason shows in the status; after pendingSeconds it ends the run."""
    site.start_operator()
    site.create("homeless", timeouts={"pendingSeconds": 4})

    waiting = site.wait_status("homeless", reason="Unschedulable")
    status = site.wait_phase("homeless", *_ENDED)

    assert waiting["phase"] == "Pending"
    assert status["error"]["code"] == "k8s_unschedulable"


def test_quota_refuses_the_job(site: harness.Site) -> None:
    """A quota that allows no Job: k8s_quota_exceeded with the API's sentence; the Secret is taken back."""
    site.kubectl.run("create", "quota", "none", "--hard=count/jobs.batch=0", "-n", site.namespace)
    site.start_operator()
    site.create("poor")

    status = site.wait_phase("poor", *_ENDED)

    assert status["error"]["code"] == "k8s_quota_exceeded"
    assert "exceeded quota" in status["message"]
    assert site.list("secrets") == []


def test_the_pod_passes_the_restricted_level(site: harness.Site) -> None:
    """A namespace that enforces Pod Security *restricted* admits the agent's pod."""
    site.kubectl.run("label", "namespace", site.namespace, "pod-security.kubernetes.io/enforce=restricted")
    site.start_operator()
    site.create("modest")

    assert kubelet.Pod(site, "modest").name


def test_a_name_can_be_used_again(site: harness.Site) -> None:
    """An AgentRun deleted and created anew under its name is another run, with its own Job and log."""
    site.start_operator()
    first = site.create("again")
    old = kubelet.Pod(site, "again")
    site.kubectl.run("delete", harness.RUNS, "again", "-n", site.namespace, "--wait=false")
    playground.wait_until(
        lambda: site.list("jobs")[0]["metadata"].get("deletionTimestamp"), seconds=10, what="the stop"
    )
    old.vanish()
    playground.wait_until(lambda: not site.list(harness.RUNS), seconds=15, what="the AgentRun to be gone")
    second = site.create("again")
    pod = kubelet.Pod(site, "again")
    pod.run()
    pod.write(kubelet.transcript("ok"))
    pod.end(0)

    status = site.wait_phase("again", *_ENDED)

    assert status["phase"] == "Succeeded"
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    assert second["metadata"]["uid"] in status["logPath"]


# --- waiting for what others have to bring ---------------------------------------------------------------------------


def test_a_prompt_may_come_after_the_run(site: harness.Site) -> None:
    """Until its Secret is there, the run says what is missing; then it goes on by itself, with exactly that prompt."""
    site.start_operator()
    site.create("patient", prompt={"secretKeyRef": {"name": "prompts", "key": "task"}})

    waiting = site.wait_status("patient", reason="PromptMissing")
    assert waiting["phase"] == "Pending"
    assert f"there is no Secret prompts in namespace {site.namespace}" in waiting["message"]
    assert condition(waiting, "PromptReady")[:2] == ("False", "NotFound")
    assert site.list("jobs") == []
    site.kubectl.run("create", "secret", "generic", "prompts", "--from-literal=task=Do “it”.", "-n", site.namespace)
    pod = kubelet.Pod(site, "patient")
    [carried] = [secret for secret in site.list("secrets") if secret["metadata"]["name"].startswith("ac-")]
    succeed(site, "patient", pod)

    assert base64.b64decode(carried["data"]["prompt.txt"]).decode() == "Do “it”."
    assert condition(site.status("patient"), "PromptReady")[:2] == ("True", "Found")
    assert [secret["metadata"]["name"] for secret in site.list("secrets")] == ["prompts"]


def test_a_suspended_run_is_held_until_it_is_let_go(site: harness.Site) -> None:
    """Suspended, it has neither Job nor Secret, also after a restart of the operator; let go, it runs."""
    site.start_operator()
    site.create("held", suspend=True)
    site.wait_phase("held", "Suspended")
    site.kill_operator()
    site.start_operator()
    site.create("other", agent={"id": "bob"})
    site.wait_status("other", job=bool)  # so the new operator has seen both

    held = site.status("held")
    assert (held["phase"], held["reason"]) == ("Suspended", "Suspended")
    assert [job["metadata"]["ownerReferences"][0]["name"] for job in site.list("jobs")] == ["other"]
    assert len(site.list("secrets")) == 1
    site.patch("held", {"spec": {"suspend": False}})
    succeed(site, "held", kubelet.Pod(site, "held"))


def test_a_run_that_forbids_others_fails_while_the_agent_is_busy(site: harness.Site) -> None:
    """At once and by name; the run that has the agent is left alone."""
    site.start_operator()
    site.create("busy")
    pod = kubelet.Pod(site, "busy")
    pod.run()
    site.create("impatient", concurrencyPolicy="Forbid")

    status = site.wait_phase("impatient", *_ENDED)

    assert (status["phase"], status["error"]["code"]) == ("Failed", "k8s_concurrent_run_blocked")
    assert "busy" in status["message"]
    assert "job" not in status
    succeed(site, "busy", pod)


def test_a_run_that_replaces_another_waits_for_its_end(site: harness.Site) -> None:
    """The other is cancelled, and its pod is gone before the Job of the new one is there."""
    site.start_operator()
    site.create("old")
    old = kubelet.Pod(site, "old")
    old.run()
    site.wait_status("old", phase="Running")
    site.create("new", concurrencyPolicy="Replace")
    site.wait_status("new", reason="Replacing")
    site.wait_status("old", reason="Cancelling")
    assert [job["metadata"]["ownerReferences"][0]["name"] for job in site.list("jobs")] == ["old"]

    old.vanish()

    assert site.wait_phase("old", *_ENDED)["error"]["code"] == "cancelled"
    succeed(site, "new", kubelet.Pod(site, "new"))


def test_of_the_runs_that_wait_the_most_urgent_comes_first(site: harness.Site) -> None:
    """Also when it came last."""
    site.start_operator()
    site.create("busy")
    pod = kubelet.Pod(site, "busy")
    for name, priority in {"a-low": -1, "b-normal": 0, "c-high": 1}.items():
        site.create(name, priority=priority)
        site.wait_phase(name, "Queued")
    order = ["busy"]
    for _ in range(3):
        succeed(site, order[-1], pod)
        playground.wait_until(lambda: _live(site, "ada") not in ["", *order], seconds=20, what="the next run of ada")
        order.append(_live(site, "ada"))
        pod = kubelet.Pod(site, order[-1])

    assert order == ["busy", "c-high", "b-normal", "a-low"]


# --- a queue of Kueue, played by the test ----------------------------------------------------------------------------


def test_a_run_with_a_queue_starts_when_the_queue_lets_it(site: harness.Site) -> None:
    """Its Job is there from the start, suspended and with Kueue's label; admitted, it runs like any other."""
    site.start_operator()
    site.create("queued", job={"queueName": "agents"})
    waiting = site.wait_status("queued", phase="Queued", reason="JobSuspended")

    job = site.get("job", waiting["job"]["name"])
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "agents"
    assert site.list("pods") == []
    assert "podName" not in waiting
    suspend_job(site, "queued", suspend=False)
    succeed(site, "queued", kubelet.Pod(site, "queued"))


def test_a_run_that_its_queue_takes_back_is_stopped_and_not_begun_again(site: harness.Site) -> None:
    """Suspending the Job of an agent at work ends its pod; a second one would do everything twice."""
    site.start_operator()
    site.create("preempted", job={"queueName": "agents"})
    site.wait_status("preempted", phase="Queued", reason="JobSuspended")
    suspend_job(site, "preempted", suspend=False)
    pod = kubelet.Pod(site, "preempted")
    pod.run()
    pod.write(b"".join(kubelet.transcript("todo").splitlines(keepends=True)[:3]))
    site.wait_status("preempted", phase="Running", logEvents=3)

    suspend_job(site, "preempted", suspend=True)
    stopping = site.wait_status("preempted", reason="Preempted")
    assert stopping["error"]["code"] == "k8s_pod_evicted"
    pod.vanish()  # the Job controller has asked for its end
    status = site.wait_phase("preempted", *_ENDED)

    assert (status["phase"], status["error"]["code"]) == ("Failed", "k8s_pod_evicted")
    assert status["session"]["id"]
    playground.wait_until(lambda: not site.list("jobs"), seconds=15, what="the Job to be gone")
    assert site.list("pods") == []
    created = site.list("events", "--field-selector=reason=SuccessfulCreate")
    assert [event["message"] for event in created] == [f"Created pod: {pod.name}"]


# --- skills and instructions -----------------------------------------------------------------------------------------

BUNDLE = {"instructions": "Be brief.", "skills": [{"name": n, "path": f"/paperclip/skills/{n}"} for n in ("a", "b")]}
KEY = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (f"bundle={KEY} skills=2 instructions=1\n", ("True", "Prepared", "2 skills, bundle 0123456789ab.")),
        (
            f"bundle={KEY} skills=0 instructions=1\nskill a: its folder does not exist\nskill b: it is empty\n",
            ("False", "SkillsLeftOut", "skill a: its folder does not exist; skill b: it is empty"),
        ),
    ],
    ids=["complete", "skills left out"],
)
def test_what_became_of_the_bundle_is_told_while_the_agent_works(
    site: harness.Site, report: str, expected: tuple[str, str, str]
) -> None:
    """Each skill that was left out, with its reason; the run goes on without it."""
    site.start_operator()
    site.create("skilled", bundle=BUNDLE)
    pod = kubelet.Pod(site, "skilled")
    assert condition(site.status("skilled"), "BundleReady") == ()

    pod.prepare(report)
    pod.run()
    site.wait_status("skilled", phase="Running", conditions=lambda _: told(site, "skilled") == expected)
    succeed(site, "skilled", pod)

    assert told(site, "skilled") == expected


def test_a_bundle_that_cannot_be_made_ends_the_run(site: harness.Site) -> None:
    """An agent without its instructions is not let loose; the reason is the init container's own."""
    site.start_operator()
    site.create("unskilled", bundle=BUNDLE)
    pod = kubelet.Pod(site, "unskilled")

    pod.prepare("bundle.sh: STORE cannot be made; is the volume full or read-only?\n", exit_code=1)
    status = site.wait_phase("unskilled", *_ENDED)

    assert (status["phase"], status["error"]["code"]) == ("Failed", "k8s_init_failed")
    assert "is the volume full or read-only?" in status["error"]["message"]
    assert condition(status, "BundleReady")[:2] == ("False", "BundleFailed")
    assert "is the volume full or read-only?" in condition(status, "BundleReady")[2]


def succeed(site: harness.Site, run: str, pod: kubelet.Pod) -> None:
    """The agent does what it was told, and the run ends well."""
    pod.run()
    pod.write(kubelet.transcript("ok"))
    pod.end(0)
    assert site.wait_phase(run, *_ENDED)["phase"] == "Succeeded"


def suspend_job(site: harness.Site, run: str, *, suspend: bool) -> None:
    """What Kueue does to the Job of a run."""
    patch = json.dumps({"spec": {"suspend": suspend}})
    job = site.status(run)["job"]["name"]
    site.kubectl.run("patch", "job", job, "-n", site.namespace, "--type=merge", "-p", patch)


def condition(status: dict[str, Any], kind: str) -> tuple[str, ...]:
    """Status, reason and message of a condition; () if there is none of its kind."""
    found = [(c["status"], c["reason"], c["message"]) for c in status["conditions"] if c["type"] == kind]
    return found[0] if found else ()


def told(site: harness.Site, run: str) -> tuple[str, ...]:
    """What the run says of its bundle."""
    return condition(site.status(run), "BundleReady")


def _live(site: harness.Site, agent: str) -> str:
    """Name of the one run of the agent whose Job has not ended; "" if there is none."""
    jobs = site.list("jobs", "-l", f"paperclip.io/agent-id={agent}")
    ended = {"Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"}
    live = [
        j
        for j in jobs
        if not any(c["type"] in ended and c["status"] == "True" for c in j["status"].get("conditions", []))
    ]
    assert len(live) <= 1
    return str(live[0]["metadata"]["ownerReferences"][0]["name"]) if live else ""


def test_events_tell_the_story(site: harness.Site) -> None:
    """``kubectl describe`` shows them under the AgentRun, in their order."""
    site.start_operator()
    site.create("told")
    pod = kubelet.Pod(site, "told")
    pod.run()
    site.wait_phase("told", "Running")
    pod.write(kubelet.transcript("error429"))
    pod.end(1)
    site.wait_phase("told", *_ENDED)

    def reasons() -> list[str]:
        found = site.list("events", "--field-selector", "involvedObject.kind=AgentRun,involvedObject.name=told")
        return [event["reason"] for event in sorted(found, key=lambda e: int(e["metadata"]["resourceVersion"]))]

    playground.wait_until(lambda: len(reasons()) >= 3, seconds=10, what="the last Event")
    assert reasons() == ["JobCreated", "PodRunning", "RunFailed"]
    shown = site.kubectl.run("describe", harness.RUNS, "told", "-n", site.namespace)
    assert "claude_rate_limited: " in shown.partition("Events:")[2]


@pytest.mark.parametrize("down", [False, True])
def test_a_log_goes_with_its_run(site: harness.Site, *, down: bool) -> None:
    """Also if the AgentRun is deleted while no operator is there: the next one sweeps up, and leaves others alone."""
    site.start_operator()
    logs = {}
    for name, agent, policy in (("goes", "ada", "WithRun"), ("stays", "bob", "Never"), ("lives", "cy", "WithRun")):
        site.create(name, agent={"id": agent}, retention={"log": policy})
        pod = kubelet.Pod(site, name)
        pod.run()
        pod.write(kubelet.transcript("ok"))
        pod.end(0)
        site.wait_phase(name, *_ENDED)
        logs[name] = site.log_file(name)
    if down:
        site.stop_operator()
    for name in ("goes", "stays"):
        site.kubectl.run("delete", harness.RUNS, name, "-n", site.namespace)
    if down:
        site.start_operator()

    playground.wait_until(lambda: not logs["goes"].parent.exists(), seconds=20, what="the log to be removed")
    assert logs["stays"].exists()
    assert logs["lives"].exists()


def test_a_run_is_deleted_when_its_time_is_over(site: harness.Site) -> None:
    """With its log, its Job and its Secret; nothing is left behind in the namespace or on the volume."""
    site.start_operator()
    site.create("brief", retention={"runTTLSecondsAfterSucceeded": 1})
    pod = kubelet.Pod(site, "brief")
    pod.run()
    log = site.log_file("brief")
    pod.write(kubelet.transcript("ok"))
    pod.end(0)

    playground.wait_until(lambda: not site.list(harness.RUNS), seconds=30, what="the AgentRun to be deleted")
    playground.wait_until(lambda: not log.parent.parent.exists(), seconds=20, what="the log to be removed")
    assert site.list("secrets") == []
