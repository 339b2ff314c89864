"""The contract of all providers: the same is asked of each adapter, alone and through the web."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from litestar import Litestar
from litestar.testing import TestClient

from keywright import bootstrap
from keywright.domain.errors import BadSignature, Misconfigured, Unproven
from keywright.flows.context import Channel, Context
from keywright.sandbox.app import SandboxServer
from keywright.sandbox.paypal_api import CLIENT_ID, CLIENT_SECRET
from keywright.store.tables import inbox
from keywright.web.app import create_app
from tests.conftest import Prepared, TurnableClock, copy_of, test_settings
from tests.contract.dialects import DIALECTS, MARKER, PROVIDERS, Dialect, encoded
from tests.life import world
from tests.web.conftest import IdleEngine

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SAMPLE = 200
THROUGH_THE_WEB = 12
DATED = [name for name in PROVIDERS if DIALECTS[name].past is not None]
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxServer]:
    with SandboxServer(data_dir=tmp_path_factory.mktemp("stand-ins"), seed=7) as running:
        yield running


@pytest.fixture(params=PROVIDERS)
def it(request: pytest.FixtureRequest, sandbox: SandboxServer) -> Dialect:
    return DIALECTS[request.param](sandbox)


def settings_for(sandbox: SandboxServer) -> dict[str, object]:
    """A shop that knows three providers, each with a new secret and an old one."""
    secrets = {dialect.setting: ", ".join(dialect.secrets) for dialect in DIALECTS.values()}
    return {
        **secrets,
        "keywright_mode": "sandbox",
        "stripe_secret_key": sandbox.api_key,
        "stripe_api_base": sandbox.url,
        "paystack_api_base": f"{sandbox.url}/paystack",
        "paypal_client_id": CLIENT_ID,
        "paypal_client_secret": CLIENT_SECRET,
        "paypal_api_base": sandbox.url,
        "paypal_ca_file": str(sandbox.sandbox.paypal.authority.ca_file),
    }


@pytest.fixture
def shop(prepared: Prepared, sandbox: SandboxServer) -> Iterator[Context]:
    made = test_settings(prepared.url, prepared.folder, **settings_for(sandbox))
    database = bootstrap.open_database(made)
    yield replace(bootstrap.build(made, database), clock=TurnableClock(NOW))
    database.dispose()


@pytest.fixture(scope="module")
def channels(
    prepared_sqlite: Prepared, sandbox: SandboxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Channel]]:
    """The adapters as the server has them. Nothing is written."""
    own = copy_of(prepared_sqlite, tmp_path_factory.mktemp("channels"))
    made = test_settings(own.url, own.folder, **settings_for(sandbox))
    database = bootstrap.open_database(made)
    yield dict(bootstrap.build(made, database).channels)
    database.dispose()


@pytest.fixture
def client(shop: Context) -> Iterator[TestClient[Litestar]]:
    # The application's own answer to an error is looked at, not the error.
    with TestClient(create_app(shop, IdleEngine()), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def send(client: TestClient[Litestar], it: Dialect) -> Ask:
    """`send(raw, headers)`: status, and code or outcome. `headers` may hold one twice."""

    def ask(raw: bytes, headers: Any) -> tuple[int, str]:
        listed = list(headers.items()) if isinstance(headers, dict) else headers
        answer = client.post(f"/api/webhooks/{it.name}", content=raw, headers=listed)
        told = answer.json()
        if answer.status_code != 200:
            return answer.status_code, told["code"]
        assert told["received"] is True
        return 200, f"{told['outcome']} {told['reason']}" if told.get("reason") else told["outcome"]

    return ask


def authenticate(channel: Channel, raw: bytes, headers: dict[str, str], now: datetime = NOW) -> None:
    """What the intake does: look, get what is lacking, look again."""
    try:
        channel.events.authenticate(raw, headers, channel.secrets, now)
    except Unproven:
        channel.events.obtain(raw, headers, now)
        channel.events.authenticate(raw, headers, channel.secrets, now)


def altered(value: str) -> Iterator[str]:
    """Each character turned into others."""
    for place, character in enumerate(value):
        others = {chr(ord(character) ^ 1), chr(ord(character) + 1), "0" if character != "0" else "A"}
        for other in sorted(others):
            yield value[:place] + other + value[place + 1 :]


def large(it: Dialect) -> bytes:
    return encoded({**it.known(), "padding": ["x" * 50] * 400})


# -- who may speak ------------------------------------------------------------------------------------


def test_a_good_signature_is_accepted(it: Dialect, channels: dict[str, Channel], send: Ask) -> None:
    raw = encoded(it.known())
    authenticate(channels[it.name], raw, it.sign(raw, NOW))
    status, outcome = send(raw, it.sign(raw, NOW))
    assert status == 200
    assert outcome.split()[0] in ("applied", "accepted", "parked", "ignored")


def test_any_of_several_secrets_signs_and_no_other(it: Dialect, channels: dict[str, Channel]) -> None:
    raw = encoded(it.known())
    channel = channels[it.name]
    assert len(channel.secrets) == 2
    for later, secret in enumerate(it.secrets):
        authenticate(channel, raw, it.sign(raw, NOW + timedelta(seconds=later), secret))
    alone = replace(channel, secrets=it.secrets[:1])
    for secret in (it.secrets[1], "sk_test_nobodys", it.secrets[0][:-1]):
        with pytest.raises(BadSignature):
            authenticate(alone, raw, it.sign(raw, NOW, secret))


@pytest.mark.parametrize("size", ["small", "large"])
def test_every_altered_byte_of_the_body_is_refused(
    it: Dialect, channels: dict[str, Channel], size: str
) -> None:
    raw = encoded(it.known()) if size == "small" else large(it)
    headers = it.sign(raw, NOW)
    authenticate(channels[it.name], raw, headers)
    places = range(len(raw)) if size == "small" else random.Random(7).sample(range(len(raw)), SAMPLE)
    for place in places:
        for other in {raw[place] ^ 1, raw[place] ^ 0x80, 0}:
            with pytest.raises(BadSignature):
                authenticate(channels[it.name], raw[:place] + bytes([other]) + raw[place + 1 :], headers)
    for cut in (raw[:-1], raw + b"\n", b"", raw * 2):
        with pytest.raises(BadSignature):
            authenticate(channels[it.name], cut, headers)


def test_every_altered_character_of_every_signature_header_is_refused(
    it: Dialect, channels: dict[str, Channel]
) -> None:
    raw = encoded(it.known())
    headers = it.sign(raw, NOW)
    authenticate(channels[it.name], raw, headers)
    now, tried = NOW, 0
    for name in it.headers:
        for value in altered(headers[name]):
            # Certificates are not asked for too often.
            now += timedelta(seconds=10) if name == "paypal-cert-url" else timedelta(0)
            with pytest.raises(BadSignature):
                authenticate(channels[it.name], raw, {**headers, name: value}, now)
            tried += 1
    assert tried >= 2 * sum(len(headers[name]) for name in it.headers)


def test_alterations_are_refused_through_the_web_and_leave_nothing(
    it: Dialect, shop: Context, send: Ask
) -> None:
    raw = encoded(it.known())
    headers, chance = it.sign(raw, NOW), random.Random(7)
    for place in chance.sample(range(len(raw)), THROUGH_THE_WEB):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        assert send(changed, headers) == (400, "BAD_SIGNATURE")
    for name in it.headers:
        printable = [one for one in altered(headers[name]) if one.isascii() and one.isprintable()]
        for value in chance.sample(printable, min(8, len(printable))):
            assert send(raw, {**headers, name: value}) == (400, "BAD_SIGNATURE")
    assert world.count(shop, inbox) == 0
    assert send(raw, headers)[0] == 200


@pytest.mark.parametrize("value", ["", " ", ",", "\x7f", "é", "0" * 200, "A" * 5000, "%00", "null"])
def test_missing_empty_and_senseless_headers_are_refused(
    it: Dialect, shop: Context, send: Ask, value: str
) -> None:
    raw = encoded(it.known())
    headers = it.sign(raw, NOW)
    assert send(raw, {}) == (400, "BAD_SIGNATURE")
    for name in it.headers:
        left = {known: one for known, one in headers.items() if known != name}
        assert send(raw, left) == (400, "BAD_SIGNATURE")
        senseless = [*left.items(), (name, value.encode("utf-8"))]
        assert send(raw, senseless) == (400, "BAD_SIGNATURE"), name
    assert world.count(shop, inbox) == 0


def test_doubled_headers_are_refused(it: Dialect, shop: Context, send: Ask) -> None:
    raw = encoded(it.known())
    headers, other = it.sign(raw, NOW), it.sign(b"{}", NOW)
    for name in it.headers:
        for second in (headers[name], other[name], ""):
            for pair in ((headers[name], second), (second, headers[name])):
                doubled = [(known, one) for known, one in headers.items() if known != name]
                # As two lines, and as a proxy makes one of them.
                joined = [*doubled, (name, f"{pair[0]},{pair[1]}")]
                assert send(raw, joined) == (400, "BAD_SIGNATURE"), (name, pair)
                doubled += [(name, one) for one in pair]
                # A second one that is empty adds a comma, which none of them can hold.
                assert send(raw, doubled) == (400, "BAD_SIGNATURE"), (name, pair)
    assert world.count(shop, inbox) == 0


@pytest.mark.parametrize("name", DATED)
def test_stale_and_future_deliveries_are_refused(
    name: str, sandbox: SandboxServer, client: TestClient[Litestar]
) -> None:
    it = DIALECTS[name](sandbox)
    assert it.past is not None
    assert it.ahead is not None
    second = timedelta(seconds=1)
    for at, status in (
        (NOW - it.past, 200),
        (NOW + it.ahead, 200),
        (NOW - it.past - second, 400),
        (NOW + it.ahead + second, 400),
        (NOW - timedelta(days=3650), 400),
        (NOW + timedelta(days=3650), 400),
    ):
        raw = encoded(it.known())
        answer = client.post(f"/api/webhooks/{name}", content=raw, headers=it.sign(raw, at))
        assert answer.status_code == status, (at, answer.text)
        assert status == 200 or answer.json()["code"] == "BAD_SIGNATURE"


@pytest.mark.parametrize("empty", ["", " ", ",", " , ", "\t"])
def test_an_empty_secret_is_refused_at_start(
    it: Dialect, tmp_path: Path, sandbox: SandboxServer, empty: str
) -> None:
    told = {**settings_for(sandbox), it.setting: empty}
    with pytest.raises(Misconfigured, match=it.setting.upper()):
        test_settings(f"sqlite:///{tmp_path}/x.sqlite", tmp_path, **told)


def test_no_empty_secret_is_ever_asked(it: Dialect, channels: dict[str, Channel]) -> None:
    raw = encoded(it.known())
    for secrets in ((), ("",), (it.secrets[0], ""), (" ",)):
        with pytest.raises(Misconfigured):
            authenticate(replace(channels[it.name], secrets=secrets), raw, it.sign(raw, NOW))


# -- what is said -------------------------------------------------------------------------------------


def test_a_redelivery_has_the_same_key_and_changes_nothing(
    it: Dialect, shop: Context, channels: dict[str, Channel], send: Ask
) -> None:
    raw = encoded(it.known())
    keys = {channels[it.name].events.project(raw).dedupe_key for _ in range(3)}
    assert len(keys) == 1
    assert channels[it.name].events.project(encoded(it.known())).dedupe_key not in keys
    assert send(raw, it.sign(raw, NOW))[0] == 200
    for later in (0, 60, 240):
        headers = it.sign(raw, NOW + timedelta(seconds=later))
        assert send(raw, headers) == (200, "duplicate")
    assert world.count(shop, inbox) == 1


def test_an_unknown_type_is_ignored_with_200(it: Dialect, send: Ask) -> None:
    raw = encoded(it.unknown())
    assert send(raw, it.sign(raw, NOW)) == (200, "ignored UNKNOWN_TYPE")


def test_nobody_else_sends_what_we_fetch(it: Dialect, shop: Context, send: Ask) -> None:
    claims = it.claiming()
    assert claims
    for event in claims:
        raw = encoded(event)
        assert send(raw, it.sign(raw, NOW)) == (200, "ignored UNKNOWN_TYPE"), event
    assert world.count(shop, inbox) == len(claims)


def test_an_event_of_the_other_mode_is_ignored(it: Dialect, shop: Context, send: Ask) -> None:
    event = it.of_other_mode()
    if event is None:
        # Its events do not tell, but the address of the certificate does.
        raw = encoded(it.known())
        live = {"paypal-cert-url": "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594"}
        assert send(raw, {**it.sign(raw, NOW), **live}) == (400, "BAD_SIGNATURE")
        assert world.count(shop, inbox) == 0
        return
    raw = encoded(event)
    assert send(raw, it.sign(raw, NOW)) == (200, "ignored WRONG_MODE")
    assert world.count(shop, inbox) == 1


NO_JSON = [
    b"",
    b" ",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"7",
    b"not json " + MARKER.encode(),
    b'{"id": NaN}',
    b'{"id": Infinity}',
    b'{"id": "a", "id": "b"}',
    b'{"id": 1} {"id": 2}',
    b"{'id': 'a'}",
    b'{"id": "a",}',
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00",
    b'{"id": "\xff"}',
    b'{"id": "' + MARKER.encode() + b"\x00" + b'"}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
]


def test_what_cannot_be_read_is_refused_and_not_kept(it: Dialect, shop: Context, send: Ask) -> None:
    bodies = [*NO_JSON, *(encoded(event) for event in it.misshapen())]
    bodies = list(dict.fromkeys(bodies))
    for raw in bodies:
        assert send(raw, it.sign(raw, NOW)) == (400, "UNREADABLE"), raw[:80]
    with shop.database.read() as connection:
        kept = {row["raw_sha256"]: dict(row) for row in connection.execute(sa.select(inbox)).mappings()}
    assert set(kept) == {hashlib.sha256(raw).hexdigest() for raw in bodies}
    for raw in bodies:
        row = kept[hashlib.sha256(raw).hexdigest()]
        assert (row["body"], row["raw_size"], row["type"]) == ("{}", len(raw), "unreadable")
        assert row["received_at"] == NOW
        assert MARKER not in repr(row)
        assert "4242" not in repr({**row, "raw_sha256": "", "digest": "", "dedupe_key": "", "id": ""})


def test_an_unreadable_event_may_come_again(it: Dialect, shop: Context, send: Ask) -> None:
    raw = encoded(it.misshapen()[0])
    for later in range(3):
        assert send(raw, it.sign(raw, NOW + timedelta(seconds=later))) == (400, "UNREADABLE")
    assert world.count(shop, inbox) == 1


def test_a_body_is_read_alike_whatever_stands_around_it(it: Dialect, channels: dict[str, Channel]) -> None:
    event = it.known()
    events = channels[it.name].events
    spaced = b" " + encoded({**event, "zz_new_member": {"deep": [1, MARKER]}}) + b"\n"
    plain, wide = events.project(encoded(event)), events.project(spaced)
    assert (plain.body, plain.digest, plain.dedupe_key) == (wide.body, wide.digest, wide.dedupe_key)
    assert wide.raw_size == len(spaced)
    assert msgspec.json.decode(plain.body) != {}
