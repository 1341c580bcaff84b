"""Log files: removed with all that belongs to them and nothing else, rewritten in one step, never through a link."""

import os
import pathlib
import threading

import pytest

from agentrun_operator import logfiles, redaction

ROOT = "run-logs"
UID = "uid-1"
OWNER = f"team-a {UID} WithRun\n"
FILES = ("r.pod.ndjson", "r.pod.stderr", "r.pod.ndjson.previous", "r.pod.owner")


def make(root: pathlib.Path, *names: str, text: str = "x") -> pathlib.Path:
    """A run's files below acme/ada; returns its log."""
    folder = root / "acme" / "ada"
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(OWNER if name.endswith(".owner") and text == "x" else text)
    return folder / "r.pod.ndjson"


def test_all_files_of_a_run_go_and_empty_folders_with_them(tmp_path: pathlib.Path) -> None:
    """The root stays."""
    log = make(tmp_path, *FILES)
    assert logfiles.remove(str(tmp_path), str(log), UID) is True
    assert list(tmp_path.iterdir()) == []
    assert logfiles.remove(str(tmp_path), str(log), UID) is False


def test_what_belongs_to_others_stays(tmp_path: pathlib.Path) -> None:
    """Other runs of the agent, other agents, and files of a like name."""
    others = ("r2.pod.ndjson", "r.ndjson", "xr.pod.ndjson", "r.pod.ndjson.bak")
    log = make(tmp_path, *FILES, *others)
    assert logfiles.remove(str(tmp_path), str(log), UID) is True
    assert sorted(p.name for p in log.parent.iterdir()) == sorted(others)


def test_a_folder_of_a_company_with_another_agent_stays(tmp_path: pathlib.Path) -> None:
    """Only what is empty is tidied away."""
    log = make(tmp_path, *FILES)
    (tmp_path / "acme" / "bob").mkdir()
    logfiles.remove(str(tmp_path), str(log), UID)
    assert [p.name for p in (tmp_path / "acme").iterdir()] == ["bob"]


@pytest.mark.parametrize("owner", ["team-a uid-2 WithRun", "", "nonsense", None])
def test_the_files_of_another_run_at_the_same_path_stay(tmp_path: pathlib.Path, owner: str | None) -> None:
    """A run that is created again writes to the same path; without an owner file nobody knows whose a log is."""
    log = make(tmp_path, "r.pod.ndjson", "r.pod.stderr")
    if owner is not None:
        log.with_name("r.pod.owner").write_text(owner)
    assert logfiles.remove(str(tmp_path), str(log), UID) is False
    assert log.exists()


@pytest.mark.parametrize("missing", ["", "acme", "acme/ada"])
def test_a_log_that_is_not_there_is_no_error(tmp_path: pathlib.Path, missing: str) -> None:
    """Nor are its folders, nor the root."""
    root = tmp_path / "nowhere" if not missing else tmp_path
    (tmp_path / missing).mkdir(parents=True, exist_ok=True)
    assert logfiles.remove(str(root), f"{root}/acme/ada/r.pod.ndjson", UID) is False


@pytest.mark.parametrize(
    "path",
    [
        "acme/ada/r.ndjson", "acme/r.pod.ndjson", "acme/ada/x/r.pod.ndjson", "../x/ada/r.pod.ndjson",
        "acme/../r.pod.ndjson", "acme/../../r.pod.ndjson", "acme/ada/.pod.ndjson", "acme/a da/r.pod.ndjson",
        "acme/ada/r.pod.ndjson/x.pod.ndjson",
    ],
)  # fmt: skip
def test_only_the_path_of_a_log_is_taken(tmp_path: pathlib.Path, path: str) -> None:
    """Whatever a status says: it could have been written by somebody else."""
    with pytest.raises(ValueError, match="is not a run's log below"):
        logfiles.remove(str(tmp_path / ROOT), f"{tmp_path / ROOT}/{path}", UID)


@pytest.mark.parametrize("link", ["acme", "acme/ada"])
def test_no_folder_is_entered_through_a_link(tmp_path: pathlib.Path, link: str) -> None:
    """An agent could make one that leads into another agent's folder, or out of the volume."""
    elsewhere = make(tmp_path / "elsewhere", *FILES)
    root = tmp_path / ROOT
    target = tmp_path / "elsewhere" / link
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(target)
    with pytest.raises(OSError, match="Not a directory|Too many levels"):
        logfiles.remove(str(root), f"{root}/acme/ada/r.pod.ndjson", UID)
    with pytest.raises(OSError, match="Not a directory|Too many levels"):
        logfiles.redact(str(root), f"{root}/acme/ada/r.pod.ndjson", redaction.Redactor(["secret value"]))
    assert elsewhere.exists()


def test_a_link_in_the_place_of_a_log_is_removed_and_not_followed(tmp_path: pathlib.Path) -> None:
    """What it pointed to stays."""
    target = tmp_path / "target"
    target.write_text("mine")
    log = make(tmp_path / ROOT, "r.pod.owner")
    log.symlink_to(target)
    assert logfiles.remove(str(tmp_path / ROOT), str(log), UID) is True
    assert target.read_text() == "mine"


