"""The alerts' process: `python -m edgeward.monitor.alerts CONFIG-AS-JSON`."""

import logging
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from edgeward.monitor.alerts import rules
from edgeward.monitor.alerts.delivery import Delivery
from edgeward.monitor.alerts.link import BrokerLink
from edgeward.monitor.alerts.rounds import Rounds
from edgeward.monitor.config import MonitorConfig
from edgeward.monitor.database import alone, open_engine
from edgeward_runtimes.errors import EdgewardError, one_line

_log = logging.getLogger("edgeward.alerts")
_PRUNE_EVERY_S = 3600.0


def run(config: MonitorConfig, stopping: threading.Event) -> None:
    """Evaluate and tell until stopped. Raises EdgewardError when it cannot begin."""
    alert_config = rules.read(None if config.alerts.file is None else Path(config.alerts.file))
    engine = open_engine(config.store.url)
    rounds = Rounds(engine, alert_config)
    with BrokerLink(config) as link, alone(engine, "alerts") as turn:
        if turn is None:
            raise EdgewardError("Another process looks after the alerts of this store already.")
        with Delivery(engine, alert_config.channels, link):
            pruned_at = -_PRUNE_EVERY_S
            while not stopping.wait(alert_config.every):
                try:
                    rounds.run(time.time(), link.state)
                    if time.monotonic() - pruned_at > _PRUNE_EVERY_S:
                        rounds.prune(time.time())
                        pruned_at = time.monotonic()
                except SQLAlchemyError as error:
                    _log.error("the store fails, trying again: %s", one_line(error))


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        run(msgspec.json.decode(sys.argv[1], type=MonitorConfig), stopping)
    except EdgewardError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
