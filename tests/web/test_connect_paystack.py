"""Subaccounts at Paystack: the nearest it has to connected accounts, through the stand-in."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from keywright import bootstrap
from keywright.domain.errors import Conflict, Invalid, ProviderUnavailable
from keywright.domain.fee import FeeRule, Fixed
from keywright.flows import (
    admin_views,
    catalog,
    catalog_file,
    checkout,
    connecting,
    credentials,
    importing,
    intake,
    reconcile,
    refetching,
    shredding,
    tenants,
)
from keywright.flows.checkout import Ask
from keywright.flows.context import Context
from keywright.flows.fulfillment import Outcome
from keywright.flows.intake import Intake
from keywright.flows.pacing import Pace
from keywright.flows.shared_events import owner_of
from keywright.import_ports import ImportApi
from keywright.providers.paystack import envelopes
from keywright.providers.paystack.platform import PaystackPlatform
from keywright.sandbox.app import SandboxServer
from keywright.store import fees, licenses
from keywright.store import tenants as stored_tenants
from keywright.store.fees import Got
from keywright.store.imports import Import
from keywright.store.tables import customers, inbox, purchase_aliases, refetches
from tests.conftest import Prepared, test_settings
from tests.life.connected import ACT

CATALOG = """
[[product]]
slug = "tool"
name = "Tool"
key_prefix = "TO"