def test_a_log_is_redacted_in_one_step_with_its_rights(tmp_path: pathlib.Path) -> None:
    """Also what the agent wrote to stderr; a reader that has the old file open goes on reading that."""
    log = make(tmp_path, "r.pod.ndjson", "r.pod.stderr", text="the secret value and sk-ant-0123456789\n")
    log.chmod(0o640)
    before = log.open()
    logfiles.redact(str(tmp_path), str(log), redaction.Redactor(["secret value"]))
    for path in (log, log.with_name("r.pod.stderr")):
        assert path.read_text() == "the [redacted] and [redacted]\n"
    assert log.stat().st_mode & 0o777 == 0o640
    assert before.read() == "the secret value and sk-ant-0123456789\n"
    assert sorted(p.name for p in log.parent.iterdir()) == ["r.pod.ndjson", "r.pod.stderr"]
    before.close()


def test_what_is_no_regular_file_is_not_rewritten(tmp_path: pathlib.Path) -> None:
    """A pipe would block; a link would lead elsewhere; what an earlier try left behind is in nobody's way."""
    target = tmp_path / "target"
    target.write_text("the secret value")
    log = make(tmp_path / ROOT)
    os.mkfifo(log)
    (log.parent / ".r.pod.stderr.redacted").write_text("left behind")
    log.with_name("r.pod.stderr").write_text("the secret value")
    known = redaction.Redactor(["secret value"])
    logfiles.redact(str(tmp_path / ROOT), str(log), known)
    assert log.is_fifo()
    assert log.with_name("r.pod.stderr").read_text() == "the [redacted]"
    log.unlink()
    log.symlink_to(target)
    with pytest.raises(OSError, match="Too many levels"):
        logfiles.redact(str(tmp_path / ROOT), str(log), known)
    assert target.read_text() == "the secret value"


def test_owner_files_say_whose_a_log_is(tmp_path: pathlib.Path) -> None:
    """What is malformed, a link, a pipe or in a strange folder is nobody's."""
    root = tmp_path / ROOT
    log = make(root, "r.pod.owner", text="team-a uid-1 WithRun\n")
    make(root, "s.pod.owner", text="too few\n")
    os.mkfifo(log.parent / "t.pod.owner")
    (log.parent / "u.pod.owner").symlink_to(log.parent / "r.pod.owner")
    (root / "acme" / "not an id").mkdir()
    (root / "acme" / "not an id" / "r.pod.owner").write_text("team-a uid-2 WithRun\n")
    (root / "linked").symlink_to(root / "acme")
    assert logfiles.find_owned(str(root)) == [
        (str(log), logfiles.Owner(namespace="team-a", uid="uid-1", policy="WithRun"))
    ]
    assert logfiles.find_owned(str(tmp_path / "nowhere")) == []


def test_a_folder_that_cannot_be_read_holds_nobody_up(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent may lock its own, or it goes away meanwhile; permission bits would not stop a root that runs this."""
    log = make(tmp_path, "r.pod.owner", text=OWNER)
    (tmp_path / "acme" / "locked").mkdir()
    (tmp_path / "other").mkdir()
    real_list, real_scan = os.listdir, os.scandir

    def readable(path: str) -> str:
        if path.endswith(("/locked", "/other")):
            raise PermissionError(13, "Permission denied", path)
        return path

    monkeypatch.setattr(os, "listdir", lambda path: real_list(readable(path)))
    monkeypatch.setattr(os, "scandir", lambda path: real_scan(readable(path)))
    assert [path for path, _ in logfiles.find_owned(str(tmp_path))] == [str(log)]


def test_a_redaction_that_fails_leaves_the_log_and_nothing_else(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The volume is full."""
    log = make(tmp_path, "r.pod.ndjson", text="the secret value")

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="No space left"):
        logfiles.redact(str(tmp_path), str(log), redaction.Redactor(["secret value"]))
    assert [(p.name, p.read_text()) for p in log.parent.iterdir()] == [("r.pod.ndjson", "the secret value")]


def test_the_keeper_works_on_its_own_thread_and_survives_trouble() -> None:
    """A volume in trouble is told to whoever waits, and to the log."""
    keeper = logfiles.Keeper()
    try:

        def fail() -> None:
            raise OSError(5, "Input/output error")

        failed = keeper.do("remove", fail)
        thread = keeper.do("ask", threading.current_thread)
        assert thread.result(timeout=5) is not threading.current_thread()
        assert isinstance(failed.exception(timeout=5), OSError)
        go_on = threading.Event()
        busy = keeper.do("wait", lambda: go_on.wait(5))
        nobody = keeper.do("never", fail)
        assert nobody.cancel()
        go_on.set()
        assert busy.result(timeout=5) is True
    finally:
        keeper.close()


# --- attempts, and logs that change hands ---------------------------------------------------------------------------


def attempt_of(root: pathlib.Path, run: str) -> pathlib.Path:
    """All files of one attempt."""
    make(root, *(f"{run}.pod.{end}" for end in ("ndjson", "stderr", "ndjson.previous", "owner")))
    return root / "acme" / "ada" / f"{run}.pod.ndjson"


