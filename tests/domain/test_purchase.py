"""Any order, any repetition and any split of one purchase's facts ends in the same purchase."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.facts import (
    CheckoutSeen,
    DisputeSeen,
    Fact,
    HolderSeen,
    Item,
    Ordered,
    PaidLine,
    PaymentLinked,
    PaymentSeen,
    PaymentState,
    RefundPart,
    RefundSeen,
    Stamp,
    SubscriptionSeen,
    SubscriptionStatus,
)
from keywright.domain.grant import worth
from keywright.domain.plan import Plan, Terms
from keywright.domain.purchase import Purchase, absorb, merge, payments_of, prices_of

_RANKS: dict[SubscriptionStatus, int] = {
    "unknown": 0,
    "incomplete": 1,
    "paused": 2,
    "unpaid": 3,
    "past_due": 4,
    "trialing": 5,
    "active": 6,
    "abandoned": 7,
    "ended": 8,
}
_PRICES = ("pro", "team", "now", "keys", "addon", "once", "unmapped")
_PLANS = {
    "pro": Plan("pln_1", "prd_1", "pro", "Pro", 1, Terms()),
    "team": Plan("pln_2", "prd_1", "team", "Team", 1, Terms(seats_per_unit=5)),
    "now": Plan("pln_3", "prd_1", "now", "Now", 1, Terms(on_cancel="now", seat_decrease="now")),
    "keys": Plan("pln_4", "prd_2", "keys", "Keys", 1, Terms(quantity="keys")),
    "addon": Plan("pln_5", "prd_3", "addon", "Addon", 1, Terms(on_refund="keep", on_dispute="keep")),
    "once": Plan("pln_6", "prd_4", "once", "Once", 1, Terms(term=86400 * 365)),
}


def day(number: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)


def told(facts: Iterable[Fact]) -> Purchase:
    purchase = Purchase()
    for fact in facts:
        purchase = absorb(purchase, fact)
    return purchase


# --------------------------------------------------------------------------- lives that make no sense

_days = st.integers(0, 6).map(day)
_stamps = st.builds(Stamp, _days, st.integers(0, 2), st.sampled_from(["", "a", "b"]))
_quantities = st.none() | st.integers(0, 3)
_maybe_days = st.none() | _days
_names = st.sampled_from(["x", "y", "z"])
_maybe_names = st.none() | _names
_items = st.lists(
    st.builds(Item, st.sampled_from(_PRICES), _quantities, _maybe_days, _maybe_days), max_size=3
).map(tuple)
_lines = st.lists(
    st.builds(PaidLine, st.sampled_from(_PRICES), _quantities, _maybe_days, _maybe_days, st.booleans()),
    max_size=3,
).map(tuple)
_nonsense: st.SearchStrategy[Fact] = st.one_of(
    st.builds(
        SubscriptionSeen,
        _stamps,
        st.sampled_from(get_args(SubscriptionStatus)),
        _items,
        st.booleans(),
        _maybe_days,
        st.booleans(),
    ),
    st.builds(
        PaymentSeen,
        _stamps,
        _names,
        st.sampled_from(get_args(PaymentState)),
        st.sampled_from([0, 5000]),
        st.just("USD"),
        _lines,
        _maybe_names,
        _maybe_names,
    ),
    st.builds(PaymentLinked, _names, _names),
    st.builds(
        RefundSeen,
        _stamps,
        _names,
        st.booleans(),
        st.just(5000),
        st.just("USD"),
        _maybe_names,
        _maybe_names,
    ),
    st.builds(
        RefundPart,
        _stamps,
        _names,
        st.sampled_from(["pending", "done", "failed"]),
        st.sampled_from([0, 2500, 5000]),
        st.just("USD"),
        _maybe_names,
        _maybe_names,
        _maybe_names,
    ),
    st.builds(
        DisputeSeen,
        _stamps,
        _names,
        st.sampled_from(["warning", "inquiry", "open", "won", "lost", "over"]),
        st.sampled_from([0, 2500, 5000]),
        st.sampled_from(["USD", "EUR"]),
        _maybe_names,
        _maybe_names,
        _maybe_names,
    ),
    st.builds(Ordered, _names, st.just("pln"), st.sampled_from(_PRICES), st.integers(1, 3)),
    st.builds(HolderSeen, _stamps, _maybe_names, _maybe_names),
    st.builds(CheckoutSeen, _stamps, _names, st.sampled_from(["paid", "processing", "failed", "expired"])),
)


# ------------------------------------------------------------------------------- lives as at Stripe


class _Life:
    """Tells the life of one subscription, month by month, as its provider would."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.facts: list[Fact] = [Ordered("KW-1", "pln_1", "pro", 1)]
        self.price, self.quantity, self.canceling = "pro", 1, False
        self.addon = False
        # Which events the seller subscribed to.
        self.snapshots = draw(st.booleans())
        self.invoices = not self.snapshots or draw(st.booleans())

    def maybe(self) -> bool:
        return self.draw(st.booleans())

    def snap(self, at: float, status: SubscriptionStatus, period: tuple[float, float]) -> None:
        stamp = Stamp(day(at), _RANKS[status], f"{self.price}{self.quantity}{self.canceling}")
        bought = [(self.price, self.quantity)] + ([("addon", 1)] if self.addon else [])
        items = tuple(Item(price, n, day(period[0]), day(period[1])) for price, n in bought)
        ended = day(at) if status == "ended" else None
        if self.snapshots or status in ("ended", "incomplete"):
            self.facts.append(SubscriptionSeen(stamp, status, items, self.canceling, ended))
            self.facts.append(HolderSeen(stamp, customer="cus_1"))

    def bill(self, at: float, period: tuple[float, float], state: PaymentState, amount: int = 5000) -> None:
        stamp, name = Stamp(day(at), 2 if state == "paid" else 1), f"{period[0]}"
        bought = [(self.price, self.quantity)] + ([("addon", 1)] if self.addon else [])
        lines = tuple(PaidLine(price, n, day(period[0]), day(period[1])) for price, n in bought)
        if self.invoices:
            intent = f"pi_{name}" if self.maybe() else None
            self.facts.append(PaymentSeen(stamp, f"in_{name}", state, amount, "USD", lines, intent))
            self.facts.append(HolderSeen(stamp, customer="cus_1", email="a@example.com"))
            if state == "paid" and self.maybe():
                self.facts.append(PaymentLinked(f"pi_{name}", f"in_{name}"))

    def change(self, at: float, period: tuple[float, float]) -> None:
        """Seats, plan, addon or a scheduled end change in the middle of a period."""
        kind = self.draw(st.sampled_from(["seats", "plan", "addon", "cancel", "nothing"]))
        match kind:
            case "seats":
                self.quantity = self.draw(st.integers(1, 4))
            case "plan":
                self.price = self.draw(st.sampled_from(["pro", "team", "now"]))
            case "addon":
                self.addon = not self.addon
            case "cancel":
                self.canceling = not self.canceling
        if kind in ("seats", "plan") and self.invoices:
            line = PaidLine(self.price, self.quantity, day(at), day(period[1]), prorated=True)
            stamp = Stamp(day(at), 2)
            self.facts.append(PaymentSeen(stamp, f"in_{at}", "paid", 900, "USD", (line,)))
        self.snap(at, "active", period)

    def month(self, start: float) -> bool:
        """One renewal; False when it was not paid."""
        period = (start, start + 30)
        self.snap(start, "active", period)
        # The charge follows an hour later, or in the very same second.
        charged = start + self.draw(st.sampled_from([0, 1 / 24]))
        if self.draw(st.integers(0, 3)) == 0:
            self.bill(charged, period, "failed")
            self.snap(charged, "past_due", period)
            if self.maybe():
                return False
            charged += 3
        self.bill(charged, period, "paid")
        self.snap(charged, "active", period)
        if self.maybe():
            self.change(start + 10, period)
        if self.draw(st.integers(0, 4)) == 0:
            self.refund(start + self.draw(st.sampled_from([5, 29])), f"{start}")
        return True

    def refund(self, at: float, name: str) -> None:
        for amount in (2500, 5000) if self.maybe() else (5000,):
            intent = f"pi_{name}" if self.maybe() else None
            stamp = Stamp(day(at), amount)
            self.facts.append(RefundSeen(stamp, f"ch_{name}", amount == 5000, amount, "USD", intent))


