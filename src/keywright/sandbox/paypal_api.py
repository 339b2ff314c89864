"""Answers one request of PayPal's API: token, routes, request ids, errors. Knows no web framework."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from keywright.sandbox import paypal_orders as orders
from keywright.sandbox import paypal_subscriptions as subscriptions
from keywright.sandbox.paypal_signing import Authority
from keywright.sandbox.paypal_state import Obj, PayPalRefusal, PayPalState, invalid, visible
from keywright.sandbox.stripe_api import ApiAnswer, ApiRequest

CLIENT_ID = "sandbox-client"
CLIENT_SECRET = "sandbox-secret"  # noqa: S105  # a stand-in's, known to everybody
TOKEN_SECONDS = 32_400
_Params = Mapping[str, str]
_Handler = Callable[[PayPalState, list[str], Obj, _Params], Obj | None]


class PayPalApi:
    """The API in front of a state. Not safe for threads: one event loop calls it."""

    def __init__(self, state: PayPalState, authority: Authority) -> None:
        self._state = state
        self._authority = authority
        self._tokens: dict[str, int] = {}
        self._remembered: dict[tuple[str, str], ApiAnswer] = {}

    def answer(self, request: ApiRequest) -> ApiAnswer:
        """Serve one request; every refusal becomes one of PayPal's error bodies, never an exception."""
        debug_id = self._state.new_id(length=13).lower()
        try:
            return self._served(request)
        except PayPalRefusal as refusal:
            return _answer(refusal.status, refusal.body(debug_id), debug_id)
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError):
            # A request of the wrong form, as the real API would say.
            malformed = PayPalRefusal(400, "INVALID_REQUEST", "MALFORMED_REQUEST_JSON")
            return _answer(400, malformed.body(debug_id), debug_id)

    def _served(self, request: ApiRequest) -> ApiAnswer:
        if request.path.startswith("/v1/notifications/certs/"):
            return self._certificate(request.path)
        if request.path == "/v1/oauth2/token":
            return _answer(200, self._token(request))
        self._authorize(request.headers)
        if request.path == "/v1/notifications/verify-webhook-signature":
            return _answer(200, {"verification_status": self._verdict(request.body)})
        key = request.headers.get("paypal-request-id") if request.method == "POST" else None
        known = self._remembered.get((request.path, key)) if key is not None else None
        if known is not None:
            return known
        answer = self._called(request)
        if key is not None:
            self._remembered[request.path, key] = answer
        return answer

    def _called(self, request: ApiRequest) -> ApiAnswer:
        body = msgspec.json.decode(request.body) if request.body.strip() else {}
        if not isinstance(body, dict):
            raise PayPalRefusal(400, "INVALID_REQUEST", "MALFORMED_REQUEST_JSON")
        for method, pattern, status, handler in _ROUTES:
            if method == request.method and (found := re.fullmatch(pattern, request.path)):
                told = handler(self._state, list(found.groups()), body, dict(parse_qsl(request.query)))
                return _answer(204, None) if told is None else _answer(status, visible(told))
        raise PayPalRefusal(404, "RESOURCE_NOT_FOUND", None, "The stand-in has no such route.")

    def _certificate(self, path: str) -> ApiAnswer:
        if path.rpartition("/")[2] != self._authority.certificate_id:
            raise PayPalRefusal(404, "RESOURCE_NOT_FOUND")
        return ApiAnswer(200, self._authority.leaf, {"Content-Type": "application/x-pem-file"})

    def _token(self, request: ApiRequest) -> Obj:
        given = request.headers.get("authorization", "").removeprefix("Basic ")
        try:
            pair = base64.b64decode(given, validate=True)
        except binascii.Error:
            pair = b""
        if not hmac.compare_digest(pair, f"{CLIENT_ID}:{CLIENT_SECRET}".encode()):
            raise PayPalRefusal(401, "invalid_client", None, "Client Authentication failed")
        token = self._state.new_id("A21AA", 40)
        self._tokens[token] = self._state.now() + TOKEN_SECONDS
        return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}

    def _authorize(self, headers: Mapping[str, str]) -> None:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(token, 0) <= self._state.now():
            raise PayPalRefusal(401, "AUTHENTICATION_FAILURE", "INVALID_TOKEN")

    def forget_tokens(self) -> None:
        """Take back every token that was given out."""
        self._tokens.clear()

    def _verdict(self, body: bytes) -> str:
        """The check is made over the bytes of the event as they were sent, as PayPal does."""
        asked = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        event = bytes(asked.pop("webhook_event"))
        told: dict[str, Any] = {name: msgspec.json.decode(value) for name, value in asked.items()}
        good = (
            told["auth_algo"] == "SHA256withRSA"
            and told["cert_url"].endswith(f"/{self._authority.certificate_id}")
            and told["webhook_id"] in self._state.endpoint_secrets.values()
            and self._authority.verify(
                base64.b64decode(told["transmission_sig"]),
                told["transmission_id"],
                told["transmission_time"],
                told["webhook_id"],
                event,
            )
        )
        return "SUCCESS" if good else "FAILURE"


