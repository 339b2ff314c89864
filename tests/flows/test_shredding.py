"""A tenant is shredded: nothing of it opens, answers or is left, and its neighbors do not notice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from keywright import bootstrap
from keywright.domain.errors import Conflict, Forbidden, Invalid, NotFound
from keywright.domain.facts import Stamp
from keywright.domain.purchase import Purchase, Told
from keywright.flows import credentials, intake, shredding, tenants
from keywright.flows.context import Context
from keywright.flows.shredding import Shredded
from keywright.flows.tenants import TenantSeen
from keywright.store import audit, tenant_ending
from keywright.store import tenants as stored
from keywright.store.tables import inbox, metadata
from tests.conftest import Prepared, test_settings
from tests.life import stripe

# What names no tenant, because it belongs to the installation.
OF_ALL = {
    *("tenants", "generations", "changes", "executors", "staff_tries", "master_keys", "blind_keys"),
}
MADE_WITH_TENANT = {"data_keys", "signing_keys", "key_sets"}
PLANTED = "planted.of."


def shred(context: Context, tenant: TenantSeen, **more: Any) -> Shredded:
    wait = {"wait": lambda _seconds: None, **more}
    return shredding.shred(context, tenant.slug, confirmed=tenant.slug, by="test", **wait)


class Estate:
    """A row in every table there is, for each of two tenants, found by its words."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.gone, self.stays = (
            tenants.create(context, f"{slug} Ltd", slug, f"{slug}@example.com", by="test")
            for slug in ("gone", "stays")
        )
        with context.database.write() as connection:
            for one in (self.gone, self.stays):
                self._furnish(connection, one)

    def _furnish(self, connection: sa.Connection, tenant: TenantSeen) -> None:
        for table in metadata.sorted_tables:
            if table.name not in OF_ALL | MADE_WITH_TENANT | {"closed_tenants"}:
                row = {column.name: self._value(tenant, column) for column in table.c}
                connection.execute(sa.insert(table).values(**row))

    def _value(self, tenant: TenantSeen, column: sa.Column[Any]) -> object:
        if column.name == "tenant_id" or column.name == "customer_tenant_id":
            return tenant.id
        if isinstance(column.type, sa.Boolean):
            return False
        if not isinstance(column.type, sa.Text):
            return self.context.clock.now() if "Instant" in type(column.type).__name__ else 7
        place = f"{column.table.name}.{column.name}"
        for key in column.foreign_keys:
            return f"{PLANTED}{tenant.slug}.{key.target_fullname}"
        word = f"{PLANTED}{tenant.slug}.{place}"
        if place == "purchases.state":
            told = Told(Stamp(self.context.clock.now()), f"{word}@example.com")
            return msgspec.json.encode(Purchase(holder={"email": told})).decode()
        if place == "connected_accounts.due":
            return msgspec.json.encode([word]).decode()
        if place == "provisionings.wish":
            return msgspec.json.encode({"email": f"{word}@example.com", "client_name": word}).decode()
        return word

    def rows(self, table: str) -> list[dict[str, Any]]:
        with self.context.database.read() as connection:
            return [dict(row) for row in connection.execute(sa.select(metadata.tables[table])).mappings()]

    def of(self, tenant: TenantSeen) -> dict[str, list[dict[str, Any]]]:
        """Everything of one tenant."""
        held = {name: self.rows(name) for name in metadata.tables if name not in OF_ALL}
        return {name: [r for r in found if r["tenant_id"] == tenant.id] for name, found in held.items()}


@pytest.fixture
def estate(context: Context) -> Estate:
    return Estate(context)


def test_every_table_says_whose_its_rows_are() -> None:
    """A new one without a tenant must be thought about: shredding finds no row in it."""
    assert {name for name, table in metadata.tables.items() if "tenant_id" not in table.c} == OF_ALL


def test_every_table_has_been_furnished(estate: Estate) -> None:
    for tenant in (estate.gone, estate.stays):
        empty = {name for name, found in estate.of(tenant).items() if not found}
        assert empty == {"closed_tenants"}


def test_what_is_left_is_what_books_need(estate: Estate) -> None:
    before = estate.of(estate.stays)
    done = shred(estate.context, estate.gone)
    left = estate.of(estate.gone)
    assert {name for name, found in left.items() if found} == tenant_ending.KEPT
    assert estate.of(estate.stays) == before
    assert sum(done.deleted.values()) >= len(metadata.tables) - len(OF_ALL) - len(tenant_ending.KEPT) - 3
    # Of what is kept, purchases alone were about persons.
    (purchase,) = left["purchases"]
    assert purchase["customer_id"] is None
    assert "@" not in purchase["state"]
    (seller,) = (row for row in estate.rows("provisionings") if row["tenant_id"] == estate.stays.id)
    assert "stays" in seller["wish"]
    for name, found in left.items():
        for row in found:
            assert "@example.com" not in str(row), name
    (tenant,) = (row for row in estate.rows("tenants") if row["id"] == estate.gone.id)
    assert (tenant["slug"], tenant["name"], tenant["email"]) == ("gone", "Closed", None)


