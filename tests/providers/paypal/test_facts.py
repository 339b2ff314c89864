"""What a fetched object means, case by case."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keywright.domain.errors import Invalid, Unreadable
from keywright.domain.facts import (
    CheckoutSeen,
    DisputeSeen,
    Fact,
    HolderSeen,
    PaymentSeen,
    Reading,
    RefundPart,
    RefundSeen,
    SubscriptionSeen,
)
from keywright.domain.purchase import Purchase, absorb
from keywright.providers.paypal import shapes, values
from keywright.providers.paypal.api import decimals
from keywright.providers.paypal.hook import PayPalEvents
from tests.providers.paypal.deliveries import certificates

AT = "2026-11-20T10:00:00Z"
EVENTS = PayPalEvents(certificates(live=False), live=False)
SALE = "8RS6210148826604N"
MONTHLY = {
    "billing_cycles": [
        {
            "tenure_type": "REGULAR",
            "frequency": {"interval_unit": "MONTH", "interval_count": 1},
            "pricing_scheme": {"fixed_price": {"value": "50.00", "currency_code": "USD"}},
        }
    ]
}


def fetched(kind: str, resource: dict[str, Any], at: str = AT, **more: Any) -> bytes:
    return json.dumps({"event_type": f"fetched.{kind}", "at": at, "resource": resource, **more}).encode()


def read(raw: bytes) -> Reading:
    projected = EVENTS.project(raw, fetched=True)
    assert projected.standing == "read"
    return EVENTS.read(projected)


def only(kind: type[Any], reading: Reading) -> Any:
    (one,) = [fact for fact in reading.facts if isinstance(fact, kind)]
    return one


def subscription(
    status: str = "ACTIVE", *, paid: tuple[str, ...] = ("2026-11-10T09:00:00Z",), **changes: Any
) -> bytes:
    info: dict[str, Any] = {
        "outstanding_balance": {"currency_code": "USD", "value": "0.0"},
        "failed_payments_count": 0,
        "next_billing_time": "2026-12-10T10:00:00Z",
        **changes.pop("info", {}),
    }
    resource = {
        "id": "I-BW452GLLEP1G",
        "status": status,
        "plan_id": "P-5ML4271244454362WXNWU5NQ",
        "quantity": "3",
        "start_time": "2026-11-10T08:00:00Z",
        "status_update_time": "2026-11-15T08:00:00Z",
        "subscriber": {"payer_id": "2J6QB8YJQSJRJ", "email_address": "ada@example.com"},
        "billing_info": {name: value for name, value in info.items() if value is not None},
        "plan": MONTHLY,
        **changes,
    }
    transactions = [
        {
            "id": f"{place}RS6210148826604N",
            "status": "COMPLETED",
            "time": at,
            "amount_with_breakdown": {"gross_amount": {"currency_code": "USD", "value": "150.00"}},
        }
        for place, at in enumerate(paid)
    ]
    return fetched("subscription", resource, transactions=transactions)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


OWING = {"failed_payments_count": 1, "outstanding_balance": {"currency_code": "USD", "value": "50.00"}}


@pytest.mark.parametrize(
    ("status", "info", "means"),
    [
        ("ACTIVE", {}, "active"),
        ("active", {}, "active"),
        ("ACTIVE", OWING, "past_due"),
        ("ACTIVE", {"failed_payments_count": 2}, "past_due"),
        ("SUSPENDED", {}, "paused"),
        ("SUSPENDED", OWING, "unpaid"),
        ("CANCELLED", {"next_billing_time": None}, "ended"),
        ("EXPIRED", {"next_billing_time": None}, "ended"),
        ("SOMETHING_NEW", {}, "unknown"),
    ],
)
def test_the_status_of_a_subscription(status: str, info: dict[str, Any], means: str) -> None:
    seen = only(SubscriptionSeen, read(subscription(status, info=info)))
    assert seen.status == means
    assert (seen.ended_at is not None) == (means == "ended")
    assert seen.items[0].quantity == 3


@pytest.mark.parametrize("status", ["APPROVAL_PENDING", "APPROVED"])
def test_what_nobody_agreed_to_says_nothing(status: str) -> None:
    assert EVENTS.project(subscription(status, paid=()), fetched=True).standing == "unknown"


@pytest.mark.parametrize(
    ("next_billing", "info", "until"),
    [
        ("2026-12-10T10:00:00Z", {}, "2026-12-10T10:00:00Z"),
        # The payment failed, and PayPal counts on: nobody has paid for the month after.
        ("2027-01-10T10:00:00Z", OWING, "2026-12-10T09:00:00Z"),
        ("2027-01-10T10:00:00Z", {}, "2026-12-10T09:00:00Z"),
        # Canceled, or not told yet: the plan says how long a month is.
        (None, {}, "2026-12-10T09:00:00Z"),
        ("2026-11-10T10:00:00Z", {}, "2026-12-10T09:00:00Z"),
        ("2018-19-12T22:20:32.000Z", {}, "2026-12-10T09:00:00Z"),
        # Paid late: the next billing keeps its day.
        ("2026-12-05T10:00:00Z", {}, "2026-12-05T10:00:00Z"),
    ],
)
def test_until_when_a_payment_paid(next_billing: str | None, info: dict[str, Any], until: str) -> None:
    reading = read(subscription(info={**info, "next_billing_time": next_billing}))
    paid = only(PaymentSeen, reading)
    assert paid.lines[0].ends_at == moment(until)
    assert paid.lines[0].starts_at == moment("2026-11-10T09:00:00Z")
    assert (paid.amount, paid.currency, paid.lines[0].quantity) == (15000, "USD", 3)


def test_what_is_not_known_of_a_payment_is_not_said() -> None:
    reading = read(subscription("CANCELLED", plan=None, info={"next_billing_time": None}))
    assert not [fact for fact in reading.facts if isinstance(fact, PaymentSeen)]
    assert only(SubscriptionSeen, reading).status == "ended"


def test_payments_follow_one_another() -> None:
    reading = read(subscription(paid=("2026-10-10T09:10:00Z", "2026-11-10T09:00:00Z")))
    older, newer = (fact for fact in reading.facts if isinstance(fact, PaymentSeen))
    assert older.lines[0].ends_at == newer.lines[0].starts_at
    assert newer.lines[0].ends_at == moment("2026-12-10T10:00:00Z")


def test_a_first_payment_that_has_not_come_pays_for_nothing() -> None:
    reading = read(subscription(paid=()))
    assert only(SubscriptionSeen, reading).status == "incomplete"
    assert only(CheckoutSeen, reading).state == "processing"


TRIAL = {
    "billing_cycles": [
        {
            "tenure_type": "TRIAL",
            "frequency": {"interval_unit": "DAY", "interval_count": 14},
            "total_cycles": 1,
        },
        *MONTHLY["billing_cycles"],
    ]
}


@pytest.mark.parametrize("next_billing", ["2026-11-24T10:00:00Z", "2026-11-10T10:00:00Z", None])
def test_a_free_trial_lasts_as_long_as_the_plan_says(next_billing: str | None) -> None:
    """PayPal may say at first that the next billing is today."""
    reading = read(subscription(paid=(), plan=TRIAL, info={"next_billing_time": next_billing}))
    seen = only(SubscriptionSeen, reading)
    assert seen.status == "trialing"
    assert seen.items[0].ends_at is not None
    assert abs(seen.items[0].ends_at - moment("2026-11-24T08:00:00Z")) < timedelta(hours=3)
    assert only(CheckoutSeen, reading).state == "paid"


def test_a_subscription_names_its_buyer_and_our_checkout() -> None:
    reading = read(subscription(custom_id="KW-ABCD1234"))
    assert only(HolderSeen, reading).customer == "2J6QB8YJQSJRJ"
    assert only(HolderSeen, reading).email == "ada@example.com"
    assert reading.reference == "KW-ABCD1234"
    assert {alias.kind for alias in reading.aliases} == {"session", "subscription", "reference", "charge"}
    assert reading.prices == ("P-5ML4271244454362WXNWU5NQ",)
    assert read(subscription(custom_id="order of Ada Lovelace")).reference is None


def test_a_price_of_its_own_is_told() -> None:
    """Any page may begin a subscription with the public client id, and override the plan's price."""
    assert read(subscription(plan_overridden=True)).custom
    assert not read(subscription(plan_overridden=False)).custom
    assert not read(subscription()).custom


