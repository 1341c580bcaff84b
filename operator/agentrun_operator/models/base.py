"""What all models share: naming on the wire, ids, pass-through objects, and rules that the API server checks."""

from typing import Annotated, Any

import pydantic
from pydantic import alias_generators

from agentrun_operator import names

# The size limit of a Secret in bytes; as characters it is only a first bound, the bytes are counted on assembly.
MAX_PROMPT_CHARACTERS = 1_048_576


def rule(expression: str, message: str) -> dict[str, pydantic.JsonValue]:
    """A CEL rule with the sentence that the API server gives when it does not hold."""
    return {"rule": expression, "message": message}


def immutable(field: str) -> dict[str, pydantic.JsonValue]:
    """The rule that ``spec.<field>`` never changes, not even by being added or removed."""
    return rule(
        f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        f"spec.{field} cannot be changed after creation; create a new AgentRun instead",
    )


_ID_RULE = rule(
    f"self.matches('{names.ID_PATTERN}')",
    "only letters, digits and hyphens are allowed, because the id becomes part of names and paths",
)

Id = Annotated[
    str,
    pydantic.Field(
        pattern=names.ID_PATTERN,
        min_length=1,
        max_length=names.MAX_ID_LENGTH,
        json_schema_extra={"x-kubernetes-validations": [_ID_RULE]},
    ),
]
AbsolutePath = Annotated[str, pydantic.Field(pattern=r"^/[^\x00]*$", max_length=4096)]
Decimal = Annotated[str, pydantic.Field(pattern=r"^[0-9]{1,9}(\.[0-9]{1,6})?$", max_length=16)]

# Kubernetes' own types pass through unread; the API server checks them when the Job is created.
KubernetesObject = Annotated[
    dict[str, Any], pydantic.Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})
]


class Model(pydantic.BaseModel):
    """Base of every model: frozen, camelCase on the wire, unknown fields left alone."""

    model_config = pydantic.ConfigDict(
        frozen=True,
        alias_generator=alias_generators.to_camel,
        populate_by_name=True,
        extra="ignore",
        hide_input_in_errors=True,  # an error is logged with its cause, and the input may be the prompt
    )
