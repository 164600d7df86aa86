"""The tables of a journal, the same on SQLite and on PostgreSQL.

They are made and changed by alembic alone: the scripts are "journal.migrations.env" and, one a
version, "journal.migrations.versions.first".
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    select,
)

from solvent.journal.row import Head

VERSIONS: Final = ("0001",)
"""Every version of the tables there ever was; the last is the one that is read and written."""

VERSION_TABLE: Final = "journal_version"
"""Where alembic writes the version; its usual name may be another's in a shared database."""

_LONG: Final = BigInteger().with_variant(Integer, "sqlite")
TABLES: Final = MetaData()
ROWS: Final = Table(
    "journal", TABLES,
    Column("sequence", _LONG, primary_key=True, autoincrement=False),
    Column("time_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("command", LargeBinary, nullable=False),
    Column("events", LargeBinary, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("kind_check", BigInteger, nullable=False),
)  # fmt: skip
META: Final = Table(
    "journal_meta", TABLES,
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("journal_id", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("head_sequence", BigInteger, nullable=False),
    Column("head_chain", LargeBinary, nullable=False),
    Column("seal", LargeBinary, nullable=False),
)  # fmt: skip
SNAPSHOTS: Final = Table(
    "journal_snapshots", TABLES,
    Column("sequence", _LONG, primary_key=True, autoincrement=False),
    Column("trailer", LargeBinary, nullable=False),
)  # fmt: skip
SNAPSHOT_PARTS: Final = Table(
    "journal_snapshot_parts", TABLES,
    Column("sequence", _LONG, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("image", LargeBinary, nullable=False),
)  # fmt: skip

META_ROW: Final = select(
    META, select(func.max(ROWS.c.sequence)).scalar_subquery().label("last_sequence")
)
"""One statement, so that both are of one moment, also while another process writes."""


class Meta(NamedTuple):
    """Which journal it is and how far it goes. Rows lost at the end show nowhere else."""

    journal_id: str
    created_ms: int
    head: Head

    def seal(self) -> bytes:
        """A digest over all of it: a damaged head must not pass for a shorter journal."""
        said = f"{self.journal_id} {self.created_ms} {self.head.sequence} {self.head.chain.hex()}"
        return blake2b(said.encode(), digest_size=16).digest()
