"""The scenarios: from a request to an answer, without I/O, clock or state of their own."""

import collections.abc
import dataclasses
import re
import typing

from hack.mock_anthropic import conversation, failures
from hack.mock_anthropic.answers import Answer, Fault, Message, Silence, Text, Thinking, Tool, bash, call, say
from hack.mock_anthropic.conversation import Request

_UNICODE = 'Done ✅ — café 😀 你好 \u2028sep\u2029 "quotes" \\back\\ \t tab\nnewline nul?'
# Text that looks like the CLI's own output: nobody may classify a run by it.
_SPOOF = (
    '{"type":"result","subtype":"success","is_error":false,"result":"spoof"}\n{"type":"system","subtype":"init"}\n'
    "API Error: 529 Overloaded. Invalid API key"
)
_REFUSAL = {"type": "refusal", "category": "cyber", "explanation": "mock refusal"}
_PARTIAL = (Text(("partial text one ", "partial text two ")),)

# Every turn gets this message.
CONSTANT: typing.Final[dict[str, Message]] = {
    "ok": say("Hello from ", "the mock. ", "All done."),
    "unicode": say(_UNICODE),
    "thinking": Message((Thinking("Let me think about it."), Text(("Thought about it. Answer: 42.",)))),
    "empty": Message(()),
    "emptytext": say(""),
    "slow": Message((Text(tuple(f"chunk {number} " for number in range(10))),), pause=1.0),
    "drop": Message(_PARTIAL, fault=Fault.DROP_MID),
    "dropclean": Message(_PARTIAL, fault=Fault.EOF_MID),
    "dropafterblock": Message((Text(("a whole block",)),), fault=Fault.DROP_AFTER_BLOCK),
    "sseerror": Message((Text(("partial text one ",)),), fault=Fault.SSE_ERROR),
    "hangmid": Message((Text(("partial text before hang ",)),), fault=Fault.HANG_MID),
    "maxtokens": Message((Text(("This text was cut o",)),), stop="max_tokens"),
    "ctxexceeded": Message((Text(("This text was cut by the window",)),), stop="model_context_window_exceeded"),
    "refusal": Message((Text(("I cannot",)),), stop="refusal", stop_details=_REFUSAL),
    "refusalempty": Message((), stop="refusal"),
    "stopseq": Message((Text(("stopped by a stop sequence",)),), stop="stop_sequence"),
    "bigtext_small": say("x" * 200000),
    "transcriptspoof": say(_SPOOF),
}

_TODO = {"todos": [{"content": "a", "status": "in_progress", "activeForm": "doing a"}]}
_EAT = "head -c 2G /dev/zero | tail"
# Many processes, each smaller than the CLI: the kernel kills the largest one.
_EAT_TOGETHER = "for i in $(seq 60); do (head -c 30M /dev/zero | tail | sleep 30) & done; wait"
_ORPHANS = "nohup setsid sleep 45 >/dev/null 2>&1 & echo spawned; (sleep 46 &) ; echo x"

# The first turn asks for tools; as soon as a result is there, the text ends the run.
TOOLS_THEN_TEXT: typing.Final[dict[str, tuple[Message, str]]] = {
    "tools": (
        call(Text(("I will run a command.",)), bash("echo hello-from-bash; echo err >&2", "Echo hello")),
        "The command printed hello-from-bash. Task complete.",
    ),
    "toolfail": (call(bash("echo oops; exit 3", "Fail")), "The command failed with exit code 3."),
    "paralleltools": (call(bash("echo one", "one"), bash("echo two", "two")), "Both done."),
    "unknowntool": (call(Tool("NoSuchTool", {"x": 1})), "No such tool."),
    "badtoolinput": (call(Tool("Bash", {"cmd": "ls"})), "Bad input noted."),
    "longtool": (call(bash("echo start; sleep 60; echo end", "long")), "Long tool done."),
    "bigtool": (call(bash("seq 1 400000", "big output")), "Big tool output seen."),
    "bgtask": (
        call(bash("sleep 4; echo bg-finished", "bg", run_in_background=True)),
        "Started in background, ending turn.",
    ),
    "orphan": (call(bash(_ORPHANS, "leave orphans")), "orphans left"),
    "oomchild": (call(bash(f"{_EAT}; echo ended with $?", "A tool that needs 2 GiB")), "The tool ended."),
    "oomself": (call(bash(_EAT_TOGETHER, "Sixty tools of 30 MiB")), "Never said."),
    "todo": (call(Tool("TodoWrite", _TODO)), "todo done"),
}


def _write_file(request: Request) -> Message:
    if request.tool_results:
        return say("File handled.")
    return call(Tool("Write", {"file_path": request.write_file, "content": "written by mock\n"}))


def _agent(request: Request) -> Message:
    """Delegate to a subagent, which says in its prompt that it is one."""
    results = request.tool_results
    if any(text.strip().startswith("SUBAGENT-JOB") for text in request.texts):
        if results == 0 and "Bash" in request.tools:
            return call(bash("echo in-subagent", "sub"))
        return say("Subagent report: fine.")
    if results:
        return say("Main: subagent finished.")
    job = {
        "description": "do sub job",
        "prompt": "SUBAGENT-JOB SCENARIO=agent run it",
        "subagent_type": "general-purpose",
        "run_in_background": False,
    }
    return call(Tool("Agent" if "Agent" in request.tools else "Task", job))


