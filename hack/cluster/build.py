"""Build the Kubernetes binaries, and helm, from the Go module proxy, once per content of the go.mod files.

The folder of the binaries is named by a hash of everything that decides their content, so a changed version lands in a
new folder and a running cluster keeps the files it was started with. Each binary is built only when a level needs it,
under a lock, to a temporary name that is renamed when complete.
"""

import collections.abc
import contextlib
import dataclasses
import hashlib
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import time

from hack.cluster import errors, files, paths, report, toolchain

_HEARTBEAT_SECONDS = 30.0
_TIMEOUT_SECONDS = 3600.0
# Module downloads and the Go build cache of all binaries together take about 4.5 GB.
_NEEDED_BYTES = 6 * 1024**3


@dataclasses.dataclass(frozen=True)
class Binary:
    """One program: the Go package it is built from and the go.mod that fixes its version."""

    name: str
    package: str
    module: pathlib.Path


_KUBERNETES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet")
BINARIES = {
    "etcd": Binary(name="etcd", package="go.etcd.io/etcd/server/v3", module=paths.GO_MODULE),
    **{
        name: Binary(name=name, package=f"k8s.io/kubernetes/cmd/{name}", module=paths.GO_MODULE) for name in _KUBERNETES
    },
    "kwok": Binary(name="kwok", package="sigs.k8s.io/kwok/cmd/kwok", module=paths.KWOK_MODULE),
}
# No cluster needs it, so it has a folder of its own: another version of helm builds no Kubernetes anew.
HELM = Binary(name="helm", package="helm.sh/helm/v3/cmd/helm", module=paths.HELM_MODULE)
# The programs that envtest's asset folder has, and of which it must have the first two to be worth using.
_ASSETS = ("etcd", "kube-apiserver", "kubectl")


def module_version(go_mod: str, module: str) -> str:
    """Return the version of `module` that a go.mod requires, with its leading v."""
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if match is None:
        message = f"the go.mod does not require {module}"
        raise ValueError(message)
    return match[1]


def ldflags(kubernetes_version: str) -> str:
    """Return linker flags: no symbol tables, and the version stamp without which the server calls itself v0.0.0."""
    major, minor = kubernetes_version.removeprefix("v").split(".")[:2]
    stamp = "-X k8s.io/component-base/version."
    return f"-s -w {stamp}gitVersion={kubernetes_version} {stamp}gitMajor={major} {stamp}gitMinor={minor}"


def flags() -> list[str]:
    """Return the arguments of `go build` that decide the content of the binaries."""
    go_mod = (paths.GO_MODULE / "go.mod").read_text(encoding="utf-8")
    return ["-mod=readonly", "-trimpath", "-ldflags", ldflags(module_version(go_mod, "k8s.io/kubernetes"))]


def helm_flags() -> list[str]:
    """Return the same for helm: it is told its version, and which Kubernetes charts are rendered for."""
    helm = module_version((paths.HELM_MODULE / "go.mod").read_text(encoding="utf-8"), "helm.sh/helm/v3")
    kubernetes = module_version((paths.GO_MODULE / "go.mod").read_text(encoding="utf-8"), "k8s.io/kubernetes")
    major, minor = kubernetes.removeprefix("v").split(".")[:2]
    stamps = [f"-X helm.sh/helm/v3/internal/version.version={helm}"]
    for package in ("chartutil", "lint/rules"):
        variable = f"-X helm.sh/helm/v3/pkg/{package}.k8sVersion"
        stamps += [f"{variable}Major={major}", f"{variable}Minor={minor}"]
    return ["-mod=readonly", "-trimpath", "-ldflags", f"-s -w {' '.join(stamps)}"]


def cache_key(inputs: collections.abc.Iterable[bytes]) -> str:
    """Hash inputs into a short folder name; each is delimited, so that no two lists of inputs run together."""
    digest = hashlib.sha256()
    for item in inputs:
        digest.update(len(item).to_bytes(8, "big"))
        digest.update(item)
    return digest.hexdigest()[:16]


def assets_dir() -> pathlib.Path | None:
    """Return envtest's asset folder if KUBEBUILDER_ASSETS names a usable one."""
    value = os.environ.get("KUBEBUILDER_ASSETS")
    if not value:
        return None
    folder = pathlib.Path(value).absolute()
    if all(os.access(folder / name, os.X_OK) for name in _ASSETS[:2]):
        return folder
    report.report(f"KUBEBUILDER_ASSETS={value} is ignored: it lacks etcd or kube-apiserver")
    return None


def bin_dir() -> pathlib.Path:
    """Return the folder of the binaries for the committed versions on this platform; it may not exist yet."""
    inputs = [
        (module / name).read_bytes() for module in (paths.GO_MODULE, paths.KWOK_MODULE) for name in ("go.mod", "go.sum")
    ]
    inputs += [" ".join(flags()).encode(), platform.system().encode(), platform.machine().encode()]
    assets = assets_dir()
    if assets is not None:
        inputs.append(str(assets).encode())
    return paths.cache_dir() / "bin" / cache_key(inputs)