@st.composite
def _lives(draw: st.DrawFn) -> list[Fact]:
    life, start = _Life(draw), 0.0
    life.facts.append(CheckoutSeen(Stamp(day(0), 2), "cs_1", "paid"))
    if life.maybe():
        life.snap(0, "incomplete", (0, 30))
    if life.maybe():
        life.snap(0, "trialing", (0, 14))
        life.bill(0, (0, 14), "paid", amount=0)
        start = 14.0
    going = True
    for _ in range(draw(st.integers(1, 5))):
        going = going and life.month(start)
        start += 30
    if life.maybe():
        last = (start - 30, start)
        life.snap(start - 5, draw(st.sampled_from(["paused", "unpaid", "past_due"])), last)
    if life.maybe():
        life.snap(start - 2, "ended", (start - 30, start))
        if life.maybe():  # sent before, delivered after
            life.snap(start - 1, "active", (start - 30, start))
    return life.facts


_any_life = _lives() | st.lists(_nonsense, max_size=12)


# ------------------------------------------------------------------------------------ the properties


@given(_any_life, st.randoms(use_true_random=False))
def test_any_order_and_any_repetition_end_alike(facts: list[Fact], chance: random.Random) -> None:
    once = told(facts)
    again = facts + chance.choices(facts, k=len(facts)) if facts else []
    chance.shuffle(again)
    shuffled = told(again)
    assert shuffled == once
    assert worth(shuffled, _PLANS) == worth(once, _PLANS)


