"""Alembic on the connection that the ledger hands over; there is no other way to run it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], target_metadata=None)
context.run_migrations()
