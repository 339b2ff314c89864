"""Money is an integer of ISO 4217 minor units and a currency. Providers count some currencies differently."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

# ISO 4217, list one: the currencies in use whose exponent is not 2.
_ISO_EXPONENTS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI"), 0),
    **dict.fromkeys(("VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


def iso_exponent(currency: str) -> int:
    """How many decimals a currency (upper-case ISO code) has; 2 where the standard names nothing else."""
    return _ISO_EXPONENTS.get(currency, 2)


def to_iso_minor(amount: int, currency: str, exponent: int) -> int:
    """An amount counted with `exponent` decimals, in ISO 4217 minor units.

    Digits that ISO has no place for are rounded half away from zero: the money has moved, and an event about
    it must not be refused for a hundredth of a krona.

    Args:
        amount: what the provider sent.
        currency: upper-case ISO code.
        exponent: the decimals the provider uses for this currency.
    """
    places = iso_exponent(currency) - exponent
    if places >= 0:
        return amount * int(10**places)
    divisor = int(10**-places)
    rounded = (abs(amount) + divisor // 2) // divisor
    return rounded if amount >= 0 else -rounded


def written(amount: int, currency: str) -> str:
    """An amount of ISO 4217 minor units as people write it: 5000 and USD are `50.00 USD`."""
    places = iso_exponent(currency)
    return f"{Decimal(amount).scaleb(-places):,.{places}f} {currency}"
