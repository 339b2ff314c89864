"""Paystack's way to count money: hundredths, in every currency, also in those that have none."""

from __future__ import annotations

from typing import Final

from keywright.domain.errors import Invalid
from keywright.domain.money import iso_exponent

PAYSTACK_EXPONENT: Final = 2


def to_paystack(amount: int, currency: str) -> int:
    """ISO minor units in Paystack's hundredths.

    Raises Invalid for an amount with more decimals than Paystack has.
    """
    places = PAYSTACK_EXPONENT - iso_exponent(currency)
    if places >= 0:
        return amount * int(10**places)
    whole, rest = divmod(amount, int(10**-places))
    if rest:
        raise Invalid("Paystack has no thousandths: this amount cannot be asked for there")
    return whole
