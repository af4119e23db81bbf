"""The tables of tokens and of the audit. Times are Unix seconds."""

from sqlalchemy import BigInteger, Column, Float, Integer, String, Table

from edgeward.monitor.schema import metadata

tokens = Table(
    "tokens",
    metadata,
    Column("name", String, primary_key=True),  # never used again, so that the audit stays true
    Column("id", String, nullable=False, unique=True),  # the part of a token that is no secret
    Column("sha256", String, nullable=False),  # of the whole token: 256 random bits need no slow hash
    Column("role", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", Float, nullable=False),
    Column("who", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False, index=True),  # a device's id, a token's name, an alert …
    Column("detail", String, nullable=False),
)
