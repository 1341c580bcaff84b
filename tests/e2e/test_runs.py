"""One AgentRun from object to verdict, with a real kubelet and the real CLI."""

import json
import time
from typing import Any

import pytest

from hack import playground
from tests.e2e.conftest import Agents


def test_a_run_with_tools_succeeds_and_tells_everything(site: Agents) -> None:
    """Success: phase, session, usage, cost, exit code 0, transcript on the volume, prompt Secret gone, Job kept."""
    site.start_run("hello", "tools")

    status = site.wait_phase("hello", "Succeeded", "Failed")

    assert (status["phase"], status["reason"]) == ("Succeeded", "Completed")
    assert status["exit"]["code"] == 0
    assert status["turns"] == 2
    assert status["lastTool"] == "Bash"
    assert status["usage"]["outputTokens"] > 0
    assert float(status["costUSD"]) > 0
    assert status["session"]["cwd"] == "/paperclip"
    assert status["result"]["subtype"] == "success"
    log = site.log_file("hello").read_bytes()
    assert len(log) == status["logBytes"]
    assert len(log.splitlines()) == status["logEvents"]
    assert b"hello-from-bash" in log
    assert site.list("secrets") == []
    assert site.get("agentruns.paperclip.io", "hello")["metadata"].keys().isdisjoint({"annotations", "finalizers"})
    pods = site.list("pods")
    assert len(pods) == 1
    in_pod_log = site.kubectl.run("logs", "-n", site.namespace, pods[0]["metadata"]["name"], "-c", "claude")
    assert in_pod_log.encode() == log


def test_a_refused_key_is_named_and_keeps_the_exit_code(site: Agents) -> None:
    """API 401: Failed, claude_auth_required, the CLI's own exit code and not that of a pipeline."""
    site.start_run("refused", "error401")

    status = site.wait_phase("refused", "Succeeded", "Failed")

    assert status["phase"] == "Failed"
    assert status["error"]["code"] == "claude_auth_required"
    assert status["exit"]["code"] == 1
    assert "401" in status["message"]
    assert "{" not in status["message"]


def test_a_wrong_object_is_refused_with_a_sentence(site: Agents) -> None:
    """The API server itself says what is wrong and why; nothing is created."""
    with pytest.raises(playground.PlaygroundError) as refused:
        site.create("wrong", companyId="acme/../other", claude={"maxTurns": 0})

    assert "spec.companyId" in str(refused.value)
    assert "only letters, digits and hyphens are allowed, because the id becomes part of names and paths" in str(
        refused.value
    )
    assert "spec.claude.maxTurns in body should be greater than or equal to 1" in str(refused.value)
    assert site.list("agentruns.paperclip.io") == []


def test_a_killed_agent_is_reported_as_killed(site: Agents) -> None:
    """SIGKILL in mid-run: exit code 137, signal 9, truncated; session and usage so far are kept."""
    site.start_run("killed", "sleeptool")
    site.wait_status("killed", lastTool="Bash")
    pod = site.list("pods")[0]["metadata"]["name"]
    find = 'for p in /proc/[0-9]*; do [ "$(cat $p/comm)" = claude ] && echo ${p#/proc/}; done; true'
    pids = site.kubectl.run("exec", "-n", site.namespace, pod, "-c", "claude", "--", "sh", "-c", find).split()
    site.kubectl.run("exec", "-n", site.namespace, pod, "-c", "claude", "--", "sh", "-c", f"kill -9 {pids[0]}")

    status = site.wait_phase("killed", "Succeeded", "Failed")

    assert status["phase"] == "Failed"
    assert status["error"]["code"] == "claude_truncated"
    assert (status["exit"]["code"], status["exit"]["signal"]) == (137, 9)
    assert status["session"]["id"]
    assert status["usage"]["inputTokens"] > 0
    assert status["usage"]["estimated"] is True