def _answer(status: int, body: Obj | None, debug_id: str | None = None) -> ApiAnswer:
    headers = {"Content-Type": "application/json"}
    if debug_id is not None:
        headers["PayPal-Debug-Id"] = debug_id
    return ApiAnswer(status, b"" if body is None else msgspec.json.encode(body), headers)


# ----------------------------------------------------------------------------------------------- routes


def _subscription(state: PayPalState, ids: list[str], _: Obj, params: _Params) -> Obj:
    return subscriptions.shown(state, state.get("subscription", ids[0]), params.get("fields", ""))


def _act(act: Callable[[PayPalState, Obj], None]) -> _Handler:
    def call(state: PayPalState, ids: list[str], body: Obj, _: _Params) -> None:
        if not body.get("reason"):
            raise invalid("MISSING_REQUIRED_PARAMETER")
        act(state, state.get("subscription", ids[0]))

    return call


def _transactions(state: PayPalState, ids: list[str], _: Obj, params: _Params) -> Obj:
    state.get("subscription", ids[0])
    start, end = params["start_time"], params["end_time"]
    listed = subscriptions.transactions(state, ids[0])
    return {"transactions": [one for one in listed if start <= one["time"] <= end]}


def _list_subscriptions(state: PayPalState, _ids: list[str], _: Obj, params: _Params) -> Obj:
    after = params.get("created_after", "")
    found = [one for one in state.every("subscription") if one["create_time"] >= after]
    return _page(state, "/v1/billing/subscriptions", "subscriptions", found, params)


def _page(state: PayPalState, path: str, name: str, found: list[Obj], params: _Params) -> Obj:
    number, size = int(params.get("page", "1")), int(params.get("page_size", "10"))
    part = found[(number - 1) * size : number * size]
    kept = "&".join(f"{one}={value}" for one, value in params.items() if one != "page")
    links = [state.link(f"{path}?{kept}&page={number + 1}", "next")] if len(found) > number * size else []
    return {name: deepcopy(part), "total_items": len(found), "links": links}


def _list_events(state: PayPalState, _ids: list[str], _: Obj, params: _Params) -> Obj:
    start, end = params.get("start_time", ""), params.get("end_time", "9999")
    bodies = [event["body"] for event in state.every("event")][::-1]
    found = [one for one in bodies if start <= one["create_time"] <= end]
    return _page(state, "/v1/notifications/webhooks-events", "events", found, params)


def _create_webhook(state: PayPalState, _ids: list[str], body: Obj, _: _Params) -> Obj:
    kinds = [one["name"] for one in body["event_types"]]
    if any(one["url"] == body["url"] for one in state.every("webhook_endpoint")):
        raise PayPalRefusal(400, "WEBHOOK_URL_ALREADY_EXISTS")
    return _webhook(register(state, str(body["url"]), None, kinds))


def register(state: PayPalState, url: str, webhook_id: str | None, kinds: list[str]) -> Obj:
    """Deliver events to an address; a given id is kept, so that a server may know it before it starts."""
    for known in state.every("webhook_endpoint"):
        if known["url"] == url:
            state.drop("webhook_endpoint", known["id"])
            state.endpoint_secrets.pop(known["id"], None)
    id_ = webhook_id or state.new_id()
    endpoint = {"id": id_, "url": url, "status": "enabled", "enabled_events": kinds}
    state.endpoint_secrets[id_] = id_
    return state.add("webhook_endpoint", endpoint)


def _webhook(endpoint: Obj) -> Obj:
    kinds = [{"name": kind} for kind in endpoint["enabled_events"]]
    return {"id": endpoint["id"], "url": endpoint["url"], "event_types": kinds}


def _list_webhooks(state: PayPalState, _ids: list[str], _: Obj, _params: _Params) -> Obj:
    return {"webhooks": [_webhook(one) for one in state.every("webhook_endpoint")]}


def _change_webhook(state: PayPalState, ids: list[str], _: Obj, _params: _Params) -> None:
    state.get("webhook_endpoint", ids[0])
    state.drop("webhook_endpoint", ids[0])
    state.endpoint_secrets.pop(ids[0], None)


