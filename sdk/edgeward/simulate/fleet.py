"""All simulated devices: they connect, report in turn, fall silent and come back, and say goodbye in the end.

Reports are spread evenly over the interval, so the load is level. A device that is told to keep quiet by a full
connection skips its turn; nothing is lost, since totals are cumulative.
"""

import asyncio
import random
import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from edgeward.simulate import boards
from edgeward.simulate.device import Nature, SimulatedDevice
from edgeward.simulate.limits import allow_connections
from edgeward.simulate.link import Link
from edgeward_runtimes.agent.config import BrokerAddress, broker_address
from edgeward_runtimes.sparkplug.session import EdgeNode, Message

_AT_A_TIME = 100  # connections being made
_TELL_EVERY_S = 1.0
_REBIRTH_EVERY_S = 1.0
_AWAY_S = (20.0, 120.0)
_AGAIN_S = (1.0, 5.0)
_A_SOURCE_ADDRESS = 20_000  # connections from one address of ours to the broker's: there are 28,000 ports
_CATCH_UP = 20  # reports in a row before others have their turn


class Plan(Struct, frozen=True, kw_only=True):
    """What to simulate.

    Attributes:
        devices: How many.
        rate: Reports a second, of all devices together; a report is a message for the device and one for each model.
        broker: `mqtt://[user:password@]host[:port]`.
        models: How many models each device has.
        release: What most devices run; one in five still runs `previous`.
        predictions: Predictions a second of a model on an average device.
        error_rate: Which share of predictions fails on a healthy device.
        seconds: For how long; None until stopped.
    """

    devices: int
    rate: float
    broker: str = "mqtt://127.0.0.1:1883"
    fleet: str = "simulated"
    models: int = 2
    release: str = "1.4.0-5b1f0c2e"
    previous: str = "1.3.2-9ad4e771"
    predictions: float = 1.0
    error_rate: float = 0.002
    seed: int = 0
    seconds: float | None = None


class Progress(Struct, frozen=True):
    """How far it is. Predictions and errors are what the devices made, whether told yet or not."""

    devices: int
    online: int
    reports: int
    messages: int
    births: int
    skipped: int
    predictions: int
    errors: int
    seconds: float
    refusal: str | None = None


class _Unit:
    """One device with its session and its connection."""

    def __init__(self, fleet: "Fleet", index: int, device: SimulatedDevice, name: str) -> None:
        self._fleet, self._device, self._name = fleet, device, name
        self._chance = random.Random(index)  # noqa: S311 (a simulation)
        self._bd_seq = self._chance.randrange(256)
        self._node = EdgeNode(fleet.plan.fleet, name, self._bd_seq)
        self._source = fleet.source_address(index)
        self._link: Link | None = None
        self._born_at = float("-inf")
        self._rebirth: asyncio.TimerHandle | None = None

    @property
    def is_online(self) -> bool:
        return self._node.is_born

    @property
    def device(self) -> SimulatedDevice:
        return self._device

    async def connect(self) -> None:
        """Try once, and later again if that fails."""
        self._bd_seq = (self._bd_seq + 1) % 256
        self._node.reconnecting(self._bd_seq)
        broker = self._fleet.broker
        will = self._node.death(int(time.time() * 1000))
        client_id = f"edgeward-{self._fleet.plan.fleet}-{self._name}"
        link = Link(self._node, client_id, broker, will, self._fleet.keep_alive_s, self._birth, self._asked, self._lost)
        self._link = link
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: link, broker.host, broker.port, local_addr=self._source
            )
        except OSError as error:
            self._fleet.refused(f"{broker.shown} cannot be reached: {error.strerror or error}")
            self._fleet.later(self._chance.uniform(*_AGAIN_S), self)

    def report(self) -> None:
        """Its turn has come."""
        if not self._node.is_born or self._link is None:
            return
        if self._link.is_full:
            self._fleet.skipped += 1
            return
        self._say(self._node.data(self._device.read(time.time())))
        self._fleet.reports += 1
        if self._device.nature.fault.away and self._chance.random() < self._device.nature.fault.away:
            self._link.drop()

    def leave(self) -> None:
        """Tell the last, and go."""
        if self._link is not None and self._node.is_born:
            self._say(self._node.data(self._device.read(time.time())))
            self._link.leave(self._node.death(int(time.time() * 1000)))

    def _birth(self) -> None:
        self._rebirth, self._born_at = None, time.monotonic()
        self._fleet.births += 1
        self._say(self._node.birth(self._device.read(time.time()), self._fleet.interval_s))

    def _asked(self) -> None:
        """A host wants a rebirth; at most one a second."""
        wait = self._born_at + _REBIRTH_EVERY_S - time.monotonic()
        if self._rebirth is None and self._node.is_born:
            self._rebirth = asyncio.get_running_loop().call_later(max(0.0, wait), self._birth)

    def _lost(self) -> None:
        was_born = self._node.is_born
        if self._link is not None and self._link.refusal is not None:
            self._fleet.refused(self._link.refusal)
        self._link = None
        self._node.reconnecting(self._bd_seq)
        if self._rebirth is not None:
            self._rebirth.cancel()
            self._rebirth = None
        away = was_born and self._device.nature.fault.away
        self._fleet.later(self._chance.uniform(*(_AWAY_S if away else _AGAIN_S)), self)

    def _say(self, messages: list[Message]) -> None:
        if self._link is not None:
            self._link.publish(messages)
            self._fleet.messages += len(messages)


