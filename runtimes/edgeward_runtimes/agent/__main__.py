"""The agent alone, as `python -m edgeward_runtimes.agent --config agent.toml`: less in memory than with all commands.

An error is one line on stderr and exit code 2.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from edgeward_runtimes.errors import EdgewardError, of_system
from edgeward_runtimes.home import Home


def main(arguments: list[str] | None = None) -> int:
    """Report until stopped; return the exit code."""
    parser = argparse.ArgumentParser("python -m edgeward_runtimes.agent", description="Report health and latency.")
    parser.add_argument("--config", type=Path, required=True, help="agent.toml")
    options = parser.parse_args(arguments)
    try:
        _import_paho()
        from edgeward_runtimes.agent import config, service

        service.run(config.read(options.config), Home.default())
    except EdgewardError as error:
        reason = str(error)
    except OSError as error:
        reason = of_system(error)
    except ModuleNotFoundError as error:
        reason = f"This needs the package {error.name!r}: pip install 'edgeward[agent]'"
    else:
        return 0
    print(reason, file=sys.stderr)
    return 2


def _import_paho() -> None:
    """Import paho-mqtt without urllib.request, which takes 3.6 MB.

    paho wants it for proxies, and asks about proxies only where PySocks is installed. Whoever imports it afterwards
    gets the real one.
    """
    name = "urllib.request"
    if find_spec("socks") is not None or name in sys.modules:
        return
    sys.modules[name] = ModuleType(name)
    try:
        import paho.mqtt.client  # noqa: F401
    finally:
        del sys.modules[name]


if __name__ == "__main__":
    sys.exit(main())
