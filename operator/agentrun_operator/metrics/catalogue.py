"""Every metric: its name, its kind, its labels, and what it means, also when the operator is started again.

Names follow Prometheus: base units in the name, ``_total`` for what only grows. A counter begins at 0 with each
process, as counters do; what is said here is whether the same thing can be counted by two processes.
"""

import dataclasses
import enum


class Kind(enum.StrEnum):
    """As Prometheus calls them."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One metric. ``free`` are those labels, after ``labels``, whose values are bounded by their number alone."""

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_START_BUCKETS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 14_400)
_RUN_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 43_200)
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

WHO = ("company", "agent")  # each only if the setting metrics_labels names it
WHO_AND_MODEL = (*WHO, "model")

_ALL = (
    # --- runs
    Spec(
        name="agentrun_runs",
        kind=Kind.GAUGE,
        labels=("phase",),
        about="AgentRuns that this operator follows, by the phase in their status. Those that have ended are not among "
        "them.",
    ),
    Spec(
        name="agentrun_queue_runs",
        kind=Kind.GAUGE,
        about="AgentRuns that wait for their Job: for their agent, for the API, for their prompt. Not those that are "
        "suspended, or that pause before another attempt.",
    ),
    Spec(
        name="agentrun_queue_oldest_seconds",
        kind=Kind.GAUGE,
        about="How long the longest waiting of them has waited: since its creation, the end of its last attempt or "
        "pause, or since it was suspended. 0: none waits.",
    ),
    Spec(
        name="agentrun_stalled_runs",
        kind=Kind.GAUGE,
        about="AgentRuns at work whose agent has printed nothing for so long that they have the condition Stalled.",
    ),
    Spec(
        name="agentrun_runs_finished_total",
        kind=Kind.COUNTER,
        labels=("phase", "code"),
        free=WHO,
        about="AgentRuns that have ended, by phase and error code (empty: none). Counted by the operator that has "
        "written the final status, which happens once; not counted if the answer to that write was lost.",
    ),
    Spec(
        name="agentrun_errors_total",
        kind=Kind.COUNTER,
        labels=("code",),
        about="Attempts that ended with an error, by error code, whether another one follows or the run is over; "
        "cancelled is one of the codes. Counted once, as above. All codes are there from the start, at 0, so the first "
        "error is an increase.",
    ),
    Spec(
        name="agentrun_runs_reattached_total",
        kind=Kind.COUNTER,
        labels=("how",),
        about="AgentRuns that were taken up with a Job at work: restart, their own Job, after a restart or hand-over "
        "of the operator (once for each); adoption, the Job of an AgentRun that is gone.",
    ),
    Spec(
        name="agentrun_run_tokens_total",
        kind=Kind.COUNTER,
        labels=("kind",),
        free=WHO_AND_MODEL,
        about="Tokens of AgentRuns that have ended, all attempts together, by kind: input, output, cache_read, "
        "cache_creation. Added at the end of a run, so nothing is counted twice; model is that of the last attempt.",
    ),
    Spec(
        name="agentrun_run_cost_usd_total",
        kind=Kind.COUNTER,
        free=WHO_AND_MODEL,
        about="Cost of AgentRuns that have ended in US dollars, as the CLI prices it, in the same way.",
    ),
    # --- how long things take
    Spec(
        name="agentrun_pickup_seconds",
        kind=Kind.HISTOGRAM,
        buckets=(0.5, *_START_BUCKETS),
        about="From the creation of an AgentRun until it was followed: API server, watch, and the queue of kopf. Only "
        "of runs that no operator had followed before. Creation times are whole seconds, so up to one is too much.",
    ),
    Spec(
        name="agentrun_time_to_job_seconds",
        kind=Kind.HISTOGRAM,
        buckets=_START_BUCKETS,
        about="From the creation of an AgentRun to that of its Job, with whatever it has waited for. First attempts "
        "only; without those that were suspended or that adopted a Job. In whole seconds.",
    ),
    Spec(
        name="agentrun_time_to_pod_seconds",
        kind=Kind.HISTOGRAM,
        buckets=_START_BUCKETS,
        about="From the creation of an AgentRun to the start of its agent's container. Of the same runs.",
    ),
    Spec(
        name="agentrun_time_to_first_event_seconds",
        kind=Kind.HISTOGRAM,
        buckets=_START_BUCKETS,
        about="From the creation of an AgentRun to the first event in its log. Of the same runs, without those that "
        "had ended before their log was seen.",
    ),
    Spec(
        name="agentrun_run_duration_seconds",
        kind=Kind.HISTOGRAM,
        labels=("phase",),
        buckets=_RUN_BUCKETS,
        about="From the start of the agent's container to the final status, of the last attempt, by final phase.",
    ),
    # --- logs
    Spec(
        name="agentrun_tail_lag_seconds",
        kind=Kind.GAUGE,
        about="How overdue the log is that waits longest to be looked at. Above 1: there are more logs than one thread "
        "can read, or the volume is slow.",
    ),
    Spec(
        name="agentrun_tail_bytes_total",
        kind=Kind.COUNTER,
        about="Bytes of logs read. An operator that was started again reads live logs from their beginning, and "
        "counts that.",
    ),
    Spec(
        name="agentrun_tail_threads_aside",
        kind=Kind.GAUGE,
        about="Reading threads that hang in a file which does not answer. With 16 no log is read any more.",
    ),
    # --- the Kubernetes API
    Spec(
        name="agentrun_api_requests_total",
        kind=Kind.COUNTER,
        labels=("client",),
        free=("verb", "resource", "code"),
        about="Requests to the Kubernetes API, by client (own, election, kopf), verb, resource and HTTP status; the "
        "code none is no answer. Conflicts (409, 422) and what is not there (404) are part of normal work.",
    ),
    Spec(
        name="agentrun_api_request_duration_seconds",
        kind=Kind.HISTOGRAM,
        labels=("client",),
        free=("verb", "resource"),
        buckets=_REQUEST_BUCKETS,
        about="Time to the answer's head; of a watch, to its beginning.",
    ),
    Spec(
        name="agentrun_watch_age_seconds",
        kind=Kind.GAUGE,
        labels=("resource", "watched"),
        about="Since something was last heard of a watch (watched: its namespace, *: all). Those of jobs and pods hear "
        "a bookmark each minute. Of that of agentruns, which is kopf's, only events and its renewal every 300 s can be "
        "seen.",
    ),
    # --- kopf
    Spec(
        name="agentrun_kopf_events_total",
        kind=Kind.COUNTER,
        labels=("type",),
        about="AgentRuns as kopf's watch has shown them: listed, added, modified, deleted. A restart lists all.",
    ),
    Spec(
        name="agentrun_kopf_backlog_runs",
        kind=Kind.GAUGE,
        about="AgentRuns that kopf has been shown and has not dealt with: live without being followed, or ended and "
        "still with our finalizer. What can be seen of its queue without looking into it.",
    ),
    # --- the process
    Spec(
        name="agentrun_leader",
        kind=Kind.GAUGE,
        labels=("lease",),
        about="1: this process works. 0: it stands by for another replica, or is about to end. Those with the same "
        "lease take turns; without one (empty) each process works for itself.",
    ),
    Spec(
        name="agentrun_build_info",
        kind=Kind.GAUGE,
        labels=("version", "python", "kopf"),
        about="Always 1; the labels say what runs.",
    ),
    Spec(
        name="agentrun_metrics_overflow_total",
        kind=Kind.COUNTER,
        labels=("metric",),
        about="How often something was counted as other because a metric has all the label values it may have. "
        "0 until then.",
    ),
)

CATALOGUE = {spec.name: spec for spec in _ALL}
