"""Which background tasks are at work: after a result, the CLI goes on until the last of them has ended.

It waits for them without a word, 2.1.329 for ten minutes at most, and then starts another turn with its own result.
Only tasks that no tool call waits for count, and not the CLI's own housekeeping, for which it does not wait.
"""

from agentrun_operator import stream
from agentrun_operator.progress import bounds

_MAX_OPEN = 64


class BackgroundTasks:
    """The tasks that have started and not ended; of more than 64 the last ones."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        self._open: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def start(self, event: stream.TaskStarted | stream.System) -> None:
        """Of a task that does not say where it runs, the worse is assumed: an agent at work must not be stopped."""
        if event.is_backgrounded is not False:
            self._add(event.task_id, ambient=event.ambient)

    def update(self, event: stream.TaskUpdated | stream.System) -> None:
        """A task may be sent to the background later, and its end may be told here only."""
        if event.patch.ended or event.patch.is_backgrounded is False:
            self._remove(event.task_id)
        elif event.patch.is_backgrounded:
            self._add(event.task_id, ambient=False)

    def end(self, event: stream.TaskNotification | stream.System) -> None:
        """Whatever its status says: there is none for a task that goes on."""
        self._remove(event.task_id)

    def replace(self, event: stream.BackgroundTasksChanged | stream.System) -> None:
        """The list is complete, so it also heals what was missed."""
        if event.tasks is None:
            return
        self._open.clear()
        for task in event.tasks:
            self._add(task.task_id, ambient=task.ambient)

    def _add(self, identity: str | None, *, ambient: bool | None) -> None:
        if identity and not ambient:
            self._open[identity[: bounds.MAX_WORD]] = None
            while len(self._open) > _MAX_OPEN:
                del self._open[next(iter(self._open))]

    def _remove(self, identity: str | None) -> None:
        self._open.pop((identity or "")[: bounds.MAX_WORD], None)
