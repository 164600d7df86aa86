"""The journal: durable, chained rows of commands and events, in SQLite or PostgreSQL."""

from solvent.journal.journal import Journal, Summary, import_parquet
from solvent.journal.place import create, upgrade
from solvent.journal.row import Head, Row
from solvent.journal.snapshots import Snapshot

__all__ = [
    "Head",
    "Journal",
    "Row",
    "Snapshot",
    "Summary",
    "create",
    "import_parquet",
    "upgrade",
]
