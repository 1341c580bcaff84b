"""What the AgentRun API takes and what it refuses: one table of specs, with the sentence for each refusal. No I/O.

Two judges go by it: the API server with the generated CRD (tests/integration/test_crd.py) and the pydantic models alone
(tests/unit/test_models.py). They are made from one source, and where one of them lets through what the other refuses, a
run would fail for a reason that nobody can see before it starts.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tests import builders

MISSING = object()
LONG_ID = "a" * 63
MODEL = "us.anthropic.claude-sonnet-4-5@20250929[1m]:0/x_y"

# Objects in a spec that have to hold something besides the field that a row is about, by their path.
_AROUND: dict[str, Any] = {
    "session": {"id": "s-1"},
    "prompt.secretKeyRef": {"name": "s", "key": "k"},
    "prompt.configMapKeyRef": {"name": "c", "key": "k"},
    "apiTokenSecretRef": {"name": "s", "key": "k"},
    "job.env": [{"name": "A"}],
    "bundle.skills": [{"name": "a", "path": "/a"}],
    "bundle.skills.configMapRef": {"name": "c"},
    "bundle.skills.configMapRef.items": [{"key": "k", "path": "p"}],
}
# Of these, one only: a row about the first leaves out the second.
_INSTEAD_OF = {
    "prompt.secretKeyRef": "text",
    "prompt.configMapKeyRef": "text",
    "bundle.skills.configMapRef": "path",
}
_MAPS = ("job.nodeSelector", "job.labels", "job.annotations")


class Row(NamedTuple):
    """A small valid spec with ``value`` at ``path``; on the way, a list stands for its one item (``job.env.name``).

    ``says`` is what the API server's sentence contains, () if it accepts. ``at`` is the field that it names if that is
    not ``path``. ``models_agree`` False: reading the object, the models judge the other way, for the reason that the
    table gives.
    """

    path: str
    value: Any
    says: tuple[str, ...] = ()
    at: str = ""
    models_agree: bool = True

    @property
    def field(self) -> str:
        """The field at fault, as the API server writes it."""
        if self.at:
            return f"spec.{self.at}"
        parts = self.path.split(".")
        lists = {n for n in range(len(parts) - 1) if isinstance(_AROUND.get(".".join(parts[: n + 1])), list)}
        return ".".join(["spec", *(f"{part}[0]" if n in lists else part for n, part in enumerate(parts))])

    @property
    def schema_path(self) -> str:
        """The field at fault in the CRD's schema: items of a list and values of a map have the path of the whole."""
        path = re.sub(r"\[\d+\]", "", self.field.removeprefix("spec").removeprefix("."))
        return next((whole for whole in _MAPS if path.startswith(f"{whole}.")), path)

    @property
    def label(self) -> str:
        """The row's name in a report."""
        text = "missing" if self.value is MISSING else json.dumps(self.value)
        return f"{self.path}={text}" if len(text) < 70 else f"{self.path}={text[:30]}...{text[-12:]}{len(text)}"

    def build(self, namespace: str = "team-a") -> dict[str, Any]:
        """The object."""
        body = builders.agent_run(namespace=namespace)
        place, path = body["spec"], ""
        *parents, last = self.path.split(".")
        for name in parents:
            path = f"{path}.{name}".removeprefix(".")
            place.pop(_INSTEAD_OF.get(path), None)
            place = place.setdefault(name, json.loads(json.dumps(_AROUND.get(path, {}))))
            place = place[0] if isinstance(place, list) else place
        place.pop(_INSTEAD_OF.get(self.path), None)
        if self.value is MISSING:
            place.pop(last, None)
        else:
            place[last] = self.value
        return body


def _rows(paths: tuple[str, ...], values: tuple[Any, ...], says: tuple[str, ...] = ()) -> Iterator[Row]:
    """Every value at every path."""
    return (Row(path, value, says) for path in paths for value in values)


def _items(path: str, values: tuple[Any, ...], says: tuple[str, ...]) -> Iterator[Row]:
    """Every value as an item of the list at ``path``, behind a good one."""
    good: dict[str, Any] = {"linkedIssueIds": "i", "claude.extraArgs": "--debug", "retry.on": "timeout"}
    return (Row(path, [good.get(path, {}), value], says, at=f"{path}[1]") for value in values)


def _too_long(path: str, most: int, *, prefix: str = "", letter: str = "a") -> Row:
    return Row(path, prefix + letter * (most + 1 - len(prefix)), ("Too long", str(most)))


# --- fields by kind ------------------------------------------------------------------------------------------------

