"""What staff do, on both databases: each act folds into what was paid, and says who and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from keywright.domain import license_key
from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.domain.license import License, is_intact, status
from keywright.domain.plan import FOREVER, Terms
from keywright.flows import activating, events, license_views, licensing, operate
from keywright.flows.context import Context, new_id
from keywright.flows.license_views import LicenseRow
from keywright.flows.license_writes import sealed
from keywright.flows.licensing import Ask, Bookkeeping, Verdict
from keywright.flows.operate import Act, Order
from keywright.store import announcements, licenses, tenants, timeline
from keywright.store.tables import announcements as announcement_table
from keywright.store.tables import customers
from keywright.store.tenants import Tenant
from tests.conftest import TurnableClock
from tests.life import stripe, world

STAFF = Act("token tok_1", "a good reason")
MONTH = timedelta(days=30)
FINGERPRINT = "machine-number-1"


@pytest.fixture
def shop(context: Context) -> Context:
    world.stock(
        context, price_pro=Terms(), price_once=Terms(term="perpetual"), price_year=Terms(term=365 * 86400)
    )
    return context


@pytest.fixture
def bought(shop: Context, clock: TurnableClock) -> License:
    """Three seats of a running subscription, paid for a month."""
    made = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH, quantity=3)
    assert world.outcome(shop, stripe.event("customer.subscription.created", made, clock.now())) == "applied"
    return world.the_license(shop)


def issued(context: Context, **order: Any) -> tuple[LicenseRow, str]:
    wanted = Order(**{"plan": "dashcaddy/plan-0", "email": "ann@example.com", **order})
    return operate.issue(context, context.master.id, wanted, STAFF)


def held(context: Context, license_id: str) -> License:
    with context.database.read() as connection:
        found = licenses.find(connection, context.master.id, license_id)
    assert found is not None
    return found


def ask(context: Context, key: str, call: str = "validate", fingerprint: str | None = None) -> Verdict:
    asked = licensing.check(context, Ask(key, fingerprint), fingerprint_needed=fingerprint is not None)
    if call == "activate":
        return activating.activate(context, asked)
    return licensing.validate(context, Bookkeeping(), asked)


def story(context: Context, license_id: str) -> list[str]:
    """The kinds of the timeline, after its chain and the row's MAC were checked."""
    one = held(context, license_id)
    assert is_intact(one, context.vault.row_key(one.tenant_id))
    with context.database.read() as connection:
        entries = timeline.list_page(connection, one.tenant_id, license_id, after=0, limit=100)
    assert timeline.first_break(entries, one.head) is None
    return [entry.kind for entry in entries]


def last_detail(context: Context, license_id: str) -> dict[str, Any]:
    return license_views.timeline_of(context, context.master.id, license_id).items[-1].detail


def test_an_issued_license_works_and_owes_its_mail(shop: Context) -> None:
    row, key = issued(shop, seats=2, firm="ACME Ltd")
    assert (row.product, row.plan, row.status, row.seats) == ("dashcaddy", "plan-0", "active", 2)
    assert row.customer is not None
    assert row.customer.email == "ann@example.com"
    assert (row.entitled_until, row.firm, row.activations) == (None, "ACME Ltd", 0)
    assert key.startswith("DC-")
    assert key.endswith(row.key_last5)
    assert ask(shop, key).code == "VALID"
    assert [ask(shop, key, "activate", f"machine-{n}").code for n in range(3)] == [
        "VALID", "VALID", "TOO_MANY_ACTIVATIONS",
    ]  # fmt: skip
    assert world.count(shop, announcement_table) == 1
    assert story(shop, row.id)[0] == "license.issued"
    first = license_views.timeline_of(shop, shop.master.id, row.id).items[0].detail
    assert (first["by"], first["why"]) == ("token tok_1", "a good reason")


