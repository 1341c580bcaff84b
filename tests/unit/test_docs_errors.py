"""The users' list of error codes says what the code does: every code once, and which runs may be tried again."""

import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from agentrun_operator import errors, forensics, settings
from hack.generate import crd

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "errors.md"
HEADER = ("Code", "What it means", "Typical cause", "What to do", "Again?")


class Row(NamedTuple):
    """One code as the page explains it."""

    code: str
    meaning: str
    cause: str
    advice: str
    again: str


def rows() -> Iterator[Row]:
    """All rows of the page's tables, without their headers."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            yield Row(*(cell.strip().strip("`") for cell in line.strip("|").split("|")))


def test_every_code_is_explained_once_in_the_order_of_the_code() -> None:
    """None is missing, doubled or unknown."""
    assert [row.code for row in rows()] == [code.value for code in errors.ErrorCode]


def test_every_line_of_a_table_is_a_row() -> None:
    """A code that is not written as code would escape the other tests."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    header = "| " + " | ".join(HEADER) + " |"
    others = {line for line in lines if not line.startswith("| `")}
    assert others == {header, "|---|---|---|---|---|"}


def test_again_is_what_forensics_says() -> None:
    """The column is the very set by which a verdict is called retryable."""
    retryable = getattr(forensics, "_RETRYABLE")  # noqa: B009 - private to everybody but this comparison
    assert {row.code for row in rows() if row.again == "yes"} == {code.value for code in retryable}
    assert {row.again for row in rows()} == {"yes", "no"}


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: row.code)
def test_every_code_has_a_meaning_and_an_advice(row: Row) -> None:
    """In whole sentences; the cause may be plain from the meaning."""
    assert row.meaning.endswith(".")
    assert row.advice.endswith(".")
    assert row.cause == "" or row.cause.endswith(".")


def test_every_field_that_the_page_names_exists() -> None:
    """`claude.maxTurns` and the like are fields of spec, `status.…` of status, `AGENTRUN_…` settings."""
    text = PAGE.read_text(encoding="utf-8")
    groups = "|".join(crd_fields("spec"))
    spec = set(re.findall(rf"`(?:spec\.)?((?:{groups})(?:\.[a-zA-Z]+)*)[`:]", text))
    status = set(re.findall(r"[`{.]status\.([a-zA-Z.]+)", text))
    variables = set(re.findall(r"AGENTRUN_([A-Z_]+)", text))

    assert {"claude.maxTurns", "cancel"} <= spec
    assert {path for path in spec if not exists("spec", path)} == set()
    assert "error.code" in status
    assert {path for path in status if not exists("status", path)} == set()
    assert "DATA_PATH" in variables
    assert {name for name in variables if name.lower() not in settings.Settings.model_fields} == set()


def crd_fields(part: str) -> dict[str, Any]:
    """The fields of spec or status, as the CRD has them."""
    [version] = crd.build_crd()["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"]["properties"][part]["properties"])


def exists(part: str, path: str) -> bool:
    """Whether there is such a field; an object of Kubernetes' own may have any."""
    node: dict[str, Any] = {"properties": crd_fields(part)}
    for name in path.split("."):
        if "x-kubernetes-preserve-unknown-fields" in node:
            return True
        if name not in node.get("properties", {}):
            return False
        node = node["properties"][name]
    return True
