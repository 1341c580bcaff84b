"""The prompt of a run: assembled from its parts, measured, refused when Kubernetes could not carry it.

A prompt always travels in a Secret, never in an argument or an environment variable: the kernel limits one of those to
128 KiB, and both can be read by whoever may read Jobs.

Only the bootstrap and the main template are templates. Why the agent was woken and what the previous session left are
other people's words and stay as they are, and so do the values of placeholders: nothing is filled in twice.
No message says anything of the prompt but the names of its placeholders.
"""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping

from agentrun_operator import errors, models

# The API server refuses a Secret whose values together exceed this (core/v1 MaxSecretSize).
SECRET_LIMIT_BYTES = 1_048_576

# `claude --print` takes a prompt that begins with a slash for one of its own commands (or for a file of that name in
# the workspace) and answers it itself, with success and without asking the model. A line end before it is enough to
# make it text, on a resumed session too; `--disable-slash-commands` is not (measured with 2.1.329, docs/adr/0002).
_COMMAND = b"/"
_NOT_A_COMMAND = b"\n"

_BETWEEN_PARTS = "\n\n"
_BRACES = "{{"
# Either `\{{`, without a name, or `{{ name }}`. Possessive: no text makes the search take more than linear time.
_PLACEHOLDER = re.compile(r"\\\{\{|\{\{[ \t]*+([A-Za-z0-9_.-]++)[ \t]*+\}\}")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can spell one ("\ud800"); UTF-8 has no bytes for it

# A short placeholder can stand for a long text thousands of times: what would be far too large is refused unbuilt.
_MOST_FILLED_CHARACTERS = 4 * SECRET_LIMIT_BYTES
_MOST_NAMES = 5
_MOST_NAME_CHARACTERS = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """The prompt as the CLI will read it, and how long its parts are."""

    data: bytes = dataclasses.field(repr=False)
    metrics: models.PromptMetrics


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """One part of the prompt, "" if it is left out; ``where`` names the place of its text for messages."""

    where: str
    text: str


def assemble(run: models.AgentRun, *, template: str, source: str, reserved_bytes: int) -> Assembled:
    """The prompt in UTF-8: bootstrap, wake text, handoff and main template, with an empty line between them.

    ``template`` is the main template and ``source`` the place it came from, for messages; it arrives byte for byte,
    but for its placeholders and a line end before a leading slash. The bootstrap is for new sessions only; a resumed
    session that is told why it was woken gets no main template, for it knows it already. ``reserved_bytes`` is what
    else the Secret has to carry. Raises InvalidRunError when the prompt is blank or too large, has a placeholder that
    does not exist, or is no Unicode text.
    """
    limit = max(SECRET_LIMIT_BYTES - reserved_bytes, 0)
    parts = _parts(run, template=template, source=source, limit=limit)
    for part in parts:
        if _LONE_SURROGATE.search(part.text):
            raise _invalid(
                f"{part.where} puts half of a surrogate pair (such as \\ud800 in JSON) into the prompt, which UTF-8 "
                "cannot carry; write the whole character or leave it out."
            )
    prompt = _BETWEEN_PARTS.join(part.text for part in parts if part.text)
    if not prompt:
        why = " None of its placeholders has a value in this run." if template.strip() else ""
        raise _invalid(f"{source} is blank; write what the agent is to do.{why}")
    data = prompt.encode()
    if data.startswith(_COMMAND):
        data = _NOT_A_COMMAND + data
    if len(data) > limit:
        longest = max(parts, key=lambda part: len(part.text.encode()))
        raise _too_large(f"{len(data):,}", limit=limit, where=longest.where)
    bootstrap, wake, handoff, main = (len(part.text) for part in parts)
    return Assembled(
        data=data,
        metrics=models.PromptMetrics(
            prompt_chars=len(prompt),
            bootstrap_prompt_chars=bootstrap,
            wake_prompt_chars=wake,
            session_handoff_chars=handoff,
            heartbeat_prompt_chars=main,
        ),
    )


def _parts(run: models.AgentRun, *, template: str, source: str, limit: int) -> tuple[_Part, _Part, _Part, _Part]:
    """Bootstrap, wake text, handoff and main template."""
    spec = run.spec
    values = _values(run)
    wake = _wake_text(spec.wake)
    bootstrap = main = ""
    if spec.session is None and spec.prompt.bootstrap is not None:
        bootstrap = _filled(spec.prompt.bootstrap, values, where="spec.prompt.bootstrap", limit=limit)
    if spec.session is None or not wake:
        main = _filled(template, values, where=source, limit=limit)
    return (
        _Part("spec.prompt.bootstrap", bootstrap.strip()),
        _Part("spec.wake", wake),
        _Part("spec.prompt.handoff", (spec.prompt.handoff or "").strip()),
        _Part(source, main if main.strip() else ""),
    )


