"""Prices and plans in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from keywright.domain.money import iso_exponent
from keywright.domain.plan import Plan, Price, Terms

_NO_BREAK: Final = "\N{NO-BREAK SPACE}"
_SIGNS: Final[Mapping[str, str]] = {
    "USD": "$",
    "EUR": "€",
    "GBP": "£",
    "JPY": "¥",
    "CNY": "CN¥",
    "INR": "₹",
    "NGN": "₦",
    "GHS": "GH₵",
    "KES": f"KSh{_NO_BREAK}",
    "ZAR": f"R{_NO_BREAK}",
    "CAD": "CA$",
    "AUD": "A$",
    "NZD": "NZ$",
    "BRL": "R$",
    "MXN": "MX$",
    "KRW": "₩",
    "PHP": "₱",
    "TRY": "₺",
    "UAH": "₴",
    "VND": "₫",
}
_EVERY: Final[Mapping[str | None, str]] = {
    None: "once",
    "day": "a day",
    "week": "a week",
    "month": "a month",
    "quarter": "every 3 months",
    "year": "a year",
}
_PROVIDERS: Final[Mapping[str, str]] = {"stripe": "Stripe", "paystack": "Paystack", "paypal": "PayPal"}
# What a buyer finds on the page of each, so that he can choose before he is there.
_WAYS: Final[Mapping[str, str]] = {
    "stripe": "Card, wallet, or what Stripe offers where you are",
    "paystack": "Card, bank, transfer, USSD or mobile money",
    "paypal": "Your PayPal account, or a card there",
}
_HOW_OFTEN: Final[Mapping[str, str]] = {
    "once": "Once",
    "day": "Daily",
    "week": "Weekly",
    "month": "Monthly",
    "quarter": "Every 3 months",
    "year": "Yearly",
}
_DAY: Final = 86400
_BETWEEN: Final = re.compile(r"[._:-]")
# Words that are spelled in capitals, whoever writes them.
_SPELLED: Final = frozenset(("ai", "api", "csv", "html", "json", "pdf", "saml", "sql", "sso", "svg", "xml"))


class ShownPrice(msgspec.Struct, frozen=True):
    """`amount` like `$50`, `every` like `a month`; `id` names it in a form, `by` takes the money, `ways` says
    how. `minor`, `sign` and `digits` are what a total is made of."""

    id: str
    amount: str
    currency: str
    every: str
    by: str
    interval: str = "once"
    ways: str = ""
    minor: int = 0
    sign: str = ""
    digits: int = 2


def sign_of(currency: str) -> str:
    """What is written before an amount."""
    return _SIGNS.get(currency, f"{currency}{_NO_BREAK}")


def money(amount: int, currency: str) -> str:
    """An amount of ISO 4217 minor units as people write it: `$50`, `€49.90`, `CHF 1,200`, `¥500`."""
    digits = iso_exponent(currency)
    whole, part = divmod(abs(amount), 10**digits)
    fraction = f".{part:0{digits}d}" if part else ""
    sign = sign_of(currency)
    return f"{'−' if amount < 0 else ''}{sign}{whole:,}{fraction}"  # noqa: RUF001  # the minus sign is meant


def price_shown(price: Price) -> ShownPrice:
    return ShownPrice(
        f"{price.provider}/{price.external_id or price.key}",
        money(price.amount, price.currency),
        price.currency,
        every(price.interval),
        provider_name(price.provider),
        price.interval or "once",
        _WAYS.get(price.provider, ""),
        price.amount,
        sign_of(price.currency),
        iso_exponent(price.currency),
    )


def every(interval: str | None) -> str:
    """How often, behind an amount: `a month`."""
    return _EVERY.get(interval, f"every {interval}")


def how_often(interval: str) -> str:
    """How often, as a choice: `Monthly`."""
    return _HOW_OFTEN.get(interval, f"Every {interval}")


def provider_name(provider: str) -> str:
    """A provider as it writes itself."""
    return _PROVIDERS.get(provider, provider)


def full_name(product: str, plan: str) -> str:
    """What a plan is called away from its product. Sellers name plans "Pro" and "DashCaddy Pro" alike."""
    return plan if plan.startswith(product) else f"{product} {plan}"


def facts_of(plan: Plan) -> list[str]:
    """What a buyer gets, one short line each."""
    terms = plan.terms
    facts = [_term(terms), _quantity(terms), _machines(terms)]
    if terms.trial >= _DAY:
        facts.insert(0, f"Free for the first {_count(terms.trial // _DAY, 'day')}")
    facts += [f"Up to {limit:,}{_NO_BREAK}{label(name)}" for name, limit in sorted(terms.limits.items())]
    facts += [f"Includes {label(name)}" for name in terms.entitlements]
    facts.append(f"Works offline for {_span(terms.offline)} at a time")
    return facts


def baseline_of(baseline: Mapping[str, object]) -> list[str]:
    """What a product does without a license. The catalog has checked what is in there."""
    limits, entitlements = baseline.get("limits"), baseline.get("entitlements")
    lines = []
    if isinstance(limits, Mapping):
        counted = {name: most for name, most in limits.items() if isinstance(most, int)}
        lines += [f"Up to {most:,}{_NO_BREAK}{label(name)}" for name, most in sorted(counted.items())]
    if isinstance(entitlements, list | tuple):
        lines += [f"Includes {label(str(name))}" for name in entitlements]
    return lines


def quantity_label(plan: Plan) -> str:
    """What the number in the order form counts."""
    if plan.terms.quantity == "keys":
        return "Licenses"
    each = plan.terms.seats_per_unit
    return "Seats" if each == 1 else f"Packs of {each} seats"


def _term(terms: Terms) -> str:
    if terms.term == "subscription":
        return "Renews until you cancel"
    if terms.term == "perpetual":
        return "Pay once, yours for good"
    return f"Pay once, valid for {_span(terms.term)}"


def _quantity(terms: Terms) -> str:
    if terms.quantity == "keys":
        seats = f", {terms.seats_per_unit} seats each" if terms.seats_per_unit > 1 else ""
        return f"One license key for each you buy{seats}"
    if terms.seats_per_unit > 1:
        return f"{terms.seats_per_unit} seats for each you buy, under one key"
    if terms.max_activations:
        return "All seats under one key"
    return "As many seats as you need, under one key"


def _machines(terms: Terms) -> str:
    if terms.max_activations is None:
        return "One machine for each seat"
    if terms.max_activations == 0:
        return "Any number of machines"
    # With a number of its own, seats bring no machines.
    told = "for each key" if terms.quantity == "keys" else "in all, however many seats"
    return f"{_count(terms.max_activations, 'machine')} at a time {told}"


def _span(seconds: int) -> str:
    days = seconds // _DAY
    if days and days % 365 == 0:
        return _count(days // 365, "year")
    return _count(days, "day") if days else _count(max(seconds // 3600, 1), "hour")


def _count(number: int, thing: str) -> str:
    return f"{number:,}{_NO_BREAK}{thing}{'' if number == 1 else 's'}"


def label(name: str) -> str:
    """`export.pdf` as a person reads it: `export PDF`."""
    words = _BETWEEN.split(name)
    return " ".join(word.upper() if word in _SPELLED else word for word in words)