def test_a_snapshot_of_an_old_second_loses_to_a_newer_one() -> None:
    def told(raw: bytes) -> tuple[Fact, ...]:
        return read(raw).facts

    active, gone = told(subscription()), told(subscription("CANCELLED", info={"next_billing_time": None}))
    ends = []
    for order in (active + gone, gone + active):
        purchase = Purchase()
        for fact in order:
            purchase = absorb(purchase, fact)
        ends.append(purchase)
    assert ends[0] == ends[1]
    assert ends[0].subscription is not None
    assert ends[0].subscription.status == "ended"


# --------------------------------------------------------------------------- orders, refunds and disputes


def order(status: str = "COMPLETED", capture: str | None = "COMPLETED", **more: Any) -> bytes:
    payments: dict[str, Any] = {}
    if capture is not None:
        payments["captures"] = [
            {
                "id": SALE,
                "status": capture,
                "amount": {"currency_code": "EUR", "value": "99.00"},
                "create_time": "2026-11-01T08:00:00Z",
            }
        ]
    unit = {"custom_id": "KW-ABCD1234", "payments": {**payments, **more}}
    return fetched("order", {"id": "1AB234567A1234567", "status": status, "purchase_units": [unit]})


@pytest.mark.parametrize(
    ("capture", "state", "checkout"),
    [
        ("COMPLETED", "paid", "paid"),
        ("PARTIALLY_REFUNDED", "paid", "paid"),
        ("REFUNDED", "paid", "paid"),
        ("PENDING", "pending", "processing"),
        ("DECLINED", "failed", "failed"),
        ("FAILED", "failed", "failed"),
        ("SOMETHING_NEW", "failed", "failed"),
    ],
)
def test_a_capture(capture: str, state: str, checkout: str) -> None:
    reading = read(order(capture=capture))
    paid = only(PaymentSeen, reading)
    assert (paid.payment, paid.charge, paid.state) == ("1AB234567A1234567", SALE, state)
    assert (paid.amount, paid.currency) == (9900, "EUR")
    # Asking again must not begin a bought year anew.
    assert paid.stamp.at == moment("2026-11-01T08:00:00Z")
    assert only(CheckoutSeen, reading).state == checkout
    assert reading.exact
    whole = [fact for fact in reading.facts if isinstance(fact, RefundSeen)]
    assert [(one.full, one.amount) for one in whole] == ([(True, 9900)] if capture == "REFUNDED" else [])


