"""The result page: what became of a checkout, and the key for the browser that bought."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery

from keywright.delivery.wording import day
from keywright.domain.errors import NotFound, ProviderUnavailable, TooMany, Unauthorized, Unavailable
from keywright.flows import ordered
from keywright.flows.checkout import Standing
from keywright.flows.claiming import ClaimedLicense
from keywright.flows.ordered import Order
from keywright.flows.portal_sign_in import form_check
from keywright.web import claim, wire
from keywright.web.api.public import offers_of
from keywright.web.storefront import shelf
from keywright.web.storefront.pages import Pages
from keywright.web.storefront.words import every, full_name, money
from keywright.web.till import Till

_DONE: Final = {"mailed": "The mail with the key is on its way to you once more."}

Web = Request[Any, Any, Any]


def routes(pages: Pages, till: Till) -> list[Any]:
    """`/checkout/{reference}`, and beneath it, within reach of the claim cookie, what its script asks for."""

    @get("/checkout/{reference:str}", include_in_schema=False)
    async def result(
        request: Web, reference: FromPath[str], look: FromQuery[str] = "", done: FromQuery[str] = ""
    ) -> Response[str]:
        if look == "again":
            await _verify(till, reference)
        standing, token = await _look(till, request, reference)
        claimed = token is not None
        names = await asyncio.to_thread(_names, till) if standing.licenses else {}
        order = await _order(till, reference)
        return pages.render(
            "result.html",
            refer=bool(standing.licenses),
            reference=reference,
            standing=standing,
            names=names,
            ends=_ends(standing),
            claimed=claimed,
            state=_state(standing),
            waiting=_is_waiting(standing, claimed=claimed),
            order=order,
            ordered="" if order is None else full_name(order.product, order.plan),
            total=_total(order) if claimed and order is not None else "",
            again=_again(pages.root, order) if claimed and order is not None else f"{pages.root}/",
            check="" if token is None else form_check(pages.context, token),
            notice=_DONE.get(done, ""),
        )

    @get("/checkout/{reference:str}/state", include_in_schema=False)
    async def state(request: Web, reference: FromPath[str]) -> Response[bytes]:
        standing, _ = await _look(till, request, reference)
        body = wire.encode({"state": _state(standing)})
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    return [result, state]


async def _look(till: Till, request: Web, reference: str) -> tuple[Standing, str | None]:
    """How the checkout stands, and its claim token if this browser holds it."""
    token = claim.claim_of(till.context, request, reference)
    if token is not None:
        try:
            return await till.look(reference, token), token
        except Unauthorized:
            pass
    return await till.look(reference, None), None


async def _verify(till: Till, reference: str) -> None:
    """For browsers without scripts. What goes wrong is no news to a buyer: the page tells what is known."""
    try:
        await till.verify(reference)
    except (TooMany, ProviderUnavailable, Unavailable):
        return


async def _order(till: Till, reference: str) -> Order | None:
    try:
        return await asyncio.to_thread(ordered.get_order, till.context, reference)
    except NotFound:
        return None


def _total(order: Order) -> str:
    """What it costs, and how often where it is more than once."""
    amount = money(order.amount, order.currency)
    return amount if order.interval is None else f"{amount} {every(order.interval)}"


def _again(root: str, order: Order) -> str:
    """The order form as it was filled in."""
    told = {
        "plan": order.plan_slug,
        "interval": order.interval or "once",
        "currency": order.currency,
        "quantity": str(order.quantity) if order.quantity > 1 else "",
    }
    return shelf.address(f"{root}/buy/{order.product_slug}", told)


def _names(till: Till) -> dict[str, str]:
    """What "product/plan" is called. A plan that is not sold any more keeps its name."""
    names = {}
    for offer in offers_of(till.context, retired=True):
        product, plan = offer.product, offer.plan
        names[f"{product.slug}/{plan.slug}"] = full_name(product.name, plan.name)
    return names


def _ends(standing: Standing) -> dict[str, str]:
    """License -> how long it works, where it works."""
    return {one.id: _end(one) for one in standing.licenses or () if one.status == "active"}


def _end(one: ClaimedLicense) -> str:
    if one.entitled_until is None:
        return "Does not expire"
    return f"{'Renews on' if one.renews else 'Works until'} {day(one.entitled_until)}"


def _state(standing: Standing) -> str:
    """What the page depends on; when it differs, the script loads the page anew."""
    return f"{standing.status}-{len(standing.licenses or ())}"


def _is_waiting(standing: Standing, *, claimed: bool) -> bool:
    if standing.status == "paid":
        return claimed and standing.licenses == ()
    return standing.status in ("open", "processing")
