"""``python -m hack.panels PROMETHEUS``: the dashboard's panels as a picture, where there is no Grafana.

The queries are the dashboard's own and Prometheus answers them; only the drawing is matplotlib's. Panels that are one
number or a table are left out. What a panel has no data for is said on it.
"""

import argparse
import json
import math
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hack.generate import dashboard

_COLUMNS = 3
_POINTS = 120
_INCHES = (4.6, 2.3)  # of a panel
_DPI = 70
_MOST = 12  # series in a legend

Axes = Any  # matplotlib's own, whose annotations are not strict


@dataclass(frozen=True, kw_only=True)
class Span:
    """From when to when, in seconds since the epoch; ``rate`` is what a rate looks back over, as PromQL."""

    start: float
    end: float
    rate: str

    @property
    def step(self) -> float:
        """Between two points, in seconds."""
        return max(1.0, (self.end - self.start) / _POINTS)


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line: its legend, minutes since the start, values."""

    legend: str
    minutes: Sequence[float]
    values: Sequence[float]


def ask(server: str, query: tuple[str, str], span: Span) -> list[Series]:
    """What Prometheus answers to a query of a panel. Raises URLError."""
    text, legend = query
    text = re.sub(r"\$(?:namespace|pod)", ".*", dashboard.expression(text)).replace("$__rate_interval", span.rate)
    asked = urllib.parse.urlencode({"query": text, "start": span.start, "end": span.end, "step": span.step})
    with urllib.request.urlopen(f"{server}/api/v1/query_range?{asked}", timeout=30) as answer:  # noqa: S310 - the developer's own server
        found = json.load(answer)["data"]["result"]
    return [_series(one, legend, span) for one in found]


def draw(server: str, span: Span, file: pathlib.Path, *, caption: str) -> None:
    """Draw all panels into ``file``."""
    import matplotlib as mpl  # noqa: PLC0415 - a second of imports

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 7, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
    from matplotlib import pyplot  # noqa: PLC0415 - as above

    panels = [panel for row in dashboard.ROWS.values() for panel in row if panel.kind == "timeseries"]
    rows = math.ceil(len(panels) / _COLUMNS)
    width, height = _INCHES
    figure, grid = pyplot.subplots(
        rows, _COLUMNS, figsize=(width * _COLUMNS, height * rows), layout="constrained", squeeze=False
    )
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        _paint(axes, panel, [series for query in panel.queries for series in ask(server, query, span)])
    figure.supxlabel(f"minutes. {caption}".strip(), fontsize=8)
    figure.savefig(file, dpi=_DPI, metadata={"Software": None})
    pyplot.close(figure)


def _series(found: Mapping[str, Any], legend: str, span: Span) -> Series:
    labels = found["metric"]
    return Series(
        legend=re.sub(r"\{\{(\w+)\}\}", lambda name: str(labels.get(name[1], "")), legend),
        minutes=[(float(at) - span.start) / 60 for at, _ in found["values"]],
        values=[float(value) for _, value in found["values"]],
    )


def _paint(axes: Axes, panel: dashboard.Panel, series: Sequence[Series]) -> None:
    axes.set_title(f"{panel.title}{'' if panel.unit == 'short' else f' ({panel.unit})'}", fontsize=8, loc="left")
    shown = [one for one in series if any(math.isfinite(value) for value in one.values)]
    if not shown:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes, color="#8a949e")
        return
    below: dict[float, float] = {}
    for one in shown:
        values = [value if math.isfinite(value) else math.nan for value in one.values]
        if panel.stacked:
            floor = [below.get(minute, 0.0) for minute in one.minutes]
            values = [
                bottom + (0.0 if math.isnan(value) else value) for bottom, value in zip(floor, values, strict=True)
            ]
            axes.fill_between(one.minutes, floor, values, alpha=0.4, linewidth=0)
            below.update(zip(one.minutes, values, strict=True))
        axes.plot(one.minutes, values, linewidth=1, label=one.legend)
    axes.set_ylim(bottom=0)
    if len(shown) <= _MOST and any(one.legend for one in shown):
        axes.legend(fontsize=5, loc="upper left")


def main() -> int:
    """Draw; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prometheus", help="where it answers, for example http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=float, default=30, help="how far back")
    parser.add_argument("--rate", default="1m", help="what a rate looks back over: four times the scrape interval")
    parser.add_argument("--caption", default="", help="what was measured, and where")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build/dashboard.png"))
    given = parser.parse_args()
    now = time.time()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        span = Span(start=now - given.minutes * 60, end=now, rate=given.rate)
        draw(given.prometheus.rstrip("/"), span, given.out, caption=given.caption)
    except urllib.error.URLError as e:
        sys.stderr.write(f"{given.prometheus}: {e}; is it a Prometheus, and is it up?\n")
        return 1
    sys.stdout.write(f"wrote {given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
