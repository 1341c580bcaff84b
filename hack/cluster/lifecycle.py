"""Bring clusters up, down and through the failures that tests cause on purpose.

`up` describes the wanted components and walks them in the order of their needs: each that does not run (or runs with
other arguments) is started, each is waited for. A healthy cluster passes through without a change, a half-dead one is
repaired by the same walk.
"""

import concurrent.futures
import dataclasses
import os
import pathlib
import signal

from hack.cluster import (
    component,
    controlplane,
    credentials,
    errors,
    files,
    imports,
    kubeapi,
    kwok,
    levels,
    node,
    paths,
    prerequisites,
    processes,
    provision,
    report,
    state,
    sysctls,
    teardown,
)

# How long a process that runs but is unhealthy may take to recover before it is restarted, in seconds.
_RECOVERY_SECONDS = 15.0
_NODE_READY_SECONDS = 120.0
# The store and the API: waited for before anything else is started.
_FOUNDATION = ("etcd", "kube-apiserver")
_API_CLIENTS = ("kube-controller-manager", "kube-scheduler", "kwok")


@dataclasses.dataclass(frozen=True)
class Wishes:
    """What a caller of `up` asks for beyond the level; None or False leaves an existing cluster's choice alone."""

    audit: bool = False
    agent_image: bool = True
    kwok_nodes: int | None = None
    kwok_config: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything needed to run one cluster: its paths, its record, an admin's client and its components in order."""

    layout: paths.Layout
    record: state.Record
    admin: kubeapi.Client
    components: tuple[component.Component, ...]

    def find(self, name: str) -> component.Component:
        """Return the component of this name, or raise ClusterError that lists those there are."""
        for candidate in self.components:
            if candidate.name == name:
                return candidate
        names = ", ".join(candidate.name for candidate in self.components)
        message = f"cluster {self.layout.name} (level {self.record.level}) has no component {name!r}: it has {names}."
        raise errors.ClusterError(message)


def plan(layout: paths.Layout, record: state.Record, *, prepare: bool) -> Plan:
    """Describe all components in the order in which they must start.

    `prepare` also makes what a node needs on the machine (cgroup, run directory); not wanted of who only looks.
    """
    tokens = credentials.ensure(layout, record)
    admin = controlplane.client(layout, record, tokens)
    components = [controlplane.etcd(layout, record)]
    if record.level is levels.Level.NODE:
        if prepare:
            node.prepare(layout, record)
        components.append(node.containerd(layout))
    components.append(controlplane.apiserver(layout, record, admin))
    components.append(controlplane.controller_manager(layout, record))
    components.append(controlplane.scheduler(layout, record))
    if record.level is levels.Level.NODE:
        components.append(node.kubelet(layout, record))
    if record.level is levels.Level.KWOK:
        components.append(kwok.describe(layout, record))
    return Plan(layout=layout, record=record, admin=admin, components=tuple(components))


def up(layout: paths.Layout, level: levels.Level, wishes: Wishes) -> Plan:
    """Make sure that the cluster runs and is healthy at this level, and return its plan."""
    with files.locked(layout.lock, purpose=f"cluster {layout.name}"):
        before = state.load(layout)
        level = levels.combine(before.level if before else None, level, name=layout.name)
        prerequisites.check(level, layout)
        bin_dir = provision.provision(level, agent_image=wishes.agent_image)
        if before is None and layout.state.exists():
            # An earlier `up` died before it wrote its record: nothing there is worth keeping.
            teardown.remove(layout, keep_data=False)
        # What one takes is known to the others by its record: two that begin at once must not look at the same moment.
        with files.locked(layout.lock.with_name("ports.lock"), purpose="another cluster that takes its ports"):
            base = before or state.allocate(layout, level, bin_dir=bin_dir)
            record = _merge(base, level, bin_dir=bin_dir, wishes=wishes)
            state.save(layout, record)
        if level is levels.Level.NODE:
            sysctls.save(teardown.SYSCTL_SNAPSHOT)
        wanted = plan(layout, record, prepare=True)
        _converge(wanted)
        return wanted


def _merge(record: state.Record, level: levels.Level, *, bin_dir: pathlib.Path, wishes: Wishes) -> state.Record:
    """Return the record with the caller's wishes added to earlier ones."""
    if wishes.kwok_config is not None and not wishes.kwok_config.is_file():
        message = f"there is no kwok configuration {wishes.kwok_config}"
        raise errors.ClusterError(message)
    return dataclasses.replace(
        record,
        level=level,
        bin_dir=bin_dir,
        audit=record.audit or wishes.audit,
        agent_image=wishes.agent_image,
        kwok_nodes=record.kwok_nodes if wishes.kwok_nodes is None else wishes.kwok_nodes,
        kwok_config=wishes.kwok_config.absolute() if wishes.kwok_config else record.kwok_config,
    )


