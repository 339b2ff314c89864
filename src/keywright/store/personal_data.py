"""What is stored about one person: all of it to hand out, and the part of it that can be erased.

`EXPORTED` and `WITHHELD` name every column that `docs/explanation/data.md` calls personal data of a customer;
a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from keywright.domain.email_address import erased_for, is_email_address, is_erased
from keywright.domain.facts import Stamp
from keywright.domain.plan import FOREVER
from keywright.domain.purchase import Purchase, Told
from keywright.store import portal_links
from keywright.store.tables import metadata

EXPORTED: Final[Mapping[str, tuple[str, ...]]] = {
    "customers": ("id", "email", "name", "created_at", "email_told_at", "language"),
    "customer_accounts": ("provider_account_id", "external_id", "customer_id"),
    "purchases": ("id", "provider_account_id", "customer_id", "state", "created_at", "updated_at"),
    "purchase_aliases": ("kind", "external_id", "purchase_id"),
    "checkouts": (
        *("reference", "plan_id", "price", "quantity", "amount", "currency", "status", "session", "url"),
        *("firm", "renews", "purchase_id", "created_at", "settled_at", "device_name", "language"),
    ),
    "inbox": ("id", "dedupe_key", "type", "occurred_at", "received_at", "body"),
    "inbox_waits": ("inbox_id", "kind", "external_id"),
    "inbox_purchases": ("inbox_id", "purchase_id", "transaction_id"),
    "licenses": (
        *("id", "purchase_id", "product_id", "plan_id", "unit", "customer_id", "key_last5", "seats"),
        *("entitled_until", "active_until", "grace_until", "standing", "reason", "trial", "canceling"),
        *("past_due", "overrides", "firm", "origin", "created_at"),
    ),
    "hmac_keys": ("license_id", "created_at"),
    "former_keys": ("license_id", "replaced_at"),
    "activations": (
        *("id", "license_id", "name", "activated_at", "last_seen_at", "released_at", "seat_until"),
        *("out_until", "ended_by"),
    ),
    "machine_signals": ("activation_id", "license_id"),
    "rebinds": ("license_id", "activation_id", "at"),
    "license_files": ("id", "license_id", "activation_id", "issued_at", "expires_at"),
    "timeline": ("license_id", "seq", "at", "kind", "detail"),
    "announcements": ("kind", "subject_id", "license_id", "status", "detail", "created_at", "sent_at"),
    "portal_links": ("customer_id", "created_at", "expires_at", "used_at"),
    "portal_sessions": ("customer_id", "created_at", "expires_at"),
    "provisionings": ("id", "wish", "status", "customer", "subscription", "created_at"),
}
"""Table -> the columns that a customer is handed, of the rows that are about him."""

_HASH: Final = "a keyed hash: it recognizes a machine or an address, and nothing can be read from it"
WITHHELD: Final[Mapping[str, str]] = {
    "checkouts.device_hash": _HASH,
    "activations.fingerprint_hash": _HASH,
    "activations.lease": "a signed answer to the machine; what it says stands in the license",
    "machine_signals.machine": _HASH,
    "machine_signals.board": _HASH,
    "machine_signals.signals": _HASH,
    "portal_links.email_hash": _HASH,
    "portal_sessions.email_hash": _HASH,
    "changes.topics": "ids of the newest thousand changes, which wake streams; they name nobody",
    "firms.firm": "the firm stands with the license",
    "refetches.external_id": "the same id stands among the purchase's aliases",
    "reconciliations.findings": "ids of events and purchases, which are handed out themselves",
    "webhook_deliveries.body": "states and ids of a license, which is handed out itself; it names nobody",
    "purchases.awaits": "the work that makes a tenant, which is handed out itself",
    "tenant_customers.external_id": "the same id stands among the customer's accounts at providers",
    "provisionings.asked_by": "names staff, or a token",
    "provisioning_steps.provisioning_id": "the work is handed out itself",
    "provisioning_steps.note": "what the work did, by ids that stand in it",
    "import_conflicts.object": "the same id stands among the purchase's aliases",
    "import_lines.subscription": "the same id stands among the purchase's aliases",
    "import_lines.sealed": "a line of the seller's own file, until its import has ended",
    "executors.host": "a machine of whoever keeps this installation",
    "audit.actor": "names staff",
    "audit.subject": "ids; what was done to a license stands on its timeline",
}
"""`table.column` -> why it is not handed out."""

_state: Final = msgspec.json.Decoder(Purchase).decode
_encode: Final = msgspec.json.encode


# -- hand out -------------------------------------------------------------------------------------------


def export(connection: sa.Connection, tenant: str, people: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Table -> its rows about these customers. JSON documents are opened."""
    reach = _reach(connection, tenant, people)
    found = {}
    for name, columns in EXPORTED.items():
        table = metadata.tables[name]
        column, ids = reach[name]
        query = (
            sa.select(*(table.c[c] for c in columns))
            .where(table.c.tenant_id == tenant, table.c[column].in_(ids))
            .order_by(*table.primary_key.columns)
        )
        found[name] = [_shown(dict(row)) for row in connection.execute(query).mappings()]
    return found


