"""Machines that change, float, go on a journey and die, on both databases."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from keywright.domain import fingerprint
from keywright.domain.errors import Invalid
from keywright.domain.license import is_intact
from keywright.domain.plan import Terms
from keywright.flows import activating, licensing
from keywright.flows.context import Context
from keywright.flows.licensing import Ask, Asked, Bookkeeping, Verdict
from keywright.store import catalog, timeline
from keywright.store.machine_tables import machine_signals, rebinds
from keywright.store.tables import activations, plans
from tests.conftest import TurnableClock
from tests.domain.test_machine import machine
from tests.life import stripe, world

HOUR, DAY = 3600, 86400


class Customer:
    """Somebody who bought, with his key."""

    def __init__(self, context: Context, clock: TurnableClock, terms: Terms, seats: int = 1) -> None:
        self.context, self.clock = context, clock
        world.stock(context, price_pro=terms)
        sold = stripe.subscription("sub_1", clock.now(), clock.now() + timedelta(days=365), quantity=seats)
        world.outcome(context, stripe.event("customer.subscription.created", sold, clock.now()))
        self.key = world.key_of(context, world.the_license(context))

    def asked(self, which: str, **more: Any) -> Asked:
        ask = Ask(key=self.key, fingerprint=f"machine-{which}", **more)
        return licensing.check(self.context, ask, fingerprint_needed=False)

    def activate(self, which: str, **more: Any) -> Verdict:
        return activating.activate(self.context, self.asked(which, **more))

    def validate(self, which: str, books: Bookkeeping | None = None, **more: Any) -> Verdict:
        """As the server answers, the writer's part included."""
        asked = self.asked(which, **more)
        one = licensing.validate(self.context, books or Bookkeeping(), asked)
        (several,) = licensing.validate_many(self.context, Bookkeeping(), [asked])
        assert isinstance(several, Verdict)
        assert (several.code, several.lease is None) == (one.code, one.lease is None)
        if one.lease is not None or not licensing.wants_writer(asked, one):
            return one
        (kept,) = activating.keep_many(self.context, [(asked, one)])
        assert isinstance(kept, Verdict)
        return kept

    def deactivate(self, which: str) -> str | None:
        return licensing.deactivate(self.context, self.asked(which))[1]

    def codes(self, names: Sequence[str]) -> list[str]:
        return [self.validate(name).code for name in names]

    def held(self) -> int:
        with self.context.database.read() as connection:
            query = sa.select(sa.func.count()).where(activations.c.released_at.is_(None))
            return int(connection.execute(query).scalar_one())

    def history(self) -> list[str]:
        """The kinds of the timeline's entries about machines; the chain holds."""
        held = world.the_license(self.context)
        with self.context.database.read() as connection:
            entries = timeline.list_page(connection, held.tenant_id, held.id, after=0, limit=500)
        assert timeline.first_break(entries, held.head) is None
        assert is_intact(held, self.context.vault.row_key(held.tenant_id))
        return [entry.kind.removeprefix("activation.") for entry in entries if entry.kind[0] == "a"]


def claims(verdict: Verdict) -> dict[str, Any]:
    assert verdict.lease is not None
    found: dict[str, Any] = msgspec.json.decode(urlsafe_b64decode(verdict.lease.split(".")[1] + "=="))
    return found


def rows_of(context: Context, table: sa.Table) -> list[dict[str, Any]]:
    with context.database.read() as connection:
        return [dict(row) for row in connection.execute(sa.select(table)).mappings()]


# -- signals --------------------------------------------------------------------------------------------


@pytest.fixture
def customer(context: Context, clock: TurnableClock) -> Customer:
    """One seat, three re-binds in 30 days."""
    return Customer(context, clock, Terms())