IDS = ("companyId", "agent.id", "runId", "taskId")
WHY_IDS = "only letters, digits and hyphens are allowed, because the id becomes part of names and paths"
SHORT_TEXTS = (
    "wake.commentId",
    "approval.id",
    "approval.status",
    "workspace.source",
    "workspace.strategy",
    "workspace.id",
)
LONG_TEXTS = (
    "wake.reason",
    "workspace.repoUrl",
    "workspace.repoRef",
    "workspace.branch",
    "workspace.runtimePrimaryUrl",
)
WHY_NO_NUL = "must not contain a NUL character: no environment variable or argument can hold one"
FREE_TEXTS = ("prompt.bootstrap", "prompt.handoff", "bundle.instructions")
PATHS = (
    "session.cwd",
    "workspace.cwd",
    "workspace.worktreePath",
    "workspace.agentHome",
    "bundle.skills.path",
    "job.workingDir",
)
WHY_PATHS = "must be an absolute path: it has to begin with /"
OBJECT_NAMES = (
    "prompt.secretKeyRef.name",
    "prompt.configMapKeyRef.name",
    "bundle.skills.configMapRef.name",
    "job.serviceAccountName",
    "job.priorityClassName",
    "apiTokenSecretRef.name",
)
WHY_OBJECT_NAMES = (
    "must be the name of a Kubernetes object: small letters, digits and hyphens, in parts joined by single dots"
)
DATA_KEYS = (
    "prompt.secretKeyRef.key",
    "prompt.configMapKeyRef.key",
    "bundle.skills.configMapRef.items.key",
    "apiTokenSecretRef.key",
)
WHY_DATA_KEYS = "must be a key of a Secret or ConfigMap: letters, digits and any of - _ . but not .. at its beginning"
WHY_IMAGES = "must be the name of an image, without any space"
WHY_SESSIONS = "must be a session id as status.session.id gives it: letters, digits and hyphens"
WHY_ISSUES = "must be an issue id without a comma: the ids are joined by commas"
WHY_SKILLS = "must be the name of a folder: letters, digits and any of . _ -, beginning with a letter or digit"
WHY_FILES = "must be a relative path without .. : folders and a file, of letters, digits and any of . _ -"
WHY_MODELS = "must be a model id or alias such as sonnet: letters, digits and any of . _ : / @ [ ] -"
WHY_DECIMALS = "must be a decimal number such as 2.50, in quotes"
WHY_VARIABLES = "must be the name of an environment variable: letters, digits and any of - _ . and no digit first"
WHY_QUEUES = "must be the name of a LocalQueue: small letters, digits and hyphens"
WHY_LABELS = "must be a label value: at most 63 letters, digits and any of - _ . with a letter or digit at both ends"
ONE_PROMPT = "exactly one of secretKeyRef, configMapKeyRef and text has to be given"
ONE_SKILL = "exactly one of configMapRef and path has to be given"
ONE_VALUE = "value and valueFrom cannot both be given"
FIRST_AN_OPTION = "extraArgs has to begin with an option: a bare word would become part of the prompt"
TAKEN_OPTIONS = (
    "extraArgs must not contain options that the operator sets itself or that end or change its output: "
    "output-format, input-format, print, help, version, resume, continue, session-id (use spec.session), model, "
    "effort, max-turns, max-budget-usd, dangerously-skip-permissions (use spec.claude), nor -c -h -p -r -v, nor --, "
    "behind which everything is prompt"
)
KEY_FORM = (
    "the keys of {} have to be of the form name or prefix/name: a name of at most 63 letters, digits and any of - _ . "
    "behind a prefix of at most 253"
)
RESERVED_KEYS = (
    "{} must not contain keys that belong to the operator or to Kubernetes: paperclip.io/…, batch.kubernetes.io/…, "
    "app.kubernetes.io/managed-by and component, controller-uid, job-name, kueue.x-k8s.io/queue-name (use queueName)"
)

