"""Stripe's values in our words: ids, times, amounts, references, aliases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from keywright.domain.facts import Alias, Item, PaidLine
from keywright.domain.money import iso_exponent, to_iso_minor
from keywright.providers.stripe import shapes

# Stripe's own list of currencies without and with three decimals. It has two for all others, also for ISK and
# UGX, where ISO 4217 has none, and none for MGA, where ISO has two.
_STRIPE_EXPONENTS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA"), 0),
    **dict.fromkeys(("PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 3),
}
NO_CURRENCY: Final = "XXX"
"""ISO 4217 for "no currency is involved"."""

_Named = str | shapes.Expanded | shapes.ExpandedCustomer | shapes.ExpandedIntent | shapes.ExpandedPrice | None


def id_of(ref: _Named) -> str | None:
    """The id behind a reference, whether Stripe was asked to expand it or not."""
    return ref if ref is None or isinstance(ref, str) else ref.id


def at(seconds: int | None) -> datetime | None:
    """A Unix time as an aware one."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def iso(amount: int, currency: str) -> int:
    """Stripe's minor units (https://docs.stripe.com/currencies#zero-decimal) in those of ISO 4217."""
    return to_iso_minor(amount, currency, _STRIPE_EXPONENTS.get(currency, 2))


def from_iso(amount: int, currency: str) -> int:
    """ISO 4217 minor units in Stripe's, rounded down: never more money than was asked for."""
    places = _STRIPE_EXPONENTS.get(currency, 2) - iso_exponent(currency)
    return amount * int(10**places) if places >= 0 else amount // int(10**-places)


def reference_in(metadata: shapes.Metadata | None) -> str | None:
    """The reference of ours that metadata carries; `hook.py` has dropped what is none."""
    return None if metadata is None else metadata.keywright_reference


def tenant_in(metadata: shapes.Metadata | None) -> str | None:
    """The tenant that metadata says it was bought for."""
    return None if metadata is None else metadata.tenant_id


def aliases_of(**external_ids: str | None) -> tuple[Alias, ...]:
    """Aliases in the order of the arguments, whose names are alias kinds."""
    kinds: Mapping[Any, str | None] = external_ids
    return tuple(Alias(kind, name) for kind, name in kinds.items() if name is not None)


def prices_of(positions: Iterable[Item | PaidLine]) -> tuple[str, ...]:
    """The price ids that the positions name, sorted."""
    return tuple(sorted({position.price for position in positions}))
