"""Intake: what happens to a provider's webhook, from its raw bytes to the answer.

authenticate -> project -> gather -> one transaction -> answer. The provider gets its 200 after the commit
that holds the event and its effect. What cannot be applied is kept and retried; never lost, never doubled.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain.errors import (
    BadSignature,
    KeywrightError,
    NotFound,
    TooLarge,
    Unavailable,
    Unproven,
    Unreadable,
)
from keywright.domain.facts import Projected, Reading
from keywright.flows import waiting
from keywright.flows.context import Channel, Context
from keywright.flows.fulfillment import Fulfillment, Outcome, Work
from keywright.flows.gather import Gatherer
from keywright.flows.issuing import Bringing
from keywright.flows.shared_events import owner_of
from keywright.store import inbox, refetches
from keywright.store.inbox import InboxItem
from keywright.store.tenants import ProviderAccount

log = structlog.get_logger(__name__)

LARGEST_BODY = 1 << 20
_ASK_AGAIN = timedelta(minutes=1)
_PROVERS = 2
_UNPROVEN_AT_ONCE = 64
_FINDERS = 2
_LOOKING_AT_ONCE = 256
_ACCOUNT = re.compile(r"pac_[0-9A-Za-z]{1,60}")


_Found = TypeVar("_Found")


class Arrival(msgspec.Struct, frozen=True):
    """An authentic event on its way into the database. `reading` is None when there is nothing to apply."""

    account: ProviderAccount
    projected: Projected
    reading: Reading | None
    outcome: Outcome
    error: str | None = None


class Intake:
    """The webhook's way in. One per process; `receive` is called from the event loop."""

    def __init__(self, context: Context) -> None:
        self.context = self._context = context
        self.gatherer: Gatherer[Arrival, Outcome] = Gatherer(
            "intake",
            self._serve,
            traffic=context.traffic,
            limit=context.policy.batch,
            backlog=4096,
            patience=context.policy.answer_within,
            manner="yielding",
        )
        self._provers = ThreadPoolExecutor(_PROVERS, thread_name_prefix="prove")
        self._unproven = 0
        self._finders = ThreadPoolExecutor(_FINDERS, thread_name_prefix="account")
        self._looking = 0

    async def receive(
        self, provider: str, raw: bytes, headers: Mapping[str, str], account: str | None = None
    ) -> Outcome:
        """Take one webhook in, for the tenant of the account whose address it came to. Returns after the
        commit that holds it.

        Args:
            account: the id of the provider account in the address; None: the master tenant's.

        Raises BadSignature, Unreadable (after keeping digest, size and time), TooLarge, Unavailable.
        """
        if len(raw) > LARGEST_BODY:
            raise TooLarge("The body is larger than 1 MiB.")
        channel = self._context.channels.get(provider)
        if account is not None and (channel is None or channel.account.id != account):
            channel = await self._channel_of(account)
        if channel is None or channel.account.provider != provider or channel.account.connected_by:
            raise BadSignature("No webhook secret is configured for this address.")
        try:
            channel.events.authenticate(raw, headers, channel.secrets, self._context.clock.now())
        except Unproven:
            await self._prove(channel, raw, headers)
        arrival = arrive(channel, raw, self._context.clock.now())
        if channel.whose is not None:
            arrival = await self._of_whom(channel, raw, arrival)
        outcome = await self.gatherer.ask(arrival)
        if arrival.error is not None:
            raise Unreadable(arrival.error)
        return outcome

    async def _of_whom(self, channel: Channel, raw: bytes, arrival: Arrival) -> Arrival:
        """The same for the connected account that it is about, where it is about one."""
        reading = arrival.reading
        owner = await self.look_up(lambda: owner_of(self._context, channel, raw, reading))
        if owner is None:
            return arrival
        if owner.channel is None:
            return nobodys(channel.account, arrival.projected)
        return arrive(owner.channel, raw, self._context.clock.now())

    async def _channel_of(self, account: str) -> Channel | None:
        """The channel of any tenant's account: at hand as a rule, else found away from the event loop.

        Strangers can make up names: what looks is bounded, and only a name that could be one is looked for.
        """
        if not _ACCOUNT.fullmatch(account):
            return None
        ready = self._context.shops.ready(account)
        if ready is not None:
            return ready
        return await self.look_up(lambda: self._context.find_channel(account))

    async def look_up(self, find: Callable[[], _Found]) -> _Found:
        """Have something found in a thread, for the database may be asked. Raises Unavailable."""
        if self._looking >= _LOOKING_AT_ONCE:
            raise Unavailable("Too many accounts are looked up. Please send it again.", retry_after=5)
        self._looking += 1
        try:
            loop = asyncio.get_running_loop()
            # A database that is there and silent would keep us for as long as it likes.
            async with asyncio.timeout(self._context.policy.answer_within):
                return await loop.run_in_executor(self._finders, find)
        except (sa.exc.OperationalError, TimeoutError):
            raise Unavailable("The database does not answer. Please send it again.") from None
        finally:
            self._looking -= 1

    async def _prove(self, channel: Channel, raw: bytes, headers: Mapping[str, str]) -> None:
        """Get what the proof needs over the network, away from the event loop, and look again.

        Strangers can make us try: what waits is bounded, so that they cannot fill the memory.
        """
        if self._unproven >= _UNPROVEN_AT_ONCE:
            raise Unavailable("Too many signatures wait to be checked. Please try again.", retry_after=5)
        now = self._context.clock.now()
        self._unproven += 1
        try:
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(self._context.policy.answer_within):
                # What has begun goes on: the provider's next try finds what it brought.
                await loop.run_in_executor(self._provers, channel.events.obtain, raw, headers, now)
        except TimeoutError:
            raise Unavailable("The signature could not be checked in time. Please send it again.") from None
        finally:
            self._unproven -= 1
        try:
            channel.events.authenticate(raw, headers, channel.secrets, now)
        except Unproven:
            raise Unavailable("The signature could not be checked. Please send it again.") from None

    def _serve(self, arrivals: Sequence[Arrival]) -> Sequence[Outcome | Exception]:
        return take_in(self._context, arrivals)


