"""What providers list is compared with what is here: each kind of difference is told, repaired, and gone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain.errors import Invalid, Misconfigured, NotFound, ProviderUnavailable
from keywright.domain.license import status
from keywright.domain.plan import Terms
from keywright.flows import operate, reconcile, reconciliation_views, refetching, replay
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.flows.reconcile import Wish
from keywright.flows.reconciliation_views import AccountReport
from keywright.store.tables import (
    announcements,
    inbox,
    inbox_waits,
    licenses,
    prices,
    provider_accounts,
    purchases,
    reconciliations,
    refetches,
)
from tests.conftest import TurnableClock
from tests.life import hints, stripe, world
from tests.life.listing import HintLedger, Ledger, hinted_by, listed_by

MONTH = timedelta(days=30)


@pytest.fixture
def ledger(clock: TurnableClock) -> Ledger:
    return Ledger(clock)


@pytest.fixture
def shop(context: Context, ledger: Ledger) -> Context:
    """Sells two monthly plans through a provider that lists what happened."""
    world.stock(context, price_pro=Terms(), price_team=Terms())
    return listed_by(context, ledger)


def compare(context: Context, *, fix: bool = False, **more: object) -> AccountReport:
    (one,) = reconcile.reconcile(context, Wish(fix=fix, **more)).accounts  # type: ignore[arg-type]  # the test's own words
    return one


def kinds(report: AccountReport) -> list[str]:
    return sorted(finding.kind for finding in report.findings)


def bought(clock: TurnableClock, sub: str = "sub_1", **more: object) -> list[stripe.Json]:
    """A subscription's first month."""
    now, customer = clock.now(), f"cus_{sub}"
    made = stripe.subscription(sub, now, now + MONTH, customer=customer, **more)  # type: ignore[arg-type]  # as above
    price, quantity = str(more.get("price", "price_pro")), int(str(more.get("quantity", 1)))
    paid = stripe.invoice(
        f"in_{sub}", sub, now, now + MONTH, price=price, quantity=quantity, customer=customer
    )
    linked = stripe.invoice_payment(f"in_{sub}", f"pi_{sub}")
    return [
        stripe.event("customer.subscription.created", made, now),
        stripe.event("invoice.paid", paid, now),
        stripe.event("invoice_payment.paid", linked, now),
    ]


def updated(clock: TurnableClock, start_days_ago: float, **more: object) -> stripe.Json:
    start = clock.now() - timedelta(days=start_days_ago)
    seen = stripe.subscription("sub_1", start, start + MONTH, customer="cus_sub_1", **more)  # type: ignore[arg-type]  # as above
    return stripe.event("customer.subscription.updated", seen, clock.now())


def check_one(context: Context, kind: str, *words: str, license_: bool = True, before: bool = True) -> None:
    """It is found and nothing happens; it is found and repaired; it is gone."""
    rows = [world.count(context, table) for table in (inbox, licenses, purchases, announcements)]
    first = compare(context)
    assert kinds(first) == [kind]
    (finding,) = first.findings
    assert not finding.fixed
    for word in words:
        assert word in finding.fix
    assert (finding.before is not None) == before
    assert (finding.license is not None) == license_
    assert [world.count(context, t) for t in (inbox, licenses, purchases, announcements)] == rows
    assert first.applied == 0

    second = compare(context, fix=True)
    assert kinds(second) == [kind]
    assert second.findings[0].fixed
    assert second.applied == second.missing == first.missing > 0
    assert second.findings[0].license == world.the_license(context).id

    for fix in (False, True):
        third = compare(context, fix=fix)
        assert (third.found, third.missing, third.findings) == (0, 0, [])
        assert third.looked_at > 0


def test_a_purchase_whose_events_never_came(shop: Context, ledger: Ledger, clock: TurnableClock) -> None:
    ledger.happened(*bought(clock, quantity=3))
    check_one(shop, "paid-without-license", "3 seat(s)", "2026-12-01", license_=False, before=False)
    assert world.the_license(shop).seats == 3
    assert world.count(shop, announcements) == 1


