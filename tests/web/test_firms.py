"""Firms at the order form, at the checkout and where programs fetch their HMAC key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from litestar.testing import TestClient

from keywright.domain.facts import Renews
from keywright.domain.plan import Terms
from keywright.flows import operate, portal_sign_in, tokens
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.signing.hmac_key import DerivedSecrets
from keywright.store import checkouts, portal_links
from keywright.store.portal_links import Session
from keywright.store.tables import checkouts as checkout_table
from keywright.store.tables import plans, products
from keywright.web.app import create_app
from tests.life import world
from tests.life.payments import PayDesk, selling_through
from tests.web.conftest import BASE, Client, IdleEngine
from tests.web.test_pages import field

ORIGIN = {"origin": BASE}
FIRM = "Acme & Sons"


@pytest.fixture
def firmly(context: Context, desk: PayDesk) -> Context:
    """Sells `dashcaddy/plan-0` to firms, whose old license ends."""
    made = replace(context, firm_secrets=DerivedSecrets("a master secret of this very test"))
    world.stock(made, price_firm=Terms(profile="hmac", term=365 * 86400, on_repurchase="replace"))
    with made.database.write() as connection:
        connection.execute(sa.update(products).values(code=1))
        connection.execute(sa.update(plans).values(code=1))
    return selling_through(made, desk)


@pytest.fixture
def office(firmly: Context) -> Iterator[Client]:
    with TestClient(create_app(firmly, IdleEngine())) as client:
        yield client


def opened(shop: Context) -> list[tuple[str | None, Renews | None]]:
    """The firms and the older licenses of the checkouts there are."""
    with shop.database.read() as connection:
        references = connection.execute(sa.select(checkout_table.c.reference)).scalars().all()
        found = checkouts.find_many(connection, shop.master.id, references)
    return [(one.firm, checkouts.renews_of(one)) for one in found.values()]


def test_the_order_form_asks_for_the_firm_and_for_the_old_key(firmly: Context, office: Client) -> None:
    page = office.get("/buy/dashcaddy").text
    assert 'name="firm"' in page
    assert 'name="renew_key"' in page
    form = {
        "check": field(page, "check"),
        "once": field(page, "once"),
        "choice": "plan-0/stripe/price_firm",
        "quantity": "1",
    }
    refused = office.post("/buy/dashcaddy", data=form, headers=ORIGIN)
    assert refused.status_code == 422
    assert "bound to a firm" in refused.text
    wrong = office.post(
        "/buy/dashcaddy", data={**form, "firm": FIRM, "renew_key": "nonsense"}, headers=ORIGIN
    )
    assert wrong.status_code == 422
    assert "Acme &amp; Sons" in wrong.text
    taken = office.post("/buy/dashcaddy", data={**form, "firm": FIRM}, headers=ORIGIN, follow_redirects=False)
    assert taken.status_code == 303
    assert opened(firmly) == [(FIRM, None)]


def test_a_token_vouches_and_a_wrong_one_is_refused(firmly: Context, office: Client) -> None:
    row, _ = issued(firmly)
    wish = {"plan": "dashcaddy/plan-0", "firm": FIRM}
    for scope, status in (("read", 403), ("checkout", 201)):
        token = tokens.create(firmly, firmly.master, "shop", scope)[1]
        answer = office.post("/api/checkout/session", json=wish, headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == status
    stolen = office.post("/api/checkout/session", json=wish, headers={"authorization": "Bearer kw_nonsense"})
    assert (stolen.status_code, stolen.json()["code"]) == (401, "UNAUTHORIZED")
    assert opened(firmly) == [(FIRM, Renews(row, "pro_1", "replace"))]


@pytest.mark.parametrize("origin", [BASE, "https://evil.example", None])
def test_a_portal_session_counts_on_our_own_pages_only(
    firmly: Context, office: Client, origin: str | None
) -> None:
    row, _ = issued(firmly)
    office.cookies.set("keywright_session", signed_in(firmly))
    headers = {} if origin is None else {"origin": origin}
    answer = office.post(
        "/api/checkout/session", json={"plan": "dashcaddy/plan-0", "firm": FIRM}, headers=headers
    )
    assert answer.status_code == 201
    assert opened(firmly) == [(FIRM, Renews(row, "pro_1", "replace") if origin == BASE else None)]


def test_a_program_fetches_its_hmac_key(firmly: Context, office: Client) -> None:
    _, key = issued(firmly)
    shown = office.post("/api/license/hmac-key", json={"key": key}).json()
    assert (shown["firm"], shown["seats"], shown["product"], shown["tier"]) == (FIRM, 1, 1, 1)
    again = office.post("/api/license/hmac-key", json={"key": shown["key"]})
    assert again.json() == shown
    by_file = office.post("/api/license/validate", json={"key": shown["file"]}).json()
    assert (by_file["code"], "key" in by_file) == ("VALID", False)
    unknown = office.post("/api/license/hmac-key", json={"key": "0" * 25})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "NOT_FOUND")
    world.add_plan(firmly, "plain", "price_plain", Terms(term="perpetual"))
    _, plain = operate.issue(firmly, firmly.master.id, Order("dashcaddy/plain", "b@example.com"), Act("test"))
    none = office.post("/api/license/hmac-key", json={"key": plain})
    assert (none.status_code, none.json()["code"]) == (404, "NO_HMAC_KEY")


def issued(shop: Context) -> tuple[str, str]:
    """Id and key of a license of the firm."""
    order = Order("dashcaddy/plan-0", "a@example.com", firm=FIRM)
    row, key = operate.issue(shop, shop.master.id, order, Act("test"))
    return row.id, key


def signed_in(shop: Context) -> str:
    """The session of the customer who holds the license."""
    held = world.the_license(shop)
    made, now = "s" * 43, shop.clock.now()
    session = Session(
        id="pse_1",
        tenant_id=shop.master.id,
        customer_id=held.customer_id or "",
        email_hash=portal_sign_in._email_hash(shop, "a@example.com"),
        hash=portal_sign_in.blind(shop, "session", made),
        created_at=now,
        expires_at=now + portal_sign_in.SESSION_LIVES,
    )
    with shop.database.write() as connection:
        portal_links.insert_session(connection, session)
    return made
