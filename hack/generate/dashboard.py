"""deploy/monitoring/dashboard.json: the Grafana dashboard, as rows of panels that are each a title, a unit and queries.

A query is PromQL with two shorthands: ``@`` for the chosen namespace and pods, ``%`` for the span of a rate.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

_WIDTH = 24  # of a row, in Grafana's columns
_HEIGHT = 8
_SELECTED = 'namespace=~"$namespace",pod=~"$pod"'
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. ``queries`` are pairs of PromQL and legend; ``about`` is shown when one asks for it."""

    title: str
    queries: tuple[tuple[str, str], ...]
    about: str = ""
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False


Queries = tuple[tuple[str, str], ...]


def _now(metric: str, by: str = "", *, how: str = "sum") -> tuple[str, str]:
    """The value now, by labels, which are the legend, too."""
    legend = _legend(by) or metric.removeprefix("agentrun_").replace("_", " ")
    return f"{how}{f' by ({by})' if by else ''} ({metric}{{@}})", legend


def _hourly(metric: str, by: str = "") -> tuple[str, str]:
    return f"sum{f' by ({by})' if by else ''} (increase({metric}{{@}}[1h]))", _legend(by)


def _rate(metric: str, by: str, where: str = "") -> tuple[str, str]:
    selected = f"{where},@" if where else "@"
    return f"sum by ({by}) (rate({metric}{{{selected}}}[%]))", _legend(by)


def _quantiles(metric: str, by: str = "", *, of: tuple[float, ...] = (0.5, 0.95), legend: str = "") -> Queries:
    keys = f"le, {by}" if by else "le"
    inner = f"sum by ({keys}) (rate({metric}_bucket{{@}}[%]))"
    return tuple((f"histogram_quantile({q}, {inner})", f"p{q * 100:g} {legend or _legend(by)}".strip()) for q in of)


def _seen(query: tuple[str, str]) -> tuple[str, str]:
    """Without what there is none of."""
    return f"{query[0]} > 0", query[1]


def _ours(query: str) -> str:
    """Of all processes only those that are operators."""
    return f"sum by (pod) ({query} and on (namespace, pod) agentrun_build_info{{@}})"


def _legend(by: str) -> str:
    return " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",") if label)


def _stat(title: str, query: tuple[str, str] | str, unit: str = "short") -> Panel:
    expr = query if isinstance(query, str) else query[0]
    return Panel(title=title, kind="stat", width=4, unit=unit, queries=((expr, ""),))


def _lines(title: str, *queries: tuple[str, str], unit: str = "short", about: str = "") -> Panel:
    return Panel(title=title, queries=queries, unit=unit, about=about)


def _areas(title: str, *queries: tuple[str, str], unit: str = "short", about: str = "") -> Panel:
    return Panel(title=title, queries=queries, unit=unit, about=about, stacked=True)


_ENDS = "agentrun_runs_finished_total"
_COST = "agentrun_run_cost_usd_total"
_GOOD = f'sum(increase({_ENDS}{{phase="Succeeded",@}}[1h])) / sum(increase({_ENDS}{{@}}[1h]))'
_STARTS = ("job", "pod", "first_event")

