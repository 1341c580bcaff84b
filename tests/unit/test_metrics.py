"""The metrics: what is counted and when, how many time series there can be, and the port that shows them."""

import asyncio
import collections
import json
import pathlib
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import test_utils, web
from kubernetes.aio import client as kubernetes_client
from prometheus_client import parser

from agentrun_operator import errors, kube, metrics, models, runner, settings, tail
from agentrun_operator.kube import meter
from agentrun_operator.metrics import bounded, catalogue
from tests import builders, scenes
from tests.scenes import INIT, RESULT, TURN, Scene

Body = dict[str, Any]
ALL = "company,agent,model"
JOB: Body = {"name": "ac-x", "uid": "u"}
BEGAN = "2026-07-01T10:00:00Z"
DONE: Body = {
    "phase": "Succeeded",
    "job": JOB,
    "model": "opus",
    "costUSD": "0.5",
    "usage": {"inputTokens": 10, "outputTokens": 2, "cacheReadTokens": 0},
    "startTime": "2026-07-01T10:00:02Z",
    "runningTime": "2026-07-01T10:00:05Z",
    "completionTime": "2026-07-01T10:01:05Z",
}


def samples(told: metrics.Metrics) -> dict[str, float]:
    """Everything a scrape shows, as one would write it in a query; without histograms' buckets and the process."""
    told.refresh()
    found = {}
    for family in parser.text_string_to_metric_families(told.render().decode()):
        for sample in family.samples:
            if sample.name.startswith("agentrun_") and not sample.name.endswith("_bucket"):
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def some(told: metrics.Metrics, name: str) -> dict[str, float]:
    """The samples of one metric, by their labels."""
    return {key.removeprefix(name): value for key, value in samples(told).items() if re.match(rf"{name}(\{{|$)", key)}


def run(name: str = "a", created: str = BEGAN, **given: Any) -> models.AgentRun:
    """An AgentRun."""
    body = builders.agent_run(name=name, uid=f"uid-{name}", **given)
    body["metadata"]["creationTimestamp"] = created
    return models.AgentRun.parse(body)


def make(labels: str = "") -> metrics.Metrics:
    """Metrics with these labels."""
    return metrics.Metrics(settings.Settings(metrics_labels=labels))


@pytest.fixture
async def scene(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """See the class."""
    async with scenes.opened(tmp_path, monkeypatch) as made:
        yield made


# ------------------------------------------------------------------------------------------------- the catalogue


def test_every_metric_of_the_catalogue_is_shown_and_no_other() -> None:
    """Also before anything happened, those with labels at least by name."""
    shown = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in parser.text_string_to_metric_families(make().render().decode())
    }
    assert {name for name in shown if not name.startswith("process_")} == set(metrics.CATALOGUE)


@pytest.mark.parametrize("spec", metrics.CATALOGUE.values(), ids=lambda spec: spec.name)
def test_names_are_as_prometheus_wants_them(spec: metrics.Spec) -> None:
    """Our prefix, base units, and _total for what only grows."""
    assert re.fullmatch(r"agentrun_[a-z_]+", spec.name)
    assert spec.name.endswith("_total") == (spec.kind is catalogue.Kind.COUNTER)
    assert bool(spec.buckets) == (spec.kind is catalogue.Kind.HISTOGRAM)
    assert not re.search(r"_(ms|millis|minutes|kb)\b|_count$|_sum$|_bucket$", spec.name)
    assert spec.about.endswith(".")
    if spec.kind is catalogue.Kind.HISTOGRAM:
        assert spec.name.endswith("_seconds")
        assert list(spec.buckets) == sorted(set(spec.buckets))


def test_two_of_them_share_nothing() -> None:
    """There is no global registry, so two operators in one process, as in tests, are two."""
    one, other = make(), make()
    one.tailed(5)
    assert some(one, "agentrun_tail_bytes_total") == {"": 5}
    assert some(other, "agentrun_tail_bytes_total") == {"": 0}


def test_when_a_series_began_is_not_shown() -> None:
    """It would be one more for each."""
    told = make()
    told.wrote("x", {}, DONE)
    assert "_created" not in told.render().decode()


# ------------------------------------------------------------------------------------------------- cardinality


class Family:
    """In place of a family of prometheus_client."""

    def __init__(self) -> None:
        self.counts: collections.Counter[tuple[str, ...]] = collections.Counter()

    def labels(self, *values: str) -> "Family":
        """One more."""
        self.counts[values] += 1
        return self


