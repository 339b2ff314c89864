"""Who a license is dealt about with: its purchase, the provider's account, and the names it goes by there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import sqlalchemy as sa

from keywright.domain.errors import Conflict, NotFound, Unsupported
from keywright.domain.facts import Alias, PaymentSeen, Refetch, RefundPart, RefundSeen
from keywright.domain.license import License
from keywright.domain.plan import Plan
from keywright.domain.purchase import Purchase, prices_of
from keywright.flows import replay
from keywright.flows.context import Channel, Context
from keywright.flows.license_views import unknown_license
from keywright.ports import BillingApi, Deal
from keywright.store import catalog, customers, inbox, licenses, purchases
from keywright.store.purchases import StoredPurchase

_NEWEST_EVENTS: Final = 50


class Counterparty(msgspec.Struct, frozen=True):
    """A license with the counterparty that its purchase was made with. Read, not locked."""

    held: License
    purchase: StoredPurchase
    channel: Channel
    billing: BillingApi
    deal: Deal
    asks: tuple[Refetch, ...]


def meet(context: Context, tenant: str, license_id: str) -> Counterparty:
    """The license, its purchase, and how the provider knows it. Raises NotFound, Unsupported, Conflict."""
    with context.database.read() as connection:
        held = licenses.find(connection, tenant, license_id)
        if held is None:
            raise unknown_license()
        if held.purchase_id is None:
            detail = "Staff issued this license, so there is nothing to change at a provider."
            detail += " Use `extend`, `suspend` or `revoke`; for other seats issue another one."
            raise Unsupported(detail, code="NO_PURCHASE")
        stored = purchases.find(connection, tenant, held.purchase_id)
        if stored is None or stored.state == Purchase():
            detail = "The purchase of this license is part of an older one. Use the license of that one."
            raise Conflict(detail, code="PURCHASE_MERGED")
        channel = context.find_channel(stored.provider_account_id)
        if channel is None:
            detail = "The provider account of this purchase is not configured here."
            raise NotFound(detail, code="PROVIDER_UNKNOWN")
        if channel.billing is None:
            detail = f"Nothing can be changed at {channel.account.provider} without its secret key."
            detail += " Set it, or make the change in the provider's dashboard: its events bring the effect."
            raise Unsupported(detail)
        deal = _deal(connection, stored, held, channel)
        asks = _asks(connection, stored, channel)
    return Counterparty(held, stored, channel, channel.billing, deal, asks)


def _deal(connection: sa.Connection, stored: StoredPurchase, held: License, channel: Channel) -> Deal:
    state = stored.state
    plans = catalog.plans_by_price(connection, stored.tenant_id, channel.account.provider, prices_of(state))
    holder = {member: told.value for member, told in state.holder.items()}
    email = holder.get("email")
    if email is None and stored.customer_id is not None:
        known = customers.get_many(connection, [stored.customer_id]).get(stored.customer_id)
        email = known.email if known is not None else None
    deal = Deal(
        subscription=_named(purchases.aliases_of(connection, stored.id), "subscription"),
        customer=holder.get("customer"),
        price=_price(state, held, plans),
        email=email,
    )
    newest = _newest_paid(state)
    return deal if newest is None else deal_of(deal, state, newest)


def _named(aliases: list[Alias], kind: str) -> str | None:
    return min((alias.external_id for alias in aliases if alias.kind == kind), default=None)


def _price(state: Purchase, held: License, plans: Mapping[str, Plan]) -> str | None:
    """The price of the license's own line: of several items of one product, that of its plan."""
    items = state.subscription.items if state.subscription is not None else ()
    mine = [
        item.price
        for item in items
        if item.quantity is not None
        and item.price in plans
        and plans[item.price].product_id == held.product_id
    ]
    of_plan = [price for price in mine if plans[price].id == held.plan_id]
    if of_plan or mine:
        return (of_plan or mine)[0]
    return state.ordered.price if state.ordered is not None else None


def _asks(connection: sa.Connection, stored: StoredPurchase, channel: Channel) -> tuple[Refetch, ...]:
    """What this provider's own events have us fetch; nothing where events are proof, for they come anyway."""
    newest = purchases.events_of(connection, stored.id)[-_NEWEST_EVENTS:]
    found: set[Refetch] = set()
    for item in inbox.get_many(connection, newest):
        found.update(replay.named_by(channel, item, fallback=False))
    return tuple(sorted(found))


# -- payments -------------------------------------------------------------------------------------------


def _newest_paid(state: Purchase) -> PaymentSeen | None:
    paid = [one for one in state.payments.values() if one.state == "paid" and one.amount > 0]
    return max(paid, key=lambda one: (one.stamp, one.payment), default=None)


def find_payment(state: Purchase, named: str | None) -> PaymentSeen:
    if named is None:
        newest = _newest_paid(state)
        if newest is None:
            raise Conflict("Nothing was paid yet, so there is nothing to give back.", code="NOTHING_PAID")
        return newest
    for one in state.payments.values():
        names = (one.payment, one.charge, one.intent, _intent_of(state, one))
        if named in names and one.state == "paid" and one.amount > 0:
            return one
    raise NotFound("This purchase has no such payment.", code="PAYMENT_UNKNOWN")


def deal_of(deal: Deal, state: Purchase, paid: PaymentSeen) -> Deal:
    return msgspec.structs.replace(
        deal, charge=paid.charge, intent=_intent_of(state, paid), payment=paid.payment
    )


def _intent_of(state: Purchase, paid: PaymentSeen) -> str | None:
    linked = min((i for i, payment in state.links.items() if payment == paid.payment), default=None)
    return paid.intent or linked


def given_back(state: Purchase, paid: PaymentSeen) -> int:
    """How much of a payment went back, as far as was told. One refund may be told of in both ways."""

    def is_of(one: RefundSeen | RefundPart) -> bool:
        return (
            one.payment == paid.payment
            or (one.charge is not None and one.charge == paid.charge)
            or (one.intent is not None and one.intent == _intent_of(state, paid))
        )

    parts = [part for part in state.parts.values() if is_of(part)]
    failed = sum(part.amount for part in parts if part.state == "failed")
    whole = max((one.amount for one in state.refunds.values() if is_of(one)), default=0)
    # A failed refund may still be in the sum: better to ask the provider once too often than never.
    return max(whole - failed, sum(part.amount for part in parts if part.state != "failed"))
