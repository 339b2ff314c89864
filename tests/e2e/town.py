"""A running shop that sells through the stand-ins of three providers, and what became of each purchase."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import sqlalchemy as sa

from keywright.domain.license import License, seats_at, status
from keywright.flows import catalog, catalog_file, reconcile
from keywright.sandbox.app import SandboxServer
from keywright.sandbox.clock import CACHE_SECONDS
from keywright.sandbox.paypal_api import CLIENT_ID, CLIENT_SECRET
from keywright.sandbox.paystack import signed as paystack_signed
from keywright.sandbox.webhooks import stripe_signed
from keywright.store import tables
from tests.conftest import SECRET
from tests.e2e.server import Server, environment, opened, wait_until
from tests.life import world

Json = dict[str, Any]
DAY = 86_400
WEBHOOK_ID = "8PT597110X687430L"
PROVIDERS = ("stripe", "paystack", "paypal")
_QUIET = 90.0

CATALOG = """
[[product]]
slug = "app"
name = "App"
key_prefix = "AP"

[[product.plan]]
slug = "pro"
name = "Pro"
grace = "14d"
prices = [
  {{ key = "pro", provider = "stripe", id = "{pro_stripe}", amount = 5000, currency = "USD", interval = "month" }},
  {{ key = "pro", provider = "paystack", id = "{pro_paystack}", amount = 5000, currency = "NGN", interval = "month" }},
  {{ key = "pro", provider = "paypal", id = "{pro_paypal}", amount = 5000, currency = "USD", interval = "month" }},
]

[[product.plan]]
slug = "team"
name = "Team"
seats_per_unit = 5
grace = "14d"
prices = [
  {{ key = "team", provider = "stripe", id = "{team_stripe}", amount = 20000, currency = "USD", interval = "month" }},
  {{ key = "team", provider = "paypal", id = "{team_paypal}", amount = 20000, currency = "USD", interval = "month" }},
]

[[product.plan]]
slug = "tryout"
name = "Tryout"
trial = "14d"
grace = "14d"
prices = [
  {{ key = "tryout", provider = "stripe", id = "{tryout_stripe}", amount = 5000, currency = "USD", interval = "month" }},
  {{ key = "tryout", provider = "paypal", id = "{tryout_paypal}", amount = 5000, currency = "USD", interval = "month" }},
]

