"""PayPal from the shop's button to the license and back: server, stand-in and signed webhooks over HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.sandbox.app import SandboxServer
from keywright.sandbox.paypal_api import CLIENT_ID, CLIENT_SECRET
from keywright.store.tables import prices
from tests.e2e.conftest import database_of
from tests.e2e.server import Server, environment, opened, wait_until
from tests.life import world

WEBHOOK_ID = "8PT597110X687430L"
DAY = 86_400
_SECONDS = 30.0


class PayPalShop:
    """A server in sandbox mode that sells through the stand-in for PayPal."""

    def __init__(self, database_url: str, folder: Path, stack: ExitStack) -> None:
        data = folder / "data"
        data.mkdir(parents=True)
        # One clock for both: it lies in the server's own folder.
        self.sandbox = stack.enter_context(SandboxServer(data_dir=data, seed=7))
        self.pay = stack.enter_context(httpx.Client(base_url=self.sandbox.url, trust_env=False, timeout=30))
        env = environment(
            database_url,
            folder,
            KEYWRIGHT_MODE="sandbox",
            PAYPAL_CLIENT_ID=CLIENT_ID,
            PAYPAL_CLIENT_SECRET=CLIENT_SECRET,
            PAYPAL_WEBHOOK_ID=WEBHOOK_ID,
            PAYPAL_API_BASE=self.sandbox.url,
            PAYPAL_CA_FILE=str(self.sandbox.sandbox.paypal.authority.ca_file),
        )
        self._stock(database_url, folder)
        self.server = stack.enter_context(Server(env, folder))
        address = f"http://127.0.0.1:{self.server.port}"
        self.http = stack.enter_context(httpx.Client(base_url=address, trust_env=False, timeout=30))
        self.control("paypal/webhook", url=f"{address}/api/webhooks/paypal", webhook_id=WEBHOOK_ID)

    def _stock(self, database_url: str, folder: Path) -> None:
        with opened(database_url, folder) as context:
            world.stock(context)
            world.add_plan(context, "pro", self._make_plan(), Terms(grace=14 * DAY))
            world.add_plan(context, "forever", "once", Terms(term="perpetual"))
            at_paypal = {"provider": "paypal"}
            once = at_paypal | {"external_id": None, "amount": 9900, "key": "once"}
            with context.database.write() as connection:
                connection.execute(sa.update(prices).values(at_paypal))
                connection.execute(sa.update(prices).where(prices.c.id == "pri_forever").values(once))

    def _make_plan(self) -> str:
        product = self.at_paypal("/v1/catalogs/products", name="DashCaddy")["id"]
        cycle = {
            "tenure_type": "REGULAR",
            "total_cycles": 0,
            "frequency": {"interval_unit": "MONTH", "interval_count": 1},
            "pricing_scheme": {"fixed_price": {"value": "50.00", "currency_code": "USD"}},
        }
        terms = {"product_id": product, "billing_cycles": [cycle], "quantity_supported": True}
        return str(self.at_paypal("/v1/billing/plans", **terms)["id"])

    def bearer(self) -> dict[str, str]:
        """A token made now: they end by the stand-in's own clock, which tests turn."""
        token = self.pay.post(
            "/v1/oauth2/token", auth=(CLIENT_ID, CLIENT_SECRET), data={"grant_type": "client_credentials"}
        ).json()["access_token"]
        return {"Authorization": f"Bearer {token}"}

    def at_paypal(self, path: str, **body: Any) -> Any:
        """What the seller does on PayPal's own pages."""
        answer = self.pay.post(path, json=body, headers=self.bearer())
        assert answer.is_success, answer.text
        return answer.json() if answer.content else {}

    def control(self, lever: str, **wish: Any) -> Any:
        answer = self.pay.post(f"/_sandbox/{lever}", json=wish)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def buy(self, plan: str, *, quantity: int = 1, funding: str = "pays", agree: bool = True) -> Purchase:
        opened = self.http.post(
            "/api/checkout/session",
            json={"plan": f"dashcaddy/{plan}", "provider": "paypal", "quantity": quantity},
        )
        assert opened.status_code == 201, opened.text
        made = Purchase(self, opened.json())
        if agree:
            form = {"email": "ada@example.com", "act": "approve", "funding": funding}
            # The buyer agrees on PayPal's page, and never comes back to the shop.
            assert self.pay.post(made.url, data=form).status_code == 303
        return made


