"""Provisioning: a shop has sold seats to a firm, and the firm becomes a tenant, step by step.

The workflow is a plain function, `create_tenant`, over a port of steps: whatever runs it (the engine of
this server, or another one) has to run each step to its end and not twice at once, and to go on after a crash
where it stopped. Its id and its input are those of the request, so that any engine means the same work.

Every step is idempotent by its row: it looks whether it is done, does what it is for, and writes down that it
is. What changes only the database does so in one transaction with that row; what asks the provider reads
before it writes. So a death at any moment costs a repetition that changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol, get_args

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain.email_address import folded
from keywright.domain.errors import Conflict, Invalid, KeywrightError, Misconfigured, NotFound
from keywright.domain.facts import Alias, HolderSeen, Refetch
from keywright.flows import intake, provisioning_waits, staff, tenant_seats, tenants
from keywright.flows.billing import MOST
from keywright.flows.context import Channel, Context
from keywright.store import audit, provisionings, purchases, tenant_customers
from keywright.store.provisionings import Provisioning

log = structlog.get_logger(__name__)

StepName = Literal[
    "accept",
    "tenant",
    "staff",
    "customer",
    "seats",
    "subscription",
    "mark_customer",
    "mark_subscription",
    "release",
]
STEPS: Final[tuple[StepName, ...]] = get_args(StepName)
"""In order. Another order, or another step, is another workflow: it gets a new name in the engine."""

PREFIX: Final = "create-tenant-"
_SHOP: Final = "stripe"  # whose customers and subscriptions the members of a wish name
_ID_LETTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_LONGEST_ID: Final = 120
_HASHED: Final = 32
_NOBODY: Final = "workflow"


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a shop asks for. `initial_license_count`: users until, or unless, a subscription says how many."""

    email: str
    client_name: str
    stripe_customer_id: str | None = None
    stripe_subscription_id: str | None = None
    initial_license_count: int | None = None

    def __repr__(self) -> str:  # neither the address nor the name reaches a log
        return f"Wish({self.stripe_customer_id!r}, {self.stripe_subscription_id!r})"


# -- the workflow ---------------------------------------------------------------------------------------


class Durable(Protocol):
    """What an engine has to do for a workflow."""

    def step(self, name: StepName, work: str, wish: str) -> str:
        """Run this step to its end, again after a failure that may pass, and answer what it answers.

        After a crash it may be run once more, and is skipped when its answer was kept.
        """
        ...


def create_tenant(work: str, wish: str, engine: Durable) -> str:
    """Make a tenant. Returns its id.

    Args:
        work: the id of the workflow, `workflow_id` of the wish.
        wish: a `Wish` as JSON, as the request had it; empty: the one that `start` has written down.
    """
    tenant = ""
    for name in STEPS:
        tenant = engine.step(name, work, wish)
    return tenant


def workflow_id(wish: Wish) -> str:
    """By the provider's customer; without one by a hash of the address: ids are shown, addresses are not."""
    if wish.stripe_customer_id is not None:
        return f"{PREFIX}{wish.stripe_customer_id}"
    return f"{PREFIX}{hashlib.sha256(folded(wish.email.strip()).encode()).hexdigest()[:_HASHED]}"


# -- ask for it -----------------------------------------------------------------------------------------


def start(context: Context, wish: Wish, *, by: str) -> str:
    """Have it done in the background, once however often it is asked for. Returns the id of the work.

    `by`: who asks, for the audit. From this commit on events of the subscription wait for their tenant.

    Raises Invalid; Conflict (PROVISIONING_DIFFERS) when the same customer was asked for with another wish;
    NotFound (PROVIDER_UNKNOWN) for a customer or subscription at a provider that is not set up.
    """
    work = workflow_id(wish)
    try:
        _write_wish(context, work, wish, by)
    except sa.exc.IntegrityError:
        # An event met the subscription first, at this very moment: now it is there.
        _write_wish(context, work, wish, by)
    return work


