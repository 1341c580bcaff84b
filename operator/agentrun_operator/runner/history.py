"""Which finished runs of an agent are too many: only the newest are kept.

Nothing is asked for to know that. The watch shows every finished run, all of them again after a restart, in any order;
a run that is not among the newest of those seen so far is not among the newest of all. Pure bookkeeping: no clock, no
I/O.
"""

import bisect

from agentrun_operator import kube, models

# What orders an agent's runs: the time of their end, which has whole seconds, then age and name.
_Entry = tuple[str, str, str, str]


class History:
    """The finished runs of every agent, of which ``limit`` are kept; 0: all of them, and nothing is remembered."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[str, list[_Entry]] = {}  # by agent, the oldest first
        self._agent_of: dict[str, tuple[str, _Entry]] = {}  # by run uid; of those in _kept
        self._surplus: set[str] = set()  # by run uid, until the run is gone

    def add(self, run: models.AgentRun) -> kube.Ref | None:
        """A finished run. Returns the run of the same agent that is too many by now, perhaps this one."""
        meta = run.metadata
        if not self._limit or not run.status.completion_time or meta.uid in self._agent_of or meta.uid in self._surplus:
            return None
        entry = (run.status.completion_time, meta.creation_timestamp, meta.name, meta.uid)
        kept = self._kept.setdefault(run.agent_key, [])
        bisect.insort(kept, entry)
        self._agent_of[meta.uid] = (run.agent_key, entry)
        if len(kept) <= self._limit:
            return None
        *_, name, uid = kept.pop(0)
        del self._agent_of[uid]
        self._surplus.add(uid)
        return kube.Ref(namespace=meta.namespace, name=name, uid=uid)

    def forget(self, uid: str) -> None:
        """The run is gone, or on its way: it does not count any more."""
        self._surplus.discard(uid)
        agent_key, entry = self._agent_of.pop(uid, ("", None))
        if entry is None:
            return
        self._kept[agent_key].remove(entry)
        if not self._kept[agent_key]:
            del self._kept[agent_key]

    def is_surplus(self, uid: str) -> bool:
        """Whether the run was found to be too many."""
        return uid in self._surplus

    @property
    def uids(self) -> frozenset[str]:
        """The runs that count."""
        return frozenset(self._agent_of)
