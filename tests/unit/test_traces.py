"""Sending traces: what a collector receives of a run, and that nobody waits for one that does not answer."""

import asyncio
import dataclasses
import logging
import pathlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog
from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

from agentrun_operator import errors, names, settings, traces
from agentrun_operator.traces import otlp
from tests import builders, scenes
from tests.scenes import INIT, TURN

Body = dict[str, Any]
ON = settings.Settings(traces=True, pod_name="operator-0", pod_namespace="home")
BEGAN, ENDED = "2026-07-01T10:00:00Z", "2026-07-01T10:00:02Z"


@dataclasses.dataclass
class Collector:
    """A receiver of OTLP over HTTP on loopback; ``status`` is what it answers."""

    url: str = ""
    status: int = 200
    requests: list[trace_service_pb2.ExportTraceServiceRequest] = dataclasses.field(default_factory=list)
    headers: list[dict[str, str]] = dataclasses.field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        self.requests.append(trace_service_pb2.ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(status=self.status)

    async def hear(self, told: traces.Traces, name: str) -> None:
        """A run has ended, and this was sent."""
        before = len(self.requests)
        tell(told, name)
        await until(lambda: len(self.requests) > before)

    @property
    def spans(self) -> list[trace_pb2.Span]:
        """What it was sent."""
        each = (scope for request in self.requests for one in request.resource_spans for scope in one.scope_spans)
        return [span for scope in each for span in scope.spans]

    @property
    def resource(self) -> dict[str, str]:
        """Who sent it."""
        return {item.key: item.value.string_value for item in self.requests[0].resource_spans[0].resource.attributes}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of whoever runs the tests; batches go at once."""
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")


@pytest.fixture
def heard() -> Iterator[list[Body]]:
    """What the operator logs."""
    with structlog.testing.capture_logs() as entries:
        yield entries  # type: ignore[misc]  # structlog's entries may change, and are not changed here


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """One that the standard variable names."""
    made = Collector()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", made.receive)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    yield made
    await runner.cleanup()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tell(told: traces.Traces, name: str = "a") -> None:
    """A run has ended."""
    body = builders.agent_run(name=name, uid=f"uid-{name}")
    body["metadata"]["creationTimestamp"] = BEGAN
    told.wrote(body, {}, {"phase": "Failed", "completionTime": ENDED, "error": {"code": "timeout"}})


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for comes from the SDK's thread
            await asyncio.sleep(0.01)


def value_of(span: trace_pb2.Span, key: str) -> object:
    """An attribute."""
    found = next(item.value for item in span.attributes if item.key == key)
    return getattr(found, found.WhichOneof("value") or "")


async def test_a_collector_receives_the_trace_of_a_run(
    collector: Collector, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its ids, its times, whose it is and what became of it; and no word of the prompt."""
    async with traces.sending(ON, {}) as told, scenes.opened(tmp_path, monkeypatch) as scene:
        scene.deps = dataclasses.replace(scene.deps, tracer=told)
        scene.add()
        task = scene.start()
        await scene.runs(log=INIT + TURN)
        await scene.exit(3)
        end = await scene.finish(task)
    found = {span.name: span for span in collector.spans}
    assert list(found) == ["agentrun", "Queued", "Starting", "Pending", "Running", "Finishing"]
    assert {span.trace_id.hex() for span in collector.spans} == {names.trace_id("uid-a", 0)}
    assert all(span.span_id.hex() == names.span_id("uid-a", 0, name) for name, span in found.items())
    root = found.pop("agentrun")
    assert (root.parent_span_id, {span.parent_span_id for span in found.values()}) == (b"", {root.span_id})
    assert (value_of(root, "agent.id"), value_of(root, "company.id"), value_of(root, "run.id")) == (
        "coder",
        "acme",
        "a",
    )
    assert (value_of(root, "agentrun.phase"), value_of(root, "agentrun.exit_code")) == ("Failed", 3)
    code = end["error"]["code"]
    assert (root.status.code, root.status.message) == (trace_pb2.Status.STATUS_CODE_ERROR, code)
    assert value_of(root, "error.type") == code
    assert [span.name for span in found.values() if span.status.message] == ["Running"]
    assert root.start_time_unix_nano % 1_000_000_000 == 0
    assert root.start_time_unix_nano <= found["Running"].start_time_unix_nano <= root.end_time_unix_nano
    assert scenes.PROMPT not in str(collector.requests)
    assert collector.resource["service.name"] == "agentrun-operator"
    assert collector.resource["service.instance.id"] == "operator-0"


async def test_a_further_attempt_names_the_one_before(collector: Collector) -> None:
    """Two traces, and a way from one to the other."""
    body = builders.agent_run()
    tried = [{"attempt": 0, "code": "timeout", "completionTime": BEGAN}]
    after = {"phase": "Succeeded", "attempt": 1, "previousAttempts": tried, "completionTime": ENDED}
    async with traces.sending(ON, {}) as told:
        told.wrote(body, {}, after)
    root = collector.spans[0]
    (link,) = root.links
    assert link.trace_id.hex() == names.trace_id(builders.RUN_UID, 0)
    assert link.span_id.hex() == names.span_id(builders.RUN_UID, 0, "agentrun")
    assert (root.trace_id.hex(), root.status.code) == (
        names.trace_id(builders.RUN_UID, 1),
        trace_pb2.Status.STATUS_CODE_UNSET,
    )


async def test_the_standard_variables_count(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends, what a gateway asks for, and how much is kept."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=team-a")
    async with traces.sending(ON, {}) as told:
        tell(told)
    assert collector.resource["service.name"] == "ours"
    assert collector.resource["deployment.environment.name"] == "test"
    assert collector.headers[0]["x-tenant"] == "team-a"
    collector.requests.clear()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    async with traces.sending(ON, {}) as told:
        tell(told)
    assert collector.requests == []


async def test_a_collector_that_is_not_there_is_told_once_and_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, heard: list[Body], caplog: pytest.LogCaptureFixture
) -> None:
    """The queue is bounded, nobody waits for it, the end is short; the SDK's own words do not fill the log."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    async with traces.sending(ON, {}) as told:
        begun = time.monotonic()
        for number in range(200):
            tell(told, f"r{number}")
        assert time.monotonic() - begun < 2
        await until(lambda: heard)
        tell(told)
        begun = time.monotonic()
    assert time.monotonic() - begun < 10
    assert [(entry["event"], entry["log_level"]) for entry in heard] == [("traces_not_sent", "warning")]
    assert "Connection refused" in heard[0]["error"]
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in heard[0]["hint"]
    assert caplog.records == []


def test_what_another_thread_is_told_is_not_why_a_try_failed() -> None:
    """The event loop's may learn that the queue is full while the SDK's finds nobody at the address."""
    said, sdk = otlp.Said(), logging.getLogger("opentelemetry.anything")
    said.listen()
    try:
        said.begin()
        other = threading.Thread(target=sdk.warning, args=("Queue full, dropping Span.",))
        other.start()
        other.join()
        sdk.warning("Connection refused")
        sdk.warning("Failed after 6 tries")
    finally:
        said.let_go()
    assert said.first == "Connection refused"


async def test_a_collector_that_answers_never_does_not_hold_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connection is taken and nothing comes: the process has few seconds."""
    monkeypatch.setattr("agentrun_operator.traces.otlp._END_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
        async with traces.sending(ON, {}) as told:
            tell(told)
            begun = time.monotonic()
        assert time.monotonic() - begun < 2


async def test_it_is_told_when_a_collector_takes_traces_again(collector: Collector, heard: list[Body]) -> None:
    """Once, too; what was refused is not sent again."""
    async with traces.sending(ON, {}) as told:
        collector.status = 400
        for name in "ab":
            await collector.hear(told, name)
        collector.status = 200
        for name in "cd":
            await collector.hear(told, name)
    assert [entry["event"] for entry in heard] == ["traces_not_sent", "traces_sent_again"]
    assert "400" in heard[0]["error"]


async def test_the_log_shows_no_password_of_a_collector(monkeypatch: pytest.MonkeyPatch, heard: list[Body]) -> None:
    """Not the one in its address."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"ftp://me:hunter2hunter2@127.0.0.1:{free_port()}")
    async with traces.sending(ON, {}) as told:
        tell(told)
        await until(lambda: heard)
    assert heard[0]["event"] == "traces_not_sent"
    assert "hunter2" not in str(heard)


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
async def test_a_protocol_that_is_not_spoken_is_refused_at_the_start(variable: str) -> None:
    """It would fail for ever; the sentence says what to do."""
    with pytest.raises(errors.SettingsError, match=rf"^{variable}='grpc': .*leave the variable out.*4318"):
        async with traces.sending(ON, {variable: "grpc"}):
            pass


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": ""},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
    ],
)
async def test_the_protocol_that_is_spoken_may_be_named(environ: dict[str, str]) -> None:
    """What is said of traces wins over what is said of all."""
    async with traces.sending(ON, environ) as told:
        assert isinstance(told, otlp.Sender)


async def test_without_the_sdk_the_operator_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.delitem(sys.modules, "agentrun_operator.traces.otlp")
    monkeypatch.delattr(traces, "otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(errors.SettingsError, match=r"^AGENTRUN_TRACES=true: .*agentrun-operator\[otel\]"):
        async with traces.sending(ON, {}):
            pass


async def test_off_is_the_default_and_does_nothing() -> None:
    """Whatever stands in the environment: it may be there for others."""
    async with traces.sending(settings.Settings(), {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) as told:
        assert type(told) is traces.Traces
        tell(told)


def test_the_sdk_is_not_loaded_where_traces_are_off() -> None:
    """It costs memory and time at each start of the command."""
    code = "import sys, agentrun_operator.cli; print([name for name in sys.modules if 'opentelemetry' in name])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


async def test_a_variable_that_cannot_be_read_is_told(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the SDK, at the start; then its default holds."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
    async with traces.sending(ON, {}) as told:
        tell(told)
    assert "OTEL_BSP_MAX_QUEUE_SIZE" in caplog.text
    assert collector.spans


async def test_the_sdk_logs_as_before_when_nobody_sends_any_more(collector: Collector) -> None:
    """The loggers are the whole process's."""
    logger = logging.getLogger("opentelemetry")
    before = (logger.propagate, logger.handlers[:])
    async with traces.sending(ON, {}):
        assert (logger.propagate, logger.handlers[:]) != before
    assert (logger.propagate, logger.handlers[:]) == before
    assert collector.requests == []
