"""The operator's beginning and end."""

from typing import Any

import kopf

from agentrun_operator import names, runner


async def configure(settings: kopf.OperatorSettings, memo: runner.Deps, **_: Any) -> None:
    """Tell kopf what differs from its defaults."""
    settings.persistence.finalizer = names.FINALIZER
    _configure_storage(settings)
    settings.posting.enabled = False
    settings.scanning.disabled = True  # our CRD is there before us; watching all CRDs would need a wider role
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 30
    # While kopf waits after a refusal, it passes nothing on; by default that grows to ten minutes.
    settings.queueing.error_delays = (1, 1, 2, 3, 5)
    settings.networking.request_timeout = memo.config.request_timeout_seconds


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no copy of an object to compare it with later: no handler asks what has changed.

    kopf's own storages copy the whole object for each event, whether there is somebody to ask or not.
    """

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:  # noqa: ARG002 - kopf's names
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002 - as above
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing is stored."""


def _configure_storage(settings: kopf.OperatorSettings) -> None:
    """Give kopf's storage our own prefix.

    No handler needs it; what kopf itself writes now and then, to have an object looked at again, is under our name.
    """
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP, v1=False)
    settings.persistence.diffbase_storage = _NoDiffBase()


async def look_around(memo: runner.Deps, **_: Any) -> None:
    """See every Job and pod before the first run is judged: what is not there then, does not exist."""
    await runner.look_around(memo)


async def clean_up(memo: runner.Deps, **_: Any) -> None:
    """End our own tasks, or kopf would wait for them; Jobs and Secrets are left as they are.

    Files and connections are let go of when kopf has ended: its daemons still work with them.
    """
    for task in memo.tasks:
        task.cancel()
