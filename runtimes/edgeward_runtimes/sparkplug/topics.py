"""Sparkplug topics (specification 3.0, section 4): `spBv1.0/<fleet>/<type>/<device>[/<model>]`.

A fleet is Sparkplug's group, one of our devices its edge node, and a model on it its device.
"""

from typing import NamedTuple

NAMESPACE = "spBv1.0"
LEVEL_PATTERN = r"\A[^/+#\x00]{1,100}\Z"  # no separator, no wildcard; what fleets, devices and hosts may be called
NODE_TYPES = frozenset({"NBIRTH", "NDATA", "NDEATH", "NCMD"})
MODEL_TYPES = frozenset({"DBIRTH", "DDATA", "DDEATH", "DCMD"})


class Topic(NamedTuple):
    """A parsed node or device topic; `model` is None for the N types."""

    fleet: str
    kind: str
    device: str
    model: str | None = None

    def __str__(self) -> str:
        levels = (NAMESPACE, self.fleet, self.kind, self.device)
        return "/".join(levels if self.model is None else (*levels, self.model))

    @classmethod
    def parse(cls, topic: str) -> "Topic":
        """Parse; raises ValueError for anything but the eight node and device types."""
        match topic.split("/"):
            case [namespace, fleet, kind, device] if namespace == NAMESPACE and kind in NODE_TYPES:
                return cls(fleet, kind, device)
            case [namespace, fleet, kind, device, model] if namespace == NAMESPACE and kind in MODEL_TYPES:
                return cls(fleet, kind, device, model)
        raise ValueError(f"not a Sparkplug node or device topic: {topic!r}")


def host_state(host_id: str) -> str:
    """The topic of a primary host's retained STATE message."""
    return f"{NAMESPACE}/STATE/{host_id}"
