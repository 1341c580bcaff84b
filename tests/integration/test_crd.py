"""The CRD at a real API server: what it lets in and with which sentence it refuses, what may change, what people see.

The API server and the pydantic models judge the same objects. They are made from one source, and where one of them lets
through what the other refuses, a run would fail for a reason that nobody can see before it starts. The table of objects
is tests/api_matrix.py; tests/unit/test_models.py proves that the table is complete, and what the models say to it.
"""

import concurrent.futures
import copy
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from agentrun_operator import errors, models
from hack import playground
from hack.generate import examples
from tests import api_matrix, apiserver, builders, harness


class Api(apiserver.Connection):
    """AgentRuns at the API server."""

    def call(self, method: str, path: str, body: object = None, kind: str = "application/json") -> tuple[int, Any]:
        """Status and answer of one request below the namespaces."""
        status, answer, _ = self.request(method, f"/apis/paperclip.io/v1alpha1/namespaces/{path}", body, kind)
        return status, answer

    def patch(self, path: str, patch: Mapping[str, Any], *, dry_run: bool = True) -> tuple[int, Any]:
        """Merge ``patch`` into an object below the namespaces."""
        query = "fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.call("PATCH", f"{path}?{query}", patch, "application/merge-patch+json")


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


def judge_by_server(api: Api, row: api_matrix.Row, namespace: str) -> tuple[int, Any]:
    """What the API server says to the object, without storing it."""
    path = f"{namespace}/agentruns?dryRun=All&fieldValidation=Strict"
    return api.call("POST", path, row.build(namespace))


def refused_by_models(body: Mapping[str, Any]) -> bool:
    """Whether the models refuse the object."""
    try:
        models.AgentRun.parse(body)
    except errors.InvalidRunError:
        return True
    return False


@pytest.mark.parametrize("row", api_matrix.ACCEPTED, ids=lambda row: row.label)
def test_what_is_let_in(api: Api, namespace: str, row: api_matrix.Row) -> None:
    """Both judges accept it; and the models read the same from it before and after the API server took it."""
    status, answer = judge_by_server(api, row, namespace)

    assert status == 201, answer["message"]
    assert models.problems(answer) == []
    read, written = (models.AgentRun.parse(body).spec for body in (answer, row.build(namespace)))
    assert read == written


@pytest.mark.parametrize("row", api_matrix.REFUSED, ids=lambda row: row.label)
def test_what_is_refused_and_how(api: Api, namespace: str, row: api_matrix.Row) -> None:
    """Both judges refuse it; the API server names the field, and its sentence says what the value has to be."""
    status, answer = judge_by_server(api, row, namespace)

    assert status in {400, 422}
    assert row.field in answer["message"]
    assert [part for part in row.says if part not in answer["message"]] == []
    assert refused_by_models(row.build(namespace)) == row.models_agree


@pytest.mark.parametrize("example", [examples.MINIMAL, examples.FULL], ids=["minimal", "full"])
def test_the_examples_of_the_documentation_are_let_in(api: Api, namespace: str, example: str) -> None:
    """A reader may copy them as they stand."""
    path = f"{namespace}/agentruns?dryRun=All&fieldValidation=Strict"
    status, answer = api.call("POST", path, yaml.safe_load(example))
    assert status == 201, answer["message"]


def schema(part: str) -> dict[str, Any]:
    """The schema of ``spec`` or ``status`` in the CRD."""
    [version] = yaml.safe_load(playground.CRD.read_text())["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"]["properties"][part])


# --- what may change -----------------------------------------------------------------------------------------------

