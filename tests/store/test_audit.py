"""The audit: a chain for each tenant that tells what was changed and holds when many write at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from keywright.flows import admin_views
from keywright.flows.context import Context
from keywright.store import audit, tenants
from keywright.store.audit import Entry
from keywright.store.operating_tables import audit as table
from keywright.store.operating_tables import audit_heads

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


def tell(context: Context, act: str, subject: str = "tok_1", tenant: str | None = None) -> Entry:
    with context.database.write() as connection:
        return audit.append(
            connection, tenant or context.master.id, "command line", act, subject, {"why": "test"}, NOW
        )


def broken_at(context: Context, tenant: str | None = None) -> int | None:
    with context.database.read() as connection:
        return audit.first_break(connection, tenant or context.master.id)


def acts(context: Context, filters: dict[str, str]) -> Sequence[str]:
    with context.database.read() as connection:
        page = audit.list_page(connection, context.master.id, filters=filters, before=None, limit=10)
    return [entry.act for entry in page]


def test_entries_are_chained_and_listed_newest_first(context: Context) -> None:
    assert broken_at(context) is None
    entries = [tell(context, act) for act in ("token.created", "token.revoked", "catalog.applied")]
    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert len({entry.hash for entry in entries}) == 3
    assert broken_at(context) is None
    assert acts(context, {}) == ["catalog.applied", "token.revoked", "token.created"]
    assert acts(context, {"act": "token"}) == ["token.revoked", "token.created"]
    assert acts(context, {"act": "token.created"}) == ["token.created"]
    assert acts(context, {"act": "tok"}) == []
    assert acts(context, {"subject": "tok_2"}) == []
    assert acts(context, {"actor": "command line", "act": "catalog"}) == ["catalog.applied"]


def test_another_tenant_has_a_chain_of_its_own(context: Context) -> None:
    with context.database.write() as connection:
        tenants.insert(connection, tenants.Tenant("ten_b", "b", "B"), NOW)
    tell(context, "token.created")
    assert tell(context, "token.created", tenant="ten_b").seq == 1
    assert broken_at(context, "ten_b") is None
    assert acts(context, {}) == ["token.created"]


CHANGES: list[tuple[sa.Executable, int]] = [
    (sa.update(table).where(table.c.seq == 2).values(actor="somebody else"), 2),
    (sa.update(table).where(table.c.seq == 2).values(act="token.created"), 2),
    (sa.update(table).where(table.c.seq == 2).values(subject="tok_2"), 2),
    (sa.update(table).where(table.c.seq == 2).values(detail="{}"), 2),
    (sa.update(table).where(table.c.seq == 1).values(at=datetime(2026, 1, 1, tzinfo=UTC)), 1),
    (sa.delete(table).where(table.c.seq == 2), 2),
    (sa.delete(table).where(table.c.seq == 3), 3),
    (sa.delete(table), 1),
    (sa.update(audit_heads).values(seq=2), 4),
    (sa.update(audit_heads).values(hash="0" * 64), 4),
    (sa.delete(audit_heads), 4),
]


def test_what_was_changed_by_hand_is_found(context: Context) -> None:
    for act in ("token.created", "token.revoked", "catalog.applied"):
        tell(context, act)
    for change, at in CHANGES:
        with context.database.engine.connect() as connection, connection.begin() as tried:
            connection.execute(change)
            assert audit.first_break(connection, context.master.id) == at, change
            tried.rollback()
    assert broken_at(context) is None
    with context.database.write() as connection:
        connection.execute(sa.delete(audit_heads))
    for _ in range(2):
        assert admin_views.find_audit_break(context, context.master.id) == 4


def test_acts_are_written_down_where_the_end_was_taken_away(context: Context) -> None:
    tell(context, "token.created")
    with context.database.write() as connection:
        connection.execute(sa.delete(audit_heads))
    assert tell(context, "token.revoked").seq == 2
    assert broken_at(context) is None


def test_a_rolled_back_act_leaves_no_entry(context: Context) -> None:
    def fail_after() -> None:
        with context.database.write() as connection:
            audit.append(connection, context.master.id, "command line", "token.created", "tok_1", {}, NOW)
            raise RuntimeError("after the entry")

    with pytest.raises(RuntimeError, match="after the entry"):
        fail_after()
    assert acts(context, {}) == []
    assert tell(context, "token.created").seq == 1


def test_writers_at_one_moment_make_one_chain(context: Context) -> None:
    with ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(lambda n: tell(context, "token.created", f"tok_{n}"), range(40)))
    assert sorted(entry.seq for entry in entries) == list(range(1, 41))
    assert broken_at(context) is None
