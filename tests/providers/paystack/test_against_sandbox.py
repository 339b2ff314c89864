"""Our Paystack adapter and our Paystack stand-in, over real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keywright.domain.errors import (
    Conflict,
    Invalid,
    KeywrightError,
    Misconfigured,
    NotFound,
    ProviderUnavailable,
    Unsupported,
)
from keywright.domain.facts import (
    CheckoutSeen,
    DisputeSeen,
    Fact,
    HolderSeen,
    PaymentSeen,
    Reading,
    Refetch,
    RefundPart,
    RefundSeen,
    SubscriptionSeen,
)
from keywright.ports import CheckoutCreated, CheckoutRequest, Deal
from keywright.providers.paystack.api import PaystackApi, access_code_of
from keywright.providers.paystack.billing import PaystackBilling
from keywright.providers.paystack.hook import PaystackEvents
from keywright.sandbox.app import SandboxServer
from tests.conftest import TurnableClock

REFERENCE = "KW-ABCDEFGH23456777"
DAY = 86_400
Json = dict[str, Any]


class Shop:
    """The stand-in, the adapter in front of it, and a plan of 5,000 naira a month."""

    def __init__(self, server: SandboxServer) -> None:
        self.server = server
        self.stand_in = server.sandbox.paystack
        self.base = f"{server.url}/paystack"
        self.api = PaystackApi(self.stand_in.secret_key, server.sandbox.clock, base=self.base)
        self.billing = PaystackBilling(self.api.http)
        made = self.api.http.post("/plan", {"name": "Pro", "amount": 500_000, "interval": "monthly"})
        self.plan = made.data["plan_code"]
        self.closes_at = server.sandbox.clock.now() + timedelta(hours=1)

    def request(self, reference: str = REFERENCE, **members: Any) -> CheckoutRequest:
        wish: Json = {
            "reference": reference,
            "price_external_id": None,
            "amount": 5000,
            "currency": "NGN",
            "interval": None,
            "quantity": 1,
            "success_url": "https://shop.example/ok",
            "cancel_url": "https://shop.example/no",
            "expires_at": self.closes_at,
            "email": "ada@example.com",
            **members,
        }
        return CheckoutRequest(**wish)

    def open(self, reference: str = REFERENCE, **members: Any) -> CheckoutCreated:
        return self.api.create_checkout(self.request(reference, **members))

    def subscribe(self, reference: str = REFERENCE) -> str:
        """Buys the plan; gives the subscription's code."""
        opened = self.open(reference, price_external_id=self.plan, interval="month")
        self.pull("pay", reference=opened.session)
        code: str = self.stand_in.state.every("subscription")[-1]["subscription_code"]
        return code

    def pull(self, lever: str, **wish: Any) -> Json:
        answer = httpx.post(f"{self.server.url}/_sandbox/paystack/{lever}", json=wish, trust_env=False)
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told

    def turn(self, seconds: int) -> None:
        answer = httpx.post(
            f"{self.server.url}/_sandbox/clock/advance", json={"seconds": seconds}, trust_env=False
        )
        assert answer.status_code == 200, answer.text

    def events(self, kind: str) -> list[Reading]:
        """What every event of this type says."""
        raws = [one["told"] for one in self.stand_in.state.every("event") if one["type"] == kind]
        events = PaystackEvents()
        return [events.read(events.project(json.dumps(raw).encode())) for raw in raws]

    def fetch(self, kind: str, name: str) -> list[Reading]:
        return read(*self.api.fetch(Refetch(kind, name)))


def read(*raws: bytes) -> list[Reading]:
    """What envelopes say, without those that say nothing."""
    events = PaystackEvents()
    projected = [events.project(raw, fetched=True) for raw in raws]
    return [events.read(one) for one in projected if one.standing == "read"]


def only(readings: list[Reading], kind: type) -> Any:
    found: list[Fact] = [fact for one in readings for fact in one.facts if isinstance(fact, kind)]
    (fact,) = found
    return fact


