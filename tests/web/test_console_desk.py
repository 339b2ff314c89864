"""The console's pages about the installation itself: audit, signing keys, settings, catalog, firms."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from keywright import bootstrap
from keywright.domain.errors import MailDelayed
from keywright.domain.plan import Terms
from keywright.flows import (
    admin_views,
    catalog,
    catalog_file,
    firms,
    license_views,
    operate,
    signing_keys,
    staff,
    staff_factors,
    tokens,
)
from keywright.flows.catalog_file import Catalog
from keywright.flows.context import Context
from keywright.flows.operate import Act, Order
from keywright.ports import Mail
from keywright.sandbox.app import SandboxServer
from keywright.signing.hmac_key import DerivedSecrets
from keywright.signing.keyring import Keyring
from keywright.store import audit, tenants
from keywright.store.operating_tables import audit as audit_table
from keywright.store.tables import plans, products
from keywright.store.tenants import Tenant
from keywright.web.console import sheets
from tests.conftest import Prepared, TurnableClock, test_settings
from tests.life import world
from tests.web.test_console import ORIGIN, OWNER, PASSWORD, Colleague, House, send

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
    first = f"{clock.now() - timedelta(days=3):%Y-%m-%d}"
    page = owner.client.get(f"/console/audit?act=token&until={first}")
    assert "tok_0059" in html.unescape(page.text)
    older = re.search(r'href="(/console/audit\?[^"]*before=\d+)"', page.text)
    assert older
    rest = owner.client.get(html.unescape(older[1])).text
    assert "tok_0009" in rest
    assert "tok_0010" not in rest
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


# -- settings -------------------------------------------------------------------------------------------


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxServer]:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    with SandboxServer(data_dir=folder) as running:
        yield running


@pytest.fixture
def bare(
    prepared: Prepared, clock: TurnableClock, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    """An installation in sandbox mode that nobody has told a provider's credentials."""
    mode = {"keywright_mode": "sandbox", "stripe_secret_key": None, "stripe_webhook_secret": None}
    made = test_settings(prepared.url, prepared.folder, **mode, stripe_api_base=sandbox.url)
    database = bootstrap.open_database(made)
    context = replace(bootstrap.build(made, database), clock=clock)
    with ExitStack() as stack:
        of = House(context, stack)
        monkeypatch.setattr(staff_factors, "phone_time", lambda: of.phone)
        yield of
    database.dispose()


STRIPE = "/console/settings/providers/stripe"


def test_a_provider_is_set_up_and_its_key_never_shown(bare: House, sandbox: SandboxServer) -> None:
    owner = bare.colleague()
    page = owner.client.get("/console/settings")
    assert text_of(page).count("Not set up") == 3
    form = owner.client.get(STRIPE)
    assert 'type="password"' in form.text
    page = send(owner.client, STRIPE, form, STRIPE_SECRET_KEY=sandbox.api_key, reason="going live soon")
    shown = text_of(page)
    assert "Kept the credentials in the vault" in shown
    assert "made the endpoint we_" in shown.replace("Made", "made")
    assert "Restart the server" in shown
    (secret,) = sandbox.sandbox.state.endpoint_secrets.values()
    settings = owner.client.get("/console/settings")
    assert "Secret key In the vault, test, since" in text_of(settings)
    assert "Restart the server" in settings.text
    again = owner.client.get(STRIPE)
    for told in (page, settings, again):
        assert sandbox.api_key not in told.text
        assert secret not in told.text
    (first, *_) = admin_views.list_audit(bare.context, bare.context.master.id, {"act": "provider"}).items
    assert first.detail["why"] == "going live soon"
    assert first.actor.startswith("staff stf_")
    # What is there stays when nothing is typed.
    page = send(owner.client, STRIPE, again)
    assert "Nothing: the endpoint we_" in text_of(page)


