"""S1, the second wall: on PostgreSQL the database itself keeps a request to the rows of its tenant.

Tried with what the first wall forbids: statements without their condition, on every table there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from litestar.testing import TestClient

from keywright.cli import doctor
from keywright.flows import alarms, portal_sign_in
from keywright.flows.context import Context
from keywright.store import licenses, migrate, wall, webhook_outbox
from keywright.store.engine import Database
from keywright.store.tables import announcements, metadata, tenants
from keywright.store.tables import licenses as licenses_table
from keywright.web.app import create_app
from keywright.web.portal import gate
from keywright.web.walled import OUTSIDE
from tests.conftest import Prepared, TurnableClock, administer
from tests.life.payments import PayDesk, selling_through
from tests.life.sellers import Seller, with_sellers
from tests.security.served import link_for
from tests.security.test_s01_tenants import Border, furnish, mark_everything
from tests.web.conftest import BASE, IdleEngine
from tests.web.route_table import RULES

pytestmark = pytest.mark.parametrize("prepared", ["postgresql"], indirect=True)

OWNED = [table for table in metadata.sorted_tables if "tenant_id" in table.c]


@pytest.fixture
def town(context: Context, clock: TurnableClock) -> tuple[Context, Seller, Seller]:
    """Two sellers: one has a row in every table."""
    made, sellers = with_sellers(selling_through(context, PayDesk(clock)), "acme", "brook")
    furnish(sellers["acme"])
    mark_everything(made, sellers["acme"].tenant.id)
    return made, sellers["acme"], sellers["brook"]


Town = tuple[Context, Seller, Seller]


def own_of(table: sa.Table) -> sa.Column[Any]:
    return table.c.id if table is tenants else table.c.tenant_id


def test_statements_without_a_condition_reach_only_rows_of_the_tenant(town: Town) -> None:
    context, acme, brook = town
    found = []
    with context.database.write() as connection:
        gone = metadata.tables["closed_tenants"]
        connection.execute(sa.insert(gone).values(tenant_id=acme.tenant.id, closed_at=context.clock.now()))
    for table in [*OWNED, tenants]:
        every = sa.select(sa.func.count()).select_from(table)
        theirs = every.where(own_of(table) == acme.tenant.id)
        with context.database.read() as connection:
            there = connection.execute(theirs).scalar_one()
            kept = sa.select(table).where(own_of(table) == acme.tenant.id)
            row = dict(connection.execute(kept).mappings().first() or {})
        with wall.within(brook.tenant.id), context.database.read() as connection:
            seen = connection.execute(theirs).scalar_one()
            owners = set(connection.execute(sa.select(own_of(table)).distinct()).scalars())
        with wall.within(acme.tenant.id), context.database.read() as connection:
            assert connection.execute(every).scalar_one() == there, table.name
        found.append(table.name)
        assert there > 0, table.name
        assert (seen, owners <= {brook.tenant.id}) == (0, True), table.name
        assert writes(context, brook.tenant.id, table, acme.tenant.id, row) == ["refused", 0, 0], table.name
    assert len(found) > 45


def writes(context: Context, by: str, table: sa.Table, whose: str, row: dict[str, Any]) -> list[object]:
    """What becomes of a row inserted for somebody else, and how many of his are changed and deleted."""
    values = {name: value for name, value in row.items() if not table.c[name].computed}
    mine = own_of(table)
    told: list[object] = []
    for statement in (
        sa.insert(table).values(values),
        sa.update(table).where(mine == whose).values({mine.name: whose}),
        sa.delete(table).where(mine == whose),
    ):
        with wall.within(by):
            try:
                with context.database.write() as connection:
                    told.append(connection.execute(statement).rowcount)
            except sa.exc.ProgrammingError as error:  # a policy, or a right that the role has not
                told.append("refused" if isinstance(statement, sa.Insert) or table is tenants else error)
    # Nobody deletes a tenant's own row by a request: there is no right to.
    return told if table is not tenants else [told[0], told[1], 0 if told[2] == "refused" else told[2]]


def test_a_row_is_not_given_to_another_tenant(town: Town) -> None:
    context, acme, brook = town
    given = sa.update(licenses_table).values(tenant_id=brook.tenant.id)
    with (
        wall.within(acme.tenant.id),
        pytest.raises(sa.exc.ProgrammingError, match="row-level security"),
        context.database.write() as connection,
    ):
        connection.execute(given)


def test_without_a_tenant_the_role_sees_nothing(town: Town) -> None:
    context, _, _ = town
    with context.database.engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL ROLE {wall.ROLE}")
        for table in [*OWNED, tenants]:
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 0


def test_every_table_of_tenants_is_walled_and_a_new_one_too(context: Context) -> None:
    database = context.database
    with database.read() as connection:
        walled = set(connection.exec_driver_sql("SELECT tablename FROM pg_policies").scalars())
        assert walled == {table.name for table in OWNED} | {"tenants"}
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE parcels (id text, tenant_id text)")
        assert wall.missing(connection) == ["parcels"]
    assert doctor._second_wall(database).state == "note"
    migrate.upgrade(database)
    assert doctor._second_wall(database).state == "ok"


def who_asks(connection: sa.Connection) -> tuple[str, str | None]:
    row = connection.exec_driver_sql("SELECT current_user, current_setting('keywright.tenant', true)").one()
    return str(row[0]), row[1] or None


def test_nothing_stays_on_a_connection(town: Town) -> None:
    context, acme, _ = town
    with context.database.read() as connection:
        owner = who_asks(connection)
    assert owner[1] is None
    for way in (context.database.read, context.database.write):
        for _ in range(2):
            with wall.within(acme.tenant.id), way() as connection:
                assert who_asks(connection) == (wall.ROLE, acme.tenant.id)
                with wall.lifted_on(connection):
                    assert who_asks(connection)[0] == owner[0]
                assert who_asks(connection)[0] == wall.ROLE
                with wall.lifted(), way() as other:
                    assert who_asks(other) == owner
            with (
                pytest.raises(sa.exc.ProgrammingError),
                wall.within(acme.tenant.id),
                way() as connection,
                wall.lifted_on(connection),
            ):
                connection.exec_driver_sql("SELECT nothing")
            with pytest.raises(KeyError), wall.within(acme.tenant.id), way() as connection:
                raise KeyError
    assert context.database._walled is not None
    with context.database._walled.connect() as connection:
        assert who_asks(connection) == owner
    with context.database.write() as connection:
        assert who_asks(connection) == owner


def test_what_is_the_installations_goes_on_from_within(town: Town) -> None:
    context, _, brook = town
    with context.database.read() as connection:
        listening = webhook_outbox.look(connection, connection.engine)
    with wall.within(brook.tenant.id), context.database.write() as connection:
        # One request's view is not what other tenants' events go by.
        assert webhook_outbox.look(connection, connection.engine) == listening
        alarms.raise_alarm(context, connection, "dead_letter", "inb_1", {})
    query = sa.select(announcements.c.tenant_id).where(announcements.c.subject_id == "inb_1")
    with context.database.read() as connection:
        assert connection.execute(query).scalar_one() == context.master.id


# -- requests -------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """The tenants that were set, on connections of requests."""

    tenants: list[str]


@pytest.fixture
def border(town: Town) -> Iterator[Border]:
    context, acme, brook = town
    furnish(brook)
    with ExitStack() as stack:
        client = stack.enter_context(TestClient(create_app(context, IdleEngine()), base_url=BASE))
        yield Border(context, acme, brook, client)


@pytest.fixture
def seen(border: Border) -> Iterator[Seen]:
    made, engine = Seen([]), border.context.database._walled
    assert engine is not None

    def note(_connection: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        if "keywright.tenant" in text:
            made.tenants.append(values["tenant"])

    sa.event.listen(engine, "before_cursor_execute", note)
    yield made
    sa.event.remove(engine, "before_cursor_execute", note)


def of_console(border: Border) -> dict[str, str]:
    return {"origin": BASE, "cookie": f"keywright_staff={border.session('owner')}"}


def of_portal(border: Border) -> dict[str, str]:
    serving, browser = border.brook.serving, gate.fresh_browser()
    _, session = portal_sign_in.enter(serving, link_for(serving, "buyer@brook.example", browser), browser)
    return {"origin": BASE, "cookie": f"keywright_session_{border.brook.tenant.id}={session}"}


def test_requests_of_a_tenant_run_within_its_wall(border: Border, seen: Seen) -> None:
    brook, root = border.brook.tenant.id, border.brook.root
    headers, bearer, customer = of_console(border), border.bearer("admin"), of_portal(border)
    for path, told in (
        ("/console", headers),
        ("/console/licenses", headers),
        ("/console/catalog", headers),
        ("/console/audit.csv", headers),
        ("/api/admin/licenses", bearer),
        ("/api/admin/audit", bearer),
        (f"{root}/portal/licenses", customer),
    ):
        seen.tenants.clear()
        assert border.client.get(path, headers=told).status_code == 200, path
        assert set(seen.tenants) == {brook}, path


def test_a_condition_that_is_forgotten_shows_nothing(border: Border, monkeypatch: pytest.MonkeyPatch) -> None:
    headers, bearer = of_console(border), border.bearer("admin")
    theirs = border.ids(border.acme.tenant.id)["license_id"]
    forgotten = licenses.find

    def find_anybodys(connection: sa.Connection, _tenant: str, id_: str, **more: Any) -> Any:
        owner = connection.execute(
            sa.select(licenses_table.c.tenant_id).where(licenses_table.c.id == id_)
        ).scalar()
        return forgotten(connection, owner or "", id_, **more)

    monkeypatch.setattr(licenses, "find", find_anybodys)
    for path, told in (
        (f"/console/licenses/{theirs}", headers),
        (f"/api/admin/licenses/{theirs}", bearer),
    ):
        assert border.client.get(path, headers=told).status_code == 404, path
    with border.context.database.read() as connection:
        assert find_anybodys(connection, "", theirs) is not None


def test_what_is_outside_the_wall_is_there_and_asks_for_a_credential(border: Border) -> None:
    for one in OUTSIDE:
        beneath = [rule for rule in RULES.values() if rule.path == one or rule.path.startswith(f"{one}/")]
        assert beneath, one
        assert {rule.credential.partition(":")[0] for rule in beneath} <= {"staff", "token"}, one


def test_the_hot_ways_stay_outside(border: Border, seen: Seen) -> None:
    assert border.client.post("/api/license/validate", json={"key": "x"}).status_code < 500
    assert seen.tenants == []


# -- where the owner may make no roles ----------------------------------------------------------------------


def test_an_owner_who_may_make_no_role_goes_on_without(prepared: Prepared, postgresql: str) -> None:
    name = str(sa.make_url(prepared.url).database)
    plain = f"plain_{name}"
    administer(postgresql, f"CREATE ROLE {plain} LOGIN")
    url = sa.make_url(postgresql.format(name))  # as whom is told with the address
    administer(postgresql, f"CREATE DATABASE {name}_own OWNER {plain}")
    own = url.set(username=plain, database=f"{name}_own")
    database = Database(own.render_as_string(hide_password=False))
    migrate.upgrade(database)
    told = doctor._second_wall(database)
    assert told.state == "note"
    assert f"GRANT {wall.ROLE} TO {plain}" in told.says
    assert database.walled is database
    administer(postgresql, f"GRANT {wall.ROLE} TO {plain}")
    migrate.upgrade(database)
    assert doctor._second_wall(database).state == "ok"
    walled = database.walled
    with wall.within("ten_1"), walled.read() as connection:
        assert who_asks(connection) == (wall.ROLE, "ten_1")
    database.dispose()
    administer(postgresql, f"DROP DATABASE {name}_own")
