"""Lives of purchases as facts, each told in the manner of three providers.

A life is written once. A `Teller` says it as Stripe does (an event for each thing, with the event's own time)
or as Paystack and PayPal are heard (snapshots that were fetched, which tell old payments again). What must be
true on the way stands between the facts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from keywright.domain.facts import (
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
from keywright.domain.license import Status
from keywright.domain.plan import Plan, Terms

Style = Literal["stripe", "paystack", "paypal"]
STYLES: tuple[Style, ...] = ("stripe", "paystack", "paypal")
Span = tuple[float, float]

PLANS = {
    "pro": Plan("pln_pro", "prd_app", "pro", "Pro", 1, Terms()),
    "team": Plan("pln_team", "prd_app", "team", "Team", 1, Terms(seats_per_unit=5)),
    "keys": Plan("pln_keys", "prd_app", "keys", "Keys", 1, Terms(quantity="keys")),
    "once": Plan("pln_once", "prd_app", "once", "Once", 1, Terms(term=365 * 86400)),
}
_RANKS = {"incomplete": 1, "paused": 2, "unpaid": 3, "past_due": 4, "trialing": 5, "active": 6, "ended": 8}


def day(number: float) -> datetime:
    """Day 0 is the purchase; a month has 30 days here."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)


@dataclass(frozen=True)
class Checked:
    """After so many facts a purchase's license is this on that day. `seats`: keys, where keys are sold."""

    told: int
    purchase: int
    day: float
    status: Status
    seats: int | None


@dataclass
class Teller:
    """Tells a life. `purchase` says which purchase the next facts are about."""

    style: Style
    purchase: int = 0
    price: str = "pro"
    count: int = 1
    facts: list[tuple[int, Fact]] = field(default_factory=list)
    checks: list[Checked] = field(default_factory=list)
    given: dict[str, int] = field(default_factory=dict)

    def tell(self, fact: Fact) -> None:
        self.facts.append((self.purchase, fact))

    def stamp(self, at: float, rank: int) -> Stamp:
        # What was fetched ranks above every event of the same second.
        return Stamp(day(at), rank if self.style == "stripe" else 100, f"{len(self.facts):03}")

    def ordered(self) -> None:
        self.tell(Ordered(f"KW-{self.purchase}", PLANS[self.price].id, self.price, self.count))

    def snap(
        self,
        at: float,
        status: SubscriptionStatus,
        period: Span,
        *,
        canceling: bool = False,
        collecting: bool = True,
    ) -> None:
        items = (Item(self.price, self.count, day(period[0]), day(period[1])),)
        if self.style == "paypal":  # names no beginning
            items = (Item(self.price, self.count, None, day(period[1])),)
        ended = day(at) if status == "ended" else None
        stamp = self.stamp(at, _RANKS.get(status, 0))
        self.tell(SubscriptionSeen(stamp, status, items, canceling, ended, collecting))
        self.tell(HolderSeen(stamp, customer="cus_1"))

    def bill(
        self,
        at: float,
        period: Span,
        state: PaymentState = "paid",
        *,
        amount: int = 5000,
        prorated: bool = False,
        name: str = "",
    ) -> None:
        """A payment for a period. Providers that are asked tell the earlier ones again."""
        if self.style != "stripe":
            if state == "failed" or prorated or amount == 0:
                return  # a failure is a status to them, and they know neither prorations nor bills of nothing
            self._tell_again(at)
        lines = (PaidLine(self.price, self.count, day(period[0]), day(period[1]), prorated),)
        self._pay(at, name or f"{self.purchase}.{period[0]}", state, amount, lines)

    def order_paid(self, at: float, name: str, amount: int = 5000) -> None:
        self._pay(at, name, "paid", amount, ())

    def _pay(
        self, at: float, name: str, state: PaymentState, amount: int, lines: tuple[PaidLine, ...]
    ) -> None:
        stamp = self.stamp(at, {"pending": 0, "failed": 1, "paid": 2}[state])
        match self.style:
            case "stripe":
                self.tell(PaymentSeen(stamp, f"in_{name}", state, amount, "USD", lines))
                if state == "paid" and amount:
                    self.tell(PaymentLinked(f"pi_{name}", f"in_{name}"))
            case "paystack":
                names = (f"ref_{name}", f"trx_{name}")
                self.tell(PaymentSeen(stamp, names[0], state, amount, "USD", lines, *names))
            case "paypal":
                self.tell(PaymentSeen(stamp, name, state, amount, "USD", lines, charge=name))

    def _tell_again(self, at: float) -> None:
        seen = {fact.payment: fact for which, fact in self.facts
                if which == self.purchase and isinstance(fact, PaymentSeen)}  # fmt: skip
        for fact in seen.values():
            self.tell(msgspec.structs.replace(fact, stamp=self.stamp(at, 0)))

    def refund(
        self,
        at: float,
        name: str,
        amount: int,
        state: Literal["pending", "done", "failed"] = "done",
        *,
        id_: str = "1",
    ) -> None:
        stamp = self.stamp(at, 0)
        match self.style:
            case "stripe":
                means = {"charge": f"ch_{name}", "intent": f"pi_{name}"}
                self.given[name] = self.given.get(name, 0) + (-amount if state == "failed" else amount)
                if state != "failed":  # of that only the refund itself tells
                    given = self.given[name]
                    self.tell(RefundSeen(stamp, f"ch_{name}", given == 5000, given, "USD", f"pi_{name}"))
            case "paystack":
                means = {"charge": f"trx_{name}", "intent": f"ref_{name}", "payment": f"ref_{name}"}
            case "paypal":
                means = {"charge": name}
        self.tell(RefundPart(stamp, f"re_{name}_{id_}", state, amount, "USD", **means))

    def dispute(
        self,
        at: float,
        name: str,
        state: Literal["warning", "inquiry", "open", "won", "lost", "over"],
        amount: int = 5000,
    ) -> None:
        means = {
            "stripe": {"charge": f"ch_{name}", "intent": f"pi_{name}"},
            "paystack": {"charge": f"trx_{name}", "intent": f"ref_{name}", "payment": f"ref_{name}"},
            "paypal": {"charge": name},
        }[self.style]
        self.tell(DisputeSeen(self.stamp(at, 0), f"dp_{name}", state, amount, "USD", **means))

    def holds(self, at: float, status: Status, seats: int | None = None) -> None:
        self.checks.append(Checked(len(self.facts), self.purchase, at, status, seats))

    # -- what happens in most lives ---------------------------------------------------------------------

    def begin(self, at: float = 0, count: int = 1, price: str = "pro") -> str:
        """Bought and paid for a month. Returns the name of the payment."""
        self.price, self.count = price, count
        self.ordered()
        self.snap(at, "incomplete", (at, at + 30))
        self.snap(at, "active", (at, at + 30))
        self.bill(at, (at, at + 30))
        self.holds(at + 1, "active")
        return f"{self.purchase}.{at}"

    def renew(self, at: float) -> str:
        self.snap(at, "active", (at, at + 30))
        self.bill(at + 0.04, (at, at + 30))
        self.snap(at + 0.04, "active", (at, at + 30))
        self.holds(at + 1, "active")
        return f"{self.purchase}.{at}"


