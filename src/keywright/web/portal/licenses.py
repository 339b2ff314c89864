"""The customer's licenses, and what he can do about them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import Conflict, Invalid, ProviderUnavailable, Unsupported
from keywright.flows import portal
from keywright.flows.license_views import unknown_license
from keywright.flows.portal_sign_in import Visitor
from keywright.flows.return_urls import origin_of
from keywright.web.portal import words
from keywright.web.portal.gate import Form, Gate, Web
from keywright.web.portal.sign_in import LARGEST_FORM, redirect
from keywright.web.storefront.pages import Pages

T = TypeVar("T")
_NUMBER: Final = re.compile(r"[0-9]{1,6}")
_ID: Final = re.compile(r"[a-z]{3}_[0-9a-z_]{1,64}")
PATH: Final = "/portal/licenses"
REFUSALS: Final = (Unsupported, Conflict, Invalid, ProviderUnavailable)


def routes(pages: Pages, gate: Gate) -> list[Any]:
    """`/portal/licenses` and what is posted beneath it."""

    @get(PATH, include_in_schema=False)
    async def licenses(
        request: Web,
        after: FromQuery[str] = "",
        done: FromQuery[str] = "",
        held: FromQuery[str] = "",
        number: FromQuery[str] = "",
    ) -> Response[Any]:
        visitor = await gate.visitor_of(request)
        if visitor is None:
            return redirect(f"{pages.root}/portal")
        awaited = (held, int(number)) if _NUMBER.fullmatch(number) else ("", 0)
        notice = words.DONE.get(done, "")
        return await _page(pages, gate, request, visitor, after=after, notice=notice, awaited=awaited)

    return [
        licenses,
        _freeing(pages, gate),
        *(_acting(pages, gate, name) for name in _ACTS),
        _managing(pages, gate),
    ]


def _freeing(pages: Pages, gate: Gate) -> Any:
    @post(
        f"{PATH}/{{license_id:str}}/machines/{{machine:str}}/free",
        status_code=200,
        include_in_schema=False,
        request_max_body_size=LARGEST_FORM,
    )
    async def free(request: Web, license_id: FromPath[str], machine: FromPath[str]) -> Response[Any]:
        check_ids(license_id, machine)

        def act(visitor: Visitor) -> str:
            portal.free_machine(gate.context, visitor, license_id, machine)
            return f"{pages.root}{PATH}?done=freed"

        return await _do(pages, gate, request, "free", act)

    return free


_ACTS: Final[dict[str, tuple[str, Callable[..., None]]]] = {
    "resend": ("sent", portal.send_key),
    "stop": ("stopped", portal.stop_renewal),
    "resume": ("resumed", portal.renew_after_all),
}


def _acting(pages: Pages, gate: Gate, name: str) -> Any:
    done, call = _ACTS[name]

    @post(
        f"{PATH}/{{license_id:str}}/{name}",
        status_code=200,
        include_in_schema=False,
        request_max_body_size=LARGEST_FORM,
    )
    async def act(request: Web, license_id: FromPath[str]) -> Response[Any]:
        check_ids(license_id)

        def run(visitor: Visitor) -> str:
            call(gate.context, visitor, license_id)
            return f"{pages.root}{PATH}?done={done}"

        return await _do(pages, gate, request, name, run, mails=license_id if name == "resend" else "")

    return act


def _managing(pages: Pages, gate: Gate) -> Any:
    @post(
        f"{PATH}/{{license_id:str}}/manage",
        status_code=200,
        include_in_schema=False,
        request_max_body_size=LARGEST_FORM,
    )
    async def manage(request: Web, license_id: FromPath[str]) -> Response[Any]:
        check_ids(license_id)

        def act(visitor: Visitor) -> str:
            return portal.payment_page(gate.context, visitor, license_id)

        return await _do(pages, gate, request, "manage", act)

    return manage


async def _do(
    pages: Pages, gate: Gate, request: Web, doing: str, act: Callable[[Visitor], str], *, mails: str = ""
) -> Response[Any]:
    """As `perform`, for acts without fields, which lead somewhere."""
    return await perform(
        pages,
        gate,
        request,
        doing,
        lambda visitor, _form: act(visitor),
        lambda target: go(pages, target),
        mails=mails,
    )


async def perform(
    pages: Pages,
    gate: Gate,
    request: Web,
    doing: str,
    act: Callable[[Visitor, Form], T],
    answer: Callable[[T], Response[Any]],
    refused: Callable[[Visitor, str, int], Response[Any]] | None = None,
    *,
    mails: str = "",
) -> Response[Any]:
    """Run an act of whoever is signed in, and answer with what came of it. A refusal is told on the page of
    the licenses, or as `refused` does, with what to do instead. `mails`: the license whose key it sends."""
    visitor = await gate.visitor_of(request)
    if visitor is None:
        return redirect(f"{pages.root}/portal")
    form = await gate.form_of(request, gate.session_of(request))
    gate.count_act(visitor)
    if mails:
        gate.count_key(visitor, mails)
    try:
        done = await gate.run(lambda: act(visitor, form))
    except REFUSALS as error:
        problem = words.refusal(doing, error, gate.context.tenant.name)
        if refused is not None:
            return refused(visitor, problem, error.status)
        return await _page(pages, gate, request, visitor, problem=problem, status=error.status)
    return answer(done)


def go(pages: Pages, target: str) -> Response[Any]:
    """On to a page of ours, or to the provider's."""
    known = {origin_of(origin) for origin in pages.context.policy.pay_origins}
    if target.startswith("/") or origin_of(target) in known:
        return redirect(target)
    if origin_of(target) is None:
        raise ProviderUnavailable("The payment provider's answer holds no address.")
    # A form may redirect to us and to the pay pages alone; a page of ours may lead anywhere.
    return pages.render("portal_away.html", url=target)


async def _page(
    pages: Pages,
    gate: Gate,
    request: Web,
    visitor: Visitor,
    *,
    after: str = "",
    notice: str = "",
    problem: str = "",
    status: int = 200,
    awaited: tuple[str, int] = ("", 0),
) -> Response[str]:
    """The page. `awaited`: of which license another number was asked for, and which."""
    if after:
        check_ids(after)
    context = gate.context
    found = await asyncio.to_thread(portal.list_held, context, visitor, after=after or None)
    now = context.clock.now()
    license_id, number = awaited
    shown = [
        words.shown(one, context.tenant.name, now, number if one.license.id == license_id else 0)
        for one in found.items
    ]
    waits = any(one.awaited for one in shown)
    if license_id and not waits and notice == words.DONE["seats"]:
        notice = words.ARRIVED
    return pages.render(
        "portal_licenses.html",
        status=status,
        refer=True,
        email=visitor.email,
        licenses=shown,
        waits=waits,
        older=found.after,
        first=not after,
        notice=notice,
        problem=problem,
        check=gate.check_of(gate.session_of(request)),
    )


def check_ids(*ids: str) -> None:
    """Raises NotFound for what is no id of ours, as for one that leads nowhere."""
    if not all(_ID.fullmatch(one) for one in ids):
        raise unknown_license()
