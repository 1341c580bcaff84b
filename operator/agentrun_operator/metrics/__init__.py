"""What can be counted of the operator, for Prometheus: a registry of its own, and the port that shows it.

``Metrics`` is one object, made at the start and handed to whoever has something to tell; there is no global registry.
A hook is one call and costs microseconds. Nothing here has a time series per run: what is known of a run is a small
entry while it is followed, and labels whose values come from users are bounded (``bounded``). What each metric means,
also over a restart, is said once, in ``catalogue``; docs/metrics.md is made from that.
"""

from agentrun_operator.metrics.catalogue import CATALOGUE, Spec
from agentrun_operator.metrics.meters import Metrics
from agentrun_operator.metrics.server import serving

__all__ = ["CATALOGUE", "Metrics", "Spec", "serving"]
