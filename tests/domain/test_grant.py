"""Every sentence of "What a purchase is worth", as examples."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from keywright.domain.facts import (
    CheckoutSeen,
    Fact,
    Item,
    Ordered,
    PaidLine,
    PaymentLinked,
    PaymentSeen,
    PaymentState,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
    SubscriptionStatus,
)
from keywright.domain.grant import Grant, worth
from keywright.domain.license import License, Status, granted, status
from keywright.domain.plan import FOREVER, Plan, Terms
from keywright.domain.purchase import Purchase, absorb

_RANKS = {"incomplete": 1, "paused": 2, "unpaid": 3, "past_due": 4, "trialing": 5, "active": 6, "ended": 8}
_SLACK, _GRACE = timedelta(hours=3), timedelta(days=14)


def day(number: float) -> datetime:
    """Day 0 is the purchase; a month has 30 days here."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)


def plan(slug: str = "pro", product: str = "prd_app", **terms: object) -> Plan:
    return Plan(f"pln_{slug}", product, slug, slug.title(), 1, msgspec.convert(terms, Terms))


PLANS = {
    "pro": plan(),
    "pro-year": plan(),
    "team": plan("team", seats_per_unit=5),
    "keys": plan("keys", quantity="keys", seats_per_unit=2),
    "now": plan("now", on_cancel="now"),
    "kept": plan("kept", on_refund="keep"),
    "addon": plan("addon", "prd_addon"),
    "once": plan("once", term="perpetual"),
    "once-kept": plan("once-kept", term="perpetual", on_refund="keep"),
    "term": plan("term", term=365 * 86400, seats_per_unit=3),
}


def snap(
    at: float,
    state: SubscriptionStatus,
    period: tuple[float, float] = (0, 30),
    *,
    items: tuple[tuple[str, int | None], ...] = (("pro", 1),),
    canceling: bool = False,
    ended: float | None = None,
) -> SubscriptionSeen:
    return SubscriptionSeen(
        Stamp(day(at), _RANKS.get(state, 0), f"{at}{state}"),
        state,
        tuple(Item(price, quantity, day(period[0]), day(period[1])) for price, quantity in items),
        canceling,
        None if ended is None else day(ended),
    )


def paid(
    at: float,
    period: tuple[float, float] = (0, 30),
    *,
    id_: str | None = None,
    state: PaymentState = "paid",
    amount: int = 5000,
    items: tuple[tuple[str, int | None], ...] = (("pro", 1),),
    prorated: bool = False,
    intent: str | None = None,
    charge: str | None = None,
) -> PaymentSeen:
    return PaymentSeen(
        Stamp(day(at), 2 if state == "paid" else 1, f"{at}{state}"),
        id_ or f"in_{period[0]}",
        state,
        amount,
        "USD",
        tuple(PaidLine(price, n, day(period[0]), day(period[1]), prorated) for price, n in items),
        intent,
        charge,
    )


def failed(at: float, period: tuple[float, float] = (0, 30), **more: object) -> PaymentSeen:
    return msgspec.structs.replace(paid(at, period), state="failed", **more)


def refund(at: float, *, full: bool = True, charge: str = "ch_1", **means: str) -> RefundSeen:
    amount = 5000 if full else 2500
    return RefundSeen(Stamp(day(at), amount), charge, full, amount, "USD", **means)


def order(price: str, quantity: int = 1) -> Ordered:
    return Ordered("KW-1", PLANS[price].id, price, quantity)


def session(
    at: float, state: PaymentState = "paid", id_: str = "cs_1", intent: str | None = None
) -> PaymentSeen:
    rank = {"pending": 0, "failed": 1, "paid": 2}[state]
    return PaymentSeen(Stamp(day(at), rank), id_, state, 5000, "USD", intent=intent)


def grants(*facts: Fact) -> tuple[Grant, ...]:
    forwards, backwards = Purchase(), Purchase()
    for fact in facts:
        forwards = absorb(forwards, fact)
    for fact in reversed(facts):
        backwards = absorb(backwards, fact)
    found = worth(forwards, PLANS)
    assert found == worth(backwards, PLANS)
    return found


def grant(*facts: Fact) -> Grant:
    (only,) = grants(*facts)
    return only


