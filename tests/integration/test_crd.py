"""The CRD at a real API server: what it lets in and with which sentence it refuses, what may change, what people see.

The API server and the pydantic models judge the same objects. They are made from one source, and where one of them lets
through what the other refuses, a run would fail for a reason that nobody can see before it starts.
"""

import concurrent.futures
import copy
import http.client
import json
import re
import ssl
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import yaml

from agentrun_operator import errors, models
from hack import playground
from tests import builders, harness

MISSING = object()
LONG_ID = "a" * 63
WHY_IDS = "only letters, digits and hyphens are allowed, because the id becomes part of names and paths"
MODEL = "us.anthropic.claude-sonnet-4-5@20250929[1m]:0/x_y"


class Api:
    """One connection to the API server, with the administrator's rights: a request takes a millisecond or two."""

    def __init__(self, kubectl: playground.Kubectl) -> None:
        config = json.loads(kubectl.run("config", "view", "--raw", "--minify", "-o", "json"))
        cluster = config["clusters"][0]["cluster"]
        self._token = config["users"][0]["user"]["token"]
        trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
        host = cluster["server"].removeprefix("https://")
        self._connection = http.client.HTTPSConnection(host, context=trust, timeout=30)

    def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> tuple[int, Any]:
        """Status and answer of one request below the namespaces."""
        self._connection.request(
            method,
            f"/apis/paperclip.io/v1alpha1/namespaces/{path}",
            body=None if body is None else json.dumps(body),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": kind},
        )
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def patch(self, path: str, patch: Mapping[str, Any], *, dry_run: bool = True) -> tuple[int, Any]:
        """Merge ``patch`` into an object below the namespaces."""
        query = "fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.call("PATCH", f"{path}?{query}", patch, "application/merge-patch+json")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@pytest.fixture(scope="module")
def api(kubectl: playground.Kubectl) -> Iterator[Api]:
    """The API server."""
    connection = Api(kubectl)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def namespace(kubectl: playground.Kubectl) -> Iterator[str]:
    """A namespace that no operator watches."""
    name = f"crd-{uuid.uuid4().hex[:8]}"
    kubectl.run("create", "namespace", name)
    yield name
    kubectl.run("delete", "namespace", name, "--wait=false")


# --- what is let in, and what is refused ---------------------------------------------------------------------------


class Row(NamedTuple):
    """A small valid spec with ``value`` at ``path``.

    ``says`` is what the API server's sentence contains, () if it accepts. ``at`` is the field that it names if that is
    not ``path``. ``models_agree`` False: the models judge the other way, for the reason that the table gives.
    """

    path: str
    value: Any
    says: tuple[str, ...] = ()
    at: str = ""
    models_agree: bool = True

    @property
    def field(self) -> str:
        """The field at fault, as the API server writes it."""
        return f"spec.{self.at or self.path}"

    @property
    def label(self) -> str:
        """The row's name in a report."""
        text = "missing" if self.value is MISSING else json.dumps(self.value)
        return f"{self.path}={text}" if len(text) < 40 else f"{self.path}={text[:12]}...{len(text)}"

    def build(self, namespace: str) -> dict[str, Any]:
        """The object."""
        body = builders.agent_run(namespace=namespace)
        *parents, last = self.path.split(".")
        place = body["spec"]
        for name in parents:
            place = place.setdefault(name, {"id": "s-1"} if name == "session" else {})
        if self.value is MISSING:
            place.pop(last, None)
        else:
            place[last] = self.value
        return body


