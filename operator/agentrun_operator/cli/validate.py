"""``agentrun validate``: everything that is wrong with AgentRuns in files, without a cluster.

It judges in two steps, as a cluster does: the schema, for which the API server would refuse the object, and then what
the operator checks when it accepts a run, by building what it would create.
"""

import argparse
import dataclasses
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agentrun_operator import entry, errors, manifest, models, names, settings, shapes
from agentrun_operator.cli import documents, transcript
from agentrun_operator.manifest import inheritance

EXIT_INVALID = 1
EXIT_USAGE = 2
NO_UID = "00000000-0000-4000-8000-000000000000"

_GENERATED = "xxxxx"  # the API server puts five characters behind a generateName
_STAND_IN = manifest.Template(text="-", source="the prompt")
_STAND_IN_IMAGE = "registry.example/agent"

_BODY_FIELDS = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
_META_FIELDS = frozenset(
    "name generateName namespace selfLink uid resourceVersion generation creationTimestamp deletionTimestamp "
    "deletionGracePeriodSeconds labels annotations ownerReferences finalizers managedFields".split()
)
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NAMESPACE = re.compile(rf"(?=.{{1,63}}$){_LABEL}")
_OF_NAMES = "small letters, digits, '-' and '.', with a letter or digit at both ends"

