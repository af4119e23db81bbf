"""The health window: releases that went live lately, judged at every reading of the device's counters.

Whoever reads the counters (the agent) calls `attend` with them. What is known of a window stands in the journal, so it
goes on after a reboot: the `begin` of the install says by which limits, `watching` what had been counted by then, and
either `healthy` or a rollback ends it.
"""

import logging
import time
from collections.abc import Mapping

from edgeward_runtimes.errors import EdgewardError
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import health, journal
from edgeward_runtimes.install.journal import Entry, Watch
from edgeward_runtimes.install.slots import Slots
from edgeward_runtimes.latency import counters
from edgeward_runtimes.latency.counters import Counters
from edgeward_runtimes.latency.histogram import Histogram

Totals = Mapping[str, tuple[Counters, ...]]
_log = logging.getLogger("edgeward.install")


class Watcher:
    """Watches the models of one device."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._settled: dict[str, int] = {}  # by model, the size of a journal that has no window open

    def attend(self, counted: Totals, now: float | None = None) -> None:
        """Judge every release whose window is open; roll back one that is out of bounds, and say so in the log.

        Args:
            counted: Every model's cumulative totals.
            now: Unix seconds; None: the clock's.
        """
        for name, totals in counted.items():
            try:
                self._attend(Slots(self._home, name), totals, time.time() if now is None else now)
            except (EdgewardError, OSError) as error:  # being changed right now, or a full disk: at the next reading
                _log.warning("the new release of %s is not judged: %s", name, error)

    def _attend(self, slots: Slots, totals: tuple[Counters, ...], now: float) -> None:
        size = slots.journal_size()
        if self._settled.get(slots.name) == size:
            return
        watch = journal.watch(slots.entries())
        if watch is None or slots.target("current") != watch.release:
            self._settled[slots.name] = size
        elif watch.counted is None:
            self._begin(slots, watch, totals, now)
        else:
            self._judge(slots, watch, totals, now)

    def _begin(self, slots: Slots, watch: Watch, totals: tuple[Counters, ...], now: float) -> None:
        """Note what had been counted of a release that was live before; all that is new of another is its own."""
        before = _of(totals, watch.release) if watch.was_live_before else _nothing(watch.release)
        self._note(slots, Entry(now, "watching", watch.release, "install", counted=counters.pack([before])))

    def _judge(self, slots: Slots, watch: Watch, totals: tuple[Counters, ...], now: float) -> None:
        before = counters.unpack(watch.counted or b"")[0]
        new = _of(totals, watch.release).since(before)
        reason = health.judge(watch.limits, _of(totals, watch.replaced), new)
        if reason is not None:
            from edgeward_runtimes.install.installer import rollback  # what the agent need not hold for months

            rollback(self._home, slots.name, leaving=watch.release, reason=reason)
            _log.warning("rolled back %s from %s to %s: %s", slots.name, watch.release, watch.replaced, reason)
        elif now >= watch.since + watch.limits.window_s:
            calls = new.predictions + new.errors
            verdict = None if calls >= watch.limits.samples else f"too few predictions to judge: {calls}"
            self._note(slots, Entry(now, "healthy", watch.release, "install", reason=verdict))

    def _note(self, slots: Slots, entry: Entry) -> None:
        with slots.changing():
            watch = journal.watch(slots.entries())
            if watch is not None and watch.release == entry.release:
                slots.note(entry)


def _of(totals: tuple[Counters, ...], release: str) -> Counters:
    """A release's counts over all epochs."""
    found = _nothing(release)
    for each in totals:
        if each.release == release:
            found = found.merge(each)
    return found


def _nothing(release: str) -> Counters:
    return Counters(release, "", 0, Histogram())
