"""Card numbers and secrets planted in every field that a stranger or a provider fills: none is found again.

Looked through afterwards: every text in the database, its files as bytes, the log at level debug, and the
mails. Two places of an event keep what was planted, where it has their form: the price, which sellers could
name as they liked, and the buyer's address. A card number is kept nowhere at all.
"""

from __future__ import annotations

import asyncio
import base64
import email
import email.policy
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keywright.domain import license_key
from keywright.domain.card_numbers import find_card_numbers
from keywright.flows.context import Context
from keywright.providers.stripe import shapes
from tests.conftest import SECRET
from tests.e2e.conftest import Shop, database_of
from tests.e2e.server import wait_until
from tests.e2e.test_hostile import OUTCOMES, STRIPE, WRAPPED
from tests.e2e.wire import HOOK, Line, tell
from tests.life import stripe, world

FIXTURES = Path(__file__).parents[1] / "fixtures"
PANS: dict[str, Any] = json.loads((FIXTURES / "crypto/pci/test_pans.json").read_text())
CARDS: list[str] = [one["pan"] for one in PANS["must_detect"]] + PANS["must_detect_forms"]
METRICS_TOKEN = "metrics-token-of-the-seller-1"
CONFIGURED = {"METRICS_TOKEN": METRICS_TOKEN, "LOG_LEVEL": "debug"}

# Twenty kinds of secrets, as they occur in practice; "N" becomes the number of the place they are planted in.
SECRETS = (
    "sk_live_plantedN",
    "rk_live_plantedN",
    "whsec_plantedN",
    "pi_1_secret_plantedN",
    "AUTH_plantedN",
    "cvc-737-plantedN",
    "exp-12/29-plantedN",
    "hunter2-plantedN",
    "eyJhbGciOiJub25lIn0.plantedN",
    "-----BEGIN PRIVATE KEY----- plantedN",
    "DE89370400440532013000plantedN",
    "routing 110000000 plantedN",
    "AKIAIOSFODNN7plantedN",
    "ghp_plantedN",
    "xoxb-plantedN",
    "078-05-1120-plantedN",
    "%B42^PLANTED/A^2912?plantedN",
    "fingerprint-of-card-plantedN",
    "kw_plantedN",
    "postgresql://u:plantedN@h/d",
)
PLANTED = re.compile(r"planted(\d+)")

# What an event must have right to be taken at all, by the last member of the path: the names of objects and
# the provider's own words.
IDS = frozenset({"id", "customer", "subscription", "invoice", "charge", "payment_intent", "price"})
WORDS = frozenset({"api_version", "mode", "payment_status", "reason", "status", "type"})
# Where a text of somebody's own choice is kept: sellers could name plans as they liked, and an address is
# kept whatever stands before its @, if it can be written to.
ADDRESS = frozenset({"data.object.customer_details.email", "data.object.customer_email", "data.object.email"})
PRICE = re.compile(r"(?:.*\.)?(?:price|plan)(?:\.id)?")


