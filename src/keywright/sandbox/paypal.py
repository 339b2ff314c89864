"""The stand-in for PayPal as one thing: state, certificate authority, API and deliveries."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from keywright.sandbox import paypal_api
from keywright.sandbox import paypal_subscriptions as subscriptions
from keywright.sandbox.paypal_api import PayPalApi
from keywright.sandbox.paypal_signing import Authority
from keywright.sandbox.paypal_state import Obj, PayPalState
from keywright.sandbox.stripe_state import Clock
from keywright.sandbox.webhooks import Dispatcher

WEBHOOK_ID = "SANDBOXWEBHOOKID1"
"""The id an address gets when none is asked for: a server may know it before the sandbox runs."""


class PayPalStandIn:
    """`data_dir` holds the root certificate, which `PAYPAL_CA_FILE` has to name."""

    def __init__(self, *, clock: Clock, base_url: str, data_dir: Path, chance: random.Random) -> None:
        self.state = PayPalState(clock=clock, base_url=base_url)
        self.authority = Authority(data_dir)
        self.api = PayPalApi(self.state, self.authority)
        self.dispatcher = Dispatcher(self.state, chance=chance, signed=self._signed)

    def register_webhook(self, url: str, webhook_id: str = WEBHOOK_ID, kinds: list[str] | None = None) -> str:
        """Deliver events to `url`, signed for `webhook_id`; `kinds` None means all. Returns the id."""
        id_: str = paypal_api.register(self.state, url, webhook_id, kinds or ["*"])["id"]
        return id_

    def catch_up(self) -> None:
        """Let everything happen that time has brought due, each at its own moment."""
        until = self.state.now()
        while (entry := self.state.due(until)) is not None:
            moment, kind, object_id = entry
            with self.state.at(moment):
                {"bill": subscriptions.bill, "retry": subscriptions.retry}[kind](self.state, object_id)

    def _signed(self, event: Obj, secret: str, now: int) -> tuple[bytes, dict[str, str]]:
        """An event as PayPal delivers it. All attempts of one delivery carry the id of the first."""
        body = msgspec.json.encode(event["body"])
        time, id_ = self.state.stamp(now), event["transmission"]
        headers = {
            "Content-Type": "application/json",
            "PayPal-Transmission-Id": id_,
            "PayPal-Transmission-Time": time,
            "PayPal-Transmission-Sig": self.authority.sign(id_, time, secret, body),
            "PayPal-Auth-Version": "v2",
            "PayPal-Cert-Url": (
                f"{self.state.base_url}/v1/notifications/certs/{self.authority.certificate_id}"
            ),
            "PayPal-Auth-Algo": "SHA256withRSA",
            "User-Agent": "PayPal/AUHD-1.0",
        }
        return body, headers