def test_the_second_run_of_an_agent_waits_for_the_first(site: Agents) -> None:
    """Two runs of one agent: the second is Queued and says behind whom, then runs; never two at a time."""
    site.start_run("first", "longtools")
    site.wait_status("first", phase="Running")
    site.start_run("second", "tools")

    queued = site.wait_phase("second", "Queued", "Running", "Succeeded", "Failed")

    assert queued["phase"] == "Queued"
    assert "first" in queued["message"]
    first = site.wait_phase("first", "Succeeded", "Failed")
    second = site.wait_phase("second", "Succeeded", "Failed")
    assert (first["phase"], second["phase"]) == ("Succeeded", "Succeeded")
    assert second["runningTime"] >= first["exit"]["finishedAt"]


def test_a_killed_operator_comes_back_to_the_same_pod(site: Agents) -> None:
    """kill -9 of the operator in mid-run: same Job, same pod, Succeeded; every line counted once."""
    site.start_run("survivor", "longtools")
    before = site.wait_status("survivor", turns=lambda turns: (turns or 0) >= 3)
    jobs = [job["metadata"]["uid"] for job in site.list("jobs")]
    pods = [pod["metadata"]["uid"] for pod in site.list("pods")]

    site.kill_operator()
    time.sleep(2)  # the agent goes on meanwhile: lines are written that nobody follows
    site.start_operator()
    status = site.wait_phase("survivor", "Succeeded", "Failed")

    assert status["phase"] == "Succeeded"
    assert [job["metadata"]["uid"] for job in site.list("jobs")] == jobs
    assert [pod["metadata"]["uid"] for pod in site.list("pods")] == pods
    assert status["podName"] == before["podName"]
    log = site.log_file("survivor").read_bytes()
    assert (status["logBytes"], status["logEvents"]) == (len(log), len(log.splitlines()))
    assert status["turns"] == len(_main_messages(log))


@pytest.mark.alone
def test_a_cancelled_run_is_gone_within_15_seconds(site: Agents) -> None:
    """spec.cancel: Cancelled, code cancelled; Job and pod gone in 15 s; session, usage, cost kept."""
    site.start_run("stopped", "sleeptool")
    site.wait_status("stopped", lastTool="Bash")

    began = time.monotonic()
    site.patch("stopped", {"spec": {"cancel": True}})
    playground.wait_until(lambda: not site.list("jobs"), seconds=15, what="the Job to be gone")
    gone = time.monotonic() - began
    status = site.wait_phase("stopped", "Cancelled", "Failed", "Succeeded")

    assert gone <= 15
    assert status["phase"] == "Cancelled"
    assert status["error"]["code"] == "cancelled"
    assert status["exit"]["code"] == 143
    assert status["session"]["id"]
    assert status["usage"]["inputTokens"] > 0
    # Asked to stop, the CLI writes a last result, and with it the cost, where it can: mostly, not always.
    assert "result" not in status or float(status["costUSD"]) > 0
    assert site.list("pods") == []
    assert site.list("secrets") == []


@pytest.mark.parametrize("policy", ["WithRun", "Never"])
def test_deleting_a_run_stops_its_agent_and_leaves_nothing(site: Agents, policy: str) -> None:
    """kubectl delete in mid-run returns soon, and Job, pod and Secret are gone; the log, too, unless it is to stay."""
    site.start_run("deleted", "sleeptool", retention={"log": policy})
    site.wait_status("deleted", lastTool="Bash")
    log = site.log_file("deleted")

    site.kubectl.run("delete", "agentruns.paperclip.io", "deleted", "-n", site.namespace, "--timeout=30s")

    playground.wait_until(lambda: not site.list("pods"), seconds=15, what="the pod to be gone")
    assert site.list("jobs") == []
    assert site.list("secrets") == []
    if policy == "Never":
        assert json.loads(log.read_bytes().splitlines()[0])["type"] == "system"
    else:
        playground.wait_until(lambda: not log.parent.parent.exists(), seconds=10, what="the log to be gone")


