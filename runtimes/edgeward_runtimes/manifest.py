"""What a bundle says of itself: `manifest.json` as frozen structs.

Unknown keys are refused, so a typo or a field from a later schema is an error and not a silence.
The schema number rises when an older reader could no longer read a newer manifest.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from edgeward_runtimes.errors import SchemaError

SCHEMA = 1

Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Size = Annotated[int, Meta(ge=0, le=2**40)]
# Names become folder names on the device and topic levels in MQTT: no separators, no wildcards.
NAME_PATTERN = r"\A[A-Za-z0-9_][A-Za-z0-9._-]{0,63}\Z"
NAME_RULE = "up to 64 letters, digits, dots, dashes and underscores, beginning with none of .-"
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
# null = computed as stored, in floats; static = ranges from calibration data; dynamic = ranges found while running;
# weights = only the weights are stored in fewer bits, half floats among them.
Quantization = Literal["static", "dynamic", "weights"]


class _Frozen(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all structs here."""


class Tensor(_Frozen, frozen=True):
    """One input or output. `shape` has the batch axis first; null is any size. `dtype` is numpy's name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class File(_Frozen, frozen=True):
    """One file in the bundle, by its path relative to the bundle's root."""

    path: Annotated[str, Meta(min_length=1, max_length=200)]
    size_bytes: Size
    sha256: Sha256


class Metric(_Frozen, frozen=True):
    """How good the source model is, measured on `samples` samples."""

    name: str
    value: float
    samples: Size


class Fallback(_Frozen, frozen=True):
    """A precision that was asked for (`requested`) and ended at another artifact; `note` says why in a sentence."""

    requested: Name
    note: str


class Variant(_Frozen, frozen=True):
    """One exported artifact: `id` and `precision` say what it is, `fallbacks` which requests ended at it instead of
    what they asked for. `metric` is the manifest's metric measured on this variant.

    `latency_ms` is the median of one prediction of batch size 1 on the converting host; `ops` counts the
    operators by kind.
    """

    id: Name
    engine: Name
    precision: Name
    files: Annotated[tuple[File, ...], Meta(min_length=1)]
    size_bytes: Size
    metric: float | None = None
    quantization: Quantization | None = None
    latency_ms: float | None = None
    ops: dict[str, int] | None = None
    fallbacks: tuple[Fallback, ...] = ()


class Tolerance(_Frozen, frozen=True):
    """How far one output of a variant may lie from the source's on the golden samples.

    `max_abs_error` is in the output's unit; `cosine` is the least allowed cosine similarity of a sample.
    """

    max_abs_error: float
    cosine: float


class Golden(_Frozen, frozen=True):
    """Inputs with the source model's outputs: `golden.npz` with keys `inputs/NAME` and `outputs/NAME`.

    `tolerance` is by variant and output: each output has a scale of its own.
    """

    path: str
    size_bytes: Size
    sha256: Sha256
    samples: Size
    tolerance: dict[str, dict[str, Tolerance]]


class Statistics(_Frozen, frozen=True):
    """Distribution of one tensor over the calibration data; `quantiles` are the deciles, 0 to 100 %."""

    mean: float
    std: float
    quantiles: tuple[float, ...]


class Reference(_Frozen, frozen=True):
    """Statistics by tensor name, against which drift is judged on the device."""

    inputs: dict[str, Statistics]
    outputs: dict[str, Statistics]


Side = Annotated[int, Meta(ge=1, le=2**14)]


