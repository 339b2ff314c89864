"""A seller of seats with a sandbox of Stripe's behind him: firms buy there, and become his tenants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import stripe as sdk

from keywright import bootstrap
from keywright.domain.plan import Terms
from keywright.flows import intake
from keywright.flows.context import Context
from keywright.flows.fulfillment import Outcome
from keywright.flows.provisioning import Wish
from keywright.sandbox.app import SandboxServer
from tests.conftest import Prepared, test_settings
from tests.life import world


@contextmanager
def selling(prepared: Prepared, shop: SeatShop, terms: Terms | None = None) -> Iterator[Context]:
    """The context of the seller, on the sandbox's clock."""
    server = shop.server
    made = test_settings(
        prepared.url, prepared.folder, stripe_api_base=server.url, stripe_secret_key=server.api_key
    )
    database = bootstrap.open_database(made)
    built = replace(bootstrap.build(made, database), clock=server.sandbox.clock)
    shop.stock(built, terms)
    shop.told()  # nobody is to hear of what others bought before
    yield built
    database.dispose()


class Firm(msgspec.Struct, frozen=True):
    """What the shop knows of a buyer."""

    name: str
    email: str
    customer: str
    subscription: str
    quantity: int

    def wish(self, **more: Any) -> Wish:
        return Wish(self.email, self.name, self.customer, self.subscription, **more)


class SeatShop:
    """Sells at the sandbox by its API. What the sandbox tells is handed on when the test says so."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.sdk = sdk.StripeClient(server.api_key, base_addresses={"api": server.url})
        product = self.sdk.v1.products.create({"name": "Seats"})
        price = self.sdk.v1.prices.create(
            {
                "product": product.id,
                "currency": "usd",
                "unit_amount": 900,
                "recurring": {"interval": "month"},
            }
        )
        self.price = price.id
        self._handed = 0

    def stock(self, context: Context, terms: Terms | None = None) -> None:
        """Have the seats in the catalog."""
        world.stock(context, **{self.price: terms or Terms(seat_decrease="now")})

    def sell(self, number: int, quantity: int = 3, **metadata: str) -> Firm:
        """A firm buys so many seats on a page of the shop's own."""
        email = f"owner{number}@firm{number}.example"
        session = self.sdk.v1.checkout.sessions.create(
            {
                "mode": "subscription",
                "line_items": [{"price": self.price, "quantity": quantity}],
                "success_url": "https://shop.example/ok",
                "subscription_data": {"metadata": metadata},
            }
        )
        self.pay(session.id, email)
        found = self.sdk.v1.checkout.sessions.retrieve(session.id)
        return Firm(f"Firm {number}", email, str(found.customer), str(found.subscription), quantity)

    def pay(self, session: str, email: str = "buyer@example.com") -> None:
        """A buyer pays on the page of this session."""
        paid = {"session": session, "email": email}
        httpx.post(f"{self.server.url}/_sandbox/stripe/pay", json=paid).raise_for_status()

    def wait(self, seconds: int = 5) -> None:
        """Turn the clock: of two things in one second only the provider knows which came later."""
        turned = httpx.post(f"{self.server.url}/_sandbox/clock/advance", json={"seconds": seconds})
        turned.raise_for_status()

    def change(self, firm: Firm, quantity: int) -> None:
        """Have another quantity at the provider."""
        self.wait()
        items = self.sdk.v1.subscription_items.list({"subscription": firm.subscription})
        self.sdk.v1.subscriptions.update(
            firm.subscription, {"items": [{"id": items.data[0].id, "quantity": quantity}]}
        )

    def end(self, firm: Firm) -> None:
        self.wait()
        self.sdk.v1.subscriptions.cancel(firm.subscription)

    def metadata_of(self, firm: Firm) -> tuple[dict[str, str], dict[str, str]]:
        """Of the customer, and of the subscription."""
        customer = self.sdk.v1.customers.retrieve(firm.customer).to_dict()
        subscription = self.sdk.v1.subscriptions.retrieve(firm.subscription).to_dict()
        return customer["metadata"], subscription["metadata"]

    def events(self) -> list[Any]:
        return list(self.server.sandbox.state.every("event"))

    def told(self) -> list[Any]:
        """The events since the last time."""
        every = self.events()
        fresh, self._handed = every[self._handed :], len(every)
        return fresh

    def again(self) -> None:
        """Begin to tell from the beginning."""
        self._handed = 0

    def deliver(self, context: Context, but: tuple[str, ...] = ()) -> dict[str, str]:
        """Hand on what was told since the last time, less what begins so. Type -> outcome and reason, the
        last of each."""
        channel, now = context.channels["stripe"], context.clock.now()
        events = [event for event in self.told() if not event["type"].startswith(but)]
        arrivals = [intake.arrive(channel, msgspec.json.encode(event), now) for event in events]
        outcomes = intake.take_in(context, arrivals)
        found = {}
        for event, one in zip(events, outcomes, strict=True):
            assert isinstance(one, Outcome), one
            found[event["type"]] = f"{one.outcome} {one.reason or ''}".strip()
        return found
