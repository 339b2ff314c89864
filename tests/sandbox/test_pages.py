from __future__ import annotations

import gc
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from stripe import StripeClient

from keywright.sandbox.app import SandboxServer

Buy = Callable[..., Any]
FORM = {
    "email": "ada@example.com",
    "method": "card",
    "card_number": "4242 4242 4242 4242",
    "card_expiry": "12 / 49",
    "card_code": "123",
    "name": "Ada <b>L</b>",
}


@pytest.fixture
def session(stripe: StripeClient, one_off: str) -> Any:
    return stripe.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "https://shop.example/thanks?s={CHECKOUT_SESSION_ID}",
            "line_items": [
                {"price": one_off, "quantity": 1, "adjustable_quantity": {"enabled": True, "maximum": 5}}
            ],
        }
    )


def test_the_page_shows_the_order_under_a_strict_policy(http: httpx.Client, session: Any) -> None:
    answer = http.get(session.url)
    assert answer.status_code == 200
    assert "99.00 USD" in answer.text
    assert "DashCaddy for ever" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "form-action 'self' https://shop.example" in policy
    assert "unsafe" not in policy
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert http.get("/static/sandbox.css").headers["Content-Type"].startswith("text/css")


def test_paying_redirects_to_the_shop_and_closes_the_page(
    http: httpx.Client, stripe: StripeClient, session: Any
) -> None:
    answer = http.post(session.url, data=FORM)
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"https://shop.example/thanks?s={session.id}"
    assert stripe.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"
    assert "complete" in http.get(session.url).text
    assert "complete" in http.post(session.url, data=FORM).text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"card_number": "4000000000000002"}, "Your card was declined."),
        ({"card_number": "4000000000009995"}, "insufficient funds"),
        ({"card_number": "4242424242424241"}, "card number is incorrect"),
        ({"card_number": "4111111111111111"}, "test cards and no other"),
        ({"card_expiry": "01/20"}, "expiration year is in the past"),
        ({"card_expiry": "13/49"}, "expiration month is invalid"),
        ({"card_expiry": ""}, "expiration date is incomplete"),
        ({"card_code": "1"}, "security code is incomplete"),
        ({"email": "nobody"}, "email is incomplete"),
    ],
)
def test_a_refusal_is_shown_and_the_card_is_not(
    http: httpx.Client, stripe: StripeClient, session: Any, change: dict[str, str], words: str
) -> None:
    answer = http.post(session.url, data=FORM | change)
    assert answer.status_code == 402
    assert words in answer.text
    typed = (FORM | change)["card_number"]
    assert f'value="{typed}"' not in answer.text
    assert "Ada &lt;b&gt;" in answer.text
    assert stripe.v1.checkout.sessions.retrieve(session.id).status == "open"


def test_three_d_secure_has_a_page_of_its_own(http: httpx.Client, stripe: StripeClient, session: Any) -> None:
    form = FORM | {"card_number": "4000002500003155"}
    asked = http.post(session.url, data=form)
    assert asked.status_code == 303
    question = asked.headers["Location"]
    assert "ends in 3155" in http.get(question).text
    failed = http.post(question, data={"answer": "fail"})
    assert "unable to authenticate" in failed.text
    http.post(session.url, data=form)
    assert http.post(question, data={"answer": "authenticate"}).status_code == 303
    assert stripe.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"


def test_a_bank_debit_can_be_chosen(http: httpx.Client, stripe: StripeClient, session: Any) -> None:
    assert http.post(session.url, data={"email": "a@b.example", "method": "bank_debit"}).status_code == 303
    assert stripe.v1.checkout.sessions.retrieve(session.id).payment_status == "unpaid"


def test_the_buyer_may_change_the_quantity_where_allowed(
    http: httpx.Client, stripe: StripeClient, session: Any
) -> None:
    name = re.search(r'name="(quantity_[^"]+)"', http.get(session.url).text)
    assert name is not None
    assert "not on offer" in http.post(session.url, data=FORM | {name[1]: "6"}).text
    assert http.post(session.url, data=FORM | {name[1]: "3"}).status_code == 303
    assert stripe.v1.checkout.sessions.retrieve(session.id).amount_total == 29_700
    assert stripe.v1.checkout.sessions.line_items.list(session.id).data[0].quantity == 3


def test_no_card_number_is_kept_in_memory_of_the_state(
    server: SandboxServer, http: httpx.Client, session: Any
) -> None:
    http.post(session.url, data=FORM | {"card_number": "4000000000000002"})
    http.post(session.url, data=FORM)
    gc.collect()
    state = server.sandbox.state
    everything = repr((state._objects, state.cards, state.terms, server.sandbox.api._remembered))
    assert "4242" in everything
    for digits in ("424242424242", "400000000000", "4242 4242"):
        assert digits not in everything


def test_the_portal_cancels_resumes_and_changes_seats(
    http: httpx.Client, stripe: StripeClient, monthly: str, buy: Buy
) -> None:
    paid = buy(monthly, "subscription", quantity=2)
    portal = stripe.v1.billing_portal.sessions.create(
        {"customer": paid["customer"], "return_url": "https://shop.example/account"}
    )
    page = http.get(portal.url)
    assert "DashCaddy Pro" in page.text
    assert "https://shop.example/account" in page.text
    subscription_id = paid["subscription"]
    item = stripe.v1.subscriptions.retrieve(subscription_id)["items"].data[0]
    form = {"subscription": subscription_id}
    assert http.post(portal.url, data=form | {"act": "cancel"}).status_code == 303
    ending = stripe.v1.subscriptions.retrieve(subscription_id)
    assert (ending.cancel_at, ending.cancel_at_period_end) == (item.current_period_end, False)
    http.post(portal.url, data=form | {"act": "resume"})
    assert stripe.v1.subscriptions.retrieve(subscription_id).cancel_at is None
    http.post(portal.url, data=form | {"act": "quantity", "item": item.id, "quantity": "4"})
    assert stripe.v1.subscriptions.retrieve(subscription_id)["items"].data[0].quantity == 4
    assert http.post(portal.url, data=form | {"act": "dance"}).status_code == 200


def test_a_portal_reaches_no_other_customer(
    http: httpx.Client, stripe: StripeClient, monthly: str, buy: Buy
) -> None:
    mine, theirs = buy(monthly, "subscription"), buy(monthly, "subscription")
    portal = stripe.v1.billing_portal.sessions.create({"customer": mine["customer"]})
    refused = http.post(portal.url, data={"subscription": theirs["subscription"], "act": "cancel"})
    assert refused.status_code == 404
    assert stripe.v1.subscriptions.retrieve(theirs["subscription"]).cancel_at is None


def test_index_invoice_and_unknown_pages(
    http: httpx.Client, stripe: StripeClient, monthly: str, buy: Buy
) -> None:
    assert "None yet" in http.get("/").text
    paid = buy(monthly, "subscription")
    assert paid["subscription"] in http.get("/").text
    invoice = stripe.v1.invoices.retrieve(paid["invoice"])
    assert "50.00 USD" in http.get(str(invoice.hosted_invoice_url)).text
    assert http.get("/c/pay/cs_test_none").status_code == 404
