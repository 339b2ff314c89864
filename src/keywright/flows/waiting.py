"""Events that wait: for a partner, for a price, for an answer of the provider, or for their next try."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from keywright.flows.context import Context
from keywright.flows.fulfillment import Fulfillment, Outcome
from keywright.store import inbox, refetches
from keywright.store.inbox import Wait
from keywright.store.rows import micros
from keywright.store.tenants import ProviderAccount

# Soon: two transactions that park an event and write its partner at one moment do not see each other.
_RETRY_PARKED = timedelta(seconds=20)
_LOOKS = 17


def settled(id_: str, outcome: Outcome, attempts: int, now: datetime) -> dict[str, object]:
    """What is written of an event that is tried again, as long as nothing else becomes of it."""
    return {
        "id": id_,
        "status": outcome.outcome,
        "reason": outcome.reason,
        "error": None,
        "attempts": attempts,
        "next_attempt_at": None,
        "processed_at": micros(now),
    }


def park(
    connection: sa.Connection,
    account: ProviderAccount,
    parked: Mapping[str, Outcome],
    now: datetime,
    attempts: Mapping[str, int],
) -> None:
    """Write down what these events wait for, and when they are tried again by themselves."""
    inbox.settle(
        connection,
        [
            {
                "id": id_,
                "status": outcome.outcome,
                "reason": outcome.reason,
                "next_attempt_at": micros(_next_look(attempts.get(id_, 0), now)),
            }
            for id_, outcome in parked.items()
        ],
    )
    waits = [
        Wait(id_, account.tenant_id, account.id, kind, external)
        for id_, outcome in parked.items()
        for kind, external in outcome.waits
    ]
    inbox.wait(connection, sorted(waits, key=lambda w: (w.inbox_id, w.kind, w.external_id)))


def want(
    context: Context, connection: sa.Connection, account: ProviderAccount, done: Fulfillment, now: datetime
) -> None:
    """Have the provider asked for what these events alone do not tell, unless there is no key to ask with."""
    channel = context.find_channel(account.id)
    if done.wanted and channel is not None and channel.api is not None:
        refetches.want(connection, account.tenant_id, account.id, done.wanted, now, due=now)
        context.followups.refetch(connection, done.batch)


def await_answers(
    connection: sa.Connection, account: ProviderAccount, accepted: Mapping[str, Outcome]
) -> None:
    """Write down which answers of the provider these events wait for."""
    inbox.settle(
        connection, [{"id": i, "status": o.outcome, "reason": o.reason} for i, o in accepted.items()]
    )
    waits = [
        Wait(id_, account.tenant_id, account.id, kind, external)
        for id_, outcome in accepted.items()
        for kind, external in outcome.waits
    ]
    inbox.wait(connection, sorted(waits, key=lambda w: (w.inbox_id, w.kind, w.external_id)))


def _next_look(attempts: int, now: datetime) -> datetime | None:
    """When a parked event is tried again by itself: after 20 seconds, doubling, for about four weeks.

    After that only its partner's arrival wakes it: the account may sell things that are no software.
    """
    return now + _RETRY_PARKED * 2**attempts if attempts < _LOOKS else None
