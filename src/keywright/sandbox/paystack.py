"""The stand-in for Paystack as one thing: state and deliveries."""

from __future__ import annotations

import hashlib
import hmac
import os
import random

import msgspec

from keywright.sandbox import paystack_flow as flow
from keywright.sandbox.clock import TurnableClock
from keywright.sandbox.paystack_state import Obj, PaystackState
from keywright.sandbox.webhooks import Dispatcher

SECRET_KEY = "sk_test_sandbox_paystack"  # noqa: S105 - public: it opens nothing but this stand-in
PUBLIC_KEY = "pk_test_sandbox_paystack"


class PaystackStandIn:
    """State, deliveries and the way time passes. Its API answers under `{base_url}/paystack`."""

    def __init__(self, *, clock: TurnableClock, base_url: str, chance: random.Random) -> None:
        self.secret_key = SECRET_KEY
        self.state = PaystackState(clock=clock, entropy=os.urandom, base_url=f"{base_url}/paystack")
        # Paystack wants 200 and nothing else.
        self.dispatcher = Dispatcher(self.state, chance=chance, signed=signed, taken=range(200, 201))

    def register_webhook(self, url: str, secret: str | None = None, kinds: list[str] | None = None) -> str:
        """Deliver events to `url`, signed with the secret key unless another one is given."""
        return self.state.register_webhook(url, secret or self.secret_key, kinds)

    def catch_up(self) -> None:
        """Let everything happen that time has brought due."""
        flow.run_until(self.state, self.state.now())


def signed(event: Obj, secret: str, now: int) -> tuple[bytes, dict[str, str]]:
    """An event as Paystack delivers it: HMAC-SHA512 over the body, and no time."""
    del now
    body = msgspec.json.encode(event["told"])
    headers = {
        "Content-Type": "application/json",
        "X-Paystack-Signature": hmac.new(secret.encode(), body, hashlib.sha512).hexdigest(),
        "User-Agent": "Paystack/2.0",
    }
    return body, headers
