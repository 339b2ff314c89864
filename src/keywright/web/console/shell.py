"""How a page of the console leaves: with its navigation, under the strictest policy, kept by nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import structlog
from litestar import Response
from litestar.exceptions import HTTPException
from litestar.response import Redirect, Stream

from keywright.domain.errors import KeywrightError, Unavailable
from keywright.domain.staff import Deed, may
from keywright.flows.staff_sessions import Signed
from keywright.store.engine import is_away
from keywright.web.console.gate import Gate, ProofNeeded, SignInNeeded, Web
from keywright.web.storefront.pages import Pages

log = structlog.get_logger(__name__)

_NAVIGATION: Final[tuple[tuple[str, str, Deed], ...]] = (
    ("/console", "Home", "look"),
    ("/console/licenses", "Licenses", "look"),
    ("/console/events", "Events", "look"),
    ("/console/mail", "Mail", "look"),
    ("/console/work", "Work", "look"),
    ("/console/reconcile", "Reconcile", "look"),
    ("/console/imports", "Imports", "look"),
)
# What one goes to now and then stands in a menu, so that the header leaves the screen to the page.
_SET_UP: Final[tuple[tuple[str, str, Deed], ...]] = (
    ("/console/catalog", "Catalog", "look"),
    ("/console/keys", "Keys", "look"),
    ("/console/webhooks", "Webhooks", "decide"),
    ("/console/looks", "Mail look", "look"),
    ("/console/settings", "Settings", "decide"),
    ("/console/audit", "Audit", "decide"),
    ("/console/staff", "Staff", "decide"),
    ("/console/seats", "Add licenses", "decide"),
    ("/console/tenants", "Tenants", "decide"),
    ("/console/provisioning", "Provisioning", "decide"),
)
# What belongs to the installation and to no tenant: for the people who keep it.
_INSTALLATIONS: Final = frozenset({"/console/work", "/console/tenants", "/console/provisioning"})
# And what only a tenant has that buys from another one.
_BUYERS: Final = frozenset({"/console/seats"})


class Shell:
    """Renders the pages of one gate."""

    def __init__(self, pages: Pages, gate: Gate) -> None:
        self.gate = gate
        self.context = gate.context
        self._pages = pages

    def door(self, template: str, *, cookie: str, status: int = 200, **values: Any) -> Response[Any]:
        """A page for somebody who is not signed in. `cookie`: what its form is bound to."""
        check = self.gate.check_of(cookie) if cookie else ""
        return self._pages.render(template, status=status, refer=True, check=check, signed=None, **values)

    def page(self, request: Web, template: str, *, status: int = 200, **values: Any) -> Response[Any]:
        """A page for somebody who is signed in."""
        signed: Signed | None = request.scope.get("auth")
        role = signed.staff.role if signed is not None else ""
        if signed is not None:
            values["seller"] = signed.tenant.name
        away = _BUYERS if signed is not None and signed.tenant.is_master else _INSTALLATIONS
        return self._pages.render(
            template,
            status=status,
            refer=True,
            check=self.gate.check_of(self.gate.session_of(request)),
            signed=signed,
            here=request.url.path,
            navigation=[
                (path, name) for path, name, deed in _NAVIGATION if may(role, deed) and path not in away
            ],
            set_up=[(path, name) for path, name, deed in _SET_UP if may(role, deed) and path not in away],
            may=lambda deed: may(role, deed),
            **values,
        )

    def file(self, name: str, kind: str, content: AsyncIterator[bytes]) -> Response[Any]:
        """A file to keep, as long as it may be: it leaves piece by piece."""
        headers = {**self._pages.headers(), "content-disposition": f'attachment; filename="{name}"'}
        return Stream(content, media_type=kind, headers=headers)

    def go(self, path: str) -> Response[Any]:
        """After a form: on to a page that can be loaded again."""
        return Redirect(path, status_code=303, headers=self._pages.headers())

    def refused(self, request: Web, error: Exception) -> Response[Any]:
        """A refusal, for people. Whoever is not signed in is led to the sign-in, from pages alone."""
        reading = request.method == "GET"
        if isinstance(error, SignInNeeded) and reading:
            return self.go(self.gate.door_of(request))
        if isinstance(error, ProofNeeded):
            # A form is not sent again after the proof: the page that has it is asked for once more.
            has_form = reading or request.route_handler.opt.get("form", False)
            back = request.url.path if has_form else "/console/you"
            return self.go(f"/console/you/prove?onward={quote(back)}")
        known = _told(error)
        if known.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("console_failed", path=request.url.path, error=type(error).__qualname__, exc_info=error)
        title = "This page does not exist" if known.status == HTTPStatus.NOT_FOUND else "That did not work"
        response = self.page(
            request,
            "console_refused.html",
            status=known.status,
            title=title,
            detail=known.detail,
            code=known.code,
        )
        if known.retry_after is not None:
            response.headers["retry-after"] = str(known.retry_after)
        return response


def _told(error: Exception) -> KeywrightError:
    if isinstance(error, KeywrightError):
        return error
    if isinstance(error, HTTPException):
        made = KeywrightError(error.detail or "The request was refused.", code="REFUSED")
        # A parameter that does not fit is 422 with us.
        made.status = 422 if error.status_code == HTTPStatus.BAD_REQUEST else error.status_code
        return made
    if is_away(error):
        return Unavailable("The database does not answer. Please try again.", retry_after=5)
    return KeywrightError("Something went wrong on our side. It was logged.")
