"""What the platform keeps of a connected tenant's sales. Pure: amounts in, amounts out.

A fee is a part of the charge, in basis points, and a fixed amount in the charge's currency. Parts are rounded
to the nearest minor unit, and a half goes up, to the platform: 2.5 % of 50.10 USD is 1.25 USD (1.2525), of
50.20 USD 1.26 USD (1.255). Nothing else is rounded. A least and a most bound it, and it is never more than
the charge: a fee takes nothing that was not paid.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

WHOLE: Final = 10_000
"""Basis points of a whole."""

OnRefund = Literal["give_back", "keep"]

_Minor = Annotated[int, msgspec.Meta(ge=0, lt=10**12)]


class Fixed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is the same for every charge in a currency, in ISO minor units. `most` None: no limit."""

    amount: _Minor = 0
    least: _Minor = 0
    most: _Minor | None = None


class FeeRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant's fee. `by_currency`: upper-case ISO codes; a currency without one has the percentage alone.

    `on_refund`: whether the platform gives its part back with a refund, or keeps it.
    """

    basis_points: Annotated[int, msgspec.Meta(ge=0, le=WHOLE)] = 0
    by_currency: Mapping[Annotated[str, msgspec.Meta(pattern=r"\A[A-Z]{3}\Z")], Fixed] = {}
    on_refund: OnRefund = "give_back"


NO_FEE: Final = FeeRule()


class Fee(msgspec.Struct, frozen=True):
    """The fee of one sale: its amount in ISO minor units, and the same as a part of every later charge."""

    amount: int
    basis_points: int

    def __bool__(self) -> bool:
        return self.amount > 0 or self.basis_points > 0


def fee_of(rule: FeeRule, amount: int, currency: str) -> int:
    """The fee on one charge of `amount` minor units: never negative, never more than the charge."""
    fixed = rule.by_currency.get(currency.upper(), Fixed())
    wanted = max(_part(amount, rule.basis_points) + fixed.amount, fixed.least)
    if fixed.most is not None:
        wanted = min(wanted, fixed.most)
    return max(min(wanted, amount), 0)


def on_sale(rule: FeeRule, amount: int, currency: str, *, recurring: bool) -> Fee:
    """The fee of a sale. Providers take a part of each charge of a subscription, in hundredths of a percent,
    and no fixed amount: there the fee on the first full charge is turned into the nearest such part.

    `amount`: of one full charge, in minor units; what a trial charges first does not matter.
    """
    fee = fee_of(rule, amount, currency)
    if not recurring:
        return Fee(fee, 0)
    if currency.upper() not in rule.by_currency:
        return Fee(0, rule.basis_points)
    return Fee(0, min((fee * WHOLE + amount // 2) // amount, WHOLE) if amount > 0 else 0)


def share_of(fee: int, refunded: int, amount: int) -> int:
    """The part of a fee that belongs to what was given back of a charge: all of it with all of the charge."""
    if amount <= 0 or refunded >= amount:
        return fee
    return (fee * max(refunded, 0) + amount // 2) // amount


def _part(amount: int, basis_points: int) -> int:
    return (amount * basis_points + WHOLE // 2) // WHOLE
