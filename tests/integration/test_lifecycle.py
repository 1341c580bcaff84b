"""The operator on a real API server with real controllers, through the ends a run can have."""

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
