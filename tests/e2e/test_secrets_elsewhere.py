"""Secrets and card numbers planted in all that Paystack and PayPal say: no projection holds any of them.

Every string of every event and of every answer is replaced in turn, then all of them together, and members
are added that no provider sends. Kept is what was planted only where the buyer's address stands, and where a
provider writes names of its own making, if it has their form and looks like no credential.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from keywright.domain.card_numbers import find_card_numbers
from keywright.domain.errors import KeywrightError, Unreadable
from keywright.domain.facts import Projected, Refetch
from keywright.providers.paypal.api import PayPalApi
from keywright.providers.paypal.client import PayPalClient
from keywright.providers.paypal.hook import PayPalEvents
from keywright.providers.paystack.api import PaystackApi
from keywright.providers.paystack.hook import PaystackEvents
from tests.conftest import TurnableClock
from tests.e2e import elsewhere
from tests.e2e.elsewhere import EXACT, NOW, OAUTH_TOKEN, WANTED, Provider
from tests.e2e.test_secrets import CARDS, PLANTED, SECRETS, leaves, with_leaf
from tests.providers.paypal.deliveries import certificates

PROVIDERS = ("paystack", "paypal")
KEYS = ("sk_test_ourownkeyatpaystack0123456789abcdef", "our-client-secret-at-paypal-0123456789abcdef")
ADDRESS = "email", "email_address"
# Where the provider itself writes a name of its own making.
NAMES = frozenset(
    {
        *("id", "reference", "transaction_reference", "transaction", "customer", "plan", "subscription"),
        *("customer_code", "plan_code", "subscription_code", "invoice_code"),
        *("billing_agreement_id", "capture_id", "dispute_id", "href", "order_id", "payer_id", "plan_id"),
        *("sale_id", "seller_transaction_id"),
    }
)
# They have the form of a name, and nothing tells them from one.
NAMELIKE = re.compile(r"(hunter2|fingerprint-of-card|DE89370400440532013000|078-05-1120)-?planted\d+")
DIGITS = [re.sub(r"\D", "", card) for card in CARDS]
FORBIDDEN = re.compile("|".join(map(re.escape, {*DIGITS, *KEYS, OAUTH_TOKEN})))
UNTAKEN = re.compile("|".join([PLANTED.pattern, *map(re.escape, EXACT)]))


class Half(NamedTuple):
    """One provider's adapters, and the provider behind them."""

    events: Any
    api: Any
    told: Provider

    @property
    def type(self) -> str:
        """The member that names an event's type."""
        return "event" if self.told.name == "paystack" else "event_type"

    def fetched(self) -> list[bytes]:
        """The envelopes of all that can be asked for. What is refused is refused without what was planted."""
        found: list[bytes] = []
        for kind, name in WANTED[self.told.name]:
            try:
                found += self.api.fetch(Refetch(kind, name))
            except KeywrightError as error:
                check(said(error), where=f"the refusal of {kind}")
        return found


def open_half(name: str, transport: httpx.BaseTransport | None = None) -> Half:
    told = Provider(name, NOW)

    def serve(request: httpx.Request) -> httpx.Response:
        status, body = told.answer(str(request.url))
        return httpx.Response(status, json=body, headers={"date": "Sun, 01 Nov 2026 12:00:00 GMT"})

    transport, clock = transport or httpx.MockTransport(serve), TurnableClock(NOW)
    if name == "paystack":
        return Half(PaystackEvents(), PaystackApi(KEYS[0], clock, transport=transport), told)
    client = PayPalClient(
        "our-id", KEYS[1], clock, base="https://api-m.sandbox.paypal.com", transport=transport
    )
    return Half(PayPalEvents(certificates(live=False), live=False), PayPalApi(client, clock), told)


@pytest.fixture(params=PROVIDERS)
def half(request: pytest.FixtureRequest) -> Half:
    return open_half(request.param)


def said(error: BaseException) -> str:
    """All that an error and those behind it would tell a log."""
    texts, seen = [], set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        texts += [type(one).__name__, str(one), repr(one), repr(getattr(one, "args", "")), repr(vars(one))]
        one = one.__cause__ or one.__context__
    return "\n".join(texts)


def stored(events: Any, raw: bytes, *, fetched: bool) -> str:
    """All of a projection and of its reading that reaches a row; the refusal when there is none."""
    try:
        projected: Projected = events.project(raw, fetched=fetched)
        texts = [projected.body.decode(), projected.dedupe_key, projected.type, str(projected.account)]
        if projected.standing == "read":
            texts.append(repr(events.read(projected)))
    except Unreadable as error:
        return said(error)
    return "\n".join(texts)


def check(text: str, *, where: str, address: bool = False, name: bool = False) -> None:
    """Nothing that was planted is in the text, but what may be where this place is."""
    assert find_card_numbers(text) == [], where
    assert not FORBIDDEN.search(text), where
    if address:
        text = re.sub(r"[^\s\"'/:<>,]+@example\.com", "", text)
    if name:
        text = NAMELIKE.sub("", text)
    assert not UNTAKEN.search(text), where


def planted(document: Any, path: str, number: int) -> Iterator[bytes]:
    """The document with each kind of secret, exact ones, and card numbers in several forms at this path."""
    kinds = [secret.replace("N", f"{number}") for secret in SECRETS]
    # Written once: a thousand places times forty texts are many documents.
    before, _, after = json.dumps(with_leaf(document, path, "<here>")).partition('"<here>"')
    for text in (*kinds, f"{kinds[number % 20]}@example.com", *EXACT, *elsewhere.forms(number)):
        yield f"{before}{json.dumps(text)}{after}".encode()


