"""Trials, licenses given away, seats from staff, notes and acts on many, on both databases."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from keywright.domain.errors import Conflict, Invalid
from keywright.domain.plan import Terms
from keywright.flows import activating, bulk, catalog, license_views, licensing, operate, tokens
from keywright.flows.bulk import Wish
from keywright.flows.catalog_file import parse
from keywright.flows.context import Context
from keywright.flows.license_views import LicenseRow
from keywright.flows.licensing import Ask, Bookkeeping, Verdict
from keywright.flows.operate import Act, Order
from keywright.store import audit
from keywright.store.audit import Entry
from tests.conftest import TurnableClock
from tests.life import stripe, world

STAFF = Act("token tok_1", "a good reason")


@pytest.fixture
def shop(context: Context) -> Context:
    world.stock(context, price_pro=Terms(), price_tried=Terms(trial=7 * 86400))
    return context


def issued(
    context: Context, email: str = "ann@example.com", plan: str = "plan-0", **order: Any
) -> tuple[LicenseRow, str]:
    return operate.issue(context, context.master.id, Order(f"dashcaddy/{plan}", email, **order), STAFF)


def ask(context: Context, key: str) -> Verdict:
    asked = licensing.check(context, Ask(key), fingerprint_needed=False)
    return licensing.validate(context, Bookkeeping(), asked)


def details(context: Context, license_id: str) -> list[tuple[str, dict[str, Any]]]:
    page = license_views.timeline_of(context, context.master.id, license_id)
    return [(entry.kind, entry.detail) for entry in page.items]


def test_a_trial_says_so_and_ends_without_grace(shop: Context, clock: TurnableClock) -> None:
    row, key = issued(shop, kind="trial")
    assert (row.origin, row.trial, row.entitled_until) == ("trial", True, clock.now() + timedelta(days=14))
    verdict = ask(shop, key)
    assert verdict.license is not None
    assert (verdict.code, verdict.license.trial) == ("VALID", True)
    # A longer trial is a trial; a decision of staff does not make it one that was paid for.
    longer = operate.extend(shop, shop.master.id, row.id, STAFF, days=2)
    assert longer.trial
    clock.turn(days=16)
    assert ask(shop, key).code == "EXPIRED"
    by_plan, _ = issued(shop, plan="plan-1", email="bob@example.com", kind="trial")
    assert by_plan.entitled_until == clock.now() + timedelta(days=7)


def test_a_customer_tries_a_product_once(shop: Context, clock: TurnableClock) -> None:
    issued(shop, kind="trial", days=3)
    for email in ("ann@example.com", "Ann@Example.com"):
        with pytest.raises(Conflict) as caught:
            issued(shop, email=email, plan="plan-1", kind="trial")
        assert caught.value.code == "TRIAL_USED"
    again, _ = issued(shop, kind="trial", again=True)
    assert again.entitled_until == clock.now() + timedelta(days=14)
    issued(shop, email="bob@example.com", kind="trial")
    assert len(world.all_licenses(shop)) == 3


def test_a_purchase_after_a_trial_is_a_license_of_its_own(shop: Context, clock: TurnableClock) -> None:
    trial, tried = issued(shop, kind="trial")
    made = stripe.subscription("sub_1", clock.now(), clock.now() + timedelta(days=30))
    assert world.outcome(shop, stripe.event("customer.subscription.created", made, clock.now())) == "applied"
    bought = next(one for one in world.all_licenses(shop) if one.id != trial.id)
    assert (bought.origin, bought.trial) == ("purchase", False)
    assert ask(shop, tried).code == "VALID"
    clock.turn(days=14)
    assert ask(shop, tried).code == "EXPIRED"
    assert ask(shop, world.key_of(shop, bought)).code == "VALID"


def test_a_license_that_was_given_away_is_marked(shop: Context) -> None:
    row, _ = issued(shop, kind="comp")
    plain, _ = issued(shop, email="bob@example.com")
    assert (row.origin, plain.origin) == ("comp", "staff")
    assert details(shop, row.id)[0][1]["origin"] == "comp"
    found = license_views.list_licenses(shop, shop.master.id, {"origin": "comp"})
    assert [one.id for one in found.items] == [row.id]
    with pytest.raises(Invalid, match="`origin` must be one of purchase"):
        license_views.list_licenses(shop, shop.master.id, {"origin": "gift"})


def test_days_that_cannot_be_meant(shop: Context) -> None:
    wrong: list[dict[str, Any]] = [
        {"days": 0},
        {"days": 36501},
        {"days": 3, "until": datetime(2027, 1, 1, tzinfo=UTC)},
    ]
    for order in wrong:
        with pytest.raises(Invalid):
            issued(shop, kind="trial", **order)
    assert world.all_licenses(shop) == []


def test_seats_from_staff_lie_on_top_of_those_that_are_bought(shop: Context, clock: TurnableClock) -> None:
    made = stripe.subscription("sub_1", clock.now(), clock.now() + timedelta(days=30), quantity=3)
    world.outcome(shop, stripe.event("customer.subscription.created", made, clock.now()))
    bought = world.the_license(shop).id
    for _ in range(2):
        assert operate.give_seats(shop, shop.master.id, bought, STAFF, 2).seats == 5
    clock.turn(hours=1)
    more = stripe.subscription("sub_1", clock.now(), clock.now() + timedelta(days=30), quantity=4)
    world.outcome(shop, stripe.event("customer.subscription.updated", more, clock.now()))
    assert license_views.show(shop, shop.master.id, bought).seats == 6
    assert operate.give_seats(shop, shop.master.id, bought, STAFF, 0).seats == 4
    given, _ = issued(shop, seats=2)
    assert operate.give_seats(shop, shop.master.id, given.id, STAFF, 7).seats == 7
    for seats in (0, -1, 2**31):
        with pytest.raises(Invalid):
            operate.give_seats(shop, shop.master.id, given.id, STAFF, seats)
    kind, detail = details(shop, given.id)[-1]
    assert (kind, detail["by"], detail["why"]) == ("license.seats_changed", STAFF.by, STAFF.reason)
    assert (detail["before"]["seats"], detail["after"]["seats"]) == (2, 7)


def test_a_note_changes_nothing_but_the_timeline(shop: Context) -> None:
    row, _ = issued(shop)
    noted = operate.note(shop, shop.master.id, row.id, Act("token tok_2", " asked for an invoice "))
    assert noted == row
    assert details(shop, row.id)[-1] == (
        "license.noted",
        {"by": "token tok_2", "why": "asked for an invoice"},
    )
    for text in (None, "", "  ", "x" * 501, "a\nb"):
        with pytest.raises(Invalid):
            operate.note(shop, shop.master.id, row.id, Act("token tok_2", text))


def test_one_act_on_many_by_filter(shop: Context, clock: TurnableClock) -> None:
    rows = [issued(shop, email=f"p{n}@example.com", kind="trial")[0] for n in range(5)]
    kept, _ = issued(shop)
    master = shop.master.id
    for wish, filters in (("suspend", {}), ("explode", {"origin": "trial"}), ("extend", {"origin": "trial"})):
        with pytest.raises(Invalid):
            bulk.act_on_page(shop, master, filters, Wish(wish), STAFF)
    with pytest.raises(Invalid):
        bulk.act_on_page(shop, master, {"origin": "trial"}, Wish("suspend", clock.now()), STAFF)
    dry = bulk.act_on_page(shop, master, {"origin": "trial"}, Wish("suspend"), STAFF, dry_run=True)
    assert (dry.changed, [one.after for one in dry.items]) == (5, [None] * 5)
    cursor, seen = None, 0
    while True:
        page = bulk.act_on_page(
            shop, master, {"origin": "trial"}, Wish("suspend"), STAFF, cursor=cursor, limit=2
        )
        seen, cursor = seen + page.changed, page.next_cursor
        if cursor is None:
            break
    assert seen == 5
    again = bulk.act_on_page(shop, master, {"origin": "trial"}, Wish("suspend"), STAFF)
    assert (again.changed, again.unchanged) == (0, 5)
    assert [kind for kind, _ in details(shop, rows[0].id)] == ["license.issued", "license.suspended"]
    assert license_views.show(shop, master, kept.id).status == "active"
    end = clock.now() + timedelta(days=100)
    for changed in (5, 0):
        bulk.act_on_page(shop, master, {"origin": "trial"}, Wish("reinstate"), STAFF)
        done = bulk.act_on_page(shop, master, {"origin": "trial"}, Wish("extend", end), STAFF)
        assert (done.changed, done.failed) == (changed, 0)
    # One that never ends reaches every day.
    assert bulk.act_on_page(shop, master, {"origin": "staff"}, Wish("extend", end), STAFF).unchanged == 1


def told(context: Context) -> list[Entry]:
    with context.database.read() as connection:
        assert audit.first_break(connection, context.master.id) is None
        return audit.list_page(connection, context.master.id, filters={}, before=None, limit=50)


CATALOG = """
[[product]]
slug = "old"
name = "Old"
baseline = { limits = { projects = 3 }, entitlements = ["read"] }

