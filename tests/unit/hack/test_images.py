"""Images are the same bytes for the same content, and hold what they should."""

import hashlib
import json
import os
import pathlib
import tarfile
from collections.abc import Callable

import pytest

from hack.cluster import errors
from hack.images import agent, archive, hostfiles


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
