"""Render ``deploy/`` with the tools that people install it with: kubectl's kustomize and helm.

Nothing is built here: ``make setup`` does that. A kubectl of the machine's own is as good as ours.
"""

import os
import pathlib
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

import yaml

from hack.cluster import build, paths

DEPLOY = paths.REPO_ROOT / "deploy"
CHART = DEPLOY / "chart" / "agentrun-operator"
NAMESPACE = "agentrun-system"
RELEASE = "agentrun-operator"

_SECONDS = 60

Object = dict[str, Any]


class RenderError(Exception):
    """A tool is missing or refused; the text has its own words."""


def kubectl() -> str:
    """The kubectl of the local clusters, else the one on PATH. Raises RenderError if there is neither."""
    return _tool(build.bin_dir() / "kubectl")


def helm() -> str:
    """The helm that ``make setup`` built, else the one on PATH. Raises RenderError if there is neither."""
    return _tool(build.helm_path())


def _tool(built: pathlib.Path) -> str:
    found = str(built) if os.access(built, os.X_OK) else shutil.which(built.name)
    if found is None:
        raise RenderError(f"there is no {built.name} on this machine: `make setup` builds it")
    return found


def kustomize(folder: pathlib.Path) -> list[Object]:
    """The objects of a kustomization."""
    return _objects(run(kubectl(), "kustomize", str(folder)))


def template(*arguments: str, values: Sequence[pathlib.Path] = ()) -> list[Object]:
    """The objects of the chart; ``arguments`` are more of ``helm template``."""
    files = [f"--values={file}" for file in values]
    return _objects(run(helm(), "template", RELEASE, str(CHART), f"--namespace={NAMESPACE}", *files, *arguments))


def run(*command: str) -> str:
    """Standard output of a tool. Raises RenderError with what it says of its failure."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise RenderError(
            f"{pathlib.Path(command[0]).name} {' '.join(command[1:3])}: {(done.stderr or done.stdout).strip()}"
        )
    return done.stdout


def _objects(text: str) -> list[Object]:
    return [document for document in yaml.safe_load_all(text) if document]
