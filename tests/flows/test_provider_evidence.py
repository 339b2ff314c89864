"""What the inbox and the alarms say about a provider's deliveries."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keywright.domain.plan import Terms
from keywright.flows import alarms, credentials, provider_evidence
from keywright.flows.context import Context
from keywright.flows.provider_evidence import Evidence
from tests.conftest import TurnableClock
from tests.life import stripe, world


def gather(context: Context) -> Evidence:
    return provider_evidence.gather(context, context.channels["stripe"].account, 50)


def test_nothing_is_known_at_first(context: Context) -> None:
    assert gather(context) == Evidence(None, False, None, None, None)


def test_an_event_of_the_provider_is_evidence_and_our_own_are_none(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=Terms())
    at = clock.now()
    greeting = stripe.event("keywright.greeting", {}, at)
    assert world.outcome(context, greeting) == "ignored UNKNOWN_TYPE"
    fetched = stripe.event("invoice.paid", stripe.invoice("in_1", "sub_1", at, at), at, id_="fetch_in_1_1_a")
    world.hand_in(context, fetched)
    assert gather(context).believed_at is None
    clock.turn(minutes=5)
    begun = stripe.subscription("sub_1", at, at + timedelta(days=30))
    world.hand_in(context, stripe.event("customer.subscription.created", begun, at))
    assert gather(context).believed_at == clock.now()


@pytest.mark.parametrize("last_is_live", [True, False])
def test_the_newest_event_tells_the_mode(context: Context, clock: TurnableClock, last_is_live: bool) -> None:
    for live in (not last_is_live, last_is_live):
        clock.turn(minutes=1)
        begun = stripe.subscription("sub_1", clock.now(), clock.now() + timedelta(days=30))
        world.hand_in(context, stripe.event("customer.subscription.created", begun, clock.now(), live=live))
    assert gather(context).wrong_mode is last_is_live
    assert gather(context).believed_at == clock.now() - timedelta(minutes=1 if last_is_live else 0)


def test_alarms_and_the_kept_endpoint_are_told_with_their_time(
    context: Context, clock: TurnableClock
) -> None:
    account = context.channels["stripe"].account
    with context.database.write() as connection:
        alarms.raise_alarm(context, connection, "bad_signatures", "bad_1", {})
        alarms.raise_alarm(context, connection, "dead_letter", "evt_1", {})
    alarmed = clock.now()
    clock.turn(hours=1)
    with context.database.write() as connection:
        credentials.keep(connection, context.vault, account, {"stripe.endpoint": "we_1"}, clock.now())
    assert gather(context) == Evidence(None, False, alarmed, "we_1", clock.now())
