"""The command line: `python3 -m hack.cluster COMMAND`, from the root of the repository."""

import argparse
import collections.abc
import dataclasses
import json
import pathlib
import sys
import time

from hack import cluster, images
from hack.cluster import build, errors, inspection, levels, lifecycle, paths, provision, report, state


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _setup(options: argparse.Namespace) -> None:
    level = levels.Level.parse(options.level)
    folder = provision.provision(level)
    # For the tests of deploy/; no cluster needs them.
    build.ensure_helm()
    if level is levels.Level.NODE:
        images.build("operator")
    _say(f"ready for level {level}: binaries in {folder}")


def _up(options: argparse.Namespace) -> None:
    began = time.monotonic()
    running = cluster.up(
        options.name,
        options.level,
        audit=options.audit,
        agent_image=not options.no_agent_image,
        kwok_nodes=options.kwok_nodes,
        kwok_config=options.kwok_config,
    )
    took = report.elapsed(time.monotonic() - began)
    _say(
        f"cluster {running.name} (level {running.level}) is up and healthy on 127.0.0.1:{running.api_port} after {took}"
    )
    _say(str(running.kubeconfig))


def _down(options: argparse.Namespace) -> None:
    chosen = paths.existing() if options.all else [paths.layout(options.name)]
    for layout in chosen:
        existed = lifecycle.down(layout, keep_data=options.keep_data)
        _say(f"cluster {layout.name} is down" if existed else f"there was no cluster {layout.name}")


def _status(options: argparse.Namespace) -> None:
    chosen = [paths.layout(options.name)] if options.name else paths.existing()
    found = [inspection.inspect(layout) for layout in chosen if options.name or layout.record.exists()]
    if options.output == "json":
        _say(json.dumps([dataclasses.asdict(item) for item in found], indent=1))
    else:
        sys.stdout.write(inspection.render_table(found))


def _kubeconfig(options: argparse.Namespace) -> None:
    layout = paths.layout(options.name)
    state.require(layout)
    _say(str(layout.kubeconfig))


def _images(options: argparse.Namespace) -> None:
    imported = lifecycle.load_images(paths.layout(options.name))
    _say("\n".join(f"imported {reference}" for reference in imported) or "all images are there already")


def _one(
    action: collections.abc.Callable[[paths.Layout, str], None], done: str
) -> collections.abc.Callable[[argparse.Namespace], None]:
    """Return a command that does something to one component."""

    def run(options: argparse.Namespace) -> None:
        action(paths.layout(options.name), options.component)
        _say(f"{options.component} of cluster {options.name} {done}")

    return run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m hack.cluster", description=cluster.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(
        name: str, run: collections.abc.Callable[[argparse.Namespace], None], text: str, *, named: bool = True
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if named:
            added.add_argument("--name", required=True, help="name of the cluster")
        return added

    choices = [str(level) for level in levels.Level]
    setup = command("setup", _setup, "build and install what a level needs", named=False)
    setup.add_argument("--level", required=True, choices=choices)
    up = command("up", _up, "start or repair a cluster")
    up.add_argument("--level", required=True, choices=choices)
    up.add_argument("--audit", action="store_true", help="write an audit log (level Metadata) to audit.log")
    up.add_argument("--no-agent-image", action="store_true", help="node: do not build and import the agent's image")
    up.add_argument("--kwok-nodes", type=int, help="kwok: how many fake nodes (default 4)")
    up.add_argument(
        "--kwok-config", type=pathlib.Path, help="kwok: file with Stage objects instead of the default ones"
    )
    down = command("down", _down, "remove a cluster and every trace of it", named=False)
    which = down.add_mutually_exclusive_group(required=True)
    which.add_argument("--name", help="name of the cluster")
    which.add_argument("--all", action="store_true", help="all clusters of this checkout")
    down.add_argument("--keep-data", action="store_true", help="keep the state folder for a later `up`")
    show = command("status", _status, "show what runs and whether it is healthy", named=False)
    show.add_argument("--name", help="only this cluster")
    show.add_argument("-o", "--output", choices=["table", "json"], default="table")
    command("kubeconfig", _kubeconfig, "print the path of the admin's kubeconfig")
    command("images", _images, "build and import the images of a node-level cluster")
    for name, action, done in (
        ("start", lifecycle.start, "runs and is healthy"),
        ("stop", lifecycle.stop, "is stopped"),
        ("restart", lifecycle.restart, "was restarted and is healthy"),
    ):
        one = command(name, _one(action, done), f"{name} one component")
        one.add_argument("component", help="etcd, kube-apiserver, kube-controller-manager, kube-scheduler, ...")
    return parser


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except errors.ClusterError as error:
        report.report(f"error: {error}")
        return 1
    except PermissionError as error:
        report.report(f"error: {error}. If another user (root?) started this cluster, run the command as that user.")
        return 1
    except KeyboardInterrupt:
        report.report("interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
