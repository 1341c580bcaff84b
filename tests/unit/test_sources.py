"""What a run is made from besides its object: the prompt that it names, and the operator's own pod."""

import base64
from typing import Any

import pytest

from agentrun_operator import errors, models, runner, settings
from agentrun_operator.manifest import inheritance
from agentrun_operator.runner import sources
from tests import builders, fakes

SECRET = {"secretKeyRef": {"name": "prompts", "key": "p"}}
CONFIG_MAP = {"configMapKeyRef": {"name": "prompts", "key": "p"}}
OWN = settings.Settings(pod_name="op-0", pod_namespace="system", inherit="image")


def kube(**data: str | bytes) -> fakes.FakeKube:
    """An API with a Secret and a ConfigMap that hold the same."""
    client = fakes.FakeKube()
    raw = {key: value if isinstance(value, bytes) else value.encode() for key, value in data.items()}
    client.secrets["team-a", "prompts"] = {"data": {k: base64.b64encode(v).decode() for k, v in raw.items()}}
    client.config_maps["team-a", "prompts"] = {"data": {k: v.decode(errors="replace") for k, v in raw.items()}}
    return client


def run(prompt: Any) -> models.AgentRun:  # noqa: ANN401 - a string or an object
    """An AgentRun with this prompt."""
    return models.AgentRun.parse(builders.agent_run(prompt=prompt))


async def test_the_text_of_the_run_itself_needs_no_request() -> None:
    """And is named as what it is."""
    client = kube()
    template = await sources.read_template(run("Do it."), client)
    assert (template.text, template.source, client.calls) == ("Do it.", "spec.prompt.text", [])


@pytest.mark.parametrize(("prompt", "kind"), [(SECRET, "Secret"), (CONFIG_MAP, "ConfigMap")])
async def test_a_prompt_may_stand_in_a_secret_or_a_config_map(prompt: dict[str, Any], kind: str) -> None:
    """Byte for byte."""
    template = await sources.read_template(run(prompt), kube(p="Grüße\n"))
    assert (template.text, template.source) == ("Grüße\n", f"key p of {kind} prompts")


@pytest.mark.parametrize(("prompt", "kind"), [(SECRET, "Secret"), (CONFIG_MAP, "ConfigMap")])
async def test_what_is_missing_is_named(prompt: dict[str, Any], kind: str) -> None:
    """The object, or its key."""
    [field] = prompt
    with pytest.raises(sources.PromptMissingError) as caught:
        await sources.read_template(run(prompt), fakes.FakeKube())
    assert str(caught.value) == f"spec.prompt.{field}: there is no {kind} prompts in namespace team-a."
    with pytest.raises(sources.PromptMissingError) as caught:
        await sources.read_template(run(prompt), kube(q="x"))
    assert str(caught.value) == f"spec.prompt.{field}: {kind} prompts has no key p."


async def test_a_prompt_that_is_no_text_is_refused() -> None:
    """The CLI would replace what it cannot read; the bytes are not quoted."""
    with pytest.raises(errors.InvalidRunError, match="key p of Secret prompts is no text in UTF-8") as caught:
        await sources.read_template(run(SECRET), kube(p=b"caf\xe9"))
    assert caught.value.code == "prompt_invalid"


async def test_an_answer_that_does_not_come_says_nothing_about_the_prompt() -> None:
    """It is no reason to say that it is missing."""
    client = kube(p="x")
    client.fail["get_secret_data"] = [errors.UnavailableError("timed out")]
    with pytest.raises(errors.UnavailableError):
        await sources.read_template(run(SECRET), client)


def with_pod(image: str = "own:1") -> fakes.FakeKube:
    """An API that knows the operator's own pod."""
    client = fakes.FakeKube()
    client.pods["system", "op-0"] = {"spec": {"containers": [{"name": "operator", "image": image}]}}
    return client


async def test_outside_a_cluster_there_is_nothing_to_inherit() -> None:
    """And nobody is asked."""
    client = with_pod()
    assert await runner.OwnPod(settings.Settings(), client).inherited_by(run("x")) == inheritance.NOTHING
    assert client.calls == []


async def test_the_own_pod_is_read_once_and_again_when_it_may_have_changed() -> None:
    """A burst of runs asks once."""
    client = with_pod()
    own = runner.OwnPod(OWN, client)
    assert [(await own.inherited_by(run("x"))).image for _ in range(3)] == ["own:1"] * 3
    assert client.calls == [("get_pod", "op-0")]

    quick = runner.OwnPod(OWN.model_copy(update={"own_pod_seconds": 0}), client)
    await quick.inherited_by(run("x"))
    client.pods["system", "op-0"]["spec"]["containers"][0]["image"] = "own:2"
    assert (await quick.inherited_by(run("x"))).image == "own:2"


async def test_what_was_known_holds_while_the_pod_cannot_be_read() -> None:
    """An API in trouble takes nothing away."""
    client = with_pod()
    own = runner.OwnPod(OWN.model_copy(update={"own_pod_seconds": 0}), client)
    await own.inherited_by(run("x"))
    client.fail["get_pod"] = [errors.UnavailableError("timed out")]
    assert (await own.inherited_by(run("x"))).image == "own:1"


