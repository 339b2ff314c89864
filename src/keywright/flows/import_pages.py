"""One page of an import: what of it is new, what of it can be taken, and taking it in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import Alias, HolderSeen, PaymentSeen, Reading, SubscriptionSeen
from keywright.domain.license import License, status
from keywright.flows import intake
from keywright.flows.context import Channel, Context
from keywright.flows.fulfillment import Fulfillment, Outcome
from keywright.flows.import_file import Line
from keywright.flows.import_tenants import Buyer, Matches, buyers_of
from keywright.flows.intake import Arrival
from keywright.flows.luggage import Luggage
from keywright.flows.provider_setup import compare_prices
from keywright.ports import ChangePage, PriceSeen
from keywright.store import announcements, catalog, customers, licenses, reconciliations
from keywright.store.announcements import Announcement
from keywright.store.customers import Customer
from keywright.store.imports import Conflict

LISTED: Final = "listed"
"""The cursor of a run that has seen the last page."""

_KEY_LENGTH: Final = 48
_WHY: Final[Mapping[str, str]] = {
    "AMOUNT_MISMATCH": "It was sold at a price of its own, so no plan stands for it",
    "PRICE_UNMAPPED": "No plan of the catalog sells its price",
    "ORDER_UNKNOWN": "Nothing says which plan it is of",
    "CLAIMED_ELSEWHERE": "Another tenant with the same account at the provider has it",
    "TENANT_NOT_BELIEVED": "Its tenant_id names a tenant whose mapping does not hold this customer",
}
_FIXES: Final[Mapping[str, str]] = {
    "AMOUNT_MISMATCH": "keywright license issue",
    "ORDER_UNKNOWN": "keywright license issue",
    "CLAIMED_ELSEWHERE": "keywright license issue, if it is not to stay there",
    "TENANT_NOT_BELIEVED": "keywright tenant provision, with this customer and this subscription",
}


class Counts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run has met and made. `known`: subscriptions about which nothing was new. `unpaid`: those that
    brought no license, because nothing was ever paid. `left`: those whose price no plan sells. `tenants`:
    those that an e-mail address says are a tenant's, and were nobody's before."""

    subscriptions: int = 0
    known: int = 0
    made: int = 0
    changed: int = 0
    unpaid: int = 0
    left: int = 0
    payments: int = 0
    customers: int = 0
    keys: int = 0
    machines: int = 0
    tenants: int = 0
    requests: int = 0
    refusals: int = 0


class Taken(msgspec.Struct, frozen=True):
    """What came of a page. `lines`: of the file, those about something on it. `issued`: how many licenses
    each subscription got; `bare`: those that have none; `people`: the provider's customers that are new."""

    counts: Counts
    conflicts: list[Conflict]
    lines: list[int]
    schemes: bool = False
    issued: Mapping[str, int] = {}
    bare: frozenset[str] = frozenset()
    people: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()


class Page(msgspec.Struct, frozen=True):
    """What of a page can be taken. `arrivals` are new; `subscriptions` all that it is about, `seen` how many
    of them it tells the state of."""

    arrivals: tuple[Arrival, ...] = ()
    subscriptions: tuple[str, ...] = ()
    seen: int = 0
    known: int = 0
    unpaid: int = 0
    unmapped: frozenset[str] = frozenset()
    left: int = 0
    conflicts: tuple[Conflict, ...] = ()
    buyers: tuple[Buyer, ...] = ()

    @property
    def name(self) -> str:
        """What it is about, in short."""
        names = [alias.external_id for one in self.arrivals for alias in _reading(one).aliases]
        return min(names, default="a page")

    def groups(self) -> list[tuple[Arrival, ...]]:
        """The arrivals, together what is about one subscription or payment."""
        leader: dict[Alias, int] = {}
        found: dict[int, list[Arrival]] = {}
        for number, one in enumerate(self.arrivals):
            met = sorted({leader[alias] for alias in _reading(one).aliases if alias in leader}) or [number]
            joined = [*(member for other in met[1:] for member in found.pop(other)), one]
            found.setdefault(met[0], []).extend(joined)
            for member in joined:
                leader |= dict.fromkeys(_reading(member).aliases, met[0])
        return [tuple(several) for _, several in sorted(found.items())]

    def of(self, groups: Iterable[Sequence[Arrival]]) -> Page:
        """A part of it, which tells of nothing that the other part tells as well."""
        arrivals = tuple(one for several in groups for one in several)
        seen = _subscriptions_of(one for one in arrivals if _is_snapshot(_reading(one)))
        names = _subscriptions_of(arrivals)
        buyers = tuple(one for one in self.buyers if one.subscription in names)
        return Page(arrivals, tuple(sorted(names)), len(seen), buyers=buyers)