SECRET = {"name": "s", "key": "k"}
FULL: dict[str, Any] = {
    "companyId": "acme",
    "agent": {"id": "coder", "name": "Coder"},
    "runId": "run-1",
    "taskId": "task-1",
    "session": {"id": "s-1", "cwd": "/work"},
    "prompt": {"text": "Do it.", "bootstrap": "Hello.", "handoff": "So far."},
    "wake": {"reason": "comment", "commentId": "c-1", "payload": {"comments": [{"body": "a", "n": None}]}},
    "approval": {"id": "a-1", "status": "approved"},
    "linkedIssueIds": ["i-1", "i-2"],
    "workspace": {"cwd": "/work", "branch": "main", "workspaces": [{"id": "w-1"}], "runtimeServices": [{"n": 1}]},
    "bundle": {
        "instructions": "Be brief.",
        "skills": [
            {"name": "a", "path": "/skills/a"},
            {"name": "b", "configMapRef": {"name": "c", "items": [{"key": "k", "path": "SKILL.md"}]}},
        ],
    },
    "claude": {"model": "opus", "maxTurns": 5, "extraArgs": ["--debug", "api"]},
    "job": {
        "image": "a",
        "env": [{"name": "A", "value": "b"}, {"name": "B", "valueFrom": {"secretKeyRef": SECRET}}],
        "nodeSelector": {"gpu": "yes"},
        "labels": {"team": "a"},
        "annotations": {"team": "a"},
    },
    "apiTokenSecretRef": SECRET,
    "timeouts": {"pendingSeconds": 5},
    "concurrencyPolicy": "Forbid",
    "priority": 5,
    "reattach": False,
    "retry": {"limit": 1, "on": ["claude_overloaded"]},
    "retention": {"retainJob": True},
    "suspend": True,
}
BARE: dict[str, Any] = {key: FULL[key] for key in ("companyId", "prompt")} | {"agent": {"id": "coder"}}


# Not far below what etcd takes (1.5 MiB with managedFields), and as much for each rule to look at as there can be.
LARGE: dict[str, Any] = {
    **BARE,
    "prompt": {"text": "a" * 300_000},
    "linkedIssueIds": [f"{n:03}" + "i" * 250 for n in range(256)],
    "workspace": {"workspaces": [{str(n): n for n in range(100)}] * 100},
    "bundle": {
        "skills": [
            {
                "name": f"{n:02}" + "s" * 61,
                "configMapRef": {
                    "name": "c" * 253,
                    "items": [{"key": "k" * 50, "path": "/".join(["p"] * 32)}] * 64,
                },
            }
            for n in range(32)
        ]
    },
    "claude": {"extraArgs": ["--debug", *["a" * 6000] * 63]},
    "job": {
        "env": [{"name": f"{'A' * 250}{n:03}", "value": "a"} for n in range(256)],
        **{
            field: {f"{'a' * 253}/{n:02}{'b' * 61}": "a" * 63 for n in range(64)} for field in ("labels", "annotations")
        },
    },
}


