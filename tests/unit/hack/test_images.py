"""Images are the same bytes for the same content, and hold what they should."""

import hashlib
import json
import os
import pathlib
import re
import tarfile
from collections.abc import Callable

import pytest

from hack.cluster import errors, paths
from hack.images import agent, archive, hostfiles, operator


def _sample(source: pathlib.Path, *, backwards: bool) -> archive.RootFs:
    root = archive.RootFs()
    steps: list[Callable[[], None]] = [
        lambda: root.text("etc/hello", "hi\n"),
        lambda: root.directory("tmp", mode=0o1777),
        lambda: root.symlink("bin/sh", "/bin/busybox"),
        lambda: root.copy(source, "bin/busybox"),
        lambda: root.directory("home/user", uid=1000, gid=1000),
    ]
    for step in reversed(steps) if backwards else steps:
        step()
    return root


def test_same_content_gives_the_same_bytes_whatever_the_order_and_time(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "program"
    source.write_bytes(b"x" * 70_000)
    hashes = set()
    for backwards in (False, True):
        os.utime(source, (backwards, backwards))
        output = tmp_path / f"{backwards}.tar"
        archive.write_image(
            _sample(source, backwards=backwards), archive.Config(command=("sh",)), reference="r:1", output=output
        )
        hashes.add(hashlib.sha256(output.read_bytes()).hexdigest())
    assert len(hashes) == 1


def test_archive_is_consistent(tmp_path: pathlib.Path) -> None:
    source = tmp_path / "program"
    source.write_bytes(b"x")
    source.chmod(0o4755)
    output = tmp_path / "image.tar"
    config = archive.Config(command=("sh",), user="1000:1000")
    archive.write_image(_sample(source, backwards=False), config, reference="docker.io/x/y:1", output=output)
    with tarfile.open(output) as outer:
        manifest = json.load(outer.extractfile("manifest.json"))[0]  # type: ignore[arg-type]
        rendered = outer.extractfile(manifest["Config"]).read()  # type: ignore[union-attr]
        layer = outer.extractfile(manifest["Layers"][0])
        assert layer is not None
        digest = hashlib.sha256(layer.read()).hexdigest()
        layer.seek(0)
        with tarfile.open(fileobj=layer) as inner:
            members = {member.name: member for member in inner.getmembers()}
    assert manifest["RepoTags"] == ["docker.io/x/y:1"]
    assert json.loads(rendered)["rootfs"]["diff_ids"] == [f"sha256:{digest}"]
    assert json.loads(rendered)["config"]["User"] == "1000:1000"
    assert members["tmp"].mode == 0o1777
    assert members["bin/busybox"].mode == 0o755  # no set-uid bit
    assert members["home/user"].uid == 1000
    assert members["home"].isdir()  # a parent that nobody added
    assert not list(tmp_path.glob("*.layer"))


def test_second_name_of_a_file_is_a_hard_link_after_its_target(tmp_path: pathlib.Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("x")
    second.hardlink_to(first)
    root = archive.RootFs()
    root.copy(first, "z")
    root.copy(second, "a")
    names = [path for path, _ in root.complete()]
    assert names == ["z", "a"]
    assert root.entries["a"].target == "z"


def test_ldd_output_is_parsed_and_a_missing_library_is_an_error() -> None:
    output = (
        "/usr/bin/bash:\n\tlinux-vdso.so.1 (0x00007)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007)\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007)\n/bin/static:\n\tstatically linked\n"
    )
    found = [str(path) for path in hostfiles.parse_ldd(output)]
    assert found == ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
    with pytest.raises(errors.ClusterError, match=r"libz\.so\.1"):
        hostfiles.parse_ldd("\tlibz.so.1 => not found\n")


def test_agent_is_pinned_per_machine_type() -> None:
    assert agent.reference() == f"docker.io/agentrun/claude-code:{agent.pin('x86_64').version}"
    assert agent.pin("aarch64").package.endswith("arm64")
    with pytest.raises(errors.ClusterError, match="this machine is riscv64"):
        agent.pin("riscv64")


def test_download_with_another_hash_is_refused(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "package.tgz"
    file.write_bytes(b"")
    empty = "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="
    agent.verify(file, empty)
    with pytest.raises(errors.ClusterError, match="is pinned"):
        agent.verify(file, "sha512-AAAA")


def test_operator_image_is_named_by_the_version_and_changes_with_code_and_lock(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, lock = tmp_path / "agentrun_operator", tmp_path / "runtime.txt"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__init__.py").write_text('"""x"""\n\n__version__ = "7.8.9"\n')
    (package / "__pycache__" / "x.pyc").write_text("not counted")
    lock.write_text("a==1\n")
    monkeypatch.setattr(operator, "_PACKAGE", package)
    monkeypatch.setattr(operator, "_LOCK", lock)
    before = operator.inputs()
    assert operator.reference() == "docker.io/agentrun/operator:7.8.9"
    assert operator.labels()["org.opencontainers.image.version"] == "7.8.9"
    (package / "__pycache__" / "x.pyc").write_text("still not counted")
    assert operator.inputs() == before
    (package / "new.py").write_text("")
    assert operator.inputs() != before
    after = operator.inputs()
    lock.write_text("a==2\n")
    assert operator.inputs() != after


def test_entrypoint_and_labels_are_written_only_where_there_are_any() -> None:
    plain = json.loads(archive.render_config(archive.Config(command=("sh",)), diff_id="0", architecture="amd64"))
    assert {"Entrypoint", "Labels"} & set(plain["config"]) == set()
    config = archive.Config(command=("operator",), entrypoint=("python3",), labels={"a": "b"})
    rich = json.loads(archive.render_config(config, diff_id="0", architecture="amd64"))["config"]
    assert (rich["Entrypoint"], rich["Cmd"], rich["Labels"]) == (["python3"], ["operator"], {"a": "b"})


def test_the_dockerfile_makes_the_same_image() -> None:
    """Not built here; what both say of the image is compared: user, command, environment, labels, the lock."""
    text = (paths.REPO_ROOT / "deploy" / "Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    entrypoint = re.search(r"^ENTRYPOINT (\[.*\])$", final, re.MULTILINE)
    command = re.search(r"^CMD (\[.*\])$", final, re.MULTILINE)
    assert entrypoint is not None and json.loads(entrypoint[1]) == ["/usr/bin/python3", "-m", "agentrun_operator"]
    assert command is not None and json.loads(command[1]) == ["operator"]
    assert "\nUSER 1000:1000\n" in final
    for variable in operator.ENVIRONMENT:
        assert variable in final
    for label in operator.labels():
        assert f"{label}=" in final
    assert "--require-hashes" in text and "--only-binary=:all:" in text and "requirements/runtime.txt" in text
    assert re.findall(r"pip|gcc|build-essential|-dev\b", final.replace("without pip", "")) == []


def test_the_build_context_holds_what_the_image_needs_and_nothing_else() -> None:
    lines = (paths.REPO_ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(\S+)", (paths.REPO_ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    for source in copied:
        assert f"!{source.rstrip('/')}" in rules
