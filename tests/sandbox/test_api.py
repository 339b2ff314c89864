from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from stripe import AuthenticationError, IdempotencyError, InvalidRequestError, StripeClient

from keywright.sandbox.app import SandboxServer
from keywright.sandbox.stripe_errors import StripeRefusal
from keywright.sandbox.stripe_forms import check, in_range, parse

Buy = Callable[..., Any]


def test_brackets_are_read_as_objects_and_lists() -> None:
    assert parse("a[b][0][c]=1&a[b][1][c]=2&d[]=x&d[]=y&e=%C3%A4%20b&f=") == {
        "a": {"b": [{"c": "1"}, {"c": "2"}]},
        "d": ["x", "y"],
        "e": "ä b",
        "f": "",
    }


@pytest.mark.parametrize("encoded", ["a[=1", "a]b=1", "a=1&a[b]=2", "a[b]=1&a=2", "a" + "[b]" * 30 + "=1"])
def test_malformed_names_are_refused(encoded: str) -> None:
    with pytest.raises(StripeRefusal, match="Invalid parameter name"):
        parse(encoded)


def test_a_scalar_where_an_object_belongs_is_refused() -> None:
    with pytest.raises(StripeRefusal, match="Invalid object"):
        check({"a": "1"}, {"a": {"b": None}})


def test_ranges_of_time() -> None:
    assert in_range(10, {"gte": "10", "lt": "11"})
    assert not in_range(10, {"gt": "10"})
    assert in_range(10, "10")


def test_a_wrong_key_is_refused_and_not_repeated(server: SandboxServer) -> None:
    key = "sk_test_something_else"
    with pytest.raises(AuthenticationError) as refused:
        StripeClient(key, base_addresses={"api": server.url}).v1.customers.list()
    assert refused.value.http_status == 401
    assert key not in str(refused.value)


def test_no_key_basic_key_other_version_other_account(http: httpx.Client, server: SandboxServer) -> None:
    assert http.get("/v1/account").status_code == 401
    assert http.get("/v1/account", auth=(server.api_key, "")).json()["object"] == "account"
    bearer = {"Authorization": f"Bearer {server.api_key}"}
    assert http.get("/v1/account", headers=bearer | {"Stripe-Version": "2020-08-27"}).status_code == 400
    assert http.get("/v1/account", headers=bearer | {"Stripe-Account": "acct_1"}).status_code == 403
    unknown = http.get("/v1/nothing", headers=bearer)
    assert unknown.status_code == 404
    assert unknown.json()["error"]["type"] == "invalid_request_error"
    assert unknown.headers["Request-Id"].startswith("req_")


def test_idempotency_keys_are_kept(stripe: StripeClient) -> None:
    options: Any = {"idempotency_key": "order-7"}
    first = stripe.v1.customers.create({"email": "a@b.example"}, options)
    again = stripe.v1.customers.create({"email": "a@b.example"}, options)
    assert first.id == again.id
    with pytest.raises(IdempotencyError):
        stripe.v1.customers.create({"email": "other@b.example"}, options)
    assert len(stripe.v1.customers.list().data) == 1


def test_lists_page_both_ways(stripe: StripeClient) -> None:
    made = [stripe.v1.customers.create({"email": f"{n}@b.example"}).id for n in range(5)][::-1]
    first = stripe.v1.customers.list({"limit": 2})
    assert ([each.id for each in first.data], first.has_more) == (made[:2], True)
    rest = stripe.v1.customers.list({"limit": 3, "starting_after": made[1]})
    assert ([each.id for each in rest.data], rest.has_more) == (made[2:], False)
    back = stripe.v1.customers.list({"limit": 2, "ending_before": made[3]})
    assert ([each.id for each in back.data], back.has_more) == (made[1:3], True)
    assert [each.id for each in stripe.v1.customers.list({"limit": 2}).auto_paging_iter()] == made
    for params in ({"limit": 0}, {"limit": 101}, {"starting_after": "cus_none"}):
        with pytest.raises(InvalidRequestError):
            stripe.v1.customers.list(params)  # type: ignore[arg-type]  # wrong on purpose


def test_expansion_copies_and_refuses_what_cannot_be_expanded(
    stripe: StripeClient, monthly: str, buy: Buy
) -> None:
    paid = buy(monthly, "subscription")
    listed = stripe.v1.subscriptions.list({"expand": ["data.customer", "data.latest_invoice.payments"]}).data[
        0
    ]
    assert listed.customer.email == "ada@example.com"  # type: ignore[union-attr]  # expanded
    assert stripe.v1.subscriptions.retrieve(paid["subscription"]).customer == paid["customer"]
    with pytest.raises(InvalidRequestError, match="cannot be expanded"):
        stripe.v1.subscriptions.retrieve(paid["subscription"], {"expand": ["colour"]})


def test_objects_that_do_not_exist_are_404(stripe: StripeClient) -> None:
    for read in (
        stripe.v1.customers,
        stripe.v1.invoices,
        stripe.v1.subscriptions,
        stripe.v1.checkout.sessions,
    ):
        with pytest.raises(InvalidRequestError) as refused:
            read.retrieve("nothing_here")
        assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")


def test_catalog_is_kept_and_changed(stripe: StripeClient) -> None:
    product = stripe.v1.products.create({"name": "Pro", "metadata": {"slug": "pro"}})
    price = stripe.v1.prices.create(
        {"product": product.id, "currency": "eur", "unit_amount": 1200, "lookup_key": "pro-once"}
    )
    assert [each.id for each in stripe.v1.prices.list({"lookup_keys": ["pro-once"]}).data] == [price.id]
    assert stripe.v1.prices.update(price.id, {"active": False}).active is False
    with pytest.raises(InvalidRequestError, match="inactive"):
        stripe.v1.checkout.sessions.create(
            {
                "mode": "payment",
                "success_url": "https://shop.example/",
                "line_items": [{"price": price.id, "quantity": 1}],
            }
        )
    cleared = stripe.v1.products.update(product.id, {"metadata": ""})
    assert cleared.metadata.to_dict() == {}


def test_events_are_filtered(stripe: StripeClient, one_off: str, buy: Buy) -> None:
    buy(one_off, "payment")
    kinds = ["charge.succeeded", "checkout.session.completed"]
    found = stripe.v1.events.list({"types": kinds, "created": {"gte": 1}}).data
    assert sorted(event.type for event in found) == kinds
    assert not stripe.v1.events.list({"created": {"gt": found[0].created + 60}}).data


def test_deleting_a_customer_ends_the_subscriptions(stripe: StripeClient, monthly: str, buy: Buy) -> None:
    paid = buy(monthly, "subscription")
    stripe.v1.customers.delete(paid["customer"])
    assert stripe.v1.subscriptions.retrieve(paid["subscription"]).status == "canceled"


def test_an_oversized_request_is_refused(http: httpx.Client, server: SandboxServer) -> None:
    bearer = {"Authorization": f"Bearer {server.api_key}"}
    answer = http.post("/v1/customers", content=b"a=" + b"x" * 1_100_000, headers=bearer)
    assert answer.status_code == 413
