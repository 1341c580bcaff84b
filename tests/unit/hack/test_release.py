"""A release is refused for each reason by its sentence, made whole or not at all, and its wheel works elsewhere."""

import dataclasses
import pathlib
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile

import pytest
import yaml

import agentrun_operator
from hack.generate import licences, versions
from hack.release import __main__ as release
from hack.release import judging, parts

CHANGELOG = """# Changelog

## [Unreleased]

### Added
- What is to come.

## [1.2.3] - 2026-11-22

### Added
- What is new.

## [1.2.2] - 2026-10-01
- What was.
"""
GOOD = judging.Facts(version="1.2.3", changelog=CHANGELOG, commit="a" * 40, changed=(), tagged="", missing_tools=())


# --- whether it may be released --------------------------------------------------------------------------------------


def test_a_tree_in_order_may_be_released() -> None:
    assert judging.find_problems(GOOD, draft=False) == []
    assert judging.find_problems(dataclasses.replace(GOOD, tagged=GOOD.commit), draft=False) == []


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"version": "1.2.3.dev0"}, "__version__ is 1.2.3.dev0: a release is X.Y.Z"),
        ({"version": "1.2.4"}, "CHANGELOG.md has no section [1.2.4] with a line in it: rename [Unreleased]"),
        ({"commit": ""}, "there is no git commit here"),
        ({"changed": ("README.md", "x")}, "2 files differ from the commit (README.md …): commit them first"),
        ({"tagged": "b" * 40}, "the tag v1.2.3 is on another commit, bbbbbbbbbbbb: raise __version__"),
        ({"missing_tools": ("there is no helm",)}, "there is no helm"),
    ],
)
def test_each_reason_against_it_is_said(facts: dict[str, object], says: str) -> None:
    problems = judging.find_problems(dataclasses.replace(GOOD, **facts), draft=False)  # type: ignore[arg-type]  # a row
    assert [problem for problem in problems if problem.startswith(says)] != []


def test_a_draft_needs_only_the_tools() -> None:
    bad = dataclasses.replace(GOOD, version="1.2.4.dev0", commit="", changed=("x",))
    assert judging.find_problems(bad, draft=True) == []
    assert judging.find_problems(dataclasses.replace(bad, missing_tools=("no helm",)), draft=True) == ["no helm"]


def test_the_notes_are_the_versions_own() -> None:
    """Of a draft without a section, what is not released yet."""
    assert judging.notes(GOOD) == "# v1.2.3\n\n### Added\n- What is new.\n"
    assert judging.notes(dataclasses.replace(GOOD, version="2.0.0")) == "# v2.0.0\n\n### Added\n- What is to come.\n"


def test_the_changelog_of_this_project_is_read() -> None:
    """Its heading is as `read_notes` wants it."""
    assert "- " in judging.read_notes((judging.ROOT / "CHANGELOG.md").read_text(), "Unreleased")


# --- making it -------------------------------------------------------------------------------------------------------


def test_a_dry_run_names_everything_and_makes_nothing(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "_missing", list)  # this machine's helm is not what is tested
    code = release.main(["--dry-run", "--draft"], dist=tmp_path / "dist")

    said = capsys.readouterr().out
    version = agentrun_operator.__version__
    assert code == 0
    for name in (
        *(f"agentrun_operator-{version}-py3-none-any.whl", f"agentrun_operator-{version}.tar.gz"),
        *(f"agentrun-operator-{version}.tgz", "crd.yaml", "install-base.yaml", "install-production.yaml"),
        *("parts.cdx.json", "licences.md", "LICENSE", "notes.md", "SHA256SUMS"),
    ):
        assert f"  {name} " in said
    assert list(tmp_path.iterdir()) == []


def test_a_release_that_is_refused_makes_nothing(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "look", lambda: dataclasses.replace(GOOD, changed=("x",)))

    assert release.main([], dist=tmp_path / "dist") == 1
    said = capsys.readouterr().err
    assert "release: 1 files differ" in said
    assert "make release DRAFT=1" in said
    assert list(tmp_path.iterdir()) == []


def part(name: str, *written: str) -> parts.Part:
    def make(folder: pathlib.Path) -> None:
        for file in written:
            (folder / file).write_text(file)

    return parts.Part(names=(name,), purpose="", make=make)


def test_a_release_replaces_the_one_before_as_a_whole(tmp_path: pathlib.Path) -> None:
    """With sums that sha256sum checks."""
    dist = tmp_path / "dist"
    dist.mkdir()
    (dist / "old").write_text("")

    release.make([part("a", "a"), part("b", "b")], dist)

    assert sorted(path.name for path in dist.iterdir()) == ["SHA256SUMS", "a", "b"]
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("wanted", "says"),
    [(part("a"), "a was not made"), (part("a", "a", "b"), "b was made, and nobody had asked for it")],
)
def test_half_a_release_is_none(tmp_path: pathlib.Path, wanted: parts.Part, says: str) -> None:
    """What was there before stays."""
    dist = tmp_path / "dist"
    dist.mkdir()
    (dist / "old").write_text("")

    with pytest.raises(parts.ReleaseError, match=says):
        release.make([part("c", "c"), wanted], dist)

    assert [path.name for path in tmp_path.rglob("*")] == ["dist", "old"]


