"""The order form: which plan, how many, paid how; and the way to the provider."""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from typing import Any, Final

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from keywright.domain.errors import Conflict, Forbidden, Invalid, ProviderUnavailable
from keywright.domain.hmac_key import LONGEST_FIRM
from keywright.flows.checkout import MOST, Ask, Opened
from keywright.flows.return_urls import origin_of
from keywright.web import claim, wire
from keywright.web.origin import is_ours
from keywright.web.proof import proof_of
from keywright.web.storefront import shelf
from keywright.web.storefront.pages import Pages
from keywright.web.storefront.shelf import Pick, ShownPlan, ShownProduct, Way, Wish
from keywright.web.storefront.shop import wish_of
from keywright.web.storefront.words import ShownPrice, money
from keywright.web.till import Till

_LARGEST_FORM: Final = 8 * 1024
_LONGEST_EMAIL: Final = 320
_NUMBER: Final = re.compile(r"[0-9]{1,6}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{22,64}")
_DONE: Final = ("paid", "processing")

Web = Request[Any, Any, Any]


class Filled(msgspec.Struct, frozen=True):
    """What is in the form when it is shown."""

    quantity: str = "1"
    email: str = ""
    firm: str = ""
    problem: str = ""
    canceled: bool = False


class Chosen(msgspec.Struct, frozen=True):
    """A plan, the prices that fit the wish, and the one of them that is marked."""

    plan: ShownPlan
    pick: Pick
    price: ShownPrice


def routes(pages: Pages, till: Till) -> list[Any]:
    """`/buy/{product}`."""

    @get("/buy/{product:str}", include_in_schema=False)
    async def order_form(
        request: Web,
        product: FromPath[str],
        plan: FromQuery[str] = "",
        interval: FromQuery[str] = "",
        currency: FromQuery[str] = "",
        quantity: FromQuery[str] = "1",
        canceled: FromQuery[str] = "",
    ) -> Response[str]:
        shown = await asyncio.to_thread(shelf.get_product, till.context, product)
        wanted = quantity if _NUMBER.fullmatch(quantity) and 1 <= int(quantity) <= MOST else "1"
        chosen = _chosen(shown, plan, wish_of(interval, currency))
        return _form(pages, request, shown, chosen, Filled(wanted, canceled=canceled == "yes"))

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
        shown = await asyncio.to_thread(shelf.get_product, till.context, product)
        chosen = _find_chosen(shown, form.get("choice", ""))
        try:
            opened, status = await _open(till, request, shown, chosen, form)
        except (Conflict, Invalid, ProviderUnavailable) as error:
            filled = Filled(
                form.get("quantity", "1"),
                form.get("email", "")[:_LONGEST_EMAIL],
                form.get("firm", "")[:LONGEST_FIRM],
                error.detail,
            )
            again = chosen or _chosen(shown, "", Wish())
            return _form(pages, request, shown, again, filled, status=error.status)
        if status in _DONE:
            return _paid_already(pages, shown, opened, status)
        return _leave(pages, till, opened, here=form.get("way") == "here")

    return [order_form, order]


def _chosen(shown: ShownProduct, slug: str, wish: Wish) -> Chosen:
    plan = shown.find_plan(slug) or shown.plans[0]
    picked = shelf.pick(plan, wish, shelf.usual_currency(shown.plans))
    return Chosen(plan, picked, picked.prices[0])


def _find_chosen(shown: ShownProduct, choice: str) -> Chosen | None:
    """What `plan/provider/price` names, if it is on sale."""
    for plan in shown.plans:
        for price in plan.prices:
            if choice == f"{plan.slug}/{price.id}":
                picked = shelf.pick(plan, Wish(price.interval, price.currency), "")
                return Chosen(plan, picked, price)
    return None


async def _open(
    till: Till, request: Web, shown: ShownProduct, known: Chosen | None, form: dict[str, str]
) -> tuple[Opened, str]:
    """The checkout, and how it stands: a form that is sent again may have been paid meanwhile."""
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
        cancel_url=_back(till, shown, known, quantity),
    )
    address, language = wire.address_of(request.scope), wire.language_of(request)
    proof = await proof_of(till.context, request)
    once = form.get("once", "")
    if not _TOKEN.fullmatch(once):
        once = secrets.token_urlsafe(24)
    # A button pressed twice opens one checkout. A buyer who came back and changed the order, or whose first
    # try failed, wants a new one; whoever has paid is told so, and not led to pay again.
    try:
        opened = await till.open(ask, once, address, proof, language)
        status = (await till.look(opened.reference, None)).status
    except Conflict as error:
        if error.code != "IDEMPOTENCY_MISMATCH":
            raise
        status = "expired"
    if status in ("failed", "expired"):
        opened = await till.open(ask, secrets.token_urlsafe(24), address, proof, language)
        status = "open"
    return opened, status


