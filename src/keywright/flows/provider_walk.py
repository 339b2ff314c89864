"""A checkout on trial: opened like a buyer's, for the cheapest plan a provider sells."""

from __future__ import annotations

import msgspec

from keywright.domain.errors import Invalid
from keywright.domain.plan import Price
from keywright.flows import checkout
from keywright.flows.checkout import Ask
from keywright.flows.context import Context
from keywright.store import catalog, checkouts
from keywright.store.catalog import Offer

_ONCE = "once"


class Walked(msgspec.Struct, frozen=True):
    """`session`: the provider's name of the checkout, `url` where it is paid. `plan` is "product/plan"."""

    reference: str
    session: str
    url: str
    plan: str


def open_cheapest(context: Context, provider: str, email: str) -> Walked | None:
    """Open a checkout for the cheapest price of this provider; None when it has none.

    The e-mail is only sent where the provider opens nothing without one. Raises as `open_checkout` does.
    """
    with context.database.read() as connection:
        offers = catalog.list_offers(connection, context.tenant.id)
    priced = [
        (price.amount, price.id, offer, price)
        for offer in offers
        for price in offer.prices
        if price.provider == provider
    ]
    if not priced:
        return None
    _, _, offer, price = min(priced, key=lambda one: one[:2])
    ask = _ask(offer, price)
    try:
        opened = checkout.open_checkout(context, ask)
    except Invalid as error:
        if error.code != "EMAIL_REQUIRED":
            raise
        opened = checkout.open_checkout(context, msgspec.structs.replace(ask, email=email))
    with context.database.read() as connection:
        row = checkouts.find(connection, context.tenant.id, opened.reference)
    session = row.session if row is not None and row.session is not None else opened.reference
    return Walked(opened.reference, session, opened.url, ask.plan)


def _ask(offer: Offer, price: Price) -> Ask:
    return Ask(
        plan=f"{offer.product.slug}/{offer.plan.slug}",
        provider=price.provider,
        price=price.external_id or price.key,
        currency=price.currency,
        interval=price.interval or _ONCE,
    )
