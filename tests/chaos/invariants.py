"""What must hold over the whole history, whatever fails: pure functions over events in their order.

Each invariant looks at one change with the picture of everything before it and that change, and returns None where the
change is none of its business, else a sentence for each way in which it is broken: so what was really checked can be
counted. Notes tell what only those who act can know: ``removes`` (the driver deletes this object), ``disturbs`` (it
does something to this run that its script does not know), ``scripted`` (how the run has to end), ``allows`` (how it may
end as well), ``agent-started`` and ``agent-ended`` (from the stand-in kubelet), ``settled`` (a round is over and
everything should be at rest).
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.chaos import history, objects
from tests.chaos.picture import Change, Picture

_RANKS = {"": 0, "Pending": 0, "Queued": 0, "Suspended": 0, "Running": 1, **dict.fromkeys(objects.FINAL, 2)}
_NO_REASON = frozenset({"", "InProgress"})
_POD_ENDS = frozenset({"Succeeded", "Failed"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One invariant broken at one event; ``run`` is the uid of the AgentRun whose story tells of it."""

    invariant: str
    sentence: str
    at: float
    seq: int
    run: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is not at rest, in a sentence, and the uid of the AgentRun whose story tells of it."""

    sentence: str
    run: str


Answer = Iterable[str | Left] | None


def one_pod_per_attempt(picture: Picture, change: Change) -> Answer:
    """A Job has one pod, ever; another one only when somebody else removed the first from under it.

    Or when the API server died before it could tell the Job controller that the first was made: that is Kubernetes', is
    counted and told of, and ``no_agent_twice`` shows that no agent is started in it.
    """
    if change.event.kind != "pods" or change.event.type != "ADDED":
        return None
    pods = picture.pods_of[objects.job_of(change.body)]
    others = {uid for uid in pods if uid not in picture.removes} - {change.event.uid}
    if change.event.uid in picture.twins:
        return []
    return [f"pod {change.body['metadata']['name']} is not the first of its Job"] if others else []


def one_job_per_attempt(picture: Picture, change: Change) -> Answer:
    """What an attempt runs under is made once; a Job that never left the gate does not count."""
    if change.event.kind != "jobs" or change.new is None or objects.is_held(change.new):
        return None
    name = change.new["metadata"]["name"]
    jobs = picture.started_jobs[objects.owner(change.new), name]
    return [f"a second Job {name} was started for the same attempt"] if len(jobs) > 1 else []


def one_live_run_per_agent(picture: Picture, change: Change) -> Answer:
    """At any time at most one Job of an agent is live."""
    if change.event.kind != "jobs" or change.new is None or not objects.is_live(change.new):
        return None
    agent = objects.agent_of(change.new)
    live = [
        j["metadata"]["name"]
        for j in picture.objects["jobs"].values()
        if objects.is_live(j) and objects.agent_of(j) == agent
    ]
    return [f"agent {agent} has {len(live)} live Jobs: {', '.join(sorted(live))}"] if len(live) > 1 else []


def one_agent_at_work(picture: Picture, change: Change) -> Answer:
    """No two processes of one agent at the same time, as the node sees it."""
    if change.event.type != "agent-started":
        return None
    agent = change.event.object["agent"]
    return [f"two processes of agent {agent} are at work"] if len(picture.at_work[agent]) > 1 else []


def no_agent_twice(picture: Picture, change: Change) -> Answer:
    """The agent of one attempt is started once, whatever becomes of Jobs and pods."""
    if change.event.type != "agent-started":
        return None
    said = change.event.object
    count = picture.starts[said["run"], said["job"]]
    return [f"the agent of {said['job']} was started for the {count}th time"] if count > 1 else []


def no_pod_at_the_gate(picture: Picture, change: Change) -> Answer:
    """A held Job has no pod."""
    if change.event.kind != "pods" or change.event.type != "ADDED":
        return None
    job = picture.objects["jobs"].get(objects.job_of(change.body))
    return ["a Job that is held has a pod"] if job is not None and objects.is_held(job) else []


def forward_only(picture: Picture, change: Change) -> Answer:
    """Attempt and phase never go back."""
    del picture
    if change.event.kind != "agentruns" or change.new is None or change.old is None:
        return None
    before, after = _progress(change.old), _progress(change.new)
    words = f"{objects.phase(change.old)} (attempt {before[0]}) → {objects.phase(change.new)} (attempt {after[0]})"
    return [f"the run went back: {words}"] if after < before else []


def _progress(run: Mapping[str, Any]) -> tuple[int, int]:
    return int(run["status"].get("attempt") or 0), _RANKS[objects.phase(run)]


def the_end_stays(picture: Picture, change: Change) -> Answer:
    """A final status never changes."""
    if change.event.kind != "agentruns" or change.new is None:
        return None
    first = picture.first_final.get(change.event.uid)
    if first is None:
        if objects.phase(change.new) in objects.FINAL:
            picture.first_final[change.event.uid] = change.new["status"]
        return None
    now = change.new["status"]
    changed = sorted(key for key in first.keys() | now.keys() if first.get(key) != now.get(key))
    return [f"the final status was changed: {', '.join(changed)}"] if changed else []


def the_end_is_complete(picture: Picture, change: Change) -> Answer:
    """The final status says when, why and how, and has lost nothing that was known before."""
    run = change.new
    if change.event.kind != "agentruns" or run is None or objects.phase(run) not in objects.FINAL:
        return None
    if change.old is not None and objects.phase(change.old) in objects.FINAL:
        return None
    status = run["status"]
    had_job = (change.event.uid, int(status.get("attempt") or 0)) in picture.attempts_with_job
    lacks = {
        "completionTime": not status.get("completionTime"),
        "Completed=True": objects.completed(run)[0] != "True",
        "exit": bool(status.get("job")) and not status.get("exit"),
        "job": had_job and not status.get("job"),
        "error.code": objects.phase(run) != "Succeeded" and not (status.get("error") or {}).get("code"),
        **{field: not status.get(field) for field in picture.seen_fields[change.event.uid]},
    }
    return [f"the final status lacks {field}" for field, missing in lacks.items() if missing]


def no_stop_without_reason(picture: Picture, change: Change) -> Answer:
    """A Job that may have a pod is deleted only when the reason is on record."""
    if change.event.kind != "jobs":
        return None
    asked_before = change.old is not None and objects.is_deleted(change.old)
    if asked_before or not (change.event.type == "DELETED" or objects.is_deleted(change.body)):
        return None
    job = change.old or change.body
    if not objects.is_live(job) or not objects.is_live(change.body) or change.event.uid in picture.removes:
        return None
    run = picture.objects["agentruns"].get(objects.owner(job))
    if run is None:  # it is gone, and the garbage collector takes what it owned
        return [] if objects.owner(job) in picture.removed_runs else ["the Job of no known run was deleted"]
    status, reason = objects.completed(run)
    wanted = run["spec"].get("cancel") or objects.is_deleted(run) or objects.phase(run) in objects.FINAL
    if wanted or (status == "False" and reason not in _NO_REASON):
        return []
    return [f"Job {job['metadata']['name']} was deleted, and the run ({objects.phase(run)}, {reason}) does not say why"]


def ends_as_scripted(picture: Picture, change: Change) -> Answer:
    """A run that only the operator and the API were unkind to ends as its agent did, with its whole log read."""
    run = change.new
    if change.event.kind != "agentruns" or run is None or objects.phase(run) not in objects.FINAL:
        return None
    script = picture.scripts.get(change.event.uid)
    if script is None or change.event.uid in picture.disturbed:
        return None
    if change.old is not None and objects.phase(change.old) in objects.FINAL:
        return None
    status = run["status"]
    end = f"{objects.phase(run)} {(status.get('error') or {}).get('code', '')}".strip()
    if end not in script["ends"] and end not in picture.allowed[change.event.uid]:
        return [f"it ended as {end!r}, scripted was {' or '.join(script['ends'])}: {status.get('message')}"]
    printed = picture.printed.get(change.event.uid)
    if end in script["counted"] and printed is not None and int(status.get("logEvents") or 0) != printed:
        return [f"its log has {printed} events, the status counts {status.get('logEvents')}"]
    return []


def nothing_is_left(picture: Picture, change: Change) -> Answer:
    """When a round is over, every run has ended, and nothing of the finished runs is in the way."""
    if change.event.type != "settled":
        return None
    return left_over(picture.objects, picture.job_owners)


def left_over(
    seen: Mapping[str, Mapping[str, Mapping[str, Any]]], job_owners: Mapping[str, str] | None = None
) -> list[Left]:
    """What is not at rest among the objects, by kind and uid; the cause behind what it keeps from going on.

    ``job_owners``: the uids of the AgentRuns of Jobs, also of those that are gone.
    """
    found: list[tuple[str, str]] = []
    for uid, run in seen["agentruns"].items():
        name = run["metadata"]["name"]
        if objects.phase(run) not in objects.FINAL:
            told = f"{objects.phase(run) or 'no phase'}, {run['status'].get('message')}"
            found.append((uid, f"run {name} has not ended: {told}"))
        elif run["metadata"].get("finalizers"):
            found.append((uid, f"run {name} has ended and keeps its finalizer"))
    jobs = seen["jobs"]
    for secret in seen["secrets"].values():
        if objects.owner(secret):
            found.append((objects.owner(secret), f"Secret {secret['metadata']['name']} is left"))
    for job in jobs.values():
        if objects.is_held(job) or objects.is_live(job):
            state = "held" if objects.is_held(job) else "live"
            found.append((objects.owner(job), f"Job {job['metadata']['name']} is {state}"))
    for pod in seen["pods"].values():
        if pod["status"].get("phase") not in _POD_ENDS:
            found.append(((job_owners or {}).get(objects.job_of(pod), ""), _at_work(pod)))
    return [Left(sentence=sentence, run=run) for run, sentence in found]


def _at_work(pod: Mapping[str, Any]) -> str:
    """What of the pod tells whose turn it is: the kubelet's, or that of who has a finalizer on it."""
    meta = pod["metadata"]
    deleted = f", being deleted since {meta['deletionTimestamp']}" if objects.is_deleted(pod) else ""
    owners = [f"{ref['kind']} {ref['name']}" for ref in meta.get("ownerReferences") or ()]
    held = f"finalizers {', '.join(meta.get('finalizers') or ()) or 'none'}, owners {', '.join(owners) or 'none'}"
    return f"pod {meta['name']} is {pod['status'].get('phase')}{deleted} ({held})"


