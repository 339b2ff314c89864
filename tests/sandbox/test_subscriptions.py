from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from stripe import CardError, InvalidRequestError, StripeClient

Buy = Callable[..., Any]
Control = Callable[..., Any]
DAY = 86_400


@pytest.fixture
def subscribed(monthly: str, buy: Buy) -> dict[str, Any]:
    return dict(buy(monthly, "subscription", quantity=2))


def newest(stripe: StripeClient, kind: str) -> dict[str, Any]:
    return stripe.v1.events.list({"type": kind}).data[0].to_dict()["data"]  # type: ignore[no-any-return]  # JSON


def period(stripe: StripeClient, subscription_id: str) -> tuple[int, int]:
    item = stripe.v1.subscriptions.retrieve(subscription_id)["items"].data[0]
    return item.current_period_start, item.current_period_end


def test_a_renewal_moves_the_period_drafts_an_hour_and_is_paid(
    stripe: StripeClient, subscribed: dict[str, Any], control: Control
) -> None:
    _, first_end = period(stripe, subscribed["subscription"])
    now = stripe.v1.subscriptions.retrieve(subscribed["subscription"]).created
    control("clock/advance", seconds=first_end - now + 60)
    draft = stripe.v1.invoices.list({"subscription": subscribed["subscription"]}).data[0]
    assert (draft.status, draft.billing_reason) == ("draft", "subscription_cycle")
    assert stripe.v1.subscriptions.retrieve(subscribed["subscription"]).status == "active"
    assert period(stripe, subscribed["subscription"])[0] == first_end
    control("clock/advance", seconds=3_600)
    paid = stripe.v1.invoices.retrieve(draft.id)
    assert (paid.status, paid.amount_paid, paid.period_end) == ("paid", 10_000, first_end)
    assert paid.lines.data[0].period.end == period(stripe, subscribed["subscription"])[1]
    moved = newest(stripe, "customer.subscription.updated")
    assert moved["previous_attributes"]["items"]["data"][0]["current_period_end"] == first_end
    assert newest(stripe, "invoice.paid")["object"]["id"] == draft.id


def test_a_year_gives_twelve_renewals_in_order_of_time(
    stripe: StripeClient, subscribed: dict[str, Any], control: Control
) -> None:
    control("clock/advance", seconds=366 * DAY)
    invoices = stripe.v1.invoices.list({"subscription": subscribed["subscription"], "limit": 100}).data
    assert [invoice.status for invoice in invoices] == ["paid"] * 13
    times = [event.created for event in stripe.v1.events.list({"limit": 100}).auto_paging_iter()]
    assert times == sorted(times, reverse=True)
    assert len(times) > 100


def test_dunning_goes_past_due_and_ends_in_cancellation(
    stripe: StripeClient, subscribed: dict[str, Any], control: Control
) -> None:
    control(f"stripe/customers/{subscribed['customer']}/card", behavior="declines")
    control("clock/advance", seconds=32 * DAY)
    failed = newest(stripe, "invoice.payment_failed")["object"]
    assert failed["attempt_count"] == 1
    assert failed["next_payment_attempt"] is not None
    assert stripe.v1.subscriptions.retrieve(subscribed["subscription"]).status == "past_due"
    control("clock/advance", seconds=16 * DAY)
    last = newest(stripe, "invoice.payment_failed")["object"]
    assert (last["attempt_count"], last["next_payment_attempt"]) == (4, None)
    ended = newest(stripe, "customer.subscription.deleted")["object"]
    assert ended["cancellation_details"]["reason"] == "payment_failed"


@pytest.mark.parametrize(("setting", "status"), [("unpaid", "unpaid"), ("pause", "paused")])
def test_dunning_can_end_otherwise(
    stripe: StripeClient, subscribed: dict[str, Any], control: Control, setting: str, status: str
) -> None:
    control("switches", dunning_end=setting)
    control(f"stripe/customers/{subscribed['customer']}/card", behavior="declines")
    control("clock/advance", seconds=48 * DAY)
    subscription = stripe.v1.subscriptions.retrieve(subscribed["subscription"])
    assert subscription.status == status
    if status == "paused":
        assert (
            subscription.to_dict()["status_details"]["paused"]["subscription"]["type"]
            == "final_payment_failure"
        )


