"""Many devices at once: `python -m tests.benchmarks.fleet.presence [--devices 100000] [--write docs/performance.md]`.

Every device is a connection with a will. A process may have only so many open files (`ulimit -Hn`), a broker too, so
devices are spread over as many brokers and `fleet simulate` processes as that takes; the brokers are bridges to one
that the monitor is connected to, which is how Mosquitto is scaled. Then one simulator is stopped (SIGSTOP: its devices
fall silent, and their connections stay) and another killed (its connections end), and the store says when all of their
devices are offline. With `--write` the result goes into the page, between `<!-- bench-presence -->` and its end.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct
from sqlalchemy import Engine, func, select

from edgeward.monitor import child, schema
from edgeward.monitor.config import BrokerConfig, MonitorConfig, StoreConfig
from edgeward.monitor.database import open_engine
from tests.agents import broker as mosquitto
from tests.benchmarks import document, machine
from tests.benchmarks.fleet.__main__ import _port

_INTERVAL_S = 60.0
_KEEP_ALIVE_S = 2 * _INTERVAL_S  # as `fleet simulate` chooses it
_RESERVED_FILES = 1500
_PRESENT_WITHIN_S = 600.0
_INTRODUCTION = """
Many devices present at once, each a connection with a will, over as many brokers as the limit of open files asks for,
bridged to the monitor's: `python -m tests.benchmarks.fleet.presence --write docs/performance.md`.
"""


class Presence(Struct, frozen=True):
    """What was measured. Seconds; the two last until all devices of a simulator were offline in the store."""

    devices: int
    brokers: int
    present_s: float
    ingest_mb: float
    brokers_mb: float
    killed_s: float
    silent_s: float


def measure(devices: int, folder: Path) -> Presence:
    """Bring them all up, then stop and kill a part of them."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - _RESERVED_FILES
    parts = max(2, -(-devices // limit))
    share = devices // parts
    with ExitStack() as stack:
        central = _port()
        brokers = [
            stack.enter_context(mosquitto(central, folder, "allow_anonymous true", "max_queued_messages 500000"))
        ]
        ports = [_port() for _ in range(parts)]
        for number, port in enumerate(ports):
            brokers.append(stack.enter_context(mosquitto(port, folder, *_bridge(number, central))))
        engine, worker = _ingest(stack, folder, central)
        began = time.monotonic()
        simulators = [_simulate(stack, number, port, share) for number, port in enumerate(ports)]
        _until(lambda: _online(engine) >= share * parts * 0.975, _PRESENT_WITHIN_S)  # flaky ones come and go
        present = time.monotonic() - began
        time.sleep(_INTERVAL_S)  # every device reports once
        online = _online(engine)
        memory = psutil.Process(worker.pid).memory_info().rss / 1e6
        brokers_mb = sum(psutil.Process(each.pid).memory_info().rss for each in brokers) / 1e6
        killed = _until_gone(engine, simulators[0], signal.SIGKILL, "part-0", 60)
        silent = _until_gone(engine, simulators[1], signal.SIGSTOP, "part-1", 3 * _KEEP_ALIVE_S)
        return Presence(online, parts, present, memory, brokers_mb, killed, silent)


def _bridge(number: int, central: int) -> tuple[str, ...]:
    return (
        "allow_anonymous true",
        "max_queued_messages 500000",
        f"connection part-{number}",
        f"address 127.0.0.1:{central}",
        f"topic spBv1.0/part-{number}/+/# out 1",
        f"topic spBv1.0/part-{number}/NCMD/# in 1",
    )


def _ingest(stack: ExitStack, folder: Path, port: int) -> tuple[Engine, "subprocess.Popen[bytes]"]:
    url = f"sqlite:///{folder / 'presence.db'}"
    config = MonitorConfig(
        broker=BrokerConfig(embedded=False, url=f"mqtt://127.0.0.1:{port}"), store=StoreConfig(url=url)
    )
    engine = open_engine(url)
    worker = child.start("edgeward.monitor.ingest", msgspec.json.encode(config).decode())
    stack.callback(child.stop, worker)
    time.sleep(3)
    return engine, worker


def _simulate(stack: ExitStack, number: int, port: int, devices: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "edgeward", "fleet", "simulate", "--fleet", f"part-{number}", "--models", "1"]
    options = ["--devices", devices, "--rate", devices / _INTERVAL_S, "--broker", f"mqtt://127.0.0.1:{port}"]
    process = subprocess.Popen([*command, *map(str, options)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.kill)
    return process


def _until_gone(
    engine: Engine, simulator: "subprocess.Popen[bytes]", how: signal.Signals, fleet: str, within_s: float
) -> float:
    began = time.monotonic()
    os.kill(simulator.pid, how)
    _until(lambda: _online(engine, fleet) == 0, within_s)
    return time.monotonic() - began


def _online(engine: Engine, fleet: str | None = None) -> int:
    table = schema.devices
    query = select(func.count()).where(table.c.online)
    with engine.connect() as connection:
        return int(connection.execute(query if fleet is None else query.where(table.c.fleet == fleet)).scalar_one())


def _until(condition: object, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {within_s:.0f} s")
        time.sleep(0.5)


def main() -> int:
    """Measure, print, write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="rewrite the table in this page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeward-bench-") as temporary:
        Path(temporary).chmod(0o755)
        found = measure(options.devices, Path(temporary))
    rows = [
        (
            "devices online at once",
            f"{found.devices:,} over {found.brokers} brokers",
            f"≥ {0.97 * options.devices:,.0f}",
        ),
        ("until they were, from nothing", f"{found.present_s:.0f} s", "–"),
        ("memory of ingest; of all brokers", f"{found.ingest_mb:.0f} MB; {found.brokers_mb:.0f} MB", "–"),
        ("connections cut: all offline in the store after", f"{found.killed_s:.1f} s", "–"),
        (
            f"devices silent, keep-alive {_KEEP_ALIVE_S:.0f} s: all offline in the store after",
            f"{found.silent_s:.0f} s",
            f"≤ {1.5 * _KEEP_ALIVE_S:.0f} s",
        ),
    ]
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    report = f"Measured on {when}: {machine.describe()}.\n\n{document.table(('', 'measured', 'must be'), rows)}"
    print(report)
    if options.write is not None:
        document.write_part(options.write, "bench-presence", report, _INTRODUCTION)
    met = found.devices >= 0.97 * options.devices and found.silent_s <= 1.5 * _KEEP_ALIVE_S + 5
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
