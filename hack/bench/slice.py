"""``python -m hack.bench.slice``: the path of one run from object to verdict, and the operator's memory.

Everything is real except the Messages API: API server, kubelet, containerd, the agent CLI, and the operator with the
rights of its service account. The baseline is the same Secret and Job made by hand while the operator sees neither;
the two kinds alternate, so that whatever else the machine does hits both alike. A run that does not Succeed ends the
measurement with an error.

Moments are taken by one process on one monotonic clock: when the first request left, when plain watches showed a
change, and when a poll every 5 ms found the first line in the log on the shared volume.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from agentrun_operator import errors, facts, manifest, models, names
from hack import cluster, playground
from hack.bench import figures, machine, site, watch

_RESULT = site.STATE / "slice.json"
_POLL_SECONDS = 0.005
_RUN_SECONDS = 120
_SETTLE_SECONDS = 3.0
_LONG_ENOUGH_SECONDS = 540  # a live run only has to live until everything is sampled; then it is cancelled
_ALL_LIVE_SECONDS = 400


def main() -> int:
    """Returns the exit code: 0 only if everything was measured."""
    parser = argparse.ArgumentParser(prog="hack.bench.slice", description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10, help="sequential runs of each kind, after one warm-up each")
    parser.add_argument("--live", type=int, default=20, help="live runs at once for the memory, at least 2")
    arguments = parser.parse_args()
    if arguments.runs < 1 or arguments.live < 2:
        parser.error("--runs must be at least 1 and --live at least 2")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that cluster and operator are taken down
    report: dict[str, Any] = {"machine": machine.describe(), "loadavg": {}}
    try:
        with site.ready() as place:
            report["machine"]["versions"].update(site.node_versions(place), image=place.environment["IMAGE"])
            with place.operator() as operator:
                return _measure(place, operator, report, arguments)
    except (watch.BenchError, playground.PlaygroundError, cluster.ClusterError, errors.AgentRunError) as e:
        report["failed"] = str(e)
        _progress(f"failed: {e}; what is not printed above was not measured; logs are in {site.STATE / 'work'}")
        return 1
    finally:
        _RESULT.parent.mkdir(parents=True, exist_ok=True)
        _RESULT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _measure(
    place: site.Site, operator: playground.Process, report: dict[str, Any], arguments: argparse.Namespace
) -> int:
    report["loadavg"]["begin"] = machine.load()
    playground.wait_until(functools.partial(_is_up, place), seconds=60, what="the operator to be up")
    time.sleep(_SETTLE_SECONDS)
    fresh = machine.sample_rss(operator.pid)
    latency = measure_latency(place, runs=arguments.runs)
    report["loadavg"]["afterLatency"] = machine.load()
    rows = figures.compare(latency)
    report["latencySeconds"] = {
        "rows": [dataclasses.asdict(row) for row in rows],
        "timelines": dataclasses.asdict(latency),
    }
    share = figures.share(latency)
    report["latencySeconds"]["operatorShare"] = {**dataclasses.asdict(share), "ratio": share.ratio}
    print(f"{figures.render_latency(rows)}\n\n{figures.render_share(share)}", flush=True)
    memory = measure_memory(place, operator, fresh=fresh, live=arguments.live)
    report["loadavg"]["end"] = machine.load()
    report["memoryKB"] = {**dataclasses.asdict(memory), "perRun": memory.per_run}
    print(f"\n{figures.render_memory(memory)}", flush=True)
    _print_circumstances(report)
    return 0


def _is_up(place: site.Site) -> bool:
    """Its framework says this once its start-up handlers, which list what there is, have succeeded."""
    return "Initial authentication has finished" in (place.folder / "operator.log").read_text()


# ---------------------------------------------------------------------------------------------------- latency


def measure_latency(place: site.Site, *, runs: int) -> figures.Latency:
    """One run after the other, both kinds in turn. Raises BenchError when one does not Succeed."""
    # The node's caches are warmed by hand, so that the operator's first run is slow only by what the operator does.
    first_by_hand = _time_by_hand(place, "hand-warm-up")
    first_operator = _time_operator(place, "run-warm-up")
    operator, by_hand = [], []
    for number in range(runs):
        for kind in ("run", "hand") if number % 2 == 0 else ("hand", "run"):
            if kind == "run":
                operator.append(_time_operator(place, f"run-{number}"))
            else:
                by_hand.append(_time_by_hand(place, f"hand-{number}"))
        _progress(
            f"{number + 1} of {runs}: operator {operator[-1]['verdict']:.2f} s, by hand {by_hand[-1]['verdict']:.2f} s "
            f"(load {machine.load()[0]})"
        )
    return figures.Latency(
        first_operator=first_operator, first_by_hand=first_by_hand, operator=operator, by_hand=by_hand
    )


def _time_operator(place: site.Site, name: str) -> figures.Timeline:
    body = place.agent_run(name, agent="ada", scenario="ok")
    run = place.parse(body)
    time.sleep(_SETTLE_SECONDS)  # the kubelet is still clearing away the run before
    sent = place.api.create((place.path("agentruns"), body))
    written = _wait_for_line(place.log_file(run), what=f"the first event of {name}")
    ended = place.journal.first(
        "agentruns",
        lambda o: o["metadata"]["name"] == name and _has_ended(o),
        seconds=_RUN_SECONDS,
        what=f"{name} to end",
    )
    status = ended.body["status"]
    if status["phase"] != models.Phase.SUCCEEDED:
        raise watch.BenchError(f"{name} {status['phase']}: {status.get('message')}")
    return _timeline(place, run, sent=sent, first_event=written, verdict=ended.at)


def _time_by_hand(place: site.Site, name: str) -> figures.Timeline:
    run = place.parse(place.agent_run(name, agent="hand", scenario="ok"))
    secret, job = place.by_hand(run)
    time.sleep(_SETTLE_SECONDS)
    sent = place.api.create((place.path("secrets"), secret), (place.path("jobs"), job))
    written = _wait_for_line(place.log_file(run), what=f"the first event of {name}")
    return _timeline(place, run, sent=sent, first_event=written, verdict=None)


def _timeline(
    place: site.Site, run: models.AgentRun, *, sent: float, first_event: float, verdict: float | None
) -> figures.Timeline:
    """All moments relative to ``sent``; without a ``verdict`` of the operator the Job's end is the verdict."""
    job = manifest.job_name(run)
    secret = names.prompt_secret_name(job)
    find = functools.partial(place.journal.first, seconds=_RUN_SECONDS)
    job_ended = find("jobs", lambda o: o["metadata"]["name"] == job and bool(_verdict_of_job(o)), what=f"{job} to end")
    if _verdict_of_job(job_ended.body) != "Complete":
        raise watch.BenchError(f"Job {job} failed; see {place.log_file(run)}")
    moments = {
        "sent": sent,
        "secret": find("secrets", lambda o: o["metadata"]["name"] == secret, what=f"Secret {secret}").at,
        "job": find("jobs", lambda o: o["metadata"]["name"] == job, what=f"Job {job}").at,
        "first_event": first_event,
        "container_ended": find(
            "pods",
            lambda o: o["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name") == job and _agent_ended(o),
            what=f"the container of {job} to end",
        ).at,
        "job_complete": job_ended.at,
        "verdict": job_ended.at if verdict is None else verdict,
    }
    return {name: at - sent for name, at in moments.items()}