INVARIANTS: Mapping[str, Callable[[Picture, Change], Answer]] = {
    check.__name__.replace("_", " "): check
    for check in (
        one_pod_per_attempt,
        one_job_per_attempt,
        one_live_run_per_agent,
        one_agent_at_work,
        no_agent_twice,
        no_pod_at_the_gate,
        forward_only,
        the_end_stays,
        the_end_is_complete,
        no_stop_without_reason,
        ends_as_scripted,
        nothing_is_left,
    )
}


class Judge:
    """Folds events, in their order, into violations and the number of checks by invariant."""

    def __init__(self) -> None:
        self.picture = Picture()
        self.violations: list[Violation] = []
        self.checks: collections.Counter[str] = collections.Counter(dict.fromkeys(INVARIANTS, 0))
        self._told: set[tuple[str, str]] = set()

    def ends(self) -> collections.Counter[str]:
        """How many runs ended with which phase and error code."""
        final = self.picture.first_final.values()
        return collections.Counter(f"{s['phase']} {(s.get('error') or {}).get('code', '')}".strip() for s in final)

    def see(self, event: history.Event) -> None:
        """Take one event in and check every invariant that it concerns."""
        change = self.picture.see(event)
        for name, check in INVARIANTS.items():
            answer = check(self.picture, change)
            if answer is None:
                continue
            self.checks[name] += 1
            for said in answer:
                sentence, run = (said.sentence, said.run) if isinstance(said, Left) else (said, self._run_of(event))
                if (name, run + sentence) not in self._told:
                    self._told.add((name, run + sentence))
                    self.violations.append(
                        Violation(invariant=name, sentence=sentence, at=event.at, seq=event.seq, run=run)
                    )

    def _run_of(self, event: history.Event) -> str:
        match event.kind:
            case "agentruns":
                return event.uid
            case "pods":
                job = self.picture.objects["jobs"].get(objects.job_of(event.object))
                return objects.owner(job) if job else ""
            case history.NOTE:
                return str(event.object.get("run", ""))
            case _:
                return objects.owner(event.object)


def judge(events: Iterable[history.Event]) -> Judge:
    """The verdict on a whole history, in whatever order it was recorded."""
    verdict = Judge()
    for event in history.ordered(events):
        verdict.see(event)
    return verdict
