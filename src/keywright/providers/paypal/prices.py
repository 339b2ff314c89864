"""PayPal's plans as a catalog has them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from keywright.domain.money import iso_exponent
from keywright.ports import PriceSeen
from keywright.providers.paypal import shapes
from keywright.providers.paypal.client import PayPalClient

PLANS: Final = "/v1/billing/plans"
_UNITS: Final[Mapping[tuple[str, int], str]] = {("MONTH", 3): "quarter", ("MONTH", 12): "year"}


def price_in(client: PayPalClient, listed: dict[str, Any]) -> PriceSeen | None:
    """A plan with the price of its regular cycle. Asks for it where the list left that out."""
    id_ = listed.get("id")
    if not isinstance(id_, str) or not shapes.is_id(id_):
        return None
    whole = listed if "billing_cycles" in listed else client.get(f"{PLANS}/{id_}").body
    try:
        plan = msgspec.convert(whole, shapes.Plan)
    except msgspec.ValidationError:
        return None
    return _priced(id_, str(whole.get("name") or ""), plan)


def _priced(id_: str, name: str, plan: shapes.Plan) -> PriceSeen | None:
    regular = next((one for one in plan.billing_cycles if one.tenure_type.upper() == "REGULAR"), None)
    price = regular.pricing_scheme.fixed_price if regular is not None and regular.pricing_scheme else None
    if regular is None or price is None or price.value is None or price.currency_code is None:
        return None
    currency = price.currency_code.upper()
    try:
        amount = int(Decimal(price.value).scaleb(iso_exponent(currency)))
    except InvalidOperation:
        return None
    unit, count = regular.frequency.interval_unit.upper(), regular.frequency.interval_count
    span = unit.lower() if count == 1 else _UNITS.get((unit, count), f"{count} {unit.lower()}s")
    return PriceSeen(id_, name, amount, currency, span)
