"""What to do about an error of the API server, in a sentence behind the server's own. Pure.

For people at a terminal: a program that uses the client has the error itself.
"""

from agentrun_operator import errors, names

_UNAUTHORIZED, _NOT_FOUND, _TOO_MANY = 401, 404, 429
_CRD = f"{names.PLURAL}.{names.GROUP}"


def explain(error: errors.AgentRunError) -> str:
    """The error, and what to do; of what is said already in full, nothing more."""
    said = str(error).rstrip(".")
    match error:
        case errors.NotFoundError() if said.startswith("namespaces "):
            return f"{said}; kubectl get namespaces lists them, and kubectl create namespace makes one"
        case errors.NotFoundError():
            return f"{said}; agentrun get -A lists what is there, and where"
        case errors.ForbiddenError():
            return (
                f"{said}. Ask an administrator for that right (docs/client.md has the Role), or name with -n a "
                "namespace where you have it"
            )
        case errors.UnavailableError(status=status):
            return _unavailable(_without_request(said), status)
    return str(error)


def place(error: errors.NotFoundError, namespace: str) -> errors.NotFoundError:
    """The error with the namespace in which that object was looked for."""
    if not namespace or str(error).startswith("namespaces "):
        return error
    text = f"{error} in the namespace {namespace}"
    return errors.NotFoundError(text, status=error.status, reason=error.reason)


def _unavailable(said: str, status: int) -> str:
    if status == _NOT_FOUND:
        return (
            f"this API server knows no {_CRD}: the CRD is not installed. Install it (kubectl apply --server-side -f "
            "crds/paperclip.io_agentruns.yaml), or name another cluster with --context; agentrun doctor sees to the "
            "rest"
        )
    if status == _UNAUTHORIZED:
        return (
            f"{said}: the API server does not take these credentials. Log in again as you do for kubectl (kubectl auth "
            "whoami tries them), or name another context with --context"
        )
    if status == 0 and not _is_away(said):
        return said
    if status == 0:
        return (
            f"{said}. Does kubectl cluster-info reach it? If not, look at VPN, proxy and the kubeconfig's address, or "
            "name another cluster with --context"
        )
    if status == _TOO_MANY:
        return f"{said}. The API server has too much to do; try again in a while"
    return f"{said}. The API server is in trouble (HTTP {status}); try again in a while"


def _without_request(said: str) -> str:
    """Which request could not be sent is of interest in an operator's log, not at a terminal."""
    _, cannot, where = said.partition("cannot connect to ")
    return cannot + where or said


def _is_away(said: str) -> bool:
    """Whether there was no answer at all; what broke off in its middle is another matter."""
    return said.startswith("cannot connect to ") or ": no answer within " in said
