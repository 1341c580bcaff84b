"""The generated CRD: not stale, structural, documented, and with every rule that the API promises."""

import itertools
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic
import pytest
import yaml

from agentrun_operator import models
from agentrun_operator.models import crd
from hack.generate import __main__ as generate
from hack.generate import reference
from tests import builders

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
    """And in data of orchestrators. Everywhere else a misspelt field is dropped with a warning, not taken."""
    open_ended = {path for path, node in NODES.items() if "x-kubernetes-preserve-unknown-fields" in node}
    assert open_ended == {
        f".spec.{path}"
        for path in (
            "wake.payload",
            "workspace.workspaces[items]",
            "workspace.runtimeServices[items]",
            "workspace.runtimeServiceIntents[items]",
            "job.imagePullSecrets[items]",
            "job.env[items].valueFrom",
            "job.envFrom[items]",
            "job.tolerations[items]",
            "job.resources",
            "job.podTemplate",
        )
    }


@pytest.mark.parametrize(
    ("path", "key"),
    [(".status.conditions", "type"), (".spec.job.env", "name"), (".spec.bundle.skills", "name")],
)
def test_what_is_told_apart_by_a_key_is_a_map(path: str, key: str) -> None:
    """Two writers do not delete each other's items, and none stands twice."""
    node = FIELDS[path]
    assert node["x-kubernetes-list-type"] == "map"
    assert node["x-kubernetes-list-map-keys"] == [key]


def test_the_file_has_no_anchors() -> None:
    """What stands twice is written twice: a reader need not look it up."""
    (text,) = [text for path, text in generate.outputs().items() if path.parent.name == "crds"]
    assert re.findall(r"[&*]id\d+", text) == []


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
    """It may neither be changed nor added nor removed, and the sentence names it and the way out.

    Whether it is there is asked only where that can change, since that is dear.
    """
    message = f"spec.{field} cannot be changed after creation; create a new AgentRun instead"
    node = SPEC["properties"][field]
    assert {"rule": "self == oldSelf", "message": message} in node["x-kubernetes-validations"]
    may_be_absent = field not in SPEC["required"] and "default" not in node
    assert RULES.get(message) == (f"has(self.{field}) == has(oldSelf.{field})" if may_be_absent else None)


def test_no_other_group_is_fixed() -> None:
    """Cancel has a rule of its own: it cannot be taken back."""
    rules = [
        rule["rule"] for name in CHANGEABLE for rule in SPEC["properties"][name].get("x-kubernetes-validations", ())
    ]
    assert not any("oldSelf" in rule for rule in rules)
    assert len(RULES) == len(SPEC["x-kubernetes-validations"])
    others = {message: rule for message, rule in RULES.items() if "cannot be changed" not in message}
    assert list(others) == ["spec.cancel cannot be taken back; create a new AgentRun instead"]
    assert all("oldSelf.cancel" in rule for rule in others.values())


@pytest.mark.parametrize("path", [".spec.companyId", ".spec.agent.id", ".spec.runId", ".spec.taskId"])
def test_every_id_is_checked_by_pattern_length_and_a_rule_with_a_sentence(path: str) -> None:
    """They become parts of names and of paths."""
    node = FIELDS[path]
    assert (node["pattern"], node["minLength"], node["maxLength"]) == ("^[a-zA-Z0-9-]+$", 1, 63)
    (rule,) = (rule for rule in node["x-kubernetes-validations"] if "oldSelf" not in rule["rule"])
    assert "only letters, digits and hyphens" in rule["message"]


# --- the reference for users -----------------------------------------------------------------------------------------

PAGE = reference.build_reference()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
HEADINGS = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL), flags=re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=["minimal", "full"])
def test_the_examples_of_the_page_are_valid(example: str) -> None:
    """A reader may copy them as they stand."""
    body = yaml.safe_load(example)
    assert (body["apiVersion"], body["kind"]) == ("paperclip.io/v1alpha1", "AgentRun")
    assert models.problems(builders.agent_run(**body["spec"])) == []


