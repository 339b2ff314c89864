from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stripe import InvalidRequestError, StripeClient

Buy = Callable[..., Any]
Control = Callable[..., Any]
META = {"reference": "KW-ABC"}


def kinds(stripe: StripeClient) -> list[str]:
    return [str(event.type) for event in stripe.v1.events.list({"limit": 100}).data][::-1]


def test_a_one_off_purchase_is_paid_and_metadata_stays_where_it_was_put(
    stripe: StripeClient, one_off: str, buy: Buy
) -> None:
    paid = buy(one_off, "payment", metadata=META, client_reference_id="KW-ABC")
    session = stripe.v1.checkout.sessions.retrieve(
        paid["session"], {"expand": ["line_items", "payment_intent"]}
    )
    assert (session.status, session.payment_status, session.amount_total) == ("complete", "paid", 9900)
    assert session.metadata is not None
    assert session.metadata.to_dict() == META
    assert session.customer is None
    assert session.customer_details is not None
    assert session.customer_details.email == "ada@example.com"
    assert session.line_items is not None
    assert session.line_items.data[0].price is not None
    assert session.line_items.data[0].price.id == one_off
    intent: Any = session.payment_intent
    assert intent.status == "succeeded"
    assert intent.metadata.to_dict() == {}
    charge = stripe.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount, charge.payment_intent, charge.paid) == (9900, intent.id, True)
    assert kinds(stripe)[-4:] == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]


def test_intent_metadata_reaches_intent_and_charge_only(stripe: StripeClient, one_off: str, buy: Buy) -> None:
    paid = buy(one_off, "payment", payment_intent_data={"metadata": META}, customer_creation="always")
    intent = stripe.v1.payment_intents.retrieve(paid["payment_intent"], {"expand": ["latest_charge"]})
    session = stripe.v1.checkout.sessions.retrieve(paid["session"])
    assert intent.metadata.to_dict() == META
    assert intent.latest_charge.metadata.to_dict() == META  # type: ignore[union-attr]  # expanded above
    assert session.metadata is not None
    assert session.metadata.to_dict() == {}
    assert session.customer == paid["customer"]
    assert stripe.v1.customers.retrieve(paid["customer"]).email == "ada@example.com"


def test_a_subscription_appears_active_with_a_paid_first_invoice(
    stripe: StripeClient, monthly: str, buy: Buy
) -> None:
    paid = buy(monthly, "subscription", quantity=3, subscription_data={"metadata": META})
    subscription = stripe.v1.subscriptions.retrieve(
        paid["subscription"], {"expand": ["latest_invoice.payments", "customer"]}
    )
    item = subscription["items"].data[0]
    assert (subscription.status, item.quantity, item.price.id) == ("active", 3, monthly)
    assert 28 * 86_400 <= item.current_period_end - item.current_period_start <= 31 * 86_400
    assert subscription.metadata.to_dict() == META
    invoice: Any = subscription.latest_invoice
    assert (invoice.status, invoice.amount_paid, invoice.billing_reason) == (
        "paid",
        15_000,
        "subscription_create",
    )
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert invoice.parent.subscription_details.metadata.to_dict() == META
    line = invoice.lines.data[0]
    assert line.pricing.price_details.price == monthly
    assert line.period.end == item.current_period_end
    intent = invoice.payments.data[0].payment.payment_intent
    found = stripe.v1.invoice_payments.list({"payment": {"type": "payment_intent", "payment_intent": intent}})
    assert [each.invoice for each in found.data] == [invoice.id]
    created = stripe.v1.events.list({"type": "customer.subscription.created"}).data[0]
    assert created.data.object["status"] == "active"
    assert kinds(stripe)[-9:] == [
        "invoice.created",
        "customer.subscription.created",
        "invoice.finalized",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice_payment.paid",
        "invoice.paid",
        "invoice.payment_succeeded",
        "checkout.session.completed",
    ]


@pytest.mark.parametrize(
    ("card", "decline_code"),
    [("4000000000000002", "generic_decline"), ("4000 0000 0000 9995", "insufficient_funds")],
)
def test_a_declined_card_leaves_the_session_open_for_another(
    stripe: StripeClient, monthly: str, buy: Buy, control: Control, card: str, decline_code: str
) -> None:
    refused = buy(monthly, "subscription", pay={"card": card})
    assert (refused["status"], refused["decline_code"]) == ("declined", decline_code)
    assert stripe.v1.checkout.sessions.retrieve(refused["session"]).status == "open"
    failed = stripe.v1.events.list({"type": "payment_intent.payment_failed"}).data[0]
    assert failed.data.object["last_payment_error"]["decline_code"] == decline_code
    assert not stripe.v1.subscriptions.list({"status": "all"}).data
    again = control("stripe/pay", session=refused["session"], email="ada@example.com")
    assert again["status"] == "complete"
    assert stripe.v1.subscriptions.retrieve(again["subscription"]).status == "active"


def test_three_d_secure_pays_or_fails(stripe: StripeClient, one_off: str, buy: Buy, control: Control) -> None:
    card = "4000002500003155"
    failed = buy(one_off, "payment", pay={"card": card, "authenticate": False})
    assert failed["code"] == "payment_intent_authentication_failure"
    assert (
        control("stripe/pay", session=failed["session"], email="a@b.example", card=card)["status"]
        == "complete"
    )


