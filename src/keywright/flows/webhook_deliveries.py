"""Deliveries of webhooks: sent in turns, one endpoint at a time, and tried again by a schedule.

Marked after sending, under an id that stays the same: after a crash one may go out twice, and shows that it
is the same; none is lost.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
import sqlalchemy as sa
import structlog

from keywright.domain import webhook
from keywright.domain.errors import Conflict, Invalid, KeywrightError, NotFound
from keywright.flows import alarms, webhooks
from keywright.flows.context import Context
from keywright.flows.license_views import check_limit
from keywright.flows.operate import Act
from keywright.store import audit, webhook_outbox
from keywright.store import webhooks as store
from keywright.store.webhooks import Delivery, DueEndpoint, Endpoint

log = structlog.get_logger(__name__)

FILTERS = ("endpoint", "type", "status")
STATUSES = ("pending", "delivered", "failed")
AT_ONCE: Final = 8
_GONE: Final = 410
_BUSY: Final = (429, 502, 503, 504)  # it is not this event: whoever answers so wants a rest
_CLAIMED_FOR: Final = timedelta(minutes=2)
_TURN: Final = 5.0  # seconds of sending: then others have theirs
_PAUSES: Final = (0.1, 0.3, 1.0, 3.0, None)  # seconds before marking is tried again
_FRESH_FOR: Final = timedelta(days=3)
_PAGE: Final = 500
_dice = random.SystemRandom()


class DeliveryRow(msgspec.Struct, frozen=True):
    """One event for one endpoint. `id` is what the receiver sees as `webhook-id`."""

    id: str
    endpoint: str
    type: str
    status: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    last_status: int | None
    last_error: str | None
    body: Any


class DeliveryPage(msgspec.Struct, frozen=True):
    items: list[DeliveryRow]
    next_cursor: str | None


# -- send -----------------------------------------------------------------------------------------------


def list_due(context: Context) -> list[DueEndpoint]:
    """The endpoints that something is due for, of all tenants.

    Notes who listens at all, so that no transaction has to ask for it.
    """
    with context.database.read() as connection:
        if not webhook_outbox.look(connection, context.database.engine):
            return []
        return store.list_due(connection, context.clock.now())


def let_go(context: Context, holder: str) -> None:
    """Free what an earlier process of this name had taken: it is sent again, under the same ids."""
    with context.database.write() as connection:
        freed = store.let_go(connection, holder)
    if freed:
        log.info("webhooks_taken_over", deliveries=freed)


def send_some(
    context: Context,
    due: DueEndpoint,
    *,
    holder: str = "command",
    mark_after: float = 0.0,
    goes_on: Callable[[], bool] = lambda: True,
    may_write: Callable[[], bool] = lambda: True,
) -> int:
    """Send some of what is due for one endpoint, and mark it. Returns how many were tried.

    Safe to run many times at once, in many processes: each takes other deliveries. What does not arrive ends
    the turn, so that a receiver that is down is not waited for again and again.

    Args:
        context: the context.
        due: for which endpoint.
        holder: which process sends it, as `let_go` is told.
        mark_after: seconds. What is taken in that time is marked together: fewer writes, and a crash doubles
            more.
        goes_on: False: send no other one.
        may_write: False: it is too late to write; what was taken is free again after two minutes.
    """
    now = context.clock.now()
    limit = 1 if due.failing else AT_ONCE
    with context.database.write() as connection:
        token = f"{holder}:{context.new_id('clm')}"
        taken = store.claim(connection, due, token, now, now + _CLAIMED_FOR, limit)
        endpoint = store.find_endpoint(connection, due.tenant_id, due.id)
    if not taken or endpoint is None:
        return 0
    results: dict[str, webhook.Received] = {}
    marked, started = 0, time.monotonic()
    since = started
    for number, one in enumerate(taken, start=1):
        context.traffic.give_way()
        results[one.id] = _send_one(context, endpoint, one)
        now_at = time.monotonic()
        over = not results[one.id].taken or now_at - started > _TURN or not goes_on() or number == len(taken)
        if over or now_at - since >= mark_after:
            if may_write():
                # At the end with those that were not tried: they are free again.
                _mark(context, due, taken[marked : None if over else number], results)
            marked, since = number, time.monotonic()
        if over:
            break
    return len(results)


def send_due(context: Context) -> int:
    """Send all that is due, one after another. For commands and tests: a server sends side by side."""
    sent = 0
    while due := list_due(context):
        before = sent
        for one in due:
            sent += send_some(context, one)
        if sent == before:
            break
    return sent


def _send_one(context: Context, endpoint: Endpoint, one: Delivery) -> webhook.Received:
    try:
        secrets = webhooks.secrets_of(context, endpoint)
    except KeywrightError as error:
        log.warning("webhook_secret_unreadable", endpoint=endpoint.id, error=error.code)
        return webhook.Received(None, "secret unreadable")
    return context.webhooks.send(webhook.Outgoing(one.id, endpoint.url, one.body, secrets))


# -- mark -----------------------------------------------------------------------------------------------


def _mark(
    context: Context, due: DueEndpoint, taken: Sequence[Delivery], results: Mapping[str, webhook.Received]
) -> None:
    """Write what became of them, in one transaction. Tried again on a deadlock: they are out already."""
    for pause in _PAUSES:
        try:
            with context.database.write() as connection:
                _write(context, connection, due, taken, results)
        except sa.exc.OperationalError:
            if pause is None:
                raise
            time.sleep(pause)
        else:
            return


def _write(
    context: Context,
    connection: sa.Connection,
    due: DueEndpoint,
    taken: Sequence[Delivery],
    results: Mapping[str, webhook.Received],
) -> None:
    now = context.clock.now()
    endpoint = store.lock_endpoint(connection, due.tenant_id, due.id)
    if endpoint is None:
        return  # deleted meanwhile, with its deliveries
    after = endpoint
    settled = []
    for one in taken:
        received = results.get(one.id)
        if received is None:
            settled.append(one)  # not tried: let go of it
            continue
        settled.append(_settled(one, received, now))
        after = _judged(after, received, now)
    store.settle(connection, settled)
    if after == endpoint:
        return
    store.update_endpoint(connection, after)
    if endpoint.enabled and not after.enabled:
        detail = {"reason": after.off_reason, "failing_since": _shown(after.failing_since)}
        audit.append(
            connection, after.tenant_id, "server", "webhook_endpoint.disabled", after.id, detail, now
        )
        alarms.raise_alarm(
            context, connection, "webhook_disabled", after.id, detail, occurrence=context.new_id("occ")
        )


def _settled(one: Delivery, received: webhook.Received, now: datetime) -> Delivery:
    attempts = one.attempts + 1
    changed = msgspec.structs.replace(
        one, attempts=attempts, last_status=received.status, last_error=webhooks.error_of(received)
    )
    if received.taken:
        return msgspec.structs.replace(changed, status="delivered", delivered_at=now, next_attempt_at=None)
    pause = webhook.next_pause(attempts, _dice.uniform(-1, 1), _asked(received))
    if pause is None or received.status == _GONE:
        return msgspec.structs.replace(changed, status="failed", next_attempt_at=None)
    return msgspec.structs.replace(changed, next_attempt_at=now + pause)


def _judged(endpoint: Endpoint, received: webhook.Received, now: datetime) -> Endpoint:
    """The endpoint after one answer: well again, failing, resting, or off."""
    if received.taken:
        return msgspec.structs.replace(endpoint, failing_since=None, failed_at=None, not_before=None)
    since, last = endpoint.failing_since, endpoint.failed_at
    if since is None or last is None or now - last > webhook.FORGIVEN_AFTER:
        since = now
    after = msgspec.structs.replace(endpoint, failing_since=since, failed_at=now)
    if received.status == _GONE:
        return _off(after, "gone", now)
    if now - since >= webhook.DISABLE_AFTER:
        return _off(after, "failing", now)
    asked = _asked(received)
    if received.status in _BUSY and asked is not None:
        after = msgspec.structs.replace(after, not_before=now + min(asked, webhook.LONGEST_WAIT))
    return after


def _off(endpoint: Endpoint, reason: str, now: datetime) -> Endpoint:
    if not endpoint.enabled:
        return endpoint  # staff turned it off meanwhile
    return msgspec.structs.replace(endpoint, enabled=False, off_reason=reason, off_at=now)


def _asked(received: webhook.Received) -> timedelta | None:
    asked = received.retry_after
    if asked is None:
        return None
    return min(timedelta(seconds=min(asked, 10**6)), webhook.LONGEST_WAIT)


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


# -- by time --------------------------------------------------------------------------------------------


def owe_clocks(context: Context) -> int:
    """Owe the starts of grace and the ends that came by time alone. Returns how many are new.

    A look at every license where somebody listens, page by page. Safe to repeat and to run twice at once.
    What lies further back than three days, or before the endpoint was made, is no news.
    """
    now, made, after = context.clock.now(), 0, ""
    while True:
        with context.database.read() as connection:
            due = webhook_outbox.list_clocks(connection, now, _FRESH_FOR, after=after, limit=_PAGE)
        if due:
            with context.database.write() as connection:
                made += webhook_outbox.owe_clocks(connection, due, now)
            after = due[-1].license_id
        if len(due) < _PAGE:
            return made


def forget_old(context: Context) -> int:
    """Delete what was owed longer than 30 days ago, some at a time. Returns how many."""
    below = webhook_outbox.first_id(context.clock.now() - webhook.KEPT_FOR)
    gone = 0
    while True:
        with context.database.write() as connection:
            some = store.forget(connection, below, _PAGE)
        gone += some
        if some < _PAGE:
            return gone


# -- staff ----------------------------------------------------------------------------------------------


def list_deliveries(
    context: Context, tenant: str, filters: Mapping[str, str], *, cursor: str | None = None, limit: int = 50
) -> DeliveryPage:
    """Newest first. Filters: endpoint, type, status. Raises Invalid."""
    check_limit(limit)
    if filters.get("status", STATUSES[0]) not in STATUSES:
        raise Invalid(f"`status` must be one of {', '.join(STATUSES)}.")
    by = {{"endpoint": "endpoint_id"}.get(name, name): value for name, value in filters.items()}
    with context.database.read() as connection:
        found = store.list_deliveries(connection, tenant, filters=by, before=cursor, limit=limit + 1)
    onward = found[limit - 1].id if len(found) > limit else None
    return DeliveryPage([_row(one) for one in found[:limit]], onward)


def show(context: Context, tenant: str, id_: str) -> DeliveryRow:
    """Raises NotFound."""
    with context.database.read() as connection:
        found = store.find_delivery(connection, tenant, id_)
    if found is None:
        raise _unknown()
    return _row(found)


def redeliver(context: Context, tenant: str, id_: str, *, act: Act) -> DeliveryRow:
    """Send it again, at the next turn, under the same id.

    Raises NotFound; Conflict when its endpoint is off.
    """
    now = context.clock.now()
    with context.database.write() as connection:
        found = store.find_delivery(connection, tenant, id_)
        if found is None:
            raise _unknown()
        endpoint = store.lock_endpoint(connection, tenant, found.endpoint_id)
        if endpoint is None or not endpoint.enabled:
            raise Conflict("Its endpoint is off: turn it on first.", code="WEBHOOK_ENDPOINT_OFF")
        store.send_again(connection, tenant, id_, now)
        told = {"type": found.type, "why": act.reason}
        audit.append(connection, tenant, act.by, "webhook_delivery.redelivered", id_, told, now)
    again = msgspec.structs.replace(
        found, status="pending", attempts=0, next_attempt_at=now, delivered_at=None
    )
    return _row(again)


def _row(one: Delivery) -> DeliveryRow:
    return DeliveryRow(
        *(one.id, one.endpoint_id, one.type, one.status, one.attempts, one.created_at),
        *(one.next_attempt_at, one.delivered_at, one.last_status, one.last_error),
        body=msgspec.json.decode(one.body),
    )


def _unknown() -> NotFound:
    return NotFound("There is no such delivery.", code="WEBHOOK_DELIVERY_UNKNOWN")
