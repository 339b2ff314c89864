"""The tables, one for each concept of the model. Every table and every query carries the tenant.

Unique rules are constraints, never look-ups. Documents are JSON text written by msgspec; nothing queries into
them on a hot path.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from keywright.store.rows import Instant

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _only(rows: sa.ColumnElement[bool] | sa.TextClause) -> dict[str, Any]:
    """For an index of these rows alone."""
    return {"sqlite_where": rows, "postgresql_where": rows}


def _id() -> sa.Column[Any]:
    return sa.Column("id", sa.Text, primary_key=True)


def _tenant() -> sa.Column[Any]:
    return sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False)


def _text(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=null, server_default=default)


def _at(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Instant, nullable=null)


def _count(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())


tenants = sa.Table(
    "tenants",
    metadata,
    _id(),
    _text("slug"),
    _text("name"),
    _flag("is_master"),
    _text("email", null=True),
    sa.Column("licensed_user_count", sa.BigInteger),
    _text("website_origins", default=""),
    _text("return_origins", default=""),
    _at("created_at"),
    sa.UniqueConstraint("slug"),
)

provider_accounts = sa.Table(
    "provider_accounts",
    metadata,
    _id(),
    _tenant(),
    _text("provider"),
    _flag("live"),
    _text("external_id", null=True),
    _text("connected_by", null=True),  # the platform's account, for one that is connected to it
    _at("created_at"),
    _at("reconciled_until", null=True),
    sa.UniqueConstraint("tenant_id", "provider", "live"),
)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("kid", sa.Text, primary_key=True),
    _tenant(),
    _text("token_type"),
    _text("public"),
    _text("private_sealed"),
    _text("state"),
    _at("created_at"),
    _at("activated_at", null=True),
    _at("retired_at", null=True),
    _at("revoked_at", null=True),
    _text("changed_by", null=True),
    _text("reason", null=True),
)
for _state in ("active", "next"):  # one of each per tenant and token type, at most
    sa.Index(
        f"uq_signing_keys_{_state}",
        signing_keys.c.tenant_id,
        signing_keys.c.token_type,
        unique=True,
        **_only(signing_keys.c.state == _state),
    )

tokens = sa.Table(
    "tokens",
    metadata,
    _id(),
    _tenant(),
    _text("name"),
    _text("scope"),
    _text("hash"),
    _at("created_at"),
    _at("revoked_at", null=True),
    sa.UniqueConstraint("hash"),
)

products = sa.Table(
    "products",
    metadata,
    _id(),
    _tenant(),
    _text("slug"),
    _text("name"),
    _text("key_prefix"),
    sa.Column("code", sa.BigInteger),
    _text("baseline", default="{}"),
    _flag("retired"),
    sa.UniqueConstraint("tenant_id", "slug"),
)

plans = sa.Table(
    "plans",
    metadata,
    _id(),
    _tenant(),
    sa.Column("product_id", sa.Text, sa.ForeignKey("products.id"), nullable=False),
    _text("slug"),
    _text("name"),
    sa.Column("code", sa.BigInteger),
    _count("version"),
    _text("terms"),
    _flag("retired"),
    sa.UniqueConstraint("product_id", "slug"),
)

prices = sa.Table(
    "prices",
    metadata,
    _id(),
    _tenant(),
    sa.Column("plan_id", sa.Text, sa.ForeignKey("plans.id"), nullable=False, index=True),
    _text("provider"),
    _text("key"),
    _text("external_id", null=True),
    _count("amount"),
    _text("currency"),
    _text("interval", null=True),
    _flag("retired"),
    sa.UniqueConstraint("tenant_id", "provider", "external_id"),
)

customers = sa.Table(
    "customers",
    metadata,
    _id(),
    _tenant(),
    _text("email", null=True),
    _text("name", null=True),
    _at("created_at"),
    _at("email_told_at", null=True),
    _text("language", null=True),
)
sa.Index("ix_customers_email", customers.c.tenant_id, customers.c.email)
# People write their address in capitals when they ask for it.
sa.Index("ix_customers_email_lower", customers.c.tenant_id, sa.func.lower(customers.c.email))

customer_accounts = sa.Table(
    "customer_accounts",
    metadata,
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), primary_key=True),
    sa.Column("external_id", sa.Text, primary_key=True),
    _tenant(),
    sa.Column("customer_id", sa.Text, sa.ForeignKey("customers.id"), nullable=False),
)

checkouts = sa.Table(
    "checkouts",
    metadata,
    sa.Column("reference", sa.Text, primary_key=True),
    _tenant(),
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), nullable=False),
    sa.Column("plan_id", sa.Text, sa.ForeignKey("plans.id"), nullable=False),
    _text("price"),
    _count("quantity"),
    _count("amount"),
    _text("currency", default=""),
    _text("status"),
    _text("session", null=True),
    _text("url", null=True),
    _text("firm", null=True),
    _text("renews", null=True),
    _text("idempotency_hash", null=True),
    _text("request_hash", null=True),
    _text("purchase_id", null=True),
    _at("created_at"),
    _at("expires_at"),
    _at("settled_at", null=True),
    _text("claim_hash", null=True),
    _text("device_hash", null=True),
    _text("device_name", null=True),
    _at("device_bound_at", null=True),
    _text("language", null=True),
    sa.UniqueConstraint("tenant_id", "idempotency_hash"),
)
sa.Index("ix_checkouts_claim", checkouts.c.claim_hash)
DEVICES = sa.text("device_hash IS NOT NULL")
sa.Index("ix_checkouts_device", checkouts.c.purchase_id, **_only(DEVICES))

purchases = sa.Table(
    "purchases",
    metadata,
    _id(),
    _tenant(),
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), nullable=False),
    sa.Column("customer_id", sa.Text, sa.ForeignKey("customers.id")),
    _text("state"),
    _at("created_at"),
    _at("updated_at"),
    _text("customer_tenant_id", null=True),  # bought for a tenant: this one's seats follow it
    sa.Column("users", sa.BigInteger),
    _text("awaits", null=True),
)
# The few that were bought for tenants.
THEIRS = sa.text("customer_tenant_id IS NOT NULL")
sa.Index("ix_purchases_customer_tenant", purchases.c.customer_tenant_id, **_only(THEIRS))

purchase_aliases = sa.Table(
    "purchase_aliases",
    metadata,
    sa.Column("provider_account_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("external_id", sa.Text, primary_key=True),
    _tenant(),
    sa.Column("purchase_id", sa.Text, sa.ForeignKey("purchases.id"), nullable=False, index=True),
    _text("realm", null=True),  # of names that a provider gives once: where no other tenant may take it
)
CLAIMED = sa.text("realm IS NOT NULL")
sa.Index(
    "uq_purchase_aliases_claimed",
    purchase_aliases.c.external_id,
    purchase_aliases.c.kind,
    purchase_aliases.c.realm,
    unique=True,
    **_only(CLAIMED),
)

licenses = sa.Table(
    "licenses",
    metadata,
    _id(),
    _tenant(),
    sa.Column("purchase_id", sa.Text, sa.ForeignKey("purchases.id")),
    sa.Column("product_id", sa.Text, sa.ForeignKey("products.id"), nullable=False),
    sa.Column("plan_id", sa.Text, sa.ForeignKey("plans.id"), nullable=False),
    _count("unit"),
    sa.Column("customer_id", sa.Text, sa.ForeignKey("customers.id"), index=True),
    _text("key_hash"),
    _text("key_last5"),
    _text("key_sealed"),
    _text("hmac_sealed", null=True),
    _count("seats"),
    sa.Column("seats_after", sa.BigInteger),
    _at("seats_after_at", null=True),
    _at("entitled_until", null=True),
    _at("active_until", null=True),
    _at("grace_until", null=True),
    _at("lost_until", null=True),
    _text("standing"),
    _text("reason", default=""),
    _flag("trial"),
    _flag("canceling"),
    _flag("past_due"),
    _text("overrides", default="{}"),
    _text("firm", null=True),
    _text("origin", default="purchase"),
    _text("head", default=""),
    _count("events"),
    _text("mac"),
    _at("created_at"),
    sa.UniqueConstraint("purchase_id", "product_id", "unit"),
    sa.UniqueConstraint("key_hash"),
)
sa.Index("ix_licenses_tenant", licenses.c.tenant_id, licenses.c.id)
sa.Index("ix_licenses_firm", licenses.c.tenant_id, licenses.c.firm, **_only(licenses.c.firm.is_not(None)))
# For the revocation list: few licenses were ever revoked, and it is asked for by every program.
REVOKED = sa.text("standing = 'revoked' OR lost_until IS NOT NULL")
sa.Index("ix_licenses_revoked", licenses.c.tenant_id, **_only(REVOKED))

activations = sa.Table(
    "activations",
    metadata,
    _id(),
    _tenant(),
    sa.Column("license_id", sa.Text, sa.ForeignKey("licenses.id"), nullable=False),
    _text("fingerprint_hash"),
    _text("name", null=True),
    _at("activated_at"),
    _at("last_seen_at", null=True),
    _at("released_at", null=True),
    _text("lease", null=True),
    _at("lease_until", null=True),
    _text("lease_mark", null=True),
    _at("seat_until", null=True),
    _at("out_until", null=True),
    _text("ended_by", null=True),
)
HELD = activations.c.released_at.is_(None)
_seat = activations.c.license_id, activations.c.fingerprint_hash
sa.Index("uq_activations_held", *_seat, unique=True, **_only(HELD))
sa.Index("ix_activations_license", activations.c.license_id, activations.c.released_at)
# Floating seats that are taken, by when they end: the few that lapse between two looks.
TAKEN = HELD & activations.c.seat_until.is_not(None)
sa.Index("ix_activations_seat", activations.c.seat_until, **_only(TAKEN))

timeline = sa.Table(
    "timeline",
    metadata,
    sa.Column("license_id", sa.Text, sa.ForeignKey("licenses.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    _tenant(),
    _at("at"),
    _text("kind"),
    _text("detail"),
    _text("hash"),
)

inbox = sa.Table(
    "inbox",
    metadata,
    _id(),
    _tenant(),
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), nullable=False),
    _text("dedupe_key"),
    _text("type"),
    _at("occurred_at"),
    _at("received_at"),
    _at("processed_at", null=True),
    _text("status"),
    _text("reason", null=True),
    _text("error", null=True),
    _count("attempts"),
    _at("next_attempt_at", null=True),
    _text("body"),
    _text("digest"),
    _text("raw_sha256"),
    _count("raw_size"),
    _text("api_version", null=True),
    sa.UniqueConstraint("provider_account_id", "dedupe_key"),
)
sa.Index("ix_inbox_due", inbox.c.status, inbox.c.next_attempt_at)
sa.Index("ix_inbox_tenant", inbox.c.tenant_id, inbox.c.id)

inbox_waits = sa.Table(
    "inbox_waits",
    metadata,
    sa.Column("inbox_id", sa.Text, sa.ForeignKey("inbox.id"), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("external_id", sa.Text, primary_key=True),
    sa.Column("provider_account_id", sa.Text, nullable=False),
    _tenant(),
)
sa.Index(
    "ix_inbox_waits_for",
    inbox_waits.c.provider_account_id,
    inbox_waits.c.kind,
    inbox_waits.c.external_id,
)

inbox_purchases = sa.Table(
    "inbox_purchases",
    metadata,
    sa.Column("inbox_id", sa.Text, sa.ForeignKey("inbox.id"), primary_key=True),
    _tenant(),
    sa.Column("purchase_id", sa.Text, sa.ForeignKey("purchases.id"), nullable=False, index=True),
    _text("transaction_id", null=True),
)

refetches = sa.Table(
    "refetches",
    metadata,
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("external_id", sa.Text, primary_key=True),
    _tenant(),
    _count("turn"),
    _count("attempts"),
    _at("due_at"),
    _at("created_at"),
    _text("error", null=True),
)
sa.Index("ix_refetches_due", refetches.c.provider_account_id, refetches.c.due_at)

reconciliations = sa.Table(
    "reconciliations",
    metadata,
    _id(),
    _tenant(),
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), nullable=False),
    _at("since_at"),
    _at("started_at"),
    _at("finished_at", null=True),
    _flag("fixed"),
    _count("looked_at"),
    _count("found"),
    _text("findings", default="[]"),
    _text("error", null=True),
)
sa.Index("ix_reconciliations_account", reconciliations.c.provider_account_id, reconciliations.c.id)

announcements = sa.Table(
    "announcements",
    metadata,
    _id(),
    _tenant(),
    _text("kind"),
    _text("occurrence"),
    _text("subject_id"),
    sa.Column("license_id", sa.Text, sa.ForeignKey("licenses.id")),
    _text("batch"),
    _text("status"),
    _text("detail", default="{}"),
    _count("attempts"),
    _at("next_attempt_at", null=True),
    _at("created_at"),
    _at("sent_at", null=True),
    _text("error", null=True),
    sa.UniqueConstraint("subject_id", "kind", "occurrence"),
)
sa.Index("ix_announcements_batch", announcements.c.batch, announcements.c.status)
sa.Index("ix_announcements_status", announcements.c.status, announcements.c.next_attempt_at)
sa.Index("ix_announcements_license", announcements.c.license_id)

portal_links = sa.Table(
    "portal_links",
    metadata,
    _id(),
    _tenant(),
    sa.Column("customer_id", sa.Text, sa.ForeignKey("customers.id"), nullable=False),
    _text("email_hash"),
    _text("hash"),
    _text("browser_hash"),
    _at("created_at"),
    _at("expires_at"),
    _at("used_at", null=True),
    sa.UniqueConstraint("hash"),
)
sa.Index(
    "ix_portal_links_asked", portal_links.c.tenant_id, portal_links.c.email_hash, portal_links.c.created_at
)
sa.Index("ix_portal_links_expires", portal_links.c.expires_at)

portal_sessions = sa.Table(
    "portal_sessions",
    metadata,
    _id(),
    _tenant(),
    sa.Column("customer_id", sa.Text, sa.ForeignKey("customers.id"), nullable=False),
    _text("email_hash"),
    _text("hash"),
    _at("created_at"),
    _at("expires_at"),
    sa.UniqueConstraint("hash"),
)
sa.Index("ix_portal_sessions_expires", portal_sessions.c.expires_at)

# Tables of their own modules, which share the metadata: whoever has these has all.
import keywright.store.change_tables  # noqa: E402  # it needs the metadata above, and is read for its tables
import keywright.store.firm_tables  # noqa: E402  # as below
import keywright.store.import_tables  # noqa: E402  # as below
import keywright.store.look_tables  # noqa: E402  # as below
import keywright.store.machine_tables  # noqa: E402  # as below
import keywright.store.number_tables  # noqa: E402  # as below
import keywright.store.operating_tables  # noqa: E402  # it needs the metadata above, and is read for its tables
import keywright.store.provisioning_tables  # noqa: E402  # as above
import keywright.store.signing_tables  # noqa: E402  # as above
import keywright.store.staff_tables  # noqa: E402  # as above
import keywright.store.tenant_tables  # noqa: E402  # as above
import keywright.store.vault_tables  # noqa: E402  # as above
import keywright.store.webhook_tables  # noqa: E402, F401  # as above
