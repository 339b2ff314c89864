"""The shop window: everything on sale, a page for each product, and one for each plan."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import msgspec
from litestar import Response, get
from litestar.params import FromPath, FromQuery

from keywright.domain.errors import NotFound
from keywright.web.storefront import shelf
from keywright.web.storefront.pages import Pages
from keywright.web.storefront.shelf import Pick, ShownPlan, ShownProduct, Wish
from keywright.web.storefront.words import full_name
from keywright.web.till import Till

_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")


class Card(msgspec.Struct, frozen=True):
    """A plan as it is shown for a wish. `page` tells more of it, `buy` is its order form."""

    plan: ShownPlan
    pick: Pick
    page: str
    buy: str


class Section(msgspec.Struct, frozen=True):
    """A product with the cards of its plans."""

    product: ShownProduct
    page: str
    cards: list[Card]


def routes(pages: Pages, till: Till) -> list[Any]:
    """`/`, `/products/{product}` and `/products/{product}/{plan}`."""

    @get("/", include_in_schema=False)
    async def storefront(interval: FromQuery[str] = "", currency: FromQuery[str] = "") -> Response[str]:
        products = await asyncio.to_thread(shelf.products, till.context)
        wish = wish_of(interval, currency)
        return pages.render(
            "storefront.html",
            sections=[_section(pages.root, product, wish) for product in products],
            **_switches(f"{pages.root}/", products, wish),
        )

    @get("/products/{product:str}", include_in_schema=False)
    async def product_page(
        product: FromPath[str], interval: FromQuery[str] = "", currency: FromQuery[str] = ""
    ) -> Response[str]:
        shown = await asyncio.to_thread(shelf.get_product, till.context, product)
        wish = wish_of(interval, currency)
        section = _section(pages.root, shown, wish)
        path = f"{pages.root}/products/{shown.slug}"
        return pages.render("product.html", section=section, **_switches(path, [shown], wish))

    @get("/products/{product:str}/{plan:str}", include_in_schema=False)
    async def plan_page(
        product: FromPath[str], plan: FromPath[str], currency: FromQuery[str] = ""
    ) -> Response[str]:
        shown = await asyncio.to_thread(shelf.get_product, till.context, product)
        found = shown.find_plan(plan)
        if found is None:
            raise NotFound("There is no such plan in this store.")
        card = _card(pages.root, shown, found, wish_of("", currency))
        return pages.render(
            "plan.html",
            product=shown,
            title=full_name(shown.name, found.name),
            card=card,
            offers=_offers(pages.root, shown, found),
        )

    return [storefront, product_page, plan_page]


def wish_of(interval: str, currency: str) -> Wish:
    """What an address asks for, as far as it can be meant."""
    return Wish(
        interval if _WORD.fullmatch(interval) else "", currency.upper() if _WORD.fullmatch(currency) else ""
    )


def _section(root: str, product: ShownProduct, wish: Wish) -> Section:
    cards = [_card(root, product, plan, wish) for plan in product.plans]
    return Section(product, shelf.address(f"{root}/products/{product.slug}", wish.told()), cards)


def _card(root: str, product: ShownProduct, plan: ShownPlan, wish: Wish) -> Card:
    told = wish.told()
    return Card(
        plan,
        shelf.pick(plan, wish, shelf.usual_currency(product.plans)),
        shelf.address(f"{root}/products/{product.slug}/{plan.slug}", {"currency": wish.currency}),
        shelf.address(f"{root}/buy/{product.slug}", {"plan": plan.slug, **told}),
    )


def _switches(path: str, products: list[ShownProduct], wish: Wish) -> dict[str, Any]:
    """How often and in which money, for all that is on the page. What is paid once is not a choice here."""
    plans = [plan for product in products for plan in product.plans]
    usual = shelf.usual_currency(plans)
    prices = [price for plan in plans for price in plan.prices]
    intervals = [one for one in shelf.intervals_of(prices) if one != "once"]
    chosen = wish.interval if wish.interval in intervals else next(iter(intervals), "")
    currencies = shelf.currencies_of(prices)
    currency = wish.currency if wish.currency in currencies else usual
    saved = [
        shelf.pick(plan, wish, usual).saves for plan in plans if "year" in shelf.intervals_of(plan.prices)
    ]
    most = max(saved, default=0)
    saving = "" if not most else f"save {most}%" if min(saved) == most else f"save up to {most}%"
    return {
        "intervals": shelf.interval_ways(path, intervals, wish.told(), chosen, saving),
        "currencies": shelf.currency_ways(path, currencies, wish.told(), currency),
    }


def _offers(root: str, product: ShownProduct, plan: ShownPlan) -> list[dict[str, Any]]:
    """Every way to pay for a plan: amount, how often, with whom, and its order form."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for price in plan.prices:
        rows.setdefault((price.amount, price.interval, price.currency), []).append(price.by)
    every = {price.interval: price.every for price in plan.prices}
    return [
        {
            "amount": amount,
            "currency": currency,
            "every": every[interval],
            "by": ", ".join(sorted(by)),
            "buy": shelf.address(
                f"{root}/buy/{product.slug}",
                {"plan": plan.slug, "interval": interval, "currency": currency},
            ),
        }
        for (amount, interval, currency), by in rows.items()
    ]