def held(one: Grant) -> License:
    blank = License(
        id="lic_1",
        tenant_id="ten_1",
        purchase_id="pur_1",
        product_id=one.product_id,
        plan_id=one.plan.id,
        unit=0,
        customer_id=None,
        key_hash="hash",
        key_last5="ABCDE",
        key_sealed="sealed",
        seats=1,
        entitled_until=None,
        active_until=None,
        grace_until=None,
        lost_until=None,
        standing="ok",
        reason="",
        trial=False,
        canceling=False,
        past_due=False,
        created_at=day(0),
    )
    return granted(blank, one)


def at(one: Grant, number: float) -> Status:
    return status(held(one), day(number))


# ------------------------------------------------------------------------------------- one-off orders


def test_an_order_counts_when_its_payment_settled() -> None:
    one = grant(order("once"), session(0))
    assert one.entitled_until == one.active_until == one.grace_until == FOREVER
    assert at(one, 100_000) == "active"


@pytest.mark.parametrize("state", ["pending", "failed"])
def test_an_order_that_is_not_paid_grants_nothing(state: PaymentState) -> None:
    one = grant(order("once"), session(0, state))
    assert one.entitled_until is None
    assert at(one, 1) == "pending"


def test_a_delayed_method_that_fails_grants_nothing_and_one_that_succeeds_does() -> None:
    assert grant(order("once"), session(0, "pending"), session(3, "failed")).entitled_until is None
    assert grant(order("once"), session(0, "pending"), session(3, "paid")).entitled_until == FOREVER


def test_a_fixed_term_begins_when_it_was_paid_and_has_neither_slack_nor_grace() -> None:
    one = grant(order("term", 2), session(0, "pending"), session(3))
    assert one.entitled_until == one.active_until == one.grace_until == day(3 + 365)
    assert one.seats == 6
    assert at(one, 368) == "expired"


def test_a_refunded_order_is_revoked_for_the_time_it_would_have_had() -> None:
    one = grant(order("term"), session(0, intent="pi_1"), refund(10, intent="pi_1"))
    assert one.entitled_until == day(0)
    assert one.lost_until == day(365)
    assert one.reason == "refunded"
    assert at(one, 364.9) == "revoked"
    assert at(one, 365) == "expired"
    forever = grant(order("once"), session(0, intent="pi_1"), refund(10, intent="pi_1"))
    assert at(forever, 100_000) == "revoked"


def test_a_partial_refund_takes_nothing() -> None:
    one = grant(order("once"), session(0, intent="pi_1"), refund(10, full=False, intent="pi_1"))
    assert at(one, 11) == "active"


def test_two_halves_are_a_full_refund_and_a_refund_that_failed_counts_for_nothing() -> None:
    half, whole = refund(10, full=False, intent="pi_1"), refund(11, intent="pi_1")
    assert at(grant(order("once"), session(0, intent="pi_1"), half, whole), 12) == "revoked"
    undone = refund(12, full=False, intent="pi_1")
    assert at(grant(order("once"), session(0, intent="pi_1"), whole, undone), 13) == "active"


def test_a_second_payment_restores_a_refunded_order() -> None:
    again = session(20, id_="cs_2", intent="pi_2")
    one = grant(order("term"), session(0, intent="pi_1"), refund(10, intent="pi_1"), again)
    assert at(one, 21) == "active"
    assert one.entitled_until == day(20 + 365)
    assert one.lost_until is None


def test_an_order_with_an_invoice_of_its_own_is_refunded_whole() -> None:
    bill = paid(0, (0, 0), id_="in_1", items=(("once", 1),))
    facts = (order("once"), session(0, intent="pi_1"), bill, refund(9, intent="pi_1"))
    assert at(grant(*facts), 10) == "revoked"
    assert at(grant(*facts, PaymentLinked("pi_1", "in_1")), 10) == "revoked"


def test_a_refund_that_names_nothing_known_takes_a_payment_without_a_name() -> None:
    assert at(grant(order("once"), session(0), refund(9)), 10) == "revoked"
    assert at(grant(order("once"), session(0, intent="pi_1"), refund(9)), 10) == "active"


def test_on_refund_keep() -> None:
    one = grant(order("once-kept"), session(0, intent="pi_1"), refund(9, intent="pi_1"))
    assert one.lost_until is None
    assert at(one, 10) == "active"
    kept = (("kept", 1),)
    two = grant(snap(0, "active", items=kept), paid(0, items=kept, intent="pi_1"), refund(9, intent="pi_1"))
    assert at(two, 29) == "active"


