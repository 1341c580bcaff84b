"""Refusals of the Kubernetes API as our errors: which class, and the API's own sentence."""

# ruff: noqa: E501 - one row of a table, one line

import json

import pytest

from agentrun_operator import errors, kube
from agentrun_operator.kube import refusal as refusals


def refusal(message: str, reason: str = "") -> bytes:
    """A Status object as the API server sends it."""
    return json.dumps({"kind": "Status", "status": "Failure", "message": message, "reason": reason}).encode()


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (400, "BadRequest", errors.RejectedError),
        (401, "Unauthorized", errors.UnavailableError),
        (403, "Forbidden", errors.RejectedError),
        (404, "NotFound", errors.NotFoundError),
        (404, "", errors.UnavailableError),
        (405, "MethodNotAllowed", errors.RejectedError),
        (408, "Timeout", errors.UnavailableError),
        (409, "AlreadyExists", errors.AlreadyExistsError),
        (409, "Conflict", errors.ConflictError),
        (409, "", errors.ConflictError),
        (410, "Expired", errors.UnavailableError),
        (413, "RequestEntityTooLarge", errors.RejectedError),
        (422, "Invalid", errors.RejectedError),
        (429, "TooManyRequests", errors.UnavailableError),
        (500, "InternalError", errors.UnavailableError),
        (502, "", errors.UnavailableError),
        (503, "ServiceUnavailable", errors.UnavailableError),
        (504, "Timeout", errors.UnavailableError),
        (599, "", errors.UnavailableError),
    ],
)
def test_the_class_says_whether_to_try_again(status: int, reason: str, kind: type[errors.ApiError]) -> None:
    """What is wrong with the request is Rejected; what may pass is Unavailable; 409 has two meanings."""
    error = kube.api_error(status, refusal("No.", reason))
    assert type(error) is kind
    assert (str(error), error.status, error.reason) == ("No.", status, reason)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (refusal('jobs.batch "a" already exists'), 'jobs.batch "a" already exists'),
        (b"", "HTTP 503"),
        (b"upstream connect error", "HTTP 503: “upstream connect error”"),
        (b"<html><h1>Bad  Gateway</h1></html>", "HTTP 503: “Bad Gateway”"),
        (b"caf\xe9", "HTTP 503: “caf\ufffd”"),
        (b"[1]", "HTTP 503: “[1]”"),
        (b"null", "HTTP 503: “null”"),
        (b"{}", "HTTP 503"),
        (b'{"message": null}', "HTTP 503"),
        (b'{"message": 5}', "5"),
        (b'{"message": "cut', "HTTP 503"),
    ],
)
def test_a_body_that_is_no_status_object_is_quoted(body: bytes, message: str) -> None:
    """Proxies answer as they like; there is always a sentence, and never a second error."""
    error = kube.api_error(503, body)
    assert isinstance(error, errors.UnavailableError)
    assert str(error) == message
    assert error.reason == ""


def test_a_long_page_is_cut() -> None:
    """A sentence stays a sentence, whatever a proxy sends."""
    error = kube.api_error(502, b"x" * 100_000)
    assert str(error).startswith("HTTP 502: “xxx")
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (
            'jobs.batch is forbidden: User "op" cannot create resource "jobs" in API group "batch"',
            errors.ForbiddenError,
        ),
        ('pods "a" is forbidden: exceeded quota: none', errors.RejectedError),
        ('admission webhook "x" denied the request: User "op" cannot do that', errors.RejectedError),
        ("", errors.RejectedError),
    ],
)
def test_only_a_role_forbids(message: str, kind: type[errors.ApiError]) -> None:
    """Roles may come later; quotas and policies refuse this very object."""
    assert type(kube.api_error(403, refusal(message, "Forbidden"))) is kind
    assert not isinstance(kube.api_error(422, refusal(message, "Forbidden")), errors.ForbiddenError)


FAILED_TEST = "the server rejected our request due to an error in our request"


@pytest.mark.parametrize(
    ("status", "message", "conflict"),
    [
        (422, FAILED_TEST, True),
        (422, 'AgentRun.paperclip.io "a" is invalid: status.phase: Unsupported value', False),
        (400, FAILED_TEST, False),
    ],
)
def test_the_failed_test_of_a_patch_is_a_conflict(status: int, message: str, *, conflict: bool) -> None:
    """Told in our words; every other refusal stays what it is."""
    found = refusals.failed_test(errors.RejectedError(message, status=status), "Job a has changed")
    assert (found is not None) is conflict
    assert found is None or (str(found), found.status) == ("Job a has changed", status)
