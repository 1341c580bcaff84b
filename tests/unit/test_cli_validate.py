"""``agentrun validate``: every problem with its path, whatever the form of the input; and how that input is read."""

import base64
import io
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from agentrun_operator import cli
from agentrun_operator.cli import yaml_input
from tests import builders

HEAD = "apiVersion: paperclip.io/v1alpha1\nkind: AgentRun\n"
RUN = f"""{HEAD}metadata: {{name: fix-login, namespace: team-a}}
spec:
  companyId: acme
  agent: {{id: coder}}
  prompt: {{text: Fix the login page.}}
"""
KEY = {"name": "p", "key": "k"}
BINARY = base64.b64encode(b"\xff").decode()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests says nothing of an operator."""
    for name in [name for name in os.environ if name.startswith("AGENTRUN_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The working directory, so that output names files as short as a user would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    """Run ``agentrun validate``: exit code, stdout, stderr."""
    try:
        code = cli.main(["validate", *argv])
    except SystemExit as e:
        code = int(e.code or 0)
    return (code, *capsys.readouterr())


def give(monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> None:
    """Put ``content`` on standard input."""
    raw = content.encode() if isinstance(content, str) else content
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


def say(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, content: str | bytes) -> list[str]:
    """What is said of a text on standard input, line by line, without the place it came from."""
    give(monkeypatch, content)
    _, out, err = run(capsys, "-f", "-")
    return [line.removeprefix("<stdin>").removeprefix(": ") for line in (out or err).splitlines()]


def agent_run(**spec: Any) -> dict[str, Any]:
    """A run as a file has it: without what only the API server gives."""
    body = builders.agent_run(**spec)
    body["metadata"] = {"name": "fix-login", "namespace": "team-a"}
    return body


def secret(**fields: Any) -> dict[str, Any]:
    """The Secret ``p`` beside the run."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "p", "namespace": "team-a"}, **fields}


def config_map(**fields: Any) -> dict[str, Any]:
    """The ConfigMap ``p`` beside the run."""
    return {**secret(**fields), "kind": "ConfigMap"}


# ---------------------------------------------------------------------------------------------------------- verdicts