def _has_ended(run: watch.Json) -> bool:
    phase = run.get("status", {}).get("phase")
    return phase is not None and models.Phase(phase).final


def _verdict_of_job(job: watch.Json) -> str:
    """Complete or Failed; "" while there is neither."""
    conditions = job.get("status", {}).get("conditions", [])
    return next((c["type"] for c in conditions if c["type"] in {"Complete", "Failed"} and c["status"] == "True"), "")


def _agent_ended(pod: watch.Json) -> bool:
    containers = pod.get("status", {}).get("containerStatuses", [])
    return any(c["name"] == facts.MAIN_CONTAINER and "terminated" in c.get("state", {}) for c in containers)


def _wait_for_line(log: pathlib.Path, *, what: str) -> float:
    """When the file first held a whole line."""

    def written() -> float | None:
        try:
            return time.monotonic() if b"\n" in log.read_bytes() else None
        except FileNotFoundError:
            return None

    return playground.wait_until(written, seconds=_RUN_SECONDS, what=what, every=_POLL_SECONDS)


# ----------------------------------------------------------------------------------------------------- memory


def measure_memory(place: site.Site, operator: playground.Process, *, fresh: list[int], live: int) -> figures.Memory:
    """The operator's memory with none, one and many live runs. Raises BenchError when they do not come to life."""
    time.sleep(_SETTLE_SECONDS)
    idle = machine.sample_rss(operator.pid)
    runs = [f"live-{number}" for number in range(live)]
    _start_live(place, runs[:1])
    one = machine.sample_rss(operator.pid)
    _progress(f"1 live run; starting {live - 1} more")
    began = time.monotonic()
    _start_live(place, runs[1:])
    many = machine.sample_rss(operator.pid)
    _check_still_live(place, runs)
    _progress(f"{live} live runs after {time.monotonic() - began:.0f} s; cancelling them, load {machine.load()[0]}")
    for name in runs:
        place.api.merge(f"{place.path('agentruns')}/{name}", {"spec": {"cancel": True}})
    for name in runs:
        _wait_for_run(place, name, _has_ended, what=f"{name} to be cancelled")
    time.sleep(_SETTLE_SECONDS)
    after = machine.sample_rss(operator.pid)
    return figures.Memory(fresh=fresh, idle=idle, one=one, many=many, after=after, live=live)


