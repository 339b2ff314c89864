"""What PayPal answers when it is not well, and what goes over the wire to it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from keywright.domain.errors import KeywrightError, Misconfigured, NotFound, ProviderUnavailable
from keywright.domain.facts import Refetch
from keywright.providers.paypal.api import PayPalApi
from keywright.providers.paypal.client import PayPalClient, Refusal
from keywright.providers.paypal.hook import Delivery
from tests.conftest import TurnableClock

BASE = "https://api-m.sandbox.paypal.com"
Answering = Callable[[httpx.Request], httpx.Response]


class PayPal:
    """Gives tokens, and otherwise answers as the test says."""

    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.requests: list[httpx.Request] = []
        self.tokens = 0
        self.clock = TurnableClock(datetime(2026, 11, 1, 12, 0, tzinfo=UTC))
        transport = httpx.MockTransport(self._serve)
        self.client = PayPalClient("our-id", "our-secret", self.clock, base=BASE, transport=transport)
        self.api = PayPalApi(self.client, self.clock)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/oauth2/token":
            self.tokens += 1
            return httpx.Response(200, json={"access_token": f"A21AA{self.tokens}", "expires_in": 32400})
        self.requests.append(request)
        return self.answer(request)


def refusing(status: int, **told: object) -> Answering:
    return lambda _: httpx.Response(status, json=told)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusing(429, name="RATE_LIMIT_REACHED"), ProviderUnavailable),
        (refusing(500, name="INTERNAL_SERVER_ERROR"), ProviderUnavailable),
        (refusing(503), ProviderUnavailable),
        (refusing(409), ProviderUnavailable),
        (refusing(302), ProviderUnavailable),
        (refusing(401, name="AUTHENTICATION_FAILURE"), Misconfigured),
        (refusing(403, name="NOT_AUTHORIZED"), Misconfigured),
        (refusing(404, name="RESOURCE_NOT_FOUND"), NotFound),
        (refusing(422, details=[{"issue": "ORDER_NOT_APPROVED"}]), Refusal),
        (lambda _: httpx.Response(200, text="<html>busy</html>"), ProviderUnavailable),
        (lambda _: httpx.Response(200, json=[1, 2]), ProviderUnavailable),
    ],
)
def test_what_goes_wrong_is_told_apart(answer: Answering, error: type[KeywrightError]) -> None:
    with pytest.raises(error):
        PayPal(answer).api.fetch(Refetch("dispute", "PP-D-1"))


@pytest.mark.parametrize("trouble", [httpx.ConnectTimeout, httpx.ReadTimeout, httpx.ConnectError])
def test_silence_is_no_refusal(trouble: type[httpx.TransportError]) -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise trouble("no answer", request=request)

    with pytest.raises(ProviderUnavailable):
        PayPal(silent).api.check()


def test_nothing_that_paypal_says_of_us_reaches_an_error_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    told = {"name": "INVALID_REQUEST", "message": "bad ada@example.com our-secret", "debug_id": "f00dcafe1"}
    paypal = PayPal(lambda _: httpx.Response(400, json=told))
    with caplog.at_level(logging.DEBUG), pytest.raises(Refusal) as raised:
        paypal.api.fetch(Refetch("dispute", "PP-D-1"))
    assert raised.value.issue == "INVALID_REQUEST"
    for word in ("ada@example.com", "our-secret", "A21AA"):
        assert word not in str(raised.value)
        assert word not in caplog.text


def test_one_token_for_many_calls_renewed_before_it_ends() -> None:
    paypal = PayPal(lambda _: httpx.Response(200, json={"webhooks": []}))
    for _ in range(3):
        paypal.api.check()
    assert paypal.tokens == 1
    paypal.clock.time += timedelta(hours=8, minutes=56)
    paypal.api.check()
    assert paypal.tokens == 2
    assert paypal.requests[-1].headers["authorization"] == "Bearer A21AA2"


def test_a_token_that_was_taken_back_is_renewed_once() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        good = request.headers["authorization"] == "Bearer A21AA2"
        return httpx.Response(200, json={"webhooks": []}) if good else httpx.Response(401, json={})

    paypal = PayPal(answer)
    paypal.api.check()
    assert (paypal.tokens, len(paypal.requests)) == (2, 2)
    never = PayPal(refusing(401))
    with pytest.raises(Misconfigured):
        never.api.check()
    assert (never.tokens, len(never.requests)) == (2, 2)


def test_what_makes_a_call_repeatable_fits_paypals_header() -> None:
    paypal = PayPal(lambda _: httpx.Response(200, json={}))
    keys = ["KW-ABCDEFGHIJKLMNOP", "license " + "x" * 60 + "1", "license " + "x" * 60 + "2"]
    for key in (*keys, *keys):
        paypal.client.post("/v2/checkout/orders", {}, key=key)
    sent = [request.headers["paypal-request-id"] for request in paypal.requests]
    assert sent[0] == keys[0]
    assert sent[:3] == sent[3:]
    assert len(set(sent)) == 3
    assert max(map(len, sent)) <= 38


def test_the_body_to_be_checked_goes_as_it_came() -> None:
    paypal = PayPal(lambda _: httpx.Response(200, json={"verification_status": "SUCCESS"}))
    raw = b'{ "id":"WH-1", "amount": 1.10, "name":"\\u00e9" , "big":12345678901234567890 }'
    delivery = Delivery(
        "t-1", "2026-11-01T12:00:00Z", "c2ln", f"{BASE}/x", "SHA256withRSA", paypal.clock.now()
    )
    assert paypal.api.confirm(delivery, "8PT597110X687430L", raw)
    content = paypal.requests[-1].content
    assert raw in content
    sent = json.loads(content)
    assert sent.pop("webhook_event")["id"] == "WH-1"
    assert sent == {
        "auth_algo": "SHA256withRSA",
        "cert_url": f"{BASE}/x",
        "transmission_id": "t-1",
        "transmission_sig": "c2ln",
        "transmission_time": "2026-11-01T12:00:00Z",
        "webhook_id": "8PT597110X687430L",
    }


@pytest.mark.parametrize("said", ["FAILURE", "success", None])
def test_only_success_is_a_yes(said: str | None) -> None:
    paypal = PayPal(lambda _: httpx.Response(200, json={"verification_status": said}))
    delivery = Delivery(
        "t-1", "2026-11-01T12:00:00Z", "c2ln", f"{BASE}/x", "SHA256withRSA", paypal.clock.now()
    )
    assert not paypal.api.confirm(delivery, "8PT597110X687430L", b"{}")


def test_an_answer_is_dated_by_paypal() -> None:
    dated = {"Date": "Fri, 20 Nov 2026 10:00:00 GMT"}
    body = {"dispute_id": "PP-D-1"}
    paypal = PayPal(lambda _: httpx.Response(200, json=body, headers=dated))
    (raw,) = paypal.api.fetch(Refetch("dispute", "PP-D-1"))
    assert json.loads(raw)["at"] == "2026-11-20T10:00:00+00:00"
    undated = PayPal(lambda _: httpx.Response(200, json=body))
    (raw,) = undated.api.fetch(Refetch("dispute", "PP-D-1"))
    assert json.loads(raw)["at"] == "2026-11-01T12:00:00+00:00"


def test_of_two_answers_in_one_second_the_later_is_later() -> None:
    """Else chance decides which of two quantities a license gets."""
    dated = {"Date": "Fri, 20 Nov 2026 10:00:00 GMT"}
    paypal = PayPal(lambda _: httpx.Response(200, json={"dispute_id": "PP-D-1"}, headers=dated))
    told = [paypal.api.fetch(Refetch("dispute", "PP-D-1"))[0] for _ in range(2)]
    first, second = (json.loads(raw)["at"] for raw in told)
    assert first < second
    assert (first[:19], second[:19]) == ("2026-11-20T10:00:00", "2026-11-20T10:00:00")
