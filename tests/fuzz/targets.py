"""What is fuzzed: functions of bytes that return, or raise AssertionError or whatever the product let through.

None of them needs the fuzzer, so an input that was found is replayed with plain Python. An input is one text, or
several with the record separator between them; where chunks are cut and the like is drawn from a checksum of the input,
so the same bytes always do the same.
"""

import dataclasses
import datetime
import json
import pathlib
import pickle
import random
import re
import zlib
from collections.abc import Callable, Iterator

from agentrun_operator import errors, facts, forensics, models, names, progress, prompts, redaction, status
from agentrun_operator.status import fields
from tests import builders

TRANSCRIPTS = pathlib.Path(__file__).parents[1] / "data" / "transcripts"
SEPARATOR = b"\x1e"

_STATE_BYTES = 256 * 1024  # what is kept of a transcript of any length
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e]")
_NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """One function, and inputs to begin with."""

    check: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]


def transcripts() -> Iterator[tuple[dict[str, object], bytes, bytes]]:
    """Each recorded run: its entry in the index, what it printed, what it wrote to stderr."""
    for entry in json.loads((TRANSCRIPTS / "index.json").read_text()):
        folder = TRANSCRIPTS / entry["cli"] / entry["scenario"]
        if folder.is_dir():
            yield entry, (folder / "stdout.ndjson").read_bytes(), (folder / "stderr.txt").read_bytes()


def chunked(data: bytes) -> Iterator[bytes]:
    """``data`` in pieces of any length, also of none."""
    draw = random.Random(zlib.crc32(data))  # noqa: S311 - decides nothing but where to cut
    longest = draw.choice((1, 7, 64, 1000) if len(data) < 3000 else (200, 2000, 100_000))
    while data:
        size = draw.randint(0, longest)
        yield data[:size]
        data = data[size:]


# --------------------------------------------------------------------------------------------------------- stream


def fold(chunks: Iterator[bytes], limit: int) -> progress.Transcript:
    """What the chunks come to. What is kept of them is small at any time."""
    seen = progress.Progress(limit)
    for chunk in chunks:
        seen.feed(chunk)
    seen.finish()
    kept = len(pickle.dumps(seen))
    assert kept <= _STATE_BYTES, f"{kept} bytes are kept"
    return seen.snapshot()


def check_stream(data: bytes) -> None:
    """Any bytes, cut in any way, come to the same; also when most lines are too long."""
    for limit in (200, 1_000_000):
        assert fold(chunked(data), limit) == fold(iter([data]), limit)


def stream_seeds() -> Iterator[bytes]:
    """Every recorded run."""
    return (stdout for _, stdout, _ in transcripts())


# -------------------------------------------------------------------------------------------------------- verdict

_RUN = models.AgentRun.parse(builders.agent_run())
_CANCELLED = models.AgentRun.parse(builders.agent_run(cancel=True))
_REASONS = ("Error", "OOMKilled", "ContainerStatusUnknown", "StartError")
_PLANTED = "correct horse battery staple"
_REDACTOR = redaction.Redactor([_PLANTED])


def check_verdict(data: bytes) -> None:
    """A transcript with any end: a verdict whose words are fit for people and free of what is known to be secret."""
    header, _, rest = data.partition(SEPARATOR)
    stderr, _, stdout = rest.partition(SEPARATOR)
    knobs = header.ljust(4, b"\0")
    read = fold(iter([stdout]), 1_000_000)
    log = status.LogSeen(
        transcript=read, found=bool(knobs[3] & 1 or stdout), drained=True, stderr_tail=stderr.decode(errors="replace")
    )
    seen = status.Observed(now=_NOW, job=_job(knobs[1]), pod=_pod(knobs), log=log.cleaned(_REDACTOR))
    run = _CANCELLED if knobs[3] & 2 else _RUN
    verdict = forensics.diagnose(fields.facts_for_verdict(run, seen))
    assert (verdict.code is None) == (verdict.phase is forensics.Phase.SUCCEEDED)
    assert verdict.code is None or verdict.code in errors.ErrorCode
    assert 0 < len(verdict.message) <= 1000, len(verdict.message)
    assert not _UNFIT.search(verdict.message), verdict.message
    if "{" not in log.stderr_tail + read.first_plain_text:  # what is no event is quoted as it is
        assert "{" not in verdict.message, verdict.message
    written = fields.final(run, seen, verdict)
    models.AgentRunStatus.model_validate(json.loads(json.dumps(written)))
    text = json.dumps(written, ensure_ascii=False)
    text.encode()  # the API server takes UTF-8 and nothing else
    if not any(_PLANTED in word for word in _names(read)):
        assert _PLANTED not in text, text


def _names(read: progress.Transcript) -> Iterator[str]:
    """The CLI's own words, which are shown as they are."""
    yield from (read.session_id, read.cwd, read.model, read.last_tool, read.claude_version)
    if read.result is not None:
        yield from (read.result.subtype or "", read.result.terminal_reason or "")


def _job(knob: int) -> facts.JobFacts:
    conditions = ({}, {"Complete": "x"}, {"Failed": "BackoffLimitExceeded"}, {"Failed": "DeadlineExceeded"})[knob % 4]
    job = facts.parse_job(builders.job(conditions=conditions))
    return dataclasses.replace(job, gone=bool(knob & 4))


def _pod(knobs: bytes) -> facts.PodFacts | None:
    if knobs[2] & 4:
        return None
    main = builders.terminated(exit_code=knobs[0], reason=_REASONS[knobs[2] % 4] if knobs[0] else "Completed")
    pod = facts.parse_pod(builders.pod(phase="Failed", main=builders.running() if knobs[2] & 8 else main))
    return dataclasses.replace(pod, gone=bool(knobs[2] & 16), deletion_time=builders.CREATED if knobs[2] & 32 else "")


