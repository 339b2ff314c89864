"""The pages as HTML: policy, forms, cookies, and what is shown to whom."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from keywright.domain.errors import Misconfigured, ProviderUnavailable
from keywright.domain.plan import Plan, Price, Terms
from keywright.flows.context import Channel, Context, Inline
from keywright.store.tables import checkouts
from keywright.web.storefront.words import facts_of, label, money, price_shown, quantity_label
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.life.payments import PayDesk
from tests.web.conftest import BASE, Client, Serve

ORIGIN = {"origin": BASE}


def field(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, f"no field {name}"
    return found[1]


def order(client: Client, headers: dict[str, str] = ORIGIN, /, **more: str) -> httpx.Response:
    page = client.get("/buy/dashcaddy").text
    form = {
        "check": field(page, "check"),
        "once": field(page, "once"),
        "choice": "plan-0/stripe/price_once",
        "quantity": "1",
        **more,
    }
    return client.post("/buy/dashcaddy", data=form, headers=headers, follow_redirects=False)


def reference_of(answer: httpx.Response) -> str:
    return f"KW-{answer.headers['location'].rsplit('cs_', 1)[1]}"


# -- policy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/buy/dashcaddy", "/checkout/KW-AAAAAAAAAAAAAAAA", "/buy/none"])
def test_every_page_has_a_strict_policy(client: Client, path: str) -> None:
    answer = client.get(path)
    headers = answer.headers
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "form-action 'self' https://checkout.stripe.com; connect-src 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == ("same-origin" if path == "/buy/dashcaddy" else "no-referrer")
    assert "strict-transport-security" not in headers
    assert not re.search(r"<script(?![^>]*src=)|style=|onclick|<style", answer.text)


def test_https_is_kept_and_cookies_are_secure(serve: Serve) -> None:
    client = serve(base_url="https://pay.shop.example")
    answer = client.get("/buy/dashcaddy")
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert "Secure" in answer.headers["set-cookie"]


def test_the_sandbox_may_be_paid_at_and_says_so(serve: Serve, tmp_path: Path) -> None:
    origins = ("https://checkout.stripe.com", "http://127.0.0.1:9999/")
    client = serve(sandbox=True, outbox=tmp_path, pay_origins=origins)
    answer = client.get("/")
    assert (
        "form-action 'self' https://checkout.stripe.com http://127.0.0.1:9999;"
        in (answer.headers["content-security-policy"])
    )
    assert "nothing here costs money" in answer.text


def test_assets_are_kept_by_browsers_under_a_name_that_changes(client: Client) -> None:
    page = client.get("/").text
    address = re.search(r'href="(/static/keywright\.css\?v=[0-9a-f]{12})"', page)
    assert address
    answer = client.get(address[1])
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert client.get("/static/../app.py").status_code == 404


# -- storefront and order form ------------------------------------------------------------------------


def test_the_storefront_shows_plans_and_prices(client: Client) -> None:
    page = client.get("/").text
    assert "DashCaddy" in page
    assert "$50" in page
    assert "Up to 100\N{NO-BREAK SPACE}projects" in page
    assert 'href="/buy/dashcaddy?plan=plan-1"' in page


def test_names_from_the_catalog_are_text_and_never_markup(shop: Context, client: Client) -> None:
    world.add_plan(shop, "<script>alert(1)</script>", "price_evil", Terms())
    page = client.get("/").text
    assert "<script>alert" not in page
    assert "&lt;Script&gt;" in page


def test_an_empty_store_says_what_to_do(context: Context) -> None:
    from litestar.testing import TestClient

    from keywright.web.app import create_app
    from tests.web.conftest import IdleEngine

    with TestClient(create_app(context, IdleEngine())) as client:
        assert "Nothing is on sale yet" in client.get("/").text


def test_an_order_leads_to_the_provider_with_a_claim_cookie(shop: Context, client: Client) -> None:
    answer = order(client, quantity="3")
    assert answer.status_code == 303
    reference = reference_of(answer)
    assert answer.headers["location"] == f"https://checkout.stripe.com/c/pay/cs_{reference[3:]}"
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("keywright_claim="))
    assert f"Path=/checkout/{reference};" in f"{cookie};"
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert world.count(shop, checkouts) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:8001"},
        {"origin": "http://127.0.0.1:8000.evil.example"},
    ],
)
def test_a_form_from_elsewhere_is_refused(shop: Context, client: Client, headers: dict[str, str]) -> None:
    assert order(client, headers).status_code == 403
    assert world.count(shop, checkouts) == 0


def test_a_proxy_may_write_a_host_of_its_own(client: Client) -> None:
    assert order(client, {**ORIGIN, "host": "inside:9000"}).status_code == 303
    assert order(client, {"origin": "http://inside:9000", "host": "inside:9000"}).status_code == 303
    assert order(client, {"origin": "http://inside:9000", "host": "outside:9000"}).status_code == 403


def test_a_form_without_its_cookie_is_refused(shop: Context, client: Client) -> None:
    assert order(client, check="x" * 32).status_code == 403
    page = client.get("/buy/dashcaddy").text
    check = field(page, "check")
    client.cookies.clear()
    form = {"check": check, "choice": "plan-0/stripe/price_once", "quantity": "1"}
    assert client.post("/buy/dashcaddy", data=form, headers=ORIGIN).status_code == 403
    assert world.count(shop, checkouts) == 0


def test_a_button_pressed_twice_opens_one_checkout(shop: Context, client: Client) -> None:
    page = client.get("/buy/dashcaddy").text
    same = {"check": field(page, "check"), "once": field(page, "once")}
    first, second = order(client, **same), order(client, **same)
    assert first.headers["location"] == second.headers["location"]
    changed = order(client, **same, quantity="2")
    assert changed.headers["location"] != first.headers["location"]
    assert world.count(shop, checkouts) == 2


def test_whoever_has_paid_is_told_so_and_not_led_to_pay_again(
    shop: Context, client: Client, desk: PayDesk
) -> None:
    page = client.get("/buy/dashcaddy").text
    same = {"check": field(page, "check"), "once": field(page, "once")}
    first = order(client, **same)
    reference = reference_of(first)
    world.outcome(shop, desk.paid(reference))
    again = order(client, **same)
    assert again.status_code == 200
    assert "You have paid this order already." in again.text
    assert f'href="/checkout/{reference}"' in again.text
    assert world.count(shop, checkouts) == 1


def test_an_order_that_failed_is_opened_anew(shop: Context, client: Client, clock: TurnableClock) -> None:
    page = client.get("/buy/dashcaddy").text
    same = {"check": field(page, "check"), "once": field(page, "once")}
    first = order(client, **same)
    clock.turn(hours=23)
    assert order(client, **same).headers["location"] != first.headers["location"]
    assert world.count(shop, checkouts) == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"quantity": "0"}, "from 1 to 100,000"),
        ({"quantity": "100001"}, "from 1 to 100,000"),
        ({"quantity": "two"}, "from 1 to 100,000"),
        ({"quantity": "\u0661"}, "from 1 to 100,000"),
        ({"choice": ""}, "choose a plan"),
        ({"choice": "plan-0/stripe/price_none"}, "No price of this plan fits"),
    ],
)
def test_what_is_wrong_with_an_order_is_said_in_the_form(
    client: Client, more: dict[str, str], words: str
) -> None:
    answer = order(client, **more)
    assert answer.status_code == 422
    assert words in answer.text
    assert 'role="alert"' in answer.text


def test_trouble_at_the_provider_is_said_without_its_details(client: Client, desk: PayDesk) -> None:
    desk.trouble = Misconfigured("a wrong key sk_test_abc")
    answer = order(client)
    assert answer.status_code == 502
    assert "sk_test" not in answer.text
    assert "refused this checkout" in answer.text


def test_a_pay_page_under_the_sellers_domain_is_reached_by_a_link(serve: Serve) -> None:
    client = serve(pay_origins=("https://elsewhere.example",))
    answer = order(client)
    assert answer.status_code == 200
    assert 'href="https://checkout.stripe.com/c/pay/cs_' in answer.text
    assert "keywright_claim=" in answer.headers["set-cookie"]


def code_of(url: str) -> str | None:
    return url.rsplit("/", 1)[-1] if "/c/pay/" in url else None


def inlined(shop: Context, **members: Any) -> dict[str, Channel]:
    """The shop's channel, with a provider that can be paid inside our page."""
    inline = Inline("https://js.provider.example/v2/inline.js", "https://checkout.provider.example", code_of)
    return {name: replace(one, inline=replace(inline, **members)) for name, one in shop.channels.items()}


