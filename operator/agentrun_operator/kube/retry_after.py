"""How long the API server, or a proxy before it, asks to be left alone: the header Retry-After."""

import datetime
import email.utils
import math

MOST_SECONDS = 60.0  # whoever asks for more is asked again all the same: runs must not stand still for a day
_STATUSES = frozenset({429, 503})


def parse(status: int, header: str, now: datetime.datetime) -> float:
    """Seconds from ``now`` (UTC), 0 to 60; 0 where nothing is asked for, or nothing that can be read."""
    if status not in _STATUSES:
        return 0.0
    text = header.strip()
    seconds = float(text) if text.isdecimal() and text.isascii() else _until(text, now)
    return min(max(seconds, 0.0), MOST_SECONDS)


def _until(text: str, now: datetime.datetime) -> float:
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    if moment.tzinfo is None:  # "-0000": UTC, of which the sender knows no more
        moment = moment.replace(tzinfo=datetime.UTC)
    return math.ceil((moment - now).total_seconds())
