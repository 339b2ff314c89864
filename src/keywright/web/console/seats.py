"""Add licenses: how many people may work here, what more would cost, and the change. For its own staff."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

import msgspec
from litestar import Response, get, post
from litestar.params import FromQuery

from keywright.delivery.wording import day
from keywright.domain.errors import Conflict, Invalid, KeywrightError, Refused
from keywright.flows import add_licenses, billing
from keywright.flows.operate import text_of
from keywright.ports import Preview
from keywright.web.console.gate import Web, act_of, needs, signed_of
from keywright.web.console.shell import Shell
from keywright.web.storefront.words import money

_PAGE: Final = "/console/seats"
_NUMBER: Final = re.compile(r"[0-9]{1,6}")
_AMOUNT: Final = re.compile(r"-?[0-9]{1,15}")
_DONE: Final = "The change is on its way. The number follows within seconds: load this page again."


class Cost(msgspec.Struct, frozen=True):
    """`expected`: `due_now` as a number, which the change is held to. `credit`: it is given back."""

    quantity: int
    due: str
    credit: bool
    expected: int
    next: str
    when: str


def routes(shell: Shell) -> list[Any]:
    """`/console/seats`: the number; with one that is asked for its price; and the change."""
    return [_look(shell), _change(shell)]


def _look(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @get(_PAGE, **needs(gate, "decide"))
    async def look(request: Web, quantity: FromQuery[str] = "", done: FromQuery[str] = "") -> Response[Any]:
        tenant = signed_of(request).staff.tenant_id
        if not quantity:
            return await _page(shell, request, notice=_DONE if done else "")
        gate.count_act(request)  # the provider is asked for each price
        try:
            wanted = _quantity(quantity)
            told = await gate.run(lambda: add_licenses.preview(context, tenant, wanted))
        except (Refused, KeywrightError) as error:
            return await _page(shell, request, quantity=quantity, error=error)
        return await _page(shell, request, quantity=quantity, cost=_cost(told, wanted))

    return look


def _change(shell: Shell) -> Any:
    gate, context = shell.gate, shell.context

    @post(_PAGE, status_code=200, **needs(gate, "govern", form=True))
    async def change(request: Web) -> Response[Any]:
        tenant, form = signed_of(request).staff.tenant_id, await gate.act_form(request)
        asked = form.get("quantity", "")
        try:
            wanted, expected = _quantity(asked), form.get("expected", "")
            if not _AMOUNT.fullmatch(expected):
                raise Conflict("Look at the price first.", code="PREVIEW_CHANGED")
            act = act_of(request, text_of("reason", form.get("reason", "")) or "")
            key = form.get("once", "")
            done = await gate.run(
                lambda: add_licenses.change(context, tenant, act, wanted, int(expected), key)
            )
        except (Refused, KeywrightError) as error:
            return await _page(shell, request, quantity=asked, error=error)
        return shell.go(done.approval_url or f"{_PAGE}?done=1")

    return change


async def _page(
    shell: Shell,
    request: Web,
    *,
    quantity: str = "",
    cost: Cost | None = None,
    error: KeywrightError | None = None,
    notice: str = "",
) -> Response[Any]:
    tenant = signed_of(request).staff.tenant_id
    seats = await shell.gate.run(lambda: add_licenses.show(shell.context, tenant))
    licensed = "Not counted" if seats.licensed is None else f"{seats.licensed:,}"
    facts = [("Licensed users", licensed), ("People who work here", f"{seats.used:,}")]
    over = seats.allowed is not None and seats.used > seats.allowed
    if seats.allowed is not None and seats.allowed != seats.licensed:
        facts.insert(1, ("Users allowed now", f"{seats.allowed:,}"))
    return shell.page(
        request,
        "console_seats.html",
        status=200 if error is None else min(error.status, 502),
        facts=facts,
        over=over,
        full=seats.allowed is not None and seats.used >= seats.allowed,
        now=seats.quantity,
        quantity=quantity[:6] or str(((seats.quantity or 0) // seats.each + 1) * seats.each),
        each=seats.each,
        most=billing.MOST,
        cost=cost,
        problem=error.detail if error is not None else "",
        notice=notice,
        once=secrets.token_urlsafe(24),
    )


def _cost(told: Preview, quantity: int) -> Cost:
    return Cost(
        quantity=quantity,
        due=money(abs(told.due_now), told.currency),
        credit=told.due_now < 0,
        expected=told.due_now,
        next=money(told.next_amount, told.currency),
        when=day(told.next_at) if told.next_at is not None else "",
    )


def _quantity(text: str) -> int:
    if not _NUMBER.fullmatch(text.strip()) or not 1 <= int(text) <= billing.MOST:
        raise Invalid(f"A number of 1 to {billing.MOST}.", code="QUANTITY_INVALID")
    return int(text)
