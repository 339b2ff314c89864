"""The catalog as code, on both databases: applied twice it changes nothing, and nothing is ever deleted."""

from __future__ import annotations

import threading
from datetime import timedelta
from importlib import resources
from typing import Any

import msgspec
import pytest

from keywright.flows import catalog, catalog_file
from keywright.flows.catalog import Applied
from keywright.flows.catalog_file import Catalog, CatalogRefused
from keywright.flows.context import Context, new_id
from keywright.store import catalog_rows, tenants
from keywright.store.catalog import find_offer, plans_by_price
from keywright.store.tables import announcements, plans, prices, products
from keywright.store.tenants import Tenant
from tests.conftest import TurnableClock
from tests.life import stripe, world

# The prices of one provider are enough here.
SAMPLE = "\n".join(
    line
    for line in resources.files("keywright.cli")
    .joinpath("sample_catalog.toml")
    .read_text("utf-8")
    .splitlines()
    if 'provider = "pay' not in line
)


def read(text: str = SAMPLE, **environment: str) -> Catalog:
    return catalog_file.parse(text, source="catalog.toml", environment=environment)


def apply(context: Context, text: str = SAMPLE, **more: Any) -> Applied:
    return catalog.apply(context, read(text), **more)


def paths(done: Applied) -> list[str]:
    return [f"{change.kind} {change.path}" for change in done.changes]


def rows_of(context: Context) -> tuple[list[Any], ...]:
    tenant = context.master.id
    with context.database.read() as connection:
        return (
            [catalog_rows.ProductRow(**r) for r in connection.execute(products.select()).mappings()],
            catalog_rows.list_plans(connection, tenant),
            catalog_rows.list_prices(connection, tenant),
        )


def test_a_file_is_applied_once(context: Context) -> None:
    assert catalog.load(context) is None
    assert "added dashcaddy/pro" in paths(apply(context))
    assert catalog_file.difference(catalog.load(context), read()) == ()
    before = rows_of(context)
    assert [len(rows) for rows in before] == [1, 3, 4]
    assert apply(context).changes == ()
    assert rows_of(context) == before


def test_a_dry_run_writes_nothing(context: Context) -> None:
    assert paths(apply(context, dry_run=True)) == paths(apply(context))
    before = rows_of(context)
    changed = SAMPLE.replace("projects = 100", "projects = 200")
    assert len(apply(context, changed, dry_run=True).changes) == 2
    assert rows_of(context) == before


def versions(context: Context) -> dict[str, int]:
    return {plan.slug: plan.version for plan in rows_of(context)[1]}


def test_a_version_rises_only_with_the_terms(context: Context) -> None:
    apply(context)
    apply(context, SAMPLE.replace('"DashCaddy Pro"', '"Pro"').replace("amount = 5000,", "amount = 6000,"))
    assert versions(context) == {"pro": 1, "team": 1, "lifetime": 1}
    done = apply(context, SAMPLE.replace('offline = "7d"', 'offline = "9d"'))
    assert "changed dashcaddy/pro.offline" in paths(done)
    assert versions(context) == {"pro": 2, "team": 1, "lifetime": 1}
    with context.database.read() as connection:
        offer = find_offer(connection, context.master.id, "dashcaddy", "pro")
    assert offer is not None
    assert (offer.plan.name, offer.plan.terms.offline, offer.prices[0].amount) == (
        "DashCaddy Pro", 9 * 86400, 5000,
    )  # fmt: skip


def without_plan(text: str, slug: str) -> str:
    blocks = text.split("[[product.plan]]")
    return "[[product.plan]]".join(block for block in blocks if f'slug = "{slug}"' not in block)


def test_what_is_gone_is_retired_and_still_means_what_it_meant(context: Context) -> None:
    apply(context)
    done = apply(context, without_plan(SAMPLE, "pro"))
    assert "removed dashcaddy/pro" in paths(done)
    with context.database.read() as connection:
        assert find_offer(connection, context.master.id, "dashcaddy", "pro") is None
        still = plans_by_price(connection, context.master.id, "stripe", ["price_demo_pro_monthly"])
    assert still["price_demo_pro_monthly"].slug == "pro"
    before = {plan.slug: plan.id for plan in rows_of(context)[1]}
    assert "added dashcaddy/pro" in paths(apply(context))
    assert {plan.slug: plan.id for plan in rows_of(context)[1]} == before
    assert not any(row.retired for rows in rows_of(context) for row in rows)


