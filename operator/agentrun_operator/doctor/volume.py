"""Checks of the shared volume, as the operator's own pod sees it."""

import math
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator

from agentrun_operator import manifest, settings
from agentrun_operator.doctor import findings, sights
from agentrun_operator.doctor.findings import Finding, Unknown

_ESCAPED = re.compile(r"\\([0-7]{3})")
_CACHED_SECONDS = 60.0  # acregmax and acdirmax of NFS, where the mount does not say otherwise
_FREE_FAIL = 0.01  # of the whole
_FREE_WARN = 0.10
_LEAST_BYTES = 256 * 1024 * 1024  # a long run's log, and something for its workspace
_SLOW_SECONDS = 1.0
_OWNER, _GROUP, _OTHERS = 0o200, 0o020, 0o002  # the bits of a mode that allow to write

_OfVolume = Callable[[settings.Settings, sights.Volume], Iterable[Finding]]


def where_seen(check: _OfVolume) -> Callable[[sights.Sights], Iterator[Finding]]:
    """A check of the volume; where that cannot be looked at, it is skipped, and only ``check_volume`` says more."""

    def examine(seen: sights.Sights) -> Iterator[Finding]:
        if isinstance(seen.volume, Unknown) or seen.volume.fault:
            yield findings.skipped("the volume cannot be looked at")
        else:
            yield from check(seen.configuration.settings, seen.volume)

    return examine


def attribute_cache_seconds(volume: sights.Volume) -> float:
    """For how long the mount may show a file as it was, when another node has changed it; 0 for a local one."""
    if not volume.filesystem.startswith("nfs") or "noac" in volume.options:
        return 0.0
    given = dict(option.split("=", 1) for option in volume.options if "=" in option)
    both = given.get("actimeo", "")
    found = [both or given.get(name, "") for name in ("acregmax", "acdirmax")]
    return max(float(text) if text.isdecimal() else _CACHED_SECONDS for text in found)


def parse_mount(mountinfo: str, path: str) -> tuple[bool, str, tuple[str, ...]]:
    """Of what the kernel says of all mounts: whether ``path`` is on one below /, its file system and its options."""
    best, found = "", ("", "")
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        words, rest = before.split(), after.split()
        if len(words) < 6 or len(rest) < 3:  # noqa: PLR2004 - as proc(5) has it
            continue
        point = _ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), words[4])
        if posixpath.commonpath([point, path]) == point and len(point) >= len(best):
            best, found = point, (rest[0], rest[2])
    return best not in {"", "/"}, found[0], tuple(found[1].split(",")) if found[1] else ()


def check_volume(seen: sights.Sights) -> Iterable[Finding]:
    """Whether the volume is there."""
    volume = seen.volume
    if isinstance(volume, Unknown):
        yield findings.unknown(volume)
    elif volume.fault:
        yield findings.failed(volume.fault, volume.path)
    elif not volume.mounted:
        yield findings.warned("is a folder of this container's own, and no volume is mounted there", volume.path)
    else:
        yield findings.passed(f"is mounted ({volume.filesystem or 'unknown file system'})", volume.path)


def check_log_root(_config: settings.Settings, volume: sights.Volume) -> Iterable[Finding]:
    """Whether agents can write where the operator reads."""
    root = volume.log_root
    if root is None:
        yield findings.skipped("where it is was not looked at")
    elif not root.exists:
        yield findings.warned("is not there yet; the first run makes it", root.path)
    elif not root.readable:
        yield findings.failed("cannot be read by the operator", root.path)
    else:
        agent = manifest.RUN_AS_USER
        owner = f"owner {root.uid}:{root.gid}, mode {root.mode:04o}"
        bit = _OWNER if root.uid == agent else _GROUP if root.gid == agent else _OTHERS
        if root.mode & bit:
            yield findings.passed(f"agents can write to it ({owner})", root.path)
        else:
            yield findings.failed(f"agents, user {agent}, cannot write to it ({owner})", root.path)


def check_probe(_config: settings.Settings, volume: sights.Volume) -> Iterable[Finding]:
    """Whether what is written can be read."""
    probe = volume.probe
    if probe is None:
        yield findings.skipped("nothing was written")
    elif probe.fault:
        yield findings.failed(probe.fault, probe.folder)
    else:
        yield findings.passed("a file was written, renamed and read, and removed again", probe.folder)


def check_visibility(config: settings.Settings, volume: sights.Volume) -> Iterable[Finding]:
    """How long what an agent writes takes to be seen."""
    probe, cached = volume.probe, attribute_cache_seconds(volume)
    if probe is None or probe.fault:
        yield findings.skipped("nothing could be written")
    elif probe.seconds > _SLOW_SECONDS:
        yield findings.warned(f"a change was seen only after {probe.seconds:.1f} s", probe.folder)
    elif cached > config.drain_seconds:
        yield findings.warned(
            f"{volume.filesystem} may hide what another node writes for {cached:.0f} s, longer than the operator waits "
            f"for the end of a log ({config.drain_seconds:g} s)",
            probe.folder,
            hint=f"Mount it with actimeo={math.floor(config.drain_seconds / 2) or 1}, or raise AGENTRUN_DRAIN_SECONDS.",
        )
    else:
        from_afar = f"; from another node after up to {cached:.0f} s" if cached else ""
        yield findings.passed(f"a change is seen after {probe.seconds * 1000:.0f} ms{from_afar}", probe.folder)


def check_space(_config: settings.Settings, volume: sights.Volume) -> Iterable[Finding]:
    """Whether there is room for logs and workspaces."""
    space = volume.space
    if space is None:
        yield findings.skipped("the file system does not say what is free")
        return
    yield _of_space("space", space.free_bytes, space.total_bytes, least=_LEAST_BYTES)
    yield _of_space("inodes", space.free_inodes, space.total_inodes, least=0)


def _of_space(what: str, free: int, total: int, *, least: int) -> Finding:
    if not total:
        return findings.passed("the file system has no such limit", what)
    size = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB" if what == "space" else f"{free:,} of {total:,}"
    sentence = f"{size} free ({free / total:.0%})"
    if free < _FREE_FAIL * total or free < least:
        return findings.failed(sentence, what)
    return findings.warned(sentence, what) if free < _FREE_WARN * total else findings.passed(sentence, what)
