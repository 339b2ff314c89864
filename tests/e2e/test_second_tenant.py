"""A second tenant sells through its own account at Stripe: its license, its key, its mail."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest

from keywright.flows import catalog, catalog_file, credentials, provider_setup, tenants, tokens
from keywright.flows.context import Context
from keywright.flows.provider_checks import account_address, account_of
from keywright.flows.provider_setup import Wish
from keywright.flows.tenants import TenantSeen
from keywright.sandbox.app import SandboxServer
from keywright.store import checkouts
from keywright.store.tables import inbox
from tests.conftest import SECRET
from tests.e2e.conftest import database_of
from tests.e2e.server import Server, environment, opened, wait_until
from tests.life import stripe, world

Json = dict[str, Any]
SOON = 30.0
MACHINE = "machine-of-the-buyer-0001"
CATALOG = """
[[product]]
slug = "dashcaddy"
name = "DashCaddy"
key_prefix = "{prefix}"

[[product.plan]]
slug = "pro"
name = "{plan}"
[[product.plan.prices]]
key = "monthly"
provider = "stripe"
id = "{price}"
amount = 5000
currency = "USD"
interval = "month"
"""


class Mall:
    """A running server with two tenants that sell a product of the same name, and a stand-in for Stripe."""

    def __init__(self, database_url: str, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.sandbox = stack.enter_context(SandboxServer(data_dir=folder / "data", seed=7))
        more = {
            "stripe_secret_key": self.sandbox.api_key,
            "stripe_api_base": self.sandbox.url,
            "seller_name": "Master Store",
        }
        env = environment(
            database_url,
            folder,
            KEYWRIGHT_MODE="sandbox",
            **{name.upper(): value for name, value in more.items()},
        )
        self.context = stack.enter_context(opened(database_url, folder, keywright_mode="sandbox", **more))
        self._stock(self.context, "MA", "Master plan", self._make_price())
        self.server = stack.enter_context(Server(env, folder))
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.http = stack.enter_context(httpx.Client(base_url=self.url, timeout=30, trust_env=False))
        # All of it after the server has started.
        self.acme = tenants.create(self.context, "Acme Tools", "acme", by="test")
        self.own = self.context.of(self.acme.id)
        self.price = self._make_price()
        self._stock(self.own, "AC", "Acme plan", self.price)
        self.account, self.hook_secret = self._set_up()

    def _stock(self, of: Context, prefix: str, plan: str, price: str) -> None:
        text = CATALOG.format(prefix=prefix, plan=plan, price=price)
        catalog.apply(of, catalog_file.parse(text, source="test", environment={}))

    def _make_price(self) -> str:
        made = httpx.post(
            f"{self.sandbox.url}/v1/prices",
            auth=(self.sandbox.api_key, ""),
            data={
                "currency": "usd",
                "unit_amount": "5000",
                "product_data[name]": "DashCaddy",
                "recurring[interval]": "month",
            },
            trust_env=False,
        )
        price: str = made.json()["id"]
        return price

    def _set_up(self) -> tuple[str, str]:
        """The tenant types its key: the endpoint is registered, and its secret kept in the vault."""
        door = self.own.doors["stripe"]
        found = door.typed((self.sandbox.api_key,))
        account = account_of(self.own, found)
        path = account_address(self.own, account).removeprefix(self.context.policy.base_url)
        wish = Wish(
            url=f"{self.url}{path}",
            kinds=door.kinds,
            keys=tuple(zip(door.kinds.keys, found.keys, strict=True)),
        )
        provider_setup.set_up(self.own, door.open(found), account, wish)
        with self.context.database.read() as connection:
            kept = credentials.find(connection, self.context.vault, account, "stripe.webhook_secret")
        assert kept is not None
        return account.id, kept

    def pay(self, reference: str) -> None:
        with self.context.database.read() as connection:
            ordered = checkouts.find(connection, self.acme.id, reference)
        assert ordered is not None
        wish = {"session": ordered.session, "email": "buyer@example.com"}
        answer = httpx.post(f"{self.sandbox.url}/_sandbox/stripe/pay", json=wish, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text

    def post(self, path: str, event: Json, secret: str) -> httpx.Response:
        raw = stripe.encoded(event)
        return self.http.post(path, content=raw, headers=stripe.signed(raw, secret, datetime.now(UTC)))

    def mails(self) -> list[EmailMessage]:
        files = sorted((self.folder / "data" / "outbox").glob("*.eml"))
        return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def mall(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mall]:
    folder = tmp_path_factory.mktemp("mall")
    with ExitStack() as stack:
        yield Mall(database_of(request.param, request, folder), folder, stack)


def claims_of(token: str) -> tuple[Json, Json]:
    head, body, _ = token.split(".")
    parts = [json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in (head, body)]
    return parts[0], parts[1]


def test_a_purchase_belongs_to_the_tenant_whose_account_it_came_by(mall: Mall) -> None:
    wish = {"plan": "dashcaddy/pro", "email": "buyer@example.com", "device": MACHINE}
    opened = mall.http.post("/t/acme/api/checkout/session", json=wish)
    assert opened.status_code == 201, opened.text
    checkout = opened.json()
    assert checkout["url"].startswith("http://127.0.0.1:8000/t/acme/checkout/")
    mall.pay(checkout["reference"])
    claim = {"authorization": f"Claim {checkout['claim_token']}"}
    address = f"/t/acme/api/checkout/session/{checkout['reference']}"

    def held() -> list[Json]:
        found: list[Json] = mall.http.get(address, headers=claim).json().get("licenses") or []
        return found

    wait_until(held, SOON, "the license of the second tenant")
    (license_,) = held()
    assert license_["key"].startswith("AC-")
    assert [one.tenant_id for one in world.all_licenses(mall.own)] == []  # of the master tenant
    asked = {"key": license_["key"], "fingerprint": MACHINE}
    lease = mall.http.post("/api/license/activate", json=asked).json()["lease"]
    head, claims = claims_of(lease)
    assert claims["iss"] == mall.context.issuer(mall.acme.id)
    kids = [key["kid"] for key in mall.context.signer.key_set(mall.acme.id)["keys"]]
    ours = [key["kid"] for key in mall.context.signer.key_set(mall.context.master.id)["keys"]]
    assert head["kid"] in kids
    assert head["kid"] not in ours
    # Once more: the first mail may have gone before the order told which machine it was for.
    wait_until(mall.mails, SOON, "the mail with the key")
    bearer = {"authorization": f"Bearer {tokens.create(mall.context, mall.own.tenant, 'test', 'write')[1]}"}
    (row,) = mall.http.get("/api/admin/licenses", headers=bearer).json()["items"]
    again = mall.http.post(f"/api/admin/licenses/{row['id']}/resend", headers=bearer, json={"reason": "test"})
    assert again.status_code < 300, again.text
    wait_until(lambda: len(mall.mails()) == 2, SOON, "the mail once more")
    told = [body_of(mail, kind) for mail in mall.mails() for kind in ("plain", "html")]
    assert all("Acme Tools" in one and "Master Store" not in one for one in told)
    assert len([one for one in told if "http://127.0.0.1:8000/t/acme/portal" in one]) >= 2


def body_of(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_no_secret_opens_the_endpoint_of_another_tenant(mall: Mall) -> None:
    now = datetime.now(UTC)
    event = stripe.event("customer.subscription.created", stripe.subscription("sub_x", now, now), now)
    before = world.count(mall.context, inbox)
    theirs, masters = f"/api/webhooks/stripe/{mall.account}", "/api/webhooks/stripe"
    unknown = "/api/webhooks/stripe/pac_0123456789abcdef0123456789"
    for path, secret in ((theirs, SECRET), (masters, mall.hook_secret), (unknown, SECRET)):
        answer = mall.post(path, event, secret)
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_SIGNATURE"), path
    assert mall.post(f"/api/webhooks/paystack/{mall.account}", event, mall.hook_secret).status_code == 400
    assert world.count(mall.context, inbox) == before


def test_an_event_that_names_another_account_never_lands(mall: Mall) -> None:
    now = datetime.now(UTC)
    event = stripe.event("customer.subscription.created", stripe.subscription("sub_y", now, now), now)
    answer = mall.post(
        f"/api/webhooks/stripe/{mall.account}", {**event, "account": "acct_other"}, mall.hook_secret
    )
    assert answer.json() == {"received": True, "outcome": "ignored", "reason": "WRONG_ACCOUNT"}


def test_what_is_changed_beside_the_server_holds_there_within_seconds(mall: Mall) -> None:
    def shown() -> bool:
        return "Acme Instruments" in mall.http.get("/t/acme/").text

    wanted = tenants.Change(name="Acme Instruments")
    made: TenantSeen = tenants.change(mall.context, "acme", wanted, by="test")
    assert made.name == "Acme Instruments"
    wait_until(shown, SOON, "the new name on the tenant's pages")
    tenants.change(mall.context, "acme", tenants.Change(name="Acme Tools"), by="test")