@pytest.mark.parametrize(("outcome", "ends"), [("succeeded", "paid"), ("failed", "unpaid")])
def test_a_bank_debit_completes_unpaid_and_settles_later(
    stripe: StripeClient, one_off: str, buy: Buy, control: Control, outcome: str, ends: str
) -> None:
    paid = buy(one_off, "payment", pay={"method": "bank_debit"})
    assert (paid["status"], paid["payment_status"]) == ("complete", "unpaid")
    assert control(f"stripe/sessions/{paid['session']}/settle", outcome=outcome)["payment_status"] == ends
    assert kinds(stripe)[-1] == f"checkout.session.async_payment_{outcome}"


def test_a_debit_for_a_subscription_that_comes_back_leaves_it_past_due(
    stripe: StripeClient, monthly: str, buy: Buy, control: Control
) -> None:
    paid = buy(monthly, "subscription", pay={"method": "bank_debit"})
    assert stripe.v1.invoices.retrieve(paid["invoice"]).status == "open"
    control(f"stripe/sessions/{paid['session']}/settle", outcome="failed")
    assert stripe.v1.subscriptions.retrieve(paid["subscription"]).status == "past_due"
    assert "invoice.payment_failed" in kinds(stripe)


def test_nothing_to_pay_needs_no_payment(stripe: StripeClient, one_off: str, monthly: str, buy: Buy) -> None:
    coupon = stripe.v1.coupons.create({"percent_off": 100})
    free = buy(one_off, "payment", discounts=[{"coupon": coupon.id}])
    assert (free["status"], free["payment_status"]) == ("complete", "no_payment_required")
    assert free["payment_intent"] is None
    subscribed = buy(monthly, "subscription", discounts=[{"coupon": coupon.id}])
    invoice = stripe.v1.invoices.retrieve(subscribed["invoice"], {"expand": ["payments"]})
    assert (invoice.status, invoice.total, invoice.amount_paid) == ("paid", 0, 0)
    assert invoice.payments is not None
    assert invoice.payments.data == []
    assert "charge.succeeded" not in kinds(stripe)


def test_a_trial_starts_with_a_zero_invoice(stripe: StripeClient, monthly: str, buy: Buy) -> None:
    paid = buy(monthly, "subscription", subscription_data={"trial_period_days": 14})
    subscription = stripe.v1.subscriptions.retrieve(paid["subscription"])
    assert (subscription.status, paid["payment_status"]) == ("trialing", "no_payment_required")
    assert subscription.trial_end == subscription["items"].data[0].current_period_end
    invoice = stripe.v1.invoices.retrieve(paid["invoice"])
    assert (invoice.status, invoice.total) == ("paid", 0)


def test_a_session_expires_by_call_and_by_time(stripe: StripeClient, one_off: str, control: Control) -> None:
    def session() -> str:
        return stripe.v1.checkout.sessions.create(
            {
                "mode": "payment",
                "success_url": "https://shop.example/",
                "line_items": [{"price": one_off, "quantity": 1}],
            }
        ).id

    first, second = session(), session()
    assert stripe.v1.checkout.sessions.expire(first).status == "expired"
    with pytest.raises(InvalidRequestError, match="status of expired"):
        stripe.v1.checkout.sessions.expire(first)
    control("clock/advance", seconds=86_401)
    assert stripe.v1.checkout.sessions.retrieve(second).status == "expired"
    assert kinds(stripe).count("checkout.session.expired") == 2


@pytest.mark.parametrize(
    ("change", "words", "code"),
    [
        (
            {"payment_method_types": ["card"]},
            "no longer supported",
            "payment_method_types_no_longer_supported",
        ),
        ({"colour": "red"}, "Received unknown parameter: colour", "parameter_unknown"),
        (
            {"subscription_data": {"colour": "red"}},
            r"unknown parameter: subscription_data\[colour\]",
            "parameter_unknown",
        ),
        ({"mode": "payment"}, "passed a recurring price", None),
        ({"payment_intent_data": {"metadata": {"a": "b"}}}, "can not pass `payment_intent_data`", None),
        ({"customer_creation": "always"}, "only be used in `payment` mode", None),
        ({"customer": "cus_nobody"}, "No such customer: 'cus_nobody'", "resource_missing"),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "No such price", "resource_missing"),
        ({"line_items": []}, "Missing required param: line_items", "parameter_missing"),
        ({"success_url": "javascript:alert(1)"}, "Not a valid URL", "url_invalid"),
        ({"expires_at": 1}, "between 30 minutes and 24 hours", None),
    ],
)
def test_contradictory_sessions_are_refused_as_stripe_does(
    stripe: StripeClient, monthly: str, change: dict[str, Any], words: str, code: str | None
) -> None:
    params: Any = {
        "mode": "subscription",
        "success_url": "https://shop.example/",
        "line_items": [{"price": monthly, "quantity": 1}],
        **change,
    }
    with pytest.raises(InvalidRequestError, match=words) as refused:
        stripe.v1.checkout.sessions.create(params)
    assert refused.value.code == code
    assert refused.value.http_status == 400
    assert not stripe.v1.checkout.sessions.list().data


def test_a_one_time_price_cannot_be_subscribed_to(stripe: StripeClient, one_off: str) -> None:
    with pytest.raises(InvalidRequestError, match="at least one recurring price"):
        stripe.v1.checkout.sessions.create(
            {
                "mode": "subscription",
                "success_url": "https://shop.example/",
                "line_items": [{"price": one_off, "quantity": 1}],
            }
        )
    assert not stripe.v1.checkout.sessions.list().data
