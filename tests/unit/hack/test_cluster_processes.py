"""A process is ended only if it is exactly the one that was started."""

import dataclasses
import os
import pathlib
import time
from collections.abc import Iterator

import pytest

from hack.cluster import component, errors, paths, processes


@pytest.fixture
def child(tmp_path: pathlib.Path) -> Iterator[processes.Identity]:
    environment = {**os.environ, processes.MARKER: str(tmp_path)}
    identity = processes.spawn(["sleep", "60"], log=tmp_path / "log", environment=environment)
    yield identity
    processes.terminate([identity], grace=0)


def _gone(identity: processes.Identity) -> bool:
    deadline = time.monotonic() + 5
    while processes.alive(identity) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not processes.alive(identity)


def test_spawned_process_is_recognised_and_ended(child: processes.Identity) -> None:
    assert processes.alive(child)
    processes.terminate([child], grace=5)
    assert _gone(child)


def test_spawned_process_has_a_session_of_its_own(child: processes.Identity) -> None:
    assert os.getsid(child.pid) == child.pid


@pytest.mark.parametrize("change", [{"start_ticks": 1}, {"boot_id": "another boot"}])
def test_reused_pid_is_neither_alive_nor_killed(child: processes.Identity, change: dict[str, object]) -> None:
    stranger = dataclasses.replace(child, **change)  # type: ignore[arg-type]
    assert not processes.alive(stranger)
    processes.terminate([stranger], grace=0)
    assert processes.alive(child)


def test_process_without_a_pid_file_is_found_by_its_mark(child: processes.Identity, tmp_path: pathlib.Path) -> None:
    deadline = time.monotonic() + 5
    while processes.marked(tmp_path) != [child] and time.monotonic() < deadline:
        time.sleep(0.01)  # the mark is in its environment, which it has when it has become another program
    assert processes.marked(tmp_path) == [child]
    assert processes.marked(tmp_path / "other") == []


def test_process_that_ignores_term_is_killed(tmp_path: pathlib.Path) -> None:
    script = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
    identity = processes.spawn(["sh", "-c", script], log=tmp_path / "log", environment=dict(os.environ))
    deadline = time.monotonic() + 5
    while "deaf" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    processes.terminate([identity], grace=0.2)
    assert _gone(identity)


def test_pid_file_survives_a_round_trip_and_damage(tmp_path: pathlib.Path) -> None:
    identity = processes.Identity(pid=7, start_ticks=9, boot_id="b")
    started = processes.Started(identity=identity, fingerprint="f", started_at=1.5)
    path = tmp_path / "pids" / "etcd.json"
    assert processes.load(path) is None
    processes.save(path, started)
    assert processes.load(path) == started
    path.write_text("{")
    assert processes.load(path) is None


def test_component_is_left_alone_until_its_arguments_or_files_change(tmp_path: pathlib.Path) -> None:
    layout = paths.layout("t", root=tmp_path)
    config = tmp_path / "config"
    config.write_text("1")
    part = component.Component(name="x", argv=("sleep", "60"), healthy=lambda: None, config=(config,))
    try:
        assert component.start(layout, part)
        first = component.running(layout, "x")
        assert not component.start(layout, part)
        config.write_text("2")
        assert component.start(layout, part)
        second = component.running(layout, "x")
        assert first is not None
        assert second is not None
        assert first.identity != second.identity
        assert not processes.alive(first.identity)
    finally:
        component.stop(layout, "x", grace=0)
    assert component.running(layout, "x") is None


def test_component_that_dies_is_named_with_the_end_of_its_log(tmp_path: pathlib.Path) -> None:
    layout = paths.layout("t", root=tmp_path)
    part = component.Component(name="x", argv=("sh", "-c", "echo no such flag; exit 1"), healthy=lambda: "nobody home")
    component.start(layout, part)
    with pytest.raises(errors.NotReady, match=r"(?s)x is not ready: it ended .*no such flag"):
        component.wait(layout, part)


def test_component_that_stays_unhealthy_runs_into_its_limit(tmp_path: pathlib.Path) -> None:
    layout = paths.layout("t", root=tmp_path)
    part = component.Component(name="x", argv=("sleep", "60"), healthy=lambda: "not yet", timeout=0.1)
    try:
        component.start(layout, part)
        with pytest.raises(errors.NotReady, match="not healthy after 0 s: not yet"):
            component.wait(layout, part)
    finally:
        component.stop(layout, "x", grace=0)