ACCEPTED = (
    *(Row(path, LONG_ID) for path in ("companyId", "agent.id", "runId", "taskId")),
    *(Row(path, "-") for path in ("companyId", "agent.id", "runId", "taskId")),
    Row("runId", MISSING),
    Row("runId", "0e8e40ba-0000-4000-8000-00AA00bb00Cc"),
    Row("taskId", "--help"),
    Row("agent.name", ""),
    Row("agent.name", "é" * 253),  # characters, not bytes
    Row("agent.name", "😀" * 253),
    Row("agent.name", "../\u202e\n"),
    Row("session.id", "a" * 128),
    Row("session.cwd", "/" + "a" * 4095),
    Row("session.cwd", "/ä b/../c\n"),
    Row("prompt.text", "a"),
    Row("prompt.text", " \n\t"),  # blank: refused with prompt_invalid when it is assembled
    Row("prompt.text", "a" * 1_048_576),
    Row("prompt.text", "/clear {{agent.id}} \u0000\u001b[2J 😀"),
    Row("claude", {}),
    Row("claude.model", MODEL),
    Row("claude.model", "a" * 256),
    *(Row("claude.effort", value) for value in ("low", "medium", "high", "xhigh", "max")),
    Row("claude.maxTurns", 1),
    Row("claude.maxTurns", 100_000),
    Row("claude.maxTurns", 5.0),  # JSON knows one kind of number
    Row("claude.maxBudgetUSD", "0"),
    Row("claude.maxBudgetUSD", "007.50"),
    Row("claude.maxBudgetUSD", "999999999.999999"),
    Row("claude.maxRetries", 0),
    Row("claude.maxRetries", 100),
    Row("claude.apiTimeoutSeconds", 1),
    Row("claude.apiTimeoutSeconds", 86_400),
    Row("claude.skipPermissions", value=False),
    Row("job.image", "a"),
    Row("job.image", "a" * 512),
    *(Row("job.imagePullPolicy", value) for value in ("Always", "IfNotPresent", "Never")),
    Row("job.imagePullSecrets", [{"name": "registry"}] * 16),
    Row("job.serviceAccountName", "a" * 253),
    Row("job.env", [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}] * 256),
    Row("job.envFrom", [{"secretRef": {"name": "s"}}] * 64),
    Row("job.resources", {"limits": {"cpu": 1, "memory": "2Gi"}}),
    Row("job.nodeSelector", {f"label-{n}": "" for n in range(64)}),
    Row("job.tolerations", [{"operator": "Exists"}] * 64),
    Row("job.workingDir", "/"),
    Row("job.workingDir", "/" + "a" * 4095),
    Row("job.podTemplate", {"spec": {"hostAliases": [{"ip": "192.0.2.1", "unknown": [1, {"x": None}]}]}}),
    Row("timeouts.timeoutSeconds", 0),
    Row("timeouts.timeoutSeconds", 31_536_000),
    Row("timeouts.pendingSeconds", 1),
    Row("timeouts.pendingSeconds", 604_800),
    Row("timeouts.resultGraceSeconds", 1),
    Row("timeouts.resultGraceSeconds", 86_400),
    Row("retention.jobTTLSecondsAfterFinished", 0),
    Row("retention.jobTTLSecondsAfterFinished", 31_536_000),
    Row("retention.retainJob", value=True),
    Row("cancel", value=True),  # born cancelled
    Row("session", None),
    Row("claude.model", None),
    # The API server drops a null and fills in the default before it stores the object; the models never see one.
    *(Row(path, None, models_agree=False) for path in ("claude", "claude.maxTurns", "job", "job.env", "cancel")),
)

