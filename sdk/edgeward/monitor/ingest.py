"""The ingest process: from the broker into the store, `python -m edgeward.monitor.ingest CONFIG-AS-JSON [WORKER]`.

paho's thread only cuts and queues what arrives: an exception there would end it for good. The main thread takes what
has come, up to a batch, runs it through the host's state, writes it in one transaction, and then asks for the rebirths
wanted. A store that is away is waited for; an update that it can never take is counted as dropped.

What was taken from the broker and not written when we are killed is not lost: the next start asks every device that is
known for a rebirth, and totals are cumulative.

`[ingest] workers` of one host share the messages of a fleet. The first starts the others, and does what one has to do:
it says STATE, asks devices what people ask them, and looks for those that fell silent.
"""

import contextlib
import gc
import logging
import queue
import signal
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
from sqlalchemy.exc import OperationalError

from edgeward.monitor import rebirths, requests, store
from edgeward.monitor.config import MonitorConfig
from edgeward.monitor.connection import Connected, Connection, Event
from edgeward.monitor.host import HostState
from edgeward.monitor.rebirths import Rebirths
from edgeward.monitor.supervisor import Supervised
from edgeward.monitor.updates import Dropped, RebirthWanted, Update
from edgeward_runtimes.errors import EdgewardError, one_line
from edgeward_runtimes.sparkplug import metrics
from edgeward_runtimes.sparkplug import requests as messages
from edgeward_runtimes.sparkplug.codec import DataType, Metric

_log = logging.getLogger("edgeward.ingest")
_BATCH = 4000
_BATCH_WITHIN_S = 0.2
_STORE_AGAIN_S = 1.0
_REQUESTS_EVERY_S = 1.0
_REQUESTS_AT_ONCE = 500
_SILENCE_EVERY_S = 2.0
_TIDY_EVERY_S = 60.0
_T = TypeVar("_T")

_REBIRTH = Metric(name=metrics.REBIRTH, datatype=DataType.BOOLEAN, value=True)


class Ingest:
    """One ingest worker."""

    def __init__(self, config: MonitorConfig, worker: int = 0) -> None:
        """Prepare. Raises EdgewardError when the configuration is wrong or the store cannot be opened."""
        workers = config.ingest.workers
        self._is_first, self._is_alone = worker == 0, workers == 1
        self._connection = Connection(config, worker)
        self._engine = store.open_engine(config.store.url)
        self._writer = store.Writer(self._engine, is_alone=self._is_alone)
        self._host = HostState(worker, workers)
        self._rebirths = Rebirths()
        self._stopping = False
        self._due: dict[Callable[[], None], float] = {}

    def stop(self) -> None:
        """Ask the loop to end; safe from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Ingest until stopped."""
        self._connection.start()
        while not self._stopping:
            updates = [update for event in self._take_batch() for update in self._updates(event)]
            if updates:
                self._write(updates)
            self._rebirths.want((each.fleet, each.device) for each in updates if isinstance(each, RebirthWanted))
            self._do_what_is_due()
        self._connection.close()
        self._engine.dispose()

    def _updates(self, event: Event) -> list[Update]:
        if not isinstance(event, Connected):
            return self._host.receive(event.topic, event.payload, event.at)
        known = self._until_it_works(lambda: store.known_nodes(self._engine))
        return [RebirthWanted(fleet, device) for fleet, device in known or ()]

    def _take_batch(self) -> list[Event]:
        """What has come, after the first message for a short while more."""
        batch: list[Event] = []
        deadline = time.monotonic() + _BATCH_WITHIN_S
        while len(batch) < _BATCH and (left := deadline - time.monotonic()) > 0:
            try:
                found = self._connection.events.get(timeout=left)
            except queue.Empty:
                break
            batch += [found] if isinstance(found, Connected) else found
        return batch

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        for fleet, device in self._rebirths.take(now):
            self._connection.command(fleet, device, _REBIRTH)
        if self._is_first:
            self._every(_REQUESTS_EVERY_S, self._send_requests)
            self._every(_SILENCE_EVERY_S, self._look_for_silence)
            self._every(_TIDY_EVERY_S, self._tidy)

    def _every(self, interval_s: float, work: Callable[[], None]) -> None:
        """Do some work with the store, when it is its time; a store that is away is for the next time."""
        now = time.monotonic()
        if self._due.get(work, 0.0) > now:
            return
        self._due[work] = now + interval_s
        try:
            work()
        except OperationalError as error:
            _log.error("the store fails, trying again: %s", one_line(error))

    def _send_requests(self) -> None:
        if self._connection.connected_at is None:
            return
        now = time.time()
        due = requests.due(self._engine, now, _REQUESTS_AT_ONCE)
        for device_id, request in due:
            fleet, _, device = device_id.partition("/")
            value = messages.encode(request)
            self._connection.command(fleet, device, Metric(name=metrics.REQUEST, datatype=DataType.BYTES, value=value))
        if due:
            requests.sent(self._engine, [request.id for _, request in due], now)

    def _look_for_silence(self) -> None:
        heard_since = self._connection.connected_at
        if heard_since is not None:
            store.mark_silent(self._engine, time.time(), heard_since)

    def _tidy(self) -> None:
        requests.tidy(self._engine, time.time())
        if not self._is_alone:  # nobody sees a gap in seq
            minute = int(time.time()) // 60
            self._rebirths.want(rebirths.in_turn(store.known_nodes(self._engine), minute))

    def _write(self, updates: list[Update]) -> None:
        """Write a batch, or all of it but what cannot be written: one odd device must not hold up the fleet."""
        try:
            self._until_it_works(lambda: self._writer.apply(updates))
        except Exception as error:
            if len(updates) > 1:
                middle = len(updates) // 2
                self._write(updates[:middle])
                self._write(updates[middle:])
                return
            dropped = Dropped(one_line(error))
            _log.error("dropped a %s: %s", type(updates[0]).__name__, dropped.reason)
            self._until_it_works(lambda: self._writer.apply([dropped]))

    def _until_it_works(self, work: Callable[[], _T]) -> _T | None:
        """Use the store, again and again while it is away: totals are cumulative, but births are not.

        Returns None when told to stop meanwhile.
        """
        while not self._stopping:
            try:
                return work()
            except OperationalError as error:
                _log.error("the store fails, trying again: %s", one_line(error))
                time.sleep(_STORE_AGAIN_S)
        return None


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = msgspec.json.decode(sys.argv[1], type=MonitorConfig)
    worker = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    try:
        ingest = Ingest(config, worker)
    except EdgewardError as error:
        print(error, file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ingest.stop())
    # Messages make many objects and no cycles, and what is known of a fleet need not be looked through again and again.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    with contextlib.ExitStack() as others:
        for other in range(1, config.ingest.workers if worker == 0 else 0):
            others.enter_context(Supervised("edgeward.monitor.ingest", sys.argv[1], str(other)))
        ingest.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
