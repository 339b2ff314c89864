"""Mail look in the console: what mails look like, changed and seen; and in whose language each goes out."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import httpx
import pytest
import sqlalchemy as sa

from keywright.domain.logo import LARGEST, read_logo
from keywright.domain.look import PLAIN, Look
from keywright.domain.plan import Terms
from keywright.flows import letter_samples, looks, operate, portal_sign_in, staff_factors
from keywright.flows.context import Context
from keywright.flows.looks import Wish
from keywright.flows.operate import Act
from keywright.store import checkouts
from keywright.store.checkouts import Checkout
from keywright.store.tables import customers
from keywright.web.storefront.brand import mark_of
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.life.payments import PayDesk
from tests.pictures import noise, picture
from tests.web.conftest import Client
from tests.web.test_console import ORIGIN, Colleague, House, check_in

only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
CHANGE = "/console/looks/change"
ACT = Act("test")


@pytest.fixture
def house(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with ExitStack() as stack:
        made = House(context, stack)
        monkeypatch.setattr(staff_factors, "phone_time", lambda: made.phone)
        yield made


def look_of(house: House) -> Look:
    return looks.show(house.context, house.context.master.id)


def hidden_in(page: httpx.Response) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text)
    return {name: html.unescape(value) for name, value in found}


def ask(who: Colleague, *, file: bytes = b"", **fields: str) -> httpx.Response:
    """The form, as a browser sends it."""
    page = who.client.get(CHANGE)
    told = {"check": check_in(page), "color": "#0d6b5e", "language": "en", "reason": "", **fields}
    return who.client.post(CHANGE, data=told, files={"file": ("logo.png", file, "image/png")}, headers=ORIGIN)


def test_a_look_is_previewed_changed_and_audited(house: House) -> None:
    owner = house.colleague()
    page = ask(owner, file=picture(), color="#FFEE00", language="de", reason="Ticket 7")
    assert page.status_code == 200, page.text
    assert "Nothing has changed yet" in page.text
    assert "300 by 80 pixels" in page.text
    assert "mails wear #9f9500 by day" in page.text
    assert look_of(house) == PLAIN
    page = owner.client.post(CHANGE, data=hidden_in(page), headers=ORIGIN)
    assert "The next mail looks so" in page.text
    assert look_of(house) == Look("#ffee00", "de", read_logo(picture()))
    assert house.acts()[-1] == "look.changed"


@only_sqlite
def test_the_logo_stays_until_it_is_taken_away(house: House) -> None:
    owner = house.colleague()
    looks.change(house.context, house.context.master.id, ACT, Wish(logo=picture()))
    page = ask(owner, color="#7a1fa2")
    owner.client.post(CHANGE, data=hidden_in(page), headers=ORIGIN)
    assert look_of(house).logo == read_logo(picture())
    page = ask(owner, color="#7a1fa2", no_logo="yes")
    owner.client.post(CHANGE, data=hidden_in(page), headers=ORIGIN)
    assert look_of(house) == Look("#7a1fa2")


@only_sqlite
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"color": "red"}, "six hexadecimal digits"),
        ({"color": "#ffffff}"}, "six hexadecimal digits"),
        ({"language": "tlh"}, "Mails are written in"),
        ({"file": b"<svg onload=alert(1)>"}, "must be a PNG"),
        ({"file": picture() + b"\0" * LARGEST}, "at most 16 KB"),
        ({"logo": "%%%"}, "PNG"),
        ({}, "look like already"),
    ],
)
def test_what_is_no_look_is_refused_and_said(house: House, fields: dict[str, str], told: str) -> None:
    page = ask(house.colleague(), **fields)  # type: ignore[arg-type]  # one of them is bytes, by its name
    assert page.status_code == 422
    assert told in page.text
    assert look_of(house) == PLAIN


@only_sqlite
def test_the_shop_wears_color_and_logo(house: House) -> None:
    shop = house.colleague().client
    page = shop.get("/").text
    assert all(f'"/brand/{name}"' in page for name in ("colors.css", "logo", "mark.svg"))
    assert shop.get("/brand/colors.css").text == ""
    plain = shop.get("/brand/logo")
    assert plain.headers["content-type"].startswith("image/svg+xml")
    assert plain.content == shop.get("/brand/mark.svg").content
    assert f">{house.context.master.name[:1].upper()}</text>" in plain.text
    looks.change(house.context, house.context.master.id, ACT, Wish(color="#7a1fa2", logo=picture()))
    assert "--accent: #7a1fa2;" in shop.get("/brand/colors.css").text
    assert 'fill="#7a1fa2"' in shop.get("/brand/mark.svg").text
    worn = shop.get("/brand/logo")
    assert (worn.headers["content-type"], worn.content) == ("image/png", read_logo(picture()).png)


def test_a_mark_holds_no_more_than_a_letter() -> None:
    for name, letter in (("<b>", "B"), ('"&', ""), ("\N{LATIN SMALL LETTER SHARP S}x", "S"), ("", "")):
        assert f">{letter}</text></svg>" in mark_of(name, "#0d6b5e").decode()


@only_sqlite
def test_support_looks_and_changes_nothing(house: House) -> None:
    someone = house.colleague("support@example.com", "support")
    page = someone.client.get("/console/looks")
    assert page.status_code == 200
    assert CHANGE not in page.text
    assert someone.client.get(CHANGE).status_code == 403


@only_sqlite
def test_every_letter_is_shown_in_every_language_under_a_strict_policy(house: House) -> None:
    owner = house.colleague()
    looks.change(house.context, house.context.master.id, ACT, Wish(logo=picture()))
    index = owner.client.get("/console/looks").text
    for name in letter_samples.names():
        for tag in ("en", "de"):
            address = f"/console/looks/letters/{name}?language={tag}"
            assert address in index
            page = owner.client.get(address)
            assert page.status_code == 200, name
            policy = page.headers["content-security-policy"]
            assert "unsafe-inline" not in policy
            assert "script-src 'self'" in policy
            by_day, by_night = (html.unescape(one) for one in re.findall(r'srcdoc="([^"]*)"', page.text))
            for framed in (by_day, by_night):
                assert f'<html lang="{tag}">' in framed
                assert "cid:" not in framed
                assert base64.b64encode(read_logo(picture()).png).decode() in framed
                # One shows how it looks by day and one in dark mode, whatever the browser is in.
                assert "prefers-color-scheme" not in framed
    assert owner.client.get("/console/looks/letters/nothing").status_code == 404


@only_sqlite
def test_pages_stay_small_with_the_largest_logo(house: House) -> None:
    owner = house.colleague()
    logo = noise(73, 73)
    assert LARGEST - 500 < len(logo) <= LARGEST
    page = ask(owner, file=logo, language="de")
    assert len(page.content) < 100_000
    owner.client.post(CHANGE, data=hidden_in(page), headers=ORIGIN)
    assert look_of(house).logo == read_logo(logo)
    assert len(owner.client.get("/console/looks/letters/license-firm").content) < 100_000


# -- in whose language ----------------------------------------------------------------------------------


def languages(context: Context) -> list[str | None]:
    with context.database.read() as connection:
        return list(connection.execute(sa.select(customers.c.language).order_by(customers.c.id)).scalars())


def test_a_buyer_is_written_to_in_the_language_of_his_browser(
    shop: Context, client: Client, desk: PayDesk
) -> None:
    wanted = {"plan": "dashcaddy/plan-0", "email": "ada@example.com"}
    for header in ("fr", "fr, de-AT;q=0.8, en;q=0.5"):
        sent = {"accept-language": header}
        opened = client.post("/api/checkout/session", json=wanted, headers=sent).json()
        desk.paid(opened["reference"])
        client.post(f"/api/checkout/session/{opened['reference']}/verify")
    assert languages(shop) == ["de"]


def test_a_customer_who_is_known_already_gets_a_language_once(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_once=Terms(term="perpetual"))
    for number, language in enumerate((None, "de", "en")):
        reference = f"KW-ABCDEFGH1234567{number + 2}"
        order(context, reference, "price_once", language)
        paid = stripe.session(f"cs_{number}", reference=reference, intent=f"pi_{number}")
        assert (
            world.outcome(context, stripe.event("checkout.session.completed", paid, clock.now())) == "applied"
        )
    # The first of the three did not say, and one that is known does not change.
    assert languages(context) == ["de"]


def order(context: Context, reference: str, price: str, language: str | None) -> None:
    now = context.clock.now()
    made = Checkout(
        reference=reference,
        tenant_id=context.master.id,
        provider_account_id=context.channels["stripe"].account.id,
        plan_id="pla_plan-0",
        price=price,
        quantity=1,
        amount=19900,
        currency="USD",
        status="open",
        created_at=now,
        expires_at=now + timedelta(hours=24),
        language=language,
    )
    with context.database.write() as connection:
        checkouts.insert(connection, made)


@only_sqlite
def test_mails_are_in_the_customers_language_else_in_the_sellers(house: House) -> None:
    context = house.context
    held = house.license()
    house.deliver()
    assert house.post.sent[-1].subject.startswith("Your ")
    looks.change(context, context.master.id, ACT, Wish(language="de", color="#7a1fa2"))
    again(house, held.id)
    assert house.post.sent[-1].subject.startswith("Ihr Lizenzschlüssel")
    assert "#7a1fa2" in house.post.sent[-1].html
    with context.database.write() as connection:
        connection.execute(sa.update(customers).values(language="en"))
    again(house, held.id)
    assert house.post.sent[-1].subject.startswith("Your ")
    portal_sign_in.ask(context, "holder@example.com", "a browser", "de")
    assert house.deliver()[-1].subject.startswith("Sign in at")
    with context.database.write() as connection:
        connection.execute(sa.update(customers).values(language=None))
    looks.change(context, context.master.id, ACT, Wish(language="en"))
    portal_sign_in.ask(context, "holder@example.com", "a browser", "de")
    assert house.deliver()[-1].subject.startswith("Anmelden bei")


def again(house: House, license_id: str) -> None:
    operate.resend(house.context, house.context.master.id, license_id, ACT)
    house.deliver()