def trial_seats_failure_recovery_cancel(it: Teller) -> None:
    it.price, it.count = "pro", 2
    it.ordered()
    it.snap(0, "trialing", (0, 14))
    it.bill(0, (0, 14), amount=0)
    it.holds(13.9, "active", 2)
    it.snap(14, "active", (14, 44))
    it.bill(14.04, (14, 44))
    it.count = 5
    it.snap(20, "active", (14, 44))
    it.bill(20, (20, 44), amount=900, prorated=True, name="up")
    it.holds(20.1, "active", 5)
    it.snap(44, "active", (44, 74))
    it.holds(44.02, "active", 5)
    it.bill(44.04, (44, 74), "failed")
    it.snap(44.04, "past_due", (44, 74))
    it.holds(45, "grace", 5)
    it.bill(50, (44, 74))
    it.snap(50, "active", (44, 74))
    it.holds(51, "active", 5)
    it.snap(60, "active", (44, 74), canceling=True)
    it.holds(73.9, "active", 5)
    it.snap(74, "ended", (44, 74))
    it.holds(74, "expired", 5)


def refund_in_halves(it: Teller) -> None:
    paid = it.begin()
    it.refund(3, paid, 2500, id_="1")
    it.holds(4, "active")
    it.refund(5, paid, 2500, id_="2")
    it.holds(6, "revoked")
    it.renew(30)
    it.holds(31, "active")


def refund_that_failed(it: Teller) -> None:
    paid = it.begin()
    it.refund(3, paid, 5000, "done")
    it.holds(4, "revoked")
    it.refund(6, paid, 5000, "failed")
    it.holds(7, "active")


def half_of_a_refund_failed(it: Teller) -> None:
    paid = it.begin()
    it.refund(3, paid, 2500, id_="1")
    it.refund(4, paid, 2500, id_="2")
    it.holds(4.5, "revoked")
    it.refund(6, paid, 2500, "failed", id_="1")
    it.holds(7, "active")
    it.refund(8, paid, 2500, id_="3")
    it.holds(9, "revoked")


def dispute_won(it: Teller) -> None:
    paid = it.begin()
    it.dispute(5, paid, "open")
    it.holds(6, "suspended")
    it.dispute(20, paid, "won")
    it.holds(21, "active")


def dispute_lost(it: Teller) -> None:
    paid = it.begin()
    it.dispute(5, paid, "open")
    it.holds(6, "suspended")
    it.dispute(20, paid, "lost")
    it.holds(21, "revoked")
    it.renew(30)


def dispute_lost_then_appealed_and_won(it: Teller) -> None:
    paid = it.begin()
    it.dispute(5, paid, "lost")
    it.holds(6, "revoked")
    it.dispute(8, paid, "open")
    it.holds(9, "suspended")
    it.dispute(12, paid, "won")
    it.holds(13, "active")