@pytest.mark.parametrize("changed", [{"disk": "new"}, {"host": "new"}, {"mac": "new"}], ids=str)
@pytest.mark.parametrize("call", ["validate", "activate"])
def test_a_machine_that_changed_keeps_its_place(
    context: Context, customer: Customer, call: str, changed: dict[str, str]
) -> None:
    first = customer.activate("old", signals=machine("a"), name="Desk")
    ask = getattr(customer, call)
    verdict = ask("new", signals=machine("a", **changed))
    assert (verdict.code, verdict.valid) == ("VALID", True)
    assert verdict.activation.match == "close"
    assert (verdict.activation.id, verdict.activation.name) == (first.activation.id, "Desk")  # type: ignore[union-attr]  # it is there
    assert claims(verdict)["mid"] == fingerprint.mid("dashcaddy", "machine-new")
    again = customer.validate("new", signals=machine("a", **changed))
    assert again.activation is not None
    assert (again.activation.match, again.lease) == ("exact", verdict.lease)
    assert customer.validate("old").code == "NOT_ACTIVATED"
    assert customer.held() == 1
    assert customer.history() == ["created", "rebound"]


@pytest.mark.parametrize(
    "signals",
    [
        machine("b", cpu="a", os="a", host="a"),
        machine("a", "container"),
        machine("a", "vm"),
        None,
        {},
        {"kind": "metal"},
    ],
    ids=["same make", "container", "virtual", "none", "empty", "kind"],
)
def test_another_machine_does_not(customer: Customer, signals: dict[str, str] | None) -> None:
    customer.activate("old", signals=machine("a"))
    assert customer.validate("new", signals=signals).code == "NOT_ACTIVATED"
    assert customer.activate("new", signals=signals).code == "TOO_MANY_ACTIVATIONS"
    assert customer.validate("old", signals=machine("a")).code == "VALID"
    assert customer.history() == ["created"]


def test_containers_are_never_close(customer: Customer) -> None:
    customer.activate("old", signals=machine("a", "container"))
    assert customer.validate("new", signals=machine("a", "container")).code == "NOT_ACTIVATED"


def test_rebinds_are_few(context: Context, customer: Customer, clock: TurnableClock) -> None:
    customer.activate("0", signals=machine("a"))
    for number in range(1, 4):
        clock.turn(days=1)
        assert customer.validate(str(number), signals=machine("a", host=str(number))).code == "VALID"
    changed = machine("a", host="4")
    written = customer.history()
    assert customer.validate("4", signals=changed).code == "NOT_ACTIVATED"
    # As for any machine that is not known: the seat is taken.
    assert customer.activate("4", signals=changed).code == "TOO_MANY_ACTIVATIONS"
    assert customer.history() == written == ["created", *["rebound"] * 3]
    clock.turn(days=28)
    assert customer.validate("4", signals=changed).code == "VALID"
    assert len(rows_of(context, rebinds)) == 4


def test_a_plan_may_want_no_rebinds(context: Context, clock: TurnableClock) -> None:
    customer = Customer(context, clock, Terms(rebinds=0))
    customer.activate("old", signals=machine("a"))
    assert customer.validate("new", signals=machine("a")).code == "NOT_ACTIVATED"


def test_many_machines_change_in_one_batch(context: Context, clock: TurnableClock) -> None:
    customer = Customer(context, clock, Terms(), seats=3)
    for name in "abc":
        customer.activate(name, signals=machine(name))
    asked = [customer.asked(f"{name}2", signals=machine(name, disk="new")) for name in "abcd"]
    seen = [licensing.validate(context, Bookkeeping(), one) for one in asked]
    answers = activating.keep_many(context, list(zip(asked, seen, strict=True)))
    found = [one.code for one in answers if isinstance(one, Verdict)]
    assert found == ["VALID"] * 3 + ["NOT_ACTIVATED"]
    assert customer.held() == 3
    # The budget is the license's, not the machine's.
    assert customer.validate("a3", signals=machine("a")).code == "NOT_ACTIVATED"


