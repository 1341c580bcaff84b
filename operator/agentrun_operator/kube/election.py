"""Which of several replicas works: leader election on a Lease, by the rules of Kubernetes' own components.

- Clocks are never compared. A candidate takes a Lease that it has watched unchanged for as long as the Lease itself
  says, by its own monotonic clock; the times in the Lease are for people.
- Every write names the version that was read, so of two candidates the API server lets one through.
- A leader counts from the moment it *sent* its last successful renewal, and must be gone after two thirds of the time.
  ``extend`` is told that moment; whoever is behind it ends the process even if a request hangs or the loop is blocked.
- A leader that finds anything but its own name in the Lease has lost, whatever its clock says. One that ends in peace
  lets the Lease go.

No run is safe because of this: names, owner references and the guard in the API hold with two operators at work.
docs/adr/0008 says why the library's election is not used.
"""

import asyncio
import dataclasses
import datetime
import enum
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog

from agentrun_operator import errors

_log = structlog.get_logger(__name__)


class LeaseClient(Protocol):
    """What an election asks of the Kubernetes API. Every method raises ``errors.ApiError`` subclasses only."""

    async def get_lease(self, namespace: str, name: str) -> Mapping[str, Any]:
        """One Lease as JSON. Raises NotFoundError."""

    async def create_lease(self, lease: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create a Lease; returns it as stored. Raises AlreadyExistsError."""

    async def replace_lease(self, lease: Mapping[str, Any]) -> Mapping[str, Any]:
        """Replace a Lease of exactly this resourceVersion; returns it as stored. Raises ConflictError."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an election is about. All times follow from one number, so that they always fit together."""

    namespace: str
    name: str
    identity: str  # of this process and of no other one, earlier ones of the same pod included
    lease_seconds: int

    @property
    def renew_seconds(self) -> float:
        """How long after its last renewal a leader may still act; the last third is for its end."""
        return self.lease_seconds * 2 / 3

    @property
    def round_seconds(self) -> float:
        """How long a round may last: two that hang fit before a leader's time is over."""
        return self.lease_seconds / 4

    @property
    def retry_seconds(self) -> float:
        """From the beginning of one round to that of the next."""
        return self.lease_seconds / 6


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says. ``holder`` "" is nobody, ``seconds`` 0 is unknown, times are opaque."""

    holder: str = ""
    seconds: int = 0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Sight:
    """The last look: what the Lease said (None: there is none), and since when, by our clock, it says just that."""

    record: Record | None
    since: float


class Step(enum.Enum):
    """What to do about a Lease."""

    CREATE = enum.auto()
    KEEP = enum.auto()
    TAKE = enum.auto()
    WAIT = enum.auto()


def plan(sight: Sight, terms: Terms, now: float) -> tuple[Step, float]:
    """What to do, and in how many seconds a Lease that is waited for expires."""
    record = sight.record
    if record is None:
        return Step.CREATE, 0
    if record.holder == terms.identity:
        return Step.KEEP, 0
    if not record.holder:
        return Step.TAKE, 0
    left = sight.since + (record.seconds or terms.lease_seconds) - now
    return (Step.WAIT, left) if left > 0 else (Step.TAKE, 0)


def fold_sight(before: Sight, record: Record | None, now: float) -> Sight:
    """The look after ``before``: a record that is the same keeps its age."""
    return before if before.record == record else Sight(record, now)


def parse_record(lease: Mapping[str, Any]) -> Record:
    """What a Lease says; fields that nobody set are as in ``Record``."""
    spec = lease.get("spec") or {}
    return Record(
        holder=spec.get("holderIdentity") or "",
        seconds=spec.get("leaseDurationSeconds") or 0,
        acquired=spec.get("acquireTime") or "",
        renewed=spec.get("renewTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
    )


def build_claim(before: Record | None, terms: Terms, stamp: str) -> Record:
    """The Lease as ours from ``stamp`` on: kept, taken over or new."""
    if before is not None and before.holder == terms.identity:
        return dataclasses.replace(before, seconds=terms.lease_seconds, renewed=stamp)
    transitions = 0 if before is None else before.transitions + 1
    return Record(terms.identity, terms.lease_seconds, acquired=stamp, renewed=stamp, transitions=transitions)


def build_lease(lease: Mapping[str, Any] | None, record: Record, terms: Terms) -> dict[str, Any]:
    """The object to write: ``lease``, or a new one, with what ``record`` says; all else in it stays."""
    new = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": terms.namespace, "name": terms.name},
    }
    before: Mapping[str, Any] = new if lease is None else lease
    spec = {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.seconds,
        "acquireTime": record.acquired,
        "renewTime": record.renewed,
        "leaseTransitions": record.transitions,
    }
    return {**before, "spec": {**(before.get("spec") or {}), **spec}}


class Election:
    """One candidate: ``acquire``, then ``hold`` until the Lease is lost, at the end ``release``."""

    def __init__(
        self,
        client: LeaseClient,
        terms: Terms,
        *,
        extend: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``extend`` gets the moment, by ``clock``, until which this process may act as leader."""
        self._client = client
        self._terms = terms
        self._extend = extend
        self._clock = clock
        self._sleep = sleep
        self._lease: Mapping[str, Any] | None = None
        self._sight = Sight(None, clock())
        self._is_newest = False  # whether, as far as we know, ``_lease`` is what the API server has
        self._claimed = False
        self._leads = False
        self._next = clock()
        self._trouble = ""

    async def acquire(self) -> None:
        """Stand by until the Lease is ours."""
        waited_for = ""
        while not await self._round():
            if self._holder not in {"", waited_for}:
                waited_for = self._holder
                _log.info("standing_by", lease=self._terms.name, holder=waited_for)
            step, left = plan(self._sight, self._terms, self._clock())
            pause = max(0, self._next - self._clock())
            await self._sleep(min(left, pause) if step is Step.WAIT else pause)
        self._leads = True
        _log.info("lease_acquired", lease=self._terms.name, identity=self._terms.identity)

    async def hold(self) -> str:
        """Renew the Lease. Returns when it is not ours any more: whose it is, "" for nobody's.

        Whether rounds that fail mean the end is not decided here: then ``extend`` is not called.
        """
        while True:
            await self._sleep(max(0, self._next - self._clock()))
            if not await self._round() and self._holder != self._terms.identity:
                return self._holder

    async def release(self) -> None:
        """Let go of the Lease if it may be ours, so that nobody has to wait until it expires. Raises nothing."""
        if not self._claimed:
            return
        try:
            async with asyncio.timeout(self._terms.round_seconds):
                await self._look()
                record = self._sight.record
                if record is not None and self._holder == self._terms.identity:
                    await self._write(dataclasses.replace(record, holder="", seconds=1, renewed=_stamp()))
                    _log.info("lease_released", lease=self._terms.name)
        except (errors.ApiError, TimeoutError) as e:
            _log.warning("lease_not_released", lease=self._terms.name, error=_words(e))

    @property
    def _holder(self) -> str:
        """Who was the holder when we looked last; "" if nobody was."""
        return "" if self._sight.record is None else self._sight.record.holder

    async def _round(self) -> bool:
        """Try once, in bounded time. Whether the Lease is ours for another while; False also if nobody can say."""
        started = self._clock()
        self._next = started + self._terms.retry_seconds
        try:
            async with asyncio.timeout(self._terms.round_seconds):
                is_ours = await self._claim_what_is_known()
        except (errors.ApiError, TimeoutError) as e:
            self._is_newest = False  # what was sent may have arrived
            self._tell_once(_words(e))
            return False
        self._trouble = ""
        if is_ours:
            self._extend(started + self._terms.renew_seconds)
        return is_ours

    async def _claim_what_is_known(self) -> bool:
        if not self._is_newest:
            await self._look()
        try:
            return await self._claim()
        except (errors.ConflictError, errors.AlreadyExistsError, errors.NotFoundError):
            await self._look()
            return await self._claim()

    async def _look(self) -> None:
        try:
            lease: Mapping[str, Any] | None = await self._client.get_lease(self._terms.namespace, self._terms.name)
        except errors.NotFoundError:
            lease = None
        self._remember(lease)

    async def _claim(self) -> bool:
        step, _ = plan(self._sight, self._terms, self._clock())
        if step is Step.WAIT or (self._leads and step is not Step.KEEP):
            self._is_newest = False
            return False
        self._claimed = True
        await self._write(build_claim(self._sight.record, self._terms, _stamp()))
        return True

    async def _write(self, record: Record) -> None:
        lease = build_lease(self._lease, record, self._terms)
        send = self._client.create_lease if self._lease is None else self._client.replace_lease
        self._remember(await send(lease))

    def _remember(self, lease: Mapping[str, Any] | None) -> None:
        record = None if lease is None else parse_record(lease)
        self._lease = lease
        self._sight = fold_sight(self._sight, record, self._clock())
        self._is_newest = True

    def _tell_once(self, trouble: str) -> None:
        if not self._trouble:
            _log.warning("lease_request_failed", lease=self._terms.name, error=trouble)
        self._trouble = trouble


def _stamp() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _words(error: Exception) -> str:
    """What an exception says; time-outs say nothing."""
    return str(error) or type(error).__name__
