"""Prompt Secret and Job of a run: whole manifests first, then what must hold in each of them, then what is refused.

``UPDATE_GOLDENS=1 python -m pytest tests/unit/test_manifest.py`` writes the goldens anew; read the diff before you
commit.
"""

import base64
import difflib
import hashlib
import json
import os
import pathlib
from typing import Any

import hypothesis
import pytest
import yaml
from hypothesis import strategies as st

from agentrun_operator import errors, facts, manifest, models, names, prompts, settings
from agentrun_operator.manifest import claude as claude_command
from agentrun_operator.manifest import inheritance
from tests import builders, deps, expansion

GOLDENS = pathlib.Path(__file__).parents[1] / "data" / "manifests"
PROMPT = "Fix the login page; the secret word is xyzzy."
INSTRUCTIONS = "You are Cody. The password is plugh."
SCRIPT = deps.SCRIPTS.run_agent
CONFIG = settings.Settings(image="registry.example/agent:1")

EVERYTHING: dict[str, Any] = {
    "agent": {"id": "Coder-7", "name": "Cody the Coder"},
    "taskId": "ISSUE-12",
    "session": {"id": "0b6c9e7e-1111-4222-8333-444455556666", "cwd": "/paperclip/workspaces/login"},
    "claude": {
        "model": "opus[1m]",
        "effort": "high",
        "maxTurns": 50,
        "maxBudgetUSD": "2.50",
        "maxRetries": 0,
        "apiTimeoutSeconds": 120,
        "skipPermissions": False,
    },
    "job": {
        "image": "registry.example/other:2",
        "imagePullPolicy": "Always",
        "imagePullSecrets": [{"name": "pull"}],
        "serviceAccountName": "coder",
        "env": [
            {"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "claude", "key": "key"}}},
            {"name": "SCRATCH", "value": "/scratch"},
            {"name": "TMPDIR", "value": "$(SCRATCH)/tmp"},
            {"name": "HOME", "value": "/root"},
            {"name": "CLAUDE_CONFIG_DIR", "value": "/shared"},
        ],
        "envFrom": [{"configMapRef": {"name": "proxy"}}],
        "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "4Gi"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "agents", "operator": "Exists"}],
    },
    "timeouts": {"timeoutSeconds": 3600},
    "retention": {"retainJob": True},
}
HOST_NETWORK: dict[str, Any] = {
    "metadata": {"annotations": {"example.com/team": "web"}, "labels": {"example.com/cost": "42"}},
    "spec": {
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "enableServiceLinks": None,
        "securityContext": {"fsGroup": 2000},
        "containers": [
            {
                "name": "claude",
                "env": [{"name": "HTTPS_PROXY", "value": "http://127.0.0.1:3128"}],
                "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                "resources": {"limits": {"memory": "16Gi"}},
            },
            {"name": "proxy", "image": "registry.example/proxy:1"},
        ],
        "volumes": [{"name": "cache", "emptyDir": {}}, {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
    },
}
CONTEXT: dict[str, Any] = {
    "agent": {"id": "coder", "name": "Cody"},
    "taskId": "ISSUE-12",
    "prompt": {
        "text": "{{agent.name}} of {{company.id}}: work on {{task.id}} in {{workspace.branch}}; \\{{x}} stays.",
        "bootstrap": "You are {{agent.name}}.",
        "handoff": "# So far\nNothing works.\n",
    },
    "wake": {
        "reason": " issue_commented ",
        "commentId": "c-9",
        "payload": {"reason": "ignored", "comments": [{"body": "Please $(hurry) “up”."}, {"no": "body"}], "n": None},
    },
    "approval": {"id": "ap-1", "status": "approved"},
    "linkedIssueIds": ["I-1", "I 2"],
    "workspace": {
        "cwd": "/paperclip/workspaces/login",
        "source": "project_primary",
        "strategy": "git_worktree",
        "id": "ws-1",
        "repoUrl": "https://git.example/login.git",
        "repoRef": "main",
        "branch": "fix/$(login)",
        "worktreePath": "/paperclip/worktrees/ws-1",
        "agentHome": "/paperclip/agents/coder",
        "workspaces": [{"id": "ws-1"}, {"id": "ws-2", "é": [1, None]}],
        "runtimeServices": [{"name": "web", "port": 3000}],
        "runtimeServiceIntents": [{"name": "db"}],
        "runtimePrimaryUrl": "http://web:3000",
    },
    "apiTokenSecretRef": {"name": "paperclip-token", "key": "token"},
}
BUNDLE: dict[str, Any] = {
    "bundle": {
        "instructions": INSTRUCTIONS,
        "skills": [
            {"name": "review", "path": "/paperclip/skills/review"},
            {"name": "deploy", "configMapRef": {"name": "skill-deploy"}},
            {
                "name": "test",
                "configMapRef": {"name": "skills", "items": [{"key": "test.md", "path": "SKILL.md"}]},
            },
        ],
    },
    "claude": {"extraArgs": ["--append-system-prompt", 'It\'s "quoted"\n$(HOME) `id` $$ -- ü', "--debug"]},
}
OVERRIDES: dict[str, Any] = {
    **EVERYTHING,
    "claude": {**EVERYTHING["claude"], "configDir": "Shared", "extraArgs": ["--allowedTools", "Bash(git:*) Edit"]},
    "job": {
        **EVERYTHING["job"],
        "labels": {"example.com/team": "web"},
        "annotations": {"example.com/note": "free text: ü"},
        "priorityClassName": "agents",
        "queueName": "agents",
        "workingDir": "/paperclip/elsewhere",
        "inheritFromOperator": False,
    },
}
OWN_POD: dict[str, Any] = {
    "metadata": {"name": "agentrun-operator-0", "namespace": "team-a"},
    "spec": {
        "containers": [
            {
                "name": "operator",
                "image": "registry.example/operator:1",
                "env": [
                    {"name": "AGENTRUN_IMAGE", "value": "secret settings"},
                    {"name": "PAPERCLIP_API_URL", "value": "http://paperclip:3100"},
                    {"name": "ANTHROPIC_API_KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "anthropic"}}},
                    {"name": "CLAUDE_CODE_USE_BEDROCK", "value": "1"},
                    {"name": "DATABASE_PASSWORD", "value": "hunter2"},
                    {"name": "PAPERCLIP_RUN_ID", "value": "never"},
                ],
                "envFrom": [{"secretRef": {"name": "bedrock"}}, {"secretRef": {"name": "database"}}],
                "volumeMounts": [
                    {"name": "shared", "mountPath": "/paperclip"},
                    {"name": "ssh", "mountPath": "/etc/ssh-keys"},
                ],
            }
        ],
        "imagePullSecrets": [{"name": "registry"}],
        "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
        "volumes": [
            {"name": "shared", "persistentVolumeClaim": {"claimName": "the-shared-claim"}},
            {"name": "ssh", "secret": {"secretName": "ssh-keys", "defaultMode": 256}},
        ],
    },
}
INSIDE = settings.Settings(
    image="registry.example/agent:1",
    pod_name="agentrun-operator-0",
    pod_namespace="team-a",
    inherit_env_from="bedrock",
    inherit_secret_volumes="ssh",
    api_url="http://not-inherited:1",
    node_selector="pool=agents",
    job_labels="example.com/cost=42",
)
INHERITED = inheritance.parse_own_pod(OWN_POD, INSIDE)
RUNS: dict[str, dict[str, Any]] = {
    "minimal": {},
    "resumed": EVERYTHING,
    "full-context": CONTEXT,
    "resumed-with-wake": {**CONTEXT, "session": {"id": "s-1", "cwd": "/paperclip/workspaces/login"}},
    "fresh-with-bootstrap-and-handoff": {"prompt": {**CONTEXT["prompt"], "text": PROMPT}},
    "all-overrides": OVERRIDES,
    "odd-names": {
        "companyId": "-A-",
        "agent": {"id": "A" * 63, "name": "Ünï\n{{x}}"},
        "runId": "-" + "9" * 62,
        "taskId": "--help",
    },
    "bundle": BUNDLE,
    "prompt-900-kib": {"prompt": "é" * (450 * 1024)},
    "restricted-namespace": {"namespace": "restricted", **BUNDLE},
    "hostnetwork": {"job": {"podTemplate": HOST_NETWORK}},
    "inherited": {},
    "inherited-elsewhere": {"namespace": "team-b"},
    "not-inherited": {"job": {"inheritFromOperator": False}},
}


class Dumper(yaml.SafeDumper):
    """YAML as people write it: no anchors, and scripts as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        return True


Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def run_of(**spec: Any) -> models.AgentRun:
    """An AgentRun with a prompt that must not be found anywhere."""
    return models.AgentRun.parse(builders.agent_run(**{"prompt": PROMPT, **spec}))


def template_of(text: str) -> manifest.Template:
    """The main template, as if it stood in the run itself."""
    return manifest.Template(text=text, source="spec.prompt.text")


def build(
    run: models.AgentRun, config: settings.Settings = CONFIG, inherited: inheritance.Inherited = inheritance.NOTHING
) -> manifest.Manifests:
    """Its Secret and its Job."""
    template = template_of(run.spec.prompt.text or "")
    return manifest.build(run, config, template=template, scripts=deps.SCRIPTS, inherited=inherited)


def build_named(name: str) -> manifest.Manifests:
    """Those of a golden."""
    run = run_of(**RUNS[name])
    return build(run, INSIDE, INHERITED) if "inherited" in name else build(run)


def job_of(config: settings.Settings = CONFIG, **spec: Any) -> dict[str, Any]:
    """Its Job."""
    return dict(build(run_of(**spec), config).job)


def pod_of(**spec: Any) -> dict[str, Any]:
    """The spec of its pod."""
    pod: dict[str, Any] = job_of(**spec)["spec"]["template"]["spec"]
    return pod


def agent_of(**spec: Any) -> dict[str, Any]:
    """The container of the agent."""
    return container_of(job_of(**spec))


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    """The same, of this Job."""
    return next(c for c in job["spec"]["template"]["spec"]["containers"] if c["name"] == "claude")


def environment_of(**spec: Any) -> dict[str, Any]:
    """Its variables with literal values; each name stands there once."""
    entries = agent_of(**spec)["env"]
    assert len({entry["name"] for entry in entries}) == len(entries)
    return {entry["name"]: entry.get("value") for entry in entries}


def refusal(code: str, **spec: Any) -> str:
    """The sentence that the run is refused with, under this code."""
    with pytest.raises(errors.InvalidRunError) as caught:
        job_of(**spec)
    assert caught.value.code == code
    return str(caught.value)


# --- whole manifests ------------------------------------------------------------------------------------------------


def readable(data: dict[str, str]) -> dict[str, str]:
    """What a Secret holds, as text; what is too long to be read, by its length and hash."""
    texts = {key: base64.b64decode(value) for key, value in data.items()}
    return {
        key: text.decode() if len(text) < 2000 else f"{len(text)} bytes, sha256 {hashlib.sha256(text).hexdigest()}"
        for key, text in texts.items()
    }


@pytest.mark.parametrize("name", RUNS)
def test_the_whole_manifest_is_as_agreed(name: str) -> None:
    """Every change of what is created shows in a diff of a golden."""
    made = build_named(name)
    documents = [{**made.secret, "data": readable(made.secret["data"])}, made.job]
    text = yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)
    golden = GOLDENS / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDENS"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8")
    agreed = golden.read_text(encoding="utf-8")
    diff = "\n".join(difflib.unified_diff(agreed.splitlines(), text.splitlines(), str(golden), "built", lineterm=""))
    assert not diff, f"{diff}\n\nIf this is meant: UPDATE_GOLDENS=1 python -m pytest {__file__}"


def test_there_is_no_golden_without_a_test() -> None:
    """A file that nothing compares with would be believed."""
    assert sorted(path.stem for path in GOLDENS.iterdir()) == sorted(RUNS)


# --- invariants -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=RUNS)
def job(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The Job of each golden."""
    return dict(build_named(request.param).job)


def test_there_is_at_most_one_pod_ever(job: dict[str, Any]) -> None:
    """No retry, no second pod beside the first, no container started again."""
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_no_word_of_the_prompt_is_in_the_job(job: dict[str, Any]) -> None:
    """Whoever may read Jobs may not therefore read prompts."""
    text = yaml.safe_dump(job, width=10_000)
    for form in (PROMPT, "xyzzy", "plugh", "ééé", base64.b64encode(PROMPT.encode()).decode()):
        assert form not in text


def test_the_pod_holds_no_service_account_token(job: dict[str, Any]) -> None:
    """An agent that runs any command it likes must not speak to the API server."""
    assert job["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_the_pod_passes_the_restricted_level(job: dict[str, Any]) -> None:
    """Pod Security Standards, restricted; a container that a user added answers for itself."""
    pod = job["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["runAsUser"] > 0
    for container in [*pod["initContainers"], pod["containers"][0]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {
        "secret",
        "persistentVolumeClaim",
        "emptyDir",
        "configMap",
    }


def test_the_agent_is_asked_to_end_in_time_for_a_cancelled_run(job: dict[str, Any]) -> None:
    """The Job has to be gone within 15 seconds; the entry script takes 9 of them at most."""
    assert 9 < job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] < 15


@pytest.mark.parametrize("name", RUNS)
def test_both_objects_belong_to_the_run_from_the_start(name: str) -> None:
    """Deleting the AgentRun removes them, whatever became of the operator."""
    made = build_named(name)
    for built in (made.secret, made.job):
        assert built["metadata"]["namespace"] == RUNS[name].get("namespace", "team-a")
        assert built["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "paperclip.io/v1alpha1",
                "kind": "AgentRun",
                "name": "fix-login",
                "uid": builders.RUN_UID,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]


@pytest.mark.parametrize("name", RUNS)
def test_the_labels_are_on_all_three_objects_and_find_the_agents_runs(name: str) -> None:
    """Watches select by them, and so does the guard of one live run per agent."""
    made = build_named(name)
    labels = made.secret["metadata"]["labels"]
    assert labels[names.LABEL_MANAGED_BY] == names.MANAGED_BY
    assert {*names.AGENT_LABELS, names.LABEL_RUN_ID} <= labels.keys() <= set(names.OWN_LABELS)
    assert labels.items() <= made.job["metadata"]["labels"].items()
    assert labels.items() <= made.job["spec"]["template"]["metadata"]["labels"].items()


def test_the_agent_writes_where_the_annotation_says(job: dict[str, Any]) -> None:
    """An operator started again follows the path that this Job's own annotation names."""
    path = job["metadata"]["annotations"][names.ANNOTATION_LOG_PATH]
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][0] == path
    assert pod["initContainers"][0]["command"][4] == path
    assert pod["containers"][0]["args"][1] == names.stderr_path(path)


def test_the_log_has_an_owner_file_with_the_runs_policy() -> None:
    """So that a log whose AgentRun is gone can be told from anybody else's file."""
    command = pod_of(retention={"log": "Never"})["initContainers"][0]["command"]
    assert command[5] == f"team-a {builders.RUN_UID} Never"


@pytest.mark.parametrize("name", RUNS)
def test_the_same_run_gives_the_same_objects(name: str) -> None:
    """Creating again after a crash must meet what is there, not something else of that name."""
    assert build_named(name) == build_named(name)


# --- the Secret -----------------------------------------------------------------------------------------------------


def test_the_secret_carries_prompt_and_script_byte_for_byte() -> None:
    """And cannot be changed once the pod reads it."""
    secret = build(run_of(prompt="Grüße 🎉\n")).secret
    data = {key: base64.b64decode(value) for key, value in secret["data"].items()}
    assert data == {"prompt.txt": "Grüße 🎉\n".encode(), "run-agent.sh": SCRIPT.encode()}
    assert secret["immutable"] is True
    assert secret["metadata"]["name"] == names.prompt_secret_name(job_of()["metadata"]["name"])


@pytest.mark.parametrize("letter", ["a", "é", "🎉"])
def test_a_secret_of_exactly_the_limit_is_built_and_one_byte_more_refused(letter: str) -> None:
    """The script's bytes count as well; the sentence names both numbers."""
    room = prompts.SECRET_LIMIT_BYTES - len(SCRIPT.encode())
    size = len(letter.encode())
    fits = letter * (room // size) + "a" * (room % size)
    secret = build(run_of(prompt=fits)).secret
    assert sum(len(base64.b64decode(value)) for value in secret["data"].values()) == prompts.SECRET_LIMIT_BYTES
    with pytest.raises(errors.InvalidRunError) as caught:
        build(run_of(prompt=fits + "a"))
    assert caught.value.code == "prompt_invalid"
    assert f"{room + 1:,} bytes" in str(caught.value)
    assert f"at most {room:,}" in str(caught.value)


# --- the command ----------------------------------------------------------------------------------------------------

FIRST = ["claude", "--print", "--output-format", "stream-json", "--verbose"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, ["--dangerously-skip-permissions", "--max-turns", "1000"]),
        ({"claude": {"skipPermissions": False}}, ["--max-turns", "1000"]),
        (
            {"session": {"id": "s-1"}},
            ["--resume", "s-1", "--dangerously-skip-permissions", "--max-turns", "1000"],
        ),
        (
            {"claude": {"model": "m", "effort": "max", "maxTurns": 1, "maxBudgetUSD": "0", "skipPermissions": False}},
            ["--model", "m", "--effort", "max", "--max-turns", "1", "--max-budget-usd", "0"],
        ),
    ],
)
def test_the_command_has_an_argument_for_each_option(spec: dict[str, Any], expected: list[str]) -> None:
    """And no lone hyphen, which would reach the model as text."""
    args = agent_of(**spec)["args"]
    assert args[3:] == FIRST + expected
    assert args[2] == "/run/agentrun/prompt.txt"


HOSTILE = [
    "$(HOME)",
    "$$(HOME)",
    "$$",
    "$",
    "`id`",
    "it's",
    '"',
    "a\nb",
    "-",
    "",
    " ",
    "ü 🎉",
    "\\",
    "${HOME}",
    "$((1))",
]


@pytest.mark.parametrize("word", HOSTILE)
def test_an_extra_argument_reaches_the_cli_as_it_is(word: str) -> None:
    """No shell reads it, and Kubernetes' own expansion is undone."""
    args = agent_of(claude={"extraArgs": ["--x", word]})["args"]
    assert [expansion.expand(arg, {"HOME": "/paperclip"}) for arg in args[-2:]] == ["--x", word]


@hypothesis.given(st.text(st.characters(exclude_characters="\0", codec="utf-8") | st.sampled_from("$()A"), max_size=40))
def test_every_text_is_passed_literally(word: str) -> None:
    """Whatever stands around a dollar sign."""
    assert expansion.expand(claude_command.literally(word), {"A": "x", "": "y"}) == word


def test_instructions_are_given_to_a_fresh_session_only() -> None:
    """A resumed one replays the system prompt that it was begun with; its skills are looked up anew."""
    given = {"bundle": {"instructions": "x", "skills": [{"name": "s", "path": "/paperclip/s"}]}}
    option, directory = "--append-system-prompt-file", ["--add-dir", "/run/agentrun-bundle/current"]
    fresh, resumed = agent_of(**given)["args"], agent_of(**given, session={"id": "s"})["args"]
    assert fresh[-4:] == [option, "/run/agentrun-bundle/current/agent-instructions.md", *directory]
    assert resumed[-2:] == directory
    assert option not in resumed


@pytest.mark.parametrize(
    ("bundle", "containers", "arguments"),
    [
        (None, ["prepare"], []),
        ({}, ["prepare"], []),
        ({"instructions": " \n"}, ["prepare"], []),
        ({"instructions": "x"}, ["prepare", "bundle"], ["--append-system-prompt-file"]),
        ({"skills": [{"name": "s", "path": "/paperclip/s"}]}, ["prepare", "bundle"], ["--add-dir"]),
    ],
)
def test_a_bundle_is_made_only_if_there_is_something_in_it(
    bundle: dict[str, Any] | None, containers: list[str], arguments: list[str]
) -> None:
    """An init container costs a second."""
    pod = pod_of(bundle=bundle)
    assert [c["name"] for c in pod["initContainers"]] == containers
    assert [a for a in pod["containers"][0]["args"] if a in {"--append-system-prompt-file", "--add-dir"}] == arguments
    assert ("bundle" in {v["name"] for v in pod["volumes"]}) == (len(containers) > 1)


def test_the_secret_carries_instructions_for_the_init_container_alone() -> None:
    """The agent's container sees prompt and entry script, the other one its script and the instructions."""
    made = build(run_of(bundle={"instructions": "ü"}))
    assert {k: base64.b64decode(v) for k, v in made.secret["data"].items()} == {
        "prompt.txt": PROMPT.encode(),
        "run-agent.sh": SCRIPT.encode(),
        "bundle.sh": deps.SCRIPTS.bundle.encode(),
        "instructions.md": "ü".encode(),
    }
    volumes = {v["name"]: v for v in made.job["spec"]["template"]["spec"]["volumes"]}
    assert [i["key"] for i in volumes["prompt"]["secret"]["items"]] == ["prompt.txt", "run-agent.sh"]
    assert [i["key"] for i in volumes["bundle-input"]["secret"]["items"]] == ["bundle.sh", "instructions.md"]


def test_instructions_count_against_the_secrets_limit() -> None:
    """Together with the scripts; the sentence has the sum that is left."""
    left = prompts.SECRET_LIMIT_BYTES - len(SCRIPT) - len(deps.SCRIPTS.bundle) - 1_000_000
    build(run_of(prompt="a" * left, bundle={"instructions": "i" * 1_000_000}))
    with pytest.raises(errors.InvalidRunError, match=f"at most {left:,}"):
        build(run_of(prompt="a" * (left + 1), bundle={"instructions": "i" * 1_000_000}))


@pytest.mark.parametrize("path", ["/etc/skills", "/paperclip/../etc", "/paperclipped/s", "/"])
def test_a_skill_outside_of_the_shared_volume_is_refused(path: str) -> None:
    """It would be a folder of the init container's own image."""
    sentence = refusal("k8s_pod_config_error", bundle={"skills": [{"name": "s", "path": path}]})
    assert sentence.startswith(f"spec.bundle.skills[0].path {path!r} is not below /paperclip")


# --- the environment ------------------------------------------------------------------------------------------------


def test_the_operators_variables() -> None:
    """What the CLI and Paperclip's tools look for."""
    assert environment_of(taskId="T-1") == {
        "TMPDIR": "/tmp",  # noqa: S108 - a path in the pod
        "SHELL": "/bin/bash",
        "DISABLE_AUTOUPDATER": "1",
        "PAPERCLIP_RUN_ID": "run-1",
        "PAPERCLIP_AGENT_ID": "coder",
        "PAPERCLIP_COMPANY_ID": "acme",
        "PAPERCLIP_TASK_ID": "T-1",
        "HOME": "/paperclip",
        "CLAUDE_CONFIG_DIR": "/paperclip/instances/default/claude-config/acme/coder",
    }


@pytest.mark.parametrize(
    ("claude", "name", "expected"),
    [
        ({}, "CLAUDE_CODE_MAX_RETRIES", None),
        ({}, "API_TIMEOUT_MS", None),
        ({"maxRetries": 0}, "CLAUDE_CODE_MAX_RETRIES", "0"),
        ({"apiTimeoutSeconds": 90}, "API_TIMEOUT_MS", "90000"),
    ],
)
def test_limits_of_the_api_are_set_only_if_asked_for(claude: dict[str, Any], name: str, expected: str | None) -> None:
    """Zero is an answer; left out, the CLI's own defaults hold."""
    assert environment_of(claude=claude).get(name) == expected


@pytest.mark.parametrize(
    ("env", "name", "expected"),
    [
        ([{"name": "SHELL", "value": "/bin/zsh"}], "SHELL", "/bin/zsh"),
        ([{"name": "HOME", "value": "/root"}], "HOME", "/paperclip"),
        (
            [{"name": "CLAUDE_CONFIG_DIR", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "CLAUDE_CONFIG_DIR",
            "/paperclip/instances/default/claude-config/acme/coder",
        ),
    ],
)
def test_the_last_of_a_name_wins_but_for_what_keeps_runs_apart(env: list[Any], name: str, expected: str) -> None:
    """Users may override the operator; agents that shared HOME or configuration would corrupt each other's state."""
    assert environment_of(job={"env": env})[name] == expected


def test_a_variable_may_refer_to_those_before_it() -> None:
    """Kubernetes expands $(NAME) only for earlier variables, so an overridden one stands where the user put it."""
    env = [{"name": "SCRATCH", "value": "/scratch"}, {"name": "TMPDIR", "value": "$(SCRATCH)/tmp"}]
    order = list(environment_of(job={"env": env}))
    assert order.index("SCRATCH") < order.index("TMPDIR")


@pytest.mark.parametrize("value", HOSTILE[:-2])
def test_context_reaches_the_agent_as_it_is(value: str) -> None:
    """But for blanks around it; a blank one is left out, as orchestrators expect."""
    got = environment_of(wake={"commentId": value}).get("PAPERCLIP_WAKE_COMMENT_ID")
    assert (expansion.expand(got) if got else "") == value.strip()


def test_layers_of_the_environment() -> None:
    """Inherited, then the run's context, then the user's, then what keeps agents apart; each name once."""
    given = {
        "job": {"env": [{"name": "ANTHROPIC_API_KEY", "value": "mine"}, {"name": "PAPERCLIP_TASK_ID", "value": "x"}]}
    }
    agent = build(run_of(taskId="T-1", **given), INSIDE, INHERITED).job["spec"]["template"]["spec"]["containers"][0]
    env = {e["name"]: e.get("value") for e in agent["env"]}
    assert len(env) == len(agent["env"])
    assert env["ANTHROPIC_API_KEY"] == "mine"  # over the inherited reference
    assert env["PAPERCLIP_TASK_ID"] == "x"  # over the context
    assert env["PAPERCLIP_RUN_ID"] == "run-1"  # over the inherited literal
    assert env["PAPERCLIP_API_URL"] == "http://paperclip:3100"  # over the setting
    assert env["CLAUDE_CODE_USE_BEDROCK"] == "1"
    assert not {"DATABASE_PASSWORD", "AGENTRUN_IMAGE"} & env.keys()
    assert agent["envFrom"] == [{"secretRef": {"name": "bedrock"}}]


def test_telemetry_of_the_cli_is_sent_where_a_setting_says() -> None:
    """With whose it is; and nothing that would have it tell of prompts."""
    config = CONFIG.model_copy(update={"telemetry_endpoint": "http://otel:4318", "telemetry_protocol": "http/json"})
    env = {e["name"]: e.get("value") for e in container_of(job_of(config))["env"]}
    told = {name: value for name, value in env.items() if name.startswith("OTEL_") or "TELEMETRY" in name}
    assert told == {
        "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_LOGS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://otel:4318",
        "OTEL_RESOURCE_ATTRIBUTES": "run.id=run-1,agent.id=coder,company.id=acme,agentrun.name=fix-login,"
        "k8s.namespace.name=team-a",
    }


def test_without_a_telemetry_endpoint_nothing_is_sent() -> None:
    """The default."""
    assert not [name for name in environment_of() if name.startswith("OTEL_") or "TELEMETRY" in name]


@pytest.mark.parametrize(
    ("endpoint", "traces", "number", "expected"),
    [
        ("http://otel:4317", True, 0, "00-cd6aaf59c68266cae49eba870d98b42c-8a8bbdad4fd7e864-01"),
        ("http://otel:4317", True, 1, "00-47a7f510f12a95d669428eadf2bd79d4-b30f6930d2a3272c-01"),
        ("http://otel:4317", False, 0, None),
        ("", True, 0, None),
    ],
)
def test_what_the_cli_sends_belongs_to_the_trace_of_its_attempt(
    endpoint: str,
    traces: bool,  # noqa: FBT001 - a column of the table
    number: int,
    expected: str | None,
) -> None:
    """If both are sent at all. The same for every operator: a Job that is made again is the same Job."""
    config = CONFIG.model_copy(update={"telemetry_endpoint": endpoint, "traces": traces})
    run = run_of()
    run = run.model_copy(update={"status": run.status.model_copy(update={"attempt": number})})
    env = {e["name"]: e.get("value") for e in container_of(dict(build(run, config).job))["env"]}
    assert env.get("TRACEPARENT") == expected


def test_a_run_has_its_own_telemetry() -> None:
    """Say, with a header that is a secret, or to another place."""
    config = CONFIG.model_copy(update={"telemetry_endpoint": "http://otel:4317"})
    secret = {"valueFrom": {"secretKeyRef": {"name": "otel", "key": "headers"}}}
    given = [{"name": "OTEL_EXPORTER_OTLP_HEADERS", **secret}, {"name": "OTEL_LOGS_EXPORTER", "value": "none"}]
    env = {e["name"]: e for e in container_of(job_of(config, job={"env": given}))["env"]}
    assert env["OTEL_EXPORTER_OTLP_HEADERS"]["valueFrom"] == secret["valueFrom"]
    assert env["OTEL_LOGS_EXPORTER"]["value"] == "none"
    assert env["OTEL_EXPORTER_OTLP_PROTOCOL"]["value"] == "grpc"


def test_a_run_elsewhere_inherits_only_what_needs_no_namespace() -> None:
    """Secrets and claims of the operator's namespace do not exist in another one."""
    pod = build(run_of(namespace="team-b"), INSIDE, INHERITED).job["spec"]["template"]["spec"]
    env = {e["name"]: e for e in pod["containers"][0]["env"]}
    assert env["CLAUDE_CODE_USE_BEDROCK"]["value"] == "1"
    assert "ANTHROPIC_API_KEY" not in env
    assert "envFrom" not in pod["containers"][0]
    assert {v["name"] for v in pod["volumes"]} == {"prompt", "data", "tmp"}
    assert pod["volumes"][1]["persistentVolumeClaim"]["claimName"] == "paperclip-data"


@pytest.mark.parametrize(
    ("config", "inherited", "claim"),
    [
        (INSIDE, INHERITED, "the-shared-claim"),
        (INSIDE.model_copy(update={"pvc_name": "named"}), INHERITED, "named"),
        (INSIDE, inheritance.NOTHING, "paperclip-data"),
    ],
)
def test_the_claim_is_the_setting_else_the_operators_own(
    config: settings.Settings, inherited: inheritance.Inherited, claim: str
) -> None:
    """Else the documented name."""
    pod = build(run_of(), config, inherited).job["spec"]["template"]["spec"]
    assert pod["volumes"][1] == {"name": "data", "persistentVolumeClaim": {"claimName": claim}}


def test_a_wake_payload_of_exactly_the_limit_is_accepted_and_one_byte_more_refused() -> None:
    """The kernel takes no longer variable; the sentence has both numbers."""
    most = 131_072 - 64
    fits = {"a": "é" * ((most - len('{"a":""}')) // 2)}
    assert len(environment_of(wake={"payload": fits})["PAPERCLIP_WAKE_PAYLOAD_JSON"].encode()) == most
    sentence = refusal("k8s_pod_config_error", wake={"payload": {"a": fits["a"] + "b"}})
    assert sentence.startswith(f"spec.wake.payload is {most + 1:,} bytes as JSON")
    assert f"can hold {most:,}" in sentence


@pytest.mark.parametrize(("letter", "bytes_each"), [("a", 1), ("é", 2)])
def test_a_variable_longer_than_the_kernel_takes_is_refused(letter: str, bytes_each: int) -> None:
    """Bytes count, with the name and the closing NUL; the API server counts characters."""
    most = 131_072 - len("AB=") - 1
    value = letter * (most // bytes_each)
    assert environment_of(job={"env": [{"name": "AB", "value": value}]})["AB"] == value
    sentence = refusal("k8s_pod_config_error", job={"env": [{"name": "AB", "value": value + letter}]})
    assert sentence.startswith("spec.job.env: the value of AB is 131,0")
    assert f"at most {most:,}" in sentence


def test_the_api_token_comes_by_reference_and_users_may_override_it() -> None:
    """Never as a literal in the Job."""
    ref = {"apiTokenSecretRef": {"name": "tokens", "key": "k"}}
    [entry] = [e for e in agent_of(**ref)["env"] if e["name"] == "PAPERCLIP_API_KEY"]
    assert entry["valueFrom"] == {"secretKeyRef": {"name": "tokens", "key": "k"}}
    own = {"job": {"env": [{"name": "PAPERCLIP_API_KEY", "value": "x"}]}}
    assert environment_of(**ref, **own)["PAPERCLIP_API_KEY"] == "x"


def test_a_shared_configuration_is_the_clis_own_place() -> None:
    """Nothing is forced then, and no folder is made for it."""
    shared = {"claude": {"configDir": "Shared"}}
    assert "CLAUDE_CONFIG_DIR" not in environment_of(**shared)
    assert pod_of(**shared)["initContainers"][0]["command"][6:] == ["/paperclip"]


def test_agents_have_a_configuration_of_their_own() -> None:
    """The CLI rewrites one file in it all the time."""
    folders = {
        environment_of(companyId=company, agent=agent)["CLAUDE_CONFIG_DIR"]
        for company in ("a", "b")
        for agent in ("a", "b", "A")
    }
    assert len(folders) == 6


# --- folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "/paperclip"),
        ({"session": {"id": "s"}}, "/paperclip"),
        ({"session": {"id": "s", "cwd": "/paperclip/w"}}, "/paperclip/w"),
        ({"session": {"id": "s", "cwd": "/paperclip/w"}, "job": {"workingDir": "/paperclip/x"}}, "/paperclip/x"),
        ({"workspace": {"cwd": "/paperclip/y"}, "job": {"workingDir": "/paperclip/x"}}, "/paperclip/y"),
        ({"workspace": {}, "job": {"workingDir": "/paperclip/x"}}, "/paperclip/x"),
    ],
)
def test_the_agent_starts_where_its_session_was_begun_unless_told_otherwise(
    spec: dict[str, Any], expected: str
) -> None:
    """A session can only be resumed in its own folder."""
    assert agent_of(**spec)["workingDir"] == expected


@pytest.mark.parametrize(
    ("mount", "cwd", "made"),
    [
        ("/paperclip", "/paperclip", True),
        ("/paperclip", "/paperclip/w/x", True),
        ("/paperclip/", "/paperclip/w", True),
        ("/", "/w", True),
        ("/paperclip", "/paperclipped", False),
        ("/paperclip", "/paperclip/../etc", False),
        ("/paperclip", "/tmp", False),  # noqa: S108 - a path in the pod
    ],
)
def test_the_working_directory_is_made_if_it_is_on_the_volume(mount: str, cwd: str, *, made: bool) -> None:
    """Otherwise the runtime would make it, owned by root."""
    config = settings.Settings(image="i", data_mount=mount, instance_root=f"{mount.rstrip('/')}/instances/default")
    command = job_of(config, job={"workingDir": cwd})["spec"]["template"]["spec"]["initContainers"][0]["command"]
    assert command[6].endswith("/claude-config/acme/coder")
    assert command[7:] == ([cwd] if made else [])


# --- options of the Job ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "field", "expected"),
    [
        ({}, "activeDeadlineSeconds", None),
        ({"timeouts": {"timeoutSeconds": 60}}, "activeDeadlineSeconds", 60),
        ({}, "ttlSecondsAfterFinished", 300),
        ({"retention": {"jobTTLSecondsAfterFinished": 0}}, "ttlSecondsAfterFinished", 0),
        ({"retention": {"retainJob": True, "jobTTLSecondsAfterFinished": 1}}, "ttlSecondsAfterFinished", None),
    ],
)
def test_deadline_and_ttl(spec: dict[str, Any], field: str, expected: int | None) -> None:
    """A deadline of zero is none; a TTL of zero is at once."""
    assert job_of(**spec)["spec"].get(field) == expected


def test_the_image_is_the_jobs_own_or_the_operators() -> None:
    """For both containers: the preparing one needs no image of its own."""
    assert {c["image"] for c in [agent_of(), *pod_of()["initContainers"]]} == {"registry.example/agent:1"}
    own = {"image": "own:1"}
    assert {c["image"] for c in [agent_of(job=own), *pod_of(job=own)["initContainers"]]} == {"own:1"}


REQUESTS, LIMITS = {"cpu": "1", "memory": "2Gi"}, {"cpu": "4", "memory": "8Gi"}


@pytest.mark.parametrize(
    ("given", "requests", "limits"),
    [
        (None, REQUESTS, LIMITS),
        ({}, REQUESTS, LIMITS),
        ({"requests": {"memory": "16Gi"}}, {"cpu": "1", "memory": "16Gi"}, {"cpu": "4"}),
        ({"limits": {"memory": "1Gi"}}, {"cpu": "1"}, {"cpu": "4", "memory": "1Gi"}),
        ({"limits": {"cpu": 1, "memory": "1Gi"}}, None, {"cpu": 1, "memory": "1Gi"}),
        ({"limits": {"nvidia.com/gpu": 1}}, REQUESTS, {**LIMITS, "nvidia.com/gpu": 1}),
        ({"requests": None, "limits": None}, REQUESTS, LIMITS),
        ({"requests": {}, "claims": [{"name": "x"}]}, REQUESTS, LIMITS),
    ],
)
def test_resources_that_are_not_named_have_defaults(
    given: dict[str, Any] | None, requests: dict[str, Any] | None, limits: dict[str, Any]
) -> None:
    """A default never stands beside a given value of the same resource: it might contradict it."""
    made = agent_of(job={"resources": given})["resources"]
    assert (made.get("requests"), made.get("limits")) == (requests, limits)
    assert made.get("claims") == (given or {}).get("claims")


@pytest.mark.parametrize("queue", [None, "agents"])
def test_every_job_is_created_held(queue: str | None) -> None:
    """No pod before the agent is free; Kueue, which would let it go, is told of it only then."""
    job = job_of(job={"queueName": queue})
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["annotations"]["paperclip.io/held"] == "true"
    assert facts.parse_job(job).held
    assert facts.parse_job(job).made_for == "fix-login"
    assert "kueue" not in json.dumps(job)
    assert "paperclip.io/held" not in job["spec"]["template"]["metadata"]["annotations"]


@pytest.mark.parametrize("number", [0, 1, 100])
def test_each_attempt_has_a_job_a_secret_and_a_log_of_its_own(number: int) -> None:
    """Told apart by name, label and path; the agent, its labels and its run id stay."""
    run = run_of()
    run = run.model_copy(update={"status": run.status.model_copy(update={"attempt": number})})
    made = build(run, INSIDE)
    job = made.job["metadata"]
    assert job["name"] == names.job_name(agent_id=run.spec.agent.id, run_id=run.run_id, attempt=number)
    assert made.secret["metadata"]["name"] == names.prompt_secret_name(job["name"])
    ending = f".{number}.pod.ndjson" if number else "run-1.pod.ndjson"
    assert job["annotations"][names.ANNOTATION_LOG_PATH].endswith(ending)
    for metadata in (job, made.secret["metadata"], made.job["spec"]["template"]["metadata"]):
        assert metadata["labels"][names.LABEL_ATTEMPT] == str(number)
        assert metadata["labels"][names.LABEL_RUN_ID] == "run-1"
    assert facts.parse_job(made.job).attempt == number


@pytest.mark.parametrize(
    ("made_for", "owner", "origin"), [("lost", "", "lost"), ("lost", "x", "lost"), ("", "x", "x"), ("", "", "ac-0")]
)
def test_an_adopted_job_gets_its_new_owner_and_says_whose_it_was(made_for: str, owner: str, origin: str) -> None:
    """By the name of the AgentRun, or what is known of it. Its log is not moved."""
    run = run_of(runId="run-9")
    job = facts.JobFacts(name="ac-0", namespace="team-a", uid="j", owner_name=owner, made_for=made_for)
    change = manifest.build_adoption(run, job)
    assert change["ownerReferences"] == [manifest.build_owner(run)]
    assert [(o["uid"], o["controller"]) for o in change["ownerReferences"]] == [(run.metadata.uid, True)]
    assert change["labels"] == {names.LABEL_RUN_ID: "run-9", names.LABEL_ATTEMPT: "0"}
    assert change["annotations"] == {names.ANNOTATION_REATTACHED_FROM: origin}


def test_the_runs_labels_and_node_selector_win_over_the_operators() -> None:
    """Key by key; the operator's own labels are out of reach."""
    given = {"labels": {"example.com/cost": "7"}, "nodeSelector": {"disk": "ssd"}, "annotations": {"a": "b"}}
    job = build(run_of(job=given), INSIDE).job
    assert job["metadata"]["labels"]["example.com/cost"] == "7"
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {"pool": "agents", "disk": "ssd"}
    assert job["metadata"]["annotations"]["a"] == job["spec"]["template"]["metadata"]["annotations"]["a"] == "b"
    assert build(run_of(), INSIDE).job["metadata"]["labels"]["example.com/cost"] == "42"


def test_the_image_may_be_the_operators_own() -> None:
    """If the settings allow it, and neither run nor settings name one."""
    own = inheritance.Inherited(image="own:1")
    job = build(run_of(), INSIDE.model_copy(update={"image": ""}), own).job
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "own:1"


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_run_without_any_image_is_refused() -> None:
    """The sentence names both places to set it."""
    with pytest.raises(errors.InvalidRunError, match=r"spec\.job\.image, or AGENTRUN_IMAGE"):
        job_of(settings.Settings())


@pytest.mark.parametrize(("field", "kind"), [("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")])
def test_a_prompt_that_is_kept_elsewhere_is_referred_to(field: str, kind: str) -> None:
    """With the words that name it; what is no text is refused."""
    run = run_of(prompt={field: {"name": "n", "key": "k"}})
    found = manifest.prompt_reference(run)
    assert found is not None
    assert found[:2] == (kind, f"spec.prompt.{field}")
    assert manifest.read_template(run, "ü".encode()) == manifest.Template(text="ü", source=f"key k of {kind} n")
    with pytest.raises(errors.InvalidRunError, match=f"spec.prompt.{field}: key k of {kind} n is no text in UTF-8"):
        manifest.read_template(run, b"\xff")
    assert manifest.prompt_reference(run_of(prompt="x")) is None
    assert manifest.read_template(run_of(prompt="x")) == template_of("x")


def test_every_reason_for_a_refusal_is_found() -> None:
    """Whoever validates a file wants to mend it once."""
    run = run_of(agent="---", prompt="{{nonsense}}", job={"podTemplate": {"spec": {"restartPolicy": "Always"}}})
    template = template_of(run.spec.prompt.text or "")
    found = manifest.find_problems(run, CONFIG, template=template, scripts=deps.SCRIPTS)
    assert [e.code for e in found] == ["k8s_agent_id_invalid", "prompt_invalid", "k8s_pod_config_error"]
    assert manifest.find_problems(run_of(), CONFIG, template=template_of("Do it."), scripts=deps.SCRIPTS) == []


@pytest.mark.parametrize(
    ("spec", "field"), [({"agent": "---"}, "spec.agent.id '---'"), ({"companyId": "-"}, "spec.companyId '-'")]
)
def test_an_id_that_gives_no_label_is_refused(spec: dict[str, Any], field: str) -> None:
    """Its runs could not be told from those of another agent."""
    assert refusal("k8s_agent_id_invalid", **spec).startswith(field)


def claude(**fields: Any) -> dict[str, Any]:
    """A patch of the agent's container."""
    return {"spec": {"containers": [{"name": "claude", **fields}]}}


COMMAND = "spec.containers[claude].command"
ARGS = "spec.containers[claude].args"
MOUNT = "spec.containers[claude].volumeMounts[/run/agentrun]"
VOLUME = "spec.volumes[prompt]"
RESTART = "spec.restartPolicy"
TOKEN = "spec.automountServiceAccountToken"
LABELS = "metadata.labels"
HOME = "spec.containers[claude].env[HOME]"
STATE = "spec.containers[claude].env[CLAUDE_CONFIG_DIR]"
PREPARE = "spec.initContainers[prepare].command"
CONTAINER = [COMMAND, ARGS, MOUNT, HOME, STATE]
ALL_OF_SPEC = [*CONTAINER, PREPARE, VOLUME, RESTART, TOKEN]


@pytest.mark.parametrize(
    ("patch", "fields"),
    [
        (claude(command=["bash"]), [COMMAND]),
        (claude(command=None), [COMMAND]),
        (claude(args=[]), [ARGS]),
        (claude(volumeMounts=[{"mountPath": "/run/agentrun", "name": "other"}]), [MOUNT]),
        (claude(volumeMounts=[{"mountPath": "/run/agentrun", "subPath": "x"}]), [MOUNT]),
        (claude(volumeMounts=[{"mountPath": "/run/agentrun", "$patch": "delete"}]), [MOUNT]),
        (claude(volumeMounts=None), [MOUNT]),
        (claude(volumeMounts="x"), [MOUNT]),
        ({"spec": {"volumes": [{"name": "prompt", "secret": {"secretName": "other"}}]}}, [VOLUME]),
        ({"spec": {"volumes": [{"name": "prompt", "$patch": "delete"}]}}, [VOLUME]),
        ({"spec": {"volumes": None}}, [VOLUME]),
        ({"spec": {"volumes": {"a": 1}}}, [VOLUME]),
        ({"spec": {"restartPolicy": "OnFailure"}}, [RESTART]),
        ({"spec": {"restartPolicy": None}}, [RESTART]),
        ({"spec": {"automountServiceAccountToken": True}}, [TOKEN]),
        ({"spec": {"containers": [{"name": "claude", "$patch": "delete"}]}}, CONTAINER),
        ({"spec": {"containers": None}}, CONTAINER),
        ({"spec": {"containers": "x"}}, CONTAINER),
        (claude(env=[{"name": "HOME", "value": "/root"}]), [HOME]),
        (claude(env=[{"name": "CLAUDE_CONFIG_DIR", "$patch": "delete"}]), [STATE]),
        ({"spec": {"initContainers": [{"name": "prepare", "command": ["true"]}]}}, [PREPARE]),
        ({"spec": {"initContainers": [{"name": "prepare", "args": ["x"]}]}}, [PREPARE]),
        ({"spec": {"initContainers": None}}, [PREPARE]),
        ({"metadata": {"labels": {names.LABEL_ADAPTER_TYPE: "x"}}}, [LABELS]),
        ({"spec": None}, ALL_OF_SPEC),
        ({"spec": "x"}, ALL_OF_SPEC),
        ({"spec": {"$patch": "replace", "containers": [{"image": "x"}, 1]}}, ALL_OF_SPEC),
        ({"metadata": {"labels": {names.LABEL_MANAGED_BY: "me"}}}, [LABELS]),
        ({"metadata": {"labels": {names.LABEL_AGENT_ID: None}}}, [LABELS]),
        ({"metadata": {"labels": {names.LABEL_TASK_ID: "added"}}}, [LABELS]),
        ({"metadata": {"labels": None}}, [LABELS]),
        ({"metadata": {"labels": "x"}}, [LABELS]),
        ({"metadata": None}, [LABELS]),
        ({"$patch": "replace", "x": 1}, [*ALL_OF_SPEC, LABELS]),
    ],
)
def test_a_pod_template_cannot_change_what_the_operator_depends_on(patch: dict[str, Any], fields: list[str]) -> None:
    """Every such field is named, however strange the patch is."""
    sentence = refusal("k8s_pod_config_error", job={"podTemplate": patch})
    assert sentence.startswith(f"spec.job.podTemplate changes {', '.join(fields)}, on which")


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"initContainers": [{"name": "bundle", "command": ["true"]}]}, "spec.initContainers[bundle].command"),
        ({"volumes": [{"name": "bundle-input", "emptyDir": {}}]}, "spec.volumes[bundle-input]"),
    ],
)
def test_nor_what_prepares_the_bundle(patch: dict[str, Any], field: str) -> None:
    """It works on a volume that other agents share."""
    sentence = refusal("k8s_pod_config_error", **BUNDLE, job={"podTemplate": {"spec": patch}})
    assert sentence.startswith(f"spec.job.podTemplate changes {field}, on which")


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"spec": {"volumes": [{}]}}, "every element of volumes needs the key 'name'"),
        (claude(env=[{"value": "x"}]), "every element of env needs the key 'name'"),
        ({"spec": {"affinity": {"$patch": "delete"}}}, "the directive $patch: delete"),
    ],
)
def test_a_pod_template_that_cannot_be_merged_is_refused(patch: dict[str, Any], message: str) -> None:
    """The sentence says where and why."""
    sentence = refusal("k8s_pod_config_error", job={"podTemplate": patch})
    assert sentence.startswith(f"spec.job.podTemplate: {message}")


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"metadata": {"labels": {"example.com/x": "y"}}},
        {"spec": {"restartPolicy": "Never"}},
        claude(command=["/bin/sh", "/run/agentrun/run-agent.sh"]),
        claude(volumeMounts=[{"mountPath": "/cache", "name": "cache"}]),
        {"spec": {"priorityClassName": "low", "initContainers": [{"name": "clone", "image": "git"}]}},
    ],
)
def test_everything_else_of_a_pod_template_is_the_users(patch: dict[str, Any]) -> None:
    """Also a protected field that is given the value it has."""
    template = job_of(job={"podTemplate": patch})["spec"]["template"]
    for key, value in patch.get("spec", {}).items():
        if isinstance(value, str):
            assert template["spec"][key] == value
    assert template["metadata"]["labels"].items() >= patch.get("metadata", {}).get("labels", {}).items()
    assert template["spec"]["containers"][0]["args"] == agent_of()["args"]


