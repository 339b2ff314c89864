"""Where a tenant's pages begin, and the cookies that are his.

The master tenant's begin at `/`, every other tenant's at `/t/{slug}`. All of them share one host, and so one
jar in each browser: a cookie carries its tenant in the name, so that two shops in one browser go on side by
side and neither is ever taken for the other.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import Request
from litestar.datastructures import Cookie

from keywright.flows.context import Context

BENEATH: Final = "/t/"
"""What stands before a tenant's slug."""

HOSTED: Final = "__Host-"
"""Browsers take a cookie of such a name from this very host alone, with Secure and for the whole host."""

SESSION: Final = "keywright_session"
"""The name of a session of the portal."""

Web = Request[Any, Any, Any]


def root_of(context: Context) -> str:
    """What the path of every page of this context's tenant begins with; empty for the master tenant."""
    return "" if context.tenant.id == context.master.id else f"{BENEATH}{context.tenant.slug}"


def is_secure(context: Context) -> bool:
    """Whether browsers reach this server over https."""
    return context.policy.base_url.startswith("https://")


def cookie_name(context: Context, name: str) -> str:
    """A cookie's name for this tenant. By his id, which stays when he takes another address."""
    if context.tenant.id != context.master.id:
        name = f"{name}_{context.tenant.id}"
    return f"{HOSTED}{name}" if is_secure(context) else name


def cookie(context: Context, name: str, value: str, *, path: str = "/", max_age: int | None) -> Cookie:
    """A cookie of this tenant. `name`: from `cookie_name`. `path`: where it goes; over https, everywhere."""
    secure = is_secure(context)
    return Cookie(
        name,
        value=value,
        path="/" if secure else path,
        max_age=max_age,
        httponly=True,
        secure=secure,
        samesite="lax",
    )
