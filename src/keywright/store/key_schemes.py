"""Under which schemes keys are held that are not of our kind."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from keywright.store import rows
from keywright.store.operating_tables import key_schemes
from keywright.store.rows import micros


def list_used(connection: sa.Connection) -> list[str]:
    """The schemes of all tenants: a program says its key and not whose it is."""
    query = sa.select(key_schemes.c.scheme).distinct().order_by(key_schemes.c.scheme)
    return [str(name) for name in connection.execute(query).scalars()]


def use(connection: sa.Connection, tenant: str, scheme: str, now: datetime) -> None:
    """Look for keys of this scheme from now on. Never taken back: its keys are out there."""
    row = {"tenant_id": tenant, "scheme": scheme, "created_at": micros(now)}
    rows.insert(connection, key_schemes, [row], ignore=True)