def test_a_refund_that_was_not_heard_of(shop: Context, ledger: Ledger, clock: TurnableClock) -> None:
    world.hand_in(shop, *ledger.happened(*bought(clock)))
    clock.turn(days=1)
    ledger.happened(stripe.event("charge.refunded", stripe.refund("ch_1", "pi_sub_1"), clock.now()))
    check_one(shop, "refunded-but-valid", "Revoke", "refunded")
    assert status(world.the_license(shop), clock.now()) == "revoked"


def test_seats_that_were_changed(shop: Context, ledger: Ledger, clock: TurnableClock) -> None:
    world.hand_in(shop, *ledger.happened(*bought(clock)))
    clock.turn(days=1)
    ledger.happened(updated(clock, 1, quantity=5))
    check_one(shop, "wrong-seats", "from 1 to 5")
    assert world.the_license(shop).seats == 5


def test_a_plan_that_was_changed(shop: Context, ledger: Ledger, clock: TurnableClock) -> None:
    world.hand_in(shop, *ledger.happened(*bought(clock)))
    clock.turn(days=1)
    ledger.happened(updated(clock, 1, price="price_team"))
    check_one(shop, "wrong-plan", "pla_plan-0", "pla_plan-1")
    assert world.the_license(shop).plan_id == "pla_plan-1"


def test_a_renewal_that_was_not_heard_of(shop: Context, ledger: Ledger, clock: TurnableClock) -> None:
    world.hand_in(shop, *ledger.happened(*bought(clock)))
    clock.turn(days=30)
    paid = stripe.invoice("in_2", "sub_1", clock.now(), clock.now() + MONTH, customer="cus_sub_1")
    ledger.happened(updated(clock, 0), stripe.event("invoice.paid", paid, clock.now()))
    check_one(shop, "wrong-dates", "2026-12-01", "2026-12-31")


