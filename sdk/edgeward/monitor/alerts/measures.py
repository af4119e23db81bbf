"""What the rules look at, in set-based SQL: a query or two a rule, whatever the number of devices.

A query gives only what is not good, so what it costs beyond the scan is the trouble that there is.
"""

from collections.abc import Mapping

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, case, cast, false, func, or_, select
from sqlalchemy import Float as SqlFloat
from sqlalchemy.sql.functions import coalesce

from edgeward.monitor.alerts.latencies import Latencies
from edgeward.monitor.alerts.rules import (
    P95,
    AlertConfig,
    AnyRule,
    Disk,
    Drift,
    ErrorRate,
    Offline,
    Temperature,
    Throttling,
)
from edgeward.monitor.alerts.storms import Subject
from edgeward.monitor.schema import FLEET, MINUTE, devices, latency, models

Values = Mapping[Subject, float]
_SILENCE = 1.5  # keep-alives or intervals, whichever is longer


class Look(Struct, frozen=True):
    """The fleet at one moment.

    Attributes:
        devices: Every device.
        gone: Those that are offline.
        values: By a rule's title, what is not good.
    """

    devices: frozenset[Subject]
    gone: frozenset[Subject]
    values: Mapping[str, Values]


class Measures:
    """Looks at the store for the rules; keeps what changes by the minute only, until the minute is over."""

    def __init__(self, config: AlertConfig) -> None:
        self._config = config
        self._latencies = Latencies()
        self._by_minute: dict[str, tuple[int, Values]] = {}

    def look(self, connection: Connection, now: float) -> Look:
        """Measure everything once. `now` is Unix seconds."""
        gone_now = _is_gone(now)
        rows = connection.execute(select(devices.c.fleet, devices.c.device, gone_now)).all()
        everyone = frozenset(Subject(fleet, device) for fleet, device, _ in rows)
        gone = frozenset(Subject(fleet, device) for fleet, device, is_gone in rows if is_gone)
        values = {}
        for rule in self._config.alert:
            found: Values = dict.fromkeys(gone, 1.0)
            if not isinstance(rule, Offline):
                found = self._values(connection, rule, now)
            values[rule.title] = {subject: value for subject, value in found.items() if rule.is_about(subject)}
        return Look(everyone, gone, values)

    def _values(self, connection: Connection, rule: AnyRule, now: float) -> Values:
        match rule:
            case Temperature():
                return _of_devices(connection, devices.c.temperature_c, rule.resolve)
            case Disk():
                return _of_devices(connection, devices.c.disk_used_percent, rule.resolve)
            case Throttling():
                return _of_devices(connection, devices.c.throttled, 1.0)
            case Drift():
                return _drift(connection, rule)
            case ErrorRate() | P95():
                return self._once_a_minute(connection, rule, int(now) // 60)
            case Offline():
                return {}

    def _once_a_minute(self, connection: Connection, rule: ErrorRate | P95, minute: int) -> Values:
        """Series are by the minute, so nothing is gained by looking at them more often."""
        known = self._by_minute.get(rule.title)
        if known is not None and known[0] == minute:
            return known[1]
        until = minute * 60
        if isinstance(rule, P95):
            values: Values = self._latencies.ratios(connection, rule, until)
        else:
            values = _error_rates(connection, rule, until)
        self._by_minute[rule.title] = (minute, values)
        return values


def _is_gone(now: float) -> ColumnElement[bool]:
    """The broker said that it is, or it has been silent for longer than it ever should be."""
    keep_alive, interval = coalesce(devices.c.keep_alive_s, 0.0), coalesce(devices.c.interval_s, 0.0)
    longest = case((keep_alive > interval, keep_alive), else_=interval)
    return or_(
        devices.c.online == false(), now - devices.c.last_seen > _SILENCE * case((longest > 1, longest), else_=1.0)
    )


def _of_devices(connection: Connection, column: ColumnElement[float | None], resolve: float) -> Values:
    rows = connection.execute(select(devices.c.fleet, devices.c.device, column).where(column >= resolve))
    return {Subject(fleet, device): value for fleet, device, value in rows}


def _drift(connection: Connection, rule: Drift) -> Values:
    score = models.c.drift_score
    rows = connection.execute(
        select(models.c.device_id, models.c.model, score).where(and_(models.c.installed, score >= rule.resolve))
    )
    return {subject(device_id, model): value for device_id, model, value in rows}


def _error_rates(connection: Connection, rule: ErrorRate, until: int) -> Values:
    """Over the window's whole minutes."""
    table = latency[MINUTE]
    errors, calls = func.sum(table.c.errors), func.sum(table.c.errors + table.c.predictions)
    rows = connection.execute(
        select(table.c.device_id, table.c.model, errors, calls)
        .where(table.c.start >= until - int(rule.window), table.c.start < until, table.c.device_id != FLEET)
        .group_by(table.c.device_id, table.c.model)
        .having(errors > 0, calls >= rule.at_least, errors >= cast(calls, SqlFloat) * rule.resolve)
    )
    return {subject(device_id, model): float(failed) / float(called) for device_id, model, failed, called in rows}


def subject(device_id: str, model: str) -> Subject:
    """A model on the device `fleet/device`."""
    fleet, _, device = device_id.partition("/")
    return Subject(fleet, device, model)
