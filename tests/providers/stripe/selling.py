"""A shop at the sandbox: prices, purchases, levers, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import httpx
import stripe

from keywright.domain.facts import Projected, Reading, Refetch
from keywright.ports import Deal
from keywright.providers.stripe.api import StripeApi
from keywright.providers.stripe.billing import StripeBilling
from keywright.providers.stripe.hook import StripeEvents
from keywright.sandbox.app import SandboxServer


class Selling:
    """Everything goes over HTTP, through the real SDK."""

    def __init__(self, sandbox: SandboxServer) -> None:
        self.sandbox = sandbox
        self.api = StripeApi(sandbox.api_key, sandbox.sandbox.clock, base=sandbox.url)
        self.billing = StripeBilling(sandbox.api_key, sandbox.sandbox.clock, base=sandbox.url)
        self.shop = stripe.StripeClient(sandbox.api_key, base_addresses={"api": sandbox.url})
        self.events = StripeEvents()

    def now(self) -> datetime:
        return self.sandbox.sandbox.clock.now()

    def lever(self, name: str, **wish: Any) -> Any:
        answer = httpx.post(f"{self.sandbox.url}/_sandbox/{name}", json=wish)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def trigger(self, event: str) -> list[str]:
        """The ids of the events that came of it."""
        return [made["id"] for made in self.lever("trigger", event=event)["events"]]

    def price(self, interval: str | None = "month", amount: int = 1000) -> str:
        terms: Any = {"currency": "usd", "unit_amount": amount, "product_data": {"name": "Program"}}
        if interval is not None:
            terms["recurring"] = {"interval": interval}
        return self.shop.v1.prices.create(terms).id

    def buy(self, prices: Sequence[str], quantity: int = 1, mode: str = "subscription", **more: Any) -> Deal:
        """Pay for all of these at once; the deal names the first price."""
        params: Any = {
            "mode": mode,
            "line_items": [{"price": price, "quantity": quantity} for price in prices],
            "success_url": "https://shop.example/thanks",
            **more,
        }
        session = self.shop.v1.checkout.sessions.create(params)
        paid = self.lever("stripe/pay", session=session.id, email="ada@example.com")
        return Deal(
            subscription=paid["subscription"],
            customer=paid["customer"],
            price=prices[0],
            intent=paid["payment_intent"],
            payment=paid["invoice"] or session.id,
        )

    def subscription(self, deal: Deal) -> Any:
        assert deal.subscription is not None
        return self.shop.v1.subscriptions.retrieve(deal.subscription).to_dict()

    def ask(self, kind: str, name: str | None) -> list[tuple[Projected, Reading]]:
        """What is fetched, projected and read."""
        assert name is not None
        return self.taken([(raw, True) for raw in self.api.fetch(Refetch(kind, name))])

    def taken(self, told: Sequence[tuple[bytes, bool]]) -> list[tuple[Projected, Reading]]:
        seen = [self.events.project(raw, fetched=fetched) for raw, fetched in told]
        return [(one, self.events.read(one)) for one in seen if one.standing == "read"]

    def changes(self, since: datetime) -> list[tuple[Projected, Reading]]:
        """All pages of what happened since then."""
        found, cursor, pages = [], None, 0
        while True:
            page = self.api.list_changes(since, cursor)
            found += [(change.raw, change.fetched) for change in page.changes]
            cursor, pages = page.next, pages + 1
            if cursor is None:
                return self.taken(found)
            assert pages < 50
