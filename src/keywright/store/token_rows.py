"""API tokens as their tenant manages them."""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.store.tables import tokens
from keywright.store.tenants import Token


def list_tokens(connection: sa.Connection, tenant: str) -> list[Token]:
    """Those that are good, oldest first."""
    query = sa.select(tokens.c.id, tokens.c.tenant_id, tokens.c.name, tokens.c.scope).where(
        tokens.c.tenant_id == tenant, tokens.c.revoked_at.is_(None)
    )
    return [Token(*row) for row in connection.execute(query.order_by(tokens.c.id))]


class TokenSeen(msgspec.Struct, frozen=True):
    """A token in a list for people."""

    id: str
    name: str
    scope: str
    created_at: datetime


def list_seen(connection: sa.Connection, tenant: str) -> list[TokenSeen]:
    """Those that are good, oldest first."""
    query = sa.select(tokens.c.id, tokens.c.name, tokens.c.scope, tokens.c.created_at).where(
        tokens.c.tenant_id == tenant, tokens.c.revoked_at.is_(None)
    )
    return [TokenSeen(*row) for row in connection.execute(query.order_by(tokens.c.id))]


def revoke(connection: sa.Connection, tenant: str, token_id: str, now: datetime) -> bool:
    """False when there is no such good token."""
    result = connection.execute(
        sa.update(tokens)
        .where(tokens.c.tenant_id == tenant, tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
        .values(revoked_at=now)
    )
    return result.rowcount == 1
