"""What the pages count by: the revenue of each month, and indices over the few rows that pages look for."""

from __future__ import annotations

import sqlalchemy as sa

from keywright.store.tables import announcements, licenses, metadata, timeline

# Kept beside the purchases, because reading a hundred thousand of them for a page takes seconds. Each slot
# has several parts, whose sum counts: two transactions that take money in the same month would wait for one
# another at a single row.
revenue = sa.Table(
    "revenue",
    metadata,
    sa.Column("provider_account_id", sa.Text, sa.ForeignKey("provider_accounts.id"), primary_key=True),
    sa.Column("month", sa.Text, primary_key=True),
    sa.Column("currency", sa.Text, primary_key=True),
    sa.Column("part", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("tenant_id", sa.Text, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("paid", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("given_back", sa.BigInteger, nullable=False, server_default="0"),
)

# Partial: a million entries are renewals, mails and machines, and only these are looked for over all
# licenses. Others are not in it, so it costs nothing to write them.
ENDED = sa.text("kind = 'license.revoked'")
sa.Index(
    "ix_timeline_revoked", timeline.c.tenant_id, timeline.c.at, sqlite_where=ENDED, postgresql_where=ENDED
)

# The moment first, as below. It never moves: a license is made once.
sa.Index("ix_licenses_made", licenses.c.created_at, licenses.c.tenant_id)

# Alarms, and mails to staff and visitors: few among the mails about licenses.
APART = sa.text("license_id IS NULL")
sa.Index(
    "ix_announcements_apart",
    announcements.c.tenant_id,
    announcements.c.id,
    sqlite_where=APART,
    postgresql_where=APART,
)

# Who asks for help reads out the end of his key.
# The key first: for an index that begins with the tenant the planner of SQLite would leave better ones.
sa.Index("ix_licenses_last5", licenses.c.key_last5, licenses.c.tenant_id)
