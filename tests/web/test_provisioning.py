"""Tenants from a shop, over HTTP: asked for by the API, shown in the console; more licenses by themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from dbos import DBOSClient

from keywright.domain.plan import Terms
from keywright.flows import license_views, provisioning, provisioning_desk, staff, staff_factors, tokens
from keywright.flows.context import Context
from keywright.flows.provisioning import Wish
from keywright.sandbox.app import SandboxServer
from keywright.store import catalog, tables, tenants
from keywright.workflows.engine import APPLICATION
from keywright.workflows.views import Works
from tests.conftest import Prepared
from tests.life import world
from tests.life.seat_shop import Firm, SeatShop, selling
from tests.web.test_console import House, send

pytestmark = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
PATH = "/api/admin/tenants/provision"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeatShop]:
    with SandboxServer(data_dir=tmp_path_factory.mktemp("sandbox")) as server:
        yield SeatShop(server)


@pytest.fixture
def house(prepared: Prepared, shop: SeatShop, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with selling(prepared, shop) as context, ExitStack() as stack:
        made = House(context, stack)
        monkeypatch.setattr(staff_factors, "phone_time", lambda: made.phone)
        yield made


def bearer(context: Context, scope: str = "admin", tenant: str | None = None) -> dict[str, str]:
    found = context.master.id if tenant is None else tenant
    return {"authorization": f"Bearer {tokens.issue(context, found, 'shop', scope, by='test')[1]}"}


def body(firm: Firm, **more: Any) -> dict[str, Any]:
    return {
        "email": firm.email,
        "client_name": firm.name,
        "stripe_customer_id": firm.customer,
        "stripe_subscription_id": firm.subscription,
        **more,
    }


def make(context: Context, firm: Firm) -> str:
    """Let every step run."""

    class Straight:
        def step(self, name: Any, work: str, wish: str) -> str:
            return provisioning.run_step(context, name, work, wish)

    work = provisioning.start(context, firm.wish(), by="test")
    return provisioning.create_tenant(work, "", Straight())  # as the engine of ours is handed it


def test_a_shop_asks_once_or_often(house: House, shop: SeatShop) -> None:
    firm, client, headers = shop.sell(1), house.browser(), bearer(house.context)
    answers = [client.post(PATH, json=body(firm), headers=headers) for _ in range(2)]
    work = f"create-tenant-{firm.customer}"
    assert [(one.status_code, one.json()) for one in answers] == [(202, {"workflow_id": work})] * 2
    other = client.post(PATH, json=body(firm, initial_license_count=5), headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "PROVISIONING_DIFFERS")
    found = client.get(f"/api/admin/workflows/{work}", headers=headers).json()
    assert (found["name"], found["status"]) == ("create_tenant.1", "ENQUEUED")
    assert [one["name"] for one in found["steps"]] == list(provisioning.STEPS)
    assert house.acts().count("tenant.provisioned") == 1


def test_the_engine_is_handed_nobodys_name(house: House, shop: SeatShop) -> None:
    """It keeps what it is handed, also when the person is erased or the firm's tenant shredded."""
    work = provisioning.start(house.context, shop.sell(9).wish(), by="test")
    client = DBOSClient(
        system_database_engine=house.context.database.engine, application_name=APPLICATION, lazy=True
    )
    (handed,) = client.list_workflows(workflow_ids=[work])
    assert handed.input == {"args": (work,), "kwargs": {}}


def test_only_the_master_tenants_admins_ask(house: House, shop: SeatShop) -> None:
    firm, client = shop.sell(2), house.browser()
    tenant = make(house.context, firm)
    for headers in (bearer(house.context, "write"), bearer(house.context, tenant=tenant)):
        assert client.post(PATH, json=body(firm), headers=headers).status_code == 403
    assert client.post(PATH, json=body(firm)).status_code == 401
    refused = client.post(PATH, json={**body(firm), "seats": 3}, headers=bearer(house.context))
    assert refused.status_code == 422


