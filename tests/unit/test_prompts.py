"""The prompt: its parts in their order, unchanged to the byte, and refused exactly where Kubernetes would refuse it."""

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrun_operator import errors, models, prompts
from tests import builders

LIMIT = prompts.SECRET_LIMIT_BYTES
SOURCE = "key prompt of Secret my-prompt"
SESSION = {"id": "5a2f", "cwd": "/paperclip/work"}
LETTERS = ["a", "é", "你", "🎉"]  # 1, 2, 3 and 4 bytes in UTF-8

# Everything that a placeholder can stand for, each with a value of its own where it has one.
FULL: dict[str, Any] = {
    "companyId": "acme",
    "agent": {"id": "coder", "name": "Ada {{agent.id}}"},
    "runId": "run-1",
    "taskId": "T-7",
    "session": SESSION,
    "prompt": {"text": "x", "handoff": "\n# Left over\n"},
    "wake": {"reason": "mentioned", "commentId": "c-1"},
    "approval": {"id": "a-1", "status": "approved"},
    "linkedIssueIds": ["I-1", "I-2"],
    "workspace": {
        "cwd": "/w",
        "source": "project",
        "strategy": "git_worktree",
        "id": "w-1",
        "repoUrl": "https://git.example/r",
        "repoRef": "main",
        "branch": "fix",
        "worktreePath": "/w/tree",
        "agentHome": "/home/ada",
    },
}
NAMES = {  # name → its value in FULL, its value in a run that has nothing but the required fields
    "agentId": ("coder", "coder"),
    "companyId": ("acme", "acme"),
    "runId": ("run-1", builders.RUN_UID),
    "taskId": ("T-7", ""),
    "agent.id": ("coder", "coder"),
    "agent.name": ("Ada {{agent.id}}", ""),
    "agent.companyId": ("acme", "acme"),
    "company.id": ("acme", "acme"),
    "run.id": ("run-1", builders.RUN_UID),
    "run.source": ("on_demand", "on_demand"),
    "task.id": ("T-7", ""),
    "session.id": ("5a2f", ""),
    "session.cwd": ("/paperclip/work", ""),
    "wake.reason": ("mentioned", ""),
    "wake.commentId": ("c-1", ""),
    "approval.id": ("a-1", ""),
    "approval.status": ("approved", ""),
    "workspace.cwd": ("/w", ""),
    "workspace.source": ("project", ""),
    "workspace.strategy": ("git_worktree", ""),
    "workspace.id": ("w-1", ""),
    "workspace.repoUrl": ("https://git.example/r", ""),
    "workspace.repoRef": ("main", ""),
    "workspace.branch": ("fix", ""),
    "workspace.worktreePath": ("/w/tree", ""),
    "workspace.agentHome": ("/home/ada", ""),
    "context.taskId": ("T-7", ""),
    "context.issueId": ("T-7", ""),
    "context.wakeReason": ("mentioned", ""),
    "context.wakeCommentId": ("c-1", ""),
    "context.commentId": ("c-1", ""),
    "context.approvalId": ("a-1", ""),
    "context.approvalStatus": ("approved", ""),
    "context.issueIds": ("I-1,I-2", ""),
    "context.paperclipSessionHandoffMarkdown": ("# Left over", ""),
}


def assemble(template: str, *, reserved_bytes: int = 0, **spec: Any) -> prompts.Assembled:
    """The prompt of a run with this main template and these fields of spec."""
    run = models.AgentRun.parse(builders.agent_run(**spec))
    return prompts.assemble(run, template=template, source=SOURCE, reserved_bytes=reserved_bytes)


def text(template: str, **spec: Any) -> str:
    return assemble(template, **spec).data.decode()


def filled(template: str, **spec: Any) -> str:
    """What filling in makes of a template, whatever else the prompt has and even if it is blank."""
    return text(f"<{template}>", **spec).removesuffix(">").split("<", maxsplit=1)[1]


def refusal(template: str, *, reserved_bytes: int = 0, **spec: Any) -> str:
    """The sentence with which the prompt is refused."""
    with pytest.raises(errors.InvalidRunError) as caught:
        assemble(template, reserved_bytes=reserved_bytes, **spec)
    assert caught.value.code == "prompt_invalid"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "it might quote the prompt"
    return str(caught.value)