REFUSED = (
    *(
        Row(path, value, ("should match '^[a-zA-Z0-9-]+$'", WHY_IDS))
        for path, value in (
            ("companyId", ".."),
            ("companyId", "../../etc"),
            ("companyId", "acmé"),
            ("companyId", " acme"),
            ("agent.id", "a/b"),
            ("agent.id", "a\\b"),
            ("agent.id", "..%2f.."),
            ("agent.id", "a_b"),
            ("agent.id", "a\n"),  # a $ that also matched before a last newline would let it in
            ("agent.id", "a\u0000b"),
            ("runId", "a.b"),
            ("runId", "~root"),
            ("runId", "a:0"),
            ("taskId", "٣"),  # a digit, but no ASCII one
            ("taskId", "ａ"),  # noqa: RUF001 - a full-width letter on purpose
            ("taskId", "a\u200db"),
        )
    ),
    *(Row(path, "", ("at least 1 chars long", WHY_IDS)) for path in ("companyId", "agent.id", "runId", "taskId")),
    *(Row(path, LONG_ID + "a", ("Too long", "63")) for path in ("companyId", "agent.id", "runId", "taskId")),
    *(Row(path, MISSING, ("Required value",)) for path in ("companyId", "agent", "agent.id", "prompt", "prompt.text")),
    *(Row(path, None, ("Required value",)) for path in ("companyId", "agent", "agent.id", "prompt", "prompt.text")),
    Row("session", {"cwd": "/work"}, ("Required value",), at="session.id"),
    *(Row(path, 7, ("must be of type string",)) for path in ("companyId", "agent.id", "runId", "taskId", "agent.name")),
    Row("agent", "ada", ("must be of type object",)),
    Row("agent", ["ada"], ("must be of type object",)),
    Row("agent.name", "é" * 254, ("Too long", "253")),
    Row("session", "s-1", ("must be of type object",)),
    Row("session.id", value=True, says=("must be of type string",)),
    Row("session.id", "a" * 129, ("Too long", "128")),
    *(
        Row(
            "session.id",
            value,
            ("should match", "must be a session id as status.session.id gives it: letters, digits and hyphens"),
        )
        for value in ("", "--help", "a b", "../s", "a\n")
    ),
    Row("session.cwd", 1, ("must be of type string",)),
    *(
        Row("session.cwd", value, ("should match '^/", "must be an absolute path: it has to begin with /"))
        for value in ("", "work", "./work", "~", " /work", "/a\u0000b")
    ),
    Row("session.cwd", "/" + "a" * 4096, ("Too long", "4096")),
    Row("prompt", "Do it.", ("must be of type object",)),
    Row("prompt.text", "", ("at least 1 chars long",)),
    Row("prompt.text", ["Do it."], ("must be of type string",)),
    Row("prompt.text", "a" * 1_048_577, ("Too long", "1048576")),
    Row("claude", "opus", ("must be of type object",)),
    Row("claude.model", 4, ("must be of type string",)),
    *(
        Row(
            "claude.model",
            value,
            ("should match", "must be a model id or alias such as sonnet: letters, digits and any of . _ : / @ [ ] -"),
        )
        for value in ("", "--help", "-p", "a b", "a;b", "ä")
    ),
    Row("claude.model", "a" * 257, ("Too long", "256")),
    Row("claude.effort", 1, ("must be of type string",)),
    *(
        Row("claude.effort", value, ("Unsupported value", '"low", "medium", "high", "xhigh", "max"'))
        for value in ("", "High", "ultra")
    ),
    Row("claude.maxTurns", 0, ("greater than or equal to 1",)),
    Row("claude.maxTurns", 100_001, ("less than or equal to 100000",)),
    Row("claude.maxTurns", 1.5, ("must be of type integer",)),
    Row("claude.maxTurns", 2**63, ("less than or equal to 100000",)),
    Row("claude.maxBudgetUSD", 2.5, ("must be of type string",)),
    *(
        Row(
            "claude.maxBudgetUSD",
            value,
            ("should match '^[0-9]{1,9}(\\.[0-9]{1,6})?$'", "must be a decimal number such as 2.50, in quotes"),
        )
        for value in ("", "-1", "+1", "2.", ".5", "1e3", "1,5", "$5", " 1", "NaN", "1000000000", "2.1234567", "٣")
    ),
    Row("claude.maxBudgetUSD", "1" * 17, ("Too long", "16")),
    Row("claude.maxRetries", -1, ("greater than or equal to 0",)),
    Row("claude.maxRetries", 101, ("less than or equal to 100",)),
    Row("claude.apiTimeoutSeconds", 0, ("greater than or equal to 1",)),
    Row("claude.apiTimeoutSeconds", 86_401, ("less than or equal to 86400",)),
    Row("job", [], ("must be of type object",)),
    Row("job.image", "", ("at least 1 chars long",)),
    Row("job.image", "a" * 513, ("Too long", "512")),
    *(
        Row(path, 1, ("must be of type string",))
        for path in ("job.image", "job.imagePullPolicy", "job.serviceAccountName", "job.workingDir")
    ),
    Row("job.imagePullPolicy", "Sometimes", ("Unsupported value", '"Always", "IfNotPresent", "Never"')),
    *(
        Row(f"job.{field}", [{}] * (most + 1), ("Too many", f"at most {most} items"))
        for field, most in (("imagePullSecrets", 16), ("env", 256), ("envFrom", 64), ("tolerations", 64))
    ),
    *(
        Row(f"job.{field}", "A=b", ("must be of type array",))
        for field in ("imagePullSecrets", "env", "envFrom", "tolerations")
    ),
    *(
        Row(f"job.{field}", [{}, "A=b"], ("must be of type object",), at=f"job.{field}[1]")
        for field in ("imagePullSecrets", "env", "envFrom", "tolerations")
    ),
    Row("job.serviceAccountName", "a" * 254, ("Too long", "253")),
    *(Row(f"job.{field}", "x", ("must be of type object",)) for field in ("resources", "nodeSelector", "podTemplate")),
    Row("job.nodeSelector", {f"label-{n}": "" for n in range(65)}, ("Too many", "at most 64 items")),
    Row("job.nodeSelector", {"gpu": 1}, ("must be of type string",), at="job.nodeSelector.gpu"),
    *(
        Row("job.workingDir", value, ("should match '^/", "must be an absolute path: it has to begin with /"))
        for value in ("", "work", "../x")
    ),
    Row("job.workingDir", "/" + "a" * 4096, ("Too long", "4096")),
    *(Row(path, "x", ("must be of type object",)) for path in ("timeouts", "retention")),
    *(
        Row(path, "10m", ("must be of type integer",))
        for path in (
            "claude.maxRetries",
            "claude.apiTimeoutSeconds",
            "timeouts.timeoutSeconds",
            "timeouts.pendingSeconds",
            "timeouts.resultGraceSeconds",
            "retention.jobTTLSecondsAfterFinished",
        )
    ),
    Row("timeouts.timeoutSeconds", -1, ("greater than or equal to 0",)),
    Row("timeouts.timeoutSeconds", 31_536_001, ("less than or equal to 31536000",)),
    Row("timeouts.pendingSeconds", 0, ("greater than or equal to 1",)),
    Row("timeouts.pendingSeconds", 604_801, ("less than or equal to 604800",)),
    Row("timeouts.resultGraceSeconds", 0, ("greater than or equal to 1",)),
    Row("timeouts.resultGraceSeconds", 86_401, ("less than or equal to 86400",)),
    Row("retention.jobTTLSecondsAfterFinished", -1, ("greater than or equal to 0",)),
    Row("retention.jobTTLSecondsAfterFinished", 31_536_001, ("less than or equal to 31536000",)),
    *(
        Row(path, "perhaps", ("must be of type boolean",))
        for path in ("claude.skipPermissions", "retention.retainJob", "cancel")
    ),
    # The models take "5" for 5 and "yes" for true, as pydantic does; nothing of the kind passes the API server.
    Row("claude.maxTurns", "5", ("must be of type integer",), models_agree=False),
    Row("cancel", "yes", ("must be of type boolean",), models_agree=False),
    Row("claude.skipPermissions", 1, ("must be of type boolean",), models_agree=False),
    # A field that the models do not know may come from a later version of the API: they leave it alone.
    Row("somethingNew", 1, ("unknown field",), models_agree=False),
    Row("claude.maxturns", 5, ("unknown field",), models_agree=False),
    Row("agent.Id", "ada", ("unknown field",), models_agree=False),
    Row("job.restartPolicy", "Always", ("unknown field",), models_agree=False),
)