def test_the_full_example_has_something_of_everything() -> None:
    """Every group of spec but cancel, which would stop it."""
    assert set(yaml.safe_load(EXAMPLES[1])["spec"]) == SPEC["properties"].keys() - {"cancel"}


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading, by the field's name."""
    text = PAGE.split(f" {heading}\n", 1)[1].split("\n#", 1)[0]
    cells = (re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |")) for line in text.splitlines())
    return {row[0].strip("`"): row for row in cells if row[0].startswith("`")}


def test_the_page_has_every_field_with_its_description() -> None:
    """Under the heading of its object, with type and default."""
    for path, node in nodes(SCHEMA):
        if not path.startswith((".spec", ".status")) or "properties" not in node:
            continue
        shown = rows(path.removeprefix(".").replace("[items]", "[]"))
        assert list(shown) == list(node["properties"])
        for name, field in node["properties"].items():
            _, kind, default, _, description = shown[name]
            assert kind
            assert (default == "required") == (name in node.get("required", ()))
            assert re.sub(r"`|\[|\]\(errors.md\)", "", description) == re.sub(r"`|\[", "", field["description"])
            if isinstance(field.get("default"), bool | int):
                assert default == f"`{str(field['default']).lower()}`"


@pytest.mark.parametrize(
    ("heading", "field", "kind", "default", "bounds"),
    [
        ("spec", "companyId", "string", "required", "1 to 63 characters; only letters, digits and hyphens are allowed"),
        ("spec", "priority", "integer", "`0`", "-1,000 to 1,000"),
        ("spec", "concurrencyPolicy", "string", "`Queue`", "`Queue`, `Forbid`, `Replace`"),
        ("spec", "job", "[object](#specjob)", "", ""),
        ("spec.bundle", "skills", "list of [objects](#specbundleskills)", "", "at most 64 items; each `name` once"),
        ("spec.job", "tolerations", "list of free objects", "", "at most 64 items"),
        ("spec.job", "nodeSelector", "map of strings", "", "at most 64 entries"),
        ("spec.job.env[]", "value", "string", "", "at most 131,072 characters; no NUL character"),
        ("spec.retry", "on", "list of strings", "", "at most 64 items; each: a code of [errors](errors.md)"),
        ("status", "turns", "integer", "", "0 or more"),
        ("status", "startTime", "time", "", ""),
    ],
)
def test_types_and_bounds_are_told_in_words(heading: str, field: str, kind: str, default: str, bounds: str) -> None:
    """As the API server holds them."""
    assert rows(heading)[field][1:4] == [kind, default, bounds]


def test_the_page_has_every_rule_over_an_object() -> None:
    """Those about single fields stand in the tables, and what is fixed is said once."""
    told = {re.sub(r"[`.]", "", line[2:]).lower() for line in PAGE.splitlines() if line.startswith("- ")}
    ruled = {
        re.sub(r"[`.]", "", rule["message"]).lower()
        for node in NODES.values()
        if "properties" in node
        for rule in node.get("x-kubernetes-validations", ())
        if "cannot be changed" not in rule["message"]
    }
    assert told == ruled
    assert "What may change after creation: `retention`, `cancel` and `suspend`." in PAGE


def test_a_rule_keeps_the_spelling_of_fields() -> None:
    """They are code in the sentence, wherever they stand."""
    assert "\n- Exactly one of `secretKeyRef`, `configMapKeyRef` and `text` has to be given.\n" in PAGE
    assert "\n- `value` and `valueFrom` cannot both be given.\n" in PAGE
    assert "\n- `spec.cancel` cannot be taken back; create a new AgentRun instead.\n" in PAGE


def test_links_within_the_page_lead_to_its_headings() -> None:
    """A forge makes an anchor of a heading by leaving out what is no letter."""
    anchors = {re.sub(r"[^a-z]", "", heading.lower()) for heading in HEADINGS}
    assert set(re.findall(r"\(#(\w+)\)", PAGE)) <= anchors
    assert len(HEADINGS) == len(set(HEADINGS))


def test_tables_are_tables() -> None:
    """Every line of a table has as many cells as its head, whatever its texts contain."""
    for is_table, lines in itertools.groupby(PAGE.splitlines(), key=lambda line: line.startswith("|")):
        if is_table:
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_the_page_lists_phases_conditions_and_columns() -> None:
    """All of them, in the order of the code."""
    assert list(rows("Phases")) == list(models.Phase)
    assert [row[0] for row in rows("Phases").values() if row[1] == "yes"] == ["`Succeeded`", "`Failed`", "`Cancelled`"]
    assert list(rows("Conditions")) == list(models.ConditionType)
    shown = PAGE.split("## What kubectl shows")[1]
    paths = [column["jsonPath"].removeprefix(".") for column in VERSION["additionalPrinterColumns"]]
    assert re.findall(r"^\| \S+ \| `(.+)` \|$", shown, flags=re.MULTILINE) == paths


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
