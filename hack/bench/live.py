"""What live runs cost the operator: processor and memory, and how late it counts what their agents write.

Fake nodes run no agents, so ``writer`` appends to every log what recorded runs have printed, one line a second. The
operator goes through four situations without being restarted: no run; a tenth of the runs, writing; all of them,
silent; all of them, writing. So each figure has its baseline in the same process on the same control plane, and what a
further run costs is the difference of two situations of one process. The runs never end: none of the lines is a result.

Then two more processes read the same logs while they are written (``tailing``): an operator in which the counting is
looked at, and a bare ``Tailer``, whose baseline is a ``Tailer`` that has only the few logs that are looked at.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentrun_operator import settings
from hack import playground
from hack.bench import lab, load, rows, sampling, tailing, transcripts, watch, writer

PART = "live"
DEFAULT_RUNS = 1440
DEFAULT_SECONDS = 60

IDLE = "no run"
FEW = "a tenth, writing"
SILENT = "all, silent"
WRITING = "all, writing"

OPERATOR = "operator"
ALONE = "Tailer alone"
BASELINE = "Tailer alone, few logs"

_SETTLE_SECONDS = 10.0
_SPREAD_SECONDS = 30.0  # all runs have something to tell at first; after that, their status writes are spread
_CATCH_UP_SECONDS = 20.0  # a new operator lists all runs and reads all logs from their beginning
_LAST_SECONDS = 3.0  # how long the looking goes on after the last line that is judged
_ALL_LIVE_SECONDS = 300.0
_LEAST_SECONDS = 5.0
_QUIET_LOOK_SECONDS, _MOST_QUIET_LOOKS = 5, 24
_MOST_QUIET_SECONDS = 120  # between two writes of a run of which there is nothing to tell
_LOOK_SECONDS = 0.5
_SAMPLE_EVERY_SECONDS = 0.5
_SAMPLE = 100
_QUANTILES = 200
_KIB, _MEGABYTE = 1024, 1_000_000
_MOST_CPU, _MOST_RSS_MB, _MOST_KB_PER_RUN = 20, 180, 60
_MOST_P50_MS, _MOST_P99_MS = 300, 1100

Json = dict[str, Any]


def measure(there: lab.Lab, options: Mapping[str, Any]) -> Json:
    """The part of the report. Options: ``runs``, ``seconds``: how long the busiest situation is watched."""
    runs = rows.option(options, "runs", DEFAULT_RUNS)
    seconds = rows.option(options, "seconds", DEFAULT_SECONDS)
    with there.namespace(PART) as place:
        scene = _Scene(place, runs=runs)
        operator = place.start_operator()
        cost = _measure_cost(scene, operator, seconds)
        operator.stop()
        delays = _measure_delays(scene, seconds / 3)
    raw = {"runs": runs, "few": scene.few, **cost, "delays": delays}
    return {"part": PART, "rows": build_rows(raw), "raw": raw}


class _Scene:
    """The runs and their logs."""

    def __init__(self, place: lab.Place, *, runs: int) -> None:
        self.place = place
        self.few = max(2, runs // 10)
        self.bodies = [place.agent_run(f"live-{number:05}") for number in range(runs)]
        self.logs = [place.log_file(body) for body in self.bodies]
        self.journal = place.folder / "journal"
        self.writers: list[Json] = []  # what each of them said at its end

    def bring_to_life(self, operator: playground.Process, begin: int, end: int) -> float:
        """Start some of the runs and wait until the operator has the logs of all open. Returns the seconds.

        The API server is not asked for it: lists of thousands of pods would be load of our own making.
        """
        for body in self.bodies[begin:end]:
            self.place.touch_log(body).write_bytes(transcripts.opening())
        began = time.monotonic()
        asyncio.run(self._create(self.bodies[begin:end]))
        playground.wait_until(
            lambda: sampling.count_open(operator.pid, self.place.volume) >= end,
            seconds=_ALL_LIVE_SECONDS,
            what=f"the operator to read {end} logs",
            every=_LOOK_SECONDS,
        )
        return time.monotonic() - began

    async def _create(self, bodies: Sequence[Json]) -> None:
        async with self.place.session() as session:
            await load.create_all(session, self.place, bodies)

    @contextlib.contextmanager
    def writing(self, count: int, *, sample: int = 0) -> Iterator[None]:
        """Have the first ``count`` logs written, and a journal kept of a ``sample`` of them."""
        order = writer.Order(logs=self.logs[:count], journal=self.journal if sample else None, sample=sample)
        process = writer.start(order, self.place.folder)
        try:
            yield
        finally:
            process.stop()
        self.writers.append(writer.read_end(self.place.folder))


# --- processor and memory --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Observer:
    operator: playground.Process
    recorder: sampling.Recorder
    api: watch.Api
    since: float

    def observe(self, name: str, *, runs: int, seconds: float, settle: float = _SETTLE_SECONDS) -> Json:
        """What the operator uses for some time, after things have settled."""
        seconds = max(seconds, _LEAST_SECONDS)
        time.sleep(settle)
        writes, ticks, begin = self._status_writes(), sampling.machine_ticks(), time.monotonic()
        time.sleep(seconds)
        end, after, more = time.monotonic(), sampling.machine_ticks(), self._status_writes()
        used = sampling.usage(self.recorder.samples, begin=begin, end=end)
        last = sampling.look(self.operator.pid)
        return {
            "name": name,
            "runs": runs,
            "began": begin - self.since,
            "ended": end - self.since,
            "cpuPercent": used.cpu,
            "rssKB": used.median_rss,
            "pssKB": sampling.pss(self.operator.pid),
            "threads": last.threads,
            "files": last.files,
            "statusWritesPerSecond": (more - writes) / (end - begin),
            "machineBusyPercent": 100 * (after[0] - ticks[0]) / (after[1] - ticks[1]),
        }

    def wait_until_quiet(self, runs: int) -> None:
        """Wait until what there is to tell of runs that have just begun is written: progress gathers, so it is late.

        Heartbeats go on, one for each run in two and a half minutes.
        """
        before = self._status_writes()
        for _ in range(_MOST_QUIET_LOOKS):
            time.sleep(_QUIET_LOOK_SECONDS)
            now = self._status_writes()
            if now - before < max(1.0, runs / _MOST_QUIET_SECONDS) * _QUIET_LOOK_SECONDS:
                return
            before = now

    def _status_writes(self) -> float:
        with contextlib.closing(self.api.connect()) as connection:
            text = self.api.call(connection, "GET", "/metrics").read().decode()
        of_runs = {"resource": "agentruns", "subresource": "status"}
        return sum(sampling.total(text, "apiserver_request_total", verb=verb, **of_runs) for verb in ("PATCH", "PUT"))


def _measure_cost(scene: _Scene, operator: playground.Process, seconds: float) -> Json:
    recorder = sampling.Recorder(operator.pid, every=_SAMPLE_EVERY_SECONDS)
    since = time.monotonic()
    observer = _Observer(operator=operator, recorder=recorder, api=watch.Api.of(scene.place.lab.kubectl), since=since)
    runs = len(scene.bodies)
    recorder.start()
    try:
        situations = [observer.observe(IDLE, runs=0, seconds=seconds / 4)]
        started = [scene.bring_to_life(operator, 0, scene.few)]
        with scene.writing(scene.few):
            situations.append(observer.observe(FEW, runs=scene.few, seconds=seconds / 2))
        started.append(scene.bring_to_life(operator, scene.few, runs))
        observer.wait_until_quiet(runs)
        situations.append(observer.observe(SILENT, runs=runs, seconds=seconds / 2))
        with scene.writing(runs):
            situations.append(observer.observe(WRITING, runs=runs, seconds=seconds, settle=_SPREAD_SECONDS))
    finally:
        recorder.end()
    if not operator.alive:
        raise watch.BenchError(f"the operator has ended; see {scene.place.operator_log}")
    return {
        "situations": situations,
        "startSeconds": started,
        "writers": scene.writers,
        "samples": sampling.as_json(recorder.samples, since=since),
    }


# --- delays ----------------------------------------------------------------------------------------------------------


def _measure_delays(scene: _Scene, seconds: float) -> Json:
    place = scene.place
    env = {f"{settings.PREFIX}{name}": value for name, value in place.environment.items()}
    env["KUBECONFIG"] = str(place.lab.kubeconfig)
    few = [scene.logs[number] for number in writer.pick(len(scene.logs), _SAMPLE)]
    windows: dict[str, tuple[float, float]] = {}
    with scene.writing(len(scene.logs), sample=_SAMPLE):
        for name, way, logs, settle in (
            (OPERATOR, "operator", scene.logs, _CATCH_UP_SECONDS),
            (ALONE, "alone", scene.logs, _SETTLE_SECONDS),
            (BASELINE, "alone", few, _SETTLE_SECONDS),
        ):
            process = tailing.start(way, logs, _seen(place, name), sample=_SAMPLE, env=env)
            place.operators.append(process)  # so that it ends with the namespace, whatever happens
            time.sleep(settle)
            begin = time.monotonic()
            time.sleep(seconds)
            windows[name] = begin, time.monotonic()
            time.sleep(_LAST_SECONDS)
            process.stop()
    journal = writer.read_journal(scene.journal)
    found = {}
    for name, (begin, end) in windows.items():
        late = writer.delays(journal, writer.read_journal(_seen(place, name)), begin=begin, end=end)
        if not late.seconds:
            raise watch.BenchError(f"{name}: not one line was counted; see {_seen(place, name).with_suffix('.log')}")
        found[name] = summarise(late)
    return found


def summarise(late: writer.Delays) -> Json:
    """Delays in milliseconds: some percentiles, and the whole distribution in two hundred steps."""
    milliseconds = [1000 * seconds for seconds in late.seconds]
    steps = [100 * step / _QUANTILES for step in range(1, _QUANTILES + 1)]
    return {
        "milliseconds": rows.summary(milliseconds),
        "missing": late.missing,
        "distribution": [round(rows.percentile(milliseconds, step), 2) for step in steps],
    }


def _seen(place: lab.Place, name: str) -> Any:  # noqa: ANN401 - a path
    return place.folder / f"{name.replace(' ', '-').replace(',', '')}.seen"


# --- rows ------------------------------------------------------------------------------------------------------------


def build_rows(raw: Mapping[str, Any]) -> list[Json]:
    """The rows of the table from what was measured."""
    return [*_cost_rows(raw), *_delay_rows(raw)]


def _cost_rows(raw: Mapping[str, Any]) -> list[Json]:
    by_name = {situation["name"]: situation for situation in raw["situations"]}
    idle, few, silent, busy = (by_name[name] for name in (IDLE, FEW, SILENT, WRITING))
    cpu = {name: rows.median(situation["cpuPercent"]) for name, situation in by_name.items()}
    runs = raw["runs"]
    further = _per_run(busy, few)
    rss = busy["rssKB"] * _KIB / _MEGABYTE
    writes = busy["statusWritesPerSecond"]
    return [
        rows.row(
            f"CPU with {runs} live runs, each log growing by 1 line/s, over the same runs silent",
            ours=cpu[WRITING],
            baseline=cpu[SILENT],
            unit="% of one core",
            target=f"<= {_MOST_CPU} %",
            met=cpu[WRITING] <= _MOST_CPU,
            note=f"{rows.spread(busy['cpuPercent'])}; {cpu[IDLE]:.2g} % with no run, {cpu[FEW]:.3g} % with "
            f"{few['runs']}; the machine {busy['machineBusyPercent']:.0f} % busy",
        ),
        rows.row(
            "status writes, growing over silent",
            ours=writes,
            baseline=silent["statusWritesPerSecond"],
            unit="/s",
            note=f"one for each run every {runs / writes:.1f} s" if writes else "",
        ),
        rows.row(
            f"RSS with {runs} live runs, over no run",
            ours=rss,
            baseline=idle["rssKB"] * _KIB / _MEGABYTE,
            unit="MB",
            target=f"<= {_MOST_RSS_MB} MB",
            met=rss <= _MOST_RSS_MB,
            note=f"PSS {busy['pssKB'] * _KIB / _MEGABYTE:.0f} MB",
        ),
        rows.row(
            f"RSS for each further run, from {few['runs']} to {runs}, growing over silent",
            ours=further,
            baseline=_per_run(silent, few),
            unit="KB",
            target=f"<= {_MOST_KB_PER_RUN} KB",
            met=further <= _MOST_KB_PER_RUN,
        ),
    ]


def _per_run(many: Json, few: Json) -> float:
    """KB of 1,000 bytes for each run that the one situation has and the other has not."""
    return float((many["rssKB"] - few["rssKB"]) * _KIB / 1000 / (many["runs"] - few["runs"]))


def _delay_rows(raw: Mapping[str, Any]) -> list[Json]:
    found = []
    base = raw["delays"][BASELINE]["milliseconds"]
    for name, words in ((OPERATOR, "in the operator"), (ALONE, "by a Tailer alone")):
        late = raw["delays"][name]
        for key, most in (("p50", _MOST_P50_MS), ("p99", _MOST_P99_MS)):
            value = late["milliseconds"][key]
            judged = name == OPERATOR
            found.append(
                rows.row(
                    f"line written → counted {words}, {raw['runs']} logs, {key}, over a Tailer with {_SAMPLE} logs",
                    ours=value,
                    baseline=base[key],
                    unit="ms",
                    target=f"<= {most} ms" if judged else "",
                    met=value <= most and not late["missing"] if judged else None,
                    note=f"{late['milliseconds']['count']} lines, {late['missing']} not counted",
                )
            )
    return found