NOTHING: Final = Page()


class Tally:
    """What a dry run has met on earlier pages: nothing of it is here when the next one is looked at."""

    def __init__(self) -> None:
        self._issued: set[str] = set()
        self._bare: set[str] = set()
        self._people: set[str] = set()
        self._tenants: set[str] = set()

    def count(self, taken: Taken) -> Counts:
        """The counts of a page, less what an earlier one counted already."""
        made = sum(count for name, count in taken.issued.items() if name not in self._issued)
        bare = taken.bare - self._issued - taken.issued.keys()
        told = msgspec.structs.replace(
            taken.counts,
            made=made,
            unpaid=taken.counts.unpaid - len(taken.bare) + len(bare - self._bare),
            customers=len(taken.people - self._people),
            tenants=len(taken.tenants - self._tenants),
        )
        # What looked bare until its payment was met, or the other way round.
        late = len(self._bare & taken.issued.keys())
        self._issued |= taken.issued.keys()
        self._bare = (self._bare | bare) - self._issued
        self._people |= taken.people
        self._tenants |= taken.tenants
        return msgspec.structs.replace(told, unpaid=told.unpaid - late)


def added(one: Counts, other: Counts) -> Counts:
    """Both together."""
    names = [field.name for field in msgspec.structs.fields(Counts)]
    return Counts(**{name: getattr(one, name) + getattr(other, name) for name in names})


# ----------------------------------------------------------------------------------------------- read


def read(connection: sa.Connection, channel: Channel, page: ChangePage, now: datetime) -> Page:
    """What of a page is new, and can be taken."""
    told = [_named(intake.arrive(channel, change.raw, now, fetched=True)) for change in page.changes]
    conflicts = [_unreadable(one) for one in told if one.error is not None]
    by_key = {one.projected.dedupe_key: one for one in told if one.reading is not None}
    known = reconciliations.known_events(connection, channel.account.id, list(by_key))
    aliases = [alias for one in by_key.values() for alias in _reading(one).aliases]
    links, _ = reconciliations.states_of(connection, channel.account.id, aliases)
    prices = {price for one in by_key.values() for price in _reading(one).prices}
    account = channel.account
    plans = catalog.plans_by_price(connection, account.tenant_id, account.provider, prices)
    sift = _Sift(set(links), set(plans))
    fresh = tuple(one for key, one in by_key.items() if sift.takes(_reading(one)) and key not in known)
    # Only these have told how a subscription stands; of the others the page has a payment.
    seen = _subscriptions_of(one for one in by_key.values() if _is_snapshot(_reading(one)))
    news = _subscriptions_of(fresh)
    here = {alias.external_id for alias in links if alias.kind == "subscription"} | news
    readings = [_reading(one) for one in by_key.values()]
    unpaid = (seen & sift.unpaid) - news
    return Page(
        arrivals=fresh,
        subscriptions=tuple(sorted(seen | news)),
        seen=len(seen),
        known=len(seen - news - sift.left - unpaid),
        unpaid=len(unpaid),
        unmapped=frozenset(prices - set(plans)),
        left=len(seen & sift.left),
        conflicts=(*conflicts, *sift.conflicts),
        buyers=buyers_of(readings, _told_of(list(by_key.values())), frozenset(here)),
    )


