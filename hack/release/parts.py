"""The files of a release, and how each is made. Nothing here reaches beyond the folder that it is given.

What can be the same for the same commit is: the wheel, the source archive, the image, the manifests and the list of
parts. The chart's archive is not, because helm writes the time into it.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from hack import images
from hack.deployment import rendering
from hack.generate import licences
from hack.release import judging

CYCLONEDX = judging.ROOT / "build" / "venv" / "release" / "bin" / "cyclonedx-py"
SUMS = "SHA256SUMS"

_SECONDS = 600
_SPDX = re.compile(r"[\w.+-]+(?: (?:AND|OR|WITH) [\w.+-]+)*")


class ReleaseError(Exception):
    """A part could not be made; the text has the tool's own words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Files of a release: their names, what they are for, and what writes them into a folder."""

    names: tuple[str, ...]
    purpose: str
    make: Callable[[pathlib.Path], None]


def parts(facts: judging.Facts) -> tuple[Part, ...]:
    """Everything that a release of this version holds, but the sums."""
    version = facts.version
    return (
        Part(
            names=(f"agentrun_operator-{version}-py3-none-any.whl", f"agentrun_operator-{version}.tar.gz"),
            purpose="the command, the client and the operator, for pip",
            make=lambda folder: build_python(folder, epoch=_epoch(facts)),
        ),
        Part(
            names=(f"agentrun-operator-{version}-{platform.machine()}.tar",),
            purpose="the operator's image, for docker load or ctr images import",
            make=lambda folder: _copy_image(folder / f"agentrun-operator-{version}-{platform.machine()}.tar"),
        ),
        Part(
            names=(f"agentrun-operator-{version}.tgz",),
            purpose="the chart, for helm install",
            make=lambda folder: _package_chart(folder),
        ),
        Part(
            names=("crd.yaml", *(f"install-{name}.yaml" for name in _kustomizations())),
            purpose="the manifests, for kubectl apply --server-side",
            make=_render_manifests,
        ),
        Part(
            names=("parts.cdx.json",),
            purpose="every Python package in the image with version, hashes and licence (CycloneDX)",
            make=lambda folder: _list_parts(folder, version),
        ),
        Part(
            names=("LICENSE", "licences.md", "notes.md"),
            purpose="our licence, those of the dependencies, and what is new",
            make=lambda folder: _write_texts(folder, judging.notes(facts)),
        ),
    )


def _epoch(facts: judging.Facts) -> str:
    """The time of the commit, which goes into archives instead of the time of day."""
    if not facts.commit:
        return "315532800"  # 1980, the first that a zip can say
    return _run("git", "show", "--no-patch", "--format=%ct", facts.commit).strip()


def build_python(folder: pathlib.Path, *, epoch: str) -> None:
    """Write the wheel and the source archive. Raises ReleaseError with what hatchling says."""
    _run(
        *(sys.executable, "-m", "hatchling", "build", "--directory", str(folder)),
        env={"SOURCE_DATE_EPOCH": epoch},
    )


def _copy_image(target: pathlib.Path) -> None:
    shutil.copyfile(images.build("operator"), target)


def _package_chart(folder: pathlib.Path) -> None:
    _run(rendering.helm(), "package", str(rendering.CHART), "--destination", str(folder))


def _kustomizations() -> dict[str, pathlib.Path]:
    overlays = sorted((rendering.DEPLOY / "overlays").iterdir())
    return {"base": rendering.DEPLOY / "base", **{path.name: path for path in overlays}}


def _render_manifests(folder: pathlib.Path) -> None:
    shutil.copyfile(judging.ROOT / "crds" / "paperclip.io_agentruns.yaml", folder / "crd.yaml")
    for name, path in _kustomizations().items():
        (folder / f"install-{name}.yaml").write_text(_run(rendering.kubectl(), "kustomize", str(path)))


def _list_parts(folder: pathlib.Path, version: str) -> None:
    if not CYCLONEDX.exists():
        raise ReleaseError("cyclonedx-py is not there: `make release` installs it, from requirements/release.txt")
    lock = judging.ROOT / "requirements" / "runtime.txt"
    options = ("--pyproject", str(judging.ROOT / "pyproject.toml"), "--mc-type", "application", "--output-reproducible")
    listed = json.loads(_run(str(CYCLONEDX), "requirements", *options, str(lock)))
    listed["metadata"]["component"]["version"] = version  # pyproject.toml has none: the package says it
    text = json.dumps(with_licences(listed, licences.licences()), indent=2)
    (folder / "parts.cdx.json").write_text(text + "\n")


def with_licences(listed: Mapping[str, Any], of: Mapping[str, str]) -> dict[str, Any]:
    """The list with a licence for each package, which a lock does not know. Raises ReleaseError for one without."""
    components = []
    for component in listed["components"]:
        licence = of.get(component["name"].lower())
        if licence is None:
            raise ReleaseError(f"{component['name']} is in the list of parts and has no known licence")
        said = {"expression": licence} if _SPDX.fullmatch(licence) else {"license": {"name": licence}}
        components.append({**component, "licenses": [said]})
    return {**listed, "components": components}


def _write_texts(folder: pathlib.Path, notes: str) -> None:
    shutil.copyfile(judging.ROOT / "LICENSE", folder / "LICENSE")
    shutil.copyfile(judging.ROOT / "docs" / "licences.md", folder / "licences.md")
    (folder / "notes.md").write_text(notes)


def render_sums(folder: pathlib.Path) -> str:
    """The hashes of all files in a folder, as ``sha256sum --check`` reads them."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.name == SUMS:
            continue
        with path.open("rb") as stream:
            lines.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines)


def _run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Standard output of a tool."""
    done = subprocess.run(
        command,
        cwd=judging.ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise ReleaseError(f"{pathlib.Path(command[0]).name} {' '.join(command[1:4])}: {said}")
    return done.stdout
