"""The entry script of the agent's container, run for real by every POSIX shell that an image may have as /bin/sh."""

import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

import pytest

import agentrun_operator
from agentrun_operator import logfiles, manifest, models, settings
from tests import builders, deps, expansion

SCRIPT = pathlib.Path(agentrun_operator.__file__).parent / "entry" / "run-agent.sh"
SHELLS = {
    name: command
    for name, command in {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}.items()
    if shutil.which(command[0])
}
PYTHON = (sys.executable, "-S", "-E", "-c")
HANG_SECONDS = 10

# A child that tells which signals reach it. The shell starts it with INT ignored, as it does with every background
# command; like the CLI's runtime, it sets its own handlers nevertheless. "ready" is its first line, so no test signals
# it too early or by the clock. Short sleeps, since one that begins just after a signal would not be cut short by it.
LISTENER = """\
import os, signal, time
{handlers}
os.write(1, b"ready\\n")
for _ in range(3000): time.sleep(0.02)
"""
EXIT_0_ON_INT = "signal.signal(signal.SIGINT, lambda *_: (os.write(1, b'INT\\n'), os._exit(0)))"
EXIT_0_ON_TERM = "signal.signal(signal.SIGTERM, lambda *_: (os.write(1, b'TERM\\n'), os._exit(0)))"
IGNORE_INT = "signal.signal(signal.SIGINT, lambda *_: os.write(1, b'INT\\n'))"
IGNORE_TERM = "signal.signal(signal.SIGTERM, lambda *_: os.write(1, b'TERM\\n'))"


def listener(*handlers: str) -> tuple[str, ...]:
    """The command of a child that lives for a minute and has these signal handlers."""
    return (*PYTHON, LISTENER.format(handlers="\n".join(handlers)))


@dataclasses.dataclass(frozen=True)
class Ended:
    """What is left of one run of the script."""

    code: int
    stdout: bytes
    stderr: bytes
    seconds: float


class Entry:
    """Runs the script under one shell, in a folder of its own."""

    def __init__(self, shell: list[str], folder: pathlib.Path) -> None:
        self.shell = shell
        self.out = folder / "out.ndjson"
        self.err = folder / "err.txt"
        self.prompt = folder / "prompt.txt"
        self.termination_log = folder / "termination-log"
        self.tmp = folder / "tmp"
        self.tmp.mkdir()
        self.prompt.write_bytes(b"the prompt")

    def run(
        self, *command: str, signals: Sequence[signal.Signals | None] = (), environment: Mapping[str, str] | None = None
    ) -> Ended:
        """Run the script to its end. After the nth line of output it gets the nth of ``signals``.

        Hanging fails the test, and whatever still runs at the end is killed with the script's process group.
        """
        paths = {"TERMINATION_LOG": str(self.termination_log), "TMPDIR": str(self.tmp), "PATH": os.environ["PATH"]}
        began = time.monotonic()
        process = subprocess.Popen(
            [*self.shell, str(SCRIPT), str(self.out), str(self.err), str(self.prompt), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"GRACE": "1", "DRAIN": "1", **paths, **(environment or {})},
            start_new_session=True,
            preexec_fn=_as_in_a_container,
        )
        with process, kill_group_after(process, HANG_SECONDS):
            assert process.stdout is not None
            seen = b""
            for number in signals:
                seen += process.stdout.readline()
                if number is not None:
                    process.send_signal(number)
            stdout, stderr = process.communicate()
        return Ended(code=process.returncode, stdout=seen + stdout, stderr=stderr, seconds=time.monotonic() - began)

    @property
    def sizes(self) -> str:
        """What the script reported."""
        return self.termination_log.read_text()


def _as_in_a_container() -> None:
    """A shell cannot trap what it was started to ignore, and a test run in the background was started to ignore INT."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class kill_group_after:  # noqa: N801 - reads as a function
    """Kill the process group after ``seconds``, or at the end of the block."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self._group = process.pid
        self._timer = threading.Timer(seconds, self._kill)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._kill()

    def _kill(self) -> None:
        try:
            os.killpg(self._group, signal.SIGKILL)
        except ProcessLookupError:
            return


