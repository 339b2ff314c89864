"""Any order, any repetition and any batching of one purchase's events end in the same license.

As in tests/domain, but through the intake and a real database: parking, release, aliases, merging, the
customer and the checkout take part.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from keywright.domain.license import is_intact
from keywright.domain.plan import Terms
from keywright.flows.context import Context
from keywright.store import checkouts, tables
from keywright.store import timeline as history
from keywright.store.checkouts import Checkout
from tests.conftest import TurnableClock
from tests.life import stripe, world

START = datetime(2026, 1, 1, tzinfo=UTC)
REFERENCE = "KW-ABCDEFGH12345678"
EXPIRED = "cs_0"
PLANS = {
    "price_pro": Terms(),
    "price_team": Terms(seats_per_unit=5),
    "price_keys": Terms(quantity="keys"),
    "price_now": Terms(on_cancel="now", on_refund="keep"),
    "price_once": Terms(term="perpetual"),
    "price_year": Terms(term=365 * 86400),
}
_MONTHLY = ["price_pro", "price_team", "price_keys", "price_now"]
_CLEARED = (
    tables.announcements,
    tables.inbox_purchases,
    tables.refetches,
    tables.timeline,
    tables.activations,
    tables.licenses,
    tables.purchase_aliases,
    tables.purchases,
    tables.customer_accounts,
    tables.customers,
    tables.inbox_waits,
    tables.inbox,
    tables.checkouts,
)
# What the license says, less what its history and its random parts say.
_COMPARED = [
    tables.licenses.c[name]
    for name in (
        "product_id",
        "unit",
        "plan_id",
        "seats",
        "entitled_until",
        "active_until",
        "grace_until",
        "lost_until",
        "standing",
        "reason",
        "trial",
        "canceling",
        "past_due",
        "firm",
    )
]


def day(number: float) -> datetime:
    return START + timedelta(days=number)


class _Life:
    """Tells the life of one subscription, month by month, as Stripe would."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.events: list[stripe.Json] = []
        self.price = draw(st.sampled_from(["price_pro", "price_keys", "price_now"]))
        self.quantity, self.canceling, self.number = draw(st.integers(1, 3)), False, 0
        self.reference = REFERENCE if draw(st.booleans()) else None
        # Which events the seller subscribed to: snapshots alone, or invoices too.
        self.invoices = draw(st.booleans())

    def maybe(self) -> bool:
        return self.draw(st.booleans())

    def tell(self, kind: str, obj: stripe.Json, at: float) -> None:
        self.number += 1
        self.events.append(stripe.event(kind, obj, day(at), id_=f"evt_{self.number}"))

    def snap(self, at: float, status: str, period: tuple[float, float], kind: str = "updated") -> None:
        seen = stripe.subscription(
            "sub_1",
            day(period[0]),
            day(period[1]),
            price=self.price,
            quantity=self.quantity,
            status=status,
            reference=self.reference,
            cancel_at_period_end=self.canceling,
            ended_at=stripe.stamp(day(at)) if status == "canceled" else None,
        )
        self.tell(f"customer.subscription.{kind}", seen, at)

    def bill(self, at: float, period: tuple[float, float], *, paid: bool = True, amount: int = 5000) -> None:
        if not self.invoices:
            return
        name = f"in_{int(period[0])}"
        made = stripe.invoice(
            name,
            "sub_1",
            day(period[0]),
            day(period[1]),
            price=self.price,
            quantity=self.quantity,
            amount=amount,
            reference=self.reference,
        )
        self.tell("invoice.paid" if paid else "invoice.payment_failed", made, at)
        if paid and amount:
            self.tell("invoice_payment.paid", stripe.invoice_payment(name, f"pi_{name}"), at)

    def month(self, start: float) -> None:
        period = (start, start + 30)
        self.snap(start, "active", period)
        charged = start + self.draw(st.sampled_from([0, 1 / 24]))  # an hour later, or in the same second
        if self.draw(st.integers(0, 3)) == 0:
            self.bill(charged, period, paid=False)
            self.snap(charged, "past_due", period)
            charged += 3
            self.snap(charged, "active", period)
        self.bill(charged, period)
        change = self.draw(st.sampled_from(["nothing", "nothing", "seats", "plan", "cancel", "refund"]))
        match change:
            case "seats":
                self.quantity = self.draw(st.integers(1, 4))
            case "plan":
                self.price = self.draw(
                    st.sampled_from(["price_pro", "price_team", "price_keys", "price_now"])
                )
            case "cancel":
                self.canceling = not self.canceling
            case "refund" if self.invoices:
                charge, intent = f"ch_{int(start)}", f"pi_in_{int(start)}"
                if self.maybe():
                    self.tell("charge.refunded", stripe.refund(charge, intent, refunded=2500), start + 4)
                self.tell("charge.refunded", stripe.refund(charge, intent), start + 5)
        if change in ("seats", "plan", "cancel"):
            self.snap(start + 10, "active", period)


