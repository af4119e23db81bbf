"""Devices: one, a page of those that are wanted, all of them at a glance."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Engine, Float, Row, Select, case, cast, func, or_, select

from edgeward.monitor import schema
from edgeward.monitor.alerts.tables import alerts
from edgeward.monitor.queries import conditions
from edgeward.monitor.queries.conditions import Firing
from edgeward.monitor.queries.counting import Total, halves, quantiles, totals, whole
from edgeward.monitor.queries.shapes import CONDITIONS, Condition, Device, ModelOnDevice, Overview
from edgeward_runtimes.latency.histogram import Histogram

Sort = Literal["id", "worst", "predictions", "errors", "temperature", "seen"]
SORTS: tuple[Sort, ...] = get_args(Sort)

_DERIVED = ("online", "condition", "reasons", "models")
_SHOWN = [schema.devices.c[field.name] for field in fields(Device) if field.name not in _DERIVED]
_ON_MODEL = ("release", "variant", "engine", "runs_on", "warning")
_FEW = 1000
_NOTHING = Total(0, 0, Histogram())
_OBSERVED = ("drift_score", "mean_confidence", "accuracy", "feedback_count")


@dataclass(frozen=True)
class Wanted:
    """Which devices, in which order. `words` must all be found, each in a device's id, target, condition or models."""

    words: str = ""
    online: bool | None = None
    condition: Condition | None = None
    target: str | None = None
    model: str | None = None
    sort: Sort = "id"
    limit: int | None = None
    offset: int = 0


def devices(engine: Engine, wanted: Wanted = Wanted()) -> list[Device]:
    """A page of devices; without a limit, all. Ties are in the order of ids, so pages never overlap."""
    now = time.time()
    query = _of(now).where(*_where(wanted, now)).order_by(*_order(wanted.sort, now), schema.devices.c.id)
    with engine.connect() as connection:
        return _devices(connection, connection.execute(query.limit(wanted.limit).offset(wanted.offset)).all())


def count(engine: Engine, wanted: Wanted) -> int:
    """How many devices there are on all pages."""
    query = select(func.count()).select_from(schema.devices).where(*_where(wanted, time.time()))
    with engine.connect() as connection:
        return connection.execute(query).scalar_one()


def device(engine: Engine, device_id: str) -> Device | None:
    """One device, or None."""
    with engine.connect() as connection:
        rows = connection.execute(_of(time.time()).where(schema.devices.c.id == device_id)).all()
        return next(iter(_devices(connection, rows)), None)


def overview(engine: Engine) -> Overview:
    """The fleet at a glance."""
    columns, models, counters = schema.devices.c, schema.models.c, schema.counters.c
    firing = select(func.count()).select_from(alerts).where(alerts.c.state == "firing")
    sums = select(*halves(counters.predictions, "predictions"), *halves(counters.errors, "errors"))
    with engine.connect() as connection:
        cells = connection.execute(select(conditions.condition(time.time())).order_by(columns.id)).scalars().all()
        total = connection.execute(sums).one()
        alerts_firing = connection.execute(firing).scalar_one()
        names = connection.execute(select(models.model).distinct().order_by(models.model)).scalars().all()
        targets = select(columns.target).where(columns.target.is_not(None)).distinct().order_by(columns.target)
        found = connection.execute(targets).scalars().all()
    by_condition = {name: cells.count(place) for place, name in enumerate(CONDITIONS)}
    return Overview(
        devices=len(cells),
        online=len(cells) - by_condition["offline"],
        conditions=by_condition,
        map="".join(map(str, cells)),
        predictions=whole(total, "predictions"),
        errors=whole(total, "errors"),
        alerts_firing=alerts_firing,
        models=list(names),
        targets=list(found),
    )


def _of(now: float) -> Select[Any]:
    return select(*_SHOWN, conditions.online(now).label("is_online"), conditions.condition(now).label("place"))