def verdict_seeds() -> Iterator[bytes]:
    """Every recorded run with its exit code, with and without the words that must not show."""
    for entry, stdout, stderr in transcripts():
        code = entry["exit"] if isinstance(entry["exit"], int) else 1
        yield bytes([code % 256, 2 if code else 1, 0, 1]) + SEPARATOR + stderr + SEPARATOR + stdout
        marked = stdout.replace(b'"result":"', b'"result":"' + _PLANTED.encode() + b" ")
        yield bytes([code % 256, 2, 0, 1]) + SEPARATOR + _PLANTED.encode() + stderr + SEPARATOR + marked


# -------------------------------------------------------------------------------------------------------- redact

_VALUES = (
    _PLANTED,
    'ümläut "quoted" \\ geheim',
    "-----BEGIN KEY-----\nMIIEowIBAAKCAQEA75q83vEi\nM0VniavN7wEjAQIDAQAB+++/\n-----END KEY-----",
)
_FORMS = tuple(
    form.encode()
    for value in _VALUES
    for form in (value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
)
_KNOWN = redaction.Redactor(_VALUES)


def check_redact(data: bytes) -> None:
    """Values planted anywhere in any bytes, also in lines that are too long to be held, never come out."""
    draw = random.Random(zlib.crc32(data))  # noqa: S311 - decides nothing but where to plant
    filler = draw.choice((*[0] * 17, 60_000, 66_000, 140_000))
    for _ in range(draw.randint(1, 3)):
        at = draw.randint(0, len(data))
        data = data[:at] + draw.choice(_FORMS) + data[at:]
    at = draw.randint(0, len(data))
    data = data[:at] + draw.choice((b"x", "é".encode(), b"ab ")) * filler + data[at:]
    stream = redaction.Stream(_KNOWN)
    out = b"".join(map(stream.feed, chunked(data))) + stream.finish()
    for form in _FORMS:
        assert form not in out, form


def redact_seeds() -> Iterator[bytes]:
    """The shorter ones of the recorded runs, and words that are redacted by their shape."""
    yield b"key sk-ant-api03-AbCdEf_12-34, https://user:pass@example.com, -----BEGIN RSA PRIVATE KEY-----\nMIIE\n"
    yield from (stdout for _, stdout, _ in transcripts() if len(stdout) < 5000)


# ------------------------------------------------------------------------------------------------------- prompts

_NAMES = ("agent.id", "run.id", "task.id", "wake.reason", "session.id", "context.paperclipSessionHandoffMarkdown")


def check_prompts(data: bytes) -> None:
    """Any text as template, bootstrap, handoff and wake reason: a prompt that a Secret can carry, or a refusal."""
    parts = [part.decode(errors="surrogateescape") for part in data.split(SEPARATOR)]
    template, bootstrap, handoff, reason, session = (*parts, *[""] * 5)[:5]
    body = builders.agent_run(
        prompt={"text": "x", "bootstrap": bootstrap or None, "handoff": handoff or None},
        wake={"reason": reason, "payload": {"comments": [{"body": reason}, reason]}} if reason else None,
        session={"id": "5a2f"} if session else None,
    )
    reserved = zlib.crc32(data) % (prompts.SECRET_LIMIT_BYTES + 1) if len(data) % 5 == 0 else 30_000
    try:
        run = models.AgentRun.parse(body)
        made = prompts.assemble(run, template=template, source="spec.prompt.text", reserved_bytes=reserved)
    except errors.InvalidRunError as e:
        assert isinstance(e.code, errors.ErrorCode)
        assert 0 < len(str(e)) <= 8000, len(str(e))
        return
    made.data.decode()
    assert made.data.strip()
    assert not made.data.startswith(b"/")
    assert len(made.data) <= max(prompts.SECRET_LIMIT_BYTES - reserved, 0)


def prompts_seeds() -> Iterator[bytes]:
    """Placeholders that exist, that do not, that are none; commands; text of every width."""
    for name in _NAMES:
        yield b"Do it: {{ " + name.encode() + b" }}" + SEPARATOR + b"You are {{agent.id}}." + SEPARATOR + b"# left"
    yield SEPARATOR.join((b"/clear", b"", b"", b"mentioned", b"s"))
    yield SEPARATOR.join((b"\\{{x}} {{y}} {{", b"\xed\xa0\x80", "\U0001f389 你 é".encode(), b"{{agent.id}}"))
    yield b"{{context.paperclipSessionHandoffMarkdown}}" * 50 + SEPARATOR * 2 + b"long " * 500


TARGETS = {
    "stream": Target(check_stream, stream_seeds),
    "verdict": Target(check_verdict, verdict_seeds),
    "redact": Target(check_redact, redact_seeds),
    "prompts": Target(check_prompts, prompts_seeds),
}

# Words that the fuzzer may put anywhere: it would have to guess them letter by letter.
WORDS = (
    *(
        '{"type":"',
        '"result"',
        '"subtype":"success"',
        '"is_error":true',
        '"session_id":"',
        '"message":{',
        '"content":[',
    ),
    *('"usage":{', '"errors":[', "error_max_turns", "error_during_execution", "No conversation found", '"api_error":'),
    *(
        "API Error: 429",
        "Prompt is too long",
        "limit reached|",
        "resets 3pm (UTC)",
        "hit your limit",
        "\\ud800",
        "1e999",
    ),
    *("{{", "}}", "\\{{", *_NAMES, "sk-ant-", "://a:b@", "-----BEGIN PRIVATE KEY-----", "Bearer ", "password="),
    *(_PLANTED, "\x1e", "\n", "\r\n", "\x1b[31m", "\u2028", "\u202e", "model_usage_since_last_result"),
    names.FINALIZER,
)