def test_work_that_was_ended_is_taken_up_from_a_step_on(house: House, shop: SeatShop) -> None:
    firm, client, headers = shop.sell(3), house.browser(), bearer(house.context)
    work = client.post(PATH, json=body(firm), headers=headers).json()["workflow_id"]
    early = client.post(f"/api/admin/workflows/{work}/retry", json={"step": "staff"}, headers=headers)
    assert (early.status_code, early.json()["code"]) == (409, "WORKFLOW_RUNNING")
    ended = client.post(f"/api/admin/workflows/{work}/cancel", headers=headers)
    assert ended.json()["status"] == "CANCELLED"
    again = client.post(f"/api/admin/workflows/{work}/retry", json={"step": "staff"}, headers=headers)
    assert (again.json()["id"], again.json()["status"]) == (work, "ENQUEUED"), again.text
    wrong = client.post(f"/api/admin/workflows/{work}/retry", json={"step": "dance"}, headers=headers)
    assert wrong.status_code == 422
    assert house.acts()[-2:] == ["workflow.canceled", "workflow.retried"]


def test_ending_that_was_cut_off_is_done_again(
    house: House, shop: SeatShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the engine would have ended it, and the events would wait for its tenant for ever."""
    firm, context = shop.sell(10), house.context
    work = provisioning.start(context, firm.wish(), by="test")
    shop.deliver(context)
    works = Works(context.database)
    with monkeypatch.context() as patch:
        patch.setattr(provisioning_desk, "end", die)
        with pytest.raises(KeyboardInterrupt):
            works.act(context, work, "cancel", "test")
    assert works.act(context, work, "cancel", "test").status == "CANCELLED"
    with context.database.read() as connection:
        waiting = tables.inbox.c.status == "parked"
        assert connection.execute(sa.select(tables.inbox.c.id).where(waiting)).all() == []


def die(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_console_takes_it_up_again(house: House, shop: SeatShop) -> None:
    firm, client = shop.sell(7), house.browser()
    house.colleague(client=client)
    work = provisioning.start(house.context, firm.wish(), by="test")
    Works(house.context.database).act(house.context, work, "cancel", "test")
    path = f"/console/provisioning/{work}/again"
    sure = send(client, path, client.get(path), beginning="staff")
    assert "Invite its first person" in sure.text, sure.text
    done = send(client, path, sure, beginning="staff", step="do")
    assert "The work was taken up again." in done.text, done.text


def test_the_console_shows_each_step_and_asks_for_more(house: House, shop: SeatShop) -> None:
    firm, client = shop.sell(4), house.browser()
    house.colleague(client=client)
    tenant = make(house.context, firm)
    page = client.get("/console/provisioning")
    assert firm.name in page.text
    one = client.get(f"/console/provisioning/create-tenant-{firm.customer}")
    for words in (
        f"Made {tenant}",
        f"{firm.customer} is this tenant.",
        "Applied what had waited",
        firm.email,
    ):
        assert words in one.text
    path = "/console/provisioning/new"
    fields = {"email": "next@firm.example", "client_name": "Next & Sons", "initial_license_count": "4"}
    sure = send(client, path, client.get(path), **fields)
    assert "A mail goes to next@firm.example." in sure.text, sure.text
    work = provisioning.workflow_id(Wish(fields["email"], "any"))
    done = send(client, path, sure, **fields, step="do")
    assert str(done.url.path) == f"/console/provisioning/{work}"
    assert "Next &amp; Sons" in done.text


def staff_of(house: House, tenant: str, role: str) -> httpx.Client:
    """Somebody of this tenant, signed in."""
    client, email = house.browser(), f"{role}@firm.example"
    _, link = staff.create(house.context, tenant, email, role, "test")
    house.set_up(link, email, client)
    return client


def test_a_tenant_adds_licenses_by_itself(house: House, shop: SeatShop) -> None:
    firm = shop.sell(5, 3)
    tenant = make(house.context, firm)
    shop.deliver(house.context)
    shop.wait(86400)
    client = staff_of(house, tenant, "owner")
    assert "/console/provisioning" not in client.get("/console").text
    priced = client.get("/console/seats", params={"quantity": "7"})
    assert "7 users in all" in priced.text, priced.text
    assert {"$36", "$63"} <= set(re.findall(r"<dd>([^<]*)", priced.text))
    hidden = {name: hidden_in(priced, name) for name in ("quantity", "expected", "once")}
    done = send(client, "/console/seats", priced, **hidden, reason="case 12")
    assert "The change is on its way." in done.text, done.text
    shop.deliver(house.context)
    with house.context.database.read() as connection:
        row = tenants.find_row(connection, tenant)
    assert row is not None
    assert row.licensed_user_count == 7
    (held,) = world.all_licenses(house.context)
    told = license_views.timeline_of(house.context, held.tenant_id, held.id).items
    assert [one.detail["by"][:10] for one in told if one.kind == "billing.asked"] == ["staff stf_"]
    again = send(client, "/console/seats", priced, **{**hidden, "expected": ""})
    assert (again.status_code, "Look at the price first." in again.text) == (409, True)


def test_users_are_asked_for_and_units_are_bought(house: House, shop: SeatShop) -> None:
    terms = catalog.encode_terms(Terms(seat_decrease="now", seats_per_unit=5)).decode()
    with house.context.database.write() as connection:
        connection.execute(sa.update(tables.plans).values(terms=terms))
    firm = shop.sell(7, 2)
    tenant = make(house.context, firm)
    shop.deliver(house.context)
    shop.wait(86400)
    client = staff_of(house, tenant, "owner")
    page = client.get("/console/seats").text
    assert 'value="15" min="5" max="100000" step="5"' in page
    assert "Subscribed now: 10. They are sold 5 at a time." in page
    refused = client.get("/console/seats", params={"quantity": "11"})
    assert (refused.status_code, "10 or 15" in refused.text) == (422, True)
    priced = client.get("/console/seats", params={"quantity": "15"})
    assert {"3", "$27"} <= set(re.findall(r"<dd>([^<]*)", priced.text)), priced.text
    hidden = {name: hidden_in(priced, name) for name in ("quantity", "expected", "once")}
    send(client, "/console/seats", priced, **hidden, reason="case 12")
    shop.deliver(house.context)
    with house.context.database.read() as connection:
        row = tenants.find_row(connection, tenant)
    assert row is not None
    assert row.licensed_user_count == 15
    items = shop.sdk.v1.subscription_items.list({"subscription": firm.subscription})
    assert [item.quantity for item in items.data] == [3]


def test_who_is_no_owner_agrees_to_no_price(house: House, shop: SeatShop) -> None:
    tenant = make(house.context, shop.sell(6, 3))
    shop.deliver(house.context)
    client = staff_of(house, tenant, "admin")
    priced = client.get("/console/seats", params={"quantity": "4"})
    assert "An owner of this console can agree to it." in priced.text
    hidden = {name: hidden_in(priced, name) for name in ("quantity", "expected", "once")}
    assert send(client, "/console/seats", priced, **hidden).status_code == 403


def test_prices_are_asked_for_as_often_as_other_acts(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keywright.web.console.gate._ACTS_A_MINUTE", 3)
    # No minute ends meanwhile.
    monkeypatch.setattr("keywright.web.limits.time", SimpleNamespace(time=lambda: 1_700_000_000.0))
    client = house.browser()
    house.colleague(client=client)
    answers = [client.get("/console/seats", params={"quantity": "4"}) for _ in range(4)]
    assert [one.status_code for one in answers] == [404, 404, 404, 429]
    assert answers[-1].headers["retry-after"]
    assert client.get("/console/seats").status_code == 200
    # Each person for himself.
    other = house.browser()
    house.colleague("other@example.com", client=other)
    assert other.get("/console/seats", params={"quantity": "4"}).status_code == 404


def test_who_bought_nothing_is_told_so(house: House) -> None:
    client = house.browser()
    house.colleague(client=client)
    assert "Nothing to change here" in client.get("/console/seats").text
    assert client.get("/console/seats", params={"quantity": "4"}).status_code == 404
    assert client.get("/console/seats", params={"quantity": "many"}).status_code == 422


def hidden_in(page: httpx.Response, name: str) -> str:
    found = re.search(rf'type="hidden" name="{name}" value="([^"]*)"', page.text)
    assert found, page.text
    return found[1]
