"""How Alembic runs here: on the connection that `upgrade` gives, within its transaction."""

from alembic import context

from bandit.store.postgres.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
)
with context.begin_transaction():
    context.run_migrations()
