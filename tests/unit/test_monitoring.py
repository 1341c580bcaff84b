"""What deploy/monitoring says is true of the operator: metrics, labels, the pages it points to; each alert is tried."""

import json
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client import parser

from agentrun_operator import errors, metrics, settings
from hack.generate import dashboard
from hack.generate import metrics as page

ROOT = pathlib.Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RULES = yaml.safe_load((MONITORING / "prometheusrule.yaml").read_text(encoding="utf-8"))["spec"]
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
PLAYED = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ALL_LABELS = settings.Settings(metrics_labels="company,agent,model")
# What Prometheus adds to each series that it scrapes from a pod, and to those of a histogram.
ADDED = {"namespace", "pod", "le"}
PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=ROOT / ".local" / "bin")


def shown() -> set[str]:
    """The names of all time series of an operator to which everything has happened."""
    told = metrics.Metrics(ALL_LABELS)
    for spec in metrics.CATALOGUE.values():
        values = ["x"] * (len(spec.labels) + len(spec.free))
        if spec.kind == "counter":
            told._count(spec.name, *values)  # noqa: SLF001 - by whatever way
        elif spec.kind == "histogram":
            told._observe(spec.name, 1, *values)  # noqa: SLF001 - as above
    told.refresh()
    families = parser.text_string_to_metric_families(told.render().decode())
    return {sample.name for family in families for sample in family.samples} | {
        spec.name for spec in metrics.CATALOGUE.values() if spec.kind == "gauge"
    }


SHOWN = shown()


def queries() -> Iterator[tuple[str, str]]:
    """All PromQL that there is, and where."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], re.sub(r"label_values\((.*), \w+\)$", r"\1", variable["query"]["query"])


def names_in(query: str) -> set[str]:
    """The metrics that a query asks for."""
    return set(re.findall(r"\b(?:agentrun|process)_\w+", query))


def spec_of(name: str) -> metrics.Spec | None:
    """The metric that a time series belongs to; None for one of the Python client."""
    return metrics.CATALOGUE.get(name) or metrics.CATALOGUE.get(re.sub(r"_(bucket|sum|count)$", "", name))


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_asks_for_what_there_is(where: str, query: str) -> None:
    """A misspelt metric is never there, and nobody notices."""
    assert names_in(query), where
    assert names_in(query) - SHOWN == set()


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_query_uses_labels_that_the_metric_has(where: str, query: str) -> None:
    """In its selectors and in its grouping."""
    known = set(ADDED)
    for name in names_in(query):
        spec = spec_of(name)
        known |= {*spec.labels, *spec.free} if spec else set()
    used = {label for inside in re.findall(r"\{(.*?)\}", query) for label in re.findall(r"(\w+)\s*(?:=~|!=|=)", inside)}
    used |= {label.strip() for inside in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", query) for label in inside.split(",")}
    assert used - known == set(), where


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_a_code_in_a_query_is_one_of_the_operators(where: str, query: str) -> None:
    """Each alternative of an expression, too."""
    codes = {code.value for code in errors.ErrorCode}
    for expression in re.findall(r'agentrun_errors_total\{[^}]*code=~?"([^"]*)"', query):
        hits = {code for code in codes if re.fullmatch(expression, code)}
        words = re.findall(r"[a-z]\w+", re.sub(r"k8s_\(", "", expression))
        assert len(hits) == len(words), where


def test_every_metric_of_the_operator_is_on_the_dashboard() -> None:
    """What nobody looks at is not worth counting."""
    asked = set().union(*(names_in(target["expr"]) for panel in PANELS for target in panel["targets"]))
    assert {spec.name for name in asked if (spec := spec_of(name))} == set(metrics.CATALOGUE)


def test_panels_have_places_of_their_own() -> None:
    """Inside the width, and none above another."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_shorthands_are_written_out() -> None:
    """None is left."""
    texts = [target["expr"] for panel in PANELS for target in panel["targets"]]
    assert [text for text in texts if "@" in text or "%" in text] == []
    assert dashboard.expression("rate(x{@}[%])") == 'rate(x{namespace=~"$namespace",pod=~"$pod"}[$__rate_interval])'


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_an_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    """It points to its own heading, and there is something below that."""
    name = alert["alert"]
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
    (text,) = re.findall(rf"^### {name}\n(.+?)(?=\n#)", OPERATIONS, flags=re.MULTILINE | re.DOTALL)
    assert len(text) > 100


