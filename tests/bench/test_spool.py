"""The deliveries of the bench are what Stripe would send: signed, distinct, and of one story."""

import json
from typing import Any

import stripe

from benchmarks import spool
from benchmarks.wire import read_spool, write_spool

SECRET = "whsec_bench"


def _events(records: list[bytes], now: int) -> list[dict[str, Any]]:
    events = []
    for record in records:
        head, body = record.split(b"\r\n\r\n", 1)
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        assert int(headers["Content-Length"]) == len(body)
        assert f"t={now}," in headers["Stripe-Signature"]
        # the official SDK is the judge of the signature; without a tolerance it does not look at the clock
        stripe.WebhookSignature.verify_header(body.decode(), headers["Stripe-Signature"], SECRET)
        events.append(json.loads(body))
    return events


def test_new_purchases_are_distinct_and_about_4_kb() -> None:
    records = list(spool.new_purchases(range(200), secret=SECRET, now=1_790_000_000))
    events = _events(records, 1_790_000_000)
    subscriptions = [event["data"]["object"] for event in events]
    for values in (
        {event["id"] for event in events},
        {subscription["id"] for subscription in subscriptions},
        {subscription["customer"]["id"] for subscription in subscriptions},
        {subscription["customer"]["email"] for subscription in subscriptions},
    ):
        assert len(values) == 200
    assert {s["items"]["data"][0]["quantity"] for s in subscriptions} == {1, 2, 3, 4, 5}
    assert all(3500 < len(record) < 5500 for record in records)


def test_renewals_are_half_invoices_and_speak_of_the_same_purchases() -> None:
    now = 1_790_000_000
    bought = _events(list(spool.new_purchases(range(10, 20), secret=SECRET, now=now)), now)
    renewals = spool.renewals(10, 10, rounds=2, secret=SECRET, now=now, bought_at=now - 60)
    events = _events(list(renewals), now)
    assert [event["type"] for event in events[:2]] == ["invoice.paid", "customer.subscription.updated"]
    assert len({event["id"] for event in events}) == len(events) == 40
    known = {event["data"]["object"]["id"]: event["data"]["object"] for event in bought}
    ends: dict[str, list[int]] = {}
    for event in events:
        thing = event["data"]["object"]
        if event["type"] == "invoice.paid":
            line = thing["lines"]["data"][0]
            subscription = thing["parent"]["subscription_details"]["subscription"]
            quantity, end = line["quantity"], line["period"]["end"]
        else:
            item = thing["items"]["data"][0]
            subscription, quantity, end = thing["id"], item["quantity"], item["current_period_end"]
            old = event["data"]["previous_attributes"]["items"]["data"][0]
            assert old["current_period_end"] == item["current_period_start"]
        assert event["created"] > bought[0]["created"]
        assert quantity == known[subscription]["items"]["data"][0]["quantity"]
        ends.setdefault(subscription, []).append(end)
    first_end = bought[0]["data"]["object"]["items"]["data"][0]["current_period_end"]
    month = spool.MONTH_S
    assert ends.keys() == known.keys()
    assert all(
        sorted(values) == sorted([first_end + month] * 2 + [first_end + 2 * month] * 2)
        for values in ends.values()
    )


def test_the_two_events_of_a_renewal_are_not_neighbours() -> None:
    renewals = spool.renewals(0, 100, rounds=1, secret=SECRET, now=1_790_000_000, bought_at=1_789_999_940)
    events = _events(list(renewals), 1_790_000_000)
    places: dict[str, list[int]] = {}
    for place, event in enumerate(events):
        places.setdefault(event["data"]["object"]["customer"], []).append(place)
    assert all(len(both) == 2 and both[1] - both[0] >= 99 for both in places.values())


def test_licensing_calls_survive_a_spool_file(tmp_path: Any) -> None:
    pairs = [("BN-AAAA", "f" * 32), ("BN-BBBB", "e" * 32)]
    calls = list(spool.licensing_calls("/api/license/validate", pairs))
    assert write_spool(tmp_path / "s", calls) == 2
    assert list(read_spool(tmp_path / "s")) == calls
    assert list(read_spool(tmp_path / "s", skip=1)) == calls[1:]
    head, body = calls[0].split(b"\r\n\r\n", 1)
    assert head.startswith(b"POST /api/license/validate HTTP/1.1\r\n")
    assert json.loads(body) == {"key": "BN-AAAA", "fingerprint": "f" * 32}