def test_free_labels_have_so_many_values_and_the_rest_is_other() -> None:
    """Those that were there first stay, and sums stay right; what is fixed is kept."""
    family, over = Family(), []
    kept = bounded.Bounded(family, free=2, most=2, overflowed=lambda: over.append(1))  # type: ignore[type-var]  # as above
    for number in range(4):
        for phase in ("Failed", "Succeeded"):
            kept.labels(phase, "acme", f"agent-{number}")
    assert family.counts == {
        ("Failed", "acme", "agent-0"): 1,
        ("Succeeded", "acme", "agent-0"): 1,
        ("Failed", "acme", "agent-1"): 1,
        ("Succeeded", "acme", "agent-1"): 1,
        ("Failed", "other", "other"): 2,
        ("Succeeded", "other", "other"): 2,
    }
    assert len(over) == 4


def test_a_long_value_is_cut() -> None:
    """A model's name is what an agent has printed."""
    family = Family()
    bounded.Bounded(family, free=1, overflowed=lambda: None).labels("x" * 1000)  # type: ignore[type-var]  # as above
    assert list(family.counts) == [("x" * 64,)]


def test_many_agents_are_no_many_series() -> None:
    """And it is told that some were left out."""
    told = make(ALL)
    for number in range(bounded.MOST + 7):
        one = run(f"r{number}", agent={"id": f"agent-{number}"})
        told.follow(one, {})
        told.wrote(one.metadata.uid, {}, DONE)
        told.leave(one.metadata.uid)
    finished = some(told, "agentrun_runs_finished_total")
    assert len(finished) == bounded.MOST + 1
    assert finished["{agent=other,code=,company=other,phase=Succeeded}"] == 7
    assert sum(finished.values()) == bounded.MOST + 7
    over = some(told, "agentrun_metrics_overflow_total")
    assert over["{metric=agentrun_runs_finished_total}"] == 7
    assert over["{metric=agentrun_run_cost_usd_total}"] == 7


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("", "kind=input"),
        ("company", "company=acme,kind=input"),
        ("company,model", "company=acme,kind=input,model=opus"),
        ("model , agent", "agent=coder,kind=input,model=opus"),
        (ALL, "agent=coder,company=acme,kind=input,model=opus"),
    ],
)
def test_labels_are_switched_by_a_setting(labels: str, expected: str) -> None:
    """One that is off is not there at all."""
    told = make(labels)
    told.follow(run(), {})
    told.wrote("uid-a", {}, DONE)
    assert some(told, "agentrun_run_tokens_total")[f"{{{expected}}}"] == 10


def test_nothing_is_kept_of_a_run_that_is_over() -> None:
    """Neither an entry nor a time series of its own."""
    told = make(ALL)
    before = len(samples(told))
    for name in "abc":
        told.follow(run(name), {})
        told.wrote(f"uid-{name}", {}, {"phase": "Running", "job": JOB})
        told.leave(f"uid-{name}")
    assert vars(getattr(told, "_followed")) == {"_runs": {}}  # noqa: B009 - private to everybody but this look
    assert len(samples(told)) == before


def test_a_hook_costs_microseconds() -> None:
    """A status write with all that comes of it; the bound is generous, for machines that are busy."""
    told = make(ALL)
    told.follow(run(), {})
    began = time.process_time()
    for _ in range(1000):
        told.wrote("uid-a", {}, {"phase": "Running", "job": JOB})
    assert time.process_time() - began < 0.5


# ------------------------------------------------------------------------------------------------- runs


def test_runs_are_shown_by_phase() -> None:
    """All phases of live runs, also those that nobody is in; who left is not counted."""
    told = make()
    for name, phase in (("a", "Running"), ("b", "Running"), ("c", "Suspended"), ("d", None), ("e", "Running")):
        told.follow(run(name), {"phase": phase} if phase else {})
    told.leave("uid-e")
    told.wrote("uid-d", {}, {"phase": "Queued"})
    expected = {"{phase=Pending}": 0, "{phase=Queued}": 1, "{phase=Suspended}": 1, "{phase=Running}": 2}
    assert some(told, "agentrun_runs") == expected