def test_a_provider_inside_our_page_relaxes_that_page_alone(shop: Context, serve: Serve) -> None:
    shop = replace(shop, channels=inlined(shop))
    client = serve(shop)
    form = client.get("/buy/dashcaddy")
    assert 'name="way" value="here"' in form.text
    answer = order(client, way="here")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self' https://js.provider.example;" in policy
    assert "frame-src https://checkout.provider.example;" in policy
    assert 'src="https://js.provider.example/v2/inline.js"' in answer.text
    assert re.search(r'data-code="cs_\w+" data-result="/checkout/KW-[A-Z2-7]{16}"', answer.text)
    assert 'href="https://checkout.stripe.com/c/pay/cs_' in answer.text, (
        "without scripts the link leads there"
    )
    assert "keywright_claim=" in answer.headers["set-cookie"]
    assert not re.search(r"<script(?![^>]*src=)|style=|onclick|<style", answer.text)
    for other in (form, client.get("/"), client.get(f"/checkout/{bought(client)}")):
        strict = other.headers["content-security-policy"]
        assert "provider.example" not in strict
        assert "frame-src" not in strict


def test_the_redirect_is_what_happens_unless_it_is_asked_for(shop: Context, serve: Serve) -> None:
    client = serve(replace(shop, channels=inlined(shop)))
    assert order(client).status_code == 303
    nameless = serve(replace(shop, channels=inlined(shop, code_of=lambda _: None)))
    assert order(nameless, way="here").status_code == 303
    plain = serve()
    assert 'value="here"' not in plain.get("/buy/dashcaddy").text
    assert order(plain, way="here").status_code == 303


