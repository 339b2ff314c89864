"""What of an event is kept, and what makes it this event."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywright.domain.errors import Unreadable
from keywright.domain.facts import Projected, Reading
from keywright.providers.paystack.hook import PaystackEvents

PAYSTACK = Path(__file__).parents[2] / "fixtures" / "paystack"
EVENTS = sorted(PAYSTACK.glob("evt_*.json"))
Read = Callable[..., Reading]
CARD = "4084084084084081"
REFUND = json.loads((PAYSTACK / "evt_refund-pending__docs.json").read_text())
CHARGE = json.loads((PAYSTACK / "evt_transaction-successful__docs.json").read_text())
SUBSCRIPTION = json.loads((PAYSTACK / "evt_subscription-not-renew__docs.json").read_text())


def project(event: Any, *, live: bool = False, fetched: bool = False) -> Projected:
    return PaystackEvents(live=live).project(json.dumps(event).encode(), fetched=fetched)


def changed(event: Any, **members: Any) -> Any:
    return {**event, "data": {**event["data"], **members}}


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_nothing_sensitive_is_kept(path: Path) -> None:
    event = json.loads(path.read_text())
    kept = PaystackEvents().project(path.read_bytes()).body.decode()
    for secret in ("AUTH_", "SIG_", "email_token", "bin", "last4", "exp_", "first_name", "phone", "address"):
        assert secret not in kept
    data = event["data"]
    for name in ("first_name", "last_name", "phone"):
        value = data.get("customer", {}) if isinstance(data.get("customer"), dict) else {}
        assert not value.get(name) or value[name] not in kept


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_the_same_bytes_are_the_same_event(path: Path) -> None:
    once, again = (PaystackEvents().project(path.read_bytes()) for _ in range(2))
    assert once == again
    assert len(once.dedupe_key) < 300


def test_distinct_states_are_distinct_events() -> None:
    events = [
        REFUND,
        {**REFUND, "event": "refund.processing"},
        changed(REFUND, amount="5000"),
        changed(REFUND, amount=10000),
        changed(REFUND, refund_reference="132013318360"),
        SUBSCRIPTION,
        {**SUBSCRIPTION, "event": "subscription.disable"},
        changed(SUBSCRIPTION, status="cancelled"),
        changed(SUBSCRIPTION, next_payment_date="2021-11-08T00:00:00.000Z"),
        CHARGE,
        changed(CHARGE, id=302962),
    ]
    assert len({project(event).dedupe_key for event in events}) == len(events)


def test_a_payment_succeeds_once() -> None:
    """Sent again with other fees it is the same payment, and was asked for already."""
    assert project(changed(CHARGE, fees=150)).dedupe_key == project(CHARGE).dedupe_key


@pytest.mark.parametrize(
    ("domain", "live"), [("live", True), ("test", False), (None, True), ("", True), (7, True)]
)
def test_the_mode_is_the_events_own_or_the_accounts(domain: Any, live: bool) -> None:
    assert project(changed(CHARGE, domain=domain), live=True).live is live


def test_a_list_is_the_accounts_and_nothing_for_us() -> None:
    expiring = {"event": "subscription.expiring_cards", "data": [{"expiry_date": "12/2021", "brand": "visa"}]}
    seen = project(expiring, live=True)
    assert (seen.standing, seen.live, seen.body) == ("unknown", True, b"{}")


@pytest.mark.parametrize(
    "kind", ["transfer.success", "bank.transfer.rejected", "fetched.transaction", "Nobody.Knows", "x" * 300]
)
def test_what_is_not_for_us_is_unknown(kind: str) -> None:
    seen = project({**CHARGE, "event": kind})
    assert (seen.standing, seen.body) == ("unknown", b"{}")
    assert len(seen.type) <= 64


def test_only_our_own_answers_are_of_the_fetched_types() -> None:
    answer = {"event": "fetched.transaction", "data": CHARGE["data"], "at": 1_795_200_000}
    assert project(answer, fetched=True).standing == "read"
    assert project(answer).standing == "unknown"
    assert project(CHARGE, fetched=True).standing == "unknown"
    with pytest.raises(Unreadable, match="without the time"):
        project({**answer, "at": None}, fetched=True)


def test_an_answer_is_named_by_object_second_and_content() -> None:
    answer = {"event": "fetched.transaction", "data": CHARGE["data"], "at": 1_795_200_000}
    keys = {
        project(one, fetched=True).dedupe_key
        for one in (
            answer,
            {**answer, "at": 1_795_200_001},
            changed(answer, amount=1),
            changed(answer, fees=9),
        )
    }
    assert len(keys) == 3, "what is not kept makes no difference"
    assert all(key.startswith("fetched.transaction:qTPrJoy9Bx:17952000") for key in keys)


@pytest.mark.parametrize("metadata", [{"a": {"b": 1}}, "", 0, None, '{"keywright_reference":"KW-AAAA"}', [1]])
def test_metadata_of_any_shape_changes_nothing(metadata: Any, fetched: Read) -> None:
    """Any page with the public key can write it: a payment is ours by its reference alone."""
    reading = fetched("transaction", {**CHARGE["data"], "metadata": metadata})
    assert reading == fetched("transaction", CHARGE["data"])
    assert reading.reference is None


@pytest.mark.parametrize("amount", [10000, "10000"])
def test_amounts_come_as_numbers_and_as_text(amount: Any) -> None:
    body = json.loads(project(changed(CHARGE, amount=amount)).body)
    assert body["transaction"]["amount"] == 10000


@pytest.mark.parametrize(
    "broken",
    [
        {"amount": "ten"},
        {"amount": None},
        {"amount": 10**13},
        {"amount": 1.5},
        {"reference": None},
        {"reference": ""},
        {"reference": "../../refund"},
        {"reference": "AUTH_f5rnfq9p"},
        {"reference": "sk_live_0123456789"},
        {"reference": CARD},
        {"reference": "x" * 201},
        {"status": 7},
        {"currency": "NAIRA"},
        {"plan": {"plan_code": "AUTH_1"}},
        {"customer": {"customer_code": "eyJhbGciOi"}},
    ],
)
def test_what_does_not_fit_is_refused_without_being_quoted(broken: dict[str, Any]) -> None:
    with pytest.raises(Unreadable) as refusal:
        project(changed(CHARGE, **broken))
    for value in broken.values():
        assert not isinstance(value, str) or len(value) < 4 or value not in str(refusal.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b'"charge.success"',
        b'{"event":"charge.success"}',
        b'{"event":"charge.success","data":[]}',
        b'{"event":7,"data":{}}',
        b'{"data":{}}',
        b'{"event":"charge.success","event":"x","data":{}}',
        b'{"event":"charge.success","data":{"id":NaN}}',
        b"\xff",
        b"[" * 5000,
    ],
)
def test_what_is_no_event_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        PaystackEvents().project(raw)


def test_a_card_number_in_a_mail_address_is_dropped_with_it() -> None:
    odd = changed(CHARGE, customer={**CHARGE["data"]["customer"], "email": f"{CARD}@example.com"})
    assert CARD not in project(odd).body.decode()


@pytest.mark.parametrize(
    "member",
    ["2016-09-30T21:10:19.000Z", "2016-09-30T22:10:19+01:00", "2016-09-30 21:10:19", 1475269819],
)
def test_times_of_every_spelling_are_one_moment(member: Any) -> None:
    lone = {"id": 1, "reference": "r", "status": "success", "amount": 1, "currency": "NGN", "paid_at": member}
    at = project({"event": "charge.success", "data": lone}).occurred_at
    assert at == datetime(2016, 9, 30, 21, 10, 19, tzinfo=UTC)


@pytest.mark.parametrize("edge", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("interval", ["hourly", "daily", "weekly", "monthly", "annually", "never"])
def test_the_ends_of_time_break_nothing(fetched: Read, edge: str, interval: str) -> None:
    plan = {"plan_code": "PLN_1", "interval": interval}
    begun = {"subscription_code": "SUB_1", "next_payment_date": edge}
    for paid_at in (edge, "2026-11-20T12:00:00Z"):
        payment = {**CHARGE["data"], "plan": plan, "begun": begun, "paid_at": paid_at}
        assert fetched("transaction", payment).facts
    snapshot = {**SUBSCRIPTION["data"], "plan": plan, "next_payment_date": edge}
    assert fetched("subscription", snapshot).facts


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(EVENTS), st.data())
def test_no_member_of_any_type_raises_anything_but_unreadable(path: Path, data: st.DataObject) -> None:
    event = copy.deepcopy(json.loads(path.read_text()))
    members = event["data"]
    name = data.draw(st.sampled_from(sorted(members)))
    if isinstance(members[name], dict) and members[name] and data.draw(st.booleans()):
        members = members[name]
        name = data.draw(st.sampled_from(sorted(members)))
    members[name] = data.draw(_JSON)
    events = PaystackEvents()
    for asked in (False, True):
        kind = f"fetched.{data.draw(st.sampled_from(['transaction', 'subscription', 'refunds', 'dispute']))}"
        told = {**event, "event": kind, "at": 1_795_200_000} if asked else event
        try:
            projected = events.project(json.dumps(told, allow_nan=False).encode(), fetched=asked)
            if projected.standing == "read":
                reading = events.read(projected)
                assert reading.aliases or reading.refetches
        except Unreadable:
            pass