def _converge(wanted: Plan) -> None:
    """Start what does not run, wait for all of it, then for what the cluster must offer."""
    layout = wanted.layout
    restarted: set[str] = set()
    pending: list[component.Component] = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as background:
        agent_image: concurrent.futures.Future[list[str]] | None = None
        for part in wanted.components:
            if part.name == "kubelet":  # it gives up at once if there is no container runtime
                _prepare_runtime(wanted, fresh="containerd" in restarted)
                if wanted.record.agent_image:  # takes longer than all the rest together
                    names = provision.image_names(agent_image=True)
                    agent_image = background.submit(imports.ensure, layout, names)
            if part.name in _API_CLIENTS and restarted.intersection(_FOUNDATION):
                # They would find back by themselves, but only after their backoff of up to half a minute.
                component.stop(layout, part.name, grace=part.grace)
            if component.start(layout, part):
                restarted.add(part.name)
            if part.name in _FOUNDATION:
                _wait_or_restart(layout, part, fresh=part.name in restarted)
            else:
                pending.append(part)
        for part in pending:
            _wait_or_restart(layout, part, fresh=part.name in restarted)
        _wait_for_cluster(wanted)
        if agent_image is not None:
            agent_image.result()


def _prepare_runtime(wanted: Plan, *, fresh: bool) -> None:
    """Wait for containerd and give it the images without which no pod starts."""
    _wait_or_restart(wanted.layout, wanted.find("containerd"), fresh=fresh)
    imports.ensure(wanted.layout, provision.image_names(agent_image=False))


def _wait_or_restart(layout: paths.Layout, part: component.Component, *, fresh: bool) -> None:
    """Wait for a component; one that ran before and does not recover soon is restarted once."""
    if not fresh:
        try:
            component.wait(layout, dataclasses.replace(part, timeout=_RECOVERY_SECONDS))
        except errors.NotReady:
            report.report(f"{part.name} runs but is not healthy: restarting it")
            component.stop(layout, part.name, grace=part.grace)
            component.start(layout, part)
        else:
            return
    component.wait(layout, part)


def _wait_for_cluster(wanted: Plan) -> None:
    """Wait for what users of the cluster rely on: the default service account, and the nodes."""
    layout, admin = wanted.layout, wanted.admin
    account = dataclasses.replace(
        wanted.find("kube-controller-manager"), healthy=lambda: controlplane.default_account_ready(admin)
    )
    component.wait(layout, account)
    if wanted.record.level is levels.Level.KWOK:
        kwok.ensure_nodes(admin, wanted.record.kwok_nodes)
    if wanted.record.level is levels.Level.NODE:
        kubelet = component.running(layout, "kubelet")
        since = kubelet.started_at if kubelet else 0.0
        ready = dataclasses.replace(
            wanted.find("kubelet"),
            healthy=lambda: node.node_ready(layout, admin, since=since),
            timeout=_NODE_READY_SECONDS,
        )
        component.wait(layout, ready)


def down(layout: paths.Layout, *, keep_data: bool = False) -> bool:
    """Remove the cluster and every trace of it; return False if there was none."""
    with files.locked(layout.lock, purpose=f"cluster {layout.name}"):
        existed = layout.state.exists()
        if layout.run.exists():
            prerequisites.check_root(os.geteuid())
        teardown.remove(layout, keep_data=keep_data)
        if not keep_data:
            layout.lock.unlink(missing_ok=True)
    return existed


def start(layout: paths.Layout, name: str) -> None:
    """Start one component of a cluster and wait until it is healthy; nothing else is touched."""
    wanted = plan(layout, state.require(layout), prepare=True)
    part = wanted.find(name)
    component.start(layout, part)
    component.wait(layout, part)


def stop(layout: paths.Layout, name: str) -> None:
    """Stop one component; it stays away until `start`, `restart` or `up`."""
    wanted = plan(layout, state.require(layout), prepare=False)
    part = wanted.find(name)
    component.stop(layout, name, grace=part.grace)


def kill(layout: paths.Layout, name: str) -> None:
    """End one component as a crash would, with SIGKILL; it stays away until `start`, `restart` or `up`."""
    component.stop(layout, plan(layout, state.require(layout), prepare=False).find(name).name, grace=0)


def send(layout: paths.Layout, name: str, number: signal.Signals) -> None:
    """Send a signal to exactly the process of one component."""
    part = plan(layout, state.require(layout), prepare=False).find(name)
    current = component.running(layout, part.name)
    if current is None or not processes.send(current.identity, number):
        raise errors.ClusterError(f"{name} of cluster {layout.name} does not run.")


def restart(layout: paths.Layout, name: str) -> None:
    """Stop and start one component and wait until it is healthy."""
    stop(layout, name)
    start(layout, name)


def load_images(layout: paths.Layout, names: tuple[str, ...] = ()) -> list[str]:
    """Build and import images into a node-level cluster's containerd; return the references newly imported.

    Without `names` they are those that every node gets.
    """
    record = state.require(layout)
    if record.level is not levels.Level.NODE:
        message = (
            f"cluster {layout.name} has level {record.level}: only level node has a containerd to load images into."
        )
        raise errors.ClusterError(message)
    return imports.ensure(layout, names or provision.image_names(agent_image=True))