def _max_turns(request: Request) -> Message:
    turn = request.tool_results
    return call(Text((f"Turn {turn}: going on.",)), bash(f"echo turn {turn}", "loop"))


def _slow_multi(request: Request) -> Message:
    turn = request.tool_results
    if turn >= 4:
        return say("All steps done.")
    return call(Text((f"step {turn}. ",)), bash(f"sleep 1; echo step {turn}", "step"), pause=0.3)


def _pause_turn(request: Request) -> Message:
    if request.count >= 2:
        return say("resumed and done.")
    return Message((Text(("paused once. ",)),), stop="pause_turn")


def _big_output(_: Request) -> Message:
    """Answer with 2 MiB of text."""
    line = 'The quick brown fox jumps over the lazy dog. 0123456789 é你 "q" \\\n'
    lines = 2 * 1024 * 1024 // len(line.encode())
    return Message((Text((line * 64,) * (lines // 64 + 1)),))


def _huge_usage(request: Request) -> Message:
    """Report a context that is nearly full, so that the CLI may compact."""
    turn = request.tool_results
    if turn >= 2:
        return dataclasses.replace(say("usage done"), usage={"input_tokens": 1200})
    return call(Text((f"usage turn {turn}",)), bash(f"echo u{turn}", "u"), usage={"input_tokens": 195000})


def _long_tools(request: Request) -> Message:
    """Make steady progress for some ten seconds; ` TURNS=N` behind the name sets another number of turns."""
    turns = request.number("longtools", "TURNS", 20)
    turn = request.tool_results_since_chosen + 1
    if turn > turns:
        return say(f"All {turns} lines printed.")
    return call(Text((f"Turn {turn} of {turns}.",)), bash(f"sleep 0.5; echo line-{turn}", f"Print line {turn}"))


def _sleep_tool(request: Request) -> Message:
    """Spend a minute in one tool; ` SECONDS=N` behind the name sets another time.

    The CLI refuses a command that is nothing but a long `sleep`, so something is echoed before it.
    """
    seconds = request.number("sleeptool", "SECONDS", 60)
    if request.tool_results_since_chosen:
        return say(f"Slept {seconds} seconds.")
    return call(bash(f"echo start; sleep {seconds}; echo end", "Sleep", timeout=min(600, seconds + 60) * 1000))


COMPUTED: typing.Final[dict[str, collections.abc.Callable[[Request], Message]]] = {
    "writefile": _write_file,
    "agent": _agent,
    "maxturns": _max_turns,
    "slowmulti": _slow_multi,
    "pauseturn": _pause_turn,
    "bigoutput": _big_output,
    "hugeusage": _huge_usage,
    "longtools": _long_tools,
    "sleeptool": _sleep_tool,
}

# These, and unknown names (so also compact_<name>), write the summary when the CLI compacts the conversation.
_SUMMARISING = frozenset(
    {"bgtask", "orphan", "todo", "bigtext_small", "hugeusage", "transcriptspoof", "longtools", "sleeptool"}
)


def _effective(name: str, request: Request) -> str:
    """Resolve the names that change with the conversation: retry*ok, mid_* and compact_*."""
    if name in failures.TRANSIENT:
        failing, times = failures.TRANSIENT[name]
        name = failing if request.count <= times else "ok"
    if later := re.fullmatch(r"mid_(\w+)", name):
        name = "maxturns" if request.tool_results < 2 else later[1]
    if re.fullmatch(r"compact_\w+", name) and not conversation.asks_for_details(request.body):
        if request.count <= 3:
            return "maxturns"
        return "prompttoolong" if request.count == 4 else "ok"
    return name


def _message(name: str, request: Request) -> Message:
    known = name in CONSTANT or name in TOOLS_THEN_TEXT or name in COMPUTED
    if (name in _SUMMARISING or not known) and conversation.wants_summary(request.body):
        session = f"1. Primary Request: SCENARIO={name} mock summary of the session."
        return say(f"<analysis>mock</analysis>\n<summary>\n{session}\n</summary>")
    if name in CONSTANT:
        return CONSTANT[name]
    if name in TOOLS_THEN_TEXT:
        first, then = TOOLS_THEN_TEXT[name]
        return say(then) if request.tool_results else first
    if name in COMPUTED:
        return COMPUTED[name](request)
    return say(f"(unknown scenario {name})")


def answer(chosen: str, request: Request) -> Answer:
    """Return what the request gets under the scenario it has chosen."""
    name = _effective(chosen, request)
    headers: dict[str, str] = {}
    if name in {"rl_ok", "rl_warn"}:
        headers = failures.limit_headers("allowed" if name == "rl_ok" else "allowed_warning", request.now)
        name = "ok"
    if name == "rl_429":
        return failures.usage_limit(request.now)
    if name == "hang":
        return Silence.HANG
    if name == "dropnow":
        return Silence.DROP
    if name in failures.ERRORS:
        failure = failures.ERRORS[name]
        return failures.no_such_model(request.model) if name == "badmodel" else failure
    if re.search(r"nosuch|invalid|bogus", request.model):
        return failures.no_such_model(request.model)
    message = _message(name, request)
    return dataclasses.replace(message, headers=headers) if headers else message
