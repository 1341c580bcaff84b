"""Where the log of a run in a cluster is, and how it is followed to its end.

The log file, where the shared volume is mounted; else the log of the pod, as long as that exists. It comes as bytes:
what they mean, and what must not be shown of them, is the business of whoever reads them.
"""

import asyncio
import dataclasses
import os
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from agentrun_operator import errors, facts, models, redaction, settings

_POLL_SECONDS = 0.25  # of the file
_STATUS_SECONDS = 2.0  # of the API
_SOON_SECONDS = 0.5  # of the API, once the end is near
_SOON_LASTS_SECONDS = 15.0
_CHUNK_BYTES = 64 * 1024
_HEAD_BYTES = 512  # by which a pod's log is known again
_FORBIDDEN = 403


class Api(Protocol):
    """What is asked of the Kubernetes API; every method raises ``errors.ApiError`` subclasses only."""

    async def get_run(self, namespace: str, name: str) -> Mapping[str, Any]:
        """One AgentRun as JSON. Raises NotFoundError."""

    def read_pod_log(self, namespace: str, pod: str, container: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """The container's log in chunks. Raises NotFoundError, UnavailableError."""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What is known of a run's secrets. ``gaps``: sentences about what is not known, and so not taken out."""

    redactor: redaction.Redactor
    gaps: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which log. ``attempt`` None: the last; ``follow``: go on until the run has ended."""

    namespace: str
    name: str
    follow: bool = False
    attempt: int | None = None


class NoLogError(errors.AgentRunError):
    """There is no log to show; the text says why, and what to do."""


class Screen(Protocol):
    """Where the log goes."""

    redactor: redaction.Redactor

    def go_live(self) -> None:
        """Take note that all that was there has been read."""


class RunLog:
    """The log of one AgentRun. ``tell`` gets sentences for the user that are no part of the log.

    ``find_secrets`` says of an AgentRun (as JSON) what is to be kept out of its log.
    """

    def __init__(
        self,
        client: Api,
        config: settings.Settings,
        wanted: Wanted,
        *,
        find_secrets: Callable[[Mapping[str, Any]], Awaitable[Known]],
        tell: Callable[[str], None],
    ) -> None:
        self._client = client
        self._config = config
        self._namespace = wanted.namespace
        self._name = wanted.name
        self._follow = wanted.follow
        self._attempt = wanted.attempt
        self._find_secrets = find_secrets
        self._tell = tell
        self._deleted = False

    async def read(self, screen: Screen) -> AsyncIterator[bytes]:
        """The log in chunks; with --follow, of all attempts from the present one on. Raises NoLogError, ApiError."""
        body = await self._started()
        shown = self._attempt
        while True:
            before = _attempt(body)
            async for chunk in self._of_attempt(body, self._choose(body, shown), screen):
                yield chunk
            if not self._follow or shown is not None or self._deleted:
                return
            body = await self._settled(before)
            if _attempt(body) == before:
                return
            self._tell(f"attempt {before} of {self._name} failed; this is attempt {_attempt(body)}")
            body = await self._started()

    def _choose(self, body: Mapping[str, Any], shown: int | None) -> Mapping[str, Any]:
        """Where the log of that attempt is, as a status tells it; None: of the present one. Raises NoLogError."""
        status: Mapping[str, Any] = body.get("status") or {}
        if shown is None or shown == _attempt(body):
            return status
        before = {entry["attempt"]: entry for entry in status.get("previousAttempts") or ()}
        if shown not in before:
            raise NoLogError(f"{self._name} has no attempt {shown}; its attempts so far are 0 to {_attempt(body)}")
        return {**before[shown], "runningTime": before[shown].get("startTime")}

    async def _of_attempt(
        self, body: Mapping[str, Any], status: Mapping[str, Any], screen: Screen
    ) -> AsyncIterator[bytes]:
        path = await asyncio.to_thread(self._find_file, status.get("logPath"))
        if path is None and not status.get("podName"):
            raise NoLogError(self._why_no_log(body, status))
        known = await self._find_secrets(body)
        screen.redactor = known.redactor
        gaps = list(known.gaps)
        is_present = status is body.get("status")
        async for chunk in (
            self._of_pod(body, status)
            if path is None
            else self._of_file(path, screen, _attempt(body) if is_present else None)
        ):
            while gaps:  # not told before there is anything to be shown
                self._tell(gaps.pop(0))
            yield chunk

    async def _settled(self, attempt: int) -> Mapping[str, Any]:
        """The AgentRun, once it is known what followed on that attempt."""
        while True:
            try:
                body = await self._client.get_run(self._namespace, self._name)
            except errors.NotFoundError:
                return {"status": {"attempt": attempt, "phase": models.Phase.CANCELLED}}
            except errors.UnavailableError:
                pass
            else:
                if _is_final(body) or _attempt(body) != attempt:
                    return body
            await asyncio.sleep(_STATUS_SECONDS)

    async def _started(self) -> Mapping[str, Any]:
        """The AgentRun; with --follow, once its agent has started."""
        body = await self._client.get_run(self._namespace, self._name)
        told = ""
        while self._follow and not (_is_final(body) or (body.get("status") or {}).get("runningTime")):
            waiting = _state(body)
            if waiting != told:
                self._tell(f"waiting for {self._name} to start ({waiting})")
                told = waiting
            await asyncio.sleep(_STATUS_SECONDS)
            try:
                body = await self._client.get_run(self._namespace, self._name)
            except errors.UnavailableError:
                continue
        return body

    def _find_file(self, log_path: str | None) -> pathlib.Path | None:
        """The log on this machine, None if it is not here."""
        try:
            path = self._config.local_path(log_path) if log_path else None
        except ValueError:  # the operator's volume is mounted elsewhere than this machine's settings say
            return None
        return pathlib.Path(path) if path is not None and os.path.exists(path) else None

    async def _of_file(self, path: pathlib.Path, screen: Screen, attempt: int | None) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        ended = not self._follow or attempt is None
        look_at = soon_until = 0.0
        with path.open("rb") as file:
            while True:
                if not ended and loop.time() >= look_at:
                    ended = await self._has_ended(attempt)
                    look_at = loop.time() + (_SOON_SECONDS if loop.time() < soon_until else _STATUS_SECONDS)
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
                    if b'"result"' in chunk:  # a hint that the run may end now; a wrong one costs a few requests
                        soon_until = loop.time() + _SOON_LASTS_SECONDS
                        look_at = min(look_at, loop.time() + _SOON_SECONDS)
                if ended:
                    return
                screen.go_live()
                await asyncio.sleep(_POLL_SECONDS)

    async def _has_ended(self, attempt: int | None) -> bool:
        try:
            body = await self._client.get_run(self._namespace, self._name)
        except errors.NotFoundError:
            self._tell(f"the AgentRun {self._name} was deleted")
            self._deleted = True
            return True
        except errors.UnavailableError:  # the file goes on, whether the API answers or not
            return False
        return _is_final(body) or _attempt(body) != attempt

    async def _of_pod(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> AsyncIterator[bytes]:
        seen, ended = _Seen(), not self._follow
        while True:
            seen.begin()
            try:
                async for chunk in self._client.read_pod_log(
                    self._namespace, status["podName"], facts.MAIN_CONTAINER, follow=self._follow
                ):
                    new = seen.take(chunk)
                    if seen.lost:
                        self._tell("the pod's log was begun anew meanwhile: lines of it are missing here")
                    yield new
            except errors.NotFoundError as e:
                raise NoLogError(self._why_no_log(body, status)) from e
            except errors.RejectedError as e:
                if _is_final(body) or e.status == _FORBIDDEN:
                    raise
                raise NoLogError(f"{self._name} has printed nothing yet: {e}; wait for it with --follow") from e
            except errors.UnavailableError as e:
                if ended:
                    raise
                self._tell(f"{e}; reading on")
                await asyncio.sleep(max(_STATUS_SECONDS, e.retry_after))
                ended = await self._has_ended(_attempt(body))  # then it is read once more
            else:
                return

    def _why_no_log(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> str:
        """The sentence for a run whose log is not on this machine and whose pod is not there."""
        name, path = self._name, status.get("logPath")
        if not _is_final(body):
            if not status.get("podName"):
                return f"{name} has no pod yet ({_state(body)}); wait for it with --follow"
            return f"the pod of {name} is gone, and the operator has not said yet what became of the run; try again"
        if not status.get("runningTime"):
            return f"{name} has no log, because its agent never started ({_state(body)})"
        kept = ((body.get("spec") or {}).get("retention") or {}).get("log")
        where = f"kubectl get agentruns.paperclip.io {name} -n {self._namespace} -o yaml shows what is known of it"
        if kept == models.LogRetention.AFTER_FINISHED and not path:
            return (
                f"the log of {name} was removed when the run ended (spec.retention.log: {kept}), "
                f"and its pod is gone; {where}"
            )
        if not path:
            return f"{name} wrote no log file, and its pod is gone; {where}"
        return (
            f"the pod of {name} is gone, and its log is not on this machine; it is {path} on the run's shared volume: "
            f"call agentrun where that is mounted, for example in the operator's pod, or say with "
            f"{settings.PREFIX}DATA_PATH where it is mounted here"
        )


class _Seen:
    """What of a pod's log was read before its connection broke: the API can only give all of it again."""

    def __init__(self) -> None:
        self.lost = False  # the last chunk is of another log than before: it was rotated
        self._head = b""
        self._count = 0  # bytes that were passed on
        self._skip = 0  # bytes still to come that were passed on before
        self._held: bytes | None = None  # the beginning, as it comes this time; None: it was compared

    def begin(self) -> None:
        """It is read from its beginning."""
        self._held = b"" if self._head else None

    def take(self, chunk: bytes) -> bytes:
        """The part of ``chunk``, and of what was held back before, that is new."""
        self.lost = False
        if self._held is not None:
            self._held += chunk
            if len(self._held) < len(self._head):
                return b""
            chunk, self.lost, self._held = self._held, not self._held.startswith(self._head), None
            self._skip = 0 if self.lost else self._count
            if self.lost:
                self._head, self._count = b"", 0
        known = min(self._skip, len(chunk))
        self._skip -= known
        new = chunk[known:]
        self._head += new[: _HEAD_BYTES - len(self._head)]
        self._count += len(new)
        return new


def _is_final(body: Mapping[str, Any]) -> bool:
    status = body.get("status") or {}
    return "phase" in status and models.Phase(status["phase"]).final


def _attempt(body: Mapping[str, Any]) -> int:
    return int((body.get("status") or {}).get("attempt") or 0)


def _state(body: Mapping[str, Any]) -> str:
    status = body.get("status") or {}
    message = " ".join(str(status.get("message") or "").split()).rstrip(".")
    return f"{status.get('phase', 'Pending')}{': ' if message else ''}{message}"
