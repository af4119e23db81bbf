"""The processes of one measurement: a real Mosquitto, the generator, an ingest process; and what each of them used."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct
from sqlalchemy import func, select

from edgeward.monitor import child, schema
from edgeward.monitor.config import BrokerConfig, MonitorConfig, StoreConfig
from edgeward.monitor.database import open_engine
from tests.agents import broker as mosquitto

DEVICES, MODELS = 10_000, 2
_SETTLES_WITHIN_S = 30.0


class Taken(Struct, frozen=True):
    """What an ingest process did with a load.

    Attributes:
        sent: Messages; `seconds` is how long sending them took.
        told: Predictions that they told, of which `shown` are in the store in the end.
        behind_s: How long after the last message the store said so.
        memory_mb: Of ingest, ten seconds after the load began, and at most after that.
        cores: What ingest, broker and generator used of a core on average.
    """

    sent: int
    seconds: float
    told: int
    shown: int
    behind_s: float
    memory_mb: tuple[float, float]
    cores: dict[str, float]

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.sent / self.seconds

    @property
    def is_whole(self) -> bool:
        """Nothing was lost, and nothing piled up."""
        return self.shown == self.told and self.behind_s < 5.0


class Generator:
    """The generator's process."""

    def __init__(self, port: int, rate: float, seconds: float) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.fleet.generator"]
        arguments = map(str, (port, DEVICES, MODELS, rate, seconds))
        self.process = subprocess.Popen(
            [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ready(self) -> None:
        """Wait until all devices are born."""
        assert self._line() == "ready"

    def go(self) -> None:
        """Send."""
        self._say()

    def done(self) -> dict[str, float]:
        """Wait for the end; what it sent."""
        return json.loads(self._line())

    def close(self) -> None:
        """Let it go."""
        self._say()
        self.process.wait()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _say(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def broker(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Mosquitto; its queue towards a subscriber may be long enough for the time of a transaction."""
    lines = ("allow_anonymous true", "max_queued_messages 200000", "max_inflight_messages 0")
    with mosquitto(port, folder, *lines) as process:
        yield process


def bare(folder: Path, port: int, seconds: float) -> float:
    """Messages a second that paho takes with an empty callback, of more than it can take."""
    command = [sys.executable, "-m", "tests.benchmarks.fleet.bare", str(port), str(seconds)]
    with broker(folder, port):
        generator = Generator(port, 0, seconds + 4)
        generator.ready()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as subscriber:
            assert subscriber.stdin is not None
            assert subscriber.stdout is not None
            assert subscriber.stdout.readline() == "ready\n"
            generator.go()
            subscriber.stdin.write("\n")
            subscriber.stdin.flush()
            taken = float(subscriber.stdout.readline())
        generator.done()
        generator.close()
    return taken


def ingest(folder: Path, port: int, rate: float, seconds: float) -> Taken:
    """Load an ingest process on a new SQLite store; births come before what is measured."""
    store = folder / f"monitor-{port}.db"
    config = MonitorConfig(
        broker=BrokerConfig(embedded=False, url=f"mqtt://127.0.0.1:{port}"),
        store=StoreConfig(url=f"sqlite:///{store}"),
    )
    engine = open_engine(config.store.url)

    def shown(column: str = "predictions") -> int:
        with engine.connect() as connection:
            return int(connection.execute(select(func.sum(schema.counters.c[column]))).scalar() or 0)

    def known() -> int:
        with engine.connect() as connection:
            return int(connection.execute(select(func.count()).select_from(schema.counters)).scalar_one())

    with broker(folder, port) as broker_process:
        worker = child.start("edgeward.monitor.ingest", msgspec.json.encode(config).decode())
        try:
            time.sleep(3)  # it subscribes
            generator = Generator(port, rate, seconds)
            generator.ready()
            _until(lambda: known() == DEVICES * MODELS)
            processes = {"ingest": worker.pid, "broker": broker_process.pid, "generator": generator.process.pid}
            used = _Used(processes)
            generator.go()
            time.sleep(10)
            early = used.memory_mb("ingest")
            sent = generator.done()
            ended = time.monotonic()
            cores = used.cores()
            late = used.memory_mb("ingest")
            _until(lambda: shown() == sent["predictions"])
            behind = time.monotonic() - ended
            found = shown()
            generator.close()
        finally:
            child.stop(worker)
            engine.dispose()
    return Taken(
        int(sent["sent"]), sent["seconds"], int(sent["predictions"]), found, behind, (early, max(early, late)), cores
    )


def _until(condition: object) -> None:
    deadline = time.monotonic() + _SETTLES_WITHIN_S
    while not condition() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.1)


class _Used:
    """Processor time and memory of some processes since this was made."""

    def __init__(self, processes: dict[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}
        self._began = time.monotonic()
        self._before = {name: self._seconds(name) for name in processes}

    def cores(self) -> dict[str, float]:
        passed = time.monotonic() - self._began
        return {name: (self._seconds(name) - self._before[name]) / passed for name in self._processes}

    def memory_mb(self, name: str) -> float:
        return self._processes[name].memory_info().rss / 1e6

    def _seconds(self, name: str) -> float:
        times = self._processes[name].cpu_times()
        return float(times.user + times.system)
