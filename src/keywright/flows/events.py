"""The inbox as staff see it, and replays that cannot reach past their tenant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from keywright.domain.errors import Conflict, Invalid, NotFound, ProviderUnavailable, Unreadable
from keywright.domain.facts import Fact, Ordered, PaymentSeen, SubscriptionSeen
from keywright.flows import replay
from keywright.flows.context import Context
from keywright.flows.intake import name_of
from keywright.flows.license_views import LicenseRow, check_limit, rows_of
from keywright.flows.replay import Difference
from keywright.store import console_views, event_links, inbox, license_views, licenses
from keywright.store.console_views import PriceBought
from keywright.store.inbox import InboxItem

_LICENSES_SHOWN = 50
FILTERS = ("status", "provider", "type", "since")
STATUSES = ("applied", "accepted", "parked", "ignored", "failed", "dead")
# Kept as a trace. What they say is not about this account, or is not there.
_NEVER_REPLAYED = ("WRONG_MODE", "WRONG_ACCOUNT", "UNREADABLE")
# Of a kind that is not applied. A later release may read it: then the same replay applies it.
_UNUSED = ("NOT_BUILT", "UNKNOWN_TYPE")


class EventRow(msgspec.Struct, frozen=True):
    """One event of the inbox. `event` is the provider's own id, `error` the code of what went wrong."""

    id: str
    provider: str
    event: str
    type: str
    status: str
    reason: str | None
    error: str | None
    attempts: int
    occurred_at: datetime
    received_at: datetime
    processed_at: datetime | None
    next_attempt_at: datetime | None


class EventShown(EventRow, frozen=True):
    """With what was kept of it: the projection, and digest and size of the raw body."""

    body: Any
    api_version: str | None
    raw_sha256: str
    raw_size: int


class About(msgspec.Struct, frozen=True):
    """What an event says, and the licenses of the purchases it was about. `prices`: those that it names and
    the catalog knows, by the provider's id."""

    facts: tuple[Fact, ...]
    licenses: list[LicenseRow]
    prices: dict[str, PriceBought]


class EventPage(msgspec.Struct, frozen=True):
    items: list[EventRow]
    next_cursor: str | None


class Replayed(msgspec.Struct, frozen=True):
    """What a replay did, or would do. `next_cursor`: the next page of the same filter; None: that was all."""

    dry_run: bool
    items: list[Difference]
    next_cursor: str | None = None


def list_events(
    context: Context,
    tenant: str,
    filters: Mapping[str, str],
    *,
    cursor: str | None = None,
    limit: int = 50,
    but: str | None = None,
) -> EventPage:
    """Newest first. Filters: status, provider, type, since (RFC 3339; when it arrived). `but`: a status that
    is left out. Raises Invalid."""
    with context.database.read() as connection:
        accounts = license_views.list_accounts(connection, tenant)
        items, onward = _page(connection, tenant, filters, accounts, cursor, limit, but)
    return EventPage([_row(item, accounts) for item in items], onward)


def show(context: Context, tenant: str, event: str) -> EventShown:
    """By our id or the provider's. Raises NotFound."""
    with context.database.read() as connection:
        item = _find(connection, tenant, event)
        accounts = license_views.list_accounts(connection, tenant)
    kept = item.projected
    return EventShown(
        **msgspec.structs.asdict(_row(item, accounts)),
        body=msgspec.json.decode(kept.body),
        api_version=kept.api_version,
        raw_sha256=kept.raw_sha256,
        raw_size=kept.raw_size,
    )


def about(context: Context, tenant: str, event: str) -> About:
    """What an event says, read once more from what was kept of it, and whom it concerned. Raises NotFound."""
    with context.database.read() as connection:
        item = _find(connection, tenant, event)
        bought = event_links.purchases_of_events(connection, [item.id])
        ids = event_links.licenses_of(connection, bought)[:_LICENSES_SHOWN]
        held = [licenses.find(connection, tenant, id_) for id_ in ids]
        rows = rows_of(context, connection, [one for one in held if one is not None])
    channel = context.find_channel(item.provider_account_id)
    if channel is None:
        return About((), rows, {})
    try:
        facts = channel.events.read(item.projected).facts
    except Unreadable:
        return About((), rows, {})
    with context.database.read() as connection:
        named = {price for fact in facts for price in _prices(fact)}
        prices = console_views.prices_called(connection, tenant, channel.account.provider, named)
    return About(facts, rows, prices)


def _prices(fact: Fact) -> list[str]:
    """The prices that a fact names."""
    match fact:
        case SubscriptionSeen():
            return [item.price for item in fact.items]
        case PaymentSeen():
            return [line.price for line in fact.lines]
        case Ordered():
            return [fact.price]
    return []


