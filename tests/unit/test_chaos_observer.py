"""The chaos suite's judge: for each invariant a history that breaks it and one that keeps it."""

import datetime as dt
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import history, invariants
from tests.chaos import story as stories

RUN, JOB, POD = "run-uid", "job-uid", "pod-uid"
COMPLETE = [{"type": "Complete", "status": "True"}]

Body = dict[str, Any]


class Told:
    """A history in the making; every change gets the next version."""

    def __init__(self) -> None:
        self.events: list[history.Event] = []
        self._version = 0

    def _add(self, kind: str, word: str, body: Body) -> "Told":
        self._version += kind != history.NOTE
        seq = len(self.events)
        self.events.append(
            history.Event(at=float(seq), seq=seq, version=self._version, kind=kind, type=word, object=body)
        )
        return self

    def note(self, word: str, **said: Any) -> "Told":
        return self._add(history.NOTE, word, said)

    def run(self, word: str = "MODIFIED", *, uid: str = RUN, deleting: bool = False, **status: Any) -> "Told":
        spec = {"cancel": True} if status.pop("cancel", False) else {}
        finalizers = status.pop("finalizers", [])
        meta = {"name": uid, "uid": uid, "finalizers": finalizers, **({"deletionTimestamp": "x"} if deleting else {})}
        return self._add("agentruns", word, {"metadata": meta, "spec": spec, "status": status})

    def job(
        self,
        word: str = "MODIFIED",
        *,
        uid: str = JOB,
        name: str = "job",
        run: str = RUN,
        held: bool = False,
        finished: bool = False,
        deleting: bool = False,
    ) -> "Told":
        labels = {"paperclip.io/company-id": "acme", "paperclip.io/agent-id": "ada"}
        meta = {"name": name, "uid": uid, "labels": labels, "ownerReferences": [{"kind": "AgentRun", "uid": run}]}
        if held:
            meta["annotations"] = {"paperclip.io/held": "true"}
        if deleting:
            meta["deletionTimestamp"] = "x"
        status = {"conditions": COMPLETE if finished else []}
        return self._add("jobs", word, {"metadata": meta, "spec": {"suspend": held}, "status": status})

    def pod(self, word: str = "ADDED", *, uid: str = POD, job: str = JOB) -> "Told":
        labels = {"batch.kubernetes.io/controller-uid": job}
        meta = {"name": uid, "uid": uid, "labels": labels, "creationTimestamp": "2026-01-02T03:04:05Z"}
        return self._add("pods", word, {"metadata": meta, "spec": {}, "status": {"phase": "Pending"}})

    def secret(self, word: str = "ADDED") -> "Told":
        meta = {"name": "prompt", "uid": "secret-uid", "ownerReferences": [{"kind": "AgentRun", "uid": RUN}]}
        return self._add("secrets", word, {"metadata": meta})

    def agent(self, word: str, *, run: str = RUN, job: str = "job", pod: str = POD, **more: int) -> "Told":
        return self.note(word, run=run, job=job, agent="acme/ada", pod=pod, **more)


def final(phase: str = "Succeeded", **fields: Any) -> Body:
    """A status that lacks nothing."""
    status = {
        "phase": phase,
        "completionTime": "2026-11-21T10:00:00Z",
        "conditions": [{"type": "Completed", "status": "True", "reason": "Completed"}],
        "job": {"name": "job", "uid": JOB},
        "exit": {"code": 0},
        **({} if phase == "Succeeded" else {"error": {"code": "timeout"}}),
        **fields,
    }
    return {key: value for key, value in status.items() if value is not None}


def stopping(reason: str) -> list[Body]:
    return [{"type": "Completed", "status": "False", "reason": reason}]


