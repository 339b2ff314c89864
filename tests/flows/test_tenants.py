"""Several sellers on one installation: made, kept apart, and each served with what is its own."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from keywright.domain.errors import Conflict, Forbidden, Invalid, NotFound
from keywright.domain.facts import Refetch
from keywright.domain.plan import Terms
from keywright.flows import credentials, intake, provider_desk, reconcile, refetching, replay, tenants
from keywright.flows.context import Channel, Context
from keywright.flows.provider_checks import account_of
from keywright.flows.tenants import Change, TenantSeen
from keywright.store import licenses, refetches
from keywright.store import tenants as rows
from keywright.store.operating_tables import audit
from keywright.store.tables import inbox as inbox_table
from tests.conftest import TurnableClock
from tests.life import stripe, world

MONTH = timedelta(days=30)


def made(context: Context, slug: str = "acme", name: str = "Acme Tools") -> TenantSeen:
    return tenants.create(context, name, slug, f"hello@{slug}.example", by="test", why="a customer")


def account_at_stripe(context: Context, tenant: str, key: str = "sk_test_acme", secret: str = "") -> Channel:
    """The tenant's own account, with its key and webhook secret in the vault."""
    own = context.of(tenant)
    account = account_of(own, own.doors["stripe"].typed((key,)))
    kept = {"stripe.secret_key": key, "stripe.webhook_secret": secret or f"whsec_{tenant}"}
    with context.database.write() as connection:
        credentials.keep(connection, context.vault, account, kept, context.clock.now())
        rows.changed(connection)
    context.shops.look_again()
    return context.of(tenant).channels["stripe"]


def sold(context: Context, sub: str, price: str) -> stripe.Json:
    now = context.clock.now()
    subscription = stripe.subscription(sub, now, now + MONTH, price=price)
    return stripe.event("customer.subscription.created", subscription, now)


def stock(context: Context, tenant: str, price: str) -> None:
    """One plan under this price, for a tenant."""
    world.stock_for(context, tenant, **{price: Terms()})


def test_a_tenant_is_made_with_keys_of_its_own(context: Context) -> None:
    acme = made(context)
    assert (acme.slug, acme.base_url) == ("acme", "http://127.0.0.1:8000/t/acme")
    assert not acme.is_master
    kids = {key["kid"] for key in context.signer.key_set(acme.id)["keys"]}
    ours = {key["kid"] for key in context.signer.key_set(context.master.id)["keys"]}
    assert kids
    assert kids & ours == set()
    sealed = context.vault.seal(acme.id, "license-key", "lic_1", "secret")
    assert context.vault.unseal(acme.id, "license-key", "lic_1", sealed) == "secret"
    with context.database.read() as connection:
        acts = connection.execute(audit.select().where(audit.c.act == "tenant.created")).mappings().all()
    assert [(row["tenant_id"], row["subject"]) for row in acts] == [(context.master.id, acme.id)]


@pytest.mark.parametrize(
    ("name", "slug", "email"),
    [
        ("Acme", "Acme", None),
        ("Acme", "-acme", None),
        ("Acme", "ac_me", None),
        ("Acme", "a" * 49, None),
        ("  ", "acme", None),
        ("Acme", "acme", "nobody"),
    ],
)
def test_what_no_tenant_can_be_called_is_refused(
    context: Context, name: str, slug: str, email: str | None
) -> None:
    with pytest.raises(Invalid):
        tenants.create(context, name, slug, email, by="test")
    assert len(tenants.list_page(context).items) == 1


def test_a_slug_is_given_once(context: Context) -> None:
    made(context)
    with pytest.raises(Conflict, match="this slug"):
        made(context, name="Another")
    assert [one.name for one in tenants.list_page(context, text="ACME").items] == ["Acme Tools"]


def test_tenants_are_listed_page_by_page_and_changed(context: Context) -> None:
    several = [made(context, f"shop-{number}", f"Shop {number}").id for number in range(3)]
    page = tenants.list_page(context, limit=2)
    rest = tenants.list_page(context, limit=2, cursor=page.next_cursor)
    assert [one.id for one in (*page.items, *rest.items)] == [*reversed(several), context.master.id]
    change = Change(name="Shop zero", website_origins=("https://Shop.example/",))
    assert tenants.changed_by(context, "shop-0", change) == [
        ("name", "Shop 0", "Shop zero"),
        ("website_origins", "", "https://shop.example"),
    ]
    assert tenants.change(context, "shop-0", change, by="test").name == "Shop zero"
    own = context.of(several[0])
    assert (own.tenant.name, own.policy.website_origins) == ("Shop zero", ("https://shop.example",))
    with pytest.raises(Forbidden):
        tenants.change(context, context.master.id, change, by="test")
    with pytest.raises(NotFound):
        tenants.show(context, "nobody")