def test_signals_are_stored_under_keyed_hashes_and_go_with_the_machine(
    context: Context, customer: Customer
) -> None:
    signals = machine("a")
    customer.activate("old", signals={**signals, "unknown": "whatever"})
    (row,) = rows_of(context, machine_signals)
    stored = msgspec.json.decode(row["signals"])
    assert set(stored) == set(signals)
    assert stored["kind"] == "metal"
    assert not any(value in str(row) for name, value in signals.items() if name != "kind")
    assert (row["machine"], row["board"]) == (stored["machine"], stored["board"])
    assert len(set(stored.values())) == len(stored)
    assert customer.deactivate("old") is None
    assert rows_of(context, machine_signals) == []


def test_changed_signals_of_a_known_machine_are_kept_later(
    context: Context, customer: Customer, clock: TurnableClock
) -> None:
    customer.activate("a", signals=machine("a"))
    (before,) = rows_of(context, machine_signals)
    clock.turn(hours=1)
    books = Bookkeeping()
    customer.validate("a", books, signals=machine("a", disk="new", mac="new"))
    assert rows_of(context, machine_signals) == [before]
    books.write(context)
    (after,) = rows_of(context, machine_signals)
    assert after["signals"] != before["signals"]
    # Now that it is known with the new disk, it may get a new name as well.
    verdict = customer.validate("b", signals=machine("a", disk="new", mac="new", host="new"))
    assert verdict.code == "VALID"


def test_signals_of_a_machine_that_was_freed_meanwhile_are_not_kept(
    context: Context, customer: Customer, clock: TurnableClock
) -> None:
    customer.activate("a")
    clock.turn(hours=1)
    books = Bookkeeping()
    customer.validate("a", books, signals=machine("a"))
    customer.deactivate("a")
    books.write(context)
    assert rows_of(context, machine_signals) == []


def test_a_lease_for_the_old_fingerprint_is_not_handed_to_the_new_one(
    context: Context, customer: Customer, clock: TurnableClock
) -> None:
    customer.activate("old", signals=machine("a"))
    clock.turn(days=4)
    books = Bookkeeping()
    stale = customer.validate("old", books)
    assert customer.validate("new", signals=machine("a", host="new")).code == "VALID"
    books.write(context)  # what another server had gathered
    verdict = customer.validate("new")
    assert verdict.lease != stale.lease
    assert claims(verdict)["mid"] == fingerprint.mid("dashcaddy", "machine-new")


@pytest.mark.parametrize(
    "signals", [{"board": "x"}, {str(n): "" for n in range(40)}, {"kind": "A metal thing"}], ids=range(3)
)
def test_hostile_signals_are_refused(customer: Customer, signals: dict[str, str]) -> None:
    with pytest.raises(Invalid) as refused:
        customer.asked("a", signals=signals)
    assert refused.value.code == "SIGNALS_INVALID"


def test_signals_that_were_altered_by_hand_are_like_no_others(context: Context, customer: Customer) -> None:
    customer.activate("a", signals=machine("a"))
    with context.database.write() as connection:
        connection.execute(sa.update(machine_signals).values(signals="{not json"))
    assert customer.validate("b", signals=machine("a")).code == "NOT_ACTIVATED"
    assert customer.validate("a", signals=machine("a")).code == "VALID"


# -- floating seats -------------------------------------------------------------------------------------


FLOATING = Terms(floating=True, offline=4 * HOUR, checkout=30 * DAY)


@pytest.fixture
def office(context: Context, clock: TurnableClock) -> Customer:
    """Two floating seats, four hours each."""
    return Customer(context, clock, FLOATING, seats=2)


def test_a_floating_seat_returns_by_itself(office: Customer, clock: TurnableClock) -> None:
    assert [office.activate(m).code for m in "ABC"] == ["VALID", "VALID", "TOO_MANY_ACTIVATIONS"]
    clock.turn(hours=3)
    assert office.validate("B").code == "VALID"  # a sign of life
    clock.turn(hours=1)
    assert office.codes("ABC") == ["NOT_ACTIVATED", "VALID", "NOT_ACTIVATED"]
    assert office.activate("C").code == "VALID"
    assert office.activate("A").code == "TOO_MANY_ACTIVATIONS"
    clock.turn(hours=3)
    # B's lease is over, and A is back within the limit.
    assert office.activate("A").code == "VALID"
    assert office.codes("ABC") == ["VALID", "NOT_ACTIVATED", "VALID"]
    assert office.history() == ["created", "created", "lapsed", "created", "lapsed", "created"]
    assert office.held() == 2


