"""What the user trained: recognized, described, and asked for its own answers.

recognize    what a path or an object is; pure, and done before any framework is imported
keras        `.keras` and `.h5` files, live keras.Model objects
saved_model  TensorFlow SavedModel folders, one signature of them
torch        `.pt2` programs, `module:function` and objects that give `(module, example_inputs)`
onnx         `.onnx` files, with external data too
tflite       `.tflite` files as they are
tensors      names, dtypes and the batch axis: what all of them share

`describe` and `answers` import the framework and run in the worker. What `describe` leaves behind for the exporters is
the model in one of four forms, its tensors named as the bundle's manifest will have them.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np
from msgspec import Struct

from edgeward_converters.sources.recognize import Given, Kind
from edgeward_converters.sources.tensors import Array, digest, in_batches, with_batch_axis
from edgeward_runtimes.errors import SourceError
from edgeward_runtimes.manifest import Tensor

Form = Literal["saved_model", "torch", "onnx", "tflite"]
Arrays = dict[str, Array]
# One batch through the model: arrays in the order of its inputs, to arrays in the order of its outputs.
Run = Callable[[list[Array]], Sequence[Array]]
_STEADY = 1e-4  # threads may add in another order
SIGNATURE = "serving_default"  # of every canonical SavedModel and `.tflite` file


class Source(Struct, frozen=True):
    """A source model, ready for exporters.

    Attributes:
        kind: What the user gave.
        path: The file or the folder given, or what a live object was saved to.
        form: What exporters start from.
        canonical: A SavedModel folder (signature `serving_default`), `.pt2`, `.onnx` or `.tflite` file, whose tensors
            are named, or for a `.pt2` stand in the order of, `inputs` and `outputs`.
        sha256: Of what was given; of a folder, over the names and contents of its files.
        batch: The one batch size that the model takes, or None when any will do.
        precision: `fp32`, or what a `.tflite` file was quantized to before it came here.
    """

    kind: Kind
    path: Path
    form: Form
    canonical: Path
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batch: int | None = None
    precision: str = "fp32"


class _Reader(Protocol):
    """What each kind's module offers."""

    def describe(self, given: Given, folder: Path) -> Source: ...

    def runner(self, source: Source) -> Run: ...


def describe(given: Given, folder: Path) -> Source:
    """Load the model, name its tensors, and write its canonical form into `folder`. Raises SourceError."""
    return _reader(given.kind).describe(given, folder)


def answers(source: Source, inputs: Arrays) -> Arrays:
    """The source model's own outputs by name, by its own framework; `inputs` have any number of samples."""
    run = _reader(source.kind).runner(source)
    results = in_batches(run, [inputs[tensor.name] for tensor in source.inputs], source.batch)
    return dict(zip((tensor.name for tensor in source.outputs), results, strict=True))


def steady_answers(source: Source, inputs: Arrays) -> Arrays:
    """The answers, asked for twice: what is random in a model can be proved equal to nothing. Raises SourceError."""
    run = _reader(source.kind).runner(source)
    first, second = (in_batches(run, [inputs[tensor.name] for tensor in source.inputs], source.batch) for _ in range(2))
    for tensor, answer, again in zip(source.outputs, first, second, strict=True):
        if not np.allclose(answer, again, rtol=_STEADY, atol=_STEADY * np.abs(answer).max(initial=0), equal_nan=True):
            raise SourceError(
                f"The source model {source.path} gives another {tensor.name!r} each time it is asked the same: part of "
                "it is random, such as Dropout as in training. Export it for inference (training=False, model.eval())."
            )
    return dict(zip((tensor.name for tensor in source.outputs), first, strict=True))


def described(
    given: Given,
    form: Form,
    canonical: Path,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    precision: str = "fp32",
) -> Source:
    """The source of a model that its reader wrote into `canonical`; the tensors' first axes are as the model has them.

    Raises SourceError where those do not count samples.
    """
    free_inputs, free_outputs, batch = with_batch_axis(inputs, outputs, given.named)
    return Source(
        kind=given.kind,
        path=given.path,
        form=form,
        canonical=canonical,
        sha256=digest(given.path),
        inputs=free_inputs,
        outputs=free_outputs,
        batch=batch,
        precision=precision,
    )


def _reader(kind: Kind) -> _Reader:
    return cast(_Reader, import_module(f"{__name__}.{kind}"))
