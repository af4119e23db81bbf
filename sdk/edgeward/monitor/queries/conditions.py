"""How a device is: ok, warning, bad or offline, as an SQL expression, so that thousands are judged and sorted at once.

The limits are for looking at a fleet. Who wants to be told makes alert rules; what fires counts here, too.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, RowMapping, Select, and_, case, func, not_, or_, select

from edgeward.monitor import schema
from edgeward.monitor.alerts.tables import alerts
from edgeward.monitor.queries.shapes import CONDITIONS, ModelOnDevice

_LARGE_DRIFT = 0.25  # a population stability index above it is called a large change (Siddiqi, Credit Risk Scorecards)
_OFFLINE = CONDITIONS.index("offline")


class _Limit(NamedTuple):
    warning: float
    bad: float
    words: str


class Firing(NamedTuple):
    """An alert that fires about a device."""

    rule: str
    kind: str


_LIMITS = {
    "temperature_c": _Limit(80, 90, "{:.0f} °C"),
    "gpu_temperature_c": _Limit(85, 95, "GPU {:.0f} °C"),
    "disk_used_percent": _Limit(90, 97, "disk {:.0f} % full"),
    "memory_used_percent": _Limit(90, 97, "memory {:.0f} % used"),
    "throttled": _Limit(1, float("inf"), "throttled"),
}
_READING_OF = {"temperature": "temperature_c", "disk": "disk_used_percent", "throttling": "throttled"}


def online(now: float) -> ColumnElement[bool]:
    """Whether a device is there: nobody said that it is gone, and it has not been silent for too long."""
    columns = schema.devices.c
    keep_alive, interval = func.coalesce(columns.keep_alive_s, 0.0), func.coalesce(columns.interval_s, 0.0)
    longest = case((keep_alive > interval, keep_alive), else_=interval)
    silence_s = 1.5 * case((longest > 1.0, longest), else_=1.0)
    return and_(columns.online, now - columns.last_seen <= silence_s)


def condition(now: float) -> ColumnElement[int]:
    """The place of a device's condition in CONDITIONS."""
    columns, models = schema.devices.c, schema.models.c
    warned = select(models.device_id).where(
        models.installed, or_(models.drift_score >= _LARGE_DRIFT, models.warning.is_not(None))
    )
    bad = [columns[name] >= limit.bad for name, limit in _LIMITS.items() if limit.bad != float("inf")]
    warning = [columns[name] >= limit.warning for name, limit in _LIMITS.items()]
    return case(
        (not_(online(now)), _OFFLINE),
        (or_(*bad, columns.id.in_(_firing(alerts.c.severity == "critical"))), CONDITIONS.index("bad")),
        (or_(*warning, columns.id.in_(warned), columns.id.in_(_firing())), CONDITIONS.index("warning")),
        else_=CONDITIONS.index("ok"),
    )


def reasons(row: Row[Any], models: Iterable[ModelOnDevice], firing: Iterable[Firing]) -> list[str]:
    """In words, why a device's condition is what it is; an alert about what is said already is not said again."""
    values = row._mapping
    found = ["offline"] if not values["is_online"] else []
    found += [limit.words.format(values[name]) for name, limit in _LIMITS.items() if _is_over(name, values)]
    installed = [model for model in models if model.installed]
    drifts = [f"{each.name} drifts ({each.drift_score:.2f})" for each in installed if _is_drifting(each)]
    warnings = [f"{each.name}: {each.warning}" for each in installed if each.warning is not None]
    said = {kind for kind, name in _READING_OF.items() if _is_over(name, values)} | ({"drift"} if drifts else set())
    alerted = [
        f"alert {rule}" for rule, kind in firing if kind not in said and (kind != "offline" or values["is_online"])
    ]
    return [*found, *drifts, *warnings, *alerted]


def _is_drifting(model: ModelOnDevice) -> bool:
    return model.drift_score is not None and model.drift_score >= _LARGE_DRIFT


def _is_over(name: str, values: RowMapping) -> bool:
    return values[name] is not None and bool(values[name] >= _LIMITS[name].warning)


def device_of_alert() -> ColumnElement[str]:
    """The id of the device that an alert is about."""
    return alerts.c.fleet.concat("/").concat(alerts.c.device)


def _firing(*those: ColumnElement[bool]) -> Select[Any]:
    return select(device_of_alert()).where(alerts.c.state == "firing", alerts.c.device != "", *those)