def names(reading: Reading) -> dict[str, str]:
    return {alias.kind: alias.external_id for alias in reading.aliases}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with SandboxServer(data_dir=tmp_path) as server:
        yield Shop(server)


# -- checkout -----------------------------------------------------------------------------------------


def test_a_one_off_order_is_paid_and_verified(shop: Shop) -> None:
    opened = shop.open(quantity=3)
    assert shop.open(quantity=3) == opened, "asked twice, opened once"
    assert opened.url.startswith(f"{shop.base}/pay/")
    assert access_code_of(opened.url) == opened.url.rsplit("/", 1)[-1]
    assert shop.fetch("checkout", opened.session) == [], "nobody has paid yet"
    shop.pull("pay", reference=opened.session)
    (reading,) = shop.fetch("checkout", opened.session)
    payment, checkout, holder = reading.facts
    assert isinstance(payment, PaymentSeen)
    assert (payment.state, payment.amount, payment.currency, payment.lines) == ("paid", 15000, "NGN", ())
    assert payment.payment == payment.intent == REFERENCE
    assert isinstance(checkout, CheckoutSeen)
    assert (checkout.session, checkout.state) == (REFERENCE, "paid")
    assert isinstance(holder, HolderSeen)
    assert holder.email == "ada@example.com"
    assert (reading.exact, reading.founds, reading.prices, reading.reference) == (True, True, (), REFERENCE)
    (event,) = shop.events("charge.success")
    assert event.aliases == reading.aliases
    assert event.refetches == (Refetch("transaction", REFERENCE),)
    assert event.facts == ()


def test_a_declined_card_leaves_the_page_open(shop: Shop) -> None:
    opened = shop.open()
    assert shop.pull("pay", reference=opened.session, card="4084080000005408")["status"] == "failed"
    assert shop.fetch("checkout", opened.session) == []
    shop.pull("pay", reference=opened.session)
    assert only(shop.fetch("checkout", opened.session), PaymentSeen).state == "paid"