def wake_text(wake: dict[str, Any] | None) -> str:
    """What stands before the main template because of this spec.wake."""
    return text("MAIN", wake=wake).removesuffix("MAIN").removesuffix("\n\n")


# ---------------------------------------------------------------------------------------------------- a lone template


@pytest.mark.parametrize(
    "template",
    ["x", " x ", "\n\nx\n\n", " /compact", "-", "a\r\nb\0c", "Grüße 你好 🎉", "{agent.id} $(HOME) %s \\n \\{ }} {0}"],
)
def test_a_template_without_placeholders_arrives_as_it_is_and_nothing_else(template: str) -> None:
    """No trimming, no expansion, no line added."""
    assert assemble(template).data == template.encode()


@hypothesis.given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_every_text_that_is_not_blank_arrives(template: str) -> None:
    """And a blank one is refused."""
    hypothesis.assume("{{" not in template)
    if template.strip():
        assert text(template) == ("\n" if template[0] == "/" else "") + template
    else:
        assert refusal(template).startswith(f"{SOURCE} is blank; write what the agent is to do.")


@pytest.mark.parametrize("template", ["/compact", "/", "//", "/work on it\n", "/é"])
def test_a_prompt_that_begins_with_a_slash_is_kept_from_being_a_command(template: str) -> None:
    """The CLI would answer it itself, with success, without asking the model."""
    assert assemble(template).data == b"\n" + template.encode()


@pytest.mark.parametrize(
    ("template", "spec", "begins"),
    [
        ("{{workspace.cwd}}", {"workspace": {"cwd": "/w"}}, "\n/w"),
        ("x", {"prompt": {"text": "x", "bootstrap": "  /clear"}}, "\n/clear"),
        ("x", {"prompt": {"text": "x", "handoff": "\n/clear"}}, "\n/clear"),
        ("/clear", {"prompt": {"text": "x", "handoff": "h"}}, "h\n\n/clear"),
        ("/clear", {"wake": {"reason": "r"}}, "Wake reason: r\n\n/clear"),
    ],
)
def test_what_counts_is_how_the_whole_prompt_begins(template: str, spec: dict[str, Any], begins: str) -> None:
    assert text(template, **spec).startswith(begins)


@pytest.mark.parametrize("template", ["", " ", "\n", "\t \r\n", "\u00a0", "\u3000\u2028"])
def test_a_blank_prompt_is_refused(template: str) -> None:
    """The CLI would refuse it too, but only once a pod runs."""
    assert refusal(template) == f"{SOURCE} is blank; write what the agent is to do."


def test_a_prompt_that_is_blank_only_when_filled_in_is_refused_with_that_reason() -> None:
    assert refusal(" {{task.id}}{{agent.name}}\n") == (
        f"{SOURCE} is blank; write what the agent is to do. None of its placeholders has a value in this run."
    )


# ---------------------------------------------------------------------------------------------------------- assembly

BOOTSTRAP, WAKE, HANDOFF, MAIN = "Be coder.", "Wake reason: mentioned", "Left over: {{agent.id}}", " Go on, coder.\n"

ASSEMBLY = [  # given (s: session, w: wake, h: handoff, b: bootstrap) → bootstrap, wake, handoff, main of the prompt
    ("", ("", "", "", MAIN)),
    ("b", (BOOTSTRAP, "", "", MAIN)),
    ("h", ("", "", HANDOFF, MAIN)),
    ("hb", (BOOTSTRAP, "", HANDOFF, MAIN)),
    ("w", ("", WAKE, "", MAIN)),
    ("wb", (BOOTSTRAP, WAKE, "", MAIN)),
    ("wh", ("", WAKE, HANDOFF, MAIN)),
    ("whb", (BOOTSTRAP, WAKE, HANDOFF, MAIN)),
    ("s", ("", "", "", MAIN)),
    ("sb", ("", "", "", MAIN)),
    ("sh", ("", "", HANDOFF, MAIN)),
    ("shb", ("", "", HANDOFF, MAIN)),
    ("sw", ("", WAKE, "", "")),
    ("swb", ("", WAKE, "", "")),
    ("swh", ("", WAKE, HANDOFF, "")),
    ("swhb", ("", WAKE, HANDOFF, "")),
]


