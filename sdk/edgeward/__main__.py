"""The `edgeward` command. It needs typer and rich, which the bare device package does not bring."""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line; errors of edgeward are one line on stderr and exit code 2."""
    if find_spec("typer") is None:
        sys.exit(
            "The edgeward command needs typer: pip install 'edgeward[agent]' on a device, 'edgeward[convert]' "
            "on a host. The device package alone answers to: python -m edgeward_runtimes --help"
        )
    from edgeward.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