def test_a_price_sold_once_on_a_bill_of_a_subscription_counts_too() -> None:
    both = paid(0, items=(("pro", 1), ("once", 2)))
    found = worth(absorb(Purchase(), both), {**PLANS, "once": plan("once", "prd_extra", term="perpetual")})
    assert [(one.product_id, one.entitled_until, one.seats) for one in found] == [
        ("prd_app", day(30), 1),
        ("prd_extra", FOREVER, 2),
    ]


def test_unmapped_prices_and_strange_purchases_grant_nothing() -> None:
    assert grants() == ()
    assert grants(snap(0, "active", items=(("unknown", 1),)), paid(0, items=(("unknown", 1),))) == ()
    assert grants(session(0)) == ()
    assert grants(Ordered("KW-1", "pln_x", "unmapped", 1), session(0)) == ()
    # A checkout that was completed before anything is known of the subscription it made.
    waiting = grant(order("team", 2), CheckoutSeen(Stamp(day(0)), "cs_1", "paid"))
    assert (waiting.entitled_until, waiting.seats, waiting.plan.slug) == (None, 10, "team")
    assert at(waiting, 1) == "pending"


# ------------------------------------------------------------------------------------- subscriptions


def test_four_events_are_enough() -> None:
    """A seller who listens only to checkout completed and subscription created, updated and deleted."""
    bought = (order("pro"), CheckoutSeen(Stamp(day(0)), "cs_1", "paid"), snap(0, "active"))
    one = grant(*bought)
    assert one.entitled_until == day(30)
    assert one.active_until == day(30) + _SLACK
    assert one.grace_until == day(30) + _GRACE
    renewed = grant(*bought, snap(30, "active", (30, 60)))
    assert renewed.entitled_until == day(60)
    late = grant(*bought, snap(30, "active", (30, 60)), snap(30.1, "past_due", (30, 60)))
    assert late.entitled_until == day(30)
    assert late.past_due
    assert at(late, 31) == "grace"
    recovered = (snap(30, "active", (30, 60)), snap(30.1, "past_due", (30, 60)), snap(35, "active", (30, 60)))
    assert grant(*bought, *recovered).entitled_until == day(60)
    gone = snap(44, "ended", (30, 60), ended=44)
    assert at(grant(*bought, *recovered[:2], gone), 44) == "expired"
    assert at(grant(*bought, *recovered, gone), 59) == "active"


def test_invoices_are_enough() -> None:
    one = grant(paid(0), paid(30, (30, 60), items=(("pro", 3),)))
    assert (one.entitled_until, one.seats) == (day(60), 3)
    assert one.grace_until == day(60) + _GRACE
    late = grant(paid(0), failed(30, (30, 60)))
    assert late.entitled_until == day(30)
    assert late.past_due
    assert at(late, 31) == "grace"
    assert at(late, 44) == "expired"
    assert not grant(paid(0), failed(30, (30, 60)), paid(32, (30, 60))).past_due


def test_a_moved_period_whose_payment_failed_does_not_count() -> None:
    moved, refused = snap(30, "active", (30, 60)), failed(30.04, (30, 60))
    assert grant(snap(0, "active"), paid(0), moved).entitled_until == day(60)
    assert grant(snap(0, "active"), paid(0), moved, refused).entitled_until == day(30)
    # In the same second too: had it been paid, the bill would say so.
    assert grant(snap(0, "active"), paid(0), moved, failed(30, (30, 60))).entitled_until == day(30)
    # A later snapshot of a seller who does not listen to paid invoices shows that it was paid at last.
    paid_at_last = grant(snap(0, "active"), moved, refused, snap(33, "active", (30, 60)))
    assert (paid_at_last.entitled_until, paid_at_last.past_due) == (day(60), False)
    assert grant(snap(0, "active"), moved, refused, paid(33, (30, 60))).entitled_until == day(60)
    twice = (failed(30.04, (30, 60)), failed(31, (30, 60), payment="in_again"))
    between = snap(30.5, "active", (30, 60))
    assert grant(snap(0, "active"), moved, *twice, between).entitled_until == day(30)


def test_prorated_lines_never_extend() -> None:
    change = paid(10, (10, 90), id_="in_change", prorated=True)
    assert grant(snap(0, "active"), paid(0), change).entitled_until == day(30)
    assert grant(paid(0), change).entitled_until == day(30)
    assert grant(change).entitled_until is None


