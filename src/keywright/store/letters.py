"""What letters are about: many licenses with their names and addresses in one query, and locked in one."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from keywright.domain.license import License
from keywright.domain.plan import Terms
from keywright.store import licenses, rows
from keywright.store.announcements import Announcement
from keywright.store.catalog import decode_terms
from keywright.store.licenses import MEMBERS, SELECTED
from keywright.store.tables import customers


class LetterSource(msgspec.Struct, frozen=True):
    """A license with all that its letter names. `email` None: nobody told us yet. `device`: the name of the
    machine it was bought for, empty for one without a name, None for none. `language`: the customer's, where
    it is known."""

    license: License
    seller: str
    seller_slug: str
    product: str
    product_slug: str
    key_prefix: str
    plan: str
    terms: Terms
    email: str | None
    device: str | None = None
    language: str | None = None


def sources(connection: sa.Connection, owed: Sequence[Announcement]) -> dict[str, LetterSource]:
    """License id -> source, for the announcements that speak of a license of their own tenant."""
    asked = _asked(owed)
    if not asked:
        return {}
    source = rows.recordset(connection, "k", {"id": "text", "tenant_id": "text"})
    text = sa.text(
        f"SELECT {SELECTED}, t.name, t.slug, pr.name, pr.slug, pr.key_prefix, p.name, p.terms, c.email,"  # noqa: S608  # our own names
        " c.language,"
        " (SELECT coalesce(o.device_name, '') FROM checkouts o WHERE o.purchase_id = l.purchase_id"
        " AND o.device_hash IS NOT NULL AND l.unit = 0 ORDER BY o.created_at LIMIT 1)"
        f" FROM {source} CROSS JOIN licenses l"
        " JOIN tenants t ON t.id = l.tenant_id JOIN plans p ON p.id = l.plan_id"
        " JOIN products pr ON pr.id = l.product_id LEFT JOIN customers c ON c.id = l.customer_id"
        " WHERE l.id = k.id AND l.tenant_id = k.tenant_id"
    )
    found = {}
    for row in connection.execute(text, {"rows": rows.json_of(asked)}):
        seller, seller_slug, product, slug, prefix, plan, terms, email, language, device = row[len(MEMBERS) :]
        held = licenses.from_row(row)
        found[held.id] = LetterSource(
            held,
            seller,
            seller_slug,
            product,
            slug,
            prefix,
            plan,
            decode_terms(terms),
            email,
            device,
            language,
        )
    return found


def lock(connection: sa.Connection, owed: Sequence[Announcement]) -> dict[str, License]:
    """The licenses that these announcements speak of, held until the transaction ends, in order of id."""
    asked = _asked(owed)
    if not asked:
        return {}
    source = rows.recordset(connection, "k", {"id": "text", "tenant_id": "text"})
    held = "" if connection.dialect.name == "sqlite" else " ORDER BY l.id FOR UPDATE OF l"
    text = sa.text(
        f"SELECT {SELECTED} FROM {source} CROSS JOIN licenses l"  # noqa: S608  # as above
        f" WHERE l.id = k.id AND l.tenant_id = k.tenant_id{held}"
    )
    found = map(licenses.from_row, connection.execute(text, {"rows": rows.json_of(asked)}))
    return {one.id: one for one in found}


def lock_addresses(connection: sa.Connection, customer_ids: Sequence[str]) -> dict[str, str | None]:
    """The addresses of these customers; none is learned by another writer until the transaction ends."""
    if not customer_ids:
        return {}
    query = (
        sa.select(customers.c.id, customers.c.email)
        .where(customers.c.id.in_(sorted(set(customer_ids))))
        .order_by(customers.c.id)
        .with_for_update(key_share=True)
    )
    return {id_: email for id_, email in connection.execute(query)}  # noqa: C416  # rows, not pairs


def _asked(owed: Sequence[Announcement]) -> list[dict[str, str]]:
    wanted = {(a.license_id, a.tenant_id) for a in owed if a.license_id is not None}
    return [{"id": id_, "tenant_id": tenant} for id_, tenant in sorted(wanted)]
