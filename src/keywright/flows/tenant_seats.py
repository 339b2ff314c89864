"""Seats of a tenant that is itself a customer: its users are those that its subscription pays for.

The number is set from the newest snapshot, in the transaction that changes the license, and never added to.
What a purchase says of a tenant is believed only where that tenant's mapping holds the provider's customer:
whoever may write metadata could otherwise give one tenant the seats that another one pays for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import sqlalchemy as sa

from keywright.domain.errors import Conflict, Invalid
from keywright.domain.facts import HolderSeen, Reading
from keywright.domain.license import seats_at, status
from keywright.domain.plan import Plan
from keywright.domain.purchase import Purchase, prices_of
from keywright.domain.tenant_seats import claim_of, users_of
from keywright.flows.context import Context
from keywright.store import catalog, licenses, purchases, tenant_customers, wall
from keywright.store.tenant_customers import Seats
from keywright.store.tenants import ProviderAccount

_WORKS = ("active", "grace")


class Bought(Protocol):
    """A purchase of a pass. `tenant`: whom it was bought for; `users`: how many it gives him."""

    id: str
    state: Purchase
    superseded: bool
    tenant: str | None
    users: int | None


class ForTenants:
    """What a pass means for tenants. Costs no statement where nothing in it was bought for one."""

    def __init__(self, connection: sa.Connection, account: ProviderAccount) -> None:
        self._connection = connection
        self._account = account
        self._changed: set[str] = set()
        self._unbelieved: set[str] = set()

    def know(self, drafts: Sequence[Bought], plans: Mapping[str, Plan]) -> None:
        """Find out whom each was bought for, and how many users it gives. Before purchases are written."""
        asked = {one.id: claim for one in drafts if one.tenant is None and (claim := claim_of(one.state))}
        known: Mapping[str, str] = {}
        if asked:
            customers = [customer for _, customer in asked.values()]
            known = tenant_customers.find_many(self._connection, self._account.id, customers)
        for one in drafts:
            if one.id in asked:
                tenant, customer = asked[one.id]
                if known.get(customer) == tenant:
                    one.tenant = tenant
                else:
                    self._unbelieved.add(one.id)
            if one.tenant is not None:
                one.users = 0 if one.superseded else users_of(one.state, plans)
                self._changed.add(one.tenant)

    def doubts(self, purchase: str, reading: Reading) -> bool:
        """Whether this event says of the purchase what is not believed."""
        says = any(isinstance(fact, HolderSeen) and fact.tenant for fact in reading.facts)
        return says and purchase in self._unbelieved

    def write(self) -> None:
        """Set the tenants' numbers. After the purchases, and last of all rows: others may wait for these."""
        if self._changed:
            with wall.lifted_on(self._connection):  # the customer's row, from the seller's purchase
                tenant_customers.follow(self._connection, self._changed)


def settle_on(
    connection: sa.Connection, account: ProviderAccount, purchase: str, tenant: str, usual: int
) -> int:
    """Have a purchase be this tenant's, whatever it says itself. Returns how many users it gives: `usual`
    where nothing is known yet of its subscription.

    Raises Conflict (SUBSCRIPTION_OF_ANOTHER) when it is another tenant's.
    """
    stored = purchases.find(connection, account.tenant_id, purchase)
    if stored is None or stored.customer_tenant_id not in (None, tenant):
        raise Conflict("This subscription is another tenant's.", code="SUBSCRIPTION_OF_ANOTHER")
    prices = prices_of(stored.state)
    plans = catalog.plans_by_price(connection, account.tenant_id, account.provider, prices)
    users = users_of(stored.state, plans) if stored.state.subscription is not None else usual
    tenant_customers.give(connection, purchase, tenant, users)
    tenant_customers.follow(connection, [tenant])
    return users


def customer_for(context: Context, account: ProviderAccount, tenant: str | None) -> str | None:
    """The provider's customer that this tenant is, so that what he buys is believed to be the tenant's.

    None for no tenant. Raises Invalid (TENANT_NOT_MAPPED).
    """
    if tenant is None:
        return None
    with wall.lifted(), context.database.read() as connection:
        known = tenant_customers.of_tenant(connection, tenant)
    for seller, at, external in known:
        if (seller, at) == (account.tenant_id, account.id):
            return external
    detail = "This tenant is no customer of the account that sells: provision it with its customer first."
    raise Invalid(detail, code="TENANT_NOT_MAPPED")


# -- the rule on users ----------------------------------------------------------------------------------


def seats_of(context: Context, connection: sa.Connection, tenant: str) -> Seats:
    """How many users a tenant may have now, and how many it has.

    As many as its subscription says; more, while seats that were given up are paid for (`seat_decrease`), and
    none that are new, once its licenses have run out or were revoked. A tenant that never bought: any number.
    """
    found = tenant_customers.seats(connection, tenant)
    if found.licensed is None:
        return found
    now, paid_for, works = context.clock.now(), 0, False
    with wall.lifted_on(connection):  # what was bought for a tenant is its seller's
        theirs = tenant_customers.list_theirs(connection, tenant)
        for one in theirs:
            held = licenses.find(connection, one.seller, one.license)
            if held is not None and status(held, now) in _WORKS:
                works, paid_for = True, paid_for + seats_at(held, now)
    if not theirs:
        return found
    return Seats(max(found.licensed, paid_for) if works else 0, found.used)


def check_room(context: Context, connection: sa.Connection, tenant: str) -> None:
    """Before somebody new is let in. Nobody who is there is ever sent away. Call it with the tenant locked.

    Raises Conflict (USERS_EXHAUSTED).
    """
    found = seats_of(context, connection, tenant)
    if found.licensed is not None and found.used >= found.licensed:
        detail = f"{found.used} people work here, and {found.licensed} are paid for. Add licenses first."
        raise Conflict(detail, code="USERS_EXHAUSTED")
