"""What the mock reads out of a request's body. Nothing here trusts the body's shape."""

import collections.abc
import dataclasses
import hashlib
import json
import re
from typing import Any

_SCENARIO = re.compile(r"SCENARIO=([A-Za-z0-9_]+)")


@dataclasses.dataclass(frozen=True)
class Request:
    """A request as scenarios see it.

    `count` says how many requests of this conversation chose this scenario, this one included; `now` is Unix time;
    `write_file` is where scenario `writefile` writes.
    """

    body: dict[str, Any]
    count: int = 1
    now: int = 0
    write_file: str = "/tmp/out.txt"  # noqa: S108  # a path on the agent's side that always exists

    @property
    def model(self) -> str:
        return str(self.body.get("model") or "")

    @property
    def texts(self) -> list[str]:
        return user_texts(self.body)

    @property
    def tool_results(self) -> int:
        """How many tool results the whole conversation has."""
        return sum(kind == "tool_result" for kind, _ in _user_parts(self.body, roles=None))

    @property
    def tool_results_since_chosen(self) -> int:
        """How many tool results came after the text that chose the scenario; a resumed session has older ones."""
        found = 0
        for kind, text in _user_parts(self.body, roles=None):
            if kind == "tool_result":
                found += 1
            elif kind == "text" and _SCENARIO.search(text):
                found = 0
        return found

    @property
    def tools(self) -> list[str]:
        return [str(tool.get("name")) for tool in objects(self.body.get("tools"))]

    def number(self, scenario: str, parameter: str, default: int) -> int:
        """Return N of ` <PARAMETER>=N` behind the last `SCENARIO=<scenario>` in the user's texts."""
        pattern = rf"SCENARIO={scenario}\b(?:[ \t]+{parameter}=(\d{{1,6}}))?"
        found = re.findall(pattern, "\n".join(self.texts))
        return int(found[-1]) if found and found[-1] else default


def parse(raw: bytes) -> dict[str, Any]:
    """Return the body as an object; anything else counts as an empty one."""
    try:
        body = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def objects(value: object) -> list[dict[str, Any]]:
    """Return the objects in a list; whatever is not an object, or no list at all, is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _user_parts(
    body: dict[str, Any], roles: frozenset[str] | None = frozenset({"user"})
) -> collections.abc.Iterator[tuple[str, str]]:
    """Yield kind and text of each content block, in order; `roles` None means messages of any role."""
    for message in objects(body.get("messages")):
        if roles is not None and message.get("role") not in roles:
            continue
        content = message.get("content")
        if isinstance(content, str):
            yield "text", content
        for block in objects(content):
            yield str(block.get("type")), str(block.get("text") or "")


def user_texts(body: dict[str, Any]) -> list[str]:
    """Return the texts that the user wrote (or the CLI in the user's name), without tool results."""
    return [text for kind, text in _user_parts(body) if kind == "text"]


def chosen_scenario(body: dict[str, Any], default: str) -> str:
    """Return the last scenario that the user's texts name."""
    found = [name for text in user_texts(body) for name in _SCENARIO.findall(text)]
    return found[-1] if found else default


def wants_summary(body: dict[str, Any]) -> bool:
    """Tell whether the CLI asks for the summary of a conversation that it compacts."""
    texts = " ".join(user_texts(body))
    return "ummary of the conversation" in texts[-6000:] or asks_for_details(body)


def asks_for_details(body: dict[str, Any]) -> bool:
    """Tell whether the request holds the CLI's own wording for a compaction."""
    return "create a detailed summary" in " ".join(user_texts(body))[-20000:]


def identity(body: dict[str, Any]) -> str:
    """Return what tells this conversation from others: the session in the metadata, else how it began."""
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and metadata.get("user_id"):
        return str(metadata["user_id"])
    began = "".join(user_texts(body)[:1])
    return hashlib.sha256(began.encode(errors="surrogatepass")).hexdigest()


def system_text(body: dict[str, Any]) -> str:
    """Return the last block of the system prompt."""
    system = body.get("system")
    if isinstance(system, str):
        return system
    blocks = objects(system)
    return str(blocks[-1].get("text") or "") if blocks else ""
