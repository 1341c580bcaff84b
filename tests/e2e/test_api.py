"""What users write reaches the agent: prompt, arguments, environment, skills, with the real CLI in a real container."""

import json
import os
import pathlib
import uuid
from typing import Any

import pytest

from hack import playground
from tests.e2e.conftest import Agents

HOSTILE = 'it\'s "quoted" $(HOME) $$(HOME) `id` ${HOME} \\ -- --help\nnext line ü 🎉'


def sent(bodies: pathlib.Path, word: str) -> list[dict[str, Any]]:
    """Requests to the Messages API that contain ``word``, in their order."""
    texts = (path.read_text() for path in sorted(bodies.iterdir()))
    return [json.loads(text) for text in texts if word in text]


def texts_of(node: object) -> list[str]:
    """Every string in a JSON value."""
    if isinstance(node, str):
        return [node]
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [text for child in children for text in texts_of(child)]


def test_prompt_arguments_and_environment_arrive_word_for_word(site: Agents, api_bodies: pathlib.Path) -> None:
    """Hostile words pass Kubernetes' expansion and the entry script unchanged; the template is filled in."""
    mark = uuid.uuid4().hex
    template = f"SCENARIO=sleeptool {mark} for {{{{agent.id}}}} of {{{{company.id}}}}: $(HOME) `x` \\{{{{x}}}} ü"
    site.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "prompts", "namespace": site.namespace},
            "stringData": {"p": template},
        }
    )
    site.start_run(
        "words",
        "",
        prompt={"secretKeyRef": {"name": "prompts", "key": "p"}, "bootstrap": "You are {{agent.id}}."},
        wake={"commentId": HOSTILE, "payload": {"text": HOSTILE}},
        claude={"maxRetries": 0, "extraArgs": ["--append-system-prompt", HOSTILE]},
        job={"env": [{"name": "RAW", "value": 'raw $$ "x"'}]},
    )
    site.wait_status("words", lastTool="Bash")

    [pod] = site.list("pods")
    environment = read_environment(site, pod["metadata"]["name"])
    site.patch("words", {"spec": {"cancel": True}})
    status = site.wait_phase("words", "Cancelled")

    assert environment["PAPERCLIP_WAKE_COMMENT_ID"] == HOSTILE
    assert json.loads(environment["PAPERCLIP_WAKE_PAYLOAD_JSON"]) == {"text": HOSTILE}
    assert environment["RAW"] == 'raw $ "x"'  # the user's own words are Kubernetes' words, $$ for $
    assert environment["HOME"] == "/paperclip"
    prompt = f"You are ada.\n\nSCENARIO=sleeptool {mark} for ada of acme: $(HOME) `x` {{{{x}}}} ü"
    request = sent(api_bodies, mark)[0]
    assert prompt in texts_of(request["messages"])
    assert any(HOSTILE in text for text in texts_of(request["system"]))
    assert status["promptMetrics"]["promptChars"] == len(prompt)
    assert status["promptMetrics"]["bootstrapPromptChars"] == len("You are ada.")


def read_environment(site: Agents, pod: str) -> dict[str, str]:
    """The environment of the running CLI."""
    find = 'for p in /proc/[0-9]*; do [ "$(cat $p/comm)" = claude ] && cat $p/environ && exit; done'
    out = site.kubectl.run("exec", "-n", site.namespace, pod, "-c", "claude", "--", "sh", "-c", find)
    return dict(entry.partition("=")[::2] for entry in out.split("\0") if entry)


def test_skills_and_instructions_reach_the_agent_and_are_kept_once(site: Agents, api_bodies: pathlib.Path) -> None:
    """From the volume and from a ConfigMap; what is missing is reported; a resumed session gets no second copy."""
    review = site.volume / "skills" / "review"
    review.mkdir(parents=True)
    (review / "SKILL.md").write_text("---\nname: review\ndescription: Reviews herons thoroughly.\n---\nLook closely.\n")
    playground_chown(site.volume / "skills")
    deploy = "---\nname: deploy\ndescription: Deploys puffins safely.\n---\nCarefully.\n"
    site.kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "skill-deploy", "namespace": site.namespace},
            "data": {"SKILL.md": deploy, "run.sh": "#!/bin/sh\n"},
        }
    )
    bundle = {
        "instructions": "Always mention the bittern.",
        "skills": [
            {"name": "review", "path": "/paperclip/skills/review"},
            {"name": "deploy", "configMapRef": {"name": "skill-deploy"}},
            {"name": "lost", "configMapRef": {"name": "not-there"}},
            {"name": "gone", "path": "/paperclip/skills/gone"},
        ],
    }
    marks = [uuid.uuid4().hex for _ in range(3)]
    site.start_run("one", "", prompt={"text": f"SCENARIO=ok {marks[0]}"}, bundle=bundle)
    one = site.wait_phase("one", "Succeeded", "Failed")
    site.start_run("two", "", agent={"id": "bob"}, prompt={"text": f"SCENARIO=ok {marks[1]}"}, bundle=bundle)
    two = site.wait_phase("two", "Succeeded", "Failed")
    site.start_run(
        "three", "", session={"id": one["session"]["id"]}, prompt={"text": f"SCENARIO=ok {marks[2]}"}, bundle=bundle
    )
    three = site.wait_phase("three", "Succeeded", "Failed")

    assert [s["phase"] for s in (one, two, three)] == ["Succeeded"] * 3, (one, two, three)
    for status in (one, two, three):
        [ready] = [c for c in status["conditions"] if c["type"] == "BundleReady"]
        assert (ready["status"], ready["reason"]) == ("False", "SkillsLeftOut")
        assert "skill lost: " in ready["message"]
        assert "skill gone: " in ready["message"]
    for mark in marks:
        text = json.dumps(sent(api_bodies, mark)[0], ensure_ascii=False)
        assert "Reviews herons thoroughly." in text
        assert "Deploys puffins safely." in text
        assert text.count("Always mention the bittern.") == 1
    store = site.volume / "instances/default/companies/acme/claude-prompt-cache"
    [kept] = [path for path in store.iterdir() if path.is_dir()]
    assert (kept / ".claude/skills/deploy/SKILL.md").read_text() == deploy
    assert kept.stat().st_uid == playground.AGENT_UID


def playground_chown(folder: pathlib.Path) -> None:
    """Give a folder to the agents."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, playground.AGENT_UID, playground.AGENT_UID)


def test_an_agent_runs_where_only_restricted_pods_are_admitted(site: Agents) -> None:
    """Pod Security *restricted* enforced: the pod is admitted, runs, and says that it cannot reach the API."""
    label = "pod-security.kubernetes.io/enforce=restricted"
    site.kubectl.run("label", "namespace", site.namespace, label)
    site.start_run(
        "careful",
        "",
        prompt={"text": "Hello."},
        bundle={"instructions": "Be careful."},
        job={"podTemplate": None},  # no host network
    )

    status = site.wait_phase("careful", "Succeeded", "Failed")

    assert status["error"]["code"] == "llm_unreachable", status
    assert status["exit"]["code"] == 1


@pytest.mark.parametrize("size", [200_000, 900 * 1024])
def test_a_long_prompt_reaches_the_agents_container(site: Agents, size: int) -> None:
    """Far beyond what one argument or variable can hold; the agent's own limit is another matter."""
    text = "SCENARIO=ok " + "word " * ((size - 12) // 5)
    site.start_run("long", "", prompt={"text": text})

    status = site.wait_phase("long", "Succeeded", "Failed")

    assert status["promptMetrics"]["promptChars"] == len(text)
    assert status.get("error", {}).get("code") in {None, "claude_prompt_too_long"}, status
