"""What events say that belongs to no purchase: the platform's fees, and how connected accounts stand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from keywright.domain.facts import AccountSeen, FeeSeen, Reading
from keywright.flows import alarms
from keywright.flows.context import Context
from keywright.store import connected, fees, tenants, wall
from keywright.store.connected import Told
from keywright.store.tenants import ProviderAccount


class Aside:
    """One for each pass over events of one account. Nothing is asked of the database where no event says
    such a thing."""

    def __init__(self, context: Context, connection: sa.Connection, account: ProviderAccount) -> None:
        self._context = context
        self._connection = connection
        self._account = account
        self._fees: list[FeeSeen] = []
        self._standings: list[AccountSeen] = []

    def hear(self, reading: Reading) -> bool | None:
        """Whether it is news; None: it is about something else."""
        if reading.fee is not None:
            # Told with a sale, it is the platform's only where the platform's keys sold it; told by itself,
            # only to the platform: a tenant signs what comes to its own address, and a connected account may
            # be a platform, too, with fees that are its own.
            own = self._account.tenant_id == self._context.master.id
            got = self._account.connected_by is not None if reading.aliases else own
            if got:
                self._fees.append(reading.fee)
            if not reading.aliases:
                return got
        seen = reading.standing
        if seen is None:
            return None
        if self._account.connected_by is None or seen.account != self._account.external_id:
            # A seller's own account: what it may do is between him and the provider.
            return False
        self._standings.append(seen)
        return True

    def write(self) -> None:
        """Write what was heard: last of all, as every writer does it."""
        if self._fees:
            platform = self._account.connected_by or self._account.id
            with wall.lifted_on(self._connection):  # what the platform got is the master tenant's
                fees.note(self._connection, self._context.master.id, platform, self._fees)
        for seen in sorted(self._standings, key=lambda one: one.stamp):
            if seen.left:
                left(self._context, self._connection, self._account, seen.stamp.at)
        said = [_told(self._account, seen) for seen in self._standings if not seen.left]
        if said:
            tell(self._context, self._connection, self._account, said)


def _told(account: ProviderAccount, seen: AccountSeen) -> Told:
    return Told(
        account.id,
        seen.charges,
        seen.payouts,
        seen.submitted,
        seen.due,
        seen.disabled_reason,
        seen.stamp.at,
    )


def tell(context: Context, connection: sa.Connection, account: ProviderAccount, said: Sequence[Told]) -> None:
    """Write how an account stands. Where it may sell from now on, or may not, every process is told; where
    it may not, the operator too."""
    before = connected.get(connection, account.id)
    connected.tell(connection, said)
    after = connected.get(connection, account.id)
    if before is None or after is None or before.sells is after.sells:
        return
    tenants.changed(connection)
    if before.sells:
        _alarm(context, connection, account, after.disabled_reason or "unknown", after.seen_at)


def left(context: Context, connection: sa.Connection, account: ProviderAccount, at: datetime) -> None:
    """The account's owner took the permission back: nothing is sold through it, and licenses stay."""
    if connected.leave(connection, account.id, at):
        tenants.changed(connection)
        _alarm(context, connection, account, "deauthorized", at)


def _alarm(
    context: Context, connection: sa.Connection, account: ProviderAccount, why: str, at: datetime
) -> None:
    detail = {"tenant": account.tenant_id, "why": why}
    seen = str(int(at.timestamp()))
    alarms.raise_alarm(context, connection, "connect_off", account.id, detail, occurrence=seen)
