"""A shop sold seats, and the firm becomes a tenant: every step, dead at any moment, and told in any order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain.errors import Conflict, Forbidden, Invalid, KeywrightError
from keywright.flows import checkout, provisioning, provisioning_desk, shredding, staff, tenant_seats
from keywright.flows.context import Context
from keywright.flows.provisioning import STEPS, StepName, Wish
from keywright.flows.renewing import Proof
from keywright.ports import BillingApi
from keywright.sandbox.app import SandboxServer
from keywright.store import provisionings, tables, tenant_customers, tenants
from keywright.store.provisioning_tables import provisioning_steps
from keywright.store.provisioning_tables import provisionings as provisionings_table
from keywright.store.staff_tables import staff as staff_table
from tests.conftest import Prepared
from tests.life.seat_shop import Firm, SeatShop, selling


class Straight:
    """Runs each step at once. `dies_before` and `dies_after` name the boundary at which it dies."""

    def __init__(self, context: Context, *, dies_before: str = "", dies_after: str = "") -> None:
        self._context = context
        self._before, self._after = dies_before, dies_after

    def step(self, name: StepName, work: str, wish: str) -> str:
        if name == self._before:
            raise Death
        answer = provisioning.run_step(self._context, name, work, wish)
        if name == self._after:
            raise Death
        return answer


class Death(BaseException):
    """What no handler of ours may catch."""


class Mortal:
    """A provider's billing that dies when it was answered, before anybody could write that down."""

    def __init__(self, billing: BillingApi) -> None:
        self._billing = billing

    def mark(self, thing: Any, external_id: str, words: Mapping[str, str], key: str) -> bool:
        self._billing.mark(thing, external_id, words, key)
        raise Death


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with SandboxServer(data_dir=tmp_path_factory.mktemp("sandbox")) as made:
        yield made


@pytest.fixture
def shop(server: SandboxServer) -> SeatShop:
    return SeatShop(server)


@pytest.fixture
def context(prepared: Prepared, shop: SeatShop) -> Iterator[Context]:
    with selling(prepared, shop) as made:
        yield made


def run(context: Context, wish: Wish, **dies: str) -> str:
    work = provisioning.workflow_id(wish)
    with context.database.read() as connection:
        made = provisionings.find(connection, context.master.id, work)
    assert made is not None
    return provisioning.create_tenant(work, made.wish, Straight(context, **dies))


def provision(context: Context, wish: Wish) -> str:
    provisioning.start(context, wish, by="token tok_1")
    return run(context, wish)


def licensed(context: Context, tenant: str) -> int | None:
    with context.database.read() as connection:
        found = tenants.find_row(connection, tenant)
    assert found is not None
    return found.licensed_user_count


def rows(context: Context, table: sa.Table, *where: sa.ColumnElement[bool]) -> list[Any]:
    with context.database.read() as connection:
        return list(connection.execute(sa.select(table).where(*where)).mappings())


def parked(context: Context) -> list[Any]:
    return rows(context, tables.inbox, tables.inbox.c.status == "parked")


def check_whole(context: Context, shop: SeatShop, firm: Firm, tenant: str) -> None:
    """One tenant with one owner, its customer, its seats; written back once; nothing waits."""
    assert len(rows(context, tables.tenants, tables.tenants.c.email == firm.email)) == 1
    people = rows(context, staff_table, staff_table.c.tenant_id == tenant)
    assert [(one["email"], one["role"]) for one in people] == [(firm.email, "owner")]
    invited = tables.announcements.c.kind == "staff.invited"
    mails = rows(context, tables.announcements, tables.announcements.c.tenant_id == tenant, invited)
    assert len(mails) == 1
    with context.database.read() as connection:
        known = tenant_customers.of_tenant(connection, tenant)
    account = context.channels["stripe"].account.id
    assert known == [(context.master.id, account, firm.customer)]
    words = {"tenant_id": tenant, "app_url": context.of(tenant).base_url, "onboarded": "true"}
    assert shop.metadata_of(firm) == (words, words)
    told = [e for e in shop.events() if e["type"] == "customer.updated"]
    mine = [e for e in told if e["data"]["object"]["id"] == firm.customer]
    assert len([e for e in mine if "metadata" in e["data"]["previous_attributes"]]) == 1
    assert licensed(context, tenant) == firm.quantity
    steps = rows(context, provisioning_steps, provisioning_steps.c.provisioning_id.endswith(firm.customer))
    assert {one["name"]: one["status"] for one in steps} == dict.fromkeys(STEPS, "done")