def test_a_page_whose_address_was_lost_is_opened_anew(shop: Shop) -> None:
    """The first answer never arrived, so nobody can pay on that page; its reference is taken."""
    first = shop.open()
    again = PaystackApi(shop.stand_in.secret_key, shop.server.sandbox.clock, base=shop.base)
    second = again.create_checkout(shop.request())
    assert (first.session, second.session) == (REFERENCE, f"{REFERENCE}.1")
    shop.pull("pay", reference=second.session)
    (reading,) = shop.fetch("checkout", second.session)
    assert reading.reference == REFERENCE
    assert names(reading)["session"] == second.session


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"email": None}, "EMAIL_REQUIRED"),
        ({"interval": "month", "price_external_id": "PLN_1", "quantity": 2}, "QUANTITY_UNSUPPORTED"),
        ({"interval": "month", "price_external_id": "PLN_1", "trial_days": 14}, "TRIAL_UNSUPPORTED"),
        ({"interval": "month"}, "INVALID"),
    ],
)
def test_what_paystack_cannot_do_is_refused_before_it_is_asked(shop: Shop, wish: Json, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        shop.open(**wish)
    assert refusal.value.code == code
    assert shop.stand_in.state.every("transaction") == []


@pytest.mark.parametrize(
    ("amount", "currency", "hundredths"), [(5000, "NGN", 5000), (1000, "XOF", 100_000), (999, "USD", 999)]
)
def test_every_currency_is_counted_in_hundredths(
    shop: Shop, amount: int, currency: str, hundredths: int
) -> None:
    opened = shop.open(amount=amount, currency=currency)
    assert shop.stand_in.state.get("transaction", REFERENCE)["amount"] == hundredths
    shop.pull("pay", reference=opened.session)
    payment = only(shop.fetch("checkout", opened.session), PaymentSeen)
    assert (payment.amount, payment.currency) == (amount, currency)


# -- subscriptions ------------------------------------------------------------------------------------


def test_the_first_payment_is_tied_to_the_subscription_it_began(shop: Shop) -> None:
    code = shop.subscribe()
    for kind, name in (("checkout", REFERENCE), ("transaction", REFERENCE), ("subscription", code)):
        payment, snapshot = shop.fetch(kind, name)
        assert names(payment)["subscription"] == code
        assert names(payment)["reference"] == REFERENCE
        seen, paid = only([snapshot], SubscriptionSeen), only([payment], PaymentSeen)
        assert (seen.status, seen.canceling) == ("active", False)
        (item,), (line,) = seen.items, paid.lines
        assert (item.price, item.quantity) == (shop.plan, 1)
        assert (line.price, line.ends_at) == (shop.plan, item.ends_at)
        assert (payment.prices, payment.exact, payment.founds) == ((shop.plan,), False, True)
    (event,) = shop.events("subscription.create")
    assert event.refetches == (Refetch("subscription", code),)


def test_a_subscription_that_is_not_made_yet_is_waited_for_with_an_estimate(shop: Shop) -> None:
    shop.pull("habits", subscription_delay=60)
    opened = shop.open(price_external_id=shop.plan, interval="month")
    shop.pull("pay", reference=opened.session)
    (early,) = shop.fetch("checkout", opened.session)
    guessed = only([early], PaymentSeen)
    assert guessed.lines[0].ends_at is not None
    assert "subscription" not in names(early)
    shop.turn(61)
    code = shop.stand_in.state.every("subscription")[0]["subscription_code"]
    payment, snapshot = shop.fetch("subscription", code)
    known = only([payment], PaymentSeen)
    assert known.lines[0].ends_at == only([snapshot], SubscriptionSeen).items[0].ends_at
    assert known.stamp > guessed.stamp, "what is known replaces what was guessed"


def test_two_purchases_of_one_plan_by_one_customer_are_told_apart(shop: Shop) -> None:
    first = shop.subscribe()
    shop.turn(180)
    second = shop.subscribe("KW-ZZZZZZZZ23456777")
    assert names(shop.fetch("transaction", REFERENCE)[0])["subscription"] == first
    assert names(shop.fetch("transaction", "KW-ZZZZZZZZ23456777")[0])["subscription"] == second
    assert names(shop.fetch("subscription", first)[0])["reference"] == REFERENCE
    assert names(shop.fetch("subscription", second)[0])["reference"] == "KW-ZZZZZZZZ23456777"
    shop.turn(32 * DAY)
    renewals = shop.events("invoice.update")
    assert {names(one)["subscription"] for one in renewals} == {first, second}
    for one in renewals:
        (wanted,) = one.refetches
        payment, snapshot = shop.fetch(wanted.kind, wanted.external_id)
        assert names(payment)["subscription"] == names(snapshot)["subscription"] == names(one)["subscription"]
        assert names(payment)["intent"] == names(one)["intent"]


def test_a_renewal_extends_and_names_its_period(shop: Shop) -> None:
    code = shop.subscribe()
    before = only(shop.fetch("subscription", code), SubscriptionSeen).items[0].ends_at
    shop.turn(32 * DAY)
    renewal = names(shop.events("charge.success")[-1])["intent"]
    payment, snapshot = shop.fetch("transaction", renewal)
    line = only([payment], PaymentSeen).lines[0]
    ends_at = only([snapshot], SubscriptionSeen).items[0].ends_at
    assert line.ends_at == ends_at > before
    assert names(payment)["subscription"] == code
    assert payment.reference is None, "metadata and reference of the first payment are not repeated"
    # The first payment, looked at again a month later, still pays for the first month only.
    first = only([shop.fetch("transaction", REFERENCE)[0]], PaymentSeen)
    assert first.lines[0].ends_at == before


def test_a_card_that_fails_is_tried_again_at_the_next_date_only(shop: Shop) -> None:
    code = shop.subscribe()
    customer = shop.stand_in.state.every("customer")[0]["customer_code"]
    paid_until = only(shop.fetch("subscription", code), SubscriptionSeen).items[0].ends_at
    shop.pull(f"customers/{customer}/card", behavior="declines")
    shop.turn(32 * DAY)
    (failed,) = shop.events("invoice.payment_failed")
    assert failed.refetches == (Refetch("subscription", code),)
    seen = only(shop.fetch("subscription", code), SubscriptionSeen)
    assert seen.status == "past_due"
    assert seen.items[0].ends_at > paid_until
    shop.pull(f"customers/{customer}/card", behavior="pays")
    shop.turn(31 * DAY)
    assert only(shop.fetch("subscription", code), SubscriptionSeen).status == "active"


def test_cancel_resume_and_end(shop: Shop) -> None:
    code = shop.subscribe()
    deal = Deal(subscription=code)
    for _ in range(2):
        shop.billing.cancel(deal)
    payment, snapshot = shop.fetch("subscription", code)
    seen = only([snapshot], SubscriptionSeen)
    assert (seen.status, seen.canceling, seen.items[0].ends_at) == ("active", True, None)
    assert only([payment], PaymentSeen).lines[0].ends_at is not None, "the paid time is still told"
    assert len(shop.events("subscription.not_renew")) == 1
    for _ in range(2):
        shop.billing.resume(deal)
    assert only(shop.fetch("subscription", code), SubscriptionSeen).canceling is False
    shop.billing.cancel(deal)
    shop.turn(32 * DAY)
    assert len(shop.events("subscription.disable")) == 1
    assert only(shop.fetch("subscription", code), SubscriptionSeen).status == "ended"
    with pytest.raises(Unsupported, match="bought again"):
        shop.billing.resume(deal)


def test_the_buyers_page_ends_a_subscription(shop: Shop) -> None:
    code = shop.subscribe()
    link = shop.billing.portal(Deal(subscription=code), "https://shop.example")
    assert "monthly" in httpx.get(link, follow_redirects=True, trust_env=False).text
    httpx.post(link, data={"act": "cancel"}, trust_env=False)
    assert only(shop.fetch("subscription", code), SubscriptionSeen).canceling
    with pytest.raises(Unsupported):
        shop.billing.portal(Deal(), "https://shop.example")


@pytest.mark.parametrize("act", ["preview_quantity", "change_quantity"])
def test_a_quantity_cannot_be_changed_and_the_answer_says_what_to_do(shop: Shop, act: str) -> None:
    arguments = (Deal(), 3) if act == "preview_quantity" else (Deal(), 3, "key")
    with pytest.raises(Unsupported, match="one plan for each number of seats"):
        getattr(shop.billing, act)(*arguments)


# -- refunds and disputes -----------------------------------------------------------------------------


def paid(shop: Shop) -> Deal:
    opened = shop.open()
    shop.pull("pay", reference=opened.session)
    return Deal(payment=REFERENCE, intent=REFERENCE)


def test_refunds_add_up_and_are_asked_for_once(shop: Shop) -> None:
    deal = paid(shop)
    for key in ("one", "one", "two"):
        shop.billing.refund(deal, 2000, "NGN", key)
    readings = shop.fetch("refunds", REFERENCE)
    parts = [fact for one in readings for fact in one.facts if isinstance(fact, RefundPart)]
    assert [(part.amount, part.state) for part in parts] == [(2000, "done"), (2000, "done")]
    assert len({part.refund for part in parts}) == 2
    assert only(readings, PaymentSeen).state == "paid"
    for event in shop.events("refund.processed"):
        assert event.refetches == (Refetch("refunds", REFERENCE),)
    shop.billing.refund(deal, None, "NGN", "rest")
    readings = shop.fetch("refunds", REFERENCE)
    assert only(readings, RefundSeen).full
    assert only(readings, PaymentSeen).state == "paid", "paid it was; what came back is told beside it"
    with pytest.raises(Conflict) as refusal:
        shop.billing.refund(deal, None, "NGN", "more")
    assert refusal.value.code == "REFUNDED_ALREADY"


@pytest.mark.parametrize(("outcome", "state"), [("failed", "failed"), ("processing", "pending")])
def test_a_refund_that_has_not_arrived_gives_nothing_back(shop: Shop, outcome: str, state: str) -> None:
    deal = paid(shop)
    shop.pull("habits", refunds="none")
    shop.billing.refund(deal, None, "NGN", "all")
    assert only(shop.fetch("refunds", REFERENCE), RefundPart).state == "pending"
    shop.pull(f"refunds/{shop.stand_in.state.every('refund')[0]['id']}/settle", outcome=outcome)
    assert only(shop.fetch("refunds", REFERENCE), RefundPart).state == state


@pytest.mark.parametrize(
    ("resolution", "state"), [("merchant-accepted", "lost"), ("auto-accepted", "lost"), ("declined", "won")]
)
def test_a_dispute_is_open_until_it_is_resolved(shop: Shop, resolution: str, state: str) -> None:
    paid(shop)
    id_ = str(shop.pull(f"transactions/{REFERENCE}/dispute")["dispute"])
    (event,) = shop.events("charge.dispute.create")
    assert event.refetches == (Refetch("dispute", id_),)
    seen = only(shop.fetch("dispute", id_), DisputeSeen)
    assert (seen.state, seen.intent, seen.amount) == ("open", REFERENCE, 5000)
    shop.pull(f"disputes/{id_}/resolve", resolution=resolution)
    assert only(shop.fetch("dispute", id_), DisputeSeen).state == state


# -- lists --------------------------------------------------------------------------------------------


def listed(shop: Shop, since: datetime) -> list[Reading]:
    found, cursor = [], None
    while True:
        page = shop.api.list_changes(since, cursor)
        assert all(change.fetched for change in page.changes)
        found += read(*(change.raw for change in page.changes))
        cursor = page.next
        if cursor is None:
            return found


def test_everything_since_a_moment_is_listed_and_linked(shop: Shop) -> None:
    began = shop.server.sandbox.clock.now()
    code = shop.subscribe()
    shop.open("KW-ZZZZZZZZ23456777")
    shop.pull("pay", reference="KW-ZZZZZZZZ23456777")
    shop.open("KW-YYYYYYYY23456777")  # nobody pays this one
    shop.billing.refund(Deal(intent="KW-ZZZZZZZZ23456777"), 100, "NGN", "k")
    shop.pull("transactions/KW-ZZZZZZZZ23456777/dispute")
    told = listed(shop, began - timedelta(minutes=1))
    payments = {names(one)["intent"]: names(one) for one in told if one.reference is not None}
    assert payments.keys() == {REFERENCE, "KW-ZZZZZZZZ23456777"}
    assert payments[REFERENCE]["subscription"] == code
    charge = payments["KW-ZZZZZZZZ23456777"]["charge"]
    assert only(told, SubscriptionSeen).status == "active"
    assert only(told, RefundPart).charge == charge
    assert only(told, DisputeSeen).charge == charge
    shop.turn(10 * DAY)
    assert listed(shop, shop.server.sandbox.clock.now()) == []
    with pytest.raises(Invalid, match="no cursor"):
        shop.api.list_changes(began, "elsewhere:1")


def test_what_changed_long_after_it_was_made_is_listed_too(shop: Shop) -> None:
    code = shop.subscribe()
    shop.turn(40 * DAY)
    since = shop.server.sandbox.clock.now()
    shop.billing.cancel(Deal(subscription=code))
    shop.billing.refund(Deal(intent=REFERENCE), None, "NGN", "k")
    told = listed(shop, since)
    assert only(told, SubscriptionSeen).canceling
    assert only(told, RefundPart).state == "done"


# -- trouble ------------------------------------------------------------------------------------------


def test_refusals_of_the_stand_in_are_told_apart(shop: Shop) -> None:
    assert shop.api.check() == "Paystack test account"
    paid(shop)
    assert shop.api.check() == f"Paystack test account {shop.stand_in.state.integration}"
    for kind in ("transaction", "subscription", "dispute", "refunds"):
        with pytest.raises(NotFound):
            shop.api.fetch(Refetch(kind, "1"))
    with pytest.raises(Invalid):
        shop.api.fetch(Refetch("customer", "1"))
    with pytest.raises(Misconfigured):
        PaystackApi("sk_test_wrong", shop.server.sandbox.clock, base=shop.base).check()
    with pytest.raises(Misconfigured):
        PaystackApi(" ", shop.server.sandbox.clock)


@pytest.fixture
def still() -> TurnableClock:
    return TurnableClock(datetime(2026, 11, 20, 12, tzinfo=UTC))


Answering = Callable[[httpx.Request], httpx.Response]


def hanging(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("", request=request)


@pytest.mark.parametrize(
    "answering",
    [
        hanging,
        lambda _: httpx.Response(500, json={"status": False, "message": "boom"}),
        lambda _: httpx.Response(200, content=b"<html>"),
        lambda _: httpx.Response(200, content=b"{" * 9000),
        lambda _: httpx.Response(200, json={"status": True, "message": "", "data": None}),
        lambda _: httpx.Response(200, json=[]),
    ],
)
def test_no_usable_answer_is_one_to_ask_for_again(still: TurnableClock, answering: Answering) -> None:
    api = PaystackApi("sk_test_k", still, transport=httpx.MockTransport(answering))
    with pytest.raises(ProviderUnavailable) as trouble:
        api.fetch(Refetch("transaction", "r"))
    assert "sk_test_k" not in repr(trouble.value)
    assert trouble.value.__context__ is None


def test_a_full_provider_says_when_to_come_back(still: TurnableClock) -> None:
    full = httpx.MockTransport(lambda _: httpx.Response(429, headers={"retry-after": "17"}))
    with pytest.raises(ProviderUnavailable) as trouble:
        PaystackApi("sk_test_k", still, transport=full).check()
    assert trouble.value.retry_after == 17


def test_a_refused_request_quotes_nothing(still: TurnableClock) -> None:
    told = {"status": False, "message": "ada@example.com is blocked", "code": "blocked_email"}
    refusing = httpx.MockTransport(lambda _: httpx.Response(400, json=told))
    with pytest.raises(KeywrightError) as refusal:
        PaystackApi("sk_test_k", still, transport=refusing).check()
    assert refusal.value.detail == "Paystack refused the request: blocked_email"


def test_an_answer_without_a_date_is_dated_here(still: TurnableClock) -> None:
    told = {"status": True, "message": "", "data": {"id": 1, "transaction": {"id": 2}, "status": "x"}}
    api = PaystackApi(
        "sk_test_k", still, transport=httpx.MockTransport(lambda _: httpx.Response(200, json=told))
    )
    (raw,) = api.fetch(Refetch("dispute", "1"))
    assert json.loads(raw)["at"] == still.now().isoformat()


def test_of_two_answers_in_one_second_the_later_is_later(still: TurnableClock) -> None:
    dates = ["Fri, 20 Nov 2026 12:00:00 GMT"] * 3
    dates += [f"Fri, 20 Nov {moment} GMT" for moment in ("2026 11:59:59", "2033 12:00:00", "2026 12:00:01")]
    told = {"status": True, "message": "", "data": {"id": 1}}
    left = iter(dates)
    dated = httpx.MockTransport(lambda _: httpx.Response(200, json=told, headers={"date": next(left)}))
    api = PaystackApi("sk_test_k", still, transport=dated)
    seen = [json.loads(api.fetch(Refetch("dispute", "1"))[0])["at"] for _ in dates]
    noon = "2026-11-20T12:00:00"
    assert seen == [
        f"{noon}+00:00",
        f"{noon}.000001+00:00",
        f"{noon}.000002+00:00",
        f"{noon}.000003+00:00",
        "2033-11-20T12:00:00+00:00",
        "2026-11-20T12:00:01+00:00",
    ]


def test_nothing_leaves_the_path_it_was_sent_to(still: TurnableClock) -> None:
    asked: list[str] = []

    def note(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(404, json={"status": False, "message": "Transaction not found"})

    api = PaystackApi("sk_test_k", still, transport=httpx.MockTransport(note))
    for kind in ("transaction", "subscription", "dispute"):
        with pytest.raises(NotFound):
            api.fetch(Refetch(kind, "../refund?x=1"))
    assert [path.count("/") for path in asked] == [3, 2, 2]
