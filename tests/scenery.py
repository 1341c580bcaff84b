"""A made-up cluster with runs that live, for looking at the command in a terminal.

``python -m tests.scenery KUBECONFIG`` serves it until it is ended and writes the kubeconfig that leads there.
"""

import asyncio
import datetime
import json
import pathlib
import random
import sys
from typing import Any

from tests import apifake

_TOOLS = ("Bash", "Read", "Edit", "Grep", "WebFetch", "Task")
_AGENTS = ("ada", "grace", "linus", "margaret", "barbara", "dennis")
_ENDS: tuple[dict[str, Any], ...] = (
    {"phase": "Succeeded", "reason": "Succeeded", "message": "The agent finished its work."},
    {
        "phase": "Failed",
        "reason": "OomKilled",
        "message": "The agent was killed because it ran out of memory (exit code 137 (SIGKILL), OOMKilled). Raise "
        "spec.job.resources.limits.memory, or give the agent less to do at once.",
        "error": {"code": "k8s_oom_killed", "message": "The agent was killed because it ran out of memory."},
        "exit": {"code": 137, "reason": "OOMKilled", "oomKilled": True, "detection": "pod Failed"},
    },
    {
        "phase": "Failed",
        "reason": "UsageLimited",
        "message": "The subscription's usage limit is reached; it resets at 2026-11-22 18:00 UTC.",
        "error": {
            "code": "claude_usage_limited",
            "message": "The usage limit is reached.",
            "retryAfter": "2026-11-22T18:00:00Z",
        },
    },
    {"phase": "Cancelled", "reason": "Cancelled", "message": "Somebody cancelled the run."},
)
_LINES = [
    {"type": "system", "subtype": "init", "session_id": "s-1", "model": "claude-opus-5-5"},
    {"type": "assistant", "message": {"id": "m1", "content": [
        {"type": "text", "text": "I will look at the session store first."},
        {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "grep -rn SESSION src | head"}}]}},
    {"type": "user", "message": {"content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": "src/store.py:14: SESSION_LIMIT = 100"}]}},
    {"type": "result", "subtype": "success", "is_error": False, "num_turns": 2, "duration_ms": 61000,
     "result": "The login page works again.", "total_cost_usd": 0.31},
]  # fmt: skip


def _time(ago: float = 0) -> str:
    moment = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=ago)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _run(name: str, company: str, agent: str, ago: float, **spec: Any) -> dict[str, Any]:
    given = {"companyId": company, "agent": {"id": agent}, "prompt": {"text": "Fix it."}, "taskId": "ISSUE-42", **spec}
    meta = {"name": name, "namespace": "team-a", "creationTimestamp": _time(ago)}
    return {"apiVersion": "paperclip.io/v1alpha1", "kind": "AgentRun", "metadata": meta, "spec": given}


def _working(name: str, begun: float, dice: random.Random) -> dict[str, Any]:
    turns, silent = int(begun / 20), dice.choice((1, 3, 8, 190))
    return {
        "phase": "Running", "reason": "AgentRunning", "message": "The agent is at work.", "model": "claude-opus-5-5",
        "job": {"name": f"ac-{name}", "uid": "u"}, "podName": f"pod-{name}", "nodeName": "node-3",
        "startTime": _time(begun + 4), "runningTime": _time(begun), "lastOutputTime": _time(silent),
        "turns": turns, "lastTool": dice.choice(_TOOLS), "logBytes": 1000 * turns, "claudeVersion": "2.1.329",
        "session": {"id": "76cf1c2d-13aa-4f1c-8762-177658e8acfd", "cwd": "/paperclip/work/ISSUE-42"},
        "usage": {"inputTokens": 1200 * turns, "outputTokens": 310 * turns, "cacheReadTokens": 9000 * turns},
        "costUSD": f"{0.0317 * turns:.4f}",
    }  # fmt: skip


async def play(server: apifake.Server) -> None:
    """Let the runs live, until cancelled."""
    dice = random.Random(7)  # noqa: S311 - scenery
    live: dict[str, dict[str, Any]] = {}
    for index in range(14):
        company, agent = ("acme", "globex-corporation", "initech")[index % 3], _AGENTS[index % len(_AGENTS)]
        name = f"{agent}-{dice.choice(('fix-login', 'write-release-notes-for-the-shop', 'triage'))}-{index}"
        ago = dice.uniform(60, 6000)
        await server.add(_run(name, company, agent, ago))
        status = _working(name, ago - 10, dice)
        if index % 2:
            end = _ENDS[index // 2 % len(_ENDS)]
            await server.change(name, {**status, **end, "completionTime": _time(dice.uniform(5, 900))})
        else:
            await server.change(name, status)
            live[name] = status
    await server.add(_run("waits-its-turn", "acme", "ada", 130))
    await server.change("waits-its-turn", {
        "phase": "Queued", "reason": "AgentBusy", "message": "It waits for run ada-fix-login-0 of the same agent.",
    })  # fmt: skip
    await server.add(_run("nobody-saw-it", "acme", "ada", 2))
    log = [json.dumps(line).encode() + b"\n" for line in _LINES]
    server.logs = {f"pod-{name}": log for name in live}
    while True:
        await asyncio.sleep(1)
        for name, status in live.items():
            grown = dice.choice((0, 0, 0, 400, 3000, 9000)) if status["turns"] % 3 else 0
            if grown or dice.random() < 0.2:  # noqa: PLR2004 - scenery
                status.update(turns=status["turns"] + 1, logBytes=status["logBytes"] + grown, lastOutputTime=_time())
                status["lastTool"] = dice.choice(_TOOLS)
                status["costUSD"] = f"{float(status['costUSD']) + 0.0317:.4f}"
                await server.change(name, status)


async def _serve(kubeconfig: pathlib.Path) -> None:
    server = apifake.Server()
    await server.start()
    server.write_kubeconfig(kubeconfig)
    await play(server)


if __name__ == "__main__":
    asyncio.run(_serve(pathlib.Path(sys.argv[1])))
