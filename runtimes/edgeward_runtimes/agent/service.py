"""The agent's loop: events of the connection and the clock in, a Sparkplug session's messages out.

Everything is decided on the main thread, so nothing here needs a lock. What happens when:

    Connected       births, at once or when the primary host is online; then history, a batch a second
    a report        data when born, else the reading goes to the spool
    Disconnected    what is not certain to have arrived goes to the spool
    STATE           the primary host went: NDEATH, disconnect, connect again, and wait; it came: births
    a rebirth       at most one a second: until the next may be given, no data either
    a request       done on a thread of its own (see `obeying`); its answer in parts, a few between two fences
"""

import contextlib
import ctypes
import gc
import logging
import queue
import signal
import time
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from edgeward_runtimes.agent import handlers, notify
from edgeward_runtimes.agent.config import AgentConfig, Interval
from edgeward_runtimes.agent.connection import (
    Acknowledged,
    Answered,
    Connected,
    Connection,
    Disconnected,
    Event,
    Received,
    Stop,
)
from edgeward_runtimes.agent.logs import Forwarder, Recent
from edgeward_runtimes.agent.obeying import Handler, Obeyer
from edgeward_runtimes.agent.outbox import UNFENCED, Outbox
from edgeward_runtimes.agent.reading import Reader
from edgeward_runtimes.agent.spool import Spool
from edgeward_runtimes.home import Home
from edgeward_runtimes.sparkplug import codec, metrics, requests
from edgeward_runtimes.sparkplug.codec import Value
from edgeward_runtimes.sparkplug.primary_host import PrimaryHost
from edgeward_runtimes.sparkplug.session import EdgeNode, Message, Reading

_log = logging.getLogger("edgeward.agent")
_REBIRTH_EVERY_S = 1.0
_HISTORY_EVERY_S = 1.0
_PARTS = 4  # of answers, between two fences: a megabyte at most that waits to be sent
_NEVER = float("inf")