@st.composite
def subscriptions(draw: st.DrawFn) -> list[stripe.Json]:
    """Up to a dozen or two of events: begun by a checkout or not, with a trial, renewals, changes, an end."""
    life, start = _Life(draw), 0.0
    first = (0.0, 30.0)
    life.snap(0, draw(st.sampled_from(["incomplete", "active"])), first, "created")
    if life.maybe():
        made = stripe.session("cs_1", mode="subscription", sub="sub_1", reference=life.reference)
        life.tell("checkout.session.completed", made, 0)
    if life.maybe():
        life.snap(0, "trialing", (0, 14))
        life.bill(0, (0, 14), amount=0)
        start = 14.0
    for _ in range(draw(st.integers(1, 3))):
        life.month(start)
        start += 30
    if life.maybe():
        life.snap(start - 5, draw(st.sampled_from(["paused", "unpaid", "past_due"])), (start - 30, start))
    if life.maybe():
        life.snap(start - 2, "canceled", (start - 30, start), "deleted")
        if life.maybe():  # sent before, delivered after
            life.snap(start - 1, "active", (start - 30, start))
    return life.events


@st.composite
def orders(draw: st.DrawFn) -> list[stripe.Json]:
    """A one-off order of ours: paid at once, later or never, told of twice, given back in parts or whole."""
    life = _Life(draw)
    life.reference = REFERENCE
    waiting, paid = (
        stripe.session("cs_1", reference=REFERENCE, payment_status=state) for state in ("unpaid", "paid")
    )
    how = draw(st.sampled_from(["at once", "succeeded", "failed"]))
    if how == "at once":
        life.tell("checkout.session.completed", paid, 0)
    else:
        life.tell("checkout.session.completed", waiting, 0)
        later = paid if how == "succeeded" else waiting
        life.tell(f"checkout.session.async_payment_{how}", later, draw(st.sampled_from([0, 3])))
    if life.maybe():  # an invoice for the order, after the fact
        made = stripe.invoice("in_0", "sub_x", day(0), day(0), price="price_once", payment_intent="pi_1")
        life.tell("invoice.paid", {**made, "parent": None}, 0)
    for part in draw(st.sampled_from([(), (2500,), (5000,), (2500, 5000)])):
        life.tell("charge.refunded", stripe.refund("ch_1", "pi_1", refunded=part), part / 1000)
    # An earlier try to pay the same order ran out of time; where nothing was paid, that is its last word.
    if how != "failed" and life.maybe():
        life.tell("checkout.session.expired", {**waiting, "id": EXPIRED, "payment_intent": None}, 1)
    return life.events


