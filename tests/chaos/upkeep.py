"""Start again what has ended by itself, as systemd or a kubelet would.

A controller manager gives up when the API server that it has just begun to ask goes away, or is so new that it knows of
no rights yet. Without one nothing gets a pod and nothing is collected, and the operator would be blamed for it.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence

from hack import cluster
from hack.cluster import component, errors, paths
from tests.chaos import faults
from tests.chaos.scene import Cluster

_EVERY_SECONDS = 1.0


async def keep_up(place: Cluster, parts: Sequence[str]) -> None:
    """Keep these components of the cluster up. Forever; who ends one on purpose holds the cluster's lock."""
    layout = paths.layout(place.name)
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        async with place.lock:
            for part in parts:
                if component.running(layout, part) is None:
                    await _revive(place, part)


async def _revive(place: Cluster, part: str) -> None:
    place.note("outage", what=part, since=time.time())
    with contextlib.suppress(errors.ClusterError):  # then again in a moment
        await faults.finish(cluster.start, place.name, part)
    place.note("back", what=part, at=time.time())