def test_every_part_of_the_list_has_a_licence() -> None:
    """One that is unknown stops the release."""
    listed = {"bomFormat": "CycloneDX", "components": [{"name": "Kopf", "version": "1"}, {"name": "rich"}]}

    assert parts.with_licences(listed, {"kopf": "MIT OR Apache-2.0", "rich": "MIT License"}) == {
        "bomFormat": "CycloneDX",
        "components": [
            {"name": "Kopf", "version": "1", "licenses": [{"expression": "MIT OR Apache-2.0"}]},
            {"name": "rich", "licenses": [{"license": {"name": "MIT License"}}]},
        ],
    }
    with pytest.raises(parts.ReleaseError, match="Kopf is in the list of parts"):
        parts.with_licences(listed, {})


# --- the wheel -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("dist")
    parts.build_python(folder, epoch="1700000000")
    return folder


def test_the_wheel_works_in_a_fresh_environment(built: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Without the repository on its path; its dependencies are lent, for nothing is fetched here."""
    [wheel] = built.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    binaries = tmp_path / "venv" / "bin"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(binaries / "python"), "install", "--quiet"),
            *("--disable-pip-version-check", "--no-index", "--no-deps", str(wheel)),
        ],
        check=True,
        timeout=60,
    )
    [packages] = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    for name in ("agentrun", "kubectl-agentrun"):
        assert run(str(binaries / name), "--version").endswith(agentrun_operator.__version__)
    assert run(str(binaries / "kubectl_complete-agentrun"), "des") == "describe\n:4"
    where = "import agentrun_operator as a; print(a.__file__)"
    assert pathlib.Path(run(str(binaries / "python"), "-c", where)).is_relative_to(packages)
    assert "apiVersion: apiextensions" not in run(str(binaries / "agentrun"), "completion", "bash")


def test_the_archives_hold_what_is_needed_and_no_more(built: pathlib.Path) -> None:
    """The scripts that travel in Secrets, the mark of types, the licence; no test and no tool."""
    [wheel] = built.glob("*.whl")
    [source] = built.glob("*.tar.gz")
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(source) as archive:
        in_source = {pathlib.PurePosixPath(name).parts[1] for name in archive.getnames() if "/" in name}

    assert {f"agentrun_operator/{name}" for name in ("entry/run-agent.sh", "entry/bundle.sh", "py.typed")} <= in_wheel
    assert {name.partition("/")[0] for name in in_wheel} == {
        "agentrun_operator",
        f"agentrun_operator-{agentrun_operator.__version__}.dist-info",
    }
    assert [name for name in in_wheel if name.endswith("/licenses/LICENSE")]
    assert in_source == {"operator", "CHANGELOG.md", "LICENSE", "README.md", "PKG-INFO", "pyproject.toml", ".gitignore"}


def test_the_same_commit_gives_the_same_wheel(built: pathlib.Path, tmp_path: pathlib.Path) -> None:
    parts.build_python(tmp_path, epoch="1700000000")
    assert parts.render_sums(tmp_path) == parts.render_sums(built)


# --- the version and the licences ------------------------------------------------------------------------------------


def test_the_version_follows_into_each_file() -> None:
    """As it is now, and as it would be."""
    for path, text in versions.outputs().items():
        assert path.read_text() == text
    chart = next(path for path in versions.PLACES if path.name == "Chart.yaml")
    raised = versions.render(chart.read_text(), "appVersion: ", "2.0.0rc1")
    assert yaml.safe_load(raised)["appVersion"] == "2.0.0rc1"
    with pytest.raises(LookupError, match="stand in 0 lines"):
        versions.render("version 1", "version: ", "2.0.0")


def test_every_package_that_is_shipped_has_its_licence_in_the_page() -> None:
    """In the version of the lock."""
    page = (judging.ROOT / "docs" / "licences.md").read_text()
    assert len(licences.pins()) > 30
    for name, version in licences.pins().items():
        assert f"| {name} | {version} | " in page


@pytest.mark.parametrize(
    ("said", "classifiers", "name"),
    [
        ({"License-Expression": "MIT", "License": "other"}, [], "MIT"),
        ({"License": "Apache 2.0"}, ["License :: OSI Approved :: Apache Software License"], "Apache 2.0"),
        ({"License": "Permission is\nhereby granted"}, ["License :: OSI Approved :: MIT License"], "MIT License"),
        ({}, ["License :: OSI Approved :: ISC", "Topic :: X"], "ISC"),
        ({}, [], ""),
    ],
)
def test_a_licence_is_read_as_packages_write_it(said: dict[str, str | None], classifiers: list[str], name: str) -> None:
    assert licences.licence_of(said, classifiers) == name


def test_the_licences_are_ones_that_may_be_shipped() -> None:
    """A new kind is looked at by a person, who then adds it here."""
    known = {
        "MIT",
        "MIT License",
        "Apache-2.0",
        "Apache 2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "3-Clause BSD License",
        "ISC",
        "MPL-2.0",
        "PSF-2.0",
    }
    said = {word for name in licences.licences().values() for word in name.replace(" AND ", " OR ").split(" OR ")}
    assert said <= known
