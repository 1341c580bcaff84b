"""Run checks and tell how each went: `python -m hack.verify [CHECK ...]`, all of them when none is named.

It goes on after a failure, because the second failure is often the one that explains the first. A check that this
machine cannot run counts as not run, never as passed; where CI is set it counts as failed, so that CI cannot turn
green by running less.

In CI the output of a check goes into ``build/verify``, and only its end is shown: such a log is read from its end,
and often only a part of it is kept. What failed is told once more after the table.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hack.verify.checks import CHECKS, Check


_LOGS = Path("build") / "verify"
_SHOWN = {True: 6, False: 120}  # the last lines of a check, by whether it passed
_MOST_REPEATED = 80
_TELLING = ("FAILED ", "ERROR ", "BROKEN", "broken", "error:", "Error:", "  | ")  # the last: a story of the chaos suite


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "FAILED"
    NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Result:
    name: str
    outcome: Outcome
    seconds: float
    said: tuple[str, ...] = ()  # the lines that tell what failed


def run(check: Check, *, in_ci: bool) -> Result:
    """Run one check; all its commands, even after one failed. Its output goes to the terminal, in CI only its end."""
    obstacle = check.obstacle()
    if obstacle is not None:
        print(f"not run: {obstacle}", flush=True)
        return Result(name=check.name, outcome=Outcome.FAILED if in_ci else Outcome.NOT_RUN, seconds=0.0)
    began = time.monotonic()
    codes: list[int] = []
    said: list[str] = []
    for number, command in enumerate(check.commands, 1):
        print(f"$ {' '.join(command)}", flush=True)
        if not in_ci:
            codes.append(subprocess.run(command, check=False, stdin=subprocess.DEVNULL, env=_environment()).returncode)
            continue
        code, lines = _run_logged(command, _LOGS / f"{check.name}-{number}.log")
        codes.append(code)
        said += [line for line in lines if code and any(word in line for word in _TELLING)]
        print("\n".join(lines[-_SHOWN[code == 0] :]), flush=True)
    outcome = Outcome.FAILED if any(codes) else Outcome.PASSED
    return Result(name=check.name, outcome=outcome, seconds=time.monotonic() - began, said=tuple(said))


def _environment() -> dict[str, str]:
    # A check has hundreds of processes of the same code. Compiled each time, it would cost each a fifth of its start.
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def _run_logged(command: Sequence[str], log: Path) -> tuple[int, list[str]]:
    """Run a command with its output going into a file. Returns its exit code and the lines."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
        )
    return done.returncode, log.read_text(errors="replace").splitlines()


def render_failures(results: Sequence[Result]) -> str:
    """Render what the failed checks said of what failed, the last lines of each."""
    return "".join(f"{result.name}: {line}\n" for result in results for line in result.said[-_MOST_REPEATED:])


def render_table(results: Sequence[Result]) -> str:
    """Render one line per check and a last plain line that people and CI can both read."""
    lines = [f"{result.name:<12} {result.outcome.value:<8} {result.seconds:8.1f} s" for result in results]
    counts = {outcome: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    closing = f"{counts[Outcome.PASSED]} passed, {counts[Outcome.FAILED]} failed"
    if counts[Outcome.NOT_RUN]:
        closing += f", {counts[Outcome.NOT_RUN]} skipped"
    return "\n".join([*lines, "", closing])


def main(
    arguments: Sequence[str] | None = None,
    *,
    checks: Sequence[Check] = CHECKS,
    environment: Mapping[str, str] = os.environ,
) -> int:
    """Run the named checks in their fixed order; 0 only when none failed."""
    by_name = {check.name: check for check in checks}
    parser = argparse.ArgumentParser(prog="python -m hack.verify", description="Run the project's checks.")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"one of: {', '.join(by_name)}; all when left out")
    names: list[str] = parser.parse_args(arguments).checks
    unknown = [name for name in names if name not in by_name]
    if unknown:
        parser.error(f"unknown check {unknown[0]!r}; the checks are: {', '.join(by_name)}")
    in_ci = environment.get("CI", "").lower() in {"1", "true"}
    results = []
    for check in checks:
        if names and check.name not in names:
            continue
        print(f"\n==> {check.name}", flush=True)
        results.append(run(check, in_ci=in_ci))
    print(f"\n{render_failures(results)}\n{render_table(results)}", flush=True)
    return int(any(result.outcome is Outcome.FAILED for result in results))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
