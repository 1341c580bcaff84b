"""The registry, and one small method for each kind of thing that is told to it."""

import functools
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import Collector

import agentrun_operator
from agentrun_operator import errors, models, settings
from agentrun_operator.metrics.bounded import Bounded
from agentrun_operator.metrics.catalogue import CATALOGUE, WHO_AND_MODEL, Kind
from agentrun_operator.metrics.followed import Followed, cost, started, tokens, whole_duration

_KOPF = "kopf"
_EVENT_TYPES = {None: "listed", "ADDED": "added", "MODIFIED": "modified", "DELETED": "deleted"}


class Metrics:
    """See the package. All methods but ``tailed`` and ``render`` are for the event loop's thread."""

    def __init__(self, config: settings.Settings | None = None) -> None:
        self._registry = prometheus_client.CollectorRegistry()
        config = config or settings.Settings()
        self._shown_labels, self._lease = config.shown_labels, config.leader_election_lease
        prometheus_client.ProcessCollector(registry=self._registry)
        self._counters: dict[str, Bounded[Counter]] = {}
        self._gauges: dict[str, Bounded[Gauge]] = {}
        self._histograms: dict[str, Bounded[Histogram]] = {}
        for name in CATALOGUE:
            self._add(name)
        self._followed = Followed()
        self._heard: dict[tuple[str, str], float] = {}
        self._pulled: dict[str, Callable[[], float]] = {}
        self._kopf_heard: Callable[[], None] = lambda: None
        for spec in CATALOGUE.values():
            if spec.free:
                self._count("agentrun_metrics_overflow_total", spec.name, by=0)
        for code in errors.ErrorCode:
            self._count("agentrun_errors_total", code.value, by=0)
        self.lead(leading=False)
        built = agentrun_operator.__version__, platform.python_version(), importlib.metadata.version(_KOPF)
        self._gauges["agentrun_build_info"].labels(*built).set(1)

    # --- runs ----------------------------------------------------------------------------------------------------

    def follow(self, run: models.AgentRun, status: Mapping[str, Any], *, resumed: bool = False) -> None:
        """A run is followed from now on; ``resumed``: it was, a moment ago, by this process."""
        created = self._followed.add(run, status)
        if resumed or _is_final(status):
            return
        if status.get("job"):
            self._count("agentrun_runs_reattached_total", "restart")
        elif not status.get("phase"):
            self._observe("agentrun_pickup_seconds", time.time() - created)

    def leave(self, uid: str) -> None:
        """A run is not followed any more."""
        self._followed.remove(uid)

    def wrote(self, uid: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """The status of a run was written; ``before`` is what the cluster had until then."""
        run = self._followed.update(uid, after)
        for name, seconds in started(run, before, after):
            self._observe(name, seconds)
        if after.get("reattachedFrom") and not before.get("reattachedFrom"):
            self._count("agentrun_runs_reattached_total", "adoption")
        attempts: Sequence[Mapping[str, Any]] = after.get("previousAttempts") or ()
        if len(attempts) > len(before.get("previousAttempts") or ()):
            self._count("agentrun_errors_total", str(attempts[-1].get("code")))
        if _is_final(after) and not _is_final(before):
            self._finished(run.company, run.agent, after)

    def _finished(self, company: str, agent: str, status: Mapping[str, Any]) -> None:
        phase, code = str(status["phase"]), str((status.get("error") or {}).get("code", ""))
        self._count("agentrun_runs_finished_total", phase, code, company, agent)
        if code:
            self._count("agentrun_errors_total", code)
        who = company, agent, str(status.get("model") or "unknown")
        for kind, number in tokens(status):
            self._count("agentrun_run_tokens_total", kind, *who, by=number)
        dollars = cost(status)
        if dollars:
            self._count("agentrun_run_cost_usd_total", *who, by=dollars)
        seconds = whole_duration(status)
        if seconds is not None:
            self._observe("agentrun_run_duration_seconds", seconds, phase)

    # --- what goes on beside them --------------------------------------------------------------------------------

    def api(self, client: str) -> Callable[[str, str, str, float], None]:
        """Whom to tell of each request of ``client``: verb, resource, code, seconds."""
        return functools.partial(self._request, client)

    def watch(self, resource: str, namespace: str) -> Callable[[], None]:
        """Whom to tell that a watch was heard ("" = all namespaces). Its age begins now."""
        key = resource, namespace or "*"

        def heard() -> None:
            self._heard[key] = time.monotonic()

        heard()
        return heard

    def saw(self, kind: str | None) -> None:
        """An AgentRun was shown by kopf, in an event of this type."""
        self._kopf_heard()
        self._count("agentrun_kopf_events_total", _EVENT_TYPES.get(kind, "other"))

    def tailed(self, read: int) -> None:
        """So many bytes of a log were read. For any thread."""
        self._count("agentrun_tail_bytes_total", by=read)

    def pull(self, name: str, read: Callable[[], float]) -> None:
        """A gauge without labels is whatever ``read`` says when somebody looks; it is asked on the event loop."""
        self._pulled[name] = read

    def lead(self, *, leading: bool = True) -> None:
        """This process works from now on, or not."""
        self._gauges["agentrun_leader"].labels(self._lease).set(leading)
        if leading:
            self._kopf_heard = self.watch("agentruns", "")

    # --- looking -------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring up to date what is not told but asked for."""
        for name, labels, value in self._followed.figures(time.time()):
            self._gauges[name].labels(*labels).set(value)
        now = time.monotonic()
        for key, heard in self._heard.items():
            self._gauges["agentrun_watch_age_seconds"].labels(*key).set(now - heard)
        for name, read in self._pulled.items():
            self._gauges[name].labels().set(read())

    def render(self) -> bytes:
        """What Prometheus reads, in its text format. For any thread."""
        return prometheus_client.generate_latest(_Lean(self._registry))

    def _request(self, client: str, verb: str, resource: str, code: str, seconds: float) -> None:
        if client == _KOPF and verb == "watch" and code == "200":
            self._kopf_heard()
        self._count("agentrun_api_requests_total", client, verb, resource, code)
        self._histograms["agentrun_api_request_duration_seconds"].labels(client, verb, resource).observe(seconds)

    def _count(self, name: str, *values: str, by: float = 1) -> None:
        self._counters[name].labels(*self._shown(name, values)).inc(by)

    def _observe(self, name: str, seconds: float, *values: str) -> None:
        self._histograms[name].labels(*values).observe(max(seconds, 0))  # clocks differ

    def _shown(self, name: str, values: tuple[str, ...]) -> tuple[str, ...]:
        """The values without those of labels that are switched off."""
        spec = CATALOGUE[name]
        named = zip((*spec.labels, *spec.free), values, strict=True)
        return tuple(value for label, value in named if self._is_shown(label))

    def _is_shown(self, label: str) -> bool:
        return label not in WHO_AND_MODEL or label in self._shown_labels

    def _add(self, name: str) -> None:
        spec = CATALOGUE[name]
        free = tuple(filter(self._is_shown, spec.free))
        labels = (*spec.labels, *free)
        bounds = {"free": len(free), "overflowed": functools.partial(self._overflowed, name)}
        if spec.kind is Kind.COUNTER:
            counter = Counter(name, spec.about, labels, registry=self._registry)
            self._counters[name] = Bounded(counter, **bounds)  # type: ignore[arg-type]  # as written above
        elif spec.kind is Kind.GAUGE:
            self._gauges[name] = Bounded(Gauge(name, spec.about, labels, registry=self._registry), **bounds)  # type: ignore[arg-type]  # as above
        else:
            histogram = Histogram(name, spec.about, labels, registry=self._registry, buckets=spec.buckets)
            self._histograms[name] = Bounded(histogram, **bounds)  # type: ignore[arg-type]  # as above

    def _overflowed(self, name: str) -> None:
        self._counters["agentrun_metrics_overflow_total"].labels(name).inc()


class _Lean(Collector):
    """The same without the times at which time series began: nobody asks for them, and they are one for each."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[prometheus_client.Metric]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family


def _is_final(status: Mapping[str, Any]) -> bool:
    phase = status.get("phase")
    return phase is not None and models.Phase(phase).final
