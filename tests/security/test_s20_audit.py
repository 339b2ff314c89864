"""S20: whatever staff do leaves who, what and when in a chain that shows when it was touched.

Each route that changes something has a line here: what it is sent, and what must stand in the tenant's audit,
or on the license's timeline, after it. A new route without its line fails. Commands are told in the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sqlalchemy as sa
from typer.main import get_command

from keywright.cli.main import app as commands
from keywright.flows import catalog_desk, staff, staff_factors, staff_secrets, staff_sessions, tokens
from keywright.flows.context import Context
from keywright.store import audit, timeline
from keywright.store.operating_tables import audit as audit_table
from keywright.store.staff_tables import staff_factors as factor_table
from keywright.store.tables import inbox, products, signing_keys
from keywright.store.tables import timeline as timeline_table
from tests.cli.test_cli import Shell
from tests.conftest import Prepared, TurnableClock
from tests.life import world
from tests.security.conftest import Phone, Serve
from tests.security.everything import Tour
from tests.security.served import PASSWORD, Browser, Person
from tests.web.route_table import RULES, Rule

_API = """
DELETE /api/admin/activations/{activation_id:str} | {} | activation.released
POST /api/admin/licenses | {"plan": "dashcaddy/plan-0", "email": "new@example.com"} | license.issued
POST /api/admin/licenses/{license_id:str}/extend | {"days": 3} | license.extended
POST /api/admin/licenses/{license_id:str}/transfer | {"email": "next@example.com"} | license.transferred
POST /api/admin/licenses/{license_id:str}/give-seats | {"seats": 3} | license.seats_changed
POST /api/admin/licenses/{license_id:str}/note | {"note": "called"} | license.noted
POST /api/admin/licenses/{license_id:str}/suspend | {} | license.suspended
POST /api/admin/licenses/{license_id:str}/reinstate | {} | license.reinstated
POST /api/admin/licenses/{license_id:str}/resend | {} | license.resent
POST /api/admin/licenses/{license_id:str}/rotate-key | {} | license.key_rotated
POST /api/admin/licenses/{license_id:str}/firm | {"firm": "Acme"} | license.firm_named
POST /api/admin/licenses/{license_id:str}/seats | {"quantity": 4} | billing.asked
POST /api/admin/licenses/{license_id:str}/cancel | {} | billing.asked
POST /api/admin/licenses/{license_id:str}/resume | {} | billing.asked
POST /api/admin/licenses/{license_id:str}/refund | {} | billing.asked
POST /api/admin/licenses/{license_id:str}/portal | {"return_url": "{base}/"} | billing.asked
POST /api/admin/licenses/bulk | {"act": "suspend", "filter": {"status": "active"}} | license.suspended
POST /api/admin/licenses/{license_id:str}/revoke | {} | license.revoked
POST /api/admin/firms/secret | {"firm": "Acme", "product": "dashcaddy"} | firm.secret_shown
POST /api/admin/events/{event_id:str}/replay | {} | event.replayed
POST /api/admin/events/replay | {"status": "applied"} | event.replayed
POST /api/admin/tokens | {"name": "shop", "scope": "read"} | token.created
DELETE /api/admin/tokens/{token_id:str} | {} | token.revoked
POST /api/admin/reconcile | {} | reconcile.asked
POST /api/admin/tenants/provision | {"email": "a@firm.example", "client_name": "Firm"} | tenant.provisioned
POST /api/admin/keys/rotate | {} | key.rotated
POST /api/admin/keys/{kid:str}/revoke | {} | key.revoked
"""

_CONSOLE = """
POST /console/licenses/{license_id:str}/free | {"machine": "{activation_id}"} | activation.released
POST /console/licenses/{license_id:str}/extend | {"days": "3"} | license.extended
POST /console/licenses/{license_id:str}/transfer | {"email": "next@example.com"} | license.transferred
POST /console/licenses/{license_id:str}/seats | {"seats": "3"} | license.seats_changed
POST /console/licenses/{license_id:str}/note | {} | license.noted
POST /console/licenses/{license_id:str}/firm | {"firm": "Acme"} | license.firm_named
POST /console/firms/secret | {"firm": "Acme", "product": "dashcaddy"} | firm.secret_shown
POST /console/looks/change | {"color": "#123456", "language": "de"} | look.changed
POST /console/licenses/{license_id:str}/suspend | {} | license.suspended
POST /console/licenses/{license_id:str}/reinstate | {} | license.reinstated
POST /console/licenses/{license_id:str}/resend | {} | license.resent
POST /console/licenses/{license_id:str}/rotate-key | {} | license.key_rotated
POST /console/licenses/{license_id:str}/revoke | {} | license.revoked
POST /console/events/{event_id:str}/replay | {} | event.replayed
POST /console/events/replay | {"status": "applied"} | event.replayed
POST /console/reconcile/run | {"provider": "stripe"} | reconcile.asked
POST /console/provisioning/new | {"email": "one@firm.example", "client_name": "Firm"} | tenant.provisioned
POST /console/catalog/edit | {"text": "{catalog}", "mark": "{mark}"} | catalog.applied
POST /console/keys/rotate | {} | key.rotated
POST /console/keys/{kid:str}/revoke | {} | key.revoked
POST /console/settings/mail/test | {} | mail.tried
POST /console/settings/tokens/new | {"name": "shop", "scope": "read"} | token.created
POST /console/settings/tokens/{token_id:str}/revoke | {} | token.revoked
POST /console/staff | {"email": "second@example.com", "role": "admin"} | staff.created
POST /console/staff/{staff_id:str}/role | {"role": "support"} | staff.role_changed
POST /console/staff/{staff_id:str}/link | {} | staff.link_made
POST /console/staff/{staff_id:str}/end-sessions | {} | staff.session_ended
POST /console/staff/{staff_id:str}/close | {} | staff.closed
POST /console/you/sessions/{session_id:str}/end | {} | staff.session_ended
POST /console/you/prove | {"password": "{password}", "code": "{code}"} | staff.proved
POST /console/you/add/confirm | {"code": "{new_code}", "name": "Tablet"} | staff.factor_added
POST /console/you/factors/{factor_id:str}/remove | {} | staff.factor_removed
POST /console/you/codes | {} | staff.codes_made
POST /console/you/password | {"password": "{password}1", "again": "{password}1"} | staff.password_changed
POST /console/sign-out | {} | staff.signed_out
"""

_LOOK = "asks a provider how an account stands, as its events tell"
CHANGES_NOTHING = {
    "POST /console/audit/check": "reads the chain",
    "POST /console/catalog/plans/{product:str}/{plan:str}": "shows what would change; see catalog/edit",
    "POST /console/settings/providers/{provider:str}/test": "asks a provider who we are there",
    "POST /api/admin/tenants/{tenant_id:str}/connect/{provider:str}/look": _LOOK,
    "POST /console/settings/connect/{provider:str}/look": _LOOK,
    "POST /console/tenants/{tenant_id:str}/connect/{provider:str}/look": _LOOK,
    "POST /console/you/add": "thinks of a secret that counts when it is confirmed",
}
"""Routes of staff that write nothing that anybody could ask after."""

_SETUP = "tests/flows/test_provider_setup.py"
_NUMBERS = "tests/web/test_console_numbers.py"
_HOOKS, _HOOKS_PAGES = "tests/flows/test_webhooks.py", "tests/web/test_console_webhooks.py"
_ENDPOINT = "webhook-endpoints/{endpoint_id:str}"
_ONE = "POST /console/webhooks/{endpoint_id:str}"
_TENANTS, _CONNECT = "tests/web/test_tenants.py", "tests/web/test_connect_paystack.py"
_TENANT, _SHOP = "/api/admin/tenants/{tenant_id:str}", "POST /console/tenants/{tenant_id:str}"
_AT = "connect/{provider:str}"
SHOWN_ELSEWHERE = {
    "POST /api/admin/tenants": (_TENANTS, "tenant.created"),
    f"PATCH {_TENANT}": (_TENANTS, "tenant.changed"),
    "POST /console/tenants/new": (_TENANTS, "tenant.created"),
    f"{_SHOP}/change": (_TENANTS, "tenant.changed"),
    f"{_SHOP}/shred": (_TENANTS, "tenant.shredded"),
    f"{_SHOP}/invite": ("tests/security/test_s20_audit.py", "staff.created"),
    f"POST {_TENANT}/connect": (_CONNECT, "connect.started"),
    f"PATCH {_TENANT}/connect": (_CONNECT, "connect.fee_set"),
    f"POST {_TENANT}/{_AT}/disconnect": (_CONNECT, "connect.ended"),
    f"POST /console/settings/{_AT}/start": (_CONNECT, "connect.started"),
    f"POST /console/settings/{_AT}/disconnect": (_CONNECT, "connect.ended"),
    f"{_SHOP}/connect/fee": (_CONNECT, "connect.fee_set"),
    f"{_SHOP}/{_AT}/attach": (_CONNECT, "connect.started"),
    f"{_SHOP}/{_AT}/start": (_CONNECT, "connect.started"),
    f"{_SHOP}/{_AT}/disconnect": (_CONNECT, "connect.ended"),
    "POST /api/admin/imports": ("tests/web/test_imports.py", "import.asked"),
    "POST /console/imports/run": ("tests/web/test_imports.py", "import.asked"),
    "POST /console/provisioning/{work:str}/again": ("tests/web/test_provisioning.py", "workflow.retried"),
    "POST /console/seats": ("tests/web/test_provisioning.py", "billing.asked"),
    "POST /api/admin/webhook-endpoints": (_HOOKS, "webhook_endpoint.created"),
    f"PATCH /api/admin/{_ENDPOINT}": (_HOOKS, "webhook_endpoint.changed"),
    f"DELETE /api/admin/{_ENDPOINT}": (_HOOKS, "webhook_endpoint.deleted"),
    f"POST /api/admin/{_ENDPOINT}/rotate-secret": (_HOOKS, "webhook_endpoint.secret_rotated"),
    f"POST /api/admin/{_ENDPOINT}/test": (_HOOKS, "webhook_endpoint.tested"),
    "POST /api/admin/webhook-deliveries/{delivery_id:str}/redeliver": (
        *(_HOOKS, "webhook_delivery.redelivered"),
    ),
    "POST /console/webhooks/new": (_HOOKS_PAGES, "webhook_endpoint.created"),
    **{f"{_ONE}/{act}": (_HOOKS_PAGES, "webhook_endpoint.changed") for act in ("change", "pause", "resume")},
    f"{_ONE}/rotate-secret": (_HOOKS_PAGES, "webhook_endpoint.secret_rotated"),
    f"{_ONE}/delete": (_HOOKS_PAGES, "webhook_endpoint.deleted"),
    f"{_ONE}/test": (_HOOKS_PAGES, "webhook_endpoint.tested"),
    "POST /console/webhooks/deliveries/{delivery_id:str}/redeliver": (
        *(_HOOKS_PAGES, "webhook_delivery.redelivered"),
    ),
    "POST /console/mail/{mail:str}/again": (_NUMBERS, "mail.sent_again"),
    "POST /console/mail/again": (_NUMBERS, "mail.sent_again"),
    "POST /console/work/{work:str}/retry": (_NUMBERS, "workflow.retried"),
    "POST /console/work/{work:str}/cancel": (_NUMBERS, "workflow.canceled"),
    "POST /console/reconcile/{provider:str}/fix": (_NUMBERS, "reconcile.asked"),
    "POST /console/settings/providers/{provider:str}": (_SETUP, "provider.set_up"),
    "POST /api/admin/workflows/{workflow_id:str}/retry": (_NUMBERS, "workflow.retried"),
    "POST /api/admin/workflows/{workflow_id:str}/cancel": (_NUMBERS, "workflow.canceled"),
}
"""What needs more than a shop to be done, and the test that looks for its entry."""


class Line(NamedTuple):
    rule: Rule
    fields: dict[str, Any]
    act: str


def lines(text: str) -> Iterator[Line]:
    for line in filter(None, text.splitlines()):
        called, fields, act = line.rsplit(" | ", 2)
        yield Line(RULES[called], json.loads(fields), act)


class Written(NamedTuple):
    """An entry of either chain."""

    act: str
    by: str
    at: Any


def written(context: Context) -> dict[tuple[str, int], Written]:
    """All that stands in the audit and on the timelines."""
    found = {}
    with context.database.read() as connection:
        for row in connection.execute(sa.select(audit_table)).mappings():
            found["audit", row["seq"]] = Written(row["act"], row["actor"], row["at"])
        for row in connection.execute(sa.select(timeline_table)).mappings():
            by = str(json.loads(row["detail"]).get("by", ""))
            found[row["license_id"], row["seq"]] = Written(row["kind"], by, row["at"])
    return found


def chains_hold(context: Context) -> bool:
    with context.database.read() as connection:
        if audit.first_break(connection, context.master.id) is not None:
            return False
        for held in world.all_licenses(context):
            entries = timeline.list_page(connection, held.tenant_id, held.id, after=0, limit=10_000)
            if timeline.first_break(entries, held.head) is not None:
                return False
    return True


def missing(tour: Tour, line: Line, before: dict[tuple[str, int], Written], by: str, told: str) -> str:
    """What is wrong with what an act left behind; empty when nothing is."""
    now = tour.context.clock.now()
    new = [entry for place, entry in written(tour.context).items() if place not in before]
    if any(entry.act == line.act and entry.by == by and entry.at == now for entry in new):
        return ""
    return f"{line.rule.name}: {[(one.act, one.by) for one in new]} for {by}; answered {told[:300]}"


def test_every_route_that_changes_something_has_its_line() -> None:
    known = {line.rule.name for text in (_API, _CONSOLE) for line in lines(text)}
    wanted = {
        rule.name
        for rule in RULES.values()
        if rule.method != "GET" and rule.credential.startswith(("token:", "staff:"))
    }
    told = known | set(CHANGES_NOTHING) | set(SHOWN_ELSEWHERE)
    assert sorted(wanted - told) == [], "routes whose trace nobody looks for"
    assert sorted(told - wanted) == [], "lines without a route"
    for path, act in SHOWN_ELSEWHERE.values():
        assert f'"{act}"' in (Path(__file__).parents[2] / path).read_text(), (path, act)


def test_every_act_by_the_api_is_written_down(serve: Serve, clock: TurnableClock) -> None:
    tour = Tour(serve())
    with tour.context.database.write() as connection:
        connection.execute(sa.update(products).values(code=1))
    asked, gone = tokens.create(tour.context, tour.context.master, "gone", "read")[0], []
    by = f"token {tour.token_id}"
    for line in lines(_API):
        clock.turn(seconds=61)  # limits are by the minute of another clock; each moment is its own here
        ids = {**tour.ids, "token_id": asked.id, "kid": _verify_only(tour.context)}
        before = written(tour.context)
        body = _filled(line.fields, {"base": tour.served.base_url})
        headers = {"authorization": f"Bearer {tour.bearer}"}
        answer = tour.served.browser().ask(
            line.rule.method, _path(line.rule, ids), headers=headers, json=body
        )
        problem = missing(tour, line, before, by, f"{answer.status_code} {answer.text}")
        if answer.status_code >= 300 or problem:
            gone.append(problem or f"{line.rule.name}: {answer.text}")
    assert "\n".join(gone) == ""
    assert chains_hold(tour.context)


def _verify_only(context: Context) -> str:
    """A key that may be revoked: one that signs nothing any more, where there is one."""
    with context.database.read() as connection:
        query = sa.select(signing_keys.c.kid).order_by((signing_keys.c.state == "active").desc(), "kid")
        return str(connection.execute(query.limit(1)).scalar_one())


def _filled(fields: Any, values: dict[str, str]) -> Any:
    """The fields, with what is only known when the act is done."""
    if isinstance(fields, str):
        return re.sub(r"{(\w+)}", lambda found: values[found[1]], fields)
    if isinstance(fields, dict):
        return {name: _filled(value, values) for name, value in fields.items()}
    return fields


def _path(rule: Rule, ids: dict[str, str]) -> str:
    return re.sub(r"{(\w+)(:\w+)?}", lambda found: ids[found[1]], rule.path)


def test_every_act_in_the_console_is_written_down(serve: Serve, clock: TurnableClock, phone: Phone) -> None:
    tour = Tour(serve(mail_from="shop@example.com"))
    with tour.context.database.write() as connection:
        connection.execute(sa.update(products).values(code=1))
    colleague = Person(tour.served, "colleague@example.com", "admin")
    gone = []
    token = tokens.create(tour.context, tour.context.master, "gone", "read")[0].id
    by = f"staff {tour.person.staff.id}"
    for line in lines(_CONSOLE):
        clock.turn(seconds=1)
        phone.later()
        browser = tour.served.browser().carry(tour.person.session)
        ids, values = _of_person(tour, browser, line)
        ids = {**tour.ids, **ids, "token_id": token, "kid": _verify_only(tour.context)}
        ids["staff_id"] = colleague.staff.id
        check = staff_sessions.form_check(tour.context, browser.session)
        fields = {"check": check, "step": "do", "reason": "why", **_filled(line.fields, {**values, **ids})}
        before = written(tour.context)
        answer = browser.post(_path(line.rule, ids), **fields)
        problem = missing(tour, line, before, by, f"{answer.status_code} {answer.text[-900:]}")
        if answer.status_code not in (200, 303) or problem:
            gone.append(problem or f"{line.rule.name}: {answer.text}")
    assert "\n".join(gone) == ""
    assert chains_hold(tour.context)


def _of_person(tour: Tour, browser: Browser, line: Line) -> tuple[dict[str, str], dict[str, str]]:
    """Ids and values of the one who acts, as they are at this moment."""
    context, person = tour.context, tour.person
    signed = staff_sessions.find(context, person.session)
    assert signed is not None
    with context.database.write() as connection:
        other = staff_sessions.start(context, connection, signed.staff, "full", "another")
    elsewhere = staff_sessions.find(context, other)
    assert elsewhere is not None
    new = ""
    if line.rule.path.endswith("/add/confirm"):
        staff_factors.begin_adding(context, signed)
        signed = staff_sessions.find(context, person.session)
        assert signed is not None
        new = _code(staff_sessions.pending_of(context, signed.session).totp)
    with context.database.read() as connection:
        held = sa.select(factor_table.c.id).where(factor_table.c.kind == "totp")
        mine = held.where(factor_table.c.staff_id == signed.staff.id).order_by(factor_table.c.id.desc())
        factor = str(connection.execute(mine.limit(1)).scalar_one())
    text = catalog_desk.load_text(context, context.master.id)
    changed = text.replace('name = "DashCaddy"', 'name = "DashCaddy Two"')
    mark = catalog_desk.compare(context, context.master.id, changed).mark
    values = {
        "password": PASSWORD,
        "code": _code(person.secret),
        "new_code": new,
        "catalog": changed,
        "mark": mark,
    }
    return {"session_id": elsewhere.session.id, "factor_id": factor}, values


def _code(secret: str) -> str:
    return staff_secrets.code_of(secret, int(staff_factors.phone_time() // 30))


def test_one_altered_or_removed_entry_is_found(serve: Serve) -> None:
    tour = Tour(serve())
    context = tour.context
    for _ in range(5):
        staff.renew_link(context, context.master.id, tour.person.staff.id, "command line")
    with context.database.read() as connection:
        entries = int(connection.execute(sa.select(sa.func.max(audit_table.c.seq))).scalar_one())
    assert entries > 5
    assert chains_hold(context)
    here, texts = audit_table.c.seq, ("actor", "act", "subject", "detail")
    for seq in range(1, entries + 1):
        for change in (
            sa.delete(audit_table).where(here == seq),
            *(sa.update(audit_table).where(here == seq).values({name: "x"}) for name in texts),
            sa.update(audit_table).where(here == seq).values(at=context.clock.now().replace(year=2020)),
        ):
            with context.database.engine.connect() as connection, connection.begin() as tried:
                connection.execute(change)
                assert audit.first_break(connection, context.master.id) == seq
                tried.rollback()
    assert chains_hold(context)


# -- commands -------------------------------------------------------------------------------------------

_COMMANDS = """
license issue --plan dashcaddy/plan-0 --email new@example.com | license.issued
license extend {license} --days 3 | license.extended
license give-seats {license} 3 | license.seats_changed
license note {license} called | license.noted
license suspend {license} | license.suspended
license reinstate {license} | license.reinstated
license transfer {license} --email next@example.com | license.transferred
license resend {license} | license.resent
license rotate-key {license} | license.key_rotated
license firm {license} --firm Acme | license.firm_named
license revoke {license} | license.revoked
event replay {event} | event.replayed
event replay --status applied | event.replayed
key rotate --type lease+jwt | key.rotated
key revoke {kid} | key.revoked
token create --name shop --scope read | token.created
staff create --email new@example.com --role admin | staff.created
staff link new@example.com | staff.link_made
staff close new@example.com | staff.closed
look set --color #123456 | look.changed
tenant create --name Firm --slug firm | tenant.created
key rotate-master | master_key.rotated
"""

_READ = {
    *("demo", "serve", "worker", "migrate", "backup", "doctor", "verify", "integrity", "catalog show"),
    *("provider test", "license list", "license show", "license explain", "event list", "event show"),
    *("webhook list", "key list", "key export", "key root show", "look show", "staff list"),
    *("sandbox serve", "sandbox trigger", "sandbox clock advance", "sandbox fill"),
    *("key master", "tenant list", "tenant show"),
}
"""Commands that change nothing of what a tenant has."""

_TOLD_ELSEWHERE = {
    "import": "tests/web/test_imports.py",
    "provider add": _SETUP,  # another name of `provider setup`
    **{f"tenant {name}": _CONNECT for name in ("connect", "disconnect", "fee")},
    "tenant provision": "tests/web/test_provisioning.py",
    "tenant shred": "tests/flows/test_shredding.py",
    "restore": "tests/flows/test_backups.py",
    "reconcile": "tests/e2e/test_reconcile.py",
    "catalog apply": "tests/cli/test_cli.py",
    "provider setup": _SETUP,
    "license secret": "tests/cli/test_firms.py",
    "license import": "tests/cli/test_license_import.py",
    "license bulk": "tests/cli/test_cli.py",
    "key root create": "tests/cli/test_key.py",
    **{f"webhook {name}": "tests/cli/test_webhook.py" for name in ("create", "test", "redeliver")},
    **{f"webhook {name}": "tests/cli/test_webhook.py" for name in ("rotate-secret", "delete")},
    **{f"license {name}": "tests/cli/test_license_billing.py" for name in ("seats", "cancel", "resume")},
    **{f"license {name}": "tests/cli/test_license_billing.py" for name in ("refund", "portal")},
}
"""Commands that need a provider, a file or a server beside them, and their tests."""


def all_commands() -> set[str]:
    def walk(command: Any, names: tuple[str, ...] = ()) -> Iterator[str]:
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*names, name))
        if not hasattr(command, "commands"):
            yield " ".join(names)

    return set(walk(get_command(commands)))


def test_every_command_that_changes_something_has_its_line() -> None:
    there = all_commands()
    done = {name for name in there for line in _COMMANDS.splitlines() if line.startswith(f"{name} ")}
    assert sorted(there - done - _READ - set(_TOLD_ELSEWHERE)) == [], "commands whose trace nobody looks for"
    assert sorted((_READ | set(_TOLD_ELSEWHERE)) - there) == [], "lines without a command"
    for path in _TOLD_ELSEWHERE.values():
        assert (Path(__file__).parents[2] / path).is_file(), path


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)
def test_every_act_by_a_command_is_written_down(shop: Context, prepared: Prepared) -> None:
    """On the database of the shop, while no server runs."""
    with shop.database.write() as connection:
        connection.execute(sa.update(products).values(code=1))
    shell = Shell(Path(prepared.folder), DATABASE_URL=prepared.url, LICENSE_SECRET="x" * 40)
    with shop.database.read() as connection:
        event = str(connection.execute(sa.select(inbox.c.id).limit(1)).scalar_one())
    bought, gone = world.the_license(shop).id, []
    for line in filter(None, _COMMANDS.splitlines()):
        words, act = line.split(" | ")
        named = {"license": bought, "event": event, "kid": _verify_only(shop)}
        before = written(shop)
        made = shell.call(*_filled(words, named).split())
        new = [entry for place, entry in written(shop).items() if place not in before]
        if made.returncode or (act, "command line") not in {(one.act, one.by) for one in new}:
            gone.append(f"{words}: {[(one.act, one.by) for one in new]}; {made.stdout}{made.stderr}")
        assert all(one.at is not None for one in new)
    assert "\n".join(gone) == ""
    assert chains_hold(shop)