[[product.plan]]
slug = "ever"
name = "For ever"
term = "perpetual"
prices = [{ key = "once", provider = "paystack", amount = 900000, currency = "NGN" }]
"""
RULE = FeeRule(1000, {"NGN": Fixed(5000)})


class Market:
    def __init__(self, prepared: Prepared, stack: ExitStack) -> None:
        self.sandbox = stack.enter_context(SandboxServer(data_dir=prepared.folder / "data", seed=7))
        self.base = f"{self.sandbox.url}/paystack"
        self.key = self.sandbox.sandbox.paystack.secret_key
        made = test_settings(
            prepared.url,
            prepared.folder,
            keywright_mode="sandbox",
            paystack_secret_key=self.key,
            paystack_api_base=self.base,
        )
        database = bootstrap.open_database(made)
        stack.callback(database.dispose)
        self.context: Context = bootstrap.build(made, database)
        self.acme = tenants.create(self.context, "Acme Tools", "acme", by="test").id

    def call(self, method: str, path: str, **body: object) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.request(
            method, f"{self.base}{path}", json=body or None, headers=headers, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def subaccount(self) -> str:
        made: Any = self.call(
            "POST", "/subaccount", business_name="Acme", account_number="0000000000", percentage_charge=1
        )
        return str(made["subaccount_code"])


@pytest.fixture
def market(prepared: Prepared) -> Iterator[Market]:
    with ExitStack() as stack:
        yield Market(prepared, stack)


def test_a_subaccount_is_named_and_one_tenants_alone(market: Market) -> None:
    context, acme = market.context, market.acme
    for unknown in ("ACCT_unknown1", "acct_1Stripe", "ACCT_../x"):
        with pytest.raises(Invalid) as refused:
            connecting.attach(context, acme, "paystack", unknown, ACT)
        assert refused.value.code == "ACCOUNT_UNKNOWN"
    name = market.subaccount()
    assert connecting.attach(context, acme, "paystack", name, ACT).sells
    connecting.set_fee(context, acme, RULE, ACT)
    assert market.call("GET", f"/subaccount/{name}")["percentage_charge"] == 10
    other = tenants.create(context, "Other Tools", "other", by="test").id
    with pytest.raises(Conflict) as taken:
        connecting.attach(context, other, "paystack", name, ACT)
    assert taken.value.code == "ACCOUNT_TAKEN"
    market.call("PUT", f"/subaccount/{name}", active=False)
    assert not connecting.look(context, acme, "paystack").sells
    assert not context.of(acme).channels["paystack"].is_open
    connecting.disconnect(context, acme, "paystack", ACT)
    written = [(row.act, row.actor) for row in admin_views.list_audit(context, acme, {}).items]
    expected = ["connect.started", "connect.fee_set", "connect.ended"]
    assert sorted(written) == sorted((act, ACT.by) for act in expected)


def test_an_account_that_is_in_use_is_not_put_aside_by_another(market: Market) -> None:
    context, acme = market.context, market.acme
    name, another = market.subaccount(), market.subaccount()
    connecting.attach(context, acme, "paystack", name, ACT)
    with pytest.raises(Conflict) as refused:
        connecting.attach(context, acme, "paystack", another, ACT)
    assert refused.value.code == "CONNECTED_ALREADY"
    assert connecting.attach(context, acme, "paystack", name, ACT).account.external_id == name
    connecting.disconnect(context, acme, "paystack", ACT)
    assert connecting.attach(context, acme, "paystack", another, ACT).account.external_id == another


def test_nothing_is_sold_before_the_platform_has_its_part(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, acme = market.context, market.acme
    name = market.subaccount()
    connecting.set_fee(context, acme, RULE, ACT)
    with monkeypatch.context() as patch:
        patch.setattr(PaystackPlatform, "take_part", refuse)
        with pytest.raises(ProviderUnavailable):
            connecting.attach(context, acme, "paystack", name, ACT)
    assert connecting.look(context, acme, "paystack").sells
    assert market.call("GET", f"/subaccount/{name}")["percentage_charge"] == 10


def refuse(_self: PaystackPlatform, _account: str, _basis_points: int) -> None:
    raise ProviderUnavailable("it hangs")


def test_a_split_sale_is_the_tenants_and_its_fee_the_platforms(market: Market) -> None:
    context, acme = market.context, market.acme
    name = market.subaccount()
    connecting.attach(context, acme, "paystack", name, ACT)
    connecting.set_fee(context, acme, RULE, ACT)
    own = context.of(acme)
    catalog.apply(own, catalog_file.parse(CATALOG, source="test", environment={}))
    opened = checkout.open_checkout(own, Ask("tool/ever", email="buyer@example.com"))
    paid = httpx.post(
        f"{market.sandbox.url}/_sandbox/paystack/pay",
        json={"reference": opened.reference, "card": "4084084084084081"},
        trust_env=False,
    )
    assert paid.status_code == 200, paid.text
    transaction = market.call("GET", f"/transaction/verify/{opened.reference}")
    assert transaction["subaccount"]["subaccount_code"] == name
    # A tenth of 9,000 naira and 50; Paystack's own fees are the tenant's.
    assert transaction["fees_split"]["integration"] == 95_000
    checkout.verify_now(own, opened.reference)
    month = f"{context.clock.now():%Y-%m}"
    with context.database.read() as connection:
        (held,) = licenses.list_page(connection, acme, filters={}, after=None, limit=10)
        masters = licenses.list_page(connection, context.master.id, filters={}, after=None, limit=10)
        found = fees.since(connection, context.master.id, month)
    assert (held.tenant_id, masters) == (acme, [])
    assert found == [Got(False, month, "NGN", 95_000, 0)]
    # Everything comes to the platform's address: the payment names the subaccount, the rest its reference.
    platform = context.channels["paystack"]
    (event,) = market.sandbox.sandbox.paystack.state.every("event")
    named = msgspec.json.encode(event["told"])
    bare = msgspec.json.encode(
        {"event": "refund.pending", "data": {"transaction_reference": opened.reference}}
    )
    alien = msgspec.json.encode({"event": "refund.pending", "data": {"transaction_reference": "other-1"}})
    owners = []
    for raw in (named, bare, alien):
        reading = platform.events.read(platform.events.project(raw))
        owner = owner_of(context, platform, raw, reading)
        owners.append(owner and owner.channel and owner.channel.account.tenant_id)
    assert owners == [acme, acme, None]
    # The tenant's account lists its own sales alone.
    mine = own.channels["paystack"].api
    assert mine is not None
    since = context.clock.now() - timedelta(hours=1)
    assert len(mine.list_changes(since, None).changes) == 1
    stranger = market.subaccount()
    connecting.disconnect(context, acme, "paystack", ACT)
    connecting.attach(context, acme, "paystack", stranger, ACT)
    # What it sold before goes on under the old name, and is still its own.
    owner = owner_of(context, platform, named, platform.events.read(platform.events.project(named)))
    assert owner is not None
    assert owner.channel is not None
    assert owner.channel.account.tenant_id == acme
    theirs = context.of(acme).channels["paystack"].api
    assert theirs is not None
    assert theirs.list_changes(since, None).changes == ()


MONTHLY = """
[[product]]
slug = "tool"
name = "Tool"
key_prefix = "TO"

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