class Garden:
    """Where was planted what. A place is a path in an event, or a word of ours."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def secret(self, place: str) -> str:
        self.places.append(place)
        number = len(self.places) - 1
        return SECRETS[number % len(SECRETS)].replace("N", f"{number}")

    def found_in(self, text: str) -> set[str]:
        """The places whose secret stands in the text, as it is or in the payload of a token."""
        numbers = {int(number) for number in PLANTED.findall(text)}
        return {self.places[number] for number in numbers}


def leaves(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all strings in a document."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{number}")


def with_leaf(value: Any, path: str, text: str) -> Any:
    """The document with another string at this path."""
    head, _, rest = path.partition(".")
    if not head:
        return text
    if isinstance(value, list):
        return [with_leaf(v, rest, text) if str(n) == head else v for n, v in enumerate(value)]
    # A member name may hold a dot itself.
    for name in value:
        if path == name or path.startswith(f"{name}."):
            return {**value, name: with_leaf(value[name], path[len(name) + 1 :], text)}
    raise KeyError(path)


def templates() -> list[stripe.Json]:
    """One event of each type that we know, and every event of the fixtures."""
    book = json.loads((STRIPE / "resources_2026-07-dahlia__openapi.json").read_text())
    objects = {
        shapes.Session: "checkout.session",
        shapes.Subscription: "subscription",
        shapes.Invoice: "invoice",
        shapes.Charge: "charge",
    }
    at = datetime.now(UTC)
    made = [
        stripe.event(kind, book[objects[shape]], at)
        for kind, shape in shapes.READ.items()
        if shape in objects
    ]
    made.append(stripe.event("invoice_payment.paid", stripe.invoice_payment("in_1", "pi_1"), at))
    made += [stripe.event(kind, book["refund"], at) for kind in sorted(shapes.LATER)]
    for name in sorted(OUTCOMES):
        found = json.loads((STRIPE / f"{name}.json").read_text())
        if name in WRAPPED:
            found = stripe.event(WRAPPED[name], found["object"], at)
        made.append(json.loads(found["body"]) if "body" in found else found)
    # Lives that are sold here, so that licenses and mails come of them.
    end = datetime(2027, 11, 1, tzinfo=UTC)
    made.append(stripe.event("customer.subscription.created", stripe.subscription("sub_ours", at, end), at))
    made.append(stripe.event("invoice.paid", stripe.invoice("in_ours", "sub_ours", at, end), at))
    made.append(
        stripe.event(
            "checkout.session.completed", stripe.session("cs_ours", mode="subscription", sub="sub_ours"), at
        )
    )
    return [{**event, "livemode": False} for event in made]


def plantings(garden: Garden) -> Iterator[bytes]:
    """Each event with each of its strings replaced: by a secret, a card number, and a card number in text."""
    number = 0
    for template in templates():
        for path in leaves(template):
            number += 1
            card = CARDS[number % len(CARDS)]
            for text in (
                garden.secret(path),
                f"{garden.secret(path)}@example.com",
                card,
                f"Please charge {card} today",
                f"{card}@example.com",
            ):
                planted = with_leaf(template, path, text)
                if path != "id":
                    planted = {**planted, "id": f"evt_p{number}_{len(text)}"}
                yield json.dumps(planted).encode()
        # And all that names nothing at once, so that the event is still taken.
        whole, card = {**template, "id": f"evt_w{number}"}, CARDS[number % len(CARDS)]
        for path in leaves(template):
            if path.rpartition(".")[2] not in IDS | WORDS | {"object", "currency"}:
                whole = with_leaf(whole, path, f"{garden.secret('all free text')} {card}")
        yield json.dumps(whole).encode()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("garden")
    with ExitStack() as stack:
        yield Shop(database_of(request.param, request, folder), folder, stack, **CONFIGURED)


@pytest.fixture(scope="module")
def garden(shop: Shop) -> Garden:
    """Everything planted, and every mail sent."""
    garden = Garden()
    token = make_token(shop)
    asyncio.run(plant_events(shop, garden))
    asyncio.run(plant_calls(shop, garden, token))
    with shop.opened() as context:
        wait_until(lambda: not still_owed(context), 60, "the mails are out")
    return garden


def make_token(shop: Shop) -> str:
    command = [
        sys.executable,
        "-m",
        "keywright.cli.main",
        "token",
        "create",
        "--name",
        "t",
        "--scope",
        "admin",
    ]
    made = subprocess.run(
        command, env=shop.env, cwd=shop.folder, capture_output=True, text=True, check=True, timeout=60
    )
    return made.stdout.strip()


def still_owed(context: Context) -> bool:
    from keywright.store import announcements

    with context.database.read() as connection:
        return bool(announcements.counts(connection).get("pending"))


async def plant_events(shop: Shop, garden: Garden) -> None:
    statuses = set()
    async with Line(shop.port) as line:
        for raw in plantings(garden):
            statuses.add((await tell(line, raw)).status)
    assert statuses == {200, 400}
    assert len(garden.places) > 1000


async def plant_calls(shop: Shop, garden: Garden, token: str) -> None:
    """Licensing, checkout, pages and the admin interface, with something planted in every place."""
    with shop.opened() as context:
        held = world.all_licenses(context)[:20]
        keys = [world.key_of(context, one) for one in held]
    assert keys
    async with Line(shop.port) as line:
        for number, card in enumerate(CARDS):
            key = keys[number % len(keys)]
            for secret in (lambda place: garden.secret(f"call {place}"), lambda _, card=card: card):
                await _plant_licensing(line, secret, key, number)
                await _plant_shop(line, secret, number)
                await _plant_headers(line, secret, token)
        admin = {"Authorization": f"Bearer {token}"}
        for path in ("licenses", "events", "activations"):
            assert (await line.ask(f"/api/admin/{path}?limit=5", headers=admin)).status == 200
        metrics = await line.ask("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
        assert metrics.status == 200


Secret = Callable[[str], str]


async def _plant_licensing(line: Line, secret: Secret, key: str, number: int) -> None:
    machine = f"machine-{number:04}"
    good = {"key": key, "fingerprint": machine}
    bodies: list[dict[str, Any]] = [
        {**good, "name": secret("name")},
        {**good, "nonce": secret("nonce")},
        {**good, "product": secret("product"), "version": secret("version")},
        {**good, "entitlements": [secret("entitlement")], "signals": {"disk": secret("signal")}},
        {**good, secret("unknown member"): secret("unknown value")},
        {"key": key, "fingerprint": secret("fingerprint")},
        {"key": secret("key"), "fingerprint": machine},
    ]
    for body in bodies:
        for call in ("activate", "validate", "deactivate"):
            answer = await line.ask(f"/api/license/{call}", json.dumps(body).encode())
            assert answer.status < 500


async def _plant_shop(line: Line, secret: Secret, number: int) -> None:
    good = {"plan": "dashcaddy/plan-2"}
    wishes: list[dict[str, Any]] = [
        {"plan": secret("plan")},
        {**good, "price": secret("price")},
        {**good, "currency": secret("currency")},
        {**good, "provider": secret("provider")},
        {**good, "email": secret("email")},
        {**good, "success_url": f"https://x.example/{secret('url')}"},
        {**good, "firm": secret("firm"), "device": secret("device"), "renew_key": secret("renew key")},
        {**good, secret("member"): 1},
    ]
    for wish in wishes:
        await line.ask("/api/checkout/session", json.dumps(wish).encode())
    headers = {"Idempotency-Key": secret("idempotency").replace(" ", "-").ljust(30, "x")}
    await line.ask("/api/checkout/session", json.dumps(good).encode(), headers=headers)
    shown = secret("reference").replace(" ", "%20")
    await line.ask(f"/api/checkout/session/{shown}", headers={"Authorization": f"Claim {secret('claim')}"})
    await line.ask(f"/api/checkout/session/{shown}/verify", b"{}")
    await line.ask(f"/nothing/{shown}?q={shown}")


async def _plant_headers(line: Line, secret: Secret, token: str) -> None:
    for name in ("User-Agent", "Cookie", "Authorization", "X-Forwarded-For", "Referer", "Stripe-Signature"):
        await line.ask(HOOK, b"{}", {name: secret(f"header {name}")})
        await line.ask("/", headers={name: secret(f"header {name}")})
    await line.ask("/metrics", headers={"Authorization": f"Bearer {secret('metrics token')}"})
    searched = secret("search").replace(" ", "%20").replace("?", "%3F")
    headers = {"Authorization": f"Bearer {token}"}
    await line.ask(f"/api/admin/licenses?q={searched}&email={searched}", headers=headers)
    await line.ask("/api/admin/licenses", headers={"Authorization": f"Bearer {secret('token')}"})


# -- looking ------------------------------------------------------------------------------------------


def texts_in_database(context: Context) -> Iterator[tuple[str, str]]:
    """(table.column, value) of everything in the database that is not a number or a time, ours and DBOS's."""
    inspector = sa.inspect(context.database.engine)
    schemas = [None] if context.database.is_sqlite else ["public", "dbos"]
    with context.database.read() as connection:
        for schema in schemas:
            for name in inspector.get_table_names(schema=schema):
                where = f'"{schema}"."{name}"' if schema else f'"{name}"'
                found = connection.exec_driver_sql(f"SELECT * FROM {where}")  # noqa: S608  # names of our own tables
                for row in found.mappings():
                    for column, value in row.items():
                        if isinstance(value, bytes):
                            yield f"{name}.{column}", value.decode("latin-1")
                        elif value is not None and not isinstance(value, int | float | datetime):
                            yield f"{name}.{column}", str(value)


