"""What was given back of a payment, what is contested, and what a plan makes of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Literal

import msgspec
import pytest

from keywright.domain.facts import (
    DisputeSeen,
    Fact,
    Item,
    Ordered,
    PaidLine,
    PaymentLinked,
    PaymentSeen,
    RefundPart,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
)
from keywright.domain.grant import Grant, worth
from keywright.domain.money_back import disputed_since, taken_back
from keywright.domain.override import NO_OVERRIDES, Decision, apply, decide
from keywright.domain.plan import Plan, Terms
from keywright.domain.purchase import Purchase, absorb

DisputeState = Literal["warning", "inquiry", "open", "won", "lost", "over"]
_PRO = frozenset({"pro"})
PAID = PaymentSeen(
    Stamp(datetime(2026, 1, 1, tzinfo=UTC)),
    "in_1",
    "paid",
    5000,
    "USD",
    (PaidLine("pro", 1, datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 31, tzinfo=UTC)),),
    "pi_1",
    "ch_1",
)


def day(number: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)


def total(at: float, amount: int, *, charge: str = "ch_1", full: bool | None = None) -> RefundSeen:
    """The cumulative refund of a charge."""
    return RefundSeen(Stamp(day(at)), charge, amount == 5000 if full is None else full, amount, "USD")


def part(
    at: float,
    amount: int,
    state: Literal["pending", "done", "failed"] = "done",
    *,
    id_: str = "re_1",
    **means: str,
) -> RefundPart:
    return RefundPart(Stamp(day(at)), id_, state, amount, "USD", **(means or {"charge": "ch_1"}))


def dispute(at: float, state: DisputeState, amount: int = 5000, **more: str) -> DisputeSeen:
    members = {"dispute": "dp_1", "currency": "USD", "charge": "ch_1", **more}
    return DisputeSeen(stamp=Stamp(day(at)), state=state, amount=amount, **members)


def told(*facts: Fact) -> Purchase:
    purchase = Purchase()
    for fact in facts:
        purchase = absorb(purchase, fact)
    return purchase


def taken(*facts: Fact, terms: Terms | None = None) -> dict[str, str]:
    """What was taken, whatever the order of arrival."""
    chosen = terms or Terms()
    orders = list(permutations(facts))[:120]
    found = [taken_back(told(*order), chosen) for order in orders]
    assert all(one == found[0] for one in found)
    return dict(found[0].payments)


REFUNDED, LOST = {"in_1": "refunded"}, {"in_1": "dispute lost"}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ((), {}),
        ((total(1, 5000),), REFUNDED),
        ((total(1, 4999),), {}),
        # Reached by amount, though nobody said that nothing is left.
        ((total(1, 5000, full=False),), REFUNDED),
        ((part(1, 2500), part(2, 2500, id_="re_2")), REFUNDED),
        ((part(1, 2500), part(2, 2499, id_="re_2")), {}),
        ((part(1, 5000, "pending"),), {}),
        ((part(1, 2500), part(2, 2500, "pending", id_="re_2")), {}),
        # One refund told again and again is one refund.
        ((part(1, 2500), part(2, 2500), part(3, 2500)), {}),
        # The larger of two incomplete accounts: they speak of the same money.
        ((total(1, 2500), part(1, 2500)), {}),
        ((total(1, 2500), part(2, 2500, id_="re_2"), part(1, 2500)), REFUNDED),
        # A refund that failed gave nothing back.
        ((total(1, 5000), part(2, 5000, "failed")), {}),
        ((total(1, 5000), part(1, 5000, "failed")), {}),
        ((total(1, 5000), part(2, 2500, "failed")), {}),
        ((total(1, 5000), part(2, 0, "failed")), {}),
        ((part(1, 5000), part(2, 5000, "failed")), {}),
        # And the next total knows of the failure.
        ((part(1, 5000, "failed"), total(2, 5000)), REFUNDED),
        # By every name.
        ((part(1, 5000, intent="pi_1"),), REFUNDED),
        ((part(1, 5000, payment="in_1"),), REFUNDED),
        ((part(1, 5000, charge="ch_9"),), {}),
        ((part(1, 5000, intent="pi_9"), PaymentLinked("pi_9", "in_1")), REFUNDED),
        # A dispute that was lost, alone and with others.
        ((dispute(1, "lost"),), LOST),
        ((dispute(1, "lost", 2500),), {}),
        ((dispute(1, "lost", 2500), part(1, 2500)), LOST),
        ((dispute(1, "lost", 2500), dispute(2, "lost", 2500, dispute="dp_2")), LOST),
        ((dispute(1, "lost", 4600, currency="EUR"),), LOST),
        ((dispute(1, "lost", 0),), LOST),
        ((dispute(1, "lost"), total(1, 5000)), REFUNDED),
        ((dispute(1, "open"), dispute(2, "lost"), dispute(3, "won")), {}),
        ((dispute(1, "won"), dispute(2, "open"), dispute(3, "lost")), LOST),
        ((dispute(1, "open"),), {}),
        ((dispute(1, "over"),), {}),
    ],
)
def test_what_is_given_back(facts: tuple[Fact, ...], expected: dict[str, str]) -> None:
    assert taken(PAID, *facts) == expected


def test_what_the_plan_keeps() -> None:
    facts = (PAID, total(1, 5000), dispute(2, "lost"))
    assert taken(*facts, terms=Terms(on_refund="keep")) == LOST
    assert taken(*facts, terms=Terms(on_dispute="keep")) == REFUNDED
    assert taken(*facts, terms=Terms(on_refund="keep", on_dispute="keep")) == {}
    half = (PAID, part(1, 2500), dispute(2, "lost", 2500))
    assert taken(*half, terms=Terms(on_refund="keep")) == {}


def test_a_bill_of_nothing_is_not_given_back_by_nothing() -> None:
    nothing = msgspec.structs.replace(PAID, amount=0)
    assert taken(nothing, part(1, 0)) == {}
    assert taken(nothing, total(1, 0, full=True)) == REFUNDED
    assert taken(nothing, dispute(1, "lost", 0)) == LOST


def test_what_names_no_payment_of_ours() -> None:
    def strays(*facts: Fact) -> list[tuple[datetime, str]]:
        return [(one.at, one.cause) for one in taken_back(told(*facts), Terms()).strays]

    assert strays(total(3, 5000)) == [(day(3), "refunded")]
    assert strays(total(3, 2500)) == []
    assert strays(total(3, 5000), part(4, 5000, "failed")) == []
    assert strays(total(3, 5000), part(4, 5000, "failed", charge="ch_9")) == [(day(3), "refunded")]
    # A dispute is lost months later: its first word is nearer to the payment.
    assert strays(dispute(3, "open"), dispute(90, "lost")) == [(day(3), "dispute lost")]
    assert strays(PAID, total(3, 5000), dispute(4, "lost")) == []


# ------------------------------------------------------------------------------------------- disputes


@pytest.mark.parametrize("state", ["warning", "inquiry", "won", "lost", "over"])
def test_only_an_open_dispute_suspends(state: DisputeState) -> None:
    assert disputed_since(told(PAID, dispute(3, state)), _PRO, Terms()) is None
    assert disputed_since(told(PAID, dispute(3, "open")), _PRO, Terms()) == day(3)
    assert disputed_since(told(PAID, dispute(3, "open")), _PRO, Terms(on_dispute="keep")) is None


def test_a_dispute_is_about_the_lines_of_its_payment_and_an_unknown_one_about_all() -> None:
    addon = frozenset({"addon"})
    assert disputed_since(told(PAID, dispute(3, "open")), addon, Terms()) is None
    assert disputed_since(told(PAID, dispute(3, "open", charge="ch_9")), addon, Terms()) == day(3)
    order = PaymentSeen(Stamp(day(0)), "cs_1", "paid", 5000, "USD", charge="ch_1")
    assert disputed_since(told(order, dispute(3, "open")), addon, Terms()) == day(3)


PLANS = {"pro": Plan("pln_1", "prd_1", "pro", "Pro", 1, Terms())}


def grant(*facts: Fact) -> Grant:
    (only,) = worth(told(*facts), PLANS)
    return only


def test_an_open_dispute_beats_paid_time_and_a_lost_one_takes_it() -> None:
    opened = grant(PAID, dispute(3, "open"))
    assert (opened.standing, opened.reason, opened.entitled_until) == ("suspended", "disputed", day(30))
    lost = grant(PAID, dispute(3, "open"), dispute(9, "lost"))
    assert (lost.standing, lost.reason, lost.lost_until) == ("ok", "dispute lost", day(30))
    assert (lost.entitled_until, lost.grace_until) == (day(0), day(0))


def test_a_reinstatement_lifts_a_dispute_that_staff_could_know_of() -> None:
    suspended = grant(PAID, dispute(3, "open"), dispute(8, "open"))
    knew = decide(NO_OVERRIDES, Decision("reinstate", day(4), "stf_1"))
    # More evidence on the same dispute is no new dispute.
    assert apply(suspended, knew).standing == "ok"
    before = decide(NO_OVERRIDES, Decision("reinstate", day(2), "stf_1"))
    assert apply(suspended, before).standing == "suspended"
    again = grant(PAID, dispute(3, "open"), dispute(8, "open", dispute="dp_2"))
    assert apply(again, knew).standing == "suspended"


# ---------------------------------------------------------------------------------- told more than once


def test_an_order_told_by_two_names_is_bought_once() -> None:
    once = {"once": Plan("pln_2", "prd_1", "once", "Once", 1, Terms(term=365 * 86400))}
    ordered = Ordered("KW-1", "pln_2", "once", 1)
    session = PaymentSeen(Stamp(day(0)), "cs_1", "paid", 5000, "USD", intent="pi_1")
    intent = PaymentSeen(Stamp(day(2)), "pi_1", "paid", 5000, "USD", charge="ch_1")
    bought: list[Fact] = [ordered, session, intent]
    for facts in permutations(bought):
        (one,) = worth(told(*facts), once)
        assert one.entitled_until == day(365)
    for facts in permutations([*bought, total(5, 5000)]):
        (one,) = worth(told(*facts), once)
        assert (one.entitled_until, one.lost_until) == (day(0), day(365))
    other = PaymentSeen(Stamp(day(9)), "cs_2", "paid", 5000, "USD", intent="pi_2")
    (both,) = worth(told(ordered, session, intent, total(5, 5000), other), once)
    assert both.entitled_until == day(9 + 365)


def test_a_payment_told_again_is_not_paid_again() -> None:
    again = msgspec.structs.replace(PAID, stamp=Stamp(day(40), 100))
    failed = PaymentSeen(
        Stamp(day(30)), "in_2", "failed", 5000, "USD", (PaidLine("pro", 1, day(30), day(60)),)
    )
    life: list[Fact] = [PAID, failed, again]
    for facts in permutations(life):
        one = grant(*facts)
        assert (one.past_due, one.entitled_until) == (True, day(30))


def test_a_period_nobody_was_to_pay_for_is_no_evidence_until_it_is_paid() -> None:
    def snap(at: float, *, collecting: bool = True, start: float = 30) -> SubscriptionSeen:
        items = (Item("pro", 1, day(start), day(start + 30)),)
        return SubscriptionSeen(Stamp(day(at)), "active", items, collecting=collecting)

    life: list[Fact] = [PAID, snap(30, collecting=False), snap(45)]
    for facts in permutations(life):
        assert grant(*facts).entitled_until == day(30)
    late = PaymentSeen(Stamp(day(46)), "in_2", "paid", 5000, "USD", (PaidLine("pro", 1, day(30), day(60)),))
    assert grant(PAID, snap(30, collecting=False), late).entitled_until == day(60)
    # A pause takes nothing from the period it begins in, and renewal is not expected while it lasts.
    paused = grant(snap(0, start=0), snap(9, collecting=False, start=0))
    assert paused.entitled_until == paused.active_until == paused.grace_until == day(30)
    assert paused.reason == "collection paused"
    assert grant(snap(0, start=0), snap(9, collecting=False, start=0), snap(20, start=0)).grace_until == day(
        44
    )
    # A trial is paid by nobody anyway.
    trial = SubscriptionSeen(Stamp(day(0)), "trialing", (Item("pro", 1, day(0), day(14)),), collecting=False)
    assert grant(trial).entitled_until == day(14)