def test_a_bill_of_nothing_counts() -> None:
    assert grant(paid(0, amount=0)).entitled_until == day(30)
    assert grant(snap(0, "active"), paid(0, amount=0)).grace_until == day(30) + _GRACE


def test_a_trial_counts_but_is_not_paid_time() -> None:
    trial = (snap(0, "trialing", (0, 14)), paid(0, (0, 14), amount=0))
    for facts in (trial, trial[:1]):
        one = grant(*facts)
        assert (one.trial, one.entitled_until) == (True, day(14))
        assert one.active_until == day(14) + _SLACK
        assert one.grace_until == day(14)
        unpaid = grant(
            *facts, snap(14, "active", (14, 44)), failed(14.04, (14, 44)), snap(14.04, "past_due", (14, 44))
        )
        assert at(unpaid, 14.2) == "expired"
        assert not unpaid.trial
        bought = grant(*facts, snap(14, "active", (14, 44)), paid(14.04, (14, 44)))
        assert bought.grace_until == day(44) + _GRACE
        assert at(bought, 44.2) == "grace"


def test_a_trial_ends_with_its_subscription_and_stops_with_a_pause() -> None:
    trial = snap(0, "trialing", (0, 14))
    assert at(grant(trial, snap(5, "ended", (0, 14), ended=5)), 5) == "expired"
    assert at(grant(trial, snap(5, "paused", (0, 14))), 6) == "suspended"
    assert at(grant(trial, snap(14, "paused", (14, 44))), 15) == "suspended"
    paused_then_paid = grant(trial, snap(14, "paused", (14, 44)), snap(20, "active", (20, 50)))
    assert at(paused_then_paid, 21) == "active"
    canceling = grant(trial, snap(5, "trialing", (0, 14), canceling=True))
    assert (canceling.active_until, canceling.trial) == (day(14), True)


@pytest.mark.parametrize("state", ["past_due", "unpaid"])
def test_grace_follows_paid_time_while_renewal_is_expected(state: SubscriptionStatus) -> None:
    one = grant(paid(0), snap(0, "active"), snap(30, "active", (30, 60)), snap(31, state, (30, 60)))
    assert one.past_due
    assert one.reason == state
    assert [at(one, moment) for moment in (29, 30.1, 30.13, 43.9, 44)] == [
        "active",
        "active",  # slack is silent
        "grace",
        "grace",
        "expired",
    ]


def test_a_first_payment_that_is_open_or_never_came_grants_nothing() -> None:
    states: tuple[SubscriptionStatus, ...] = ("incomplete", "abandoned", "unknown")
    for state in states:
        one = grant(snap(0, state))
        assert one.entitled_until is None
        assert at(one, 1) == "pending"
    assert grant(snap(0, "incomplete"), snap(0, "active")).entitled_until == day(30)


def test_a_status_nobody_knows_yet_changes_nothing() -> None:
    assert grant(snap(0, "active"), snap(5, "unknown")).grace_until == day(30) + _GRACE


def test_a_pause_suspends_after_paid_time() -> None:
    one = grant(snap(0, "active"), paid(0), snap(10, "paused"))
    assert one.active_until == one.grace_until == day(30)
    assert [at(one, moment) for moment in (11, 29.9, 30, 400)] == ["active", "active"] + ["suspended"] * 2
    assert at(grant(snap(0, "active"), paid(0), snap(10, "paused"), snap(12, "active")), 29) == "active"


def test_cancel_at_period_end_ends_renewal_not_paid_time() -> None:
    one = grant(snap(0, "active"), paid(0), snap(10, "active", canceling=True))
    assert one.canceling
    assert one.entitled_until == one.active_until == one.grace_until == day(30)
    ended = snap(30, "ended", canceling=True, ended=30)
    over = grant(snap(0, "active"), snap(10, "active", canceling=True), ended)
    assert not over.canceling
    assert (at(over, 29), at(over, 30)) == ("active", "expired")
    undone = grant(snap(0, "active"), snap(10, "active", canceling=True), snap(11, "active"))
    assert (undone.canceling, undone.grace_until) == (False, day(30) + _GRACE)


