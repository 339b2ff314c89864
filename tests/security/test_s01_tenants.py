"""S1: whoever belongs to one tenant reads and writes nothing of another one, whatever he asks for.

Generated from the route table: each route that names something is asked for what is another tenant's, and for
what is nobody's, by everybody that the asking tenant has. The two answers must be the same. The other tenant
has a row in every table there is, marked, so that also lists and pages show what they should not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import sqlalchemy as sa
from litestar.testing import TestClient

from keywright.domain.staff import ROLES
from keywright.flows import activating, checkout, licensing, operate, portal_sign_in, staff_sessions, tokens
from keywright.flows.context import Context
from keywright.flows.licensing import Ask
from keywright.flows.operate import Act, Order
from keywright.store import staff as people
from keywright.store.rows import Instant
from keywright.store.staff import Staff
from keywright.store.tables import metadata
from keywright.web.app import create_app
from keywright.web.portal import gate
from tests.life import world
from tests.life.payments import PayDesk, selling_through
from tests.life.sellers import Seller, with_sellers
from tests.security.served import link_for
from tests.web.conftest import BASE, Client, IdleEngine
from tests.web.route_table import RULES, Rule

# Whose something is, is asked in the same words on both databases.
only_sqlite = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)

MARK = "ofacme"
"""Stands in every text of the other tenant's rows that nothing else has written."""

NAMES = {
    "license_id": "licenses.id",
    "activation_id": "activations.id",
    "machine": "activations.id",
    "event_id": "inbox.id",
    "customer_id": "customers.id",
    "staff_id": "staff.id",
    "session_id": "staff_sessions.id",
    "factor_id": "staff_factors.id",
    "kid": "signing_keys.kid",
    "token_id": "tokens.id",
    "endpoint_id": "webhook_endpoints.id",
    "delivery_id": "webhook_deliveries.id",
    "mail": "announcements.id",
    "import_id": "imports.id",
    "run_id": "reconciliations.id",
    "reference": "checkouts.reference",
    "tenant_id": "tenants.id",
    "work": "provisionings.id",
    "workflow_id": "provisionings.id",
    "product": "products.slug",
    "plan": "plans.slug",
}
"""What each parameter of an address names. One that is in neither list fails the test."""

NO_ROWS = {
    "account": "a provider's event is believed by its signature",
    "secret": "a link, which is the credential itself",
    "slug": "whose shop it is; public",
    "provider": "stripe, paystack or paypal",
    "name": "a sample mail of the sandbox",
    "letter": "a sample mail of the console",
    "path": "a page of the framework",
    "rest": "pages that are not there",
}

# Who asks for a checkout by its reference proves nothing, so what he is told is public. Beneath whose root
# it is found is tested with the sites of tenants.
ROOTED = ("storefront", "checkout", "portal")

PRIVILEGED: dict[str, object] = {
    "tenant_id": "ten_0",
    "is_master": True,
    "licensed_user_count": 1_000_000,
    "customer_tenant_id": "ten_0",
    "mac": "0",
    "key_hash": "0",
    "standing": "ok",
    "entitled_until": "2099-01-01T00:00:00Z",
    "origin": "purchase",
    "head": "0",
    "no_such_member": 1,
}
"""Members that no body has: of rows, and of nothing at all."""


def mark_everything(context: Context, tenant: str) -> None:
    """A row of this tenant in each table where it has none, with the mark in every text."""
    with context.database.write() as connection:
        for table in metadata.sorted_tables:
            if "tenant_id" not in table.c or table.name == "closed_tenants":
                continue
            held = sa.select(sa.func.count()).where(table.c.tenant_id == tenant).select_from(table)
            if connection.execute(held).scalar_one() == 0:
                values = {c.name: _value(connection, c, tenant, context) for c in table.c if not c.computed}
                connection.execute(sa.insert(table).values(**values))


def _value(connection: sa.Connection, column: sa.Column[Any], tenant: str, context: Context) -> Any:
    if column.name == "tenant_id":
        return tenant
    for key in column.foreign_keys:
        theirs = key.column.table
        owner = theirs.c.tenant_id if "tenant_id" in theirs.c else theirs.c.id
        return connection.execute(sa.select(key.column).where(owner == tenant).limit(1)).scalar()
    if isinstance(column.type, Instant):
        return context.clock.now()
    if isinstance(column.type, sa.Boolean):
        return False
    if isinstance(column.type, sa.BigInteger | sa.Integer):
        return 1
    return f"{MARK}-{column.table.name}-{column.name}"