def test_who_gives_signs_of_life_keeps_the_seat(office: Customer, clock: TurnableClock) -> None:
    office.activate("A")
    for number in range(60):
        verdict = office.validate("A", nonce=f"n-{number}" if number % 3 == 0 else None)
        assert verdict.code == "VALID"
        lexp = claims(verdict)["lexp"]
        (row,) = rows_of(office.context, activations)
        assert datetime.fromtimestamp(lexp, tz=UTC) <= row["seat_until"]
        if number % 3 == 0:
            assert claims(verdict)["nonce"] == f"n-{number}"
        assert lexp - clock.now().timestamp() >= 2 * HOUR - 1
        clock.turn(minutes=37)
    assert office.history() == ["created"]


def test_a_sign_of_life_is_written_before_it_is_answered(office: Customer, clock: TurnableClock) -> None:
    first = office.activate("A")
    clock.turn(hours=1)
    assert office.validate("A").lease == first.lease
    clock.turn(hours=1)
    asked = office.asked("A")
    read = licensing.validate(office.context, Bookkeeping(), asked)
    assert (read.valid, read.lease) == (True, None)
    assert licensing.wants_writer(asked, read)
    # Until then the seat is not held longer.
    clock.turn(hours=2)
    (kept,) = activating.keep_many(office.context, [(asked, read)])
    assert isinstance(kept, Verdict)
    assert kept.code == "NOT_ACTIVATED"


def test_a_lease_that_changes_without_a_sign_of_life_ends_with_the_seat(
    office: Customer, clock: TurnableClock
) -> None:
    office.activate("A")
    clock.turn(hours=1)
    more = stripe.subscription("sub_1", clock.now(), clock.now() + timedelta(days=365), quantity=7)
    world.outcome(office.context, stripe.event("customer.subscription.updated", more, clock.now()))
    books = Bookkeeping()
    verdict = licensing.validate(office.context, books, office.asked("A"))
    books.write(office.context)
    told = claims(verdict)
    (row,) = rows_of(office.context, activations)
    assert told["seats"] == 7
    assert told["lexp"] == int(row["seat_until"].timestamp()) == told["iat"] + 3 * HOUR
    assert verdict.license is not None
    assert verdict.license.offline_until == row["seat_until"]


def test_seats_that_ended_are_swept_for_the_lists(office: Customer, clock: TurnableClock) -> None:
    assert activating.release_lapsed(office.context) == 0
    office.activate("A")
    office.activate("B", checkout_days=3)
    assert activating.release_lapsed(office.context) == 0
    clock.turn(hours=4)
    assert office.held() == 2
    assert activating.release_lapsed(office.context) == 1
    assert activating.release_lapsed(office.context) == 0
    assert office.held() == 1
    assert office.history() == ["created", "created", "checked_out", "lapsed"]


def test_handing_a_floating_seat_back_is_no_move(context: Context, clock: TurnableClock) -> None:
    office = Customer(context, clock, msgspec.structs.replace(FLOATING, moves=1), seats=1)
    for name in "ABCDE":
        assert office.activate(name).code == "VALID"
        assert office.deactivate(name) is None
    office.activate("A")
    clock.turn(hours=4)
    assert office.deactivate("A") == "NOT_ACTIVATED"
    assert office.activate("B").code == "VALID"


