"""What staff read on the pages of licenses and events: names and words, and no id that leads nowhere."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from keywright.domain.license import License
from keywright.domain.plan import Terms
from keywright.flows import operate, staff_factors
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.store.tables import activations
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.web.test_console import House, only_sqlite, send

ORDER = "KW-ABCDEFGHIJ234567"
RAW = ("ann_", "pla_", "pln_", "pur_", "act_", "cus_", "stf_", "tok_")


@pytest.fixture
def house(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with ExitStack() as stack:
        made = House(context, stack)
        monkeypatch.setattr(staff_factors, "phone_time", lambda: made.phone)
        yield made


def text_of(page: httpx.Response) -> str:
    """What is read, without what is folded away."""
    assert page.status_code == 200, page.text
    open_text = re.sub(r"<details>.*?</details>", " ", page.text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", open_text)).split())


def timeline_of(page: httpx.Response) -> str:
    return text_of(page).rpartition(" Timeline ")[2]


def sold(house: House, clock: TurnableClock) -> License:
    """A subscription that was bought under our reference, and paid."""
    world.stock(house.context, price_pro=Terms())
    now, end = clock.now(), clock.now() + timedelta(days=30)
    made = stripe.subscription("sub_1", now, end, reference=ORDER)
    world.hand_in(house.context, stripe.event("customer.subscription.created", made, now, id_="evt_made"))
    paid = stripe.invoice("in_1", "sub_1", now, end, reference=ORDER)
    world.hand_in(house.context, stripe.event("invoice.paid", paid, now, id_="evt_paid"))
    return world.the_license(house.context)


def on_a_machine(house: House, held: License, name: str) -> str:
    with house.context.database.write() as connection:
        connection.execute(
            sa.insert(activations).values(
                id="act_1",
                tenant_id=held.tenant_id,
                license_id=held.id,
                fingerprint_hash="f" * 64,
                name=name,
                activated_at=house.context.clock.now(),
            )
        )
    return "act_1"


def test_everything_about_a_license_is_on_its_page(house: House, clock: TurnableClock) -> None:
    owner, held = house.colleague(), sold(house, clock)
    page = owner.client.get(f"/console/licenses/{held.id}")
    told = text_of(page)
    assert "DashCaddy Plan-0" in told
    assert "dashcaddy/plan-0" in told
    for part in (
        f"Order {ORDER}",
        "Provider Stripe",
        "Subscription sub_1",
        "DashCaddy Plan-0, $50 a month",
        "$50 Paid",
        "in_1",
        "Active: paid until",
        "renews then",
    ):
        assert part in told, part
    events = set(re.findall(r'href="/console/events/(evt_\w+)"', page.text))
    assert len(events) == 2
    assert re.search(r'By the event <a href="/console/events/evt_\w+">', page.text)
    for id_ in events:
        other = owner.client.get(f"/console/events/{id_}")
        assert f'href="/console/licenses/{held.id}"' in other.text
        assert "Applied: what it says is part of its purchase." in text_of(other)
    payment = next(id_ for id_ in events if "invoice.paid" in owner.client.get(f"/console/events/{id_}").text)
    says = text_of(owner.client.get(f"/console/events/{payment}"))
    assert "payment in_1 paid: 50.00 USD for DashCaddy Plan-0" in says


def test_a_timeline_names_people_and_machines(house: House, clock: TurnableClock) -> None:
    owner, held = house.colleague(), sold(house, clock)
    tenant, by = held.tenant_id, f"customer {held.customer_id}"
    operate.release_activation(house.context, tenant, on_a_machine(house, held, "Ada's desk"), Act(by))
    operate.resend(house.context, tenant, held.id, Act(by))
    operate.resend(house.context, tenant, held.id, Act("buyer"))
    operate.transfer(house.context, tenant, held.id, Act("token tok_gone", "asked"), email="new@example.com")
    operate.decide(house.context, tenant, held.id, Act("command line", "late"), "suspend")
    house.deliver()
    told = timeline_of(owner.client.get(f"/console/licenses/{held.id}"))
    for part in (
        "The customer freed a machine.",
        "Machine Ada's desk",
        "The customer had the license mail sent again.",
        "The buyer had the license mail sent again",
        "buyer@example.com",
        "an API token",
        "From buyer@example.com To new@example.com",
        "Standing in order → suspended",
        "Mail License key",
    ):
        assert part in told, part
    assert [raw for raw in RAW if raw in told] == []
    assert "None →" not in told


@only_sqlite
def test_a_customer_who_is_erased_is_called_so(house: House, clock: TurnableClock) -> None:
    owner, held = house.colleague(), sold(house, clock)
    operate.resend(house.context, held.tenant_id, held.id, Act("customer cus_nobody"))
    told = timeline_of(owner.client.get(f"/console/licenses/{held.id}"))
    assert "the customer" in told
    assert "cus_nobody" not in told


def test_one_box_takes_orders_and_machines_in_any_letters(house: House, clock: TurnableClock) -> None:
    owner, held = house.colleague(), sold(house, clock)
    on_a_machine(house, held, "Ada-Desk")
    names = [ORDER, ORDER.lower(), ORDER.removeprefix("KW-"), ORDER[3:].lower(), "sub_1", "ada-DESK"]
    for name in names:
        found = owner.client.get("/console/licenses", params={"q": name})
        assert found.url.path == f"/console/licenses/{held.id}", name


@only_sqlite
def test_ignored_events_are_shown_when_asked_for(house: House, clock: TurnableClock) -> None:
    owner = house.colleague()
    now = clock.now()
    sold(house, clock)
    world.hand_in(house.context, stripe.event("invoice.overdue", {"id": "in_2", "object": "invoice"}, now))
    world.hand_in(house.context, stripe.event("keywright.greeting", {}, now))
    usual = text_of(owner.client.get("/console/events"))
    assert "invoice.paid" in usual
    assert "invoice.overdue" not in usual
    assert "Test of the webhook" not in usual
    for status in ("any", "ignored"):
        told = text_of(owner.client.get(f"/console/events?status={status}"))
        assert "invoice.overdue Ignored Stripe" in told
        assert "not needed for licenses" in told
        assert "Test of the webhook Ignored Stripe" in told
        assert "NOT_BUILT" not in told
        assert "keywright.greeting" not in told
    page = owner.client.get("/console/events?status=ignored&type=invoice.overdue")
    assert send(owner.client, "/console/events/replay", page, status="any").status_code == 422


@only_sqlite
def test_a_mail_that_is_a_file_is_told_where(house: House, tmp_path: Path) -> None:
    house.context = replace(house.context, policy=replace(house.context.policy, outbox=tmp_path))
    owner = house.colleague()
    page = send(owner.client, "/console/settings/mail/test", owner.client.get("/console/settings"))
    assert f"it is a file in {tmp_path}" in text_of(page)
    assert "left this server" not in text_of(page)