@pytest.mark.parametrize("number", ["1", "12", "100", "999999999"])
def test_the_log_of_an_attempt_is_found_redacted_and_removed(tmp_path: pathlib.Path, number: str) -> None:
    """By itself: those of other attempts stay."""
    first, log = attempt_of(tmp_path, "r"), attempt_of(tmp_path, f"r.{number}")
    found = dict(logfiles.find_owned(str(tmp_path)))
    assert found == {str(path): logfiles.Owner("team-a", UID, "WithRun") for path in (first, log)}
    log.write_text("the secret value")
    logfiles.redact(str(tmp_path), str(log), redaction.Redactor(["secret value"]))
    assert log.read_text() == "the [redacted]"
    assert logfiles.remove(str(tmp_path), str(log), UID) is True
    assert sorted(p.name for p in first.parent.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("run", ["r.", "r.x", ".1", "r.1.2", "r.-1", "r.1234567890", "r..1", "r.1 "])
def test_what_is_no_number_is_no_attempt(tmp_path: pathlib.Path, run: str) -> None:
    """Nothing but digits, and not too many of them."""
    log = attempt_of(tmp_path, run)
    with pytest.raises(ValueError, match="is not a run's log below"):
        logfiles.remove(str(tmp_path), str(log), UID)
    assert log.exists()


NEW = logfiles.Owner(namespace="team-a", uid="uid-2", policy="Never")


def test_a_log_that_changes_hands_belongs_to_the_new_run(tmp_path: pathlib.Path) -> None:
    """With its policy: the old one has no right to it any more. The log itself is not touched."""
    log = attempt_of(tmp_path, "r.2")
    before = log.with_name("r.2.pod.owner").read_text().splitlines()[0]
    for _ in range(2):
        logfiles.reown(str(tmp_path), str(log), NEW)
        assert logfiles.find_owned(str(tmp_path)) == [(str(log), NEW)]
        assert log.with_name("r.2.pod.owner").read_text() == f"team-a uid-2 Never\nstarted\nwas {before}\n"
    assert (log.read_text(), log.with_name("r.2.pod.owner").stat().st_mode & 0o777) == ("x", 0o640)
    assert sorted(p.name for p in log.parent.iterdir()) == sorted(p.replace("r.", "r.2.", 1) for p in FILES)
    assert logfiles.remove(str(tmp_path), str(log), UID) is False
    assert logfiles.remove(str(tmp_path), str(log), "uid-2") is True


def test_a_log_remembers_a_few_owners(tmp_path: pathlib.Path) -> None:
    """Whoever names one of them sees that the agent was started; the file stays short."""
    log = attempt_of(tmp_path, "r")
    for number in range(9):
        logfiles.reown(str(tmp_path), str(log), logfiles.Owner("team-a", f"uid-{number}", "Never"))
    lines = log.with_name("r.pod.owner").read_text().splitlines()
    assert lines == ["team-a uid-8 Never", "started", *(f"was team-a uid-{number} Never" for number in range(4, 8))]


@pytest.mark.parametrize("owner", [None, "too few"])
def test_a_log_that_is_nobodys_does_not_change_hands(tmp_path: pathlib.Path, owner: str | None) -> None:
    """It may be another program's."""
    log = make(tmp_path, "r.pod.ndjson")
    if owner is not None:
        log.with_name("r.pod.owner").write_text(owner)
    logfiles.reown(str(tmp_path), str(log), NEW)
    assert logfiles.find_owned(str(tmp_path)) == []
    assert not list(log.parent.glob(".*"))


def test_no_link_is_followed_when_a_log_changes_hands(tmp_path: pathlib.Path) -> None:
    """Neither in place of the owner file nor of the file that it is made from."""
    target = tmp_path / "target"
    target.write_text(OWNER)
    log = attempt_of(tmp_path / ROOT, "r")
    log.with_name(".r.pod.owner.new").symlink_to(target)
    logfiles.reown(str(tmp_path / ROOT), str(log), NEW)
    assert target.read_text() == OWNER
    assert logfiles.find_owned(str(tmp_path / ROOT)) == [(str(log), NEW)]
    owner = log.with_name("r.pod.owner")
    owner.unlink()
    owner.symlink_to(target)
    logfiles.reown(str(tmp_path / ROOT), str(log), NEW)
    assert target.read_text() == OWNER


@pytest.mark.parametrize("path", ["acme/ada/r.ndjson", "acme/../../r.pod.ndjson", "acme/ada/r.x.pod.ndjson"])
def test_only_a_runs_log_changes_hands(tmp_path: pathlib.Path, path: str) -> None:
    """The path is an annotation, which anybody may have written."""
    with pytest.raises(ValueError, match="is not a run's log below"):
        logfiles.reown(str(tmp_path), f"{tmp_path}/{path}", NEW)
    with pytest.raises(OSError, match="No such file"):
        logfiles.reown(str(tmp_path), f"{tmp_path}/acme/ada/r.pod.ndjson", NEW)
