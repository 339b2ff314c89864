"""Paystack's API in front of the stand-in's state: JSON in, Paystack's envelope out."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final

import msgspec

from keywright.sandbox import paystack_flow as flow
from keywright.sandbox import paystack_shapes as shapes
from keywright.sandbox import paystack_split as split
from keywright.sandbox.paystack_state import Obj, PaystackRefusal, PaystackState, seconds

_MOST_A_PAGE: Final = 100


class Asked(msgspec.Struct, frozen=True):
    """One request: names from the path, the query, and the body when there is one."""

    names: tuple[str, ...]
    query: Mapping[str, str]
    body: Mapping[str, Any]


class Page(msgspec.Struct, frozen=True):
    """A part of a list with what Paystack tells about the whole."""

    items: list[Obj]
    meta: Obj


Handler = Callable[[PaystackState, Asked], tuple[str, Any]]


def answer(
    state: PaystackState,
    key: str,
    method: str,
    path: str,
    query: Mapping[str, str],
    body: bytes,
    authorization: str,
) -> tuple[int, Obj]:
    """Serve one request: status and JSON body. Every refusal becomes one of Paystack's error bodies."""
    try:
        _authenticate(key, authorization)
        message, data = _called(state, method, path, query, body)
    except PaystackRefusal as refusal:
        return refusal.status, refusal.body()
    told: Obj = {"status": True, "message": message}
    if isinstance(data, Page):
        return 200, {**told, "data": deepcopy(data.items), "meta": data.meta}
    return 200, told if data is None else {**told, "data": deepcopy(data)}


def _authenticate(key: str, authorization: str) -> None:
    if not hmac.compare_digest(authorization.encode(), f"Bearer {key}".encode()):
        raise PaystackRefusal("Invalid key", status=401, code="invalid_key")


def _called(
    state: PaystackState, method: str, path: str, query: Mapping[str, str], body: bytes
) -> tuple[str, Any]:
    for verb, pattern, handler in ROUTES:
        found = pattern.fullmatch(path)
        if verb == method and found is not None:
            return handler(state, Asked(found.groups(), query, _decoded(body)))
    raise PaystackRefusal("Resource not found in this sandbox", status=404, code="not_found")


def _decoded(body: bytes) -> Mapping[str, Any]:
    if not body:
        return {}
    try:
        told = msgspec.json.decode(body)
    except msgspec.DecodeError:
        told = None
    if not isinstance(told, dict):
        raise PaystackRefusal("Invalid request body")
    return told


# -- handlers -----------------------------------------------------------------------------------------