def _reach(connection: sa.Connection, tenant: str, people: Sequence[str]) -> dict[str, tuple[str, list[str]]]:
    """Table -> the column, and its values, by which the rows about them are found."""
    licenses, purchases = licenses_of(connection, tenant, people), purchases_of(connection, tenant, people)
    events = events_of(connection, purchases)
    of_customer, of_license = ("customer_id", list(people)), ("license_id", licenses)
    abroad = external_ids(connection, tenant, people)
    return {
        "customers": ("id", list(people)),
        "customer_accounts": of_customer,
        "purchases": ("id", purchases),
        "purchase_aliases": ("purchase_id", purchases),
        "checkouts": ("purchase_id", purchases),
        "inbox": ("id", events),
        "inbox_waits": ("inbox_id", events),
        "inbox_purchases": ("purchase_id", purchases),
        "licenses": ("id", licenses),
        **dict.fromkeys(("hmac_keys", "former_keys", "activations", "machine_signals"), of_license),
        **dict.fromkeys(("rebinds", "license_files", "timeline", "announcements"), of_license),
        "portal_links": of_customer,
        "portal_sessions": of_customer,
        "provisionings": ("customer", abroad),
    }


def _shown(told: dict[str, Any]) -> dict[str, Any]:
    for name in ("state", "body", "overrides", "detail", "wish"):
        if isinstance(told.get(name), str):
            told[name] = msgspec.json.decode(told[name])
    return told


def external_ids(connection: sa.Connection, tenant: str, people: Sequence[str]) -> list[str]:
    """What the providers call them."""
    table = metadata.tables["customer_accounts"]
    query = sa.select(table.c.external_id).where(table.c.tenant_id == tenant, table.c.customer_id.in_(people))
    return sorted(connection.execute(query).scalars())


def licenses_of(connection: sa.Connection, tenant: str, people: Sequence[str]) -> list[str]:
    """The ids of their licenses, in order: whoever locks them does so in that order."""
    table = metadata.tables["licenses"]
    query = sa.select(table.c.id).where(table.c.tenant_id == tenant, table.c.customer_id.in_(people))
    return sorted(connection.execute(query).scalars())


def purchases_of(connection: sa.Connection, tenant: str, people: Sequence[str]) -> list[str]:
    """The ids of what they bought, or what is in nobody's name and they hold a license of."""
    bought, held = metadata.tables["purchases"], metadata.tables["licenses"]
    mine = sa.select(held.c.purchase_id).where(held.c.customer_id.in_(people))
    query = sa.select(bought.c.id).where(
        bought.c.tenant_id == tenant,
        sa.or_(bought.c.customer_id.in_(people), bought.c.customer_id.is_(None) & bought.c.id.in_(mine)),
    )
    return sorted(connection.execute(query).scalars())


def events_of(connection: sa.Connection, purchases: Sequence[str]) -> list[str]:
    table = metadata.tables["inbox_purchases"]
    query = sa.select(table.c.inbox_id).where(table.c.purchase_id.in_(purchases)).distinct()
    return sorted(connection.execute(query).scalars())


def events_naming(connection: sa.Connection, tenant: str, addresses: Sequence[str]) -> list[str]:
    """The events whose kept members hold one of these addresses. Reads the whole inbox: call it outside of a
    transaction that writes."""
    table = metadata.tables["inbox"]
    found: set[str] = set()
    for address in addresses:
        query = sa.select(table.c.id).where(
            table.c.tenant_id == tenant,
            sa.func.lower(table.c.body).contains(address.lower(), autoescape=True),
        )
        found.update(connection.execute(query).scalars())
    return sorted(found)