def _back(till: Till, shown: ShownProduct, known: Chosen | None, quantity: str) -> str | None:
    """Where the provider sends whoever cancels: to the form as it was."""
    if known is None:
        return None
    told = {
        "canceled": "yes",
        "plan": known.plan.slug,
        "interval": known.price.interval,
        "currency": known.price.currency,
        "quantity": quantity,
    }
    return till.context.base_url + shelf.address(f"/buy/{shown.slug}", told)


def _form(
    pages: Pages,
    request: Web,
    shown: ShownProduct,
    chosen: Chosen,
    filled: Filled,
    *,
    status: int = 200,
) -> Response[str]:
    check = claim.form_of(pages.context, request)
    if not _TOKEN.fullmatch(check):
        check = secrets.token_urlsafe(24)
    number = int(filled.quantity) if _NUMBER.fullmatch(filled.quantity) else 1
    asking = {name for name, channel in pages.context.channels.items() if channel.needs_email}
    inline = {name for name, channel in pages.context.channels.items() if channel.inline is not None}
    shown_by = {price.id.partition("/")[0]: price.by for price in chosen.pick.prices}
    response = pages.render(
        "buy.html",
        status=status,
        refer=True,
        product=shown,
        chosen=chosen,
        filled=filled,
        most=MOST,
        total=money(chosen.price.minor * number, chosen.price.currency),
        longest_firm=LONGEST_FIRM,
        check=check,
        once=secrets.token_urlsafe(24),
        here=not inline.isdisjoint(shown_by),
        needs_email=" and ".join(by for name, by in shown_by.items() if name in asking),
        email_required=asking.issuperset(shown_by),
        **_ways(pages.root, shown, chosen, filled.quantity),
    )
    response.cookies.append(claim.form_cookie(pages.context, check))
    return response


def _ways(root: str, shown: ShownProduct, chosen: Chosen, quantity: str) -> dict[str, Any]:
    """The other plans, intervals and currencies, as links to the same form."""
    path, plan, picked = f"{root}/buy/{shown.slug}", chosen.plan, chosen.pick
    wish = Wish(picked.interval, picked.currency)
    more = {"quantity": quantity} if quantity != "1" else {}
    told = {"plan": plan.slug, **wish.told(), **more}
    usual = shelf.usual_currency(shown.plans)
    saving = f"save {picked.saves}%" if picked.saves else ""
    payable = [price for price in plan.prices if price.currency == picked.currency]
    plans = [
        (one, shelf.pick(one, wish, usual).prices[0], shelf.address(path, {**told, "plan": one.slug}))
        for one in shown.plans
    ]
    intervals = shelf.interval_ways(path, shelf.intervals_of(payable), told, picked.interval, saving)
    currencies: list[Way] = shelf.currency_ways(path, shelf.currencies_of(plan.prices), told, picked.currency)
    return {"plans": plans, "intervals": intervals, "currencies": currencies}


def _check_origin(pages: Pages, request: Web, form: dict[str, str]) -> None:
    """The form must come from our own page: by its Origin, and by a cookie that other sites cannot read."""
    base_url = pages.context.policy.base_url
    cookie, field = claim.form_of(pages.context, request), form.get("check", "")
    paired = bool(cookie) and hmac.compare_digest(cookie.encode(), field.encode())
    if not is_ours(base_url, request) or not paired:
        raise Forbidden("This order did not come from our order form. Please allow cookies and try again.")


def _paid_already(pages: Pages, shown: ShownProduct, opened: Opened, status: str) -> Response[Any]:
    """For whoever went back and pressed the button once more."""
    return _claimable(
        pages,
        opened,
        pages.render("paid_already.html", product=shown, reference=opened.reference, standing=status),
    )


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
    return _claimable(pages, opened, response)


def _claimable(pages: Pages, opened: Opened, response: Response[Any]) -> Response[Any]:
    response.cookies.append(claim.claim_cookie(pages.context, opened.reference, opened.claim_token))
    return response
