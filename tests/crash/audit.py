"""What must be true of a shop when all is quiet: every event kept once, every effect there once and right."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from keywright.domain.facts import Fact
from keywright.domain.grant import of_unit, worth
from keywright.domain.license import License, granted, is_intact
from keywright.domain.purchase import Purchase, absorb
from keywright.flows.context import Context
from keywright.store import catalog, inbox, tables
from keywright.store import timeline as history
from keywright.store.timeline import Entry
from tests.crash.crowd import Crowd, Shop
from tests.crash.lives import PRICES, expected
from tests.crash.test_kill import by_purchase, rows
from tests.life import world

_QUIET_WITHIN = 120.0
UNDONE = ("pending", "waiting", "failed")


def unquiet(context: Context, *, wholly: bool) -> str:
    """What is still to be done, in words; empty when all is quiet.

    What events name that came twice is asked for once more, a minute later. `wholly`: that too is done.
    """
    found: dict[str, int] = {}
    for status, number in rows(
        context, sa.select(tables.inbox.c.status, sa.func.count()).group_by(tables.inbox.c.status)
    ):
        if status not in ("applied", "ignored"):
            found[f"events {status}"] = number
    owed = tables.announcements.c.status
    found["mails"] = rows(context, sa.select(sa.func.count()).where(owed.in_(UNDONE)))[0][0]
    wanted, asked = tables.refetches.c, sa.select(sa.func.count()).select_from(tables.refetches)
    late = sa.or_(
        sa.true() if wholly else sa.false(), wanted.due_at <= context.clock.now(), wanted.attempts > 0
    )
    found["refetches"] = rows(context, asked.where(late))[0][0]
    found["waits"] = world.count(context, tables.inbox_waits)
    return ", ".join(f"{number} {what}" for what, number in found.items() if number)


def kept_events(context: Context) -> set[str]:
    return {key for (key,) in rows(context, sa.select(tables.inbox.c.dedupe_key))}


def check_all(shop: Shop, crowd: Crowd) -> None:
    """Everything. Raises AssertionError with what is wrong."""
    with shop.opened() as context:
        check_events(context, crowd)
        held = check_licenses(context, shop)
        check_facts(context, shop, held)
        check_timelines(context, held)
        check_mails(context, shop, held)


def check_events(context: Context, crowd: Crowd) -> None:
    """Each event is kept once and was applied, and so were all answers of the providers."""
    kept = rows(context, sa.select(tables.inbox.c.type, tables.inbox.c.dedupe_key, tables.inbox.c.status))
    told = Counter(event.key for event in crowd.told)
    assert max(told.values()) == 1
    assert Counter(row.dedupe_key for row in kept if not row.type.startswith("fetched.")) == told
    assert Counter(row.status for row in kept) == {"applied": len(kept)}
    if context.database.is_sqlite:
        with context.database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def check_licenses(context: Context, shop: Shop) -> dict[int, License]:
    """One purchase and one license for each life, worth what it should be. By the number of the life."""
    held = by_purchase(context)
    providers = {channel.account.id: name for name, channel in context.channels.items()}
    alias = tables.purchase_aliases.c
    query = sa.select(alias.provider_account_id, alias.external_id, alias.purchase_id)
    purchases: dict[int, set[str]] = {}
    for account, name, purchase in rows(context, query):
        purchases.setdefault(shop.book.named[providers[account], name].number, set()).add(purchase)
    assert {len(several) for several in purchases.values()} == {1}
    assert world.count(context, tables.purchases) == len(purchases) == len(shop.book.lives)
    assert world.count(context, tables.licenses) == len(held) == len(shop.book.lives)
    found = {}
    for life in shop.book.lives:
        one = found[life.number] = held[purchases[life.number].pop()]
        assert {name: getattr(one, name) for name in expected(life)} == expected(life), life
        assert is_intact(one, context.vault.row_key(one.tenant_id)), life
    return found


def check_facts(context: Context, shop: Shop, held: Mapping[int, License]) -> None:
    """The pure domain, told the facts of everything that was kept in any order, says the same."""
    channels = {channel.account.id: channel for channel in context.channels.values()}
    facts: dict[int, list[Fact]] = {}
    with context.database.read() as connection:
        ids = list(connection.execute(sa.select(tables.inbox.c.id)).scalars())
        for start in range(0, len(ids), 500):
            for item in inbox.get_many(connection, ids[start : start + 500]):
                channel = channels[item.provider_account_id]
                reading = channel.events.read(item.projected)
                names = [(channel.account.provider, alias.external_id) for alias in reading.aliases]
                (number,) = {shop.book.named[name].number for name in names}
                facts.setdefault(number, []).extend(reading.facts)
        plans = {
            name: catalog.plans_by_price(connection, context.master.id, name, [price])
            for name, price in PRICES.items()
        }
    for life in shop.book.lives:
        told = facts[life.number]
        random.shuffle(told)
        purchase = Purchase()
        for fact in told:
            purchase = absorb(purchase, fact)
        (grant,) = worth(purchase, plans[life.provider])
        one = held[life.number]
        assert granted(one, of_unit(grant, one.unit)) is one, life


def check_timelines(context: Context, held: Mapping[int, License]) -> None:
    """Each chain holds, each entry goes on from where the one before ended, and nothing happened twice."""
    told: dict[str, list[Entry]] = {}
    query = sa.select(tables.timeline).order_by(tables.timeline.c.license_id, tables.timeline.c.seq)
    for r in rows(context, query):
        entry = Entry(r.license_id, r.seq, r.tenant_id, r.at, r.kind, r.detail, r.hash)
        told.setdefault(entry.license_id, []).append(entry)
    assert set(told) == {one.id for one in held.values()}
    mails = tables.announcements.c
    sent = Counter(id_ for (id_,) in rows(context, sa.select(mails.license_id).where(mails.status == "sent")))
    for one in held.values():
        entries = told[one.id]
        assert history.first_break(entries, one.head) is None, one.id
        assert one.events == len(entries)
        kinds = Counter(entry.kind for entry in entries)
        assert kinds["license.issued"] == 1, kinds
        assert kinds["mail.sent"] == sent[one.id], kinds
        state: Any = None
        for detail in (json.loads(entry.detail) for entry in entries):
            if "after" in detail:
                assert detail.get("before") == state
                assert detail["after"] != state
                state = detail["after"]


def check_mails(context: Context, shop: Shop, held: Mapping[int, License]) -> None:
    """One mail with the key for each license, nothing twice, and a file for each that was sent."""
    owed = tables.announcements.c
    query = sa.select(owed.id, owed.subject_id, owed.license_id, owed.kind, owed.occurrence, owed.status)
    announced = rows(context, query)
    keys = [row for row in announced if row.kind == "license.issued"]
    assert Counter(row.license_id for row in keys) == Counter(one.id for one in held.values())
    assert {row.status for row in keys} == {"sent"}
    once = Counter((row.subject_id, row.kind, row.occurrence) for row in announced)
    assert max(once.values()) == 1
    assert {row.kind for row in announced} <= {"license.issued", "notice.refunded", "notice.expired"}
    files = {file.name for file in shop.outbox.glob("*.eml")}
    assert files == {f"{row.id}@127.0.0.1.eml" for row in announced if row.status == "sent"}
    mail_of = {row.license_id: row.id for row in keys}
    for life in shop.book.lives:
        one = held[life.number]
        text = (shop.outbox / f"{mail_of[one.id]}@127.0.0.1.eml").read_text()
        assert f"To: {life.email}\n" in text
        assert world.key_of(context, one) in text


def wait_quiet(shop: Shop, *, wholly: bool, more: float = 0.0) -> float:
    """Until all is done; how long it took, in seconds. `wholly` as for `unquiet`.

    Raises AssertionError with what is left.
    """
    began = time.monotonic()
    limit = _QUIET_WITHIN + len(shop.book.lives) / 10 + more  # a mail is a file that is written through
    with shop.opened() as context:
        while left := unquiet(context, wholly=wholly):
            took = time.monotonic() - began
            assert took < limit, f"after {took:.0f} s there are {left}: {left_behind(context)}"
            time.sleep(0.5)
    return time.monotonic() - began


def left_behind(context: Context) -> list[str]:
    """A few rows of what is not done, to look for the reason."""
    owed, kept = tables.announcements.c, tables.inbox.c
    columns: list[sa.ColumnClause[Any]] = [
        sa.column(name) for name in ("queue_name", "status", "executor_id", "created_at")
    ]
    schema = None if context.database.is_sqlite else "dbos"
    flow = sa.table("workflow_status", *columns, schema=schema).c
    queries: list[sa.Select[Any]] = [
        sa.select(tables.announcements).where(owed.status.in_(UNDONE)).limit(3),
        sa.select(tables.refetches).order_by(tables.refetches.c.due_at).limit(3),
        sa.select(kept.id, kept.type, kept.status, kept.reason, kept.next_attempt_at)
        .where(kept.status.not_in(("applied", "ignored")))
        .limit(3),
        sa.select(
            flow.queue_name, flow.status, flow.executor_id, sa.func.count(), sa.func.min(flow.created_at)
        )
        .where(flow.status.not_in(("SUCCESS", "ERROR")))
        .group_by(flow.queue_name, flow.status, flow.executor_id),
    ]
    with context.database.read() as connection:
        return [str(tuple(row)) for query in queries for row in connection.execute(query)]
