"""Second chances: due retries, and replays by hand, with what they change of each license."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain.errors import Conflict, NotFound, Unreadable
from keywright.domain.facts import Alias, Reading, Refetch
from keywright.domain.license import License, status
from keywright.flows import alarms, intake
from keywright.flows.context import Channel, Context
from keywright.flows.fulfillment import Outcome, Work
from keywright.flows.license_writes import clocks_of
from keywright.store import event_links, inbox, licenses, refetches
from keywright.store.inbox import InboxItem
from keywright.store.rows import micros
from keywright.store.tenants import ProviderAccount

log = structlog.get_logger(__name__)

_AT_ONCE = 200


def retry_due(context: Context) -> int:
    """Try every event whose next attempt is due, each in its own transaction. Returns how many were tried.

    Events of an account that is not set up any more wait: nobody here can read them.
    """
    now = context.clock.now()
    with context.database.read() as connection:
        waiting = inbox.accounts_due(connection, now)
    accounts = [one for one in waiting if context.find_channel(one) is not None]
    if not accounts:
        return 0
    with context.database.read() as connection:
        due = inbox.list_due(connection, accounts, now, _AT_ONCE)
    for id_ in due:
        try:
            attempt(context, id_)
        except NotFound as missing:
            # An account that is no longer configured, after test keys became live ones. The others go on.
            _rest(context, id_, missing)
    return len(due)


def _rest(context: Context, id_: str, missing: NotFound) -> None:
    """Take an event off the schedule that nobody here can read. A replay by hand is still possible."""
    change = {"id": id_, "reason": missing.code, "next_attempt_at": None}
    with context.database.write() as connection:
        inbox.settle(connection, [change])


def attempt(context: Context, id_: str) -> Outcome:
    """Apply one kept event again. One that raises is kept with its error, and dead after the last try."""
    now, own = context.clock.now(), _own(context, id_)
    try:
        with context.database.write() as connection:
            account = _account(own, _get(connection, id_))
            return intake.retry(own, connection, account, [id_], now)[id_]
    except (sa.exc.OperationalError, NotFound):
        raise
    except Exception as error:  # noqa: BLE001  # kept with its name; the next event must have its turn
        return _failed(context, id_, error)


def _failed(context: Context, id_: str, error: Exception) -> Outcome:
    now = context.clock.now()
    with context.database.write() as connection:
        item = _get(connection, id_)
        attempts = item.attempts + 1
        dead = attempts >= context.policy.attempts
        change = {
            "id": id_,
            "status": "dead" if dead else "failed",
            "reason": "FAILED",
            "error": intake.name_of(error),
            "attempts": attempts,
            "next_attempt_at": None if dead else micros(now + intake.backoff(attempts)),
        }
        inbox.settle(connection, [change])
        if dead:
            alarms.raise_alarm(context, connection, "dead_letter", id_, {"event": item.projected.dedupe_key})
    log.error("event_failed", provider_event=item.projected.dedupe_key, attempts=attempts, dead=dead)
    return Outcome("parked", "FAILED")


class LicenseChange(msgspec.Struct, frozen=True):
    """A license before and after; `before` None: it is made. Only what differs is in the two."""

    license: str
    before: dict[str, Any] | None
    after: dict[str, Any]


class Difference(msgspec.Struct, frozen=True):
    """What a replay did, or would do. `asked` names what the provider was, or would be, asked for."""

    id: str
    event: str
    outcome: str
    reason: str | None
    changed: bool
    licenses: tuple[LicenseChange, ...] = ()
    asked: tuple[Refetch, ...] = ()


def replay(context: Context, ids: Sequence[str], *, dry_run: bool) -> list[Difference]:
    """Apply kept events again, by hand. A dry run rolls back what it did after having looked at it."""
    return [_replay_one(context, id_, dry_run=dry_run) for id_ in ids]


def _replay_one(context: Context, id_: str, *, dry_run: bool) -> Difference:
    context = _own(context, id_)
    with context.database.write() as connection:
        item = _get(connection, id_)
        now = context.clock.now()
        channel = channel_of(context, item)
        outcomes = intake.retry(context, connection, channel.account, [id_], now)
        outcome, changed = outcomes[id_], any(one.changed for one in outcomes.values())
        found = _differences(context, connection, sorted(outcomes), _reading(channel, item), item, now)
        if dry_run:
            # Everything was really done, and looked at; now it never happened.
            connection.rollback()
    kept = item.projected
    return Difference(id_, kept.dedupe_key, outcome.outcome, outcome.reason, changed, found)


# -- what a replay changes ------------------------------------------------------------------------------


def _differences(
    context: Context,
    connection: sa.Connection,
    events: Sequence[str],
    reading: Reading | None,
    item: InboxItem,
    now: datetime,
) -> tuple[LicenseChange, ...]:
    """What this transaction has changed of the licenses behind these events: what it sees beside what is
    committed, which another connection still sees."""
    aliases: tuple[Alias, ...] = reading.aliases if reading is not None else ()
    account = item.provider_account_id
    with context.database.read() as outside:
        touched = event_links.purchases_of_events(outside, events)
        touched |= event_links.purchases_named(outside, account, aliases)
        touched |= event_links.purchases_of_events(connection, events)
        touched |= event_links.purchases_named(connection, account, aliases)
        changes = []
        for id_ in event_links.licenses_of(connection, touched):
            before = licenses.find(outside, item.tenant_id, id_)
            after = licenses.find(connection, item.tenant_id, id_)
            if after is not None and after != before:
                changes.append(_change(before, after, now))
    return tuple(change for change in changes if change.before is None or change.after)


def _change(before: License | None, after: License, now: datetime) -> LicenseChange:
    new = _shown(after, now)
    if before is None:
        return LicenseChange(after.id, None, new)
    old = _shown(before, now)
    differing = [name for name, value in new.items() if old.get(name) != value]
    return LicenseChange(
        after.id, {name: old.get(name) for name in differing}, {name: new[name] for name in differing}
    )


def _shown(held: License, now: datetime) -> dict[str, Any]:
    return {"status": status(held, now), **clocks_of(held)}


# -- asking the provider again --------------------------------------------------------------------------


def named_by(channel: Channel, item: InboxItem, *, fallback: bool = True) -> tuple[Refetch, ...]:
    """The objects that an event tells us to fetch; with `fallback` also what may be fetched to know more."""
    reading = _reading(channel, item)
    if reading is None:
        return ()
    return tuple(sorted({*reading.refetches, *(reading.fallback if fallback else ())}))


def ask_again(
    context: Context, connection: sa.Connection, channel: Channel, wanted: Iterable[Refetch]
) -> None:
    """Have these objects fetched when the caller's transaction commits. Nothing without a key to ask with."""
    asked = sorted(set(wanted))
    if not asked or channel.api is None:
        return
    now, account = context.clock.now(), channel.account
    refetches.want(connection, account.tenant_id, account.id, asked, now, due=now)
    context.followups.refetch(connection, context.new_id("bat"))


