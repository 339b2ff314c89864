"""The result page: what became of a checkout, and the key for the browser that bought."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import ProviderUnavailable, TooMany, Unauthorized, Unavailable
from keywright.flows.checkout import Standing
from keywright.web import claim, wire
from keywright.web.api.public import offers_of
from keywright.web.storefront.pages import Pages
from keywright.web.till import Till

Web = Request[Any, Any, Any]


def routes(pages: Pages, till: Till) -> list[Any]:
    """`/checkout/{reference}`, and beneath it, within reach of the claim cookie, what its script asks for."""

    @get("/checkout/{reference:str}", include_in_schema=False)
    async def result(request: Web, reference: FromPath[str], look: FromQuery[str] = "") -> Response[str]:
        if look == "again":
            await _verify(till, reference)
        standing, claimed = await _look(till, request, reference)
        names = await asyncio.to_thread(_names, till) if standing.licenses else {}
        return pages.render(
            "result.html",
            reference=reference,
            standing=standing,
            names=names,
            claimed=claimed,
            state=_state(standing),
            waiting=_is_waiting(standing, claimed=claimed),
        )

    @get("/checkout/{reference:str}/state", include_in_schema=False)
    async def state(request: Web, reference: FromPath[str]) -> Response[bytes]:
        standing, _ = await _look(till, request, reference)
        body = wire.encode({"state": _state(standing)})
        return Response(body, media_type="application/json", headers={"cache-control": "no-store"})

    return [result, state]


async def _look(till: Till, request: Web, reference: str) -> tuple[Standing, bool]:
    """How the checkout stands, and whether this browser holds its claim."""
    token = claim.claim_of(till.context.policy.base_url, request, reference)
    if token is not None:
        try:
            return await till.look(reference, token), True
        except Unauthorized:
            pass
    return await till.look(reference, None), False


async def _verify(till: Till, reference: str) -> None:
    """For browsers without scripts. What goes wrong is no news to a buyer: the page tells what is known."""
    try:
        await till.verify(reference)
    except (TooMany, ProviderUnavailable, Unavailable):
        return


def _names(till: Till) -> dict[str, str]:
    """What "product/plan" is called. A plan that is not sold any more keeps its name."""
    names = {}
    for offer in offers_of(till.context, retired=True):
        product, plan = offer.product, offer.plan
        # Sellers name plans "Pro" and "DashCaddy Pro" alike.
        full = plan.name if plan.name.startswith(product.name) else f"{product.name} {plan.name}"
        names[f"{product.slug}/{plan.slug}"] = full
    return names


def _state(standing: Standing) -> str:
    """What the page depends on; when it differs, the script loads the page anew."""
    return f"{standing.status}-{len(standing.licenses or ())}"


def _is_waiting(standing: Standing, *, claimed: bool) -> bool:
    if standing.status == "paid":
        return claimed and standing.licenses == ()
    return standing.status in ("open", "processing")
