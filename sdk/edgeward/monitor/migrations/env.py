"""What alembic runs to upgrade a store: on the connection, and in the transaction, that `database` gives it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