@dataclass
class Border:
    """A server with two sellers: brook, who asks, and acme, of whom nothing may be seen."""

    context: Context
    acme: Seller
    brook: Seller
    client: Client

    def session(self, role: str) -> str:
        """The secret of a session of brook's staff."""
        now, tenant = self.context.clock.now(), self.brook.tenant.id
        made = Staff(self.context.new_id("stf"), tenant, f"{role}@brook.example", role, now, ready_at=now)
        with self.context.database.write() as connection:
            people.insert(connection, made)
            return staff_sessions.start(self.context, connection, made, "full", "a test")

    def bearer(self, scope: str) -> dict[str, str]:
        _, text = tokens.create(self.context, self.brook.tenant, scope, scope)
        return {"authorization": f"Bearer {text}"}

    def ids(self, tenant: str) -> dict[str, str]:
        """What each parameter is for one thing of this tenant."""
        found = {}
        with self.context.database.read() as connection:
            for name, place in NAMES.items():
                table, _, column = place.partition(".")
                held = metadata.tables[table]
                owner = held.c.tenant_id if "tenant_id" in held.c else held.c.id
                query = sa.select(held.c[column]).where(owner == tenant).order_by(held.c[column]).limit(1)
                found[name] = str(connection.execute(query).scalar() or "nothing_1")
        return found

    def rows_of(self, tenant: str) -> dict[str, list[str]]:
        """All that is stored of a tenant."""
        found = {}
        with self.context.database.read() as connection:
            for table in metadata.sorted_tables:
                owner = table.c.get("tenant_id", table.c.id if table.name == "tenants" else None)
                if owner is not None:
                    query = sa.select(table).where(owner == tenant)
                    found[table.name] = sorted(map(repr, connection.execute(query).all()))
        return found

    def marks(self) -> set[str]:
        """What tells acme's rows: their ids, and what is marked."""
        found = {MARK, "acme-saw", "buyer@acme.example"}
        with self.context.database.read() as connection:
            for table in metadata.sorted_tables:
                if "tenant_id" in table.c and "id" in table.c and table.name not in ("timeline", "audit"):
                    query = sa.select(table.c.id).where(table.c.tenant_id == self.acme.tenant.id)
                    found |= {str(id_) for id_ in connection.execute(query).scalars()}
        return found


@pytest.fixture
def border(context: Context, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Border]:
    monkeypatch.setattr("keywright.web.console.gate._ACTS_A_MINUTE", 100_000)
    made, sellers = with_sellers(selling_through(context, PayDesk(clock)), "acme", "brook")
    for seller in sellers.values():
        furnish(seller)
    mark_everything(made, sellers["acme"].tenant.id)
    with ExitStack() as stack:
        client = stack.enter_context(TestClient(create_app(made, IdleEngine()), base_url=BASE))
        yield Border(made, sellers["acme"], sellers["brook"], client)


def furnish(seller: Seller) -> None:
    """A license with a machine, a customer who may come to the portal, a checkout, an event and a token."""
    serving, tenant = seller.serving, seller.tenant
    buyer = f"buyer@{tenant.slug}.example"
    _, key = operate.issue(serving, tenant.id, Order(f"{seller.product}/ever", buyer), Act("test"))
    asked = Ask(key=key, fingerprint=f"machine-of-{tenant.slug}")
    activating.activate(serving, licensing.check(serving, asked, fingerprint_needed=True))
    order = checkout.open_checkout(serving, checkout.Ask(f"{seller.product}/ever"))
    world.outcome(serving, seller.desk.paid(order.reference))
    tokens.create(serving, tenant, f"of{tenant.slug}", "read")


def named(rule: Rule) -> list[str]:
    return re.findall(r"{(\w+):", rule.path)


def path_of(rule: Rule, ids: dict[str, str]) -> str:
    return re.sub(r"{(\w+):\w+}", lambda found: ids.get(found[1], "stripe"), rule.path)


def nobodys(ids: dict[str, str]) -> dict[str, str]:
    """Ids of the same form that lead nowhere."""
    ends = {name: "1111" if id_.endswith("0000") else "0000" for name, id_ in ids.items()}
    return {name: id_[:-4] + ends[name] for name, id_ in ids.items()}


