"""Firms that bought before their seller came here: an import finds the tenants they are, by their address."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from keywright.flows import import_views, provisioning, tenants
from keywright.flows.context import Context
from keywright.flows.import_tenants import Buyer, Matches
from keywright.sandbox.app import SandboxServer
from keywright.store import audit
from keywright.store.provisioning_tables import tenant_customers
from tests.conftest import Prepared
from tests.life import moving, world
from tests.life.seat_shop import Firm, SeatShop, selling


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeatShop]:
    with SandboxServer(data_dir=tmp_path_factory.mktemp("sandbox"), seed=3) as server:
        yield SeatShop(server)


@pytest.fixture
def context(prepared: Prepared, shop: SeatShop) -> Iterator[Context]:
    with selling(prepared, shop) as built:
        yield built


def tenant(context: Context, firm: Firm, slug: str | None = None) -> str:
    """One with the address of the firm."""
    made = tenants.create(context, firm.name, slug or f"firm-{firm.quantity}", firm.email.upper(), by="test")
    return made.id


def licensed(context: Context, id_: str) -> int | None:
    return tenants.show(context, id_).licensed_user_count


def mapped(context: Context) -> dict[str, str]:
    return {row["external_id"]: row["customer_tenant_id"] for row in moving.every(context, tenant_customers)}


def reasons(context: Context, run: str) -> dict[str, str]:
    shown = import_views.list_conflicts(context, context.tenant.id, run)
    return {one.object: one.reason for one in shown.items if one.kind == "tenant-unclear"}


def test_a_subscription_is_the_tenants_whose_address_bought_it(context: Context, shop: SeatShop) -> None:
    firm, stranger = shop.sell(1, 3), shop.sell(2, 5)
    acme = tenant(context, firm)
    dry = moving.bring(context, "stripe", dry_run=True)
    assert (moving.counts_of(dry).tenants, licensed(context, acme)) == (1, None)
    run = moving.bring(context, "stripe")
    assert moving.counts_of(run).tenants == 1
    assert licensed(context, acme) == 3
    assert mapped(context) == {firm.customer: acme}
    assert stranger.customer not in mapped(context)
    with context.database.read() as connection:
        written = audit.list_page(connection, context.master.id, filters={}, before=None, limit=100)
    assert [one.subject for one in written if one.act == "tenant.customer_matched"] == [acme]
    first = moving.everything(context)
    again = moving.bring(context, "stripe")
    assert moving.everything(context) == first, "a second run writes nothing"
    assert moving.counts_of(again).tenants == 0
    # From now on it follows the subscription, as one that a shop had asked for.
    shop.told()
    shop.change(firm, 7)
    shop.deliver(context)
    assert licensed(context, acme) == 7


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_an_address_of_two_tenants_is_told_and_mended_by_the_next_run(
    context: Context, shop: SeatShop
) -> None:
    firm = shop.sell(1, 4)
    one, two = tenant(context, firm, "one"), tenant(context, firm, "two")
    run = moving.bring(context, "stripe")
    assert reasons(context, run.id) == {firm.customer: "2 tenants have its e-mail address"}
    assert (moving.counts_of(run).made, mapped(context)) == (1, {})
    assert {licensed(context, one), licensed(context, two)} == {None}
    tenants.change(context, two, tenants.Change(email="another@firm1.example"), by="test")
    later = moving.bring(context, "stripe")
    assert (reasons(context, later.id), mapped(context)) == ({}, {firm.customer: one})
    assert (licensed(context, one), moving.counts_of(later).made) == (4, 0)


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_what_metadata_say_of_another_tenant_is_never_overruled(context: Context, shop: SeatShop) -> None:
    bait = shop.sell(1, 2)
    other = tenant(context, bait, "other")
    firm = shop.sell(2, 6, tenant_id=other)
    acme = tenant(context, firm, "acme")
    run = moving.bring(context, "stripe")
    assert list(reasons(context, run.id)) == [firm.customer]
    assert moving.conflicts_of(context, run)["tenant-not-believed"] == [firm.subscription]
    assert mapped(context) == {bait.customer: other}
    assert (licensed(context, other), licensed(context, acme)) == (2, None)


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_metadata_and_address_that_agree_are_believed(context: Context, shop: SeatShop) -> None:
    probe = shop.sell(1, 2)
    acme = tenant(context, probe, "acme")
    shop.sdk.v1.subscriptions.update(probe.subscription, {"metadata": {"tenant_id": acme}})
    run = moving.bring(context, "stripe")
    assert moving.conflicts_of(context, run) == {}
    assert (licensed(context, acme), mapped(context)) == (2, {probe.customer: acme})


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_a_customer_who_is_a_tenant_already_stays_that_one(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(1, 3)
    first = tenant(context, firm, "first")
    moving.bring(context, "stripe")
    tenants.change(context, first, tenants.Change(email="moved@firm1.example"), by="test")
    second = tenant(context, firm, "second")
    run = moving.bring(context, "stripe")
    assert list(reasons(context, run.id)) == [firm.customer]
    assert mapped(context) == {firm.customer: first}
    assert (licensed(context, first), licensed(context, second)) == (3, None)


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_nobody_but_the_master_tenants_customers_are_tenants(context: Context, shop: SeatShop) -> None:
    """Another seller's buyer may have a tenant's address, and learns nothing, and gives nothing, by it."""
    firm = shop.sell(1, 3)
    acme, other = tenant(context, firm, "acme"), tenant(context, firm, "other")
    tenants.change(context, other, tenants.Change(email="other@example.com"), by="test")
    account, now = context.channels["stripe"].account, context.clock.now()
    buyers = [Buyer(firm.subscription, firm.customer, firm.email, None)]
    for seller, expected in ((other, {}), (context.master.id, {firm.customer: acme})):
        with context.database.write() as connection:
            sold = msgspec.structs.replace(account, tenant_id=seller)
            Matches(context, connection, sold, buyers).pair("imp_1", now)
        assert mapped(context) == expected


def test_a_key_comes_along_while_its_tenant_is_being_made(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(1, 3)
    wish = firm.wish()
    work = provisioning.start(context, wish, by="test")
    file = f"subscription,key\n{firm.subscription},OLD-KEY-OF-ONE-7F3K\n".encode()
    run = moving.bring(context, "stripe", file)
    assert (moving.counts_of(run).keys, moving.conflicts_of(context, run)) == (1, {})
    made = provisioning.create_tenant(work, "", Straight(context))
    shop.deliver(context)
    assert licensed(context, made) == 3
    (held,) = world.all_licenses(context)
    assert held.key_last5 == "-7F3K"


class Straight:
    """Runs each step at once."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def step(self, name: provisioning.StepName, work: str, wish: str) -> str:
        return provisioning.run_step(self._context, name, work, wish)