def spec_of(given: str, *, blank: str | None) -> dict[str, Any]:
    """The fields of spec; what is not given is ``blank``."""
    return {
        "session": SESSION if "s" in given else None,
        "wake": {"reason": " mentioned\n" if "w" in given else blank},
        "prompt": {
            "text": "not read: the template is an argument",
            "handoff": f"\n{HANDOFF}\t\n" if "h" in given else blank,
            "bootstrap": " \nBe {{agent.id}}.{{task.id}} \n" if "b" in given else blank,
        },
    }


@pytest.mark.parametrize("blank", [None, "", " \n\t"])
@pytest.mark.parametrize(("given", "parts"), ASSEMBLY)
def test_parts_stand_in_their_order_with_an_empty_line_between_them(
    given: str, parts: tuple[str, ...], blank: str | None
) -> None:
    """And metrics give the characters of each, and of all."""
    made = assemble(" Go on, {{agent.id}}.\n", **spec_of(given, blank=blank))
    whole = "\n\n".join(filter(None, parts))
    assert made.data.decode() == whole
    bootstrap, wake, handoff, main = map(len, parts)
    assert made.metrics == models.PromptMetrics(
        prompt_chars=len(whole),
        bootstrap_prompt_chars=bootstrap,
        wake_prompt_chars=wake,
        session_handoff_chars=handoff,
        heartbeat_prompt_chars=main,
    )


@pytest.mark.parametrize("template", ["", "\n \n", " {{task.id}} "])
@pytest.mark.parametrize(("given", "parts"), ASSEMBLY)
def test_a_blank_main_template_is_left_out_as_every_other_part(
    given: str, parts: tuple[str, ...], template: str
) -> None:
    whole = "\n\n".join(filter(None, parts[:3]))
    if whole:
        made = assemble(template, **spec_of(given, blank=None))
        assert made.data.decode() == whole
        assert made.metrics.heartbeat_prompt_chars == 0
        assert made.metrics.prompt_chars == len(whole)
    else:
        assert "is blank" in refusal(template, **spec_of(given, blank=None))


def test_a_template_that_is_left_out_is_not_looked_at() -> None:
    """Neither its placeholders nor its size matter."""
    left_out = "{{nonsense}}" + "x" * LIMIT
    assert text(left_out, session=SESSION, wake={"reason": "r"}) == "Wake reason: r"
    assert text("x", session=SESSION, prompt={"text": "x", "bootstrap": "{{nonsense}}"}) == "x"


def test_metrics_count_characters_and_not_the_line_end_that_was_added() -> None:
    made = assemble("/é你🎉")
    assert made.metrics == models.PromptMetrics(prompt_chars=4, heartbeat_prompt_chars=4)
    assert len(made.data) == 1 + 1 + 2 + 3 + 4


def test_the_prompt_is_not_shown_where_a_value_is_printed() -> None:
    assert "secret" not in repr(assemble("secret"))


# --------------------------------------------------------------------------------------------------------- wake text


@pytest.mark.parametrize(
    ("wake", "expected"),
    [
        (None, ""),
        ({}, ""),
        ({"commentId": "c-1"}, ""),
        ({"reason": " r "}, "Wake reason: r"),
        ({"payload": {"reason": "\np "}}, "Wake reason: p"),
        ({"reason": "r", "payload": {"reason": "p"}}, "Wake reason: r"),
        ({"reason": " ", "payload": {"reason": "p"}}, "Wake reason: p"),
        ({"payload": {"comments": [{"body": " a\n\nb "}, {"body": "c"}]}}, "Comment: a\n\nb\n\nComment: c"),
        ({"reason": "r", "payload": {"comments": [{"body": "c", "author": "x"}]}}, "Wake reason: r\n\nComment: c"),
    ],
)
def test_the_reason_and_the_comments_are_told_word_for_word(wake: dict[str, Any] | None, expected: str) -> None:
    assert wake_text(wake) == expected


@pytest.mark.parametrize("reason", [None, 1, True, ["r"], {"r": 1}, "", " \n"])
@pytest.mark.parametrize(
    "comments",
    [None, 1, "body", {"body": "c"}, [], [None, 1, "c", ["c"], {}], [{"body": b} for b in (None, 1, ["c"], "", " ")]],
)
def test_what_is_malformed_in_a_payload_is_passed_by(reason: object, comments: object) -> None:
    """It is the orchestrator's free JSON; a run does not fail for it, and what is well-formed beside it counts."""
    assert wake_text({"payload": {"reason": reason, "comments": comments}}) == ""
    if isinstance(comments, list):
        assert wake_text({"payload": {"comments": [*comments, {"body": "c"}]}}) == "Comment: c"


