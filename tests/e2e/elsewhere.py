"""Paystack and PayPal as a test has them answer: with something planted in what they say.

The templates are whole objects, with everything in them that must not be kept: authorizations, names,
addresses, tokens. `Provider.answer` serves them by path, to the adapters directly and over loopback.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.e2e.test_secrets import CARDS, leaves, with_leaf

Json = dict[str, Any]
FIXTURES = Path(__file__).parents[1] / "fixtures"
PLAN = {"paystack": "PLN_gx2wn530m0i3w3m", "paypal": "P-5ML4271244454362WXNWU5NQ"}
SUBSCRIPTION = {"paystack": "SUB_vsyqdmlzble3uii", "paypal": "I-BW452GLLEP1G"}
OAUTH_TOKEN = "A21AAFaccesstokenofpaypalthatnobodymaysee0123456789abcdefghijklmnopqrstuvwxyz"

# What a credential or a bank account looks like, exactly, where the kinds of `SECRETS` carry a number.
EXACT = (
    "sk_live_0123456789abcdef0123456789abcdef01234567",
    "sk_test_fedcba9876543210fedcba9876543210fedcba98",
    "AUTH_72btv547",
    "AUTH_uh8bcl3zbn",
    "DE89370400440532013000",
    "GB29NWBK60161331926819",
    "FR1420041010050500013M02606",
    "078-05-1120",
    "cvv-737",
    "order-7-sk_live_0123456789abcdef",
    "KW.AUTH_72btv547",
    "A21AAFs9FK7b1lTIaWzR8dnK2rhZr0-BvZZnR2L5zVB",
)


def forms(number: int) -> Iterator[str]:
    """A card number as it comes: alone, in a sentence, an id, an address, groups, JSON, a link."""
    card = CARDS[number % len(CARDS)]
    digits = re.sub(r"\D", "", card)
    yield card
    yield digits
    yield f"Please charge {card} today"
    yield f"{digits}@example.com"
    yield f"ref_{digits}"
    yield f"KW-{digits}"
    yield f"T.{digits}.1"
    yield " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))
    yield json.dumps({"card": {"number": digits, "cvv": "737", "exp": "12/29"}})
    yield f"https://x.example/?card={digits}&cvv=737"


def with_extras(value: Any, text: str) -> Any:
    """The document with members in it that no provider sends, the text in each, at every depth."""
    if isinstance(value, list):
        return [with_extras(one, text) for one in value]
    if not isinstance(value, dict):
        return value
    told = {name: with_extras(inner, text) for name, inner in value.items()}
    more = {
        "card": {"number": text, "cvc": text, "exp_month": text},
        "authorization_code": text,
        "authorization": {"authorization_code": text, "bin": text, "last4": text, "account_name": text},
        "access_code": text,
        "email_token": text,
        "client_secret": text,
        "api_key": text,
        "metadata": {"secret": text, "custom_fields": [{"variable_name": "card", "value": text}]},
        "message": text,
        "note_to_payer": text,
        "payment_source": {"card": {"number": text, "security_code": text, "name": text}},
        text: text,
    }
    return {**more, **told}


def with_metadata(value: Any, text: str) -> Any:
    """`metadata` in every object as a JSON string that holds the text."""
    if isinstance(value, list):
        return [with_metadata(one, text) for one in value]
    if not isinstance(value, dict):
        return value
    told = {name: with_metadata(inner, text) for name, inner in value.items()}
    return {**told, "metadata": json.dumps({"card": text, "nested": json.dumps({"cvv": text})})}


def with_names(value: Any, text: str) -> Any:
    """Names in objects that have none of that kind: what one object is called by may stand in any."""
    if isinstance(value, list):
        return [with_names(one, text) for one in value]
    if not isinstance(value, dict):
        return value
    told = {name: with_names(inner, text) for name, inner in value.items()}
    names = ("id", "reference", "subscription_code", "plan_code", "invoice_code", "transaction_reference")
    more = (
        "dispute_id",
        "capture_id",
        "sale_id",
        "order_id",
        "billing_agreement_id",
        "custom_id",
        "payer_id",
    )
    return {**dict.fromkeys((*names, *more), text), **told}


# -- Paystack -----------------------------------------------------------------------------------------


def _of_file(provider: str, name: str) -> Any:
    return json.loads((FIXTURES / provider / f"{name}.json").read_text())


def events_of(provider: str) -> list[Json]:
    """Every event of the fixtures."""
    found = []
    for path in sorted((FIXTURES / provider).glob("*.json")):
        told = json.loads(path.read_text())
        if path.name.startswith("evt_"):
            found.append(told)
        elif path.name.startswith("signed_"):
            found.append(json.loads(told["body"]))
    return found


def _paystack_answers(now: datetime) -> dict[str, Any]:
    subscription = _of_file("paystack", "api_subscriptions_fetch__docs")["200"]["data"]["data"]
    transaction = _of_file("paystack", "api_transactions_verify__docs")["200"]["data"]["data"]
    customer = {**transaction["customer"], "customer_code": "CUS_xnxdt6s1zg1f4nx", "id": 1173}
    told = (now - timedelta(minutes=5)).isoformat()
    invoice = {"invoice_code": "INV_3kfmqw48ca7b48k", "transaction": transaction["id"], "status": "success"}
    subscription = {
        **subscription,
        "createdAt": told,
        "next_payment_date": (now + timedelta(days=30)).isoformat(),
        "most_recent_invoice": {**invoice, "authorization": transaction["authorization"]},
        "invoices": [invoice],
    }
    transaction = {
        **transaction,
        "customer": customer,
        "paid_at": told,
        "plan": PLAN["paystack"],
        "plan_object": subscription["plan"],
    }
    event = _of_file("paystack", "evt_charge-dispute-create__docs")["data"]
    refund = _of_file("paystack", "api_refunds_create__docs")["200"]["data"]["data"]
    refund = {
        **refund,
        "id": 3018284,
        "transaction": transaction["id"],
        "status": "processed",
        "domain": "test",
    }
    return {
        "transaction": transaction,
        "subscription": subscription,
        "refund": refund,
        "dispute": {**event, "domain": "test"},
    }


# -- PayPal -------------------------------------------------------------------------------------------


def _paypal_answers(now: datetime) -> dict[str, Any]:
    told = (now - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
    money = {"currency_code": "USD", "value": "50.00"}
    person = {
        "email_address": "ada@example.com",
        "payer_id": "2J6QB8YJQSJRJ",
        "name": {"given_name": "Ada", "surname": "Buyer"},
        "phone": {"phone_number": {"national_number": "4085551234"}},
        "address": {"address_line_1": "1 Main St", "postal_code": "95131"},
        "tax_info": {"tax_id": "000-00-0000", "tax_id_type": "BR_CPF"},
    }
    link = {"href": "https://api.paypal.com/v2/payments/captures/3C679366HH908993F", "rel": "up"}
    capture = {
        "id": "3C679366HH908993F",
        "status": "COMPLETED",
        "amount": money,
        "custom_id": "what the shop likes",
        "invoice_id": "INVOICE-123",
        "create_time": told,
        "update_time": told,
        "supplementary_data": {"related_ids": {"order_id": "5O190127TN364715T"}},
        "links": [{**link, "rel": "self"}],
        "processor_response": {"avs_code": "S", "cvv_code": "M", "response_code": "0000"},
    }
    refund = {
        "id": "1JU08902781691411",
        "status": "COMPLETED",
        "amount": money,
        "note_to_payer": "Defective",
        "links": [link],
    }
    source = {"card": {"last_digits": "7704", "brand": "VISA", "name": "Ada Buyer", "expiry": "2029-12"}}
    order = {
        "id": "5O190127TN364715T",
        "intent": "CAPTURE",
        "status": "COMPLETED",
        "payment_source": source,
        "payer": person,
        "purchase_units": [
            {
                "reference_id": "default",
                "custom_id": "KW-ABCDEFGH23456777",
                "soft_descriptor": "SHOP",
                "shipping": {"name": {"full_name": "Ada Buyer"}},
                "payments": {"captures": [capture], "refunds": [refund]},
            }
        ],
        "links": [{"href": "https://www.paypal.com/checkoutnow?token=5O190127TN364715T", "rel": "approve"}],
    }
    cycle = {
        "tenure_type": "REGULAR",
        "frequency": {"interval_unit": "MONTH", "interval_count": 1},
        "total_cycles": 0,
        "pricing_scheme": {"fixed_price": money},
    }
    subscription = {
        "id": SUBSCRIPTION["paypal"],
        "status": "ACTIVE",
        "plan_id": PLAN["paypal"],
        "quantity": "1",
        "custom_id": "what the shop likes",
        "start_time": told,
        "status_update_time": told,
        "create_time": told,
        "subscriber": {
            **person,
            "payment_source": source,
            "shipping_address": {"name": {"full_name": "Ada"}},
        },
        "billing_info": {
            "outstanding_balance": {**money, "value": "0.00"},
            "cycle_executions": [{"tenure_type": "REGULAR", "sequence": 1, "cycles_completed": 1}],
            "last_payment": {"amount": money, "time": told},
            "last_failed_payment": {"amount": money, "time": told, "reason_code": "PAYMENT_DENIED"},
            "next_billing_time": (now + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "failed_payments_count": 0,
        },
        "plan": {"billing_cycles": [cycle], "name": "Pro", "product_id": "PROD-1"},
    }
    sale = {
        **_of_file("paypal", "api_7D51924877811803R__djpaypal"),
        "billing_agreement_id": SUBSCRIPTION["paypal"],
    }
    payment = {
        "id": "TRFGHNJKOIIOJKL",
        "status": "COMPLETED",
        "payer_email": "ada@example.com",
        "payer_name": {"given_name": "Ada", "surname": "Buyer"},
        "amount_with_breakdown": {"gross_amount": money, "fee_amount": money, "net_amount": money},
        "time": told,
    }
    dispute = {
        **_of_file("paypal", "evt_customer.dispute.created__djpaypal")["resource"],
        "status": "RESOLVED",
        "dispute_life_cycle_stage": "CHARGEBACK",
        "dispute_outcome": {"outcome_code": "RESOLVED_SELLER_FAVOUR", "amount_refunded": money},
        "messages": [{"posted_by": "BUYER", "content": "I did not buy this"}],
    }
    return {
        "order": order,
        "capture": capture,
        "refund": refund,
        "subscription": subscription,
        "payment": payment,
        "sale": sale,
        "dispute": dispute,
    }


# -- answering ----------------------------------------------------------------------------------------

# The first rule that fits the path; a name in brackets is answered as a list of one.
_PAYSTACK_ROUTES = (
    (r"/transaction/(verify/)?[^/]+", "transaction"),
    (r"/transaction", "[transaction]"),
    (r"/subscription/[^/]+", "subscription"),
    (r"/subscription", "[subscription]"),
    (r"/refund", "[refund]"),
    (r"/dispute/[^/]+", "dispute"),
)
_PAYPAL_ROUTES = (
    (r"/v2/checkout/orders/[^/]+(/capture)?", "order"),
    (r"/v1/billing/subscriptions/[^/]+/transactions", "{transactions}payment"),
    (r"/v1/billing/subscriptions/[^/]+", "subscription"),
    (r"/v2/payments/captures/[^/]+", "capture"),
    (r"/v2/payments/refunds/[^/]+", "refund"),
    (r"/v1/payments/sale/[^/]+", "sale"),
    (r"/v1/customer/disputes/[^/]+", "dispute"),
    (r"/v1/notifications/webhooks", "{webhooks}"),
)
WANTED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "paystack": (
        ("transaction", "re4lyvq3s3"),
        ("subscription", SUBSCRIPTION["paystack"]),
        ("renewal", f"{SUBSCRIPTION['paystack']}/re4lyvq3s3"),
        ("refunds", "re4lyvq3s3"),
        ("dispute", "624"),
    ),
    "paypal": (
        ("order", "5O190127TN364715T"),
        ("subscription", SUBSCRIPTION["paypal"]),
        ("capture", "3C679366HH908993F"),
        ("sale", "7D51924877811803R"),
        ("refund", "1JU08902781691411"),
        ("dispute", "PP-000-001-341-393"),
    ),
}


class Provider:
    """What one provider answers. `objects` may be replaced by planted ones at any time."""

    def __init__(self, name: str, now: datetime) -> None:
        self.name = name
        self.pristine = _paystack_answers(now) if name == "paystack" else _paypal_answers(now)
        self.objects: dict[str, Any] = copy.deepcopy(self.pristine)

    def reset(self) -> None:
        self.objects = copy.deepcopy(self.pristine)

    def places(self) -> list[tuple[str, str]]:
        """(object, path) of every string that it answers."""
        return [(name, path) for name, told in self.pristine.items() for path in leaves(told)]

    def plant(self, name: str, path: str, text: str) -> None:
        self.reset()
        self.objects[name] = with_leaf(self.pristine[name], path, text)

    def answer(self, target: str) -> tuple[int, Any]:
        """Status and body for this path."""
        if urlsplit(target).path == "/v1/oauth2/token":
            return 200, {"access_token": OAUTH_TOKEN, "expires_in": 32400}
        found = self._route(target)
        if found is not None:
            return 200, self._body(found)
        return 404, {"status": False, "message": "not found", "name": "RESOURCE_NOT_FOUND"}

    def object_at(self, target: str) -> str:
        """The name of the object that is answered there; nothing when none is."""
        return re.sub(r"[\[\]]|\{.*\}", "", self._route(target) or "")

    def _route(self, target: str) -> str | None:
        path = urlsplit(target).path
        routes = _PAYSTACK_ROUTES if self.name == "paystack" else _PAYPAL_ROUTES
        return next((found for pattern, found in routes if re.fullmatch(pattern, path)), None)

    def _body(self, found: str) -> Any:
        if found.startswith("{"):
            member, _, name = found[1:].partition("}")
            return {member: [self.objects[name]] if name else []}
        if self.name == "paypal":
            return self.objects[found]
        several = found.startswith("[")
        data = self.objects[found.strip("[]")]
        return {"status": True, "message": "retrieved", "data": [data] if several else data}


NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
