"""Connected accounts of the stand-in for Stripe, driven by the official SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from stripe import InvalidRequestError, StripeClient
from stripe import PermissionError as NoPermission

from keywright.sandbox.app import SandboxServer
from tests.sandbox.conftest import SECRET, Control, Receiver

Settled = Callable[[], list[dict[str, Any]]]
LEADS = {"refresh_url": "https://shop.example/again", "return_url": "https://shop.example/back"}


@pytest.fixture
def account(stripe: StripeClient, control: Control) -> str:
    """A connected account that may charge."""
    made = stripe.v1.accounts.create({"controller": {"stripe_dashboard": {"type": "full"}}})
    control(f"stripe/accounts/{made.id}/requirements", due=[])
    return made.id


def _sell(stripe: StripeClient, control: Control, account: str, data: dict[str, Any], **terms: Any) -> Any:
    on: Any = {"stripe_account": account}
    wanted: Any = {"currency": "usd", "unit_amount": 5000, "product_data": {"name": "Seats"}, **terms}
    price = stripe.v1.prices.create(wanted, on)
    params: Any = {
        "mode": "subscription" if terms else "payment",
        "line_items": [{"price": price.id, "quantity": 1}],
        "success_url": "https://shop.example/",
        **data,
    }
    session = stripe.v1.checkout.sessions.create(params, on)
    return control("stripe/pay", session=session.id, email="ada@example.com")


def test_onboarding_opens_once_and_tells_what_is_due(
    stripe: StripeClient, http: httpx.Client, server: SandboxServer
) -> None:
    made = stripe.v1.accounts.create({"type": "standard", "email": "firm@example.com"})
    assert (made.charges_enabled, made.details_submitted) == (False, False)
    asked: Any = {"account": made.id, "type": "account_onboarding", **LEADS}
    link = stripe.v1.account_links.create(asked)
    assert "Set up payments" in http.get(link.url).text
    assert http.get(link.url).headers["Location"] == LEADS["refresh_url"]
    assert http.post(link.url, data={"act": "partly"}).headers["Location"] == LEADS["return_url"]
    seen = stripe.v1.accounts.retrieve(made.id)
    assert (seen.charges_enabled, seen.details_submitted) == (False, True)
    assert seen.requirements is not None
    assert "external_account" in (seen.requirements.currently_due or [])
    link = stripe.v1.account_links.create(asked)
    http.get(link.url)
    http.post(link.url, data={"act": "complete"})
    seen = stripe.v1.accounts.retrieve(made.id)
    assert (seen.charges_enabled, seen.payouts_enabled) == (True, True)
    assert server.sandbox.state.connected.keys() == {made.id}


def test_each_account_is_a_world_of_its_own(stripe: StripeClient, account: str) -> None:
    other = stripe.v1.accounts.create({"type": "standard"}).id
    mine = stripe.v1.customers.create({"email": "a@b.example"}, {"stripe_account": account})
    assert stripe.v1.customers.list({}, {"stripe_account": account}).data[0].id == mine.id
    assert stripe.v1.customers.list({}, {"stripe_account": other}).data == []
    assert stripe.v1.customers.list().data == []
    with pytest.raises(InvalidRequestError):
        stripe.v1.customers.retrieve(mine.id, None, {"stripe_account": other})
    with pytest.raises(NoPermission) as refused:
        stripe.v1.customers.list({}, {"stripe_account": "acct_unknown"})
    body: Any = refused.value.json_body
    assert body["error"]["code"] == "account_invalid"


def test_a_one_off_charge_pays_its_fee_to_the_platform(
    stripe: StripeClient, control: Control, account: str
) -> None:
    paid = _sell(stripe, control, account, {"payment_intent_data": {"application_fee_amount": 700}})
    (charge,) = stripe.v1.charges.list({}, {"stripe_account": account}).data
    assert (charge.payment_intent, charge.application_fee_amount) == (paid["payment_intent"], 700)
    assert stripe.v1.charges.list().data == []
    (fee,) = stripe.v1.application_fees.list().data
    assert (fee.id, fee.amount, fee.account) == (charge.application_fee, 700, account)
    given: Any = {"charge": charge.id, "amount": 2500, "refund_application_fee": True}
    stripe.v1.refunds.create(given, {"stripe_account": account})
    assert stripe.v1.application_fees.retrieve(fee.id).amount_refunded == 350
    stripe.v1.refunds.create({"charge": charge.id}, {"stripe_account": account})
    assert stripe.v1.application_fees.retrieve(fee.id).amount_refunded == 350


def test_every_invoice_of_a_subscription_pays_its_fee(
    stripe: StripeClient, control: Control, account: str
) -> None:
    data = {"subscription_data": {"application_fee_percent": 12.25}}
    _sell(stripe, control, account, data, recurring={"interval": "month"})
    assert [fee.amount for fee in stripe.v1.application_fees.list().data] == [613]  # 612.5, halves up
    control("clock/advance", seconds=32 * 86_400)
    assert [fee.amount for fee in stripe.v1.application_fees.list().data] == [613, 613]
    assert stripe.v1.invoices.list().data == []


def test_a_fee_needs_a_connected_account(stripe: StripeClient, monthly: str) -> None:
    params: Any = {
        "mode": "subscription",
        "line_items": [{"price": monthly, "quantity": 1}],
        "success_url": "https://shop.example/",
        "subscription_data": {"application_fee_percent": 10},
    }
    with pytest.raises(InvalidRequestError, match="connected account"):
        stripe.v1.checkout.sessions.create(params)


def test_events_of_an_account_go_to_connect_endpoints_alone(
    stripe: StripeClient,
    control: Control,
    settled: Settled,
    receiver: Receiver,
    account: str,
    server: SandboxServer,
) -> None:
    own = Receiver()
    try:
        control("webhook", url=own.url, secret=SECRET)
        control("webhook", url=receiver.url, secret=SECRET, connect=True)
        _sell(stripe, control, account, {"payment_intent_data": {"application_fee_amount": 700}})
        settled()
        assert {event["account"] for event in receiver.events} == {account}
        assert "checkout.session.completed" in receiver.types()
        assert own.types() == ["application_fee.created"]
        assert "account" not in own.events[0]
        event = receiver.events[0]["id"]
        assert stripe.v1.events.retrieve(event, None, {"stripe_account": account}).id == event
        with pytest.raises(InvalidRequestError):
            stripe.v1.events.retrieve(event)
    finally:
        own.close()
    assert server.sandbox.state.connect_endpoints


def test_an_account_that_left_is_told_of_once_and_cannot_be_used(
    stripe: StripeClient, control: Control, settled: Settled, receiver: Receiver, account: str
) -> None:
    control("webhook", url=receiver.url, secret=SECRET, connect=True)
    control(f"stripe/accounts/{account}/deauthorize")
    settled()
    (event,) = receiver.events
    assert (event["type"], event["account"]) == ("account.application.deauthorized", account)
    assert event["data"]["object"]["object"] == "application"
    with pytest.raises(NoPermission):
        stripe.v1.accounts.retrieve(account)