@pytest.fixture(params=SHELLS)
def entry(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Entry:
    """The script under each shell of this machine."""
    return Entry(SHELLS[request.param], tmp_path)


def test_there_is_a_shell_to_test() -> None:
    """Without one, every test below would be skipped in silence."""
    assert SHELLS


@pytest.mark.parametrize("code", [0, 1, 42, 127])
def test_the_exit_code_is_that_of_the_command(entry: Entry, code: int) -> None:
    """Not that of tee."""
    assert entry.run("sh", "-c", f"echo out; exit {code}").code == code


def test_a_command_that_does_not_exist_is_127(entry: Entry) -> None:
    """It says so on stderr, which start-up errors are quoted from."""
    ended = entry.run("no-such-command")
    assert ended.code == 127
    assert b"no-such-command" in ended.stderr
    assert b"no-such-command" in entry.err.read_bytes()


def test_a_killed_command_is_137(entry: Entry) -> None:
    """What it wrote before is kept."""
    assert entry.run("sh", "-c", "echo before; kill -9 $$").code == 137
    assert entry.out.read_bytes() == b"before\n"


@pytest.mark.parametrize(
    "prompt",
    [
        b"",
        b"no newline at the end",
        b"\n\n two before, two after \n\n",
        b"/compact $(echo no) `echo no` 'quotes\" \\n %s -n",
        "Grüße, 你好 🎉".encode(),
        b"\x00\xff\xfe\x80 not UTF-8 \r\n\x1b[0m\x04",
        bytes(range(256)) * 1024,
    ],
    ids=["empty", "no-newline", "newlines", "shell", "unicode", "binary", "more-than-a-pipe-holds"],
)
def test_the_prompt_arrives_byte_for_byte_on_stdin(entry: Entry, prompt: bytes) -> None:
    """And the output reaches the file and the pod's log byte for byte as well."""
    entry.prompt.write_bytes(prompt)
    ended = entry.run("cat")
    assert (ended.code, ended.stdout, ended.stderr) == (0, prompt, b"")
    assert entry.out.read_bytes() == prompt
    assert entry.err.read_bytes() == b""
    assert entry.sizes == f"stdoutBytes={len(prompt)} stderrBytes=0\n"


def test_stdout_and_stderr_are_kept_apart(entry: Entry) -> None:
    """Each goes to its stream and to its file, whole, and both are measured."""
    code = "import os; [(os.write(1, b'o' * 5000 + b'\\n'), os.write(2, b'\\xffe' * 5000 + b'\\n')) for _ in range(40)]"
    ended = entry.run(*PYTHON, code)
    assert ended.stdout == (b"o" * 5000 + b"\n") * 40
    assert ended.stderr == (b"\xffe" * 5000 + b"\n") * 40
    assert entry.out.read_bytes() == ended.stdout
    assert entry.err.read_bytes() == ended.stderr
    assert entry.sizes == f"stdoutBytes={5001 * 40} stderrBytes={10_001 * 40}\n"


def test_files_of_an_earlier_run_are_not_appended_to(entry: Entry) -> None:
    """What stands in the file is this run's output and nothing else."""
    entry.out.write_bytes(b"old\n" * 100)
    entry.err.write_bytes(b"old\n" * 100)
    assert entry.run("sh", "-c", "echo new; echo new >&2").code == 0
    assert entry.out.read_bytes() == entry.err.read_bytes() == b"new\n"


def test_arguments_arrive_unchanged(entry: Entry) -> None:
    """None is split, expanded, executed or dropped."""
    arguments = [
        "a b",
        "",
        "'",
        '"',
        "$HOME",
        "$(echo no)",
        "`echo no`",
        "*",
        "~",
        "a\nb\n",
        "\\n",
        "-",
        "--",
        "a;b&c|d",
    ]
    arguments += [" ", "%s", "é🎉", "<x>", "!!", "{1,2}", "#"]
    ended = entry.run(*PYTHON, "import os, sys; os.write(1, b'\\0'.join(map(os.fsencode, sys.argv[1:])))", *arguments)
    assert ended.stdout.split(b"\0") == [argument.encode() for argument in arguments]


def test_the_command_inherits_no_descriptor_of_the_script(entry: Entry) -> None:
    """A child of the command that kept a pipe open would hold up the end of the run."""
    listing = "import os; os.write(1, ' '.join(d for d in os.listdir('/proc/self/fd') if int(d) < 10).encode())"
    assert sorted(entry.run(*PYTHON, listing).stdout.split()) == [b"0", b"1", b"2", b"3"]  # 3 is the listing's own


def test_nothing_is_left_in_the_temporary_folder(entry: Entry) -> None:
    """Not even while the command runs: it may fill or clear that folder."""
    assert entry.run("ls", "-A", str(entry.tmp)).stdout == b""


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)], ids=lambda v: str(int(v))
)
def test_a_signal_reaches_the_command_as_int_and_an_exit_with_0_stands_for_it(
    entry: Entry, number: signal.Signals, code: int
) -> None:
    """The CLI writes its last result on INT only, and calls that a success."""
    ended = entry.run(*listener(EXIT_0_ON_INT), signals=[number])
    assert (ended.code, ended.stdout) == (code, b"ready\nINT\n")
    assert entry.out.read_bytes() == ended.stdout
    assert entry.sizes == "stdoutBytes=10 stderrBytes=0\n"


