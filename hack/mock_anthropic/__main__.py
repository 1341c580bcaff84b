"""The command line: `python3 -m hack.mock_anthropic`, from the root of the repository."""

import argparse
import os
import pathlib
import signal
import sys
import threading
import types
import typing

from hack import mock_anthropic
from hack.mock_anthropic import records, server


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m hack.mock_anthropic",
        description=mock_anthropic.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = server.Options()
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 (default) picks a free one")
    parser.add_argument("--port-file", type=pathlib.Path, help="file that gets the port when the server listens")
    parser.add_argument("--scenario", default=defaults.scenario, help="for requests that name none (%(default)s)")
    parser.add_argument("--log", type=pathlib.Path, help="file to append one JSON object per request to")
    parser.add_argument("--bodies", type=pathlib.Path, help="folder for request bodies; they contain prompts")
    parser.add_argument("--write-file", default=defaults.write_file, help="scenario writefile's path (%(default)s)")
    return parser


def _stop(_signal: int, _frame: types.FrameType | None) -> typing.NoReturn:
    raise SystemExit(0)


def _stop_gently(listening: server.Server) -> None:
    """Have a signal end the loop between two requests: an exception in the middle of one would pull its socket away."""

    def stop(_signal: int, _frame: types.FrameType | None) -> None:
        # It waits for the end of the loop, which this very thread is in.
        threading.Thread(target=listening.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _announce(path: pathlib.Path, port: int) -> None:
    """Write the port so that a reader sees the whole number or no file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(f"{port}\n", encoding="ascii")
    draft.replace(path)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    if options.port_file is not None:
        options.port_file.unlink(missing_ok=True)  # the port of an earlier server would mislead
    kept = records.Records(log=options.log, bodies=options.bodies)
    behaviour = server.Options(scenario=options.scenario, write_file=options.write_file)
    try:
        listening = server.Server(options.port, kept, behaviour)
    except OSError as error:
        print(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    with listening:
        _stop_gently(listening)
        if options.port_file is not None:
            _announce(options.port_file, listening.port)
        print(f"mock on 127.0.0.1:{listening.port} pid {os.getpid()}", flush=True)
        listening.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
