"""What customers are told of a change: each thing once, and no news that is none."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from keywright.domain import purchase
from keywright.domain.facts import (
    Fact,
    Item,
    PaidLine,
    PaymentLinked,
    PaymentSeen,
    RefundPart,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
)
from keywright.domain.grant import worth
from keywright.domain.license import License, granted
from keywright.domain.notice import FRESH_FOR, Notice, cause_of_end, clock_name, notices_of, still_holds
from keywright.domain.override import NO_OVERRIDES, apply
from keywright.domain.plan import NOTICE_KINDS, Plan, Terms
from keywright.domain.purchase import Purchase

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH = timedelta(days=30)
ALL = Terms(notices=NOTICE_KINDS)
BLANK = License(
    *("lic_1", "ten_1", "pur_1", "pro_1", "pla_1", 0, "cus_1", "", "", "", 0),
    *(None, None, None, None, "ok", "", False, False, False, START),
)


class Story:
    """One purchase and its license, as a pass after another would change them. `told`: each notice once."""

    def __init__(self, terms: Terms = ALL, now: datetime = START) -> None:
        self.plans = {"price": Plan("pla_1", "pro_1", "pro", "Pro", 1, terms)}
        self.terms = terms
        self.now = now
        self.state = Purchase()
        self.held: License | None = None
        self.told: dict[tuple[str, str, str], Notice] = {}

    def hear(self, *facts: Fact) -> list[Notice]:
        """One event. Returns what is told because of it."""
        was, before = self.state, self.held
        for fact in facts:
            self.state = purchase.absorb(self.state, fact)
        grants = worth(self.state, self.plans)
        if not grants or (before is None and grants[0].entitled_until is None):
            return []
        known = before if before is not None else msgspec.structs.replace(BLANK, created_at=self.now)
        self.held = granted(known, apply(grants[0], NO_OVERRIDES))
        found = notices_of(before, self.held, was, self.state, self.terms, self.now)
        new = [one for one in found if (one.subject, one.kind, one.occurrence) not in self.told]
        self.told.update({(one.subject, one.kind, one.occurrence): one for one in new})
        return new

    def kinds(self) -> list[str]:
        return sorted(one.kind for one in self.told.values())


def snapshot(at: datetime, ends: datetime, *, quantity: int = 1, **more: Any) -> SubscriptionSeen:
    values: dict[str, Any] = {"status": "active", **more}
    items = (Item("price", quantity, at, ends),)
    return SubscriptionSeen(Stamp(at, 0, f"{at}{quantity}{values}"), items=items, **values)


def payment(
    number: int, at: datetime, ends: datetime, state: Any = "paid", *, quantity: int = 1, amount: int = 5000
) -> PaymentSeen:
    line = PaidLine("price", quantity, ends - MONTH, ends)
    return PaymentSeen(Stamp(at), f"in_{number}", state, amount, "USD", (line,), charge=f"ch_{number}")


def refund(at: datetime, amount: int, charge: str = "ch_1") -> RefundSeen:
    return RefundSeen(Stamp(at), charge, amount >= 5000, amount, "USD")


def part(id_: str, at: datetime, amount: int, state: Any = "done", **more: Any) -> RefundPart:
    return RefundPart(Stamp(at), id_, state, amount, "USD", **({"charge": "ch_1"} | more))


def begun(terms: Terms = ALL) -> Story:
    """A subscription in its first month, paid, at the end of that month."""
    story = Story(terms)
    story.hear(snapshot(START, START + MONTH))
    story.hear(payment(1, START, START + MONTH))
    story.now = START + MONTH
    return story


# --- payments ---


def test_a_sale_is_no_notice() -> None:
    assert begun().told == {}


def test_a_failed_payment_is_told_once_however_often_it_is_tried() -> None:
    story, end = begun(), START + MONTH
    (notice,) = story.hear(payment(2, end, end + MONTH, "failed"))
    detail: dict[str, str | int] = {"amount": 5000, "currency": "USD"}
    assert notice == Notice("payment_failed", "pur_1", clock_name(end), detail)
    story.now = end + 2 * DAY
    assert story.hear(payment(2, end + 2 * DAY, end + MONTH, "failed")) == []
    assert story.hear(snapshot(end + 2 * DAY, end + MONTH, status="past_due")) == []
    assert story.hear(payment(2, end + 2 * DAY, end + MONTH, "failed")) == []


def test_a_snapshot_alone_tells_of_a_failure_and_the_payment_adds_nothing() -> None:
    story, end = begun(), START + MONTH
    (notice,) = story.hear(snapshot(end, end + MONTH, status="past_due"))
    assert (notice.kind, notice.subject, notice.detail) == ("payment_failed", "pur_1", {})
    assert story.hear(payment(2, end, end + MONTH, "failed")) == []


def test_a_try_with_a_payment_of_its_own_is_the_same_failure() -> None:
    story, end = begun(), START + MONTH
    story.hear(payment(2, end, end + MONTH, "failed"))
    assert story.hear(payment(3, end + DAY, end + MONTH, "failed")) == []
    story.now = end + 2 * FRESH_FOR
    assert story.hear(payment(4, story.now, end + MONTH, "failed")) == []


def test_a_bill_in_the_middle_of_a_period_is_a_failure_of_its_own() -> None:
    story, end = begun(), START + MONTH
    line = PaidLine("price", 2, START + 9 * DAY, end, prorated=True)
    story.now = START + 9 * DAY
    bill = PaymentSeen(Stamp(story.now), "in_p", "failed", 700, "USD", (line,))
    (first,) = story.hear(bill)
    story.hear(PaymentSeen(Stamp(story.now + DAY), "in_p", "paid", 700, "USD", (line,)))
    story.now = end
    (second,) = story.hear(payment(2, end, end + MONTH, "failed"))
    assert (first.occurrence, second.occurrence) == ("in_p", clock_name(end))


def test_a_failure_that_was_overcome_is_no_news() -> None:
    story, end = begun(), START + MONTH
    story.hear(payment(2, end + DAY, end + MONTH))
    assert story.hear(payment(2, end, end + MONTH, "failed")) == []
    story.hear(snapshot(end + DAY, end + MONTH))
    assert story.hear(payment(3, end, end + MONTH, "failed")) == []


def test_news_from_long_ago_are_none() -> None:
    story, end = begun(), START + MONTH
    story.now = end + FRESH_FOR + timedelta(seconds=1)
    assert story.hear(payment(2, end, end + MONTH, "failed")) == []
    assert story.hear(refund(end, 1000)) == []
    assert story.hear(snapshot(end, end + MONTH, quantity=3)) == []
    assert story.hear(payment(3, end, end + MONTH)) == []


def test_a_revoked_license_is_not_dunned() -> None:
    story, end = begun(), START + MONTH
    story.now = START + DAY
    story.hear(refund(START + DAY, 5000))
    assert story.hear(payment(2, START + DAY, end + MONTH, "failed")) == []


def test_a_renewal_is_told_when_it_is_paid() -> None:
    story, end = begun(), START + MONTH
    # The provider says "active" an hour before it tries to collect.
    assert story.hear(snapshot(end, end + MONTH)) == []
    (notice,) = story.hear(payment(2, end, end + MONTH))
    assert (notice.kind, notice.subject) == ("renewed", "lic_1")
    assert notice.occurrence == clock_name(end + MONTH)
    assert story.hear(payment(2, end, end + MONTH)) == []


def test_renewals_are_silent_unless_asked_for() -> None:
    story, end = begun(Terms()), START + MONTH
    assert story.hear(payment(2, end, end + MONTH), snapshot(end, end + MONTH)) == []


# --- refunds ---


def test_a_refund_that_is_told_of_twice_is_one() -> None:
    story = begun()
    (notice,) = story.hear(refund(story.now, 1000))
    assert notice.detail == {"amount": 1000, "before": 0, "currency": "USD"}
    assert story.hear(part("re_1", story.now, 1000)) == []
    (second,) = story.hear(part("re_2", story.now, 500))
    assert second.detail == {"amount": 1500, "before": 1000, "currency": "USD"}
    assert story.hear(refund(story.now, 1500)) == []


def test_one_payment_has_one_name_whichever_a_refund_uses() -> None:
    story = begun()
    story.hear(PaymentLinked("pi_1", "in_1"))
    assert len(story.hear(part("re_1", story.now, 1000, charge=None, intent="pi_1"))) == 1
    assert story.hear(refund(story.now, 1000)) == []
    assert story.hear(part("re_1", story.now, 1000)) == []


@pytest.mark.parametrize("state", ["pending", "failed"])
def test_money_that_was_not_given_back_is_no_refund(state: str) -> None:
    story = begun()
    assert story.hear(part("re_1", story.now, 1000, state)) == []


def test_a_refund_that_failed_before_it_was_told_of() -> None:
    story = begun()
    story.hear(part("re_1", story.now, 1000, "failed"))
    assert story.hear(refund(story.now - DAY, 1000)) == []


def test_a_full_refund_is_told_though_it_revokes() -> None:
    story = begun()
    story.now = START + DAY
    (notice,) = story.hear(refund(story.now, 5000))
    assert notice.kind == "refunded"


# --- seats and ends ---


def test_more_seats() -> None:
    story = begun()
    (notice,) = story.hear(snapshot(story.now, story.now + MONTH, quantity=3))
    assert (notice.kind, notice.detail) == ("seats_changed", {"before": 1, "seats": 3})


def test_fewer_seats_are_told_when_they_are_ordered() -> None:
    held = msgspec.structs.replace(
        BLANK, seats=5, entitled_until=START + MONTH, active_until=START + MONTH, grace_until=START + MONTH
    )
    step = msgspec.structs.replace(held, seats_after=3, seats_after_at=START + MONTH)
    seen = Purchase(subscription=snapshot(START, START + MONTH, quantity=3))
    (notice,) = notices_of(held, step, seen, seen, ALL, START)
    assert notice.detail == {"before": 5, "seats": 3, "from": clock_name(START + MONTH)}
    fewer = msgspec.structs.replace(held, seats=3)
    assert notices_of(step, fewer, seen, seen, ALL, START) == ()


def test_a_cancellation_that_ends_at_once_says_so() -> None:
    story = begun(msgspec.structs.replace(ALL, on_cancel="now"))
    story.now = START + DAY
    (notice,) = story.hear(snapshot(story.now, START + MONTH, status="ended", ended_at=story.now))
    assert (notice.kind, notice.detail) == ("expired", {"cause": "canceled"})


def test_a_subscription_that_was_never_paid_again_ends_for_that() -> None:
    story, end = begun(), START + MONTH
    story.hear(payment(2, end, end + MONTH, "failed"))
    story.now = end + 9 * DAY
    (notice,) = story.hear(snapshot(story.now, end + MONTH, status="ended", ended_at=story.now))
    assert (notice.kind, notice.detail) == ("expired", {"cause": "unpaid"})
    assert notice.occurrence == clock_name(end)


def test_an_end_that_nobody_looked_at_before_the_cancellation_came() -> None:
    story, end = begun(), START + MONTH
    story.hear(payment(2, end, end + MONTH, "failed"))
    story.now = end + 15 * DAY
    (notice,) = story.hear(snapshot(story.now, end + MONTH, status="ended", ended_at=story.now))
    assert (notice.kind, notice.occurrence) == ("expired", clock_name(end))
    later = begun()
    later.now = end + 30 * DAY
    assert later.hear(snapshot(later.now, end + MONTH, status="ended", ended_at=later.now)) == []


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"trial": True}, "trial"),
        ({"canceling": True}, "canceled"),
        ({"reason": "ended"}, "canceled"),
        ({"grace_until": START + 2 * DAY}, "unpaid"),
        ({}, "over"),
    ],
)
def test_why_a_license_ended(changes: dict[str, Any], cause: str) -> None:
    clocks = {"entitled_until": START + DAY, "active_until": START + DAY, "grace_until": START + DAY}
    held = msgspec.structs.replace(BLANK, **{**clocks, **changes})
    assert cause_of_end(held, held) == cause


# --- switches ---


@pytest.mark.parametrize("kind", ["payment_failed", "renewed", "seats_changed", "refunded"])
def test_each_kind_can_be_switched_off(kind: str) -> None:
    def tell(*kinds: Any) -> set[str]:
        story, end = begun(Terms(notices=kinds)), START + MONTH
        story.hear(snapshot(end, end + MONTH, quantity=3), payment(2, end, end + MONTH))
        story.hear(refund(end, 1000, "ch_2"))
        story.hear(payment(3, end + DAY, end + 2 * MONTH, "failed"))
        return {one.kind for one in story.told.values()}

    assert tell(*NOTICE_KINDS) == {"payment_failed", "renewed", "seats_changed", "refunded"}
    assert tell(*(one for one in NOTICE_KINDS if one != kind)) == tell(*NOTICE_KINDS) - {kind}
    assert tell() == set()


def test_of_several_keys_the_first_one_speaks() -> None:
    held = msgspec.structs.replace(BLANK, unit=1, past_due=True)
    known = Purchase(payments={"in_1": payment(1, START, START + MONTH, "failed")})
    assert notices_of(None, held, Purchase(), known, ALL, START) == ()


# --- when a mail went out late ---


def test_what_does_not_hold_any_more() -> None:
    now = START + DAY
    clocks = dict.fromkeys(("entitled_until", "active_until", "grace_until"), START + MONTH)
    good = msgspec.structs.replace(BLANK, **clocks)
    late = dict.fromkeys(clocks, START)
    over = msgspec.structs.replace(good, **late)
    grace = msgspec.structs.replace(over, grace_until=START + MONTH, past_due=True)
    trial = msgspec.structs.replace(good, trial=True)
    clock: dict[str, str | int] = {"clock": clock_name(START + MONTH)}
    moved: dict[str, str | int] = {"clock": clock_name(START + 2 * MONTH)}
    holds: dict[Any, list[tuple[License, dict[str, str | int]]]] = {
        "payment_failed": [(grace, clock)],
        "grace_ending": [(grace, clock)],
        "expired": [(over, clock)],
        "trial_ending": [(trial, clock)],
        "renewed": [(good, {"until": clock["clock"]})],
        "seats_changed": [(good, {"seats": 0})],
        "refunded": [(good, {}), (over, {})],
    }
    fails: dict[Any, list[tuple[License, dict[str, str | int]]]] = {
        "payment_failed": [(good, clock), (msgspec.structs.replace(grace, standing="revoked"), clock)],
        "grace_ending": [(good, clock), (grace, moved)],
        "expired": [(good, clock), (grace, clock)],
        "trial_ending": [
            (good, clock),
            (trial, moved),
            (msgspec.structs.replace(trial, canceling=True), clock),
        ],
        "renewed": [(over, {"until": clock_name(START)}), (good, {"until": moved["clock"]})],
        "seats_changed": [(good, {"seats": 3}), (msgspec.structs.replace(good, standing="revoked"), clock)],
    }
    for kind, cases in holds.items():
        assert all(still_holds(kind, detail, held, now) for held, detail in cases), kind
    for kind, cases in fails.items():
        assert not any(still_holds(kind, detail, held, now) for held, detail in cases), kind


# --- any order, any repetition ---


def life() -> list[tuple[Fact, ...]]:
    """Two renewals, more and fewer seats, a failure that was overcome and one that was not, refunds."""
    end = [START + n * MONTH for n in range(4)]
    now = end[2]
    return [
        (snapshot(START, end[1]),),
        (payment(1, START, end[1]),),
        (payment(2, end[1], end[2], "failed"),),
        (payment(2, end[1] + DAY, end[2]),),
        (snapshot(end[1] + DAY, end[2]),),
        (snapshot(now - 2 * DAY, end[2], quantity=4),),
        (snapshot(now - DAY, end[2], quantity=2),),
        (PaymentLinked("pi_2", "in_2"),),
        (refund(now - DAY, 1000, "ch_2"),),
        (part("re_1", now - DAY, 1000, charge="ch_2", intent="pi_2"),),
        (refund(now - DAY / 2, 3000, "ch_2"),),
        (part("re_2", now - DAY / 2, 2000, charge="ch_2"),),
        (payment(3, now, end[3], "failed", quantity=2),),
        (snapshot(now, end[3], quantity=2, status="past_due"),),
        (payment(3, now + DAY, end[3], "failed", quantity=2),),
    ]


def tell(events: list[tuple[Fact, ...]], now: datetime) -> list[Notice]:
    story = Story(now=now)
    for facts in events:
        story.hear(*facts)
    return list(story.told.values())


@pytest.mark.parametrize("seed", range(400))
def test_any_order_and_repetition_tells_each_thing_once(seed: int) -> None:
    """Told in every order: a failure that stands, and the sum that was given back in the end.

    Told at the most as often as in order: all the rest, because what is settled already is no news.
    """
    chance, events, now = random.Random(seed), life(), START + 2 * MONTH + DAY
    shuffled = events + chance.choices(events, k=chance.randrange(12))
    chance.shuffle(shuffled)
    expected, found = tell(events, now), tell(shuffled, now)
    counts, limits = Counter(one.kind for one in found), Counter(one.kind for one in expected)
    assert limits == {"payment_failed": 1, "refunded": 2, "seats_changed": 2}
    assert counts["payment_failed"] == 1
    assert all(counts[kind] <= limits[kind] for kind in ("renewed", "expired", "seats_changed"))
    sums = [one.detail["amount"] for one in found if one.kind == "refunded"]
    assert sums == sorted(set(sums))
    assert sums[-1] == 3000
    seats = [one.detail["seats"] for one in found if one.kind == "seats_changed"]
    assert not seats or seats[-1] == 2
