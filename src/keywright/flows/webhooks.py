"""Endpoints that are told what becomes of licenses: made, changed, tried and ended by staff."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import sqlalchemy as sa

from keywright.domain import webhook
from keywright.domain.errors import Conflict, Invalid, NotFound
from keywright.flows.context import Context
from keywright.flows.operate import Act
from keywright.store import audit, webhook_outbox, webhooks
from keywright.store.webhooks import Endpoint

KIND: Final = "webhook-secret"  # what the vault knows a secret as; its owner is the endpoint
MOST: Final = 20
_LONGEST_NOTE: Final = 200
_OVERLAP: Final = timedelta(hours=24)
_LONGEST_OVERLAP: Final = 168


class EndpointRow(msgspec.Struct, frozen=True):
    """An endpoint as staff see it. `failing_since`: since then nothing was taken."""

    id: str
    url: str
    note: str
    types: tuple[str, ...]
    enabled: bool
    off_reason: str | None
    off_at: datetime | None
    failing_since: datetime | None
    former_secret_until: datetime | None
    created_at: datetime


class EndpointPage(msgspec.Struct, frozen=True):
    items: list[EndpointRow]
    next_cursor: str | None = None


class EndpointMade(EndpointRow, frozen=True):
    """With its secret, which is shown this once."""

    secret: str

    def __repr__(self) -> str:  # secrets never reach a log
        return f"EndpointMade({self.id!r})"


class Tried(msgspec.Struct, frozen=True):
    """What came of a test. `delivery`: the id that the receiver saw."""

    delivery: str
    taken: bool
    status: int | None
    error: str | None


class Change(msgspec.Struct, frozen=True):
    """What to change; None: leave it."""

    url: str | None = None
    types: tuple[str, ...] | None = None
    note: str | None = None
    enabled: bool | None = None


def list_endpoints(context: Context, tenant: str) -> EndpointPage:
    """Oldest first."""
    with context.database.read() as connection:
        return EndpointPage([_row(one) for one in webhooks.list_endpoints(connection, tenant)])


def show(context: Context, tenant: str, id_: str) -> EndpointRow:
    """Raises NotFound."""
    return _row(find(context, tenant, id_))


def create(
    context: Context, tenant: str, url: str, types: Sequence[str] = (), note: str = "", *, act: Act
) -> EndpointMade:
    """Make an endpoint that is told from now on. Without `types` it is told everything.

    Raises Invalid for an address, a type or a note that cannot be; Conflict when there are too many.
    """
    wanted = check(context, url, types, note)
    id_, now, secret = context.new_id("whe"), context.clock.now(), _new_secret()
    sealed = context.vault.seal(tenant, KIND, id_, secret)
    made = Endpoint(
        *(id_, tenant, url, note, wanted, True, None, None, None, None, None),
        secret_sealed=sealed,
        former_sealed=None,
        former_until=None,
        created_at=now,
    )
    with context.database.write() as connection:
        if len(webhooks.list_endpoints(connection, tenant)) >= MOST:
            raise Conflict(f"There are {MOST} endpoints: delete one first.", code="WEBHOOK_ENDPOINTS_FULL")
        webhooks.insert_endpoint(connection, made)
        _audited(connection, made, "webhook_endpoint.created", act, now)
    webhook_outbox.listeners_changed()
    return EndpointMade(**msgspec.structs.asdict(_row(made)), secret=secret)


def check(context: Context, url: str, types: Sequence[str], note: str) -> tuple[str, ...]:
    """What an endpoint so described would be told. Raises Invalid."""
    wanted = _types(types or (webhook.EVERYTHING,))
    _check_note(note)
    context.webhooks.check(url)
    return wanted


def check_change(context: Context, told: Change) -> None:
    """Raises Invalid for what an endpoint cannot be changed to."""
    if told.note is not None:
        _check_note(told.note)
    if told.types is not None:
        _types(told.types)
    if told.url is not None:
        context.webhooks.check(told.url)


def change(context: Context, tenant: str, id_: str, told: Change, *, act: Act) -> EndpointRow:
    """Change an endpoint, or turn it off and on. What is owed to one that is off waits up to 30 days.

    Raises NotFound, Invalid.
    """
    check_change(context, told)
    values: dict[str, Any] = {
        name: value for name, value in msgspec.structs.asdict(told).items() if value is not None
    }
    if told.types is not None:
        values["types"] = _types(told.types)
    now = context.clock.now()
    if told.enabled is not None:
        values |= {"off_reason": None if told.enabled else "staff", "off_at": None if told.enabled else now}
    if told.enabled or told.url is not None:
        values |= {"failing_since": None, "failed_at": None, "not_before": None}
    return _written(
        context,
        tenant,
        id_,
        "webhook_endpoint.changed",
        act,
        lambda held: msgspec.structs.replace(held, **values),
    )


def rotate_secret(
    context: Context, tenant: str, id_: str, *, overlap_hours: int | None = None, act: Act
) -> EndpointMade:
    """Give it a new secret. For `overlap_hours` (24) the one before signs as well; then it is forgotten.

    Raises NotFound, Invalid.
    """
    if overlap_hours is not None and not 0 <= overlap_hours <= _LONGEST_OVERLAP:
        raise Invalid(f"`overlap_hours` must be 0 to {_LONGEST_OVERLAP}.")
    overlap = _OVERLAP if overlap_hours is None else timedelta(hours=overlap_hours)
    find(context, tenant, id_)
    now, secret = context.clock.now(), _new_secret()
    sealed = context.vault.seal(tenant, KIND, id_, secret)

    def turned(held: Endpoint) -> Endpoint:
        return msgspec.structs.replace(
            held,
            secret_sealed=sealed,
            former_sealed=held.secret_sealed if overlap else None,
            former_until=now + overlap if overlap else None,
        )

    row = _written(context, tenant, id_, "webhook_endpoint.secret_rotated", act, turned)
    return EndpointMade(**msgspec.structs.asdict(row), secret=secret)


def delete(context: Context, tenant: str, id_: str, *, act: Act) -> None:
    """End an endpoint, with everything that was owed to it. Raises NotFound."""
    now = context.clock.now()
    with context.database.write() as connection:
        held = webhooks.lock_endpoint(connection, tenant, id_, to_delete=True)
        if held is None:
            raise _unknown()
        webhooks.delete_endpoint(connection, tenant, id_)
        _audited(connection, held, "webhook_endpoint.deleted", act, now)
    webhook_outbox.listeners_changed()


def try_out(context: Context, tenant: str, id_: str, *, act: Act) -> Tried:
    """Send a test at once, whether the endpoint is on or off, and keep what came of it. Raises NotFound."""
    endpoint = find(context, tenant, id_)
    now = context.clock.now()
    body = webhook.test_body(now)
    owed = webhook_outbox.delivery(tenant, id_, webhook.TEST, context.new_id("occ"), body, now, now)
    outgoing = webhook.Outgoing(owed.id, endpoint.url, body, secrets_of(context, endpoint))
    received = context.webhooks.send(outgoing)
    with context.database.write() as connection:
        # It may have been deleted while we waited.
        if webhooks.lock_endpoint(connection, tenant, id_) is not None:
            webhooks.insert_deliveries(
                connection,
                [
                    msgspec.structs.replace(
                        owed,
                        status="delivered" if received.taken else "failed",
                        attempts=1,
                        next_attempt_at=None,
                        delivered_at=now if received.taken else None,
                        last_status=received.status,
                        last_error=error_of(received),
                    )
                ],
            )
            _audited(connection, endpoint, "webhook_endpoint.tested", act, now)
    return Tried(owed.id, received.taken, received.status, error_of(received))


def find(context: Context, tenant: str, id_: str) -> Endpoint:
    """Raises NotFound."""
    with context.database.read() as connection:
        found = webhooks.find_endpoint(connection, tenant, id_)
    if found is None:
        raise _unknown()
    return found


def secrets_of(context: Context, endpoint: Endpoint) -> tuple[str, ...]:
    """What signs now: the newest first."""
    sealed = [endpoint.secret_sealed]
    if (
        endpoint.former_sealed is not None
        and endpoint.former_until is not None
        and context.clock.now() < endpoint.former_until
    ):
        sealed.append(endpoint.former_sealed)
    return tuple(context.vault.unseal(endpoint.tenant_id, KIND, endpoint.id, one) for one in sealed)


def error_of(received: webhook.Received) -> str | None:
    """In a few words, why it was not taken."""
    if received.taken:
        return None
    return received.error or f"HTTP {received.status}"


def _written(
    context: Context, tenant: str, id_: str, what: str, act: Act, turn: Callable[[Endpoint], Endpoint]
) -> EndpointRow:
    now = context.clock.now()
    with context.database.write() as connection:
        held = webhooks.lock_endpoint(connection, tenant, id_)
        if held is None:
            raise _unknown()
        after = turn(held)
        if after.former_until is not None and after.former_until <= now:
            after = msgspec.structs.replace(after, former_sealed=None, former_until=None)
        webhooks.update_endpoint(connection, after)
        _audited(connection, after, what, act, now)
    webhook_outbox.listeners_changed()
    return _row(after)


def _row(held: Endpoint) -> EndpointRow:
    return EndpointRow(
        *(held.id, held.url, held.note, held.types, held.enabled, held.off_reason, held.off_at),
        *(held.failing_since, held.former_until, held.created_at),
    )


def _audited(connection: sa.Connection, held: Endpoint, what: str, act: Act, now: datetime) -> None:
    """Not with the whole address, which may be a secret of the receiver's."""
    told = {
        "host": urlsplit(held.url).hostname,
        "types": list(held.types),
        "enabled": held.enabled,
        "why": act.reason,
    }
    audit.append(connection, held.tenant_id, act.by, what, held.id, told, now)


def _new_secret() -> str:
    return webhook.make_secret(os.urandom(webhook.SECRET_BYTES))


def _types(given: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(sorted(set(given)))
    for one in wanted:
        if one != webhook.EVERYTHING and one not in webhook.TYPES:
            raise Invalid(f"`types` must be `*` or some of {', '.join(webhook.TYPES)}.")
    if not wanted:
        raise Invalid("`types` names no event; `*` means every one.")
    return wanted


def _check_note(note: str) -> None:
    if len(note) > _LONGEST_NOTE or not note.isprintable():
        raise Invalid(f"`note` must be at most {_LONGEST_NOTE} printable characters.")


def _unknown() -> NotFound:
    return NotFound("There is no such endpoint.", code="WEBHOOK_ENDPOINT_UNKNOWN")
