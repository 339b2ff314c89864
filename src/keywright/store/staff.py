"""Staff, their one-time links and their second factors. Secrets are sealed or hashed before they come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa

from keywright.store.staff_tables import staff, staff_factors, staff_links, staff_sessions
from keywright.store.tables import tenants

_KEPT = timedelta(days=1)


class Staff(msgspec.Struct, frozen=True):
    """`ready_at`: set up, second factor included. `ended_at`: closed; the row stays, acts name it."""

    id: str
    tenant_id: str
    email: str
    role: str
    created_at: datetime
    password_sealed: str | None = None
    password_at: datetime | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None

    def __repr__(self) -> str:  # neither the address nor the hash reaches a log
        return f"Staff({self.id!r}, {self.role!r})"


class Link(msgspec.Struct, frozen=True):
    """`staff_id` None: it makes the first person."""

    id: str
    tenant_id: str
    staff_id: str | None
    hash: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


class Factor(msgspec.Struct, frozen=True):
    """`hash`: of a recovery code, or of a passkey's id. `counter`: the last step or signature count."""

    id: str
    tenant_id: str
    staff_id: str
    kind: str
    name: str
    created_at: datetime
    hash: str | None = None
    sealed: str | None = None
    counter: int = 0
    used_at: datetime | None = None


# -- people ---------------------------------------------------------------------------------------------


def insert(connection: sa.Connection, made: Staff) -> None:
    connection.execute(sa.insert(staff).values(**msgspec.structs.asdict(made)))


