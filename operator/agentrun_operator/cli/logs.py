"""``agentrun logs``: the transcript of a run, rendered for people, without its secrets."""

import argparse
import asyncio
import contextlib
import datetime
import io
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, cast

from agentrun_operator import errors, redaction, settings, stream
from agentrun_operator.cli import cluster, documents, moments, run_log, terminal, transcript, validate

_CHUNK_BYTES = 64 * 1024


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "logs",
        help="show what an agent did",
        description=textwrap.fill(
            "Show the transcript of a run: from the log file where the shared volume is mounted "
            f"({settings.PREFIX}DATA_PATH), else from the run's pod. The values of the run's secret environment "
            "variables, and what looks like a token, are not shown; stderr says so if a Secret could not be read.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun logs fix-login -n team-a -f\n"
        "  agentrun logs fix-login --since 10m\n"
        "  agentrun logs fix-login --attempt 0\n"
        "  agentrun logs fix-login -o json | jq -r .type\n\n"
        "Exit code: 0 the log was shown, 1 there is none or it could not be read, 2 wrong usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("name", nargs="?", metavar="NAME", help="the AgentRun")
    source.add_argument("--file", metavar="F", help="a saved log; - is standard input")
    cluster.add_to(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")
    parser.add_argument(
        "--attempt", type=int, metavar="N", help="an earlier attempt of the run, from 0 (default: the last)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--raw", action="store_true", help="the log as it was written")
    cluster.add_output_to(form, what="each event as a JSON object in a line, or as a YAML document")
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help="only what is newer: a duration (10m, 1h30m, 2d) or a time (2026-11-21T10:00:00Z). Only what the model "
        "and its tools said carries a time; other events count with the one before them",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    since = None
    if arguments.since is not None:
        try:
            since = moments.parse_since(arguments.since, datetime.datetime.now(datetime.UTC))
        except ValueError as e:
            return validate.complain(arguments, f"--since: {e}")
    return asyncio.run(_show(arguments, since))


async def _show(arguments: argparse.Namespace, since: datetime.datetime | None) -> int:
    writer = Writer(form="raw" if arguments.raw else arguments.output, since=since)
    try:
        if arguments.file:
            for chunk in _read_file(arguments.file):
                writer.feed(chunk)
        else:
            async for chunk in run_log.read(arguments, writer, tell=note):
                writer.feed(chunk)
    except errors.AgentRunError:
        writer.finish()  # what had come before it
        raise
    writer.finish()
    return 0


def _read_file(path: str) -> Iterator[bytes]:
    try:
        with contextlib.ExitStack() as stack:
            stdin = cast("io.BufferedReader", sys.stdin.buffer)
            file = stdin if path == documents.STDIN else stack.enter_context(open(path, "rb"))
            while chunk := file.read1(_CHUNK_BYTES):  # what there is: a pipe may be a log that still grows
                yield chunk
    except OSError as e:
        raise errors.SettingsError(f"--file {path}: {e.strerror}") from e


class Writer:
    """Writes a log as it comes, whole lines at a time. ``redactor`` may be set before the first byte.

    ``form``: text, json, yaml, or raw for the bytes as they are.
    """

    def __init__(self, *, form: str = "text", since: datetime.datetime | None = None) -> None:
        self.redactor = redaction.Redactor()
        self._raw = form == "raw"
        self._form = form
        self._odd = 0
        self._since = since
        self._filter = moments.Since(since) if since else None
        self._lines = stream.LineDecoder()
        self._redacted: redaction.Stream | None = None
        self._terminal = terminal.find(sys.stdout)

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the log."""
        if self._raw and self._filter is None:
            # Line by line, so that what is found in one of them cannot take the next one with it.
            self._write_bytes(chunk.splitlines(keepends=True))
        else:
            self._write(self._lines.decode(chunk))
        sys.stdout.flush()

    def go_live(self) -> None:
        """What was there is read; what comes now is new."""
        if self._filter is not None:
            self._write_passed(self._filter.go_live())
            sys.stdout.flush()

    def finish(self) -> None:
        """There is no more."""
        self._write(self._lines.flush())
        self.go_live()
        if self._redacted is not None:
            sys.stdout.buffer.write(self._redacted.finish())
        sys.stdout.flush()
        if self._lines.oversized_lines:
            most = stream.DEFAULT_MAX_LINE_BYTES >> 20
            note(f"{self._lines.oversized_lines} lines of more than {most} MiB were left out")
        if self._odd:
            note(f"{self._odd} lines were no JSON objects and were left out; --raw has them")
        if self._filter is not None and self._since is not None:
            self._explain(self._filter, self._since)

    def _explain(self, passed: moments.Since, since: datetime.datetime) -> None:
        if passed.latest is None and passed.passed:
            note("the events of this log carry no times (old versions of claude print none); --since was ignored")
        elif passed.latest is not None and not passed.passed:
            note(f"nothing since {moments.show(since)}; the last time in the log is {moments.show(passed.latest)}")

    def _write(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self._write_passed(self._filter.take(line) if self._filter else (line,))

    def _write_passed(self, lines: Iterable[bytes]) -> None:
        if self._raw:
            self._write_bytes(line + b"\n" for line in lines)
            return
        for line in lines:
            if self._form != "text":
                self._write_object(line)
            elif (event := stream.parse(line)) is not None:
                clean = transcript.wash(event, self.redactor.clean)
                shown = transcript.render(clean, color=self._terminal.color, width=self._terminal.width)
                documents.write(sys.stdout, "".join(f"{text}\n" for text in shown))

    def _write_object(self, line: bytes) -> None:
        """One event for programs: what was written, without its secrets."""
        if not line.strip():
            return
        try:
            event = json.loads(self.redactor.clean(line.decode(errors="replace")))
        except ValueError:
            event = None
        if not isinstance(event, dict):
            self._odd += 1
        elif self._form == "json":
            documents.write(sys.stdout, json.dumps(event, ensure_ascii=False) + "\n")
        else:
            documents.write(sys.stdout, f"---\n{documents.to_yaml(event)}")

    def _write_bytes(self, pieces: Iterable[bytes]) -> None:
        self._redacted = self._redacted or redaction.Stream(self.redactor)
        for piece in pieces:
            sys.stdout.buffer.write(self._redacted.feed(piece))


def note(text: str) -> None:
    """Tell the user something beside the log."""
    documents.tell(f"agentrun logs: note: {transcript.one_line(text)}")
