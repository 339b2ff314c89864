"""A platform with two tenants, a stand-in for Stripe that speaks Connect, and real HTTP between them."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
import uvicorn

from keywright import bootstrap
from keywright.domain.fee import FeeRule
from keywright.domain.license import License
from keywright.flows import catalog, catalog_file, connecting, tenants, tokens
from keywright.flows.connecting import CONNECT_PATH
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.sandbox.app import SandboxServer
from keywright.store import checkouts, connected, licenses
from keywright.store.connect_tables import platform_fees
from keywright.store.connected import Connected
from keywright.store.tenants import Tenant
from keywright.web.app import create_app
from tests.conftest import SECRET, Prepared, test_settings
from tests.life import stripe
from tests.web.conftest import IdleEngine

SOON = 30.0
ACT = Act("test", "trial")
CATALOG = """
[[product]]
slug = "tool"
name = "Tool"
key_prefix = "{prefix}"

[[product.plan]]
slug = "pro"
name = "Pro"
[[product.plan.prices]]
key = "monthly"
provider = "stripe"
id = "{monthly}"
amount = 5000
currency = "USD"
interval = "month"

[[product.plan]]
slug = "ever"
name = "For ever"
term = "perpetual"
[[product.plan.prices]]
key = "once"
provider = "stripe"
id = "{once}"
amount = 9900
currency = "USD"
"""


class Town:
    """`url` is the server's. Each test has tenants of its own: a town is slow to start."""

    def __init__(self, prepared: Prepared, stack: ExitStack) -> None:
        self.sandbox = stack.enter_context(SandboxServer(data_dir=prepared.folder / "data", seed=7))
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.context = self._context(prepared, stack)
        self._serve(listener, stack)
        self.http = stack.enter_context(httpx.Client(base_url=self.url, timeout=SOON, trust_env=False))
        self.levers = stack.enter_context(
            httpx.Client(base_url=self.sandbox.url, timeout=SOON, trust_env=False)
        )
        self.lever("webhook", url=f"{self.url}/api/webhooks/stripe", secret=SECRET)
        self._numbers = itertools.count(1)

    def _context(self, prepared: Prepared, stack: ExitStack) -> Context:
        made = test_settings(
            prepared.url,
            prepared.folder,
            keywright_mode="sandbox",
            app_base_url=self.url,
            stripe_secret_key=self.sandbox.api_key,
            stripe_api_base=self.sandbox.url,
        )
        database = bootstrap.open_database(made)
        stack.callback(database.dispose)
        return bootstrap.build(made, database)

    def _serve(self, listener: socket.socket, stack: ExitStack) -> None:
        config = uvicorn.Config(create_app(self.context, IdleEngine()), log_level="warning", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()

        def stop() -> None:
            server.should_exit = True
            thread.join(SOON)

        stack.callback(stop)
        wait_for(lambda: server.started, "the server")

    def tenant(self) -> Tenant:
        """A new one, without an account."""
        number = next(self._numbers)
        made = tenants.create(self.context, f"Tools {number}", f"tools-{number}", by="test")
        return self.context.of(made.id).tenant

    def fees(self, account: str) -> tuple[int, int]:
        """What the platform wrote down of this account's fees: taken, given back."""
        mine = platform_fees.c.payer == account
        with self.context.database.read() as connection:
            found = list(connection.execute(platform_fees.select().where(mine)))
        last = {row.external_id: row for row in sorted(found, key=lambda row: int(row.given_back))}
        return sum(row.amount for row in last.values()), sum(row.given_back for row in last.values())

    # -- Stripe ---------------------------------------------------------------------------------------

    def stripe(self, method: str, path: str, account: str | None = None, **form: str) -> Any:
        """A call of Stripe's API, for the platform or one of its accounts."""
        headers = {"Stripe-Account": account} if account else {}
        given = {"params": form} if method == "GET" else {"data": form}
        key = (self.sandbox.api_key, "")
        answer = self.levers.request(method, f"/v1/{path}", auth=key, headers=headers, **given)  # type: ignore[arg-type]  # one of two
        assert answer.status_code == 200, answer.text
        return answer.json()

    def lever(self, name: str, **wish: Any) -> Any:
        answer = self.levers.post(f"/_sandbox/{name}", json=wish)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def settle(self) -> None:
        """Until nothing is on its way from Stripe."""
        wait_for(lambda: self.levers.get("/_sandbox/deliveries").json()["idle"], "the deliveries")
        self.context.shops.look_again()

    def hand_in(self, url: str, act: str = "complete") -> httpx.Response:
        """Open the page behind an account link, and hand the form in."""
        assert self.levers.get(url).status_code == 200
        return self.levers.post(url, data={"act": act})

    # -- tenants --------------------------------------------------------------------------------------

    def start(self, tenant: Tenant) -> str:
        page = f"{self.url}/console/settings/connect"
        return connecting.start(
            self.context, tenant.id, "stripe", ACT, refresh_url=f"{page}?done=again", return_url=page
        )

    def connect(self, tenant: Tenant, rule: FeeRule | None = None) -> str:
        """The tenant's account, ready to sell what it has on its shelf."""
        self.hand_in(self.start(tenant))
        self.settle()
        account = self.standing(tenant).account.external_id or ""
        if rule is not None:
            connecting.set_fee(self.context, tenant.id, rule, ACT)
        self.stock(tenant, account)
        return account

    def stock(self, tenant: Tenant, account: str) -> None:
        given = {"currency": "usd", "product_data[name]": "Tool"}
        month = {"recurring[interval]": "month"}
        monthly = self.stripe("POST", "prices", account, unit_amount="5000", **given, **month)["id"]
        once = self.stripe("POST", "prices", account, unit_amount="9900", **given)["id"]
        text = CATALOG.format(prefix="TO", monthly=monthly, once=once)
        parsed = catalog_file.parse(text, source="test", environment={})
        catalog.apply(self.context.of(tenant.id), parsed)

    def standing(self, tenant: Tenant) -> Connected:
        with self.context.database.read() as connection:
            (found,) = connected.list_of(connection, tenant.id)
        return found

    def order(self, tenant: Tenant, plan: str) -> httpx.Response:
        wish = {"plan": plan, "email": "buyer@example.com"}
        return self.http.post(f"/t/{tenant.slug}/api/checkout/session", json=wish)

    def buy(self, tenant: Tenant, plan: str) -> Any:
        """Order, pay, and wait until everything has arrived. Gives what the pay lever answered."""
        opened = self.order(tenant, plan)
        assert opened.status_code == 201, opened.text
        with self.context.database.read() as connection:
            ordered = checkouts.find(connection, tenant.id, opened.json()["reference"])
        assert ordered is not None
        paid = self.lever("stripe/pay", session=ordered.session, email="buyer@example.com")
        assert paid["status"] == "complete", paid
        self.settle()
        return paid

    def license(self, tenant: Tenant) -> License:
        (found,) = self.licenses(tenant)
        return found

    def licenses(self, tenant: Tenant) -> list[License]:
        with self.context.database.read() as connection:
            return licenses.list_page(connection, tenant.id, filters={}, after=None, limit=100)

    def token(self, tenant: Tenant) -> dict[str, str]:
        _, text = tokens.issue(self.context, tenant.id, "test", "admin", by="test")
        return {"authorization": f"Bearer {text}"}

    def post(self, event: dict[str, Any], path: str = CONNECT_PATH) -> Any:
        """Deliver an event of our own making, signed with the secret of the Connect endpoint."""
        (secret,) = (
            text
            for id_, text in self.sandbox.sandbox.state.endpoint_secrets.items()
            if id_ in self.sandbox.sandbox.state.connect_endpoints
        )
        raw = stripe.encoded(event)
        answer = self.http.post(path, content=raw, headers=stripe.signed(raw, secret, self.now()))
        return answer.json()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.context.clock.now().timestamp(), UTC)


def wait_for(is_so: Any, what: str) -> None:
    until = time.monotonic() + SOON
    while not is_so():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.02)