def opened_up(text: str) -> str:
    """The text with the payloads of the tokens in it, which are base64."""
    payloads = re.findall(r"eyJ[\w-]+\.(eyJ[\w-]+)\.", text)
    read = [
        base64.urlsafe_b64decode(one + "=" * (-len(one) % 4)).decode("utf-8", "replace") for one in payloads
    ]
    return "\n".join([text, *read])


def is_kept(place: str) -> bool:
    return place in ADDRESS or PRICE.fullmatch(place) is not None


def test_no_text_in_the_database_is_a_card_number_or_a_planted_secret(shop: Shop, garden: Garden) -> None:
    cards: set[str] = set()
    secrets: dict[str, set[str]] = {}
    looked_at = 0
    with shop.opened() as context:
        for column, value in texts_in_database(context):
            looked_at += 1
            text = opened_up(value)
            if find_card_numbers(text):
                cards.add(column)
            for place in garden.found_in(text):
                secrets.setdefault(place, set()).add(column)
    assert looked_at > 10_000
    assert not cards
    elsewhere = {place: columns for place, columns in secrets.items() if not is_kept(place)}
    # What a customer calls a machine is shown to him again.
    assert elsewhere == {"call name": {"activations.name"}}


def test_the_files_of_the_database_hold_no_card_number(shop: Shop, garden: Garden) -> None:
    """As bytes, freed pages and the log of writes included. Read by another process: see the SQLite rules."""
    files = [path for path in (shop.folder / "data").iterdir() if path.is_file()]
    assert files
    raw = subprocess.run(["cat", *map(str, files)], capture_output=True, check=True, timeout=60).stdout  # noqa: S607  # the system's own
    check_bytes(raw, shop)
    if shop.database_url.startswith("sqlite"):
        assert b"sub_ours" in raw


