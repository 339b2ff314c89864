"""What no longer counts though a token of it may still be out, and the list that was last signed of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.store import rows
from keywright.store.catalog import decode_terms
from keywright.store.rows import micros, moment
from keywright.store.signing_tables import revocation_lists


class SignedList(msgspec.Struct, frozen=True):
    """`digest` tells what it says, without its number and times."""

    tenant_id: str
    seq: int
    digest: str
    document: str
    made_at: datetime


class RevokedLicense(msgspec.Struct, frozen=True):
    """`file_until`: the end of its last file. `lease_until`, `seen_at`: of its machines, held or freed."""

    id: str
    terms: Terms
    file_until: datetime | None
    lease_until: datetime | None
    seen_at: datetime | None


# The first condition is that of the index `ix_licenses_revoked`, word for word; the second `license.status`.
_LICENSES = sa.text(
    "SELECT l.id, p.terms,"
    " (SELECT max(f.expires_at) FROM license_files f WHERE f.license_id = l.id),"
    " (SELECT max(CASE WHEN a.out_until > coalesce(a.seat_until, 0) THEN a.out_until ELSE a.seat_until END)"
    " FROM activations a WHERE a.license_id = l.id),"
    " (SELECT max(coalesce(a.last_seen_at, a.activated_at)) FROM activations a WHERE a.license_id = l.id)"
    " FROM licenses l LEFT JOIN plans p ON p.id = l.plan_id WHERE l.tenant_id = :tenant"
    " AND (l.standing = 'revoked' OR l.lost_until IS NOT NULL)"
    " AND (l.standing = 'revoked'"
    " OR (l.lost_until > :now AND (l.active_until IS NULL OR l.active_until <= :now)))"
)
# A file goes where it wants; the machine it was for was freed, and another one may have its place.
_FILES = sa.text(
    "SELECT f.id FROM license_files f JOIN activations a ON a.id = f.activation_id"
    " WHERE f.tenant_id = :tenant AND f.expires_at > :now AND a.released_at IS NOT NULL ORDER BY f.id"
)


def list_licenses(connection: sa.Connection, tenant: str, now: datetime) -> Iterator[RevokedLicense]:
    """The licenses that are revoked at `now`."""
    for id_, terms, file, lease, seen in connection.execute(_LICENSES, _at(tenant, now)):
        told = decode_terms(terms) if terms is not None else Terms()
        yield RevokedLicense(id_, told, moment(file), moment(lease), moment(seen))


def list_files(connection: sa.Connection, tenant: str, now: datetime) -> list[str]:
    """The files whose machine was freed before they end."""
    return list(connection.execute(_FILES, _at(tenant, now)).scalars())


def find_list(connection: sa.Connection, tenant: str) -> SignedList | None:
    query = sa.select(revocation_lists).where(revocation_lists.c.tenant_id == tenant)
    found = connection.execute(query).mappings().first()
    return None if found is None else SignedList(**found)


def lock_list(connection: sa.Connection, tenant: str, now: datetime) -> SignedList:
    """The list, held until the transaction ends: two servers must not give one number to two lists."""
    empty = {"tenant_id": tenant, "seq": 0, "digest": "", "document": "", "made_at": micros(now)}
    rows.insert(connection, revocation_lists, [empty], ignore=True)
    query = sa.select(revocation_lists).where(revocation_lists.c.tenant_id == tenant).with_for_update()
    return SignedList(**connection.execute(query).mappings().one())


def keep_list(connection: sa.Connection, made: SignedList) -> None:
    connection.execute(
        sa.update(revocation_lists)
        .where(revocation_lists.c.tenant_id == made.tenant_id)
        .values(seq=made.seq, digest=made.digest, document=made.document, made_at=made.made_at)
    )


def _at(tenant: str, now: datetime) -> dict[str, object]:
    return {"tenant": tenant, "now": micros(now)}