# --- whose usage limit it is ----------------------------------------------------------------------------------------


def key_of(name: str, key: str = "k", secret: str = "keys") -> dict[str, Any]:
    """A variable from a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


ONE_KEY = {"job": {"env": [key_of("ANTHROPIC_API_KEY")]}}
LITERAL = {"job": {"env": [{"name": "CLAUDE_CODE_OAUTH_TOKEN", "value": "sk-ant-oat01-plain"}]}}
ALL_KEYS = [
    key_of("CLAUDE_CODE_OAUTH_TOKEN", "c"),
    key_of("ANTHROPIC_API_KEY", "b"),
    key_of("ANTHROPIC_AUTH_TOKEN", "a"),
]
WHOLE = {"job": {"envFrom": [{"secretRef": {"name": "claude"}}, {"configMapRef": {"name": "proxy"}}]}}


def credential(spec: dict[str, Any], inherited: inheritance.Inherited = inheritance.NOTHING) -> str:
    """What a run's credential is known by."""
    return manifest.find_credential(run_of(**spec), CONFIG, inherited)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {}, True),
        ({}, {"agent": "other"}, False),  # each agent is logged in by its own folder
        ({"claude": {"configDir": "Shared"}}, {"claude": {"configDir": "Shared"}, "agent": "other"}, True),
        ({}, {"namespace": "team-b"}, False),
        (ONE_KEY, {**ONE_KEY, "agent": "other"}, True),
        (ONE_KEY, {**ONE_KEY, "namespace": "team-b"}, False),
        (ONE_KEY, {}, False),
        (ONE_KEY, {"job": {"env": [key_of("ANTHROPIC_API_KEY", "other")]}}, False),
        (ONE_KEY, {"job": {"env": [key_of("ANTHROPIC_API_KEY", secret="other")]}}, False),
        (ONE_KEY, {"job": {"env": [key_of("ANTHROPIC_AUTH_TOKEN")]}}, True),
        ({"job": {"env": ALL_KEYS}}, {"job": {"env": [key_of("ANTHROPIC_AUTH_TOKEN", "a")]}}, True),
        ({"job": {"env": ALL_KEYS[:2]}}, {"job": {"env": [key_of("ANTHROPIC_API_KEY", "b")]}}, True),
        (LITERAL, {**LITERAL, "namespace": "team-b"}, True),
        (LITERAL, {"job": {"env": [{"name": "CLAUDE_CODE_OAUTH_TOKEN", "value": "another"}]}}, False),
        (WHOLE, {**WHOLE, "claude": {"maxTurns": 3}}, True),
        (WHOLE, {"job": {"envFrom": [{"secretRef": {"name": "other"}}]}}, False),
        (WHOLE, {}, False),
    ],
)
def test_runs_of_one_credential_are_known_by_the_same_word(
    one: dict[str, Any], other: dict[str, Any], *, same: bool
) -> None:
    """Where it comes from decides, in the order in which the CLI looks; nothing else of the run does."""
    assert (credential(one) == credential(other)) is same


def test_an_inherited_credential_counts_like_an_own_one() -> None:
    """Unless the run declines it; its own one wins."""
    inherited = inheritance.parse_own_pod(OWN_POD, INSIDE)
    word = manifest.find_credential(run_of(), INSIDE, inherited)
    assert word == manifest.find_credential(run_of(agent="other"), INSIDE, inherited) == "team-a/keys/anthropic"
    assert manifest.find_credential(run_of(job={"inheritFromOperator": False}), INSIDE, inherited) != word
    assert manifest.find_credential(run_of(**ONE_KEY), INSIDE, inherited) == "team-a/keys/k"


def test_a_credential_is_never_part_of_the_word() -> None:
    """It is kept in memory and may be logged."""
    assert "plain" not in credential(LITERAL)