def find(connection: sa.Connection, tenant: str, staff_id: str, *, lock: bool = False) -> Staff | None:
    query = sa.select(staff).where(staff.c.tenant_id == tenant, staff.c.id == staff_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return None if row is None else Staff(**row)


def find_by_email(connection: sa.Connection, tenant: str, email: str) -> Staff | None:
    """By the folded address."""
    query = sa.select(staff).where(staff.c.tenant_id == tenant, staff.c.email == email)
    row = connection.execute(query).mappings().first()
    return None if row is None else Staff(**row)


def find_anywhere(connection: sa.Connection, email: str, slug: str) -> Staff | None:
    """Somebody who can sign in, by the folded address: of the tenant with this slug; without one of the
    master tenant, else of whichever tenant knew the address first."""
    query = (
        sa.select(staff)
        .join(tenants, tenants.c.id == staff.c.tenant_id)
        .where(staff.c.email == email, staff.c.ready_at.is_not(None), staff.c.ended_at.is_(None))
        .order_by(tenants.c.is_master.desc(), staff.c.id)
    )
    row = connection.execute(query.where(tenants.c.slug == slug) if slug else query).mappings().first()
    return None if row is None else Staff(**row)


def list_all(connection: sa.Connection, tenant: str) -> list[Staff]:
    """Everybody, the closed accounts too, oldest first."""
    query = sa.select(staff).where(staff.c.tenant_id == tenant).order_by(staff.c.id)
    return [Staff(**row) for row in connection.execute(query).mappings()]


def anybody_ready(connection: sa.Connection, tenant: str) -> bool:
    """Whether anybody was ever set up here."""
    query = sa.select(sa.literal(1)).where(staff.c.tenant_id == tenant, staff.c.ready_at.is_not(None))
    return connection.execute(query.limit(1)).first() is not None


def count_owners(connection: sa.Connection, tenant: str) -> int:
    """Owners who can sign in. Call it with the tenant locked."""
    query = sa.select(sa.func.count()).where(
        staff.c.tenant_id == tenant,
        staff.c.role == "owner",
        staff.c.ready_at.is_not(None),
        staff.c.ended_at.is_(None),
    )
    return int(connection.execute(query).scalar_one())


def lock_tenant(connection: sa.Connection, tenant: str) -> None:
    """Who changes who works here does so alone."""
    connection.execute(sa.select(tenants.c.id).where(tenants.c.id == tenant).with_for_update())


def change(connection: sa.Connection, changed: Staff) -> None:
    values = msgspec.structs.asdict(changed)
    connection.execute(
        sa.update(staff)
        .where(staff.c.tenant_id == changed.tenant_id, staff.c.id == changed.id)
        .values(values)
    )


# -- links ----------------------------------------------------------------------------------------------


def insert_link(connection: sa.Connection, link: Link, now: datetime) -> None:
    """Add it, and forget those that have been over for a day and were never used."""
    connection.execute(sa.delete(staff_sessions).where(staff_sessions.c.expires_at < now))
    unused = staff_links.c.used_at.is_(None)
    stale = staff_links.c.expires_at < now - _KEPT
    connection.execute(sa.delete(staff_links).where(unused, stale))
    connection.execute(sa.insert(staff_links).values(**msgspec.structs.asdict(link)))


def void_links(connection: sa.Connection, tenant: str, staff_id: str, now: datetime) -> None:
    """What was sent to a person before is no good any more."""
    connection.execute(
        sa.update(staff_links)
        .where(
            staff_links.c.tenant_id == tenant,
            staff_links.c.staff_id == staff_id,
            staff_links.c.used_at.is_(None),
        )
        .values(used_at=now)
    )


def find_link(connection: sa.Connection, hashed: str) -> Link | None:
    row = connection.execute(sa.select(staff_links).where(staff_links.c.hash == hashed)).mappings().first()
    return None if row is None else Link(**row)


def tie_link(connection: sa.Connection, link_id: str, staff_id: str) -> None:
    """A first link has found its person."""
    connection.execute(sa.update(staff_links).where(staff_links.c.id == link_id).values(staff_id=staff_id))


def use_link(connection: sa.Connection, link_id: str, now: datetime) -> bool:
    """Use it up. False when it was, or its time is over: of many at once, one gets True."""
    result = connection.execute(
        sa.update(staff_links)
        .where(
            staff_links.c.id == link_id,
            staff_links.c.used_at.is_(None),
            staff_links.c.expires_at > now,
        )
        .values(used_at=now)
    )
    return result.rowcount == 1


# -- second factors -------------------------------------------------------------------------------------


def insert_factors(connection: sa.Connection, made: Sequence[Factor]) -> None:
    connection.execute(sa.insert(staff_factors), [msgspec.structs.asdict(one) for one in made])


def list_factors(connection: sa.Connection, tenant: str, staff_id: str) -> list[Factor]:
    """All of a person, oldest first; recovery codes that were used are among them."""
    query = (
        sa.select(staff_factors)
        .where(staff_factors.c.tenant_id == tenant, staff_factors.c.staff_id == staff_id)
        .order_by(staff_factors.c.id)
    )
    return [Factor(**row) for row in connection.execute(query).mappings()]


def advance(connection: sa.Connection, factor_id: str, counter: int, now: datetime) -> bool:
    """Use a time step. False when it, or a later one, was used before."""
    result = connection.execute(
        sa.update(staff_factors)
        .where(staff_factors.c.id == factor_id, staff_factors.c.counter < counter)
        .values(counter=counter, used_at=now)
    )
    return result.rowcount == 1


def count_signature(
    connection: sa.Connection, factor_id: str, before: int, counter: int, now: datetime
) -> bool:
    """Note a passkey's count. False when another sign-in has moved it meanwhile."""
    result = connection.execute(
        sa.update(staff_factors)
        .where(staff_factors.c.id == factor_id, staff_factors.c.counter == before)
        .values(counter=counter, used_at=now)
    )
    return result.rowcount == 1


def use_recovery(connection: sa.Connection, tenant: str, staff_id: str, hashed: str, now: datetime) -> bool:
    """Use a recovery code up. False when it is none of this person's, or was used."""
    result = connection.execute(
        sa.update(staff_factors)
        .where(
            staff_factors.c.tenant_id == tenant,
            staff_factors.c.staff_id == staff_id,
            staff_factors.c.kind == "recovery",
            staff_factors.c.hash == hashed,
            staff_factors.c.used_at.is_(None),
        )
        .values(used_at=now)
    )
    return result.rowcount == 1


def drop_factors(
    connection: sa.Connection,
    tenant: str,
    staff_id: str,
    *,
    kind: str | None = None,
    factor_id: str | None = None,
) -> int:
    """Forget a person's factors: all, those of a kind, or one."""
    query = sa.delete(staff_factors).where(
        staff_factors.c.tenant_id == tenant, staff_factors.c.staff_id == staff_id
    )
    if kind is not None:
        query = query.where(staff_factors.c.kind == kind)
    if factor_id is not None:
        query = query.where(staff_factors.c.id == factor_id)
    return int(connection.execute(query).rowcount)
