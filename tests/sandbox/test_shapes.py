"""What the sandbox emits, held against the official samples of the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stripe import StripeClient

from keywright.sandbox.app import SandboxServer
from keywright.sandbox.triggers import RECIPES

SAMPLES = json.loads(
    (Path(__file__).parents[1] / "fixtures/stripe/resources_2026-07-dahlia__openapi.json").read_text()
)
# Members newer than the samples (endive), or ones the samples leave out although the API has them.
NEWER = {
    "subscription": {"status_details"},
    "refund": {"failure_reason"},
    "radar.early_fraud_warning": {"payment_intent"},
}
READ = {
    "checkout.session": "id mode status payment_status customer customer_details customer_email subscription "
    "payment_intent invoice client_reference_id metadata amount_total currency livemode created expires_at "
    "url",
    "customer": "id email name metadata created livemode",
    "product": "id name active metadata",
    "price": "id product unit_amount currency recurring type active metadata",
    "subscription": "id status customer items metadata cancel_at cancel_at_period_end canceled_at ended_at "
    "trial_end trial_start latest_invoice created pause_collection cancellation_details currency "
    "billing_mode",
    "subscription_item": "id price quantity current_period_start current_period_end subscription",
    "invoice": "id customer customer_email status billing_reason amount_paid amount_due total currency lines "
    "parent attempt_count next_payment_attempt hosted_invoice_url created metadata status_transitions",
    "line_item": "id amount quantity period parent pricing currency",
    "invoice_payment": "id invoice payment status amount_paid currency",
    "payment_intent": "id amount amount_received currency customer status metadata latest_charge "
    "last_payment_error",
    "charge": "id amount amount_refunded refunded currency customer payment_intent status paid metadata "
    "billing_details receipt_email disputed failure_code",
    "refund": "id amount charge payment_intent currency status reason metadata created",
    "dispute": "id amount charge payment_intent currency status reason metadata created livemode",
    "radar.early_fraud_warning": "id actionable charge payment_intent created livemode",
    "event": "id type created livemode api_version data request pending_webhooks",
    "item": "id price quantity amount_total currency description",
    "billing_portal.session": "id customer url return_url",
    "webhook_endpoint": "id url enabled_events status api_version",
    "account": "id charges_enabled details_submitted country default_currency",
}


@pytest.fixture
def emitted(
    server: SandboxServer,
    stripe: StripeClient,
    monthly: str,
    buy: Callable[..., Any],
    control: Callable[..., Any],
) -> list[dict[str, Any]]:
    """One of everything, by every trigger, portal, endpoint and account."""
    for kind in RECIPES:
        control("trigger", event=kind)
    paid = buy(monthly, "subscription", quantity=2)
    made: list[dict[str, Any]] = [stripe.v1.accounts.retrieve_current().to_dict()]
    made.append(stripe.v1.billing_portal.sessions.create({"customer": paid["customer"]}).to_dict())
    control("webhook", url="http://127.0.0.1:9/none", secret="whsec_x")
    state = server.sandbox.state
    for objects in state._objects.values():
        made += objects.values()
    made += [line for terms in state.terms.values() for line in terms.lines]
    made += [event["data"]["object"] for event in state.every("event")]
    made += [item for sub in state.every("subscription") for item in sub["items"]["data"]]
    made += [line for invoice in state.every("invoice") for line in invoice["lines"]["data"]]
    return made


def kind_of(value: Any) -> str:
    return {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}[
        type(value)
    ]


def test_every_kind_is_emitted(emitted: list[dict[str, Any]]) -> None:
    assert {each["object"] for each in emitted} - {"coupon"} == set(READ)


def test_no_member_is_invented_and_types_agree(emitted: list[dict[str, Any]]) -> None:
    wrong = set()
    for obj in emitted:
        sample = SAMPLES.get(obj["object"])
        if sample is None:  # a coupon: the samples have none
            continue
        for name, value in obj.items():
            if name in NEWER.get(obj["object"], set()):
                continue
            if name not in sample:
                wrong.add((obj["object"], name, "invented"))
            elif value is not None and sample[name] is not None and kind_of(value) != kind_of(sample[name]):
                wrong.add((obj["object"], name, kind_of(value)))
    assert wrong == set()


def test_every_member_we_read_is_there(emitted: list[dict[str, Any]]) -> None:
    absent = {
        (obj["object"], name)
        for obj in emitted
        for name in READ.get(obj["object"], "").split()
        if name not in obj
    }
    assert absent == set()


def test_todays_shape_has_no_old_members(emitted: list[dict[str, Any]]) -> None:
    old = {
        "subscription": {"current_period_end", "current_period_start", "plan", "quantity", "discount"},
        "invoice": {"subscription", "payment_intent", "charge", "paid", "subscription_details", "discount"},
        "charge": {"invoice"},
        "payment_intent": {"invoice", "charges"},
        "line_item": {"price", "plan", "subscription_item", "proration"},
    }
    found = {
        (each["object"], name) for each in emitted for name in old.get(each["object"], set()) & each.keys()
    }
    assert found == set()


def test_references_lead_somewhere(server: SandboxServer, emitted: list[dict[str, Any]]) -> None:
    state = server.sandbox.state
    assert emitted
    for subscription in state.every("subscription"):
        assert state.find("customer", subscription["customer"]) or subscription["status"] == "canceled"
        assert state.find("invoice", subscription["latest_invoice"])
    for payment in state.every("invoice_payment"):
        intent = state.get("payment_intent", payment["payment"]["payment_intent"])
        invoice = state.get("invoice", payment["invoice"])
        assert intent["amount"] == invoice["amount_due"]
        assert intent["customer"] == invoice["customer"]
    for invoice in state.every("invoice"):
        assert invoice["subtotal"] == sum(line["amount"] for line in invoice["lines"]["data"])
        assert invoice["amount_due"] == invoice["amount_paid"] + invoice["amount_remaining"]
    for charge in state.every("charge"):
        assert state.find("payment_intent", charge["payment_intent"])
    ids = [obj["id"] for objects in state._objects.values() for obj in objects.values()]
    assert len(ids) == len(set(ids))
