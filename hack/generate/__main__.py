"""``python -m hack.generate [--check]``: write the generated files, or fail naming those that are stale."""

import argparse
import pathlib
import sys
from typing import Any

import yaml

from hack.generate import chart, crd, dashboard, doctor, licences, metrics, options, reference, versions

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = "# Generated from operator/agentrun_operator/models by `make generate`. Do not edit.\n"


class _Plain(yaml.SafeDumper):
    """Writes out what stands twice: no reader of a CRD has to look up an anchor."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401 - any value
        del data
        return True


def _yaml(document: dict[str, Any]) -> str:
    return HEADER + yaml.dump(document, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


def outputs() -> dict[pathlib.Path, str]:
    """Every generated file with its right content."""
    definition = crd.build_crd()
    # helm neither deletes it with a release nor, with it, every AgentRun.
    kept = {**definition, "metadata": {**definition["metadata"], "annotations": {"helm.sh/resource-policy": "keep"}}}
    return {
        ROOT / "crds" / "paperclip.io_agentruns.yaml": _yaml(definition),
        chart.CHART / "files" / "paperclip.io_agentruns.yaml": _yaml(kept),
        ROOT / "docs" / "api.md": reference.build_reference(),
        ROOT / "docs" / "metrics.md": metrics.build_page(),
        ROOT / "deploy" / "monitoring" / "dashboard.json": dashboard.build_dashboard(),
        ROOT / "docs" / "doctor.md": doctor.build_page(),
        ROOT / "docs" / "licences.md": licences.build_page(),
        ROOT / "docs" / "options.md": options.build_page(),
        **chart.outputs(),
        **versions.outputs(),
    }


def main() -> int:
    """Write or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is stale")
    check = parser.parse_args().check
    stale = [path for path, text in outputs().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        name = path.relative_to(ROOT)
        if check:
            sys.stderr.write(f"{name} is stale: run `make generate` and commit the result\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(outputs()[path])
            sys.stdout.write(f"wrote {name}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