ROWS: dict[str, tuple[Panel, ...]] = {
    "At a glance": (
        _stat("Live runs", _now("agentrun_runs")),
        _stat("Waiting", _now("agentrun_queue_runs")),
        _stat("Longest wait", _now("agentrun_queue_oldest_seconds", how="max"), "s"),
        _stat("Success, last hour", _GOOD, "percentunit"),
        _stat("Cost, last day", f"sum(increase({_COST}{{@}}[1d]))", "currencyUSD"),
        _stat("Working replicas", _now("agentrun_leader")),
    ),
    "Runs": (
        _areas("Live runs by phase", _now("agentrun_runs", "phase")),
        _areas("Ends per hour by phase", _hourly(_ENDS, "phase")),
        _areas("Errors per hour by code", _seen(_hourly("agentrun_errors_total", "code")), about="Of all attempts."),
        _lines("Waiting and stalled", _now("agentrun_queue_runs"), _now("agentrun_stalled_runs")),
        _lines("Longest wait", _now("agentrun_queue_oldest_seconds", how="max"), unit="s"),
        _lines("Taken up again, per hour", _hourly("agentrun_runs_reattached_total", "how")),
    ),
    "Time": (
        _lines("Until the operator looks", *_quantiles("agentrun_pickup_seconds"), unit="s"),
        _lines(
            "Until Job, pod and first event",
            *(_quantiles(f"agentrun_time_to_{step}_seconds", of=(0.95,), legend=step)[0] for step in _STARTS),
            unit="s",
            about="From the creation of the AgentRun, with its time in the queue.",
        ),
        _lines("Length of runs", *_quantiles("agentrun_run_duration_seconds", "phase"), unit="s"),
    ),
    "Tokens and money": (
        _areas("Cost per hour by company", _hourly(_COST, "company"), unit="currencyUSD"),
        _areas("Cost per hour by model", _hourly(_COST, "model"), unit="currencyUSD"),
        _areas("Tokens per hour by kind", _hourly("agentrun_run_tokens_total", "kind")),
    ),
    "Kubernetes API and kopf": (
        _lines("Requests per second", _rate("agentrun_api_requests_total", "verb, resource"), unit="reqps"),
        _lines(
            "No good answer, per second",
            _rate("agentrun_api_requests_total", "client, code", 'code=~"4..|5..|none"'),
            unit="reqps",
        ),
        _lines("Time to answer", *_quantiles("agentrun_api_request_duration_seconds", "client"), unit="s"),
        _lines("Silence of watches", _now("agentrun_watch_age_seconds", "resource, watched", how="max"), unit="s"),
        _lines("Events shown by kopf, per second", _rate("agentrun_kopf_events_total", "type"), unit="ops"),
        _lines("Runs that kopf has not dealt with", _now("agentrun_kopf_backlog_runs", "pod")),
    ),
    "Logs and process": (
        _lines("Bytes of logs read", _rate("agentrun_tail_bytes_total", "pod"), unit="Bps"),
        _lines("Lateness of reading", _now("agentrun_tail_lag_seconds", "pod", how="max"), unit="s"),
        _lines("Threads that hang", _now("agentrun_tail_threads_aside", "pod")),
        _lines("CPU", (_ours("rate(process_cpu_seconds_total{@}[%])"), "{{pod}}"), unit="percentunit"),
        _lines("Memory", (_ours("process_resident_memory_bytes{@}"), "{{pod}}"), unit="bytes"),
        _lines("Counted as other, per hour", _hourly("agentrun_metrics_overflow_total", "metric")),
        Panel(
            title="Versions",
            kind="table",
            width=24,
            queries=(_now("agentrun_build_info", "pod, version, kopf, python"),),
        ),
    ),
}


def build_dashboard() -> str:
    """The whole file."""
    document = {
        "uid": "agentrun-operator",
        "title": "AgentRuns",
        "description": "Generated from hack/generate/dashboard.py by `make generate`.",
        "tags": ["agentrun"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _variable("namespace", ""), _variable("pod", 'namespace=~"$namespace"')]},
        "panels": list(_panels()),
    }
    return json.dumps(document, indent=1) + "\n"


def expression(query: str) -> str:
    """PromQL without the shorthands."""
    return query.replace("@", _SELECTED).replace("[%]", "[$__rate_interval]")


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _variable(name: str, selected: str) -> dict[str, Any]:
    query = f"label_values(agentrun_build_info{{{selected}}}, {name})"
    return {
        "name": name,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 1, 0
    for title, panels in ROWS.items():
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": _place(0, top, _WIDTH, 1),
        }
        number, top, left, height = number + 1, top + 1, 0, 0
        for panel in panels:
            height = _HEIGHT // 2 if panel.kind == "stat" else _HEIGHT
            if left + panel.width > _WIDTH:
                top, left = top + height, 0
            yield _panel(panel, number, _place(left, top, panel.width, height))
            number, left = number + 1, left + panel.width
        top += height


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    table = panel.kind == "table"
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": expression(query),
                "legendFormat": legend,
                **({"format": "table", "instant": True} if table else {}),
            }
            for index, (query, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": {"unit": panel.unit, **_custom(panel)}, "overrides": []},
    }


def _custom(panel: Panel) -> dict[str, Any]:
    if panel.kind != "timeseries":
        return {}
    stacking = {"mode": "normal"} if panel.stacked else {"mode": "none"}
    return {"min": 0, "custom": {"fillOpacity": 30 if panel.stacked else 0, "stacking": stacking}}