INTEGERS = {
    "claude.maxTurns": (1, 100_000),
    "claude.maxRetries": (0, 100),
    "claude.apiTimeoutSeconds": (1, 86_400),
    "timeouts.timeoutSeconds": (0, 31_536_000),
    "timeouts.graceSeconds": (0, 86_400),
    "timeouts.pendingSeconds": (1, 604_800),
    "timeouts.stallSeconds": (0, 604_800),
    "timeouts.resultGraceSeconds": (1, 86_400),
    "priority": (-1000, 1000),
    "retry.limit": (0, 100),
    "retry.backoffSeconds": (0, 86_400),
    "retention.jobTTLSecondsAfterFinished": (0, 31_536_000),
    "retention.runTTLSecondsAfterSucceeded": (0, 31_536_000),
    "retention.runTTLSecondsAfterFailed": (0, 31_536_000),
}
BOOLEANS = (
    "claude.skipPermissions",
    "job.inheritFromOperator",
    "reattach",
    "retry.resumeSession",
    "retention.retainJob",
    "retention.redactLog",
    "cancel",
    "suspend",
)
ENUMS = {
    "claude.effort": ("low", "medium", "high", "xhigh", "max"),
    "claude.configDir": ("PerAgent", "Shared"),
    "job.imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "concurrencyPolicy": ("Queue", "Forbid", "Replace"),
    "retention.log": ("WithRun", "AfterFinished", "Never"),
}
STRINGS = (
    *IDS,
    *SHORT_TEXTS,
    *LONG_TEXTS,
    *FREE_TEXTS,
    *PATHS,
    *OBJECT_NAMES,
    *DATA_KEYS,
    *ENUMS,
    "agent.name",
    "session.id",
    "prompt.text",
    "bundle.skills.name",
    "bundle.skills.configMapRef.items.path",
    "claude.model",
    "claude.maxBudgetUSD",
    "job.image",
    "job.env.name",
    "job.env.value",
    "job.queueName",
)
FREE_LISTS = {
    "workspace.workspaces": 256,
    "workspace.runtimeServices": 256,
    "workspace.runtimeServiceIntents": 256,
    "job.imagePullSecrets": 16,
    "job.envFrom": 64,
    "job.tolerations": 64,
}
FREE_OBJECTS = ("wake.payload", "job.resources", "job.podTemplate", "job.env.valueFrom")
LISTS = (*FREE_LISTS, "linkedIssueIds", "bundle.skills", "claude.extraArgs", "job.env", "retry.on")
GROUPS = ("agent", "session", "prompt", "wake", "approval", "workspace", "bundle", "claude", "job", "timeouts", "retry")
OBJECTS = (
    *GROUPS,
    *_MAPS,
    "retention",
    "apiTokenSecretRef",
    "prompt.secretKeyRef",
    "prompt.configMapKeyRef",
    "bundle.skills.configMapRef",
)


# --- what is let in ------------------------------------------------------------------------------------------------

