"""The agent image: the real claude CLI with the shell, tools and git that it expects, run as uid 1000.

The CLI is a self-contained program from the npm registry, pinned and verified by agent.toml; everything else is copied
from this machine's Debian packages. Nothing of it is ever committed.
"""

import base64
import collections.abc
import contextlib
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import typing

from hack.cluster import errors, packages, paths, report
from hack.images import archive, hostfiles

_PINS = pathlib.Path(__file__).resolve().with_name("agent.toml")
_REPOSITORY = "docker.io/agentrun/claude-code"
_HOME = "/paperclip"
_MEMBER = "package/claude"
_NPM_TIMEOUT_SECONDS = 900
_PACKAGES = (
    "bash",
    "ca-certificates",
    "coreutils",
    "dash",
    "diffutils",
    "findutils",
    "git",
    "grep",
    "gzip",
    "mawk",
    "sed",
    "tar",
)
# Loaded by name at run time, so that ldd does not see them: resolving host names.
_NSS = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
_ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    f"HOME={_HOME}",
    "SHELL=/bin/bash",
    "LANG=C.UTF-8",
)


class Pin(typing.NamedTuple):
    """The npm package to fetch and its published hash."""

    package: str
    version: str
    integrity: str


def _pins() -> dict[str, typing.Any]:
    return tomllib.loads(_PINS.read_text(encoding="utf-8"))


def reference() -> str:
    """Return the image's full reference."""
    return f"{_REPOSITORY}:{_pins()['version']}"


def inputs() -> tuple[str, ...]:
    """Return what, besides the scripts, decides the image's content."""
    return (_PINS.read_text(encoding="utf-8"),)


def pin(machine: str) -> Pin:
    """Return the pinned package for a machine type, or raise ClusterError if there is none."""
    pins = _pins()
    entry = pins["packages"].get(machine)
    if entry is None:
        known = ", ".join(pins["packages"])
        message = f"the agent CLI is pinned for {known} only, and this machine is {machine}: add it to {_PINS}."
        raise errors.ClusterError(message)
    return Pin(package=entry["name"], version=pins["version"], integrity=entry["integrity"])


def verify(file: pathlib.Path, integrity: str) -> None:
    """Raise ClusterError unless the file has this `sha512-BASE64` hash."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha512").digest()
    actual = f"sha512-{base64.b64encode(digest).decode()}"
    if actual != integrity:
        message = f"{file.name} has the hash {actual}, but {integrity} is pinned in {_PINS}: it is not used."
        raise errors.ClusterError(message)


def fetch(wanted: Pin) -> pathlib.Path:
    """Return the verified npm package in the cache, fetching it with npm if it is not there."""
    folder = paths.cache_dir() / "npm"
    target = folder / f"{wanted.package.rsplit('/', 1)[-1]}-{wanted.version}.tgz"
    if target.exists():
        verify(target, wanted.integrity)
        return target
    if shutil.which("npm") is None:
        packages.ensure(["npm"], why="the agent CLI comes from the npm registry")
    folder.mkdir(parents=True, exist_ok=True)
    specification = f"{wanted.package}@{wanted.version}"
    with tempfile.TemporaryDirectory(dir=folder) as scratch, report.step(f"fetching {specification}"):
        result = subprocess.run(
            ["npm", "pack", "--silent", "--pack-destination", scratch, specification],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_NPM_TIMEOUT_SECONDS,
            cwd=scratch,
        )
        packed = list(pathlib.Path(scratch).glob("*.tgz"))
        if result.returncode != 0 or len(packed) != 1:
            message = f"npm could not fetch {specification}: {result.stderr.strip()[-500:]}"
            raise errors.ClusterError(message)
        verify(packed[0], wanted.integrity)
        packed[0].replace(target)
    return target


def _member(package: pathlib.Path) -> archive.Content:
    """Return an opener for the CLI's program inside its npm package."""

    @contextlib.contextmanager
    def opened() -> collections.abc.Iterator[typing.IO[bytes]]:
        with tarfile.open(package) as tar:
            stream = tar.extractfile(_MEMBER)
            if stream is None:
                message = f"{package} has no file {_MEMBER}"
                raise errors.ClusterError(message)
            with stream:
                yield stream

    return opened


def _add_cli(root: archive.RootFs, package: pathlib.Path) -> list[pathlib.Path]:
    """Add the CLI's program and return the libraries it loads."""
    with tempfile.TemporaryDirectory() as scratch:
        program = pathlib.Path(scratch) / "claude"
        with _member(package)() as stream, program.open("wb") as output:
            shutil.copyfileobj(stream, output, 1024 * 1024)
        program.chmod(0o755)  # ldd warns of programs that are not executable
        size = os.path.getsize(program)
        needed = hostfiles.libraries([program])
    root.stream("usr/local/bin/claude", _member(package), size=size, mode=0o755)
    return needed


def _add_packages(root: archive.RootFs) -> list[pathlib.Path]:
    """Add the tools of this machine's packages and return the libraries they load."""
    programs = []
    for package in _PACKAGES:
        for path in hostfiles.package_files(package):
            root.copy(path, str(path))
            if hostfiles.is_elf(path):
                programs.append(path)
    return hostfiles.libraries(programs)


def write(output: pathlib.Path) -> None:
    """Write the agent image."""
    wanted = pin(platform.machine())
    missing = [name for name in _PACKAGES if not packages.installed(name)]
    packages.ensure(missing, why="the agent image is made from their files")
    root = archive.RootFs()
    hostfiles.add_merged_usr(root)
    hostfiles.add_accounts(root, home=_HOME, shell="/bin/bash", user="agent")
    libraries = _add_packages(root) + _add_cli(root, fetch(wanted))
    folder = next((path.parent for path in libraries if path.name.startswith("libc.so")), None)
    if folder is not None:
        libraries += [folder / name for name in _NSS if (folder / name).exists()]
    for library in libraries:
        hostfiles.copy_with_links(root, library)
    root.symlink("usr/bin/awk", "mawk")
    root.symlink("usr/bin/sh", "dash")
    certificates = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        root.copy(certificates, str(certificates))
    for path in sorted(pathlib.Path("/usr/lib/locale/C.utf8").rglob("*")):
        root.copy(path, str(path))
    config = archive.Config(command=("/bin/bash",), user="1000:1000", workdir=_HOME, environment=_ENVIRONMENT)
    archive.write_image(root, config, reference=reference(), output=output)
