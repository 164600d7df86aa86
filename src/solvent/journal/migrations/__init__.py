"""The versions of the journal's tables, as alembic wants them."""
