"""Answers one request of Stripe's API: key, version, idempotency, parameters, call, expansion, errors.

Knows bytes and headers but no web framework; `app.py` carries them in and out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from copy import deepcopy

import msgspec

from keywright.sandbox import stripe_agenda as agenda
from keywright.sandbox import stripe_connect as connect
from keywright.sandbox.stripe_errors import StripeRefusal
from keywright.sandbox.stripe_forms import Params, check, parse
from keywright.sandbox.stripe_pages import expand
from keywright.sandbox.stripe_routes import ROUTES, Route
from keywright.sandbox.stripe_shapes import API_VERSION, Obj
from keywright.sandbox.stripe_state import RequestMark, StripeState

_Call = Callable[[], Obj]

IDEMPOTENCY_SECONDS = 86_400
MAX_BODY_BYTES = 1_048_576


class ApiRequest(msgspec.Struct, frozen=True):
    """What came in: header names in lower case, query and body still encoded."""

    method: str
    path: str
    query: str
    body: bytes
    headers: Mapping[str, str]


class ApiAnswer(msgspec.Struct, frozen=True):
    """What goes out."""

    status: int
    body: bytes
    headers: dict[str, str]


class Remembered(msgspec.Struct, frozen=True):
    """The answer once given under an idempotency key."""

    fingerprint: bytes
    answer: ApiAnswer
    until: int


class StripeApi:
    """The API in front of a state. Not safe for threads: one event loop calls it."""

    def __init__(self, state: StripeState, *, api_key: str) -> None:
        self._state = state
        self._api_key = api_key
        self._remembered: dict[str, Remembered] = {}

    def answer(self, request: ApiRequest) -> ApiAnswer:
        """Serve one request; every refusal becomes one of Stripe's error bodies, never an exception."""
        request_id = self._state.ids.new("req")
        self._state.request = RequestMark(
            id=request_id, idempotency_key=request.headers.get("idempotency-key")
        )
        try:
            return self._served(request, request_id)
        except StripeRefusal as refusal:
            return _answer(refusal.status, refusal.body(request_id), request_id)
        finally:
            for world in self._state.worlds():
                world.request = RequestMark()

    def _served(self, request: ApiRequest, request_id: str) -> ApiAnswer:
        self._authenticate(request.headers)
        self.catch_up()
        state = self._world(request.headers)
        state.request = self._state.request
        route, ids = _find(request)
        try:
            encoded = request.body.decode() if request.method == "POST" else request.query
        except UnicodeDecodeError:
            raise StripeRefusal("Request body must be UTF-8.") from None
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        if key is None:
            return _answer(200, self._called(state, route, ids, parse(encoded)), request_id)
        # Keys are remembered for each account.
        return self._once(
            f"{state.account_id} {key}",
            request,
            lambda: self._called(state, route, ids, parse(encoded)),
            request_id,
        )

    def _world(self, headers: Mapping[str, str]) -> StripeState:
        """Whose objects are meant: the platform's, or those of the connected account that the call names."""
        named = headers.get("stripe-account", "")
        return connect.world_of(self._state, named) if named else self._state

    def catch_up(self) -> None:
        """Let everything happen that real time has brought due."""
        for world in self._state.worlds():
            mark, world.request = world.request, RequestMark()
            agenda.run_until(world, world.now())
            world.request = mark

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                value = base64.b64decode(value, validate=True).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                value = ""
        if not value or scheme.lower() not in {"basic", "bearer"}:
            raise StripeRefusal(
                "You did not provide an API key. You need to provide your API key in the Authorization "
                "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
                status=401,
            )
        if not hmac.compare_digest(value.encode(), self._api_key.encode()):
            raise StripeRefusal(f"Invalid API Key provided: {value[:8]}****", status=401)
        version = headers.get("stripe-version", API_VERSION)
        if version != API_VERSION:
            raise StripeRefusal(f"The sandbox speaks {API_VERSION} and no other version.")

    def _called(self, state: StripeState, route: Route, ids: list[str], params: Params) -> Obj:
        check(params, route.spec)
        answered = route.handler(state, ids, params)
        # What falls due in this very second happens before the answer is written.
        self.catch_up()
        answered = deepcopy(answered)
        if params.get("expand"):
            expand(state, answered, params["expand"])
        return answered

    def _once(self, key: str, request: ApiRequest, call: _Call, request_id: str) -> ApiAnswer:
        if len(key.partition(" ")[2]) > 255:
            raise StripeRefusal("Idempotency keys have up to 255 characters.", kind="idempotency_error")
        fingerprint = hashlib.sha256(b"\0".join((request.path.encode(), request.body))).digest()
        known = self._remembered.get(key)
        if known is not None and known.until > self._state.now():
            return _repeated(known, fingerprint, key.partition(" ")[2])
        try:
            answer = _answer(200, call(), request_id)
        except StripeRefusal as refusal:
            # A refused parameter changed nothing and may be corrected under the same key; a card may not.
            if refusal.status != 402:
                raise
            answer = _answer(refusal.status, refusal.body(request_id), request_id)
        self._remembered[key] = Remembered(fingerprint, answer, self._state.now() + IDEMPOTENCY_SECONDS)
        return answer


def _find(request: ApiRequest) -> tuple[Route, list[str]]:
    for route in ROUTES:
        if route.method == request.method and (match := route.pattern.match(request.path)):
            return route, list(match.groups())
    raise StripeRefusal(
        f"Unrecognized request URL ({request.method}: {request.path[:200]}). The sandbox stands in for the "
        "part of Stripe that Keywright uses.",
        status=404,
    )


def _repeated(known: Remembered, fingerprint: bytes, key: str) -> ApiAnswer:
    if known.fingerprint != fingerprint:
        raise StripeRefusal(
            "Keys for idempotent requests can only be used with the same parameters they were first "
            f"used with. Try using a key other than '{key[:40]}' for a different request.",
            kind="idempotency_error",
        )
    return ApiAnswer(
        known.answer.status, known.answer.body, known.answer.headers | {"Idempotent-Replayed": "true"}
    )


def _answer(status: int, body: Obj, request_id: str) -> ApiAnswer:
    headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION, "Content-Type": "application/json"}
    return ApiAnswer(status, msgspec.json.encode(body), headers)
