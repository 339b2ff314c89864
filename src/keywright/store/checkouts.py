"""Checkouts: our side of a purchase about to happen."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import Ordered, Renews
from keywright.store import changes as changes_told
from keywright.store import rows, wall
from keywright.store.tables import checkouts


class Checkout(msgspec.Struct, frozen=True):
    reference: str
    tenant_id: str
    provider_account_id: str
    plan_id: str
    price: str
    quantity: int
    amount: int
    currency: str
    status: str
    created_at: datetime
    expires_at: datetime
    session: str | None = None
    url: str | None = None
    firm: str | None = None
    renews: str | None = None
    idempotency_hash: str | None = None
    request_hash: str | None = None
    purchase_id: str | None = None
    settled_at: datetime | None = None
    claim_hash: str | None = None
    device_hash: str | None = None
    device_name: str | None = None
    device_bound_at: datetime | None = None
    language: str | None = None


_decode_renews = msgspec.json.Decoder(Renews).decode


def renews_of(checkout: Checkout) -> Renews | None:
    """The older license that it was opened for."""
    return None if checkout.renews is None else _decode_renews(checkout.renews)


def ordered_by(checkout: Checkout) -> Ordered:
    """What was ordered with it, as a fact."""
    return Ordered(
        checkout.reference,
        checkout.plan_id,
        checkout.price,
        checkout.quantity,
        checkout.firm,
        renews_of(checkout),
    )


def text_of(renews: Renews | None) -> str | None:
    """The same as it is stored."""
    return None if renews is None else msgspec.json.encode(renews).decode()


def insert(connection: sa.Connection, checkout: Checkout) -> None:
    connection.execute(sa.insert(checkouts).values(**msgspec.structs.asdict(checkout)))


def opened(connection: sa.Connection, tenant: str, reference: str, session: str, url: str) -> None:
    """The provider has opened its page for it."""
    connection.execute(
        sa.update(checkouts)
        .where(checkouts.c.tenant_id == tenant, checkouts.c.reference == reference)
        .values(session=session, url=url)
    )


def drop(connection: sa.Connection, tenant: str, reference: str) -> None:
    """The provider never learned of it."""
    connection.execute(
        sa.delete(checkouts).where(
            checkouts.c.tenant_id == tenant,
            checkouts.c.reference == reference,
            checkouts.c.purchase_id.is_(None),
        )
    )


def find(connection: sa.Connection, tenant: str, reference: str) -> Checkout | None:
    query = sa.select(checkouts).where(checkouts.c.tenant_id == tenant, checkouts.c.reference == reference)
    found = connection.execute(query).mappings().first()
    return None if found is None else Checkout(**found)


def find_by_idempotency(connection: sa.Connection, tenant: str, hashed: str) -> Checkout | None:
    query = sa.select(checkouts).where(
        checkouts.c.tenant_id == tenant, checkouts.c.idempotency_hash == hashed
    )
    found = connection.execute(query).mappings().first()
    return None if found is None else Checkout(**found)


def find_by_claim(connection: sa.Connection, tenant: str, hashed: str) -> Checkout | None:
    query = sa.select(checkouts).where(checkouts.c.claim_hash == hashed, checkouts.c.tenant_id == tenant)
    found = connection.execute(query).mappings().first()
    return None if found is None else Checkout(**found)


def find_many(connection: sa.Connection, tenant: str, references: Sequence[str]) -> dict[str, Checkout]:
    if not references:
        return {}
    query = sa.select(checkouts).where(checkouts.c.tenant_id == tenant, checkouts.c.reference.in_(references))
    return {r["reference"]: Checkout(**r) for r in connection.execute(query).mappings()}


def of_others(connection: sa.Connection, tenant: str, references: Sequence[str]) -> frozenset[str]:
    """Which of these name checkouts of other tenants."""
    query = sa.select(checkouts.c.reference).where(
        checkouts.c.tenant_id != tenant, checkouts.c.reference.in_(references)
    )
    with wall.lifted_on(connection):  # that they are others' is all that is seen
        return frozenset(connection.execute(query).scalars())


def bound(connection: sa.Connection, references: Sequence[str], now: datetime) -> None:
    """The machines that these checkouts named were seen to."""
    if references:
        named = checkouts.c.reference.in_(references)
        connection.execute(sa.update(checkouts).where(named).values(device_bound_at=now))


def settle(connection: sa.Connection, changes: Sequence[dict[str, Any]]) -> None:
    """Write status, purchase and settled_at of several checkouts."""
    rows.update(connection, checkouts, sorted(changes, key=lambda c: str(c["reference"])), key="reference")
    changes_told.note(connection, (str(change["reference"]) for change in changes))
