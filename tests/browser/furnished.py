"""A shop that has been open for a while: something of every kind for its pages to show.

The flows make everything before the server starts; through pages and commands it would take a minute.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import BrowserContext

from keywright import bootstrap
from keywright.flows import (
    activating,
    catalog,
    catalog_file,
    licensing,
    operate,
    portal_sign_in,
    replay,
    staff,
    tokens,
    webhooks,
)
from keywright.flows.context import Context
from keywright.flows.fulfillment import Fulfillment
from keywright.flows.licensing import Ask
from keywright.flows.operate import Act, Order
from keywright.store import inbox
from keywright.store.tables import announcements, portal_links
from keywright.web.portal.gate import fresh_browser
from tests.browser import furnished_tenants
from tests.browser.conftest import KEYWRIGHT, SECRET, _free_port, _wait_until_ready
from tests.conftest import Prepared, TurnableClock, copy_of
from tests.life import stripe, world
from tests.life.people import hire

BUYER = "ada@example.com"
OWNER = "owner@example.com"
STAFF_COOKIE = "keywright_staff"
PORTAL_COOKIE = "keywright_session"
ACT = Act("test", "Ticket 4711")
CATALOG = """
[[product]]
slug = "dashcaddy"
name = "DashCaddy"
key_prefix = "DC"
code = 1

[[product.plan]]
slug = "pro"
name = "Pro"
entitlements = ["export.pdf", "sync"]
limits = { projects = 100 }

[[product.plan.prices]]
key = "monthly"
provider = "stripe"
id = "price_pro"
amount = 5000
currency = "USD"
interval = "month"

[[product.plan.prices]]
key = "yearly"
provider = "stripe"
id = "price_year"
amount = 49900
currency = "USD"
interval = "year"

[[product.plan]]
slug = "year"
name = "Year"
term = "1y"
max_activations = 200
prices = [{ key = "once", provider = "stripe", id = "price_once", amount = 5000, currency = "USD" }]
"""


@dataclass
class Furnished:
    """Where the server is, and what opens its doors. `ids` names what the tests ask for by name."""

    url: str
    folder: Path
    environment: dict[str, str]
    staff_session: str = ""
    portal_session: str = ""
    totp_secret: str = ""
    ids: dict[str, str] = field(default_factory=dict)

    def as_staff(self, context: BrowserContext, session: str = "") -> None:
        """As the master tenant's owner, or whose session it is."""
        value = session or self.staff_session
        context.add_cookies([{"name": STAFF_COOKIE, "value": value, "url": self.url}])

    def as_customer(self, context: BrowserContext) -> None:
        context.add_cookies([{"name": PORTAL_COOKIE, "value": self.portal_session, "url": self.url}])


@contextmanager
def opened(place: Furnished) -> Iterator[Context]:
    """The shop for the flows, as long as no server has it."""
    with pytest.MonkeyPatch.context() as patched:
        for name in list(os.environ):
            if name.startswith(("STRIPE_", "PAYSTACK_", "PAYPAL_", "KEYWRIGHT_MODE", "DATABASE_URL")):
                patched.delenv(name)
        for name, value in place.environment.items():
            patched.setenv(name, value)
        made = bootstrap.read_settings(_env_file=None)
    database = bootstrap.open_database(made)
    # Nobody pulls the plug while a shop is made.
    sa.event.listen(database.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    try:
        yield bootstrap.build(made, database)
    finally:
        database.dispose()


def place_in(folder: Path, prepared: Prepared) -> Furnished:
    """An empty shop of its own."""
    own = copy_of(prepared, folder)
    port = _free_port()
    url = f"http://localhost:{port}"
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": own.url,
        "DATA_DIR": str(folder / "data"),
        "PORT": str(port),
        "APP_BASE_URL": url,
        "KEYWRIGHT_MODE": "sandbox",
        "STRIPE_SECRET_KEY": "sk_test_furnished",
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_API_BASE": "http://127.0.0.1:9",
        "LICENSE_SECRET": "a secret that every reader of this file knows",
        "LOG_LEVEL": "error",
        "WEBHOOK_ALLOW_PRIVATE": "1",
    }
    return Furnished(url, folder, environment)


@contextmanager
def serving(place: Furnished) -> Iterator[None]:
    server = subprocess.Popen([KEYWRIGHT, "serve"], env=place.environment, cwd=place.folder)
    try:
        _wait_until_ready(place.url, server)
        yield
    finally:
        server.terminate()
        server.wait(timeout=20)


@contextmanager
def open_for_business(folder: Path, prepared: Prepared) -> Iterator[Furnished]:
    """A shop with something of everything, and its server."""
    place = place_in(folder, prepared)
    with opened(place) as context:
        sell(context)
        place.ids["license"], place.ids["key"] = buy(context)
        place.ids |= licenses_of_every_kind(context)
        place.ids |= events_of_every_kind(context)
        signed, place.staff_session, place.totp_secret = hire(context, OWNER)
        hire(context, "support@example.com", "support")
        a_mail_that_failed(context)
        tokens.create(context, context.master, "A script", "read")
        place.ids["staff"] = signed.staff.id
        place.ids["set_up"] = staff.create(context, context.master.id, "new@example.com", "admin", "test")[1]
        tell_others(context)
        place.portal_session = customer_session(context, BUYER)
        place.ids |= furnished_tenants.take_in(context)
    with serving(place):
        yield place


