"""Signing keys through their states, the signed key set and the revocation list"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from keywright.store.rows import Instant

revision = "0004_signing"
down_revision = "0003_first_portal"
branch_labels = None
depends_on = None

_NEXT = sa.text("state = 'next'")
_REVOKED = sa.text("standing = 'revoked' OR lost_until IS NOT NULL")


def upgrade() -> None:
    op.add_column("signing_keys", sa.Column("activated_at", Instant(), nullable=True))
    op.add_column("signing_keys", sa.Column("retired_at", Instant(), nullable=True))
    op.add_column("signing_keys", sa.Column("revoked_at", Instant(), nullable=True))
    op.add_column("signing_keys", sa.Column("changed_by", sa.Text(), nullable=True))
    op.add_column("signing_keys", sa.Column("reason", sa.Text(), nullable=True))
    # Until now a key was active from the day it was made.
    op.execute("UPDATE signing_keys SET activated_at = created_at WHERE state = 'active'")
    op.create_index(
        "uq_signing_keys_next",
        "signing_keys",
        ["tenant_id", "token_type"],
        unique=True,
        sqlite_where=_NEXT,
        postgresql_where=_NEXT,
    )
    op.create_index(
        "ix_licenses_revoked", "licenses", ["tenant_id"], sqlite_where=_REVOKED, postgresql_where=_REVOKED
    )
    _create_key_sets()
    _create_license_files()
    _create_revocation_lists()


def downgrade() -> None:
    op.drop_table("revocation_lists")
    op.drop_table("license_files")
    op.drop_table("key_sets")
    op.drop_index("ix_licenses_revoked", table_name="licenses")
    op.drop_index("uq_signing_keys_next", table_name="signing_keys")
    op.execute("DELETE FROM signing_keys WHERE state = 'next' OR token_type = 'crl+jwt'")
    for name in ("activated_at", "retired_at", "revoked_at", "changed_by", "reason"):
        op.drop_column("signing_keys", name)


def _create_key_sets() -> None:
    op.create_table(
        "key_sets",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("root_public", sa.Text(), nullable=True),
        sa.Column("seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("document", sa.Text(), nullable=True),
        sa.Column("signed_at", Instant(), nullable=True),
        sa.Column("signed_until", Instant(), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_key_sets_tenant_id_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_key_sets")),
    )


def _create_license_files() -> None:
    op.create_table(
        "license_files",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("license_id", sa.Text(), nullable=False),
        sa.Column("activation_id", sa.Text(), nullable=True),
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("issued_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_license_files_tenant_id_tenants")
        ),
        sa.ForeignKeyConstraint(
            ["license_id"], ["licenses.id"], name=op.f("fk_license_files_license_id_licenses")
        ),
        sa.ForeignKeyConstraint(
            ["activation_id"], ["activations.id"], name=op.f("fk_license_files_activation_id_activations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_license_files")),
    )
    op.create_index("ix_license_files_license", "license_files", ["license_id", "expires_at"])
    op.create_index("ix_license_files_running", "license_files", ["tenant_id", "expires_at"])


def _create_revocation_lists() -> None:
    op.create_table(
        "revocation_lists",
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("made_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_revocation_lists_tenant_id_tenants")
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_revocation_lists")),
    )
