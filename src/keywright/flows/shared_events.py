"""Whose an event is that came to an address which several tenants share.

Paystack delivers everything to the platform's one address, also what is about a sale of a connected account.
Only payments name it, in Paystack's own word; the rest names objects, and those that belong to a connected
account are known here by then. What nobody is known for is the platform's, as before.

An account goes on selling after its tenant was shredded. What is about its sales is nobody's then, and never
the platform's, which would ask for the buyers' addresses and keep them.
"""

from __future__ import annotations

from dataclasses import dataclass

from keywright.domain.facts import Reading
from keywright.flows.context import Channel, Context
from keywright.store import connected


@dataclass(frozen=True, slots=True)
class Owner:
    """Another than the platform. `channel` None: it hears of nothing any more."""

    channel: Channel | None


def owner_of(context: Context, channel: Channel, raw: bytes, reading: Reading | None) -> Owner | None:
    """Whose account an authentic event is about, among those connected to this one; None: the platform's own.

    Asks the database, so call it away from the event loop; nothing, where no account is connected.
    """
    platform = channel.account.id
    if channel.whose is None or not context.shops.has_connected(platform):
        return None
    named = channel.whose(raw)
    # Sellers split payments for reasons of their own, too: with whom is none of our business then. But what a
    # tenant sold before it was paid out to another subaccount is still its own.
    account = None if named is None else context.shops.connected_id(platform, named)
    if account is None and reading is not None and reading.aliases:
        names = [(alias.kind, alias.external_id) for alias in reading.aliases]
        with context.database.read() as connection:
            several = connected.owners_by_names(connection, platform, names)
        account = next((one for one in several if not _has_own_keys(context, one)), None)
    return None if account is None else Owner(context.shops.channel(account))


def _has_own_keys(context: Context, account: str) -> bool:
    """Whether it sells with keys of its own by now. What is called so there, its owner has named as he likes:
    it takes nobody's events away. What it sold before, its payments say."""
    channel = context.shops.channel(account)
    return channel is not None and channel.account.connected_by is None
