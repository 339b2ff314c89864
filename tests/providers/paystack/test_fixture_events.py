"""Every file of the fixtures, with what it must say beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keywright.domain.errors import Invalid, KeywrightError, Misconfigured, NotFound, Unreadable
from keywright.domain.facts import (
    Alias,
    HolderSeen,
    Item,
    PaidLine,
    PaymentSeen,
    Reading,
    Refetch,
    RefundPart,
    Stamp,
    SubscriptionSeen,
)
from keywright.ports import CheckoutRequest
from keywright.providers.paystack.api import PaystackApi
from keywright.providers.paystack.hook import PaystackEvents
from tests.conftest import TurnableClock

PAYSTACK = Path(__file__).parents[2] / "fixtures" / "paystack"
AT = datetime.fromtimestamp(1_795_200_000, UTC)
Read = Callable[..., Reading]


def of_file(name: str) -> Any:
    return json.loads((PAYSTACK / f"{name}.json").read_text())


def names(**external_ids: str) -> tuple[Alias, ...]:
    return tuple(Alias(kind, name) for kind, name in external_ids.items())  # type: ignore[arg-type]  # kinds as keywords


def asks(aliases: tuple[Alias, ...], kind: str, name: str) -> Reading:
    """What an event says: its names, and what is to be fetched. No fact."""
    return Reading(aliases, (), founds=False, refetches=(Refetch(kind, name),))


INVOICED = "SUB_fq7dbe8tju0i1v8/9cfbae6e-bbf3-5b41-8aef-d72c1a17650g"
EVENTS: dict[str, tuple[Reading | None, bool, str]] = {
    # file: what it says (None: nothing for us), live, when it happened
    "evt_charge-dispute-create__docs": (
        asks(names(intent="v3mjfgbnc19v97x", charge="896467688"), "dispute", "358950"),
        True,
        "2020-11-24T18:00:02",
    ),
    "evt_invoice-created__docs": (
        asks(
            names(
                subscription="SUB_fq7dbe8tju0i1v8",
                invoice="INV_thy2vkmirn2urwv",
                intent="9cfbae6e-bbf3-5b41-8aef-d72c1a17650g",
            ),
            "renewal",
            INVOICED,
        ),
        False,
        "2018-12-20T15:00:06",
    ),
    "evt_invoice-failed__docs": (
        asks(
            names(subscription="SUB_f7ct8g01mtcjf78", invoice="INV_3kfmqw48ca7b48k"),
            "subscription",
            "SUB_f7ct8g01mtcjf78",
        ),
        False,
        "2019-03-25T14:00:03",
    ),
    "evt_payment-methods_ussd-event__docs": (
        asks(names(intent="2ofkbk0yie6dvzb", charge="53561"), "transaction", "2ofkbk0yie6dvzb"),
        True,
        "2018-06-25T12:42:58",
    ),
    "evt_payment-request-success__docs": (None, False, "2019-06-21T15:26:10"),
    "evt_preauthorization_events_preauthorization-capture-success__docs": (None, True, "2016-01-01T00:00:00"),
    "evt_refund-pending__docs": (
        asks(names(intent="tvunjbbd_412829_4b18075d_c7had"), "refunds", "tvunjbbd_412829_4b18075d_c7had"),
        True,
        "2016-01-01T00:00:00",
    ),
    "evt_refund-processed__docs": (
        asks(names(intent="T2154954_412829_3be32076_6lcg3"), "refunds", "T2154954_412829_3be32076_6lcg3"),
        True,
        "2016-01-01T00:00:00",
    ),
    "evt_subscription-created__docs": (
        asks(names(subscription="SUB_vsyqdmlzble3uii"), "subscription", "SUB_vsyqdmlzble3uii"),
        False,
        "2016-10-01T10:59:59",
    ),
    "evt_subscription-not-renew__docs": (
        asks(names(subscription="SUB_d638sdiWAio7jnl"), "subscription", "SUB_d638sdiWAio7jnl"),
        False,
        "2021-10-08T14:50:39",
    ),
    "evt_subscriptions_event__docs": (
        asks(
            names(intent="683e6787-7645-557a-a270-c9035c3a2b65", charge="895091250"),
            "transaction",
            "683e6787-7645-557a-a270-c9035c3a2b65",
        ),
        False,
        "2020-11-23T11:00:09",
    ),
    "evt_transaction-successful__docs": (
        asks(names(intent="qTPrJoy9Bx", charge="302961"), "transaction", "qTPrJoy9Bx"),
        True,
        "2016-09-30T21:10:19",
    ),
}


def test_no_file_is_left_out() -> None:
    tried = set(EVENTS) | ANSWERS.keys() | REFUSALS.keys() | {"api_transactions_initialize__docs"}
    assert tried == {path.stem for path in PAYSTACK.glob("*.json")}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_names_what_to_fetch_and_proves_nothing(name: str) -> None:
    expected, live, at = EVENTS[name]
    events = PaystackEvents(live=not live)  # the event's own word counts
    projected = events.project((PAYSTACK / f"{name}.json").read_bytes())
    assert projected.live is live
    assert projected.occurred_at == datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert projected.type == of_file(name)["event"]
    if expected is None:
        assert (projected.standing, projected.body) == ("unknown", b"{}")
    else:
        assert projected.standing == "read"
        assert events.read(projected) == expected


def one_off(reading: Reading) -> None:
    (payment, holder) = reading.facts
    assert isinstance(payment, PaymentSeen)
    paid_at = datetime(2024, 8, 22, 9, 15, 2, tzinfo=UTC)
    stamp = Stamp(paid_at, int(AT.timestamp()) * 1_000_000, payment.stamp.digest)
    assert payment == PaymentSeen(
        stamp, "re4lyvq3s3", "paid", 40333, "NGN", intent="re4lyvq3s3", charge="4099260516"
    )
    assert isinstance(holder, HolderSeen)
    assert (holder.customer, holder.email) == ("CUS_1rkzaqsv4rrhqo6", "demo@test.com")
    assert reading.aliases == names(intent="re4lyvq3s3", charge="4099260516")
    assert (reading.exact, reading.founds, reading.prices) == (True, False, ())


def subscription(reading: Reading) -> None:
    seen, holder = reading.facts
    assert isinstance(seen, SubscriptionSeen)
    ends_at = datetime(2016, 4, 28, 7, tzinfo=UTC)
    began_at = datetime(2016, 3, 30, 0, 1, 4, tzinfo=UTC)
    item = Item("PLN_gx2wn530m0i3w3m", 1, began_at, ends_at)
    assert seen == SubscriptionSeen(Stamp(AT, 100, seen.stamp.digest), "active", (item,))
    assert holder == HolderSeen(seen.stamp, "CUS_xnxdt6s1zg1f4nx", "bojack@horsinaround.com")
    assert reading.aliases == names(subscription="SUB_vsyqdmlzble3uii")
    assert (reading.founds, reading.prices) == (True, ("PLN_gx2wn530m0i3w3m",))


def refund(reading: Reading) -> None:
    (part,) = reading.facts
    assert isinstance(part, RefundPart)
    assert part == RefundPart(
        Stamp(AT, 100, part.stamp.digest),
        "3018284",
        "pending",
        10000,
        "NGN",
        charge="1004723697",
        intent="T685312322670591",
        payment="T685312322670591",
    )
    assert reading.aliases == names(intent="T685312322670591", charge="1004723697")
    assert not reading.founds


ANSWERS: dict[str, tuple[str | None, Callable[[Reading], None] | None]] = {
    # file: the type it is taken in as (None: never taken in), what it must say (None: it is refused)
    "api_transactions_verify__docs": ("transaction", one_off),
    "api_transactions_list__docs": ("transaction", one_off),
    "api_subscriptions_fetch__docs": ("subscription", subscription),
    # Its plan is a bare number, which nothing is sold by.
    "api_subscriptions_create__docs": ("subscription", None),
    "api_refunds_create__docs": ("refunds", refund),
    "api_customers_fetch__docs": (None, None),
    "api_plans_create__docs": (None, None),
    "api_subscriptions_disable__docs": (None, None),
}


@pytest.mark.parametrize("name", [name for name, (kind, _) in ANSWERS.items() if kind is not None])
def test_an_answer_is_read_to_facts(name: str, fetched: Read) -> None:
    kind, says = ANSWERS[name]
    data = of_file(name)["200"]["data"]["data"]
    if isinstance(data, list):
        (data,) = data
    if kind == "refunds":
        data = {"refunds": [data], "domain": data["domain"]}
    if says is None:
        with pytest.raises(Unreadable, match="without a plan"):
            fetched(kind, data)
    else:
        says(fetched(kind, data))


@pytest.mark.parametrize("name", [name for name, (kind, _) in ANSWERS.items() if kind is None])
def test_an_answer_to_something_we_did_is_no_event(name: str) -> None:
    raw = json.dumps(of_file(name)["200"]["data"]).encode()
    for asked in (False, True):
        with pytest.raises(Unreadable, match="does not name its event"):
            PaystackEvents().project(raw, fetched=asked)


REFUSALS: dict[str, tuple[int, type[KeywrightError]]] = {
    "err_subscriptions_create_404__gosdk": (404, NotFound),
    "err_transactions_verify_400__gosdk": (400, Misconfigured),
}


def answering(status: int, body: Any) -> PaystackApi:
    def answer(request: httpx.Request) -> httpx.Response:
        del request
        return httpx.Response(status, json=body)

    clock = TurnableClock(AT)
    return PaystackApi("sk_test_fixture", clock, transport=httpx.MockTransport(answer))


@pytest.mark.parametrize("name", REFUSALS)
def test_an_error_body_is_told_in_our_words(name: str) -> None:
    status, error = REFUSALS[name]
    with pytest.raises(error) as refusal:
        answering(status, of_file(name)).fetch(Refetch("transaction", "re4lyvq3s3"))
    assert of_file(name)["message"] not in refusal.value.detail


@pytest.mark.parametrize("name", ["api_transactions_verify__docs", "api_customers_fetch__docs"])
def test_the_errors_beside_the_answers_are_told_apart(name: str) -> None:
    expected: dict[str, tuple[type[KeywrightError], ...]] = {
        "400": (Misconfigured,),
        "401": (Misconfigured,),
        "404": (Invalid, NotFound),
    }
    for status, told in of_file(name).items():
        if status != "200":
            with pytest.raises(expected[status]):
                answering(int(status), told["data"]).fetch(Refetch("transaction", "re4lyvq3s3"))


def test_a_checkout_is_opened_as_documented() -> None:
    api = answering(200, of_file("api_transactions_initialize__docs")["200"]["data"])
    request = CheckoutRequest(
        reference="KW-ABCDEFGH23456777",
        price_external_id=None,
        amount=5000,
        currency="NGN",
        interval=None,
        quantity=1,
        success_url="https://shop.example/ok",
        cancel_url="https://shop.example/no",
        expires_at=AT + timedelta(hours=23),
        email="ada@example.com",
    )
    opened = api.create_checkout(request)
    assert opened.url == "https://checkout.paystack.com/3ni8kdavz62431k"
    assert opened.session == "KW-ABCDEFGH23456777"


def test_a_line_of_a_plan_is_one_period(fetched: Read) -> None:
    """The event's object, as an answer: without the subscription the period can only be estimated."""
    reading = fetched("transaction", of_file("evt_subscriptions_event__docs")["data"])
    payment = reading.facts[0]
    assert isinstance(payment, PaymentSeen)
    paid_at = datetime(2020, 11, 23, 11, 0, 9, tzinfo=UTC)
    assert payment.lines == (PaidLine("PLN_a5vr5skxg72f4lr", 1, paid_at, paid_at.replace(month=12)),)
    assert payment.stamp.rank == 0
    assert (reading.founds, reading.exact, reading.prices) == (True, False, ("PLN_a5vr5skxg72f4lr",))