# -- what is in it --------------------------------------------------------------------------------------


def tell_others(context: Context) -> None:
    """Endpoints that nobody answers at, one on and one off, and what was sent to one."""
    tenant, address = context.master.id, "http://127.0.0.1:9/hook"
    made = webhooks.create(context, tenant, address, ["license.transferred"], "The build server", act=ACT)
    webhooks.try_out(context, tenant, made.id, act=ACT)
    off = webhooks.create(context, tenant, address, act=ACT)
    webhooks.change(context, tenant, off.id, webhooks.Change(enabled=False), act=ACT)


def sell(context: Context, text: str = CATALOG) -> None:
    catalog.apply(context, catalog_file.parse(text, source="catalog", environment={}))


def buy(context: Context) -> tuple[str, str]:
    """Ada's subscription, on two machines. Returns the license's id and key."""
    start = datetime.now(UTC) - timedelta(days=3)
    end = start + timedelta(days=30)
    sub = stripe.subscription("sub_ada", start, end, quantity=2)
    world.hand_in(context, stripe.event("customer.subscription.created", sub, start))
    paid = stripe.invoice("in_ada", "sub_ada", start, end, quantity=2, amount=10000, email=BUYER)
    world.hand_in(context, stripe.event("invoice.paid", paid, start))
    held = world.the_license(context)
    key = world.key_of(context, held)
    activate(context, key, "Ada's desk", "The laptop with a " + "long " * 12 + "name")
    return held.id, key


def activate(context: Context, key: str, *names: str) -> None:
    for number, name in enumerate(names):
        ask = Ask(key=key, fingerprint=f"machine-{number:03}-{key[-5:]}", name=name)
        asked = licensing.check(context, ask, fingerprint_needed=True)
        assert activating.activate(context, asked).valid


def issue(context: Context, email: str, **more: object) -> tuple[str, str]:
    """A license without a payment. Returns its id and its key."""
    order = Order("dashcaddy/year", email, **more)  # type: ignore[arg-type]  # members of the order
    row, key = operate.issue(context, context.master.id, order, ACT)
    return row.id, key


def licenses_of_every_kind(context: Context) -> dict[str, str]:
    """More than a page of them, in each status."""
    tenant, now = context.master.id, context.clock.now()
    past = replace(context, clock=TurnableClock(now - timedelta(days=400)))
    made = {"expired": issue(past, "expired@example.com")[0]}
    late = replace(context, clock=TurnableClock(now - timedelta(days=370)))
    made["grace"] = issue(late, "grace@example.com")[0]
    for kind in ("suspended", "revoked"):
        made[kind], _ = issue(context, f"a-holder-with-quite-a-long-name.{kind}@department.example.com")
    operate.decide(context, tenant, made["suspended"], ACT, "suspend")
    operate.decide(context, tenant, made["revoked"], ACT, "revoke")
    made["active"], _ = issue(context, "active@example.com", firm="A firm of some standing & Sons")
    for number in range(50):
        issue(context, f"holder-{number}@example.com")
    return made


def events_of_every_kind(context: Context) -> dict[str, str]:
    """One parked, one failed, one dead, and enough of one kind for a second page."""
    now = context.clock.now()
    end = now + timedelta(days=30)
    for number in range(52):
        strange = stripe.subscription(f"sub_x{number}", now, end, price="price_unknown", customer="cus_x")
        world.hand_in(context, stripe.event("customer.subscription.created", strange, now))
    found = {}
    for status, attempts in (("failed", 8), ("dead", 1)):
        more = stripe.subscription(f"sub_{status}", now, end, quantity=3, customer=f"cus_{status}")
        told = stripe.event("customer.subscription.created", more, now, id_=f"evt_{status}")
        found[status] = trouble(context, told, attempts)
    return found


def trouble(context: Context, event: stripe.Json, attempts: int) -> str:
    """An event that was tried while there was a fault in a rule: no event makes the real ones fail.

    Dead after so many attempts. Returns our id of it.
    """

    def fails(_self: Fulfillment, _work: object) -> object:
        raise ArithmeticError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Fulfillment, "_absorb", fails)
        world.hand_in(context, event)
        weary = replace(context, policy=replace(context.policy, attempts=attempts))
        with context.database.read() as connection:
            kept = inbox.find(connection, context.master.id, event["id"])
        assert kept is not None
        replay.attempt(weary, kept.id)
    return kept.id


def a_mail_that_failed(context: Context) -> None:
    with context.database.write() as connection:
        oldest = sa.select(sa.func.min(announcements.c.id)).scalar_subquery()
        failed = sa.update(announcements).where(announcements.c.id == oldest)
        connection.execute(failed.values(status="failed", error="MailRefused"))


def customer_session(context: Context, email: str) -> str:
    """A customer who has followed a link that was never mailed."""
    browser = fresh_browser()
    portal_sign_in.ask(context, email, browser)
    with context.database.read() as connection:
        newest = sa.select(portal_links.c.id).order_by(portal_links.c.id.desc()).limit(1)
        secret = portal_sign_in.secret_of(context, str(connection.execute(newest).scalar_one()))
    standing, session = portal_sign_in.enter(context, secret, browser)
    assert standing == "good"
    return session
