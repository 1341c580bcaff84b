"""The runner of the checks cannot turn green by running less, and the lock check sees each way to spoil a lock."""

import sys
from pathlib import Path

import pytest

from hack.verify import __main__ as verify
from hack.verify import large_files, lock
from hack.verify.checks import CHECKS, Check

HASH = "--hash=sha256:" + "0" * 64


def check(name: str, *codes: int) -> Check:
    commands = tuple((sys.executable, "-c", f"raise SystemExit({code})") for code in codes)
    return Check(name=name, commands=commands)


class Impossible(Check):
    """A check that no machine can run."""

    def obstacle(self) -> str:
        return "this machine has no moon"


def closing_line(output: str) -> str:
    return output.splitlines()[-1]


def test_all_checks_run_even_after_one_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([], checks=[check("first", 3), check("second", 0)], environment={}) == 1
    assert closing_line(capsys.readouterr().out) == "1 passed, 1 failed"


def test_one_failing_command_fails_its_check_whatever_follows() -> None:
    assert verify.main([], checks=[check("both", 1, 0)], environment={}) == 1


def test_ci_shows_the_end_of_a_check_and_repeats_what_failed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The whole is in a file; the reason stands beside the table, for logs of which only the end is kept."""
    monkeypatch.chdir(tmp_path)
    says = "import sys; print('\\n'.join(f'line {n}' for n in range(300))); "
    bad = "print('FAILED tests/unit/test_a.py::test_b\\n  | 1.0 s  how'); print('end', file=sys.stderr); sys.exit(1)"
    checks = [
        Check(name="good", commands=((sys.executable, "-c", f"{says} print('done')"),)),
        Check(name="bad", commands=((sys.executable, "-c", says + bad),)),
    ]
    assert verify.main([], checks=checks, environment={"CI": "true"}) == 1
    out = capsys.readouterr().out
    good, _, rest = out.partition("==> bad")
    assert ("done" in good, "line 299" in good, "line 200\n" in good) == (True, True, False)
    assert ("line 250\n" in rest, "line 100\n" in rest) == (True, False)
    assert out.endswith("1 passed, 1 failed\n")
    assert "bad: FAILED tests/unit/test_a.py::test_b\nbad:   | 1.0 s  how\n" in out
    assert "line 0\n" in (tmp_path / "build" / "verify" / "bad-1.log").read_text()


@pytest.mark.parametrize("environment", [{}, {"CI": "true"}])
def test_checks_keep_what_python_compiled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Whatever the machine wants, and with the rest of its environment; else each of their processes compiles anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("OTHER", "x")
    program = "import os, sys; sys.exit((sys.dont_write_bytecode, os.environ['OTHER']) != (False, 'x'))"
    checks = [Check(name="keeps", commands=((sys.executable, "-c", program),))]
    assert verify.main([], checks=checks, environment=environment) == 0


def test_only_named_checks_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main(["good"], checks=[check("bad", 1), check("good", 0)], environment={}) == 0
    assert closing_line(capsys.readouterr().out) == "1 passed, 0 failed"


def test_an_unknown_check_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        verify.main(["untit"], checks=[check("unit", 0)], environment={})
    assert refused.value.code == 2
    assert "unknown check 'untit'; the checks are: unit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("environment", "code", "closing"),
    [
        ({}, 0, "0 passed, 0 failed, 1 skipped"),
        ({"CI": "true"}, 1, "0 passed, 1 failed"),
    ],
)
def test_a_check_that_cannot_run_has_not_passed_and_fails_ci(
    capsys: pytest.CaptureFixture[str], environment: dict[str, str], code: int, closing: str
) -> None:
    checks = [Impossible(name="moon", commands=())]
    assert verify.main([], checks=checks, environment=environment) == code
    output = capsys.readouterr().out
    assert "not run: this machine has no moon" in output
    assert closing_line(output) == closing


def test_e2e_says_that_it_needs_root(monkeypatch: pytest.MonkeyPatch) -> None:
    (e2e,) = (each for each in CHECKS if each.name == "e2e")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert e2e.obstacle() == "e2e starts a kubelet and containers, which needs root; you are uid 1000"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert e2e.obstacle() is None


def test_a_good_lock_has_no_problem() -> None:
    text = f"# made by hack/lock\nPy_YAML==6.0.1 ; sys_platform != 'x' \\\n    {HASH} \\\n    {HASH}\n    # via us\n"
    assert lock.check_lock(text, ["py-yaml>=6,<7"]) == []


@pytest.mark.parametrize(
    ("text", "declared", "problem"),
    [
        ("kopf==1.45.2\n", [], "kopf==1.45.2 has no sha256 hash"),
        (f"kopf>=1.45 {HASH}\n", [], "is not pinned with '=='"),
        ("--index-url elsewhere\n", [], "line 1 holds an address"),
        ("--find-links wheels\n", [], "line 1 holds an address"),
        (f"# from http://example.invalid\nkopf==1.45.2 {HASH}\n", [], "line 1 holds an address"),
        (f"kopf @ file:kopf.whl {HASH}\n", [], "line 1 holds an address"),
        (f"kopf==1.44.0 {HASH}\n", ["kopf>=1.45,<2"], "is declared and 1.44.0 is locked"),
        (f"kopf==1.45.2 {HASH}\n", ["structlog"], "structlog is declared in pyproject.toml and not locked"),
    ],
)
def test_each_way_to_spoil_a_lock_is_named(text: str, declared: list[str], problem: str) -> None:
    assert any(problem in found for found in lock.check_lock(text, declared))


def test_tests_run_with_what_is_shipped() -> None:
    runtime = f"kopf==1.45.2 {HASH}\npyyaml==6.0 {HASH}\n"
    problems = lock.check_agreement(runtime, f"kopf==1.45.1 {HASH}\n")
    assert problems == [
        "kopf is 1.45.2 in runtime.txt and 1.45.1 in dev.txt",
        "pyyaml is 6.0 in runtime.txt and absent in dev.txt",
    ]


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x" * large_files.LIMIT)
    large.write_bytes(b"x" * (large_files.LIMIT + 1))
    assert large_files.find_large([small, large, tmp_path / "gone"]) == [
        f"{large} has 500,001 bytes; 500,000 is the limit"
    ]
