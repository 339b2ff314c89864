"""Everything a stranger, a broken proxy or a provider of any age may send, over real HTTP: never a 5xx."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keywright.domain.errors import BadSignature, Unreadable
from keywright.domain.plan import Terms
from keywright.flows import intake, operate
from keywright.flows.context import Channel, Context
from keywright.store import tables
from tests.conftest import TurnableClock
from tests.e2e.conftest import Shop, database_of
from tests.e2e.wire import HOOK, Answer, Gone, Line, ask, tell
from tests.life import stripe, world

FIXTURES = Path(__file__).parents[1] / "fixtures"
STRIPE = FIXTURES / "stripe"
SLOWEST = 1.0
LICENSING = tuple(f"/api/license/{call}" for call in ("validate", "activate", "deactivate", "file"))
STREAM = "/api/license/stream"
CHECKOUT = "/api/checkout/session"

# -- every event of the fixtures ----------------------------------------------------------------------

SOLD = ("price_1IDQm5JDPojXS6LNM31hxKzp", "price_000000000000000000000000", "pro-month")
WAITS, UNMAPPED, NO_ORDER = "parked WAITING_FOR_PURCHASE", "parked PRICE_UNMAPPED", "parked ORDER_UNKNOWN"
LATER, UNKNOWN = "ignored NOT_BUILT", "ignored UNKNOWN_TYPE"
OUTCOMES = {
    "evt_account.updated__rubymock": "ignored NOTHING_NEW",  # of our own account
    "evt_account_updated_express__djstripe": "ignored WRONG_ACCOUNT",
    "evt_charge.dispute.closed__rubymock": WAITS,
    "evt_charge_dispute_created__supabase": WAITS,
    "evt_charge_dispute_funds_withdrawn__supabase": WAITS,
    "evt_charge_refunded__supabase": WAITS,
    "evt_checkout.session.completed.payment_mode__rubymock": NO_ORDER,
    "evt_checkout_session_completed__supabase": NO_ORDER,
    "evt_customer.subscription.created__rubymock": "applied",
    "evt_customer.subscription.trial_will_end__rubymock": UNMAPPED,
    "evt_customer_updated__supabase": "applied",
    "evt_early_fraud_warning_created__supabase": WAITS,
    "evt_invoice.created__rubymock": UNKNOWN,
    "evt_invoice.payment_failed__rubymock": WAITS,  # an invoice that a person wrote: of no subscription
    "evt_invoice_paid__supabase": "applied",
    "evt_invoice_updated__supabase": UNKNOWN,
    "evt_payment_intent_payment_failed__supabase": LATER,
    "evt_payment_intent_succeeded__supabase": UNKNOWN,
    "evt_payment_link.created__rubymock": UNKNOWN,
    "evt_price_updated__supabase": LATER,
    "evt_refund_created__supabase": WAITS,
    "evt_subscription_created__supabase": "applied",
    "evt_subscription_schedule_created__supabase": UNKNOWN,
    "evt_subscription_updated__supabase": "applied",
    "res_account.updated__payrails": "ignored WRONG_ACCOUNT",
    "res_invoice.payment_failed__payrails": UNMAPPED,
    "res_subscription.created__payrails": UNMAPPED,
    "res_subscription.updated__payrails": UNMAPPED,
    "signed_customer.subscription.deleted__localstripe": "applied",
    "signed_invoice.payment_succeeded__localstripe": LATER,
}
WRAPPED = {
    "res_invoice.payment_failed__payrails": "invoice.payment_failed",
    "res_subscription.created__payrails": "customer.subscription.created",
    "res_subscription.updated__payrails": "customer.subscription.updated",
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop that also sells some of the prices of the fixtures."""
    folder = tmp_path_factory.mktemp("hostile")
    with ExitStack() as stack:
        proxy = {"TRUSTED_PROXIES": "127.0.0.1"}  # so that each test is somebody else
        made = Shop(database_of(request.param, request, folder), folder, stack, **proxy)
        with made.opened() as context:
            for number, price in enumerate(SOLD):
                world.add_plan(context, f"of-fixture-{number}", price, Terms())
        yield made