def test_a_valid_run_is_named_so(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> None:
    """One line and exit code 0."""
    (folder / "run.yaml").write_text(RUN)
    assert run(capsys, "-f", "run.yaml") == (0, "run.yaml: fix-login: valid\n", "")


def test_every_problem_of_every_run_has_a_line(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> None:
    """File, run, path, sentence, so that grep and editors find their way; exit code 1."""
    (folder / "run.yaml").write_text(
        RUN
        + "  claude: {maxTurns: 0, modle: opus}\n  retry:\n    on: [no_such]\n---\n"
        + f"{HEAD}metadata: {{name: other}}\nspec: {{companyId: acme, agent: {{id: a}}, prompt: {{text: ' '}}}}\n---\n"
        + RUN.replace("fix-login", "fine")
    )
    code, out, err = run(capsys, "-f", "run.yaml")
    lines = out.splitlines()
    assert (code, err) == (1, "")
    assert lines[:2] == [
        "run.yaml: fix-login: spec.retry.on: YAML takes the bare key on for true; write 'on' in quotes",
        "run.yaml: fix-login: spec.claude.modle: there is no such field",
    ]
    assert lines[2].startswith("run.yaml: fix-login: spec.claude.maxTurns: ")
    assert lines[3].startswith("run.yaml: fix-login: spec.retry.on[0]: ")
    assert lines[4].startswith("run.yaml: other: spec.prompt.text: is blank; ")
    assert lines[4].endswith(" [prompt_invalid]")
    assert lines[5:] == ["run.yaml: fine: valid"]


@pytest.mark.parametrize(("output", "load"), [("json", json.loads), ("yaml", yaml.safe_load)], ids=["json", "yaml"])
def test_programs_get_a_list(
    capsys: pytest.CaptureFixture[str], folder: pathlib.Path, output: str, load: Callable[[str], Any]
) -> None:
    """With the place of each document, and the operator's code where it is the operator who would refuse."""
    (folder / "run.yaml").write_text(
        RUN.replace("Fix the login page.", "'{{tsk.id}}'") + "---\n" + RUN.replace("team-a", "")
    )
    code, out, err = run(capsys, "-f", "run.yaml", "-o", output, "-n", "team-b")
    first, second = load(out)
    assert (code, err) == (1, "")
    assert first["problems"][0].pop("message").startswith("has placeholders that do not exist: {{tsk.id}}.")
    assert first == {
        "file": "run.yaml",
        "document": 1,
        "namespace": "team-a",
        "name": "fix-login",
        "valid": False,
        "problems": [{"path": "spec.prompt.text", "code": "prompt_invalid"}],
    }
    assert second == {
        "file": "run.yaml",
        "document": 2,
        "namespace": "team-b",
        "name": "fix-login",
        "valid": True,
        "problems": [],
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"apiVersion": "paperclip.io/v1"}, ["apiVersion: must be paperclip.io/v1alpha1, and is 'paperclip.io/v1'"]),
        ({"apiVersion": None}, ["apiVersion: must be paperclip.io/v1alpha1, and is missing"]),
        ({"kind": "agentrun"}, ["kind: must be AgentRun, and is 'agentrun'"]),
        ({"kind": None}, ["kind: must be AgentRun, and is missing"]),
        ({"apiVersion": "else.io/v1", "spec": {}}, ["apiVersion: must be paperclip.io/v1alpha1, and is 'else.io/v1'"]),
        ({"specs": {}}, ["specs: there is no such field"]),
        ({"spec": None}, ["spec: is required"]),
        ({"status": {"phase": "no such phase"}}, ["valid"]),
        ({"metadata": "fix-login"}, ["metadata: must be a mapping with a name"]),
        ({"metadata": None}, ["metadata.name: is missing; give the run a name, or a generateName"]),
        ({"metadata": {"generateName": "fix-"}}, ["valid"]),
        ({"metadata": {"name": "a", "creationTimestamp": None, "resourceVersion": "7"}}, ["valid"]),
        ({"metadata": {"name": "a", "uid": "a/b"}}, ["metadata.uid: must be a UID; leave it out; it is 'a/b'"]),
        ({"metadata": {"name": "a", "lables": {}}}, ["metadata.lables: there is no such field"]),
        (
            {"metadata": {"name": "a", "labels": {"b": 1}, "annotations": {"c": True, "d": "x"}}},
            [
                "metadata.labels.b: must be text; write it in quotes",
                "metadata.annotations.c: must be text; write it in quotes",
            ],
        ),
    ],
)
def test_the_frame_of_a_run_is_checked_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: list[str]
) -> None:
    """As the API server does; what only the API server can give may be missing, and a status is ignored."""
    lines = say(capsys, monkeypatch, yaml.safe_dump({**agent_run(), **change}))
    assert [line.partition(": ")[2] for line in lines] == said


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"name": "Fix_Login"}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a" * 254}, "name"),
        ({"generateName": "-"}, "generateName"),
        ({"name": "a", "namespace": "a.b"}, "namespace"),
    ],
)
def test_names_are_those_that_kubernetes_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, metadata: dict[str, Any], field: str
) -> None:
    """The sentence shows what was given."""
    (line,) = say(capsys, monkeypatch, yaml.safe_dump({**agent_run(), "metadata": metadata}))
    assert f": metadata.{field}: must " in line
    assert line.endswith(f"; it is {metadata[field]!r}")


