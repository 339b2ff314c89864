"""The sandbox as one thing: clock, state, API and deliveries, put together."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import msgspec

from keywright.sandbox import stripe_endpoints as endpoints
from keywright.sandbox.clock import CLOCK_FILE_NAME, TurnableClock
from keywright.sandbox.paypal import PayPalStandIn
from keywright.sandbox.paystack import PaystackStandIn
from keywright.sandbox.rate_limits import RateLimits
from keywright.sandbox.stripe_api import StripeApi
from keywright.sandbox.stripe_shapes import Obj
from keywright.sandbox.stripe_state import Ids, StripeState
from keywright.sandbox.webhooks import Dispatcher


class Sandbox:
    """The stand-ins for all providers, on one clock.

    `state`, `api` and `dispatcher` are Stripe's. `data_dir` holds the clock file and the root of PayPal's
    certificates; `base_url` is where browsers reach the pay pages; `seed` fixes the order that shuffling
    gives.
    """

    def __init__(self, *, data_dir: Path, base_url: str, api_key: str, seed: int | None = None) -> None:
        self.clock = TurnableClock(data_dir / CLOCK_FILE_NAME)
        self.state = StripeState(clock=self.clock, ids=Ids(os.urandom), base_url=base_url)
        self.api = StripeApi(self.state, api_key=api_key)
        self.limits = RateLimits()
        # Not for secrets: it only mixes the order of deliveries.
        chance = random.Random(seed)  # noqa: S311 - see above
        self.dispatcher = Dispatcher(self.state, chance=chance, fits=self._goes_to)
        self.paystack = PaystackStandIn(clock=self.clock, base_url=base_url, chance=chance)
        self.paypal = PayPalStandIn(clock=self.clock, base_url=base_url, data_dir=data_dir, chance=chance)

    @property
    def dispatchers(self) -> tuple[Dispatcher, ...]:
        """Who delivers, for each stand-in."""
        return (self.dispatcher, self.paystack.dispatcher, self.paypal.dispatcher)

    def switch(self, **changed: Any) -> None:
        """Turn the delivery switches of all stand-ins; what is left out stays."""
        for sender in self.dispatchers:
            sender.set_switches(msgspec.structs.replace(sender.switches, **changed))

    def redeliver(self, event: str | None) -> int:
        """Send an event again, or all that were not delivered; returns how many deliveries are queued."""
        for other in (self.paystack, self.paypal):
            if event is not None and other.state.find("event", event) is not None:
                return other.dispatcher.redeliver(event)
        if event is not None:
            return self.dispatcher.redeliver(event)
        return sum(sender.redeliver(None) for sender in self.dispatchers)

    def count_events(self) -> int:
        """How many events there were so far."""
        at_stripe = sum(len(world.every("event")) for world in self.state.worlds())
        elsewhere = (self.paystack.state, self.paypal.state)
        return at_stripe + sum(len(state.every("event")) for state in elsewhere)

    def catch_up(self) -> None:
        """Let everything happen that time has brought due."""
        self.api.catch_up()
        self.paystack.catch_up()
        self.paypal.catch_up()

    def _goes_to(self, endpoint: Obj, event: Obj) -> bool:
        """A connected account's events go to Connect endpoints, and to no other."""
        return (endpoint["id"] in self.state.connect_endpoints) == ("account" in event)

    def world_with(self, kind: str, object_id: str) -> StripeState:
        """The world at Stripe that has an object: the platform's, when none has it."""
        return next((world for world in self.state.worlds() if world.find(kind, object_id)), self.state)

    def register_webhook(
        self, url: str, secret: str, kinds: list[str] | None = None, *, connect: bool = False
    ) -> str:
        """Deliver events to `url`, signed with `secret`; a url that is known gets the new secret.

        Returns the endpoint's id. `kinds` are event types; None means all. `connect`: those of connected
        accounts.
        """
        for endpoint in self.state.every("webhook_endpoint"):
            if endpoint["url"] == url:
                self.state.endpoint_secrets[endpoint["id"]] = secret
                endpoint["enabled_events"] = kinds or ["*"]
                known: str = endpoint["id"]
                return known
        made = endpoints.register(self.state, url, secret, kinds or ["*"], connect=connect)
        endpoint_id: str = made["id"]
        return endpoint_id

    def advance(self, seconds: float) -> None:
        """Turn the clock for every process that shares it, then live through what fell due.

        Raises ValueError as `TurnableClock.advance` does.
        """
        self.clock.advance(seconds)
        for sender in self.dispatchers:
            sender.clock_turned()
        self.catch_up()
