"""Traces of attempts, for OpenTelemetry: off unless a setting says otherwise, and then nothing waits for them.

What a trace says is made in ``status.spans``, from the status alone. Here is who sends it, if anybody does: the SDK of
OpenTelemetry is loaded only then, keeps a bounded number of spans and sends them from a thread of its own. A collector
that does not answer costs traces and nothing else.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from agentrun_operator import errors, settings

__all__ = ["Traces", "sending"]


class Traces:
    """Whom to tell that the status of a run was written. This one does not care: traces are off."""

    def wrote(self, body: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """The status of the AgentRun ``body`` was written; ``before`` is what the cluster had until then."""


@contextlib.asynccontextmanager
async def sending(config: settings.Settings, environ: Mapping[str, str]) -> AsyncIterator[Traces]:
    """Whom to tell meanwhile; at the end, what is left is sent, for some seconds at most.

    Raises SettingsError if traces are wanted and cannot be sent as the environment says.
    """
    if not config.traces:
        yield Traces()
        return
    try:
        from agentrun_operator.traces import otlp  # noqa: PLC0415 - seven megabytes that nobody needs otherwise
    except ImportError as e:
        raise errors.SettingsError(
            f"AGENTRUN_TRACES=true: traces need OpenTelemetry's SDK, which is not installed ({e}); install the package "
            "with its extra (agentrun-operator[otel]), use the operator's image, or leave AGENTRUN_TRACES out"
        ) from e
    sender = otlp.Sender(config, environ)
    try:
        yield sender
    finally:
        await sender.close()
