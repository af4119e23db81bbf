"""What the fleet is told of a model's samples: a few numbers, and the rest packed into the metric `observations`."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from edgeward_runtimes.observation import drift
from edgeward_runtimes.observation.features import CLASS, CONFIDENCE
from edgeward_runtimes.observation.reference import Reference
from edgeward_runtimes.observation.tally import Tally

MOST_BYTES = 240  # packed
_CLASSES, _SCORES, _NAME = 10, 4, 24

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Summary(Struct, frozen=True, array_like=True):
    """What a sample of the latest predictions looked like.

    Attributes:
        samples: How many were looked at; old ones fade.
        classes: How often each class came, most often first; not all of many.
        other_classes: How often all others came.
        confidence: Counts between the edges `features.CONFIDENCE_EDGES`; empty where the model does not classify.
        drift: The population stability index of the features that differ most, by a name's first 24 characters; empty
            without a reference, or with too few samples.
    """

    samples: Count
    classes: tuple[tuple[Count, Count], ...]
    other_classes: Count
    confidence: tuple[Count, ...]
    drift: tuple[tuple[str, Annotated[float, Meta(ge=0, le=1e3)]], ...]

    @property
    def drift_score(self) -> float | None:
        """The largest index."""
        return self.drift[0][1] if self.drift else None


def summarize(reference: Reference | None, tally: Tally) -> Summary:
    """Make the summary of a tally."""
    counted = sorted(enumerate(tally.bins.get(CLASS, ())), key=lambda each: -each[1])
    classes = tuple(each for each in counted[:_CLASSES] if each[1])
    scores = {} if reference is None else drift.scores(reference, tally.samples, tally.bins) or {}
    most = sorted(scores.items(), key=lambda each: -each[1])[:_SCORES]
    return Summary(
        samples=tally.samples,
        classes=classes,
        other_classes=sum(count for _, count in counted[_CLASSES:]),
        confidence=tally.bins.get(CONFIDENCE, ()),
        drift=tuple((name[:_NAME], round(score, 4)) for name, score in most),
    )


def pack(summary: Summary) -> bytes:
    """Encode for the metric `observations`, as MessagePack: at most `MOST_BYTES`."""
    return msgspec.msgpack.encode(summary)


def unpack(content: bytes) -> Summary:
    """Decode the metric. Raises ValueError on anything that `pack` does not write."""
    try:
        return msgspec.msgpack.decode(content, type=Summary)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not packed observations: {error}") from None
