"""Paystack's plans as a catalog has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from keywright.domain.money import to_iso_minor
from keywright.ports import PriceSeen
from keywright.providers.paystack.amounts import PAYSTACK_EXPONENT

_INTERVALS: Final[Mapping[str, str]] = {
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "quarterly": "quarter",
    "annually": "year",
    "biannually": "6 months",
}


def price_in(seen: Any, *, gone: bool = False) -> PriceSeen | None:
    """A plan of Paystack's as a catalog has it; one that is not sold any more only with `gone`."""
    if not isinstance(seen, Mapping):
        return None
    if not gone and (seen.get("is_deleted") or seen.get("is_archived")):
        return None
    code, amount, currency = seen.get("plan_code"), seen.get("amount"), seen.get("currency")
    if not (isinstance(code, str) and isinstance(amount, int) and isinstance(currency, str)):
        return None
    interval = str(seen.get("interval"))
    return PriceSeen(
        external_id=code,
        name=str(seen.get("name") or ""),
        amount=to_iso_minor(amount, currency.upper(), PAYSTACK_EXPONENT),
        currency=currency.upper(),
        interval=_INTERVALS.get(interval, interval),
    )
