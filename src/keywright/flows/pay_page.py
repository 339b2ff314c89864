"""What a buyer must see before he pays for somebody's machine: it may not be his own."""

from __future__ import annotations

import msgspec

from keywright.domain import device
from keywright.domain.errors import NotFound
from keywright.flows import checkout
from keywright.flows.context import Context
from keywright.store import catalog, checkouts


class PayPage(msgspec.Struct, frozen=True):
    """`url`: the provider's page, None when it is over.

    `device`: what that machine is called, empty where it has no name that can be shown.
    """

    reference: str
    product: str
    plan: str
    quantity: int
    amount: int
    currency: str
    device: str
    status: checkout.Status
    url: str | None


def pay_page(context: Context, reference: str) -> PayPage:
    """What is bought, and for which machine. Raises NotFound, also for a checkout without a machine."""
    standing = checkout.status(context, reference)
    with context.database.read() as connection:
        found = checkouts.find(connection, context.tenant.id, reference)
        offers = catalog.list_offers(connection, context.tenant.id, retired=True)
    offer = next((o for o in offers if found is not None and o.plan.id == found.plan_id), None)
    if found is None or found.device_hash is None or offer is None:
        raise NotFound("No checkout for a machine has this reference.")
    return PayPage(
        reference=reference,
        product=offer.product.name,
        plan=offer.plan.name,
        quantity=found.quantity,
        amount=found.amount,
        currency=found.currency,
        device=device.shown_name(found.device_name),
        status=standing.status,
        url=found.url if standing.status == "open" else None,
    )