def seconds_ago(seconds: float) -> str:
    """That moment."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))


@pytest.mark.parametrize(
    ("status", "waited"),
    [
        ({}, 100),
        ({"phase": "Pending"}, 100),
        ({"phase": "Queued"}, 100),
        ({"phase": "Queued", "job": JOB}, None),
        ({"phase": "Suspended"}, None),
        ({"phase": "Running", "job": JOB}, None),
        ({"phase": "Pending", "nextAttemptTime": -60}, None),
        ({"phase": "Pending", "nextAttemptTime": 30}, 30),
        ({"phase": "Pending", "previousAttempts": [{"completionTime": 40}]}, 40),
    ],
)
def test_the_queue_is_those_that_wait_for_their_job(status: Body, waited: int | None) -> None:
    """Not who is suspended or pauses on purpose; of a further attempt, only its own waiting counts.

    Times are seconds ago.
    """
    told = make()
    told.follow(run(created=seconds_ago(100)), dated(status))
    assert samples(told)["agentrun_queue_runs"] == (waited is not None)
    assert samples(told)["agentrun_queue_oldest_seconds"] == pytest.approx(waited or 0, abs=5)


def dated(status: Any) -> Any:  # noqa: ANN401 - any JSON
    """The same with moments in the place of numbers."""
    if isinstance(status, dict):
        return {key: dated(value) for key, value in status.items()}
    if isinstance(status, list):
        return [dated(value) for value in status]
    return seconds_ago(status) if isinstance(status, int) else status


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"phase": "Suspended"}, {"phase": "Queued"}),
        ({"phase": "Running", "job": JOB}, {"phase": "Pending", "previousAttempts": [{"code": "k8s_node_lost"}]}),
    ],
)
def test_waiting_begins_anew(before: Body, after: Body) -> None:
    """When a run is no longer suspended, and when an attempt is over."""
    told = make()
    told.follow(run(created=seconds_ago(1000)), before)
    told.wrote("uid-a", before, after)
    assert (samples(told)["agentrun_queue_runs"], samples(told)["agentrun_queue_oldest_seconds"] < 5) == (1, True)


def test_the_longest_wait_is_shown() -> None:
    """And 0 when nobody waits any more."""
    told = make()
    for name, age in (("a", 10), ("b", 500), ("c", 20)):
        told.follow(run(name, created=seconds_ago(age)), {})
    assert samples(told)["agentrun_queue_oldest_seconds"] == pytest.approx(500, abs=5)
    for name in "abc":
        told.leave(f"uid-{name}")
    assert samples(told)["agentrun_queue_oldest_seconds"] == 0


def test_a_stalled_run_is_counted_while_it_is() -> None:
    """By its condition."""
    told = make()
    told.follow(run(), {"phase": "Running"})
    for status, expected in (("True", 1), ("False", 0)):
        told.wrote("uid-a", {}, {"phase": "Running", "conditions": [{"type": "Stalled", "status": status}]})
        assert samples(told)["agentrun_stalled_runs"] == expected


def test_an_end_is_counted_once_with_what_it_cost() -> None:
    """Tokens that are none make no series."""
    told = make(ALL)
    told.follow(run(), {})
    running = {"phase": "Running", "job": JOB, "usage": {"inputTokens": 5}}
    told.wrote("uid-a", {}, running)
    assert some(told, "agentrun_run_tokens_total") == {}, "an estimate may be taken back, a counter not"
    told.wrote("uid-a", running, DONE)
    told.wrote("uid-a", DONE, {**DONE, "message": "Other words."})
    who = "agent=coder,company=acme"
    assert some(told, "agentrun_runs_finished_total") == {"{agent=coder,code=,company=acme,phase=Succeeded}": 1}
    assert some(told, "agentrun_run_tokens_total") == {
        f"{{{who},kind=input,model=opus}}": 10,
        f"{{{who},kind=output,model=opus}}": 2,
    }
    assert some(told, "agentrun_run_cost_usd_total") == {f"{{{who},model=opus}}": 0.5}
    assert some(told, "agentrun_run_duration_seconds_sum") == {"{phase=Succeeded}": 60}


def test_an_end_without_a_beginning_is_counted_too() -> None:
    """A run that could not be read has no names; one that never ran has no length."""
    told = make(ALL)
    told.wrote("uid-x", {}, {"phase": "Failed", "error": {"code": "prompt_invalid"}, "completionTime": BEGAN})
    expected = {"{agent=unknown,code=prompt_invalid,company=unknown,phase=Failed}": 1}
    assert some(told, "agentrun_runs_finished_total") == expected
    assert some(told, "agentrun_run_duration_seconds_count") == {}
    assert some(told, "agentrun_run_cost_usd_total") == {}


def errors_of(told: metrics.Metrics) -> dict[str, float]:
    """By code, those that there were."""
    return {key[6:-1]: value for key, value in some(told, "agentrun_errors_total").items() if value}


def test_an_error_is_counted_by_its_code_whether_or_not_there_is_another_attempt() -> None:
    """Once each; all codes are there before, or Prometheus would see no increase in the first."""
    told = make()
    assert len(some(told, "agentrun_errors_total")) == len(errors.ErrorCode)
    told.follow(run(), {})
    after = {"phase": "Pending", "previousAttempts": [{"code": "k8s_pod_evicted"}]}
    told.wrote("uid-a", {"phase": "Running"}, after)
    told.wrote("uid-a", after, {**after, "message": "Soon."})
    assert errors_of(told) == {"k8s_pod_evicted": 1}
    assert some(told, "agentrun_runs_finished_total") == {}
    told.wrote("uid-a", after, {**after, "phase": "Failed", "error": {"code": "timeout"}})
    assert errors_of(told) == {"k8s_pod_evicted": 1, "timeout": 1}
    assert some(told, "agentrun_runs_finished_total") == {"{code=timeout,phase=Failed}": 1}


# ------------------------------------------------------------------------------------------------- its start


def test_the_steps_of_a_start_are_timed_by_the_clusters_clock() -> None:
    """Each once, when the status tells of it."""
    told = make()
    told.follow(run(), {})
    pending = {"phase": "Pending", "job": JOB, "startTime": "2026-07-01T10:00:02Z"}
    running = {**pending, "phase": "Running", "runningTime": "2026-07-01T10:00:05Z"}
    speaking = {**running, "logEvents": 1, "lastOutputTime": "2026-07-01T10:00:09Z"}
    steps: list[Body] = [
        {},
        pending,
        running,
        running,
        speaking,
        {**speaking, "logEvents": 9},
        {**DONE, "logEvents": 10},
    ]
    for before, after in zip(steps, steps[1:], strict=False):
        told.wrote("uid-a", before, after)
    for name, seconds in (("job", 2), ("pod", 5), ("first_event", 9)):
        assert some(told, f"agentrun_time_to_{name}_seconds_count") == {"": 1}
        assert some(told, f"agentrun_time_to_{name}_seconds_sum") == {"": seconds}


@pytest.mark.parametrize(
    ("first", "after"),
    [
        ({"phase": "Suspended"}, {"phase": "Pending", "startTime": BEGAN}),
        ({}, {"phase": "Pending", "startTime": BEGAN, "attempt": 1}),
        ({}, {"phase": "Pending", "startTime": BEGAN, "reattachedFrom": "b"}),
    ],
)
def test_what_says_nothing_of_a_start_is_not_timed(first: Body, after: Body) -> None:
    """A suspension, an attempt after the first, a Job of somebody else."""
    told = make()
    told.follow(run(), first)
    told.wrote("uid-a", first, after)
    assert some(told, "agentrun_time_to_job_seconds_count") == {"": 0}


def test_a_run_that_was_too_quick_has_no_first_event() -> None:
    """All that is known is when its log ended."""
    told = make()
    told.follow(run(), {})
    told.wrote("uid-a", {}, {**DONE, "logEvents": 3, "lastOutputTime": "2026-07-01T10:01:00Z"})
    assert some(told, "agentrun_time_to_first_event_seconds_count") == {"": 0}
    assert some(told, "agentrun_time_to_pod_seconds_count") == {"": 1}


@pytest.mark.parametrize(
    ("status", "resumed", "picked_up", "reattached"),
    [
        ({}, False, 1, {}),
        ({"phase": "Pending"}, False, 0, {}),
        ({"phase": "Running", "job": JOB}, False, 0, {"{how=restart}": 1}),
        ({"phase": "Running", "job": JOB}, True, 0, {}),
        (DONE, False, 0, {}),
    ],
)
def test_who_is_new_and_who_is_taken_up_again(
    status: Body, picked_up: int, reattached: dict[str, float], *, resumed: bool
) -> None:
    """A run without a status was never followed; one with a Job was, by an operator before."""
    told = make()
    told.follow(run(created=seconds_ago(3)), status, resumed=resumed)
    assert some(told, "agentrun_pickup_seconds_count") == {"": picked_up}
    assert some(told, "agentrun_runs_reattached_total") == reattached


def test_an_adoption_is_counted_once() -> None:
    """When the status tells of it."""
    told = make()
    told.follow(run(), {})
    adopted = {"phase": "Pending", "job": JOB, "reattachedFrom": "b"}
    told.wrote("uid-a", {}, adopted)
    told.wrote("uid-a", adopted, {**adopted, "phase": "Running"})
    assert some(told, "agentrun_runs_reattached_total") == {"{how=adoption}": 1}


@pytest.mark.parametrize("cost", ["", "free", "nan", "inf", "-1", "0"])
def test_what_cannot_be_read_is_left_out(cost: str) -> None:
    """A status that somebody else wrote must not fail a run: its metrics are of no account."""
    told = make(ALL)
    odd = {"previousAttempts": [{"completionTime": "noon"}], "nextAttemptTime": "soon"}
    told.follow(run(created=""), odd)
    told.wrote("uid-a", odd, {**odd, "phase": "Running", "startTime": "x", "runningTime": "y", "logEvents": 1})
    told.wrote("uid-a", {}, {**DONE, "costUSD": cost, "runningTime": "z"})
    assert some(told, "agentrun_run_cost_usd_total") == {}
    assert some(told, "agentrun_run_duration_seconds_count") == {}
    told = make()
    told.follow(run(), {})
    told.wrote("uid-a", {}, {"phase": "Running", "startTime": "x", "runningTime": "y", "logEvents": 1})
    assert [some(told, f"agentrun_time_to_{step}_seconds_count") for step in ("job", "pod", "first_event")] == [
        {"": 0}
    ] * 3


def test_a_clock_that_is_ahead_makes_no_negative_time() -> None:
    """The API server's may be."""
    told = make()
    told.follow(run(created=seconds_ago(-50)), {})
    assert some(told, "agentrun_pickup_seconds_sum") == {"": 0}


