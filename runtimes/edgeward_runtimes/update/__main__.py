"""`python -m edgeward_runtimes.update NAME`: bring a model of this device up to date from its registry.

A process of its own: python-tuf takes more memory than the agent that asks for an update. Answers as
`edgeward_runtimes.__main__` does.
"""

import argparse
import functools
import sys

import msgspec

from edgeward_runtimes.engines.accelerators import check
from edgeward_runtimes.errors import EdgewardError, of_system
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import health, installer
from edgeward_runtimes.install.installer import Installed
from edgeward_runtimes.update.pace import Limits, parse
from edgeward_runtimes.update.updating import install_from_registry


def main(arguments: list[str] | None = None) -> int:
    """Run; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        installed = _update(options)
    except EdgewardError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(of_system(error))
    except ModuleNotFoundError as error:
        return _refuse(f"This needs the package {error.name!r}: pip install 'edgeward[update]'")
    print(msgspec.json.encode(installed).decode())
    return 0


def _update(options: argparse.Namespace) -> Installed:
    install = functools.partial(
        installer.install,
        accelerators=check(options.accelerator),
        keep=options.keep,
        health=None if options.health is None else health.parse(options.health),
    )
    limits = Limits(bytes_per_s=parse(options.limit))
    return install_from_registry(Home.default(), options.name, options.version, options.registry, limits, install)


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m edgeward_runtimes.update", description="Update a model of this device.")
    parser.add_argument("name", help="the model")
    parser.add_argument("--version", help="which one, not older than the installed; by default the latest")
    parser.add_argument("--registry", help="the registry's address; by default the one of the enrollment")
    parser.add_argument("--limit", help="bandwidth in bytes per second, e.g. 200k")
    parser.add_argument("--keep", type=int, default=installer.KEPT_RELEASES, help="releases that stay on the device")
    parser.add_argument("--health", help="watch it after going live, e.g. 10m,errors=1%%,p95=1.5")
    parser.add_argument("--accelerator", action="append", default=[], help="try this before the CPU; may be repeated")
    return parser


if __name__ == "__main__":
    sys.exit(main())
