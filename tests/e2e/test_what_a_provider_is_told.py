"""What a provider is told at a checkout: reference, price, quantity, where to return; an e-mail if asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from keywright.ports import CheckoutRequest
from keywright.providers.paypal.api import PayPalApi
from keywright.providers.paypal.client import PayPalClient
from keywright.providers.paystack.api import PaystackApi
from keywright.providers.stripe.api import StripeApi
from keywright.sandbox.app import SandboxServer
from tests.e2e.recorder import Recorder

REFERENCE = "KW-ABCDEFGHIJ234567"
HOME = "https://shop.example.com"
EMAIL = "buyer@example.com"
NOW = datetime.now(UTC)


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    with SandboxServer(data_dir=tmp_path) as running:
        yield running


@pytest.fixture
def recorder(sandbox: SandboxServer) -> Iterator[Recorder]:
    made = Recorder(sandbox.url)
    yield made
    made.close()


def request(price: str | None, email: str | None, interval: str | None = None) -> CheckoutRequest:
    return CheckoutRequest(
        reference=REFERENCE,
        price_external_id=price,
        amount=5000,
        currency="USD",
        interval=interval,
        quantity=3,
        success_url=f"{HOME}/checkout/{REFERENCE}",
        cancel_url=f"{HOME}/buy/dashcaddy",
        expires_at=NOW + timedelta(hours=23),
        email=email,
    )


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every value of a JSON document by its path."""
    if isinstance(value, dict):
        parts = [leaves(inner, f"{path}.{name}".lstrip(".")) for name, inner in value.items()]
    elif isinstance(value, list):
        parts = [leaves(inner, f"{path}[]") for inner in value]
    else:
        return {path: value}
    return {name: held for part in parts for name, held in part.items()}


STRIPE = {
    "mode",
    "line_items[0][price]",
    "line_items[0][quantity]",
    "success_url",
    "cancel_url",
    "expires_at",
    "client_reference_id",
    "metadata[keywright_reference]",
}


@pytest.mark.parametrize("email", [None, EMAIL])
def test_stripe(sandbox: SandboxServer, recorder: Recorder, email: str | None) -> None:
    wanted = {"unit_amount": "5000", "currency": "usd", "product_data[name]": "Pro"}
    price = httpx.post(f"{sandbox.url}/v1/prices", auth=(sandbox.api_key, ""), data=wanted).json()["id"]
    StripeApi(sandbox.api_key, Clock(), base=recorder.url).create_checkout(request(price, email))
    sent = {
        name: values[0]
        for name, values in parse_qs(recorder.sent_to("/v1/checkout/sessions").decode()).items()
    }
    once = {"customer_creation", "payment_intent_data[metadata][keywright_reference]"}
    assert set(sent) == STRIPE | once | ({"customer_email"} if email else set())
    assert sent["line_items[0][price]"] == price
    assert sent["line_items[0][quantity]"] == "3"
    assert {value for name, value in sent.items() if "reference" in name} == {REFERENCE}
    assert sent.get("customer_email") == email


def test_paystack_opens_nothing_without_an_address(sandbox: SandboxServer, recorder: Recorder) -> None:
    key = sandbox.sandbox.paystack.secret_key
    PaystackApi(key, Clock(), base=f"{recorder.url}/paystack").create_checkout(request(None, EMAIL))
    sent = json.loads(recorder.sent_to("/paystack/transaction/initialize"))
    assert set(sent) == {"email", "amount", "currency", "reference", "callback_url", "metadata"}
    assert sent["amount"] == "15000"
    assert sent["reference"] == REFERENCE
    assert json.loads(sent["metadata"]) == {
        "keywright_reference": REFERENCE,
        "cancel_action": f"{HOME}/buy/dashcaddy",
    }


@pytest.mark.parametrize("email", [None, EMAIL])
def test_paypal(sandbox: SandboxServer, recorder: Recorder, email: str | None) -> None:
    client = PayPalClient("sandbox-client", "sandbox-secret", Clock(), base=recorder.url)
    PayPalApi(client, Clock()).create_checkout(request(None, email))
    sent = leaves(json.loads(recorder.sent_to("/v2/checkout/orders")))
    page = "payment_source.paypal.experience_context"
    expected = {
        "intent": "CAPTURE",
        "purchase_units[].custom_id": REFERENCE,
        "purchase_units[].invoice_id": REFERENCE,
        "purchase_units[].amount.currency_code": "USD",
        "purchase_units[].amount.value": "150.00",
        f"{page}.return_url": f"{HOME}/checkout/{REFERENCE}",
        f"{page}.cancel_url": f"{HOME}/buy/dashcaddy",
        f"{page}.shipping_preference": "NO_SHIPPING",
        f"{page}.user_action": "PAY_NOW",
    }
    assert sent == expected | ({"payment_source.paypal.email_address": email} if email else {})