# -- result -------------------------------------------------------------------------------------------


def bought(client: Client) -> str:
    return reference_of(order(client))


def test_the_result_waits_and_then_shows_the_key(shop: Context, client: Client, desk: PayDesk) -> None:
    reference = bought(client)
    waiting = client.get(f"/checkout/{reference}").text
    assert "Waiting for the payment" in waiting
    assert f'<meta http-equiv="refresh" content="5;url=/checkout/{reference}?look=again">' in waiting
    assert client.get(f"/checkout/{reference}/state").json() == {"state": "open-0"}
    world.outcome(shop, desk.paid(reference))
    assert client.get(f"/checkout/{reference}/state").json() == {"state": "paid-1"}
    page = client.get(f"/checkout/{reference}").text
    assert world.key_of(shop, world.the_license(shop)) in page
    assert "DashCaddy Plan-0" in page
    assert "http-equiv" not in page
    assert re.search(r"Does not expire\.|Renews on [0-9]{1,2} [A-Z]", page)
    assert "it is there after the first start of DashCaddy" in page
    others = ("/buy/dashcaddy", "/portal", "/")
    cards = [client.get(path).text.count("never see your card") for path in others]
    assert [*cards, page.count("never see your card")] == [1, 0, 0, 0]  # said where somebody pays


def test_without_scripts_looking_again_asks_the_provider(client: Client, desk: PayDesk) -> None:
    reference = bought(client)
    desk.paid(reference)
    assert "Thank you" in client.get(f"/checkout/{reference}?look=again").text


