"""The pages for people who run the operator name only what there is, and leave no error code out."""

import pathlib
import re

import pytest

from agentrun_operator import doctor, errors, settings
from tests.unit import test_docs_errors

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGES = ("quickstart.md", "operations.md", "security.md", "faq.md", "migration.md", "doctor.md", "cli.md")


@pytest.mark.parametrize("name", PAGES)
def test_every_setting_and_field_that_a_page_names_exists(name: str) -> None:
    """`claude.maxTurns` and the like are fields of spec, `status.…` of status, `AGENTRUN_…` settings."""
    text = (DOCS / name).read_text(encoding="utf-8")
    groups = "|".join(test_docs_errors.crd_fields("spec"))
    spec = set(re.findall(rf"`(?:spec\.)?((?:{groups})\.[a-zA-Z.]+)[`:]", text))
    status = {path.rstrip(".") for path in re.findall(r"[`{.]status\.([a-zA-Z]+(?:\.[a-zA-Z]+)*)", text)}
    variables = {name.rstrip("_") for name in re.findall(r"\bAGENTRUN_([A-Z_]+)", text)}

    assert {path for path in spec if not test_docs_errors.exists("spec", path)} == set()
    assert {path for path in status if not test_docs_errors.exists("status", path)} == set()
    assert {variable for variable in variables if variable.lower() not in settings.Settings.model_fields} == set()


def test_the_runbook_has_every_error_code_once() -> None:
    """So that whoever is paged for many runs of one code finds where to look."""
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    section = text.partition("\n## Many runs with one code\n")[2].partition("\n## ")[0]
    first = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    codes = [code for cell in first for code in re.findall(r"`([a-z0-9_]+)`", cell)]
    assert sorted(codes) == sorted(code.value for code in errors.ErrorCode)


def test_the_runbook_names_only_checks_that_there_are() -> None:
    """Written as doctor's `check`, or as the check `name` of doctor."""
    text = (DOCS / "operations.md").read_text(encoding="utf-8")
    lists = re.findall(r"(?:doctor's|checks?) ((?:`[a-z-]+`(?:, | and )?)+)", text)
    named = {name for found in lists for name in re.findall(r"`([a-z-]+)`", found)}
    assert {"crd", "rights", "log-root", "probe"} <= named
    assert named <= {check.name for check in doctor.CHECKS}


def test_doctors_page_has_every_check() -> None:
    """It is generated from the list; this says so without running the generator."""
    text = (DOCS / "doctor.md").read_text(encoding="utf-8")
    checks = text.partition("## The checks")[2].partition("## The rights")[0]
    rows = re.findall(r"^\| `([a-z-]+)` \| .+ \| .+ \|$", checks, flags=re.MULTILINE)
    assert rows == [check.name for check in doctor.CHECKS]
