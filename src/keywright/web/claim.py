"""The cookies of the storefront: which browser bought, and which one was given an order form.

Over https a cookie is for the whole host (`rooted.py`). The claim then carries its checkout in the name,
because a path cannot tell one from another any more.
"""

from __future__ import annotations

from typing import Final

from litestar.datastructures import Cookie

from keywright.flows.context import Context
from keywright.web.rooted import Web, cookie, cookie_name, is_secure, root_of

_CLAIM: Final = "keywright_claim"
_FORM: Final = "keywright_form"
_CLAIM_SECONDS: Final = 14 * 86400  # a bank debit takes days to settle, and the key is shown after that


def claim_of(context: Context, request: Web, reference: str) -> str | None:
    """The claim token that this browser holds for a checkout, if any."""
    return request.cookies.get(_claim_name(context, reference))


def claim_cookie(context: Context, reference: str, token: str) -> Cookie:
    """What makes the browser that bought known again."""
    path = f"{root_of(context)}/checkout/{reference}"
    return cookie(context, _claim_name(context, reference), token, path=path, max_age=_CLAIM_SECONDS)


def form_of(context: Context, request: Web) -> str:
    """What the order form of this browser is bound to; empty when it has none."""
    return request.cookies.get(cookie_name(context, _FORM), "")


def form_cookie(context: Context, value: str) -> Cookie:
    """For as long as the browser is open."""
    path = f"{root_of(context)}/buy"
    return cookie(context, cookie_name(context, _FORM), value, path=path, max_age=None)


def _claim_name(context: Context, reference: str) -> str:
    return cookie_name(context, f"{_CLAIM}_{reference}" if is_secure(context) else _CLAIM)
