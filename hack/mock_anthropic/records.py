"""What the mock remembers: counts in memory, a log and bodies on disk. All of it is safe to use from many threads."""

import collections
import collections.abc
import json
import pathlib
import threading
import time
from typing import Any

from hack.mock_anthropic import conversation

_SAFE_HEADERS = (
    "user-agent",
    "anthropic-beta",
    "x-stainless-retry-count",
    "x-app",
    "anthropic-version",
)
_TAIL = 4
_LONG_ENOUGH = 16  # of a shorter secret four characters would say too much


def _tail(secret: str) -> str:
    return f"...{secret[-_TAIL:]}" if len(secret) >= _LONG_ENOUGH else "present"


def redacted_headers(headers: collections.abc.Mapping[str, str]) -> dict[str, str]:
    """Return the headers worth logging; of credentials only the scheme and the last four characters."""
    lower = {name.lower(): value for name, value in headers.items()}
    kept = {name: lower[name] for name in _SAFE_HEADERS if name in lower}
    if key := lower.get("x-api-key"):
        kept["x-api-key"] = _tail(key.strip())
    if authorization := lower.get("authorization"):
        scheme, _, secret = authorization.strip().partition(" ")
        kept["authorization"] = f"{scheme} {_tail(secret.strip())}" if secret else _tail(scheme)
    return kept


class Records:
    """Counts, log and bodies of one server; without `log` or `bodies` nothing is written there."""

    def __init__(self, *, log: pathlib.Path | None = None, bodies: pathlib.Path | None = None) -> None:
        """Make the folder for bodies, which only its owner may read."""
        self._lock = threading.Lock()
        self._log = log
        self._bodies = bodies
        self._sequence = 0
        self._by_scenario: collections.Counter[str] = collections.Counter()
        self._by_conversation: collections.Counter[tuple[str, str]] = collections.Counter()
        if bodies is not None:
            bodies.mkdir(mode=0o700, parents=True, exist_ok=True)

    def count(self, scenario: str, identity: str) -> tuple[int, int]:
        """Count a request; return its number overall and its number in its conversation under its scenario."""
        with self._lock:
            self._sequence += 1
            self._by_scenario[scenario] += 1
            self._by_conversation[scenario, identity] += 1
            return self._sequence, self._by_conversation[scenario, identity]

    def stats(self) -> dict[str, int]:
        with self._lock:
            return dict(self._by_scenario)

    def reset(self) -> None:
        with self._lock:
            self._by_scenario.clear()
            self._by_conversation.clear()

    def note(self, **fields: object) -> None:
        """Append a line to the log."""
        if self._log is None:
            return
        line = json.dumps({"t": round(time.time(), 3), **fields})
        with self._lock, self._log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def keep_body(self, sequence: int, raw: bytes) -> None:
        if self._bodies is not None:
            (self._bodies / f"{sequence:04d}.json").write_bytes(raw)

    def describe(self, body: dict[str, Any]) -> dict[str, object]:
        """Return what the log says of a body; texts of it only when bodies are written anyway."""
        texts = conversation.user_texts(body)
        system = body.get("system")
        output = body.get("output_config")
        facts: dict[str, object] = {
            "model": body.get("model"),
            "stream": body.get("stream", False),
            "max_tokens": body.get("max_tokens"),
            "effort": output.get("effort") if isinstance(output, dict) else None,
            "thinking": body.get("thinking"),
            "ntools": len(conversation.objects(body.get("tools"))),
            "nmsgs": len(conversation.objects(body.get("messages"))),
            "ntoolresults": conversation.Request(body).tool_results,
            "nuser": len(texts),
            "system_len": len(json.dumps(system)) if system else 0,
        }
        if self._bodies is not None:
            facts["user"] = [text[:400] for text in texts][-6:]
            facts["system_tail"] = conversation.system_text(body)[-200:]
        return facts
