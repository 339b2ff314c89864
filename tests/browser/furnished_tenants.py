"""What a platform has beside its own shop: a tenant that could not be made to its end, sells through an
account that the platform's keys speak for, and buys its users here; and imports, one with conflicts."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from keywright.domain.errors import KeywrightError
from keywright.domain.fee import FeeRule, Fixed
from keywright.flows import connecting, provisioning, tenant_seats
from keywright.flows.context import Context
from keywright.flows.import_pages import Counts
from keywright.flows.importing import Wish as ImportWish
from keywright.flows.operate import Act
from keywright.flows.provisioning import Wish
from keywright.store import connected, imports, tenant_customers, tenants
from keywright.store.connected import Told
from keywright.store.imports import Conflict, Import
from tests.life import stripe, world
from tests.life.people import hire

OWNER = "owner@firm.example"
_NAME = "A firm of some standing with quite a long name & Sons"
_ASKED = (
    "external_account",
    "business_profile.url",
    "individual.verification.document",
    "tos_acceptance.date",
)


def take_in(context: Context) -> dict[str, str]:
    """The tenant and all that is told of it. Returns what the tests ask for by name."""
    firm, work = _made_half(context)
    _connect(context, firm)
    _buy_users(context, firm)
    return {
        "firm": firm,
        "work": work,
        "firm_session": hire(context, "admin@firm.example", "owner", firm)[1],
        "import": _imports(context),
    }


def _made_half(context: Context) -> tuple[str, str]:
    """The provider does not answer here, so that the step which asks it fails."""
    wish = Wish(OWNER, _NAME, "cus_firm")  # a subscription is asked for before there is a tenant
    work = provisioning.workflow_id(wish)
    firm, failed = "", None
    for step in provisioning.STEPS:
        try:
            firm = provisioning.run_step(context, step, work, provisioning.encoded(wish))
        except KeywrightError as error:
            failed = error
            break
    assert failed is not None
    assert firm
    provisioning.give_up(context, work, failed)
    return firm, work


def _connect(context: Context, firm: str) -> None:
    """Its account at Stripe may not sell yet: something is asked for."""
    platform, now = context.channels["stripe"].account, context.clock.now()
    with context.database.write() as connection:
        account = tenants.get_account(
            connection, firm, "stripe", live=platform.live, new_id=context.new_id("pac"), now=now
        )
        begun = connected.begin(connection, account, "acct_1Furnished", platform.id, now)
        told = Told(begun.id, False, False, True, _ASKED, "requirements.past_due", now)
        connected.tell(connection, [told])
        tenants.changed(connection)
    context.shops.look_again()
    rule = FeeRule(1000, {"USD": Fixed(50)})
    connecting.set_fee(context, firm, rule, Act("test", "as agreed"))


def _buy_users(context: Context, firm: str) -> None:
    """Five users, by a subscription at the platform's own account."""
    now = context.clock.now()
    bought = stripe.subscription(
        "sub_seats", now, now + timedelta(days=30), quantity=5, customer="cus_seats", price="price_pro"
    )
    world.hand_in(context, stripe.event("customer.subscription.created", bought, now))
    account = context.channels["stripe"].account
    with context.database.write() as connection:
        (purchase,) = tenant_customers.unclaimed(connection, account.id, ["sub_seats"]).values()
        tenant_seats.settle_on(connection, account, purchase, firm, 0)


def _imports(context: Context) -> str:
    """One that stopped, one that looked, and one that was done, with a conflict of every kind."""
    now = context.clock.now()
    counts = Counts(subscriptions=1240, made=1100, known=20, left=12, customers=1000, tenants=3, requests=88)
    stopped = _import(context, now, "failed", error="stripe does not answer.")
    _import(context, now, "done", dry_run=True, counts=counts)
    done = _import(context, now, "done", counts=counts)
    found = [
        Conflict(
            "price-unmapped", "price_1LegacyWithAQuiteLongName", "No plan sells it", f"{{ id = {'x' * 90} }}"
        ),
        Conflict("customer-without-email", "cus_1", "This customer has no e-mail address"),
        Conflict("tenant-unclear", "cus_2", "2 tenants have its e-mail address", "Give them their own"),
        Conflict(
            "line-unmatched", "line 12", "stripe lists no subscription sub_1", "Is it another account's?"
        ),
    ]
    with context.database.write() as connection:
        for run in (stopped, done):
            imports.note(connection, context.master.id, run, found)
    return done


def _import(
    context: Context,
    now: datetime,
    status: imports.Status,
    *,
    dry_run: bool = False,
    error: str | None = None,
    counts: Counts | None = None,
) -> str:
    told = counts or Counts(subscriptions=400)
    run = Import(
        id=context.new_id("imp"),
        tenant_id=context.master.id,
        provider_account_id=context.channels["stripe"].account.id,
        status=status,
        wish=msgspec.json.encode(ImportWish("stripe", "test", dry_run=dry_run)).decode(),
        started_at=now,
        touched_at=now,
        counts=msgspec.json.encode(told).decode(),
        total=1240,
        error=error,
        finished_at=now if status == "done" else None,
    )
    with context.database.write() as connection:
        imports.insert(connection, run)
    return run.id
