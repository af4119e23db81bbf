"""Many devices gone at once are one alert: the fleet's, which holds back those of the devices (pure).

A fleet's storm is bad when the devices that are gone, without those whose own alert fires already, are a large share of
it; it is good again below half of that. While it lasts, pending or firing, no device's alert fires. When most
devices are back it is resolved, and those that stay away get an alert each.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from edgeward.monitor.alerts.lifecycle import Zone, zone_of


class Subject(NamedTuple):
    """What an alert is about: a fleet, a device of it, a model on that; "" where it is not about one."""

    fleet: str
    device: str = ""
    model: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


class Storm(NamedTuple):
    """How a fleet stands: devices gone without an alert of their own, of how many, and what that means."""

    gone: int
    devices: int
    threshold: float
    zone: Zone


def storms(
    devices: Iterable[Subject], gone: Iterable[Subject], alone: Iterable[Subject], *, at_least: int, share: float
) -> Mapping[str, Storm]:
    """By fleet, whether so many are gone that it is one matter.

    Args:
        devices: All that a rule is about.
        gone: Those of them that are offline.
        alone: Those whose own alert fires already.
        at_least: The fewest devices that make a storm.
        share: The smallest share of the fleet that makes a storm, 0 to 1.
    """
    all_of = Counter(device.fleet for device in devices)
    gone_of = Counter(device.fleet for device in set(gone).difference(alone))
    found = {}
    for fleet, total in all_of.items():
        threshold = max(float(at_least), share * total)
        found[fleet] = Storm(gone_of[fleet], total, threshold, zone_of(gone_of[fleet], threshold, threshold / 2))
    return found