def event_of(name: str, number: int, *, live: bool) -> bytes:
    """The event of a fixture, under an id of its own: some captures share one."""
    found = json.loads((STRIPE / f"{name}.json").read_text())
    if "body" in found:
        found = json.loads(found["body"])
    elif name in WRAPPED:
        found = stripe.event(WRAPPED[name], found["object"], datetime(2026, 11, 1, tzinfo=UTC))
    return json.dumps({**found, "id": f"evt_{number}{'live' if live else 'test'}", "livemode": live}).encode()


def test_the_table_names_every_event_there_is() -> None:
    """Samples of the API's objects are no events; they are read by the tests of the adapter."""
    objects = {
        "res_account_express_acct_1IuHosQveW0ONQsd__djstripe",
        "res_customer_cus_6lsBvm5rJ0zyHc__djstripe",
        "res_payment_intent_pi_destination_charge__djstripe",
        "res_subscription_sub_fakefakefakefakefake0001__djstripe",
    }
    scripts = ("resources_", "recipe_")
    stems = {path.stem for path in STRIPE.glob("*.json") if not path.name.startswith(scripts)}
    assert stems - objects == set(OUTCOMES)


def test_every_event_of_the_fixtures_is_answered_with_its_outcome(shop: Shop) -> None:
    async def drive() -> list[str]:
        told = []
        async with Line(shop.port) as line:
            for number, name in enumerate(sorted(OUTCOMES)):
                raw = event_of(name, number, live=False)
                told.append(f"{name}: {(await tell(line, raw)).outcome}")
                assert (await tell(line, raw)).outcome == "duplicate"
                # Live money has no business at a test account, whatever the event says.
                other = await tell(line, event_of(name, number, live=True))
                assert other.outcome == "ignored WRONG_MODE"
        return told

    assert asyncio.run(drive()) == [f"{name}: {OUTCOMES[name]}" for name in sorted(OUTCOMES)]
    with shop.opened() as context, context.database.read() as connection:
        inbox = tables.inbox.c
        kept = connection.execute(sa.select(inbox.status, sa.func.count()).group_by(inbox.status))
        counted = {status: count for status, count in kept}  # noqa: C416  # rows, not pairs
    # One more: a checkout that waited for its order names the invoice that was paid later on.
    assert counted["applied"] == 1 + sum(outcome == "applied" for outcome in OUTCOMES.values())
    assert "failed" not in counted
    assert "dead" not in counted


@pytest.mark.parametrize("name", sorted(name for name in OUTCOMES if name.startswith("signed_")))
def test_captured_deliveries_are_taken_at_their_time_as_they_went_over_the_wire(
    context: Context, clock: TurnableClock, name: str
) -> None:
    world.stock(context, **{"pro-month": Terms()})
    delivery = json.loads((STRIPE / f"{name}.json").read_text())
    headers = {key.lower(): value for key, value in delivery["headers"].items()}
    channel = context.channels["stripe"]
    known = Channel(channel.account, channel.events, (delivery["secret"],))
    clock.time = datetime.fromtimestamp(1795204477, UTC)
    answered = receive(context, known, delivery["body"].encode(), headers)
    assert answered == OUTCOMES[name]


def receive(context: Context, channel: Channel, raw: bytes, headers: dict[str, str]) -> str:
    """What the intake answers through its front door, at the context's time."""
    from dataclasses import replace

    door = intake.Intake(replace(context, channels={"stripe": channel}))

    async def knock() -> str:
        door.gatherer.start(asyncio.get_running_loop())
        try:
            found = await door.receive("stripe", raw, headers)
        finally:
            door.gatherer.stop()
        return found.outcome if found.reason is None else f"{found.outcome} {found.reason}"

    return asyncio.run(knock())


# -- signatures ---------------------------------------------------------------------------------------

