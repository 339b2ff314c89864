"""License rows: what SQL says of them is what the rules say."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import timedelta

import msgspec

from keywright.domain.license import status
from keywright.domain.plan import Terms
from keywright.flows.context import Context
from keywright.store import licenses
from tests.conftest import TurnableClock
from tests.life import stripe, world


def test_the_counts_agree_with_the_rules(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=Terms())
    now = clock.now()
    bought = stripe.subscription("sub_1", now, now + timedelta(days=30))
    world.outcome(context, stripe.event("customer.subscription.created", bought, now))
    held = world.the_license(context)
    clocks = (None, now - timedelta(days=1), now, now + timedelta(days=1))
    cases = itertools.product(("ok", "paused", "suspended", "revoked"), clocks, clocks, clocks)
    made = [
        msgspec.structs.replace(
            held,
            id=f"{held.id}{unit}",
            unit=unit,
            key_hash=f"hash{unit}",
            standing=standing,
            active_until=active,
            grace_until=grace,
            lost_until=lost,
        )
        for unit, (standing, active, grace, lost) in enumerate(cases, start=1)
    ]
    with context.database.write() as connection:
        licenses.insert(connection, made)
    with context.database.read() as connection:
        counted = licenses.counts(connection, now)
    assert counted == Counter(status(one, now) for one in [held, *made])
    assert set(counted) == {"pending", "active", "grace", "expired", "suspended", "revoked"}
