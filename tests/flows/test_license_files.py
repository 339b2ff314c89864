"""License files and the list of what was revoked, on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from keywright.domain import fingerprint, key_documents, license_file, license_token
from keywright.domain.errors import Conflict, Invalid
from keywright.domain.key_documents import Revocations
from keywright.domain.license import License
from keywright.domain.plan import FOREVER, Terms
from keywright.flows import activating, license_files, licensing, operate, revocations, signing_keys
from keywright.flows.context import Context
from keywright.flows.license_files import FileAsk, FileMade
from keywright.flows.licensing import Verdict
from keywright.flows.operate import Act
from keywright.flows.signing_keys import KeyAct
from keywright.store import license_files as stored
from keywright.store import timeline
from tests.conftest import TurnableClock
from tests.life import stripe, world

MONTH = timedelta(days=30)
DAY = 86400
TERMS = Terms(entitlements=("export.pdf",), limits={"projects": 100}, offline_file=10 * DAY, grace=5 * DAY)
MACHINE = "machine-number-1"


def sell(context: Context, sub: str = "sub_1", *, price: str = "price_pro", quantity: int = 2) -> License:
    now = context.clock.now()
    sold = stripe.subscription(sub, now, now + MONTH, price=price, quantity=quantity, customer=f"cus_{sub}")
    world.outcome(context, stripe.event("customer.subscription.created", sold, now))
    return world.all_licenses(context)[0]


@pytest.fixture
def key(context: Context) -> str:
    """The key of a license with two seats for a month, activated on one machine."""
    portable = msgspec.structs.replace(TERMS, portable_file=True)
    floating = msgspec.structs.replace(TERMS, floating=True, offline=2 * DAY)
    world.stock(context, price_pro=TERMS, price_portable=portable, price_floating=floating)
    key = world.key_of(context, sell(context))
    activate(context, key)
    return key


def asked(context: Context, key: str, machine: str | None, **more: Any) -> licensing.Asked:
    return licensing.check(context, FileAsk(key=key, fingerprint=machine, **more), fingerprint_needed=False)


def activate(context: Context, key: str, machine: str = MACHINE) -> Verdict:
    return activating.activate(context, asked(context, key, machine))


def fetch(context: Context, key: str, machine: str | None = MACHINE, days: int | None = None) -> FileMade:
    made = license_files.make(context, asked(context, key, machine), days)
    assert isinstance(made, FileMade), made
    return made


def refusal(context: Context, key: str, machine: str | None = MACHINE, **more: Any) -> str:
    found = license_files.make(context, asked(context, key, machine, **more))
    assert isinstance(found, Verdict), found
    assert (found.valid, found.lease) == (False, None)
    return found.code


def claims_of(context: Context, made: FileMade) -> dict[str, Any]:
    keys = context.signer.verifiers(context.master.id, "lic+jwt")
    assert license_file.unwrap(made.file) == made.token
    return license_token.verify(
        made.token,
        typ=license_token.LICENSE,
        keys=keys,
        iss=context.issuer(context.master.id),
        aud="dashcaddy",
        now=int(context.clock.now().timestamp()),
    )


def test_a_file_says_what_the_license_is_on_this_machine(context: Context, key: str) -> None:
    now, held = context.clock.now(), world.the_license(context)
    claims = claims_of(context, fetch(context, key))
    assert held.entitled_until is not None
    wanted = {
        "sub": held.id,
        "iat": int(now.timestamp()),
        "nbf": int(now.timestamp()),
        "exp": int((now + timedelta(days=10)).timestamp()),
        "plan": "plan-0",
        "seats": 2,
        "entitlements": ["export.pdf"],
        "limits": {"projects": 100},
        "status": "active",
        "off": 10 * DAY,
        "mid": fingerprint.mid("dashcaddy", MACHINE),
        "entitled_until": int(held.entitled_until.timestamp()),
        "v": 1,
    }
    assert {name: claims[name] for name in wanted} == wanted
    assert set(claims) - set(wanted) == {"iss", "aud", "jti", "grace_until"}
    assert key not in fetch(context, key).file


def test_a_file_is_recorded(context: Context, key: str) -> None:
    made = fetch(context, key, days=3)
    held = world.the_license(context)
    with context.database.read() as connection:
        (row,) = stored.list_of(connection, held.tenant_id, held.id)
        entries = timeline.list_page(connection, held.tenant_id, held.id, after=0, limit=100)
    assert timeline.first_break(entries, held.head) is None
    assert entries[-1].kind == "license.file_issued"
    detail = msgspec.json.decode(entries[-1].detail)
    until = made.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert detail == {"file": row.id, "activation": row.activation_id, "until": until}
    assert (row.kid, row.expires_at) == (license_token.key_id(made.token), made.expires_at)


def test_files_that_ended_long_ago_are_forgotten(context: Context, clock: TurnableClock) -> None:
    world.stock(context, price_pro=msgspec.structs.replace(TERMS, term="perpetual"))
    order = operate.Order("dashcaddy/plan-0", "ann@example.com", seats=1)
    key = operate.issue(context, context.master.id, order, Act("test"))[1]
    activate(context, key)
    held = world.the_license(context)
    for days, rows in ((0, 1), (20, 2), (19, 3), (1, 4), (1, 4)):
        clock.turn(days=days)
        fetch(context, key)
        with context.database.read() as connection:
            assert len(stored.list_of(connection, held.tenant_id, held.id)) == rows


def test_a_file_ends_when_it_must(context: Context, key: str, clock: TurnableClock) -> None:
    start = clock.now()
    held = world.the_license(context)
    assert held.grace_until is not None

    def days(wanted: int | None = None) -> timedelta:
        return fetch(context, key, days=wanted).expires_at - clock.now()

    assert [days(n) for n in (None, 1, 10, 11, 3660)] == [timedelta(days=n) for n in (10, 1, 10, 10, 10)]
    # Near the end of the license the file ends with it: after the grace that will follow.
    clock.turn(days=29)
    assert fetch(context, key).expires_at == held.grace_until < clock.now() + timedelta(days=10)
    clock.time = start + MONTH + timedelta(days=1)
    made = fetch(context, key)
    assert made.expires_at == held.grace_until
    assert claims_of(context, made)["status"] == "grace"
    clock.time = held.grace_until
    assert refusal(context, key) == "EXPIRED"
    for wrong in (0, -1, 3661):
        with pytest.raises(Invalid):
            fetch(context, key, days=wrong)


def test_a_file_needs_an_activated_machine(context: Context, key: str) -> None:
    assert refusal(context, key, "machine-number-2") == "NOT_ACTIVATED"
    assert refusal(context, key, None) == "NOT_ACTIVATED"
    assert refusal(context, "DC-" + "0" * 29) == "NOT_FOUND"
    assert refusal(context, key, product="other") == "PRODUCT_MISMATCH"
    assert refusal(context, key, entitlements=("gold",)) == "ENTITLEMENT_MISSING"


def test_a_portable_file_is_for_any_machine(context: Context, key: str) -> None:
    portable = world.key_of(context, sell(context, "sub_2", price="price_portable"))
    assert "mid" not in claims_of(context, fetch(context, portable, None))
    # Whoever names a machine means that one.
    assert refusal(context, portable, MACHINE) == "NOT_ACTIVATED"
    activate(context, portable)
    assert "mid" in claims_of(context, fetch(context, portable))


def test_a_file_ends_with_a_seat_that_floats(context: Context, key: str, clock: TurnableClock) -> None:
    floating = world.key_of(context, sell(context, "sub_2", price="price_floating"))
    activate(context, floating)
    made = fetch(context, floating)
    assert made.expires_at <= clock.now() + timedelta(days=2, minutes=15)
    clock.turn(days=3)
    assert refusal(context, floating) == "NOT_ACTIVATED"


def test_nothing_is_signed_for_an_altered_license(context: Context, key: str) -> None:
    held = world.the_license(context)
    for change in (
        {"seats": 200},
        {"entitled_until": FOREVER, "active_until": FOREVER},
        {"plan_id": "pla_plan-1"},
    ):
        before = {name: getattr(held, name) for name in change}
        world.alter(context, held, **change)
        assert refusal(context, key) == "TAMPERED"
        assert refusal(context, key, None) == "TAMPERED"
        world.alter(context, held, **before)
    with context.database.read() as connection:
        assert stored.list_of(connection, held.tenant_id, held.id) == []
    fetch(context, key)


def test_a_file_has_four_kilobytes_at_the_most(context: Context, key: str) -> None:
    for count, fits in ((60, True), (150, False)):
        terms = msgspec.structs.replace(
            TERMS, entitlements=tuple(f"entitlement.{n:07}" for n in range(count))
        )
        world.add_plan(context, f"wide-{count}", f"price_{count}", terms)
        wide = world.key_of(context, sell(context, f"sub_{count}", price=f"price_{count}"))
        activate(context, wide)
        if fits:
            assert 2000 < len(fetch(context, wide).file) <= license_file.MAX_FILE
        else:
            with pytest.raises(Conflict) as refused:
                fetch(context, wide)
            assert refused.value.code == "FILE_TOO_LARGE"


# -- what was revoked -----------------------------------------------------------------------------------


def listed(context: Context) -> Revocations:
    text = revocations.get_list(context, context.master.id)
    return key_documents.read_revocations(
        text,
        keys=context.signer.verifiers(context.master.id, "crl+jwt"),
        now=int(context.clock.now().timestamp()),
        iss=context.issuer(context.master.id),
    )


def said(found: Revocations) -> tuple[tuple[str, ...], ...]:
    return found.licenses, found.tokens, found.keys


def test_the_list_is_made_anew_when_it_says_something_else(
    context: Context, key: str, clock: TurnableClock
) -> None:
    first = listed(context)
    assert said(first) == ((), (), ())
    text = revocations.get_list(context, context.master.id)
    clock.turn(hours=1)
    assert revocations.get_list(context, context.master.id) == text
    held, tenant, act = world.the_license(context), context.master.id, Act("test")
    operate.decide(context, tenant, held.id, act, "revoke")
    second = listed(context)
    assert (said(second), second.seq > first.seq) == (((held.id,), (), ()), True)
    gone = context.signer.active_key(tenant, "lease+jwt")
    signing_keys.revoke(context, tenant, gone, KeyAct("test"))
    third = listed(context)
    assert (said(third), third.seq > second.seq) == (((held.id,), (), (gone,)), True)
    operate.decide(context, tenant, held.id, act, "reinstate")
    assert said(listed(context)) == ((), (), (gone,))
    # Once a day in any case, so that an old one can be told.
    before = listed(context).seq
    clock.turn(days=1)
    assert listed(context).seq > before


def test_a_revoked_license_is_listed_as_long_as_a_token_of_it_may_be_out(
    context: Context, key: str, clock: TurnableClock
) -> None:
    never_used = sell(context, "sub_2")
    held = next(one for one in world.all_licenses(context) if one.id != never_used.id)
    fetch(context, key, days=10)
    for one in (held, never_used):
        operate.decide(context, context.master.id, one.id, Act("test"), "revoke")
    assert listed(context).licenses == (held.id,)
    clock.turn(days=10, hours=23)
    assert listed(context).licenses == (held.id,)
    clock.turn(hours=1)
    assert listed(context).licenses == ()


def test_a_refunded_license_is_listed(context: Context, key: str, clock: TurnableClock) -> None:
    start = clock.now()
    fetch(context, key)
    paid = stripe.invoice(
        "in_1", "sub_1", start, start + MONTH, quantity=2, customer="cus_sub_1", payment_intent="pi_1"
    )
    world.outcome(context, stripe.event("invoice.paid", paid, start))
    clock.turn(hours=1)
    world.hand_in(context, stripe.event("charge.refunded", stripe.refund("ch_1", "pi_1"), clock.now()))
    held = world.the_license(context)
    assert (held.standing, refusal(context, key)) == ("ok", "REVOKED")
    assert listed(context).licenses == (held.id,)


def test_the_file_of_a_machine_that_was_freed_is_listed(
    context: Context, key: str, clock: TurnableClock
) -> None:
    made = fetch(context, key)
    jti = claims_of(context, made)["jti"]
    assert listed(context).tokens == ()
    licensing.deactivate(context, asked(context, key, MACHINE))
    assert listed(context).tokens == (jti,)
    clock.time = made.expires_at
    assert listed(context).tokens == ()


def test_a_list_that_is_under_another_key_is_signed_anew(context: Context, key: str) -> None:
    first = listed(context)
    signing_keys.rotate(context, context.master.id, KeyAct("test"))
    assert listed(context).seq > first.seq
    gone = context.signer.active_key(context.master.id, "crl+jwt")
    signing_keys.revoke(context, context.master.id, gone, KeyAct("test"))
    assert said(listed(context)) == ((), (), (gone,))