class _Sift:
    """Which readings of a page can be taken, and what stands in the way of the others."""

    def __init__(self, known: set[Alias], mapped: set[str]) -> None:
        self._known = known
        self._mapped = mapped
        self.left: set[str] = set()
        self.unpaid: set[str] = set()
        self.conflicts: list[Conflict] = []

    def takes(self, reading: Reading) -> bool:
        names = {alias.external_id for alias in reading.aliases if alias.kind == "subscription"}
        if any(alias in self._known for alias in reading.aliases):
            return True
        if not names:
            self._tell_of_loose(reading)
            return False  # money of something else that the seller sells
        if reading.prices and not set(reading.prices) & self._mapped:
            self.left |= names
            return False
        if not reading.founds:
            self.unpaid |= names
        return reading.founds

    def _tell_of_loose(self, reading: Reading) -> None:
        paid = [fact for fact in reading.facts if isinstance(fact, PaymentSeen) and fact.state == "paid"]
        if paid and set(reading.prices) & self._mapped:
            reason = "The provider does not tell which of the customer's subscriptions this payment is for"
            self.conflicts.append(Conflict("payment-unclear", paid[0].payment, reason))


def _named(arrival: Arrival) -> Arrival:
    """Under a name that depends on what it says alone: what says the same again is known."""
    projected = arrival.projected
    key = f"import:{projected.digest[:_KEY_LENGTH]}"
    return msgspec.structs.replace(arrival, projected=msgspec.structs.replace(projected, dedupe_key=key))


def _unreadable(arrival: Arrival) -> Conflict:
    return Conflict("unreadable", arrival.projected.raw_sha256[:16], arrival.error or "It cannot be read")


def _reading(arrival: Arrival) -> Reading:
    return arrival.reading or Reading((), (), founds=False)


def _is_snapshot(reading: Reading) -> bool:
    return any(isinstance(fact, SubscriptionSeen) for fact in reading.facts)


def _subscriptions_of(arrivals: Iterable[Arrival]) -> set[str]:
    return {
        alias.external_id
        for one in arrivals
        for alias in _reading(one).aliases
        if alias.kind == "subscription"
    }


def price_conflicts(
    context: Context, channel: Channel, ids: Sequence[str], seen: Sequence[PriceSeen]
) -> list[Conflict]:
    """The prices that no plan sells, each with the line of a catalog file that would sell it.

    `seen`: what the provider tells of them.
    """
    told = {price.external_id: price for price in seen}
    found = []
    for id_ in ids:
        reason = "No plan of the catalog sells this price. Its subscriptions are left out"
        price = told.get(id_)
        if price is None:
            fix = "It has no amount of its own, as metered and tiered prices: keywright license issue"
        else:
            lines = compare_prices(context, channel.account, [price]).lines
            fix = lines[0] if lines else ""
        found.append(Conflict("price-unmapped", id_, reason, fix))
    return found


# ----------------------------------------------------------------------------------------------- take


def take(
    context: Context,
    connection: sa.Connection,
    channel: Channel,
    page: Page,
    *,
    run: str,
    lines: Sequence[Line],
    announce: bool,
    now: datetime,
) -> Taken:
    """Take a page in, in the caller's transaction."""
    account = channel.account
    luggage = Luggage(context, connection, account.tenant_id, run, lines)
    people, nameless = _meet_customers(context, connection, channel, page.arrivals, now)
    matches = Matches(context, connection, account, page.buyers)
    matches.pair(run, now)
    passes: list[Fulfillment] = []
    outcomes: list[Outcome] = []
    if page.arrivals:
        outcomes = intake.admit(context, connection, page.arrivals, now, passes, bringing=luggage)
    luggage.write(now)
    changes = [change for one in passes for change in one.changes]
    issued = [change.after for change in changes if change.before is None]
    if announce:
        _announce(context, connection, issued, now)
    theirs = matches.settle()
    held = _held(connection, account.id, page.subscriptions) if page.subscriptions else {}
    luggage.compare(held)
    bare = frozenset(name for name in _subscriptions_of(page.arrivals) if not held.get(name))
    counts = Counts(
        subscriptions=page.seen,
        known=page.known,
        made=len(issued),
        changed=len({change.after.id for change in changes} - {one.id for one in issued}),
        unpaid=len(bare) + page.unpaid,
        left=page.left,
        payments=_payments_in(page.arrivals),
        customers=len(people),
        keys=luggage.keys,
        machines=luggage.machines,
        tenants=len(theirs),
    )
    parked = _parked(page.arrivals, outcomes)
    conflicts = [*page.conflicts, *nameless, *parked, *luggage.conflicts, *matches.conflicts]
    by_name = Counter(name for one in issued for name in luggage.names_of(one)[:1])
    numbers = [line.number for line in lines]
    return Taken(counts, conflicts, numbers, luggage.keys > 0, by_name, bare, people, theirs)


