"""The schema: the migration makes what the tables say, and no frequent query reads more than it answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from keywright.domain.facts import Alias
from keywright.flows.context import Context
from keywright.store import announcements, inbox, mails, numbers, portal_views, purchases, revocations
from keywright.store.tables import metadata

Query = Callable[[sa.Connection], object]
NOW = datetime(2026, 11, 1, tzinfo=UTC)


# SQLite does not tell what an index on an expression is on; PostgreSQL does, and there it is compared.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_the_migration_makes_what_the_tables_say(context: Context) -> None:
    with context.database.engine.connect() as connection:
        # The workflow engine keeps its tables in the same SQLite file.
        ours = MigrationContext.configure(
            connection,
            opts={"include_name": lambda name, kind, _: kind != "table" or name in metadata.tables},
        )
        assert compare_metadata(ours, metadata) == []


def plans_of(context: Context, query: Query) -> list[str]:
    """How SQLite means to answer what `query` asks on a connection."""
    asked: list[tuple[str, object]] = []

    def listen(_conn: object, _cursor: object, text: str, values: object, *_: object) -> None:
        asked.append((text, values))

    with context.database.read() as connection:
        sa.event.listen(connection, "before_cursor_execute", listen)
        query(connection)
        sa.event.remove(connection, "before_cursor_execute", listen)
        return [
            str(row[3])
            for text, values in asked
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", values)  # type: ignore[arg-type]  # as it was asked
        ]


# PostgreSQL plans by what is in the tables, and these are empty.
@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            lambda c: numbers.census(c, "ten_1", NOW, [NOW, NOW]),
            "COVERING INDEX ix_licenses_made (created_at>?)",
        ),
        (
            lambda c: numbers.census(c, "ten_1", NOW, [NOW, NOW]),
            "ix_timeline_revoked (tenant_id=? AND at>?)",
        ),
        (
            lambda c: mails.list_page(c, "ten_1", status="", about="alarm", after="", limit=50),
            "ix_announcements_apart (tenant_id=?)",
        ),
        (
            lambda c: mails.list_page(c, "ten_1", status="sent", about="", after="ann_1", limit=50),
            "sqlite_autoindex_announcements_1 (id<?)",
        ),
        (lambda c: announcements.pending(c, "bat_1"), "ix_announcements_batch (batch=? AND status=?)"),
        (
            lambda c: inbox.list_page(c, "ten_1", filters={}, after="evt_1", limit=50),
            "ix_inbox_tenant (tenant_id=? AND id<?)",
        ),
        (lambda c: inbox.find(c, "ten_1", "evt_1"), "(provider_account_id=? AND dedupe_key=?)"),
        (
            lambda c: portal_views.find_people(c, "ten_1", "a@b.example"),
            "ix_customers_email_lower (tenant_id=? AND <expr>=?)",
        ),
        (
            lambda c: portal_views.list_licenses(c, "ten_1", ["cus_1", "cus_2"], after="lic_1", limit=21),
            "ix_licenses_customer_id (customer_id=?)",
        ),
        (
            lambda c: portal_views.has_license(c, "ten_1", ["cus_1"]),
            "ix_licenses_customer_id (customer_id=?)",
        ),
        (lambda c: list(revocations.list_licenses(c, "ten_1", NOW)), "ix_licenses_revoked (tenant_id=?)"),
        (
            lambda c: revocations.list_files(c, "ten_1", NOW),
            "ix_license_files_running (tenant_id=? AND expires_at>?)",
        ),
        (
            lambda c: purchases.held_by_others(c, "pac_1", [Alias("subscription", "sub_1")], "stripe:test"),
            "uq_purchase_aliases_claimed (external_id=? AND kind=? AND realm=?)",
        ),
        (
            lambda c: purchases.meet(c, "pac_1", [Alias("subscription", "sub_1")]),
            "(provider_account_id=? AND kind=? AND external_id=?)",
        ),
    ],
    ids=[
        *("made", "revoked lately", "alarms", "newest sent"),
        *("owed", "events", "event", "customers by address", "licenses of a customer", "any of a customer"),
        *("revoked", "files", "claims", "names"),
    ],
)
def test_the_planner_takes_the_index_meant_for_it(context: Context, query: Query, expected: str) -> None:
    plans = plans_of(context, query)
    assert any(plan.endswith(expected) for plan in plans), plans
