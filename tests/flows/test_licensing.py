"""What the sold software is told: every code of the contract, on both databases."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from datetime import timedelta

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain import fingerprint, license_key, license_token
from keywright.domain.errors import Invalid
from keywright.domain.plan import Terms
from keywright.flows import activating, license_views, licensing
from keywright.flows.context import Context
from keywright.flows.licensing import Ask, Bookkeeping, Verdict
from keywright.store.tables import activations
from tests.conftest import TurnableClock
from tests.life import stripe, world

TERMS = Terms(entitlements=("export.pdf",), limits={"projects": 100})
MONTH = timedelta(days=30)


@pytest.fixture
def key(context: Context, clock: TurnableClock) -> str:
    """The key of a license with two seats, bought now for a month."""
    world.stock(context, price_pro=TERMS)
    sold = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH, quantity=2)
    world.outcome(context, stripe.event("customer.subscription.created", sold, clock.now()))
    return world.key_of(context, world.the_license(context))


def validate(context: Context, key: str, machine: str | None = None, **more: object) -> Verdict:
    asked = _asked(context, key, machine, more)
    one = licensing.validate(context, Bookkeeping(), asked)
    # PostgreSQL answers through the gathered form: both must say the same.
    (several,) = licensing.validate_many(context, Bookkeeping(), [asked])
    assert isinstance(several, Verdict)
    assert _without_lease(several) == _without_lease(one)
    return one


def _without_lease(verdict: Verdict) -> Verdict:
    return msgspec.structs.replace(verdict, lease=None)


def activate(context: Context, key: str, machine: str, **more: object) -> Verdict:
    return activating.activate(context, _asked(context, key, machine, more))


def deactivate(context: Context, key: str, machine: str) -> str | None:
    return licensing.deactivate(context, _asked(context, key, machine, {}))[1]


def _asked(context: Context, key: str, machine: str | None, more: dict[str, object]) -> licensing.Asked:
    ask = Ask(key=key, fingerprint=f"machine-{machine}" if machine else None, **more)  # type: ignore[arg-type]  # members of the request
    return licensing.check(context, ask, fingerprint_needed=False)


def test_valid_with_and_without_a_machine(context: Context, key: str) -> None:
    assert validate(context, key).code == "VALID"
    assert validate(context, key, "A").code == "NOT_ACTIVATED"
    assert activate(context, key, "A").code == "VALID"
    verdict = validate(context, key, "A", product="dashcaddy", entitlements=("export.pdf",))
    assert (verdict.code, verdict.valid, verdict.next_action) == ("VALID", True, "continue")
    assert verdict.license is not None
    assert (verdict.license.seats, verdict.license.limits) == (2, {"projects": 100})


def test_the_answer_holds_neither_key_nor_person(context: Context, key: str) -> None:
    activate(context, key, "A", name="Front desk")
    text = str(world.json_of(validate(context, key, "A")))
    assert key not in text
    assert "buyer@example.com" not in text
    assert "machine-A" not in text


@pytest.mark.parametrize("wrong", ["", "DC-00000", "not a key at all", "DC-" + "A" * 29, "é" * 40])
def test_a_key_that_cannot_be_one_is_not_found(context: Context, key: str, wrong: str) -> None:
    assert validate(context, wrong).code == "NOT_FOUND"
    assert activate(context, wrong, "A").code == "NOT_FOUND"
    assert deactivate(context, wrong, "A") == "NOT_FOUND"


def test_an_unknown_key_is_not_found(context: Context, key: str) -> None:
    stranger = license_key.make("DC", bytes(15))
    assert validate(context, stranger).code == "NOT_FOUND"
    assert activate(context, stranger, "A").code == "NOT_FOUND"
    assert deactivate(context, stranger, "A") == "NOT_FOUND"


def test_keys_are_read_as_people_type_them(context: Context, key: str) -> None:
    assert validate(context, f"  {key.lower().replace('-', ' ')} ").code == "VALID"


def test_questions_that_do_not_fit(context: Context, key: str) -> None:
    assert validate(context, key, product="another").code == "PRODUCT_MISMATCH"
    assert validate(context, key, entitlements=("export.pdf", "sso")).code == "ENTITLEMENT_MISSING"


@pytest.mark.parametrize(
    "columns",
    [{"seats": 500}, {"standing": "revoked"}, {"active_until": None}, {"mac": "0" * 32}, {"firm": "Acme"}],
)
def test_a_row_altered_by_hand_is_tampered(context: Context, key: str, columns: dict[str, object]) -> None:
    activate(context, key, "A")
    world.alter(context, world.the_license(context), **columns)
    assert validate(context, key, "A").code == "TAMPERED"
    assert activate(context, key, "B").code == "TAMPERED"


def test_the_clocks(context: Context, key: str, clock: TurnableClock) -> None:
    activate(context, key, "A")
    clock.turn(days=30, hours=2)
    assert validate(context, key, "A").code == "VALID"  # slack, while the provider collects
    clock.turn(hours=2)
    in_grace = validate(context, key, "A")
    assert (in_grace.code, in_grace.valid, in_grace.next_action) == ("GRACE", True, "renew")
    assert activate(context, key, "B").code == "GRACE"
    clock.turn(days=14)
    expired = validate(context, key, "A")
    assert (expired.code, expired.valid, expired.lease) == ("EXPIRED", False, None)
    assert activate(context, key, "C").code == "EXPIRED"


def test_the_limit_and_its_way_out(context: Context, key: str) -> None:
    assert [activate(context, key, m).code for m in "ABC"] == ["VALID", "VALID", "TOO_MANY_ACTIVATIONS"]
    assert activate(context, key, "A").code == "VALID"
    assert deactivate(context, key, "A") is None
    assert deactivate(context, key, "A") == "NOT_ACTIVATED"
    assert activate(context, key, "C").code == "VALID"
    assert validate(context, key, "A").code == "NOT_ACTIVATED"


def _buy_fewer(context: Context, clock: TurnableClock) -> None:
    fewer = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH, quantity=1)
    world.outcome(
        context, stripe.event("customer.subscription.updated", fewer, clock.now() + timedelta(seconds=9))
    )


def test_fewer_seats_begin_with_the_next_period_and_cut_nobody_off(
    context: Context, key: str, clock: TurnableClock
) -> None:
    activate(context, key, "A")
    activate(context, key, "B")
    _buy_fewer(context, clock)
    assert deactivate(context, key, "A") is None
    assert activate(context, key, "C").code == "VALID"
    until = clock.now() + MONTH
    held = world.the_license(context)
    assert (held.seats, held.seats_after, held.seats_after_at) == (2, 1, until)
    clock.turn(seconds=MONTH.total_seconds() + 60)
    assert [shown_seats(context, key, m) for m in "BC"] == [1, 1]
    assert [validate(context, key, m).code for m in "BC"] == ["VALID", "VALID"]
    assert deactivate(context, key, "B") is None
    assert activate(context, key, "D").code == "TOO_MANY_ACTIVATIONS"


def shown_seats(context: Context, key: str, machine: str) -> int:
    """As the answer says, and the lease in it."""
    answer = validate(context, key, machine)
    assert answer.license is not None
    assert answer.lease is not None
    claims = msgspec.json.decode(urlsafe_b64decode(answer.lease.split(".")[1] + "=="))
    assert claims["seats"] == answer.license.seats
    return answer.license.seats


def test_where_a_decrease_counts_at_once_nobody_is_cut_off_and_nobody_admitted(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=Terms(seat_decrease="now"))
    sold = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH, quantity=2)
    world.outcome(context, stripe.event("customer.subscription.created", sold, clock.now()))
    key = world.key_of(context, world.the_license(context))
    activate(context, key, "A")
    activate(context, key, "B")
    _buy_fewer(context, clock)
    assert [validate(context, key, m).code for m in "AB"] == ["VALID", "VALID"]
    assert deactivate(context, key, "A") is None
    assert activate(context, key, "C").code == "TOO_MANY_ACTIVATIONS"


def test_fewer_keys_end_with_their_period_and_growing_again_revives_them(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=Terms(quantity="keys"))
    start, until = clock.now(), clock.now() + MONTH

    def say(at: timedelta, begin: timedelta, quantity: int) -> None:
        seen = stripe.subscription("sub_1", start + begin, start + begin + MONTH, quantity=quantity)
        world.outcome(context, stripe.event("customer.subscription.updated", seen, start + at))

    def codes() -> list[str]:
        held = sorted(world.all_licenses(context), key=lambda one: one.unit)
        return [validate(context, world.key_of(context, one)).code for one in held]

    nothing = timedelta()
    say(nothing, nothing, 3)
    sold = {one.unit: one.key_hash for one in world.all_licenses(context)}
    assert codes() == ["VALID"] * 3
    say(timedelta(days=9), nothing, 1)
    assert codes() == ["VALID"] * 3
    clock.turn(seconds=(until - clock.now()).total_seconds())
    # A renewal is expected of the first, and nothing of the others.
    assert codes() == ["VALID", "EXPIRED", "EXPIRED"]
    say(MONTH, MONTH, 1)
    assert codes() == ["VALID", "EXPIRED", "EXPIRED"]
    say(MONTH + timedelta(days=3), MONTH, 3)
    assert codes() == ["VALID"] * 3
    assert {one.unit: one.key_hash for one in world.all_licenses(context)} == sold


def test_keys_that_nobody_had_are_given_out_only_while_they_run(
    context: Context, clock: TurnableClock
) -> None:
    world.stock(context, price_pro=Terms(quantity="keys"))
    # Everything is told at once and a month late: of the first month nothing is left to give out.
    start, events = clock.now() - timedelta(days=40), []
    for at, begin, quantity in ((0, 0, 5), (9, 0, 4), (30, 30, 3), (33, 30, 2)):
        begun = start + timedelta(days=begin)
        seen = stripe.subscription("sub_1", begun, begun + MONTH, quantity=quantity)
        events.append(stripe.event("customer.subscription.updated", seen, start + timedelta(days=at)))
    world.hand_in(context, *events)
    assert sorted(one.unit for one in world.all_licenses(context)) == [0, 1, 2]


def test_moves_are_limited_in_a_period(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=Terms(max_activations=1, moves=2, moves_period=30 * 86400))
    sold = stripe.subscription("sub_1", clock.now(), clock.now() + timedelta(days=300))
    world.outcome(context, stripe.event("customer.subscription.created", sold, clock.now()))
    key = world.key_of(context, world.the_license(context))
    for machine in "AB":
        assert activate(context, key, machine).code == "VALID"
        assert deactivate(context, key, machine) is None
    assert activate(context, key, "C").code == "VALID"
    assert deactivate(context, key, "C") == "MOVES_EXHAUSTED"
    clock.turn(days=31)
    assert deactivate(context, key, "C") is None


def test_replacing_the_oldest_machine(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=Terms(max_activations=2, over_limit="replace_oldest", moves=1))
    sold = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH)
    world.outcome(context, stripe.event("customer.subscription.created", sold, clock.now()))
    key = world.key_of(context, world.the_license(context))
    for machine in "AB":
        activate(context, key, machine)
        clock.turn(minutes=1)
    assert activate(context, key, "C").code == "VALID"
    assert [validate(context, key, m).code for m in "ABC"] == ["NOT_ACTIVATED", "VALID", "VALID"]
    assert activate(context, key, "D").code == "MOVES_EXHAUSTED"


def test_a_lease_verifies_with_the_public_keys_and_names_its_machine(
    context: Context, key: str, clock: TurnableClock
) -> None:
    lease = activate(context, key, "A", nonce="n-1").lease
    assert lease is not None
    tenant = context.master.id
    claims = license_token.verify(
        lease,
        typ="lease+jwt",
        keys=context.signer.verifiers(tenant, "lease+jwt"),
        iss=context.issuer(tenant),
        aud="dashcaddy",
        now=int(clock.now().timestamp()),
    )
    assert claims["mid"] == fingerprint.mid("dashcaddy", "machine-A")
    assert (claims["nonce"], claims["code"], claims["seats"]) == ("n-1", "VALID", 2)
    assert claims["lexp"] == int((clock.now() + timedelta(days=7)).timestamp())
    with pytest.raises(license_token.TokenRefused):
        license_token.verify(
            lease,
            typ="lic+jwt",
            keys=context.signer.verifiers(tenant, "lic+jwt"),
            iss=context.issuer(tenant),
            aud="dashcaddy",
            now=int(clock.now().timestamp()),
        )


def test_a_lease_is_reused_for_half_its_life_and_never_when_it_would_lie(
    context: Context, key: str, clock: TurnableClock
) -> None:
    first = activate(context, key, "A").lease
    clock.turn(days=3)
    assert validate(context, key, "A").lease == first
    assert validate(context, key, "A", nonce="fresh").lease != first
    clock.turn(days=1)
    books = Bookkeeping()
    renewed = licensing.validate(context, books, _asked(context, key, "A", {})).lease
    assert renewed != first
    assert books.write(context) == 2
    assert validate(context, key, "A").lease == renewed
    more = stripe.subscription("sub_1", clock.now(), clock.now() + MONTH, quantity=9)
    world.outcome(context, stripe.event("customer.subscription.updated", more, clock.now()))
    assert validate(context, key, "A").lease != renewed


def test_a_lease_never_outlives_the_license(context: Context, key: str, clock: TurnableClock) -> None:
    activate(context, key, "A")
    clock.turn(days=43)
    verdict = validate(context, key, "A")
    assert verdict.code == "GRACE"
    assert verdict.license is not None
    assert verdict.license.offline_until == verdict.license.grace_until


def test_last_seen_is_written_later(context: Context, key: str, clock: TurnableClock) -> None:
    activate(context, key, "A")
    clock.turn(hours=5)
    books = Bookkeeping()
    licensing.validate(context, books, _asked(context, key, "A", {}))
    assert books.write(context) == 1
    assert books.write(context) == 0
    with context.database.read() as connection:
        row = connection.execute(activations.select()).mappings().one()
    assert row["last_seen_at"] == clock.now()
    assert "machine-A" not in str(dict(row))


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("fingerprint", "short", "FINGERPRINT_INVALID"),
        ("fingerprint", "x" * 257, "FINGERPRINT_INVALID"),
        ("fingerprint", "tab\there-and-more", "FINGERPRINT_INVALID"),
        ("nonce", "n" * 129, "NONCE_INVALID"),
        ("name", "line\nbreak", "NAME_INVALID"),
    ],
)
def test_what_cannot_be_meant_is_refused(context: Context, member: str, value: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        licensing.check(context, Ask(key="k", **{member: value}), fingerprint_needed=False)  # type: ignore[arg-type]  # members of the request
    assert refused.value.code == code


def test_activating_needs_a_fingerprint(context: Context) -> None:
    with pytest.raises(Invalid) as refused:
        licensing.check(context, Ask(key="k"), fingerprint_needed=True)
    assert refused.value.code == "FINGERPRINT_NEEDED"


@pytest.mark.parametrize(
    "columns",
    [
        {"tenant_id": "ten_nobody"},
        {"plan_id": "pla_nobody"},
        {"product_id": "pro_nobody"},
        {"overrides": "{not json"},
        {"overrides": ""},
        {"overrides": '{"seats": "many"}'},
        {"entitled_until": 9 * 10**18},
        {"created_at": -(9 * 10**18)},
        {"mac": "é"},
    ],
)
def test_a_row_that_leads_nowhere_is_tampered_and_found(
    context: Context, key: str, columns: dict[str, object]
) -> None:
    activate(context, key, "A")
    held = world.the_license(context)
    world.alter_past_rules(context, held, **columns)
    verdict = validate(context, key, "A")
    assert (verdict.code, verdict.valid, verdict.lease) == ("TAMPERED", False, None)
    for machine in ("A", "B"):
        verdict = activate(context, key, machine)
        assert (verdict.code, verdict.lease) == ("TAMPERED", None)
    checked = license_views.check_integrity(context, context.master.id)
    assert [(one.license, one.row_altered) for one in checked.damaged] == [(held.id, True)]
    assert len(license_views.list_licenses(context, context.master.id, {}).items) == int(
        "tenant_id" not in columns
    )
    assert deactivate(context, key, "A") is None
    assert validate(context, key, "A").code == "TAMPERED"


@pytest.mark.parametrize("prepared", ["sqlite"], indirect=True)  # PostgreSQL lets no text into a number
@pytest.mark.parametrize("column", ["entitled_until", "active_until", "created_at", "seats"])
def test_a_text_where_a_number_was_is_tampered(context: Context, key: str, column: str) -> None:
    activate(context, key, "A")
    held = world.the_license(context)
    world.alter_past_rules(context, held, **{column: "abc"})
    assert validate(context, key, "A").code == "TAMPERED"
    assert activate(context, key, "B").code == "TAMPERED"
    checked = license_views.check_integrity(context, context.master.id)
    assert [(one.license, one.row_altered) for one in checked.damaged] == [(held.id, True)]


def test_one_altered_row_does_not_hide_its_neighbors(
    context: Context, key: str, clock: TurnableClock
) -> None:
    first = world.the_license(context)
    sold = stripe.subscription("sub_2", clock.now(), clock.now() + MONTH)
    world.outcome(context, stripe.event("customer.subscription.created", sold, clock.now()))
    world.alter_past_rules(context, first, overrides="{not json")
    checked = license_views.check_integrity(context, context.master.id)
    assert checked.checked == 2
    assert [one.license for one in checked.damaged] == [first.id]
    renewed = stripe.subscription("sub_1", clock.now(), clock.now() + 2 * MONTH, quantity=2)
    event = stripe.event("customer.subscription.updated", renewed, clock.now() + timedelta(minutes=1))
    assert world.outcome(context, event) == "applied"
    assert validate(context, key).code == "TAMPERED"


def test_a_stored_lease_that_was_edited_is_not_handed_out(context: Context, key: str) -> None:
    lease = activate(context, key, "A").lease
    assert lease is not None
    assert validate(context, key, "A").lease == lease
    edited = f"{lease[:-10]}AAAAAAAAAA"
    for column, value in (("lease", edited), ("lease", ""), ("lease_mark", "é")):
        with context.database.write() as connection:
            connection.execute(sa.update(activations).values({column: value}))
        books = Bookkeeping()
        fresh = licensing.validate(context, books, _asked(context, key, "A", {})).lease
        assert fresh not in (edited, "", None)
        assert fresh is not None
        assert books.write(context) == 1
        assert validate(context, key, "A").lease == fresh