def test_a_failed_invoice_retried_with_a_good_card_restores_the_subscription(
    stripe: StripeClient, subscribed: dict[str, Any], control: Control
) -> None:
    customer = subscribed["customer"]
    control(f"stripe/customers/{customer}/card", behavior="declines")
    control("clock/advance", seconds=32 * DAY)
    invoice = stripe.v1.invoices.list({"status": "open"}).data[0]
    with pytest.raises(CardError):
        stripe.v1.invoices.pay(invoice.id)
    control(f"stripe/customers/{customer}/card", behavior="pays")
    assert control(f"stripe/invoices/{invoice.id}/retry")["paid"] is True
    assert stripe.v1.subscriptions.retrieve(subscribed["subscription"]).status == "active"
    assert stripe.v1.customers.retrieve(customer).delinquent is False


def test_seats_change_with_prorations_on_the_next_invoice(
    stripe: StripeClient, subscribed: dict[str, Any], control: Control
) -> None:
    subscription = stripe.v1.subscriptions.retrieve(subscribed["subscription"])
    item = subscription["items"].data[0]
    changed = stripe.v1.subscriptions.update(subscription.id, {"items": [{"id": item.id, "quantity": 5}]})
    assert [each.quantity for each in changed["items"].data] == [5]
    before = newest(stripe, "customer.subscription.updated")["previous_attributes"]
    assert before["items"]["data"][0]["quantity"] == 2
    preview = stripe.v1.invoices.create_preview({"subscription": subscription.id})
    assert preview.total == -10_000 + 25_000 + 25_000
    control("clock/advance", seconds=32 * DAY)
    invoice = stripe.v1.invoices.retrieve(
        str(stripe.v1.subscriptions.retrieve(subscription.id).latest_invoice)
    )
    prorated = [line.parent.subscription_item_details.proration for line in invoice.lines.data]  # type: ignore[union-attr]  # subscription lines
    assert prorated == [True, True, False]
    assert invoice.amount_paid == 40_000


def test_another_price_invoiced_at_once_keeps_the_period(
    stripe: StripeClient, subscribed: dict[str, Any]
) -> None:
    bigger = stripe.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 8000,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Team"},
        }
    )
    subscription = stripe.v1.subscriptions.retrieve(subscribed["subscription"])
    item = subscription["items"].data[0]
    stripe.v1.subscriptions.update(
        subscription.id,
        {"items": [{"id": item.id, "price": bigger.id}], "proration_behavior": "always_invoice"},
    )
    invoice = newest(stripe, "invoice.paid")["object"]
    assert (invoice["billing_reason"], invoice["amount_paid"]) == ("subscription_update", 6_000)
    assert period(stripe, subscription.id)[1] == item.current_period_end


def test_an_element_without_id_adds_a_second_item(
    stripe: StripeClient, subscribed: dict[str, Any], monthly: str
) -> None:
    changed = stripe.v1.subscriptions.update(
        subscribed["subscription"], {"items": [{"price": monthly, "quantity": 1}]}
    )
    assert [item.quantity for item in changed["items"].data] == [2, 1]


def test_a_scheduled_end_can_be_taken_back_and_comes_on_time(
    stripe: StripeClient, subscribed: dict[str, Any], control: Control
) -> None:
    subscription_id = subscribed["subscription"]
    end = period(stripe, subscription_id)[1]
    set_to_end = stripe.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": True})
    assert (set_to_end.cancel_at_period_end, set_to_end.cancel_at) == (True, end)
    kept = stripe.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": False})
    assert (kept.cancel_at_period_end, kept.cancel_at, kept.canceled_at) == (False, None, None)
    stripe.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": True})
    control("clock/advance", seconds=32 * DAY)
    ended = stripe.v1.subscriptions.retrieve(subscription_id)
    assert (ended.status, ended.ended_at) == ("canceled", end)
    assert len(stripe.v1.invoices.list({"subscription": subscription_id}).data) == 1
    assert subscription_id not in [each.id for each in stripe.v1.subscriptions.list().data]
    assert subscription_id in [each.id for each in stripe.v1.subscriptions.list({"status": "all"}).data]
    with pytest.raises(InvalidRequestError, match="No such subscription"):
        stripe.v1.subscriptions.cancel(subscription_id)


