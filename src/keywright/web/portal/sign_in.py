"""The portal's door: ask for a link, confirm it, sign out."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from keywright.flows import portal_sign_in
from keywright.flows.portal_sign_in import Standing
from keywright.web.portal.gate import Gate, Web, fresh_browser
from keywright.web.storefront.pages import Pages

LARGEST_FORM: Final = 8 * 1024
_HOME: Final = "/portal/licenses"
_GONE: Final = 410
_FORBIDDEN: Final = 403


def routes(pages: Pages, gate: Gate) -> list[Any]:
    """`/portal`, `/portal/link/{secret}`, `/portal/leave`."""
    return [*_asking(pages, gate), *_confirming(pages, gate), _leaving(pages, gate)]


def _asking(pages: Pages, gate: Gate) -> list[Any]:
    @get("/portal", include_in_schema=False)
    async def form(request: Web) -> Response[Any]:
        if await gate.visitor_of(request) is not None:
            return redirect(f"{pages.root}{_HOME}")
        browser = gate.browser_of(request) or fresh_browser()
        response = pages.render("portal_ask.html", refer=True, check=gate.check_of(browser))
        response.cookies.append(gate.browser_cookie(browser))
        return response

    @post("/portal", status_code=200, include_in_schema=False, request_max_body_size=LARGEST_FORM)
    async def ask(request: Web) -> Response[Any]:
        browser = gate.browser_of(request)
        told = await gate.form_of(request, browser)
        await gate.ask(request, told.get("email", ""), browser)
        return pages.render("portal_asked.html", minutes=_minutes())

    return [form, ask]


def _confirming(pages: Pages, gate: Gate) -> list[Any]:
    @get("/portal/link/{secret:str}", include_in_schema=False)
    async def confirm(request: Web, secret: FromPath[str]) -> Response[Any]:
        standing = await gate.look(request, secret)
        if standing != "good":
            return await _no_good(pages, gate, request, standing)
        check = gate.check_of(gate.browser_of(request))
        return pages.render("portal_confirm.html", refer=True, check=check, secret=secret)

    @post(
        "/portal/link/{secret:str}",
        status_code=200,
        include_in_schema=False,
        request_max_body_size=LARGEST_FORM,
    )
    async def enter(request: Web, secret: FromPath[str]) -> Response[Any]:
        browser = gate.browser_of(request)
        if not browser:
            return await _no_good(pages, gate, request, "elsewhere")
        await gate.form_of(request, browser)
        standing, session = await gate.enter(request, secret)
        if not session:
            return await _no_good(pages, gate, request, standing)
        response = redirect(f"{pages.root}{_HOME}")
        response.cookies.append(gate.session_cookie(session))
        return response

    return [confirm, enter]


def _leaving(pages: Pages, gate: Gate) -> Any:
    @post("/portal/leave", status_code=200, include_in_schema=False, request_max_body_size=LARGEST_FORM)
    async def leave(request: Web) -> Response[Any]:
        session = gate.session_of(request)
        await gate.form_of(request, session)
        await gate.run(lambda: portal_sign_in.leave(gate.context, session))
        response = redirect(f"{pages.root}/portal")
        response.cookies.append(gate.session_cookie(""))
        return response

    return leave


async def _no_good(pages: Pages, gate: Gate, request: Web, standing: Standing) -> Response[Any]:
    """A link that lets nobody in here. Whoever is in already, by a button pressed twice, goes on."""
    if await gate.visitor_of(request) is not None:
        return redirect(f"{pages.root}{_HOME}")
    status = _FORBIDDEN if standing == "elsewhere" else _GONE
    return pages.render("portal_link.html", status=status, standing=standing, minutes=_minutes())


def redirect(path: str) -> Response[Any]:
    """After a form: on to a page that can be loaded again. None of it is kept."""
    return Redirect(path, status_code=303, headers={"cache-control": "no-store"})


def _minutes() -> int:
    return int(portal_sign_in.LINK_LIVES.total_seconds() // 60)
