"""The process that keeps the store in shape, `python -m edgeward.monitor.upkeep CONFIG-AS-JSON`.

It rolls series up, deletes what is old, and renews a registry's timestamp and snapshot before they expire. Nothing
depends on when it runs: what it finds undone it does.
"""

import logging
import signal
import sys
import time
from pathlib import Path

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from edgeward.monitor.config import MonitorConfig, RegistryConfig
from edgeward.monitor.database import alone, open_engine
from edgeward.monitor.retention import delete_old
from edgeward.monitor.rollups import roll_up
from edgeward_runtimes.errors import EdgewardError, one_line

_log = logging.getLogger("edgeward.upkeep")
_EVERY_S = 5.0
_RENEW_EVERY_S = 600.0


def keep_up(engine: Engine, config: MonitorConfig, now: float) -> None:
    """Do what is to be done, unless another process is at it; a store that is away is for the next time."""
    try:
        with alone(engine, "upkeep") as connection:
            if connection is not None:
                roll_up(connection, now)
                delete_old(connection, config.store.retention, now)
    except OperationalError as error:
        _log.error("the store fails, trying again: %s", one_line(error))


def renew(config: RegistryConfig) -> None:
    """Renew what is due in the registry, if there is one and its online keys are here; failing, try the next time."""
    if config.folder is None:
        return
    from edgeward import registry

    try:
        renewed = registry.refresh(Path(config.folder), only_when_due=True).renewed
    except (EdgewardError, OSError) as error:
        _log.error("the registry %s cannot be renewed: %s", config.folder, one_line(error))
    else:
        if renewed:
            _log.info("renewed the registry's %s", ", ".join(renewed))


def main() -> int:
    """Run until SIGTERM or SIGINT; either may come at any moment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        config = msgspec.json.decode(sys.argv[1], type=MonitorConfig)
        engine = open_engine(config.store.url)
    except EdgewardError as error:
        print(error, file=sys.stderr)
        return 2
    renewed_at = -_RENEW_EVERY_S
    while True:
        keep_up(engine, config, time.time())
        if time.monotonic() - renewed_at >= _RENEW_EVERY_S:
            renewed_at = time.monotonic()
            renew(config.registry)
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    sys.exit(main())
