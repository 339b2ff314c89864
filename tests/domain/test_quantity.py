"""Fewer seats and fewer keys: nobody loses what was paid for before its period ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations

from keywright.domain.facts import Fact, Item, PaidLine, PaymentSeen, Stamp, SubscriptionSeen
from keywright.domain.grant import Grant, of_unit, worth
from keywright.domain.override import NO_OVERRIDES, apply
from keywright.domain.plan import Plan, Terms
from keywright.domain.purchase import Purchase, absorb

PLANS = {
    "pro": Plan("pln_pro", "prd_1", "pro", "Pro", 1, Terms()),
    "pro-extra": Plan("pln_pro", "prd_1", "pro", "Pro", 1, Terms()),
    "team": Plan("pln_team", "prd_1", "team", "Team", 1, Terms(seats_per_unit=5)),
    "now": Plan("pln_now", "prd_1", "now", "Now", 1, Terms(seat_decrease="now")),
    "keys": Plan("pln_keys", "prd_1", "keys", "Keys", 1, Terms(quantity="keys")),
    "keys-now": Plan("pln_kn", "prd_1", "kn", "KN", 1, Terms(quantity="keys", seat_decrease="now")),
}


def day(number: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)


def snap(at: float, start: float = 0, status: str = "active", **items: int) -> SubscriptionSeen:
    bought = tuple(Item(p.replace("_", "-"), n, day(start), day(start + 30)) for p, n in items.items())
    return SubscriptionSeen(Stamp(day(at)), status, bought)  # type: ignore[arg-type]  # a status, as a word


def paid(at: float, start: float, *, prorated: bool = False, **items: int) -> PaymentSeen:
    lines = tuple(PaidLine(p, n, day(start), day(start + 30), prorated) for p, n in items.items())
    return PaymentSeen(Stamp(day(at)), f"in_{at}", "paid", 5000, "USD", lines)


def grant(*facts: Fact) -> Grant:
    found = []
    for order in list(permutations(facts))[:120]:
        purchase = Purchase()
        for fact in order:
            purchase = absorb(purchase, fact)
        (only,) = worth(purchase, PLANS)
        found.append(only)
    assert all(one == found[0] for one in found)
    return found[0]


def steps(one: Grant) -> tuple[int, int | None, datetime | None]:
    return one.seats, one.seats_after, one.seats_after_at


def test_fewer_seats_begin_when_the_period_ends() -> None:
    assert steps(grant(snap(0, pro=5), snap(9, pro=3))) == (5, 3, day(30))
    assert steps(grant(snap(0, pro=5), snap(9, pro=3), snap(30, 30, pro=3))) == (3, None, None)
    assert steps(grant(snap(0, pro=5), snap(9, pro=3), snap(12, pro=4))) == (5, 4, day(30))
    assert steps(grant(snap(0, pro=5), snap(9, pro=3), snap(12, pro=7))) == (7, None, None)


def test_more_seats_count_at_once() -> None:
    assert steps(grant(snap(0, pro=3), snap(9, pro=5))) == (5, None, None)


def test_a_plan_may_want_fewer_at_once() -> None:
    assert steps(grant(snap(0, now=5), snap(9, now=3))) == (3, None, None)


def test_what_was_paid_for_is_known_from_the_bill_too() -> None:
    assert steps(grant(paid(0, 0, pro=5), snap(9, pro=3))) == (5, 3, day(30))
    # A proration says how much was added or given back, and not how many there are.
    assert steps(grant(snap(0, pro=2), paid(3, 0, prorated=True, pro=9))) == (2, None, None)


def test_seats_of_a_period_that_was_not_paid_are_no_step() -> None:
    # The renewal with nine seats failed, and three were bought in the end.
    late = (snap(30, 30, "past_due", pro=9), snap(33, 30, pro=3), paid(33, 30, pro=3))
    assert steps(grant(snap(0, pro=2), *late)) == (3, None, None)
    assert steps(grant(snap(0, pro=5), snap(30, 30, "past_due", pro=3))) == (5, 3, day(30))


def test_another_plan_with_fewer_seats() -> None:
    assert steps(grant(snap(0, team=2), snap(9, pro=3))) == (10, 3, day(30))
    assert steps(grant(snap(0, pro=3), snap(9, team=2))) == (10, None, None)


def test_two_prices_of_a_plan_beside_each_other_and_after_each_other() -> None:
    assert steps(grant(snap(0, pro=2, pro_extra=3), snap(9, pro=2))) == (5, 2, day(30))
    assert steps(grant(snap(0, pro=2), snap(9, pro_extra=3))) == (3, None, None)
    # A plan beside the line's own has never granted anything.
    assert steps(grant(snap(0, pro=2, team=3), snap(1, pro=2, team=3))) == (2, None, None)


def test_items_with_intervals_of_their_own_shrink_each_when_its_period_ends() -> None:
    def both(at: float, monthly: int, yearly: int) -> SubscriptionSeen:
        ends = (Item("pro", monthly, day(0), day(30)), Item("pro-extra", yearly, day(0), day(365)))
        return SubscriptionSeen(Stamp(day(at)), "active", ends)

    assert steps(grant(both(0, 2, 3))) == (5, None, None)
    assert steps(grant(both(0, 2, 3), both(9, 1, 3))) == (5, 4, day(30))
    assert steps(grant(both(0, 2, 3), both(9, 2, 1))) == (5, 3, day(365))
    assert steps(grant(both(0, 2, 3), both(9, 4, 3))) == (7, None, None)
    # One step for both: the later one, until the monthly item renews.
    assert steps(grant(both(0, 2, 3), both(9, 1, 1))) == (5, 2, day(365))


def test_staff_add_seats_before_and_after() -> None:
    stepping = grant(snap(0, pro=5), snap(9, pro=3))
    more = apply(stepping, type(NO_OVERRIDES)(seats=2))
    assert steps(more) == (7, 5, day(30))


def test_fewer_keys_run_to_the_end_of_their_period() -> None:
    one = grant(snap(0, keys=5), snap(9, keys=3))
    assert one.units == 3
    assert of_unit(one, 2) is one
    last = of_unit(one, 4)
    assert last.entitled_until == last.active_until == last.grace_until == day(30)
    assert (last.standing, last.reason) == ("ok", "fewer keys")
    assert of_unit(one, 5).standing == "revoked"
    renewed = grant(snap(0, keys=5), snap(9, keys=3), snap(30, 30, keys=3))
    assert of_unit(renewed, 4).entitled_until == day(30)
    assert of_unit(renewed, 2).entitled_until == day(60)
    again = grant(snap(0, keys=5), snap(9, keys=3), snap(30, 30, keys=3), snap(40, 30, keys=5))
    assert of_unit(again, 4) is again


def test_keys_of_several_periods_end_one_after_the_other() -> None:
    one = grant(snap(0, keys=5), snap(30, 30, keys=4), snap(60, 60, keys=2))
    assert [of_unit(one, unit).entitled_until for unit in range(5)] == [day(n) for n in (90, 90, 60, 60, 30)]


def test_keys_that_end_at_once() -> None:
    one = grant(snap(0, keys_now=5), snap(9, keys_now=3))
    assert (one.units, of_unit(one, 4).standing, of_unit(one, 4).reason) == (3, "revoked", "fewer keys")


def test_a_payment_that_comes_before_its_snapshot_adds_no_seats() -> None:
    first = (snap(0, pro=3), paid(0.1, 0, pro=3))
    assert steps(grant(*first, paid(30, 30, pro=3))) == (3, None, None)
    assert steps(grant(*first, paid(30, 30, pro=3), snap(30, 30, pro=3))) == (3, None, None)
