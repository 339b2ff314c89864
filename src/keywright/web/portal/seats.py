"""More seats, or fewer: the number first, then what it costs, then the change."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from keywright.delivery.wording import day
from keywright.domain.errors import Conflict, Invalid
from keywright.flows import billing, portal
from keywright.flows.portal import HeldLicense
from keywright.flows.portal_sign_in import Visitor
from keywright.ports import Preview
from keywright.web.portal import words
from keywright.web.portal.gate import Gate, Web
from keywright.web.portal.licenses import PATH, REFUSALS, check_ids, go, perform
from keywright.web.portal.sign_in import LARGEST_FORM, redirect
from keywright.web.storefront.pages import Pages
from keywright.web.storefront.words import money

_NUMBER: Final = re.compile(r"[0-9]{1,6}")
_AMOUNT: Final = re.compile(r"-?[0-9]{1,15}")


class ShownCost(msgspec.Struct, frozen=True):
    """`expected`: `due_now` as a number, which the change is held to. `credit`: it is given back."""

    quantity: int
    due: str
    credit: bool
    expected: int
    next: str
    when: str


def routes(pages: Pages, gate: Gate) -> list[Any]:
    """`/portal/licenses/{id}/seats`: the page, with a price when it names a number; and the change."""

    @get(f"{PATH}/{{license_id:str}}/seats", include_in_schema=False)
    async def look(request: Web, license_id: FromPath[str], quantity: FromQuery[str] = "") -> Response[Any]:
        check_ids(license_id)
        visitor = await gate.visitor_of(request)
        if visitor is None:
            return redirect(f"{pages.root}/portal")
        held = await gate.run(lambda: portal.get_held(gate.context, visitor, license_id))
        if not quantity:
            return _page(pages, gate, request, held)
        gate.count_act(visitor)
        try:
            wanted = _quantity(quantity)
            told = await gate.run(lambda: portal.preview_seats(gate.context, visitor, license_id, wanted))
        except REFUSALS as error:
            problem = words.refusal("seats", error, gate.context.tenant.name)
            return _page(pages, gate, request, held, quantity=quantity, problem=problem, status=error.status)
        return _page(pages, gate, request, held, quantity=quantity, cost=_cost(told, wanted))

    @post(
        f"{PATH}/{{license_id:str}}/seats",
        status_code=200,
        include_in_schema=False,
        request_max_body_size=LARGEST_FORM,
    )
    async def change(request: Web, license_id: FromPath[str]) -> Response[Any]:
        check_ids(license_id)

        def act(visitor: Visitor, form: dict[str, str]) -> str:
            wanted, expected = _quantity(form.get("quantity", "")), form.get("expected", "")
            if not _AMOUNT.fullmatch(expected):
                raise Conflict("Look at the price first.", code="PREVIEW_CHANGED")
            url = portal.change_seats(
                gate.context, visitor, license_id, wanted, int(expected), form.get("once", "")
            )
            return url or f"{pages.root}{PATH}?done=seats&held={license_id}&number={wanted}"

        return await perform(pages, gate, request, "seats", act, lambda target: go(pages, target))

    return [look, change]


def _page(
    pages: Pages,
    gate: Gate,
    request: Web,
    held: HeldLicense,
    *,
    quantity: str = "",
    cost: ShownCost | None = None,
    problem: str = "",
    status: int = 200,
) -> Response[str]:
    shown = words.shown(held, gate.context.tenant.name, gate.context.clock.now())
    keys = held.plan is not None and held.plan.plan.terms.quantity == "keys"
    return pages.render(
        "portal_seats.html",
        status=status,
        refer=True,
        license=shown,
        now=held.quantity,
        quantity=quantity[:6] or str((held.quantity or 0) + 1),
        label="Keys in all" if keys else "Quantity in all",
        per=held.plan.plan.terms.seats_per_unit if held.plan is not None and not keys else 1,
        most=billing.MOST,
        cost=cost,
        problem=problem,
        once=secrets.token_urlsafe(24),
        check=gate.check_of(gate.session_of(request)),
    )


def _cost(told: Preview, quantity: int) -> ShownCost:
    return ShownCost(
        quantity=quantity,
        due=money(abs(told.due_now), told.currency),
        credit=told.due_now < 0,
        expected=told.due_now,
        next=money(told.next_amount, told.currency),
        when=day(told.next_at) if told.next_at is not None else "",
    )


def _quantity(text: str) -> int:
    if not _NUMBER.fullmatch(text.strip()) or not 1 <= int(text) <= billing.MOST:
        raise Invalid("Not a number of seats.", code="QUANTITY_INVALID")
    return int(text)