def test_a_canceled_subscription_runs_to_the_end_of_paid_time_or_stops_at_once() -> None:
    for bought in (paid(0), snap(0, "active")):
        kept = grant(bought, snap(10, "ended", ended=10))
        assert kept.entitled_until == kept.active_until == kept.grace_until == day(30)
        assert kept.reason == "ended"
    now = (("now", 1),)
    for ended in (10, None):
        stopped = grant(snap(0, "active", items=now), snap(10, "ended", items=now, ended=ended))
        assert stopped.grace_until == day(10)
        assert at(stopped, 10) == "expired"
    told_late = snap(11, "ended", items=now, ended=10)
    assert grant(snap(0, "active", items=now), told_late).entitled_until == day(10)
    # Time given back stays lost to its end.
    given_back = (snap(0, "active", items=now), paid(0, items=now, intent="pi_1"), refund(10, intent="pi_1"))
    assert at(grant(*given_back, told_late), 29) == "revoked"


def test_a_late_active_does_not_bring_back_what_ended() -> None:
    now = (("now", 1),)
    ended = snap(10, "ended", items=now, ended=10)
    one = grant(snap(0, "active", items=now), ended, snap(12, "active", items=now))
    assert at(one, 12) == "expired"


# ------------------------------------------------------------------------------------------- refunds

_LINKS: dict[str, tuple[Fact, ...]] = {
    "invoice": (paid(30, (30, 60)), refund(40, payment="in_30")),
    "intent": (paid(30, (30, 60), intent="pi_9"), refund(40, intent="pi_9")),
    "charge": (paid(30, (30, 60), charge="ch_9"), refund(40, charge="ch_9")),
    "link": (paid(30, (30, 60)), PaymentLinked("pi_9", "in_30"), refund(40, intent="pi_9")),
    "nothing known": (refund(40, intent="pi_9"),),
    "a bill that never came": (PaymentLinked("pi_9", "in_30"), refund(40, intent="pi_9")),
}


@pytest.mark.parametrize("means", _LINKS)
def test_a_full_refund_of_the_running_period_revokes_until_its_end(means: str) -> None:
    life = (snap(0, "active"), paid(0, intent="pi_1"), snap(30, "active", (30, 60)))
    one = grant(*life, *_LINKS[means])
    assert one.reason == "refunded"
    assert (one.entitled_until, one.lost_until) == (day(30), day(60))
    assert one.active_until == one.grace_until == day(30)  # neither slack nor grace after a refund
    assert [at(one, moment) for moment in (29, 30.01, 41, 59.9, 60)] == ["active"] + ["revoked"] * 3 + [
        "expired"
    ]
    over = grant(*life, *_LINKS[means], snap(40, "ended", (30, 60), ended=40))
    assert (at(over, 41), at(over, 60)) == ("revoked", "expired")
    again = grant(*life, *_LINKS[means], snap(60, "active", (60, 90)), paid(60, (60, 90), intent="pi_3"))
    assert (at(again, 61), again.lost_until, again.reason) == ("active", None, "")
    assert again.grace_until == day(90) + _GRACE


def test_a_refund_of_the_only_period_leaves_nothing() -> None:
    one = grant(snap(0, "active"), paid(0, intent="pi_1"), refund(3, intent="pi_1"))
    assert (one.entitled_until, one.lost_until) == (day(0), day(30))
    assert (at(one, 4), at(one, 31)) == ("revoked", "expired")


def test_a_refund_may_come_before_its_payment() -> None:
    early = (snap(0, "active"), refund(3, intent="pi_1"))
    assert at(grant(*early), 4) == "revoked"
    assert at(grant(*early, paid(0, intent="pi_1")), 4) == "revoked"


@pytest.mark.parametrize("known", [True, False])
def test_a_refund_of_an_old_period_does_not_end_the_current_one(known: bool) -> None:
    old = paid(0, intent="pi_1")
    current = (snap(30, "active", (30, 60)), paid(30, (30, 60), intent="pi_2"))
    one = grant(snap(0, "active"), *((old,) if known else ()), *current, refund(40, intent="pi_1"))
    assert one.entitled_until == day(60)
    assert one.grace_until == day(60) + _GRACE
    assert (at(one, 41), at(one, 61)) == ("active", "grace")


