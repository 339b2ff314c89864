"""What is on sale, as the pages show it: products, plans, and the prices that somebody can pay now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec

from keywright.domain.errors import NotFound
from keywright.domain.plan import Product
from keywright.flows.context import Channel, Context
from keywright.store.catalog import Offer
from keywright.web.api.public import offers_of
from keywright.web.storefront.words import (
    ShownPrice,
    baseline_of,
    facts_of,
    how_often,
    price_shown,
    quantity_label,
)

_DAY: Final = 86400
# What is shown first where nobody has chosen. An interval that is not in here comes after those that are.
_USUAL: Final = ("month", "year", "quarter", "week", "day", "once")


class ShownPlan(msgspec.Struct, frozen=True):
    """`trial` in days. `counted`: what the number in the order form counts."""

    slug: str
    name: str
    facts: list[str]
    prices: list[ShownPrice]
    trial: int
    counted: str


class ShownProduct(msgspec.Struct, frozen=True):
    """`needs_firm` says for which plans; `baseline` is what runs without a license."""

    slug: str
    name: str
    plans: list[ShownPlan]
    needs_firm: str
    renewable: bool
    baseline: list[str]

    def find_plan(self, slug: str) -> ShownPlan | None:
        """The plan of this name, if it is on sale."""
        return next((plan for plan in self.plans if plan.slug == slug), None)


class Wish(msgspec.Struct, frozen=True):
    """How somebody would like to pay; empty: as is usual here."""

    interval: str = ""
    currency: str = ""

    def told(self) -> dict[str, str]:
        """The same for an address."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value}


class Pick(msgspec.Struct, frozen=True):
    """The prices of a plan that fit a wish, cheapest first, and the other ways that it could be paid."""

    interval: str
    currency: str
    prices: list[ShownPrice]
    others: list[ShownPrice]
    saves: int = 0


class Way(msgspec.Struct, frozen=True):
    """One position of a switch."""

    label: str
    href: str
    chosen: bool
    note: str = ""


def products(context: Context) -> list[ShownProduct]:
    """Everything that somebody can pay for now."""
    selling = {name: channel for name, channel in context.channels.items() if channel.is_open}
    by_product: dict[str, tuple[Product, list[Offer]]] = {}
    for offer in offers_of(context):
        if any(p.provider in selling for p in offer.prices):
            by_product.setdefault(offer.product.slug, (offer.product, []))[1].append(offer)
    return [_shown(product, offers, selling) for product, offers in by_product.values()]


def get_product(context: Context, slug: str) -> ShownProduct:
    """Raises NotFound."""
    for product in products(context):
        if product.slug == slug:
            return product
    raise NotFound("There is no such product in this store.")


def pick(plan: ShownPlan, wish: Wish, usual: str) -> Pick:
    """The prices of a plan that fit a wish, or else what comes nearest. `usual`: the usual currency.

    The currency goes first: somebody may have no other money, and can pay by the month instead of the year.
    """
    money = currencies_of(plan.prices)
    currency = next(one for one in (wish.currency, usual, money[0]) if one in money)
    payable = [price for price in plan.prices if price.currency == currency]
    every = intervals_of(payable)
    interval = wish.interval if wish.interval in every else every[0]
    others: dict[str, ShownPrice] = {}
    for price in payable:
        if price.interval != interval:
            others.setdefault(price.interval, price)
    fitting = [price for price in payable if price.interval == interval]
    return Pick(interval, currency, fitting, list(others.values()), _saves(payable))


def _saves(prices: list[ShownPrice]) -> int:
    """What a year at once is cheaper than twelve months, in percent; 0 where it is not."""
    least: dict[str, int] = {}
    for price in prices:
        least.setdefault(price.interval, price.minor)
    months, year = least.get("month", 0) * 12, least.get("year")
    return 0 if year is None or months <= year else (months - year) * 100 // months


def intervals_of(prices: Iterable[ShownPrice]) -> list[str]:
    """How often these prices are paid, the usual first."""
    found = {price.interval for price in prices}
    return sorted(found, key=lambda one: (_USUAL.index(one) if one in _USUAL else len(_USUAL), one))


def currencies_of(prices: Iterable[ShownPrice]) -> list[str]:
    """The currencies of these prices, the commonest first."""
    counted = Counter(price.currency for price in prices)
    return sorted(counted, key=lambda one: (-counted[one], one))


def usual_currency(plans: Iterable[ShownPlan]) -> str:
    """The one that most of the prices are in; empty where there is none."""
    return next(iter(currencies_of(price for plan in plans for price in plan.prices)), "")


def interval_ways(
    path: str, intervals: list[str], told: Mapping[str, str], chosen: str, saving: str
) -> list[Way]:
    """A switch between them; empty where there is nothing to choose. `saving`: what is said of a year."""
    return [
        Way(
            how_often(one),
            address(path, {**told, "interval": one}),
            one == chosen,
            saving if one == "year" else "",
        )
        for one in intervals
        if len(intervals) > 1
    ]


def currency_ways(path: str, currencies: list[str], told: Mapping[str, str], chosen: str) -> list[Way]:
    """The same for currencies."""
    return [
        Way(one, address(path, {**told, "currency": one}), one == chosen)
        for one in currencies
        if len(currencies) > 1
    ]


def address(path: str, told: Mapping[str, str]) -> str:
    """A path with what is told, less what is empty."""
    query = urlencode({name: value for name, value in told.items() if value})
    return f"{path}?{query}" if query else path


def _shown(product: Product, offers: list[Offer], selling: Mapping[str, Channel]) -> ShownProduct:
    plans = [_plan(offer, selling) for offer in offers]
    usual = usual_currency(plans)

    def cheapest(plan: ShownPlan) -> tuple[bool, int]:
        price = pick(plan, Wish(), usual).prices[0]
        return price.currency != usual, price.minor

    return ShownProduct(
        product.slug,
        product.name,
        sorted(plans, key=cheapest),
        needs_firm=" and ".join(o.plan.name for o in offers if o.plan.terms.profile == "hmac"),
        renewable=any(o.plan.terms.on_repurchase != "new" for o in offers),
        baseline=baseline_of(product.baseline),
    )


def _plan(offer: Offer, selling: Mapping[str, Channel]) -> ShownPlan:
    known = list(selling)  # in the order that they were set up in, where two are as cheap
    prices = sorted(
        (p for p in offer.prices if p.provider in selling), key=lambda p: (p.amount, known.index(p.provider))
    )
    return ShownPlan(
        offer.plan.slug,
        offer.plan.name,
        facts_of(offer.plan),
        [price_shown(price) for price in prices],
        offer.plan.terms.trial // _DAY,
        quantity_label(offer.plan),
    )
