"""Any valid AgentRun spec, as JSON: hypothesis strategies over the whole API.

What is valid is said by the models, by Kubernetes (for the parts that are its own types: environment, resources,
tolerations, the pod template) and by the few checks that come with building the manifests: a placeholder has to exist,
a skill's folder has to be on the shared volume, an id needs a letter or digit. Names are made from the models' own
patterns, and values that look dangerous are kept if the models let them in: so a pattern that is too wide shows.

Texts come in the lengths at which something may break: empty, one character, as long as may be.
"""

import json
from collections.abc import Mapping
from typing import Any

import pydantic
from hypothesis import strategies as st

from agentrun_operator import errors, models
from agentrun_operator.models import base

Json = dict[str, Any]

# --- texts ----------------------------------------------------------------------------------------------------------

# What Kubernetes expands, what shells, JSON and templates read, what is two code units, what changes the direction.
_ODD = (
    *("$(HOME)", "$$(HOME)", "$", "`id`", "'", '"', "\\", "\n", "\r\n", "\t", " ", "\u202e", "\x1b[2J", "\x7f"),
    *("é", "😀", "e\u0301", "\ufeff", "\u2028", "../..", "{", "}}", "%s", "<!--", "- ", "null", "#"),
)
_CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")


def texts(most: int, *, least: int = 0, exclude: str = "") -> st.SearchStrategy[str]:
    """Texts of ``least`` to ``most`` characters without NUL and without the characters in ``exclude``."""
    odd = [piece for piece in _ODD if not set(piece) & set(exclude)]
    pieces = st.lists(st.sampled_from(odd) | _CHARACTERS, max_size=12).map("".join)
    kept = pieces.map(lambda text: "".join(c for c in text if c not in exclude)[:most])
    return st.one_of(kept, kept, kept, of_length(most)).filter(lambda text: len(text) >= least)


def of_length(*lengths: int) -> st.SearchStrategy[str]:
    """One letter of one, two or four bytes, over and over."""
    return st.tuples(st.sampled_from(["a", "é", "😀"]), st.sampled_from(lengths)).map(lambda pair: pair[0] * pair[1])


def of(alphabet: str, most: int, *, first: str = "", last: str = "") -> st.SearchStrategy[str]:
    """Words of 1 to ``most`` characters of ``alphabet``, with one of ``first`` and ``last`` at their ends."""
    lengths = st.sampled_from([1, 1, 2, most - 1, most]) | st.integers(1, min(most, 24))

    def word(length: int) -> st.SearchStrategy[str]:
        if length == 1:
            return st.sampled_from([c for c in first or alphabet if c in (last or alphabet)])
        drawn = min(length - 2, 40)
        middle = st.text(alphabet, min_size=drawn, max_size=drawn)
        ends = st.tuples(st.sampled_from(first or alphabet), middle, st.sampled_from(last or alphabet))
        return ends.map(lambda parts: parts[0] + _stretched(parts[1], length - 2) + parts[2])

    return lengths.flatmap(word)