def arrive(channel: Channel, raw: bytes, now: datetime, *, fetched: bool = False) -> Arrival:
    """Project and read one authentic body; `fetched` when we asked for it ourselves."""
    try:
        projected = channel.events.project(raw, fetched=fetched)
    except Unreadable as error:
        return _unreadable(channel.account, raw, now, error)
    if projected.account is not None and projected.account != channel.account.external_id:
        return nobodys(channel.account, projected)
    ignored = _why_ignored(channel.account, projected)
    if ignored is not None:
        return Arrival(channel.account, projected, None, ignored)
    try:
        reading = channel.events.read(projected)
    except Unreadable as error:
        return _unreadable(channel.account, raw, now, error)
    return Arrival(channel.account, projected, reading, Outcome("applied"))


def _why_ignored(account: ProviderAccount, projected: Projected) -> Outcome | None:
    if projected.live != account.live:
        return Outcome("ignored", "WRONG_MODE")
    if projected.standing == "later":
        return Outcome("ignored", "NOT_BUILT")
    if projected.standing == "unknown":
        return Outcome("ignored", "UNKNOWN_TYPE")
    return None


def nobodys(account: ProviderAccount, projected: Projected) -> Arrival:
    """An event of a connected account that is no tenant's here, or of one that was shredded, or that came to
    the wrong address: its buyers are not the platform's to keep, so it is noted without its body.

    Under a name of its own: an event of the platform's own that came to this address by mistake must not pass
    for known when it comes to the right one.
    """
    bare = msgspec.structs.replace(projected, body=b"{}", dedupe_key=f"nobody:{projected.dedupe_key}")
    reason = "WRONG_ACCOUNT" if projected.live == account.live else "WRONG_MODE"
    return Arrival(account, bare, None, Outcome("ignored", reason))


def _unreadable(account: ProviderAccount, raw: bytes, now: datetime, error: Unreadable) -> Arrival:
    digest = hashlib.sha256(raw).hexdigest()
    kept = Projected(
        dedupe_key=f"unreadable:{digest}",
        type="unreadable",
        occurred_at=now,
        live=account.live,
        account=None,
        standing="unknown",
        body=b"{}",
        digest=digest,
        raw_sha256=digest,
        raw_size=len(raw),
    )
    return Arrival(account, kept, None, Outcome("ignored", "UNREADABLE"), error.detail)


def take_in(context: Context, arrivals: Sequence[Arrival]) -> list[Outcome | Exception]:
    """Store and apply a batch in one transaction; on an error, halve it down to the event that causes it."""
    for last in (False, False, True):
        try:
            return list(_commit(context, arrivals))
        except sa.exc.IntegrityError as error:
            # Another process met one of these purchases first. It has committed: read again.
            failure: Exception = error
        except sa.exc.OperationalError as error:
            if last or not is_conflict(error):
                return [_not_stored(error, len(arrivals))] * len(arrivals)
        except Exception as error:  # noqa: BLE001  # one bad event must not take its neighbors down
            failure = error
            break
    if len(arrivals) == 1:
        return [_keep_failed(context, arrivals[0], failure)]
    return _halve(context, arrivals)


def _halve(context: Context, arrivals: Sequence[Arrival]) -> list[Outcome | Exception]:
    middle = len(arrivals) // 2
    return take_in(context, arrivals[:middle]) + take_in(context, arrivals[middle:])


