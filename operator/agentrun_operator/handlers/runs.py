"""AgentRuns: one daemon follows each live one."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import kopf
import structlog

from agentrun_operator import models, runner


def is_live(status: Mapping[str, Any], **_: Any) -> bool:
    """Whether the run has not ended yet."""
    phase = status.get("phase")
    return phase is None or not models.Phase(phase).final


def is_followed(status: Mapping[str, Any], body: Mapping[str, Any], memo: runner.Deps, **_: Any) -> bool:
    """Whether the run is live and ours; kopf stops the daemon and lets the object go when it is not."""
    return is_live(status) and runner.is_ours(memo, body)


async def saw(event: kopf.RawEvent, uid: str, memo: runner.Deps, **_: Any) -> None:
    """The AgentRun changed (spec.cancel, retention, deletion): its supervisor and the caretaker have to look."""
    runner.slim(memo, cast("dict[str, Any]", event["object"]))
    if not runner.is_ours(memo, event["object"]):
        return
    # The task is the object's own, with kopf's words about it, and with its daemon.
    structlog.contextvars.bind_contextvars(**runner.named(event["object"]))
    memo.meters.saw(event["type"])
    deleted = event["type"] == "DELETED"
    runner.expect(memo, event["object"], deleted=deleted)
    memo.world.wake(uid)
    memo.caretaker.saw(event["object"], deleted=deleted)
    memo.stragglers.saw(event["object"], deleted=deleted)
    memo.leftovers.saw(event["object"], deleted=deleted)
    memo.announcer.saw(uid, deleted=deleted)
    memo.resync.saw(event["type"], uid)


async def supervise(body: kopf.Body, stopped: kopf.DaemonStopped, memo: runner.Deps, **_: Any) -> None:
    """Follow one run to its end, also when that is a deletion, or another operator's doing."""
    supervisor = runner.Supervisor(memo, lambda: body)
    try:
        await supervisor.run()
    except asyncio.CancelledError:
        deleted = body.metadata.get("deletionTimestamp") is not None
        if _operator_exits(stopped) or (is_live(body.status) and not deleted):
            raise
    else:
        return
    await runner.Supervisor(memo, lambda: body).run(resumed=True)


def _operator_exits(stopped: kopf.DaemonStopped) -> bool:
    return stopped.reason is not None and kopf.DaemonStoppingReason.OPERATOR_EXITING in stopped.reason