# ------------------------------------------------------------------------------------------------- the runner tells


async def test_the_runner_tells_of_a_run_from_beginning_to_end(scene: Scene) -> None:
    """Through the hooks that production has."""
    scene.add()
    task = scene.start()
    await scene.runs(log=INIT + TURN)
    await scene.until(lambda: "session" in scene.status())
    assert some(scene.deps.meters, "agentrun_runs")["{phase=Running}"] == 1
    scene.log(RESULT)
    await scene.exit(0)
    await scene.finish(task)
    shown = samples(scene.deps.meters)
    assert shown["agentrun_runs_finished_total{code=,company=acme,phase=Succeeded}"] == 1
    assert shown["agentrun_run_cost_usd_total{company=acme,model=opus}"] == 0.5
    assert shown["agentrun_time_to_pod_seconds_count"] == 1
    assert shown["agentrun_time_to_first_event_seconds_count"] == 1
    assert shown["agentrun_pickup_seconds_count"] == 1
    assert sum(some(scene.deps.meters, "agentrun_runs").values()) == 0


async def test_a_restart_counts_neither_twice_nor_forgets(scene: Scene) -> None:
    """The next operator takes the run up again, and counts its end."""
    scene.add()
    _ = scene.start()
    await scene.runs(log=INIT + TURN)
    await scene.until(lambda: "session" in scene.status())
    first = scene.deps.meters
    await scene.crash()
    scene.log(RESULT)
    await scene.exit(0)
    await scene.finish(scene.start())
    second = scene.deps.meters
    assert second is not first
    assert some(first, "agentrun_runs_finished_total") == {}
    assert some(second, "agentrun_runs_finished_total") == {"{code=,company=acme,phase=Succeeded}": 1}
    assert some(second, "agentrun_runs_reattached_total") == {"{how=restart}": 1}
    assert [some(one, "agentrun_time_to_pod_seconds_count")[""] for one in (first, second)] == [1, 0]