@pytest.mark.parametrize("prompt", ["/help", "/compact now"])
def test_a_prompt_that_looks_like_a_command_reaches_the_model(site: Agents, prompt: str) -> None:
    """A prompt that starts with a slash is text for the model, not a command of the CLI, which would answer itself."""
    site.start_run("slash", "ok", prompt={"text": prompt})

    status = site.wait_phase("slash", "Succeeded", "Failed")

    assert status["result"]["text"] == "Hello from the mock. All done."
    assert status["usage"]["outputTokens"] > 0


def test_a_session_is_resumed(site: Agents) -> None:
    """The session of one run continues in the next; its cost is not counted twice."""
    site.start_run("one", "tools")
    one = site.wait_phase("one", "Succeeded", "Failed")
    site.start_run("two", "ok", session=one["session"])

    two = site.wait_phase("two", "Succeeded", "Failed")

    assert two["phase"] == "Succeeded"
    assert two["session"]["id"] == one["session"]["id"]
    assert float(two["costUSD"]) < float(one["costUSD"])


def test_an_unknown_session_is_cleared(site: Agents) -> None:
    """Resuming what is not there: session_unavailable, and the orchestrator is told not to try again."""
    site.start_run("lost", "ok", session={"id": "00000000-0000-4000-8000-000000000000"})

    status = site.wait_phase("lost", "Succeeded", "Failed")

    assert status["error"]["code"] == "session_unavailable"
    assert status["session"]["clear"] is True


def test_an_image_that_cannot_be_pulled_ends_the_run(site: Agents) -> None:
    """ErrImagePull, confirmed: k8s_image_pull_failed naming the image; nothing is left behind."""
    site.stop_operator()
    site.start_operator(START_CONFIRM_SECONDS="3", PROGRESS_INTERVAL_SECONDS="1")
    site.start_run("imageless", "ok", job={"image": "127.0.0.1:1/no/such:image"})

    status = site.wait_phase("imageless", "Succeeded", "Failed")

    assert status["error"]["code"] == "k8s_image_pull_failed"
    assert "127.0.0.1:1/no/such:image" in status["message"]
    playground.wait_until(lambda: not site.list("pods"), seconds=20, what="the pod to be gone")


@pytest.mark.parametrize("level", ["debug"])
def test_no_secret_and_no_prompt_leaves_its_place(site: Agents, level: str) -> None:
    """The API key and the prompt are in no status, no Job argument and no log line of the operator."""
    marker = "planted-prompt-marker-7c1e"
    site.start_run("discreet", "tools", prompt={"text": f"SCENARIO=tools {marker}"})
    site.wait_phase("discreet", "Succeeded", "Failed")

    assert site.settings["LOG_LEVEL"] == level
    run = site.get("agentruns.paperclip.io", "discreet")
    job = site.list("jobs")[0]
    command = json.dumps([job["spec"]["template"]["spec"]["containers"][0][key] for key in ("command", "args")])
    for text in (json.dumps(run["status"]), command, site.operator_log):
        assert marker not in text
        assert "planted-secret" not in text


def test_the_transcript_is_rendered_for_people(site: Agents) -> None:
    """`agentrun logs` shows what happened, from the file on the volume and, without one, from the pod."""
    site.start_run("shown", "tools")
    site.wait_phase("shown", "Succeeded", "Failed")

    from_file = _agentrun_logs(site, "shown", data_path=str(site.volume))
    from_pod = _agentrun_logs(site, "shown", data_path="")

    assert "echo hello-from-bash" in from_file
    assert "The command printed hello-from-bash. Task complete." in from_file
    assert from_pod == from_file


def _agentrun_logs(site: Agents, name: str, *, data_path: str) -> str:
    env = {"KUBECONFIG": str(site.kubectl.kubeconfig), "AGENTRUN_DATA_PATH": data_path}
    return playground.run_agentrun("logs", name, "-n", site.namespace, env=env)


def _main_messages(log: bytes) -> set[str]:
    events: list[dict[str, Any]] = [json.loads(line) for line in log.splitlines()]
    return {e["message"]["id"] for e in events if e["type"] == "assistant" and not e.get("parent_tool_use_id")}
