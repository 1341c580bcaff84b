"""What is known of a run, each in a word or two for a table. Pure: the time comes in as an argument."""

import datetime
import decimal
from collections.abc import Iterable

from agentrun_operator import models
from agentrun_operator.cli import transcript
from agentrun_operator.cli.transcript import Style

_BARS = "▁▂▃▄▅▆▇█"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_THOUSAND = 1000
_STYLES = {
    models.Phase.RUNNING: Style.CYAN,
    models.Phase.SUCCEEDED: Style.GREEN,
    models.Phase.FAILED: Style.RED,
    models.Phase.CANCELLED: Style.YELLOW,
}
MARKS = {
    models.Phase.SUCCEEDED: "✔",
    models.Phase.FAILED: "✘",
    models.Phase.CANCELLED: "■",
    models.Phase.RUNNING: "●",
}


def phase(run: models.AgentRun) -> str:
    """Where it is in its life; a run that no operator has seen is Pending."""
    return str(run.status.phase or models.Phase.PENDING)


def style(run: models.AgentRun) -> Style:
    """How its phase looks."""
    return _STYLES.get(run.status.phase, Style.DIM) if run.status.phase else Style.DIM


def reason(run: models.AgentRun) -> str:
    """The error's code, else the reason."""
    return run.status.error.code if run.status.error else run.status.reason or ""


def why(run: models.AgentRun) -> str:
    """The error's code, or what a run waits for; "" where the phase says it all."""
    if run.status.phase in {models.Phase.RUNNING, models.Phase.SUCCEEDED, models.Phase.CANCELLED}:
        return ""
    return reason(run)


def sentence(run: models.AgentRun) -> str:
    """Why it is as it is, in one sentence."""
    if run.status.phase is None:
        return "No operator has taken it up yet; is one running, and does it watch this namespace?"
    return transcript.one_line(run.status.message or run.status.reason or "")


def moment(text: str | None) -> datetime.datetime | None:
    """A time as the API server writes it; None for none, and for what is none."""
    try:
        found = datetime.datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return found.replace(tzinfo=datetime.UTC) if found and found.tzinfo is None else found


def age(text: str | None, now: datetime.datetime) -> str:
    """How long ago that was: ``12s``, ``3m05s``, ``2h10m``, ``4d03h``; "" if nobody knows."""
    then = moment(text)
    return "" if then is None else span((now - then).total_seconds())


def span(seconds: float) -> str:
    """A duration in at most two units."""
    whole = max(int(seconds), 0)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR:02}h"


def lasted(run: models.AgentRun, now: datetime.datetime) -> str:
    """How long the agent has worked, so far or in all; "" if it never began."""
    begin = moment(run.status.running_time)
    end = moment(run.status.completion_time) or now
    return span((end - begin).total_seconds()) if begin else ""


def dollars(text: str | decimal.Decimal | None) -> str:
    """``$0.0123``, ``$12.35``: small sums have more digits; "" if nobody has told."""
    try:
        value = decimal.Decimal(text) if text is not None else None
    except decimal.InvalidOperation:
        return ""
    if value is None:
        return ""
    return f"${value:,.2f}" if abs(value) >= 1 else f"${value:.4f}"


def count(number: int | None) -> str:
    """``850``, ``12k``, ``3.4M``."""
    if number is None:
        return ""
    if number < _THOUSAND:
        return str(number)
    for unit in ("k", "M", "G"):
        number_in = number / _THOUSAND
        if number_in < _THOUSAND or unit == "G":
            return f"{number_in:.1f}{unit}" if number_in < 10 else f"{number_in:.0f}{unit}"  # noqa: PLR2004 - two digits
        number = round(number_in)
    raise AssertionError("the last unit ends the loop")


def sparkline(values: Iterable[float]) -> str:
    """The values as bars, the highest of them full; nothing at all is the lowest line."""
    given = list(values)
    most = max(given, default=0)
    if most <= 0:
        return _BARS[0] * len(given)
    return "".join(
        _BARS[min(int(value / most * len(_BARS)), len(_BARS) - 1)] if value > 0 else _BARS[0] for value in given
    )
