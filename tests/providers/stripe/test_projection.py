"""What is kept of an event, and above all what is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keywright.domain.errors import Unreadable
from keywright.domain.facts import Projected
from keywright.providers.stripe.hook import StripeEvents
from keywright.providers.stripe.shapes import LATER, READ

MakeEvent = Callable[..., bytes]
FIXTURES = Path(__file__).parents[2] / "fixtures"
EVENTS = sorted((FIXTURES / "stripe").glob("evt_*.json"))
PAN = "4242 4242 4242 4242"

SESSION = {"id": "cs_1", "mode": "payment", "payment_status": "paid", "amount_total": 5, "currency": "usd"}


def project(raw: bytes) -> Projected:
    return StripeEvents().project(raw)


def body_of(raw: bytes) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(project(raw).body)["object"]
    return kept


def members(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from members(inner)


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_a_projection_describes_the_bytes_it_stands_for(path: Path) -> None:
    raw = path.read_bytes()
    event = json.loads(raw)
    projected = project(raw)
    assert projected.dedupe_key == event["id"]
    assert projected.type == event["type"]
    assert projected.live is event["livemode"]
    assert int(projected.occurred_at.timestamp()) == event["created"]
    assert projected.account == event.get("account")
    assert projected.api_version == event.get("api_version")
    assert projected.raw_sha256 == hashlib.sha256(raw).hexdigest()
    assert projected.raw_size == len(raw)
    assert projected.digest == hashlib.sha256(projected.body).hexdigest()
    assert project(json.dumps(event).encode()).body == projected.body


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_nothing_sensitive_survives(path: Path) -> None:
    kept = set(members(json.loads(project(path.read_bytes()).body)))
    forbidden = {
        "address", "billing_details", "card", "last4", "fingerprint", "exp_month", "client_secret",
        "shipping", "payment_method", "payment_method_details", "source", "phone", "customer_address",
        "receipt_url", "hosted_invoice_url", "description", "tax_ids", "url",
    }  # fmt: skip
    assert not kept & forbidden


def test_planted_text_leaves_no_trace_wherever_it_stands(make_event: MakeEvent) -> None:
    def plant(value: Any) -> Any:
        if isinstance(value, dict):
            marked = {f"x_{name}": inner for name, inner in value.items()}
            return {
                **{name: plant(inner) for name, inner in value.items()},
                **marked,
                "metadata": {"note": "planted-secret", "card": PAN},
                "card": {"number": PAN, "cvc": "planted-secret", "last4": "4242"},
                "client_secret": "planted-secret",
                "phone": "planted-secret",
            }
        return [plant(inner) for inner in value] if isinstance(value, list) else value

    for path in EVENTS:
        event = json.loads(path.read_text())
        raw = make_event(event["type"], plant(event["data"]["object"]), planted="planted-secret")
        body = project(raw).body
        assert b"planted" not in body
        assert b"4242" not in body.replace(b" ", b"")


@pytest.mark.parametrize(
    ("email", "kept"),
    [
        ("ada@example.com", "ada@example.com"),
        ("ä@exämple.com", "ä@exämple.com"),
        ("a" * 309 + "@example.com", None),
        ("not an address", None),
        ("ada@example.com\r\nBcc: eve@example.com", None),
        ("4242424242424242@example.com", None),
        ("", None),
    ],
)
def test_an_email_is_kept_only_if_it_looks_like_one(
    make_event: MakeEvent, email: str, kept: str | None
) -> None:
    session = {**SESSION, "customer_details": {"email": email}, "customer_email": email}
    body = body_of(make_event("checkout.session.completed", session))
    assert body.get("customer_details", {}).get("email") == kept
    assert body.get("customer_email") == kept
    invoice = {"id": "in_1", "currency": "usd", "amount_paid": 1, "customer_email": email}
    assert body_of(make_event("invoice.paid", invoice)).get("customer_email") == kept
    subscription = {"id": "sub_1", "status": "active", "customer": {"id": "cus_1", "email": email}}
    customer = body_of(make_event("customer.subscription.created", subscription))["customer"]
    assert customer == ({"id": "cus_1"} if kept is None else {"id": "cus_1", "email": kept})


def test_the_name_of_a_buyer_is_not_kept(make_event: MakeEvent) -> None:
    session = {**SESSION, "customer_details": {"email": None, "name": "Ada Lovelace"}}
    assert b"Lovelace" not in project(make_event("checkout.session.completed", session)).body


@pytest.mark.parametrize(
    "secret",
    [
        "sk_live_abc",
        "rk_test_abc",
        "whsec_abc",
        "pi_1_secret_abc",
        "AUTH_abc",
        "AKIAIOSFODNN7ABC",
        "ghp_abc",
        "xoxb-abc",
        "kw_abc",
        "eyJhbGciOiJub25lIn0.abc",
        "DE89370400440532013000",
        "078-05-1120",
        "cvc-737",
        "two words",
        "a/b",
    ],
)
def test_a_credential_in_the_place_of_an_id_is_refused(make_event: MakeEvent, secret: str) -> None:
    subscription = {"id": "sub_1", "status": "active", "customer": "cus_1"}
    for member in ("id", "customer", "status"):
        with pytest.raises(Unreadable):
            project(make_event("customer.subscription.created", {**subscription, member: secret}))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("KW-ABCDEFGHJKMNPQ23", "KW-ABCDEFGHJKMNPQ23"),
        ("order 66", None),
        ("kw-abcdefgh", None),
        ("KW-4242424242424242", None),
        ("KW-" + "A" * 300, None),
        ("KW-ABCDEFGH\n", None),
    ],
)
def test_only_references_of_ours_are_kept(make_event: MakeEvent, text: str, kept: str | None) -> None:
    metadata = {"keywright_reference": text, "other": "x"}
    session = {**SESSION, "client_reference_id": text, "metadata": metadata}
    body = body_of(make_event("checkout.session.completed", session))
    assert "client_reference_id" not in body
    expected = None if kept is None else {"keywright_reference": kept}
    assert body.get("metadata") == expected
    places = {
        "parent": {"type": "subscription_details", "subscription_details": {"metadata": metadata}},
        "subscription_details": {"metadata": metadata},
        "lines": {"data": [{"metadata": metadata}]},
    }
    invoice = body_of(make_event("invoice.paid", {"id": "in_1", "currency": "usd", **places}))
    assert invoice["parent"]["subscription_details"].get("metadata") == expected
    assert invoice["subscription_details"].get("metadata") == expected
    assert invoice["lines"]["data"][0].get("metadata") == expected


@pytest.mark.parametrize(
    "event",
    [
        {"id": "evt_4242 4242 4242 4242"},
        {"id": "4242424242424242"},
        {"type": "4242424242424242"},
        {"account": "4242-4242-4242-4242"},
        {"api_version": "4242424242424242"},
        {"data": {"object": {**SESSION, "id": "4242424242424242"}}},
        {"data": {"object": {**SESSION, "customer": PAN}}},
        {"data": {"object": {**SESSION, "payment_intent": {"id": "4242%204242%204242%204242"}}}},
        {"data": {"object": {**SESSION, "amount_total": 4242424242424242}}},
        {"data": {"object": {**SESSION, "mode": "4242 4242 4242 4242"}}},
    ],
)
def test_a_card_number_in_an_identifier_is_refused(make_event: MakeEvent, event: dict[str, Any]) -> None:
    with pytest.raises(Unreadable) as caught:
        project(make_event("checkout.session.completed", SESSION, **event))
    assert "4242" not in str(caught.value)


def test_a_later_type_with_a_card_number_keeps_its_envelope_only(make_event: MakeEvent) -> None:
    projected = project(make_event("invoice.overdue", {"id": "in_1", "charge": PAN, "amount": 5}))
    assert (projected.standing, projected.body) == ("later", b"{}")


def test_a_cut_list_is_marked(make_event: MakeEvent) -> None:
    item = {"price": "price_1", "quantity": 1}
    for has_more in (True, False):
        subscription = {"id": "sub_1", "status": "active", "items": {"data": [item], "has_more": has_more}}
        invoice = {"id": "in_1", "currency": "usd", "lines": {"data": [], "has_more": has_more}}
        for kind, about in (
            ("customer.subscription.updated", subscription),
            ("invoice.paid", invoice),
        ):
            projected = project(make_event(kind, about))
            assert json.loads(projected.body).get("more", False) is has_more
            assert StripeEvents().read(projected).facts


@pytest.mark.parametrize("kind", sorted(LATER))
def test_known_types_of_a_later_release_are_kept_for_replay(make_event: MakeEvent, kind: str) -> None:
    about = {"id": "x_1", "status": "open", "customer": {"id": "cus_1"}, "amount": 5, "card": {"last4": "1"}}
    projected = project(make_event(kind, about))
    assert projected.standing == "later"
    kept = {"id": "x_1", "status": "open", "amount": 5, "customer": {"id": "cus_1"}}
    assert json.loads(projected.body) == {"object": kept}
    with pytest.raises(Unreadable):
        StripeEvents().read(projected)


@pytest.mark.parametrize("about", [None, 7, "x", [], {"id": 7}, {"amount": "x"}, {"metadata": []}])
def test_a_later_type_is_never_refused_for_its_object(make_event: MakeEvent, about: Any) -> None:
    assert project(make_event("invoice.overdue", about)).standing == "later"


def test_types_read_and_types_kept_do_not_overlap() -> None:
    assert not LATER & READ.keys()


def test_unknown_types_leave_only_their_envelope(make_event: MakeEvent) -> None:
    projected = project(make_event("issuing_card.created", {"id": "ic_1", "last4": "4242"}))
    assert (projected.standing, projected.body) == ("unknown", b"{}")


def test_thin_events_are_recognized() -> None:
    thin = {
        "id": "evt_thin_1",
        "object": "v2.core.event",
        "type": "v1.invoice.paid",
        "created": "2026-11-20T10:00:00.123+01:00",
        "livemode": True,
        "related_object": {"id": "in_1", "type": "invoice", "url": "/v1/invoices/in_1"},
        "snapshot_event": "evt_1",
    }
    projected = project(json.dumps(thin).encode())
    assert projected.dedupe_key == "evt_thin_1", "never the snapshot's: the snapshot would become a duplicate"
    assert projected.standing == "unknown"
    assert projected.live is True
    assert projected.occurred_at.isoformat() == "2026-11-20T09:00:00.123000+00:00"
    for broken in ({"created": "yesterday"}, {"created": "2026-11-20T10:00:00"}, {"id": 5}, {"created": 7}):
        with pytest.raises(Unreadable):
            project(json.dumps({**thin, **broken}).encode())


@pytest.mark.parametrize(
    "envelope",
    [
        {"id": None}, {"id": 7}, {"id": ""}, {"id": "x" * 256}, {"type": None}, {"type": 5},
        {"type": "x" * 129},
        {"created": None}, {"created": "1795200000"}, {"created": -1}, {"created": True}, {"created": 1.5},
        {"created": 253402300800}, {"livemode": None}, {"livemode": "false"}, {"livemode": 0}, {"data": None},
        {"data": []}, {"data": {"object": None}}, {"data": {}}, {"account": 5}, {"api_version": []},
    ],
)  # fmt: skip
def test_a_broken_envelope_is_unreadable(make_event: MakeEvent, envelope: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        project(make_event("checkout.session.completed", SESSION, **envelope))


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"null", b"[]", b'"x"', b"{}", b"\xff", b"\xef\xbb\xbf{}", b'{"id":NaN}', b"[" * 5000,
     b'{"id":"a","id":"b"}', b'{"created":' + b"9" * 5000 + b"}", b'{"id":"\\ud800","type":"x","created":1}'],
)  # fmt: skip
def test_hostile_json_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        project(raw)


def test_a_projection_that_is_not_ours_is_unreadable(make_event: MakeEvent) -> None:
    good = project(make_event("checkout.session.completed", SESSION))
    for body in (b"", b"{}", b"\xff", b'{"object":{"id":5}}', b'{"object":null}'):
        with pytest.raises(Unreadable):
            StripeEvents().read(msgspec.structs.replace(good, body=body))
