"""Prompt Secret and Job of a run: whole manifests first, then what must hold in each of them, then what is refused.

``UPDATE_GOLDENS=1 python -m pytest tests/unit/test_manifest.py`` writes the goldens anew; read the diff before you
commit.
"""

import base64
import difflib
import os
import pathlib
from typing import Any

import pytest
import yaml

from agentrun_operator import errors, manifest, models, names, prompts, settings
from tests import builders

GOLDENS = pathlib.Path(__file__).parents[1] / "data" / "manifests"
PROMPT = "Fix the login page; the secret word is xyzzy."
SCRIPT = "#!/bin/sh\nexec true\n"
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
RUNS: dict[str, dict[str, Any]] = {
    "minimal": {},
    "resumed": EVERYTHING,
    "hostnetwork": {"job": {"podTemplate": HOST_NETWORK}},
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


def job_of(config: settings.Settings = CONFIG, **spec: Any) -> dict[str, Any]:
    """Its Job."""
    return manifest.build_job(run_of(**spec), config)


def pod_of(**spec: Any) -> dict[str, Any]:
    """The spec of its pod."""
    pod: dict[str, Any] = job_of(**spec)["spec"]["template"]["spec"]
    return pod


def agent_of(**spec: Any) -> dict[str, Any]:
    """The container of the agent."""
    return next(c for c in pod_of(**spec)["containers"] if c["name"] == "claude")


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


@pytest.mark.parametrize("name", RUNS)
def test_the_whole_manifest_is_as_agreed(name: str) -> None:
    """Every change of what is created shows in a diff of a golden."""
    run = run_of(**RUNS[name])
    documents = [manifest.build_secret(run, script=SCRIPT), manifest.build_job(run, CONFIG)]
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
    return job_of(**RUNS[request.param])


def test_there_is_at_most_one_pod_ever(job: dict[str, Any]) -> None:
    """No retry, no second pod beside the first, no container started again."""
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    assert spec["podReplacementPolicy"] == "Failed"
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_no_word_of_the_prompt_is_in_the_job(job: dict[str, Any]) -> None:
    """Whoever may read Jobs may not therefore read prompts."""
    text = yaml.safe_dump(job, width=10_000)
    for form in (PROMPT, "xyzzy", base64.b64encode(PROMPT.encode()).decode()):
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
    }


def test_the_agent_is_asked_to_end_in_time_for_a_cancelled_run(job: dict[str, Any]) -> None:
    """The Job has to be gone within 15 seconds; the entry script takes 9 of them at most."""
    assert 9 < job["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] < 15


@pytest.mark.parametrize("name", RUNS)
def test_both_objects_belong_to_the_run_from_the_start(name: str) -> None:
    """Deleting the AgentRun removes them, whatever became of the operator."""
    run = run_of(**RUNS[name])
    for built in (manifest.build_secret(run, script=SCRIPT), manifest.build_job(run, CONFIG)):
        assert built["metadata"]["namespace"] == "team-a"
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
    built = job_of(**RUNS[name])
    labels = built["metadata"]["labels"]
    assert labels[names.LABEL_MANAGED_BY] == names.MANAGED_BY
    assert {*names.AGENT_LABELS, names.LABEL_RUN_ID} <= labels.keys()
    assert labels.items() <= built["spec"]["template"]["metadata"]["labels"].items()
    assert labels == manifest.build_secret(run_of(**RUNS[name]), script=SCRIPT)["metadata"]["labels"]


def test_the_agent_writes_where_the_annotation_says(job: dict[str, Any]) -> None:
    """An operator started again follows the path that this Job's own annotation names."""
    path = job["metadata"]["annotations"][names.ANNOTATION_LOG_PATH]
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][0] == path
    assert pod["initContainers"][0]["command"][4] == path
    assert pod["containers"][0]["args"][1] == names.stderr_path(path)


@pytest.mark.parametrize("name", RUNS)
def test_the_same_run_gives_the_same_objects(name: str) -> None:
    """Creating again after a crash must meet what is there, not something else of that name."""
    one, other = run_of(**RUNS[name]), run_of(**RUNS[name])
    assert manifest.build_job(one, CONFIG) == manifest.build_job(other, CONFIG)
    assert manifest.build_secret(one, script=SCRIPT) == manifest.build_secret(other, script=SCRIPT)


# --- the Secret -----------------------------------------------------------------------------------------------------


def test_the_secret_carries_prompt_and_script_byte_for_byte() -> None:
    """And cannot be changed once the pod reads it."""
    secret = manifest.build_secret(run_of(prompt="Grüße 🎉\n"), script=SCRIPT)
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
    secret = manifest.build_secret(run_of(prompt=fits), script=SCRIPT)
    assert sum(len(base64.b64decode(value)) for value in secret["data"].values()) == prompts.SECRET_LIMIT_BYTES
    with pytest.raises(errors.InvalidRunError) as caught:
        manifest.build_secret(run_of(prompt=fits + "a"), script=SCRIPT)
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
        ([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], "A", "2"),
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
    assert command[5].endswith("/claude-config/acme/coder")
    assert command[6:] == ([cwd] if made else [])


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


# --- refusals -------------------------------------------------------------------------------------------------------


def test_a_run_without_any_image_is_refused() -> None:
    """The sentence names both places to set it."""
    with pytest.raises(errors.InvalidRunError, match=r"spec\.job\.image, or AGENTRUN_IMAGE"):
        job_of(settings.Settings())


@pytest.mark.parametrize(
    ("spec", "field"), [({"agent": "---"}, "spec.agent.id '---'"), ({"companyId": "-"}, "spec.companyId '-'")]
)
def test_an_id_that_gives_no_label_is_refused(spec: dict[str, Any], field: str) -> None:
    """Its runs could not be told from those of another agent."""
    assert refusal("k8s_agent_id_invalid", **spec).startswith(field)


@pytest.mark.parametrize("entry", [{}, {"value": "x"}, {"name": None}, {"name": ["A"]}, {"name": {"a": 1}}])
def test_a_variable_without_a_name_is_refused(entry: dict[str, Any]) -> None:
    """The API's schema lets it through; the place in the list is named."""
    env = [{"name": "A", "value": "1"}, entry]
    assert refusal("k8s_pod_config_error", job={"env": env}).startswith("spec.job.env[1] has no name")


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
ALL_OF_SPEC = [COMMAND, ARGS, MOUNT, VOLUME, RESTART, TOKEN]


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
        ({"spec": {"containers": [{"name": "claude", "$patch": "delete"}]}}, [COMMAND, ARGS, MOUNT]),
        ({"spec": {"containers": None}}, [COMMAND, ARGS, MOUNT]),
        ({"spec": {"containers": "x"}}, [COMMAND, ARGS, MOUNT]),
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
