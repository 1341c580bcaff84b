"""The metrics of a real operator at a real API server: they tell what has happened, and nobody is kept waiting."""

import re
import socket
import urllib.error
import urllib.request

import pytest

from hack import playground
from tests import harness
from tests.integration import kubelet


@pytest.fixture
def port() -> int:
    """One that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scrape(port: int) -> dict[str, float]:
    """Every sample by its name and labels; empty while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:
        return {}
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def wait_for(port: int, name: str, value: float) -> dict[str, float]:
    """What is shown when this has that value."""

    def reached() -> dict[str, float] | None:
        shown = scrape(port)
        return shown if shown.get(name) == value else None

    return playground.wait_until(reached, seconds=20, what=f"{name} to be {value}")


def play(site: harness.Site, name: str) -> int:
    """The agent does its work; the length of its log."""
    log = kubelet.transcript("ok")
    pod = kubelet.Pod(site, name)
    pod.run()
    pod.write(log)
    site.wait_status(name, session=bool)
    pod.end(0, message=f"stdoutBytes={len(log)} stderrBytes=0\n")
    assert site.wait_phase(name, "Succeeded", "Failed")["phase"] == "Succeeded"
    return len(log)


def test_a_run_is_counted_from_beginning_to_end(site: harness.Site, port: int) -> None:
    """Its start, its end, its tokens; and the requests of all clients by the verbs of the operator's own role."""
    site.start_operator(METRICS_PORT=str(port), METRICS_LABELS="company,agent,model")
    assert wait_for(port, 'agentrun_leader{lease=""}', 1)['agentrun_runs{phase="Running"}'] == 0
    site.create("counted")
    site.create("next")
    wait_for(port, "agentrun_queue_runs", 1)
    size = play(site, "counted")
    end = site.status("counted")
    ends = 'agentrun_runs_finished_total{agent="ada",code="",company="acme",phase="Succeeded"}'
    shown = wait_for(port, ends, 1)

    who = f'agent="ada",company="acme",kind="input",model="{end["model"]}"'
    assert shown[f"agentrun_run_tokens_total{{{who}}}"] == end["usage"]["inputTokens"]
    assert shown["agentrun_tail_bytes_total"] >= size
    for name in ("pickup", "time_to_job", "time_to_pod", "time_to_first_event"):
        assert shown[f"agentrun_{name}_seconds_count"] >= 1
    counted = {
        re.sub(r".*client=\"(\w+)\".*resource=\"([\w/]+)\",verb=\"(\w+)\".*", r"\1 \3 \2", name)
        for name in shown
        if name.startswith("agentrun_api_requests_total")
    }
    assert {"own create jobs", "own patch agentruns/status", "own watch pods", "kopf watch agentruns"} <= counted
    ages = {name: age for name, age in shown.items() if name.startswith("agentrun_watch_age_seconds")}
    assert len(ages) == 3
    assert max(ages.values()) < 120
    play(site, "next")
    wait_for(port, ends, 2)
    wait_for(port, "agentrun_kopf_backlog_runs", 0)


def test_the_next_operator_goes_on_and_counts_once(site: harness.Site, port: int) -> None:
    """Killed in the middle of a run: it is taken up again, and its end is counted by the second one alone."""
    site.start_operator(METRICS_PORT=str(port))
    site.create("tough")
    pod = kubelet.Pod(site, "tough")
    pod.run()
    site.wait_status("tough", phase="Running")
    site.kill_operator()
    site.start_operator(METRICS_PORT=str(port))
    shown = wait_for(port, 'agentrun_runs_reattached_total{how="restart"}', 1)
    assert shown["agentrun_time_to_pod_seconds_count"] == 0
    pod.write(kubelet.transcript("ok"))
    pod.end(0)
    site.wait_phase("tough", "Succeeded", "Failed")
    wait_for(port, 'agentrun_runs_finished_total{code="",company="acme",phase="Succeeded"}', 1)


def test_who_scrapes_does_not_keep_the_operator(site: harness.Site, port: int) -> None:
    """Prometheus keeps its connections open, if it may: SIGTERM ends the operator as fast as without."""
    operator = site.start_operator(METRICS_PORT=str(port))
    wait_for(port, 'agentrun_leader{lease=""}', 1)
    with socket.create_connection(("127.0.0.1", port)) as scraper:
        scraper.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        assert scraper.recv(64).startswith(b"HTTP/1.1 200")
        operator.stop(seconds=4)
    assert "Traceback" not in site.operator_log


def test_a_port_that_is_taken_stops_no_run(site: harness.Site, port: int) -> None:
    """The log says so, and what to do."""
    with socket.socket() as other:
        other.bind(("0.0.0.0", port))  # noqa: S104 - as the operator would
        other.listen()
        site.start_operator(METRICS_PORT=str(port))
        site.create("fine")
        play(site, "fine")
        assert '"metrics_not_served"' in site.operator_log
