"""The generated CRD: not stale, structural, documented, and with every rule that the API promises."""

import pathlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic
import pytest
import yaml

from hack.generate import __main__ as generate
from hack.generate import crd

CRD = crd.build_crd()
VERSION = CRD["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
SPEC = SCHEMA["properties"]["spec"]
# What may change after creation (api.md); everything else in spec is fixed.
CHANGEABLE = {"cancel", "suspend", "retention"}


def nodes(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema in a schema, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), Mapping):
            yield from nodes(schema[key], f"{path}[{key}]")


NODES = dict(nodes(SCHEMA))
FIELDS = {
    path: node for path, node in NODES.items() if path.startswith((".spec", ".status")) and not path.endswith("]")
}


# --- the files ------------------------------------------------------------------------------------------------------


def test_no_generated_file_is_stale() -> None:
    """What users install is what the models say; `make generate` writes it."""
    assert {path: path.read_text(encoding="utf-8") for path in generate.outputs()} == generate.outputs()


def test_the_file_holds_the_crd() -> None:
    """Nothing is lost or changed on the way to YAML."""
    (text,) = [text for path, text in generate.outputs().items() if path.parent.name == "crds"]
    assert yaml.safe_load(text) == CRD


@pytest.mark.parametrize("content", [None, "old"])
def test_check_names_what_is_stale_and_changes_nothing(
    content: str | None,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without --check the file is written, and then there is nothing left to say."""
    path = tmp_path / "crds" / "x.yaml"
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "outputs", lambda: {path: "new é"})
    if content is not None:
        path.parent.mkdir()
        path.write_text(content, encoding="utf-8")

    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generate.main() == 1
    assert "crds/x.yaml is stale" in capsys.readouterr().err
    assert (path.read_text(encoding="utf-8") if path.exists() else None) == content

    monkeypatch.setattr(sys, "argv", ["generate"])
    assert generate.main() == 0
    assert path.read_text(encoding="utf-8") == "new é"
    assert capsys.readouterr().out == "wrote crds/x.yaml\n"

    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generate.main() == 0


# --- names ----------------------------------------------------------------------------------------------------------


def test_the_names_are_those_of_the_api() -> None:
    """Three other projects ship a kind of this name; the group tells them apart."""
    spec = CRD["spec"]
    assert CRD["metadata"]["name"] == "agentruns.paperclip.io"
    assert (spec["group"], spec["scope"], VERSION["name"]) == ("paperclip.io", "Namespaced", "v1alpha1")
    assert spec["names"] == {
        "kind": "AgentRun",
        "listKind": "AgentRunList",
        "plural": "agentruns",
        "singular": "agentrun",
        "shortNames": ["arun"],
        "categories": ["paperclip"],
    }
    assert VERSION["subresources"] == {"status": {}}


def test_the_printer_columns_are_those_of_the_api() -> None:
    """The first seven always, the others with -o wide."""
    columns = VERSION["additionalPrinterColumns"]
    assert [c["name"] for c in columns if not c.get("priority")] == "Phase Reason Agent Model Turns Cost Age".split()
    assert [c["name"] for c in columns if c.get("priority") == 1] == "Session Job Node Exit Last-Output Company".split()


@pytest.mark.parametrize("column", VERSION["additionalPrinterColumns"], ids=lambda column: str(column["name"]))
def test_a_printer_column_shows_a_field_that_exists_with_its_type(column: Mapping[str, Any]) -> None:
    """A wrong path prints nothing, and nobody notices."""
    if column["jsonPath"].startswith(".metadata"):
        assert (column["jsonPath"], column["type"]) == (".metadata.creationTimestamp", "date")
        return
    node = FIELDS[column["jsonPath"]]
    assert column["type"] == ("date" if node.get("format") == "date-time" else node["type"])


# --- a structural schema --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["$ref", "$defs", "anyOf", "oneOf", "allOf", "const", "title", "nullable", "examples"])
def test_nothing_is_left_that_a_structural_schema_may_not_hold(word: str) -> None:
    """The API server would refuse the whole CRD."""
    assert [path for path, node in NODES.items() if word in node] == []


def test_every_field_has_a_type() -> None:
    """One that Kubernetes knows."""
    types = {"object", "array", "string", "integer", "number", "boolean"}
    assert [path for path, node in NODES.items() if node.get("type") not in types] == []


def test_no_default_holds_null() -> None:
    """None of these fields is nullable, so the API server would refuse the default."""

    def holds_null(value: object) -> bool:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return value is None or any(map(holds_null, inner))

    assert [path for path, node in NODES.items() if "default" in node and holds_null(node["default"])] == []


@pytest.mark.parametrize("path", [path for path, node in FIELDS.items() if "default" in node])
def test_a_default_is_of_the_fields_type_and_within_its_bounds(path: str) -> None:
    """An object's default is empty: what is inside has defaults of its own."""
    node = FIELDS[path]
    default = node["default"]
    kinds: dict[str, type] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    assert type(default) is kinds[node["type"]]
    if node["type"] == "integer":
        assert node["minimum"] <= default <= node.get("maximum", default)
    if node["type"] == "object":
        assert default == {}
    if "enum" in node:
        assert default in node["enum"]


def test_every_field_of_spec_and_status_says_what_it_is() -> None:
    """kubectl explain shows nothing else."""
    assert [path for path, node in FIELDS.items() if not node.get("description", "").strip()] == []


def test_a_description_does_not_hide_behind_that_of_its_type() -> None:
    """A field that refers to a model keeps its own words."""
    assert FIELDS[".spec.agent"]["description"] == "The agent whose work this run is."
    assert FIELDS[".spec.claude.effort"]["description"].startswith("Reasoning effort (--effort)")


def test_unknown_fields_are_kept_only_in_objects_of_kubernetes() -> None:
    """Everywhere else a misspelt field is dropped with a warning, not taken."""
    open_ended = {path for path, node in NODES.items() if "x-kubernetes-preserve-unknown-fields" in node}
    assert open_ended == {
        f".spec.job.{name}"
        for name in (
            "imagePullSecrets[items]",
            "env[items]",
            "envFrom[items]",
            "tolerations[items]",
            "resources",
            "podTemplate",
        )
    }


def test_conditions_are_a_map_by_type() -> None:
    """Two writers do not delete each other's conditions."""
    conditions = FIELDS[".status.conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def test_every_text_and_list_that_users_write_is_bounded() -> None:
    """The cost of CEL rules is judged by the bounds; one without makes the API server refuse the CRD."""
    unbounded = [
        path
        for path, node in FIELDS.items()
        if path.startswith(".spec.")
        and "x-kubernetes-preserve-unknown-fields" not in node
        and (
            (node["type"] == "string" and not {"maxLength", "enum"} & node.keys())
            or (node["type"] == "array" and "maxItems" not in node)
            or ("additionalProperties" in node and "maxProperties" not in node)
            or (node["type"] == "integer" and "maximum" not in node)
        )
    ]
    assert unbounded == []


# --- rules ----------------------------------------------------------------------------------------------------------

RULES = {rule["message"]: rule["rule"] for rule in SPEC["x-kubernetes-validations"]}


@pytest.mark.parametrize("field", sorted(SPEC["properties"].keys() - CHANGEABLE))
def test_every_group_that_is_fixed_has_its_rule(field: str) -> None:
    """It may neither be changed nor added nor removed, and the sentence names it and the way out."""
    rule = RULES[f"spec.{field} cannot be changed after creation; create a new AgentRun instead"]
    assert f"self.{field} == oldSelf.{field}" in rule
    assert f"has(self.{field}) == has(oldSelf.{field})" in rule


def test_no_other_group_is_fixed() -> None:
    """Cancel has a rule of its own: it cannot be taken back."""
    fixed = SPEC["properties"].keys() - CHANGEABLE
    assert len(RULES) == len(SPEC["x-kubernetes-validations"]) == len(fixed) + 1
    assert any("oldSelf.cancel" in rule and "cannot be taken back" in message for message, rule in RULES.items())


@pytest.mark.parametrize("path", [".spec.companyId", ".spec.agent.id", ".spec.runId", ".spec.taskId"])
def test_every_id_is_checked_by_pattern_length_and_a_rule_with_a_sentence(path: str) -> None:
    """They become parts of names and of paths."""
    node = FIELDS[path]
    assert (node["pattern"], node["minLength"], node["maxLength"]) == ("^[a-zA-Z0-9-]+$", 1, 63)
    (rule,) = node["x-kubernetes-validations"]
    assert "only letters, digits and hyphens" in rule["message"]


# --- the translation itself -----------------------------------------------------------------------------------------


class _Inner(pydantic.BaseModel):
    """An inner model."""

    number: int | None = None


class _Outer(pydantic.BaseModel):
    """Everything that pydantic writes differently from Kubernetes."""

    plain: _Inner = pydantic.Field(_Inner(), description="own words")
    optional: _Inner | None = None
    listed: tuple[_Inner, ...] = ()
    mapped: dict[str, _Inner] = {}
    zero: int = 0
    no: bool = False
    empty: str = ""


def test_pydantics_schema_becomes_structural() -> None:
    """References and alternatives with null are put in place, empty defaults of containers are left out."""
    schema = crd._of_model(_Outer)  # noqa: SLF001 - the translation, without the real models around it
    inner = {"type": "object", "description": "An inner model.", "properties": {"number": {"type": "integer"}}}
    assert schema["properties"] == {
        "plain": {**inner, "description": "own words", "default": {}},
        "optional": inner,
        "listed": {"type": "array", "items": inner},
        "mapped": {"type": "object", "additionalProperties": inner},
        "zero": {"type": "integer", "default": 0},
        "no": {"type": "boolean", "default": False},
        "empty": {"type": "string", "default": ""},
    }
