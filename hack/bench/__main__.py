"""``python -m hack.bench [PART ...]``: measure, and write what came out to ``build/bench``.

Without a name, all parts that ten minutes are enough for are measured, with fewer runs (``Part.brief``); a part that is
named is measured in full. A part that is measured alone takes its place in the report of the parts before it; each part
says when, where and by which command it was measured. A part that fails leaves its old figures away, and the exit code
says so.
"""

import argparse
import collections
import dataclasses
import importlib
import json
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import aiohttp

from agentrun_operator import errors
from hack import cluster, playground
from hack.bench import lab, machine, rows, watch

_FOLDER = playground.ROOT / "build" / "bench"
_CLUSTER = "bench-kwok"
_FAILURES = (
    watch.BenchError,
    playground.PlaygroundError,
    cluster.ClusterError,
    errors.AgentRunError,
    aiohttp.ClientError,
    TimeoutError,
    subprocess.SubprocessError,
    OSError,
    ImportError,
    ValueError,
)

Measure = Callable[[lab.Lab | None, Mapping[str, Any]], dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part: where its function is, and what cluster it needs ("" = none, "kwok", "audit").

    ``brief``: its options when no part was named; None, and it is left out then.
    """

    module: str
    function: str = "measure"
    needs: str = "kwok"
    brief: Mapping[str, Any] | None = None


# In the order of the report; those that need the same cluster share it.
PARTS = {
    "burst": Part(module="burst", brief={"runs": 144, "repeat": 3}),
    "one": Part(module="latency", function="measure_one", brief={"runs": 50}),
    "cold": Part(module="latency", function="measure_cold", brief={"repeat": 3}),
    "live": Part(module="live"),
    "parse": Part(module="parse", needs="", brief={"repeat": 3}),
    "writes": Part(module="requests", needs="audit", brief={"runs": 10}),
    "restart": Part(module="restart", brief={"runs": 144}),
    "growth": Part(module="growth"),
    "soak": Part(module="soak"),
    "home": Part(module="home", brief={}),
}


def main() -> int:
    """Returns the exit code: 0 only if every part that was asked for was measured."""
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that clusters and operators are taken down
    wanted = {name: PARTS[name] for name in PARTS if name in options["parts"]}
    report = Report(options["folder"])
    for needs, names in _by_cluster(wanted).items():
        for name, measured in _measure_on(needs, names, options):
            report.add(name, measured)
    report.render()
    failed = [name for name in wanted if "failed" in report.parts[name]]
    if failed:
        _say(f"not measured: {', '.join(failed)}")
    return 1 if failed else 0


def parse_arguments() -> dict[str, Any]:
    """What was asked for, by name; None where nothing was."""
    parser = argparse.ArgumentParser(prog="hack.bench", description=__doc__.splitlines()[0])
    usual = [name for name, part in PARTS.items() if part.brief is not None]
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}; default: {' '.join(usual)}, in brief"
    )
    parser.add_argument("--full", action="store_true", help="all parts in full, which takes hours")
    parser.add_argument("--runs", type=int, help="how many runs, for parts that have one number of them")
    parser.add_argument("--repeat", type=int, help="how often, for parts that repeat themselves")
    parser.add_argument("--sizes", type=_sizes, help="numbers of runs for the part growth, such as 144,720,1440,5000")
    parser.add_argument("--seconds", type=float, help="how long, for parts that last: soak, live, writes")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="any other option of a part")
    parser.add_argument("--folder", type=pathlib.Path, default=_FOLDER, help="where the report is, default build/bench")
    given = vars(parser.parse_args())
    unknown = [name for name in given["parts"] if name not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for pair in given.pop("set"):
        name, _, value = pair.partition("=")
        try:
            given[name] = json.loads(value)
        except ValueError:
            parser.error(f"--set {pair}: give a number, such as rounds=3")
    given["brief"] = not given["parts"] and not given["full"]
    given["parts"] = given["parts"] or (list(PARTS) if given.pop("full") else usual)
    return given


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def _by_cluster(parts: Mapping[str, Part]) -> dict[str, list[str]]:
    """Names of parts by what they need; without a cluster first, since nothing else is at work then."""
    found: dict[str, list[str]] = collections.defaultdict(list)
    for name, part in sorted(parts.items(), key=lambda item: ("", "kwok", "audit").index(item[1].needs)):
        found[part.needs].append(name)
    return found


def _measure_on(needs: str, names: Iterable[str], options: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Measure parts that share a cluster. If there is none, each of them has failed."""
    left = list(names)
    try:
        if not needs:
            while left:
                yield left[0], _measure(left.pop(0), None, options)
            return
        with lab.ready(f"{_CLUSTER}-audit" if needs == "audit" else _CLUSTER, audit=needs == "audit") as place:
            while left:
                yield left[0], _measure(left.pop(0), place, options)
    except _FAILURES as e:
        for name in left:
            yield name, _failure(e)


def _measure(name: str, place: lab.Lab | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a part has found, with its circumstances, or why it has failed."""
    part = PARTS[name]
    if options["brief"]:
        options = {**(part.brief or {}), **{key: value for key, value in options.items() if value is not None}}
    _say(f"{name} begins (load {machine.load()[0]})")
    began, load = time.monotonic(), machine.load()
    try:
        function: Measure = getattr(importlib.import_module(f"hack.bench.{part.module}"), part.function)
        measured = function(place, options)
    except _FAILURES as e:
        _say(f"{name} failed: {e}")
        measured = _failure(e)
    seconds = round(time.monotonic() - began, 1)
    _say(f"{name} took {seconds:.0f} s")
    return {**measured, "seconds": seconds, "loadavg": {"begin": load, "end": machine.load()}}


def _failure(error: BaseException) -> dict[str, Any]:
    return {"failed": str(error) or type(error).__name__, "rows": [], "raw": {}}


class Report:
    """The report on disk: read at the beginning, written after each part, so that nothing measured is lost."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._file = folder / "report.json"
        self._machine = machine.describe()
        try:
            self.parts: dict[str, Any] = json.loads(self._file.read_text())["parts"]
        except (OSError, ValueError, KeyError):
            self.parts = {}

    @property
    def content(self) -> dict[str, Any]:
        """All of it, in the order of ``PARTS``."""
        parts = {name: self.parts[name] for name in PARTS if name in self.parts}
        return {"machine": self._machine, "parts": parts}

    def add(self, name: str, measured: Mapping[str, Any]) -> None:
        """Put a part in place of what was there of it."""
        self.parts[name] = {"part": name, **measured, "machine": self._machine}
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")
        for row in measured["rows"]:
            print(_line(name, row), flush=True)

    def render(self) -> None:
        """Write the table and the plots beside the figures."""
        report = importlib.import_module("hack.bench.report")
        text = self._folder / "report.md"
        text.write_text(report.render_markdown(self.content))
        drawn = report.draw(self.content, self._folder)
        _say(f"written: {', '.join(str(file) for file in (self._file, text, *drawn))}")


def _line(name: str, row: rows.Json) -> str:
    verdict = {True: "met", False: "MISSED", None: "-"}[row["met"]]
    ratio = "" if row["ratio"] is None else f", ratio {row['ratio']:.3g} to {row['baseline']:.4g}"
    return f"{name:8} {verdict:6} {row['what']}: {row['ours']:.4g} {row['unit']}{ratio} {row['target']}".rstrip()


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