@only_sqlite
def test_what_is_no_key_is_told_apart(bare: House, sandbox: SandboxServer) -> None:
    owner = bare.colleague()
    form = owner.client.get(STRIPE)
    for typed, told in (
        ("", "set STRIPE_SECRET_KEY"),
        ("whsec_0123456789abcdef", "That is a webhook secret"),
        ("pk_test_0123456789", "That is the publishable key"),
        ("rk_live_0123456789", "KEYWRIGHT_MODE=sandbox refuses live keys"),
        ("dk_test_0123456789", "begins with sk_ or rk_"),
        ("sk_test one two", "That is no key"),
        ("sk_test_of_nobody", "key"),
    ):
        page = send(owner.client, STRIPE, form, STRIPE_SECRET_KEY=typed)
        problem = re.search(r'<p class="problem" role="alert">([^<]*)', page.text)
        assert page.status_code == 422, typed
        assert problem, typed
        assert told in problem[1], typed
        assert not typed or typed not in page.text, typed
    page = send(owner.client, f"{STRIPE.replace('stripe', 'paypal')}", form, PAYPAL_CLIENT_ID="abc")
    assert "All parts of the credentials are needed together" in page.text
    assert not sandbox.sandbox.state.endpoint_secrets
    assert owner.client.get(STRIPE.replace("stripe", "nobody")).status_code == 404


def test_a_test_tells_mistakes_apart(bare: House, sandbox: SandboxServer) -> None:
    owner = bare.colleague()
    before = send(owner.client, f"{STRIPE}/test", owner.client.get("/console/settings"))
    assert "Not set up: set STRIPE_SECRET_KEY" in text_of(before)
    send(owner.client, STRIPE, owner.client.get(STRIPE), STRIPE_SECRET_KEY=sandbox.api_key)
    page = send(owner.client, f"{STRIPE}/test", before)
    shown = text_of(page)
    assert "Something is wrong" in shown
    assert "API key Well Test mode" in shown
    assert "Server Wrong The credentials were changed since this server started" in shown
    assert "Webhook Wrong" in shown  # nobody serves the address in here
    assert "is sent exactly what is read" in shown
    assert sandbox.api_key not in page.text


@only_sqlite
def test_credentials_are_for_owners_alone(bare: House) -> None:
    bare.colleague()
    admin = bare.colleague("admin@example.com", "admin")
    page = admin.client.get("/console/settings")
    assert "Set up" not in page.text.partition("<main")[2]
    assert admin.client.get(STRIPE).status_code == 403
    assert send(admin.client, STRIPE, page, STRIPE_SECRET_KEY="sk_test_1").status_code == 403
    assert send(admin.client, "/console/settings/tokens/new", page, step="do").status_code == 403
    helper = bare.colleague("helper@example.com", "support")
    assert helper.client.get("/console/settings").status_code == 403


@only_sqlite
def test_a_test_mail_goes_to_whoever_asks(house: House) -> None:
    house.context = replace(house.context, policy=replace(house.context.policy, outbox=None))
    owner = house.colleague()
    page = send(owner.client, "/console/settings/mail/test", owner.client.get("/console/settings"))
    assert "The mail left this server" in page.text
    (mail,) = house.post.sent
    assert mail.to == OWNER
    assert house.context.master.name in mail.subject
    assert house.acts()[-1] == "mail.tried"


class Deaf:
    """A mail server that takes nothing."""

    def send(self, _mail: Mail) -> None:
        raise MailDelayed("the mail server cannot be used: 535 5.7.8")


@only_sqlite
def test_a_mail_that_does_not_leave_is_told(house: House) -> None:
    house.context = replace(house.context, mailer=Deaf())
    owner = house.colleague()
    page = send(owner.client, "/console/settings/mail/test", owner.client.get("/console/settings"))
    assert page.status_code == 409
    assert "The mail did not leave: the mail server cannot be used: 535 5.7.8." in page.text


def test_a_token_is_shown_once_and_revoked(house: House) -> None:
    owner = house.colleague()
    path = "/console/settings/tokens/new"
    fields = {"name": "the <shop>", "scope": "write", "reason": "T-7"}
    page = send(owner.client, path, owner.client.get(path), **fields)
    assert "Token “the &lt;shop&gt;”" in page.text
    assert tokens.list_all(house.context, house.context.master.id) == []
    page = send(owner.client, path, page, **fields, step="do")
    found = re.search(r">(kw_[0-9a-z]{59})</pre>", page.text)
    assert found
    made = tokens.find(house.context, found[1])
    assert made is not None
    assert (made.name, made.scope) == ("the <shop>", "write")
    listed = owner.client.get("/console/settings")
    assert made.id in listed.text
    assert found[1] not in listed.text
    path = f"/console/settings/tokens/{made.id}/revoke"
    page = send(owner.client, path, owner.client.get(path), reason="lost")
    assert tokens.find(house.context, found[1]) is not None
    page = send(owner.client, path, page, reason="lost", step="do")
    assert "The token is revoked" in page.text
    assert tokens.find(house.context, found[1]) is None
    assert house.acts()[-2:] == ["token.created", "token.revoked"]
    assert owner.client.get(path).status_code == 404