def test_each_tenant_is_served_with_its_own(context: Context) -> None:
    acme = made(context)
    assert context.of(context.master.id) is context
    own = context.of(acme.id)
    assert (own.tenant.id, own.base_url) == (acme.id, "http://127.0.0.1:8000/t/acme")
    assert own.of(context.master.id).channels == context.channels
    assert (own.channels, own.policy.publishable_keys) == ({}, {})
    assert own.of(acme.id) is own
    channel = account_at_stripe(context, acme.id)
    assert own.of(acme.id) is not own, "what was kept from before a change is out of date"
    assert own.of(acme.id).channels["stripe"] is channel
    assert context.find_channel(channel.account.id) is channel
    assert context.find_channel(context.channels["stripe"].account.id) is context.channels["stripe"]
    assert context.find_channel("pac_nobody") is None
    assert channel.secrets == (f"whsec_{acme.id}",), "nothing of the environment"
    with pytest.raises(NotFound):
        context.of("ten_nobody")


def test_credentials_that_do_not_open_leave_the_rest_of_the_shop(context: Context) -> None:
    acme = made(context)
    own = context.of(acme.id)
    account = account_of(own, own.doors["stripe"].typed(("sk_test_1",)))
    with context.database.write() as connection:
        credentials.keep(
            connection, context.vault, account, {"stripe.secret_key": "sk_live_1"}, context.clock.now()
        )
        rows.changed(connection)
    context.shops.look_again()
    account_at_stripe(context, acme.id)
    (stripe_, *_) = provider_desk.list_standings(context, acme.id)
    assert (stripe_.provider, stripe_.restart, stripe_.environment) == ("stripe", False, [])
    assert stripe_.webhook.endswith(f"/api/webhooks/stripe/{account.id}")


def test_one_batch_of_two_tenants_lands_at_each_of_them(context: Context, clock: TurnableClock) -> None:
    """The same customer at both providers' accounts: each event belongs to the tenant of its account."""
    acme = made(context)
    stock(context, context.master.id, "price_pro")
    stock(context, acme.id, "price_pro")
    ours, theirs = context.channels["stripe"], account_at_stripe(context, acme.id)
    events = [stripe.encoded(sold(context, sub, "price_pro")) for sub in ("sub_1", "sub_2")]
    now = clock.now()
    both = [intake.arrive(one, event, now) for one, event in zip((ours, theirs), events, strict=True)]
    outcomes = intake.take_in(context, both)
    assert [getattr(one, "outcome", one) for one in outcomes] == ["applied", "applied"]
    for tenant in (context.master.id, acme.id):
        with context.database.read() as connection:
            (held,) = licenses.list_page(connection, tenant, filters={}, after=None, limit=10)
        assert context.vault.unseal(tenant, "license-key", held.id, held.key_sealed)
        assert held.product_id == f"pro_{tenant}"
    with context.database.read() as connection:
        owners = connection.execute(inbox_table.select().with_only_columns(inbox_table.c.tenant_id)).scalars()
        assert sorted(owners) == sorted([context.master.id, acme.id])


def test_an_event_is_parked_for_the_prices_of_its_own_tenant(context: Context) -> None:
    acme = made(context)
    stock(context, context.master.id, "price_pro")
    theirs = account_at_stripe(context, acme.id)
    raw = stripe.encoded(sold(context, "sub_1", "price_pro"))
    (outcome,) = intake.take_in(context, [intake.arrive(theirs, raw, context.clock.now())])
    assert getattr(outcome, "reason", None) == "PRICE_UNMAPPED", "the master tenant's catalog is not theirs"
    stock(context, acme.id, "price_pro")
    with context.database.read() as connection:
        (id_,) = connection.execute(inbox_table.select().with_only_columns(inbox_table.c.id)).scalars()
    assert replay.attempt(context, id_).outcome == "applied"
    assert world.all_licenses(context) == []


def test_what_is_due_is_looked_at_for_every_tenant(context: Context, clock: TurnableClock) -> None:
    acme = made(context)
    stock(context, acme.id, "price_pro")
    theirs = account_at_stripe(context, acme.id)
    clock.turn(hours=1)
    with context.database.write() as connection:
        wanted = [Refetch("subscription", "sub_1")]
        refetches.want(connection, acme.id, theirs.account.id, wanted, clock.now(), due=clock.now())
    refetching.owe_stranded(context)
    with context.database.read() as connection:
        assert refetches.accounts_due(connection, clock.now()) == [theirs.account.id]
    raw = stripe.encoded(sold(context, "sub_2", "price_other"))
    intake.take_in(context, [intake.arrive(theirs, raw, clock.now())])
    clock.turn(hours=1)
    assert replay.retry_due(context) == 1


def test_a_comparison_is_of_the_accounts_of_who_asks(context: Context) -> None:
    acme = made(context)
    with pytest.raises(NotFound):
        reconcile.enqueue(context, reconcile.Wish("stripe", tenant=acme.id))
    account_at_stripe(context, acme.id)
    assert reconcile.enqueue(context, reconcile.Wish("stripe", tenant=acme.id)).startswith("reconcile-")
    told = msgspec.json.decode(
        msgspec.json.encode(reconcile.Wish("stripe", tenant=acme.id)), type=reconcile.Wish
    )
    assert told.tenant == acme.id