def _write_wish(context: Context, work: str, wish: Wish, by: str) -> None:
    with context.database.write() as connection:
        fresh = _accept(context, connection, work, wish, by)
        # Also when it is known: backups leave the engine's own tables behind.
        context.followups.provision(connection, work, anew=fresh)
        if fresh:
            told = {"customer": wish.stripe_customer_id, "subscription": wish.stripe_subscription_id}
            now = context.clock.now()
            audit.append(connection, context.master.id, by, "tenant.provisioned", work, told, now)


def _accept(context: Context, connection: sa.Connection, work: str, wish: Wish, by: str) -> bool:
    """Write the wish down. False when it was known. Raises as `start`."""
    check(wish)
    if work != workflow_id(wish):
        raise Invalid("The id of this work is not that of its wish.")
    now, named = context.clock.now(), wish.stripe_customer_id or wish.stripe_subscription_id
    channel = _shop(context) if named else None
    made = Provisioning(
        id=work,
        tenant_id=context.master.id,
        wish=encoded(wish),
        digest=hashlib.sha256(encoded(wish).encode()).hexdigest(),
        status="running",
        customer_tenant_id=None,
        provider_account_id=channel.account.id if channel is not None else None,
        customer=wish.stripe_customer_id,
        subscription=wish.stripe_subscription_id,
        asked_by=by,
        created_at=now,
        changed_at=now,
    )
    if not provisionings.insert(connection, made):
        known = provisionings.find(connection, context.master.id, work, lock=True)
        if known is not None and provisioning_waits.part_closed(connection, [known.customer_tenant_id]):
            provisionings.replace(connection, made)
        elif known is None or known.digest != made.digest:
            detail = (
                "A tenant was asked for under this id with other members. Ask with the same, or change it."
            )
            raise Conflict(detail, code="PROVISIONING_DIFFERS")
        else:
            return False
    if made.provider_account_id is not None and made.customer is not None:
        taken = tenant_customers.find_many(connection, made.provider_account_id, [made.customer])
        if not provisioning_waits.part_closed(connection, taken.values()):
            _demand_free(taken.get(made.customer), None)
    if channel is not None and wish.stripe_subscription_id is not None:
        provisioning_waits.reserve(context, connection, channel.account, made, wish.email)
    return True


def check(wish: Wish) -> None:
    """Raises Invalid for what cannot be made."""
    tenants.check(wish.client_name, "any", wish.email)
    if not wish.email.strip():
        raise Invalid("`email` must be an e-mail address.")
    ids = {
        "stripe_customer_id": wish.stripe_customer_id,
        "stripe_subscription_id": wish.stripe_subscription_id,
    }
    for name, id_ in ids.items():
        if id_ is not None and not (0 < len(id_) <= _LONGEST_ID and _ID_LETTERS.issuperset(id_)):
            raise Invalid(f"`{name}` is no id of Stripe's.")
    count = wish.initial_license_count
    if count is not None and not 0 <= count <= MOST:
        raise Invalid(f"`initial_license_count` must be 0 to {MOST}.")


def encoded(wish: Wish) -> str:
    """As the workflow is given it."""
    return msgspec.json.encode(wish).decode()


def _shop(context: Context) -> Channel:
    channel = context.channels.get(_SHOP)
    if channel is None:
        raise NotFound("Stripe is not set up here, where this customer would be.", code="PROVIDER_UNKNOWN")
    return channel


# -- steps ----------------------------------------------------------------------------------------------


