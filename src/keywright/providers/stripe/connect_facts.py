"""What Stripe says of the platform's fees, and of the accounts that are connected to it.

https://docs.stripe.com/connect/direct-charges and https://docs.stripe.com/api/application_fees/object
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from keywright.domain.facts import AccountSeen, FeeSeen, Projected, Reading, Stamp
from keywright.providers.stripe import shapes
from keywright.providers.stripe.values import at, id_of, iso


def _read_fee(event: Projected, seen: shapes.ApplicationFee) -> Reading:
    """Cumulative, like a charge's refunds: of two of one second the larger one is the newer."""
    currency = seen.currency.upper()
    fee = FeeSeen(
        stamp=Stamp(event.occurred_at, max(seen.amount_refunded, 0), event.digest),
        fee=seen.id,
        payer=id_of(seen.account) or "",
        amount=iso(seen.amount, currency),
        given_back=iso(seen.amount_refunded, currency),
        currency=currency,
        taken_at=at(seen.created) or event.occurred_at,
        charge=id_of(seen.charge),
    )
    return Reading((), (), founds=False, fee=fee)


def _read_account(event: Projected, seen: shapes.Account) -> Reading:
    needs = seen.requirements or shapes.Requirements()
    standing = AccountSeen(
        stamp=Stamp(event.occurred_at, 0, event.digest),
        account=seen.id,
        charges=bool(seen.charges_enabled),
        payouts=bool(seen.payouts_enabled),
        submitted=bool(seen.details_submitted),
        due=needs.currently_due,
        disabled_reason=needs.disabled_reason,
    )
    return Reading((), (), founds=False, standing=standing)


def _read_deauthorized(event: Projected, _seen: shapes.Application) -> Reading:
    """The object is the platform's own application: who left stands on the envelope alone."""
    stamp = Stamp(event.occurred_at, 1, event.digest)
    return Reading((), (), founds=False, standing=AccountSeen(stamp, event.account or "", left=True))


READERS: Final[Mapping[type[shapes.Shape], Callable[[Projected, Any], Reading]]] = {
    shapes.ApplicationFee: _read_fee,
    shapes.Account: _read_account,
    shapes.Application: _read_deauthorized,
}
"""How each shape is read."""
