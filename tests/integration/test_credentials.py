"""Credentials that end while the operator is at work, on a real API server: revoked, then replaced."""

import asyncio
import json
import pathlib
import sys
import uuid
from collections.abc import Iterator

import pytest

from agentrun_operator import errors
from agentrun_operator.kube import credentials
from hack import playground
from tests import harness
from tests.integration import kubelet
from tests.integration.test_kube import connected

_SYSTEM = "agentrun-system"
_EXEC = """#!{python}
import json, pathlib
token = pathlib.Path({token!r}).read_text()
version = "client.authentication.k8s.io/v1"
print(json.dumps({{"apiVersion": version, "kind": "ExecCredential", "status": {{"token": token}}}}))
"""


class Account:
    """The operator's service account, its tokens, and the kubeconfig that they are found by.

    ``where`` is how: in the kubeconfig itself, in a file that it names (tokenFile), or from a program (exec).
    """

    def __init__(self, kubectl: playground.Kubectl, folder: pathlib.Path, where: str) -> None:
        self._kubectl = kubectl
        self._where = where
        self._secrets: list[str] = []
        self._token_file = folder / "token"
        self._plugin = folder / "plugin"
        self.kubeconfig = folder / "replaced.kubeconfig"
        playground.operator_kubeconfig(kubectl, self.kubeconfig)
        self.token = ""
        self.renew()

    def renew(self) -> None:
        """There is a new token, at the same place."""
        name = f"bound-{uuid.uuid4().hex[:8]}"
        self._secrets.append(name)
        self._kubectl.run("create", "secret", "generic", name, "-n", _SYSTEM)
        bound = ("--bound-object-kind=Secret", f"--bound-object-name={name}")
        self.token = self._kubectl.run("create", "token", "agentrun-operator", "-n", _SYSTEM, *bound).strip()
        config = json.loads(self.kubeconfig.read_text())
        match self._where:
            case "kubeconfig":
                user: dict[str, object] = {"token": self.token}
            case "tokenFile":
                self._token_file.write_text(self.token)
                user = {"tokenFile": str(self._token_file)}
            case _:
                self._token_file.write_text(self.token)
                self._plugin.write_text(_EXEC.format(python=sys.executable, token=str(self._token_file)))
                self._plugin.chmod(0o755)
                version = "client.authentication.k8s.io/v1"
                user = {"exec": {"apiVersion": version, "command": str(self._plugin), "interactiveMode": "Never"}}
        config["users"][0]["user"] = user
        self.kubeconfig.write_text(json.dumps(config))

    def revoke(self) -> None:
        """What the token is bound to is deleted: the API server refuses it, once it has forgotten that it was good."""
        self._delete_secrets()
        server = json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        anonymous = playground.Kubectl(kubeconfig=pathlib.Path("/dev/null"), binary=self._kubectl.binary)
        ask = (f"--server={server}", "--insecure-skip-tls-verify", f"--token={self.token}", "get", "--raw", "/api")

        def refused() -> bool:
            try:
                anonymous.run(*ask)
            except playground.PlaygroundError as e:
                if "must be logged in" not in str(e):
                    raise
                return True
            return False

        playground.wait_until(refused, seconds=60, what="the token to be refused", every=0.5)

    def _delete_secrets(self) -> None:
        while self._secrets:
            self._kubectl.run("delete", "secret", self._secrets.pop(), "-n", _SYSTEM)

    def close(self) -> None:
        """Leave nothing."""
        self._delete_secrets()


@pytest.fixture(params=["kubeconfig", "tokenFile", "exec"])
def account(request: pytest.FixtureRequest, kubectl: playground.Kubectl, tmp_path: pathlib.Path) -> Iterator[Account]:
    """See Account."""
    made = Account(kubectl, tmp_path, request.param)
    yield made
    made.close()


async def test_our_client_goes_on_with_what_replaced_its_token(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused requests are "no answer", never "not there"; many of them at once have the files read once."""
    monkeypatch.setenv("KUBECONFIG", str(account.kubeconfig))
    monkeypatch.setattr(credentials, "_LEAST_SECONDS", 0.0)
    read = 0
    real = credentials._load  # noqa: SLF001 - counted here, and carried out

    async def counted(configuration: object, context: str | None) -> None:
        nonlocal read
        read += 1
        await real(configuration, context)  # type: ignore[arg-type]

    async with connected(account.kubeconfig) as client:
        await client.list_jobs()
        await asyncio.to_thread(account.revoke)
        monkeypatch.setattr(credentials, "_load", counted)
        for error in await asyncio.gather(
            *(client.get_job("default", "none") for _ in range(20)), return_exceptions=True
        ):
            assert isinstance(error, errors.UnavailableError)
            assert error.status == 401
        read = 0
        await asyncio.to_thread(account.renew)
        answers = await asyncio.gather(*(client.list_jobs() for _ in range(20)), return_exceptions=True)
        assert {type(answer) for answer in answers} <= {list, errors.UnavailableError}
        assert read == 1
        await client.list_jobs()
        assert read == 1


@pytest.mark.parametrize("account", ["kubeconfig", "exec"], indirect=True)
def test_the_operator_goes_on_with_what_replaced_its_token(site: harness.Site, account: Account) -> None:
    """Runs in flight end with the right verdict, and new ones are begun: no restart, no run lost, nothing concluded."""
    log = site.folder / "operator.log"
    site.operator = playground.start_operator(account.kubeconfig, log=log, settings=site.settings)
    operator = site.operator
    site.create("before")
    pod = kubelet.Pod(site, "before")
    pod.run()
    site.wait_status("before", phase="Running")

    account.revoke()
    site.create("while")  # kopf has to put its finalizer on it
    pod.write(kubelet.transcript("ok"))
    pod.end(0)
    playground.wait_until(
        lambda: "credentials_refused" in site.operator_log, seconds=60, what="the operator to look for others"
    )
    playground.wait_until(
        lambda: site.operator_log.count("Re-authentication has been initiated") >= 3, seconds=30, what="further tries"
    )
    assert operator.alive
    assert site.status("before")["phase"] == "Running"
    assert "while" not in [job["metadata"]["ownerReferences"][0]["name"] for job in site.list("jobs")]

    account.renew()
    assert site.wait_phase("before", "Succeeded", "Failed", "Cancelled", seconds=90)["phase"] == "Succeeded"
    kubelet.Pod(site, "while").run()
    site.wait_status("while", phase="Running")
    assert operator.alive
    assert "credentials_renewed" in site.operator_log
    assert "Traceback" not in site.operator_log
