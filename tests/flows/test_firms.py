"""Plans for firms: the HMAC key of a license, from the checkout to the last day, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain import hmac_key, license_key
from keywright.domain.errors import Invalid, KeywrightError, Misconfigured, NotFound
from keywright.domain.license import License
from keywright.domain.plan import Terms
from keywright.flows import announce, checkout, firm_keys, firms, license_views, licensing, operate, renewing
from keywright.flows.checkout import Ask
from keywright.flows.context import Context
from keywright.flows.licensing import Bookkeeping, Verdict
from keywright.flows.operate import Act, Order
from keywright.signing.hmac_key import DerivedSecrets
from keywright.store.firm_tables import hmac_keys
from keywright.store.operating_tables import audit
from keywright.store.tables import announcements as owed_table
from keywright.store.tables import plans, products, timeline
from tests.conftest import TurnableClock
from tests.life import stripe, world
from tests.life.payments import PayDesk, selling_through

FIRM = "Norddeutsche Wasserwerke"
MASTER = "the master secret of this test, long enough"
YEAR = 365 * 86400
ONSITE = Terms(profile="hmac", term=YEAR, on_repurchase="replace", grace=14 * 86400)
ACT = Act("staff stf_1", "because")
# For what asks the database nothing that others do not ask it.
on_one_database = pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)


@pytest.fixture
def desk(clock: TurnableClock) -> PayDesk:
    return PayDesk(clock)


@pytest.fixture
def shop(context: Context, desk: PayDesk) -> Context:
    """Sells `dashcaddy/plan-0` for a year, and `dashcaddy/plan-1` monthly, both bound to a firm."""
    made = replace(context, firm_secrets=DerivedSecrets(MASTER))
    world.stock(made, price_year=ONSITE, price_month=Terms(profile="hmac", on_repurchase="extend"))
    with made.database.write() as connection:
        connection.execute(sa.update(products).values(code=513))
        for number in (0, 1):
            named = plans.c.id == f"pla_plan-{number}"
            connection.execute(sa.update(plans).where(named).values(code=3 + number))
    return selling_through(made, desk)


def buy(shop: Context, desk: PayDesk, plan: int = 0, **more: Any) -> tuple[str, License]:
    """Buy once. Returns the reference and the newest license."""
    asked = {"firm": FIRM, **more}
    proof = asked.pop("proof", renewing.NO_PROOF)
    opened = checkout.open_checkout(shop, Ask(f"dashcaddy/plan-{plan}", **asked), proof=proof)
    for event in paid(shop, opened.reference):
        assert world.outcome(shop, event) == "applied"
    return opened.reference, world.all_licenses(shop)[0]


def paid(shop: Context, reference: str, *, customer: str = "cus_1") -> list[stripe.Json]:
    intent = f"pi_{reference[3:]}"
    session = stripe.session(f"cs_{reference[3:]}", reference=reference, intent=intent, customer=customer)
    return [stripe.event("checkout.session.completed", session, shop.clock.now())]


def refunded(shop: Context, reference: str) -> stripe.Json:
    given = stripe.refund(f"ch_{reference[3:]}", f"pi_{reference[3:]}")
    return stripe.event("charge.refunded", given, shop.clock.now())


def key_of(shop: Context, held: License) -> firm_keys.FirmKey:
    key = firm_keys.opened(shop, held)
    assert key is not None
    return key


def secret(shop: Context, firm: str = FIRM, epoch: int = 1) -> bytes:
    return DerivedSecrets(MASTER).secret_of(shop.master.id, 513, firm, epoch)


def ask(shop: Context, key: str, **more: Any) -> Verdict:
    asked = licensing.check(shop, licensing.Ask(key, **more), fingerprint_needed=False)
    asked = licensing.settle(shop, asked) if asked.also else asked
    return licensing.validate(shop, Bookkeeping(), asked)


def look(shop: Context, held: License) -> License:
    return next(one for one in world.all_licenses(shop) if one.id == held.id)


def mails(shop: Context, held: License) -> int:
    query = sa.select(sa.func.count()).where(
        owed_table.c.license_id == held.id, owed_table.c.kind == "license.issued"
    )
    with shop.database.read() as connection:
        return int(connection.execute(query).scalar_one())


def kinds(shop: Context, held: License) -> list[str]:
    query = sa.select(timeline.c.kind).where(timeline.c.license_id == held.id).order_by(timeline.c.seq)
    with shop.database.read() as connection:
        return list(connection.execute(query).scalars())


def damage(shop: Context) -> list[tuple[str, str | None]]:
    found = license_views.check_integrity(shop, shop.master.id).damaged
    return [("altered" if one.row_altered else "ok", one.key) for one in found]


def refusal(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(KeywrightError) as caught:
        call()
    return caught.value.status, caught.value.code


# -- made ------------------------------------------------------------------------------------------------


def test_a_bought_license_has_a_key_that_the_firm_can_check_alone(
    shop: Context, desk: PayDesk, clock: TurnableClock
) -> None:
    _, held = buy(shop, desk)
    key = key_of(shop, held)
    presented = hmac_key.read(key.short)
    assert presented is not None
    assert hmac_key.is_proven(presented, FIRM, secret(shop))
    assert not hmac_key.is_proven(presented, FIRM + "x", secret(shop, FIRM + "x"))
    assert (key.body.product, key.body.tier, key.body.seats, key.body.epoch) == (513, 3, 1, 1)
    assert key.body.last_date == (clock.now() + timedelta(seconds=YEAR)).date()
    assert damage(shop) == []


@on_one_database
def test_the_key_is_in_the_mail_and_on_the_claim_page_and_the_firm_is_not(
    shop: Context, desk: PayDesk
) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-0", firm=f" {FIRM} "))
    for event in paid(shop, opened.reference):
        world.outcome(shop, event)
    held = world.the_license(shop)
    assert held.firm == FIRM
    key = key_of(shop, held)
    (shown,) = checkout.claim(shop, opened.reference, opened.claim_token).licenses or ()
    assert shown.hmac_key == key.short
    with shop.database.read() as connection:
        batch = connection.execute(sa.select(owed_table.c.batch)).scalars().first()
    announce.send_due(shop, str(batch))
    outbox = shop.policy.outbox
    assert outbox is not None
    (mail,) = outbox.glob("*.eml")
    text = mail.read_text()
    assert key.short in text
    assert FIRM not in text


@on_one_database
def test_a_plan_for_firms_needs_one(shop: Context) -> None:
    plan = "dashcaddy/plan-0"
    for firm, code in ((None, "FIRM_REQUIRED"), ("", "FIRM_INVALID"), ("x" * 201, "FIRM_INVALID")):
        wish = Ask(plan, firm=firm)
        assert refusal(lambda wish=wish: checkout.open_checkout(shop, wish)) == (422, code)  # type: ignore[misc]  # a default binds it
    without = replace(shop, firm_secrets=None)
    wish = Ask(plan, firm=FIRM)
    assert refusal(lambda: checkout.open_checkout(without, wish)) == (422, "PROFILE_UNAVAILABLE")


def test_a_license_without_a_firm_is_told_of_and_can_be_given_one(
    shop: Context, clock: TurnableClock
) -> None:
    sub = stripe.subscription("sub_1", clock.now(), clock.now() + timedelta(days=30), price="price_month")
    world.outcome(shop, stripe.event("customer.subscription.created", sub, clock.now()))
    held = world.the_license(shop)
    assert (held.firm, held.hmac_sealed) == (None, None)
    assert ask(shop, world.key_of(shop, held)).code == "VALID"
    with shop.database.read() as connection:
        told = connection.execute(sa.select(owed_table.c.kind)).scalars().all()
    assert "alarm.hmac_key_missing" in told
    firms.name_firm(shop, shop.master.id, held.id, FIRM, ACT)
    held = look(shop, held)
    assert held.firm == FIRM
    assert ask(shop, key_of(shop, held).short).code == "VALID"
    assert damage(shop) == []
    assert "license.firm_named" in kinds(shop, held)


def test_staff_issue_for_firms(shop: Context) -> None:
    order = Order("dashcaddy/plan-0", "a@example.com", seats=70_000)
    assert refusal(lambda: operate.issue(shop, shop.master.id, order, ACT)) == (422, "FIRM_REQUIRED")
    named = msgspec.structs.replace(order, firm="Caf\u0065\u0301 ")
    row, _ = operate.issue(shop, shop.master.id, named, ACT)
    assert row.firm == "Caf\u00e9"
    key = key_of(shop, world.the_license(shop))
    assert key.body.seats == hmac_key.MOST_SEATS
    assert ask(shop, key.short).code == "VALID"
    without = replace(shop, firm_secrets=None)
    assert refusal(lambda: operate.issue(without, shop.master.id, named, ACT))[1] == Misconfigured.code


# -- renewed ---------------------------------------------------------------------------------------------


def subscribe(shop: Context, clock: TurnableClock, *, days: int = 30, quantity: int = 1) -> None:
    at = clock.now()
    until = at + timedelta(days=days)
    running = stripe.subscription(
        "sub_1", at, until, price="price_month", quantity=quantity, reference=REFERENCE[0]
    )
    settled = stripe.invoice(
        f"in_{at.timestamp()}", "sub_1", at, until, price="price_month", quantity=quantity
    )
    world.hand_in(
        shop,
        stripe.event("customer.subscription.updated", running, at),
        stripe.event("invoice.paid", settled, at),
    )


REFERENCE = [""]


def test_a_renewal_makes_a_new_key_and_honors_the_old_one(shop: Context, clock: TurnableClock) -> None:
    opened = checkout.open_checkout(shop, Ask("dashcaddy/plan-1", firm=FIRM))
    REFERENCE[0] = opened.reference
    subscribe(shop, clock)
    first = world.the_license(shop)
    old = key_of(shop, first)
    assert old.body.last_date == (clock.now() + timedelta(days=44)).date()  # with the grace period
    clock.turn(days=30)
    subscribe(shop, clock, quantity=4)
    held = world.the_license(shop)
    new = key_of(shop, held)
    assert new.body.seats == 4
    assert new.body.last_day == old.body.last_day + 30
    assert new.body.serial == old.body.serial
    assert mails(shop, held) == 2
    assert ask(shop, old.short).code == ask(shop, new.short).code == "VALID"
    clock.turn(days=15)
    late = ask(shop, old.short)
    assert (late.code, late.valid, late.next_action) == ("EXPIRED", False, "renew")
    assert "newer key" in late.detail
    assert ask(shop, new.short).code == ask(shop, world.key_of(shop, held)).code == "VALID"
    assert damage(shop) == []


@on_one_database
def test_what_changes_nothing_makes_no_key(shop: Context, desk: PayDesk) -> None:
    reference, held = buy(shop, desk)
    for event in paid(shop, reference):
        world.hand_in(shop, event)
    operate.resend(shop, shop.master.id, held.id, ACT)
    assert look(shop, held).hmac_sealed == held.hmac_sealed
    assert world.count(shop, hmac_keys) == 1


@on_one_database
def test_staff_extend_and_the_key_follows(shop: Context, desk: PayDesk) -> None:
    _, held = buy(shop, desk)
    operate.extend(shop, shop.master.id, held.id, ACT, days=10)
    after = look(shop, held)
    assert key_of(shop, after).body.last_day == key_of(shop, held).body.last_day + 10
    assert mails(shop, held) == 2
    assert damage(shop) == []


# -- as a credential -------------------------------------------------------------------------------------


@on_one_database
def test_every_form_of_a_key_is_a_credential(shop: Context, desk: PayDesk) -> None:
    _, held = buy(shop, desk)
    key = key_of(shop, held)
    for text in (key.short, key.short.lower().replace("-", " "), key.full, hmac_key.to_file(key.full)):
        verdict = ask(shop, text)
        assert (verdict.code, verdict.license and verdict.license.id) == ("VALID", held.id)


@on_one_database
def test_a_key_that_we_never_made_is_unknown(shop: Context, desk: PayDesk) -> None:
    _, held = buy(shop, desk)
    key = key_of(shop, held)
    more = msgspec.structs.replace(key.body, seats=9)
    for text in (
        hmac_key.make(secret(shop), FIRM, more),  # rightly signed by somebody who has the secret
        hmac_key.make(bytes(64), FIRM, key.body),
        key.full[:60] + ("0" if key.full[60] != "0" else "1") + key.full[61:],  # the short part is right
    ):
        assert ask(shop, text).code == "NOT_FOUND"


def test_a_machine_is_activated_with_an_hmac_key(shop: Context, desk: PayDesk) -> None:
    from keywright.flows import activating

    _, held = buy(shop, desk)
    wish = licensing.Ask(key_of(shop, held).short, fingerprint="machine-0001")
    asked = licensing.settle(shop, licensing.check(shop, wish, fingerprint_needed=True))
    assert activating.activate(shop, asked).code == "VALID"
    assert ask(shop, world.key_of(shop, held), fingerprint="machine-0001").code == "VALID"
    assert licensing.deactivate(shop, asked)[1] is None


# -- altered by hand -------------------------------------------------------------------------------------


def alter_keys(shop: Context, **values: Any) -> None:
    with shop.database.write() as connection:
        connection.execute(sa.update(hmac_keys).values(**values))


@on_one_database
@pytest.mark.parametrize(
    "values", [{"hmac_sealed": "v1.AAAA"}, {"hmac_sealed": None}, {"firm": "Acme"}], ids=str
)
def test_a_stored_key_that_was_altered_is_found_at_every_validation(
    shop: Context, desk: PayDesk, values: dict[str, Any]
) -> None:
    _, held = buy(shop, desk)
    short = key_of(shop, held).short
    world.alter(shop, held, **values)
    for key in (short, world.key_of(shop, held)):
        assert ask(shop, key).code == "TAMPERED"
    assert damage(shop)[0][0] == "altered"


def test_a_hash_that_was_led_elsewhere_is_found(shop: Context, desk: PayDesk) -> None:
    _, held = buy(shop, desk)
    _, other = buy(shop, desk, firm="Acme")
    short = key_of(shop, held).short
    with shop.database.write() as connection:
        mine = hmac_keys.c.license_id == held.id
        connection.execute(sa.update(hmac_keys).where(mine).values(license_id=other.id))
    assert ask(shop, short).code == "TAMPERED"
    assert ask(shop, world.key_of(shop, other)).code == "VALID"
    assert sorted(damage(shop), key=str) == [("ok", "hmac"), ("ok", "hmac")]


def test_a_forged_or_missing_hash_is_found(shop: Context, desk: PayDesk) -> None:
    _, held = buy(shop, desk)
    short = key_of(shop, held).short
    alter_keys(shop, mac="0" * 32)
    assert ask(shop, short).code == "TAMPERED"
    assert damage(shop) == [("ok", "hmac")]
    with shop.database.write() as connection:
        connection.execute(sa.delete(hmac_keys))
    assert ask(shop, short).code == "NOT_FOUND"
    assert damage(shop) == [("ok", "hmac")]


@on_one_database
def test_another_license_key_in_the_vault_is_found(shop: Context, desk: PayDesk) -> None:
    _, held = buy(shop, desk)
    other = license_key.fresh(bytes(15))
    for sealed in (shop.vault.seal(held.tenant_id, "license-key", held.id, other), "v1.none"):
        world.alter(shop, held, key_sealed=sealed)
        assert damage(shop) == [("ok", "license")]


@on_one_database
def test_no_key_is_made_of_an_altered_row(shop: Context, desk: PayDesk) -> None:
    _, held = buy(shop, desk)
    world.alter(shop, held, seats=500, firm="Acme")
    operate.extend(shop, shop.master.id, held.id, ACT, days=10)
    assert look(shop, held).hmac_sealed == held.hmac_sealed
    assert refusal(lambda: firms.name_firm(shop, shop.master.id, held.id, "Other", ACT))[1] == "TAMPERED"


# -- secrets ---------------------------------------------------------------------------------------------


def test_a_firms_secret_checks_its_keys_and_is_audited(shop: Context, desk: PayDesk) -> None:
    _, held = buy(shop, desk)
    shown = firms.secrets_of(shop, shop.master.id, f" {FIRM}", ACT)
    assert (shown.firm, shown.product, shown.epoch) == (FIRM, "dashcaddy", 1)
    assert shown.secret not in repr(shown)
    with shop.database.read() as connection:
        (entry,) = connection.execute(sa.select(audit)).mappings().all()
    assert (entry["actor"], entry["act"]) == ("staff stf_1", "firm.secret_shown")
    assert shown.secret.partition(".")[2] not in entry["detail"]
    assert FIRM not in entry["detail"]
    assert hmac_key.is_proven(hmac_key.read(key_of(shop, held).short), FIRM, secret(shop))  # type: ignore[arg-type]  # it is one


def test_a_new_secret_makes_new_keys_and_two_are_accepted(shop: Context, desk: PayDesk) -> None:
    _, held = buy(shop, desk)
    keys = [key_of(shop, held).short]
    for epoch in (2, 3):
        assert firms.secrets_of(shop, shop.master.id, FIRM, ACT, rotate=True).epoch == epoch
        keys.append(key_of(shop, look(shop, held)).short)
    presented = hmac_key.read(keys[-1])
    assert presented is not None
    assert hmac_key.is_proven(presented, FIRM, secret(shop, epoch=3))
    assert [ask(shop, key).code for key in keys] == ["EXPIRED", "VALID", "VALID"]
    assert mails(shop, held) == 3
    assert kinds(shop, held).count("license.hmac_key_changed") == 2
    assert damage(shop) == []


@on_one_database
def test_what_no_secret_is_shown_for(shop: Context) -> None:
    tenant = shop.master.id
    with pytest.raises(Invalid):
        firms.secrets_of(shop, tenant, "", ACT)
    with pytest.raises(NotFound):
        firms.secrets_of(shop, tenant, FIRM, ACT, product="other")
    with pytest.raises(Misconfigured):
        firms.secrets_of(replace(shop, firm_secrets=None), tenant, FIRM, ACT)


# -- bought again ----------------------------------------------------------------------------------------


def test_a_new_license_of_the_firm_ends_the_old_one_with_it(
    shop: Context, desk: PayDesk, clock: TurnableClock
) -> None:
    _, old = buy(shop, desk)
    clock.turn(days=300)
    renew = key_of(shop, old).short
    reference, new = buy(shop, desk, firm=None, renew_key=renew)
    assert new.id != old.id
    assert new.firm == FIRM
    ended = look(shop, old)
    assert (ended.standing, ended.reason) == ("revoked", "replaced")
    assert ask(shop, world.key_of(shop, old)).code == ask(shop, renew).code == "REVOKED"
    assert ask(shop, world.key_of(shop, new)).code == "VALID"
    assert kinds(shop, old)[-1] == "license.replaced"
    for event in paid(shop, reference) * 2:
        world.hand_in(shop, event)
    assert kinds(shop, old).count("license.replaced") == 1
    clock.turn(hours=1)
    assert world.outcome(shop, refunded(shop, reference)) == "applied"
    assert look(shop, old).standing == "ok"
    assert ask(shop, renew).code == "VALID"
    assert ask(shop, world.key_of(shop, new)).code == "REVOKED"
    assert kinds(shop, old)[-1] == "license.renewal_undone"
    assert damage(shop) == []


def test_without_proof_the_old_license_stays_and_staff_hear_of_it(shop: Context, desk: PayDesk) -> None:
    _, old = buy(shop, desk)
    _, new = buy(shop, desk)
    assert new.id != old.id
    assert look(shop, old).standing == "ok"
    query = sa.select(owed_table.c.subject_id).where(owed_table.c.kind == "alarm.repurchase_unproven")
    with shop.database.read() as connection:
        assert connection.execute(query).scalars().all() == [new.id]


def test_a_token_vouches_for_the_firm(shop: Context, desk: PayDesk) -> None:
    _, old = buy(shop, desk)
    _, other = buy(shop, desk, firm="Acme")
    _, new = buy(shop, desk, proof=renewing.Proof(trusted=True))
    assert look(shop, old).reason == "replaced"
    assert look(shop, other).standing == look(shop, new).standing == "ok"


@on_one_database
def test_another_firms_key_renews_nothing(shop: Context, desk: PayDesk) -> None:
    _, old = buy(shop, desk)
    wish = Ask("dashcaddy/plan-0", firm="Acme", renew_key=world.key_of(shop, old))
    assert refusal(lambda: checkout.open_checkout(shop, wish)) == (422, "RENEW_KEY_MISMATCH")
    wish = Ask("dashcaddy/plan-0", firm=FIRM, renew_key=license_key.make("DC", bytes(15)))
    assert refusal(lambda: checkout.open_checkout(shop, wish)) == (422, "RENEW_KEY_UNKNOWN")
    operate.decide(shop, shop.master.id, old.id, ACT, "suspend")
    wish = Ask("dashcaddy/plan-0", renew_key=world.key_of(shop, old))
    assert refusal(lambda: checkout.open_checkout(shop, wish)) == (409, "RENEW_REFUSED")


@on_one_database
def test_the_clock_of_a_key_is_utc(shop: Context, desk: PayDesk) -> None:
    _, held = buy(shop, desk)
    assert key_of(shop, held).body.ends_at.tzinfo == UTC


@on_one_database
def test_a_license_of_any_plan_may_name_a_firm(shop: Context) -> None:
    world.add_plan(shop, "plain", "price_plain", Terms(term="perpetual"))
    row, _ = operate.issue(shop, shop.master.id, Order("dashcaddy/plain", "a@example.com"), ACT)
    held = firms.name_firm(shop, shop.master.id, row.id, FIRM, ACT)
    assert (held.firm, held.hmac_sealed) == (FIRM, None)
    assert ask(shop, world.key_of(shop, held)).code == "VALID"
