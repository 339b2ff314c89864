"""Drafts: purchases while a pass of fulfillment works on them."""

from __future__ import annotations

from keywright.domain.license import License
from keywright.domain.purchase import Purchase
from keywright.store.purchases import StoredPurchase


class Draft:
    """A purchase while a pass works on it. `absorbed`: the stored ones that turned out to be this one."""

    __slots__ = (
        *("absorbed", "awaits", "before", "customer_id", "event", "id"),
        *("language", "state", "stored", "superseded", "tenant", "users"),
    )

    def __init__(self, id_: str, stored: StoredPurchase | None) -> None:
        self.id = id_
        self.stored = stored
        self.before = stored.state if stored is not None else Purchase()
        self.state = self.before
        self.customer_id = stored.customer_id if stored is not None else None
        self.event = ""
        self.language: str | None = None
        self.absorbed: list[str] = []
        self.superseded = False
        self.tenant = stored.customer_tenant_id if stored is not None else None
        self.users = stored.users if stored is not None else None
        self.awaits = stored.awaits if stored is not None else None


def move_licenses(older: Draft, held: dict[str, list[License]]) -> None:
    """Licenses of absorbed purchases are the older one's, where it has none of the same product and unit.

    Their rows still name the purchase they came from: that is under their MAC, so it is written with them.
    """
    mine = held.setdefault(older.id, [])
    for id_ in older.absorbed:
        taken = {(one.product_id, one.unit) for one in mine}
        theirs = held.get(id_, [])
        mine += [one for one in theirs if (one.product_id, one.unit) not in taken]
        held[id_] = [one for one in theirs if (one.product_id, one.unit) in taken]


def holder_of(state: Purchase) -> dict[str, str]:
    """What providers said of who bought it."""
    return {member: told.value for member, told in state.holder.items()}
