"""Every command in the README and in docs/ is checked, or says why it is not.

What ``agentrun`` is told is parsed by its own parser, targets of ``make`` and files exist, and of ``kubectl`` the verb,
the kind, the options and the paths into an AgentRun are known ones. Anything else says why it is not:
``<!-- not run: why -->`` before its block, ``# not run: why`` as its first line, or ``# run by FILE``, a test that
runs it. The ``console`` examples of docs/cli.md are run, letter by letter, by test_cli_docs.
"""

import contextlib
import dataclasses
import functools
import io
import os
import pathlib
import re
import shlex
from collections.abc import Iterator, Sequence

import pytest
import yaml

from agentrun_operator import cli, models
from tests.unit import test_docs_errors

ROOT = pathlib.Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<text>.*?)^ *```", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"<!-- not run: (\S+ .*?\S) -->\s*\Z")
FIRST_LINE = re.compile(r"\s*# (?:not run: (?P<why>\S+ .*\S)|run by (?P<test>[\w./]+)\b.*)\n")

PROGRAMS = {"agentrun", "kubectl", "make", "deploy/release-finalizers.sh"}
OTHERS = {
    "git",
    "helm",
    "kustomize",
    "kind",
    "docker",
    "buildah",
    "curl",
    "pip",
    "python",
    "export",
    "cd",
    "cat",
    "chown",
}
FILTERS = {"uniq", "grep", "head", "tail", "sort", "cut", "wc", "jq", "sed"}
GIVEN = {"run.yaml", "-"}  # files of the reader

VERBS = {
    *("get", "describe", "logs", "apply", "delete", "patch", "exec", "explain", "create", "wait", "scale", "label"),
    *("events", "annotate"),
    *("rollout restart", "rollout status", "rollout undo", "rollout history", "auth can-i", "create secret generic"),
}
KINDS = {
    *(
        "agentruns.paperclip.io",
        "agentruns",
        "pods",
        "pod",
        "jobs",
        "job",
        "deployment",
        "pvc",
        "pv",
        "lease",
        "secret",
    ),
    *("crd", "namespace", "nodes", "events", "resourcequota", "networkpolicy", "configmap", "agentrun"),
}
OPTIONS = {
    *(
        "-n",
        "--namespace",
        "-A",
        "-o",
        "-l",
        "-f",
        "-k",
        "-w",
        "-c",
        "-p",
        "-it",
        "--tail",
        "--previous",
        "--type",
        "--server-side",
    ),
    *(
        "--cascade",
        "--wait",
        "--timeout",
        "--for",
        "--from-literal",
        "--from-file",
        "--field-selector",
        "--sort-by",
        "--ignore-not-found",
    ),
    *("--all-containers", "--replicas", "--all", "--dry-run", "--as", "--since"),
}
WITH_VALUE = {
    "-n",
    "--namespace",
    "-o",
    "-l",
    "-f",
    "-k",
    "-c",
    "-p",
    "--tail",
    "--replicas",
    "--timeout",
    "--for",
    "--as",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page; ``reason`` is why its commands are not checked, or who runs them; "" if they are."""

    page: pathlib.Path
    line: int
    kind: str
    text: str
    reason: str

    @property
    def commands(self) -> list[str]:
        """The commands in it; none if it shows something else."""
        lines = self.text.replace("\\\n", " ").splitlines()
        lines = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        if self.kind == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        if self.kind in {"sh", "bash", "shell"}:
            return lines
        begins = not self.kind and not self.text.startswith(" ") and _program(self.text.split("\n")[0])
        return lines if begins in PROGRAMS | OTHERS else []  # else it is a drawing, or what a command prints


def read(page: pathlib.Path) -> Iterator[Block]:
    """The blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        before = text[: found.start()]
        mark = MARK.search(before)
        first = FIRST_LINE.match(found["text"])
        reason = mark[1] if mark else (first["why"] or first["test"].rstrip(".")) if first else ""
        yield Block(page, before.count("\n") + 1, found["kind"], found["text"], reason)


BLOCKS = [block for page in PAGES for block in read(page)]


def find_fault(command: str) -> str | None:
    """What is wrong with a command; None if nothing is."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    parts: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            parts.append([])
        else:
            parts[-1].append(word)
    faults = [_fault_of(words, piped=index > 0) for index, words in enumerate(parts)]
    return next((fault for fault in faults if fault), None)


def _program(line: str) -> str:
    words = [word for word in line.split() if not re.match(r"[A-Z_]+=", word)]
    return words[0] if words else ""


def _fault_of(words: Sequence[str], *, piped: bool) -> str | None:
    while words and re.match(r"[A-Za-z_]+=", words[0]):
        words = words[1:]
    if not words:
        return "there is no command"
    program, *rest = words
    if program == "agentrun":
        return _fault_of_agentrun(rest)
    if program == "make":
        targets = [word for word in rest if "=" not in word]
        return next((f"no target {target}" for target in targets if target not in make_targets()), None)
    if program == "kubectl":
        return _fault_of_kubectl(rest)
    if program in PROGRAMS:
        return _fault_of_script(program, rest)
    if piped and program in FILTERS:
        return None
    return f"{program} is not checked: say <!-- not run: why --> before the block"


def _fault_of_agentrun(words: Sequence[str]) -> str | None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            cli.build_parser().parse_args(words)
    except SystemExit as e:
        return said.getvalue().strip().splitlines()[-1] if e.code else None
    return None


def _fault_of_script(program: str, words: Sequence[str]) -> str | None:
    script = ROOT / program
    if not os.access(script, os.X_OK):
        return f"{program} cannot be started"
    text = script.read_text()
    return next((f"no option {word}" for word in words if word.startswith("-") and f"  {word} " not in text), None)


def _fault_of_kubectl(words: Sequence[str]) -> str | None:
    if words and words[0] == "agentrun":
        return _fault_of_agentrun(words[1:])
    if "--" in words:
        place = list(words).index("--")
        inner = _fault_of(words[place + 1 :], piped=True)
        if inner:
            return inner
        words = words[:place]
    plain, options = _split(words)
    verb = next((" ".join(plain[:n]) for n in (3, 2, 1) if " ".join(plain[:n]) in VERBS), None)
    if verb is None:
        return f"unknown verb: {' '.join(plain[:2])}"
    return _fault_of_options(verb, options) or _fault_of_kinds(verb, plain[1:2]) or _fault_of_paths(words)


def _fault_of_options(verb: str, options: Sequence[tuple[str, str]]) -> str | None:
    for name, value in options:
        if name not in OPTIONS:
            return f"unknown option: {name}"
        reads = name in {"-f", "-k"} and verb in {"apply", "delete", "create"}
        if reads and value not in GIVEN and not (ROOT / value).exists():
            return f"there is no {value}"
    return None


def _fault_of_kinds(verb: str, words: Sequence[str]) -> str | None:
    if verb not in {"get", "describe", "delete", "patch", "explain", "wait", "events"}:
        return None
    kinds = [kind for word in words for kind in word.split("/")[0].split(",")]
    if verb == "explain":  # a path follows the kind
        kinds = [".".join(kind.split(".")[:3]) for kind in kinds]
    return next((f"unknown kind: {kind}" for kind in kinds if kind not in KINDS), None)


def _fault_of_paths(words: Sequence[str]) -> str | None:
    """Paths into an AgentRun."""
    if not any(word.startswith("agentrun") for word in words):
        return None
    paths = [path for word in words for path in re.findall(r"\.((?:spec|status)\.[A-Za-z]+(?:\.[A-Za-z]+)*)", word)]
    for path in paths:
        part, _, rest = path.partition(".")
        if not test_docs_errors.exists(part, rest):
            return f"an AgentRun has no {path}"
    return None


def _split(words: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Words, and options with their values."""
    plain: list[str] = []
    options: list[tuple[str, str]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        name, equals, value = word.partition("=")
        options.append((name, value if equals or name not in WITH_VALUE or not rest else rest.pop(0)))
    return plain, options


@functools.cache
def make_targets() -> set[str]:
    """Those of the Makefile."""
    return set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


CHECKED = [
    (block, command)
    for block in BLOCKS
    for command in block.commands
    if not block.reason and not (block.page.name == "cli.md" and block.kind == "console")
]


@pytest.mark.parametrize(
    ("block", "command"), CHECKED, ids=[f"{block.page.name}:{block.line} {command[:50]}" for block, command in CHECKED]
)
def test_a_command_is_one_that_works(block: Block, command: str) -> None:
    """As far as can be told without a cluster."""
    assert find_fault(command) is None, f"{block.page.name}, line {block.line}: {command}"


def test_a_mark_stands_only_before_commands() -> None:
    """And says why in a few words; one that is not followed by commands excuses nothing."""
    marked = {(block.page.name, block.line) for block in BLOCKS if block.reason and block.commands}
    written = sum(
        len(re.findall(r"^ *(?:<!--|#) (?:not run:|run by )", page.read_text(), re.MULTILINE)) for page in PAGES
    )
    assert len(marked) == written


def test_who_is_said_to_run_a_command_is_there() -> None:
    """A test that is named exists."""
    named = {block.reason for block in BLOCKS if re.fullmatch(r"tests/[\w./]+", block.reason)}
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<!-- not run: it costs money -->\n```sh\nhelm x\n```\n", "it costs money"),
        ("```sh\n# not run: it costs money\nhelm x\n```\n", "it costs money"),
        (
            "```sh\n# run by tests/unit/test_docs_commands.py, all of it\nhelm x\n```\n",
            "tests/unit/test_docs_commands.py",
        ),
        ("<!-- not run: -->\n```sh\nhelm x\n```\n", ""),
        ("<!-- not run: it costs money -->\nBut:\n```sh\nhelm x\n```\n", ""),
        ("```sh\nhelm x\n# not run: it costs money\n```\n", ""),
    ],
)
def test_a_mark_has_its_place(tmp_path: pathlib.Path, text: str, reason: str) -> None:
    """Right before the block, or as its first line, and with a reason."""
    page = tmp_path / "page.md"
    page.write_text(text)
    [block] = read(page)
    assert (block.reason, "helm x" in block.commands) == (reason, True)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("agentrun doctr", "invalid choice"),
        ("agentrun release -A --sooner", "unrecognized arguments"),
        ("kubectl agentrun logs", "required"),
        ("kubectl exec -n agentrun-system deploy/agentrun-operator -- agentrun doctor --loud", "unrecognized"),
        ("make demmo", "no target demmo"),
        ("kubectl fetch pods", "unknown verb"),
        ("kubectl get podz", "unknown kind: podz"),
        ("kubectl get pods --everything", "unknown option"),
        ("kubectl apply -f crds/none.yaml", "there is no crds/none.yaml"),
        ("kubectl get agentruns NAME -o jsonpath='{.status.eror.code}'", "no status.eror.code"),
        ("kubectl explain agentruns.paperclip.io.spec.claud", "no spec.claud"),
        ("deploy/release-finalizers.sh --now", "no option --now"),
        ("kubectl get pods | tee x", "tee is not checked"),
        ("helm install x", "helm is not checked"),
        ("A=1", "there is no command"),
    ],
)
def test_a_wrong_command_is_found(command: str, words: str) -> None:
    """Or the test above would prove nothing."""
    assert words in (find_fault(command) or "")


AGENT_RUNS = [
    (block, body)
    for block in BLOCKS
    if block.kind == "yaml"
    for body in yaml.safe_load_all(block.text)
    if isinstance(body, dict) and body.get("kind") == "AgentRun"
]


@pytest.mark.parametrize(
    ("block", "body"), AGENT_RUNS, ids=[f"{block.page.name}:{block.line}" for block, _ in AGENT_RUNS]
)
def test_an_agent_run_that_is_shown_is_valid(block: Block, body: dict[str, object]) -> None:
    """A reader may apply it as it stands."""
    assert block.page.exists()
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    given = {**body, "metadata": {"namespace": "default", "uid": "11111111-1111-4111-8111-111111111111", **metadata}}
    assert models.problems(given) == []
