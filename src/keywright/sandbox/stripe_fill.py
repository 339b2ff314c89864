"""Fills the stand-in for Stripe with a shop that was there before."""

from __future__ import annotations

from typing import Any, Final

from keywright.sandbox import filling
from keywright.sandbox import stripe_billing_shapes as billing
from keywright.sandbox import stripe_payments as payments
from keywright.sandbox import stripe_shapes as shapes
from keywright.sandbox.cards import GENERIC_DECLINE, Card
from keywright.sandbox.filling import DAY, Sold
from keywright.sandbox.periods import shifted
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import StripeState

_AMOUNTS: Final = {"basic": 900, "pro": 1900, "team": 4900, filling.UNMAPPED: 1500}
_TRIAL: Final = 14 * DAY
_UNPAID: Final = frozenset({"past_due", "unpaid", "incomplete", "incomplete_expired"})
_STATUS: Final = {"canceling": "active"}


def fill(state: StripeState, count: int, seed: int) -> dict[str, str]:
    """So many subscriptions with customers, prices, invoices. Returns the prices by product and interval."""
    return _Fill(state, seed).fill(count)


class _Fill:
    def __init__(self, state: StripeState, seed: int) -> None:
        self.state = state
        self.seed = seed
        self.now = state.now()
        self.prices: dict[str, Obj] = {}
        self.customers: dict[int, Obj] = {}

    def fill(self, count: int) -> dict[str, str]:
        self.state.silent = True
        try:
            self._sell()
            # Oldest first, as the stand-in keeps everything.
            for sold in sorted(filling.shop(count, self.seed), key=lambda one: -one.age):
                self._subscribe(sold)
        finally:
            self.state.silent = False
        return {name: price["id"] for name, price in self.prices.items()}

    def _sell(self) -> None:
        began = self.now - 1000 * DAY
        for name, amount in _AMOUNTS.items():
            product = shapes.product(self.state.ids.new("prod"), began, name.capitalize())
            self.state.add(product)
            for interval, factor in (("month", 1), ("year", 10)):
                made = shapes.price(
                    self.state.ids.new("price"),
                    began,
                    product["id"],
                    "usd",
                    amount * factor,
                    recurring=shapes.recurring(interval, 1),
                    # The old product is not sold any more; people still pay for it.
                    active=name != filling.UNMAPPED,
                )
                self.prices[f"{name}/{interval}"] = self.state.add(made)

    def _customer(self, sold: Sold, created: int) -> Obj:
        known = self.customers.get(sold.buyer.number)
        if known is not None:
            return known
        made = shapes.customer(
            self.state.ids.new("cus"), created, f"F{sold.number:07d}", email=sold.buyer.email
        )
        self.customers[sold.buyer.number] = self.state.add(made)
        return made

    def _subscribe(self, sold: Sold) -> None:
        interval = "year" if sold.yearly else "month"
        start, end = self._period(sold, interval)
        created = self._began(sold, start)
        customer = self._customer(sold, created)
        status = _STATUS.get(sold.status, sold.status)
        made = billing.subscription(
            self.state.ids.new("sub"), created, customer["id"], "usd", **self._given(sold, status, start, end)
        )
        products = [sold.product] + ([sold.also] if sold.also else [])
        made["items"]["data"] = [
            billing.subscription_item(
                self.state.ids.new("si"),
                created,
                made["id"],
                self.prices[f"{name}/{interval}"],
                sold.quantity,
                (start, end),
            )
            for name in products
        ]
        self.state.add(made)
        self._bill(sold, made, customer, start, interval)
        self._live(sold, made, end)

    def _began(self, sold: Sold, start: int) -> int:
        fresh = sold.status in ("trialing", "incomplete", "incomplete_expired")
        return start if fresh else min(self.now - sold.age * DAY, start)

    def _period(self, sold: Sold, interval: str) -> tuple[int, int]:
        """The period it is in, or was in at its end."""
        if sold.status == "trialing":
            start = self.now - (sold.number % 12) * DAY - 3600
            return start, start + _TRIAL
        if sold.status in ("incomplete", "incomplete_expired"):
            start = self.now - (3600 if sold.status == "incomplete" else 5 * DAY)
            return start, shifted(start, interval, 1)
        start = anchor = self.now - sold.age * DAY
        steps = 0
        while (following := shifted(anchor, interval, steps + 1)) <= self.now:
            start, steps = following, steps + 1
        if sold.status in ("canceled", "paused") and steps > 1:
            steps = max(0, steps - 1 - sold.number % 3)
            start = shifted(anchor, interval, steps)
        return start, shifted(anchor, interval, steps + 1)

    def _given(self, sold: Sold, status: str, start: int, end: int) -> dict[str, Any]:
        given: dict[str, Any] = {"status": status}
        if sold.status == "trialing":
            given |= {"trial_start": start, "trial_end": end, "billing_cycle_anchor": end}
        if sold.status == "canceling":
            given |= {"cancel_at_period_end": True, "cancel_at": end, "canceled_at": start + 60}
        if sold.status in ("canceled", "incomplete_expired"):
            ended = min(end, self.now - 60) if sold.number % 2 else min(start + 2 * DAY, self.now - 60)
            given |= {"ended_at": ended, "canceled_at": ended}
        if sold.status == "paused":
            why = {
                "subscription": {"type": "pause_requested"},
                "transitioned_at": start,
                "type": "subscription",
            }
            given["status_details"] = {"paused": why}
        return given

    def _bill(self, sold: Sold, made: Obj, customer: Obj, start: int, interval: str) -> None:
        failed = sold.status in _UNPAID or (sold.status == "canceled" and sold.number % 4 == 0)
        if failed and sold.status not in ("incomplete", "incomplete_expired"):
            before = shifted(start, interval, -1)
            self._invoice(made, customer, before, (before, start), paid=True)
        periods = {
            item["id"]: (item["current_period_start"], item["current_period_end"])
            for item in made["items"]["data"]
        }
        period = next(iter(periods.values()))
        newest = self._invoice(made, customer, start, period, paid=not failed, free=sold.status == "trialing")
        made["latest_invoice"] = newest["id"]
        if sold.refunded and not failed:
            self._refund(newest)

    def _invoice(
        self, made: Obj, customer: Obj, at: int, period: tuple[int, int], *, paid: bool, free: bool = False
    ) -> Obj:
        with self.state.at(at):
            id_ = self.state.ids.new("in")
            lines = [
                billing.line_item(
                    self.state.ids.new("il"),
                    id_,
                    item,
                    amount=0 if free else item["price"]["unit_amount"] * item["quantity"],
                    quantity=item["quantity"],
                    description=f"{item['quantity']} x {item['price']['id']}",
                    period=period,
                    proration=False,
                )
                for item in made["items"]["data"]
            ]
            invoice = billing.invoice(id_, at, customer, lines, made)
            invoice |= {"status": "open", "attempted": True, "attempt_count": 1, "number": f"F-{id_[-8:]}"}
            self.state.add(invoice)
            if paid:
                invoice |= {"status": "paid", "amount_paid": invoice["amount_due"], "amount_remaining": 0}
                invoice["status_transitions"] |= {"finalized_at": at, "paid_at": at}
            if invoice["amount_due"]:
                self._settle(invoice, paid=paid)
            return invoice

    def _settle(self, invoice: Obj, *, paid: bool) -> None:
        state = self.state
        intent = payments.new_intent(state, invoice["amount_due"], "usd", invoice["customer"], {})
        link = state.add(billing.invoice_payment(state.ids.new("inpay"), state.now(), invoice, intent["id"]))
        if paid:
            payments.succeed(state, intent, Card(payment_method=state.ids.new("pm")))
            link |= {"status": "paid", "amount_paid": invoice["amount_due"]}

    def _refund(self, invoice: Obj) -> None:
        intent = self.state.owned("invoice_payment", invoice["id"])[0]["payment"]["payment_intent"]
        with self.state.at(min(invoice["created"] + DAY, self.now - 60)):
            payments.create_refund(self.state, {"payment_intent": intent})

    def _live(self, sold: Sold, made: Obj, end: int) -> None:
        """What runs goes on: it renews with a card that pays, or does not."""
        state = self.state
        decline = GENERIC_DECLINE if sold.status in _UNPAID else None
        state.attach(state.get("customer", made["customer"]), Card(state.ids.new("pm"), decline=decline))
        if sold.status == "canceling":
            state.schedule(end, "cancel_at", made["id"])
        elif sold.status in ("active", "trialing"):
            state.schedule(end, "period_end", made["id"])
