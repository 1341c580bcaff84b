"""Fuzz the parsers of the core: ``python -m tests.fuzz [--seconds N] [TARGET …]``, or ``--replay FILE TARGET``.

The time is shared by the targets. What was learnt is kept in ``build/fuzz/corpus`` and used again; an input that fails
is kept in ``build/fuzz/failures``, and the command is printed that replays it, which does not need the fuzzer. Put
such an input into ``tests/fuzz/found/TARGET/``: ``tests/fuzz/test_found.py`` replays all that is there.
"""

import argparse
import hashlib
import pathlib
import subprocess
import sys

from tests.fuzz import targets

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = ROOT / "build" / "fuzz"

_LONGEST_INPUT = 12 * 1024  # bytes; most transcripts are shorter, and what is longer is slow
_SLOW_SECONDS = 10  # for one input: a regular expression that explodes, say
_MEMORY_MB = 2048


def run(name: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own, because the fuzzer ends its process; whether nothing was found."""
    corpus, seeds, failures = (PLACE / kind / name for kind in ("corpus", "seeds", "failures"))
    for folder in (corpus, seeds, failures):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in targets.TARGETS[name].seeds():
        (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = PLACE / "words.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in targets.WORDS))
    before = set(failures.iterdir())
    options = {
        "max_total_time": seconds,
        "max_len": _LONGEST_INPUT,
        "timeout": _SLOW_SECONDS,
        "rss_limit_mb": _MEMORY_MB,
        "artifact_prefix": f"{failures}/",
        "dict": words,
        "verbosity": 0,
        "print_final_stats": 1,
    }
    arguments = [f"-{key}={value}" for key, value in options.items()]
    command = [sys.executable, "-m", "tests.fuzz.atheris_target", name, *arguments, str(corpus), str(seeds)]
    # An input that hangs in C cannot be interrupted by the fuzzer; that is a failure, too.
    try:
        code = subprocess.run(command, cwd=ROOT, check=False, timeout=seconds + 120).returncode
    except subprocess.TimeoutExpired:
        code = -1
    for found in sorted(set(failures.iterdir()) - before):
        print(f"FOUND {found}\n  replay: {sys.executable} -m tests.fuzz --replay {found} {name}", flush=True)
    print(f"fuzz {name}: {'ok' if code == 0 else f'FAILED (exit code {code})'}", flush=True)
    return code == 0


def _escaped(word: str) -> str:
    """As the fuzzer's dictionaries write bytes."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


def main() -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the parsers of the core.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of: {', '.join(targets.TARGETS)}; all")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together (%(default)s)")
    parser.add_argument("--replay", type=pathlib.Path, metavar="FILE", help="run TARGET once, on this input")
    given = parser.parse_args()
    chosen = given.targets or list(targets.TARGETS)
    unknown = [name for name in chosen if name not in targets.TARGETS]
    if unknown or (given.replay is not None and len(chosen) != 1):
        parser.error(f"unknown target {unknown[0]}" if unknown else "--replay needs one TARGET")
    if given.replay is not None:
        targets.TARGETS[chosen[0]].check(given.replay.read_bytes())
        print(f"{chosen[0]}: nothing wrong with {given.replay}")
        return 0
    share = max(1, given.seconds // len(chosen))
    sound = [run(name, share) for name in chosen]  # all of them, also after one failed
    return int(not all(sound))


if __name__ == "__main__":
    sys.exit(main())
