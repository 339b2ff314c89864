"""What waits for a tenant that is being made: the events of its subscription."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.email_address import folded
from keywright.domain.errors import Conflict
from keywright.domain.facts import Alias, HolderSeen, Stamp
from keywright.domain.purchase import Purchase, absorb
from keywright.flows import intake
from keywright.flows.claims import Claims
from keywright.flows.context import Context
from keywright.store import purchases, tenant_customers, tenant_ending
from keywright.store.provisionings import Provisioning
from keywright.store.purchases import StoredPurchase
from keywright.store.tenants import ProviderAccount

_BEFORE_ALL: Final = Stamp(datetime(1970, 1, 1, tzinfo=UTC))


def reserve(
    context: Context, connection: sa.Connection, account: ProviderAccount, made: Provisioning, email: str
) -> None:
    """Have the events of the subscription wait: the purchase that they meet says so, before the first.

    Raises Conflict (SUBSCRIPTION_OF_ANOTHER).
    """
    alias = Alias("subscription", made.subscription or "")
    claims = Claims(connection, account)
    met = purchases.meet(connection, account.id, [alias])
    claims.look([alias], met.claimed, ())
    found = met.found
    gone = part_closed(connection, (known.customer_tenant_id for known in found.values()))
    for known in found.values():
        if known.customer_tenant_id not in (None, *gone) or known.awaits not in (None, made.id):
            raise Conflict("This subscription is another tenant's.", code="SUBSCRIPTION_OF_ANOTHER")
        tenant_customers.await_tenant(connection, known.id, made.id)
    if found:
        return
    if claims.is_held(alias):
        raise Conflict("This subscription is another tenant's.", code="SUBSCRIPTION_OF_ANOTHER")
    # Before everything that the provider will tell, so that all of that is newer.
    buyer = HolderSeen(_BEFORE_ALL, made.customer, folded(email.strip()))
    id_, now = context.new_id("pur"), context.clock.now()
    state = absorb(Purchase(), buyer)
    stored = StoredPurchase(id_, account.tenant_id, account.id, None, state, now, awaits=made.id)
    purchases.insert(connection, [stored])
    purchases.insert_aliases(connection, [claims.stored(alias, id_)])


def let_go(context: Context, connection: sa.Connection, made: Provisioning) -> None:
    """No tenant comes: what waited for it is applied as a purchase like any other."""
    channel = context.find_channel(made.provider_account_id or "")
    if channel is None or made.subscription is None:
        return
    alias = Alias("subscription", made.subscription)
    _, found = purchases.find_by_aliases(connection, channel.account.id, [alias])
    for one in found.values():
        if one.awaits == made.id:
            tenant_customers.await_tenant(connection, one.id, None)
            # Who asked may have named somebody else's subscription: its key is not to be mailed to him.
            told = {name: said for name, said in one.state.holder.items() if said.stamp != _BEFORE_ALL}
            state = msgspec.structs.replace(one.state, holder=told)
            purchases.update(connection, [msgspec.structs.replace(one, state=state)], context.clock.now())
    intake.release(context, connection, channel.account, [("tenant", made.id)], context.clock.now())


def part_closed(connection: sa.Connection, several: Iterable[str | None]) -> list[str]:
    """A firm whose tenant was shredded may come back: those of these tenants are nobody's customers any more.

    Returns them.
    """
    gone = tenant_ending.closed_of(connection, several)
    if gone:
        tenant_ending.part_customers(connection, gone)
    return gone