class Preprocess(_Frozen, frozen=True):
    """How a picture becomes the model's input. These steps, in this order:

    1. `upright`: turn it as its EXIF orientation says, which neither Keras nor torchvision does on its own.
    2. `color`: to the channels that the input takes: 1 (gray, as Pillow computes it), 3, or 4 (with alpha). "gray"
       makes all three gray.
    3. `resize`: to (height, width), or the shorter edge to so many pixels and the other in proportion. None: to the
       input's own height and width where both are fixed and nothing is cropped. `aspect` "crop" cuts the new shape out
       of the middle before, "pad" surrounds the picture to it with `fill`, "stretch" distorts.
       `resampling` is whose arithmetic to follow: "pillow" (so do torchvision with PIL pictures and
       keras.utils.load_img), "tensorflow" (keras.layers.Resizing, tf.image.resize), "torch" (torchvision with float
       tensors) or "torch_uint8" (torchvision.transforms.v2 with uint8 tensors). The second and third give fractions,
       unless `rounded`, and skip pixels when they shrink, unless `antialias`; the others never do either.
    4. `crop`: (height, width) from the middle. A smaller picture gets a black border; with "tensorflow" it is enlarged.
    5. `color` "bgr": the channels in reverse.
    6. (value * `scale` - `mean`) / `std` per channel, of values from 0 to 255.
    7. `layout`, the batch axis, and the input's own dtype: rounded to it and held within it where it is an integer.
    """

    resize: tuple[Side, Side] | int | None = None  # not `| Side`: msgspec 0.22 crashes on that
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    resampling: Literal["pillow", "tensorflow", "torch", "torch_uint8"] = "pillow"
    antialias: bool = False
    rounded: bool = False
    aspect: Literal["stretch", "crop", "pad"] = "stretch"
    fill: Annotated[int, Meta(ge=0, le=255)] = 0
    crop: tuple[Side, Side] | None = None
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    upright: bool = False


class Provenance(_Frozen, frozen=True):
    """Where the bundle comes from; `recipe` is the recipe's own content, `tools` maps name to version."""

    source_sha256: Sha256
    tools: dict[str, str]
    recipe: dict[str, Any] = {}
    seed: int | None = None


class Manifest(_Frozen, frozen=True):
    """The whole of `manifest.json`."""

    schema: int
    name: Name
    version: Name
    created: datetime
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1)]
    golden: Golden
    provenance: Provenance
    metric: Metric | None = None
    labels: tuple[str, ...] | None = None
    preprocess: Preprocess | None = None
    reference: Reference | None = None
    attachments: tuple[File, ...] = ()

    def files(self) -> tuple[File, ...]:
        """Every file that the bundle must hold, beside the manifest itself."""
        golden = File(path=self.golden.path, size_bytes=self.golden.size_bytes, sha256=self.golden.sha256)
        return (*(file for variant in self.variants for file in variant.files), golden, *self.attachments)

    def variant(self, variant_id: str) -> Variant:
        """Return the variant of that id; raises KeyError."""
        for variant in self.variants:
            if variant.id == variant_id:
                return variant
        raise KeyError(variant_id)


class _SchemaOnly(Struct):
    schema: int


def decode(document: bytes, origin: str) -> Manifest:
    """Parse and validate manifest.json; `origin` names the bundle in errors. Raises SchemaError."""
    try:
        schema = msgspec.json.decode(document, type=_SchemaOnly).schema
        if schema > SCHEMA:
            raise SchemaError(
                f"{origin} has manifest schema {schema}; this edgeward reads up to {SCHEMA}. "
                "Upgrade edgeward here, or convert again with this version."
            )
        manifest = msgspec.json.decode(document, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SchemaError(f"{origin}: manifest.json is not a valid manifest: {error}") from error
    _check_consistency(manifest, origin)
    return manifest


def encode(manifest: Manifest) -> bytes:
    """Write manifest.json, indented for people."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _check_consistency(manifest: Manifest, origin: str) -> None:
    """Hold what types alone cannot: a supported schema, unique ids and paths, a tolerance per variant and output."""
    if manifest.schema != SCHEMA:
        raise SchemaError(f"{origin} has manifest schema {manifest.schema}; the only one so far is {SCHEMA}.")
    ids = [variant.id for variant in manifest.variants]
    paths = [file.path for file in manifest.files()]
    for what, values in (("variant id", ids), ("file path", paths)):
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise SchemaError(f"{origin}: manifest.json names {what} {twice[0]!r} more than once.")
    if set(manifest.golden.tolerance) != set(ids):
        raise SchemaError(
            f"{origin}: golden.tolerance is given for {sorted(manifest.golden.tolerance)}, "
            f"but the variants are {sorted(ids)}."
        )
    outputs = {tensor.name for tensor in manifest.outputs}
    for variant_id, tolerance in manifest.golden.tolerance.items():
        if set(tolerance) != outputs:
            raise SchemaError(
                f"{origin}: golden.tolerance of {variant_id} is given for {sorted(tolerance)}, "
                f"but the outputs are {sorted(outputs)}."
            )
