"""Every refusal, in one tree. A code is public API and is never renamed.

KeywrightError
├── Refused                 the request is understood and not granted (4xx)
│   ├── Invalid             422, something in the request is wrong
│   ├── NotFound            404
│   ├── Unauthorized        401
│   ├── Forbidden           403
│   ├── Conflict            409
│   ├── TooLarge            413
│   ├── TooMany             429
│   ├── BadSignature        400
│   ├── Unsupported         422, the provider cannot do it
│   └── Unreadable          400, authentic but not readable
├── Unavailable             503, nothing was stored: try again
├── ProviderUnavailable     502
├── Unproven                a signature that cannot be checked yet; never leaves the intake
└── Misconfigured           refused at start
    └── Disconnected        a connected account that we may not act for any more
"""

from __future__ import annotations


class KeywrightError(Exception):
    """`code` is stable and upper-case, `detail` is for people, `status` is the HTTP status."""

    code = "INTERNAL"
    status = 500

    def __init__(self, detail: str, *, code: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        if code is not None:
            self.code = code


class Refused(KeywrightError):
    code = "REFUSED"
    status = 400


class Invalid(Refused):
    code = "INVALID"
    status = 422


class NotFound(Refused):
    code = "NOT_FOUND"
    status = 404


class Unauthorized(Refused):
    code = "UNAUTHORIZED"
    status = 401


class Forbidden(Refused):
    code = "FORBIDDEN"
    status = 403


class Conflict(Refused):
    code = "CONFLICT"
    status = 409


class TooLarge(Refused):
    code = "TOO_LARGE"
    status = 413


class TooMany(Refused):
    code = "TOO_MANY_REQUESTS"
    status = 429


class BadSignature(Refused):
    code = "BAD_SIGNATURE"


class Unsupported(Refused):
    """The provider has no such thing. The detail says what to do instead."""

    code = "UNSUPPORTED_BY_PROVIDER"
    status = 422


class Unreadable(Refused):
    code = "UNREADABLE"


class Unavailable(KeywrightError):
    code = "UNAVAILABLE"
    status = 503


class ProviderUnavailable(KeywrightError):
    code = "PROVIDER_UNAVAILABLE"
    status = 502


class Unproven(KeywrightError):
    """What proves the signature, a certificate, is not at hand."""

    code = "UNPROVEN"
    status = 503


class Misconfigured(KeywrightError):
    code = "MISCONFIGURED"


class Disconnected(Misconfigured):
    """The provider lets the platform act for this connected account no longer."""

    code = "ACCOUNT_DISCONNECTED"


class MailRefused(KeywrightError):
    """The mail can never be delivered to this address."""

    code = "MAIL_REFUSED"


class MailDelayed(KeywrightError):
    """The mail could not be handed over now."""

    code = "MAIL_DELAYED"
