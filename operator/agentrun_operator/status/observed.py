"""Everything a plan is made from."""

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from agentrun_operator import errors, facts, forensics, progress, redaction, stream


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LogSeen:
    """What is known of the run's log. ``last_growth`` is when bytes were last seen arriving (UTC); None = never.

    ``followed`` False: the operator does not see the shared volume, so nothing is known before the run ends.
    ``unread``: nobody has looked yet, as when an operator has just begun; so silence means nothing either.
    ``stuck``: the file server does not answer, so the rest is as old as ``last_growth`` and silence means nothing.
    """

    transcript: progress.Transcript = dataclasses.field(default_factory=lambda: progress.Progress().snapshot())
    followed: bool = True
    found: bool = False
    drained: bool = False
    last_growth: datetime.datetime | None = None
    stderr_tail: str = ""
    stuck: bool = False
    unread: bool = False

    @property
    def quotable(self) -> bool:
        """Whether there are words of the agent in it that reach the status."""
        return self.drained or self.transcript.result is not None

    def as_known(self, written: Mapping[str, Any]) -> "LogSeen":
        """The same, but what is on record already did not come just now: an operator that starts reads all of it."""
        known = written.get("lastOutputTime")
        if self.last_growth is None or not known or self.transcript.bytes != written.get("logBytes"):
            return self
        return dataclasses.replace(self, last_growth=datetime.datetime.fromisoformat(known))

    def cleaned(self, redactor: redaction.Redactor) -> "LogSeen":
        """The same without credentials, in whatever is quoted anywhere."""
        said = self.transcript
        return dataclasses.replace(
            self,
            transcript=dataclasses.replace(
                said,
                first_plain_text=_clean(said.first_plain_text, redactor),
                last_tool=_clean(said.last_tool, redactor),
                result=_clean_result(said, redactor),
                api_failure=said.api_failure
                and dataclasses.replace(said.api_failure, text=_clean(said.api_failure.text, redactor)),
            ),
            stderr_tail=redactor.clean(redaction.without_escapes(self.stderr_tail), cut_before=True),
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One look at the world around a run.

    ``now`` is aware, in UTC. ``job`` is the run's own Job (None: there is none and never was). ``busy_with`` is
    what occupies the agent or comes before this run, as words in a sentence, "" if nothing does; ``occupied`` says that
    it is the live Job of another run, ``own_leftover`` that it is the Job of an earlier attempt. ``limited_until`` is
    the end of a usage limit that others with the same credential ran into.
    ``trouble`` says why the last try to start got no answer, ``trouble_since`` since when no try did, and
    ``trouble_code`` what failed, if it is known;
    ``prompt_missing`` says what of the prompt is not there yet; ``refusal`` says why there can be no start. ``written``
    is the status as the operator last wrote it, at ``written_at``. ``live_runs`` is how many runs are live, of all that
    this operator follows.
    """

    now: datetime.datetime
    job: facts.JobFacts | None = None
    pod: facts.PodFacts | None = None
    log: LogSeen = LogSeen()
    busy_with: str = ""
    occupied: bool = False
    own_leftover: bool = False
    limited_until: datetime.datetime | None = None
    trouble: str = ""
    trouble_since: datetime.datetime | None = None
    trouble_code: errors.ErrorCode | None = None
    prompt_missing: str = ""
    refusal: forensics.Failure | None = None
    written: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    written_at: datetime.datetime | None = None
    live_runs: int = 0


def _clean_result(said: progress.Transcript, redactor: redaction.Redactor) -> stream.Outcome | None:
    if said.result is None:
        return None
    texts = [_clean(text, redactor) for text in said.result.error_texts]
    answer = None if said.result.text is None else _clean(said.result.text, redactor)
    return msgspec.structs.replace(said.result, text=answer, errors=texts or None)


def _clean(text: str, redactor: redaction.Redactor) -> str:
    """A text that was cut to a length ends with the mark of that."""
    mark = "…" if text.endswith("…") else ""
    plain = redaction.without_escapes(text.removesuffix("…"))
    return redactor.clean(plain, cut_after=bool(mark)) + mark
