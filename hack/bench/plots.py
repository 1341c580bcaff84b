"""The plots of the report. Each is drawn from the raw figures of one part, if they are there."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
Axes = Any  # matplotlib's own, whose annotations are not strict

_OURS, _OURS_TOO, _BASE, _BASE_TOO, _LIMIT = "#2a6fb0", "#7fb2e5", "#8a949e", "#c77d1e", "#b23a48"
_SIZE = (9.0, 4.2)
_DPI = 110
_SHADES = ("#f4f6f8", "#e6ebf0")
_SHARES = (("min", 0.0), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0))
_MS = 1000.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One picture: of which part, whether its raw figures suffice, and how it is drawn on a figure."""

    part: str
    file: str
    title: str
    needs: Callable[[Json], bool]
    paint: Callable[[Any, Json], None]

    def can_draw(self, name: str, part: Json) -> bool:
        """Whether this is a plot of the part and has all that it needs."""
        return name == self.part and bool(part.get("raw")) and self.needs(part["raw"])


def draw_all(parts: Mapping[str, Json], folder: pathlib.Path) -> list[pathlib.Path]:
    """Draw what can be drawn into ``folder``; returns the files."""
    import matplotlib as mpl  # noqa: PLC0415 - a second of imports that only the end of a measurement needs

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
    from matplotlib import pyplot  # noqa: PLC0415 - as above

    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for plot in PLOTS:
        if plot.part not in parts or not plot.can_draw(plot.part, parts[plot.part]):
            continue
        figure = pyplot.figure(figsize=_SIZE, layout="constrained")
        plot.paint(figure, parts[plot.part]["raw"])
        figure.suptitle(plot.title, fontsize=11)
        drawn.append(folder / plot.file)
        figure.savefig(drawn[-1], dpi=_DPI, metadata={"Software": None})
        pyplot.close(figure)
    return drawn


# --- helpers ---------------------------------------------------------------------------------------------------------