@given(_any_life, st.randoms(use_true_random=False))
def test_any_split_merges_to_the_same(facts: list[Fact], chance: random.Random) -> None:
    whole = told(facts)
    shares: tuple[list[Fact], ...] = ([], [], [])
    for fact in facts:
        for share in chance.sample(shares, k=chance.randint(1, 3)):
            share.append(fact)
    one, two, three = (told(share) for share in shares)
    assert merge(one, two) == merge(two, one)
    assert merge(merge(one, two), three) == merge(one, merge(two, three)) == whole
    assert worth(merge(three, merge(two, one)), _PLANS) == worth(whole, _PLANS)
    assert merge(whole, one) == whole
    assert merge(whole, whole) is whole
    assert merge(whole, Purchase()) is whole
    assert merge(Purchase(), whole) == whole


@given(_any_life)
def test_what_is_known_or_older_changes_nothing(facts: list[Fact]) -> None:
    whole = told(facts)
    for fact in facts:
        assert absorb(whole, fact) is whole


@given(_any_life)
def test_it_reads_back_from_the_store_as_it_was(facts: list[Fact]) -> None:
    whole = told(facts)
    back = msgspec.json.decode(msgspec.json.encode(whole), type=Purchase)
    assert back == whole
    assert worth(back, _PLANS) == worth(whole, _PLANS)


@given(_any_life)
def test_clocks_are_in_order(facts: list[Fact]) -> None:
    whole = told(facts)
    products = set()
    for one in worth(whole, _PLANS):
        products.add(one.product_id)
        clocks = (one.entitled_until, one.active_until, one.grace_until)
        if None in clocks:
            assert set(clocks) == {None}
        else:
            entitled, active, grace = (clock for clock in clocks if clock is not None)
            assert entitled <= active
            assert entitled <= grace
            assert one.lost_until is None or active == grace == entitled
        assert one.units >= 0
        assert one.seats >= 0
    assert len(products) == len(worth(whole, _PLANS))
    assert products <= {_PLANS[price].product_id for price in prices_of(whole) & _PLANS.keys()}


# ------------------------------------------------------------------------------------------ examples


def _snapshot(
    at: float, status: SubscriptionStatus, price: str = "pro", digest: str = ""
) -> SubscriptionSeen:
    items = (Item(price, 1, day(0), day(30)),)
    return SubscriptionSeen(Stamp(day(at), _RANKS[status], digest), status, items)


