"""Devices for the rollouts' tests, played in the monitor's store: they answer requests, and tell what they run.

What the agent and ingest would do is done to the tables at once, so a rollout of fifty devices takes seconds.
"""

import json
import time
from collections import defaultdict

from sqlalchemy import Engine, delete, insert, select, update

from edgeward.monitor import schema
from edgeward.monitor.database import writing
from edgeward.monitor.requests import requests
from edgeward_runtimes.latency.histogram import Histogram

OLD, NEW = "1.0.0-00000000", "1.1.0-11111111"


class Devices:
    """Devices `f/d0`, `f/d1`, … with the model `toy`."""

    def __init__(self, engine: Engine, count: int) -> None:
        self.engine = engine
        self.ids = [f"f/d{number}" for number in range(count)]
        self.latency_ms: dict[str, float] = defaultdict(lambda: 1.0)  # by release
        self.failing: dict[str, int] = defaultdict(int)  # errors in a hundred calls, by release
        self.refusal: str | None = None  # what installs are answered with
        self._counted: dict[tuple[str, str], tuple[int, Histogram]] = {}
        with writing(engine) as connection:
            now = time.time()
            fixed = {"fleet": "f", "online": True, "last_seen": now + 3600, "born_at": now - 60}
            rows = [{"id": each, "device": each.removeprefix("f/"), **fixed} for each in self.ids]
            connection.execute(insert(schema.devices), rows)
            models = [{"device_id": each, "model": "toy", "installed": True, "release": OLD} for each in self.ids]
            connection.execute(insert(schema.models), models)
        self.predict()

    @property
    def releases(self) -> dict[str, str | None]:
        """What every device runs."""
        with self.engine.connect() as connection:
            rows = connection.execute(select(schema.models.c.device_id, schema.models.c.release))
            return dict(rows.tuples().all())

    def asked(self) -> list[tuple[str, str, str]]:
        """(device, command, id) of all requests, the first first."""
        with self.engine.connect() as connection:
            query = select(requests).order_by(requests.c.asked_at)
            return [(row.device_id, row.command, row.id) for row in connection.execute(query)]

    def set_online(self, device_id: str, online: bool) -> None:
        """A device goes or comes."""
        with writing(self.engine) as connection:
            connection.execute(update(schema.devices).where(schema.devices.c.id == device_id).values(online=online))

    def replace(self, device_id: str) -> None:
        """A new device in the place of an old one, with no model."""
        with writing(self.engine) as connection:
            connection.execute(delete(schema.models).where(schema.models.c.device_id == device_id))

    def predict(self, calls: int = 300) -> None:
        """Every device makes predictions, and the monitor hears of them."""
        with writing(self.engine) as connection:
            for device_id, release in self.releases.items():
                if release is None:
                    continue
                key = (device_id, release)
                errors, histogram = self._counted.get(key, (0, Histogram()))
                failed = calls * self.failing[release] // 100
                latencies = [int(self.latency_ms[release] * 1e6)] * (calls - failed)
                errors, histogram = errors + failed, histogram.merge(Histogram.of(latencies))
                self._counted[key] = (errors, histogram)
                table = schema.counters
                where = (table.c.device_id == device_id, table.c.model == "toy", table.c.release == release)
                connection.execute(delete(table).where(*where))
                row = {"device_id": device_id, "model": "toy", "release": release, "epoch": "e"}
                counted = {"predictions": histogram.count, "errors": errors, "histogram": histogram.encode()}
                connection.execute(insert(table).values(**row, **counted))

    def obey(self) -> None:
        """Every device that is online does what it is asked for, and answers."""
        with writing(self.engine) as connection:
            online = set(connection.execute(select(schema.devices.c.id).where(schema.devices.c.online)).scalars())
            query = select(requests).where(requests.c.answered_at.is_(None)).order_by(requests.c.asked_at)
            for row in connection.execute(query).all():
                if row.device_id not in online:
                    continue
                ok, message = True, ""
                arguments = row.arguments if isinstance(row.arguments, dict) else json.loads(row.arguments)
                if row.command == "install" and self.refusal is not None:
                    ok, message = False, self.refusal
                else:
                    release = NEW if row.command == "install" else arguments["to"]
                    if row.command == "install" and arguments["version"] == "1.0.0":
                        release = OLD
                    key = (schema.models.c.device_id == row.device_id, schema.models.c.model == "toy")
                    connection.execute(delete(schema.models).where(*key))
                    model = {"device_id": row.device_id, "model": "toy", "installed": True, "release": release}
                    connection.execute(insert(schema.models).values(model))
                answer = {"answered_at": time.time(), "ok": ok, "message": message}
                connection.execute(update(requests).where(requests.c.id == row.id).values(answer))
