"""Going live at PayPal, against answers as PayPal documents them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from keywright.domain.errors import BadSignature, Misconfigured, ProviderUnavailable
from keywright.ports import PriceSeen
from keywright.providers.paypal import shapes
from keywright.providers.paypal.certificates import Certificates
from keywright.providers.paypal.hook import PayPalEvents
from keywright.providers.paypal.setup import PayPalSetup

TEST, LIVE = "https://test.paypal.invalid", "https://live.paypal.invalid"
URL = "https://licenses.example.com/api/webhooks/paypal"
ID = "8PT597110X687430L"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
KEYS = ("client-of-the-test-app", "secret-of-the-test-app")


class Clock:
    def now(self) -> datetime:
        return NOW


class PayPal:
    """An app's webhooks and plans, as far as a set-up needs them. It knows the test app only."""

    def __init__(self) -> None:
        self.webhooks: list[dict[str, Any]] = []
        self.plans: list[dict[str, Any]] = []
        self.calls: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/v1/oauth2/token":
            pair = base64.b64encode(":".join(KEYS).encode()).decode()
            if (
                request.url.host != "test.paypal.invalid"
                or request.headers["authorization"] != f"Basic {pair}"
            ):
                return httpx.Response(401, json={"error": "invalid_client"})
            return httpx.Response(200, json={"access_token": "A21AA", "expires_in": 32000})
        self.calls.append(f"{request.method} {path}")
        return self._of_webhooks(request) if "webhooks" in path else self._of_plans(request)

    def _of_webhooks(self, request: httpx.Request) -> httpx.Response:
        id_ = request.url.path.rsplit("/", 1)[-1]
        found = next((one for one in self.webhooks if one["id"] == id_), None)
        if request.method == "GET":
            return httpx.Response(200, json={"webhooks": self.webhooks})
        if request.method == "POST":
            wanted = json.loads(request.content)
            if any(one["url"] == wanted["url"] for one in self.webhooks):
                return httpx.Response(400, json={"name": "WEBHOOK_URL_ALREADY_EXISTS"})
            self.webhooks.append({"id": f"NEW{len(self.calls)}", **wanted})
            return httpx.Response(201, json=self.webhooks[-1])
        if found is None:
            return httpx.Response(404, json={"name": "INVALID_RESOURCE_ID"})
        if request.method == "DELETE":
            self.webhooks.remove(found)
            return httpx.Response(204)
        (change,) = json.loads(request.content)
        assert (change["op"], change["path"]) == ("replace", "/event_types")
        if found["event_types"] == change["value"]:
            return httpx.Response(400, json={"name": "WEBHOOK_PATCH_REQUEST_NO_CHANGE"})
        found["event_types"] = change["value"]
        return httpx.Response(200, json=found)

    def _of_plans(self, request: httpx.Request) -> httpx.Response:
        id_ = request.url.path.rsplit("/", 1)[-1]
        if id_ != "plans":
            return httpx.Response(200, json=next(one for one in self.plans if one["id"] == id_))
        page, size = int(request.url.params["page"]), int(request.url.params["page_size"])
        listed = [{k: v for k, v in one.items() if k != "billing_cycles"} for one in self.plans]
        return httpx.Response(200, json={"plans": listed[(page - 1) * size : page * size]})


@pytest.fixture
def paypal() -> PayPal:
    return PayPal()


Maker = Callable[..., PayPalSetup]


@pytest.fixture
def setup(paypal: PayPal) -> Maker:
    def make(keys: tuple[str, str] = KEYS, base: str = TEST) -> PayPalSetup:
        others = {TEST: LIVE, LIVE: TEST}
        transport = httpx.MockTransport(paypal)
        return PayPalSetup(keys, Clock(), base=base, other_modes=others, transport=transport)

    return make


def test_the_webhook_is_made_with_exactly_our_events(paypal: PayPal, setup: Maker) -> None:
    made = setup().register(URL, None)
    (kept,) = paypal.webhooks
    assert kept["url"] == URL
    assert [one["name"] for one in kept["event_types"]] == list(shapes.EVENT_TYPES)
    assert (made.id, made.secret, made.lacks, made.differs) == (kept["id"], kept["id"], (), ())
    assert setup().list_endpoints(URL) == (made,)
    assert setup().list_endpoints(f"{URL}/elsewhere") == ()
    assert setup().clicks(URL) == ()


