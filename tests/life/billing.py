"""A provider's billing of our own making: it keeps one subscription, and tells of changes as Stripe would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from keywright.domain.errors import KeywrightError
from keywright.flows.context import Context
from keywright.ports import Deal, Markable, Preview
from tests.conftest import TurnableClock
from tests.life import stripe

MONTH = timedelta(days=30)


class BillDesk:
    """Implements the port BillingApi. `heard` keeps every call; `trouble` is raised instead of an answer.

    A key that came before does nothing new, as at every provider.
    """

    def __init__(self, clock: TurnableClock, sub: str = "sub_1") -> None:
        self.clock = clock
        self.sub = sub
        self.start: datetime = clock.now()
        self.quantity = 2
        self.canceling = False
        self.given_back = 0
        self.heard: list[tuple[object, ...]] = []
        self.keys: set[str] = set()
        self.trouble: KeywrightError | None = None
        self.approval: str | None = None
        self.due_now = 4200
        self.marked: dict[tuple[str, str], dict[str, str]] = {}

    def preview_quantity(self, deal: Deal, quantity: int) -> Preview:
        self._hear("preview", deal, quantity)
        return Preview(quantity, self.due_now, 5000 * quantity, "USD", self.start + MONTH)

    def change_quantity(self, deal: Deal, quantity: int, key: str) -> str | None:
        if self._hear("seats", deal, quantity, key):
            self.quantity = quantity
        return self.approval

    def cancel(self, deal: Deal) -> None:
        self._hear("cancel", deal)
        self.canceling = True

    def resume(self, deal: Deal) -> None:
        self._hear("resume", deal)
        self.canceling = False

    def refund(
        self, deal: Deal, amount: int | None, currency: str, key: str, *, fee_back: bool = False
    ) -> None:
        del fee_back
        if self._hear("refund", deal, amount, currency, key):
            self.given_back += 5000 if amount is None else amount

    def portal(self, deal: Deal, return_url: str) -> str:
        self._hear("portal", deal, return_url)
        return "https://pay.example/portal/secret"

    def mark(self, thing: Markable, external_id: str, words: Mapping[str, str], key: str) -> bool:
        del key
        known = self.marked.setdefault((thing, external_id), {})
        fresh = any(known.get(name) != word for name, word in words.items())
        known.update(words)
        return fresh

    def told(self) -> stripe.Json:
        """The webhook that says how the subscription is now."""
        seen = stripe.subscription(
            self.sub,
            self.start,
            self.start + MONTH,
            quantity=self.quantity,
            cancel_at_period_end=self.canceling,
        )
        return stripe.event("customer.subscription.updated", seen, self.clock.now())

    def _hear(self, name: str, deal: Deal, *asked: object) -> bool:
        self.heard.append((name, deal, *asked))
        if self.trouble is not None:
            raise self.trouble
        key = str(asked[-1]) if name in ("seats", "refund") else ""
        fresh = key not in self.keys
        self.keys.add(key)
        return fresh


def billed_by(context: Context, desk: BillDesk) -> Context:
    """The context with this desk behind its Stripe channel."""
    return replace(context, channels={"stripe": replace(context.channels["stripe"], billing=desk)})