def judge_by_server(api: Api, row: Row, namespace: str) -> tuple[int, Any]:
    """What the API server says to the object, without storing it."""
    path = f"{namespace}/agentruns?dryRun=All&fieldValidation=Strict"
    return api.call("POST", path, row.build(namespace))


def judge_by_models(body: Mapping[str, Any]) -> str:
    """The sentence with which the models refuse the object; "" if they accept it."""
    try:
        models.AgentRun.parse(body)
    except errors.InvalidRunError as e:
        return str(e)
    return ""


@pytest.mark.parametrize("row", ACCEPTED, ids=lambda row: row.label)
def test_what_is_let_in(api: Api, namespace: str, row: Row) -> None:
    """Both judges accept it; and the models read what the API server made of it."""
    status, answer = judge_by_server(api, row, namespace)

    assert status == 201, answer["message"]
    assert judge_by_models(answer) == ""
    assert (judge_by_models(row.build(namespace)) == "") == row.models_agree


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.label)
def test_what_is_refused_and_how(api: Api, namespace: str, row: Row) -> None:
    """Both judges refuse it and name the field; the API server's sentence says what it should be."""
    status, answer = judge_by_server(api, row, namespace)

    assert status in {400, 422}
    assert row.field in answer["message"]
    assert [part for part in row.says if part not in answer["message"]] == []
    refusal = judge_by_models(row.build(namespace))
    if row.models_agree:
        assert refusal.startswith(re.sub(r"\[(\d+)\]", r".\1", row.field) + ":")
    else:
        assert refusal == ""