_Objects = Mapping[tuple[str, str, str], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is wrong with an AgentRun: ``path`` of the field, "" for none; ``code`` is the operator's own, if any."""

    path: str
    message: str
    code: str = ""

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {"path": self.path, "message": self.message, **({"code": self.code} if self.code else {})}

    def __str__(self) -> str:
        """``spec.prompt.text: is blank. [prompt_invalid]``."""
        return (f"{self.path}: " if self.path else "") + self.message + (f" [{self.code}]" if self.code else "")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An AgentRun from a file, with what only a cluster would have given it filled in.

    ``body`` has no status, and metadata of the right types; ``problems`` are those of the schema.
    """

    document: documents.Document
    body: Mapping[str, Any]
    problems: tuple[Problem, ...]

    @property
    def namespace(self) -> str:
        """The namespace of the run."""
        return str(self.body["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """The name of the run; "" if it has none."""
        return str(self.body["metadata"]["name"])

    def line(self, text: object) -> str:
        """A line about this run."""
        name = self.name or f"document {self.document.index}"
        return " ".join(transcript.clean(f"{self.document.file}: {name}: {text}").split()) + "\n"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a run is built from, besides itself; ``objects`` are the Secrets and ConfigMaps of the input."""

    config: settings.Settings
    inherited: inheritance.Inherited
    scripts: manifest.Scripts
    objects: _Objects

    def build(self, run: models.AgentRun, template: manifest.Template) -> manifest.Manifests:
        """What the operator would create. Raises InvalidRunError."""
        return manifest.build(run, self.config, template=template, scripts=self.scripts, inherited=self.inherited)

    def find_problems(self, run: models.AgentRun, template: manifest.Template) -> list[errors.InvalidRunError]:
        """Everything for which the operator would not create them."""
        return manifest.find_problems(
            run, self.config, template=template, scripts=self.scripts, inherited=self.inherited
        )


# --------------------------------------------------------------------------------------------------------- command


def add_to(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type of sub-parsers private
    """Add the sub-command."""
    parser = commands.add_parser(
        "validate",
        help="name every problem of AgentRuns in files",
        description=textwrap.fill(
            "Name everything for which the API server would refuse an AgentRun, or the operator would not "
            "start it. No cluster is asked: a Secret or ConfigMap that a run names is looked at if it is in the input.",
            width=100,
        ),
        epilog="examples:\n"
        "  agentrun validate -f run.yaml\n"
        "  kustomize build . | agentrun validate -f - -o json\n\n"
        "Exit code: 0 all AgentRuns are valid, 1 one is not, 2 wrong usage or input that cannot be read.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    documents.add_input_to(parser)
    parser.add_argument(
        "-o", "--output", choices=("text", "yaml", "json"), default="text", help="one line a problem, or a list"
    )
    parser.set_defaults(run=_validate)


def _validate(arguments: argparse.Namespace) -> int:
    try:
        given = documents.read(arguments.files)
        around = read_surroundings(arguments, given)
    except (documents.InputError, errors.SettingsError) as e:
        return complain(arguments, e)
    if not arguments.settings and not around.config.image:  # the operator has its own default, which nobody told us
        config = around.config.model_copy(update={"image": _STAND_IN_IMAGE})
        around = dataclasses.replace(around, config=config)
    candidates = find_runs(given, namespace=arguments.namespace)
    if not candidates:
        return complain(arguments, "there is no AgentRun in the input")
    found = [(candidate, _examine(candidate, around)) for candidate in candidates]
    documents.write(sys.stdout, _report(found, arguments.output))
    return EXIT_INVALID if any(problems for _, problems in found) else 0


def complain(arguments: argparse.Namespace, why: object) -> int:
    """Say why the command cannot be done as it was called; returns the exit code."""
    for line in str(why).splitlines():
        documents.tell(f"agentrun {arguments.command}: {line}")
    return EXIT_USAGE


def read_surroundings(arguments: argparse.Namespace, given: Sequence[documents.Document]) -> Surroundings:
    """What the arguments say about operator and cluster. Raises InputError, and SettingsError for the environment."""
    sources = [*arguments.files, arguments.settings, arguments.own_pod, getattr(arguments, "set_status_of", None)]
    if sources.count(documents.STDIN) > 1:
        raise documents.InputError("standard input (-) can be read only once")
    config = _settings(arguments.settings) if arguments.settings else settings.from_environ(os.environ)
    inherited = inheritance.NOTHING
    if arguments.own_pod:
        pods = [d.body for d in documents.read([arguments.own_pod])]
        if len(pods) != 1 or pods[0].get("kind") != "Pod":
            raise documents.InputError(f"--own-pod {arguments.own_pod}: it has to hold one Pod and nothing else")
        namespace = _meta(pods[0]).get("namespace") or arguments.namespace
        config = config.model_copy(update={"pod_namespace": namespace})
        inherited = inheritance.parse_own_pod(pods[0], config)
    return Surroundings(
        config=config,
        inherited=inherited,
        scripts=manifest.Scripts(run_agent=entry.read("run-agent.sh"), bundle=entry.read("bundle.sh")),
        objects={
            (
                kind,
                shapes.text(_meta(d.body).get("namespace")) or arguments.namespace,
                shapes.text(_meta(d.body).get("name")),
            ): d.body
            for d in given
            if (kind := d.body.get("kind")) in ("Secret", "ConfigMap") and d.body.get("apiVersion") == "v1"
        },
    )


def _settings(path: str) -> settings.Settings:
    values = [d.body for d in documents.read([path])]
    if len(values) > 1:
        raise documents.InputError(f"--settings {path}: it has to hold one document")
    try:
        return settings.from_mapping(values[0] if values else {})
    except errors.SettingsError as e:
        raise documents.InputError(f"--settings {path}: {e}") from e


def _report(found: Sequence[tuple[Candidate, Sequence[Problem]]], output: str) -> str:
    if output == "text":
        return "".join(run.line(text) for run, problems in found for text in problems or ("valid",))
    items = [
        {
            "file": run.document.file,
            "document": run.document.index,
            "namespace": run.namespace,
            "name": run.name,
            "valid": not problems,
            "problems": [problem.as_json() for problem in problems],
        }
        for run, problems in found
    ]
    return documents.to_json(items) if output == "json" else documents.to_yaml(items)


# ---------------------------------------------------------------------------------------------------------- schema


def find_runs(given: Sequence[documents.Document], *, namespace: str) -> list[Candidate]:
    """The documents that are, or were meant to be, AgentRuns; ``namespace`` is for those that name none."""
    return [_candidate(document, namespace) for document in given if _is_meant(document.body)]


def _is_meant(body: Mapping[str, Any]) -> bool:
    kind, spec = body.get("kind"), body.get("spec")
    if isinstance(kind, str) and kind.lower() in {names.KIND.lower(), names.PLURAL}:
        return True
    nameless = kind is None and isinstance(spec, Mapping) and "companyId" in spec
    return nameless or body.get("apiVersion") == models.AgentRun.API_VERSION


def _candidate(document: documents.Document, namespace: str) -> Candidate:
    body, odd = documents.as_meant(document.body)
    problems = [
        Problem(path=path, message=f"YAML takes the bare key {key.written} for {key}; write '{key.written}' in quotes")
        for path, key in odd
    ]
    problems.extend(_type_problems(body))
    body = {key: value for key, value in body.items() if key != "status"}  # the API server ignores it on creation
    meta = _meta(body)
    problems += _metadata_problems(body.get("metadata"), meta)
    generate = shapes.text(meta.get("generateName"))
    body["metadata"] = {
        **meta,
        "name": shapes.text(meta.get("name")) or (generate and generate + _GENERATED),
        "namespace": shapes.text(meta.get("namespace")) or namespace,
        "uid": shapes.text(meta.get("uid")) or NO_UID,
        "annotations": {k: v for k, v in shapes.mapping(meta.get("annotations")).items() if isinstance(v, str)},
    }
    spec = body.get("spec")
    if body.get("apiVersion") == models.AgentRun.API_VERSION or (isinstance(spec, Mapping) and "companyId" in spec):
        problems += [_from_sentence(sentence) for sentence in models.problems(body)]
    return Candidate(document=document, body=body, problems=tuple(problems))


def _type_problems(body: Mapping[str, Any]) -> Iterator[Problem]:
    for field, wanted in (("apiVersion", models.AgentRun.API_VERSION), ("kind", names.KIND)):
        value = body.get(field)
        if value != wanted:
            yield Problem(path=field, message=f"must be {wanted}, and is {'missing' if value is None else repr(value)}")
    for field in body:
        if field not in _BODY_FIELDS:
            yield Problem(path=field, message="there is no such field")


def _metadata_problems(given: object, meta: Mapping[str, Any]) -> Iterator[Problem]:
    """``given`` is the metadata as it was written, ``meta`` the same if it is a mapping, else empty."""
    if given is not None and not isinstance(given, Mapping):
        yield Problem(path="metadata", message="must be a mapping with a name")
        return
    if not meta.get("name") and not meta.get("generateName"):
        yield Problem(path="metadata.name", message="is missing; give the run a name, or a generateName")
    checks: tuple[tuple[str, Callable[[str], object], str], ...] = (
        ("name", _NAME.fullmatch, f"must be an object's name: {_OF_NAMES}"),
        ("generateName", lambda text: _NAME.fullmatch(text + _GENERATED), f"must begin an object's name: {_OF_NAMES}"),
        ("namespace", _NAMESPACE.fullmatch, "must be a namespace's name: small letters, digits and '-'"),
        ("uid", re.compile(names.ID_PATTERN).fullmatch, "must be a UID; leave it out"),
    )
    for field, fits, sentence in checks:
        value = meta.get(field) or ""
        if value and not (isinstance(value, str) and fits(value)):
            yield Problem(path=f"metadata.{field}", message=f"{sentence}; it is {value!r}")
    for field in meta:
        if field not in _META_FIELDS:
            yield Problem(path=f"metadata.{field}", message="there is no such field")
    for field in ("labels", "annotations"):
        for key, value in shapes.mapping(meta.get(field)).items():
            if not isinstance(value, str):
                yield Problem(path=f"metadata.{field}.{key}", message="must be text; write it in quotes")


# ------------------------------------------------------------------------------------------------------ acceptance


def _examine(candidate: Candidate, around: Surroundings) -> list[Problem]:
    """Every problem: those of the schema and, if the run can be read at all, those that the operator would find."""
    try:
        run = models.AgentRun.parse(candidate.body)
    except errors.InvalidRunError:
        return list(candidate.problems)
    found = [*candidate.problems, *map(problem_of, _missing_keys(run, around.objects))]
    template = _STAND_IN
    try:
        template = read_template(run, around.objects) or _STAND_IN
    except errors.InvalidRunError as e:
        found.append(problem_of(e))
    found.extend(map(problem_of, around.find_problems(run, template)))
    return list(dict.fromkeys(found))


def read_template(run: models.AgentRun, objects: _Objects) -> manifest.Template | None:
    """The main template of the run's prompt; None if the Secret or ConfigMap with it is not among ``objects``.

    Raises InvalidRunError if that has no such key, or no text behind it.
    """
    reference = manifest.prompt_reference(run)
    if reference is None:
        return manifest.read_template(run)
    kind, path, ref = reference
    value = _value(run, objects, kind=kind, path=path, ref=ref)
    return None if value is None else manifest.read_template(run, value)


def _missing_keys(run: models.AgentRun, objects: _Objects) -> Iterator[errors.InvalidRunError]:
    """References whose object is among ``objects`` and does not hold what they name: the pod could not start."""
    references = [("Secret", "spec.apiTokenSecretRef", run.spec.api_token_secret_ref)]
    for index, variable in enumerate(run.spec.job.env):
        for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            ref = shapes.mapping(shapes.mapping(variable.value_from).get(field))
            name, key = ref.get("name"), ref.get("key")
            if isinstance(name, str) and isinstance(key, str) and ref.get("optional") is not True:
                path = f"spec.job.env[{index}].valueFrom.{field}"
                references.append((kind, path, models.KeyRef.model_construct(name=name, key=key)))
    for kind, path, reference in references:
        try:
            if reference is not None:
                _value(run, objects, kind=kind, path=path, ref=reference)
        except errors.InvalidRunError as e:
            yield errors.InvalidRunError(errors.ErrorCode.POD_CONFIG_ERROR, str(e))


def _value(run: models.AgentRun, objects: _Objects, *, kind: str, path: str, ref: models.KeyRef) -> bytes | None:
    """What the reference names; None if the object is not there. Raises InvalidRunError if its key is not."""
    body = objects.get((kind, run.metadata.namespace, ref.name))
    if body is None:
        return None
    try:
        return documents.read_key(body, ref.key)
    except ValueError as e:
        raise _invalid(f"{path}: {kind} {ref.name}: {e}.") from e


# ----------------------------------------------------------------------------------------------------------- words


def problem_of(error: errors.InvalidRunError) -> Problem:
    """The operator's refusal as a problem; its path is the field that its sentence begins with."""
    sentence = str(error)
    path, rest = "", sentence
    if sentence.startswith("spec."):
        first, _, rest = sentence.partition(" ")
        path = first.rstrip(":,;")
    return Problem(path=path, message=rest, code=error.code.value)


def _from_sentence(sentence: str) -> Problem:
    path, _, message = sentence.partition(": ")
    return Problem(path=path, message=message)


def _invalid(sentence: str) -> errors.InvalidRunError:
    return errors.InvalidRunError(errors.ErrorCode.PROMPT_INVALID, sentence)


def _meta(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return shapes.mapping(body.get("metadata"))
