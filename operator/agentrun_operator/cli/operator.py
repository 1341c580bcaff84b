"""``agentrun operator``: the operator itself, until it is told to stop."""

import argparse
import asyncio
import os
import textwrap
from collections.abc import Callable
from typing import Any

import kopf
import structlog

from agentrun_operator import entry, handlers, kube, logs, manifest, runner, settings, tail

_log = structlog.get_logger(__name__)


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    listing = "\n".join(
        textwrap.fill(
            f"{settings.PREFIX}{name.upper()} (default {field.default!r}): {field.description}",
            width=100,
            initial_indent="  ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, field in settings.Settings.model_fields.items()
    )
    parser = commands.add_parser(
        "operator",
        help="run the operator",
        description="Run the operator in this process until SIGTERM or SIGINT. It leaves all Jobs alone when it stops.",
        epilog=f"Settings are environment variables:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=lambda _arguments: asyncio.run(operate(settings.from_environ(os.environ))))


async def operate(config: settings.Settings, *, reached: Callable[[runner.Step], None] = lambda _step: None) -> int:
    """Be the operator until a signal ends it. Returns the exit code; ``reached`` is told of every step of a run."""
    logs.configure(config)
    for variable in settings.unknown(os.environ):
        _log.warning("unknown_setting", variable=variable)
    client = await kube.connect(timeout=config.request_timeout_seconds)
    own_pod = runner.OwnPod(config, client)
    deps = runner.Deps(
        config=config,
        client=client,
        world=runner.World(),
        tailer=tail.Tailer(config),
        scripts=manifest.Scripts(run_agent=entry.read("run-agent.sh"), bundle=entry.read("bundle.sh")),
        own_pod=own_pod,
        secrets=runner.SecretValues(config, client, own_pod),
        caretaker=runner.Caretaker(config, client),
        announcer=runner.Announcer(config, client),
        reached=reached,
    )
    registry = kopf.OperatorRegistry()
    handlers.register(registry)
    await kopf.operator(
        registry=registry,
        memo=deps,
        standalone=True,
        clusterwide=not config.watched_namespaces,
        namespaces=config.watched_namespaces,
        liveness_endpoint=config.liveness_endpoint or None,
    )
    return 0
