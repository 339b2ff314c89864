"""Data keys of the vault and signing keys, both stored sealed."""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.store.tables import data_keys, signing_keys


class SigningKey(msgspec.Struct, frozen=True):
    """`public` is base64url; `private_sealed` is vault ciphertext. One is active per tenant and type."""

    kid: str
    tenant_id: str
    token_type: str
    public: str
    private_sealed: str
    state: str
    created_at: datetime


def find_data_key(connection: sa.Connection, tenant: str) -> str | None:
    query = sa.select(data_keys.c.wrapped).where(data_keys.c.tenant_id == tenant)
    return connection.execute(query).scalar()


def any_data_key(connection: sa.Connection) -> bool:
    """Whether this database holds anything that a master key sealed."""
    return connection.execute(sa.select(data_keys.c.tenant_id).limit(1)).first() is not None


def insert_data_key(connection: sa.Connection, tenant: str, wrapped: str, now: datetime) -> None:
    connection.execute(sa.insert(data_keys).values(tenant_id=tenant, wrapped=wrapped, created_at=now))


def list_signing_keys(connection: sa.Connection, tenant: str) -> list[SigningKey]:
    query = (
        sa.select(signing_keys).where(signing_keys.c.tenant_id == tenant).order_by(signing_keys.c.created_at)
    )
    return [SigningKey(**r) for r in connection.execute(query).mappings()]


def insert_signing_key(connection: sa.Connection, key: SigningKey) -> None:
    connection.execute(sa.insert(signing_keys).values(**msgspec.structs.asdict(key)))
