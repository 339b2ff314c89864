"""Second chances: due retries, and replays by hand."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain.errors import NotFound
from keywright.flows import alarms, intake
from keywright.flows.context import Context
from keywright.flows.fulfillment import Outcome
from keywright.store import inbox
from keywright.store.inbox import InboxItem
from keywright.store.rows import micros
from keywright.store.tenants import ProviderAccount

log = structlog.get_logger(__name__)

_AT_ONCE = 200


def retry_due(context: Context) -> int:
    """Try every event whose next attempt is due, each in its own transaction. Returns how many were tried.

    Events of an account that is not set up any more wait: nobody here can read them.
    """
    accounts = sorted(channel.account.id for channel in context.channels.values())
    with context.database.read() as connection:
        due = inbox.list_due(connection, accounts, context.clock.now(), _AT_ONCE)
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
    now = context.clock.now()
    try:
        with context.database.write() as connection:
            item = _get(connection, id_)
            return intake.retry(context, connection, _account(context, item), [id_], now)[id_]
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


class Difference(msgspec.Struct, frozen=True):
    """What a replay did, or would do."""

    id: str
    event: str
    outcome: str
    reason: str | None
    changed: bool


def replay(context: Context, ids: Sequence[str], *, dry_run: bool) -> list[Difference]:
    """Apply kept events again, by hand. A dry run rolls back what it did after having looked at it."""
    return [_replay_one(context, id_, dry_run=dry_run) for id_ in ids]


def _replay_one(context: Context, id_: str, *, dry_run: bool) -> Difference:
    with context.database.write() as connection:
        item = _get(connection, id_)
        now = context.clock.now()
        outcomes = intake.retry(context, connection, _account(context, item), [id_], now)
        outcome, changed = outcomes[id_], any(one.changed for one in outcomes.values())
        if dry_run:
            # Everything was really done, and looked at; now it never happened.
            connection.rollback()
    return Difference(id_, item.projected.dedupe_key, outcome.outcome, outcome.reason, changed)


def _get(connection: sa.Connection, id_: str) -> InboxItem:
    found = inbox.get_many(connection, [id_])
    if not found:
        raise NotFound("There is no such event.", code="EVENT_UNKNOWN")
    return found[0]


def _account(context: Context, item: InboxItem) -> ProviderAccount:
    channel = context.find_channel(item.provider_account_id)
    if channel is None:
        raise NotFound("The provider account of this event is not configured.", code="PROVIDER_UNKNOWN")
    return channel.account