def test_a_provider_that_is_silent_does_not_break_the_page(client: Client, desk: PayDesk) -> None:
    reference = bought(client)
    desk.trouble = ProviderUnavailable("no answer")
    answer = client.get(f"/checkout/{reference}?look=again")
    assert answer.status_code == 200
    assert "Waiting for the payment" in answer.text


@pytest.mark.parametrize("cookie", [None, "wrong", "\u00e4"])
def test_without_the_claim_cookie_there_is_no_key(
    shop: Context, client: Client, desk: PayDesk, cookie: str | None
) -> None:
    reference = bought(client)
    world.outcome(shop, desk.paid(reference))
    client.cookies.clear()
    headers = {} if cookie is None else {"cookie": f"keywright_claim={cookie}".encode("latin-1")}
    answer = client.get(f"/checkout/{reference}", headers=headers)  # type: ignore[arg-type]  # bytes are fine
    assert answer.status_code == 200
    assert "This order is complete." in answer.text
    assert "DC-" not in answer.text


def test_after_a_day_the_page_points_to_the_mail(
    shop: Context, client: Client, desk: PayDesk, clock: TurnableClock
) -> None:
    reference = bought(client)
    world.outcome(shop, desk.paid(reference))
    clock.turn(hours=24)
    page = client.get(f"/checkout/{reference}").text
    assert "was shown here for a day" in page
    assert "DC-" not in page


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("checkout.session.completed", "Your bank is still working on it."),
        ("checkout.session.async_payment_failed", "The payment did not go through."),
    ],
)
def test_other_ends_are_explained(
    shop: Context, client: Client, clock: TurnableClock, kind: str, words: str
) -> None:
    reference = bought(client)
    session = stripe.session(f"cs_{reference[3:]}", reference=reference, payment_status="unpaid")
    world.hand_in(shop, stripe.event(kind, session, clock.now()))
    page = client.get(f"/checkout/{reference}").text
    assert words in page
    assert 'href="/"' in page


def test_an_order_that_ran_out_of_time_is_explained(client: Client, clock: TurnableClock) -> None:
    reference = bought(client)
    clock.time += timedelta(hours=23)
    assert "This order has run out of time." in client.get(f"/checkout/{reference}").text


def test_a_paid_subscription_without_its_license_is_waited_for(
    shop: Context, client: Client, clock: TurnableClock
) -> None:
    reference = reference_of(order(client, choice="plan-1/stripe/price_monthly"))
    session = stripe.session(f"cs_{reference[3:]}", mode="subscription", reference=reference, sub="sub_1")
    world.hand_in(shop, stripe.event("checkout.session.completed", session, clock.now()))
    page = client.get(f"/checkout/{reference}").text
    assert "Your license is being made." in page
    assert 'data-waiting="yes"' in page


# -- mails --------------------------------------------------------------------------------------------

MAIL = b"""From: licenses@localhost
To: ada@example.com
Subject: Your key <b>
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="x"

--x
Content-Type: text/plain; charset="utf-8"

Key: DC-1 <script>alert(1)</script>
--x
Content-Type: text/html; charset="utf-8"

<p style="color:red">Key: DC-1</p><script>alert(1)</script>
--x--
"""


@pytest.fixture
def mails(serve: Serve, tmp_path: Path) -> Client:
    outbox = tmp_path / "outbox"
    outbox.mkdir()
    (outbox / "one@localhost.eml").write_bytes(MAIL)
    (tmp_path / "secret.eml").write_bytes(MAIL)
    return serve(sandbox=True, outbox=outbox)


def test_the_demo_shows_mails_in_a_frame_without_powers(mails: Client) -> None:
    listed = mails.get("/demo/mails").text
    assert 'href="/demo/mails/one%40localhost.eml"' in listed
    assert "Your key &lt;b&gt;" in listed
    answer = mails.get("/demo/mails/one%40localhost.eml")
    assert '<iframe sandbox title="The mail as HTML" srcdoc="&lt;p style=' in answer.text
    assert "<script>alert" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "style-src 'self' 'unsafe-hashes' 'sha256-" in policy
    assert "unsafe-inline" not in policy
    assert "script-src 'self';" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["none.eml", "..%2fsecret.eml", "%2e%2e%2fsecret.eml", ".eml", "%00.eml"])