def test_an_order_that_is_not_paid() -> None:
    for status in ("CREATED", "APPROVED", "PAYER_ACTION_REQUIRED", "SAVED"):
        assert EVENTS.project(order(status, None), fetched=True).standing == "unknown"
    assert only(CheckoutSeen, read(order("VOIDED", None))).state == "expired"


def test_refunds_of_an_order_are_told_one_by_one() -> None:
    refunds = [
        {
            "id": "1Y107995YT783435V",
            "status": "COMPLETED",
            "amount": {"currency_code": "EUR", "value": "9.00"},
        },
        {"id": "2Y107995YT783435V", "status": "FAILED", "amount": {"currency_code": "EUR", "value": "5.00"}},
        {"id": "3Y107995YT783435V", "status": "PENDING", "amount": {"currency_code": "EUR", "value": "1.00"}},
    ]
    reading = read(order(capture="PARTIALLY_REFUNDED", refunds=refunds))
    parts = [fact for fact in reading.facts if isinstance(fact, RefundPart)]
    assert [(one.state, one.amount, one.charge) for one in parts] == [
        ("done", 900, SALE),
        ("failed", 500, SALE),
        ("pending", 100, SALE),
    ]


@pytest.mark.parametrize("total", ["-0.01", "0.01"])
def test_the_amount_of_a_refund_is_positive(total: str) -> None:
    resource = {
        "id": "1Y1",
        "state": "completed",
        "sale_id": SALE,
        "amount": {"total": total, "currency": "USD"},
    }
    part = only(RefundPart, read(fetched("refund", resource)))
    assert (part.amount, part.state, part.charge) == (1, "done", SALE)