def plan_of(market: Market) -> str:
    made: Any = market.call("POST", "/plan", name="Pro", amount=500000, interval="monthly", currency="NGN")
    return str(made["plan_code"])


def stock(context: Context, text: str) -> None:
    catalog.apply(context, catalog_file.parse(text, source="test", environment={}))


def buy(market: Market, context: Context, offer: str, email: str) -> str:
    """Order and pay; nobody here has heard of it yet."""
    opened = checkout.open_checkout(context, Ask(offer, email=email))
    paid = httpx.post(
        f"{market.sandbox.url}/_sandbox/paystack/pay",
        json={"reference": opened.reference, "card": "4084084084084081"},
        trust_env=False,
    )
    assert paid.status_code == 200, paid.text
    return opened.reference


def kept_of(context: Context, tenant: str) -> list[str]:
    """What the inbox keeps for a tenant."""
    with context.database.read() as connection:
        rows = connection.execute(sa.select(inbox.c.body).where(inbox.c.tenant_id == tenant))
        return [str(row.body) for row in rows]


def bring(context: Context) -> Import:
    begun = importing.begin(context, importing.Wish("paystack", "test"))
    return importing.run(context, begun.id, pace=Pace(10_000.0))


def test_an_import_lists_the_tenants_own_sales_alone(market: Market) -> None:
    context = market.context
    connecting.attach(context, market.acme, "paystack", market.subaccount(), ACT)
    own = context.of(market.acme)
    stock(context, MONTHLY.format(plan=plan_of(market)))
    checkout.verify_now(context, buy(market, context, "tool/pro", "platforms@example.com"))
    stock(own, MONTHLY.format(plan=plan_of(market)))
    buy(market, own, "tool/pro", "tenants@example.com")
    run = bring(own)
    told = msgspec.json.decode(run.counts)
    assert (run.status, told.pop("requests")) == ("done", 2)
    assert told == {"made": 1, "payments": 1, "customers": 1}, "of the platform's not even the number"
    with context.database.read() as connection:
        emails = {
            row.tenant_id: row.email
            for row in connection.execute(sa.select(customers.c.tenant_id, customers.c.email))
        }
    assert emails == {context.master.id: "platforms@example.com", market.acme: "tenants@example.com"}
    assert not any("platforms@example.com" in body for body in kept_of(context, market.acme))
    # A run that began with the tenant's own keys goes on with no list but its own.
    api = own.channels["paystack"].api
    assert isinstance(api, ImportApi)
    for stage in ("subscription", "refund", "dispute"):
        with pytest.raises(Invalid):
            api.existing(lambda: None).page(f"{stage}:1")


def test_the_platform_takes_in_no_sale_of_a_tenant(market: Market) -> None:
    context = market.context
    connecting.attach(context, market.acme, "paystack", market.subaccount(), ACT)
    own = context.of(market.acme)
    stock(own, CATALOG + MONTHLY.format(plan=plan_of(market)).replace("tool", "other").replace("TO", "OT"))
    for offer in ("tool/ever", "other/pro"):
        buy(market, own, offer, "tenants@example.com")
    # Nobody here has heard of either yet, as after an outage.
    everything = reconcile.Wish("paystack", fix=True)
    reconcile.reconcile(context, everything)
    bring(context)
    assert kept_of(context, context.master.id) == []
    reconcile.reconcile(own, everything)
    assert kept_of(context, market.acme)
    reconcile.reconcile(context, everything)
    assert kept_of(context, context.master.id) == []
    with context.database.read() as connection:
        assert licenses.list_page(connection, context.master.id, filters={}, after=None, limit=10) == []


