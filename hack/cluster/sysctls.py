"""Put back the kernel settings that the kubelet and the CNI bridge change.

The kubelet sets panic and overcommit behaviour, the bridge plugin turns IP forwarding on; both are the machine's, not a
cluster's. The first node-level cluster notes what was there, the last one to go restores it.
"""

import contextlib
import json
import pathlib

_ROOT = pathlib.Path("/proc/sys")
_NAMES = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)


def save(snapshot: pathlib.Path, *, root: pathlib.Path = _ROOT) -> None:
    """Note the present values in `snapshot` unless an earlier cluster did."""
    if snapshot.exists():
        return
    values = {}
    for name in _NAMES:
        with contextlib.suppress(OSError):  # not in this kernel, or not visible in this container
            values[name] = (root / name).read_text(encoding="ascii").strip()
    snapshot.parent.mkdir(parents=True, exist_ok=True)
    snapshot.write_text(json.dumps(values, indent=1) + "\n", encoding="ascii")


def restore(snapshot: pathlib.Path, *, root: pathlib.Path = _ROOT) -> None:
    """Write back what differs from the snapshot, and remove it."""
    try:
        values: dict[str, str] = json.loads(snapshot.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return
    for name, value in values.items():
        with contextlib.suppress(OSError):  # read-only in this container
            if (root / name).read_text(encoding="ascii").strip() != value:
                (root / name).write_text(value, encoding="ascii")
    snapshot.unlink()
