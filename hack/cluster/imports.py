"""Load image archives into a cluster's own containerd."""

import pathlib
import subprocess

from hack import images
from hack.cluster import errors, node, packages, paths, report

_TIMEOUT_SECONDS = 600


def _ctr(layout: paths.Layout, *arguments: str) -> str:
    """Run containerd's client in the namespace that the kubelet uses and return what it printed."""
    program = packages.which("ctr") or "ctr"
    command = [program, "--address", str(layout.containerd_socket), "--namespace", "k8s.io", *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    if result.returncode != 0:
        message = f"`{' '.join(command)}` failed: {result.stderr.strip()[-500:]}"
        raise errors.ClusterError(message)
    return result.stdout


def ensure(layout: paths.Layout, names: tuple[str, ...]) -> list[str]:
    """Import the images that this containerd does not have in their present version; return the references imported.

    The name of the cached archive holds a hash of its content's inputs, so a marker file with that name says which
    version was imported last.
    """
    present = set(_ctr(layout, "images", "list", "--quiet").split())
    imported = []
    for name in names:
        image = images.catalogue()[name]
        archive = images.build(name)
        marker = layout.state / "images" / name
        if image.reference in present and marker.exists() and marker.read_text(encoding="utf-8") == archive.name:
            continue
        with report.step(f"importing {image.reference}"):
            _import(layout, archive)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(archive.name, encoding="utf-8")
        imported.append(image.reference)
    return imported


def _import(layout: paths.Layout, archive: pathlib.Path) -> None:
    _ctr(layout, "images", "import", "--snapshotter", node.snapshotter(layout.state), str(archive))
