"""Data keys of the vault and signing keys, both stored sealed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.domain.signing_key import KeyState
from keywright.store import rows
from keywright.store.rows import micros
from keywright.store.signing_tables import key_sets
from keywright.store.tables import signing_keys, tenants
from keywright.store.vault_tables import data_keys


class SigningKey(msgspec.Struct, frozen=True):
    """`public` is base64url; `private_sealed` is vault ciphertext, empty once the key signs no more.

    `created_at` is when it was published. One is active, and at most one next, per tenant and token type.
    """

    kid: str
    tenant_id: str
    token_type: str
    public: str
    private_sealed: str
    state: KeyState
    created_at: datetime
    activated_at: datetime | None = None
    retired_at: datetime | None = None
    revoked_at: datetime | None = None
    changed_by: str | None = None
    reason: str | None = None

    def __repr__(self) -> str:  # not even the ciphertext belongs into a log
        return f"SigningKey({self.kid!r}, {self.token_type!r}, {self.state!r})"


class KeySetRow(msgspec.Struct, frozen=True):
    """What a tenant publishes of its keys. `version` rises with every change of a key.

    `document`: the key set as the offline root signed it, with its number and its end; None before that.
    """

    tenant_id: str
    version: int = 0
    root_public: str | None = None
    seq: int = 0
    document: str | None = None
    signed_at: datetime | None = None
    signed_until: datetime | None = None


def any_data_key(connection: sa.Connection) -> bool:
    """Whether this database holds anything that a master key sealed."""
    return connection.execute(sa.select(data_keys.c.tenant_id).limit(1)).first() is not None


def insert_data_key(
    connection: sa.Connection, tenant: str, wrapped: str, master_id: str, now: datetime
) -> None:
    connection.execute(
        sa.insert(data_keys).values(tenant_id=tenant, wrapped=wrapped, master_id=master_id, created_at=now)
    )


def delete_data_key(connection: sa.Connection, tenant: str) -> None:
    """With it goes everything that was sealed under it."""
    connection.execute(sa.delete(data_keys).where(data_keys.c.tenant_id == tenant))


def tenants_with_keys(connection: sa.Connection) -> list[str]:
    """The tenants that have a data key, and so sign."""
    query = (
        sa.select(data_keys.c.tenant_id)
        .join(tenants, tenants.c.id == data_keys.c.tenant_id)
        .order_by(data_keys.c.tenant_id)
    )
    return list(connection.execute(query).scalars())


def signing_and_next(connection: sa.Connection) -> set[tuple[str, str, str]]:
    """Tenant, token type and state of every key that signs now, or signs after that."""
    held = signing_keys.c
    query = sa.select(held.tenant_id, held.token_type, held.state).where(held.state.in_(("active", "next")))
    return {(tenant, kind, state) for tenant, kind, state in connection.execute(query)}


def list_signing_keys(connection: sa.Connection, tenant: str) -> list[SigningKey]:
    """The oldest first."""
    query = (
        sa.select(signing_keys)
        .where(signing_keys.c.tenant_id == tenant)
        .order_by(signing_keys.c.created_at, signing_keys.c.kid)
    )
    return [SigningKey(**r) for r in connection.execute(query).mappings()]


def insert_signing_key(connection: sa.Connection, key: SigningKey) -> None:
    """Nothing happens where there is one of that type and state already: two servers may start at once."""
    row = msgspec.structs.asdict(key)
    for name in ("created_at", "activated_at", "retired_at", "revoked_at"):
        row[name] = micros(row[name])
    rows.insert(connection, signing_keys, [row], ignore=True)


def update_signing_key(connection: sa.Connection, key: SigningKey) -> None:
    """Write where a key stands now. Its pair is what it was, except that the private half may be gone."""
    connection.execute(
        sa.update(signing_keys)
        .where(signing_keys.c.tenant_id == key.tenant_id, signing_keys.c.kid == key.kid)
        .values(
            private_sealed=key.private_sealed,
            state=key.state,
            activated_at=key.activated_at,
            retired_at=key.retired_at,
            revoked_at=key.revoked_at,
            changed_by=key.changed_by,
            reason=key.reason,
        )
    )


def begin_key_set(connection: sa.Connection, tenant: str) -> None:
    """The row of a tenant's key set, if it is not there yet."""
    rows.insert(connection, key_sets, [{"tenant_id": tenant}], ignore=True)


def changed(connection: sa.Connection, tenant: str) -> None:
    """Note that keys change. First in the transaction: on PostgreSQL two changes then wait for each other."""
    connection.execute(
        sa.update(key_sets).where(key_sets.c.tenant_id == tenant).values(version=key_sets.c.version + 1)
    )


def versions(connection: sa.Connection, of: Collection[str]) -> dict[str, int]:
    """The version of each of these tenants' keys."""
    query = sa.select(key_sets.c.tenant_id, key_sets.c.version).where(key_sets.c.tenant_id.in_(sorted(of)))
    return {tenant: version for tenant, version in connection.execute(query)}  # noqa: C416  # rows, not pairs


def find_key_set(connection: sa.Connection, tenant: str, *, lock: bool = False) -> KeySetRow:
    query = sa.select(key_sets).where(key_sets.c.tenant_id == tenant)
    found = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return KeySetRow(tenant) if found is None else KeySetRow(**found)


def set_root(connection: sa.Connection, tenant: str, public: str) -> None:
    """The root that signs from now on. What another one signed is not served any longer."""
    _write(connection, tenant, root_public=public, document=None, signed_at=None, signed_until=None)


def keep_document(
    connection: sa.Connection, tenant: str, seq: int, document: str, at: datetime, until: datetime
) -> None:
    """The key set as the root has just signed it."""
    _write(connection, tenant, seq=seq, document=document, signed_at=at, signed_until=until)


def _write(connection: sa.Connection, tenant: str, **values: object) -> None:
    connection.execute(sa.update(key_sets).where(key_sets.c.tenant_id == tenant).values(**values))
