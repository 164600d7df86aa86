"""Bring the tables of a journal to this Solvent's version."""

from __future__ import annotations

from sqlalchemy import Connection

from solvent.journal.schema import VERSIONS


def bring_up(connection: Connection) -> None:
    """Run every script that this database has not seen, in the caller's transaction."""
    # Imported when it is used: alembic takes longer to load than a journal to open.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "solvent.journal:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, VERSIONS[-1])
