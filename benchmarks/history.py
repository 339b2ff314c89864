"""Gives seeded licenses a past: two years of timeline, payments, mails, events and acts of staff.

    python -m benchmarks.history --entries 1000000

Run after `benchmarks.seed`, on the same database. The chains hold and the MACs are right, so that the pages
read what a server would have written. The first license has a long life and many machines; each has mails,
half of them an event, and of some the payment failed.
"""

import argparse
import gc
import hashlib
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from benchmarks import spool
from benchmarks.seed import _hurry, settle
from keywright import bootstrap
from keywright.domain import purchase
from keywright.domain.facts import PaidLine, PaymentSeen, PaymentState, Stamp
from keywright.domain.license import License
from keywright.flows.context import Context
from keywright.flows.license_writes import clocks_of, sealed
from keywright.store import audit, licenses, purchases, revenue, rows, tables, timeline
from keywright.store.announcements import Announcement
from keywright.store.announcements import insert as owe
from keywright.store.operating_tables import audit as audit_table
from keywright.store.operating_tables import audit_heads
from keywright.store.rows import micros

_AT_ONCE = 2_500
_LONG_LIFE = 5_000
_MACHINES = 300
_ACTS = 20_000
_YEARS = timedelta(days=730)
_MONTH = timedelta(days=30)


class Historian:
    """Writes what happened to some licenses. The same every time."""

    def __init__(self, context: Context, per_license: int) -> None:
        self._context = context
        self._tenant = context.master.id
        self._account = context.channels["stripe"].account.id
        self._per_license = per_license
        self._now = context.clock.now()
        self._dice = random.Random(7)
        self._number = 0

    def write(self, connection: sa.Connection, held: list[License]) -> int:
        """Everything about these. Returns how many timeline entries were written."""
        entries: list[timeline.Entry] = []
        changed: list[dict[str, Any]] = []
        mails: list[Announcement] = []
        events: list[dict[str, Any]] = []
        wanted = {one.purchase_id for one in held}
        states = {one.id: one for one in _purchases(connection, self._account, wanted)}
        for one in held:
            self._number += 1
            born = self._now - _YEARS * self._dice.random()
            lived = _LONG_LIFE if self._number == 1 else self._per_license
            after, told = self._lived(one, born, lived)
            after = self._fate(after, born)
            if after.standing == "revoked":
                after, last = timeline.append(after, "license.revoked", {"by": "staff stf_1"}, self._now)
                told.append(last)
            entries += told
            changed.append({**self._row(after), "created_at": micros(born)})
            mails += self._mails(one, born)
            if self._number % 2:
                events.append(self._event(born))
            bought = states[str(one.purchase_id)]
            states[bought.id] = self._paid(bought, born)
        timeline.insert(connection, entries)
        rows.update(connection, tables.licenses, changed)
        purchases.update(connection, list(states.values()), self._now)
        owe(connection, mails)
        rows.insert(connection, tables.inbox, events)
        return len(entries)

    def _lived(self, held: License, born: datetime, count: int) -> tuple[License, list[timeline.Entry]]:
        told = []
        step = (self._now - born) / (count + 1)
        for number in range(count):
            kind = ("license.renewed", "mail.sent", "activation.created", "activation.released")[number % 4]
            detail = {"event": "invoice.paid", "before": clocks_of(held), "after": clocks_of(held)}
            if not kind.startswith("license"):
                detail = {"mail": "renewed", "activation": f"act_{number}"}
            held, entry = timeline.append(held, kind, detail, born + step * (number + 1))
            told.append(entry)
        return held, told

    def _fate(self, held: License, born: datetime) -> License:
        """A third is over, a tenth late, a few revoked or suspended: the counts have something to count."""
        chance = self._dice.random()
        changes: dict[str, Any] = {}
        if chance < 0.33:
            end = born + (self._now - born) * self._dice.random()
            changes = {"entitled_until": end, "active_until": end, "grace_until": end}
        elif chance < 0.43:
            end = self._now - timedelta(days=3)
            changes = {"entitled_until": end, "active_until": end, "past_due": True}
        elif chance < 0.46:
            changes = {"standing": "revoked"}
        elif chance < 0.48:
            changes = {"standing": "suspended"}
        return msgspec.structs.replace(held, **changes)

    def _row(self, held: License) -> dict[str, Any]:
        held = sealed(self._context, held)
        row = licenses.to_row(held)
        names = ("id", "entitled_until", "active_until", "grace_until", "past_due", "standing")
        return {
            **{name: row[name] for name in names},
            "mac": held.mac,
            "head": held.head,
            "events": held.events,
        }

    def _paid(self, bought: purchases.StoredPurchase, born: datetime) -> purchases.StoredPurchase:
        state, at, month = bought.state, born, 0
        while at < self._now and month < 6:
            digest = hashlib.sha256(f"{bought.id} {month}".encode()).hexdigest()
            paid: PaymentState = "failed" if self._dice.random() < 0.03 else "paid"
            line = PaidLine(spool.PRICE_ID, 1, at, at + _MONTH)
            name = f"in_{bought.id[4:]}_{month}"
            state = purchase.absorb(
                state, PaymentSeen(Stamp(at, 5, digest), name, paid, 5000, "USD", (line,))
            )
            at, month = at + _YEARS * 0.2 * self._dice.random(), month + 1
        return msgspec.structs.replace(bought, state=state)

    def _mails(self, held: License, born: datetime) -> Iterator[Announcement]:
        status = self._dice.choices(("sent", "pending", "waiting", "failed"), (990, 3, 2, 5))[0]
        yield Announcement(
            self._context.new_id("ann"),
            self._tenant,
            "license.issued",
            "history",
            held.id,
            held.id,
            self._context.new_id("bat"),
            born,
            status=status,
            attempts=1,
            next_attempt_at=self._now + timedelta(days=1) if status == "pending" else None,
            sent_at=born + timedelta(seconds=4) if status == "sent" else None,
            error="the mail server answered 550" if status == "failed" else None,
        )

    def _event(self, born: datetime) -> dict[str, Any]:
        status = self._dice.choices(("applied", "parked", "dead", "ignored"), (900, 20, 5, 75))[0]
        digest = hashlib.sha256(b"event %d" % self._number).hexdigest()
        body = {
            "id": f"evt_{digest[:24]}",
            "type": "invoice.paid",
            "object": {"id": f"in_{digest[:20]}", "amount_paid": 5000, "currency": "usd"},
        }
        return {
            "id": self._context.new_id("evt"),
            "tenant_id": self._tenant,
            "provider_account_id": self._account,
            "dedupe_key": body["id"],
            "type": body["type"],
            "occurred_at": micros(born),
            "received_at": micros(born + timedelta(seconds=2)),
            "processed_at": micros(born + timedelta(seconds=2)),
            "status": status,
            "reason": "unknown_price" if status in ("parked", "dead") else None,
            "error": None,
            "attempts": 1,
            "next_attempt_at": None,
            "body": msgspec.json.encode(body).decode(),
            "digest": digest,
            "raw_sha256": digest,
            "raw_size": 2_300,
            "api_version": None,
        }