@pytest.mark.parametrize(
    ("plan", "end"),
    [("plan-0", FOREVER), ("plan-1", FOREVER), ("plan-2", datetime(2027, 11, 1, 12, tzinfo=UTC))],
)
def test_an_issued_license_ends_with_its_plans_term(shop: Context, plan: str, end: datetime) -> None:
    row, _ = issued(shop, plan=f"dashcaddy/{plan}")
    one = held(shop, row.id)
    assert (one.entitled_until, one.active_until, one.grace_until) == (end, end, end)


def test_an_issued_license_ends_when_staff_said(shop: Context, clock: TurnableClock) -> None:
    row, key = issued(shop, until=clock.now() + timedelta(days=2))
    assert row.entitled_until == clock.now() + timedelta(days=2)
    clock.turn(days=2)
    assert ask(shop, key).code == "EXPIRED"


def test_one_holder_per_address(shop: Context) -> None:
    first, second = issued(shop)[0], issued(shop, email=" ann@example.com ")[0]
    assert first.customer == second.customer
    assert world.count(shop, customers) == 1


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ({"plan": "dashcaddy/nope"}, NotFound),
        ({"plan": "plan-0"}, NotFound),
        ({"email": "nobody"}, Invalid),
        ({"email": "a@b\r\nBcc: c@d"}, Invalid),
        ({"seats": 0}, Invalid),
        ({"seats": 2**31}, Invalid),
        ({"until": datetime(2026, 1, 1, tzinfo=UTC)}, Invalid),
        ({"until": datetime(2030, 1, 1)}, Invalid),  # noqa: DTZ001  # without a zone on purpose
        ({"firm": "x" * 501}, Invalid),
    ],
)
def test_what_cannot_be_issued(shop: Context, order: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        issued(shop, **order)
    assert world.all_licenses(shop) == []
    assert world.count(shop, customers) == 0


def test_suspend_and_reinstate_restore_what_is_paid(
    shop: Context, bought: License, clock: TurnableClock
) -> None:
    tenant, key = shop.master.id, world.key_of(shop, bought)
    assert operate.decide(shop, tenant, bought.id, STAFF, "suspend").status == "suspended"
    assert ask(shop, key).code == "SUSPENDED"
    # A payment while suspended counts, and does not lift the decision.
    paid = stripe.subscription("sub_1", clock.now() + MONTH, clock.now() + 2 * MONTH, quantity=5)
    clock.turn(days=1)
    world.outcome(shop, stripe.event("customer.subscription.updated", paid, clock.now()))
    assert ask(shop, key).code == "SUSPENDED"
    row = operate.decide(shop, tenant, bought.id, STAFF, "reinstate")
    assert (row.status, row.seats, row.reason) == ("active", 5, "")
    assert row.entitled_until == datetime(2026, 12, 31, 12, tzinfo=UTC)
    assert story(shop, bought.id)[-1] == "license.reinstated"


def test_a_revocation_is_final_until_reinstated(shop: Context, bought: License, clock: TurnableClock) -> None:
    tenant = shop.master.id
    assert operate.decide(shop, tenant, bought.id, STAFF, "revoke").status == "revoked"
    clock.turn(hours=1)
    assert operate.decide(shop, tenant, bought.id, STAFF, "suspend").status == "revoked"
    clock.turn(hours=1)
    assert operate.decide(shop, tenant, bought.id, STAFF, "reinstate").status == "active"


def test_decisions_follow_each_other_though_the_clock_stands(shop: Context, bought: License) -> None:
    kinds = ["suspend", "reinstate", "revoke", "reinstate", "suspend"]
    found = [operate.decide(shop, shop.master.id, bought.id, STAFF, k).status for k in kinds]  # type: ignore[arg-type]  # literals
    assert found == ["suspended", "active", "revoked", "active", "suspended"]
    assert len(story(shop, bought.id)) == 6


def test_extending_is_a_floor_under_paid_time(shop: Context, bought: License, clock: TurnableClock) -> None:
    tenant, start = shop.master.id, clock.now()
    row = operate.extend(shop, tenant, bought.id, STAFF, days=5)
    assert row.entitled_until == start + MONTH + timedelta(days=5)
    assert (
        operate.extend(shop, tenant, bought.id, STAFF, until=start + MONTH).entitled_until
        == row.entitled_until
    )
    renewed = stripe.subscription("sub_1", start + MONTH, start + 2 * MONTH, quantity=3)
    clock.turn(days=1)
    world.outcome(shop, stripe.event("customer.subscription.updated", renewed, clock.now()))
    assert held(shop, bought.id).entitled_until == start + 2 * MONTH


def test_an_expired_license_is_extended_from_now(shop: Context, clock: TurnableClock) -> None:
    row, key = issued(shop, until=clock.now() + timedelta(days=1))
    clock.turn(days=100)
    extended = operate.extend(shop, shop.master.id, row.id, STAFF, days=2)
    assert extended.entitled_until == clock.now() + timedelta(days=2)
    assert (extended.status, ask(shop, key).code) == ("active", "VALID")


@pytest.mark.parametrize("how", [{}, {"days": 1, "until": FOREVER}, {"days": 0}, {"days": 10**9}])
def test_what_cannot_be_extended(shop: Context, clock: TurnableClock, how: dict[str, Any]) -> None:
    row, _ = issued(shop, until=clock.now() + MONTH)
    with pytest.raises(Invalid):
        operate.extend(shop, shop.master.id, row.id, STAFF, **how)
    assert story(shop, row.id) == ["license.issued"]


def test_what_never_ends_is_not_extended(shop: Context) -> None:
    row, _ = issued(shop)
    with pytest.raises(Conflict):
        operate.extend(shop, shop.master.id, row.id, STAFF, days=1)


def test_a_transfer_frees_the_machines_and_mails_the_new_holder(shop: Context) -> None:
    row, key = issued(shop)
    assert ask(shop, key, "activate", FINGERPRINT).valid
    moved = operate.transfer(shop, shop.master.id, row.id, STAFF, email="bob@example.com")
    assert moved.customer is not None
    assert (moved.customer.email, moved.activations) == ("bob@example.com", 0)
    assert ask(shop, key, fingerprint=FINGERPRINT).code == "NOT_ACTIVATED"
    assert world.count(shop, announcement_table) == 2
    told = last_detail(shop, row.id)
    assert row.customer is not None
    assert (told["from"], told["to"], len(told["released"])) == (row.customer.id, moved.customer.id, 1)
    assert "bob" not in str(told)


def test_a_transfer_may_keep_the_machines(shop: Context) -> None:
    row, key = issued(shop)
    ask(shop, key, "activate", FINGERPRINT)
    operate.transfer(shop, shop.master.id, row.id, STAFF, email="bob@example.com", keep_machines=True)
    assert ask(shop, key, fingerprint=FINGERPRINT).code == "VALID"


def test_a_transfer_outlives_the_next_payment(shop: Context, bought: License, clock: TurnableClock) -> None:
    moved = operate.transfer(shop, shop.master.id, bought.id, STAFF, email="bob@example.com")
    clock.turn(days=1)
    paid = stripe.subscription("sub_1", clock.now(), clock.now() + 2 * MONTH, quantity=4)
    world.outcome(shop, stripe.event("customer.subscription.updated", paid, clock.now()))
    row = license_views.show(shop, shop.master.id, bought.id)
    assert (row.customer, row.seats) == (moved.customer, 4)


def test_a_rotated_key_kills_the_old_one_at_once(shop: Context) -> None:
    row, old = issued(shop)
    ask(shop, old, "activate", FINGERPRINT)
    rotated, new = operate.rotate_key(shop, shop.master.id, row.id, STAFF)
    assert new != old
    assert new.endswith(rotated.key_last5)
    assert ask(shop, old).code == "NOT_FOUND"
    assert ask(shop, new, fingerprint=FINGERPRINT).code == "VALID"
    assert world.key_of(shop, held(shop, row.id)) == new
    assert world.count(shop, announcement_table) == 2
    assert new not in str(last_detail(shop, row.id))


def test_resending_owes_a_second_mail(shop: Context) -> None:
    row, _ = issued(shop)
    operate.resend(shop, shop.master.id, row.id, STAFF)
    assert world.count(shop, announcement_table) == 2
    assert story(shop, row.id) == ["license.issued", "license.resent"]
    with shop.database.read() as connection:
        assert announcements.counts(connection) == {"pending": 2}


def test_staff_free_a_machine_beyond_the_plans_moves(shop: Context) -> None:
    world.add_plan(shop, "tight", "price_tight", Terms(moves=0))
    row, key = issued(shop, plan="dashcaddy/tight")
    activated = ask(shop, key, "activate", FINGERPRINT).activation
    assert activated is not None
    assert operate.release_activation(shop, shop.master.id, activated.id, STAFF).activations == 0
    with pytest.raises(NotFound):
        operate.release_activation(shop, shop.master.id, activated.id, STAFF)
    assert story(shop, row.id)[-1] == "activation.released"


def acts() -> dict[str, Callable[[Context, str, str], object]]:
    return {
        "extend": lambda c, t, id_: operate.extend(c, t, id_, STAFF, days=1),
        "suspend": lambda c, t, id_: operate.decide(c, t, id_, STAFF, "suspend"),
        "transfer": lambda c, t, id_: operate.transfer(c, t, id_, STAFF, email="b@example.com"),
        "resend": lambda c, t, id_: operate.resend(c, t, id_, STAFF),
        "rotate": lambda c, t, id_: operate.rotate_key(c, t, id_, STAFF),
        "show": license_views.show,
        "timeline": license_views.timeline_of,
        "resolve": license_views.resolve,
        "machines": lambda c, t, id_: license_views.list_machines(c, t, license_id=id_),
    }


@pytest.mark.parametrize("name", sorted(acts()))
def test_another_tenants_license_is_unknown(shop: Context, bought: License, name: str) -> None:
    stranger = Tenant(new_id("ten"), "stranger", "Stranger")
    with shop.database.write() as connection:
        tenants.insert(connection, stranger, shop.clock.now())
    with pytest.raises(NotFound):
        acts()[name](shop, stranger.id, bought.id)
    assert held(shop, bought.id) == bought


def test_an_act_never_heals_an_altered_row(shop: Context, bought: License) -> None:
    world.alter(shop, bought, seats=1000)
    operate.resend(shop, shop.master.id, bought.id, STAFF)
    assert ask(shop, world.key_of(shop, bought)).code == "TAMPERED"
    (damage,) = license_views.check_integrity(shop, shop.master.id).damaged
    assert (damage.license, damage.row_altered, damage.entry) == (bought.id, True, None)


def test_a_merged_license_is_not_brought_back(shop: Context, bought: License) -> None:
    """Its purchase turned out to be another one, whose license counts."""
    gone = msgspec.structs.replace(bought, standing="revoked", reason="merged")
    with shop.database.write() as connection:
        licenses.update(connection, [sealed(shop, gone)])
        connection.exec_driver_sql("UPDATE purchases SET state = '{}'")
    assert operate.decide(shop, shop.master.id, bought.id, STAFF, "reinstate").status == "revoked"


def test_staff_can_stop_what_is_not_on_sale_any_more(shop: Context, bought: License) -> None:
    with shop.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE prices SET external_id = 'price_other' WHERE external_id = 'price_pro'"
        )
    assert operate.decide(shop, shop.master.id, bought.id, STAFF, "suspend").status == "suspended"
    row = operate.decide(shop, shop.master.id, bought.id, STAFF, "reinstate")
    assert (row.status, row.seats, row.entitled_until) == ("active", 3, bought.entitled_until)