def test_an_exit_code_of_its_own_survives_the_signal(entry: Entry) -> None:
    """Only 0 is replaced."""
    child = listener("signal.signal(signal.SIGINT, lambda *_: os._exit(42))")
    assert entry.run(*child, signals=[signal.SIGTERM]).code == 42


def test_a_command_that_ignores_int_gets_term(entry: Entry) -> None:
    """After GRACE seconds."""
    ended = entry.run(*listener(IGNORE_INT, EXIT_0_ON_TERM), signals=[signal.SIGTERM])
    assert (ended.code, ended.stdout) == (143, b"ready\nINT\nTERM\n")


def test_a_command_that_ignores_everything_is_killed(entry: Entry) -> None:
    """After GRACE seconds of INT and as many of TERM; a second signal meanwhile does not start the clock again."""
    ended = entry.run(*listener(IGNORE_INT, IGNORE_TERM), signals=[signal.SIGTERM, signal.SIGTERM])
    assert ended.code == 137
    assert ended.stdout.splitlines()[-1] == b"TERM"
    assert ended.seconds < 5


def test_int_is_repeated_within_the_grace_period(entry: Entry) -> None:
    """The CLI ignores it until it has loaded."""
    second = "n = []; signal.signal(signal.SIGINT, lambda *_: n and os._exit(7) or n.append(1))"
    ended = entry.run(*listener(second), signals=[signal.SIGTERM], environment={"GRACE": "2"})
    assert (ended.code, ended.stdout) == (7, b"ready\n")


def test_a_signal_before_the_command_keeps_it_from_starting(entry: Entry) -> None:
    """Otherwise a run that was cancelled early would work on unseen."""
    signal_at_the_last_step_before = 'mkfifo() { command mkfifo "$@"; kill -TERM $$; }; '
    entry.shell = [*entry.shell, "-c", f'{signal_at_the_last_step_before}. "$0"']
    ended = entry.run("echo", "started")
    assert (ended.code, ended.stdout) == (143, b"")
    assert entry.sizes == "stdoutBytes=0 stderrBytes=0\n"


STRAY = """\
import os, time
os.write(1, b"ready\\n")
parent = os.getpid()
if os.fork() == 0:
    while os.getppid() == parent: time.sleep(0.01)
    time.sleep(0.2)
    os.write(1, b"late\\n")
    time.sleep(60)
os._exit(42)
"""


def test_a_stray_child_that_holds_the_output_open_is_not_waited_for(entry: Entry) -> None:
    """What it writes within DRAIN seconds is kept; the exit code is the command's, whatever signal comes now."""
    ended = entry.run(*PYTHON, STRAY, signals=[None, signal.SIGTERM])
    assert (ended.code, ended.stdout) == (42, b"ready\nlate\n")
    assert ended.seconds < 5
    assert entry.out.read_bytes() == ended.stdout
    assert entry.sizes == "stdoutBytes=11 stderrBytes=0\n"


@pytest.mark.parametrize("which", ["out", "err"])
@pytest.mark.parametrize("kind", ["folder-missing", "is-a-folder"])
def test_a_log_that_cannot_be_written_costs_neither_exit_code_nor_output(entry: Entry, which: str, kind: str) -> None:
    """The pod's log has everything, and no size is reported: a wrong one would be believed."""
    bad = entry.tmp / "missing" / "file" if kind == "folder-missing" else entry.tmp
    setattr(entry, which, bad)
    ended = entry.run("sh", "-c", "echo out; echo err >&2; exit 42")
    assert (ended.code, ended.stdout) == (42, b"out\n")
    assert b"err\n" in ended.stderr
    assert not entry.termination_log.exists()


