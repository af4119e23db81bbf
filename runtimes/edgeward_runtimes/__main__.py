"""What a device is asked to do, as commands: `python -m edgeward_runtimes COMMAND`.

The host's `edgeward` runs these over a transport, and they need no more than the device package. Each answers with
one line of JSON on stdout; an error is one line on stderr and exit code 2.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from edgeward_runtimes import commands
from edgeward_runtimes.engines.accelerators import check
from edgeward_runtimes.errors import EdgewardError, of_system
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import health, installer

_FOR_UPDATES = ("tuf", "securesystemslib", "zstandard")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = _parser().parse_args(arguments)
    # What a native library prints on stdout would spoil the answer: only the answer goes there.
    answer_to = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        answer = _run(options)
    except EdgewardError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(of_system(error))
    except ModuleNotFoundError as error:
        extra = "update" if error.name in _FOR_UPDATES else "agent"
        return _refuse(f"This needs the package {error.name!r}: pip install 'edgeward[{extra}]'")
    if answer is not None:
        os.write(answer_to, msgspec.json.encode(answer) + b"\n")
    return 0


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m edgeward_runtimes", description="Commands of a device.")
    subparsers = parser.add_subparsers(dest="command", required=True)
    install = subparsers.add_parser("install", help="install a bundle and make it the current release")
    install.add_argument("bundle", type=Path)
    _add_accelerators(install)
    install.add_argument("--keep", type=int, default=installer.KEPT_RELEASES, help="releases that stay on the device")
    install.add_argument("--health", help="watch it after going live, e.g. 10m,errors=1%%,p95=1.5")
    install.add_argument("--metadata", type=Path, help="a registry's metadata, to prove the bundle where that is asked")
    held = subparsers.add_parser("held", help="say whether a release is current here, and whole")
    held.add_argument("name")
    held.add_argument("release")
    history = subparsers.add_parser("journal", help="tell what was done to a model here")
    history.add_argument("name")
    rollback = subparsers.add_parser("rollback", help="go back to a model's previous release")
    rollback.add_argument("name")
    subparsers.add_parser("status", help="say what is installed here")
    examine = subparsers.add_parser("examine", help="prove and time every variant of a bundle")
    examine.add_argument("bundle", type=Path)
    attempt = subparsers.add_parser("try", help="prove and time one variant of an unpacked release")
    attempt.add_argument("folder", type=Path)
    attempt.add_argument("variant")
    _add_accelerators(attempt)
    agent = subparsers.add_parser("agent", help="report health and latency until told to stop")
    agent.add_argument("--config", type=Path, required=True)
    agent.add_argument("--print-unit", action="store_true", help="print a systemd unit, as one JSON string")
    return parser


def _add_accelerators(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accelerator", action="append", default=[], help="try this before the CPU; may be repeated")


def _run(options: argparse.Namespace) -> object:
    return _COMMANDS[options.command](options, Home.default())


def _install(options: argparse.Namespace, home: Home) -> object:
    from edgeward_runtimes.update import local

    commands.tidy(home)
    if local.is_required(home):
        local.verify(options.bundle, options.metadata, home)
    limits = None if options.health is None else health.parse(options.health)
    return installer.install(home, options.bundle, check(options.accelerator), keep=options.keep, health=limits)


def _agent(options: argparse.Namespace, home: Home) -> object:
    from edgeward_runtimes.agent import config

    checked = config.read(options.config)
    if options.print_unit:
        from edgeward_runtimes.agent.unit import unit

        return unit(options.config, home)
    from edgeward_runtimes.agent import service

    service.run(checked, home)
    return None


_COMMANDS: dict[str, Callable[[argparse.Namespace, Home], object]] = {
    "install": _install,
    "held": lambda options, home: commands.Held(installer.held(home, options.name, options.release)),
    "rollback": lambda options, home: installer.rollback(home, options.name),
    "journal": lambda options, home: commands.history(home, options.name),
    "status": lambda options, home: commands.status(home),
    "examine": lambda options, home: commands.examine(options.bundle),
    "try": lambda options, home: commands.try_variant(options.folder, options.variant, check(options.accelerator)),
    "agent": _agent,
}

if __name__ == "__main__":
    sys.exit(main())