async def test_a_run_that_cannot_be_read_is_counted(scene: Scene) -> None:
    """It never gets as far as being followed."""
    scene.add(prompt={})
    await scene.finish(scene.start())
    code = scene.status()["error"]["code"]
    expected = {f"{{code={code},company=unknown,phase=Failed}}": 1}
    assert some(scene.deps.meters, "agentrun_runs_finished_total") == expected


# ------------------------------------------------------------------------------------------------- logs


async def test_bytes_of_logs_are_counted(tmp_path: pathlib.Path) -> None:
    """All of a file, also what comes later; and whoever is not overdue has no lag."""
    told = make()
    path = tmp_path / "x.ndjson"
    path.write_bytes(TURN)
    tailer = tail.Tailer(settings.Settings(poll_seconds=0.005, idle_poll_seconds=0.005), told.tailed)
    assert tailer.lag() == 0
    followed = tailer.follow(str(path), stderr_path="", on_drained=lambda: None)
    try:
        async with asyncio.timeout(5):
            for size in (len(TURN), len(TURN) + len(RESULT)):
                while some(told, "agentrun_tail_bytes_total") != {"": size}:  # noqa: ASYNC110 - another thread's work
                    await asyncio.sleep(0.005)
                with path.open("ab") as file:
                    file.write(RESULT)
        assert tailer.lag() < 1
        assert tailer.threads_aside() == 0
    finally:
        followed.close()
        tailer.close()


