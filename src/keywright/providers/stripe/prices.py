"""Stripe's prices as a catalog has them."""

from __future__ import annotations

from typing import Any, Final

from keywright.ports import PriceSeen
from keywright.providers.stripe.values import iso

# (unit, how many) -> the catalog's word. https://docs.stripe.com/api/prices/object#price_object-recurring
_SPANS: Final = {("month", 3): "quarter", ("month", 12): "year"}


def price_in(seen: dict[str, Any]) -> PriceSeen | None:
    """A price of Stripe's as a catalog could have it; None for one that is metered or tiered."""
    recurring = seen.get("recurring") or {}
    if seen.get("unit_amount") is None or recurring.get("usage_type") == "metered":
        return None
    product = seen.get("product")
    name = str(product.get("name", "")) if isinstance(product, dict) else ""
    currency = str(seen["currency"]).upper()
    return PriceSeen(
        external_id=str(seen["id"]),
        name=" ".join(part for part in (name, seen.get("nickname")) if part),
        amount=iso(int(seen["unit_amount"]), currency),
        currency=currency,
        interval=_interval(recurring),
    )


def _interval(recurring: dict[str, Any]) -> str | None:
    unit, count = recurring.get("interval"), int(recurring.get("interval_count") or 1)
    if unit is None:
        return None
    return str(unit) if count == 1 else _SPANS.get((unit, count), f"{count} {unit}s")
