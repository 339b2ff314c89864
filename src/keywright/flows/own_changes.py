"""What of a provider's lists and answers is this account's own.

Paystack lists everything of the platform's account, also the sales of the accounts that are connected to it.
Those come to their tenants by lists of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from keywright.domain.facts import Alias
from keywright.flows.context import Channel, Context
from keywright.flows.intake import arrive
from keywright.flows.shared_events import Owner, owner_of
from keywright.ports import Change, ChangePage


class OwnChanges:
    """For the pages of one listing, in their order. Asks the database only where accounts are connected."""

    def __init__(self, context: Context, channel: Channel) -> None:
        self._context = context
        self._channel = channel
        self._others: set[Alias] = set()

    def of(self, page: ChangePage) -> ChangePage:
        """The same page without what is a connected account's."""
        channel = self._channel
        if channel.whose is None or not self._context.shops.has_connected(channel.account.id):
            return page
        mine = tuple(change for change in page.changes if self._is_own(change))
        return msgspec.structs.replace(page, changes=mine)

    def _is_own(self, change: Change) -> bool:
        now = self._context.clock.now()
        reading = arrive(self._channel, change.raw, now, fetched=change.fetched).reading
        names = set() if reading is None else set(reading.aliases)
        # A subscription says not whose it is, but its payment was listed before; its tenant may not know yet.
        if names.isdisjoint(self._others) and (
            owner_of(self._context, self._channel, change.raw, reading) is None
        ):
            return True
        self._others |= names
        return False


def owner_of_answer(context: Context, channel: Channel, raws: Sequence[bytes]) -> Owner | None:
    """Whose an answer of the provider's is, if another's than the platform's: a payment in it says so, and
    what hangs together with it is the same one's."""
    if channel.whose is None or not context.shops.has_connected(channel.account.id):
        return None
    now = context.clock.now()
    for raw in raws:
        reading = arrive(channel, raw, now, fetched=True).reading
        owner = owner_of(context, channel, raw, reading)
        if owner is not None:
            return owner
    return None
