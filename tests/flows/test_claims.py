"""One payment is taken in for one tenant, also where several have keys of the same account."""

from __future__ import annotations

import hashlib
import itertools
import threading
from datetime import datetime, timedelta

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command

from keywright.domain.errors import Conflict
from keywright.domain.facts import Alias, AliasKind, Item, Projected, Reading, Stamp, SubscriptionSeen
from keywright.domain.plan import Terms
from keywright.flows import intake, provisioning_waits, replay, shredding
from keywright.flows.context import Context
from keywright.flows.fulfillment import Outcome
from keywright.flows.intake import Arrival
from keywright.store import checkouts, migrate, provisionings, purchases, wall
from keywright.store import tenants as stored_tenants
from keywright.store.checkouts import Checkout
from keywright.store.tables import inbox, licenses, prices, purchase_aliases
from keywright.store.tenants import ProviderAccount
from keywright.web.console import outcomes
from tests.conftest import TurnableClock
from tests.flows.test_tenants import account_at_stripe, made, sold, stock
from tests.life import stripe, world

MONTH = timedelta(days=30)
CLAIMED = Outcome("parked", "CLAIMED_ELSEWHERE")


@pytest.fixture
def twins(context: Context) -> tuple[str, str]:
    """Two tenants with keys of one account at Stripe, and the same price in their catalogs."""
    found = []
    for slug in ("acme", "other"):
        tenant = made(context, slug).id
        account_at_stripe(context, tenant)
        stock(context, tenant, "price_pro")
        found.append(tenant)
    return found[0], found[1]


def arrival(context: Context, tenant: str, event: stripe.Json) -> Arrival:
    channel = context.of(tenant).channels["stripe"]
    return intake.arrive(channel, stripe.encoded(event), context.clock.now())


def hear(context: Context, tenant: str, event: stripe.Json) -> str:
    (found,) = intake.take_in(context, [arrival(context, tenant, event)])
    assert isinstance(found, Outcome), found
    return found.outcome if found.reason is None else f"{found.outcome} {found.reason}"


def owners(context: Context) -> list[str]:
    """Whose the licenses are."""
    with context.database.read() as connection:
        return sorted(connection.execute(sa.select(licenses.c.tenant_id)).scalars())


def order(context: Context, tenant: str, reference: str) -> None:
    own, now = context.of(tenant), context.clock.now()
    made_now = Checkout(
        reference=reference,
        tenant_id=tenant,
        provider_account_id=own.channels["stripe"].account.id,
        plan_id=f"pla_plan-0-{tenant}",
        price="price_pro",
        quantity=1,
        amount=5000,
        currency="USD",
        status="open",
        created_at=now,
        expires_at=now + timedelta(hours=24),
    )
    with context.database.write() as connection:
        checkouts.insert(connection, made_now)


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "turned round"])
def test_who_hears_of_it_first_has_it(context: Context, twins: tuple[str, str], *, turned: bool) -> None:
    first, second = reversed(twins) if turned else twins
    event = sold(context, "sub_1", "price_pro")
    assert hear(context, first, event) == "applied"
    assert hear(context, second, event) == "parked CLAIMED_ELSEWHERE"
    assert owners(context) == [first]
    # Another one, by another kind of event first: it is the subscription that is claimed.
    now = context.clock.now()
    paid = stripe.invoice("in_2", "sub_2", now, now + MONTH, price="price_pro")
    assert hear(context, second, sold(context, "sub_2", "price_pro")) == "applied"
    assert hear(context, first, stripe.event("invoice.paid", paid, now)) == "parked CLAIMED_ELSEWHERE"
    assert owners(context) == sorted(twins)


def test_both_in_one_batch(context: Context, twins: tuple[str, str]) -> None:
    event = sold(context, "sub_1", "price_pro")
    outcomes = intake.take_in(context, [arrival(context, one, event) for one in twins])
    assert sorted(str(getattr(one, "reason", one)) for one in outcomes) == ["CLAIMED_ELSEWHERE", "None"]
    assert len(owners(context)) == 1