class Agent:
    """One device's agent."""

    def __init__(self, config: AgentConfig, home: Home, more: Mapping[str, Handler] | None = None) -> None:
        """Prepare; `more` can be asked for beside what `handlers` has.

        Raises EdgewardError when the configuration is wrong or another agent runs here.
        """
        self._config = config
        self._connection = Connection(config, home.root / "bdseq")
        self._reader = Reader(config, home)
        spool = Spool(
            home.root / "spool.db", rows=config.spool.rows, size_bytes=int(config.spool.size_mb * 1024 * 1024)
        )
        self._outbox = Outbox(spool, self._reader.told)
        self._logs, self._recent = Forwarder(), Recent()
        able = {**handlers.of(home, self._recent, config.update), **(more or {})}
        self._obeyer = Obeyer(home.root / "requests", able, lambda: self._connection.events.put(Answered()))
        self._interval_s = config.interval_s
        self._node = EdgeNode(config.fleet, config.device, 0)
        self._host = PrimaryHost()
        self._bd_seq: int | None = None  # of the connection that stands
        self._next_report = self._rebirth_due = self._history_due = self._fence_due = _NEVER
        self._born_at = -_NEVER

    def stop(self) -> None:
        """Ask the loop to end; safe from a signal handler."""
        self._connection.events.put(Stop())

    def run(self) -> None:
        """Report until stopped."""
        root = logging.getLogger()
        for each in (self._logs, self._recent):
            root.addHandler(each)
        self._connection.start()
        self._next_report = time.monotonic() + self._interval_s  # the birth tells the first
        notify.ready()
        try:
            self._loop()
        finally:
            notify.stopping()
            self._say_goodbye()
            for each in (self._logs, self._recent):
                root.removeHandler(each)
            self._obeyer.close()
            self._reader.close()

    def _loop(self) -> None:
        while True:
            notify.alive()
            event = self._next_event()
            if isinstance(event, Stop):
                return
            if event is not None:
                self._handle(event)
            self._do_what_is_due(time.monotonic())

    def _next_event(self) -> Event | None:
        """What comes, or None when something else is due."""
        due = min(self._next_report, self._rebirth_due, self._history_due, self._fence_due)
        try:
            return self._connection.events.get(timeout=min(max(0.0, due - time.monotonic()), notify.EVERY_S))
        except queue.Empty:
            return None

    def _do_what_is_due(self, now: float) -> None:
        if now >= self._next_report:
            self._next_report = now + self._interval_s
            self._report()
        if now >= self._rebirth_due:
            self._give_birth()
        if now >= self._history_due:
            self._tell_history()
        if now >= self._fence_due:
            self._fence()

    def _handle(self, event: Event) -> None:
        match event:
            case Connected(bd_seq=bd_seq):
                _log.info("connected to the broker as %s/%s", self._config.fleet, self._config.device)
                self._bd_seq = bd_seq
                self._node.reconnecting(bd_seq)
                self._host.reconnecting()
                if not self._config.wait_for_host:
                    self._give_birth()
            case Disconnected():
                _log.warning("lost the broker; trying again, and keeping what is read")
                self._disconnected()
            case Received(topic=self._connection.state_topic):
                self._hear_host(event)
            case Received():
                self._obey(event.payload)
            case Acknowledged(request=request):
                if self._outbox.acknowledged(request):
                    self._obeyer.arrived()
                    self._plan_history()
                    self._answer()
            case Answered():
                self._answer()

    def _hear_host(self, message: Received) -> None:
        """Follow the primary host; of another one only take note that it came back, and knows nothing."""
        was_online = self._host.is_online
        state = self._host.hear(message.payload)
        if state is None or self._bd_seq is None:
            return
        if not self._config.wait_for_host:
            if state.online and not message.retained:
                self._want_birth()
        elif state.online and not (was_online and message.retained):
            self._want_birth()
        elif not state.online:
            self._rebirth_due = _NEVER
            if self._node.is_born:
                self._leave()

    def _leave(self) -> None:
        """The primary host is gone: NDEATH, disconnect, and wait for it on the next connection."""
        _log.warning("the host %s is offline; keeping what is read until it is back", self._config.host_id)
        if self._connection.close(self._bd_seq):
            self._outbox.arrived_all()
        self._disconnected()
        self._connection.start()

    def _disconnected(self) -> None:
        self._outbox.lost()
        self._obeyer.tell_again()
        if self._bd_seq is not None:
            self._node.reconnecting(self._bd_seq)
        self._bd_seq = None
        self._rebirth_due = self._history_due = self._fence_due = _NEVER

    def _obey(self, payload: bytes) -> None:
        try:
            commands = codec.decode(payload).metrics
        except ValueError as error:
            _log.warning("ignored a command: %s", error)
            return
        for command in commands:
            name = self._node.name_of(command)
            if name == metrics.REBIRTH and command.value is True:
                self._want_birth()
            elif name == metrics.REPORTING_INTERVAL:
                self._report_every(command.value)
            elif name == metrics.REQUEST:
                self._take_request(command.value)
            else:
                _log.warning("ignored the unknown command %r", name or command.alias)

    def _take_request(self, content: Value) -> None:
        try:
            self._obeyer.take(requests.decode_request(content if isinstance(content, bytes) else b""))
        except ValueError as error:
            _log.warning("ignored a request: %s", error)

    def _answer(self) -> None:
        """Tell a few parts of answers; the next follow when the broker has had these."""
        if self._bd_seq is None or not self._node.is_born or self._rebirth_due != _NEVER or self._outbox.is_waiting:
            return  # what is awaited comes here again
        for place in range(_PARTS):
            answer = self._obeyer.next_part()
            if answer is None and place == 0:
                return
            if answer is not None:
                self._connection.publish(self._bd_seq, self._node.answer(answer, int(time.time() * 1000)))
        self._fence()

    def _report_every(self, interval_s: Value) -> None:
        try:
            self._interval_s = msgspec.convert(interval_s, Interval)
        except msgspec.ValidationError as error:
            _log.warning("ignored the reporting interval %r: %s", interval_s, error)
        else:
            self._next_report = min(self._next_report, time.monotonic() + self._interval_s)
            self._want_birth()

    def _want_birth(self) -> None:
        """Give birth, but not more often than makes sense; until then no data are told."""
        if self._is_held_back:
            return
        self._rebirth_due = max(time.monotonic(), self._born_at + _REBIRTH_EVERY_S)

    @property
    def _is_held_back(self) -> bool:
        """Whether we are told to wait for the primary host."""
        return self._bd_seq is None or (self._config.wait_for_host and not self._host.is_online)

    def _give_birth(self) -> None:
        reading = self._read()
        if reading is None or self._bd_seq is None:
            self._rebirth_due = time.monotonic() + _REBIRTH_EVERY_S
            return
        self._rebirth_due = _NEVER
        self._born_at = time.monotonic()
        self._publish(reading, self._node.birth(reading, self._interval_s))
        self._fence()

    def _report(self) -> None:
        if self._rebirth_due != _NEVER:
            return  # a birth is about to tell more
        reading = self._read()  # folds dead processes' files even while nobody listens
        if reading is None:
            return
        if self._node.is_born:
            self._publish(reading, self._node.data(reading))
        else:
            self._outbox.keep(reading)

    def _publish(self, reading: Reading, messages: list[Message]) -> None:
        assert self._bd_seq is not None  # noqa: S101 (a node is born on a connection)
        self._connection.publish(self._bd_seq, messages)
        self._outbox.told(reading)
        if self._outbox.unfenced >= UNFENCED:
            self._fence()
        elif self._fence_due == _NEVER:
            self._fence_due = time.monotonic() + self._config.keep_alive_s

    def _fence(self) -> None:
        """Ask the broker whether it has had everything so far, unless it is asked already."""
        self._fence_due = _NEVER
        if self._bd_seq is None or self._outbox.is_waiting:
            return
        request = self._connection.fence()
        if request is not None:
            self._outbox.fenced(request)

    def _plan_history(self) -> None:
        if self._outbox.has_history:
            self._history_due = time.monotonic() + _HISTORY_EVERY_S

    def _tell_history(self) -> None:
        self._history_due = _NEVER
        if self._bd_seq is None or not self._node.is_born or self._rebirth_due != _NEVER or self._outbox.is_waiting:
            return  # the birth that is due asks again, and so does the answer that is awaited
        batch = self._outbox.next_batch()
        self._connection.publish(self._bd_seq, self._node.history(batch, int(time.time() * 1000)))
        self._fence()

    def _read(self) -> Reading | None:
        """Read the device; None when its disk is full or failing, which must not end the agent."""
        try:
            reading = self._reader.read()
        except OSError as error:
            _log.error("this device cannot be read, trying again in %s s: %s", self._interval_s, error)
            return None
        ours = {**self._outbox.counts, "logs_dropped": self._logs.dropped}
        return replace(reading, node={**reading.node, **ours}, logs=self._logs.take())

    def _say_goodbye(self) -> None:
        if self._node.is_born and self._bd_seq is not None:
            self._report()
        if self._connection.close(self._bd_seq):
            self._outbox.arrived_all()
        self._outbox.close()


def run(config: AgentConfig, home: Home) -> None:
    """Run the agent until SIGTERM or SIGINT. Raises EdgewardError when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    home.latency.mkdir(parents=True, exist_ok=True)
    agent = Agent(config, home)
    _give_back_memory()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stop())
    agent.run()


def _give_back_memory() -> None:
    """What starting took and left free goes back to the system: half a megabyte, for as long as the agent lives."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # a C library without malloc_trim
        ctypes.CDLL(None).malloc_trim(0)
