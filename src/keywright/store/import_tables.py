"""The tables of imports: runs and where they have come to, what stood in their way, lines of a file."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.rows import Instant
from keywright.store.tables import metadata

# `wish`, `counts` and `pace` are JSON. `holder` names the process that works on it now: whoever takes a run
# over writes its own, and the other one's next page is not committed.
imports = sa.Table(
    "imports",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("wish", sa.Text, nullable=False),
    sa.Column("cursor", sa.Text, nullable=True),
    sa.Column("holder", sa.Text, nullable=True),
    sa.Column("counts", sa.Text, nullable=False, server_default="{}"),
    sa.Column("total", sa.BigInteger, nullable=True),
    sa.Column("error", sa.Text, nullable=True),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("touched_at", Instant, nullable=False),
    sa.Column("finished_at", Instant, nullable=True),
    sa.Index("ix_imports_account", "provider_account_id", "id"),
    sa.Index("ix_imports_tenant", "tenant_id", "id"),
)

# What a run could not take as it is. One for each thing and kind, however often it is met.
import_conflicts = sa.Table(
    "import_conflicts",
    metadata,
    sa.Column("import_id", sa.Text, sa.ForeignKey("imports.id"), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("object", sa.Text, primary_key=True),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("fix", sa.Text, nullable=False, server_default=""),
)

# The lines of the seller's file while a run needs them. They hold license keys, so they are sealed.
import_lines = sa.Table(
    "import_lines",
    metadata,
    sa.Column("import_id", sa.Text, sa.ForeignKey("imports.id"), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("subscription", sa.Text, nullable=False),
    sa.Column("sealed", sa.Text, nullable=False),
    sa.Column("used", sa.Boolean, nullable=False),
    sa.Index("ix_import_lines_subscription", "import_id", "subscription"),
)
