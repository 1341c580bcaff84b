"""The operator's beginning and end."""

import asyncio
from typing import Any

import kopf

from agentrun_operator import names, runner


async def configure(settings: kopf.OperatorSettings, memo: runner.Deps, **_: Any) -> None:
    """Tell kopf what differs from its defaults."""
    settings.persistence.finalizer = names.FINALIZER
    _configure_storage(settings)
    settings.posting.enabled = False
    settings.scanning.disabled = True  # our CRD is there before us; watching all CRDs would need a wider role
    # Only ours cross the wire; a handler's own label filter would be applied after everything was transferred.
    settings.watching.label_selectors["batch", "v1", "jobs"] = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
    settings.watching.label_selectors["v1", "pods"] = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 30
    settings.networking.request_timeout = memo.config.request_timeout_seconds


def _configure_storage(settings: kopf.OperatorSettings) -> None:
    """Give kopf's storages our own prefix.

    No handler needs either of them; what kopf itself writes now and then, to have an object looked at again, is under
    our name. Spec is immutable, so there is nothing to compare it with, and prompts are not copied.
    """
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP, v1=False)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(
        prefix=names.GROUP, key="last-handled", v1=False, ignored_fields=["spec"]
    )


async def look_around(memo: runner.Deps, **_: Any) -> None:
    """See every Job and pod before the first run is judged: what is not there then, does not exist."""
    await runner.keep_in_sync(memo, once=True)
    care = memo.caretaker
    for work in (runner.keep_in_sync(memo), care.sweep(), care.expire(), memo.announcer.work()):
        memo.tasks.append(asyncio.create_task(work))


async def clean_up(memo: runner.Deps, **_: Any) -> None:
    """End our own tasks, or kopf would wait for them; Jobs and Secrets are left as they are.

    Files and connections are let go of when kopf has ended: its daemons still work with them.
    """
    for task in memo.tasks:
        task.cancel()
