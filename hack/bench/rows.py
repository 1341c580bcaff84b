"""What a part of the bench says: rows of a table, and the arithmetic of samples. Pure, so that it is tested.

A row compares ``ours`` with a ``baseline`` of the same run, in ``unit``; ``ratio`` is ours by baseline. ``met`` says
whether the target was met, None where there is none to meet.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile, in the unit of the values: of 100 values the 99th is p99. Raises ValueError."""
    if not values:
        raise ValueError("there is nothing to take a percentile of")
    if not 0 < percent <= 100:  # noqa: PLR2004 - per cent
        raise ValueError(f"{percent} is no percentile: above 0, at most 100")
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * percent / 100) - 1]


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, p90, p99, least and greatest of some samples, in their unit. Raises ValueError for no samples."""
    return {
        "count": len(values),
        "p50": percentile(values, 50),
        "p90": percentile(values, 90),
        "p99": percentile(values, 99),
        "min": min(values),
        "max": max(values),
    }


def median(values: Sequence[float]) -> float:
    """The median; of an even number of values the mean of the two in the middle."""
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """The range of several repetitions in words, "" for a single one."""
    return f"{_short(min(values))} to {_short(max(values))} in {len(values)} repetitions" if len(values) > 1 else ""


def flatness(values: Sequence[float]) -> float:
    """By how much the greatest exceeds the least, as a share of the least: 0.2 is 20 %. Raises ValueError."""
    if not values or min(values) <= 0:
        raise ValueError("flatness is of positive values")
    return max(values) / min(values) - 1


def row(what: str, *, ours: float, unit: str, baseline: float | None = None, **more: Any) -> Json:
    """One row. ``more``: target (words), met, note, and ratio where it is not ours by baseline."""
    ratio = ours / baseline if baseline else None
    return {
        "what": what,
        "ours": ours,
        "baseline": baseline,
        "ratio": ratio,
        "unit": unit,
        "target": "",
        "met": None,
        "note": "",
        **more,
    }


def option(options: Mapping[str, Any], name: str, otherwise: Any) -> Any:  # noqa: ANN401 - of the type of ``otherwise``
    """An option of the command line, or what a part takes by itself."""
    value = options.get(name)
    return otherwise if value is None else value


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
