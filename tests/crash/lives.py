"""Subscriptions at three providers: what is told of each, what each provider answers, what must come of it.

A life has stages. The provider's answers move on with them, and an event of a stage is never sent before its
answers say so: whoever asks too early, and never again, ends with the wrong license.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from keywright.providers.paystack.hook import SIGNATURE_HEADER, PaystackEvents
from keywright.sandbox.paypal_signing import Authority
from tests.life import stripe

Json = dict[str, Any]
PROVIDERS = ("stripe", "paystack", "paypal")
PRICES = {"stripe": "price_pro", "paystack": "PLN_pro", "paypal": "P-PRO"}
PAYSTACK_KEY = "sk_test_keywright0crash"
WEBHOOK_ID = "8PT597110X687430L"
LAST = 3
_FIRST_DAY = datetime(2026, 6, 1, tzinfo=UTC)


class Event(msgspec.Struct, frozen=True):
    """`key` is what the inbox knows an event by. No `headers`: each delivery of it is signed anew."""

    provider: str
    key: str
    raw: bytes
    headers: dict[str, str]
    life: int
    stage: int


class Life(msgspec.Struct, frozen=True):
    """One subscription: renewed with other seats, or its first payment given back."""

    number: int
    provider: str
    first: int
    then: int

    @property
    def refunded(self) -> bool:
        return self.number // len(PROVIDERS) % 4 == 0

    @property
    def email(self) -> str:
        return f"buyer{self.number}@example.com"

    @property
    def start(self) -> datetime:
        return _FIRST_DAY + timedelta(minutes=self.number)

    def month(self, count: int) -> datetime:
        return self.start.replace(month=self.start.month + count)

    @property
    def seats(self) -> int:
        return self.first if self.refunded else self.then

    @property
    def entitled_until(self) -> datetime:
        return self.start if self.refunded else self.month(2)

    @property
    def lost_until(self) -> datetime | None:
        return self.month(1) if self.refunded else None


def live(number: int, first: int, then: int) -> Life:
    """A life of one of the providers in turn. Paystack's plans have no quantity."""
    provider = PROVIDERS[number % len(PROVIDERS)]
    return Life(number, provider, *((1, 1) if provider == "paystack" else (first, then)))


def events_of(life: Life, authority: Authority) -> list[Event]:
    """All that is told of a life, in order."""
    if life.provider == "stripe":
        return _stripe_events(life)
    if life.provider == "paystack":
        return _paystack_events(life)
    return _paypal_events(life, authority)


def answers_of(life: Life, stage: int) -> dict[str, Json]:
    """What the provider says at a stage, by the path it is asked for."""
    if life.provider == "stripe":
        return _stripe_answers(life)
    return _paystack_answers(life, stage) if life.provider == "paystack" else _paypal_answers(life, stage)


def names_of(life: Life) -> list[str]:
    """Every name under which the provider speaks of it."""
    n = life.number
    if life.provider == "stripe":
        return [f"sub_{n}", f"in_{n}_1", f"in_{n}_2", f"pi_{n}", f"ch_{n}"]
    if life.provider == "paystack":
        return [f"SUB_{n}", f"INV_{n}", *_references(life), *(str(_number(life, which)) for which in (1, 2))]
    return [_at_paypal(life, "I"), *(_at_paypal(life, kind) for kind in ("SA", "SB", "R"))]


# ---------------------------------------------------------------------------------------------- Stripe


def _stripe_events(life: Life) -> list[Event]:
    n, sub, customer = life.number, f"sub_{life.number}", f"cus_{life.number}"
    begun = stripe.subscription(sub, life.start, life.month(1), quantity=life.first, customer=customer)
    told = [
        ("customer.subscription.created", begun, life.start),
        ("invoice.paid", _stripe_invoice(life, 1), life.start + timedelta(seconds=2)),
    ]
    if life.refunded:
        link = stripe.invoice_payment(f"in_{n}_1", f"pi_{n}")
        back = stripe.refund(f"ch_{n}", f"pi_{n}")
        told += [
            ("invoice_payment.paid", link, life.start + timedelta(seconds=3)),
            ("charge.refunded", back, life.start + timedelta(days=3)),
        ]
    else:
        renewed = life.month(1)
        seen = stripe.subscription(sub, renewed, life.month(2), quantity=life.then, customer=customer)
        told += [
            ("customer.subscription.updated", seen, renewed),
            ("invoice.paid", _stripe_invoice(life, 2), renewed + timedelta(hours=1)),
        ]
    made = [stripe.event(kind, obj, at, id_=f"evt_{n}_{i}") for i, (kind, obj, at) in enumerate(told)]
    return [Event("stripe", one["id"], stripe.encoded(one), {}, n, LAST) for one in made]