def test_a_product_that_is_gone_takes_its_plans_along(context: Context) -> None:
    apply(context)
    other = SAMPLE.replace('slug = "dashcaddy"', 'slug = "other"').replace("price_demo", "price_other")
    apply(context, other)
    gone = {row.slug: row.retired for row in rows_of(context)[0]}
    assert gone == {"dashcaddy": True, "other": False}
    assert [row.retired for row in rows_of(context)[1]].count(True) == 3


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("code = 1\nbaseline", "code = 9\nbaseline", "dashcaddy: code is 1 and never changes"),
        ("code = 1\nbaseline", "baseline", "dashcaddy: code is 1 and never changes"),
        ("code = 2", "code = 9", "dashcaddy/team: code is 2 and never changes"),
        ('offline = "7d"', 'offline = "7d"\nprofile = "hmac"', "dashcaddy/pro: profile"),
    ],
)
def test_what_this_release_cannot_keep_is_refused(context: Context, old: str, new: str, told: str) -> None:
    apply(context)
    before = rows_of(context)
    assert old in SAMPLE
    for dry_run in (True, False):
        with pytest.raises(CatalogRefused, match=told):
            apply(context, SAMPLE.replace(old, new), dry_run=dry_run)
    assert rows_of(context) == before


@pytest.mark.parametrize("provider", ["paystack", "paypal"])
def test_a_one_off_price_without_an_id_is_known_again(context: Context, provider: str) -> None:
    """Two plans of one provider may both have one: neither takes the other's row."""
    lifetime = 'provider = "stripe", id = "price_demo_lifetime"'
    assert lifetime in SAMPLE
    wanted = SAMPLE.replace(lifetime, f'provider = "{provider}"')
    apply(context, wanted)
    before = rows_of(context)
    assert apply(context, wanted).changes == ()
    assert rows_of(context) == before
    dearer = wanted.replace(f'provider = "{provider}", amount = ', f'provider = "{provider}", amount = 1')
    assert dearer != wanted
    assert len(apply(context, dearer).changes) > 0
    assert {row.id for row in rows_of(context)[2]} == {row.id for row in before[2]}


def test_a_code_may_be_given_later(context: Context) -> None:
    apply(context, SAMPLE.replace("code = 1\nbaseline", "baseline"))
    assert paths(apply(context)) == ["added dashcaddy.code"]


def test_new_prices_set_parked_events_free(context: Context, clock: TurnableClock) -> None:
    start = clock.now()
    made = stripe.subscription("sub_1", start, start + timedelta(days=30), price="price_demo_pro_monthly")
    event = stripe.event("customer.subscription.created", made, start)
    assert world.outcome(context, event) == "parked PRICE_UNMAPPED"
    assert apply(context, dry_run=True).released == 0
    assert world.all_licenses(context) == []
    assert apply(context).released == 1
    assert world.the_license(context).seats == 1
    assert world.count(context, announcements) == 1
    assert apply(context).released == 0


def test_an_event_that_raises_does_not_keep_the_catalog(
    context: Context, clock: TurnableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = clock.now()
    made = stripe.subscription("sub_1", start, start + timedelta(days=30), price="price_demo_pro_monthly")
    world.outcome(context, stripe.event("customer.subscription.created", made, start))

    def raises(*_: object, **__: object) -> int:
        raise ValueError("a bad event")

    monkeypatch.setattr("keywright.flows.intake.release", raises)
    assert apply(context).released == 0
    assert catalog_file.difference(catalog.load(context), read()) == ()
    assert world.all_licenses(context) == []


def test_a_price_may_move_to_another_plan(context: Context) -> None:
    apply(context)
    moved = without_plan(SAMPLE, "team").replace("price_demo_pro_monthly", "price_demo_keys")
    apply(context, moved)
    with context.database.read() as connection:
        found = plans_by_price(connection, context.master.id, "stripe", ["price_demo_keys"])
    assert found["price_demo_keys"].slug == "pro"
    assert len(rows_of(context)[2]) == 4


def test_tenants_have_catalogs_of_their_own(context: Context) -> None:
    apply(context)
    other = Tenant(new_id("ten"), "other", "Other")
    with context.database.write() as connection:
        tenants.insert(connection, other, context.clock.now())
    assert catalog.load(context, other) is None
    apply(context, tenant=other)
    apply(context, without_plan(SAMPLE, "pro"), tenant=other)
    assert catalog_file.difference(catalog.load(context), read()) == ()


def test_two_editors_take_turns(context: Context) -> None:
    done: list[Applied] = []
    editors = [threading.Thread(target=lambda: done.append(apply(context))) for _ in range(4)]
    for editor in editors:
        editor.start()
    for editor in editors:
        editor.join()
    assert sorted(len(one.changes) > 0 for one in done) == [False, False, False, True]
    assert (world.count(context, plans), world.count(context, prices)) == (3, 4)


def test_every_member_survives_the_database(context: Context) -> None:
    text = SAMPLE.replace(
        "baseline = { entitlements = [], limits = { projects = 3 } }",
        'baseline = { entitlements = ["a", "b"], limits = { projects = 3, users = 1 } }',
    )
    assert text != SAMPLE
    apply(context, text)
    stored, wanted = catalog.load(context), read(text)
    assert stored is not None
    assert msgspec.to_builtins(stored.products[0].baseline) == msgspec.to_builtins(
        wanted.products[0].baseline
    )
    assert {p.slug: p.terms for p in stored.products[0].plans} == {
        p.slug: p.terms for p in wanted.products[0].plans
    }