def test_no_sale_of_a_shredded_tenant_is_the_platforms(market: Market) -> None:
    context, name = market.context, market.subaccount()
    connecting.attach(context, market.acme, "paystack", name, ACT)
    own, plan = context.of(market.acme), plan_of(market)
    stock(own, MONTHLY.format(plan=plan))
    paid = buy(market, own, "tool/pro", "tenants@example.com")
    reconcile.reconcile(own, reconcile.Wish("paystack", fix=True))
    with context.database.read() as connection:
        subscription = connection.execute(
            sa.select(purchase_aliases.c.external_id).where(purchase_aliases.c.kind == "subscription")
        ).scalar_one()
    shredding.shred(context, "acme", confirmed="acme", by="test")
    told: list[tuple[str, dict[str, Any]]] = [
        ("charge.success", {"id": 71, "reference": "renewal-1", "subaccount": {"subaccount_code": name}}),
        ("refund.pending", {"transaction_reference": paid}),
        ("subscription.disable", {"subscription_code": subscription, "status": "complete"}),
        ("refund.pending", {"transaction_reference": "platforms-1"}),
    ]
    assert hear(market, *told) == [*["ignored WRONG_ACCOUNT"] * 3, "accepted ASKING"]
    *noted, platforms = kept_of(context, context.master.id)
    assert noted == ["{}"] * 3
    assert "platforms-1" in platforms
    with context.database.read() as connection:
        asked = connection.execute(sa.select(refetches.c.external_id)).scalars().all()
    assert asked == ["platforms-1"], "what nobody may keep is not asked for"
    reconcile.reconcile(context, reconcile.Wish("paystack", fix=True))
    bring(context)
    assert kept_of(context, context.master.id) == [*noted, platforms]
    # Whoever comes back has account and plan again, and all that happens from then on.
    other = tenants.create(context, "Acme Again", "again", by="test").id
    assert connecting.attach(context, other, "paystack", name, ACT).sells
    stock(context.of(other), MONTHLY.format(plan=plan))
    assert bring(context.of(other)).status == "done"
    assert hear(market, ("refund.pending", {"transaction_reference": paid})) == ["accepted ASKING"]
    shredding.shred(context, "again", confirmed="again", by="test")
    assert hear(market, *told[:1]) == ["duplicate"]


def test_a_subscription_that_is_told_of_before_its_payment_is_the_tenants(market: Market) -> None:
    context = market.context
    connecting.attach(context, market.acme, "paystack", market.subaccount(), ACT)
    own = context.of(market.acme)
    stock(context, MONTHLY.format(plan=plan_of(market)))
    stock(own, MONTHLY.format(plan=plan_of(market)))
    buy(market, own, "tool/pro", "tenants@example.com")
    (theirs,) = market.call("GET", "/subscription")
    assert hear(market, ("subscription.create", theirs)) == ["accepted ASKING"], "it names no subaccount"
    refetching.run_due(context)
    assert kept_of(context, context.master.id) == ["{}"]
    with context.database.read() as connection:
        sold = [
            licenses.list_page(connection, tenant, filters={}, after=None, limit=10)
            for tenant in (context.master.id, market.acme)
        ]
        emails = connection.execute(sa.select(customers.c.tenant_id, customers.c.email)).all()
        assert not connection.execute(sa.select(refetches.c.external_id)).all()
    assert [len(several) for several in sold] == [0, 1]
    assert emails == [(market.acme, "tenants@example.com")]
    # And of a tenant that was shredded meanwhile it is nobody's.
    buy(market, own, "tool/pro", "more@example.com")
    first, second = market.call("GET", "/subscription")
    late = first if first["subscription_code"] != theirs["subscription_code"] else second
    assert hear(market, ("subscription.create", late)) == ["accepted ASKING"]
    shredding.shred(context, "acme", confirmed="acme", by="test")
    refetching.run_due(context)
    assert kept_of(context, context.master.id) == ["{}"] * 2


