"""The straight line at Paystack: over real HTTP, from the checkout to the license and back."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from keywright.domain import hmac_key
from keywright.domain.license import License, status
from keywright.flows import catalog, catalog_file, firms, license_views
from keywright.flows.operate import Act
from keywright.sandbox.app import SandboxServer
from keywright.store import licenses
from tests.conftest import new_postgresql
from tests.e2e.server import Server, environment, opened, wait_until

Json = dict[str, Any]
DAY = 86_400
SOON = 20.0
CATALOG = """
[[product]]
slug = "dashcaddy"
name = "DashCaddy"
key_prefix = "DC"
code = 513

[[product.plan]]
slug = "once"
name = "Once"
term = "1y"
prices = [{{ key = "once", provider = "paystack", amount = 750000, currency = "NGN" }}]

[[product.plan]]
slug = "onsite"
name = "Onsite"
code = 3
profile = "hmac"
term = "1y"
on_repurchase = "replace"
prices = [{{ key = "once", provider = "paystack", amount = 900000, currency = "NGN" }}]

[[product.plan]]
slug = "pro"
name = "Pro"
[[product.plan.prices]]
key = "m"
provider = "paystack"
id = "{plan}"
amount = 500000
currency = "NGN"
interval = "month"
"""


class Store:
    """A running server that sells one plan once and one monthly, through the Paystack stand-in."""

    def __init__(self, database_url: str, folder: Path, stack: ExitStack) -> None:
        self.sandbox = stack.enter_context(SandboxServer(data_dir=folder / "data", seed=7))
        self.paystack = self.sandbox.sandbox.paystack
        base = f"{self.sandbox.url}/paystack"
        key = {"Authorization": f"Bearer {self.paystack.secret_key}"}
        self.api = stack.enter_context(httpx.Client(base_url=base, headers=key, trust_env=False))
        made = self.api.post("/plan", json={"name": "Pro", "amount": 500_000, "interval": "monthly"})
        plan = made.json()["data"]["plan_code"]
        more = {
            "paystack_secret_key": self.paystack.secret_key,
            "paystack_api_base": base,
            "license_secret": "a secret of this test that is long enough",
        }
        self.env = environment(
            database_url,
            folder,
            KEYWRIGHT_MODE="sandbox",
            **{name.upper(): value for name, value in more.items()},
        )
        self.context = stack.enter_context(opened(database_url, folder, keywright_mode="sandbox", **more))
        wanted = catalog_file.parse(CATALOG.format(plan=plan), source="test", environment={})
        catalog.apply(self.context, wanted)
        self.server = stack.enter_context(Server(self.env, folder))
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.http = stack.enter_context(httpx.Client(base_url=self.url, timeout=30, trust_env=False))
        self.pull("webhook", url=f"{self.url}/api/webhooks/paystack")

    def pull(self, lever: str, **wish: Any) -> Json:
        """A lever of the Paystack stand-in."""
        return self._post(f"/_sandbox/paystack/{lever}", wish)

    def lever(self, lever: str, **wish: Any) -> Json:
        """A lever of the whole sandbox."""
        return self._post(f"/_sandbox/{lever}", wish)

    def _post(self, path: str, wish: Json) -> Json:
        answer = httpx.post(f"{self.sandbox.url}{path}", json=wish, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told

    def open(self, plan: str, email: str, **more: Any) -> Json:
        wish = {"plan": f"dashcaddy/{plan}", "email": email, **more}
        answer = self.http.post("/api/checkout/session", json=wish)
        assert answer.status_code == 201, answer.text
        told: Json = answer.json()
        assert told["provider"] == "paystack"
        return told

    def standing(self, checkout: Json) -> Json:
        claim = {"Authorization": f"Claim {checkout['claim_token']}"}
        told: Json = self.http.get(f"/api/checkout/session/{checkout['reference']}", headers=claim).json()
        return told

    def licenses(self, checkout: Json) -> list[Json]:
        found: list[Json] = self.standing(checkout).get("licenses") or []
        return found

    def wait(self, checkout: Json, status: str) -> Json:
        """Until the checkout has exactly one license, of this status."""

        def there() -> bool:
            return [one["status"] for one in self.licenses(checkout)] == [status]

        wait_until(there, SOON, f"one license that is {status}")
        return self.licenses(checkout)[0]

    def validate(self, key: str) -> Json:
        told: Json = self.http.post("/api/license/validate", json={"key": key}).json()
        return told

    def look(self, held: Json) -> License:
        """The license's row: it may be looked at as often as one likes."""
        with self.context.database.read() as connection:
            found = licenses.find(connection, self.context.master.id, held["id"])
        assert found is not None
        return found

    def status(self, held: Json) -> str:
        return status(self.look(held), self.context.clock.now())

    def wait_status(self, held: Json, wanted: str) -> Json:
        """Until the license is of this status; gives the verdict about it."""
        wait_until(lambda: self.status(held) == wanted, SOON, f"a license that is {wanted}")
        return self.validate(held["key"])

    def settled(self) -> None:
        """Until every webhook was taken."""

        def idle() -> bool:
            told = httpx.get(f"{self.sandbox.url}/_sandbox/deliveries", trust_env=False).json()
            assert all(one["status"] != "failed" for one in told["deliveries"])
            return bool(told["idle"])

        wait_until(idle, SOON, "all webhooks delivered")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    url = f"sqlite:///{folder / 'data' / 'keywright.sqlite'}"
    if request.param == "postgresql":
        url = new_postgresql(request.getfixturevalue("postgresql"))
    with ExitStack() as stack:
        yield Store(url, folder, stack)


