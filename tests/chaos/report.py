"""The report: tables for people, the same as data, and a picture of phases and faults over time."""

import bisect
import collections
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.chaos import catalogue, history, nodefaults, objects
from tests.chaos.outcome import Hit, Outcome

_POINTS = 600
_COLOURS = {"running": "#5b9bd5", "waiting": "#d5dde5"}
_MANY = 500


def write(outcome: Outcome, folder: pathlib.Path) -> None:
    """Write report.md, report.json and timeline.svg to ``folder``."""
    data = summary(outcome)
    (folder / "report.json").write_text(json.dumps(data, indent=1) + "\n")
    (folder / "report.md").write_text(render(outcome))
    draw(outcome, folder / "timeline.svg")


def summary(outcome: Outcome) -> dict[str, object]:
    """Everything in numbers."""
    return {
        "seed": outcome.seed,
        "held": outcome.held,
        "seconds": round(outcome.seconds, 1),
        "faults": dict(_by_kind(outcome)),
        "faults_without_effect": dict(outcome.missed),
        "checks": dict(outcome.checks),
        "violations": [f"{broken.invariant}: {broken.sentence}" for broken in outcome.violations],
        "complaints": outcome.complaints,
        "steps": dict(outcome.steps),
        "operators_that_ended_by_themselves": dict(outcome.exits),
        "runs": dict(outcome.ends.most_common()),
        "operators": outcome.operators,
        "events": len(outcome.events),
        "gaps_filled": outcome.gaps,
        "second_pods_made_by_kubernetes": outcome.twins,
        "left_out": outcome.left_out,
    }


def render(outcome: Outcome) -> str:
    """Render the report for people."""
    broken = collections.Counter(violation.invariant for violation in outcome.violations)
    kinds, ends = _by_kind(outcome), dict(outcome.ends.most_common())
    lines = [
        f"# Chaos: {outcome.word}",
        "",
        f"**{len(outcome.hits)} faults** in {outcome.seconds:.0f} s, seed {outcome.seed}, {outcome.scenes} namespaces, "
        f"while {outcome.runs} AgentRuns came and went under {outcome.operators} operators. An observer that watches "
        f"the API server from outside has recorded {len(outcome.events)} events and checked each of them.",
        "",
        "A fault is counted when it took effect: the operator was killed at that step, the request was refused, the "
        "pod was deleted. What each of them is, is said in tests/chaos/catalogue.py and nodefaults.py; the invariants, "
        "in tests/chaos/invariants.py.",
        "",
        f"`make chaos SEED={outcome.seed} FAULTS={outcome.wanted}` plays the same schedule again. It repeats what is "
        "done and in which order, not the interleaving of processes. The whole history is in `*/history.ndjson` beside "
        "this file, what the operators said in `*/operator.log`.",
        "",
        "![runs and faults over time](timeline.svg)",
        "",
        "## What must hold",
        "",
        *_table(("invariant", "checks", "broken"), ((n, c, broken[n]) for n, c in outcome.checks.items())),
        *_remarks(outcome),
        "## What was done",
        "",
        *_table(("fault", "took effect"), [*kinds.items(), ("**all**", sum(kinds.values()))]),
        "## How the runs ended",
        "",
        *_table(("phase and error code", "runs"), ends.items()),
        "## Which steps the operators took",
        "",
        *_table(("step of the runner", "reached"), sorted(outcome.steps.items())),
    ]
    if outcome.exits:
        lines += ["An operator may end by itself when a watch is spoilt: Kubernetes starts it again.", ""]
        lines += _table(("why an operator ended by itself", "times"), outcome.exits.most_common())
    if outcome.missed:
        lines += _table(("fault that found nothing to hit", "times"), sorted(outcome.missed.items()))
    for title, sentences in (
        ("Broken", [f"{v.at:.1f} s: {v.invariant}: {v.sentence}" for v in outcome.violations]),
        ("Complaints", outcome.complaints),
        ("Left out", outcome.left_out),
    ):
        if sentences:
            lines += [f"## {title}", "", *(f"- {sentence}" for sentence in sentences), ""]
    return "\n".join(lines)


def _remarks(outcome: Outcome) -> list[str]:
    """What a careful reader would ask."""
    remarks = [
        f"The API server lost its watch cache {outcome.gaps} times. What happened meanwhile was read from etcd's "
        "history, so nothing is missing."
    ]
    if outcome.twins:
        remarks.append(
            f"{outcome.twins} times the Job controller made a second pod, because the API server died before it could "
            "tell it that the first was made. Kubernetes does not exclude that, so it is not counted as broken; that "
            "no agent was started in such a pod is the invariant *no agent twice*."
        )
    return [*(f"- {remark}" for remark in remarks), ""]


def _table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> list[str]:
    def line(cells: Iterable[object]) -> str:
        return f"| {' | '.join(map(str, cells))} |"

    return [line(head), line("---" for _ in head), *map(line, rows), ""]


def _kinds() -> tuple[catalogue.Kind, ...]:
    return (*catalogue.everything(), *nodefaults.everything())


def _by_kind(outcome: Outcome) -> dict[str, int]:
    counted = collections.Counter(hit.kind for hit in outcome.hits)
    return {kind.name: counted[kind.name] for kind in _kinds() if counted[kind.name]}


# --- the picture -----------------------------------------------------------------------------------------------------


