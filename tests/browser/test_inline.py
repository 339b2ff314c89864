"""Paystack's checkout inside our page: what its script may do there under our policy, and the way back.

Paystack's own script is not on this machine. A stand-in does what the real one is documented to do: it opens
a frame of the checkout's origin, and calls back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route

from keywright import bootstrap
from keywright.domain.look import Look
from keywright.flows.context import Inline
from keywright.providers.paystack.api import INLINE_SCRIPT, PAY_PAGES, access_code_of
from keywright.web.storefront.brand import colors_of, mark_of
from keywright.web.storefront.pages import Pages
from tests.conftest import Prepared, copy_of, test_settings

SHOP = "https://licenses.shop.example"
CODE = "3ni8kdavz62431k"
URL = f"{PAY_PAGES}/{CODE}"
RESULT = "/checkout/KW-ABCDEFGH23456777"
SCRIPT = """
window.PaystackPop = class {
  resumeTransaction(code, calls) {
    const frame = document.createElement("iframe");
    frame.src = `https://checkout.paystack.com/popup?code=${code}`;
    document.body.append(frame);
    window.paid = () => calls.onSuccess({});
    window.left = () => { frame.remove(); calls.onCancel(); };
  }
};
"""
# The one page of ours that may ask others, and these alone.
HOSTS = [urlsplit(one).hostname for one in (SHOP, INLINE_SCRIPT, PAY_PAGES)]
Serve = Callable[[Page], None]


@pytest.fixture
def served(prepared_sqlite: Prepared, tmp_path: Path) -> Serve:
    """`served(page)`: the page of an order is at SHOP, and Paystack's addresses answer."""
    own = copy_of(prepared_sqlite, tmp_path)
    made = test_settings(own.url, own.folder)
    database = bootstrap.open_database(made)
    try:
        pages = Pages(bootstrap.build(made, database))
    finally:
        database.dispose()
    inline = Inline(INLINE_SCRIPT, PAY_PAGES, access_code_of)
    shown = pages.render(
        "inline.html",
        inline=inline,
        script=inline.script,
        code=CODE,
        url=URL,
        reference=RESULT.rsplit("/")[-1],
    )
    static = Path(__file__).parents[2] / "src/keywright/web/static"

    def shop(route: Route) -> None:
        path = route.request.url.removeprefix(SHOP).partition("?")[0]
        if path.startswith("/static/"):
            route.fulfill(path=static / path.rsplit("/", 1)[-1])
        elif path == "/brand/colors.css":
            route.fulfill(content_type="text/css", body=colors_of(Look(color="#7a1fa2")))
        elif path.startswith("/brand/"):
            route.fulfill(content_type="image/svg+xml", body=mark_of("Blue Anchor", "#7a1fa2"))
        elif path == RESULT:
            route.fulfill(content_type="text/html", body="<title>The result</title>")
        else:
            route.fulfill(content_type="text/html", body=shown.content, headers=dict(shown.headers))

    def serve(page: Page) -> None:
        page.route(f"{SHOP}/**", shop)
        page.route(f"{PAY_PAGES}/**", lambda r: r.fulfill(content_type="text/html", body="<p>Pay here</p>"))
        page.route(INLINE_SCRIPT, lambda r: r.fulfill(content_type="text/javascript", body=SCRIPT))

    return serve


def test_the_window_opens_by_itself_and_leads_to_the_result(
    served: Serve, visit: Callable[..., Page], photograph: Callable[[Page, str], None]
) -> None:
    page = visit(hosts=HOSTS)
    served(page)
    page.goto(f"{SHOP}/buy/dashcaddy")
    page.frame_locator("iframe").get_by_text("Pay here").wait_for()
    photograph(page, "inline")
    page.evaluate("window.paid()")
    page.wait_for_url(f"{SHOP}{RESULT}")
    assert page.title() == "The result"


def test_a_window_that_was_closed_can_be_opened_again(served: Serve, visit: Callable[..., Page]) -> None:
    page = visit(width=390, hosts=HOSTS)
    served(page)
    page.goto(f"{SHOP}/buy/dashcaddy")
    page.frame_locator("iframe").get_by_text("Pay here").wait_for()
    page.evaluate("window.left()")
    assert page.locator("iframe").count() == 0
    page.get_by_role("button", name="Open the payment window").click()
    page.frame_locator("iframe").get_by_text("Pay here").wait_for()
    assert page.locator("iframe").count() == 1


def test_whoever_blocks_the_script_has_the_link(served: Serve, visit: Callable[..., Page]) -> None:
    page = visit(ready_for="net::ERR_FAILED", hosts=HOSTS)
    served(page)
    page.route(INLINE_SCRIPT, lambda route: route.abort())
    page.goto(f"{SHOP}/buy/dashcaddy")
    assert page.get_by_role("button", name="Open the payment window").count() == 0
    page.get_by_role("link", name="Open the payment page").click()
    page.wait_for_url(URL)