def test_a_blank_wake_does_not_make_a_resumed_session_lose_its_main_template() -> None:
    assert text("MAIN", session=SESSION, wake={"reason": " ", "payload": {"comments": [{"body": ""}]}}) == "MAIN"


def test_a_comment_alone_is_a_wake_text() -> None:
    assert text("MAIN", session=SESSION, wake={"payload": {"comments": [{"body": "c"}]}}) == "Comment: c"


# ------------------------------------------------------------------------------------------------------ placeholders


@pytest.mark.parametrize("name", NAMES)
def test_a_placeholder_stands_for_its_field_or_for_nothing(name: str) -> None:
    full, bare = NAMES[name]
    left_out = "wake" if name.startswith("session.") else "session"  # with both there is no main template
    assert filled(f"{{{{{name}}}}}", **{**FULL, left_out: None}) == full
    assert filled(f"{{{{{name}}}}}", runId=None) == bare


def test_the_reason_may_be_the_payloads() -> None:
    assert filled("{{wake.reason}}|{{context.wakeReason}}", wake={"payload": {"reason": " p "}}) == "p|p"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{agent.id}}", "coder"),
        ("{{ agent.id }}{{\tagent.id \t}}", "codercoder"),
        ("{{{agent.id}}}", "{coder}"),
        ("{{{{agent.id}}}}", "{{coder}}"),
        ("{{agent.id}}}}", "coder}}"),
        ("{{agent.name}}", "Ada {{agent.id}}"),
        ("\\{{agent.id}}", "{{agent.id}}"),
        ("\\{{nonsense}}", "{{nonsense}}"),
        ("\\{{#each}}", "{{#each}}"),
        ("\\{{", "{{"),
        ("\\\\{{agent.id}}", "\\{{agent.id}}"),
        ("\\{{{agent.id}}", "{{{agent.id}}"),
        ("\\{{{{agent.id}}", "{{coder"),
        ("\\n{{agent.id}}\\", "\\ncoder\\"),
        *(
            (plain, plain)
            for plain in [
                "{{",
                "}}",
                "{{}}",
                "{{ }}",
                "{{\nagent.id\n}}",
                "{{#each items}}{{/each}}",
                "{{agent.id | upper}}",
                "{{agent id}}",
                "{{é}}",
                "{{agent.id}",
                "{agent.id}}",
                "{ {agent.id} }",
                "${{ secrets['X'] }}",
                "{% if x %}",
            ]
        ),
    ],
)
def test_what_is_a_placeholder_and_what_is_text(template: str, expected: str) -> None:
    assert filled(template, agent={"id": "coder", "name": "Ada {{agent.id}}"}) == expected


PIECES = st.lists(
    st.one_of(
        st.tuples(st.just("name"), st.sampled_from(sorted(NAMES))),
        st.tuples(st.just("escape"), st.just("")),
        st.tuples(st.just("text"), st.text(st.characters(codec="utf-8", exclude_characters="{\\"))),
    )
)


@hypothesis.given(PIECES, st.sampled_from(["", " ", "\t ", "  "]))
def test_a_template_of_known_names_escapes_and_text_is_filled_in_piece_by_piece(
    pieces: list[tuple[str, str]], space: str
) -> None:
    """It is never refused."""
    template = expected = "<"
    for kind, piece in pieces:
        if kind == "name":
            template += f"{{{{{space}{piece}{space}}}}}"
            expected += NAMES[piece][1]
        elif kind == "escape":
            template += "\\{{"
            expected += "{{"
        else:
            template += piece
            expected += piece
    assert text(template, runId=None) == expected


@hypothesis.given(st.text(st.one_of(st.sampled_from("{}\\ a."), st.characters(codec="utf-8"))))
def test_every_text_with_its_braces_escaped_arrives(wanted: str) -> None:
    """Also where more than two braces or a backslash stand together."""
    assert text("<" + wanted.replace("{{", "\\{{")) == "<" + wanted


