"""The operator's image: Debian's Python from this machine's packages, what the lock names, and the operator.

There is no shell, no pip and no compiler in it. Everything of ours is below /opt/agentrun, as in deploy/Dockerfile, the
ordinary way for people with Docker. Byte code is made here and never checked against its source again, because the
root file system is read-only where it runs.
"""

import ast
import collections.abc
import hashlib
import pathlib
import platform
import re
import shutil
import subprocess
import sys

from hack.cluster import errors, files, packages, paths, report
from hack.images import archive, hostfiles

REPOSITORY = "docker.io/agentrun/operator"
HOME = "/opt/agentrun"

_LOCK = paths.REPO_ROOT / "requirements" / "runtime.txt"
_PACKAGE = paths.REPO_ROOT / "operator" / "agentrun_operator"
_PYTHON = pathlib.Path("/usr/bin/python3")
_TIMEOUT_SECONDS = 900
# Found by name at run time, so that ldd does not see them: resolving host names.
_NSS = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2")
ENVIRONMENT = (
    f"PATH={HOME}/bin:/usr/bin:/bin",
    f"PYTHONPATH={HOME}/lib",
    "PYTHONSAFEPATH=1",
    "PYTHONUNBUFFERED=1",
    "PYTHONDONTWRITEBYTECODE=1",
    "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
    "LANG=C.UTF-8",
)
_COMMAND = """\
#!/usr/bin/python3
import sys

from agentrun_operator import cli

sys.exit(cli.main())
"""


def version() -> str:
    """Return the operator's version, read and not imported: this module needs nothing installed."""
    text = (_PACKAGE / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r"^__version__ = (.+)$", text, re.MULTILINE)
    return str(ast.literal_eval(match[1])) if match else "0"


def reference() -> str:
    """Return the image's full reference."""
    return f"{REPOSITORY}:{version()}"


