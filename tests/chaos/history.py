"""What happened, as a list of events: changes of objects as the API server tells of them, and notes of those who act.

Every change carries its resourceVersion. All kinds are kept in one etcd, where that is one counter, so sorting by it
gives the order in which things really happened, whatever the order in which the watches told of them. A note is placed
behind everything that was known when it was made.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

NOTE = "note"
KINDS = ("agentruns", "jobs", "pods", "secrets")
_LAST = "kubectl.kubernetes.io/last-applied-configuration"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of an object, or one note.

    ``at`` is seconds since the beginning, ``seq`` the place in the record, ``type`` ADDED, MODIFIED or DELETED, or the
    word of a note, whose ``object`` is what it says.
    """

    at: float
    seq: int
    version: int
    kind: str
    type: str
    object: Mapping[str, Any]

    @property
    def place(self) -> tuple[int, bool, int]:
        """Where it belongs in the order of events."""
        return self.version, self.kind == NOTE, self.seq

    @property
    def uid(self) -> str:
        """The uid of the object that changed."""
        return str(self.object["metadata"]["uid"]) if self.kind != NOTE else ""


def ordered(events: Iterable[Event]) -> list[Event]:
    """In the order in which they happened."""
    return sorted(events, key=lambda event: event.place)


def reduced(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what nobody asks about; of a Secret only its metadata."""
    meta = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    meta["annotations"] = {key: value for key, value in (meta.get("annotations") or {}).items() if key != _LAST}
    spec = body.get("spec") or {}
    match kind:
        case "secrets":
            return {"metadata": meta}
        case "jobs":
            kept = {key: spec[key] for key in ("suspend", "backoffLimit", "ttlSecondsAfterFinished") if key in spec}
        case "pods":
            kept = {key: spec[key] for key in ("nodeName",) if key in spec}
        case _:
            kept = spec
    return {"metadata": meta, "spec": kept, "status": body.get("status") or {}}


class Record:
    """The history as it grows: in memory, and in a file with one JSON object a line."""

    def __init__(self, file: pathlib.Path | None = None) -> None:
        self.events: list[Event] = []
        self._file = file.open("w", encoding="utf-8") if file else None
        self._newest = 0

    def add(self, *, at: float, kind: str, type: str, object: Mapping[str, Any], version: int = 0) -> Event:  # noqa: A002 - as the API calls them
        """Append one event; a note (``version`` 0) comes behind what is known by now."""
        self._newest = max(self._newest, version)
        event = Event(
            at=at,
            seq=len(self.events),
            version=version or self._newest,
            kind=kind,
            type=type,
            object=object,
        )
        self.events.append(event)
        if self._file is not None:
            self._file.write(json.dumps(dataclasses.asdict(event), separators=(",", ":")) + "\n")
        return event

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def read(file: pathlib.Path) -> Iterator[Event]:
    """The events of a file that a Record wrote."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield Event(**json.loads(line))