def test_bytes_are_counted_once_whatever_comes_after_them(tmp_path: pathlib.Path) -> None:
    """A poll of a file that is followed no more has read nothing."""
    (tmp_path / "x.ndjson").write_bytes(TURN)
    tailer, config = tail.Tailer(settings.Settings()), settings.Settings()
    tailer.close()
    followed = tailer.follow(str(tmp_path / "x.ndjson"), stderr_path="", on_drained=lambda: None)
    read = []
    for end in (False, False, True, False):
        if end:
            followed.close()
        followed.poll(config)
        read.append(followed.last_read)
    assert read == [len(TURN), 0, 0, 0]
    (tmp_path / "y.ndjson").write_bytes(TURN)
    other = tailer.follow(str(tmp_path / "y.ndjson"), stderr_path="", on_drained=lambda: None)
    other.poll(config)
    other.close()
    other.poll(config)
    assert other.last_read == 0


def test_who_waits_longest_makes_the_lag() -> None:
    """With a reader that does not come."""
    tailer = tail.Tailer(settings.Settings())
    tailer.close()
    due = getattr(tailer, "_due")  # noqa: B009 - a schedule that nobody works through
    due[:] = [(time.monotonic() - 7, 1, None), (time.monotonic() + 3, 2, None)]
    assert tailer.lag() == pytest.approx(7, abs=1)
    due[:] = [(time.monotonic() + 3, 2, None)]
    assert tailer.lag() == 0


# ------------------------------------------------------------------------------------------------- the API


RUNS = "/apis/paperclip.io/v1alpha1/namespaces/n/agentruns"


@pytest.mark.parametrize(
    ("method", "path", "watches", "expected"),
    [
        ("GET", "/api/v1/pods", False, ("list", "pods")),
        ("GET", "/api/v1/pods", True, ("watch", "pods")),
        ("GET", "/api/v1/namespaces/n/pods", True, ("watch", "pods")),
        ("GET", "/api/v1/namespaces/n/pods/p", False, ("get", "pods")),
        ("GET", "/api/v1/namespaces/n/pods/p/log", False, ("get", "pods/log")),
        ("POST", "/apis/batch/v1/namespaces/n/jobs", False, ("create", "jobs")),
        ("DELETE", "/apis/batch/v1/namespaces/n/jobs/j", False, ("delete", "jobs")),
        ("PATCH", f"{RUNS}/r/status", False, ("patch", "agentruns/status")),
        ("PATCH", f"{RUNS}/r", False, ("patch", "agentruns")),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/n/leases/l", False, ("update", "leases")),
        ("GET", "/api/v1/namespaces/n", False, ("get", "namespaces")),
        ("GET", "/api/v1/namespaces", False, ("list", "namespaces")),
        ("GET", "/apis/paperclip.io/v1alpha1", False, ("get", "discovery")),
        ("GET", "/api", False, ("get", "discovery")),
        ("GET", "/version", False, ("get", "discovery")),
    ],
)
def test_a_request_is_named_as_a_role_names_it(
    method: str, path: str, expected: tuple[str, str], *, watches: bool
) -> None:
    """And never by the name of an object."""
    assert meter.describe(method, path, watches=watches) == expected


async def test_requests_of_our_client_and_of_kopf_are_counted() -> None:
    """By what was answered, and as none if nothing was."""
    told = make()

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("cut"):
            assert request.transport is not None
            request.transport.abort()
        found = request.path.endswith("there")
        body = {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "message": "no", "code": 404}
        return web.json_response({} if found else body, status=200 if found else 404)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with test_utils.TestServer(app) as server:
        configuration = kubernetes_client.Configuration()
        configuration.host = str(server.make_url("")).rstrip("/")
        api = kube.HttpKubeClient(kubernetes_client.ApiClient(configuration), timeout=5, observe=told.api("own"))
        await api.get_run("n", "there")
        with pytest.raises(errors.NotFoundError):
            await api.get_run("n", "gone")
        with pytest.raises(errors.UnavailableError):
            await api.get_run("n", "cut")
        await api.close()
        async with aiohttp.ClientSession(trace_configs=[kube.trace(told.api("kopf"))]) as session:
            url = server.make_url(f"{RUNS}/there")
            await (await session.get(url)).read()
            with pytest.raises(aiohttp.ClientError):
                await session.get(server.make_url(f"{RUNS}/cut"))
    assert some(told, "agentrun_api_requests_total") == {
        "{client=own,code=200,resource=agentruns,verb=get}": 1,
        "{client=own,code=404,resource=agentruns,verb=get}": 1,
        "{client=own,code=none,resource=agentruns,verb=get}": 1,
        "{client=kopf,code=200,resource=agentruns,verb=get}": 1,
        "{client=kopf,code=none,resource=agentruns,verb=get}": 1,
    }
    assert some(told, "agentrun_api_request_duration_seconds_count") == {
        "{client=own,resource=agentruns,verb=get}": 3,
        "{client=kopf,resource=agentruns,verb=get}": 2,
    }