ACCEPTED = (
    *_rows(IDS, (LONG_ID, "-", "--help", "0e8e40ba-0000-4000-8000-00AA00bb00Cc")),
    Row("runId", MISSING),
    Row("agent.name", ""),
    Row("agent.name", "é" * 253),  # characters, not bytes
    Row("agent.name", "😀" * 253),
    Row("agent.name", "../\u202e\n\u0000"),
    Row("session.id", "a" * 128),
    *_rows(SHORT_TEXTS, ("", "😀" * 253)),
    *_rows(LONG_TEXTS, ("", "é" * 4096)),
    Row("wake.reason", "$(id) `id` 'x' \"y\" \n\t\u001b[2J ../.. {{agent.id}}"),
    Row("workspace.repoUrl", "git@example.test:a/b.git"),
    *_rows(PATHS, ("/", "/" + "a" * 4095, "/ä b/../c\n")),  # whether .. is harmless there is for the agent to say
    *_rows(OBJECT_NAMES, ("0", "a" * 253, "a.b-c.d")),
    *_rows(DATA_KEYS, ("a" * 253, ".data", "a..b", "-_.Az09")),
    *_rows(FREE_TEXTS, ("", " \n{{x}}\u0000é", "a" * 1_048_576)),
    # the prompt
    Row("prompt.text", "a"),
    Row("prompt.text", " \n\t"),  # blank: refused with prompt_invalid when it is assembled
    Row("prompt.text", "a" * 1_048_576),
    Row("prompt.text", "/clear {{agent.id}} \u0000\u001b[2J 😀"),
    Row("prompt", {"text": "a", "secretKeyRef": None}),
    Row("prompt", {"secretKeyRef": {"name": "s", "key": "k"}}),
    Row("prompt", {"configMapKeyRef": {"name": "c", "key": "k"}, "bootstrap": "b", "handoff": "h"}),
    # why it was woken, and what for
    Row("wake", {}),
    Row("wake.payload", {}),
    Row("wake.payload", {"comments": [{"body": "a", "n": None}], "": {"deep": [[[1.5, True, None, "😀"]]]}}),
    Row("approval", {}),
    Row("linkedIssueIds", []),
    Row("linkedIssueIds", ["i" * 253] * 256),
    Row("linkedIssueIds", ["é 😀/..\n"]),
    Row("workspace", {}),
    *(Row(path, [{"id": "w", "n": [1, {"x": None}]}] * 16) for path in FREE_LISTS),
    *(Row(path, [{}] * most) for path, most in FREE_LISTS.items()),
    # skills
    Row("bundle", {}),
    Row("bundle.skills", []),
    Row("bundle.skills", [{"name": f"s{n}", "path": "/same"} for n in range(64)]),
    Row("bundle.skills", [{"name": "a", "path": "/a"}, {"name": "A", "configMapRef": {"name": "c"}}]),
    *_rows(("bundle.skills.name",), (LONG_ID, "0", "a..b", "A_b-c.")),
    Row("bundle.skills.configMapRef", {"name": "c", "items": []}),
    Row("bundle.skills.configMapRef.items", [{"key": "k", "path": f"p{n}"} for n in range(64)]),
    *_rows(
        ("bundle.skills.configMapRef.items.path",),
        ("SKILL.md", "a" * 256, "scripts/run.sh", "a/b/c/d", "a..b/c..", "_/-"),
    ),
    # the CLI
    Row("claude", {}),
    Row("claude.model", MODEL),
    Row("claude.model", "a" * 256),
    Row("claude.maxTurns", 5.0),  # JSON knows one kind of number
    *_rows(("claude.maxBudgetUSD",), ("0", "007.50", "999999999.999999")),
    *_rows(
        ("claude.extraArgs",),
        (
            [],
            ["--debug"],
            ["-d"],
            ["--debug", ""],
            ["--debug"] * 64,
            ["--append-system-prompt", *["é" * 8000] * 63],
            ["--" + "a" * 7998] * 64,
            ["--append-system-prompt", "quotes ' \" $(x) `y` \n ü"],
            ["--append-system-prompt", "- print, help and -p are words; --print is one, too"],
            ["--allowedTools", "Bash(git:*) Edit"],
            ["--allowedTools=Bash(git:*)", "Edit"],
            ["--mcp-config", '{"mcpServers": {}}', "--strict-mcp-config"],
            ["--fallback-model", "sonnet"],
            ["--model-of-the-day", "--printer", "--output-formats", "--helpful"],
            ["--Print"],  # options are told apart by case
            ["--debug", "print"],
            ["--debug", "-"],
            ["--debug", "-1"],
        ),
    ),
    # the Job
    *_rows(("job.image",), ("a", "a" * 512)),
    *_rows(("job.env.name",), ("A" * 253, "_", "-", "a.b-c", "PATH")),
    *_rows(("job.env.value",), ("", "é" * 131_072, "$(A) '\" \n")),
    Row("job.env.value", MISSING),
    Row("job.env.valueFrom", {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}),
    Row("job.env.valueFrom", {}),
    Row("job.env", [{"name": f"A{n}", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}} for n in range(256)]),
    Row("job.env", [{"name": "A", "value": "a", "valueFrom": None}, {"name": "a", "value": "a"}]),
    Row("job.resources", {"limits": {"cpu": 1, "memory": "2Gi"}}),
    Row("job.nodeSelector", {f"label-{n}": "" for n in range(64)}),
    Row("job.podTemplate", {"spec": {"hostAliases": [{"ip": "192.0.2.1", "unknown": [1, {"x": None}]}]}}),
    *_rows(_MAPS, ({"a": None}, {"a": None, "b": "b"})),
    *_rows(
        ("job.labels", "job.annotations"),
        (
            {},
            {f"example.com/label-{n}": "a" for n in range(64)},
            {LONG_ID: "a", f"a.b-c.d/{LONG_ID}": "A_b-c.9", f"{'a' * 253}/{LONG_ID}": "a"},
            {"paperclip.iox/a": "", "x-paperclip.io/a": "a", "kueue.x-k8s.io/priority-class": "a", "job-names": ""},
            {"app.kubernetes.io/name": "a", "app.kubernetes.io/part-of": "b", "batch.kubernetes.iox/a": ""},
        ),
    ),
    Row("job.labels", {"a": LONG_ID}),
    Row("job.annotations", {"a": "é 😀 \n{}" * 1024}),
    Row("job.annotations", {"a": "é" * 65_536}),
    *_rows(("job.queueName",), ("0", "a-b", LONG_ID)),
    # numbers, switches, choices
    *(Row(path, value) for path, bounds in INTEGERS.items() for value in bounds),
    *_rows(BOOLEANS, (True, False)),  # born cancelled, born suspended
    *(Row(path, value) for path, values in ENUMS.items() for value in values),
    Row("retry", {}),
    Row("retry.on", []),
    Row("retry.on", ["claude_overloaded", "k8s_pod_evicted", "adapter_failed", "claude_overloaded"]),
    # null: the API server drops it and fills in the default, if there is one
    *_rows(
        (
            *(path for path in OBJECTS if path not in {"agent", "prompt"} and not path.endswith("Ref")),
            *INTEGERS,
            *BOOLEANS,
            *ENUMS,
            *LISTS,
            *SHORT_TEXTS,
            *FREE_TEXTS,
            "runId",
            "taskId",
            "agent.name",
            "session.cwd",
            "apiTokenSecretRef",
            "claude.model",
            "claude.maxBudgetUSD",
            "wake.payload",
            "job.image",
            "job.env.value",
            "job.env.valueFrom",
            "job.podTemplate",
        ),
        (None,),
    ),
)


