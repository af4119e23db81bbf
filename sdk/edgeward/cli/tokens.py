"""`edgeward fleet token`: who may use the monitor. It works on the store, so it needs no token itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgeward.cli.bundles import Json

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from edgeward.monitor.access.tokens import Token

_Config = Annotated[Path | None, typer.Option("--config", help="The monitor's monitor.toml; without it, the defaults.")]
_DAY_S = 86_400.0


def register(fleet: typer.Typer) -> None:
    """Add `token` to the commands about the fleet."""
    app = typer.Typer(no_args_is_help=True, help="Who may use the monitor's REST and dashboard.")
    app.command("create")(create)
    app.command("list")(show)
    app.command("revoke")(revoke)
    fleet.add_typer(app, name="token")


def create(
    name: Annotated[str, typer.Argument(help="Whose it is; the audit calls them so.")],
    role: Annotated[
        Literal["viewer", "operator", "admin"],
        typer.Option(help="viewer reads, operator also acts on devices and alerts, admin also makes tokens."),
    ] = "viewer",
    days: Annotated[float | None, typer.Option(min=0.001, help="Until it expires; without it, never.")] = None,
    config: _Config = None,
    json: Json = False,
) -> None:
    """Make a token, and show it this once. With the first one, nobody comes in without a token any more.

    Example: edgeward fleet token create grafana --role viewer --days 365
    """
    from edgeward.cli.output import answer_json, chatter
    from edgeward.monitor.access import tokens

    lifetime_s = None if days is None else days * _DAY_S
    token = tokens.create(_engine(config), name, role, _who(), lifetime_s)
    if json:
        answer_json({"name": name, "role": role, "token": token})
        return
    typer.echo(token)
    chatter.print(f"This is {name}'s token, a {role}'s. It is not kept, and cannot be shown again.")


def show(config: _Config = None, json: Json = False) -> None:
    """List every token ever made, without what is secret."""
    from edgeward.cli.output import answer_json, table
    from edgeward.monitor.access import tokens

    found = tokens.every(_engine(config))
    if json:
        answer_json({"tokens": found})
        return
    rows = [(each.name, each.role, _state(each), _day(each.created_at), _day(each.expires_at)) for each in found]
    table("Tokens", ("name", "role", "", "made", "expires"), rows)


def revoke(
    name: Annotated[str, typer.Argument(help="As `edgeward fleet token list` shows it.")], config: _Config = None
) -> None:
    """Make a token useless, at once."""
    from edgeward.cli.output import chatter
    from edgeward.monitor.access import tokens
    from edgeward_runtimes.errors import ConfigError

    if not tokens.revoke(_engine(config), name, _who()):
        raise ConfigError(f"There is no token {name!r} that still was of use; see edgeward fleet token list.")
    chatter.print(f"{name}'s token opens nothing any more.")


def _engine(config: Path | None) -> "Engine":
    from edgeward.monitor import config as configs
    from edgeward.monitor import database

    return database.open_engine(configs.read(config).store.url)


def _who() -> str:
    """For the audit: this machine's user."""
    import getpass

    return f"{getpass.getuser()} (command line)"


def _state(token: "Token") -> str:
    if token.valid:
        return "valid"
    return "expired" if token.revoked_at is None else "revoked"


def _day(at: float | None) -> str:
    import datetime

    return "–" if at is None else datetime.datetime.fromtimestamp(at).strftime("%Y-%m-%d")