BROKEN: dict[str, Callable[[], Told]] = {
    "one pod per attempt": lambda: Told().job("ADDED").pod().pod("DELETED").pod(uid="second"),
    "one job per attempt": lambda: Told().job("ADDED").job("DELETED", finished=True).job("ADDED", uid="second"),
    "one live run per agent": lambda: Told().job("ADDED").job("ADDED", uid="second", name="other", run="other"),
    "one agent at work": lambda: Told().agent("agent-started").agent("agent-started", run="other", pod="second"),
    "no agent twice": lambda: Told().agent("agent-started").agent("agent-ended").agent("agent-started", pod="second"),
    "no pod at the gate": lambda: Told().job("ADDED", held=True).pod(),
    "forward only": lambda: Told().run("ADDED", phase="Running").run(phase="Queued"),
    "the end stays": lambda: Told().run("ADDED", **final()).run(**final(turns=3)),
    "the end is complete": lambda: Told().run("ADDED", phase="Running", costUSD="1").run(**final()),
    "no stop without reason": lambda: Told().run("ADDED", phase="Running").job("ADDED").job(deleting=True),
    "ends as scripted": lambda: (
        Told().note("scripted", run=RUN, ends=["Succeeded"], counted=[]).run("ADDED", **final("Failed"))
    ),
    "nothing is left": lambda: Told().run("ADDED", **final()).secret().note("settled"),
}

KEPT: dict[str, tuple[Callable[[], Told], ...]] = {
    "one pod per attempt": (
        lambda: Told().job("ADDED").pod().pod("MODIFIED"),
        # Somebody else took the first one away by force: Kubernetes makes another one, and nobody can help it.
        lambda: Told().job("ADDED").pod().note("removes", uid=POD).pod("DELETED").pod(uid="second"),
    ),
    "one job per attempt": (
        lambda: Told().job("ADDED", held=True).job("DELETED", held=True).job("ADDED", uid="second"),
        lambda: Told().job("ADDED").job(finished=True).job("ADDED", uid="second", name="of-attempt-1"),
    ),
    "one live run per agent": (
        lambda: Told().job("ADDED").job("ADDED", uid="second", name="other", run="other", held=True),
        lambda: Told().job("ADDED").job(finished=True).job("ADDED", uid="second", name="other", run="other"),
    ),
    "one agent at work": (
        lambda: Told().agent("agent-started").agent("agent-ended").agent("agent-started", run="other", pod="second"),
    ),
    "no agent twice": (
        lambda: (
            Told().agent("agent-started").agent("agent-ended").agent("agent-started", job="of-attempt-1", pod="second")
        ),
    ),
    "no pod at the gate": (lambda: Told().job("ADDED", held=True).job().pod(),),
    "forward only": (
        lambda: Told().run("ADDED", phase="Queued").run(phase="Pending").run(phase="Suspended").run(phase="Running"),
        lambda: Told().run("ADDED", phase="Running", attempt=0).run(phase="Queued", attempt=1),
    ),
    "the end stays": (lambda: Told().run("ADDED", finalizers=["f"], **final()).run(**final()),),
    "the end is complete": (
        lambda: Told().run("ADDED", phase="Running", costUSD="1").run(**final(costUSD="2")),
        lambda: Told().run("ADDED", phase="Queued").run(**final("Cancelled", job=None, exit=None)),
    ),
    "no stop without reason": (
        lambda: Told().run("ADDED", phase="Running", conditions=stopping("Stalled")).job("ADDED").job(deleting=True),
        lambda: Told().run("ADDED", phase="Running", cancel=True).job("ADDED").job(deleting=True),
        lambda: Told().run("ADDED", phase="Running", deleting=True).job("ADDED").job(deleting=True),
        lambda: Told().run("ADDED", phase="Running").job("ADDED", held=True).job("DELETED", held=True),
        lambda: Told().run("ADDED", phase="Running").job("ADDED").job(finished=True).job("DELETED", finished=True),
        lambda: Told().run("ADDED", phase="Running").job("ADDED").note("removes", uid=JOB).job(deleting=True),
        lambda: Told().run("ADDED").job("ADDED").run("DELETED").job("DELETED"),
    ),
    "ends as scripted": (
        lambda: (
            Told()
            .note("scripted", run=RUN, ends=["Failed timeout"], counted=["Failed timeout"])
            .agent("agent-ended", lines=3)
            .run("ADDED", **final("Failed", logEvents=3))
        ),
        lambda: (
            Told()
            .note("scripted", run=RUN, ends=["Succeeded"], counted=[])
            .note("disturbs", run=RUN)
            .run("ADDED", **final("Failed"))
        ),
        lambda: (
            Told()
            .note("scripted", run=RUN, ends=["Succeeded"], counted=[])
            .note("allows", run=RUN, ends=["Failed timeout"])
            .run("ADDED", **final("Failed"))
        ),
    ),
    "nothing is left": (
        lambda: Told().secret().secret("DELETED").run("ADDED", **final()).job("ADDED", finished=True).note("settled"),
    ),
}


