"""What is known at one point of the history: the objects as they are, and what has to be remembered of earlier ones."""

import collections
import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from tests.chaos import history, objects

_ANSWERING = frozenset({"kube-apiserver", "etcd"})
_MARGIN_SECONDS = 2.0  # times of creation are whole seconds
_KEPT = ("usage", "costUSD", "session", "model")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One event, with the object before and after it; None where there is none."""

    event: history.Event
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None

    @property
    def body(self) -> Mapping[str, Any]:
        """The object as it was last."""
        return self.event.object


class Picture:
    """Everything that is known at one point of the history."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Mapping[str, Any]]] = {kind: {} for kind in history.KINDS}
        self.first_final: dict[str, Mapping[str, Any]] = {}  # by run uid
        self.seen_fields: collections.defaultdict[str, set[str]] = collections.defaultdict(set)  # by run uid
        self.started_jobs: collections.defaultdict[tuple[str, str], set[str]] = collections.defaultdict(set)
        # By Job uid and pod uid, as they were made.
        self.pods_of: collections.defaultdict[str, dict[str, Mapping[str, Any]]] = collections.defaultdict(dict)
        self.job_owners: dict[str, str] = {}  # uids of AgentRuns by Job uid
        self.attempts_with_job: set[tuple[str, int]] = set()  # run uid and number
        self.removed_runs: set[str] = set()
        self.removes: set[str] = set()
        self.disturbed: set[str] = set()
        self.scripts: dict[str, Mapping[str, Any]] = {}
        self.allowed: collections.defaultdict[str, set[str]] = collections.defaultdict(set)
        self.starts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.printed: dict[str, int] = {}  # lines, by run uid
        self.outages: list[list[float]] = []  # of API server or etcd: Unix times from and to
        self.twins: set[str] = set()  # second pods that Kubernetes itself is to blame for, by uid
        self.at_work: collections.defaultdict[str, dict[str, str]] = collections.defaultdict(dict)

    def see(self, event: history.Event) -> Change:
        """Take one event in."""
        if event.kind == history.NOTE:
            self._note(event)
            return Change(event=event, old=None, new=event.object)
        known = self.objects[event.kind]
        old, new = known.get(event.uid), None
        if event.type == "DELETED":
            known.pop(event.uid, None)
            if event.kind == "agentruns":
                self.removed_runs.add(event.uid)
        else:
            known[event.uid] = new = event.object
        if new is not None:
            self._derive(event.kind, event.uid, new)
        return Change(event=event, old=old, new=new)

    def _derive(self, kind: str, uid: str, body: Mapping[str, Any]) -> None:
        if kind == "jobs" and objects.owner(body):
            self.job_owners[uid] = objects.owner(body)
        if kind == "jobs" and not objects.is_held(body):
            self.started_jobs[objects.owner(body), body["metadata"]["name"]].add(uid)
            self.attempts_with_job.add((objects.owner(body), objects.attempt_of(body)))
        if kind == "pods" and uid not in self.pods_of[objects.job_of(body)]:
            self._see_new_pod(uid, body)
        if kind == "agentruns":
            self.seen_fields[uid].update(field for field in _KEPT if body["status"].get(field))

    def _see_new_pod(self, uid: str, body: Mapping[str, Any]) -> None:
        """Not only operators have their answers lost: so has the Job controller, and then it makes a second pod."""
        job = objects.job_of(body)
        others = [pod for other, pod in self.pods_of[job].items() if other not in self.removes]
        self.pods_of[job][uid] = body
        if others and all(self._unanswered(pod) for pod in others):
            self.twins.add(uid)
            self.disturbed.add(objects.owner(self.objects["jobs"].get(job, body)))

    def _unanswered(self, body: Mapping[str, Any]) -> bool:
        """Whether the API server may have died between creating this object and saying so."""
        made = datetime.datetime.fromisoformat(body["metadata"]["creationTimestamp"]).timestamp()
        return any(since - _MARGIN_SECONDS <= made <= to + _MARGIN_SECONDS for since, to in self.outages)

    def _note(self, event: history.Event) -> None:
        said = event.object
        match event.type:
            case "removes":
                self.removes.add(said["uid"])
            case "disturbs":
                self.disturbed.add(said["run"])
            case "allows":
                self.allowed[said["run"]].update(said["ends"])
            case "scripted":
                self.scripts[said["run"]] = said
            case "agent-started":
                self.starts[said["run"], said["job"]] += 1
                self.at_work[said["agent"]][said["pod"]] = said["run"]
            case "outage" if said["what"] in _ANSWERING:
                self.outages.append([said["since"], float("inf")])
            case "back" if said["what"] in _ANSWERING:
                self.outages[-1][1] = said["at"]
            case "agent-ended":
                if "lines" in said:
                    self.printed[said["run"]] = said["lines"]
                self.at_work[said["agent"]].pop(said["pod"], None)
            case _:
                pass
