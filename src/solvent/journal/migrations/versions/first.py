"""Rows, the head, and snapshots."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    long = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "journal",
        sa.Column("sequence", long, primary_key=True, autoincrement=False),
        sa.Column("time_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("command", sa.LargeBinary(), nullable=False),
        sa.Column("events", sa.LargeBinary(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("kind_check", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "journal_meta",
        sa.Column("one", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("journal_id", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("head_sequence", sa.BigInteger(), nullable=False),
        sa.Column("head_chain", sa.LargeBinary(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "journal_snapshots",
        sa.Column("sequence", long, primary_key=True, autoincrement=False),
        sa.Column("trailer", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "journal_snapshot_parts",
        sa.Column("sequence", long, primary_key=True, autoincrement=False),
        sa.Column("part", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("image", sa.LargeBinary(), nullable=False),
    )
