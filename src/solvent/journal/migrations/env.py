"""What alembic runs around the scripts: always on a connection that it is given."""

from __future__ import annotations

from alembic import context

from solvent.journal.schema import TABLES, VERSION_TABLE


def run() -> None:
    """Run the scripts that are due."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=TABLES,
        version_table=VERSION_TABLE,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


# Alembic loads this file by its path and under this name. Imported as a module it does nothing.
if __name__ == "env_py":
    run()
