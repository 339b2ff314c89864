"""How many users a purchase gives the tenant that it was bought for. Pure: it is set, never added to."""

from __future__ import annotations

from collections.abc import Mapping

from keywright.domain.plan import Plan
from keywright.domain.purchase import Purchase

_NOTHING = ("ended", "abandoned", "incomplete")


def claim_of(purchase: Purchase) -> tuple[str, str] | None:
    """The tenant that the purchase says it was bought for, and the provider's customer who bought it.

    None when it says nothing of a tenant, or nobody knows the customer.
    """
    tenant, customer = purchase.holder.get("tenant"), purchase.holder.get("customer")
    if tenant is None or customer is None:
        return None
    return tenant.value, customer.value


def users_of(purchase: Purchase, plans: Mapping[str, Plan]) -> int:
    """The quantity of its subscription, in seats, as the newest snapshot has it; 0 when it is over.

    Args:
        plans: provider price id -> plan. Prices that are not in it, that are metered, or whose plan sells
            keys give no users.
    """
    seen = purchase.subscription
    if seen is None or seen.status in _NOTHING:
        return 0
    counted = [(item, plans[item.price].terms) for item in seen.items if item.price in plans]
    return sum(
        (item.quantity or 0) * terms.seats_per_unit for item, terms in counted if terms.quantity == "seats"
    )