def test_cancel_now_keeps_the_money(stripe: StripeClient, subscribed: dict[str, Any]) -> None:
    ended = stripe.v1.subscriptions.cancel(subscribed["subscription"])
    assert ended.status == "canceled"
    assert newest(stripe, "customer.subscription.deleted")["object"]["id"] == ended.id
    assert not stripe.v1.refunds.list().data


def test_pause_stops_renewals_and_resume_bills_a_new_period(
    stripe: StripeClient, subscribed: dict[str, Any], control: Control
) -> None:
    subscription_id = subscribed["subscription"]
    paused = stripe.v1.subscriptions.pause(subscription_id, {"type": "subscription"})
    assert paused.status == "paused"
    control("clock/advance", seconds=60 * DAY)
    assert len(stripe.v1.invoices.list({"subscription": subscription_id}).data) == 1
    resumed = stripe.v1.subscriptions.resume(subscription_id)
    assert resumed.status == "active"
    assert len(stripe.v1.invoices.list({"subscription": subscription_id}).data) == 2
    assert newest(stripe, "customer.subscription.resumed")["object"]["status"] == "active"


def test_a_trial_is_announced_and_becomes_a_paid_period(
    stripe: StripeClient, monthly: str, buy: Buy, control: Control
) -> None:
    paid = buy(monthly, "subscription", subscription_data={"trial_period_days": 14})
    control("clock/advance", seconds=12 * DAY)
    assert newest(stripe, "customer.subscription.trial_will_end")["object"]["id"] == paid["subscription"]
    control("clock/advance", seconds=3 * DAY)
    subscription = stripe.v1.subscriptions.retrieve(paid["subscription"], {"expand": ["latest_invoice"]})
    invoice: Any = subscription.latest_invoice
    assert (subscription.status, invoice.status, invoice.amount_paid) == ("active", "paid", 5_000)


def test_a_subscription_made_by_api_is_incomplete_then_active_in_one_second(
    stripe: StripeClient, monthly: str, control: Control
) -> None:
    customer = stripe.v1.customers.create({"email": "shop@example.com"})
    control(f"stripe/customers/{customer.id}/card", behavior="pays")
    made = stripe.v1.subscriptions.create({"customer": customer.id, "items": [{"price": monthly}]})
    assert made.status == "active"
    created = newest(stripe, "customer.subscription.created")["object"]
    updated = newest(stripe, "customer.subscription.updated")
    assert created["status"] == "incomplete"
    assert updated["previous_attributes"] == {"status": "incomplete"}


def test_a_first_payment_that_never_comes_expires_the_subscription(
    stripe: StripeClient, monthly: str, control: Control
) -> None:
    customer = stripe.v1.customers.create({"email": "shop@example.com"})
    made = stripe.v1.subscriptions.create({"customer": customer.id, "items": [{"price": monthly}]})
    assert made.status == "incomplete"
    control("clock/advance", seconds=DAY)
    assert stripe.v1.subscriptions.retrieve(made.id).status == "incomplete_expired"


def test_refunds_add_up_and_a_failed_one_gives_the_money_back(
    stripe: StripeClient, one_off: str, buy: Buy, control: Control
) -> None:
    intent = buy(one_off, "payment")["payment_intent"]
    stripe.v1.refunds.create({"payment_intent": intent, "amount": 4000, "reason": "requested_by_customer"})
    half = newest(stripe, "charge.refunded")["object"]
    assert (half["amount_refunded"], half["refunded"]) == (4000, False)
    rest = stripe.v1.refunds.create({"charge": half["id"]})
    assert rest.amount == 5900
    assert newest(stripe, "charge.refunded")["object"]["refunded"] is True
    with pytest.raises(InvalidRequestError, match="already been refunded"):
        stripe.v1.refunds.create({"charge": half["id"]})
    control(f"stripe/refunds/{rest.id}/fail")
    assert stripe.v1.charges.retrieve(half["id"]).amount_refunded == 4000
    assert newest(stripe, "refund.failed")["object"]["id"] == rest.id


def test_refunding_does_not_cancel(stripe: StripeClient, subscribed: dict[str, Any]) -> None:
    invoice = stripe.v1.invoices.retrieve(subscribed["invoice"], {"expand": ["payments"]})
    assert invoice.payments is not None
    stripe.v1.refunds.create({"payment_intent": str(invoice.payments.data[0].payment.payment_intent)})
    assert stripe.v1.subscriptions.retrieve(subscribed["subscription"]).status == "active"
