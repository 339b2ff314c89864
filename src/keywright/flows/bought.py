"""The purchase behind a license, as staff look it up: who took the money, under which names, how much."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.facts import Alias
from keywright.domain.purchase import Purchase, prices_of
from keywright.store import console_views, license_views, purchases
from keywright.store.console_views import EventAbout, PriceBought

EVENTS_SHOWN: Final = 50
PAYMENTS_SHOWN: Final = 50


class Money(msgspec.Struct, frozen=True):
    """Money that moved, or failed to. `kind`: `payment`, `refund`, `dispute`. `name`: the provider's id."""

    kind: str
    at: datetime
    state: str
    amount: int
    currency: str
    name: str


class Bought(msgspec.Struct, frozen=True):
    """`orders`: our references, as the buyer's mail shows them. `aliases`: names the provider has for it.
    `money` and `events`: the newest first."""

    id: str
    provider: str
    orders: list[str]
    aliases: list[Alias]
    prices: list[tuple[str, PriceBought | None]]
    quantity: int | None
    money: list[Money]
    events: list[EventAbout]


def read(connection: sa.Connection, tenant: str, purchase_id: str) -> Bought | None:
    """The purchase with its names, its money and its events. Locks nothing."""
    stored = purchases.find(connection, tenant, purchase_id, lock=False)
    if stored is None:
        return None
    provider = license_views.provider_of(connection, stored.provider_account_id)
    aliases = purchases.aliases_of(connection, stored.id)
    names = sorted(prices_of(stored.state))
    known = console_views.prices_called(connection, tenant, provider, names)
    ordered = stored.state.ordered
    return Bought(
        id=stored.id,
        provider=provider,
        orders=sorted(one.external_id for one in aliases if one.kind == "reference"),
        aliases=sorted(one for one in aliases if one.kind != "reference"),
        prices=[(name, known.get(name)) for name in names],
        quantity=ordered.quantity if ordered is not None else None,
        money=_money(stored.state)[:PAYMENTS_SHOWN],
        events=console_views.events_about(connection, stored.id, EVENTS_SHOWN),
    )


def _money(state: Purchase) -> list[Money]:
    payments = [
        Money("payment", one.stamp.at, one.state, one.amount, one.currency, one.payment)
        for one in state.payments.values()
    ]
    # A provider tells of the sum of a charge's refunds, or of each refund by itself.
    refunds = [
        *(
            Money(
                "refund", one.stamp.at, "all of it" if one.full else "a part", one.amount, one.currency, key
            )
            for key, one in state.refunds.items()
        ),
        *(
            Money("refund", one.stamp.at, one.state, one.amount, one.currency, one.refund)
            for one in state.parts.values()
        ),
    ]
    disputes = [
        Money("dispute", one.stamp.at, one.state, one.amount, one.currency, one.dispute)
        for one in state.disputes.values()
    ]
    return sorted([*payments, *refunds, *disputes], key=lambda one: (one.at, one.name), reverse=True)


def cause(kind: object, at: datetime, events: Sequence[EventAbout]) -> str:
    """The event of this type that was applied at a timeline entry's moment; empty where it is not known.

    One that was applied again since has lost that moment: then it is the newest that had come by then.
    """
    alike = [one for one in events if one.type == kind]
    exact = next((one for one in alike if one.processed_at == at), None)
    found = exact or next((one for one in alike if one.received_at <= at), None)
    return found.id if found is not None else ""
