"""``agentrun inspect``: the verdict on any saved log, without a cluster, by the operator's own code."""

import argparse
import datetime
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from agentrun_operator import facts, names, progress, redaction
from agentrun_operator.cli import documents, sighting, terminal, transcript, validate
from agentrun_operator.cli import timeline as timelines
from agentrun_operator.cli import verdict as verdicts
from agentrun_operator.cli.transcript import Style
from agentrun_operator.forensics import messages

EXIT_FAILED = 1

_CHUNK_BYTES = 256 * 1024
_STDERR_BYTES = 8 * 1024
_TEXT_WIDTH = 100  # of sentences that go to no terminal
_MOST_CODE = 255
_LOOKS = {"Succeeded": (Style.GREEN, "✔"), "Failed": (Style.RED, "✘"), "Cancelled": (Style.YELLOW, "■")}
_TOKENS = {
    "inputTokens": "in", "outputTokens": "out", "cacheReadTokens": "from the cache",
    "cacheCreationTokens": "into the cache",
}  # fmt: skip


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "inspect",
        help="say how the run behind a saved log went",
        description=textwrap.fill(
            "Say of a saved log what the operator would say: the verdict with its error code, usage, cost and session; "
            "and show in a timeline how it came to that. No cluster is asked. What the log does not tell, the options "
            "do. Why an operator stopped a run is not in the log: a cancelled run looks killed.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun inspect run-1.pod.ndjson\n"
        "  agentrun inspect run-1.pod.ndjson --exit-code 137 -o json\n"
        "  kubectl logs POD | agentrun inspect - --pod pod.yaml\n\n"
        "Exit code: 0 the run succeeded, 1 it did not, 2 wrong usage or input that cannot be read.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the log; - is standard input")
    parser.add_argument(
        "--exit-code",
        metavar="N",
        type=_exit_code,
        help="how the agent ended. Without it, it is taken for 0 if the last result is a success, and else for unknown",
    )
    parser.add_argument(
        "--stderr",
        metavar="FILE",
        help=f"the agent's standard error; without it, the {names.STDERR_SUFFIX} beside a {names.LOG_SUFFIX}, if there "
        "is one",
    )
    parser.add_argument(
        "--pod",
        metavar="FILE",
        help="the run's pod as kubectl get pod -o yaml prints it, its Job, or both: it has the exit code, and knows of "
        "memory, eviction and deadline",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json", "yaml"),
        default="text",
        help="for people, or fields of the status as the operator would write them",
    )
    parser.add_argument("--all", action="store_true", help="the whole timeline, however long")
    parser.set_defaults(run=_run)


def _exit_code(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text) or int(text) > _MOST_CODE:
        raise argparse.ArgumentTypeError(f"{text!r} is no exit code; it is a number from 0 to {_MOST_CODE}")
    return int(text)


def _run(arguments: argparse.Namespace) -> int:
    try:
        found, timeline = _read(arguments)
    except documents.InputError as e:
        return validate.complain(arguments, e)
    result = verdicts.build(found, datetime.datetime.now(datetime.UTC))
    if arguments.output == "text":
        documents.write(sys.stdout, _report(result, found, timeline))
    else:
        show = documents.to_json if arguments.output == "json" else documents.to_yaml
        documents.write(sys.stdout, show(result.status))
    if found.transcript.bytes and not found.transcript.events:
        documents.write(sys.stderr, f"agentrun inspect: note: there is no event of the CLI in {arguments.file}\n")
    return 0 if result.succeeded else EXIT_FAILED


# --------------------------------------------------------------------------------------------------------- reading


def _read(arguments: argparse.Namespace) -> tuple[verdicts.Evidence, timelines.Timeline]:
    """What the arguments name. Raises InputError."""
    if [arguments.file, arguments.stderr, arguments.pod].count(documents.STDIN) > 1:
        raise documents.InputError("standard input (-) can be read only once")
    pod, job = _read_pod(arguments)
    if pod is not None and arguments.exit_code is not None:
        code = pod.main.exit_code if pod.main else None
        if code != arguments.exit_code:
            what = "has not ended" if code is None else f"ended with exit code {code}"
            raise documents.InputError(f"--exit-code {arguments.exit_code}: the agent of --pod {what}; leave one out")
    folded = progress.Progress()
    timeline = timelines.Timeline(redaction.Redactor().clean, everything=arguments.all)
    for chunk in _chunks(arguments.file):
        folded.feed(chunk)
        if arguments.output == "text":
            timeline.feed(chunk)
    folded.finish()
    timeline.finish()
    found = verdicts.Evidence(
        transcript=folded.snapshot(),
        exit_code=None if pod is not None else arguments.exit_code,
        stderr=_read_stderr(arguments),
        pod=pod,
        job=job,
    )
    return found, timeline


