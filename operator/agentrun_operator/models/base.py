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


def text(pattern: str, meaning: str, *, least: int = 0, most: int) -> Any:  # noqa: ANN401 - what pydantic.Field is
    """A string of ``least`` to ``most`` characters that fits ``pattern``; ``meaning`` says so to people.

    The pattern is checked twice by the API server: the schema's check is for programs, the rule's has the sentence.
    """
    quoted = pattern.replace("\\", "\\\\")
    return pydantic.Field(
        pattern=pattern,
        min_length=least or None,
        max_length=most,
        json_schema_extra={"x-kubernetes-validations": [rule(f"self.matches('{quoted}')", meaning)]},
    )


Id = Annotated[
    str,
    text(
        names.ID_PATTERN,
        "only letters, digits and hyphens are allowed, because the id becomes part of names and paths",
        least=1,
        most=names.MAX_ID_LENGTH,
    ),
]
AbsolutePath = Annotated[str, text(r"^/[^\x00]*$", "must be an absolute path: it has to begin with /", most=4096)]
Decimal = Annotated[
    str, text(r"^[0-9]{1,9}(\.[0-9]{1,6})?$", "must be a decimal number such as 2.50, in quotes", most=16)
]

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