async def test_a_request_that_is_cancelled_here_is_no_trouble_there() -> None:
    """At the operator's end, many are."""
    told: list[Any] = []
    asking = asyncio.create_task(
        meter.timed(asyncio.Event().wait(), ("get", "pods"), lambda *request: told.append(request))
    )
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert asking.cancelled()
    assert told == []


# ------------------------------------------------------------------------------------------------- watches and kopf


def test_a_watch_ages_until_it_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """From when it was begun, also if nothing ever comes."""
    now = [100.0]
    monkeypatch.setattr("agentrun_operator.metrics.meters.time.monotonic", lambda: now[0])
    told = make()
    jobs, _ = told.watch("jobs", ""), told.watch("pods", "team-a")
    now[0] += 30
    jobs()
    now[0] += 5
    expected = {"{resource=jobs,watched=*}": 5, "{resource=pods,watched=team-a}": 35}
    assert some(told, "agentrun_watch_age_seconds") == expected


class Things:
    """A source of objects for a reflector."""

    def __init__(self, *lines: str) -> None:
        self.lines = list(lines)

    async def list(self) -> tuple[list[str], str]:
        """Nothing, as of version 5."""
        await asyncio.sleep(0)
        return [], "5"

    async def watch(self, _query: object) -> AsyncIterator[bytes]:
        """The lines, and then silence."""
        for kind in self.lines:
            yield json.dumps({"type": kind, "object": {"metadata": {"resourceVersion": "6"}}}).encode()
        await asyncio.Event().wait()

    def parse(self, _body: object) -> str:
        """One of them."""
        return "thing"


class Mirror:
    """Nobody looks."""

    async def listed(self, items: list[str], version: str) -> None:
        """A list."""

    def changed(self, item: str, *, gone: bool) -> None:
        """A change."""

    def reached(self, version: str) -> None:
        """A version."""


async def test_a_list_a_change_and_a_bookmark_are_signs_of_life() -> None:
    """Each."""
    heard: list[int] = []
    reflector = kube.Reflector(Things("ADDED", "BOOKMARK"), Mirror(), what="things", heard=lambda: heard.append(1))
    task = asyncio.create_task(reflector.run())
    async with asyncio.timeout(5):
        while len(heard) < 3:  # noqa: ASYNC110 - a count, no event
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(heard) == 3


async def test_the_mirrors_of_a_start_are_watched(scene: Scene) -> None:
    """Both, from the first moment."""
    await runner.look_around(scene.deps)
    assert set(some(scene.deps.meters, "agentrun_watch_age_seconds")) == {
        "{resource=jobs,watched=*}",
        "{resource=pods,watched=*}",
    }
    for task in scene.deps.tasks:
        task.cancel()
    await asyncio.gather(*scene.deps.tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("client", "verb", "code", "age"),
    [("kopf", "watch", "200", 0), ("kopf", "watch", "410", 9), ("kopf", "patch", "200", 9), ("own", "watch", "200", 9)],
)
def test_the_watch_of_kopf_is_heard_by_its_renewal_and_its_events(
    monkeypatch: pytest.MonkeyPatch, client: str, verb: str, code: str, age: float
) -> None:
    """Only if it was granted; from the moment that this process works."""
    now = [100.0]
    monkeypatch.setattr("agentrun_operator.metrics.meters.time.monotonic", lambda: now[0])
    told = make()
    told.saw("ADDED")
    assert some(told, "agentrun_watch_age_seconds") == {}
    told.lead()
    now[0] += 9
    told.api(client)(verb, "agentruns", code, 0.1)
    assert some(told, "agentrun_watch_age_seconds") == {"{resource=agentruns,watched=*}": age}
    told.saw(None)
    assert some(told, "agentrun_watch_age_seconds") == {"{resource=agentruns,watched=*}": 0}


def test_events_of_kopf_are_counted_by_type() -> None:
    """One that nobody knows is other."""
    told = make()
    for kind in (None, "ADDED", "MODIFIED", "MODIFIED", "DELETED", "STRANGE"):
        told.saw(kind)
    counts = {
        key.removeprefix("{type=").removesuffix("}"): n for key, n in some(told, "agentrun_kopf_events_total").items()
    }
    assert counts == {"listed": 1, "added": 1, "modified": 2, "deleted": 1, "other": 1}


