"""One sample of a prediction: taken out of its batch, described, and judged whether it is worth keeping. Pure.

What a model's samples are compared with comes from its bundle's reference; without one, only classes and confidences
are counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from edgeward_runtimes.engines import Array
from edgeward_runtimes.errors import InputError
from edgeward_runtimes.manifest import Manifest, Tensor
from edgeward_runtimes.observation.capture import Reason
from edgeward_runtimes.observation.features import (
    CLASS,
    CONFIDENCE,
    CONFIDENCE_EDGES,
    MOST_CLASSES,
    Scores,
    classes_of,
    described,
    scores,
)
from edgeward_runtimes.observation.reference import Reference, bin_of
from edgeward_runtimes.observation.settings import Capture
from edgeward_runtimes.observation.tally import Layout

_BEYOND = 0.1  # of the width of what came: from there on a sample is far from all of it


class Seen(Struct, frozen=True):
    """One sample, of arrays with a batch of one, and what was made of it."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]
    bins: dict[str, int]
    confidence: float | None
    margin: float | None
    is_far: bool


class Looking:
    """How the samples of one model are looked at."""

    def __init__(self, manifest: Manifest, reference: Reference | None) -> None:
        """`reference` is the bundle's, where it has one."""
        metric = None if manifest.metric is None else manifest.metric.name
        self._inputs, self._outputs = manifest.inputs, manifest.outputs
        self._labels = manifest.labels
        self._classes = classes_of(manifest.outputs[0], manifest.labels, metric)
        features = {} if reference is None else reference.features
        self._edges = {name: each.edges for name, each in features.items() if each.edges and name != CONFIDENCE}
        bins = {name: len(self._edges[name]) + 1 for name in self._edges}
        if self._classes is not None:
            self._edges[CONFIDENCE] = CONFIDENCE_EDGES
            bins |= {CLASS: min(self._classes, MOST_CLASSES), CONFIDENCE: len(CONFIDENCE_EDGES) + 1}
        self.layout = Layout(bins)

    def at(self, turn: int, x: Any, answer: Any) -> Seen:
        """Look at one sample of a batch, another one at each turn."""
        inputs = _taken(self._inputs, _named(self._inputs, x), turn)
        outputs = _taken(self._outputs, _named(self._outputs, answer), turn)
        values = {name: float(found[0]) for name, found in described(inputs, outputs, self._classes).items()}
        bins = {name: bin_of(values[name], edges) for name, edges in self._edges.items() if name in values}
        if CLASS in values:
            bins[CLASS] = int(values[CLASS])
        margin = None if self._classes is None else float(self._said(outputs).margin[0])
        is_far = any(_is_far(values[name], self._edges[name]) for name in bins if name not in (CLASS, CONFIDENCE))
        return Seen(inputs, outputs, bins, values.get(CONFIDENCE), margin, is_far)

    def judged(self, y_true: Any, answer: Any) -> tuple[Array, Array]:
        """The true classes of a batch's samples, and which of them were told. Raises InputError."""
        if self._classes is None:
            raise InputError(
                f"The output {self._outputs[0].name!r} tells no classes, so no feedback can say whether it was right. "
                "Convert the model with labels, or with an evaluation by accuracy."
            )
        said = self._said(_named(self._outputs, answer)).best
        truth = self._truth(y_true)
        if len(truth) != len(said):
            raise InputError(f"Feedback has {len(truth)} classes for a prediction of {len(said)} samples.")
        return truth, truth == said

    def _said(self, outputs: Mapping[str, Array]) -> Scores:
        return scores(outputs[self._outputs[0].name], self._classes or 0)

    def _truth(self, y_true: Any) -> Array:
        """Class indexes (n,) of indexes or labels, one or several."""
        given = np.atleast_1d(np.asarray(y_true))
        if given.dtype.kind in "US":
            known = {label: place for place, label in enumerate(self._labels or ())}
            unknown = [str(label) for label in given.ravel() if str(label) not in known]
            if unknown:
                raise InputError(f"Feedback names the class {unknown[0]!r}; the model's labels are {list(known)}.")
            return np.array([known[str(label)] for label in given.ravel()])
        if given.dtype.kind not in "iub" or given.size != len(given):
            raise InputError(
                f"Feedback takes a class index or label for each sample; {given.dtype} of shape {given.shape} came."
            )
        return given.reshape(-1).astype(np.int64)


def reason_of(seen: Seen, wanted: Capture, is_due: bool) -> Reason | None:
    """Why a sample is to be kept, if it is; `is_due` says that one is, whatever it is like."""
    if wanted.drifted and seen.is_far:
        return "drifted"
    if seen.margin is not None and seen.margin < wanted.margin:
        return "uncertain"
    return "sampled" if is_due else None


def _named(tensors: Sequence[Tensor], arrays: Any) -> Mapping[str, Array]:
    return arrays if isinstance(arrays, Mapping) else {tensors[0].name: arrays}


def _taken(tensors: Sequence[Tensor], arrays: Mapping[str, Array], turn: int) -> dict[str, Array]:
    """One sample of each tensor, as a batch of one."""
    found = {}
    for tensor in tensors:
        array = arrays[tensor.name]
        is_batched = array.ndim > 0 and (not tensor.shape or tensor.shape[0] in (None, 1))
        place = turn % len(array) if is_batched and len(array) else 0
        found[tensor.name] = array[place : place + 1] if is_batched else array[None]
    return found


def _is_far(value: float, edges: tuple[float, ...]) -> bool:
    """Whether a value lies outside all that came, and not just so; NaN does."""
    beyond = _BEYOND * (edges[-1] - edges[0])
    return not edges[0] - beyond <= value <= edges[-1] + beyond