SIGNATURES: dict[str, Any] = json.loads((FIXTURES / "crypto/webhooks/psp_signatures.json").read_text())
CASES: list[dict[str, Any]] = SIGNATURES["stripe"]["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_every_signature_case_gets_the_refusal_of_the_contract(
    context: Context, clock: TurnableClock, case: dict[str, Any]
) -> None:
    """The body of the cases is no whole event, so even the genuine ones end as UNREADABLE, but kept."""
    secrets = (SIGNATURES["stripe"]["secret"], SIGNATURES["stripe"]["previous_secret"])
    clock.time = datetime.fromtimestamp(case["now"], UTC)
    channel = context.channels["stripe"]
    expected: dict[str, tuple[type[Exception], type[Exception]]] = {
        "accept": (Unreadable, Unreadable),
        "accept-while-rotating": (BadSignature, Unreadable),
        "reject": (BadSignature, BadSignature),
    }
    for known, refusal in zip((secrets[:1], secrets), expected[case["expect"]], strict=True):
        before = world.count(context, tables.inbox)
        with pytest.raises(refusal):
            receive(
                context,
                Channel(channel.account, channel.events, known),
                case["body"].encode(),
                {"stripe-signature": case["header"]},
            )
        assert refusal is Unreadable or world.count(context, tables.inbox) == before


def test_every_signature_case_is_400_over_http(shop: Shop) -> None:
    """All are old by now, and made with secrets that are not ours."""

    async def drive() -> list[Answer]:
        async with Line(shop.port) as line:
            headers = [{"Stripe-Signature": case["header"]} for case in CASES]
            return [
                await line.ask(HOOK, case["body"].encode(), header)
                for case, header in zip(CASES, headers, strict=True)
            ]

    assert [(one.status, one.code) for one in asyncio.run(drive())] == [(400, "BAD_SIGNATURE")] * len(CASES)


# -- JSON ---------------------------------------------------------------------------------------------


def hostile_texts() -> dict[str, tuple[bytes, str]]:
    """Name -> text and what a parser should do with it: the suite, and what the suite does not have."""
    suite = json.loads((FIXTURES / "crypto/json/jsontestsuite.json").read_text())
    found = {case["name"]: (base64.b64decode(case["b64"]), case["expect"]) for case in suite["cases"]}
    large = {
        "n_structure_100000_opening_arrays.json": b"[" * 100_000,
        "n_structure_open_array_object.json": b'[{"":' * 50_000 + b"\n",
    }
    assert {one["name"]: one["size"] for one in suite["generated"]} == {k: len(v) for k, v in large.items()}
    found |= {name: (text, "reject") for name, text in large.items()}
    deep = b"[" * 5000 + b"]" * 5000
    own = {
        "deep and well formed": deep,
        "deep objects": b'{"a":' * 5000 + b"1" + b"}" * 5000,
        "five thousand digits": b"1" * 5000,
        "a huge exponent": b"1e999999999",
        "NaN": b"[NaN]",
        "-Infinity": b"[-Infinity]",
        "the same member twice": b'{"a":1,"a":2}',
        "BOM": b"\xef\xbb\xbf{}",
        "UTF-16": '{"id":"evt_1"}'.encode("utf-16"),
        "UTF-32": '{"id":"evt_1"}'.encode("utf-32"),
        "lone surrogate": b'"\\ud800"',
        "raw surrogate": b'"\xed\xa0\x80"',
        "NUL": b'"a\\u0000b"',
        "overlong": b'"\xc0\xaf"',
        "a hundred thousand members": b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}",
        "a hundred thousand empty arrays": b"[" + b",".join([b"[]"] * 100_000) + b"]",
        "a long string": b'"' + b"x" * 1_000_000 + b'"',
        "escapes": b'"' + b"\\u0041" * 100_000 + b'"',
        "nothing": b"",
        "blanks": b" " * 100_000,
        "zeros": b"\x00" * 1000,
    }
    return found | {name: (text, "reject or keep") for name, text in own.items()}


TEXTS = hostile_texts()


def wrapped(number: int, text: bytes, kind: str = "thing.created") -> bytes:
    """An otherwise good event that carries the text."""
    return (
        b'{"id":"evt_hostile_%d","object":"event","type":"%s","created":1795200000,"livemode":false,'
        b'"data":{"object":%s}}' % (number, kind.encode(), text)
    )


def in_time(answers: dict[str, Answer]) -> None:
    slow = {name: one.seconds for name, one in answers.items() if one.seconds >= SLOWEST}
    assert not slow
    assert not [name for name, one in answers.items() if one.status >= 500]


