"""REST for rollouts, groups and desired releases. The guard lets viewers read and operators change."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from sqlalchemy import Engine

from edgeward.monitor.access.callers import caller_of
from edgeward.monitor.rollouts import desired, groups, operating, queries, terms
from edgeward.monitor.rollouts.desired import Desired
from edgeward.monitor.rollouts.groups import Group
from edgeward.monitor.rollouts.queries import Detail, Summary
from edgeward.monitor.rollouts.state import Terms

Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0)]
_CHANGES = {"pause": operating.pause, "resume": operating.resume, "abort": operating.abort}


@dataclass(frozen=True)
class Start:
    """A rollout to begin, in the words of the command line: stages `5%,25%,100%`, a soak of `10m`,
    gates `p95=1.10,errors=0.1%,drift=0.2`."""

    name: str
    version: str
    group: str
    stages: str = "5%,25%,100%"
    soak: str = "10m"
    gate: str = "p95=1.10,errors=0.1%,drift=0.2"
    samples: int = 200
    max_failed: str = "10%"
    at_once: int = 100
    answer_within: str = "15m"
    registry: str | None = None


@dataclass(frozen=True)
class Patterns:
    """Of device ids, such as `factory-1/*`."""

    patterns: list[str]


@dataclass(frozen=True)
class Wanted:
    """What a group should run of a model."""

    version: str
    registry: str | None = None


def router(engine: Engine) -> APIRouter:
    """The routes over a store."""
    routes = APIRouter(prefix="/api")
    _add_rollouts(routes, engine)
    _add_groups(routes, engine)
    return routes


def _add_rollouts(routes: APIRouter, engine: Engine) -> None:
    @routes.get("/rollouts", summary="Rollouts, the latest first")
    def rollouts(state: str | None = None, limit: Limit = 100, offset: Offset = 0) -> list[Summary]:
        return queries.summaries(engine, state=state, limit=limit, offset=offset)

    @routes.post("/rollouts", summary="Begin a rollout", status_code=201)
    def start(request: Request, wanted: Start) -> Detail:
        return queries.detail(engine, operating.start(engine, _terms(wanted), caller_of(request).name))

    @routes.get("/rollouts/{rollout_id}", summary="One rollout: its devices, what its gates see, its history")
    def rollout(
        rollout_id: str, members: Annotated[int, Query(ge=0, le=100_000, description="So many of its devices")] = 1000
    ) -> Detail:
        return queries.detail(engine, rollout_id, members=members)

    @routes.post("/rollouts/{rollout_id}/{change}", summary="Pause, resume or abort a rollout")
    def change(request: Request, rollout_id: str, change: str) -> Detail:
        if change not in _CHANGES:
            raise HTTPException(404, f"A rollout can be told to {', '.join(_CHANGES)}, not {change!r}.")
        _CHANGES[change](engine, rollout_id, caller_of(request).name)
        return queries.detail(engine, rollout_id)


def _add_groups(routes: APIRouter, engine: Engine) -> None:
    @routes.get("/groups", summary="Groups of devices")
    def all_groups() -> list[Group]:
        with engine.connect() as connection:
            return groups.all_groups(connection)

    @routes.get("/groups/{name}", summary="One group")
    def group(name: str) -> Group:
        with engine.connect() as connection:
            return groups.read(connection, name)

    @routes.put("/groups/{name}", summary="Make a group, or change which devices it has")
    def set_group(request: Request, name: str, wanted: Patterns) -> Group:
        return groups.set_group(engine, name, wanted.patterns, caller_of(request).name)

    @routes.get("/desired", summary="What each group should run")
    def all_desired() -> list[Desired]:
        with engine.connect() as connection:
            return desired.all_desired(connection)

    @routes.put("/desired/{group}/{model}", summary="Set what a group should run of a model")
    def set_desired(request: Request, group: str, model: str, wanted: Wanted) -> list[Desired]:
        desired.set_desired(engine, group, model, wanted.version, wanted.registry, caller_of(request).name)
        return all_desired()

    @routes.delete("/desired/{group}/{model}", summary="Let a group run whatever it runs of a model")
    def unset_desired(request: Request, group: str, model: str) -> list[Desired]:
        desired.set_desired(engine, group, model, None, None, caller_of(request).name)
        return all_desired()


def _terms(wanted: Start) -> Terms:
    return Terms(
        model=wanted.name,
        version=wanted.version,
        group=wanted.group,
        stages=terms.parse_stages(wanted.stages),
        soak_s=terms.parse_duration(wanted.soak),
        gates=terms.parse_gates(wanted.gate),
        samples=wanted.samples,
        max_failed=terms.parse_share(wanted.max_failed),
        at_once=wanted.at_once,
        answer_within_s=terms.parse_duration(wanted.answer_within),
        registry=wanted.registry,
    )
