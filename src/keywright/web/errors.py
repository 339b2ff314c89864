"""Every refusal leaves as a problem document with a stable code; a bug leaves without its details."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from keywright.domain.errors import KeywrightError, NotFound, Unavailable
from keywright.store.engine import is_away
from keywright.web import wire

log = structlog.get_logger(__name__)

Refuse = Callable[[Request[Any, Any, Any], HTTPException], Response[Any]]

_CODES = {
    400: "INVALID",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "TOO_LARGE",
    429: "TOO_MANY_REQUESTS",
}


def refused(_request: Request[Any, Any, Any], error: KeywrightError) -> Response[bytes]:
    headers = {"retry-after": str(error.retry_after)} if error.retry_after is not None else {}
    if error.status >= 500:
        log.error("refused", code=error.code, detail=error.detail)
    return _response(wire.problem(error), error.status, headers)


def framework_refused(_request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What the framework refuses by itself: unknown routes, wrong methods, members that do not fit."""
    # A body that does not fit its schema is 422 with us, as the contract says.
    status = 422 if error.status_code == 400 else error.status_code
    code = "INVALID" if status == 422 else _CODES.get(status, "REFUSED")
    made = KeywrightError(_detail(error), code=code)
    made.status = status
    return _response(wire.problem(made), status, {})


def lost(page: Callable[[Request[Any, Any, Any], Exception], Response[Any]], *, api: str = "/api/") -> Refuse:
    """What the framework refuses, with `page` for an address that does not exist and a person at the browser.

    Programs get a problem document, and so does whatever asks below `api`.
    """

    def refused(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        looks = request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")
        if error.status_code != HTTPStatus.NOT_FOUND or not looks or request.url.path.startswith(api):
            return framework_refused(request, error)
        return page(request, NotFound("There is nothing at this address. It may be mistyped, or old."))

    return refused


def failed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    made = hidden(request.url.path, error)
    headers = {"retry-after": str(made.retry_after)} if made.retry_after is not None else {}
    return _response(wire.problem(made), made.status, headers)


def hidden(path: str, error: Exception) -> KeywrightError:
    """What the caller is told of an error that nobody foresaw; the operator finds it in the log."""
    if is_away(error):
        # One line and no traceback: while the database is away this is the answer to every request.
        log.warning("database_away", path=path, error=type(error).__qualname__)
        return Unavailable("The database does not answer. Please try again.", retry_after=5)
    log.error("unexpected_error", path=path, error=type(error).__qualname__, exc_info=error)
    return KeywrightError("Something went wrong on our side. It was logged.")


def _detail(error: HTTPException) -> str:
    extra = error.extra
    if isinstance(extra, list):
        parts = [
            f"{e.get('key', '')}: {e.get('message', '')}".strip(": ") for e in extra if isinstance(e, dict)
        ]
        if parts:
            return "; ".join(parts)
    return error.detail or "The request was refused."


def _response(body: dict[str, Any], status: int, headers: dict[str, str]) -> Response[bytes]:
    return Response(
        wire.encode(body), status_code=status, media_type="application/problem+json", headers=headers
    )