# --- what is refused -----------------------------------------------------------------------------------------------

REQUIRED = (
    "companyId",
    "agent",
    "agent.id",
    "prompt",
    "session.id",
    "prompt.secretKeyRef.name",
    "prompt.secretKeyRef.key",
    "prompt.configMapKeyRef.name",
    "prompt.configMapKeyRef.key",
    "apiTokenSecretRef.name",
    "apiTokenSecretRef.key",
    "bundle.skills.name",
    "bundle.skills.configMapRef.name",
    "bundle.skills.configMapRef.items.key",
    "bundle.skills.configMapRef.items.path",
    "job.env.name",
)
_SECRET = {"name": "s", "key": "k"}
_NO_TEXTS: tuple[Any, ...] = (1, {})
_NO_OBJECTS: tuple[Any, ...] = ("A=b", [], 1)

REFUSED = (
    # ids and other names: what would climb out of a folder, break a label, or read like an option
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
    *_rows(IDS, ("",), ("at least 1 chars long", WHY_IDS)),
    *(_too_long(path, 63) for path in IDS),
    _too_long("agent.name", 253, letter="é"),
    *_rows(("session.id",), ("", "--help", "a b", "../s", "a\n"), ("should match", WHY_SESSIONS)),
    _too_long("session.id", 128),
    *_rows(
        OBJECT_NAMES,
        ("", "-a", "a-", ".a", "A", "a_b", "a/b", "../a", "ä", "a\n"),
        ("should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?", WHY_OBJECT_NAMES),
    ),
    *(_too_long(path, 253) for path in OBJECT_NAMES),
    *_rows(
        DATA_KEYS,
        ("", "a/b", "../a", "a b", "ä", "a\n", ".", "..", "..data"),
        ("should match '^([-_a-zA-Z0-9]|", WHY_DATA_KEYS),
    ),
    *_rows(OBJECT_NAMES, ("a..b", "a.-b", "a-.b"), ("should match", WHY_OBJECT_NAMES)),
    *(_too_long(path, 253) for path in DATA_KEYS),
    # texts and paths
    *_rows((*SHORT_TEXTS, *LONG_TEXTS), ("a\u0000b", "\u0000"), ("should match '^[^\\x00]*$'", WHY_NO_NUL)),
    *(_too_long(path, 253, letter="é") for path in SHORT_TEXTS),
    *(_too_long(path, 4096, letter="é") for path in LONG_TEXTS),
    *_rows(PATHS, ("", "work", "./work", "~", " /work", "/a\u0000b"), ("should match '^/", WHY_PATHS)),
    *(_too_long(path, 4096, prefix="/") for path in PATHS),
    *(_too_long(path, 1_048_576) for path in (*FREE_TEXTS, "prompt.text")),
    # exactly one prompt
    Row("prompt.text", "", ("at least 1 chars long",)),
    *_rows(
        ("prompt",),
        (
            {},
            {"text": None},
            {"bootstrap": "b", "handoff": "h"},
            {"text": "a", "secretKeyRef": _SECRET},
            {"text": "a", "configMapKeyRef": _SECRET},
            {"secretKeyRef": _SECRET, "configMapKeyRef": _SECRET},
            {"text": "a", "secretKeyRef": _SECRET, "configMapKeyRef": _SECRET},
        ),
        (ONE_PROMPT,),
    ),
    Row("prompt.text", MISSING, (ONE_PROMPT,), at="prompt"),
    Row("prompt.text", None, (ONE_PROMPT,), at="prompt"),
    # issues and skills
    *_items("linkedIssueIds", ("", "a,b", ",", "a\u0000b"), ("should match '^[^,\\x00]+$'", WHY_ISSUES)),
    *_items("linkedIssueIds", ("é" * 254,), ("Too long", "253")),
    Row("linkedIssueIds", ["i"] * 257, ("Too many", "at most 256 items")),
    *_rows(
        ("bundle.skills.name",),
        ("", ".", "..", ".a", "../a", "a/b", "a\\b", "-a", "_a", "a b", "ä", "a\n", "a\u0000"),
        ("should match '^[a-zA-Z0-9][a-zA-Z0-9._-]*$'", WHY_SKILLS),
    ),
    _too_long("bundle.skills.name", 63),
    *_rows(
        ("bundle.skills.configMapRef.items.path",),
        (
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a/..",
            "./a",
            ".a",
            "a/.b",
            "a//b",
            "a/",
            "a\\b",
            "a b",
            "~/ä",
            "a\n",
            "a\u0000",
        ),
        ("should match '^([a-zA-Z0-9_-]", WHY_FILES),
    ),
    _too_long("bundle.skills.configMapRef.items.path", 256),
    Row("bundle.skills.configMapRef.items", [{"key": "k", "path": "p"}] * 65, ("Too many", "at most 64 items")),
    *(
        Row("bundle.skills", [skill], (ONE_SKILL,), at="bundle.skills[0]")
        for skill in (
            {"name": "a"},
            {"name": "a", "path": None},
            {"name": "a", "path": "/a", "configMapRef": {"name": "c"}},
        )
    ),
    Row("bundle.skills", [{"name": "a", "path": "/a"}, {"name": "a", "path": "/b"}], ("Duplicate value", '"a"')),
    Row("bundle.skills", [{"name": f"s{n}", "path": "/a"} for n in range(65)], ("Too many", "at most 64 items")),
    # the CLI
    *_rows(("claude.model",), ("", "--help", "-p", "a b", "a;b", "ä", "a\n"), ("should match", WHY_MODELS)),
    _too_long("claude.model", 256),
    *_rows(
        ("claude.maxBudgetUSD",),
        ("", "-1", "+1", "2.", ".5", "1e3", "1,5", "$5", " 1", "1\n", "NaN", "1000000000", "2.1234567", "٣"),
        ("should match '^[0-9]{1,9}(\\.[0-9]{1,6})?$'", WHY_DECIMALS),
    ),
    _too_long("claude.maxBudgetUSD", 16, letter="1"),
    *(
        Row("claude.extraArgs", value, (FIRST_AN_OPTION,), at="claude")
        for value in (
            ["word"],
            [""],
            [" --debug"],
            ["Do this, too.", "--debug"],
            ["/clear"],
            ["-"],  # would stand in the prompt as it is
            ["---debug"],
            ["-1"],
            ["\n--debug"],
            ["—debug"],
        )
    ),
    *(
        Row("claude.extraArgs", value, (TAKEN_OPTIONS,), at="claude")
        for value in (
            ["--output-format", "json"],
            ["--output-format=json"],
            ["--output-format="],
            ["--debug", "--output-format=json\n"],
            ["--input-format", "stream-json"],
            ["--input-format=stream-json"],
            ["-p"],
            ["-pv"],
            ["-dp"],
            ["-p=x"],
            ["-p\n"],
            ["--print"],
            ["--print="],
            ["--debug", "--print"],
            ["--help"],
            ["-h"],
            ["-dh"],
            ["--version"],
            ["-v"],
            ["--resume", "x"],
            ["--resume=x"],
            ["-r", "x"],
            ["-rx"],
            ["--continue"],
            ["-c"],
            ["-c", "x"],
            ["--debug", "-c"],
            ["--session-id", "x"],
            ["--session-id=x\ny"],
            ["--model", "opus"],
            ["--model=opus"],
            ["--effort=max"],
            ["--max-turns", "1"],
            ["--max-budget-usd=1"],
            ["--dangerously-skip-permissions"],
            ["--debug", "--", "hello"],
            ["--debug"] * 63 + ["--print"],
        )
    ),
    Row("claude.extraArgs", ["--", "hello"], (FIRST_AN_OPTION, TAKEN_OPTIONS), at="claude"),
    Row("claude.extraArgs", ["--debug"] * 65, ("Too many", "at most 64 items")),
    *_items("claude.extraArgs", ("a\u0000b",), ("should match '^[^\\x00]*$'", WHY_NO_NUL)),
    *_items("claude.extraArgs", ("é" * 8001,), ("Too long", "8000")),
    # the Job
    Row("job.image", "", ("at least 1 chars long", WHY_IMAGES)),
    *_rows(("job.image",), (" a", "a ", "a\n", "a b", "ä", "a\u0000"), ("should match '^[!-~]+$'", WHY_IMAGES)),
    _too_long("job.image", 512),
    *_rows(
        ("job.env.name",),
        ("", "1A", "A=B", "A B", "ä", "A\n", "A\u0000", "$(A)"),
        ("should match '^[-._a-zA-Z][-._a-zA-Z0-9]*$'", WHY_VARIABLES),
    ),
    _too_long("job.env.name", 253),
    Row("job.env.value", "a\u0000b", ("should match '^[^\\x00]*$'",)),
    _too_long("job.env.value", 131_072, letter="é"),
    Row("job.env", [{"name": "A", "value": "", "valueFrom": {}}], (ONE_VALUE,), at="job.env[0]"),
    Row("job.env", [{"name": "B"}, {"name": "A"}, {"name": "A", "value": "2"}], ("Duplicate value", '"A"')),
    Row("job.env", [{"name": "A", "value": "1"}] * 2, ("Duplicate value", '"A"')),
    Row("job.env", [{"name": f"A{n}"} for n in range(257)], ("Too many", "at most 256 items")),
    *(Row(path, [{}] * (most + 1), ("Too many", f"at most {most} items")) for path, most in FREE_LISTS.items()),
    *(Row(path, {f"label-{n}": "a" for n in range(65)}, ("Too many", "at most 64 items")) for path in _MAPS),
    *(
        Row(path, {"gpu": value}, ("must be of type string",), at=f"{path}.gpu")
        for path in _MAPS
        for value in _NO_TEXTS
    ),
    *(
        Row("job.labels", {"a": value}, ("should match", WHY_LABELS), at="job.labels.a")
        for value in ("-a", "a-", "a b", "a/b", "ä", "_", ".", "a\n")
    ),
    Row("job.labels", {"a": "a" * 64}, ("Too long", "63"), at="job.labels.a"),
    Row("job.annotations", {"a": "é" * 65_537}, ("Too long", "65536"), at="job.annotations.a"),
    *(
        Row(f"job.{field}", {key: "a"}, (KEY_FORM.format(field),), at="job")
        for field in ("labels", "annotations")
        for key in (
            "",
            "/",
            "/a",
            "a/",
            "a/b/c",
            "-a",
            "a-",
            ".a",
            "_a",
            "a b",
            "ä",
            "a\n",
            "../a",
            "-a/b",
            "a_b/c",
            "A/a",
            "Example.com/a",
            "a..b/a",
            "a-.b/a",
            "a.-b/a",
            "a" * 64,
            f"example.com/{'a' * 64}",
            f"{'a' * 254}/a",
            "a" * 1_000_000,
            "a" * 1_000_000 + "/a",
            "paperclip.io/" + "a" * 1_000_000,
        )
    ),
    *(
        Row(f"job.{field}", {"fine": "a", key: "a"}, (RESERVED_KEYS.format(field),), at="job")
        for field in ("labels", "annotations")
        for key in (
            "paperclip.io/agent-id",
            "paperclip.io/anything",
            "batch.kubernetes.io/job-name",
            "x.batch.kubernetes.io/a",
            "app.kubernetes.io/managed-by",
            "app.kubernetes.io/component",
            "controller-uid",
            "job-name",
            "kueue.x-k8s.io/queue-name",
        )
    ),
    *_rows(
        ("job.queueName",),
        ("", "A", "a.b", "-a", "a-", "a_b", "a\n"),
        ("should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'", WHY_QUEUES),
    ),
    _too_long("job.queueName", 63),
    # numbers, switches, choices
    *(Row(path, least - 1, (f"greater than or equal to {least}",)) for path, (least, _) in INTEGERS.items()),
    *(Row(path, most + 1, (f"less than or equal to {most}",)) for path, (_, most) in INTEGERS.items()),
    *_rows(tuple(INTEGERS), ("5", True), ("must be of type integer",)),
    *_rows(tuple(INTEGERS), (1.5,), ("must be of type integer",)),
    Row("claude.maxTurns", 2**63, ("less than or equal to 100000",)),
    Row("priority", -(2**64), ("greater than or equal to -1000",)),
    *_rows(BOOLEANS, ("yes", "true", 1, 0), ("must be of type boolean",)),
    *(
        Row(path, value, ("Unsupported value", json.dumps(values)[1:-1]))
        for path, values in ENUMS.items()
        for value in ("", values[0].swapcase(), f" {values[0]}", "ultra")
    ),
    *_items("retry.on", ("", "Timeout", "no_such_code", "timeout\n"), ("Unsupported value", '"claude_overloaded"')),
    Row("retry.on", ["timeout"] * 65, ("Too many", "at most 64 items")),
    # what is missing
    *_rows(REQUIRED, (MISSING, None), ("Required value",)),
    Row("session", {"cwd": "/work"}, ("Required value",), at="session.id"),
    # what is of another type
    *_rows(STRINGS, (7, True, ["a"], {}), ("must be of type string",)),
    Row("claude.maxBudgetUSD", 2.5, ("must be of type string",)),
    *_rows(OBJECTS, ("x", 1, [], [{}]), ("must be of type object",)),
    *_rows(FREE_OBJECTS, ("x", 1, False, []), ("must be of type object",)),
    *_rows(LISTS, ("A=b", 1, {}), ("must be of type array",)),
    *(
        Row(path, [item], ("must be of type object",), at=f"{path.replace('skills.', 'skills[0].')}[0]")
        for path in (*FREE_LISTS, "job.env", "bundle.skills", "bundle.skills.configMapRef.items")
        for item in _NO_OBJECTS
    ),
    *_items("linkedIssueIds", (1, ["i"]), ("must be of type string",)),
    *_items("claude.extraArgs", (1, ["--debug"], {}), ("must be of type string",)),
    *_items("retry.on", (1, {}), ("must be of type string",)),
    Row("bundle.skills.configMapRef.items", "a", ("must be of type array",)),
    # A field that the models do not know may come from a later version of the API: they leave it alone.
    *(
        Row(path, value, ("unknown field",), models_agree=False)
        for path, value in (
            ("somethingNew", 1),
            ("somethingNew", None),
            ("claude.maxturns", 5),
            ("claude.maxBudgetUsd", "1"),
            ("agent.Id", "ada"),
            ("job.restartPolicy", "Always"),
            ("job.env.values", "a"),
            ("bundle.skills.items", []),
            ("bundle.skills.configMapRef.items.mode", 420),
            ("prompt.secretKeyRef.optional", True),
            ("retention.runTtlSecondsAfterFailed", 1),
        )
    ),
)