def test_no_row_stands_twice() -> None:
    """A table that repeats itself hides what it lacks."""
    labels = [row.label for row in (*ACCEPTED, *REFUSED)]
    assert sorted(labels) == sorted(set(labels))
    assert len(labels) >= 60


_PHRASES = {
    "type": "must be of type {}",
    "enum": "Unsupported value",
    "pattern": "should match",
    "minLength": "at least {} chars long",
    "maxLength": "Too long",
    "minimum": "greater than or equal to {}",
    "maximum": "less than or equal to {}",
    "maxItems": "Too many",
    "maxProperties": "Too many",
}
_CONSTRAINTS_CHECKED_ELSEWHERE = {"default", "description", "properties", "items", "additionalProperties", "required"}


def schema(part: str) -> dict[str, Any]:
    """The schema of ``spec`` or ``status`` in the CRD."""
    [version] = yaml.safe_load(playground.CRD.read_text())["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"]["properties"][part])


def fields(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every field below ``node``, by its path; items of a list have the list's path."""
    for name, child in node.get("properties", {}).items():
        where = f"{path}.{name}".removeprefix(".")
        yield where, child
        yield from fields(child.get("items", child), where)


def rules() -> Iterator[tuple[str, str]]:
    """(path, part of the sentence) of every rule that the CRD has for a field of ``spec``."""
    for path, node in fields(schema("spec")):
        yield from ((path, phrase.format(node[key])) for key, phrase in _PHRASES.items() if key in node)
        yield from ((path, rule["message"]) for rule in node.get("x-kubernetes-validations", ()))
    for path, node in (("", schema("spec")), *fields(schema("spec"))):
        yield from ((f"{path}.{name}".removeprefix("."), "Required value") for name in node.get("required", ()))


def test_every_rule_of_the_crd_has_its_refusal() -> None:
    """Whoever adds a rule adds a row that breaks it."""
    known = {"x-kubernetes-validations", "x-kubernetes-preserve-unknown-fields", *_PHRASES}
    for path, node in fields(schema("spec")):
        assert set(node) - known <= _CONSTRAINTS_CHECKED_ELSEWHERE, f"{path} has a kind of rule that no row can break"

    untried = [
        (path, says)
        for path, says in rules()
        if not any(row.field == f"spec.{path}" and any(says in part for part in row.says) for row in REFUSED)
    ]

    assert untried == []


def test_every_field_of_the_crd_is_let_in_once() -> None:
    """Whoever adds a field adds a row that uses it."""
    used = {row.path for row in ACCEPTED if row.value is not None and row.value is not MISSING}
    leaves = {path for path, node in fields(schema("spec")) if "properties" not in node}

    assert leaves - used == set()


# --- what may change -----------------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "companyId": "acme",
    "agent": {"id": "coder", "name": "Coder"},
    "runId": "run-1",
    "taskId": "task-1",
    "session": {"id": "s-1", "cwd": "/work"},
    "prompt": {"text": "Do it."},
    "claude": {"model": "opus", "maxTurns": 5},
    "job": {"image": "a", "env": [{"name": "A", "value": "b"}], "nodeSelector": {"gpu": "yes"}},
    "timeouts": {"pendingSeconds": 5},
    "retention": {"retainJob": True},
}
BARE: dict[str, Any] = {key: FULL[key] for key in ("companyId", "prompt")} | {"agent": {"id": "coder"}}