def test_the_oldest_floating_seat_gives_way_and_that_is_a_move(
    context: Context, clock: TurnableClock
) -> None:
    terms = msgspec.structs.replace(FLOATING, over_limit="replace_oldest", moves=1)
    office = Customer(context, clock, terms, seats=2)
    for name in "ABC":
        assert office.activate(name).code == "VALID"
        clock.turn(minutes=20)
    assert office.codes("ABC") == ["NOT_ACTIVATED", "VALID", "VALID"]
    assert office.activate("D").code == "MOVES_EXHAUSTED"
    clock.turn(hours=4)
    assert office.activate("D").code == "VALID"  # a seat returned by itself


def test_a_plan_that_begins_and_ends_to_float(context: Context, clock: TurnableClock) -> None:
    office = Customer(context, clock, Terms(), seats=2)
    office.activate("A")
    edit(context, FLOATING)
    assert office.validate("A").code == "VALID"
    (row,) = rows_of(context, activations)
    # As it is held now: not less than what the old lease may have promised.
    assert row["seat_until"] >= clock.now() + timedelta(hours=4)
    edit(context, Terms())
    clock.turn(days=9)
    assert office.validate("A").code == "VALID"
    assert activating.release_lapsed(context) == 1
    assert activating.release_lapsed(context) == 0
    assert office.held() == 1


def edit(context: Context, terms: Terms) -> None:
    with context.database.write() as connection:
        values = {"terms": catalog.encode_terms(terms).decode(), "version": plans.c.version + 1}
        connection.execute(sa.update(plans).values(values))


# -- check-outs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [Terms(checkout=30 * DAY), FLOATING], ids=["fixed", "floating"])
def test_a_machine_is_checked_out_for_days(context: Context, clock: TurnableClock, terms: Terms) -> None:
    office = Customer(context, clock, terms, seats=1)
    verdict = office.activate("A", checkout_days=20)
    until = int((clock.now() + timedelta(days=20)).timestamp())
    assert (claims(verdict)["out"], claims(verdict)["lexp"]) == (True, until)
    assert verdict.license is not None
    assert verdict.license.offline_until == clock.now() + timedelta(days=20)
    clock.turn(days=10)
    # A word from the road takes nothing away.
    for nonce in (None, "n"):
        told = claims(office.validate("A", nonce=nonce))
        assert (told["out"], told["lexp"]) == (True, until)
    assert claims(office.activate("A"))["lexp"] == until
    assert office.activate("B").code == "TOO_MANY_ACTIVATIONS"
    clock.turn(days=10)
    assert office.validate("A").code == ("NOT_ACTIVATED" if terms.floating else "VALID")
    assert office.history() == ["created", "checked_out"]


def test_a_check_out_is_made_longer_and_never_shorter(office: Customer, clock: TurnableClock) -> None:
    office.activate("A", checkout_days=10)
    assert claims(office.activate("A", checkout_days=5))["lexp"] == claims(office.validate("A"))["lexp"]
    longer = claims(office.activate("A", checkout_days=30))["lexp"]
    assert longer == int((clock.now() + timedelta(days=30)).timestamp())
    assert office.history() == ["created", "checked_out", "checked_out"]


def test_a_validation_checks_nothing_out(office: Customer, clock: TurnableClock) -> None:
    office.activate("A")
    clock.turn(hours=3)
    assert "out" not in claims(office.validate("A", checkout_days=20))
    assert office.history() == ["created"]


def test_who_comes_home_from_a_check_out_goes_on(office: Customer, clock: TurnableClock) -> None:
    office.activate("A", checkout_days=10)
    clock.turn(days=9, hours=23)
    told = claims(office.validate("A"))
    assert told["lexp"] == int((clock.now() + timedelta(hours=4)).timestamp())
    clock.turn(hours=3)
    assert "out" not in claims(office.validate("A"))


@pytest.mark.parametrize(
    ("terms", "days", "told"),
    [(Terms(), 1, "no machine"), (Terms(checkout=30 * DAY), 31, "at most 30 days")],
)
def test_days_that_the_plan_does_not_give_are_refused(
    context: Context, clock: TurnableClock, terms: Terms, days: int, told: str
) -> None:
    office = Customer(context, clock, terms)
    with pytest.raises(Invalid, match=told) as refused:
        office.activate("A", checkout_days=days)
    assert refused.value.code == "CHECKOUT_REFUSED"
    assert office.held() == 0
    with pytest.raises(Invalid):
        office.asked("A", checkout_days=0)