def test_who_sells_with_keys_of_his_own_takes_no_others_events(market: Market) -> None:
    context, plan = market.context, plan_of(market)
    other = tenants.create(context, "Other Tools", "other", by="test").id
    for tenant in (market.acme, other):
        connecting.attach(context, tenant, "paystack", market.subaccount(), ACT)
    stock(context.of(other), CATALOG)
    sold = buy(market, context.of(other), "tool/ever", "buyer@example.com")
    own, now = context.of(market.acme), context.clock.now()
    stock(own, MONTHLY.format(plan=plan))
    with context.database.write() as connection:
        kept = {"paystack.secret_key": "sk_test_acmes_own_account"}
        credentials.keep(connection, context.vault, own.channels["paystack"].account, kept, now)
        stored_tenants.changed(connection)
    context.shops.look_again()
    mine = context.of(market.acme).channels["paystack"]
    # In an account of one's own a payment is called as one likes.
    for name in (sold, "platforms-1"):
        paid = {"reference": name, "status": "success", "amount": 500000, "currency": "NGN", "plan": plan}
        told = envelopes.enveloped("transaction", {**paid, "customer": {"customer_code": "CUS_mine"}}, now)
        (outcome,) = intake.take_in(context, [intake.arrive(mine, told, now, fetched=True)])
        assert isinstance(outcome, Outcome)
        assert outcome.outcome == "applied"
    before = kept_of(context, market.acme)
    for name in (sold, "platforms-1"):
        assert hear(market, ("refund.pending", {"transaction_reference": name})) == ["accepted ASKING"]
    assert kept_of(context, market.acme) == before
    assert [sold in body for body in kept_of(context, other)] == [True]
    assert ["platforms-1" in body for body in kept_of(context, context.master.id)] == [True]


def hear(market: Market, *told: tuple[str, dict[str, Any]]) -> list[str]:
    """What becomes of events at the platform's address."""

    async def hear_all() -> list[Outcome]:
        door = Intake(market.context)
        door.gatherer.start(asyncio.get_running_loop())
        try:
            return [await one(door, *each) for each in told]
        finally:
            door.gatherer.stop()

    async def one(door: Intake, event: str, data: dict[str, Any]) -> Outcome:
        raw = msgspec.json.encode({"event": event, "data": data})
        signature = hmac.digest(market.key.encode(), raw, "sha512").hex()
        return await door.receive("paystack", raw, {"x-paystack-signature": signature})

    found = asyncio.run(hear_all())
    return [one.outcome if one.reason is None else f"{one.outcome} {one.reason}" for one in found]


def test_a_plan_is_in_one_catalog_of_an_account(market: Market) -> None:
    context = market.context
    connecting.attach(context, market.acme, "paystack", market.subaccount(), ACT)
    own, first, second = context.of(market.acme), plan_of(market), plan_of(market)
    stock(context, MONTHLY.format(plan=first))
    stock(own, MONTHLY.format(plan=second))
    for seller, taken in ((own, first), (context, second)):
        with pytest.raises(catalog_file.CatalogRefused) as refused:
            stock(seller, MONTHLY.format(plan=taken))
        assert f"the price id {taken} is in another tenant's catalog" in refused.value.problems[0]
    stock(context, MONTHLY.format(plan=first))
    stock(context, CATALOG)
    stock(own, MONTHLY.format(plan=first))
    assert catalog.load(own) is not None
    # Nor by a shop that was stocked before it was connected.
    other = tenants.create(context, "Other Tools", "other", by="test").id
    stock(context.of(other), MONTHLY.format(plan=first))
    name = market.subaccount()
    with pytest.raises(Conflict, match="A plan there belongs to one catalog"):
        connecting.attach(context, other, "paystack", name, ACT)
    stock(context.of(other), MONTHLY.format(plan=second))
    assert connecting.attach(context, other, "paystack", name, ACT).sells