def test_terminals_are_not_given_orders(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A line stays a line, whatever a field is called, and half a character is escaped."""
    body = {**agent_run(), "\x1b[31mred\nfix-login: valid\ud800": 1}
    said = "fix-login: red fix-login: valid\\ud800: there is no such field"
    assert say(capsys, monkeypatch, json.dumps(body)) == [said]


# -------------------------------------------------------------------------------------------------------- acceptance


@pytest.mark.parametrize(
    ("spec", "path", "code"),
    [
        ({"agent": "---"}, "spec.agent.id", "k8s_agent_id_invalid"),
        ({"prompt": "{{nothing}}"}, "spec.prompt.text", "prompt_invalid"),
        ({"prompt": "x" * 1_048_576}, "", "prompt_invalid"),
        (
            {"bundle": {"skills": [{"name": "a", "path": "/else"}]}},
            "spec.bundle.skills[0].path",
            "k8s_pod_config_error",
        ),
        (
            {"job": {"podTemplate": {"spec": {"restartPolicy": "Always"}}}},
            "spec.job.podTemplate",
            "k8s_pod_config_error",
        ),
    ],
)
def test_what_the_operator_would_refuse_is_a_problem_with_its_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any], path: str, code: str
) -> None:
    """The path is the field that the operator's sentence begins with."""
    give(monkeypatch, json.dumps(agent_run(**spec)))
    exit_code, out, _ = run(capsys, "-f", "-", "-o", "json")
    (problem,) = json.loads(out)[0]["problems"]
    assert (exit_code, problem["path"], problem["code"]) == (1, path, code)
    assert not problem["message"].startswith("spec.")


@pytest.mark.parametrize(
    "spec",
    [
        {"prompt": {"secretKeyRef": KEY}},
        {"prompt": {"configMapKeyRef": KEY}},
        {"apiTokenSecretRef": KEY},
        {"job": {"env": [{"name": "A", "valueFrom": {"secretKeyRef": KEY}}]}},
    ],
)
@pytest.mark.parametrize("beside", [[], [{**secret(data={}), "metadata": {"name": "p", "namespace": "else"}}]])
def test_a_reference_to_what_is_not_in_the_input_is_no_problem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, spec: dict[str, Any], beside: list[Any]
) -> None:
    """It may be in the cluster; an object of another namespace is another object."""
    assert say(capsys, monkeypatch, yaml.safe_dump_all([agent_run(**spec), *beside])) == ["fix-login: valid"]


@pytest.mark.parametrize(
    ("prompt", "beside", "said"),
    [
        ("secretKeyRef", secret(stringData={"k": "Do it."}), "valid"),
        ("secretKeyRef", secret(data={"k": "RG8g\naXQu\n"}), "valid"),
        ("configMapKeyRef", config_map(data={"k": "Do it."}), "valid"),
        ("configMapKeyRef", config_map(binaryData={"k": "RG8gaXQu"}), "valid"),
        ("secretKeyRef", secret(data={"k": "RG8"}), "Secret p: data.k is no base64."),
        ("secretKeyRef", secret(data={"k": BINARY}), "key k of Secret p is no text in UTF-8."),
        ("secretKeyRef", secret(), "Secret p: there is no key k in it, nor any."),
        ("secretKeyRef", secret(data={"a": "", "b": ""}), "Secret p: there is no key k in it, only a, b."),
        ("configMapKeyRef", config_map(data={"k": 5}), "ConfigMap p: data.k is no text; write it in quotes."),
        ("configMapKeyRef", config_map(data=[]), "ConfigMap p: there is no key k in it, nor any."),
    ],
)
def test_a_prompt_beside_the_run_is_read(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    prompt: str,
    beside: dict[str, Any],
    said: str,
) -> None:
    """As the operator would find it; what is wrong with it is a problem of the run."""
    (line,) = say(capsys, monkeypatch, yaml.safe_dump_all([beside, agent_run(prompt={prompt: KEY})]))
    wanted = said if said == "valid" else f"spec.prompt.{prompt}: {said} [prompt_invalid]"
    assert line == f"fix-login: {wanted}"


