"""What runs, what is healthy and what it costs, as data and as a table."""

import collections.abc
import dataclasses

from hack.cluster import component, levels, lifecycle, paths, processes, state


@dataclasses.dataclass(frozen=True)
class ComponentStatus:
    """One component: `pid` is None unless it runs; `detail` says why it is not healthy; `rss_bytes` is its memory."""

    name: str
    pid: int | None
    alive: bool
    healthy: bool
    detail: str
    port: int | None
    rss_bytes: int


@dataclasses.dataclass(frozen=True)
class ClusterStatus:
    """One cluster and all of its components; `healthy` when every component is."""

    name: str
    level: levels.Level
    healthy: bool
    kubeconfig: str
    state_dir: str
    components: tuple[ComponentStatus, ...]


def inspect(layout: paths.Layout) -> ClusterStatus:
    """Ask every component of a cluster how it is; starts and changes nothing."""
    record = state.require(layout)
    wanted = lifecycle.plan(layout, record, prepare=False)
    parts = tuple(_inspect(layout, part) for part in wanted.components)
    return ClusterStatus(
        name=layout.name,
        level=record.level,
        healthy=all(part.healthy for part in parts),
        kubeconfig=str(layout.kubeconfig),
        state_dir=str(layout.state),
        components=parts,
    )


def _inspect(layout: paths.Layout, part: component.Component) -> ComponentStatus:
    started = component.running(layout, part.name)
    port = part.ports[0] if part.ports else None
    if started is None:
        return ComponentStatus(
            part.name, None, alive=False, healthy=False, detail="not running", port=port, rss_bytes=0
        )
    reason = part.healthy()
    return ComponentStatus(
        part.name,
        started.identity.pid,
        alive=True,
        healthy=reason is None,
        detail=reason or "",
        port=port,
        rss_bytes=processes.rss_bytes(started.identity.pid),
    )


def render_table(clusters: collections.abc.Sequence[ClusterStatus]) -> str:
    """Render clusters as a table for people."""
    if not clusters:
        return "no clusters\n"
    rows = [("CLUSTER", "LEVEL", "COMPONENT", "PID", "HEALTH", "PORT", "RSS MB")]
    for cluster in clusters:
        for part in cluster.components:
            health = "healthy" if part.healthy else part.detail
            rows.append(
                (
                    cluster.name,
                    cluster.level,
                    part.name,
                    str(part.pid or "-"),
                    health,
                    str(part.port or "-"),
                    f"{part.rss_bytes / 1e6:.0f}",
                )
            )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"kubeconfig of {cluster.name}: {cluster.kubeconfig}" for cluster in clusters]
    return "\n".join(lines) + "\n"
