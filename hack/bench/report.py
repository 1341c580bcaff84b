"""The report for people: a Markdown table for each part, with where and how it was measured, and plots beside it.

Pure but for ``draw``, which writes files. Whatever a part does not bring is left out; a part that failed says so.
"""

import json
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hack.bench import plots

Json = Mapping[str, Any]

# Title, and in a sentence or two what is compared with what.
_PARTS: dict[str, tuple[str, str]] = {
    "burst": (
        "All at once",
        "AgentRuns are created as fast as the API server takes them. The baseline is a raw loop of the same three "
        "writes (Secret, Job, status), 64 at a time, on the same cluster; the two take turns.",
    ),
    "one": (
        "One run",
        "Runs one after the other, with the operator warm. *Created* is when the answer to the AgentRun's request is "
        "there, *sent* when the request is on its way. The floor is a plain watch that writes Secret and Job as soon "
        "as it sees the AgentRun; by hand, nobody waits for a watch.",
    ),
    "cold": (
        "The first run after a start",
        "An idle API server shows a new object late, to everybody. What a plain watch client waits for it is taken "
        "off.",
    ),
    "live": (
        "Live runs",
        "Runs on fake nodes whose logs grow by one line of a recorded run each second. The same operator is measured "
        "with no run, with a tenth of them, with all of them silent, and with all of them writing. The delay of a line "
        "is taken inside a second operator that reads the same logs: the status gathers progress for seconds on "
        "purpose, so it is no place to measure that.",
    ),
    "parse": (
        "Reading what agents print",
        "The recorded runs of the tests, again and again, through `Progress.feed` in the chunks that the tail reads, "
        "on one core. The decoders beside it get whole lines and do the JSON only.",
    ),
    "writes": ("API requests of one run", "Counted in the API server's audit log, for whole lives of runs."),
    "restart": (
        "Killed and started again",
        "`kill -9` while runs are live. A run is followed again when its status has counted a line that was written "
        "while no operator was there.",
    ),
    "growth": ("More and more runs", "Time and memory for each run, at growing numbers of runs at once."),
    "soak": (
        "Coming and going",
        "Runs start and end at a steady rate and delete themselves. A straight line through the second half of the "
        "samples must not rise: not by twice their noise, and not by 1 %.",
    ),
    "home": (
        "Twelve companies with twelve agents",
        "Each agent has a queue of five runs of two seconds, all created at once. The baseline is a loop for each "
        "agent that creates its Jobs one after the other.",
    ),
}
_HEAD = ("what", "ours", "baseline", "ratio", "unit", "target", "", "note")
_ALIGN = ("---", "---:", "---:", "---:", "---", "---", "---", "---")


def render_markdown(report: Json) -> str:
    """The whole report; images are named as ``draw`` names them, in the same folder."""
    parts = [(name, part) for name, part in report["parts"].items()]
    same = len({json.dumps(part.get("machine"), sort_keys=True) for _, part in parts}) <= 1
    about = parts[0][1].get("machine", report["machine"]) if same and parts else report["machine"]
    lines = [
        "# Benchmarks",
        "",
        *_circumstances(about, command=same),
        "",
        "A ratio is ours by a baseline that was measured in the same run on the same control plane. Only ratios mean "
        "something on another machine.",
        "",
        *_verdicts(parts),
    ]
    for name, part in parts:
        lines += _render_part(name, part, dated=not same)
    return "\n".join(lines).rstrip() + "\n"


def draw(report: Json, folder: pathlib.Path) -> list[pathlib.Path]:
    """Write the plots of all parts that have what is needed for them, as PNG files; returns them."""
    return plots.draw_all(report["parts"], folder)


def _circumstances(about: Json, *, command: bool) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in about.get("versions", {}).items())
    machine = f"{about['cores']} cores ({about['processor']}), {about['memory']}, Linux {about['kernel']}; {versions}."
    return [_when(about), "", machine] if command else [machine]


def _when(about: Json) -> str:
    commit = str(about.get("commit", ""))[:12] or "unknown"
    changed = about.get("uncommittedFiles", 0)
    beside = f" with {changed} uncommitted file{'' if changed == 1 else 's'}" if changed else ""
    return f"Measured {about['date']} at commit {commit}{beside} by `{shlex.join(about['command'])}`."


def _verdicts(parts: Sequence[tuple[str, Json]]) -> list[str]:
    """How many targets are met, and which are not."""
    judged = [(name, row) for name, part in parts for row in part["rows"] if row["met"] is not None]
    missed = [(name, row) for name, row in judged if not row["met"]]
    failed = [name for name, part in parts if "failed" in part]
    lines = [f"**{len(judged) - len(missed)} of {len(judged)} targets are met.**"] if judged else []
    if missed:
        lines += ["Missed:", ""]
        lines += [
            f"- {name}: {row['what']}: {_figure(row['ours'], row['unit'])}, {row['target']}" for name, row in missed
        ]
    if failed:
        lines += ["", f"Not measured: {', '.join(failed)}."]
    return lines


def _render_part(name: str, part: Json, *, dated: bool) -> list[str]:
    title, words = _PARTS.get(name, (name, ""))
    lines = ["", f"## {title}", ""]
    if words:
        lines += [words, ""]
    if dated and "machine" in part:
        lines += [_when(part["machine"]), ""]
    if "failed" in part:
        lines += [f"Not measured: {part['failed']}", ""]
    if part["rows"]:
        lines += _table(part["rows"])
    lines += [f"![{plot.title}]({plot.file})\n" for plot in plots.PLOTS if plot.can_draw(name, part)]
    if "seconds" in part:
        load = part.get("loadavg", {})
        from_to = f"; load average {load['begin'][0]:g} before, {load['end'][0]:g} after" if load else ""
        lines.append(f"`python -m hack.bench {name}` took {part['seconds']:.0f} s{from_to}.")
    return lines


def _table(found: Iterable[Json]) -> list[str]:
    rows = [
        (
            row["what"],
            _number(row["ours"]),
            _number(row["baseline"]),
            _ratio(row["ratio"]),
            row["unit"],
            row["target"],
            {True: "met", False: "**missed**", None: ""}[row["met"]],
            row["note"],
        )
        for row in found
    ]
    return [f"| {' | '.join(_cell(cell) for cell in cells)} |" for cells in (_HEAD, _ALIGN, *rows)] + [""]


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").split())


def _figure(value: float | None, unit: str) -> str:
    return f"{_number(value)} {unit}".rstrip()


def _ratio(value: float | None) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    return f"{value:.2f}" if value < 10 else _number(value)  # noqa: PLR2004 - two digits behind the point are plenty


def _number(value: float | None) -> str:
    """Three significant digits, and whole numbers as they are; "" for none."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return ""
    if value == int(value) or abs(value) >= 100:  # noqa: PLR2004 - three digits
        return f"{value:,.0f}"
    return f"{value:.3g}"
