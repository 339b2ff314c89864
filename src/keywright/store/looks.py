"""Looks of mails, by tenant."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from keywright.domain.errors import Invalid
from keywright.domain.language import USUAL, is_language
from keywright.domain.logo import Logo, read_logo
from keywright.domain.look import COLOR, Look, read_color
from keywright.store.look_tables import looks
from keywright.store.tables import customers


def of(connection: sa.Connection, tenants: Iterable[str]) -> dict[str, Look]:
    """Tenant -> look, of those who chose one."""
    query = sa.select(looks).where(looks.c.tenant_id.in_(sorted(set(tenants))))
    return {row["tenant_id"]: _look(row) for row in connection.execute(query).mappings()}


def find(connection: sa.Connection, tenant: str) -> Look | None:
    return of(connection, [tenant]).get(tenant)


def write(connection: sa.Connection, tenant: str, look: Look, now: datetime) -> None:
    """Write the look of a tenant. The caller holds the tenant's lock on the audit."""
    logo = None if look.logo is None else b64encode(look.logo.png).decode()
    told = {"color": look.color, "language": look.language, "logo": logo, "changed_at": now}
    changed = connection.execute(sa.update(looks).where(looks.c.tenant_id == tenant).values(told))
    if not changed.rowcount:
        connection.execute(sa.insert(looks).values(tenant_id=tenant, **told))


def language_of(connection: sa.Connection, tenant: str, customer_id: str) -> str | None:
    """The language that a customer is written to in, where it is known."""
    query = sa.select(customers.c.language).where(
        customers.c.tenant_id == tenant, customers.c.id == customer_id
    )
    found: str | None = connection.execute(query).scalar()
    return found


def _look(row: Any) -> Look:
    """A row as it is worn. One that somebody broke by hand must not hold mails up: they go out plain."""
    try:
        color = read_color(row["color"])
    except Invalid:
        color = COLOR
    language = row["language"] if is_language(row["language"]) else USUAL
    return Look(color, language, None if row["logo"] is None else _logo(row["logo"]))


@lru_cache(maxsize=16)
def _logo(text: str) -> Logo | None:
    try:
        return read_logo(b64decode(text, validate=True))
    except (Invalid, NotBase64):
        return None
