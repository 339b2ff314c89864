"""What anybody may call: configuration, plans and checkouts."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from litestar import Request, Response, Router, get, post, route
from litestar.params import FromPath

from keywright.domain import strict_json
from keywright.domain.errors import Invalid, Unauthorized
from keywright.flows.checkout import Ask
from keywright.flows.context import Context
from keywright.store import catalog
from keywright.store.catalog import Offer
from keywright.web import cors, wire
from keywright.web.proof import proof_of
from keywright.web.till import Till

_LARGEST_BODY = 16 * 1024
_NO_STORE = {"cache-control": "no-store"}

Web = Request[Any, Any, Any]


def routes(till: Till) -> list[Router]:
    """The routes of the contract's section "for anyone", less health, webhooks and keys."""
    origins = till.context.policy.website_origins
    shared = Router(
        "/api",
        route_handlers=[*_catalog_routes(till), *_checkout_routes(till), *_preflights()],
        middleware=[cors.allow(origins)],
    )
    return [shared]


def _catalog_routes(till: Till) -> list[Any]:
    @get("/public/config", operation_id="public_config")
    async def config() -> Response[bytes]:
        return _json(config_of(till.context))

    @get("/public/plans", operation_id="public_plans")
    async def plans() -> Response[bytes]:
        offers = await asyncio.to_thread(offers_of, till.context)
        return _json({"products": _products(offers)})

    return [config, plans]


def _checkout_routes(till: Till) -> list[Any]:
    @post("/checkout/session", operation_id="open_checkout", request_max_body_size=_LARGEST_BODY)
    async def open_checkout(request: Web) -> Response[bytes]:
        async with wire.in_time():
            ask = _ask(await request.body())
        key = request.headers.get("idempotency-key")
        proof = await proof_of(till.context, request)
        opened = await till.open(ask, key, wire.address_of(request.scope), proof, wire.language_of(request))
        return _json(opened, status=201)

    @get("/checkout/session/{reference:str}", operation_id="checkout_status")
    async def look(request: Web, reference: FromPath[str]) -> Response[bytes]:
        return _json(await till.look(reference, _claim_token(request)))

    @post("/checkout/session/{reference:str}/verify", status_code=200, operation_id="verify_checkout")
    async def verify(reference: FromPath[str]) -> Response[bytes]:
        return _json(await till.verify(reference))

    return [open_checkout, look, verify]


def _preflights() -> list[Any]:
    """The headers of the answer are the middleware's."""

    @route(
        [
            "/public/config",
            "/public/plans",
            "/checkout/session",
            "/checkout/session/{reference:str}",
            "/checkout/session/{reference:str}/verify",
        ],
        http_method="OPTIONS",
        status_code=204,
        include_in_schema=False,
    )
    async def preflight() -> None:
        return None

    return [preflight]


def _ask(body: bytes) -> Ask:
    try:
        return msgspec.convert(strict_json.loads(body), Ask)
    except strict_json.StrictJSONError as error:
        problem = f"The body is not acceptable JSON: {error}."
    except msgspec.ValidationError as error:
        problem = f"{error}."
    raise Invalid(problem)


def _claim_token(request: Web) -> str | None:
    given = request.headers.get("authorization")
    if given is None:
        return None
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "claim" or not token:
        raise Unauthorized("Send `Authorization: Claim <claim_token>`, or no Authorization at all.")
    return token.strip()


def config_of(context: Context) -> dict[str, Any]:
    """Providers on offer, with publishable keys and modes; and the issuer, for programs to pin."""
    providers = [
        {
            "provider": name,
            "mode": "live" if channel.account.live else "test",
            "publishable_key": context.policy.publishable_keys.get(name),
        }
        for name, channel in sorted(context.channels.items())
        if channel.is_open
    ]
    mode = "sandbox" if context.policy.sandbox else "live"
    return {"mode": mode, "issuer": context.issuer(context.tenant.id), "providers": providers}


def offers_of(context: Context, *, retired: bool = False) -> list[Offer]:
    """What the master tenant sells; with `retired`, also what it sold."""
    with context.database.read() as connection:
        return catalog.list_offers(connection, context.tenant.id, retired=retired)


def _products(offers: list[Offer]) -> list[dict[str, Any]]:
    shown: dict[str, dict[str, Any]] = {}
    for offer in offers:
        product = offer.product
        entry = shown.setdefault(
            product.slug,
            {"slug": product.slug, "name": product.name, "baseline": product.baseline, "plans": []},
        )
        entry["plans"].append(_plan(offer))
    return list(shown.values())


def _plan(offer: Offer) -> dict[str, Any]:
    terms = offer.plan.terms
    return {
        "plan": f"{offer.product.slug}/{offer.plan.slug}",
        "slug": offer.plan.slug,
        "name": offer.plan.name,
        "quantity": terms.quantity,
        "seats_per_unit": terms.seats_per_unit,
        "max_activations": terms.max_activations,
        "entitlements": terms.entitlements,
        "limits": terms.limits,
        "term": terms.term,  # subscription, perpetual, or seconds
        "trial_seconds": terms.trial,
        "prices": [
            {
                "key": price.key,
                "provider": price.provider,
                "id": price.external_id,
                "amount": price.amount,
                "currency": price.currency,
                "interval": price.interval,
            }
            for price in offer.prices
        ],
    }


def _json(value: Any, *, status: int = 200) -> Response[bytes]:
    return Response(wire.encode(value), status_code=status, media_type="application/json", headers=_NO_STORE)
