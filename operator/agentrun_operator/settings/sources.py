"""Where settings come from: the environment, or a file; and the sentence about each that is wrong."""

import difflib
from collections.abc import Mapping
from typing import Any

import pydantic

from agentrun_operator import errors
from agentrun_operator.settings import parsing
from agentrun_operator.settings.model import Settings


def from_environ(environ: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables ``AGENTRUN_<NAME>``.

    Raises SettingsError naming every variable that is malformed, its value and what is expected.
    """
    given = {name: environ[key] for name in Settings.model_fields if (key := parsing.variable(name)) in environ}
    return _validated(given, {name: parsing.variable(name) for name in Settings.model_fields}, [])


def from_mapping(values: Mapping[str, object]) -> Settings:
    """Settings from the parsed content of a settings file: keys are setting names or AGENTRUN_ variables.

    ``node_selector`` and ``job_labels`` may also be mappings. Raises SettingsError naming every key that is unknown,
    given twice or has a malformed value, and what is expected.
    """
    fields = {key: name for name in Settings.model_fields for key in (name, parsing.variable(name))}
    shown = {name: name for name in Settings.model_fields}
    given: dict[str, object] = {}
    faults = []
    for key, value in values.items():
        field = fields.get(key)
        if field is None:
            nearest = difflib.get_close_matches(str(key), fields, n=1, cutoff=0)[0]
            faults.append(f"{key}: there is no such setting; the nearest one is {nearest}")
        elif field in given:
            faults.append(f"{key}: {shown[field]} is given too and is the same setting; keep one of them")
        elif isinstance(value, bool) and Settings.model_fields[field].annotation is not bool:  # true is no number 1
            faults.append(f"{key}={value}: a number or a text is wanted. {_meaning(field)}")
        else:
            given[field], shown[field] = value, key
    return _validated(given, shown, faults)


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings but are none: worth a warning, for one may be misspelt.

    No error, because Kubernetes itself sets such variables in a pod: a Service named ``agentrun`` is enough.
    """
    known = {parsing.variable(name) for name in Settings.model_fields}
    return sorted(name for name in environ if name.startswith(parsing.PREFIX) and name not in known)


def _validated(given: Mapping[str, object], shown: Mapping[str, str], faults: list[str]) -> Settings:
    """``shown`` is the name of each setting that its reader knows, ``faults`` what was found wrong before."""
    cause = None
    try:
        config = Settings.model_validate(given)
        if not faults:
            return config
    except pydantic.ValidationError as e:
        cause = e
        faults = [*faults, *(_sentence(shown, item) for item in e.errors())]
    raise errors.SettingsError("; ".join(faults)) from cause


def _sentence(shown: Mapping[str, str], item: Mapping[str, Any]) -> str:
    field = str(item["loc"][0])
    return f"{shown[field]}={item['input']!r}: {item['msg']}. {_meaning(field)}"


def _meaning(field: str) -> str:
    return f"It means: {Settings.model_fields[field].description}"
