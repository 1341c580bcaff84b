"""The record of one cluster: what was asked for and what was allocated, so that a restart finds the same."""

import dataclasses
import json
import pathlib

from hack.cluster import errors, files, levels, paths, ports

PORTS = (
    "etcd",
    "etcd-peer",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kubelet-healthz",
    "kwok",
)


@dataclasses.dataclass(frozen=True)
class Record:
    """One cluster as it should be. Ports are all allocated at once, so that growing to a higher level keeps them."""

    name: str
    level: levels.Level
    ports: dict[str, int]
    pod_subnet: str
    bin_dir: pathlib.Path
    audit: bool = False
    agent_image: bool = True
    kwok_nodes: int = 4
    kwok_config: pathlib.Path | None = None


def render(record: Record) -> str:
    """Render a record as the JSON of cluster.json."""
    return json.dumps(dataclasses.asdict(record), indent=1, default=str) + "\n"


def parse(text: str) -> Record:
    """Parse cluster.json; raises ValueError, KeyError or TypeError if it is not one."""
    raw = json.loads(text)
    raw["level"] = levels.Level(raw["level"])
    raw["bin_dir"] = pathlib.Path(raw["bin_dir"])
    raw["kwok_config"] = pathlib.Path(raw["kwok_config"]) if raw["kwok_config"] else None
    return Record(**raw)


def load(layout: paths.Layout) -> Record | None:
    """Read a cluster's record, None if it has none."""
    try:
        return parse(layout.record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        message = (
            f"{layout.record} is damaged ({error}): `python3 -m hack.cluster down --name {layout.name}` removes it."
        )
        raise errors.ClusterError(message) from error


def require(layout: paths.Layout) -> Record:
    """Read a cluster's record or raise ClusterError that it does not exist."""
    record = load(layout)
    if record is None:
        fix = f"`python3 -m hack.cluster up --name {layout.name} --level LEVEL` makes one"
        message = f"there is no cluster {layout.name}: {fix}."
        raise errors.ClusterError(message)
    return record


def save(layout: paths.Layout, record: Record) -> None:
    """Write a cluster's record, and keep the whole state folder out of git wherever it is."""
    files.write(layout.state.parent.parent / ".gitignore", "*\n")
    files.write(layout.record, render(record))


def allocate(layout: paths.Layout, level: levels.Level, *, bin_dir: pathlib.Path) -> Record:
    """Return the record of a new cluster, with ports and a subnet that its neighbours do not have."""
    neighbours = [load(other) for other in paths.existing(root=layout.state.parent) if other != layout]
    taken_ports = {port for record in neighbours if record for port in record.ports.values()}
    taken_subnets = {record.pod_subnet for record in neighbours if record}
    return Record(
        name=layout.name,
        level=level,
        ports=ports.allocate(PORTS, seed=layout.ident, taken=taken_ports),
        pod_subnet=ports.pod_subnet(seed=layout.ident, taken=taken_subnets),
        bin_dir=bin_dir,
    )
