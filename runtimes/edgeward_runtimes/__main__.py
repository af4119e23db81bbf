"""What a device is asked to do, as commands: `python -m edgeward_runtimes COMMAND`.

The host's `edgeward` runs these over a transport, and they need no more than the device package. Each answers with
one line of JSON on stdout; an error is one line on stderr and exit code 2.
"""

import argparse
import os
import sys
from pathlib import Path

import msgspec

from edgeward_runtimes import commands
from edgeward_runtimes.engines.accelerators import check
from edgeward_runtimes.errors import EdgewardError, of_system
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer


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
        return _refuse(f"This needs the package {error.name!r}: pip install 'edgeward[agent]'")
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
    return parser


def _add_accelerators(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accelerator", action="append", default=[], help="try this before the CPU; may be repeated")


def _run(options: argparse.Namespace) -> object:
    home = Home.default()
    match options.command:
        case "install":
            return installer.install(home, options.bundle, check(options.accelerator))
        case "rollback":
            return installer.rollback(home, options.name)
        case "status":
            return commands.status(home)
        case "examine":
            return commands.examine(options.bundle)
        case "try":
            return commands.try_variant(options.folder, options.variant, check(options.accelerator))
        case _:
            from edgeward_runtimes.agent import config, service

            service.run(config.read(options.config), home)
            return None


if __name__ == "__main__":
    sys.exit(main())