@pytest.mark.parametrize(
    ("stage", "status", "outcome", "means"),
    [
        ("INQUIRY", "OPEN", None, "inquiry"),
        ("CHARGEBACK", "WAITING_FOR_SELLER_RESPONSE", None, "open"),
        ("PRE_ARBITRATION", "UNDER_REVIEW", None, "open"),
        ("ARBITRATION", "OTHER", None, "open"),
        (None, "OPEN", None, "open"),
        ("CHARGEBACK", "RESOLVED", "RESOLVED_BUYER_FAVOUR", "lost"),
        ("CHARGEBACK", "RESOLVED", "RESOLVED_BUYER_FAVOR", "lost"),
        ("INQUIRY", "RESOLVED", "ACCEPTED", "lost"),
        ("CHARGEBACK", "RESOLVED", "RESOLVED_SELLER_FAVOUR", "won"),
        ("CHARGEBACK", "RESOLVED", "CANCELED_BY_BUYER", "won"),
        ("CHARGEBACK", "RESOLVED", "DENIED", "won"),
        ("CHARGEBACK", "RESOLVED", "RESOLVED_WITH_PAYOUT", "won"),
        ("CHARGEBACK", "RESOLVED", "NONE", "over"),
        ("CHARGEBACK", "RESOLVED", None, "over"),
    ],
)
def test_a_dispute(stage: str | None, status: str, outcome: str | None, means: str) -> None:
    resource: dict[str, Any] = {
        "dispute_id": "PP-D-27803",
        "status": status,
        "dispute_amount": {"currency_code": "USD", "value": "50.00"},
        "disputed_transactions": [{"seller_transaction_id": SALE}],
    }
    if stage is not None:
        resource["dispute_life_cycle_stage"] = stage
    if outcome is not None:
        resource["dispute_outcome"] = {"outcome_code": outcome}
    reading = read(fetched("dispute", resource))
    case, *back = (fact for fact in reading.facts if isinstance(fact, DisputeSeen))
    assert (case.state, case.charge) == (means, SALE)
    # Money that the bank had taken back came home.
    assert [one.dispute for one in back] == ([f"reversal-{SALE}"] if means == "won" else [])


def test_a_reversed_sale_is_lost_until_the_dispute_is_won() -> None:
    sale = {"id": SALE, "state": "reversed", "amount": {"total": "-50.00", "currency": "USD"}}
    taken = only(DisputeSeen, read(fetched("sale", sale)))
    dispute = {
        "dispute_id": "PP-D-27803",
        "status": "RESOLVED",
        "dispute_outcome": {"outcome_code": "RESOLVED_SELLER_FAVOUR"},
        "disputed_transactions": [{"seller_transaction_id": SALE}],
    }
    case, back = read(fetched("dispute", dispute)).facts
    assert isinstance(case, DisputeSeen)
    assert isinstance(back, DisputeSeen)
    assert (case.dispute, case.state) == ("PP-D-27803", "won")
    assert (taken.dispute, taken.state, taken.amount) == (back.dispute, "lost", 5000)
    assert back.state == "won"
    assert back.stamp > taken.stamp


