"""Staff, their second factors and their sessions"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0008_staff"
down_revision = "0007_imported_keys"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_staff()
    _create_links()
    _create_factors()
    _create_sessions()
    op.create_table(
        "staff_tries",
        sa.Column("name_hash", sa.Text(), nullable=False),
        sa.Column("wrong", sa.BigInteger(), nullable=False),
        sa.Column("since_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name_hash", name=op.f("pk_staff_tries")),
    )
    op.create_index("ix_staff_tries_since", "staff_tries", ["since_at"])


def downgrade() -> None:
    for table in ("staff_tries", "staff_sessions", "staff_factors", "staff_links", "staff"):
        op.drop_table(table)


def _create_staff() -> None:
    op.create_table(
        "staff",
        *_named("staff"),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_sealed", sa.Text(), nullable=True),
        sa.Column("password_at", Instant(), nullable=True),
        sa.Column("ready_at", Instant(), nullable=True),
        sa.Column("ended_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.UniqueConstraint("tenant_id", "email", name=op.f("uq_staff_tenant_id_email")),
    )


def _create_links() -> None:
    op.create_table(
        "staff_links",
        *_named("staff_links"),
        *_of_staff("staff_links", nullable=True),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.UniqueConstraint("hash", name=op.f("uq_staff_links_hash")),
    )
    op.create_index(op.f("ix_staff_links_staff_id"), "staff_links", ["staff_id"])


def _create_factors() -> None:
    op.create_table(
        "staff_factors",
        *_named("staff_factors"),
        *_of_staff("staff_factors"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.Column("sealed", sa.Text(), nullable=True),
        sa.Column("counter", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("used_at", Instant(), nullable=True),
        sa.UniqueConstraint("hash", name=op.f("uq_staff_factors_hash")),
    )
    op.create_index(op.f("ix_staff_factors_staff_id"), "staff_factors", ["staff_id"])


def _create_sessions() -> None:
    op.create_table(
        "staff_sessions",
        *_named("staff_sessions"),
        *_of_staff("staff_sessions"),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("pending", sa.Text(), nullable=True),
        sa.Column("link_id", sa.Text(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("seen_at", Instant(), nullable=False),
        sa.Column("proved_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["link_id"], ["staff_links.id"], name=op.f("fk_staff_sessions_link_id_staff_links")
        ),
        sa.UniqueConstraint("hash", name=op.f("uq_staff_sessions_hash")),
    )
    op.create_index(op.f("ix_staff_sessions_staff_id"), "staff_sessions", ["staff_id"])
    op.create_index("ix_staff_sessions_expires", "staff_sessions", ["expires_at"])


def _named(table: str) -> list[Any]:
    """Id and tenant of a row, with their constraints."""
    return [
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(f"fk_{table}_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    ]


def _of_staff(table: str, *, nullable: bool = False) -> list[Any]:
    return [
        sa.Column("staff_id", sa.Text(), nullable=nullable),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f(f"fk_{table}_staff_id_staff")),
    ]
