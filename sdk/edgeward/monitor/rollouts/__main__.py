"""The process that rolls out, `python -m edgeward.monitor.rollouts CONFIG-AS-JSON`."""

import logging
import signal
import sys
import threading
import time

import msgspec
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from edgeward.monitor.config import MonitorConfig
from edgeward.monitor.database import alone, open_engine
from edgeward.monitor.rollouts import acting
from edgeward_runtimes.errors import EdgewardError, one_line

EVERY_S = 1.0
RECONCILE_EVERY_S = 5.0
_REST = 3.0  # times what a round took: gates over ten thousand devices take a second
_log = logging.getLogger("edgeward.rollouts")


def run(engine: Engine, stopping: threading.Event) -> None:
    """Act until stopping. A store that is away is waited for."""
    while not stopping.wait(EVERY_S):
        try:
            with alone(engine, "rollouts") as connection:
                if connection is not None:
                    _act(engine, stopping)
        except SQLAlchemyError as error:
            _log.error("the store fails, trying again: %s", one_line(error))


def _act(engine: Engine, stopping: threading.Event) -> None:
    reconciled_at, rest_s = float("-inf"), EVERY_S
    while not stopping.wait(rest_s):
        began_at = time.monotonic()
        acting.act(engine)
        if began_at - reconciled_at >= RECONCILE_EVERY_S:
            reconciled_at = began_at
            acting.reconcile(engine)
        rest_s = max(EVERY_S, _REST * (time.monotonic() - began_at))


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        engine = open_engine(msgspec.json.decode(sys.argv[1], type=MonitorConfig).store.url)
    except EdgewardError as error:
        print(error, file=sys.stderr)
        return 2
    run(engine, stopping)
    return 0


if __name__ == "__main__":
    sys.exit(main())
