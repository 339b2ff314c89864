"""Revenue: what a purchase brought in, in which month, and what was given back."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.facts import (
    DisputeSeen,
    Fact,
    PaymentLinked,
    PaymentSeen,
    RefundPart,
    RefundSeen,
    Stamp,
)
from keywright.domain.purchase import Purchase, absorb, merge
from keywright.domain.revenue import Money, Slot, changed, revenue_of


def at(month: int, day: int = 15) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def paid(
    name: str,
    month: int,
    amount: int = 5000,
    currency: str = "USD",
    *,
    intent: str | None = None,
    charge: str | None = None,
) -> PaymentSeen:
    return PaymentSeen(Stamp(at(month)), name, "paid", amount, currency, (), intent, charge)


def of(*facts: Fact) -> Purchase:
    purchase = Purchase()
    for fact in facts:
        purchase = absorb(purchase, fact)
    return purchase


def shown(purchase: Purchase) -> dict[str, tuple[int, int]]:
    found = revenue_of(purchase).items()
    return {f"{slot.month} {slot.currency}": (money.paid, money.given_back) for slot, money in found}


def test_each_month_and_each_currency_stands_for_itself() -> None:
    purchase = of(paid("in_1", 1), paid("in_2", 2), paid("in_3", 2, 700), paid("in_4", 2, 900, "JPY"))
    assert shown(purchase) == {"2026-01 USD": (5000, 0), "2026-02 USD": (5700, 0), "2026-02 JPY": (900, 0)}


def test_what_is_not_paid_brings_nothing_in() -> None:
    failed = PaymentSeen(Stamp(at(1)), "in_1", "failed", 5000, "USD")
    pending = PaymentSeen(Stamp(at(1)), "in_2", "pending", 5000, "USD")
    assert revenue_of(of(failed, pending, paid("in_3", 1, 0))) == {}


def test_a_payment_that_is_told_again_stays_in_its_month() -> None:
    assert shown(of(paid("in_1", 1, charge="ch_1"), paid("in_1", 4, charge="ch_1"))) == {
        "2026-01 USD": (5000, 0)
    }


def test_one_charge_that_was_told_of_twice_counts_once() -> None:
    by_charge = of(paid("cs_1", 1, charge="ch_1"), paid("in_1", 1, charge="ch_1"))
    by_intent = of(paid("cs_1", 1, intent="pi_1"), paid("in_1", 1, intent="pi_1"))
    by_link = of(paid("cs_1", 1, intent="pi_1"), paid("in_1", 1), PaymentLinked("pi_1", "in_1"))
    for purchase in (by_charge, by_intent, by_link):
        assert shown(purchase) == {"2026-01 USD": (5000, 0)}
        refunded = absorb(purchase, RefundSeen(Stamp(at(2)), "ch_1", True, 5000, "USD", "pi_1", "in_1"))
        assert shown(refunded) == {"2026-01 USD": (5000, 0), "2026-02 USD": (0, 5000)}


def part(
    name: str, month: int, amount: int, state: Literal["pending", "done", "failed"] = "done"
) -> RefundPart:
    return RefundPart(Stamp(at(month)), name, state, amount, "USD", "ch_1")


def test_refunds_are_subtracted_in_their_month_and_never_more_than_was_paid() -> None:
    one = paid("in_1", 1, charge="ch_1")
    assert shown(of(one, part("re_1", 2, 1000), part("re_2", 3, 1500), part("re_3", 3, 99, "failed"))) == {
        "2026-01 USD": (5000, 0),
        "2026-02 USD": (0, 1000),
        "2026-03 USD": (0, 1500),
    }
    # The cumulative word tells of more than the parts do.
    total = RefundSeen(Stamp(at(4)), "ch_1", False, 3000, "USD")
    assert shown(of(one, part("re_1", 2, 1000), total))["2026-04 USD"] == (0, 2000)
    assert (
        sum(money.given_back for money in revenue_of(of(one, part("re_1", 2, 9000), total)).values()) == 5000
    )
    assert revenue_of(of(part("re_1", 2, 1000))) == {}


def test_a_dispute_takes_money_when_it_is_lost() -> None:
    one = paid("in_1", 1, charge="ch_1")
    states: tuple[Literal["open", "won", "lost"], ...] = ("open", "won", "lost")
    back = [
        revenue_of(of(one, DisputeSeen(Stamp(at(2)), "dp_1", state, 5000, "USD", "ch_1"))).get(
            Slot("2026-02", "USD")
        )
        for state in states
    ]
    assert back == [None, None, Money(0, 5000)]


def test_the_differences_add_up_in_every_order() -> None:
    facts: tuple[Fact, ...] = (
        paid("in_1", 1, charge="ch_1"),
        paid("cs_1", 1, charge="ch_1"),
        part("re_1", 2, 1000),
        RefundSeen(Stamp(at(3)), "ch_1", False, 1500, "USD"),
        DisputeSeen(Stamp(at(4)), "dp_1", "lost", 5000, "USD", "ch_1"),
    )
    whole = revenue_of(of(*facts))
    for order in permutations(facts):
        purchase = Purchase()
        total: dict[Slot, Money] = {}
        for fact in order:
            after = absorb(purchase, fact)
            for slot, money in changed([(purchase, after)]).items():
                was = total.get(slot, Money())
                total[slot] = Money(was.paid + money.paid, was.given_back + money.given_back)
            purchase = after
        assert {slot: money for slot, money in total.items() if money != Money()} == whole


def test_two_purchases_that_turn_out_to_be_one_bring_in_no_more() -> None:
    one, other = of(paid("in_1", 1, charge="ch_1")), of(paid("cs_1", 1, charge="ch_1"))
    pairs = [(one, merge(one, other)), (other, Purchase())]
    assert changed(pairs) == {Slot("2026-01", "USD"): Money(-5000, 0)}
    assert changed([(one, one), (other, absorb(other, PaymentLinked("pi_9", "in_9")))]) == {}


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"),
            st.integers(1, 12),
            st.integers(0, 3),
            st.sampled_from([None, "pi_1", "pi_2"]),
            st.sampled_from([None, "ch_1", "ch_2"]),
        ),
        max_size=8,
    ),
    st.integers(0, 8),
)
def test_what_changes_is_the_difference_of_before_and_after(
    told: list[tuple[str, int, int, str | None, str | None]], known: int
) -> None:
    """Also where only some of the payments are looked at."""
    facts = [paid(name, month, amount, intent=pi, charge=ch) for name, month, amount, pi, ch in told]
    before, after = of(*facts[:known]), of(*facts)
    differ = {slot: (money.paid, money.given_back) for slot, money in revenue_of(after).items()}
    for slot, money in revenue_of(before).items():
        had = differ.get(slot, (0, 0))
        differ[slot] = (had[0] - money.paid, had[1] - money.given_back)
    # As the server has it: the payments known before are the same objects.
    assert changed([(before, absorbed(before, facts[known:]))]) == {
        k: v for k, v in differ.items() if v != (0, 0)
    }


def absorbed(purchase: Purchase, facts: list[PaymentSeen]) -> Purchase:
    for fact in facts:
        purchase = absorb(purchase, fact)
    return purchase
