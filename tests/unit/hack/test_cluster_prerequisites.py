"""Each missing prerequisite is one sentence: what, why, and the fix."""

import collections
import pathlib
import shutil
import subprocess

import pytest

from hack.cluster import errors, levels, packages, prerequisites, toolchain


def test_sentence_has_what_why_and_fix() -> None:
    error = errors.MissingPrerequisite("no anvil", why="iron is forged on it", fix="buy one")
    assert str(error) == "no anvil: iron is forged on it. Fix: buy one"


def test_node_level_needs_root() -> None:
    prerequisites.check_root(0)
    with pytest.raises(errors.MissingPrerequisite, match="not root: .*sudo"):
        prerequisites.check_root(1000)


def test_kernel_needs_overlay_and_kmsg(tmp_path: pathlib.Path) -> None:
    prerequisites.check_kernel("nodev\toverlay\n\text4\n", kmsg=tmp_path)
    with pytest.raises(errors.MissingPrerequisite, match="modprobe overlay"):
        prerequisites.check_kernel("\text4\n", kmsg=tmp_path)
    with pytest.raises(errors.MissingPrerequisite, match="out-of-memory"):
        prerequisites.check_kernel("nodev\toverlay\n", kmsg=tmp_path / "kmsg")


def test_socket_path_that_does_not_fit_is_refused_by_its_length() -> None:
    prerequisites.check_socket_path(pathlib.Path("/" + "a" * 106))
    with pytest.raises(errors.MissingPrerequisite, match="has 108 bytes"):
        prerequisites.check_socket_path(pathlib.Path("/" + "a" * 107))


def test_full_disk_is_refused_before_anything_starts(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 10**8))
    with pytest.raises(errors.MissingPrerequisite, match=r"only 0\.1 GB free .* down --all"):
        prerequisites.check_disk(levels.Level.NODE, tmp_path / "not" / "yet")


def test_missing_packages_without_root_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/usr/bin/{name}")
    with pytest.raises(errors.MissingPrerequisite, match="sudo apt-get install --no-install-recommends npm runc"):
        packages.ensure(["runc", "npm"], why="they are needed")


def test_no_apt_is_said_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(errors.MissingPrerequisite, match="no Debian or Ubuntu"):
        packages.ensure(["runc"], why="it is needed")


def test_neither_go_nor_pip(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTRUN_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    failed = subprocess.CompletedProcess([], 1, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(errors.MissingPrerequisite, match=r"no Go and no pip: .*python3-pip"):
        toolchain.find_go()