@pytest.fixture(autouse=True)
def quiet(store: Store) -> Iterator[None]:
    """Each test begins with webhooks on their way as usual."""
    store.lever("switches", hold=False, duplicates=0, order="as_created")
    yield
    store.lever("release")


def test_a_one_off_order_becomes_a_license_and_a_refund_revokes_it(store: Store) -> None:
    checkout = store.open("once", "once@example.com")
    assert store.standing(checkout)["status"] == "open"
    store.pull("pay", reference=checkout["reference"])
    held = store.wait(checkout, "active")
    assert store.validate(held["key"])["valid"] is True
    store.settled()
    refunded = store.api.post("/refund", json={"transaction": checkout["reference"]})
    assert refunded.status_code == 200, refunded.text
    assert store.wait_status(held, "revoked")["valid"] is False


def test_half_a_refund_revokes_nothing(store: Store) -> None:
    checkout = store.open("once", "half@example.com")
    store.pull("pay", reference=checkout["reference"])
    held = store.wait(checkout, "active")
    for amount in (250_000, 250_000):
        store.api.post("/refund", json={"transaction": checkout["reference"], "amount": amount})
    store.settled()
    assert store.validate(held["key"])["code"] == "VALID"
    store.api.post("/refund", json={"transaction": checkout["reference"], "amount": 250_000})
    store.wait_status(held, "revoked")


def test_the_webhook_that_comes_after_verify_changes_nothing(store: Store) -> None:
    """The browser was closed: nobody comes back, and the webhook is late."""
    store.lever("hold")
    for plan in ("once", "pro"):
        checkout = store.open(plan, f"closed-{plan}@example.com")
        store.pull("pay", reference=checkout["reference"])
        verified = store.http.post(f"/api/checkout/session/{checkout['reference']}/verify")
        assert verified.status_code in (200, 201), verified.text
        assert verified.json()["status"] == "paid"
        (held,) = store.licenses(checkout)
        before = store.validate(held["key"])
        assert before["code"] == "VALID"
        store.lever("switches", hold=False, duplicates=3, order="shuffle")
        store.settled()
        again = store.http.post(f"/api/checkout/session/{checkout['reference']}/verify")
        assert again.status_code in (200, 201)
        (same,) = store.licenses(checkout)
        assert (same["id"], same["key"]) == (held["id"], held["key"])
        after = store.validate(held["key"])["license"]
        moving = {"offline_until": ""}  # it is counted from the moment of the question
        assert {**after, **moving} == {**before["license"], **moving}
        store.lever("switches", hold=True, duplicates=0, order="as_created")


