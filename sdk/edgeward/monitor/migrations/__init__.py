"""How a store of any earlier edgeward becomes one of this: alembic's revisions, run by `database.open_engine`.

A revision describes tables as they were when it was written, so it never imports `schema`.
"""