@pytest.fixture(scope="module")
def stored(api: Api, namespace: str) -> Mapping[str, Any]:
    """AgentRuns that are there: with every group, with the required ones only, one being cancelled, one very large."""
    specs = {"full": FULL, "bare": BARE, "stopping": {**BARE, "cancel": True}, "large": LARGE}
    created = {}
    for name, spec in specs.items():
        body = {**builders.agent_run(), "metadata": {"name": name}, "spec": copy.deepcopy(spec)}
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
    ("full", {"prompt": {"handoff": None}}),
    ("full", {"prompt": {"text": None, "secretKeyRef": SECRET}}),
    ("bare", {"prompt": {"bootstrap": ""}}),
    ("full", {"wake": {"payload": {"comments": []}}}),
    ("full", {"wake": {"payload": None}}),
    ("full", {"wake": None}),
    ("bare", {"wake": {}}),
    ("full", {"approval": {"status": "rejected"}}),
    ("full", {"approval": None}),
    ("bare", {"approval": {"status": "approved"}}),
    ("full", {"linkedIssueIds": ["i-2", "i-1"]}),
    ("full", {"linkedIssueIds": None}),
    ("bare", {"linkedIssueIds": []}),
    ("full", {"workspace": {"branch": "other"}}),
    ("full", {"workspace": {"workspaces": [{"id": "w-2"}]}}),
    ("full", {"workspace": None}),
    ("bare", {"workspace": {"cwd": "/"}}),
    ("full", {"bundle": {"instructions": "Be long."}}),
    ("full", {"bundle": {"skills": [{"name": "a", "path": "/skills/other"}]}}),
    ("full", {"bundle": None}),
    ("bare", {"bundle": {"skills": [{"name": "a", "path": "/a"}]}}),
    ("full", {"claude": {"model": "haiku"}}),
    ("full", {"claude": {"extraArgs": ["--debug"]}}),
    ("full", {"claude": {"configDir": "Shared"}}),
    ("full", {"claude": {"model": None}}),
    ("full", {"claude": None}),  # comes back with the defaults, which are others
    ("bare", {"claude": {"maxBudgetUSD": "1"}}),
    ("full", {"job": {"env": []}}),
    ("full", {"job": {"nodeSelector": {"gpu": None}}}),
    ("full", {"job": {"labels": {"team": "b"}}}),
    ("full", {"job": {"annotations": {"more": "a"}}}),
    ("full", {"job": {"inheritFromOperator": False}}),
    ("full", {"job": None}),
    ("bare", {"job": {"podTemplate": {"spec": {"hostNetwork": True}}}}),
    ("full", {"timeouts": {"pendingSeconds": 6}}),
    ("full", {"timeouts": None}),
    ("bare", {"timeouts": {"timeoutSeconds": 60}}),
    ("full", {"apiTokenSecretRef": {"key": "other"}}),
    ("full", {"apiTokenSecretRef": None}),
    ("bare", {"apiTokenSecretRef": SECRET}),
    ("full", {"concurrencyPolicy": "Replace"}),
    ("full", {"concurrencyPolicy": None}),  # these come back with their defaults, too
    ("bare", {"concurrencyPolicy": "Forbid"}),
    ("full", {"priority": 6}),
    ("full", {"priority": None}),
    ("bare", {"priority": -1}),
    ("full", {"reattach": True}),
    ("full", {"reattach": None}),
    ("bare", {"reattach": False}),
    ("full", {"retry": {"limit": 2}}),
    ("full", {"retry": {"on": []}}),
    ("full", {"retry": None}),
    ("bare", {"retry": {"backoffSeconds": 1}}),
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
    fields = schema("spec")["properties"]
    fixed = {
        name
        for name in fields
        if any("oldSelf" in rule["rule"] for rule in fields[name].get("x-kubernetes-validations", ()))
    }
    assert tried == fixed
    assert fields.keys() - fixed == {"cancel", "suspend", "retention"}


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
        ("full", {"spec": {"retention": {"log": "Never", "runTTLSecondsAfterFailed": 0}}}),
        ("bare", {"spec": {"retention": {"runTTLSecondsAfterSucceeded": 60}}}),
        ("bare", {"spec": {"suspend": True}}),
        ("full", {"spec": {"suspend": False}}),
        ("full", {"spec": {"suspend": None}}),
        ("stopping", {"spec": {"suspend": True}}),
        # Lists with a key per item: another order of the same items is the same to the API server.
        ("full", {"spec": {"job": {"env": FULL["job"]["env"][::-1]}}}),
        ("full", {"spec": {"bundle": {"skills": FULL["bundle"]["skills"][::-1]}}}),
        # The rules are judged at each change, and what they may cost at most grows with the object.
        ("large", {"spec": {"cancel": True}}),
        ("bare", {"spec": {"claude": {"maxTurns": 1000}}}),  # what is there already
        ("bare", {"spec": {"claude": None}}),
        ("full", {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}),
    ],
    ids=lambda value: value if isinstance(value, str) else json.dumps(value),
)
def test_what_may_change(api: Api, namespace: str, stored: Mapping[str, Any], name: str, patch: dict[str, Any]) -> None:
    """Cancelling, holding, what is kept after the end, labels and annotations; and a patch that changes nothing."""
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
        "claude": {"maxTurns": 1000, "skipPermissions": True, "configDir": "PerAgent"},
        "job": {"imagePullPolicy": "IfNotPresent", "inheritFromOperator": True},
        "timeouts": {
            "timeoutSeconds": 0,
            "graceSeconds": 60,
            "pendingSeconds": 600,
            "stallSeconds": 0,
            "resultGraceSeconds": 30,
        },
        "concurrencyPolicy": "Queue",
        "priority": 0,
        "reattach": True,
        "retry": {"limit": 0, "backoffSeconds": 30, "resumeSession": True},
        "retention": {"jobTTLSecondsAfterFinished": 300, "retainJob": False, "log": "WithRun", "redactLog": False},
        "cancel": False,
        "suspend": False,
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
    known = {f"{part}.{path}": node["description"] for path, node in api_matrix.fields(schema(part))} | {
        part: schema(part)["description"]
    }

    def explain(path: str) -> str:
        text = kubectl.run("explain", f"{harness.RUNS}.{path}")
        return " ".join(text.partition("DESCRIPTION:")[2].split())

    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        explained = dict(zip(known, pool.map(explain, known), strict=True))

    assert [path for path, text in known.items() if not explained[path].startswith(" ".join(text.split()))] == []
    assert len(known) > 30
