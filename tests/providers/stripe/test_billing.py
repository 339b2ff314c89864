"""What a seller changes, against the sandbox and over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from keywright.domain.errors import Invalid, KeywrightError, Misconfigured, NotFound, Unsupported
from keywright.domain.facts import RefundSeen, SubscriptionSeen
from keywright.ports import Deal
from keywright.providers.stripe.billing import StripeBilling
from keywright.sandbox.app import SandboxServer
from tests.providers.stripe.selling import Selling

DAY = 86_400


@pytest.fixture
def selling(tmp_path: Path) -> Iterator[Selling]:
    with SandboxServer(data_dir=tmp_path) as server:
        yield Selling(server)


def half_a_month_on(selling: Selling, deal: Deal) -> None:
    item = selling.subscription(deal)["items"]["data"][0]
    half = (item["current_period_end"] - item["current_period_start"]) / 2
    selling.lever("clock/advance", seconds=half)


def test_more_seats_cost_what_is_left_of_the_period(selling: Selling) -> None:
    deal = selling.buy([selling.price()], quantity=2)
    half_a_month_on(selling, deal)
    preview = selling.billing.preview_quantity(deal, 5)
    assert (preview.quantity, preview.currency) == (5, "USD")
    assert preview.due_now == pytest.approx(1500, abs=2), "three more for half a month"
    assert preview.next_amount == 5000
    ends = selling.subscription(deal)["items"]["data"][0]["current_period_end"]
    assert preview.next_at is not None
    assert int(preview.next_at.timestamp()) == ends
    assert selling.subscription(deal)["items"]["data"][0]["quantity"] == 2, "a preview changes nothing"


def test_fewer_seats_are_a_credit(selling: Selling) -> None:
    deal = selling.buy([selling.price()], quantity=4)
    half_a_month_on(selling, deal)
    preview = selling.billing.preview_quantity(deal, 2)
    assert preview.due_now == pytest.approx(-1000, abs=2)
    assert preview.next_amount == 2000


def test_a_preview_tells_its_own_change_from_those_that_wait(selling: Selling) -> None:
    deal = selling.buy([selling.price()], quantity=2)
    half_a_month_on(selling, deal)
    selling.billing.change_quantity(deal, 4, "first")
    selling.lever("clock/advance", seconds=DAY)
    preview = selling.billing.preview_quantity(deal, 5)
    assert 0 < preview.due_now < 500
    assert preview.next_amount == pytest.approx(6000, abs=2), "five seats, and two that wait since yesterday"


def test_seats_change_once_however_often_it_is_said(selling: Selling) -> None:
    first, second = selling.price(), selling.price(amount=300)
    deal = selling.buy([first, second], quantity=2)
    before = len(selling.sandbox.sandbox.state.every("event"))
    for _ in range(2):
        assert selling.billing.change_quantity(deal, 7, "key_1") is None
    items = selling.subscription(deal)["items"]["data"]
    assert {item["price"]["id"]: item["quantity"] for item in items} == {first: 7, second: 2}
    made = selling.sandbox.sandbox.state.every("event")[before:]
    assert [event["type"] for event in made] == ["customer.subscription.updated"]


def test_seats_of_a_price_that_is_not_there_are_not_changed(selling: Selling) -> None:
    deal = selling.buy([selling.price(), selling.price(amount=300)])
    for unclear in (
        msgspec.structs.replace(deal, price="price_else"),
        msgspec.structs.replace(deal, price=None),
    ):
        with pytest.raises(Unsupported):
            selling.billing.change_quantity(unclear, 7, "key_1")
    with pytest.raises(Unsupported):
        selling.billing.change_quantity(Deal(customer="cus_1"), 7, "key_1")


def test_a_card_that_does_not_pay_changes_nothing(selling: Selling) -> None:
    deal = selling.buy([selling.price()], quantity=2)
    selling.lever(f"stripe/customers/{deal.customer}/card", behavior="declines")
    with pytest.raises(Invalid, match="card_declined"):
        selling.billing.change_quantity(deal, 7, "key_1")
    assert selling.subscription(deal)["items"]["data"][0]["quantity"] == 2


def test_canceled_and_taken_back(selling: Selling) -> None:
    deal = selling.buy([selling.price()])
    for _ in range(2):
        selling.billing.cancel(deal)
    ((_, reading),) = selling.ask("subscription", deal.subscription)
    seen = reading.facts[0]
    assert isinstance(seen, SubscriptionSeen)
    assert (seen.status, seen.canceling) == ("active", True)
    with pytest.raises(Unsupported):
        selling.billing.preview_quantity(deal, 3)
    for _ in range(2):
        selling.billing.resume(deal)
    subscription = selling.subscription(deal)
    assert (subscription["cancel_at_period_end"], subscription["cancel_at"]) == (False, None)


def test_an_end_that_the_portal_set_is_taken_back(selling: Selling) -> None:
    deal = selling.buy([selling.price()])
    assert deal.subscription is not None
    selling.shop.v1.subscriptions.update(deal.subscription, {"cancel_at": "max_period_end"})
    assert selling.subscription(deal)["cancel_at"] is not None
    selling.billing.resume(deal)
    assert selling.subscription(deal)["cancel_at"] is None


def test_pauses_are_taken_back_without_a_new_bill(selling: Selling) -> None:
    deal = selling.buy([selling.price()])
    assert deal.subscription is not None
    selling.shop.v1.subscriptions.update(deal.subscription, {"pause_collection": {"behavior": "void"}})
    selling.shop.v1.subscriptions.pause(deal.subscription)
    assert selling.subscription(deal)["status"] == "paused"
    bills = len(selling.sandbox.sandbox.state.every("invoice"))
    selling.billing.resume(deal)
    subscription = selling.subscription(deal)
    assert (subscription["status"], subscription["pause_collection"]) == ("active", None)
    assert len(selling.sandbox.sandbox.state.every("invoice")) == bills


def test_what_has_ended_stays_ended(selling: Selling) -> None:
    deal = selling.buy([selling.price()])
    assert deal.subscription is not None
    selling.shop.v1.subscriptions.cancel(deal.subscription)
    selling.billing.cancel(deal)
    for change in (
        lambda: selling.billing.resume(deal),
        lambda: selling.billing.change_quantity(deal, 2, "key_1"),
        lambda: selling.billing.preview_quantity(deal, 2),
    ):
        with pytest.raises(Unsupported):
            change()


def test_halves_of_a_payment_are_refunded_once_each(selling: Selling) -> None:
    deal = selling.buy([selling.price(None)], mode="payment")
    for key in ("half_1", "half_1", "half_2"):
        selling.billing.refund(deal, 500, "USD", key)
    assert deal.intent is not None
    charge = selling.shop.v1.payment_intents.retrieve(deal.intent).latest_charge
    found = [fact for _, reading in selling.ask("charge", str(charge)) for fact in reading.facts]
    (refund,) = [fact for fact in found if isinstance(fact, RefundSeen)]
    assert (refund.amount, refund.full) == (1000, True)
    with pytest.raises(Invalid, match="charge_already_refunded"):
        selling.billing.refund(deal, None, "USD", "half_3")


@pytest.mark.parametrize("named", ["intent", "charge", "payment"])
def test_a_payment_of_a_subscription_is_refunded_by_any_of_its_names(selling: Selling, named: str) -> None:
    bought = selling.buy([selling.price()])
    (link,) = selling.shop.v1.invoice_payments.list({"invoice": str(bought.payment)}).data
    intent = str(link.payment.payment_intent)
    names = {
        "intent": intent,
        "charge": str(selling.shop.v1.payment_intents.retrieve(intent).latest_charge),
        "payment": bought.payment,
    }
    selling.billing.refund(Deal(**{named: names[named]}), None, "USD", "all")
    assert selling.shop.v1.charges.retrieve(names["charge"] or "").refunded


def test_a_refund_of_nothing_that_is_known(selling: Selling) -> None:
    with pytest.raises(Unsupported):
        selling.billing.refund(Deal(subscription="sub_1"), None, "USD", "all")
    with pytest.raises(Invalid, match="resource_missing"):
        selling.billing.refund(Deal(intent="pi_unknown"), None, "USD", "all")
    free = selling.buy([selling.price()], subscription_data={"trial_period_days": 14})
    with pytest.raises(NotFound):
        selling.billing.refund(Deal(payment=free.payment), None, "USD", "all")


def test_the_portal_is_found_by_customer_or_subscription(selling: Selling) -> None:
    deal = selling.buy([selling.price()])
    for names in (Deal(customer=deal.customer), Deal(subscription=deal.subscription)):
        assert selling.billing.portal(names, "https://shop.example/back").startswith(
            f"{selling.sandbox.url}/p/session/"
        )
    with pytest.raises(Unsupported):
        selling.billing.portal(Deal(email="ada@example.com"), "https://shop.example/back")


def test_what_stripe_refuses_is_told_apart(selling: Selling) -> None:
    gone = Deal(subscription="sub_unknown", price="price_1")
    refused = StripeBilling("sk_test_wrong", selling.sandbox.sandbox.clock, base=selling.sandbox.url)
    cases: list[tuple[StripeBilling, type[KeywrightError]]] = [
        (selling.billing, NotFound),
        (refused, Misconfigured),
    ]
    for billing, error in cases:
        with pytest.raises(error):
            billing.change_quantity(gone, 2, "key_1")
        with pytest.raises(error):
            billing.cancel(gone)