@pytest.fixture(scope="module")
def stored(api: Api, namespace: str) -> Mapping[str, Any]:
    """AgentRuns that are there: with every field, with the required ones only, and one that is being cancelled."""
    specs = {"full": FULL, "bare": BARE, "stopping": {**BARE, "cancel": True}}
    created = {}
    for name, spec in specs.items():
        body = {**builders.agent_run(name=name, namespace=namespace), "spec": copy.deepcopy(spec)}
        status, created[name] = api.call("POST", f"{namespace}/agentruns?fieldValidation=Strict", body)
        assert status == 201, created[name]
    return created


# (stored object, change to its spec): changed, removed, and added where it may be absent.
FIXED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("full", {"companyId": "other"}),
    ("full", {"agent": {"id": "other"}}),
    ("full", {"agent": {"name": "Other"}}),
    ("full", {"agent": {"name": None}}),
    ("bare", {"agent": {"name": "Coder"}}),
    ("full", {"runId": "run-2"}),
    ("full", {"runId": None}),
    ("bare", {"runId": "run-1"}),
    ("full", {"taskId": "task-2"}),
    ("full", {"taskId": None}),
    ("bare", {"taskId": "task-1"}),
    ("full", {"session": {"id": "s-2"}}),
    ("full", {"session": {"cwd": None}}),
    ("full", {"session": None}),
    ("bare", {"session": {"id": "s-1"}}),
    ("full", {"prompt": {"text": "Do something else."}}),
    ("full", {"claude": {"model": "haiku"}}),
    ("full", {"claude": {"model": None}}),
    ("full", {"claude": None}),  # comes back with the defaults, which are others
    ("bare", {"claude": {"maxBudgetUSD": "1"}}),
    ("full", {"job": {"env": []}}),
    ("full", {"job": {"nodeSelector": {"gpu": None}}}),
    ("full", {"job": None}),
    ("bare", {"job": {"podTemplate": {"spec": {"hostNetwork": True}}}}),
    ("full", {"timeouts": {"pendingSeconds": 6}}),
    ("full", {"timeouts": None}),
    ("bare", {"timeouts": {"timeoutSeconds": 60}}),
)