@pytest.mark.parametrize(
    "error", [errors.NotFoundError("not found", status=404), errors.RejectedError("forbidden", status=403)]
)
async def test_nothing_is_inherited_by_mistake(error: errors.ApiError) -> None:
    """As long as the pod was never read, a run has to wait: it would lack what it should have."""
    client = with_pod()
    client.fail["get_pod"] = [error]
    own = runner.OwnPod(OWN, client)
    with pytest.raises(errors.UnavailableError, match=r"own pod system/op-0 could not be read: .*AGENTRUN_POD_NAME"):
        await own.inherited_by(run("x"))
    assert (await own.inherited_by(run("x"))).image == "own:1"


# --- secret values --------------------------------------------------------------------------------------------------

PLANTED = {"env": "value of one key", "env_from": "value of a whole Secret", "token": "value of the API token"}


def with_secrets() -> fakes.FakeKube:
    """An API with the Secrets that ``secretive`` names."""
    client = fakes.FakeKube()
    for name, data in {
        "keys": {"a": PLANTED["env"], "other": "never mentioned"},
        "whole": {"x": PLANTED["env_from"]},
        "tokens": {"t": PLANTED["token"]},
    }.items():
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        client.secrets["team-a", name] = {"data": encoded}
    return client


def secretive() -> models.AgentRun:
    """A run whose environment has secrets in every way there is."""
    ref = {"secretKeyRef": {"name": "keys", "key": "a"}}
    patch = {"containers": [{"name": "claude", "env": [{"name": "SIDE_TOKEN", "value": "a literal in the patch"}]}]}
    body = builders.agent_run(
        job={
            "env": [
                {"name": "A", "valueFrom": ref},
                {"name": "DB_PASSWORD", "value": "a literal of the run"},
                {"name": "PLAIN", "value": "nothing to hide"},
            ],
            "envFrom": [{"secretRef": {"name": "whole"}}, {"configMapRef": {"name": "c"}}],
            "podTemplate": {"spec": patch},
        },
        apiTokenSecretRef={"name": "tokens", "key": "t"},
    )
    return models.AgentRun.parse(body)


def known(
    client: fakes.FakeKube, config: settings.Settings | None = None, inherited: inheritance.Inherited | None = None
) -> sources.SecretValues:
    """The values of runs' secrets, with this to inherit from the operator's own pod."""
    config = config or settings.Settings()
    own_pod = runner.OwnPod(config, client)
    own_pod._known, own_pod._read_at = inherited, float("inf")  # noqa: SLF001 - as if read
    return sources.SecretValues(config, client, own_pod)


async def test_every_secret_of_the_environment_is_known() -> None:
    """By reference, as a whole Secret, as a literal that is called a secret; and nothing else."""
    redactor = await known(with_secrets()).redactor(secretive())
    for value in (*PLANTED.values(), "a literal of the run", "a literal in the patch"):
        assert redactor.clean(f"<{value}>") == "<[redacted]>"
    for value in ("nothing to hide", "never mentioned"):
        assert redactor.clean(value) == value


async def test_inherited_secrets_are_known_in_the_operators_namespace() -> None:
    """A run that declines, or lives elsewhere, has not got them."""
    client = with_secrets()
    ref = {"name": "INHERITED", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "a"}}}
    inherited = inheritance.Inherited(env=(ref,), env_from=({"secretRef": {"name": "whole"}},))
    text = f"{PLANTED['env']}, {PLANTED['env_from']}"
    for namespace, job, cleaned in (
        ("team-a", {}, "[redacted], [redacted]"),
        ("team-a", {"inheritFromOperator": False}, text),
        ("elsewhere", {}, text),
    ):
        config = settings.Settings(pod_name="op", pod_namespace="team-a")
        given = models.AgentRun.parse(builders.agent_run(namespace=namespace, job=job))
        redactor = await known(client, config, inherited).redactor(given)
        assert redactor.clean(text) == cleaned


async def test_a_secret_is_read_once_for_all_runs_of_a_minute() -> None:
    """And is forgotten afterwards."""
    client = with_secrets()
    values = known(client)
    for _ in range(3):
        await values.redactor(secretive())
    assert sorted(name for _, name in client.calls) == ["keys", "tokens", "whole"]


async def test_secrets_that_are_not_there_do_not_hold_up_the_verdict() -> None:
    """An API that does not answer does: later it will."""
    client = with_secrets()
    del client.secrets["team-a", "tokens"]
    client.fail["get_secret_data"] = [errors.RejectedError("forbidden", status=403)]
    values = known(client)
    redactor = await values.redactor(secretive())
    assert redactor.clean("a literal of the run") == "[redacted]"

    client.fail["get_secret_data"] = [errors.UnavailableError("timed out")]
    with pytest.raises(errors.UnavailableError):
        await known(client).redactor(secretive())


@pytest.mark.parametrize(("status", "goes_on"), [(403, True), (404, True), (500, False), (0, False)])
async def test_an_own_pod_that_cannot_be_read_does_not_hold_up_the_verdict_for_ever(
    status: int, *, goes_on: bool
) -> None:
    """What the run names itself is redacted all the same; an API that is away is waited for."""
    client = with_secrets()
    client.fail["get_pod"] = [errors.UnavailableError("no", status=status)]
    values = known(client, OWN)
    if goes_on:
        assert (await values.redactor(secretive())).clean("a literal of the run") == "[redacted]"
    else:
        with pytest.raises(errors.UnavailableError):
            await values.redactor(secretive())