class Intruder:
    """Asks for the same of somebody's and of nobody's, and compares."""

    def __init__(self, border: Border) -> None:
        self.border = border
        self.theirs = border.ids(border.acme.tenant.id)
        self.nothing = nobodys(self.theirs)
        self.marks = border.marks()
        self.wrong: list[tuple[str, str, object]] = []
        self.asked: set[str] = set()

    def compare(self, who: str, rule: Rule, root: str = "", **request: Any) -> None:
        self.asked.add(rule.name)
        told = []
        for ids in (self.theirs, self.nothing):
            path = root + path_of(rule, ids)
            answer = self.border.client.request(rule.method, path, follow_redirects=False, **request)
            text = answer.text.replace(path, "PATH")
            for id_ in sorted(ids.values(), key=len, reverse=True):
                text = text.replace(id_, "ID")
            told.append((answer.status_code, answer.headers.get("location", "").replace(path, "PATH")))
            self.see(who, rule, text)
        if told[0] != told[1] or (told[0][0] < 400 and told[0][0] != 303):
            self.wrong.append((who, rule.name, told))

    def see(self, who: str, rule: Rule, text: str) -> None:
        seen = sorted(mark for mark in self.marks if mark in text)
        if seen:
            self.wrong.append((who, rule.name, seen))

    def look(self, who: str, rule: Rule, root: str = "", **request: Any) -> None:
        """Read a list or a page that names nothing."""
        self.asked.add(rule.name)
        answer = self.border.client.request(rule.method, root + rule.path, follow_redirects=False, **request)
        if answer.status_code >= 500:
            self.wrong.append((who, rule.name, answer.status_code))
        self.see(who, rule, answer.text)


def with_names(owner: str) -> list[Rule]:
    theirs = [rule for rule in RULES.values() if rule.credential.startswith(owner)]
    return [rule for rule in theirs if set(named(rule)) & NAMES.keys()]


def without_names(owner: str) -> list[Rule]:
    return [
        rule
        for rule in RULES.values()
        if rule.credential.startswith(owner) and rule.method == "GET" and not named(rule)
    ]


def test_every_parameter_of_an_address_is_known() -> None:
    assert {name for rule in RULES.values() for name in named(rule)} == NAMES.keys() | NO_ROWS.keys()


def test_tokens_reach_nothing_of_another_tenant(border: Border) -> None:
    intruder, before = Intruder(border), border.rows_of(border.acme.tenant.id)
    bodies: dict[str, Any] = {"extend": {"days": 3}, "note": {"text": "x"}}
    bodies["transfer"] = {"email": "thief@example.com"}
    for scope in tokens.SCOPES:
        headers = border.bearer(scope)
        for rule in with_names("token:"):
            body = {"json": bodies.get(rule.path.rpartition("/")[2], {})} if rule.method != "GET" else {}
            intruder.compare(scope, rule, headers=headers, **body)
        for rule in without_names("token:"):
            intruder.look(scope, rule, headers=headers)
    for rule in with_names("token:"):
        nothing: dict[str, Any] = {} if rule.method == "GET" else {"json": {}}
        intruder.compare("nobody", rule, **nothing)
    assert intruder.wrong == []
    assert border.rows_of(border.acme.tenant.id) == before
    assert len(intruder.asked) > 60


@only_sqlite
def test_staff_reach_nothing_of_another_tenant(border: Border) -> None:
    intruder, before = Intruder(border), border.rows_of(border.acme.tenant.id)
    for role in ROLES:
        session = border.session(role)
        headers = {"origin": BASE, "cookie": f"keywright_staff={session}"}
        check = staff_sessions.form_check(border.context, session)
        form = {"step": "do", "reason": "mine now", "check": check}
        for rule in with_names("staff:"):
            body: dict[str, Any] = {"data": form} if rule.method == "POST" else {}
            intruder.compare(role, rule, headers=headers, **body)
        for rule in without_names("staff:"):
            intruder.look(role, rule, headers=headers)
    assert intruder.wrong == []
    assert border.rows_of(border.acme.tenant.id) == before
    assert len(intruder.asked) > 100