def _wake_text(wake: models.Wake | None) -> str:
    """Why the agent was woken: the reason, then the comments; "" if nothing is said. What is malformed is passed by."""
    if wake is None:
        return ""
    reason = _wake_reason(wake)
    texts = [f"Wake reason: {reason}"] if reason else []
    comments = (wake.payload or {}).get("comments")
    for comment in comments if isinstance(comments, list) else []:
        body = comment.get("body") if isinstance(comment, Mapping) else None
        if isinstance(body, str) and body.strip():
            texts.append(f"Comment: {body.strip()}")
    return _BETWEEN_PARTS.join(texts)


def _wake_reason(wake: models.Wake) -> str:
    """The reason that is given, else the payload's own; "" if there is none."""
    given = (wake.reason or "").strip()
    told = (wake.payload or {}).get("reason")
    return given or (told.strip() if isinstance(told, str) else "")


def _values(run: models.AgentRun) -> dict[str, str]:
    """Every placeholder that exists, and what it stands for in this run: "" for what the run does not have."""
    spec = run.spec
    session = spec.session
    wake = spec.wake or models.Wake()
    approval = spec.approval or models.Approval()
    workspace = spec.workspace or models.Workspace()
    reason = _wake_reason(wake)
    values = {
        "agentId": spec.agent.id,
        "companyId": spec.company_id,
        "runId": run.run_id,
        "taskId": spec.task_id,
        "agent.id": spec.agent.id,
        "agent.name": spec.agent.name,
        "agent.companyId": spec.company_id,
        "company.id": spec.company_id,
        "run.id": run.run_id,
        "run.source": "on_demand",  # templates of the described system may say it; it never said anything else
        "task.id": spec.task_id,
        "session.id": session and session.id,
        "session.cwd": session and session.cwd,
        "wake.reason": reason,
        "wake.commentId": wake.comment_id,
        "approval.id": approval.id,
        "approval.status": approval.status,
        "workspace.cwd": workspace.cwd,
        "workspace.source": workspace.source,
        "workspace.strategy": workspace.strategy,
        "workspace.id": workspace.id,
        "workspace.repoUrl": workspace.repo_url,
        "workspace.repoRef": workspace.repo_ref,
        "workspace.branch": workspace.branch,
        "workspace.worktreePath": workspace.worktree_path,
        "workspace.agentHome": workspace.agent_home,
        # The described system's names for the same things, so that its templates work as they are.
        "context.taskId": spec.task_id,
        "context.issueId": spec.task_id,
        "context.wakeReason": reason,
        "context.wakeCommentId": wake.comment_id,
        "context.commentId": wake.comment_id,
        "context.approvalId": approval.id,
        "context.approvalStatus": approval.status,
        "context.issueIds": ",".join(spec.linked_issue_ids),
        "context.paperclipSessionHandoffMarkdown": (spec.prompt.handoff or "").strip(),
    }
    return {name: value or "" for name, value in values.items()}


def _filled(template: str, values: Mapping[str, str], *, where: str, limit: int) -> str:
    """``template`` with its placeholders filled in.

    Raises InvalidRunError for a placeholder that is not among ``values``, and when the result would be huge.
    """
    pieces = _PLACEHOLDER.split(template)  # text, name, text, name, …, text; the name is None for `\{{`
    found: list[str | None] = pieces[1::2]
    unknown = dict.fromkeys(name for name in found if name is not None and name not in values)
    if unknown:
        raise _unknown(list(unknown), values, where=where)
    pieces[1::2] = [_BRACES if name is None else values[name] for name in found]
    characters = sum(map(len, pieces))
    if characters > _MOST_FILLED_CHARACTERS:
        raise _too_large(f"at least {characters:,}", limit=limit, where=where)
    return "".join(pieces)


def _unknown(found: list[str], known: Iterable[str], *, where: str) -> errors.InvalidRunError:
    named = [_cut(name) for name in found[:_MOST_NAMES]]
    more = f" and {len(found) - _MOST_NAMES:,} more" if len(found) > _MOST_NAMES else ""
    nearest = dict.fromkeys(near for name in named for near in difflib.get_close_matches(name, known, n=1))
    hint = f" Is {' or '.join(f'{{{{{name}}}}}' for name in nearest)} meant?" if nearest else ""
    return _invalid(
        f"{where} has placeholders that do not exist: {', '.join(f'{{{{{name}}}}}' for name in named)}{more}.{hint} "
        f"Write \\{{{{ for {{{{ as text. The placeholders are {', '.join(known)}."
    )


def _cut(name: str) -> str:
    return name if len(name) <= _MOST_NAME_CHARACTERS else f"{name[:_MOST_NAME_CHARACTERS]}…"


def _too_large(size: str, *, limit: int, where: str) -> errors.InvalidRunError:
    return _invalid(
        f"The prompt is {size} bytes in UTF-8; its Secret carries at most {limit:,} of it. The longest part is "
        f"{where}. Put long material into a file on the shared volume and name the file in the prompt."
    )


def _invalid(sentence: str) -> errors.InvalidRunError:
    return errors.InvalidRunError(errors.ErrorCode.PROMPT_INVALID, sentence)