# -- erase ----------------------------------------------------------------------------------------------


def erase_people(connection: sa.Connection, people: Sequence[str]) -> None:
    """Take name and address from customers, part them from what the providers call them, and let nobody in.

    A buyer who comes back is a new customer: nothing leads from the provider to the old one.
    """
    table, accounts = metadata.tables["customers"], metadata.tables["customer_accounts"]
    for id_ in sorted(people):
        connection.execute(
            sa.update(table)
            .where(table.c.id == id_)
            .values(email=erased_for(id_), name=None, email_told_at=FOREVER)
        )
    connection.execute(sa.delete(accounts).where(accounts.c.customer_id.in_(people)))
    portal_links.forget_people(connection, people)


def erase_purchases(
    connection: sa.Connection, purchases: Sequence[str], customer: str, now: datetime
) -> None:
    """Take the address out of what was bought, and machine and way to pay out of its checkouts."""
    table, checkouts = metadata.tables["purchases"], metadata.tables["checkouts"]
    query = sa.select(table.c.id, table.c.state).where(table.c.id.in_(purchases)).order_by(table.c.id)
    for id_, text in connection.execute(query.with_for_update()).all():
        state = _state(text)
        stamp = state.holder["email"].stamp if "email" in state.holder else Stamp(now)
        holder = {**state.holder, "email": Told(stamp, erased_for(customer))}
        changed = msgspec.structs.replace(state, holder=holder)
        connection.execute(sa.update(table).where(table.c.id == id_).values(state=_encode(changed).decode()))
    connection.execute(
        sa.update(checkouts).where(checkouts.c.purchase_id.in_(purchases)).values(device_name=None, url=None)
    )


def erase_provisionings(
    connection: sa.Connection, tenant: str, people: Sequence[str], address: str, customer: str
) -> None:
    """Take the address out of what was asked for when tenants were made for them. Before `erase_people`."""
    table = metadata.tables["provisionings"]
    query = sa.select(table.c.id, table.c.wish).where(
        table.c.tenant_id == tenant,
        sa.or_(
            table.c.customer.in_(external_ids(connection, tenant, people)),
            sa.func.lower(table.c.wish).contains(address.lower(), autoescape=True),
        ),
    )
    for id_, wish in connection.execute(query.order_by(table.c.id)).all():
        kept = _encode(_without_addresses(msgspec.json.decode(wish), erased_for(customer))).decode()
        connection.execute(sa.update(table).where(table.c.id == id_).values(wish=kept))


def erase_machines(connection: sa.Connection, licenses: Sequence[str]) -> None:
    """Take their names from the machines. They stay bound: the programs there run on."""
    table = metadata.tables["activations"]
    connection.execute(sa.update(table).where(table.c.license_id.in_(licenses)).values(name=None))


def erase_events(connection: sa.Connection, events: Sequence[str], customer: str) -> None:
    """Put the erased address in the place of every address that these events hold."""
    table = metadata.tables["inbox"]
    query = sa.select(table.c.id, table.c.body).where(table.c.id.in_(events)).order_by(table.c.id)
    for id_, body in connection.execute(query.with_for_update()).all():
        if "@" not in body:
            continue
        kept = _encode(_without_addresses(msgspec.json.decode(body), erased_for(customer))).decode()
        connection.execute(sa.update(table).where(table.c.id == id_).values(body=kept))


def keep_erased(connection: sa.Connection, met: Sequence[tuple[str, Purchase]]) -> None:
    """(event, what it was about): take the addresses out of what came after the buyer was erased."""
    for event, state in met:
        told = state.holder.get("email")
        if told is not None and is_erased(told.value):
            erase_events(connection, [event], told.value.partition("@")[0])


def _without_addresses(told: Any, instead: str) -> Any:
    if isinstance(told, dict):
        return {name: _without_addresses(value, instead) for name, value in told.items()}
    if isinstance(told, list):
        return [_without_addresses(value, instead) for value in told]
    return instead if isinstance(told, str) and is_email_address(told) else told
