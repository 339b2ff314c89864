"""The browser example under a strict policy: every vector and every token, and the page itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from keywright.flows.context import Context
from tests.examples import cases
from tests.examples.cases import Case
from tests.examples.fresh import signed_by

SITE = "https://verify.shop.example"
# What a careful host sends on top of the page's own policy.
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"
KINDS = {"html": "text/html", "mjs": "text/javascript", "css": "text/css"}

JUDGE = """async (tokens) => {
  const license = await import("/license.mjs");
  const judge = async ({ token, rules, keys }) => {
    try {
      await license.verifyToken(token, { ...rules, keys: await license.readKeySet(keys) });
      return "counts";
    } catch (error) {
      return error instanceof license.Refused ? error.message : `BROKEN ${error.stack}`;
    }
  };
  const said = [];
  for (const one of tokens) said.push(await judge(one));
  return said;
}"""
HOLDS = """async (vectors) => {
  const license = await import("/license.mjs");
  const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (one) => parseInt(one, 16));
  const said = [];
  for (const { key, message, signature } of vectors)
    said.push(await license.isSigned(await license.publicKey(bytes(key)), bytes(message), bytes(signature)));
  return said;
}"""


@pytest.fixture
def page(visit: Callable[..., Page]) -> Page:
    """The example as a web server would serve it."""

    def serve(route: Route) -> None:
        name = route.request.url.removeprefix(f"{SITE}/") or "index.html"
        path = cases.EXAMPLES / "browser" / name
        if not path.is_file():
            route.fulfill(status=404)
            return
        kind = KINDS[name.rsplit(".", 1)[-1]]
        route.fulfill(path=path, content_type=kind, headers={"content-security-policy": POLICY})

    opened = visit(ready_for="favicon.ico", hosts=["verify.shop.example"])
    opened.route(f"{SITE}/**", serve)
    opened.goto(f"{SITE}/")
    return opened


def test_every_ed25519_vector(page: Page) -> None:
    vectors = cases.ed25519_vectors()
    said = page.evaluate(HOLDS, vectors)
    assert len(said) == 151
    assert [one["id"] for one, held in zip(vectors, said, strict=True) if held is not one["holds"]] == []


def judged(page: Page, asked: list[Case]) -> None:
    said = page.evaluate(JUDGE, [one._asdict() for one in asked])
    wrong = {
        one.name: word for one, word in zip(asked, said, strict=True) if (word == "counts") is not one.counts
    }
    assert wrong == {}
    assert not [word for word in said if word.startswith("BROKEN")]


def test_every_token(page: Page) -> None:
    judged(page, [*cases.labelled(), *cases.good(), *cases.hostile(), *cases.flipped(29)])


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_what_a_server_signs(page: Page, context: Context) -> None:
    judged(page, signed_by(context))


def fill(page: Page, license_: str, **more: str) -> Any:
    told = {"license": license_, "keys": cases.KEY_SET, "iss": cases.ISS, "aud": cases.AUD, **more}
    for name, text in told.items():
        page.locator(f'[name="{name}"]').fill(text)
    page.get_by_role("button", name="Verify").click()
    answer = page.locator("#answer[data-outcome]")
    answer.wait_for()
    return answer


def test_the_page_says_what_holds_and_what_does_not(page: Page) -> None:
    page.clock.set_fixed_time(cases.NOW)
    token = cases.good()[0].token
    answer = fill(page, cases.file_of(token, "\r\n"))
    assert answer.get_attribute("data-outcome") == "valid"
    assert '"seats": 5' in answer.inner_text()
    assert fill(page, token, aud="other").inner_text() == "refused: aud"
    page.locator("#answer[data-outcome=refused]").wait_for()
    fill(page, token, keys="{}")
    page.locator("#answer[data-outcome=failed]").wait_for()
    assert "no key set" in answer.inner_text()
