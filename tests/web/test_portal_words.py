"""What a customer reads about a license, in each of its states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from keywright.domain.license import License, status
from keywright.domain.plan import FOREVER, Plan, Terms
from keywright.flows.portal import HeldLicense
from keywright.store.portal_views import HeldPlan
from keywright.web.portal import words

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
SOON, LATER, GONE = NOW + timedelta(days=1), NOW + timedelta(days=15), NOW - timedelta(days=1)
PLAN = Plan("pla_1", "pro_1", "pro", "Pro", 1, Terms(moves=5, moves_period=86400))
HELD = License(
    id="lic_1",
    tenant_id="ten_1",
    purchase_id="pur_1",
    product_id="pro_1",
    plan_id="pla_1",
    unit=0,
    customer_id="cus_1",
    key_hash="",
    key_last5="M0N1P",
    key_sealed="",
    seats=5,
    entitled_until=SOON,
    active_until=SOON,
    grace_until=LATER,
    lost_until=None,
    standing="ok",
    reason="",
    trial=False,
    canceling=False,
    past_due=False,
    created_at=GONE,
)


def told(
    *, renews: bool = True, intact: bool = True, terms: Terms = PLAN.terms, **changed: Any
) -> words.ShownLicense:
    held = msgspec.structs.replace(HELD, **changed)
    plan = msgspec.structs.replace(PLAN, terms=terms)
    return words.shown(
        HeldLicense(
            license=held,
            plan=HeldPlan(plan, "DashCaddy", "dashcaddy"),
            status=status(held, NOW),
            seats=held.seats,
            room=None,
            bound=0,
            machines=(),
            moves_left=3,
            renews=renews,
            can_stop=True,
            can_resume=False,
            can_manage=True,
            intact=intact,
        ),
        "Acme",
        NOW,
    )


def test_why_seats_cannot_be_changed_is_said_where_nothing_is_renewed() -> None:
    assert told().fixed == ""
    over = told(canceling=True, renews=False).fixed
    assert over == (
        "The number of seats cannot be changed any more, because this is not renewed. For more, buy again."
    )


@pytest.mark.parametrize(
    ("changed", "label", "sentence"),
    [
        ({}, "Active", "Renews on 2 November 2026, 12:00 UTC."),
        ({"trial": True}, "Active", "Trial until 2 November 2026, 12:00 UTC, then it is paid for."),
        ({"canceling": True}, "Active", "It works until 2 November 2026, 12:00 UTC, and is not renewed."),
        ({"renews": False}, "Active", "It works until 2 November 2026, 12:00 UTC."),
        ({"past_due": True}, "Active", "A payment has failed."),
        ({"entitled_until": GONE}, "Active", "It is being renewed."),
        ({"entitled_until": FOREVER, "active_until": FOREVER}, "Active", "It does not expire."),
        (
            {"entitled_until": GONE, "active_until": GONE},
            "Payment is late",
            "It works until 16 November 2026",
        ),
        (
            {"entitled_until": GONE, "active_until": GONE, "grace_until": None},
            "Expired",
            "It worked until 31 October 2026",
        ),
        ({"standing": "suspended"}, "Stopped for now", "write to Acme"),
        ({"standing": "revoked"}, "Ended", "It does not work any more."),
        ({"active_until": None}, "Waiting for the payment", "when the payment has arrived"),
        ({"intact": False}, "Needs a look", "Please write to Acme."),
    ],
)
def test_each_status_is_told_in_words(changed: dict[str, Any], label: str, sentence: str) -> None:
    shown = told(**changed)
    assert shown.label == label
    assert sentence in shown.sentence
    assert shown.badge == {"Active": "", "Payment is late": "wait", "Waiting for the payment": "wait"}.get(
        label, "bad"
    )


def test_seats_that_become_fewer_are_told_with_the_day() -> None:
    facts = dict(told(seats_after=2, seats_after_at=SOON).facts)
    assert facts["Seats"] == "5; 2 from 2 November 2026, 12:00 UTC on"
    assert (facts["Key"], facts["Machines"], facts["Yours since"]) == (
        "ends in M0N1P",
        "0 of any number",
        "31 October 2026",
    )


def test_the_end_of_a_renewal_is_told_before_it_is_made() -> None:
    assert told().stop.startswith("What you paid for stays until 2 November 2026, 12:00 UTC. After that")
    assert "stops at once where" in told(trial=True).stop
    assert "stops at once where" in told(terms=Terms(on_cancel="now")).stop
    assert "all keys that were bought together" in told(terms=Terms(quantity="keys")).stop
    assert told().moves == "You can free 3 more within 1 day."
