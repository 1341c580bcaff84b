"""A real Kubernetes on one machine, without Docker: the Python interface. `python3 -m hack.cluster` is the other one.

Standard library only, so that it runs before anything is installed. See README.md in this folder.
"""

import dataclasses
import pathlib
import signal

from hack.cluster import errors as _errors
from hack.cluster import levels as _levels
from hack.cluster import lifecycle as _lifecycle
from hack.cluster import paths as _paths
from hack.cluster import inspection as _inspection

ClusterError = _errors.ClusterError
MissingPrerequisite = _errors.MissingPrerequisite
NotReady = _errors.NotReady
Level = _levels.Level

__all__ = [
    "Cluster",
    "ClusterError",
    "Level",
    "MissingPrerequisite",
    "NotReady",
    "down",
    "kill",
    "load_image",
    "restart",
    "send",
    "start",
    "status",
    "stop",
    "up",
]


@dataclasses.dataclass(frozen=True)
class Cluster:
    """A running cluster: where its files are and where its API listens (127.0.0.1:`api_port`)."""

    name: str
    level: str
    kubeconfig: pathlib.Path
    state_dir: pathlib.Path
    bin_dir: pathlib.Path
    api_port: int


def up(
    name: str,
    level: str,
    *,
    audit: bool = False,
    agent_image: bool = True,
    kwok_nodes: int | None = None,
    kwok_config: pathlib.Path | None = None,
) -> Cluster:
    """Make sure cluster `name` runs and is healthy at `level`: control-plane, kwok or node.

    `audit` writes an audit log; `agent_image` imports the agent's image (node level only); `kwok_nodes` and
    `kwok_config` (a file of Stage objects) are for level kwok. Raises ClusterError with a text for people.
    """
    wishes = _lifecycle.Wishes(audit=audit, agent_image=agent_image, kwok_nodes=kwok_nodes, kwok_config=kwok_config)
    wanted = _lifecycle.up(_paths.layout(name), _levels.Level.parse(level), wishes)
    return Cluster(
        name=name,
        level=str(wanted.record.level),
        kubeconfig=wanted.layout.kubeconfig,
        state_dir=wanted.layout.state,
        bin_dir=wanted.record.bin_dir,
        api_port=wanted.record.ports["kube-apiserver"],
    )


def down(name: str, *, keep_data: bool = False) -> None:
    """Remove cluster `name` and every trace of it; no error if there is none."""
    _lifecycle.down(_paths.layout(name), keep_data=keep_data)


def load_image(name: str, image: str) -> None:
    """Build an image of `hack.images` by its short name and import it into a cluster of level node."""
    _lifecycle.load_images(_paths.layout(name), (image,))


def start(name: str, component: str) -> None:
    """Start one component of a cluster and wait until it is healthy."""
    _lifecycle.start(_paths.layout(name), component)


def stop(name: str, component: str) -> None:
    """Stop one component of a cluster (SIGTERM, after 10 s SIGKILL)."""
    _lifecycle.stop(_paths.layout(name), component)


def kill(name: str, component: str) -> None:
    """End one component of a cluster as a crash would (SIGKILL)."""
    _lifecycle.kill(_paths.layout(name), component)


def send(name: str, component: str, number: signal.Signals) -> None:
    """Send a signal to one component of a cluster, such as SIGSTOP; ClusterError if it does not run."""
    _lifecycle.send(_paths.layout(name), component, number)


def restart(name: str, component: str) -> None:
    """Stop and start one component of a cluster and wait until it is healthy."""
    _lifecycle.restart(_paths.layout(name), component)


def status(name: str) -> _inspection.ClusterStatus:
    """Return the health of a cluster and of each of its components."""
    return _inspection.inspect(_paths.layout(name))
