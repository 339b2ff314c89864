"""Replays of what is not applied, and what people are told of an error."""

from __future__ import annotations

import pytest

from keywright.domain.errors import Invalid
from keywright.domain.plan import Terms
from keywright.flows import events
from keywright.flows.context import Context
from keywright.flows.fulfillment import Fulfillment
from tests.conftest import TurnableClock
from tests.life import stripe, world


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("kind", "reason"), [("invoice.overdue", "NOT_BUILT"), ("plan.created", "UNKNOWN_TYPE")]
)
def test_what_is_not_applied_stays_as_it_was(
    context: Context, clock: TurnableClock, kind: str, reason: str, dry_run: bool
) -> None:
    event = stripe.event(kind, {"id": "x_1", "object": "thing"}, clock.now(), id_="evt_1")
    assert world.outcome(context, event) == f"ignored {reason}"
    before = events.show(context, context.master.id, "evt_1")
    clock.turn(days=1)
    done = events.replay_one(context, context.master.id, "evt_1", dry_run=dry_run)
    assert (done.outcome, done.reason, done.changed) == ("ignored", reason, False)
    page = events.replay_page(context, context.master.id, {"status": "ignored"}, dry_run=dry_run)
    assert [(d.outcome, d.reason, d.changed) for d in page.items] == [("ignored", reason, False)]
    assert events.show(context, context.master.id, "evt_1") == before


@pytest.mark.parametrize(("error", "shown"), [(ArithmeticError("x"), "INTERNAL"), (Invalid("x"), "INVALID")])
def test_an_error_is_shown_by_its_code(
    context: Context,
    clock: TurnableClock,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    shown: str,
) -> None:
    world.stock(context, price_pro=Terms())

    def fails(_self: Fulfillment, _work: object) -> object:
        raise error

    # A bug in a rule, simulated: there is no event that makes the real rules raise.
    monkeypatch.setattr(Fulfillment, "_absorb", fails)
    made = stripe.subscription("sub_1", clock.now(), clock.now())
    world.outcome(context, stripe.event("customer.subscription.created", made, clock.now(), id_="evt_1"))
    row = events.show(context, context.master.id, "evt_1")
    assert (row.status, row.error) == ("failed", shown)
    again = events.replay_one(context, context.master.id, "evt_1", dry_run=False)
    assert (again.outcome, again.reason) == ("failed", shown)