def test_a_license_whose_subscription_was_never_paid(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    trial = stripe.subscription(
        "sub_1", clock.now(), clock.now() + MONTH, status="trialing", customer="cus_sub_1"
    )
    world.hand_in(shop, *ledger.happened(stripe.event("customer.subscription.created", trial, clock.now())))
    clock.turn(days=2)
    ended = {**trial, "status": "canceled", "ended_at": stripe.stamp(clock.now())}
    ledger.happened(stripe.event("customer.subscription.deleted", ended, clock.now()))
    clock.turn(hours=1)
    check_one(shop, "license-without-payment", "no payment covers it")
    assert status(world.the_license(shop), clock.now()) == "expired"


def test_an_event_that_changes_no_license(shop: Context, ledger: Ledger, clock: TurnableClock) -> None:
    world.hand_in(shop, *ledger.happened(*bought(clock)))
    clock.turn(days=1)
    ledger.happened(updated(clock, 1))
    report = compare(shop)
    assert kinds(report) == ["missed-event"]
    assert report.findings[0].object == ledger.events[-1]["id"]
    assert compare(shop, fix=True).applied == 1
    assert compare(shop).found == 0


def test_a_purchase_altered_by_hand_is_what_the_provider_says_again(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    """Its events are all here, so only the subscription as it is now tells of it."""
    world.hand_in(shop, *bought(clock, quantity=2))
    now = clock.now()
    ledger.objects["sub_1"] = stripe.subscription("sub_1", now, now + MONTH, customer="cus_sub_1", quantity=2)
    assert compare(shop).found == 0
    with shop.database.write() as connection:
        state = str(connection.execute(sa.select(purchases.c.state)).scalar_one())
        connection.execute(sa.update(purchases).values(state=state.replace('"quantity":2', '"quantity":1')))
    clock.turn(hours=1)
    # A harmless event has the license written from the altered purchase.
    world.hand_in(shop, updated(clock, 1 / 24, quantity=1))
    clock.turn(hours=1)
    check_one(shop, "wrong-seats", "from 1 to 2")


def test_what_is_fetched_and_says_nothing_new_is_not_kept(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    world.hand_in(shop, *bought(clock))
    now = clock.now()
    ledger.objects["sub_1"] = stripe.subscription("sub_1", now, now + MONTH, customer="cus_sub_1")
    ledger.objects["sub_2"] = stripe.subscription("sub_2", now, now + MONTH, price="price_of_something_else")
    rows = world.count(shop, inbox)
    for _ in range(3):
        clock.turn(hours=1)
        report = compare(shop, fix=True)
        assert kinds(report) == ["price-unmapped"]
        assert report.missing == 0
    assert world.count(shop, inbox) == rows + 1, "what a person has to look at is kept once"


def test_a_price_without_a_plan_is_told_until_there_is_one(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    ledger.happened(*bought(clock, price="price_new")[:1])
    for fix, fixed in ((False, False), (True, False), (False, False)):
        report = compare(shop, fix=fix)
        assert kinds(report) == ["price-unmapped"]
        assert (report.findings[0].manual, report.findings[0].fixed) == (True, fixed)
        assert "catalog apply" in report.findings[0].fix
    world.add_plan(shop, "new", "price_new", Terms())
    clock.turn(minutes=10)
    assert replay.retry_due(shop) == 1
    assert compare(shop).found == 0
    assert world.the_license(shop).plan_id == "pla_new"


def test_an_event_that_failed_before_is_tried_again(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    world.hand_in(shop, *ledger.happened(*bought(clock)))
    clock.turn(hours=1)
    (dead,) = ledger.happened(updated(clock, 1 / 24, quantity=4))
    world.hand_in(shop, dead)
    with shop.database.write() as connection:
        # As the eighth failure leaves it, with the license as it was.
        connection.execute(
            sa.update(inbox).where(inbox.c.dedupe_key == dead["id"]).values(status="dead", reason="FAILED")
        )
        connection.execute(sa.update(licenses).values(seats=1))
    report = compare(shop, fix=True)
    assert (report.missing, report.applied) == (1, 1)
    assert compare(shop, fix=True).found == 0


def test_the_dry_run_leaves_no_trace_and_sees_a_whole_purchase(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    """A refund on another page than its payment: looked at together, or it would wait for a partner."""
    ledger.happened(*bought(clock))
    for number in range(40):
        ledger.happened(*bought(clock, f"sub_o{number}"))
    ledger.happened(stripe.event("charge.refunded", stripe.refund("ch_1", "pi_sub_1"), clock.now()))
    report = compare(shop)
    assert kinds(report) == ["paid-without-license"] * 41
    assert report.missing == 124
    (one,) = [f for f in report.findings if f.object == "sub_1"]
    assert one.after is not None
    assert one.after["reason"] == "refunded"
    for table in (inbox, licenses, purchases, announcements, refetches):
        assert world.count(shop, table) == 0


def test_the_cursor_follows_runs_that_repaired_all(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    start = clock.now()
    compare(shop)
    assert until(shop) is None, "a dry run has not brought anything here"
    compare(shop, fix=True, since=start - timedelta(days=1))
    assert until(shop) is None, "what happened before was not looked at"
    compare(shop, fix=True)
    assert until(shop) == start
    clock.turn(hours=5)
    compare(shop, fix=True, since=start - timedelta(days=3))
    assert until(shop) == start + timedelta(hours=5)
    compare(shop)
    day = timedelta(days=1)
    assert ledger.asked_since == [
        start - 30 * day,
        start - day,
        start - 30 * day,
        start - 3 * day,
        start + timedelta(hours=4),
    ]


def until(context: Context) -> object:
    with context.database.read() as connection:
        cursor = sa.select(provider_accounts.c.reconciled_until)
        return connection.execute(cursor.where(provider_accounts.c.provider == "stripe")).scalar_one()


@pytest.mark.parametrize(
    "trouble", [ProviderUnavailable("Nobody answers."), Misconfigured("The key was revoked.")]
)
def test_trouble_ends_the_run_keeps_what_was_done_and_is_made_good_by_the_next(
    shop: Context, ledger: Ledger, clock: TurnableClock, trouble: ProviderUnavailable | Misconfigured
) -> None:
    for number in range(10):
        ledger.happened(*bought(clock, f"sub_{number}"))
    ledger.breaks_at, ledger.broken = 2, trouble
    report = compare(shop, fix=True)
    assert report.error == trouble.detail
    assert (report.looked_at, report.applied) == (14, 14)
    assert until(shop) is None
    ledger.broken = None
    report = compare(shop, fix=True)
    assert (report.error, report.applied) == (None, 16)
    assert len(world.all_licenses(shop)) == 10
    assert until(shop) == clock.now()
    assert compare(shop, fix=True).found == 0


def test_trouble_with_one_provider_leaves_the_others_alone(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    both, _desk = hints.open_desk(shop, clock)
    ledger.happened(*bought(clock))
    ledger.broken = ProviderUnavailable("Nobody answers.")
    reports = reconcile.reconcile(both, Wish(fix=True)).accounts
    assert [(r.provider, r.error) for r in reports] == [("hints", None), ("stripe", "Nobody answers.")]


def test_a_list_that_repeats_itself_ends(shop: Context, ledger: Ledger, clock: TurnableClock) -> None:
    ledger.happened(*bought(clock))
    ledger.page = 0
    assert compare(shop).error == "The provider's list does not go on."


def test_runs_are_kept_with_what_they_found(shop: Context, ledger: Ledger, clock: TurnableClock) -> None:
    for number in range(3):
        ledger.happened(*bought(clock, f"sub_{number}"))
    made = compare(shop, fix=True)
    compare(shop, fix=True)
    page = reconciliation_views.list_runs(shop, shop.master.id, provider="stripe", limit=1)
    assert page.items[0].found == 0
    page = reconciliation_views.list_runs(shop, shop.master.id, provider=None, cursor=page.next_cursor)
    assert page.items == [made]
    assert page.next_cursor is None
    assert made.counts == {"paid-without-license": 3}
    assert reconciliation_views.show(shop, shop.master.id, made.id) == made
    assert reconciliation_views.list_runs(shop, shop.master.id, provider="paypal").items == []
    with pytest.raises(NotFound):
        reconciliation_views.show(shop, "ten_other", made.id)


def test_what_is_stored_of_a_run_is_bounded_and_keeps_what_matters(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    ledger.page = 100
    world.hand_in(shop, *bought(clock, "sub_2"))
    ledger.happened(*bought(clock))
    for number in range(600):
        event = updated(clock, 0)
        event["id"] = f"evt_noise_{number}"
        event["data"]["object"]["id"] = "sub_2"
        event["data"]["object"]["customer"] = "cus_sub_2"
        ledger.happened(event)
    report = compare(shop, fix=True)
    assert report.applied == 603
    assert report.counts == {"missed-event": 600, "paid-without-license": 1}
    assert len(report.findings) == 500
    assert report.findings[0].kind == "paid-without-license"
    with shop.database.read() as connection:
        assert len(connection.execute(sa.select(reconciliations.c.findings)).scalar_one()) < 200_000
    assert compare(shop, fix=True).found == 0


def test_progress_is_told_page_by_page(shop: Context, ledger: Ledger, clock: TurnableClock) -> None:
    ledger.happened(*bought(clock), *bought(clock, "sub_2"), *bought(clock, "sub_3"))
    told: list[tuple[str, int, int | None]] = []
    reconcile.reconcile(shop, Wish(), lambda *step: told.append(step))
    assert told == [("stripe", 7, 9), ("stripe", 9, 9)]


def test_what_cannot_be_compared_is_refused(shop: Context, context: Context, clock: TurnableClock) -> None:
    with pytest.raises(NotFound, match="paypal"):
        reconcile.reconcile(shop, Wish(provider="paypal"))
    with pytest.raises(Invalid, match="future"):
        reconcile.reconcile(shop, Wish(since=clock.now() + timedelta(seconds=1)))


def test_an_event_that_cannot_be_taken_in_does_not_stop_its_neighbors(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    ledger.happened(*bought(clock), *bought(clock, "sub_2"))
    broken = updated(clock, 0)
    del broken["data"]["object"]["status"]
    ledger.happened(broken)
    report = compare(shop)
    assert kinds(report) == ["paid-without-license", "paid-without-license", "unreadable"]
    assert compare(shop, fix=True).counts == {"paid-without-license": 2, "unreadable": 1}
    report = compare(shop, fix=True)
    assert len(world.all_licenses(shop)) == 2
    assert world.count(shop, inbox) == 7


REFERENCE = "KW-AAAABBBBCCCCDDDD"


@pytest.fixture
def hint(clock: TurnableClock) -> HintLedger:
    return HintLedger(clock)


@pytest.fixture
def till(context: Context, hint: HintLedger) -> Context:
    """Sells one perpetual plan through a provider whose events prove nothing, and lists them."""
    world.stock(context, price_stripe=Terms(term="perpetual"))
    with context.database.write() as connection:
        connection.execute(
            sa.insert(prices).values(
                id="pri_naira",
                tenant_id=context.master.id,
                plan_id="pla_plan-0",
                provider=hints.NAME,
                key="once",
                amount=5000,
                currency="NGN",
            )
        )
    opened = hinted_by(context, hint)
    hints.order(opened, REFERENCE, plan="pla_plan-0", price="pri_naira")
    return opened


def test_events_that_prove_nothing_are_asked_about_and_looked_at_whole(
    till: Context, hint: HintLedger
) -> None:
    hint.orders[REFERENCE] = {"amount": 5000, "currency": "NGN"}
    for _ in range(3):
        hint.told_of(REFERENCE)
    first = compare(till)
    assert kinds(first) == ["paid-without-license"]
    assert first.findings[0].object == REFERENCE
    assert (first.missing, hint.asked) == (3, [REFERENCE]), "asked once, however many events name it"
    for table in (inbox, licenses, refetches, inbox_waits):
        assert world.count(till, table) == 0

    second = compare(till, fix=True)
    assert (second.applied, second.found) == (3, 1)
    assert world.the_license(till).entitled_until is not None
    assert world.count(till, refetches) == world.count(till, inbox_waits) == 0
    with till.database.read() as connection:
        assert set(connection.execute(sa.select(inbox.c.status)).scalars()) == {"applied"}
    assert compare(till, fix=True).found == 0


def test_an_event_that_came_and_was_never_asked_about_stays_with_the_refetches(
    till: Context, hint: HintLedger
) -> None:
    """It is here and owed an answer already: that is no difference."""
    hint.orders[REFERENCE] = {"amount": 5000, "currency": "NGN"}
    hint.told_of(REFERENCE)
    assert hints.tell(till, hint.sent[0]) == ["accepted"]
    assert compare(till, fix=True).found == 0
    assert refetching.run_due(till) == 1
    assert world.the_license(till).entitled_until is not None


@pytest.mark.parametrize(
    ("order", "amount", "kind", "words"),
    [
        (REFERENCE, 1, "amount-mismatch", "amount ordered"),
        ("KW-ZZZZZZZZZZZZZZZZ", 5000, "order-unknown", "No checkout of ours"),
    ],
)
def test_what_only_a_person_can_decide_is_told_each_time_and_kept_once(
    till: Context, hint: HintLedger, clock: TurnableClock, order: str, amount: int, kind: str, words: str
) -> None:
    hint.orders[order] = {"amount": amount, "currency": "NGN"}
    hint.told_of(order)
    assert kind in kinds(compare(till))
    (told,) = [f for f in compare(till, fix=True).findings if f.kind == kind]
    assert words in told.fix
    assert (told.manual, told.fixed) == (True, False)
    kept = world.count(till, inbox)
    for _ in range(2):
        clock.turn(minutes=20)
        hint.told_of(order)
        assert kind in kinds(compare(till, fix=True))
        kept += 1
        assert world.count(till, inbox) == kept, "the new event, and nothing else"
    assert world.all_licenses(till) == []


def test_a_provider_that_falls_silent_in_between_ends_the_run(till: Context, hint: HintLedger) -> None:
    hint.orders[REFERENCE] = {"amount": 5000, "currency": "NGN"}
    hint.told_of(REFERENCE)
    hint.trouble = ProviderUnavailable("Nobody answers.")
    report = compare(till, fix=True)
    assert (report.error, report.applied) == ("Nobody answers.", 0)
    hint.trouble = None
    assert compare(till, fix=True).applied == 1


def test_a_purchase_met_first_by_another_process_is_compared_again(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    """Eight runs at once, beside the webhooks of the same events: each event has one effect."""
    for number in range(12):
        ledger.happened(*bought(clock, f"sub_{number}"))
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(compare, replace(shop), fix=True) for _ in range(4)]
        for event in reversed(ledger.events):
            world.hand_in(shop, event)
        reports = [run.result() for run in runs]
    assert [report.error for report in reports] == [None] * 4
    assert all("failed-event" not in report.counts for report in reports)
    assert len(world.all_licenses(shop)) == 12
    assert world.count(shop, announcements) == 12
    assert world.count(shop, inbox) == 36
    assert compare(shop).found == 0


def test_a_subscription_that_no_list_speaks_of_any_more_is_asked_for(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    """The server was away for longer than the provider keeps events."""
    world.hand_in(shop, *bought(clock), *bought(clock, "sub_2"), *bought(clock, "sub_3"))
    clock.turn(days=35)
    for number, state in ((1, "canceled"), (2, "active")):
        start = clock.now() - timedelta(days=5 if number == 2 else 35)
        now = stripe.subscription(
            f"sub_{number}", start, start + MONTH, status=state, customer=f"cus_sub_{number}",
            ended_at=stripe.stamp(clock.now() - timedelta(days=33)) if number == 1 else None,
        )  # fmt: skip
        ledger.answers[f"sub_{number}"] = stripe.event("customer.subscription.updated", now, clock.now())
    report = compare(shop, fix=True)
    found = {f.object: (f.kind, f.fixed, f.manual) for f in report.findings}
    assert found == {
        "sub_1": ("license-without-payment", True, False),
        "sub_2": ("wrong-dates", True, False),
        "sub_3": ("license-without-payment", False, True),
    }
    assert "knows no such subscription" in next(f.fix for f in report.findings if f.object == "sub_3")
    asked = len(ledger.asked)
    assert compare(shop, fix=True).found == 0
    assert len(ledger.asked) == asked, "only after so long"


def test_a_run_that_was_killed_starts_again_where_it_started(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    for number in range(700):
        ledger.happened(*bought(clock, f"sub_{number}"))
    ledger.page = 1000

    class Killed(BaseException):
        """What ends a process is no Exception."""

    def die(_provider: str, done: int, _total: int | None) -> None:
        if done > 2000:  # the first two pages are compared by then
            raise Killed

    with pytest.raises(Killed):
        reconcile.reconcile(shop, Wish(fix=True), die)
    (killed,) = reconciliation_views.list_runs(shop, shop.master.id, provider=None).items
    assert (killed.finished_at, killed.found, until(shop)) == (None, 0, None)
    part = len(world.all_licenses(shop))
    assert 0 < part < 700
    report = compare(shop, fix=True)
    assert report.error is None
    assert len(world.all_licenses(shop)) == 700
    assert compare(shop, fix=True).found == 0


def test_the_hourly_run_repairs(
    shop: Context, context: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    ledger.happened(*bought(clock))
    reconcile.run(shop, None)
    assert status(world.the_license(shop), clock.now()) == "active"
    assert until(shop) == clock.now()
    deaf = replace(context, channels={"stripe": replace(context.channels["stripe"], api=None)})
    reconcile.run(deaf, None)
    assert world.count(shop, reconciliations) == 1, "with nobody to ask there is nothing to write down"
    with pytest.raises(NotFound, match="No provider"):
        reconcile.reconcile(deaf, Wish())
    assert compare(deaf, provider="stripe").error == "There is no API key to ask the provider with."


def test_what_is_asked_for_in_the_background_is_what_is_done(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    ledger.happened(*bought(clock))
    since = clock.now() - timedelta(days=2)
    reconcile.run(shop, msgspec.json.encode(Wish("stripe", since)).decode())
    (told,) = reconciliation_views.list_runs(shop, shop.master.id, provider="stripe").items
    assert (told.fixed, told.since, told.found, told.applied) == (False, since, 1, 0)
    with pytest.raises(NotFound, match="paypal"):
        reconcile.enqueue(shop, Wish("paypal"))
    assert reconcile.enqueue(shop, Wish("stripe")).startswith("reconcile-bat_")


def test_an_operators_word_stands_above_what_was_missed(
    shop: Context, ledger: Ledger, clock: TurnableClock
) -> None:
    world.hand_in(shop, *ledger.happened(*bought(clock)))
    held = world.the_license(shop)
    operate.decide(shop, shop.master.id, held.id, Act("command line", "fraud"), "revoke")
    clock.turn(days=1)
    ledger.happened(updated(clock, 1, quantity=2))
    compare(shop, fix=True)
    after = world.the_license(shop)
    assert (status(after, clock.now()), after.seats) == ("revoked", 2)
    assert compare(shop).found == 0
