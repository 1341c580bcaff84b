"""``python -m hack.demo up|down``: what ``make demo`` and ``make demo-down`` do. The cluster is chosen by CLUSTER."""

import argparse
import base64
import os
import shutil
import sys
import time
from typing import Any, TextIO

from hack import playground
from hack.demo import targets

_PROMPT = """\
SCENARIO=tools
Run one shell command that says hello from inside the pod, then tell me in one sentence what it printed.
"""
_RUN_SECONDS = 600  # the first pull of an image over a slow line included
_OPERATOR = targets.STATE / "operator.json"
_MOCK = targets.STATE / "mock.json"
_MOCK_PORT = targets.STATE / "mock.port"


def main() -> int:
    """Returns the exit code: 0 only if the run Succeeded."""
    parser = argparse.ArgumentParser(prog="hack.demo", description=__doc__)
    parser.add_argument("command", choices=["up", "down"])
    command = parser.parse_args().command
    kind = os.environ.get("CLUSTER", "local")
    try:
        return _up(kind) if command == "up" else _down(kind)
    except playground.PlaygroundError as e:
        _say(f"demo: {e}", file=sys.stderr)
        return 1


def _up(kind: str) -> int:
    began = time.monotonic()
    targets.STATE.mkdir(parents=True, exist_ok=True)
    target = targets.prepare(kind)
    _step(f"cluster: {target.words}")
    playground.install(target.kubectl)
    playground.make_namespace(target.kubectl, targets.NAMESPACE, target.volume)
    _step("installed: CRD agentruns.paperclip.io, the operator's rights, a namespace with a shared volume")
    port = _provide_api(target)
    _start_operator(target)
    name = time.strftime("demo-%H%M%S")
    target.kubectl.apply(_agent_run(target, name, port))
    _step(f"applied: AgentRun {targets.NAMESPACE}/{name}")
    phase = _follow(target, name)
    _show(target, name)
    _step(f"{name} {phase} after {time.monotonic() - began:.0f} s in all; `make demo-down` stops everything")
    return 0 if phase == "Succeeded" else 1


def _down(kind: str) -> int:
    for file in (_OPERATOR, _MOCK):
        process = playground.Process.load(file)
        if process is not None:
            process.stop()
    kubectl = targets.find(kind)
    if kubectl is not None and kind == "current":
        targets.refuse_beside_an_install(kubectl)
    if kubectl is not None and kind != "local":
        _remove_from(kubectl)
    targets.tear_down(kind)
    shutil.rmtree(targets.STATE, ignore_errors=True)
    _say("demo: stopped; nothing of it runs any more")
    return 0


def _remove_from(kubectl: playground.Kubectl) -> None:
    """Take the demo out of a cluster that lives on."""
    for arguments in (
        ("namespace", targets.NAMESPACE),
        ("persistentvolume", f"{targets.NAMESPACE}-{playground.CLAIM}"),
        ("-k", str(playground.RIGHTS)),
    ):
        kubectl.run("delete", *arguments, "--ignore-not-found", "--wait=true", "--timeout=90s")


def _provide_api(target: targets.Target) -> int | None:
    """Make the Messages API reachable for the agent, and say which one it is. Returns the loopback port, if one is."""
    key = os.environ.get("ANTHROPIC_API_KEY", "a-key-that-only-the-scripted-api-accepts")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "anthropic", "namespace": targets.NAMESPACE},
        "data": {"api-key": base64.b64encode(key.encode()).decode()},
    }
    target.kubectl.apply(secret)
    if "ANTHROPIC_API_KEY" in os.environ:
        _step("model: the real Messages API, with your ANTHROPIC_API_KEY; this costs a few cents")
        return None
    if target.in_pod_api:
        target.kubectl.apply(targets.script_config_map())
        _step("model: a scripted Messages API inside the agent's pod (set ANTHROPIC_API_KEY for the real one)")
        return None
    if playground.Process.load(_MOCK) is None:
        mock, port = playground.start_mock(targets.STATE)
        mock.save(_MOCK)
        _MOCK_PORT.write_text(str(port))
    _step(
        "model: a scripted Messages API on loopback (set ANTHROPIC_API_KEY for the real one); the CLI is the real one"
    )
    return int(_MOCK_PORT.read_text())


def _start_operator(target: targets.Target) -> None:
    """A fresh operator of the code as it is now; runs that an earlier one had begun go on under this one."""
    earlier = playground.Process.load(_OPERATOR)
    if earlier is not None:
        earlier.stop()
    settings = {
        "IMAGE": target.image,
        "DATA_PATH": str(target.data_path or ""),
        "NAMESPACES": targets.NAMESPACE,
        "LOG_FORMAT": "console",
    }
    kubeconfig = playground.operator_kubeconfig(target.kubectl, targets.STATE / "operator.kubeconfig")
    log = targets.STATE / "operator.log"
    operator = playground.start_operator(kubeconfig, log=log, settings=settings)
    operator.save(_OPERATOR)
    _step(f"operator: pid {operator.pid}, log {log.relative_to(playground.ROOT)}")


def _agent_run(target: targets.Target, name: str, port: int | None) -> dict[str, Any]:
    env, pod_template = targets.api_access(target, port)
    job: dict[str, Any] = {
        "env": env,
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "2Gi"}},
    }
    if pod_template:
        job["podTemplate"] = pod_template
    return {
        "apiVersion": "paperclip.io/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": name, "namespace": targets.NAMESPACE},
        "spec": {
            "companyId": "acme",
            "agent": {"id": "ada", "name": "Ada"},
            "prompt": {"text": _PROMPT},
            "claude": {"maxTurns": 10, "maxRetries": 2},
            "timeouts": {"pendingSeconds": 300},
            "job": job,
        },
    }


def _follow(target: targets.Target, name: str) -> str:
    began = time.monotonic()
    phase = ""
    for run in playground.changes(target.kubectl, targets.NAMESPACE, name, seconds=_RUN_SECONDS):
        status = run.get("status", {})
        phase = status.get("phase", "")
        _say(f"  {time.monotonic() - began:5.1f} s  {phase or '-':10} {status.get('message', 'not seen yet')}")
    return phase


def _show(target: targets.Target, name: str) -> None:
    kubectl = target.kubectl
    _step("kubectl get agentruns -o wide")
    _say(kubectl.run("get", "agentruns.paperclip.io", "-n", targets.NAMESPACE, "-o", "wide").rstrip())
    _step(f"kubectl get agentrun {name} -o yaml: its status")
    text = kubectl.run("get", "agentruns.paperclip.io", name, "-n", targets.NAMESPACE, "-o", "yaml")
    _say(text[text.index("\nstatus:") + 1 :].rstrip())
    _step(f"agentrun logs {name}")
    env = {"AGENTRUN_DATA_PATH": str(target.data_path or "")}
    if kubectl.kubeconfig is not None:
        env["KUBECONFIG"] = str(kubectl.kubeconfig)
    _say(playground.run_agentrun("logs", name, "-n", targets.NAMESPACE, env=env).rstrip())


def _step(text: str) -> None:
    _say(f"==> {text}")


def _say(text: str, *, file: TextIO = sys.stdout) -> None:
    print(text, file=file, flush=True)


if __name__ == "__main__":
    sys.exit(main())