def _not_stored(error: sa.exc.SQLAlchemyError, events: int) -> Unavailable:
    """The answer to events that the database did not take, after one line for the operator: a full disk ends
    all sales, and the provider alone would hear of it."""
    cause = getattr(error, "orig", None)
    reason = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    log.warning("events_not_stored", events=events, error=name_of(error), reason=reason)
    return Unavailable("The event could not be stored. Please send it again.")


def is_conflict(error: sa.exc.OperationalError) -> bool:
    """Deadlock or serialization failure: PostgreSQL asks for another try."""
    return getattr(error.orig, "sqlstate", None) in ("40P01", "40001")


def _commit(context: Context, arrivals: Sequence[Arrival]) -> list[Outcome]:
    # Looked up before the transaction begins: what is not at hand is read on another connection.
    served = {tenant: context.of(tenant) for tenant in {one.account.tenant_id for one in arrivals}}
    with context.database.write() as connection:
        return admit(context, connection, arrivals, context.clock.now(), served=served)


def admit(
    context: Context,
    connection: sa.Connection,
    arrivals: Sequence[Arrival],
    now: datetime,
    passes: list[Fulfillment] | None = None,
    served: Mapping[str, Context] | None = None,
    bringing: Bringing | None = None,
) -> list[Outcome]:
    """Store and apply a batch in the caller's transaction, each event for the tenant of its account.

    `passes` collects each pass, to be looked at. `served`: tenant -> its context; None: all of `context`'s.
    `bringing`: the batch is an import's.
    """
    served = served or {}
    items = [_item(context, arrival, now) for arrival in arrivals]
    fresh = inbox.insert(connection, items)
    works: dict[ProviderAccount, list[Work]] = {}
    for item, arrival in zip(items, arrivals, strict=True):
        if item.id in fresh and arrival.reading is not None:
            work = Work(item.id, arrival.projected.type, arrival.reading)
            works.setdefault(arrival.account, []).append(work)
    outcomes: dict[str, Outcome] = {}
    # Always in the same order: two batches of the same tenants must not wait for each other.
    for account, several in sorted(works.items(), key=lambda pair: pair[0].id):
        own = served.get(account.tenant_id, context)
        outcomes |= settle(own, connection, account, several, now, passes=passes, bringing=bringing)
    if len(fresh) < len(items):
        again = [a for i, a in zip(items, arrivals, strict=True) if i.id not in fresh]
        _ask_again(context, connection, again, served)
    return [
        outcomes.get(item.id, arrival.outcome) if item.id in fresh else Outcome("duplicate")
        for item, arrival in zip(items, arrivals, strict=True)
    ]


def _ask_again(
    context: Context,
    connection: sa.Connection,
    duplicates: Sequence[Arrival],
    served: Mapping[str, Context],
) -> None:
    """Where events carry no id, two that look alike may be two: what they name is asked for once more.

    A minute later and by the sweep, so that whoever plays one again and again makes us ask once a minute.
    """
    now = context.clock.now()
    for arrival in duplicates:
        reading = arrival.reading
        if reading is None or reading.facts or not reading.refetches:
            continue
        account = arrival.account
        channel = served.get(account.tenant_id, context).find_channel(account.id)
        if channel is not None and channel.api is not None:
            refetches.want(
                connection, account.tenant_id, account.id, reading.refetches, now, due=now + _ASK_AGAIN
            )


def _item(context: Context, arrival: Arrival, now: datetime) -> InboxItem:
    return InboxItem(
        id=context.new_id("evt"),
        tenant_id=arrival.account.tenant_id,
        provider_account_id=arrival.account.id,
        projected=arrival.projected,
        status=arrival.outcome.outcome,
        reason=arrival.outcome.reason,
        error=arrival.error,
        attempts=1 if arrival.reading is not None else 0,
        received_at=now,
        processed_at=now,
    )


def settle(
    context: Context,
    connection: sa.Connection,
    account: ProviderAccount,
    works: Sequence[Work],
    now: datetime,
    attempts: Mapping[str, int] | None = None,
    passes: list[Fulfillment] | None = None,
    bringing: Bringing | None = None,
) -> dict[str, Outcome]:
    """Fulfill events that are in the inbox as `applied`, and those that waited for what they bring.

    Writes the inbox rows whose outcome differs, and enqueues one workflow when something is owed. `attempts`
    counts the tries of events that are not here for the first time; `passes` collects each pass it took.
    """
    fulfillment = Fulfillment(context, connection, account, now, bringing)
    outcomes = fulfillment.run(works)
    if passes is not None:
        passes.append(fulfillment)
    if fulfillment.changes:
        outcomes = {id_: msgspec.structs.replace(o, changed=True) for id_, o in outcomes.items()}
    parked = {id_: o for id_, o in outcomes.items() if o.outcome == "parked"}
    noted = {id_: o for id_, o in outcomes.items() if o.outcome == "applied" and o.reason is not None}
    differing = {id_: o for id_, o in outcomes.items() if o.outcome == "ignored"} | noted
    inbox.settle(
        connection, [{"id": i, "status": o.outcome, "reason": o.reason} for i, o in differing.items()]
    )
    if parked:
        waiting.park(connection, account, parked, now, attempts or {})
    if fulfillment.owes:
        context.followups.announce(connection, fulfillment.batch)
    waiting.want(context, connection, account, fulfillment, now)
    accepted = {id_: o for id_, o in outcomes.items() if o.outcome == "accepted"}
    if accepted:
        waiting.await_answers(connection, account, accepted)
    names = [(alias.kind, alias.external_id) for alias in fulfillment.new_aliases]
    # What was parked a moment ago is among them: its partner may have come later in this very batch.
    return outcomes | _release(context, connection, account, names, now, passes)