def test_both_at_once(context: Context, twins: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither sees the other before both have looked; SQLite has one writer at a time."""
    meeting, looks = threading.Barrier(2), itertools.count()
    look = purchases.held_by_others

    def slowly(*asked: object) -> object:
        held = look(*asked)  # type: ignore[arg-type]  # as it was called
        if not context.database.is_sqlite and next(looks) < 2:
            meeting.wait(10)
        return held

    monkeypatch.setattr(purchases, "held_by_others", slowly)
    event = sold(context, "sub_1", "price_pro")
    arrivals = [arrival(context, one, event) for one in twins]
    told: list[object] = []
    threads = [
        threading.Thread(target=lambda one=one: told.extend(intake.take_in(context, [one])))
        for one in arrivals
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(str(getattr(one, "reason", one)) for one in told) == ["CLAIMED_ELSEWHERE", "None"]
    assert len(owners(context)) == 1


def test_what_a_checkout_sold_is_its_tenants_whoever_hears_first(
    context: Context, twins: tuple[str, str]
) -> None:
    seller, hearer = twins
    order(context, seller, "KW-ABCDEFGH12345678")
    now = context.clock.now()
    begun = stripe.subscription("sub_1", now, now + MONTH, price="price_pro", reference="KW-ABCDEFGH12345678")
    event = stripe.event("customer.subscription.created", begun, now)
    assert hear(context, hearer, event) == "parked CLAIMED_ELSEWHERE"
    assert hear(context, seller, event) == "applied"
    assert owners(context) == [seller]


def test_another_mode_and_another_price_are_nobodys_business(
    context: Context, twins: tuple[str, str]
) -> None:
    first, second = twins
    with context.database.write() as connection:
        mine = prices.c.tenant_id == second
        connection.execute(sa.update(prices).where(mine).values(external_id="price_other"))
    assert hear(context, first, sold(context, "sub_1", "price_pro")) == "applied"
    assert hear(context, second, sold(context, "sub_1", "price_pro")) == "parked PRICE_UNMAPPED"
    assert hear(context, second, sold(context, "sub_2", "price_other")) == "applied"
    assert owners(context) == sorted(twins)


def test_what_both_had_before_goes_on_and_is_told(
    context: Context, clock: TurnableClock, twins: tuple[str, str]
) -> None:
    first, second = twins
    event = sold(context, "sub_1", "price_pro")
    assert hear(context, first, event) == "applied"
    with context.database.write() as connection:  # as it was before names were claimed
        connection.execute(sa.update(purchase_aliases).values(realm=None))
    assert hear(context, second, event) == "applied"
    start = clock.now() + MONTH
    clock.turn(days=30)
    paid = stripe.invoice("in_2", "sub_1", start, start + MONTH, price="price_pro")
    renewed = stripe.event("invoice.paid", paid, clock.now())
    assert hear(context, first, renewed) == "applied CLAIMED_ELSEWHERE"
    assert hear(context, second, renewed) == "applied"
    told = outcomes.outcome(str(renewed["type"]), "applied", "CLAIMED_ELSEWHERE", "")
    assert told.endswith("But another tenant sold it or took it in first: somebody has to look at it.")
    with context.database.read() as connection:
        ends = set(connection.execute(sa.select(licenses.c.entitled_until)).scalars())
    assert ends == {start + MONTH}


def test_an_upgrade_claims_what_is_there_for_the_first(context: Context, twins: tuple[str, str]) -> None:
    first, second = twins
    shared, alone = sold(context, "sub_1", "price_pro"), sold(context, "sub_2", "price_pro")
    assert hear(context, first, shared) == "applied"
    with context.database.write() as connection:
        connection.execute(sa.update(purchase_aliases).values(realm=None))
    assert [hear(context, second, event) for event in (shared, alone)] == ["applied", "applied"]
    with context.database.write() as connection:
        command.downgrade(migrate.config(connection), "0019_executors")
    with context.database.write() as connection:
        migrate.upgrade_on(connection, "head")
        names = purchase_aliases.c
        held = connection.execute(sa.select(names.external_id, names.tenant_id, names.realm)).all()
    assert sorted(map(tuple, held), key=str) == sorted(
        [("sub_1", first, "stripe:test"), ("sub_1", second, None), ("sub_2", second, "stripe:test")], key=str
    )
    assert hear(context, first, alone) == "parked CLAIMED_ELSEWHERE"


def test_a_replay_within_the_wall_says_the_same(context: Context, twins: tuple[str, str]) -> None:
    first, second = twins
    event = sold(context, "sub_1", "price_pro")
    assert hear(context, first, event) == "applied"
    assert hear(context, second, event) == "parked CLAIMED_ELSEWHERE"
    with context.database.read() as connection:
        parked = connection.execute(sa.select(inbox.c.id).where(inbox.c.tenant_id == second)).scalar_one()
    with wall.within(second):
        (told,) = replay.replay(context.of(second), [parked], dry_run=False)
    assert (told.outcome, told.reason) == ("parked", "CLAIMED_ELSEWHERE")
    assert owners(context) == [first]


def test_who_ended_holds_nothing(context: Context, clock: TurnableClock, twins: tuple[str, str]) -> None:
    first, second = twins
    event = sold(context, "sub_1", "price_pro")
    assert hear(context, first, event) == "applied"
    assert hear(context, second, event) == "parked CLAIMED_ELSEWHERE"
    shredding.shred(context, "acme", confirmed="acme", by="test", wait=lambda _: None)
    with context.database.read() as connection:
        parked = connection.execute(sa.select(inbox.c.id).where(inbox.c.tenant_id == second)).scalar_one()
    clock.turn(seconds=30)
    assert replay.attempt(context, parked).outcome == "applied"
    assert second in owners(context)


def test_a_subscription_of_another_tenant_is_not_reserved(context: Context, twins: tuple[str, str]) -> None:
    first, second = twins
    assert hear(context, first, sold(context, "sub_1", "price_pro")) == "applied"
    own, now = context.of(second), context.clock.now()
    account = own.channels["stripe"].account
    wanted = provisionings.Provisioning(
        id="prv_1",
        tenant_id=second,
        wish="{}",
        digest="",
        status="running",
        customer_tenant_id=None,
        provider_account_id=account.id,
        customer="cus_1",
        subscription="sub_1",
        asked_by="test",
        created_at=now,
        changed_at=now,
    )
    with pytest.raises(Conflict) as refused, context.database.write() as connection:
        provisioning_waits.reserve(own, connection, account, wanted, "a@example.com")
    assert refused.value.code == "SUBSCRIPTION_OF_ANOTHER"


# ------------------------------------------------------------------------------- the other providers


def account_at(context: Context, tenant: str, provider: str) -> ProviderAccount:
    with context.database.write() as connection:
        mine = prices.c.tenant_id == tenant
        connection.execute(sa.update(prices).where(mine).values(provider=provider))
        return stored_tenants.get_account(
            connection, tenant, provider, live=False, new_id=context.new_id("pac"), now=context.clock.now()
        )


def told_of(account: ProviderAccount, now: datetime, **names: str) -> Arrival:
    """What a provider said of a subscription that runs, under these names."""
    kinds: dict[AliasKind, str] = names  # type: ignore[assignment]  # the keywords are kinds
    said = hashlib.sha256(repr(sorted(names.items())).encode()).hexdigest()
    fact = SubscriptionSeen(
        stamp=Stamp(now), status="active", items=(Item("price_pro", 1, now, now + MONTH),), canceling=False
    )
    aliases = tuple(Alias(kind, name) for kind, name in kinds.items())
    reading = Reading(aliases, (fact,), founds=True, prices=("price_pro",))
    projected = Projected(
        dedupe_key=said,
        type="fetched.transaction",
        occurred_at=now,
        live=False,
        account=None,
        standing="read",
        body=b"{}",
        digest=said,
        raw_sha256=said,
        raw_size=2,
    )
    return Arrival(account, projected, reading, Outcome("applied"))


@pytest.mark.parametrize(
    ("provider", "names", "ends"),
    [
        ("paypal", {"session": "I-1", "subscription": "I-1", "charge": "8AB"}, CLAIMED),
        ("paystack", {"subscription": "SUB_1"}, CLAIMED),
        ("paystack", {"intent": "order-1", "charge": "4099260516"}, CLAIMED),
    ],
)
def test_names_that_a_provider_gives_once(
    context: Context, twins: tuple[str, str], provider: str, names: dict[str, str], ends: Outcome
) -> None:
    now = context.clock.now()
    accounts = [account_at(context, one, provider) for one in twins]
    outcomes = [intake.take_in(context, [told_of(one, now, **names)])[0] for one in accounts]
    assert isinstance(outcomes[0], Outcome)
    assert outcomes[0].outcome == "applied"
    assert outcomes[1] == ends
    assert owners(context) == [twins[0]]


def test_a_reference_that_two_sellers_chose_is_two_payments(context: Context, twins: tuple[str, str]) -> None:
    now = context.clock.now()
    for tenant, number in zip(twins, ("4099260516", "4099260517"), strict=True):
        account = account_at(context, tenant, "paystack")
        (one,) = intake.take_in(context, [told_of(account, now, intent="order-1", charge=number)])
        assert isinstance(one, Outcome), one
        assert (one.outcome, one.reason) == ("applied", None)
    assert owners(context) == sorted(twins)


def test_live_and_test_are_two_worlds(context: Context, twins: tuple[str, str]) -> None:
    now = context.clock.now()
    test = account_at(context, twins[0], "paystack")
    live = msgspec.structs.replace(account_at(context, twins[1], "paystack"), live=True)
    for account in (test, live):
        (one,) = intake.take_in(context, [told_of(account, now, charge="1", subscription="SUB_1")])
        assert isinstance(one, Outcome), one
        assert one.outcome == "applied"
    assert owners(context) == sorted(twins)


def test_it_is_asked_once_of_a_purchase_and_never_of_what_goes_on(context: Context) -> None:
    """Who else has a claim costs a new purchase one look, and is decided with what is written."""
    world.stock(context, price_pro=Terms())
    bought = asked_of(context, sold(context, "sub_1", "price_pro"))
    assert sum("realm = " in text for text in bought) == 1
    now = context.clock.now()
    paid = stripe.invoice("in_2", "sub_1", now, now + timedelta(days=60))
    renewed = asked_of(context, stripe.event("invoice.paid", paid, now))
    assert any("purchase_aliases" in text for text in renewed)
    assert not any("realm = " in text for text in renewed)
    assert not any("checkouts" in text for text in (*bought, *renewed))


def asked_of(context: Context, event: stripe.Json) -> list[str]:
    """The statements that taking the event in sends to the database."""
    asked: list[str] = []

    def listen(_conn: object, _cursor: object, text: str, *_: object) -> None:
        asked.append(text)

    sa.event.listen(context.database.engine, "before_cursor_execute", listen)
    try:
        assert world.outcome(context, event) == "applied"
    finally:
        sa.event.remove(context.database.engine, "before_cursor_execute", listen)
    return asked