class Fleet:
    """The whole fleet, on one event loop."""

    def __init__(self, plan: Plan) -> None:
        """Make all devices. Raises ConfigError for a broker's URL that is none, or too many devices for this system."""
        allow_connections(plan.devices)
        self.plan = plan
        self.broker: BrokerAddress = broker_address(plan.broker)
        self.interval_s = min(86_400.0, max(0.1, plan.devices / plan.rate))
        self.keep_alive_s = int(min(65_535, max(30, 2 * self.interval_s)))  # what is reported keeps it alive
        self.reports = self.messages = self.births = self.skipped = 0
        self._stopping = asyncio.Event()
        self._started_at = time.monotonic()
        self._refusal: str | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._units = self._make_units()

    def stop(self) -> None:
        """Ask it to end; of the event loop's thread."""
        self._stopping.set()

    async def run(self, tell: Callable[[Progress], None]) -> Progress:
        """Simulate until the plan's time is over or it is stopped; `tell` is called once a second."""
        telling = asyncio.create_task(self._tell(tell))
        work = [asyncio.create_task(self._connect_all()), asyncio.create_task(self._report_in_turn())]
        try:
            await asyncio.wait_for(self._stopping.wait(), self.plan.seconds)
        except asyncio.TimeoutError:
            self._stopping.set()
        for task in (telling, *work, *self._tasks):
            task.cancel()
        online = self.progress().online
        for unit in self._units:
            unit.leave()
        await asyncio.sleep(0.2)  # what was written leaves with the event loop
        return replace(self.progress(), online=online)

    def progress(self) -> Progress:
        """How far it is now."""
        return Progress(
            devices=len(self._units),
            online=sum(unit.is_online for unit in self._units),
            reports=self.reports,
            messages=self.messages,
            births=self.births,
            skipped=self.skipped,
            predictions=sum(unit.device.predictions for unit in self._units),
            errors=sum(unit.device.errors for unit in self._units),
            seconds=time.monotonic() - self._started_at,
            refusal=self._refusal,
        )

    def source_address(self, index: int) -> tuple[str, int] | None:
        """Where a device calls from: a machine has many addresses towards itself, and one has ports for 28,000."""
        if not self.broker.host.startswith("127.") or len(str(self.plan.devices)) < 5:
            return None
        return f"127.0.1.{1 + index // _A_SOURCE_ADDRESS}", 0

    def refused(self, reason: str) -> None:
        """Keep why a device could not connect, to be told."""
        self._refusal = reason

    def later(self, wait_s: float, unit: _Unit) -> None:
        """Let a device connect again after a while."""
        if not self._stopping.is_set():
            task = asyncio.create_task(self._connect_later(wait_s, unit))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect_later(self, wait_s: float, unit: _Unit) -> None:
        await asyncio.sleep(wait_s)
        await unit.connect()

    async def _connect_all(self) -> None:
        for start in range(0, len(self._units), _AT_A_TIME):
            await asyncio.gather(*(unit.connect() for unit in self._units[start : start + _AT_A_TIME]))

    async def _report_in_turn(self) -> None:
        gap_s = self.interval_s / len(self._units)
        due, behind = time.monotonic(), 0
        while True:
            for unit in self._units:
                due = max(due + gap_s, time.monotonic() - self.interval_s)  # what was missed is not made up for
                wait_s = due - time.monotonic()
                behind = 0 if wait_s > 0 else behind + 1
                if wait_s > 0 or behind % _CATCH_UP == 0:
                    await asyncio.sleep(max(0.0, wait_s))
                unit.report()

    async def _tell(self, tell: Callable[[Progress], None]) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            tell(self.progress())

    def _make_units(self) -> list[_Unit]:
        plan, models, now = self.plan, boards.models(self.plan.models), time.time()
        width = len(str(plan.devices))
        units = []
        for index in range(plan.devices):
            chance = random.Random(f"{plan.seed}/{index}")  # noqa: S311 (a simulation)
            board, fault = boards.board_of(chance), boards.fault_of(chance)
            release = plan.previous if chance.random() < 0.2 else plan.release
            nature = Nature(board, fault, models, release, plan.predictions, plan.error_rate, float(self.keep_alive_s))
            device = SimulatedDevice(nature, chance, f"{int(now):x}", now)
            units.append(_Unit(self, index, device, f"{board.target}-{index + 1:0{width}}"))
        return units