def test_a_termination_log_that_cannot_be_written_does_not_change_the_exit_code(entry: Entry) -> None:
    """The sizes are a help for the reader, nothing more."""
    entry.termination_log = entry.tmp / "missing" / "termination-log"
    ended = entry.run("sh", "-c", "echo out; exit 42")
    assert (ended.code, ended.stdout) == (42, b"out\n")


def test_a_missing_prompt_is_an_error_and_no_hang(entry: Entry) -> None:
    """The command is not started: it would wait for nothing, or do work nobody asked for."""
    entry.prompt.unlink()
    ended = entry.run("echo", "started")
    assert ended.code != 0
    assert ended.stdout == b""
    assert b"prompt.txt" in ended.stderr
    assert ended.seconds < 5


def test_a_read_only_temporary_folder_is_an_error_and_no_hang(entry: Entry) -> None:
    """125, as env and docker say for "not even started"."""
    ended = entry.run("echo", "started", environment={"TMPDIR": str(entry.tmp / "missing")})
    assert (ended.code, ended.stdout) == (125, b"")


def test_a_log_that_could_not_be_written_is_reported_as_incomplete(entry: Entry, tmp_path: pathlib.Path) -> None:
    """The volume is full: the pod's log has everything, the exit code is the agent's, and the operator is told."""
    if "busybox" in entry.shell[0]:
        pytest.skip("this shell takes its own tee, whatever PATH says")
    folder = tmp_path / "bin"
    folder.mkdir()
    full = folder / "tee"  # what tee does when the disk is full: it goes on with its standard output, and fails
    full.write_text(f'#!/bin/sh\nPATH={os.environ["PATH"]}\ncat\necho part >"$1"\nexit 1\n')
    full.chmod(0o755)
    ended = entry.run("sh", "-c", "echo whole; exit 3", environment={"PATH": f"{folder}:{os.environ['PATH']}"})
    assert (ended.code, ended.stdout) == (3, b"whole\n")
    assert entry.sizes == "stdoutBytes=5 stderrBytes=5 incomplete\n"


# --- the preparing container ----------------------------------------------------------------------------------------


def prepare(
    entry: Entry, volume: pathlib.Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run the command of the init container with ``volume`` as the shared volume."""
    config = settings.Settings(image="i", data_mount=str(volume), instance_root=f"{volume}/instance")
    run = models.AgentRun.parse(builders.agent_run(job={"workingDir": f"{volume}/work space/$(x)"}))
    template = manifest.Template(text="Do it.", source="spec.prompt.text")
    job = manifest.build(run, config, template=template, scripts=deps.SCRIPTS).job
    command = [expansion.expand(word) for word in job["spec"]["template"]["spec"]["initContainers"][0]["command"]]
    assert command[0] == "/bin/sh"
    env = {**os.environ, **(environment or {})}
    return subprocess.run([*entry.shell, *command[1:]], capture_output=True, check=False, env=env)


def test_preparing_makes_the_folders_and_an_empty_log(entry: Entry, tmp_path: pathlib.Path) -> None:
    """The log exists before the agent starts, so its absence later means something."""
    done = prepare(entry, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "instance/run-logs/acme/coder/run-1.pod.ndjson").read_bytes() == b""
    assert (tmp_path / "instance/claude-config/acme/coder").is_dir()
    assert (tmp_path / "work space/$(x)").is_dir()
    owner = (tmp_path / "instance/run-logs/acme/coder/run-1.pod.owner").read_text()
    assert owner == f"team-a {builders.RUN_UID} WithRun\n"


def test_preparing_moves_an_earlier_log_aside(entry: Entry, tmp_path: pathlib.Path) -> None:
    """What an earlier object of the same run id wrote is kept, and never taken for this run's."""
    log = tmp_path / "instance/run-logs/acme/coder/run-1.pod.ndjson"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"old\n")
    assert prepare(entry, tmp_path).returncode == 0
    assert log.read_bytes() == b""
    assert log.with_name(log.name + ".previous").read_bytes() == b"old\n"


def test_preparing_fails_where_a_folder_cannot_be_made(entry: Entry, tmp_path: pathlib.Path) -> None:
    """The pod's status says why, before any money is spent."""
    (tmp_path / "instance").write_bytes(b"a file")
    done = prepare(entry, tmp_path)
    assert done.returncode != 0
    assert b"instance" in done.stderr


