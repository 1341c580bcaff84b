"""Which of two facts is the later one: by resourceVersions, as numbers (docs/adr/0009)."""

from collections.abc import Mapping

from agentrun_operator import facts


def is_older(one: facts.JobFacts | facts.PodFacts, than: facts.JobFacts | facts.PodFacts) -> bool:
    """Whether these facts are older than those of the same object."""
    return bool(one.version) and number(one.version) < number(than.version)


def is_over(one: facts.JobFacts | facts.PodFacts, shown: Mapping[str, int]) -> bool:
    """Whether the watch of its namespace has shown all that came before these facts, and these, too."""
    return 0 < number(one.version) <= shown.get(one.namespace, shown.get("", 0))


def number(version: str) -> int:
    """A resourceVersion as a number, which grows with every write (docs/adr/0009); 0 for what is no number."""
    return int(version) if version.isdecimal() else 0