def _where(wanted: Wanted, now: float) -> list[ColumnElement[bool]]:
    columns, models = schema.devices.c, schema.models.c
    where = [_has_word(word, now) for word in wanted.words.split()]
    if wanted.online is not None:
        where.append(conditions.online(now) if wanted.online else ~conditions.online(now))
    if wanted.condition is not None:
        where.append(conditions.condition(now) == CONDITIONS.index(wanted.condition))
    if wanted.target is not None:
        where.append(columns.target == wanted.target)
    if wanted.model is not None:
        where.append(columns.id.in_(select(models.device_id).where(models.model == wanted.model)))
    return where


def _has_word(word: str, now: float) -> ColumnElement[bool]:
    columns, models = schema.devices.c, schema.models.c
    if word.lower() in ("online", "offline"):
        return conditions.online(now) if word.lower() == "online" else ~conditions.online(now)
    if word.lower() in CONDITIONS:
        return conditions.condition(now) == CONDITIONS.index(word.lower())
    on_model = (models[name].icontains(word, autoescape=True) for name in ("model", "release", "variant"))
    return or_(
        columns.id.icontains(word, autoescape=True),
        columns.target.icontains(word, autoescape=True),
        columns.id.in_(select(models.device_id).where(or_(*on_model))),
    )


def _order(sort: Sort, now: float) -> list[ColumnElement[Any]]:
    columns = schema.devices.c
    match sort:
        case "worst":
            return [conditions.condition(now).desc()]
        case "temperature":  # what has none comes last, in whichever database
            return [case((columns.temperature_c.is_(None), 1), else_=0), columns.temperature_c.desc()]
        case "seen":
            return [columns.last_seen.desc()]
        case "predictions" | "errors":
            counted = schema.counters.c
            total = select(func.sum(cast(counted[sort], Float))).where(counted.device_id == columns.id)
            return [func.coalesce(total.scalar_subquery(), 0.0).desc()]
        case _:
            return []


def _devices(connection: Connection, rows: Sequence[Row[Any]]) -> list[Device]:
    """Those rows with their models and what fires; asked for as a whole, or by id where they are few."""
    ids = [row.id for row in rows]
    models = _models(connection, ids)
    firing: dict[str, list[Firing]] = {}
    about = conditions.device_of_alert()
    alerting = (
        select(about.label("device_id"), alerts.c.rule, alerts.c.kind).where(alerts.c.state == "firing").distinct()
    )
    for row in connection.execute(_among(alerting, about, ids).order_by(alerts.c.rule)):
        firing.setdefault(row.device_id, []).append(Firing(row.rule, row.kind))
    return [_device(row, models.get(row.id, []), firing.get(row.id, ())) for row in rows]


def _models(connection: Connection, ids: Sequence[str]) -> dict[str, list[ModelOnDevice]]:
    models = schema.models.c
    counted = _counted(connection, ids)
    found: dict[str, list[ModelOnDevice]] = {}
    for row in connection.execute(_among(select(schema.models), models.device_id, ids).order_by(models.model)):
        total = counted.get((row.device_id, row.model), _NOTHING)
        p50, p95, p99 = quantiles(total.histogram)
        found.setdefault(row.device_id, []).append(
            ModelOnDevice(
                name=row.model,
                installed=row.installed,
                **{name: row._mapping[name] for name in (*_ON_MODEL, *_OBSERVED)},
                predictions=total.predictions,
                errors=total.errors,
                p50_ms=p50,
                p95_ms=p95,
                p99_ms=p99,
            )
        )
    return found


def _counted(connection: Connection, ids: Sequence[str]) -> dict[tuple[str, str], Total]:
    """What every model on those devices counted, over its releases and epochs."""
    rows = connection.execute(_among(select(schema.counters), schema.counters.c.device_id, ids)).all()
    return dict(totals(rows, lambda row: (row.device_id, row.model)))


def _device(row: Row[Any], models: list[ModelOnDevice], firing: Iterable[Firing]) -> Device:
    shown = {column.name: row._mapping[column.name] for column in _SHOWN}
    return Device(
        **shown,
        online=bool(row.is_online),
        condition=CONDITIONS[row.place],
        reasons=conditions.reasons(row, models, firing),
        models=models,
    )


def _among(query: Select[Any], column: ColumnElement[str], ids: Sequence[str]) -> Select[Any]:
    """Restricted to those ids, unless they are so many that all rows are read faster."""
    return query.where(column.in_(ids)) if len(ids) <= _FEW else query
