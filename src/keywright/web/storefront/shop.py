"""The storefront: what is on sale, and the order form."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from keywright.domain.errors import Conflict, Forbidden, Invalid, NotFound, ProviderUnavailable
from keywright.domain.hmac_key import LONGEST_FIRM
from keywright.domain.plan import Product
from keywright.flows.checkout import MOST, Ask, Opened
from keywright.flows.context import Channel
from keywright.flows.return_urls import origin_of
from keywright.store.catalog import Offer
from keywright.web import claim, wire
from keywright.web.api.public import offers_of
from keywright.web.origin import is_ours
from keywright.web.proof import proof_of
from keywright.web.storefront.pages import Pages
from keywright.web.storefront.words import (
    ShownPrice,
    facts_of,
    price_shown,
    provider_name,
    quantity_label,
)
from keywright.web.till import Till

_LARGEST_FORM = 8 * 1024
_LONGEST_EMAIL = 320
_NUMBER = re.compile(r"[0-9]{1,6}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,64}")

Web = Request[Any, Any, Any]


class ShownPlan(msgspec.Struct, frozen=True):
    slug: str
    name: str
    facts: list[str]
    prices: list[ShownPrice]
    trial: bool


class ShownProduct(msgspec.Struct, frozen=True):
    slug: str
    name: str
    plans: list[ShownPlan]
    quantity_label: str
    choose_provider: bool
    needs_email: str
    needs_firm: str
    renewable: bool


def routes(pages: Pages, till: Till) -> list[Any]:
    """`/` and `/buy/{product}`."""

    @get("/", include_in_schema=False)
    async def storefront() -> Response[str]:
        products = await asyncio.to_thread(_products, till)
        return pages.render("storefront.html", products=products)

    @get("/buy/{product:str}", include_in_schema=False)
    async def order_form(
        request: Web,
        product: FromPath[str],
        plan: FromQuery[str] = "",
        interval: FromQuery[str] = "",
        quantity: FromQuery[str] = "1",
        canceled: FromQuery[str] = "",
    ) -> Response[str]:
        shown = await asyncio.to_thread(_product, till, product)
        wanted = quantity if _NUMBER.fullmatch(quantity) and 1 <= int(quantity) <= MOST else "1"
        return _form(
            pages,
            request,
            shown,
            plan=plan,
            chosen=_choice(shown, plan, interval),
            quantity=wanted,
            canceled=canceled == "yes",
        )

    @post(
        "/buy/{product:str}",
        status_code=200,
        include_in_schema=False,
        request_max_body_size=_LARGEST_FORM,
    )
    async def order(request: Web, product: FromPath[str]) -> Response[Any]:
        async with wire.in_time():
            told = await request.form()
        form = {name: value for name, value in told.items() if isinstance(value, str)}
        _check_origin(pages, request, form)
        shown = await asyncio.to_thread(_product, till, product)
        try:
            opened = await _open(till, request, shown, form)
        except (Conflict, Invalid, ProviderUnavailable) as error:
            return _form(
                pages,
                request,
                shown,
                chosen=form.get("choice", ""),
                quantity=form.get("quantity", "1"),
                email=form.get("email", ""),
                firm=form.get("firm", ""),
                problem=error.detail,
                status=error.status,
            )
        return _leave(pages, till, opened, here=form.get("way") == "here")

    return [storefront, order_form, order]


async def _open(till: Till, request: Web, shown: ShownProduct, form: dict[str, str]) -> Opened:
    plan, _, chosen = form.get("choice", "").partition("/")
    provider, _, price = chosen.partition("/")
    if not price:
        raise Invalid("Please choose a plan.")
    quantity = form.get("quantity", "")
    if not _NUMBER.fullmatch(quantity) or not 1 <= int(quantity) <= MOST:
        raise Invalid(f"Please enter a whole number from 1 to {MOST:,}.")
    ask = Ask(
        plan=f"{shown.slug}/{plan}",
        provider=provider,
        price=price,
        quantity=int(quantity),
        email=form.get("email", "").strip() or None,
        firm=form.get("firm", "").strip() or None,
        renew_key=form.get("renew_key", "").strip() or None,
    )
    address = wire.address_of(request.scope)
    proof = await proof_of(till.context, request)
    once = form.get("once", "")
    if not _TOKEN.fullmatch(once):
        once = secrets.token_urlsafe(24)
    try:
        opened = await till.open(ask, once, address, proof)
    except Conflict as error:
        if error.code != "IDEMPOTENCY_MISMATCH":
            raise
        opened = None
    # A button pressed twice opens one checkout. A buyer who came back, and changed the order or has paid for
    # it already, wants a new one.
    if opened is None or (await till.look(opened.reference, None)).status != "open":
        return await till.open(ask, secrets.token_urlsafe(24), address, proof)
    return opened


def _choice(shown: ShownProduct, plan: str, interval: str) -> str:
    """The first price of the plan that is paid so often; empty when there is none."""
    return next(
        (
            f"{one.slug}/{price.id}"
            for one in shown.plans
            for price in one.prices
            if one.slug == plan and interval and price.interval == interval
        ),
        "",
    )


def _form(
    pages: Pages,
    request: Web,
    shown: ShownProduct,
    *,
    plan: str = "",
    chosen: str = "",
    quantity: str = "1",
    email: str = "",
    firm: str = "",
    problem: str = "",
    status: int = 200,
    canceled: bool = False,
) -> Response[str]:
    choices = [f"{p.slug}/{price.id}" for p in shown.plans for price in p.prices]
    if chosen not in choices:
        chosen = next((choice for choice in choices if choice.startswith(f"{plan}/")), (choices or [""])[0])
    check = claim.form_of(pages.context.policy.base_url, request)
    if not _TOKEN.fullmatch(check):
        check = secrets.token_urlsafe(24)
    response = pages.render(
        "buy.html",
        status=status,
        refer=True,
        product=shown,
        most=MOST,
        chosen=chosen,
        quantity=quantity,
        email=email[:_LONGEST_EMAIL],
        firm=firm[:LONGEST_FIRM],
        longest_firm=LONGEST_FIRM,
        problem=problem,
        canceled=canceled,
        check=check,
        once=secrets.token_urlsafe(24),
        here=any(channel.inline is not None for channel in pages.context.channels.values()),
    )
    response.cookies.append(claim.form_cookie(pages.context.policy.base_url, check))
    return response


def _check_origin(pages: Pages, request: Web, form: dict[str, str]) -> None:
    """The form must come from our own page: by its Origin, and by a cookie that other sites cannot read."""
    base_url = pages.context.policy.base_url
    cookie, field = claim.form_of(base_url, request), form.get("check", "")
    paired = bool(cookie) and hmac.compare_digest(cookie.encode(), field.encode())
    if not is_ours(base_url, request) or not paired:
        raise Forbidden("This order did not come from our order form. Please allow cookies and try again.")


def _leave(pages: Pages, till: Till, opened: Opened, *, here: bool) -> Response[Any]:
    """Send the buyer to the provider, with the claim token in a cookie for the way back.

    `here`: the buyer would rather pay inside our page, where the provider can do that.
    """
    known = {origin_of(origin) for origin in till.context.policy.pay_origins}
    channel = till.context.channels.get(opened.provider)
    inline = channel.inline if channel is not None and here else None
    code = inline.code_of(opened.url) if inline is not None else None
    response: Response[Any]
    if inline is not None and code is not None:
        response = pages.render(
            "inline.html",
            inline=inline,
            script=inline.script,
            code=code,
            url=opened.url,
            reference=opened.reference,
        )
    elif origin_of(opened.url) in known:
        response = Redirect(opened.url, status_code=303, headers={"cache-control": "no-store"})
    else:
        # A pay page under the seller's own domain: a form may not redirect there, a link may lead there.
        response = pages.render("leave.html", url=opened.url)
    base_url = till.context.policy.base_url
    response.cookies.append(claim.claim_cookie(base_url, opened.reference, opened.claim_token))
    return response


def _product(till: Till, slug: str) -> ShownProduct:
    for product in _products(till):
        if product.slug == slug:
            return product
    raise NotFound("There is no such product in this store.")


def _products(till: Till) -> list[ShownProduct]:
    selling = {name: channel for name, channel in till.context.channels.items() if channel.api is not None}
    by_product: dict[str, tuple[Product, list[Offer]]] = {}
    for offer in offers_of(till.context):
        if any(p.provider in selling for p in offer.prices):
            by_product.setdefault(offer.product.slug, (offer.product, []))[1].append(offer)
    return [_shown(product, offers, selling) for product, offers in by_product.values()]


def _shown(product: Product, offers: list[Offer], selling: Mapping[str, Channel]) -> ShownProduct:
    def cheapest(offer: Offer) -> tuple[str, int]:
        price = min((p for p in offer.prices if p.provider in selling), key=lambda p: p.amount)
        return price.currency, price.amount

    plans = [
        ShownPlan(
            offer.plan.slug,
            offer.plan.name,
            facts_of(offer.plan),
            [price_shown(p) for p in sorted(offer.prices, key=lambda p: p.amount) if p.provider in selling],
            offer.plan.terms.trial > 0,
        )
        for offer in sorted(offers, key=cheapest)
    ]
    providers = {p.provider for offer in offers for p in offer.prices if p.provider in selling}
    return ShownProduct(
        product.slug,
        product.name,
        plans,
        quantity_label([o.plan for o in offers]),
        choose_provider=len(providers) > 1,
        needs_firm=" and ".join(o.plan.name for o in offers if o.plan.terms.profile == "hmac"),
        renewable=any(o.plan.terms.on_repurchase != "new" for o in offers),
        needs_email=" and ".join(provider_name(n) for n in sorted(providers) if selling[n].needs_email),
    )
