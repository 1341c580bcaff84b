"""The story of one run, for whoever wants to know how an invariant came to be broken."""

from collections.abc import Iterable, Iterator

from tests.chaos import history, objects


def tell(events: Iterable[history.Event], run: str) -> Iterator[str]:
    """The story of one run, a line for each thing that happened to it, and the faults of that time."""
    shown = ""
    mine = _Cast(run)
    for event in history.ordered(events):
        line = mine.line(event)
        if line and line != shown:
            shown = line
            yield f"{event.at:9.3f} s  {line}"


class _Cast:
    """Who belongs to the story of a run: it, its Jobs, their pods, its Secret."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._jobs: set[str] = set()
        self._ended = False

    def line(self, event: history.Event) -> str:
        """What the event means for the run; "" for nothing."""
        if event.kind == history.NOTE:
            around = event.type == "fault" and bool(self._jobs) and not self._ended
            words = " ".join(f"{key}={value}" for key, value in event.object.items() if key != "run")
            return f"{event.type}: {words}" if around or event.object.get("run") == self._run else ""
        body, name = event.object, event.object["metadata"]["name"]
        deleted = "DELETED" if event.type == "DELETED" else "deleting" if objects.is_deleted(body) else ""
        match event.kind:
            case "agentruns" if event.uid == self._run:
                self._ended = self._ended or event.type == "DELETED"
                status = body["status"]
                attempt, reason = f"attempt {status.get('attempt', 0)}", status.get("reason", "")
                told = filter(None, (objects.phase(body), attempt, *objects.completed(body), reason, deleted))
                return f"run {name}: {' '.join(told)}"
            case "jobs" if objects.owner(body) == self._run or event.uid in self._jobs:
                self._jobs.add(event.uid)
                state = "held" if objects.is_held(body) else "finished" if objects.is_finished(body) else "live"
                return f"Job {name} ({event.uid[:8]}): {state} {deleted}".rstrip()
            case "pods" if objects.job_of(body) in self._jobs:
                return f"pod {name}: {body['status'].get('phase')} {deleted}".rstrip()
            case "secrets" if objects.owner(body) == self._run:
                return f"Secret {name}: {deleted or 'there'}"
            case _:
                return ""
