"""Loopback ports and pod subnets that nothing else uses.

Ports come from below the kernel's ephemeral range: a port from within it could be taken by somebody's outgoing
connection in the moment a component restarts.
"""

import collections.abc
import hashlib
import ipaddress
import pathlib
import socket

from hack.cluster import errors

LOOPBACK = "127.0.0.1"
_FIRST, _LAST = 21000, 29999
_SUBNETS = 256


def free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: without it a port whose old connections linger in TIME_WAIT would look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def allocate(
    names: collections.abc.Sequence[str], *, seed: str, taken: collections.abc.Collection[int]
) -> dict[str, int]:
    """Return one free port per name, not among `taken`; the same `seed` gives the same ports when they are free."""
    span = _LAST - _FIRST + 1
    offset = int(hashlib.sha256(seed.encode()).hexdigest(), 16) % span
    found: dict[str, int] = {}
    candidates = iter(_FIRST + (offset + step) % span for step in range(span))
    for name in names:
        for port in candidates:
            if port not in taken and free(port):
                found[name] = port
                break
        else:
            message = f"no free port on {LOOPBACK} between {_FIRST} and {_LAST} for {name}."
            raise errors.ClusterError(message)
    return found


def routed_networks(table: str) -> list[ipaddress.IPv4Network]:
    """Parse /proc/net/route into the networks this machine reaches directly or by a route (not the default route)."""
    networks = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        # Addresses are hexadecimal in the machine's byte order: little-endian on every platform supported here.
        address = int.from_bytes(bytes.fromhex(fields[1]), "little")
        mask = int.from_bytes(bytes.fromhex(fields[7]), "little")
        if mask:
            networks.append(ipaddress.IPv4Network((address, mask.bit_count())))
    return networks


def pod_subnet(*, seed: str, taken: collections.abc.Collection[str]) -> str:
    """Return a /24 for the pods that no other cluster here has and the machine has no route to."""
    route = pathlib.Path("/proc/net/route")
    used = routed_networks(route.read_text(encoding="ascii")) if route.exists() else []
    offset = int(hashlib.sha256(seed.encode()).hexdigest(), 16)
    for step in range(_SUBNETS):
        subnet = ipaddress.IPv4Network(f"10.180.{(offset + step) % _SUBNETS}.0/24")
        if str(subnet) not in taken and not any(subnet.overlaps(network) for network in used):
            return str(subnet)
    message = (
        "no free pod subnet within 10.180.0.0/16: remove other clusters with `python3 -m hack.cluster down --all`."
    )
    raise errors.ClusterError(message)