def test_what_the_seller_keeps_of_its_making_names_nobody(estate: Estate) -> None:
    """The neighbor has made the tenant: his record of that loses the first person's address and the name."""
    with estate.context.database.write() as connection:
        connection.execute(
            sa.update(metadata.tables["provisionings"])
            .where(sa.column("tenant_id") == estate.stays.id)
            .values(customer_tenant_id=estate.gone.id)
        )
    shred(estate.context, estate.gone)
    (seller,) = estate.rows("provisionings")
    assert seller["tenant_id"] == estate.stays.id
    assert PLANTED not in seller["wish"]


def test_nothing_opens_and_nobody_is_found(estate: Estate) -> None:
    context, gone, stays = estate.context, estate.gone, estate.stays
    sealed = {one.id: context.vault.seal(one.id, "test", "x", "a secret") for one in (gone, stays)}
    served = context.of(gone.id)
    assert served.tenant.id == gone.id
    shred(context, gone)
    with pytest.raises(Exception, match="no data key"):
        context.vault.unseal(gone.id, "test", "x", sealed[gone.id])
    assert context.vault.unseal(stays.id, "test", "x", sealed[stays.id]) == "a secret"
    with pytest.raises(NotFound):
        context.of(gone.id)
    assert context.of(stays.id).tenant.id == stays.id
    with context.database.read() as connection:
        for found in (stored.find, stored.find_by_id, stored.id_of_slug, stored.find_row):
            assert found(connection, gone.id) is None or found(connection, gone.slug) is None
        assert stored.find(connection, gone.slug) is None
        assert stored.owner_of(connection, f"{PLANTED}gone.provider_accounts.id") is None
        assert stored.owner_of(connection, f"{PLANTED}stays.provider_accounts.id") == stays.id
    assert context.shops.find(gone.slug) is None
    assert [one.slug for one in tenants.list_page(context).items] == ["stays", "master"]
    with pytest.raises(Conflict):  # nobody else gets its address
        tenants.create(context, "Other", gone.slug, by="test")


def test_it_is_audited_and_done_once(estate: Estate) -> None:
    context = estate.context
    first = shred(context, estate.gone, why="the contract ended")
    again = shred(context, estate.gone)
    assert again.closed_at == first.closed_at
    assert again.deleted == {}
    with context.database.read() as connection:
        found = audit.list_page(
            connection, context.master.id, filters={"act": "tenant.shredded"}, before=None, limit=9
        )
        ending = tenant_ending.find(connection, estate.gone.slug)
    (entry,) = found
    assert entry.subject == estate.gone.id
    assert msgspec.json.decode(entry.detail) == {"slug": "gone", "why": "the contract ended"}
    assert ending is not None
    assert ending.shredded_at is not None


def test_ended_half_way_it_goes_on(estate: Estate) -> None:
    context = estate.context

    class Ended(Exception):
        pass

    def end(_table: str, _rows: int) -> None:
        raise Ended

    for _ in range(3):
        with pytest.raises(Ended):
            shred(context, estate.gone, tell=end)
        with pytest.raises(NotFound):  # closed from the first moment on
            context.of(estate.gone.id)
    shred(context, estate.gone)
    assert {name for name, found in estate.of(estate.gone).items() if found} == tenant_ending.KEPT


def test_what_must_not_be_shredded_is_not(estate: Estate) -> None:
    context = estate.context
    before = estate.of(estate.gone)
    with pytest.raises(Forbidden):
        shredding.shred(context, context.master.slug, confirmed=context.master.slug, by="test")
    for typed in ("", "GONE", "gone ltd", "stays", estate.gone.id):
        with pytest.raises(Invalid):
            shredding.shred(context, "gone", confirmed=typed, by="test")
    with pytest.raises(NotFound):
        shredding.shred(context, "nobody", confirmed="nobody", by="test")
    assert estate.of(estate.gone) == before


def test_what_another_process_takes_in_meanwhile_goes_too(context: Context, prepared: Prepared) -> None:
    """It believes in the tenant for a moment longer, and an event comes to it."""
    gone = tenants.create(context, "Gone Ltd", "gone", by="test")
    with context.database.write() as connection:
        now, id_ = context.clock.now(), context.new_id("pac")
        account = stored.get_account(connection, gone.id, "stripe", live=False, new_id=id_, now=now)
        given = {"stripe.webhook_secret": "whsec_gone", "stripe.secret_key": "sk_test_gone"}
        credentials.keep(connection, context.vault, account, given, now)
    made = test_settings(prepared.url, prepared.folder)
    other = replace(bootstrap.build(made, context.database), clock=context.clock)
    channel = other.of(gone.id).channels["stripe"]
    bought = stripe.invoice("in_gone", "sub_gone", now, now + timedelta(days=30))
    told = stripe.event("invoice.paid", {**bought, "customer_email": "buyer@example.com"}, now)
    waited = []

    def arrive(seconds: float) -> None:
        waited.append(seconds)
        (outcome,) = intake.take_in(other, [intake.arrive(channel, stripe.encoded(told), now)])
        assert getattr(outcome, "outcome", None) == "parked"

    shred(context, gone, wait=arrive)
    assert waited == [shredding.OTHERS_LEARN]
    with context.database.read() as connection:
        left = connection.execute(sa.select(inbox.c.body).where(inbox.c.tenant_id == gone.id)).all()
    assert left == []
