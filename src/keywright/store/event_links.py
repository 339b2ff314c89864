"""Which purchases events are about, and which licenses those made: read without locks, for replays.

A replay that is only tried out looks at what is committed beside what it has just written: a lock taken here
would wait for the very transaction that asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from keywright.domain.facts import Alias
from keywright.store.tables import inbox_purchases, licenses, purchase_aliases


def purchases_of_events(connection: sa.Connection, events: Sequence[str]) -> set[str]:
    """The purchases that these events are linked with."""
    query = sa.select(inbox_purchases.c.purchase_id).where(inbox_purchases.c.inbox_id.in_(events))
    return set(connection.execute(query).scalars())


def purchases_named(connection: sa.Connection, account: str, aliases: Iterable[Alias]) -> set[str]:
    """The purchases that these names lead to."""
    named = [
        (purchase_aliases.c.kind == alias.kind) & (purchase_aliases.c.external_id == alias.external_id)
        for alias in sorted(set(aliases))
    ]
    if not named:
        return set()
    query = sa.select(purchase_aliases.c.purchase_id).where(
        purchase_aliases.c.provider_account_id == account, sa.or_(*named)
    )
    return set(connection.execute(query).scalars())


def licenses_of(connection: sa.Connection, purchases: Iterable[str]) -> list[str]:
    """The ids of the licenses of these purchases, in order."""
    query = sa.select(licenses.c.id).where(licenses.c.purchase_id.in_(sorted(purchases)))
    return sorted(connection.execute(query).scalars())
