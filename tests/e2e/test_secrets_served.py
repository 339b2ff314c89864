"""Card numbers and secrets in all that Paystack and PayPal send and answer to a running server, and our own
secrets beside them: none is in the database, its files and copies, the log at level debug, mails, metrics, or
in what the commands print.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from keywright.domain.card_numbers import find_card_numbers
from keywright.flows import catalog, catalog_file
from keywright.flows.context import Context
from keywright.store import announcements, inbox
from keywright.store.rows import micros
from tests.e2e import elsewhere
from tests.e2e.conftest import database_of
from tests.e2e.elsewhere import EXACT, OAUTH_TOKEN, PLAN
from tests.e2e.responder import Responder
from tests.e2e.server import Server, environment, free_port, opened, wait_until
from tests.e2e.test_secrets import (
    CARDS,
    PLANTED,
    SECRETS,
    Garden,
    leaves,
    opened_up,
    still_owed,
    texts_in_database,
    with_leaf,
)
from tests.e2e.test_secrets_elsewhere import NAMELIKE
from tests.e2e.wire import Line
from tests.life import world

PASSWORD = "our-password-at-the-mail-server"
WEBHOOK_ID = "8PT597110X687430L"
OURS = {
    "PAYSTACK_SECRET_KEY": "sk_test_newkeyofours0123456789abcdef,sk_test_oldkeyofours0123456789abcdef",
    "PAYPAL_CLIENT_ID": "ouridatpaypal0123456789",
    "PAYPAL_CLIENT_SECRET": "EOursecretatpaypal0123456789abcdefghijklmnop",
    "PAYPAL_WEBHOOK_ID": WEBHOOK_ID,
    "METRICS_TOKEN": "metrics-token-of-the-seller-2",
}
PRIVATE = (
    *OURS["PAYSTACK_SECRET_KEY"].split(","),
    OURS["PAYPAL_CLIENT_SECRET"],
    OURS["METRICS_TOKEN"],
    OAUTH_TOKEN,
    PASSWORD,
)
CATALOG = f"""
[[product]]
slug = "dashcaddy"
name = "DashCaddy"
key_prefix = "DC"

[[product.plan]]
slug = "pro"
name = "Pro"
prices = [
  {{ key = "m", provider = "paystack", id = "{PLAN["paystack"]}", amount = 40333, currency = "NGN" }},
  {{ key = "m", provider = "paypal", id = "{PLAN["paypal"]}", amount = 5000, currency = "USD" }},
]
""".replace('" }', '", interval = "month" }')
# An address is kept whatever stands before its @.
ADDRESS = re.compile(r"[^\s\"'/:<>,]*@example\.com")
# Where a name of the provider's making, or the buyer's address, has its place.
KEPT = {
    *("inbox.body", "inbox.dedupe_key", "inbox_waits.external_id"),
    *("purchase_aliases.external_id", "purchases.state", "refetches.external_id", "customers.email"),
}


class Post:
    """The mail server, which is given a password."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.passwords: set[bytes] = set()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # the name is the library's
        self.taken.append(envelope.original_content or b"")
        return "250 taken"

    def allow(self, _server: Any, _session: Any, _envelope: Any, _how: str, told: Any) -> AuthResult:
        if isinstance(told, LoginPassword):
            self.passwords.add(told.password)
        return AuthResult(success=True)