def run_step(context: Context, name: StepName, work: str, wish: str) -> str:
    """Do one step, unless it is done. Returns the id of the tenant, empty before there is one.

    `context`: the seller's, who is the master tenant. Raises what the step raises, after writing it down.
    """
    try:
        if name == "accept" and wish:
            with context.database.write() as connection:
                _accept(context, connection, work, msgspec.json.decode(wish, type=Wish), _NOBODY)
        made, done = _find(context, work, name)
        if not done:
            _DO[name](context, made)
    except (sa.exc.OperationalError, sa.exc.IntegrityError):
        raise
    except Exception as error:
        _note_failure(context, name, work, error)
        raise
    return _find(context, work, name)[0].customer_tenant_id or ""


def give_up(context: Context, work: str, error: BaseException) -> None:
    """The engine tries no more: somebody has to look. What had waited becomes a purchase like any other: it
    may be somebody else's, who would wait for ever."""
    with context.database.write() as connection:
        provisionings.change(connection, work, context.clock.now(), status="failed")
    log.error("provisioning_failed", work=work, error=type(error).__qualname__)
    try:
        with context.database.write() as connection:
            made = provisionings.find(connection, context.master.id, work, lock=True)
            if made is not None:
                provisioning_waits.let_go(context, connection, made)
    except Exception as failed:  # noqa: BLE001  # why the work ended must not be hidden by another failure
        log.error("provisioning_release_failed", work=work, error=intake.name_of(failed))  # noqa: TRY400  # a message may quote what must not be in a log


def _note_failure(context: Context, name: StepName, work: str, error: Exception) -> None:
    code = error.code if isinstance(error, KeywrightError) else type(error).__qualname__
    with context.database.write() as connection:
        made = provisionings.find(connection, context.master.id, work, lock=True)
        if made is not None:
            provisionings.end_step(connection, made, name, context.clock.now(), error=code)


def _find(context: Context, work: str, name: StepName) -> tuple[Provisioning, bool]:
    with context.database.read() as connection:
        made = provisionings.find(connection, context.master.id, work)
        if made is None:
            raise NotFound("There is no such work.", code="WORKFLOW_UNKNOWN")
        known = provisionings.steps_of(connection, work).get(name)
    return made, known is not None and known.status == "done"


_Change = Callable[[sa.Connection, Provisioning], str]


def _finish(context: Context, made: Provisioning, name: StepName, change: _Change) -> None:
    """Do what changes the database, and write down what it was, in one transaction, once."""
    with context.database.write() as connection:
        locked = provisionings.find(connection, made.tenant_id, made.id, lock=True)
        known = provisionings.steps_of(connection, made.id).get(name)
        if locked is None or (known is not None and known.status == "done"):
            return
        note = change(connection, locked)
        provisionings.end_step(connection, locked, name, context.clock.now(), note=note)


def _say(context: Context, made: Provisioning, name: StepName, note: str) -> None:
    _finish(context, made, name, lambda _connection, _made: note)


def _wish(made: Provisioning) -> Wish:
    return msgspec.json.decode(made.wish, type=Wish)


def _tenant_of(made: Provisioning) -> str:
    if made.customer_tenant_id is None:
        raise Conflict("The tenant is not there yet.", code="TENANT_PENDING")
    return made.customer_tenant_id


def _write_down(context: Context, made: Provisioning) -> None:
    _say(context, made, "accept", "Asked for, and written down.")


def _make_tenant(context: Context, made: Provisioning) -> None:
    """The tenant, and which customer it is, in one: so there is none for a customer who is one already."""
    wish = _wish(made)
    customer = _owner_of(context, made) if made.customer_tenant_id is None else None

    def make(connection: sa.Connection, locked: Provisioning) -> str:
        if locked.customer_tenant_id is not None:
            return "The tenant is there."
        slug = tenants.slug_for(wish.client_name) or "client"
        for candidate in (slug, f"{slug[:40]}-{made.digest[:6]}", f"{slug[:32]}-{made.digest[:12]}"):
            try:
                tenant = tenants.create_in(
                    context, connection, wish.client_name, candidate, wish.email, by=made.asked_by
                )
            except Conflict:
                continue  # another tenant has this slug
            provisionings.change(connection, made.id, context.clock.now(), customer_tenant_id=tenant.id)
            _map(context, connection, made, customer, tenant.id)
            return f"Made {tenant.id}, with pages below /t/{tenant.slug}."
        raise Conflict("Every slug made of this name is taken.", code="TENANT_KNOWN")

    _finish(context, made, "tenant", make)
    context.shops.look_again()