def ensure(names: collections.abc.Iterable[str]) -> pathlib.Path:
    """Make sure the named binaries exist and return their folder; does nothing (no lock either) if they do."""
    folder = bin_dir()
    missing = [name for name in names if not os.access(folder / name, os.X_OK)]
    if not missing:
        return folder
    with files.locked(folder.with_suffix(".lock"), purpose="building the Kubernetes binaries"):
        folder.mkdir(parents=True, exist_ok=True)
        missing = _link_assets(folder, missing)
        missing = [name for name in missing if not os.access(folder / name, os.X_OK)]
        if missing:
            _check_disk()
            go = toolchain.find_go()
            for name in missing:
                _build(go, BINARIES[name], folder=folder, options=flags())
    return folder


def helm_path() -> pathlib.Path:
    """Return where helm is, or will be, for the committed version on this platform."""
    inputs = [(paths.HELM_MODULE / name).read_bytes() for name in ("go.mod", "go.sum")]
    inputs += [" ".join(helm_flags()).encode(), platform.system().encode(), platform.machine().encode()]
    return paths.cache_dir() / "bin" / f"helm-{cache_key(inputs)}" / HELM.name


def ensure_helm() -> pathlib.Path:
    """Make sure that helm exists and return its path."""
    program = helm_path()
    if os.access(program, os.X_OK):
        return program
    with files.locked(program.parent.with_suffix(".lock"), purpose="building helm"):
        if not os.access(program, os.X_OK):
            program.parent.mkdir(parents=True, exist_ok=True)
            _check_disk()
            _build(toolchain.find_go(), HELM, folder=program.parent, options=helm_flags())
    return program


def _link_assets(folder: pathlib.Path, missing: list[str]) -> list[str]:
    """Link what KUBEBUILDER_ASSETS offers into `folder` and return the names that are still to be built."""
    assets = assets_dir()
    if assets is None:
        return missing
    for name in missing:
        if name in _ASSETS and os.access(assets / name, os.X_OK):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(assets / name)
    return [name for name in missing if not os.access(folder / name, os.X_OK)]


def _check_disk() -> None:
    """Raise MissingPrerequisite if the disk of the cache is too full for a build."""
    free = shutil.disk_usage(paths.cache_dir()).free
    if free < _NEEDED_BYTES:
        raise errors.MissingPrerequisite(
            f"only {free / 1e9:.1f} GB free at {paths.cache_dir()}",
            why=f"building the Kubernetes binaries needs about {_NEEDED_BYTES / 1e9:.0f} GB for Go's caches",
            fix="free some disk space, or point AGENTRUN_CACHE, GOCACHE and GOMODCACHE at a larger disk",
        )


def _environment() -> dict[str, str]:
    """Return the environment of a build: the caller's, with what must not vary fixed.

    Static binaries need no C compiler. GOTOOLCHAIN=local: the version was checked, so nothing else is downloaded.
    An account without a usable home folder (nobody) gets Go's caches inside ours.
    """
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    if not os.access(os.path.expanduser("~"), os.W_OK):
        cache = paths.cache_dir()
        environment.setdefault("GOCACHE", str(cache / "go-build"))
        environment.setdefault("GOMODCACHE", str(cache / "go-mod"))
        environment.setdefault("GOPATH", str(cache / "go"))
    return environment


def _build(go: str, binary: Binary, *, folder: pathlib.Path, options: list[str]) -> None:
    """Build one binary into `folder`, with a line of progress every half minute."""
    temporary = folder / f".{binary.name}.new"
    log = paths.cache_dir() / "logs" / f"build-{binary.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [go, "build", *options, "-o", str(temporary), binary.package]
    began = time.monotonic()
    report.report(f"building {binary.name}")
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            cwd=binary.module,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for_build(child, binary.name, began=began)
        finally:  # also on Ctrl-C: the compilers are in a session of their own and would go on
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait(timeout=30)
    if child.returncode != 0:
        message = f"building {binary.name} failed ({' '.join(command)}); last lines of {log}:\n{files.tail(log)}"
        raise errors.ClusterError(message)
    temporary.replace(folder / binary.name)
    report.report(f"built {binary.name} in {report.elapsed(time.monotonic() - began)}")


def _wait_for_build(child: subprocess.Popen[bytes], name: str, *, began: float) -> None:
    """Wait for the compiler, reporting that it is alive."""
    while True:
        try:
            child.wait(timeout=_HEARTBEAT_SECONDS)
        except subprocess.TimeoutExpired:
            took = time.monotonic() - began
            if took > _TIMEOUT_SECONDS:
                message = f"building {name} took longer than {report.elapsed(_TIMEOUT_SECONDS)} and was stopped."
                raise errors.ClusterError(message) from None
            report.report(f"still building {name}: {report.elapsed(took)}")
        else:
            return