def inquiry_and_warning(it: Teller) -> None:
    paid = it.begin()
    for at, state in ((2.0, "warning"), (3.0, "inquiry"), (9.0, "over")):
        it.dispute(at, paid, state)  # type: ignore[arg-type]  # the literals lose their type in the tuple
        it.holds(at + 0.1, "active")


def half_disputed_half_refunded(it: Teller) -> None:
    paid = it.begin()
    it.dispute(3, paid, "lost", 2500)
    it.holds(4, "active")
    it.refund(5, paid, 2500)
    it.holds(6, "revoked")


def resubscribed(it: Teller) -> None:
    it.begin()
    it.snap(10, "active", (0, 30), canceling=True)
    it.snap(30, "ended", (0, 30))
    it.holds(30, "expired")
    it.purchase = 1
    it.begin(40)
    it.renew(70)
    it.purchase = 0
    it.holds(71, "expired")


def two_purchases_of_one_customer(it: Teller) -> None:
    first = it.begin(count=2)
    it.purchase = 1
    it.begin(3, count=7)
    it.purchase = 0
    it.refund(5, first, 5000)
    it.holds(6, "revoked", 2)
    it.purchase = 1
    it.holds(6, "active", 7)


def upgraded(it: Teller) -> None:
    it.begin(count=2)
    it.price, it.count = "team", 1
    it.snap(10, "active", (0, 30))
    it.bill(10, (10, 30), amount=900, prorated=True, name="up")
    it.holds(11, "active", 5)
    it.renew(30)
    it.holds(59, "active", 5)


def fewer_seats_from_the_next_period(it: Teller) -> None:
    it.begin(count=9)
    it.count = 4
    it.snap(10, "active", (0, 30))
    it.holds(29.9, "active", 9)
    it.holds(30, "active", 4)
    it.renew(30)
    it.holds(31, "active", 4)
    it.count = 6
    it.snap(40, "active", (30, 60))
    it.holds(40, "active", 6)


def downgraded_when_the_period_ends(it: Teller) -> None:
    it.begin(count=2, price="team")
    it.price, it.count = "pro", 3
    it.renew(30)
    it.holds(31, "active", 3)


def fewer_keys_and_more_again(it: Teller) -> None:
    it.begin(count=3, price="keys")
    it.count = 1
    it.snap(10, "active", (0, 30))
    it.holds(29, "active", 3)
    it.renew(30)
    it.holds(31, "active", 1)
    it.count = 2
    it.snap(40, "active", (30, 60))
    it.holds(41, "active", 2)


def paused_and_resumed(it: Teller) -> None:
    it.begin()
    it.snap(10, "paused", (0, 30))
    it.holds(29, "active")
    it.holds(31, "suspended")
    it.snap(40, "active", (40, 70))
    it.bill(40.04, (40, 70))
    it.holds(41, "active")


def collection_paused_and_resumed(it: Teller) -> None:
    it.begin()
    it.snap(10, "active", (0, 30), collecting=False)
    it.holds(29, "active")
    it.snap(30, "active", (30, 60), collecting=False)
    it.holds(30.01, "expired")
    it.snap(40, "active", (30, 60))
    it.holds(41, "grace")
    it.renew(60)


def paid_after_it_ended(it: Teller) -> None:
    it.begin()
    it.bill(30, (30, 60), "failed")
    it.snap(30, "past_due", (30, 60))
    it.snap(44, "ended", (30, 60))
    it.holds(45, "expired")
    it.bill(47, (30, 60))
    it.holds(48, "active")
    it.holds(60, "expired")


def one_off_with_a_dispute(it: Teller) -> None:
    it.price, it.count = "once", 2
    it.ordered()
    it.order_paid(0, "o")
    it.holds(1, "active", 2)
    # Told again, and it is not bought again.
    it.order_paid(100, "o")
    it.holds(364.9, "active", 2)
    it.holds(365, "expired")
    it.dispute(120, "o", "open")
    it.holds(121, "suspended")
    it.dispute(150, "o", "lost")
    it.holds(151, "revoked")


def a_first_payment_that_never_came(it: Teller) -> None:
    it.ordered()
    it.snap(0, "incomplete", (0, 30))
    it.holds(0.1, "pending")
    it.snap(1, "abandoned", (0, 30))
    it.holds(2, "pending")


LIVES: tuple[Callable[[Teller], None], ...] = (
    trial_seats_failure_recovery_cancel,
    refund_in_halves,
    refund_that_failed,
    half_of_a_refund_failed,
    dispute_won,
    dispute_lost,
    dispute_lost_then_appealed_and_won,
    inquiry_and_warning,
    half_disputed_half_refunded,
    resubscribed,
    two_purchases_of_one_customer,
    upgraded,
    fewer_seats_from_the_next_period,
    downgraded_when_the_period_ends,
    fewer_keys_and_more_again,
    paused_and_resumed,
    collection_paused_and_resumed,
    paid_after_it_ended,
    one_off_with_a_dispute,
    a_first_payment_that_never_came,
)