class Purchase:
    """A checkout as the shop sees it."""

    def __init__(self, shop: PayPalShop, opened: dict[str, Any]) -> None:
        self._shop = shop
        self.url = str(opened["url"])
        self.reference = str(opened["reference"])
        self._key = ""
        self._claim = {"Authorization": f"Claim {opened['claim_token']}"}

    @property
    def id(self) -> str:
        """The order's or the subscription's id at PayPal."""
        return self.url.rpartition("/")[2]

    def look(self) -> dict[str, Any]:
        path = f"/api/checkout/session/{self.reference}"
        told: dict[str, Any] = self._shop.http.get(path, headers=self._claim).json()
        return told

    def verify(self) -> str:
        answer = self._shop.http.post(f"/api/checkout/session/{self.reference}/verify")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["status"])

    def key(self) -> str:
        """The license key, once it is there. Kept: a claim ends a day after the payment."""
        if not self._key:
            wait_until(lambda: self.look().get("licenses"), _SECONDS, "a license")
            (license_,) = self.look()["licenses"]
            self._key = str(license_["key"])
        return self._key

    def verdict(self) -> dict[str, Any]:
        answer = self._shop.http.post("/api/license/validate", json={"key": self.key()})
        told: dict[str, Any] = answer.json()
        return told

    def becomes(self, code: str) -> dict[str, Any]:
        wait_until(lambda: self.verdict()["code"] == code, _SECONDS, f"{code}, not {self.verdict()['code']}")
        return self.verdict()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PayPalShop]:
    folder = tmp_path_factory.mktemp("paypal-shop")
    with ExitStack() as stack:
        yield PayPalShop(database_of(request.param, request, folder), folder, stack)


@pytest.fixture
def without_webhooks(shop: PayPalShop) -> Iterator[None]:
    """Every webhook is lost on its way."""
    shop.control("switches", loss=1)
    yield
    shop.control("switches", loss=0)


def test_an_order_becomes_a_license_and_a_refund_takes_it_back(shop: PayPalShop) -> None:
    bought = shop.buy("forever", quantity=2)
    told = bought.becomes("VALID")
    assert told["license"]["seats"] == 2
    assert bought.look()["status"] == "paid"
    order = shop.pay.get(f"/v2/checkout/orders/{bought.id}", headers=shop.bearer()).json()
    capture = order["purchase_units"][0]["payments"]["captures"][0]["id"]
    shop.at_paypal(
        f"/v2/payments/captures/{capture}/refund", amount={"value": "1.00", "currency_code": "USD"}
    )
    shop.at_paypal(f"/v2/payments/captures/{capture}/refund")
    bought.becomes("REVOKED")


def test_a_subscription_lives_renews_and_is_refunded(shop: PayPalShop) -> None:
    bought = shop.buy("pro", quantity=3)
    told = bought.becomes("VALID")
    assert told["license"]["seats"] == 3
    shop.control("clock/advance", seconds=32 * DAY)
    until = told["license"]["entitled_until"]
    wait_until(lambda: bought.verdict()["license"]["entitled_until"] > until, _SECONDS, "a renewal")
    assert bought.verdict()["code"] == "VALID"
    for sale in _sales(shop, bought.id):
        shop.at_paypal(f"/v1/payments/sale/{sale}/refund")
    bought.becomes("REVOKED")


def test_a_failed_renewal_leads_into_grace_and_a_payment_out_of_it(shop: PayPalShop) -> None:
    bought = shop.buy("pro")
    bought.becomes("VALID")
    shop.control(f"paypal/funding/{bought.id}", funding="declines")
    shop.control("clock/advance", seconds=32 * DAY)
    bought.becomes("GRACE")
    shop.control(f"paypal/funding/{bought.id}", funding="pays")
    shop.control("clock/advance", seconds=5 * DAY)
    bought.becomes("VALID")


def test_a_cancellation_keeps_what_is_paid(shop: PayPalShop) -> None:
    bought = shop.buy("pro")
    bought.becomes("VALID")
    shop.at_paypal(f"/v1/billing/subscriptions/{bought.id}/cancel", reason="enough")
    wait_until(lambda: _settled(shop), _SECONDS, "the webhook")
    time.sleep(1)
    assert bought.verdict()["code"] == "VALID"
    shop.control("clock/advance", seconds=32 * DAY)
    bought.becomes("EXPIRED")


