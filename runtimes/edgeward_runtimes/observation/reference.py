"""What a model saw and said when it was converted, feature by feature: `reference.json` in a bundle.

A feature's bins are the deciles of the calibration data, with one more on either side for what never came; confidence
has fixed bins, and of classes each is a bin. The shares of the bins are counted, and not taken to be tenths: a value
that comes often makes deciles fall together.
"""

from bisect import bisect_left
from collections.abc import Mapping
from math import isnan

import msgspec
import numpy as np
from msgspec import Struct

from edgeward_runtimes.engines import Array
from edgeward_runtimes.observation.features import CLASS, CONFIDENCE, CONFIDENCE_EDGES, MOST_CLASSES, described

FILE = "reference.json"
MOST_FEATURES = 64


class Distribution(Struct, frozen=True, forbid_unknown_fields=True):
    """How often each bin of a feature came, as shares of 1.

    Bin `i` holds values above `edges[i - 1]` and up to `edges[i]`; the first and the last bin are open. There are no
    edges where the values are classes: then each is a bin.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """Distributions by feature (see `features`), of so many samples."""

    samples: int
    features: dict[str, Distribution]


def reference(inputs: Mapping[str, Array], outputs: Mapping[str, Array], classes: int | None) -> Reference:
    """Describe calibration data and the source model's answers to it.

    Args:
        inputs: By name, with the samples along the first axis.
        outputs: The answers to just those, in the order of the manifest's outputs; may be empty.
        classes: What `features.classes_of` says of the first output.
    """
    found: dict[str, Distribution] = {}
    for name, values in described(inputs, outputs, classes).items():
        if len(found) < MOST_FEATURES:
            found[name] = _distribution(name, values, classes)
    return Reference(len(next(iter(inputs.values()))), found)


def encode(reference: Reference) -> bytes:
    """Write `reference.json`."""
    return msgspec.json.encode(reference) + b"\n"


def decode(content: bytes) -> Reference:
    """Read `reference.json`. Raises ValueError for anything that `encode` does not write."""
    try:
        found = msgspec.json.decode(content, type=Reference)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"not a reference: {error}") from None
    for name, each in found.features.items():
        is_sorted = all(low < high for low, high in zip(each.edges, each.edges[1:], strict=False))
        if not is_sorted or not each.shares or (each.edges and len(each.shares) != len(each.edges) + 1):
            raise ValueError(f"not a reference: the bins of {name!r} are none")
    return found


def bin_of(value: float, edges: tuple[float, ...]) -> int:
    """The bin of a value; NaN falls into the last one."""
    return len(edges) if isnan(value) else bisect_left(edges, value)


def _distribution(name: str, values: Array, classes: int | None) -> Distribution:
    edges: tuple[float, ...]
    if name == CLASS:
        edges, bins, count = (), values, min(classes or 0, MOST_CLASSES)
    else:
        edges = CONFIDENCE_EDGES if name == CONFIDENCE else _edges(values)
        bins, count = np.searchsorted(np.asarray(edges), values, side="left"), len(edges) + 1  # as `bin_of`
    shares = np.bincount(bins.astype(np.int64), minlength=count) / len(values)
    return Distribution(edges, tuple(round(share, 6) for share in shares.tolist()))


def _edges(values: Array) -> tuple[float, ...]:
    """Deciles, and the least and the most; what is not finite has no place among them."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return (0.0,)
    deciles = np.quantile(finite, np.linspace(0, 1, 11)).astype(np.float64)
    deciles[0] = np.nextafter(deciles[0], -np.inf)
    return tuple(np.unique(deciles).tolist())
