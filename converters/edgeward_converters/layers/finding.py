"""What `locate` says: a layer, and the layers around it."""

from msgspec import Struct

from edgeward_converters.layers.counterparts import Counterpart
from edgeward_converters.layers.tracing import Layer


class Step(Struct, frozen=True):
    """A layer near the departure. Numbers are None where it has no counterpart in the source."""

    source_layer: str | None
    layer: str
    operator: str
    max_abs_error: float | None
    cosine: float | None
    agrees: bool


class Finding(Struct, frozen=True):
    """A layer of a variant, and how far its output lies from the source's.

    Attributes:
        layer: Its name in the artifact.
        operator: Its kind.
        nearest_source_layer: The source's layer whose output it should give; None when nothing points to one.
        max_abs_error: Of its output, in its unit; None without a source tensor to compare with.
        relative_error: The same over the largest absolute value of the source's output.
        cosine: Smallest cosine similarity of any sample.
        snr_db: Signal to noise of its output, decibels; infinite for one that is exactly right.
        reason: Why this layer, in a sentence.
        around: Layers before and after it, in order.
    """

    layer: str
    operator: str
    nearest_source_layer: str | None
    max_abs_error: float | None
    relative_error: float | None
    cosine: float | None
    snr_db: float | None
    reason: str
    around: tuple[Step, ...] = ()


def step(layer: Layer, counterpart: Counterpart | None, agrees: bool) -> Step:
    """One layer of those around a departure."""
    if counterpart is None:
        return Step(None, layer.name, layer.operator, None, None, agrees)
    likeness = counterpart.likeness
    return Step(counterpart.layer, layer.name, layer.operator, likeness.max_abs_error, likeness.cosine, agrees)


def of(layer: Layer, counterpart: Counterpart | None, reason: str, around: tuple[Step, ...] = ()) -> Finding:
    """The finding on a layer, with the figures of its counterpart."""
    likeness = None if counterpart is None else counterpart.likeness
    return Finding(
        layer=layer.name,
        operator=layer.operator,
        nearest_source_layer=None if counterpart is None else counterpart.layer,
        max_abs_error=None if likeness is None else likeness.max_abs_error,
        relative_error=None if likeness is None else likeness.relative_error,
        cosine=None if likeness is None else likeness.cosine,
        snr_db=None if likeness is None else likeness.snr_db,
        reason=reason,
        around=around,
    )