ROWS = (*ACCEPTED, *REFUSED)


# --- the CRD's schema, for whoever asks whether the table is complete ----------------------------------------------

PHRASES: Mapping[str, str] = {
    "type": "must be of type {}",
    "enum": "Unsupported value",
    "pattern": "should match",
    "minLength": "at least {} chars long",
    "maxLength": "Too long",
    "minimum": "greater than or equal to {}",
    "maximum": "less than or equal to {}",
    "maxItems": "Too many",
    "maxProperties": "Too many",
    "x-kubernetes-list-map-keys": "Duplicate value",
}


def fields(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every named field below ``node``, by its path; fields of a list's items have the list's path before them."""
    for name, child in node.get("properties", {}).items():
        where = f"{path}.{name}".removeprefix(".")
        yield where, child
        yield from fields(child.get("items", child), where)


def nodes(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema in ``schema``: itself, its fields, and the items and values of those, which have the same path."""
    yield "", schema
    for path, node in fields(schema):
        yield path, node
        yield from (
            (path, node[key]) for key in ("items", "additionalProperties") if isinstance(node.get(key), Mapping)
        )


def rules(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, part of the sentence) of every rule that ``schema`` has, but for those about changes."""
    for path, node in nodes(schema):
        if path:
            yield from ((path, phrase.format(node[key])) for key, phrase in PHRASES.items() if key in node)
        checks = (rule for rule in node.get("x-kubernetes-validations", ()) if "oldSelf" not in rule["rule"])
        yield from ((path, rule["message"]) for rule in checks)
        yield from ((f"{path}.{name}".removeprefix("."), "Required value") for name in node.get("required", ()))


def untried(schema: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rules that no refused row breaks."""
    said = [(row.schema_path, part) for row in REFUSED for part in row.says]
    return [(path, rule) for path, rule in rules(schema) if not any(p == path and rule in part for p, part in said)]


def unused(schema: Mapping[str, Any]) -> set[str]:
    """The fields that no accepted row gives a value to."""
    used = {row.path for row in ACCEPTED if row.value is not None and row.value is not MISSING}
    return {path for path, node in fields(schema) if "properties" not in node} - used