def test_a_prompt_beside_the_run_is_judged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sentence names the key."""
    beside = secret(stringData={"k": "{{nothing}}"})
    (line,) = say(capsys, monkeypatch, yaml.safe_dump_all([beside, agent_run(prompt={"secretKeyRef": KEY})]))
    assert line.startswith("fix-login: key k of Secret p has placeholders that do not exist: {{nothing}}.")


def test_keys_that_the_pod_needs_are_looked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token's, and those of variables unless they are optional."""
    env = [
        {"name": "A", "value": "x"},
        {"name": "B", "valueFrom": {"secretKeyRef": KEY}},
        {"name": "C", "valueFrom": {"secretKeyRef": {**KEY, "optional": True}}},
        {"name": "D", "valueFrom": {"configMapKeyRef": KEY}},
        {"name": "E", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    body = agent_run(apiTokenSecretRef=KEY, job={"env": env})
    told = "Secret p: there is no key k in it, nor any. [k8s_pod_config_error]"
    assert say(capsys, monkeypatch, yaml.safe_dump_all([body, secret()])) == [
        f"fix-login: spec.apiTokenSecretRef: {told}",
        f"fix-login: spec.job.env[1].valueFrom.secretKeyRef: {told}",
    ]


def test_an_image_is_only_missed_when_the_settings_are_known(
    capsys: pytest.CaptureFixture[str], folder: pathlib.Path
) -> None:
    """The operator has a default image, which nobody told the command."""
    (folder / "run.yaml").write_text(RUN)
    (folder / "none.yaml").write_text("")
    (folder / "image.yaml").write_text("AGENTRUN_IMAGE: registry.example/agent:1\n")
    assert run(capsys, "-f", "run.yaml")[0] == 0
    assert run(capsys, "-f", "run.yaml", "--settings", "image.yaml")[0] == 0
    code, out, _ = run(capsys, "-f", "run.yaml", "--settings", "none.yaml")
    assert code == 1
    assert out == (
        "run.yaml: fix-login: There is no image to run: set spec.job.image, or AGENTRUN_IMAGE on the operator. "
        "[k8s_pod_config_error]\n"
    )


def test_the_own_pod_may_give_the_image(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> None:
    """If the settings let agents inherit it."""
    (folder / "run.yaml").write_text(RUN)
    (folder / "settings.yaml").write_text("inherit: image\n")
    (folder / "pod.yaml").write_text("kind: Pod\nspec: {containers: [{image: i}]}\n")
    argv = ("-f", "run.yaml", "--settings", "settings.yaml", "--own-pod", "pod.yaml")
    assert run(capsys, *argv) == (0, "run.yaml: fix-login: valid\n", "")


# ----------------------------------------------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("-f", "missing.yaml"), "missing.yaml: No such file or directory"),
        (("-f", "empty"), "empty: the directory holds no *.yaml, *.yml or *.json file"),
        (("-f", "other.yaml"), "there is no AgentRun in the input"),
        (("-f", "list.yaml"), "list.yaml: it holds [1] where an object should be"),
        (("-f", "latin.yaml"), "latin.yaml: this is no text in UTF-8 (byte 3)"),
        (("-f", "\0"), "\0: embedded null byte"),
        (("-f", "run.yaml", "--settings", "missing.yaml"), "missing.yaml: No such file or directory"),
        (("-f", "run.yaml", "--settings", "two.yaml"), "--settings two.yaml: it has to hold one document"),
        (("-f", "run.yaml", "--settings", "imag.yaml"), "--settings imag.yaml: imag: there is no such setting; the"),
        (("-f", "run.yaml", "--own-pod", "run.yaml"), "--own-pod run.yaml: it has to hold one Pod and nothing else"),
        (("-f", "-", "--settings", "-"), "standard input (-) can be read only once"),
    ],
)
def test_input_that_cannot_be_read_is_2(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: pathlib.Path,
    argv: tuple[str, ...],
    said: str,
) -> None:
    """With a sentence on stderr and nothing on stdout."""
    give(monkeypatch, "")
    (folder / "empty").mkdir()
    for name, text in {
        "run.yaml": RUN,
        "other.yaml": "apiVersion: v1\nkind: ConfigMap\n",
        "list.yaml": "- 1\n",
        "two.yaml": "image: a\n---\nimage: b\n",
        "imag.yaml": "imag: a\n",
    }.items():
        (folder / name).write_text(text)
    (folder / "latin.yaml").write_bytes(b"a: \xff")
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith(f"agentrun validate: {said}")


def test_all_sources_that_cannot_be_read_are_named(capsys: pytest.CaptureFixture[str], folder: pathlib.Path) -> None:
    """So that nobody has to come back for the second."""
    (folder / "bad.yaml").write_text("a: [\n")
    code, out, err = run(capsys, "-f", "missing.yaml", "bad.yaml")
    assert (code, out) == (2, "")
    assert [line.split()[2] for line in err.splitlines()] == ["missing.yaml:", "bad.yaml:2:1:"]


def test_a_malformed_setting_in_the_environment_is_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path
) -> None:
    """The sentence names the variable."""
    monkeypatch.setenv("AGENTRUN_DRAIN_SECONDS", "soon")
    (folder / "run.yaml").write_text(RUN)
    code, out, err = run(capsys, "-f", "run.yaml")
    assert (code, out) == (2, "")
    assert err.startswith("agentrun validate: AGENTRUN_DRAIN_SECONDS='soon': ")