def test_a_dispute_suspends_and_a_won_one_restores(shop: PayPalShop) -> None:
    bought = shop.buy("pro")
    bought.becomes("VALID")
    (sale,) = _sales(shop, bought.id)
    case = shop.control("paypal/disputes", charge=sale)["id"]
    bought.becomes("SUSPENDED")
    shop.control(f"paypal/disputes/{case}/resolve", outcome="RESOLVED_SELLER_FAVOUR")
    bought.becomes("VALID")


def test_a_reversal_revokes_and_a_won_case_restores(shop: PayPalShop) -> None:
    bought = shop.buy("forever")
    bought.becomes("VALID")
    order = shop.pay.get(f"/v2/checkout/orders/{bought.id}", headers=shop.bearer()).json()
    capture = order["purchase_units"][0]["payments"]["captures"][0]["id"]
    case = shop.control("paypal/disputes", charge=capture)["id"]
    shop.control(f"paypal/reverse/{capture}")
    bought.becomes("REVOKED")
    shop.control(f"paypal/disputes/{case}/resolve", outcome="RESOLVED_SELLER_FAVOUR")
    bought.becomes("VALID")


def test_a_license_shows_more_seats_when_the_buyer_agreed(shop: PayPalShop) -> None:
    bought = shop.buy("pro", quantity=2)
    assert bought.becomes("VALID")["license"]["seats"] == 2
    shop.at_paypal(f"/v1/billing/subscriptions/{bought.id}/revise", quantity="7")
    assert bought.verdict()["license"]["seats"] == 2
    shop.control("paypal/approve", id=bought.id)
    wait_until(lambda: bought.verdict()["license"]["seats"] == 7, _SECONDS, "seven seats")


def test_shuffled_and_doubled_webhooks_make_one_license(shop: PayPalShop) -> None:
    shop.control("switches", order="shuffle", duplicates=2)
    try:
        bought = [shop.buy("pro"), shop.buy("forever")]
        for one in bought:
            one.becomes("VALID")
        wait_until(lambda: _settled(shop), _SECONDS, "all deliveries")
        assert [len(one.look()["licenses"]) for one in bought] == [1, 1]
    finally:
        shop.control("switches", order="as_created", duplicates=0)


@pytest.mark.parametrize("plan", ["pro", "forever"])
@pytest.mark.usefixtures("without_webhooks")
def test_where_webhooks_are_lost_asking_suffices(shop: PayPalShop, plan: str) -> None:
    bought = shop.buy(plan)
    assert bought.look()["status"] == "open"
    assert bought.verify() == "paid"
    assert bought.becomes("VALID")["valid"] is True


def test_nothing_is_granted_for_what_was_not_paid(shop: PayPalShop) -> None:
    tries = [shop.buy("forever", agree=False), shop.buy("pro", agree=False)]
    tries += [shop.buy("forever", funding="declines"), shop.buy("forever", funding="echeck")]
    wait_until(lambda: _settled(shop), _SECONDS, "all deliveries")
    for one in tries:
        assert one.verify() in ("open", "processing")
        assert one.look().get("licenses", []) == []


def test_forged_and_replayed_deliveries_are_refused(shop: PayPalShop) -> None:
    body = b'{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"8RS6210148826604N"}}'
    headers = {
        "paypal-transmission-id": "t-1",
        "paypal-transmission-time": "2026-11-20T00:00:00Z",
        "paypal-transmission-sig": "AAAA",
        "paypal-cert-url": "https://evil.example/v1/notifications/certs/CERT-1",
        "paypal-auth-algo": "SHA256withRSA",
    }
    assert shop.http.post("/api/webhooks/paypal", content=body, headers=headers).status_code == 400
    assert shop.http.post("/api/webhooks/paypal", content=body).status_code == 400


def _sales(shop: PayPalShop, subscription: str) -> list[str]:
    answer = shop.pay.get(
        f"/v1/billing/subscriptions/{subscription}/transactions",
        params={"start_time": "2020-01-01T00:00:00Z", "end_time": "2090-01-01T00:00:00Z"},
        headers=shop.bearer(),
    )
    return [one["id"] for one in answer.json()["transactions"]]


def _settled(shop: PayPalShop) -> bool:
    return bool(shop.pay.get("/_sandbox/deliveries").json()["idle"])