def _read_pod(arguments: argparse.Namespace) -> tuple[facts.PodFacts | None, facts.JobFacts | None]:
    if not arguments.pod:
        return None, None
    seen = sighting.read("--pod", arguments.pod)
    job = facts.parse_job({**seen.job, "status": seen.job_status})
    pod = facts.parse_pod(seen.pod) if seen.pod is not None else None
    if pod is not None and pod.main is None and (seen.pod or {}).get("status", {}).get("containerStatuses"):
        raise documents.InputError(f"--pod {arguments.pod}: the pod has no container {facts.MAIN_CONTAINER}")
    return pod, job


def _read_stderr(arguments: argparse.Namespace) -> str | None:
    path = arguments.stderr
    if path is None and arguments.file.endswith(names.LOG_SUFFIX):
        beside = names.stderr_path(arguments.file)
        path = beside if os.path.isfile(beside) else None
    if path is None:
        return None
    tail = b""
    for chunk in _chunks(path):
        tail = (tail + chunk)[-_STDERR_BYTES:]
    return tail.decode(errors="ignore" if len(tail) == _STDERR_BYTES else "replace")


def _chunks(path: str) -> Iterator[bytes]:
    try:
        if path == documents.STDIN:
            yield from _pieces(sys.stdin.buffer)
            return
        with open(path, "rb") as file:
            yield from _pieces(file)
    except (OSError, ValueError) as e:  # a NUL in a path is a ValueError
        raise documents.InputError(f"{path}: {getattr(e, 'strerror', None) or e}") from e


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


# ----------------------------------------------------------------------------------------------------------- words


def _report(result: verdicts.Verdict, found: verdicts.Evidence, timeline: timelines.Timeline) -> str:
    screen = terminal.find(sys.stdout)
    status = result.status
    style, mark = _LOOKS.get(status["phase"], (Style.CYAN, "…"))
    code = (status.get("error") or {}).get("code")
    title = f"{mark} {status['phase']}: {code or status['reason']}"
    lines = transcript.paint(style, title, color=screen.color, width=screen.width)
    width = max((screen.width or _TEXT_WIDTH) - 2, transcript.MIN_WIDTH)
    lines += [f"  {line}" for line in textwrap.wrap(transcript.clean(status["message"]), width, break_on_hyphens=False)]
    rows = {name: transcript.one_line(text) for name, text in _rows(result, found, timeline) if text}
    column = max(map(len, rows), default=0)
    lines.append("")
    for name, text in rows.items():
        label = transcript.paint(Style.DIM, f"  {name:<{column}}", color=screen.color, width=None)
        cut = screen.width and max(screen.width - column - 4, transcript.MIN_WIDTH)
        lines.append(f"{label[0]}  {transcript.shorten(text, cut) if cut else text}")
    shown = timeline.render(screen)
    return "\n".join([*lines, *(["", *shown] if shown else [])]) + "\n"


def _rows(
    result: verdicts.Verdict, found: verdicts.Evidence, timeline: timelines.Timeline
) -> Iterator[tuple[str, str]]:
    status, said = result.status, found.transcript
    usage, session = status.get("usage") or {}, status.get("session") or {}
    yield "session", session.get("id", "") + (" (not to be resumed)" if session.get("clear") else "")
    words = [status.get("model", ""), said.claude_version and f"claude {said.claude_version}"]
    yield "model", " · ".join(filter(None, words))
    yield "turns", str(status.get("turns") or "")
    tokens = [f"{usage[name]:,} {word}" for name, word in _TOKENS.items() if usage.get(name)]
    yield "tokens", " · ".join(tokens) + (" (estimated)" if usage.get("estimated") else "")
    yield "cost", f"${status['costUSD']}" if "costUSD" in status else ""
    yield "duration", _duration(found, timeline)
    yield "exit", _exit(result)
    yield "stderr", _last_line((status.get("exit") or {}).get("stderrTail", ""))
    yield "again from", (status.get("error") or {}).get("retryAfter", "")
    yield "log", f"{said.events:,} events, {said.bytes:,} bytes"


def _duration(found: verdicts.Evidence, timeline: timelines.Timeline) -> str:
    said = found.transcript.result
    told = said.duration_ms if said else None
    seconds = told / 1000 if told is not None and 0 <= told < float("inf") else timeline.seconds
    return timelines.elapsed(seconds) if seconds else ""


def _exit(result: verdicts.Verdict) -> str:
    end: Mapping[str, Any] = result.status.get("exit") or {}
    if "code" not in end:
        return "unknown; --exit-code or --pod tells it" if end else ""
    words = [messages.exit_words(end["code"]).removeprefix("exit code "), end.get("reason", "")]
    if result.assumed:
        words.append("assumed, because the last result is a success")
    return " · ".join(filter(None, words))


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")