def test_a_reason_keeps_no_card_number(shop: Context) -> None:
    act = Act("command line", "paid with 4242 4242 4242 4242 by phone")
    row, _ = operate.issue(shop, shop.master.id, Order("dashcaddy/plan-0", "a@example.com"), act)
    assert "4242" not in str(last_detail(shop, row.id))


def test_a_license_is_found_by_id_key_and_address(shop: Context) -> None:
    row, key = issued(shop)
    typed = key.lower().replace("-", " ")
    found = [
        license_views.resolve(shop, shop.master.id, text) for text in (row.id, key, typed, "Ann@example.com")
    ]
    assert found == [row.id] * 4
    issued(shop)
    with pytest.raises(Conflict, match=row.id):
        license_views.resolve(shop, shop.master.id, "ann@example.com")
    for unknown in ("lic_nope", "nobody@example.com", license_key.make("DC", b"x" * 15), ""):
        with pytest.raises(NotFound):
            license_views.resolve(shop, shop.master.id, unknown)


def test_pages_hold_every_license_once(shop: Context, clock: TurnableClock) -> None:
    made = [issued(shop, email=f"c{n}@example.com")[0].id for n in range(7)]
    operate.decide(shop, shop.master.id, made[3], STAFF, "suspend")
    for filters, expected in (
        ({}, made),
        ({"status": "active"}, [m for m in made if m != made[3]]),
        ({"status": "suspended"}, [made[3]]),
        ({"email": "C2@example.com"}, [made[2]]),
        ({"plan": "dashcaddy/plan-0"}, made),
        ({"plan": "plan-1"}, []),
        ({"product": "dashcaddy", "plan": "plan-0"}, made),
        ({"q": made[5]}, [made[5]]),
    ):
        found, cursor, pages = [], None, 0
        while pages == 0 or cursor is not None:
            page = license_views.list_licenses(shop, shop.master.id, filters, cursor=cursor, limit=3)
            assert len(page.items) <= 3
            found += [row.id for row in page.items]
            cursor, pages = page.next_cursor, pages + 1
        assert found == sorted(expected, reverse=True)