def test_updated_before_created_in_one_second() -> None:
    facts = [_snapshot(0, "active"), _snapshot(0, "incomplete")]
    assert told(facts) == told(facts[::-1])
    assert told(facts).subscription == facts[0]


def test_ties_of_one_second_are_broken_by_the_projection_and_then_by_content() -> None:
    a, b = _snapshot(0, "active", digest="a"), _snapshot(0, "active", "team", digest="b")
    assert told([a, b]).subscription == told([b, a]).subscription == b
    c, d = _snapshot(0, "active"), _snapshot(0, "active", "team")
    assert told([c, d]).subscription == told([d, c]).subscription == d


@pytest.mark.parametrize("late", ["active", "past_due", "trialing", "unpaid"])
def test_what_ended_never_comes_back(late: SubscriptionStatus) -> None:
    ended = _snapshot(10, "ended")
    for facts in ([ended, _snapshot(11, late)], [_snapshot(11, late), ended]):
        assert told(facts).subscription == ended


def test_paid_stays_paid_and_the_newest_refund_counts() -> None:
    def payment(at: float, state: PaymentState) -> PaymentSeen:
        return PaymentSeen(Stamp(day(at)), "in_1", state, 5000, "USD")

    kept = told([payment(0, "paid"), payment(1, "failed"), payment(2, "pending")])
    assert kept.payments["in_1"].state == "paid"
    assert told([payment(0, "pending"), payment(1, "failed")]).payments["in_1"].state == "failed"
    full, undone = (RefundSeen(Stamp(day(n)), "ch_1", n == 1, 1, "USD") for n in (1, 2))
    assert not told([undone, full]).refunds["ch_1"].full
    paid, expired = (CheckoutSeen(Stamp(day(n)), "cs_1", s) for n, s in ((0, "paid"), (1, "expired")))  # type: ignore[arg-type]  # literals lose their type in the loop
    assert told([paid, expired]).checkouts["cs_1"] == paid


def test_the_holder_is_learned_member_by_member() -> None:
    known = told(
        [
            HolderSeen(Stamp(day(0)), customer="cus_1", email="old@example.com"),
            HolderSeen(Stamp(day(1)), customer="cus_1", email="new@example.com"),
            HolderSeen(Stamp(day(2)), customer="cus_1"),
        ]
    )
    assert {member: one.value for member, one in known.holder.items()} == {
        "customer": "cus_1",
        "email": "new@example.com",
    }


def test_a_refund_finds_its_payment_by_every_name() -> None:
    def found(refund: RefundSeen, *facts: Fact) -> set[str]:
        return set(payments_of(told(facts), refund))

    bill = PaymentSeen(Stamp(day(0)), "in_1", "paid", 1, "USD", (), "pi_1", "ch_1")
    bare = PaymentSeen(Stamp(day(0)), "in_2", "paid", 1, "USD")
    by_id = RefundSeen(Stamp(day(1)), "ch_9", True, 1, "USD", None, "in_2")
    by_intent = RefundSeen(Stamp(day(1)), "ch_9", True, 1, "USD", "pi_1")
    by_charge = RefundSeen(Stamp(day(1)), "ch_1", True, 1, "USD")
    by_link = RefundSeen(Stamp(day(1)), "ch_9", True, 1, "USD", "pi_2")
    assert found(by_id, bill, bare) == {"in_2"}
    assert found(by_intent, bill, bare) == found(by_charge, bill, bare) == {"in_1"}
    assert found(by_link, bill, bare) == set()
    assert found(by_link, bill, bare, PaymentLinked("pi_2", "in_2")) == {"in_2"}
    assert found(by_link, PaymentLinked("pi_2", "in_2")) == set()


def test_prices_of_names_every_price_ever_spoken_of() -> None:
    facts: list[Fact] = [
        Ordered("KW-1", "pln", "ordered", 1),
        _snapshot(0, "active", "old"),
        _snapshot(1, "unknown", "new"),
        PaymentSeen(Stamp(day(0)), "in_1", "paid", 1, "USD", (PaidLine("billed", 1),)),
    ]
    assert prices_of(told(facts)) == {"ordered", "old", "new", "billed"}
