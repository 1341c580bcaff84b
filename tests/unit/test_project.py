"""What holds for the repository as a whole: budgets, names, and what must not be written into a tracked file."""

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.verify import large_files

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "operator" / "agentrun_operator"
LOCAL_DIRECTORIES = {".git", ".venv", ".local", ".hypothesis", "__pycache__", "build", "dist", "htmlcov"}

MODULE_LINES = 400
HANDLER_LINES = 15


def project_files() -> list[Path]:
    """List the files that are, or with the next commit will be, tracked; without git all but local ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if (ROOT / ".git").exists() and listed.returncode == 0:
        return sorted({path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()})
    return sorted(
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(part in LOCAL_DIRECTORIES or part.endswith("_cache") for part in path.relative_to(ROOT).parts)
    )


FILES = project_files()


def modules(*directories: str) -> list[Path]:
    """List the Python modules below directories of the repository."""
    return [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in directories]


def find(pattern: str, *, recorded: bool = False) -> list[str]:
    """Find a pattern in the text files of the project; recorded test data is left out unless asked for."""
    expression = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in FILES
        if path.suffix != ".png" and (recorded or not path.is_relative_to(ROOT / "tests" / "data"))
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if expression.search(line)
    ]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a body, the docstring left out."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_module_outgrows_its_budget() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules("operator", "hack")}
    assert lengths
    assert {str(path): lines for path, lines in lengths.items() if lines > MODULE_LINES} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules("operator", "hack")
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_the_package_prints_nothing_outside_the_command() -> None:
    # ruff finds print(); this finds the ways around it too.
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules("operator")
        if not path.is_relative_to(PACKAGE / "cli")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Name) and node.id in {"print", "pprint"})
        or (isinstance(node, ast.Attribute) and node.attr in {"stdout", "stderr"} and ast.unparse(node.value) == "sys")
    ]
    assert found == []


def test_handlers_stay_thin() -> None:
    thick = {
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}": body_lines(function)
        for path in modules("operator")
        if path.is_relative_to(PACKAGE / "handlers")
        for function in functions(path)
        if body_lines(function) > HANDLER_LINES
    }
    assert thick == {}


def test_the_source_root_does_not_shadow_the_standard_library() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    for search_path in (ROOT, ROOT / "operator"):
        # -S keeps the interpreter from importing `operator` before the path is set, so that the import is a real one.
        code = f"import sys; sys.path.insert(0, {str(search_path)!r}); import operator; operator.itemgetter"
        shown = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
        assert shown.returncode == 0, shown.stderr


def test_the_pure_core_is_one_set_of_modules() -> None:
    # Walls and coverage must agree on what the core is, or a module could be pure by contract and unproven.
    walls = configparser.ConfigParser()
    walls.read(ROOT / ".importlinter", encoding="utf-8")
    contract = walls["importlinter:contract:pure-core"]["source_modules"].split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    include: list[str] = project["tool"]["coverage"]["report"]["include"]
    core = {name.removeprefix("agentrun_operator.") for name in contract}
    assert set(include) == {f"*/agentrun_operator/{name}{end}" for name in core for end in (".py", "/*")}


def test_no_file_names_a_directory_of_one_machine() -> None:
    # /home/agent is the home directory inside the agent's image, and stands in recorded transcripts.
    assert find(r"(^|[^A-Za-z0-9])/(?:work|farm|root|Users|home/(?!agent\b)\w+)/", recorded=True) == []


def test_no_file_holds_the_address_of_a_package_registry() -> None:
    hosts = (
        r"\b(?:pypi|pythonhosted|npmjs|crates)\.(?:org|io|com)\b"
        r"|\b(?:proxy|sum)\.golang\."
        r"|\b(?:deb|ftp|security|snapshot)\.debian\."
        r"|\brepo\d?\.maven\."
    )
    settings = r"--(?:extra-)?index-url[ =]+\w+:|\bGOPROXY=\w+:|\"resolved\": *\"http|source = \{ registry ="
    assert find(f"{hosts}|{settings}", recorded=True) == []


def test_nothing_is_left_for_later_in_a_comment() -> None:
    assert find(r"\b(?:TO[D]O|FIX[M]E|X[X]X)\b") == []


def test_no_lock_of_another_tool_is_kept() -> None:
    assert [path for path in FILES if path.name in {"uv.lock", "package-lock.json", "poetry.lock"}] == []


def test_no_file_is_large() -> None:
    assert large_files.find_large(FILES) == []


def test_decision_records_are_numbered_without_gaps_and_listed() -> None:
    records = sorted(path.name for path in FILES if path.parent == ROOT / "docs" / "adr" and path.name != "README.md")
    assert records[0] == "0000-template.md"
    assert [name[:5] for name in records] == [f"{number:04}-" for number in range(len(records))]
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    assert [name for name in records if f"({name})" not in index] == []


@pytest.mark.parametrize("name", [".ci/run", "hack/lock", "hack/kind/up", "hack/kind/down"])
def test_scripts_can_be_started(name: str) -> None:
    script = ROOT / name
    assert script.stat().st_mode & 0o111, f"chmod +x {name}"
    subprocess.run(["bash", "-n", script], check=True)