@only_sqlite
def test_a_token_that_is_none_is_not_made(house: House) -> None:
    owner = house.colleague()
    path = "/console/settings/tokens/new"
    form = owner.client.get(path)
    for fields in ({"name": " ", "scope": "read"}, {"name": "x", "scope": "root"}, {"scope": "read"}):
        for step in ("", "do"):
            assert send(owner.client, path, form, **fields, step=step).status_code == 422, fields
    assert tokens.list_all(house.context, house.context.master.id) == []


# -- catalog --------------------------------------------------------------------------------------------

CATALOG = """
[[product]]
slug = "app"
name = "The <App>"
key_prefix = "APP"
[[product.plan]]
slug = "pro"
name = "Pro"
code = 3
entitlements = ["export"]
limits = { projects = 5 }
slack = "5h"
notices = { renewed = true }
[[product.plan.prices]]
key = "monthly"
provider = "stripe"
id = "price_1"
amount = 4900
currency = "USD"
interval = "month"
"""
EDIT = "/console/catalog/edit"
FORM = "application/x-www-form-urlencoded"
PLAN = "/console/catalog/plans/app/pro"


def typed_in(page: httpx.Response) -> str:
    """What is in the editor."""
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page.text, re.DOTALL)
    assert found, page.text
    return html.unescape(found[1])


def hidden(page: httpx.Response) -> dict[str, str]:
    """What a preview sends on."""
    found = re.findall(r'<input type="hidden" name="(mark|reason)" value="([^"]*)"', page.text)
    return {**dict(found), "text": typed_in(page), "step": "do"}


def test_an_amount_is_spelled_out_beside_its_field(house: House) -> None:
    catalog.apply(house.context, catalog_file.parse(CATALOG, source="test", environment={}))
    (price, *_) = on_sale(house).products[0].plans[0].prices
    page = house.colleague().client.get(PLAN).text
    assert price.amount >= 0
    assert re.search(r'data-spelled="0">= [^<]*[0-9]', page)
    assert re.search(r'data-spelled="\d+"></p>', page)  # of a price that is not there yet


def on_sale(house: House) -> Catalog:
    found = catalog.load(house.context)
    assert found is not None
    return found


def stocked(house: House) -> Colleague:
    catalog.apply(house.context, catalog_file.parse(CATALOG, source="test", environment={}))
    return house.colleague()


def test_the_catalog_is_edited_as_text(house: House) -> None:
    owner = house.colleague()
    page = owner.client.get("/console/catalog")
    assert "Nothing is on sale yet" in page.text
    page = send(owner.client, EDIT, owner.client.get(EDIT), text=CATALOG, reason="T-1")
    assert "app/pro New" in text_of(page)
    assert catalog.load(house.context) is None
    page = send(owner.client, EDIT, page, **hidden(page))
    assert "The catalog is changed" in page.text
    assert "The &lt;App&gt;" in page.text
    assert "$49 a month, Stripe" in text_of(page)
    before = on_sale(house)
    exported = owner.client.get("/console/catalog.toml")
    assert exported.headers["content-disposition"] == 'attachment; filename="catalog.toml"'
    assert catalog_file.parse(exported.text, source="test", environment={}) == before
    assert typed_in(owner.client.get(EDIT)).strip() == exported.text.strip()
    changed = exported.text.replace("projects = 5", "projects = 7").replace("\n", "\r\n")
    page = send(owner.client, EDIT, page, text=changed)
    assert "app/pro.limits.projects Changed 5 7" in text_of(page)
    send(owner.client, EDIT, page, **hidden(page))
    assert on_sale(house).products[0].plans[0].terms.limits == {"projects": 7}
    (newer, older) = admin_views.list_audit(house.context, house.context.master.id, {"act": "catalog"}).items
    assert older.detail["why"] == "T-1"
    assert newer.detail["changes"] == ["changed app/pro.limits.projects"]
    page = send(owner.client, EDIT, page, text=changed)
    assert "Nothing would change" in page.text


