"""The stand-in for PayPal, asked by our own adapter over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keywright.domain.errors import BadSignature, Invalid, Misconfigured, NotFound, Unproven, Unsupported
from keywright.domain.facts import (
    CheckoutSeen,
    DisputeSeen,
    PaymentSeen,
    Reading,
    Refetch,
    RefundPart,
    SubscriptionSeen,
)
from keywright.ports import CheckoutRequest, Deal
from keywright.providers.paypal.api import PayPalApi
from keywright.providers.paypal.billing import PayPalBilling
from keywright.providers.paypal.certificates import Certificates
from keywright.providers.paypal.client import PayPalClient
from keywright.providers.paypal.hook import PayPalEvents
from keywright.sandbox.app import SandboxServer
from keywright.sandbox.paypal_api import CLIENT_ID, CLIENT_SECRET
from keywright.sandbox.paypal_triggers import RECIPES
from tests.providers.paypal.deliveries import other_root
from tests.sandbox.paypal_receiver import WEBHOOK_ID, Inbox

Control = Callable[..., Any]


class Shop:
    """Our side: the adapter, as bootstrap builds it."""

    def __init__(self, server: SandboxServer, control: Control) -> None:
        self.clock = server.sandbox.clock
        self.control = control
        self.client = PayPalClient(CLIENT_ID, CLIENT_SECRET, self.clock, base=server.url)
        self.api = PayPalApi(self.client, self.clock)
        self.billing = PayPalBilling(self.client, live=False)
        self.certificates = Certificates(
            live=False, own_base=server.url, roots_file=server.sandbox.paypal.authority.ca_file
        )
        self.events = PayPalEvents(
            self.certificates, live=False, webhook_ids=[WEBHOOK_ID], ask=self.api.confirm
        )
        self.made = 0

    def request(self, **changes: Any) -> CheckoutRequest:
        self.made += 1
        told: dict[str, Any] = {
            "reference": f"KW-TEST{self.made}",
            "price_external_id": None,
            "amount": 9900,
            "currency": "USD",
            "interval": None,
            "quantity": 1,
            "success_url": "https://shop.example/thanks",
            "cancel_url": "https://shop.example/",
            "expires_at": datetime(2030, 1, 1, tzinfo=UTC),
        }
        return CheckoutRequest(**(told | changes))

    def plan(self, price: str = "50.00", *, trial_days: int = 0) -> str:
        product = self.client.post("/v1/catalogs/products", {"name": "DashCaddy"}).body["id"]
        cycles: list[dict[str, Any]] = [
            {
                "tenure_type": "REGULAR",
                "total_cycles": 0,
                "frequency": {"interval_unit": "MONTH", "interval_count": 1},
                "pricing_scheme": {"fixed_price": {"value": price, "currency_code": "USD"}},
            }
        ]
        if trial_days:
            frequency = {"interval_unit": "DAY", "interval_count": trial_days}
            cycles.insert(0, {"tenure_type": "TRIAL", "total_cycles": 1, "frequency": frequency})
        terms = {"product_id": product, "billing_cycles": cycles, "quantity_supported": True}
        return str(self.client.post("/v1/billing/plans", terms).body["id"])

    def subscribe(self, *, quantity: int = 1, funding: str = "pays", trial_days: int = 0) -> str:
        wish = self.request(
            price_external_id=self.plan(trial_days=trial_days), interval="month", quantity=quantity
        )
        made = self.api.create_checkout(wish)
        self.control("paypal/approve", id=made.session, funding=funding)
        return made.session

    def order(self, *, funding: str = "pays") -> str:
        made = self.api.create_checkout(self.request())
        self.control("paypal/approve", id=made.session, email="ada@example.com", funding=funding)
        return made.session

    def ask(self, kind: str, id_: str) -> list[Reading]:
        found = [self.events.project(raw, fetched=True) for raw in self.api.fetch(Refetch(kind, id_))]
        return [self.events.read(one) for one in found if one.standing == "read"]

    def facts(self, kind: str, id_: str) -> list[Any]:
        return [fact for reading in self.ask(kind, id_) for fact in reading.facts]

    def one(self, fact: type[Any], kind: str, id_: str) -> Any:
        (found,) = [one for one in self.facts(kind, id_) if isinstance(one, fact)]
        return found

    def advance(self, **span: float) -> None:
        self.control("clock/advance", seconds=timedelta(**span).total_seconds())


@pytest.fixture
def shop(server: SandboxServer, control: Control) -> Shop:
    return Shop(server, control)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


# ------------------------------------------------------------------------------------------------ orders


def test_an_order_is_captured_when_it_is_asked_for(shop: Shop) -> None:
    made = shop.api.create_checkout(shop.request(quantity=3))
    assert shop.api.create_checkout(shop.request(reference="KW-TEST1", quantity=3)).session == made.session
    assert shop.ask("checkout", made.session) == []
    shop.control("paypal/approve", id=made.session, email="ada@example.com")
    (reading,) = shop.ask("checkout", made.session)
    paid = next(fact for fact in reading.facts if isinstance(fact, PaymentSeen))
    checkout = next(fact for fact in reading.facts if isinstance(fact, CheckoutSeen))
    assert (paid.payment, paid.state, paid.amount, paid.currency) == (made.session, "paid", 29700, "USD")
    assert (checkout.session, checkout.state) == (made.session, "paid")
    assert reading.reference == "KW-TEST1"
    assert reading.exact
    assert reading.founds
    assert {alias.kind for alias in reading.aliases} == {"session", "reference", "charge"}


def test_asking_again_later_says_the_same(shop: Shop) -> None:
    order = shop.order()
    first = shop.one(PaymentSeen, "order", order)
    shop.advance(days=300)
    assert shop.one(PaymentSeen, "order", order) == first
    assert shop.one(PaymentSeen, "capture", str(first.charge)) == first


def test_somebody_elses_order_is_not_captured(shop: Shop) -> None:
    unit = {"amount": {"currency_code": "USD", "value": "5.00"}, "custom_id": "their-number-17"}
    made = shop.client.post("/v2/checkout/orders", {"intent": "CAPTURE", "purchase_units": [unit]}).body
    shop.control("paypal/approve", id=made["id"])
    assert shop.ask("order", made["id"]) == []
    assert shop.client.get(f"/v2/checkout/orders/{made['id']}").body["status"] == "APPROVED"


def test_a_declined_order_stays_open_and_an_echeck_waits(shop: Shop) -> None:
    assert shop.ask("order", shop.order(funding="declines")) == []
    waiting = shop.order(funding="echeck")
    pending = shop.one(PaymentSeen, "order", waiting)
    assert (pending.state, shop.one(CheckoutSeen, "order", waiting).state) == ("pending", "processing")
    shop.control(f"paypal/settle/{pending.charge}", outcome="succeeded")
    assert shop.one(PaymentSeen, "order", waiting).state == "paid"


def test_refunds_of_a_capture(shop: Shop) -> None:
    order = shop.order()
    charge = shop.one(PaymentSeen, "order", order).charge
    deal = Deal(charge=charge)
    shop.billing.refund(deal, 1000, "USD", "refund-1")
    shop.billing.refund(deal, 1000, "USD", "refund-1")
    part = shop.one(RefundPart, "order", order)
    assert (part.amount, part.charge, part.state) == (1000, charge, "done")
    shop.billing.refund(deal, None, "USD", "refund-2")
    parts = [fact for fact in shop.facts("order", order) if isinstance(fact, RefundPart)]
    assert sum(one.amount for one in parts) == 9900
    same = shop.one(RefundPart, "refund", parts[0].refund)
    assert (same.refund, same.amount, same.charge) == (parts[0].refund, parts[0].amount, charge)
    with pytest.raises(Invalid, match="CAPTURE_FULLY_REFUNDED"):
        shop.billing.refund(deal, None, "USD", "refund-3")


# ----------------------------------------------------------------------------------------- subscriptions


def test_a_subscription_from_approval_to_renewal(shop: Shop) -> None:
    id_ = shop.subscribe(quantity=4)
    (reading,) = shop.ask("checkout", id_)
    seen = next(fact for fact in reading.facts if isinstance(fact, SubscriptionSeen))
    paid = next(fact for fact in reading.facts if isinstance(fact, PaymentSeen))
    assert (seen.status, seen.items[0].quantity) == ("active", 4)
    assert (paid.amount, paid.state, paid.lines[0].quantity) == (20000, "paid", 4)
    assert paid.lines[0].ends_at == seen.items[0].ends_at
    assert reading.prices == (seen.items[0].price,)
    shop.advance(days=32)
    payments = [fact for fact in shop.facts("subscription", id_) if isinstance(fact, PaymentSeen)]
    assert len(payments) == 2
    assert {one.state for one in payments} == {"paid"}
    assert payments[0].lines[0].ends_at == payments[1].lines[0].starts_at
    again = shop.one(SubscriptionSeen, "subscription", id_)
    assert payments[1].lines[0].ends_at == again.items[0].ends_at > seen.items[0].ends_at


def test_a_failed_renewal_moves_no_paid_time(shop: Shop) -> None:
    id_ = shop.subscribe()
    before = shop.one(PaymentSeen, "subscription", id_)
    shop.control(f"paypal/funding/{id_}", funding="declines")
    shop.advance(days=33)
    assert shop.one(SubscriptionSeen, "subscription", id_).status == "past_due"
    after = shop.one(PaymentSeen, "subscription", id_)
    assert after.lines == before.lines
    shop.control(f"paypal/funding/{id_}", funding="pays")
    shop.advance(days=6)
    payments = [fact for fact in shop.facts("subscription", id_) if isinstance(fact, PaymentSeen)]
    assert shop.one(SubscriptionSeen, "subscription", id_).status == "active"
    assert len(payments) == 2


def test_three_failures_suspend(shop: Shop) -> None:
    id_ = shop.subscribe()
    shop.control(f"paypal/funding/{id_}", funding="declines")
    shop.advance(days=60)
    assert shop.one(SubscriptionSeen, "subscription", id_).status == "unpaid"
    shop.control(f"paypal/funding/{id_}", funding="pays")
    shop.billing.resume(Deal(subscription=id_))
    assert shop.one(SubscriptionSeen, "subscription", id_).status == "active"


def test_a_cancellation_keeps_the_paid_time(shop: Shop) -> None:
    id_ = shop.subscribe()
    paid_until = shop.one(PaymentSeen, "subscription", id_).lines[0].ends_at
    for _ in range(2):
        shop.billing.cancel(Deal(subscription=id_))
    seen = shop.one(SubscriptionSeen, "subscription", id_)
    assert (seen.status, seen.items[0].ends_at) == ("ended", None)
    assert shop.one(PaymentSeen, "subscription", id_).lines[0].ends_at == paid_until
    with pytest.raises(Unsupported, match="new checkout"):
        shop.billing.resume(Deal(subscription=id_))


def test_a_free_trial(shop: Shop) -> None:
    id_ = shop.subscribe(trial_days=14)
    (reading,) = shop.ask("checkout", id_)
    seen = next(fact for fact in reading.facts if isinstance(fact, SubscriptionSeen))
    assert seen.status == "trialing"
    assert not [fact for fact in reading.facts if isinstance(fact, PaymentSeen)]
    assert seen.items[0].ends_at is not None
    assert timedelta(days=13) < seen.items[0].ends_at - seen.stamp.at <= timedelta(days=14)
    shop.advance(days=15)
    assert shop.one(SubscriptionSeen, "subscription", id_).status == "active"
    assert shop.one(PaymentSeen, "subscription", id_).amount == 5000


def test_a_first_payment_on_its_way_is_nothing_yet(shop: Shop) -> None:
    id_ = shop.subscribe(funding="echeck")
    assert shop.one(SubscriptionSeen, "subscription", id_).status == "incomplete"
    assert shop.one(CheckoutSeen, "subscription", id_).state == "processing"
    waiting = shop.one(PaymentSeen, "subscription", id_)
    shop.control(f"paypal/settle/{waiting.payment}", outcome="succeeded")
    assert shop.one(SubscriptionSeen, "subscription", id_).status == "active"


def test_seats_change_when_the_buyer_agrees(shop: Shop) -> None:
    id_ = shop.subscribe(quantity=2)
    deal = Deal(subscription=id_)
    preview = shop.billing.preview_quantity(deal, 5)
    assert (preview.due_now, preview.next_amount, preview.currency) == (0, 25000, "USD")
    assert preview.next_at == shop.one(SubscriptionSeen, "subscription", id_).items[0].ends_at
    address = shop.billing.change_quantity(deal, 5, "seats-1")
    assert address is not None
    assert shop.one(SubscriptionSeen, "subscription", id_).items[0].quantity == 2
    shop.control("paypal/approve", id=id_)
    assert shop.one(SubscriptionSeen, "subscription", id_).items[0].quantity == 5


def test_a_sale_is_refunded_through_the_first_api(shop: Shop) -> None:
    id_ = shop.subscribe()
    sale = shop.one(PaymentSeen, "subscription", id_).charge
    shop.billing.refund(Deal(charge=sale), 1250, "USD", "refund-1")
    made = shop.client.get(f"/v1/payments/sale/{sale}").body
    assert made["state"] == "partially_refunded"
    refund = shop.api.list_changes(shop.clock.now() - timedelta(days=1), None).changes[0]
    reading = shop.events.read(shop.events.project(refund.raw))
    (wanted,) = [one for one in reading.refetches if one.kind == "refund"]
    part = shop.one(RefundPart, "refund", wanted.external_id)
    assert (part.amount, part.charge, part.state) == (1250, sale, "done")


def test_a_sale_that_is_not_listed_yet_is_told_with_its_subscription(
    shop: Shop, server: SandboxServer
) -> None:
    id_ = shop.subscribe(quantity=2)
    paid = shop.one(PaymentSeen, "subscription", id_)
    state = server.sandbox.paypal.state
    sale = state.get("sale", paid.payment)
    unlisted = {**sale, "id": "8RS6210148826604N", "create_time": state.stamp(state.now() + 60)}
    state.add("sale", {**unlisted, "billing_agreement_id": "I-ANOTHER"})
    assert shop.one(PaymentSeen, "subscription", id_).payment == paid.payment
    state.add("sale", unlisted | {"billing_agreement_id": id_, "create_time": "2090-01-01T00:00:00Z"})
    found = [fact for fact in shop.facts("sale", "8RS6210148826604N") if isinstance(fact, PaymentSeen)]
    assert {one.payment for one in found} == {paid.payment, "8RS6210148826604N"}


def test_disputes_and_reversals(shop: Shop) -> None:
    order = shop.order()
    charge = shop.one(PaymentSeen, "order", order).charge
    case = shop.control("paypal/disputes", charge=charge, stage="INQUIRY")["id"]
    assert shop.one(DisputeSeen, "dispute", case).state == "inquiry"
    case = shop.control("paypal/disputes", charge=charge)["id"]
    seen = shop.one(DisputeSeen, "dispute", case)
    assert (seen.state, seen.charge, seen.amount) == ("open", charge, 9900)
    shop.control(f"paypal/disputes/{case}/resolve", outcome="RESOLVED_SELLER_FAVOUR")
    told = [fact for fact in shop.facts("dispute", case) if isinstance(fact, DisputeSeen)]
    assert [one.state for one in told] == ["won", "won"]


def test_a_reversal_and_its_end(shop: Shop) -> None:
    sale = str(shop.one(PaymentSeen, "subscription", shop.subscribe()).charge)
    case = shop.control("paypal/disputes", charge=sale)["id"]
    shop.control(f"paypal/reverse/{sale}")
    told = {fact for fact in shop.facts("sale", sale) if isinstance(fact, DisputeSeen)}
    assert {(one.dispute, one.amount, one.state) for one in told} == {(f"reversal-{sale}", 5000, "lost")}
    shop.control(f"paypal/disputes/{case}/resolve", outcome="RESOLVED_SELLER_FAVOUR")
    told = {fact for fact in shop.facts("dispute", case) if isinstance(fact, DisputeSeen)}
    assert {(one.dispute, one.state) for one in told} == {(case, "won"), (f"reversal-{sale}", "won")}
    order = shop.order()
    capture = str(shop.one(PaymentSeen, "order", order).charge)
    case = shop.control("paypal/disputes", charge=capture)["id"]
    shop.control(f"paypal/reverse/{capture}")
    assert shop.one(RefundPart, "order", order).state == "done"
    shop.control(f"paypal/disputes/{case}/resolve", outcome="RESOLVED_SELLER_FAVOUR")
    assert shop.one(RefundPart, "dispute", case).state == "failed"


# ---------------------------------------------------------------------------------- the client, the rest


def test_what_changed_is_listed_page_by_page(shop: Shop) -> None:
    ids = [shop.subscribe() for _ in range(3)]
    since = shop.clock.now() - timedelta(hours=1)
    cursor, events, fetched, pages = None, [], [], 0
    while pages < 20:
        page = shop.api.list_changes(since, cursor)
        events += [change for change in page.changes if not change.fetched]
        fetched += [change for change in page.changes if change.fetched]
        cursor, pages = page.next, pages + 1
        if cursor is None:
            break
    kinds = [shop.events.project(change.raw).type for change in events]
    assert sorted(set(kinds)) == [
        "BILLING.SUBSCRIPTION.ACTIVATED",
        "BILLING.SUBSCRIPTION.CREATED",
        "PAYMENT.SALE.COMPLETED",
    ]
    read = [shop.events.read(shop.events.project(change.raw, fetched=True)) for change in fetched]
    assert [reading.aliases[0].external_id for reading in read] == ids


def test_a_token_is_kept_and_renewed(shop: Shop, control: Control) -> None:
    assert shop.api.check() == "PayPal app with 0 webhooks"
    control("paypal/forget-tokens")
    assert shop.api.check() == "PayPal app with 0 webhooks"
    shop.advance(hours=12)
    assert shop.api.check() == "PayPal app with 0 webhooks"


def test_what_paypal_refuses_is_told_apart(shop: Shop, server: SandboxServer) -> None:
    wrong = PayPalApi(PayPalClient(CLIENT_ID, "wrong", shop.clock, base=server.url), shop.clock)
    with pytest.raises(Misconfigured):
        wrong.check()
    for kind in ("order", "subscription", "capture", "sale", "refund", "dispute", "checkout"):
        with pytest.raises(NotFound):
            shop.api.fetch(Refetch(kind, "8RS6210148826604N"))
    for kind, id_ in (("order", "../../v1/oauth2"), ("person", "8RS6210148826604N"), ("order", "")):
        with pytest.raises(Invalid):
            shop.api.fetch(Refetch(kind, id_))
    with pytest.raises(Invalid, match="CANNOT_BE_ZERO"):
        shop.api.create_checkout(shop.request(amount=0))


# ---------------------------------------------------------------------------------------------- webhooks


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_trigger_makes_its_event_and_it_is_readable(
    shop: Shop, inbox: Inbox, control: Control, settled: Callable[[], Any], name: str
) -> None:
    control("paypal/webhook", url=inbox.url, webhook_id=WEBHOOK_ID)
    made = control("trigger", event=name)["events"]
    assert name in [event["type"] for event in made]
    settled()
    assert sorted(told["event_type"] for told in inbox.events()) == sorted(event["type"] for event in made)
    for headers, raw in inbox.deliveries:
        now = shop.clock.now()
        try:
            shop.events.authenticate(raw, headers, [WEBHOOK_ID], now)
        except Unproven:
            shop.events.obtain(raw, headers, now)
            shop.events.authenticate(raw, headers, [WEBHOOK_ID], now)
        projected = shop.events.project(raw)
        assert projected.standing == "read"
        for wanted in shop.events.read(projected).refetches:
            assert shop.api.fetch(wanted)


def test_a_delivery_is_checked_offline_and_by_paypal_itself(
    shop: Shop, inbox: Inbox, control: Control, settled: Callable[[], Any], server: SandboxServer
) -> None:
    control("paypal/webhook", url=inbox.url, webhook_id=WEBHOOK_ID)
    shop.order()
    settled()
    headers, raw = inbox.deliveries[0]
    now = shop.clock.now()
    shop.events.obtain(raw, headers, now)
    with pytest.raises(BadSignature):
        shop.events.authenticate(raw + b" ", headers, [WEBHOOK_ID], now)
    # A certificate whose issuer nobody knows: PayPal has the last word.
    strangers = Certificates(live=False, own_base=server.url, roots=[other_root()])
    asking = PayPalEvents(strangers, live=False, webhook_ids=[WEBHOOK_ID], ask=shop.api.confirm)
    asking.obtain(raw, headers, now)
    asking.authenticate(raw, headers, [WEBHOOK_ID], now)


def test_a_restarted_sandbox_is_still_trusted(tmp_path: Path) -> None:
    with SandboxServer(data_dir=tmp_path, seed=7) as first:
        root = first.sandbox.paypal.authority.ca_file.read_bytes()
        leaf = httpx.get(
            f"{first.url}/v1/notifications/certs/{first.sandbox.paypal.authority.certificate_id}",
            trust_env=False,
        ).content
    with SandboxServer(data_dir=tmp_path, seed=7) as second:
        assert second.sandbox.paypal.authority.ca_file.read_bytes() == root
        assert second.sandbox.paypal.authority.leaf != leaf


def test_the_approval_page(shop: Shop, http: httpx.Client) -> None:
    made = shop.api.create_checkout(shop.request())
    shown = http.get(made.url)
    assert "99.00 USD" in shown.text
    assert "script" not in shown.text
    refused = http.post(made.url, data={"email": "nobody", "act": "approve"})
    assert refused.status_code == 402
    sent = http.post(made.url, data={"email": "ada@example.com", "act": "approve", "funding": "pays"})
    assert sent.status_code == 303
    assert sent.headers["location"] == f"https://shop.example/thanks?token={made.session}"
    assert "nothing left" in http.get(made.url).text
    assert shop.one(PaymentSeen, "order", made.session).state == "paid"
