"""What all models share: naming on the wire, kinds of values, rules that API server and models both check."""

import dataclasses
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self, TypeVar

import pydantic
import pydantic_core
from pydantic import alias_generators, json_schema

from agentrun_operator import names

# The size limit of a Secret in bytes; as characters it is only a first bound, the bytes are counted on assembly.
MAX_PROMPT_CHARACTERS = 1_048_576
# The longest string that the kernel takes as one argument or environment variable (MAX_ARG_STRLEN), NUL included.
MAX_ARGUMENT_BYTES = 131_072

VALIDATIONS = "x-kubernetes-validations"
# What is wrong, in the words of YAML instead of Python's; other kinds speak for themselves.
_WORDS = {
    "missing": "is required",
    "string_type": "must be a text",
    "int_type": "must be a number without a fraction",
    "int_from_float": "must be a number without a fraction",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "tuple_type": "must be a list",
    "enum": "must be one of {expected}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}
_MEANINGS: dict[str, str] = {}  # pattern → what it means, for the sentence about a value that does not fit
_M = TypeVar("_M", bound="Model")


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """A rule over an object: ``expression`` in CEL for the API server, ``holds`` for us, one sentence for people.

    ``holds`` is None for a rule about a change, which only the API server sees.
    """

    expression: str
    message: str
    holds: Callable[[Any], bool] | None = None

    def as_json(self) -> dict[str, pydantic.JsonValue]:
        """The rule as the CRD has it."""
        return {"rule": self.expression, "message": self.message}


def exactly_one(first: str, *others: str) -> Rule:
    """The rule that exactly one of the fields (by their names on the wire) is given."""
    fields = (first, *others)
    given = ", ".join(f"has(self.{field})" for field in fields)
    return Rule(
        f"[{given}].filter(given, given).size() == 1",
        f"exactly one of {', '.join(others)} and {first} has to be given",
        lambda model: sum(getattr(model, _snake(field)) is not None for field in fields) == 1,
    )


def text(pattern: str, meaning: str, *, least: int = 0, most: int) -> Any:  # noqa: ANN401 - what pydantic.Field is
    """A string of ``least`` to ``most`` characters that fits ``pattern``; ``meaning`` says so to people.

    The pattern is checked twice by the API server: the schema's check is for programs, the rule's has the sentence.
    """
    _MEANINGS[pattern] = meaning
    quoted = pattern.replace("\\", "\\\\")
    return pydantic.Field(
        pattern=pattern,
        min_length=least or None,
        max_length=most,
        json_schema_extra={VALIDATIONS: [Rule(f"self.matches('{quoted}')", meaning).as_json()]},
    )


def written_as_a_number(value: object) -> object:
    """Refuse what pydantic would take for a number and the API server would not."""
    if isinstance(value, bool | str):
        raise pydantic_core.PydanticCustomError("int_type", "must be a number, and is no text")
    return value


def without_nulls(data: object) -> object:
    """``data`` as the API server stores it: a null in an object or a map is absent. Free JSON keeps its nulls."""
    if isinstance(data, Mapping):
        return {key: value for key, value in data.items() if value is not None}
    return data


# Bounds stand before NUMBER in an Annotated type: behind it, pydantic checks them but leaves them out of the schema.
NUMBER = pydantic.BeforeValidator(written_as_a_number)
Integer = Annotated[int, NUMBER]
NO_NULLS = pydantic.BeforeValidator(without_nulls)
Flag = Annotated[bool, pydantic.Field(strict=True)]
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
ObjectName = Annotated[
    str,
    text(
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
        "must be the name of a Kubernetes object: small letters, digits and hyphens, in parts joined by single dots",
        most=253,
    ),
]
DataKey = Annotated[
    str,
    text(
        r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$",
        "must be a key of a Secret or ConfigMap: letters, digits and any of - _ . but not .. at its beginning",
        most=253,
    ),
]
NO_NUL = (r"^[^\x00]*$", "must not contain a NUL character: no environment variable or argument can hold one")
ShortText = Annotated[str, text(*NO_NUL, most=253)]
LongText = Annotated[str, text(*NO_NUL, most=4096)]

# Free JSON: Kubernetes' own types, which the API server checks when the Job is created, and data of orchestrators.
JsonObject = Annotated[dict[str, Any], pydantic.Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]


class Model(pydantic.BaseModel):
    """Base of every model: frozen, camelCase on the wire, unknown fields left alone.

    A null counts as absent, as it does for the API server.
    """

    RULES: ClassVar[tuple[Rule, ...]] = ()

    model_config = pydantic.ConfigDict(
        frozen=True,
        alias_generator=alias_generators.to_camel,
        populate_by_name=True,
        extra="ignore",
        hide_input_in_errors=True,  # an error is logged with its cause, and the input may be the prompt
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: object) -> object:
        return without_nulls(data)

    @pydantic.model_validator(mode="after")
    def _rules_hold(self) -> Self:
        for rule in self.RULES:
            if rule.holds is not None and not rule.holds(self):
                raise pydantic_core.PydanticCustomError("rule", "{sentence}", {"sentence": rule.message})
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: pydantic_core.CoreSchema, handler: pydantic.GetJsonSchemaHandler
    ) -> json_schema.JsonSchemaValue:
        """The schema with the rules in it."""
        made = handler(schema)
        if cls.RULES:
            handler.resolve_ref_schema(made)[VALIDATIONS] = [rule.as_json() for rule in cls.RULES]
        return made


def once_each(items: tuple[_M, ...], key: str) -> tuple[_M, ...]:
    """``items``, if no two have the same ``key``: what ``x-kubernetes-list-type: map`` is for the API server."""
    seen: set[object] = set()
    for index, item in enumerate(items):
        value = getattr(item, key)
        if value in seen:
            raise pydantic_core.PydanticCustomError(
                "duplicate", "{name} stands twice (item {index})", {"name": f"{key} {value!r}", "index": index}
            )
        seen.add(value)
    return items


def sentences(error: pydantic.ValidationError) -> list[str]:
    """What is wrong, as ``path: sentence``, in the order of the fields."""
    return [f"{path_of(e['loc'])}: {_sentence(e['type'], e['msg'], e.get('ctx', {}))}" for e in error.errors()]


def _sentence(kind: str, said: str, context: Mapping[str, Any]) -> str:
    if kind in _WORDS:
        return _WORDS[kind].format(**context)
    return _MEANINGS.get(context.get("pattern", ""), said)


def path_of(location: Iterable[str | int]) -> str:
    """``spec.job.env[0].name``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def unknown_fields(model: type["Model"], data: object, path: str) -> Iterator[str]:
    """Paths of fields in ``data`` that ``model`` does not have, at any depth."""
    if not isinstance(data, Mapping):
        return
    known = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    for key, value in data.items():
        if key not in known:
            yield f"{path}.{key}"
            continue
        inner = model_in(known[key])
        if inner is None:
            continue
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from unknown_fields(inner, item, f"{path}.{key}[{index}]")
        else:
            yield from unknown_fields(inner, value, f"{path}.{key}")


def model_in(annotation: Any) -> type["Model"] | None:  # noqa: ANN401 - a type expression
    """The model that a field holds, be it optional or in a list; None if it holds none."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next(filter(None, map(model_in, typing.get_args(annotation))), None)


def _snake(field: str) -> str:
    return alias_generators.to_snake(field)
