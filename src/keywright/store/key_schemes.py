"""Under which schemes keys are held that are not of our kind, and which keys were replaced."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from keywright.store import rows
from keywright.store.operating_tables import former_keys, key_schemes
from keywright.store.rows import micros


def list_used(connection: sa.Connection) -> list[str]:
    """The schemes of all tenants: a program says its key and not whose it is."""
    query = sa.select(key_schemes.c.scheme).distinct().order_by(key_schemes.c.scheme)
    return [str(name) for name in connection.execute(query).scalars()]


def use(connection: sa.Connection, tenant: str, scheme: str, now: datetime) -> None:
    """Look for keys of this scheme from now on. Never taken back: its keys are out there."""
    row = {"tenant_id": tenant, "scheme": scheme, "created_at": micros(now)}
    rows.insert(connection, key_schemes, [row], ignore=True)


def replace(connection: sa.Connection, tenant: str, license_id: str, key_hash: str, now: datetime) -> None:
    """Remember that this key of a license was replaced by another."""
    row = {"key_hash": key_hash, "tenant_id": tenant, "license_id": license_id, "replaced_at": micros(now)}
    rows.insert(connection, former_keys, [row], ignore=True)


def replaced(connection: sa.Connection, key_hashes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Those of these keys that were replaced: key hash -> tenant and license."""
    query = sa.select(former_keys.c.key_hash, former_keys.c.tenant_id, former_keys.c.license_id)
    found = connection.execute(query.where(former_keys.c.key_hash.in_(key_hashes)))
    return {key_hash: (tenant, license_id) for key_hash, tenant, license_id in found}
