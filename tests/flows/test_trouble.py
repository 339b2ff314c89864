"""What the operator reads when the database or the mail server fails: one line, and nobody's address."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from keywright.delivery.email import SmtpMailer
from keywright.domain.errors import Unavailable
from keywright.domain.plan import Terms
from keywright.flows import announce
from keywright.flows.context import Context
from keywright.store.tables import announcements, inbox
from tests.conftest import TurnableClock
from tests.life import stripe, world

MONTH = timedelta(days=30)


def bought(clock: TurnableClock) -> stripe.Json:
    made = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH)
    return stripe.event("customer.subscription.created", made, clock.now())


def close_to_writers(context: Context) -> None:
    """From now on the database takes nothing more, as a full disk or a PostgreSQL standby takes nothing."""
    statement = (
        "PRAGMA query_only = ON" if context.database.is_sqlite else "SET default_transaction_read_only = on"
    )

    def prepare(bare: Any, _record: object) -> None:
        bare.execute(statement)
        bare.commit()

    context.database.engine.dispose()
    sa.event.listen(context.database.engine, "connect", prepare)


def test_a_database_that_takes_nothing_is_told_once(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=Terms())
    close_to_writers(context)
    with capture_logs() as told:
        (answer,) = world.hand_in(context, bought(clock))
    assert isinstance(answer, Unavailable)
    (line,) = [one for one in told if one["event"] == "events_not_stored"]
    assert (line["log_level"], line["events"]) == ("warning", 1)
    assert line["reason"] in ("SQLITE_READONLY", "25006")
    assert world.count(context, inbox) == 0


@pytest.mark.parametrize("people", [1, 3])
def test_a_mail_server_that_is_down_is_told_once_a_batch(
    context: Context, clock: TurnableClock, people: int
) -> None:
    shop = replace(context, mailer=SmtpMailer("smtp://127.0.0.1:1", "shop@example.com"))
    world.stock(shop, price_pro=Terms())
    events = []
    for number in range(people):
        sub, customer, now = f"sub_{number}", f"cus_{number}", clock.now()
        made = stripe.subscription(sub, now, now + MONTH, customer=customer)
        paid = stripe.invoice(
            f"in_{number}", sub, now, now + MONTH, customer=customer, email=f"b{number}@secret.example"
        )
        events += [
            stripe.event("customer.subscription.created", made, now),
            stripe.event("invoice.paid", paid, now),
        ]
    world.hand_in(shop, *events)
    with shop.database.read() as connection:
        (batch,) = set(connection.execute(sa.select(announcements.c.batch)).scalars())
    with capture_logs() as told:
        announce.send_due(shop, batch)
    (line,) = told
    assert (line["event"], line["log_level"], line["mails"]) == ("mails_not_sent", "warning", people)
    assert "secret.example" not in str(line)