@pytest.mark.parametrize(
    "template",
    [
        "{{" + "a" * 500_000,
        "{{" * 300_000,
        "{{" + " " * 500_000,
        "\\" * 500_000,
        "{{a " * 200_000,
        "{{ a" + "\t" * LIMIT,
    ],
)
def test_no_template_takes_more_than_linear_time(template: str) -> None:
    """Were it quadratic, the test would take minutes."""
    assert text(template[:LIMIT]) == template[:LIMIT]


# -------------------------------------------------------------------------------------------- placeholders, unknown


def test_an_unknown_placeholder_is_refused_with_the_known_ones_and_the_way_out() -> None:
    said = refusal("secret words {{ agent.nmae }}")
    assert said.startswith(
        f"{SOURCE} has placeholders that do not exist: {{{{agent.nmae}}}}. Is {{{{agent.name}}}} meant? "
        "Write \\{{ for {{ as text. The placeholders are agentId, companyId, "
    )
    assert said.removesuffix(".").split("The placeholders are ")[1].split(", ") == list(NAMES)
    assert "secret" not in said


@pytest.mark.parametrize(
    "name", ["x", "agent", "Agent.Id", "agent.id.", ".", "-", "_", "0", "context", "context.paperclipWake", "agent-id"]
)
def test_only_the_exact_names_are_known(name: str) -> None:
    assert f": {{{{{name}}}}}. " in refusal(f"{{{{{name}}}}}")


def test_a_name_that_is_like_no_other_gets_no_guess() -> None:
    assert " meant?" not in refusal("{{zzz}}")


def test_all_unknown_placeholders_are_named_once_each() -> None:
    said = refusal("{{zz1}} {{zz2}} {{agent.id}} {{zz1}} {{zz3}} {{zz4}} {{zz5}}")
    assert ": {{zz1}}, {{zz2}}, {{zz3}}, {{zz4}}, {{zz5}}. " in said


def test_no_more_than_five_and_no_more_than_64_characters_of_each() -> None:
    said = refusal("".join(f"{{{{{letter * 65}}}}}" for letter in "ABCDEFG") + "{{" + "b" * 64 + "}}")
    assert f"{{{{{'A' * 64}…}}}}, {{{{{'B' * 64}…}}}}" in said
    assert f"{{{{{'E' * 64}…}}}} and 3 more. " in said
    assert "F" * 9 not in said
    assert f": {{{{{'b' * 64}}}}}. " in refusal("{{" + "b" * 64 + "}}")


def test_a_very_long_template_of_unknown_placeholders_makes_a_short_message() -> None:
    template = "".join(f"{{{{n{number}.{'x' * 90}}}}}" for number in range(10_000))
    assert len(refusal(template)) < 2000


def test_the_bootstrap_is_named_where_it_is_the_bootstrap() -> None:
    said = refusal("fine", prompt={"text": "x", "bootstrap": "{{nonsense}}"})
    assert said.startswith("spec.prompt.bootstrap has placeholders that do not exist: {{nonsense}}.")


def test_handoff_and_wake_are_no_templates() -> None:
    made = text("M", prompt={"text": "x", "handoff": "{{a}} \\{{b}}"}, wake={"reason": "{{c}}"})
    assert made == "Wake reason: {{c}}\n\n{{a}} \\{{b}}\n\nM"


