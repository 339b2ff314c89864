"""License files that are out: which they are, and until when they count."""

from __future__ import annotations

from datetime import datetime

import msgspec
import sqlalchemy as sa

from keywright.store.signing_tables import license_files


class LicenseFile(msgspec.Struct, frozen=True):
    """The file itself is not kept. `id` is its `jti`; `activation_id` None: it is bound to no machine."""

    id: str
    tenant_id: str
    license_id: str
    activation_id: str | None
    kid: str
    issued_at: datetime
    expires_at: datetime


def insert(connection: sa.Connection, file: LicenseFile) -> None:
    connection.execute(sa.insert(license_files).values(**msgspec.structs.asdict(file)))


def forget(connection: sa.Connection, license_id: str, before: datetime) -> None:
    """Drop a license's files that ended before then: nothing has to be told of them any more."""
    ended = sa.and_(license_files.c.license_id == license_id, license_files.c.expires_at < before)
    connection.execute(sa.delete(license_files).where(ended))


def list_of(
    connection: sa.Connection, tenant: str, license_id: str, *, limit: int = 100
) -> list[LicenseFile]:
    """A license's files, the last to end first."""
    query = (
        sa.select(license_files)
        .where(license_files.c.tenant_id == tenant, license_files.c.license_id == license_id)
        .order_by(license_files.c.expires_at.desc(), license_files.c.id.desc())
        .limit(limit)
    )
    return [LicenseFile(**row) for row in connection.execute(query).mappings()]