def phases(events: Iterable[history.Event]) -> tuple[list[float], dict[str, list[int]]]:
    """How many runs waited and ran, and how many had ended so far, after each change of one, and when (seconds)."""
    alive: dict[str, str] = {}
    ended: set[str] = set()
    times: list[float] = []
    counts: dict[str, list[int]] = {name: [] for name in (*_COLOURS, "ended")}
    for event in sorted((e for e in events if e.kind == "agentruns"), key=lambda e: e.at):
        phase = objects.phase(event.object)
        if event.type == "DELETED" or phase in objects.FINAL:
            alive.pop(event.uid, None)
            ended.add(event.uid)
        else:
            alive[event.uid] = "running" if phase == "Running" else "waiting"
        times.append(event.at)
        there = collections.Counter(alive.values())
        for name in _COLOURS:
            counts[name].append(there[name])
        counts["ended"].append(len(ended))
    return times, counts


def _thinned(times: Sequence[float], line: Sequence[int], moments: Sequence[float]) -> list[int]:
    """The values at a few moments."""
    return [line[place - 1] if (place := bisect.bisect_right(times, moment)) else 0 for moment in moments]


def draw(outcome: Outcome, file: pathlib.Path) -> None:
    """Draw runs by state over time, and below them every fault in a line of its kind."""
    import matplotlib as mpl  # noqa: PLC0415 - a second of imports that only the end of the suite needs

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "chaos"
    from matplotlib import pyplot  # noqa: PLC0415 - as above

    groups = _groups(outcome)
    figure, (above, below) = pyplot.subplots(
        2,
        1,
        sharex=True,
        figsize=(13, 4 + 0.24 * len(groups)),
        height_ratios=[3, max(2, 0.24 * len(groups))],
        layout="constrained",
    )
    _draw_runs(outcome, above)
    _draw_faults(groups, below)
    for violation in outcome.violations:
        for axes in (above, below):
            axes.axvline(violation.at, color="red", linewidth=1)
    above.set_title(
        f"seed {outcome.seed}: {len(outcome.hits)} faults, {outcome.runs} runs, {len(outcome.violations)} invariants "
        f"broken{' (red lines)' if outcome.violations else ''}"
    )
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)


def _draw_runs(outcome: Outcome, axes: Any) -> None:  # noqa: ANN401 - matplotlib has no types
    times, counts = phases(outcome.events)
    end = max([outcome.seconds, *times[-1:]])
    moments = [end * step / _POINTS for step in range(_POINTS + 1)]
    lines = [_thinned(times, counts[name], moments) for name in _COLOURS]
    labels = [f"{name} (left)" for name in _COLOURS]
    axes.stackplot(moments, lines, labels=labels, colors=list(_COLOURS.values()), step="post")
    axes.set_ylabel("runs alive")
    axes.margins(x=0.01)
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # room for the legend
    sums = axes.twinx()
    sums.plot(moments, _thinned(times, counts["ended"], moments), color="#3d7a32", label="runs ended so far (right)")
    hits = [hit.at for hit in outcome.hits]
    sums.plot(moments, [bisect.bisect_right(hits, m) for m in moments], color="#b23a48", label="faults so far (right)")
    sums.set_ylim(bottom=0)
    handles = [one + other for one, other in zip(*(a.get_legend_handles_labels() for a in (axes, sums)), strict=True)]
    sums.legend(*handles, loc="upper left", ncols=2, fontsize=8)


def _draw_faults(groups: Mapping[str, Sequence[Hit]], axes: Any) -> None:  # noqa: ANN401 - as above
    lanes = {kind.name: kind.lane for kind in _kinds()}
    colours = {catalogue.OPERATOR: "#b23a48", catalogue.REQUESTS: "#c77d1e", catalogue.CLUSTER: "#335c67"}
    many = sum(map(len, groups.values())) > _MANY
    for place, hits in enumerate(groups.values()):
        at = [hit.at for hit in hits]
        colour = colours[lanes[hits[0].kind]]
        axes.plot(at, [place] * len(at), "|", color=colour, markersize=9, markeredgewidth=0.7 if many else 1.5)
    axes.set_yticks(range(len(groups)), [f"{group} ({len(hits)})" for group, hits in groups.items()], fontsize=8)
    for label, hits in zip(axes.get_yticklabels(), groups.values(), strict=True):
        label.set_color(colours[lanes[hits[0].kind]])
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel(
        "seconds; a tick is a fault that took effect: operator (red), its requests (orange), cluster (blue)"
    )


def _groups(outcome: Outcome) -> dict[str, list[Hit]]:
    """The faults by a short name, in the order of the catalogue: kills by what they wait for, not by each place."""
    names = {kind.name: _short(kind.name) for kind in _kinds()}
    found: dict[str, list[Hit]] = {name: [] for name in names.values()}
    for hit in outcome.hits:
        found[names[hit.kind]].append(hit)
    return {name: hits for name, hits in found.items() if hits}


def _short(name: str) -> str:
    if name.endswith("real pods"):
        return "SIGKILL at a step, real pods"
    for beginning in ("SIGKILL at", "SIGTERM at", "SIGKILL before", "SIGKILL after"):
        if name.startswith(beginning):
            return f"{beginning} {'a request' if 'at' not in beginning.split() else 'a step'}"
    return name