def test_a_subscription_renews_fails_recovers_and_ends(store: Store) -> None:
    checkout = store.open("pro", "monthly@example.com")
    store.lever("switches", duplicates=2, order="shuffle")
    store.pull("pay", reference=checkout["reference"])
    held = store.wait(checkout, "active")
    store.settled()
    first = store.validate(held["key"])["license"]["entitled_until"]
    store.lever("clock/advance", seconds=32 * DAY)
    wait_until(lambda: store.validate(held["key"])["license"]["entitled_until"] > first, SOON, "a month more")
    customer = next(
        one["customer_code"]
        for one in store.paystack.state.every("customer")
        if one["email"] == "monthly@example.com"
    )
    store.pull(f"customers/{customer}/card", behavior="declines")
    store.lever("clock/advance", seconds=30 * DAY)
    store.wait_status(held, "grace")
    store.lever("clock/advance", seconds=15 * DAY)
    store.wait_status(held, "expired")
    store.pull(f"customers/{customer}/card", behavior="pays")
    store.lever("clock/advance", seconds=17 * DAY)
    store.wait_status(held, "active")
    code = next(
        one["subscription_code"]
        for one in store.paystack.state.every("subscription")
        if one["customer"]["customer_code"] == customer
    )
    token = store.paystack.state.email_tokens[code]
    store.api.post("/subscription/disable", json={"code": code, "token": token})

    wait_until(lambda: store.look(held).canceling, SOON, "canceled, and still paid for")
    assert store.validate(held["key"])["code"] == "VALID"
    store.lever("clock/advance", seconds=32 * DAY)
    store.wait_status(held, "expired")


def test_a_dispute_suspends_and_its_end_decides(store: Store) -> None:
    for resolution, wanted in (("declined", "active"), ("merchant-accepted", "revoked")):
        checkout = store.open("once", f"{resolution}@example.com")
        store.pull("pay", reference=checkout["reference"])
        held = store.wait(checkout, "active")
        id_ = store.pull(f"transactions/{checkout['reference']}/dispute")["dispute"]
        store.wait_status(held, "suspended")
        store.pull(f"disputes/{id_}/resolve", resolution=resolution)
        store.wait_status(held, wanted)


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"plan": "dashcaddy/once"}, "EMAIL_REQUIRED"),
        ({"plan": "dashcaddy/pro", "email": "a@example.com", "quantity": 2}, "QUANTITY_UNSUPPORTED"),
    ],
)
def test_what_paystack_cannot_sell_is_refused_before_the_buyer_goes(
    store: Store, wish: Json, code: str
) -> None:
    answer = store.http.post("/api/checkout/session", json=wish)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_a_forged_or_altered_event_is_refused(store: Store) -> None:
    answer = store.http.post(
        "/api/billing/webhook/paystack",
        content=b'{"event":"charge.success","data":{"id":1,"reference":"r"}}',
        headers={"x-paystack-signature": "0" * 128},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_SIGNATURE")


def test_a_firm_buys_checks_its_key_alone_and_buys_again(store: Store) -> None:
    firm = "Wasserwerke Nord"
    refused = store.http.post(
        "/api/checkout/session", json={"plan": "dashcaddy/onsite", "email": "works@example.com"}
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "FIRM_REQUIRED")
    checkout = store.open("onsite", "works@example.com", firm=firm)
    store.pull("pay", reference=checkout["reference"])
    old = store.wait(checkout, "active")
    shown = store.http.post("/api/license/hmac-key", json={"key": old["key"]}).json()
    assert (shown["key"], shown["firm"]) == (old["hmac_key"], firm)
    secret = firms.secrets_of(store.context, store.context.master.id, firm, Act("test")).secret
    derived = base64.urlsafe_b64decode(secret.partition(".")[2] + "==")
    for text in (shown["key"], shown["file"]):
        presented = hmac_key.read(text)
        assert presented is not None
        assert hmac_key.is_proven(presented, firm, derived)
        assert not hmac_key.is_proven(presented, "Wasserwerke Ost", derived)
    verdict = store.validate(shown["key"])
    assert (verdict["code"], verdict["license"]["id"]) == ("VALID", old["id"])
    store.lever("switches", duplicates=3, order="shuffle")
    again = store.open("onsite", "works@example.com", renew_key=shown["key"])
    store.pull("pay", reference=again["reference"])
    new = store.wait(again, "active")
    assert new["id"] != old["id"]
    store.settled()
    ended = store.validate(old["key"])
    assert (ended["code"], ended["valid"]) == ("REVOKED", False)
    assert store.look(old).reason == "replaced"
    assert store.validate(new["hmac_key"])["code"] == "VALID"
    store.api.post("/refund", json={"transaction": again["reference"]})
    store.wait_status(new, "revoked")
    assert store.wait_status(old, "active")["code"] == "VALID"
    assert license_views.check_integrity(store.context, store.context.master.id).damaged == []
