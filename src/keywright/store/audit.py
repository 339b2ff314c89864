"""What was done that is about no single license: append-only, hash-chained, one chain for each tenant.

Licenses have their own timeline. Here stand a catalog that was applied, tokens, signing keys, staff.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.store import rows
from keywright.store.operating_tables import audit, audit_heads
from keywright.store.rows import micros

_encode = msgspec.json.Encoder(order="deterministic").encode
_PAGE = 1000


class Entry(msgspec.Struct, frozen=True):
    """`act` is a dotted name as `token.created`, `subject` the id of what it was done to.

    `detail` is JSON text.
    """

    tenant_id: str
    seq: int
    at: datetime
    actor: str
    act: str
    subject: str
    detail: str
    hash: str


def append(
    connection: sa.Connection,
    tenant: str,
    actor: str,
    act: str,
    subject: str,
    detail: Mapping[str, Any],
    now: datetime,
) -> Entry:
    """Add an entry in the caller's transaction, last of what it locks: writers of one tenant queue here.

    Args:
        actor: who, as an id: `token tok_...`, `staff stf_...`, `command line`.
        act: what, as `token.created`.
        subject: the id of what it was done to.
        detail: what else to know of it. Neither secrets nor personal data: erasing a person must not break
            the chain.
        now: the moment, aware, UTC.
    """
    seq, previous = _take_head(connection, tenant)
    entry = Entry(tenant, seq + 1, now, actor, act, subject, _encode(detail).decode(), "")
    entry = msgspec.structs.replace(entry, hash=_chained(previous, entry))
    connection.execute(sa.insert(audit).values(**msgspec.structs.asdict(entry)))
    connection.execute(
        sa.update(audit_heads).where(audit_heads.c.tenant_id == tenant).values(seq=entry.seq, hash=entry.hash)
    )
    return entry


def list_page(
    connection: sa.Connection,
    tenant: str,
    *,
    filters: Mapping[str, str],
    before: int | None,
    limit: int,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Entry]:
    """Newest first. `filters`: actor, act (`token` finds `token.created` too), subject. `since` is within,
    `until` is not."""
    query = sa.select(audit).where(audit.c.tenant_id == tenant).limit(limit)
    for name, value in filters.items():
        if name == "act":
            acts = _acts_within(connection, tenant, value)
            if not acts:
                return []
            query = query.where(audit.c.act.in_(acts))
        else:
            query = query.where(audit.c[name] == value)
    if since is None and until is None:
        query = query.order_by(audit.c.seq.desc())
        if before is not None:
            query = query.where(audit.c.seq < before)
    else:
        query = _between(query, tenant, since, until, before)
    return [Entry(**row) for row in connection.execute(query).mappings()]


def _between(
    query: sa.Select[Any], tenant: str, since: datetime | None, until: datetime | None, before: int | None
) -> sa.Select[Any]:
    """Of these days alone. By their index and in its order: any other way, many days are sorted, or a million
    entries looked at to find few. It is the order of the chain, too, unless the clock was set back."""
    query = query.order_by(audit.c.at.desc(), audit.c.seq.desc())
    if since is not None:
        query = query.where(audit.c.at >= since)
    if until is not None:
        query = query.where(audit.c.at < until)
    if before is not None:
        last = sa.select(audit.c.at).where(audit.c.tenant_id == tenant, audit.c.seq == before)
        at = last.scalar_subquery()
        query = query.where(sa.or_(audit.c.at < at, sa.and_(audit.c.at == at, audit.c.seq < before)))
    return query


def _acts_within(connection: sa.Connection, tenant: str, wanted: str) -> list[str]:
    """Which acts there are of a name, itself among them. A step of the index for each act that there is: they
    are a few dozens, and the entries may be a million."""
    found: list[str] = []
    last = ""
    while True:
        query = sa.select(sa.func.min(audit.c.act)).where(audit.c.tenant_id == tenant, audit.c.act > last)
        act = connection.execute(query).scalar()
        if act is None:
            return found
        if act == wanted or act.startswith(f"{wanted}."):
            found.append(act)
        last = act


def first_break(connection: sa.Connection, tenant: str) -> int | None:
    """The first entry that does not follow from the one before it; None when the chain holds.

    Entries that are missing at the end show as a break after the last one. Ask again after `hold` before
    alarming anybody: an entry may have been added between the two reads.
    """
    head = connection.execute(
        sa.select(audit_heads.c.seq, audit_heads.c.hash).where(audit_heads.c.tenant_id == tenant)
    ).first()
    length, last = (0, "") if head is None else (int(head[0]), str(head[1]))
    previous, expected = "", 1
    for entry in _all(connection, tenant):
        if entry.seq != expected or entry.hash != _chained(previous, entry):
            return expected
        previous, expected = entry.hash, expected + 1
    return None if (expected - 1, previous) == (length, last) else expected


def hold(connection: sa.Connection, tenant: str) -> None:
    """Let nobody add an entry until the transaction ends. Makes nothing good that is missing."""
    _find_head(connection, tenant)


def _all(connection: sa.Connection, tenant: str) -> Iterator[Entry]:
    after = 0
    while True:
        query = sa.select(audit).where(audit.c.tenant_id == tenant, audit.c.seq > after)
        page = connection.execute(query.order_by(audit.c.seq).limit(_PAGE)).mappings().all()
        yield from (Entry(**row) for row in page)
        if len(page) < _PAGE:
            return
        after = page[-1]["seq"]


def _take_head(connection: sa.Connection, tenant: str) -> tuple[int, str]:
    """Where the chain ends, held until the transaction ends. On SQLite every writer is alone anyway."""
    head = _find_head(connection, tenant)
    if head is not None:
        return head
    # Where somebody took the end away, acts must still be possible, and still be written down.
    last = sa.select(audit.c.seq, audit.c.hash).where(audit.c.tenant_id == tenant)
    found = connection.execute(last.order_by(audit.c.seq.desc()).limit(1)).first()
    seq, previous = (0, "") if found is None else (int(found[0]), str(found[1]))
    row = {"tenant_id": tenant, "seq": seq, "hash": previous}
    # Two may make it at once: the second waits for the first's commit, and then reads what it wrote.
    rows.insert(connection, audit_heads, [row], ignore=True)
    return _find_head(connection, tenant) or (seq, previous)


def _find_head(connection: sa.Connection, tenant: str) -> tuple[int, str] | None:
    query = sa.select(audit_heads.c.seq, audit_heads.c.hash).where(audit_heads.c.tenant_id == tenant)
    row = connection.execute(query.with_for_update()).first()
    return None if row is None else (int(row[0]), str(row[1]))


def _chained(previous: str, entry: Entry) -> str:
    """The hash of an entry that follows the one with hash `previous`: SHA-256 over a JSON array, hex."""
    told = (
        "audit/1",
        previous,
        entry.tenant_id,
        entry.seq,
        micros(entry.at),
        entry.actor,
        entry.act,
        entry.subject,
        entry.detail,
    )
    return hashlib.sha256(_encode(told)).hexdigest()