def test_every_heading_of_an_alert_has_its_rule() -> None:
    """In the order of the rules."""
    section = OPERATIONS.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (\w+)$", section, flags=re.MULTILINE) == [alert["alert"] for alert in ALERTS]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_every_alert_is_played(alert: dict[str, Any]) -> None:
    """Once when it has to be there, and once when it must not."""
    tests = [
        test for group in PLAYED["tests"] for test in group["alert_rule_test"] if test["alertname"] == alert["alert"]
    ]
    assert {bool(test["exp_alerts"]) for test in tests} == {True, False}


def test_series_that_are_played_are_such_as_there_are() -> None:
    """Or an alert could be right in the play alone."""
    for group in PLAYED["tests"]:
        for played in group["input_series"]:
            name, _, labels = played["series"].partition("{")
            spec = spec_of(name)
            assert name in SHOWN
            known = {*spec.labels, *spec.free} if spec else set()
            assert set(re.findall(r"(\w+)=", labels)) <= known | ADDED


def run_promtool(*arguments: str, folder: pathlib.Path) -> str:
    """Its output; a failure fails the test with it."""
    if PROMTOOL is None:
        pytest.skip("promtool is neither on PATH nor in .local/bin: the alert rules were read, and not played")
    done = subprocess.run([PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_finds_the_alerts_when_they_have_to_be_there(tmp_path: pathlib.Path) -> None:
    """By its own test tool, where that is installed."""
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(RULES), encoding="utf-8")
    shutil.copy(MONITORING / "alerts_test.yaml", tmp_path)
    run_promtool("check", "rules", "rules.yaml", folder=tmp_path)
    run_promtool("test", "rules", "alerts_test.yaml", folder=tmp_path)


def test_prometheus_understands_the_queries_of_the_dashboard(tmp_path: pathlib.Path) -> None:
    """In the same way."""
    texts = [target["expr"] for panel in PANELS for target in panel["targets"]]
    rules = [{"record": f"q{n}", "expr": text.replace("$__rate_interval", "5m")} for n, text in enumerate(texts)]
    text = yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    (tmp_path / "rules.yaml").write_text(text, encoding="utf-8")
    assert f"{len(texts)} rules found" in run_promtool("check", "rules", "rules.yaml", folder=tmp_path)


def test_prometheus_understands_what_the_operator_shows(tmp_path: pathlib.Path) -> None:
    """And finds nothing to lint in names and types."""
    if PROMTOOL is None:
        pytest.skip("promtool is neither on PATH nor in .local/bin: what the operator shows was not linted")
    text = metrics.Metrics(ALL_LABELS).render()
    done = subprocess.run([PROMTOOL, "check", "metrics"], cwd=tmp_path, input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout.decode() + done.stderr.decode()) == (0, "")


def test_the_pod_monitor_looks_where_the_metrics_are() -> None:
    """The port by its name; the label of the operator's pods is that of its manifests."""
    monitor = yaml.safe_load((MONITORING / "podmonitor.yaml").read_text(encoding="utf-8"))
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")
    assert "9090" in str(settings.Settings.model_fields["metrics_port"].description)


# -------------------------------------------------------------------------------------------------- the page


def test_the_page_lists_every_metric_once_with_its_labels() -> None:
    """As Prometheus sees them."""
    rows = re.findall(r"^\| `(agentrun_\w+)` \| (\w+) \| (.*?) \| .+ \|$", page.build_page(), flags=re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(metrics.CATALOGUE)
    for name, kind, labels in rows:
        spec = metrics.CATALOGUE[name]
        assert (kind, re.findall(r"`(\w+)`", labels)) == (spec.kind, [*spec.labels, *spec.free])


def test_the_page_points_to_what_is_there() -> None:
    """Files, and headings of operations."""
    links = re.findall(r"\]\(([^)]+)\)", page.build_page())
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        assert (ROOT / "docs" / file).is_file(), link
        assert not anchor or f"\n## {anchor.title()}\n" in OPERATIONS


def test_a_metric_without_a_group_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be missing on the page."""
    strange = metrics.Spec(name="other_total", kind=next(iter(metrics.CATALOGUE.values())).kind, about="Strange.")
    monkeypatch.setitem(metrics.CATALOGUE, strange.name, strange)
    with pytest.raises(LookupError, match="other_total has no group"):
        page.build_page()