# ---------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"id":"WH-1"}',
        b'{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED"}',
        b'{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","resource":{}}',
        b'{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"../../v1/oauth2"}}',
        b'{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"4242424242424242"}}',
        b'{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"A21AAlongtoken"}}',
        b'{"id":"WH-1","id":"WH-2","event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"1"}}',
        b'{"id":"WH 1","event_type":"PAYMENT.SALE.COMPLETED","resource":{"id":"8RS6210148826604N"}}',
        b'\xff{"id":"WH-1"}',
    ],
)
def test_what_cannot_be_an_event(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        EVENTS.project(raw)


def test_a_webhook_may_not_claim_to_be_an_answer() -> None:
    raw = json.loads(subscription()) | {"id": "WH-1"}
    assert EVENTS.project(json.dumps(raw).encode()).standing == "unknown"


def test_nothing_of_a_person_is_kept_but_the_address() -> None:
    subscriber = {
        "payer_id": "2J6QB8YJQSJRJ",
        "email_address": "ada@example.com",
        "name": {"given_name": "Ada", "surname": "Lovelace"},
        "shipping_address": {"address": {"postal_code": "95131"}},
        "payment_source": {"card": {"number": "4242424242424242", "expiry": "2030-01"}},
    }
    kept = EVENTS.project(subscription(subscriber=subscriber, custom_id="Ada L."), fetched=True).body.decode()
    for word in ("Lovelace", "95131", "4242", "2030-01", "Ada L"):
        assert word not in kept
    odd = EVENTS.project(subscription(subscriber={"email_address": "no address"}), fetched=True).body.decode()
    assert "no address" not in odd


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("100", "JPY", 100),
        ("9.99", "USD", 999),
        ("-0.01", "USD", -1),
        ("5", "KWD", 5000),
        ("100", "HUF", 10000),
    ],
)
def test_amounts_in(text: str, currency: str, minor: int) -> None:
    assert values.minor(text, currency) == minor


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [(9900, "USD", "99.00"), (5, "EUR", "0.05"), (100, "JPY", "100"), (10000, "HUF", "100")],
)
def test_amounts_out(minor: int, currency: str, text: str) -> None:
    assert decimals(minor, currency) == text
    assert values.minor(text, currency) == minor


@pytest.mark.parametrize(("minor", "currency"), [(10050, "HUF"), (1500, "KWD")])
def test_amounts_that_paypal_does_not_take(minor: int, currency: str) -> None:
    with pytest.raises(Invalid):
        decimals(minor, currency)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2018-08-15T12:13:29-07:00", "2018-08-15T19:13:29Z"),
        ("2018-08-15T19:14:04.543Z", "2018-08-15T19:14:04.543Z"),
        ("2018-08-15T19:14:04.543123456Z", "2018-08-15T19:14:04.543123Z"),
        ("2018-19-12T22:20:32.000Z", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_times(text: str | None, means: str | None) -> None:
    assert values.moment(text) == (None if means is None else moment(means))


@pytest.mark.parametrize(
    ("began", "unit", "count", "cycles", "ends"),
    [
        ("2026-01-31T10:00:00Z", "MONTH", 1, 1, "2026-02-28T10:00:00Z"),
        ("2024-02-29T10:00:00Z", "YEAR", 1, 1, "2025-02-28T10:00:00Z"),
        ("2026-01-01T10:00:00Z", "WEEK", 2, 1, "2026-01-15T10:00:00Z"),
        ("2026-01-01T10:00:00Z", "DAY", 1, 30, "2026-01-31T10:00:00Z"),
        ("2026-11-30T10:00:00Z", "MONTH", 3, 1, "2027-02-28T10:00:00Z"),
        ("9999-12-31T10:00:00Z", "YEAR", 1, 1, None),
        ("2026-01-01T10:00:00Z", "FORTNIGHT", 1, 1, None),
    ],
)
def test_billing_cycles(began: str, unit: str, count: int, cycles: int, ends: str | None) -> None:
    found = values.shifted(moment(began), shapes.Frequency(unit, count), cycles)
    assert found == (None if ends is None else moment(ends))