def check_bytes(raw: bytes, shop: Shop) -> None:
    assert not [card for card in CARDS if card.encode() in raw]
    with shop.opened() as context:
        keys = [world.key_of(context, one) for one in world.all_licenses(context)[:50]]
    for secret in (SECRET, shop.sandbox.api_key, METRICS_TOKEN, *keys):
        assert secret.encode() not in raw
    bare = [license_key.canonical(key) or "" for key in keys]
    assert not [key for key in bare if key.encode() in raw]


def test_the_log_at_level_debug_holds_nothing(shop: Shop, garden: Garden) -> None:
    text = shop.server.log.read_text(errors="replace")
    assert len(text) > 200
    assert find_card_numbers(text) == []
    assert garden.found_in(text) == set()
    check_bytes(text.encode(), shop)
    assert "Traceback" not in text


def test_no_mail_holds_a_card_number_or_a_planted_secret(shop: Shop, garden: Garden) -> None:
    files = sorted(shop.outbox.glob("*.eml"))
    assert files
    for file in files:
        raw = file.read_bytes()
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        parts = [part.get_content() for part in mail.walk() if part.get_content_maintype() == "text"]
        assert parts
        text = "\n".join([raw.decode("latin-1"), *map(str, mail.values()), *parts])
        assert find_card_numbers(text) == [], file.name
        # A mail goes to the address that was given.
        assert not {place for place in garden.found_in(text) if place not in ADDRESS}, file.name
        for secret in (SECRET, shop.sandbox.api_key, METRICS_TOKEN):
            assert secret not in text


def test_a_backup_holds_nothing_more(shop: Shop, garden: Garden, tmp_path: Path) -> None:
    file = tmp_path / "night.backup"
    command = [sys.executable, "-m", "keywright.cli.main", "backup", str(file)]
    subprocess.run(command, env=shop.env, cwd=shop.folder, capture_output=True, check=True, timeout=60)
    raw = gzip.decompress(file.read_bytes())
    assert b"sub_ours" in raw
    check_bytes(raw, shop)
    assert (shop.folder / "data" / "master.key").read_bytes().strip() not in raw
    text = "\n".join(opened_up(line) for line in raw.decode().splitlines())
    assert {place for place in garden.found_in(text) if not is_kept(place)} == {"call name"}


def test_our_own_secrets_stand_nowhere_in_the_database(shop: Shop, garden: Garden) -> None:
    master = (shop.folder / "data" / "master.key").read_text().strip()
    with shop.opened() as context:
        held = world.all_licenses(context)
        keys = {world.key_of(context, one) for one in held}
        bare = {license_key.canonical(key) or "" for key in keys}
        everything = "\n".join(value for _, value in texts_in_database(context))
    for secret in (SECRET, shop.sandbox.api_key, METRICS_TOKEN, master, *keys, *bare):
        assert len(secret) > 10
        assert secret not in everything
    assert master not in shop.server.log.read_text(errors="replace")
    # Tokens are kept as hashes; the text of one begins so.
    assert not re.search(r"\bkw_(?!planted)[A-Za-z0-9_-]{20,}", everything)


def test_the_search_would_find_it(shop: Shop, garden: Garden) -> None:
    """A card number and a secret in a row are seen, so that finding none means something."""
    assert find_card_numbers(opened_up("x 4242 4242 4242 4242 y"))
    payload = base64.urlsafe_b64encode(b'{"nonce":"planted0"}').decode().rstrip("=")
    assert garden.found_in(opened_up(f"eyJh.{payload}.sig")) == {garden.places[0]}
