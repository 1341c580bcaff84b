"""What the operator would say of a run that left this log behind: its own functions, given a made-up Job and pod."""

import dataclasses
import datetime
from typing import Any

from agentrun_operator import facts, forensics, models, progress, redaction, settings, status
from agentrun_operator.forensics import messages, provider
from agentrun_operator.status import fields

# Fields of the status that a log, an exit code and a pod can tell, in the order in which people read them.
_FIELDS = (
    "phase", "reason", "message", "error", "exit", "usage", "costUSD", "session", "model", "turns", "result",
)  # fmt: skip
_RUN = {
    "metadata": {"name": "saved", "namespace": "saved", "uid": "00000000-0000-4000-8000-000000000002"},
    "spec": {"companyId": "saved", "agent": {"id": "saved"}, "prompt": {"text": "-"}},
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is left of a run. ``exit_code`` None: nobody knows it; it has to be None if there is a pod.

    ``stderr`` is the end of the agent's standard error, None if it is not known.
    """

    transcript: progress.Transcript
    exit_code: int | None = None
    stderr: str | None = None
    pod: facts.PodFacts | None = None
    job: facts.JobFacts | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``status``: fields of the AgentRun's status. ``assumed``: the exit code in it was concluded from the result."""

    status: dict[str, Any]
    assumed: bool

    @property
    def succeeded(self) -> bool:
        """Whether the run did what it was to do."""
        return bool(self.status["phase"] == models.Phase.SUCCEEDED)


def build(evidence: Evidence, now: datetime.datetime) -> Verdict:
    """The status that the operator would write at the end, or now if the pod is still at work."""
    only_log = evidence.pod is None and evidence.job is None
    said = evidence.transcript
    assumed = (
        only_log and evidence.exit_code is None and provider.succeeded(said.result) and not said.active_since_result
    )
    code = 0 if assumed else evidence.exit_code
    pod = evidence.pod or (None if code is None else _pod(code))
    seen = status.Observed(
        now=now,
        job=evidence.job or facts.JobFacts(name="saved", namespace="saved", uid="saved"),
        pod=pod,
        log=_log(evidence),
    )
    run = models.AgentRun.parse(_RUN)
    if _is_over(evidence, pod):
        known = fields.facts_for_verdict(run, seen)
        # Of a Job and pod that were made up nothing may be concluded, and nothing be told.
        known = dataclasses.replace(known, job=None, detection="") if only_log else known
        body = fields.final(run, seen, forensics.diagnose(known))
    else:
        body = dict(status.plan(run, seen, settings.Settings()).write or {})
    if only_log:
        body["exit"] = {**body["exit"], "detection": _detection(evidence, assumed=assumed)}
    return Verdict(status={name: body[name] for name in _FIELDS if name in body}, assumed=assumed)


def _pod(code: int) -> facts.PodFacts:
    main = facts.ContainerFacts(name=facts.MAIN_CONTAINER, terminated=True, exit_code=code)
    return facts.PodFacts(name="saved", uid="saved", phase="Failed" if code else "Succeeded", main=main)


def _log(evidence: Evidence) -> status.LogSeen:
    # In a log that was read from the pod, standard error stands between the events.
    stderr = evidence.transcript.first_plain_text if evidence.stderr is None else evidence.stderr
    seen = status.LogSeen(transcript=evidence.transcript, found=True, drained=True, stderr_tail=stderr)
    return seen.cleaned(redaction.Redactor())


def _is_over(evidence: Evidence, pod: facts.PodFacts | None) -> bool:
    if pod is not None:
        return pod.finished or (pod.main is not None and pod.main.terminated)
    return evidence.job is None or evidence.job.finished


def _detection(evidence: Evidence, *, assumed: bool) -> str:
    how = "its exit code was given"
    if assumed:
        how = "exit code 0 is assumed, because the last result is a success"
    elif evidence.exit_code is None:
        how = "its exit code is not known"
    said = evidence.transcript
    return f"a saved log of {said.bytes} bytes with {messages.count(said.results, 'result')}; {how}"
