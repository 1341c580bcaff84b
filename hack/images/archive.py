"""Write a root file system as a docker-archive, byte for byte the same for the same content.

Times are the epoch, owners are what the caller said, entries are sorted: nothing of the building machine or the moment
shows. Contents are streamed, so a file of hundreds of megabytes costs no memory.
"""

import collections.abc
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import platform
import stat
import tarfile
import typing

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

Content = collections.abc.Callable[[], contextlib.AbstractContextManager[typing.IO[bytes]]]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One path of the image. A file has `content` and `size`; a link has `target` (hard: another path of the image)."""

    kind: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    content: Content | None = None


@dataclasses.dataclass(frozen=True)
class Config:
    """How a container of the image runs unless its pod says otherwise."""

    command: tuple[str, ...]
    user: str = ""
    workdir: str = "/"
    environment: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    entrypoint: tuple[str, ...] = ()
    labels: collections.abc.Mapping[str, str] = dataclasses.field(default_factory=dict)


class RootFs:
    """A root file system in memory: names and where the bytes come from. Paths are relative to the image's root."""

    def __init__(self) -> None:
        """Start empty."""
        self.entries: dict[str, Entry] = {}
        self._inodes: dict[tuple[int, int], str] = {}

    def directory(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Add a directory; its parents are added with the usual mode when the archive is written."""
        self.entries[path.strip("/")] = Entry(kind=tarfile.DIRTYPE, mode=mode, uid=uid, gid=gid)

    def text(self, path: str, content: str, *, mode: int = 0o644) -> None:
        """Add a small file with this text."""
        data = content.encode()
        self.stream(path, lambda: io.BytesIO(data), size=len(data), mode=mode)

    def stream(self, path: str, content: Content, *, size: int, mode: int) -> None:
        """Add a file whose `content` opens a stream of exactly `size` bytes."""
        self.entries[path.strip("/")] = Entry(kind=tarfile.REGTYPE, mode=mode, size=size, content=content)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self.entries[path.strip("/")] = Entry(kind=tarfile.SYMTYPE, mode=0o777, target=target)

    def copy(self, source: pathlib.Path, path: str) -> None:
        """Add a file, link or empty directory of this machine; a second name of the same file becomes a hard link.

        Set-uid bits are dropped: nothing in these images may gain privileges.
        """
        path = path.strip("/")
        if path in self.entries:
            return
        facts = source.lstat()
        mode = stat.S_IMODE(facts.st_mode) & 0o777
        if stat.S_ISLNK(facts.st_mode):
            self.symlink(path, str(source.readlink()))
        elif stat.S_ISDIR(facts.st_mode):
            self.directory(path, mode=mode)
        elif stat.S_ISREG(facts.st_mode):
            inode = (facts.st_dev, facts.st_ino)
            if facts.st_nlink > 1 and inode in self._inodes:
                self.entries[path] = Entry(kind=tarfile.LNKTYPE, mode=mode, target=self._inodes[inode])
                return
            self._inodes[inode] = path
            self.stream(path, lambda: source.open("rb"), size=facts.st_size, mode=mode)

    def complete(self) -> list[tuple[str, Entry]]:
        """Return all entries with missing parents added, in writing order: sorted, hard links after their targets."""
        everything = dict(self.entries)
        for path in self.entries:
            for parent in pathlib.PurePosixPath(path).parents:
                if str(parent) != ".":
                    everything.setdefault(str(parent), Entry(kind=tarfile.DIRTYPE, mode=0o755))
        return sorted(everything.items(), key=lambda item: (item[1].kind == tarfile.LNKTYPE, item[0]))


class _HashingWriter:
    """A file that hashes what is written to it."""

    def __init__(self, raw: typing.IO[bytes]) -> None:
        self._raw = raw
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self._raw.write(data)

    def tell(self) -> int:
        return self._raw.tell()


def _add(archive: tarfile.TarFile, path: str, entry: Entry) -> None:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.uid, info.gid = entry.kind, entry.mode, entry.uid, entry.gid
    info.size, info.linkname, info.mtime = entry.size, entry.target, 0
    if entry.content is None:
        archive.addfile(info)
        return
    with entry.content() as stream:
        archive.addfile(info, stream)


def write_layer(root: RootFs, output: pathlib.Path) -> str:
    """Write the layer's tar and return its SHA-256 in hex (the `diff_id`)."""
    with output.open("wb") as raw:
        writer = _HashingWriter(raw)
        with tarfile.open(fileobj=typing.cast("typing.IO[bytes]", writer), mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path, entry in root.complete():
                _add(tar, path, entry)
    return writer.digest.hexdigest()


def render_config(config: Config, *, diff_id: str, architecture: str) -> str:
    """Render the image's configuration object."""
    optional = {"Entrypoint": list(config.entrypoint), "Labels": dict(config.labels)}
    return json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Cmd": list(config.command),
                "Env": list(config.environment),
                "User": config.user,
                "WorkingDir": config.workdir,
                **{key: value for key, value in optional.items() if value},
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "hack/images"}],
        },
        sort_keys=True,
    )


def write_image(root: RootFs, config: Config, *, reference: str, output: pathlib.Path) -> None:
    """Write a docker-archive with one layer: what `ctr images import` and `docker load` read."""
    output.parent.mkdir(parents=True, exist_ok=True)
    layer = output.with_name(f"{output.name}.layer")
    try:
        diff_id = write_layer(root, layer)
        machine = platform.machine()
        rendered = render_config(config, diff_id=diff_id, architecture=_ARCHITECTURES.get(machine, machine)).encode()
        config_name = f"{hashlib.sha256(rendered).hexdigest()}.json"
        layer_name = f"{diff_id}/layer.tar"
        manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": [layer_name]}]
        outer = RootFs()
        outer.text("manifest.json", json.dumps(manifest))
        outer.text(config_name, rendered.decode())
        outer.stream(layer_name, lambda: layer.open("rb"), size=os.path.getsize(layer), mode=0o644)
        write_layer(outer, output)
    finally:
        layer.unlink(missing_ok=True)
