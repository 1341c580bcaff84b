"""docs/metrics.md: every metric with its labels and what it means, made from the operator's own catalogue."""

from collections.abc import Iterator

from agentrun_operator import metrics, settings
from agentrun_operator.metrics import bounded

_HEAD = """\
<!-- Generated from operator/agentrun_operator/metrics by `make generate`. Do not edit. -->
# Metrics

`AGENTRUN_METRICS_PORT=9090` has the operator answer Prometheus on `/metrics` of that port; without it there is no port.
Whoever reaches it can read it, so let a NetworkPolicy say who does: it names companies and models, and never a prompt,
a secret, or an AgentRun. A replica that stands by answers as well.

For the Prometheus Operator there are [a PodMonitor](../deploy/monitoring/podmonitor.yaml) and
[alert rules](../deploy/monitoring/prometheusrule.yaml); [operations](operations.md#alerts) says what to do for each.
Grafana imports [the dashboard](../deploy/monitoring/dashboard.json).

![The panels of the dashboard over eight minutes](dashboard.png)

This is no photograph of Grafana, which draws the same data in its own way. `python -m hack.panels` drew it, with the
dashboard's own queries, from a Prometheus 3.13 that scraped the operator's code every five seconds. The operator's code
was real and its world was played: an API in memory, nine agents that are a script, made-up prices and failures. So
there are no requests to an API in it, and what kopf shows is played as well.

## Labels
`AGENTRUN_METRICS_LABELS` (default `{labels}`) says which of the labels {free} there are.
Each combination of values is a time series for as long as the operator runs. `company` and `model` are there by default
because there are few and cost is asked for by them. `agent` is not: agents come and go, and each brings a series for
each metric, phase and code.

Whatever is switched on, a metric takes the first {most} combinations and counts what comes later as `other`, so its
sums stay right; `agentrun_metrics_overflow_total` tells of it. There is never a time series for a single run.

## After a restart
Counters begin at 0 with each process, and `rate` and `increase` know that. What counts ends of runs, tokens, cost and
times is told once for each run, by the operator that writes that step into the status, so a restart or a hand-over
doubles none of it. What a counter has that was not scraped when its process ends is lost to Prometheus: for accounting,
sum `status.costUSD`.

## All of them
"""

_GROUPS = {
    "Runs": ("agentrun_run", "agentrun_queue", "agentrun_stalled", "agentrun_errors"),
    "How long things take": ("agentrun_pickup", "agentrun_time_to", "agentrun_run_duration"),
    "Logs": ("agentrun_tail",),
    "The Kubernetes API and kopf": ("agentrun_api", "agentrun_watch", "agentrun_kopf"),
    "The process": ("agentrun_leader", "agentrun_build", "agentrun_metrics"),
}

_TAIL = """\
With them come `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_start_time_seconds` and the others
of the Prometheus client for Python.
"""


def build_page() -> str:
    """The whole page."""
    free = ", ".join(f"`{label}`" for label in _free())
    head = _HEAD.format(labels=settings.Settings().metrics_labels, free=free, most=bounded.MOST)
    return head + "\n" + "\n".join(_sections()) + "\n" + _TAIL


def _free() -> list[str]:
    """The labels that are switched by the setting, in its order."""
    shown = {label for spec in metrics.CATALOGUE.values() for label in spec.free}
    return [label for label in ("company", "agent", "model") if label in shown]


def _sections() -> Iterator[str]:
    for title, group in _grouped().items():
        yield f"### {title}\n\n| Metric | Kind | Labels | Meaning |\n|---|---|---|---|"
        for spec in group:
            labels = ", ".join(f"`{label}`" for label in (*spec.labels, *spec.free))
            yield f"| `{spec.name}` | {spec.kind.value} | {labels} | {spec.about} |"
        yield ""


def _grouped() -> dict[str, list[metrics.Spec]]:
    """Each metric in the group whose longest prefix fits. Raises LookupError for one that fits none."""
    groups: dict[str, list[metrics.Spec]] = {title: [] for title in _GROUPS}
    for spec in metrics.CATALOGUE.values():
        named = [(prefix, title) for title, prefixes in _GROUPS.items() for prefix in prefixes]
        fits = [(len(prefix), title) for prefix, title in named if spec.name.startswith(prefix)]
        if not fits:
            raise LookupError(f"{spec.name} has no group in hack/generate/metrics.py")
        groups[max(fits)[1]].append(spec)
    return groups