def _initialize(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    try:
        start = msgspec.convert(dict(asked.body), flow.Start)
    except msgspec.ValidationError as error:
        raise PaystackRefusal(str(error)) from None
    terms = flow.initialize(state, start)
    reference = next(name for name, known in state.terms.items() if known is terms)
    url = f"{state.base_url}/pay/{terms.access_code}"
    data = {"authorization_url": url, "access_code": terms.access_code, "reference": reference}
    return "Authorization URL created", data


def _verify(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    transaction = state.find("transaction", asked.names[0])
    if transaction is None:
        raise PaystackRefusal("Transaction reference not found.", code="transaction_not_found")
    return "Verification successful", shapes.verified(state, transaction)


def _transactions(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    found = [shapes.listed(state, one) for one in state.every("transaction")[::-1]]
    found = [one for one in found if asked.query.get("status") in (None, one["status"])]
    return "Transactions retrieved", _page(_of_customer(found, asked), asked)


def _transaction(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    return "Transaction retrieved", shapes.verified(state, state.by_number("transaction", asked.names[0]))


def _make_plan(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    name, amount, interval = (asked.body.get(each) for each in ("name", "amount", "interval"))
    if not isinstance(name, str) or interval not in shapes.INTERVALS or not str(amount).isdecimal():
        raise PaystackRefusal("A plan needs name, amount and interval")
    plan = shapes.new_plan(state, name, int(str(amount)), asked.body.get("currency", "NGN"), str(interval))
    return "Plan created", plan


def _subscriptions(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    found = _of_customer(state.every("subscription")[::-1], asked)
    plan = asked.query.get("plan")
    found = [one for one in found if plan in (None, str(one["plan"]["id"]))]
    return "Subscriptions retrieved", _page(found, asked)


def _subscription(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    return "Subscription retrieved successfully", _subscription_of(state, asked)


def _subscription_of(state: PaystackState, asked: Asked) -> Obj:
    found = state.find("subscription", asked.names[0])
    return found if found is not None else state.by_number("subscription", asked.names[0])


def _disable(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    flow.disable(state, str(asked.body.get("code")), str(asked.body.get("token")))
    return "Subscription disabled successfully", None


def _enable(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    flow.enable(state, str(asked.body.get("code")), str(asked.body.get("token")))
    return "Subscription enabled successfully", None


def _manage(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    code = _subscription_of(state, asked)["subscription_code"]
    return "Link generated", {"link": f"{state.base_url}/manage/{code}/{state.email_tokens[code]}"}


def _refund(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    transaction = flow.find_transaction(state, str(asked.body.get("transaction")))
    amount = asked.body.get("amount")
    if amount is not None and not str(amount).isdecimal():
        raise PaystackRefusal("Amount must be an integer", code="invalid_amount")
    notes = str(asked.body.get("customer_note", "")), str(asked.body.get("merchant_note", ""))
    made = flow.refund(state, transaction, None if amount is None else int(str(amount)), notes)
    whole = {**shapes.listed(state, transaction)}
    return "Refund has been queued for processing", {**made, "transaction": whole}


def _refunds(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    wanted = asked.query.get("transaction")
    found = [one for one in state.every("refund")[::-1] if wanted in (None, str(one["transaction"]))]
    return "Refunds retrieved", _page(found, asked)


def _resolve(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    made = flow.resolve(state, asked.names[0], str(asked.body.get("resolution")))
    return "Dispute successfully resolved", made


def _make_subaccount(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    return "Subaccount created", split.new_subaccount(state, asked.body)


def _change_subaccount(state: PaystackState, asked: Asked) -> tuple[str, Any]:
    return "Subaccount updated", split.change_subaccount(state, asked.names[0], asked.body)


def _list(kind: str, message: str) -> Handler:
    return lambda state, asked: (message, _page(state.every(kind)[::-1], asked))


def _get(kind: str, message: str) -> Handler:
    return lambda state, asked: (message, state.get(kind, asked.names[0]))


def _of_customer(found: list[Obj], asked: Asked) -> list[Obj]:
    wanted = asked.query.get("customer")
    return [one for one in found if wanted in (None, str(one["customer"]["id"]))]


def _page(found: list[Obj], asked: Asked) -> Page:
    """The page that was asked for, of what was made in the time that was asked for; newest first."""
    query = asked.query
    for name, fits in (("from", _not_before), ("to", _not_after)):
        if name in query:
            edge = seconds(query[name])
            found = [one for one in found if fits(one, edge)]
    size = min(_whole(query.get("perPage"), 50), _MOST_A_PAGE)
    number = _whole(query.get("page"), 1)
    skipped = size * (number - 1)
    meta = {
        "total": len(found),
        "skipped": skipped,
        "perPage": size,
        "page": number,
        "pageCount": -(-len(found) // size),
    }
    return Page(found[skipped : skipped + size], meta)


def _not_before(one: Obj, edge: int) -> bool:
    return "createdAt" not in one or seconds(one["createdAt"]) >= edge


def _not_after(one: Obj, edge: int) -> bool:
    return "createdAt" not in one or seconds(one["createdAt"]) <= edge


def _whole(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdecimal() and 0 < int(text) < 10**6 else default


_NAME = r"([A-Za-z0-9_.=-]+)"
ROUTES: Final[tuple[tuple[str, re.Pattern[str], Handler], ...]] = tuple(
    (verb, re.compile(pattern), handler)
    for verb, pattern, handler in (
        ("POST", "/transaction/initialize", _initialize),
        ("GET", f"/transaction/verify/{_NAME}", _verify),
        ("GET", "/transaction", _transactions),
        ("GET", f"/transaction/{_NAME}", _transaction),
        ("POST", "/subaccount", _make_subaccount),
        ("GET", "/subaccount", _list("subaccount", "Subaccounts retrieved")),
        ("GET", f"/subaccount/{_NAME}", _get("subaccount", "Subaccount retrieved")),
        ("PUT", f"/subaccount/{_NAME}", _change_subaccount),
        ("POST", "/plan", _make_plan),
        ("GET", "/plan", _list("plan", "Plans retrieved")),
        ("GET", f"/plan/{_NAME}", _get("plan", "Plan retrieved")),
        ("GET", "/subscription", _subscriptions),
        ("POST", "/subscription/disable", _disable),
        ("POST", "/subscription/enable", _enable),
        ("GET", f"/subscription/{_NAME}/manage/link", _manage),
        ("GET", f"/subscription/{_NAME}", _subscription),
        ("POST", "/refund", _refund),
        ("GET", "/refund", _refunds),
        ("GET", f"/refund/{_NAME}", _get("refund", "Refund retrieved")),
        ("GET", "/dispute", _list("dispute", "Disputes retrieved")),
        ("PUT", f"/dispute/{_NAME}/resolve", _resolve),
        ("GET", f"/dispute/{_NAME}", _get("dispute", "Dispute retrieved")),
        ("GET", "/customer", _list("customer", "Customers retrieved")),
        ("GET", f"/customer/{_NAME}", _get("customer", "Customer retrieved")),
    )
)
