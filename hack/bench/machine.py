"""Where and with what something was measured: figures without this are worth nothing to a later reader."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
from typing import Any

from hack import playground


def describe() -> dict[str, Any]:
    """The machine, the code and the moment."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": [pathlib.Path(sys.executable).name, *sys.orig_argv[1:]],
        "cores": os.cpu_count(),
        "processor": _field("/proc/cpuinfo", "model name"),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "commit": _git("rev-parse", "HEAD"),
        "uncommittedFiles": len(_git("status", "--porcelain", "--untracked-files=all").splitlines()),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("agentrun-operator", "kopf", "kubernetes")},
        },
    }


def load() -> list[float]:
    """The load averages of 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def rss(pid: int) -> int:
    """Resident memory of a process in KB, exact (statm is off by up to some pages per core)."""
    return int(_field(f"/proc/{pid}/smaps_rollup", "Rss").split()[0])


def sample_rss(pid: int, *, samples: int = 5, seconds: float = 1) -> list[int]:
    """Several measurements of ``rss``, ``seconds`` apart."""
    taken = []
    for number in range(samples):
        if number:
            time.sleep(seconds)
        taken.append(rss(pid))
    return taken


def _field(file: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.+)$", pathlib.Path(file).read_text(), re.MULTILINE)
    return found[1].strip() if found else "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=playground.ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
