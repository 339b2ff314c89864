"""The purchase behind a license in words: who took the money, under which names, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from keywright.domain.facts import Alias
from keywright.flows.bought import Bought, Money
from keywright.store.console_views import EventAbout
from keywright.web.console import outcomes
from keywright.web.console.words import badge, moment
from keywright.web.storefront.words import every, full_name, money, provider_name

_EVENTS_SHOWN: Final = 20
# The names by which people look things up at a provider come first.
_KINDS: Final[Mapping[str, str]] = {
    "subscription": "Subscription",
    "charge": "Charge",
    "session": "Checkout",
    "intent": "Payment intent",
    "invoice": "Invoice",
}
_AT_ONCE: Final = 3
_STATES: Final[Mapping[tuple[str, str], str]] = {
    ("payment", "paid"): "Paid",
    ("payment", "pending"): "On its way",
    ("payment", "failed"): "Failed",
    ("refund", "all"): "Given back, all of it",
    ("refund", "part"): "Given back, a part",
    ("refund", "done"): "Given back",
    ("refund", "pending"): "Is being given back",
    ("refund", "failed"): "Could not be given back",
    ("dispute", "warning"): "Suspected by the bank",
    ("dispute", "inquiry"): "Asked about by the buyer's bank",
    ("dispute", "open"): "Disputed",
    ("dispute", "won"): "Dispute won",
    ("dispute", "lost"): "Dispute lost",
    ("dispute", "over"): "Dispute over",
}


class Shown(msgspec.Struct, frozen=True):
    """`facts` and `names`: a name and its value. `money`: what happened, how much, when, and the provider's
    id. `events`: id, what it is called, where it stands, its style, when it came."""

    provider: str
    facts: list[tuple[str, str]]
    names: list[tuple[str, str]]
    money: list[tuple[str, str, str, str]]
    events: list[tuple[str, str, str, str, str]]
    more: int


def shown(of: Bought) -> Shown:
    """The purchase in words."""
    provider = provider_name(of.provider)
    facts = [("Order", one) for one in of.orders]
    facts.append(("Provider", provider))
    first, rest = _names(of.aliases)
    facts += first
    for name, price in of.prices:
        if price is None:
            facts.append(("Price", f"{name}, which is not in the catalog"))
        else:
            amount = f"{money(price.amount, price.currency)} {every(price.interval)}"
            facts.append(("Price", f"{full_name(price.product, price.plan)}, {amount}"))
    if of.quantity is not None:
        facts.append(("Ordered at first", f"{of.quantity:,}"))
    return Shown(
        provider=provider,
        facts=facts,
        names=rest,
        money=[_moved(one) for one in of.money],
        events=[_event(one) for one in of.events[:_EVENTS_SHOWN]],
        more=max(0, len(of.events) - _EVENTS_SHOWN),
    )


def _names(aliases: list[Alias]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Of each kind the newest few, and the rest apart: a subscription has an invoice a month."""
    first, rest = [], []
    for kind, label in _KINDS.items():
        ids = [(label, one.external_id) for one in aliases if one.kind == kind]
        first += ids[-_AT_ONCE:]
        rest += ids[:-_AT_ONCE]
    return first, rest


def _moved(one: Money) -> tuple[str, str, str, str]:
    state = _STATES.get((one.kind, one.state), one.state)
    return state, money(one.amount, one.currency), moment(one.at), one.name


def _event(one: EventAbout) -> tuple[str, str, str, str, str]:
    called, at = outcomes.called(one.type), moment(one.received_at)
    return one.id, called, one.status.capitalize(), badge(one.status), at