def replay_one(
    context: Context, tenant: str, event: str, *, dry_run: bool, refetch: bool = False
) -> Difference:
    """Apply one kept event again. One of a kind that is not applied answers `ignored` and stays as it was.

    With `refetch` the provider is asked for what the event is about; see `replay.refetch`.

    Raises NotFound, and Conflict for one that must never be applied, or without a key to ask with; a dry run
    that asks also ProviderUnavailable, Misconfigured, Invalid.
    """
    with context.database.read() as connection:
        item = _find(connection, tenant, event)
    if item.reason in _NEVER_REPLAYED:
        raise Conflict(f"This event is never applied: {item.reason}.", code="EVENT_NOT_REPLAYABLE")
    if refetch:
        return replay.refetch(context, item, dry_run=dry_run)
    return _again(context, item, dry_run=dry_run)


def replay_page(
    context: Context,
    tenant: str,
    filters: Mapping[str, str],
    *,
    dry_run: bool,
    refetch: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Replayed:
    """Apply one page of kept events again, or ask the provider again for what each is about, oldest of the
    page first. In a dry run each event is tried by itself. Raises Invalid."""
    with context.database.read() as connection:
        accounts = license_views.list_accounts(connection, tenant)
        items, onward = _page(connection, tenant, filters, accounts, cursor, limit)
    wanted = [item for item in reversed(items) if item.reason not in _NEVER_REPLAYED]
    again = _asked if refetch else _again
    return Replayed(dry_run, [again(context, item, dry_run=dry_run) for item in wanted], onward)


def _asked(context: Context, item: InboxItem, *, dry_run: bool) -> Difference:
    """One event of a page. What the provider refuses is told, and the next event has its turn."""
    try:
        return replay.refetch(context, item, dry_run=dry_run)
    except (Conflict, Invalid, NotFound, ProviderUnavailable) as refusal:
        return Difference(item.id, item.projected.dedupe_key, "failed", refusal.code, changed=False)


def _again(context: Context, item: InboxItem, *, dry_run: bool) -> Difference:
    if _is_unused(context, item):
        return Difference(item.id, item.projected.dedupe_key, "ignored", item.reason, changed=False)
    try:
        return replay.replay(context, [item.id], dry_run=dry_run)[0]
    except (NotFound, sa.exc.OperationalError):
        raise
    except Exception as error:  # noqa: BLE001  # told, not thrown: the event stays as it was, and others follow
        return Difference(
            item.id, item.projected.dedupe_key, "failed", _code_in(name_of(error)), changed=False
        )


def _is_unused(context: Context, item: InboxItem) -> bool:
    channel = context.find_channel(item.provider_account_id)
    if item.status != "ignored" or item.reason not in _UNUSED or channel is None:
        return False
    try:
        channel.events.read(item.projected)
    except Unreadable:
        return True
    return False


def _code_in(error: str) -> str:
    """The code of a kept error. Its class is for the log and the row; nobody can act on a Python path."""
    _, _, code = error.partition(" ")
    return code or "INTERNAL"


def _find(connection: sa.Connection, tenant: str, event: str) -> InboxItem:
    item = inbox.find(connection, tenant, event)
    if item is None:
        raise NotFound("There is no such event.", code="EVENT_UNKNOWN")
    return item


def _page(
    connection: sa.Connection,
    tenant: str,
    filters: Mapping[str, str],
    accounts: Mapping[str, str],
    cursor: str | None,
    limit: int,
    but: str | None = None,
) -> tuple[list[InboxItem], str | None]:
    check_limit(limit)
    if unknown := sorted(set(filters) - set(FILTERS)):
        raise Invalid(f"There is no filter `{unknown[0]}`; there are {', '.join(FILTERS)}.")
    if filters.get("status", STATUSES[0]) not in STATUSES:
        raise Invalid(f"`status` must be one of {', '.join(STATUSES)}.")
    since = _since(filters.get("since"))
    wanted = {name: value for name, value in filters.items() if name in ("status", "type")}
    provider = filters.get("provider")
    chosen: list[str | None] = [None]
    if provider is not None:
        chosen = [id_ for id_, name in accounts.items() if name == provider]
    found: list[InboxItem] = []
    for account in chosen:
        by = wanted if account is None else {**wanted, "account": account}
        found += inbox.list_page(connection, tenant, filters=by, after=cursor, limit=limit + 1, but=but)
    found.sort(key=lambda item: item.id, reverse=True)
    page, onward = found[:limit], found[limit - 1].id if len(found) > limit else None
    recent = [item for item in page if since is None or item.received_at >= since]
    # Events are listed in order of arrival: behind the first one that is too old there are no others.
    return recent, onward if len(recent) == len(page) else None


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Invalid("`since` must be a time with its zone, as in 2026-11-01T00:00:00Z.")
    return moment.astimezone(UTC)


def _row(item: InboxItem, accounts: Mapping[str, str]) -> EventRow:
    kept = item.projected
    return EventRow(
        id=item.id,
        provider=accounts.get(item.provider_account_id, ""),
        event=kept.dedupe_key,
        type=kept.type,
        status=item.status,
        reason=item.reason,
        error=_code_in(item.error) if item.error and item.reason == "FAILED" else item.error,
        attempts=item.attempts,
        occurred_at=kept.occurred_at,
        received_at=item.received_at,
        processed_at=item.processed_at,
        next_attempt_at=item.next_attempt_at,
    )
