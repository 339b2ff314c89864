"""The watch itself: a page that does everything wrong, and one that does nothing."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.browser.watch import Watch

SITE = "https://shop.example"
POLICY = "default-src 'none'; script-src 'self' 'nonce-a'; img-src *"
GOOD = "<!doctype html><title>A page</title><p>Nothing</p>"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<p style='color: red'>", "POLICY VIOLATED: style-src-attr"),
        ("<script>boast()</script>", "POLICY VIOLATED: script-src-elem"),
        ("<iframe srcdoc='<script>boast()</script>'></iframe>", "POLICY VIOLATED: script-src-elem"),
        ("<script nonce=a>alert(1)</script>", "a dialog: alert '1'"),
        ("<script nonce=a>missing()</script>", "a script failed: missing is not defined"),
        ("<script nonce=a>console.warn('so so')</script>", "so so"),
        (
            "<img alt='' src='https://elsewhere.example/1.gif'>",
            "a request to another host: https://elsewhere",
        ),
    ],
)
def test_what_is_wrong_is_noticed(browser: Browser, body: str, complaint: str) -> None:
    assert any(one.startswith(complaint) for one in _complaints(browser, GOOD + body))


def test_a_good_page_is_let_be(browser: Browser) -> None:
    assert _complaints(browser, GOOD) == []


def _complaints(browser: Browser, body: str) -> list[str]:
    watch = Watch()
    watch.allow("shop.example")
    with browser.new_context() as context:
        watch.over(context)
        headers = {"content-security-policy": POLICY}
        context.route("**", lambda route: route.fulfill(content_type="text/html", body=body, headers=headers))
        page = context.new_page()
        page.goto(SITE)
        page.evaluate("() => new Promise(requestAnimationFrame)")
    return watch.complaints
