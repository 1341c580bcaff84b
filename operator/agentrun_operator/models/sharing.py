"""Models that are kept for long and only read, made small.

An operator keeps one AgentRun for each live run. Most of them say the same about the CLI, the Job, limits and retries.
"""

import collections
import weakref
from typing import TypeVar

from agentrun_operator.models import base

_KEPT = 8  # different values of one kind, the latest
_NONE_GIVEN: set[str] = set()

_M = TypeVar("_M", bound=base.Model)
_known: dict[type[base.Model], collections.deque[weakref.ref[base.Model]]] = {}


def share(model: _M) -> _M:
    """The model, with each part that equals one of an earlier model in the place of that one.

    Which fields were given and which are defaults is forgotten: ``exclude_unset`` would leave all of them out.
    """
    object.__setattr__(model, "__pydantic_fields_set__", _NONE_GIVEN)
    parts = model.__dict__
    for name, part in parts.items():
        if isinstance(part, base.Model):
            parts[name] = _known_as(share(part))
    return model


def _known_as(part: base.Model) -> base.Model:
    known = _known.setdefault(type(part), collections.deque(maxlen=_KEPT))
    for reference in known:
        other = reference()
        if other == part and other is not None:
            return other
    known.append(weakref.ref(part))
    return part
