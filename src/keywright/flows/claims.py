"""Claims: a payment is taken in for one tenant, however many hear of it.

Two tenants may have put keys of the same account at a provider in, and both sell its price. Names that the
provider gives once and for all are held by whoever took them in first, by a unique index; and what our own
checkout sold is its tenant's, whoever hears of it first. What is left over waits for a person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

import sqlalchemy as sa

from keywright.domain.facts import Alias, AliasKind, Reading
from keywright.store import checkouts, purchases
from keywright.store.purchases import StoredAlias
from keywright.store.tenants import ProviderAccount

ELSEWHERE: Final = "CLAIMED_ELSEWHERE"

# No reference: sellers choose those of Paystack, where what we call intent and session is one, too. One name
# of each purchase would do; more would cost every event a row in the index.
_UNIQUE: Final[Mapping[str, frozenset[AliasKind]]] = {
    "stripe": frozenset({"session", "subscription"}),
    "paypal": frozenset({"session", "subscription"}),
    "paystack": frozenset({"charge", "subscription"}),
}
# Where a reference of ours is what we gave along. At Paystack any seller may call a payment so.
_TELLING: Final = ("stripe", "paypal")


def realm_of(account: ProviderAccount) -> str:
    """Within which the names of `_UNIQUE` are one thing's only."""
    return f"{account.provider}:{'live' if account.live else 'test'}"


class Claims:
    """Which names a pass may take. `look` comes before everything else."""

    def __init__(self, connection: sa.Connection, account: ProviderAccount) -> None:
        self._connection = connection
        self._account = account
        self._realm = realm_of(account)
        self._unique = _UNIQUE.get(account.provider, frozenset())
        self._held: frozenset[Alias] = frozenset()
        self._ordered: frozenset[str] = frozenset()

    def look(self, aliases: Iterable[Alias], claimed: Collection[Alias], unknown: Iterable[str]) -> None:
        """`claimed`: the names that the account has a claim to; `unknown`: references of no order here.

        The database is asked where there are names that may be others', or references: not for what renews.
        """
        may_be = [alias for alias in aliases if alias.kind in self._unique and alias not in claimed]
        if may_be:
            self._held = purchases.held_by_others(self._connection, self._account.id, may_be, self._realm)
        names = sorted(unknown)
        if names and self._account.provider in _TELLING:
            self._ordered = checkouts.of_others(self._connection, self._account.tenant_id, names)

    def is_held(self, alias: Alias) -> bool:
        """Whether another tenant has this name."""
        return alias in self._held

    def note(self, reading: Reading) -> str | None:
        """The reason to give of an event that another tenant has a claim to; None: nobody has."""
        is_held = not self._held.isdisjoint(reading.aliases)
        return ELSEWHERE if is_held or reading.reference in self._ordered else None

    def stored(self, alias: Alias, purchase: str) -> StoredAlias:
        """The name as it is kept: claimed, unless another tenant was first."""
        account = self._account
        is_mine = alias.kind in self._unique and alias not in self._held
        realm = self._realm if is_mine else None
        return StoredAlias(account.id, alias.kind, alias.external_id, account.tenant_id, purchase, realm)
