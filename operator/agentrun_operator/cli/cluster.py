"""What the commands share that ask a cluster: the options that say which, the client, and how output is asked for."""

import argparse
import asyncio
import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from agentrun_operator import client, errors, kube, models, settings
from agentrun_operator.cli import advice, documents

EXIT_RUN_FAILED = 3
EXIT_RUN_CANCELLED = 4

_REQUEST_SECONDS = 30.0
_PATIENCE_SECONDS = 5.0  # somebody sits before it
_WATCHES = 8


@dataclasses.dataclass(slots=True)
class Session:
    """A cluster. ``namespace`` is the one that is meant, "" for all."""

    api: kube.HttpKubeClient
    namespace: str
    config: settings.Settings
    _made: dict[str, client.AsyncClient] = dataclasses.field(default_factory=dict)

    @property
    def runs(self) -> client.AsyncClient:
        """Its AgentRuns."""
        return self.runs_in(self.namespace)

    def runs_in(self, namespace: str) -> client.AsyncClient:
        """The AgentRuns of another namespace."""
        if namespace not in self._made:
            self._made[namespace] = client.AsyncClient(
                self.api, namespace=namespace, config=self.config, patience=_PATIENCE_SECONDS
            )
        return self._made[namespace]

    async def list(self, **by: Any) -> list[Mapping[str, Any]]:
        """The AgentRuns of a company, an agent, a task as JSON; oldest first."""
        bodies, _ = await self.api.all_runs(self.namespace).list()
        found = [body for body in bodies if client.belongs(body, **by)]
        return sorted(found, key=lambda body: (body["metadata"]["creationTimestamp"], body["metadata"]["name"]))

    async def close(self) -> None:
        """End it."""
        for each in self._made.values():
            await each.close()
        await self.api.close()


def add_to(parser: argparse.ArgumentParser, *, everywhere: bool = False) -> None:
    """Add the options that say which cluster and namespace; with ``everywhere`` also that of all namespaces."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "-n", "--namespace", help="namespace of the AgentRuns (default: that of the kubeconfig's context)"
    )
    if everywhere:
        where.add_argument("-A", "--all-namespaces", action="store_true", help="the AgentRuns of all namespaces")
    add_access_to(parser)


def add_access_to(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which cluster."""
    parser.add_argument("--context", help="context of the kubeconfig (default: the current one)")
    parser.add_argument("--kubeconfig", metavar="FILE", help="the kubeconfig (default: KUBECONFIG, ~/.kube/config)")


def add_filters_to(parser: argparse.ArgumentParser) -> None:
    """Add the options that say whose runs."""
    parser.add_argument("--company", metavar="ID", help="only runs of this company")
    parser.add_argument("--agent", metavar="ID", help="only runs of this agent")
    parser.add_argument("--task", metavar="ID", help="only runs of this task")


def add_output_to(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup, *further: str, what: str) -> None:
    """Add the option that says for whom the output is."""
    parser.add_argument(
        "-o", "--output", choices=("text", *further, "json", "yaml"), default="text", help=f"for people, or {what}"
    )


def filters(arguments: argparse.Namespace) -> dict[str, Any]:
    """Whose runs."""
    return {name: getattr(arguments, name) for name in ("company", "agent", "task")}


def namespace_of(arguments: argparse.Namespace) -> str:
    """The namespace that is meant, "" for all. Raises SettingsError."""
    if getattr(arguments, "all_namespaces", False):
        return ""
    return arguments.namespace or kube.default_namespace(arguments.context)


def run(arguments: argparse.Namespace, work: Callable[[Session], Awaitable[int]]) -> int:
    """Do it on the cluster that ``arguments`` name; returns the exit code. Raises AgentRunError."""

    async def do() -> int:
        async with connected(arguments) as session:
            try:
                return await work(session)
            except errors.NotFoundError as e:
                raise advice.place(e, session.namespace) from e

    return asyncio.run(do())


@contextlib.asynccontextmanager
async def connected(arguments: argparse.Namespace) -> AsyncIterator[Session]:
    """The cluster that ``arguments`` name. Raises SettingsError."""
    # What a watch has to tell of itself would stand in the middle of a table.
    logging.getLogger(client.__name__.partition(".")[0]).addHandler(logging.NullHandler())
    client.leave_logging_to_the_program()
    config = settings.from_environ(os.environ)
    namespace = namespace_of(arguments)
    api = await kube.connect(timeout=_REQUEST_SECONDS, context=arguments.context, watches=_WATCHES)
    session = Session(api, namespace, config)
    try:
        yield session
    finally:
        await session.close()


def exit_code(run: models.AgentRun) -> int:
    """What a command says that waited for the run."""
    outcomes = {models.Phase.FAILED: EXIT_RUN_FAILED, models.Phase.CANCELLED: EXIT_RUN_CANCELLED}
    return outcomes.get(run.status.phase, 0) if run.status.phase else 0


def write(arguments: argparse.Namespace, value: object) -> None:
    """Print ``value`` for programs, as ``-o`` says."""
    show = documents.to_json if arguments.output == "json" else documents.to_yaml
    documents.write(sys.stdout, show(value))


def note(arguments: argparse.Namespace, text: str) -> None:
    """Tell the user something beside the output."""
    documents.tell(f"agentrun {arguments.command}: {text}")