def test_hostile_json_as_a_webhook_is_refused_or_ignored(shop: Shop) -> None:
    async def drive() -> list[dict[str, Answer]]:
        signed, inside, forged = {}, {}, {}
        async with Line(shop.port) as line:
            for number, (name, (text, _)) in enumerate(TEXTS.items()):
                signed[name] = await tell(line, text)
                inside[name] = await tell(line, wrapped(number, text))
                forged[name] = await tell(line, text, secret="whsec_somebody_elses")  # not ours
        return [signed, inside, forged]

    signed, inside, forged = asyncio.run(drive())
    for answers in (signed, inside, forged):
        in_time(answers)
    # None of the texts is an event by itself.
    assert {(one.status, one.code) for one in signed.values()} == {(400, "UNREADABLE")}
    assert {(one.status, one.code) for one in forged.values()} == {(400, "BAD_SIGNATURE")}
    outcomes = {name: "refused" if one.status == 400 else one.outcome for name, one in inside.items()}
    assert set(outcomes.values()) == {"refused", UNKNOWN}
    assert {one.code for one in inside.values() if one.status == 400} == {"UNREADABLE"}
    # What no parser may take is refused; nothing of what every parser must take is.
    kept = {name for name, outcome in outcomes.items() if outcome == UNKNOWN}
    assert not kept & {name for name, (_, expect) in TEXTS.items() if expect == "reject"}
    refused = {name for name in set(TEXTS) - kept if TEXTS[name][1] == "accept"}
    # I-JSON is stricter: one member of a name, numbers that fit, strings without NUL.
    assert refused == {
        "y_object_duplicated_key.json",
        "y_object_duplicated_key_and_value.json",
        "y_object_escaped_null_in_key.json",
        "y_string_null_escape.json",
    } & set(TEXTS)


def test_hostile_json_inside_every_type_that_is_read(shop: Shop) -> None:
    kinds = ("checkout.session.completed", "customer.subscription.updated", "invoice.paid", "charge.refunded")

    async def drive() -> dict[str, Answer]:
        answers = {}
        async with Line(shop.port) as line:
            for number, (name, (text, _)) in enumerate(TEXTS.items()):
                kind = kinds[number % len(kinds)]
                answers[f"{kind} {name}"] = await tell(line, wrapped(10_000 + number, text, kind))
        return answers

    answers = asyncio.run(drive())
    in_time(answers)
    assert {(one.status, one.code) for one in answers.values()} == {(400, "UNREADABLE")}


def test_hostile_json_in_calls_is_refused(shop: Shop) -> None:
    async def drive() -> dict[str, Answer]:
        answers = {}
        async with Line(shop.port) as line:
            for name, (text, _) in TEXTS.items():
                for path in (*LICENSING, CHECKOUT):
                    try:
                        answers[f"{path} {name}"] = await line.ask(path, text)
                    except Gone:
                        # An answer to a body that is too large may be overtaken by the closing of the line.
                        assert len(text) > 16 * 1024
        return answers

    answers = asyncio.run(drive())
    in_time(answers)
    assert len(answers) > 4 * 300
    assert {one.status for one in answers.values()} <= {413, 422}
    assert {one.code for one in answers.values()} <= {"TOO_LARGE", "INVALID"}


ODD_CALLS: list[dict[str, Any]] = [
    {"key": "DC-" + "0" * 25, "fingerprint": "short"},
    {"key": "", "fingerprint": "f" * 32},
    {"key": "\u0000", "fingerprint": "f" * 32},
    {"key": "x" * 10_000, "fingerprint": "f" * 32},
    {"key": "DC-A", "fingerprint": "f" * 257},
    {"key": "DC-A", "fingerprint": "f" * 32, "name": "\u202e" * 10},
    {"key": "DC-A", "fingerprint": "f" * 32, "name": "n" * 201},
    {"key": "DC-A", "fingerprint": "f" * 32, "name": "a\u0000b"},
    {"key": "DC-A", "fingerprint": "f" * 32, "nonce": ""},
    {"key": "DC-A", "fingerprint": "f" * 32, "nonce": "n" * 129},
    {"key": "DC-A", "fingerprint": "f" * 32, "signals": []},
    {"key": "DC-A", "fingerprint": "f" * 32, "entitlements": "x"},
    {"key": 5, "fingerprint": "f" * 32},
    {"key": None},
    {"key": ["DC-A"], "fingerprint": {}},
]


