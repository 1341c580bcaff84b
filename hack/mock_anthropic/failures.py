"""HTTP errors and rate-limit headers, by scenario. By the texts the CLI classifies an error: do not tidy them."""

import typing

from hack.mock_anthropic.answers import Failure

_INVALID = "invalid_request_error"
_LIMIT = "rate_limit_error"

ERRORS: typing.Final = {
    "error400": Failure(400, _INVALID, "messages.0.content: mock says this request is invalid"),
    "prompttoolong": Failure(400, _INVALID, "prompt is too long: 215432 tokens > 200000 maximum"),
    "maxtokens400": Failure(
        400,
        _INVALID,
        "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease input length or "
        "`max_tokens` and try again",
    ),
    "billing400": Failure(
        400,
        _INVALID,
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
        "purchase credits.",
    ),
    "error401": Failure(401, "authentication_error", "invalid x-api-key"),
    "oauth401": Failure(
        401,
        "authentication_error",
        "OAuth token has expired. Please obtain a new token or refresh your existing token.",
    ),
    "error402": Failure(402, "billing_error", "Your credit balance is too low."),
    "error403": Failure(
        403, "permission_error", "Your API key does not have permission to use the specified resource."
    ),
    "orgdisabled": Failure(400, _INVALID, "This organization has been disabled."),
    "badmodel": Failure(404, "not_found_error", "model: {model}"),
    "error413": Failure(413, "request_too_large", "Request exceeds the maximum size"),
    "error429": Failure(
        429,
        _LIMIT,
        "This request would exceed your organization's rate limit of 40,000 input tokens per minute.",
        {"retry-after": "1"},
    ),
    "error429norr": Failure(429, _LIMIT, "Number of request tokens has exceeded your per-minute rate limit"),
    "error429long": Failure(
        429,
        _LIMIT,
        "This request would exceed your account's rate limit. Please try again later.",
        {"retry-after": "3600"},
    ),
    "error429noretry": Failure(429, _LIMIT, "Rate limited, do not retry", {"x-should-retry": "false"}),
    "error500": Failure(500, "api_error", "Internal server error"),
    "error502": Failure(502, None, "<html><body><h1>502 Bad Gateway</h1></body></html>"),
    "error503": Failure(503, "api_error", "Service temporarily unavailable"),
    "error529": Failure(529, "overloaded_error", "Overloaded"),
}

# scenario -> (the error, how many requests of a conversation get it before all is well)
TRANSIENT: typing.Final = {
    "retry429ok": ("error429", 2),
    "retry529ok": ("error529", 2),
    "retry500ok": ("error500", 2),
    "retry401ok": ("error401", 1),
}

_PREFIX = "anthropic-ratelimit-unified-"


def no_such_model(model: str) -> Failure:
    return Failure(404, "not_found_error", f"model: {model}")


def usage_limit(now: int) -> Failure:
    """Return the 429 of a subscription whose five hours are used up."""
    headers = {
        "status": "rejected",
        "representative-claim": "five_hour",
        "reset": str(now + 3600),
        "5h-status": "rejected",
        "5h-reset": str(now + 3600),
        "5h-utilization": "1.0",
        "overage-status": "rejected",
        "overage-disabled-reason": "org_level_disabled",
    }
    return Failure(
        429,
        _LIMIT,
        "This request would exceed your account's rate limit. Please try again later.",
        {_PREFIX + name: value for name, value in headers.items()} | {"retry-after": "3600", "x-should-retry": "false"},
    )


def limit_headers(status: str, now: int) -> dict[str, str]:
    """Return the headers that a subscription's successful answer carries."""
    headers = {
        "status": status,
        "representative-claim": "five_hour",
        "reset": str(now + 3600),
        "5h-status": "allowed",
        "5h-reset": str(now + 3600),
        "5h-utilization": "0.93",
        "7d-status": "allowed_warning",
        "7d-reset": str(now + 90000),
        "7d-utilization": "0.80",
        "5h-surpassed-threshold": "0.9",
        "fallback-percentage": "0.5",
        "overage-status": "rejected",
        "overage-disabled-reason": "org_level_disabled",
    }
    return {_PREFIX + name: value for name, value in headers.items()}
