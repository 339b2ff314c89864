"""What happened to a license: append-only, hash-chained, with the head on the license row."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain.license import License
from keywright.store import rows, webhook_outbox
from keywright.store.rows import micros
from keywright.store.tables import timeline

_encode = msgspec.json.Encoder(order="deterministic").encode


class Entry(msgspec.Struct, frozen=True):
    license_id: str
    seq: int
    tenant_id: str
    at: datetime
    kind: str
    detail: str
    hash: str


def append(held: License, kind: str, detail: dict[str, Any], now: datetime) -> tuple[License, Entry]:
    """The entry, and the license with its chain head moved. The caller writes both in one transaction.

    `detail` holds no personal data: erasing a customer must not break the chain.
    """
    seq = held.events + 1
    text = _encode(detail).decode()
    entry = Entry(held.id, seq, held.tenant_id, now, kind, text, hash="")
    entry = msgspec.structs.replace(entry, hash=_chained(held.head, entry))
    return msgspec.structs.replace(held, head=entry.hash, events=seq), entry


def _chained(previous: str, entry: Entry) -> str:
    """The hash of an entry that follows the one with hash `previous`."""
    text = f"{previous}\n{entry.license_id}\n{entry.seq}\n{micros(entry.at)}\n{entry.kind}\n{entry.detail}"
    return hashlib.sha256(text.encode()).hexdigest()


def insert(connection: sa.Connection, entries: Sequence[Entry], *, quiet: bool = False) -> None:
    """Write the entries, and owe those who listen what they say, unless it is `quiet`.

    The licenses are written before.
    """
    ordered = sorted(entries, key=lambda e: (e.license_id, e.seq))
    rows.insert(
        connection,
        timeline,
        [
            {
                "license_id": e.license_id,
                "seq": e.seq,
                "tenant_id": e.tenant_id,
                "at": micros(e.at),
                "kind": e.kind,
                "detail": e.detail,
                "hash": e.hash,
            }
            for e in ordered
        ],
    )
    if not quiet:
        webhook_outbox.owe(connection, ordered)


def list_page(
    connection: sa.Connection, tenant: str, license_id: str, *, after: int, limit: int
) -> list[Entry]:
    """Oldest first, so the newest is last."""
    query = (
        sa.select(timeline)
        .where(timeline.c.tenant_id == tenant, timeline.c.license_id == license_id, timeline.c.seq > after)
        .order_by(timeline.c.seq)
        .limit(limit)
    )
    return [
        Entry(r["license_id"], r["seq"], r["tenant_id"], r["at"], r["kind"], r["detail"], r["hash"])
        for r in connection.execute(query).mappings()
    ]


def tells_of(connection: sa.Connection, license_id: str, reference: str) -> bool:
    """Whether an entry says that the checkout of this reference renewed or replaced the license."""
    query = (
        sa.select(timeline.c.seq)
        .where(
            timeline.c.license_id == license_id,
            timeline.c.kind.in_(("license.renewed", "license.replaced")),
            timeline.c.detail.contains(f'"reference":"{reference}"', autoescape=True),
        )
        .limit(1)
    )
    return connection.execute(query).first() is not None


def first_break(entries: Sequence[Entry], head: str) -> int | None:
    """The first entry whose hash does not follow from its predecessor; None when the chain holds.

    Entries must be complete and in order. A missing tail shows as a break after the last entry.
    """
    previous = ""
    for position, entry in enumerate(entries, start=1):
        if entry.seq != position or entry.hash != _chained(previous, entry):
            return position
        previous = entry.hash
    return None if previous == head else len(entries) + 1