def _held(connection: sa.Connection, account: str, subscriptions: Sequence[str]) -> dict[str, list[License]]:
    """The licenses of each subscription."""
    aliases = [Alias("subscription", name) for name in subscriptions]
    links, _ = reconciliations.states_of(connection, account, aliases)
    held = licenses.of_purchases(connection, sorted(set(links.values())))
    return {alias.external_id: held.get(purchase, []) for alias, purchase in links.items()}


def _payments_in(arrivals: Iterable[Arrival]) -> int:
    facts = (fact for one in arrivals for fact in _reading(one).facts)
    return len({fact.payment for fact in facts if isinstance(fact, PaymentSeen) and fact.state == "paid"})


def _parked(arrivals: Sequence[Arrival], outcomes: Sequence[Outcome]) -> list[Conflict]:
    found = []
    for one, outcome in zip(arrivals, outcomes, strict=True):
        reason = outcome.reason or ""
        if reason in _WHY:
            name = min(alias.external_id for alias in _reading(one).aliases)
            kind = reason.lower().replace("_", "-")
            found.append(Conflict(kind, name, _WHY[reason], _FIXES.get(reason, "")))
    return found


def _announce(context: Context, connection: sa.Connection, issued: Sequence[License], now: datetime) -> None:
    """Owe the letter with the key to those whose license runs."""
    batch = context.new_id("bat")
    owed = [
        Announcement(
            id=context.new_id("ann"),
            tenant_id=one.tenant_id,
            kind="license.issued",
            occurrence="first",
            subject_id=one.id,
            license_id=one.id,
            batch=batch,
            created_at=now,
        )
        for one in issued
        if status(one, now) in ("active", "grace")
    ]
    if owed:
        announcements.insert(connection, owed)
        context.followups.announce(connection, batch)


# ------------------------------------------------------------------------------------------ customers


def _meet_customers(
    context: Context, connection: sa.Connection, channel: Channel, arrivals: Sequence[Arrival], now: datetime
) -> tuple[frozenset[str], list[Conflict]]:
    """Lead the provider's customers to ours, by e-mail where one has it already.

    Returns those that were not known, and who of them has no address.
    """
    account, told = channel.account, _told_of(arrivals)
    known = customers.find_by_external(connection, account.id, sorted(told))
    orphans = {external: email for external, email in told.items() if external not in known}
    emails = sorted({email for email in orphans.values() if email is not None})
    ours = customers.find_by_emails(connection, account.tenant_id, emails)
    made: list[Customer] = []
    links: dict[str, str] = {}
    for external, email in sorted(orphans.items()):
        if email is None:
            continue
        if email not in ours:
            new = Customer(context.new_id("cus"), account.tenant_id, email, None, now, external)
            ours[email] = new
            made.append(new)
        else:
            links[external] = ours[email].id
    customers.insert(connection, made, account.id)
    customers.link(connection, account.tenant_id, account.id, links)
    reason = "This customer has no e-mail address: no mail can reach the holder of its licenses"
    nameless = [
        Conflict("customer-without-email", e, reason) for e, email in orphans.items() if email is None
    ]
    return frozenset(orphans), nameless


def _told_of(arrivals: Sequence[Arrival]) -> dict[str, str | None]:
    """Each customer of the provider, with the newest address that is told."""
    newest: dict[str, HolderSeen] = {}
    for one in arrivals:
        for fact in _reading(one).facts:
            if not isinstance(fact, HolderSeen) or fact.customer is None:
                continue
            rival = newest.get(fact.customer)
            if rival is None or (fact.email is not None, fact.stamp) > (rival.email is not None, rival.stamp):
                newest[fact.customer] = fact
    return {customer: fact.email for customer, fact in newest.items()}
