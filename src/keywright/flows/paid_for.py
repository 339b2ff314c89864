"""What a license is worth by its own purchase alone: under what staff decided, and what renewed it since."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from keywright.domain.grant import Grant, of_unit, worth
from keywright.domain.license import License
from keywright.domain.plan import Plan
from keywright.domain.purchase import prices_of
from keywright.store import catalog, license_views
from keywright.store.purchases import StoredPurchase


def paid_for(connection: sa.Connection, held: License, plan: Plan, purchase: StoredPurchase | None) -> Grant:
    """The grant of the license's purchase, or nothing when staff issued it. `plan`: the license's own."""
    if held.purchase_id is None:
        return nothing_paid(plan, trial=held.origin == "trial" and not held.overrides.renewals)
    if purchase is not None:
        provider = license_views.provider_of(connection, purchase.provider_account_id)
        plans = catalog.plans_by_price(connection, held.tenant_id, provider, prices_of(purchase.state))
        for grant in worth(purchase.state, plans):
            if grant.product_id == held.product_id:
                return of_unit(grant, held.unit)
    return _as_it_stands(held, plan)


def nothing_paid(plan: Plan, *, trial: bool = False) -> Grant:
    """The grant of a license that nobody paid for. `trial`: staff gave it out to be tried."""
    return Grant(
        product_id=plan.product_id,
        plan=plan,
        seats=0,
        units=1,
        entitled_until=None,
        active_until=None,
        grace_until=None,
        trial=trial,
    )


def _as_it_stands(held: License, plan: Plan) -> Grant:
    """For a purchase that says nothing of this license any more: merged away, or its price was remapped."""
    gone = held.reason == "merged"
    grant = Grant(
        product_id=held.product_id,
        plan=plan,
        seats=held.seats - held.overrides.seats,
        units=1,
        entitled_until=held.entitled_until,
        active_until=held.active_until,
        grace_until=held.grace_until,
        lost_until=held.lost_until,
        standing="revoked" if gone else "ok",
        reason="merged" if gone else "",
        trial=held.trial,
        canceling=held.canceling,
        past_due=held.past_due,
        seats_after=None if held.seats_after is None else held.seats_after - held.overrides.seats,
        seats_after_at=held.seats_after_at,
    )
    under = held.overrides.under
    if under is None:
        return grant
    # The row's own clocks have the renewals in them already, and would get them once more.
    return msgspec.structs.replace(
        grant,
        seats=under.seats,
        entitled_until=under.until,
        active_until=under.until,
        grace_until=under.until,
        seats_after=None,
        seats_after_at=None,
    )
