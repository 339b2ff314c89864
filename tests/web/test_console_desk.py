"""The console's pages about the installation itself: audit, signing keys, settings, catalog, firms."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
import sqlalchemy as sa

from keywright.flows import admin_views, signing_keys, staff_factors
from keywright.flows.context import Context
from keywright.store import audit
from keywright.store.operating_tables import audit as audit_table
from keywright.web.console import sheets
from tests.conftest import TurnableClock
from tests.web.test_console import OWNER, PASSWORD, House, send

only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@pytest.fixture
def house(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    with ExitStack() as stack:
        made = House(context, stack)
        monkeypatch.setattr(staff_factors, "phone_time", lambda: made.phone)
        yield made


def text_of(page: httpx.Response) -> str:
    """A page as it is read: without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.text))


# -- audit ----------------------------------------------------------------------------------------------


def write_down(house: House, number: int, act: str = "token.created", **detail: str) -> None:
    with house.context.database.write() as connection:
        now = house.context.clock.now()
        tenant = house.context.master.id
        for one in range(number):
            audit.append(connection, tenant, "command line", act, f"tok_{one:04}", detail, now)


def test_the_audit_is_read_page_by_page_and_filtered(house: House, clock: TurnableClock) -> None:
    write_down(house, 60, why="<b>ticket</b> 7")
    clock.turn(days=3)
    owner = house.colleague()
    page = owner.client.get("/console/audit")
    assert "Token created" in page.text
    assert "&lt;b&gt;ticket&lt;/b&gt; 7" in page.text
    assert "tok_0059" in page.text
    assert "tok_0009" not in page.text
    older = re.search(r'href="(/console/audit\?before=\d+)"', page.text)
    assert older
    page = owner.client.get(older[1])
    assert "tok_0009" in page.text
    write_down(house, 1, act="key.rotated")
    assert "tok_0059" not in owner.client.get("/console/audit?act=key").text
    mine = owner.client.get(f"/console/audit?actor={OWNER}").text
    assert "Staff set up" in mine
    assert OWNER in mine.partition("<main")[2]  # called by his address, not by his id
    assert "tok_" not in mine
    day = f"{clock.now():%Y-%m-%d}"
    recent = text_of(owner.client.get(f"/console/audit?since={day}&until={day}"))
    assert "Key rotated" in recent
    assert "tok_0059" not in recent
    assert "tok_0001" in owner.client.get("/console/audit?subject=tok_0001").text
    assert "No entry here" in owner.client.get("/console/audit?subject=tok_9999").text


@only_sqlite
def test_a_filter_that_is_none_is_told(house: House) -> None:
    owner = house.colleague()
    for query in ("since=yesterday", "until=2027-02-30", "before=abc", f"act={'a' * 201}"):
        page = owner.client.get(f"/console/audit?{query}")
        assert page.status_code == 422, query
        if "before" not in query:
            assert owner.client.get(f"/console/audit.csv?{query}").status_code == 422, query
    assert owner.client.get("/console/audit?until=9999-12-31&since=0001-01-01").status_code == 200


def test_the_audit_leaves_as_files_without_a_formula(house: House) -> None:
    owner = house.colleague()
    write_down(house, 2, act="=cmd|'/C calc'!A0", why="+1")
    answer = owner.client.get("/console/audit.csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="keywright-audit.csv"'
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [line["act"] for line in lines[:2]] == ["'=cmd|'/C calc'!A0"] * 2
    assert [line["who"] for line in lines if line["act"] == "staff.set_up"] == [OWNER]
    told = owner.client.get("/console/audit.json").json()
    assert [one["act"] for one in told[:2]] == ["=cmd|'/C calc'!A0"] * 2
    assert told[0]["detail"] == {"why": "+1"}
    assert len(told) == len(lines)
    some = owner.client.get("/console/audit.json?act=staff").json()
    assert {one["act"].partition(".")[0] for one in some} == {"staff"}


@only_sqlite
def test_a_large_audit_leaves_whole(house: House) -> None:
    owner = house.colleague()
    write_down(house, 2300, why="the same long reason again and again, so that there is more than one piece")
    told = owner.client.get("/console/audit.json?act=token").json()
    assert [one["subject"] for one in told] == [f"tok_{one:04}" for one in reversed(range(2300))]
    assert owner.client.get("/console/audit.json?act=nothing").json() == []


@pytest.mark.parametrize(
    "typed",
    [
        *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "'=1", '"=1', "|x", "%x"),
        *("\uff1d1", "\uff0b1", "\uff0d1", "\uff201", "\u00a0=1"),
    ],
)
def test_what_a_spreadsheet_would_compute_is_text(typed: str) -> None:
    (row,) = csv.reader(io.StringIO(sheets.rows([[typed, "plain", 7]]).decode(), newline=""))
    assert row == [f"'{typed}", "plain", "7"]


def test_the_chain_is_checked(house: House) -> None:
    owner = house.colleague()
    write_down(house, 3)
    page = send(owner.client, "/console/audit/check", owner.client.get("/console/audit"))
    assert "The chain holds" in page.text
    with house.context.database.write() as connection:
        connection.execute(
            sa.update(audit_table).where(audit_table.c.seq == 2).values(subject="somebody else")
        )
    page = send(owner.client, "/console/audit/check", page)
    assert "The chain breaks at entry 2" in page.text


