"""What is about the customer himself: his address, and that he is forgotten."""

from __future__ import annotations

from typing import Any, Final

from litestar import Response, get, post
from litestar.params import FromPath

from keywright.domain.errors import Conflict
from keywright.flows import portal_address, portal_data
from keywright.flows.portal_sign_in import LINK_LIVES, Visitor
from keywright.web.portal.gate import Gate, Web
from keywright.web.portal.licenses import PATH, perform
from keywright.web.portal.sign_in import LARGEST_FORM, redirect
from keywright.web.storefront.pages import Pages

ERASE: Final = "erase my data"
"""What has to be typed."""

_YOU: Final = "/portal/you"
_GONE: Final = 410


def routes(pages: Pages, gate: Gate) -> list[Any]:
    """`/portal/you`, what is posted beneath it, and the link to a new address."""

    @get(_YOU, include_in_schema=False)
    async def you(request: Web) -> Response[Any]:
        visitor = await gate.visitor_of(request)
        if visitor is None:
            return redirect(f"{pages.root}/portal")
        return _page(pages, gate, request, visitor)

    return [you, _moving(pages, gate), *_confirming(pages, gate), _erasing(pages, gate)]


def _moving(pages: Pages, gate: Gate) -> Any:
    @post(f"{_YOU}/address", status_code=200, include_in_schema=False, request_max_body_size=LARGEST_FORM)
    async def move(request: Web) -> Response[Any]:
        session = gate.session_of(request)

        def act(visitor: Visitor, form: dict[str, str]) -> Visitor:
            portal_address.ask(gate.context, visitor, form.get("email", ""), session)
            return visitor

        def told(visitor: Visitor) -> Response[Any]:
            minutes = int(LINK_LIVES.total_seconds() // 60)
            notice = (
                f"A link is on its way to the new address. Open it in this browser within {minutes} minutes."
            )
            return _page(pages, gate, request, visitor, notice=notice)

        return await perform(pages, gate, request, "address", act, told, _refused(pages, gate, request))

    return move


def _confirming(pages: Pages, gate: Gate) -> list[Any]:
    path = "/portal/address/{secret:str}"

    @get(path, include_in_schema=False)
    async def confirm(request: Web, secret: FromPath[str]) -> Response[Any]:
        visitor, session = await gate.visitor_of(request), gate.session_of(request)
        if visitor is None:
            return pages.render(
                "portal_address.html", status=_GONE, refer=True, good=False, secret="", check=""
            )
        gate.count_act(visitor)
        good = await gate.run(lambda: portal_address.is_good(gate.context, visitor, secret, session))
        return pages.render(
            "portal_address.html",
            status=200 if good else _GONE,
            refer=True,
            good=good,
            secret=secret if good else "",
            check=gate.check_of(session),
        )

    @post(path, status_code=200, include_in_schema=False, request_max_body_size=LARGEST_FORM)
    async def move(request: Web, secret: FromPath[str]) -> Response[Any]:
        session = gate.session_of(request)

        def act(visitor: Visitor, _form: dict[str, str]) -> str:
            return portal_address.confirm(gate.context, visitor, secret, session)

        def done(fresh: str) -> Response[Any]:
            response = redirect(f"{pages.root}{PATH}?done=address")
            response.cookies.append(gate.session_cookie(fresh))
            return response

        return await perform(pages, gate, request, "address", act, done, _refused(pages, gate, request))

    return [confirm, move]


def _erasing(pages: Pages, gate: Gate) -> Any:
    @post(f"{_YOU}/erase", status_code=200, include_in_schema=False, request_max_body_size=LARGEST_FORM)
    async def erase(request: Web) -> Response[Any]:
        def act(visitor: Visitor, form: dict[str, str]) -> None:
            if " ".join(form.get("sure", "").lower().split()) != ERASE:
                raise Conflict("The words were not typed.", code="NOT_CONFIRMED")
            portal_data.erase(gate.context, visitor)

        def done(_: None) -> Response[Any]:
            response = pages.render("portal_erased.html")
            response.cookies.append(gate.session_cookie(""))
            return response

        return await perform(pages, gate, request, "erase", act, done, _refused(pages, gate, request))

    return erase


def _refused(pages: Pages, gate: Gate, request: Web) -> Any:
    def refused(visitor: Visitor, problem: str, status: int) -> Response[Any]:
        return _page(pages, gate, request, visitor, problem=problem, status=status)

    return refused


def _page(
    pages: Pages,
    gate: Gate,
    request: Web,
    visitor: Visitor,
    *,
    notice: str = "",
    problem: str = "",
    status: int = 200,
) -> Response[str]:
    return pages.render(
        "portal_you.html",
        status=status,
        refer=True,
        email=visitor.email,
        erase=ERASE,
        notice=notice,
        problem=problem,
        check=gate.check_of(gate.session_of(request)),
    )