@pytest.mark.parametrize("argv", [(), ("-f",), ("-f", "a", "-o", "xml"), ("a",)])
def test_wrong_arguments_are_2(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    """With the usage on stderr."""
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert err.startswith("usage: agentrun validate")


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """Each on a line of its own."""
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "\n  agentrun validate -f run.yaml\n" in out


# ------------------------------------------------------------------------------------------------ where it comes from


def test_input_may_be_files_directories_and_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path
) -> None:
    """In the order given, a directory's files by name; empty documents do not count."""
    runs = folder / "runs"
    (runs / "below.yaml").mkdir(parents=True)
    for name in ("c.yaml", "a.yml", "b.json", "d.txt"):
        body = {**agent_run(), "metadata": {"name": name[0]}}
        (runs / name).write_text(
            json.dumps(body) if name.endswith("json") else f"---\n# nothing\n---\n{yaml.dump(body)}"
        )
    give(monkeypatch, RUN)
    (folder / "e.yaml").write_text(RUN)
    code, out, _ = run(capsys, "-f", "-", "runs", "-f", "e.yaml", "-o", "json")
    assert code == 0
    assert [(item["file"], item["document"], item["name"]) for item in json.loads(out)] == [
        ("<stdin>", 1, "fix-login"),
        ("runs/a.yml", 1, "a"),
        ("runs/b.json", 1, "b"),
        ("runs/c.yaml", 1, "c"),
        ("e.yaml", 1, "fix-login"),
    ]


@pytest.mark.parametrize("kind", ["List", "AgentRunList"])
def test_lists_are_unpacked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path, kind: str
) -> None:
    """As kubectl get prints them; each item is a document, and paths begin at the item."""
    bad = agent_run(claude={"maxTurns": "many"})
    text = json.dumps({"apiVersion": "v1", "kind": kind, "items": [agent_run(), {"kind": "List", "items": [bad]}]})
    give(monkeypatch, text + "\n" + text)
    code, out, _ = run(capsys, "-f", "-", "-o", "json")
    assert code == 1
    assert [(item["document"], [p["path"] for p in item["problems"]]) for item in json.loads(out)] == [
        (1, []),
        (2, ["spec.claude.maxTurns"]),
        (3, []),
        (4, ["spec.claude.maxTurns"]),
    ]


