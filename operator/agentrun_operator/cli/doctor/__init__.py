"""``agentrun doctor``: whether AgentRuns can work here, and if not, why and what to do.

The edges: what is seen is collected here, what is made of it is decided in ``agentrun_operator.doctor``.
"""

import argparse
import asyncio
import os
import sys
import textwrap
from typing import Any

from agentrun_operator import doctor, errors, kube, models
from agentrun_operator.cli import cluster, documents, terminal, validate
from agentrun_operator.cli.doctor import collect, report, wishes

EXIT_FAILED = 1


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "doctor",
        help="find out why AgentRuns cannot work here",
        description=textwrap.fill(
            "Look at everything that AgentRuns need: the API and its clock, the CRD, the operator and its "
            "rights, and in each namespace the volume's claim, Secrets, quotas, and what the API server says to a "
            "run's Job and pod in a dry run. Inside the operator's pod it looks at the shared volume, too. Nothing is "
            "changed; on the volume a small file is written and removed.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun doctor\n"
        "  agentrun doctor -n team-a -f run.yaml\n"
        "  kubectl exec -n agentrun-system deploy/agentrun-operator -- agentrun doctor -o json\n\n"
        "Exit code: 0 no check failed, though there may be warnings; 1 one failed; 2 wrong usage.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-n",
        "--namespace",
        action="append",
        help="namespace of AgentRuns; may be repeated (default: those that the operator watches, else its own)",
    )
    cluster.add_access_to(parser)
    parser.add_argument("-f", "--filename", metavar="FILE", help="an AgentRun: check what this one needs")
    parser.add_argument(
        "--system-namespace",
        default="agentrun-system",
        help="namespace of the operator, when this is not its pod (default: agentrun-system)",
    )
    parser.add_argument(
        "--deployment",
        default="agentrun-operator",
        help="Deployment of the operator, when this is not its pod (default: agentrun-operator)",
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "yaml", "json"), default="text", help="for people, or for programs"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=10.0, help="seconds that one request, or the volume, may take (default: 10)"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        run = _read_run(arguments.filename, arguments)
    except (documents.InputError, errors.InvalidRunError) as e:
        return validate.complain(arguments, e)
    wanted = wishes.Wishes(
        namespaces=tuple(arguments.namespace or ()),
        run=run,
        inside="KUBERNETES_SERVICE_HOST" in os.environ and not (arguments.context or os.environ.get("KUBECONFIG")),
        system_namespace=arguments.system_namespace,
        deployment=arguments.deployment,
        timeout=arguments.timeout,
    )
    found = tuple(doctor.examine(asyncio.run(_look(wanted, arguments.context))))
    if arguments.output == "text":
        text = report.render_text(found, terminal.find(sys.stdout))
    else:
        body = report.build_json(found)
        text = documents.to_json(body) if arguments.output == "json" else documents.to_yaml(body)
    documents.write(sys.stdout, text)
    return EXIT_FAILED if doctor.worst(found) is doctor.Level.FAIL else 0


async def _look(wanted: wishes.Wishes, context: str | None) -> doctor.Sights:
    try:
        client = await kube.connect_inspector(timeout=wanted.timeout, context=context)
    except errors.SettingsError as e:
        return await collect.look_without_api(wanted, os.environ, str(e))
    try:
        return await collect.look(client, wanted, os.environ)
    finally:
        await client.close()


def _read_run(path: str | None, arguments: argparse.Namespace) -> models.AgentRun | None:
    """The one AgentRun of a file. Raises InputError, InvalidRunError."""
    if path is None:
        return None
    namespace = (arguments.namespace or ["default"])[0]
    candidates = validate.find_runs(documents.read([path]), namespace=namespace)
    if len(candidates) != 1:
        raise documents.InputError(f"-f {path}: it has to hold one AgentRun; it holds {len(candidates)}")
    if candidates[0].problems:
        raise documents.InputError(f"-f {path}: it is not valid; agentrun validate -f {path} says why")
    return models.AgentRun.parse(candidates[0].body)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 600:  # noqa: PLR2004 - as the setting request_timeout_seconds has it
        raise ValueError(text)
    return value
