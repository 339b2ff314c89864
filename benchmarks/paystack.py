"""Paystack as the bench plays it: signed `charge.success` deliveries, and the answers of its API."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from benchmarks.buyers import email_of, name_of, stamp
from benchmarks.wire import http_post

WEBHOOK_PATH = "/api/webhooks/paystack"
PLAN_CODE = "PLN_benchpro"
SECRET_KEY = "sk_test_bench0123456789abcdef0123456789abcdef"

_AMOUNT = 500_000
_MONTH_S = 30 * 86_400
_encode = msgspec.json.encode

Json = dict[str, Any]


def deliveries(numbers: Iterable[int], *, now: int) -> Iterator[bytes]:
    """The first payment of a plan, by each of these buyers, a minute before `now` (unix seconds)."""
    for number in numbers:
        body = _encode({"event": "charge.success", "data": _told(name_of(number), now - 60)})
        signature = hmac.new(SECRET_KEY.encode(), body, hashlib.sha512).hexdigest()
        yield http_post(WEBHOOK_PATH, body, {"x-paystack-signature": signature})


def answer(path: str, query: Mapping[str, str], bought_at: int) -> bytes | None:
    """What the API says, of buyers who all paid at that moment; None for what nobody asks for here."""
    kind, _, rest = path.strip("/").partition("/")
    if kind == "transaction" and rest.startswith("verify/T"):
        paid = _transaction(rest.removeprefix("verify/T"), bought_at)
        found: Any = {**paid, "plan": PLAN_CODE, "plan_object": _PLAN}
    elif kind == "subscription" and not rest:
        # What is asked for is one customer's subscriptions, by the customer's number.
        found = [_subscription(f"{int(query['customer']):09x}", bought_at)]
    elif kind == "subscription":
        found = _subscription(rest.removeprefix("SUB_"), bought_at)
    else:
        return None
    return _encode({"status": True, "message": "Retrieved", "data": found, "meta": {"total": 1}})


_PLAN: Json = {
    "id": 17,
    "name": "Pro",
    "plan_code": PLAN_CODE,
    "description": None,
    "amount": _AMOUNT,
    "interval": "monthly",
    "send_invoices": True,
    "send_sms": True,
    "currency": "NGN",
}


def _customer(name: str) -> Json:
    return {
        "id": int(name, 16),
        "first_name": None,
        "last_name": None,
        "email": email_of(name),
        "customer_code": f"CUS_{name}",
        "phone": None,
        "metadata": None,
        "risk_action": "default",
        "international_format_phone": None,
    }


def _authorization(name: str) -> Json:
    return {
        "authorization_code": f"AUTH_{name}",
        "bin": "408408",
        "last4": "4081",
        "exp_month": "12",
        "exp_year": "2030",
        "channel": "card",
        "card_type": "visa ",
        "bank": "TEST BANK",
        "country_code": "NG",
        "brand": "visa",
        "reusable": True,
        "signature": f"SIG_{name}",
        "account_name": None,
    }


def _transaction(name: str, at: int) -> Json:
    moment = stamp(at, ".000")
    return {
        "id": int(name, 16),
        "domain": "test",
        "status": "success",
        "reference": f"T{name}",
        "receipt_number": None,
        "amount": _AMOUNT,
        "message": None,
        "gateway_response": "Successful",
        "paid_at": moment,
        "created_at": moment,
        "channel": "card",
        "currency": "NGN",
        "ip_address": "127.0.0.1",
        "metadata": "",
        "log": {
            "start_time": at,
            "time_spent": 16,
            "attempts": 1,
            "errors": 0,
            "success": True,
            "mobile": False,
            "input": [],
            "history": [
                {"type": "action", "message": "Attempted to pay with card", "time": 15},
                {"type": "success", "message": "Successfully paid with card", "time": 16},
            ],
        },
        "fees": 17_500,
        "fees_split": None,
        "authorization": _authorization(name),
        "customer": _customer(name),
        "split": {},
        "order_id": None,
        "paidAt": moment,
        "createdAt": moment,
        "requested_amount": _AMOUNT,
        "pos_transaction_data": None,
        "source": {"type": "web", "source": "checkout", "entry_point": "transaction_initialize"},
        "fees_breakdown": None,
        "connect": None,
        "subaccount": {},
    }


def _told(name: str, at: int) -> Json:
    return {**_transaction(name, at), "plan": _PLAN}


def _subscription(name: str, at: int) -> Json:
    """The one that this buyer's payment began, a second later."""
    began = stamp(at + 1, ".000")
    return {
        "id": int(name, 16),
        "domain": "test",
        "status": "active",
        "start": at + 1,
        "quantity": 1,
        "subscription_code": f"SUB_{name}",
        "email_token": f"token{name}",
        "amount": _AMOUNT,
        "cron_expression": "0 0 28 * *",
        "easy_cron_id": None,
        "next_payment_date": stamp(at + _MONTH_S, ".000"),
        "open_invoice": None,
        "invoice_limit": 0,
        "payments_count": 1,
        "plan": _PLAN,
        "authorization": _authorization(name),
        "customer": _customer(name),
        "invoices": [],
        "most_recent_invoice": None,
        "createdAt": began,
        "updatedAt": began,
    }
