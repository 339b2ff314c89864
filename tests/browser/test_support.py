"""A support person at work, without a mouse: in with an app's code, a license revoked and given back, a dead
letter brought to life."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from keywright.flows import staff_secrets
from tests.browser import furnished
from tests.browser.conftest import Open
from tests.browser.furnished import OWNER, Furnished
from tests.browser.keyboard import Keyboard
from tests.conftest import Prepared
from tests.life.people import PASSWORD


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, prepared_sqlite: Prepared) -> Iterator[Furnished]:
    with furnished.open_for_business(tmp_path_factory.mktemp("support"), prepared_sqlite) as opened:
        yield opened


def sign_in(page: Page, place: Furnished) -> None:
    keys = Keyboard(page)
    page.goto(f"{place.url}/console")
    keys.write("E-mail", OWNER)
    keys.write("Password", PASSWORD)
    keys.enter()
    expect(page.get_by_role("heading", name="Now your second factor")).to_be_visible()
    code = staff_secrets.code_of(place.totp_secret, int(time.time() // 30))
    # The page may have put the focus there by itself.
    if page.evaluate("document.activeElement.id") == "code":
        page.keyboard.type(code)
    else:
        keys.write("Code", code)
    keys.enter()
    expect(page.get_by_role("heading", name="Home", exact=True)).to_be_visible()


def test_search_to_revoke_to_reinstate_by_keyboard_alone(place: Furnished, visit: Open) -> None:
    page = visit()
    keys = Keyboard(page)
    sign_in(page, place)
    keys.enter("To the page")
    assert page.evaluate("document.activeElement.id") == "main"
    page.goto(f"{place.url}/console")
    keys.write("Find a license", "Ada's desk")
    keys.enter()
    expect(page.get_by_role("heading", name="DashCaddy Pro")).to_be_visible()
    keys.enter("Revoke$")
    keys.write("Reason", "Ticket 4711")
    keys.enter()
    expect(page.get_by_role("heading", name="Revoke?")).to_be_visible()
    keys.enter("Yes: revoke")
    expect(page.get_by_role("status")).to_have_text("The license is revoked.")
    assert verdict(place) == "REVOKED"
    keys.enter("Reinstate$")
    keys.enter("Show what it would do")
    keys.enter("Yes: reinstate")
    expect(page.get_by_role("status")).to_have_text("The license is reinstated.")
    assert verdict(place) == "VALID"


def verdict(place: Furnished) -> str:
    answer = httpx.post(f"{place.url}/api/license/validate", json={"key": place.ids["key"]})
    return str(answer.json()["code"])


def test_a_dead_letter_is_looked_at_and_replayed(place: Furnished, visit: Open) -> None:
    page = visit()
    place.as_staff(page.context)
    keys = Keyboard(page)
    page.goto(f"{place.url}/console")
    keys.enter(r"1 Dead letter|Dead letters")
    expect(page.get_by_role("heading", name="Dead letters")).to_be_visible()
    keys.enter("customer.subscription.created")
    keys.enter("Try to apply it again")
    expect(page.get_by_role("heading", name="What applying it again would do")).to_be_visible()
    expect(page.get_by_role("heading", name="would be made")).to_be_visible()
    keys.enter("Apply it again")
    expect(page.get_by_role("status")).to_be_visible()
    expect(page.locator("h1 + .badge")).to_have_text("Applied")
    page.goto(f"{place.url}/console/events?status=dead")
    expect(page.get_by_role("heading", name="No event here")).to_be_visible()