# ------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("reserved", [0, 1, 4000])
def test_a_prompt_of_exactly_the_limit_is_accepted_and_one_byte_more_refused(letter: str, reserved: int) -> None:
    """Bytes count, not characters; the refusal names both numbers and not the prompt."""
    limit = LIMIT - reserved
    fits = "a" * (limit % len(letter.encode())) + letter * (limit // len(letter.encode()))
    assert len(fits.encode()) == limit
    assert assemble(fits, reserved_bytes=reserved).data == fits.encode()
    for said in (refusal(fits, reserved_bytes=reserved + 1), refusal(f"{fits}a", reserved_bytes=reserved)):
        assert letter * 10 not in said
        assert f"The longest part is {SOURCE}." in said
    assert f"{limit:,} bytes in UTF-8; its Secret carries at most {limit - 1:,} " in refusal(
        fits, reserved_bytes=reserved + 1
    )
    assert f"{limit + 1:,} bytes in UTF-8; its Secret carries at most {limit:,} " in refusal(
        f"{fits}a", reserved_bytes=reserved
    )


def test_the_line_end_before_a_slash_counts_too() -> None:
    """Otherwise the API server would refuse a Secret that was found small enough."""
    template = "/" + "a" * (LIMIT - 2)
    assert len(assemble(template).data) == LIMIT
    assert f"{LIMIT + 1:,} bytes in UTF-8; its Secret carries at most {LIMIT:,} " in refusal(template + "a")


@pytest.mark.parametrize("letter", LETTERS)
def test_all_parts_and_the_empty_lines_between_them_count(letter: str) -> None:
    """The longest part is the one of the most bytes; blanks around a part do not count."""
    spec: dict[str, Any] = {
        "prompt": {"text": "x", "bootstrap": "b" * 1000 + " " * 5000, "handoff": letter * 1000},
        "wake": {"reason": "r"},
    }
    rest = len(f"{'b' * 1000}\n\nWake reason: r\n\n{letter * 1000}\n\n".encode())
    assert len(assemble("m" * 900, reserved_bytes=LIMIT - rest - 900, **spec).data) == rest + 900
    said = refusal("m" * 900, reserved_bytes=LIMIT - rest - 899, **spec)
    assert f"{rest + 900:,} bytes in UTF-8; its Secret carries at most {rest + 899:,} " in said
    assert f"The longest part is spec.prompt.{'bootstrap' if letter == 'a' else 'handoff'}." in said


def test_what_is_filled_in_counts() -> None:
    spec: dict[str, Any] = {"agent": {"id": "coder", "name": "é" * 100}}
    assert len(assemble("{{agent.name}}" * 10, reserved_bytes=LIMIT - 2000, **spec).data) == 2000
    assert "2,000 bytes in UTF-8; its Secret carries at most 1,999 " in refusal(
        "{{agent.name}}" * 10, reserved_bytes=LIMIT - 1999, **spec
    )


@pytest.mark.parametrize("template", ["{{context.paperclipSessionHandoffMarkdown}}" * 20_000, "x"])
def test_a_small_template_does_not_become_gigabytes(template: str) -> None:
    """The sum is known without building the text: the operator would die of it, and every run with it."""
    bootstrap = "{{context.paperclipSessionHandoffMarkdown}}" * 20_000 if template == "x" else None
    said = refusal(template, prompt={"text": "x", "handoff": "h" * 1_000_000, "bootstrap": bootstrap})
    assert f"at least 20,000,000,000 bytes in UTF-8; its Secret carries at most {LIMIT:,} " in said
    assert ("spec.prompt.bootstrap" if bootstrap else SOURCE) in said
    assert "hh" not in said


def test_what_is_too_large_but_not_by_far_is_counted_exactly() -> None:
    """Up to the four-fold; the blanks around a bootstrap do not count even where it is larger than the Secret."""
    handoff = "h" * 1_000_000
    said = refusal("{{context.paperclipSessionHandoffMarkdown}}" * 3, prompt={"text": "x", "handoff": handoff})
    assert f"The prompt is {4_000_000 + len('--'):,} bytes in UTF-8" in said
    bootstrap = "b" + "{{workspace.branch}}" * 500
    assert text("x", prompt={"text": "x", "bootstrap": bootstrap}, workspace={"branch": " " * 4096}) == "b\n\nx"


def test_a_secret_without_any_room_is_no_negative_number() -> None:
    assert "1 bytes in UTF-8; its Secret carries at most 0 " in refusal("x", reserved_bytes=LIMIT + 5)


# ----------------------------------------------------------------------------------------------------- no Unicode text


@pytest.mark.parametrize("half", ["\ud800", "\udfff", "a\udc00b"])
def test_half_a_surrogate_pair_is_refused_and_not_a_crash(half: str) -> None:
    """JSON can spell one, and no UTF-8 can hold it."""
    for where, said in (
        (SOURCE, refusal(f"x{half}")),
        ("spec.wake", refusal("x", wake={"payload": {"reason": half}})),
        ("spec.wake", refusal("x", wake={"payload": {"comments": [{"body": half}]}})),
    ):
        assert said.startswith(f"{where} puts half of a surrogate pair (such as \\ud800 in JSON) into the prompt")
        assert said.isascii()


def test_whole_characters_beyond_the_first_plane_are_no_surrogates() -> None:
    assert text("\U00010000\U0010ffff\ud7ff\ue000") == "\U00010000\U0010ffff\ud7ff\ue000"
