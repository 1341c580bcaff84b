"""One component of a cluster: how it is started, how its health is asked, and what its pid file says.

Whether a running process is the one that is wanted is decided by a fingerprint over its arguments and the content of
its configuration files, so a changed flag, version or file restarts it and an unchanged one leaves it alone.
"""

import collections.abc
import dataclasses
import hashlib
import os
import pathlib
import time

from hack.cluster import errors, files, paths, ports, processes

_POLL_SECONDS = 0.05
_SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")

# Returns None when healthy, else the reason why not.
Health = collections.abc.Callable[[], str | None]


@dataclasses.dataclass(frozen=True)
class Component:
    """What to run and how to tell that it works; `timeout` in seconds bounds its start, `grace` its stop."""

    name: str
    argv: tuple[str, ...]
    healthy: Health
    ports: tuple[int, ...] = ()
    config: tuple[pathlib.Path, ...] = ()
    timeout: float = 60.0
    grace: float = 10.0


def environment(layout: paths.Layout) -> dict[str, str]:
    """Return the environment of every component: little is inherited, so that two callers start the same thing."""
    inherited = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    # HOME: nothing may read or write the dot files of whoever started the cluster.
    return {**inherited, "PATH": _SBIN, "HOME": str(layout.state), processes.MARKER: str(layout.state)}


def fingerprint(component: Component) -> str:
    """Hash what decides how the process behaves."""
    digest = hashlib.sha256("\0".join(component.argv).encode())
    for path in component.config:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def pid_file(layout: paths.Layout, name: str) -> pathlib.Path:
    """Return the path of a component's pid file."""
    return layout.pids / f"{name}.json"


def running(layout: paths.Layout, name: str) -> processes.Started | None:
    """Return the component's process if it is alive."""
    started = processes.load(pid_file(layout, name))
    if started is None or not processes.alive(started.identity):
        return None
    return started


def start(layout: paths.Layout, component: Component) -> bool:
    """Make sure the wanted process runs (not yet that it is healthy); return whether it had to be started."""
    wanted = fingerprint(component)
    current = running(layout, component.name)
    if current is not None:
        if current.fingerprint == wanted:
            return False
        stop(layout, component.name, grace=component.grace)
    for port in component.ports:
        if not ports.free(port):
            message = (
                f"port {port} of {component.name} is taken by another program. Stop that, or move the cluster to "
                f"other ports: `python3 -m hack.cluster down --name {layout.name}`, then `up` again."
            )
            raise errors.ClusterError(message)
    began = time.time()
    identity = processes.spawn(component.argv, log=layout.log(component.name), environment=environment(layout))
    started = processes.Started(identity=identity, fingerprint=wanted, started_at=began)
    processes.save(pid_file(layout, component.name), started)
    return True


def stop(layout: paths.Layout, name: str, *, grace: float) -> bool:
    """End a component's process if it runs, forget it, and return whether it ran."""
    started = running(layout, name)
    if started is not None:
        processes.terminate([started.identity], grace=grace)
    pid_file(layout, name).unlink(missing_ok=True)
    return started is not None


def wait(layout: paths.Layout, component: Component) -> None:
    """Wait until the component is healthy; raise NotReady with the end of its log if it dies or takes too long."""
    deadline = time.monotonic() + component.timeout
    while True:
        reason = component.healthy()
        if reason is None:
            return
        if running(layout, component.name) is None:
            raise not_ready(layout, component.name, f"it ended ({reason})")
        if time.monotonic() > deadline:
            raise not_ready(layout, component.name, f"not healthy after {component.timeout:.0f} s: {reason}")
        time.sleep(_POLL_SECONDS)


def not_ready(layout: paths.Layout, name: str, reason: str) -> errors.NotReady:
    """Build the error that shows the end of a component's log."""
    log = layout.log(name)
    return errors.NotReady(name, reason=reason, log=str(log), tail=files.tail(log))