def _purchases(connection: sa.Connection, account: str, ids: set[Any]) -> list[purchases.StoredPurchase]:
    query = sa.select(tables.purchases).where(tables.purchases.c.id.in_(ids))
    decode = msgspec.json.Decoder(purchase.Purchase).decode
    return [
        purchases.StoredPurchase(
            row["id"], row["tenant_id"], account, row["customer_id"], decode(row["state"]), row["created_at"]
        )
        for row in connection.execute(query).mappings()
    ]


def _machines(context: Context, connection: sa.Connection, held: License) -> None:
    """Many machines for one license."""
    now = context.clock.now()
    made = [
        {
            "id": context.new_id("act"),
            "tenant_id": held.tenant_id,
            "license_id": held.id,
            "fingerprint_hash": hashlib.sha256(b"more %d" % number).hexdigest(),
            "name": f"build-{number}.example.com",
            "activated_at": micros(now - timedelta(hours=number)),
            "last_seen_at": micros(now - timedelta(minutes=number)),
        }
        for number in range(_MACHINES)
    ]
    rows.insert(connection, tables.activations, made)


def _acts(context: Context, connection: sa.Connection) -> None:
    """A long audit, whose chain holds."""
    tenant, now = context.master.id, context.clock.now()
    head = connection.execute(
        sa.select(audit_heads.c.seq, audit_heads.c.hash).where(audit_heads.c.tenant_id == tenant)
    ).first()
    seq, last = (0, "") if head is None else (int(head[0]), str(head[1]))
    made = []
    for number in range(_ACTS):
        seq += 1
        at = now - _YEARS + _YEARS * number / _ACTS
        act = ("staff.signed_in", "event.replayed", "token.created", "catalog.applied")[number % 4]
        told = msgspec.json.encode({"with": "totp"}).decode()
        entry = audit.Entry(tenant, seq, at, f"staff stf_{number % 7}", act, f"subject_{number}", told, "")
        last = audit._chained(last, entry)  # noqa: SLF001  # the one place that knows how
        made.append({**msgspec.structs.asdict(entry), "at": micros(at), "hash": last})
    rows.insert(connection, audit_table, made)
    connection.execute(sa.delete(audit_heads).where(audit_heads.c.tenant_id == tenant))
    connection.execute(sa.insert(audit_heads).values(tenant_id=tenant, seq=seq, hash=last))


def _chunks(context: Context) -> Iterator[list[License]]:
    """All licenses, so many at a time."""
    after = ""
    text = sa.text(
        f"SELECT {licenses.SELECTED} FROM licenses l WHERE l.id > :after ORDER BY l.id LIMIT {_AT_ONCE}"  # noqa: S608  # our own names
    )
    while True:
        with context.database.read() as connection:
            page = [licenses.from_row(row) for row in connection.execute(text, {"after": after})]
        if not page:
            return
        yield page
        after = page[-1].id


def main() -> None:
    """Writes the history of the database of the environment."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history")
    parser.add_argument("--entries", type=int, default=1_000_000, help="of all timelines together, about")
    arguments = parser.parse_args()
    settings = bootstrap.read_settings()
    database = bootstrap.open_database(settings)
    if database.is_sqlite:
        sa.event.listen(database.engine, "connect", _hurry)
    context = bootstrap.build(settings, database)
    with database.read() as connection:
        held = int(connection.execute(sa.select(sa.func.count()).select_from(tables.licenses)).scalar_one())
    gc.disable()  # nothing here is cyclic
    historian = Historian(context, max(0, arguments.entries // max(held, 1) - 2))
    written = 2 * held
    for number, page in enumerate(_chunks(context)):
        with database.write() as connection:
            written += historian.write(connection, page)
            if number == 0:
                _machines(context, connection, page[0])
                _acts(context, connection)
    with database.write() as connection:
        revenue.recount(connection)
    with database.write() as connection:
        revenue.recount(connection)
    settle(database)
    database.dispose()
    print(f"{held} licenses, {written} timeline entries")


if __name__ == "__main__":
    main()
