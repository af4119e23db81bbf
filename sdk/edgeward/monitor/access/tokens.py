"""Tokens: `edgeward_<id>_<secret>`. The store keeps a SHA-256 of each, so who reads it can use none of them."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from edgeward.monitor.access import audit
from edgeward.monitor.access.callers import Caller, Role
from edgeward.monitor.access.tables import tokens
from edgeward.monitor.database import writing
from edgeward_runtimes.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_TOKEN = re.compile(r"edgeward_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NO_DIGEST = "0" * 64


@dataclass(frozen=True)
class Token:
    """What is known of a token. Times are Unix seconds; `valid` says whether it opens anything now."""

    name: str
    role: Role
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    valid: bool


def create(engine: Engine, name: str, role: Role, by: str, lifetime_s: float | None = None) -> str:
    """Make a token and return it: this is the only time that it can be seen.

    Raises ConfigError for a name that cannot be used, or is.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a token: take up to 64 letters, digits and . _ @ - such as grafana.")
    identity, now = secrets.token_hex(6), time.time()
    token = f"edgeward_{identity}_{secrets.token_urlsafe(32)}"
    expires = None if lifetime_s is None else now + lifetime_s
    row = {"name": name, "id": identity, "sha256": _digest(token), "role": role, "created_at": now}
    try:
        with writing(engine) as connection:
            connection.execute(insert(tokens).values(**row, expires_at=expires))
            audit.record(connection, by, "token.create", name, f"role {role}")
    except IntegrityError as error:
        raise ConfigError(f"There is, or was, a token {name!r} already: names are used once. Take another.") from error
    return token


def every(engine: Engine) -> list[Token]:
    """Every token ever made, in the order of their names."""
    with engine.connect() as connection:
        rows = connection.execute(select(tokens).order_by(tokens.c.name)).all()
    return [_token(row, time.time()) for row in rows]


def revoke(engine: Engine, name: str, by: str) -> bool:
    """Make a token useless from now on; gives whether there was one that still was of use."""
    with writing(engine) as connection:
        where = (tokens.c.name == name, tokens.c.revoked_at.is_(None))
        revoked = connection.execute(update(tokens).where(*where).values(revoked_at=time.time())).rowcount > 0
        if revoked:
            audit.record(connection, by, "token.revoke", name)
    return revoked


def any_made(engine: Engine) -> bool:
    """Whether a token was ever made: from then on nobody comes in without one."""
    with engine.connect() as connection:
        return bool(connection.execute(select(func.count()).select_from(tokens)).scalar())


def any_valid(engine: Engine) -> bool:
    """Whether there is a token that opens anything now."""
    return any(token.valid for token in every(engine))


def recognize(engine: Engine, presented: str) -> Caller | None:
    """Who has this token; None when nobody has it any more, or ever had.

    The comparison takes as long for a token that is nearly right as for one that is not.
    """
    with engine.connect() as connection:
        rows = _rows_of(connection, presented)
    digest = rows[0].sha256 if rows else _NO_DIGEST
    known = hmac.compare_digest(_digest(presented), digest)
    return Caller(rows[0].name, rows[0].role) if known and _is_valid(rows[0], time.time()) else None


def _rows_of(connection: Connection, presented: str) -> list[Row[Any]]:
    shape = _TOKEN.fullmatch(presented)
    rows: Iterable[Row[Any]] = ()
    if shape:
        rows = connection.execute(select(tokens).where(tokens.c.id == shape.group(1)))
    return list(rows)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _is_valid(row: Row[Any], now: float) -> bool:
    return row.revoked_at is None and (row.expires_at is None or now < row.expires_at)


def _token(row: Row[Any], now: float) -> Token:
    return Token(row.name, row.role, row.created_at, row.expires_at, row.revoked_at, _is_valid(row, now))
