"""Who asks, what their role allows, and how a browser says it."""

from dataclasses import dataclass
from typing import Literal, get_args

from starlette.requests import HTTPConnection

Role = Literal["viewer", "operator", "admin"]  # each may do all that those before it may
ROLES: tuple[Role, ...] = get_args(Role)
SCOPE_KEY = "edgeward.caller"


@dataclass(frozen=True)
class Caller:
    """A token's name and its role."""

    name: str
    role: Role

    def may(self, needed: Role) -> bool:
        """Whether their role is that, or one above it."""
        return ROLES.index(self.role) >= ROLES.index(needed)


LOCAL = Caller("local", "admin")  # at this machine, as long as no token was made


def caller_of(connection: HTTPConnection) -> Caller:
    """Who the guard found to be calling; without a guard, as in tests and in-process, the machine's own user."""
    caller = connection.scope.get(SCOPE_KEY, LOCAL)
    assert isinstance(caller, Caller)  # noqa: S101 - nobody else writes that key
    return caller


def cookie_name(secure: bool) -> str:
    """A name that a browser takes from no other host and no plain connection, where there is TLS (RFC 6265bis)."""
    return "__Host-edgeward" if secure else "edgeward"
