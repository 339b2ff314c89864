"""What the contract of all providers needs to know of each: how it signs, and how it words an event."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from keywright.providers.paypal import shapes as paypal_shapes
from keywright.providers.paystack.reduce import PICKS
from keywright.providers.stripe import shapes as stripe_shapes
from keywright.sandbox.app import SandboxServer

Json = dict[str, Any]
PROVIDERS = ("stripe", "paystack", "paypal")
MARKER = "marker-that-nobody-may-keep"
CARD = "4242424242424242"
_numbers = itertools.count(1)


class Dialect:
    """One provider. `secrets`: the new and the old one while they change; `headers`: what signs a delivery.

    `past` and `ahead`: how far a delivery's time may be from ours, where it carries one.
    """

    name = ""
    setting = ""
    secrets: tuple[str, str] = ("", "")
    headers: tuple[str, ...] = ()
    past: timedelta | None = None
    ahead: timedelta | None = None

    def __init__(self, sandbox: SandboxServer) -> None:
        self.sandbox = sandbox

    def sign(self, raw: bytes, at: datetime, secret: str | None = None) -> dict[str, str]:
        """The headers of a delivery of this body at this time, by the new secret unless told otherwise."""
        raise LookupError(f"nobody signs {len(raw)} bytes at {at} with {secret}")

    def known(self, **more: Any) -> Json:
        """An event that we read, another one each time."""
        raise LookupError(f"no event with {more}")

    def unknown(self) -> Json:
        """An event of a type that is nothing for us."""
        raise LookupError("no event")

    def of_other_mode(self) -> Json | None:
        """An event of live mode; None where events do not tell theirs."""
        return None

    def claiming(self) -> list[Json]:
        """Events that claim to be answers which we fetched ourselves, one of each type there is."""
        raise LookupError("no event")

    def misshapen(self) -> list[Json]:
        """Events of a type that we read, and not of its shape."""
        raise LookupError("no event")


class Stripe(Dialect):
    name = "stripe"
    setting = "stripe_webhook_secret"
    secrets = ("whsec_contract_new_0123", "whsec_contract_old_0123")
    headers = ("stripe-signature",)
    past = ahead = timedelta(minutes=5)

    def sign(self, raw: bytes, at: datetime, secret: str | None = None) -> dict[str, str]:
        stamp = str(int(at.timestamp()))
        made = hmac.digest((secret or self.secrets[0]).encode(), stamp.encode() + b"." + raw, "sha256").hex()
        return {"stripe-signature": f"t={stamp},v1={made}"}

    def _event(self, kind: str, about: Any, **more: Any) -> Json:
        id_ = f"evt_contract_{next(_numbers)}"
        envelope = {"id": id_, "type": kind, "created": 1_795_000_000, "livemode": False}
        return {**envelope, "data": {"object": about}, **more}

    def known(self, **more: Any) -> Json:
        customer = {"id": f"cus_{next(_numbers)}", "object": "customer", "email": "buyer@example.com"}
        return self._event("customer.updated", customer, **more)

    def unknown(self) -> Json:
        return self._event("terminal.reader.action_failed", {"id": "tmr_1", "object": "reader"})

    def of_other_mode(self) -> Json:
        return self.known(livemode=True)

    def claiming(self) -> list[Json]:
        return [self._event(kind, {"id": "in_1", "object": "invoice"}) for kind in stripe_shapes.FETCHED]

    def misshapen(self) -> list[Json]:
        return [
            self._event("customer.updated", {"id": 7, "note": MARKER}),
            self._event("customer.updated", [MARKER]),
            self._event("customer.updated", None),
            self.known(data=MARKER),
            self.known(created="yesterday"),
            self.known(livemode=MARKER),
            self.known(id=[MARKER]),
            self.known(id=f"evt_{CARD}"),
            {"type": "customer.updated", "note": MARKER},
            {},
        ]


class Paystack(Dialect):
    name = "paystack"
    setting = "paystack_secret_key"
    secrets = ("sk_test_contract_new", "sk_test_contract_old")
    headers = ("x-paystack-signature",)

    def sign(self, raw: bytes, at: datetime, secret: str | None = None) -> dict[str, str]:
        del at  # no time is signed
        made = hmac.new((secret or self.secrets[0]).encode(), raw, hashlib.sha512).hexdigest()
        return {"x-paystack-signature": made}

    def known(self, **more: Any) -> Json:
        number = 70_000 + next(_numbers)
        paid = {"id": number, "reference": f"ref{number}", "status": "success", "amount": 500_000}
        return {
            "event": "charge.success",
            "data": {**paid, "currency": "NGN", "domain": "test", **more},
        }

    def unknown(self) -> Json:
        return {"event": "dedicatedaccount.assign.success", "data": {"id": next(_numbers)}}

    def of_other_mode(self) -> Json:
        return self.known(domain="live")

    def claiming(self) -> list[Json]:
        kinds = [kind for kind in PICKS if kind.startswith("fetched.")]
        data = self.known()["data"]
        return [{"event": kind, "at": "2026-11-20T12:00:00Z", "data": data} for kind in kinds]

    def misshapen(self) -> list[Json]:
        return [
            {"event": "charge.success", "data": MARKER},
            {"event": "charge.success", "data": [MARKER]},
            {"event": "charge.success"},
            {"event": ["charge.success"], "data": {"note": MARKER}},
            {"event": "", "data": {}},
            self.known(reference=f"ref-{CARD}"),
            {"note": MARKER},
            {},
        ]


class PayPal(Dialect):
    name = "paypal"
    setting = "paypal_webhook_id"
    secrets = ("8PT597110X687430L", "3TR748995U920805P")
    headers = tuple(
        f"paypal-{name}"
        for name in ("transmission-id", "transmission-time", "transmission-sig", "cert-url", "auth-algo")
    )
    past = timedelta(days=4)
    ahead = timedelta(minutes=5)

    @property
    def certificate(self) -> str:
        authority = self.sandbox.sandbox.paypal.authority
        return f"{self.sandbox.url}/v1/notifications/certs/{authority.certificate_id}"

    def sign(self, raw: bytes, at: datetime, secret: str | None = None) -> dict[str, str]:
        # An attempt of its own each time; CRC-32 stands for the body in what is signed.
        id_, time = f"t-{zlib.crc32(raw)}-{int(at.timestamp())}", at.strftime("%Y-%m-%dT%H:%M:%SZ")
        authority = self.sandbox.sandbox.paypal.authority
        made = authority.sign(id_, time, secret or self.secrets[0], raw)
        values = (id_, time, made, self.certificate, "SHA256withRSA")
        return dict(zip(self.headers, values, strict=True))

    def _event(self, kind: str, resource: Any, **more: Any) -> Json:
        id_ = f"WH-{next(_numbers)}-CONTRACT"
        envelope = {"id": id_, "event_type": kind, "create_time": "2026-11-20T11:59:00.000Z"}
        return {**envelope, "resource": resource, **more}

    def known(self, **more: Any) -> Json:
        sale = {"id": f"SALE{next(_numbers)}", "billing_agreement_id": "I-CONTRACT"}
        return self._event("PAYMENT.SALE.COMPLETED", sale, **more)

    def unknown(self) -> Json:
        return self._event("VAULT.PAYMENT-TOKEN.CREATED", {"id": "8kk8451t"})

    def claiming(self) -> list[Json]:
        kinds = [f"{paypal_shapes.FETCHED}{what}" for what in paypal_shapes.FETCHED_SHAPES]
        return [self._event(kind, {"id": "I-CONTRACT"}, at="2026-11-20T12:00:00Z") for kind in kinds]

    def misshapen(self) -> list[Json]:
        return [
            self._event("PAYMENT.SALE.COMPLETED", MARKER),
            self._event("PAYMENT.SALE.COMPLETED", [MARKER]),
            self._event("PAYMENT.SALE.COMPLETED", {"id": {"note": MARKER}}),
            self._event("PAYMENT.SALE.COMPLETED", None),
            self.known(id=[MARKER]),
            self.known(id=f"WH-{CARD}"),
            {"event_type": "PAYMENT.SALE.COMPLETED", "note": MARKER},
            {"note": MARKER},
            {},
        ]


DIALECTS: Mapping[str, type[Dialect]] = {"stripe": Stripe, "paystack": Paystack, "paypal": PayPal}


def encoded(event: Json) -> bytes:
    return msgspec.json.encode(event)