class Seller:
    """A server that sells one plan through both, with a mail server that wants a password."""

    def __init__(self, database_url: str, folder: Path, stack: ExitStack) -> None:
        (folder / "data").mkdir(parents=True)
        self.url, self.folder, self.garden = database_url, folder, Garden()
        self.responder = stack.enter_context(Responder(folder, self.texts()))
        self.post = Post()
        port = free_port()
        controller = Controller(
            self.post,
            hostname="127.0.0.1",
            port=port,
            authenticator=self.post.allow,
            auth_require_tls=False,
        )
        controller.start()
        stack.callback(controller.stop)
        self.env = environment(
            database_url,
            folder,
            **OURS,
            KEYWRIGHT_MODE="sandbox",
            LOG_LEVEL="debug",
            SMTP_URL=f"smtp://seller:{PASSWORD}@127.0.0.1:{port}",
            PAYSTACK_API_BASE=self.responder.url("paystack"),
            PAYPAL_API_BASE=self.responder.url("paypal"),
            PAYPAL_CA_FILE=str(self.responder.authority.ca_file),
        )
        with self.opened() as context:
            catalog.apply(context, catalog_file.parse(CATALOG, source="test", environment={}))
        self.server = stack.enter_context(Server(self.env, folder))
        self._numbers = itertools.count()

    def opened(self) -> AbstractContextManager[Context]:
        return opened(self.url, self.folder, keywright_mode="sandbox")

    def texts(self) -> Iterator[str]:
        """What is planted, for ever: secrets, cards, both, and both as addresses."""
        for number in itertools.count():
            card, secret = CARDS[number % len(CARDS)], self.garden.secret("an answer or event")
            yield from (secret, card, f"{secret} and {card}", EXACT[number % len(EXACT)])
            yield from (f"{secret}@example.com", f"{card}@example.com", *elsewhere.forms(number))

    def log(self) -> str:
        return self.server.log.read_text(errors="replace")

    async def tell(self, line: Line, provider: str, event: Any) -> int:
        raw = json.dumps(event).encode()
        if provider == "paystack":
            key = PRIVATE[next(self._numbers) % 2].encode()  # the new one and the old one in turn
            headers = {"x-paystack-signature": hmac.digest(key, raw, "sha512").hex()}
        else:
            headers = self.responder.headers(raw, next(self._numbers), WEBHOOK_ID)
        return (await line.ask(f"/api/webhooks/{provider}", raw, headers)).status

    def run(self, *command: str) -> str:
        """All that a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "keywright.cli.main", *command],
            env={**self.env, "APP_BASE_URL": f"http://127.0.0.1:{self.server.port}"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        return done.stdout + done.stderr


def asking(number: int, mark: str = "Q") -> list[tuple[str, Any]]:
    """Events that have one object of each kind fetched, each by a name of its own."""
    id_ = f"{mark}{number:05}"
    invoice = {"invoice_code": f"INV_{id_}", "subscription": {"subscription_code": f"SUB_{id_}"}}
    dispute = {
        "id": 10**6 + number,
        "status": "pending",
        "currency": "NGN",
        "transaction": {"reference": id_},
    }
    charge = {"id": 10**7 + number, "reference": id_, "status": "success", "amount": 1, "currency": "NGN"}
    paystack = {
        "charge.success": charge,
        "invoice.update": {**invoice, "status": "success", "transaction": {"reference": f"{id_}I"}},
        "refund.processed": {"transaction_reference": f"{id_}R", "status": "processed", "amount": 5},
        "charge.dispute.create": dispute,
    }
    paypal = {
        "CHECKOUT.ORDER.COMPLETED": {"id": f"{id_}O"},
        "BILLING.SUBSCRIPTION.ACTIVATED": {"id": f"I-{id_}"},
        "PAYMENT.CAPTURE.COMPLETED": {"id": f"{id_}C"},
        "PAYMENT.SALE.REFUNDED": {"id": f"{id_}F", "sale_id": f"{id_}S"},
        "CUSTOMER.DISPUTE.CREATED": {"dispute_id": f"PP-D-{id_}"},
    }
    told: list[tuple[str, Any]] = [("paystack", {"event": kind, "data": d}) for kind, d in paystack.items()]
    told += [
        (
            "paypal",
            {"id": f"WH-{id_}", "event_type": kind, "create_time": "2026-11-01T12:00:00Z", "resource": r},
        )
        for kind, r in paypal.items()
    ]
    return told


async def plant(seller: Seller) -> None:
    texts = seller.texts()
    statuses: set[int] = set()
    async with Line(seller.server.port) as line:
        for provider, event in asking(0, "SOLD"):
            statuses.add(await seller.tell(line, provider, event))
        for provider in ("paystack", "paypal"):
            for event in elsewhere.events_of(provider):
                for path in leaves(event):
                    planted = elsewhere.with_extras(with_leaf(event, path, next(texts)), next(texts))
                    statuses.add(await seller.tell(line, provider, planted))
        for number in range(20):
            for provider, event in asking(number):
                statuses.add(await seller.tell(line, provider, event))
        # Silence last, and one object each: while nothing is answered the others wait their turn, for pauses
        # that double.
        for place, mark in enumerate(("REFUSES", "FAILS", "HANGSUP")):
            for provider in ("paystack", "paypal"):
                event = [event for one, event in asking(0, mark) if one == provider][place]
                statuses.add(await seller.tell(line, provider, event))
    # The first delivery of PayPal's waits for the certificate.
    assert statuses == {200, 400}


def unasked(context: Context) -> int:
    """How many objects that are due nobody has asked for yet."""
    with context.database.read() as connection:
        query = sa.text("SELECT count(*) FROM refetches WHERE attempts = 0 AND due_at <= :now")
        return int(connection.execute(query, {"now": micros(context.clock.now())}).scalar_one())


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def seller(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seller]:
    """Everything planted, everything fetched, every mail sent; and then no key works any more."""
    folder = tmp_path_factory.mktemp("seller")
    with ExitStack() as stack:
        made = Seller(database_of(request.param, request, folder), folder, stack)
        asyncio.run(plant(made))
        with made.opened() as context:
            wait_until(lambda: not unasked(context), 60, "all was asked for")
            wait_until(lambda: not still_owed(context), 60, "the mails are out")
        yield made


def check(text: str, *, kept: bool = False) -> None:
    """Nothing planted and nothing of ours is in the text."""
    assert [one for one in PRIVATE if one in text] == []
    assert find_card_numbers(text) == []
    if kept:
        text = NAMELIKE.sub("", ADDRESS.sub("", text))
    assert [one for one in EXACT if one in text] == []
    found = PLANTED.search(text)
    assert found is None, text[max(0, found.start() - 80) : found.end()]


def bare(value: str) -> str:
    """A text with what is pickled in it, as the workflow engine keeps results and errors."""
    try:
        return f"{value}\n{b64decode(value, validate=True).decode('latin-1')}"
    except ValueError:
        return value


def test_licenses_came_of_it_and_all_was_planted(seller: Seller) -> None:
    """So that finding nothing means something."""
    with seller.opened() as context:
        assert len(world.all_licenses(context)) >= 2
        with context.database.read() as connection:
            events = inbox.counts(connection)
            assert announcements.counts(connection).get("sent", 0) >= 2
    assert sum(events.values()) > 300
    for name, told in seller.responder.providers.items():
        assert seller.responder.planted[name] > len(told.places())


def test_no_text_in_the_database_is_planted_or_ours(seller: Seller) -> None:
    kept = set()
    with seller.opened() as context:
        for column, value in texts_in_database(context):
            text = bare(opened_up(value))
            if PLANTED.search(text):
                kept.add(column)
            check(text, kept=True)
            assert WEBHOOK_ID not in text
    assert kept <= KEPT


def test_the_files_and_a_copy_of_the_database_hold_nothing(seller: Seller) -> None:
    """As bytes, freed pages and the log of writes included. Read by another process: see the SQLite rules."""
    files = [path for path in (seller.folder / "data").iterdir() if path.is_file()]
    if seller.url.startswith("sqlite"):
        copy = seller.folder / "copy.sqlite"
        program = (
            "import sys, pysqlite3.dbapi2 as db\n"
            "db.connect(sys.argv[1]).execute('VACUUM INTO ?', [sys.argv[2]])"
        )
        source = str(seller.folder / "data" / "keywright.sqlite")
        subprocess.run([sys.executable, "-c", program, source, str(copy)], check=True, timeout=60)
        files.append(copy)
    else:
        with seller.opened() as context, context.database.read() as connection:
            folder = connection.execute(sa.text("SHOW data_directory")).scalar_one()
            oid = connection.execute(
                sa.text("SELECT oid FROM pg_database WHERE datname = current_database()")
            ).scalar_one()
            connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
        files += [path for path in Path(folder, "base", str(oid)).iterdir() if path.is_file()]
    # By another process, as it is: opening and closing the database's files here would drop its locks.
    raw = [
        subprocess.run(["cat", str(path)], capture_output=True, check=True, timeout=60).stdout  # noqa: S607  # the system's own
        for path in files
    ]
    assert sum(map(len, raw)) > 1_000_000
    # Pages hold halves of what was moved, so a name is not told from its end: whole secrets are looked for.
    whole = [re.escape(one.partition("planted")[0]) for one in SECRETS]
    whole = [one for one in whole if one and not NAMELIKE.match(f"{one.replace(chr(92), '')}planted0")]
    assert len(whole) > 12
    planted = re.compile(rf"(?:{'|'.join(whole)})planted\d+".encode())
    for path, held in zip(files, raw, strict=True):
        assert [one for one in (*PRIVATE, *CARDS) if one.encode() in held] == []
        ends = [found.end() for found in planted.finditer(held)]
        assert [held[end - 60 : end + 20] for end in ends if not begins_address(path, held, end)] == []


def begins_address(path: Path, held: bytes, end: int) -> bool:
    """Whether what was planted goes on as an address, or goes on elsewhere.

    SQLite cuts a long row at the end of a page, or where the four bytes of the next page's number stand.
    """
    tail = b"@example.com"
    same = next((n for n in range(len(tail), 0, -1) if held.startswith(tail[:n], end)), 0)
    if same == len(tail):
        return True
    if "sqlite" not in path.name:
        return False
    cut = end + same
    head, page = (32, 4120) if path.name.endswith("-wal") else (0, 4096)
    return (cut - head) % page == 0 or 0 < int.from_bytes(held[cut : cut + 4]) <= len(held) // 4096


def test_no_mail_holds_anything(seller: Seller) -> None:
    assert len(seller.post.taken) >= 2
    assert seller.post.passwords == {PASSWORD.encode()}
    for raw in seller.post.taken:
        mail = message_from_bytes(raw, policy=default)
        parts = [part.get_content() for part in mail.walk() if part.get_content_maintype() == "text"]
        check("\n".join([raw.decode("latin-1"), *map(str, mail.values()), *parts]), kept=True)


def test_the_metrics_and_the_admin_pages_hold_nothing(seller: Seller) -> None:
    async def ask() -> list[bytes]:
        async with Line(seller.server.port) as line:
            headers = {"Authorization": f"Bearer {OURS['METRICS_TOKEN']}"}
            metrics = await line.ask("/metrics", headers=headers)
            assert metrics.status == 200
            return [metrics.body, (await line.ask("/api/public/config")).body]

    for body in asyncio.run(ask()):
        check(body.decode())


def test_no_command_tells_a_secret(seller: Seller) -> None:
    """With keys that work, and with keys that the provider refuses in words of its own."""
    commands = [
        ("doctor",),
        ("event", "list", "--json"),
        *(
            (*act, name)
            for act in (("provider", "test"), ("provider", "setup"))
            for name in ("paystack", "paypal")
        ),
    ]
    said = []
    for wrong in (False, True):
        seller.responder.wrong = wrong
        with ThreadPoolExecutor(3) as pool:
            # Set-up and lists say the same of a key that is refused.
            said += list(pool.map(lambda one: seller.run(*one), commands[:4] if wrong else commands))
    seller.responder.wrong = False
    assert all(said)
    for text in said:
        for line in text.splitlines():
            check(line, kept=True)
        assert "Traceback" not in text


def test_the_log_at_level_debug_holds_nothing(seller: Seller) -> None:
    """Last: it holds what the tests above have brought about, too."""
    text = seller.log()
    assert "provider_silent" in text
    for line in text.splitlines():
        check(line)
    assert WEBHOOK_ID not in text
    assert "Traceback" not in text
