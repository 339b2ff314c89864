"""Who has an address: in any case where that is safe, and never somebody who only looks alike."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from keywright.flows.context import Context
from keywright.store import portal_views
from keywright.store.tables import customers, tenants

STORED = (
    "ann@example.com",
    "Ann@Example.COM",
    "ann@example.com.evil.example",
    "nik@example.com",
    "ni\N{KELVIN SIGN}@example.com",
    "Émile@example.com",
    "émile@example.com",
    "a%n@example.com",
)


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("ANN@example.com", {"ann@example.com", "Ann@Example.COM"}),
        ("nik@example.com", {"nik@example.com"}),
        ("ni\N{KELVIN SIGN}@example.com", {"ni\N{KELVIN SIGN}@example.com"}),
        ("Émile@EXAMPLE.com", {"Émile@example.com"}),
        ("émile@example.com", {"émile@example.com"}),
        ("a_n@example.com", set()),
        ("%", set()),
        ("", set()),
    ],
)
def test_capitals_do_not_count_and_likeness_does_not_either(
    context: Context, typed: str, found: set[str]
) -> None:
    now = context.clock.now()
    with context.database.write() as connection:
        connection.execute(
            sa.insert(tenants).values(
                id="ten_other", slug="other", name="Other", is_master=False, created_at=now
            )
        )
        for number, email in enumerate(STORED):
            connection.execute(
                sa.insert(customers).values(
                    id=f"cus_{number}", tenant_id=context.master.id, email=email, created_at=now
                )
            )
        connection.execute(
            sa.insert(customers).values(
                id="cus_foreign", tenant_id="ten_other", email="ann@example.com", created_at=now
            )
        )
    with context.database.read() as connection:
        people = portal_views.find_people(connection, context.master.id, typed)
    assert {one.email for one in people} == found
    assert "cus_foreign" not in {one.id for one in people}
    assert [one.id for one in people] == sorted(one.id for one in people)
