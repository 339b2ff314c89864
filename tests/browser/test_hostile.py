"""500 strings that break careless programs, in every text field: shown as they were typed, and nothing more.

`rows` puts all of them on pages that list what people typed, a hundred or more on a page. `fields` goes to
every form that links lead to, and sends every text field its share of the strings; the browser's own parser
reads the answers. With KEYWRIGHT_HOSTILE=all every field gets all of them (`make hostile`).

Refused instead of shown: text with characters that cannot be printed (control and format characters, unusual
blanks), and text that is too long. Around what is kept, blanks are cut off.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from keywright.domain.errors import Invalid
from keywright.flows import operate, tokens
from keywright.flows.context import Context
from keywright.flows.operate import Act
from tests.browser import furnished
from tests.browser.conftest import Open
from tests.browser.crawl import crawl, kind_of
from tests.browser.furnished import Furnished
from tests.conftest import Prepared
from tests.life.people import hire

FIXTURE = Path(__file__).parents[1] / "fixtures/crypto/strings/blns.json"
STRINGS: list[str] = list(dict.fromkeys(json.loads(FIXTURE.read_text(encoding="utf-8"))))
KEPT = [one for one in STRINGS if one.isprintable() and one.strip()]
ALL = os.environ.get("KEYWRIGHT_HOSTILE") == "all"

_A_PAGE = 90  # a timeline shows a hundred entries, and some are of mails
# Each may do sixty things in a minute; all the strings in all the fields are some ten thousand.
_PEOPLE = 240 if ALL else 12
_LONGEST_MACHINE = 200
_LONGEST_TOKEN = 100
_HOLDER = "holder-of-many@example.com"
_NO_TEXT = ("hidden", "password", "radio", "checkbox", "submit", "number", "date")

_SHOWN = """() => [...new Set([...document.body.querySelectorAll("*")].map((one) => one.textContent))]"""
_FORMS = """() => [...document.forms].map((form, place) => [place, form.method, new URL(form.action).pathname,
  [...form.elements].filter((one) => one.name && ["INPUT", "TEXTAREA"].includes(one.tagName))
    .map((one) => [one.name, one.type])])"""
# Sends one field of one form every string, and says what is wrong with the answers.
_SEND = """async ({ place, field, strings }) => {
  const form = document.forms[place], wrong = [], blank = /^[\\s\\x1c-\\x1f\\x85]+|[\\s\\x1c-\\x1f\\x85]+$/g;
  const harmful = "script:not([src^='/static/']), iframe, object, embed, base, style, [style], " +
    "link:not([href^='/static/'], [href='/brand/colors.css'], [href='/brand/mark.svg']), meta[http-equiv]";
  for (const text of strings) {
    const told = new URLSearchParams(new FormData(form));
    told.set(field, text);
    const get = form.method === "get";
    const address = get ? `${form.action}?${told}` : form.action;
    const send = () => fetch(address, { method: form.method, body: get ? null : told, redirect: "manual" });
    // One person may do so much in a minute. Refusals count as well: who does not wait is never let in again.
    let answer = await send();
    const pause = () => Number(answer.headers.get("retry-after") ?? 60);
    // Nobody's account is shut for an hour, as anybody's would be: two dozen strings are nothing but blanks.
    const shut = () => pause() > 120;
    for (let tries = 0; answer.status === 429 && !shut() && tries < 3; tries++) {
      await new Promise((done) => setTimeout(done, 1000 * pause()));
      answer = await send();
    }
    if (answer.type === "opaqueredirect") continue;
    if (answer.status >= 500 || answer.status === 429 && !shut()) wrong.push(`${answer.status} for ${text}`);
    if (!(answer.headers.get("content-type") ?? "").startsWith("text/html")) continue;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const one of page.querySelectorAll(harmful)) wrong.push(`${one.outerHTML} from ${text}`);
    for (const one of page.querySelectorAll("*"))
      for (const { name, value } of one.attributes)
        if (name.startsWith("on") || /^\\s*(javascript|vbscript|data:text)/i.test(value) && name !== "value")
          wrong.push(`${name}="${value}" from ${text}`);
    for (const one of page.getElementsByName(field)) {
      const shown = one.tagName === "TEXTAREA" ? one.textContent : one.getAttribute("value") ?? "";
      if (["radio", "checkbox"].includes(one.type) || one.tagName === "META" || shown === "") continue;
      if (shown !== text && shown !== text.replace(blank, "")) wrong.push(`${shown} instead of ${text}`);
    }
  }
  return wrong;
}"""


class Lair(NamedTuple):
    place: Furnished
    licenses: list[str]  # of one holder, each on machines that are called so
    people: list[tuple[str, str]]  # sessions, in console and portal: one person may do so much in a minute


@pytest.fixture(scope="module")
def lair(tmp_path_factory: pytest.TempPathFactory, prepared_sqlite: Prepared) -> Iterator[Lair]:
    place = furnished.place_in(tmp_path_factory.mktemp("lair"), prepared_sqlite)
    place.environment["TRUSTED_PROXIES"] = "127.0.0.1"  # so that each door is knocked at from another address
    with furnished.opened(place) as context:
        furnished.sell(context)
        furnished.buy(context)
        furnished.events_of_every_kind(context)
        held = [_named(context, KEPT[at : at + _A_PAGE]) for at in range(0, len(KEPT), _A_PAGE)]
        _, place.staff_session, _ = hire(context, furnished.OWNER)
        people = [_somebody(context, number) for number in range(_PEOPLE)]
        place.portal_session = furnished.customer_session(context, _HOLDER)
        for text in STRINGS:
            _token(context, text)
    with furnished.serving(place):
        yield Lair(place, held, people)


def _somebody(context: Context, number: int) -> tuple[str, str]:
    email = f"owner-{number}@example.com"
    furnished.issue(context, email)
    return hire(context, email)[1], furnished.customer_session(context, email)


def _named(context: Context, names: list[str]) -> str:
    """A license on machines that are called so, with notes that say so."""
    license_, key = furnished.issue(context, _HOLDER)
    furnished.activate(context, key, *(one for one in names if len(one) <= _LONGEST_MACHINE))
    for name in names:
        operate.note(context, context.master.id, license_, Act("test", name))
    return license_


def _token(context: Context, text: str) -> None:
    """A token that is called so, made for this reason: both go to the audit."""
    if text in KEPT and len(text) <= _LONGEST_TOKEN:
        tokens.issue(context, context.master.id, text, "read", by="test", why=text)
        return
    with pytest.raises(Invalid):
        tokens.issue(context, context.master.id, text, "read", by="test", why=text)


def _shown(page: Page) -> set[str]:
    return set(page.evaluate(_SHOWN))


def test_rows_show_what_was_typed(lair: Lair, visit: Open) -> None:
    page = visit()
    lair.place.as_staff(page.context)
    lair.place.as_customer(page.context)
    for number, license_ in enumerate(lair.licenses):
        wanted = KEPT[number * _A_PAGE : (number + 1) * _A_PAGE]
        page.goto(f"{lair.place.url}/console/licenses/{license_}")
        shown = _shown(page)
        machines = [one for one in wanted if len(one) <= _LONGEST_MACHINE]
        assert [one for one in machines if one not in shown] == []
        assert [one for one in wanted if f"“{one.strip()}”" not in shown] == []
    page.goto(f"{lair.place.url}/portal/licenses")
    shown = _shown(page)
    assert len([one for one in KEPT if one in shown]) >= _A_PAGE


def test_fields_show_what_was_typed(lair: Lair, visit: Open) -> None:
    page = visit(ready_for="Failed to load resource")
    fields = _fields(page, lair)
    assert len(fields) >= 10, fields
    wrong, turns = [], count()
    for number, (path, place, name, is_door) in enumerate(fields):
        strings = STRINGS if ALL else STRINGS[number :: len(fields)]
        # So many at a time: of one person, or at a door from one address.
        most = 8 if is_door else 25
        for at in range(0, len(strings), most):
            _become(page, lair, next(turns), signed=not is_door)
            page.goto(f"{lair.place.url}{path}")
            asked = {"place": place, "field": name, "strings": strings[at : at + most]}
            wrong += [f"{path} {name}: {one}" for one in page.evaluate(_SEND, asked)]
    assert not wrong, "\n".join(wrong)
    _become(page, lair, 0, signed=True)
    for path in dict.fromkeys(path for path, *_ in fields):
        page.goto(f"{lair.place.url}{path}")  # what was kept is shown now, under the watch of `visit`


def _fields(page: Page, lair: Lair) -> list[tuple[str, int, str, bool]]:
    """Every text field that a link leads to: its page, the number of its form there, its name, and whether it
    is at a door."""
    found: dict[Any, tuple[str, int, str, bool]] = {}
    doors = ("/", "/portal", "/console/sign-in", "/buy/dashcaddy")

    def gather(page: Page, path: str) -> None:
        is_door = not lair.place.url or path.split("?")[0] in doors
        for place, method, action, fields in page.evaluate(_FORMS):
            for name, kind in fields:
                if kind not in _NO_TEXT:
                    found.setdefault((method, kind_of(action), name), (path, place, name, is_door))

    crawl(page, lair.place.url, doors, gather, without="/portal/licenses")
    _become(page, lair, 0, signed=True)
    crawl(page, lair.place.url, ["/portal/licenses"], gather, within="/portal", without="/seats?")
    crawl(page, lair.place.url, ["/console"], gather, within="/console")
    return list(found.values())


def _become(page: Page, lair: Lair, number: int, *, signed: bool) -> None:
    """Somebody else of the staff, or somebody at the door from another address."""
    page.context.clear_cookies()
    page.context.set_extra_http_headers({"x-forwarded-for": f"10.{number % 250}.{number // 250}.1"})
    if signed:
        lair.place.staff_session, lair.place.portal_session = lair.people[number % len(lair.people)]
        lair.place.as_staff(page.context)
        lair.place.as_customer(page.context)


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "';alert(1)//"]
)
def test_what_is_searched_for_stays_text(lair: Lair, visit: Open, text: str) -> None:
    page = visit()
    lair.place.as_staff(page.context)
    page.goto(f"{lair.place.url}/console/licenses?q={quote(text)}")
    assert page.get_by_label("Find a license").input_value() == text


def test_no_cell_of_the_exported_audit_is_a_formula(lair: Lair, visit: Open) -> None:
    page = visit()
    lair.place.as_staff(page.context)
    answer = page.request.get(f"{lair.place.url}/console/audit.csv")
    assert answer.status == 200
    cells = [cell for row in csv.reader(io.StringIO(answer.body().decode("utf-8-sig"))) for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []
    told = json.loads(page.request.get(f"{lair.place.url}/console/audit.json").body())
    reasons = {line["detail"].get("why") for line in told}
    assert [one for one in KEPT if len(one) <= _LONGEST_TOKEN and one not in reasons] == []