@pytest.mark.parametrize(
    "filters", [{"stauts": "active"}, {"status": "alive"}, {"product": "a", "plan": "b/c"}]
)
def test_a_filter_that_is_none_is_refused(shop: Context, filters: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        license_views.list_licenses(shop, shop.master.id, filters)


def test_a_status_is_what_the_license_is_now(shop: Context, bought: License, clock: TurnableClock) -> None:
    clock.turn(days=31)
    row = license_views.show(shop, shop.master.id, bought.id)
    assert row.status == status(bought, clock.now()) == "grace"


def test_events_are_listed_shown_and_replayed(shop: Context, clock: TurnableClock) -> None:
    tenant = shop.master.id
    made = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH, price="price_new")
    event = stripe.event("customer.subscription.created", made, clock.now(), id_="evt_provider")
    assert world.outcome(shop, event) == "parked PRICE_UNMAPPED"
    strange = stripe.event("customer.subscription.created", made, clock.now(), live=True)
    assert world.outcome(shop, strange) == "ignored WRONG_MODE"
    (row,) = events.list_events(shop, tenant, {"status": "parked", "provider": "stripe"}).items
    assert (row.event, row.provider) == ("evt_provider", "stripe")
    seen = events.show(shop, tenant, "evt_provider")
    assert (seen.id, "price_new" in str(seen.body)) == (row.id, True)
    world.add_plan(shop, "new", "price_new", Terms())
    would = events.replay_one(shop, tenant, "evt_provider", dry_run=True)
    assert (would.outcome, would.changed, world.all_licenses(shop)) == ("applied", True, [])
    done = events.replay_page(shop, tenant, {"status": "parked"}, dry_run=False)
    assert [(d.outcome, d.changed) for d in done.items] == [("applied", True)]
    assert world.the_license(shop).seats == 1
    (wrong,) = events.list_events(shop, tenant, {"status": "ignored"}).items
    with pytest.raises(Conflict):
        events.replay_one(shop, tenant, wrong.id, dry_run=False)
    assert events.replay_page(shop, tenant, {"status": "ignored"}, dry_run=False).items == []