def _resend(state: PayPalState, ids: list[str], _: Obj, _params: _Params) -> Obj:
    event = state.get("event", ids[0])
    state.on_event(event)
    return {"id": event["id"]}


def _getter(kind: str) -> _Handler:
    return lambda state, ids, _body, _params: state.get(kind, ids[0])


def _refund_of(kind: str) -> _Handler:
    def get(state: PayPalState, ids: list[str], _: Obj, _params: _Params) -> Obj:
        found = state.get("refund", ids[0])
        if ("sale_id" in found) != (kind == "sale"):
            raise PayPalRefusal(404, "RESOURCE_NOT_FOUND")
        return found

    return get


_ID = r"([A-Za-z0-9-]{1,64})"
_SUBSCRIPTION = rf"/v1/billing/subscriptions/{_ID}"
_ROUTES: tuple[tuple[str, str, int, _Handler], ...] = (
    ("POST", "/v2/checkout/orders", 201, lambda s, _i, body, _p: orders.create(s, body)),
    ("GET", f"/v2/checkout/orders/{_ID}", 200, _getter("order")),
    (
        "POST",
        f"/v2/checkout/orders/{_ID}/capture",
        201,
        lambda s, i, _b, _p: orders.capture(s, s.get("order", i[0])),
    ),
    ("GET", f"/v2/payments/captures/{_ID}", 200, _getter("capture")),
    (
        "POST",
        f"/v2/payments/captures/{_ID}/refund",
        201,
        lambda s, i, body, _p: orders.refund(s, "capture", i[0], body),
    ),
    ("GET", f"/v2/payments/refunds/{_ID}", 200, _refund_of("capture")),
    ("GET", f"/v1/payments/sale/{_ID}", 200, _getter("sale")),
    (
        "POST",
        f"/v1/payments/sale/{_ID}/refund",
        201,
        lambda s, i, body, _p: orders.refund(s, "sale", i[0], body),
    ),
    ("GET", f"/v1/payments/refund/{_ID}", 200, _refund_of("sale")),
    ("POST", "/v1/catalogs/products", 201, lambda s, _i, body, _p: subscriptions.create_product(s, body)),
    ("POST", "/v1/billing/plans", 201, lambda s, _i, body, _p: subscriptions.create_plan(s, body)),
    ("GET", f"/v1/billing/plans/{_ID}", 200, _getter("plan")),
    (
        "GET",
        "/v1/billing/plans",
        200,
        lambda s, _i, _b, params: _page(s, "/v1/billing/plans", "plans", s.every("plan"), params),
    ),
    ("POST", "/v1/billing/subscriptions", 201, lambda s, _i, body, _p: subscriptions.create(s, body)),
    ("GET", "/v1/billing/subscriptions", 200, _list_subscriptions),
    ("GET", _SUBSCRIPTION, 200, _subscription),
    ("GET", f"{_SUBSCRIPTION}/transactions", 200, _transactions),
    ("POST", f"{_SUBSCRIPTION}/cancel", 204, _act(subscriptions.cancel)),
    ("POST", f"{_SUBSCRIPTION}/suspend", 204, _act(subscriptions.suspend)),
    ("POST", f"{_SUBSCRIPTION}/activate", 204, _act(subscriptions.activate)),
    (
        "POST",
        f"{_SUBSCRIPTION}/revise",
        200,
        lambda s, i, body, _p: subscriptions.revise(s, s.get("subscription", i[0]), body),
    ),
    ("GET", f"/v1/customer/disputes/{_ID}", 200, _getter("dispute")),
    ("POST", "/v1/notifications/webhooks", 201, _create_webhook),
    ("GET", "/v1/notifications/webhooks", 200, _list_webhooks),
    ("DELETE", f"/v1/notifications/webhooks/{_ID}", 204, _change_webhook),
    ("GET", "/v1/notifications/webhooks-events", 200, _list_events),
    (
        "GET",
        f"/v1/notifications/webhooks-events/{_ID}",
        200,
        lambda s, i, _b, _p: s.get("event", i[0])["body"],
    ),
    ("POST", f"/v1/notifications/webhooks-events/{_ID}/resend", 202, _resend),
)


def price_of(plan: Obj) -> tuple[Decimal, str]:
    """What one costs in an ordinary cycle, for the approval page."""
    for cycle in plan["billing_cycles"]:
        if cycle["tenure_type"] == "REGULAR" and "pricing_scheme" in cycle:
            price = cycle["pricing_scheme"]["fixed_price"]
            return Decimal(price["value"]), price["currency_code"]
    return Decimal(0), "USD"