[[product.plan]]
slug = "pro"
name = "Pro"
term = "perpetual"
entitlements = ["export.pdf"]
limits = { projects = %d }
"""


def test_acts_on_no_license_are_in_the_audit(context: Context) -> None:
    made, _ = tokens.create(context, context.master, "Ann's robot", "write", by="staff stf_1")
    tokens.revoke(context, context.master.id, made.id)
    for _ in range(2):
        catalog.apply(context, parse(CATALOG % 100, source="catalog.toml", environment={}))
    catalog.apply(context, parse(CATALOG % 9, source="catalog.toml", environment={}), dry_run=True)
    entries = told(context)
    assert [(one.act, one.actor, one.subject) for one in reversed(entries)] == [
        ("token.created", "staff stf_1", made.id),
        ("token.revoked", "command line", made.id),
        ("catalog.applied", "command line", "catalog"),
    ]
    assert "Ann" not in "".join(one.detail for one in entries)
    assert "added old/pro" in entries[0].detail


def test_limits_of_a_plan_reach_licenses_at_once_in_verdict_and_lease(context: Context) -> None:
    catalog.apply(context, parse(CATALOG % 100, source="catalog.toml", environment={}))
    _, key = operate.issue(context, context.master.id, Order("old/pro", "ann@example.com"), STAFF)
    asked = licensing.check(context, Ask(key, "machine-number-1"), fingerprint_needed=True)

    assert activating.activate(context, asked).valid
    for projects in (100, 7):
        catalog.apply(context, parse(CATALOG % projects, source="catalog.toml", environment={}))
        verdict = licensing.validate(context, Bookkeeping(), asked)
        assert verdict.license is not None
        assert verdict.license.limits == {"projects": projects}
        assert verdict.lease is not None
        assert claims_of(verdict.lease)["limits"] == {"projects": projects}


def claims_of(token: str) -> dict[str, Any]:

    body = token.split(".")[1]
    claims: dict[str, Any] = msgspec.json.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return claims