def test_every_invariant_is_tried_here() -> None:
    assert set(invariants.INVARIANTS) == set(BROKEN) == set(KEPT)


@pytest.mark.parametrize("name", invariants.INVARIANTS)
def test_a_broken_invariant_is_seen(name: str) -> None:
    verdict = invariants.judge(BROKEN[name]().events)

    assert {violation.invariant for violation in verdict.violations} == {name}


@pytest.mark.parametrize(("name", "kept"), [(name, kept) for name, kepts in KEPT.items() for kept in kepts])
def test_a_kept_invariant_is_no_violation(name: str, kept: Callable[[], Told]) -> None:
    del name
    assert invariants.judge(kept().events).violations == []


@pytest.mark.parametrize("name", invariants.INVARIANTS)
def test_what_was_checked_is_counted(name: str) -> None:
    assert any(invariants.judge(kept().events).checks[name] for kept in KEPT[name])


@pytest.mark.parametrize(("since", "broken"), [(0, False), (-1, False), (-9, True), (9, True)])
def test_a_pod_that_kubernetes_made_twice_is_told_apart(since: float, *, broken: bool) -> None:
    """The API server died when it had made the first one, or it did not."""
    made = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC).timestamp()
    told = Told().job("ADDED").pod().note("outage", what="kube-apiserver", since=made + since)
    told.note("back", what="kube-apiserver", at=made + since + 3).pod(uid="second")

    verdict = invariants.judge(told.events)

    assert bool(verdict.violations) == broken
    assert verdict.picture.twins == (set() if broken else {"second"})


def test_a_log_that_was_not_read_to_its_end_is_seen() -> None:
    told = Told().note("scripted", run=RUN, ends=["Succeeded"], counted=["Succeeded"]).agent("agent-ended", lines=5)

    verdict = invariants.judge(told.run("ADDED", **final(logEvents=4)).events)

    assert [violation.sentence for violation in verdict.violations] == ["its log has 5 events, the status counts 4"]


def test_only_the_order_of_versions_counts() -> None:
    """The watch of runs is slow: what the status said before the Job was deleted is told after it."""
    told = Told().run("ADDED", phase="Running").job("ADDED").run(phase="Running", conditions=stopping("Stalled"))
    told.job(deleting=True)
    first, job, reason, deleted = told.events

    assert invariants.judge([first, job, deleted, reason]).violations == []


def test_one_violation_is_told_once() -> None:
    told = Told().run("ADDED", **final()).run(**final(turns=3)).run(**final(turns=3))

    assert len(invariants.judge(told.events).violations) == 1


def test_the_story_of_a_run_leaves_others_out() -> None:
    told = Told().run("ADDED", phase="Pending").run("ADDED", uid="other", phase="Running").job("ADDED").pod()
    told.note("fault", kind="pod deleted").run(**final())

    story = [line.split("s  ", 1)[1] for line in stories.tell(told.events, RUN)]

    assert story == [
        "run run-uid: Pending attempt 0",
        "Job job (job-uid): live",
        "pod pod-uid: Pending",
        "fault: kind=pod deleted",
        "run run-uid: Succeeded attempt 0 True Completed",
    ]


def test_a_history_is_read_back_as_it_was_recorded(tmp_path: pathlib.Path) -> None:
    record = history.Record(tmp_path / "history.ndjson")
    body = {"metadata": {"name": "a", "uid": "u"}, "spec": {}, "status": {}}
    record.add(at=1.0, kind="jobs", type="ADDED", object=body, version=7)
    note = record.add(at=2.0, kind=history.NOTE, type="fault", object={"kind": "etcd restarted"})
    record.close()

    assert list(history.read(tmp_path / "history.ndjson")) == record.events
    assert note.version == 7


def test_of_a_secret_only_the_metadata_is_kept() -> None:
    body = {"metadata": {"name": "a", "uid": "u", "managedFields": [{}]}, "data": {"prompt.txt": "c2VjcmV0"}}

    kept = json.dumps(history.reduced("secrets", body))

    assert "c2VjcmV0" not in kept
    assert "managedFields" not in kept