def refetch(context: Context, item: InboxItem, *, dry_run: bool) -> Difference:
    """Ask the provider for what an event is about, and take the answer in like a webhook.

    A dry run asks at once, and rolls back what the answer did; else the background work asks, and this
    answers `accepted`. An event that names nothing that can be asked for is `ignored`, `NOTHING_TO_ASK`.

    Raises NotFound for an account that is not configured, Conflict without a key to ask with; a dry run also
    what `PaymentApi.fetch` raises.
    """
    channel = channel_of(context, item)
    if channel.api is None:
        detail = "There is no secret key for this provider account, so it cannot be asked."
        raise Conflict(detail, code="PROVIDER_NOT_ASKED")
    wanted = named_by(channel, item)
    event = item.projected.dedupe_key
    if not wanted:
        return Difference(item.id, event, "ignored", "NOTHING_TO_ASK", changed=False)
    if dry_run:
        return _tried(context, channel, item, wanted)
    with context.database.write() as connection:
        ask_again(context, connection, channel, wanted)
    return Difference(item.id, event, "accepted", "ASKING", changed=False, asked=wanted)


def _tried(context: Context, channel: Channel, item: InboxItem, wanted: tuple[Refetch, ...]) -> Difference:
    """What the provider's answer would change. The provider is called before the transaction begins."""
    raws = [raw for one in wanted for raw in _fetched(channel, one)]
    now = context.clock.now()
    arrivals = [intake.arrive(channel, raw, now, fetched=True) for raw in raws]
    readable = {context.new_id("evt"): one for one in arrivals if one.reading is not None}
    with context.database.write() as connection:
        kept = [_kept(id_, one, now) for id_, one in readable.items()]
        fresh = inbox.insert(connection, kept)
        works = [
            Work(id_, one.projected.type, one.reading)
            for id_, one in readable.items()
            if id_ in fresh and one.reading is not None
        ]
        outcomes = intake.settle(context, connection, channel.account, works, now)
        found = _differences(context, connection, sorted(outcomes), _reading(channel, item), item, now)
        connection.rollback()
    changed = any(one.changed for one in outcomes.values())
    return Difference(item.id, item.projected.dedupe_key, "accepted", "ASKED", changed, found, wanted)


def _fetched(channel: Channel, wanted: Refetch) -> tuple[bytes, ...]:
    return channel.api.fetch(wanted, look=True) if channel.api is not None else ()


def _kept(id_: str, arrival: intake.Arrival, now: datetime) -> InboxItem:
    return InboxItem(
        id=id_,
        tenant_id=arrival.account.tenant_id,
        provider_account_id=arrival.account.id,
        projected=arrival.projected,
        status="applied",
        reason=None,
        error=None,
        attempts=1,
        received_at=now,
        processed_at=now,
    )


def _reading(channel: Channel, item: InboxItem) -> Reading | None:
    try:
        return channel.events.read(item.projected)
    except Unreadable:
        return None


# -- load -----------------------------------------------------------------------------------------------


def _own(context: Context, id_: str) -> Context:
    """The context of the tenant whose event it is. Raises NotFound."""
    with context.database.read() as connection:
        return context.of(_get(connection, id_).tenant_id)


def _get(connection: sa.Connection, id_: str) -> InboxItem:
    found = inbox.get_many(connection, [id_])
    if not found:
        raise NotFound("There is no such event.", code="EVENT_UNKNOWN")
    return found[0]


def channel_of(context: Context, item: InboxItem) -> Channel:
    """The channel that an event came by. Raises NotFound."""
    channel = context.find_channel(item.provider_account_id)
    if channel is None:
        raise NotFound("The provider account of this event is not configured.", code="PROVIDER_UNKNOWN")
    return channel


def _account(context: Context, item: InboxItem) -> ProviderAccount:
    return channel_of(context, item).account