async def test_the_backlog_is_what_kopf_was_shown_and_nobody_follows(scene: Scene) -> None:
    """Live without a supervisor, or ended and still held."""
    followed: set[str] = set()
    behind = runner.Stragglers(scene.kube, followed.__contains__)
    assert behind.behind() == 0
    for name, phase in (("a", None), ("b", "Running"), ("c", "Succeeded")):
        body = scene.add(name, status={"phase": phase} if phase else {})
        body["metadata"]["finalizers"] = ["paperclip.io/agentrun-operator"]
        behind.saw(body, deleted=False)
    assert behind.behind() == 3
    followed.add("uid-a")
    assert behind.behind() == 2


def test_what_is_asked_for_is_asked_when_somebody_looks() -> None:
    """Each time."""
    told, values = make(), iter([1.0, 2.0])
    told.pull("agentrun_tail_lag_seconds", lambda: next(values))
    assert [samples(told)["agentrun_tail_lag_seconds"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("lease", ["", "agentrun-operator"])
def test_who_stands_by_says_so(lease: str) -> None:
    """And who works; with the Lease, by which one knows who takes turns with whom."""
    told = metrics.Metrics(settings.Settings(leader_election_lease=lease, pod_namespace="home"))
    seen = [samples(told)[f"agentrun_leader{{lease={lease}}}"]]
    for leading in (True, False):
        told.lead(leading=leading)
        seen.append(samples(told)[f"agentrun_leader{{lease={lease}}}"])
    assert seen == [0, 1, 0]


def test_the_build_is_shown() -> None:
    """With versions that exist."""
    ((labels, value),) = some(make(), "agentrun_build_info").items()
    assert value == 1
    assert re.fullmatch(r"\{kopf=[\d.]+,python=3\.\d+\.\d+\+?,version=[\d.]+\}", labels)


# ------------------------------------------------------------------------------------------------- the port


@pytest.fixture
def port() -> Iterator[int]:
    """One that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    yield number


async def fetch(port: int, path: str = "/metrics") -> tuple[int, str, str]:
    """Status, type and text."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, answer.headers.get("Content-Type", ""), await answer.text()


async def scraped(port: int) -> tuple[int, str, str]:
    """The same, when there is somebody to answer."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await fetch(port)
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.01)


async def test_the_port_answers_until_the_end(port: int) -> None:
    """With what is true at that moment; and a connection is not kept, for kopf would wait for it."""
    told = make()
    told.tailed(42)
    before = asyncio.all_tasks()
    async with metrics.serving(told, port, host="127.0.0.1"):
        status, kind, text = await scraped(port)
        assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert "agentrun_tail_bytes_total 42.0" in text
        assert (await fetch(port, "/"))[0] == 404
        told.tailed(1)
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert "agentrun_tail_bytes_total 43.0" in await answer.text()
            assert answer.headers["Connection"] == "close"
    with pytest.raises(aiohttp.ClientConnectionError):
        await fetch(port)
    assert asyncio.all_tasks() == before


async def test_without_a_port_nothing_is_served() -> None:
    """Nothing is begun at all."""
    before = asyncio.all_tasks()
    async with metrics.serving(make(), 0):
        assert asyncio.all_tasks() == before


async def test_a_port_that_is_taken_is_tried_again(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator works meanwhile."""
    monkeypatch.setattr("agentrun_operator.metrics.server._RETRY_SECONDS", 0.01)
    logged: list[Body] = []
    monkeypatch.setattr(
        "agentrun_operator.metrics.server._log.warning",
        lambda event, **fields: logged.append({"event": event, **fields}),
    )
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        serving = metrics.serving(make(), port, host="127.0.0.1")
        await serving.__aenter__()
        async with asyncio.timeout(5):
            while not logged:  # noqa: ASYNC110 - another task's doing
                await asyncio.sleep(0.005)
    assert (logged[0]["event"], logged[0]["port"]) == ("metrics_not_served", port)
    assert "AGENTRUN_METRICS_PORT" in logged[0]["hint"]
    assert (await scraped(port))[0] == 200
    await serving.__aexit__(None, None, None)


async def test_the_loop_goes_on_while_the_text_is_written(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long that takes."""
    told, began = make(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def render() -> bytes:
        loop.call_soon_threadsafe(began.set)
        time.sleep(0.2)
        return b"slow"

    monkeypatch.setattr(told, "render", render)
    async with metrics.serving(told, port, host="127.0.0.1"):
        answer = asyncio.create_task(scraped(port))
        await began.wait()
        assert not answer.done()
        assert (await answer)[2] == "slow"