def _invite(context: Context, made: Provisioning) -> None:
    def invite(connection: sa.Connection, locked: Provisioning) -> str:
        person = staff.invite_first(context, connection, _tenant_of(locked), _wish(made).email, made.asked_by)
        return f"Invited {person} as owner by mail." if person else "The owner is set up already."

    _finish(context, made, "staff", invite)


def _map_customer(context: Context, made: Provisioning) -> None:
    customer = made.customer or _owner_of(context, made)

    def connect(connection: sa.Connection, locked: Provisioning) -> str:
        if not _map(context, connection, made, customer, _tenant_of(locked)):
            return "No customer at a provider was named."
        provisionings.change(connection, made.id, context.clock.now(), customer=customer)
        return f"{customer} is this tenant."

    _finish(context, made, "customer", connect)


def _map(
    context: Context, connection: sa.Connection, made: Provisioning, customer: str | None, tenant: str
) -> bool:
    """Have the customer be this tenant. False where there is none. Raises Conflict (CUSTOMER_OF_ANOTHER)."""
    account = made.provider_account_id
    if customer is None or account is None:
        return False
    now = context.clock.now()
    _demand_free(tenant_customers.insert(connection, made.tenant_id, account, customer, tenant, now), tenant)
    return True


def _demand_free(taken: str | None, tenant: str | None) -> None:
    if taken not in (None, tenant):
        raise Conflict("This customer is another tenant already.", code="CUSTOMER_OF_ANOTHER")


def _owner_of(context: Context, made: Provisioning) -> str | None:
    """Which customer it is for: the one that was named, or whose the subscription is.

    Raises Conflict (SUBSCRIPTION_OF_ANOTHER) where those are two.
    """
    if made.subscription is None:
        return made.customer
    owners = _owners(made, _fetched(context, made))
    return made.customer or min(owners, default=None)


def _owners(made: Provisioning, arrivals: Sequence[intake.Arrival]) -> set[str]:
    owners = {
        fact.customer
        for arrival in arrivals
        if arrival.reading is not None
        for fact in arrival.reading.facts
        if isinstance(fact, HolderSeen) and fact.customer is not None
    }
    if made.customer is not None and owners - {made.customer}:
        raise Conflict("This subscription is of another customer.", code="SUBSCRIPTION_OF_ANOTHER")
    return owners


def _fetched(context: Context, made: Provisioning) -> list[intake.Arrival]:
    """The subscription as the provider has it. Raises Misconfigured, and as `PaymentApi.fetch`."""
    channel = _channel(context, made)
    if channel.api is None:
        raise Misconfigured("There is no secret key to ask the provider with.")
    now = context.clock.now()
    raws = channel.api.fetch(Refetch("subscription", made.subscription or ""))
    return [intake.arrive(channel, raw, now, fetched=True) for raw in raws]


def _channel(context: Context, made: Provisioning) -> Channel:
    channel = context.find_channel(made.provider_account_id or "")
    if channel is None:
        raise NotFound("The seller's account at the provider is not set up.", code="PROVIDER_UNKNOWN")
    return channel


def _set_seats(context: Context, made: Provisioning) -> None:
    count = _wish(made).initial_license_count

    def begin(connection: sa.Connection, locked: Provisioning) -> str:
        if count is None:
            return "The subscription says how many." if made.subscription else "Users are not counted."
        if tenant_customers.begin_with(connection, _tenant_of(locked), count):
            return f"{count} users, until a subscription says how many."
        return "The subscription says how many."

    _finish(context, made, "seats", begin)


