"""What the API server says when it refuses a request, as one of ``errors``."""

import re
from typing import Any

import msgspec

from agentrun_operator import errors
from agentrun_operator.forensics import messages

_FORBIDDEN = 403
_BY_ROLE = re.compile(r'\bUser "[^"]*" cannot [a-z]+ resource ')  # admission, quotas and policies speak otherwise
# What the API server says when the test operation of a JSON patch fails; a status that breaks the schema is described.
_UNPROCESSABLE = 422
_PATCH_TEST_FAILED = "the server rejected our request due to an error in our request"


def failed_test(error: errors.RejectedError, message: str) -> errors.ConflictError | None:
    """What the API server says when the test operation of a JSON patch fails; None for any other refusal."""
    if error.status == _UNPROCESSABLE and _PATCH_TEST_FAILED in str(error):
        return errors.ConflictError(message, status=error.status)
    return None


def api_error(status: int, body: bytes, *, retry_after: float = 0.0) -> errors.ApiError:
    """The exception for a refused request, with the API's own sentence, or what can be made of a proxy's page."""
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = messages.quote(body[:2000].decode(errors="replace"))
        answer = {"message": f"HTTP {status}: {said}"} if said else {}
    message, reason = str(answer.get("message") or f"HTTP {status}"), str(answer.get("reason") or "")
    kind = _error_class(status, reason)
    if status == _FORBIDDEN and _BY_ROLE.search(message):
        kind = errors.ForbiddenError
    if kind is errors.UnavailableError:
        return errors.UnavailableError(message, status=status, reason=reason, retry_after=retry_after)
    return kind(message, status=status, reason=reason)


def _error_class(status: int, reason: str) -> type[errors.ApiError]:
    by_status = {
        400: errors.RejectedError,
        403: errors.RejectedError,
        # Without the API server's own word for it, it may be a proxy in front of it that knows no such page.
        404: errors.NotFoundError if reason == "NotFound" else errors.UnavailableError,
        405: errors.RejectedError,
        409: errors.AlreadyExistsError if reason == "AlreadyExists" else errors.ConflictError,
        413: errors.RejectedError,
        422: errors.RejectedError,
    }
    return by_status.get(status, errors.UnavailableError)