def outcome_of(
    context: Context, clock: TurnableClock, batches: Sequence[Sequence[stripe.Json]], price: str
) -> dict[str, Any]:
    """What these batches lead to, on tables that were empty before."""
    clock.time = day(200)
    clear(context, price)
    for batch in batches:
        clock.turn(seconds=1)
        for answer in world.hand_in(context, *batch):
            assert not isinstance(answer, Exception), answer
    check_whole(context)
    inbox, aliases, customers = tables.inbox.c, tables.purchase_aliases.c, tables.customers.c
    with context.database.read() as connection:

        def rows(*columns: Any) -> list[tuple[Any, ...]]:
            return sorted(map(tuple, connection.execute(sa.select(*columns))), key=str)

        return {
            "licenses": [row for row in rows(*_COMPARED) if is_worth_something(row)],
            "events": rows(inbox.dedupe_key, inbox.status, inbox.reason),
            "customers": rows(customers.email, customers.name),
            "checkouts": rows(tables.checkouts.c.status),
            # The session that only expired is no alias while there is no purchase yet.
            "aliases": [row for row in rows(aliases.kind, aliases.external_id) if row[1] != EXPIRED],
            "purchases": world.count(context, tables.purchases),
        }


def is_worth_something(row: tuple[Any, ...]) -> bool:
    """Not a license that was issued on the way and is worth nothing in the end.

    Three keys were bought, and then one: told in this order, two more keys were issued, mailed, and ended.
    Told the other way round they never were. Likewise a license of a period that was not paid after all.
    """
    told = dict(zip((column.name for column in _COMPARED), row, strict=True))
    return told["entitled_until"] is not None and told["reason"] != "fewer keys"


def check_whole(context: Context) -> None:
    """Every row is intact and every chain unbroken, however it came to be."""
    for one in world.all_licenses(context):
        assert is_intact(one, context.vault.row_key(one.tenant_id))
        with context.database.read() as connection:
            entries = history.list_page(connection, one.tenant_id, one.id, after=0, limit=1000)
        assert history.first_break(entries, one.head) is None
        assert [entry.kind for entry in entries].count("license.issued") == 1
    assert world.count(context, tables.announcements) == world.count(context, tables.licenses)


def clear(context: Context, price: str) -> None:
    now = context.clock.now()
    with context.database.write() as connection:
        for table in _CLEARED:
            connection.execute(sa.delete(table))
        made = Checkout(
            reference=REFERENCE,
            tenant_id=context.master.id,
            provider_account_id=context.channels["stripe"].account.id,
            plan_id=f"pla_plan-{list(PLANS).index(price)}",
            price=price,
            quantity=2,
            amount=10000,
            currency="USD",
            status="open",
            created_at=now,
            expires_at=now + timedelta(hours=24),
        )
        checkouts.insert(connection, made)


def scattered(events: Sequence[stripe.Json], chance: random.Random) -> list[list[stripe.Json]]:
    """In any order, some twice or thrice, in batches of any size."""
    told = list(events) + chance.choices(list(events), k=chance.randint(0, len(events)))
    chance.shuffle(told)
    batches = []
    while told:
        size = chance.choice([1, 1, 2, 3, len(told)])
        batches.append(told[:size])
        del told[:size]
    return batches


def stocked(context: Context) -> None:
    if world.count(context, tables.products) == 0:
        world.stock(context, **PLANS)


@settings(max_examples=settings().max_examples // 2)
@given(events=subscriptions(), chance=st.randoms(use_true_random=False))
def test_a_subscription_told_in_any_way_ends_in_the_same_license(
    context: Context, clock: TurnableClock, events: list[stripe.Json], chance: random.Random
) -> None:
    stocked(context)
    in_order = outcome_of(context, clock, [[event] for event in events], "price_pro")
    assert in_order["licenses"] or not any(event["type"] == "invoice.paid" for event in events)
    for _ in range(2):
        assert outcome_of(context, clock, scattered(events, chance), "price_pro") == in_order


@settings(max_examples=settings().max_examples // 2)
@given(
    events=orders(),
    price=st.sampled_from(["price_once", "price_year"]),
    chance=st.randoms(use_true_random=False),
)
def test_an_order_told_in_any_way_ends_in_the_same_license(
    context: Context, clock: TurnableClock, events: list[stripe.Json], price: str, chance: random.Random
) -> None:
    stocked(context)
    in_order = outcome_of(context, clock, [[event] for event in events], price)
    for _ in range(3):
        assert outcome_of(context, clock, scattered(events, chance), price) == in_order
