"""What customers may ask of whoever keeps data about them: all of it, and that it goes.

Erasing is pseudonymizing: what was bought, for how much and when stays for the books, under ids that lead to
nobody. Licenses, machines and timelines stay whole, so a program that runs goes on running.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from keywright.domain.errors import Conflict
from keywright.flows import portal
from keywright.flows.context import Context
from keywright.flows.license_writes import can_record, record
from keywright.flows.portal_sign_in import Visitor
from keywright.store import licenses, personal_data

log = structlog.get_logger(__name__)

FORMAT: Final = "keywright-personal-data/1"


class Exported(msgspec.Struct, frozen=True):
    """`data`: table -> rows. `withheld`: what is stored beside that, and why it is not in here."""

    format: str
    seller: str
    made_at: datetime
    address: str
    data: dict[str, list[dict[str, Any]]]
    withheld: dict[str, str]


def export(context: Context, visitor: Visitor) -> bytes:
    """All that is stored about the visitor, as indented JSON."""
    with context.database.read() as connection:
        data = personal_data.export(connection, visitor.tenant_id, visitor.people)
    told = Exported(
        FORMAT, context.tenant.name, context.clock.now(), visitor.email, data, dict(personal_data.WITHHELD)
    )
    return msgspec.json.format(msgspec.json.encode(told), indent=2)


def erase(context: Context, visitor: Visitor) -> None:
    """Forget who the visitor is. Licenses keep running for as long as they are paid.

    Raises:
        Conflict: `STILL_RENEWS` while a subscription renews: whoever is charged must be able to end it, and
            the portal would know him no more.
    """
    tenant = visitor.tenant_id
    if portal.is_renewing(context, visitor):
        raise Conflict("A subscription still renews. End it first.", code="STILL_RENEWS")
    with context.database.read() as connection:
        named = personal_data.events_naming(connection, tenant, [visitor.email])
    now = context.clock.now()
    with context.database.write() as connection:
        held = personal_data.licenses_of(connection, tenant, visitor.people)
        bought = personal_data.purchases_of(connection, tenant, visitor.people)
        # In the order of every writer: inbox, purchase, license, activation, timeline.
        events = sorted({*named, *personal_data.events_of(connection, bought)})
        personal_data.erase_events(connection, events, visitor.customer_id)
        personal_data.erase_purchases(connection, bought, visitor.customer_id, now)
        personal_data.erase_provisionings(
            connection, tenant, visitor.people, visitor.email, visitor.customer_id
        )
        personal_data.erase_people(connection, visitor.people)
        for license_id in held:
            one = licenses.find(connection, tenant, license_id, lock=True)
            if one is not None and can_record(context, one):
                told = {"by": f"customer {visitor.customer_id}"}
                record(context, connection, one, one, "license.holder_erased", detail=told, now=now)
        personal_data.erase_machines(connection, held)
    log.info("customer_erased", customer=visitor.customer_id, licenses=len(held), purchases=len(bought))
