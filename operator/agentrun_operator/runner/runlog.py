"""The log of one attempt: the file on the shared volume while it runs, else the pod's own log, once."""

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import Callable

from agentrun_operator import facts, models, names, status, tail
from agentrun_operator.runner import objects
from agentrun_operator.runner.deps import Deps
from agentrun_operator.status import ending


class RunLog:
    """Made anew for each attempt."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._tail: tail.LogTail | None = None
        self._pod_log: status.LogSeen | None = None
        self._elsewhere = False  # where the operator does not see it

    def close(self) -> None:
        """Stop reading."""
        if self._tail is not None:
            self._tail.close()

    def follow(self, job: facts.JobFacts, pod: facts.PodFacts | None) -> None:
        """Start the tail once the agent has started; before that, the file at the path may be another run's."""
        started = pod is not None and pod.main is not None and pod.main.has_started
        if self._tail is not None or not job.log_path or not (started or job.finished):
            return
        try:
            path = self._deps.config.local_path(job.log_path)
        except ValueError:  # the mount was moved by a setting since the Job was made: its pod's own log comes next
            path, self._elsewhere = None, True
        if path is None:
            return
        # After a restart there is much to tell at once; else it would be told when the first pause is over.
        wake = functools.partial(_from_thread, asyncio.get_running_loop(), self._deps.world.wake, job.owner_uid)
        self._tail = self._deps.tailer.follow(path, stderr_path=names.stderr_path(path), on_drained=wake, on_read=wake)

    def seen(self, pod: facts.PodFacts | None) -> status.LogSeen:
        """What is known of it now."""
        if self._pod_log is not None:
            return self._pod_log
        followed = bool(self._deps.config.data_path) and not self._elsewhere
        seen = self._tail.view() if self._tail else status.LogSeen(followed=followed, unread=True)
        # A file that never appeared, or lacks its end, is not the end of the search: the pod's own log comes next.
        return seen if seen.found and not ending.lacks_its_end(seen, pod) else dataclasses.replace(seen, drained=False)

    async def drain(self, run: models.AgentRun, pod: facts.PodFacts | None, look_again: float) -> float:
        """Read it to its end: the file, or else the pod's own log, once. Returns the seconds until the next look."""
        if pod is not None and not pod.unseen and (pod.main is None or not pod.main.has_started):
            self._pod_log = status.LogSeen(drained=True)
            return 0
        seen = status.LogSeen(drained=True)
        if self._tail is not None:
            self._tail.drain(ending.expected_log_bytes(pod))
            seen = self._tail.view()
            if not seen.drained:
                return look_again
            if seen.found and not ending.lacks_its_end(seen, pod):  # it came to its end since the plan was made
                return 0
        from_pod = await objects.read_pod_log(self._deps, run, pod)
        self._pod_log = _fuller(from_pod, seen)
        return 0


def _fuller(from_pod: status.LogSeen, from_file: status.LogSeen) -> status.LogSeen:
    """The log that has the end, or else more of it: both can be short, for a pod's log is rotated."""
    pod, file = from_pod.transcript, from_file.transcript
    if (pod.result_seen, pod.bytes) >= (file.result_seen, file.bytes):
        return dataclasses.replace(from_pod, stderr_tail=from_file.stderr_tail or from_pod.stderr_tail)
    return dataclasses.replace(from_file, found=True)


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[[str], None], argument: str) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended: so has everybody who could be told
        loop.call_soon_threadsafe(call, argument)