@only_sqlite
def test_the_audit_is_for_those_who_decide(house: House) -> None:
    house.colleague()
    helper = house.colleague("helper@example.com", "support")
    for path in ("/console/audit", "/console/audit.csv", "/console/audit.json"):
        assert helper.client.get(path).status_code == 403, path
    assert "/console/audit" not in helper.client.get("/console").text


# -- signing keys ---------------------------------------------------------------------------------------


def states(house: House) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in signing_keys.show(house.context, house.context.master.id).items:
        found.setdefault(one.type, []).append(one.state)
    return {type_: sorted(of) for type_, of in found.items()}


def kid_of(house: House, state: str, type_: str = "lease+jwt") -> str:
    found = signing_keys.show(house.context, house.context.master.id).items
    return next(one.kid for one in found if (one.type, one.state) == (type_, state))


def test_keys_rotate_after_a_preview(house: House) -> None:
    owner = house.colleague()
    page = owner.client.get("/console/keys")
    signing, next_ = kid_of(house, "active"), kid_of(house, "next")
    assert signing in page.text
    assert "/.well-known/jwks.json" in page.text
    form = owner.client.get("/console/keys/rotate")
    before = states(house)
    page = send(owner.client, "/console/keys/rotate", form, type="lease+jwt", reason="a year is over")
    shown = text_of(page)
    assert f"Leases: {signing} Signs Counts" in shown
    assert f"Leases: {next_} Next Signs" in shown
    assert "A new key Not there Next" in shown
    assert "programs that carry the key set along" in shown
    assert states(house) == before
    page = send(
        owner.client, "/console/keys/rotate", page, type="lease+jwt", reason="a year is over", step="do"
    )
    assert "The next keys sign now" in page.text
    assert states(house)["lease+jwt"] == ["active", "next", "verify-only"]
    assert states(house)["lic+jwt"] == ["active", "next"]
    assert kid_of(house, "active") == next_
    assert house.context.signer.active_key(house.context.master.id, "lease+jwt") == next_
    (entry,) = admin_views.list_audit(house.context, house.context.master.id, {"act": "key"}).items
    assert (entry.act, entry.subject, entry.detail["why"]) == ("key.rotated", signing, "a year is over")
    assert entry.actor.startswith("staff stf_")


def test_a_key_is_revoked_after_a_preview(house: House) -> None:
    owner = house.colleague()
    stolen, next_ = kid_of(house, "active", "lic+jwt"), kid_of(house, "next", "lic+jwt")
    path = f"/console/keys/{stolen}/revoke"
    page = send(owner.client, path, owner.client.get(path), reason="stolen")
    assert f"{stolen} Signs Revoked" in text_of(page)
    assert kid_of(house, "active", "lic+jwt") == stolen
    page = send(owner.client, path, page, reason="stolen", step="do")
    assert "The key is revoked" in page.text
    assert kid_of(house, "revoked", "lic+jwt") == stolen
    assert kid_of(house, "active", "lic+jwt") == next_
    assert house.acts()[-1] == "key.revoked"
    assert owner.client.get("/console/keys/nothing/revoke").status_code == 404


@only_sqlite
def test_changing_keys_asks_who_one_is_once_more(house: House, clock: TurnableClock) -> None:
    owner = house.colleague()
    form = owner.client.get("/console/keys/rotate")
    clock.turn(minutes=11)
    asked = send(owner.client, "/console/keys/rotate", form, type="lease+jwt", step="do")
    assert "/console/you/prove" in str(asked.url)
    assert "key.rotated" not in house.acts()
    fields = {"password": PASSWORD, "code": house.code(owner.secret), "onward": "/console/keys/rotate"}
    page = send(owner.client, "/console/you/prove", asked, **fields)
    assert page.url.path == "/console/keys/rotate"
    house.later()
    clock.turn(minutes=11)
    asked = owner.client.get("/console/keys/rotate")
    for elsewhere in ("//example.com", "https://example.com/console", "/console/../api", "/console?x=1"):
        told = {**fields, "code": house.code(owner.secret), "onward": elsewhere}
        page = send(owner.client, "/console/you/prove", asked, **told)
        assert page.url.path == "/console/you", elsewhere
        house.later()


@only_sqlite
def test_keys_are_seen_by_all_and_changed_by_those_who_decide(house: House) -> None:
    house.colleague()
    reader = house.colleague("reader@example.com", "read-only")
    helper = house.colleague("helper@example.com", "support")
    for colleague in (reader, helper):
        page = colleague.client.get("/console/keys")
        assert page.status_code == 200
        assert "rotate" not in page.text.lower().partition("<main")[2].partition("what the states mean")[0]
        assert colleague.client.get("/console/keys/rotate").status_code == 403
        answer = send(colleague.client, "/console/keys/rotate", page, step="do")
        assert answer.status_code == 403
    assert set(states(house)["lease+jwt"]) == {"active", "next"}
