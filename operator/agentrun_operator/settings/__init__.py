"""The operator's settings: for each its meaning, its unit and what the extremes do.

Every setting is read once, at start, from the environment variable ``AGENTRUN_<NAME>`` or a settings file; the settings
are frozen and passed down, so nothing in the package reads the environment a second time.
"""

from agentrun_operator.settings.model import DEFAULT_CLAIM, INHERITABLE_PARTS, Settings
from agentrun_operator.settings.parsing import PREFIX, parse_list, parse_pairs
from agentrun_operator.settings.sources import from_environ, from_mapping, unknown

__all__ = [
    "DEFAULT_CLAIM",
    "INHERITABLE_PARTS",
    "PREFIX",
    "Settings",
    "from_environ",
    "from_mapping",
    "parse_list",
    "parse_pairs",
    "unknown",
]
