"""What the proxy does to which request: rules as data, matched and counted here; ``proxy`` carries them out."""

import dataclasses
import enum
import json
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

_PATH = re.compile(
    r"^/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?$"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
READS = frozenset({"get", "list", "watch"})
MUTATIONS = frozenset({"create", "update", "patch", "delete"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as RBAC names it: verb, resource (with its subresource: agentruns/status), name ("" for many)."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    @property
    def streams(self) -> bool:
        """Whether the answer comes bit by bit."""
        return self.verb == "watch" or self.resource == "pods/log"

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


def parse(method: str, path: str, query: Mapping[str, str]) -> Request:
    """The request behind a method and a path."""
    found = _PATH.match(path)
    if found is None:
        return Request(verb=method.lower(), resource="")
    name = found["name"] or ""
    verb = _VERBS.get(method, method.lower())
    if verb == "get" and not name:
        verb = "watch" if query.get("watch") in {"1", "true"} else "list"
    resource = "/".join(filter(None, (found["resource"], found["sub"])))
    return Request(verb=verb, resource=resource, namespace=found["namespace"] or "", name=name)


class Effect(enum.StrEnum):
    """What can happen to a request. The last four are for watches, also for those that are open already."""

    ANSWER = "answer"  # with ``status``, not forwarded
    RESET = "reset"  # the connection, not forwarded
    LOSE = "lose"  # forwarded and carried out; the connection is reset instead of an answer
    DELAY = "delay"  # forwarded ``seconds`` late
    HANG = "hang"  # no answer until the client gives up, or ``seconds`` have passed
    GARBAGE = "garbage"  # a page in HTML with status 200, not forwarded
    HALF = "half"  # the first half of the answer
    CALL = "call"  # reset, and just before call ``before`` (nothing is forwarded) or ``after`` (it was carried out)
    CUT = "cut"  # the stream ends in the middle of an event
    FREEZE = "freeze"  # nothing is delivered for ``seconds``, then the stream ends
    GONE = "gone"  # an ERROR event with code 410, then the stream ends
    NOISE = "noise"  # a line that is no JSON, then the stream ends


STREAM_EFFECTS = frozenset({Effect.CUT, Effect.FREEZE, Effect.GONE, Effect.NOISE})
Hook = Callable[[Request], Awaitable[None] | None]


@dataclasses.dataclass(slots=True, kw_only=True, eq=False)
class Rule:
    """What happens (``effect``) to which requests.

    ``verbs`` and ``resources``: empty means all. The first ``skip`` matching requests pass, then each is hit with
    ``probability``, at most ``times`` (None: without limit) and for ``seconds_active`` from the first look. ``hits``
    counts; ``hit`` is called at each.
    """

    effect: Effect
    verbs: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    probability: float = 1.0
    skip: int = 0
    times: int | None = 1
    seconds_active: float = float("inf")
    status: int = 500
    seconds: float = 0.0
    before: Hook | None = None
    after: Hook | None = None
    hit: Callable[[Request], None] | None = None
    hits: int = 0
    _since: float = dataclasses.field(default_factory=time.monotonic)

    def concerns(self, request: Request) -> bool:
        """Whether the rule speaks of such a request."""
        fits = self.effect not in STREAM_EFFECTS or request.verb == "watch"
        return (
            fits
            and (not self.verbs or request.verb in self.verbs)
            and (not self.resources or request.resource in self.resources)
        )

    @property
    def spent(self) -> bool:
        """Whether it will not hit any more."""
        if time.monotonic() - self._since > self.seconds_active:
            return True
        return self.times is not None and self.hits >= self.times

    def take(self, request: Request, rng: random.Random) -> bool:
        """Whether the rule hits this request; counted, if so."""
        if self.spent or not self.concerns(request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.probability < 1 and rng.random() >= self.probability:
            return False
        self.hits += 1
        if self.hit is not None:
            self.hit(request)
        return True


_REASONS = {
    401: ("Unauthorized", "Unauthorized"),
    409: ("Conflict", "Operation cannot be fulfilled: the object has been modified; please apply your changes again"),
    410: ("Expired", "too old resource version: 1 (2)"),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "Internal error occurred: etcdserver: leader changed"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "Timeout: request did not complete within the allotted timeout"),
}


def refusal(status: int) -> dict[str, Any]:
    """The body of the API server's answer with this status."""
    reason, message = _REASONS[status]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status,
    }


def gone_event() -> bytes:
    """The event with which a watch says that it cannot go on from where it was."""
    return json.dumps({"type": "ERROR", "object": refusal(410)}).encode() + b"\n"
