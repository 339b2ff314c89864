"""Firms, the epochs of their secrets, and how a license is found by an HMAC key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain.license import License
from keywright.store import licenses, rows
from keywright.store.firm_tables import firms, hmac_keys
from keywright.store.rows import Instant, micros
from keywright.store.tables import licenses as license_table
from keywright.store.tables import plans, products

_UNTOLD = datetime(1970, 1, 1, tzinfo=UTC)


class KeyRow(msgspec.Struct, frozen=True):
    """The keyed hash of an HMAC key and the license it leads to, under a MAC."""

    key_hash: str
    tenant_id: str
    license_id: str
    mac: str
    created_at: datetime


class Codes(msgspec.Struct, frozen=True):
    """What stands for a plan and its product in a key; None: nobody gave it one."""

    product_slug: str
    product: int | None
    tier: int | None


class Known(msgspec.Struct, frozen=True):
    """A key that is known, and of its license the firm and the hash of its license key. None: there is no
    such license."""

    row: KeyRow
    license_key_hash: str | None
    firm: str | None


def insert_keys(connection: sa.Connection, made: Sequence[KeyRow]) -> None:
    """A key that was made before, and is wanted again, is there already."""
    told = [
        {**msgspec.structs.asdict(one), "created_at": micros(one.created_at)}
        for one in sorted(made, key=lambda one: one.key_hash)
    ]
    rows.insert(connection, hmac_keys, told, ignore=True)


def find_keys(connection: sa.Connection, hashes: Iterable[str]) -> dict[str, Known]:
    """By hash: the keys that we know of these."""
    query = (
        sa.select(hmac_keys, license_table.c.key_hash.label("license_key_hash"), license_table.c.firm)
        .outerjoin(license_table, license_table.c.id == hmac_keys.c.license_id)
        .where(hmac_keys.c.key_hash.in_(sorted(set(hashes))))
    )
    found = {}
    for row in connection.execute(query).mappings():
        members: dict[str, Any] = dict(row)
        license_key_hash = members.pop("license_key_hash")
        firm = members.pop("firm")
        found[members["key_hash"]] = Known(KeyRow(**members), license_key_hash, firm)
    return found


def keys_of(connection: sa.Connection, held: Sequence[str]) -> dict[str, list[KeyRow]]:
    """By license id: all keys that lead to it."""
    # The time as it is stored: one that is none must not end an integrity check.
    columns = [
        sa.type_coerce(c, sa.BigInteger) if isinstance(c.type, Instant) else c for c in hmac_keys.columns
    ]
    found: dict[str, list[KeyRow]] = {}
    for row in connection.execute(sa.select(*columns).where(hmac_keys.c.license_id.in_(held))):
        key_hash, tenant, license_id, mac, _ = row
        found.setdefault(license_id, []).append(KeyRow(key_hash, tenant, license_id, mac, _UNTOLD))
    return found


def codes_of(connection: sa.Connection, plan_id: str) -> Codes:
    query = (
        sa.select(products.c.slug, products.c.code, plans.c.code)
        .join(products, products.c.id == plans.c.product_id)
        .where(plans.c.id == plan_id)
    )
    row = connection.execute(query).first()
    return Codes("", None, None) if row is None else Codes(*row)


def epoch_of(connection: sa.Connection, tenant: str, firm: str) -> int:
    """Which of the firm's secrets is the newest. They are counted from 1."""
    query = sa.select(firms.c.epoch).where(firms.c.tenant_id == tenant, firms.c.firm == firm)
    return int(connection.execute(query).scalar() or 1)


def raise_epoch(connection: sa.Connection, tenant: str, firm: str, epoch: int, now: datetime) -> None:
    """From now on the firm's newest secret is the one of this epoch."""
    where = (firms.c.tenant_id == tenant) & (firms.c.firm == firm)
    changed = connection.execute(sa.update(firms).where(where).values(epoch=epoch, rotated_at=now))
    if changed.rowcount == 0:
        connection.execute(sa.insert(firms).values(tenant_id=tenant, firm=firm, epoch=epoch, rotated_at=now))


def product_codes(connection: sa.Connection, tenant: str) -> dict[str, int]:
    """Product slug -> code, of the products that have one."""
    query = sa.select(products.c.slug, products.c.code).where(
        products.c.tenant_id == tenant, products.c.code.is_not(None)
    )
    return {slug: code for slug, code in connection.execute(query)}  # noqa: C416  # rows, not pairs


def licenses_of_firm(
    connection: sa.Connection, tenant: str, firm: str, *, product_id: str | None = None, lock: bool = False
) -> list[License]:
    """The firm's licenses, the oldest first; of one product when it is given."""
    query = licenses.every().where(license_table.c.tenant_id == tenant, license_table.c.firm == firm)
    if product_id is not None:
        query = query.where(license_table.c.product_id == product_id)
    query = query.order_by(license_table.c.id)
    found = connection.execute(query.with_for_update() if lock else query)
    return [licenses.from_row(row) for row in found]


def licenses_of_customers(
    connection: sa.Connection, tenant: str, customers: Sequence[str], product_id: str
) -> list[License]:
    """The licenses of one product that these customers hold, the oldest first."""
    query = licenses.every().where(
        license_table.c.tenant_id == tenant,
        license_table.c.customer_id.in_(customers),
        license_table.c.product_id == product_id,
    )
    found = connection.execute(query.order_by(license_table.c.id))
    return [licenses.from_row(row) for row in found]