def test_an_unknown_refund_takes_the_period_it_fell_into_and_no_later_one() -> None:
    months = [snap(30 * n, "active", (30 * n, 30 * n + 30)) for n in range(3)]
    one = grant(*months, refund(40))
    assert (one.entitled_until, one.lost_until) == (day(90), None)
    two = grant(*months[:2], refund(40), refund(41, charge="ch_2"))
    assert (two.entitled_until, two.lost_until) == (day(30), day(60))
    assert grant(snap(0, "trialing", (0, 14)), refund(3)).entitled_until == day(14)
    assert grant(paid(0, amount=0), refund(3)).entitled_until == day(30)


def test_paying_the_refunded_period_again_restores_it() -> None:
    first = (paid(0, intent="pi_1"), refund(3, intent="pi_1"))
    one = grant(*first, paid(4, id_="in_again"))
    assert (one.entitled_until, one.lost_until) == (day(30), None)


def test_what_a_later_payment_restored_is_not_revoked_again() -> None:
    year = paid(0, (0, 365), id_="in_year", items=(("pro-year", 1),), intent="pi_1")
    month = paid(10, (10, 40), items=(("pro", 1),), intent="pi_2")
    one = grant(year, refund(9, intent="pi_1"), month)
    assert [at(one, moment) for moment in (11, 41, 60)] == ["active", "grace", "expired"]


def test_a_refund_of_a_period_within_a_longer_one_takes_nothing_from_that() -> None:
    year = paid(0, (0, 365), id_="in_year", items=(("pro-year", 1),), intent="pi_1")
    month = paid(10, (10, 40), intent="pi_2")
    one = grant(year, month, refund(11, intent="pi_2"))
    assert (one.lost_until, one.grace_until) == (None, day(365) + _GRACE)


def test_when_all_was_taken_back_it_ended_when_the_first_of_it_began() -> None:
    both = (paid(0, intent="pi_1"), paid(30, (30, 60), intent="pi_2"))
    one = grant(*both, refund(31, intent="pi_1"), refund(31, charge="ch_2", intent="pi_2"))
    assert (one.entitled_until, one.lost_until) == (day(0), day(60))


def test_a_refunded_change_of_plan_does_not_end_the_period() -> None:
    change = paid(10, (10, 30), id_="in_change", prorated=True, intent="pi_2")
    assert at(grant(paid(0, intent="pi_1"), change, refund(12, intent="pi_2")), 13) == "active"


# ------------------------------------------------------------------------------------- lines, seats


def test_seats_and_keys() -> None:
    assert (grant(snap(0, "active", items=(("team", 3),))).seats) == 15
    keys = grant(snap(0, "active", items=(("keys", 4),)))
    assert (keys.seats, keys.units) == (2, 4)
    assert grant(paid(0, items=(("keys", 4),))).units == 4
    assert grant(order("once", 7), session(0)).seats == 7


def test_items_of_one_plan_add_up() -> None:
    two = (("pro", 2), ("pro-year", 3))
    assert grant(snap(0, "active", items=two)).seats == 5
    assert grant(paid(0, items=two)).seats == 5
    assert grant(snap(0, "active", items=(("pro", 2), ("pro", 3)))).seats == 5
    assert grant(snap(0, "active", items=(("pro", 2), ("team", 3)))).seats == 2


def test_metered_prices_grant_nothing() -> None:
    assert grants(snap(0, "active", items=(("pro", None),)), paid(0)) == ()
    (only,) = grants(snap(0, "active", items=(("pro", 2), ("addon", None))))
    assert (only.product_id, only.seats) == ("prd_app", 2)


def test_a_line_that_is_gone_is_ended() -> None:
    both, one = (("pro", 1), ("addon", 4)), (("pro", 1),)
    life: list[Fact] = [snap(0, "active", items=both), paid(0, items=both), snap(10, "active", items=one)]
    addon, app = grants(*life)
    assert app.grace_until == day(30) + _GRACE
    assert (addon.product_id, addon.seats, addon.reason) == ("prd_addon", 4, "removed")
    assert addon.entitled_until == addon.active_until == addon.grace_until == day(10)
    assert at(addon, 10) == "expired"
    # Later snapshots do not move its end.
    for month in (30, 60, 90):
        life.append(snap(month, "active", (month, month + 30), items=one))
        assert grants(*life)[0] == addon
    back = grants(*life, snap(100, "active", (90, 120), items=both))[0]
    assert (back.entitled_until, back.reason) == (day(120), "")


