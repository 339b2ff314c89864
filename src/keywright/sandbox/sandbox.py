"""The sandbox as one thing: clock, state, API and deliveries, put together."""

from __future__ import annotations

import os
import random
from pathlib import Path

from keywright.sandbox import stripe_endpoints as endpoints
from keywright.sandbox.clock import CLOCK_FILE_NAME, TurnableClock
from keywright.sandbox.stripe_api import StripeApi
from keywright.sandbox.stripe_state import Ids, StripeState
from keywright.sandbox.webhooks import Dispatcher


class Sandbox:
    """One stand-in for Stripe.

    `data_dir` holds the clock file and nothing else; `base_url` is where browsers reach the pay page;
    `seed` fixes the order that shuffling gives.
    """

    def __init__(self, *, data_dir: Path, base_url: str, api_key: str, seed: int | None = None) -> None:
        self.clock = TurnableClock(data_dir / CLOCK_FILE_NAME)
        self.state = StripeState(clock=self.clock, ids=Ids(os.urandom), base_url=base_url)
        self.api = StripeApi(self.state, api_key=api_key)
        # Not for secrets: it only mixes the order of deliveries.
        self.dispatcher = Dispatcher(self.state, chance=random.Random(seed))  # noqa: S311 - see above

    def register_webhook(self, url: str, secret: str, kinds: list[str] | None = None) -> str:
        """Deliver events to `url`, signed with `secret`; a url that is known gets the new secret.

        Returns the endpoint's id. `kinds` are event types; None means all.
        """
        for endpoint in self.state.every("webhook_endpoint"):
            if endpoint["url"] == url:
                self.state.endpoint_secrets[endpoint["id"]] = secret
                endpoint["enabled_events"] = kinds or ["*"]
                known: str = endpoint["id"]
                return known
        endpoint_id: str = endpoints.register(self.state, url, secret, kinds or ["*"])["id"]
        return endpoint_id

    def advance(self, seconds: float) -> None:
        """Turn the clock for every process that shares it, then live through what fell due.

        Raises ValueError as `TurnableClock.advance` does.
        """
        self.clock.advance(seconds)
        self.dispatcher.clock_turned()
        self.api.catch_up()