def test_only_mails_are_shown(mails: Client, name: str) -> None:
    assert mails.get(f"/demo/mails/{name}").status_code == 404


def test_outside_the_sandbox_there_is_no_mail_viewer(serve: Serve, tmp_path: Path) -> None:
    assert serve(sandbox=False, outbox=tmp_path).get("/demo/mails").status_code == 404


# -- words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (5000, "USD", "$50"),
        (4990, "EUR", "€49.90"),
        (5, "GBP", "£0.05"),
        (500000, "NGN", "₦5,000"),
        (1200, "JPY", "¥1,200"),
        (1500, "KWD", "KWD\N{NO-BREAK SPACE}1.500"),
        (0, "USD", "$0"),
        (-250, "USD", "\N{MINUS SIGN}$2.50"),
    ],
)
def test_amounts_are_written_as_people_write_them(amount: int, currency: str, shown: str) -> None:
    assert money(amount, currency) == shown


def plan(**terms: Any) -> Plan:
    return Plan("pla_1", "pro_1", "pro", "Pro", 1, Terms(**terms))


@pytest.mark.parametrize(
    ("terms", "fact"),
    [
        ({}, "Renews until you cancel"),
        ({"term": "perpetual"}, "Pay once, yours for good"),
        ({"term": 365 * 86400}, "Pay once, valid for 1 year"),
        ({"term": 30 * 86400}, "Pay once, valid for 30 days"),
        ({"quantity": "keys", "seats_per_unit": 5}, "One license key for each you buy, 5 seats each"),
        ({"seats_per_unit": 5}, "5 seats for each you buy, under one key"),
        ({"max_activations": 0}, "Any number of machines"),
        ({"max_activations": 3}, "3 machines at a time in all, however many seats"),
        ({"max_activations": 3}, "All seats under one key"),
        ({"max_activations": 1, "quantity": "keys"}, "1 machine at a time for each key"),
        ({"trial": 14 * 86400}, "Free for the first 14 days"),
        ({"offline": 3600}, "Works offline for 1 hour at a time"),
    ],
)
def test_terms_are_said_in_plain_words(terms: dict[str, Any], fact: str) -> None:
    assert fact in [one.replace("\N{NO-BREAK SPACE}", " ") for one in facts_of(plan(**terms))]


def test_the_quantity_is_named_for_what_it_counts() -> None:
    assert quantity_label(plan()) == "Seats"
    assert quantity_label(plan(quantity="keys", seats_per_unit=5)) == "Licenses"
    assert quantity_label(plan(seats_per_unit=5)) == "Packs of 5 seats"
    assert (label("export.pdf"), label("cloud_sync:all")) == ("export PDF", "cloud sync all")


def test_a_price_says_how_often() -> None:
    price = Price("pri_1", "pla_1", "stripe", "quarterly", "price_1", 15000, "USD", "quarter")
    assert price_shown(price).every == "every 3 months"


@pytest.mark.parametrize("path", ["/nowhere", "/buy/dashcaddy/pro/nowhere", "/console-nowhere"])
def test_an_address_that_does_not_exist_is_a_page_for_people(shop: Context, serve: Serve, path: str) -> None:
    client = serve(shop)
    page = client.get(path, headers={"accept": "text/html,application/xhtml+xml;q=0.9"})
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "This page does not exist" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_an_address_that_does_not_exist_is_a_problem_for_programs(shop: Context, serve: Serve) -> None:
    client = serve(shop)
    people = {"accept": "text/html"}
    told = [
        client.get("/nowhere"),
        client.get("/api/nowhere", headers=people),
        client.post("/nowhere", headers=people),
    ]
    for answer in told:
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "NOT_FOUND"
