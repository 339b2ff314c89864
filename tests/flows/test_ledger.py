"""`billing_ledger`: which money, told by which event, runs on which machine. Support needs no more."""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.flows import activating, licensing
from keywright.flows.context import Context
from keywright.flows.licensing import Ask
from keywright.store.tables import activations
from tests.conftest import TurnableClock
from tests.life import stripe, world

MONTH = timedelta(days=30)
COLUMNS = ["transaction_id", "webhook_event", "hardware_anchor"]


def ledger(context: Context) -> list[tuple[str, str, str | None]]:
    with context.database.read() as connection:
        found = connection.execute(sa.text("SELECT * FROM billing_ledger"))
        assert list(found.keys()) == COLUMNS
        return [(row[0], row[1], row[2]) for row in found]


def activate(context: Context, key: str, machine: str) -> str:
    asked = licensing.check(context, Ask(key=key, fingerprint=machine), fingerprint_needed=True)
    return activating.activate(context, asked).code


def test_it_has_these_columns_and_no_others(context: Context) -> None:
    with context.database.read() as connection:
        inspector = sa.inspect(connection)
        assert "billing_ledger" in inspector.get_view_names()
        assert [column["name"] for column in inspector.get_columns("billing_ledger")] == COLUMNS
    assert ledger(context) == []


def test_a_purchase_on_a_machine_is_one_row(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=Terms())
    at = clock.now()
    begun = stripe.subscription("sub_1", at, at + MONTH)
    assert world.outcome(context, stripe.event("customer.subscription.created", begun, at)) == "applied"
    assert ledger(context) == []  # no money has been told of
    paid = stripe.event("invoice.paid", stripe.invoice("in_1", "sub_1", at, at + MONTH), at)
    assert world.outcome(context, paid) == "applied"
    ((transaction, event, anchor),) = ledger(context)
    assert event == paid["id"]
    assert transaction
    assert anchor is None
    key = world.key_of(context, world.the_license(context))
    machine = "3f1c9b52-machine-of-somebody"
    assert activate(context, key, machine) == "VALID"
    ((again, told_by, anchor),) = ledger(context)
    assert (again, told_by) == (transaction, event)
    with context.database.read() as connection:
        kept = connection.execute(sa.select(activations.c.fingerprint_hash)).scalar_one()
    assert anchor == kept
    assert machine not in kept


def test_a_machine_that_was_freed_is_not_in_it(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=Terms())
    at = clock.now()
    for made in (
        stripe.event("customer.subscription.created", stripe.subscription("sub_1", at, at + MONTH), at),
        stripe.event("invoice.paid", stripe.invoice("in_1", "sub_1", at, at + MONTH), at),
    ):
        world.hand_in(context, made)
    key = world.key_of(context, world.the_license(context))
    activate(context, key, "machine-1")
    with context.database.write() as connection:
        connection.execute(sa.update(activations).values(released_at=at))
    assert [anchor for _, _, anchor in ledger(context)] == [None]