def test_a_check_out_ends_with_the_license(context: Context, clock: TurnableClock) -> None:
    office = Customer(context, clock, Terms(checkout=DAY * 400))
    ends = world.the_license(context).grace_until
    assert ends is not None
    assert claims(office.activate("A", checkout_days=400))["lexp"] == int(ends.timestamp())


@pytest.mark.parametrize("floating", [False, True])
def test_nobody_takes_the_place_of_a_machine_on_a_journey(
    context: Context, clock: TurnableClock, floating: bool
) -> None:
    terms = Terms(over_limit="replace_oldest", floating=floating, checkout=30 * DAY)
    office = Customer(context, clock, terms, seats=2)
    office.activate("A", checkout_days=30)
    clock.turn(hours=1)
    for name in "BC":
        assert office.activate(name).code == "VALID"
        clock.turn(minutes=20)
    assert office.codes("ABC") == ["VALID", "NOT_ACTIVATED", "VALID"]
    assert office.activate("C", checkout_days=30).code == "VALID"
    assert office.activate("D").code == "TOO_MANY_ACTIVATIONS"


@pytest.mark.parametrize("floating", [False, True])
def test_coming_back_early_is_a_move(context: Context, clock: TurnableClock, floating: bool) -> None:
    terms = Terms(floating=floating, checkout=30 * DAY, moves=1)
    office = Customer(context, clock, terms)
    office.activate("A", checkout_days=20)
    assert office.deactivate("A") is None
    office.activate("B", checkout_days=20)
    assert office.deactivate("B") == "MOVES_EXHAUSTED"
    assert office.activate("C").code == "TOO_MANY_ACTIVATIONS"


def test_a_machine_that_changes_on_a_journey_stays_out(office: Customer, clock: TurnableClock) -> None:
    until = claims(office.activate("A", checkout_days=20, signals=machine("a")))["lexp"]
    clock.turn(days=2)
    verdict = office.validate("A2", signals=machine("a", disk="new"))
    assert verdict.activation is not None
    assert verdict.activation.match == "close"
    assert (claims(verdict)["out"], claims(verdict)["lexp"]) == (True, until)


# -- dead machines --------------------------------------------------------------------------------------


def test_a_dead_machine_gives_way_when_the_limit_is_reached(context: Context, clock: TurnableClock) -> None:
    office = Customer(context, clock, Terms(reclaim=90 * DAY, moves=0), seats=2)
    office.activate("A")
    office.activate("B")
    clock.turn(days=89)
    books = Bookkeeping()
    assert office.validate("B", books).code == "VALID"
    books.write(context)
    assert office.activate("C").code == "TOO_MANY_ACTIVATIONS"
    clock.turn(days=2)
    assert office.validate("A").code == "VALID"  # until its place is needed
    assert office.activate("C").code == "VALID"
    assert office.codes("ABC") == ["NOT_ACTIVATED", "VALID", "VALID"]
    assert office.history() == ["created", "created", "reclaimed", "created"]
    assert office.activate("D").code == "TOO_MANY_ACTIVATIONS"


def test_many_come_for_few_floating_seats_at_once(office: Customer, clock: TurnableClock) -> None:
    for number in range(3):
        asked = [office.asked(f"{number}-{n}") for n in range(50)]
        answers = activating.activate_many(office.context, asked)
        found = [one.code for one in answers if isinstance(one, Verdict)]
        assert (found.count("VALID"), found.count("TOO_MANY_ACTIVATIONS")) == (2, 48)
        assert office.held() == 2
        clock.turn(hours=4)
    assert office.history() == ["created", "created", *["lapsed", "created", "created"] * 2]