def last_of(path: str) -> str:
    """The member that a path ends in, whatever its place in a list."""
    return [part for part in path.split(".") if not part.isdigit()][-1]


def hold(half: Half, document: Any, path: str, number: int, *, fetched: bool, where: str) -> None:
    last = last_of(path)
    for raw in planted(document, path, number):
        found = stored(half.events, raw, fetched=fetched)
        check(found, where=f"{where}: {path}", address=last in ADDRESS, name=last in NAMES)


def test_no_event_leaves_what_was_planted_in_one_of_its_strings(half: Half) -> None:
    number = 0
    for event in elsewhere.events_of(half.told.name):
        for path in leaves(event):
            number += 1
            hold(half, event, path, number, fetched=False, where="event")
    assert number > 300


def test_no_answer_leaves_what_was_planted_in_one_of_its_strings(half: Half) -> None:
    """What `api.py` makes of an answer is planted in as the hook reads it: every string, every kind."""
    number = 0
    # Of several envelopes of one type the one with the most in it.
    for raw in {json.loads(raw).get(half.type): raw for raw in sorted(half.fetched(), key=len)}.values():
        envelope = json.loads(raw)
        assert half.events.project(raw, fetched=True).standing == "read", raw
        for path in leaves(envelope):
            if path not in ("event", "event_type", "at"):  # our own words
                number += 1
                hold(half, envelope, path, number, fetched=True, where=str(envelope.get("event", "answer")))
    assert number > 100


def test_nothing_planted_in_an_answer_passes_through_the_calls(half: Half) -> None:
    """As above from the provider's bytes on: ids, links and lists decide what is asked for next."""
    for number, (name, path) in enumerate(half.told.places()):
        last = last_of(path)
        digits = DIGITS[number % len(DIGITS)]
        for text in (
            EXACT[number % len(EXACT)],
            digits if number % 2 else SECRETS[number % 20].replace("N", "7"),
        ):
            half.told.plant(name, path, text)
            for raw in half.fetched():
                found = stored(half.events, raw, fetched=True)
                check(found, where=f"{name}.{path}", address=last in ADDRESS, name=last in NAMES)


@pytest.mark.parametrize("extend", [elsewhere.with_extras, elsewhere.with_metadata, elsewhere.with_names])
def test_members_that_nobody_sends_are_not_kept(half: Half, extend: Any) -> None:
    texts = [secret.replace("N", "1") for secret in SECRETS] + [
        *EXACT,
        *elsewhere.forms(3),
        *elsewhere.forms(9),
    ]
    named = extend is elsewhere.with_names
    for text in texts:
        for event in elsewhere.events_of(half.told.name):
            raw = json.dumps(extend(event, text)).encode()
            check(stored(half.events, raw, fetched=False), where="event", name=named)
        half.told.objects = {name: extend(told, text) for name, told in half.told.pristine.items()}
        fetched = half.fetched()
        assert fetched
        for raw in fetched:
            check(stored(half.events, raw, fetched=True), where="answer", name=named)


def test_all_at_once(half: Half) -> None:
    """Everything that is no name and no word of the provider's, in every event and answer together."""
    words = {"event", "event_type", "status", "domain", "interval", "currency", "create_time", "time"}
    words |= {"tenure_type", "interval_unit", "currency_code", "value", "quantity", "state", "total"}
    words |= {"start_time", "status_update_time", "next_billing_time", "rel", "outcome_code"}
    words |= {"dispute_life_cycle_stage", "resolution", "amount"}

    def everywhere(told: Any, text: str) -> Any:
        for path in leaves(told):
            if last_of(path) not in NAMES | words:
                told = with_leaf(told, path, text)
        return told

    reads = 0
    for number, kind in enumerate(SECRETS):
        text = f"{kind.replace('N', '1')} {EXACT[number % len(EXACT)]} {CARDS[number % len(CARDS)]}"
        for event in elsewhere.events_of(half.told.name):
            raw = json.dumps(everywhere(event, text)).encode()
            check(stored(half.events, raw, fetched=False), where="event")
        half.told.objects = {name: everywhere(told, text) for name, told in half.told.pristine.items()}
        for raw in half.fetched():
            check(stored(half.events, raw, fetched=True), where="answer")
            reads += half.events.project(raw, fetched=True).standing == "read"
    assert reads >= 20 * len(WANTED[half.told.name])


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize(
    "trouble", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError, 400, 401, 500]
)
def test_no_error_of_a_call_leads_to_our_keys(name: str, trouble: Any) -> None:
    """Not through what it was raised from either: those errors hold the request, with its headers."""
    texts = itertools.cycle([f"{KEYS[0]} {KEYS[1]} {OAUTH_TOKEN} {CARDS[0]}", *KEYS, *EXACT, *DIGITS])

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/oauth2/token":
            return httpx.Response(200, json={"access_token": OAUTH_TOKEN, "expires_in": 32400})
        text = next(texts)
        if isinstance(trouble, int):
            return httpx.Response(
                trouble, json={"message": text, "name": text, "code": text, "debug_id": text}
            )
        raise trouble(text, request=request)

    api = open_half(name, httpx.MockTransport(serve)).api
    for kind, id_ in WANTED[name] * 8:
        with pytest.raises(KeywrightError) as caught:
            api.fetch(Refetch(kind, id_))
        check(said(caught.value), where=kind)
        chain = [caught.value.__cause__, caught.value.__context__]
        assert not [one for one in chain if isinstance(one, httpx.HTTPError)]


def test_the_search_would_find_it() -> None:
    for text in ("planted7", EXACT[0], DIGITS[0], KEYS[1], "a 4242 4242 4242 4242 b"):
        with pytest.raises(AssertionError):
            check(text, where="here", name=True)
