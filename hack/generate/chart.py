"""The chart's values: their schema, which helm checks every install against, and their table for people.

A setting is one because the settings say so; what a value of the chart itself means stands here. Four settings are not
offered under ``settings``, because the chart makes them: see ``OWN``.
"""

import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from agentrun_operator import settings

CHART = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "chart" / "agentrun-operator"
BEGIN, END = "<!-- values: made by `make generate` -->\n", "<!-- end of values -->"

# The setting and the value of the chart that decides it.
OWN = {
    "namespaces": "watch",
    "pod_name": "(the downward API)",
    "pod_namespace": "(the downward API)",
    "leader_election_lease": "leaderElection",
}

_KEPT = (
    *("type", "description", "pattern", "enum"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"),
)
_LABEL = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"

_Schema = dict[str, Any]


def _text(description: str, **more: object) -> _Schema:
    return {"type": "string", "description": description, **more}


def _flag(description: str) -> _Schema:
    return {"type": "boolean", "description": description}


def _map(description: str, **properties: _Schema) -> _Schema:
    """An object with these keys and no others; a misspelt value is found and not ignored."""
    return {"type": "object", "description": description, "properties": properties, "additionalProperties": False}


def _free(description: str, values: Mapping[str, Any] | None = None) -> _Schema:
    """An object whose keys are the user's."""
    return {"type": "object", "description": description, "additionalProperties": values or True}


def _list(description: str, items: Mapping[str, Any]) -> _Schema:
    return {"type": "array", "description": description, "items": items}


def build_schema() -> _Schema:
    """``values.schema.json``: every value with its meaning and its form."""
    anything = {"type": "object"}
    port = {"type": "integer", "minimum": 1, "maximum": 65535}
    values = {
        "image": _map(
            "The operator's image.",
            repository=_text("Where it is, without a tag.", minLength=1),
            tag=_text("Its tag. Empty: the chart's appVersion."),
            digest=_text("sha256:…, which wins over the tag. Empty: none.", pattern="^(sha256:[0-9a-f]{64})?$"),
            pullPolicy=_text("When it is pulled.", enum=["Always", "IfNotPresent", "Never"]),
        ),
        "imagePullSecrets": _list("Secrets for pulling it; agents use them too (settings.inherit).", anything),
        "settings": _settings(),
        "watch": _map(
            "Whose AgentRuns are served. Both empty: those of the release's namespace, and rights only there.",
            allNamespaces=_flag("All namespaces, with a ClusterRole."),
            namespaces=_list("These namespaces, with a Role in each; they must exist.", _text("", pattern=_NAME)),
        ),
        "leaderElection": _map(
            "Several replicas, of which one works.",
            enabled=_flag("Needs a volume of ReadWriteMany, or persistence.enabled=false."),
            replicas={"type": "integer", "minimum": 2, "maximum": 5, "description": "How many."},
        ),
        "agents": _map(
            "What agents get from here.",
            apiKeySecret=_map(
                "The Secret with ANTHROPIC_API_KEY, in the release's namespace; one that is missing holds up nothing.",
                name=_text("Its name. Empty: none.", pattern=f"{_NAME[:-1]}$|^$"),
                key=_text("The key in it.", pattern="^[-._a-zA-Z0-9]+$"),
            ),
        ),
        "extraEnv": _list("More variables of the operator, for agents to inherit (settings.inherit_env).", anything),
        "extraEnvFrom": _list("More envFrom of the operator (settings.inherit_env_from).", anything),
        "persistence": _map(
            "The shared volume of operator and agents.",
            enabled=_flag("Whether the operator mounts it. false: it makes no claim and reads logs from pods."),
            existingClaim=_text("A claim that is there already, such as Paperclip's own. Empty: one is made."),
            name=_text("The name of the claim that is made.", pattern=_NAME),
            accessMode=_text("ReadWriteOnce is for one node.", enum=["ReadWriteOnce", "ReadWriteMany"]),
            size=_text("Its size.", minLength=1),
            storageClassName=_text("Its storage class. Empty: the cluster's default."),
        ),
        "resources": _free("Of the operator. The defaults fit 1,440 live runs."),
        "nodeSelector": _free("Of the operator; of agents: settings.node_selector.", _text("", pattern=f"^{_LABEL}$")),
        "tolerations": _list("Of the operator; of agents: spec.job.tolerations.", anything),
        "affinity": _free("Of the operator. Empty: replicas avoid each other's nodes."),
        "priorityClasses": _flag("Make and use a PriorityClass for the operator, and make agentrun-agents for runs."),
        "networkPolicy": _map(
            "Who may talk to whom.",
            enabled=_flag("Make policies for operator and agents."),
            apiServerPorts=_list("Where the API server listens, as pods are sent there.", port),
            collectorPorts=_list("Where an OpenTelemetry collector listens (settings.traces). Empty: none.", port),
            metricsFrom=_list(
                "Peers of a NetworkPolicy that may read the metrics, which name companies and models. Empty: all.",
                anything,
            ),
        ),
        "quota": _free("The `hard` limits of a ResourceQuota for the namespace. Empty: none."),
        "serviceAccount": _map("The operator's.", annotations=_free("Its annotations.", _text(""))),
        "podLabels": _free("More labels of the operator's pod.", _text("")),
        "podAnnotations": _free("Annotations of the operator's pod.", _text("")),
        "crds": _map("The definition of AgentRun.", install=_flag("Install and upgrade it with the release.")),
        "global": _free("Helm's own, for charts that contain this one; not used."),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of agentrun-operator",
        **_map("What an install may choose.", **values),
    }


def _settings() -> _Schema:
    """Every setting under its own name, as the model has it."""
    properties = settings.Settings.model_json_schema()["properties"]
    offered = {
        name: {key: schema[key] for key in _KEPT if key in schema}
        for name, schema in properties.items()
        if name not in OWN
    }
    return _map("Settings of the operator, by name.", **offered)


def render_schema() -> str:
    """The schema's file."""
    return json.dumps(build_schema(), indent=2, ensure_ascii=False) + "\n"


def render_readme(page: str, defaults: Mapping[str, Any]) -> str:
    """The chart's README with the table of values between its marks."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for path, schema in _leaves(build_schema()):
        default = _default(defaults, path)
        lines.append(f"| `{path}` | {_shown(default)} | {_cell(schema.get('description', ''))} |")
    return before + BEGIN + "\n".join(lines) + "\n" + END + after


def _leaves(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, child in schema["properties"].items():
        below = f"{path}.{name}" if path else name
        if "properties" in child:
            yield from _leaves(child, below)
        elif below != "global":
            yield below, child


def _default(values: Mapping[str, Any], path: str) -> object:
    """What ``values.yaml`` says; for a setting that it leaves out, what the settings say."""
    section, _, name = path.partition(".")
    if section == "settings" and name not in values["settings"]:
        return settings.Settings.model_fields[name].default
    found: Any = values
    for part in path.split("."):
        found = found[part]
    return found


def _shown(value: object) -> str:
    return f"`{json.dumps(value)}`" if value not in ("", None) else "(empty)"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def outputs() -> dict[pathlib.Path, str]:
    """The chart's generated files but the CRD."""
    readme = CHART / "README.md"
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    return {
        CHART / "values.schema.json": render_schema(),
        readme: render_readme(readme.read_text(), defaults),
    }