def release(
    context: Context,
    connection: sa.Connection,
    account: ProviderAccount,
    names: Sequence[tuple[str, str]],
    now: datetime,
) -> int:
    """Apply the parked events that waited for one of these names. Returns how many were tried."""
    return len(_release(context, connection, account, names, now))


def _release(
    context: Context,
    connection: sa.Connection,
    account: ProviderAccount,
    names: Sequence[tuple[str, str]],
    now: datetime,
    passes: list[Fulfillment] | None = None,
) -> dict[str, Outcome]:
    """As `release`, with what became of them. Ends, because only names that are new lead on."""
    stalled = inbox.waiting_for(connection, account.id, names)
    return retry(context, connection, account, stalled, now, passes=passes) if stalled else {}


def answer_waiting(
    context: Context,
    connection: sa.Connection,
    account: ProviderAccount,
    names: Sequence[tuple[str, str]],
    now: datetime,
) -> None:
    """What these events had us fetch was taken in: their part is done, unless they wait for more."""
    stalled = inbox.waiting_for(connection, account.id, names)
    inbox.stop_waiting_for(connection, stalled, names)
    unfinished = inbox.still_waiting(connection, stalled)
    done = [id_ for id_ in stalled if id_ not in unfinished]
    if done:
        retry(context, connection, account, done, now, answered=True)


def retry(
    context: Context,
    connection: sa.Connection,
    account: ProviderAccount,
    ids: Sequence[str],
    now: datetime,
    *,
    answered: bool = False,
    passes: list[Fulfillment] | None = None,
) -> dict[str, Outcome]:
    """Apply kept events again, oldest first. Facts are read from the projection, so a replay is identical.

    `answered`: what they had us fetch is here, so it is not fetched again. `passes` as for `settle`.
    """
    channel = context.find_channel(account.id)
    if channel is None:
        raise NotFound("The provider account of these events is not set up.", code="PROVIDER_UNKNOWN")
    items = inbox.get_many(connection, ids)
    inbox.stop_waiting(connection, ids)
    works = [Work(i.id, i.projected.type, channel.events.read(_as_told(account, i)), answered) for i in items]
    inbox.settle(connection, [waiting.settled(i.id, Outcome("applied"), i.attempts + 1, now) for i in items])
    attempts = {i.id: i.attempts for i in items}
    return settle(context, connection, account, works, now, attempts, passes)


def _as_told(account: ProviderAccount, item: InboxItem) -> Projected:
    """Which connected account told it is not kept beside it: it is the one that it is kept under."""
    if account.connected_by is None:
        return item.projected
    return msgspec.structs.replace(item.projected, account=account.external_id)


def _keep_failed(context: Context, arrival: Arrival, error: Exception) -> Outcome | Exception:
    """An event that raised is kept with its error; the sweep tries it again."""
    kept = arrival.projected
    log.error("event_failed", type=kept.type, provider_event=kept.dedupe_key, error=name_of(error))
    now = context.clock.now()
    item = msgspec.structs.replace(
        _item(context, arrival, now),
        status="failed",
        reason="FAILED",
        error=name_of(error),
        next_attempt_at=now + backoff(1),
    )
    try:
        with context.database.write() as connection:
            fresh = inbox.insert(connection, [item])
    except sa.exc.SQLAlchemyError as trouble:
        return _not_stored(trouble, 1)
    return Outcome("parked", "FAILED") if fresh else Outcome("duplicate")


def name_of(error: Exception) -> str:
    """What may be kept of an error: its class and code. Messages may quote what must not be stored."""
    code = f" {error.code}" if isinstance(error, KeywrightError) else ""
    return f"{type(error).__module__}.{type(error).__qualname__}{code}"


def backoff(attempts: int) -> timedelta:
    """How long to wait after the given number of attempts: 15 s, doubling, at most 6 h."""
    return min(timedelta(seconds=15 * 2 ** (attempts - 1)), timedelta(hours=6))