@only_sqlite
def test_what_is_wrong_in_the_text_is_told_with_its_lines(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYWRIGHT_TEST_SECRET", "a secret of the server")
    owner = stocked(house)
    page = owner.client.get(EDIT)
    for text, told in (
        (
            CATALOG.replace('"Pro"', '"Pro"\ngrase = "3d"'),
            'Line 9: Unknown member "grase", did you mean grace?',
        ),
        (CATALOG.replace('"USD"', '"usd"'), "Line 19: Currency must be an ISO 4217 currency code"),
        ("", "No [[product]] in this file"),
        ("[[product", "Line 1: Not TOML"),
        (CATALOG.replace("code = 3", "code = 4"), "App/pro: code is 3 and never changes"),
        (CATALOG.replace('"Pro"', '"$KEYWRIGHT_TEST_SECRET"'), "KEYWRIGHT_TEST_SECRET is not set"),
        ("#" * 262_145, "The text is longer than"),
    ):
        answer = send(owner.client, EDIT, page, text=text)
        assert answer.status_code == 422, told
        assert told in html.unescape(text_of(answer)), told
        assert typed_in(answer) == text
        assert "a secret of the server" not in answer.text
        assert send(owner.client, EDIT, page, text=text, mark="x", step="do").status_code == 422
    assert send(owner.client, EDIT, page, text="#" * 900_000).status_code == 413
    many = send(owner.client, EDIT, page, text="".join(f"[a{number}]\n" for number in range(130)))
    assert many.status_code == 422
    assert "And 30 more." in many.text
    flood = owner.client.post(EDIT, content=b"a&" * 2001, headers={**ORIGIN, "content-type": FORM})
    assert (flood.status_code, "too many fields" in flood.text) == (422, True)
    assert "catalog.applied" not in house.acts()[1:]


@only_sqlite
def test_what_was_not_looked_at_is_not_done(house: House) -> None:
    owner = stocked(house)
    dearer = CATALOG.replace("4900", "5900")
    looked = send(owner.client, EDIT, owner.client.get(EDIT), text=dearer)
    with_more = CATALOG.replace("projects = 5", "projects = 9")
    catalog.apply(house.context, catalog_file.parse(with_more, source="test", environment={}))
    page = send(owner.client, EDIT, looked, **hidden(looked))
    assert page.status_code == 409
    assert "The catalog was changed meanwhile" in page.text
    assert "app/pro.limits.projects Changed 9 5" in text_of(page)
    assert on_sale(house).products[0].plans[0].terms.limits == {"projects": 9}


def test_a_plan_is_edited_in_a_form(house: House) -> None:
    owner = stocked(house)
    page = owner.client.get(PLAN)
    assert 'value="Pro"' in page.text
    assert "projects = 5" in page.text
    fields = {
        "name": 'Pro "plus" \\ #1',
        "grace": "3d",
        "entitlements": "export\r\nsync",
        "limits": "seats = 9",
    }
    price = {"key-0": "monthly", "provider-0": "stripe", "id-0": "price_1", "amount-0": "5900"}
    price |= {"currency-0": "USD", "interval-0": "month"}
    more = {"key-1": "yearly", "provider-1": "stripe", "id-1": "price_2", "amount-1": "59000"}
    more |= {"currency-1": "USD", "interval-1": "year"}
    page = send(owner.client, PLAN, page, **fields, **price, **more)
    shown = text_of(page)
    assert "app/pro.grace Changed" in shown
    assert "app/pro.limits.projects Off sale" in shown
    assert "app/pro.prices[yearly stripe USD year] New" in shown
    before = on_sale(house).products[0].plans[0]
    page = send(owner.client, EDIT, page, **hidden(page))
    assert "The catalog is changed" in page.text
    plan = on_sale(house).products[0].plans[0]
    assert (plan.name, plan.terms.grace) == ('Pro "plus" \\ #1', 3 * 86400)
    assert (plan.terms.entitlements, plan.terms.limits) == (("export", "sync"), {"seats": 9})
    assert sorted((one.key, one.amount) for one in plan.prices) == [("monthly", 5900), ("yearly", 59000)]
    # What is not in the form stays.
    assert (plan.code, plan.terms.slack, plan.terms.notices) == (3, 5 * 3600, before.terms.notices)
    page = send(owner.client, PLAN, page, **fields, **price, **more, **{"drop-1": "yes"})
    assert "app/pro.prices[yearly stripe USD year] Off sale" in text_of(page)
    assert owner.client.get("/console/catalog/plans/app/none").status_code == 404


@only_sqlite
def test_what_is_wrong_in_a_plan_is_told_in_the_same_words(house: House) -> None:
    owner = stocked(house)
    form = owner.client.get(PLAN)
    usual = {"name": "Pro", "key-0": "m", "provider-0": "stripe", "id-0": "price_1", "amount-0": "4900"}
    usual |= {"currency-0": "USD", "interval-0": "month"}
    for changed, told in (
        ({"name": ""}, "Name must be 1 to 200 printable characters"),
        ({"grace": "soon"}, 'Grace must be a duration such as "12h", "14d" or "1y", not "soon"'),
        ({"amount-0": "49.00"}, "Amount must be a whole number, not a text"),
        ({"limits": "projects"}, "Projects must be a whole number, not a text"),
        ({"limits": "a = 1\na = 2"}, "Not TOML"),
        ({"term": "perpetual"}, 'Interval needs term = "subscription", the plan has "perpetual"'),
        ({"quantity": '"; drop'}, "Quantity must be one of seats, keys"),
    ):
        answer = send(owner.client, PLAN, form, **{**usual, **changed})
        assert answer.status_code == 422, told
        assert told in html.unescape(text_of(answer)), told
    assert on_sale(house).products[0].plans[0].terms.grace == 14 * 86400


@only_sqlite
def test_the_catalog_is_seen_by_all_and_changed_by_those_who_decide(house: House) -> None:
    stocked(house)
    helper = house.colleague("helper@example.com", "support")
    page = helper.client.get("/console/catalog")
    assert "Pro" in page.text
    assert EDIT not in page.text
    assert helper.client.get("/console/catalog.toml").status_code == 200
    for path in (EDIT, PLAN):
        assert helper.client.get(path).status_code == 403
        assert send(helper.client, path, page, text=CATALOG, step="do").status_code == 403


# -- licenses and firms ---------------------------------------------------------------------------------

SECRET_OF_FIRM = "/console/firms/secret"


@pytest.fixture
def firm_house(context: Context, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A house that sells `dashcaddy/plan-0` to firms."""
    with ExitStack() as stack:
        made = House(
            replace(context, firm_secrets=DerivedSecrets("a master secret of this very test")), stack
        )
        monkeypatch.setattr(staff_factors, "phone_time", lambda: made.phone)
        world.stock(made.context, price_firm=Terms(profile="hmac", term=365 * 86400))
        with made.context.database.write() as connection:
            connection.execute(sa.update(products).values(code=1))
            connection.execute(sa.update(plans).values(code=1))
        yield made


def issued_to(house: House, firm: str) -> str:
    order = Order("dashcaddy/plan-0", "holder@example.com", firm=firm)
    return operate.issue(house.context, house.context.master.id, order, Act("test"))[0].id


def test_seats_notes_and_firms_are_given_after_a_preview(firm_house: House) -> None:
    owner = firm_house.colleague()
    context, id_ = firm_house.context, issued_to(firm_house, "Acme & Sons")
    tenant = context.master.id
    for act, fields, told in (
        ("seats", {"seats": "7"}, "Seats 1 7"),
        ("firm", {"firm": "Other <Ltd>"}, "Firm Acme &amp; Sons Other &lt;Ltd&gt;"),
        ("note", {}, "Nothing of the license would change"),
    ):
        before = license_views.show(context, tenant, id_)
        path = f"/console/licenses/{id_}/{act}"
        page = send(owner.client, path, owner.client.get(path), **fields, reason="asked on the phone")
        assert told in text_of(page), act
        assert license_views.show(context, tenant, id_) == before
        page = send(owner.client, path, page, **fields, reason="asked on the phone", step="do")
        assert "asked on the phone" in page.text, act
    after = license_views.show(context, tenant, id_)
    assert (after.seats, after.firm) == (7, "Other <Ltd>")
    kinds = [one.kind for one in license_views.timeline_of(context, tenant, id_).items]
    assert kinds[-3:] == ["license.seats_changed", "license.firm_named", "license.noted"]


@only_sqlite
def test_acts_that_say_too_little_are_refused(firm_house: House) -> None:
    owner = firm_house.colleague()
    id_ = issued_to(firm_house, "Acme & Sons")
    for act, fields in (
        ("seats", {"seats": "many"}),
        ("seats", {"seats": "0"}),
        ("firm", {"firm": " "}),
        ("note", {"reason": ""}),
        ("extend", {"days": "000001" + "9" * 5000}),
        ("extend", {"days": "36501"}),
    ):
        path = f"/console/licenses/{id_}/{act}"
        assert send(owner.client, path, owner.client.get(path), **fields).status_code == 422, (act, fields)


def test_a_firms_secret_is_shown_once_and_changed(firm_house: House) -> None:
    owner = firm_house.colleague()
    id_ = issued_to(firm_house, "Acme & Sons")
    license_page = owner.client.get(f"/console/licenses/{id_}")
    link = re.search(r'href="(/console/firms/secret\?firm=[^"]+)"', license_page.text)
    assert link
    page = owner.client.get(html.unescape(link[1]))
    assert 'value="Acme &amp; Sons"' in page.text
    fields = {"firm": "Acme & Sons", "reason": "new installation"}
    page = send(owner.client, SECRET_OF_FIRM, page, **fields)
    assert "Number 1, shown to you" in text_of(page)
    assert "firm.secret_shown" not in firm_house.acts()
    page = send(owner.client, SECRET_OF_FIRM, page, **fields, step="do")
    first = re.search(r">(1\.[\w-]{40,})</pre>", page.text)
    assert first
    page = send(owner.client, SECRET_OF_FIRM, page, **fields, rotate="yes")
    assert "Number 1 Number 2" in text_of(page)
    page = send(owner.client, SECRET_OF_FIRM, page, **fields, rotate="yes", step="do")
    second = re.search(r">(2\.[\w-]{40,})</pre>", page.text)
    assert second
    act = Act("test")
    shown = firms.secrets_of(firm_house.context, firm_house.context.master.id, "Acme & Sons", act)
    assert shown.secret == second[1]
    (_, newest, *_) = admin_views.list_audit(
        firm_house.context, firm_house.context.master.id, {"act": "firm"}
    ).items
    assert (newest.detail["why"], newest.detail["rotated"]) == ("new installation", True)
    audited = owner.client.get("/console/audit").text
    assert first[1] not in audited
    assert second[1] not in audited


@only_sqlite
def test_a_firms_secret_needs_a_firm_a_product_and_somebody_who_decides(firm_house: House) -> None:
    owner = firm_house.colleague()
    page = owner.client.get(SECRET_OF_FIRM)
    for fields in ({"firm": ""}, {"firm": "Acme", "product": "nothing"}):
        assert send(owner.client, SECRET_OF_FIRM, page, **fields).status_code == 422, fields
        assert send(owner.client, SECRET_OF_FIRM, page, **fields, step="do").status_code == 422, fields
    helper = firm_house.colleague("helper@example.com", "support")
    assert helper.client.get(SECRET_OF_FIRM).status_code == 403


# -- tenants --------------------------------------------------------------------------------------------


def test_staff_of_another_tenant_see_their_own(house: House) -> None:
    """The tenant is that of whoever is signed in: nothing of the master tenant shows, or can be changed."""
    ours = house.colleague()
    catalog.apply(house.context, catalog_file.parse(CATALOG, source="test", environment={}))
    context, other = house.context, Tenant("ten_other", "other", "Other seller")
    token, _ = tokens.create(context, context.master, "of the master", "read")
    keyring = context.vault
    assert isinstance(keyring, Keyring)
    with context.database.write() as connection:
        tenants.insert(connection, other, context.clock.now())
        keyring.create(connection, other.id, context.clock.now())
    _, link = staff.create(context, other.id, "their@example.com", "owner", "test")
    their = house.set_up(link, "their@example.com", house.browser())
    kid = kid_of(house, "active")
    settings = their.client.get("/console/settings")
    assert "of the master" not in settings.text
    assert text_of(settings).count("Not set up") == 3, "the environment's credentials are the master tenant's"
    assert kid not in their.client.get("/console/keys").text
    assert "Nothing is on sale yet" in their.client.get("/console/catalog").text
    assert OWNER not in their.client.get("/console/audit").text
    assert OWNER not in their.client.get("/console/audit.csv").text
    for path in (
        *(PLAN, f"/console/keys/{kid}/revoke"),
        f"/console/settings/tokens/{token.id}/revoke",
    ):
        assert their.client.get(path).status_code == 404, path
        answer = send(their.client, path, settings, name="x", step="do")
        assert answer.status_code == 404, path
    tried = send(their.client, f"{STRIPE}/test", settings)
    assert "Not set up: run: keywright provider setup stripe --tenant other" in text_of(tried)
    page = send(their.client, EDIT, settings, text=CATALOG.replace("The <App>", "Theirs"))
    page = send(their.client, EDIT, page, **hidden(page))
    assert "Theirs" in page.text
    assert "The &lt;App&gt;" in ours.client.get("/console/catalog").text