@pytest.mark.parametrize(
    ("events", "lacks", "differs"),
    [
        (["PAYMENT.SALE.COMPLETED"], 1, 0),
        ([*shapes.EVENT_TYPES, "VAULT.PAYMENT-TOKEN.CREATED"], 0, 1),
        (["*"], 0, 1),
    ],
)
def test_another_list_of_events_is_seen_and_made_right(
    paypal: PayPal, setup: Maker, events: list[str], lacks: int, differs: int
) -> None:
    paypal.webhooks.append({"id": ID, "url": URL, "event_types": [{"name": one} for one in events]})
    (known,) = setup().list_endpoints(URL)
    assert (len(known.lacks), len(known.differs)) == (lacks, differs)
    for _ in range(2):  # the second time PayPal says that nothing changes
        changed = setup().register(URL, known)
        assert (changed.id, changed.lacks, changed.differs) == (ID, (), ())
    assert paypal.calls.count(f"PATCH /v1/notifications/webhooks/{ID}") == 2


def test_a_new_webhook_takes_the_place_of_the_old(paypal: PayPal, setup: Maker) -> None:
    paypal.webhooks.append({"id": ID, "url": URL, "event_types": [{"name": "*"}]})
    (old,) = setup().list_endpoints(URL)
    new = setup().register(URL, None)
    assert [one["id"] for one in paypal.webhooks] == [new.id]
    assert new.id != ID
    setup().remove(old)  # gone already
    setup().remove(new)
    assert paypal.webhooks == []


def test_credentials_of_the_other_mode_are_told_from_wrong_ones(setup: Maker) -> None:
    assert setup().whose() == "PayPal app with 0 webhooks"
    with pytest.raises(Misconfigured, match="of the other mode: they work at https://test") as other:
        setup(base=LIVE).whose()
    with pytest.raises(Misconfigured, match="wrong, or of the other mode") as wrong:
        setup(keys=("client-of-nobody", "secret-of-nobody")).whose()
    assert "secret" not in other.value.detail
    assert "nobody" not in wrong.value.detail


def test_an_address_that_nobody_answers_at() -> None:
    with pytest.raises(ProviderUnavailable):
        PayPalSetup(KEYS, Clock(), base="http://127.0.0.1:9").whose()


def cycle(tenure: str, value: str | None, unit: str = "MONTH", count: int = 1, currency: str = "USD") -> Any:
    made: dict[str, Any] = {
        "tenure_type": tenure,
        "frequency": {"interval_unit": unit, "interval_count": count},
    }
    if value is not None:
        made["pricing_scheme"] = {"fixed_price": {"value": value, "currency_code": currency}}
    return made


def test_plans_are_listed_with_their_regular_price(paypal: PayPal, setup: Maker) -> None:
    trial = cycle("TRIAL", "0")
    plans = {
        "P-1": [trial, cycle("REGULAR", "50.00")],
        "P-2": [cycle("REGULAR", "5000", "MONTH", 12, "JPY")],
        "P-3": [cycle("REGULAR", None)],
        "P-4": [cycle("REGULAR", "1.00", "WEEK")],
    }
    paypal.plans = [{"id": id_, "name": id_, "billing_cycles": cycles} for id_, cycles in plans.items()]
    paypal.plans += [
        {"id": f"P-OLD{n}", "name": "x", "status": "INACTIVE", "billing_cycles": []} for n in range(17)
    ]
    assert setup().list_prices() == (
        PriceSeen("P-1", "P-1", 5000, "USD", "month"),
        PriceSeen("P-2", "P-2", 5000, "JPY", "year"),
        PriceSeen("P-4", "P-4", 100, "USD", "week"),
    )
    assert paypal.calls.count("GET /v1/billing/plans") == 2


def test_a_greeting_is_refused_for_its_signature(setup: Maker) -> None:
    greeting = setup().greeting(ID, NOW)
    events = PayPalEvents(Certificates(live=False), live=False, webhook_ids=(ID,))
    assert not greeting.genuine
    with pytest.raises(BadSignature):
        events.authenticate(greeting.raw, greeting.headers, [ID], NOW)
