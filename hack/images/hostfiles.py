"""Take programs out of this machine's Debian packages: their files, and the libraries those need."""

import collections.abc
import pathlib
import re
import subprocess

from hack.cluster import errors
from hack.images import archive

# Of no use to a program in a container, and half the size.
_SKIPPED = re.compile(
    r"/usr/share/(doc|doc-base|man|info|locale|lintian|bug|bash-completion|menu|applications|pixmaps|gitweb)(/|$)"
    r"|/usr/lib/systemd/|/etc/(init|cron|logrotate)\b|/var/lib/"
)
_TIMEOUT_SECONDS = 120


def add_accounts(root: archive.RootFs, *, home: str, shell: str, user: str) -> None:
    """Add what every image has: root, nobody and one user of uid 1000, their groups, its home, and /tmp."""
    root.text(
        "etc/passwd",
        f"root:x:0:0:root:/root:{shell}\n"
        f"{user}:x:1000:1000:{user}:{home}:{shell}\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    )
    root.text("etc/group", f"root:x:0:\n{user}:x:1000:\nnogroup:x:65534:\n")
    root.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    root.directory("tmp", mode=0o1777)
    root.directory("var/tmp", mode=0o1777)
    root.directory("root", mode=0o700)
    root.directory(home, uid=1000, gid=1000)


def add_merged_usr(root: archive.RootFs) -> None:
    """Add the links of a merged /usr, as every supported Debian and Ubuntu has them."""
    for name in ("bin", "sbin", "lib", "lib64"):
        root.directory(f"usr/{name}")
        root.symlink(name, f"usr/{name}")


def canonical(path: pathlib.Path) -> pathlib.Path:
    """Return a path with the links of its *folder* resolved (/bin/x is /usr/bin/x), but not the file itself."""
    return path.parent.resolve() / path.name


def package_files(package: str) -> list[pathlib.Path]:
    """Return the files and links of an installed package, without documentation."""
    answer = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    if answer.returncode != 0:
        message = f"the package {package} is not installed on this machine, and the image is made from its files."
        raise errors.ClusterError(message)
    found = []
    for line in answer.stdout.splitlines():
        path = pathlib.Path(line)
        if line.startswith("/") and not _SKIPPED.match(line) and (path.is_symlink() or path.is_file()):
            found.append(canonical(path))
    return found


def is_elf(path: pathlib.Path) -> bool:
    """Tell whether a file is a program or library."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def parse_ldd(output: str) -> list[pathlib.Path]:
    """Parse what ldd says of any number of files into the libraries' paths; raise ClusterError if one is missing."""
    found = []
    for line in output.splitlines():
        if "not found" in line:
            message = f"a library is missing on this machine: {line.strip()}"
            raise errors.ClusterError(message)
        match = re.search(r"(?:=>\s+|^\s+)(/\S+) \(0x", line)
        if match:
            found.append(pathlib.Path(match[1]))
    return sorted(set(found))


def libraries(programs: collections.abc.Iterable[pathlib.Path]) -> list[pathlib.Path]:
    """Return every library (with the dynamic loader) that the programs load; ldd follows them to the end."""
    wanted = [str(path) for path in programs]
    if not wanted:
        return []
    # Exit status 1 only says that some file is static.
    answer = subprocess.run(["ldd", *wanted], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    return parse_ldd(answer.stdout)


def copy_with_links(root: archive.RootFs, path: pathlib.Path) -> None:
    """Add a file; if it is a link, also what it leads to, step by step (alternatives, library names)."""
    path = canonical(path)
    for _ in range(10):
        root.copy(path, str(path))
        if not path.is_symlink():
            return
        path = canonical(path.parent / path.readlink())
    message = f"{path} is a loop of links"
    raise errors.ClusterError(message)