def sources() -> list[pathlib.Path]:
    """Return the operator's own files."""
    found = (path for path in _PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(found)


def inputs() -> tuple[str, ...]:
    """Return what, besides the scripts, decides the image's content: the lock and every file of the operator."""
    hashes = (f"{path.relative_to(_PACKAGE)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in sources())
    return (_LOCK.read_text(encoding="utf-8"), *hashes)


def labels() -> dict[str, str]:
    """Return the labels by which registries and people know an image."""
    prefix = "org.opencontainers.image"
    return {
        f"{prefix}.title": "agentrun-operator",
        f"{prefix}.description": "A Kubernetes operator that runs coding agents as Jobs",
        f"{prefix}.licenses": "Apache-2.0",
        f"{prefix}.version": version(),
    }


def python_version() -> str:
    """Return the `3.11` of this machine's own Python, whose packages the image is made of."""
    try:
        said = _run([str(_PYTHON), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], what=str(_PYTHON))
    except OSError as error:
        fix = "apt-get install python3"
        raise errors.MissingPrerequisite(
            f"no {_PYTHON}", why="the operator's image is made from Debian's Python", fix=fix
        ) from error
    return said.strip()


def package_names(python: str) -> tuple[str, ...]:
    """Return the Debian packages in the image."""
    return (
        "ca-certificates",
        f"libpython{python}-minimal",
        f"libpython{python}-stdlib",
        "media-types",
        "python3-minimal",
        f"python{python}-minimal",
        "tzdata",
    )


def _run(command: list[str], *, what: str) -> str:
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
    )
    if result.returncode != 0:
        message = f"{what} failed: {(result.stderr or result.stdout).strip()[-500:]}"
        raise errors.ClusterError(message)
    return result.stdout


def _compile(folder: pathlib.Path, *, there: str) -> None:
    """Make the byte code of all modules in a folder that will stand at `there`."""
    command = [str(_PYTHON), "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    _run([*command, "-s", str(folder), "-p", there, str(folder)], what=f"compiling {there}")


def dependencies(python: str) -> pathlib.Path:
    """Return the folder of what the lock names, compiled, installing it if it is not in the cache."""
    digest = hashlib.sha256("\0".join((_LOCK.read_text(encoding="utf-8"), python, platform.machine())).encode())
    digest.update(pathlib.Path(__file__).read_bytes())
    target = paths.cache_dir() / "operator-lib" / digest.hexdigest()[:16]
    with files.locked(target.with_suffix(".lock"), purpose="installing the operator's dependencies"):
        if not target.exists():
            with report.step("installing the operator's dependencies for its image"):
                _install(python, target)
    return target


def _install(python: str, target: pathlib.Path) -> None:
    """Fetch and unpack what the lock names. No package is built: only wheels, and only with a hash of the lock."""
    fresh = target.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    command += ["--require-hashes", "--no-deps", "--only-binary=:all:", f"--python-version={python}"]
    _run([*command, "--target", str(fresh), "-r", str(_LOCK)], what=f"pip install -r {_LOCK.name}")
    shutil.rmtree(fresh / "bin", ignore_errors=True)  # commands that name this machine's own Python
    _compile(fresh, there=f"{HOME}/lib")
    fresh.replace(target)


def _opener(path: pathlib.Path) -> archive.Content:
    return lambda: path.open("rb")


def _add_tree(root: archive.RootFs, folder: pathlib.Path, there: str) -> None:
    """Add a folder's files, readable for everybody."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target = f"{there}/{path.relative_to(folder)}"
            root.stream(target, _opener(path), size=path.stat().st_size, mode=0o644)


def _add_python(root: archive.RootFs, python: str, scratch: pathlib.Path) -> None:
    """Add Debian's Python with its byte code, and the libraries that it and our own libraries load."""
    modules = pathlib.Path(f"/usr/lib/python{python}")
    staged = scratch / "python"
    binaries = []
    for package in package_names(python):
        for path in hostfiles.package_files(package):
            if path.is_relative_to(modules) and not path.is_symlink():
                copy = staged / path.relative_to(modules)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            else:
                hostfiles.copy_with_links(root, path)
            if hostfiles.is_elf(path):
                binaries.append(path)
    _compile(staged, there=str(modules))
    _add_tree(root, staged, str(modules))
    _add_libraries(root, [*binaries, *dependencies(python).rglob("*.so")])


def _add_libraries(root: archive.RootFs, binaries: collections.abc.Iterable[pathlib.Path]) -> None:
    libraries = hostfiles.libraries(binaries)
    folder = next((path.parent for path in libraries if path.name.startswith("libc.so")), None)
    if folder is not None:
        libraries += [folder / name for name in _NSS if (folder / name).exists()]
    for library in libraries:
        if not library.is_relative_to(paths.cache_dir()):  # a wheel's own, which is added with the wheel
            hostfiles.copy_with_links(root, library)


def write(output: pathlib.Path) -> None:
    """Write the operator's image."""
    python = python_version()
    missing = [name for name in package_names(python) if not packages.installed(name)]
    packages.ensure(missing, why="the operator's image is made from their files")
    scratch = output.with_suffix(".scratch")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        root = archive.RootFs()
        hostfiles.add_merged_usr(root)
        hostfiles.add_accounts(root, home=HOME, shell="/bin/false", user="agentrun")
        root.directory(HOME)
        _add_python(root, python, scratch)
        _add_tree(root, dependencies(python), f"{HOME}/lib")
        own = scratch / "own" / "agentrun_operator"
        shutil.copytree(_PACKAGE, own, ignore=shutil.ignore_patterns("__pycache__"))
        _compile(own.parent, there=f"{HOME}/lib")
        _add_tree(root, own.parent, f"{HOME}/lib")
        root.text(f"{HOME}/bin/agentrun", _COMMAND, mode=0o755)
        certificates = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
        if certificates.exists():
            root.copy(certificates, str(certificates))
        config = archive.Config(
            entrypoint=("/usr/bin/python3", "-m", "agentrun_operator"),
            command=("operator",),
            user="1000:1000",
            environment=ENVIRONMENT,
            labels=labels(),
        )
        archive.write_image(root, config, reference=reference(), output=output)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
