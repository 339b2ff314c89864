"""What we send to Stripe and what we make of the answers: the real SDK, over HTTP, to a scripted server."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import stripe

from keywright.domain.errors import Invalid, KeywrightError, Misconfigured, NotFound, ProviderUnavailable
from keywright.domain.facts import CheckoutSeen, HolderSeen, PaymentSeen, Refetch, SubscriptionSeen
from keywright.ports import CheckoutCreated, CheckoutRequest
from keywright.providers.stripe.api import API_VERSION, StripeApi
from keywright.providers.stripe.hook import StripeEvents

SECRET = "sk_test_planted0secret"
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DATE = "Fri, 20 Nov 2026 13:00:00 GMT"
REFERENCE = "KW-ABCDEFGH23456777"


class Answer(msgspec.Struct):
    status: int
    body: Any
    headers: dict[str, str] = {}


class Asked(msgspec.Struct):
    method: str
    path: str
    query: dict[str, list[str]]
    form: dict[str, list[str]]
    headers: dict[str, str]


class ScriptedServer:
    """Gives the prepared answers in turn, the last one for ever, and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[Asked] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                url = urlsplit(self.path)
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.asked.append(
                    Asked(self.command, url.path, parse_qs(url.query), parse_qs(body), headers)
                )
                answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response_only(answer.status)
                for name, value in {**answer.headers, "content-length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = respond  # noqa: N815  # http.server looks for these names

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class FixedClock:
    def now(self) -> datetime:
        return NOW


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def api(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> StripeApi:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # the SDK's pauses between its tries
    return StripeApi(SECRET, FixedClock(), base=server.url + "/")


SESSION = {
    "id": "cs_test_1",
    "object": "checkout.session",
    "mode": "payment",
    "status": "complete",
    "payment_status": "paid",
    "amount_total": 900,
    "currency": "usd",
    "payment_intent": {"id": "pi_1", "object": "payment_intent", "status": "succeeded", "client_secret": "x"},
    "livemode": False,
    "url": "https://checkout.example/pay",
    "expires_at": 1_795_203_600,
    "customer_details": {"email": "ada@example.com", "name": "Ada"},
    "metadata": {"keywright_reference": REFERENCE},
}


def request(**changes: Any) -> CheckoutRequest:
    usual = CheckoutRequest(
        reference=REFERENCE,
        price_external_id="price_1",
        amount=900,
        currency="USD",
        interval=None,
        quantity=3,
        success_url="https://shop.example/ok?s={CHECKOUT_SESSION_ID}",
        cancel_url="https://shop.example/no",
        expires_at=NOW + timedelta(hours=1),
    )
    return msgspec.structs.replace(usual, **changes)


# --- opening a checkout ---


def test_a_one_off_checkout_says_no_more_than_needed(server: ScriptedServer, api: StripeApi) -> None:
    server.answers = [Answer(200, SESSION)]
    created = api.create_checkout(request())
    assert created == CheckoutCreated(
        "cs_test_1", "https://checkout.example/pay", datetime.fromtimestamp(1_795_203_600, UTC)
    )
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/checkout/sessions")
    assert asked.form == {
        "mode": ["payment"],
        "line_items[0][price]": ["price_1"],
        "line_items[0][quantity]": ["3"],
        "success_url": ["https://shop.example/ok?s={CHECKOUT_SESSION_ID}"],
        "cancel_url": ["https://shop.example/no"],
        "expires_at": [str(int((NOW + timedelta(hours=1)).timestamp()))],
        "client_reference_id": [REFERENCE],
        "metadata[keywright_reference]": [REFERENCE],
        "payment_intent_data[metadata][keywright_reference]": [REFERENCE],
        "customer_creation": ["always"],
    }


def test_a_subscription_carries_our_reference_and_its_trial(server: ScriptedServer, api: StripeApi) -> None:
    server.answers = [Answer(200, SESSION)]
    api.create_checkout(request(interval="month", trial_days=14, email="ada@example.com"))
    api.create_checkout(request(interval="month"))
    with_trial, without = (asked.form for asked in server.asked)
    assert with_trial["mode"] == ["subscription"]
    assert with_trial["customer_email"] == ["ada@example.com"]
    assert with_trial["subscription_data[metadata][keywright_reference]"] == [REFERENCE]
    assert with_trial["subscription_data[trial_period_days]"] == ["14"]
    assert not {name for name in with_trial if name.startswith(("payment_intent_data", "customer_creation"))}
    assert not {"customer_email", "subscription_data[trial_period_days]"} & without.keys()


def test_headers_are_pinned_repeatable_and_tell_nothing_of_us(server: ScriptedServer, api: StripeApi) -> None:
    server.answers = [Answer(200, SESSION, {"request-id": "req_1"})]
    api.create_checkout(request())
    api.create_checkout(request())
    for asked in server.asked:
        assert asked.headers["stripe-version"] == API_VERSION == stripe.api_version
        assert asked.headers["idempotency-key"] == f"keywright-checkout-{REFERENCE}"
        assert asked.headers["authorization"] == f"Bearer {SECRET}"
        assert "x-stripe-client-telemetry" not in asked.headers


def test_a_price_without_an_id_cannot_be_sold_at_stripe(server: ScriptedServer, api: StripeApi) -> None:
    with pytest.raises(Invalid):
        api.create_checkout(request(price_external_id=None))
    assert server.asked == []


def test_a_checkout_without_a_page_is_refused(server: ScriptedServer, api: StripeApi) -> None:
    server.answers = [Answer(200, {**SESSION, "url": None})]
    with pytest.raises(Invalid):
        api.create_checkout(request())


# --- errors ---


def error(kind: str, **members: str) -> dict[str, Any]:
    return {"error": {"type": kind, "message": f"Invalid API Key provided: {SECRET}", **members}}


@pytest.mark.parametrize(
    ("status", "body", "expected", "detail"),
    [
        (400, error("invalid_request_error", code="resource_missing", param="line_items[0][price]"),
         Invalid, "resource_missing at line_items[0][price]"),
        (400, error("idempotency_error"), Invalid, "HTTP status 400"),
        (402, error("card_error", code="card_declined"), Invalid, "card_declined"),
        (404, error("invalid_request_error", code=SECRET + "!"), NotFound, "HTTP status 404"),
        (401, error("invalid_request_error"), Misconfigured, "refuses the API key"),
        (403, error("invalid_request_error"), Misconfigured, "refuses the API key"),
        (409, error("idempotency_error", code="idempotency_key_in_use"), ProviderUnavailable, "409"),
        (429, error("invalid_request_error", code="rate_limit"), ProviderUnavailable, "429"),
        (500, error("api_error"), ProviderUnavailable, "500"),
        (503, b"<html>busy</html>", ProviderUnavailable, "503"),
        (200, b"<html>hello</html>", ProviderUnavailable, "200"),
    ],
)  # fmt: skip
def test_refusals_are_told_apart_and_quote_nothing(
    server: ScriptedServer,
    api: StripeApi,
    status: int,
    body: Any,
    expected: type[KeywrightError],
    detail: str,
) -> None:
    server.answers = [Answer(status, body)]
    calls: list[Callable[[], object]] = [
        lambda: api.create_checkout(request()),
        lambda: api.fetch(Refetch("checkout", "cs_test_1")),
        api.check,
    ]
    for call in calls:
        with pytest.raises(expected) as caught:
            call()
        assert detail in caught.value.detail
        assert SECRET not in repr(caught.value)
        assert caught.value.__context__ is None, "the SDK's error would go into logs with ours"


def test_a_busy_stripe_is_asked_three_times_with_one_key(server: ScriptedServer, api: StripeApi) -> None:
    server.answers = [Answer(500, error("api_error")), Answer(503, error("api_error")), Answer(200, SESSION)]
    assert api.create_checkout(request()).session == "cs_test_1"
    assert [asked.headers["idempotency-key"] for asked in server.asked] == [
        f"keywright-checkout-{REFERENCE}"
    ] * 3


def test_nobody_there_is_unavailable(server: ScriptedServer, api: StripeApi) -> None:
    server.answers = [Answer(200, SESSION)]
    server.close()
    with pytest.raises(ProviderUnavailable):
        api.create_checkout(request())


def test_an_empty_key_is_refused_at_once() -> None:
    with pytest.raises(Misconfigured):
        StripeApi(" ", FixedClock())


# --- fetching a checkout ---


def test_a_fetched_checkout_reads_like_its_event(server: ScriptedServer, api: StripeApi) -> None:
    server.answers = [Answer(200, SESSION, {"Date": DATE})]
    events = StripeEvents()
    (told,) = api.fetch(Refetch("checkout", "cs_test_1"))
    projected = events.project(told)
    assert server.asked[0].path == "/v1/checkout/sessions/cs_test_1"
    assert server.asked[0].query == {
        "expand[0]": ["payment_intent"], "expand[1]": ["subscription"], "expand[2]": ["line_items"]
    }  # fmt: skip
    assert projected.type == "checkout.session.completed"
    assert projected.occurred_at == datetime(2026, 11, 20, 13, tzinfo=UTC)
    assert projected.dedupe_key.startswith("fetch_cs_test_1_1795179600_")
    assert b"client_secret" not in projected.body
    checkout, holder, payment = events.read(projected).facts
    assert isinstance(checkout, CheckoutSeen)
    assert checkout.state == "paid"
    assert isinstance(holder, HolderSeen)
    assert holder.email == "ada@example.com"
    assert isinstance(payment, PaymentSeen)
    assert (payment.intent, payment.amount) == ("pi_1", 900)


def test_one_state_is_one_event_and_two_states_are_two(server: ScriptedServer, api: StripeApi) -> None:
    unpaid = {**SESSION, "payment_status": "unpaid", "payment_intent": None}
    server.answers = [Answer(200, unpaid, {"Date": DATE})] * 2 + [Answer(200, SESSION, {"Date": DATE})]
    keys = [
        StripeEvents().project(api.fetch(Refetch("checkout", "cs_test_1"))[0]).dedupe_key for _ in range(3)
    ]
    assert keys[0] == keys[1] != keys[2]


SUBSCRIPTION = {
    "id": "sub_1",
    "object": "subscription",
    "status": "active",
    "customer": "cus_1",
    "metadata": {"keywright_reference": REFERENCE},
    "items": {
        "data": [
            {
                "id": "si_1",
                "price": {"id": "price_1"},
                "quantity": 3,
                "current_period_start": 1_795_179_600,
                "current_period_end": 1_797_771_600,
            }
        ]
    },
}


@pytest.mark.parametrize(("status", "read_as"), [("active", "active"), ("canceled", "ended")])
def test_a_subscription_is_told_with_its_checkout(
    server: ScriptedServer, api: StripeApi, status: str, read_as: str
) -> None:
    running = {**SUBSCRIPTION, "status": status}
    session = {**SESSION, "mode": "subscription", "payment_intent": None, "subscription": running}
    server.answers = [Answer(200, session, {"Date": DATE})]
    events = StripeEvents()
    told = api.fetch(Refetch("checkout", "cs_test_1"))
    checkout, subscription = (events.project(raw, fetched=True) for raw in told)
    assert events.project(told[1]).standing == "unknown", "nobody else may say so"
    assert checkout.type == "checkout.session.completed"
    assert subscription.type == "fetched.subscription"
    assert subscription.occurred_at == checkout.occurred_at == datetime(2026, 11, 20, 13, tzinfo=UTC)
    assert re.fullmatch(r"fetch_sub_1_1795179600_[0-9a-f]{12}", subscription.dedupe_key)
    snapshot = events.read(subscription).facts[0]
    assert isinstance(snapshot, SubscriptionSeen)
    assert (snapshot.status, [item.quantity for item in snapshot.items]) == (read_as, [3])
    assert set(events.read(checkout).aliases) >= set(events.read(subscription).aliases)
    assert len(server.asked) == 1


def test_stripe_s_own_bytes_are_kept(server: ScriptedServer, api: StripeApi) -> None:
    raw = b'{"id" : "sub_1", "object":"subscription","later": 1.50 , "note": "\\u00e4"}'
    session = json.dumps({**SESSION, "mode": "subscription", "subscription": None}).encode()
    server.answers = [Answer(200, session.replace(b'"subscription": null', b'"subscription": ' + raw))]
    _, told = api.fetch(Refetch("checkout", "cs_test_1"))
    assert raw in told


@pytest.mark.parametrize("subscription", [None, "sub_1"])
def test_without_an_expanded_subscription_the_checkout_is_told_alone(
    server: ScriptedServer, api: StripeApi, subscription: str | None
) -> None:
    server.answers = [Answer(200, {**SESSION, "subscription": subscription})]
    assert len(api.fetch(Refetch("checkout", "cs_test_1"))) == 1


def test_a_subscription_without_an_id_is_no_usable_answer(server: ScriptedServer, api: StripeApi) -> None:
    server.answers = [Answer(200, {**SESSION, "subscription": {"object": "subscription"}})]
    with pytest.raises(ProviderUnavailable):
        api.fetch(Refetch("checkout", "cs_test_1"))


@pytest.mark.parametrize(
    ("session", "kind", "state"),
    [
        ({"status": "expired", "payment_status": "unpaid"}, "checkout.session.expired", "expired"),
        ({"payment_status": "unpaid", "payment_intent": None}, "checkout.session.completed", "processing"),
        (
            {"payment_status": "unpaid", "payment_intent": {"id": "pi_1", "status": "processing"}},
            "checkout.session.completed",
            "processing",
        ),
        (
            {
                "payment_status": "unpaid",
                "payment_intent": {"id": "pi_1", "status": "requires_payment_method"},
            },
            "checkout.session.async_payment_failed",
            "failed",
        ),
        ({"status": "open", "payment_status": "unpaid"}, "checkout.session.open", None),
    ],
)
def test_the_state_chooses_the_type(
    server: ScriptedServer, api: StripeApi, session: dict[str, Any], kind: str, state: str | None
) -> None:
    server.answers = [Answer(200, {**SESSION, **session})]
    events = StripeEvents()
    (told,) = api.fetch(Refetch("checkout", "cs_test_1"))
    projected = events.project(told)
    assert projected.type == kind
    assert projected.occurred_at == NOW, "without a Date header the clock dates it"
    if state is None:
        assert projected.standing == "unknown"
    else:
        seen = events.read(projected).facts[0]
        assert isinstance(seen, CheckoutSeen)
        assert seen.state == state


# --- lists that Stripe cut ---


def listed(data: list[Any], *, more: bool = False) -> dict[str, Any]:
    return {"object": "list", "data": data, "has_more": more, "url": "/v1/somewhere/else"}


def test_the_rest_of_the_items_is_asked_for(server: ScriptedServer, api: StripeApi) -> None:
    items = [{"id": f"si_{n}", "price": {"id": f"price_{n}"}, "quantity": n} for n in range(5)]
    server.answers = [
        Answer(200, {**SUBSCRIPTION, "items": listed(items[:2], more=True)}, {"Date": DATE}),
        Answer(200, listed(items[2:4], more=True)),
        Answer(200, listed(items[4:])),
    ]
    events = StripeEvents()
    (told,) = api.fetch(Refetch("subscription", "sub_1"))
    reading = events.read(events.project(told, fetched=True))
    snapshot = reading.facts[0]
    assert isinstance(snapshot, SubscriptionSeen)
    assert [item.quantity for item in snapshot.items] == [0, 1, 2, 3, 4]
    assert reading.refetches == (), "or it would be asked for again for ever"
    assert [asked.path for asked in server.asked] == [
        "/v1/subscriptions/sub_1", "/v1/subscription_items", "/v1/subscription_items"
    ]  # fmt: skip
    assert server.asked[2].query == {"limit": ["100"], "starting_after": ["si_3"], "subscription": ["sub_1"]}


def test_the_rest_of_the_lines_is_asked_for(server: ScriptedServer, api: StripeApi) -> None:
    lines = [{"id": f"il_{n}", "price": {"id": f"price_{n}"}, "quantity": 1} for n in range(3)]
    invoice = {
        "id": "in_1",
        "object": "invoice",
        "currency": "usd",
        "status": "paid",
        "subscription": "sub_1",
    }
    server.answers = [
        Answer(200, {**invoice, "lines": listed(lines[:2], more=True)}),
        Answer(200, listed(lines[2:])),
    ]
    events = StripeEvents()
    (told,) = api.fetch(Refetch("invoice", "in_1"))
    reading = events.read(events.project(told, fetched=True))
    assert reading.prices == ("price_0", "price_1", "price_2")
    assert server.asked[1].path == "/v1/invoices/in_1/lines"


def test_a_list_without_an_end_is_not_followed_for_ever(server: ScriptedServer, api: StripeApi) -> None:
    page = listed([{"id": "si_1", "price": "price_1", "quantity": 1}], more=True)
    server.answers = [Answer(200, {**SUBSCRIPTION, "items": page}), Answer(200, page)]
    (told,) = api.fetch(Refetch("subscription", "sub_1"))
    assert len(server.asked) == 51
    assert StripeEvents().read(StripeEvents().project(told, fetched=True)).refetches == ()


def test_an_id_leads_nowhere_but_to_its_object(server: ScriptedServer, api: StripeApi) -> None:
    server.answers = [Answer(404, error("invalid_request_error", code="resource_missing"))]
    with pytest.raises(NotFound):
        api.fetch(Refetch("invoice", "../charges?x=1"))
    assert server.asked[0].path == "/v1/invoices/..%2Fcharges%3Fx%3D1"


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"data": 7}', b"null"])
def test_a_list_that_is_none_is_no_usable_answer(server: ScriptedServer, api: StripeApi, body: bytes) -> None:
    server.answers = [Answer(200, body)]
    with pytest.raises(ProviderUnavailable):
        api.list_changes(NOW, None)


# --- who are we ---


@pytest.mark.parametrize(
    ("account", "name"),
    [
        ({"settings": {"dashboard": {"display_name": "Ada's Shop"}}}, "Ada's Shop"),
        ({"settings": {"dashboard": {}}, "business_profile": {"name": "Ada Ltd"}}, "Ada Ltd"),
        ({"settings": None, "business_profile": None}, "acct_1"),
    ],
)
def test_the_account_has_a_name_or_an_id(
    server: ScriptedServer, api: StripeApi, account: dict[str, Any], name: str
) -> None:
    server.answers = [Answer(200, {"id": "acct_1", "object": "account", **account})]
    assert api.check() == name
    assert server.asked[0].path == "/v1/account"