@only_sqlite
def test_the_same_reach_what_is_their_own(border: Border) -> None:
    """What refuses above is whose it is, and nothing else."""
    ids, session = border.ids(border.brook.tenant.id), border.session("owner")
    staff = {"origin": BASE, "cookie": f"keywright_staff={session}"}
    real = {"license_id", "event_id", "kid", "customer_id", "product", "plan"}
    for kind, headers in (("staff:", staff), ("token:", border.bearer("admin"))):
        rules = [r for r in with_names(kind) if r.method == "GET" and set(named(r)) <= real]
        found = {r.name: border.client.get(path_of(r, ids), headers=headers).status_code for r in rules}
        assert len(rules) > 4
        assert set(found.values()) <= {200, 409}, found
    check = staff_sessions.form_check(border.context, session)
    rule = RULES["POST /console/licenses/{license_id:str}/suspend"]
    form = {"step": "do", "reason": "a control", "check": check}
    assert border.client.post(path_of(rule, ids), headers=staff, data=form).status_code == 200
    assert border.rows_of(border.brook.tenant.id)["licenses"] != []


@only_sqlite
def test_customers_reach_nothing_of_another_tenant(border: Border) -> None:
    intruder, before = Intruder(border), border.rows_of(border.acme.tenant.id)
    serving, tenant = border.brook.serving, border.brook.tenant.id
    browser = gate.fresh_browser()
    _, session = portal_sign_in.enter(serving, link_for(serving, "buyer@brook.example", browser), browser)
    form = {"check": portal_sign_in.form_check(serving, session)}
    headers = {"origin": BASE, "cookie": f"keywright_session_{tenant}={session}"}
    for rule in with_names("customer"):
        body = {"data": form} if rule.method == "POST" else {}
        intruder.compare("customer", rule, border.brook.root, headers=headers, **body)
    for rule in without_names("customer"):
        intruder.look("customer", rule, border.brook.root, headers=headers)
    assert intruder.wrong == []
    # At the other's door the same session, under either name, is none.
    for name in (f"keywright_session_{border.acme.tenant.id}", "keywright_session"):
        for root in (border.acme.root, ""):
            stolen = {"cookie": f"{name}={session}"}
            answer = border.client.get(f"{root}/portal/licenses", headers=stolen, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (303, f"{root}/portal")
    assert border.rows_of(border.acme.tenant.id) == before
    assert len(intruder.asked) > 10


@only_sqlite
def test_nobody_is_told_at_one_shop_what_is_of_another(border: Border) -> None:
    intruder, before = Intruder(border), border.rows_of(border.acme.tenant.id)
    for rule in RULES.values():
        if rule.owner in ("storefront", "checkout") and rule.path != "/buy.js" and "stream" not in rule.path:
            body: dict[str, Any] = {"data": {}} if rule.method == "POST" else {}
            if set(named(rule)) & NAMES.keys():
                intruder.compare("nobody", rule, border.brook.root, headers={"origin": BASE}, **body)
            elif rule.method == "GET":
                intruder.look("nobody", rule, border.brook.root)
    assert intruder.wrong == []
    assert border.rows_of(border.acme.tenant.id) == before
    assert len(intruder.asked) > 12


@only_sqlite
def test_no_body_has_members_that_are_not_its_own(border: Border) -> None:
    """Each member alone, at what is one's own, with the highest scope: the refusal names it."""
    ids, headers = border.ids(border.brook.tenant.id), border.bearer("admin")
    before, accepted = border.rows_of(border.brook.tenant.id), []
    asked = [rule for rule in RULES.values() if rule.credential.startswith("token:") and rule.method != "GET"]
    asked = [rule for rule in asked if rule.method != "DELETE" and rule.tenant != "master"]
    for rule in asked:
        for member, value in PRIVILEGED.items():
            path = path_of(rule, ids)
            answer = border.client.request(rule.method, path, headers=headers, json={member: value})
            if answer.status_code != 422 and not (answer.status_code == 404 and "nothing_1" in path):
                accepted.append((rule.name, member, answer.status_code))
    assert accepted == []
    assert len(asked) > 25
    opened = border.client.post(
        f"{border.brook.root}/api/checkout/session", json={"plan": "brook-saw/ever", "tenant_id": "ten_0"}
    )
    assert opened.status_code == 422
    assert border.rows_of(border.brook.tenant.id) == before
