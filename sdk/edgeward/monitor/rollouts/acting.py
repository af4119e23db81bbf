"""One round of all rollouts, and the process that makes them again and again.

Everything is in the store: a process that is killed begins again where it was. One acts at a time (`database.alone`).
"""

import logging
import time

from sqlalchemy import Engine, select

from edgeward.monitor.access import audit
from edgeward.monitor.database import writing
from edgeward.monitor.rollouts import asking, desired, plan, records
from edgeward.monitor.rollouts.state import Step
from edgeward.monitor.rollouts.tables import rollouts

WHO = "edgeward"  # in the audit, what no person did
_log = logging.getLogger("edgeward.rollouts")


def act(engine: Engine) -> None:
    """One step of every rollout that has something to do."""
    with engine.connect() as connection:
        open_ones = records.unfinished(connection)
    for rollout_id in open_ones:
        _step(engine, rollout_id, time.time())


def reconcile(engine: Engine) -> None:
    """Ask devices for what their groups should run."""
    with writing(engine) as connection:
        count = desired.reconcile(connection, time.time())
    if count:
        _log.info("asked %s devices for what their groups should run", count)


def _step(engine: Engine, rollout_id: str, now: float) -> None:
    """Read and think without the turn to write, which others need; then write all or nothing."""
    with engine.connect() as connection:
        kept = records.read(connection, rollout_id)
        step = plan.step(kept.rollout, records.facts(connection, kept.rollout, now), now)
    if step == Step(kept.rollout):
        return
    with writing(engine) as connection:
        if not records.write(connection, kept, step.rollout):
            return  # somebody paused or aborted it meanwhile: the next round sees that
        for request_id in step.cancels:
            asking.cancel(connection, request_id)
        first = {each.device_id for each in kept.rollout.members if not each.attempt}
        records.remember_counted(
            connection, step.rollout, [each.device_id for each in step.asks if each.device_id in first]
        )
        for each in step.asks:
            asking.ask(connection, each, f"rollout {rollout_id}")
        for event in step.events:
            audit.record(connection, WHO, f"rollout.{step.rollout.state}", rollout_id, event)
        if step.rollout.state == "done" and kept.rollout.state != "done":
            terms = step.rollout.terms
            started_by = connection.execute(
                select(rollouts.c.created_by).where(rollouts.c.id == rollout_id)
            ).scalar_one()
            desired.desire(connection, terms.group, terms.model, terms.version, terms.registry, started_by)
    for event in step.events:
        _log.info("rollout %s: %s", rollout_id, event)
