"""Going live at Paystack, which tells little and takes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from keywright.domain.errors import Misconfigured, Unsupported
from keywright.ports import Endpoint, PriceSeen
from keywright.providers.paystack.hook import PaystackEvents
from keywright.providers.paystack.setup import PaystackSetup

URL = "https://licenses.example.com/api/webhooks/paystack"
NOW = datetime(2026, 11, 1, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return NOW


def setup(key: str = "sk_test_0123456789", plans: list[dict[str, Any]] | None = None) -> PaystackSetup:
    def answer(request: httpx.Request) -> httpx.Response:
        page, size = int(request.url.params["page"]), int(request.url.params["perPage"])
        listed = (plans or [])[(page - 1) * size : page * size]
        return httpx.Response(200, json={"status": True, "message": "ok", "data": listed, "meta": {}})

    return PaystackSetup(key, Clock(), transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(("key", "mode"), [("sk_test_0123456789", "Test"), ("sk_live_0123456789", "Live")])
def test_the_clicks_are_those_of_the_mode(key: str, mode: str) -> None:
    clicks = setup(key).clicks(URL)
    assert f"{mode.lower()} mode" in clicks[0]
    assert clicks[1] == f"Paste into {mode} Webhook URL: {URL}"


def test_what_paystack_has_no_call_for_says_where_it_is_done() -> None:
    for refused in (
        lambda: setup().list_endpoints(URL),
        lambda: setup().register(URL, None),
        lambda: setup().remove(Endpoint("x", URL)),
    ):
        with pytest.raises(Unsupported, match="dashboard") as told:
            refused()
        assert URL in told.value.detail
    assert setup().count_undelivered(NOW) is None


def test_a_public_key_is_no_secret_key() -> None:
    with pytest.raises(Misconfigured, match="begins with sk_"):
        setup("pk_test_0123456789")


def test_a_greeting_is_genuine_known_to_nobody_and_always_the_same() -> None:
    key = "sk_test_0123456789"
    one, two = setup(key).greeting(key, NOW), setup(key).greeting(key, datetime.now(UTC))
    events = PaystackEvents(live=False)
    events.authenticate(one.raw, one.headers, [key], NOW)
    seen, again = events.project(one.raw), events.project(two.raw)
    assert (seen.standing, seen.live) == ("unknown", False)
    assert seen.dedupe_key == again.dedupe_key
    assert events.project(setup("sk_live_0123").greeting("sk_live_0123", NOW).raw).live


def test_plans_are_listed_in_iso_money() -> None:
    def plan(code: str, amount: object = 500000, **more: Any) -> dict[str, Any]:
        return {
            "plan_code": code,
            "name": code,
            "amount": amount,
            "currency": "NGN",
            "interval": "monthly",
            **more,
        }

    plans = [
        plan("PLN_naira"),
        plan("PLN_cfa", currency="XOF", interval="annually"),
        plan("PLN_half", interval="biannually"),
        plan("PLN_gone", is_deleted=True),
        plan("PLN_archived", is_archived=True),
        plan("PLN_odd", amount="x"),
        *(plan(f"PLN_{n}") for n in range(100)),
    ]
    seen = setup(plans=plans).list_prices()
    assert seen[:3] == (
        PriceSeen("PLN_naira", "PLN_naira", 500000, "NGN", "month"),
        PriceSeen("PLN_cfa", "PLN_cfa", 5000, "XOF", "year"),
        PriceSeen("PLN_half", "PLN_half", 500000, "NGN", "6 months"),
    )
    assert len(seen) == 103
