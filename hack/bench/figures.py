"""From moments to figures to Markdown: pure, so that what the tables say is tested without a cluster.

A timeline is one measured run: moments by name, in seconds after the first request was sent. All moments of one
timeline come from one monotonic clock.
"""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

Timeline = Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The time between two moments, with words for people."""

    words: str
    begin: str
    end: str

    def of(self, timeline: Timeline) -> float:
        """Seconds. Raises KeyError if a moment was not measured."""
        return timeline[self.end] - timeline[self.begin]


SPANS = (
    Span(words="first request sent → prompt Secret seen", begin="sent", end="secret"),
    Span(words="first request sent → Job seen", begin="sent", end="job"),
    Span(words="Job seen → CLI's first event in the log", begin="job", end="first_event"),
    Span(words="CLI's first event → container seen ended", begin="first_event", end="container_ended"),
    Span(words="first request sent → container seen ended", begin="sent", end="container_ended"),
    Span(words="container seen ended → Job Complete", begin="container_ended", end="job_complete"),
    Span(words="container seen ended → verdict", begin="container_ended", end="verdict"),
    Span(words="**first request sent → verdict**", begin="sent", end="verdict"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """Median and range of some values, in the unit of the values."""

    median: float
    low: float
    high: float


def summarise(values: Sequence[float]) -> Summary:
    """Median, least and greatest. Raises ValueError for no values."""
    if not values:
        raise ValueError("there is nothing to summarise")
    return Summary(statistics.median(values), min(values), max(values))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Timelines of runs with the operator and of the same Jobs made by hand; the warm-up of each stands apart."""

    first_operator: Timeline
    first_by_hand: Timeline
    operator: Sequence[Timeline]
    by_hand: Sequence[Timeline]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One span, measured both ways, in seconds. ``ratio`` is None where the baseline's median is not positive."""

    words: str
    operator: Summary
    by_hand: Summary
    difference: float
    ratio: float | None
    first_operator: float
    first_by_hand: float


def compare(latency: Latency) -> list[Row]:
    """One row for each span; difference and ratio are those of the medians."""
    rows = []
    for span in SPANS:
        ours = summarise([span.of(timeline) for timeline in latency.operator])
        theirs = summarise([span.of(timeline) for timeline in latency.by_hand])
        rows.append(
            Row(
                words=span.words,
                operator=ours,
                by_hand=theirs,
                difference=ours.median - theirs.median,
                ratio=ours.median / theirs.median if theirs.median > 0 else None,
                first_operator=span.of(latency.first_operator),
                first_by_hand=span.of(latency.first_by_hand),
            )
        )
    return rows


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What of a run's time is the operator's own, in seconds; the rest belongs to Kubernetes and the CLI.

    ``before``: until the Job is there, beyond what the same requests take by hand. ``after``: from the end of the
    container to the verdict. ``whole``: the run. The totals of the two kinds cannot be subtracted instead: by hand the
    end is the Job's condition, which the operator does not wait for.
    """

    before: float
    after: float
    whole: float

    @property
    def ratio(self) -> float:
        """The operator's part of the whole, between 0 and 1."""
        return (self.before + self.after) / self.whole


def share(latency: Latency) -> Share:
    """The operator's share of the median run."""

    def median(timelines: Sequence[Timeline], begin: str, end: str) -> float:
        return statistics.median(timeline[end] - timeline[begin] for timeline in timelines)

    return Share(
        before=median(latency.operator, "sent", "job") - median(latency.by_hand, "sent", "job"),
        after=median(latency.operator, "container_ended", "verdict"),
        whole=median(latency.operator, "sent", "verdict"),
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident memory of the operator in KB, several samples for each situation."""

    fresh: Sequence[int]
    idle: Sequence[int]
    one: Sequence[int]
    many: Sequence[int]
    after: Sequence[int]
    live: int  # how many runs `many` was sampled with

    @property
    def per_run(self) -> float:
        """KB that each live run beyond the first one costs, the first time that so many are live.

        An upper bound: the process keeps what it once had, so a second wave of as many runs hardly adds to it.
        """
        return (statistics.median(self.many) - statistics.median(self.one)) / (self.live - 1)


def render_latency(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, in milliseconds."""
    lines = [
        "| ms, median (least to greatest) | with the operator | by hand | difference | ratio "
        "| first run after operator start | first by hand |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        cells = (
            row.words,
            _summary_ms(row.operator),
            _summary_ms(row.by_hand),
            f"{_ms(row.difference):+d}",
            ratio,
            str(_ms(row.first_operator)),
            str(_ms(row.first_by_hand)),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def render_share(part: Share) -> str:
    """The share as a sentence, and what the two ends in the table are."""
    return (
        f"The operator's own share of a run: {_ms(part.before)} ms until the Job is there + {_ms(part.after)} ms "
        f"from the container's end to the verdict = {_ms(part.before + part.after)} ms, "
        f"{part.ratio:.1%} of {_ms(part.whole)} ms. "
        "The verdict is Succeeded on the AgentRun; by hand it is Complete on the Job, which comes later even "
        "for the same Job, so the last row compares what a caller waits for, not the same work."
    )


def render_memory(memory: Memory) -> str:
    """The operator's memory as a Markdown table, in MB of 1024 KB."""
    situations = (
        ("idle, before its first run", memory.fresh),
        ("idle, after the runs above", memory.idle),
        ("1 live run", memory.one),
        (f"{memory.live} live runs", memory.many),
        ("idle, after those were cancelled", memory.after),
    )
    lines = ["| operator's RSS | MB, median (least to greatest) |", "|---|---:|"]
    for words, samples in situations:
        figures = summarise(samples)
        lines.append(f"| {words} | {_mb(figures.median)} ({_mb(figures.low)} to {_mb(figures.high)}) |")
    lines.append(f"| **each live run beyond the first** | **{memory.per_run:.0f} KB** |")
    return "\n".join(lines)


def _summary_ms(summary: Summary) -> str:
    return f"{_ms(summary.median)} ({_ms(summary.low)} to {_ms(summary.high)})"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _mb(kilobytes: float) -> str:
    return f"{kilobytes / 1024:.1f}"