@pytest.mark.parametrize(
    ("name", "patch"),
    FIXED,
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_what_is_fixed_once_it_is_created(
    api: Api, namespace: str, stored: Mapping[str, Any], name: str, patch: dict[str, Any]
) -> None:
    """Changing, adding and removing are refused, with the field and the way out."""
    assert name in stored
    [field] = patch

    status, answer = api.patch(f"{namespace}/agentruns/{name}", {"spec": patch})

    assert status == 422
    assert f"spec.{field} cannot be changed after creation; create a new AgentRun instead" in answer["message"]
    assert answer["message"].count("create a new AgentRun instead") == 1


def test_every_group_that_is_fixed_is_tried() -> None:
    """Whoever fixes a field, or adds one that may change, says so here."""
    tried = {field for _, patch in FIXED for field in patch}
    messages = [rule["message"] for rule in schema("spec")["x-kubernetes-validations"]]
    fixed = {m.split()[0].removeprefix("spec.") for m in messages if "cannot be changed" in m}
    assert tried == fixed
    assert set(schema("spec")["properties"]) - fixed == {"cancel", "retention"}


@pytest.mark.parametrize("field", ["companyId", "agent", "prompt"])
def test_what_is_required_cannot_be_removed(api: Api, namespace: str, stored: Mapping[str, Any], field: str) -> None:
    """Neither at creation nor later."""
    assert field in stored["full"]["spec"]
    status, answer = api.patch(f"{namespace}/agentruns/full", {"spec": {field: None}})
    assert status == 422
    assert f"spec.{field}: Required value" in answer["message"]


@pytest.mark.parametrize(
    ("name", "patch"),
    [
        ("bare", {"spec": {"cancel": True}}),
        ("full", {"spec": {"cancel": True}}),
        ("stopping", {"spec": {"cancel": True}}),
        ("full", {"spec": {"retention": {"retainJob": False}}}),
        ("full", {"spec": {"retention": None}}),
        ("bare", {"spec": {"retention": {"jobTTLSecondsAfterFinished": 5}}}),
        ("stopping", {"spec": {"retention": {"retainJob": True}}}),
        ("bare", {"spec": {"claude": {"maxTurns": 1000}}}),  # what is there already
        ("bare", {"spec": {"claude": None}}),
        ("full", {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_what_may_change(api: Api, namespace: str, stored: Mapping[str, Any], name: str, patch: dict[str, Any]) -> None:
    """Cancelling, what is kept after the end, labels and annotations; and a patch that changes nothing."""
    assert name in stored
    status, answer = api.patch(f"{namespace}/agentruns/{name}", patch)
    assert status == 200, answer["message"]


@pytest.mark.parametrize("value", [False, None])
def test_a_cancellation_cannot_be_taken_back(
    api: Api, namespace: str, stored: Mapping[str, Any], value: object
) -> None:
    """Neither by setting it to false nor by removing it."""
    assert stored["stopping"]["spec"]["cancel"] is True
    status, answer = api.patch(f"{namespace}/agentruns/stopping", {"spec": {"cancel": value}})
    assert status == 422
    assert "spec.cancel cannot be taken back; create a new AgentRun instead" in answer["message"]


def test_a_change_is_checked_like_a_new_object(api: Api, namespace: str, stored: Mapping[str, Any]) -> None:
    """What may change may still not become nonsense."""
    assert "bare" in stored
    status, answer = api.patch(f"{namespace}/agentruns/bare", {"spec": {"retention": {"retainJob": "no"}}})
    assert status == 422
    assert "spec.retention.retainJob" in answer["message"]


def test_the_api_server_fills_in_the_defaults(stored: Mapping[str, Any]) -> None:
    """Whoever reads the object back sees what will be done, and the models' own defaults are the same."""
    spec = stored["bare"]["spec"]
    assert spec == {
        **BARE,
        "claude": {"maxTurns": 1000, "skipPermissions": True},
        "job": {"imagePullPolicy": "IfNotPresent"},
        "timeouts": {"timeoutSeconds": 0, "pendingSeconds": 600, "resultGraceSeconds": 30},
        "retention": {"jobTTLSecondsAfterFinished": 300, "retainJob": False},
        "cancel": False,
    }
    assert models.AgentRunSpec.model_validate(spec) == models.AgentRunSpec.model_validate(BARE)


# --- spec and status -----------------------------------------------------------------------------------------------

STATUS: dict[str, Any] = {
    "phase": "Failed",
    "reason": "RateLimited",
    "message": "The API's rate limit was hit.",
    "model": "claude-opus-4",
    "turns": 7,
    "costUSD": "0.125",
    "session": {"id": "5e55"},
    "job": {"name": "ac-coder-run-1-abcdef", "uid": "u"},
    "nodeName": "node-1",
    "exit": {"code": 1},
    "lastOutputTime": "2026-01-02T03:04:05Z",
}


def test_users_cannot_write_the_status_with_the_spec(api: Api, namespace: str, stored: Mapping[str, Any]) -> None:
    """Neither when they create the object nor when they change it: the status is the operator's."""
    assert "bare" in stored
    body = builders.agent_run(namespace=namespace, status={"phase": "Succeeded"})
    created = api.call("POST", f"{namespace}/agentruns?dryRun=All", body)
    changed = api.patch(f"{namespace}/agentruns/bare", {"status": {"phase": "Succeeded"}})

    assert (created[0], changed[0]) == (201, 200)
    assert created[1].get("status") is changed[1].get("status") is None


def test_the_status_cannot_smuggle_in_a_spec(api: Api, namespace: str, stored: Mapping[str, Any]) -> None:
    """A write through the status subresource changes the status and nothing else."""
    patch = {"spec": {"cancel": True}, "status": {"phase": "Running"}}
    status, changed = api.patch(f"{namespace}/agentruns/bare/status", patch)

    assert status == 200
    assert changed["status"] == {"phase": "Running"}
    assert changed["spec"] == stored["bare"]["spec"]


# --- what people see -----------------------------------------------------------------------------------------------

COLUMNS = {
    "NAME": "full",
    "PHASE": "Failed",
    "REASON": "RateLimited",
    "AGENT": "coder",
    "MODEL": "claude-opus-4",
    "TURNS": "7",
    "COST": "0.125",
    "AGE": r"\d+s",
}
WIDE_COLUMNS = {
    "SESSION": "5e55",
    "JOB": "ac-coder-run-1-abcdef",
    "NODE": "node-1",
    "EXIT": "1",
    "LAST-OUTPUT": r"\w+",
    "COMPANY": "acme",
}


@pytest.mark.parametrize(("options", "columns"), [((), COLUMNS), (("-o", "wide"), {**COLUMNS, **WIDE_COLUMNS})])
def test_kubectl_shows_what_matters(
    api: Api,
    kubectl: playground.Kubectl,
    namespace: str,
    stored: Mapping[str, Any],
    options: tuple[str, ...],
    columns: Mapping[str, str],
) -> None:
    """``kubectl get agentruns`` fits on a screen; ``-o wide`` has the rest."""
    assert "full" in stored
    status, _ = api.patch(f"{namespace}/agentruns/full/status", {"status": STATUS}, dry_run=False)
    assert status == 200

    header, line = kubectl.run("get", harness.RUNS, "full", "-n", namespace, *options).splitlines()

    assert header.split() == list(columns)
    cells = line.split()
    assert len(cells) == len(columns)
    assert [c for c, want in zip(cells, columns.values(), strict=True) if not re.fullmatch(want, c)] == []


@pytest.mark.parametrize("word", ["agentruns", "agentrun", "arun", "paperclip", "agentruns.paperclip.io"])
def test_kubectl_knows_the_words(
    kubectl: playground.Kubectl, namespace: str, stored: Mapping[str, Any], word: str
) -> None:
    """Plural, singular, short name, category and the full name."""
    found = kubectl.run("get", word, "-n", namespace, "-o", "name").split()
    assert found == [f"agentrun.paperclip.io/{name}" for name in sorted(stored)]


@pytest.mark.parametrize("part", ["spec", "status"])
def test_kubectl_explains_every_field(kubectl: playground.Kubectl, part: str) -> None:
    """At any depth, with the description that the models give."""
    known = {f"{part}.{path}": node["description"] for path, node in fields(schema(part))} | {
        part: schema(part)["description"]
    }

    def explain(path: str) -> str:
        text = kubectl.run("explain", f"{harness.RUNS}.{path}")
        return " ".join(text.partition("DESCRIPTION:")[2].split())

    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        explained = dict(zip(known, pool.map(explain, known), strict=True))

    assert [path for path, text in known.items() if not explained[path].startswith(" ".join(text.split()))] == []
    assert len(known) > 30