def _start_live(place: site.Site, runs: list[str]) -> None:
    """Start runs of different agents and wait until the operator has read from each log that a tool is at work."""
    scenario = f"sleeptool SECONDS={_LONG_ENOUGH_SECONDS}"
    for name in runs:
        place.api.create((place.path("agentruns"), place.agent_run(name, agent=name, scenario=scenario)))
    for name in runs:
        _wait_for_run(place, name, lambda o: _is_working(o) or _has_ended(o), what=f"{name} to use its tool")
    time.sleep(_SETTLE_SECONDS)


def _check_still_live(place: site.Site, runs: list[str]) -> None:
    items = place.api.get(place.path("agentruns"))["items"]
    working = {o["metadata"]["name"] for o in items if _is_working(o)}
    if dead := sorted(set(runs) - working):
        raise watch.BenchError(f"these runs were not live while memory was sampled: {', '.join(dead)}")


def _is_working(run: watch.Json) -> bool:
    status = run.get("status", {})
    return (status.get("phase"), status.get("lastTool")) == (models.Phase.RUNNING.value, "Bash")


def _wait_for_run(place: site.Site, name: str, test: Callable[[watch.Json], bool], *, what: str) -> None:
    place.journal.first(
        "agentruns", lambda o: o["metadata"]["name"] == name and test(o), seconds=_ALL_LIVE_SECONDS, what=what
    )


# ----------------------------------------------------------------------------------------------------- output


def _print_circumstances(report: dict[str, Any]) -> None:
    about, load = report["machine"], report["loadavg"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    print(
        f"\n{about['date']}, {about['cores']} cores ({about['processor']}), {about['memory']}, "
        f"Linux {about['kernel']}; {versions}; load averages at begin, after the first table and at the end: "
        f"{load['begin']}, {load['afterLatency']}, {load['end']}. Raw figures: {_RESULT}",
        flush=True,
    )


def _progress(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
