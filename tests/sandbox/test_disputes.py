"""What banks do to a payment later, changes that wait for their money, and collection that is paused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from stripe import StripeClient

from keywright.sandbox.app import SandboxServer

Control = Callable[..., Any]
Buy = Callable[..., Any]
DAY = 86_400


@pytest.fixture
def told(server: SandboxServer) -> Callable[[], list[str]]:
    """The types of the events since the last look."""
    seen = 0

    def look() -> list[str]:
        nonlocal seen
        events = server.sandbox.state.every("event")
        fresh, seen = events[seen:], len(events)
        return [event["type"] for event in fresh]

    return look


Told = Callable[[], list[str]]


def test_a_chargeback_takes_the_money_and_may_give_it_back(
    stripe: StripeClient, control: Control, buy: Buy, one_off: str, told: Told
) -> None:
    paid = buy(one_off, "payment")
    told()
    opened = control(f"stripe/charges/{paid['payment_intent']}/dispute")
    assert told() == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    control(f"stripe/disputes/{opened['dispute']}", status="under_review")
    assert told() == ["charge.dispute.updated"]
    control(f"stripe/disputes/{opened['dispute']}", status="won")
    assert told() == ["charge.dispute.closed", "charge.dispute.funds_reinstated"]
    (dispute,) = stripe.v1.disputes.list({"payment_intent": paid["payment_intent"]}).data
    assert (dispute.status, dispute.amount) == ("won", 9900)
    assert stripe.v1.charges.retrieve(str(dispute.charge)).disputed


def test_an_inquiry_moves_no_money_until_it_becomes_a_chargeback(
    stripe: StripeClient, control: Control, buy: Buy, one_off: str, told: Told
) -> None:
    told()
    first, second = (buy(one_off, "payment")["payment_intent"] for _ in range(2))
    told()
    asked = control(f"stripe/charges/{first}/dispute", inquiry=True)["dispute"]
    control(f"stripe/disputes/{asked}", status="warning_closed")
    assert told() == ["charge.dispute.created", "charge.dispute.closed"]
    asked = control(f"stripe/charges/{second}/dispute", inquiry=True, amount=500)["dispute"]
    control(f"stripe/disputes/{asked}", status="needs_response")
    assert told() == [
        "charge.dispute.created", "charge.dispute.updated", "charge.dispute.funds_withdrawn"
    ]  # fmt: skip
    assert stripe.v1.disputes.close(asked).status == "lost"
    assert told() == ["charge.dispute.closed"]


def test_what_cannot_be_is_refused(http: httpx.Client, control: Control, buy: Buy, one_off: str) -> None:
    intent = buy(one_off, "payment")["payment_intent"]
    dispute = control(f"stripe/charges/{intent}/dispute")["dispute"]
    control(f"stripe/charges/{intent}/fraud-warning")
    for path, wish in (
        (f"charges/{intent}/dispute", {}),
        (f"disputes/{dispute}", {"status": "warning_closed"}),
        (f"disputes/{dispute}", {"status": "pondered"}),
    ):
        assert http.post(f"/_sandbox/stripe/{path}", json=wish).status_code == 400
    control(f"stripe/disputes/{dispute}", status="lost")
    again = http.post(f"/_sandbox/stripe/disputes/{dispute}", json={"status": "won"})
    assert again.status_code == 400
    assert http.post(f"/_sandbox/stripe/disputes/{dispute}", content=b"x").status_code == 415


def subscription_of(stripe: StripeClient, paid: Any) -> Any:
    return stripe.v1.subscriptions.retrieve(paid["subscription"]).to_dict()


def wait_for_seats(stripe: StripeClient, control: Control, paid: Any) -> Any:
    control(f"stripe/customers/{paid['customer']}/card", behavior="declines")
    item = subscription_of(stripe, paid)["items"]["data"][0]
    return stripe.v1.subscriptions.update(
        paid["subscription"],
        {
            "items": [{"id": item["id"], "quantity": 5}],
            "proration_behavior": "always_invoice",
            "payment_behavior": "pending_if_incomplete",
        },
    ).to_dict()


def test_seats_wait_for_their_money(
    stripe: StripeClient, control: Control, buy: Buy, monthly: str, told: Told
) -> None:
    paid = buy(monthly, "subscription", quantity=2)
    waiting = wait_for_seats(stripe, control, paid)
    assert waiting["items"]["data"][0]["quantity"] == 2
    assert waiting["pending_update"]["subscription_items"][0]["quantity"] == 5
    assert waiting["status"] == "active"
    control(f"stripe/customers/{paid['customer']}/card", behavior="pays")
    told()
    stripe.v1.invoices.pay(waiting["latest_invoice"])
    assert "customer.subscription.pending_update_applied" in told()
    applied = subscription_of(stripe, paid)
    assert applied["items"]["data"][0]["quantity"] == 5
    assert applied["pending_update"] is None


def test_seats_that_are_not_paid_for_in_time_are_dropped(
    stripe: StripeClient, control: Control, buy: Buy, monthly: str, told: Told
) -> None:
    paid = buy(monthly, "subscription", quantity=2)
    waiting = wait_for_seats(stripe, control, paid)
    told()
    control("clock/advance", seconds=DAY)
    assert told() == [
        "invoice.voided", "customer.subscription.pending_update_expired", "customer.subscription.updated"
    ]  # fmt: skip
    dropped = subscription_of(stripe, paid)
    assert dropped["items"]["data"][0]["quantity"] == 2
    assert stripe.v1.invoices.retrieve(waiting["latest_invoice"]).status == "void"


@pytest.mark.parametrize(
    ("behavior", "status", "event"),
    [
        ("void", "void", "invoice.voided"),
        ("mark_uncollectible", "uncollectible", "invoice.marked_uncollectible"),
        ("keep_as_draft", "draft", "invoice.created"),
    ],
)
def test_paused_collection_renews_without_money(
    stripe: StripeClient,
    control: Control,
    buy: Buy,
    monthly: str,
    told: Told,
    behavior: Any,
    status: str,
    event: str,
) -> None:
    paid = buy(monthly, "subscription")
    stripe.v1.subscriptions.update(paid["subscription"], {"pause_collection": {"behavior": behavior}})
    told()
    control("clock/advance", seconds=32 * DAY)
    renewed = subscription_of(stripe, paid)
    assert renewed["status"] == "active"
    assert stripe.v1.invoices.retrieve(renewed["latest_invoice"]).status == status
    kinds = told()
    assert event in kinds
    assert "invoice.paid" not in kinds


def test_collection_resumes_by_itself(
    server: SandboxServer, stripe: StripeClient, control: Control, buy: Buy, monthly: str
) -> None:
    paid = buy(monthly, "subscription")
    resumes = server.sandbox.state.now() + 5 * DAY
    stripe.v1.subscriptions.update(
        paid["subscription"], {"pause_collection": {"behavior": "void", "resumes_at": resumes}}
    )
    control("clock/advance", seconds=6 * DAY)
    assert subscription_of(stripe, paid)["pause_collection"] is None


def test_lines_and_items_are_paged_in_their_own_order(stripe: StripeClient, buy: Buy, monthly: str) -> None:
    more = stripe.v1.prices.create(
        {
            "currency": "usd",
            "unit_amount": 100,
            "recurring": {"interval": "month"},
            "product_data": {"name": "Addition"},
        }
    ).id
    lines: Any = [{"price": monthly, "quantity": 1}, {"price": more, "quantity": 2}]
    paid = buy(monthly, "subscription", line_items=lines)
    items = stripe.v1.subscription_items.list({"subscription": paid["subscription"], "limit": 1})
    assert items.has_more
    assert [item.price.id for item in items.auto_paging_iter()] == [monthly, more]
    page = stripe.v1.invoices.line_items.list(paid["invoice"], {"limit": 1})
    assert [line.quantity for line in page.auto_paging_iter()] == [1, 2]