def test_a_sale_becomes_a_tenant_and_its_events_wait_for_it(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(1)
    provisioning.start(context, firm.wish(initial_license_count=2), by="token tok_1")
    outcomes = shop.deliver(context)
    assert outcomes["customer.subscription.created"] == "parked TENANT_PENDING"
    assert outcomes["invoice.paid"] == "parked TENANT_PENDING"
    tenant = run(context, firm.wish(initial_license_count=2))
    assert parked(context) == []
    check_whole(context, shop, firm, tenant)
    # What our own writing brings is believed, and changes nothing.
    assert shop.deliver(context)["customer.subscription.updated"] == "applied"
    assert licensed(context, tenant) == 3


def test_the_number_is_set_and_never_added(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(2, 5)
    shop.deliver(context)  # before anybody asked for a tenant: a purchase like any other
    tenant = provision(context, firm.wish())
    assert licensed(context, tenant) == 5
    for quantity in (8, 4):
        shop.change(firm, quantity)
        shop.deliver(context)
        assert licensed(context, tenant) == quantity
        shop.again()  # everything once more, as after an outage
        shop.deliver(context)
        assert licensed(context, tenant) == quantity
    shop.end(firm)
    shop.deliver(context)
    assert licensed(context, tenant) == 0


def test_a_claim_is_believed_only_where_the_mapping_holds_the_customer(
    context: Context, shop: SeatShop
) -> None:
    firm = shop.sell(3)
    tenant = provision(context, firm.wish())
    shop.deliver(context)
    stranger = shop.sell(4, 50, tenant_id=tenant)
    assert shop.deliver(context)["customer.subscription.created"] == "applied TENANT_NOT_BELIEVED"
    assert licensed(context, tenant) == 3
    bought = rows(context, tables.purchases, tables.purchases.c.state.contains(stranger.customer))
    assert [(one["customer_tenant_id"], one["users"]) for one in bought] == [(None, None)]
    noted = rows(context, tables.inbox, tables.inbox.c.reason == "TENANT_NOT_BELIEVED")
    assert noted
    assert {one["status"] for one in noted} == {"applied"}


BOUNDARIES = [
    *({"dies_before": name} for name in STEPS[:1]),
    *({"dies_after": name} for name in STEPS),
]


def test_dead_at_every_boundary_it_finishes_and_nothing_is_double(context: Context, shop: SeatShop) -> None:
    made = {}
    for number, dies in enumerate(BOUNDARIES):
        firm = shop.sell(100 + number, number + 1)
        provisioning.start(context, firm.wish(), by="token tok_1")
        shop.deliver(context)
        with pytest.raises(Death):
            run(context, firm.wish(), **dies)
        made[firm] = run(context, firm.wish())
        assert provisioning.start(context, firm.wish(), by="token tok_1").endswith(firm.customer)
    for thing in ("customer", "subscription"):
        firm = shop.sell(200 + len(thing))
        provisioning.start(context, firm.wish(), by="token tok_1")
        channel = context.channels["stripe"]
        assert channel.billing is not None
        mortal: Any = Mortal(channel.billing)
        dying = replace(context, channels={"stripe": replace(channel, billing=mortal)})
        run_to = Straight(context, dies_before=f"mark_{thing}")
        work, told = provisioning.workflow_id(firm.wish()), wish_of(context, firm)
        with pytest.raises(Death):
            provisioning.create_tenant(work, told, run_to)
        with pytest.raises(Death):
            provisioning.create_tenant(work, told, Straight(dying))
        made[firm] = provisioning.create_tenant(work, told, Straight(context))
    shop.deliver(context)
    for firm, tenant in made.items():
        check_whole(context, shop, firm, tenant)
    assert len(rows(context, tables.tenants)) == len(made) + 1
    assert parked(context) == []


def wish_of(context: Context, firm: Firm) -> str:
    with context.database.read() as connection:
        made = provisionings.find(connection, context.master.id, provisioning.workflow_id(firm.wish()))
    assert made is not None
    return made.wish


def test_the_same_id_is_the_same_work_and_another_wish_is_refused(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(5)
    first = provisioning.start(context, firm.wish(), by="token tok_1")
    assert provisioning.start(context, firm.wish(), by="token tok_2") == first
    with pytest.raises(Conflict) as refused:
        provisioning.start(context, firm.wish(initial_license_count=9), by="token tok_1")
    assert refused.value.code == "PROVISIONING_DIFFERS"


def test_without_a_customer_the_address_names_the_work(context: Context) -> None:
    wish = Wish("Ada@Firm.example", "Firm", initial_license_count=7)
    work = provisioning.start(context, wish, by="token tok_1")
    assert work == provisioning.workflow_id(Wish("ada@firm.example", "Other"))
    assert "firm" not in work
    tenant = run(context, wish)
    assert licensed(context, tenant) == 7
    notes = {one["name"]: one["note"] for one in rows(context, provisioning_steps)}
    assert notes["mark_customer"] == "No customer was named."


@pytest.mark.parametrize(
    "changes",
    [
        {"email": "nobody"},
        {"client_name": " "},
        {"stripe_customer_id": "cus 1"},
        {"initial_license_count": -1},
    ],
)
def test_what_cannot_be_is_refused_at_once(context: Context, changes: dict[str, Any]) -> None:
    wish = Wish(**{"email": "ada@firm.example", "client_name": "Firm", **changes})
    with pytest.raises(Invalid):
        provisioning.start(context, wish, by="token tok_1")
    assert rows(context, tables.tenants, tables.tenants.c.is_master.is_(False)) == []


def test_a_subscription_of_somebody_else_makes_nobody_rich(context: Context, shop: SeatShop) -> None:
    firm, other = shop.sell(6), shop.sell(7, 90)
    wish = Wish(firm.email, firm.name, firm.customer, other.subscription)
    provisioning.start(context, wish, by="token tok_1")
    with pytest.raises(KeywrightError) as refused:
        run(context, wish)
    assert refused.value.code == "SUBSCRIPTION_OF_ANOTHER"
    (failed,) = rows(context, provisioning_steps, provisioning_steps.c.status == "failed")
    assert (failed["name"], failed["error"]) == ("tenant", "SUBSCRIPTION_OF_ANOTHER")
    assert rows(context, tables.tenants, tables.tenants.c.is_master.is_(False)) == []


def test_a_subscription_of_somebody_else_is_not_told_to_who_asked(context: Context, shop: SeatShop) -> None:
    firm, other = shop.sell(18), shop.sell(19)
    wish = Wish(firm.email, firm.name, firm.customer, other.subscription)
    work = provisioning.start(context, wish, by="token tok_1")
    with pytest.raises(KeywrightError) as refused:
        run(context, wish)
    provisioning.give_up(context, work, refused.value)
    shop.deliver(context, but=("invoice.", "checkout."))
    # The subscription alone tells no address: the mail with the key waits for its buyer's.
    names = tables.purchase_aliases
    (name,) = rows(context, names, names.c.external_id == other.subscription)
    (bought,) = rows(context, tables.purchases, tables.purchases.c.id == name["purchase_id"])
    (buyer,) = rows(context, tables.customers, tables.customers.c.id == bought["customer_id"])
    assert buyer["email"] is None
    shop.again()
    shop.deliver(context)
    (buyer,) = rows(context, tables.customers, tables.customers.c.id == bought["customer_id"])
    assert buyer["email"] == other.email


def test_a_customer_that_is_a_tenant_gets_no_second_one(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(14)
    tenant = provision(context, Wish(firm.email, firm.name, firm.customer))
    second = Wish("other@firm.example", "Other", stripe_subscription_id=firm.subscription)
    work = provisioning.start(context, second, by="token tok_1")
    shop.deliver(context)
    assert parked(context)
    with pytest.raises(Conflict) as refused:
        run(context, second)
    assert refused.value.code == "CUSTOMER_OF_ANOTHER"
    made = rows(context, tables.tenants, tables.tenants.c.is_master.is_(False))
    assert [one["id"] for one in made] == [tenant]
    assert [one["email"] for one in rows(context, staff_table)] == [firm.email]
    # The rightful one's events must not wait for a tenant that never comes.
    provisioning.give_up(context, work, refused.value)
    assert parked(context) == []
    assert len(rows(context, tables.licenses)) == 1
    third = Wish("third@firm.example", "Third", firm.customer)
    with context.database.write() as connection:  # asked for by hand, under an id of its own
        connection.execute(sa.delete(provisioning_steps))
        connection.execute(sa.delete(provisionings_table))
    with pytest.raises(Conflict) as refused:
        provisioning.start(context, third, by="token tok_1")
    assert refused.value.code == "CUSTOMER_OF_ANOTHER"


def test_a_subscription_alone_names_its_customer(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(8)
    wish = Wish(firm.email, firm.name, stripe_subscription_id=firm.subscription)
    tenant = provision(context, wish)
    assert licensed(context, tenant) == 3
    with context.database.read() as connection:
        assert [one[2] for one in tenant_customers.of_tenant(connection, tenant)] == [firm.customer]


def test_nobody_new_is_let_in_without_a_seat_and_nobody_is_sent_away(
    context: Context, shop: SeatShop
) -> None:
    firm = shop.sell(9, 2)
    tenant = provision(context, firm.wish())
    shop.deliver(context)
    staff.create(context, tenant, "second@firm.example", "support", "stf_1")
    with pytest.raises(Conflict) as refused:
        staff.create(context, tenant, "third@firm.example", "support", "stf_1")
    assert refused.value.code == "USERS_EXHAUSTED"
    # Whoever is there gets another link, and stays when there are fewer seats.
    staff.create(context, tenant, "second@firm.example", "support", "stf_1")
    shop.change(firm, 1)
    shop.deliver(context)
    with context.database.read() as connection:
        found = tenant_seats.seats_of(context, connection, tenant)
    assert (found.licensed, found.used) == (1, 2)
    assert len(staff.list_staff(context, tenant)) == 2


def test_what_is_bought_for_a_tenant_here_says_so_and_is_believed(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(13)
    tenant = provision(context, firm.wish())
    shop.deliver(context)
    ask = checkout.Ask("dashcaddy/plan-0", 4, tenant=tenant)
    with pytest.raises(Forbidden):
        checkout.open_checkout(context, ask)
    opened = checkout.open_checkout(context, ask, proof=Proof(trusted=True))
    shop.wait()
    shop.pay(opened.url.rstrip("/").rsplit("/", 1)[1])
    outcomes = shop.deliver(context)
    assert outcomes["customer.subscription.created"] == "applied"
    assert licensed(context, tenant) == 7
    with pytest.raises(Invalid) as refused:
        checkout.open_checkout(context, replace_tenant(ask, "ten_x"), proof=Proof(trusted=True))
    assert refused.value.code == "TENANT_NOT_MAPPED"


def replace_tenant(ask: checkout.Ask, tenant: str) -> checkout.Ask:
    return msgspec.structs.replace(ask, tenant=tenant)


def test_who_buys_for_no_tenant_costs_no_further_statement(context: Context, shop: SeatShop) -> None:
    shop.sell(10)
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        asked.append(text)

    sa.event.listen(context.database.engine, "before_cursor_execute", note)
    shop.deliver(context)
    sa.event.remove(context.database.engine, "before_cursor_execute", note)
    assert any("INSERT INTO purchases" in text for text in asked)
    assert [text for text in asked if "tenant_customers" in text or "UPDATE tenants" in text] == []
    assert [text for text in asked if "provisioning" in text] == []


def test_what_waited_for_a_work_that_was_ended_is_a_purchase_like_any_other(
    context: Context, shop: SeatShop
) -> None:
    firm = shop.sell(11)
    work = provisioning.start(context, firm.wish(), by="token tok_1")
    shop.deliver(context)
    provisioning_desk.end(context, work)
    assert parked(context) == []
    assert [one["users"] for one in rows(context, tables.purchases)] == [None]
    assert len(rows(context, tables.licenses)) == 1


def test_done_once_more_from_a_step_on(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(12)
    tenant = provision(context, firm.wish())
    work = provisioning.workflow_id(firm.wish())
    provisioning_desk.begin_again(context, work, "staff")
    seen = provisioning_desk.show(context, work)
    assert [one.status for one in seen.steps] == ["done", "done", *["waiting"] * 7]
    assert run(context, firm.wish()) == tenant
    assert {one.status for one in provisioning_desk.show(context, work).steps} == {"done"}
    assert len(rows(context, staff_table, staff_table.c.tenant_id == tenant)) == 1
    assert licensed(context, tenant) == 3
    with pytest.raises(Invalid):
        provisioning_desk.begin_again(context, work, "dance")


def test_what_was_wiped_at_the_provider_is_written_again(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(17)
    tenant = provision(context, firm.wish())
    for wiped in ("tenant_id", "onboarded"):
        nothing = {"metadata": {wiped: ""}}
        shop.sdk.v1.customers.update(firm.customer, nothing)  # type: ignore[arg-type]  # as Stripe takes it
        shop.sdk.v1.subscriptions.update(firm.subscription, nothing)  # type: ignore[arg-type]  # as above
        provisioning_desk.begin_again(context, provisioning.workflow_id(firm.wish()), "mark_customer")
        assert run(context, firm.wish()) == tenant
        assert [one.get(wiped) is not None for one in shop.metadata_of(firm)] == [True, True]


def test_who_has_an_owner_is_not_given_another_one(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(15)
    tenant = provision(context, firm.wish())
    with context.database.write() as connection:
        theirs = sa.update(staff_table).where(staff_table.c.tenant_id == tenant)
        connection.execute(theirs.values(email="new@firm.example", ready_at=context.clock.now()))
    provisioning_desk.begin_again(context, provisioning.workflow_id(firm.wish()), "staff")
    assert run(context, firm.wish()) == tenant
    people = rows(context, staff_table, staff_table.c.tenant_id == tenant)
    assert [one["email"] for one in people] == ["new@firm.example"]


def test_a_firm_that_was_shredded_comes_back_as_another_tenant(context: Context, shop: SeatShop) -> None:
    firm = shop.sell(16)
    first = provision(context, firm.wish())
    shop.deliver(context)
    row = context.of(first).tenant
    shredding.shred(context, row.slug, confirmed=row.slug, by="test")
    work = provisioning.workflow_id(firm.wish())
    engine_says(context, "UPDATE {} SET status = 'SUCCESS' WHERE workflow_uuid = :id", work)
    with pytest.raises(Conflict) as refused:
        provisioning_desk.begin_again(context, work, "staff")
    assert refused.value.code == "WORKFLOW_DONE"
    second = provision(context, firm.wish(initial_license_count=2))
    assert second != first
    shop.deliver(context)
    check_people(context, firm, second)
    assert licensed(context, second) == 3
    # The engine takes an id once: it has forgotten the first work, and waits to do the second.
    assert engine_says(context, "SELECT status FROM {} WHERE workflow_uuid = :id", work) == ["ENQUEUED"]
    assert rows(context, staff_table, staff_table.c.tenant_id == first) == []
    with context.database.read() as connection:
        assert tenant_customers.of_tenant(connection, first) == []
        assert [one[2] for one in tenant_customers.of_tenant(connection, second)] == [firm.customer]


def engine_says(context: Context, text: str, work: str) -> list[Any]:
    table = "workflow_status" if context.database.is_sqlite else "dbos.workflow_status"
    with context.database.write() as connection:
        answer = connection.execute(sa.text(text.format(table)), {"id": work})
        return list(answer.scalars()) if answer.returns_rows else []


def check_people(context: Context, firm: Firm, tenant: str) -> None:
    people = rows(context, staff_table, staff_table.c.tenant_id == tenant)
    assert [(one["email"], one["role"]) for one in people] == [(firm.email, "owner")]


def test_a_tenant_that_never_bought_has_any_number_of_people(context: Context) -> None:
    for number in range(3):
        staff.create(context, context.master.id, f"p{number}@example.com", "support", "stf_1")
    assert len(staff.list_staff(context, context.master.id)) == 3
