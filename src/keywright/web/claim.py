"""The cookies of the storefront: which browser bought, and which one was given an order form.

Over https their names begin with `__Host-`: browsers take such a cookie from this very host alone, with
Secure and for the whole host, so no neighboring host can plant one. The claim then carries its checkout in
the name, because a path cannot tell one from another any more.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Request
from litestar.datastructures import Cookie

_CLAIM: Final = "keywright_claim"
_FORM: Final = "keywright_form"
_CLAIM_SECONDS: Final = 14 * 86400  # a bank debit takes days to settle, and the key is shown after that

Web = Request[Any, Any, Any]


def claim_of(base_url: str, request: Web, reference: str) -> str | None:
    """The claim token that this browser holds for a checkout, if any."""
    return request.cookies.get(_claim_name(base_url, reference))


def claim_cookie(base_url: str, reference: str, token: str) -> Cookie:
    """What makes the browser that bought known again."""
    path = f"/checkout/{reference}"
    return _cookie(base_url, _claim_name(base_url, reference), token, path, max_age=_CLAIM_SECONDS)


def form_of(base_url: str, request: Web) -> str:
    """What the order form of this browser is bound to; empty when it has none."""
    return request.cookies.get(_hosted(base_url, _FORM), "")


def form_cookie(base_url: str, value: str) -> Cookie:
    """For as long as the browser is open."""
    return _cookie(base_url, _hosted(base_url, _FORM), value, "/buy", max_age=None)


def _claim_name(base_url: str, reference: str) -> str:
    return _hosted(base_url, f"{_CLAIM}_{reference}") if _is_secure(base_url) else _CLAIM


def _hosted(base_url: str, name: str) -> str:
    return f"__Host-{name}" if _is_secure(base_url) else name


def _cookie(base_url: str, name: str, value: str, path: str, *, max_age: int | None) -> Cookie:
    secure = _is_secure(base_url)
    return Cookie(
        name,
        value=value,
        path="/" if secure else path,
        max_age=max_age,
        httponly=True,
        secure=secure,
        samesite="lax",
    )


def _is_secure(base_url: str) -> bool:
    return base_url.startswith("https://")
