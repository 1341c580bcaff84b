"""The version, wherever it has to be written down: the package has it, and these files follow.

What a user installs without the package (the chart, the kustomization, the Dockerfile) cannot ask the package.
"""

import pathlib
import re

import agentrun_operator
from hack.generate import chart

_DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
_ANY = r"\d+\.\d+\.\d+[0-9A-Za-z.+-]*"

# Each place: the text before the version, which is there once and at the begin of a line.
PLACES: dict[pathlib.Path, tuple[str, ...]] = {
    chart.CHART / "Chart.yaml": ("version: ", "appVersion: "),
    _DEPLOY / "base" / "kustomization.yaml": ("    newTag: ",),
    _DEPLOY / "Dockerfile": ("ARG VERSION=", "#   docker build -f deploy/Dockerfile -t docker.io/agentrun/operator:"),
}


def render(text: str, before: str, version: str) -> str:
    """The text with the version after its mark. Raises LookupError unless the mark is there just once."""
    pattern = re.compile(rf"^({re.escape(before)}){_ANY}", re.MULTILINE)
    changed, count = pattern.subn(rf"\g<1>{version}", text)
    if count != 1:
        raise LookupError(f"{before.strip()!r} and a version stand in {count} lines, and not in one")
    return changed


def outputs() -> dict[pathlib.Path, str]:
    """The files with the version of the package in them."""
    found = {}
    for path, places in PLACES.items():
        text = path.read_text(encoding="utf-8")
        for before in places:
            text = render(text, before, agentrun_operator.__version__)
        found[path] = text
    return found