@pytest.mark.parametrize("times", [1, 2])
def test_preparing_goes_on_when_the_folder_is_removed_meanwhile(
    entry: Entry, tmp_path: pathlib.Path, times: int
) -> None:
    """The operator has just removed the last log of the agent, and its folder with it."""
    if "busybox" in entry.shell[0]:
        pytest.skip("this shell takes its own mkdir, whatever PATH says")
    folder, marks = tmp_path / "bin", tmp_path / "marks"
    folder.mkdir()
    removing = folder / "mkdir"
    removing.write_text(
        f'#!/bin/sh\nPATH={os.environ["PATH"]}\nmkdir "$@" || exit\necho >>{marks}\n'
        f'[ "$(wc -l <{marks})" -gt {times} ] || rmdir "$2"\n'
    )
    removing.chmod(0o755)
    done = prepare(entry, tmp_path, {"PATH": f"{folder}:{os.environ['PATH']}"})
    assert (done.returncode, done.stderr) == (0, b"")
    owner = (tmp_path / "instance/run-logs/acme/coder/run-1.pod.owner").read_text()
    assert owner == f"team-a {builders.RUN_UID} WithRun\n"


def test_a_second_pod_does_not_start_the_agent_again(entry: Entry, tmp_path: pathlib.Path) -> None:
    """The first one was removed by force and may still be at work; init containers that merely run again go on."""
    log = tmp_path / "instance/run-logs/acme/coder/run-1.pod.ndjson"
    assert prepare(entry, tmp_path).returncode == 0
    assert prepare(entry, tmp_path).returncode == 0
    entry.out = log
    assert entry.run("echo", "said").code == 0
    again = prepare(entry, tmp_path)
    assert again.returncode == 1
    assert again.stderr == b"The agent of this run was started before, in another pod; it is not started twice.\n"
    assert log.read_bytes() == b"said\n"


@pytest.mark.parametrize("earlier", [(), ("was team-a 88888888-1111-4111-8111-111111111111 Never",)])
def test_a_second_pod_of_an_adopted_job_does_not_start_the_agent_again(
    entry: Entry, tmp_path: pathlib.Path, earlier: tuple[str, ...]
) -> None:
    """The log is another run's by then; the pod still names the run that the Job was made for."""
    log = tmp_path / "instance/run-logs/acme/coder/run-1.pod.ndjson"
    assert prepare(entry, tmp_path).returncode == 0
    entry.out = log
    assert entry.run("echo", "said").code == 0
    adopter = logfiles.Owner("team-a", "99999999-1111-4111-8111-111111111111", "WithRun")
    owner = log.with_name("run-1.pod.owner")
    owner.write_text("\n".join([owner.read_text().rstrip(), *earlier, ""]))
    logfiles.reown(str(log.parents[2]), str(log), adopter)
    again = prepare(entry, tmp_path)
    assert again.returncode == 1
    assert again.stderr == b"The agent of this run was started before, in another pod; it is not started twice.\n"
    assert log.read_bytes() == b"said\n"


@pytest.mark.parametrize("state", ["", "started\nwas team-a 77777777-1111-4111-8111-111111111111 WithRun\n"])
def test_an_adopted_log_of_others_holds_nobody_up(entry: Entry, tmp_path: pathlib.Path, state: str) -> None:
    """Neither one that was not started, nor one of another run."""
    owner = tmp_path / "instance/run-logs/acme/coder/run-1.pod.owner"
    assert prepare(entry, tmp_path).returncode == 0
    owner.write_text(f"team-a 99999999-1111-4111-8111-111111111111 WithRun\n{state}")
    assert prepare(entry, tmp_path).returncode == 0
    assert owner.read_text() == f"team-a {builders.RUN_UID} WithRun\n"


def test_another_run_at_the_same_path_starts(entry: Entry, tmp_path: pathlib.Path) -> None:
    """It has another uid: the object was deleted and created again."""
    owner = tmp_path / "instance/run-logs/acme/coder/run-1.pod.owner"
    assert prepare(entry, tmp_path).returncode == 0
    owner.write_text("team-a 99999999-1111-4111-8111-111111111111 WithRun\nstarted\n")
    assert prepare(entry, tmp_path).returncode == 0
    assert owner.read_text() == f"team-a {builders.RUN_UID} WithRun\n"