# Members of a call that names a license that is there, so that they come as far as they may.
TEXTS_OF_A_CALL = (
    "\u0000",
    "a\u0000b" * 10,
    "\ud800",
    "\udfff\ud800",
    "\U0001f511" * 50,
    "\u202e\u2066",
    "é" * 64,
    "' OR 1=1 --",
    "%00%n%s",
    "x" * 15_000,
    "",
)
VALUES_OF_A_CALL: list[dict[str, Any]] = [
    *(
        {name: text}
        for name in ("fingerprint", "name", "nonce", "product", "version")
        for text in TEXTS_OF_A_CALL
    ),
    *({"signals": {text: "A" * 22}} for text in TEXTS_OF_A_CALL),
    *({"signals": {"machine": text}} for text in TEXTS_OF_A_CALL),
    *({"signals": {"kind": text}} for text in TEXTS_OF_A_CALL),
    *({"entitlements": [text]} for text in TEXTS_OF_A_CALL),
    {"signals": {f"s{number}": "A" * 22 for number in range(400)}},
    {"signals": {"machine": "A" * 22, "board": "A" * 22, "kind": "vm"}},
    {"signals": {"machine": None}},
    {"signals": {"machine": ["A" * 22]}},
    {"entitlements": [str(number) for number in range(2000)]},
    {"entitlements": [None]},
    {"checkout_days": 10**30},
    {"checkout_days": -1},
    {"checkout_days": 1.5},
    {"checkout_days": "1"},
    {"checkout_days": True},
    {"days": 10**30},
    {"days": 0},
    {"days": -(2**63)},
    {"days": 1e308},
    {"days": 36_500},
    {"key": {"key": 1}},
]