def _stripe_invoice(life: Life, which: int) -> Json:
    return stripe.invoice(
        f"in_{life.number}_{which}",
        f"sub_{life.number}",
        life.month(which - 1),
        life.month(which),
        quantity=life.first if which == 1 else life.then,
        customer=f"cus_{life.number}",
        email=life.email,
    )


def _stripe_answers(life: Life) -> dict[str, Json]:
    """What a refund without its link asks for. Stripe's events say all that is true by themselves."""
    link = stripe.invoice_payment(f"in_{life.number}_1", f"pi_{life.number}")
    link |= {"invoice": _stripe_invoice(life, 1), "livemode": False}
    listed = {"object": "list", "url": "/v1/invoice_payments", "has_more": False, "data": [link]}
    return {f"/v1/invoice_payments?payment[payment_intent]=pi_{life.number}": listed}


# -------------------------------------------------------------------------------------------- Paystack


def _references(life: Life) -> tuple[str, str]:
    return f"psk{life.number}a", f"psk{life.number}b"


def _number(life: Life, which: int) -> int:
    return 500_000_000 + 10 * life.number + which


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _paystack_plan() -> Json:
    plan = {"id": 42, "plan_code": PRICES["paystack"], "name": "Pro", "interval": "monthly"}
    return plan | {"amount": 500_000, "currency": "NGN"}


def _paystack_customer(life: Life) -> Json:
    return {"id": _number(life, 0), "customer_code": f"CUS_{life.number}", "email": life.email}


def _transaction(life: Life, which: int, stage: int) -> Json:
    paid = life.start if which == 1 else life.month(1)
    given_back = life.refunded and stage >= LAST
    return {
        "id": _number(life, which),
        "domain": "test",
        "status": "reversed" if given_back else "success",
        "reference": _references(life)[which - 1],
        "amount": 500_000,
        "currency": "NGN",
        "paid_at": _iso(paid),
        "created_at": _iso(paid),
        "customer": _paystack_customer(life),
        "plan": PRICES["paystack"],
        "plan_object": _paystack_plan(),
    }


def _paystack_subscription(life: Life, stage: int) -> Json:
    renewed = stage >= LAST and not life.refunded
    invoice = {"invoice_code": f"INV_{life.number}", "transaction": _number(life, 2)}
    return {
        "id": _number(life, 5),
        "domain": "test",
        "status": "active",
        "subscription_code": f"SUB_{life.number}",
        "amount": 500_000,
        "plan": _paystack_plan(),
        "customer": _paystack_customer(life),
        "createdAt": _iso(life.start + timedelta(seconds=3)),
        "next_payment_date": _iso(life.month(2 if renewed else 1)),
        "most_recent_invoice": invoice if renewed else None,
    }


def _paystack_answers(life: Life, stage: int) -> dict[str, Json]:
    customer, renewed = _number(life, 0), stage >= LAST and not life.refunded
    subscription = _paystack_subscription(life, stage)
    paid = [_transaction(life, which, stage) for which in ((1, 2) if renewed else (1,))]
    back = {
        "id": _number(life, 7),
        "status": "processed",
        "amount": 500_000,
        "currency": "NGN",
        "transaction": _number(life, 1),
    }
    told: dict[str, Any] = {
        f"/subscription/SUB_{life.number}": subscription,
        f"/subscription?customer={customer}": [subscription],
        f"/transaction?customer={customer}": paid,
        f"/refund?transaction={_number(life, 1)}": [back] if life.refunded and stage >= LAST else [],
    }
    for one in paid:
        told |= {f"/transaction/verify/{one['reference']}": one, f"/transaction/{one['id']}": one}
    return {path: {"status": True, "message": "ok", "data": data} for path, data in told.items()}


def _paystack_events(life: Life) -> list[Event]:
    first, second = _references(life)
    told: list[tuple[int, str, Json]] = [
        (1, "charge.success", _transaction(life, 1, 1) | {"plan": _paystack_plan()}),
        (2, "subscription.create", _paystack_subscription(life, 2)),
    ]
    if life.refunded:
        back = {"status": "processed", "transaction_reference": first, "amount": "500000", "currency": "NGN"}
        told.append((3, "refund.processed", back))
    else:
        invoice = {
            "invoice_code": f"INV_{life.number}",
            "status": "success",
            "subscription": {"subscription_code": f"SUB_{life.number}"},
            "transaction": {"reference": second, "status": "success", "id": _number(life, 2)},
        }
        told += [
            (3, "invoice.update", invoice),
            (3, "charge.success", _transaction(life, 2, 3) | {"plan": _paystack_plan()}),
        ]
    made = []
    for stage, kind, data in told:
        raw = msgspec.json.encode({"event": kind, "data": data})
        signature = hmac.new(PAYSTACK_KEY.encode(), raw, hashlib.sha512).hexdigest()
        key = PaystackEvents().project(raw).dedupe_key
        made.append(Event("paystack", key, raw, {SIGNATURE_HEADER: signature}, life.number, stage))
    return made


