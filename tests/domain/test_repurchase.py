"""Buying again: what later purchases do to an older license, in any order and however often they are told."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain import override
from keywright.domain.facts import PaymentSeen, RefundSeen, Stamp
from keywright.domain.grant import Grant
from keywright.domain.override import NO_OVERRIDES, Decision, Overrides
from keywright.domain.plan import FOREVER, Plan, Terms
from keywright.domain.purchase import Purchase, absorb
from keywright.domain.repurchase import Renewal, fold, renewal_of

START = datetime(2026, 11, 1, tzinfo=UTC)
PLAN = Plan("pln_1", "prd_1", "pro", "Pro", 1, Terms(term=365 * 86400))


def day(number: float) -> datetime:
    return START + timedelta(days=number)


_DAY_30 = day(30)


def grant(until: datetime | None = _DAY_30, *, seats: int = 5, **more: object) -> Grant:
    made = Grant(
        product_id="prd_1",
        plan=PLAN,
        seats=seats,
        units=1,
        entitled_until=until,
        active_until=until,
        grace_until=until,
    )
    return msgspec.structs.replace(made, **more)


def bought(reference: str, at: float, days: float | None, *, seats: int = 5, how: str = "extend") -> Renewal:
    until = None if days is None else day(at + days)
    return Renewal(reference, how, day(at), until, seats=seats if days is not None else 0)  # type: ignore[arg-type]  # one of two words


def after(base: Grant, *renewals: Renewal, known: Overrides = NO_OVERRIDES) -> Grant:
    for one in renewals:
        known = override.renew(known, one)
    return override.apply(base, override.over(known, base))


def test_time_is_added_to_the_end_of_what_was_there() -> None:
    longer = after(grant(), bought("KW-1", 10, 365))
    assert longer.entitled_until == longer.active_until == longer.grace_until == day(30 + 365)


def test_time_begins_with_its_payment_where_the_old_time_was_over() -> None:
    assert after(grant(), bought("KW-1", 100, 365)).entitled_until == day(100 + 365)
    assert after(grant(None), bought("KW-1", 100, 365)).entitled_until == day(100 + 365)


def test_what_never_ends_stays_so() -> None:
    assert after(grant(FOREVER), bought("KW-1", 10, 365)).entitled_until == FOREVER
    forever = msgspec.structs.replace(bought("KW-1", 10, 1), until=FOREVER)
    assert after(grant(), forever).entitled_until == FOREVER


renewals = st.lists(
    st.builds(
        bought,
        st.sampled_from([f"KW-{n}" for n in range(6)]),
        st.integers(0, 400),
        st.none() | st.integers(1, 400),
        seats=st.integers(1, 9),
        how=st.sampled_from(["extend", "extend", "replace"]),
    ),
    max_size=6,
    unique_by=lambda one: one.reference,
)


@given(renewals, st.none() | st.integers(0, 200), st.integers(0, 4), st.data())
def test_neither_order_nor_repetition_changes_the_outcome(
    told: list[Renewal], until: int | None, more: int, data: st.DataObject
) -> None:
    base = grant(None if until is None else day(until), seats=0 if until is None else 5)
    known = Overrides(floor=day(50) if until is None else None, seats=more)
    one = after(base, *told, known=known)
    shuffled = data.draw(st.permutations([*told, *told[:3]]))
    assert after(base, *shuffled, known=known) == one


@given(renewals, renewals)
def test_only_the_newest_word_on_a_purchase_counts(before: list[Renewal], now: list[Renewal]) -> None:
    newest = {one.reference: one for one in [*before, *now]}
    assert after(grant(), *before, *now) == after(grant(), *newest.values())


@given(renewals)
def test_what_is_given_back_leaves_what_there_was(told: list[Renewal]) -> None:
    known = NO_OVERRIDES
    for one in told:
        known = override.renew(known, one)
    for one in told:
        known = override.renew(known, msgspec.structs.replace(one, until=None, seats=0))
    assert override.apply(grant(), known) == grant()


@given(renewals)
def test_nobody_loses_time_by_buying_more(told: list[Renewal]) -> None:
    ends = [fold(grant(), told[:count], None).entitled_until or START for count in range(len(told) + 1)]
    assert all(one <= other for one, other in itertools.pairwise(ends))


def test_two_in_turn_in_the_order_of_their_payments() -> None:
    base, first, second = grant(day(10)), bought("KW-2", 20, 100), bought("KW-1", 50, 100)
    assert after(base, second, first).entitled_until == day(220)
    # Without the first one, the second begins when it was paid for.
    assert after(base, second).entitled_until == day(150)


def test_seats_of_the_newest_purchase_count_when_its_time_begins() -> None:
    fewer = after(grant(seats=5), bought("KW-1", 10, 365, seats=2))
    assert (fewer.seats, fewer.seats_after, fewer.seats_after_at) == (5, 2, day(30))
    more = after(grant(seats=5), bought("KW-1", 10, 365, seats=8))
    assert (more.seats, more.seats_after) == (8, None)
    late = after(grant(seats=5), bought("KW-1", 40, 365, seats=2))
    assert (late.seats, late.seats_after) == (2, None)


def test_what_staff_issued_is_renewed_with_its_seats() -> None:
    known = Overrides(floor=day(50), seats=7)
    longer = after(grant(None, seats=0), bought("KW-1", 10, 365, seats=5), known=known)
    assert (longer.seats, longer.entitled_until) == (7, day(50 + 365))
    more = after(grant(None, seats=0), bought("KW-1", 10, 365, seats=9), known=known)
    assert more.seats == 9


def test_a_day_that_staff_promise_later_is_a_floor_and_no_time_on_top() -> None:
    known = override.renew(Overrides(floor=day(50)), bought("KW-1", 10, 365))
    promised = override.extend(known, day(500))
    assert override.apply(grant(None, seats=0), promised).entitled_until == day(500)
    less = override.extend(known, day(60))
    assert override.apply(grant(None, seats=0), less).entitled_until == day(50 + 365)


def test_slack_and_grace_follow_the_new_end() -> None:
    one = msgspec.structs.replace(bought("KW-1", 10, 30), slack=3600, grace=86400, past_due=True)
    longer = after(grant(), one)
    assert longer.entitled_until == day(60)
    assert longer.active_until == day(60) + timedelta(hours=1)
    assert longer.grace_until == day(61)
    assert longer.past_due


def test_a_replaced_license_ends_until_the_purchase_is_given_back() -> None:
    replaced = after(grant(), bought("KW-1", 10, 365, how="replace"))
    assert (replaced.standing, replaced.reason) == ("revoked", "replaced")
    assert replaced.entitled_until == day(30)
    back = after(grant(), bought("KW-1", 10, 365, how="replace"), bought("KW-1", 10, None, how="replace"))
    assert back == grant()


def test_staff_may_bring_a_replaced_license_back() -> None:
    known = override.renew(NO_OVERRIDES, bought("KW-1", 10, 365, how="replace"))
    early = override.decide(known, Decision("reinstate", day(5), "staff"))
    assert override.apply(grant(), early).standing == "revoked"
    late = override.decide(known, Decision("reinstate", day(11), "staff"))
    assert override.apply(grant(), late).standing == "ok"


# -- what a purchase adds --------------------------------------------------------------------------------


def paid(at: float = 0, amount: int = 5000) -> Purchase:
    seen = PaymentSeen(Stamp(day(at)), "pay_1", "paid", amount, "NGN", charge="ch_1")
    return absorb(Purchase(), seen)


def test_nothing_paid_does_nothing() -> None:
    assert renewal_of("KW-1", "extend", Purchase(), grant()) is None


def test_what_a_paid_purchase_adds() -> None:
    made = renewal_of("KW-1", "extend", paid(), grant(day(365), grace_until=day(379)))
    assert made == Renewal("KW-1", "extend", day(0), day(365), grace=14 * 86400, seats=5)


def test_what_was_given_back_or_is_disputed_does_not_count() -> None:
    refund = RefundSeen(Stamp(day(3)), charge="ch_1", amount=5000, full=True, currency="NGN", payment="pay_1")
    assert renewal_of("KW-1", "extend", absorb(paid(), refund), grant(day(0))) == bought("KW-1", 0, None)
    assert renewal_of("KW-1", "extend", absorb(paid(), refund), grant(day(1))) == bought("KW-1", 0, None)
    disputed = grant(day(365), standing="suspended")
    assert renewal_of("KW-1", "replace", paid(), disputed) == bought("KW-1", 0, None, how="replace")
    assert renewal_of("KW-1", "extend", paid(), grant(None)) == bought("KW-1", 0, None)


def test_fewer_seats_from_some_day_on_are_what_is_renewed() -> None:
    made = renewal_of("KW-1", "extend", paid(), grant(day(365), seats_after=3, seats_after_at=day(30)))
    assert made is not None
    assert made.seats == 3