def test_odd_values_beside_a_right_key_are_never_a_failure(shop: Shop) -> None:
    async def drive() -> dict[str, Answer]:
        answers = {}
        async with Line(shop.port) as line:
            for number, values in enumerate(VALUES_OF_A_CALL):
                # Each key is asked less often than it may be.
                body = {"key": keys[number % len(keys)], "fingerprint": "machine-0001", **values}
                for path in LICENSING:
                    answers[f"{path} {number} {str(values)[:60]}"] = await line.ask(
                        path, json.dumps(body).encode()
                    )
        return answers

    with shop.opened() as context:
        world.add_plan(context, "hostile", "price_hostile", Terms(term="perpetual", portable_file=True))
        order = operate.Order("dashcaddy/hostile", "ann@example.com")
        tenant, act = context.master.id, operate.Act("tests")
        keys = [operate.issue(context, tenant, order, act)[1] for _ in range(len(VALUES_OF_A_CALL) // 8)]
    answers = asyncio.run(drive())
    in_time(answers)
    assert {one.status for one in answers.values()} <= {200, 403, 404, 409, 422}
    assert 422 in {one.status for one in answers.values()}


HEADERS_OF_A_STREAM = (
    "\u00ff",
    "License \u00e9",
    "License",
    "Claim \u00ff\u00fe",
    "claim " + "x" * 8000,
    "Bearer x",
    "",
)


def test_odd_headers_of_a_stream_are_refused(shop: Shop) -> None:
    wrong = {"Authorization": "License DC-00000"}
    names = ("Keywright-Fingerprint", "Keywright-Product", "Keywright-Nonce", "Cookie", "Last-Event-ID")
    values = ("\u00ff" * 8, "x" * 5000, "\u0080", "keywright_claim=\u00ff")
    told = [
        *((STREAM, {"Authorization": value}) for value in HEADERS_OF_A_STREAM),
        *((STREAM, {**wrong, name: value}) for name in names for value in values),
        *((f"{STREAM}?checkout=%00%ff", {name: value}) for name in names for value in values),
    ]

    async def drive() -> list[Answer]:
        async with Line(shop.port) as line:
            answers = [
                await line.ask(path, headers={**headers, "X-Forwarded-For": f"198.51.100.{number}"})
                for number, (path, headers) in enumerate(told)
            ]
            return [*answers, await line.ask(STREAM, b"{}")]

    answers = asyncio.run(drive())
    assert {one.status for one in answers} <= {401, 404, 405, 422}
    assert {one.seconds < SLOWEST for one in answers} == {True}


def test_texts_that_are_no_utf_8_are_refused_wherever_they_stand(shop: Shop) -> None:
    async def drive() -> list[Answer]:
        async with Line(shop.port) as line:
            return [
                await line.ask(path, b'{"key":"a","fingerprint":"machine-0001","%s":"\xff\xfe"}' % name)
                for path in LICENSING
                for name in (b"key", b"fingerprint", b"name", b"product", b"nonce")
            ]

    assert {(one.status, one.code) for one in asyncio.run(drive())} == {(422, "INVALID")}


def test_odd_values_in_licensing_calls_are_refused_by_code(shop: Shop) -> None:
    async def drive() -> list[Answer]:
        async with Line(shop.port) as line:
            return [
                await line.ask(path, json.dumps(body).encode(), {"X-Forwarded-For": f"192.0.2.{number}"})
                for number, body in enumerate(ODD_CALLS)
                for path in LICENSING
            ]

    for answer in asyncio.run(drive()):
        assert answer.status in (200, 404, 422), answer
        found = answer.json()
        if answer.status != 422:
            assert (found["valid"], found["code"]) == (False, "NOT_FOUND")


# -- HTTP ---------------------------------------------------------------------------------------------

MIB = 1 << 20


def resident(pid: int) -> int:
    """Resident memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def test_a_body_that_is_too_large_is_413_and_is_not_kept_in_memory(shop: Shop) -> None:
    before = resident(shop.server.pid)
    body = b"x" * (10 * MIB)
    chunks = b"".join(b"%x\r\n%s\r\n" % (MIB, body[:MIB]) for _ in range(10)) + b"0\r\n\r\n"
    for path in (HOOK, *LICENSING, CHECKOUT):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
        for raw in (
            head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
            head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks,
            head + b"Content-Length: %d\r\n\r\n" % (10**15) + b"{",
        ):
            try:
                answer = asyncio.run(send(shop.port, raw))
            except Gone:
                continue  # the line was closed over what nobody was going to read
            assert (answer.status, answer.code) == (413, "TOO_LARGE"), (path, raw[:200])
            assert answer.seconds < SLOWEST
    assert resident(shop.server.pid) - before < 50 * MIB
    assert asyncio.run(ask(shop.port, "/health")).status == 200


async def send(port: int, raw: bytes) -> Answer:
    async with Line(port) as line:
        return await line.send(raw)


def test_a_body_that_drips_in_is_408_and_holds_nobody_up(shop: Shop) -> None:
    async def drip(path: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", shop.port)
        kind = "application/x-www-form-urlencoded" if path.startswith("/buy") else "application/json"
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode())
        answer = asyncio.create_task(reader.readline())
        try:
            for _ in range(14):
                writer.write(b" ")
                await asyncio.wait([answer], timeout=1)
                if answer.done():
                    return f"{path} {answer.result().split(b' ')[1].decode()}"
        finally:
            answer.cancel()
            writer.close()
        return f"{path} none"

    async def watch() -> list[float]:
        seconds = []
        async with Line(shop.port) as line:
            for _ in range(100):
                seconds.append((await line.ask("/health/live")).seconds)
                await asyncio.sleep(0.1)
        return seconds

    async def drive() -> tuple[list[str], list[float]]:
        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(*(drip(path) for path in doors for _ in range(10)))
        return answers, await watching

    doors = (HOOK, LICENSING[0], CHECKOUT, "/buy/dashcaddy")
    began = time.monotonic()
    answers, seconds = asyncio.run(drive())
    assert time.monotonic() - began < 20
    assert set(answers) == {f"{path} 408" for path in doors}
    assert sorted(seconds)[98] < 0.25


def test_idle_connections_hold_nobody_up(shop: Shop) -> None:
    async def drive() -> Answer:
        writers = []
        for _ in range(500):
            _, writer = await asyncio.open_connection("127.0.0.1", shop.port)
            writers.append(writer)
        try:
            return await ask(shop.port, "/health")
        finally:
            for writer in writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)

    answer = asyncio.run(drive())
    assert (answer.status, answer.seconds < SLOWEST) == (200, True)


@pytest.mark.parametrize("name", ["Stripe-Signature", "X-Anything", "Cookie", "Authorization", "Host"])
def test_headers_of_64_kb(shop: Shop, name: str) -> None:
    long = "x" * 65_536
    for path in (HOOK, LICENSING[0], CHECKOUT, "/health/live"):
        body = None if path == "/health/live" else b"{}"
        try:
            answer = asyncio.run(ask(shop.port, path, body, headers={name: long}))
        except Gone:
            continue
        assert answer.status < 500
        assert answer.seconds < SLOWEST
    assert asyncio.run(ask(shop.port, "/health")).status == 200


def test_unknown_routes_are_404_problems(shop: Shop) -> None:
    paths = (
        "/nothing",
        "/api/nothing",
        "/api/license/nothing",
        "/api/webhooks/nothing",
        "/api/webhooks/nothing/pac_0",
        "/api/webhooks/stripe/pac_0/nothing",
        "/api/checkout/session/KW-NOTHING",
        "/api/checkout/session/%00",
        "/api/checkout/session/" + "x" * 5000,
        "/api/license/validate/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/license/%ff%fe",
        "/t/nobody/.well-known/jwks.json",
    )
    for path in paths:
        for body in (None, b"{}"):
            answer = asyncio.run(ask(shop.port, path, body))
            assert answer.status in (404, 405), (path, answer)
            assert answer.code in ("NOT_FOUND", "METHOD_NOT_ALLOWED"), (path, answer)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"])
def test_wrong_methods_are_refused(shop: Shop, method: str) -> None:
    for path in (HOOK, "/api/stripe/webhook", *LICENSING):
        answer = asyncio.run(ask(shop.port, path, method=method))
        assert answer.status in (204, 400, 405), (path, answer)
        if answer.status == 405 and answer.body:
            assert answer.code == "METHOD_NOT_ALLOWED"
    answer = asyncio.run(ask(shop.port, "/health", method=method))
    assert answer.status in {"GET": (200,), "OPTIONS": (204,)}.get(method, (400, 405)), answer


TO_HOOK = b"POST " + HOOK.encode() + b" HTTP/1.1\r\nHost: x\r\n"
BROKEN = (
    b"\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET\r\n\r\n",
    TO_HOOK + b"Content-Length: -1\r\n\r\n",
    TO_HOOK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    TO_HOOK + b"Content-Length: 50\r\n\r\nabcdef",
    TO_HOOK + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    TO_HOOK + b"X: \x00\r\nContent-Length: 2\r\n\r\n{}",
    TO_HOOK + b"Stripe-Signature: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    TO_HOOK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /api/license/validate HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://elsewhere.example/health HTTP/1.1\r\nHost: x\r\n\r\n",
)


@pytest.mark.parametrize("raw", BROKEN, ids=range(len(BROKEN)))
def test_broken_requests_end_in_a_refusal_or_a_closed_line(shop: Shop, raw: bytes) -> None:
    async def drive() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", shop.port)
        try:
            writer.write(raw)
            await writer.drain()
            writer.write_eof()
            async with asyncio.timeout(10):
                head = await reader.readline()
        except ConnectionError:
            return 0
        finally:
            writer.close()
        return int(head.split(b" ")[1]) if head else 0

    assert asyncio.run(drive()) < 500
    assert asyncio.run(ask(shop.port, "/health")).status == 200


def test_nothing_unexpected_happened_inside(shop: Shop) -> None:
    """Runs last in this module: whatever was sent above, no handler was surprised by it."""
    text = shop.server.log.read_text(errors="replace")
    assert "unexpected_error" not in text
    assert "Traceback" not in text
    assert "event_failed" not in text
    assert shop.server.is_running()
