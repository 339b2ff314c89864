"""kill -9 of the server at the boundaries of provisioning: every firm is one tenant in the end, and written
back once.

`KEYWRIGHT_PROVISION_RUNS` sets how many firms are made (one by default; `make provision` says 100), five at a
time: the server dies at a boundary of one of them, and wherever the others are just then.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from keywright.domain.plan import Terms
from keywright.flows import tokens
from keywright.flows.context import Context
from keywright.sandbox.app import SandboxServer
from keywright.store import tables, tenants
from keywright.store.provisioning_tables import provisionings, tenant_customers
from keywright.store.staff_tables import staff
from tests.conftest import SECRET
from tests.crash import mortal
from tests.e2e.server import Server, environment, opened, wait_until
from tests.life.seat_shop import Firm, SeatShop

RUNS = int(os.environ.get("KEYWRIGHT_PROVISION_RUNS", "0"))
ROOT = Path(__file__).resolve().parents[2]
WITHIN = 120.0  # seconds


class Street:
    """A shop, its sandbox, and the server that dies."""

    def __init__(self, url: str, folder: Path, box: SandboxServer) -> None:
        more = {"STRIPE_API_BASE": box.url, "STRIPE_SECRET_KEY": box.api_key, "PYTHONPATH": str(ROOT)}
        self.url, self.folder, self.box = url, folder, box
        self.shop = SeatShop(box)
        self.server = Server(environment(url, folder, **more), folder, module="tests.crash.mortal")
        with opened(url, folder) as context:
            self.shop.stock(context, Terms(seat_decrease="now"))
            token = tokens.create(context, context.master, "shop", "admin")[1]
        self.headers = {"authorization": f"Bearer {token}"}
        self.firms: list[Firm] = []
        self.answers: Counter[str] = Counter()

    def hook(self) -> None:
        """Have the sandbox tell the server, and tell it again what it could not."""
        address = f"http://127.0.0.1:{self.server.port}/api/webhooks/stripe"
        wish = {"url": address, "secret": SECRET}
        httpx.post(f"{self.box.url}/_sandbox/webhook", json=wish).raise_for_status()

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        address = f"http://127.0.0.1:{self.server.port}{path}"
        return httpx.request(method, address, headers=self.headers, timeout=30, **more)

    def round(self, number: int, boundary: str, firms: int) -> None:
        """Some firms at once, and death at the boundary of one of them."""
        if not self.server.is_running():
            self.server.start()
        sold = [self.shop.sell(1000 * number + place, place + 1) for place in range(firms)]
        mortal.tell(self.folder, boundary, f"{sold[-1].customer} {sold[-1].subscription}")
        works = [self.ask(firm) for firm in sold]
        wait_until(lambda: not self.server.is_running(), WITHIN, f"the server is dead at {boundary}")
        self.server.kill()
        self.server.start()
        httpx.post(f"{self.box.url}/_sandbox/redeliver", json={})
        for work in works:
            wait_until(lambda one=work: self.is_done(one), WITHIN, f"{work} is done after {boundary}")
        for firm, work in zip(sold, works, strict=True):
            assert self.ask(firm) == work
        self.firms += sold

    def ask(self, firm: Firm) -> str:
        wish = {
            "email": firm.email,
            "client_name": firm.name,
            "stripe_customer_id": firm.customer,
            "stripe_subscription_id": firm.subscription,
        }
        work = f"create-tenant-{firm.customer}"
        try:
            answer = self.call("POST", "/api/admin/tenants/provision", json=wish)
        except httpx.TransportError:
            # It died before it could answer. The shop asks again, later.
            self.answers["died"] += 1
            return work
        self.answers[str(answer.status_code)] += 1
        assert answer.json() == {"workflow_id": work}
        return work

    def is_done(self, work: str) -> bool:
        found = self.call("GET", f"/api/admin/workflows/{work}")
        assert found.json().get("status") != "ERROR", found.text
        return bool(found.json().get("status") == "SUCCESS")


def rows(context: Context, query: sa.Select[Any]) -> list[Any]:
    with context.database.read() as connection:
        return list(connection.execute(query))


def check(context: Context, street: Street) -> None:
    """As many tenants as firms, none double, each with its person, customer and seats."""
    made = rows(
        context, sa.select(tables.tenants.c.id, tables.tenants.c.email).where(~tables.tenants.c.is_master)
    )
    assert Counter(email for _, email in made) == Counter(firm.email for firm in street.firms)
    people = rows(context, sa.select(staff.c.tenant_id, staff.c.email))
    assert Counter(tuple(one) for one in people) == Counter(tuple(one) for one in made)
    known = rows(context, sa.select(tenant_customers.c.external_id, tenant_customers.c.customer_tenant_id))
    tenant_of = {email: id_ for id_, email in made}
    assert {tuple(one) for one in known} == {(firm.customer, tenant_of[firm.email]) for firm in street.firms}
    assert {one[0] for one in rows(context, sa.select(provisionings.c.status))} == {"done"}
    with context.database.read() as connection:
        for firm in street.firms:
            row = tenants.find_row(connection, tenant_of[firm.email])
            assert row is not None
            assert row.licensed_user_count == firm.quantity
    waiting = sa.select(tables.inbox.c.dedupe_key).where(tables.inbox.c.status != "applied")
    assert rows(context, waiting.where(tables.inbox.c.status != "ignored")) == []


def check_provider(street: Street, tenant_of: dict[str, str]) -> None:
    """The words stand there, and were written once."""
    written: Counter[str] = Counter()
    for event in street.shop.events():
        before = event["data"].get("previous_attributes") or {}
        if "metadata" in before:
            written[event["data"]["object"]["id"]] += 1
    for firm in street.firms:
        for words in street.shop.metadata_of(firm):
            assert (words["tenant_id"], words["onboarded"]) == (tenant_of[firm.email], "true")
        assert (written[firm.customer], written[firm.subscription]) == (1, 1)


@pytest.mark.parametrize("database_url", ["sqlite", *(["postgresql"] if RUNS else [])], indirect=True)
def test_killed_at_a_boundary_it_finishes_and_nothing_is_double(database_url: str, tmp_path: Path) -> None:
    box_folder, began = tmp_path / "box", time.monotonic()
    box_folder.mkdir()
    at_once = min(5, max(1, RUNS))
    boundaries = mortal.BOUNDARIES if RUNS else ("within mark_subscription",)
    with SandboxServer(data_dir=box_folder) as box:
        street = Street(database_url, tmp_path, box)
        street.hook()
        try:
            for number in range(max(1, RUNS // at_once)):
                street.round(number, boundaries[number % len(boundaries)], at_once)
        finally:
            street.server.kill()
        with opened(database_url, tmp_path) as context:
            check(context, street)
            of = {
                email: id_
                for id_, email in rows(context, sa.select(tables.tenants.c.id, tables.tenants.c.email))
            }
        check_provider(street, of)
    seconds = time.monotonic() - began
    print(f"\n{len(street.firms)} firms, {dict(street.answers)}, {seconds:.0f} s")  # noqa: T201  # the result of a long run