def cumulative(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Ordered values and the share of them, 0 to 1, that is no greater."""
    ordered = sorted(values)
    return ordered, [(place + 1) / len(ordered) for place in range(len(ordered))]


def from_summary(found: Json, count: int) -> tuple[list[float], list[float]]:
    """A cumulative curve of ``count`` things of which only some percentiles are known."""
    return [found[key] for key, _ in _SHARES], [max(1.0, share * count) for _, share in _SHARES]


def _limit(axes: Axes, value: float, words: str, *, vertical: bool = True, high: bool = False) -> None:
    """A target as a dashed line with its words beside it, at the bottom or the top of a vertical one."""
    style = {"color": _LIMIT, "linestyle": "--", "linewidth": 1}
    text = {"textcoords": "offset points", "color": _LIMIT, "fontsize": 8}
    if vertical:
        axes.axvline(value, **style)
        place = (value, 0.96 if high else 0.03)
        axes.annotate(words, place, xycoords=("data", "axes fraction"), xytext=(4, 0), **text)
    else:
        axes.axhline(value, **style)
        axes.annotate(words, (0.005, value), xycoords=("axes fraction", "data"), xytext=(0, 3), **text)


def _grid(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.margins(x=0.01)


# --- the plots -------------------------------------------------------------------------------------------------------


def _paint_burst(figure: Any, raw: Json) -> None:  # noqa: ANN401 - matplotlib has no strict types
    axes = figure.subplots()
    runs = raw["runs"]
    kinds = (
        ("rawLoop", "toJob", _BASE, "raw loop: start → Job created"),
        ("operator", "toJob", _OURS, "operator: AgentRun sent → Job created"),
        ("operator", "toStart", _OURS_TOO, "operator: AgentRun sent → Job started"),
    )
    for way, key, colour, words in kinds:
        for number, one in enumerate(raw[way]):
            label = words if number == 0 else None
            axes.plot(*from_summary(one[key], runs), color=colour, marker="o", markersize=3, label=label)
    axes.set_xlim(left=0)
    axes.set_ylim(0, runs * 1.02)
    axes.set_xlabel("seconds (marked are the least, p50, p90, p99 and the greatest; a line for each repetition)")
    axes.set_ylabel("Jobs")
    axes.legend(loc="lower right")
    _grid(axes)


def _paint_one(figure: Any, raw: Json) -> None:  # noqa: ANN401 - as above
    axes = figure.subplots()
    colours = dict(zip(raw["shown"], (_OURS, _OURS_TOO, _BASE, _BASE_TOO), strict=True))
    top = 0.0
    for name, colour in colours.items():
        seconds = raw["all"][name]
        values, shares = cumulative([_MS * value for value in seconds])
        top = max(top, values[int(0.98 * (len(values) - 1))])
        axes.step(values, shares, where="post", color=colour, label=name)
    _limit(axes, 15, "p50 ≤ 15 ms")
    _limit(axes, 50, "p99 ≤ 50 ms")
    axes.set_xlim(0, max(60.0, 1.2 * top))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("milliseconds from the moment that the AgentRun is there; by hand, from the first request")
    axes.set_ylabel("share of runs")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 0.1))
    _grid(axes)


def _paint_growth(figure: Any, raw: Json) -> None:  # noqa: ANN401 - as above
    left, right = figure.subplots(1, 2)
    sizes = sorted({one["runs"] for one in raw["samples"]})

    def median(key: str, runs: int) -> float:
        values = sorted(one[key] for one in raw["samples"] if one["runs"] == runs)
        return float(values[len(values) // 2])

    left.plot(sizes, [median("ms", runs) for runs in sizes], color=_OURS, marker="o", label="operator, Job started")
    left.plot(sizes, [_MS * median("raw", runs) / runs for runs in sizes], color=_BASE, marker="o", label="raw loop")
    right.plot(sizes, [median("kb", runs) for runs in sizes], color=_OURS, marker="o", label="operator's memory")
    for axes, what in ((left, "milliseconds for each run"), (right, "KB for each run")):
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{runs:,}" for runs in sizes])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("runs at once")
        axes.set_ylabel(what)
        axes.legend(loc="best")
        axes.grid(alpha=0.25)


def _paint_live(figure: Any, raw: Json) -> None:  # noqa: ANN401 - as above
    above, below = figure.subplots(2, 1, sharex=True)
    samples = raw["samples"]
    times = [sample["at"] for sample in samples]
    step = max(1, round(2 / max(0.1, times[1] - times[0])))  # processor time over two seconds
    pairs = list(zip(samples, samples[step:], strict=False))
    busy = [100 * (after["cpu"] - before["cpu"]) / (after["at"] - before["at"]) for before, after in pairs]
    above.plot([after["at"] for _, after in pairs], busy, color=_OURS, linewidth=1)
    below.plot(times, [sample["rss"] * 1024 / 1e6 for sample in samples], color=_OURS)
    for number, one in enumerate(raw["situations"]):
        words = f"{one['name']}\n({one['runs']} runs)" if one["runs"] else one["name"]
        for axes in (above, below):
            axes.axvspan(one["began"], one["ended"], color=_SHADES[number % 2], zorder=0)
        middle = (one["began"] + one["ended"]) / 2
        below.annotate(
            words, (middle, 0.04), xycoords=("data", "axes fraction"), ha="center", fontsize=8, color="#40484f"
        )
    _limit(above, 20, "≤ 20 %", vertical=False)
    _limit(below, 180, "≤ 180 MB", vertical=False)
    above.set_ylim(0, max(40.0, 1.1 * max(busy)))
    below.set_ylim(0, max(200.0, 1.1 * max(sample["rss"] for sample in samples) * 1024 / 1e6))
    above.set_ylabel("CPU, % of one core")
    below.set_ylabel("RSS, MB")
    below.set_xlabel("seconds; shaded is what the figures are of, between them runs are started or things settle")
    for axes in (above, below):
        _grid(axes)


def _paint_tail(figure: Any, raw: Json) -> None:  # noqa: ANN401 - as above
    axes = figure.subplots()
    words = {
        "operator": f"in the operator, {raw['runs']} logs",
        "Tailer alone": f"Tailer alone, {raw['runs']} logs",
        "Tailer alone, few logs": "Tailer alone, few logs",
    }
    top = 0.0
    for (name, late), colour in zip(raw["delays"].items(), (_OURS, _OURS_TOO, _BASE), strict=False):
        values = late["distribution"]
        shares = [(place + 1) / len(values) for place in range(len(values))]
        top = max(top, values[-1])
        axes.step(values, shares, where="post", color=colour, label=words.get(name, name))
    _limit(axes, 300, "p50 ≤ 300 ms")
    _limit(axes, 1100, "p99 ≤ 1.1 s")
    axes.set_xlim(0, max(1250.0, 1.05 * top))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("milliseconds from the writing of a line until it is counted")
    axes.set_ylabel("share of lines")
    axes.legend(loc="center", bbox_to_anchor=(0.55, 0.5))
    _grid(axes)


def _paint_parse(figure: Any, raw: Json) -> None:  # noqa: ANN401 - as above
    axes = figure.subplots()
    names = list(raw["megabytesPerSecond"])
    for place, name in enumerate(names):
        values = sorted(raw["megabytesPerSecond"][name])
        middle = values[len(values) // 2]
        axes.barh(place, middle, color=_OURS if "Progress" in name else _BASE, height=0.6)
        axes.plot([values[0], values[-1]], [place, place], color="#1f2933", linewidth=1.5)
        axes.annotate(f"{middle:.0f}", (values[-1], place), xytext=(6, 0), textcoords="offset points", va="center")
    _limit(axes, 400, "≥ 400 MB/s", high=True)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * max(max(values) for values in raw["megabytesPerSecond"].values()))
    axes.set_xlabel("MB for each second of one core; a bar is the median, the line from the least to the greatest")
    axes.grid(axis="x", alpha=0.25)


def _paint_soak(figure: Any, raw: Json) -> None:  # noqa: ANN401 - as above
    above, middle, below = figure.subplots(3, 1, sharex=True)
    samples = raw["samples"]
    minutes = [sample["at"] / 60 for sample in samples]
    above.plot(minutes, [sample["rss"] * 1024 / 1e6 for sample in samples], color=_OURS)
    above.set_ylabel("RSS, MB")
    above.set_ylim(0, 1.2 * above.get_ylim()[1])
    for key, words, colour in (
        ("files", "file descriptors", _OURS),
        ("connections", "connections", _BASE_TOO),
        ("threads", "threads", _BASE),
        ("watches", "watches", "#5b8c5a"),
    ):
        middle.plot(minutes, [sample[key] for sample in samples], color=colour, label=words)
    middle.set_ylabel("open")
    below.plot(minutes, [sample["agentruns"] for sample in samples], color=_OURS, label="AgentRuns")
    below.plot(minutes, [sample["pods"] for sample in samples], color=_BASE, label="pods")
    below.set_ylabel("there now")
    below.set_xlabel("minutes; nothing is created any more after the dashed line")
    last = max((sample["at"] for sample in samples if not sample.get("after")), default=0) / 60
    for axes in (above, middle, below):
        axes.axvline(last, color=_LIMIT, linestyle="--", linewidth=1)
        axes.set_ylim(bottom=0)
        _grid(axes)
    for axes in (middle, below):
        axes.legend(loc="upper left", ncols=4, fontsize=8)
        axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend


def _paint_home(figure: Any, raw: Json) -> None:  # noqa: ANN401 - as above
    axes = figure.subplots()
    for name, way in raw["ways"].items():
        colour, words = (_OURS, "operator") if name == "operator" else (_BASE, "the same Jobs by hand")
        times, live = zip(*way["live"], strict=True)
        axes.step(times, live, where="post", color=colour, label=f"{words}: all over after {way['allSeconds']:.1f} s")
    agents = raw["agents"]
    _limit(axes, agents, f"one for each of {agents} agents", vertical=False)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.12 * agents)
    axes.set_xlabel("seconds from the first request")
    axes.set_ylabel("live Jobs")
    figure.legend(loc="outside lower center", ncols=2)
    _grid(axes)


PLOTS = (
    Plot(
        part="burst",
        file="burst.png",
        title="Jobs over time, all AgentRuns at once",
        needs=lambda raw: bool(raw.get("rawLoop") and raw.get("operator")),
        paint=_paint_burst,
    ),
    Plot(
        part="one",
        file="one.png",
        title="One warm run: how long until its Job is there",
        needs=lambda raw: bool(raw.get("all")),
        paint=_paint_one,
    ),
    Plot(
        part="live",
        file="live.png",
        title="The operator while runs live",
        needs=lambda raw: len(raw.get("samples", ())) > 10 and bool(raw.get("situations")),  # noqa: PLR2004
        paint=_paint_live,
    ),
    Plot(
        part="live",
        file="tail.png",
        title="How late a line is counted while logs grow",
        needs=lambda raw: bool(raw.get("delays")),
        paint=_paint_tail,
    ),
    Plot(
        part="parse",
        file="parse.png",
        title="Reading what agents print",
        needs=lambda raw: bool(raw.get("megabytesPerSecond")),
        paint=_paint_parse,
    ),
    Plot(
        part="growth",
        file="growth.png",
        title="Time and memory for each run",
        needs=lambda raw: bool(raw.get("samples")),
        paint=_paint_growth,
    ),
    Plot(
        part="soak",
        file="soak.png",
        title="Runs coming and going",
        needs=lambda raw: bool(raw.get("samples")),
        paint=_paint_soak,
    ),
    Plot(
        part="home",
        file="home.png",
        title="Live runs over time: 12 companies with 12 agents, 5 runs for each",
        needs=lambda raw: bool(raw.get("ways")),
        paint=_paint_home,
    ),
)