def test_a_line_that_is_gone_keeps_its_seats_and_is_on_no_trial() -> None:
    both = (("pro", 1), ("addon", 2), ("addon", 3))
    addon, app = grants(snap(0, "trialing", (0, 14), items=both), snap(5, "trialing", (0, 14)))
    assert (addon.seats, addon.trial, addon.entitled_until) == (5, False, day(5))
    assert (app.trial, app.entitled_until) == (True, day(14))


def test_a_line_that_was_only_ever_billed_is_ended_too() -> None:
    gone = snap(10, "active")
    addon = grants(paid(0, items=(("pro", 1), ("addon", 2))), gone)[0]
    assert (addon.product_id, addon.entitled_until) == ("prd_addon", day(10))


def test_a_line_that_was_paid_for_after_the_newest_snapshot_is_new_not_gone() -> None:
    addon = grants(snap(0, "active"), paid(5, (5, 35), items=(("addon", 1),)))[0]
    assert (addon.product_id, addon.grace_until) == ("prd_addon", day(35) + _GRACE)


def test_another_price_of_the_product_is_the_same_line_with_a_new_plan() -> None:
    change = snap(10, "active", items=(("team", 2),))
    billed = paid(10, (10, 30), id_="in_c", items=(("pro", 1), ("team", 2)), prorated=True)
    for facts in ((change,), (change, billed)):
        one = grant(snap(0, "active"), paid(0), *facts)
        assert (one.plan.slug, one.seats, one.entitled_until) == ("team", 10, day(30))
    told_by_bill = grant(paid(0), paid(30, (30, 60), items=(("team", 2),)))
    assert (told_by_bill.plan.slug, told_by_bill.seats) == ("team", 10)


def test_the_plan_is_that_of_the_newest_settled_payment_not_of_a_prorated_or_failed_one() -> None:
    credit = paid(35, (35, 60), id_="in_c", items=(("team", 9),), prorated=True)
    one = grant(paid(30, (30, 60), items=(("now", 2),)), credit, failed(60, (60, 90)))
    assert (one.plan.slug, one.seats) == ("now", 2)
    assert grant(failed(0)).plan.slug == "pro"
    assert grant(credit).seats == 5


def test_a_plan_change_whose_bill_failed_leaves_what_was_paid() -> None:
    refused = paid(10, (10, 30), id_="in_c", items=(("team", 2),), prorated=True, state="failed")
    one = grant(snap(0, "active"), paid(0), snap(10, "past_due", items=(("team", 2),)), refused)
    assert (one.entitled_until, one.past_due) == (day(30), True)


def test_two_snapshots_of_one_period_at_one_moment_end_alike() -> None:
    one = grant(snap(0, "active"), snap(0, "past_due", items=(("team", 2),)))
    assert (one.entitled_until, one.plan.slug) == (day(30), "pro")


def test_payments_without_times_and_pending_ones_do_no_harm() -> None:
    bare = PaymentSeen(Stamp(day(0)), "in_x", "paid", 5000, "USD", (PaidLine("pro", 1),))
    assert grant(bare).entitled_until is None
    end_only = PaymentSeen(Stamp(day(0)), "in_x", "paid", 5000, "USD", (PaidLine("pro", 1, None, day(30)),))
    assert grant(end_only, refund(3)).entitled_until == day(0)
    waiting = paid(30, (30, 60), state="pending")
    assert grant(snap(30, "active", (30, 60)), waiting).entitled_until == day(60)
    loose = SubscriptionSeen(Stamp(day(0), 6), "active", (Item("pro", 1, None, day(30)), Item("pro", 1)))
    assert grant(loose).entitled_until == day(30)


def test_the_end_of_the_calendar_is_no_trap() -> None:
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    one = grant(PaymentSeen(Stamp(day(0)), "in_x", "paid", 1, "USD", (PaidLine("pro", 1, day(0), last),)))
    assert one.entitled_until == one.active_until == one.grace_until == last


def test_other_payments_of_the_purchase_do_not_make_a_line_past_due() -> None:
    other = paid(31, (30, 60), id_="in_o", items=(("addon", 1),), state="failed")
    addon, app = grants(paid(0), other)
    assert (addon.past_due, app.past_due) == (True, False)
    assert not grant(paid(0), failed(31, (30, 60)), snap(31, "ended", ended=31)).past_due
