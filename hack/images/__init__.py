"""Container images made without Docker, from what the machine's own packages and the npm registry hold.

Each image is a docker-archive tar with one layer, written so that the same inputs give the same bytes, and cached under
a name that says what it was made from. `build` is the way in.
"""

import collections.abc
import dataclasses
import hashlib
import pathlib
import platform
import time

from hack.cluster import files, paths, report
from hack.images import agent, busybox, operator

_KEEP_SECONDS = 7 * 24 * 3600


@dataclasses.dataclass(frozen=True)
class Image:
    """An image that can be built: its full reference, what decides its content, and its builder."""

    name: str
    reference: str
    inputs: tuple[str, ...]
    write: collections.abc.Callable[[pathlib.Path], None]


def catalogue() -> dict[str, Image]:
    """Return all images by short name; raises nothing, also where one of them cannot be built."""
    return {
        "busybox": Image("busybox", busybox.BUSYBOX_REF, (), busybox.write_busybox),
        "pause": Image("pause", busybox.PAUSE_REF, (), busybox.write_pause),
        "agent": Image("agent", agent.reference(), agent.inputs(), agent.write),
        "operator": Image("operator", operator.reference(), operator.inputs(), operator.write),
    }


def archive_path(image: Image) -> pathlib.Path:
    """Return where the image's tar is cached: named by its reference, platform and a hash of scripts and inputs."""
    digest = hashlib.sha256()
    for script in sorted(pathlib.Path(__file__).resolve().parent.glob("*.py")):
        digest.update(script.read_bytes())
    digest.update("\0".join((image.reference, platform.machine(), *image.inputs)).encode())
    return paths.cache_dir() / "images" / f"{image.name}-{digest.hexdigest()[:16]}.tar"


def _prune(target: pathlib.Path) -> None:
    """Delete other versions of an image older than a week; a fresh one may still be imported by somebody."""
    for other in target.parent.glob(f"{target.name.rsplit('-', 1)[0]}-*.tar"):
        if other != target and time.time() - other.stat().st_mtime > _KEEP_SECONDS:
            other.unlink(missing_ok=True)


def build(name: str) -> pathlib.Path:
    """Return the cached tar of an image, building it first if needed (guarded, atomic)."""
    image = catalogue()[name]
    target = archive_path(image)
    if target.exists():
        return target
    with files.locked(target.with_suffix(".lock"), purpose=f"building image {image.reference}"):
        if not target.exists():
            with report.step(f"building image {image.reference}"):
                temporary = target.with_suffix(".new")
                image.write(temporary)
                temporary.replace(target)
            _prune(target)
    return target