# ----------------------------------------------------------------------------------------------------- how it is read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-02", "2026-01-02"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("12:30:45", "12:30:45"),
        ("=", "="),
        (".inf", ".inf"),
        ("NaN", "NaN"),
        ("1.2.3", "1.2.3"),
        ("١٢", "١٢"),
        ("9" * 5000, "9" * 5000),
        ("on", True),
        ("y", True),
        ("No", False),
        ("~", None),
        ("", None),
        ("12e4", 120000.0),
        (".5", 0.5),
        ("08", 8.0),
        ("010", 8),
        ("100", 100),
        ("0", 0),
        ("0o17", 15),
        ("-0x1F", -31),
        ("+1_000", 1000),
        ("'12e4'", "12e4"),
        ('"on"', "on"),
        ("!!str 5", "5"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_mean_what_they_mean_to_kubectl(text: str, value: object) -> None:
    """Which is not what PyYAML makes of them."""
    (body,) = yaml_input.parse(f"a: {text}", "f")
    assert body == {"a": value}
    assert type(body["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a: 1\n--- \n- b\n", [{"a": 1}, ["b"]]),
        ("{a: b}", [{"a": "b"}]),
        ('{"a": b}', [{"a": "b"}]),
        ('{\n\t"a": "\\ud83d\\ude00"\n}\n', [{"a": "😀"}]),
        ('{"a": 1}{"b": NaN}\n[]', [{"a": 1}, {"b": "NaN"}, []]),
        ('{"a": 1}\n---\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, c: 3}\n", [{"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}]),
        ("a: &x {b: 1}\nd: {<<: [*x, {b: 2, c: 2}]}\n", [{"a": {"b": 1}, "d": {"b": 1, "c": 2}}]),
        ("a: &x [1]\nb: [*x, *x]\n", [{"a": [1], "b": [[1], [1]]}]),
        ("8080: a\n'on': b\n", [{"8080": "a", "on": "b"}]),
        ("", []),
    ],
)
def test_what_is_a_document(text: str, values: list[object]) -> None:
    """YAML with merges and aliases, JSON with tabs and pairs of surrogates, one after the other."""
    assert yaml_input.parse(text, "f") == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f:3:1: the key 'a' stands twice in one mapping"),
        ("a: {1: x, 0x1: y}\n", "f:1:11: the key '0x1' stands twice in one mapping"),
        ('{"a": {"b": 1, "b": 2}}', "f: the key 'b' stands twice in one object"),
        ("a: [1\nb: 2\n", "f:2:2: this is no YAML: "),
        ("a: *b\n", "f:1:4: this is no YAML: found undefined alias"),
        ("a: 1\nb: \x07\n", "f:2:4: this is no YAML: "),
        ('{"a": 1,,}', "f:1:9: this is no JSON: Expecting property name enclosed in double quotes"),
        ("a: &b [*b]\n", "f:1:4: the value contains itself through an alias"),
        ("a: {[b]: c}\n", "f:1:5: a list or mapping cannot be a key"),
        ("a: {<<: b}\n", "f:1:9: << takes a mapping or a list of mappings"),
        ("a: !!python/name:os.system x\n", "f:1:4: the tag tag:yaml.org,2002:python/name:os.system means nothing to"),
        ("a: !b {}\n", "f:1:4: the tag !b means nothing to Kubernetes; leave it out"),
        ("[" * 100_000, "f: it is nested deeper than 200 levels"),
        ('{"a":' * 300 + "1" + "}" * 300, "f: it is nested deeper than 200 levels"),
        (
            "a0: &a0 []\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 300)),
            "f: it is nested deeper than 200 levels",
        ),
        (
            "a0: &a0 [x]\n" + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 8)),
            "f: a document is too large with all its aliases",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(monkeypatch: pytest.MonkeyPatch, text: str, said: str) -> None:
    """File, line and column, as compilers do; nothing of it is executed, and no bomb goes off."""
    monkeypatch.setattr(yaml_input, "_MOST_NODES", 100_000)
    with pytest.raises(yaml_input.InputError) as e:
        yaml_input.parse(text, "f")
    assert str(e.value).startswith(said)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("retry: {on: []}", ["spec.retry.on: YAML takes the bare key on for true; write 'on' in quotes"]),
        ("retry: {'on': []}", []),
        (
            "job: {nodeSelector: {y: a, 1.0: b, 7: c}, tolerations: [{~: d}]}",
            [
                "spec.job.nodeSelector.y: YAML takes the bare key y for true; write 'y' in quotes",
                "spec.job.nodeSelector.1.0: YAML takes the bare key 1.0 for 1; write '1.0' in quotes",
                "spec.job.tolerations[0].~: YAML takes the bare key ~ for null; write '~' in quotes",
            ],
        ),
    ],
)
def test_keys_that_yaml_does_not_take_for_text_are_problems(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, spec: str, said: list[str]
) -> None:
    """The API server would speak of a field true that nobody wrote; what stands behind the key is checked, too."""
    lines = say(capsys, monkeypatch, f"{RUN}  {spec}\n")
    assert [line.removeprefix("fix-login: ") for line in lines] == (said or ["valid"])


def test_keys_of_other_kinds_are_taken_as_kubectl_takes_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a reference to the key on does not find it."""
    text = yaml.safe_dump_all([agent_run(prompt={"configMapKeyRef": {"name": "p", "key": "on"}}), config_map()])
    (line,) = say(capsys, monkeypatch, f"{text}data:\n  on: Do it.\n")
    assert "ConfigMap p: there is no key on in it, only true." in line


def test_all_that_is_wrong_is_named_at_once(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the schema refuses and what the operator would refuse, so that a file is mended once."""
    file = tmp_path / "run.yaml"
    file.write_text(
        "apiVersion: paperclip.io/v1alpha1\nkind: AgentRun\nmetadata: {name: bad}\nspec:\n  companyId: acme\n"
        "  agent: {id: '-'}\n  prompt: {text: 'Hello {{agent.nmae}}'}\n  retry: {on: [timeout]}\n  oops: 1\n"
        "  job: {podTemplate: {spec: {restartPolicy: Always}}}\n"
    )
    assert cli.main(["validate", "-f", str(file)]) == 1
    out = capsys.readouterr().out
    for part in ("spec.retry.on", "spec.oops", "spec.agent.id", "{{agent.nmae}}", "spec.job.podTemplate"):
        assert part in out