def _stretched(text: str, length: int) -> str:
    return (text * (length // max(len(text), 1) + 1))[:length]


_LOWER, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "0123456789"
_ALNUM = _LOWER + _LOWER.upper() + _DIGITS


def fitting(kind: Any, *candidates: str) -> st.SearchStrategy[str]:  # noqa: ANN401 - a type expression
    """Those of the candidates that the models take for a ``kind``."""
    adapter = pydantic.TypeAdapter(kind)
    return st.sampled_from([value for value in candidates if _is_valid(adapter, value)])


def _is_valid(adapter: "pydantic.TypeAdapter[Any]", value: object) -> bool:
    try:
        adapter.validate_python(value)
    except pydantic.ValidationError:
        return False
    return True


_SHORT, _LONG = texts(253), texts(4096)
_IDS = of(_ALNUM + "-", 63) | st.sampled_from(["--help", "-", "0e8e40ba-0000-4000-8000-00AA00bb00Cc"])
_IDS_FOR_LABELS = _IDS.filter(lambda text: text.strip("-") != "")
_PATHS = st.one_of(
    texts(4095).map(lambda text: f"/{text}"),
    texts(60).map(lambda text: f"/paperclip/{text}"),
    st.sampled_from(["/", "/paperclip", "/paperclip/", "//paperclip/w", "/paperclip/../etc", "/paperclip/w x"]),
)
_OBJECT_NAMES = st.one_of(
    of(_LOWER + _DIGITS + "-", 253, first=_LOWER + _DIGITS, last=_LOWER + _DIGITS),
    fitting(base.ObjectName, "a", "0", "a.b-c.d", "a--b", "a..b", "a.-b", "a-.b", "xn--a", "1.2.3.4", "a" * 253),
)
_DATA_KEYS = of("-_.aZ9", 253, first="-_aZ9") | fitting(
    base.DataKey, "a", "-", "_", ".a", ".", "..", "..data", ".-.", "a" * 253
)
_FREE_JSON = st.dictionaries(
    texts(20),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9).map(float) | texts(40),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(10), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


def _object(required: Mapping[str, Any] | None = None, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(dict(required or {}), optional=optional)


# --- what the agent is given ----------------------------------------------------------------------------------------

_PLACEHOLDERS = (
    *("agent.id", "agent.name", "company.id", "run.id", "run.source", "task.id", "session.id", "session.cwd"),
    *("wake.reason", "wake.commentId", "approval.id", "approval.status", "workspace.cwd", "workspace.branch"),
    *("agentId", "runId", "context.issueIds", "context.paperclipSessionHandoffMarkdown"),
)


def _has_no_placeholder(text: str) -> bool:
    return "{{" not in text


_TEMPLATES = st.lists(
    st.one_of(
        texts(60).filter(_has_no_placeholder),
        st.sampled_from(_PLACEHOLDERS).map(lambda name: f"{{{{ {name} }}}}"),
        st.sampled_from(["\\{{x}}", "{{ x,", "/clear", "\0", "{{}}", "{{a b}}"]),
    ),
    max_size=6,
).map(" ".join)
_MARKDOWN = texts(3000) | texts(200)
_PROMPT_TEXTS = st.one_of(
    st.tuples(_TEMPLATES, _TEMPLATES).map("Do it.".join),  # never blank
    st.just("/compact"),
    of_length(200_000),
)
_KEY_REFS = st.fixed_dictionaries({"name": _OBJECT_NAMES, "key": _DATA_KEYS})
_PROMPTS = st.one_of(
    *(
        _object({source: value}, bootstrap=_TEMPLATES, handoff=_MARKDOWN)
        for source, value in {"text": _PROMPT_TEXTS, "secretKeyRef": _KEY_REFS, "configMapKeyRef": _KEY_REFS}.items()
    )
)
_SESSIONS = _object({"id": of(_ALNUM + "-", 128, first=_ALNUM)}, cwd=_PATHS)
_WAKES = _object(
    reason=_LONG,
    commentId=_SHORT,
    payload=_FREE_JSON
    | st.fixed_dictionaries({"comments": st.lists(_object(body=texts(40)) | st.none(), max_size=3), "reason": _LONG}),
)
_WORKSPACES = _object(
    cwd=_PATHS,
    source=_SHORT,
    strategy=_SHORT,
    id=_SHORT,
    repoUrl=_LONG,
    repoRef=_LONG,
    branch=_LONG,
    worktreePath=_PATHS,
    agentHome=_PATHS,
    workspaces=st.lists(_FREE_JSON, max_size=3),
    runtimeServices=st.lists(_FREE_JSON, max_size=3),
    runtimeServiceIntents=st.lists(_FREE_JSON, max_size=3),
    runtimePrimaryUrl=_LONG,
)
_FOLDERS = of("aZ9._-", 24, first="aZ9")
_FILES = st.lists(of("aZ9._-", 24, first="aZ9_-"), min_size=1, max_size=4).map("/".join)
_SKILLS = st.fixed_dictionaries(
    {
        "name": of(_ALNUM + "._-", 63, first=_ALNUM),
        "path": texts(80).map(lambda text: f"/paperclip/skills{text.replace('..', '')}"),
    }
) | st.fixed_dictionaries(
    {
        "name": of(_ALNUM + "._-", 63, first=_ALNUM),
        "configMapRef": _object(
            {"name": _OBJECT_NAMES},
            items=st.dictionaries(_FILES, _DATA_KEYS, max_size=3).map(
                lambda files: [{"key": key, "path": path} for path, key in files.items()]
            ),
        ),
    }
)
_BUNDLES = _object(
    instructions=_MARKDOWN | of_length(60_000),
    skills=st.lists(_SKILLS, max_size=4, unique_by=lambda skill: skill["name"]),
)


# --- how it is run --------------------------------------------------------------------------------------------------

_OPTIONS = of(_LOWER + "-=", 30).map(lambda word: f"--x{word}") | st.sampled_from(
    ["--debug", "-d", "--allowedTools=Bash(git:*)", "--mcp-config", "--models", "--printer", "--Print"]
)
_WORDS = texts(8000).filter(lambda text: not text.startswith("-")) | st.sampled_from(
    ["", "-", "-1", "- print", '{"mcpServers": {}}']
)
_EXTRA_ARGS: st.SearchStrategy[list[str]] = st.builds(
    lambda first, others: [*first, *others] if first else [],
    st.lists(_OPTIONS, max_size=1),
    st.lists(_OPTIONS | _WORDS, max_size=5),
)
_DECIMALS = st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,6})?", fullmatch=True)
_CLAUDE = _object(
    model=of(_ALNUM + "._:/@[]-", 256, first=_ALNUM) | st.just("opus[1m]"),
    effort=st.sampled_from(["low", "medium", "high", "xhigh", "max"]),
    maxTurns=st.sampled_from([1, 100_000]) | st.integers(1, 100_000),
    maxBudgetUSD=_DECIMALS,
    maxRetries=st.sampled_from([0, 100]),
    apiTimeoutSeconds=st.sampled_from([1, 86_400]),
    skipPermissions=st.booleans(),
    extraArgs=_EXTRA_ARGS,
    configDir=st.sampled_from(["PerAgent", "Shared"]),
)

_REGISTRIES = st.sampled_from(["", "docker.io/", "registry.example:5000/", "[2001:db8::1]:5000/", "localhost/"])
_TAGS = st.sampled_from(["", ":1", ":Latest_2.1.329", f":{'a' * 128}", f"@sha256:{'0' * 64}", f":1@sha256:{'f' * 64}"])
_IMAGES = st.tuples(_REGISTRIES, st.lists(of(_LOWER + _DIGITS, 20), min_size=1, max_size=3).map("/".join), _TAGS).map(
    "".join
) | fitting(models.Job.model_fields["image"].annotation, "a", "a" * 255, "a ", " a", "a\n")

_DNS_LABELS = of(_LOWER + _DIGITS + "-", 63, first=_LOWER + _DIGITS, last=_LOWER + _DIGITS)
_PREFIXES = st.just("") | st.lists(_DNS_LABELS, min_size=1, max_size=3).map(lambda labels: ".".join(labels) + "/")
_KEY_NAMES = of(_ALNUM + "-_.", 63, first=_ALNUM, last=_ALNUM)
_TAKEN_KEYS = {"controller-uid", "job-name"}
LABEL_KEYS = st.tuples(_PREFIXES, _KEY_NAMES).map("".join).filter(lambda key: key not in _TAKEN_KEYS)
LABEL_VALUES = st.just("") | of(_ALNUM + "-_.", 63, first=_ALNUM, last=_ALNUM)
_NODE_SELECTORS = st.dictionaries(LABEL_KEYS, LABEL_VALUES, max_size=4)


def _odd_keys(field: str) -> st.SearchStrategy[str]:
    """Those of some odd keys that the models take in ``field``."""
    prefixes = ("", "A/", "a..b/", "a-.b/", "-a/", "a.b-c.d/", f"{'a' * 63}.example/", f"{'a' * 64}/", "paperclip.iox/")
    candidates = [f"{prefix}{name}" for prefix in prefixes for name in ("a", "A_b-c.9", "a" * 63)]
    adapter = pydantic.TypeAdapter(models.Job)
    return st.sampled_from([key for key in candidates if _is_valid(adapter, {field: {key: "a"}})])


_VARIABLE_NAMES = of(_ALNUM + "-_.", 253, first=_LOWER + "_-") | st.sampled_from(
    ["HOME", "PATH", "TMPDIR", "CLAUDE_CONFIG_DIR", "PAPERCLIP_API_KEY", "PAPERCLIP_RUN_ID", "_", "-", "a.b-c", ".a"]
)
_SOURCES = st.one_of(
    *(
        _object({"name": _DNS_LABELS, "key": of("-_.aZ9", 60, first="aZ9")}, optional=st.booleans()).map(
            lambda ref, kind=kind: {kind: ref}  # type: ignore[misc]  # binds the loop's variable
        )
        for kind in ("secretKeyRef", "configMapKeyRef")
    ),
    st.sampled_from(["metadata.name", "metadata.namespace", "status.podIP", "metadata.labels['a']"]).map(
        lambda path: {"fieldRef": {"fieldPath": path}}
    ),
    st.just({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}),
)
_ENV = st.lists(
    st.one_of(
        st.fixed_dictionaries({"name": _VARIABLE_NAMES, "value": texts((base.MAX_ARGUMENT_BYTES - 256) // 4)}),
        st.fixed_dictionaries({"name": _VARIABLE_NAMES, "valueFrom": _SOURCES}),
        st.fixed_dictionaries({"name": _VARIABLE_NAMES}),
    ),
    max_size=5,
    unique_by=lambda variable: variable["name"],
)
_ENV_FROM = st.lists(
    st.one_of(
        *(
            _object(
                {kind: _object({"name": _DNS_LABELS}, optional=st.booleans())}, prefix=st.sampled_from(["", "A_", "a."])
            )
            for kind in ("secretRef", "configMapRef")
        )
    ),
    max_size=3,
)

# Requests in ascending order, each with limits that are not below it.
_CPU = ((0, "100m", "1"), ("10m", "250m", 1), ("1", 2, "3.5"), ("0.1", "1e3"), ("64", "64"))
_MEMORY = (("16Mi", "1Gi", "64Gi"), (1_000_000, "1G"), ("1.5Gi", "1536Mi", "2Gi"), ("128974848", "129e6"))


@st.composite
def _resources(draw: st.DrawFn) -> Json:
    made: Json = {}
    for name, rows in {"cpu": _CPU, "memory": _MEMORY, "ephemeral-storage": _MEMORY}.items():
        row = draw(st.sampled_from(rows))
        low, high = sorted(draw(st.tuples(*[st.integers(0, len(row) - 1)] * 2)))
        which = draw(st.sampled_from(["none", "requests", "limits", "both"]))
        if which in {"requests", "both"}:
            made.setdefault("requests", {})[name] = row[low]
        if which in {"limits", "both"}:
            made.setdefault("limits", {})[name] = row[high]
    if draw(st.booleans()):
        made.setdefault("limits", {})["nvidia.com/gpu"] = draw(st.sampled_from([0, 1, "8"]))
    return made


_TOLERATIONS = st.lists(
    st.one_of(
        st.just({"operator": "Exists"}),
        _object(
            {"key": LABEL_KEYS, "operator": st.just("Exists")},
            effect=st.sampled_from(["NoSchedule", "PreferNoSchedule"]),
        ),
        _object({"key": LABEL_KEYS, "value": LABEL_VALUES}, operator=st.just("Equal")),
        _object(
            {"key": LABEL_KEYS, "operator": st.just("Exists"), "effect": st.just("NoExecute")},
            tolerationSeconds=st.sampled_from([-1, 0, 3600]),
        ),
    ),
    max_size=4,
)


def _agent(**fields: Any) -> Json:
    return {"spec": {"containers": [{"name": "claude", **fields}]}}


_UNPRIVILEGED = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "In", "values": ["a", "b"]}]}]
        }
    }
}
_SPREAD = {
    "maxSkew": 1,
    "topologyKey": "kubernetes.io/hostname",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "agent-job"}},
}
_POD_TEMPLATES = st.sampled_from(
    [
        {},
        {"metadata": {"labels": {"example.com/team": "web"}, "annotations": {"example.com/note": "ü\n"}}},
        {"spec": {"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["git.example"]}]}},
        {"spec": {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"]}}},
        {"spec": {"enableServiceLinks": None, "securityContext": {"fsGroup": 2000, "supplementalGroups": [3000]}}},
        {"spec": {"affinity": _AFFINITY, "topologySpreadConstraints": [_SPREAD]}},
        {"spec": {"schedulerName": "other", "terminationGracePeriodSeconds": 30, "hostname": "agent"}},
        {"spec": {"volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi", "medium": "Memory"}}]}},
        {"spec": {"initContainers": [{"name": "clone", "image": "git:1", "securityContext": _UNPRIVILEGED}]}},
        {"spec": {"containers": [{"name": "proxy", "image": "proxy:1", "securityContext": _UNPRIVILEGED}]}},
        {
            "spec": {
                "volumes": [{"name": "cache", "emptyDir": {}}],
                **_agent(volumeMounts=[{"name": "cache", "mountPath": "/cache"}])["spec"],
            }
        },
        _agent(env=[{"name": "EXTRA", "value": "$(HOME)"}, {"name": "SHELL", "$patch": "delete"}]),
        _agent(resources=None, ports=[{"containerPort": 8080}], imagePullPolicy="Always"),
        _agent(securityContext={"readOnlyRootFilesystem": True}, lifecycle=None),
    ]
)
_JOBS = _object(
    image=_IMAGES,
    imagePullPolicy=st.sampled_from(["Always", "IfNotPresent", "Never"]),
    imagePullSecrets=st.lists(_DNS_LABELS, max_size=3, unique=True).map(lambda named: [{"name": n} for n in named]),
    serviceAccountName=st.just("default"),  # admission looks any other one up
    env=_ENV,
    envFrom=_ENV_FROM,
    resources=_resources(),
    nodeSelector=_NODE_SELECTORS,
    tolerations=_TOLERATIONS,
    labels=st.dictionaries(LABEL_KEYS | _odd_keys("labels"), LABEL_VALUES, max_size=4),
    # A single one may have 65,536 characters, but all of a Job together only 256 KiB, which nobody counts before.
    annotations=st.dictionaries(LABEL_KEYS | _odd_keys("annotations"), texts(15_000), max_size=4),
    queueName=_DNS_LABELS,
    workingDir=_PATHS,
    inheritFromOperator=st.booleans(),
    podTemplate=_POD_TEMPLATES,
)

# --- the whole ------------------------------------------------------------------------------------------------------

_YEAR = 31_536_000
_TIMEOUTS = _object(
    timeoutSeconds=st.sampled_from([0, 1, 3600, _YEAR]),
    graceSeconds=st.sampled_from([0, 86_400]),
    pendingSeconds=st.sampled_from([1, 604_800]),
    stallSeconds=st.sampled_from([0, 1, 604_800]),
    resultGraceSeconds=st.sampled_from([1, 86_400]),
)
_RETRIES = _object(
    limit=st.sampled_from([0, 1, 100]),
    on=st.lists(st.sampled_from([code.value for code in errors.ErrorCode]), max_size=3),
    backoffSeconds=st.sampled_from([0, 86_400]),
    resumeSession=st.booleans(),
)
_TTLS = st.sampled_from([0, 1, _YEAR])
_RETENTIONS = _object(
    jobTTLSecondsAfterFinished=_TTLS,
    retainJob=st.booleans(),
    log=st.sampled_from(["WithRun", "AfterFinished", "Never"]),
    redactLog=st.booleans(),
    runTTLSecondsAfterSucceeded=_TTLS,
    runTTLSecondsAfterFailed=_TTLS,
)
_ISSUE_IDS = texts(253, least=1, exclude=",")

_SPECS = _object(
    {
        "companyId": _IDS_FOR_LABELS,
        "agent": _object({"id": _IDS_FOR_LABELS}, name=_SHORT | st.just("nul \0 and more")),
        "prompt": _PROMPTS,
        "job": _JOBS,
    },
    runId=_IDS,
    taskId=_IDS,
    session=_SESSIONS,
    wake=_WAKES,
    approval=_object(id=_SHORT, status=_SHORT),
    linkedIssueIds=st.lists(_ISSUE_IDS, max_size=4) | _ISSUE_IDS.map(lambda issue: [issue] * 256),
    workspace=_WORKSPACES,
    bundle=_BUNDLES,
    claude=_CLAUDE,
    apiTokenSecretRef=_KEY_REFS,
    timeouts=_TIMEOUTS,
    concurrencyPolicy=st.sampled_from(["Queue", "Forbid", "Replace"]),
    priority=st.sampled_from([-1000, 0, 1000]),
    reattach=st.booleans(),
    retry=_RETRIES,
    retention=_RETENTIONS,
    cancel=st.booleans(),
    suspend=st.booleans(),
)


def specs() -> st.SearchStrategy[Json]:
    """``spec`` of an AgentRun that can be run."""
    return _SPECS.map(lambda spec: json.loads(json.dumps(spec)))  # nothing in it is shared with another one
