"""Alembic's entry: runs the migrations on the connection that `gateway.store.schema` hands over."""

from alembic import context

from gateway.store.metadata import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    transaction_per_migration=False,
    compare_server_default=True,  # for `make migration`
)
context.run_migrations()
