"""Exceptions and codes: what callers rely on when they catch or compare."""

import pytest

from agentrun_operator import errors


def test_an_invalid_run_carries_code_and_sentence() -> None:
    """Both end up in status.error."""
    error = errors.InvalidRunError(errors.ErrorCode.PROMPT_INVALID, "why")
    assert (error.code, str(error)) == ("prompt_invalid", "why")


@pytest.mark.parametrize(
    "kind",
    [
        errors.ApiError,
        errors.NotFoundError,
        errors.AlreadyExistsError,
        errors.ConflictError,
        errors.RejectedError,
        errors.UnavailableError,
    ],
)
def test_an_api_error_carries_status_reason_and_the_apis_sentence(kind: type[errors.ApiError]) -> None:
    """No answer at all is status 0."""
    error = kind("sentence", status=409, reason="AlreadyExists")
    assert (error.status, error.reason, str(error)) == (409, "AlreadyExists", "sentence")
    assert (kind("x").status, kind("x").reason) == (0, "")
    assert isinstance(error, errors.ApiError)


def test_what_may_succeed_later_is_never_caught_as_a_refusal() -> None:
    """Catching one of these must not catch another: they lead to opposite decisions."""
    kinds = [errors.NotFoundError, errors.AlreadyExistsError, errors.ConflictError, errors.RejectedError]
    kinds += [errors.UnavailableError]
    assert [(a, b) for a in kinds for b in kinds if a is not b and issubclass(a, b)] == []