[[product.plan]]
slug = "once"
name = "Once"
term = "1y"
prices = [
  {{ key = "once", provider = "stripe", id = "{once_stripe}", amount = 9900, currency = "USD" }},
  {{ key = "once", provider = "paystack", amount = 750000, currency = "NGN" }},
  {{ key = "once", provider = "paypal", amount = 9900, currency = "USD" }},
]
"""  # noqa: E501  # a table reads best with a row to a line


class Standing(NamedTuple):
    """What a license is at a moment. Times in seconds after its checkout was opened."""

    plan: str
    status: str
    seats: int
    standing: str
    reason: str
    trial: bool
    canceling: bool
    past_due: bool
    mails: int
    entitled_until: float | None
    active_until: float | None
    grace_until: float | None
    lost_until: float | None

    def is_like(self, other: Standing) -> bool:
        """The same, except that the lives were not lived in the same second."""
        if self[:9] != other[:9]:
            return False
        pairs = zip(self[9:], other[9:], strict=True)
        return all((a is None) == (b is None) and abs((a or 0) - (b or 0)) < _APART for a, b in pairs)


# Less than the hours that are added to paid time; Paystack counts from the full hour.
_APART = 3900.0


class Town:
    """The sandbox, a running server, and its database seen from here."""

    def __init__(self, database_url: str, folder: Path, stack: ExitStack) -> None:
        data = folder / "data"
        data.mkdir(parents=True)
        self._looks = 0
        self.server_sandbox = stack.enter_context(SandboxServer(data_dir=data, seed=7))
        self.sandbox = self.server_sandbox.sandbox
        self.stripe_key = self.server_sandbox.api_key
        base = self.server_sandbox.url
        self.api = stack.enter_context(httpx.Client(base_url=base, trust_env=False, timeout=60))
        self.start = self._begin()
        self.prices = self._make_prices()
        self.settings: Json = {
            "keywright_mode": "sandbox",
            "stripe_secret_key": self.stripe_key,
            "stripe_api_base": base,
            "paystack_secret_key": self.sandbox.paystack.secret_key,
            "paystack_api_base": f"{base}/paystack",
            "paypal_client_id": CLIENT_ID,
            "paypal_client_secret": CLIENT_SECRET,
            "paypal_webhook_id": WEBHOOK_ID,
            "paypal_api_base": base,
            "paypal_ca_file": str(self.sandbox.paypal.authority.ca_file),
        }
        self.context = stack.enter_context(opened(database_url, folder, **self.settings))
        named = {f"{plan}_{provider}": id_ for (provider, plan), id_ in self.prices.items()}
        catalog.apply(
            self.context, catalog_file.parse(CATALOG.format(**named), source="test", environment={})
        )
        told = {name.upper(): value for name, value in self.settings.items()}
        env = environment(database_url, folder, TRUSTED_PROXIES="127.0.0.1", **told)
        self.server = stack.enter_context(Server(env, folder))
        address = f"http://127.0.0.1:{self.server.port}"
        self.shop = stack.enter_context(httpx.Client(base_url=address, trust_env=False, timeout=60))

    def _begin(self) -> datetime:
        """A tenth of January, soon after noon: no month's end and no change of the hour gets in the way."""
        now = self.sandbox.clock.now()
        start = datetime(now.year + 1, 1, 10, 12, 5, tzinfo=UTC)
        self.turn_to(start)
        return start

    def turn_to(self, moment: datetime) -> None:
        ahead = (moment - self.sandbox.clock.now()).total_seconds()
        if ahead > 0:
            self.pull("clock/advance", seconds=ahead)
            time.sleep(3 * CACHE_SECONDS)  # until every process has seen it

    def go_on(self, moment: datetime) -> None:
        """Turn the clock, and wait until the server says that it is so late: it may be slow to look."""
        self.turn_to(moment)

        def seen() -> bool:
            self._looks += 1
            address = {"X-Forwarded-For": f"203.0.113.{self._looks % 250}"}
            answer = self.shop.post("/api/license/validate", json={"key": "AP-NONE"}, headers=address)
            return datetime.fromisoformat(answer.json()["server_time"]) >= moment

        wait_until(seen, _QUIET, "the server sees the clock")

    # -- the stand-ins ------------------------------------------------------------------------------

    def pull(self, lever: str, **wish: Any) -> Any:
        answer = self.api.post(f"/_sandbox/{lever}", json=wish)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def at_paypal(self, path: str, **body: Any) -> Any:
        token = self.api.post(
            "/v1/oauth2/token", data={"grant_type": "client_credentials"}, auth=(CLIENT_ID, CLIENT_SECRET)
        ).json()["access_token"]
        answer = self.api.post(path, json=body, headers={"Authorization": f"Bearer {token}"})
        assert answer.is_success, answer.text
        return answer.json() if answer.content else {}

    def _make_prices(self) -> dict[tuple[str, str], str]:
        made = {("stripe", "once"): self._stripe_price("9900")}
        for plan, amount in (("pro", "5000"), ("team", "20000"), ("tryout", "5000")):
            made["stripe", plan] = self._stripe_price(amount, **{"recurring[interval]": "month"})
            made["paypal", plan] = self._paypal_plan(f"{amount[:-2]}.00", trial=plan == "tryout")
        key = {"Authorization": f"Bearer {self.sandbox.paystack.secret_key}"}
        body = {"name": "Pro", "amount": 5000, "interval": "monthly"}
        plan = self.api.post("/paystack/plan", json=body, headers=key).json()["data"]["plan_code"]
        return {**made, ("paystack", "pro"): str(plan)}

    def _stripe_price(self, amount: str, **more: str) -> str:
        data = {"currency": "usd", "unit_amount": amount, "product_data[name]": "App", **more}
        return str(self.api.post("/v1/prices", auth=(self.stripe_key, ""), data=data).json()["id"])

    def _paypal_plan(self, value: str, *, trial: bool) -> str:
        product = self.at_paypal("/v1/catalogs/products", name="App")["id"]
        regular = {
            "tenure_type": "REGULAR",
            "total_cycles": 0,
            "frequency": {"interval_unit": "MONTH", "interval_count": 1},
            "pricing_scheme": {"fixed_price": {"value": value, "currency_code": "USD"}},
        }
        free = {
            "tenure_type": "TRIAL",
            "total_cycles": 1,
            "frequency": {"interval_unit": "DAY", "interval_count": 14},
        }
        cycles = [free, regular] if trial else [regular]
        terms = {"product_id": product, "billing_cycles": cycles, "quantity_supported": True}
        return str(self.at_paypal("/v1/billing/plans", **terms)["id"])

    def events(self, provider: str) -> list[Json]:
        """All that a stand-in has told so far, oldest first."""
        state: Any = {
            "stripe": self.sandbox.state,
            "paystack": self.sandbox.paystack.state,
            "paypal": self.sandbox.paypal.state,
        }[provider]
        found: list[Json] = state.every("event")
        return found

    def signed(self, provider: str, event: Json) -> tuple[bytes, dict[str, str]]:
        """One delivery, as the provider makes it at this moment."""
        now = int(self.context.clock.now().timestamp())
        if provider == "stripe":
            raw, headers = stripe_signed(event, SECRET, now)
        elif provider == "paystack":
            raw, headers = paystack_signed(event, self.sandbox.paystack.secret_key, now)
        else:
            raw, headers = self.sandbox.paypal._signed(event, WEBHOOK_ID, now)
        return raw, {name: value for name, value in headers.items() if name != "Content-Type"}

    # -- the shop -----------------------------------------------------------------------------------

    def unquiet(self, *, mails: bool) -> str:
        """What the server still has to do at this moment, in words; empty when nothing."""
        with self.context.database.read() as connection:
            asked = tables.refetches.c
            due = sa.select(sa.func.count()).where(asked.due_at <= self.context.clock.now())
            waiting = sa.select(sa.func.count()).where(tables.inbox.c.status.in_(("accepted", "failed")))
            owed = sa.select(sa.func.count()).where(tables.announcements.c.status == "pending")
            found = {
                "refetches": connection.execute(due).scalar_one(),
                "events": connection.execute(waiting).scalar_one(),
                "mails": connection.execute(owed).scalar_one() if mails else 0,
            }
        return ", ".join(f"{number} {what}" for what, number in found.items() if number)

    def settle(self, *, mails: bool = False) -> None:
        """Until the server has asked for all that it wants to ask for; and with `mails`, written them all."""
        wait_until(lambda: not self.unquiet(mails=mails), _QUIET, "quiet")

    def compare(self) -> dict[str, int]:
        """`reconcile --fix` from the beginning of all lives, at every provider. What was found, by kind."""
        wish = reconcile.Wish(since=self.start - timedelta(days=1), fix=True)
        report = reconcile.reconcile(self.context, wish)
        assert [account.error for account in report.accounts] == [None] * len(PROVIDERS)
        found: dict[str, int] = {}
        for account in report.accounts:
            for kind, number in account.counts.items():
                found[f"{account.provider} {kind}"] = number
        return found

    def standings(self) -> dict[str, list[Standing]]:
        """What came of each checkout, by its reference."""
        now = self.context.clock.now()
        aliases, owed, checkouts = tables.purchase_aliases.c, tables.announcements.c, tables.checkouts.c
        names = sa.select(aliases.purchase_id, aliases.external_id).where(aliases.kind == "reference")
        sent = sa.select(owed.license_id, sa.func.count()).group_by(owed.license_id)
        sent = sent.where(owed.kind == "license.issued", owed.status == "sent")
        purchases, mails = self._pairs(names), self._pairs(sent)
        opened_at = self._pairs(sa.select(checkouts.reference, checkouts.created_at))
        plans = self._pairs(sa.select(tables.plans.c.id, tables.plans.c.slug))
        found: dict[str, list[Standing]] = {}
        for one in world.all_licenses(self.context):
            name = purchases.get(one.purchase_id or "", f"nobody's: {one.purchase_id}")
            begun = opened_at.get(name, now)
            found.setdefault(name, []).append(_standing(one, now, plans, mails.get(one.id, 0), begun))
        return found

    def _pairs(self, query: sa.Select[Any, Any]) -> dict[Any, Any]:
        with self.context.database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def _standing(held: License, now: datetime, plans: dict[str, str], mails: int, begun: datetime) -> Standing:
    def after(moment: datetime | None) -> float | None:
        return None if moment is None else (moment - begun).total_seconds()

    return Standing(
        plans[held.plan_id],
        status(held, now),
        seats_at(held, now),
        held.standing,
        held.reason,
        held.trial,
        held.canceling,
        held.past_due,
        mails,
        after(held.entitled_until),
        after(held.active_until),
        after(held.grace_until),
        after(held.lost_until),
    )
