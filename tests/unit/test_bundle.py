"""The script that makes the prompt bundle, run for real by every POSIX shell and tool set that an image may have.

A root that runs these tests runs the script as uid 1000, as a pod does: permission bits would not stop root.
"""

import atexit
import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import re
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping

import pytest

import agentrun_operator

SCRIPT = pathlib.Path(agentrun_operator.__file__).parent / "entry" / "bundle.sh"
BUSYBOX, DASH, BASH = (shutil.which(name) for name in ("busybox", "dash", "bash"))
USER = 1000 if os.getuid() == 0 else None
HANG_SECONDS = 60
DAY = 86_400
TOO_MANY = "it has more than 2000 files, or 5000 files, folders and links"
KEY = re.compile("[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True)
class Shell:
    """A shell and the tools that it finds."""

    command: tuple[str, ...]
    busybox_tools: bool = False


SHELLS = {
    name: shell
    for name, shell in {
        "dash": Shell((DASH or "",)),
        "bash": Shell((BASH or "", "--posix")),
        "busybox": Shell((BUSYBOX or "", "sh"), busybox_tools=True),
    }.items()
    if shell.command[0]
}
# A busybox shell may take its own tools whatever PATH says, so a test could not slip another one in between.
HOOKABLE = {name: shell for name, shell in SHELLS.items() if name == ("dash" if DASH else "bash")}
if BUSYBOX:
    HOOKABLE |= {
        f"{name}-with-busybox-tools": dataclasses.replace(HOOKABLE[name], busybox_tools=True) for name in HOOKABLE
    }


@functools.cache
def busybox_tools() -> pathlib.Path:
    """A folder with all of busybox's tools and nothing else."""
    assert BUSYBOX
    folder = pathlib.Path(tempfile.mkdtemp(prefix="busybox-"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    for name in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
        (folder / name).symlink_to(BUSYBOX)
    return folder


@dataclasses.dataclass(frozen=True)
class Ended:
    """What is left of one run of the script."""

    code: int
    report: str
    stdout: str
    stderr: str

    @property
    def head(self) -> dict[str, str]:
        """The first line of the report."""
        return dict(part.split("=") for part in self.report.split("\n")[0].split())

    @property
    def key(self) -> str:
        """The bundle's key, of a run that has to have made one."""
        assert self.code == 0, self
        assert KEY.fullmatch(self.head["bundle"]), self
        return self.head["bundle"]

    @property
    def left_out(self) -> dict[str, str]:
        """The reason for each skill that was left out."""
        lines = [line.removeprefix("skill ").split(": ", 1) for line in self.report.splitlines()[1:]]
        return {line[0]: line[1] for line in lines}


class Pod:
    """A shared volume, and the call of the script in a pod that mounts it."""

    def __init__(self, shell: Shell, home: pathlib.Path) -> None:
        self.shell = shell
        self.home = home
        self.volume = home / "volume"
        self.store = self.volume / "companies" / "acme" / "claude-prompt-cache"
        self.skills = self.volume / "skills"
        self.mounts = home / "mounts"
        self.run_folder = home / "run"
        self.link = self.run_folder / "current"
        self.hooks = home / "hooks"
        self.outside = home / "outside"
        for folder in (self.volume, self.skills, self.mounts, self.run_folder, self.hooks, self.outside):
            folder.mkdir()
        for folder in (self.volume, self.run_folder):
            _give(folder)
        (self.outside / "secret").write_text("secret")
        self.tools = os.environ["PATH"]
        if shell.busybox_tools:
            self.tools = str(busybox_tools())
        (self.hooks / "sh").symlink_to(f"{self.tools}/sh" if shell.busybox_tools else shell.command[0])

    def skill(self, name: str, files: Mapping[str, str] | None = None, *, below: pathlib.Path | None = None) -> str:
        """Make a skill on the volume, and return the argument that names it."""
        folder = (below or self.skills) / name
        for path, text in {"SKILL.md": f"# {name}\n", **(files or {})}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        return f"{name}={folder}"

    def config_map(self, name: str, files: Mapping[str, str]) -> str:
        """Make a mounted ConfigMap as the kubelet does, and return the argument that names it as a skill."""
        mount = self.mounts / name
        version = mount / "..2026_01_02_03_04_05.123"
        version.mkdir(parents=True)
        for path, text in files.items():
            (version / path).parent.mkdir(parents=True, exist_ok=True)
            (version / path).write_text(text)
        (mount / "..data").symlink_to(version.name)
        for top in {path.split("/")[0] for path in files}:
            (mount / top).symlink_to(f"..data/{top}")
        return f"{name}={mount}"

    def instructions(self, content: bytes) -> pathlib.Path:
        """Make a file with instructions."""
        path = self.home / "instructions"
        path.write_bytes(content)
        return path

    def hook(self, tool: str, body: str) -> None:
        """Put a shell script before a tool. In it, $REAL is that tool."""
        real = shutil.which(tool, path=self.tools)
        assert real
        path = self.hooks / tool
        path.write_text(f"#!/bin/sh\nREAL={real}\n{body}\n")
        path.chmod(0o755)

    def unhook(self) -> None:
        """Give all tools back."""
        for path in self.hooks.iterdir():
            if path.name != "sh":
                path.unlink()

    def start(
        self,
        *skills: str,
        instructions: pathlib.Path | str = "",
        keep: int | str = 0,
        number: int = 0,
        environment: Mapping[str, str] | None = None,
        places: Mapping[str, pathlib.Path | str] | None = None,
        max_file_bytes: int | None = None,
    ) -> subprocess.Popen[str]:
        """Begin a run. Runs at the same time need different numbers, as pods have different folders of their own."""
        where = {"volume": self.volume, "store": self.store, "link": self.link_of(number), **(places or {})}
        arguments = [*where.values(), instructions, keep, *skills]

        def limit() -> None:
            if max_file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

        return subprocess.Popen(
            [*self.shell.command, str(SCRIPT), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.skills,
            env={
                "PATH": f"{self.hooks}:{self.tools}",
                "TERMINATION_LOG": str(self.log_of(number)),
                "SKILL_MOUNTS": str(self.mounts),
                "STORE": str(self.store),
                **(environment or {}),
            },
            start_new_session=True,
            preexec_fn=limit,
            user=USER,
            group=USER,
            extra_groups=None if USER is None else [],
        )

    def end(self, process: subprocess.Popen[str], number: int = 0) -> Ended:
        """Wait for a run's end."""
        with process:
            try:
                stdout, stderr = process.communicate(timeout=HANG_SECONDS)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        log = self.log_of(number)
        return Ended(process.returncode, log.read_text() if log.exists() else "", stdout, stderr)

    def run(
        self,
        *skills: str,
        instructions: pathlib.Path | str = "",
        keep: int | str = 0,
        environment: Mapping[str, str] | None = None,
        places: Mapping[str, pathlib.Path | str] | None = None,
        max_file_bytes: int | None = None,
    ) -> Ended:
        """Run the script to its end."""
        self.log_of(0).unlink(missing_ok=True)
        return self.end(
            self.start(
                *skills,
                instructions=instructions,
                keep=keep,
                environment=environment,
                places=places,
                max_file_bytes=max_file_bytes,
            )
        )

    def link_of(self, number: int) -> pathlib.Path:
        """Where the run of this number makes its link."""
        return self.link if number == 0 else self.link.with_name(f"current-{number}")

    def log_of(self, number: int) -> pathlib.Path:
        """Where the run of this number reports."""
        return self.run_folder / f"termination-log-{number}"

    def in_store(self) -> set[str]:
        """The names in the store but for the marks of use."""
        return {path.name for path in self.store.iterdir() if not path.name.endswith(".used")}

    def mark(self, key: str) -> pathlib.Path:
        """The mark of a bundle's use."""
        return self.store / f"{key}.used"

    def age(self, key: str, seconds: float) -> None:
        """Make a bundle's last use so long ago."""
        _age(self.mark(key), seconds)


def _give(path: pathlib.Path) -> None:
    if USER is not None:
        os.chown(path, USER, USER, follow_symlinks=False)


def _age(path: pathlib.Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def key_of(folder: pathlib.Path) -> str:
    """What a bundle's name has to be, computed a second time and in another language."""
    lines = [b"version agentrun-bundle-1", b"folder ."]
    root = os.fsencode(folder)
    for parent, folders, files in os.walk(root):
        for name in folders:
            assert not os.path.islink(os.path.join(parent, name))
            lines.append(b"folder ./" + os.path.relpath(os.path.join(parent, name), root))
        for name in files:
            path = os.path.join(parent, name)
            assert not os.path.islink(path)
            relative = b"./" + os.path.relpath(path, root)
            with open(path, "rb") as file:
                lines.append(hashlib.file_digest(file, "sha256").hexdigest().encode() + b"  " + relative)
            if os.stat(path).st_mode & stat.S_IXUSR:
                lines.append(b"executable " + relative)
    return hashlib.sha256(b"".join(line + b"\n" for line in sorted(lines))).hexdigest()


def tree_of(folder: pathlib.Path) -> dict[str, bytes | None]:
    """Every path below a folder, with a file's content and None for a folder. Links are followed nowhere."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
        if not path.is_symlink()
    }


def unlock(folder: pathlib.Path) -> None:
    """Make a bundle writable, as one has to in order to damage it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)


@contextlib.contextmanager
def new_pod(shell: str) -> Iterator[Pod]:
    """A pod with a volume of its own, in a folder that another user can get into."""
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        home = pathlib.Path(folder).resolve()
        home.chmod(0o755)
        yield Pod((SHELLS | HOOKABLE)[shell], home)


@pytest.fixture(params=SHELLS)
def pod(request: pytest.FixtureRequest) -> Iterator[Pod]:
    """A pod under each shell of this machine."""
    with new_pod(request.param) as made:
        yield made


@pytest.fixture(params=HOOKABLE)
def hooked(request: pytest.FixtureRequest) -> Iterator[Pod]:
    """A pod whose tools can be replaced, to do something at one moment of a run."""
    with new_pod(request.param) as made:
        yield made


@pytest.fixture
def any_pod() -> Iterator[Pod]:
    """A pod under one shell, for what is slow."""
    with new_pod(next(iter(SHELLS))) as made:
        yield made


def test_there_is_a_shell_to_test() -> None:
    """Without one, every test below would be skipped in silence."""
    assert SHELLS
    assert HOOKABLE


# ------------------------------------------------------------------------------------------------------- the result


def test_a_bundle_holds_the_skills_and_the_instructions(pod: Pod) -> None:
    """Named by the hash of all of it, linked from the pod's own folder, reported, marked as used; and nothing else."""
    skills = [pod.skill("review", {"docs/a b.md": "text"}), pod.config_map("deploy", {"SKILL.md": "# deploy"})]
    ended = pod.run(*skills, instructions=pod.instructions(b"Be kind.\n"))
    bundle = pod.store / ended.key
    assert ended.report == f"bundle={ended.key} skills=2 instructions=1\n"
    assert ended.stdout == ended.report
    assert ended.stderr == ""
    assert pod.link.readlink() == bundle
    assert key_of(bundle) == ended.key
    assert tree_of(bundle) == {
        ".claude": None,
        ".claude/skills": None,
        ".claude/skills/deploy": None,
        ".claude/skills/deploy/SKILL.md": b"# deploy",
        ".claude/skills/review": None,
        ".claude/skills/review/SKILL.md": b"# review\n",
        ".claude/skills/review/docs": None,
        ".claude/skills/review/docs/a b.md": b"text",
        "agent-instructions.md": b"Be kind.\n\nRelative paths in these instructions are relative to "
        + os.fsencode(pod.link)
        + b": use it as their base directory.\n",
    }
    assert {path.name for path in pod.store.iterdir()} == {ended.key, f"{ended.key}.used"}
    assert {path.name for path in pod.run_folder.iterdir()} == {"current", "termination-log-0"}


def test_a_bundle_of_nothing_is_a_bundle(pod: Pod) -> None:
    """A file of instructions that is empty is none."""
    ended = pod.run()
    assert ended.report == f"bundle={ended.key} skills=0 instructions=0\n"
    assert tree_of(pod.store / ended.key) == {".claude": None, ".claude/skills": None}
    assert pod.run(instructions=pod.instructions(b"")).key == ended.key


@pytest.mark.parametrize(
    ("content", "before_the_note"),
    [
        (b"text\n", b"text\n\n"),
        (b"text", b"text\n\n"),
        (b"text\n\n", b"text\n\n\n"),
        (b"%s $(id) `id` \\n \xff\x00\r", b"%s $(id) `id` \\n \xff\x00\r\n\n"),
    ],
    ids=["line-end", "no-line-end", "two-line-ends", "binary"],
)
def test_the_note_stands_after_a_blank_line(pod: Pod, content: bytes, before_the_note: bytes) -> None:
    """And the instructions stand there byte for byte."""
    pod.run(instructions=pod.instructions(content))
    assert (pod.link / "agent-instructions.md").read_bytes().split(b"Relative paths")[0] == before_the_note


def test_a_bundle_is_read_only(pod: Pod) -> None:
    """For owner and group, to which it gives the same; of a file's mode only the owner's executable bit is kept."""
    argument = pod.skill("modes")
    folder = pod.skills / "modes"
    modes = {0o755: 0o550, 0o700: 0o550, 0o744: 0o550, 0o644: 0o440, 0o600: 0o440, 0o400: 0o440, 0o655: 0o440}
    for mode in modes:
        path = folder / f"{mode:o}"
        path.write_text("x")
        path.chmod(mode)
        _give(path)
    made = pod.store / pod.run(argument).key
    copy = made / ".claude" / "skills" / "modes"
    assert {mode: stat.S_IMODE((copy / f"{mode:o}").stat().st_mode) for mode in modes} == modes
    folders = [made, *(path for path in made.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) & 0o777 for path in folders} == {0o550}
    assert pod.run(argument).key == made.name


def test_strange_names_are_copied(pod: Pod) -> None:
    """Spaces, other scripts, bytes that are no text, leading dashes and dots, whatever means something to a shell."""
    names = [
        "a b",
        "ü 你好 🎉",
        "-rf",
        "--help",
        ".hidden",
        "*",
        "[a]",
        "$(id)",
        "'\"",
        "sub/..two",
        "sub/-x",
        "~",
        "a=b",
        " ",
    ]
    argument = pod.skill("names", {name: name for name in names})
    (pod.skills / "names" / "empty folder").mkdir()
    raw = os.fsencode(pod.skills / "names") + b"/\xff\xfe"
    with open(raw, "wb") as file:
        file.write(b"raw")
    ended = pod.run(argument)
    assert ended.left_out == {}
    assert key_of(pod.store / ended.key) == ended.key
    assert tree_of(pod.store / ended.key / ".claude/skills/names") == tree_of(pod.skills / "names")
    assert pod.run(argument).key == ended.key


def test_a_config_map_is_copied_as_files(pod: Pod) -> None:
    """Its own links are resolved, folders in it too, and the folders behind them do not appear."""
    files = {"SKILL.md": "a", "scripts/run.sh": "b", "scripts/lib/x.sh": "c", ".env": "d"}
    ended = pod.run(pod.config_map("cm", files))
    made = pod.store / ended.key / ".claude/skills/cm"
    assert {path: text for path, text in tree_of(made).items() if text is not None} == {
        path: text.encode() for path, text in files.items()
    }
    assert not [path for path in made.rglob("*") if path.name.startswith("..")]
    assert key_of(pod.store / ended.key) == ended.key
    assert pod.run(pod.skill("cm", files)).key == ended.key


def test_links_that_stay_inside_are_resolved(pod: Pod) -> None:
    """To files and to folders, relative and absolute, one after the other; the skill's folder may be a link itself."""
    pod.skill("real", {"docs/a.md": "a"})
    folder = pod.skills / "real"
    (folder / "to-file").symlink_to("docs/a.md")
    (folder / "to-folder").symlink_to("docs")
    (folder / "docs" / "up").symlink_to("../SKILL.md")
    (folder / "absolute").symlink_to(folder / "docs" / "a.md")
    (folder / "twice").symlink_to("to-file")
    (pod.skills / "alias").symlink_to("real")
    ended = pod.run(f"real={pod.skills / 'alias'}")
    made = pod.store / ended.key / ".claude/skills/real"
    assert ended.left_out == {}
    assert key_of(pod.store / ended.key) == ended.key
    assert {path: text for path, text in tree_of(made).items() if text is not None} == {
        "SKILL.md": b"# real\n",
        "absolute": b"a",
        "docs/a.md": b"a",
        "docs/up": b"# real\n",
        "to-file": b"a",
        "to-folder/a.md": b"a",
        "to-folder/up": b"# real\n",
        "twice": b"a",
    }


def test_the_link_of_an_earlier_run_is_replaced(pod: Pod) -> None:
    """A container that is started again finds it; where it pointed to is left alone."""
    pod.link.symlink_to(pod.outside)
    ended = pod.run(pod.skill("a"))
    assert pod.link.readlink() == pod.store / ended.key
    assert tree_of(pod.outside) == {"secret": b"secret"}


# ---------------------------------------------------------------------------------------------------------- the key


def test_equal_content_has_an_equal_key(pod: Pod) -> None:
    """Whatever the order of the arguments, the times, the place, the other permissions and the store are."""
    files = {"x": "x", "sub/y": "y"}
    first = pod.run(pod.skill("a", files), pod.skill("b"), pod.skill("B"))
    elsewhere = pod.skills / "else where"
    again = [pod.skill("B", below=elsewhere), pod.skill("a", files, below=elsewhere), pod.skill("b", below=elsewhere)]
    for path in elsewhere.rglob("*"):
        _age(path, 1000 * DAY)
    (elsewhere / "a" / "x").chmod(0o444)
    other_store = pod.volume / "other-store"
    assert pod.run(*again, places={"store": other_store}).key == first.key
    assert pod.link.readlink() == other_store / first.key


def test_other_content_has_another_key(any_pod: Pod) -> None:
    """Each of text, a file's name, place and executable bit, an empty folder, the skill's name, the instructions."""
    folder = any_pod.skills / "a"
    argument = any_pod.skill("a", {"x": "x"})
    changes: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "text": lambda: (folder / "x").write_text("y"),
        "executable bit": lambda: (folder / "x").chmod(0o755),
        "name": lambda: (folder / "x").rename(folder / "z"),
        "empty folder": lambda: (folder / "empty").mkdir(),
        "place": lambda: (folder / "z").rename(folder / "empty" / "z"),
    }
    keys = {}
    for change, make in changes.items():
        make()
        keys[change] = any_pod.run(argument).key
    keys["skill's name"] = any_pod.run(f"b={folder}").key
    keys["one skill more"] = any_pod.run(argument, f"b={folder}").key
    keys["instructions"] = any_pod.run(argument, instructions=any_pod.instructions(b"1")).key
    keys["other instructions"] = any_pod.run(argument, instructions=any_pod.instructions(b"2")).key
    assert len(set(keys.values())) == len(keys), keys
    assert any_pod.in_store() == set(keys.values())


def test_all_shells_and_tools_agree() -> None:
    """Pods of one company may have different images, and find each other's bundles."""
    keys = {}
    for shell in SHELLS | HOOKABLE:
        with new_pod(shell) as pod:
            argument = pod.skill("a", {"ü b/-x": "x", "run.sh": "#!/bin/sh", "Z": "", "_": "_"})
            (pod.skills / "a" / "run.sh").chmod(0o755)
            keys[shell] = pod.run(argument, pod.config_map("c", {"SKILL.md": "c", "d/e": "e"})).key
    assert len(set(keys.values())) == 1, keys


# ------------------------------------------------------------------------------------------------ what is left out


def _lone(argument: str) -> pathlib.Path:
    return pathlib.Path(argument.split("=", 1)[1])


def test_a_skill_that_is_not_there_is_left_out(pod: Pod) -> None:
    """And said to be; the others go on."""
    (pod.skills / "empty").mkdir()
    (pod.skills / "file").write_text("x")
    (pod.skills / "gone").symlink_to("nowhere")
    pod.skill("no-text", {"README.md": "x"})
    (pod.skills / "no-text" / "SKILL.md").unlink()
    (pod.skills / "folder" / "SKILL.md").mkdir(parents=True)
    pod.config_map("empty-map", {})
    names = ["absent", "empty", "file", "gone", "no-text", "folder"]
    ended = pod.run(
        *(f"{name}={pod.skills / name}" for name in names),
        f"empty-map={pod.mounts / 'empty-map'}",
        pod.skill("good"),
        "relative=skills/good",
        "blank=",
        f"newline={pod.skills}/a\nb",
    )
    assert ended.head["skills"] == "1"
    assert [path.name for path in (pod.link / ".claude/skills").iterdir()] == ["good"]
    assert ended.left_out == {
        "absent": "its folder does not exist",
        "empty": "its folder is empty",
        "file": "it is not a folder that can be read",
        "gone": "it is not a folder that can be read",
        "no-text": "there is no SKILL.md",
        "folder": "SKILL.md is not a file",
        "empty-map": "its folder is empty",
        "relative": "its folder is not an absolute path",
        "blank": "its folder is not an absolute path",
        "newline": "its folder is not an absolute path",
    }


def test_a_skill_from_outside_is_left_out(pod: Pod) -> None:
    """Its folder has to be on the volume or in a mount once all links are resolved; their tops are no skills either."""
    pod.skill("real", below=pod.outside)
    pod.skill("beside", below=pod.home / "volume-2")
    (pod.skills / "link").symlink_to(pod.outside / "real")
    (pod.mounts / "link").symlink_to(pod.outside / "real")
    for top in (pod.volume, pod.mounts):
        (top / "SKILL.md").write_text("x")
    sources = {
        "real": pod.outside / "real",
        "beside": pod.home / "volume-2" / "beside",
        "link": pod.skills / "link",
        "mounted": pod.mounts / "link",
        "dots": f"{pod.volume}/../outside/real",
        "volume": pod.volume,
        "mounts": pod.mounts,
        "root": "/",
    }
    ended = pod.run(*(f"{name}={source}" for name, source in sources.items()))
    reason = "its folder is neither on the shared volume nor a mounted ConfigMap"
    assert ended.left_out == dict.fromkeys(sources, reason)
    assert ended.head["skills"] == "0"


def test_a_skill_with_a_link_that_leads_out_is_left_out(pod: Pod) -> None:
    """Or nowhere, or in a circle; the path of the link is named, and nothing of its target."""
    links = {
        "absolute": {"a/b": "/etc/passwd"},
        "relative": {"a/b": "../../../../outside/secret"},
        "other-skill": {"x": "../good/SKILL.md"},
        "prefix": {"x": "../prefix-2/SKILL.md"},
        "folder": {"x": str(pod.outside)},
        "dangling": {"x": "nowhere"},
        "itself": {"x": "x"},
        "two": {"x": "y", "y": "x"},
        "up": {"a/x": ".."},
        "top": {"x": "."},
        "circle": {"a/x": "../b", "b/y": "../a"},
        "cwd": {"x": "/proc/self/cwd/cwd/etc", "etc/passwd": "../SKILL.md"},
        "root": {"x": "/proc/self/root"},
    }
    arguments = [pod.skill("good"), pod.skill("prefix-2")]
    for name, made in links.items():
        arguments.append(pod.skill(name))
        for path, target in made.items():
            (pod.skills / name / path).parent.mkdir(exist_ok=True)
            (pod.skills / name / path).symlink_to(target)
    mounted = pod.config_map("mounted", {"SKILL.md": "x"})
    (_lone(mounted) / "..2026_01_02_03_04_05.123" / "x").symlink_to(pod.outside / "secret")
    ended = pod.run(*arguments, mounted)
    circle = "something in it cannot be read, or symbolic links go round in a circle"
    left_out = ended.left_out
    assert left_out.pop("two") in {f"a symbolic link leads nowhere or to itself: {name}" for name in "xy"}
    assert left_out == {
        "absolute": "a symbolic link leads out of the folder: a/b",
        "relative": "a symbolic link leads out of the folder: a/b",
        "other-skill": "a symbolic link leads out of the folder: x",
        "prefix": "a symbolic link leads out of the folder: x",
        "folder": "a symbolic link leads out of the folder: x",
        "dangling": "a symbolic link leads nowhere or to itself: x",
        "itself": "a symbolic link leads nowhere or to itself: x",
        "up": "a symbolic link leads to a folder that it is in: a/x",
        "top": "a symbolic link leads to a folder that it is in: x",
        "circle": circle,
        "cwd": "a symbolic link leads nowhere or to itself: x",
        "root": "a symbolic link leads out of the folder: x",
        "mounted": "a symbolic link leads out of the folder: ..2026_01_02_03_04_05.123/x",
    }
    assert sorted(path.name for path in (pod.link / ".claude/skills").iterdir()) == ["good", "prefix-2"]
    assert "secret" not in ended.report.replace("outside/secret", "")


def test_links_that_multiply_are_left_out_in_time(pod: Pod) -> None:
    """Circles of folders with two ways on at each step would have 2^40 paths."""
    argument = pod.skill("maze")
    for name, other in (("a", "b"), ("b", "a")):
        (pod.skills / "maze" / name).mkdir()
        for way in ("1", "2"):
            (pod.skills / "maze" / name / way).symlink_to(f"../{other}")
    assert set(pod.run(argument).left_out) == {"maze"}


def test_a_skill_with_something_else_than_files_is_left_out(pod: Pod) -> None:
    """A pipe would never end; a name that a line cannot hold would be taken for two."""
    made = {name: _lone(pod.skill(name)) for name in ("fifo", "socket", "newline", "control", "backslash", "device")}
    os.mkfifo(made["fifo"] / "pipe")
    os.mkfifo(made["socket"] / "x")
    (made["newline"] / "a\nb").write_text("x")
    (made["control"] / "a\x1b").mkdir()
    (made["backslash"] / "a\\b").write_text("x")
    (made["device"] / "null").symlink_to("/dev/null")
    ended = pod.run(*(f"{name}={folder}" for name, folder in made.items()), pod.skill("good"))
    name_reason = "a name in it has a control character or a backslash"
    assert ended.left_out == {
        "fifo": "neither a file nor a folder: pipe",
        "socket": "neither a file nor a folder: x",
        "newline": name_reason,
        "control": name_reason,
        "backslash": name_reason,
        "device": "a symbolic link leads out of the folder: null",
    }
    assert ended.head["skills"] == "1"


def test_a_skill_that_cannot_be_read_is_left_out(pod: Pod) -> None:
    """A file, a folder inside, or its own folder."""
    made = {name: _lone(pod.skill(name, {"sub/x": "x"})) for name in ("file", "folder", "own", "unlisted")}
    closed = {made["file"] / "sub/x": 0o644, made["folder"] / "sub": 0o755, made["own"]: 0o755, made["unlisted"]: 0o755}
    for path in closed:
        path.chmod(0o311 if path == made["unlisted"] else 0)
        _give(path)
    ended = pod.run(*(f"{name}={folder}" for name, folder in made.items()), pod.skill("good"))
    for path, mode in closed.items():
        path.chmod(mode)
    inside = "something in it cannot be read, or symbolic links go round in a circle"
    assert ended.left_out == {
        "file": inside,
        "folder": inside,
        "own": "it is not a folder that can be read",
        "unlisted": "its folder cannot be read",
    }
    assert ended.head["skills"] == "1"


def test_a_skill_with_a_bad_name_is_left_out(pod: Pod) -> None:
    """A name becomes a folder's; what is said about it is one short line of ASCII."""
    folder = _lone(pod.skill("good"))
    bad = ["", "-x", ".x", "..", "a/b", "../../x", "a b", "a\nb", "ü", "*", "a" * 254]
    ended = pod.run(*(f"{name}={folder}" for name in bad), f"0.a_B-9={folder}")
    assert ended.report.splitlines()[1:] == [
        "skill : its name is not allowed",
        "skill -x: its name is not allowed",
        "skill .x: its name is not allowed",
        "skill ..: its name is not allowed",
        "skill a/b: its name is not allowed",
        "skill ../../x: its name is not allowed",
        "skill a b: its name is not allowed",
        "skill a?b: its name is not allowed",
        "skill ??: its name is not allowed",
        "skill *: its name is not allowed",
        f"skill {'a' * 63}: its name is too long",
    ]
    assert [path.name for path in (pod.link / ".claude/skills").iterdir()] == ["0.a_B-9"]


def test_a_name_given_twice_is_left_out_twice(pod: Pod) -> None:
    """The order of the arguments must not decide which of them the agent gets."""
    good, first, second = pod.skill("good"), pod.skill("a"), pod.skill("a", {"x": ""}, below=pod.skills / "more")
    ended = pod.run(first, good, second)
    assert ended.report.splitlines()[1:] == ["skill a: its name is given twice"]
    assert pod.run(second, first, good).key == pod.run(good).key == ended.key


def test_a_skill_of_too_many_files_is_left_out(pod: Pod) -> None:
    """One more than 2000, of which most are seen through links."""
    argument = pod.skill("over", {f"sub/{number}/x": "" for number in range(250)})
    for number in range(7):
        (_lone(argument) / f"again-{number}").symlink_to("sub")
    assert pod.run(argument).left_out == {"over": TOO_MANY}


def test_a_skill_of_2000_files_has_not_too_many(any_pod: Pod) -> None:
    """The limit itself is allowed."""
    argument = any_pod.skill("full", {f"{number}": "" for number in range(1999)})
    ended = any_pod.run(argument)
    assert ended.left_out == {}
    assert len(list((any_pod.link / ".claude/skills/full").iterdir())) == 2000
    (_lone(argument) / "one more").touch()
    assert any_pod.run(argument).left_out == {"full": TOO_MANY}


def test_a_skill_of_too_many_folders_is_left_out(any_pod: Pod) -> None:
    """They would take as long."""
    argument = any_pod.skill("folders")
    for number in range(5000):
        (_lone(argument) / f"{number}").mkdir()
    assert any_pod.run(argument).left_out == {"folders": TOO_MANY}


def test_a_skill_that_is_too_big_is_left_out(pod: Pod) -> None:
    """More than 64 MiB in one file or in all."""
    one, two, huge = (_lone(pod.skill(name, {"SKILL.md": ""})) for name in ("one", "two", "huge"))
    for path, size in {one / "x": 2**26 + 1, two / "x": 2**25 + 1, two / "y": 2**25, huge / "x": 2**41}.items():
        with path.open("wb") as file:
            file.truncate(size)
    ended = pod.run(f"one={one}", f"two={two}", f"huge={huge}", pod.skill("good"))
    assert ended.left_out == dict.fromkeys(["one", "two", "huge"], "it has more than 64 MiB")
    assert ended.head["skills"] == "1"


def test_a_skill_of_64_mib_is_not_too_big(any_pod: Pod) -> None:
    """The limit itself is allowed."""
    argument = any_pod.skill("a", {"SKILL.md": "1234"})
    with (_lone(argument) / "x").open("wb") as file:
        file.truncate(2**26 - 4)
    assert any_pod.run(argument).head["skills"] == "1"


def test_the_report_fits_into_a_termination_message(pod: Pod) -> None:
    """Kubernetes keeps 4096 bytes; the first line is among them, and no half of a character."""
    folder = _lone(pod.skill("long"))
    (folder / ("ü" * 120)).symlink_to("/etc/passwd")
    ended = pod.run(
        *(f"{number:03}-é={folder}" for number in range(50)), *(f"s{number:03}={folder}" for number in range(50))
    )
    assert pod.log_of(0).stat().st_size == 4096
    assert ended.report.isascii()
    assert ended.report.startswith(
        f"bundle={ended.key} skills=0 instructions=0\nskill 000-??: its name is not allowed\n"
    )
    assert "skill s000: a symbolic link leads out of the folder: ????" in ended.report


def test_a_report_that_cannot_be_written_is_no_reason_to_fail(pod: Pod) -> None:
    """It is on stdout as well."""
    ended = pod.run(pod.skill("a"), environment={"TERMINATION_LOG": "/nowhere/log"})
    assert ended.code == 0
    assert ended.stderr == ""
    assert ended.stdout == f"bundle={pod.link.readlink().name} skills=1 instructions=0\n"


# ---------------------------------------------------------------------------------------------------- no bundle at all


NONSENSE = [
    ({"volume": ""}, "VOLUME, STORE and LINK have to be absolute paths without control characters"),
    ({"volume": "volume"}, "VOLUME, STORE and LINK have to be absolute paths without control characters"),
    ({"volume": "/"}, "VOLUME is not the folder of a volume"),
    ({"volume": "{home}/absent"}, "VOLUME is not the folder of a volume"),
    ({"store": "store"}, "VOLUME, STORE and LINK have to be absolute paths without control characters"),
    (
        {"store": "{home}/volume/a\nb"},
        "VOLUME, STORE and LINK have to be absolute paths without control characters",
    ),
    ({"store": "{home}/volume"}, "STORE is not below VOLUME"),
    ({"store": "{home}/outside/new/store"}, "STORE is not below VOLUME"),
    ({"store": "{home}/volume-2"}, "STORE is not below VOLUME"),
    ({"store": "/"}, "STORE is not below VOLUME"),
    ({"store": "/new-folder-of-a-test"}, "STORE is not below VOLUME"),
    ({"store": "{home}/volume/x/../../outside/y"}, "STORE must not have . or .. in its path"),
    ({"store": "{home}/volume/skills/.."}, "STORE must not have . or .. in its path"),
    ({"store": "{home}/volume/out/new"}, "STORE is not below VOLUME"),
    ({"store": "{home}/volume/dangling/new"}, "STORE is not a folder that can be read"),
    ({"store": "{home}/volume/file/new"}, "STORE is not a folder that can be read"),
    ({"link": "current"}, "VOLUME, STORE and LINK have to be absolute paths without control characters"),
    ({"keep": "-1"}, "KEEP_DAYS has to be a number of days from 0 to 9999"),
    ({"keep": ""}, "KEEP_DAYS has to be a number of days from 0 to 9999"),
    ({"keep": "08"}, "KEEP_DAYS has to be a number of days from 0 to 9999"),
    ({"keep": "10000"}, "KEEP_DAYS has to be a number of days from 0 to 9999"),
    ({"instructions": "{home}/absent"}, "INSTRUCTIONS is not a file that can be read"),
    ({"instructions": "{home}/outside"}, "INSTRUCTIONS is not a file that can be read"),
    ({"skill": "no-equals-sign"}, "what comes after KEEP_DAYS has to be NAME=SOURCE"),
]


def test_a_call_that_makes_no_sense_fails(pod: Pod) -> None:
    """With one sentence, on stderr and in the report, and without having made anything anywhere."""
    (pod.volume / "out").symlink_to(pod.outside)
    (pod.volume / "dangling").symlink_to(pod.outside / "dangling")
    (pod.volume / "file").write_text("x")
    (pod.home / "file").write_text("x")
    _give(pod.outside)
    before = {str(path) for path in pod.home.rglob("*")} | {str(pod.log_of(0))}
    for case, sentence in NONSENSE:
        given = {name: path.format(home=pod.home) for name, path in case.items()}
        ended = pod.run(
            given.pop("skill", f"a={pod.skills}"),
            instructions=given.pop("instructions", ""),
            keep=given.pop("keep", 0),
            places=given,
        )
        assert ended.code == 1, case
        assert ended.report == f"{sentence}\n", case
        assert f"bundle.sh: {sentence}\n" in ended.stderr, case
        assert {str(path) for path in pod.home.rglob("*")} == before, case
        assert not pathlib.Path("/new-folder-of-a-test").exists()


def test_too_few_arguments_are_refused(pod: Pod) -> None:
    """There is nothing to guess."""
    process = subprocess.run(
        [*pod.shell.command, SCRIPT, "/a", "/b", "/c", ""],
        env={"TERMINATION_LOG": str(pod.log_of(0)), "PATH": pod.tools},
        capture_output=True,
        check=False,
    )
    assert process.returncode == 1
    assert b"the arguments are VOLUME STORE LINK INSTRUCTIONS KEEP_DAYS" in process.stderr


def test_a_link_that_cannot_be_made_is_refused(pod: Pod) -> None:
    """There is nothing else to tell the agent's container where the bundle is."""
    (pod.home / "file").write_text("x")
    ended = pod.run(pod.skill("a"), places={"link": pod.home / "file" / "current"})
    assert (ended.code, ended.report) == (1, "the folder of LINK cannot be written\n")
    assert list(pod.store.iterdir()) == []


def test_a_folder_in_the_place_of_the_link_is_refused(pod: Pod) -> None:
    """A link inside of it would not be where the agent looks."""
    pod.link.mkdir()
    ended = pod.run(pod.skill("a"))
    assert (ended.code, ended.report) == (1, "LINK cannot be made\n")
    assert list(pod.link.iterdir()) == []


def test_a_full_volume_leaves_nothing_half(pod: Pod) -> None:
    """Neither a folder nor a mark; a limit of the size of files stands for the volume's."""
    ended = pod.run(pod.skill("a", {"big": "x" * 20_000}), max_file_bytes=10_000)
    assert ended.code == 1
    assert ended.report == "no bundle can be written to STORE; is the volume full or read-only?\n"
    assert list(pod.store.iterdir()) == []
    assert {path.name for path in pod.run_folder.iterdir()} == {"termination-log-0"}


def test_a_full_volume_is_relieved_of_old_bundles(hooked: Pod) -> None:
    """Before the script gives up."""
    old = hooked.run(hooked.skill("old")).key
    hooked.age(old, 3 * DAY)
    hooked.hook("cp", f'if [ -e "$STORE/{old}" ]; then exit 1; fi; exec "$REAL" "$@"')
    new = hooked.run(hooked.skill("new"), keep=2).key
    assert hooked.in_store() == {new}


def test_a_read_only_volume_is_enough_for_a_bundle_that_exists(pod: Pod) -> None:
    """Only one that would have to be written fails."""
    argument = pod.skill("a")
    key = pod.run(argument).key
    pod.store.chmod(0o555)
    again, other = pod.run(argument), pod.run(pod.skill("b"))
    made_first = pod.run(argument, places={"store": pod.store / "below"})
    pod.store.chmod(0o755)
    assert again.key == key
    assert (other.code, other.report) == (1, "no bundle can be written to STORE; is the volume full or read-only?\n")
    assert (made_first.code, made_first.report) == (1, "STORE cannot be made; is the volume full or read-only?\n")
    assert {path.name for path in pod.store.iterdir()} == {key, f"{key}.used"}


# ------------------------------------------------------------------------------------------------ once more, and damage


def test_a_bundle_that_exists_is_used_again(pod: Pod) -> None:
    """It is not written again, and marked as used now."""
    argument = pod.skill("a")
    key = pod.run(argument).key
    pod.age(key, 10 * DAY)
    before = {path: (path.stat().st_ino, path.stat().st_ctime_ns) for path in (pod.store / key).rglob("*")}
    began = time.time()
    assert pod.run(argument).key == key
    assert {path: (path.stat().st_ino, path.stat().st_ctime_ns) for path in (pod.store / key).rglob("*")} == before
    assert pod.mark(key).stat().st_mtime > began - DAY


def _replace_by_link(path: pathlib.Path, target: pathlib.Path) -> None:
    path.rename(target)
    path.symlink_to(target)


def _replace_by(path: pathlib.Path, make: Callable[[], object]) -> None:
    shutil.rmtree(path)
    make()


DAMAGE: dict[str, Callable[[pathlib.Path, pathlib.Path], object]] = {
    "text changed": lambda made, _: (made / ".claude/skills/a/SKILL.md").write_text("# b\n"),
    "instructions changed": lambda made, _: (made / "agent-instructions.md").write_text("Do evil."),
    "file added": lambda made, _: (made / ".claude/settings.json").write_text("{}"),
    "hidden file added": lambda made, _: (made / ".claude/skills/..data").write_text("x"),
    "file removed": lambda made, _: (made / ".claude/skills/a/SKILL.md").unlink(),
    "file made executable": lambda made, _: (made / ".claude/skills/a/SKILL.md").chmod(0o755),
    "folder added": lambda made, _: (made / "new").mkdir(),
    "pipe added": lambda made, _: os.mkfifo(made / "pipe"),
    "link of equal text": lambda made, aside: _replace_by_link(made / ".claude/skills/a/SKILL.md", aside / "x"),
    "link to a folder of equal files": lambda made, aside: _replace_by_link(made / ".claude/skills/a", aside / "x"),
    "link to an equal bundle": lambda made, aside: _replace_by_link(made, aside / "x"),
    "everything removed": lambda made, _: _replace_by(made, lambda: made.mkdir()),
}


def test_a_damaged_bundle_is_made_again(hooked: Pod) -> None:
    """Whatever the damage is; nothing of it stays, and nothing outside of the store is touched."""
    arguments = [hooked.skill("a"), hooked.skill("b")]
    instructions = hooked.instructions(b"Be kind.")
    key = hooked.run(*arguments, instructions=instructions).key
    made = hooked.store / key
    whole = tree_of(made)
    for name, damage in DAMAGE.items():
        aside = hooked.volume / name
        aside.mkdir()
        unlock(made)
        damage(made, aside)
        outside = tree_of(aside)
        for path in (made, *made.rglob("*"), aside, *aside.rglob("*")):
            _give(path)
        ended = hooked.run(*arguments, instructions=instructions)
        assert ended.key == key, name
        assert f"bundle.sh: bundle {key} was damaged and is made again\n" in ended.stderr, name
        assert tree_of(made) == whole, name
        assert key_of(made) == key, name
        assert not made.is_symlink(), name
        assert hooked.in_store() == {key}, name
        assert tree_of(aside) == outside, name


def test_a_file_in_the_place_of_a_bundle_is_replaced(pod: Pod) -> None:
    """In every shell, for they differ in whether a cd that fails ends a function; then it would hash another folder."""
    argument = pod.skill("a")
    key = pod.run(argument).key
    unlock(pod.store / key)
    _replace_by(pod.store / key, lambda: (pod.store / key).write_text("x"))
    assert pod.run(argument).key == key
    assert key_of(pod.store / key) == key
    assert pod.in_store() == {key}


def test_a_damaged_bundle_that_somebody_has_replaced_is_left_alone(hooked: Pod) -> None:
    """Two pods see the damage; the slower one must not throw away what the quicker one has made."""
    argument = hooked.skill("a")
    key = hooked.run(argument).key
    made, good, bad = hooked.store / key, hooked.store / "good", hooked.store / "bad"
    shutil.copytree(made, good)
    unlock(made)
    (made / "new").write_text("x")
    for path in (good, *good.rglob("*"), made / "new"):
        _give(path)
    hooked.hook("mv", f'if [ "$1" = {made} ]; then "$REAL" {made} {bad}; "$REAL" {good} {made}; fi; exec "$REAL" "$@"')
    ended = hooked.run(argument)
    assert ended.key == key
    assert ended.stderr == ""
    assert key_of(made) == key
    assert hooked.in_store() == {key, "bad"}


# ---------------------------------------------------------------------------------------------------------- crashes


@pytest.mark.parametrize(
    ("tool", "body"),
    [
        ("cp", "kill -9 0"),
        (
            "cp",
            'for to; do :; done; to=$to/.claude/skills/a; mkdir -p "$to"; echo "# a" >"$to/SKILL.md"; kill -9 0',
        ),
        ("cp", '"$REAL" "$@"; kill -9 0'),
        ("chmod", '"$REAL" "$@"; kill -9 0'),
        ("mv", "kill -9 0"),
        ("mv", '"$REAL" "$@"; kill -9 0'),
    ],
    ids=["before-cp", "within-cp", "after-cp", "after-chmod", "before-mv", "after-mv"],
)
def test_a_kill_at_any_moment_leaves_no_half_bundle(
    hooked: Pod, request: pytest.FixtureRequest, tool: str, body: str
) -> None:
    """And the next pod makes the whole one; what the killed one left stays for a day, as it may be another's work."""
    argument = hooked.skill("a", {f"{number}": "x" for number in range(20)})
    hooked.hook(tool, body)
    assert hooked.run(argument).code == -signal.SIGKILL
    published = {name for name in hooked.in_store() if KEY.fullmatch(name)}
    assert len(published) == int("after-mv" in request.node.name)
    assert all(key_of(hooked.store / name) == name for name in published)
    hooked.unhook()
    leftovers = hooked.in_store() - published
    key = hooked.run(argument, keep=1).key
    assert key_of(hooked.store / key) == key
    assert hooked.in_store() == {key} | leftovers
    for name in leftovers:
        _age(hooked.store / name, DAY + 60)
    assert hooked.run(argument).key == key
    assert hooked.in_store() == {key}


def test_a_signal_leaves_nothing(hooked: Pod) -> None:
    """A pod may be deleted while it writes."""
    hooked.hook("cp", '"$REAL" "$@"; kill -TERM $PPID')
    ended = hooked.run(hooked.skill("a"))
    assert ended.code == 143
    assert hooked.in_store() == set()
    assert list(hooked.run_folder.iterdir()) == []


def test_leftovers_of_a_crash_are_removed_after_a_day(pod: Pod) -> None:
    """Read-only ones too, but not what a link in them or in their place leads to. KEEP_DAYS does not matter here."""
    pod.run()
    target = pod.volume / "target"
    for folder in (target, pod.store / ".tmp-old", pod.store / ".tmp-young"):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "file").write_text("x")
    (pod.store / ".tmp-old" / "sub" / "link").symlink_to(target)
    (pod.store / ".tmp-link").symlink_to(target)
    (pod.store / ".tmp-file").write_text("x")
    for path in (target, *target.rglob("*"), *pod.store.glob(".tmp-*"), *(pod.store / ".tmp-old").rglob("*")):
        _give(path)
    for path in ((pod.store / ".tmp-old" / "sub"), (pod.store / ".tmp-old")):
        path.chmod(0o550)
    for name in (".tmp-old", ".tmp-link", ".tmp-file"):
        _age(pod.store / name, DAY + 60)
    _age(pod.store / ".tmp-young", DAY - 60)
    key = pod.run().key
    assert pod.in_store() == {key, ".tmp-young"}
    assert tree_of(target) == {"sub": None, "sub/file": b"x"}


# ----------------------------------------------------------------------------------------------- bundles of long ago


def _bundles(pod: Pod, *names: str) -> dict[str, str]:
    return {name: pod.run(pod.skill(name)).key for name in names}


def test_bundles_not_used_for_so_many_days_are_removed(pod: Pod) -> None:
    """To the minute, whatever is in them; one without a mark counts from now on, and the one in use stays."""
    keys = _bundles(pod, "used", "young", "old", "older", "unmarked", "linked", "gone")
    target = pod.volume / "target"
    target.mkdir()
    (target / "file").write_text("x")
    linked = pod.store / keys["linked"]
    unlock(linked)
    (linked / "link").symlink_to(target)
    unlock(pod.store / keys["gone"])
    shutil.rmtree(pod.store / keys["gone"])
    pod.mark(keys["unmarked"]).unlink()
    _age(pod.store / keys["unmarked"], 100 * DAY)
    ages = {
        "used": 9 * DAY,
        "young": 3 * DAY - 60,
        "old": 3 * DAY + 60,
        "older": 99 * DAY,
        "linked": 9 * DAY,
        "gone": 9 * DAY,
    }
    for name, age in ages.items():
        pod.age(keys[name], age)
    assert pod.run(f"used={pod.skills / 'used'}", keep=3).key == keys["used"]
    kept = {keys[name] for name in ("used", "young", "unmarked")}
    assert {path.name for path in pod.store.iterdir()} == kept | {f"{key}.used" for key in kept}
    assert pod.mark(keys["unmarked"]).stat().st_mtime > time.time() - DAY
    assert tree_of(target) == {"file": b"x"}


def test_the_bundle_in_use_stays_when_it_cannot_be_marked(hooked: Pod) -> None:
    """Another user's mark may be such; the run that needs the bundle must not be the one that removes it."""
    argument = hooked.skill("a")
    key = hooked.run(argument).key
    hooked.age(key, 9 * DAY)
    hooked.hook("touch", "exit 1")
    assert hooked.run(argument, keep=2).key == key
    assert hooked.in_store() == {key}


def test_a_keep_of_0_days_removes_nothing(pod: Pod) -> None:
    """It means for ever."""
    keys = _bundles(pod, "used", "old")
    pod.age(keys["old"], 9999 * DAY)
    pod.run(f"used={pod.skills / 'used'}", keep=0)
    assert pod.in_store() == set(keys.values())


def test_what_is_not_a_bundle_is_never_removed(pod: Pod) -> None:
    """Only real folders are, whose name is 64 small hexadecimal digits."""
    key = pod.run().key
    folders = ["a" * 63, "a" * 65, "A" * 64, "g" * 64, "-" * 64, "other", " ".join(["b" * 31, "b" * 32])]
    for name in folders:
        (pod.store / name).mkdir()
    (pod.store / ("c" * 64)).symlink_to(pod.outside)
    (pod.store / ("d" * 64)).write_text("x")
    names = {*folders, "c" * 64, "d" * 64}
    for name in names:
        pod.mark(name).write_text("")
        pod.age(name, 99 * DAY)
    (pod.store / ".used").write_text("")
    _age(pod.store / ".used", 99 * DAY)
    assert pod.run(keep=1).key == key
    assert pod.in_store() == {key} | names
    assert (pod.store / ".used").exists()
    assert tree_of(pod.outside) == {"secret": b"secret"}


RACES = {
    # Another pod has used the bundle after the list of old ones was made and before it was moved away.
    "used": "touch {old}.used",
    # It came a moment later, so it found no bundle and has made one again.
    "rebuilt": "cp -R {spare} {old}; touch {old}.used",
    # The same as the first, and a third pod looks for what a crash has left.
    "third": 'for to; do :; done; if [ -n "$(find "$to" -maxdepth 0 -mtime +0)" ]; then '
    'chmod -R u+w "$to"; rm -rf "$to"; fi; touch {old}.used',
}


@pytest.mark.parametrize("race", RACES)
def test_a_bundle_that_is_used_while_it_is_removed_stays(hooked: Pod, race: str) -> None:
    """Whoever removes it looks at the mark once more after it was moved away."""
    keys = _bundles(hooked, "used", "old", "older")
    old, spare = hooked.store / keys["old"], hooked.volume / "spare"
    shutil.copytree(old, spare)
    for path in (spare, *spare.rglob("*")):
        _give(path)
    hooked.age(keys["old"], 9 * DAY)
    hooked.age(keys["older"], 9 * DAY)
    _age(old, 9 * DAY)
    happens = RACES[race].format(old=old, spare=spare)
    hooked.hook("mv", f'"$REAL" "$@" || exit; if [ "$1" = {old} ]; then {happens}; fi')
    assert hooked.run(f"used={hooked.skills / 'used'}", keep=2).key == keys["used"]
    assert hooked.in_store() == {keys["used"], keys["old"]}
    assert key_of(old) == keys["old"]
    assert hooked.mark(keys["old"]).exists()


def test_a_bundle_that_two_pods_remove_at_once_is_gone(hooked: Pod) -> None:
    """The slower one must not put anything in its place."""
    keys = _bundles(hooked, "used", "old")
    old = hooked.store / keys["old"]
    hooked.age(keys["old"], 9 * DAY)
    other = f"chmod -R u+w {old} && rm -rf {old} {old}.used"
    hooked.hook("touch", f'for to; do :; done; if [ "$to" = {old} ]; then {other}; fi; exec "$REAL" "$@"')
    assert hooked.run(f"used={hooked.skills / 'used'}", keep=2).key == keys["used"]
    assert {path.name for path in hooked.store.iterdir()} == {keys["used"], f"{keys['used']}.used"}


# ------------------------------------------------------------------------------------------------- many pods at once

OLD_MV = 'if [ "$1" = -T ]; then echo "mv: invalid option -- T" >&2; exit 1; fi; '


@pytest.mark.parametrize("old_mv", [False, True], ids=["mv-T", "mv-without-T"])
@pytest.mark.parametrize("writable", [False, True], ids=["read-only", "writable"])
def test_a_writer_that_comes_second_discards_its_bundle(hooked: Pod, old_mv: bool, writable: bool) -> None:  # noqa: FBT001
    """Another pod publishes in the instant before; a plain mv would move the second bundle into the first.

    As far as it may: "writable" stands for a script that runs as root.
    """
    winner = f"{hooked.volume}/winner"
    hooked.hook(
        "mv",
        (OLD_MV if old_mv else "")
        + f"if [ ! -e {winner} ]; then for last; do source=${{target:-}}; target=$last; done; "
        + 'cp -R "$source" "$target"; '
        + ("chmod -R u+w" if writable else "true")
        + f' "$source" "$target"; : >{winner}; fi; exec "$REAL" "$@"',
    )
    argument = hooked.skill("a")
    ended = hooked.run(argument)
    assert pathlib.Path(winner).exists()
    assert key_of(hooked.store / ended.key) == ended.key
    assert hooked.in_store() == {ended.key}
    assert ended.stderr.replace("mv: invalid option -- T\n", "") == ""


def test_an_mv_that_does_not_know_t_is_enough(hooked: Pod) -> None:
    """That of busybox learned it late."""
    hooked.hook("mv", OLD_MV + 'exec "$REAL" "$@"')
    keys = _bundles(hooked, "a", "b")
    hooked.age(keys["b"], 9 * DAY)
    assert hooked.run(f"a={hooked.skills / 'a'}", keep=1).key == keys["a"]
    assert hooked.in_store() == {keys["a"]}
    assert key_of(hooked.store / keys["a"]) == keys["a"]


def _wait_for(pod: Pod, processes: Mapping[int, subprocess.Popen[str]], look: Callable[[], None]) -> list[Ended]:
    """Look again and again until all runs have ended, and once more then."""
    running = True
    while running:
        running = any(process.poll() is None for process in processes.values())
        look()
    return [pod.end(process, number) for number, process in processes.items()]


def test_pods_with_equal_content_share_one_bundle(pod: Pod) -> None:
    """Eight at once: one wins, nobody fails, and no reader ever sees a part of it."""
    files = {f"{number}": "x" * 1000 for number in range(30)}
    argument = pod.skill("a", files)
    key = pod.run(argument, places={"store": pod.volume / "first"}).key
    whole = tree_of(pod.volume / "first" / key)

    def look() -> None:
        if (pod.store / key).exists():
            assert tree_of(pod.store / key) == whole

    ends = _wait_for(pod, {number: pod.start(argument, number=number, keep=1) for number in range(8)}, look)
    assert {ended.key for ended in ends} == {key}
    assert {ended.stderr for ended in ends} == {""}
    assert {pod.link_of(number).readlink() for number in range(8)} == {pod.store / key}
    assert pod.in_store() == {key}
    assert key_of(pod.store / key) == key


def test_pods_with_different_content_do_not_disturb_each_other(pod: Pod) -> None:
    """While bundles of long ago are removed by all of them, two of which are in use again right now."""
    arguments = [pod.skill(f"s{number}") for number in range(8)]
    first = [pod.run(argument).key for argument in arguments[:2]]
    stale = list(_bundles(pod, "x", "y").values())
    for key in first + stale:
        pod.age(key, 9 * DAY)
    ends = _wait_for(
        pod, {n: pod.start(argument, number=n, keep=2) for n, argument in enumerate(arguments)}, lambda: None
    )
    keys = [ended.key for ended in ends]
    assert keys[:2] == first
    assert len(set(keys)) == 8
    assert pod.in_store() == set(keys)
    for key in keys:
        assert key_of(pod.store / key) == key
        assert pod.mark(key).exists()


def test_pods_that_find_damage_at_once_repair_it_once(pod: Pod) -> None:
    """They move it aside under each other's feet, and all end with the whole bundle."""
    argument = pod.skill("a")
    key = pod.run(argument).key
    unlock(pod.store / key)
    (pod.store / key / "new").write_text("x")
    _give(pod.store / key / "new")
    ends = _wait_for(pod, {number: pod.start(argument, number=number) for number in range(6)}, lambda: None)
    assert {ended.key for ended in ends} == {key}
    assert pod.in_store() == {key}
    assert key_of(pod.store / key) == key


# ------------------------------------------------------------------------------------- skills that change meanwhile


def test_the_key_is_that_of_the_copy(hooked: Pod) -> None:
    """A skill may change between the look and the copy; a wrong name would be taken for damage ever after."""
    argument = hooked.skill("a")
    text = hooked.skills / "a" / "SKILL.md"
    _give(text)
    hooked.hook("cp", f'echo new >{text}; exec "$REAL" "$@"')
    ended = hooked.run(argument)
    assert (hooked.link / ".claude/skills/a/SKILL.md").read_text() == "new\n"
    assert key_of(hooked.store / ended.key) == ended.key
    assert hooked.link.readlink().name == ended.key
    assert hooked.in_store() == {ended.key}


def test_a_skill_that_vanishes_while_it_is_copied_is_left_out(hooked: Pod) -> None:
    """The script looks again, instead of failing or publishing a part."""
    gone = hooked.skill("gone")
    _give(hooked.skills)
    for path in (hooked.skills / "gone", hooked.skills / "gone" / "SKILL.md"):
        _give(path)
    hooked.hook("cp", f'rm -rf {hooked.skills / "gone"}; exec "$REAL" "$@"')
    ended = hooked.run(gone, hooked.skill("good"))
    assert ended.left_out == {"gone": "its folder does not exist"}
    assert [path.name for path in (hooked.link / ".claude/skills").iterdir()] == ["good"]
    assert hooked.in_store() == {ended.key}
