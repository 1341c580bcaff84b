"""Send spans by OTLP over HTTP, with OpenTelemetry's own SDK; how and where to, its standard variables say.

The SDK's queue is bounded and its thread does the waiting: ``wrote`` only puts spans into the queue, and when that is
full, the oldest go. What the SDK would log of each try is gathered: the operator's log says once that the collector
does not take them, with the reason, and once that it does again.
"""

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk import environment_variables, resources
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, export, id_generator

import agentrun_operator
from agentrun_operator import errors, redaction, settings, traces
from agentrun_operator.status import spans

_log = structlog.get_logger(__name__)

_SDK = "opentelemetry"  # its loggers
_PROTOCOL = "http/protobuf"
_PROTOCOLS = (
    environment_variables.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    environment_variables.OTEL_EXPORTER_OTLP_PROTOCOL,
)
_END_SECONDS = 3.0  # of the few that the process has for its end


class Sender(traces.Traces):
    """For the event loop's thread. Raises SettingsError for a protocol that it does not speak."""

    def __init__(self, config: settings.Settings, environ: Mapping[str, str]) -> None:
        _check(environ)
        self._ids = _Ids()
        self._said = Said()
        exporter = _Exporter(self._said)
        self._provider = TracerProvider(
            resource=_resource(config), id_generator=self._ids, shutdown_on_exit=False, meter_provider=None
        )
        self._provider.add_span_processor(export.BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(agentrun_operator.__name__, agentrun_operator.__version__)
        self._said.listen()  # by now: what is wrong with a variable was logged

    def wrote(self, body: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """See ``Traces``: an attempt that has ended is put into the queue."""
        around = context.Context()
        for span in spans.between(body, before, after):
            begun = self._begin(span, around)
            if span.error:
                begun.set_status(trace.Status(trace.StatusCode.ERROR, span.error))
            begun.end(_nanoseconds(span.end.timestamp()))
            if not span.parent_id:
                around = trace.set_span_in_context(begun, context.Context())

    def _begin(self, span: spans.Span, around: context.Context) -> trace.Span:
        self._ids.next = span
        return self._tracer.start_span(
            span.name,
            context=around,
            attributes=span.attributes,
            links=[trace.Link(_remote(*span.link))] if span.link else [],
            start_time=_nanoseconds(span.start.timestamp()),
        )

    async def close(self) -> None:
        """Send what is left, or give it up."""
        # In a thread that nobody has to wait for: a collector that does not answer must not hold the process.
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        await asyncio.to_thread(last.join, _END_SECONDS)
        self._said.let_go()


class _Ids(id_generator.IdGenerator):
    """The SDK asks for ids when a span is begun; ours are those of the span that is just being begun."""

    next: spans.Span

    def generate_trace_id(self) -> int:
        return int(self.next.trace_id, 16)

    def generate_span_id(self) -> int:
        return int(self.next.span_id, 16)


class _Exporter(export.SpanExporter):
    """The SDK's, and one word in the log when it begins or ceases to fail. For the SDK's thread."""

    def __init__(self, said: "Said") -> None:
        self._sdk = trace_exporter.OTLPSpanExporter()
        self._said = said
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> export.SpanExportResult:
        self._said.begin()
        result = self._sdk.export(spans)
        failing = result is not export.SpanExportResult.SUCCESS
        if failing and not self._failing:
            hint = "runs go on; look at OTEL_EXPORTER_OTLP_ENDPOINT and the collector, or unset AGENTRUN_TRACES"
            _log.warning("traces_not_sent", error=redaction.named(self._said.first), hint=hint)
        elif self._failing and not failing:
            _log.info("traces_sent_again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        self._sdk.shutdown()  # type: ignore[no-untyped-call]  # the SDK's own lack

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._sdk.force_flush(timeout_millis)


class Said(logging.Handler):
    """Keeps the first thing that the SDK would have logged of a try, which has the cause; later ones say it gave up."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = ""
        self._thread = 0
        self._logger = logging.getLogger(_SDK)

    def begin(self) -> None:
        """A try begins, in this thread. The event loop's may be told meanwhile that the queue is full."""
        self.first, self._thread = "", threading.get_ident()

    def listen(self) -> None:
        """Keep it out of the operator's log from now on."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        if record.thread == self._thread:
            self.first = self.first or record.getMessage()

    def let_go(self) -> None:
        """The SDK logs as before."""
        self._logger.removeHandler(self)
        self._logger.propagate = True


def _check(environ: Mapping[str, str]) -> None:
    variable = next((name for name in _PROTOCOLS if environ.get(name)), "")
    if variable and environ[variable] != _PROTOCOL:
        raise errors.SettingsError(
            f"{variable}={environ[variable]!r}: the operator sends traces by {_PROTOCOL} alone; leave the variable out "
            "and name the collector's port for HTTP, mostly 4318"
        )


def _resource(config: settings.Settings) -> resources.Resource:
    """Who sends; what the standard variables say of it wins."""
    said = {resources.SERVICE_NAME: "agentrun-operator", resources.SERVICE_VERSION: agentrun_operator.__version__}
    if config.pod_name:
        said[resources.SERVICE_INSTANCE_ID] = config.pod_name
    return resources.Resource.create(said).merge(resources.OTELResourceDetector().detect())


def _remote(trace_id: str, span_id: str) -> trace.SpanContext:
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    return trace.SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)


def _nanoseconds(seconds: float) -> int:
    return round(seconds) * 1_000_000_000
