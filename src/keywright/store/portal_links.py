"""Links that let customers into the portal, and the sessions they open. Of secrets there are hashes only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.store.tables import announcements, portal_links, portal_sessions

ADDRESS_KINDS: Final = ("address.confirm", "address.moved")
"""The mails about a new address, as announcements."""

_KEPT = timedelta(days=1)


class Link(msgspec.Struct, frozen=True):
    """`email_hash`: of the address it was asked for with. `browser_hash`: of the browser that asked."""

    id: str
    tenant_id: str
    customer_id: str
    email_hash: str
    hash: str
    browser_hash: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


class Session(msgspec.Struct, frozen=True):
    id: str
    tenant_id: str
    customer_id: str
    email_hash: str
    hash: str
    created_at: datetime
    expires_at: datetime


def insert_link(connection: sa.Connection, link: Link) -> None:
    connection.execute(sa.insert(portal_links).values(**msgspec.structs.asdict(link)))


def count_asked(connection: sa.Connection, tenant: str, email_hash: str, since: datetime) -> int:
    """How many links were made for an address. Call it with the customer locked."""
    query = sa.select(sa.func.count()).where(
        portal_links.c.tenant_id == tenant,
        portal_links.c.email_hash == email_hash,
        portal_links.c.created_at > since,
    )
    return int(connection.execute(query).scalar_one())


def find_link(connection: sa.Connection, link_id: str) -> Link | None:
    row = connection.execute(sa.select(portal_links).where(portal_links.c.id == link_id)).mappings().first()
    return None if row is None else Link(**row)


def find_link_by_hash(connection: sa.Connection, tenant: str, hashed: str) -> Link | None:
    query = sa.select(portal_links).where(portal_links.c.tenant_id == tenant, portal_links.c.hash == hashed)
    row = connection.execute(query).mappings().first()
    return None if row is None else Link(**row)


def use_link(connection: sa.Connection, link_id: str, now: datetime) -> bool:
    """Use it up. False when it was, or its time is over: of many at once, one gets True."""
    result = connection.execute(
        sa.update(portal_links)
        .where(
            portal_links.c.id == link_id,
            portal_links.c.used_at.is_(None),
            portal_links.c.expires_at > now,
        )
        .values(used_at=now)
    )
    return result.rowcount == 1


def insert_session(connection: sa.Connection, session: Session) -> None:
    connection.execute(sa.insert(portal_sessions).values(**msgspec.structs.asdict(session)))


def find_session(connection: sa.Connection, tenant: str, hashed: str, now: datetime) -> Session | None:
    """The session with this hash, while it lasts."""
    query = sa.select(portal_sessions).where(
        portal_sessions.c.tenant_id == tenant,
        portal_sessions.c.hash == hashed,
        portal_sessions.c.expires_at > now,
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else Session(**row)


def end_session(connection: sa.Connection, tenant: str, hashed: str) -> None:
    connection.execute(
        sa.delete(portal_sessions).where(
            portal_sessions.c.tenant_id == tenant, portal_sessions.c.hash == hashed
        )
    )


def end_sessions_of(connection: sa.Connection, people: Sequence[str]) -> None:
    """End every session of these customers."""
    connection.execute(sa.delete(portal_sessions).where(portal_sessions.c.customer_id.in_(people)))


def sweep(connection: sa.Connection, now: datetime) -> None:
    """Forget what has been over for a day."""
    _forget_links(connection, portal_links.c.expires_at < now - _KEPT)
    connection.execute(sa.delete(portal_sessions).where(portal_sessions.c.expires_at < now - _KEPT))


def forget_people(connection: sa.Connection, people: Sequence[str]) -> None:
    """Forget the links and sessions of these customers, with the addresses that they asked for."""
    _forget_links(connection, portal_links.c.customer_id.in_(people))
    end_sessions_of(connection, people)


def _forget_links(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    # The mails about a new address hold it, sealed, for as long as their link is kept.
    mails = sa.delete(announcements).where(
        announcements.c.subject_id.in_(sa.select(portal_links.c.id).where(which)),
        announcements.c.kind.in_(ADDRESS_KINDS),
    )
    connection.execute(mails)
    connection.execute(sa.delete(portal_links).where(which))
