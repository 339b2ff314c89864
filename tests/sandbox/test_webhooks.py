from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from stripe import StripeClient

from keywright.sandbox.triggers import RECIPES

Buy = Callable[..., Any]
Control = Callable[..., Any]
Settled = Callable[[], list[dict[str, Any]]]
SECRET = "whsec_test_receiver"


@pytest.fixture
def hooked(receiver: Any, control: Control) -> Any:
    """The receiver, registered; its handler checks every signature with the official code."""
    control("webhook", url=receiver.url, secret=SECRET)
    return receiver


def test_events_arrive_signed_and_in_order(
    hooked: Any, stripe: StripeClient, monthly: str, buy: Buy, settled: Settled
) -> None:
    buy(monthly, "subscription")
    deliveries = settled()
    listed = [event.type for event in stripe.v1.events.list({"limit": 100}).data][::-1]
    assert hooked.types() == listed
    assert {delivery["status"] for delivery in deliveries} == {"delivered"}
    assert deliveries[-1]["attempts"][0]["status_code"] == 200
    event = hooked.events[-1]
    assert event["api_version"] == "2026-10-28.endive"
    assert event["livemode"] is False
    assert stripe.v1.events.retrieve(event["id"]).pending_webhooks == 0


def test_an_event_names_its_request(hooked: Any, stripe: StripeClient, settled: Settled) -> None:
    stripe.v1.customers.create({"email": "a@b.example"}, {"idempotency_key": "order-1"})
    settled()
    assert hooked.events[-1]["request"]["idempotency_key"] == "order-1"
    assert hooked.events[-1]["request"]["id"].startswith("req_")


def test_a_refused_delivery_is_tried_again_with_a_fresh_signature(
    hooked: Any, stripe: StripeClient, settled: Settled
) -> None:
    hooked.answers = [500, 302]
    stripe.v1.customers.create({"email": "a@b.example"})
    (delivery,) = settled()
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [500, 302, 200]
    assert hooked.types() == ["customer.created"]


def test_a_lost_event_stays_in_the_list_of_undelivered_ones(
    hooked: Any, stripe: StripeClient, control: Control, settled: Settled
) -> None:
    control("switches", loss=2)
    made = [stripe.v1.customers.create({"email": f"{n}@b.example"}).id for n in range(4)]
    assert Counter(delivery["status"] for delivery in settled()) == {"delivered": 2, "dropped": 2}
    lost = stripe.v1.events.list({"delivery_success": False}).data
    assert {event.data.object["id"] for event in lost} == {made[1], made[3]}
    control("switches", loss=0)
    assert control("redeliver")["queued"] == 2
    settled()
    assert not stripe.v1.events.list({"delivery_success": False}).data
    assert len(hooked.events) == 4


def test_duplicates_shuffle_and_hold(
    hooked: Any, stripe: StripeClient, control: Control, settled: Settled
) -> None:
    control("switches", order="shuffle", duplicates=2)
    control("hold")
    for n in range(8):
        stripe.v1.customers.create({"email": f"{n}@b.example"})
    time.sleep(0.2)
    assert hooked.events == []
    control("release")
    settled()
    arrived = [event["data"]["object"]["email"] for event in hooked.events]
    assert Counter(arrived) == {f"{n}@b.example": 3 for n in range(8)}
    assert arrived != sorted(arrived)


def test_delay_holds_each_delivery_back(
    hooked: Any, stripe: StripeClient, control: Control, settled: Settled
) -> None:
    control("switches", delay=0.3)
    began = time.monotonic()
    stripe.v1.customers.create({"email": "a@b.example"})
    settled()
    assert time.monotonic() - began >= 0.3
    assert len(hooked.events) == 1


def test_endpoints_made_by_api_get_their_own_secret_and_only_their_events(
    receiver: Any, stripe: StripeClient, one_off: str, settled: Settled, server: Any
) -> None:
    endpoint = stripe.v1.webhook_endpoints.create(
        {
            "url": receiver.url,
            "enabled_events": ["customer.created"],
            "api_version": "2026-10-28.endive",
        }
    )
    assert endpoint.secret is not None
    assert endpoint.secret.startswith("whsec_")
    assert stripe.v1.webhook_endpoints.retrieve(endpoint.id).to_dict().get("secret") is None
    server.sandbox.state.endpoint_secrets[endpoint.id] = SECRET
    stripe.v1.products.create({"name": "Not asked for"})
    stripe.v1.customers.create({"email": "a@b.example"})
    settled()
    assert receiver.types() == ["customer.created"]
    assert [each.id for each in stripe.v1.webhook_endpoints.list().data] == [endpoint.id]
    assert stripe.v1.webhook_endpoints.delete(endpoint.id).to_dict()["deleted"] is True
    assert not stripe.v1.webhook_endpoints.list().data


def test_signatures_carry_sandbox_time(
    hooked: Any, stripe: StripeClient, control: Control, settled: Settled
) -> None:
    control("clock/advance", seconds=40 * 86_400)
    stripe.v1.customers.create({"email": "a@b.example"})
    settled()
    stamp = int(hooked.headers[-1].split(",")[0][2:])
    assert abs(stamp - time.time() - 40 * 86_400) < 10
    assert hooked.events[-1]["created"] == pytest.approx(stamp, abs=3)


@pytest.mark.parametrize("kind", sorted(RECIPES))
def test_every_trigger_makes_its_event(hooked: Any, control: Control, settled: Settled, kind: str) -> None:
    made = control("trigger", event=kind, metadata={"reference": "KW-1"}, quantity=2)
    # A recipe may be a variant: `charge.dispute.closed.won` makes a `charge.dispute.closed`.
    names = {kind, kind.rpartition(".")[0]}
    assert names & {event["type"] for event in made["events"]}
    settled()
    assert names & set(hooked.types())


def test_an_unknown_trigger_is_refused_with_the_known_ones(http: httpx.Client) -> None:
    answer = http.post("/_sandbox/trigger", json={"event": "charge.exploded"})
    assert answer.status_code == 400
    assert "charge.refunded" in answer.json()["error"]


def test_the_control_interface_takes_json_alone(http: httpx.Client) -> None:
    assert http.post("/_sandbox/hold", content=b"", headers={"Content-Type": "text/plain"}).status_code == 415
    assert http.post("/_sandbox/clock/advance", json={"seconds": -1}).status_code == 400
    assert http.post("/_sandbox/switches", json={"order": "sideways"}).status_code == 400
    assert http.get("/_sandbox/").json()["switches"]["hold"] is False
