"""``agentrun logs``: the transcript of a run, rendered for people."""

import argparse
import asyncio
import os
import pathlib
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

from agentrun_operator import errors, facts, kube, models, settings, stream
from agentrun_operator.cli import transcript

_POLL_SECONDS = 0.25
_CHUNK_BYTES = 64 * 1024


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "logs",
        help="show what an agent did",
        description="Show the transcript of a run: from the log file where the shared volume is mounted "
        f"({settings.PREFIX}DATA_PATH), else from the run's pod.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("name", nargs="?", help="name of the AgentRun")
    source.add_argument("--file", metavar="F", help="a saved log; - is standard input")
    parser.add_argument("-n", "--namespace", default="default", help="namespace of the AgentRun (default: default)")
    parser.add_argument("--context", help="context of the kubeconfig")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run has ended")
    parser.add_argument("--raw", action="store_true", help="the events as they were written, one JSON object a line")
    parser.set_defaults(run=lambda arguments: asyncio.run(_show(arguments)))


async def _show(arguments: argparse.Namespace) -> int:
    write = _Writer(raw=arguments.raw)
    if arguments.file == "-":
        write.feed(await asyncio.to_thread(sys.stdin.buffer.read))
    elif arguments.file:
        write.feed(await asyncio.to_thread(_read_file, arguments.file))
    else:
        async for chunk in _of_run(arguments):
            write.feed(chunk)
    write.finish()
    return 0


def _read_file(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as e:
        raise errors.SettingsError(f"--file {path}: {e.strerror}") from e


class _Writer:
    """Writes whole lines as they come."""

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._lines = stream.LineDecoder()
        self._color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def feed(self, chunk: bytes) -> None:
        if self._raw:
            sys.stdout.buffer.write(chunk)
        else:
            self._write(self._lines.decode(chunk))
        sys.stdout.flush()

    def finish(self) -> None:
        self._write(self._lines.flush())

    def _write(self, lines: list[bytes]) -> None:
        for line in lines:
            event = stream.parse(line)
            for text in transcript.render(event, color=self._color, width=self._width) if event else ():
                sys.stdout.write(text + "\n")


async def _of_run(arguments: argparse.Namespace) -> AsyncIterator[bytes]:
    config = settings.from_environ(os.environ)
    client = await kube.connect(timeout=config.request_timeout_seconds, context=arguments.context)
    try:
        status = await _status(client, arguments)
        while arguments.follow and not (_is_final(status) or status.get("runningTime")):
            await asyncio.sleep(_POLL_SECONDS)
            status = await _status(client, arguments)
        path = _local_path(config, status.get("logPath"))
        if path is not None and await asyncio.to_thread(pathlib.Path(path).exists):
            chunks = _of_file(client, arguments, pathlib.Path(path))
        else:
            chunks = _of_pod(client, arguments, status)
        async for chunk in chunks:
            yield chunk
    finally:
        await client.close()


def _local_path(config: settings.Settings, path: str | None) -> str | None:
    """Where the log is on this machine, None if it cannot be here."""
    try:
        return config.local_path(path) if path else None
    except ValueError:  # the operator's volume is mounted elsewhere than this machine's settings say
        return None


async def _of_file(client: kube.KubeClient, arguments: argparse.Namespace, path: pathlib.Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while True:
            final = not arguments.follow or _is_final(await _status(client, arguments))
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
            if final:
                return
            await asyncio.sleep(_POLL_SECONDS)


def _of_pod(client: kube.KubeClient, arguments: argparse.Namespace, status: Mapping[str, Any]) -> AsyncIterator[bytes]:
    pod = status.get("podName")
    if not pod:
        raise errors.SettingsError(
            f"{arguments.name} has no pod yet ({status.get('phase', 'Pending')}); wait for it with --follow"
        )
    return client.read_pod_log(arguments.namespace, pod, facts.MAIN_CONTAINER, follow=arguments.follow)


async def _status(client: kube.KubeClient, arguments: argparse.Namespace) -> Mapping[str, Any]:
    body = await client.get_run(arguments.namespace, arguments.name)
    return dict(body.get("status") or {})


def _is_final(status: Mapping[str, Any]) -> bool:
    return "phase" in status and models.Phase(status["phase"]).final
