"""Models over the whole fleet."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Row, and_, case, func, select

from edgeward.monitor import schema
from edgeward.monitor.queries.counting import Total, bins, quantiles, totals
from edgeward.monitor.queries.shapes import Bin, FleetModel, GroupTotals, ModelSummary, Observed, ReleaseTotals
from edgeward_runtimes.latency.histogram import Histogram

_MOST_DRIFTING = 10
_NOTHING = Total(0, 0, Histogram())


class _Kind(NamedTuple):
    """What rows of counters are told apart by; the variant is known for the release that runs now alone."""

    release: str
    target: str
    variant: str


def models(engine: Engine) -> list[ModelSummary]:
    """Every model, in the order of names."""
    table, counters = schema.models.c, schema.counters
    held = select(
        table.model,
        func.sum(case((table.installed, 1), else_=0)).label("installed_on"),
        func.max(case((table.installed, table.drift_score))).label("drift"),
    ).group_by(table.model)
    with engine.connect() as connection:
        rows = connection.execute(held.order_by(table.model)).all()
        counted = connection.execute(select(counters)).all()
    found = totals(counted, lambda row: row.model)
    releases: dict[str, set[str]] = {}
    for row in counted:
        releases.setdefault(row.model, set()).add(row.release)
    return [_summary(row, found.get(row.model, _NOTHING), len(releases.get(row.model, ()))) for row in rows]


def fleet_model(engine: Engine, name: str) -> FleetModel | None:
    """One model over the fleet, or None when no device has reported it."""
    table = schema.models
    with engine.connect() as connection:
        held = select(table).where(table.c.model == name).order_by(table.c.device_id)
        holders = connection.execute(held).all()
        if not holders:
            return None
        rows = _rows(connection, name)
    found = totals(rows, lambda row: _Kind(row.release, row.target, row.variant))
    devices: dict[str, set[str]] = {}
    for row in rows:
        for key in (f"release {row.release}", f"target {row.target}", f"variant {row.variant}"):
            devices.setdefault(key, set()).add(row.device_id)

    def by(part: str, make: Callable[..., Any]) -> list[Any]:
        names = sorted({getattr(kind, part) for kind in found})
        parts = {each: _sum(total for kind, total in found.items() if getattr(kind, part) == each) for each in names}
        return [make(each, len(devices[f"{part} {each}"]), *_figures(total)) for each, total in parts.items()]

    installed = [row for row in holders if row.installed]
    return FleetModel(
        name,
        [row.device_id for row in holders],
        len(installed),
        *_figures(_sum(found.values())),
        worst_drift=max((row.drift_score for row in installed if row.drift_score is not None), default=None),
        releases=by("release", ReleaseTotals),
        by_target=by("target", GroupTotals),
        by_variant=by("variant", GroupTotals),
        drift=_most_drifting(installed),
    )


def model_bins(engine: Engine, name: str, device_id: str | None = None) -> list[Bin]:
    """How many predictions took how long, over the fleet or on one device."""
    counters = schema.counters
    query = select(counters).where(counters.c.model == name)
    if device_id is not None:
        query = query.where(counters.c.device_id == device_id)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    return bins(_sum(totals(rows, lambda row: row.model).values()).histogram)


def device_releases(engine: Engine, device_id: str, name: str) -> list[ReleaseTotals]:
    """What each release of a model counted on one device, in the order of the releases."""
    counters = schema.counters
    query = select(counters).where(counters.c.model == name, counters.c.device_id == device_id)
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    found = totals(rows, lambda row: row.release)
    return [ReleaseTotals(release, 1, *_figures(total)) for release, total in sorted(found.items())]


def release_totals(engine: Engine) -> dict[tuple[str, str], Total]:
    """What was counted by (model, release) over the fleet, in their order."""
    with engine.connect() as connection:
        rows = connection.execute(select(schema.counters)).all()
    return dict(sorted(totals(rows, lambda row: (row.model, row.release)).items()))


def model_totals(engine: Engine) -> list[tuple[str, str, int, int, Histogram]]:
    """(device id, model, predictions, errors, histogram) of every model on every device, in their order."""
    with engine.connect() as connection:
        rows = connection.execute(select(schema.counters)).all()
    found = totals(rows, lambda row: (row.device_id, row.model))
    return [(*key, *total) for key, total in sorted(found.items())]


def _rows(connection: Connection, name: str) -> "list[Row[Any]]":
    """A model's counters, with the device's target and the variant that runs where the release is the current one."""
    counters, models, devices = schema.counters, schema.models, schema.devices
    running = and_(
        models.c.device_id == counters.c.device_id,
        models.c.model == counters.c.model,
        models.c.release == counters.c.release,
    )
    query = (
        select(
            counters,
            func.coalesce(devices.c.target, "unknown").label("target"),
            func.coalesce(models.c.variant, "of earlier releases").label("variant"),
        )
        .outerjoin(devices, devices.c.id == counters.c.device_id)
        .outerjoin(models, running)
    )
    return list(connection.execute(query.where(counters.c.model == name)))


def _sum(those: Iterable[Total]) -> Total:
    total = _NOTHING
    for each in those:
        total = total.plus(each)
    return total


def _figures(total: Total) -> tuple[int, int, float | None, float | None, float | None]:
    return (total.predictions, total.errors, *quantiles(total.histogram))


def _summary(row: Any, total: Total, releases: int) -> ModelSummary:
    return ModelSummary(row.model, row.installed_on, releases, *_figures(total), worst_drift=row.drift)


def _most_drifting(installed: list[Row[Any]]) -> list[Observed]:
    scored = [row for row in installed if row.drift_score is not None]
    worst = sorted(scored, key=lambda row: (-row.drift_score, row.device_id))[:_MOST_DRIFTING]
    return [
        Observed(row.device_id, row.release, row.drift_score, row.mean_confidence, row.accuracy, row.feedback_count)
        for row in worst
    ]
