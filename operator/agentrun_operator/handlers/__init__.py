"""kopf's side of the operator: what it is told to watch, and functions that pass on what it sees.

A handler decides nothing. ``register`` is the whole wiring, one line per handler, so that a reader sees at a glance
what the operator reacts to. No handler persists progress: kopf writes its finalizer and, while
it waits for a deletion, a mark under our prefix.
"""

import kopf

from agentrun_operator import names
from agentrun_operator.handlers import login, runs, startup

_RUNS = (names.GROUP, names.VERSION, names.PLURAL)


def register(registry: kopf.OperatorRegistry) -> None:
    """Register every handler of the operator."""
    kopf.on.startup(registry=registry)(startup.configure)
    kopf.on.startup(registry=registry)(startup.look_around)
    kopf.on.cleanup(registry=registry)(startup.clean_up)
    kopf.on.login(registry=registry)(login.log_in)
    kopf.on.event(*_RUNS, registry=registry)(runs.saw)
    # The daemon is cancelled when the operator exits (it goes at once) and when its object is deleted (it stops the
    # agent first): the time-out is for the latter. What it has not done by then, owner references do.
    kopf.daemon(
        *_RUNS, registry=registry, id="run", when=runs.is_followed, cancellation_backoff=1, cancellation_timeout=60
    )(runs.supervise)