# ---------------------------------------------------------------------------------------------- PayPal


def _at_paypal(life: Life, kind: str) -> str:
    return f"{kind}-KW{life.number}X"


def _usd(value: str = "50.00") -> Json:
    return {"currency_code": "USD", "value": value}


def _paypal_subscription(life: Life, stage: int) -> Json:
    renewed = stage >= LAST and not life.refunded
    cycle = {
        "tenure_type": "REGULAR",
        "frequency": {"interval_unit": "MONTH", "interval_count": 1},
        "total_cycles": 0,
        "pricing_scheme": {"fixed_price": _usd()},
    }
    return {
        "id": _at_paypal(life, "I"),
        "plan_id": PRICES["paypal"],
        "status": "ACTIVE",
        "quantity": str(life.then if renewed else life.first),
        "start_time": _zulu(life.start),
        "subscriber": {"payer_id": f"PAYER{life.number}", "email_address": life.email},
        "plan": {"billing_cycles": [cycle]},
        "billing_info": {
            "outstanding_balance": _usd("0.0"),
            "cycle_executions": [{"tenure_type": "REGULAR", "cycles_completed": 2 if renewed else 1}],
            "last_payment": {"amount": _usd(), "time": _zulu(life.month(1) if renewed else life.start)},
            "next_billing_time": _zulu(life.month(2 if renewed else 1)),
            "failed_payments_count": 0,
        },
    }


def _zulu(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _sale(life: Life, kind: str, state: str) -> Json:
    return {
        "id": _at_paypal(life, kind),
        "state": state,
        "amount": {"total": "50.00", "currency": "USD"},
        "billing_agreement_id": _at_paypal(life, "I"),
    }


def _paypal_answers(life: Life, stage: int) -> dict[str, Json]:
    given_back = life.refunded and stage >= LAST
    sales = [("SA", life.start, "REFUNDED" if given_back else "COMPLETED")]
    if stage >= LAST and not life.refunded:
        sales.append(("SB", life.month(1), "COMPLETED"))
    subscription = f"/v1/billing/subscriptions/{_at_paypal(life, 'I')}"
    listed = [
        {
            "id": _at_paypal(life, kind),
            "status": status,
            "time": _zulu(at),
            "amount_with_breakdown": {"gross_amount": _usd()},
        }
        for kind, at, status in sales
    ]
    told = {
        subscription: _paypal_subscription(life, stage),
        f"{subscription}/transactions": {"transactions": listed},
    }
    for kind, _, status in sales:
        told[f"/v1/payments/sale/{_at_paypal(life, kind)}"] = _sale(life, kind, status.lower())
    if given_back:
        told[f"/v1/payments/refund/{_at_paypal(life, 'R')}"] = _refund(life)
    return told


def _refund(life: Life) -> Json:
    return {
        "id": _at_paypal(life, "R"),
        "state": "completed",
        "amount": {"total": "50.00", "currency": "USD"},
        "sale_id": _at_paypal(life, "SA"),
    }


def _paypal_events(life: Life, authority: Authority) -> list[Event]:
    told: Sequence[tuple[int, str, Json]] = [
        (1, "BILLING.SUBSCRIPTION.ACTIVATED", _paypal_subscription(life, 1)),
        (1, "PAYMENT.SALE.COMPLETED", _sale(life, "SA", "completed")),
        *(
            [(3, "PAYMENT.SALE.REFUNDED", _refund(life))]
            if life.refunded
            else [
                (3, "BILLING.SUBSCRIPTION.UPDATED", _paypal_subscription(life, 3)),
                (3, "PAYMENT.SALE.COMPLETED", _sale(life, "SB", "completed")),
            ]
        ),
    ]
    made = []
    for place, (stage, kind, resource) in enumerate(told):
        id_ = f"WH-{life.number}-{place}"
        body = {"id": id_, "create_time": _zulu(life.start), "event_type": kind, "resource": resource}
        raw = msgspec.json.encode(body)
        made.append(Event("paypal", f"{id_}:{kind}", raw, _signed(id_, raw, authority), life.number, stage))
    return made


def _signed(id_: str, raw: bytes, authority: Authority) -> dict[str, str]:
    """As PayPal repeats a delivery: with the time and the signature of the first attempt."""
    at = _zulu(datetime.now(UTC))
    return {
        "paypal-transmission-id": f"t-{id_}",
        "paypal-transmission-time": at,
        "paypal-transmission-sig": authority.sign(f"t-{id_}", at, WEBHOOK_ID, raw),
        "paypal-auth-algo": "SHA256withRSA",
    }


def expected(life: Life) -> Mapping[str, object]:
    """What the license must say in the end."""
    return {
        "seats": life.seats,
        "entitled_until": life.entitled_until,
        "lost_until": life.lost_until,
        "standing": "ok",
    }
