"""What a tenant may not do to the platform, nor the platform's settings to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
import sqlalchemy as sa

from keywright.flows import catalog, catalog_file, credentials, replay
from keywright.flows import tenants as sellers
from keywright.store import connected, tenants
from keywright.store.tables import inbox
from keywright.store.tenants import get_account
from tests.conftest import SECRET, Prepared, copy_of
from tests.life import stripe
from tests.life.connected import Town


@pytest.fixture(scope="module")
def town(prepared_sqlite: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with ExitStack() as stack:
        yield Town(copy_of(prepared_sqlite, tmp_path_factory.mktemp("town")), stack)


def test_a_tenant_tells_of_no_fee(town: Town) -> None:
    """It has an address and a secret of its own, so it can sign what it likes."""
    acme, context, secret = town.tenant(), town.context, "whsec_of_a_tenant"
    now = context.clock.now()
    given = {"stripe.webhook_secret": secret, "stripe.secret_key": "sk_test_of_a_tenant"}
    with context.database.write() as connection:
        account = get_account(
            connection, acme.id, "stripe", live=False, new_id=context.new_id("pac"), now=now
        )
        credentials.keep(connection, context.vault, account, given, now)
        tenants.changed(connection)
    context.shops.look_again()
    fee = {
        "id": "fee_forged",
        "object": "application_fee",
        "account": "acct_forged",
        "amount": 99_999_999,
        "amount_refunded": 0,
        "currency": "usd",
        "charge": "ch_1",
        "created": stripe.stamp(town.now()),
    }
    raw = stripe.encoded(stripe.event("application_fee.created", fee, town.now(), id_="evt_forged"))
    signed = stripe.signed(raw, secret, town.now())
    answer = town.http.post(f"/api/webhooks/stripe/{account.id}", content=raw, headers=signed)
    assert answer.status_code == 200, answer.text
    assert town.fees("acct_forged") == (0, 0)


def test_a_tenants_buyers_come_back_to_its_own_pages(town: Town) -> None:
    acme = town.tenant()
    town.connect(acme)
    town.buy(acme, "tool/pro")
    change = sellers.Change(return_origins=("https://tools.example",))
    sellers.change(town.context, acme.id, change, by="test")
    path = f"/api/admin/licenses/{town.license(acme).id}/portal"
    answers = [
        town.http.post(path, json={"return_url": url}, headers=town.token(acme)).status_code
        for url in ("https://tools.example/back", "https://other.example/back")
    ]
    assert answers == [200, 422]


def test_an_event_at_the_wrong_address_is_applied_at_the_right_one(town: Town) -> None:
    """Whoever makes the Connect endpoint by hand may have it hear the platform's own events as well."""
    context = town.context
    product = "[[product]]\nslug = 'own'\nname = 'Own'\nkey_prefix = 'OW'\n"
    plan = "[[product.plan]]\nslug = 'pro'\nname = 'Pro'\n"
    price = "[[product.plan.prices]]\nkey = 'm'\nprovider = 'stripe'\nid = 'price_own'\namount = 5000\n"
    text = f"{product}{plan}{price}currency = 'USD'\ninterval = 'month'\n"
    catalog.apply(context, catalog_file.parse(text, source="test", environment={}))
    now = town.now()
    bought = stripe.subscription("sub_own", now, now + timedelta(days=30), price="price_own")
    told = stripe.event("customer.subscription.created", bought, now, id_="evt_own")
    assert town.post(told)["reason"] == "WRONG_ACCOUNT"
    raw = stripe.encoded(told)
    answer = town.http.post(
        "/api/webhooks/stripe", content=raw, headers=stripe.signed(raw, SECRET, town.now())
    )
    assert answer.json()["outcome"] == "applied"


def test_what_a_connected_account_takes_of_others_is_no_fee_of_the_platform(town: Town) -> None:
    acme = town.tenant()
    account = town.connect(acme)
    fee = {
        "id": "fee_theirs",
        "object": "application_fee",
        "account": "acct_their_customer",
        "amount": 4321,
        "amount_refunded": 0,
        "currency": "usd",
        "charge": "ch_1",
        "created": stripe.stamp(town.now()),
    }
    told = stripe.event("application_fee.created", fee, town.now(), id_="evt_theirs")
    assert town.post({**told, "account": account})["outcome"] == "ignored"
    assert town.fees("acct_their_customer") == (0, 0)


def test_an_account_that_left_is_known_to_have_left_at_the_second_try_too(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, context = town.tenant(), town.context
    account = town.connect(acme)
    application = {"id": "ca_1", "object": "application", "name": "Platform"}
    told = stripe.event("account.application.deauthorized", application, town.now(), id_="evt_left")
    with monkeypatch.context() as patch:
        patch.setattr(connected, "leave", fail)
        assert town.post({**told, "account": account})["reason"] == "FAILED"
    with context.database.read() as connection:
        kept = connection.execute(sa.select(inbox.c.id).where(inbox.c.dedupe_key == "evt_left")).scalar_one()
    assert replay.attempt(context, kept).outcome == "applied"
    assert town.standing(acme).left_at is not None


def fail(*_: object) -> bool:
    raise RuntimeError
