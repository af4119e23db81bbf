"""Where every alert stands in this round, from what was measured (pure).

- While broker or ingest are away nothing is known of any device: the only alert is theirs. When they are back, devices
  have `storm.settle` to return before one that is away counts as bad.
- A device that is gone tells nothing of its temperature: alerts about it, but for `offline`, stay as they are.
- Devices that are gone together are held back by their fleet's alert.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from msgspec import Struct
from sqlalchemy import Row

from edgeward.monitor.alerts.lifecycle import Timing, Zone, zone_of
from edgeward.monitor.alerts.measures import Look
from edgeward.monitor.alerts.rules import LINK, AlertConfig, AnyRule, Offline
from edgeward.monitor.alerts.storms import Storm, Subject, storms

Active = Mapping[tuple[str, Subject], Row[Any]]  # alerts that are pending or firing, by rule and subject
_LINK_TIMING = Timing(for_s=15, resolve_after_s=0)


class Link(Struct, frozen=True):
    """Whether devices can be heard: None is wrong, or what is; `since` is Unix seconds."""

    wrong: str | None
    since: float


class Seen(NamedTuple):
    """One alert's subject as it was seen in this round."""

    rule: str
    kind: str
    severity: str
    subject: Subject
    zone: Zone
    timing: Timing
    threshold: float
    value: float | None
    message: str
    held: bool = False


def seen(config: AlertConfig, look: Look | None, active: Active, now: float, link: Link) -> Iterator[Seen]:
    """Every alert that there is or may be; `look` is None while nobody can be heard, `now` Unix seconds."""
    yield _link_seen(link)
    if look is None:
        return
    # A clock that was set back is no reason to wait.
    settled = not 0 <= now - link.since < config.storm.settle
    for rule in config.alert:
        if isinstance(rule, Offline):
            yield from _offline(config, rule, look, active, settled)
        else:
            yield from _plain(rule, look, active)
    yield from _of_no_rule(config, active)


def _offline(config: AlertConfig, rule: Offline, look: Look, active: Active, settled: bool) -> Iterator[Seen]:
    """Devices that are gone; together, where they are many."""
    firing = {subject for (title, subject), row in active.items() if title == rule.title and row.fired_at}
    found = storms(
        filter(rule.is_about, look.devices),
        look.values[rule.title],
        {subject for subject in firing if subject.device},
        at_least=config.storm.at_least,
        share=config.storm.share,
    )
    held = set()
    for fleet, storm in found.items():
        subject = Subject(fleet)
        if storm.zone is Zone.BAD or (storm.zone is Zone.BETWEEN and (rule.title, subject) in active):
            held.add(fleet)
        yield _storm_seen(rule, subject, storm, settled)
    for subject in {*look.values[rule.title], *_subjects(rule, active)}:
        if subject.device:
            is_gone = subject in look.values[rule.title]
            zone = Zone.GOOD if not is_gone else Zone.BAD if settled else Zone.UNKNOWN
            value = 1.0 if is_gone else 0.0
            yield _about(rule, subject, zone, value, rule.said(value), held=subject.fleet in held)
        elif subject.fleet not in found:  # all its devices were deleted
            yield _about(rule, subject, Zone.GOOD, 0.0, "no devices")


def _link_seen(link: Link) -> Seen:
    zone = Zone.BAD if link.wrong else Zone.GOOD
    message = link.wrong or "broker and ingest are there"
    return Seen(LINK, LINK, "critical", Subject(""), zone, _LINK_TIMING, 1.0, float(bool(link.wrong)), message)


def _storm_seen(rule: Offline, subject: Subject, storm: Storm, settled: bool) -> Seen:
    zone = storm.zone if settled or storm.zone is Zone.GOOD else Zone.UNKNOWN
    message = f"{storm.gone} of {storm.devices} devices offline"
    return _about(rule, subject, zone, float(storm.gone), message)._replace(threshold=storm.threshold)


def _plain(rule: AnyRule, look: Look, active: Active) -> Iterator[Seen]:
    threshold, resolve = rule.levels
    values = look.values[rule.title]
    for subject in {*values, *_subjects(rule, active)}:
        value = values.get(subject)
        if subject._replace(model="") in look.gone:
            zone = Zone.UNKNOWN
        else:
            zone = Zone.GOOD if value is None else zone_of(value, threshold, resolve)
        yield _about(rule, subject, zone, value, rule.said(value) if value is not None else "")


def _of_no_rule(config: AlertConfig, active: Active) -> Iterator[Seen]:
    """Alerts of rules that are no more: nothing is wrong any longer."""
    titles = {rule.title for rule in config.alert} | {LINK}
    for (title, subject), row in active.items():
        if title not in titles:
            gone = Timing(0, 0)
            yield Seen(title, row.kind, row.severity, subject, Zone.GOOD, gone, row.threshold, row.value, "")


def _about(
    rule: AnyRule, subject: Subject, zone: Zone, value: float | None, message: str, *, held: bool = False
) -> Seen:
    threshold, _ = rule.levels
    return Seen(rule.title, rule.kind, rule.severity, subject, zone, rule.timing, threshold, value, message, held)


def _subjects(rule: AnyRule, active: Active) -> Iterable[Subject]:
    return (subject for title, subject in active if title == rule.title)
