"""What a check says: one level, one sentence, and what to do."""

import dataclasses
import enum


class Level(enum.StrEnum):
    """How a check ended, the worst last."""

    SKIP = "skip"  # nothing can be said from here, and the sentence says why
    PASS = "pass"  # noqa: S105 - a level, not a password
    WARN = "warn"
    FAIL = "fail"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """``subject`` is what of many is meant, such as a namespace; ``hint`` is empty where there is nothing to do."""

    check: str = ""
    level: Level
    message: str
    subject: str = ""
    hint: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A fact that could not be learned. ``trouble``: it should have been; else it is no wonder, from this place."""

    reason: str
    trouble: bool = False


def passed(message: str, subject: str = "") -> Finding:
    """All is well."""
    return Finding(level=Level.PASS, message=message, subject=subject)


def skipped(message: str, subject: str = "") -> Finding:
    """Nothing can be said, and why."""
    return Finding(level=Level.SKIP, message=message, subject=subject)


def warned(message: str, subject: str = "", *, hint: str = "") -> Finding:
    """Worth a look; ``hint`` stands in the place of the check's own."""
    return Finding(level=Level.WARN, message=message, subject=subject, hint=hint)


def failed(message: str, subject: str = "", *, hint: str = "") -> Finding:
    """Agents cannot work like that, or not for long; ``hint`` stands in the place of the check's own."""
    return Finding(level=Level.FAIL, message=message, subject=subject, hint=hint)


def unknown(fact: Unknown, subject: str = "") -> Finding:
    """The finding for a fact that could not be learned."""
    return warned(fact.reason, subject) if fact.trouble else skipped(fact.reason, subject)
