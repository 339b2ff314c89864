"""`/api/admin/licenses/{id}/seats, cancel, resume, refund, portal, explain`, and replays, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from keywright.domain.plan import Terms
from keywright.flows import tokens
from keywright.flows.context import Context
from keywright.web.app import create_app
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.life.billing import BillDesk, billed_by
from tests.web.conftest import BASE, IdleEngine

KEY = {"idempotency-key": "0123456789abcdef0123456789"}


class Counter:
    """A shop with one subscription, asked with a token that may write."""

    def __init__(self, context: Context, client: TestClient[Litestar], desk: BillDesk) -> None:
        self.context = context
        self.client = client
        self.desk = desk
        world.stock(context, price_pro=Terms())
        start = context.clock.now()
        world.hand_in(context, desk.told())
        paid = stripe.invoice("in_1", "sub_1", start, start + timedelta(days=30), quantity=2, amount=10000)
        world.hand_in(context, stripe.event("invoice.paid", paid, start, id_="evt_paid"))
        self.license = world.the_license(context).id
        self.token = tokens.create(context, context.master, "test", "write")[1]

    def ask(self, name: str, body: Any = None, **headers: str) -> Any:
        head = {"authorization": f"Bearer {self.token}", **headers}
        path = f"/api/admin/licenses/{self.license}/{name}"
        if name in ("explain", "timeline"):
            return self.client.get(path, headers=head)
        return self.client.post(path, json=body, headers=head)


@pytest.fixture
def counter(context: Context, clock: TurnableClock) -> Iterator[Counter]:
    desk = BillDesk(clock)
    shop = billed_by(context, desk)
    with TestClient(create_app(shop, IdleEngine()), base_url=BASE) as client:
        yield Counter(shop, client, desk)


def test_seats_are_previewed_and_changed(counter: Counter) -> None:
    shown = counter.ask("seats", {"quantity": 5, "preview": True})
    assert (shown.status_code, shown.json()) == (
        200,
        {
            "quantity": 5,
            "due_now": 4200,
            "next_amount": 25000,
            "currency": "USD",
            "next_at": "2026-12-01T12:00:00Z",
        },
    )
    assert counter.desk.quantity == 2
    done = counter.ask("seats", {"quantity": 5, "expected": 4200, "reason": "three more people"}, **KEY)
    assert (done.status_code, done.json()) == (200, {"accepted": True, "approval_url": None})
    assert counter.ask("seats", {"quantity": 5, "expected": 4200}, **KEY).status_code == 200
    assert [call[0] for call in counter.desk.heard] == ["preview", "preview", "seats"]
    entries = [e for e in counter.ask("timeline").json()["items"] if e["kind"] == "billing.asked"]
    assert [(e["detail"]["why"], e["detail"]["quantity"]) for e in entries] == [("three more people", 5)]
    assert entries[0]["detail"]["by"].startswith("token tok_")
    counter.desk.due_now = 9999
    dearer = counter.ask("seats", {"quantity": 7, "expected": 4200})
    assert (dearer.status_code, dearer.json()["code"]) == (409, "PREVIEW_CHANGED")
    assert counter.ask("seats", {"quantity": 0}).status_code == 422


def test_the_renewal_and_the_money(counter: Counter) -> None:
    assert counter.ask("cancel").json()["accepted"]
    assert counter.desk.canceling
    assert counter.ask("resume", {"reason": "changed his mind"}).json()["accepted"]
    assert not counter.desk.canceling
    for _ in range(2):
        assert counter.ask("refund", {"amount": 4000, "payment": "in_1"}, **KEY).json()["accepted"]
    assert counter.desk.given_back == 4000
    mixed = counter.ask("refund", {"amount": 5000}, **KEY)
    assert (mixed.status_code, mixed.json()["code"]) == (409, "IDEMPOTENCY_MISMATCH")
    assert counter.ask("refund", {"payment": "in_9"}).json()["code"] == "PAYMENT_UNKNOWN"
    link = counter.ask("portal", {"return_url": f"{BASE}/"})
    assert link.json() == {"url": "https://pay.example/portal/secret"}
    assert (
        counter.ask("portal", {"return_url": "https://evil.example/"}).json()["code"] == "RETURN_URL_REFUSED"
    )


def test_why(counter: Counter) -> None:
    told = counter.ask("explain").json()
    assert told["why"] == "Active: paid until 1 December 2026, renews then."
    assert (told["altered"], told["notes"]) == ([], [])
    assert [one["type"] for one in told["arrival"]] == ["customer.subscription.updated", "invoice.paid"]
    assert sorted(told["occurrence"]) == sorted(one["id"] for one in told["arrival"])
    issued = told["timeline"][0]
    assert (issued["kind"], issued["causes"]) == ("license.issued", [told["arrival"][0]["id"]])
    assert told["license"]["id"] == counter.license


def test_replays_show_what_they_change(counter: Counter) -> None:
    head = {"authorization": f"Bearer {counter.token}"}
    one = counter.client.post(
        "/api/admin/events/evt_paid/replay", json={"dry_run": True}, headers=head
    ).json()
    assert (one["outcome"], one["changed"], one["licenses"], one["asked"]) == ("applied", False, [], [])
    body = {"since": "2026-11-01T00:00:00Z", "dry_run": True}
    page = counter.client.post("/api/admin/events/replay", json=body, headers=head).json()
    assert [item["outcome"] for item in page["items"]] == ["applied", "applied"]
    late = {"since": "2027-01-01T00:00:00Z", "refetch": True}
    assert counter.client.post("/api/admin/events/replay", json=late, headers=head).json()["items"] == []
    assert (
        counter.client.post("/api/admin/events/replay", json={"since": "soon"}, headers=head).status_code
        == 422
    )
    listed = counter.client.get("/api/admin/events?since=2027-01-01T00:00:00Z", headers=head).json()
    assert listed["items"] == []
