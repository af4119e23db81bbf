"""Models over the whole fleet."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy import Engine

from edgeward.monitor import history, queries
from edgeward.monitor.api.problems import responses
from edgeward.monitor.api.remembered import Remembered
from edgeward.monitor.api.windows import WindowQuery
from edgeward.monitor.history import LatencyPoint, ReadingsPoint
from edgeward.monitor.queries.shapes import Bin, FleetModel, ModelSummary

_FOR_S = 1.0  # of ten thousand devices' counters, one answer is a quarter of a second's work


def router(engine: Engine) -> APIRouter:
    """Their routes."""
    routes = APIRouter(prefix="/api/models", tags=["models"])
    lists: Remembered[list[ModelSummary]] = Remembered(_FOR_S)
    found: Remembered[FleetModel | None] = Remembered(_FOR_S)
    histograms: Remembered[list[Bin]] = Remembered(_FOR_S)

    @routes.get("", summary="Every model")
    def models() -> list[ModelSummary]:
        return lists.get("all", lambda: queries.models(engine))

    @routes.get("/{name}", summary="One model over the whole fleet", responses=responses(404))
    def model(name: str) -> FleetModel:
        known = found.get(name, lambda: queries.fleet_model(engine, name))
        if known is None:
            raise HTTPException(404, f"No device has reported a model {name!r} yet.")
        return known

    @routes.get("/{name}/latency", summary="Its latency and counts over time, over the fleet")
    def latency(
        name: str,
        window: WindowQuery,
        release: Annotated[str | None, Query(description="Only this release")] = None,
    ) -> list[LatencyPoint]:
        return history.latency_series(engine, name, release=release, **asdict(window))

    @routes.get("/{name}/drift", summary="Drift, confidence and accuracy over time: the fleet's mean and largest")
    def drift(name: str, window: WindowQuery) -> list[ReadingsPoint]:
        return history.observed_series(engine, name, **asdict(window))

    @routes.get("/{name}/histogram", summary="All its latencies over the fleet")
    def histogram(name: str) -> list[Bin]:
        return histograms.get(name, lambda: queries.model_bins(engine, name))

    return routes