def _bring_subscription(context: Context, made: Provisioning) -> None:
    if made.subscription is None:
        _say(context, made, "subscription", "No subscription was named.")
        return
    arrivals = _fetched(context, made)
    _owners(made, arrivals)
    failed = [one for one in intake.take_in(context, arrivals) if isinstance(one, Exception)]
    if failed:
        raise failed[0]
    _say(context, made, "subscription", f"Fetched {made.subscription}; the last step applies it.")


def _mark(thing: Literal["customer", "subscription"]) -> Callable[[Context, Provisioning], None]:
    """Write back who this is, where the shop's own programs look."""
    name: StepName = "mark_customer" if thing == "customer" else "mark_subscription"

    def mark(context: Context, made: Provisioning) -> None:
        external = made.customer if thing == "customer" else made.subscription
        if external is None:
            _say(context, made, name, f"No {thing} was named.")
            return
        billing = _channel(context, made).billing
        if billing is None:
            raise Misconfigured("There is no secret key to write to the provider with.")
        tenant = _tenant_of(made)
        words = {"tenant_id": tenant, "app_url": context.of(tenant).base_url, "onboarded": "true"}
        # The same for every try of one run, which `changed_at` tells from a run begun again: Stripe answers
        # a key that it knows as it did before, and writes nothing.
        named = (made.id, thing, external, tenant, words["app_url"], made.changed_at.isoformat())
        key = hashlib.sha256("\n".join(named).encode()).hexdigest()[:40]
        written = billing.mark(thing, external, words, key)
        _say(context, made, name, f"{'Wrote' if written else 'Found'} tenant_id, app_url and onboarded.")

    return mark


def _release(context: Context, made: Provisioning) -> None:
    """The subscription is the tenant's from here on, and what waited for that is applied."""
    purchase = _purchase_of(context, made)
    if purchase is None:
        _finish(context, made, "release", lambda connection, _made: _done(context, connection, made, ""))
        return
    account, usual = _channel(context, made).account, _wish(made).initial_license_count or 0
    with context.database.write() as connection:
        tenant_seats.settle_on(connection, account, purchase, _tenant_of(made), usual)
    waits, now = [("tenant", made.id)], context.clock.now()

    def release(connection: sa.Connection, _made: Provisioning) -> str:
        tried = intake.release(context, connection, account, waits, now)
        return _done(context, connection, made, f"Applied what had waited: {tried} events.")

    try:
        _finish(context, made, "release", release)
    except (sa.exc.OperationalError, sa.exc.IntegrityError):
        raise
    except Exception as error:  # noqa: BLE001  # one bad event must not keep the tenant waiting
        # Its name alone: a message may quote what must not be in a log.
        name = intake.name_of(error)
        log.error("provisioning_release_failed", work=made.id, error=name)  # noqa: TRY400  # as above
        left = "What had waited is tried again by itself: not all of it could be applied together."
        _finish(context, made, "release", lambda connection, _made: _done(context, connection, made, left))


def _purchase_of(context: Context, made: Provisioning) -> str | None:
    if made.subscription is None or made.provider_account_id is None:
        return None
    alias = Alias("subscription", made.subscription)
    with context.database.write() as connection:
        links, _ = purchases.find_by_aliases(connection, made.provider_account_id, [alias])
    return links.get(alias)


def _done(context: Context, connection: sa.Connection, made: Provisioning, note: str) -> str:
    provisionings.change(connection, made.id, context.clock.now(), status="done")
    return note or "Done: no events were waiting."


_DO: Final[dict[StepName, Callable[[Context, Provisioning], None]]] = {
    "accept": _write_down,
    "tenant": _make_tenant,
    "staff": _invite,
    "customer": _map_customer,
    "seats": _set_seats,
    "subscription": _bring_subscription,
    "mark_customer": _mark("customer"),
    "mark_subscription": _mark("subscription"),
    "release": _release,
}
