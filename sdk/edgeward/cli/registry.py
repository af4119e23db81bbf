"""Commands about the signed registry: init, add, refresh, rotate, list, verify; and, on a device, update."""

import functools
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from edgeward.cli.bundles import Json
from edgeward.cli.output import answer_json, chatter, people, table
from edgeward_runtimes.errors import ConfigError

if TYPE_CHECKING:
    from edgeward.registry import Listing
    from edgeward.registry.keys import Passphrase

PASSPHRASE_VARIABLE = "EDGEWARD_KEY_PASSPHRASE"  # noqa: S105

Folder = Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="The registry's folder.")]
Keys = Annotated[list[Path], typer.Option("--keys", help="Folder of the offline keys; may be repeated.")]
OptionalKeys = Annotated[
    list[Path] | None, typer.Option("--keys", help="Folder of the offline keys, to renew targets and root as well.")
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(help=f"Holds the offline keys' passphrase; else ${PASSPHRASE_VARIABLE}, else it is asked for."),
]

registry_app = typer.Typer(no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (init, add, refresh, rotate, verify):
        registry_app.command()(command)
    registry_app.command("list")(list_releases)
    app.add_typer(registry_app, name="registry", help="Sign releases, and publish them for a fleet's devices.")
    app.command()(update)


def init(
    folder: Folder,
    keys: Annotated[Path, typer.Option(help="Where the offline keys go; keep it off the machine that serves.")],
    threshold: Annotated[int, typer.Option(min=1, help="How many root keys must sign a change of keys.")] = 1,
    root_keys: Annotated[
        int | None, typer.Option(min=1, help="How many root keys there are; by default one may be lost.")
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Make a registry: its keys, and its root of trust for devices.

    Example: edgeward registry init registry --keys /media/safe/keys
    """
    from edgeward import registry

    root = registry.create(
        folder, keys, _passphrase(passphrase_file, is_new=True), threshold=threshold, root_keys=root_keys
    )
    if json:
        answer_json({"root": str(root), "keys": str(keys)})
        return
    people.print(f"{escape(str(folder))} is a registry. Its root of trust, for devices: [bold]{escape(str(root))}[/]")
    people.print(f"Put {keys} away when you have published, with a copy in another place.", markup=False)
    people.print(f"Next: edgeward registry add {folder} BUNDLE --keys {keys}", markup=False)


def add(
    folder: Folder,
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="The .edge files.")],
    keys: Keys,
    previous: Annotated[int, typer.Option(min=0, help="Make deltas from so many releases before.")] = 3,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Sign bundles and publish them, with deltas from the releases before.

    Example: edgeward registry add registry model.edge --keys /media/safe/keys
    """
    from edgeward import registry

    passphrase = _passphrase(passphrase_file)
    passphrase()  # before the spinner, which would hide the question
    with chatter.status("signing, and making deltas …"):
        added = registry.add(folder, bundles, keys, passphrase, previous=previous)
    if json:
        answer_json(added)
        return
    for each in added:
        steps = "; ".join(f"from {step.source} {step.size_bytes / 1e3:.1f} kB" for step in each.deltas) or "no deltas"
        what = f"{each.size_bytes / 1e3:.1f} kB, {steps}" if each.is_new else "was published already"
        people.print(f"[bold]{escape(each.name)} {escape(each.release)}[/]: {escape(what)}")


def refresh(
    folder: Folder, keys: OptionalKeys = None, passphrase_file: PassphraseFile = None, json: Json = False
) -> None:
    """Renew the timestamp, and whatever else has half of its life behind it. Run it at least once a day.

    Example: edgeward registry refresh registry
    """
    from edgeward import registry

    refreshed = registry.refresh(folder, keys or (), _passphrase(passphrase_file))
    if json:
        answer_json(refreshed)
        return
    people.print(f"Renewed: {', '.join(refreshed.renewed)}.")
    table("Believed until", ("role", ""), [(role, _date(at)) for role, at in refreshed.expires.items()])


def rotate(
    folder: Folder,
    role: Annotated[str, typer.Argument(help="root, targets, snapshot or timestamp.")],
    keys: Keys,
    threshold: Annotated[int | None, typer.Option(min=1, help="How many of the new keys must sign.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many new keys there are.")] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Give a role new keys and revoke the old ones.

    Example: edgeward registry rotate registry targets --keys /media/safe/keys
    """
    from edgeward import registry

    rotated = registry.rotate(folder, role, keys, _passphrase(passphrase_file), threshold=threshold, count=count)
    if json:
        answer_json(rotated)
        return
    people.print(
        f"{role}: {', '.join(key[:8] for key in rotated.keys)} sign now, {rotated.threshold} needed; revoked: "
        f"{', '.join(key[:8] for key in rotated.revoked)}. Devices learn it from root {rotated.root_version}."
    )


def list_releases(folder: Folder, json: Json = False) -> None:
    """Show what is published, who signs, and until when it is believed.

    Example: edgeward registry list registry
    """
    from edgeward import registry

    _show(registry.listing(folder), json)


def verify(folder: Folder, json: Json = False) -> None:
    """Check all of it as a device would: signatures, dates, lengths and digests.

    Example: edgeward registry verify registry
    """
    from edgeward import registry

    found = registry.verify(folder)
    _show(found, json)
    if not json:
        people.print("A device that trusts this registry's root accepts all of it.", style="green")


def update(
    name: Annotated[str, typer.Argument(help="The model.")],
    version: Annotated[
        str | None, typer.Option(help="Which one, never older than the installed; else the latest.")
    ] = None,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="The registry; else the one that this device is enrolled with.")
    ] = None,
    limit: Annotated[str | None, typer.Option(help="Bandwidth in bytes per second, e.g. 200k.")] = None,
    health: Annotated[
        str | None, typer.Option(help="Watch it after going live, and go back by these bounds: 10m,errors=1%,p95=1.5.")
    ] = None,
    json: Json = False,
) -> None:
    """On a device: fetch a release from the signed registry, prove it, and install it.

    Example: edgeward update digits --limit 200k
    """
    from edgeward_runtimes.home import Home
    from edgeward_runtimes.install import health as windows
    from edgeward_runtimes.install import installer
    from edgeward_runtimes.update.pace import Limits, parse
    from edgeward_runtimes.update.updating import install_from_registry

    with chatter.status(f"updating {escape(name)} …"):
        window = None if health is None else windows.parse(health)
        install = functools.partial(installer.install, health=window)
        limits = Limits(bytes_per_s=parse(limit))
        installed = install_from_registry(Home.default(), name, version, registry, limits, install)
    if json:
        answer_json(installed)
    elif installed.replaced == installed.release:
        people.print(f"{name} is up to date: {installed.release}.", markup=False)
    else:
        people.print(f"{name} is now {installed.release} (before: {installed.replaced or 'nothing'}).", markup=False)


def _show(listing: "Listing", json: bool) -> None:
    if json:
        answer_json(listing)
        return
    rows = [
        (
            each.role,
            str(each.version),
            _date(each.expires),
            f"{each.threshold} of {', '.join(key[:8] for key in each.keys)}",
        )
        for each in listing.roles
    ]
    table("Metadata", ("role", "version", "believed until", "keys that must sign"), rows)
    releases = [
        (
            each.name,
            each.release,
            f"{each.size_bytes / 1e3:.1f}",
            ", ".join(f"{source}: {size / 1e3:.1f} kB" for source, size in each.deltas.items()) or "–",
        )
        for each in listing.releases
    ]
    table("Releases", ("model", "release", "size kB", "deltas from"), releases)


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _passphrase(file: Path | None, is_new: bool = False) -> "Passphrase":
    """Asks at most once, and only when a key is needed."""

    @functools.cache
    def ask() -> str:
        if file is not None:
            return file.read_text().rstrip("\n")
        given = os.environ.get(PASSPHRASE_VARIABLE)
        if given is not None:
            return given
        if not sys.stdin.isatty():
            raise ConfigError(
                f"The offline keys need their passphrase, and nobody is here to type it: set ${PASSPHRASE_VARIABLE}, "
                "or name a --passphrase-file."
            )
        asked = typer.prompt("Passphrase of the offline keys", hide_input=True, confirmation_prompt=is_new, err=True)
        return str(asked)

    return ask
