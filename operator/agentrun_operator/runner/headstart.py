"""Make Secret and Job of a run as soon as it is seen, while kopf still writes its finalizer and waits for the answer.

A daemon of kopf begins when the finalizer is on the object; that takes a write and an event. The Job is held and owned
by its AgentRun, so nothing can come of it before the run's supervisor has written it down and started it; and if the
run is deleted meanwhile, Kubernetes removes both. What goes wrong here is not told: the supervisor comes to the same
point, tries it again and tells.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from agentrun_operator import errors, models
from agentrun_operator.runner import admission, sources
from agentrun_operator.runner.deps import Deps, agent_key

_log = structlog.get_logger(__name__)


def begin(deps: Deps, body: Mapping[str, Any]) -> None:
    """An AgentRun (as JSON) was seen: if nobody has written to it yet, prepare it, beside everything else."""
    if not body.get("status") and deps.world.is_expected(agent_key(body), str(body["metadata"]["uid"])):
        task = asyncio.create_task(_prepare(deps, body))
        deps.preparing.add(task)
        task.add_done_callback(deps.preparing.discard)


async def _prepare(deps: Deps, body: Mapping[str, Any]) -> None:
    try:
        await admission.prepare(deps, models.AgentRun.parse(body))
    except (errors.InvalidRunError, errors.ApiError, sources.PromptMissingError) as e:
        _log.debug("no_head_start", run=f"{body['metadata']['namespace']}/{body['metadata']['name']}", error=str(e))
