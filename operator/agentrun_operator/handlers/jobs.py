"""Jobs and pods, as the shared watches show them: reduced to facts and passed on."""

import dataclasses
from typing import Any

import kopf

from agentrun_operator import facts, runner


async def saw_job(event: kopf.RawEvent, memo: runner.Deps, **_: Any) -> None:
    """A Job was listed, changed or deleted."""
    job = facts.parse_job(event["object"])
    memo.world.saw_job(dataclasses.replace(job, gone=event["type"] == "DELETED"))
    memo.resync.saw(event["type"], job.uid)


async def saw_pod(event: kopf.RawEvent, memo: runner.Deps, **_: Any) -> None:
    """A pod was listed, changed or deleted."""
    pod = facts.parse_pod(event["object"])
    memo.world.saw_pod(dataclasses.replace(pod, gone=event["type"] == "DELETED"))
    memo.resync.saw(event["type"], pod.uid)
