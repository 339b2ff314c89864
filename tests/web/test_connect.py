"""Tenants that sell through accounts connected to the platform's, over real HTTP from the shop to Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from keywright.domain.fee import FeeRule, Fixed
from keywright.flows import billing, connecting, shredding
from keywright.store import tenants
from keywright.store.tables import inbox, licenses, provider_accounts, purchases
from keywright.store.tenants import get_account
from tests.conftest import Prepared, copy_of, new_postgresql
from tests.life import stripe, world
from tests.life.connected import ACT, Town

# Sales, refunds, leaving and renewals are told on both databases. What the rest asks of one is among that.
only_sqlite = pytest.mark.parametrize("town", ["sqlite"], indirect=True)

TENTH = FeeRule(1000)
WITH_FIXED = FeeRule(1000, {"USD": Fixed(50)})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def town(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    original: Prepared = request.getfixturevalue(f"prepared_{request.param}")
    prepared = copy_of(original, folder)
    if request.param == "postgresql":
        name = str(sa.make_url(original.url).database)
        prepared = Prepared(new_postgresql(request.getfixturevalue("postgresql"), name), folder)
    with ExitStack() as stack:
        yield Town(prepared, stack)


# -- onboarding -----------------------------------------------------------------------------------------


@only_sqlite
def test_onboarding_goes_on_where_it_was_cut_off(town: Town) -> None:
    acme = town.tenant()
    context = town.context
    platform = context.channels["stripe"]
    assert platform.connect is not None
    # Killed right after Stripe made the account, before anything of it was written.
    with context.database.write() as connection:
        account = get_account(
            connection, acme.id, "stripe", live=False, new_id="pac_killed", now=context.clock.now()
        )
    before = len(town.stripe("GET", "accounts")["data"])
    made = platform.connect.create(None, acme.id, account.id)
    first = town.start(acme)
    assert town.standing(acme).account.external_id == made
    assert len(town.stripe("GET", "accounts")["data"]) == before + 1
    # The page opens once: who comes again is sent back, and goes on with a new one.
    assert town.hand_in(first, "partly").headers["location"].endswith("/console/settings/connect")
    assert town.levers.get(first).headers["location"].endswith("?done=again")
    town.settle()
    half = town.standing(acme)
    assert (half.sells, half.submitted, "external_account" in half.due) == (False, True, True)
    assert context.of(acme.id).channels["stripe"].is_open is False
    town.hand_in(town.start(acme))
    town.settle()
    assert town.standing(acme).sells
    assert context.of(acme.id).channels["stripe"].is_open
    assert len(town.stripe("GET", "accounts")["data"]) == before + 1
    assert len(town.stripe("GET", "webhook_endpoints")["data"]) == 2  # one for all accounts, made once


@only_sqlite
def test_what_the_provider_says_holds_and_not_that_somebody_came_back(town: Town) -> None:
    acme = town.tenant()
    url = town.start(acme)
    town.lever("switches", loss=1)  # no event arrives
    town.hand_in(url, "nothing")
    assert not connecting.look(town.context, acme.id, "stripe").sells
    town.hand_in(town.start(acme))
    assert not town.standing(acme).sells
    assert connecting.look(town.context, acme.id, "stripe").sells
    town.lever("switches", loss=0)


# -- sales ----------------------------------------------------------------------------------------------


def test_a_sale_is_the_tenants_and_the_fee_the_platforms(town: Town) -> None:
    acme, other_tenant = town.tenant(), town.tenant()
    account = town.connect(acme, WITH_FIXED)
    town.connect(other_tenant, TENTH)
    paid = town.buy(acme, "tool/ever")
    (charge,) = town.stripe("GET", "charges", account)["data"]
    assert (charge["payment_intent"], charge["application_fee_amount"]) == (paid["payment_intent"], 1040)
    assert town.stripe("GET", "charges")["data"] == []
    assert town.fees(account) == (1040, 0)
    held = town.license(acme)
    assert (held.tenant_id, town.licenses(other_tenant)) == (acme.id, [])
    with town.context.database.read() as connection:
        for table in (licenses, purchases):
            owners = {row.tenant_id for row in connection.execute(table.select())}
            assert acme.id in owners
            assert not owners & {town.context.master.id, other_tenant.id}
    mine, theirs, masters = (town.token(one) for one in (acme, other_tenant, town.context.master))
    assert len(town.http.get("/api/admin/licenses", headers=mine).json()["items"]) == 1
    for token in (theirs, masters):
        assert town.http.get("/api/admin/licenses", headers=token).json()["items"] == []
        assert town.http.get(f"/api/admin/licenses/{held.id}", headers=token).status_code == 404
        events = town.http.get("/api/admin/events", headers=token).json()["items"]
        assert {one["type"] for one in events} <= {"account.updated", "application_fee.created"}
    assert town.http.get(f"/api/admin/tenants/{acme.id}/connect", headers=mine).status_code == 403


@pytest.mark.parametrize(
    ("on_refund", "half", "whole"), [("give_back", 495, 990), ("keep", 0, 0)], ids=["given back", "kept"]
)
def test_a_refund_takes_the_fee_along_by_policy(town: Town, on_refund: str, half: int, whole: int) -> None:
    acme = town.tenant()
    rule = FeeRule(1000, {}, "keep" if on_refund == "keep" else "give_back")
    account = town.connect(acme, rule)
    town.buy(acme, "tool/ever")
    context, held = town.context.of(acme.id), town.license(acme)
    billing.refund(context, acme.id, held.id, ACT, amount=4950)
    town.settle()
    assert town.fees(account) == (990, half)
    billing.refund(context, acme.id, held.id, ACT)
    town.settle()
    assert town.fees(account) == (990, whole)
    assert town.license(acme).lost_until is not None


# -- events ---------------------------------------------------------------------------------------------


@only_sqlite
def test_the_envelope_alone_says_whose_an_event_is(town: Town) -> None:
    acme, other_tenant = town.tenant(), town.tenant()
    account, other = town.connect(acme), town.connect(other_tenant)
    town.buy(acme, "tool/pro")
    held = town.license(acme)
    (bought,) = town.stripe("GET", "subscriptions", account)["data"]
    now = town.now()
    gone = stripe.subscription(
        bought["id"],
        now,
        now,
        status="canceled",
        price=bought["items"]["data"][0]["price"]["id"],
        ended_at=stripe.stamp(now),
    )
    ended = stripe.event("customer.subscription.deleted", {**gone, "metadata": {"tenant_id": acme.id}}, now)
    ignored = {"received": True, "outcome": "ignored", "reason": "WRONG_ACCOUNT"}
    assert town.post({**ended, "id": "evt_none"}) == ignored
    assert town.post({**ended, "id": "evt_alien", "account": "acct_1Unknown"}) == ignored
    # Of the other tenant's account: its subscription of that name is another one, and waits.
    assert town.post({**ended, "id": "evt_other", "account": other})["outcome"] == "parked"
    assert town.license(acme) == held
    live = {**ended, "id": "evt_live", "account": account, "livemode": True}
    assert town.post(live) == {"received": True, "outcome": "ignored", "reason": "WRONG_MODE"}
    forged = town.http.post(connecting.CONNECT_PATH, content=b"{}", headers={"stripe-signature": "t=1,v1=00"})
    assert (forged.status_code, forged.json()["code"]) == (400, "BAD_SIGNATURE")
    own = f"/api/webhooks/stripe/{town.standing(acme).account.id}"
    assert town.post({**ended, "account": account}, own)["code"] == "BAD_SIGNATURE"
    assert town.post({**ended, "account": account}, "/api/webhooks/stripe")["code"] == "BAD_SIGNATURE"
    assert town.license(acme) == held
    assert town.post({**ended, "account": account})["outcome"] == "applied"


@only_sqlite
def test_of_an_account_whose_tenant_was_shredded_no_buyer_is_kept(town: Town) -> None:
    acme = town.tenant()
    account = town.connect(acme)
    town.buy(acme, "tool/pro")
    (invoice,) = town.stripe("GET", "invoices", account)["data"]
    shredding.shred(town.context, acme.slug, confirmed=acme.slug, by="test")
    paid = {**stripe.event("invoice.paid", invoice, town.now()), "id": "evt_shredded", "account": account}
    assert town.post(paid)["reason"] == "WRONG_ACCOUNT"
    with town.context.database.read() as connection:
        noted = connection.execute(inbox.select().where(inbox.c.dedupe_key.contains("evt_shredded"))).one()
    assert (noted.tenant_id, noted.type, noted.body) == (town.context.master.id, "invoice.paid", "{}")
    assert town.post(paid)["outcome"] == "duplicate"


@only_sqlite
def test_a_test_event_at_a_live_account_changes_nothing(town: Town) -> None:
    acme = town.tenant()
    account = town.connect(acme)
    kept, mine = world.count(town.context, inbox), town.standing(acme).account.id
    with town.context.database.write() as connection:
        changed = provider_accounts.update().where(provider_accounts.c.id == mine)
        connection.execute(changed.values(live=True))
        tenants.changed(connection)
    town.context.shops.look_again()
    standing = {"id": account, "object": "account", "charges_enabled": False, "details_submitted": True}
    event = stripe.event("account.updated", standing, town.now())
    assert town.post({**event, "account": account})["reason"] == "WRONG_MODE"
    assert town.standing(acme).sells
    assert world.count(town.context, inbox) == kept + 1


def test_an_account_that_leaves_sells_no_more_and_licenses_stay(town: Town) -> None:
    acme = town.tenant()
    account = town.connect(acme, TENTH)
    town.buy(acme, "tool/pro")
    held = town.license(acme)
    town.lever(f"stripe/accounts/{account}/deauthorize")
    town.settle()
    assert town.standing(acme).left_at is not None
    refused = town.order(acme, "tool/pro")
    assert (refused.status_code, refused.json()["code"]) == (422, "PRICE_UNKNOWN")
    assert town.license(acme) == held
    shown = town.http.get(f"/t/{acme.slug}/api/public/config").json()
    assert shown["providers"] == []
    # Connecting anew makes another account, and what was sold before stays.
    town.hand_in(town.start(acme))
    town.settle()
    now = town.standing(acme)
    assert now.sells
    assert now.account.external_id != account
    assert town.license(acme) == held


@only_sqlite
def test_an_account_that_may_not_charge_goes_on_with_what_it_sold(town: Town) -> None:
    acme = town.tenant()
    account = town.connect(acme, TENTH)
    paid = town.buy(acme, "tool/ever")
    town.lever(f"stripe/accounts/{account}/requirements", due=["external_account"])
    town.settle()
    assert town.order(acme, "tool/ever").status_code == 422
    billing.refund(town.context.of(acme.id), acme.id, town.license(acme).id, ACT)
    town.settle()
    (charge,) = town.stripe("GET", "charges", account)["data"]
    assert (charge["payment_intent"], charge["refunded"]) == (paid["payment_intent"], True)
    town.lever(f"stripe/accounts/{account}/requirements", due=[])
    town.settle()
    assert town.order(acme, "tool/ever").status_code == 201


# -- time: the last, for the clock stays turned ----------------------------------------------------------


def test_renewals_pay_the_fee_too(town: Town) -> None:
    acme = town.tenant()
    account = town.connect(acme, WITH_FIXED)
    paid = town.buy(acme, "tool/pro")
    # A tenth of 50 USD and 50 cents are 11 % of it.
    seen = town.stripe("GET", f"subscriptions/{paid['subscription']}", account)
    assert seen["application_fee_percent"] == 11
    first = town.license(acme).entitled_until
    town.lever("clock/advance", seconds=32 * 86_400)
    town.settle()
    seen = town.stripe("GET", "application_fees", limit="100")["data"]
    assert [fee["amount"] for fee in seen if fee["account"] == account] == [550, 550]
    assert town.fees(account) == (1100, 0)
    renewed = town.license(acme).entitled_until
    assert renewed is not None
    assert first is not None
    assert renewed > first
