"""What the stand-in agents do, and how a run has to end because of it. The words are real transcripts of the CLI."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

TRANSCRIPTS = pathlib.Path(__file__).parents[1] / "data" / "transcripts" / "2.1.329"
CANCELLED = "Cancelled cancelled"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One agent's behaviour: what it prints within ``seconds``, and how it exits.

    ``hangs``: it does not exit by itself; ``mute``: it never prints the last line. ``trouble``: its container cannot
    start, for this reason. ``spec`` is what the AgentRun says for it to work. ``ends`` are phase and code of the run.
    """

    scenario: str
    ends: tuple[str, ...]
    exit_code: int = 0
    seconds: tuple[float, float] = (0.1, 1.0)
    hangs: bool = False
    mute: bool = False
    trouble: str = ""
    spec: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def lines(self) -> tuple[bytes, ...]:
        """What it prints."""
        lines = _lines(self.scenario)
        return lines[:-1] if self.mute else lines


@functools.cache
def _lines(scenario: str) -> tuple[bytes, ...]:
    return tuple((TRANSCRIPTS / scenario / "stdout.ndjson").read_bytes().splitlines(keepends=True))


SCRIPTS = {
    "fine": Script(scenario="todo", ends=("Succeeded",)),
    "slow": Script(scenario="todo", ends=("Succeeded",), seconds=(2, 5)),
    "long": Script(scenario="todo", ends=("Succeeded",), seconds=(8, 20)),
    "limited": Script(scenario="error429", ends=("Failed claude_rate_limited",), exit_code=1),
    "overloaded": Script(scenario="error529", ends=("Failed claude_overloaded",), exit_code=1),
    "crashed": Script(scenario="sigkill_midtool", ends=("Failed claude_truncated",), exit_code=137),
    # It has said everything and does not exit: stopped after resultGraceSeconds, and the result decides.
    "lingering": Script(scenario="ok", ends=("Succeeded",), hangs=True, spec={"timeouts": {"resultGraceSeconds": 1}}),
    "silent": Script(
        scenario="ok", ends=("Failed run_stalled",), hangs=True, mute=True, spec={"timeouts": {"stallSeconds": 2}}
    ),
    "overdue": Script(
        scenario="sigkill_midtool",
        ends=("Failed timeout",),
        hangs=True,
        spec={"timeouts": {"timeoutSeconds": 3, "graceSeconds": 5}},
    ),
    "endless": Script(scenario="sigkill_midtool", ends=(CANCELLED,), hangs=True),
    "unpullable": Script(scenario="ok", ends=("Failed k8s_image_pull_failed",), trouble="ErrImagePull"),
}
