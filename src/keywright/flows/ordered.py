"""What a buyer sees of his order beside the keys, and what he can do with it: a file, the mail once more.

Whoever holds the claim may, and only for as long as keys are shown: afterwards there is the portal.
"""

from __future__ import annotations

import msgspec

from keywright.domain import device
from keywright.domain.errors import Conflict, NotFound
from keywright.flows import checkout, license_files, operate
from keywright.flows.context import Context
from keywright.flows.license_files import FileMade
from keywright.flows.license_views import unknown_license
from keywright.flows.operate import Act
from keywright.store import activations, catalog, licenses
from keywright.store.catalog import Offer
from keywright.store.checkouts import Checkout


class Order(msgspec.Struct, frozen=True):
    """What was ordered with a checkout. `interval` is None for what is paid once, or not on sale any more.

    `url`: where it can be paid, while it is open. `inside`: a program opened it for the machine it runs on,
    called `device` if it has a name that can be shown. `has_file`: there is a license file to take along.
    """

    product_slug: str
    product: str
    plan_slug: str
    plan: str
    quantity: int
    amount: int
    currency: str
    interval: str | None
    url: str | None
    inside: bool
    device: str
    has_file: bool


def get_order(context: Context, reference: str) -> Order:
    """What was ordered. Raises NotFound, also where the plan is gone from the catalog."""
    found = checkout.get_checkout(context, reference)
    with context.database.read() as connection:
        offers = catalog.list_offers(connection, context.tenant.id, retired=True)
    offer = next((one for one in offers if one.plan.id == found.plan_id), None)
    if offer is None:
        raise NotFound("The plan of this order is not known any more.")
    standing = checkout.status(context, reference)
    inside = found.device_hash is not None
    return Order(
        product_slug=offer.product.slug,
        product=offer.product.name,
        plan_slug=offer.plan.slug,
        plan=offer.plan.name,
        quantity=found.quantity,
        amount=found.amount,
        currency=found.currency,
        interval=_interval(offer, found),
        url=_url(context, found) if standing.status == "open" else None,
        inside=inside,
        device=device.shown_name(found.device_name) if inside else "",
        has_file=inside or offer.plan.terms.portable_file,
    )


def _url(context: Context, found: Checkout) -> str | None:
    """Where it is paid: for a machine, our own page comes first, as at the beginning."""
    if found.device_hash is None or found.url is None:
        return found.url
    return f"{context.base_url}/checkout/{found.reference}/pay"


def _interval(offer: Offer, found: Checkout) -> str | None:
    for price in offer.prices:
        if found.price in (price.external_id, price.id):
            return price.interval
    return None


def license_file(context: Context, reference: str, claim_token: str, license_id: str) -> FileMade:
    """A license file for the machine that the checkout was opened for, or one that may travel.

    Raises:
        NotFound: no such checkout, or no such license in it.
        Unauthorized: not its claim token.
        Conflict: as `license_files.make_held`; `NO_FILE` where it is bound to a machine that is not known.
    """
    _check_claimed(context, reference, claim_token, license_id)
    found = checkout.get_checkout(context, reference)
    with context.database.read() as connection:
        held = licenses.find(connection, context.tenant.id, license_id)
        if held is None:
            raise unknown_license()
        bound = activations.held_by(connection, [held.id]).get(held.id, {})
    machine = found.device_hash if found.device_hash in bound else None
    try:
        return license_files.make_held(context, held, machine)
    except Conflict as error:
        if error.code != "MACHINE_NOT_HEARD":
            raise
        detail = "The program has not asked yet. Start it once, and try again."
        raise Conflict(detail, code=error.code) from error


def send_again(context: Context, reference: str, claim_token: str, license_id: str) -> None:
    """Owe the mail with the key once more. Raises NotFound, Unauthorized."""
    _check_claimed(context, reference, claim_token, license_id)
    operate.resend(context, context.tenant.id, license_id, Act("buyer"))


def _check_claimed(context: Context, reference: str, claim_token: str, license_id: str) -> None:
    shown = checkout.claim(context, reference, claim_token).licenses or ()
    if license_id not in {one.id for one in shown}:
        raise unknown_license()
